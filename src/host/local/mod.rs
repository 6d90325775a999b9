//! The real machine. Linux first; macOS where its tools say the same in other words.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

#[cfg(target_os = "linux")]
use super::FileWatch;
use super::{
    Command, Disk, Ending, Family, Folders, Grouped, Held, Host, HostFacts, HttpAnswer, LOOK_AGAIN, LineSink, Lock,
    Output, Route, RunError, lock,
};
use crate::config::{DiskFiles, Files};
use crate::model::{Listener, Protocol};

mod facts;
mod family;
pub(super) mod files;
mod front;
#[cfg(target_os = "linux")]
mod inotify;
mod net;
mod run;

pub use net::plain_http;

/// How long a file may be that is read without a thread of its own, bytes.
const SMALL: u64 = 64 << 10;
/// How long a file may be that is read as a whole, bytes.
const LARGEST: u64 = 256 << 20;

/// This machine, seen by this process. The environment is read once, when it is made.
pub struct LocalHost {
    environment: BTreeMap<String, String>,
    folders: Folders,
    client: OnceLock<reqwest::Client>,
}

impl LocalHost {
    /// The only place in the library that reads the environment and the home folder.
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    pub fn new() -> Self {
        // a variable that is no UTF-8 is of no use to us, and no reason to stop
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::with(environment, home_of_user())
    }

    /// With this environment in place of the process's own, and this home folder where it does not
    /// name one with HOME.
    pub fn with(environment: BTreeMap<String, String>, home: Option<PathBuf>) -> Self {
        let folders = folders(&environment, home);
        Self { environment, folders, client: OnceLock::new() }
    }
}

impl Default for LocalHost {
    fn default() -> Self {
        Self::new()
    }
}

/// The user's home where HOME does not name one. A relative HOME names none.
fn home_of_user() -> Option<PathBuf> {
    let own = rustix::process::getuid().as_raw().to_string();
    let users = || std::fs::read_to_string("/etc/passwd").ok();
    dirs::home_dir().filter(|home| home.is_absolute()).or_else(|| {
        users()?.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.get(2) == Some(&own.as_str())).then(|| fields.get(5).map(PathBuf::from)).flatten()
        })
    })
}

/// The XDG base directories
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>): a variable counts only with an
/// absolute path. They are honoured on macOS too, whose command line tools live with them.
fn folders(environment: &BTreeMap<String, String>, home: Option<PathBuf>) -> Folders {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("HOME").or(home.filter(|home| home.is_absolute())).unwrap_or_else(|| PathBuf::from("/"));
    let folder = |variable, below: &str| absolute(variable).unwrap_or_else(|| home.join(below)).join("macula");
    Folders {
        config: folder("XDG_CONFIG_HOME", ".config"),
        data: folder("XDG_DATA_HOME", ".local/share"),
        cache: folder("XDG_CACHE_HOME", ".cache"),
        home,
    }
}

#[async_trait]
impl Host for LocalHost {
    fn facts(&self) -> HostFacts {
        facts::read(&self.environment)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        self.environment.clone()
    }

    fn folders(&self) -> Folders {
        self.folders.clone()
    }

    async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path.starts_with(&self.folders.data) {
            // a thread for a few lines costs more than the reading, and the background process looks at such files
            // several times a second for as long as it lives
            if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > SMALL) {
                let path = path.to_owned();
                return blocking(move || files::read_own(&path)).await;
            }
            return files::read_own(path);
        }
        // what a user names may be a device, or a pipe that nobody writes to
        let named = path.to_owned();
        let read = blocking(move || DiskFiles.read(&named, LARGEST)).await;
        read.map_err(files::naming("read", path))
    }

    fn read_kernel(&self, path: &Path) -> Option<String> {
        files::read_kernel(path).ok()
    }

    #[cfg(target_os = "linux")]
    fn watch_files(&self) -> Option<Box<dyn FileWatch>> {
        inotify::Inotify::new().ok().map(|watch| Box::new(watch) as Box<dyn FileWatch>)
    }

    async fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let (path, content, folders) = (path.to_owned(), content.to_owned(), self.folders.clone());
        blocking(move || files::write(&path, &content, mode, &folders)).await
    }

    async fn rewrite(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let (path, content, folders) = (path.to_owned(), content.to_owned(), self.folders.clone());
        blocking(move || files::rewrite(&path, &content, mode, &folders)).await
    }

    async fn keep_end(&self, path: &Path, most: u64) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || files::keep_end(&path, most)).await
    }

    async fn note_length(&self, log: &Path) -> io::Result<()> {
        let log = log.to_owned();
        blocking(move || files::note_length(&log)).await
    }

    async fn create_new(&self, path: &Path) -> io::Result<bool> {
        match tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(files::naming("create", path)(error)),
        }
    }

    async fn replace(&self, old: &Path, new: &Path) -> io::Result<()> {
        let (old, new) = (old.to_owned(), new.to_owned());
        blocking(move || files::replace(&old, &new)).await
    }

    async fn resolved(&self, path: &Path) -> PathBuf {
        tokio::fs::canonicalize(path).await.unwrap_or_else(|_| path.to_owned())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        files::unless_gone(tokio::fs::remove_file(path).await).map_err(files::naming("remove", path))
    }

    async fn remove_folder(&self, path: &Path) -> io::Result<()> {
        files::unless_gone(tokio::fs::remove_dir_all(path).await).map_err(files::naming("remove", path))
    }

    async fn remove_empty_folder(&self, path: &Path) -> io::Result<()> {
        files::unless_gone(tokio::fs::remove_dir(path).await).map_err(files::naming("remove", path))
    }

    async fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (path, folders) = (path.to_owned(), self.folders.clone());
        blocking(move || files::create_folder(&path, Some(mode), &folders)).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        files::list(path).map_err(files::naming("list", path))
    }

    async fn exists(&self, path: &Path) -> bool {
        tokio::fs::try_exists(path).await.unwrap_or(false)
    }

    async fn modified(&self, path: &Path) -> io::Result<i64> {
        let time = tokio::fs::metadata(path).await.and_then(|metadata| metadata.modified());
        time.map(seconds).map_err(files::naming("look at", path))
    }

    async fn length(&self, path: &Path) -> io::Result<u64> {
        let metadata = tokio::fs::metadata(path).await;
        metadata.map(|metadata| metadata.len()).map_err(files::naming("look at", path))
    }

    fn try_lock(&self, path: &Path, command: &str) -> io::Result<Result<Lock, Held>> {
        if let Some(parent) = path.parent() {
            files::create_folder(parent, None, &self.folders)?;
        }
        let mine = Held { pid: Some(std::process::id()), command: command.to_owned(), since: self.now() };
        lock::try_flock(path, &mine).map_err(files::naming("lock", path))
    }

    async fn run(&self, command: &Command) -> Result<Output, RunError> {
        run::run(self, command).await
    }

    async fn run_watched(&self, command: &Command, said: LineSink<'_>) -> Result<Output, RunError> {
        run::run_watched(self, command, said).await
    }

    async fn run_in_front(&self, command: &Command, log: &Path) -> Result<i32, RunError> {
        front::run_in_front(self, command, log).await
    }

    fn which(&self, program: &str) -> Option<PathBuf> {
        run::which(program, &self.search_path())
    }

    async fn spawn_detached(&self, command: &Command, log: &Path) -> Result<u32, RunError> {
        run::spawn_detached(self, command, log).await
    }

    fn become_program(&self, command: &Command, files: Vec<OwnedFd>) -> RunError {
        run::become_program(self, command, files)
    }

    async fn start_group(&self, command: &Command, log: &Path) -> Result<Box<dyn Grouped>, RunError> {
        family::start(self, command, log)
    }

    fn members(&self, family: &Family) -> Vec<u32> {
        family::members(family)
    }

    fn end(&self, pids: &[u32], ending: Ending) {
        family::end(pids, ending);
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        net::interface_index(name)
    }

    fn alive(&self, pid: u32) -> bool {
        let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
        // EPERM: it is there and somebody else's
        if let Err(rustix::io::Errno::SRCH) = rustix::process::test_kill_process(pid) {
            return false;
        }
        // dead, but its parent has not looked yet; proc_pid_stat(5): `pid (comm) state ...`
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    async fn ended(&self, pid: u32) {
        // on other systems, and on old kernels, it is looked for
        #[cfg(target_os = "linux")]
        family::told_of_the_end(pid).await;
        while self.alive(pid) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn listeners(&self) -> io::Result<Vec<Listener>> {
        net::listeners(self).await
    }

    async fn owners(&self, listeners: Vec<Listener>) -> Vec<Listener> {
        net::owners(self, listeners).await
    }

    async fn routes(&self) -> io::Result<Vec<Route>> {
        net::routes(self).await
    }

    async fn can_bind(&self, address: SocketAddr, protocol: Protocol) -> io::Result<()> {
        match protocol {
            // std sets SO_REUSEADDR here, as engines do: connections that linger are no obstacle
            Protocol::Tcp => std::net::TcpListener::bind(address).map(drop),
            Protocol::Udp => std::net::UdpSocket::bind(address).map(drop),
            Protocol::Sctp => Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP cannot be tried")),
        }
    }

    async fn disk(&self, path: &Path) -> io::Result<Disk> {
        files::disk(path).map_err(files::naming("look at the file system of", path))
    }

    async fn sysctl(&self, name: &str) -> io::Result<String> {
        net::sysctl(self, name).await
    }

    async fn connect(&self, address: SocketAddr, timeout: Duration) -> io::Result<()> {
        match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(address)).await {
            Ok(connection) => connection.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn http_get(&self, address: SocketAddr, host: &str, path: &str, timeout: Duration) -> io::Result<HttpAnswer> {
        let client = self.client.get_or_init(net::client);
        match tokio::time::timeout(timeout, net::http_get(client, address, host, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn http_post(&self, url: &str, media_type: &str, body: Vec<u8>, timeout: Duration) -> io::Result<HttpAnswer> {
        let client = self.client.get_or_init(net::client);
        match tokio::time::timeout(timeout, net::http_post(client, url, media_type, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn download(&self, url: &str, most: u64) -> io::Result<Vec<u8>> {
        net::download(url, most).await
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut addresses: Vec<IpAddr> = tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    fn now(&self) -> i64 {
        seconds(SystemTime::now())
    }
}

/// Seconds since the epoch, negative before it.
fn seconds(time: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(before) => -whole(before.duration()),
    }
}

/// File work that syncs waits for the disk: not on a thread that others need.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
