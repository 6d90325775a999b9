//! A connection to the engine that is taken over: what follows its answer is no HTTP/1 any more.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::Docker;
use super::version::versioned_path;

/// Asks the engine at `path` to speak `protocol` from now on.
pub(super) async fn take_over(
    docker: &Docker,
    path: &str,
    protocol: &str,
    headers: &[(&str, String)],
    body: Bytes,
) -> io::Result<Upgraded> {
    let stream = docker.endpoint.open().await?;
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
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(io::Error::other(format!("the engine answers {path} with {}", answer.status())));
    }
    hyper::upgrade::on(answer).await.map_err(io::Error::other)
}
