//! What stands in the container: it sends back, swallows and pours, over TCP, over UDP, and over its own pipes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::Result;

/// Sends back each byte.
pub const ECHO: u16 = 7001;
/// Reads to the end and answers how much it was: eight bytes, the most significant first.
pub const SINK: u16 = 7002;
/// Is told a number in the same form, and sends so many bytes.
pub const SOURCE: u16 = 7003;
/// Sends back each datagram.
pub const DATAGRAMS: u16 = 7004;

const CHUNK: usize = 128 * 1024;

/// Serves until it is killed.
pub fn serve() -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", DATAGRAMS))?;
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), from);
        }
    });
    let listen = |port: u16, each: fn(TcpStream) -> Result<()>| -> Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", port))?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // whoever goes away in the middle is nobody's trouble
                thread::spawn(move || each(stream).ok());
            }
        });
        Ok(())
    };
    listen(ECHO, |stream| {
        stream.set_nodelay(true)?;
        echo(stream.try_clone()?, stream)
    })?;
    listen(SINK, |stream| swallow(stream.try_clone()?, stream))?;
    listen(SOURCE, |mut stream| {
        let mut wanted = [0; 8];
        stream.read_exact(&mut wanted)?;
        pour(u64::from_be_bytes(wanted), stream)
    })?;
    loop {
        thread::park();
    }
}

pub fn echo(mut from: impl Read, mut to: impl Write) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(chunk.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}

pub fn swallow(mut from: impl Read, mut to: impl Write) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut all = 0_u64;
    loop {
        match from.read(&mut chunk)? {
            0 => break,
            length => all += length as u64,
        }
    }
    to.write_all(&all.to_be_bytes())?;
    Ok(to.flush()?)
}

pub fn pour(mut bytes: u64, mut to: impl Write) -> Result<()> {
    let chunk = vec![7; CHUNK];
    while bytes > 0 {
        let length = bytes.min(CHUNK as u64);
        to.write_all(chunk.get(..usize::try_from(length)?).unwrap_or_default())?;
        bytes -= length;
    }
    Ok(to.flush()?)
}
