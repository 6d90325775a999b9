//! One request, taken apart: which bucket, which key, which parameters. Nothing here looks at the
//! store, and a key is never anything but text.

use http::{HeaderMap, Method, request::Parts};

use super::error::{Code, Error, Result};
use crate::model::is_bucket_name;

/// What a request is about. The key is a name in an index: `..`, `//` and a slash at the end are
/// letters of it.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub query: Query,
    pub headers: HeaderMap,
    /// As it came: percent-encoded.
    pub path: String,
    /// As it came.
    pub host: String,
    /// The bucket was in the name of the host.
    pub virtual_host: bool,
}

impl Call {
    /// # Errors
    /// A path that is not UTF-8, a bucket's name that S3 does not allow, a key that is too long.
    pub fn new(parts: &Parts, domains: &[String]) -> Result<Self> {
        let path = parts.uri.path();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let header = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let host = header.or(authority).unwrap_or_default().to_owned();
        let from_host = bucket_of_host(&host, domains).map(str::to_owned);
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = match &from_host {
            Some(bucket) => (Some(bucket.clone()), rest),
            None => match rest.split_once('/') {
                _ if rest.is_empty() => (None, ""),
                Some((bucket, key)) => (Some(decoded(bucket)?), key),
                None => (Some(decoded(rest)?), ""),
            },
        };
        if let Some(name) = &bucket
            && !is_bucket_name(name)
        {
            return Err(Code::InvalidBucketName.into());
        }
        let key = decoded(key)?;
        if key.len() > MAX_KEY {
            return Err(Code::KeyTooLongError.into());
        }
        Ok(Self {
            method: parts.method.clone(),
            key: (!key.is_empty()).then_some(key),
            bucket,
            query: Query::parse(parts.uri.query().unwrap_or_default())?,
            headers: parts.headers.clone(),
            path: path.to_owned(),
            host,
            virtual_host: from_host.is_some(),
        })
    }

    /// A header as text. Values that are not UTF-8 are read as Latin-1, which HTTP once was.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(header_text)
    }

    pub fn bucket(&self) -> Result<&str> {
        self.bucket.as_deref().ok_or_else(|| Code::MethodNotAllowed.into())
    }

    pub fn key(&self) -> Result<&str> {
        self.key.as_deref().ok_or_else(|| Code::MethodNotAllowed.into())
    }
}

pub fn header_text(value: &http::HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => header_bytes(value),
    }
}

/// A header with a character for each byte, whatever it means: so it can be given back as it came.
pub fn header_bytes(value: &http::HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

const MAX_KEY: usize = 1024;

/// `bucket.DOMAIN` names a bucket; any other host is the server itself.
fn bucket_of_host<'a>(host: &'a str, domains: &[String]) -> Option<&'a str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.');
    domains.iter().find_map(|domain| {
        let cut = name.len().checked_sub(domain.len())?;
        let (bucket, rest) = (name.get(..cut)?, name.get(cut..)?);
        bucket.strip_suffix('.').filter(|bucket| rest.eq_ignore_ascii_case(domain) && !bucket.is_empty())
    })
}

/// The parameters behind the question mark, in their order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter whose empty value says as little as its absence.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A whole number between 0 and `most`; larger ones are `most`.
    pub fn number(&self, name: &str, most: u64) -> Result<Option<u64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) => Ok(Some(number.min(most))),
            Err(_) => Err(Error::new(Code::InvalidArgument, format!("{name} is not a whole number: {text}"))),
        }
    }
}

/// Percent-encoding undone.
pub fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Code::InvalidURI.into()) };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| Code::InvalidURI.into())
}

/// Percent-encoding as signatures and lists have it: all but letters, digits and `-._~`.
pub fn encoded(text: &str, slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if !slash => out.push('/'),
            byte => {
                use std::fmt::Write;
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str, host: &str) -> Result<Call> {
        let (parts, ()) = http::Request::get(uri).header("host", host).body(()).unwrap().into_parts();
        Call::new(&parts, &["s3.macula.local".to_owned()])
    }

    fn target(uri: &str, host: &str) -> (Option<String>, Option<String>) {
        let call = call(uri, host).unwrap();
        (call.bucket, call.key)
    }

    fn both(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
        (Some(bucket.to_owned()), Some(key.to_owned()))
    }

    #[test]
    fn a_key_is_every_letter_behind_the_bucket() {
        assert_eq!(target("/aaa/../bbb/x", "h"), both("aaa", "../bbb/x"));
        assert_eq!(target("/aaa/%2e%2e%2Fbbb%2fx", "h"), both("aaa", "../bbb/x"));
        assert_eq!(target("/aaa//b//c/", "h"), both("aaa", "/b//c/"));
        assert_eq!(target("/aaa/a+b%20c", "h"), both("aaa", "a+b c"));
        assert_eq!(target("/aaa/", "h"), (Some("aaa".into()), None));
        assert_eq!(target("/", "h"), (None, None));
    }

    #[test]
    fn the_host_may_name_the_bucket() {
        assert_eq!(target("/../bbb/x", "aaa.s3.macula.local:9000"), both("aaa", "../bbb/x"));
        assert_eq!(target("/x", "a.b.s3.MACULA.local"), both("a.b", "x"));
        assert_eq!(target("/aaa/x", "s3.macula.local"), both("aaa", "x"));
        assert_eq!(target("/aaa/x", "other.macula.local"), both("aaa", "x"));
        assert_eq!(call("/x", "..s3.macula.local").unwrap_err().code, Code::InvalidBucketName);
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        assert_eq!(target(&format!("/aaa/{}", "k".repeat(1024)), "h").1.unwrap().len(), 1024);
        assert_eq!(call(&format!("/aaa/{}", "k".repeat(1025)), "h").unwrap_err().code, Code::KeyTooLongError);
        assert_eq!(call("/aaa/%ff", "h").unwrap_err().code, Code::InvalidURI);
        assert_eq!(call("/aaa/%f", "h").unwrap_err().code, Code::InvalidURI);
        assert_eq!(call("/..%2f/x", "h").unwrap_err().code, Code::InvalidBucketName);
    }

    #[test]
    fn encoding_and_decoding_undo_each_other() {
        let odd = "a b+c/\u{fc}\u{65e5}'(1)!*~%?#&=;";
        assert_eq!(decoded(&encoded(odd, true)).unwrap(), odd);
        assert_eq!(decoded(&encoded(odd, false)).unwrap(), odd);
        assert_eq!(encoded("a/b c", false), "a/b%20c");
        assert_eq!(encoded("a/b c", true), "a%2Fb%20c");
    }
}
