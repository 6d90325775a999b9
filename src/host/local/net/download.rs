//! A file from a server that somebody named: a release.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::io_error;

/// Until a server takes the connection, and between two pieces of what it sends.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 10;

pub(in crate::host::local) async fn download(url: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut answer = client(url)?.get(url).send().await.map_err(io_error)?;
    let status = answer.status();
    if !status.is_success() {
        let kind = if status.as_u16() == 404 { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
        return Err(io::Error::new(kind, format!("the server answers {status}")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(io_error)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", most >> 20)));
        }
    }
    Ok(body)
}

/// Trusts whom this machine trusts. In the clear it does not matter whether that is anybody.
fn client(url: &str) -> io::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let trusting = tls().and_then(|tls| tls.with_platform_verifier());
    let tls = match trusting {
        Ok(tls) => tls.with_no_client_auth(),
        Err(_) if in_the_clear(url) => {
            tls().map_err(io::Error::other)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let client = reqwest::Client::builder().redirect(Policy::custom(redirect)).connect_timeout(CONNECT);
    let client = client.read_timeout(SILENCE).user_agent(concat!("macula/", env!("CARGO_PKG_VERSION")));
    client.tls_backend_preconfigured(tls).build().map_err(io_error)
}

fn in_the_clear(url: &str) -> bool {
    url.starts_with("http://")
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let safe = attempt.previous().first().is_some_and(|url| url.scheme() == "https");
    if safe && attempt.url().scheme() != "https" {
        let to = format!("the server leads from TLS into the clear, to {}", attempt.url());
        return attempt.error(to);
    }
    if attempt.previous().len() > REDIRECTS { attempt.error("the server leads in a circle") } else { attempt.follow() }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Gives each connection the next answer.
    async fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let own = base.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.replace("BASE", &own).as_bytes()).await.unwrap();
            }
        });
        base
    }

    fn answer(status: &str, heads: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{heads}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_file_comes_whole_or_not_at_all() {
        let moved = answer("302 Found", "Location: BASE/there\r\n", "");
        let cut = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf".to_owned();
        let whole = || answer("200 OK", "", "all of it");
        let base = server(vec![moved, whole(), cut, whole(), answer("404 Not Found", "", "gone")]).await;
        let url = format!("{base}/file");
        assert_eq!(download(&url, 100).await.unwrap(), b"all of it");
        assert!(download(&url, 100).await.is_err(), "cut");
        assert_eq!(download(&url, 5).await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let gone = download(&url, 100).await.unwrap_err();
        assert_eq!(
            (gone.kind(), gone.to_string().as_str()),
            (io::ErrorKind::NotFound, "the server answers 404 Not Found")
        );
    }
}
