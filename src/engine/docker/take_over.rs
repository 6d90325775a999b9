//! A connection to the engine that is taken over: what follows its answer is no HTTP/1 any more.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::Docker;
use super::version::versioned_path;

/// Of what an engine says when it refuses.
const WORDS: usize = 64 << 10;

/// Asks the engine at `path` to speak `protocol` from now on.
pub(super) async fn take_over(
    docker: &Docker,
    path: &str,
    protocol: &str,
    headers: &[(&str, String)],
    body: Bytes,
) -> io::Result<Upgraded> {
    let stream = docker.lines.endpoint().open().await?;
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(versioned_path(path, docker.api))
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", protocol);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let answer = client.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let mut said = String::new();
        // a success has no end where the other side does not switch
        if status.is_client_error() || status.is_server_error() {
            let body = Limited::new(answer.into_body(), WORDS).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            said = format!(": {}", String::from_utf8_lossy(&body).trim());
        }
        return Err(io::Error::other(format!("the engine answers {path} with {status}{said}")));
    }
    hyper::upgrade::on(answer).await.map_err(io::Error::other)
}
