//! A machine in memory, for tests: what it has and says is set up front, what was done to it can
//! be looked at afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Command, Disk, Folders, Held, Host, HostFacts, HttpAnswer, Lock, Output, Route, RunError};
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
    /// with a `*` behind; later ones win. Its program counts as installed.
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

    /// No port of this address can be bound, for this reason.
    /// It has not even loopback, as in a network namespace of its own.
    pub fn without_network(self) -> Self {
        self.world().no_network = true;
        self.world().routes.clear();
        self
    }

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

fn missing(what: &str, thing: impl std::fmt::Display) -> io::Error {
    let kind = io::ErrorKind::NotFound;
    io::Error::new(kind, format!("cannot {what} {thing}: {kind}"))
}

#[async_trait]
impl Host for FakeHost {
    fn facts(&self) -> HostFacts {
        self.world().facts.clone()
    }

    fn env(&self, name: &str) -> Option<String> {
        self.world().environment.get(name).cloned()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        self.world().environment.clone()
    }

    fn folders(&self) -> Folders {
        self.world().folders.clone()
    }

    async fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.world().files.get(path).cloned();
        file.map(|file| file.content).ok_or_else(|| missing("read", path.display()))
    }

    fn read_kernel(&self, path: &Path) -> Option<String> {
        let file = self.world().files.get(path).cloned()?;
        String::from_utf8(file.content).ok()
    }

    async fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.writable("write", path)?;
        let mut world = self.world();
        let file = FakeFile { content: content.to_vec(), mode, modified: world.now };
        world.files.insert(path.to_owned(), file);
        Ok(())
    }

    async fn replace(&self, old: &Path, new: &Path) -> io::Result<()> {
        self.writable("replace", old)?;
        let mut world = self.world();
        let mode = world.files.get(old).map(|file| file.mode).ok_or_else(|| missing("replace", old.display()))?;
        let file = world.files.remove(new).ok_or_else(|| missing("replace", new.display()))?;
        world.files.insert(old.to_owned(), FakeFile { mode, ..file });
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.writable("remove", path)?;
        self.world().files.remove(path);
        Ok(())
    }

    async fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.writable("remove", path)?;
        let mut world = self.world();
        world.files.retain(|file, _| !file.starts_with(path));
        world.made_folders.retain(|folder, _| !folder.starts_with(path));
        Ok(())
    }

    async fn remove_empty_folder(&self, path: &Path) -> io::Result<()> {
        self.writable("remove", path)?;
        let mut world = self.world();
        if world.files.keys().any(|file| file.starts_with(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.made_folders.retain(|folder, _| !folder.starts_with(path));
        Ok(())
    }

    async fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.writable("create the folder", path)?;
        self.world().made_folders.entry(path.to_owned()).or_insert(mode);
        Ok(())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        let below = world.files.keys().chain(world.made_folders.keys());
        let first = |entry: &PathBuf| {
            let rest = entry.strip_prefix(path).ok()?;
            Some(rest.components().next()?.as_os_str().to_string_lossy().into_owned())
        };
        let names: BTreeSet<String> = below.filter_map(first).collect();
        Ok(names.into_iter().collect())
    }

    async fn exists(&self, path: &Path) -> bool {
        let world = self.world();
        world.files.keys().chain(world.made_folders.keys()).any(|entry| entry.starts_with(path))
    }

    async fn modified(&self, path: &Path) -> io::Result<i64> {
        let file = self.world().files.get(path).cloned();
        file.map(|file| file.modified).ok_or_else(|| missing("look at", path.display()))
    }

    async fn length(&self, path: &Path) -> io::Result<u64> {
        self.read(path).await.map(|content| content.len() as u64)
    }

    fn try_lock(&self, path: &Path, command: &str) -> io::Result<Result<Lock, Held>> {
        self.writable("lock", path)?;
        let mut world = self.world();
        if let Some(held) = world.locks.get(path) {
            return Ok(Err(held.clone()));
        }
        let mine = Held { pid: Some(FAKE_PID), command: command.to_owned(), since: world.now };
        let interrupted = world.files.remove(path).and_then(|file| Held::parse(&file.content));
        world.locks.insert(path.to_owned(), mine);
        let (machine, taken) = (self.clone(), path.to_owned());
        Ok(Ok(Lock::new(path.to_owned(), interrupted, move || {
            machine.world().locks.remove(&taken);
        })))
    }

    async fn run(&self, command: &Command) -> Result<Output, RunError> {
        let line = command.to_string();
        self.world().journal.push(line.clone());
        let output = match self.behaviour(&line) {
            Some(behaviour) => behaviour(self, command)?,
            None if self.world().programs.contains(&command.program) => Output { status: Some(0), ..Output::default() },
            None => return Err(RunError::Missing { command: line, program: command.program.clone() }),
        };
        if output.success() || command.may_fail {
            return Ok(output);
        }
        let status = output.status.map_or("a signal".to_owned(), |status| format!("status {status}"));
        Err(RunError::Failed { command: line, status, output: output.stderr().trim_end().to_owned() })
    }

    fn which(&self, program: &str) -> Option<PathBuf> {
        self.world().programs.contains(program).then(|| Path::new("/usr/bin").join(program))
    }

    async fn spawn_detached(&self, command: &Command, log: &Path) -> Result<u32, RunError> {
        let line = command.to_string();
        self.world().journal.push(format!("{line} &"));
        let output = match self.behaviour(&line) {
            Some(behaviour) => behaviour(self, command)?,
            None if self.world().programs.contains(&command.program) => Output::default(),
            None => return Err(RunError::Missing { command: line, program: command.program.clone() }),
        };
        let said = [output.stdout, output.stderr].concat();
        self.put(log, said);
        let mut world = self.world();
        let pid = world.processes.last().copied().unwrap_or(FAKE_PID) + 1;
        world.processes.insert(pid);
        Ok(pid)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        (name == "eth0").then_some(2)
    }

    fn alive(&self, pid: u32) -> bool {
        self.world().processes.contains(&pid)
    }

    async fn listeners(&self) -> io::Result<Vec<Listener>> {
        let anonymous = |listener: &Listener| Listener {
            pid: None,
            process: None,
            stopped_by: StoppedBy::Unknown,
            ..listener.clone()
        };
        Ok(self.world().listeners.iter().map(anonymous).collect())
    }

    async fn owners(&self, listeners: Vec<Listener>) -> Vec<Listener> {
        let world = self.world();
        let same = |one: &Listener, other: &Listener| {
            (one.address, one.port, one.protocol) == (other.address, other.port, other.protocol)
        };
        let known =
            |listener: Listener| world.listeners.iter().find(|one| same(one, &listener)).cloned().unwrap_or(listener);
        listeners.into_iter().map(known).collect()
    }

    async fn routes(&self) -> io::Result<Vec<Route>> {
        Ok(self.world().routes.clone())
    }

    async fn can_bind(&self, address: SocketAddr, protocol: Protocol) -> io::Result<()> {
        let world = self.world();
        if let Some(kind) = world.unbindable.get(&address.ip()) {
            return Err((*kind).into());
        }
        let in_the_way = |one: &Listener| {
            let here = one.address == address.ip() || one.address.is_unspecified() || address.ip().is_unspecified();
            here && one.protocol == protocol && one.port == address.port() && address.port() != 0
        };
        if world.listeners.iter().any(in_the_way) { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
    }

    async fn disk(&self, path: &Path) -> io::Result<Disk> {
        let world = self.world();
        let nearest = path.ancestors().find_map(|place| world.disks.get(place));
        nearest.copied().ok_or_else(|| missing("look at the file system of", path.display()))
    }

    async fn sysctl(&self, name: &str) -> io::Result<String> {
        let value = self.world().sysctls.get(name).cloned();
        value.ok_or_else(|| missing("read", name))
    }

    async fn connect(&self, address: SocketAddr, _: Duration) -> io::Result<()> {
        let world = self.world();
        if world.no_network {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let listens =
            |one: &Listener| one.protocol == Protocol::Tcp && one.address == address.ip() && one.port == address.port();
        let open = world.listeners.iter().any(listens) || world.http.keys().any(|(open, _)| *open == address);
        if open { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    async fn http_get(&self, address: SocketAddr, _: &str, path: &str, _: Duration) -> io::Result<HttpAnswer> {
        let world = self.world();
        if world.no_network {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        if let Some(answer) = world.http.get(&(address, path.to_owned())) {
            return Ok(answer.clone());
        }
        if world.http.keys().any(|(open, _)| *open == address) {
            return Ok(HttpAnswer { status: 404, body: Vec::new() });
        }
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn http_post(&self, _: &str, _: &str, _: Vec<u8>, _: Duration) -> io::Result<HttpAnswer> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = self.world().names.get(name).cloned();
        addresses.ok_or_else(|| missing("resolve", name))
    }

    fn now(&self) -> i64 {
        self.world().now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
