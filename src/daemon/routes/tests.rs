use tokio::net::TcpSocket;

use super::super::passing::{AUTHORITY, PROXY};
use super::super::{RouteError, free_port, hold};
use super::*;
use crate::dns::{Config, Server};

fn route(host: &str, port: u16, folder: &Path) -> Route {
    Route {
        host: host.to_owned(),
        port,
        gateway: Ipv4Addr::LOCALHOST,
        ingress: Ipv4Addr::LOCALHOST,
        ingress_inside: Ipv4Addr::LOCALHOST,
        log: folder.join("run.log"),
        log_from: 4,
    }
}

/// A port on which nobody listens, for as long as the socket is there.
fn unused() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

fn start(folder: &Path) -> (Routes, PathBuf) {
    let socket = folder.join("routes.sock");
    (Routes::start_with(&socket, &folder.join("none"), 0).unwrap(), socket)
}

impl Routes {
    /// Where requests are taken; none while there are no routes.
    fn port(&self) -> Option<u16> {
        self.shared.state().listeners.get(&Ipv4Addr::LOCALHOST).map(|listening| listening.address.port())
    }
}

/// As the ingress does: the name stands in front of the connection.
async fn ask(port: u16, host: &str) -> io::Result<String> {
    ask_with(port, host, b"GET / HTTP/1.1\r\nhost: whatever\r\n\r\n").await
}

async fn ask_with(port: u16, host: &str, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut said = vec![4, 0, 1, b'x', AUTHORITY, 0, u8::try_from(host.len()).unwrap()];
    said.extend(host.as_bytes());
    let length = u16::try_from(12 + said.len()).unwrap().to_be_bytes();
    stream.write_all(&[PROXY.as_slice(), &[0x21, 0x11], &length, &[127; 12], &said, request].concat()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Answers every connection with its first bytes.
async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 1024];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            let _ = stream.write_all(&bytes[..count]).await;
        }
    });
    port
}

#[tokio::test]
async fn a_route_lives_as_long_as_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, socket) = start(folder.path());
    let program = echo().await;
    let held = hold(&socket, &route("shop.macula.local", program, folder.path())).await.unwrap();
    let port = routes.port().unwrap();
    assert!(ask(port, "SHOP.macula.local").await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(ask(port, "other.macula.local").await.unwrap_or_default(), "");

    let again = hold(&socket, &route("shop.macula.local", program, folder.path())).await;
    assert!(matches!(again, Err(RouteError::Taken { .. })));
    let second = hold(&socket, &route("api.macula.local", program, folder.path())).await.unwrap();
    drop(held);
    while !ask(port, "shop.macula.local").await.unwrap_or_default().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(ask(port, "api.macula.local").await.unwrap().contains("GET /"));
    drop(second);
    while routes.port().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn of_two_who_ask_at_once_for_a_name_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _) = start(folder.path());
    let [one, other] = [4001, 4002].map(|port| route("shop.macula.local", port, folder.path()));
    let known = || routes.names()();
    // the gateway of the first is not open yet when the second asks
    let turn = routes.shared.opening.lock().await;
    let shared = Arc::clone(&routes.shared);
    let first = tokio::spawn(async move { shared.add(&one).await });
    while known().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!routes.shared.add(&other).await.unwrap());
    drop(turn);
    assert!(first.await.unwrap().unwrap());
    assert_eq!(known(), [("shop.macula.local".to_owned(), 4001)]);
}

#[tokio::test]
async fn of_two_who_need_a_gateway_at_once_one_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    // another test may get the port meanwhile
    for _ in 0..5 {
        let port = free_port().unwrap();
        let socket = folder.path().join("routes.sock");
        let routes = Routes::start_with(&socket, &folder.path().join("none"), port).unwrap();
        let turn = routes.shared.opening.lock().await;
        let adding = ["shop.macula.local", "api.macula.local"].map(|host| {
            let (shared, route) = (Arc::clone(&routes.shared), route(host, 4001, folder.path()));
            tokio::spawn(async move { shared.add(&route).await })
        });
        while routes.names()().len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(turn);
        let added = futures_util::future::join_all(adding).await;
        let added: Vec<_> = added.into_iter().map(Result::unwrap).collect();
        if added.iter().all(Result::is_err) {
            continue;
        }
        assert!(added.into_iter().all(Result::unwrap));
        assert_eq!(routes.port(), Some(port));
        return;
    }
    panic!("no port stayed free");
}

#[tokio::test]
async fn a_gateway_that_cannot_be_opened_leaves_the_name_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let socket = folder.path().join("routes.sock");
    let routes = Routes::start_with(&socket, &folder.path().join("none"), port).unwrap();
    for _ in 0..2 {
        let refused = hold(&socket, &route("shop.macula.local", 4001, folder.path())).await;
        assert!(matches!(refused, Err(RouteError::Refused { .. })));
        assert!(routes.names()().is_empty());
    }
}

#[tokio::test]
async fn the_zones_of_platforms_outlive_programs() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("dns.sock");
    let entry = |apex: &str| {
        let mut zone = Zone::new(apex, 1);
        zone.records.push(Record::new(format!("grafana.{apex}"), RecordData::A([127, 0, 0, 2].into())));
        ZoneEntry::new(zone)
    };
    let zones = vec![entry("macula.local"), entry("blog.macula.local")];
    let config = Config { control: Some(control.clone()), zones, workers: 1, ..Config::default() };
    let resolver = Server::start(config).unwrap();
    let answers = async |name: &str| resolver.trace(name, 1, View::Host).await.unwrap().answers;
    let socket = folder.path().join("routes.sock");
    let routes = Routes::start_with(&socket, &control, 0).unwrap();

    let taken = hold(&socket, &route("blog.macula.local", 4001, folder.path())).await;
    assert!(matches!(taken, Err(RouteError::Taken { .. })));
    assert_eq!(answers("grafana.blog.macula.local").await, ["grafana.blog.macula.local. 30 IN A 127.0.0.2"]);

    let shop = route("shop.macula.local", 4001, folder.path());
    let held = hold(&socket, &shop).await.unwrap();
    assert_eq!(answers("shop.macula.local").await, ["shop.macula.local. 30 IN A 127.0.0.1"]);
    // the end of the program that had it before comes late
    routes.shared.name(&shop, false).await;
    assert_eq!(answers("shop.macula.local").await, ["shop.macula.local. 30 IN A 127.0.0.1"]);
    drop(held);
    while !answers("shop.macula.local").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answers("grafana.macula.local").await, ["grafana.macula.local. 30 IN A 127.0.0.2"]);
    let left: Vec<String> = resolver.status().zones.into_iter().map(|zone| zone.apex).collect();
    assert_eq!(left, ["blog.macula.local", "macula.local"]);
}

#[tokio::test]
async fn the_platforms_own_names_lead_to_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, socket) = start(folder.path());
    let receiver = SocketAddr::from((Ipv4Addr::LOCALHOST, echo().await));
    let home = Home {
        platform: "macula".into(),
        domain: "macula.local".into(),
        page: "127.0.0.9:8053".parse().unwrap(),
        others: [("otlp.macula.local".to_owned(), receiver)].into(),
    };
    routes.keep_homes([(Ipv4Addr::LOCALHOST, home)].into()).await;
    let port = routes.port().unwrap();
    for host in ["macula.local", "home.macula.local"] {
        let answer = ask(port, host).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.9:8053/?platform=macula\r\n"));
    }
    let other = |host: &'static str, request: &'static [u8]| async move {
        ask_with(port, host, request).await.unwrap_or_default()
    };
    let get = b"GET / HTTP/1.1\r\n\r\n";
    assert_eq!(other("nobody.macula.local", get).await, "");
    assert!(other("otlp.macula.local", b"POST /v1/traces HTTP/1.1\r\n\r\n").await.starts_with("POST /v1/traces"));
    assert_eq!(other("evilhome.macula.local", get).await, "");
    assert_eq!(other("macula.local", b"GET /favicon.ico HTTP/1.1\r\n\r\n").await, "");
    assert_eq!(other("macula.local", b"POST / HTTP/1.1\r\n\r\n").await, "");
    assert_eq!(other("macula.local", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");

    // a program may have the name, and the page has it again afterwards
    let held = hold(&socket, &route("home.macula.local", echo().await, folder.path())).await.unwrap();
    assert!(ask(port, "home.macula.local").await.unwrap().starts_with("GET / "));
    assert_eq!(routes.names()().len(), 1);
    drop(held);
    while !routes.names()().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(ask(port, "home.macula.local").await.unwrap().contains("302"));
    routes.keep_homes(BTreeMap::new()).await;
    assert_eq!(routes.port(), None);
}

#[tokio::test]
async fn only_the_platforms_own_network_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _) = start(folder.path());
    let [gateway, other] = [Ipv4Addr::new(10, 222, 7, 1), Ipv4Addr::new(10, 222, 8, 1)];
    let lets_in = |gateway: Ipv4Addr, peer: &str| routes.shared.state().admits(gateway, peer.parse().unwrap());
    assert!(lets_in(gateway, "127.0.0.1"));
    assert!(!lets_in(gateway, "10.222.7.2"), "nobody has said whose network it is");
    let shop = Route {
        gateway,
        ingress_inside: Ipv4Addr::new(10, 222, 7, 2),
        ..route("shop.macula.local", 4001, folder.path())
    };
    routes.shared.state().routes.insert((gateway, shop.host.clone()), shop);
    assert!(lets_in(gateway, "10.222.7.2"), "the ingress of a platform that is new");
    assert!(!lets_in(gateway, "10.222.7.3"));
    let networks = [(gateway, "10.222.7.0/24"), (other, "10.222.8.0/24")];
    let networks = networks.map(|(gateway, network)| (gateway, vec![network.parse::<IpNet>().unwrap()]));
    routes.keep_networks(networks.into());
    assert!(lets_in(gateway, "10.222.7.3"));
    for stranger in ["10.222.8.2", "172.17.0.2", "192.168.1.20", "fd00::2"] {
        assert!(!lets_in(gateway, stranger), "{stranger}");
    }
    assert!(lets_in(other, "10.222.8.2") && !lets_in(other, "10.222.7.2"));
}

/// Of two processes that start at once, the one that ends again leaves the other's socket alone.
#[tokio::test]
async fn the_socket_of_another_process_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (former, socket) = start(folder.path());
    let (_routes, _) = start(folder.path());
    drop(former);
    let held = hold(&socket, &route("shop.macula.local", echo().await, folder.path())).await;
    assert!(held.is_ok());
}

#[tokio::test]
async fn until_the_program_listens_a_page_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, socket) = start(folder.path());
    std::fs::write(folder.path().join("run.log"), "old\ncompiling <shop>\n\x1b[1mdone").unwrap();
    let (nobody, _kept) = unused();
    let _held = hold(&socket, &route("shop.macula.local", nobody, folder.path())).await.unwrap();
    let port = routes.port().unwrap();
    let page = ask(port, "shop.macula.local").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.contains("<pre>compiling &lt;shop&gt;\n[1mdone"), "{page}");
    assert_eq!(ask_with(port, "shop.macula.local", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap(), "");
}

#[tokio::test]
async fn a_program_that_closes_without_a_word_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, socket) = start(folder.path());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let program = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // all of it, so that the connection ends and is not reset
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let _held = hold(&socket, &route("shop.macula.local", program, folder.path())).await.unwrap();
    assert!(ask(routes.port().unwrap(), "shop.macula.local").await.unwrap().starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn who_does_not_say_whom_it_is_for_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, socket) = start(folder.path());
    let _held = hold(&socket, &route("shop.macula.local", echo().await, folder.path())).await.unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, routes.port().unwrap())).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.macula.local\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // closed, or reset with the request unread
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}
