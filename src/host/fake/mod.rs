//! A machine in memory, for tests: what it has and says is set up front, what was done to it can
//! be looked at afterwards.

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Command, Disk, Folders, Held, HostFacts, HttpAnswer, Output, Route, RunError};
use crate::model::{Listener, Protocol, StoppedBy};

/// The pid that [`FakeHost`] takes for that of this process.
pub const FAKE_PID: u32 = 1000;

type Behaviour = Arc<dyn Fn(&FakeHost, &Command) -> Result<Output, RunError> + Send + Sync>;

#[derive(Clone)]
struct FakeFile {
    content: Vec<u8>,
    mode: u32,
    modified: i64,
}

#[derive(Default)]
struct World {
    facts: HostFacts,
    environment: BTreeMap<String, String>,
    folders: Folders,
    now: i64,
    files: BTreeMap<PathBuf, FakeFile>,
    made_folders: BTreeMap<PathBuf, u32>,
    read_only: Vec<PathBuf>,
    full: Vec<PathBuf>,
    programs: BTreeSet<String>,
    behaviours: Vec<(String, Behaviour)>,
    journal: Vec<String>,
    processes: BTreeSet<u32>,
    listeners: Vec<Listener>,
    routes: Vec<Route>,
    unbindable: BTreeMap<IpAddr, io::ErrorKind>,
    no_network: bool,
    disks: BTreeMap<PathBuf, Disk>,
    sysctls: BTreeMap<String, String>,
    http: BTreeMap<(SocketAddr, String), HttpAnswer>,
    names: BTreeMap<String, Vec<IpAddr>>,
    locks: BTreeMap<PathBuf, Held>,
}

/// A healthy Debian machine with a user `dev`, 4 CPUs, 16 GiB, 100 GiB of free disk and systemd,
/// unless told otherwise. Clones are the same machine.
#[derive(Clone)]
pub struct FakeHost(Arc<Mutex<World>>);

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    pub fn new() -> Self {
        let gib = 1 << 30;
        let facts = HostFacts {
            os: "linux".into(),
            arch: "x86_64".into(),
            distribution: Some("debian".into()),
            codename: Some("trixie".into()),
            kernel: "6.12.0".into(),
            uid: 1000,
            user: "dev".into(),
            groups: vec!["dev".into(), "docker".into()],
            login_groups: vec!["dev".into(), "docker".into()],
            systemd: true,
            wsl: false,
            container: false,
            memory_total: 16 * gib,
            memory_available: 12 * gib,
            cpus: 4,
            cgroup_version: Some(2),
        };
        let home = PathBuf::from("/home/dev");
        let folders = Folders {
            config: home.join(".config/macula"),
            data: home.join(".local/share/macula"),
            cache: home.join(".cache/macula"),
            home: home.clone(),
        };
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self(Arc::new(Mutex::new(World {
            facts,
            folders,
            environment: pairs(&[("HOME", "/home/dev"), ("PATH", "/usr/bin:/bin"), ("USER", "dev")]),
            now: 1_790_000_000,
            processes: BTreeSet::from([1, FAKE_PID]),
            disks: BTreeMap::from([(PathBuf::from("/"), Disk { total: 200 * gib, available: 100 * gib })]),
            sysctls: pairs(&[("fs.inotify.max_user_watches", "524288"), ("fs.inotify.max_user_instances", "512")]),
            names: BTreeMap::from([("localhost".to_owned(), vec![std::net::Ipv4Addr::LOCALHOST.into()])]),
            ..World::default()
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // a test that panicked elsewhere is no reason for another panic here
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it in the middle of a chain: `FakeHost::new().facts_with(|facts| facts.uid = 0)`.
    pub fn facts_with(self, change: impl FnOnce(&mut HostFacts)) -> Self {
        change(&mut self.world().facts);
        self
    }

    /// The folders of another user.
    pub fn with_folders(self, folders: Folders) -> Self {
        self.world().folders = folders;
        self
    }

    pub fn env_var(self, name: &str, value: &str) -> Self {
        self.world().environment.insert(name.into(), value.into());
        self
    }

    /// Seconds since the epoch.
    pub fn at(self, now: i64) -> Self {
        self.world().now = now;
        self
    }

    /// A file of mode 0644, changed now.
    pub fn file(self, path: impl Into<PathBuf>, content: impl AsRef<[u8]>) -> Self {
        self.put(path, content);
        self
    }

    /// As [`FakeHost::file`], changed at this time.
    pub fn file_of(self, path: impl Into<PathBuf>, content: impl AsRef<[u8]>, modified: i64) -> Self {
        let file = FakeFile { content: content.as_ref().to_vec(), mode: 0o644, modified };
        self.world().files.insert(path.into(), file);
        self
    }

    pub fn folder(self, path: impl Into<PathBuf>) -> Self {
        self.world().made_folders.insert(path.into(), 0o755);
        self
    }

    /// Nothing can be written at or below this path.
    pub fn read_only(self, path: impl Into<PathBuf>) -> Self {
        self.world().read_only.push(path.into());
        self
    }

    /// The file system at or below this path has no space left.
    pub fn full(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.world().disks.insert(path.clone(), Disk { total: 1 << 30, available: 0 });
        self.world().full.push(path);
        self
    }

    pub fn disk_of(self, path: impl Into<PathBuf>, disk: Disk) -> Self {
        self.world().disks.insert(path.into(), disk);
        self
    }

    /// An installed program. It succeeds and says nothing unless [`FakeHost::on`] says otherwise.
    pub fn program(self, name: &str) -> Self {
        self.install(name);
        self
    }

    /// What a command answers. `line` is the command line as [`Command`] shows it, or its beginning
    /// with a `*` behind; later ones win.
    pub fn answer(self, line: &str, status: i32, stdout: &str, stderr: &str) -> Self {
        let output = Output { status: Some(status), stdout: stdout.into(), stderr: stderr.into() };
        self.on(line, move |_, _| Ok(output.clone()))
    }

    /// As [`FakeHost::answer`], with whatever the command does to the machine.
    pub fn on(
        self,
        line: &str,
        behaviour: impl Fn(&FakeHost, &Command) -> Result<Output, RunError> + Send + Sync + 'static,
    ) -> Self {
        self.world().behaviours.push((line.to_owned(), Arc::new(behaviour)));
        self
    }

    pub fn listener(self, address: &str, protocol: Protocol, owner: Option<(u32, &str)>) -> Self {
        if let Ok(address) = address.parse::<SocketAddr>() {
            self.world().listeners.push(Listener {
                address: address.ip(),
                port: address.port(),
                protocol,
                pid: owner.map(|(pid, _)| pid),
                process: owner.map(|(_, process)| process.to_owned()),
                stopped_by: match owner {
                    Some((_, "macula")) => StoppedBy::Macula,
                    Some(_) => StoppedBy::Signal,
                    None => StoppedBy::Unknown,
                },
            });
        }
        self
    }

    /// The process that was added last belongs to a unit of the machine's systemd.
    pub fn of_unit(self, unit: &str) -> Self {
        if let Some(last) = self.world().listeners.last_mut() {
            last.stopped_by = StoppedBy::Unit { name: unit.to_owned(), user: false };
        }
        self
    }

    pub fn route(self, network: &str, interface: &str) -> Self {
        if let Ok(network) = network.parse() {
            self.world().routes.push(Route { network, interface: interface.into() });
        }
        self
    }

    /// It has not even loopback, as in a network namespace of its own.
    pub fn without_network(self) -> Self {
        self.world().no_network = true;
        self.world().routes.clear();
        self
    }

    /// No port of this address can be bound, for this reason.
    pub fn unbindable(self, address: IpAddr, kind: io::ErrorKind) -> Self {
        self.world().unbindable.insert(address, kind);
        self
    }

    pub fn setting(self, name: &str, value: &str) -> Self {
        self.world().sysctls.insert(name.into(), value.into());
        self
    }

    /// Also makes the address accept connections.
    pub fn http(self, address: SocketAddr, path: &str, status: u16, body: &str) -> Self {
        let answer = HttpAnswer { status, body: body.into() };
        self.world().http.insert((address, path.to_owned()), answer);
        self
    }

    pub fn name(self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.world().names.insert(name.to_owned(), addresses.into_iter().collect());
        self
    }

    /// A process that runs.
    pub fn process(self, pid: u32) -> Self {
        self.world().processes.insert(pid);
        self
    }

    /// Somebody else has this lock.
    pub fn locked(self, path: impl Into<PathBuf>, held: Held) -> Self {
        self.world().locks.insert(path.into(), held);
        self
    }

    // What a behaviour does, and what a test looks at afterwards.

    pub fn put(&self, path: impl Into<PathBuf>, content: impl AsRef<[u8]>) {
        let modified = self.world().now;
        let file = FakeFile { content: content.as_ref().to_vec(), mode: 0o644, modified };
        self.world().files.insert(path.into(), file);
    }

    pub fn install(&self, program: &str) {
        self.world().programs.insert(program.to_owned());
    }

    pub fn set(&self, setting: &str, value: &str) {
        self.world().sysctls.insert(setting.to_owned(), value.to_owned());
    }

    pub fn stop_listening(&self) {
        self.world().listeners.clear();
    }

    /// Every command that was run, in order; detached ones end with ` &`.
    pub fn journal(&self) -> Vec<String> {
        self.world().journal.clone()
    }

    /// Content of a file as text.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        self.world().files.get(path.as_ref()).map(|file| String::from_utf8_lossy(&file.content).into_owned())
    }

    pub fn mode(&self, path: impl AsRef<Path>) -> Option<u32> {
        let world = self.world();
        let folder = || world.made_folders.get(path.as_ref()).copied();
        world.files.get(path.as_ref()).map(|file| file.mode).or_else(folder)
    }

    /// All files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().files.keys().cloned().collect()
    }

    fn behaviour(&self, line: &str) -> Option<Behaviour> {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => line.starts_with(beginning),
            None => line == pattern,
        };
        self.world().behaviours.iter().rev().find(|(pattern, _)| fits(pattern)).map(|(_, behaviour)| behaviour.clone())
    }

    fn writable(&self, what: &str, path: &Path) -> io::Result<()> {
        let world = self.world();
        let kind = if world.read_only.iter().any(|place| path.starts_with(place)) {
            io::ErrorKind::PermissionDenied
        } else if world.full.iter().any(|place| path.starts_with(place)) {
            io::ErrorKind::StorageFull
        } else {
            return Ok(());
        };
        Err(io::Error::new(kind, format!("cannot {what} {}: {kind}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[tokio::test]
    async fn commands_answer_as_told_and_are_written_down() {
        let host = FakeHost::new().program("ip").answer("systemctl *", 1, "", "Failed to connect to bus\n").on(
            "apt-get install -y docker.io",
            |host, _| {
                host.install("dockerd");
                Ok(Output { status: Some(0), ..Output::default() })
            },
        );
        assert!(host.run(&Command::new("ip", ["link"])).await.unwrap().success());
        let error = host.run(&Command::new("systemctl", ["start", "docker"])).await.unwrap_err();
        assert_eq!(error.to_string(), "`systemctl start docker` ended with status 1: Failed to connect to bus");
        assert_eq!(host.which("dockerd"), None);
        host.run(&Command::new("apt-get", ["install", "-y", "docker.io"])).await.unwrap();
        assert!(host.which("dockerd").is_some());
        assert!(matches!(host.run(&Command::new("brew", ["x"])).await, Err(RunError::Missing { .. })));
        assert_eq!(host.journal(), ["ip link", "systemctl start docker", "apt-get install -y docker.io", "brew x"]);
    }

    #[tokio::test]
    async fn files_folders_and_what_forbids_them() {
        let host = FakeHost::new().file("/etc/hosts", "x").read_only("/etc").full("/srv");
        host.write(Path::new("/home/dev/a/b"), b"b", 0o600).await.unwrap();
        assert_eq!(host.list(Path::new("/home/dev")).await.unwrap(), ["a"]);
        assert_eq!(host.mode("/home/dev/a/b"), Some(0o600));
        assert!(host.exists(Path::new("/home/dev/a")).await);
        let denied = host.write(Path::new("/etc/hosts"), b"y", 0o644).await.unwrap_err();
        assert_eq!(denied.to_string(), "cannot write /etc/hosts: permission denied");
        let full = host.write(Path::new("/srv/x"), b"y", 0o644).await.unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(host.text("/etc/hosts").as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn locks_exclude_each_other() {
        let host = FakeHost::new();
        let path = Path::new("/home/dev/lock");
        let lock = host.try_lock(path, "macula up").unwrap().unwrap();
        assert_eq!(host.try_lock(path, "macula down").unwrap().unwrap_err().command, "macula up");
        drop(lock);
        assert!(host.try_lock(path, "macula down").unwrap().is_ok());
    }
}
