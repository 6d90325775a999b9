//! A Compose service after resolution. Names and meaning are those of the Compose specification
//! (<https://github.com/compose-spec/compose-spec/blob/main/05-services.md>); what it lacks is in
//! [`Extension`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Deploy, EngineKind, Facts, FormatVersion, Scale, Server};

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

/// What is handed to the engine as it stands. Shared by [`Service`] and
/// [`super::ContainerSpec`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOptions {
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub restart: Restart,
    pub init: Option<bool>,
    pub tty: bool,
    pub stdin_open: bool,
    pub read_only: bool,
    pub privileged: bool,
    pub stop_signal: Option<String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security_opt: Vec<String>,
    pub group_add: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub devices: Vec<String>,
    /// `name:address`, as the engine takes it.
    pub extra_hosts: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    /// Bytes.
    pub shm_size: Option<i64>,
    pub pid: Option<String>,
    pub ipc: Option<String>,
    pub uts: Option<String>,
    pub userns_mode: Option<String>,
    pub cgroup: Option<String>,
    pub cgroup_parent: Option<String>,
    pub runtime: Option<String>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub logging: Option<Logging>,
    /// `deploy.resources` and the older `mem_limit`, `cpus`, ...
    pub resources: Limits,
    pub oom_score_adj: Option<i64>,
    pub oom_kill_disable: Option<bool>,
    pub mac_address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// `gpus`, and `deploy.resources.reservations.devices`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_requests: Vec<DeviceRequest>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio: Option<Blkio>,
    /// Services or `container:NAME`, with `:ro` where nothing is written to them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// `service:alias` or, from outside, `container:alias`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
}

/// A request for devices that a driver of the engine's gives, such as GPUs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRequest {
    pub driver: String,
    /// -1: all.
    pub count: Option<i64>,
    pub ids: Vec<String>,
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

/// Limits of reading and writing block devices: path and number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Blkio {
    pub weight: Option<u16>,
    pub weight_device: Vec<(String, u64)>,
    /// Bytes a second.
    pub read_bps: Vec<(String, u64)>,
    pub write_bps: Vec<(String, u64)>,
    /// Operations a second.
    pub read_iops: Vec<(String, u64)>,
    pub write_iops: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_swap: Option<i64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cpuset: Option<String>,
    pub pids: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    OnFailure(Option<i64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logging {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    Never,
    #[default]
    Missing,
    Build,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Absolute folder of the build context; `None`: an empty context (only a Dockerfile).
    pub context: Option<PathBuf>,
    /// The context is what a Git repository holds, and comes to this machine before the build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitContext>,
    /// Digest of what the context holds, where somebody looked: a changed file is a changed build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Path of the Dockerfile, relative to the context.
    pub dockerfile: Option<String>,
    pub dockerfile_inline: Option<String>,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub network: Option<String>,
    pub platforms: Vec<String>,
    pub cache_from: Vec<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub shm_size: Option<i64>,
    pub extra_hosts: Vec<String>,
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// `additional_contexts`: an absolute folder, `docker-image://NAME`, `service:NAME`, or an address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    /// By the id that the Dockerfile names. What they hold makes no other build.
    #[serde(skip)]
    pub secrets: BTreeMap<String, BuildSecret>,
    /// Id -> the agent's socket; empty: that of `SSH_AUTH_SOCK`.
    #[serde(skip)]
    pub ssh: BTreeMap<String, String>,
    /// The front end that the Dockerfile names in its first line.
    #[serde(skip)]
    pub syntax: Option<String>,
    /// What only BuildKit can do of it.
    #[serde(skip)]
    pub needs: Vec<BuildNeed>,
}

/// What stands in front of the name of an image that is a context of a build.
pub const IMAGE_CONTEXT: &str = "docker-image://";

/// `https://github.com/docker/awesome-compose.git#master:nginx-golang`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitContext {
    pub url: String,
    /// A branch, a tag or a commit; `None`: the repository's default branch.
    pub reference: Option<String>,
    /// Relative, inside the repository.
    pub folder: Option<PathBuf>,
}

impl GitContext {
    /// As in Compose: `ADDRESS[#REFERENCE[:FOLDER]]`. `None`: no repository is there.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let http = address.starts_with("https://") || address.starts_with("http://");
        let url = match address {
            _ if http && !(address.ends_with(".git") || text.contains('#')) => return None,
            _ if http || ["git://", "ssh://", "git@"].iter().any(|start| address.starts_with(start)) => {
                address.to_owned()
            }
            _ if address.starts_with("github.com/") => format!("https://{address}"),
            _ => return None,
        };
        // what begins with a dash is an option to git
        let reference = Some(reference).filter(|reference| !reference.is_empty());
        if reference.is_some_and(|reference| reference.starts_with('-')) {
            return None;
        }
        let folder = Path::new(folder.trim_start_matches('/'));
        if folder.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return None;
        }
        let folder = Some(folder.to_owned()).filter(|folder| !folder.as_os_str().is_empty());
        Some(Self { url, reference: reference.map(str::to_owned), folder })
    }
}

impl Build {
    /// It builds what is the user's, not only what a stack file says.
    pub fn is_own(&self) -> bool {
        self.context.is_some() || self.git.is_some()
    }

    /// Services whose images it takes files from.
    pub fn from_services(&self) -> Vec<String> {
        self.contexts.values().filter_map(|place| place.strip_prefix("service:")).map(str::to_owned).collect()
    }

    /// Where its Dockerfile is, unless that stands in the stack.
    pub fn dockerfile_path(&self) -> Option<PathBuf> {
        let folder = self.context.as_ref().filter(|_| self.dockerfile_inline.is_none())?;
        Some(folder.join(self.dockerfile.as_deref().unwrap_or("Dockerfile")))
    }

    /// The rules that the Dockerfile has for itself, where there are some.
    pub fn ignore_file(&self) -> Option<PathBuf> {
        let mut path = self.dockerfile_path()?.into_os_string();
        path.push(".dockerignore");
        Some(path.into())
    }

    /// The first thing in it that this engine cannot build by itself.
    pub fn unmet(&self, facts: &Facts) -> Option<&BuildNeed> {
        self.needs.iter().find(|need| match facts.dockerfile {
            Some(known) => known < need.version,
            None => need.by_key || facts.engine_kind == EngineKind::Docker,
        })
    }
}

/// Read when the build begins.
#[derive(Clone, PartialEq, Eq)]
pub enum BuildSecret {
    File(PathBuf),
    Value(String),
}

impl std::fmt::Debug for BuildSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// Something in a build that not every builder can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildNeed {
    /// ``shop/Dockerfile:3:1: `RUN --mount` ``
    pub what: String,
    /// Of the Dockerfile format.
    pub version: FormatVersion,
    /// Said by a key of the Compose file. Podman knows what Dockerfiles say, and not these.
    pub by_key: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port in the container.
    pub target: u16,
    pub protocol: Protocol,
    /// `None`: the service's own address where it has one, else 127.0.0.1.
    pub host_ip: Option<std::net::IpAddr>,
    /// `None`: any free port.
    pub published: Option<u16>,
    /// The last one of a range, of which each replica gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_to: Option<u16>,
    /// For orchestrators: on the node that the container runs on, and on no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_mode: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
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

/// `x-macula` of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extension {
    /// `ingress`: this service is the host ingress and gets the published ports of all addresses;
    /// `names`: what it is inside the platform's network.
    pub role: Option<Role>,
    pub ingress: Vec<IngressRule>,
    /// Last octets count: the platform's block is put in front for a platform of another block.
    pub address: Option<Ipv4Addr>,
    pub probe: Option<Probe>,
    pub metrics: Vec<Metrics>,
    /// Name of the variable -> minijinja template.
    pub exports: BTreeMap<String, String>,
    /// Environment variable -> minijinja template.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Environment variable -> where its value comes from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Absolute path in the container -> template.
    pub configs: BTreeMap<String, ConfigTemplate>,
    pub reload: Option<Reload>,
    /// Run in the container before a reload: where it fails, the files are put back as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reload_check: Vec<String>,
    /// Host-side preparation of the build context.
    pub prepare: Vec<PrepareStep>,
    pub provider: Option<Provider>,
    pub optional: bool,
    /// The container gets the platform's authority, and the variables by which programs find it.
    pub trust: bool,
    /// The service does its work and ends, also where no other one waits for it to.
    pub once: bool,
    /// The service is there only while one of these is chosen; empty: always.
    pub profiles: Vec<String>,
    /// S3 buckets to be made for this service.
    pub buckets: Vec<String>,
    /// Databases in the built-in PostgreSQL to be made for this service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// What the service needs of servers for all: its own name for it, and the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<String, Server>,
    /// Shown by `status` beside a service that runs from its build.
    pub build_note: Option<String>,
    /// Alternative references of the image, tried in order after `image`.
    pub sources: Vec<String>,
    /// How many containers there are as the load changes, where an orchestrator can do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
}

/// A database of an application's own, and the role that owns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub name: String,
    pub user: String,
    /// In front of the variables that the service gets for it.
    pub prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The way in from this machine: it has the published ports of all addresses.
    Ingress,
    /// The same inside the platform's network: every name leads to it there. Names are aliases, which
    /// engines fix when they make a container: a new name makes this one again, and nobody outside sees
    /// it. Without one, the ingress has this role too.
    Names,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IngressRule {
    /// One label or `*.label` below the domain, or a full name below it.
    pub host: String,
    /// Port in the container.
    pub port: u16,
    /// Another one, where nothing listens on that: what an older image has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<u16>,
    pub path: String,
    /// Speak TLS to the upstream.
    pub tls: bool,
    /// Largest request body, bytes; 0: no limit.
    pub body_size: Option<u64>,
    /// `user:bcrypt-or-apr1` line, for basic authentication.
    pub auth: Option<String>,
    /// Keep a client on one replica.
    pub sticky: bool,
    /// This service's share of the requests, where several services answer for one name and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The service speaks HTTP/2 without TLS, as gRPC servers do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc: bool,
    /// Requests with a content type of gRPC go to this port of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_port: Option<u16>,
    /// The service sees the request's path without `path`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip: bool,
    /// Requests that a page of another origin sends are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_origin: bool,
    /// How long the service may take to begin its answer before a request that is safe to repeat is
    /// sent to the next one. `None`: what fits; zero: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Duration>,
    /// Nobody asked for the name: the port is taken for one of HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub kind: ProbeKind,
    /// `None`: [`super::Timeouts::healthy`].
    pub timeout: Option<Duration>,
}

/// How a service is asked from outside whether it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Healthy on a status from 200 to 399.
    Http { port: u16, path: String },
    /// Healthy when a connection is accepted.
    Tcp { port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub port: u16,
    pub path: String,
    /// `None`: the service's name.
    pub job: Option<String>,
    /// Query parameters of the scrape.
    pub params: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// Made once.
    Generate(Generated),
    /// `service.VARIABLE` of another service (its secret).
    From { service: String, key: String },
}

/// How a secret is made up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Characters, without the prefix.
    pub length: u16,
    /// In front of what is random: `key_` of `key_8sD...`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(default)]
    pub alphabet: Alphabet,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// Letters and digits, so that it needs no quoting anywhere.
    #[default]
    Alphanumeric,
    Lowercase,
    Digits,
    Hex,
}

impl Alphabet {
    pub fn characters(self) -> &'static str {
        match self {
            Self::Alphanumeric => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Lowercase => "abcdefghijklmnopqrstuvwxyz0123456789",
            Self::Digits => "0123456789",
            Self::Hex => "0123456789abcdef",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigTemplate {
    /// Name in `templates/`, for error messages.
    pub name: String,
    /// Its text, read by `config`.
    pub source: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// How a service takes up a changed file without being recreated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    Signal(String),
    /// Run in the container.
    Exec(Vec<String>),
    /// The service looks for itself.
    None,
}

/// A step on the host whose output goes into the build context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareStep {
    /// Write a file (path relative to the scratch folder) with this content.
    Write { path: String, content: String },
    /// Run a program in the scratch folder; `needs` is its Debian package, for the hint.
    Run { command: Vec<String>, needs: Option<String> },
    /// Copy a file or folder of the scratch folder, or one of the context that is not there, into the context (`to`
    /// relative to the context).
    Copy { from: String, to: String },
    /// Copy the program that is running into the context, as this file: what it can do in a second
    /// role needs no compiler.
    Program { to: String },
}

/// What writes a service's data volume, for each source of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// When the image is pulled, e.g. `postgresql-18 timescaledb-2.29`.
    pub image: String,
    /// When it is built.
    pub build: String,
    /// Earlier ones whose data the build takes over when it first starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_over: Vec<String>,
}

impl Provider {
    /// Whether the build opens a volume that was written by this one.
    pub fn build_opens(&self, wrote: &str) -> bool {
        self.build == wrote || self.takes_over.iter().any(|earlier| earlier == wrote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_repositories() {
        let of = |text: &str| {
            GitContext::parse(text).map(|git| {
                let folder = git.folder.map(|folder| folder.display().to_string());
                format!("{} {} {}", git.url, git.reference.as_deref().unwrap_or("-"), folder.as_deref().unwrap_or("-"))
            })
        };
        for (text, want) in [
            ("https://h/a/b.git", Some("https://h/a/b.git - -")),
            ("https://h/a/b.git#main:sub/dir", Some("https://h/a/b.git main sub/dir")),
            ("https://h/a/b.git#:sub", Some("https://h/a/b.git - sub")),
            ("https://h/a/b#v1", Some("https://h/a/b v1 -")),
            ("github.com/a/b", Some("https://github.com/a/b - -")),
            ("git@h:a/b.git#v1:/sub", Some("git@h:a/b.git v1 sub")),
            ("ssh://git@h/a/b", Some("ssh://git@h/a/b - -")),
            ("git://h/b", Some("git://h/b - -")),
            ("https://h/a.tar.gz", None),
            ("https://h/a/b.git#--upload-pack=x", None),
            ("https://h/a/b.git#main:../up", None),
            ("s3://h/a", None),
            ("service:web", None),
            ("./folder", None),
        ] {
            assert_eq!(of(text).as_deref(), want, "{text}");
        }
    }
}
