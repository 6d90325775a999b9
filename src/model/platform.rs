use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Condition, MachineTask, NetworkDecl, PlatformName, Process, ReachSetting, Restart, Service, TaskJob, Volume,
};

/// Everything that is wanted: the settings of macula.yaml and all stacks, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// `macula` unless `--name` or macula.yaml says otherwise.
    pub name: PlatformName,
    /// The zone: `macula.local`, or `<name>.macula.local` for a platform with a name of its own.
    pub domain: String,
    /// In the order in which they are listed; built-in stacks first.
    pub stacks: Vec<Stack>,
    pub images: ImageSettings,
    pub ingress: IngressSettings,
    pub dns: DnsSettings,
    pub cluster: ClusterSettings,
    pub addresses: AddressSettings,
    #[serde(default)]
    pub reach: ReachSetting,
    #[serde(default)]
    pub telemetry: TelemetrySettings,
    pub timeouts: Timeouts,
    /// How long it stays after an `up`, unless that says otherwise.
    #[serde(default)]
    pub lease: LeaseSettings,
    /// Programs of this machine, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<String, Process>,
    /// Tasks that run on this machine, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, MachineTask>,
    /// Names of programs that no file declares, in full: those of `macula run`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub programs: BTreeSet<String>,
    /// The folder with the built-in stacks as Compose files, where they are written.
    #[serde(skip)]
    pub written: Option<PathBuf>,
}

impl Platform {
    /// As it is where no macula.yaml says anything.
    pub fn new(name: PlatformName, stacks: Vec<Stack>) -> Self {
        Self {
            domain: name.domain(),
            name,
            stacks,
            images: ImageSettings::default(),
            ingress: IngressSettings::default(),
            dns: DnsSettings::default(),
            cluster: ClusterSettings::default(),
            addresses: AddressSettings::default(),
            reach: ReachSetting::default(),
            telemetry: TelemetrySettings::default(),
            timeouts: Timeouts::default(),
            lease: LeaseSettings::default(),
            processes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            programs: BTreeSet::new(),
            written: None,
        }
    }

    /// The Compose file that says what a stack is.
    pub fn file_of(&self, stack: &Stack) -> Option<PathBuf> {
        match &stack.origin {
            Origin::File(file) => Some(file.clone()),
            Origin::BuiltIn => Some(self.written.as_ref()?.join(format!("{}.yaml", stack.name))),
        }
    }

    /// Names that lead to programs of this machine, in full.
    pub fn program_names(&self) -> impl Iterator<Item = String> + '_ {
        let hosts = self.processes.values().flat_map(|process| &process.hosts);
        hosts.map(|host| format!("{host}.{}", self.domain)).chain(self.programs.iter().cloned())
    }

    /// All services of all stacks, with their stack.
    pub fn services(&self) -> impl Iterator<Item = (&Stack, &Service)> {
        self.stacks.iter().flat_map(|stack| stack.services.values().map(move |service| (stack, service)))
    }

    /// Of all services, those of the user's own stacks first: for messages that name a few of them.
    pub fn service_names(&self) -> Vec<String> {
        let (own, built_in): (Vec<_>, Vec<_>) = self.services().partition(|(stack, _)| stack.origin != Origin::BuiltIn);
        own.into_iter().chain(built_in).map(|(_, service)| service.name.clone()).collect()
    }

    /// Of all stacks, those of the user's own first: for messages that name a few of them.
    pub fn stack_names(&self) -> Vec<String> {
        let (own, built_in): (Vec<_>, Vec<_>) = self.stacks.iter().partition(|stack| stack.origin != Origin::BuiltIn);
        own.into_iter().chain(built_in).map(|stack| stack.name.clone()).collect()
    }

    pub fn service(&self, name: &str) -> Option<(&Stack, &Service)> {
        self.services().find(|(_, service)| service.name == name)
    }

    /// A host name, or the one in a URL, without the platform's domain.
    pub fn label_of_host<'a>(&self, typed: &'a str) -> &'a str {
        let host = host_of(typed);
        host.strip_suffix(self.domain.as_str()).and_then(|label| label.strip_suffix('.')).unwrap_or(host)
    }

    /// The service behind a host name, with or without the platform's domain, or behind a URL.
    pub fn service_of_host(&self, typed: &str) -> Option<&Service> {
        let (host, label) = (host_of(typed), self.label_of_host(typed));
        let named =
            |service: &&Service| service.extension.ingress.iter().any(|rule| rule.host == label || rule.host == host);
        self.services().map(|(_, service)| service).find(named)
    }

    /// What a task of this machine waits for: what it names, and what the platform sets up for the services that wait
    /// for it. Where it names nothing: what these wait for, and without them all services.
    pub fn awaited(&self, task: &MachineTask) -> BTreeSet<String> {
        let waiting = task.before.iter().filter_map(|name| self.service(name));
        let mut found: BTreeSet<String> = BTreeSet::new();
        for on in waiting.flat_map(|(_, service)| service.depends_on.keys()) {
            let ours = || self.service(on).is_some_and(|(stack, _)| stack.origin == Origin::BuiltIn);
            if task.after.is_none() || ours() {
                found.insert(on.clone());
            }
        }
        match &task.after {
            Some(after) => found.extend(after.iter().cloned()),
            None if task.before.is_empty() => found.extend(self.services().map(|(_, service)| service.name.clone())),
            None => {}
        }
        found
    }

    /// The tasks of this machine that a service waits for.
    pub fn tasks_before<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a MachineTask> {
        self.tasks.values().filter(move |task| task.before.iter().any(|name| name == service))
    }

    /// Whether a service may be left out when no image can be had.
    pub fn is_optional(&self, name: &str) -> bool {
        self.service(name).is_some_and(|(_, service)| service.extension.optional)
    }

    /// Whether a service says that it does its work once, or others wait for it to end.
    pub fn is_job(&self, service: &Service) -> bool {
        let ends = |other: &Service| {
            let dependency = other.depends_on.get(&service.name);
            dependency.is_some_and(|dependency| dependency.condition == Condition::ServiceCompletedSuccessfully)
        };
        let told = service.extension.once || self.services().any(|(_, other)| ends(other));
        told && !matches!(service.options.restart, Restart::Always | Restart::UnlessStopped)
    }

    /// Whether this is a job of a built-in service, such as the one that makes the users of the S3 server: a part of it
    /// that people do not know by name.
    pub fn is_helper(&self, name: &str) -> bool {
        self.service(name).is_some_and(|(stack, service)| stack.origin == Origin::BuiltIn && self.is_job(service))
    }

    /// The cluster, and its context in the user's kubeconfig.
    pub fn cluster_name(&self) -> String {
        self.cluster.name.clone().unwrap_or_else(|| self.name.cluster())
    }
}

/// The host of a URL; anything else is taken as it is.
fn host_of(typed: &str) -> &str {
    let Some((_, rest)) = typed.split_once("://") else { return typed };
    rest.split(['/', '?', '#', ':']).next().unwrap_or(rest)
}

/// One Compose file, resolved: interpolated, extended, included, with profiles applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub name: String,
    pub origin: Origin,
    /// One of its services is called like another stack's, so that it has a network of its own in which
    /// its own names win.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scoped: bool,
    pub services: BTreeMap<String, Service>,
    pub networks: BTreeMap<String, NetworkDecl>,
    pub volumes: BTreeMap<String, Volume>,
}

impl Stack {
    /// The service that a task of this stack belongs to.
    pub fn owner(&self, task: &TaskJob) -> Option<&Service> {
        self.services.values().find(|service| service.short.as_ref().unwrap_or(&service.name) == &task.service)
    }
}

/// Where a stack comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Embedded in the binary.
    BuiltIn,
    /// A file of the user's, which may stand in for the built-in stack of the same name.
    File(PathBuf),
}

impl Origin {
    /// From where the user's file counts its paths.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(file) => file.parent(),
            Self::BuiltIn => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageSettings {
    pub policy: ImagePolicy,
    /// Mirrors by registry host: `docker.io: [mirror.gcr.io]`, tried in order, then the registry.
    pub sources: BTreeMap<String, Vec<String>>,
    /// Image reference of a stack file -> the reference to use in its place.
    pub overrides: BTreeMap<String, String>,
    /// Image reference -> its digest (`sha256:...`), of macula.lock.
    pub locked: BTreeMap<String, String>,
    /// Services whose image macula.yaml names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub named: BTreeSet<String>,
}

impl ImageSettings {
    /// The setting of macula.yaml that names the image of this service, where one does.
    pub fn named_by(&self, service: &Service) -> Option<String> {
        if self.named.contains(&service.name) {
            return Some(format!("services.{}.image", service.name));
        }
        let image = service.image.as_ref()?;
        self.overrides.values().any(|other| other == image).then(|| "images.overrides".to_owned())
    }
}

/// `--images`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePolicy {
    /// What is in the engine, else a pull, else a build.
    #[default]
    Auto,
    /// Pull always; never build.
    Pull,
    /// Build whatever has a `build`.
    Build,
    /// Only what is in the engine already.
    Local,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngressSettings {
    /// Redirect http to https (off: both serve).
    pub redirect: bool,
    /// Published port for HTTP, 80.
    pub http: u16,
    /// Published port for HTTPS, 443.
    pub https: u16,
}

impl IngressSettings {
    /// Where a name is reached on this machine.
    pub fn url(&self, host: &str, tls: bool) -> String {
        let (scheme, port, usual) = if tls { ("https", self.https, 443) } else { ("http", self.http, 80) };
        if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
    }
}

impl Default for IngressSettings {
    fn default() -> Self {
        Self { redirect: false, http: 80, https: 443 }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DnsSettings {
    pub listen: Vec<SocketAddr>,
    /// Where questions come over TLS.
    #[serde(default)]
    pub dot: Vec<SocketAddr>,
    /// Where questions come over HTTPS.
    #[serde(default)]
    pub doh: Vec<SocketAddr>,
    pub upstream: Vec<IpAddr>,
    /// Foreign zones that may answer with loopback or private addresses.
    pub rebind_allow: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSettings {
    pub enabled: bool,
    /// Written down by the user: then a cluster that cannot be had is an error, not left out.
    pub required: bool,
    pub name: Option<String>,
    pub provider: String,
    /// The provider's program: a path, or a name on the PATH; `MACULA_KIND` stands above it.
    pub program: Option<String>,
    /// Image of the nodes; `MACULA_NODE_IMAGE` stands above it.
    pub node_image: Option<String>,
    /// How long the API server may take to become ready.
    pub timeout: Duration,
    /// Feature gates of Kubernetes.
    pub feature_gates: BTreeMap<String, bool>,
    pub control_planes: u8,
    pub workers: u8,
    /// `nginx` or `traefik`.
    pub ingress: String,
    pub addons: Vec<String>,
    pub udp_services: BTreeMap<u16, String>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            required: false,
            name: None,
            provider: "kind".into(),
            program: None,
            node_image: None,
            timeout: Duration::from_secs(300),
            feature_gates: BTreeMap::new(),
            control_planes: 1,
            workers: 0,
            ingress: "nginx".into(),
            addons: Vec::new(),
            udp_services: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressSettings {
    /// The platform's block of loopback addresses, by its .0; `None`: 127.0.0.0 for the default
    /// platform, else one found from the hash of the name.
    pub block: Option<Ipv4Addr>,
    /// The subnet of the platform's network; `None`: one that collides with no route.
    pub subnet: Option<ipnet::Ipv4Net>,
}

/// How long a platform stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSettings {
    pub time: Option<Duration>,
    /// While nothing uses it.
    pub idle: Option<Duration>,
}

/// Who takes the telemetry of programs, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetrySettings {
    pub mode: TelemetryMode,
    /// Bytes on the disk.
    pub size: u64,
    pub age: Duration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { mode: TelemetryMode::Auto, size: 512 << 20, age: Duration::from_secs(3 * 24 * 3600) }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TelemetryMode {
    /// The background process, in the place of what is left out.
    #[default]
    Auto,
    /// The background process; Tempo, Alloy and Loki do not take part.
    Embedded,
    /// Nobody but Tempo, Alloy and Loki.
    None,
}

impl TelemetryMode {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "embedded" => Self::Embedded,
            "none" => Self::None,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// How long a service may take to become healthy, unless its `probe` says otherwise.
    pub healthy: Duration,
    /// How long a pull or a build of one image may take.
    pub image: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { healthy: Duration::from_secs(120), image: Duration::from_secs(30 * 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_port_is_not_in_a_url() {
        let usual = IngressSettings::default();
        assert_eq!(usual.url("web.macula.local", true), "https://web.macula.local");
        let other = IngressSettings { http: 8080, https: 8443, ..usual };
        assert_eq!(other.url("web.macula.local", false), "http://web.macula.local:8080");
        assert_eq!(other.url("web.macula.local", true), "https://web.macula.local:8443");
    }

    #[test]
    fn a_url_stands_for_its_host() {
        for url in ["https://web.macula.local", "http://web.macula.local:8080/a?b#c", "web.macula.local"] {
            assert_eq!(host_of(url), "web.macula.local", "{url}");
        }
        assert_eq!((host_of("web"), host_of("web:80"), host_of("https://")), ("web", "web:80", ""));
    }
}
