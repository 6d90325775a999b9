//! What the engine and the system below it are.

use serde::{Deserialize, Serialize};

use super::FormatVersion;

/// What differs between engines and systems, as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What a user would call it: `Docker 28.2.2`, `Podman 5.8.3 (rootless)`.
    pub engine: String,
    pub engine_kind: EngineKind,
    pub api_version: String,
    pub rootless: bool,
    /// A container's own address can be reached from this host (Linux with a bridge; not with
    /// Docker Desktop, Colima or a remote engine).
    pub container_addresses: bool,
    /// What the engine publishes on this machine's addresses arrives here. Not in a container that
    /// only has the engine's socket, nor with an engine on another machine.
    pub published: bool,
    #[serde(default)]
    pub traits: Traits,
    /// The newest Dockerfile format that the engine's own BuildKit reads; `None`: it has no BuildKit.
    #[serde(default)]
    pub dockerfile: Option<FormatVersion>,
    pub architecture: String,
    pub cpus: u64,
    /// Bytes.
    pub memory: u64,
    /// Where Docker or Podman keeps its data, when it is on this machine.
    pub data_root: Option<String>,
    pub storage_driver: Option<String>,
    /// 1 or 2.
    pub cgroup_version: Option<u8>,
    /// Path of the engine's socket on this machine.
    pub socket: Option<String>,
}

impl Facts {
    /// Of an engine, on this machine, of which no more is known than what a user would call it.
    pub fn of(engine: impl Into<String>, engine_kind: EngineKind) -> Self {
        Self {
            engine: engine.into(),
            engine_kind,
            api_version: String::new(),
            rootless: false,
            container_addresses: false,
            published: true,
            traits: Traits::default(),
            dockerfile: None,
            architecture: String::new(),
            cpus: 0,
            memory: 0,
            data_root: None,
            storage_driver: None,
            cgroup_version: None,
            socket: None,
        }
    }
}

/// What engines do differently, of that on which a platform builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traits {
    pub names: NameServer,
    /// It runs health checks. Podman leaves that to systemd, which not every machine has.
    pub health_checks: bool,
    /// `healthcheck.start_interval` has an effect.
    pub start_interval: bool,
    /// Images lie in containerd's store, and not in one of the engine's own.
    pub containerd_images: bool,
    /// It asks registries by a proxy of its own settings.
    pub proxied: bool,
    /// The product behind the socket, where that brings a machine for the engine: `Colima`.
    pub product: Option<String>,
}

impl Default for Traits {
    /// Those of Docker on Linux before version 25.
    fn default() -> Self {
        Self {
            names: NameServer::InContainer,
            health_checks: true,
            start_interval: false,
            containerd_images: false,
            proxied: false,
            product: None,
        }
    }
}

/// Who answers for the names of a network's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameServer {
    /// Docker: 127.0.0.11, in each container.
    InContainer,
    /// Podman's aardvark-dns, at port 53 of each network's gateway, which nobody else can have then.
    Gateway,
    /// Podman without aardvark-dns.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    Docker,
    Podman,
}
