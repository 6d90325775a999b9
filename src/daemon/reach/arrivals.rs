//! The way back: what the ingress has for a program of this machine arrives at an address of this process's own
//! container, or at the relay, which passes it on through the tunnel.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use super::super::routes::{Entrance, Place};
use super::link::Link;
use super::pump::poll_room;
use super::{AGAIN, Table};
use crate::model::Way;

/// Connections that the relay may pass on before it has to be asked for more.
const WAITING: usize = 16;

/// What arrives for one platform. Dropped, nothing does.
pub(super) struct Arriving {
    entrance: Entrance,
    gateway: Ipv4Addr,
    task: Option<JoinHandle<()>>,
}

impl Arriving {
    pub async fn open(entrance: &Entrance, link: &Arc<Link>, table: &Table) -> Self {
        let gateway = table.gateway;
        let (place, task) = match table.way {
            Way::Relay => {
                let taking = take(Arc::clone(link), entrance.clone(), gateway);
                (Place::Relay, Some(tokio::spawn(taking)))
            }
            Way::Direct | Way::Published => (Place::Address(table.arrivals), None),
        };
        entrance.lies(gateway, place).await;
        Self { entrance: entrance.clone(), gateway, task }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.entrance.forget(self.gateway);
    }
}

/// Takes what the relay has, for as long as it runs.
async fn take(link: Arc<Link>, entrance: Entrance, gateway: Ipv4Addr) {
    let mut waiting = FuturesUnordered::new();
    loop {
        while waiting.len() < WAITING {
            waiting.push(link.arrival());
        }
        match waiting.next().await {
            Some(Ok((send, receive))) => {
                let entrance = entrance.clone();
                tokio::spawn(async move { entrance.take(Stream::new(send, receive), gateway).await });
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "nothing arrives through the relay");
                // all of them failed with the tunnel
                waiting.clear();
                tokio::time::sleep(AGAIN).await;
            }
            None => {}
        }
    }
}

/// A stream of the tunnel as a connection. Dropped before its end, it is reset.
pub(super) struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What has come and was not read yet.
    held: Bytes,
    ended: bool,
}

impl Stream {
    pub fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, held: Bytes::new(), ended: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.held.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(piece) => self.held = piece.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.held.len().min(into.remaining());
        into.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.receive.flow_control().release_capacity(count).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(poll_room(&mut self.send, cx, bytes.len()))?;
        let piece = bytes.get(..room).unwrap_or_default();
        self.send.send_data(Bytes::copy_from_slice(piece), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            self.send.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}
