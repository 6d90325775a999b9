//! Who asks: the signatures of a request, in its headers or in its address, of version 4 and 2.

use http::Method;
use ring::hmac;

use super::error::{Code, Error, Result};
use super::request::Call;
use super::users::{User, Users};

mod v2;
mod v4;

pub use v4::ChunkSigner;

/// A request whose signature is right.
#[derive(Debug)]
pub struct Signed {
    pub user: User,
    pub payload: Payload,
}

/// What the signature says of the body.
#[derive(Debug)]
pub enum Payload {
    Unsigned,
    /// Its digest was signed.
    Sha256(Vec<u8>),
    /// It comes in chunks with a frame around them; with a signer: each with a signature of its own.
    Chunked(Option<Box<ChunkSigner>>),
}

/// # Errors
/// What S3 says of a signature that is missing, malformed, too old or wrong.
pub fn check(call: &Call, users: &Users, now: i64) -> Result<Signed> {
    let authorization = call.header("authorization");
    let in_address = call.query.has("X-Amz-Signature") || call.query.has("Signature");
    if authorization.is_some() && in_address {
        return Err(Error::new(Code::InvalidArgument, "Only one way to sign a request is allowed."));
    }
    match authorization {
        Some(text) if text.starts_with("AWS ") => v2::header(call, &text, users, now),
        Some(text) => v4::header(call, &text, users, now),
        None if call.query.has("X-Amz-Signature") || call.query.has("X-Amz-Algorithm") => v4::address(call, users, now),
        None if call.query.has("Signature") || call.query.has("AWSAccessKeyId") => v2::address(call, users, now),
        None => Err(Code::AccessDenied.into()),
    }
}

/// Between the clocks of client and server.
const SKEW: i64 = 15 * 60 * 1000;

fn recent(time: i64, now: i64) -> Result<()> {
    if (now - time).abs() > SKEW { Err(Code::RequestTimeTooSkewed.into()) } else { Ok(()) }
}

fn expired() -> Error {
    Error::new(Code::AccessDenied, "Request has expired.")
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// In a time that does not depend on where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn method(method: &Method) -> &str {
    method.as_str()
}
