//! An engine that is not installed yet: the empty world that a plan without an engine is made against.
//! Questions are answered as a fresh one would answer them; whatever would change something fails.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{
    AttachedExec, BuildRequest, Containers, Engine, EngineError, ExecOutput, Found, Images, LogLine, LogOptions,
    Networks, PathInfo, ProgressSink, Query, Streams, Usage,
};
use crate::host::HostFacts;
use crate::model::{
    ContainerSpec, EngineKind, Facts, FileSpec, LabelledImage, NetworkSpec, ObservedContainer, ObservedImage,
    ObservedNetwork, VolumeSpec,
};

/// Nothing is there, and nothing can be made.
#[derive(Debug, Clone)]
pub struct Absent(Facts);

impl Absent {
    /// As Docker would be on this machine, from the system's packages.
    pub fn on(machine: &HostFacts) -> Self {
        Self(Facts {
            container_addresses: machine.os == "linux",
            architecture: machine.arch.clone(),
            memory: machine.memory_total,
            ..Facts::of("Docker (not installed)", EngineKind::Docker)
        })
    }
}

fn absent<T>() -> Result<T, EngineError> {
    Err(EngineError::Unreachable { tried: "no container engine is installed".to_owned() })
}

fn gone<T>(what: &str) -> Result<T, EngineError> {
    Err(EngineError::NotFound { operation: format!("looking for {what}"), what: what.to_owned() })
}

#[async_trait]
impl Engine for Absent {
    async fn facts(&self) -> Result<Facts, EngineError> {
        Ok(self.0.clone())
    }

    async fn find(&self, _: &Query) -> Result<Found, EngineError> {
        Ok(Found::default())
    }
}

#[async_trait]
impl Containers for Absent {
    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError> {
        gone(container)
    }

    async fn labelled(&self, _: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        Ok(Vec::new())
    }

    async fn create_container(
        &self,
        _: &ContainerSpec,
        _: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        absent()
    }

    async fn start(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn stop(&self, _: &str, _: Option<Duration>) -> Result<(), EngineError> {
        absent()
    }

    async fn kill(&self, _: &str, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn rename(&self, _: &str, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn remove_container(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn discard_container(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        gone(container)
    }

    async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        gone(container)
    }
}

#[async_trait]
impl Images for Absent {
    async fn image(&self, _: &str) -> Result<Option<ObservedImage>, EngineError> {
        Ok(None)
    }

    async fn labelled_images(&self, _: &str) -> Result<Vec<LabelledImage>, EngineError> {
        Ok(Vec::new())
    }

    async fn pull(&self, _: &str, _: Option<&str>, _: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        absent()
    }

    async fn build(&self, _: &BuildRequest, _: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        absent()
    }

    async fn tag(&self, _: &str, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn push(&self, _: &str, _: ProgressSink<'_>) -> Result<(), EngineError> {
        absent()
    }

    async fn remove_image(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn digest(&self, _: &str) -> Result<String, EngineError> {
        absent()
    }

    async fn import(&self, _: &Path, _: &str, _: &BTreeMap<String, String>) -> Result<ObservedImage, EngineError> {
        absent()
    }

    async fn export(&self, _: &[String]) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        absent()
    }

    async fn save(&self, _: &[String], _: &Path) -> Result<(), EngineError> {
        absent()
    }

    async fn load_from(
        &self,
        _: BoxStream<'static, std::io::Result<Bytes>>,
        _: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError> {
        absent()
    }
}

#[async_trait]
impl Networks for Absent {
    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError> {
        Ok(Vec::new())
    }

    async fn create_network(&self, _: &NetworkSpec) -> Result<(), EngineError> {
        absent()
    }

    async fn remove_network(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn readdress(&self, _: &str, _: &str, _: Ipv4Addr) -> Result<(), EngineError> {
        absent()
    }

    async fn join_network(&self, _: &str, _: &str, _: Option<Ipv4Addr>) -> Result<(), EngineError> {
        absent()
    }

    async fn leave_network(&self, _: &str, _: &str) -> Result<(), EngineError> {
        absent()
    }

    async fn create_volume(&self, _: &VolumeSpec, _: &BTreeMap<String, String>) -> Result<(), EngineError> {
        absent()
    }

    async fn claim_volume(
        &self,
        _: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        absent()
    }

    async fn remove_volume(&self, _: &str) -> Result<(), EngineError> {
        absent()
    }
}

#[async_trait]
impl Streams for Absent {
    async fn logs(
        &self,
        container: &str,
        _: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        gone(container)
    }

    async fn exec_as(&self, container: &str, _: &AttachedExec, _: Duration) -> Result<ExecOutput, EngineError> {
        gone(container)
    }

    async fn exec_attached(&self, container: &str, _: &AttachedExec) -> Result<i64, EngineError> {
        gone(container)
    }

    async fn run_attached(&self, container: &str, _: &AttachedExec) -> Result<i64, EngineError> {
        gone(container)
    }

    async fn unpack(&self, container: &str, _: Vec<u8>) -> Result<(), EngineError> {
        gone(container)
    }

    async fn write_files(&self, container: &str, _: &[FileSpec]) -> Result<(), EngineError> {
        gone(container)
    }

    async fn look_at(&self, container: &str, _: &str) -> Result<Option<PathInfo>, EngineError> {
        gone(container)
    }

    async fn pack(
        &self,
        container: &str,
        _: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        gone(container)
    }

    async fn unpack_in(
        &self,
        container: &str,
        _: &str,
        _: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<(), EngineError> {
        gone(container)
    }

    async fn read_file(&self, container: &str, _: &str) -> Result<Option<Vec<u8>>, EngineError> {
        gone(container)
    }
}
