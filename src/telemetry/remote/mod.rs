//! Tempo, Loki and Prometheus, where the platform has them: the same questions as to what is kept here, by their HTTP
//! APIs. What they answer becomes what is kept here, so that it is shown by the same code.

mod loki;
mod prometheus;
mod tempo;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::local::plain_http;
use crate::model::AnyError;

pub use prometheus::{Curve, USUAL};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one.
const MOST: usize = 32 << 20;
/// Of what is said of an error.
const SAID: usize = 300;
/// Seconds that are looked back where nothing else is asked for, which is what Tempo and Loki search at once.
const BACK: u64 = 72 * 3600;

/// Where they are, as this machine reaches them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Places {
    pub tempo: Option<SocketAddr>,
    pub loki: Option<SocketAddr>,
    pub prometheus: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{who} at {address} does not answer: {why}")]
    Silent { who: &'static str, address: SocketAddr, why: String },
    #[error("{who} refused the question ({status}): {said}")]
    Refused { who: &'static str, status: u16, said: String },
    #[error("{who} answered something that its API does not have: {source}")]
    Malformed { who: &'static str, source: AnyError },
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// One of them.
#[derive(Debug, Clone)]
struct Peer {
    who: &'static str,
    address: SocketAddr,
    client: reqwest::Client,
}

/// Asks for traces.
#[derive(Debug, Clone)]
pub struct Tempo(Peer);

/// Asks for lines.
#[derive(Debug, Clone)]
pub struct Loki(Peer);

/// Asks for metrics.
#[derive(Debug, Clone)]
pub struct Prometheus(Peer);

impl Places {
    pub fn tempo(&self) -> Option<Tempo> {
        Some(Tempo(Peer::new("Tempo", self.tempo?)))
    }

    pub fn loki(&self) -> Option<Loki> {
        Some(Loki(Peer::new("Loki", self.loki?)))
    }

    pub fn prometheus(&self) -> Option<Prometheus> {
        Some(Prometheus(Peer::new("Prometheus", self.prometheus?)))
    }
}

impl Peer {
    fn new(who: &'static str, address: SocketAddr) -> Self {
        // the builder fails only for TLS and proxies, of which there are none
        let client = plain_http().timeout(PATIENCE).build().unwrap_or_default();
        Self { who, address, client }
    }

    /// The body of an answer; `None`: there is no such thing.
    async fn get(&self, path: &str, query: &[(&str, String)], accept: &str) -> Result<Option<Vec<u8>>, AskError> {
        let mut url = format!("http://{}{path}", self.address);
        if !query.is_empty() {
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            url.push('?');
            url.push_str(&text);
        }
        let silent = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            let why = if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() };
            AskError::Silent { who: self.who, address: self.address, why }
        };
        let request = self.client.get(url).header(http::header::ACCEPT, accept);
        // Loki: what is no label of the stream stands apart
        let request = request.header("X-Loki-Response-Encoding-Flags", "categorize-labels");
        let mut response = request.send().await.map_err(silent)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST {
                return Err(self.malformed(AnyError::said(format!("more than {MOST} bytes"))));
            }
        }
        if status == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            // Prometheus says it in JSON, the others in plain text
            let text = serde_json::from_slice::<Failure>(&body).map(|failure| failure.error);
            let text = text.unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned());
            let said: String = text.trim().chars().take(SAID).collect();
            return Err(AskError::Refused { who: self.who, status: status.as_u16(), said });
        }
        Ok(Some(body))
    }

    async fn json<T: for<'de> Deserialize<'de>>(&self, path: &str, query: &[(&str, String)]) -> Result<T, AskError> {
        let body = self.get(path, query, "application/json").await?;
        let body = body.ok_or_else(|| self.malformed(AnyError::said(format!("404 for {path}"))))?;
        serde_json::from_slice(&body).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, source: impl Into<AnyError>) -> AskError {
        AskError::Malformed { who: self.who, source: source.into() }
    }
}

/// A text between quotation marks, as TraceQL and LogQL have it (Go's rules for strings).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            character if character.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_types_stays_one_text() {
        assert_eq!(quoted("a\"} | b\\\n\u{7}é"), r#""a\"} | b\\\n\u0007é""#);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let tempo = Places { tempo: Some(address), ..Places::default() }.tempo().unwrap();
        let said = tempo.trace(&[1; 16]).await.unwrap_err().to_string();
        assert!(said.starts_with(&format!("Tempo at {address} does not answer: ")), "{said}");
        assert!(Places::default().loki().is_none());
    }
}
