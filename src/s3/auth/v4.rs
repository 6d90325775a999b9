//! AWS Signature Version 4: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};

use super::{Payload, Signed, expired, hmac_sha256, method, recent, same};
use crate::s3::checksum::{hex, unhex};
use crate::s3::error::{Code, Error, Result};
use crate::s3::request::{Call, decoded, encoded, header_text};
use crate::s3::time;
use crate::s3::users::{User, Users};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// `KEY/20261128/us-east-1/s3/aws4_request`
#[derive(Debug)]
struct Credential<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    scope: &'a str,
}

impl<'a> Credential<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // an access key may hold slashes: the scope is counted from the end
        let mut cuts = text.rmatch_indices('/').map(|(at, _)| at);
        let (end, service, region, date) = (cuts.next()?, cuts.next()?, cuts.next()?, cuts.next()?);
        let fits = &text[end + 1..] == "aws4_request" && &text[service + 1..end] == "s3";
        fits.then(|| Self {
            access_key: &text[..date],
            date: &text[date + 1..region],
            region: &text[region + 1..service],
            scope: &text[date + 1..],
        })
    }

    fn key(&self, user: &User) -> Vec<u8> {
        let date = hmac_sha256(format!("AWS4{}", user.secret).as_bytes(), self.date.as_bytes());
        let region = hmac_sha256(&date, self.region.as_bytes());
        hmac_sha256(&hmac_sha256(&region, b"s3"), b"aws4_request")
    }
}

pub(super) fn header(call: &Call, text: &str, users: &Users, now: i64) -> Result<Signed> {
    let malformed = |why: &str| {
        Error::new(Code::AuthorizationHeaderMalformed, format!("The authorization header is malformed: {why}."))
    };
    let fields = text.strip_prefix(ALGORITHM).ok_or_else(|| malformed("this algorithm is not supported"))?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| malformed(&format!("{name} is missing")))
    };
    let credential =
        Credential::parse(field("Credential")?).ok_or_else(|| malformed("the credential has no scope of S3"))?;
    let signed: BTreeSet<String> = field("SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect();
    let user = users.find(credential.access_key)?;

    let stamp = call.header("x-amz-date").or_else(|| call.header("date")).unwrap_or_default();
    let time = time::parse(&stamp).ok_or_else(|| Error::new(Code::AccessDenied, "The request has no valid date."))?;
    recent(time, now)?;
    let stamp = basic(time);
    let content = call.header("x-amz-content-sha256");
    let content =
        content.ok_or_else(|| Error::new(Code::InvalidRequest, "Missing required header: x-amz-content-sha256"))?;

    all_signed(call, &signed)?;
    let canonical = canonical(call, &signed, &content, None);
    let key = credential.key(&user);
    let signature = sign(&key, &stamp, credential.scope, &canonical);
    if !same(hex(&signature).as_bytes(), field("Signature")?.as_bytes()) {
        return Err(Code::SignatureDoesNotMatch.into());
    }
    let signer = || {
        let scope = credential.scope.to_owned();
        Box::new(ChunkSigner { key: key.clone(), stamp: stamp.clone(), scope, previous: hex(&signature) })
    };
    let payload = match content.as_str() {
        "UNSIGNED-PAYLOAD" => Payload::Unsigned,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::Chunked(None),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Payload::Chunked(Some(signer()))
        }
        text => match unhex(text) {
            Some(digest) if digest.len() == 32 => Payload::Sha256(digest),
            _ => {
                return Err(Error::new(
                    Code::InvalidArgument,
                    "x-amz-content-sha256 is neither a digest nor a kind of payload that this server knows.",
                ));
            }
        },
    };
    Ok(Signed { user, payload })
}

pub(super) fn address(call: &Call, users: &Users, now: i64) -> Result<Signed> {
    let malformed =
        |why: &str| Error::new(Code::AuthorizationQueryParametersError, format!("Query-string authentication: {why}."));
    let field = |name: &str| call.query.get(name).ok_or_else(|| malformed(&format!("{name} is missing")));
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed("X-Amz-Algorithm only supports AWS4-HMAC-SHA256"));
    }
    let credential =
        Credential::parse(field("X-Amz-Credential")?).ok_or_else(|| malformed("the credential has no scope of S3"))?;
    let user = users.find(credential.access_key)?;
    let time = time::parse(field("X-Amz-Date")?).ok_or_else(|| malformed("X-Amz-Date is not a time"))?;
    let seconds: i64 = field("X-Amz-Expires")?.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
    if !(0..=7 * 24 * 60 * 60).contains(&seconds) {
        return Err(malformed("X-Amz-Expires must be between 0 and a week"));
    }
    let signed: BTreeSet<String> = field("X-Amz-SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect();
    all_signed(call, &signed)?;
    let content =
        call.header("x-amz-content-sha256").or_else(|| call.query.get("X-Amz-Content-Sha256").map(str::to_owned));
    let content = content.unwrap_or_else(|| "UNSIGNED-PAYLOAD".to_owned());
    let canonical = canonical(call, &signed, &content, Some("X-Amz-Signature"));
    let signature = sign(&credential.key(&user), &basic(time), credential.scope, &canonical);
    if !same(hex(&signature).as_bytes(), field("X-Amz-Signature")?.as_bytes()) {
        return Err(Code::SignatureDoesNotMatch.into());
    }
    if now > time.saturating_add(seconds * 1000) {
        return Err(expired());
    }
    if time > now + super::SKEW {
        return Err(Error::new(Code::AccessDenied, "Request is not valid yet."));
    }
    let payload = match unhex(&content) {
        Some(digest) if digest.len() == 32 => Payload::Sha256(digest),
        _ => Payload::Unsigned,
    };
    Ok(Signed { user, payload })
}

/// `20261128T090000Z`
fn basic(time: i64) -> String {
    time::iso(time).replace(['-', ':'], "").replace(".000Z", "Z")
}

/// A header of S3's that nobody signed could turn a signed upload into a copy of something else.
fn all_signed(call: &Call, signed: &BTreeSet<String>) -> Result<()> {
    let free = ["x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"];
    let missing = call
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !free.contains(name) && !signed.contains(*name));
    match missing {
        _ if !signed.contains("host") => Err(Error::new(Code::AccessDenied, "The header host must be signed.")),
        Some(name) => Err(Error::new(
            Code::AccessDenied,
            format!("There were headers present in the request which were not signed: {name}"),
        )),
        None => Ok(()),
    }
}

fn canonical(call: &Call, signed: &BTreeSet<String>, content: &str, without: Option<&str>) -> String {
    let path = match decoded(&call.path) {
        Ok(path) => encoded(&path, false),
        Err(_) => call.path.clone(),
    };
    let pairs = call.query.iter().filter(|(name, _)| Some(*name) != without);
    let mut pairs: Vec<(String, String)> =
        pairs.map(|(name, value)| (encoded(name, true), encoded(value, true))).collect();
    pairs.sort();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut out = format!("{}\n{path}\n{}\n", method(&call.method), query.join("&"));
    for name in signed {
        let values = call
            .headers
            .get_all(name)
            .iter()
            .map(|value| header_text(value).split_whitespace().collect::<Vec<_>>().join(" "));
        let mut value = values.collect::<Vec<_>>().join(",");
        if name == "host" {
            value.clone_from(&call.host);
        }
        out.push_str(&format!("{name}:{value}\n"));
    }
    let names: Vec<&str> = signed.iter().map(String::as_str).collect();
    format!("{out}\n{}\n{content}", names.join(";"))
}

fn sign(key: &[u8], stamp: &str, scope: &str, canonical: &str) -> Vec<u8> {
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    hmac_sha256(key, format!("{ALGORITHM}\n{stamp}\n{scope}\n{hash}").as_bytes())
}

/// Signs the chunks of a body, each with the signature before it.
#[derive(Debug)]
pub struct ChunkSigner {
    key: Vec<u8>,
    stamp: String,
    scope: String,
    previous: String,
}

impl ChunkSigner {
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub fn chunk(&mut self, digest_of_data: &[u8], signature: &str) -> Result<()> {
        let empty = hex(digest(&SHA256, b"").as_ref());
        let text = format!("{empty}\n{}", hex(digest_of_data));
        self.check("AWS4-HMAC-SHA256-PAYLOAD", &text, signature)
    }

    /// `trailer`: its lines, each `name:value` with a line feed.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub fn trailer(&mut self, trailer: &str, signature: &str) -> Result<()> {
        let hash = hex(digest(&SHA256, trailer.as_bytes()).as_ref());
        self.check("AWS4-HMAC-SHA256-TRAILER", &hash, signature)
    }

    fn check(&mut self, kind: &str, what: &str, signature: &str) -> Result<()> {
        let text = format!("{kind}\n{}\n{}\n{}\n{what}", self.stamp, self.scope, self.previous);
        let right = hex(&hmac_sha256(&self.key, text.as_bytes()));
        if !same(right.as_bytes(), signature.as_bytes()) {
            return Err(Code::SignatureDoesNotMatch.into());
        }
        self.previous = right;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, date and signatures of the examples in Amazon's documentation.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
    const DAY: i64 = 1_369_353_600_000;

    fn users() -> Users {
        Users::new(KEY.into(), SECRET.into(), None)
    }

    fn call(method: &str, uri: &str, headers: &[(&str, &str)]) -> Call {
        let mut request =
            http::Request::builder().method(method).uri(uri).header("host", "examplebucket.s3.amazonaws.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Call::new(&parts, &["s3.amazonaws.com".to_owned()]).unwrap()
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn get_with_range(range: &str) -> Call {
        let signature = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
            SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
            Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        call(
            "GET",
            "/test.txt",
            &[
                ("range", range),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-content-sha256", EMPTY),
                ("authorization", signature),
            ],
        )
    }

    #[test]
    fn the_example_of_the_documentation_is_let_through_and_nothing_beside_it() {
        let text = |call: &Call| call.header("authorization").unwrap();
        let good = get_with_range("bytes=0-9");
        assert!(matches!(header(&good, &text(&good), &users(), DAY).unwrap().payload, Payload::Sha256(_)));
        let other = get_with_range("bytes=0-10");
        assert_eq!(header(&other, &text(&other), &users(), DAY).unwrap_err().code, Code::SignatureDoesNotMatch);
        assert_eq!(
            header(&good, &text(&good), &users(), DAY + 16 * 60_000).unwrap_err().code,
            Code::RequestTimeTooSkewed
        );
        let nobody = Users::new("other".into(), SECRET.into(), None);
        assert_eq!(header(&good, &text(&good), &nobody, DAY).unwrap_err().code, Code::InvalidAccessKeyId);
    }

    fn presigned(headers: &[(&str, &str)]) -> Call {
        let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
            &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
            &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        call("GET", uri, headers)
    }

    #[test]
    fn a_signed_address_lasts_as_long_as_it_says() {
        address(&presigned(&[]), &users(), DAY + 86_000_000).unwrap();
        assert_eq!(address(&presigned(&[]), &users(), DAY + 86_401_000).unwrap_err().message, "Request has expired.");
    }

    #[test]
    fn a_signed_address_takes_no_header_that_is_not_signed() {
        let call = presigned(&[("x-amz-copy-source", "/other/secret")]);
        assert_eq!(address(&call, &users(), DAY).unwrap_err().code, Code::AccessDenied);
        address(&presigned(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]), &users(), DAY).unwrap();
    }

    #[test]
    fn chunks_are_signed_one_after_the_other() {
        // the documentation's example of a chunked upload
        let signature = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
            SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,\
            Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let (parts, ()) = http::Request::put("/examplebucket/chunkObject.txt")
            .header("host", "s3.amazonaws.com")
            .header("x-amz-date", "20130524T000000Z")
            .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
            .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "66560")
            .header("content-length", "66824")
            .body(())
            .unwrap()
            .into_parts();
        let call = Call::new(&parts, &[]).unwrap();
        let Payload::Chunked(Some(mut signer)) = header(&call, signature, &users(), DAY).unwrap().payload else {
            panic!("not chunked")
        };
        let sum = |data: &[u8]| digest(&SHA256, data).as_ref().to_vec();
        signer
            .chunk(&sum(&vec![b'a'; 65536]), "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
            .unwrap();
        assert!(
            signer.chunk(&sum(b"other"), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497").is_err()
        );
        signer
            .chunk(&sum(&vec![b'a'; 1024]), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
            .unwrap();
        signer.chunk(&sum(b""), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9").unwrap();
    }

    #[test]
    fn what_is_malformed_is_called_so() {
        let call = get_with_range("bytes=0-9");
        for text in [
            "",
            "Basic x",
            "AWS4-HMAC-SHA256 ",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x",
            "AWS4-HMAC-SHA256 Credential=a/b/c/ec2/aws4_request",
        ] {
            assert_eq!(
                header(&call, text, &users(), DAY).unwrap_err().code,
                Code::AuthorizationHeaderMalformed,
                "{text}"
            );
        }
    }
}
