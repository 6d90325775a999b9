//! Bind mounts of what the engine's machine does not have, of services that ask for copies: what is here is read, and takes
//! their place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::compile::{
    Here, LONGEST_FILE, MOST_BYTES, MOST_FILES, MountProblem, Part, There, Why, is_copied, is_copied_without_help, lay,
    parts, shown,
};
use crate::config::{DiskFiles, Files};
use crate::daemon::reach::Table;
use crate::engine::ContextCache;
use crate::model::{AnyError, CopiedFolder, Facts, FileMount, FolderContent, Mount, MountsElsewhere, Platform};
use crate::system::{OwnImage, OwnImageError};

use super::Error;
use super::engine_paths::{EnginePaths, guessed, is_here, mounted};
use super::mounts::on_the_machine;
use super::session::Session;

/// What became of the bind mounts of a platform.
#[derive(Debug, Default)]
pub struct Copies {
    /// Those that can be neither mounted nor copied.
    pub problems: Vec<MountProblem>,
    /// Service, folder and how many sockets, pipes and devices of it stay here.
    pub left: Vec<(String, String, u64)>,
}

impl Copies {
    /// What is said of the services that `chosen` takes.
    pub(super) fn warnings(&self, chosen: &dyn Fn(&String) -> bool) -> Vec<String> {
        let left = self.left.iter().filter(|(service, ..)| chosen(service)).map(|(service, shown, count)| {
            let (what, are) =
                if *count == 1 { ("socket, pipe or device", "is") } else { ("sockets, pipes and devices", "are") };
            format!("{service}: {count} {what} in {shown} {are} not copied to the engine's machine")
        });
        left.collect()
    }
}

/// What of one service's mounts is copied.
struct Request {
    /// Its stack, by number, and its key there.
    stack: usize,
    service: String,
    parts: BTreeMap<usize, Part<(PathBuf, String)>>,
}

/// Puts volumes and files in the place of what the engine's machine does not have, as the last `up` has heard. `own`:
/// the mounts of this process's container, below which nothing is copied.
pub(super) async fn copy(
    session: &Session,
    facts: &Facts,
    table: Option<&Table>,
    own: &[(PathBuf, PathBuf)],
    platform: &mut Platform,
) -> Result<Copies, Error> {
    let host = session.host();
    let sources = mounted(platform);
    let home = table.map(|table| table.home.as_str()).unwrap_or_default();
    if sources.is_empty() || is_here(host, facts, home).await {
        return Ok(Copies::default());
    }
    let known = EnginePaths::read(session, facts, session.state(&platform.name).folder()).await;
    let guesses = if known.is_none() { guessed(host, &sources).await } else { BTreeMap::new() };
    let there = |path: &Path| match (on_the_machine(own, path), &known) {
        (Some(_), _) => Some(There::Same),
        (None, Some(known)) => Some(known.there(path)),
        (None, None) => guesses.get(path).copied(),
    };
    // whoever cannot put a container of its own there carries nothing to it
    let reason = match OwnImage::of(host, facts).await {
        Err(OwnImageError::NotHere(reason)) => Some(reason.to_string()),
        Ok(_) | Err(OwnImageError::Engine(_)) => None,
    };
    let (requests, mut copies) = requests(platform, &there, reason.as_deref());
    if requests.is_empty() {
        return Ok(copies);
    }
    let cache = host.folders().cache.join("copies.json");
    let read = tokio::task::spawn_blocking(move || {
        let mut known = ContextCache::read(&cache);
        let mut seen = Vec::new();
        let all: Vec<_> = requests.into_iter().map(|request| read(request, &mut known, &mut seen)).collect();
        // what is not remembered is read again next time
        if let Err(error) = known.write(&cache) {
            tracing::debug!(%error, "cannot remember the copied folders");
        }
        all
    });
    for Read { stack, service, parts, problems, left } in read.await.map_err(Error::other)? {
        let Some(stack) = platform.stacks.get_mut(stack) else { continue };
        let Some(found) = stack.services.get(&service) else { continue };
        let shown = |at: usize| match found.mounts.get(at) {
            Some(Mount::Bind { source, .. }) => shown(source, stack.origin.folder()),
            _ => String::new(),
        };
        for (at, why) in problems {
            let Some(Mount::Bind { source, target, .. }) = found.mounts.get(at) else { continue };
            copies.problems.push(MountProblem {
                service: found.name.clone(),
                target: target.clone(),
                path: source.clone(),
                shown: shown(at),
                why,
            });
        }
        copies.left.extend(left.into_iter().map(|(at, count)| (found.name.clone(), shown(at), count)));
        lay(stack, &service, parts);
    }
    Ok(copies)
}

/// What is to be read, and what cannot be copied whatever is read. `reason`: why nothing can be copied at all.
fn requests(
    platform: &Platform,
    there: &dyn Fn(&Path) -> Option<There>,
    reason: Option<&str>,
) -> (Vec<Request>, Copies) {
    let mut requests = Vec::new();
    let mut copies = Copies::default();
    for (number, stack) in platform.stacks.iter().enumerate() {
        let base = stack.origin.folder();
        for (key, service) in &stack.services {
            let setting = service.extension.mounts;
            if setting == MountsElsewhere::AsWritten {
                continue;
            }
            let mut kinds = BTreeMap::new();
            for (at, mount) in service.mounts.iter().enumerate() {
                let Mount::Bind { source, target, read_only, .. } = mount else { continue };
                let here = here(source).map_err(AnyError::from);
                let copied = match here {
                    Ok(here) => match reason {
                        None => is_copied(source, here, there(source), (setting, *read_only)),
                        Some(reason) => {
                            is_copied_without_help(source, here, there(source), (setting, *read_only), reason)
                        }
                    },
                    Err(_) if there(source).is_none_or(|there| there == There::Same) => Ok(false),
                    Err(ref error) => Err(Why::Unreadable(error.clone())),
                };
                match copied {
                    Ok(true) => {
                        kinds.insert(at, matches!(here, Ok(Here::Folder)));
                    }
                    Ok(false) => {}
                    Err(why) => copies.problems.push(MountProblem {
                        service: service.name.clone(),
                        target: target.clone(),
                        path: source.clone(),
                        shown: shown(source, base),
                        why,
                    }),
                }
            }
            let (parts, refused) = parts(service, &kinds, base);
            for (at, why) in refused {
                let Some(Mount::Bind { source, target, .. }) = service.mounts.get(at) else { continue };
                copies.problems.push(MountProblem {
                    service: service.name.clone(),
                    target: target.clone(),
                    path: source.clone(),
                    shown: shown(source, base),
                    why,
                });
            }
            if !parts.is_empty() {
                requests.push(Request { stack: number, service: key.clone(), parts });
            }
        }
    }
    (requests, copies)
}

fn here(path: &Path) -> io::Result<Here> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Here::Nothing);
        }
        Err(error) => return Err(error),
    };
    let kind = metadata.file_type();
    Ok(match () {
        () if path.starts_with("/dev") => Here::Special("a device"),
        () if kind.is_dir() => Here::Folder,
        () if kind.is_file() => Here::File,
        () if kind.is_socket() => Here::Special("a socket"),
        () if kind.is_fifo() => Here::Special("a pipe"),
        () => Here::Special("a device"),
    })
}

/// What was read for one service.
struct Read {
    stack: usize,
    service: String,
    parts: BTreeMap<usize, Part<FileMount>>,
    problems: Vec<(usize, Why)>,
    /// Sockets, pipes and devices of a folder.
    left: Vec<(usize, u64)>,
}

/// Folders that were looked at for another service.
type Seen = Vec<(CopiedFolder, Result<FolderContent, Why>)>;

fn read(request: Request, known: &mut ContextCache, seen: &mut Seen) -> Read {
    let Request { stack, service, parts } = request;
    let mut read = Read { stack, service, parts: BTreeMap::new(), problems: Vec::new(), left: Vec::new() };
    for (at, part) in parts {
        let part = match part {
            Part::Inside => Ok(Part::Inside),
            Part::File((path, target)) => file(&path, target).map(Part::File),
            Part::Folder(folder) => content(&folder, known, seen).map(|content| {
                if content.special > 0 {
                    read.left.push((at, content.special));
                }
                Part::Folder(CopiedFolder { digest: content.digest, ..folder })
            }),
        };
        match part {
            Ok(part) => {
                read.parts.insert(at, part);
            }
            Err(why) => read.problems.push((at, why)),
        }
    }
    read
}

fn content(folder: &CopiedFolder, known: &mut ContextCache, seen: &mut Seen) -> Result<FolderContent, Why> {
    let folder = CopiedFolder { shown: String::new(), ..folder.clone() };
    if let Some((_, content)) = seen.iter().find(|(other, _)| *other == folder) {
        return content.clone();
    }
    let content = match known.look_at_copy(&folder, (MOST_FILES, MOST_BYTES)) {
        Ok(content) if content.digest.is_empty() => Err(Why::Large { files: content.files, bytes: content.bytes }),
        Ok(content) => Ok(content),
        Err(error) => Err(Why::Unreadable(error.into())),
    };
    seen.push((folder, content.clone()));
    content
}

/// With owner and rights as they are here.
fn file(path: &Path, target: String) -> Result<FileMount, Why> {
    let unreadable = |error: io::Error| Why::Unreadable(error.into());
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > LONGEST_FILE {
        return Err(Why::LongFile { bytes: metadata.len() });
    }
    Ok(FileMount {
        target,
        content: DiskFiles.read(path, LONGEST_FILE).map_err(unreadable)?,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.permissions().mode() & 0o7777,
        secret: false,
        source: String::new(),
        external: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::shop;
    use crate::host::fake::FakeHost;

    #[test]
    fn what_cannot_be_read_is_a_problem_only_where_the_engine_has_something_else_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loop");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let volume = format!("{}:/x:ro", path.display());
        let stack = format!("services: {{web: {{image: a, volumes: ['{volume}'], x-macula: {{mounts: copy}}}}}}\n");
        let platform = shop(&FakeHost::new(), "", &stack).platform;
        let problems = |there: Option<There>| requests(&platform, &|_| there, None).1.problems.len();
        assert_eq!([None, Some(There::Same), Some(There::Other)].map(problems), [0, 0, 1]);
    }

    #[test]
    fn what_stays_here_is_said_of_the_services_that_are_meant() {
        let left = |service: &str, count| (service.to_owned(), "./run".to_owned(), count);
        let copies = Copies { problems: Vec::new(), left: vec![left("web", 1), left("db", 2), left("other", 3)] };
        assert_eq!(
            copies.warnings(&|service| service != "other"),
            [
                "web: 1 socket, pipe or device in ./run is not copied to the engine's machine",
                "db: 2 sockets, pipes and devices in ./run are not copied to the engine's machine",
            ]
        );
    }
}
