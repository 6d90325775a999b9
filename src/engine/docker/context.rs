//! The context of a build as a stream of tar, without what `.dockerignore` leaves out
//! (<https://docs.docker.com/build/concepts/context/#dockerignore-files>).

use crate::words;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// The Dockerfile's name in the context: one that no context holds and no `.dockerignore` names.
pub(super) const DOCKERFILE: &str = ".macula.Dockerfile";
/// Bytes in one piece of the stream.
const CHUNK: usize = 128 * 1024;
/// A larger file counts as changed when its size or time is: bytes.
const LARGEST_READ: u64 = 16 << 20;
/// Pieces that wait for the engine.
const WAITING: usize = 8;

/// Packs on a thread of its own while the engine reads. A folder that cannot be read ends the
/// stream with an error.
pub(super) fn stream_context(
    dockerfile: String,
    folders: Vec<(PathBuf, String)>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut writer = Pieces { sender: sender.clone(), piece: Vec::with_capacity(CHUNK) };
        let packed = pack(&dockerfile, &folders, &mut writer).and_then(|()| writer.flush());
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

fn pack(dockerfile: &str, folders: &[(PathBuf, String)], out: &mut dyn Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.follow_symlinks(false);
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, DOCKERFILE, dockerfile.as_bytes())?;
    for (folder, inside) in folders {
        let inside = inside.trim_matches('/');
        let ignore = if inside.is_empty() { Ignore::read(folder)? } else { Ignore::default() };
        let mut packer = Packer { builder: &mut builder };
        let mut walk = Walk { out: &mut packer, ignore };
        walk.folder(folder, inside, "").map_err(|error| named(folder, error))?;
    }
    builder.finish()
}

/// What a build of this folder would send, as a digest: names, modes and contents, without what
/// `.dockerignore` leaves out. Of a file of more than 16 MiB its size and time of change.
///
/// # Errors
/// A file or folder that cannot be read.
pub fn context_digest(folder: &Path) -> io::Result<String> {
    let mut seen = Digest { hash: Sha256::new() };
    let mut walk = Walk { out: &mut seen, ignore: Ignore::read(folder)? };
    walk.folder(folder, "", "").map_err(|error| named(folder, error))?;
    Ok(words::hex(seen.hash.finalize()))
}

/// What is done with each entry of a context.
trait Sink {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()>;
}

struct Digest {
    hash: Sha256,
}

impl Sink for Digest {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        let mut part = |bytes: &[u8]| {
            self.hash.update((bytes.len() as u64).to_be_bytes());
            self.hash.update(bytes);
        };
        part(target.as_bytes());
        part(&metadata.permissions().mode().to_be_bytes());
        if kind.is_symlink() {
            part(std::fs::read_link(path)?.as_os_str().as_bytes());
        } else if kind.is_file() && metadata.len() <= LARGEST_READ {
            part(&std::fs::read(path)?);
        } else if kind.is_file() {
            part(&metadata.len().to_be_bytes());
            part(&metadata.mtime().to_be_bytes());
            part(&metadata.mtime_nsec().to_be_bytes());
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
}

struct Walk<'a> {
    out: &'a mut dyn Sink,
    ignore: Ignore,
}

impl Walk<'_> {
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
            let metadata = std::fs::symlink_metadata(&path).map_err(|error| named(&path, error))?;
            let left_out = self.ignore.leaves_out(&below);
            if metadata.is_dir() {
                if left_out && !self.ignore.has_exceptions() {
                    continue;
                }
                if !left_out {
                    self.out.entry(&path, &target, &metadata).map_err(|error| named(&path, error))?;
                }
                self.folder(&path, inside, &below)?;
            } else if !left_out {
                self.out.entry(&path, &target, &metadata).map_err(|error| named(&path, error))?;
            }
        }
        Ok(())
    }
}

impl Sink for Packer<'_, '_> {
    fn entry(&mut self, path: &Path, target: &str, metadata: &std::fs::Metadata) -> io::Result<()> {
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

/// The rules of a `.dockerignore`: the last that matches decides.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    /// Pattern, and whether it takes a path back in (`!`).
    rules: Vec<(Vec<char>, bool)>,
}

impl Ignore {
    fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(".dockerignore");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(named(&path, error)),
        }
    }

    pub fn parse(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let rules = lines
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter_map(|line| {
                let (pattern, back) = match line.strip_prefix('!') {
                    Some(pattern) => (pattern.trim(), true),
                    None => (line, false),
                };
                let pattern = clean(pattern);
                (!pattern.is_empty()).then(|| (pattern.chars().collect(), back))
            })
            .collect();
        Self { rules }
    }

    fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|(_, back)| *back)
    }

    /// Whether a path (relative, with `/`) stays out: it or a folder above it matches.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for (pattern, back) in &self.rules {
            // a rule that would change nothing need not be looked at
            if out == *back && matches_or_parent(pattern, path) {
                out = !back;
            }
        }
        out
    }
}

/// As Go's `filepath.Clean`, without the slash in front.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn matches_or_parent(pattern: &[char], path: &str) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).any(|path| {
        let path: Vec<char> = path.chars().collect();
        glob(pattern, &path)
    })
}

/// `*` and `?` stop at a slash, `**` does not, `**/` is also nothing, `[...]` is a class.
fn glob(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', '/', rest @ ..] => {
            glob(rest, path) || (0..path.len()).any(|at| path[at] == '/' && glob(rest, &path[at + 1..]))
        }
        ['*', '*', rest @ ..] => (0..=path.len()).any(|at| glob(rest, &path[at..])),
        ['*', rest @ ..] => {
            let reach = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=reach).any(|at| glob(rest, &path[at..]))
        }
        ['?', rest @ ..] => matches!(path, [c, more @ ..] if *c != '/' && glob(rest, more)),
        ['[', rest @ ..] => match (class(rest), path) {
            (Some((class, rest)), [c, more @ ..]) => *c != '/' && class.holds(*c) && glob(rest, more),
            (Some(_), []) => false,
            // no end: an ordinary bracket
            (None, _) => matches!(path, ['[', more @ ..] if glob(rest, more)),
        },
        ['\\', c, rest @ ..] => matches!(path, [d, more @ ..] if c == d && glob(rest, more)),
        [c, rest @ ..] => matches!(path, [d, more @ ..] if c == d && glob(rest, more)),
    }
}

struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn holds(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// What follows `[`, and what follows its `]`.
fn class(pattern: &[char]) -> Option<(Class, &[char])> {
    let (negated, mut rest) = match pattern {
        ['^' | '!', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        match rest {
            [']', after @ ..] if !ranges.is_empty() => return Some((Class { negated, ranges }, after)),
            [low, '-', high, after @ ..] if *high != ']' => {
                ranges.push((*low, *high));
                rest = after;
            }
            ['\\', c, after @ ..] | [c, after @ ..] => {
                ranges.push((*c, *c));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
