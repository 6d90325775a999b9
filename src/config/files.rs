use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a text may be, in bytes: YAML, env files, templates.
pub(in crate::config) const MAX_TEXT: u64 = 4 << 20;
/// What `.git` may hold where it is a file: one path.
const MAX_LINK: u64 = 64 << 10;
/// How long the content of a config or a secret may be, in bytes. It is kept in memory and sent to
/// the engine as a whole.
pub(in crate::config) const MAX_CONTENT: u64 = 64 << 20;
/// How many files a folder may have that is given as a config or a secret.
const MAX_FILES: usize = 2_000;
/// How long to wait for whoever writes to a pipe.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);
/// What pipes have given, by device and inode: it comes only once, and a file may be read more than once.
static PIPES: Mutex<BTreeMap<(u64, u64), Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Where configuration is read from, so that loading needs no disk in tests.
pub trait Files {
    /// The whole of a file. Errors: missing, unreadable, longer than `limit`, or something that has no
    /// end, such as a device or a pipe that nobody writes to.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Is there anything but a folder at this path?
    fn exists(&self, path: &Path) -> bool;
    /// Is there a folder at this path?
    fn is_folder(&self, path: &Path) -> bool;
    /// May somebody run the file at this path?
    fn is_executable(&self, path: &Path) -> bool;
    /// Every file below a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// What a folder holds itself, sorted: nothing where it cannot be looked at.
    fn entries(&self, folder: &Path) -> Vec<PathBuf>;
}

/// The machine's own files.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // without this flag the mere opening of a pipe waits for its writer
        let mut file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_file() {
            if metadata.len() > limit {
                return Err(too_long(limit));
            }
            // files of /proc say that they have no length
            return whole((&mut file).take(limit + 1), limit);
        }
        if kind.is_fifo() {
            let mut pipes = PIPES.lock().unwrap_or_else(PoisonError::into_inner);
            let known = match pipes.entry((metadata.dev(), metadata.ino())) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(from_pipe(&mut file, limit)?),
            };
            return whole(known.as_slice(), limit);
        }
        // the usual way to say "no file at all"
        if kind.is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3) {
            return Ok(Vec::new());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a regular file", name_of(kind))))
    }

    fn exists(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_executable(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                // a link to a folder may lead back up: it is not followed
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    found.push(entry.path());
                }
                if found.len() + open.len() > MAX_FILES {
                    return Err(io::Error::other(format!("the folder has more than {MAX_FILES} files")));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn entries(&self, folder: &Path) -> Vec<PathBuf> {
        let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
        found.sort();
        found
    }
}

fn name_of(kind: std::fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn too_long(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", limit >> 20))
}

fn whole(mut source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.read_to_end(&mut content)?;
    if content.len() as u64 > limit { Err(too_long(limit)) } else { Ok(content) }
}

/// What somebody writes to a pipe: as in `--file <(command)`.
fn from_pipe(pipe: &mut std::fs::File, limit: u64) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PIPE_PATIENCE;
    let mut content = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&*pipe, PollFlags::IN)], Some(&timeout))?;
        if ready == 0 {
            let seconds = PIPE_PATIENCE.as_secs();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it is a pipe, and its writer did not finish within {seconds} s"),
            ));
        }
        match pipe.read(&mut piece) {
            Ok(0) => return Ok(content),
            Ok(length) => content.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if content.len() as u64 > limit {
            return Err(too_long(limit));
        }
    }
}

/// Files by absolute path, for tests. Folders are there when a file lies below them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl MemoryFiles {
    /// The same with one file more.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, content: impl AsRef<[u8]>) -> Self {
        self.0.insert(path.into(), content.as_ref().to_vec());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self.0.get(path) {
            Some(content) if content.len() as u64 > limit => Err(too_long(limit)),
            Some(content) => Ok(content.clone()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file != path && file.starts_with(path))
    }

    fn is_executable(&self, _: &Path) -> bool {
        false
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().filter(|file| file.starts_with(folder)).cloned().collect())
    }

    fn entries(&self, folder: &Path) -> Vec<PathBuf> {
        self.0.keys().filter(|file| file.parent() == Some(folder)).cloned().collect()
    }
}

/// The folders from this one up to the root of its repository; outside of one this folder alone.
pub(in crate::config) fn project_folders(from: &Path, files: &dyn Files) -> Vec<PathBuf> {
    let all: Vec<PathBuf> = from.ancestors().map(Path::to_owned).collect();
    let is_root = |folder: &PathBuf| {
        let git = folder.join(".git");
        files.is_folder(&git) || files.exists(&git)
    };
    let until = all.iter().position(is_root).map_or(1, |at| at + 1);
    all.into_iter().take(until).collect()
}

/// What Git calls the linked worktree that this folder lies in; none: the main one, or no repository. It stays the same
/// when the worktree is moved.
pub(in crate::config) fn linked_worktree(from: &Path, files: &dyn Files) -> Option<String> {
    let root = project_folders(from, files).pop()?;
    // a folder in the main worktree, a link to the main one's folder in all others
    let link = String::from_utf8(files.read(&root.join(".git"), MAX_LINK).ok()?).ok()?;
    let kept = Path::new(link.strip_prefix("gitdir:")?.trim());
    // that of a submodule lies in `modules`
    let linked = kept.parent()?.file_name()? == "worktrees";
    kept.file_name().filter(|_| linked)?.to_str().map(str::to_owned)
}

/// `base/path` without `.` and `..`, by text alone: links are not followed, as Compose does it.
pub(in crate::config) fn join(base: &Path, path: &Path) -> PathBuf {
    clean(&base.join(path))
}

/// The path without `.` and `..`, by text alone.
pub(in crate::config) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !matches!(out.components().next_back(), None | Some(Component::RootDir | Component::ParentDir)) {
                    out.pop();
                } else if !out.has_root() {
                    out.push("..");
                }
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn paths_are_cleaned_by_text() {
        for (base, path, want) in [
            ("/a/b", "./c", "/a/b/c"),
            ("/a/b", "../c/./d", "/a/c/d"),
            ("/a", "../../..", "/"),
            ("/a", "/etc//x/", "/etc/x"),
            (".", "", "."),
            ("", "../x", "../x"),
        ] {
            assert_eq!(join(Path::new(base), Path::new(path)), Path::new(want), "{base} + {path}");
        }
    }

    /// Every kind of file that a path may lead to, and what reading at most 8 bytes of it gives.
    #[test]
    fn only_what_ends_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("short"), "12345678").unwrap();
        std::fs::write(at("long"), "123456789").unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let writer = std::thread::spawn({
            let pipe = at("pipe");
            move || std::fs::File::options().write(true).open(pipe).unwrap().write_all(b"piped").unwrap()
        });
        let read = |path: &Path| match DiskFiles.read(path, 8) {
            Ok(content) => format!("{:?}", String::from_utf8(content).unwrap()),
            Err(error) => error.to_string(),
        };
        let told: Vec<String> = ["short", "long", "link", "pipe", "none", "."]
            .map(|name| format!("{name}: {}", read(&at(name))))
            .into_iter()
            .chain(["/dev/null", "/dev/zero"].map(|path| format!("{path}: {}", read(Path::new(path)))))
            .collect();
        writer.join().unwrap();
        assert_eq!(read(&at("pipe")), r#""piped""#, "what a pipe gave is still there");
        insta::assert_snapshot!(told.join("\n"), @r#"
        short: "12345678"
        long: it is larger than 0 MiB
        link: it is a device, not a regular file
        pipe: "piped"
        none: No such file or directory (os error 2)
        .: it is a folder, not a regular file
        /dev/null: ""
        /dev/zero: it is a device, not a regular file
        "#);
        assert!(DiskFiles.read(&at("socket"), 8).is_err());
    }

    #[test]
    fn a_folder_is_listed_without_following_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("b/c")).unwrap();
        std::fs::write(folder.path().join("b/c/two"), "").unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("b/up")).unwrap();
        let found: Vec<String> = DiskFiles
            .list(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["a", "b/c/two", "b/up"]);
        assert_eq!(DiskFiles.entries(folder.path()), ["a", "b"].map(|name| folder.path().join(name)));
        assert!(DiskFiles.entries(&folder.path().join("a")).is_empty());
    }
}
