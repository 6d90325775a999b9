//! Servers that are this program itself, in a process of their own: the resolver, the bare echo
//! that is the limit, hickory-server with a handler, and the upstream server for the cache.

use std::collections::HashMap;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, SOA};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use macula::dns::{Config, Listen, Server, Upstreams, ZoneEntry};
use macula::model::{Record as ZoneRecord, RecordData, View, Zone};

const APEX: &str = "bench.example";

pub fn run(arguments: &[String]) {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u16>().ok()
    };
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, value("--port").expect("--port")).into();
    let names = usize::from(value("--names").unwrap_or(50));
    match arguments.first().map(String::as_str) {
        Some("macula") => ours(address, names, value("--upstream")),
        Some("echo") => echo(address),
        Some("hickory") => hickory(address, names),
        Some("upstream") => upstream(address),
        other => panic!("no role {other:?}"),
    }
}

fn ours(address: SocketAddr, names: usize, upstream: Option<u16>) {
    let mut zone = Zone::new(APEX, 1);
    for number in 0..names {
        let data = RecordData::A(Ipv4Addr::new(127, 1, (number >> 8) as u8, number as u8));
        zone.records.push(ZoneRecord::new(format!("n{number}.{APEX}"), data));
    }
    zone.records.push(ZoneRecord::new(format!("*.wild.{APEX}"), RecordData::A(Ipv4Addr::new(127, 0, 0, 10))));
    let upstreams = upstream.map(|port| {
        let default = vec![(Ipv4Addr::LOCALHOST, port).into()];
        tokio::sync::watch::channel(Upstreams { default, ..Upstreams::default() }).1
    });
    let listen = vec![Listen { address, view: View::Host }];
    let zones = vec![ZoneEntry::new(zone)];
    let config = Config { listen, zones, upstreams, workers: 1, ..Config::default() };
    let _handle = Server::start(config).expect("the resolver");
    loop {
        std::thread::park();
    }
}

/// Sends every datagram back: what a server that does nothing reaches.
fn echo(address: SocketAddr) {
    const BATCH: usize = 64;
    let socket = UdpSocket::bind(address).expect("the echo's socket");
    let mut buffers = vec![[0_u8; 2048]; BATCH];
    // SAFETY: a struct of integers, for which zeros are a value
    let mut names = vec![unsafe { mem::zeroed::<libc::sockaddr_in>() }; BATCH];
    // SAFETY: a struct of integers and pointers, for which zeros are a value
    let mut heads = vec![unsafe { mem::zeroed::<libc::mmsghdr>() }; BATCH];
    let mut vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    for ((head, name), vector) in heads.iter_mut().zip(&mut names).zip(&mut vectors) {
        head.msg_hdr.msg_name = ptr::from_mut(name).cast();
        head.msg_hdr.msg_iov = vector;
        head.msg_hdr.msg_iovlen = 1;
    }
    loop {
        for head in &mut heads {
            head.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
        }
        for vector in &mut vectors {
            vector.iov_len = 2048;
        }
        // SAFETY: each header points at a name, a vector and a buffer of its own that outlive the
        // call, with their true lengths
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else { continue };
        for at in 0..count {
            vectors[at].iov_len = heads[at].msg_len as usize;
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: as above; the kernel only reads
            let done =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), heads[sent..].as_mut_ptr(), (count - sent) as u32, 0) };
            sent += usize::try_from(done).unwrap_or(0).max(1);
        }
    }
}

/// Any name has an address, for an hour.
fn upstream(address: SocketAddr) {
    let socket = UdpSocket::bind(address).expect("the upstream's socket");
    let mut buffer = [0; 1500];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        let end = 12 + buffer[12..].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
        let mut answer = buffer[..end].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1]);
        let _ = socket.send_to(&answer, from);
    }
}

struct Handler {
    names: HashMap<LowerName, Record>,
    wild: LowerName,
    soa: Record,
}

fn hickory(address: SocketAddr, names: usize) {
    let apex = Name::from_ascii(format!("{APEX}.")).expect("the apex");
    let record = |name: &Name, address| Record::from_rdata(name.clone(), 30, RData::A(A(address)));
    let table = (0..names).map(|number| {
        let name = Name::from_ascii(format!("n{number}.{APEX}.")).expect("a name");
        let record = record(&name, Ipv4Addr::new(127, 1, (number >> 8) as u8, number as u8));
        (LowerName::from(name), record)
    });
    let soa = SOA::new(apex.clone(), apex.clone(), 1, 2, 3, 4, 30);
    let handler = Handler {
        names: table.collect(),
        wild: LowerName::from(Name::from_ascii(format!("wild.{APEX}.")).expect("a name")),
        soa: Record::from_rdata(apex, 30, RData::SOA(soa)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut server = hickory_server::Server::new(handler);
        server.register_socket(tokio::net::UdpSocket::bind(address).await.expect("a socket"));
        let listener = tokio::net::TcpListener::bind(address).await.expect("a listener");
        server.register_listener(listener, Duration::from_secs(10), 128);
        server.block_until_done().await.expect("the server");
    });
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let failed = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let Ok(info) = request.request_info() else { return failed };
        let wild = self.wild.zone_of(info.query.name());
        let known = self.names.get(info.query.name());
        let wanted = info.query.query_type() == RecordType::A;
        let made = (wild && wanted)
            .then(|| Record::from_rdata(info.query.original().name().clone(), 30, RData::A(A::new(127, 0, 0, 10))));
        let answer = made.as_ref().or(known.filter(|_| wanted));
        if known.is_none() && !wild {
            metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = answer.is_none().then_some(&self.soa);
        let response = MessageResponseBuilder::from_message_request(request).build(metadata, answer, soa, None, None);
        out.send_response(response).await.unwrap_or(failed)
    }
}
