//! A Compose service after resolution. Names and meaning are those of the Compose specification
//! (<https://github.com/compose-spec/compose-spec/blob/main/05-services.md>); what it lacks is in
//! [`Extension`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Build, ContainerOptions, CopiedFolder, Deploy, Extension, PublishedPort, PullPolicy};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    /// What its stack calls it, where another stack has a service of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// As written, after interpolation and `images.overrides`.
    pub image: Option<String>,
    pub build: Option<Build>,
    pub pull_policy: PullPolicy,
    /// `None`: `<prefix>-<service>-<n>`.
    pub container_name: Option<String>,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    /// Resolved: `env_file` merged in, interpolated. Without the values that `x-macula.secrets` adds.
    pub environment: BTreeMap<String, String>,
    /// Variables of the image that the container does not get: those named without a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PublishedPort>,
    /// TCP ports.
    pub expose: Vec<u16>,
    /// Ports of other protocols, `53/udp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_other: Vec<String>,
    pub mounts: Vec<Mount>,
    /// What of it not every engine can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<EngineNeed>,
    /// Networks by Compose name, in order of priority; empty: the platform's own only.
    pub networks: IndexMap<String, ServiceNetwork>,
    /// `host`, `none`, `service:x`, `container:x`; `None`: the networks above.
    pub network_mode: Option<String>,
    /// Compose `configs` and `secrets`, with their content.
    pub files: Vec<FileMount>,
    pub depends_on: BTreeMap<String, Dependency>,
    pub healthcheck: Option<Healthcheck>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
    /// `develop.watch`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<WatchRule>,
    pub replicas: u32,
    #[serde(default, skip_serializing_if = "Update::is_usual")]
    pub update: Update,
    /// What is said about several machines.
    #[serde(default, skip_serializing_if = "Deploy::is_nothing")]
    pub deploy: Deploy,
    pub stop_grace_period: Option<Duration>,
    pub options: ContainerOptions,
    pub extension: Extension,
}

/// A program that runs in a container after its start or before its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `KEY=value`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
}

impl Hook {
    /// Those that a label of a container holds.
    pub fn of(labels: &BTreeMap<String, String>, label: &str) -> Vec<Self> {
        labels.get(label).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// What is to happen when files of this machine change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRule {
    /// A file, or a folder with everything in it; absolute.
    pub path: PathBuf,
    pub action: WatchAction,
    /// Where it is in the container, if it is copied there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub initial_sync: bool,
}

impl WatchRule {
    /// One that says no more than it must.
    pub fn new(path: PathBuf, action: WatchAction) -> Self {
        Self { path, action, target: None, exec: None, include: Vec::new(), ignore: Vec::new(), initial_sync: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchAction {
    Sync,
    #[serde(rename = "sync+restart")]
    SyncRestart,
    #[serde(rename = "sync+exec")]
    SyncExec,
    Restart,
    Rebuild,
}

impl WatchAction {
    /// Files go into the container.
    pub fn copies(self) -> bool {
        matches!(self, Self::Sync | Self::SyncRestart | Self::SyncExec)
    }
}

/// `deploy.update_config`: how containers that stand in for each other are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// How many at once; 0: all.
    pub parallelism: u32,
    /// Between one and the next.
    pub delay: Duration,
    /// The new one is there before the old one goes.
    pub start_first: bool,
}

impl Update {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Update {
    fn default() -> Self {
        Self { parallelism: 1, delay: Duration::ZERO, start_first: false }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Mount {
    /// `source` is absolute.
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
        create_host_path: bool,
        propagation: Option<String>,
        selinux: Option<String>,
    },
    /// `source` is the Compose name of a volume; `None`: an anonymous one.
    Volume { source: Option<String>, target: String, read_only: bool, no_copy: bool, subpath: Option<String> },
    /// `size` in bytes.
    Tmpfs { target: String, size: Option<i64>, mode: Option<u32>, options: Vec<String> },
    /// The files of an image, which nobody writes to.
    Image { source: String, target: String, subpath: Option<String> },
}

impl Mount {
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Image { target, .. } => target,
        }
    }
}

/// Something that not every engine can do, with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineNeed {
    /// ``shop/compose.yaml:7:9: a mount of an image``
    pub what: String,
    /// Of the engine's API.
    pub version: (u16, u16),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceNetwork {
    pub aliases: Vec<String>,
    pub ipv4_address: Option<Ipv4Addr>,
    pub ipv6_address: Option<std::net::Ipv6Addr>,
}

/// A network that a stack declares beside the platform's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkDecl {
    /// The name in the engine; `None`: `<prefix>-<stack>-<key>`.
    pub name: Option<String>,
    pub external: bool,
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv6: bool,
    pub labels: BTreeMap<String, String>,
    pub pools: Vec<Pool>,
}

/// A range of addresses that a network gives out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: ipnet::IpNet,
    pub gateway: Option<std::net::IpAddr>,
    pub ip_range: Option<ipnet::IpNet>,
}

/// A named volume that a stack declares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// The name in the engine; `None`: `<prefix>-<key>`.
    pub name: Option<String>,
    pub external: bool,
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// No stack file says this: it stands for a bind mount of what the engine's machine does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopiedFolder>,
}

/// A file that is copied into the container between its creation and its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileMount {
    /// Absolute, in the container.
    pub target: String,
    #[serde(with = "super::resource::base64_bytes")]
    pub content: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// A secret's content is never shown.
    pub secret: bool,
    /// What the stack calls it under `configs` or `secrets`; with the path below its target where it is a folder.
    #[serde(default, skip_serializing)]
    pub source: String,
    /// The name under which an orchestrator has it already: then there is no content here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub condition: Condition,
    /// Recreate or restart the dependent when the dependency is.
    pub restart: bool,
    pub required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", "..."]`; empty: the image's own.
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
}
