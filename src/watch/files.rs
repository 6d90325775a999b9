//! The system tells what happens to files.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Something with this file or folder.
    Path(PathBuf),
    /// Too much at once for the system to tell: everything has to be looked at.
    Lost,
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the system watches no more folders for this user ({0} was the next one)")]
    TooMany(PathBuf),
    #[error("the files cannot be watched: {0}")]
    Other(#[source] notify::Error),
}

/// Dropped, it watches no more.
pub struct Files(RecommendedWatcher);

impl Files {
    pub fn new() -> Result<(Self, UnboundedReceiver<Told>), WatchError> {
        let (sender, receiver) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let told = match event {
                Ok(event) if event.need_rescan() => vec![Told::Lost],
                // who reads changes nothing
                Ok(Event { kind: EventKind::Access(AccessKind::Close(AccessMode::Write)), paths, .. }) => {
                    paths.into_iter().map(Told::Path).collect()
                }
                Ok(Event { kind: EventKind::Access(_), .. }) => Vec::new(),
                Ok(event) => event.paths.into_iter().map(Told::Path).collect(),
                Err(_) => vec![Told::Lost],
            };
            for one in told {
                // nobody listens any more: the watch is about to end
                let _ = sender.send(one);
            }
        });
        Ok((Self(watcher.map_err(WatchError::Other)?), receiver))
    }

    /// Watches what is directly in a folder. One that is no longer there is told of by the folder that it was in.
    pub fn add(&mut self, folder: &Path) -> Result<(), WatchError> {
        match self.0.watch(folder, RecursiveMode::NonRecursive) {
            Err(error) => match error.kind {
                ErrorKind::MaxFilesWatch => Err(WatchError::TooMany(folder.to_owned())),
                ErrorKind::PathNotFound => Ok(()),
                ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(WatchError::Other(error)),
            },
            Ok(()) => Ok(()),
        }
    }
}
