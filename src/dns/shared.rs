//! The running parts and how they change: what handle and control socket act on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use ipnet::IpNet;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::cookie::Secret;
use super::core::{Core, QueryLog};
use super::feed::{FeedStatus, Source};
use super::forward::{ForwardSettings, Forwarder, Upstreams};
use super::inheritance::{Inheritance, Inherited};
use super::listener::Listener;
use super::metrics::Metrics;
use super::scrape::serve_metrics;
use super::secure::Identities;
use super::snapshot::{Snapshot, Swap};
use super::socket::open_files;
use super::tcp::{Acceptor, TcpLimits};
use super::terms::{EncryptedListen, Listen, ServerError, Status, ZoneEntry, ZoneStatus};
use super::tree::{FedZone, with_programs};
use super::udp::Worker;
use super::wire::Name;
use crate::model::Zone;

/// Questions over UDP that wait for upstream, all workers together.
const PENDING: usize = 2048;
/// A worker needs its buffers, which are not on the stack, and little else.
const STACK: usize = 256 * 1024;
const LETTING_GO: Duration = Duration::from_secs(1);
/// What waits for upstream when another takes our place is answered within this time. New questions wait as long, so that
/// it is less than any client's patience.
const FINISHING: Duration = Duration::from_millis(1500);
/// In front of an apex: the zone is the name of a program. Host names have no underscore, so no platform's apex begins
/// like this.
const PROGRAM: &str = "_run.";

/// What the resolver is started with.
#[derive(Clone, Default)]
pub struct Config {
    /// Kept as long as it runs.
    pub listen: Vec<Listen>,
    pub zones: Vec<ZoneEntry>,
    /// Answered beside loopback clients.
    pub networks: Vec<IpNet>,
    /// The servers for everything else, followed as they change. None: only our zones are answered.
    pub upstreams: Option<watch::Receiver<Upstreams>>,
    pub forward: ForwardSettings,
    /// Threads for each address; 0: one a core.
    pub workers: usize,
    pub tcp: TcpLimits,
    /// Where `/metrics` is shown.
    pub metrics: Option<SocketAddr>,
    /// Addresses where questions come encrypted, and what is shown there.
    pub encrypted: Vec<EncryptedListen>,
    pub identities: Arc<Identities>,
    /// The control socket, made with mode 0600.
    pub control: Option<PathBuf>,
    pub query_log: Option<QueryLog>,
    /// Sockets that a former resolver has left; used for the addresses in `listen` (or of a platform) that are theirs.
    pub inheritance: Arc<Inheritance>,
    /// The program that may take this one's place on request. None: nobody.
    pub heir: Option<PathBuf>,
}

/// What handle and control socket act on.
pub struct Shared {
    pub core: Arc<Core>,
    state: Mutex<State>,
    pub runtime: runtime::Handle,
    pending: Arc<Semaphore>,
    pub stop: CancellationToken,
    workers: usize,
    /// TCP connections of all addresses together.
    slots: Arc<Semaphore>,
    tcp: TcpLimits,
    networks: Vec<IpNet>,
    inheritance: Arc<Inheritance>,
    pub heir: Option<PathBuf>,
    /// The heir is to take over.
    pub succession: CancellationToken,
    pub metrics_address: Mutex<Option<SocketAddr>>,
    /// Where encrypted questions come.
    pub encrypted: Mutex<Vec<EncryptedListen>>,
}

#[derive(Default)]
struct State {
    /// The platforms'.
    entries: BTreeMap<Name, ZoneEntry>,
    /// The names of programs. They lie over the platforms' zones: no entry changes when one comes or goes.
    programs: BTreeMap<Name, Zone>,
    fed: BTreeMap<Name, Arc<FedZone>>,
    feeds: BTreeMap<Name, Feed>,
    /// Zones whose feed was looked at, whatever came of it.
    heard: BTreeSet<Name>,
    listeners: Vec<Listener>,
    /// Where the counters are shown for a platform's Prometheus, and what ends that.
    metrics: BTreeMap<SocketAddr, CancellationToken>,
}

struct Feed {
    server: SocketAddr,
    status: Arc<Mutex<FeedStatus>>,
    stop: CancellationToken,
}

impl ZoneEntry {
    /// The name of a program (`macula run`) with its records.
    pub fn program(mut zone: Zone) -> Self {
        zone.apex = Self::program_apex(&zone.apex);
        Self::new(zone)
    }

    /// By what such an entry is taken out.
    pub fn program_apex(host: &str) -> String {
        format!("{PROGRAM}{host}")
    }
}

impl Shared {
    /// Binds what the configuration names and begins to answer.
    pub fn start(config: Config, workers: usize, runtime: runtime::Handle) -> Result<Arc<Self>, ServerError> {
        let clock = Clock::start();
        // a third for clients, a third for upstream, the rest for what is open anyway
        let share = (open_files() / 3).max(16);
        let mut forward = config.forward;
        forward.sockets = forward.sockets.min(share);
        let mut tcp = config.tcp;
        tcp.connections = tcp.connections.min(share);
        let shared = Arc::new(Self {
            core: Arc::new(Core {
                snapshot: Swap::new(Snapshot::build(&[], &BTreeMap::new())?),
                secret: Secret::random(),
                forwarder: config.upstreams.map(|upstreams| Forwarder::new(upstreams, forward, clock)),
                networks: Swap::new(config.networks.clone()),
                metrics: Metrics::default(),
                query_log: config.query_log,
                clock,
            }),
            state: Mutex::default(),
            runtime,
            pending: Arc::new(Semaphore::new(PENDING)),
            stop: CancellationToken::new(),
            workers,
            slots: Arc::new(Semaphore::new(tcp.connections)),
            tcp,
            networks: config.networks,
            inheritance: config.inheritance,
            heir: config.heir,
            succession: CancellationToken::new(),
            metrics_address: Mutex::default(),
            encrypted: Mutex::default(),
        });
        let begin = || {
            // the zones first: the first question must find them
            for entry in config.zones {
                shared.put(entry)?;
            }
            for listen in config.listen {
                shared.listen(&mut shared.state(), listen, true)?;
            }
            Ok(())
        };
        match begin() {
            Ok(()) => {
                shared.follow_upstreams();
                Ok(shared)
            }
            Err(error) => {
                shared.close();
                Err(error)
            }
        }
    }

    /// Stops everything and waits until the addresses are free.
    pub fn close(&self) {
        self.stop.cancel();
        let listeners = std::mem::take(&mut self.state().listeners);
        let accepting: Vec<_> = listeners.into_iter().filter_map(Listener::close).collect();
        for task in accepting {
            // it ends by hanging up; one that hangs is not waited for
            let _ = task.recv_timeout(LETTING_GO);
        }
    }

    /// Stops answering, without letting go of the addresses: what is asked from now on waits in the sockets, for whoever
    /// gets them. What was asked before is answered.
    pub async fn hand_over(&self) -> io::Result<Vec<Inherited>> {
        let listeners = std::mem::take(&mut self.state().listeners);
        let give = move || listeners.into_iter().map(Listener::hand_over).collect::<io::Result<Vec<Inherited>>>();
        let given = tokio::task::spawn_blocking(give).await.map_err(io::Error::other)??;
        let all = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        let finished = async {
            let _ = self.pending.acquire_many(all(PENDING)).await;
            let _ = self.slots.acquire_many(all(self.tcp.connections)).await;
        };
        // whoever still waits asks again
        let _ = tokio::time::timeout(FINISHING, finished).await;
        Ok(given)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn addresses(&self) -> Vec<Listen> {
        self.state().listeners.iter().map(|listener| listener.bound.clone()).collect()
    }

    /// Binds an address and starts its workers, unless that was done before.
    fn listen(&self, state: &mut State, listen: Listen, permanent: bool) -> Result<(), ServerError> {
        let known = |listener: &Listener| {
            let same = !permanent && !listener.permanent && listener.wanted == listen;
            same || (listen.address.port() != 0 && listener.bound.address == listen.address)
        };
        if state.listeners.iter().any(known) {
            return Ok(());
        }
        let (mut listener, tcp) = Listener::bind(listen, permanent, self.workers, &self.inheritance)?;
        listener.tcp = self.stop.child_token();
        listener.leaving = listener.tcp.child_token();
        let bound = listener.bound.clone();
        let started = listener.sockets.clone().into_iter().try_for_each(|socket| {
            let worker = Worker {
                core: Arc::clone(&self.core),
                socket,
                view: bound.view,
                stop: Arc::clone(&listener.stop),
                runtime: self.runtime.clone(),
                pending: Arc::clone(&self.pending),
            };
            let thread = std::thread::Builder::new().name("dns-udp".to_owned()).stack_size(STACK);
            listener.threads.push(thread.spawn(move || worker.run())?);
            Ok(())
        });
        let guard = self.runtime.enter();
        let tcp = started.and_then(|()| tokio::net::TcpListener::from_std(tcp));
        drop(guard);
        match tcp {
            Ok(tcp) => {
                let (core, stop) = (Arc::clone(&self.core), listener.tcp.clone());
                let slots = Arc::clone(&self.slots);
                let leaving = listener.leaving.clone();
                let acceptor = Acceptor { core, view: bound.view, limits: self.tcp, slots, stop, leaving };
                let (sender, accepting) = mpsc::channel();
                self.runtime.spawn(async move {
                    acceptor.run(tcp).await;
                    drop::<mpsc::Sender<()>>(sender);
                });
                listener.accepting = Some(accepting);
                state.listeners.push(listener);
                // those of the configuration first, as they were named
                state.listeners.sort_by_key(|listener| !listener.permanent);
                Ok(())
            }
            Err(error) => {
                listener.close();
                Err(ServerError::Threads(error))
            }
        }
    }

    pub fn put(self: &Arc<Self>, entry: ZoneEntry) -> Result<(), ServerError> {
        if let Some(host) = entry.zone.apex.strip_prefix(PROGRAM).map(str::to_owned) {
            return self.put_program(Zone { apex: host, ..entry.zone });
        }
        let apex = Name::parse(&entry.zone.apex)?;
        let mut state = self.state();
        let mut entries = state.entries.clone();
        entries.insert(apex, entry.clone());
        // nothing changes when the new zone is bad, or an address cannot be had
        let snapshot = self.build(&entries, &state.programs, &state)?;
        for listen in entry.listen {
            self.listen(&mut state, listen, false)?;
        }
        state.entries = entries;
        self.core.snapshot.store(snapshot);
        self.settle(&mut state);
        Ok(())
    }

    fn put_program(&self, zone: Zone) -> Result<(), ServerError> {
        let host = Name::parse(&zone.apex)?;
        let mut state = self.state();
        let mut programs = state.programs.clone();
        programs.insert(host, zone);
        let snapshot = self.build(&state.entries, &programs, &state)?;
        state.programs = programs;
        self.core.snapshot.store(snapshot);
        Ok(())
    }

    pub fn remove(self: &Arc<Self>, apex: &str) -> Result<Option<usize>, ServerError> {
        let mut state = self.state();
        let known = match apex.strip_prefix(PROGRAM) {
            Some(host) => state.programs.remove(&Name::parse(host)?).is_some(),
            None => state.entries.remove(&Name::parse(apex)?).is_some(),
        };
        if !known {
            return Ok(None);
        }
        self.core.snapshot.store(self.build(&state.entries, &state.programs, &state)?);
        self.settle(&mut state);
        // a program that has a name needs the resolver, too
        Ok(Some(state.entries.len() + state.programs.len()))
    }

    pub fn swap(self: &Arc<Self>, zones: Vec<Zone>) -> Result<(), ServerError> {
        let mut state = self.state();
        let mut entries = BTreeMap::new();
        for zone in zones {
            let apex = Name::parse(&zone.apex)?;
            let entry = match state.entries.get(&apex) {
                Some(known) => ZoneEntry { zone, ..known.clone() },
                None => ZoneEntry::new(zone),
            };
            entries.insert(apex, entry);
        }
        self.core.snapshot.store(self.build(&entries, &state.programs, &state)?);
        state.entries = entries;
        self.settle(&mut state);
        Ok(())
    }

    fn build(
        &self,
        entries: &BTreeMap<Name, ZoneEntry>,
        programs: &BTreeMap<Name, Zone>,
        state: &State,
    ) -> Result<Snapshot, ServerError> {
        let fed = entries.iter().filter(|(_, entry)| entry.feed.is_some()).map(|(apex, _)| apex);
        let awaited: BTreeSet<Name> = fed.filter(|apex| !state.heard.contains(*apex)).cloned().collect();
        let laid = with_programs(entries.iter().map(|(apex, entry)| (apex, &entry.zone)), programs);
        let zones: Vec<&Zone> = laid.iter().map(|zone| &**zone).collect();
        Ok(Snapshot::awaiting(&zones, &state.fed, &awaited)?)
    }

    /// Makes networks, feeds and addresses follow the entries.
    fn settle(self: &Arc<Self>, state: &mut State) {
        let mut networks = self.networks.clone();
        networks.extend(state.entries.values().flat_map(|entry| entry.networks.iter().copied()));
        if let Some(forwarder) = &self.core.forwarder {
            forwarder.inner.store(networks.clone());
        }
        networks.extend(state.entries.values().flat_map(|entry| entry.clients.iter().copied()));
        self.core.networks.store(networks);

        let wanted: BTreeMap<Name, SocketAddr> =
            state.entries.iter().filter_map(|(apex, entry)| Some((apex.clone(), entry.feed?))).collect();
        state.feeds.retain(|apex, feed| {
            let stays = wanted.get(apex) == Some(&feed.server);
            if !stays {
                feed.stop.cancel();
            }
            stays
        });
        state.fed.retain(|apex, _| wanted.contains_key(apex));
        state.heard.retain(|apex| wanted.contains_key(apex));
        for (apex, server) in wanted {
            state.feeds.entry(apex.clone()).or_insert_with(|| self.follow(apex, server));
        }

        self.settle_metrics(state);

        let needed: Vec<&Listen> = state.entries.values().flat_map(|entry| &entry.listen).collect();
        let (kept, closed) = std::mem::take(&mut state.listeners)
            .into_iter()
            .partition(|listener: &Listener| listener.permanent || needed.contains(&&listener.wanted));
        state.listeners = kept;
        closed.into_iter().for_each(|listener| drop(listener.close()));
    }

    /// An address that cannot be had is no reason to answer no questions: it is left out, and tried
    /// again when the entry is put again.
    fn settle_metrics(self: &Arc<Self>, state: &mut State) {
        let wanted: Vec<SocketAddr> = state.entries.values().filter_map(|entry| entry.metrics).collect();
        state.metrics.retain(|address, stop| {
            let stays = wanted.contains(address);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let _guard = self.runtime.enter();
        for address in wanted {
            if state.metrics.contains_key(&address) {
                continue;
            }
            let stop = self.stop.child_token();
            if serve_metrics(&self.core, address, stop.clone()).is_ok() {
                state.metrics.insert(address, stop);
            }
        }
    }

    /// Where the counters are shown for the platforms' Prometheus.
    pub fn inner_metrics(&self) -> Vec<SocketAddr> {
        self.state().metrics.keys().copied().collect()
    }

    /// Starts following a feed.
    fn follow(self: &Arc<Self>, apex: Name, server: SocketAddr) -> Feed {
        let feed = Feed { server, status: Arc::default(), stop: self.stop.child_token() };
        let (shared, status, stop) = (Arc::downgrade(self), Arc::clone(&feed.status), feed.stop.clone());
        let source = Source { zone: apex.clone(), server };
        let guard = stop.clone();
        let publish = move |zone: Option<FedZone>| {
            let Some(shared) = shared.upgrade() else { return };
            let mut state = shared.state();
            // taken out while the transfer ran
            if guard.is_cancelled() {
                return;
            }
            state.heard.insert(apex.clone());
            if let Some(zone) = zone {
                state.fed.insert(apex.clone(), Arc::new(zone));
            }
            match shared.build(&state.entries, &state.programs, &state) {
                Ok(snapshot) => shared.core.snapshot.store(snapshot),
                Err(error) => tracing::warn!(zone = %apex, %error, "a transferred zone cannot be served"),
            }
        };
        let core = Arc::clone(&self.core);
        let asked = move || core.metrics.answered();
        self.runtime.spawn(async move {
            tokio::select! {
                () = source.follow(status, asked, publish) => {}
                () = stop.cancelled() => {}
            }
        });
        feed
    }

    /// Other servers, other answers.
    fn follow_upstreams(&self) {
        let Some(forwarder) = self.core.forwarder.clone() else { return };
        let mut changes = forwarder.changes();
        changes.mark_unchanged();
        let stop = self.stop.clone();
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() {
                        return;
                    },
                    () = stop.cancelled() => return,
                }
                forwarder.forget();
            }
        });
    }

    pub fn status(&self) -> Status {
        let state = self.state();
        let mut zones: Vec<ZoneStatus> = Vec::new();
        for (apex, entry) in &state.entries {
            let feed = state.feeds.get(apex);
            zones.push(ZoneStatus {
                apex: apex.to_string(),
                serial: entry.zone.soa.serial,
                records: entry.zone.records.len(),
                feed: entry.feed,
                feed_status: feed.map(|feed| feed.status.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            });
        }
        zones.sort_by(|one, other| one.apex.cmp(&other.apex));
        let forwarder = self.core.forwarder.as_ref();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listen: state.listeners.iter().map(|listener| listener.bound.clone()).collect(),
            encrypted: self.encrypted.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            metrics: *self.metrics_address.lock().unwrap_or_else(PoisonError::into_inner),
            inner_metrics: state.metrics.keys().copied().collect(),
            zones,
            upstreams: forwarder.map(|forwarder| forwarder.status()).unwrap_or_default(),
            dropped_upstreams: forwarder.map(|forwarder| forwarder.dropped()).unwrap_or_default(),
            questions: self.core.metrics.answered(),
            kept_back: forwarder.map(|forwarder| forwarder.kept_back()).unwrap_or_default(),
            uptime_seconds: self.core.now().into(),
        }
    }
}
