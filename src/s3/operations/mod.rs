//! What can be asked of the server, one function an operation. Whoever comes here has been let
//! through: the bucket's rights were checked before the operation was even looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use super::body::{BoxError, Reader};
use super::error::{Code, Error, Result};
use super::request::{Call, header_bytes};
use super::store::{Attributes, Object, Store};
use super::users::User;
use super::xml::{self, Xml};

mod bucket;
mod copy;
mod list;
mod multipart;
mod object;

pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
pub type Answer = Response<Body>;

/// One request with all that it needs.
pub struct Context {
    pub store: Arc<Store>,
    pub call: Call,
    pub user: User,
    pub body: Reader,
}

macro_rules! operations {
    ($($name:ident => $run:path,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation { $($name,)* }

        impl Operation {
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// # Errors
            /// What S3 says of it.
            pub async fn run(self, context: Context) -> Result<Answer> {
                match self { $(Self::$name => $run(context).await,)* }
            }
        }
    };
}

operations! {
    ListBuckets => bucket::list,
    CreateBucket => bucket::create,
    HeadBucket => bucket::head,
    DeleteBucket => bucket::delete,
    GetBucketLocation => bucket::location,
    GetBucketVersioning => bucket::versioning,
    GetBucketAcl => bucket::acl,
    PutBucketAcl => bucket::put_acl,
    GetBucketCors => bucket::cors,
    PutBucketCors => bucket::put_cors,
    DeleteBucketCors => bucket::delete_cors,
    GetBucketTagging => bucket::tagging,
    PutBucketTagging => bucket::put_tagging,
    DeleteBucketTagging => bucket::delete_tagging,
    GetBucketRequestPayment => bucket::request_payment,
    GetBucketNotification => bucket::notification,
    GetBucketLogging => bucket::logging,
    ListObjects => list::objects,
    ListObjectsV2 => list::objects_v2,
    ListObjectVersions => list::versions,
    ListMultipartUploads => list::uploads,
    DeleteObjects => object::delete_many,
    GetObject => object::get,
    HeadObject => object::get,
    PutObject => object::put,
    CopyObject => copy::object,
    DeleteObject => object::delete,
    GetObjectTagging => object::tagging,
    PutObjectTagging => object::put_tagging,
    DeleteObjectTagging => object::delete_tagging,
    GetObjectAcl => object::acl,
    PutObjectAcl => object::put_acl,
    GetObjectAttributes => object::attributes,
    CreateMultipartUpload => multipart::create,
    UploadPart => multipart::part,
    UploadPartCopy => copy::part,
    ListParts => multipart::list,
    CompleteMultipartUpload => multipart::complete,
    AbortMultipartUpload => multipart::abort,
}

/// Parts of the API that are known and not there, and how S3 answers where they are not configured.
const ABSENT: [(&str, Code); 9] = [
    ("policy", Code::NoSuchBucketPolicy),
    ("policyStatus", Code::NoSuchBucketPolicy),
    ("lifecycle", Code::NoSuchLifecycleConfiguration),
    ("encryption", Code::ServerSideEncryptionConfigurationNotFoundError),
    ("object-lock", Code::ObjectLockConfigurationNotFoundError),
    ("publicAccessBlock", Code::NoSuchPublicAccessBlockConfiguration),
    ("replication", Code::ReplicationConfigurationNotFoundError),
    ("website", Code::NoSuchWebsiteConfiguration),
    ("ownershipControls", Code::OwnershipControlsNotFoundError),
];

/// Other parts of the API: to ignore one would do something else than what was asked for.
const UNKNOWN: [&str; 14] = [
    "accelerate",
    "analytics",
    "intelligent-tiering",
    "inventory",
    "metrics",
    "restore",
    "select",
    "torrent",
    "legal-hold",
    "retention",
    "versioning",
    "acl",
    "notification",
    "logging",
];

impl Operation {
    /// # Errors
    /// `NotImplemented` and `MethodNotAllowed`, and what a bucket lacks.
    pub fn of(call: &Call) -> Result<Self> {
        match (&call.bucket, &call.key) {
            (None, _) if call.method == Method::GET => Ok(Self::ListBuckets),
            (None, _) => Err(Code::MethodNotAllowed.into()),
            (Some(_), None) => Self::of_bucket(call),
            (Some(_), Some(_)) => Self::of_object(call),
        }
    }

    fn of_bucket(call: &Call) -> Result<Self> {
        let asks = |name: &str| call.query.has(name);
        let get = [
            ("location", Self::GetBucketLocation),
            ("versioning", Self::GetBucketVersioning),
            ("acl", Self::GetBucketAcl),
            ("cors", Self::GetBucketCors),
            ("tagging", Self::GetBucketTagging),
            ("requestPayment", Self::GetBucketRequestPayment),
            ("notification", Self::GetBucketNotification),
            ("logging", Self::GetBucketLogging),
            ("versions", Self::ListObjectVersions),
            ("uploads", Self::ListMultipartUploads),
        ];
        let method = &call.method;
        let named = match method.as_str() {
            "GET" => get.into_iter().find(|(name, _)| asks(name)).map(|(_, operation)| operation),
            "PUT" if asks("acl") => Some(Self::PutBucketAcl),
            "PUT" if asks("cors") => Some(Self::PutBucketCors),
            "PUT" if asks("tagging") => Some(Self::PutBucketTagging),
            "DELETE" if asks("cors") => Some(Self::DeleteBucketCors),
            "DELETE" if asks("tagging") => Some(Self::DeleteBucketTagging),
            "POST" if asks("delete") => Some(Self::DeleteObjects),
            _ => None,
        };
        if let Some(operation) = named {
            return Ok(operation);
        }
        if let Some((_, code)) = ABSENT.iter().find(|(name, _)| asks(name)) {
            let code = if method == Method::GET { *code } else { Code::NotImplemented };
            return Err(code.into());
        }
        if UNKNOWN.iter().any(|name| asks(name)) {
            return Err(Code::NotImplemented.into());
        }
        match method.as_str() {
            "GET" if call.query.get("list-type") == Some("2") => Ok(Self::ListObjectsV2),
            "GET" => Ok(Self::ListObjects),
            "HEAD" => Ok(Self::HeadBucket),
            "PUT" => Ok(Self::CreateBucket),
            "DELETE" => Ok(Self::DeleteBucket),
            "POST" => Err(Code::NotImplemented.into()),
            _ => Err(Code::MethodNotAllowed.into()),
        }
    }

    fn of_object(call: &Call) -> Result<Self> {
        let asks = |name: &str| call.query.has(name);
        let copies = call.headers.contains_key("x-amz-copy-source");
        match call.method.as_str() {
            "GET" if asks("uploadId") => Ok(Self::ListParts),
            "GET" if asks("tagging") => Ok(Self::GetObjectTagging),
            "GET" if asks("acl") => Ok(Self::GetObjectAcl),
            "GET" if asks("attributes") => Ok(Self::GetObjectAttributes),
            "GET" if asks("retention") || asks("legal-hold") => Err(Code::NoSuchObjectLockConfiguration.into()),
            "PUT" if asks("acl") => Ok(Self::PutObjectAcl),
            "PUT" if asks("tagging") => Ok(Self::PutObjectTagging),
            "PUT" if asks("uploadId") && copies => Ok(Self::UploadPartCopy),
            "PUT" if asks("uploadId") || asks("partNumber") => Ok(Self::UploadPart),
            "POST" if asks("uploads") => Ok(Self::CreateMultipartUpload),
            "POST" if asks("uploadId") => Ok(Self::CompleteMultipartUpload),
            "DELETE" if asks("uploadId") => Ok(Self::AbortMultipartUpload),
            "DELETE" if asks("tagging") => Ok(Self::DeleteObjectTagging),
            _ if UNKNOWN.iter().any(|name| asks(name)) => Err(Code::NotImplemented.into()),
            "GET" => Ok(Self::GetObject),
            "HEAD" => Ok(Self::HeadObject),
            "PUT" if copies => Ok(Self::CopyObject),
            "PUT" => Ok(Self::PutObject),
            "DELETE" => Ok(Self::DeleteObject),
            "POST" => Err(Code::NotImplemented.into()),
            _ => Err(Code::MethodNotAllowed.into()),
        }
    }
}

/// An answer with headers alone.
fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

fn document(xml: String) -> Answer {
    let mut answer = Response::new(full(xml.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Sets a header to text that a client may have sent: whatever HTTP does not allow is left out.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    }
}

/// Everything belongs to the owner, and that is the one list there can be.
fn private_only(call: &Call) -> Result<()> {
    match call.header("x-amz-acl").as_deref() {
        Some("private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        _ => Err(Error::new(Code::NotImplemented, "This server has no access control lists: everything is private.")),
    }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// As [`set`], for text that was read with a character for each byte.
fn set_bytes(headers: &mut HeaderMap, name: &str, value: &str) {
    let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
    let name = HeaderName::from_bytes(name.as_bytes());
    let value = HeaderValue::from_bytes(bytes.as_deref().unwrap_or(value.as_bytes()));
    if let (Ok(name), Ok(value)) = (name, value) {
        headers.insert(name, value);
    }
}

/// The only version that an object has.
fn only_version(call: &Call) -> Result<()> {
    match call.query.text("versionId") {
        None | Some("null") => Ok(()),
        Some(_) => Err(Code::NoSuchVersion.into()),
    }
}

/// What this server does not do is refused: content that was to be encrypted is not kept in the
/// clear, nor one that was to be locked without a lock. `x-amz-acl` is taken, as MinIO does: many
/// clients send it by habit, and what stays private does no harm.
fn refuse_unsupported(call: &Call) -> Result<()> {
    let refused = call.headers.iter().map(|(name, value)| (name.as_str(), value)).find(|(name, value)| {
        name.starts_with("x-amz-server-side-encryption")
            || name.starts_with("x-amz-object-lock-")
            || name.starts_with("x-amz-grant-")
            || *name == "x-amz-write-offset-bytes"
            // clients say as well that it is not to be locked
            || (*name == "x-amz-bucket-object-lock-enabled" && !value.as_bytes().eq_ignore_ascii_case(b"false"))
    });
    match refused {
        Some((name, _)) => Err(Error::new(Code::NotImplemented, format!("This server does not implement {name}."))),
        None => Ok(()),
    }
}

/// Content encodings without `aws-chunked`, which is the frame of the upload; `None`: nothing else.
pub fn without_frame(encodings: &str) -> Option<String> {
    let kept =
        encodings.split(',').map(str::trim).filter(|one| !one.is_empty() && !one.eq_ignore_ascii_case("aws-chunked"));
    let kept = kept.collect::<Vec<_>>().join(", ");
    (!kept.is_empty()).then_some(kept)
}

/// S3 allows 2 KB; names and values count.
const METADATA: usize = 2048;
const KEPT: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];

/// What a request says of the object that it makes.
fn attributes_of(call: &Call) -> Result<Attributes> {
    let mut headers = BTreeMap::new();
    for name in KEPT {
        if let Some(value) = call.header(name).filter(|value| !value.is_empty()) {
            headers.insert(name.to_owned(), value);
        }
    }
    if let Some(encoding) = call.header("content-encoding").as_deref().and_then(without_frame) {
        headers.insert("content-encoding".to_owned(), encoding);
    }
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &call.headers {
        let Some(name) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
        let value = header_bytes(value);
        metadata.entry(name.to_owned()).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
    }
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA {
        return Err(Code::MetadataTooLarge.into());
    }
    let tags = match call.header("x-amz-tagging") {
        Some(text) => tags_of_query(&text)?,
        None => BTreeMap::new(),
    };
    Ok(Attributes { headers, metadata, tags })
}

fn tags_of_query(text: &str) -> Result<BTreeMap<String, String>> {
    let mut tags = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| super::request::decoded(&text.replace('+', " "));
        tags.push((decoded(name)?, decoded(value)?));
    }
    checked_tags(tags, 10)
}

/// The body of `Tagging`.
fn tags_of_body(body: &[u8], most: usize) -> Result<BTreeMap<String, String>> {
    let tags = xml::read(body, "Tagging", |root| {
        let set = xml::all(root, "TagSet").next().ok_or(Code::MalformedXML)?;
        let tags = xml::all(set, "Tag").map(|tag| {
            let text = |name| xml::text(tag, name).map(str::to_owned).ok_or(Code::MalformedXML);
            Ok((text("Key")?, text("Value")?))
        });
        tags.collect::<Result<Vec<_>>>()
    })?;
    checked_tags(tags, most)
}

fn checked_tags(tags: Vec<(String, String)>, most: usize) -> Result<BTreeMap<String, String>> {
    let count = tags.len();
    let fits = |(name, value): &(String, String)| {
        !name.is_empty() && name.chars().count() <= 128 && value.chars().count() <= 256
    };
    if !tags.iter().all(fits) {
        return Err(Code::InvalidTag.into());
    }
    let tags: BTreeMap<String, String> = tags.into_iter().collect();
    if tags.len() < count {
        return Err(Error::new(Code::InvalidTag, "Cannot provide multiple Tags with the same key"));
    }
    if count > most {
        return Err(Error::new(Code::InvalidTag, format!("Object tags cannot be greater than {most}")));
    }
    Ok(tags)
}

fn write_tags(tags: &BTreeMap<String, String>) -> String {
    let mut xml = Xml::new("Tagging");
    xml.within("TagSet", |xml| {
        for (name, value) in tags {
            xml.within("Tag", |xml| {
                xml.text("Key", name).text("Value", value);
            });
        }
    });
    xml.finish()
}

/// The conditions under which an object may be written over, checked in the moment of writing.
#[derive(Debug, Clone, Default)]
struct Guard {
    matches: Option<String>,
    none_match: Option<String>,
}

impl Guard {
    fn of(call: &Call) -> Self {
        Self { matches: call.header("if-match"), none_match: call.header("if-none-match") }
    }

    fn check(&self, current: Option<&Object>) -> Result<()> {
        match (&self.matches, current) {
            (Some(_), None) => return Err(Code::NoSuchKey.into()),
            (Some(wanted), Some(found)) if !names_etag(wanted, &found.etag) => {
                return Err(Code::PreconditionFailed.into());
            }
            _ => {}
        }
        match (&self.none_match, current) {
            (Some(unwanted), Some(found)) if names_etag(unwanted, &found.etag) => Err(Code::PreconditionFailed.into()),
            _ => Ok(()),
        }
    }
}

/// `*`, or a list of ETags, with or without quotation marks.
fn names_etag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_an_upload_is_no_encoding() {
        assert_eq!(without_frame("aws-chunked"), None);
        assert_eq!(without_frame("gzip,aws-chunked"), Some("gzip".into()));
        assert_eq!(without_frame("aws-chunked, gzip, br"), Some("gzip, br".into()));
    }

    #[test]
    fn conditions_are_about_what_is_there() {
        let found = Object { etag: "aa".into(), ..Object::default() };
        let guard = |matches: Option<&str>, none_match: Option<&str>| Guard {
            matches: matches.map(str::to_owned),
            none_match: none_match.map(str::to_owned),
        };
        guard(None, Some("*")).check(None).unwrap();
        assert_eq!(guard(None, Some("*")).check(Some(&found)).unwrap_err().code, Code::PreconditionFailed);
        guard(Some("\"aa\""), None).check(Some(&found)).unwrap();
        assert_eq!(guard(Some("\"bb\""), None).check(Some(&found)).unwrap_err().code, Code::PreconditionFailed);
        assert_eq!(guard(Some("\"bb\""), None).check(None).unwrap_err().code, Code::NoSuchKey);
    }

    #[test]
    fn what_is_unknown_is_not_taken_for_something_else() {
        let code = |method: &str, uri: &str| {
            let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            Operation::of(&Call::new(&parts, &[]).unwrap()).map_err(|error| error.code)
        };
        assert_eq!(code("PUT", "/bucket?versioning"), Err(Code::NotImplemented));
        assert_eq!(code("PUT", "/bucket?policy"), Err(Code::NotImplemented));
        assert_eq!(code("GET", "/bucket?policy"), Err(Code::NoSuchBucketPolicy));
        assert_eq!(code("PUT", "/bucket/key?retention"), Err(Code::NotImplemented));
        assert_eq!(code("DELETE", "/bucket?lifecycle"), Err(Code::NotImplemented));
        assert_eq!(code("GET", "/bucket?x-id=ListObjects"), Ok(Operation::ListObjects));
        assert_eq!(code("PATCH", "/bucket/key"), Err(Code::MethodNotAllowed));
    }

    #[test]
    fn tags_have_limits() {
        assert_eq!(
            tags_of_query("a=1&b+c=%20").unwrap(),
            [("a".into(), "1".into()), ("b c".into(), " ".into())].into()
        );
        let many: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        assert_eq!(tags_of_query(&many.join("&")).unwrap_err().code, Code::InvalidTag);
        assert_eq!(tags_of_query(&format!("{}=v", "k".repeat(129))).unwrap_err().code, Code::InvalidTag);
        let twice =
            "<Tagging><TagSet><Tag><Key>a</Key><Value/></Tag><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>";
        assert_eq!(tags_of_body(twice.as_bytes(), 10).unwrap_err().code, Code::InvalidTag);
    }
}
