//! One address: its sockets and their workers.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::inheritance::{Inheritance, Inherited};
use super::socket::bind_udp;
use super::terms::{Listen, ServerError, listen_error};

/// How often a port is tried that the system picked for TCP, and that is taken for UDP.
const PORTS: usize = 16;
/// How long workers may take to notice that they are to hand over their sockets, and how often they are told.
const LEAVING: Duration = Duration::from_secs(1);
const NUDGE: Duration = Duration::from_millis(1);

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
    /// No more connections are accepted, and those that there are end when they have their answers.
    pub leaving: CancellationToken,
    /// Its other end goes with the task that accepts connections.
    pub accepting: Option<mpsc::Receiver<()>>,
    /// The TCP side once more, for whoever takes this one's place.
    accepted: TcpListener,
}

impl Listener {
    /// Binds both protocols; the workers are still to be started.
    pub fn bind(
        wanted: Listen,
        permanent: bool,
        workers: usize,
        inheritance: &Inheritance,
    ) -> Result<(Self, TcpListener), ServerError> {
        let address = wanted.address;
        if address.ip().is_unspecified() {
            return Err(ServerError::Unspecified { address });
        }
        let bound = match inheritance.take(address) {
            Some(inherited) => adopt(inherited),
            None => bind(address, workers),
        };
        let (tcp, sockets) = bound.map_err(|source| listen_error(address, source))?;
        let bound = tcp.local_addr().map_err(|source| listen_error(address, source))?;
        let accepted = tcp.try_clone().map_err(|source| listen_error(address, source))?;
        let listener = Self {
            bound: Listen { address: bound, view: wanted.view },
            wanted,
            permanent,
            stop: Arc::default(),
            sockets,
            threads: Vec::new(),
            tcp: CancellationToken::new(),
            leaving: CancellationToken::new(),
            accepting: None,
            accepted,
        };
        Ok((listener, tcp))
    }

    /// Stops the workers and waits for them. What is handed back tells when the TCP side has let go
    /// of the address; that must not be waited for on the runtime's own threads.
    pub fn close(self) -> Option<mpsc::Receiver<()>> {
        self.tcp.cancel();
        self.stop.store(true, Ordering::Release);
        for socket in &self.sockets {
            // it says "not connected", and wakes the worker all the same
            let _ = SockRef::from(&**socket).shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            // a worker that panicked has been reported by the panic itself
            let _ = thread.join();
        }
        self.accepting
    }

    /// Stops the workers between two questions and gives the sockets away, open as they are. Waits for the workers.
    pub fn hand_over(self) -> io::Result<Inherited> {
        self.leaving.cancel();
        self.stop.store(true, Ordering::Release);
        let begun = Instant::now();
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if begun.elapsed() > LEAVING {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // An empty message wakes a worker, and is nobody's question. Which one gets it goes by the port that it comes
            // from. A shutdown would wake all of them, and leave the sockets deaf.
            let sender = UdpSocket::bind((self.bound.address.ip(), 0))?;
            sender.send_to(&[], self.bound.address)?;
            #[allow(clippy::disallowed_methods, reason = "a thread of its own, not one of the runtime")]
            std::thread::sleep(NUDGE);
        }
        let udp = self.sockets.iter().map(|socket| socket.try_clone()).collect::<io::Result<_>>()?;
        Ok(Inherited { udp, tcp: self.accepted })
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

fn adopt(inherited: Inherited) -> io::Result<Bound> {
    inherited.udp.iter().try_for_each(|socket| socket.set_nonblocking(false))?;
    inherited.tcp.set_nonblocking(true)?;
    Ok((inherited.tcp, inherited.udp.into_iter().map(Arc::new).collect()))
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
