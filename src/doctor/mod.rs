//! Named checks of the machine, each with its fix where there is one. Nothing is changed but by
//! [`fix()`], which the caller has asked the user for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use ipnet::Ipv4Net;
use serde::{Serialize, Serializer};

use crate::changes::{self, Change, ChangeError};
use crate::engine::discover::{Attempt, Refusal, Source, discover};
use crate::event::{Event, Events, Progress, StepInfo};
use crate::host::{Command, Host, LineSink, RunError};
use crate::model::{Forward, Invocation, Platform, PortBinding, Protocol, Resources};
use crate::system::System;

mod checks;
mod context;
mod firewall;
pub mod install;
pub mod proof;

pub use checks::state_files::of_damaged;
use context::Context;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the check, as `doctor NAME` takes it.
    pub check: &'static str,
    pub status: Status,
    /// One line: what is so.
    pub summary: String,
    /// What there is to know beyond that, a line each.
    pub detail: Vec<String>,
    pub fix: Option<Fix>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    /// Something will not work, or not well; the platform comes up all the same.
    Warning,
    /// The platform cannot come up like this.
    Failed,
    /// Does not apply here, or could not be looked at; the summary says why.
    Skipped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// The finding in whole: its fix with what would be run.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.status, self.check, self.summary)?;
        for line in &self.detail {
            write!(f, "\n  {line}")?;
        }
        let Some(fix) = &self.fix else { return Ok(()) };
        write!(f, "\n  fix: {}", fix.text)?;
        for action in &fix.actions {
            write!(f, "\n    {action}")?;
        }
        Ok(())
    }
}

/// What can be done about a finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fix {
    /// What will be done or, without actions, what the user can do.
    pub text: String,
    /// What [`fix()`] does, in this order. Empty: it is the user's to do.
    pub actions: Vec<Action>,
    /// Takes nothing away, opens nothing to others, and can be undone: `doctor --fix --yes` does it although its check
    /// is not named.
    pub safe: bool,
}

impl Fix {
    /// Something that only the user can do.
    fn advice(text: impl Into<String>) -> Self {
        Self { text: text.into(), actions: Vec::new(), safe: false }
    }

    /// As root everything is run as it is, so that no `sudo` is shown: there may be none.
    fn run_by(mut self, uid: u32) -> Self {
        if uid == 0 {
            for action in &mut self.actions {
                if let Action::Change(Change { command, .. }) | Action::StartEngine { command, .. } = action {
                    command.privileged = false;
                }
            }
        }
        self
    }
}

/// One thing that a fix does. Shown, and serialized, as a line that could be typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Written down before it is made, so that `uninstall` knows of it.
    Change(Change),
    /// Starts an engine's daemon, which outlives us, unless an engine answers by then (some packages
    /// start theirs when they are installed).
    StartEngine { command: Command, log: PathBuf },
    /// Waits until an engine answers; `log` is what to show when none does.
    AwaitEngine { patience: Duration, log: Option<PathBuf> },
    /// Of our own files.
    Remove(PathBuf),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => f.write_str(&change.line()),
            Self::StartEngine { command, log } => write!(f, "{command} >>{} 2>&1 &", log.display()),
            Self::AwaitEngine { .. } => f.write_str("# wait until the engine answers"),
            Self::Remove(path) => Command::new("rm", [path.display().to_string()]).fmt(f),
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the platform wants of the machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// Value of [`crate::model::label::PLATFORM`] of what is ours.
    pub platform: String,
    pub domain: String,
    /// Name of the platform's network in the engine.
    pub network: String,
    /// Every address to be published, or listened on.
    pub ports: Vec<WantedPort>,
    /// What the background process may listen on for this very platform.
    pub passed_on: BTreeSet<(SocketAddr, Protocol)>,
    /// The subnet that the user has fixed.
    pub subnet: Option<Ipv4Net>,
    /// Bytes; 0 where it is not known.
    pub memory: u64,
    /// Bytes for images and volumes; 0 where it is not known.
    pub disk: u64,
    pub cluster: Option<ClusterNeeds>,
    /// What commands to type have to repeat.
    pub invocation: Invocation,
    /// It is no question of the user's: nobody waits long for what a busy machine does not answer.
    pub in_passing: bool,
}

/// A port of the host that a service is to be published on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
    pub service: String,
    /// The engine does not publish it: the background process listens.
    pub passed_on: bool,
}

impl WantedPort {
    /// None: the engine chooses the number.
    fn of(service: &str, port: &PortBinding, passed_on: bool) -> Option<Self> {
        let (address, protocol) = (port.host_ip, port.protocol);
        Some(Self { address, port: port.host_port?, protocol, service: service.to_owned(), passed_on })
    }
}

/// What a cluster wants beside the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNeeds {
    /// The 37 of Kubernetes 1.37.
    pub minor: u32,
    /// The nodes' kubelet is told to put up with cgroup v1.
    pub accepts_cgroup_v1: bool,
    /// `cluster.program`.
    pub program: Option<String>,
    /// `cluster.ingress`.
    pub ingress: String,
}

/// What a service without a memory limit is reckoned with.
const MEMORY_OF_A_SERVICE: u64 = 128 << 20;
/// A node of a cluster with the usual add-ons.
const MEMORY_OF_A_NODE: u64 = 2 << 30;

impl Needs {
    /// Of a platform and what was compiled from it. `cluster` where one is wanted.
    pub fn of(platform: &Platform, resources: &Resources, cluster: Option<ClusterNeeds>) -> Self {
        let ports = resources.containers.iter().flat_map(|container| {
            let published = container.ports.iter().filter_map(|port| WantedPort::of(&container.service, port, false));
            let passed_on = container.forwards.iter().map(Forward::binding);
            published.chain(passed_on.filter_map(|port| WantedPort::of(&container.service, &port, true)))
        });
        let limit = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        let containers = resources.containers.iter();
        let memory: u64 = containers
            .map(|container| limit(container.options.resources.memory).unwrap_or(MEMORY_OF_A_SERVICE))
            .fold(0, u64::saturating_add);
        let nodes = u64::from(platform.cluster.control_planes) + u64::from(platform.cluster.workers);
        let nodes = if cluster.is_some() { nodes.max(1) } else { 0 };
        Self {
            platform: platform.name.to_string(),
            domain: platform.domain.clone(),
            network: platform.name.network(),
            ports: ports.collect(),
            passed_on: BTreeSet::new(),
            subnet: platform.addresses.subnet,
            memory: memory.saturating_add(nodes * MEMORY_OF_A_NODE),
            disk: 0,
            cluster,
            invocation: Invocation::default(),
            in_passing: false,
        }
    }
}

/// Which checks to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    /// Those that run before every `up`.
    Quick,
    /// See [`Selection::named`].
    Named(Vec<&'static str>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no check {name}{}", similar.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
pub struct UnknownCheck {
    pub name: String,
    pub similar: Option<&'static str>,
}

impl Selection {
    /// These checks; none named: all.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownCheck> {
        if names.is_empty() {
            return Ok(Self::All);
        }
        let known = |name: &S| {
            let name = name.as_ref();
            let exact = CHECKS.iter().find(|check| check.name == name).map(|check| check.name);
            exact.ok_or_else(|| {
                let near = CHECKS.iter().map(|check| (strsim::jaro_winkler(check.name, name), check.name));
                let best = near.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(score, _)| *score > 0.7);
                UnknownCheck { name: name.to_owned(), similar: best.map(|(_, name)| name) }
            })
        };
        names.iter().map(known).collect::<Result<_, _>>().map(Self::Named)
    }

    fn includes(&self, check: &Check) -> bool {
        match self {
            Self::All => true,
            Self::Quick => check.quick,
            Self::Named(names) => names.contains(&check.name),
        }
    }
}

/// What a check says; its name is put on by [`run()`].
#[derive(Debug, Clone, PartialEq)]
struct Verdict {
    status: Status,
    summary: String,
    detail: Vec<String>,
    fix: Option<Fix>,
}

impl Verdict {
    fn new(status: Status, summary: impl Into<String>) -> Self {
        Self { status, summary: summary.into(), detail: Vec::new(), fix: None }
    }

    fn ok(summary: impl Into<String>) -> Self {
        Self::new(Status::Ok, summary)
    }

    fn warning(summary: impl Into<String>) -> Self {
        Self::new(Status::Warning, summary)
    }

    fn failed(summary: impl Into<String>) -> Self {
        Self::new(Status::Failed, summary)
    }

    fn skipped(summary: impl Into<String>) -> Self {
        Self::new(Status::Skipped, summary)
    }

    fn detail(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.detail.extend(lines.into_iter().map(Into::into));
        self
    }

    fn fix(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }
}

/// A row of the table.
pub struct Check {
    pub name: &'static str,
    /// What it looks at, for lists of checks.
    pub about: &'static str,
    /// Made before every `up`: it may cost a few milliseconds.
    pub quick: bool,
    look: for<'a> fn(&'a Context<'a>) -> BoxFuture<'a, Verdict>,
}

macro_rules! check {
    ($name:literal, $quick:literal, $about:literal, $look:path) => {
        Check { name: $name, about: $about, quick: $quick, look: |context| Box::pin($look(context)) }
    };
}

/// All checks, in the order in which they are told: what others build on comes first.
pub static CHECKS: &[Check] = &[
    check!("engine-installed", true, "a container engine is there", checks::engine::installed),
    check!("engine-running", true, "the engine answers", checks::engine::running),
    check!("socket-permission", true, "this user may use the engine's socket", checks::engine::permission),
    check!("engine-version", true, "the engine speaks API 1.41 or later", checks::engine::version),
    check!("engine-traits", true, "what this engine does differently is known", checks::engine::traits),
    check!("docker-context", true, "the engine is on this machine", checks::engine::context),
    check!(
        "container-runs",
        false,
        "a container starts, is reached and reaches others",
        checks::engine::container_runs
    ),
    check!("podman-socket", true, "Podman listens, where it is the engine", checks::engine::podman),
    check!("ports", true, "no port of the platform is taken", checks::ports::taken),
    check!("low-ports", true, "ports below 1024 may be listened on without root", checks::ports::low),
    check!("loopback-addresses", true, "127.0.0.2 and so on belong to this machine", checks::network::loopback),
    check!("docker0-address", true, "the engine's bridges have their addresses", checks::network::bridges),
    check!("forwarding", true, "containers reach each other and other machines", checks::forwarding::forwarding),
    check!(
        "neighbors",
        false,
        "other machines reach nothing that is published on loopback only",
        checks::forwarding::neighbors
    ),
    check!("subnet", true, "the platform's subnet collides with no route", checks::network::subnet),
    check!("proxy", true, "proxies lead out, and not to the platform", checks::network::proxy),
    check!("name-servers", false, "somebody answers for names outside of the platforms", checks::names::servers),
    check!("resolver-address", false, "the resolver has its address", checks::names::address),
    check!("disk-space", true, "room for images, volumes and our own files", checks::machine::disk),
    check!("memory", true, "memory for the services", checks::machine::memory),
    check!("inotify", true, "enough file watches for a cluster", checks::machine::inotify),
    check!("cgroup", true, "cgroup v2, where a cluster is wanted", checks::machine::cgroup),
    check!(
        "privileged",
        false,
        "the engine may run privileged containers, which a cluster's nodes are",
        checks::cluster::privileged
    ),
    check!("kind", false, "the program kind, where a cluster is wanted", checks::cluster::program),
    check!("ingress-controller", false, "the cluster's ingress controller is maintained", checks::cluster::ingress),
    check!("clock", true, "the time is right", checks::machine::clock),
    check!("leftovers", true, "no leftovers of an interrupted run", checks::leftovers::leftovers),
    check!("state-files", true, "the platform's own files can be read", checks::state_files::readable),
    check!("home-writable", false, "our own folders can be written", checks::machine::home),
];

/// The check that runs a container.
pub const PROOF: &str = "container-runs";
/// It knows its own end, and clears away behind it.
const TIME_FOR_A_CONTAINER: Duration = Duration::from_secs(90);

/// Longer than any check should take, shorter than a user's patience.
const TIME_FOR_A_CHECK: Duration = Duration::from_secs(5);

/// Makes the selected checks side by side; findings come in the order of the table.
pub async fn run(system: &System, want: &Needs, selection: Selection) -> Vec<Finding> {
    run_telling(system, want, selection, &|_| ()).await
}

/// The same; `told` hears of each check as soon as it is made.
pub async fn run_telling(
    system: &System,
    want: &Needs,
    selection: Selection,
    told: &(dyn Fn(&Finding) + Send + Sync),
) -> Vec<Finding> {
    let context = Context::new(system, want, selection != Selection::Quick);
    look(&context, &selection, told).await
}

async fn look(context: &Context<'_>, selection: &Selection, told: &(dyn Fn(&Finding) + Send + Sync)) -> Vec<Finding> {
    let selected = CHECKS.iter().filter(|check| selection.includes(check));
    join_all(selected.map(|check| async move {
        let patience = if check.name == PROOF { TIME_FOR_A_CONTAINER } else { TIME_FOR_A_CHECK };
        let verdict = tokio::time::timeout(patience, (check.look)(context))
            .await
            .unwrap_or_else(|_| Verdict::warning(format!("no result within {} s", patience.as_secs())));
        let Verdict { status, summary, detail, fix } = verdict;
        let fix = fix.map(|fix| fix.run_by(context.host.facts().uid));
        let finding = Finding { check: check.name, status, summary, detail, fix };
        told(&finding);
        finding
    }))
    .await
}

/// Why a fix did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum FixError {
    /// There is nothing that we could do; the text says what the user can.
    #[error("{check} cannot be fixed from here{}", advice.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NoActions { check: &'static str, advice: Option<String> },
    #[error(transparent)]
    Run(RunError),
    /// It could not be written down, so it was not done.
    #[error(transparent)]
    Change(ChangeError),
    #[error("no engine answered within {} s{}", waited.as_secs(), log_tail.as_ref().map(|tail| format!("; its log ends with:\n{tail}")).unwrap_or_default())]
    NoEngine { waited: Duration, log_tail: Option<String> },
    /// Its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<ChangeError> for FixError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Run(error) => Self::Run(error),
            other => Self::Change(other),
        }
    }
}

/// What came of a fix.
pub struct Fixed {
    /// The world afterwards: there may be an engine now.
    pub system: System,
    /// The same check, made again.
    pub finding: Finding,
}

/// What a fix works on, as people would say it.
fn mended(check: &str) -> String {
    match check {
        "engine-installed" | "engine-running" => "container engine".to_owned(),
        other => other.replace('-', " "),
    }
}

/// Does what the finding's fix says, in order, and makes the check again. The steps are told as
/// those of a plan, with the id `fix <check>`.
pub async fn fix(system: &System, want: &Needs, finding: &Finding, events: &Events) -> Result<Fixed, FixError> {
    let Some(fix) = finding.fix.as_ref().filter(|fix| !fix.actions.is_empty()) else {
        let advice = finding.fix.as_ref().map(|fix| fix.text.clone());
        return Err(FixError::NoActions { check: finding.check, advice });
    };
    let id = format!("fix {}", finding.check);
    let step = StepInfo { id: id.clone(), group: mended(finding.check), ..StepInfo::default() };
    events.emit(Event::Started {
        command: String::new(),
        platform: want.platform.clone(),
        steps: vec![step],
        unchanged: Vec::new(),
    });
    let said = |line: &str| {
        if !line.trim().is_empty() {
            let progress = Progress::Line { text: line.to_owned() };
            events.emit(Event::StepProgress { id: id.clone(), progress });
        }
    };
    let start = Instant::now();
    let millis = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    events.emit(Event::StepStarted { id: id.clone() });
    let mut daemon = None;
    for action in &fix.actions {
        let progress = match action {
            Action::AwaitEngine { .. } => Progress::Waiting { reason: "the engine does not answer yet".into() },
            other => Progress::Line { text: other.to_string() },
        };
        events.emit(Event::StepProgress { id: id.clone(), progress });
        if let Err(error) = act(system.host.as_ref(), &fix.text, action, &mut daemon, &said).await {
            events.emit(Event::StepFailed { id: id.clone(), millis: millis(), error: error.to_string() });
            return Err(error);
        }
    }
    let system = System::connect(system.host.clone()).await;
    let again = run(&system, want, Selection::Named(vec![finding.check])).await;
    let finding = again.into_iter().next().unwrap_or_else(|| finding.clone());
    events.emit(match finding.status {
        Status::Warning | Status::Failed => {
            Event::StepFailed { id: id.clone(), millis: millis(), error: finding.summary.clone() }
        }
        Status::Ok | Status::Skipped => {
            Event::StepDone { id: id.clone(), millis: millis(), note: Some(finding.summary.clone()) }
        }
    });
    Ok(Fixed { system, finding })
}

/// Does what a fix says, in order; `told` hears of each action. For programs that something else takes: no check is made
/// again.
pub async fn carry_out(host: &dyn Host, fix: &Fix, told: &(dyn Fn(&Action) + Send + Sync)) -> Result<(), FixError> {
    let mut daemon = None;
    for action in &fix.actions {
        told(action);
        act(host, &fix.text, action, &mut daemon, &|_: &str| ()).await?;
    }
    Ok(())
}

/// `why` is what the receipt says of it; `daemon` the pid of what was started, for the wait that follows.
async fn act(
    host: &dyn Host,
    why: &str,
    action: &Action,
    daemon: &mut Option<u32>,
    said: LineSink<'_>,
) -> Result<(), FixError> {
    match action {
        Action::Change(change) => changes::make(host, why, change, said).await?,
        Action::StartEngine { command, log } => {
            if !answers(host).await {
                *daemon = Some(changes::start(host, why, command, log).await?);
            }
        }
        Action::Remove(path) => host.remove(path).await?,
        Action::AwaitEngine { patience, log } => await_engine(host, *patience, *daemon, log.as_deref()).await?,
    }
    Ok(())
}

/// An engine answers. One that does not answer to us, or is too old, is another check's business.
async fn answers(host: &dyn Host) -> bool {
    let (discovery, engine) = discover(host).await;
    let elsewhere = |attempt: &Attempt| {
        let refused = matches!(attempt.outcome, Err(Refusal::PermissionDenied { .. } | Refusal::TooOld { .. }));
        refused && attempt.source != Source::PodmanRootful
    };
    engine.is_some() || discovery.attempts.iter().any(elsewhere)
}

async fn await_engine(
    host: &dyn Host,
    patience: Duration,
    daemon: Option<u32>,
    log: Option<&Path>,
) -> Result<(), FixError> {
    /// Lines of the daemon's log that say why it did not come up.
    const SHOWN_LINES: usize = 5;
    /// For another daemon that ours gave way to, and that is still starting.
    const AFTER_ITS_END: Duration = Duration::from_secs(3);
    let start = Instant::now();
    let mut ended: Option<Instant> = None;
    loop {
        if answers(host).await {
            return Ok(());
        }
        if ended.is_none() && daemon.is_some_and(|pid| !host.alive(pid)) {
            ended = Some(Instant::now());
        }
        if start.elapsed() >= patience || ended.is_some_and(|end| end.elapsed() >= AFTER_ITS_END) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log_tail = match log {
        None => None,
        Some(log) => host.read(log).await.ok().map(|content| {
            let text = String::from_utf8_lossy(&content);
            let lines: Vec<&str> = text.trim_end().lines().collect();
            lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
        }),
    };
    Err(FixError::NoEngine { waited: start.elapsed(), log_tail })
}

#[cfg(test)]
mod tests;
