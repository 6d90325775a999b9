//! Real sockets on loopback: an engine in memory says where the containers are.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::arrivals::Stream;
use super::link::{Link, Wire};
use super::listen::{Listening, listen, slots};
use super::order::Order;
use super::pump::{framed, pass_or_lose};
use super::relay::{Within, serve};
use super::tunnel::{self, Tunnel};
use super::{Reach, Table, look_again};
use crate::engine::fake::FakeEngine;
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::model::{ContainerState, Forward, ObservedContainer, Protocol, Way};

const NETWORK: &str = "macula";

fn container_at(address: Ipv4Addr) -> ObservedContainer {
    ObservedContainer {
        name: "macula-web-1".into(),
        state: ContainerState::Running,
        addresses: [(NETWORK.to_owned(), address)].into(),
        ..ObservedContainer::default()
    }
}

fn engine() -> Arc<FakeEngine> {
    Arc::new(FakeEngine::new().with_container(container_at(Ipv4Addr::LOCALHOST)))
}

fn direct() -> Arc<Link> {
    direct_of(engine())
}

fn direct_of(engine: Arc<FakeEngine>) -> Arc<Link> {
    let link = Link::new(Arc::new(FakeHost::new()), &Table::new(Way::Direct, NETWORK));
    Arc::new(link.with_engine(engine))
}

/// A port of this machine that nobody has, and who listens there.
async fn forwarded(protocol: Protocol, port: u16) -> (std::net::SocketAddr, Listening) {
    forwarded_by(&direct(), protocol, port).await
}

async fn forwarded_by(link: &Arc<Link>, protocol: Protocol, port: u16) -> (std::net::SocketAddr, Listening) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let forward = Forward { listen: free, protocol, service: "web".into(), container: "macula-web-1".into(), port };
    (free, listen(&forward, link, &slots(Way::Direct)).await.unwrap())
}

/// Says back what it hears until the other side has ended, then its own end.
async fn echo() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                // nothing before the end: only who passes it on gets an answer
                if stream.read_to_end(&mut all).await.is_ok() {
                    let _ = stream.write_all(&all).await;
                }
            });
        }
    });
    (port, task)
}

async fn said_back(mut stream: TcpStream, size: usize) -> Vec<u8> {
    let sent: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard == sent, "{} of {size} bytes", heard.len());
    heard
}

#[tokio::test]
async fn a_connection_is_passed_on_with_its_ends() {
    let (port, _task) = echo().await;
    let (address, _listening) = forwarded(Protocol::Tcp, port).await;
    assert_eq!(said_back(TcpStream::connect(address).await.unwrap(), 3_000_000).await.len(), 3_000_000);
}

#[tokio::test]
async fn who_is_refused_sees_a_reset_and_a_closed_port_refuses() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (address, listening) = forwarded(Protocol::Tcp, nobody).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(listening);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn datagrams_come_back_to_who_sent_them() {
    let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, _listening) = forwarded(Protocol::Udp, there.local_addr().unwrap().port()).await;
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        loop {
            let (count, from) = there.recv_from(&mut buffer).await.unwrap();
            there.send_to(&buffer[..count], from).await.unwrap();
        }
    });
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    for (socket, text) in [(&one, b"one"), (&other, b"two"), (&one, b"six")] {
        socket.send_to(text, address).await.unwrap();
        let mut buffer = [0; 64];
        let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..count], from), (&text[..], address));
    }
}

/// A container that is made again has another address, and what is at the old one may be somebody else.
#[tokio::test]
async fn datagrams_follow_a_container_that_was_replaced() {
    let old = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = old.local_addr().unwrap().port();
    let new = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), port)).await.unwrap();
    for (socket, says) in [(old, b"old"), (new, b"new")] {
        tokio::spawn(async move {
            loop {
                let (_, from) = socket.recv_from(&mut [0; 64]).await.unwrap();
                socket.send_to(says, from).await.unwrap();
            }
        });
    }
    let engine = engine();
    let (address, _listening) = forwarded_by(&direct_of(engine.clone()), Protocol::Udp, port).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ask = async || {
        let mut said = [0; 3];
        loop {
            client.send_to(b"who?", address).await.unwrap();
            // one that comes while a flow ends is lost
            let answer = tokio::time::timeout(std::time::Duration::from_millis(200), client.recv(&mut said)).await;
            if answer.is_ok() {
                return said;
            }
        }
    };
    assert_eq!(ask().await, *b"old");
    drop(FakeEngine::clone(&engine).with_container(container_at(Ipv4Addr::new(127, 0, 0, 2))));
    let followed = async {
        // the same sender all the time, and never silent
        while ask().await != *b"new" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), followed).await.expect("the new one answers");
}

/// Both ends of a tunnel, which may dial loopback.
async fn tunnel() -> Tunnel {
    tunnel_with("127.0.0.1:1".parse().unwrap()).await
}

/// The other end of which listens there.
async fn tunnel_with(arrivals: std::net::SocketAddrV4) -> Tunnel {
    tunnel_over(arrivals, 64 << 10).await
}

/// A tunnel whose way holds so many bytes.
async fn tunnel_over(arrivals: std::net::SocketAddrV4, room: usize) -> Tunnel {
    let (here, there) = tokio::io::duplex(room);
    let within = Within::These(vec!["127.0.0.0/8".parse().unwrap()], arrivals);
    tokio::spawn(async move { serve(there, within).await });
    Tunnel::over(here).await.unwrap()
}

/// A connection through the tunnel as a socket of this machine.
async fn through(tunnel: &Tunnel, port: u16) -> TcpStream {
    let target = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let (send, receive) = tunnel::ask(tunnel.requests(), Order::Connect(target)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let far = far.unwrap().0;
    tokio::spawn(Wire::Stream(send, receive).join(far));
    near.unwrap()
}

#[tokio::test]
async fn a_tunnel_passes_on_many_at_once() {
    let (port, _task) = echo().await;
    let tunnel = tunnel().await;
    let mut all = Vec::new();
    for size in [0, 1, 70_000, 2_000_000] {
        all.push(said_back(through(&tunnel, port).await, size));
    }
    futures_util::future::join_all(all).await;
}

/// What arrives at the relay comes out here, each connection by itself, with both of its ends.
#[tokio::test]
async fn what_arrives_at_the_relay_is_passed_on() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let std::net::SocketAddr::V4(address) = free else { panic!() };
    let tunnel = tunnel_with(address).await;
    let requests = tunnel.requests();
    tokio::spawn(async move {
        loop {
            let (send, receive) = tunnel::ask(requests.clone(), Order::Arrival).await.unwrap();
            tokio::spawn(async move {
                let mut stream = Stream::new(send, receive);
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    let arrives = async |size| {
        let stream = loop {
            // it listens as soon as it was asked for the first time
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        said_back(stream, size).await
    };
    tokio::join!(arrives(0), arrives(1), arrives(70_000), arrives(2_000_000));
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"half").await.unwrap();
    drop(tunnel);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(2), open.read(&mut [0; 1])).await;
    assert!(ended.expect("nothing hangs").is_err(), "reset, and not ended");
}

/// Writes without an end to whoever connects.
async fn endless() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { while stream.write_all(&[7; 4096]).await.is_ok() {} });
        }
    });
    port
}

/// What is still under way of a transfer that was given up is no fault, however many of them there were.
#[tokio::test]
async fn transfers_that_are_given_up_leave_the_tunnel_open() {
    let target = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, endless().await);
    let (echo, _task) = echo().await;
    let tunnel = tunnel_over("127.0.0.1:1".parse().unwrap(), 4 << 20).await;
    for _ in 0..60 {
        let asked = (0..40).map(|_| tunnel::ask(tunnel.requests(), Order::Connect(target)));
        let open = futures_util::future::join_all(asked).await;
        assert!(open.iter().all(Result::is_ok));
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(tunnel.is_open());
    said_back(through(&tunnel, echo).await, 100_000).await;
}

#[tokio::test]
async fn a_datagram_without_room_is_lost_and_waited_for_by_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
    let tunnel = tunnel().await;
    let (mut send, _receive) = tunnel::ask(tunnel.requests(), Order::Connect(target)).await.unwrap();
    let frame = framed(&[7; 60_000]);
    let brief = std::time::Duration::from_millis(1);
    let moments = async {
        // nobody reads: at last there is no room for a while
        let mut full = 0;
        while full < 100 {
            send.reserve_capacity(frame.len());
            full = if send.capacity() < frame.len() { full + 1 } else { 0 };
            pass_or_lose(&mut send, frame.clone()).unwrap();
            tokio::time::sleep(brief).await;
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        while send.capacity() < frame.len() {
            tokio::time::sleep(brief).await;
        }
        pass_or_lose(&mut send, frame.clone()).unwrap();
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), moments).await.expect("nothing hangs");
}

#[tokio::test]
async fn one_that_is_not_read_stops_nobody() {
    let port = endless().await;
    let (echo, _task) = echo().await;
    let tunnel = tunnel().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(through(&tunnel, port).await);
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    said_back(through(&tunnel, echo).await, 100_000).await;
}

#[tokio::test]
async fn errors_of_the_other_side_are_ours() {
    let tunnel = tunnel().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let open = async |target: &str| {
        let opened = tunnel::ask(tunnel.requests(), Order::Connect(target.parse().unwrap())).await;
        opened.map(drop).unwrap_err().kind()
    };
    assert_eq!(open(&format!("127.0.0.1:{nobody}")).await, io::ErrorKind::ConnectionRefused);
    assert_eq!(open("192.0.2.1:80").await, io::ErrorKind::PermissionDenied, "not in a network of its own");
}

#[tokio::test]
async fn a_tunnel_that_is_cut_resets_what_is_open() {
    let (port, _task) = echo().await;
    let tunnel = tunnel().await;
    let mut open = through(&tunnel, port).await;
    open.write_all(b"half").await.unwrap();
    drop(tunnel);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(2), open.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("nothing hangs").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_relay_that_speaks_nonsense_opens_nothing() {
    let (here, mut there) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let _ = there.write_all(&[0x55; 100_000]).await;
    });
    match Tunnel::over(here).await {
        Err(_) => {}
        Ok(tunnel) => {
            let opened = tunnel::ask(tunnel.requests(), Order::Connect("127.0.0.1:1".parse().unwrap())).await;
            assert!(opened.is_err());
        }
    }
}

#[tokio::test]
async fn the_file_says_what_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("reach.sock");
    let host = Arc::new(FakeHost::new());
    let file = Table::file(&host.folders().data.join("shop"));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forward = |listen, port| Forward {
        listen,
        protocol: Protocol::Tcp,
        service: "web".into(),
        container: "macula-web-1".into(),
        port,
    };
    let mut table = Table::new(Way::Direct, NETWORK);
    table.forwards = vec![forward(free, 80), forward(taken.local_addr().unwrap(), 81)];
    host.write(&file, &serde_json::to_vec(&table).unwrap(), 0o600).await.unwrap();
    let reach = Reach::start(host.clone()).await.hear(&socket).unwrap();
    let passed = look_again(&socket, "shop").await.unwrap();
    assert_eq!((passed.listening, passed.failed.len()), (1, 1));
    assert_eq!(passed.failed[0].0, taken.local_addr().unwrap());
    assert!(TcpStream::connect(free).await.is_ok());
    assert!(!reach.is_idle().await);
    // to another port of the container, and over another gateway: our own address is in nobody's way
    let changes: [fn(&mut Table); 2] =
        [|table| table.forwards[0].port = 8080, |table| table.gateway = Ipv4Addr::new(10, 222, 7, 1)];
    for change in changes {
        change(&mut table);
        host.write(&file, &serde_json::to_vec(&table).unwrap(), 0o600).await.unwrap();
        let passed = look_again(&socket, "shop").await.unwrap();
        let failed: Vec<_> = passed.failed.iter().map(|(address, _, _)| *address).collect();
        assert_eq!((passed.listening, failed), (1, vec![taken.local_addr().unwrap()]));
    }
    host.remove(&file).await.unwrap();
    assert_eq!(look_again(&socket, "shop").await.unwrap().listening, 0);
    assert!(reach.is_idle().await);
    assert_eq!(look_again(&socket, "../shop").await.unwrap(), super::Passed::default());
}
