//! Names of others: who is asked, what is kept, and what is not believed.

use super::*;

/// What an upstream server made for a test does with a question.
enum Act {
    Answer(Message),
    Silence,
    /// Twice: a wrong one first.
    Forged(Message),
}

/// An upstream server; counts the questions.
fn upstream(act: impl Fn(&Message, u32) -> Act + Send + 'static) -> (SocketAddr, Arc<AtomicU32>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let number = counted.fetch_add(1, Ordering::SeqCst);
            match act(&asked, number) {
                Act::Answer(answer) => drop(socket.send_to(&answer.to_vec().unwrap(), from)),
                Act::Forged(answer) => {
                    let mut forged = answer.clone();
                    forged.metadata.id = forged.metadata.id.wrapping_add(1);
                    forged.answers[0].data = RData::A(A::new(6, 6, 6, 6));
                    drop(socket.send_to(&forged.to_vec().unwrap(), from));
                    drop(socket.send_to(&answer.to_vec().unwrap(), from));
                }
                Act::Silence => {}
            }
        }
    });
    (address, count)
}

fn answer_to(asked: &Message, address: [u8; 4], ttl: u32) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.add_query(asked.queries[0].clone());
    answer.add_answer(WireRecord::from_rdata(asked.queries[0].name().clone(), ttl, RData::A(A(address.into()))));
    answer
}

fn denial(asked: &Message, code: ResponseCode, ttl: u32, minimum: u32) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.response_code = code;
    answer.add_query(asked.queries[0].clone());
    let root = Name::root();
    let soa = SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, minimum);
    answer.add_authority(WireRecord::from_rdata(root, ttl, RData::SOA(soa)));
    answer
}

fn forwarding(servers: &[SocketAddr]) -> (Handle, SocketAddr, watch::Sender<Upstreams>) {
    let (sender, receiver) = watch::channel(Upstreams { default: servers.to_vec(), ..Upstreams::default() });
    let handle = Server::start(Config { upstreams: Some(receiver), ..config() }).unwrap();
    let server = address(&handle);
    (handle, server, sender)
}

#[test]
fn other_names_are_forwarded_once_and_cached() {
    let (server, count) = upstream(|asked, _| Act::Answer(answer_to(asked, [192, 0, 2, 1], 300)));
    let (_handle, address, _sender) = forwarding(&[server]);
    let first = ask(address, "www.Example.com.", RecordType::A);
    assert_eq!(short(&first), "NoError 192.0.2.1");
    assert!(first.metadata.recursion_available && !first.metadata.authoritative);
    for name in ["www.example.com.", "WWW.example.com.", "www.example.com."] {
        assert_eq!(short(&ask(address, name, RecordType::A)), "NoError 192.0.2.1");
    }
    let mut stream = tcp(address);
    send_tcp(&mut stream, &question("www.example.com.", RecordType::A));
    assert_eq!(short(&receive_tcp(&mut stream)), "NoError 192.0.2.1");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // without the wish for recursion, nobody is asked and the cache is not told
    let mut message = question("www.example.com.", RecordType::A);
    message.metadata.recursion_desired = false;
    assert_eq!(short(&ask_message(address, &message)), "Refused ");
}

#[test]
fn denials_are_cached_by_their_soa() {
    let (server, count) = upstream(|asked, _| {
        let nothing = asked.queries[0].name().to_string().starts_with("nodata");
        let code = if nothing { ResponseCode::NoError } else { ResponseCode::NXDomain };
        Act::Answer(denial(asked, code, 300, 60))
    });
    let (_handle, address, _sender) = forwarding(&[server]);
    for _ in 0..3 {
        assert_eq!(short(&ask(address, "absent.example.com.", RecordType::A)), "NXDomain ");
        assert_eq!(short(&ask(address, "nodata.example.com.", RecordType::A)), "NoError ");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn the_same_question_is_asked_once_for_all_who_wait() {
    let (server, count) = upstream(|asked, _| {
        std::thread::sleep(Duration::from_millis(500));
        Act::Answer(answer_to(asked, [192, 0, 2, 1], 0))
    });
    let (_handle, address, _sender) = forwarding(&[server]);
    let threads: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || short(&ask(address, "slow.example.com.", RecordType::A)))).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "NoError 192.0.2.1");
    }
    assert!(count.load(Ordering::SeqCst) < 8, "joined");
}

#[test]
fn the_next_server_is_tried_when_one_is_silent_or_broken() {
    let (silent, unanswered) = upstream(|_, _| Act::Silence);
    let (broken, _) = upstream(|asked, _| {
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.metadata.response_code = ResponseCode::ServFail;
        answer.add_query(asked.queries[0].clone());
        Act::Answer(answer)
    });
    let nobody: SocketAddr = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let (good, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [192, 0, 2, 7], 300)));
    let (handle, address, _sender) = forwarding(&[silent, nobody, broken, good]);
    for number in 0..5 {
        let name = format!("n{number}.example.com.");
        assert_eq!(short(&ask(address, &name, RecordType::A)), "NoError 192.0.2.7");
    }
    // the silent one has been found out, and is asked last
    let before = unanswered.load(Ordering::SeqCst);
    assert_eq!(short(&ask(address, "quick.example.com.", RecordType::A)), "NoError 192.0.2.7");
    assert_eq!(unanswered.load(Ordering::SeqCst), before);
    let health: Vec<bool> = handle.status().upstreams.iter().map(|server| server.healthy).collect();
    assert_eq!(health, [false, false, true, true]);
}

/// A company's server knows names that a public one does not.
#[test]
fn a_name_is_not_denied_by_a_later_server_while_an_earlier_one_may_know_it() {
    let found = |company: fn(&Message) -> Act, public: fn(&Message) -> Act| {
        let (company, _) = upstream(move |asked, _| company(asked));
        let (public, _) = upstream(move |asked, _| public(asked));
        let (_handle, address, _sender) = forwarding(&[company, public]);
        let began = Instant::now();
        (short(&ask(address, "git.corp.example.", RecordType::A)), began.elapsed())
    };
    let denies = |asked: &Message| Act::Answer(denial(asked, ResponseCode::NXDomain, 300, 300));
    let knows = |asked: &Message| Act::Answer(answer_to(asked, [192, 0, 2, 1], 300));
    let slow = |asked: &Message| {
        std::thread::sleep(Duration::from_millis(700));
        Act::Answer(answer_to(asked, [10, 0, 0, 1], 300))
    };
    let fails = |asked: &Message| Act::Answer(denial(asked, ResponseCode::ServFail, 0, 0));
    assert_eq!(found(slow, denies).0, "NoError 10.0.0.1");
    // an address is one, whoever knows it
    let (answer, time) = found(|_| Act::Silence, knows);
    assert!(answer == "NoError 192.0.2.1" && time < Duration::from_secs(1), "{answer} after {time:?}");
    // whoever has failed is waited for no longer, and whoever is silent for a while
    let (answer, time) = found(fails, denies);
    assert!(answer == "NXDomain " && time < Duration::from_secs(1), "{answer} after {time:?}");
    let (answer, time) = found(|_| Act::Silence, denies);
    assert!(answer == "NXDomain " && time > Duration::from_secs(1), "{answer} after {time:?}");
}

/// It looks up itself what it does not have, and the public one is quicker then.
#[test]
fn a_server_that_only_loses_a_race_has_not_failed() {
    let (company, _) = upstream(|asked, _| {
        if asked.queries[0].name().to_string().starts_with('s') {
            std::thread::sleep(Duration::from_millis(120));
        }
        Act::Answer(answer_to(asked, [10, 0, 0, 1], 300))
    });
    let (public, _) = upstream(|asked, _| match asked.queries[0].name().to_string().starts_with("git.") {
        true => Act::Answer(denial(asked, ResponseCode::NXDomain, 300, 300)),
        false => Act::Answer(answer_to(asked, [192, 0, 2, 1], 300)),
    });
    let (handle, address, _sender) = forwarding(&[company, public]);
    for name in ["q1", "q2", "q3", "s1", "s2", "s3", "s4", "s5"] {
        assert!(short(&ask(address, &format!("{name}.example.com."), RecordType::A)).starts_with("NoError "));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(short(&ask(address, "git.corp.example.", RecordType::A)), "NoError 10.0.0.1");
    assert!(handle.status().upstreams[0].healthy);
}

#[test]
fn a_forged_answer_is_not_taken() {
    let (server, _) = upstream(|asked, _| Act::Forged(answer_to(asked, [192, 0, 2, 1], 300)));
    let (_handle, address, _sender) = forwarding(&[server]);
    assert_eq!(short(&ask(address, "www.example.com.", RecordType::A)), "NoError 192.0.2.1");
}

#[test]
fn an_old_answer_is_better_than_none() {
    let (server, _) = upstream(|asked, number| match number {
        0 => Act::Answer(answer_to(asked, [192, 0, 2, 1], 1)),
        _ => Act::Silence,
    });
    let (_handle, address, _sender) = forwarding(&[server]);
    assert_eq!(short(&ask(address, "www.example.com.", RecordType::A)), "NoError 192.0.2.1");
    std::thread::sleep(Duration::from_millis(2100));
    let began = Instant::now();
    let stale = ask(address, "www.example.com.", RecordType::A);
    assert_eq!((short(&stale), stale.answers[0].ttl), ("NoError 192.0.2.1".to_owned(), 1));
    // from then on at once, until upstream is tried again
    assert!(began.elapsed() > Duration::from_secs(1));
    let began = Instant::now();
    assert_eq!(short(&ask(address, "www.example.com.", RecordType::A)), "NoError 192.0.2.1");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(short(&ask(address, "unknown.example.com.", RecordType::A)), "ServFail ");
}

#[test]
fn outside_names_do_not_lead_to_this_machine() {
    let (server, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [127, 0, 0, 1], 300)));
    let (sender, receiver) = watch::channel(Upstreams { default: vec![server], ..Upstreams::default() });
    let mut with = Config { upstreams: Some(receiver), ..config() };
    with.forward.rebind_allow = vec![macula::dns::Name::parse("allowed.example").unwrap()];
    let handle = Server::start(with).unwrap();
    // as if it had no address: after a refusal a program would ask the next server of its machine
    for _ in 0..2 {
        assert_eq!(short(&ask(address(&handle), "evil.example.", RecordType::A)), "NoError ");
    }
    assert_eq!(handle.status().kept_back, 1, "the second one is of the cache");
    assert_eq!(short(&ask(address(&handle), "x.allowed.example.", RecordType::A)), "NoError 127.0.0.1");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let trace = |name: &str| runtime.block_on(handle.trace(name, 1, View::Host)).unwrap();
    assert_eq!(trace("evil.example").rebound(), Some("evil.example"));
    assert_eq!(trace("x.allowed.example").rebound(), None);
    drop(sender);
}

#[test]
fn it_is_told_why_a_server_has_no_answer() {
    let (broken, _) = upstream(|asked, _| {
        let mut answer = answer_to(asked, [192, 0, 2, 1], 300);
        answer.metadata.response_code = ResponseCode::ServFail;
        Act::Answer(answer)
    });
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (server, reason) in [(broken, "answers Server Failure"), (closed, "connection refused")] {
        let (handle, _, _sender) = forwarding(&[server]);
        let trace = runtime.block_on(handle.trace("www.example.com", 1, View::Host)).unwrap();
        let failed = Hop::Failed { server, reason: reason.to_owned() };
        assert_eq!(trace.path, [Hop::NotOurs, Hop::Upstream { servers: vec![server] }, failed]);
    }
}

#[test]
fn domains_of_others_go_to_their_servers_and_changes_are_followed() {
    let (public, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [192, 0, 2, 1], 300)));
    let (company, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [10, 0, 0, 1], 300)));
    let (_handle, address, sender) = forwarding(&[public]);
    // nobody's suffix is ours but that of our zones
    let suffixes = [
        "local.",
        "printer.local.",
        "dc.corp.local.",
        "test.",
        "app.test.",
        "git.internal.",
        "nas.home.arpa.",
        "pc.lan.",
    ];
    for name in suffixes.into_iter().chain(["1.0.0.10.in-addr.arpa.", "5.1.168.192.in-addr.arpa.", "x.d.f.ip6.arpa."]) {
        assert_eq!(short(&ask(address, name, RecordType::A)), "NoError 192.0.2.1", "{name}");
    }
    for name in ["x.invalid.", "9.9.9.127.in-addr.arpa."] {
        assert_eq!(short(&ask(address, name, RecordType::A)), "NXDomain ", "{name}");
    }
    assert_eq!(short(&ask(address, "git.corp.example.", RecordType::A)), "NoError 192.0.2.1");
    let route =
        |domain: &str| macula::dns::Route { domain: macula::dns::Name::parse(domain).unwrap(), servers: vec![company] };
    let routes = vec![route("corp.local"), route("corp.example")];
    sender.send(Upstreams { default: vec![public], routes, ..Upstreams::default() }).unwrap();
    eventually("the company's names are asked of the company", || {
        short(&ask(address, "dc.corp.local.", RecordType::A)) == "NoError 10.0.0.1"
    });
    assert_eq!(short(&ask(address, "git.corp.example.", RecordType::A)), "NoError 10.0.0.1");
    assert_eq!(short(&ask(address, "www.example.com.", RecordType::A)), "NoError 192.0.2.1");
    // ours stay ours
    assert_eq!(short(&ask(address, "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");
}

#[test]
fn what_the_former_network_says_late_is_not_kept() {
    let (former, asked) = upstream(|asked, _| {
        std::thread::sleep(Duration::from_millis(800));
        Act::Answer(denial(asked, ResponseCode::NXDomain, 300, 300))
    });
    let (company, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [10, 0, 0, 1], 300)));
    let (_handle, address, sender) = forwarding(&[former]);
    let intranet = move || short(&ask(address, "intranet.corp.example.", RecordType::A));
    let early = std::thread::spawn(intranet);
    eventually("the former server is asked", || asked.load(Ordering::SeqCst) > 0);
    sender.send(Upstreams { default: vec![company], ..Upstreams::default() }).unwrap();
    // once the change is known nobody joins the question that is under way, and its answer takes no other's place
    eventually("the company's server is asked", || intranet() == "NoError 10.0.0.1");
    assert_eq!(early.join().unwrap(), "NXDomain ");
    assert_eq!(intranet(), "NoError 10.0.0.1");
}

#[test]
fn without_a_name_server_the_rest_is_refused_and_that_is_said() {
    let dropped =
        macula::dns::Dropped { text: "fe80::1%eth9".to_owned(), reason: "no network interface has this name" };
    let (sender, receiver) = watch::channel(Upstreams { dropped: vec![dropped], ..Upstreams::default() });
    let handle = Server::start(Config { upstreams: Some(receiver), ..config() }).unwrap();
    for _ in 0..2 {
        assert_eq!(short(&ask(address(&handle), "www.example.com.", RecordType::A)), "Refused ");
        assert_eq!(short(&ask(address(&handle), "grafana.macula.local.", RecordType::A)), "NoError 127.0.0.2");
    }
    let status = handle.status();
    assert_eq!(status.upstreams.len(), 0);
    assert_eq!(status.dropped_upstreams, ["fe80::1%eth9 (no network interface has this name)"]);
    // one that comes later is asked at once
    let (server, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [192, 0, 2, 1], 300)));
    sender.send(Upstreams { default: vec![server], ..Upstreams::default() }).unwrap();
    eventually("the new server is asked", || {
        short(&ask(address(&handle), "www.example.com.", RecordType::A)) == "NoError 192.0.2.1"
    });
}

#[test]
fn an_alias_of_ours_may_lead_outside() {
    let (server, _) = upstream(|asked, _| Act::Answer(answer_to(asked, [192, 0, 2, 1], 300)));
    let (sender, receiver) = watch::channel(Upstreams { default: vec![server], ..Upstreams::default() });
    let mut zone = platform();
    zone.records.push(Record::new("docs.macula.local", RecordData::Cname("www.example.com".into())));
    let handle =
        Server::start(Config { upstreams: Some(receiver), zones: vec![ZoneEntry::new(zone)], ..config() }).unwrap();
    for _ in 0..2 {
        let answer = ask(address(&handle), "docs.macula.local.", RecordType::A);
        assert_eq!(short(&answer), "NoError www.example.com. 192.0.2.1");
        assert_eq!(answer.answers[1].name.to_string(), "www.example.com.");
    }
    drop(sender);
}

#[test]
fn tcp_is_used_when_the_answer_is_cut_off() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let udp = UdpSocket::bind(server).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.metadata.truncation = true;
            answer.add_query(asked.queries[0].clone());
            udp.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let asked = receive_tcp(&mut stream);
            let mut answer = answer_to(&asked, [192, 0, 2, 1], 300);
            for number in 0..200 {
                let name = asked.queries[0].name().clone();
                answer.add_answer(WireRecord::from_rdata(name, 300, RData::A(A::new(192, 0, 3, number))));
            }
            send_tcp(&mut stream, &answer);
        }
    });
    let (_handle, address, _sender) = forwarding(&[server]);
    let mut stream = tcp(address);
    send_tcp(&mut stream, &question("many.example.com.", RecordType::A));
    assert_eq!(receive_tcp(&mut stream).answers.len(), 201);
    let cut = ask(address, "many.example.com.", RecordType::A);
    assert!(cut.metadata.truncation && !cut.answers.is_empty());
}
