//! The resolver as a whole: addresses, zones, feeds, workers, and the handle that holds them.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::control;
use super::cookie::Secret;
use super::core::{Core, QueryLog};
use super::feed::{FeedStatus, Source};
use super::forward::{ForwardSettings, Forwarder, UpstreamStatus, Upstreams};
use super::metrics::Metrics;
use super::snapshot::{Snapshot, Swap};
use super::socket::bind_udp;
use super::tcp::{Acceptor, TcpLimits};
use super::trace::Trace;
use super::tree::{FedZone, ZoneError};
use super::udp::Worker;
use super::wire::{Name, NameError};
use crate::model::{View, Zone};

/// Questions over UDP that wait for upstream, all workers together.
const PENDING: usize = 4096;
/// A worker needs its buffers, which are not on the stack, and little else.
const STACK: usize = 256 * 1024;
/// More workers than this gain nothing for one machine's questions.
const MOST_WORKERS: usize = 4;

/// An address to answer on, and what is seen from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Never the unspecified address: answers must come from where they were asked. Port 0: any.
    pub address: SocketAddr,
    pub view: View,
}

/// A platform's part of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneEntry {
    pub zone: Zone,
    /// The PowerDNS server that holds more records of the zone.
    #[serde(default)]
    pub feed: Option<SocketAddr>,
    /// Further addresses that go with the platform: its network's gateway.
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// Further clients that are answered: its network.
    #[serde(default)]
    pub networks: Vec<IpNet>,
}

impl ZoneEntry {
    /// A zone alone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, feed: None, listen: Vec::new(), networks: Vec::new() }
    }
}

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
    /// The control socket, made with mode 0600.
    pub control: Option<PathBuf>,
    pub query_log: Option<QueryLog>,
}

#[derive(Debug, Error)]
pub enum ServerError {
    #[error("{address} is taken by another process")]
    AddressInUse { address: SocketAddr },
    #[error("{address} needs a privilege that this process lacks")]
    NotPermitted { address: SocketAddr },
    #[error("listening on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{address} stands for every address, and answers would come from the wrong one: name each address")]
    Unspecified { address: SocketAddr },
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("starting the resolver's threads")]
    Threads(#[source] io::Error),
    #[error("another resolver answers on the control socket {path}")]
    AlreadyRunning { path: PathBuf },
    #[error("making the control socket {path}")]
    Control { path: PathBuf, source: io::Error },
}

/// The resolver's state, for `dns status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub listen: Vec<Listen>,
    pub metrics: Option<SocketAddr>,
    pub zones: Vec<ZoneStatus>,
    pub upstreams: Vec<UpstreamStatus>,
    pub questions: u64,
    pub uptime_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneStatus {
    pub apex: String,
    pub serial: u32,
    /// Our own records.
    pub records: usize,
    pub feed: Option<SocketAddr>,
    /// None without a feed.
    pub feed_status: Option<FeedStatus>,
}

pub struct Server;

impl Server {
    /// Binds all addresses and answers from then on, in threads of its own.
    pub fn start(config: Config) -> Result<Handle, ServerError> {
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS),
            some => some,
        };
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(workers.min(2))
            .thread_name("dns-tcp")
            .thread_stack_size(2 * STACK)
            .enable_all()
            .build()
            .map_err(ServerError::Threads)?;
        let started = Instant::now();
        let forwarder = config.upstreams.map(|upstreams| Forwarder::new(upstreams, config.forward, started));
        let shared = Arc::new(Shared {
            core: Arc::new(Core {
                snapshot: Swap::new(Snapshot::build(&[], &BTreeMap::new(), &[])?),
                secret: Secret::random(),
                forwarder,
                networks: Swap::new(config.networks.clone()),
                metrics: Metrics::default(),
                query_log: config.query_log,
                started,
            }),
            state: Mutex::default(),
            runtime: runtime.handle().clone(),
            pending: Arc::new(Semaphore::new(PENDING)),
            stop: CancellationToken::new(),
            workers,
            tcp: config.tcp,
            networks: config.networks,
            metrics_address: Mutex::default(),
        });
        // from here on a failure drops the handle, which undoes what was begun
        let mut handle = Handle { shared: Arc::clone(&shared), runtime: Some(runtime), control: None };
        for listen in config.listen {
            shared.listen(&mut shared.state(), listen, true)?;
        }
        for entry in config.zones {
            shared.put(entry)?;
        }
        shared.follow_upstreams();
        let guard = shared.runtime.enter();
        if let Some(address) = config.metrics {
            let bound =
                control::serve_metrics(Arc::clone(&shared), address).map_err(|source| listen_error(address, source))?;
            *shared.metrics_address.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
        }
        if let Some(path) = config.control {
            control::serve(Arc::clone(&shared), &path)?;
            handle.control = Some(path);
        }
        drop(guard);
        Ok(handle)
    }
}

/// The running resolver. Dropped, it stops.
pub struct Handle {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    control: Option<PathBuf>,
}

impl Handle {
    /// Where it answers, with the ports that were bound.
    pub fn listen(&self) -> Vec<Listen> {
        self.shared.addresses()
    }

    /// Where `/metrics` is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        *self.shared.metrics_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges all zones at once. Feeds, addresses and networks of a zone that stays, stay.
    pub fn swap(&self, zones: Vec<Zone>) -> Result<(), ServerError> {
        self.shared.swap(zones)
    }

    /// Adds a platform or takes its new form.
    pub fn put(&self, entry: ZoneEntry) -> Result<(), ServerError> {
        self.shared.put(entry)
    }

    /// Takes a platform out; how many are left, or none when it was not there.
    pub fn remove(&self, apex: &str) -> Result<Option<usize>, ServerError> {
        self.shared.remove(apex)
    }

    /// The counters in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.shared.metrics()
    }

    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The way that a question takes.
    pub async fn trace(&self, name: &str, qtype: u16, view: View) -> Result<Trace, NameError> {
        let name = Name::parse(name)?;
        let core = Arc::clone(&self.shared.core);
        // on the resolver's own threads, wherever the caller runs
        let task = self.shared.runtime.spawn(async move { core.trace(&name, qtype, view).await });
        match task.await {
            Ok(trace) => Ok(trace),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Waits until somebody asks it to stop over the control socket.
    pub async fn stopped(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Stops answering and waits for the workers.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        let listeners = std::mem::take(&mut self.shared.state().listeners);
        for listener in listeners {
            listener.close();
        }
        if let Some(path) = &self.control {
            // a leftover is recognised by the next start
            let _ = std::fs::remove_file(path);
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What handle and control socket act on.
pub struct Shared {
    pub core: Arc<Core>,
    state: Mutex<State>,
    pub runtime: runtime::Handle,
    pending: Arc<Semaphore>,
    pub stop: CancellationToken,
    workers: usize,
    tcp: TcpLimits,
    networks: Vec<IpNet>,
    metrics_address: Mutex<Option<SocketAddr>>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Name, ZoneEntry>,
    fed: BTreeMap<Name, Arc<FedZone>>,
    feeds: BTreeMap<Name, Feed>,
    listeners: Vec<Listener>,
}

struct Feed {
    server: SocketAddr,
    status: Arc<Mutex<FeedStatus>>,
    stop: CancellationToken,
}

struct Listener {
    /// As it was asked for.
    wanted: Listen,
    /// As it was bound.
    bound: Listen,
    /// Of the configuration: not closed when no platform needs it.
    permanent: bool,
    stop: Arc<AtomicBool>,
    sockets: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
    tcp: CancellationToken,
}

impl Listener {
    fn close(self) {
        self.tcp.cancel();
        self.stop.store(true, Ordering::Release);
        for socket in &self.sockets {
            // it says "not connected", and wakes the worker all the same
            let _ = SockRef::from(&**socket).shutdown(std::net::Shutdown::Both);
        }
        for thread in self.threads {
            // a worker that panicked has been reported by the panic itself
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn addresses(&self) -> Vec<Listen> {
        self.state().listeners.iter().map(|listener| listener.bound.clone()).collect()
    }

    /// Binds an address and starts its workers, unless that was done before.
    fn listen(&self, state: &mut State, listen: Listen, permanent: bool) -> Result<(), ServerError> {
        let address = listen.address;
        if address.ip().is_unspecified() {
            return Err(ServerError::Unspecified { address });
        }
        let known = |listener: &Listener| address.port() != 0 && listener.bound.address == address;
        if state.listeners.iter().any(known) {
            return Ok(());
        }
        let fail = |source| listen_error(address, source);
        // TCP first: it cannot be shared, so it tells whether another resolver is there
        let tcp = bind_tcp(address).map_err(fail)?;
        let bound = Listen { address: tcp.local_addr().map_err(fail)?, view: listen.view };
        let sockets: Vec<Arc<UdpSocket>> = (0..self.workers)
            .map(|_| bind_udp(bound.address, self.workers > 1).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        let mut listener = Listener {
            wanted: listen,
            bound,
            permanent,
            stop: Arc::default(),
            sockets,
            threads: Vec::new(),
            tcp: self.stop.child_token(),
        };
        let (view, started) = (listener.bound.view, self.start(&mut listener));
        if let Err(error) = started {
            listener.close();
            return Err(ServerError::Threads(error));
        }
        let guard = self.runtime.enter();
        let tcp = tokio::net::TcpListener::from_std(tcp).map_err(fail)?;
        let acceptor = Acceptor { core: Arc::clone(&self.core), view, limits: self.tcp, stop: listener.tcp.clone() };
        self.runtime.spawn(acceptor.run(tcp));
        drop(guard);
        state.listeners.push(listener);
        Ok(())
    }

    fn start(&self, listener: &mut Listener) -> io::Result<()> {
        for socket in &listener.sockets {
            let worker = Worker {
                core: Arc::clone(&self.core),
                socket: Arc::clone(socket),
                view: listener.bound.view,
                stop: Arc::clone(&listener.stop),
                runtime: self.runtime.clone(),
                pending: Arc::clone(&self.pending),
            };
            let thread = std::thread::Builder::new().name("dns-udp".to_owned()).stack_size(STACK);
            listener.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(())
    }

    pub fn put(self: &Arc<Self>, entry: ZoneEntry) -> Result<(), ServerError> {
        let apex = Name::parse(&entry.zone.apex)?;
        let mut state = self.state();
        let mut entries = state.entries.clone();
        entries.insert(apex, entry.clone());
        // nothing changes when the new zone is bad, or an address cannot be had
        let snapshot = self.build(&entries, &state.fed)?;
        for listen in entry.listen {
            self.listen(&mut state, listen, false)?;
        }
        state.entries = entries;
        self.core.snapshot.store(snapshot);
        self.settle(&mut state);
        Ok(())
    }

    pub fn remove(self: &Arc<Self>, apex: &str) -> Result<Option<usize>, ServerError> {
        let apex = Name::parse(apex)?;
        let mut state = self.state();
        if state.entries.remove(&apex).is_none() {
            return Ok(None);
        }
        self.core.snapshot.store(self.build(&state.entries, &state.fed)?);
        self.settle(&mut state);
        Ok(Some(state.entries.len()))
    }

    fn swap(self: &Arc<Self>, zones: Vec<Zone>) -> Result<(), ServerError> {
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
        self.core.snapshot.store(self.build(&entries, &state.fed)?);
        state.entries = entries;
        self.settle(&mut state);
        Ok(())
    }

    fn build(
        &self,
        entries: &BTreeMap<Name, ZoneEntry>,
        fed: &BTreeMap<Name, Arc<FedZone>>,
    ) -> Result<Snapshot, ServerError> {
        let zones: Vec<&Zone> = entries.values().map(|entry| &entry.zone).collect();
        let foreign = self.core.forwarder.as_ref().map(|forwarder| forwarder.upstreams().domains());
        Ok(Snapshot::build(&zones, fed, &foreign.unwrap_or_default())?)
    }

    /// Makes networks, feeds and addresses follow the entries.
    fn settle(self: &Arc<Self>, state: &mut State) {
        let mut networks = self.networks.clone();
        networks.extend(state.entries.values().flat_map(|entry| entry.networks.iter().copied()));
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
        for (apex, server) in wanted {
            state.feeds.entry(apex.clone()).or_insert_with(|| self.follow(apex, server));
        }

        let needed: Vec<&Listen> = state.entries.values().flat_map(|entry| &entry.listen).collect();
        let (kept, closed) = std::mem::take(&mut state.listeners)
            .into_iter()
            .partition(|listener: &Listener| listener.permanent || needed.contains(&&listener.wanted));
        state.listeners = kept;
        closed.into_iter().for_each(Listener::close);
    }

    /// Starts following a feed.
    fn follow(self: &Arc<Self>, apex: Name, server: SocketAddr) -> Feed {
        let feed = Feed { server, status: Arc::default(), stop: self.stop.child_token() };
        let (shared, status, stop) = (Arc::downgrade(self), Arc::clone(&feed.status), feed.stop.clone());
        let source = Source { zone: apex.clone(), server };
        let guard = stop.clone();
        let publish = move |zone: FedZone| {
            let Some(shared) = shared.upgrade() else { return };
            let mut state = shared.state();
            // taken out while the transfer ran
            if guard.is_cancelled() {
                return;
            }
            state.fed.insert(apex.clone(), Arc::new(zone));
            match shared.build(&state.entries, &state.fed) {
                Ok(snapshot) => shared.core.snapshot.store(snapshot),
                Err(error) => tracing::warn!(zone = %apex, %error, "a transferred zone cannot be served"),
            }
        };
        self.runtime.spawn(async move {
            tokio::select! {
                () = source.follow(status, publish) => {}
                () = stop.cancelled() => {}
            }
        });
        feed
    }

    /// Other servers: other answers, and other domains that are left alone.
    fn follow_upstreams(self: &Arc<Self>) {
        let Some(forwarder) = self.core.forwarder.clone() else { return };
        let mut changes = forwarder.changes();
        changes.mark_unchanged();
        let (shared, stop) = (Arc::downgrade(self), self.stop.clone());
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() {
                        return;
                    },
                    () = stop.cancelled() => return,
                }
                let Some(shared) = shared.upgrade() else { return };
                forwarder.forget();
                let state = shared.state();
                if let Ok(snapshot) = shared.build(&state.entries, &state.fed) {
                    shared.core.snapshot.store(snapshot);
                }
            }
        });
    }

    pub fn metrics(&self) -> String {
        let mut text = self.core.metrics.text();
        if let Some(forwarder) = &self.core.forwarder {
            forwarder.metrics(&mut text);
        }
        text
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
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listen: state.listeners.iter().map(|listener| listener.bound.clone()).collect(),
            metrics: *self.metrics_address.lock().unwrap_or_else(PoisonError::into_inner),
            zones,
            upstreams: self.core.forwarder.as_ref().map(|forwarder| forwarder.status()).unwrap_or_default(),
            questions: self.core.metrics.answered(),
            uptime_seconds: self.core.started.elapsed().as_secs(),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // connections of a former run that are still closing do not stand in the way
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(256)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn listen_error(address: SocketAddr, source: io::Error) -> ServerError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => ServerError::NotPermitted { address },
        _ => ServerError::Listen { address, source },
    }
}
