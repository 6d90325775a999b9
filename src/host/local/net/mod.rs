//! Sockets, routes and kernel settings of this machine; a plain HTTP client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::host::HttpAnswer;

mod download;
#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(test, target_os = "macos"))]
mod macos;

pub(super) use download::download;
#[cfg(not(target_os = "macos"))]
pub(super) use linux::{listeners, owners, routes, sysctl};
#[cfg(target_os = "macos")]
pub(super) use macos::{listeners, owners, routes, sysctl};

/// As if_nametoindex(3) says.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a string that ends with a zero and lives until the call is over
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number > 0).then_some(number)
}

/// More of a body than this says nothing about the health of a service.
const BODY_LIMIT: usize = 1 << 20;

/// A connection is used once: one that is kept alive would be answered by the old process of a
/// service that has just been replaced.
pub(super) fn client() -> reqwest::Client {
    let client = plain_http().pool_max_idle_per_host(0).user_agent(concat!("macula/", env!("CARGO_PKG_VERSION")));
    // the builder fails only for TLS and proxy settings, of which there are none
    client.build().unwrap_or_default()
}

/// A client that asks what is named, in the clear, and nobody else. Whom the machine trusts is not read.
pub fn plain_http() -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(tls) => {
            let nobody = rustls::RootCertStore::empty();
            client.tls_backend_preconfigured(tls.with_root_certificates(nobody).with_no_client_auth())
        }
        // for a provider without TLS 1.2 and 1.3; this one has both
        Err(_) => client,
    }
}

pub(super) async fn http_get(
    client: &reqwest::Client,
    address: SocketAddr,
    host: &str,
    path: &str,
) -> io::Result<HttpAnswer> {
    let request = client.get(format!("http://{address}{path}")).header(reqwest::header::HOST, host);
    answer(request).await
}

pub(super) async fn http_post(
    client: &reqwest::Client,
    url: &str,
    media_type: &str,
    body: Vec<u8>,
) -> io::Result<HttpAnswer> {
    answer(client.post(url).header(reqwest::header::CONTENT_TYPE, media_type).body(body)).await
}

async fn answer(request: reqwest::RequestBuilder) -> io::Result<HttpAnswer> {
    let mut response = request.send().await.map_err(io_error)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() < BODY_LIMIT {
        let Some(chunk) = response.chunk().await.map_err(io_error)? else { break };
        body.extend_from_slice(&chunk);
    }
    body.truncate(BODY_LIMIT);
    Ok(HttpAnswer { status, body })
}

/// The innermost cause: `connection refused` says more than `error sending request`.
fn io_error(error: reqwest::Error) -> io::Error {
    let mut cause: &dyn std::error::Error = &error;
    let mut kind = io::ErrorKind::Other;
    while let Some(source) = cause.source() {
        cause = source;
        if let Some(found) = cause.downcast_ref::<io::Error>() {
            kind = found.kind();
        }
    }
    io::Error::new(kind, cause.to_string())
}
