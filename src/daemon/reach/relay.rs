//! The other end: this program in a container of the platform's network. It is started there by the engine, once
//! for each daemon, and takes orders from its standard input alone. It dials what lies in its own networks and nothing
//! else, and listens on one port, for what the ingress has for programs of the daemon's machine.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use ipnet::Ipv4Net;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::PORT;
use super::order::Order;
use super::pump::{DATAGRAM, Datagrams, framed, pass_or_lose, reset, through};
use super::refusal::word;
use super::tunnel::{CONNECTION_WINDOW, ERROR, MOST_RESET, MOST_STREAMS, RESET, STREAM_WINDOW, heard, until_silent};
use crate::host::next_connection;

/// For a connection inside of the engine's machine.
const DIAL: Duration = Duration::from_secs(5);
/// A flow of datagrams that is silent for this long has ended.
pub(super) const SILENCE: Duration = Duration::from_secs(90);
/// How often the other side is asked whether it is still there, and how long it may take to say so. It asks by itself
/// more often.
const BETWEEN_PINGS: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);
/// The kernel's table of routes; see proc(5).
const ROUTES: &str = "/proc/net/route";

/// Whom it may dial.
#[derive(Debug, Clone)]
pub enum Within {
    /// The networks that this process is in, as they are when it dials.
    OwnNetworks,
    /// Of a test: the networks, and where it listens.
    #[cfg(test)]
    These(Vec<Ipv4Net>, SocketAddrV4),
}

impl Within {
    fn networks(&self) -> Vec<Ipv4Net> {
        match self {
            // the kernel's memory: a thread to wait for it would take longer than it does
            Self::OwnNetworks => networks(&std::fs::read_to_string(ROUTES).unwrap_or_default()),
            #[cfg(test)]
            Self::These(networks, _) => networks.clone(),
        }
    }

    fn allows(&self, target: SocketAddrV4) -> io::Result<()> {
        match self.networks().iter().any(|network| network.contains(target.ip())) {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Where it listens, as soon as it is asked for what arrives.
    fn arrivals(&self) -> SocketAddrV4 {
        match self {
            Self::OwnNetworks => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT),
            #[cfg(test)]
            Self::These(_, arrivals) => *arrivals,
        }
    }
}

/// Takes orders until the other side is gone.
///
/// # Errors
/// What arrives is not what our own side sends.
pub async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, within: Within) -> io::Result<()> {
    serve_for(io, within, BETWEEN_PINGS, PATIENCE).await
}

async fn serve_for(
    io: impl AsyncRead + AsyncWrite + Unpin,
    within: Within,
    between: Duration,
    patience: Duration,
) -> io::Result<()> {
    let (io, heard) = heard(io);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_pending_accept_reset_streams(1024)
        // it is our own program
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(MOST_RESET)
        .reset_stream_duration(RESET)
        .max_frame_size(64 << 10);
    let mut connection = builder.handshake::<_, Bytes>(io).await.map_err(io::Error::other)?;
    let gone = until_silent(connection.ping_pong(), &heard, between, patience);
    tokio::pin!(gone);
    let arrivals = Arc::<Arrivals>::default();
    loop {
        let order = tokio::select! {
            order = connection.accept() => order,
            // the engine may hold our streams open long after their other end has vanished, and this program its port
            () = &mut gone => return Ok(()),
        };
        let Some(order) = order else { return Ok(()) };
        let (request, respond) = order.map_err(io::Error::other)?;
        let (within, arrivals) = (within.clone(), Arc::clone(&arrivals));
        tokio::spawn(async move { carry_out(request, respond, &within, &arrivals).await });
    }
}

/// What arrives for the other side's machine, one connection for each order.
#[derive(Default)]
struct Arrivals(Mutex<Option<TcpListener>>);

impl Arrivals {
    async fn next(&self, address: SocketAddrV4) -> io::Result<TcpStream> {
        let mut listener = self.0.lock().await;
        let listener = match &mut *listener {
            Some(listener) => listener,
            none => none.insert(TcpListener::bind(address).await?),
        };
        let (stream, _) = next_connection(|cx| listener.poll_accept(cx)).await;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn carry_out(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    within: &Within,
    arrivals: &Arrivals,
) {
    let opened = match Order::parse(request.uri().path()) {
        Some(Order::Connect(target)) => connect(target, within).await.map(Opened::Tcp),
        Some(Order::Datagrams(target)) => exchange(target, within).await.map(Opened::Udp),
        Some(Order::Arrival) => tokio::select! {
            arrived = arrivals.next(within.arrivals()) => arrived.map(Opened::Tcp),
            // nobody waits for it any more
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        },
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    let receive = request.into_body();
    match opened {
        Ok(opened) => {
            let Ok(send) = respond.send_response(Response::new(()), false) else {
                if let Opened::Tcp(socket) = &opened {
                    reset(socket);
                }
                return;
            };
            match opened {
                Opened::Tcp(socket) => through(socket, send, receive).await,
                Opened::Udp(socket) => datagrams(socket, send, receive).await,
            }
        }
        Err(error) => {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response.headers_mut().insert(ERROR, http::HeaderValue::from_static(word(error.kind())));
            if respond.send_response(response, true).is_err() {
                respond.send_reset(Reason::CANCEL);
            }
        }
    }
}

enum Opened {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

async fn connect(target: SocketAddrV4, within: &Within) -> io::Result<TcpStream> {
    within.allows(target)?;
    let socket = timeout(DIAL, TcpStream::connect(target)).await??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn exchange(target: SocketAddrV4, within: &Within) -> io::Result<UdpSocket> {
    within.allows(target)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Datagrams both ways between a socket that has a peer and a stream.
async fn datagrams(socket: UdpSocket, mut send: SendStream<Bytes>, receive: RecvStream) {
    let mut coming = Datagrams::new(receive);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            datagram = coming.next() => {
                let Some(Ok(datagram)) = datagram else { return };
                // nobody there: datagrams are lost
                let _ = socket.send(&datagram).await;
            }
            received = socket.recv(&mut buffer) => {
                let Ok(count) = received else { continue };
                if pass_or_lose(&mut send, framed(buffer.get(..count).unwrap_or_default())).is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(SILENCE) => return,
        }
    }
}

/// The networks that are reached without a router.
fn networks(routes: &str) -> Vec<Ipv4Net> {
    let field = |text: &str| u32::from_str_radix(text, 16).ok().map(|number| Ipv4Addr::from(number.swap_bytes()));
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, to, gateway, _, _, _, _, mask, ..] = fields.as_slice() else { return None };
        let (to, gateway, mask) = (field(to)?, field(gateway)?, field(mask)?);
        let own = *interface != "lo" && gateway.is_unspecified() && !mask.is_unspecified();
        Ipv4Net::with_netmask(to, mask).ok().filter(|_| own)
    };
    routes.lines().skip(1).filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_networks_are_dialed() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0107DE0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0007DE0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth1\t00001CAC\t0107DE0A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            broken\n";
        assert_eq!(networks(routes), ["10.222.7.0/24".parse::<Ipv4Net>().unwrap()]);
    }

    #[tokio::test]
    async fn it_ends_when_the_other_side_has_vanished() {
        let (here, there) = tokio::io::duplex(64 << 10);
        let within = Within::These(Vec::new(), "127.0.0.1:1".parse().unwrap());
        let (between, patience) = (Duration::from_millis(20), Duration::from_secs(1));
        let served = tokio::spawn(async move { serve_for(there, within, between, patience).await });
        let (_requests, connection) = h2::client::handshake(here).await.unwrap();
        tokio::pin!(connection);
        // it is answered for as long as somebody reads
        assert!(timeout(Duration::from_millis(200), &mut connection).await.is_err());
        assert!(!served.is_finished());
        // nobody does, and the stream stays open, as the engine leaves it
        timeout(Duration::from_secs(20), served).await.expect("it ends").unwrap().unwrap();
    }
}
