//! Files that BuildKit asks for while it builds: it gets a list of all, and then the content of those
//! that it does not have yet (<https://github.com/tonistiigi/fsutil>).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::super::context::{ContextEntry, entries};

/// Under this name BuildKit asks for the Dockerfile.
pub(super) const DOCKERFILE: &str = "dockerfile";
/// The Dockerfile's own name there.
pub(super) const FILENAME: &str = "Dockerfile";
/// In the head of a call: the paths that the build reads.
const PATHS: &str = "followpaths";
const ENCODED: &str = "followpaths-encoded";
/// Bytes in one packet.
const CHUNK: usize = 32 * 1024;
/// Packets that wait for the engine.
const WAITING: usize = 32;

/// What the engine asks for, one after another.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// The content of an entry, by its number in the list.
    Content(u32),
    /// Nothing more.
    End,
    /// It has met an error, which is in the build's own, too.
    Stop,
}

impl Want {
    fn of(packet: &Packet) -> Option<Self> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketReq) => Some(Self::Content(packet.id)),
            Ok(PacketType::PacketFin) => Some(Self::End),
            Ok(PacketType::PacketErr) => Some(Self::Stop),
            _ => None,
        }
    }
}

/// Bits of a mode as Go counts them.
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

/// What one of the names leads to.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    /// One file, which is in no folder.
    Text(String),
    /// Folders, each with its path in the tree, and the rules of what stays out of the first.
    Folders(Vec<(PathBuf, String)>, Option<String>),
}

/// Everything that a build may ask for.
#[derive(Debug, Clone)]
pub(super) struct Trees(pub Arc<BTreeMap<String, Tree>>);

enum Content {
    Text(Vec<u8>),
    File(PathBuf, u64),
    /// A folder or a link.
    None,
}

type Listed = Vec<(Stat, Content)>;

impl Tree {
    /// All entries, in the order that BuildKit wants: a folder, then what is in it. `asked`: the paths that the build
    /// reads, where it says so.
    fn list(&self, asked: &[String]) -> io::Result<Listed> {
        let (folders, rules) = match self {
            Self::Text(text) => {
                let stat = Stat {
                    path: FILENAME.to_owned(),
                    mode: 0o644,
                    size: i64::try_from(text.len()).unwrap_or(i64::MAX),
                    mod_time: time_of(text),
                    ..Stat::default()
                };
                return Ok(vec![(stat, Content::Text(text.clone().into_bytes()))]);
            }
            Self::Folders(folders, rules) => (folders, rules),
        };
        // a slash sorts before every letter of a name
        let mut all = BTreeMap::new();
        let only = plain_paths(folders, asked);
        for (folder, inside) in folders {
            let root = inside.trim_matches('/').is_empty().then_some(folder.as_path());
            for entry in entries(folder, inside, rules.as_deref(), only.as_deref())? {
                add_parents(&mut all, root, &entry.target);
                match listed(&entry) {
                    Ok(Some(listed)) => drop(all.insert(entry.target.replace('/', "\0"), listed)),
                    Ok(None) => {}
                    // a link that went meanwhile
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

/// The engine keeps what it was sent for the folder of an earlier build, and takes a file of the same name, size and time
/// for the same: a text that differs has another time.
fn time_of(text: &str) -> i64 {
    let hash = Sha256::digest(text);
    // nanoseconds: within a hundred and fifty years of 1970
    hash.iter().take(8).fold(0i64, |time, byte| (time << 8) | i64::from(*byte)) & (i64::MAX >> 1)
}

/// What is asked for, as paths of the context. `None`: all of it, or what only a look at all of it tells: patterns, and
/// links, which lead elsewhere.
fn plain_paths(folders: &[(PathBuf, String)], asked: &[String]) -> Option<Vec<String>> {
    let paths: Vec<String> = asked.iter().map(|path| path.trim_matches('/').to_owned()).collect();
    let is_plain = |path: &String| {
        !path.contains(['*', '?', '[', '\\'])
            && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
            && !folders.iter().any(|(folder, inside)| leads_over_a_link(folder, inside, path))
    };
    (!paths.is_empty() && paths.iter().all(is_plain)).then_some(paths)
}

fn leads_over_a_link(folder: &Path, inside: &str, path: &str) -> bool {
    let below = match inside.trim_matches('/') {
        "" => Some(path),
        inside => path.strip_prefix(inside).and_then(|rest| rest.strip_prefix('/')),
    };
    let Some(place) = below.map(|below| folder.join(below)) else { return false };
    place.ancestors().take_while(|place| *place != folder).any(Path::is_symlink)
}

/// A file may come back in although its folder stays out. One of the user's own keeps its mode.
fn add_parents(all: &mut BTreeMap<String, (Stat, Content)>, root: Option<&Path>, path: &str) {
    for (at, _) in path.match_indices('/') {
        let parent = path.get(..at).unwrap_or_default();
        all.entry(parent.replace('/', "\0")).or_insert_with(|| {
            let stat = Stat { path: parent.to_owned(), mode: GO_FOLDER | 0o755, ..Stat::default() };
            root.and_then(|root| listed_at(root, parent)).unwrap_or((stat, Content::None))
        });
    }
}

fn listed_at(root: &Path, target: &str) -> Option<(Stat, Content)> {
    let path = root.join(target);
    let metadata = std::fs::symlink_metadata(&path).ok()?;
    listed(&ContextEntry { path, target: target.to_owned(), metadata }).ok().flatten()
}

/// `None`: sockets, pipes and devices are no part of a context.
fn listed(entry: &ContextEntry) -> io::Result<Option<(Stat, Content)>> {
    let metadata = &entry.metadata;
    let unix = metadata.permissions().mode();
    let mut mode = unix & 0o777;
    for (bit, go) in [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)] {
        if unix & bit != 0 {
            mode |= go;
        }
    }
    let kind = metadata.file_type();
    // whoever built it, the files in the image belong to root
    let mut stat = Stat {
        path: entry.target.clone(),
        mode,
        mod_time: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        ..Stat::default()
    };
    let content = if kind.is_dir() {
        stat.mode |= GO_FOLDER;
        Content::None
    } else if kind.is_symlink() {
        stat.mode |= GO_LINK;
        stat.linkname = std::fs::read_link(&entry.path)?.to_string_lossy().into_owned();
        Content::None
    } else if kind.is_file() {
        stat.size = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
        Content::File(entry.path.clone(), metadata.len())
    } else {
        return Ok(None);
    };
    Ok(Some((stat, content)))
}

#[tonic::async_trait]
impl FileSync for Trees {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let name = request.metadata().get("dir-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let Some(tree) = self.0.get(name).cloned() else {
            return Err(Status::not_found(format!("the build has no folder called `{name}`")));
        };
        let named: Result<Vec<String>, _> =
            request.metadata().get_all(PATHS).iter().map(|path| path.to_str().map(str::to_owned)).collect();
        // names that are no plain text come in a form of their own: everything is sent then
        let named = named.ok().filter(|_| !request.metadata().contains_key(ENCODED)).unwrap_or_default();
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut asked = request.into_inner();
        // answered in the order in which they came, on a thread that may wait for the disk. What is asked for is taken
        // off the connection at once, however many files there are: the engine asks while the list is still being sent,
        // and takes no more of the list while nobody takes its questions
        let (wanted, mut wants) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(packet)) = asked.next().await {
                if Want::of(&packet).is_some_and(|want| wanted.send(want).is_err()) {
                    break;
                }
            }
        });
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send(&tree, &named, &sender, &mut wants) {
                // a closed channel means that the build has ended already: nobody is left to tell
                let _ = sender.blocking_send(Err(Status::internal(error.to_string())));
            }
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|packet| (packet, receiver))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent one by one"))
    }
}

type Sender = mpsc::Sender<Result<Packet, Status>>;

fn send(tree: &Tree, named: &[String], sender: &Sender, wants: &mut mpsc::UnboundedReceiver<Want>) -> io::Result<()> {
    let put = |packet: Packet| sender.blocking_send(Ok(packet)).map_err(|_| io::ErrorKind::BrokenPipe.into());
    let listed = tree.list(named)?;
    for (stat, _) in &listed {
        put(Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat.clone()), ..Packet::default() })?;
    }
    put(Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() })?;
    while let Some(want) = wants.blocking_recv() {
        match want {
            Want::Content(id) => {
                let number = usize::try_from(id).unwrap_or(usize::MAX);
                if let Some((_, content)) = listed.get(number) {
                    send_content(content, id, &put)?;
                }
            }
            Want::End => {
                put(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() })?;
                return Ok(());
            }
            Want::Stop => return Ok(()),
        }
    }
    Ok(())
}

fn send_content(content: &Content, id: u32, put: &dyn Fn(Packet) -> io::Result<()>) -> io::Result<()> {
    let data = |data: Vec<u8>| Packet { r#type: PacketType::PacketData.into(), id, data, ..Packet::default() };
    match content {
        Content::Text(text) => {
            for piece in text.chunks(CHUNK) {
                put(data(piece.to_vec()))?;
            }
        }
        Content::File(path, size) => {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            // a file that grows meanwhile ends where it was said to end
            match std::fs::File::open(path) {
                Ok(file) => {
                    let mut file = file.take(*size);
                    loop {
                        let mut piece = Vec::with_capacity(CHUNK);
                        file.by_ref().take(CHUNK as u64).read_to_end(&mut piece).map_err(named)?;
                        if piece.is_empty() {
                            break;
                        }
                        put(data(piece))?;
                    }
                }
                // it went after it was listed: the engine gets one with nothing in it
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(named(error)),
            }
        }
        Content::None => {}
    }
    // an empty one ends the file
    put(data(Vec::new()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_tree_is_listed_folder_by_folder_and_without_what_stays_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for path in ["a/b", "a.txt", "out/kept", "out/gone", "z"] {
            write(path);
        }
        symlink("nowhere", folder.path().join("link")).unwrap();
        let set_mode = |path: &str, mode: u32| {
            std::fs::set_permissions(folder.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode("z", 0o4750);
        set_mode("out", 0o775);
        let more = tempfile::tempdir().unwrap();
        std::fs::write(more.path().join("made"), "y").unwrap();
        let folders = vec![(folder.path().to_owned(), String::new()), (more.path().to_owned(), "dist".to_owned())];
        let tree = Tree::Folders(folders, Some("out\n!out/kept\n".to_owned()));
        let listed = tree.list(&[]).unwrap();
        let lines: Vec<String> = listed
            .iter()
            .map(|(stat, _)| format!("{} {:o} {}{}", stat.path, stat.mode & 0o777, stat.size, stat.linkname))
            .collect();
        let umask_free: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(umask_free, ["a", "a/b", "a.txt", "dist", "dist/made", "link", "out", "out/kept", "z"]);
        assert_eq!(lines[5].split(' ').next_back(), Some("0nowhere"));
        let (z, _) = listed.last().unwrap();
        assert_eq!(z.mode, 0o750 | GO_SETUID);
        assert_eq!(listed[0].0.mode & GO_FOLDER, GO_FOLDER);
        // it stays out itself
        assert_eq!(listed[6].0.mode, 0o775 | GO_FOLDER);
    }

    #[test]
    fn of_a_context_only_what_the_build_reads_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        for path in [".dockerignore", "a/b/c", "a/d", "locked/x"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        symlink("a", folder.path().join("link")).unwrap();
        let made = tempfile::tempdir().unwrap();
        std::fs::write(made.path().join("made"), "y").unwrap();
        let folders = vec![(folder.path().to_owned(), String::new()), (made.path().to_owned(), "dist".to_owned())];
        let tree = Tree::Folders(folders, None);
        let told = |asked: &[&str]| -> Vec<String> {
            let asked: Vec<String> = asked.iter().map(|path| (*path).to_owned()).collect();
            tree.list(&asked).unwrap().into_iter().map(|(stat, _)| stat.path).collect()
        };
        let locked = folder.path().join("locked");
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(told(&[".dockerignore"]), [".dockerignore"]);
        assert_eq!(told(&["/a/b/", "gone"]), ["a", "a/b", "a/b/c"]);
        assert_eq!(told(&["dist"]), ["dist", "dist/made"]);
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o755)).unwrap();
        let all = told(&[]);
        assert_eq!(all.len(), 10, "{all:?}");
        for asked in [&["/"][..], &["a/*"], &["link"], &["a/d", "link/b"], &["a/.."]] {
            assert_eq!(told(asked), all, "{asked:?}");
        }
    }

    #[test]
    fn a_file_that_went_after_it_was_listed_is_empty() {
        let sent = Mutex::new(Vec::new());
        let put = |packet: Packet| -> io::Result<()> {
            sent.lock().unwrap().push(packet.data);
            Ok(())
        };
        send_content(&Content::File("/no/such/file".into(), 7), 3, &put).unwrap();
        assert_eq!(sent.into_inner().unwrap(), [b""]);
    }

    #[test]
    fn a_text_of_the_same_length_is_another_file() {
        let told = |text: &str| {
            let (stat, _) = Tree::Text(text.to_owned()).list(&[]).unwrap().remove(0);
            (stat.size, stat.mod_time)
        };
        let (size, time) = told("FROM node:18\n");
        // the first eight bytes of the digest, but for the first two bits
        assert_eq!((size, time), (13, 4_276_781_593_223_781_259));
        assert_eq!(told("FROM node:18\n"), (size, time));
        let (other_size, other_time) = told("FROM node:20\n");
        assert_eq!(other_size, size);
        assert_ne!(other_time, time);
        assert!(time >= 0 && other_time >= 0);
    }

    #[test]
    fn the_content_of_what_is_asked_for_follows_the_list() {
        let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
        assert!(matches!(Want::of(&fin), Some(Want::End)));
        let tree = Tree::Text("FROM scratch\n".to_owned());
        let (sender, mut packets) = mpsc::channel(WAITING);
        let (wanted, mut wants) = mpsc::unbounded_channel();
        wanted.send(Want::Content(0)).unwrap();
        wanted.send(Want::End).unwrap();
        send(&tree, &[], &sender, &mut wants).unwrap();
        drop(sender);
        let mut seen = Vec::new();
        while let Some(packet) = packets.blocking_recv() {
            let packet = packet.unwrap();
            let path = packet.stat.map(|stat| stat.path).unwrap_or_default();
            seen.push(format!("{} {path}{}", packet.r#type, String::from_utf8_lossy(&packet.data)));
        }
        assert_eq!(seen, ["0 Dockerfile", "0 ", "2 FROM scratch\n", "2 ", "3 "]);
    }
}
