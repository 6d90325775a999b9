//! `cp`: files between this machine and a container, running or not, as archives that are never in memory as a whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::pieces::{END, from_thread, to_thread};
use crate::app::{CopyError, Error, Session};
use crate::engine::{Engine, EngineError, PathInfo};

mod pack;
mod rules;
mod unpack;
mod whole;

pub use whole::pack_from;

use rules::{Refusal, Target, There, Thing, Written, target};

/// Links that lead to links.
const HOPS: usize = 16;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Without folders.
    pub files: u64,
    /// Of their content.
    pub bytes: u64,
    /// Devices, pipes and sockets.
    pub left_out: Vec<String>,
    /// Where it lies now.
    pub path: String,
}

/// How far it is, for whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<AtomicU64>);

impl Told {
    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// A link that is named is what it leads to.
    pub follow: bool,
    /// With owner and group.
    pub archive: bool,
}

/// A path in a container.
pub struct Inside<'a> {
    pub engine: &'a dyn Engine,
    /// As the user calls it, for errors.
    pub service: &'a str,
    pub container: &'a str,
    pub path: &'a str,
}

impl Inside<'_> {
    fn place(&self, path: &Path) -> String {
        format!("{}:{}", self.service, path.display())
    }

    async fn look(&self, path: &Path) -> Result<Option<PathInfo>, Error> {
        let found = self.engine.look_at(self.container, &text(path, self)?).await?;
        if found.is_none() {
            // an engine says the same of a container that was removed meanwhile: then this is the error
            self.engine.inspect(self.container).await?;
        }
        Ok(found)
    }

    /// An error where the service does not see what an archive has there.
    async fn reached(&self, path: &Path) -> Result<(), Error> {
        let folders = self.engine.in_memory(self.container).await?;
        let Some(folder) = folders.into_iter().find(|folder| path.starts_with(folder)) else { return Ok(()) };
        // a volume in such a folder is reached
        let mounts = self.engine.mounts(self.container).await?;
        if mounts.iter().any(|(at, _)| path.starts_with(at) && at.starts_with(&folder) && *at != folder) {
            return Ok(());
        }
        let service = self.service.to_owned();
        Err(CopyError::InMemory { service, place: self.place(path), folder }.into())
    }

    /// Where a path leads, and what is there. The last link may lead to nothing.
    async fn resolved(&self, path: &Path) -> Result<(PathBuf, Option<PathInfo>), Error> {
        let mut path = path.to_owned();
        for _ in 0..HOPS {
            match self.look(&path).await? {
                Some(PathInfo::Link { to }) => path = Written::inside(&text(&beside(&path, &to), self)?).path,
                found => return Ok((path, found)),
            }
        }
        Err(CopyError::Circle { place: self.place(&path) }.into())
    }

    fn refused(&self, refusal: Refusal, to: &Written) -> CopyError {
        of_refusal(refusal, self.place(&to.path), &to.path)
    }
}

/// A path that the engine is asked for, which is text.
fn text(path: &Path, inside: &Inside<'_>) -> Result<String, CopyError> {
    let text = path.to_str().ok_or_else(|| CopyError::NotText { place: inside.place(path) })?;
    Ok(text.to_owned())
}

fn beside(path: &Path, to: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(to)
}

fn of_refusal(refusal: Refusal, place: String, path: &Path) -> CopyError {
    match refusal {
        Refusal::NoFolder => CopyError::NotThere { place },
        Refusal::NotAFolder => CopyError::NotAFolder { place },
        Refusal::FolderOverFile => CopyError::FolderOverFile { path: path.to_owned() },
        Refusal::Special => CopyError::Special { place },
    }
}

fn there(found: Option<&PathInfo>) -> There {
    match found {
        None => There::Nothing,
        Some(PathInfo::File { .. }) => There::File,
        Some(PathInfo::Folder) => There::Folder,
        Some(PathInfo::Link { .. } | PathInfo::Other) => There::Other,
    }
}

/// Copies something of this machine into a container.
pub async fn copy_to(
    session: &Session,
    from: &Path,
    to: &Inside<'_>,
    options: CopyOptions,
    told: &Told,
) -> Result<Copied, Error> {
    let typed = from.to_owned();
    let source = blocking(move || pack::source(&typed, options.follow)).await??;
    let written = Written::inside(to.path);
    to.reached(&written.path).await?;
    let target = place_inside(to, &source.from, &written).await?;
    // a link may lead there, and what is put in a folder may be called as the tmpfs is
    to.reached(&target.path()).await?;
    let (sink, pieces) = from_thread();
    let (folder, path) = (text(&target.folder, to)?, target.path());
    let told = told.clone();
    let packing = blocking(move || {
        let (copied, sink) = pack::pack(&source, &target, options.archive, sink, &told)?;
        // an engine that has seen the archive's end may have answered by now, and its answer counts
        let _ = sink.end();
        Ok::<_, CopyError>(copied)
    });
    let (sent, packed) = tokio::join!(unpack_in(session, to, &folder, pieces), packing);
    let copied = match (sent, packed?) {
        // what could not be read ends what is sent, and not the other way round
        (_, Err(error @ CopyError::Read { .. })) => return Err(error.into()),
        (Err(error), _) => return Err(error),
        (Ok(()), packed) => packed?,
    };
    Ok(Copied { path: path.display().to_string(), ..copied })
}

/// Where in a container something is put, and that there is a place for it.
async fn place_inside(to: &Inside<'_>, from: &Thing, written: &Written) -> Result<Target, Error> {
    let (path, found) = to.resolved(&written.path).await?;
    let written = Written { path, ..written.clone() };
    let target = target(from, &written, there(found.as_ref())).map_err(|refusal| to.refused(refusal, &written))?;
    if found.is_none() {
        match to.resolved(&target.folder).await?.1 {
            Some(PathInfo::Folder) => {}
            Some(_) => return Err(CopyError::NotAFolder { place: to.place(&target.folder) }.into()),
            None => return Err(CopyError::NotThere { place: to.place(&target.folder) }.into()),
        }
    } else if target.name.is_some() && found == Some(PathInfo::Folder) {
        // in the folder there may be something else of that name
        let path = target.path();
        match (to.resolved(&path).await?.1, from.folder) {
            (Some(PathInfo::Folder), false) => return Err(CopyError::FileOverFolder { path }.into()),
            (Some(PathInfo::File { .. } | PathInfo::Other), true) => {
                return Err(CopyError::FolderOverFile { path }.into());
            }
            _ => {}
        }
    }
    Ok(target)
}

/// Unpacks an archive of the user's in a folder of a container.
pub async fn unpack_to(
    session: &Session,
    archive: BoxStream<'static, io::Result<Bytes>>,
    to: &Inside<'_>,
    told: &Told,
) -> Result<(), Error> {
    let written = Written::inside(to.path).path;
    to.reached(&written).await?;
    let (path, found) = to.resolved(&written).await?;
    to.reached(&path).await?;
    match found {
        Some(PathInfo::Folder) => {}
        Some(_) => return Err(CopyError::NotAFolder { place: to.place(&path) }.into()),
        None => return Err(CopyError::NotThere { place: to.place(&path) }.into()),
    }
    let told = told.clone();
    let counted = archive.inspect(move |piece| {
        if let Ok(piece) = piece {
            told.add(piece.len() as u64);
        }
    });
    unpack_in(session, to, &text(&path, to)?, counted.boxed()).await
}

async fn unpack_in(
    session: &Session,
    to: &Inside<'_>,
    folder: &str,
    archive: BoxStream<'static, io::Result<Bytes>>,
) -> Result<(), Error> {
    let sent = tokio::select! {
        sent = to.engine.unpack_in(to.container, folder, archive) => sent,
        () = session.cancel.cancelled() => return Err(Error::Cancelled),
    };
    sent.map_err(|error| match error {
        EngineError::Other { message, .. } if read_only(&message) => {
            CopyError::ReadOnly { place: to.place(Path::new(folder)), message }.into()
        }
        error => error.into(),
    })
}

/// The engine's words, or the kernel's; the name of a file may say the same.
fn read_only(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("marked read-only") || message.contains("read-only file system")
}

/// What is copied out of a container, and where it is there.
async fn source_inside(from: &Inside<'_>, follow: bool) -> Result<(PathBuf, Thing), Error> {
    let written = Written::inside(from.path);
    from.reached(&written.path).await?;
    let missing = || CopyError::NotThere { place: from.place(&written.path) };
    let first = from.look(&written.path).await?.ok_or_else(missing)?;
    let leads = matches!(first, PathInfo::Link { .. }) && (follow || written.folder);
    let (path, found) = match leads {
        true => {
            let (path, found) = from.resolved(&written.path).await?;
            from.reached(&path).await?;
            (path, found.ok_or_else(missing)?)
        }
        false => (written.path.clone(), first),
    };
    match found {
        PathInfo::Other => return Err(CopyError::Special { place: from.place(&path) }.into()),
        PathInfo::File { .. } | PathInfo::Link { .. } if written.folder => {
            return Err(CopyError::NotAFolder { place: from.place(&path) }.into());
        }
        _ => {}
    }
    // under the name of the link, whatever it leads to
    let name = written.path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    Ok((path, Thing { name, folder: found == PathInfo::Folder, contents: written.contents }))
}

/// Copies something out of a container to this machine.
pub async fn copy_from(
    session: &Session,
    from: &Inside<'_>,
    to: &Path,
    options: CopyOptions,
    told: &Told,
) -> Result<Copied, Error> {
    let (path, source) = source_inside(from, options.follow).await?;
    let typed = to.to_owned();
    let target = blocking(move || place_here(&source, &typed)).await??;
    let mut pieces = from.engine.pack(from.container, &text(&path, from)?).await?;
    let (sender, archive) = to_thread();
    let (path, told) = (target.path(), told.clone());
    let unpacking = blocking(move || unpack::unpack(archive, &target, options.archive, &told));
    let feeding = async {
        // moved in, so that the thread is told when this breaks off, and takes away what it has begun
        let sender = sender;
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = session.cancel.cancelled() => return Err(Error::Cancelled),
            };
            match piece {
                Some(piece) => {
                    let piece = piece?;
                    // one that has ended has an error of its own
                    if !piece.is_empty() && sender.send(piece).await.is_err() {
                        return Ok(());
                    }
                }
                None => {
                    let _ = sender.send(END).await;
                    return Ok(());
                }
            }
        }
    };
    let (unpacked, fed) = tokio::join!(unpacking, feeding);
    fed?;
    Ok(Copied { path: path.display().to_string(), ..unpacked?? })
}

/// Where on this machine something is put, and that there is a place for it.
fn place_here(from: &Thing, typed: &Path) -> Result<Target, CopyError> {
    let written = Written::here(typed);
    let (path, found) = unpack::look(&written.path)?;
    let written = Written { path, ..written };
    let refused = |refusal| of_refusal(refusal, typed.display().to_string(), &written.path);
    let target = target(from, &written, found).map_err(refused)?;
    match unpack::look(&target.folder)?.1 {
        There::Folder => {}
        There::Nothing => return Err(CopyError::NotThere { place: target.folder.display().to_string() }),
        There::File | There::Other => return Err(CopyError::NotAFolder { place: target.folder.display().to_string() }),
    }
    let path = target.path();
    // the user has named the folder; a link in it may have come with an earlier copy, and leads where the container wants
    let linked = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    if from.folder && linked && path != written.path {
        return Err(CopyError::FolderOverLink { path });
    }
    match unpack::look(&path)?.1 {
        There::File if from.folder => Err(CopyError::FolderOverFile { path }),
        There::Folder if !from.folder => Err(CopyError::FileOverFolder { path }),
        There::Other => Err(CopyError::Special { place: path.display().to_string() }),
        _ => Ok(target),
    }
}

/// What a reader has, read by a thread of its own: one that waits for somebody to type must not hold up the program's end.
pub fn archive_of(mut reader: impl io::Read + Send + 'static) -> BoxStream<'static, io::Result<Bytes>> {
    let (mut sink, pieces) = from_thread();
    std::thread::spawn(move || {
        // without its end the archive counts as broken off
        if io::copy(&mut reader, &mut sink).is_ok() {
            let _ = sink.end();
        }
    });
    pieces
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::app::testing::session;
    use crate::engine::fake::FakeEngine;
    use crate::engine::{Containers, Streams};
    use crate::host::fake::FakeHost;
    use crate::model::{ContainerSpec, FileSpec, MountSpec};

    /// A container with some files, and a folder of this machine.
    async fn world() -> (FakeEngine, Session, tempfile::TempDir) {
        let engine = FakeEngine::new().with_image("nginx:1");
        let spec = ContainerSpec { name: "web-1".into(), ..ContainerSpec::default() };
        engine.create_container(&spec, "nginx:1", &Default::default()).await.unwrap();
        let file = |path: &str, content: &str| FileSpec {
            path: path.into(),
            content: content.into(),
            uid: 7,
            gid: 7,
            mode: 0o644,
            secret: false,
            reload: false,
        };
        let files = [file("/etc/app/a.conf", "one"), file("/etc/app/deep/b.conf", "two"), file("/srv/page", "old")];
        engine.write_files("web-1", &files).await.unwrap();
        engine.write_files("web-1", &[file("/var/zeros", &"\0".repeat(4096))]).await.unwrap();
        let session = session(FakeHost::new(), &engine, "cp");
        (engine, session, tempfile::TempDir::new().unwrap())
    }

    fn inside<'a>(engine: &'a FakeEngine, path: &'a str) -> Inside<'a> {
        Inside { engine, service: "web", container: "web-1", path }
    }

    #[tokio::test]
    async fn files_and_folders_go_in_and_come_out() {
        let (engine, session, folder) = world().await;
        let (at, told) = (|name: &str| folder.path().join(name), Told::default());
        let copied =
            copy_from(&session, &inside(&engine, "/etc/app"), &at("app"), CopyOptions::default(), &told).await.unwrap();
        assert_eq!((copied.files, copied.bytes, copied.path), (2, 6, at("app").display().to_string()));
        assert_eq!(fs::read_to_string(at("app/deep/b.conf")).unwrap(), "two");
        // again, now that the folder is there: into it; and what is in it only
        for (path, seen) in [("/etc/app", "app/app/a.conf"), ("/etc/app/.", "app/a.conf")] {
            copy_from(&session, &inside(&engine, path), &at("app"), CopyOptions::default(), &told).await.unwrap();
            assert_eq!(fs::read_to_string(at(seen)).unwrap(), "one");
        }
        fs::write(at("page"), "new").unwrap();
        let copied =
            copy_to(&session, &at("page"), &inside(&engine, "/srv"), CopyOptions::default(), &told).await.unwrap();
        assert_eq!((copied.files, copied.path.as_str()), (1, "/srv/page"));
        assert_eq!(engine.read_file("web-1", "/srv/page").await.unwrap().unwrap(), b"new");
        let app = at("app");
        let copied = copy_to(&session, &app, &inside(&engine, "/srv/new"), CopyOptions::default(), &told).await;
        assert_eq!(copied.unwrap().files, 4);
        assert_eq!(engine.read_file("web-1", "/srv/new/deep/b.conf").await.unwrap().unwrap(), b"two");
        // a file takes no folder's place
        fs::create_dir_all(at("taken/a.conf")).unwrap();
        let from = inside(&engine, "/etc/app/a.conf");
        let error = copy_from(&session, &from, &at("taken"), CopyOptions::default(), &told).await.unwrap_err();
        assert!(matches!(error, Error::Copy(CopyError::FileOverFolder { .. })), "{error}");
    }

    #[tokio::test]
    async fn a_link_that_an_earlier_copy_brought_is_not_followed() {
        let (engine, session, folder) = world().await;
        let (at, told) = (|name: &str| folder.path().join(name), Told::default());
        for name in ["out", "outside"] {
            fs::create_dir(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("outside"), at("out/app")).unwrap();
        let from = inside(&engine, "/etc/app");
        let error = copy_from(&session, &from, &at("out"), CopyOptions::default(), &told).await.unwrap_err();
        assert!(matches!(error, Error::Copy(CopyError::FolderOverLink { .. })), "{error}");
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
        // one that the user names is
        let from = inside(&engine, "/etc/app/.");
        copy_from(&session, &from, &at("out/app"), CopyOptions::default(), &told).await.unwrap();
        assert!(at("outside/a.conf").exists());
    }

    /// What the engine has there is hidden from the service.
    #[tokio::test]
    async fn what_lies_in_memory_is_not_copied() {
        let (engine, session, folder) = world().await;
        let tmpfs =
            |target: &str| MountSpec::Tmpfs { target: target.into(), size: None, mode: None, options: Vec::new() };
        let spec = ContainerSpec { name: "web-2".into(), mounts: vec![tmpfs("/run")], ..ContainerSpec::default() };
        engine.create_container(&spec, "nginx:1", &Default::default()).await.unwrap();
        let (at, told) = (folder.path().join("page"), Told::default());
        fs::write(&at, "new").unwrap();
        for path in ["/run", "/run/", "/run/app/pid"] {
            let there = || Inside { container: "web-2", ..inside(&engine, path) };
            let into = copy_to(&session, &at, &there(), CopyOptions::default(), &told).await.map(|_| ());
            let out = copy_from(&session, &there(), folder.path(), CopyOptions::default(), &told).await.map(|_| ());
            for error in [into.unwrap_err(), out.unwrap_err()] {
                assert!(matches!(error, Error::Copy(CopyError::InMemory { .. })), "{path}: {error}");
            }
        }
        let other = Inside { container: "web-2", ..inside(&engine, "/running") };
        let error = copy_from(&session, &other, folder.path(), CopyOptions::default(), &told).await.unwrap_err();
        assert!(matches!(error, Error::Copy(CopyError::NotThere { .. })), "{error}");
        // a folder of that name becomes it
        let file = FileSpec {
            path: "/srv/page".into(),
            content: "old".into(),
            uid: 7,
            gid: 7,
            mode: 0o644,
            secret: false,
            reload: false,
        };
        engine.write_files("web-2", &[file]).await.unwrap();
        let named = folder.path().join("run");
        fs::create_dir(&named).unwrap();
        let root = Inside { container: "web-2", ..inside(&engine, "/") };
        let into = copy_to(&session, &named, &root, CopyOptions::default(), &told).await.map(|_| ());
        assert!(matches!(into, Err(Error::Copy(CopyError::InMemory { .. }))), "{into:?}");
    }

    #[tokio::test]
    async fn a_container_that_is_gone_is_not_a_path_that_is_missing() {
        let (engine, session, folder) = world().await;
        let from = Inside { container: "web-9", ..inside(&engine, "/etc/app") };
        let to = folder.path().join("app");
        let error = copy_from(&session, &from, &to, CopyOptions::default(), &Told::default()).await.unwrap_err();
        assert!(matches!(error, Error::Engine(_)), "{error}");
    }

    #[test]
    fn only_the_engines_words_mean_that_something_is_read_only() {
        assert!(read_only("container rootfs is marked read-only") && read_only("mkdir /x: Read-only file system"));
        assert!(!read_only("open /srv/read-only/x: no such file or directory"));
    }

    #[tokio::test]
    async fn an_archive_goes_through_as_it_is() {
        let (engine, session, _folder) = world().await;
        let (mut archive, told) = (Vec::new(), Told::default());
        let mut write = |piece: &[u8]| {
            archive.extend_from_slice(piece);
            Ok(())
        };
        pack_from(&session, &inside(&engine, "/etc/app"), CopyOptions::default(), &told, &mut write).await.unwrap();
        assert_eq!(told.bytes(), archive.len() as u64);
        let pieces: Vec<io::Result<Bytes>> =
            archive.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let stream = futures_util::stream::iter(pieces).boxed();
        unpack_to(&session, stream, &inside(&engine, "/srv/"), &told).await.unwrap();
        assert_eq!(engine.read_file("web-1", "/srv/app/deep/b.conf").await.unwrap().unwrap(), b"two");
        let none = futures_util::stream::iter(Vec::new()).boxed();
        let error = unpack_to(&session, none, &inside(&engine, "/srv/page"), &told).await.unwrap_err();
        assert_eq!(error.to_string(), "web:/srv/page is not a folder");
    }

    #[tokio::test]
    async fn an_archive_that_broke_off_is_known_when_it_has_gone_through() {
        // empty bytes of a file are no end
        for (path, missing, whole) in [
            ("/etc/app", 0, true),
            ("/etc/app", 512, false),
            ("/etc/app", 2000, false),
            ("/var/zeros", 0, true),
            ("/var/zeros", 1024, false),
        ] {
            let (engine, session, _folder) = world().await;
            let engine = engine.packs_less(missing);
            let (mut sent, told) = (0, Told::default());
            let mut write = |piece: &[u8]| {
                sent += piece.len() as u64;
                Ok(())
            };
            let options = CopyOptions::default();
            let done = pack_from(&session, &inside(&engine, path), options, &told, &mut write).await;
            let broke_off = matches!(done, Err(Error::Copy(CopyError::Damaged { .. })));
            assert_eq!((done.is_ok(), broke_off), (whole, !whole), "{path} without {missing}");
            assert!(sent >= 1500 && (!whole || told.bytes() == sent), "{path} without {missing}: {sent}");
        }
    }

    #[tokio::test]
    async fn what_has_no_place_is_told_before_anything_is_copied() {
        let (engine, session, folder) = world().await;
        let (at, options, told) = (|name: &str| folder.path().join(name), CopyOptions::default(), Told::default());
        fs::create_dir(at("d")).unwrap();
        fs::write(at("f"), "x").unwrap();
        let to = async |from: &str, path: &str| {
            let error = copy_to(&session, &at(from), &inside(&engine, path), options, &told).await.unwrap_err();
            error.to_string().replace(&folder.path().display().to_string(), "~")
        };
        assert_eq!(to("f", "/nowhere/f").await, "web:/nowhere does not exist");
        assert_eq!(to("f", "/srv/new/").await, "web:/srv/new does not exist");
        assert_eq!(to("f", "/srv/page/").await, "web:/srv/page is not a folder");
        assert_eq!(to("d", "/srv/page").await, "cannot replace the file /srv/page with a folder");
        assert_eq!(to("gone", "/srv").await, "~/gone does not exist");
        let from = async |path: &str, to: &str| {
            let error = copy_from(&session, &inside(&engine, path), &at(to), options, &told).await.unwrap_err();
            error.to_string().replace(&folder.path().display().to_string(), "~")
        };
        assert_eq!(from("/gone", "x").await, "web:/gone does not exist");
        assert_eq!(from("/srv/page/", "x").await, "web:/srv/page is not a folder");
        assert_eq!(from("/srv/page", "gone/x").await, "~/gone does not exist");
        assert_eq!(from("/srv/page", "f/x").await, "~/f is not a folder");
        assert_eq!(from("/etc/app", "f").await, "cannot replace the file ~/f with a folder");
        assert!(!at("x").exists() && fs::read_to_string(at("f")).unwrap() == "x");
    }
}
