//! Whatever lies in a container, running or not, piece by piece: what `cp` reads and writes.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bollard::container::PathStatResponse;
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::{Method, StatusCode};

use super::answers::encoded;
use super::version::versioned_path;
use super::{Docker, READ, errors};
use crate::engine::{EngineError, PathInfo, operation};

/// Where an engine says what lies at a path.
const PATH_STAT: &str = "x-docker-container-path-stat";

/// As Go writes modes (<https://pkg.go.dev/io/fs#FileMode>), which both engines do.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
/// Links, pipes, sockets, devices and whatever else is no file.
const IRREGULAR: u32 = FOLDER | LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

pub(super) async fn look_at(docker: &Docker, container: &str, path: &str) -> Result<Option<PathInfo>, EngineError> {
    let stat = stat(docker, container, path).await?;
    Ok(stat.map(|stat| kind_of(stat.file_mode, stat.size, stat.link_target)))
}

/// What stands in the head of an archive's answer alone: to read a file the engine starts a process, to look at it a
/// system call is enough. None: there is nothing at the path, or no container.
pub(super) async fn stat(
    docker: &Docker,
    container: &str,
    path: &str,
) -> Result<Option<PathStatResponse>, EngineError> {
    let operation = operation::look_at(container, path);
    let path = format!("/containers/{}/archive?path={}", encoded(container), encoded(path));
    let path = versioned_path(&path, docker.api);
    let _place = docker.lines.place().await;
    let late = |_| EngineError::Timeout { operation: operation.clone(), after: READ };
    let asked = tokio::time::timeout(READ, docker.lines.ask(Method::HEAD, &path)).await.map_err(late)?;
    let answer = asked.map_err(|error| errors::no_answer(&operation, error))?;
    match answer.status() {
        StatusCode::NOT_FOUND => return Ok(None),
        // the answer to a question for the head alone has no words
        status if !status.is_success() => {
            return Err(errors::server_error(&operation, Some(status.as_u16()), &format!("it answers {status}")));
        }
        _ => {}
    }
    let head = answer.headers().get(PATH_STAT).ok_or_else(|| io::Error::other("the answer does not say what is there"));
    let stat = BASE64.decode(head.map_err(EngineError::local(&operation))?).map_err(EngineError::local(&operation))?;
    serde_json::from_slice(&stat).map(Some).map_err(EngineError::local(&operation))
}

fn kind_of(mode: u32, size: i64, to: String) -> PathInfo {
    match mode & IRREGULAR {
        0 => PathInfo::File { size: u64::try_from(size).unwrap_or_default() },
        FOLDER => PathInfo::Folder,
        LINK => PathInfo::Link { to },
        _ => PathInfo::Other,
    }
}

pub(super) fn pack(docker: &Docker, container: &str, path: &str) -> BoxStream<'static, Result<Bytes, EngineError>> {
    let operation = operation::copy_from(container, path);
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let pieces = docker.client.download_from_container(container, Some(options));
    pieces.map(move |piece| piece.map_err(|error| errors::engine_error(&operation, error))).boxed()
}

/// As long as there is something to send: a large folder on a slow disk takes its time.
pub(super) async fn unpack_in(
    docker: &Docker,
    container: &str,
    folder: &str,
    archive: BoxStream<'static, io::Result<Bytes>>,
) -> Result<(), EngineError> {
    let operation = operation::copy_to(container, folder);
    let options = UploadToContainerOptions {
        path: folder.to_owned(),
        no_overwrite_dir_non_dir: Some("true".to_owned()),
        ..UploadToContainerOptions::default()
    };
    let body = bollard::body_try_stream(archive);
    let sent = docker.client.upload_to_container(container, Some(options), body).await;
    sent.map_err(|error| errors::engine_error(&operation, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        let kind = |mode| kind_of(mode, 3, "/x".to_owned());
        assert_eq!(kind(0o644), PathInfo::File { size: 3 });
        // setuid and sticky bits are no kinds
        assert_eq!(kind(1 << 23 | 0o755), PathInfo::File { size: 3 });
        assert_eq!(kind(FOLDER | 1 << 20 | 0o777), PathInfo::Folder);
        assert_eq!(kind(LINK | 0o777), PathInfo::Link { to: "/x".to_owned() });
        assert_eq!(kind(1 << 26 | 1 << 21 | 0o620), PathInfo::Other);
        assert_eq!(kind(1 << 24 | 0o755), PathInfo::Other);
    }
}
