//! The server: one answer a request, after the guard.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::guard::{self, Owner, Refused, Wants};
use super::keys::{COOKIE, HEADER};
use super::logs::Wanted;
use super::looks::{Action, Look, failed};
use crate::app::State;
use crate::host::next_connection;
use crate::model::PlatformName;
use crate::words::hex;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Response<Body>;

/// The program of the page, one file for each of its parts and one request for all of them.
const SCRIPT: &str = concat!(
    include_str!("assets/page/base.js"),
    include_str!("assets/page/talk.js"),
    include_str!("assets/page/frame.js"),
    include_str!("assets/page/services.js"),
    include_str!("assets/page/service.js"),
    include_str!("assets/page/connect.js"),
    include_str!("assets/page/log.js"),
    include_str!("assets/page/graph.js"),
    include_str!("assets/page/runs.js"),
    include_str!("assets/page/traces.js"),
    include_str!("assets/page/metrics.js"),
    include_str!("assets/page/names.js"),
    include_str!("assets/page/start.js"),
);
/// The page, its looks and its program.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", SCRIPT),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];
/// Nothing but our own files, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Connections at once; further ones wait.
const CONNECTIONS: usize = 256;
/// For the head of a request, and between two of them.
const HEADERS: Duration = Duration::from_secs(60);
/// For what comes with a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of that.
const MOST: usize = 16 << 10;
/// A stream says that it is there.
const BEAT: Duration = Duration::from_secs(15);

/// Answers until it is stopped.
pub async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = next_connection(|cx| listener.poll_accept(cx)).await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            tokio::select! {
                () = serve(shared, stream, peer) => {}
                () = stop.cancelled() => {}
            }
            drop(slot);
        });
    }
}

/// One connection to its end.
async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let owner = shared.owner(peer).await;
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.respond(owner, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // a browser that goes away in the middle is no matter of ours
    let _ = connection.await;
}

/// What stands behind the `?`.
struct Query(BTreeMap<String, String>);

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    fn telemetry(&self) -> super::telemetry::Asked {
        super::telemetry::Asked {
            id: self.text("id").to_owned(),
            service: self.text("service").to_owned(),
            search: self.text("search").to_owned(),
            slow_ms: self.text("slow").parse().unwrap_or_default(),
            errors: !self.text("errors").is_empty(),
            level: self.text("level").to_owned(),
            since: self.text("since").parse().unwrap_or_default(),
            expression: self.text("expression").to_owned(),
        }
    }

    fn platform(&self) -> Result<PlatformName, Box<Answer>> {
        named(self.text("platform"))
    }
}

/// What was begun comes to its end, whatever becomes of the browser.
async fn to_its_end(work: impl Future<Output = Value> + Send + 'static) -> Answer {
    let done = tokio::spawn(work).await.unwrap_or_else(|error| failed(&error.to_string()));
    let status = if done.get("error").is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    json_answer(status, &done)
}

fn no_such_page() -> Answer {
    text(StatusCode::NOT_FOUND, "there is no such page\n")
}

/// The platform of this name.
fn named(platform: &str) -> Result<PlatformName, Box<Answer>> {
    PlatformName::new(platform).map_err(|error| bad_request(&error.to_string()))
}

#[derive(Deserialize)]
struct Entering {
    ticket: String,
}

#[derive(Deserialize)]
struct Acting {
    platform: String,
    service: String,
    action: Action,
}

#[derive(Deserialize)]
struct Applying {
    platform: String,
}

#[derive(Deserialize)]
struct Asking {
    platform: String,
    service: String,
}

#[derive(Deserialize)]
struct Revealing {
    platform: String,
    service: String,
    variable: String,
}

/// What a path wants; `None`: there is no such path.
fn wants(path: &str) -> Option<Wants> {
    match path {
        "/api/enter" => Some(Wants::Entering),
        "/api/act" | "/api/apply" | "/api/reveal" | "/api/passwords" => Some(Wants::Writing),
        "/api/state" | "/api/logs" | "/api/service" | "/api/connect" | "/api/plan" | "/api/doctor" | "/api/names"
        | "/api/runs" | "/api/allowed" | "/api/traces" | "/api/trace" | "/api/map" | "/api/lines" | "/api/metrics" => {
            Some(Wants::Reading)
        }
        path => FILES.iter().any(|(name, ..)| *name == path).then_some(Wants::Page),
    }
}

impl Shared {
    async fn owner(&self, peer: SocketAddr) -> Owner {
        let facts = self.host.facts();
        if facts.os != "linux" {
            // the system does not say whose a connection is: the keys have to be enough
            return Owner::Own;
        }
        let mut tables = Vec::new();
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let table = self.host.read(Path::new(path)).await.unwrap_or_default();
            tables.push(String::from_utf8_lossy(&table).into_owned());
        }
        // whoever has become root for `macula up` has the browser of before
        let before = self.host.env("SUDO_UID").and_then(|uid| uid.parse().ok());
        let users: Vec<u32> = before.into_iter().chain([facts.uid]).collect();
        guard::owner(&tables, peer, self.address, &users)
    }

    async fn respond(self: Arc<Self>, owner: Owner, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        // a path that does not exist is told as little as the others to who may not ask
        let wanted = wants(&path);
        let (method, headers) = (request.method(), request.headers());
        if let Err(refused) =
            guard::admit(self.address, owner, wanted.unwrap_or(Wants::Page), method, headers, &self.keys)
        {
            return refusal(refused);
        }
        self.asked.store(self.host.now(), Ordering::Relaxed);
        match wanted {
            None => no_such_page(),
            Some(Wants::Page) => file(&path, request.uri().query()),
            Some(Wants::Reading) => self.read(&path, owner, &request).await.unwrap_or_else(|answer| *answer),
            Some(Wants::Entering | Wants::Writing) => self.write(&path, request).await.unwrap_or_else(|answer| *answer),
        }
    }

    async fn read(
        self: &Arc<Self>,
        path: &str,
        owner: Owner,
        request: &Request<Incoming>,
    ) -> Result<Answer, Box<Answer>> {
        let query = Query::of(request);
        if path == "/api/allowed" {
            let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
            let allowed = owner == Owner::Own && self.keys.open(text("cookie"), text(HEADER));
            return Ok(json_answer(StatusCode::OK, &json!({"allowed": allowed})));
        }
        let platform = query.platform()?;
        let value = match path {
            "/api/state" => return Ok(self.state(&platform, query.text("known").parse().unwrap_or_default())),
            "/api/logs" => return Ok(self.lines(&platform, &query).await),
            "/api/traces" | "/api/trace" | "/api/map" | "/api/lines" | "/api/metrics" => {
                self.telemetry(path, platform, query.telemetry()).await
            }
            "/api/connect" => self.connect(&platform, query.text("service"), false).await,
            "/api/plan" => self.planned(&platform, query.text("service")).await,
            "/api/doctor" => self.look_at(&platform, Look::Doctor).await,
            "/api/names" => self.look_at(&platform, Look::Names).await,
            "/api/runs" => {
                let path = State::new(&self.host.folders().data, &platform).runs_file();
                let kept = self.host.read(&path).await.unwrap_or_default();
                serde_json::from_slice(&kept).unwrap_or(Value::Null)
            }
            "/api/service" => match self.service(&platform, query.text("service")).await {
                Ok(found) => found,
                Err(error) => failed(&error.to_string()),
            },
            _ => return Ok(no_such_page()),
        };
        Ok(json_answer(StatusCode::OK, &value))
    }

    async fn write(self: &Arc<Self>, path: &str, request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
        let read = Limited::new(request.into_body(), MOST).collect();
        let body = match timeout(PATIENCE, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(bad_request("the request is too long, or broke off")),
            Err(_) => return Err(Box::new(text(StatusCode::REQUEST_TIMEOUT, "the request did not come in time\n"))),
        };
        match path {
            "/api/enter" => self.enter(&parsed::<Entering>(&body)?.ticket),
            "/api/act" => {
                let Acting { platform, service, action } = parsed(&body)?;
                let platform = named(&platform)?;
                let shared = Arc::clone(self);
                Ok(to_its_end(async move { shared.act(&platform, &service, action).await }).await)
            }
            "/api/apply" => {
                let Applying { platform } = parsed(&body)?;
                let platform = named(&platform)?;
                let shared = Arc::clone(self);
                Ok(to_its_end(async move { shared.apply(&platform).await }).await)
            }
            "/api/passwords" => {
                let Asking { platform, service } = parsed(&body)?;
                let platform = named(&platform)?;
                Ok(json_answer(StatusCode::OK, &self.connect(&platform, &service, true).await))
            }
            "/api/reveal" => {
                let Revealing { platform, service, variable } = parsed(&body)?;
                let platform = named(&platform)?;
                match self.reveal(&platform, &service, &variable).await {
                    Ok(value) => Ok(json_answer(StatusCode::OK, &json!({"value": value}))),
                    Err(error) => Ok(json_answer(StatusCode::CONFLICT, &failed(&error.to_string()))),
                }
            }
            _ => Ok(no_such_page()),
        }
    }

    /// The keys for a ticket.
    fn enter(&self, ticket: &str) -> Result<Answer, Box<Answer>> {
        let now = self.host.now();
        if !self.tickets().take(ticket, now) {
            let used = "this link was used already, or is older than a minute: `macula open home` makes another";
            return Err(Box::new(json_answer(StatusCode::UNAUTHORIZED, &failed(used))));
        }
        let mut answer = json_answer(StatusCode::OK, &json!({"key": self.keys.key()}));
        // a year; whoever has lost it opens the page again
        let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict", self.keys.cookie());
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(answer)
    }

    /// The platform as it was seen last; nothing where the page knows that already.
    fn state(self: &Arc<Self>, platform: &PlatformName, known: u64) -> Answer {
        let Some((number, seen)) = self.seen(platform, known) else {
            return answer(StatusCode::NO_CONTENT, "application/json", "no-store", full(Bytes::new()));
        };
        let text = format!("{{\"number\": {number}, \"state\": {seen}}}");
        answer(StatusCode::OK, "application/json", "no-store", full(Bytes::from(text)))
    }

    async fn lines(self: &Arc<Self>, platform: &PlatformName, query: &Query) -> Answer {
        let wanted = Wanted {
            service: query.text("service").to_owned(),
            tail: query.text("tail").parse().unwrap_or(500),
            since: query.text("since").parse().ok(),
            search: query.text("search").to_owned(),
            level: query.text("level").to_owned(),
            follow: query.text("once").is_empty(),
        };
        let receiver = self.logs(platform, wanted).await;
        let held = Reader::new(Arc::clone(self));
        let lines = stream::unfold((receiver, held), |(mut receiver, held)| async move {
            let text = match timeout(BEAT, receiver.recv()).await {
                Ok(Some(packet)) => format!("event: log\ndata: {packet}\n\n"),
                Ok(None) => return None,
                Err(_) => ": still here\n\n".to_owned(),
            };
            Some((text, (receiver, held)))
        });
        // told apart from a connection that broke
        events(lines.chain(stream::once(async { "event: end\ndata: {}\n\n".to_owned() })))
    }
}

/// A browser that reads a stream, for as long as this is there.
struct Reader(Arc<Shared>);

impl Reader {
    fn new(shared: Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.asked.store(self.0.host.now(), Ordering::Relaxed);
    }
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Box<Answer>> {
    serde_json::from_slice(body).map_err(|error| bad_request(&error.to_string()))
}

fn refusal(refused: Refused) -> Answer {
    let mut answer = json_answer(refused.status(), &failed(&refused.to_string()));
    if refused == Refused::Method {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    answer
}

fn bad_request(why: &str) -> Box<Answer> {
    Box::new(json_answer(StatusCode::BAD_REQUEST, &failed(why)))
}

/// The page, which names its program and its looks with their version.
static PAGE: LazyLock<String> = LazyLock::new(|| include_str!("assets/index.html").replace("VERSION", &VERSION));
/// Another one for each page.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all = FILES.iter().fold(Sha256::new(), |all, (.., content)| all.chain_update(content));
    hex(all.finalize()).chars().take(16).collect()
});

/// `version`: what stands behind the `?`.
fn file(path: &str, version: Option<&str>) -> Answer {
    let found = FILES.iter().find(|(name, ..)| *name == path);
    let Some((_, kind, content)) = found else { return text(StatusCode::NOT_FOUND, "there is no such page\n") };
    match path {
        // with the program comes another page
        "/" => answer(StatusCode::OK, kind, "no-cache", full(Bytes::from_static(PAGE.as_bytes()))),
        // a browser that has it asks for it no more: networks of containers that come and go end what it is loading
        _ => {
            let kept = if version == Some(VERSION.as_str()) { "max-age=31536000, immutable" } else { "no-cache" };
            answer(StatusCode::OK, kind, kept, full(Bytes::from_static(content.as_bytes())))
        }
    }
}

fn text(status: StatusCode, said: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", "no-store", full(Bytes::copy_from_slice(said.as_bytes())))
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", "no-store", full(Bytes::from(value.to_string())))
}

/// Server-sent events, <https://html.spec.whatwg.org/multipage/server-sent-events.html>. JSON has no line ends.
fn events(texts: impl Stream<Item = String> + Send + 'static) -> Answer {
    let begin = stream::once(async { "retry: 1000\n\n".to_owned() });
    let frames = begin.chain(texts).map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
    answer(StatusCode::OK, "text/event-stream", "no-store", StreamBody::new(frames).boxed_unsync())
}

fn full(content: Bytes) -> Body {
    Full::new(content).boxed_unsync()
}

fn answer(status: StatusCode, kind: &'static str, kept: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers(kind, kept);
    answer
}

fn headers(kind: &'static str, kept: &'static str) -> HeaderMap {
    let all: [(&str, Cow<'static, str>); 8] = [
        ("content-type", kind.into()),
        ("cache-control", kept.into()),
        ("content-security-policy", POLICY.into()),
        ("x-content-type-options", "nosniff".into()),
        ("x-frame-options", "DENY".into()),
        ("referrer-policy", "no-referrer".into()),
        ("cross-origin-opener-policy", "same-origin".into()),
        ("cross-origin-resource-policy", "same-origin".into()),
    ];
    let named = all
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?)));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_or_changes_something_is_a_write() {
        for path in ["/api/act", "/api/apply", "/api/reveal", "/api/passwords"] {
            assert_eq!(wants(path), Some(Wants::Writing), "{path}");
        }
        assert_eq!((wants("/api/connect"), wants("/api/events")), (Some(Wants::Reading), None));
    }

    #[test]
    fn the_page_is_small_and_what_it_names_is_kept() {
        let kept = |path: &str, version: Option<&str>| {
            let answer = file(path, version);
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            answer.headers()["cache-control"].to_str().unwrap().to_owned()
        };
        assert!(PAGE.contains(&format!("/page.js?{}", *VERSION)) && PAGE.contains(&format!("/page.css?{}", *VERSION)));
        assert_eq!((kept("/", None), kept("/page.js", None)), ("no-cache".into(), "no-cache".into()));
        assert_eq!(kept("/page.js", Some("another")), "no-cache");
        assert_eq!(kept("/page.css", Some(VERSION.as_str())), "max-age=31536000, immutable");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for (.., content) in FILES {
            std::io::Write::write_all(&mut packed, content.as_bytes()).unwrap();
        }
        let packed = packed.finish().unwrap().len();
        assert!(packed < 100 << 10, "{packed} bytes");
    }
}
