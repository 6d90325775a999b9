//! What the machine in memory answers and does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::super::{Command, Disk, Folders, Held, Host, HostFacts, HttpAnswer, Lock, Output, Route, RunError};
use super::{FAKE_PID, FakeFile, FakeHost};
use crate::model::{Listener, Protocol, StoppedBy};

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
        world.files.remove(path);
        world.locks.insert(path.to_owned(), mine);
        let (machine, taken) = (self.clone(), path.to_owned());
        Ok(Ok(Lock::new(path.to_owned(), move || {
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
