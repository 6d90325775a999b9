//! One address: its sockets and their workers.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::socket::bind_udp;
use super::terms::{Listen, ServerError, listen_error};

/// How often a port is tried that the system picked for TCP, and that is taken for UDP.
const PORTS: usize = 16;
/// How long a worker on an inherited socket takes to notice that it is to stop.
const WAKE: Duration = Duration::from_millis(500);

/// Sockets that somebody else bound for us: systemd's socket activation, for a port that we may not
/// bind ourselves.
#[derive(Debug)]
pub struct Inherited {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

pub struct Listener {
    /// As it was asked for.
    pub wanted: Listen,
    /// As it was bound.
    pub bound: Listen,
    /// Of the configuration: not closed when no platform needs it.
    pub permanent: bool,
    pub stop: Arc<AtomicBool>,
    pub sockets: Vec<Arc<UdpSocket>>,
    pub threads: Vec<JoinHandle<()>>,
    pub tcp: CancellationToken,
    /// Its other end goes with the task that accepts connections.
    pub accepting: Option<mpsc::Receiver<()>>,
    inherited: bool,
}

impl Listener {
    /// Binds both protocols; the workers are still to be started.
    pub fn bind(
        wanted: Listen,
        permanent: bool,
        workers: usize,
        inherited: &[Arc<Inherited>],
    ) -> Result<(Self, TcpListener), ServerError> {
        let address = wanted.address;
        if address.ip().is_unspecified() {
            return Err(ServerError::Unspecified { address });
        }
        let ours = |pair: &&Arc<Inherited>| pair.udp.local_addr().is_ok_and(|bound| bound == address);
        let pair = inherited.iter().find(ours);
        let bound = match pair {
            Some(pair) => adopt(pair),
            None => bind(address, workers),
        };
        let (tcp, sockets) = bound.map_err(|source| listen_error(address, source))?;
        let bound = tcp.local_addr().map_err(|source| listen_error(address, source))?;
        let listener = Self {
            bound: Listen { address: bound, view: wanted.view },
            wanted,
            permanent,
            stop: Arc::default(),
            sockets,
            threads: Vec::new(),
            tcp: CancellationToken::new(),
            accepting: None,
            inherited: pair.is_some(),
        };
        Ok((listener, tcp))
    }

    /// Stops the workers and waits for them. What is handed back tells when the TCP side has let go
    /// of the address; that must not be waited for on the runtime's own threads.
    pub fn close(self) -> Option<mpsc::Receiver<()>> {
        self.tcp.cancel();
        self.stop.store(true, Ordering::Release);
        // a shutdown would stay with an inherited socket, and make its next user deaf
        for socket in self.sockets.iter().filter(|_| !self.inherited) {
            // it says "not connected", and wakes the worker all the same
            let _ = SockRef::from(&**socket).shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            // a worker that panicked has been reported by the panic itself
            let _ = thread.join();
        }
        self.accepting
    }
}

type Bound = (TcpListener, Vec<Arc<UdpSocket>>);

fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let mut tries = if address.port() == 0 { PORTS } else { 1 };
    loop {
        // TCP first: it cannot be shared, so it tells whether another resolver is there
        let tcp = bind_tcp(address)?;
        let bound = tcp.local_addr()?;
        let udp = (0..workers).map(|_| bind_udp(bound, workers > 1).map(Arc::new)).collect();
        tries -= 1;
        match udp {
            Ok(sockets) => return Ok((tcp, sockets)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

fn adopt(pair: &Inherited) -> io::Result<Bound> {
    let udp = pair.udp.try_clone()?;
    udp.set_nonblocking(false)?;
    udp.set_read_timeout(Some(WAKE))?;
    let tcp = pair.tcp.try_clone()?;
    tcp.set_nonblocking(true)?;
    Ok((tcp, vec![Arc::new(udp)]))
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
