use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Build, Condition, ContainerOptions, Forward, Healthcheck, Observed, ObservedImage, PortBinding, PrepareStep, Probe,
    Protocol, Reload, Restart, label,
};
use crate::words;

/// What a thing is called across plan, events and errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    pub kind: ResourceKind,
    /// The name in the engine.
    pub name: String,
}

impl ResourceId {
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    Network,
    Volume,
    Image,
    Container,
    Cluster,
    Manifest,
    /// Of this machine.
    Task,
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Container => "container",
            Self::Cluster => "cluster",
            Self::Manifest => "manifest",
            Self::Task => "task",
        })
    }
}

/// The first 16 bytes of the SHA-256 of a specification's JSON, in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

/// In front of a folder that is copied, among the parts of a fingerprint.
const COPY: &str = "copy:";

impl Fingerprint {
    /// What a copied folder is called in a value of [`super::label::PARTS`].
    pub fn copy_part(shown: &str) -> String {
        // these hold the parts together
        format!("{COPY}{}", shown.replace([',', '='], "_"))
    }

    /// `spec` must serialize the same way every time: maps ordered, no floats.
    pub fn of(spec: &impl Serialize) -> Self {
        let json = serde_json::to_vec(spec).unwrap_or_default();
        Self::of_bytes(&json)
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(words::hex(Sha256::digest(bytes)).chars().take(32).collect())
    }

    /// The names of the parts that differ between two values of [`super::label::PARTS`].
    pub fn changed_parts(old: &str, new: &str) -> Vec<String> {
        let split = |text: &str| -> BTreeMap<String, String> {
            text.split(',').filter_map(|part| part.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
        };
        let (old, new) = (split(old), split(new));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let plain = |name: &str| match name {
            "env" => "environment".to_owned(),
            "stop_grace_ms" => "stop_grace_period".to_owned(),
            other => match other.strip_prefix(COPY) {
                Some(folder) => format!("files of {folder}"),
                None => other.to_owned(),
            },
        };
        names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|name| plain(name)).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Resources {
    /// The engine publishes ports; else somebody listens for it.
    pub fn publishes(&self) -> bool {
        self.containers.iter().all(|spec| spec.forwards.is_empty())
    }
}

/// What `compile` makes of a platform for the engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub networks: Vec<NetworkSpec>,
    pub volumes: Vec<VolumeSpec>,
    pub images: Vec<ImageSpec>,
    pub containers: Vec<ContainerSpec>,
    pub routes: Vec<Route>,
    pub streams: Vec<Stream>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<MachineTaskSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub external: bool,
    pub driver: String,
    pub driver_opts: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv6: bool,
    /// Empty: whoever makes it chooses.
    pub ipam: Vec<IpamPool>,
    /// What was chosen for a network that says nothing of addresses; no part of what is wanted.
    #[serde(skip)]
    pub subnet: Option<ipnet::Ipv4Net>,
    /// Without fingerprint; [`NetworkSpec::fingerprint`] is added when it is made.
    pub labels: BTreeMap<String, String>,
}

impl NetworkSpec {
    /// Hash of everything that the engine fixes when it makes the network, but for the labels that only
    /// describe it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut spec = self.clone();
        spec.labels.retain(|key, _| !label::describes(key));
        Fingerprint::of(&spec)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpamPool {
    pub subnet: ipnet::IpNet,
    pub gateway: Option<IpAddr>,
    /// Where the engine takes addresses for containers that ask for none.
    pub ip_range: Option<ipnet::IpNet>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeSpec {
    pub name: String,
    pub external: bool,
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Who writes it, where that matters; see [`super::label::PROVIDER`].
    pub provider: Option<super::Provider>,
    /// What it is filled with before anybody has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Box<super::CopiedFolder>>,
}

/// An image and the ways to get it, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The reference that the stack file names: `nginx:1.30.4`; for a service with only a
    /// `build`, the tag under which it is built.
    pub reference: String,
    /// References to pull, in order (mirrors, successor, then upstream).
    pub pull: Vec<String>,
    /// Digests that macula.lock allows, when it has one for every source: what the engine has under
    /// the same name from elsewhere is another image.
    pub locked: Vec<String>,
    pub build: Option<ImageBuild>,
    /// Pull even when it is there.
    pub always_pull: bool,
    pub platform: Option<String>,
    /// Services that run it.
    pub services: Vec<String>,
}

impl ImageSpec {
    /// What tells it from all others: two builds may bear one name.
    pub fn key(&self) -> &str {
        self.build.as_ref().map_or(&self.reference, |build| &build.tag)
    }

    /// What the image is called in the engine once it was pulled. A reference with a digest is no
    /// name that an image can be given, and an archive does not keep it, so that such an image gets a
    /// tag of our own: `nginx@sha256:0123...` is `nginx:macula-0123...`.
    pub fn kept_as(&self) -> String {
        let Some((name, digest)) = self.reference.split_once('@') else { return self.reference.clone() };
        let hex = digest.rsplit_once(':').map_or(digest, |(_, hex)| hex);
        format!("{}:macula-{}", repository(name), hex.get(..12).unwrap_or(hex))
    }

    /// Every name that it may have as its makers publish it; none for what is only built.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let all = std::iter::once(&self.reference).chain(&self.pull).cloned().chain([self.kept_as()]);
        all.filter(|name| !self.pull.is_empty() && !name.is_empty())
    }

    /// The image as its makers publish it, when the engine has it, and its name there.
    pub fn present<'a>(&self, observed: &'a Observed) -> Option<(String, &'a ObservedImage)> {
        self.names().find_map(|name| {
            let image = observed.images.get(&name).filter(|image| self.allows(image))?;
            Some((name, image))
        })
    }

    /// What the locked digests say of an image that is here. One without any digest came from an
    /// archive, or was built: nothing says what it once was called.
    fn allows(&self, image: &ObservedImage) -> bool {
        let named = |digest: &String| image.repo_digests.iter().any(|known| known.ends_with(&format!("@{digest}")));
        self.locked.is_empty() || image.repo_digests.is_empty() || self.locked.iter().any(named)
    }
}

/// A reference without its tag: what stands after the last colon is one, unless a slash follows.
pub fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageBuild {
    /// Where the result is kept: `macula/<service>:<fingerprint>`.
    pub tag: String,
    pub spec: Build,
    pub prepare: Vec<PrepareStep>,
    /// The Dockerfile says `FROM localhost/macula/base:...`: the base must be made first.
    pub base: Option<BaseImage>,
    pub fingerprint: Fingerprint,
    pub labels: BTreeMap<String, String>,
    /// The `image` that a user's own stack gives it, as Compose does. What we ship is never given the
    /// name of somebody else's image.
    pub also: Option<String>,
    /// What other services call the same build of ours: each finds it, also where it is loaded without the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<String>,
}

/// The Debian base made with `mmdebstrap` on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// `localhost/macula/base:trixie`.
    pub reference: String,
    /// `trixie`.
    pub suite: String,
}

impl BaseImage {
    /// Names of the base. Nobody else can own the first, under which we ask for it; the second is what
    /// older Dockerfiles say.
    const REPOSITORIES: [&str; 2] = ["localhost/macula/base", "macula/base"];

    /// The base that a Dockerfile asks for with `FROM localhost/macula/base:SUITE`.
    pub fn named_in(dockerfile: &str) -> Option<Self> {
        dockerfile.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| word.eq_ignore_ascii_case("FROM"))?;
            let reference = words.find(|word| !word.starts_with("--"))?;
            let suite = Self::suite_of(reference)?;
            Some(Self { reference: reference.to_owned(), suite: suite.to_owned() })
        })
    }

    /// All its names, the one that is asked for first.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let own = self.reference.clone();
        let all = Self::REPOSITORIES.iter().map(|name| format!("{name}:{}", self.suite));
        std::iter::once(self.reference.clone()).chain(all.filter(move |name| *name != own))
    }

    /// What a name of the base says of its suite; `None` for the name of anything else.
    pub fn suite_of(reference: &str) -> Option<&str> {
        Self::REPOSITORIES.iter().find_map(|name| reference.strip_prefix(name)?.strip_prefix(':'))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub stack: String,
    pub service: String,
    /// From 1.
    pub replica: u32,
    /// [`ImageSpec::reference`] of the image to run.
    pub image: String,
    /// Sorted `KEY=value`.
    pub env: Vec<String>,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub networks: Vec<NetworkAttachment>,
    pub network_mode: Option<String>,
    pub ports: Vec<PortBinding>,
    pub expose: Vec<u16>,
    /// Ports of other protocols, `53/udp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_other: Vec<String>,
    pub mounts: Vec<MountSpec>,
    /// Volumes among the mounts that stand for folders of this machine. What these hold counts in the fingerprint.
    #[serde(skip)]
    pub copies: BTreeMap<String, super::CopiedFolder>,
    /// Copied in between create and start. Those that cannot be reloaded count in the fingerprint.
    #[serde(skip)]
    pub files: Vec<FileSpec>,
    pub healthcheck: Option<Healthcheck>,
    /// Milliseconds; `None`: the engine's default of 10 s.
    pub stop_grace_ms: Option<u64>,
    pub options: ContainerOptions,
    /// Those of the user and ours, without the fingerprint.
    pub labels: BTreeMap<String, String>,
    /// How the wait for health asks; no part of the fingerprint.
    #[serde(skip)]
    pub readiness: Readiness,
    #[serde(skip)]
    pub update: super::Update,
    #[serde(skip)]
    pub depends_on: Vec<DependsOn>,
    #[serde(skip)]
    pub reload: Option<Reload>,
    /// Run in the container before a reload: where it fails, the files are put back as they were.
    #[serde(skip)]
    pub reload_check: Vec<String>,
    /// Ports on this machine that the engine is not to publish, since what it publishes does not arrive here.
    #[serde(skip)]
    pub forwards: Vec<Forward>,
    /// Published ports that the ingress holds in this container's place, since it looks at who is asked for.
    #[serde(skip)]
    pub guarded: Vec<PortBinding>,
    /// May be left out when its image cannot be had.
    #[serde(skip)]
    pub optional: bool,
    /// Which data provider this container is, by the source of its image.
    #[serde(skip)]
    pub provider: Option<super::Provider>,
    /// It is a task, which runs once for each state of what it works on.
    #[serde(skip)]
    pub task: Option<TaskSpec>,
    /// Hash of everything above that the engine fixes at creation, and of the files that cannot be
    /// reloaded. Without the image's id.
    #[serde(skip)]
    pub fingerprint: Option<Fingerprint>,
    /// Short digests of its parts; see [`super::label::PARTS`].
    #[serde(skip)]
    pub parts: String,
}

/// A task as the plan sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskSpec {
    pub name: String,
    pub inputs: super::TaskInputs,
    /// See [`super::TaskJob::otherwise`].
    pub otherwise: bool,
    /// Another image is a reason to run it: it does not name the files that it works on.
    pub by_image: bool,
}

/// A task of this machine as the plan sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTaskSpec {
    pub name: String,
    /// The platform's name, below which its last run is noted.
    pub platform: String,
    pub inputs: super::TaskInputs,
    /// Services and other tasks of this machine.
    pub after: BTreeSet<String>,
    /// Services that start only when it is done.
    pub before: BTreeSet<String>,
    pub timeout: Duration,
    /// See [`super::TaskJob::otherwise`].
    pub otherwise: bool,
}

/// What the name of a container has behind it until it is whole: names of ours end with a number, so that
/// no container of ours is called so.
pub const UNFINISHED: &str = ".unfinished";

impl ContainerSpec {
    /// The same under the name of one that is not whole yet: it stands beside the one that it replaces.
    pub fn stand_in(&self) -> Self {
        Self { name: format!("{}{UNFINISHED}", self.name), ..self.clone() }
    }

    /// What is listened on for it on this machine, by the engine or by the background process that passes it on.
    pub fn listened_on(&self) -> impl Iterator<Item = PortBinding> + '_ {
        self.ports.iter().cloned().chain(self.forwards.iter().map(Forward::binding))
    }

    /// Whether to end with 0 is a good end. What is published, or can be asked how it is, is there
    /// to stay: many a server ends with 0 when it is told to stop.
    pub fn may_end(&self) -> bool {
        let none = |check: &Healthcheck| check.test.first().is_some_and(|word| word == "NONE");
        let asked = self.readiness.probe.is_some() || self.healthcheck.as_ref().is_some_and(|check| !none(check));
        let ends = matches!(self.options.restart, Restart::No | Restart::OnFailure(_));
        self.readiness.one_shot || (ends && self.ports.is_empty() && self.forwards.is_empty() && !asked)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readiness {
    pub probe: Option<Probe>,
    /// A one-shot: ready when it has ended with 0.
    pub one_shot: bool,
    pub timeout: Duration,
    /// The files give services more than the usual time: one that the engine counts as unhealthy by then has it, too.
    pub patient: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependsOn {
    pub service: String,
    pub condition: Condition,
    pub required: bool,
    pub restart: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    pub network: String,
    pub aliases: Vec<String>,
    /// `NAME:ALIAS`: what this container alone finds under ALIAS, before any other network is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountSpec {
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
        create_host_path: bool,
        propagation: Option<String>,
        /// `z`: the label of SELinux is for all containers; `Z`: for this one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selinux: Option<String>,
    },
    /// `source` is the name in the engine.
    Volume {
        source: String,
        target: String,
        read_only: bool,
        no_copy: bool,
        subpath: Option<String>,
    },
    Tmpfs {
        target: String,
        size: Option<i64>,
        mode: Option<u32>,
        options: Vec<String>,
    },
    Image {
        source: String,
        target: String,
        subpath: Option<String>,
    },
}

impl MountSpec {
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Image { target, .. } => target,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSpec {
    pub path: String,
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Never shown in a plan.
    pub secret: bool,
    /// A change is copied in and the service told, not recreated.
    pub reload: bool,
}

/// One name on the host ingress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Fully qualified, without the final dot; may begin with `*.`.
    pub host: String,
    pub service: String,
    pub port: u16,
    /// Another port of the service, where nothing listens on that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<u16>,
    pub path: String,
    pub tls: bool,
    pub body_size: Option<u64>,
    pub auth: Option<String>,
    pub sticky: bool,
    pub weight: Option<u32>,
    pub grpc: bool,
    pub grpc_port: Option<u16>,
    pub strip: bool,
    pub same_origin: bool,
    pub response_timeout: Option<std::time::Duration>,
    /// The loopback address to which the name resolves on the host.
    pub address: Ipv4Addr,
    /// The name lies below the platform's domain: it has a record and a certificate.
    pub own: bool,
}

/// A direct port that the ingress passes on inside the platform's network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    pub port: u16,
    pub protocol: Protocol,
    pub service: String,
    /// Port in the service's container.
    pub target: u16,
    /// Empty: any connection is passed on. Else it is HTTP, and a request has to name one of these, or an
    /// address; a name with a dot in front stands for all below it. The ingress publishes such a port on this
    /// machine too.
    pub hosts: Vec<String>,
}

pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_read_from_the_first_from_that_names_it() {
        for name in ["localhost/macula/base:trixie", "macula/base:trixie"] {
            let text = format!("# c\nFROM scratch\nFROM --platform=linux/amd64 {name} AS b\nRUN x");
            let base = BaseImage::named_in(&text).unwrap();
            assert_eq!((base.reference.as_str(), base.suite.as_str()), (name, "trixie"));
            let names: Vec<String> = base.names().collect();
            assert!(names[0] == name && names.len() == 2, "{names:?}");
        }
        for other in ["FROM debian:13\n", "FROM somebody/macula/base:trixie\n", "FROM macula/baseline:1\n"] {
            assert_eq!(BaseImage::named_in(other), None, "{other}");
        }
    }

    #[test]
    fn the_engine_publishes_unless_somebody_listens_for_a_port() {
        let forward = Forward {
            listen: "127.0.0.1:80".parse().unwrap(),
            protocol: Protocol::Tcp,
            service: "web".into(),
            container: "macula-web-1".into(),
            port: 80,
        };
        let plain = ContainerSpec::default();
        let forwarded = ContainerSpec { forwards: vec![forward], ..ContainerSpec::default() };
        let publishes = |containers| Resources { containers, ..Resources::default() }.publishes();
        assert!(publishes(Vec::new()));
        assert!(publishes(vec![plain.clone()]));
        assert!(!publishes(vec![plain, forwarded]));
    }
}
