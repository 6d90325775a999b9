//! What is stored and how it survives: an index that knows every name, and files that know none.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

mod blobs;
mod index;
mod record;
mod takeover;

pub use blobs::{Draft, Pin};
pub use index::{Look, Tables, View};
pub use record::{Attributes, Bucket, Object, Part, Piece, Upload};

use blobs::Blobs;
use index::Index;

use super::error::{Code, Error, Result};
use super::time;
use crate::model::is_bucket_name;

/// Everything of ours below the folder. Its name is not a bucket's, so that nothing of an older
/// store can be in its place.
const FOLDER: &str = ".macula-s3";

pub struct Store {
    index: Index,
    blobs: Arc<Blobs>,
    /// Buckets that are to be there, one a line, and what was last seen of the file.
    wanted: Option<PathBuf>,
    seen: Mutex<Option<String>>,
}

impl Store {
    /// Opens or makes the store in a folder, and takes over what an older server left there.
    ///
    /// # Errors
    /// A folder that cannot be written, a store of a newer version, or one that another process has
    /// open.
    pub async fn open(folder: &Path, wanted: Option<PathBuf>) -> Result<Self> {
        let own = folder.join(FOLDER);
        std::fs::create_dir_all(&own)?;
        let blobs = Blobs::open(own.join("blobs"))?;
        let index = Index::open(&own.join("index.redb"), blobs.clone())?;
        let store = Self { index, blobs, wanted, seen: Mutex::default() };
        store.sweep()?;
        takeover::run(&store, folder).await?;
        store.make_wanted().await?;
        Ok(store)
    }

    /// Removes the files that no object is made of: a killed server leaves those that it was
    /// writing.
    fn sweep(&self) -> Result<()> {
        let found = self.blobs.list()?;
        let used: HashSet<u64> = self.read(|view| view.pieces())?.into_iter().map(|piece| piece.blob).collect();
        let left = self.blobs.sweep(found, &used);
        if left > 0 {
            tracing::info!("{left} unfinished files of the store were removed");
        }
        Ok(())
    }

    pub fn read<T>(&self, look: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        self.index.read(look)
    }

    /// Why nothing can be stored, where that is so.
    pub fn trouble(&self) -> Option<Error> {
        self.index.trouble()
    }

    /// As `Index::write`.
    pub async fn write<T: Send + 'static>(
        &self,
        drafts: Vec<Draft>,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(T, Vec<Piece>)> + Send + 'static,
    ) -> Result<T> {
        self.index.write(drafts, change).await
    }

    pub async fn draft(&self) -> io::Result<Draft> {
        self.blobs.draft().await
    }

    /// An object, and a hold on its content.
    ///
    /// # Errors
    /// `NoSuchKey`.
    pub fn object(&self, bucket: &str, key: &str) -> Result<(Object, Pin)> {
        let look = || self.read(|view| view.object(bucket, key)?.ok_or_else(|| Code::NoSuchKey.into()));
        self.blobs.pin(look, |object: &Object| object.pieces.clone())
    }

    /// A hold on files that are known already.
    pub fn pin(&self, pieces: Vec<Piece>) -> Pin {
        self.blobs.hold(pieces)
    }

    /// The same files under second names, for an object with the same content.
    pub async fn share(&self, pin: &Pin) -> io::Result<Vec<Draft>> {
        let drafts = (0..pin.pieces().len()).map(|piece| self.blobs.adopt(&pin.path(piece)?));
        let drafts = drafts.collect::<io::Result<Vec<_>>>()?;
        self.blobs.sync_names(&drafts).await?;
        Ok(drafts)
    }

    /// A bucket, which may be one that the platform has asked for a moment ago.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn bucket(&self, name: &str) -> Result<Bucket> {
        match self.read(|view| view.bucket(name)) {
            Err(error) if error.code == Code::NoSuchBucket && self.make_wanted().await? => {
                self.read(|view| view.bucket(name))
            }
            found => found,
        }
    }

    /// Makes the buckets that are asked for. False if nothing has changed since the last time.
    pub async fn make_wanted(&self) -> Result<bool> {
        let Some(file) = &self.wanted else { return Ok(false) };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&text) {
            return Ok(false);
        }
        let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if let Some(bad) = names.iter().find(|name| !is_bucket_name(name)) {
            return Err(Error::new(
                Code::InvalidBucketName,
                format!("{}: not a valid bucket name: {bad}", file.display()),
            ));
        }
        self.write(Vec::new(), move |tables| {
            for name in names {
                ensure(tables, &name)?;
            }
            Ok(((), Vec::new()))
        })
        .await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        Ok(true)
    }
}

/// Makes a bucket that is not there.
fn ensure(tables: &mut Tables<'_>, name: &str) -> Result<()> {
    match tables.bucket(name) {
        Err(error) if error.code == Code::NoSuchBucket => {
            tables.put_bucket(name, &Bucket { created: time::now(), ..Bucket::default() })
        }
        found => found.map(|_| ()),
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
