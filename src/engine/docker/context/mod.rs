//! The context of a build as a stream of tar, without what `.dockerignore` leaves out
//! (<https://docs.docker.com/build/concepts/context/#dockerignore-files>).

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

mod copied;
mod rules;

pub use copied::{changed_here, pack_copy};
pub use rules::Ignore;
use rules::read_rules;

/// The Dockerfile's name in the context: one that no context holds and no `.dockerignore` names.
pub(super) const DOCKERFILE: &str = ".macula.Dockerfile";
/// The file of rules that says what stays out.
const IGNORE: &str = ".dockerignore";
/// Podman's own, which it reads instead of the other.
const PODMAN_IGNORE: &str = ".containerignore";
/// Bytes in one piece of the stream.
const CHUNK: usize = 128 * 1024;
/// A larger file counts as changed when its size or time is: bytes.
const LARGEST_READ: u64 = 16 << 20;
/// Pieces that wait for the engine.
const WAITING: usize = 8;

/// Packs on a thread of its own while the engine reads. A folder that cannot be read ends the
/// stream with an error. `podman`: for its builder, which applies the rules once more.
pub(super) fn stream_context(
    dockerfile: String,
    folders: Vec<(PathBuf, String)>,
    rules: Option<String>,
    podman: bool,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut writer = Pieces { sender: sender.clone(), piece: Vec::with_capacity(CHUNK) };
        let packed = pack(&dockerfile, &folders, rules.as_deref(), podman, &mut writer).and_then(|()| writer.flush());
        if let Err(error) = packed {
            // a closed channel means that the build has ended already: nobody is left to tell
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) })
}

struct Pieces {
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn pack(
    dockerfile: &str,
    folders: &[(PathBuf, String)],
    own: Option<&str>,
    podman: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.follow_symlinks(false);
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, DOCKERFILE, dockerfile.as_bytes())?;
    let mut hidden: &[&str] = &[];
    for (folder, inside) in folders {
        let inside = inside.trim_matches('/');
        if inside.is_empty() {
            let rules = match own {
                Some(own) => Some(own.to_owned()),
                None if podman => read_rules(&folder.join(PODMAN_IGNORE))?.or(read_rules(&folder.join(IGNORE))?),
                None => read_rules(&folder.join(IGNORE))?,
            };
            // the builder takes what these rules name out of the context once it has read it: our
            // Dockerfile, which must not come into anybody's image, and none of the other folders
            let others = folders.iter().map(|(_, inside)| inside.trim_matches('/')).filter(|inside| !inside.is_empty());
            let back: String = others.map(|inside| format!("!{inside}\n")).collect();
            let rules = match rules {
                Some(rules) => format!("{}\n{back}{DOCKERFILE}\n", rules.trim_end()),
                None => format!("{IGNORE}\n{DOCKERFILE}\n"),
            };
            header.set_size(rules.len() as u64);
            builder.append_data(&mut header, IGNORE, rules.as_bytes())?;
            hidden = if podman { &[IGNORE, PODMAN_IGNORE] } else { &[IGNORE] };
        }
        let ignore = if inside.is_empty() { Ignore::of(folder, own)? } else { Ignore::default() };
        let mut packer = Packer { builder: &mut builder, hidden };
        let mut walk = Walk { out: &mut packer, ignore, only: None };
        walk.root(folder, inside).map_err(|error| named(folder, error))?;
    }
    builder.finish()
}

/// What the files of contexts held when somebody last looked: one with the same size and times is not
/// read again. It is lost without harm.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ContextCache {
    files: HashMap<PathBuf, Seen>,
    #[serde(skip)]
    changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    stamp: Stamp,
    digest: String,
}

/// What changes with a file's content. The inode and the time of its change betray whoever sets the
/// other time back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stamp(u64, u64, i64, i64, i64, i64);

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let m = metadata;
        Self(m.size(), m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
    }

    /// A file that was just changed may change again within the same tick of the clock.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(now).is_ok_and(|now| now - self.4 > 2)
    }
}

impl ContextCache {
    /// What was written last. A file that is not there, or not readable, knows nothing.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Keeps it, where there is anything new.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(&temporary, path)
    }

    /// What a build of this folder would send, as a digest: names, modes and contents, without what
    /// `.dockerignore` leaves out, or the rules given in its place, and what macula writes itself. Of a file of more than
    /// 16 MiB its size and time of change.
    ///
    /// # Errors
    /// A file or folder that cannot be read.
    pub fn digest(&mut self, folder: &Path, rules: Option<&str>) -> io::Result<String> {
        let ignore = Ignore::of(folder, rules)?;
        let mut seen = Digest { hash: Sha256::new(), known: self, seen: HashMap::new() };
        let mut walk = Walk { out: &mut seen, ignore, only: None };
        walk.folder(folder, "", "").map_err(|error| named(folder, error))?;
        let Digest { hash, seen, .. } = seen;
        // files that are gone are forgotten
        let before = self.files.len();
        self.files.retain(|path, _| !path.starts_with(folder) || seen.contains_key(path));
        self.changed |= self.files.len() != before;
        self.files.extend(seen);
        Ok(hex(hash))
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file that a build of this folder sends, folders before what is in them. `only`: nothing but these paths of the
/// context, with what is above and below them.
pub(super) fn entries(
    folder: &Path,
    inside: &str,
    rules: Option<&str>,
    only: Option<&[String]>,
) -> io::Result<Vec<ContextEntry>> {
    let inside = inside.trim_matches('/');
    let ignore = if inside.is_empty() { Ignore::of(folder, rules)? } else { Ignore::default() };
    let mut found = Vec::new();
    let mut walk = Walk { out: &mut found, ignore, only };
    walk.root(folder, inside).map_err(|error| named(folder, error))?;
    Ok(found)
}

/// A file, folder or link of a context.
pub(super) struct ContextEntry {
    pub path: PathBuf,
    /// Its path in the context.
    pub target: String,
    pub metadata: std::fs::Metadata,
}

impl Sink for Vec<ContextEntry> {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()> {
        self.push(ContextEntry { path: path.to_owned(), target: target.to_owned(), metadata: metadata.clone() });
        Ok(())
    }
}

/// What is done with each entry of a context.
trait Sink {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()>;
}

struct Digest<'a> {
    hash: Sha256,
    known: &'a mut ContextCache,
    seen: HashMap<PathBuf, Seen>,
}

impl Digest<'_> {
    fn content(&mut self, path: &Path, metadata: &std::fs::Metadata) -> io::Result<String> {
        let stamp = Stamp::of(metadata);
        if let Some(known) = self.known.files.get(path).filter(|known| known.stamp == stamp) {
            let known = known.clone();
            let digest = known.digest.clone();
            self.seen.insert(path.to_owned(), known);
            return Ok(digest);
        }
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(path)?;
        let mut piece = vec![0; CHUNK];
        loop {
            let length = io::Read::read(&mut file, &mut piece)?;
            if length == 0 {
                break;
            }
            hash.update(piece.get(..length).unwrap_or_default());
        }
        let digest = hex(hash);
        if stamp.is_settled() {
            self.known.changed = true;
            self.seen.insert(path.to_owned(), Seen { stamp, digest: digest.clone() });
        }
        Ok(digest)
    }
}

/// What macula itself writes beside the project's files: it is sent, too, but no reason for another build.
fn is_own(target: &str) -> bool {
    matches!(target, "macula.yaml" | "macula.yml" | "macula.lock")
        || target.starts_with("macula-report-") && target.ends_with(".tar") && !target.contains('/')
}

impl Sink for Digest<'_> {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        if kind.is_file() && is_own(target) {
            return Ok(());
        }
        let content = if kind.is_symlink() {
            std::fs::read_link(path)?.as_os_str().as_bytes().to_vec()
        } else if kind.is_file() && metadata.len() <= LARGEST_READ {
            self.content(path, metadata)?.into_bytes()
        } else if kind.is_file() {
            format!("{} {} {}", metadata.len(), metadata.mtime(), metadata.mtime_nsec()).into_bytes()
        } else {
            Vec::new()
        };
        for part in [target.as_bytes(), &metadata.permissions().mode().to_be_bytes(), &content] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        Ok(())
    }
}

/// An error of the disk says nothing of the path.
fn named(path: &Path, error: io::Error) -> io::Error {
    if error.to_string().contains('/') {
        return error;
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

struct Packer<'a, 'b> {
    builder: &'a mut tar::Builder<&'b mut dyn Write>,
    /// What of the root is not packed: the rules are in the archive already.
    hidden: &'a [&'a str],
}

struct Walk<'a> {
    out: &'a mut dyn Sink,
    ignore: Ignore,
    /// Where it is set, nothing but these paths of the context, with what is above and below them.
    only: Option<&'a [String]>,
}

impl Walk<'_> {
    /// What is in a folder, or one file, which becomes `inside`.
    fn root(&mut self, root: &Path, inside: &str) -> io::Result<()> {
        let metadata = std::fs::metadata(root)?;
        if metadata.is_dir() || inside.is_empty() {
            return self.folder(root, inside, "");
        }
        if self.passes_by(inside) {
            return Ok(());
        }
        self.out.entry(root, inside, &metadata)
    }

    /// Nobody has to look at this path, which may be one that nobody can.
    fn passes_by(&self, target: &str) -> bool {
        let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let is_meant = |path: &String| path == target || is_below(path, target) || is_below(target, path);
        self.only.is_some_and(|only| !only.iter().any(is_meant))
    }

    /// `relative` is the folder's path below the root of this context, for the patterns.
    fn folder(&mut self, folder: &Path, inside: &str, relative: &str) -> io::Result<()> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .map_err(|error| named(folder, error))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()?;
        // the same files give the same archive
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let name = name.to_string_lossy();
            let below = join(relative, &name);
            let target = join(inside, &below);
            if self.passes_by(&target) {
                continue;
            }
            let metadata = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found.map_err(|error| named(&path, error))?,
            };
            let left_out = self.ignore.leaves_out(&below);
            if left_out && !(metadata.is_dir() && self.ignore.may_take_back_below(&below)) {
                continue;
            }
            if !left_out {
                unless_gone(self.out.entry(&path, &target, &metadata)).map_err(|error| named(&path, error))?;
            }
            if metadata.is_dir() {
                unless_gone(self.folder(&path, inside, &below))?;
            }
        }
        Ok(())
    }
}

/// What goes while somebody looks, as the files of programs at work do, is no part of a context.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Sink for Packer<'_, '_> {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()> {
        if self.hidden.contains(&target) {
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(metadata, tar::HeaderMode::Complete);
        // whoever built it, the files in the image belong to root
        header.set_uid(0);
        header.set_gid(0);
        let kind = metadata.file_type();
        if kind.is_file() {
            std::fs::File::open(path).and_then(|file| {
                // a file that grows or shrinks meanwhile must not shift what follows it
                let size = metadata.len();
                let padded = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
                self.builder.append_data(&mut header, target, padded)
            })
        } else if kind.is_symlink() {
            header.set_size(0);
            std::fs::read_link(path).and_then(|link| self.builder.append_link(&mut header, target, link))
        } else if kind.is_dir() {
            header.set_size(0);
            self.builder.append_data(&mut header, format!("{target}/"), io::empty())
        } else {
            // sockets, pipes and devices are no part of a context
            Ok(())
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests;
