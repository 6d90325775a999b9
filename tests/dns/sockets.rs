//! Connections and their limits, who gets an answer, and who has the addresses when the program changes.

use super::*;

#[test]
fn udp_tcp_and_a_clean_stop() {
    let handle = Server::start(config()).unwrap();
    let server = address(&handle);
    assert_eq!(short(&ask(server, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");
    assert_eq!(short(&ask(server, "GRAFANA.macula.LOCAL.", RecordType::A)), "NoError 127.0.0.2");
    assert_eq!(short(&ask(server, "shop.macula.local.", RecordType::A)), "NoError 127.0.0.10");
    assert_eq!(short(&ask(server, "example.com.", RecordType::A)), "Refused ");
    let mut stream = tcp(server);
    send_tcp(&mut stream, &question("grafana.macula.local.", RecordType::A));
    assert_eq!(short(&receive_tcp(&mut stream)), "NoError 127.0.0.2");
    handle.stop();
    // the address is free again, for both protocols
    UdpSocket::bind(server).unwrap();
    Server::start(Config { listen: vec![Listen { address: server, view: View::Host }], ..config() }).unwrap();
}

#[test]
fn many_pipelined_questions_on_one_connection() {
    let handle = Server::start(config()).unwrap();
    let mut stream = tcp(address(&handle));
    for id in 0..500_u16 {
        let mut message = question(&format!("n{id}.macula.local."), RecordType::A);
        message.metadata.id = id;
        send_tcp(&mut stream, &message);
    }
    let mut ids: Vec<u16> = (0..500).map(|_| receive_tcp(&mut stream).metadata.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..500).collect::<Vec<_>>());
}

#[test]
fn an_idle_connection_is_closed() {
    let tcp_limits = TcpLimits { idle: Duration::from_secs(1), per_client: 2, ..TcpLimits::default() };
    let handle = Server::start(Config { tcp: tcp_limits, ..config() }).unwrap();
    let mut streams: Vec<TcpStream> = (0..2).map(|_| tcp(address(&handle))).collect();
    send_tcp(&mut streams[0], &question("grafana.macula.local.", RecordType::A));
    receive_tcp(&mut streams[0]);
    send_tcp(&mut streams[1], &question("grafana.macula.local.", RecordType::A));
    receive_tcp(&mut streams[1]);
    // one too many is closed at once
    let mut third = tcp(address(&handle));
    let mut byte = [0];
    assert!(matches!(third.read(&mut byte), Ok(0) | Err(_)));
    for stream in &mut streams {
        assert_eq!(stream.read(&mut byte).unwrap(), 0);
    }
}

/// Connections that only drip are given up within moments once they leave no room for others of the same machine.
#[test]
fn one_that_holds_all_of_its_connections_loses_them_soon() {
    let tcp_limits = TcpLimits { idle: Duration::from_secs(60), per_client: 8, ..TcpLimits::default() };
    let handle = Server::start(Config { tcp: tcp_limits, ..config() }).unwrap();
    let mut held: Vec<TcpStream> = (0..8).map(|_| tcp(address(&handle))).collect();
    let begun = Instant::now();
    let answered = loop {
        for stream in &mut held {
            let _ = stream.write_all(&[0xff]);
        }
        let mut stream = tcp(address(&handle));
        let _ = stream.write_all(&framed(&question("grafana.macula.local.", RecordType::A)));
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_ok() {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody else gets in");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(answered > Duration::from_millis(500), "there was room after {answered:?}");
}

#[test]
fn large_answers_come_over_tcp() {
    let mut big = platform();
    for number in 0..100 {
        big.records.push(Record::new("big.macula.local", RecordData::A([127, 0, 1, number].into())));
    }
    let handle = Server::start(Config { zones: vec![ZoneEntry::new(big)], ..config() }).unwrap();
    let server = address(&handle);
    let plain = ask(server, "big.macula.local.", RecordType::A);
    assert!(plain.metadata.truncation && plain.to_vec().unwrap().len() <= 512);
    let mut message = question("big.macula.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let answer = ask_message(server, &message);
    assert!(answer.metadata.truncation && answer.to_vec().unwrap().len() <= 1232 && answer.answers.len() > 60);
    let mut stream = tcp(server);
    send_tcp(&mut stream, &message);
    let whole = receive_tcp(&mut stream);
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
}

#[test]
fn a_second_resolver_is_told_that_the_address_is_taken() {
    let handle = Server::start(config()).unwrap();
    let taken = address(&handle);
    let error = Server::start(Config { listen: vec![Listen { address: taken, view: View::Host }], ..config() });
    assert!(matches!(error.err(), Some(ServerError::AddressInUse { address }) if address == taken));
    let everywhere = Listen { address: "0.0.0.0:0".parse().unwrap(), view: View::Host };
    let error = Server::start(Config { listen: vec![everywhere], ..config() });
    assert!(matches!(error.err(), Some(ServerError::Unspecified { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_resolver_gets_the_sockets_and_no_question_is_lost() {
    let first = Server::start(config()).unwrap();
    let server = address(&first);
    let stop = Arc::new(AtomicUsize::new(0));
    let asker = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut count = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                assert_eq!(short(&ask(server, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");
                count += 1;
            }
            count
        })
    };
    // an idle connection is no reason to wait
    let mut idle = tcp(server);
    let mut handle = first;
    for round in 0..5 {
        let begun = Instant::now();
        let given = handle.hand_over().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "round {round}: {:?}", begun.elapsed());
        handle.stop();
        // whoever connects while nobody is there is served by the next one
        let mut early = tcp(server);
        send_tcp(&mut early, &question("grafana.macula.local.", RecordType::A));
        // as after another program has taken the place of this one: by their numbers
        let numbers: Vec<_> = given.into_iter().flat_map(Inherited::into_files).map(IntoRawFd::into_raw_fd).collect();
        let inheritance = Arc::new(Inheritance::adopt(&numbers).unwrap());
        let listen = vec![Listen { address: server, view: View::Host }];
        handle = Server::start(Config { listen, inheritance: Arc::clone(&inheritance), ..config() }).unwrap();
        inheritance.close();
        assert_eq!(short(&receive_tcp(&mut early)), "NoError 127.0.0.2");
    }
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "it was told that nobody is there any more");
    stop.store(1, Ordering::Relaxed);
    assert!(asker.join().unwrap() > 0);
    handle.stop();
    UdpSocket::bind(server).unwrap();
    std::net::TcpListener::bind(server).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_new_version_of_the_same_program_gets_the_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("resolver.sock");
    let heir = std::path::PathBuf::from("/usr/bin/macula");
    let handle =
        Server::start(Config { control: Some(control.clone()), heir: Some(heir.clone()), ..config() }).unwrap();
    let mut client = Client::connect(&control).await.unwrap();
    let refused = client.hand_over(std::path::Path::new("/tmp/macula")).await.unwrap_err();
    assert!(refused.to_string().contains("another program"), "{refused}");
    let asked = tokio::spawn(async move { client.hand_over(&heir).await });
    handle.succeeded().await;
    assert_eq!(handle.hand_over().await.unwrap().len(), 1);
    assert!(!asked.is_finished(), "it is there until it has gone");
    handle.stop();
    asked.await.unwrap().unwrap();
    assert!(Client::connect(&control).await.is_err());
}

#[test]
fn what_a_dead_run_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let handle = Server::start(Config { control: Some(path.clone()), ..config() }).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(handle);
}

#[test]
fn strangers_get_no_answer() {
    // an address of this machine that is not loopback, to come from
    let Some(own) = outside_address() else {
        require::skipped("network", "this machine has no address other than loopback");
        return;
    };
    let listen = Listen { address: (own, 0).into(), view: View::Container };
    let handle = Server::start(Config { listen: vec![listen.clone()], ..config() }).unwrap();
    let stranger = UdpSocket::bind((own, 0)).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let message = question("grafana.macula.local.", RecordType::A).to_vec().unwrap();
    stranger.send_to(&message, address(&handle)).unwrap();
    assert!(stranger.recv(&mut [0; 512]).is_err(), "a stranger is not answered");
    let mut stream = tcp(address(&handle));
    stream.write_all(&[0, 1, 0]).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    drop(handle);
    let networks = vec![ipnet::IpNet::from(own)];
    let handle = Server::start(Config { listen: vec![listen], networks, ..config() }).unwrap();
    stranger.send_to(&message, address(&handle)).unwrap();
    assert!(stranger.recv(&mut [0; 512]).is_ok(), "a client of the platform's network is");
}

/// Of the interface that the default route uses; nothing is sent.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
