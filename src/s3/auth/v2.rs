//! AWS Signature Version 2, with which older clients still sign addresses:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

use super::{Payload, Signed, expired, method, recent, same};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::{Call, header_text};
use crate::s3::time;
use crate::s3::users::{User, Users};

/// Parameters that belong to what is signed.
const SIGNED: [&str; 29] = [
    "acl",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "replication",
];

pub(super) fn header(call: &Call, text: &str, users: &Users, now: i64) -> Result<Signed> {
    let malformed = || Error::new(Code::InvalidArgument, "The authorization header is malformed.");
    let (access_key, signature) =
        text.strip_prefix("AWS ").and_then(|text| text.rsplit_once(':')).ok_or_else(malformed)?;
    let user = users.find(access_key)?;
    let date = call.header("date").unwrap_or_default();
    let stamp = call.header("x-amz-date").unwrap_or_else(|| date.clone());
    let time = time::parse(&stamp).ok_or_else(|| Error::new(Code::AccessDenied, "The request has no valid date."))?;
    recent(time, now)?;
    let date = if call.headers.contains_key("x-amz-date") { String::new() } else { date };
    matches(call, &date, &user, signature)?;
    Ok(Signed { user, payload: Payload::Unsigned })
}

pub(super) fn address(call: &Call, users: &Users, now: i64) -> Result<Signed> {
    let field = |name: &str| {
        let missing = || Error::new(Code::AccessDenied, format!("Query-string authentication: {name} is missing."));
        call.query.get(name).ok_or_else(missing)
    };
    let user = users.find(field("AWSAccessKeyId")?)?;
    let expires = field("Expires")?;
    let until: i64 = expires.parse().map_err(|_| Error::new(Code::AccessDenied, "Expires is not a number."))?;
    matches(call, expires, &user, field("Signature")?)?;
    if now > until.saturating_mul(1000) {
        return Err(expired());
    }
    Ok(Signed { user, payload: Payload::Unsigned })
}

fn matches(call: &Call, date: &str, user: &User, signature: &str) -> Result<()> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, user.secret.as_bytes());
    // a bucket is signed with a slash behind it by some clients, also where they leave it out
    let slash = format!("{}/", call.path);
    let paths = if call.key.is_none() { vec![call.path.as_str(), &slash] } else { vec![call.path.as_str()] };
    let fits = paths.into_iter().any(|path| {
        let right = BASE64.encode(hmac::sign(&key, canonical(call, path, date).as_bytes()));
        same(right.as_bytes(), signature.as_bytes())
    });
    if fits { Ok(()) } else { Err(Code::SignatureDoesNotMatch.into()) }
}

fn canonical(call: &Call, path: &str, date: &str) -> String {
    let header = |name: &str| call.header(name).unwrap_or_default();
    let mut amazon: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &call.headers {
        if name.as_str().starts_with("x-amz-") {
            amazon.entry(name.as_str()).or_default().push(header_text(value).trim().to_owned());
        }
    }
    let amazon: String = amazon.into_iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
    let bucket =
        call.bucket.as_deref().filter(|_| call.virtual_host).map(|bucket| format!("/{bucket}")).unwrap_or_default();
    let mut pairs: Vec<(&str, &str)> = call.query.iter().filter(|(name, _)| SIGNED.contains(name)).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| if value.is_empty() { name.to_owned() } else { format!("{name}={value}") })
        .collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    format!(
        "{}\n{}\n{}\n{date}\n{amazon}{bucket}{path}{query}",
        method(&call.method),
        header("content-md5"),
        header("content-type"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str, headers: &[(&str, &str)]) -> Call {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Call::new(&parts, &["s3.us-west-1.amazonaws.com".to_owned()]).unwrap()
    }

    fn users() -> Users {
        Users::new("AKIAIOSFODNN7EXAMPLE".into(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(), None)
    }

    /// The example of the documentation: an object by the bucket's host.
    #[test]
    fn the_example_of_the_documentation_is_let_through() {
        let time = time::parse("Tue, 27 Mar 2007 19:36:42 +0000").unwrap();
        let headers =
            [("host", "awsexamplebucket1.s3.us-west-1.amazonaws.com"), ("date", "Tue, 27 Mar 2007 19:36:42 +0000")];
        let call = call("/photos/puppy.jpg", &headers);
        header(&call, "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", &users(), time).unwrap();
        let wrong = header(&call, "AWS AKIAIOSFODNN7EXAMPLE:agk2+6Sv9/oM7G3qLEjTH1a1l1g=", &users(), time);
        assert_eq!(wrong.unwrap_err().code, Code::SignatureDoesNotMatch);
        assert_eq!(header(&call, "AWS none", &users(), time).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn an_address_says_until_when() {
        let call = |extra: &str| {
            let key = hmac::Key::new(
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                users().find("AKIAIOSFODNN7EXAMPLE").unwrap().secret.as_bytes(),
            );
            let signature = BASE64.encode(hmac::sign(&key, b"GET\n\n\n1000\n/bucket/a%20b"));
            let signature = crate::s3::request::encoded(&signature, true);
            call(
                &format!("/bucket/a%20b?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1000&Signature={signature}{extra}"),
                &[],
            )
        };
        address(&call(""), &users(), 999_000).unwrap();
        assert_eq!(address(&call(""), &users(), 1_001_000).unwrap_err().message, "Request has expired.");
        assert_eq!(address(&call("&uploads"), &users(), 0).unwrap_err().code, Code::SignatureDoesNotMatch);
    }
}
