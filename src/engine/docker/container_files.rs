//! Files into and out of a container, as tar archives.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::container::PathStatResponse;
use bollard::errors::Error;
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::answers::Listed;
use super::container_paths::stat;
use super::{CHANGE, Docker, READ, errors};
use crate::engine::{EngineError, operation};
use crate::model::{FileSpec, label};

/// More is no configuration file.
const LARGEST_READ: usize = 64 * 1024 * 1024;
/// Files that are looked at ahead at once, next to images.
const AT_ONCE: usize = 4;
/// Links that lead to links.
const HOPS: usize = 16;

/// All files in one archive. With a read-only root Docker takes an archive only into a volume: then one archive for
/// each. Podman takes it, and lays the files below the volumes of a container that does not run, where nobody finds them.
pub(super) async fn write_files(docker: &Docker, container: &str, files: &[FileSpec]) -> Result<(), EngineError> {
    if files.is_empty() {
        return Ok(());
    }
    let operation = operation::write_files(container);
    let all: Vec<(&str, &FileSpec)> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let refused = match docker.podman() {
        true => None,
        false => {
            let packed = archive(&all).map_err(EngineError::local(&operation))?;
            match upload(docker, &operation, container, "/", packed).await {
                Err(EngineError::Other { message, .. }) if message.contains("read-only") => Some(message),
                result => return result,
            }
        }
    };
    let inspected = docker.raw_inspect(container).await?;
    let mounts: Vec<String> = inspected
        .mounts
        .unwrap_or_default()
        .into_iter()
        .filter(|mount| mount.writable != Some(false))
        .map(|mount| mount.destination)
        .collect();
    let mut by_mount: BTreeMap<&str, Vec<(&str, &FileSpec)>> = BTreeMap::new();
    for file in files {
        match (mount_of(&mounts, &file.path), &refused) {
            (Some((mount, inside)), _) => by_mount.entry(mount).or_default().push((inside, file)),
            (None, None) => by_mount.entry("/").or_default().push((file.path.as_str(), file)),
            (None, Some(refused)) => {
                let message = format!("{}: {refused}", file.path);
                return Err(EngineError::Other { operation, message });
            }
        }
    }
    for (mount, files) in by_mount {
        upload(docker, &operation, container, mount, archive(&files).map_err(EngineError::local(&operation))?).await?;
    }
    Ok(())
}

pub(super) async fn upload(
    docker: &Docker,
    operation: &str,
    container: &str,
    path: &str,
    tar: Vec<u8>,
) -> Result<(), EngineError> {
    let options = UploadToContainerOptions { path: path.to_owned(), ..UploadToContainerOptions::default() };
    let body = bollard::body_full(tar.into());
    docker.call(operation, CHANGE, docker.client.upload_to_container(container, Some(options), body)).await
}

pub(super) async fn read_file(docker: &Docker, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let operation = operation::read_file(container, path);
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        let Some(tar) = download(docker, &operation, container, &path).await? else { return Ok(None) };
        match first_entry(&tar).map_err(EngineError::local(&operation))? {
            Entry::File(content) => return Ok(Some(content)),
            Entry::Link(target) => path = beside(&path, &target),
        }
    }
    Err(EngineError::Other { operation, message: "too many links on the way".to_owned() })
}

/// As [`read_file`], without reading what bears the mark of this very content.
pub(super) async fn held_file(
    docker: &Docker,
    container: &str,
    file: &FileSpec,
) -> Result<Option<Vec<u8>>, EngineError> {
    // whatever keeps the engine from telling, the reading says it
    let stat = match docker.ahead.take_stat(container, &file.path) {
        Some(stat) => Some(stat),
        None => stat(docker, container, &file.path).await.ok().flatten(),
    };
    let bears = |stat: PathStatResponse| {
        u64::try_from(stat.size) == Ok(file.content.len() as u64)
            && stat.link_target.is_empty()
            && stat.modification_time.as_deref().and_then(nanoseconds) == Some(mark(&file.content))
    };
    if stat.is_some_and(bears) {
        return Ok(Some(file.content.clone()));
    }
    read_file(docker, container, &file.path).await
}

/// What lies at the paths that the platform's containers name as reloaded.
pub(super) async fn stats_ahead(
    docker: &Docker,
    platform: &str,
    listed: &[Listed],
) -> BTreeMap<(String, String), PathStatResponse> {
    let paths = listed.iter().flat_map(|one| reloaded_by(one, platform));
    let looks: Vec<_> = paths
        .map(|(container, path)| async move {
            let stat = stat(docker, &container, &path).await.ok()??;
            Some(((container, path), stat))
        })
        .collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// The container's name and the path, for each file that it says a reload takes up.
fn reloaded_by(listed: &Listed, platform: &str) -> Vec<(String, String)> {
    let label = |key| listed.labels.as_ref().and_then(|labels| labels.get(key));
    let ours = label(label::PLATFORM).is_some_and(|owner| owner == platform);
    let paths: Option<Vec<String>> = label(label::RELOADED).and_then(|text| serde_json::from_str(text).ok());
    // those of links have a second slash
    let name = listed.names.iter().flatten().find_map(|name| name.strip_prefix('/').filter(|name| !name.contains('/')));
    match (ours, name, paths) {
        (true, Some(name), Some(paths)) => paths.into_iter().map(|path| (name.to_owned(), path)).collect(),
        _ => Vec::new(),
    }
}

pub(super) async fn changed_at(docker: &Docker, container: &str, path: &str) -> Result<Option<i128>, EngineError> {
    let time = stat(docker, container, path).await?.and_then(|stat| stat.modification_time);
    let time = time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    Ok(time.map(|time| time.as_nanosecond()))
}

async fn download(
    docker: &Docker,
    operation: &str,
    container: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, EngineError> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let mut chunks = Box::pin(docker.client.download_from_container(container, Some(options)));
    let collected = async {
        let mut tar = Vec::new();
        while let Some(chunk) = chunks.next().await {
            tar.extend_from_slice(&chunk?);
            if tar.len() > LARGEST_READ {
                break;
            }
        }
        Ok(tar)
    };
    let tar = match tokio::time::timeout(READ, collected).await {
        Ok(Ok(tar)) => tar,
        Ok(Err(Error::DockerResponseServerError { status_code: 404, message })) if !no_container(&message) => {
            return Ok(None);
        }
        Ok(Err(error)) => return Err(errors::engine_error(operation, error)),
        Err(_) => return Err(EngineError::Timeout { operation: operation.to_owned(), after: READ }),
    };
    if tar.len() > LARGEST_READ {
        let message = format!("it is larger than {} MiB", LARGEST_READ / 1024 / 1024);
        return Err(EngineError::Other { operation: operation.to_owned(), message });
    }
    Ok(Some(tar))
}

/// A missing container and a missing file have the same status.
fn no_container(message: &str) -> bool {
    let text = message.to_lowercase();
    text.contains("no such container") || text.contains("no container with")
}

/// The mount that a path lies in (the deepest), and the rest of the path.
fn mount_of<'a, 'b>(mounts: &'a [String], path: &'b str) -> Option<(&'a str, &'b str)> {
    mounts
        .iter()
        .filter_map(|mount| {
            let inside = path.strip_prefix(mount.trim_end_matches('/'))?.strip_prefix('/')?;
            (!inside.is_empty()).then_some((mount.as_str(), inside))
        })
        .max_by_key(|(mount, _)| mount.len())
}

/// What stands in the nanoseconds of a copied file's time of change, taken from its content: a file
/// that still bears it has not been written to since.
fn mark(content: &[u8]) -> u32 {
    let digest = Sha256::digest(content);
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    // never 0: a file system that keeps whole seconds only has no marks
    u32::try_from(number % 999_999_999).unwrap_or_default() + 1
}

/// The part of a second in `2026-03-01T12:00:00.123456789Z`.
fn nanoseconds(time: &str) -> Option<u32> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u32::try_from(time.subsec_nanosecond()).ok()
}

/// `files`: path in the archive, and the file.
fn archive(files: &[(&str, &FileSpec)]) -> io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
    let mut builder = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let inside = path.trim_start_matches('/');
        if inside.is_empty() || inside.split('/').any(|part| part == "..") {
            return Err(io::Error::other(format!("`{path}` is not the path of a file")));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_mtime(now);
        let time = format!("{now}.{:09}", mark(&file.content));
        builder.append_pax_extensions([("mtime", time.as_bytes())]).map_err(of(path))?;
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, inside, file.content.as_slice()).map_err(of(path))?;
    }
    builder.into_inner()
}

/// The error of a file, with its path.
fn of(path: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

enum Entry {
    File(Vec<u8>),
    Link(String),
}

fn first_entry(tar: &[u8]) -> io::Result<Entry> {
    let mut archive = tar::Archive::new(tar);
    let mut entries = archive.entries()?;
    let mut entry = entries.next().ok_or_else(|| io::Error::other("the engine gave an empty archive"))??;
    let kind = entry.header().entry_type();
    if kind.is_file() {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        Ok(Entry::File(content))
    } else if kind.is_symlink() {
        let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link that leads nowhere"))?;
        Ok(Entry::Link(target.to_string_lossy().into_owned()))
    } else if kind.is_dir() {
        Err(io::Error::other("it is a folder"))
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Where a link at `path` leads.
fn beside(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{target}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> FileSpec {
        FileSpec {
            path: path.to_owned(),
            content: b"x".to_vec(),
            uid: 100,
            gid: 101,
            mode: 0o640,
            secret: false,
            reload: false,
        }
    }

    #[test]
    fn reloaded_files_are_those_of_the_platforms_own_containers() {
        let listed = |platform: &str, reloaded: &str| {
            let labels = [(label::PLATFORM, platform), (label::RELOADED, reloaded)];
            Listed {
                names: Some(vec!["/other/alias".into(), "/web".into()]),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                ..Listed::default()
            }
        };
        let found = reloaded_by(&listed("mine", r#"["/a","/b"]"#), "mine");
        assert_eq!(found, ["/a", "/b"].map(|path| ("web".to_owned(), path.to_owned())));
        assert!(reloaded_by(&listed("theirs", r#"["/a"]"#), "mine").is_empty());
        assert!(reloaded_by(&listed("mine", "/a"), "mine").is_empty());
    }

    #[test]
    fn an_archive_holds_owner_and_mode() {
        let (one, long) = (file("/etc/a.conf"), file(&format!("/{}/b", "d".repeat(200))));
        let tar = archive(&[(&one.path, &one), (&long.path, &long)]).unwrap();
        let mut read = tar::Archive::new(tar.as_slice());
        let entries: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let (header, path) = (entry.header(), entry.path().unwrap());
                let (uid, gid, mode) = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
                format!("{uid}:{gid} {mode:o} {}", path.display().to_string().replace(&"d".repeat(200), "<200 d>"))
            })
            .collect();
        insta::assert_snapshot!(entries.join("\n"), @"
                100:101 640 etc/a.conf
                100:101 640 <200 d>/b
                ");
        for bad in ["/", "", "/a/../b"] {
            let bad = file(bad);
            assert!(archive(&[(&bad.path, &bad)]).is_err(), "{}", bad.path);
        }
    }

    #[test]
    fn a_copied_file_bears_the_mark_of_its_content() {
        let one = file("/etc/a.conf");
        let tar = archive(&[(&one.path, &one)]).unwrap();
        let mut read = tar::Archive::new(tar.as_slice());
        let mut entry = read.entries().unwrap().next().unwrap().unwrap();
        let extensions = entry.pax_extensions().unwrap().unwrap();
        let times: Vec<String> = extensions.map(|pair| pair.unwrap().value().unwrap().to_owned()).collect();
        let (_, fraction) = times.first().and_then(|time| time.split_once('.')).unwrap();
        assert_eq!((times.len(), fraction.parse()), (1, Ok(mark(b"x"))));
        assert_eq!((mark(b"x"), mark(b"y")), (145_902_760, 434_399_724));
        assert_eq!(nanoseconds("2026-03-01T12:00:00.012345678+01:00"), Some(12_345_678));
        assert_eq!(nanoseconds("2026-03-01T12:00:00Z"), Some(0));
    }

    #[test]
    fn a_file_goes_into_the_deepest_mount() {
        let mounts = ["/data".to_owned(), "/data/deep/".to_owned(), "/etc".to_owned()];
        assert_eq!(mount_of(&mounts, "/data/deep/a"), Some(("/data/deep/", "a")));
        assert_eq!(mount_of(&mounts, "/data/a/b"), Some(("/data", "a/b")));
        assert_eq!(mount_of(&mounts, "/database"), None);
        assert_eq!(mount_of(&mounts, "/etc"), None);
    }

    #[test]
    fn links_are_followed_from_where_they_are() {
        assert_eq!(beside("/etc/os-release", "../usr/lib/os-release"), "/etc/../usr/lib/os-release");
        assert_eq!(beside("/a", "/b"), "/b");
        assert_eq!(beside("/a", "b"), "/b");
    }
}
