//! The resolver with real sockets: what a client sees.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/require.rs"]
mod require;

mod counters;
mod encrypted;
mod forward;
mod sockets;
mod zones;

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
