//! DNS over HTTPS (RFC 8484), by GET and by POST, over HTTP/2 and HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hickory_proto::op::Message;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::host::next_connection;

use super::core::Core;
use super::over_tls::{PATIENCE, answer};

/// Where questions are taken (RFC 8484, section 4.1.1).
pub const PATH: &str = "/dns-query";
/// The only content that is taken and given (section 6).
const MESSAGE: &str = "application/dns-message";
/// The longest message that DNS has.
const LONGEST: usize = 65_535;
/// Bytes of a request that are read to no purpose before it is answered.
const MOST_READ: usize = 1 << 20;
/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a browser may keep a connection that it does not use.
const IDLE: Duration = Duration::from_secs(120);

/// One address's side of HTTPS.
pub struct Doh {
    core: Arc<Core>,
    tls: TlsAcceptor,
    slots: Arc<Semaphore>,
}

impl Doh {
    pub fn new(core: Arc<Core>, tls: Arc<ServerConfig>) -> Self {
        Self { core, tls: TlsAcceptor::from(tls), slots: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Accepts until dropped.
    pub async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            let (stream, client) = next_connection(|cx| listener.poll_accept(cx)).await;
            let (core, tls) = (Arc::clone(&self.core), self.tls.clone());
            connections.spawn(async move {
                serve(core, tls, stream, client).await;
                drop(slot);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

/// One connection to its end.
async fn serve(core: Arc<Core>, tls: TlsAcceptor, stream: TcpStream, client: SocketAddr) {
    let stream = match timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%client, %error, "the TLS handshake failed"),
        Err(_) => return tracing::debug!(%client, "no TLS handshake in time"),
    };
    let (mut reading, writing) = tokio::io::split(stream);
    // while the builder below cannot tell the version it has no limit: whoever says nothing would keep the slot
    let begun = match timeout(PATIENCE, beginning(&mut reading)).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return tracing::debug!(%client, %error, "a connection for DNS over HTTPS has ended"),
        Err(_) => return tracing::debug!(%client, "no request in time"),
    };
    let stream = tokio::io::join(io::Cursor::new(begun).chain(reading), writing);
    let service = service_fn(move |request| {
        let core = Arc::clone(&core);
        async move { Ok::<_, Infallible>(respond(&core, client, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // some clients close their half of the connection once they have asked
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).half_close(true);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(IDLE).keep_alive_timeout(PATIENCE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%client, %error, "a connection for DNS over HTTPS has ended");
    }
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

/// The response to one request.
async fn respond(core: &Core, client: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !core.admits(&core.networks.load(), client.ip()) {
        return refuse(StatusCode::FORBIDDEN, "only this machine and its platforms are answered\n");
    }
    let message = match read(request).await {
        Ok(message) => message,
        Err(refused) => return refused,
    };
    match answer(core, client, &message).await {
        Some(answer) => {
            let age = format!("max-age={}", lifetime(&answer));
            let headers = [(header::CONTENT_TYPE, MESSAGE), (header::CACHE_CONTROL, age.as_str())];
            response(StatusCode::OK, &headers, answer)
        }
        None => refuse(StatusCode::BAD_REQUEST, "not a DNS question\n"),
    }
}

/// The question in a request, or why there is none. Whatever comes with a request is read before it is
/// answered: HTTP/2 would reset the stream otherwise, and the client might see that before the answer.
async fn read(request: Request<Incoming>) -> Result<Vec<u8>, Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = timeout(PATIENCE, content(body)).await;
    if head.uri.path() != PATH {
        return Err(refuse(StatusCode::NOT_FOUND, "DNS over HTTPS is at /dns-query\n"));
    }
    match head.method {
        Method::GET => {
            let query = head.uri.query().unwrap_or_default();
            let value = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
            // clients must not pad (section 6); those that do mean the same
            let decoded = value.and_then(|value| URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok());
            decoded.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "?dns= is not a message in base64url\n"))
        }
        Method::POST => {
            let kind = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
            if kind != Some(MESSAGE.as_bytes()) {
                return Err(refuse(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "the content must be application/dns-message\n",
                ));
            }
            match body {
                Ok(Some(body)) => Ok(body),
                Ok(None) => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "a DNS message has at most 65,535 bytes\n")),
                Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the question did not come in time\n")),
            }
        }
        _ => {
            let allowed = [(header::ALLOW, "GET, POST")];
            Err(response(StatusCode::METHOD_NOT_ALLOWED, &allowed, b"ask by GET or POST\n".to_vec()))
        }
    }
}

/// What comes with a request. `None`: it is longer than a message can be, or broke off.
async fn content(mut body: Incoming) -> Option<Vec<u8>> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        seen += data.len();
        if seen > MOST_READ {
            return None;
        }
        if seen <= LONGEST {
            kept.extend_from_slice(&data);
        }
    }
    (seen <= LONGEST).then_some(kept)
}

/// Seconds that an answer may be kept: the least of its records' (section 5.1).
fn lifetime(answer: &[u8]) -> u32 {
    let Ok(message) = Message::from_vec(answer) else { return 0 };
    message.answers.iter().chain(&message.authorities).map(|record| record.ttl).min().unwrap_or(0)
}

fn refuse(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    response(status, &[(header::CONTENT_TYPE, "text/plain")], why.as_bytes().to_vec())
}

fn response(status: StatusCode, headers: &[(header::HeaderName, &str)], body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_be_kept_as_long_as_its_shortest_record() {
        // addresses of the root, with these lifetimes, in answer and authority
        let message = |answers: &[u8], authority: &[u8]| {
            let mut message = vec![0, 0, 0x81, 0x80, 0, 0, 0, answers.len() as u8, 0, authority.len() as u8, 0, 0];
            for ttl in answers.iter().chain(authority) {
                message.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 0, *ttl, 0, 4, 127, 0, 0, 1]);
            }
            message
        };
        let none: &[u8] = &[];
        for (answers, authority, seconds) in
            [(&[60, 30, 90][..], none, 30), (&[60], &[20], 20), (none, &[20], 20), (none, none, 0)]
        {
            assert_eq!(lifetime(&message(answers, authority)), seconds, "{answers:?} {authority:?}");
        }
        assert_eq!(lifetime(b"noise"), 0);
    }

    #[tokio::test]
    async fn a_connection_is_read_as_far_as_its_version_shows() {
        let one = b"GET / HTTP/1.1\r\n\r\n";
        for (mut said, length) in [(&b""[..], 0), (b"PRI", 3), (one, one.len()), (PREFACE, PREFACE.len())] {
            let (whole, begun) = (said, beginning(&mut said).await.unwrap());
            assert_eq!([&begun[..], said].concat(), whole);
            assert_eq!(begun.len(), length);
        }
    }
}
