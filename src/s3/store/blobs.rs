//! The content of objects: files named by a number that chance gives them. No name of a client's
//! ever becomes part of a path.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Piece;

#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    pins: Mutex<HashMap<u64, Pinned>>,
}

/// A file that somebody reads.
#[derive(Debug, Default)]
struct Pinned {
    readers: usize,
    /// To be removed with the last reader.
    doomed: bool,
}

impl Blobs {
    pub fn open(folder: PathBuf) -> io::Result<Arc<Self>> {
        for first in 0..=u8::MAX {
            std::fs::create_dir_all(folder.join(format!("{first:02x}")))?;
        }
        Ok(Arc::new(Self { folder, pins: Mutex::default() }))
    }

    fn folder_of(&self, blob: u64) -> PathBuf {
        self.folder.join(format!("{:02x}", blob >> 56))
    }

    fn path(&self, blob: u64) -> PathBuf {
        self.folder_of(blob).join(format!("{blob:016x}"))
    }

    /// A new file; it goes away again unless it is kept.
    pub async fn draft(self: &Arc<Self>) -> io::Result<Draft> {
        let (blob, path) = self.free()?;
        let file = File::options().write(true).create_new(true).open(path).await?;
        Ok(Draft { blobs: self.clone(), blob, size: 0, file: Some(file), kept: false })
    }

    /// A new file with the content of another one, which lies on the same file system: by a second
    /// name where that is possible, so that taking over a large store costs no time and no space.
    /// The index may name it after [`Blobs::sync_names`].
    pub fn adopt(self: &Arc<Self>, other: &Path) -> io::Result<Draft> {
        let (blob, path) = self.free()?;
        if std::fs::hard_link(other, &path).is_err() {
            std::fs::copy(other, &path)?;
            // what it is a copy of may be gone as soon as the index is written
            std::fs::File::open(&path)?.sync_all()?;
        }
        let size = std::fs::metadata(&path)?.len();
        Ok(Draft { blobs: self.clone(), blob, size, file: None, kept: false })
    }

    /// The names of files that were adopted are on the disk: the others may be gone as soon as the
    /// index is written. (A new file's name gets there with its content.)
    pub async fn sync_names(&self, drafts: &[Draft]) -> io::Result<()> {
        let folders: HashSet<PathBuf> = drafts.iter().map(|draft| self.folder_of(draft.blob)).collect();
        for folder in folders {
            File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    fn free(&self) -> io::Result<(u64, PathBuf)> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let blob = u64::from_be_bytes(bytes);
        Ok((blob, self.path(blob)))
    }

    /// Looks something up and holds on to the files that it found: nobody removes them before the
    /// reader is gone. Both happen at once, so that no removal gets in between.
    pub fn pin<T, E>(
        self: &Arc<Self>,
        look: impl FnOnce() -> Result<T, E>,
        pieces: impl FnOnce(&T) -> Vec<Piece>,
    ) -> Result<(T, Pin), E> {
        let mut pins = self.pins();
        let found = look()?;
        let pieces = pieces(&found);
        Ok((found, self.hold_with(&mut pins, pieces)))
    }

    pub fn hold(self: &Arc<Self>, pieces: Vec<Piece>) -> Pin {
        self.hold_with(&mut self.pins(), pieces)
    }

    fn hold_with(self: &Arc<Self>, pins: &mut HashMap<u64, Pinned>, pieces: Vec<Piece>) -> Pin {
        for piece in &pieces {
            pins.entry(piece.blob).or_default().readers += 1;
        }
        Pin { blobs: self.clone(), pieces }
    }

    /// Removes files that the index no longer names.
    pub fn discard(&self, pieces: &[Piece]) {
        let mut pins = self.pins();
        for piece in pieces {
            match pins.get_mut(&piece.blob) {
                Some(pinned) => pinned.doomed = true,
                None => self.remove(piece.blob),
            }
        }
    }

    fn remove(&self, blob: u64) {
        if let Err(error) = std::fs::remove_file(self.path(blob)) {
            tracing::warn!(%error, "a file of the store could not be removed: {blob:016x}");
        }
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<u64, Pinned>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files that are there now.
    pub fn list(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for folder in std::fs::read_dir(&self.folder)? {
            for file in std::fs::read_dir(folder?.path())? {
                let name = file?.file_name();
                found.extend(name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok()));
            }
        }
        Ok(found)
    }

    /// Removes those of `found` that are not in use: what a killed upload has left.
    pub fn sweep(&self, found: Vec<u64>, used: &HashSet<u64>) -> usize {
        let left: Vec<u64> = found.into_iter().filter(|blob| !used.contains(blob)).collect();
        left.iter().for_each(|blob| self.remove(*blob));
        left.len()
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Draft {
    blobs: Arc<Blobs>,
    blob: u64,
    size: u64,
    file: Option<File>,
    kept: bool,
}

impl Draft {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes).await?;
            self.size += bytes.len() as u64;
        }
        Ok(())
    }

    /// Everything is on the disk, whatever happens to the machine.
    pub async fn finish(&mut self) -> io::Result<Piece> {
        if let Some(mut file) = self.file.take() {
            file.flush().await?;
            file.sync_all().await?;
        }
        Ok(self.piece())
    }

    pub fn piece(&self) -> Piece {
        Piece { blob: self.blob, size: self.size }
    }

    /// The index names it now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.remove(self.blob);
        }
    }
}

/// Files that stay as long as this is held.
#[derive(Debug)]
pub struct Pin {
    blobs: Arc<Blobs>,
    pieces: Vec<Piece>,
}

impl Pin {
    pub fn path(&self, piece: usize) -> io::Result<PathBuf> {
        let piece = self.pieces.get(piece).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.blobs.path(piece.blob))
    }

    pub async fn open(&self, piece: usize) -> io::Result<File> {
        File::open(self.path(piece)?).await
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.blobs.pins();
        for piece in &self.pieces {
            let Some(pinned) = pins.get_mut(&piece.blob) else { continue };
            pinned.readers -= 1;
            if pinned.readers == 0 {
                let doomed = pinned.doomed;
                pins.remove(&piece.blob);
                if doomed {
                    self.blobs.remove(piece.blob);
                }
            }
        }
    }
}
