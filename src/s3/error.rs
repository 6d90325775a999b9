//! What S3 calls its errors: a code that clients act on, a status, and a sentence.

use std::error::Error as StdError;
use std::sync::Arc;

use http::StatusCode;

macro_rules! codes {
    ($($code:ident $status:literal $message:literal,)*) => {
        /// The codes of the S3 API that this server answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($code,)* }

        impl Code {
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            fn message(self) -> &'static str {
                match self { $(Self::$code => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied 403 "Access Denied.",
    AccessForbidden 403 "CORSResponse: This CORS request is not allowed by the bucket's CORS configuration.",
    AuthorizationHeaderMalformed 400 "The authorization header is malformed.",
    AuthorizationQueryParametersError 400 "The query parameters that sign the request are malformed.",
    BadDigest 400 "The digest you specified did not match what was received.",
    BucketAlreadyOwnedByYou 409 "The bucket you tried to create already exists, and you own it.",
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.",
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.",
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.",
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    InternalError 500 "The server encountered an internal error. Please try again.",
    InvalidAccessKeyId 403 "The access key ID you provided does not exist.",
    InvalidArgument 400 "Invalid argument.",
    InvalidBucketName 400 "The specified bucket is not valid.",
    InvalidDigest 400 "The Content-MD5 you specified is not valid.",
    InvalidPart 400 "One or more of the specified parts could not be found.",
    InvalidPartNumber 416 "The requested part number is not satisfiable.",
    InvalidPartOrder 400 "The list of parts was not in ascending order.",
    InvalidRange 416 "The requested range is not satisfiable.",
    InvalidRequest 400 "Invalid request.",
    InvalidTag 400 "The tag provided was not a valid tag.",
    InvalidURI 400 "Couldn't parse the specified URI.",
    KeyTooLongError 400 "Your key is too long.",
    MalformedXML 400 "The XML you provided was not well-formed or did not validate.",
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.",
    MethodNotAllowed 405 "The specified method is not allowed against this resource.",
    MissingContentLength 411 "You must provide the Content-Length HTTP header.",
    NoSuchBucket 404 "The specified bucket does not exist.",
    NoSuchBucketPolicy 404 "The bucket policy does not exist.",
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist.",
    NoSuchKey 404 "The specified key does not exist.",
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist.",
    NoSuchObjectLockConfiguration 404 "The specified object does not have an object lock configuration.",
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found.",
    NoSuchTagSet 404 "The tag set does not exist.",
    NoSuchUpload 404 "The specified multipart upload does not exist.",
    NoSuchVersion 404 "The specified version does not exist.",
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration.",
    NotImplemented 501 "This server does not implement what the request asks for.",
    NotModified 304 "Not Modified",
    ObjectLockConfigurationNotFoundError 404 "The bucket has no object lock configuration.",
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found.",
    PreconditionFailed 412 "At least one of the preconditions you specified did not hold.",
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found.",
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.",
    RequestTimeout 400 "Nothing more of the request came within the timeout period.",
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found.",
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided.",
    StorageFull 507 "The storage of this server is full.",
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.",
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub struct Error {
    pub code: Code,
    pub message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// Something of this machine failed: the client learns that it did, the log why.
    pub fn internal(source: impl StdError + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..Code::InternalError.into() }
    }

    /// Why, for the log.
    pub fn cause(&self) -> String {
        self.source.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self { code, message: code.message().to_owned(), source: None }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::StorageFull,
            _ => Code::InternalError,
        };
        Self { source: Some(Arc::new(error)), ..code.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
