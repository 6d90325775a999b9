//! Reading a bundle: its index, and single images out of it, each file checked on its way.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::contents::{Contents, LARGEST_CONFIG, Manifest};
use super::{BundleError, FORMAT, File, INDEX, Image, Index, Member, io_error, member};
use crate::model::{AnyError, ObservedImage};
use crate::words;

/// An index larger than this is none.
const LARGEST_INDEX: u64 = 64 << 20;
/// What is read at once.
const PIECE: usize = 256 * 1024;

/// A bundle whose index was read.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    index: Index,
    /// Where the index ends: the files' places count from here.
    pub(super) start: u64,
    /// Of each image.
    contents: Vec<Contents>,
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
        let mut bundle = Self { path: path.to_owned(), index, start, contents: Vec::new() };
        // each is found by its id
        let ids: BTreeSet<&str> = bundle.index.images.iter().map(|image| image.id.as_str()).collect();
        if ids.len() != bundle.index.images.len() {
            return Err(not(AnyError::said("it names an image twice".to_owned())));
        }
        let mut members = bundle.index.images.iter().flat_map(|image| &image.members);
        let lost =
            |member: &&Member| matches!(member, Member::File { .. }) && !bundle.index.files.contains_key(member.path());
        if let Some(member) = members.find(lost) {
            return Err(bundle.damaged(member.path()));
        }
        let contents: Result<_, _> = bundle.index.images.iter().map(|image| bundle.contents_of(image)).collect();
        bundle.contents = contents?;
        Ok(bundle)
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// By its id.
    pub fn image(&self, id: &str) -> Option<&Image> {
        self.index.images.iter().find(|image| image.id == id)
    }

    /// The layers of an image as engines count them, the lowest first; none where its archive does not say.
    pub fn layers(&self, image: &Image) -> &[String] {
        self.of(image).map(|contents| contents.layers.as_slice()).unwrap_or_default()
    }

    /// An image as it looks in an engine that has loaded it.
    pub fn observed(&self, image: &Image) -> ObservedImage {
        self.of(image).cloned().unwrap_or_default().observed(image)
    }

    /// Bytes of an image without its lowest layers, so many of which are left out.
    pub fn to_send(&self, image: &Image, leave: usize) -> u64 {
        let left_out = self.of(image).map(|contents| contents.left_out(leave)).unwrap_or_default();
        let sent = image.members.iter().filter(|member| !left_out.contains(member.path()));
        let sizes = sent.filter_map(|member| self.index.files.get(member.path())).map(|file| file.size);
        sizes.fold(0, u64::saturating_add)
    }

    fn of(&self, image: &Image) -> Option<&Contents> {
        let at = self.index.images.iter().position(|known| known.id == image.id)?;
        self.contents.get(at)
    }

    fn contents_of(&self, image: &Image) -> Result<Contents, BundleError> {
        let manifest = image.members.iter().find_map(|member| match member {
            Member::Names { path, text, .. } if path == "manifest.json" => Manifest::read(text),
            _ => None,
        });
        let Some(manifest) = manifest else { return Ok(Contents::default()) };
        let config = self.index.files.get(&manifest.config).filter(|file| file.size <= LARGEST_CONFIG);
        let Some(file) = config else { return Ok(Contents::default()) };
        let mut config = Vec::new();
        let mut keep = |piece: Vec<u8>| {
            config.extend(piece);
            true
        };
        match self.send(&manifest.config, file, &mut keep) {
            // whoever loads this image is told
            Err(BundleError::Damaged { .. }) => return Ok(Contents::default()),
            read => drop(read?),
        }
        Ok(Contents::read(&manifest, &config, &image.members))
    }

    fn damaged(&self, file: &str) -> BundleError {
        BundleError::Damaged { path: self.path.clone(), file: file.to_owned() }
    }

    fn content(&self, file: &File) -> Result<impl Read + use<>, BundleError> {
        let mut disk = fs::File::open(&self.path).map_err(io_error(&self.path))?;
        disk.seek(SeekFrom::Start(self.start.saturating_add(file.at))).map_err(io_error(&self.path))?;
        let frame = BufReader::with_capacity(PIECE, disk.take(file.packed));
        zstd::Decoder::with_buffer(frame).map_err(io_error(&self.path))
    }

    /// One file, piece by piece. Its last piece is given out only when all of it is what was saved: an archive with
    /// a damaged file ends within that file, and no reader takes it for a whole one. False when no more is wanted.
    fn send(&self, name: &str, file: &File, sink: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<bool, BundleError> {
        let mut content = self.content(file)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut held: Option<Vec<u8>> = None;
        loop {
            let mut piece = vec![0; PIECE];
            let read = content.read(&mut piece).map_err(|error| match error.raw_os_error() {
                Some(_) => io_error(&self.path)(error),
                // of the compression
                None => self.damaged(name),
            })?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            hash.update(&piece);
            size += u64::try_from(read).unwrap_or_default();
            if size > file.size {
                return Err(self.damaged(name));
            }
            if let Some(before) = held.replace(piece)
                && !sink(before)
            {
                return Ok(false);
            }
        }
        if size != file.size || words::hex(hash.finalize()) != file.sha256 {
            return Err(self.damaged(name));
        }
        Ok(held.is_none_or(sink))
    }

    /// The archive of one image, piece by piece, as `docker load` takes it, without the content of so many of its
    /// lowest layers. `sink` says whether more is wanted.
    pub fn archive(
        &self,
        image: &Image,
        leave: usize,
        sink: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), BundleError> {
        let io_error = |error| io_error(&self.path)(error);
        let left_out = self.of(image).map(|contents| contents.left_out(leave)).unwrap_or_default();
        for member in image.members.iter().filter(|member| !left_out.contains(member.path())) {
            let bytes = match member {
                Member::Names { path, mode, mtime, text } => member::small(path, *mode, *mtime, text.as_bytes()),
                other => other.header(self.index.files.get(other.path()).map_or(0, |file| file.size)),
            };
            if !sink(bytes.map_err(io_error)?) {
                return Ok(());
            }
            let Some(file) = self.index.files.get(member.path()) else { continue };
            if !self.send(member.path(), file, sink)? || !sink(member::padding(file.size)) {
                return Ok(());
            }
        }
        sink(member::end());
        Ok(())
    }
}
