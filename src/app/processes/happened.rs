//! What happens around the keeper: its tasks wait for it, and tell it to the one that decides.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::daemon::{Route, RouteError, hold};
use crate::host::next_connection;

use super::{Answer, Ask, MOST};

/// Between two attempts to get a name.
const NAME_AGAIN: Duration = Duration::from_millis(300);

/// What the tasks tell. `run`: which start of the process it is about; an older one is of no interest.
pub(super) enum Happened {
    Asked {
        ask: Ask,
        reply: oneshot::Sender<Answer>,
    },
    Ready {
        name: String,
        run: u64,
    },
    Ended {
        name: String,
        run: u64,
        code: i32,
    },
    Again {
        name: String,
        run: u64,
    },
    Changed {
        name: String,
        path: PathBuf,
        /// When it was told.
        at: Instant,
    },
    Named {
        name: String,
        problem: Option<String>,
    },
    /// The background process, which holds the names, does not answer.
    Nameless,
}

/// Requests, one a connection.
pub(super) async fn accept(listener: UnixListener, tell: UnboundedSender<Happened>) {
    loop {
        let (stream, _) = next_connection(|cx| listener.poll_accept(cx)).await;
        tokio::spawn(serve(stream, tell.clone()));
    }
}

async fn serve(stream: UnixStream, tell: UnboundedSender<Happened>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let Ok(_) = (&mut stream).take(MOST).read_until(b'\n', &mut line).await else { return };
    let ask = match serde_json::from_slice(&line) {
        Ok(ask) => ask,
        Err(error) => {
            tracing::warn!(%error, "a request that is not understood");
            return;
        }
    };
    let (reply, answered) = oneshot::channel();
    if tell.send(Happened::Asked { ask, reply }).is_err() {
        return;
    }
    let Ok(answer) = answered.await else { return };
    let Ok(mut line) = serde_json::to_vec(&answer) else { return };
    line.push(b'\n');
    // whoever asked may have gone
    let _ = stream.write_all(&line).await;
}

/// Holds one name; the background process may go and come back meanwhile.
pub(super) async fn hold_name(socket: PathBuf, route: Route, tell: UnboundedSender<Happened>, name: String) {
    let mut told: Option<String> = None;
    loop {
        let problem = match hold(&socket, &route).await {
            Ok(mut held) => {
                if told.take().is_some() {
                    let _ = tell.send(Happened::Named { name: name.clone(), problem: None });
                }
                held.lost().await;
                continue;
            }
            Err(RouteError::Io(error)) => {
                let _ = tell.send(Happened::Nameless);
                format!("the background process does not answer: {error}")
            }
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&problem) {
            told = Some(problem.clone());
            let _ = tell.send(Happened::Named { name: name.clone(), problem: Some(problem) });
        }
        tokio::time::sleep(NAME_AGAIN).await;
    }
}
