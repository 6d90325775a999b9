//! The socket at which `macula open home` asks where the page is, and for a ticket. Only this user can open it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::host::next_connection;

use super::Shared;

/// For a question and its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a line.
const MOST: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Want {
    Address,
    Ticket,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    address: SocketAddr,
    ticket: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the background process shows no page")]
pub struct DoorError(#[source] io::Error);

/// The page, and what lets one browser in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub address: SocketAddr,
    pub ticket: String,
}

impl Opened {
    /// What the browser is to open. The ticket is behind the `#`, which no server is sent.
    pub fn url(&self, platform: &str) -> String {
        format!("http://{}/?platform={platform}#/enter/{}", self.address, self.ticket)
    }
}

/// Where the page is; `None`: there is none.
pub async fn address(socket: &Path) -> Option<SocketAddr> {
    ask(socket, Want::Address).await.ok().map(|reply| reply.address)
}

/// Where the page is, with a ticket.
///
/// # Errors
/// No background process runs, or it shows no page.
pub async fn ticket(socket: &Path) -> Result<Opened, DoorError> {
    let reply = ask(socket, Want::Ticket).await.map_err(DoorError)?;
    let ticket = reply.ticket.ok_or_else(|| DoorError(io::ErrorKind::InvalidData.into()))?;
    Ok(Opened { address: reply.address, ticket })
}

async fn ask(socket: &Path, want: Want) -> io::Result<Reply> {
    let talk = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let mut line = serde_json::to_vec(&want)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut reply = Vec::new();
        stream.take(MOST).read_until(b'\n', &mut reply).await?;
        Ok(serde_json::from_slice(&reply)?)
    };
    timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Answers until it is stopped.
pub(super) async fn answer(shared: Arc<Shared>, listener: UnixListener) {
    loop {
        let (stream, _) = next_connection(|cx| listener.poll_accept(cx)).await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // whoever goes away does not want to know
            let _ = timeout(PATIENCE, one(&shared, stream)).await;
        });
    }
}

async fn one(shared: &Shared, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    (&mut stream).take(MOST).read_until(b'\n', &mut line).await?;
    let now = shared.host.now();
    let ticket = match serde_json::from_slice(&line)? {
        Want::Address => None,
        Want::Ticket => {
            shared.asked.store(now, Ordering::Relaxed);
            Some(shared.tickets().give(now)?)
        }
    };
    let mut reply = serde_json::to_vec(&Reply { address: shared.address, ticket })?;
    reply.push(b'\n');
    stream.write_all(&reply).await
}
