//! The way from here to a container's port.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::order::Order;
use super::tunnel::{self, Tunnel};
use super::{Table, pump};
use crate::engine::{AttachedExec, Engine, EngineError};
use crate::host::Host;
use crate::model::{ContainerState, Way, label};
use crate::system::System;

/// A container that is made again has another address, and somebody else may have its old one.
const FRESH: Duration = Duration::from_secs(1);
const DIAL: Duration = Duration::from_secs(5);
/// For the engine to start the relay's program.
const OPEN: Duration = Duration::from_secs(10);
/// How often it is looked whether datagrams still go to the container that they were meant for.
const STILL_THERE: Duration = Duration::from_secs(2);

/// A connection to a container's port.
pub(super) enum Wire {
    Socket(TcpStream),
    Stream(SendStream<Bytes>, RecvStream),
}

impl Wire {
    /// Joins it with a connection from here, until both directions have ended.
    pub async fn join(self, from: TcpStream) {
        match self {
            Self::Socket(to) => pump::between(from, to).await,
            Self::Stream(send, receive) => pump::through(from, send, receive).await,
        }
    }
}

/// A flow of datagrams to a container's port.
pub(super) enum Flow {
    Socket(UdpSocket),
    Stream(SendStream<Bytes>, RecvStream),
}

/// The way to the containers of one platform.
pub(super) struct Link {
    host: Arc<dyn Host>,
    way: Way,
    network: String,
    gateway: Ipv4Addr,
    /// The container that dials.
    relay: String,
    variables: BTreeMap<String, String>,
    engine: tokio::sync::Mutex<Option<Arc<dyn Engine>>>,
    addresses: Mutex<HashMap<String, (Ipv4Addr, Instant)>>,
    tunnel: tokio::sync::Mutex<Tunneling>,
}

/// The tunnel to a relay, or why there is none.
#[derive(Default)]
struct Tunneling {
    open: Option<Tunnel>,
    /// Of the last try, where it failed, and when it had.
    failed: Option<(Instant, Arc<io::Error>)>,
}

impl Link {
    pub fn new(host: Arc<dyn Host>, table: &Table) -> Self {
        Self {
            host,
            way: table.way,
            network: table.network.clone(),
            gateway: table.gateway,
            relay: table.relay.clone(),
            variables: table.engine.clone(),
            engine: tokio::sync::Mutex::default(),
            addresses: Mutex::default(),
            tunnel: tokio::sync::Mutex::default(),
        }
    }

    #[cfg(test)]
    pub fn with_engine(self, engine: Arc<dyn Engine>) -> Self {
        Self { engine: tokio::sync::Mutex::new(Some(engine)), ..self }
    }

    /// Whether it leads anywhere at all; the error says why not.
    pub async fn check(&self) -> io::Result<()> {
        match self.way {
            Way::Relay => self.requests().await.map(drop),
            Way::Direct | Way::Published => self.engine().await.map(drop),
        }
    }

    pub async fn dial(&self, container: &str, port: u16) -> io::Result<Wire> {
        let target = SocketAddrV4::new(self.address(container).await?, port);
        let wire = match self.way {
            Way::Relay => {
                let (send, receive) = tunnel::ask(self.requests().await?, Order::Connect(target)).await?;
                Wire::Stream(send, receive)
            }
            Way::Direct | Way::Published => {
                let socket = timeout(DIAL, TcpStream::connect(target)).await?;
                if socket.is_err() {
                    self.forget(container);
                }
                let socket = socket?;
                socket.set_nodelay(true)?;
                Wire::Socket(socket)
            }
        };
        Ok(wire)
    }

    /// With the address that it leads to.
    pub async fn flow(&self, container: &str, port: u16) -> io::Result<(Flow, Ipv4Addr)> {
        let address = self.address(container).await?;
        let target = SocketAddrV4::new(address, port);
        let flow = match self.way {
            Way::Relay => {
                let (send, receive) = tunnel::ask(self.requests().await?, Order::Datagrams(target)).await?;
                Flow::Stream(send, receive)
            }
            Way::Direct | Way::Published => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                socket.connect(target).await?;
                Flow::Socket(socket)
            }
        };
        Ok((flow, address))
    }

    /// Returns when the container has another address than this one.
    pub async fn moved(&self, container: &str, address: Ipv4Addr) {
        loop {
            tokio::time::sleep(STILL_THERE).await;
            // one that is down at the moment may come back to its address
            if self.address(container).await.is_ok_and(|now| now != address) {
                return;
            }
        }
    }

    /// The next connection that the relay has for this machine.
    pub async fn arrival(&self) -> io::Result<(SendStream<Bytes>, RecvStream)> {
        tunnel::ask(self.requests().await?, Order::Arrival).await
    }

    fn forget(&self, container: &str) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    /// Of a container in the platform's network, as the engine has it now.
    async fn address(&self, container: &str) -> io::Result<Ipv4Addr> {
        let known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(container).copied();
        if let Some((address, _)) = known.filter(|(_, since)| since.elapsed() < FRESH) {
            return Ok(address);
        }
        let found = match self.engine().await?.inspect(container).await {
            Ok(found) => found,
            Err(error) => return Err(self.failed(error).await),
        };
        if found.state != ContainerState::Running {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let address = found.addresses.get(&self.network).or_else(|| found.addresses.values().next()).copied();
        // one that uses the network of the engine's own machine
        let address = address.unwrap_or(self.gateway);
        let mut known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(container.to_owned(), (address, Instant::now()));
        Ok(address)
    }

    async fn engine(&self) -> io::Result<Arc<dyn Engine>> {
        let mut engine = self.engine.lock().await;
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let found = System::connect_with(Arc::clone(&self.host), self.variables.clone()).await.engine;
        let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "no engine answers"))?;
        Ok(Arc::clone(engine.insert(found)))
    }

    /// The next one who asks looks for the engine again.
    async fn failed(&self, error: EngineError) -> io::Error {
        if matches!(error, EngineError::Unreachable { .. } | EngineError::Timeout { .. } | EngineError::Gone { .. }) {
            *self.engine.lock().await = None;
        }
        match error {
            EngineError::NotFound { .. } => io::ErrorKind::ConnectionRefused.into(),
            error => io::Error::other(error),
        }
    }

    /// Opens the tunnel where there is none, unless somebody is about to.
    pub async fn keep_open(&self) -> io::Result<()> {
        match self.tunnel.try_lock() {
            Ok(mut tunnel) => self.requests_of(&mut tunnel).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// The tunnel's, which is opened where there is none, or was cut.
    async fn requests(&self) -> io::Result<SendRequest<Bytes>> {
        let asked = Instant::now();
        let mut tunnel = self.tunnel.lock().await;
        // what was tried while this one waited failed for it, too: each try may take long
        if let Some((_, error)) = tunnel.failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(once_more(error));
        }
        self.requests_of(&mut tunnel).await
    }

    async fn requests_of(&self, tunnel: &mut Tunneling) -> io::Result<SendRequest<Bytes>> {
        if let Some(open) = tunnel.open.as_ref().filter(|open| open.is_open()) {
            return Ok(open.requests());
        }
        tunnel.open = None;
        let failed = match timeout(OPEN, self.open()).await {
            Ok(Ok(opened)) => {
                tunnel.failed = None;
                return Ok(tunnel.open.insert(opened).requests());
            }
            Ok(Err(Opening::Engine(error))) => self.failed(error).await,
            Ok(Err(Opening::Io(error))) => error,
            Err(late) => late.into(),
        };
        let failed = Arc::new(failed);
        let error = once_more(&failed);
        tunnel.failed = Some((Instant::now(), failed));
        Err(error)
    }

    async fn open(&self) -> Result<Tunnel, Opening> {
        let engine = self.engine().await?;
        let found = engine.inspect(&self.relay).await?;
        if found.state != ContainerState::Running {
            engine.start(&self.relay).await?;
        }
        let words = found.label(label::RELAY).unwrap_or_default().split(' ').chain(["container-relay", "--stream"]);
        let command = words.map(str::to_owned).collect();
        let request = AttachedExec { command, stdin: true, ..AttachedExec::default() };
        Ok(Tunnel::over_program(engine.converse(&self.relay, &request).await?).await?)
    }
}

/// The same error for another one who has it.
fn once_more(error: &Arc<io::Error>) -> io::Error {
    io::Error::new(error.kind(), Arc::clone(error))
}

/// Why a tunnel could not be opened.
enum Opening {
    Engine(EngineError),
    Io(io::Error),
}

impl From<EngineError> for Opening {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for Opening {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::ObservedContainer;

    const RELAY: &str = "macula.relay";

    /// A way through a relay that ends as soon as it is started, and its engine.
    fn through_a_relay_that_ends() -> (Arc<Link>, FakeEngine) {
        let relay = ObservedContainer { name: RELAY.into(), ..ObservedContainer::default() };
        let engine = FakeEngine::new().with_container(relay).crashes(RELAY, 1, &[]);
        let table = Table { relay: RELAY.to_owned(), ..Table::new(Way::Relay, "macula") };
        let link = Link::new(Arc::new(FakeHost::new()), &table).with_engine(Arc::new(engine.clone()));
        (Arc::new(link), engine)
    }

    fn tries(engine: &FakeEngine) -> usize {
        engine.journal().iter().filter(|line| line.starts_with("starting container")).count()
    }

    #[tokio::test]
    async fn whoever_waited_for_a_try_that_failed_does_not_try_again() {
        let (link, engine) = through_a_relay_that_ends();
        let turn = link.tunnel.lock().await;
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let link = Arc::clone(&link);
                tokio::spawn(async move { link.check().await })
            })
            .collect();
        // all of them ask, and find that somebody has the turn
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(turn);
        let told = join_all(waiting).await.into_iter().map(|told| told.unwrap().unwrap_err().to_string());
        let mut told: Vec<String> = told.collect();
        told.dedup();
        assert_eq!(told.len(), 1, "all are told the same: {told:?}");
        assert_eq!(tries(&engine), 1);
        assert!(link.check().await.is_err());
        assert_eq!(tries(&engine), 2, "who comes later tries again");
    }

    #[tokio::test]
    async fn a_tunnel_is_opened_by_one_at_a_time() {
        let (link, engine) = through_a_relay_that_ends();
        let turn = link.tunnel.lock().await;
        assert!(link.keep_open().await.is_ok());
        assert_eq!(tries(&engine), 0);
        drop(turn);
        assert!(link.keep_open().await.is_err());
        assert_eq!(tries(&engine), 1);
    }
}
