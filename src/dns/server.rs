//! The resolver as a whole: addresses, zones, feeds, workers, and the handle that holds them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;

use super::control::{self, ControlSocket};
use super::core::QueryLog;
use super::feed::FeedStatus;
use super::forward::{ForwardSettings, UpstreamStatus, Upstreams};
use super::listener::{Inherited, listen_error};
use super::secure::{EncryptedListen, Identities, Secure};
use super::shared::Shared;
use super::socket::few_heaps;
use super::tcp::TcpLimits;
use super::trace::Trace;
use super::tree::ZoneError;
use super::wire::{Name, NameError};
use crate::model::{View, Zone};

/// The runtime's threads serve TCP and forwarding; neither needs a deep stack.
const STACK: usize = 512 * 1024;
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
    /// Answered as those are, and no networks of the platform's: answers from outside may lead there.
    #[serde(default)]
    pub clients: Vec<IpNet>,
    /// Where `/metrics` is shown to the platform's Prometheus; left out where it cannot be bound.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
}

impl ZoneEntry {
    /// A zone alone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, feed: None, listen: Vec::new(), networks: Vec::new(), clients: Vec::new(), metrics: None }
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
    /// Addresses where questions come encrypted, and what is shown there.
    pub encrypted: Vec<EncryptedListen>,
    pub identities: Arc<Identities>,
    /// The control socket, made with mode 0600.
    pub control: Option<PathBuf>,
    pub query_log: Option<QueryLog>,
    /// Sockets that were bound for us; used for the addresses in `listen` (or of a platform) that
    /// are theirs.
    pub inherited: Vec<Arc<Inherited>>,
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
    /// Where questions come encrypted.
    #[serde(default)]
    pub encrypted: Vec<EncryptedListen>,
    /// The same, for the platforms' Prometheus.
    #[serde(default)]
    pub inner_metrics: Vec<SocketAddr>,
    pub zones: Vec<ZoneStatus>,
    pub upstreams: Vec<UpstreamStatus>,
    /// Name servers of the machine that cannot be asked, and why.
    #[serde(default)]
    pub dropped_upstreams: Vec<String>,
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
        few_heaps();
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS),
            some => some,
        };
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(workers.min(2))
            .thread_name("dns-tcp")
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(ServerError::Threads)?;
        let (metrics, control) = (config.metrics, config.control.clone());
        let (encrypted, identities) = (config.encrypted.clone(), Arc::clone(&config.identities));
        let shared = match Shared::start(config, workers, runtime.handle().clone()) {
            Ok(shared) => shared,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        // from here on a failure drops the handle, which stops everything
        let mut handle = Handle { shared: Arc::clone(&shared), runtime: Some(runtime), control: None, secure: None };
        let guard = shared.runtime.enter();
        if !encrypted.is_empty() {
            let secure = handle.secure.insert(Secure::new(Arc::clone(&shared.core)));
            encrypted.iter().try_for_each(|listen| secure.listen(*listen, &identities))?;
            *shared.encrypted.lock().unwrap_or_else(PoisonError::into_inner) = secure.bound().to_vec();
        }
        if let Some(address) = metrics {
            let stop = shared.stop.clone();
            let bound =
                control::serve_metrics(&shared, address, stop).map_err(|source| listen_error(address, source))?;
            *shared.metrics_address.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
        }
        if let Some(path) = control {
            handle.control = Some(control::serve(Arc::clone(&shared), &path)?);
        }
        drop(guard);
        Ok(handle)
    }
}

/// The running resolver. Dropped, it stops.
pub struct Handle {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    control: Option<ControlSocket>,
    secure: Option<Secure>,
}

impl Handle {
    /// Where it answers, with the ports that were bound.
    pub fn listen(&self) -> Vec<Listen> {
        self.shared.addresses()
    }

    /// Where it answers encrypted questions, with the ports that were bound.
    pub fn encrypted(&self) -> &[EncryptedListen] {
        self.secure.as_ref().map_or(&[], Secure::bound)
    }

    /// Where `/metrics` is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        *self.shared.metrics_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `/metrics` is for the platforms' Prometheus.
    pub fn inner_metrics(&self) -> Vec<SocketAddr> {
        self.shared.inner_metrics()
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

    /// Whether its control socket is still where it was made: without it nobody can talk to it.
    pub fn is_reachable(&self) -> bool {
        self.control.as_ref().is_none_or(|control| control.is_there())
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
        self.shared.close();
        if let Some(control) = &self.control {
            control.remove();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
