//! Bodies as they come: what they are and how they are compressed. Never longer than a limit, whatever they claim.

use std::io::Read;

use bytes::Bytes;
use prost::Message;

use super::otlp::{LogsRequest, MetricsRequest, Response, RpcStatus, TracesRequest};
use super::{WireError, json};

/// What a request of OTLP brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    /// How an answer in JSON calls the number of those that were not taken.
    fn rejected(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Logs => "rejectedLogRecords",
            Self::Metrics => "rejectedDataPoints",
        }
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// By the header `Content-Type`.
    pub fn of(content_type: Option<&str>) -> Result<Self, WireError> {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            "" => Err(WireError::Unsupported("a body without a Content-Type".into())),
            other => Err(WireError::Unsupported(other.to_owned())),
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    pub fn response(self, response: &Response, signal: Signal) -> Vec<u8> {
        match (self, &response.partial) {
            (Self::Protobuf, _) => response.encode_to_vec(),
            (Self::Json, None) => b"{}".to_vec(),
            (Self::Json, Some(partial)) => {
                // protobuf has numbers for its fields, JSON names, and each signal has another one
                let body = serde_json::json!({"partialSuccess": {
                    (signal.rejected()): partial.rejected.to_string(), "errorMessage": partial.message,
                }});
                body.to_string().into_bytes()
            }
        }
    }

    /// The body of an answer that is an error.
    pub fn status(self, code: i32, message: &str) -> Vec<u8> {
        match self {
            Self::Protobuf => RpcStatus { code, message: message.to_owned() }.encode_to_vec(),
            Self::Json => serde_json::json!({"code": code, "message": message}).to_string().into_bytes(),
        }
    }

    pub fn traces(self, body: &[u8]) -> Result<TracesRequest, WireError> {
        match self {
            Self::Protobuf => decode(body),
            Self::Json => json::traces(body),
        }
    }

    pub fn logs(self, body: &[u8]) -> Result<LogsRequest, WireError> {
        match self {
            Self::Protobuf => decode(body),
            Self::Json => json::logs(body),
        }
    }

    pub fn metrics(self, body: &[u8]) -> Result<MetricsRequest, WireError> {
        match self {
            Self::Protobuf => decode(body),
            Self::Json => json::metrics(body),
        }
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, WireError> {
    M::decode(body).map_err(|error| WireError::Malformed(error.into()))
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
}

impl Compression {
    /// By the header `Content-Encoding`, or `grpc-encoding`.
    pub fn of(encoding: Option<&str>) -> Result<Self, WireError> {
        match encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::None),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "snappy" => Ok(Self::Snappy),
            other => Err(WireError::Unsupported(other.to_owned())),
        }
    }

    /// The content, if it is no longer than `limit`.
    pub fn open(self, body: &Bytes, limit: usize) -> Result<Bytes, WireError> {
        let content = match self {
            Self::None => body.clone(),
            Self::Gzip => {
                let mut content = Vec::new();
                let more_than_that = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
                let opened = flate2::read::MultiGzDecoder::new(&body[..]);
                let read = opened.take(more_than_that).read_to_end(&mut content);
                read.map_err(|error| WireError::Packed { format: "gzip", source: error.into() })?;
                Bytes::from(content)
            }
            Self::Snappy => {
                let malformed = |error: snap::Error| WireError::Packed { format: "snappy", source: error.into() };
                if snap::raw::decompress_len(body).map_err(malformed)? > limit {
                    return Err(WireError::TooLong { limit });
                }
                Bytes::from(snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)?)
            }
        };
        if content.len() > limit { Err(WireError::TooLong { limit }) } else { Ok(content) }
    }
}
