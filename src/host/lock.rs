//! Lock files. The lock is the kernel's (`flock`), so it is gone with its holder, however that one
//! ends; what the file says is only for people and for `doctor`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::Host;
use super::local::files;
use crate::words;

/// Who waits for long is told again for whom: a log in which nothing happens looks like one that hangs.
const REMINDER: Duration = Duration::from_secs(15);

/// Who has a lock, as the holder wrote it down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// `None`: the holder has not written it yet.
    pub pid: Option<u32>,
    /// `macula up`
    pub command: String,
    /// Seconds since the epoch.
    pub since: i64,
}

impl Held {
    /// What a lock file says; `None` when its holder let go of it in order.
    pub fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    /// `` `macula up` (pid 4711, for 35 s) ``
    pub fn describe(&self, now: i64) -> String {
        match self.pid {
            Some(pid) => format!("{self} (pid {pid}, for {})", words::span((now - self.since).max(0).unsigned_abs())),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.command.is_empty() { f.write_str("another run of macula") } else { write!(f, "`{}`", self.command) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{holder} holds the lock {path}")]
    Held { path: PathBuf, holder: String, held: Held },
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An exclusive lock, let go when it is dropped.
pub struct Lock {
    path: PathBuf,
    file: Option<Arc<File>>,
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Lock {
    /// For hosts: a lock on `path` that `release` gives back.
    pub fn new(path: PathBuf, release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { path, file: None, release: Some(Box::new(release)) }
    }

    /// Waits for the lock; `waiting` is told of each holder that it waits for, and again every 15 seconds. Gives up after
    /// `patience`; `None`: never.
    pub async fn acquire(
        host: &dyn Host,
        path: &Path,
        command: &str,
        patience: Option<Duration>,
        mut waiting: impl FnMut(&Held) + Send,
    ) -> Result<Self, LockError> {
        let start = Instant::now();
        let mut told: Option<(Held, Instant)> = None;
        loop {
            let held = match host.try_lock(path, command)? {
                Ok(lock) => return Ok(lock),
                Err(held) => held,
            };
            if patience.is_some_and(|patience| start.elapsed() >= patience) {
                let holder = held.describe(host.now());
                return Err(LockError::Held { path: path.to_owned(), holder, held });
            }
            // a holder that has not written its name yet is worth a second look first
            let known = told.as_ref().is_some_and(|(told, at)| *told == held && at.elapsed() < REMINDER);
            if !known && (held.pid.is_some() || start.elapsed() > Duration::from_secs(1)) {
                waiting(&held);
                told = Some((held, Instant::now()));
            }
            // asked again and again: a thread that sleeps in the kernel could not be called back
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the programs that this process starts hold the lock too, so that it is free only
    /// when the last of them has ended: a program whose caller was killed goes on with its work.
    pub fn hand_down(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => Ok(rustix::io::fcntl_setfd(file, FdFlags::empty())?),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

/// The lock on a real file, whose folder is there. Errors do not name the path.
pub(super) fn try_flock(path: &Path, mine: &Held) -> io::Result<Result<Lock, Held>> {
    loop {
        // never through a link, and never waiting for the other end of a pipe: whoever can write to the
        // folder must not choose the file
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(false).mode(0o600).custom_flags(flags);
        let mut file = files::open_own(&options, path).map_err(files::no_link)?;
        files::check_own(&file.metadata()?, path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err(read(&mut file)?.unwrap_or_default())),
            Err(errno) => return Err(errno.into()),
        }
        // somebody may have removed the file between open and flock: then this lock guards nothing
        if !is_at(&file, path) {
            continue;
        }
        // Not being able to sign is no reason to fail: on a full disk `down` needs the lock too.
        let content = serde_json::to_vec(mine).map_err(io::Error::other)?;
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&content));
        let file = Arc::new(file);
        let kept = Arc::clone(&file);
        let release = move || {
            // emptied means let go in order
            let _ = file.set_len(0);
            // not left to the closing of `file`: a child between fork and exec has a copy of it
            let _ = flock(&file, FlockOperation::Unlock);
        };
        let mut lock = Lock::new(path.to_owned(), release);
        lock.file = Some(kept);
        return Ok(Ok(lock));
    }
}

fn read(file: &mut File) -> io::Result<Option<Held>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut content)?;
    Ok(Held::parse(&content))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
