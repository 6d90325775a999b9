//! The load generator: as many questions as the server takes, with as little work of its own as can
//! be (prepared datagrams, batches, sockets that are connected).

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

const SOCKETS: usize = 8;
/// Questions of one socket that are under way.
const WINDOW: usize = 64;
/// Answers that do not come within this time are lost.
const LOST: Duration = Duration::from_millis(30);
const TCP_CONNECTIONS: usize = 10;
const TCP_WINDOW: usize = 128;

/// Ready messages, in the order in which they are sent.
pub struct Questions(Vec<Vec<u8>>);

pub struct Load {
    pub answers: u64,
    pub lost: u64,
    pub elapsed: Duration,
}

fn message(name: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// 60 % names that exist, 20 % wildcard, 10 % AAAA without data, 10 % NXDOMAIN.
pub fn local(names: usize) -> Questions {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize
    };
    let questions = (0..8192).map(|_| {
        let number = random() % names;
        match random() % 10 {
            0..6 => message(&format!("n{number}.bench.example"), 1),
            6 | 7 => message(&format!("w{number}.wild.bench.example"), 1),
            8 => message(&format!("n{number}.bench.example"), 28),
            _ => message(&format!("x{number}.bench.example"), 1),
        }
    });
    Questions(questions.collect())
}

pub fn cached(names: usize) -> Questions {
    Questions((0..8192).map(|number| message(&format!("c{}.cached.example", number * 7 % names), 1)).collect())
}

/// Whether a server gives the answers that the load is about.
pub fn check(port: u16, forwarding: bool, echo: bool) -> Result<(), String> {
    let cases: &[(&str, u16, u8, u16)] = if echo {
        &[]
    } else if forwarding {
        &[("c1.cached.example", 1, 0, 1)]
    } else {
        &[
            ("n1.bench.example", 1, 0, 1),
            ("w1.wild.bench.example", 1, 0, 1),
            ("n1.bench.example", 28, 0, 0),
            ("x1.bench.example", 1, 3, 0),
        ]
    };
    for (name, rtype, rcode, answers) in cases {
        let socket = connect(port).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(3))).map_err(|error| error.to_string())?;
        socket.send(&message(name, *rtype)).map_err(|error| error.to_string())?;
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).map_err(|error| format!("{name}: {error}"))?;
        let got = (buffer[3] & 0xF, u16::from_be_bytes([buffer[6], buffer[7]]));
        if length < 12 || got != (*rcode, *answers) {
            return Err(format!("{name} type {rtype}: code {} with {} records", got.0, got.1));
        }
    }
    Ok(())
}

fn connect(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

/// One socket and its prepared headers.
struct Lane {
    socket: UdpSocket,
    next: usize,
    under_way: usize,
    heard: Instant,
}

pub fn udp(port: u16, questions: &Questions, time: Duration) -> Load {
    let mut vectors: Vec<libc::iovec> = questions
        .0
        .iter()
        .map(|message| libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() })
        .collect();
    let head = |vector: &mut libc::iovec| {
        // SAFETY: a struct of integers and pointers, for which zeros are a value
        let mut head: libc::mmsghdr = unsafe { mem::zeroed() };
        head.msg_hdr.msg_iov = vector;
        head.msg_hdr.msg_iovlen = 1;
        head
    };
    let mut heads: Vec<libc::mmsghdr> = vectors.iter_mut().map(head).collect();
    let mut buffers = vec![[0_u8; 1500]; WINDOW];
    let mut in_vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    let mut in_heads: Vec<libc::mmsghdr> = in_vectors.iter_mut().map(head).collect();

    let began = Instant::now();
    let mut lanes: Vec<Lane> = (0..SOCKETS)
        .map(|lane| Lane {
            socket: connect(port).expect("a socket"),
            next: lane * questions.0.len() / SOCKETS,
            under_way: 0,
            heard: began,
        })
        .collect();
    let mut load = Load { answers: 0, lost: 0, elapsed: Duration::ZERO };
    let mut now = began;
    while now.duration_since(began) < time {
        for lane in &mut lanes {
            let descriptor = lane.socket.as_raw_fd();
            // SAFETY: each header points at a vector and that at a buffer of its own, with their
            // true lengths; all of them outlive the call
            let received = unsafe {
                libc::recvmmsg(
                    descriptor,
                    in_heads.as_mut_ptr(),
                    WINDOW as u32,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            let received = usize::try_from(received).unwrap_or(0);
            load.answers += received as u64;
            if received > 0 {
                lane.under_way = lane.under_way.saturating_sub(received);
                lane.heard = now;
            } else if lane.under_way > 0 && now.duration_since(lane.heard) > LOST {
                load.lost += lane.under_way as u64;
                lane.under_way = 0;
                lane.heard = now;
            }
            let wanted = (WINDOW - lane.under_way).min(heads.len() - lane.next);
            if wanted < WINDOW / 4 && lane.under_way > 0 && wanted < heads.len() - lane.next {
                continue;
            }
            // SAFETY: as above; the kernel only reads, and `wanted` headers are left from `next` on
            let sent = unsafe {
                libc::sendmmsg(descriptor, heads[lane.next..].as_mut_ptr(), wanted as u32, libc::MSG_DONTWAIT as _)
            };
            let sent = usize::try_from(sent).unwrap_or(0);
            lane.under_way += sent;
            lane.next = (lane.next + sent) % heads.len();
        }
        now = Instant::now();
    }
    load.elapsed = began.elapsed();
    load
}

/// The 99th percentile of the time from a question to its answer, one at a time, in microseconds.
pub fn p99(port: u16, questions: &Questions) -> f64 {
    let socket = connect(port).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let mut buffer = [0; 1500];
    let mut times: Vec<f64> = Vec::new();
    for question in questions.0.iter().take(3000) {
        let began = Instant::now();
        if socket.send(question).is_ok() && socket.recv(&mut buffer).is_ok() {
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}

pub fn tcp(port: u16, questions: &Questions, time: Duration) -> Load {
    struct Line {
        stream: TcpStream,
        under_way: usize,
        next: usize,
        output: Vec<u8>,
        input: Vec<u8>,
    }
    let framed: Vec<Vec<u8>> =
        questions.0.iter().map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat()).collect();
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let began = Instant::now();
    let open = |line: usize| {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nonblocking(true).ok()?;
        stream.set_nodelay(true).ok()?;
        let next = line * framed.len() / TCP_CONNECTIONS;
        Some(Line { stream, under_way: 0, next, output: Vec::new(), input: Vec::new() })
    };
    let mut lines: Vec<Line> = (0..TCP_CONNECTIONS).filter_map(open).collect();
    let mut load = Load { answers: 0, lost: 0, elapsed: Duration::ZERO };
    let mut chunk = vec![0; 64 * 1024];
    while began.elapsed() < time {
        for (number, line) in lines.iter_mut().enumerate() {
            let mut closed = false;
            match line.stream.read(&mut chunk) {
                Ok(0) => closed = true,
                Ok(count) => {
                    line.input.extend_from_slice(&chunk[..count]);
                    let mut used = 0;
                    while let Some(&[high, low]) = line.input[used..].first_chunk::<2>() {
                        let end = used + 2 + usize::from(u16::from_be_bytes([high, low]));
                        if end > line.input.len() {
                            break;
                        }
                        used = end;
                        load.answers += 1;
                        line.under_way = line.under_way.saturating_sub(1);
                    }
                    line.input.drain(..used);
                }
                Err(error) => closed = error.kind() != ErrorKind::WouldBlock,
            }
            if line.under_way <= TCP_WINDOW / 2 && line.output.is_empty() {
                while line.under_way < TCP_WINDOW {
                    line.output.extend_from_slice(&framed[line.next]);
                    line.next = (line.next + 1) % framed.len();
                    line.under_way += 1;
                }
            }
            if !line.output.is_empty() {
                match line.stream.write(&line.output) {
                    Ok(count) => drop(line.output.drain(..count)),
                    Err(error) => closed |= error.kind() != ErrorKind::WouldBlock,
                }
            }
            if closed {
                // a server that allows only so many questions on one connection
                load.lost += line.under_way as u64;
                if let Some(again) = open(number) {
                    *line = again;
                }
            }
        }
    }
    load.elapsed = began.elapsed();
    load
}
