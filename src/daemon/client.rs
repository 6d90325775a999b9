//! Holding a route.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Reply, Route};

const WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("{host} is the name of a platform or of another `macula run`")]
    Taken { host: String },
    #[error("the background process could not take the route: {reason}")]
    Refused { reason: String },
    #[error("talking to the background process")]
    Io(#[source] io::Error),
}

/// A route that is there for as long as this value is.
#[derive(Debug)]
pub struct Held {
    stream: BufReader<UnixStream>,
}

impl Held {
    /// Returns when the background process has gone, and the route with it.
    pub async fn lost(&mut self) {
        let mut rest = Vec::new();
        // it has nothing more to say: anything that comes is the end
        let _ = self.stream.read_until(b'\n', &mut rest).await;
    }
}

/// Asks the background process behind `socket` for a route.
pub async fn hold(socket: &Path, route: &Route) -> Result<Held, RouteError> {
    let talk = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let mut line = serde_json::to_vec(route)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut reply = Vec::new();
        stream.read_until(b'\n', &mut reply).await?;
        Ok::<_, io::Error>((serde_json::from_slice(&reply)?, stream))
    };
    let waited = timeout(WAIT, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match waited.map_err(RouteError::Io)? {
        (Reply::Routed, stream) => Ok(Held { stream }),
        (Reply::Taken, _) => Err(RouteError::Taken { host: route.host.clone() }),
        (Reply::Failed { reason }, _) => Err(RouteError::Refused { reason }),
    }
}
