//! Files of this machine as an archive for a container.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::rules::{Target, Thing, Written};
use super::{Copied, Told};
use crate::app::CopyError;

/// What is copied, found on this machine.
pub struct Source {
    pub path: PathBuf,
    pub from: Thing,
}

/// `follow`: a link that is named is what it leads to; those in a folder stay links.
pub fn source(typed: &Path, follow: bool) -> Result<Source, CopyError> {
    let written = Written::here(typed);
    let path = if written.path.as_os_str().is_empty() { PathBuf::from(".") } else { written.path };
    let found = if follow || written.folder { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
    let metadata = match found {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CopyError::NotThere { place: typed.display().to_string() });
        }
        Err(source) => return Err(CopyError::Read { path, source }),
    };
    if written.folder && !metadata.is_dir() {
        return Err(CopyError::NotAFolder { place: typed.display().to_string() });
    }
    if !metadata.is_dir() && !metadata.is_file() && !metadata.is_symlink() {
        return Err(CopyError::Special { place: typed.display().to_string() });
    }
    // `..` has a name, too
    let name = match path.file_name() {
        Some(name) => Some(name.to_owned()),
        None => fs::canonicalize(&path).ok().and_then(|path| path.file_name().map(OsStr::to_owned)),
    };
    let path = if follow && !metadata.is_dir() { fs::canonicalize(&path).unwrap_or(path) } else { path };
    let from = Thing { name: name.unwrap_or_default(), folder: metadata.is_dir(), contents: written.contents };
    Ok(Source { path, from })
}

/// Writes the archive that makes `target` of the source when it is unpacked in the target's folder. `archive`: with the
/// numbers of owner and group; without, all is root's, as in an image: whoever owns it here is nobody there.
pub fn pack<W: Write>(
    source: &Source,
    target: &Target,
    archive: bool,
    out: W,
    told: &Told,
) -> Result<(Copied, W), CopyError> {
    let mut packer = Packer { builder: tar::Builder::new(out), archive, copied: Copied::default(), told };
    match &target.name {
        Some(name) => {
            let metadata = match source.from.folder {
                true => fs::metadata(&source.path),
                false => fs::symlink_metadata(&source.path),
            };
            let metadata = metadata.map_err(unread(&source.path))?;
            packer.add(&source.path, Path::new(name), &metadata)?;
        }
        None => packer.folder(&source.path, Path::new(""))?,
    }
    let out = packer.builder.into_inner().map_err(unsent)?;
    Ok((packer.copied, out))
}

struct Packer<'a, W: Write> {
    builder: tar::Builder<W>,
    archive: bool,
    copied: Copied,
    told: &'a Told,
}

impl<W: Write> Packer<'_, W> {
    /// What is in a folder.
    fn folder(&mut self, path: &Path, inside: &Path) -> Result<(), CopyError> {
        let mut entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(unread(path))?;
        entries.sort();
        for name in entries {
            let file = path.join(&name);
            match fs::symlink_metadata(&file) {
                Ok(metadata) => self.add(&file, &inside.join(&name), &metadata)?,
                // removed meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unread(&file)(error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, inside: &Path, metadata: &Metadata) -> Result<(), CopyError> {
        let mut header = self.header(metadata);
        if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            let to = fs::read_link(path).map_err(unread(path))?;
            self.builder.append_link(&mut header, inside, to).map_err(unsent)?;
            self.copied.files += 1;
        } else if metadata.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            self.builder.append_data(&mut header, inside, io::empty()).map_err(unsent)?;
            self.folder(path, inside)?;
        } else if metadata.is_file() {
            let file = File::open(path).map_err(unread(path))?;
            // it may have grown since it was looked at
            let size = file.metadata().map_err(unread(path))?.len();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(size);
            let mut content = Exactly { file, left: size, failed: None, told: self.told };
            let sent = self.builder.append_data(&mut header, inside, &mut content);
            match (sent, content.failed) {
                (Err(_), Some(source)) => return Err(CopyError::Read { path: path.to_owned(), source }),
                (sent, _) => sent.map_err(unsent)?,
            }
            self.copied.files += 1;
            self.copied.bytes += size;
        } else {
            self.copied.left_out.push(path.display().to_string());
        }
        Ok(())
    }

    fn header(&self, metadata: &Metadata) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        // it gets another owner, and nothing that was made here may run as that one
        let bits = if self.archive { 0o7777 } else { 0o1777 };
        header.set_mode(metadata.permissions().mode() & bits);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
        let (uid, gid) = if self.archive { (metadata.uid(), metadata.gid()) } else { (0, 0) };
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header
    }
}

/// As many bytes as the header says: no more of a file that grows, and an error for one that becomes shorter.
struct Exactly<'a> {
    file: File,
    left: u64,
    failed: Option<io::Error>,
    told: &'a Told,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if self.left == 0 || most == 0 {
            return Ok(0);
        }
        let read = match self.file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read")),
            read => read,
        };
        match read {
            Ok(read) => {
                self.left -= read as u64;
                self.told.add(read as u64);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

fn unread(path: &Path) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Read { path: path.to_owned(), source }
}

/// Whoever takes the archive has gone, and says why.
fn unsent(source: io::Error) -> CopyError {
    CopyError::Unsent { source }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{There, target};
    use super::*;

    /// `path mode owner size`, or where a link leads.
    fn entries(archive: &[u8]) -> Vec<String> {
        let mut read = tar::Archive::new(archive);
        let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            match entry.link_name().unwrap() {
                Some(to) => format!("{path} -> {}", to.display()),
                None => format!("{path} {:o} {} {}", header.mode().unwrap(), header.uid().unwrap(), entry.size()),
            }
        };
        read.entries().unwrap().map(entry).collect()
    }

    fn packed(typed: &Path, follow: bool, to: &str, there: There) -> Result<(Copied, Vec<String>), CopyError> {
        let source = source(typed, follow)?;
        let target = target(&source.from, &Written::inside(to), there).unwrap();
        let (copied, _) = pack(&source, &target, false, io::sink(), &Told::default())?;
        let mut archive = Vec::new();
        pack(&source, &target, false, &mut archive, &Told::default())?;
        Ok((copied, entries(&archive)))
    }

    #[test]
    fn what_is_packed_is_called_as_it_will_be() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("site/deep")).unwrap();
        fs::write(at("site/deep/a.txt"), "text").unwrap();
        fs::write(at("site/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at("site/run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(at("site/deep/a.txt"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("deep/a.txt", at("site/link")).unwrap();
        std::os::unix::net::UnixListener::bind(at("site/socket")).unwrap();
        for name in ["site", "site/deep"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (copied, all) = packed(&at("site"), false, "/srv", There::Folder).unwrap();
        assert_eq!(
            all,
            [
                "site 755 0 0",
                "site/deep 755 0 0",
                "site/deep/a.txt 640 0 4",
                "site/link -> deep/a.txt",
                "site/run 755 0 10",
            ]
        );
        assert_eq!((copied.files, copied.bytes, copied.left_out.len()), (3, 14, 1));
        let (_, all) = packed(&at("site"), false, "/srv/new", There::Nothing).unwrap();
        assert_eq!(all[0], "new 755 0 0");
        let (_, all) = packed(&at("site/."), false, "/srv", There::Folder).unwrap();
        assert_eq!(all[0], "deep 755 0 0");
        let (_, all) = packed(&at("site/run"), false, "/srv/start", There::File).unwrap();
        assert_eq!(all, ["start 755 0 10"]);
        // a link is a link, unless somebody says otherwise
        assert_eq!(packed(&at("site/link"), false, "/srv", There::Folder).unwrap().1, ["link -> deep/a.txt"]);
        assert_eq!(packed(&at("site/link"), true, "/srv", There::Folder).unwrap().1, ["link 640 0 4"]);
    }

    #[test]
    fn what_cannot_be_packed_is_said() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        let wrong = |name: &str| packed(&at(name), false, "/srv", There::Folder).unwrap_err();
        assert!(matches!(wrong("gone"), CopyError::NotThere { .. }));
        assert!(matches!(wrong("file/"), CopyError::NotAFolder { .. } | CopyError::Read { .. }));
        assert!(matches!(source(&at("file/x"), false), Err(CopyError::Read { .. })));
        assert!(matches!(source(Path::new("/dev/null"), false), Err(CopyError::Special { .. })));
        // one that becomes shorter while it is read
        let mut short =
            Exactly { file: File::open(at("file")).unwrap(), left: 2, failed: None, told: &Told::default() };
        assert!(io::copy(&mut short, &mut io::sink()).is_err());
        assert_eq!(short.failed.map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn nothing_runs_as_root_that_was_somebody_elses() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
        let source = source(&file, false).unwrap();
        let target = Target { folder: "/".into(), name: Some("file".into()) };
        for (keep, mode) in [(false, 0o755), (true, 0o6755)] {
            let mut archive = Vec::new();
            pack(&source, &target, keep, &mut archive, &Told::default()).unwrap();
            let mut read = tar::Archive::new(archive.as_slice());
            let entry = read.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(entry.header().mode().unwrap(), mode);
        }
    }

    #[test]
    fn owners_go_along_where_they_are_asked_for() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let own = fs::metadata(folder.path().join("file")).unwrap().uid();
        let source = source(&folder.path().join("file"), false).unwrap();
        let target = Target { folder: "/".into(), name: Some("file".into()) };
        let mut archive = Vec::new();
        pack(&source, &target, true, &mut archive, &Told::default()).unwrap();
        let mut read = tar::Archive::new(archive.as_slice());
        let entry = read.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.header().uid().unwrap(), u64::from(own));
    }
}
