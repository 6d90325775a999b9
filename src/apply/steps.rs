//! What each step does.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{AttachedExec, EngineError};
use crate::event::{Event, Progress};
use crate::model::{
    ContainerSpec, FileSpec, Hook, ImageSpec, MachineTaskSpec, Provider, Readiness, Reload, TaskRun, TaskSpec,
    VolumeSpec, label,
};
use crate::plan::{Action, ImageSource, ImageUse, Step, reload_note, start_note, stop_notes};
use crate::system::OwnImage;

use super::{Run, StepError, TaskEnd, Tools, copies, files, image, ready};

/// A stop that takes less needs no word.
const LONG_STOP: Duration = Duration::from_secs(5);
/// The exit code of what was ended by SIGKILL.
const KILLED: i64 = 137;
/// Lines of a failed task of this machine that its error shows.
const SHOWN_OF_TASKS: usize = 20;
/// For one program that runs in a container after its start or before its end.
const HOOK: Duration = Duration::from_secs(600);

/// What is said of a `pre_stop` that failed, which keeps nothing from stopping.
pub(super) fn stopped_anyway(container: &str, error: &StepError) -> String {
    let what = match error {
        StepError::Hook { log_tail, .. } => match log_tail.iter().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{error} ({})", line.trim()),
            None => error.to_string(),
        },
        _ => format!("{container}: its `pre_stop` could not be run: {error}"),
    };
    format!("{what}; it is stopped anyway")
}

/// What is said of containers that did not end when they were told to: the first process of a container has no default for
/// a signal. `took`: of each, until it was killed.
pub(super) fn killed_anyway(service: &str, took: &[Duration]) -> String {
    let seconds = took.iter().max().map_or(0, Duration::as_secs);
    let (what, them) = match took.len() {
        0 | 1 => (format!("{service} did not end at its stop signal within {seconds} s and was killed"), "it"),
        count => {
            let what = format!("{count} containers of {service} did not end at their stop signal within {seconds} s");
            (format!("{what} and were killed"), "them")
        }
    };
    format!("{what}; `init: true` in its Compose file, or a handler for the signal, ends {them} at once")
}

impl Run {
    /// Who waits that long for a stop is told why: see [`killed_anyway`].
    pub(super) async fn look_for_killed(&self, container: &str, took: Duration) {
        if took < LONG_STOP {
            return;
        }
        let Ok(found) = self.tools.engine.inspect(container).await else { return };
        if found.exit_code == Some(KILLED) && !found.oom_killed {
            let service = found.label(label::SERVICE).unwrap_or(container).to_owned();
            self.killed.lock().unwrap_or_else(PoisonError::into_inner).entry(service).or_default().push(took);
        }
    }

    /// A line for each service, however many of its containers had to be killed.
    pub(super) fn tell_killed(&self) {
        let killed = std::mem::take(&mut *self.killed.lock().unwrap_or_else(PoisonError::into_inner));
        for (service, took) in killed {
            self.tools.events.warn(killed_anyway(&service, &took));
        }
    }

    /// A place among the builds, as soon as one is free. Whoever stands in line says so.
    pub(super) async fn build_place(&self, step: &str) -> Option<tokio::sync::SemaphorePermit<'_>> {
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

    pub(super) async fn step(&self, step: &Step) -> Result<Option<String>, StepError> {
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
            Action::CreateVolume { spec, provider } => self.create_volume(spec, provider.as_ref()).await?,
            Action::FillVolume { spec } => self.or_cancelled(copies::fill(&self.tools, spec)).await?,
            Action::RemoveVolume { name } => engine.remove_volume(name).await?,
            Action::MakeBase(base) => {
                let _one = self.base.lock().await;
                self.or_cancelled(image::make_base(&self.tools, base, &step.id)).await?;
            }
            Action::LoadImage { id } => return self.or_cancelled(self.load_image(id, &step.id)).await,
            Action::ObtainImage { spec, pull, build } => {
                let work = image::obtain(self, spec, *pull, *build, step);
                let obtained = self.or_cancelled(work).await?;
                return Ok(self.obtained(&step.id, spec, obtained));
            }
            Action::CreateContainer { spec, image } => {
                let (reference, _) = self.image(image)?;
                let mut labels = self.labels(spec);
                labels.insert(label::PARTS.into(), spec.parts.clone());
                engine.create_container(spec, &reference, &labels).await?;
            }
            Action::Start { container, hooks } => self.start(container, hooks).await?,
            Action::Stop { container, grace, hooks } => self.stop(container, *grace, hooks).await?,
            Action::RemoveContainer { container } => {
                engine.remove_container(container).await?;
                self.told(container).await;
                let _ = self.tools.host.remove(&self.start_note(container)).await;
                self.forget_stop(container).await;
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
            Action::AwaitReady { spec, readiness } => self.await_ready(spec, readiness, &step.id).await?,
        }
        Ok(None)
    }

    async fn create_volume(&self, spec: &VolumeSpec, provider: Option<&(Provider, ImageUse)>) -> Result<(), StepError> {
        let mut labels = spec.labels.clone();
        labels.extend(self.tools.labels.clone());
        if let Some((provider, image)) = provider {
            let (_, source) = self.image(image)?;
            let wrote = if source == ImageSource::Build { &provider.build } else { &provider.image };
            labels.insert(label::PROVIDER.into(), wrote.clone());
        }
        Ok(self.tools.engine.create_volume(spec, &labels).await?)
    }

    /// Remembers what the image is called now. A note for the step's line.
    fn obtained(&self, step: &str, spec: &ImageSpec, (reference, source): (String, ImageSource)) -> Option<String> {
        let note = match source {
            ImageSource::Build => Some("built".to_owned()),
            ImageSource::Image if reference != spec.reference => Some(format!("from {reference}")),
            ImageSource::Image => None,
        };
        let reference = if source == ImageSource::Image { spec.kept_as() } else { reference };
        self.images.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), (reference, source));
        note
    }

    /// What a container bears: also whose it is, and the hash of its specification.
    fn labels(&self, spec: &ContainerSpec) -> BTreeMap<String, String> {
        let mut labels = spec.labels.clone();
        labels.extend(self.tools.labels.clone());
        if let Some(fingerprint) = &spec.fingerprint {
            labels.insert(label::FINGERPRINT.into(), fingerprint.0.clone());
        }
        labels
    }

    async fn start(&self, container: &str, hooks: &[Hook]) -> Result<(), StepError> {
        let note = self.start_note(container);
        if !hooks.is_empty() {
            // on a full disk it is started all the same
            let _ = self.tools.host.write(&note, b"", 0o600).await;
        }
        // a run that was killed has asked for its end, which comes yet
        if self.tools.host.exists(&self.stop_note(container)).await {
            self.tools.engine.stop(container, None).await?;
            self.forget_stop(container).await;
        }
        // one that runs already stays as it is
        self.tools.engine.start(container).await?;
        // it has read its files
        self.told(container).await;
        self.or_cancelled(self.hooks(container, "post_start", hooks)).await?;
        if !hooks.is_empty() {
            // a note that stays leads to one run too many
            let _ = self.tools.host.remove(&note).await;
        }
        Ok(())
    }

    async fn stop(&self, container: &str, grace: Option<Duration>, hooks: &[Hook]) -> Result<(), StepError> {
        let done = self.or_cancelled(self.hooks(container, "pre_stop", hooks)).await;
        match done {
            // whoever breaks off lets it run: the hook may have been at work for its data
            Err(StepError::Cancelled) => return Err(StepError::Cancelled),
            Err(error) => self.tools.events.warn(stopped_anyway(container, &error)),
            Ok(()) => {}
        }
        let note = self.stop_note(container);
        // on a full disk it is stopped all the same
        let noted = self.tools.host.write(&note, b"", 0o600).await.is_ok();
        let begun = Instant::now();
        self.tools.engine.stop(container, grace).await?;
        self.look_for_killed(container, begun.elapsed()).await;
        if noted {
            let _ = self.tools.host.remove(&note).await;
        }
        Ok(())
    }

    /// Nobody has to wait for it any more.
    async fn forget_stop(&self, container: &str) {
        let _ = self.tools.host.remove(&self.stop_note(container)).await;
    }

    fn stop_note(&self, container: &str) -> PathBuf {
        stop_notes(&self.tools.host.folders().data, &self.platform).join(container)
    }

    async fn await_ready(&self, spec: &ContainerSpec, readiness: &Readiness, step: &str) -> Result<(), StepError> {
        let tell = |progress: Progress| {
            self.tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
        };
        let progress = |reason: String| tell(Progress::Waiting { reason });
        let wait = ready::wait(&self.tools, spec, readiness, &progress);
        let Some(task) = &spec.task else { return self.or_cancelled(wait).await };
        let said = |text: String| tell(Progress::Line { text });
        let waited = self.or_cancelled(ready::aloud(&self.tools, &spec.name, &said, wait)).await;
        self.note_task(spec, task, &waited).await;
        waited
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
        match engine.inspect(&spec.name).await {
            Ok(found) if found.label(label::PLATFORM) != spec.labels.get(label::PLATFORM).map(String::as_str) => {
                let operation = format!("creating container {}", spec.name);
                let message = "a container with this name already exists".to_owned();
                return Err(EngineError::Conflict { operation, message }.into());
            }
            Ok(_) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let image = OwnImage::obtain(&**engine, &**host, facts).await?;
        engine.remove_container(&spec.name).await?;
        engine.create_container(spec, &image.reference, &self.labels(spec)).await?;
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

    fn start_note(&self, container: &str) -> PathBuf {
        start_note(&self.tools.host.folders().data, &self.platform, container)
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
