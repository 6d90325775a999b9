use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::apply::Outcome;
use crate::apply::load::LoadError;
use crate::changes::ChangeError;
use crate::compile::{CompileError, MountProblem};
use crate::dns::{ContentError, ControlError, RecordsError, ServerError};
use crate::doctor::{Finding, FixError};
use crate::engine::EngineError;
use crate::engine::discover::Discovery;
use crate::host::{Holder, LockError, RunError};
use crate::kubernetes::KubernetesError;
use crate::model::{AnyError, PlatformName, SwarmKind, SwarmRole};
use crate::pki::trust::TrustError;
use crate::pki::{AuthorityError, LeafError};
use crate::plan::{Conflict, OtherProject, SupplyProblem};
use crate::words;

/// Why a command did not do its work. Which exit code and which hints it gets is decided in `cli`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no container engine answers")]
    NoEngine(Discovery),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the configuration cannot be compiled")]
    Compile(Vec<CompileError>),
    /// The engine answers, and a container of it does not start.
    #[error("containers do not run on this engine")]
    NoContainerRuns(Box<Finding>),
    #[error("something that is not ours is in the way")]
    Conflicts(Vec<Conflict>),
    /// A project that is up has services of the same names.
    #[error("{}", others.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    OtherProjects { others: Vec<OtherProject>, platform: PlatformName, domain: String },
    /// Services mount it by its path, and say that it is there.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoSuchPaths(Vec<MissingPath>),
    /// Services mount what the engine's machine does not have, and it cannot be copied there.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mounts(Vec<MountProblem>),
    #[error("some images are unavailable")]
    Supply(Vec<SupplyProblem>),
    /// Keys of the stacks that this engine has no word for.
    #[error("{engine} cannot do what the stacks say; nothing was changed")]
    Unsupported { engine: String, services: Vec<String> },
    /// Some steps failed; what works is kept.
    #[error("not everything came up")]
    Failed(Box<Outcome>),
    #[error("stopped; what was there is kept")]
    Cancelled,
    /// The user named a platform that was never brought up.
    #[error("there is no platform called {name}")]
    UnknownPlatform { name: String, known: Vec<String> },
    #[error("no service is named {}", names.join(", "))]
    UnknownService { names: Vec<String>, known: Vec<String> },
    #[error("{service} has no container")]
    NoContainer { service: String },
    #[error("{} was written by a newer macula (format {found}; this one knows {known})", path.display())]
    NewerState { path: PathBuf, found: u64, known: u64 },
    #[error("{} cannot be read: {source}", path.display())]
    BadState { path: PathBuf, source: AnyError },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Certificate(#[from] LeafError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("no subnet is free for the platform's network: every private range collides with a route of this machine")]
    NoSubnet,
    #[error("no block of loopback addresses is free for the platform {name}")]
    NoBlock { name: String },
    /// Another user of the same engine made it.
    #[error("the platform {platform} belongs to {owner}")]
    Foreign { platform: PlatformName, owner: String },
    /// Nothing of it is on the one that is used. `folder`: all that is known of it.
    #[error("{platform} was brought up on {}, and this is {endpoint}", words::list(engines))]
    OnAnotherEngine { platform: PlatformName, engines: BTreeSet<String>, endpoint: String, folder: PathBuf },
    /// Another user of the same engine changes it at this moment.
    #[error("`{command}` of {owner} is working on the platform {platform}")]
    AtWork { platform: PlatformName, owner: String, command: String },
    /// A program that a build needs is there, and too old for it.
    #[error("building images needs {program} {oldest} or later; {place} is {found}")]
    TooOld { program: String, place: String, found: String, oldest: String },
    /// The volume is there and the password that opens it is not.
    #[error("the volume {volume} of {service} exists, but the passwords that it was made with are gone from {}", path.display())]
    SecretsLost { service: String, volume: String, path: PathBuf },
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    #[error(transparent)]
    Install(#[from] crate::dns::install::InstallError),
    /// A change to this machine, which is not made unless it is written down.
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    #[error(transparent)]
    Cluster(#[from] crate::cluster::ClusterError),
    #[error("there are no passwords yet: the first `up` makes them")]
    NoSecrets,
    #[error(transparent)]
    Route(#[from] crate::daemon::RouteError),
    #[error("`{name}` cannot be the name of a program: {reason}")]
    ProgramName { name: String, reason: String },
    #[error("{host} is the name of a platform, or of something in it")]
    HostTaken { host: String },
    #[error("`{text}` is not a valid URL")]
    NoUrl { text: String },
    #[error(transparent)]
    Watch(#[from] crate::watch::WatchError),
    #[error("{service} is to be built again when files change, and has no `build`")]
    NothingToBuild { service: String },
    #[error("there is nothing to watch")]
    NothingToWatch { services: Vec<String> },
    #[error("`{command}` failed in {container} (exit code {code})")]
    ExecFailed { command: String, container: String, code: i64, said: String },
    #[error("`{value}` is not a valid value of MACULA_REACH")]
    NoSuchWay { value: String },
    #[error("this program does not run in a container of the engine that is used")]
    NotInside,
    #[error(transparent)]
    OwnImage(#[from] crate::system::OwnImageError),
    #[error("{service} has no name on the ingress")]
    Nameless { service: String },
    #[error("no stack is called {name}")]
    UnknownStack { name: String, known: Vec<String> },
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Target(#[from] crate::compile::targets::TargetError),
    /// There is nothing that could be started again.
    #[error("{platform} is down")]
    Down { platform: PlatformName },
    /// Nobody says what any of the names means.
    #[error("no image was locked; macula.lock is as it was")]
    NothingLocked { reasons: Vec<String> },
    #[error("{}", processes_text(.0))]
    Processes(Vec<ProcessFailure>),
    #[error("the process {name} has not been started yet")]
    ProcessNotKept { name: String },
    #[error("the process {name} runs in the background")]
    ProcessRuns { name: String },
    #[error("the process that keeps your programs did not start: {said}")]
    KeeperNotStarted { said: String, log: PathBuf },
    #[error("talking to the process that keeps your programs")]
    Keeper { source: std::io::Error },
    #[error("{}: {message}", path.display())]
    EnvFile { path: PathBuf, message: String },
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("packing the files: {0}")]
    Packing(#[source] std::io::Error),
    /// What nothing is typed about it: an error of a library that only a fault of ours can cause, or a sentence.
    #[error("{0}")]
    Other(#[source] AnyError),
}

impl From<FixError> for Error {
    fn from(error: FixError) -> Self {
        match error {
            FixError::Run(error) => Self::Run(error),
            FixError::Change(error) => Self::Change(error),
            other => Self::Other(other.into()),
        }
    }
}

/// A folder or file of this machine that a service mounts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} mounts {}, which does not exist", path.display())]
pub struct MissingPath {
    pub service: String,
    pub path: PathBuf,
    /// Where it is mounted in the container.
    pub target: String,
}

/// Why a process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFailure {
    pub name: String,
    pub reason: String,
    /// The end of what it has written since it was started.
    pub log_tail: Vec<String>,
}

fn processes_text(failures: &[ProcessFailure]) -> String {
    match failures {
        [one] => format!("{} is not up: {}", one.name, one.reason),
        several => format!("{} processes are not up", several.len()),
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Bundle(error) => error.into(),
            LoadError::Engine(error) => error.into(),
        }
    }
}

impl Error {
    /// A sentence about what has no variant of its own.
    pub(crate) fn said(text: impl Into<String>) -> Self {
        Self::Other(AnyError::said(text))
    }

    /// For `map_err` of what can only be a fault of ours.
    pub(crate) fn other(error: impl Into<AnyError>) -> Self {
        Self::Other(error.into())
    }

    /// Why a plan that was carried out is not as it should be.
    pub(super) fn of_outcome(outcome: Outcome) -> Self {
        match outcome.cancelled && outcome.failed.is_empty() {
            true => Self::Cancelled,
            false => Self::Failed(Box::new(outcome)),
        }
    }
}

/// Why a stack is not on other engines than this machine's.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("{engine} knows no swarms")]
    NoSwarms { engine: String },
    /// Only a manager takes orders.
    #[error("{}", role_of(endpoint, role))]
    Role { endpoint: String, role: SwarmRole },
    /// Something that the stack says is there.
    #[error("the swarm does not have what the stack needs: {}", things(missing))]
    Missing { missing: Vec<(SwarmKind, String)> },
    /// `by`: the platform that did, as far as a single one is known.
    #[error("{stack} is there and was {}: {}", deployed_by(by.as_deref()), names.join(", "))]
    Foreign { stack: String, names: Vec<String>, by: Option<String> },
    /// By other stacks of this platform.
    #[error("{} has in the namespace {namespace} what {stack} is to have: {}", stacks.join(" and "), names.join(", "))]
    Taken { stack: String, namespace: String, names: Vec<String>, stacks: Vec<String> },
    /// What nodes cannot have, and why.
    #[error("nodes of the swarm cannot have every image; nothing was changed")]
    Images { missing: Vec<(String, String)>, nodes: u64 },
    /// What the tasks of these services say.
    #[error("{stack} does not run as it should")]
    NotRunning { stack: String, failed: Vec<(String, String)> },
    #[error("there is no stack {name}")]
    UnknownStack { name: String, known: Vec<String> },
    #[error("{stack} has no service {service}")]
    UnknownService { stack: String, service: String, known: Vec<String> },
    #[error("{service} has no number of replicas: it is a job, or runs once on each node")]
    NoReplicas { service: String },
    #[error("an autoscaler decides how many replicas {service} has")]
    Autoscaled { service: String },
    /// It cannot be read.
    #[error("{0}")]
    NoKubeconfig(#[source] std::io::Error),
    #[error("several pods of {service} would write one volume: {claim}")]
    OneVolume { service: String, claim: String },
    /// It is in other namespaces.
    #[error("there is no stack {name} in the namespace {namespace}")]
    Elsewhere { name: String, namespace: String, elsewhere: Vec<String> },
    /// What the stack says is there: kind and name.
    #[error("the namespace {namespace} does not have what the stack needs: {}", objects(missing))]
    NotThere { namespace: String, missing: Vec<(String, String)> },
    /// `applied`: something of it may be there.
    #[error("{source}")]
    Kubernetes { source: KubernetesError, applied: bool },
}

/// Why something was not copied into or out of a container. `place`: as the user would write it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{place} does not exist")]
    NotThere { place: String },
    #[error("{place} is not a folder")]
    NotAFolder { place: String },
    #[error("cannot replace the file {} with a folder", path.display())]
    FolderOverFile { path: PathBuf },
    #[error("cannot replace the folder {} with a file", path.display())]
    FileOverFolder { path: PathBuf },
    /// Nobody named it: it may come from the container.
    #[error("{} is a symbolic link, and macula does not write through it", path.display())]
    FolderOverLink { path: PathBuf },
    /// A device, a socket.
    #[error("{place} is neither a file nor a folder")]
    Special { place: String },
    #[error("too many symbolic links at {place}")]
    Circle { place: String },
    #[error("{place} is not valid UTF-8, which the engine's API requires")]
    NotText { place: String },
    /// `folder`: the tmpfs.
    #[error("{place} lies in memory (a tmpfs at {}), and the engine copies only what lies on disk", folder.display())]
    InMemory { service: String, place: String, folder: PathBuf },
    /// With what the engine said.
    #[error("{place} cannot be written to: it is read-only")]
    ReadOnly { place: String, message: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// What the engine sends is not what it should be, or ends too early.
    #[error("could not read the engine's archive")]
    Damaged { source: std::io::Error },
    /// Whoever was to take the archive does not.
    #[error("could not send the archive")]
    Unsent { source: std::io::Error },
}

/// Why a program is not replaced by a release. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("this program does not know where its releases are")]
    NoAddress,
    #[error("there is no release for {os} on {arch}")]
    NoRelease { os: String, arch: String },
    /// `command`: what brings a newer one.
    #[error("{} belongs to the package {package}", program.display())]
    Owned { program: PathBuf, package: String, command: Vec<String> },
    #[error("cannot get {file} from {from}")]
    NotThere { file: String, from: String, source: std::io::Error },
    #[error("SHA256SUMS of {from} does not name {archive}")]
    Unnamed { archive: String, from: String },
    #[error("{archive} is not what SHA256SUMS says: a damaged download, or not ours")]
    Damaged { archive: String },
    #[error("cannot unpack {archive}")]
    Archive { archive: String, source: std::io::Error },
    #[error("the new program does not run on this machine")]
    DoesNotRun { source: AnyError },
    #[error("cannot write to {}", folder.display())]
    NotWritten { folder: PathBuf, source: std::io::Error },
    /// The program is the new one all the same.
    #[error("the program was replaced, and the resolver does not run as the new one")]
    NotHandedOver { source: Box<Error> },
}

fn role_of(endpoint: &str, role: &SwarmRole) -> String {
    match role {
        SwarmRole::None => format!("the engine at {endpoint} is not part of a swarm"),
        SwarmRole::Worker => {
            format!("the engine at {endpoint} is a worker of its swarm, and only managers take stacks")
        }
        SwarmRole::Locked => format!("the engine at {endpoint} cannot read its swarm: it is locked"),
        SwarmRole::Unready(why) => format!("the engine at {endpoint} is not ready for its swarm: {why}"),
        SwarmRole::Manager { .. } => format!("the engine at {endpoint} manages a swarm"),
    }
}

fn deployed_by(platform: Option<&str>) -> String {
    match platform {
        Some(platform) => format!("deployed by the platform {platform}"),
        None => "not deployed by this platform".to_owned(),
    }
}

fn objects(missing: &[(String, String)]) -> String {
    missing.iter().map(|(kind, name)| format!("{kind} {name}")).collect::<Vec<_>>().join(", ")
}

fn things(missing: &[(SwarmKind, String)]) -> String {
    missing.iter().map(|(kind, name)| format!("{kind} {name}")).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("the resolver did not start: {said}")]
    NotStarted { log: PathBuf, said: String },
    #[error("the running resolver (pid {pid}) did not stop")]
    StillThere { pid: u32 },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("`{value}` is not a valid domain: {source}")]
    Setting { value: String, source: AnyError },
    #[error("the platform {platform} has no PowerDNS, which keeps such records")]
    NoPowerDns { platform: String },
    #[error("the platform {platform} has not been up yet")]
    NotUp { platform: String },
    #[error("{name} is a name of the platform itself: what PowerDNS has for it would never be seen")]
    OwnName { name: String },
    #[error("the resolver at {address} does not answer for {name}: {source}")]
    Silent { address: SocketAddr, name: String, source: AnyError },
    #[error("the resolver serves no platform")]
    NoZones,
    /// Our own, on a busy machine.
    #[error("the resolver (pid {pid}) does not answer yet")]
    Busy { pid: u32 },
    #[error("{address} is held by {holder}")]
    Taken { address: SocketAddr, holder: Holder },
    #[error(
        "one resolver serves all platforms, and two of them name different servers for all other names: {} (platform \
         {one}), {} (platform {other})", list(.ones), list(.others)
    )]
    TwoUpstreams { one: String, ones: Vec<IpAddr>, other: String, others: Vec<IpAddr> },
    #[error("{domain} is the domain of the platform {other}, which is up: its names would lead to this one")]
    SameDomain { domain: String, other: String },
    #[error("a resolver that was started in a terminal runs instead of the service")]
    InTerminal,
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Records(#[from] RecordsError),
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stack_needs_is_listed_by_kind_and_name() {
        let missing = vec![(SwarmKind::Network, "edge".to_owned()), (SwarmKind::Secret, "key".to_owned())];
        assert_eq!(
            DeployError::Missing { missing }.to_string(),
            "the swarm does not have what the stack needs: network edge, secret key"
        );
        let missing = [("Secret", "key"), ("ConfigMap", "conf")];
        let missing = missing.map(|(kind, name)| (kind.to_owned(), name.to_owned())).to_vec();
        assert_eq!(
            DeployError::NotThere { namespace: "shop".into(), missing }.to_string(),
            "the namespace shop does not have what the stack needs: Secret key, ConfigMap conf"
        );
    }

    #[test]
    fn whose_a_stack_is_stands_in_its_error() {
        let foreign = |by: Option<&str>| {
            let names = vec!["shop_web".to_owned(), "shop_db".to_owned()];
            DeployError::Foreign { stack: "shop".into(), names, by: by.map(str::to_owned) }.to_string()
        };
        let words = "shop is there and was deployed by the platform other: shop_web, shop_db";
        assert_eq!(foreign(Some("other")), words);
        assert_eq!(foreign(None), "shop is there and was not deployed by this platform: shop_web, shop_db");
    }
}
