//! Floor 8: the page of the platforms, which the background process shows on a loopback address.
//!
//! ```text
//! browser ─> 127.0.0.9:8053 ─> guard ─> looks:   `macula status -o json` and others, as one would type them
//!                                       logs:    the engine's stream, as server-sent events
//!                                       service: one service's containers
//!                                       connect: how programs reach it, and with the keys its passwords
//!                                       telemetry: what programs have sent to this process
//! `macula open home` ─> page.sock ─> a ticket, which the browser gives for its keys once
//! ```
//!
//! What is looked at is asked of this program itself, in the folder that the platform was started from: so the page
//! says what the commands say, and whatever goes wrong with a look is not the resolver's trouble.

mod connect;
mod door;
mod guard;
mod happened;
mod keys;
mod logs;
mod looks;
pub mod mcp;
mod server;
mod service;
mod snippets;
mod telemetry;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{Session, State, Telemetry};
use crate::compile::RESOLVER;
use crate::daemon::OwnSocket;
use crate::event::Events;
use crate::host::Host;
use crate::model::{Invocation, PlatformName};
use crate::system::System;

pub use door::{DoorError, Opened, address, ticket};

/// Where the page is unless something else is there.
pub const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(RESOLVER), 8053);
/// Seconds for which the page is wanted after somebody has asked for it.
const WANTED: i64 = 60;
/// For a browser to be told what came of the last thing that it has asked for.
const TOLD: Duration = Duration::from_millis(500);

/// Where `macula open home` asks, below the resolver's folder.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("page.sock")
}

#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    #[error("no address for the page is free on {}", .ip)]
    Address { ip: IpAddr, source: io::Error },
    #[error("making the socket {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("the page's keys in {}", path.display())]
    Keys { path: PathBuf, source: io::Error },
}

/// A program of this machine that has a name (`macula run`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    pub host: String,
    pub port: u16,
}

/// What the page is shown with.
pub struct Settings {
    /// Tried first; another port of the same address is taken where this one is held.
    pub address: SocketAddr,
    /// The resolver's folder: the socket and the keys lie there.
    pub folder: PathBuf,
    /// This program.
    pub program: PathBuf,
    pub version: &'static str,
    /// The programs that have a name now.
    pub programs: Arc<dyn Fn() -> Vec<Program> + Send + Sync>,
    /// What this process takes of the platforms' telemetry.
    pub telemetry: Arc<Telemetry>,
}

/// The page. Gone when dropped.
pub struct Portal {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    /// None: it is shown no more.
    socket: Option<OwnSocket>,
}

/// What all requests share.
struct Shared {
    host: Arc<dyn Host>,
    address: SocketAddr,
    program: PathBuf,
    version: &'static str,
    keys: keys::Keys,
    tickets: Mutex<keys::Tickets>,
    looks: looks::Looks,
    happened: happened::Happened,
    programs: Arc<dyn Fn() -> Vec<Program> + Send + Sync>,
    telemetry: Arc<Telemetry>,
    /// Streams that a browser reads.
    streams: AtomicUsize,
    /// When somebody has last asked for anything, seconds since the epoch.
    asked: AtomicI64,
    stop: CancellationToken,
}

impl Portal {
    /// Shows the page.
    ///
    /// # Errors
    /// No port is free, or a file of the page cannot be written.
    pub async fn start(host: Arc<dyn Host>, settings: Settings) -> Result<Self, PortalError> {
        let listener = listen(settings.address).await?;
        let ip = settings.address.ip();
        let address = listener.local_addr().map_err(|source| PortalError::Address { ip, source })?;
        let path = settings.folder.join("page.key");
        let keys = keys::Keys::load(&*host, &path).await.map_err(|source| PortalError::Keys { path, source })?;
        let shared = Arc::new(Shared {
            address,
            program: settings.program,
            version: settings.version,
            keys,
            tickets: Mutex::default(),
            looks: looks::Looks::new(host.now()),
            happened: happened::Happened::default(),
            programs: settings.programs,
            telemetry: settings.telemetry,
            streams: AtomicUsize::new(0),
            asked: AtomicI64::new(host.now()),
            stop: CancellationToken::new(),
            host,
        });
        let path = socket(&settings.folder);
        let (door, socket) = OwnSocket::listen(&path).map_err(|source| PortalError::Socket { path, source })?;
        let tasks = vec![
            tokio::spawn(door::answer(Arc::clone(&shared), door)),
            tokio::spawn(server::run(Arc::clone(&shared), listener)),
        ];
        Ok(Self { shared, tasks, socket: Some(socket) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Shows it no more, so that its address and its socket are free, and waits until what it is doing is done: the end
    /// of this process would be that of the command that it has started.
    pub async fn finish(mut self) {
        self.close();
        for task in self.tasks.drain(..) {
            // it was cancelled
            let _ = task.await;
        }
        if self.shared.looks.is_acting() {
            self.shared.looks.done().await;
            tokio::time::sleep(TOLD).await;
        }
    }

    fn close(&mut self) {
        // while it is listened on: see `OwnSocket::remove`
        if let Some(socket) = self.socket.take() {
            socket.remove();
        }
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Whether somebody looks at it, or is about to, or it has something to do.
    pub fn wanted(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.is_wanted()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.close();
        self.shared.stop.cancel();
    }
}

impl Shared {
    fn is_wanted(&self) -> bool {
        let asked = self.host.now() - self.asked.load(Ordering::Relaxed);
        self.streams.load(Ordering::Relaxed) > 0 || asked < WANTED || self.looks.is_acting()
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, keys::Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine and the platform's engine, for what is asked without a command.
    async fn session(&self, platform: &PlatformName) -> Session {
        let variables = self.engine_variables(platform).await;
        Session {
            system: System::connect_with(Arc::clone(&self.host), variables).await,
            events: Events::none(),
            cancel: self.stop.child_token(),
            command: "macula open home".to_owned(),
            version: self.version,
            program: self.program.clone(),
            named: true,
            invocation: Invocation::default(),
        }
    }

    /// This process has the environment of whoever started it.
    async fn engine_variables(&self, platform: &PlatformName) -> BTreeMap<String, String> {
        State::new(&self.host.folders().data, platform).engine_variables(&*self.host).await
    }
}

/// The address, or any port of it that is free.
async fn listen(wanted: SocketAddr) -> Result<TcpListener, PortalError> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => {
            let ip = wanted.ip();
            TcpListener::bind((ip, 0)).await.map_err(|source| PortalError::Address { ip, source })
        }
    }
}
