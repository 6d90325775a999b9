//! An archive of something in a container, as files of this machine. What is new is there whole or not at all; in a folder
//! that was there already that holds for each file.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::rules::{Target, There, below};
use super::whole::{Counted, broke_off, broken};
use super::{Copied, Told};
use crate::app::CopyError;
use crate::host::temporary_name;

/// Links that lead to links.
const HOPS: usize = 16;

/// What there is at a path of this machine; links are followed, and one that leads to nothing is where it leads.
pub fn look(path: &Path) -> Result<(PathBuf, There), CopyError> {
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Ok((path, There::Folder)),
            Ok(found) if found.is_file() => {
                let linked = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
                let file = if linked { fs::canonicalize(&path).map_err(unwritten(&path))? } else { path };
                return Ok((file, There::File));
            }
            Ok(_) => return Ok((path, There::Other)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(unwritten(&path)(error)),
        }
        let Ok(to) = fs::read_link(&path) else { return Ok((path, There::Nothing)) };
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(CopyError::Circle { place: path.display().to_string() })
}

/// `archive`: owner and group, where this user may give them, and all bits of the modes.
pub fn unpack(archive: impl Read, target: &Target, keep: bool, told: &Told) -> Result<Copied, CopyError> {
    let zeros = Cell::new(0);
    let counted = Counted { archive, told, zeros: &zeros };
    let mut read = tar::Archive::new(counted);
    let mut names = Names::now();
    // what is there already gets what is new
    let made = (!is_folder(&target.path())).then(|| Made {
        temporary: target.folder.join(names.another()),
        path: target.path(),
        kept: false,
    });
    let root = made.as_ref().map_or_else(|| target.path(), |made| made.temporary.clone());
    let mut unpacker = Unpacker {
        keep,
        root,
        shown: target.path(),
        names,
        safe: None,
        folders: Vec::new(),
        copied: Copied::default(),
        zeros: &zeros,
    };
    unpacker.all(&mut read).map_err(|error| unpacker.named(error))?;
    read.into_inner().end()?;
    // only now: a folder that nobody may write to could not be removed any more
    unpacker.dress_folders().map_err(|error| unpacker.named(error))?;
    if let Some(made) = made {
        made.keep()?;
    }
    Ok(unpacker.copied)
}

fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// Something new under a name of its own, until it is whole.
struct Made {
    temporary: PathBuf,
    path: PathBuf,
    kept: bool,
}

/// Names that nobody else has, and that are short, however long those are that they stand for.
struct Names {
    run: String,
    count: u32,
}

impl Names {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { run: format!("cp-{:x}", since.as_nanos()), count: 0 }
    }

    fn another(&mut self) -> String {
        self.count += 1;
        temporary_name(&self.run, std::process::id(), self.count)
    }
}

impl Made {
    fn keep(mut self) -> Result<(), CopyError> {
        // a file that is there stays until the new one is whole
        fs::rename(&self.temporary, &self.path).map_err(unwritten(&self.path))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // that it could not be removed is the lesser news
        let _ = match fs::symlink_metadata(&self.temporary) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.temporary),
            Ok(_) => fs::remove_file(&self.temporary),
            Err(error) => Err(error),
        };
    }
}

struct Unpacker<'a> {
    keep: bool,
    /// Where the copied thing lies.
    root: PathBuf,
    /// Where it will lie, which is what the user knows.
    shown: PathBuf,
    names: Names,
    /// A folder that was found to be one, and no link.
    safe: Option<PathBuf>,
    /// Folders that were made, with what they get once all is in them.
    folders: Vec<(PathBuf, tar::Header)>,
    copied: Copied,
    /// Empty bytes that were read last.
    zeros: &'a Cell<usize>,
}

impl Unpacker<'_> {
    /// The path that the user knows, and not one that is gone in the end.
    fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.root) {
            Ok(rest) if rest.as_os_str().is_empty() => self.shown.clone(),
            Ok(rest) => self.shown.join(rest),
            Err(_) => path.to_owned(),
        }
    }

    fn named(&self, error: CopyError) -> CopyError {
        match error {
            CopyError::Write { path, source } => CopyError::Write { path: self.shown(&path), source },
            CopyError::FolderOverFile { path } => CopyError::FolderOverFile { path: self.shown(&path) },
            CopyError::FileOverFolder { path } => CopyError::FileOverFolder { path: self.shown(&path) },
            CopyError::FolderOverLink { path } => CopyError::FolderOverLink { path: self.shown(&path) },
            error => error,
        }
    }

    fn all(&mut self, read: &mut tar::Archive<impl Read>) -> Result<(), CopyError> {
        let mut first: Option<PathBuf> = None;
        let mut alone = false;
        for entry in read.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            if matches!(kind, tar::EntryType::XGlobalHeader) {
                continue;
            }
            let named = entry.path().map_err(broken)?.into_owned();
            let top = first.get_or_insert_with(|| named.clone());
            let odd =
                || CopyError::Damaged { source: io::Error::other(format!("it has the path {}", named.display())) };
            let inside = below(top, &named).map_err(|()| odd())?;
            // a file or a link is all that its archive holds: whatever comes after it would go through it
            if alone {
                return Err(odd());
            }
            let path = match inside.as_os_str().is_empty() {
                true => self.root.clone(),
                false => self.root.join(&inside),
            };
            if !inside.as_os_str().is_empty() {
                self.within(&path)?;
            }
            if kind.is_dir() {
                self.folder(&path, entry.header().clone())?;
                continue;
            }
            alone = path == self.root;
            let named = path == self.root && is_folder(&path);
            if named || fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                return Err(CopyError::FileOverFolder { path });
            }
            let temporary = path.with_file_name(self.names.another());
            let made = if kind.is_symlink() {
                let to = entry.link_name().map_err(broken)?.unwrap_or_default();
                symlink(to, &temporary).map_err(unwritten(&path))
            } else if kind.is_hard_link() {
                let to = entry.link_name().map_err(broken)?.unwrap_or_default();
                let to = self.root.join(below(top, &to).map_err(|()| odd())?);
                self.within(&to)?;
                match fs::symlink_metadata(&to) {
                    Ok(found) if found.is_file() => fs::hard_link(&to, &temporary).map_err(unwritten(&path)),
                    _ => Err(odd()),
                }
            } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
                self.file(&mut entry, &path, &temporary)
            } else {
                self.copied.left_out.push(self.shown(&path).display().to_string());
                continue;
            };
            // those at the end of a file's content are not the archive's end
            self.zeros.set(0);
            let placed = made.and_then(|()| {
                fs::rename(&temporary, &path).map_err(unwritten(&path))?;
                // of two names of one file the first one stays, too
                if kind.is_hard_link() && fs::symlink_metadata(&temporary).is_ok() {
                    fs::remove_file(&temporary).map_err(unwritten(&temporary))?;
                }
                Ok(())
            });
            if let Err(error) = placed {
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
            self.copied.files += 1;
        }
        if first.is_none() {
            return Err(CopyError::Damaged { source: io::Error::other("there is nothing in it") });
        }
        Ok(())
    }

    /// The deepest first: that they may be written to can end with it.
    fn dress_folders(&mut self) -> Result<(), CopyError> {
        for (path, header) in std::mem::take(&mut self.folders).into_iter().rev() {
            let folder = File::open(&path).map_err(unwritten(&path))?;
            self.dress(&folder, &header).map_err(unwritten(&path))?;
        }
        Ok(())
    }

    /// No link of the archive, or of the folder that it comes into, leads out of that.
    fn within(&mut self, path: &Path) -> Result<(), CopyError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.safe.as_deref() == Some(parent) {
            return Ok(());
        }
        let inside = parent.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut at = self.root.clone();
        for part in inside.components() {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => return Err(CopyError::FolderOverLink { path: at }),
                Ok(_) => return Err(CopyError::FolderOverFile { path: at }),
                Err(error) => return Err(unwritten(&at)(error)),
            }
        }
        self.safe = Some(parent.to_owned());
        Ok(())
    }

    fn folder(&mut self, path: &Path, header: tar::Header) -> Result<(), CopyError> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => return Ok(()),
            // the one that everything goes into may be a link: the user has named it
            Ok(_) if path == self.root && is_folder(path) => return Ok(()),
            Ok(found) if found.is_symlink() => return Err(CopyError::FolderOverLink { path: path.to_owned() }),
            Ok(_) => return Err(CopyError::FolderOverFile { path: path.to_owned() }),
            Err(_) => {}
        }
        // nobody else looks into it before it has its mode
        DirBuilder::new().mode(0o700).create(path).map_err(unwritten(path))?;
        self.folders.push((path.to_owned(), header));
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &Path, temporary: &Path) -> Result<(), CopyError> {
        let header = entry.header().clone();
        // nobody else reads it before it has its mode
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary).map_err(unwritten(path))?;
        let size = entry.size();
        let mut buffer = vec![0; 128 << 10];
        let mut left = size;
        while left > 0 {
            let read = entry.read(&mut buffer).map_err(broken)?;
            if read == 0 {
                return Err(broken(broke_off()));
            }
            io::Write::write_all(&mut file, buffer.get(..read).unwrap_or_default()).map_err(unwritten(path))?;
            left = left.saturating_sub(read as u64);
        }
        self.dress(&file, &header).map_err(unwritten(path))?;
        if path == self.root {
            // it may take the place of another, which is not to be lost to a power cut
            file.sync_all().map_err(unwritten(path))?;
        }
        self.copied.bytes += size;
        Ok(())
    }

    /// Owner, mode and time.
    fn dress(&self, file: &File, header: &tar::Header) -> io::Result<()> {
        let mode = header.mode()?;
        let mut bits = if self.keep { 0o7777 } else { 0o777 };
        if self.keep {
            let number = |number: u64| u32::try_from(number).map_err(io::Error::other);
            match std::os::unix::fs::fchown(file, Some(number(header.uid()?)?), Some(number(header.gid()?)?)) {
                // only root gives files to others; and nothing of theirs runs as this user, as with `cp -p`
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bits = 0o777,
                done => done?,
            }
        }
        file.set_permissions(Permissions::from_mode(mode & bits))?;
        // GNU tar writes a time before 1970 as a number that no clock has
        match UNIX_EPOCH.checked_add(Duration::from_secs(header.mtime()?)) {
            Some(time) => file.set_times(FileTimes::new().set_modified(time)),
            None => Ok(()),
        }
    }
}

fn unwritten(path: &Path) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    enum Part<'a> {
        File(&'a str, &'a str, u32),
        Folder(&'a str, u32),
        Link(&'a str, &'a str),
        Same(&'a str, &'a str),
        Pipe(&'a str),
    }

    fn archive(parts: &[Part<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for part in parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mtime(1_700_000_000);
            let (name, kind, mode) = match part {
                Part::File(name, _, mode) => (name, tar::EntryType::Regular, *mode),
                Part::Folder(name, mode) => (name, tar::EntryType::Directory, *mode),
                Part::Link(name, _) => (name, tar::EntryType::Symlink, 0o777),
                Part::Same(name, _) => (name, tar::EntryType::Link, 0o644),
                Part::Pipe(name) => (name, tar::EntryType::Fifo, 0o644),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            // as it stands, whatever is odd about it
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            match part {
                Part::File(_, content, _) => {
                    header.set_size(content.len() as u64);
                    header.set_cksum();
                    tar.append(&header, content.as_bytes()).unwrap();
                }
                Part::Link(_, to) | Part::Same(_, to) => {
                    header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
                    header.set_cksum();
                    tar.append(&header, io::empty()).unwrap();
                }
                _ => {
                    header.set_cksum();
                    tar.append(&header, io::empty()).unwrap();
                }
            }
        }
        tar.into_inner().unwrap()
    }

    fn to(folder: &Path, name: &str) -> Target {
        Target { folder: folder.to_owned(), name: (!name.is_empty()).then(|| OsString::from(name)) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    const SITE: [Part<'static>; 6] = [
        Part::Folder("etc/", 0o755),
        Part::File("etc/a", "one", 0o640),
        Part::Folder("etc/deep/", 0o700),
        Part::File("etc/deep/b", "two", 0o4755),
        Part::Link("etc/link", "deep/b"),
        Part::Same("etc/twin", "etc/a"),
    ];

    #[test]
    fn a_folder_comes_whole_with_its_modes_and_times() {
        let folder = tempfile::TempDir::new().unwrap();
        let told = Told::default();
        let copied = unpack(archive(&SITE).as_slice(), &to(folder.path(), "new"), false, &told).unwrap();
        assert_eq!((copied.files, copied.bytes, told.bytes() > 3000), (4, 6, true));
        assert_eq!(names(folder.path()), ["new"]);
        let at = |name: &str| folder.path().join("new").join(name);
        assert_eq!(names(&at("")), ["a", "deep", "link", "twin"]);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("deep"), mode("deep/b")), (0o640, 0o700, 0o755), "nothing runs as somebody else");
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("deep/b"));
        assert_eq!(fs::metadata(at("a")).unwrap().mtime(), 1_700_000_000);
        assert_eq!(fs::metadata(at("a")).unwrap().ino(), fs::metadata(at("twin")).unwrap().ino());
    }

    #[test]
    fn what_is_there_already_gets_what_is_new() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/a"), "before").unwrap();
        fs::write(folder.path().join("etc/own"), "mine").unwrap();
        // again, and into the folder itself
        for target in [to(folder.path(), "etc"), to(folder.path(), "etc"), to(&folder.path().join("etc"), "")] {
            unpack(archive(&SITE).as_slice(), &target, false, &Told::default()).unwrap();
            assert_eq!(names(&folder.path().join("etc")), ["a", "deep", "link", "own", "twin"]);
            assert_eq!(fs::read_to_string(folder.path().join("etc/a")).unwrap(), "one");
        }
    }

    #[test]
    fn a_file_takes_the_place_of_another_in_one_step() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("b");
        fs::write(&file, "before").unwrap();
        let whole = archive(&[Part::File("a", &"x".repeat(2000), 0o600)]);
        let cut = unpack(&whole[..1000], &to(folder.path(), "b"), false, &Told::default());
        assert!(matches!(cut, Err(CopyError::Damaged { .. })), "{cut:?}");
        assert_eq!(
            (names(folder.path()), fs::read_to_string(&file).unwrap().as_str()),
            (vec!["b".to_owned()], "before")
        );
        unpack(whole.as_slice(), &to(folder.path(), "b"), false, &Told::default()).unwrap();
        assert_eq!((names(folder.path()), fs::metadata(&file).unwrap().len()), (vec!["b".to_owned()], 2000));
        // of half a folder nothing is left
        let site = archive(&SITE);
        assert!(unpack(&site[..2200], &to(folder.path(), "new"), false, &Told::default()).is_err());
        assert_eq!(names(folder.path()), ["b"]);
    }

    #[test]
    fn no_archive_writes_outside_of_where_it_goes() {
        let folder = tempfile::TempDir::new().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let refused = |parts: &[Part<'_>], name: &str| {
            let done = unpack(archive(parts).as_slice(), &to(folder.path(), name), false, &Told::default());
            assert!(names(&outside).is_empty());
            done.unwrap_err()
        };
        let out = outside.display().to_string();
        let up = [Part::Folder("d/", 0o755), Part::File("d/../outside/a", "x", 0o644)];
        assert!(matches!(refused(&up, "d"), CopyError::Damaged { .. }));
        let through = [Part::Folder("d/", 0o755), Part::Link("d/out", &out), Part::File("d/out/a", "x", 0o644)];
        assert!(matches!(refused(&through, "d"), CopyError::FolderOverLink { .. }));
        let same = [Part::Folder("d/", 0o755), Part::Link("d/l", "/etc"), Part::Same("d/p", "d/l/passwd")];
        assert!(matches!(refused(&same, "d"), CopyError::FolderOverLink { .. }));
        // what comes first is a link itself
        let first = [Part::Link("d", &out), Part::File("d/a", "x", 0o644)];
        assert!(matches!(refused(&first, "fresh"), CopyError::Damaged { .. }));
        let around = folder.path().display().to_string();
        let deep = [Part::Link("d", &around), Part::File("d/outside/a", "x", 0o644)];
        assert!(matches!(refused(&deep, "fresh"), CopyError::Damaged { .. }));
        let twin = [Part::Link("d", &around), Part::Same("d/outside/p", "d/secret")];
        assert!(matches!(refused(&twin, "fresh"), CopyError::Damaged { .. }));
        let pipe = [Part::Pipe("d"), Part::File("d/a", "x", 0o644)];
        assert!(matches!(refused(&pipe, "fresh"), CopyError::Damaged { .. }));
        assert_eq!(names(folder.path()), ["outside"], "and nothing of it is left");
        // a link that lies there already
        fs::create_dir(folder.path().join("there")).unwrap();
        symlink(&outside, folder.path().join("there/sub")).unwrap();
        let deep = [Part::Folder("d/", 0o755), Part::Folder("d/sub/", 0o755), Part::File("d/sub/a", "x", 0o644)];
        assert!(matches!(refused(&deep, "there"), CopyError::FolderOverLink { .. }));
    }

    #[test]
    fn what_does_not_fit_is_said_and_devices_are_left_out() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("d/a")).unwrap();
        let file = [Part::Folder("d/", 0o755), Part::File("d/a", "x", 0o644)];
        let done = unpack(archive(&file).as_slice(), &to(folder.path(), "d"), false, &Told::default());
        assert!(matches!(done, Err(CopyError::FileOverFolder { .. })));
        let pipe = [Part::Folder("d/", 0o755), Part::Pipe("d/pipe"), Part::File("d/b", "x", 0o644)];
        let copied = unpack(archive(&pipe).as_slice(), &to(folder.path(), "d"), false, &Told::default()).unwrap();
        assert_eq!((copied.files, copied.left_out.len()), (1, 1));
        // by the name that it would have, and not by one that is gone
        let copied = unpack(archive(&pipe).as_slice(), &to(folder.path(), "new"), false, &Told::default()).unwrap();
        assert_eq!(copied.left_out, [folder.path().join("new/pipe").display().to_string()]);
        let file = [Part::Folder("d/", 0o755), Part::File("d/a", "x", 0o644), Part::Folder("d/a/b/", 0o755)];
        match unpack(archive(&file).as_slice(), &to(folder.path(), "other"), false, &Told::default()) {
            Err(CopyError::FolderOverFile { path }) => assert_eq!(path, folder.path().join("other/a")),
            other => panic!("{other:?}"),
        }
        assert!(unpack(archive(&[]).as_slice(), &to(folder.path(), "x"), false, &Told::default()).is_err());
        assert!(unpack([7_u8; 2000].as_slice(), &to(folder.path(), "x"), false, &Told::default()).is_err());
        assert_eq!(names(folder.path()), ["d", "new"]);
    }

    #[test]
    fn an_archive_without_its_end_is_damaged() {
        let folder = tempfile::TempDir::new().unwrap();
        // empty bytes of a file are no end
        let zeros = "\0".repeat(4000);
        for parts in [&SITE[..], &[Part::Folder("d/", 0o755), Part::File("d/zeros", &zeros, 0o644)]] {
            let whole = archive(parts);
            for missing in [1024, 512] {
                let cut = whole.get(..whole.len() - missing).unwrap();
                let done = unpack(cut, &to(folder.path(), "new"), false, &Told::default());
                assert!(matches!(done, Err(CopyError::Damaged { .. })), "{done:?}");
                assert!(names(folder.path()).is_empty());
            }
        }
    }

    /// An archive of one file whose header somebody else has filled in.
    fn one(change: impl Fn(&mut tar::Header)) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(1);
        header.set_mode(0o4755);
        header.set_mtime(1_700_000_000);
        change(&mut header);
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, b"x".as_slice()).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn nothing_of_somebody_else_runs_as_this_user() {
        let folder = tempfile::TempDir::new().unwrap();
        let own = fs::metadata(folder.path()).unwrap();
        let other = one(|header| {
            header.set_uid(u64::from(own.uid()) + 1);
            header.set_gid(own.gid().into());
        });
        unpack(other.as_slice(), &to(folder.path(), "a"), true, &Told::default()).unwrap();
        let found = fs::metadata(folder.path().join("a")).unwrap();
        // root can give it to the other one
        let expected = if found.uid() == own.uid() { 0o755 } else { 0o4755 };
        assert_eq!(found.mode() & 0o7777, expected);
    }

    #[test]
    fn a_time_that_no_clock_has_is_left_out() {
        let folder = tempfile::TempDir::new().unwrap();
        // one second before 1970, as GNU tar writes it
        let early = one(|header| header.as_old_mut().mtime = [0xff; 12]);
        unpack(early.as_slice(), &to(folder.path(), "a"), false, &Told::default()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "x");
    }

    #[test]
    fn the_target_is_where_links_lead() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        for (link, to) in [("to-file", "file"), ("to-nothing", "new"), ("round", "round"), ("to-folder", ".")] {
            symlink(to, at(link)).unwrap();
        }
        let real = fs::canonicalize(folder.path()).unwrap();
        assert_eq!(look(&at("to-file")).unwrap(), (real.join("file"), There::File));
        assert_eq!(look(&at("to-nothing")).unwrap(), (at("new"), There::Nothing));
        assert_eq!(look(&at("to-folder")).unwrap(), (at("to-folder"), There::Folder));
        assert_eq!(look(&at("new")).unwrap().1, There::Nothing);
        assert_eq!(look(&at("file/below")).unwrap().1, There::Nothing);
        assert_eq!(look(&at("file")).unwrap(), (at("file"), There::File));
        assert_eq!(look(Path::new("/dev/null")).unwrap().1, There::Other);
        assert!(matches!(look(&at("round")), Err(CopyError::Write { .. } | CopyError::Circle { .. })));
    }
}
