//! This side of the relay: many connections over one stream of the engine's. They are streams of HTTP/2, whose
//! windows bound what either side holds of each, so that one that is not read stops nobody else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::order::Order;
use super::refusal::kind;
use crate::engine::Conversation;

/// What either side may hold of one connection that is not read: as much as the way through the engine holds by itself. It
/// does not change while the tunnel is open: h2 reads nothing while an answer to SETTINGS has no room, and both sides might
/// wait for each other.
pub(super) const STREAM_WINDOW: u32 = 512 << 10;
/// And of all of them: as good as no limit of its own, or few that are not read would stop the others.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 30;
pub(super) const MOST_STREAMS: u32 = 16 << 10;
/// How many streams that one side has reset are remembered, and for how long: what the other side had sent by then is
/// dropped. For a stream that is forgotten it would count as a fault, and too many of those end the tunnel.
pub(super) const MOST_RESET: usize = MOST_STREAMS as usize;
pub(super) const RESET: Duration = Duration::from_secs(30);
/// The header that says why a connection could not be opened.
pub(super) const ERROR: &str = "x-macula-error";
/// How often the other side is asked whether it is still there, and how long it may take to say so.
const BETWEEN_PINGS: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// A tunnel that is open. Dropped, everything in it is reset.
pub(super) struct Tunnel {
    requests: SendRequest<Bytes>,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Over a program in a container.
    pub async fn over_program(program: Conversation) -> io::Result<Self> {
        Self::over(tokio::io::join(program.output, program.input)).await
    }

    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<Self> {
        let (io, heard) = heard(io);
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX))
            .max_frame_size(64 << 10)
            // it is our own program
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(MOST_RESET)
            .reset_stream_duration(RESET)
            .enable_push(false);
        let handshake = builder.handshake::<_, Bytes>(io);
        let (requests, mut connection) = timeout(PATIENCE, handshake).await?.map_err(io::Error::other)?;
        let pings = connection.ping_pong();
        let task = tokio::spawn(async move {
            // dropped with the connection, all of its streams end
            tokio::select! {
                _ = connection => {}
                () = until_silent(pings, &heard, BETWEEN_PINGS, PATIENCE) => {}
            }
        });
        Ok(Self { requests, task })
    }

    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Asks for new connections, on its own.
    pub fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }
}

/// Returns when the other side is gone: it does not answer, and nothing else of it arrives either. Where the way is
/// full, its answer comes late.
pub(super) async fn until_silent(pings: Option<PingPong>, heard: &Heard, between: Duration, patience: Duration) {
    let Some(mut pings) = pings else { return };
    loop {
        {
            let pong = pings.ping(Ping::opaque());
            tokio::pin!(pong);
            loop {
                match timeout(patience, &mut pong).await {
                    Ok(Ok(_)) => break,
                    Err(_) if heard.silent_for() < patience => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        }
        tokio::time::sleep(between).await;
    }
}

/// When something of the other side has arrived last.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    begun: Instant,
    /// Milliseconds after that.
    last: Arc<AtomicU64>,
}

impl Heard {
    fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// A connection of which it is noted when something arrives.
pub(super) struct Noted<T> {
    io: T,
    heard: Heard,
}

/// The connection, and when something of it has arrived.
pub(super) fn heard<T>(io: T) -> (Noted<T>, Heard) {
    let heard = Heard { begun: Instant::now(), last: Arc::default() };
    (Noted { io, heard: heard.clone() }, heard)
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if into.filled().len() > before {
            self.heard.note();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Asks the other side to do this; its error is ours.
pub(super) async fn ask(requests: SendRequest<Bytes>, order: Order) -> io::Result<(SendStream<Bytes>, RecvStream)> {
    let request = Request::post(format!("http://relay{order}")).body(()).map_err(io::Error::other)?;
    let mut requests = requests.ready().await.map_err(io::Error::other)?;
    let (response, send) = requests.send_request(request, false).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if response.status().is_success() {
        return Ok((send, response.into_body()));
    }
    let said = response.headers().get(ERROR).and_then(|said| said.to_str().ok()).unwrap_or_default();
    Err(kind(said).into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// An answer that takes longer than anybody would wait for it, behind what comes before it.
    #[tokio::test]
    async fn whoever_is_heard_is_there() {
        let (here, middle_here) = duplex(64 << 10);
        let (middle_there, there) = duplex(64 << 10);
        tokio::spawn(async move {
            let mut server = h2::server::handshake(there).await.unwrap();
            while server.accept().await.is_some() {}
        });
        let stuck = CancellationToken::new();
        let held = stuck.clone();
        tokio::spawn(async move {
            let (mut from_here, mut to_here) = tokio::io::split(middle_here);
            let (mut from_there, mut to_there) = tokio::io::split(middle_there);
            let back = async {
                while let Ok(byte) = from_there.read_u8().await {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    if held.is_cancelled() {
                        std::future::pending::<()>().await;
                    }
                    let _ = to_here.write_u8(byte).await;
                }
            };
            tokio::select! {
                _ = tokio::io::copy(&mut from_here, &mut to_there) => {}
                () = back => {}
            }
        });
        let (here, heard) = heard(here);
        let (_requests, mut connection) = h2::client::handshake(here).await.unwrap();
        let pings = connection.ping_pong();
        tokio::spawn(connection);
        let silent = until_silent(pings, &heard, Duration::from_millis(1), Duration::from_secs(1));
        tokio::pin!(silent);
        // its settings alone take longer than that
        assert!(timeout(Duration::from_secs(3), &mut silent).await.is_err());
        stuck.cancel();
        assert!(timeout(Duration::from_secs(10), &mut silent).await.is_ok());
    }
}
