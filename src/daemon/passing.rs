//! One connection on its way to a program of this machine, and the pages that stand in for the program.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Route;

/// Longest head of an HTTP request; the ingress sends no longer ones.
const HEAD: usize = 300 << 10;
/// How a header of the PROXY protocol begins.
pub(super) const PROXY: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What in it names the host.
pub(super) const AUTHORITY: u8 = 2;
/// How HTTP/2 begins where it was agreed on before.
pub(super) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Of the program's output, on the page that is shown until it listens.
const SHOWN: u64 = 4 << 10;

/// Both directions, until both have ended. A program that closes the connection without a word has failed, and
/// the page says so.
pub(super) async fn relay(from: impl AsyncRead + AsyncWrite, mut to: TcpStream, route: &Route) {
    let (mut from_read, mut from_write) = tokio::io::split(from);
    let (mut to_read, mut to_write) = to.split();
    let http2 = AtomicBool::new(false);
    let there = async {
        let mut first = vec![0; 16 << 10];
        let count = from_read.read(&mut first).await.unwrap_or(0);
        let bytes = first.get(..count).unwrap_or_default();
        http2.store(bytes.starts_with(HTTP2), Ordering::Relaxed);
        if to_write.write_all(bytes).await.is_ok() {
            let _ = tokio::io::copy(&mut from_read, &mut to_write).await;
        }
        let _ = to_write.shutdown().await;
    };
    let back = async {
        let mut first = vec![0; 16 << 10];
        match to_read.read(&mut first).await {
            Ok(count @ 1..) => {
                let passed = from_write.write_all(first.get(..count).unwrap_or_default()).await;
                if passed.is_ok() {
                    let _ = tokio::io::copy(&mut to_read, &mut from_write).await;
                }
            }
            Ok(0) | Err(_) if !http2.load(Ordering::Relaxed) => {
                let _ = from_write.write_all(silent(route, &last_lines(route).await).as_bytes()).await;
            }
            _ => {}
        }
        let _ = from_write.shutdown().await;
    };
    // either end may go away at any time
    tokio::join!(there, back);
}

/// Programs listen on one of the two loopback addresses, or on both.
pub(super) async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await,
    }
}

/// The name that a request is for, from the header that the ingress puts in front of a connection (the PROXY
/// protocol, version 2). None: there is no such header, or none that names anything.
pub(super) async fn proxied_host(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).await?;
    let [signature @ .., _, family, high, low] = start;
    if signature[..] != PROXY[..] {
        return Ok(None);
    }
    let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut rest).await?;
    // source and destination stand before what else is said
    let mut said = match family >> 4 {
        1 => rest.get(12..),
        2 => rest.get(36..),
        _ => Some(rest.as_slice()),
    }
    .unwrap_or_default();
    while let [kind, high, low, more @ ..] = said {
        let (value, next) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(more.len()));
        if *kind == AUTHORITY {
            return Ok(Some(String::from_utf8_lossy(value).to_ascii_lowercase()));
        }
        said = next;
    }
    Ok(None)
}

/// The request's bytes up to the end of its head, and what came with them.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(head);
        }
        if head.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// What the program has written, or the end of that.
pub(super) async fn last_lines(route: &Route) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(&route.log).await?;
        let length = file.metadata().await?.len();
        // a long one loses its beginning
        let own = if route.log_from > length { 0 } else { route.log_from };
        file.seek(io::SeekFrom::Start(length.saturating_sub(SHOWN).max(own))).await?;
        let mut end = Vec::new();
        file.take(SHOWN).read_to_end(&mut end).await?;
        Ok::<_, io::Error>(end)
    };
    let end = read.await.unwrap_or_default();
    String::from_utf8_lossy(&end).into_owned()
}

/// What is shown until the program listens.
pub(super) fn starting(route: &Route, said: &str) -> String {
    let why = format!("Nothing listens on port {} yet. This page reloads every second.", route.port);
    page(route, "503 Service Unavailable", "starting", "is starting", &why, said)
}

/// What is shown where it has closed the connection instead of answering.
fn silent(route: &Route, said: &str) -> String {
    let why = format!("The program on port {} closed the connection without an answer.", route.port);
    page(route, "502 Bad Gateway", "silent", "did not answer", &why, said)
}

fn page(route: &Route, status: &str, mark: &str, state: &str, why: &str, said: &str) -> String {
    let escaped = |text: &str| {
        let plain = text.chars().filter(|character| !character.is_control() || *character == '\n');
        plain.collect::<String>().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    };
    let (host, said) = (escaped(&route.host), escaped(said));
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"1\">\n\
         <title>{host} {state}</title>\n<h1>{host} {state}</h1>\n<p>{why}</p>\n<pre>{said}</pre>\n</html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nRetry-After: 1\r\n\
         Cache-Control: no-store\r\nX-Macula: {mark}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
