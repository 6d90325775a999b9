use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where configuration is read from, so that loading needs no disk in tests.
pub trait Files {
    /// The whole text of a file. Errors: not there, not readable, not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Is there a file (not a folder) at this path?
    fn exists(&self, path: &Path) -> bool;
    /// Is there a folder at this path?
    fn is_folder(&self, path: &Path) -> bool;
}

/// The machine's own files.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

/// Files by absolute path, for tests. Folders are there when a file lies below them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, String>);

impl MemoryFiles {
    /// The same with one file more.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file != path && file.starts_with(path))
    }
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
}
