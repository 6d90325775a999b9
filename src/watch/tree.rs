//! What is below the path of a rule, and what of it has changed since the last look. Links are never followed, so that
//! none can lead in a circle.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::filter::Filter;

/// How a file was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    changed: (i64, i64),
    inode: u64,
    mode: u32,
}

/// What one look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub changed: Vec<PathBuf>,
    /// Files, and folders of which something was known.
    pub removed: Vec<PathBuf>,
    /// Folders to be watched, too.
    pub folders: Vec<PathBuf>,
}

pub struct Tree {
    root: PathBuf,
    filter: Filter,
    known: BTreeMap<PathBuf, Stamp>,
}

impl Tree {
    /// Knows nothing yet: the first look finds everything.
    pub fn new(root: PathBuf, filter: Filter) -> Self {
        Self { root, filter, known: BTreeMap::new() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at a path, and at everything below it.
    pub fn look(&mut self, path: &Path, seen: &mut Seen) {
        if !path.starts_with(&self.root) {
            // the folder that the root is in, which may have come back
            if self.root.starts_with(path) {
                let root = self.root.clone();
                self.look(&root, seen);
            }
            return;
        }
        self.filter.forget(path);
        let Ok(metadata) = std::fs::symlink_metadata(path) else {
            self.gone(path, seen);
            return;
        };
        if !metadata.is_dir() {
            // it may have been a folder before
            self.gone_below(path, seen);
            self.file(path, &metadata, seen);
            return;
        }
        if self.known.remove(path).is_some() {
            seen.removed.push(path.to_owned());
        }
        if self.filter.skips_folder(path) || self.is_in_a_skipped_folder(path) {
            return;
        }
        self.folder(path, seen);
    }

    fn is_in_a_skipped_folder(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        above.into_iter().any(|above| self.filter.skips_folder(above))
    }

    fn folder(&mut self, folder: &Path, seen: &mut Seen) {
        // whoever reads no folder is told nothing of what is in it
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        seen.folders.push(folder.to_owned());
        let mut there = HashSet::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                if self.known.remove(&path).is_some() {
                    seen.removed.push(path.clone());
                }
                if !self.filter.skips_folder(&path) {
                    self.folder(&path, seen);
                }
            } else {
                self.file(&path, &metadata, seen);
            }
            there.insert(path);
        }
        let missing = self.children(folder).into_iter().filter(|child| !there.contains(child));
        for child in missing.collect::<Vec<_>>() {
            self.gone(&child, seen);
        }
    }

    /// What is known directly in a folder: files, and folders with something known below them.
    fn children(&self, folder: &Path) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        for path in self.known.range(folder.to_owned()..).map(|(path, _)| path).take_while(|p| p.starts_with(folder)) {
            let Some(first) = path.strip_prefix(folder).ok().and_then(|rest| rest.components().next()) else {
                continue;
            };
            let child = folder.join(first);
            if all.last() != Some(&child) {
                all.push(child);
            }
        }
        all
    }

    fn file(&mut self, path: &Path, metadata: &std::fs::Metadata, seen: &mut Seen) {
        if !self.filter.takes(path, false) {
            return;
        }
        let stamp = Stamp {
            size: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
            mode: metadata.mode(),
        };
        if self.known.insert(path.to_owned(), stamp) != Some(stamp) {
            seen.changed.push(path.to_owned());
        }
    }

    fn gone(&mut self, path: &Path, seen: &mut Seen) {
        if path == self.root {
            // the target itself stays: it may be a volume, or the folder that the program is in
            for child in self.children(path) {
                self.gone(&child, seen);
            }
        }
        let own = self.known.remove(path).is_some();
        if self.forget_below(path) > 0 || own {
            seen.removed.push(path.to_owned());
        }
    }

    fn gone_below(&mut self, path: &Path, seen: &mut Seen) {
        if self.forget_below(path) > 0 {
            seen.removed.push(path.to_owned());
        }
    }

    fn forget_below(&mut self, path: &Path) -> usize {
        let below: Vec<PathBuf> = self
            .known
            .range(path.to_owned()..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .filter(|known| known.as_path() != path)
            .cloned()
            .collect();
        for known in &below {
            self.known.remove(known);
        }
        below.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{WatchAction, WatchRule};

    struct Place {
        folder: tempfile::TempDir,
        tree: Tree,
    }

    impl Place {
        /// A folder `p` with these files, looked at once.
        fn new(files: &[&str]) -> Self {
            let folder = tempfile::TempDir::new().unwrap();
            let root = folder.path().join("p");
            std::fs::create_dir(&root).unwrap();
            let rule = WatchRule { ignore: vec!["skipped".into()], ..WatchRule::new(root.clone(), WatchAction::Sync) };
            let place = Self { folder, tree: Tree::new(root, Filter::new(&rule, None, true).unwrap()) };
            for file in files {
                place.write(file);
            }
            let mut place = place;
            place.look("");
            place
        }

        fn path(&self, below: &str) -> PathBuf {
            if below.is_empty() { self.folder.path().join("p") } else { self.folder.path().join("p").join(below) }
        }

        fn write(&self, file: &str) {
            let path = self.path(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = std::fs::read_to_string(&path).unwrap_or_default();
            std::fs::write(path, content + "x").unwrap();
        }

        /// Changed and removed, below `p`, sorted.
        fn look(&mut self, below: &str) -> (Vec<String>, Vec<String>) {
            let mut seen = Seen::default();
            let path = self.path(below);
            self.tree.look(&path, &mut seen);
            let root = self.path("");
            let names = |paths: Vec<PathBuf>| {
                let name = |path: PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                let mut names: Vec<String> = paths.into_iter().map(name).collect();
                names.sort();
                names
            };
            (names(seen.changed), names(seen.removed))
        }
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut place = Place::new(&["a", "d/b", "skipped/c"]);
        assert_eq!(place.look(""), (names(&[]), names(&[])));
        place.write("d/b");
        place.write("skipped/c");
        assert_eq!(place.look("d/b"), (names(&["d/b"]), names(&[])));
        assert_eq!(place.look("skipped/c"), (names(&[]), names(&[])));
        std::fs::remove_file(place.path("a")).unwrap();
        assert_eq!(place.look("a"), (names(&[]), names(&["a"])));
        assert_eq!(place.look("a"), (names(&[]), names(&[])), "told once");
        place.write("new/deep/e");
        assert_eq!(place.look("new"), (names(&["new/deep/e"]), names(&[])));
    }

    #[test]
    fn a_folder_that_goes_and_comes_back() {
        let mut place = Place::new(&["a", "d/b", "d/e/c"]);
        std::fs::rename(place.path("d"), place.folder.path().join("elsewhere")).unwrap();
        assert_eq!(place.look("d"), (names(&[]), names(&["d"])));
        std::fs::rename(place.folder.path().join("elsewhere"), place.path("d")).unwrap();
        assert_eq!(place.look("d"), (names(&["d/b", "d/e/c"]), names(&[])));
        // the whole root: what was in it is removed, not the target
        std::fs::remove_dir_all(place.path("")).unwrap();
        assert_eq!(place.look(""), (names(&[]), names(&["a", "d"])));
        place.write("a");
        assert_eq!(place.look(""), (names(&["a"]), names(&[])));
    }

    #[test]
    fn a_file_becomes_a_folder_and_the_other_way_round() {
        let mut place = Place::new(&["a", "d/b"]);
        std::fs::remove_file(place.path("a")).unwrap();
        place.write("a/x");
        assert_eq!(place.look("a"), (names(&["a/x"]), names(&["a"])));
        std::fs::remove_dir_all(place.path("d")).unwrap();
        place.write("d");
        assert_eq!(place.look("d"), (names(&["d"]), names(&["d"])));
    }

    /// A change costs what it is, not what the folder is.
    #[test]
    fn a_hundred_thousand_files_are_looked_at_once() {
        let mut place = Place::new(&[]);
        for folder in 0..100 {
            let folder = place.path(&format!("d{folder}"));
            std::fs::create_dir(&folder).unwrap();
            for file in 0..1000 {
                std::fs::File::create(folder.join(file.to_string())).unwrap();
            }
        }
        let (changed, removed) = place.look("");
        assert_eq!((changed.len(), removed.len()), (100_000, 0));
        place.write("d7/7");
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            place.look("d7/8");
        }
        let of_one = begun.elapsed();
        assert_eq!(place.look("d7/7"), (names(&["d7/7"]), names(&[])));
        std::fs::remove_dir_all(place.path("d7")).unwrap();
        assert_eq!(place.look("d7"), (names(&[]), names(&["d7"])));
        let begun = std::time::Instant::now();
        assert_eq!(place.look(""), (names(&[]), names(&[])));
        assert!(of_one / 100 < begun.elapsed() / 10, "a file: {of_one:?} for 100, all: {:?}", begun.elapsed());
    }

    #[test]
    fn links_are_files_and_lead_in_no_circle() {
        let mut place = Place::new(&["d/b"]);
        std::os::unix::fs::symlink("..", place.path("d/up")).unwrap();
        std::os::unix::fs::symlink("/nowhere", place.path("broken")).unwrap();
        assert_eq!(place.look(""), (names(&["broken", "d/up"]), names(&[])));
    }
}
