//! What the index holds of buckets, objects and uploads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::s3::checksum::{Algorithm, Checksum};
use crate::s3::cors::Rule;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Milliseconds since the epoch.
    pub created: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cors: Vec<Rule>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A file of the store, and how much of an object it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub blob: u64,
    pub size: u64,
}

/// What a client says of an object beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// `content-type`, `cache-control` and the like: given back as they came.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Without their `x-amz-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub size: u64,
    /// Without quotation marks.
    pub etag: String,
    /// Milliseconds since the epoch.
    pub modified: i64,
    pub pieces: Vec<Piece>,
    /// Each piece was uploaded as a part, and can be asked for by its number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parts: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    #[serde(flatten)]
    pub attributes: Attributes,
}

/// An upload in parts that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub key: String,
    pub started: i64,
    /// Of the parts, and of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The checksum is to be that of the whole object, not that of the parts' checksums.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    #[serde(flatten)]
    pub attributes: Attributes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub piece: Piece,
    pub etag: String,
    pub modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}
