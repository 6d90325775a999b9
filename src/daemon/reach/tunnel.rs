//! This side of the relay: many connections over one stream of the engine's. They are streams of HTTP/2, whose
//! windows bound what either side holds of each, so that one that is not read stops nobody else.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
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
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX))
            .max_frame_size(64 << 10)
            .enable_push(false);
        let handshake = builder.handshake::<_, Bytes>(io);
        let (requests, mut connection) = timeout(PATIENCE, handshake).await?.map_err(io::Error::other)?;
        let pings = connection.ping_pong();
        let task = tokio::spawn(async move {
            let alive = async {
                let Some(mut pings) = pings else { return };
                while let Ok(Ok(_)) = timeout(PATIENCE, pings.ping(Ping::opaque())).await {
                    tokio::time::sleep(BETWEEN_PINGS).await;
                }
            };
            // dropped with the connection, all of its streams end
            tokio::select! {
                _ = connection => {}
                () = alive => {}
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
