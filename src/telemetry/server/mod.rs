//! The receivers: OTLP over HTTP and over gRPC, and Loki's pushes, on every port that is listened on. What was
//! answered with success is in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::host::next_connection;
use crate::model::AnyError;

use super::batch::{self, Taken};
use super::store::{Store, StoreError};
use super::wire::body::{Compression, Encoding, Signal};
use super::wire::otlp::Response as Taking;
use super::wire::{WireError, loki};

#[cfg(test)]
mod tests;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Response<Body>;

/// Bytes of a body as it comes, and opened.
const MOST: usize = 8 << 20;
const OPENED: usize = 16 << 20;
/// Bytes that a batch may repeat of its request, as they lie in memory. Attributes take about twice there what they
/// take in a message, so that this is a whole body once more.
const REPEATED: usize = 2 * OPENED;
/// Of a body that is too long this much is read all the same.
const PASSED_OVER: usize = 64 << 20;
/// How much larger than its body a compressed request is taken to be, until it is open.
const RATIO: usize = 8;
/// KiB of all bodies that are at work.
const BUDGET: u32 = 40 << 10;
/// For a turn; whoever has none then is told to come back.
const TURN: Duration = Duration::from_secs(2);
/// For a whole body, for the head of a request, and for a connection to say its first word.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections at once on an address.
const CONNECTIONS: usize = 256;
/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at the store while something waits in it, and while nothing does: then only age and the disk count.
const SECOND: Duration = Duration::from_secs(1);
const RESTING: Duration = Duration::from_secs(30);

/// The receivers of a platform and the store behind them. Dropped, nothing listens any more.
pub struct Receivers {
    shared: Arc<Shared>,
    listening: BTreeMap<SocketAddr, CancellationToken>,
    ticker: JoinHandle<()>,
}

struct Shared {
    store: Arc<Store>,
    budget: Arc<Semaphore>,
    /// Something was given to the store.
    given: Arc<Notify>,
}

impl Receivers {
    /// Listens nowhere yet.
    pub fn new(store: Arc<Store>) -> Self {
        let given = Arc::<Notify>::default();
        let (ticking, waking) = (Arc::clone(&store), Arc::clone(&given));
        let ticker = tokio::spawn(async move {
            loop {
                if ticking.is_at_rest() {
                    let _ = timeout(RESTING, waking.notified()).await;
                }
                tokio::time::sleep(SECOND).await;
                let store = Arc::clone(&ticking);
                // what it has to write may take its time
                let _ = tokio::task::spawn_blocking(move || store.tick()).await;
            }
        });
        let budget = Arc::new(Semaphore::new(BUDGET as usize));
        Self { shared: Arc::new(Shared { store, budget, given }), listening: BTreeMap::new(), ticker }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listening.keys().copied()
    }

    /// Listens on these addresses and on no others. What cannot be had is returned, and tried again with the next call.
    pub async fn keep(&mut self, wanted: &BTreeSet<SocketAddr>) -> Vec<(SocketAddr, io::Error)> {
        let gone: Vec<SocketAddr> =
            self.listening.keys().filter(|address| !wanted.contains(address)).copied().collect();
        for address in gone {
            if let Some(stop) = self.listening.remove(&address) {
                stop.cancel();
            }
        }
        let mut failed = Vec::new();
        for address in wanted {
            if self.listening.contains_key(address) {
                continue;
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    self.listening.insert(*address, stop.clone());
                    tokio::spawn(accept(Arc::clone(&self.shared), listener, stop));
                }
                Err(error) => failed.push((*address, error)),
            }
        }
        failed
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.ticker.abort();
        self.listening.values().for_each(CancellationToken::cancel);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = next_connection(|cx| listener.poll_accept(cx));
        let Some((stream, _)) = stop.run_until_cancelled(next).await else { return };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve(shared, stream) => {}
                () = stop.cancelled() => {}
            }
            drop(slot);
        });
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (mut reading, writing) = stream.into_split();
    // while the builder below cannot tell the version it has no limit: whoever says nothing would keep the slot
    let Ok(Ok(begun)) = timeout(PATIENCE, beginning(&mut reading)).await else { return };
    let stream = tokio::io::join(io::Cursor::new(begun).chain(reading), writing);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.respond(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // busybox' wget closes its half of the connection once it has sent its request
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).half_close(true);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(32);
    // a client that has gone without a word does not answer
    http2.keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
    // whoever goes away in the middle sends it again
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// As much of a connection as tells the version of HTTP, or all of it.
async fn beginning(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut begun = Vec::with_capacity(PREFACE.len());
    while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
        if stream.read_buf(&mut begun).await? == 0 {
            break;
        }
    }
    Ok(begun)
}

/// What has come, and the room that it takes until it is kept.
struct Held {
    body: Bytes,
    turn: OwnedSemaphorePermit,
}

/// Why nothing of a request was kept.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("too much comes at once")]
    Busy,
    #[error("the content did not come in time, or broke off")]
    BrokeOff,
    #[error("nothing is kept now: {0}")]
    Store(StoreError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Wire(WireError::Malformed(_) | WireError::Packed { .. }) => StatusCode::BAD_REQUEST,
            Self::Wire(WireError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Wire(WireError::Unsupported(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::BrokeOff => StatusCode::REQUEST_TIMEOUT,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As <https://grpc.io/docs/guides/status-codes/> numbers them; of these a client tries UNAVAILABLE again.
    fn code(&self) -> i32 {
        match self {
            Self::Wire(WireError::Malformed(_) | WireError::Packed { .. }) => 3,
            Self::Wire(WireError::TooLong { .. }) => 8,
            Self::Wire(WireError::Unsupported(_)) => 12,
            Self::Busy | Self::BrokeOff | Self::Store(_) => 14,
        }
    }

    /// Seconds.
    fn retry_after(&self) -> Option<u16> {
        match self {
            Self::Busy => Some(1),
            Self::Store(_) => Some(30),
            _ => None,
        }
    }
}

impl Shared {
    async fn respond(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if request.headers().contains_key(header::ORIGIN) {
            // programs send none: a page that somebody looks at may have made its own name lead here
            return text(StatusCode::FORBIDDEN, "pages in a browser cannot send here\n");
        }
        if let Some(service) = path.strip_prefix("/opentelemetry.proto.collector.") {
            return self.call(service, request).await;
        }
        let signal = match path.as_str() {
            "/v1/traces" => Signal::Traces,
            // the second: OTLP as Loki takes it
            "/v1/logs" | "/otlp/v1/logs" => Signal::Logs,
            "/v1/metrics" => Signal::Metrics,
            "/loki/api/v1/push" if request.method() == Method::POST => return self.push(request).await,
            "/ready" | "/-/ready" if matches!(*request.method(), Method::GET | Method::HEAD) => {
                return text(StatusCode::OK, "ready\n");
            }
            "/loki/api/v1/push" => return only_post(),
            _ => {
                let said = "Macula takes telemetry here: POST /v1/traces, /v1/logs, /v1/metrics, /loki/api/v1/push.\n\
                            What came is shown by `macula traces` and on the page of the platform (`macula open home`).\n";
                return text(StatusCode::NOT_FOUND, said);
            }
        };
        if request.method() != Method::POST {
            return only_post();
        }
        let encoding = match Encoding::of(header_text(request.headers(), header::CONTENT_TYPE.as_str())) {
            Ok(encoding) => encoding,
            Err(error) => return refused(Encoding::Json, &error.into()),
        };
        match self.take(signal, encoding, request).await {
            Ok(taking) => with_type(StatusCode::OK, encoding.content_type(), encoding.response(&taking, signal)),
            Err(refusal) => refused(encoding, &refusal),
        }
    }

    async fn take(&self, signal: Signal, encoding: Encoding, request: Request<Incoming>) -> Result<Taking, Refusal> {
        let compression = Compression::of(header_text(request.headers(), header::CONTENT_ENCODING.as_str()))?;
        let held = self.body(request, compression != Compression::None).await?;
        let Held { body, turn } = self.opened(held, compression).await?;
        self.keep(turn, move || read(signal, encoding, &body)).await
    }

    async fn push(&self, request: Request<Incoming>) -> Answer {
        let taken = async {
            let encoding = Encoding::of(header_text(request.headers(), header::CONTENT_TYPE.as_str()))?;
            let said = Compression::of(header_text(request.headers(), header::CONTENT_ENCODING.as_str()))?;
            // in protobuf it is always compressed so, and says nothing of it
            let compression = if encoding == Encoding::Protobuf { Compression::Snappy } else { said };
            let held = self.body(request, compression != Compression::None).await?;
            let Held { body, turn } = self.opened(held, compression).await?;
            let read = move || {
                let streams = match encoding {
                    Encoding::Protobuf => loki::from_protobuf(&body)?,
                    Encoding::Json => loki::from_json(&body)?,
                };
                Ok(batch::pushed(streams))
            };
            self.keep(turn, read).await
        };
        match taken.await {
            Ok(_) => text(StatusCode::NO_CONTENT, ""),
            Err(refusal) => {
                let mut answer = text(refusal.status(), &format!("{refusal}\n"));
                retry_after(&mut answer, &refusal);
                answer
            }
        }
    }

    /// One call of gRPC, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
    async fn call(&self, service: &str, request: Request<Incoming>) -> Answer {
        let signal = match service {
            "trace.v1.TraceService/Export" => Signal::Traces,
            "logs.v1.LogsService/Export" => Signal::Logs,
            "metrics.v1.MetricsService/Export" => Signal::Metrics,
            _ => return grpc(12, "there is no such method", None),
        };
        let kind = header_text(request.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if request.method() != Method::POST || !matches!(kind, "application/grpc" | "application/grpc+proto") {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is a method of gRPC\n");
        }
        let taken = async {
            let compression = Compression::of(header_text(request.headers(), "grpc-encoding"))?;
            let Held { body, turn } = self.body(request, compression != Compression::None).await?;
            let (body, compression) = unframed(body, compression)?;
            let Held { body, turn } = self.opened(Held { body, turn }, compression).await?;
            self.keep(turn, move || read(signal, Encoding::Protobuf, &body)).await
        };
        match taken.await {
            Ok(taking) => grpc(0, "", Some(taking.encode_to_vec())),
            Err(refusal) => grpc(refusal.code(), &refusal.to_string(), None),
        }
    }

    /// The body, as it comes.
    async fn body(&self, request: Request<Incoming>, compressed: bool) -> Result<Held, Refusal> {
        let declared = request.body().size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if declared.is_some_and(|length| length > MOST) {
            // whoever still sends when the connection ends would see that, and not the answer
            let _ = timeout(PATIENCE, whole(request.into_body())).await;
            return Err(WireError::TooLong { limit: MOST }.into());
        }
        let length = declared.unwrap_or(MOST);
        let room = if compressed { length.saturating_mul(RATIO + 1).min(length + OPENED) } else { length };
        let turn = self.room(room).await?;
        match timeout(PATIENCE, whole(request.into_body())).await {
            Ok(Some(content)) => Ok(Held { body: Bytes::from(content?), turn }),
            _ => Err(Refusal::BrokeOff),
        }
    }

    /// Room for so many bytes, unless it does not come in time.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let room = u32::try_from(bytes >> 10).unwrap_or(BUDGET).clamp(1, BUDGET);
        match timeout(TURN, Arc::clone(&self.budget).acquire_many_owned(room)).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Refusal::Busy),
        }
    }

    /// What is in a body. Some open to a thousand times their length, which shows only while they are opened: one that
    /// needs more than it was taken to need is opened again with all the room there can be, and gives back the rest.
    async fn opened(&self, held: Held, compression: Compression) -> Result<Held, Refusal> {
        if compression == Compression::None {
            return Ok(held);
        }
        let limit = (held.turn.num_permits() << 10).saturating_sub(held.body.len()).min(OPENED);
        let (opened, Held { body, mut turn }) = open(held, compression, limit).await?;
        match opened {
            Err(WireError::TooLong { .. }) if limit < OPENED => {}
            opened => return Ok(Held { body: opened?, turn }),
        }
        // only for what has come: if those who wait held more, none of them might ever get enough
        drop(turn.split(turn.num_permits().saturating_sub(body.len() >> 10)));
        turn.merge(self.room(OPENED).await?);
        let (opened, Held { mut turn, .. }) = open(Held { body, turn }, compression, OPENED).await?;
        let body = opened?;
        drop(turn.split(turn.num_permits().saturating_sub(body.len().div_ceil(1 << 10))));
        Ok(Held { body, turn })
    }

    /// Reads and keeps, aside from those who answer.
    async fn keep(
        &self,
        turn: OwnedSemaphorePermit,
        read: impl FnOnce() -> Result<Taken, WireError> + Send + 'static,
    ) -> Result<Taking, Refusal> {
        let (store, given) = (Arc::clone(&self.store), Arc::clone(&self.given));
        let work = move || {
            let Taken { batch, partial } = read()?;
            store.keep(batch).map_err(Refusal::Store)?;
            given.notify_one();
            drop(turn);
            Ok(Taking { partial })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(Refusal::BrokeOff))
    }
}

/// Opens a body, aside from those who answer. Its room goes with it: the work goes on when nobody waits any more.
async fn open(held: Held, compression: Compression, limit: usize) -> Result<(Result<Bytes, WireError>, Held), Refusal> {
    let work = move || (compression.open(&held.body, limit), held);
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::BrokeOff)
}

/// All of a body; of one that is too long the rest is read, up to a limit, and nothing of it is kept. `None`: it broke off.
async fn whole(mut body: Incoming) -> Option<Result<Vec<u8>, WireError>> {
    let (mut content, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len();
        if length <= MOST {
            content.extend_from_slice(&data);
        } else {
            content = Vec::new();
        }
        if length > PASSED_OVER {
            break;
        }
    }
    Some(if length > MOST { Err(WireError::TooLong { limit: MOST }) } else { Ok(content) })
}

fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Taken, WireError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    match signal {
        Signal::Traces => batch::traces_within(encoding.traces(body)?, REPEATED),
        Signal::Logs => batch::logs_within(encoding.logs(body)?, now, REPEATED),
        Signal::Metrics => batch::metrics_within(encoding.metrics(body)?, now, REPEATED),
    }
}

/// The one message of a call, and how it is compressed: a byte that says whether it is, its length, and itself.
fn unframed(body: Bytes, compression: Compression) -> Result<(Bytes, Compression), WireError> {
    let malformed = || WireError::Malformed(AnyError::said("the call has not one whole message"));
    let (frame, message) = body.split_at_checked(5).ok_or_else(malformed)?;
    let [flag, a, b, c, d] = frame else { return Err(malformed()) };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    if message.len() != length {
        return Err(malformed());
    }
    match flag {
        0 => Ok((body.slice(frame.len()..), Compression::None)),
        1 if compression != Compression::None => Ok((body.slice(frame.len()..), compression)),
        _ => Err(WireError::Malformed(AnyError::said("the message is compressed, and nothing says how"))),
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn text(status: StatusCode, said: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", said.to_owned())
}

fn only_post() -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    answer
}

fn refused(encoding: Encoding, refusal: &Refusal) -> Answer {
    let body = encoding.status(refusal.code(), &refusal.to_string());
    let mut answer = with_type(refusal.status(), encoding.content_type(), body);
    retry_after(&mut answer, refusal);
    answer
}

fn retry_after(answer: &mut Answer, refusal: &Refusal) {
    if let Some(seconds) = refusal.retry_after() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// An answer of gRPC: the message, if there is one, and the status behind it.
fn grpc(code: i32, said: &str, message: Option<Vec<u8>>) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    // percent-encoded, so that whatever is said fits into a header
    let said: String = form_urlencoded::byte_serialize(said.as_bytes()).collect::<String>().replace('+', "%20");
    if !said.is_empty()
        && let Ok(said) = HeaderValue::from_str(&said)
    {
        trailers.insert("grpc-message", said);
    }
    let data = message.map(|message| {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(&message);
        Frame::data(Bytes::from(framed))
    });
    let frames = data.into_iter().chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}
