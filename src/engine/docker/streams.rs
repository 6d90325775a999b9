//! What flows into and out of a container, each in a file of its own.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{Docker, container_files, container_paths, exec, exec_attached, logs};
use crate::engine::{
    AttachedExec, Conversation, EngineError, ExecOutput, LogLine, LogOptions, PathInfo, Streams, operation,
};
use crate::model::FileSpec;

#[async_trait]
impl Streams for Docker {
    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        Ok(logs::logs(self, container, options))
    }

    async fn exec_as(
        &self,
        container: &str,
        request: &AttachedExec,
        timeout: Duration,
    ) -> Result<ExecOutput, EngineError> {
        exec::exec(self, container, request, timeout).await
    }

    async fn exec_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        exec_attached::exec_attached(self, container, request).await
    }

    async fn run_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        exec_attached::run_attached(self, container, request).await
    }

    async fn converse(&self, container: &str, request: &AttachedExec) -> Result<Conversation, EngineError> {
        exec::converse(self, container, request).await
    }

    async fn unpack(&self, container: &str, archive: Vec<u8>) -> Result<(), EngineError> {
        container_files::upload(self, &operation::write_files(container), container, "/", archive).await
    }

    async fn write_files(&self, container: &str, files: &[FileSpec]) -> Result<(), EngineError> {
        container_files::write_files(self, container, files).await
    }

    async fn look_at(&self, container: &str, path: &str) -> Result<Option<PathInfo>, EngineError> {
        container_paths::look_at(self, container, path).await
    }

    async fn changed_at(&self, container: &str, path: &str) -> Result<Option<i128>, EngineError> {
        container_files::changed_at(self, container, path).await
    }

    async fn pack(
        &self,
        container: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        Ok(container_paths::pack(self, container, path))
    }

    async fn unpack_in(
        &self,
        container: &str,
        folder: &str,
        archive: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), EngineError> {
        container_paths::unpack_in(self, container, folder, archive).await
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        container_files::read_file(self, container, path).await
    }

    async fn held_file(&self, container: &str, file: &FileSpec) -> Result<Option<Vec<u8>>, EngineError> {
        container_files::held_file(self, container, file).await
    }
}
