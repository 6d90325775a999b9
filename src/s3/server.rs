//! The server: connections in, one answer a request, a line of log each.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::host::next_connection;

use super::body::Reader;
use super::error::{Code, Error, Result};
use super::metrics::Metrics;
use super::operations::{Answer, Context, Operation, full};
use super::request::Call;
use super::sent::Sent;
use super::store::Store;
use super::users::{User, Users};
use super::xml::Xml;
use super::{auth, cors, time};

/// How the server is run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub folder: PathBuf,
    pub address: SocketAddr,
    /// A page that says what this server is.
    pub console: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
    /// Lines of `access key, secret, buckets`: keys that open these buckets and no others.
    pub users: Option<PathBuf>,
    /// Names of buckets that are to be there.
    pub buckets: Option<PathBuf>,
    /// `BUCKET.DOMAIN` is a bucket's own host.
    pub domains: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot open the store in {}", .folder.display())]
    Store { folder: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// How long a request that is under way may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(8);
/// Between two requests of a connection, and for the headers of one.
const HEADERS: Duration = Duration::from_secs(60);

pub struct Server {
    api: TcpListener,
    console: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    users: Users,
    domains: Vec<String>,
    metrics: Metrics,
}

impl Server {
    /// Opens the store and the ports; answers nothing yet.
    ///
    /// # Errors
    /// A store that cannot be opened, or a port that is taken.
    pub async fn bind(settings: Settings) -> std::result::Result<Self, ServeError> {
        let listen = |address| async move {
            TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
        };
        let store = Store::open(&settings.folder, settings.buckets).await;
        let folder = settings.folder;
        let store = store.map_err(|error| ServeError::Store { folder, source: Box::new(error) })?;
        let (api, console) = (listen(settings.address).await?, listen(settings.console).await?);
        let users = Users::new(settings.access_key, settings.secret_key, settings.users);
        let shared = Shared { store: Arc::new(store), users, domains: settings.domains, metrics: Metrics::default() };
        Ok(Self { api, console, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// A socket that has no address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Answers until `stop` is done; then lets what is under way come to its end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                (socket, _) = next_connection(|cx| self.api.poll_accept(cx)) => self.serve(socket, &graceful),
                (socket, _) = next_connection(|cx| self.console.poll_accept(cx)) => {
                    tokio::spawn(console(socket));
                }
                () = &mut stop => break,
            }
        }
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(GRACE) => {}
        }
    }

    fn serve(&self, socket: TcpStream, graceful: &GracefulShutdown) {
        let shared = self.shared.clone();
        let service = service_fn(move |request| {
            let shared = shared.clone();
            async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
        });
        let _ = socket.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            // busybox' wget closes its half of the connection once it has sent its request
            .half_close(true)
            .serve_connection(TokioIo::new(socket), service);
        let connection = graceful.watch(connection);
        // a client that goes away in the middle is no matter of ours
        tokio::spawn(async move { drop(connection.await) });
    }
}

const PAGE: &str = "<!doctype html><title>S3</title><style>body{font:16px system-ui;margin:3rem}</style>\
    <h1>S3</h1><p>Macula runs its own S3 server here because MinIO's image is not available; it has no console. \
    Any S3 client works: <code>macula env</code> prints the endpoint and the keys, <code>macula creds minio</code> the \
    keys alone.</p>";

fn page() -> Answer {
    let mut answer = Response::new(full(Bytes::from_static(PAGE.as_bytes())));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}

/// Somebody has followed a link to this server: no client of S3 asks for a page, nor for the list of buckets without a
/// signature.
fn is_of_a_browser(request: &Request<Incoming>) -> bool {
    let (uri, headers) = (request.uri(), request.headers());
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    let of_root = request.method() == Method::GET && uri.path() == "/" && uri.query().is_none();
    of_root && !headers.contains_key(header::AUTHORIZATION) && accepts.contains("text/html")
}

async fn console(socket: TcpStream) {
    let page = service_fn(|_| async { Ok::<_, std::convert::Infallible>(page()) });
    let mut connections = http1::Builder::new();
    connections.timer(TokioTimer::new()).header_read_timeout(HEADERS).half_close(true);
    let _ = connections.serve_connection(TokioIo::new(socket), page).await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if let Some(answer) = self.of_the_server(request.uri().path()) {
            return answer;
        }
        if is_of_a_browser(&request) {
            return page();
        }
        let started = Instant::now();
        self.metrics.begin();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let told = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let id = told.unwrap_or_else(request_id);
        let (operation, headers, result) = self.exchange(request).await;
        let mut answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                if error.status().is_server_error() {
                    tracing::error!(request_id = id, source = error.cause(), "{error}");
                }
                refusal(&error, &method, &path, &id)
            }
        };
        answer.headers_mut().extend(headers);
        if let Ok(value) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert("x-amz-request-id", value);
        }
        answer.headers_mut().insert(header::SERVER, HeaderValue::from_static("macula-s3"));
        let status = answer.status();
        self.metrics.end(operation, status);
        let duration = started.elapsed().as_secs_f64();
        tracing::info!(request_id = id, %method, path, operation, status = status.as_u16(), duration, "request");
        answer
    }

    /// Health and metrics, at MinIO's paths. `minio` is not a bucket's name.
    fn of_the_server(&self, path: &str) -> Option<Answer> {
        let metrics = |text: Result<String>| match text {
            Ok(text) => Response::new(full(text.into())),
            Err(error) => refusal(&error, &Method::GET, "", ""),
        };
        match path.strip_prefix("/minio/")? {
            "health/live" | "health/ready" | "health/cluster" => {
                let mut answer = Response::new(full(Bytes::new()));
                if self.store.trouble().is_some() {
                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                Some(answer)
            }
            "v2/metrics/cluster" => Some(metrics(self.metrics.of_server(&self.store))),
            "v2/metrics/bucket" => Some(metrics(self.metrics.of_buckets(&self.store))),
            _ => None,
        }
    }

    /// What was asked for, the answer, and the headers that let a page of another origin read it.
    /// A refusal has them too: without them, the page cannot tell it from a server that is gone.
    async fn exchange(&self, request: Request<Incoming>) -> (&'static str, HeaderMap, Result<Answer>) {
        let (parts, incoming) = request.into_parts();
        let sent = Sent::new(incoming, &parts.headers);
        let call = match Call::new(&parts, &self.domains) {
            Ok(call) => call,
            Err(error) => return ("Unknown", HeaderMap::new(), Err(error)),
        };
        if call.method == Method::OPTIONS {
            return ("Preflight", HeaderMap::new(), self.preflight(&call).await);
        }
        let origin = call.header("origin").is_some().then(|| call.clone());
        let (operation, result) = self.operate(call, sent).await;
        let headers = match origin {
            Some(call) => self.cors(&call).await,
            None => HeaderMap::new(),
        };
        (operation, headers, result)
    }

    /// What was asked for, and the answer.
    async fn operate(&self, mut call: Call, sent: Sent) -> (&'static str, Result<Answer>) {
        let signed = match auth::check(&call, &self.users, time::now()) {
            Ok(signed) => signed,
            Err(error) => return ("Unknown", Err(error)),
        };
        // the right to the bucket comes before everything else
        if let Err(error) = signed.user.may(call.bucket.as_deref()) {
            return ("Unknown", Err(error));
        }
        adopt_parameters(&mut call);
        let (operation, length) = match (Operation::of(&call), length(&call)) {
            (Ok(operation), Ok(length)) => (operation, length),
            (Err(error), _) => return ("Unknown", Err(error)),
            (Ok(operation), Err(error)) => return (operation.name(), Err(error)),
        };
        let body = Reader::new(sent.map_err(Into::into).boxed(), signed.payload, length);
        (operation.name(), self.run(operation, call, signed.user, body).await)
    }

    async fn run(&self, operation: Operation, call: Call, user: User, body: Reader) -> Result<Answer> {
        operation.run(Context { store: self.store.clone(), call, user, body }).await
    }

    async fn rules(&self, call: &Call) -> Vec<cors::Rule> {
        match &call.bucket {
            Some(bucket) => self.store.bucket(bucket).await.map(|bucket| bucket.cors).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    async fn cors(&self, call: &Call) -> HeaderMap {
        cors::answer(call, &self.rules(call).await)
    }

    async fn preflight(&self, call: &Call) -> Result<Answer> {
        let headers = cors::preflight(call, &self.rules(call).await)?;
        let mut answer = Response::new(full(Bytes::new()));
        answer.headers_mut().extend(headers);
        Ok(answer)
    }
}

/// In a signed address, what would be a header is a parameter; what signs is none of these.
fn adopt_parameters(call: &mut Call) {
    if !call.query.has("X-Amz-Signature") {
        return;
    }
    let signing = [
        "algorithm",
        "credential",
        "date",
        "expires",
        "signedheaders",
        "signature",
        "security-token",
        "content-sha256",
    ];
    let mut adopted = HeaderMap::new();
    for (name, value) in call.query.iter() {
        let name = name.to_ascii_lowercase();
        let Some(rest) = name.strip_prefix("x-amz-") else { continue };
        if signing.contains(&rest) || call.headers.contains_key(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            adopted.insert(name, value);
        }
    }
    call.headers.extend(adopted);
}

/// How much data is to come, as far as the client says it.
fn length(call: &Call) -> Result<Option<u64>> {
    let number = |name: &str| {
        let text = call.header(name)?;
        Some(
            text.parse::<u64>()
                .map_err(|_| Error::new(Code::InvalidArgument, format!("{name} is not a length: {text}"))),
        )
    };
    let decoded = number("x-amz-decoded-content-length").transpose()?;
    let chunked = call.header("x-amz-content-sha256").is_some_and(|kind| kind.starts_with("STREAMING-"));
    let length = number("content-length").transpose()?;
    if call.method == Method::PUT && length.is_none() && !call.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Code::MissingContentLength.into());
    }
    Ok(if chunked { decoded } else { length })
}

fn refusal(error: &Error, method: &Method, path: &str, id: &str) -> Answer {
    let status = error.status();
    // answers to HEAD and "not modified" have no body
    let bodyless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let mut answer = if bodyless {
        Response::new(full(Bytes::new()))
    } else {
        let mut xml = Xml::error();
        xml.text("Code", error.code.name()).text("Message", &error.message);
        xml.text("Resource", path).text("RequestId", id).text("HostId", "macula");
        let mut answer = Response::new(full(xml.finish().into()));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        answer
    };
    *answer.status_mut() = status;
    answer
}

fn request_id() -> String {
    let mut bytes = [0; 8];
    // an id is for people who read logs: without chance, the clock serves
    if getrandom::fill(&mut bytes).is_err() {
        bytes = time::now().to_be_bytes();
    }
    super::checksum::hex(&bytes).to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::store::testing::{Disk, until};
    use crate::s3::store::{Bucket, Tables};

    #[tokio::test]
    async fn health_and_metrics_say_whether_anything_can_be_stored() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let shared = Shared {
            store: Arc::new(disk.store(folder.path())),
            users: Users::new("owner".into(), "owner-secret".into(), None),
            domains: Vec::new(),
            metrics: Metrics::default(),
        };
        let health = || shared.of_the_server("/minio/health/live").map(|answer| answer.status().as_u16());
        let metrics = || shared.metrics.of_server(&shared.store).unwrap();
        assert_eq!(health(), Some(200));
        assert!(metrics().contains("minio_cluster_health_status 1\n"));
        disk.fill(true);
        let change = |tables: &mut Tables<'_>| Ok((tables.put_bucket("bucket", &Bucket::default())?, Vec::new()));
        assert!(shared.store.write(Vec::new(), change).await.is_err());
        until(|| health() == Some(503)).await;
        assert!(metrics().contains("minio_cluster_health_status 0\n"));
        disk.fill(false);
        until(|| health() == Some(200)).await;
    }
}
