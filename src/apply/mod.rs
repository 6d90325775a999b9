//! Carries out a plan: steps side by side as their edges allow, each with its events. It decides
//! nothing: what is not in the plan does not happen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bundle::BundleError;
use crate::cluster::ClusterError;
use crate::engine::{Engine, EngineError, ImageError, ProgressSink};
use crate::event::{Doing, Event, Events, StepInfo};
use crate::host::{Host, LineSink, RunError};
use crate::model::{AnyError, Facts, MachineTaskSpec, Remedy};
use crate::plan::forecast::{BUILD_SLOTS, Known, expected};
use crate::plan::{Action, CLUSTER_GROUP, ClusterAction, ImageSource, Plan, Step, StepId};
use crate::system::OwnImageError;

mod build_log;
mod copies;
mod files;
mod git;
mod image;
pub(crate) mod load;
pub(crate) mod pull;
mod ready;
mod scratch;
mod steps;
mod timing;

pub use build_log::{BuildFailure, BuildPlace};
pub use load::Loader;
pub use ready::{OUT_OF_MEMORY, last_words};
pub use timing::{Timing, critical_path};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No source gave the image; what each said, in order.
    #[error("could not get {reference}: {}", attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoImage { reference: String, attempts: Vec<ImageError> },
    #[error("preparing the build of {reference}: {source}")]
    Prepare { reference: String, source: RunError },
    #[error("cannot build {reference} from this program, which is one for {os} and runs in no container")]
    Program { reference: String, os: String },
    /// `build.ssh`.
    #[error("building {reference} needs an agent of SSH, and SSH_AUTH_SOCK is not set")]
    NoAgent { reference: String },
    /// Seen only when its pull had failed.
    #[error("cannot build {reference}: {what} {reason}")]
    CannotBuild { reference: String, what: String, reason: String },
    #[error("making {reference}: {source}")]
    Base { reference: String, source: RunError },
    #[error("{} was not built: {}", failure.service, failure.what)]
    Build { failure: Box<BuildFailure>, source: Box<StepError> },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: AnyError },
    #[error("{service} {reason}")]
    NotReady { service: String, reason: String, log_tail: Vec<String> },
    /// `key` of the service: `post_start` or `pre_stop`.
    #[error("{container}: `{command}` of its `{key}` ended with exit code {code}")]
    Hook { container: String, key: &'static str, command: String, code: i64, log_tail: Vec<String> },
    /// Everything runs, and a name does not lead to its service.
    #[error("{name} does not answer: {reason}")]
    Unreached { name: String, reason: String, remedies: Vec<Remedy> },
    /// Everything runs, and a name leads only to some of the services that share it.
    #[error("{name} leads to a part of its services: {reason}")]
    Unshared { name: String, reason: String, remedies: Vec<Remedy> },
    /// A folder that is copied to the engine's machine.
    #[error("the files of {folder} changed while they were copied")]
    Changing { folder: String },
    /// The service itself finds its new files wrong; the old ones are back.
    #[error("{container} rejects its new configuration (`{command}`); the old one stays in use")]
    Refused { container: String, command: String, log_tail: Vec<String> },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An add-on of the cluster did not come up; why, and the end of what its pods logged.
    #[error("{name}: {source}")]
    AddOn { name: String, source: AnyError, log_tail: Vec<String> },
    /// The relay is made of this program.
    #[error(transparent)]
    OwnImage(#[from] OwnImageError),
    /// Where this program listens in the engine's place.
    #[error("this user may not listen on {first}{}", if *more == 0 { String::new() } else { format!(" and {more} more") })]
    NotPermitted { first: SocketAddr, more: usize },
    #[error("stopped")]
    Cancelled,
    /// A fault of this program.
    #[error("an unexpected fault: {0}")]
    Broken(String),
}

#[derive(Debug)]
pub struct Failure {
    pub step: StepId,
    pub group: String,
    pub error: StepError,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every step that ran to its end, well or not, in the order of their ends.
    pub ran: Vec<Timing>,
    pub failed: Vec<Failure>,
    /// Groups with steps that were not tried, since something that they need failed.
    pub skipped: BTreeSet<String>,
    pub cancelled: bool,
}

impl Outcome {
    pub fn is_ok(&self) -> bool {
        self.failed.is_empty() && !self.cancelled
    }

    /// Nothing failed but that something had gone, or a subnet was taken, since the look that the plan was
    /// made from.
    pub fn overtaken(&self) -> bool {
        let changed = |failure: &Failure| {
            use EngineError::{NotFound, SubnetTaken};
            matches!(failure.error, StepError::Engine(NotFound { .. } | SubnetTaken { .. }))
        };
        !self.cancelled && !self.failed.is_empty() && self.failed.iter().all(changed)
    }
}

/// Does what the steps of the cluster say; only `app` knows both who makes clusters and what goes into
/// them.
#[async_trait]
pub trait ClusterWork: Send + Sync {
    /// A note for the step's line.
    async fn run(&self, action: &ClusterAction, progress: ProgressSink<'_>) -> Result<Option<String>, StepError>;
}

/// How a task of this machine has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    pub code: i64,
    /// What is said in place of the code, which is what a shell has for it then: it was not started, or took too long.
    pub reason: Option<String>,
}

/// Runs the tasks of this machine; only `app` knows the settings that programs get.
#[async_trait]
pub trait TaskWork: Send + Sync {
    /// To its end. `said` is told each line that it writes. It hears of a stop itself, and leaves nothing behind then.
    async fn run(&self, spec: &MachineTaskSpec, said: LineSink<'_>) -> Result<TaskEnd, StepError>;
}

/// What carrying out needs.
#[derive(Clone)]
pub struct Tools {
    pub engine: Arc<dyn Engine>,
    pub host: Arc<dyn Host>,
    pub facts: Facts,
    pub events: Events,
    pub cancel: CancellationToken,
    /// This program, which some images are made of.
    pub program: PathBuf,
    /// For one pull or one build.
    pub image_timeout: Duration,
    /// The platform's; empty where nothing is built.
    pub domain: String,
    /// What everything that is made bears beside its own labels: whose it is.
    pub labels: BTreeMap<String, String>,
    /// Where the plan has images that are loaded.
    pub loader: Option<Arc<Loader>>,
    /// Where the plan has steps of a cluster.
    pub cluster: Option<Arc<dyn ClusterWork>>,
    /// Where the plan has tasks of this machine.
    pub tasks: Option<Arc<dyn TaskWork>>,
    pub extras: Extras,
}

/// What makes a run better told; none of it changes what is done.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// How long images took on this machine before.
    pub known: Known,
    /// Services that run as they should, and are no part of the plan.
    pub unchanged: Vec<String>,
    /// The folder for the whole output of a failed build.
    pub logs: Option<PathBuf>,
}

struct Run {
    tools: Tools,
    /// Step that got an image -> what it is called now, and where it came from.
    images: Mutex<BTreeMap<StepId, (String, ImageSource)>>,
    /// Builds saturate the machine by themselves.
    builds: tokio::sync::Semaphore,
    /// Steps that stood in line, and when they got their place.
    placed: Mutex<BTreeMap<StepId, Instant>>,
    /// One of several builds makes the base, the others wait for it.
    base: tokio::sync::Mutex<()>,
    platform: String,
    /// Containers that are told of the files that they get.
    reloads: BTreeSet<String>,
    /// Service -> how long each of its containers took that had to be killed.
    killed: Mutex<BTreeMap<String, Vec<Duration>>>,
}

impl Run {
    fn new(platform: &str, plan: &Plan, tools: Tools) -> Self {
        let reloaded = |step: &Step| match &step.action {
            Action::Reload { container, .. } => Some(container.clone()),
            _ => None,
        };
        Self {
            tools,
            images: Mutex::default(),
            builds: tokio::sync::Semaphore::new(BUILD_SLOTS),
            placed: Mutex::default(),
            base: tokio::sync::Mutex::new(()),
            platform: platform.to_owned(),
            killed: Mutex::default(),
            reloads: plan.steps.iter().filter_map(reloaded).collect(),
        }
    }

    /// When the work of a step began: standing in line is none.
    fn began(&self, step: &str, start: Instant) -> Instant {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).remove(step).unwrap_or(start)
    }
}

/// Runs all steps. Never fails as a whole: the outcome says what did.
pub async fn apply(command: &str, platform: &str, plan: &Plan, tools: Tools) -> Outcome {
    let begun = Instant::now();
    tools.events.emit(Event::Started {
        command: command.to_owned(),
        platform: platform.to_owned(),
        steps: announced(plan, &tools.extras.known),
        unchanged: tools.extras.unchanged.clone(),
    });
    let run = Arc::new(Run::new(platform, plan, tools));
    let mut outcome = Outcome::default();
    let known: BTreeSet<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    let mut waiting: Vec<(&Step, usize)> = plan
        .steps
        .iter()
        .map(|step| {
            // one that is named twice ends once
            let before: BTreeSet<&str> = step.after.iter().map(String::as_str).collect();
            (step, before.intersection(&known).count())
        })
        .collect();
    let mut dependents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for step in &plan.steps {
        for before in &step.after {
            dependents.entry(before).or_default().insert(&step.id);
        }
    }
    let mut running: JoinSet<(StepId, Instant, Result<Option<String>, StepError>)> = JoinSet::new();
    let mut tasks: BTreeMap<tokio::task::Id, (StepId, Instant)> = BTreeMap::new();
    loop {
        if !run.tools.cancel.is_cancelled() {
            let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, open)| *open == 0);
            waiting = later;
            for (step, _) in now {
                let (run, step) = (run.clone(), step.clone());
                run.tools.events.emit(Event::StepStarted { id: step.id.clone() });
                let id = step.id.clone();
                let task = running.spawn(async move {
                    let start = Instant::now();
                    let result = run.step(&step).await;
                    (step.id, start, result)
                });
                tasks.insert(task.id(), (id, Instant::now()));
            }
        }
        let Some(ended) = running.join_next().await else { break };
        let (id, start, result) = match ended {
            Ok(ended) => ended,
            Err(broken) => match tasks.remove(&broken.id()) {
                Some((id, start)) => (id, start, Err(StepError::Broken(broken.to_string()))),
                None => continue,
            },
        };
        let Some(step) = plan.steps.iter().find(|step| step.id == id) else { continue };
        let start = run.began(&id, start);
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcome.ran.push(Timing {
            step: id.clone(),
            group: step.group.clone(),
            cause: step.cause.clone(),
            after: step.after.clone(),
            start: start - begun,
            duration: start.elapsed(),
            error: result.as_ref().err().map(ToString::to_string),
        });
        match result {
            Ok(note) => {
                run.tools.events.emit(Event::StepDone { id: id.clone(), millis, note });
                let ready: BTreeSet<&str> = dependents.get(id.as_str()).into_iter().flatten().copied().collect();
                for (waits, open) in &mut waiting {
                    if ready.contains(waits.id.as_str()) {
                        *open = open.saturating_sub(1);
                    }
                }
            }
            Err(StepError::Cancelled) => {
                outcome.cancelled = true;
                run.tools.events.emit(Event::StepSkipped { id, because: "stopped".into() });
            }
            Err(error) => {
                fail(&run.tools.events, &mut outcome, step, millis, error);
            }
        }
    }
    run.tell_killed();
    outcome.cancelled |= run.tools.cancel.is_cancelled() && !waiting.is_empty();
    let circle = if outcome.is_ok() { circle(&waiting) } else { Vec::new() };
    if let Some(first) = circle.first() {
        let ids: Vec<&str> = circle.iter().map(|step| step.id.as_str()).collect();
        let error = StepError::Broken(format!("these steps wait for each other: {}", ids.join(", ")));
        fail(&run.tools.events, &mut outcome, first, 0, error);
        waiting.retain(|(step, _)| step.id != first.id);
    }
    let because = if run.tools.cancel.is_cancelled() { "stopped" } else { "something that it needs failed" };
    for (step, _) in waiting {
        run.tools.events.emit(Event::StepSkipped { id: step.id.clone(), because: because.into() });
        outcome.skipped.insert(step.group.clone());
    }
    outcome
}

fn fail(events: &Events, outcome: &mut Outcome, step: &Step, millis: u64, error: StepError) {
    events.emit(Event::StepFailed { id: step.id.clone(), millis, error: error.to_string() });
    outcome.failed.push(Failure { step: step.id.clone(), group: step.group.clone(), error });
}

/// Steps that wait for each other, where nothing else keeps the ones that are left from their turn.
fn circle<'p>(waiting: &[(&'p Step, usize)]) -> Vec<&'p Step> {
    let left: BTreeMap<&str, &'p Step> = waiting.iter().map(|&(step, _)| (step.id.as_str(), step)).collect();
    let mut way: Vec<&'p Step> = Vec::new();
    let mut next = waiting.first().map(|&(step, _)| step);
    while let Some(step) = next {
        if let Some(at) = way.iter().position(|other| other.id == step.id) {
            return way.split_off(at);
        }
        way.push(step);
        next = step.after.iter().find_map(|id| left.get(id.as_str()).copied());
    }
    Vec::new()
}

/// The steps as those who draw get to know them.
fn announced(plan: &Plan, known: &Known) -> Vec<StepInfo> {
    let jobs: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| matches!(&step.action, Action::AwaitReady { readiness, .. } if readiness.one_shot))
        .map(|step| step.group.as_str())
        .chain(plan.jobs.iter().map(String::as_str))
        .collect();
    let services: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| step.action.is_of_container() && step.group != CLUSTER_GROUP)
        .map(|step| step.group.as_str())
        .filter(|group| !jobs.contains(group))
        .collect();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let info = |step: &Step| StepInfo {
        id: step.id.clone(),
        group: step.group.clone(),
        text: step.phrase(),
        after: step.after.clone(),
        doing: doing(&step.action),
        service: services.contains(step.group.as_str()),
        expected_millis: Some(millis(expected(step, known).0)),
        limit_millis: match &step.action {
            Action::AwaitReady { readiness, .. } => Some(millis(readiness.timeout)),
            Action::RunTask { spec } => Some(millis(spec.timeout)),
            _ => None,
        },
    };
    plan.steps.iter().map(info).collect()
}

/// The kind of work that carries it out.
pub fn doing(action: &Action) -> Doing {
    match action {
        Action::CreateNetwork(_) => Doing::Network,
        Action::CreateVolume { .. } | Action::FillVolume { .. } => Doing::Volume,
        Action::JoinNetwork { .. } => Doing::Network,
        Action::StartRelay { .. } => Doing::Start,
        Action::RemoveNetwork { .. } | Action::LeaveNetwork { .. } | Action::RemoveVolume { .. } => Doing::Remove,
        Action::MakeBase(_) => Doing::Base,
        Action::LoadImage { .. } => Doing::Load,
        Action::ObtainImage { pull: true, .. } => Doing::Pull,
        Action::ObtainImage { .. } => Doing::Build,
        Action::CreateContainer { .. } => Doing::Create,
        Action::Start { .. } => Doing::Start,
        Action::Stop { .. } => Doing::Stop,
        Action::RemoveContainer { .. } | Action::RenameContainer { .. } => Doing::Remove,
        Action::Pause { .. } => Doing::Await,
        Action::WriteFiles { .. } => Doing::Configure,
        Action::Reload { .. } => Doing::Reload,
        Action::Cluster(_) => Doing::Cluster,
        Action::RunTask { .. } => Doing::Job,
        Action::AwaitReady { readiness, .. } if readiness.one_shot => Doing::Job,
        Action::AwaitReady { .. } => Doing::Await,
    }
}

#[cfg(test)]
mod tests;
