//! The counters over HTTP, as Prometheus asks for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::host::next_connection;

/// Connections at once.
const SCRAPERS: usize = 16;
/// For one request and its answer.
const WAIT: Duration = Duration::from_secs(10);

/// Shows the counters on `http://address/metrics` until `stop`, to clients that are answered at all;
/// the address that was bound.
pub fn serve_metrics(core: &Arc<Core>, address: SocketAddr, stop: CancellationToken) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let core = Arc::downgrade(core);
    let slots = Arc::new(Semaphore::new(SCRAPERS));
    tokio::spawn(async move {
        loop {
            let next = next_connection(|cx| listener.poll_accept(cx));
            let Some((stream, client)) = stop.run_until_cancelled(next).await else { return };
            let Some(core) = core.upgrade() else { return };
            if !core.admits(&core.networks.load(), client.ip()) {
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            tokio::spawn(async move {
                // a scraper that went away half-way
                let _ = timeout(WAIT, show(&core, stream)).await;
                drop(slot);
            });
        }
    });
    Ok(bound)
}

async fn show(core: &Core, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).await?;
        if count == 0 || request.len() > 8192 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or(&[]);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => ("200 OK", core.exposition()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "only /metrics is served\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let shown = if method == b"HEAD" { "" } else { &body };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{shown}").as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::clock::Clock;
    use super::super::cookie::Secret;
    use super::super::metrics::Metrics;
    use super::super::snapshot::{Snapshot, Swap};
    use super::*;

    #[tokio::test]
    async fn nothing_but_the_counters_is_shown() {
        let core = Core {
            snapshot: Swap::new(Snapshot::build(&[], &BTreeMap::new()).unwrap()),
            secret: Secret([1; 16]),
            forwarder: None,
            networks: Swap::new(Vec::new()),
            metrics: Metrics::default(),
            query_log: None,
            clock: Clock::start(),
        };
        let said = async |request: &str| {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            show(&core, server).await.unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            text
        };
        let counters = core.exposition();
        let answer = |status: &str, length: usize, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        };
        let all = counters.len();
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000));
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", answer("200 OK", all, &counters)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", answer("200 OK", all, "")),
            ("GET / HTTP/1.1\r\n\r\n", answer("404 Not Found", 24, "only /metrics is served\n")),
            ("POST /metrics HTTP/1.1\r\n\r\n", answer("405 Method Not Allowed", 9, "only GET\n")),
            // cut short, and more than anybody needs to ask
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", String::new()),
            (&long, String::new()),
        ] {
            assert_eq!(said(request).await, expected, "{request}");
        }
    }
}
