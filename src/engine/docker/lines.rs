//! Connections that questions share. The client opens one for each, and an engine makes ready for every caller anew: a
//! look at forty things is quicker over a few of them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use super::dial::{Endpoint, Stream};

/// Questions that are open at once.
const SIDE_BY_SIDE: usize = 16;
/// An engine may close what has been quiet for longer, and one that ends when nobody is connected may end.
const QUIET: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Nobody took the connection.
    Unreachable(io::Error),
    /// It ended before the answer was whole.
    Gone(hyper::Error),
    /// The question is none.
    Invalid(hyper::http::Error),
}

/// A connection, and when it was last of use.
struct Line {
    requests: SendRequest<String>,
    used: Instant,
    /// The same by the clock on the wall, which goes on while a machine sleeps.
    at: SystemTime,
}

/// Connections that nobody uses just now.
#[derive(Default)]
struct Idle {
    lines: Vec<Line>,
    /// Of whoever closes those that stay unused, in the runtime that it was started in.
    closer: Option<JoinHandle<()>>,
}

/// Questions to one engine, and the connections that are open for them.
pub(super) struct Lines {
    endpoint: Arc<Endpoint>,
    idle: Arc<Mutex<Idle>>,
    places: Semaphore,
}

impl Lines {
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, idle: Arc::default(), places: Semaphore::new(SIDE_BY_SIDE) }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Waits until few enough questions are open: for whoever has a limit for the answer.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// Asks over a connection that is open already.
    pub async fn ask_over(&self, stream: Stream, method: Method, path: &str) -> Result<Response<Bytes>, NoAnswer> {
        let mut line = Line::over(stream).await?;
        let answer = line.ask(&method, path).await?;
        self.keep(line);
        Ok(answer)
    }

    /// The answer to a question without a body, whole. It is asked once more where a connection that was kept turns out
    /// to be none: these questions change nothing.
    pub async fn ask(&self, method: Method, path: &str) -> Result<Response<Bytes>, NoAnswer> {
        while let Some(mut line) = self.kept() {
            if let Ok(answer) = line.ask(&method, path).await {
                self.keep(line);
                return Ok(answer);
            }
        }
        let stream = self.endpoint.open().await.map_err(NoAnswer::Unreachable)?;
        let mut line = Line::over(stream).await?;
        let answer = line.ask(&method, path).await?;
        self.keep(line);
        Ok(answer)
    }

    fn kept(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.lines.retain(Line::is_fresh);
        idle.lines.pop()
    }

    /// For the next question, if it comes soon: over `ssh` each connection is a login that others may want.
    fn keep(&self, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.lines.push(line);
        // one that has gone with its runtime closes nothing any more
        if idle.closer.as_ref().is_none_or(JoinHandle::is_finished) {
            idle.closer = Some(tokio::spawn(close_quiet(Arc::downgrade(&self.idle))));
        }
    }
}

/// Sleeps until the oldest connection has been quiet for too long, and ends when there is none left.
async fn close_quiet(idle: Weak<Mutex<Idle>>) {
    let mut pause = QUIET;
    loop {
        tokio::time::sleep(pause).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.lines.retain(Line::is_fresh);
        let Some(oldest) = idle.lines.iter().map(|line| line.used).min() else {
            idle.closer = None;
            return;
        };
        pause = QUIET.saturating_sub(oldest.elapsed());
    }
}

impl Line {
    async fn over(stream: Stream) -> Result<Self, NoAnswer> {
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(NoAnswer::Gone)?;
        tokio::spawn(connection);
        Ok(Self { requests, used: Instant::now(), at: SystemTime::now() })
    }

    fn is_fresh(&self) -> bool {
        let awake = self.used.elapsed() < QUIET && self.at.elapsed().is_ok_and(|since| since < QUIET);
        awake && !self.requests.is_closed()
    }

    async fn ask(&mut self, method: &Method, path: &str) -> Result<Response<Bytes>, NoAnswer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, HeaderValue::from_static("docker"))
            .body(String::new())
            .map_err(NoAnswer::Invalid)?;
        self.requests.ready().await.map_err(NoAnswer::Gone)?;
        let (head, body) = self.requests.send_request(request).await.map_err(NoAnswer::Gone)?.into_parts();
        let body = body.collect().await.map_err(NoAnswer::Gone)?.to_bytes();
        (self.used, self.at) = (Instant::now(), SystemTime::now());
        Ok(Response::from_parts(head, body))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// Answers `each` questions over each connection and closes it then; the connections are counted.
    fn engine(path: &std::path::Path, each: usize) -> Arc<AtomicUsize> {
        let listener = UnixListener::bind(path).unwrap();
        let opened = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&opened);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    for _ in 0..each {
                        let Ok(1..) = stream.read(&mut request).await else { return };
                        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").await;
                    }
                });
            }
        });
        opened
    }

    #[tokio::test]
    async fn questions_share_a_connection_until_the_engine_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine");
        let opened = engine(&path, 3);
        let lines = Lines::new(Arc::new(Endpoint::Unix(path.display().to_string())));
        for asked in 1..=7_usize {
            let answer = lines.ask(Method::GET, "/x").await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"{}"[..]));
            assert_eq!(opened.load(Ordering::Relaxed), asked.div_ceil(3), "question {asked}");
        }
        assert!(matches!(lines.ask(Method::GET, "a b").await, Err(NoAnswer::Invalid(_))));
    }

    #[tokio::test]
    async fn a_connection_that_nobody_uses_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine");
        engine(&path, 9);
        let lines = Lines::new(Arc::new(Endpoint::Unix(path.display().to_string())));
        lines.ask(Method::GET, "/x").await.unwrap();
        let kept = || lines.idle.lock().unwrap().lines.len();
        let closes = || lines.idle.lock().unwrap().closer.as_ref().map(JoinHandle::id);
        assert_eq!(kept(), 1);
        // one closer for all of them
        let first = closes();
        lines.ask(Method::GET, "/x").await.unwrap();
        assert!(first.is_some() && closes() == first);
        while kept() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(closes(), None);
        // nor is one that was of use before the machine slept
        let line =
            Line { at: SystemTime::UNIX_EPOCH, ..Line::over(lines.endpoint.open().await.unwrap()).await.unwrap() };
        assert!(!line.is_fresh());
    }

    #[tokio::test]
    async fn connections_of_a_runtime_that_has_ended_are_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine");
        let opened = engine(&path, 9);
        let lines = Arc::new(Lines::new(Arc::new(Endpoint::Unix(path.display().to_string()))));
        let ahead = Arc::clone(&lines);
        let asks = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(ahead.ask(Method::GET, "/x")).unwrap();
        });
        while !asks.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asks.join().unwrap();
        assert!(lines.ask(Method::GET, "/x").await.is_ok());
        assert_eq!(opened.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_an_end_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine");
        let lines = Lines::new(Arc::new(Endpoint::Unix(path.display().to_string())));
        assert!(matches!(lines.ask(Method::GET, "/x").await, Err(NoAnswer::Unreachable(_))));
        engine(&path, 0);
        assert!(matches!(lines.ask(Method::GET, "/x").await, Err(NoAnswer::Gone(_))));
    }
}
