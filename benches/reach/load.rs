//! What is asked of the program in the container, from wherever this runs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Bytes each way.
pub const AMOUNT: u64 = 512 << 20;
const ROUND_TRIPS: usize = 3000;
const CONNECTIONS: usize = 200;
/// Datagrams on their way at once, and how long they are sent.
const UNDER_WAY: usize = 32;
const SENDING: Duration = Duration::from_secs(3);
/// Later a datagram is lost.
const LOST: Duration = Duration::from_millis(500);

/// Where each part is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub echo: SocketAddr,
    pub sink: SocketAddr,
    pub source: SocketAddr,
    pub datagrams: SocketAddr,
}

/// What came of it once. Times in microseconds, amounts in MB (10^6 bytes) a second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    pub to: f64,
    pub from: f64,
    pub byte_p50: f64,
    pub byte_p99: f64,
    /// Until the first byte was back over a new connection.
    pub connection: Option<f64>,
    pub datagram_p50: Option<f64>,
    pub datagrams_a_second: Option<f64>,
    pub lost: Option<usize>,
}

pub fn load(at: &Addresses) -> Result<Figures> {
    let mut stream = TcpStream::connect(at.sink)?;
    let to = rate(AMOUNT, || send_all(AMOUNT, &mut stream, |stream| Ok(stream.shutdown(Shutdown::Write)?)))?;
    let mut stream = TcpStream::connect(at.source)?;
    let from = rate(AMOUNT, || {
        stream.write_all(&AMOUNT.to_be_bytes())?;
        receive(AMOUNT, &mut stream)
    })?;
    let mut stream = TcpStream::connect(at.echo)?;
    stream.set_nodelay(true)?;
    let (byte_p50, byte_p99) = round_trips(&mut stream)?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(at.echo)?;
        there_and_back(&mut stream)?;
        connections.push(begun.elapsed());
    }
    let (datagram_p50, datagrams_a_second, lost) = datagrams(at.datagrams)?;
    Ok(Figures {
        to,
        from,
        byte_p50,
        byte_p99,
        connection: Some(share(connections, 50)),
        datagram_p50: Some(datagram_p50),
        datagrams_a_second: Some(datagrams_a_second),
        lost: Some(lost),
    })
}

/// MB a second.
pub fn rate(bytes: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// Sends so much, ends that direction and waits for the number of bytes that arrived.
pub fn send_all<S: Read + Write>(bytes: u64, stream: &mut S, end: impl FnOnce(&mut S) -> Result<()>) -> Result<()> {
    super::serve::pour(bytes, &mut *stream)?;
    end(stream)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    ensure!(u64::from_be_bytes(arrived) == bytes, "{} of {bytes} bytes arrived", u64::from_be_bytes(arrived));
    Ok(())
}

pub fn receive(bytes: u64, stream: &mut impl Read) -> Result<()> {
    let mut chunk = vec![0; 128 * 1024];
    let mut all = 0;
    while all < bytes {
        let length = stream.read(&mut chunk)?;
        ensure!(length > 0, "{all} of {bytes} bytes arrived");
        all += length as u64;
    }
    Ok(())
}

/// Half of one byte's round trips are below the first, 99 of 100 below the second.
pub fn round_trips(stream: &mut (impl Read + Write)) -> Result<(f64, f64)> {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        there_and_back(stream)?;
        times.push(begun.elapsed());
    }
    Ok((share(times.clone(), 50), share(times, 99)))
}

fn there_and_back(stream: &mut (impl Read + Write)) -> Result<()> {
    stream.write_all(b"x")?;
    Ok(stream.read_exact(&mut [0])?)
}

fn datagrams(at: SocketAddr) -> Result<(f64, f64, usize)> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(LOST))?;
    let mut lost = 0;
    let mut times = Vec::new();
    let mut answer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        socket.send(&[1; 64])?;
        match socket.recv(&mut answer) {
            Ok(_) => times.push(begun.elapsed()),
            Err(_) => lost += 1,
        }
    }
    let begun = Instant::now();
    let (mut under_way, mut back) = (0, 0_usize);
    while begun.elapsed() < SENDING {
        while under_way < UNDER_WAY {
            socket.send(&[2; 64])?;
            under_way += 1;
        }
        match socket.recv(&mut answer) {
            Ok(_) => {
                under_way -= 1;
                back += 1;
            }
            Err(_) => {
                lost += under_way;
                under_way = 0;
            }
        }
    }
    Ok((share(times, 50), back as f64 / begun.elapsed().as_secs_f64(), lost))
}

/// The time below which so many of a hundred are, in microseconds.
fn share(mut times: Vec<Duration>, percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map(|time| time.as_secs_f64() * 1e6).unwrap_or_default()
}
