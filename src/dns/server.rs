//! The resolver as a whole: addresses, zones, feeds, workers, and the handle that holds them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::runtime::{self, Runtime};

use super::control::{self, ControlSocket};
use super::inheritance::Inherited;
use super::scrape::serve_metrics;
use super::secure::Secure;
use super::shared::{Config, Shared};
use super::socket::few_heaps;
use super::terms::{EncryptedListen, Listen, ServerError, Status, ZoneEntry, listen_error};
use super::trace::Trace;
use super::wire::{Name, NameError};
use crate::model::{View, Zone};

/// The runtime's threads serve TCP and forwarding; neither needs a deep stack.
const STACK: usize = 512 * 1024;
/// More workers than this gain nothing for one machine's questions.
const MOST_WORKERS: usize = 4;

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
            let bound = serve_metrics(&shared.core, address, stop).map_err(|source| listen_error(address, source))?;
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
        self.shared.core.exposition()
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

    /// Waits until somebody asks it over the control socket to make way for its heir.
    pub async fn succeeded(&self) {
        self.shared.succession.cancelled().await;
    }

    /// Stops answering and gives its sockets away; see [`Inherited`].
    pub async fn hand_over(&self) -> io::Result<Vec<Inherited>> {
        self.shared.hand_over().await
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
