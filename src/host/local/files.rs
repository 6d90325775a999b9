//! Files: whole or not at all, and private where they are ours.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use rustix::fs::{Dir, DirEntry, Mode, OFlags, openat};
use rustix::process::geteuid;

use crate::host::{Disk, Folders, temporary_name, times_of};

/// Of most files of the kernel's: one read has them, and another one finds the end.
const PAGES: usize = 16 << 10;
/// More than any file of ours holds.
const MOST: u64 = 64 << 20;

/// Puts what was tried, and on which path, in front of the error's own words. Its kind stays.
pub(super) fn naming(what: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

pub(super) fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether root keeps nothing for itself here: it may act for a user (`sudo -E macula up`), who has to open all of
/// it afterwards.
pub(super) fn is_shared(path: &Path, folders: &Folders) -> bool {
    [&folders.data, &folders.config, &folders.cache].iter().any(|own| path.starts_with(own) || own.starts_with(path))
}

/// What root has just made is given to whom the folder belongs that it lies in. Both are open, so that nobody can put
/// another file in their place. Where it cannot be given, it stays root's.
fn give(made: &File, folder: &File) -> io::Result<()> {
    let (own, of_folder) = (made.metadata()?, folder.metadata()?);
    if own.uid() == geteuid().as_raw() && of_folder.uid() != own.uid() {
        fchown(made, Some(of_folder.uid()), Some(of_folder.gid()))?;
    }
    Ok(())
}

/// A file of this folder, whatever its path leads to by now.
fn entry(folder: &File, name: &OsStr) -> io::Result<Metadata> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    File::from(openat(folder, name, flags, Mode::empty())?).metadata()
}

/// The folder that a file was made in under this path, which may lead elsewhere by now: an error unless its only name is
/// there.
fn folder_of(made: &File, path: &Path) -> io::Result<File> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(parent)?;
    let (there, own) = (entry(&folder, name)?, made.metadata()?);
    match (there.dev(), there.ino(), there.nlink()) == (own.dev(), own.ino(), 1) {
        true => Ok(folder),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn give_file(made: &File, path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    // what cannot be given is as useful to root as it was
    let _ = folder_of(made, path).and_then(|folder| give(made, &folder));
}

/// What takes a file's place in its folder is given to whom that file belongs.
fn give_in_place(made: &File, path: &Path, of: &OsStr) {
    if !geteuid().is_root() {
        return;
    }
    let _ = folder_of(made, path).and_then(|folder| {
        let there = entry(&folder, of)?;
        fchown(made, Some(there.uid()), Some(there.gid()))
    });
}

/// One that was just made, which is empty and on its folder's file system; another folder of root's, which somebody has
/// put in its place, is not.
fn give_folder(path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let given = || {
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
        let made = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(openat(&made, "..", flags, Mode::empty())?);
        let is_dot = |found: &DirEntry| matches!(found.file_name().to_bytes(), b"." | b"..");
        let is_empty = Dir::read_from(&made)?.all(|found| found.is_ok_and(|found| is_dot(&found)));
        if is_empty && made.metadata()?.dev() == folder.metadata()?.dev() {
            give(&made, &folder)?;
        }
        Ok::<(), io::Error>(())
    };
    let _ = given();
}

/// Opens a file of ours, which is made where there is none. Only what is made here is given to another user: whoever
/// can rename files in the folder must not choose one of root's.
pub(in crate::host) fn open_own(options: &OpenOptions, path: &Path) -> io::Result<File> {
    match options.clone().create_new(true).open(path) {
        Ok(made) => {
            give_file(&made, path);
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.clone().create(true).open(path),
        Err(error) => Err(error),
    }
}

pub(super) fn write(path: &Path, content: &[u8], mode: u32, folders: &Folders) -> io::Result<()> {
    put(path, content, mode, folders, |made, path| {
        if is_shared(path, folders) {
            give_file(made, path);
        }
    })
}

/// A file of the user's: the one that a link leads to, and with the mode and the owner that it has.
pub(super) fn rewrite(path: &Path, content: &[u8], mode: u32, folders: &Folders) -> io::Result<()> {
    let path = followed(path);
    match (std::fs::symlink_metadata(&path), path.file_name()) {
        (Ok(there), Some(name)) if there.is_file() => {
            put(&path, content, there.mode() & 0o777, folders, |made, temporary| give_in_place(made, temporary, name))
        }
        _ => write(&path, content, mode, folders),
    }
}

/// Where a link leads; a path that is none stays as it is, and so does another user's link for root: whoever can change
/// it could make root write to any file.
fn followed(path: &Path) -> PathBuf {
    let us = geteuid();
    let is_own = || std::fs::symlink_metadata(path).is_ok_and(|link| link.uid() == us.as_raw());
    match std::fs::canonicalize(path) {
        Ok(to) if !us.is_root() || is_own() => to,
        _ => path.to_owned(),
    }
}

/// `own` is called with the new file before it has its name.
fn put(path: &Path, content: &[u8], mode: u32, folders: &Folders, own: impl FnOnce(&File, &Path)) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(naming("write", path)(io::ErrorKind::InvalidInput.into()));
    };
    create_folder(parent, None, folders)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = parent.join(temporary_name(&name.to_string_lossy(), std::process::id(), count));
    // of a dead process that had our number
    let _ = std::fs::remove_file(&temporary);
    let done = (|| {
        // born closed to others; it gets its own mode before anybody can find it by its name
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        own(&file, &temporary);
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    done.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        naming("write", path)(error)
    })?;
    // The rename outlives a power cut once the folder is on disk too. It is done already, and not
    // every file system can do this.
    let _ = File::open(parent).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The rename is the one step that anybody sees.
pub(super) fn replace(old: &Path, new: &Path) -> io::Result<()> {
    let replaced = (|| {
        let mode = std::fs::metadata(old)?.permissions();
        std::fs::set_permissions(new, mode)?;
        std::fs::rename(new, old)
    })();
    replaced.map_err(naming("replace", old))?;
    // it outlives a power cut once the folder is on disk too; not every file system can do this
    if let Some(folder) = old.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// `mode` for the last folder; those made on the way are 0700 in and below the user's data folder, else as usual.
pub(super) fn create_folder(path: &Path, mode: Option<u32>, folders: &Folders) -> io::Result<()> {
    // the folder of a relative path without one is the current folder
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent, None, folders)?;
    }
    let usual = if path.starts_with(&folders.data) { 0o700 } else { 0o755 };
    match DirBuilder::new().mode(mode.unwrap_or(usual)).create(path) {
        Ok(()) => {}
        // somebody else was faster
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(naming("create the folder", path)(error)),
    }
    // the umask may have taken bits away that were asked for
    if let Some(mode) = mode {
        let set = std::fs::set_permissions(path, Permissions::from_mode(mode));
        set.map_err(naming("set the permissions of", path))?;
    }
    if is_shared(path, folders) {
        give_folder(path);
    }
    Ok(())
}

/// Whether an open file of our state can be one that we made: a regular file with one name, that
/// belongs to us, or for root to whom the folder belongs.
pub(in crate::host) fn check_own(metadata: &std::fs::Metadata, path: &Path) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !metadata.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    if metadata.nlink() > 1 {
        return refuse("it is a hard link to another file".to_owned());
    }
    let (owner, us) = (metadata.uid(), geteuid());
    let of_the_folder = || {
        let folder = path.parent().and_then(|parent| std::fs::metadata(parent).ok());
        us.is_root() && folder.is_some_and(|folder| folder.uid() == owner)
    };
    if owner != us.as_raw() && !of_the_folder() {
        return refuse(format!("it belongs to another user (uid {owner})"));
    }
    Ok(())
}

/// `ELOOP` in plain words.
pub(in crate::host) fn no_link(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return io::Error::new(io::ErrorKind::PermissionDenied, "it is a symbolic link");
    }
    error
}

/// A file of our state: no link is followed, no pipe waited for, and there is a limit.
pub(super) fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let read = || {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(no_link)?;
        let metadata = file.metadata()?;
        check_own(&metadata, path)?;
        let mut content = Vec::with_capacity(usize::try_from(metadata.len().min(MOST)).unwrap_or(0));
        if file.take(MOST + 1).read_to_end(&mut content)? as u64 > MOST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", MOST >> 20)));
        }
        Ok(content)
    };
    read().map_err(naming("read", path))
}

/// A file that is made when it is read: it has no size that could be asked for.
pub(super) fn read_kernel(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut text = Vec::with_capacity(PAGES);
    loop {
        let mut page = [0; PAGES];
        match file.read(&mut page) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(page.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// For logs, which are opened for appending: what is written meanwhile comes behind what is kept.
pub(super) fn keep_end(path: &Path, most: u64) -> io::Result<()> {
    let cut = || {
        let flags = (OFlags::NOFOLLOW | OFlags::APPEND).bits().cast_signed();
        let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(no_link)?;
        let length = file.metadata()?.len();
        if length <= most {
            return Ok(());
        }
        file.seek(SeekFrom::Start(length - most / 2))?;
        let mut end = Vec::new();
        // with what is written since, as far as that has room, too
        (&file).take(most).read_to_end(&mut end)?;
        // from the first whole line on
        let from = end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(0)?;
        file.write_all(end.get(from..).unwrap_or_default())
    };
    cut().map_err(naming("shorten", path))
}

/// Of the notes on a log, bytes: those of its beginning go first.
const MOST_NOTES: u64 = 512 << 10;

/// One more line of [`times_of`], where the log has another length than in the last one.
pub(super) fn note_length(log: &Path) -> io::Result<()> {
    let path = times_of(log);
    let noted = || {
        let length = match std::fs::symlink_metadata(log) {
            Ok(found) if found.is_file() => found.len(),
            _ => return Ok(()),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600).custom_flags(flags);
        let mut file = open_own(&options, &path).map_err(no_link)?;
        let size = file.metadata()?.len();
        // a line has at most 42 letters
        file.seek(SeekFrom::Start(size.saturating_sub(64)))?;
        let mut end = String::new();
        (&file).take(64).read_to_string(&mut end)?;
        let last = end.lines().last().and_then(length_in).unwrap_or_default();
        if length > last && size < MOST_NOTES {
            return file.write_all(format!("{length} {now}\n").as_bytes());
        }
        if length == last {
            return Ok(());
        }
        // the log has lost its beginning, or the notes are to
        let gone = last.saturating_sub(length);
        file.seek(SeekFrom::Start(if gone == 0 { size / 2 } else { 0 }))?;
        let mut all = String::new();
        (&file).take(MOST_NOTES * 2).read_to_string(&mut all)?;
        // from the first whole line on
        let from = if gone == 0 { all.find('\n').map_or(all.len(), |at| at + 1) } else { 0 };
        let moved = all.get(from..).unwrap_or_default().lines().filter_map(|line| {
            let length = length_in(line)?.checked_sub(gone).filter(|length| *length > 0)?;
            Some(format!("{length} {}\n", line.split_once(' ')?.1))
        });
        let mut kept: String = moved.collect();
        if length > last {
            kept.push_str(&format!("{length} {now}\n"));
        }
        file.set_len(0)?;
        file.write_all(kept.as_bytes())
    };
    noted().map_err(naming("write", &path))
}

fn length_in(note: &str) -> Option<u64> {
    note.split_once(' ')?.0.parse().ok()
}

pub(super) fn list(path: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Of the file system of `path`, or of where it would be made.
pub(super) fn disk(path: &Path) -> io::Result<Disk> {
    let mut place = path;
    loop {
        match rustix::fs::statvfs(place) {
            Ok(found) => {
                // `f_bavail`: what root keeps for itself is not to be had
                let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                return Ok(Disk { total: bytes(found.f_blocks), available: bytes(found.f_bavail) });
            }
            Err(rustix::io::Errno::NOENT) => match place.parent() {
                Some(parent) => place = parent,
                None => return Err(io::ErrorKind::NotFound.into()),
            },
            Err(errno) => return Err(errno.into()),
        }
    }
}
