//! Listening for the engine: what arrives at a platform's address is passed on to its container.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::link::{Flow, Link};
use super::pump::{self, DATAGRAM, Datagrams, framed, pass_or_lose};
use super::relay::SILENCE;
use crate::dns::open_files;
use crate::host::next_connection;
use crate::model::{Forward, Protocol, Way};

/// Connections of one platform at once.
const MOST: usize = 12_000;
/// Senders of datagrams to one port at once, and what waits of each.
const FLOWS: usize = 1024;
const WAITING: usize = 64;

/// One port that is listened on. Dropped, it is closed, and what was open is reset.
pub(super) struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    /// Returns once another may listen there.
    pub async fn close(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Connections of all ports of a platform.
pub(super) fn slots(way: Way) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most(way, open_files())))
}

/// At most a third of the files that this process may have open: names are answered all the while.
fn most(way: Way, files: usize) -> usize {
    // the tunnel of a relay is one for all
    let each = if way == Way::Direct { 2 } else { 1 };
    MOST.min(files / 3 / each)
}

/// Listens, and passes on.
///
/// # Errors
/// The address cannot be had.
pub(super) async fn listen(forward: &Forward, link: &Arc<Link>, slots: &Arc<Semaphore>) -> io::Result<Listening> {
    let stop = CancellationToken::new();
    let (forward, link, slots) = (forward.clone(), Arc::clone(link), Arc::clone(slots));
    let task = match forward.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(forward.listen).await?;
            tokio::spawn(accept(listener, forward, link, slots, stop.clone()))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(forward.listen).await?;
            tokio::spawn(receive(Arc::new(socket), forward, link, stop.clone()))
        }
        Protocol::Sctp => return Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP is not passed on")),
    };
    Ok(Listening { stop, task })
}

async fn accept(
    listener: TcpListener,
    forward: Forward,
    link: Arc<Link>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
) {
    loop {
        let next = next_connection(|cx| listener.poll_accept(cx));
        let Some((socket, _)) = stop.run_until_cancelled(next).await else { return };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            pump::reset(&socket);
            continue;
        };
        let (forward, link, stop) = (forward.clone(), Arc::clone(&link), stop.clone());
        tokio::spawn(async move {
            connection(socket, &forward, &link, &stop).await;
            drop(slot);
        });
    }
}

async fn connection(socket: TcpStream, forward: &Forward, link: &Link, stop: &CancellationToken) {
    let _ = socket.set_nodelay(true);
    let dialed = tokio::select! {
        dialed = link.dial(&forward.container, forward.port) => dialed,
        () = stop.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    match dialed {
        Ok(wire) => tokio::select! {
            () = wire.join(socket) => {}
            () = stop.cancelled() => {}
        },
        // who would have been refused sees a reset: it has been connected already
        Err(error) => {
            tracing::debug!(to = %forward.container, port = forward.port, %error, "a connection is not passed on");
            pump::reset(&socket);
        }
    }
}

/// By sender, what is to be passed on.
type Senders = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Bytes>>>>;

async fn receive(socket: Arc<UdpSocket>, forward: Forward, link: Arc<Link>, stop: CancellationToken) {
    let senders = Senders::default();
    let mut buffer = vec![0; DATAGRAM];
    let mut flows = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = flows.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let Ok((count, from)) = received else { continue };
        let datagram = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        let mut known = senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = known.get(&from) {
            // a flow that does not keep up loses some, as anywhere else
            if !matches!(sender.try_send(datagram.clone()), Err(mpsc::error::TrySendError::Closed(_))) {
                continue;
            }
        }
        if known.len() >= FLOWS {
            continue;
        }
        let (sender, queue) = mpsc::channel(WAITING);
        let _ = sender.try_send(datagram);
        known.insert(from, sender);
        drop(known);
        let (socket, forward, link, stop, senders) =
            (Arc::clone(&socket), forward.clone(), Arc::clone(&link), stop.clone(), Arc::clone(&senders));
        flows.spawn(async move {
            let passed = async {
                let (flow, address) = link.flow(&forward.container, forward.port).await?;
                let passed = async {
                    match flow {
                        Flow::Socket(to) => by_socket(&socket, from, queue, &to).await,
                        Flow::Stream(send, receive) => by_stream(&socket, from, queue, send, receive).await,
                    }
                };
                tokio::select! {
                    passed = passed => passed,
                    // somebody else may have that address by now: the next datagram finds the new one
                    () = link.moved(&forward.container, address) => Ok(()),
                }
            };
            tokio::select! {
                passed = passed => if let Err(error) = passed {
                    tracing::debug!(to = %forward.container, port = forward.port, %error, "datagrams are not passed on");
                },
                () = stop.cancelled() => {}
            }
            let mut known = senders.lock().unwrap_or_else(PoisonError::into_inner);
            // not the next one of the same sender, which may have begun already
            if known.get(&from).is_some_and(mpsc::Sender::is_closed) {
                known.remove(&from);
            }
        });
    }
    // each of them has the socket, too
    while flows.join_next().await.is_some() {}
}

async fn by_socket(
    here: &UdpSocket,
    from: SocketAddr,
    mut queue: mpsc::Receiver<Bytes>,
    to: &UdpSocket,
) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            datagram = queue.recv() => {
                let Some(datagram) = datagram else { return Ok(()) };
                to.send(&datagram).await?;
            }
            received = to.recv(&mut buffer) => {
                here.send_to(buffer.get(..received?).unwrap_or_default(), from).await?;
            }
            () = tokio::time::sleep(SILENCE) => return Ok(()),
        }
    }
}

async fn by_stream(
    here: &UdpSocket,
    from: SocketAddr,
    mut queue: mpsc::Receiver<Bytes>,
    mut send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
) -> io::Result<()> {
    let mut coming = Datagrams::new(receive);
    loop {
        tokio::select! {
            datagram = queue.recv() => {
                let Some(datagram) = datagram else { return Ok(()) };
                pass_or_lose(&mut send, framed(&datagram))?;
            }
            datagram = coming.next() => {
                let Some(datagram) = datagram else { return Ok(()) };
                here.send_to(&datagram?, from).await?;
            }
            () = tokio::time::sleep(SILENCE) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_all_else() {
        let most = [1024, 4096, 65_536, 1 << 20].map(|files| (most(Way::Direct, files), most(Way::Relay, files)));
        assert_eq!(most, [(170, 341), (682, 1365), (10_922, MOST), (MOST, MOST)]);
    }
}
