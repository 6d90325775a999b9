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
mod tests;
