//! What is answered of the zones: by address, when they change, from PowerDNS, and of several platforms at once.

use super::*;

#[test]
fn the_view_goes_with_the_address() {
    let mut zone = platform();
    zone.records.push(Record::new("x.macula.local", RecordData::A([127, 0, 0, 1].into())).only(View::Host));
    zone.records.push(Record::new("x.macula.local", RecordData::A([172, 31, 0, 2].into())).only(View::Container));
    let listen = vec![local(View::Host), local(View::Container)];
    let handle = Server::start(Config { listen, zones: vec![ZoneEntry::new(zone)], ..config() }).unwrap();
    let answers: Vec<String> =
        handle.listen().iter().map(|listen| short(&ask(listen.address, "x.macula.local.", RecordType::A))).collect();
    assert_eq!(answers, ["NoError 127.0.0.1", "NoError 172.31.0.2"]);
}

#[test]
fn zones_are_exchanged_without_losing_a_question() {
    let handle = Server::start(config()).unwrap();
    let server = address(&handle);
    let stop = Arc::new(AtomicUsize::new(0));
    let asker = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut seen = std::collections::BTreeSet::new();
            let mut count = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                seen.insert(short(&ask(server, "grafana.macula.local.", RecordType::A)));
                count += 1;
            }
            (seen, count)
        })
    };
    for round in 0..50 {
        let address = if round % 2 == 0 { "127.0.0.2" } else { "127.0.0.3" };
        handle.swap(vec![zone("macula.local", &[("grafana", address)])]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.store(1, Ordering::Relaxed);
    // an answer that went missing would have made the asker time out and panic
    let (seen, count) = asker.join().unwrap();
    assert!(seen.iter().all(|answer| answer == "NoError 127.0.0.2" || answer == "NoError 127.0.0.3"), "{seen:?}");
    assert!(seen.len() == 2 && count > 10, "{count} questions saw {seen:?}");
    // a bad zone changes nothing
    let mut bad = platform();
    bad.records.push(Record::new("example.com", RecordData::A([127, 0, 0, 1].into())));
    assert!(handle.swap(vec![bad]).is_err());
    assert_eq!(short(&ask(server, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.3");
}

/// A stand-in for PowerDNS: SOA over UDP, AXFR over TCP.
struct Authority {
    address: SocketAddr,
    records: Arc<Mutex<(u32, Vec<WireRecord>)>>,
    stop: Arc<AtomicUsize>,
}

impl Authority {
    fn start(apex: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let records: Arc<Mutex<(u32, Vec<WireRecord>)>> = Arc::new(Mutex::new((1, Vec::new())));
        let stop = Arc::new(AtomicUsize::new(0));
        let apex = Name::from_ascii(apex).unwrap();
        let soa = move |serial| {
            let data = SOA::new(apex.clone(), apex.clone(), serial, 2, 3, 4, 5);
            WireRecord::from_rdata(apex.clone(), 60, RData::SOA(data))
        };
        let (for_udp, shared, stopped) = (soa.clone(), Arc::clone(&records), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while stopped.load(Ordering::Relaxed) == 0 {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
                let asked = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(asked.metadata.id, OpCode::Query);
                answer.add_query(asked.queries[0].clone());
                answer.add_answer(for_udp(shared.lock().unwrap().0));
                udp.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        });
        let shared = Arc::clone(&records);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked = receive_tcp(&mut stream);
                let (serial, records) = shared.lock().unwrap().clone();
                // in two messages, as large zones are
                let mut first = Message::response(asked.metadata.id, OpCode::Query);
                first.add_query(asked.queries[0].clone());
                first.add_answer(soa(serial));
                send_tcp(&mut stream, &first);
                let mut second = Message::response(asked.metadata.id, OpCode::Query);
                second.add_answers(records);
                second.add_answer(soa(serial));
                send_tcp(&mut stream, &second);
            }
        });
        Self { address, records, stop }
    }

    fn set(&self, records: &[(&str, RData)]) {
        let mut shared = self.records.lock().unwrap();
        shared.0 += 1;
        shared.1 = records
            .iter()
            .map(|(owner, data)| WireRecord::from_rdata(Name::from_ascii(owner).unwrap(), 60, data.clone()))
            .collect();
    }
}

#[test]
fn what_powerdns_has_is_answered() {
    let authority = Authority::start("macula.local.");
    let entry = ZoneEntry { feed: Some(authority.address), ..ZoneEntry::new(platform()) };
    let handle = Server::start(Config { zones: vec![entry], ..config() }).unwrap();
    let server = address(&handle);
    eventually("the first copy", || handle.status().zones[0].feed_status.as_ref().unwrap().serial == Some(1));
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "NoError 127.0.0.10");

    authority.set(&[
        ("shop.macula.local.", RData::A(A::new(127, 0, 0, 77))),
        ("grafana.macula.local.", RData::A(A::new(6, 6, 6, 6))),
    ]);
    eventually("the record", || short(&ask(server, "shop.macula.local.", RecordType::A)) == "NoError 127.0.0.77");
    assert_eq!(short(&ask(server, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");

    // the last copy serves while it is down
    authority.stop.store(1, Ordering::Relaxed);
    eventually("the feed's trouble shows", || handle.status().zones[0].feed_status.as_ref().unwrap().error.is_some());
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "NoError 127.0.0.77");

    // another zone's swap leaves it alone; without the platform it is gone
    handle.swap(vec![platform(), zone("pr-1.macula.local", &[("grafana", "127.64.1.2")])]).unwrap();
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "NoError 127.0.0.77");
    handle.swap(vec![platform()]).unwrap();
    assert_eq!(handle.remove("macula.local").unwrap(), Some(0));
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "Refused ");
}

/// What is written there may come before the wildcard: a failure is better than a wrong address.
#[test]
fn before_powerdns_was_asked_only_the_platforms_own_names_are_answered() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let entry = ZoneEntry { feed: Some(silent.local_addr().unwrap()), ..ZoneEntry::new(platform()) };
    let handle = Server::start(Config { zones: vec![entry], ..config() }).unwrap();
    let server = address(&handle);
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "ServFail ");
    assert_eq!(short(&ask(server, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");
    // one that does not answer is not waited for
    eventually("the wildcard", || short(&ask(server, "shop.macula.local.", RecordType::A)) == "NoError 127.0.0.10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_platforms_share_one_resolver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.sock");
    let handle = Server::start(Config { control: Some(path.clone()), zones: Vec::new(), ..config() }).unwrap();
    let server = address(&handle);
    let mut client = Client::connect(&path).await.unwrap();
    client.add(ZoneEntry::new(platform())).await.unwrap();
    let other = ZoneEntry {
        listen: vec![local(View::Container)],
        ..ZoneEntry::new(zone("pr-1.macula.local", &[("grafana", "127.64.1.2")]))
    };
    client.add(other).await.unwrap();
    let ask = |name: &'static str| tokio::task::spawn_blocking(move || short(&ask(server, name, RecordType::A)));
    assert_eq!(ask("grafana.macula.local.").await.unwrap(), "NoError 127.0.0.2");
    assert_eq!(ask("grafana.pr-1.macula.local.").await.unwrap(), "NoError 127.64.1.2");

    let status = client.status().await.unwrap();
    let zones: Vec<&str> = status.zones.iter().map(|zone| zone.apex.as_str()).collect();
    assert_eq!(zones, ["macula.local", "pr-1.macula.local"]);
    assert_eq!((status.listen.len(), status.pid), (2, std::process::id()));

    let trace = client.trace("shop.macula.local", 1, View::Host).await.unwrap();
    assert_eq!(trace.answers, ["shop.macula.local. 30 IN A 127.0.0.10"]);
    assert_eq!(
        serde_json::to_string(&trace.path).unwrap(),
        r#"[{"step":"zone","zone":"macula.local"},{"step":"wildcard","wildcard":"*.macula.local","layer":"wildcard"},{"step":"found","name":"shop.macula.local","layer":"wildcard"}]"#
    );
    let bad = ZoneEntry::new(zone("bad..name", &[]));
    let refused = client.add(bad).await.unwrap_err().to_string();
    assert_eq!(refused, "the resolver says: \"bad..name\" is not a domain name: a label is empty");

    // a second resolver for the same socket is refused, and the first goes on
    let second = Server::start(Config { control: Some(path.clone()), ..config() });
    assert!(matches!(second.err(), Some(ServerError::AlreadyRunning { .. })));

    assert_eq!(client.remove("pr-1.macula.local").await.unwrap(), Some(1));
    assert_eq!(client.remove("pr-1.macula.local").await.unwrap(), None);
    assert_eq!(client.status().await.unwrap().listen.len(), 1);
    // the zone above takes its names back
    assert_eq!(ask("grafana.pr-1.macula.local.").await.unwrap(), "NoError 127.0.0.10");
    assert_eq!(client.remove("macula.local").await.unwrap(), Some(0));
    client.stop().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), handle.stopped()).await.unwrap();
    drop(handle);
    assert!(!path.exists());
}
