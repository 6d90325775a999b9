//! Files, logs and programs in the fake's containers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::{FakeEngine, archive, conflict, missing};
use crate::engine::{
    AttachedExec, Containers, EngineError, ExecOutput, LogLine, LogOptions, PathInfo, Streams, operation,
};
use crate::model::FileSpec;

#[async_trait]
impl Streams for FakeEngine {
    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        let operation = operation::logs(container);
        let world = self.call(&operation)?;
        let log = &world.find(container).map_err(missing(&operation))?.log;
        let tail = options.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(log.len());
        let lines: Vec<_> = log.iter().skip(log.len().saturating_sub(tail)).cloned().map(Ok).collect();
        Ok(stream::iter(lines).boxed())
    }

    async fn exec_as(
        &self,
        container: &str,
        request: &AttachedExec,
        _timeout: Duration,
    ) -> Result<ExecOutput, EngineError> {
        let words = request.command.join(" ");
        let operation = operation::exec(container, &request.command);
        let world = self.act_on(&operation, &words)?;
        let found = world.find(container).map_err(missing(&operation))?;
        if !found.running() {
            return Err(conflict(&operation, format!("container {container} is not running")));
        }
        let names = [&found.observed.name, &found.service];
        let answer = names.into_iter().find_map(|name| world.execs.get(&(name.clone(), words.clone())));
        let silent = ExecOutput { exit_code: 0, stdout: Vec::new(), stderr: Vec::new() };
        Ok(answer.cloned().unwrap_or(silent))
    }

    async fn exec_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        let output = self.exec_as(container, request, Duration::MAX).await?;
        Ok(output.exit_code)
    }

    async fn run_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        self.start(container).await?;
        let output = self.exec_as(container, request, Duration::MAX).await?;
        Ok(output.exit_code)
    }

    async fn unpack(&self, container: &str, archive: Vec<u8>) -> Result<(), EngineError> {
        let operation = operation::write_files(container);
        let mut world = self.act_on(&operation, &format!("{} bytes", archive.len()))?;
        world.find_mut(container).map_err(missing(&operation))?;
        Ok(())
    }

    async fn write_files(&self, container: &str, files: &[FileSpec]) -> Result<(), EngineError> {
        self.gate().await;
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let operation = operation::write_files(container);
        let mut world = self.act_on(&operation, &paths.join(" "))?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        found.files.extend(files.iter().map(|file| (file.path.clone(), file.clone())));
        Ok(())
    }

    async fn look_at(&self, container: &str, path: &str) -> Result<Option<PathInfo>, EngineError> {
        let operation = operation::look_at(container, path);
        let world = self.call(&operation)?;
        let files = &world.find(container).map_err(missing(&operation))?.files;
        let inside = format!("{}/", path.trim_end_matches('/'));
        Ok(match files.get(path) {
            Some(file) => Some(PathInfo::File { size: u64::try_from(file.content.len()).unwrap_or_default() }),
            None => files.keys().any(|name| name.starts_with(&inside)).then_some(PathInfo::Folder),
        })
    }

    async fn changed_at(&self, container: &str, path: &str) -> Result<Option<i128>, EngineError> {
        let operation = operation::look_at(container, path);
        let world = self.call(&operation)?;
        let binds = &world.find(container).map_err(missing(&operation))?.binds;
        let mut below =
            binds.iter().filter_map(|(target, source)| Some(source.join(Path::new(path).strip_prefix(target).ok()?)));
        // a path joined with nothing ends in a slash
        let source = below.next().map(|source| source.components().collect::<PathBuf>());
        Ok(source.and_then(|source| world.paths.as_ref()?.get(&source).copied()))
    }

    async fn pack(
        &self,
        container: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let operation = operation::copy_from(container, path);
        let world = self.call(&operation)?;
        let files = &world.find(container).map_err(missing(&operation))?.files;
        let mut archive = archive::of_files(files, path).map_err(EngineError::local(&operation))?;
        archive.truncate(archive.len().saturating_sub(world.packs_less));
        // in small pieces, as from a socket
        let pieces: Vec<_> = archive.chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn unpack_in(
        &self,
        container: &str,
        folder: &str,
        mut archive: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::copy_to(container, folder);
        let mut whole = Vec::new();
        while let Some(piece) = archive.next().await {
            whole.extend_from_slice(&piece.map_err(EngineError::local(&operation))?);
        }
        let files = archive::files_of(&whole, folder).map_err(EngineError::local(&operation))?;
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let mut world = self.act_on(&operation, &paths.join(" "))?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        found.files.extend(files.into_iter().map(|file| (file.path.clone(), file)));
        Ok(())
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let operation = operation::read_file(container, path);
        let world = self.call(&operation)?;
        let found = world.find(container).map_err(missing(&operation))?;
        Ok(found.files.get(path).map(|file| file.content.clone()))
    }
}
