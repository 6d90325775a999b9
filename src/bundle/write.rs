//! Writing a bundle: every file of every image goes compressed into a folder, once; then all of
//! them are put one behind the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{BundleError, FORMAT, File, INDEX, Image, Index, Member, NAMES, io_error, member};
use crate::words;

/// zstd's own default: some 300 MB a second on one core, a third of the size for Debian's files.
const LEVEL: i32 = 3;
/// A file that names images and is larger than this is none.
const LARGEST_NAMES: u64 = 16 << 20;

/// A bundle that is being written.
#[derive(Debug)]
pub struct Writer {
    /// Where it will lie.
    target: PathBuf,
    /// `<target>.partial`: holds `<sha256>.zst` files and one `<image>.json` for each image that is
    /// complete.
    folder: PathBuf,
    images: Vec<Image>,
    files: BTreeMap<String, File>,
    /// Of the folder, for as long as this lives: two that write there would write into each other's files.
    _lock: fs::File,
}

/// What came of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub images: usize,
    /// Bytes of the file.
    pub size: u64,
}

/// What is kept of an image that is complete.
#[derive(Serialize, Deserialize)]
struct Complete {
    image: Image,
    files: BTreeMap<String, File>,
}

impl Writer {
    /// Begins, or goes on with what an earlier run left.
    pub fn open(target: &Path) -> Result<Self, BundleError> {
        let mut folder = target.as_os_str().to_owned();
        folder.push(".partial");
        let folder = PathBuf::from(folder);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        let path = folder.join("lock");
        let lock = fs::File::create(&path).map_err(io_error(&path))?;
        // a share that knows no locks is written to without one
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(BundleError::Held { path: target.to_owned() });
        }
        Ok(Self { target: target.to_owned(), folder, images: Vec::new(), files: BTreeMap::new(), _lock: lock })
    }

    fn record(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{}.json", id.trim_start_matches("sha256:")))
    }

    fn packed(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}.zst"))
    }

    /// Takes over an image that an earlier run has saved whole, with its present names; false when
    /// there is none.
    pub fn resume(&mut self, id: &str, references: &[String], services: &[String]) -> bool {
        let kept = fs::read(self.record(id)).ok().and_then(|text| serde_json::from_slice::<Complete>(&text).ok());
        let Some(Complete { mut image, files }) = kept else { return false };
        let whole = |file: &File| fs::metadata(self.packed(&file.sha256)).is_ok_and(|found| found.len() == file.packed);
        let agrees = |(path, file): (&String, &File)| self.files.get(path).is_none_or(|known| known == file);
        if image.id != id || image.references != references || !files.values().all(whole) || !files.iter().all(agrees) {
            return false;
        }
        image.services = services.to_vec();
        self.files.extend(files);
        self.images.push(image);
        true
    }

    /// Reads the archive that the engine gives for one image, to its end.
    pub fn add(
        &mut self,
        id: &str,
        references: &[String],
        services: &[String],
        size: u64,
        archive: impl Read,
    ) -> Result<(), BundleError> {
        let broken = |source: io::Error| BundleError::Archive {
            image: references.first().cloned().unwrap_or_else(|| id.to_owned()),
            source,
        };
        let mut archive = tar::Archive::new(archive);
        let mut members = Vec::new();
        let mut files = BTreeMap::new();
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let header = entry.header();
            let (mode, mtime) = (header.mode().unwrap_or(0o644), header.mtime().unwrap_or_default());
            let kind = header.entry_type();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if kind.is_dir() {
                members.push(Member::Folder { path, mode, mtime });
            } else if kind.is_symlink() || kind.is_hard_link() {
                let to = entry.link_name_bytes().unwrap_or_default();
                members.push(Member::Link { path, to: String::from_utf8_lossy(&to).into_owned(), mtime });
            } else if NAMES.contains(&path.as_str()) {
                let mut text = String::new();
                (&mut entry).take(LARGEST_NAMES).read_to_string(&mut text).map_err(broken)?;
                members.push(Member::Names { path, mode, mtime, text });
            } else if kind.is_file() {
                let file = self.file(&path, entry.size(), &mut entry, &broken)?;
                files.insert(path.clone(), file);
                members.push(Member::File { path, mode, mtime });
            }
        }
        // what stands behind the end of an archive; and whether there is one, or it broke off
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
        let services = services.to_vec();
        let image = Image { id: id.to_owned(), references: references.to_vec(), services, size, members };
        let complete = Complete { image, files };
        let text = serde_json::to_vec(&complete).map_err(|error| broken(io::Error::other(error)))?;
        let record = self.record(id);
        write_renamed(&record, |out| out.write_all(&text))?;
        self.files.extend(complete.files);
        self.images.push(complete.image);
        Ok(())
    }

    /// Keeps the content of one file, compressed, under its hash.
    fn file(
        &self,
        path: &str,
        size: u64,
        content: &mut impl Read,
        broken: &dyn Fn(io::Error) -> BundleError,
    ) -> Result<File, BundleError> {
        if let Some(known) = self.files.get(path) {
            // shared with an image before: only that it is the same is to be seen
            let sha256 = copy_hashed(content, &mut io::sink()).map_err(|fault| fault.of(path.as_ref(), broken))?;
            let same = known.sha256 == sha256 && known.size == size;
            return if same { Ok(known.clone()) } else { Err(BundleError::Clash { file: path.to_owned() }) };
        }
        let scratch = self.folder.join("writing");
        let out = fs::File::create(&scratch).map_err(io_error(&scratch))?;
        let mut packer = packer(BufWriter::new(out)).map_err(io_error(&scratch))?;
        let sha256 = copy_hashed(content, &mut packer).map_err(|fault| fault.of(&scratch, broken))?;
        let out = packer.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        let packed = out.and_then(|out| out.metadata()).map_err(io_error(&scratch))?.len();
        let place = self.packed(&sha256);
        fs::rename(&scratch, &place).map_err(io_error(&place))?;
        Ok(File { size, sha256, at: 0, packed })
    }

    /// Puts everything together and removes the folder.
    pub fn finish(self, written_by: &str, platform: &str) -> Result<Saved, BundleError> {
        let broken = |source: io::Error| BundleError::Archive { image: platform.to_owned(), source };
        // between two files lie headers and padding, a small frame of their own
        let mut gaps: Vec<Vec<u8>> = Vec::new();
        let mut files = self.files.clone();
        let mut order: Vec<String> = Vec::new();
        let mut pending = Vec::new();
        let mut at = 0;
        let mut written = std::collections::BTreeSet::new();
        for member in self.images.iter().flat_map(|image| &image.members) {
            if matches!(member, Member::Names { .. }) || !written.insert(member.path()) {
                continue;
            }
            let file = files.get_mut(member.path()).filter(|_| matches!(member, Member::File { .. }));
            pending.extend(member.header(file.as_ref().map_or(0, |file| file.size)).map_err(broken)?);
            if let Some(file) = file {
                let gap = pack(&pending).map_err(broken)?;
                at += length(&gap);
                gaps.push(gap);
                file.at = at;
                at += file.packed;
                order.push(member.path().to_owned());
                pending = member::padding(file.size);
            }
        }
        for (path, text) in merged_names(&self.images).map_err(broken)? {
            pending.extend(member::small(path, 0o644, 0, text.as_bytes()).map_err(broken)?);
        }
        pending.extend(member::end());
        let tail = pack(&pending).map_err(broken)?;
        let index = Index {
            format: FORMAT,
            written_by: written_by.to_owned(),
            platform: platform.to_owned(),
            images: self.images.clone(),
            length: at + length(&tail),
            files,
        };
        let text = serde_json::to_vec_pretty(&index).map_err(|error| broken(io::Error::other(error)))?;
        let head = member::small(INDEX, 0o644, 0, &text).and_then(|bytes| pack(&bytes)).map_err(broken)?;
        write_renamed(&self.target, |out| {
            out.write_all(&head)?;
            for (gap, path) in gaps.iter().zip(&order) {
                out.write_all(gap)?;
                let sha256 = index.files.get(path).map(|file| file.sha256.as_str()).unwrap_or_default();
                io::copy(&mut fs::File::open(self.packed(sha256))?, out)?;
            }
            out.write_all(&tail)
        })?;
        fs::remove_dir_all(&self.folder).map_err(io_error(&self.folder))?;
        Ok(Saved { images: self.images.len(), size: length(&head) + index.length })
    }
}

/// Either side of a copy.
enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Fault {
    fn of(self, path: &Path, broken: &dyn Fn(io::Error) -> BundleError) -> BundleError {
        match self {
            Self::Read(error) => broken(error),
            Self::Write(error) => io_error(path)(error),
        }
    }
}

/// SHA-256 of what went through, in hexadecimal.
fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> Result<String, Fault> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(words::hex(hash.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Read(error)),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        to.write_all(piece).map_err(Fault::Write)?;
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A frame with a checksum.
fn packer<W: Write>(out: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut packer = zstd::Encoder::new(out, LEVEL)?;
    packer.include_checksum(true)?;
    Ok(packer)
}

fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = packer(Vec::new())?;
    packer.write_all(bytes)?;
    packer.finish()
}

/// Beside the target first, then renamed: nobody sees half of it.
fn write_renamed(
    target: &Path,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>,
) -> Result<(), BundleError> {
    let mut scratch = target.as_os_str().to_owned();
    scratch.push(".writing");
    let scratch = PathBuf::from(scratch);
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(&scratch)?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&scratch, target)
    })();
    written.map_err(|error| {
        // the space is wanted for the next try; that it could not be removed is the lesser news
        let _ = fs::remove_file(&scratch);
        io_error(target)(error)
    })
}

/// The files that name images, of all images together: lists are put one behind the other, maps
/// into each other.
fn merged_names(images: &[Image]) -> io::Result<Vec<(&'static str, String)>> {
    let mut merged: BTreeMap<&str, Value> = BTreeMap::new();
    for (path, text) in images.iter().flat_map(|image| &image.members).filter_map(|member| match member {
        Member::Names { path, text, .. } => Some((path, text)),
        _ => None,
    }) {
        let value: Value = serde_json::from_str(text)?;
        match merged.get_mut(path.as_str()) {
            Some(known) => merge(known, value),
            None => drop(merged.insert(path, value)),
        }
    }
    Ok(NAMES.into_iter().filter_map(|name| Some((name, merged.get(name)?.to_string()))).collect())
}

fn merge(known: &mut Value, more: Value) {
    match (known, more) {
        (Value::Array(known), Value::Array(more)) => {
            for value in more {
                if !known.contains(&value) {
                    known.push(value);
                }
            }
        }
        (Value::Object(known), Value::Object(more)) => merge_maps(known, more),
        (known, more) => *known = more,
    }
}

fn merge_maps(known: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match known.get_mut(&key) {
            Some(known) => merge(known, value),
            None => drop(known.insert(key, value)),
        }
    }
}
