//! A connection to the engine that is taken over: what follows its answer is HTTP/2.

use std::io;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::super::Docker;
use super::super::version::versioned_path;

/// Asks the engine at `path` to speak HTTP/2 from now on.
pub(super) async fn take_over(docker: &Docker, path: &str, headers: &[(&str, String)]) -> io::Result<Upgraded> {
    let stream = docker.endpoint.open().await?;
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(versioned_path(path, docker.api))
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", "h2c");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = client.send_request(request).await.map_err(io::Error::other)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(io::Error::other(format!("the engine answers {path} with {}", answer.status())));
    }
    hyper::upgrade::on(answer).await.map_err(io::Error::other)
}
