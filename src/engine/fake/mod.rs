//! An engine in memory, good enough to carry whole runs of up and down in a test. What it has,
//! what pulls answer, which containers fail and when it dies is said beforehand; what was asked of
//! it is in its journal.
//!
//! ```ignore
//! let engine = FakeEngine::new().with_image("nginx:1").pull_fails("gone:1", FakePull::NotFound).crashes("web", 1, &["no such file"]);
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use tokio::sync::Notify;

use super::creation::is_unfinished;
use super::{Engine, EngineError, ExecOutput, Found, LogLine, Query};
use crate::model::{
    AnyError, ContainerState, EngineKind, Facts, FileSpec, Fingerprint, Health, ObservedContainer, ObservedImage,
    ObservedNetwork, ObservedVolume, label,
};

mod archive;
mod containers;
mod images;
mod networks;
mod streams;

/// What a pull of an image that cannot be had answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakePull {
    NotFound,
    Denied,
    /// With the seconds after which to try again.
    RateLimited(Option<u64>),
    Unreachable,
    /// 500
    ServerFault,
    /// Nothing comes, and the connection stays.
    Silent,
    DiskFull,
}

/// How a container behaves from its start on; looked up by its name or its service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Script {
    /// Ends at once with this status.
    Ends(i64),
    /// Runs, and its healthcheck says no.
    NeverHealthy,
}

#[derive(Debug, Clone)]
struct FakeContainer {
    observed: ObservedContainer,
    service: String,
    files: BTreeMap<String, FileSpec>,
    volumes: BTreeSet<String>,
    /// Path in it -> path of the engine's machine.
    binds: BTreeMap<String, PathBuf>,
    /// Its tmpfs.
    in_memory: Vec<PathBuf>,
    log: Vec<LogLine>,
    has_healthcheck: bool,
    one_shot: bool,
    /// The addresses it gets at its start.
    networks: Vec<(String, Option<Ipv4Addr>)>,
}

#[derive(Debug, Default)]
struct World {
    networks: BTreeMap<String, ObservedNetwork>,
    /// Networks, and the names of the containers that are attached to them.
    attached: BTreeSet<(String, String)>,
    volumes: BTreeMap<String, ObservedVolume>,
    images: BTreeMap<String, ObservedImage>,
    containers: BTreeMap<String, FakeContainer>,
    pullable: BTreeMap<String, ObservedImage>,
    pull_failures: BTreeMap<String, FakePull>,
    pull_fails_once: BTreeMap<String, FakePull>,
    build_failures: BTreeMap<String, Vec<String>>,
    scripts: BTreeMap<String, Script>,
    logs: BTreeMap<String, Vec<String>>,
    execs: BTreeMap<(String, String), ExecOutput>,
    taken_ports: BTreeSet<(IpAddr, u16)>,
    held_networks: BTreeSet<String>,
    pull_time: Duration,
    build_time: Duration,
    journal: Vec<String>,
    calls: usize,
    dies_after: Option<usize>,
    clock: i64,
    made: u64,
    /// What its machine has, and when that was changed last; `None`: whatever is asked for.
    paths: Option<BTreeMap<PathBuf, i128>>,
    /// Bytes at the end of an archive of files that are not sent.
    packs_less: usize,
}

/// The engine. Clones share one world, so that a test keeps one and hands the other in.
#[derive(Clone)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
    facts: Facts,
    /// Of this handle's run alone.
    cut: Option<Arc<Cut>>,
    late: Option<(Arc<Cut>, usize)>,
}

/// The program is killed with one changing request under way: the engine has it, and nobody waits
/// for its answer.
#[derive(Debug, Default)]
pub struct Cut {
    /// Changing requests of the run before the one under way.
    after: usize,
    seen: AtomicUsize,
    carry_on: Notify,
}

impl Cut {
    /// Whether the run came as far as that request.
    pub fn reached(&self) -> bool {
        self.seen.load(Ordering::SeqCst) > self.after
    }
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    /// Docker 20.10 on a Linux machine, empty.
    pub fn new() -> Self {
        let facts = Facts {
            api_version: "1.41".into(),
            container_addresses: true,
            architecture: "amd64".into(),
            cpus: 4,
            memory: 8 << 30,
            data_root: Some("/var/lib/docker".into()),
            storage_driver: Some("overlay2".into()),
            cgroup_version: Some(2),
            socket: Some("/var/run/docker.sock".into()),
            ..Facts::of("Docker 20.10.24", EngineKind::Docker)
        };
        let world = World { clock: 1_700_000_000, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), facts, cut: None, late: None }
    }

    pub fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    fn change(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.lock());
        self
    }

    /// Has an image. Its id follows from the reference.
    pub fn with_image(self, reference: &str) -> Self {
        self.with_image_as(reference, image_of(reference, &BTreeMap::new()))
    }

    pub fn with_image_as(self, reference: &str, image: ObservedImage) -> Self {
        self.change(|world| {
            world.images.insert(reference.to_owned(), image);
        })
    }

    /// A pull of this reference succeeds, whatever was said of it before. Whatever is not named does not exist.
    pub fn pullable(self, reference: &str) -> Self {
        self.change(|world| {
            world.pull_failures.remove(reference);
        })
        .pullable_as(reference, image_of(reference, &BTreeMap::new()))
    }

    pub fn pullable_as(self, reference: &str, image: ObservedImage) -> Self {
        self.change(|world| {
            world.pullable.insert(reference.to_owned(), image);
        })
    }

    /// An archive of files breaks off so many bytes before its end, and nothing is said of it.
    pub fn packs_less(self, bytes: usize) -> Self {
        self.change(|world| world.packs_less = bytes)
    }

    pub fn pull_fails(self, reference: &str, how: FakePull) -> Self {
        self.change(|world| {
            world.pull_failures.insert(reference.to_owned(), how);
        })
    }

    /// Only the next time.
    pub fn pull_fails_once(self, reference: &str, how: FakePull) -> Self {
        self.change(|world| {
            world.pull_fails_once.insert(reference.to_owned(), how);
        })
    }

    /// Every pull takes this long.
    pub fn pulls_take(self, time: Duration) -> Self {
        self.change(|world| world.pull_time = time)
    }

    /// Every build takes this long.
    pub fn builds_take(self, time: Duration) -> Self {
        self.change(|world| world.build_time = time)
    }

    /// A build of this tag fails with these last lines.
    pub fn build_fails(self, tag: &str, log: &[&str]) -> Self {
        let log = log.iter().map(|line| (*line).to_owned()).collect();
        self.change(|world| {
            world.build_failures.insert(tag.to_owned(), log);
        })
    }

    /// The container (by name or service) ends with this status as soon as it is started. For a
    /// one-shot this is its status, which is 0 otherwise.
    pub fn exits(self, container: &str, status: i64) -> Self {
        self.change(|world| {
            world.scripts.insert(container.to_owned(), Script::Ends(status));
        })
    }

    /// The container (by name or service) ends with this status at its start, having said these
    /// lines.
    pub fn crashes(self, container: &str, status: i64, log: &[&str]) -> Self {
        self.exits(container, status).says(container, log)
    }

    /// Its healthcheck never passes.
    pub fn never_healthy(self, container: &str) -> Self {
        self.change(|world| {
            world.scripts.insert(container.to_owned(), Script::NeverHealthy);
        })
    }

    /// Takes back [`FakeEngine::exits`], [`FakeEngine::crashes`] and [`FakeEngine::never_healthy`].
    pub fn recovers(self, container: &str) -> Self {
        self.change(|world| {
            world.scripts.remove(container);
        })
    }

    /// What a container (by name or service) writes to its log at its start.
    pub fn says(self, container: &str, log: &[&str]) -> Self {
        let log = log.iter().map(|line| (*line).to_owned()).collect();
        self.change(|world| {
            world.logs.insert(container.to_owned(), log);
        })
    }

    /// What a command in a container (by name or service) answers; any other answers nothing, with
    /// status 0. `command` is its words with spaces between them.
    pub fn exec_answers(self, container: &str, command: &str, status: i64, stdout: &str, stderr: &str) -> Self {
        let output = ExecOutput { exit_code: status, stdout: stdout.into(), stderr: stderr.into() };
        self.change(|world| {
            world.execs.insert((container.to_owned(), command.to_owned()), output);
        })
    }

    /// Somebody outside holds this port: a container that publishes it does not start.
    pub fn port_taken(self, address: &str, port: u16) -> Self {
        let address = address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.change(|world| {
            world.taken_ports.insert((address, port));
        })
    }

    /// The engine counts an endpoint of a container that is gone on this network, until it is restarted.
    pub fn holds_network(self, name: &str) -> Self {
        self.change(|world| {
            world.held_networks.insert(name.to_owned());
        })
    }

    /// It runs on a machine of its own, which has these files and folders and no others, each changed last at this
    /// time.
    pub fn elsewhere_with(self, paths: &[(&Path, i128)]) -> Self {
        let paths = paths.iter().map(|(path, changed)| ((*path).to_owned(), *changed)).collect();
        self.change(|world| world.paths = Some(paths))
    }

    /// What its restart frees is free.
    pub fn restarted(self) -> Self {
        self.change(|world| world.held_networks.clear())
    }

    /// Answers this many more calls; the next breaks, as do all that follow.
    pub fn dies_after(self, calls: usize) -> Self {
        self.change(|world| world.dies_after = Some(world.calls + calls))
    }

    /// The same engine for a run that is killed while its next changing request after `after` is
    /// under way. No task of it gets any further.
    pub fn killed_after(&self, after: usize) -> (Self, Arc<Cut>) {
        let cut = Arc::new(Cut { after, ..Cut::default() });
        (Self { cut: Some(cut.clone()), late: None, ..self.clone() }, cut)
    }

    /// The same engine for the next run: it comes to carry out what was under way just before the
    /// changing request after `after` of this run.
    pub fn carries_on_late(&self, cut: &Arc<Cut>, after: usize) -> Self {
        let own = Arc::new(Cut { after: usize::MAX, ..Cut::default() });
        Self { cut: Some(own), late: Some((cut.clone(), after)), ..self.clone() }
    }

    /// Every changing request comes through here.
    async fn gate(&self) {
        let Some(cut) = &self.cut else { return };
        let number = cut.seen.fetch_add(1, Ordering::SeqCst);
        if let Some((late, after)) = &self.late
            && number == *after
        {
            late.carry_on.notify_one();
            // the runtime of a test has one thread: the other run's task comes first now
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        match number.cmp(&cut.after) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => cut.carry_on.notified().await,
            std::cmp::Ordering::Greater => std::future::pending().await,
        }
    }

    /// It answers again, with everything that it had; containers with a restart policy are not
    /// started again.
    pub fn revives(self) -> Self {
        self.change(|world| world.dies_after = None)
    }

    /// A network, volume or container of somebody else's (without our labels), or one of ours from
    /// before.
    pub fn with_network(self, network: ObservedNetwork) -> Self {
        self.change(|world| {
            world.networks.insert(network.name.clone(), network);
        })
    }

    pub fn with_volume(self, name: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.change(|world| {
            world
                .volumes
                .insert(name.to_owned(), ObservedVolume { name: name.into(), labels, ..ObservedVolume::default() });
        })
    }

    pub fn with_container(self, container: ObservedContainer) -> Self {
        self.change(|world| {
            let fake = FakeContainer {
                service: container.labels.get(label::SERVICE).cloned().unwrap_or_default(),
                networks: container.addresses.iter().map(|(name, ip)| (name.clone(), Some(*ip))).collect(),
                observed: container,
                files: BTreeMap::new(),
                volumes: BTreeSet::new(),
                binds: BTreeMap::new(),
                in_memory: Vec::new(),
                log: Vec::new(),
                has_healthcheck: false,
                one_shot: false,
            };
            world.containers.insert(fake.observed.name.clone(), fake);
        })
    }

    /// Every changing call so far, in order: `creating container macula-x-1`, `starting container ...`.
    pub fn journal(&self) -> Vec<String> {
        self.lock().journal.clone()
    }

    /// Forgets the journal, so that the next run stands alone in it.
    pub fn clear_journal(&self) {
        self.lock().journal.clear();
    }

    /// How many calls there were, of any kind.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// A container as it stands.
    pub fn container(&self, name: &str) -> Option<ObservedContainer> {
        self.lock().find(name).ok().map(|container| container.observed.clone())
    }

    /// Names of all containers.
    pub fn containers(&self) -> Vec<String> {
        self.lock().containers.keys().cloned().collect()
    }

    pub fn volume_names(&self) -> Vec<String> {
        self.lock().volumes.keys().cloned().collect()
    }

    pub fn network_names(&self) -> Vec<String> {
        self.lock().networks.keys().cloned().collect()
    }

    /// A file in a container, with its owner and mode.
    pub fn file(&self, container: &str, path: &str) -> Option<FileSpec> {
        self.lock().find(container).ok()?.files.get(path).cloned()
    }

    /// Somebody stops a container behind our back.
    pub fn stop_by_hand(&self, container: &str) {
        if let Ok(container) = self.lock().find_mut(container) {
            container.end(0);
        }
    }

    /// Somebody removes a container behind our back.
    pub fn remove_by_hand(&self, container: &str) {
        let mut world = self.lock();
        if let Ok(name) = world.find(container).map(|container| container.observed.name.clone()) {
            world.containers.remove(&name);
        }
    }

    /// Somebody removes an image behind our back.
    pub fn remove_image_by_hand(&self, reference: &str) {
        self.lock().images.remove(reference);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // a test that failed in another thread must not hide its own message behind this one
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The world, if the engine is alive; counts the call.
    fn call(&self, operation: &str) -> Result<MutexGuard<'_, World>, EngineError> {
        let mut world = self.lock();
        if world.dies_after.is_some_and(|last| world.calls >= last) {
            return Err(EngineError::Gone {
                operation: operation.to_owned(),
                source: AnyError::said("connection closed"),
            });
        }
        world.calls += 1;
        Ok(world)
    }

    /// As [`FakeEngine::call`], and into the journal.
    fn act(&self, operation: &str) -> Result<MutexGuard<'_, World>, EngineError> {
        let mut world = self.call(operation)?;
        world.journal.push(operation.to_owned());
        Ok(world)
    }

    /// As [`FakeEngine::act`]; the journal says more than a message would.
    fn act_on(&self, operation: &str, what: &str) -> Result<MutexGuard<'_, World>, EngineError> {
        let mut world = self.call(operation)?;
        world.journal.push(format!("{operation}: {what}"));
        Ok(world)
    }
}

fn missing(operation: &str) -> impl Fn(String) -> EngineError {
    let operation = operation.to_owned();
    move |what| EngineError::NotFound { operation: operation.clone(), what }
}

fn conflict(operation: &str, message: impl Into<String>) -> EngineError {
    EngineError::Conflict { operation: operation.to_owned(), message: message.into() }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn facts(&self) -> Result<Facts, EngineError> {
        drop(self.call("asking for the facts")?);
        Ok(self.facts.clone())
    }

    async fn find(&self, query: &Query) -> Result<Found, EngineError> {
        let world = self.call("looking at the engine")?;
        let ours = |labels: &BTreeMap<String, String>| {
            labels.get(label::PLATFORM).is_some_and(|owner| *owner == query.platform)
        };
        let containers = world.containers.values().map(|container| &container.observed);
        let (unfinished, containers) = containers
            .filter(|container| {
                query.everybody || ours(&container.labels) || query.containers.contains(&container.name)
            })
            .cloned()
            .partition(|container| is_unfinished(&container.name));
        let bears = |container: &ObservedContainer| {
            let pairs = query.labels.iter().filter_map(|label| label.split_once('='));
            pairs.into_iter().any(|(key, value)| container.label(key) == Some(value))
        };
        Ok(Found {
            labelled: world.containers.values().map(|one| &one.observed).filter(|one| bears(one)).cloned().collect(),
            containers,
            unfinished,
            networks: world
                .networks
                .values()
                .filter(|network| ours(&network.labels) || query.networks.contains(&network.name))
                .cloned()
                .collect(),
            volumes: world
                .volumes
                .values()
                .filter(|volume| ours(&volume.labels) || query.volumes.contains(&volume.name))
                .cloned()
                .collect(),
            images: query
                .images
                .iter()
                .filter_map(|reference| Some((reference.clone(), world.image(reference)?.clone())))
                .collect(),
        })
    }
}

/// An image whose id follows from its reference and labels.
fn image_of(reference: &str, labels: &BTreeMap<String, String>) -> ObservedImage {
    let hash = Fingerprint::of(&(reference, labels)).0;
    ObservedImage {
        id: format!("sha256:{hash}{hash}"),
        labels: labels.clone(),
        repo_digests: Vec::new(),
        size: 10_000_000,
        created: Some("2026-01-01T00:00:00Z".into()),
        volumes: Vec::new(),
        architecture: String::new(),
    }
}

impl FakeContainer {
    fn running(&self) -> bool {
        self.observed.state == ContainerState::Running
    }

    fn end(&mut self, status: i64) {
        self.observed.state = ContainerState::Exited;
        self.observed.exit_code = Some(status);
        self.observed.health = Health::None;
        self.observed.addresses.clear();
    }
}

impl World {
    /// By name, id, or the begin of an id, as the engine does.
    fn find(&self, container: &str) -> Result<&FakeContainer, String> {
        self.containers
            .get(container)
            .or_else(|| self.containers.values().find(|one| is_id_of(container, &one.observed.id)))
            .ok_or_else(|| format!("container {container}"))
    }

    fn find_mut(&mut self, container: &str) -> Result<&mut FakeContainer, String> {
        let name = self.find(container)?.observed.name.clone();
        self.containers.get_mut(&name).ok_or_else(|| format!("container {container}"))
    }

    fn image(&self, image: &str) -> Option<&ObservedImage> {
        self.images.get(image).or_else(|| self.images.values().find(|one| is_id_of(image, &one.id)))
    }

    fn scripted<T: Clone>(map: &BTreeMap<String, T>, container: &FakeContainer) -> Option<T> {
        map.get(&container.observed.name).or_else(|| map.get(&container.service)).cloned()
    }

    /// The next address of a network that nobody has; the first is the gateway's.
    fn free_address(&self, network: &str) -> Option<Ipv4Addr> {
        let subnet = self.networks.get(network)?.subnets.iter().find_map(|subnet| match subnet {
            ipnet::IpNet::V4(subnet) => Some(*subnet),
            ipnet::IpNet::V6(_) => None,
        })?;
        subnet.hosts().skip(1).find(|address| self.holder(network, *address).is_none())
    }

    /// Who has an address of a network, or has asked for it.
    fn holder(&self, network: &str, address: Ipv4Addr) -> Option<&str> {
        self.containers
            .values()
            .find(|container| container.observed.addresses.get(network) == Some(&address))
            .map(|container| container.observed.name.as_str())
    }

    fn attach(&mut self, name: &str, network: &str, attached: bool) {
        let pair = (network.to_owned(), name.to_owned());
        if attached && self.networks.contains_key(network) {
            self.attached.insert(pair);
        } else {
            self.attached.remove(&pair);
        }
    }
}

fn is_id_of(begin: &str, id: &str) -> bool {
    let plain = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).to_owned();
    begin.len() >= 12 && plain(id).starts_with(&plain(begin))
}

#[cfg(test)]
mod tests;
