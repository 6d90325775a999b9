//! What happens to files, as Linux tells it (inotify(7)). By hand, since `notify` also asks to be told of each file that
//! somebody opens: in /etc that is every program that starts.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::host::FileWatch;

pub struct Inotify {
    fd: AsyncFd<OwnedFd>,
    /// What bears a number: a file may have been named twice.
    watched: HashMap<i32, BTreeSet<PathBuf>>,
}

impl Inotify {
    pub fn new() -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: it is open, the `AsyncFd` owns it, and nobody changes which one an `OwnedFd` is
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Self { fd, watched: HashMap::new() })
    }

    /// Everything that waits to be read; `None`: more than the kernel has kept.
    fn read(&mut self) -> Option<Vec<PathBuf>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(self.fd.get_ref(), &mut buffer);
        let (mut paths, mut lost) = (Vec::new(), false);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                // nothing more waits
                Err(_) => break,
            };
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            for path in self.watched.get(&event.wd()).into_iter().flatten() {
                paths.push(name.map_or_else(|| path.clone(), |name| path.join(name)));
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
            }
        }
        (!lost).then_some(paths)
    }
}

#[async_trait]
impl FileWatch for Inotify {
    fn add(&mut self, path: &Path) -> bool {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        match add_watch(self.fd.get_ref(), path, what) {
            Ok(number) => {
                self.watched.entry(number).or_default().insert(path.to_owned());
                true
            }
            Err(_) => false,
        }
    }

    async fn next(&mut self) -> Vec<PathBuf> {
        loop {
            match self.fd.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // the runtime ends
                Err(_) => std::future::pending().await,
            }
            match self.read() {
                Some(paths) if paths.is_empty() => {}
                found => return found.unwrap_or_default(),
            }
        }
    }
}
