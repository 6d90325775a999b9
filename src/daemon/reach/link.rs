//! The way from here to a container's port.

use std::collections::HashMap;
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
    engine: tokio::sync::Mutex<Option<Arc<dyn Engine>>>,
    addresses: Mutex<HashMap<String, (Ipv4Addr, Instant)>>,
    tunnel: tokio::sync::Mutex<Option<Tunnel>>,
}

impl Link {
    pub fn new(host: Arc<dyn Host>, table: &Table) -> Self {
        Self {
            host,
            way: table.way,
            network: table.network.clone(),
            gateway: table.gateway,
            relay: table.relay.clone(),
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

    pub async fn flow(&self, container: &str, port: u16) -> io::Result<Flow> {
        let target = SocketAddrV4::new(self.address(container).await?, port);
        match self.way {
            Way::Relay => {
                let (send, receive) = tunnel::ask(self.requests().await?, Order::Datagrams(target)).await?;
                Ok(Flow::Stream(send, receive))
            }
            Way::Direct | Way::Published => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                socket.connect(target).await?;
                Ok(Flow::Socket(socket))
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
        let found = System::connect(Arc::clone(&self.host)).await.engine;
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

    /// The tunnel's, which is opened where there is none, or was cut.
    async fn requests(&self) -> io::Result<SendRequest<Bytes>> {
        let mut tunnel = self.tunnel.lock().await;
        if let Some(tunnel) = tunnel.as_ref().filter(|tunnel| tunnel.is_open()) {
            return Ok(tunnel.requests());
        }
        *tunnel = None;
        let opened = match timeout(OPEN, self.open()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(Opening::Engine(error))) => return Err(self.failed(error).await),
            Ok(Err(Opening::Io(error))) => return Err(error),
            Err(late) => return Err(late.into()),
        };
        Ok(tunnel.insert(opened).requests())
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
