//! How others talk to a running resolver: JSON lines over a unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::shared::Shared;
use super::terms::{ServerError, Status, ZoneEntry};
use super::trace::Trace;
use super::wire::Name;
use crate::host::next_connection;
use crate::model::View;

/// Longest request; a zone of 5,000 names is far below it.
const MOST: u64 = 16 << 20;
/// For one request and its answer.
const WAIT: Duration = Duration::from_secs(10);

/// A request; one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Adds a platform or takes its new form.
    AddZone {
        entry: Box<ZoneEntry>,
    },
    RemoveZone {
        zone: String,
    },
    Status,
    /// The way that a question takes; `rtype` is the type's number.
    Trace {
        name: String,
        rtype: u16,
        view: View,
    },
    /// The counters, as `/metrics` shows them.
    Metrics,
    Stop,
    /// Makes way for a new version of this program, and leaves it the sockets.
    HandOver {
        program: PathBuf,
    },
}

/// The answer; one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Response {
    Done,
    /// How many zones are left; none when there was no such zone.
    Removed {
        left: Option<usize>,
    },
    Status {
        status: Box<Status>,
    },
    Trace {
        trace: Box<Trace>,
    },
    Metrics {
        text: String,
    },
    Error {
        message: String,
    },
}

#[derive(Debug, Error)]
pub enum ControlError {
    #[error("no resolver answers on {path}")]
    NotRunning { path: String, source: io::Error },
    #[error("talking to the resolver")]
    Io(#[from] io::Error),
    #[error("the resolver did not answer in time")]
    Timeout,
    #[error("the resolver's answer cannot be read")]
    Malformed(#[from] serde_json::Error),
    #[error("the resolver says: {0}")]
    Refused(String),
    #[error("an answer to another question")]
    Unexpected,
}

/// A connection to a running resolver.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub async fn connect(path: &Path) -> Result<Self, ControlError> {
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(source) => Err(ControlError::NotRunning { path: path.display().to_string(), source }),
        }
    }

    async fn call(&mut self, request: &Request) -> Result<Response, ControlError> {
        let exchange = async {
            write_line(self.stream.get_mut(), request).await?;
            let line = read_line(&mut self.stream).await?;
            match serde_json::from_slice(&line)? {
                Response::Error { message } => Err(ControlError::Refused(message)),
                response => Ok(response),
            }
        };
        timeout(WAIT, exchange).await.map_err(|_| ControlError::Timeout)?
    }

    pub async fn add(&mut self, entry: ZoneEntry) -> Result<(), ControlError> {
        self.call(&Request::AddZone { entry: Box::new(entry) }).await.map(drop)
    }

    /// How many zones are left; none when there was no such zone.
    pub async fn remove(&mut self, zone: &str) -> Result<Option<usize>, ControlError> {
        match self.call(&Request::RemoveZone { zone: zone.to_owned() }).await? {
            Response::Removed { left } => Ok(left),
            _ => Err(ControlError::Unexpected),
        }
    }

    pub async fn status(&mut self) -> Result<Status, ControlError> {
        match self.call(&Request::Status).await? {
            Response::Status { status } => Ok(*status),
            _ => Err(ControlError::Unexpected),
        }
    }

    pub async fn trace(&mut self, name: &str, rtype: u16, view: View) -> Result<Trace, ControlError> {
        match self.call(&Request::Trace { name: name.to_owned(), rtype, view }).await? {
            Response::Trace { trace } => Ok(*trace),
            _ => Err(ControlError::Unexpected),
        }
    }

    pub async fn metrics(&mut self) -> Result<String, ControlError> {
        match self.call(&Request::Metrics).await? {
            Response::Metrics { text } => Ok(text),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Asks it to stop; it does so after the answer.
    pub async fn stop(&mut self) -> Result<(), ControlError> {
        self.call(&Request::Stop).await.map(drop)
    }

    /// Asks it to make way for a new version of its own program; returns once it has. Refused where that is another
    /// program than the one that it was started as.
    pub async fn hand_over(&mut self, program: &Path) -> Result<(), ControlError> {
        self.call(&Request::HandOver { program: program.to_owned() }).await?;
        // its end of the connection closes with it
        let mut rest = Vec::new();
        timeout(WAIT, self.stream.read_to_end(&mut rest)).await.map_err(|_| ControlError::Timeout)?.map(drop)?;
        Ok(())
    }
}

async fn write_line(stream: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> Result<(), ControlError> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(stream.write_all(&line).await?)
}

async fn read_line(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ControlError> {
    let mut line = Vec::new();
    stream.take(MOST).read_until(b'\n', &mut line).await?;
    if line.is_empty() { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(line) }
}

/// The control socket that this process has made.
pub(super) struct ControlSocket {
    path: PathBuf,
    /// Device and inode: another file may lie there now.
    file: (u64, u64),
}

impl ControlSocket {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: identity(path)? })
    }

    pub fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.file)
    }

    /// Unless it is another one's by now. A leftover is recognised by the next start.
    pub fn remove(&self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes the control socket. What a dead run left there is replaced.
pub(super) fn serve(shared: Arc<Shared>, path: &Path) -> Result<ControlSocket, ServerError> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |source| ServerError::Control { path: path.to_owned(), source };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ServerError::AlreadyRunning { path: path.to_owned() });
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let made = ControlSocket::of(path).map_err(fail)?;
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let stop = shared.stop.clone();
        loop {
            let next = next_connection(|cx| listener.poll_accept(cx));
            let Some((stream, _)) = stop.run_until_cancelled(next).await else { return };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                // a client that went away half-way
                let _ = talk(&shared, BufReader::new(stream)).await;
            });
        }
    });
    Ok(made)
}

async fn talk(shared: &Arc<Shared>, mut stream: BufReader<UnixStream>) -> Result<(), ControlError> {
    loop {
        let line = read_line(&mut stream).await?;
        let request = serde_json::from_slice(&line);
        let end = match &request {
            Ok(Request::Stop) => Some(&shared.stop),
            Ok(Request::HandOver { program }) if shared.heir.as_ref() == Some(program) => Some(&shared.succession),
            _ => None,
        };
        let response = match request {
            Ok(request) => act(shared, request).await,
            Err(error) => Response::Error { message: format!("not a request: {error}") },
        };
        write_line(stream.get_mut(), &response).await?;
        if let Some(end) = end {
            // the connection stays until we go: that is how the other side knows
            end.cancel();
        }
    }
}

async fn act(shared: &Arc<Shared>, request: Request) -> Response {
    let result: Result<Response, ServerError> = match request {
        Request::AddZone { entry } => shared.put(*entry).map(|()| Response::Done),
        Request::RemoveZone { zone } => shared.remove(&zone).map(|left| Response::Removed { left }),
        Request::Status => Ok(Response::Status { status: Box::new(shared.status()) }),
        Request::Trace { name, rtype, view } => match Name::parse(&name) {
            Ok(name) => Ok(Response::Trace { trace: Box::new(shared.core.trace(&name, rtype, view).await) }),
            Err(error) => Err(error.into()),
        },
        Request::Metrics => Ok(Response::Metrics { text: shared.core.exposition() }),
        Request::Stop => Ok(Response::Done),
        Request::HandOver { program } if shared.heir.as_ref() == Some(&program) => Ok(Response::Done),
        Request::HandOver { .. } => return Response::Error { message: "it was started as another program".to_owned() },
    };
    result.unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Response::Error { message: format!("{error}{}", source.unwrap_or_default()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_removed_by_the_process_that_made_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("resolver.sock"), folder.path().join("other.sock"));
        assert!(ControlSocket::of(&path).is_err());
        std::fs::write(&path, "").unwrap();
        let first = ControlSocket::of(&path).unwrap();
        assert!(first.is_there());
        // another process has put its own there
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let second = ControlSocket::of(&path).unwrap();
        assert!(!first.is_there() && second.is_there());
        first.remove();
        assert!(path.exists());
        second.remove();
        assert!(!path.exists() && !second.is_there());
    }
}
