//! Carries out a plan: steps side by side as their edges allow, each with its events. It decides
//! nothing: what is not in the plan does not happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bundle::BundleError;
use crate::cluster::ClusterError;
use crate::engine::{AttachedExec, Engine, EngineError, ImageError, ProgressSink};
use crate::event::{Doing, Event, Events, Progress, StepInfo};
use crate::host::{Host, LineSink, RunError};
use crate::model::{
    AnyError, ContainerSpec, Facts, FileSpec, Hook, MachineTaskSpec, Reload, Remedy, TaskRun, TaskSpec, label,
};
use crate::plan::forecast::{BUILD_SLOTS, Known, expected};
use crate::plan::{
    Action, CLUSTER_GROUP, ClusterAction, ImageSource, ImageUse, Plan, Step, StepId, reload_note, start_note,
    stop_notes,
};
use crate::system::{OwnImage, OwnImageError};

mod build_log;
mod files;
mod git;
mod image;
pub(crate) mod load;
pub(crate) mod pull;
mod ready;
mod timing;

pub use build_log::{BuildFailure, BuildPlace};
pub use load::Loader;
pub use ready::{OUT_OF_MEMORY, log_tail};
pub use timing::{Timing, critical_path};

/// A stop that takes less needs no word.
const LONG_STOP: Duration = Duration::from_secs(5);
/// The exit code of what was ended by SIGKILL.
const KILLED: i64 = 137;
/// Lines of a failed task of this machine that its error shows.
const SHOWN_OF_TASKS: usize = 20;
/// For one program that runs in a container after its start or before its end.
const HOOK: Duration = Duration::from_secs(600);

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
    #[error("stopped")]
    Cancelled,
    /// A fault of this program.
    #[error("an unexpected fault: {0}")]
    Broken(String),
}

/// What is said of a `pre_stop` that failed, which keeps nothing from stopping; nothing after Ctrl-C.
fn stopped_anyway(container: &str, error: &StepError) -> Option<String> {
    let what = match error {
        StepError::Cancelled => return None,
        StepError::Hook { log_tail, .. } => match log_tail.iter().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{error} ({})", line.trim()),
            None => error.to_string(),
        },
        _ => format!("{container}: its `pre_stop` could not be run: {error}"),
    };
    Some(format!("{what}; it is stopped anyway"))
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
    let run = Arc::new(Run {
        tools,
        images: Mutex::default(),
        builds: tokio::sync::Semaphore::new(BUILD_SLOTS),
        placed: Mutex::default(),
        base: tokio::sync::Mutex::new(()),
        platform: platform.to_owned(),
        reloads: plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Reload { container, .. } => Some(container.clone()),
                _ => None,
            })
            .collect(),
    });
    let mut outcome = Outcome::default();
    let known: BTreeSet<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    let mut waiting: Vec<(&Step, usize)> = plan
        .steps
        .iter()
        .map(|step| (step, step.after.iter().filter(|id| known.contains(id.as_str())).count()))
        .collect();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in &plan.steps {
        for before in &step.after {
            dependents.entry(before).or_default().push(&step.id);
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
        // standing in line is not work
        let start = run.placed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or(start);
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
                run.tools.events.emit(Event::StepFailed { id: id.clone(), millis, error: error.to_string() });
                outcome.failed.push(Failure { step: id, group: step.group.clone(), error });
            }
        }
    }
    outcome.cancelled |= run.tools.cancel.is_cancelled() && !waiting.is_empty();
    let because = if run.tools.cancel.is_cancelled() { "stopped" } else { "something that it needs failed" };
    for (step, _) in waiting {
        run.tools.events.emit(Event::StepSkipped { id: step.id.clone(), because: because.into() });
        outcome.skipped.insert(step.group.clone());
    }
    outcome
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
    let of_container = |action: &Action| {
        use Action::{AwaitReady, CreateContainer, Reload, RemoveContainer, Start, Stop, WriteFiles};
        matches!(
            action,
            CreateContainer { .. }
                | Start { .. }
                | Stop { .. }
                | RemoveContainer { .. }
                | WriteFiles { .. }
                | Reload { .. }
                | AwaitReady { .. }
        )
    };
    let services: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| of_container(&step.action) && step.group != CLUSTER_GROUP)
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

fn doing(action: &Action) -> Doing {
    match action {
        Action::CreateNetwork(_) => Doing::Network,
        Action::CreateVolume { .. } => Doing::Volume,
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

impl Run {
    /// Who waits that long for a stop is told why: the first process of a container has no default for a signal.
    async fn look_for_killed(&self, container: &str, took: Duration) {
        if took < LONG_STOP {
            return;
        }
        let Ok(found) = self.tools.engine.inspect(container).await else { return };
        if found.exit_code == Some(KILLED) && !found.oom_killed {
            let service = found.label(label::SERVICE).unwrap_or(container);
            self.tools.events.warn(format!(
                "{service} did not end at its stop signal within {} s and was killed; `init: true` in its Compose file, \
                 or a handler for the signal, ends it at once",
                took.as_secs()
            ));
        }
    }

    /// A place among the builds, as soon as one is free. Whoever stands in line says so.
    async fn build_place(&self, step: &str) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if let Ok(place) = self.builds.try_acquire() {
            return Some(place);
        }
        self.tools.events.emit(Event::StepQueued { id: step.to_owned() });
        // never closed while this run lasts
        let place = self.builds.acquire().await.ok()?;
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), Instant::now());
        self.tools.events.emit(Event::StepStarted { id: step.to_owned() });
        Some(place)
    }

    /// Whoever waits for another image that brings the same layers, or for a place, says so.
    async fn load_image(&self, id: &str, step: &str) -> Result<Option<String>, StepError> {
        let Some(loader) = &self.tools.loader else {
            return Err(StepError::Broken("an image to load without a bundle".into()));
        };
        let mut waited = false;
        let place = loader.place(id, || {
            waited = true;
            self.tools.events.emit(Event::StepQueued { id: step.to_owned() });
        });
        let Some(place) = place.await else {
            return Err(StepError::Broken(format!("{id} is not in the bundle")));
        };
        if waited {
            self.placed.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), Instant::now());
            self.tools.events.emit(Event::StepStarted { id: step.to_owned() });
        }
        let progress = |progress: Progress| {
            self.tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
        };
        place.load(&progress).await?;
        Ok(None)
    }

    async fn step(&self, step: &Step) -> Result<Option<String>, StepError> {
        let engine = &self.tools.engine;
        match &step.action {
            Action::CreateNetwork(spec) => {
                let mut spec = spec.clone();
                spec.labels.extend(self.tools.labels.clone());
                engine.create_network(&spec).await?;
            }
            Action::RemoveNetwork { name } => engine.remove_network(name).await?,
            Action::JoinNetwork { container, network, address } => {
                engine.join_network(container, network, *address).await?;
            }
            Action::LeaveNetwork { container, network } => engine.leave_network(container, network).await?,
            Action::StartRelay { spec } => self.or_cancelled(self.start_relay(spec)).await?,
            Action::CreateVolume { spec, provider } => {
                let mut labels = spec.labels.clone();
                labels.extend(self.tools.labels.clone());
                if let Some((provider, image)) = provider {
                    let (_, source) = self.image(image)?;
                    let wrote = if source == ImageSource::Build { &provider.build } else { &provider.image };
                    labels.insert(label::PROVIDER.into(), wrote.clone());
                }
                engine.create_volume(spec, &labels).await?;
            }
            Action::RemoveVolume { name } => engine.remove_volume(name).await?,
            Action::MakeBase(base) => {
                let _one = self.base.lock().await;
                self.or_cancelled(image::make_base(&self.tools, base, &step.id)).await?;
            }
            Action::LoadImage { id } => return self.or_cancelled(self.load_image(id, &step.id)).await,
            Action::ObtainImage { spec, pull, build } => {
                let work = image::obtain(self, spec, *pull, *build, step);
                let (reference, source) = self.or_cancelled(work).await?;
                let note = match source {
                    ImageSource::Build => Some("built".to_owned()),
                    ImageSource::Image if reference != spec.reference => Some(format!("from {reference}")),
                    ImageSource::Image => None,
                };
                let reference = if source == ImageSource::Image { spec.kept_as() } else { reference };
                self.images.lock().unwrap_or_else(PoisonError::into_inner).insert(step.id.clone(), (reference, source));
                return Ok(note);
            }
            Action::CreateContainer { spec, image } => {
                let (reference, _) = self.image(image)?;
                let mut labels = spec.labels.clone();
                labels.extend(self.tools.labels.clone());
                if let Some(fingerprint) = &spec.fingerprint {
                    labels.insert(label::FINGERPRINT.into(), fingerprint.0.clone());
                }
                labels.insert(label::PARTS.into(), spec.parts.clone());
                engine.create_container(spec, &reference, &labels).await?;
            }
            Action::Start { container, hooks } => {
                let note = start_note(&self.tools.host.folders().data, &self.platform, container);
                if !hooks.is_empty() {
                    // on a full disk it is started all the same
                    let _ = self.tools.host.write(&note, b"", 0o600).await;
                }
                // one that runs already stays as it is
                engine.start(container).await?;
                // it has read its files
                self.told(container).await;
                self.or_cancelled(self.hooks(container, "post_start", hooks)).await?;
                if !hooks.is_empty() {
                    // a note that stays leads to one run too many
                    let _ = self.tools.host.remove(&note).await;
                }
            }
            Action::Stop { container, grace, hooks } => {
                let done = self.or_cancelled(self.hooks(container, "pre_stop", hooks)).await;
                if let Some(warning) = done.err().and_then(|error| stopped_anyway(container, &error)) {
                    self.tools.events.warn(warning);
                }
                let note = stop_notes(&self.tools.host.folders().data, &self.platform).join(container);
                // on a full disk it is stopped all the same
                let noted = self.tools.host.write(&note, b"", 0o600).await.is_ok();
                let begun = Instant::now();
                engine.stop(container, *grace).await?;
                self.look_for_killed(container, begun.elapsed()).await;
                if noted {
                    let _ = self.tools.host.remove(&note).await;
                }
            }
            Action::RemoveContainer { container } => {
                engine.remove_container(container).await?;
                self.told(container).await;
                let note = start_note(&self.tools.host.folders().data, &self.platform, container);
                let _ = self.tools.host.remove(&note).await;
            }
            Action::RenameContainer { container, to } => engine.rename(container, to).await?,
            Action::Pause { time } => {
                let pause = async {
                    tokio::time::sleep(*time).await;
                    Ok(())
                };
                self.or_cancelled(pause).await?;
            }
            Action::WriteFiles { container, files, check } => {
                if self.reloads.contains(container) {
                    let note = self.note(container);
                    let noted = self.tools.host.write(&note, b"", 0o600).await;
                    noted.map_err(|error| files::file_error(&note, error))?;
                }
                self.write_files(container, files, check).await?;
            }
            Action::Reload { container, how } => {
                self.reload(container, how).await?;
                self.told(container).await;
            }
            Action::Cluster(action) => {
                let Some(work) = &self.tools.cluster else {
                    return Err(StepError::Broken("a cluster's step without anybody to do it".into()));
                };
                let progress = |progress: Progress| {
                    self.tools.events.emit(Event::StepProgress { id: step.id.clone(), progress });
                };
                // it hears of a stop itself: half a cluster has to be cleared away
                return work.run(action, &progress).await;
            }
            Action::RunTask { spec } => self.run_task(spec, &step.id).await?,
            Action::AwaitReady { spec, readiness } => {
                let progress = |reason: String| {
                    let progress = Progress::Waiting { reason };
                    self.tools.events.emit(Event::StepProgress { id: step.id.clone(), progress });
                };
                let wait = ready::wait(&self.tools, spec, readiness, &progress);
                let Some(task) = &spec.task else { return self.or_cancelled(wait).await.map(|()| None) };
                let said = |text: String| {
                    let progress = Progress::Line { text };
                    self.tools.events.emit(Event::StepProgress { id: step.id.clone(), progress });
                };
                let waited = self.or_cancelled(ready::aloud(&self.tools, &spec.name, &said, wait)).await;
                self.note_task(spec, task, &waited).await;
                return waited.map(|()| None);
            }
        }
        Ok(None)
    }

    /// What became of a task outlives its container: one that was done is not done again after a `down`.
    async fn note_task(&self, spec: &ContainerSpec, task: &TaskSpec, ended: &Result<(), StepError>) {
        let host = &self.tools.host;
        let file = TaskRun::file(&host.folders().data.join(&self.platform), &spec.service);
        let noted = match ended {
            _ if task.otherwise => return,
            // it goes on, and nobody looks
            Err(StepError::Cancelled | StepError::Engine(_)) => return,
            Err(_) => host.remove(&file).await,
            Ok(()) => {
                let found = self.tools.engine.inspect(&spec.name).await.ok();
                let finished = found.and_then(|found| found.finished_at).unwrap_or_else(|| host.now());
                let run = serde_json::to_vec(&TaskRun::new(task.inputs.clone(), finished)).unwrap_or_default();
                host.write(&file, &run, 0o600).await
            }
        };
        if let Err(error) = noted {
            let file = file.display();
            self.tools.events.warn(format!("{}: {file}: {error}; the next `up` may run it again", task.name));
        }
    }

    /// A run that is killed leaves no note of the one before: nobody knows how far it came.
    async fn run_task(&self, spec: &MachineTaskSpec, step: &str) -> Result<(), StepError> {
        let Some(work) = &self.tools.tasks else {
            return Err(StepError::Broken("a task of this machine without anybody to run it".into()));
        };
        let host = &self.tools.host;
        let file = TaskRun::file(&host.folders().data.join(&spec.platform), &spec.name);
        let told = |error: std::io::Error| StepError::File { path: file.clone(), source: error.into() };
        if !spec.otherwise {
            host.remove(&file).await.map_err(told)?;
        }
        let end: Mutex<VecDeque<String>> = Mutex::default();
        let said = |line: &str| {
            let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
            if end.len() == SHOWN_OF_TASKS {
                end.pop_front();
            }
            end.push_back(line.to_owned());
            let progress = Progress::Line { text: line.to_owned() };
            self.tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
        };
        let TaskEnd { code, reason } = work.run(spec, &said).await?;
        if !spec.otherwise {
            let (inputs, now) = (spec.inputs.clone(), host.now());
            let run = if code == 0 { TaskRun::new(inputs, now) } else { TaskRun::failed(inputs, now, code) };
            let noted = host.write(&file, &serde_json::to_vec(&run).unwrap_or_default(), 0o600).await;
            if let Err(error) = noted {
                let file = file.display();
                self.tools.events.warn(format!("{}: {file}: {error}; the next `up` may run it again", spec.name));
            }
        }
        if code == 0 {
            return Ok(());
        }
        Err(StepError::NotReady {
            service: spec.name.clone(),
            reason: reason.unwrap_or_else(|| format!("failed (exit code {code})")),
            log_tail: end.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect(),
        })
    }

    async fn start_relay(&self, spec: &ContainerSpec) -> Result<(), StepError> {
        let Tools { engine, host, facts, .. } = &self.tools;
        let image = OwnImage::obtain(&**engine, &**host, facts).await?;
        engine.remove_container(&spec.name).await?;
        let mut labels = spec.labels.clone();
        labels.extend(self.tools.labels.clone());
        if let Some(fingerprint) = &spec.fingerprint {
            labels.insert(label::FINGERPRINT.into(), fingerprint.0.clone());
        }
        engine.create_container(spec, &image.reference, &labels).await?;
        Ok(engine.start(&spec.name).await?)
    }

    async fn hooks(&self, container: &str, key: &'static str, hooks: &[Hook]) -> Result<(), StepError> {
        for hook in hooks {
            let request = AttachedExec::from(hook);
            let output = self.tools.engine.exec_as(container, &request, HOOK).await?;
            if output.exit_code != 0 {
                let said = [output.stdout, output.stderr].concat();
                return Err(StepError::Hook {
                    container: container.to_owned(),
                    key,
                    command: hook.command.join(" "),
                    code: output.exit_code,
                    log_tail: String::from_utf8_lossy(&said).lines().map(str::to_owned).collect(),
                });
            }
        }
        Ok(())
    }

    async fn reload(&self, container: &str, how: &Reload) -> Result<(), StepError> {
        let engine = &self.tools.engine;
        match how {
            Reload::Signal(signal) => engine.kill(container, signal).await?,
            Reload::Exec(command) => {
                let output = engine.exec(container, command, Duration::from_secs(30)).await?;
                if output.exit_code != 0 {
                    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    let operation = format!("reloading {container} ({})", command.join(" "));
                    return Err(EngineError::Other { operation, message: said }.into());
                }
            }
            Reload::None => {}
        }
        Ok(())
    }

    fn note(&self, container: &str) -> PathBuf {
        reload_note(&self.tools.host.folders().data, &self.platform, container)
    }

    /// The container knows its files. A note that stays leads to one reload too many.
    async fn told(&self, container: &str) {
        let _ = self.tools.host.remove(&self.note(container)).await;
    }

    /// Files that the service itself finds wrong are taken back: it goes on with those that it has, and
    /// would not start again with the new ones.
    async fn write_files(&self, container: &str, files: &[FileSpec], check: &[String]) -> Result<(), StepError> {
        let engine = &self.tools.engine;
        if check.is_empty() {
            return Ok(engine.write_files(container, files).await?);
        }
        let mut before = Vec::new();
        for file in files {
            if let Some(content) = engine.read_file(container, &file.path).await? {
                before.push(FileSpec { content, ..file.clone() });
            }
        }
        engine.write_files(container, files).await?;
        let output = engine.exec(container, check, Duration::from_secs(30)).await?;
        // 126 and 127: an image of the user's own has no such program
        if matches!(output.exit_code, 0 | 126 | 127) {
            return Ok(());
        }
        engine.write_files(container, &before).await?;
        let said = [output.stdout, output.stderr].concat();
        Err(StepError::Refused {
            container: container.to_owned(),
            command: check.join(" "),
            log_tail: String::from_utf8_lossy(&said).lines().map(str::to_owned).collect(),
        })
    }

    /// Long waits end when the user stops; short calls run to their end.
    async fn or_cancelled<T>(&self, work: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
        tokio::select! {
            result = work => result,
            () = self.tools.cancel.cancelled() => Err(StepError::Cancelled),
        }
    }

    fn image(&self, image: &ImageUse) -> Result<(String, ImageSource), StepError> {
        match image {
            ImageUse::Present { reference, source } => Ok((reference.clone(), *source)),
            ImageUse::Obtained { step } => self
                .images
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(step)
                .cloned()
                .ok_or_else(|| StepError::NoImage { reference: step.clone(), attempts: Vec::new() }),
        }
    }
}

#[cfg(test)]
mod tests;
