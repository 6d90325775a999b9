//! The resolver with real sockets: what a client sees.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record as WireRecord, RecordType};
use macula::dns::{
    Client, Config, Encrypted, EncryptedListen, Handle, Hop, Identities, Inheritance, Inherited, Listen, Server,
    ServerError, TcpLimits, Upstreams, ZoneEntry,
};
use macula::model::{Record, RecordData, View, Zone};
use tokio::sync::watch;

fn zone(apex: &str, records: &[(&str, &str)]) -> Zone {
    let mut zone = Zone::new(apex, 1);
    for (owner, address) in records {
        zone.records.push(Record::new(format!("{owner}.{apex}"), RecordData::A(address.parse().unwrap())));
    }
    zone
}

fn platform() -> Zone {
    zone("macula.local", &[("grafana", "127.0.0.2"), ("*", "127.0.0.10")])
}

fn local(view: View) -> Listen {
    Listen { address: "127.0.0.1:0".parse().unwrap(), view }
}

fn config() -> Config {
    Config { listen: vec![local(View::Host)], zones: vec![ZoneEntry::new(platform())], workers: 2, ..Config::default() }
}

fn address(handle: &Handle) -> SocketAddr {
    handle.listen()[0].address
}

fn question(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    socket
}

fn ask_message(server: SocketAddr, message: &Message) -> Message {
    let socket = client();
    socket.send_to(&message.to_vec().unwrap(), server).unwrap();
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, server, "the answer comes from where it was asked");
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!((answer.metadata.id, &answer.queries), (message.metadata.id, &message.queries));
    answer
}

fn ask(server: SocketAddr, name: &str, rtype: RecordType) -> Message {
    ask_message(server, &question(name, rtype))
}

/// Code and the records' data.
fn short(message: &Message) -> String {
    let data: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    format!("{:?} {}", message.metadata.response_code, data.join(" "))
}

fn tcp(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    stream
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&bytes);
    framed
}

fn send_tcp(stream: &mut TcpStream, message: &Message) {
    stream.write_all(&framed(message)).unwrap();
}

fn receive_tcp(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// Waits for something that another thread brings about.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
fn counters_are_shown_over_http() {
    let handle = Server::start(Config { metrics: Some("127.0.0.1:0".parse().unwrap()), ..config() }).unwrap();
    let server = address(&handle);
    for _ in 0..3 {
        ask(server, "grafana.macula.local.", RecordType::A);
    }
    ask(server, "x.grafana.macula.local.", RecordType::AAAA);
    let scrape = |path: &str| {
        let mut stream = TcpStream::connect(handle.metrics_address().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let mut text = String::new();
    // a worker hands in its counts after it has sent the answers
    eventually("all four are counted", || {
        text = scrape("/metrics");
        text.contains("macula_dns_answer_seconds_count 4\n")
    });
    for line in [
        "macula_dns_questions_total{type=\"A\"} 3\n",
        "macula_dns_questions_total{type=\"AAAA\"} 1\n",
        "macula_dns_answers_total{rcode=\"NXDOMAIN\"} 1\n",
        "macula_dns_paths_total{path=\"fast\"} 4\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(scrape("/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_platform_has_the_counters_on_an_address_of_its_own() {
    let handle = Server::start(config()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scraped = || {
        let mut stream = TcpStream::connect(free).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.contains("macula_dns_questions_total"))
    };
    handle.put(ZoneEntry { metrics: Some(free), ..ZoneEntry::new(platform()) }).unwrap();
    assert_eq!(handle.inner_metrics(), [free]);
    assert_eq!(scraped(), Some(true));
    // the same again keeps it, an address of another machine is left out
    let foreign = "192.0.2.1:9153".parse().unwrap();
    handle.put(ZoneEntry { metrics: Some(foreign), ..ZoneEntry::new(zone("pr-1.macula.local", &[])) }).unwrap();
    assert_eq!(handle.status().inner_metrics, [free]);
    handle.remove("macula.local").unwrap();
    eventually("the address is free again", || scraped().is_none());
}

#[test]
fn the_query_log_is_told_each_question() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    let query_log: macula::dns::QueryLog = Arc::new(move |asked| {
        log.lock().unwrap().push(format!("{} {} {} {:?}", asked.name, asked.qtype, asked.rcode, asked.way));
    });
    let handle = Server::start(Config { query_log: Some(query_log), ..config() }).unwrap();
    ask(address(&handle), "grafana.macula.local.", RecordType::A);
    ask(address(&handle), "example.com.", RecordType::MX);
    assert_eq!(*seen.lock().unwrap(), ["grafana.macula.local 1 0 Fast", "example.com 15 5 Full"]);
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

/// A resolver that also answers encrypted questions, the authority that signs for it, and where.
fn encrypted() -> (Handle, macula::pki::Authority, [SocketAddr; 2]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let authority = macula::pki::Authority::create("macula.local", now).unwrap();
    let names = ["127.0.0.1", "macula.local", "*.macula.local"].map(str::to_owned);
    let leaf = authority.issue(&names, now).unwrap().to_pem();
    let identities = Arc::<Identities>::default();
    identities.replace([("macula.local", leaf.as_str())]).unwrap();
    let listen = |protocol| EncryptedListen { protocol, address: "127.0.0.1:0".parse().unwrap() };
    let encrypted = vec![listen(Encrypted::Dot), listen(Encrypted::Doh)];
    let handle = Server::start(Config { encrypted, identities, ..config() }).unwrap();
    let bound = [0, 1].map(|at| handle.encrypted()[at].address);
    assert_eq!(handle.status().encrypted, handle.encrypted());
    (handle, authority, bound)
}

#[test]
fn questions_over_tls_get_the_answers_of_tcp() {
    let (handle, authority, [dot, _]) = encrypted();
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.root().pem();
    roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"dot".to_vec()];
    // once by name, once by the address alone
    for name in ["dns.macula.local", "127.0.0.1"] {
        let connection = rustls::ClientConnection::new(Arc::new(client.clone()), name.try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(dot).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        for (asked, expected) in [
            ("grafana.macula.local.", "NoError 127.0.0.2"),
            ("Any.MACULA.local.", "NoError 127.0.0.10"),
            ("example.com.", "Refused "),
        ] {
            let message = question(asked, RecordType::A).to_vec().unwrap();
            stream.write_all(&[&(message.len() as u16).to_be_bytes(), message.as_slice()].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            let answer = Message::from_vec(&answer).unwrap();
            assert_eq!(short(&answer), expected, "{asked} by {name}");
            assert_eq!(answer.metadata.id, 4711);
        }
    }
    assert!(handle.metrics().contains("tcp"), "{}", handle.metrics());
}

#[test]
fn questions_over_https_get_the_answers_of_tcp() {
    let Ok(_) = std::process::Command::new("curl").arg("--version").output() else {
        require::skipped("curl", "no curl here");
        return;
    };
    let (_handle, authority, [_, doh]) = encrypted();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("ca.pem"), authority.root().pem()).unwrap();
    std::fs::write(at("question"), question("grafana.macula.local.", RecordType::A).to_vec().unwrap()).unwrap();
    let url = format!("https://{doh}/dns-query");
    let curl = |url: &str, more: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert", &at("ca.pem"), "-o", &at("answer")])
            .args(["-w", "%{http_version} %{http_code} %{content_type}", url])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let data = format!("@{}", at("question"));
    let post = ["-H", "content-type: application/dns-message", "--data-binary", &data];
    assert_eq!(curl(&url, &post), "2 200 application/dns-message");
    let answer = Message::from_vec(&std::fs::read(at("answer")).unwrap()).unwrap();
    assert_eq!(short(&answer), "NoError 127.0.0.2");
    // the example of RFC 8484, section 4.1.1: www.example.com, which nobody serves here
    let get = format!("{url}?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB");
    for version in ["--http2", "--http1.1"] {
        let expected = if version == "--http2" { "2" } else { "1.1" };
        assert_eq!(curl(&get, &[version]), format!("{expected} 200 application/dns-message"));
        let answer = Message::from_vec(&std::fs::read(at("answer")).unwrap()).unwrap();
        assert_eq!(short(&answer), "Refused ");
    }
    // what is no question says why
    let too_long = "A".repeat(70_000);
    std::fs::write(at("long"), &too_long).unwrap();
    let long = format!("@{}", at("long"));
    let kind = "content-type: application/dns-message";
    for (url, more, expected) in [
        (url.as_str(), vec![], "2 400 text/plain"),
        (&format!("{url}?dns=!"), vec![], "2 400 text/plain"),
        (&format!("{url}?dns=AAAA"), vec![], "2 400 text/plain"),
        (&format!("https://{doh}/"), vec![], "2 404 text/plain"),
        (&url, vec!["--data-binary", &data], "2 415 text/plain"),
        (&url, vec!["-H", kind, "--data-binary", &long], "2 413 text/plain"),
        (&url, vec!["-X", "DELETE"], "2 405 "),
    ] {
        assert_eq!(curl(url, &more), expected, "{url} {more:?}");
    }
}

#[test]
fn an_encrypted_address_that_is_taken_is_told() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let encrypted = vec![EncryptedListen { protocol: Encrypted::Dot, address }];
    let error = Server::start(Config { encrypted, ..config() }).map(|_| ()).unwrap_err();
    assert!(matches!(error, ServerError::AddressInUse { address: taken } if taken == address), "{error}");
}

/// Of the interface that the default route uses; nothing is sent.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
