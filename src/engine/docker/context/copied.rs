//! A folder of this machine that is copied into a volume: looked at, and packed.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::{CHUNK, ContextCache, Digest, Pieces, WAITING, hex, named};
use crate::model::{CopiedFolder, FolderContent};

/// What is copied, the folders before what is in them.
struct Entry {
    path: PathBuf,
    /// Its path in the copy.
    inside: String,
    metadata: Metadata,
}

/// Every file, folder and link that is copied, and what they come to. Sockets, pipes and devices are counted and left out.
/// Where there is more than `most`, the rest is not looked at.
fn entries(folder: &CopiedFolder, most: Option<(u64, u64)>) -> io::Result<(Vec<Entry>, FolderContent)> {
    let mut found = Vec::new();
    let mut sum = FolderContent::default();
    let is_more = |sum: &FolderContent| most.is_some_and(|(files, bytes)| sum.files > files || sum.bytes > bytes);
    let mut open = vec![(folder.path.clone(), String::new())];
    while let Some((path, inside)) = open.pop() {
        let names =
            fs::read_dir(&path).and_then(|all| all.map(|one| Ok(one?.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = names.map_err(|error| named(&path, error))?;
        names.sort();
        for name in names {
            let path = path.join(&name);
            let Some(name) = name.to_str() else {
                return Err(named(&path, io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8")));
            };
            let inside = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                // removed meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(&path, error)),
            };
            let hidden = folder.without.contains(&inside);
            let kind = metadata.file_type();
            if kind.is_dir() {
                if !hidden {
                    open.push((path.clone(), inside.clone()));
                }
            } else if hidden {
                continue;
            } else if !kind.is_file() && !kind.is_symlink() {
                sum.special += 1;
                continue;
            }
            sum.files += 1;
            sum.bytes += if kind.is_file() { metadata.len() } else { 0 };
            if is_more(&sum) {
                return Ok((Vec::new(), sum));
            }
            // something is mounted over a hidden folder: it has to be there for that
            found.push(Entry { path, inside, metadata });
        }
    }
    let mut all: BTreeMap<String, Entry> = found.into_iter().map(|entry| (entry.inside.clone(), entry)).collect();
    for (inside, path) in &folder.with {
        let metadata = fs::metadata(path).map_err(|error| named(path, error))?;
        sum.files += 1;
        sum.bytes += metadata.len();
        all.insert(inside.clone(), Entry { path: path.clone(), inside: inside.clone(), metadata });
    }
    // whoever has the copy may only read it: nobody makes a place there for what is mounted into it
    if !folder.without.is_empty() {
        let root = fs::metadata(&folder.path).map_err(|error| named(&folder.path, error))?;
        for place in folder.without.iter().flat_map(|place| Path::new(place).ancestors()) {
            let inside = place.to_string_lossy().into_owned();
            if !inside.is_empty() && !folder.path.join(&inside).is_file() {
                let entry = || Entry { path: folder.path.clone(), inside: inside.clone(), metadata: root.clone() };
                all.entry(inside.clone()).or_insert_with(entry);
            }
        }
    }
    Ok((all.into_values().collect(), sum))
}

impl ContextCache {
    /// What would be copied. A folder with more files or bytes than these is looked at no further, and has no digest.
    ///
    /// # Errors
    /// A file or folder that cannot be read.
    pub fn look_at_copy(&mut self, folder: &CopiedFolder, most: (u64, u64)) -> io::Result<FolderContent> {
        let (entries, mut content) = entries(folder, Some(most))?;
        if content.files > most.0 || content.bytes > most.1 {
            return Ok(content);
        }
        let root = fs::metadata(&folder.path).map_err(|error| named(&folder.path, error))?;
        let mut all = Whole::default();
        all.add("", &root, b"");
        let mut seen = Digest { hash: Sha256::new(), known: self, seen: Default::default() };
        for Entry { path, inside, metadata } in &entries {
            let content = if metadata.is_symlink() {
                fs::read_link(path).map_err(|error| named(path, error))?.as_os_str().as_bytes().to_vec()
            } else if metadata.is_file() {
                seen.content(path, metadata).map_err(|error| named(path, error))?.into_bytes()
            } else {
                Vec::new()
            };
            all.add(inside, metadata, &content);
        }
        let Digest { seen, .. } = seen;
        let before = self.files.len();
        // another copy may hold what is hidden in this one
        let hidden = |path: &Path| {
            path.strip_prefix(&folder.path)
                .is_ok_and(|below| folder.without.iter().any(|hidden| below.starts_with(hidden)))
        };
        self.files.retain(|path, _| !path.starts_with(&folder.path) || hidden(path) || seen.contains_key(path));
        self.changed |= self.files.len() != before;
        self.files.extend(seen);
        content.digest = hex(all.0);
        Ok(content)
    }
}

/// The digest of a copy: of paths, owners, rights and what is there.
#[derive(Default)]
struct Whole(Sha256);

impl Whole {
    /// `content`: the digest of a file's, or where a link leads.
    fn add(&mut self, inside: &str, metadata: &Metadata, content: &[u8]) {
        let owner = [metadata.permissions().mode(), metadata.uid(), metadata.gid()].map(u32::to_be_bytes);
        for part in [inside.as_bytes(), &owner.concat(), content] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }
}

/// What passes through is hashed.
struct Hashed<R>(R, Sha256);

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// A folder on its way into an archive.
pub struct PackedCopy {
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
    /// Of what was packed, once that is at its end: as [`ContextCache::look_at_copy`] makes it. Nothing comes where
    /// something could not be read.
    pub digest: oneshot::Receiver<String>,
}

/// The folder and what is in it, packed on a thread of its own while the engine reads. `name`: what the folder is called
/// in the archive. What cannot be read ends it with an error.
pub fn pack_copy(folder: CopiedFolder, name: &'static str) -> PackedCopy {
    let (sender, receiver) = mpsc::channel(WAITING);
    let (done, digest) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let mut writer = Pieces { sender: sender.clone(), piece: Vec::with_capacity(CHUNK) };
        match pack(&folder, name, &mut writer).and_then(|digest| writer.flush().map(|()| digest)) {
            // nobody waits for it any more
            Ok(digest) => drop(done.send(digest)),
            // a closed channel: the engine reads no more, and says why
            Err(error) => drop(sender.blocking_send(Err(error))),
        }
    });
    let next = |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    };
    PackedCopy { pieces: stream::unfold(receiver, next).boxed(), digest }
}

fn pack(folder: &CopiedFolder, name: &str, out: &mut dyn Write) -> io::Result<String> {
    let mut all = Whole::default();
    let mut builder = tar::Builder::new(out);
    // a volume gets owner and rights of the folder itself
    let metadata = fs::metadata(&folder.path).map_err(|error| named(&folder.path, error))?;
    let mut root = header(&metadata);
    root.set_entry_type(tar::EntryType::Directory);
    all.add("", &metadata, b"");
    builder.append_data(&mut root, format!("{name}/"), io::empty())?;
    for Entry { path, inside: place, metadata } in entries(folder, None)?.0 {
        let inside = format!("{name}/{place}");
        let mut header = header(&metadata);
        let added = if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            fs::read_link(&path).and_then(|to| {
                builder.append_link(&mut header, &inside, &to)?;
                Ok(to.into_os_string().into_vec())
            })
        } else if metadata.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("{inside}/"), io::empty()).map(|()| Vec::new())
        } else {
            File::open(&path).and_then(|file| {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(metadata.len());
                // a file that grows or shrinks meanwhile must not shift what follows it
                let mut content = Hashed(file.chain(io::repeat(0)).take(metadata.len()), Sha256::new());
                builder.append_data(&mut header, &inside, &mut content)?;
                Ok(hex(content.1).into_bytes())
            })
        };
        all.add(&place, &metadata, &added.map_err(|error| named(&path, error))?);
    }
    builder.finish()?;
    Ok(hex(all.0))
}

/// Owners and rights as they are here: whoever mounts the folder sees these, too.
fn header(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header
}

/// What lies at a path of this machine: when it was changed last, in nanoseconds since the epoch.
pub fn changed_here(path: &Path) -> Option<i128> {
    let metadata = fs::metadata(path).ok()?;
    Some(i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, CopiedFolder) {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        for name in ["site/deep", "site/node_modules/x"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("site/deep/a.txt"), "text").unwrap();
        fs::write(at("site/node_modules/x/index.js"), "x").unwrap();
        fs::write(at("site/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at("site/run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("deep/a.txt", at("site/link")).unwrap();
        std::os::unix::net::UnixListener::bind(at("site/socket")).unwrap();
        fs::write(at("ci.env"), "A=1\n").unwrap();
        let copied = CopiedFolder {
            path: at("site"),
            without: ["node_modules".to_owned(), ".env".to_owned()].into(),
            with: [(".env".to_owned(), at("ci.env"))].into(),
            ..CopiedFolder::default()
        };
        (temporary, copied)
    }

    const MOST: (u64, u64) = (100, 1000);

    async fn packed(folder: &CopiedFolder) -> Vec<String> {
        let mut archive = Vec::new();
        let mut packing = pack_copy(folder.clone(), "copy");
        while let Some(piece) = packing.pieces.next().await {
            archive.extend_from_slice(&piece.unwrap());
        }
        let mut read = tar::Archive::new(archive.as_slice());
        let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().display().to_string();
            match entry.link_name().unwrap() {
                Some(to) => format!("{path} -> {}", to.display()),
                None => format!("{path} {:?}", text.trim_end()),
            }
        };
        read.entries().unwrap().map(entry).collect()
    }

    #[tokio::test]
    async fn a_copy_holds_what_a_mount_would_show() {
        let (_keep, folder) = folder();
        assert_eq!(
            packed(&folder).await,
            [
                "copy/ \"\"",
                "copy/.env \"A=1\"",
                "copy/deep/ \"\"",
                "copy/deep/a.txt \"text\"",
                "copy/link -> deep/a.txt",
                // for what is mounted there
                "copy/node_modules/ \"\"",
                "copy/run \"#!/bin/sh\"",
            ]
        );
        let content = ContextCache::default().look_at_copy(&folder, MOST).unwrap();
        assert_eq!((content.files, content.bytes, content.special), (6, 18, 1));
        let mut archive = Vec::new();
        assert_eq!(pack(&folder, ".", &mut archive).unwrap(), content.digest, "what was looked at is what was packed");
        let mut read = tar::Archive::new(archive.as_slice());
        let entry = read.entries().unwrap().next().unwrap().unwrap();
        let own = fs::metadata(&folder.path).unwrap();
        assert_eq!(entry.path_bytes().as_ref(), b"./");
        assert_eq!(entry.header().mode().unwrap(), own.permissions().mode() & 0o7777);
        assert_eq!(entry.header().uid().unwrap(), u64::from(own.uid()));
    }

    #[tokio::test]
    async fn what_is_mounted_into_a_copy_finds_its_place_there() {
        let (_keep, folder) = folder();
        let without = ["deep/a.txt", "deep/cache/x", "logs", "run"].map(str::to_owned).into();
        let folder = CopiedFolder { without, with: BTreeMap::new(), ..folder };
        assert_eq!(
            packed(&folder).await,
            [
                "copy/ \"\"",
                "copy/deep/ \"\"",
                "copy/deep/cache/ \"\"",
                "copy/deep/cache/x/ \"\"",
                "copy/link -> deep/a.txt",
                "copy/logs/ \"\"",
                "copy/node_modules/ \"\"",
                "copy/node_modules/x/ \"\"",
                "copy/node_modules/x/index.js \"x\"",
            ]
        );
    }

    #[test]
    fn a_digest_changes_with_what_is_copied_and_with_nothing_else() {
        let (keep, folder) = folder();
        let at = |name: &str| keep.path().join(name);
        let of = |cache: &mut ContextCache| cache.look_at_copy(&folder, MOST).unwrap().digest;
        let mut cache = ContextCache::default();
        let mut last = of(&mut cache);
        assert_eq!(of(&mut ContextCache::default()), last);
        fs::write(at("site/node_modules/x/index.js"), "y").unwrap();
        assert_eq!(of(&mut cache), last, "nobody sees it");
        let mut changed = |what: &str| {
            let now = of(&mut cache);
            assert_ne!(now, last, "{what}");
            assert_eq!(now, of(&mut ContextCache::default()), "{what}: whoever has not looked before sees the same");
            last = now;
        };
        fs::write(at("site/deep/a.txt"), "other").unwrap();
        changed("a file");
        fs::write(at("ci.env"), "A=2\n").unwrap();
        changed("a file that is mounted into it");
        fs::set_permissions(at("site/run"), fs::Permissions::from_mode(0o700)).unwrap();
        changed("rights");
        fs::remove_file(at("site/link")).unwrap();
        changed("a link less");
        fs::create_dir(at("site/empty")).unwrap();
        changed("an empty folder");
        fs::set_permissions(at("site"), fs::Permissions::from_mode(0o711)).unwrap();
        changed("rights of the folder itself");
        assert_eq!(pack(&folder, "x", &mut Vec::new()).unwrap(), last);
        fs::write(at("site/more"), "x").unwrap();
        assert_ne!(pack(&folder, "x", &mut Vec::new()).unwrap(), last);
    }

    #[test]
    fn too_much_is_not_looked_at_further() {
        let (keep, folder) = folder();
        let look = |most| ContextCache::default().look_at_copy(&folder, most).unwrap();
        for most in [(5, 1000), (100, 17), (0, 1000)] {
            let content = look(most);
            assert!(content.files > most.0 || content.bytes > most.1, "{most:?} {content:?}");
            assert!(content.files <= most.0 + 1 && content.digest.is_empty(), "{most:?} {content:?}");
        }
        assert!(!look((6, 18)).digest.is_empty());
        let gone = CopiedFolder { path: keep.path().join("gone"), ..CopiedFolder::default() };
        let error = ContextCache::default().look_at_copy(&gone, MOST).unwrap_err();
        assert!(error.to_string().contains("/gone"), "{error}");
    }

    #[test]
    fn a_name_that_is_not_text_is_an_error() {
        let (keep, folder) = folder();
        let name = std::ffi::OsStr::from_bytes(b"site/caf\xe9");
        fs::write(keep.path().join(name), "x").unwrap();
        let error = ContextCache::default().look_at_copy(&folder, MOST).unwrap_err();
        assert!(error.to_string().ends_with("/site/caf\u{fffd}: its name is not UTF-8"), "{error}");
    }

    #[test]
    fn a_large_file_counts_by_what_it_holds() {
        let (keep, folder) = folder();
        let large = keep.path().join("site/large");
        let of = || ContextCache::default().look_at_copy(&folder, (100, 1 << 30)).unwrap().digest;
        fs::write(&large, vec![1; 17 << 20]).unwrap();
        let before = of();
        let time = fs::metadata(&large).unwrap().modified().unwrap();
        fs::write(&large, vec![2; 17 << 20]).unwrap();
        fs::File::options().write(true).open(&large).unwrap().set_modified(time).unwrap();
        assert_ne!(of(), before);
    }
}
