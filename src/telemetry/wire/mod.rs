//! What comes over the wire: OTLP and Loki's pushes. Pure.

pub mod body;
pub mod json;
pub mod loki;
pub mod otlp;

use crate::model::AnyError;

#[cfg(test)]
mod tests;

/// What a body is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0}")]
    Malformed(#[source] AnyError),
    #[error("{format}: {source}")]
    Packed { format: &'static str, source: AnyError },
    #[error("the content is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("`{0}` is not supported")]
    Unsupported(String),
}

/// The bytes of an id; an empty text has none.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}
