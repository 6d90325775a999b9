//! Docker and Podman over their HTTP API (Podman through the Docker-compatible half of its
//! socket).

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{
    AttachedExec, BuildRequest, Engine, EngineError, ExecOutput, Found, LogLine, LogOptions, ProgressSink, Query, Usage,
};
use crate::model::{
    ContainerSpec, EngineKind, Facts, FileSpec, LabelledImage, NetworkSpec, ObservedContainer, ObservedImage,
    ObservedNetwork, VolumeSpec,
};

mod attach;
mod build;
mod connect;
mod containers;
mod context;
mod errors;
mod exec;
mod files;
mod find;
mod images;
mod limit;
mod logs;
mod raw;
mod reference;
mod spec;
mod things;
mod transfer;
mod version;

pub use context::context_digest;

pub(super) use connect::ConnectError;
pub(super) use spec::volumes_of_image;
use version::ApiVersion;

/// Reading: a busy engine needs a while, a dead one must not hold us up.
const READ: Duration = Duration::from_secs(30);
/// Changing: creating and starting wait for disks and networks.
const CHANGE: Duration = Duration::from_secs(180);

/// A connection to one engine. Cheap to clone; every call opens a connection of its own.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    api: ApiVersion,
    facts: Arc<Facts>,
    /// Registry host -> `user:password` in base64, as in the client's configuration.
    credentials: Arc<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker").field("engine", &self.facts.engine).field("api", &self.facts.api_version).finish()
    }
}

impl Docker {
    /// Logins for registries: host (`ghcr.io`, `localhost:5001`, `docker.io`) to `user:password`
    /// in base64, which is what `auths.*.auth` of the client's configuration holds.
    pub fn with_credentials(mut self, credentials: BTreeMap<String, String>) -> Self {
        self.credentials = Arc::new(credentials);
        self
    }

    fn podman(&self) -> bool {
        self.facts.engine_kind == EngineKind::Podman
    }

    /// Waits for a call, but no longer than `after`.
    async fn call<T>(
        &self,
        operation: &str,
        after: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(after, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(errors::engine_error(operation, error)),
            Err(_) => Err(EngineError::Timeout { operation: operation.to_owned(), after }),
        }
    }
}

/// A map as the client takes it.
fn hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What is gone already need not be removed.
fn unless_missing(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Engine for Docker {
    async fn facts(&self) -> Result<Facts, EngineError> {
        Ok((*self.facts).clone())
    }

    async fn find(&self, query: &Query) -> Result<Found, EngineError> {
        self.find_all(query).await
    }

    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError> {
        self.list_networks().await
    }

    async fn labelled(&self, label: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        self.find_labelled(label).await
    }

    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError> {
        self.inspect_container(container).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        self.make_network(spec).await
    }

    async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        self.drop_network(name).await
    }

    async fn readdress(&self, container: &str, network: &str, address: std::net::Ipv4Addr) -> Result<(), EngineError> {
        self.change_address(container, network, address).await
    }

    async fn create_volume(&self, spec: &VolumeSpec, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        self.make_volume(spec, labels).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.drop_volume(name).await
    }

    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        progress: ProgressSink<'_>,
    ) -> Result<ObservedImage, EngineError> {
        self.pull_image(reference, platform, progress).await
    }

    async fn build(&self, request: &BuildRequest, progress: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        self.build_image(request, progress).await
    }

    async fn import(
        &self,
        tar: PathBuf,
        reference: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ObservedImage, EngineError> {
        self.import_root(&tar, reference, labels).await
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<(), EngineError> {
        self.tag_image(image, reference).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ObservedImage>, EngineError> {
        self.inspect_image(reference).await
    }

    async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, EngineError> {
        self.find_labelled_images(label).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.drop_image(reference).await
    }

    async fn create_container(
        &self,
        spec: &ContainerSpec,
        image: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        self.make_container(spec, image, labels).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.start_container(container).await
    }

    async fn stop(&self, container: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        self.stop_container(container, grace).await
    }

    async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        self.kill_container(container, signal).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.drop_container(container, false).await
    }

    async fn discard_container(&self, container: &str) -> Result<(), EngineError> {
        self.drop_container(container, true).await
    }

    async fn write_files(&self, container: &str, files: &[FileSpec]) -> Result<(), EngineError> {
        self.copy_in(container, files).await
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        self.copy_out(container, path).await
    }

    async fn held_file(&self, container: &str, file: &FileSpec) -> Result<Option<Vec<u8>>, EngineError> {
        Docker::held_file(self, container, file).await
    }

    async fn exec(&self, container: &str, command: &[String], timeout: Duration) -> Result<ExecOutput, EngineError> {
        self.exec_to_end(container, command, timeout).await
    }

    async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        self.wait_container(container).await
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        Ok(self.log_lines(container, options))
    }

    async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        self.sample_usage(container).await
    }

    async fn exec_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        self.exec_with_terminal(container, request).await
    }

    async fn digest(&self, reference: &str) -> Result<String, EngineError> {
        self.registry_digest(reference).await
    }

    async fn export(
        &self,
        references: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        self.export_images(references).await
    }

    async fn load_from(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
        progress: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError> {
        self.load_archive(archive, progress).await
    }

    async fn save(&self, references: &[String], file: &Path) -> Result<(), EngineError> {
        self.save_images(references, file).await
    }
}
