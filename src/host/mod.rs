//! The machine that macula runs on, behind one trait: files, programs, privilege, facts of the
//! system. Nothing else in the library touches the disk, starts a program or reads the
//! environment.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{AnyError, Listener};

mod accept;
mod command;
pub mod fake;
mod holder;
pub mod kept;
pub mod local;
mod lock;
mod wait;
mod word;

pub use accept::next_connection;
pub use command::{Capabilities, Command, Output, RunError};
pub use holder::{Holder, holders};
pub use kept::{Copies, FileError, FileNow, KeptFile, ReceiptError};
pub use lock::{Held, Lock, LockError};
pub use wait::{Unmet, pause, until};
pub use word::{FileWatch, Interest, Interests, SELDOM, Word, listen};

/// What kind of machine this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// As in Rust: `x86_64`, `aarch64`.
    pub arch: String,
    /// `ID` of /etc/os-release: `debian`.
    pub distribution: Option<String>,
    /// `VERSION_CODENAME`: `bookworm`.
    pub codename: Option<String>,
    pub kernel: String,
    pub uid: u32,
    pub user: String,
    /// Names of the groups of this process.
    pub groups: Vec<String>,
    /// Groups that the user is in according to the group file: those that a new login would have.
    pub login_groups: Vec<String>,
    /// systemd is process 1.
    pub systemd: bool,
    pub wsl: bool,
    pub container: bool,
    /// Bytes.
    pub memory_total: u64,
    pub memory_available: u64,
    pub cpus: usize,
    /// 1 or 2 (unified); a hybrid is 1.
    pub cgroup_version: Option<u8>,
}

/// Space of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    pub available: u64,
}

/// An IPv4 route or interface address that a new subnet may not collide with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub network: ipnet::Ipv4Net,
    pub interface: String,
}

/// One HTTP exchange from outside, as a probe makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Is told the lines of a program while it runs.
pub type LineSink<'a> = &'a (dyn for<'line> Fn(&'line str) + Send + Sync);

/// How often somebody looks where nobody tells.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[async_trait]
pub trait Host: Send + Sync {
    fn facts(&self) -> HostFacts;
    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;
    fn environment(&self) -> BTreeMap<String, String>;
    /// The user's folders (XDG on Linux).
    fn folders(&self) -> Folders;

    async fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A file of the kernel's, below /proc or /sys, which is made in memory when it is read: nobody waits, and a
    /// thread for it would cost more than the reading. None: there is no such file.
    fn read_kernel(&self, _path: &Path) -> Option<String> {
        None
    }
    /// Written beside the target, synced and renamed: all or nothing. Parent folders are made
    /// (0700 under the user's data folder).
    async fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()>;
    /// The same for a file of the user's, with a mode for a new one: a link stays and leads to what is written (for root
    /// only its own), and what is there keeps its mode.
    async fn rewrite(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.write(path, content, mode).await
    }
    /// Takes the older half off a log that is longer than `most`, while its writers go on.
    async fn keep_end(&self, path: &Path, most: u64) -> io::Result<()> {
        let content = self.read(path).await?;
        if content.len() as u64 <= most {
            return Ok(());
        }
        let from = content.len().saturating_sub(usize::try_from(most / 2).unwrap_or(usize::MAX));
        self.write(path, content.get(from..).unwrap_or_default(), 0o600).await
    }
    /// Notes how long a log is by now, where it has grown: see [`times_of`].
    async fn note_length(&self, _log: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Makes an empty file that nobody has made before; false when there is one. The way in which
    /// kubectl and kind lock a kubeconfig.
    async fn create_new(&self, path: &Path) -> io::Result<bool> {
        if self.exists(path).await {
            return Ok(false);
        }
        self.write(path, b"", 0o600).await.map(|()| true)
    }
    /// Puts a new file in the place of another in the same folder, with the mode of that one, in one step.
    async fn replace(&self, old: &Path, _new: &Path) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{} cannot be replaced here", old.display())))
    }
    /// The file that a symbolic link leads to; a path that is none, or leads nowhere, stays as it is.
    async fn resolved(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    /// No error when it is gone already.
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// With everything in it; no error when it is gone already.
    async fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Only when nothing is in it, in one step: what somebody else puts there meanwhile stays.
    async fn remove_empty_folder(&self, path: &Path) -> io::Result<()>;
    /// With its parents; `mode` is that of the last one. No error when it is there.
    async fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Names in a folder, sorted; empty when there is none.
    async fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    async fn exists(&self, path: &Path) -> bool;
    /// Tells what happens to files; `None`: the system does not.
    fn watch_files(&self) -> Option<Box<dyn FileWatch>> {
        None
    }
    /// Time of the last change of a file's content, seconds since the epoch.
    async fn modified(&self, path: &Path) -> io::Result<i64>;
    /// How long a file is, in bytes, without reading it.
    async fn length(&self, path: &Path) -> io::Result<u64>;
    /// Takes the lock file at once, or says who has it. `command` is what others get to read.
    /// Callers that wait use [`Lock::acquire`].
    fn try_lock(&self, path: &Path, command: &str) -> io::Result<Result<Lock, Held>>;

    /// Runs a program to its end. A status other than 0 is an error unless the command says it may
    /// fail.
    async fn run(&self, command: &Command) -> Result<Output, RunError>;
    /// As [`Host::run`], and `said` is told each line as it is written, of either stream.
    async fn run_watched(&self, command: &Command, said: LineSink<'_>) -> Result<Output, RunError> {
        let done = self.run(command).await;
        let lines = match &done {
            Ok(output) => output.stdout() + &output.stderr(),
            Err(RunError::Failed { output, .. }) => output.clone(),
            Err(_) => String::new(),
        };
        lines.lines().for_each(said);
        done
    }
    /// Runs a program in the foreground of this terminal: its input is ours, and so is Ctrl-C; what it
    /// writes goes to our streams and to the end of `log`. It ends with us, even if we are killed. Its
    /// status as shells tell it: 128 and the signal for one that was killed.
    async fn run_in_front(&self, command: &Command, log: &Path) -> Result<i32, RunError> {
        let _ = log;
        Ok(self.run(command).await?.status.unwrap_or(128))
    }
    /// Where a program lies on the PATH (also /usr/sbin and /sbin).
    fn which(&self, program: &str) -> Option<PathBuf>;
    /// Starts a program that outlives us, in a session of its own, output appended to `log`
    /// (0600); its pid.
    async fn spawn_detached(&self, command: &Command, log: &Path) -> Result<u32, RunError>;

    /// Becomes another program: the process stays, and so do these files, under their numbers. Returns only where that
    /// cannot be.
    fn become_program(&self, command: &Command, _files: Vec<OwnedFd>) -> RunError {
        RunError::Io { command: command.to_string(), source: AnyError::said("a process cannot become another here") }
    }

    /// Starts a program that is looked after, in a process group of its own and with `command.settings` as its
    /// whole environment; output is appended to `log` (0600), by us unless it writes itself. It ends when the thread that
    /// starts it does.
    async fn start_group(&self, command: &Command, _log: &Path) -> Result<Box<dyn Grouped>, RunError> {
        Err(RunError::Io { command: command.to_string(), source: AnyError::said("programs cannot be kept here") })
    }
    /// The processes that run and belong to any of these, with their first ones.
    fn members(&self, _family: &Family) -> Vec<u32> {
        Vec::new()
    }
    /// Asks processes to end, or ends them. Those that have ended meanwhile are passed over.
    fn end(&self, _pids: &[u32], _ending: Ending) {}

    /// The number of a network interface.
    fn interface_index(&self, _name: &str) -> Option<u32> {
        None
    }

    /// Whether a process with this id runs.
    fn alive(&self, pid: u32) -> bool;

    /// Returns when no process with this id runs any more.
    async fn ended(&self, pid: u32) {
        while self.alive(pid) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// TCP and UDP sockets that listen, without their owners: see [`Host::owners`].
    async fn listeners(&self) -> io::Result<Vec<Listener>>;
    /// The same listeners with pid and process filled in where this user may see them. Walks all
    /// processes, so it is meant for the few listeners that are in the way.
    async fn owners(&self, listeners: Vec<Listener>) -> Vec<Listener>;
    /// IPv4 routes of all tables but the default one, and the addresses of the interfaces.
    async fn routes(&self) -> io::Result<Vec<Route>>;
    /// Whether this process could bind the address right now.
    async fn can_bind(&self, address: SocketAddr, protocol: crate::model::Protocol) -> io::Result<()>;
    async fn disk(&self, path: &Path) -> io::Result<Disk>;
    /// `fs.inotify.max_user_watches`
    async fn sysctl(&self, name: &str) -> io::Result<String>;

    /// Opens and closes a TCP connection.
    async fn connect(&self, address: SocketAddr, timeout: Duration) -> io::Result<()>;
    /// `GET http://address{path}` with this `Host` header, without proxies, over a connection of
    /// its own, no redirect followed. The body is cut at 1 MiB.
    async fn http_get(&self, address: SocketAddr, host: &str, path: &str, timeout: Duration) -> io::Result<HttpAnswer>;
    /// `POST url`, plain HTTP, without proxies, no redirect followed. The body is cut at 1 MiB.
    async fn http_post(&self, url: &str, media_type: &str, body: Vec<u8>, timeout: Duration) -> io::Result<HttpAnswer>;
    /// `GET url`, over TLS or in the clear, through the proxies of the environment; redirects are followed, but none from
    /// TLS into the clear. A body of more than `most` bytes is an error.
    async fn download(&self, url: &str, _most: u64) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("nothing can be downloaded from {url} here")))
    }
    /// A name through the system's own resolver.
    async fn resolve(&self, name: &str) -> io::Result<Vec<std::net::IpAddr>>;
    /// Now, seconds since the epoch.
    fn now(&self) -> i64;
}

/// A program that [`Host::start_group`] has started.
#[async_trait]
pub trait Grouped: Send {
    /// Of the program, and of its process group.
    fn pid(&self) -> u32;
    /// Returns when the program has ended: its status as shells tell it.
    async fn ended(&mut self) -> i32;
    /// Returns when all that was written is in the log: nobody of the group is left who could write.
    async fn heard(&mut self) {}
}

/// Which processes belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// A process group.
    pub group: Option<u32>,
    /// A session, by its leader.
    pub session: Option<u32>,
    /// `NAME=value` of their environment, where this user may read it.
    pub mark: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM
    Ask,
    /// SIGKILL
    Kill,
}

/// Where the user's files of macula lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME/macula`
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/macula`
    pub data: PathBuf,
    /// `$XDG_CACHE_HOME/macula`
    pub cache: PathBuf,
}

/// What a file is called while it is written: hidden, beside its target, and with the writer's pid
/// in it, so that what a killed run left behind can be told from what is being written.
pub fn temporary_name(name: &str, pid: u32, count: u32) -> String {
    format!(".{name}.{pid}-{count}.macula-tmp")
}

/// Beside a log without times, until when it had which length: lines `LENGTH MILLISECONDS`, the latter since the epoch.
pub fn times_of(log: &Path) -> PathBuf {
    log.with_extension("times")
}

/// The pid of the writer of a file with such a name.
pub fn temporary_writer(name: &str) -> Option<u32> {
    let (_, numbers) = name.strip_prefix('.')?.strip_suffix(".macula-tmp")?.rsplit_once('.')?;
    numbers.split_once('-')?.0.parse().ok()
}
