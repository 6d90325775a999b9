//! A whole platform's images as one file, for a machine without a network.
//!
//! A bundle is a tar archive in zstd frames. Decompressed it is what `docker load` reads, with
//! one file more in front: `macula.json`, which says what is in it, with the SHA-256 of every file
//! and where its frame begins. So a reader can take single images out, leave out layers that an
//! engine has, and check each file on its way; and every file that images share (their base) is there once.
//!
//! Writing goes to a folder beside the bundle, `<bundle>.partial`, file by file; a run that was
//! broken off is continued from there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::AnyError;

mod contents;
mod member;
mod read;
mod turns;
mod write;

pub use read::Bundle;
pub use turns::{Turn, turns};
pub use write::{Saved, Writer};

/// Of `macula.json`.
const FORMAT: u32 = 1;
const INDEX: &str = "macula.json";
/// Files of an archive that name its images; each image has its own, and the bundle has them put
/// together.
const NAMES: [&str; 4] = ["manifest.json", "repositories", "index.json", "oci-layout"];

/// Why a bundle was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a bundle of images: {source}", path.display())]
    NotABundle { path: PathBuf, source: AnyError },
    #[error("{} was written by a newer macula (format {found}; this one knows {FORMAT})", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("{} is cut short: it has {have} of {want} bytes", path.display())]
    Cut { path: PathBuf, have: u64, want: u64 },
    #[error("{} is damaged: {file} is not what was saved", path.display())]
    Damaged { path: PathBuf, file: String },
    #[error("{} is being written by another `macula images save`", path.display())]
    Held { path: PathBuf },
    /// Two images of one engine have different files of the same name.
    #[error("the archives of two images disagree on {file}")]
    Clash { file: String },
    /// What the engine gave out is no archive.
    #[error("the engine's archive of {image} cannot be read: {source}")]
    Archive { image: String, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io { path, source }
}

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    format: u32,
    /// `macula 0.1.0`
    pub written_by: String,
    pub platform: String,
    pub images: Vec<Image>,
    /// By their path in the archive.
    files: BTreeMap<String, File>,
    /// Bytes after this index.
    length: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// As the engine gives it, `sha256:...`.
    pub id: String,
    /// Every name that it had, with tags.
    pub references: Vec<String>,
    /// Services that run it.
    pub services: Vec<String>,
    /// Bytes in the engine.
    pub size: u64,
    /// The archive of this image alone, in its order.
    members: Vec<Member>,
}

/// One entry of an image's archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Member {
    Folder {
        path: String,
        mode: u32,
        mtime: u64,
    },
    Link {
        path: String,
        to: String,
        mtime: u64,
    },
    /// One of [`Index::files`].
    File {
        path: String,
        mode: u32,
        mtime: u64,
    },
    /// One of [`NAMES`].
    Names {
        path: String,
        mode: u32,
        mtime: u64,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    /// Bytes.
    size: u64,
    sha256: String,
    /// Where its frame begins, counted from the end of the index.
    at: u64,
    /// Bytes of its frame.
    packed: u64,
}

#[cfg(test)]
mod tests;
