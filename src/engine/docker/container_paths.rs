//! Whatever lies in a container, running or not, piece by piece: what `cp` reads and writes.

use std::io;

use bollard::errors::Error;
use bollard::query_parameters::{ContainerArchiveInfoOptions, DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{Docker, READ, errors};
use crate::engine::{EngineError, PathInfo, operation};

/// As Go writes modes (<https://pkg.go.dev/io/fs#FileMode>), which both engines do.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
/// Links, pipes, sockets, devices and whatever else is no file.
const IRREGULAR: u32 = FOLDER | LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

pub(super) async fn look_at(docker: &Docker, container: &str, path: &str) -> Result<Option<PathInfo>, EngineError> {
    let operation = operation::look_at(container, path);
    let options = ContainerArchiveInfoOptions { path: path.to_owned() };
    let looked = tokio::time::timeout(READ, docker.client.get_container_archive_info(container, Some(options)));
    let stat = match looked.await {
        Ok(Ok(stat)) => stat,
        // the answer to a question for the head alone has no words
        Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Ok(None),
        Ok(Err(error)) => return Err(errors::engine_error(&operation, error)),
        Err(_) => return Err(EngineError::Timeout { operation, after: READ }),
    };
    Ok(Some(kind_of(stat.file_mode, stat.size, stat.link_target)))
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
