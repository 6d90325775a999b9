//! This side of the relay: many connections over one stream of the engine's. They are streams of HTTP/2, whose
//! windows bound what either side holds of each, so that one that is not read stops nobody else.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::refusal::kind;
use crate::engine::Conversation;

/// What either side may hold of one connection that is not read. The way through the engine holds half a megabyte by itself,
/// which a narrow window would leave empty half of the time: with few connections it is wide, with many it is not.
const WIDE: u32 = 1 << 20;
const NARROW: u32 = 256 << 10;
/// So many may be open with a wide window, and so many are left when it is wide again.
const FEW: usize = 64;
const FEW_AGAIN: usize = 32;
/// And of all of them: as good as no limit of its own, or few that are not read would stop the others.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 30;
pub(super) const MOST_STREAMS: u32 = 16 << 10;
/// The header that says why a connection could not be opened.
pub(super) const ERROR: &str = "x-macula-error";
/// The order for a connection that arrives at the relay.
pub(super) const ARRIVAL: &str = "arrival";
/// How often the other side is asked whether it is still there, and how long it may take to say so.
const BETWEEN_PINGS: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// The window of each stream that one side receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(u32);

impl Window {
    pub const FIRST: Self = Self(WIDE);

    pub fn size(self) -> u32 {
        self.0
    }

    /// What it is to be with so many streams open, if that is another one.
    pub fn with(self, open: usize) -> Option<Self> {
        let wanted = match open {
            0..=FEW_AGAIN => WIDE,
            _ if open > FEW => NARROW,
            _ => self.0,
        };
        (wanted != self.0).then_some(Self(wanted))
    }
}

/// A place among the streams that are open, for as long as this is kept.
type Place = Arc<()>;

/// A connection through the tunnel.
pub(super) struct Ends {
    pub send: SendStream<Bytes>,
    pub receive: RecvStream,
    pub place: Place,
}

/// What asks for new connections.
#[derive(Clone)]
pub(super) struct Requests {
    send: SendRequest<Bytes>,
    place: Place,
}

/// A tunnel that is open. Dropped, everything in it is reset.
pub(super) struct Tunnel {
    requests: Requests,
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
            .initial_window_size(Window::FIRST.size())
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX))
            .max_frame_size(64 << 10)
            .enable_push(false);
        let handshake = builder.handshake::<_, Bytes>(io);
        let (send, mut connection) = timeout(PATIENCE, handshake).await?.map_err(io::Error::other)?;
        let pings = connection.ping_pong();
        let place = Place::default();
        let (counted, mut window) = (Arc::downgrade(&place), Window::FIRST);
        // woken for each stream that begins
        let connection = poll_fn(move |cx| {
            if let Some(other) = window.with(counted.strong_count())
                && connection.set_initial_window_size(other.size()).is_ok()
            {
                window = other;
            }
            Pin::new(&mut connection).poll(cx)
        });
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
        Ok(Self { requests: Requests { send, place }, task })
    }

    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Asks for new connections, on its own.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }
}

/// Asks the other side to dial; its error is ours.
pub(super) async fn open(requests: Requests, udp: bool, target: SocketAddrV4) -> io::Result<Ends> {
    let protocol = if udp { "udp" } else { "tcp" };
    order(requests, &format!("{protocol}/{target}")).await
}

/// Asks the other side for the next connection that arrives there: the answer comes with it.
pub(super) async fn arrival(requests: Requests) -> io::Result<Ends> {
    order(requests, ARRIVAL).await
}

async fn order(requests: Requests, order: &str) -> io::Result<Ends> {
    let request = Request::post(format!("http://relay/{order}")).body(()).map_err(io::Error::other)?;
    let Requests { send, place } = requests;
    let mut requests = send.ready().await.map_err(io::Error::other)?;
    let (response, send) = requests.send_request(request, false).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if response.status().is_success() {
        return Ok(Ends { send, receive: response.into_body(), place });
    }
    let said = response.headers().get(ERROR).and_then(|said| said.to_str().ok()).unwrap_or_default();
    Err(kind(said).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_wide_with_few_and_narrow_with_many() {
        let (wide, narrow) = (Window::FIRST, Window(NARROW));
        assert_eq!(wide.with(0), None);
        assert_eq!(wide.with(FEW), None);
        assert_eq!(wide.with(FEW + 1), Some(narrow));
        assert_eq!(narrow.with(FEW), None, "it does not change with each that comes and goes");
        assert_eq!(narrow.with(FEW_AGAIN), Some(wide));
    }
}
