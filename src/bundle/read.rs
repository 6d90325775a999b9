//! Reading a bundle: its index, a check of everything in it, and single images out of it.

use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{BundleError, FORMAT, File, INDEX, Image, Index, Member, io_error, member};
use crate::model::AnyError;
use crate::words;

/// An index larger than this is none.
const LARGEST_INDEX: u64 = 64 << 20;

/// A bundle whose index was read.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    index: Index,
    /// Where the index ends: the files' places count from here.
    pub(super) start: u64,
}

impl Bundle {
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let not = |source: AnyError| BundleError::NotABundle { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(io_error(path))?;
        let have = file.metadata().map_err(io_error(path))?.len();
        let unpacker = zstd::Decoder::new(file).map_err(io_error(path))?.single_frame();
        let mut archive = tar::Archive::new(unpacker.take(LARGEST_INDEX));
        let text = (|| {
            let mut first = archive.entries()?.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            if first.path_bytes().as_ref() != INDEX.as_bytes() {
                return Err(io::Error::other(format!("it does not begin with {INDEX}")));
            }
            let mut text = String::new();
            first.read_to_string(&mut text)?;
            Ok(text)
        })()
        .map_err(|error| not(error.into()))?;
        // to the end of the frame, whose checksum is looked at there
        let mut unpacker = archive.into_inner();
        io::copy(&mut unpacker, &mut io::sink()).map_err(|error| not(error.into()))?;
        let start = unpacker.into_inner().finish().stream_position().map_err(io_error(path))?;

        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| not(error.into()))?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        match u32::try_from(found) {
            Ok(FORMAT) => {}
            Ok(found) if found > FORMAT => return Err(BundleError::Newer { path: path.to_owned(), found }),
            _ => return Err(not(AnyError::said(format!("its format is {found}")))),
        }
        let index: Index = serde_json::from_value(value).map_err(|error| not(error.into()))?;
        let want = start.saturating_add(index.length);
        if have != want {
            return Err(BundleError::Cut { path: path.to_owned(), have, want });
        }
        Ok(Self { path: path.to_owned(), index, start })
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Bytes that [`Bundle::verify`] reads.
    pub fn unpacked(&self) -> u64 {
        self.index.files.values().map(|file| file.size).sum()
    }

    /// Looks at every file: is it what was saved? `progress` is told how many bytes were seen,
    /// and says whether to go on; false when it said no.
    pub fn verify(&self, progress: &mut dyn FnMut(u64) -> bool) -> Result<bool, BundleError> {
        let mut seen = 0;
        let mut buffer = vec![0; 256 * 1024];
        for (name, file) in &self.index.files {
            let damaged = || BundleError::Damaged { path: self.path.clone(), file: name.clone() };
            let mut content = self.content(file)?;
            let (mut hash, mut size) = (Sha256::new(), 0);
            loop {
                let read = content.read(&mut buffer).map_err(|_| damaged())?;
                if read == 0 {
                    break;
                }
                hash.update(buffer.get(..read).unwrap_or_default());
                size += u64::try_from(read).unwrap_or_default();
                if !progress(seen + size) {
                    return Ok(false);
                }
            }
            if size != file.size || words::hex(hash.finalize()) != file.sha256 {
                return Err(damaged());
            }
            seen += size;
        }
        for member in self.index.images.iter().flat_map(|image| &image.members) {
            if matches!(member, Member::File { .. }) && !self.index.files.contains_key(member.path()) {
                return Err(BundleError::Damaged { path: self.path.clone(), file: member.path().to_owned() });
            }
        }
        Ok(true)
    }

    fn content(&self, file: &File) -> Result<impl Read + use<>, BundleError> {
        let mut disk = fs::File::open(&self.path).map_err(io_error(&self.path))?;
        disk.seek(SeekFrom::Start(self.start.saturating_add(file.at))).map_err(io_error(&self.path))?;
        let frame = BufReader::with_capacity(256 * 1024, disk.take(file.packed));
        zstd::Decoder::with_buffer(frame).map_err(io_error(&self.path))
    }

    /// The archive of one image, piece by piece, as `docker load` takes it. `sink` says whether more
    /// is wanted.
    pub fn archive(&self, image: &Image, sink: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<(), BundleError> {
        let io_error = |error| io_error(&self.path)(error);
        for member in &image.members {
            let bytes = match member {
                Member::Names { path, mode, mtime, text } => member::small(path, *mode, *mtime, text.as_bytes()),
                other => other.header(self.index.files.get(other.path()).map_or(0, |file| file.size)),
            };
            if !sink(bytes.map_err(io_error)?) {
                return Ok(());
            }
            let Some(file) = self.index.files.get(member.path()) else { continue };
            let mut content = self.content(file)?;
            loop {
                let mut piece = vec![0; 256 * 1024];
                let read = content.read(&mut piece).map_err(io_error)?;
                if read == 0 {
                    break;
                }
                piece.truncate(read);
                if !sink(piece) {
                    return Ok(());
                }
            }
            if !sink(member::padding(file.size)) {
                return Ok(());
            }
        }
        sink(member::end());
        Ok(())
    }
}
