//! `watch`: what `develop.watch` says, carried out whenever files change. One task looks at the files; one for each
//! service does the work, so that a build of one holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::app::builds::look_at_contexts;
use crate::app::engine_paths::elsewhere;
use crate::app::{Choices, Consent, Error, Session, UpOptions, Wanted};
use crate::apply::{Failure, StepError, Timing};
use crate::compile::container_name;
use crate::config::Loaded;
use crate::engine::{AttachedExec, Engine, EngineError};
use crate::event::{Doing, Event, Events, Reporter};
use crate::model::{Hook, Mount, MountsElsewhere, Service, WatchAction, WatchRule, label};
use crate::plan::{Cause, Verb};
use crate::watch::{Batch, Files, Filter, Told, Tree, gathered, inside, look, pack};
use crate::words;

use super::lifecycle::{Action, lifecycle};
use super::unpacker::Unpackers;
use super::up::up;

/// Between two looks for folders that were deleted.
const BACK: Duration = Duration::from_millis(500);
/// For a program that the rules say to run.
const EXEC: Duration = Duration::from_secs(300);
/// Paths in one command line.
const PATHS: usize = 500;
/// For those that have nothing under way to say so.
const IDLE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Empty: all that have rules.
    pub services: Vec<String>,
    /// What Git ignores counts, too.
    pub all_files: bool,
    /// What an `up` of a service that is built again keeps.
    pub choices: Choices,
}

/// For the user, who goes on editing meanwhile.
pub trait Onlooker: Send + Sync {
    /// A build or a restart went wrong; the watch goes on.
    fn failed(&self, service: &str, left: Left, error: Error);
}

/// What a batch that went wrong has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The container as it was.
    Untouched,
    /// Some of the changes may be in, and not all.
    InPart,
    /// All changes are in, and the service does not run with them.
    Down,
}

impl Left {
    /// `containers`: the names of those of the service.
    fn of(batch: &Batch, error: &Error, service: &str, containers: &[String]) -> Self {
        let as_it_was = if batch.rebuild { Self::Untouched } else { Self::InPart };
        let Error::Failed(outcome) = error else { return as_it_was };
        // what the others do with it does not bring it down
        if outcome.failed.iter().all(|failure| failure.group != service) {
            return as_it_was;
        }
        let is = |ran: &Timing, verb: Verb| containers.iter().any(|name| ran.step == verb.container(name));
        let went = |ran: &Timing| ran.error.is_none() && (is(ran, Verb::Stop) || is(ran, Verb::Remove));
        // there was none before
        let is_first = |ran: &Timing| ran.cause == Cause::Missing && is(ran, Verb::Create);
        let crashed = |failure: &Failure| matches!(failure.error, StepError::NotReady { .. });
        match batch.rebuild {
            _ if outcome.ran.iter().any(went) => Self::Down,
            // where the new one comes first, the old one goes on running
            true if outcome.ran.iter().any(is_first) => Self::Down,
            false if outcome.failed.iter().any(crashed) => Self::Down,
            _ => as_it_was,
        }
    }
}

/// One rule and the files that it is about.
struct Rule {
    service: String,
    rule: WatchRule,
    tree: Tree,
}

/// Until the user ends it.
pub async fn watch(
    session: &Session,
    loaded: &Arc<Loaded>,
    options: &WatchOptions,
    consent: &Arc<dyn Consent>,
    onlooker: &Arc<dyn Onlooker>,
) -> Result<(), Error> {
    let elsewhere = elsewhere(session, &loaded.platform).await?;
    let copied = |path: &Path| elsewhere.as_ref().is_some_and(|known| known.lacks(path));
    let rules = rules(session, loaded, options, &copied)?;
    session.check_known(&loaded.platform.name).await?;
    let engine = session.engine()?;
    let (files, told) = Files::new()?;
    let mut workers = Vec::new();
    let mut queues: BTreeMap<String, UnboundedSender<Batch>> = BTreeMap::new();
    for rule in &rules {
        if queues.contains_key(&rule.service) {
            continue;
        }
        let (queue, batches) = unbounded_channel();
        queues.insert(rule.service.clone(), queue);
        let worker = Worker {
            session: session.clone(),
            loaded: loaded.clone(),
            engine: engine.clone(),
            service: rule.service.clone(),
            choices: options.choices.clone(),
            consent: consent.clone(),
            onlooker: onlooker.clone(),
        };
        workers.push(worker.work(batches));
    }
    let mut work = Box::pin(join_all(workers));
    let ended = tokio::select! {
        ended = follow(session, rules, files, told, &queues) => ended,
        // they were stopped, and so is the watch
        _ = &mut work => return Ok(()),
    };
    // a service that is being replaced would be left without a container
    drop(queues);
    if tokio::time::timeout(IDLE, &mut work).await.is_err() {
        session.events.info("finishing what is under way (Ctrl-C again: at once)");
        work.await;
    }
    ended
}

/// Tells the services what their files come to.
async fn follow(
    session: &Session,
    mut rules: Vec<Rule>,
    mut files: Files,
    mut told: UnboundedReceiver<Told>,
    queues: &BTreeMap<String, UnboundedSender<Batch>>,
) -> Result<(), Error> {
    let mut first: BTreeMap<String, Batch> = BTreeMap::new();
    let mut known = 0;
    for rule in &mut rules {
        let seen = look(&mut rule.tree, &[], &mut files)?;
        known += seen.changed.len();
        if rule.rule.initial_sync && rule.rule.action.copies() {
            let batch = first.entry(rule.service.clone()).or_default();
            let put = seen.changed.into_iter().filter_map(|file| Some((file.clone(), inside(&rule.rule, &file)?)));
            batch.put.extend(put);
        }
        if !rule.rule.path.exists() {
            session.events.warn(format!("{} does not exist yet", rule.rule.path.display()));
        }
    }
    send(queues, first);
    session.events.info(format!(
        "watching {} for {} (Ctrl-C ends it)",
        words::count(known, "file"),
        words::list(queues.keys())
    ));
    let mut missing = missing_roots(&rules);
    let mut again = tokio::time::interval(BACK);
    loop {
        let paths = tokio::select! {
            one = told.recv() => match one {
                Some(one) => gathered(one, &mut told).await,
                None => return Err(Error::said("the system tells no more of changed files")),
            },
            _ = again.tick() => {
                let now = missing_roots(&rules);
                let back = missing.iter().filter(|root| !now.contains(root)).cloned().map(Told::Path).collect();
                missing = now;
                back
            }
            () = session.cancel.cancelled() => return Ok(()),
        };
        if paths.is_empty() {
            continue;
        }
        let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
        for rule in &mut rules {
            let seen = look(&mut rule.tree, &paths, &mut files)?;
            let batch = batches.entry(rule.service.clone()).or_default();
            for path in &seen.removed {
                batch.removed(&rule.rule, path);
            }
            for path in &seen.changed {
                batch.changed(&rule.rule, path);
            }
        }
        missing = missing_roots(&rules);
        send(queues, batches);
    }
}

fn send(queues: &BTreeMap<String, UnboundedSender<Batch>>, batches: BTreeMap<String, Batch>) {
    for (service, batch) in batches.into_iter().filter(|(_, batch)| !batch.is_empty()) {
        if let Some(queue) = queues.get(&service) {
            // its worker ends with us
            let _ = queue.send(batch);
        }
    }
}

fn missing_roots(rules: &[Rule]) -> Vec<PathBuf> {
    rules.iter().map(|rule| rule.tree.root()).filter(|root| !root.exists()).map(Path::to_owned).collect()
}

/// The rules that are to be carried out, each with a tree that knows nothing yet. `copied`: what the engine's machine does
/// not have, so that a mount of it is a copy.
fn rules(
    session: &Session,
    loaded: &Loaded,
    options: &WatchOptions,
    copied: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Rule>, Error> {
    let platform = &loaded.platform;
    let unknown: Vec<String> =
        options.services.iter().filter(|name| platform.service(name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        let known = platform.service_names();
        return Err(Error::UnknownService { names: unknown, known });
    }
    let mut all = Vec::new();
    for (_, service) in platform.services() {
        if !options.services.is_empty() && !options.services.contains(&service.name) {
            continue;
        }
        for rule in &service.watch {
            if let Some(why) = mounted(service, rule, copied) {
                session.events.warn(format!("{}: {} {why}", service.name, rule.path.display()));
                continue;
            }
            if rule.action == WatchAction::Rebuild && service.build.is_none() {
                return Err(Error::NothingToBuild { service: service.name.clone() });
            }
            // what leads there counts, not the link
            let path = std::fs::canonicalize(&rule.path).unwrap_or_else(|_| rule.path.clone());
            let rule = WatchRule { path: path.clone(), ..rule.clone() };
            let context = service.build.as_ref().and_then(|build| build.context.clone());
            let context = context.map(|context| std::fs::canonicalize(&context).unwrap_or(context));
            let filter = Filter::new(&rule, context.as_deref(), !options.all_files)
                .map_err(|source| Error::Io { path: path.clone(), source })?;
            all.push(Rule { service: service.name.clone(), tree: Tree::new(path, filter), rule });
        }
    }
    if all.is_empty() {
        return Err(Error::NothingToWatch { services: options.services.clone() });
    }
    Ok(all)
}

/// Why files of a rule are not copied: the container sees the folder of this machine, or a copy that it only reads.
fn mounted(service: &Service, rule: &WatchRule, copied: &dyn Fn(&Path) -> bool) -> Option<String> {
    if !rule.action.copies() {
        return None;
    }
    service.mounts.iter().find_map(|mount| match mount {
        Mount::Bind { source, target, read_only, .. } if rule.path.starts_with(source) => {
            let is_copy = service.extension.mounts == MountsElsewhere::Copy && *read_only && copied(source);
            Some(match is_copy {
                true => format!("was copied for the container to read ({target}); `macula up` takes up its changes"),
                false => {
                    format!("is mounted into the container already ({target}); its changes are there by themselves")
                }
            })
        }
        _ => None,
    })
}

struct Worker {
    session: Session,
    loaded: Arc<Loaded>,
    engine: Arc<dyn Engine>,
    service: String,
    choices: Choices,
    consent: Arc<dyn Consent>,
    onlooker: Arc<dyn Onlooker>,
}

impl Worker {
    async fn work(self, mut batches: UnboundedReceiver<Batch>) {
        let mut shells = Unpackers::default();
        self.prepare(&mut shells).await;
        while let Some(mut batch) = batches.recv().await {
            // what has not begun is left
            if self.session.cancel.is_cancelled() {
                return;
            }
            while let Ok(later) = batches.try_recv() {
                batch.add(later);
            }
            let begun = Instant::now();
            match self.carry_out(&batch, &mut shells).await {
                Ok(done) if done.is_empty() => {}
                Ok(done) => {
                    let took = words::fine_duration(begun.elapsed());
                    self.session.events.info(format!("{}: {} ({took})", self.service, done.join(", ")));
                }
                Err(Error::Cancelled) => return,
                Err(error) => {
                    let left = Left::of(&batch, &error, &self.service, &self.declared());
                    self.onlooker.failed(&self.service, left, error);
                }
            }
            if (batch.restart || batch.rebuild) && !self.session.cancel.is_cancelled() {
                // the containers have another life now
                shells = Unpackers::default();
                self.prepare(&mut shells).await;
            }
        }
    }

    /// In words, what was done.
    async fn carry_out(&self, batch: &Batch, shells: &mut Unpackers) -> Result<Vec<String>, Error> {
        if batch.rebuild {
            // what was copied is in the image now
            return self.rebuild().await.map(|()| vec!["built again and replaced".to_owned()]);
        }
        let mut done = Vec::new();
        let inside = !(batch.put.is_empty() && batch.remove.is_empty() && batch.exec.is_empty());
        let containers = if inside { self.containers().await? } else { Vec::new() };
        for container in &containers {
            let paths: Vec<&String> = batch.remove.iter().collect();
            for paths in paths.chunks(PATHS) {
                let words = ["rm", "-rf", "--"].into_iter().map(str::to_owned);
                let command: Vec<String> = words.chain(paths.iter().map(|path| (*path).clone())).collect();
                let hook = Hook { command, user: Some("0".to_owned()), ..Hook::default() };
                self.exec(container, &hook).await?;
            }
            let put = batch.put.clone();
            let mut archives = pack(&put);
            loop {
                let next = tokio::task::spawn_blocking(move || (archives.next(), archives)).await;
                let (archive, rest) = next.map_err(Error::other)?;
                archives = rest;
                let Some(archive) = archive else { break };
                let archive = archive.map_err(Error::Packing)?;
                shells.unpack(&*self.engine, container, archive).await?;
            }
        }
        match batch.put.len() {
            0 => {}
            1 => done.extend(batch.put.values().map(|path| format!("copied {path}"))),
            count => done.push(format!("copied {}", words::count(count, "file"))),
        }
        match batch.remove.len() {
            0 => {}
            1 => done.extend(batch.remove.iter().map(|path| format!("removed {path}"))),
            count => done.push(format!("removed {}", words::count(count, "path"))),
        }
        for hook in &batch.exec {
            for container in &containers {
                tokio::select! {
                    ran = self.exec(container, hook) => ran?,
                    // it may take minutes, and comes to its end in the container
                    () = self.session.cancel.cancelled() => return Err(Error::Cancelled),
                }
            }
            done.push(format!("ran {}", hook.command.join(" ")));
        }
        if batch.restart {
            let platform = &self.loaded.platform.name;
            let service = std::slice::from_ref(&self.service);
            let coming = Arc::new(Coming::new(self.session.events.clone()));
            let session = coming.session(&self.session);
            let work = Box::pin(lifecycle(&session, platform, Some(&self.loaded), Action::Restart, service));
            coming.finished(&self.session.cancel, work).await?;
            done.push("restarted".to_owned());
        }
        Ok(done)
    }

    async fn prepare(&self, shells: &mut Unpackers) {
        for container in self.containers().await.unwrap_or_default() {
            shells.prepare(&*self.engine, &container).await;
        }
    }

    /// Those that there are: somebody may have given the service another number of them meanwhile.
    async fn containers(&self) -> Result<Vec<String>, EngineError> {
        let platform = self.loaded.platform.name.as_str();
        let found = self.engine.labelled(&format!("{}={}", label::SERVICE, self.service)).await?;
        let ours = found.into_iter().filter(|one| one.replica_of(platform) == Some(self.service.as_str()));
        let mut names: Vec<String> = ours.map(|one| one.name).collect();
        names.sort();
        // of one that is not there the engine says so
        Ok(if names.is_empty() { self.declared() } else { names })
    }

    /// The names of those that it has as its file says.
    fn declared(&self) -> Vec<String> {
        let platform = &self.loaded.platform;
        let Some((_, service)) = platform.service(&self.service) else { return Vec::new() };
        (1..=service.replicas).map(|replica| container_name(platform, service, replica)).collect()
    }

    async fn exec(&self, container: &str, hook: &Hook) -> Result<(), Error> {
        let request = AttachedExec::from(hook);
        let output = self.engine.exec_as(container, &request, EXEC).await?;
        if output.exit_code == 0 {
            return Ok(());
        }
        let said = if output.stderr.is_empty() { output.stdout } else { output.stderr };
        Err(Error::ExecFailed {
            command: hook.command.join(" "),
            container: container.to_owned(),
            code: output.exit_code,
            said: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }

    /// A build that fails leaves the container as it is.
    async fn rebuild(&self) -> Result<(), Error> {
        let begun = Instant::now();
        self.session.events.info(format!("{}: building its image again", self.service));
        let mut loaded = (*self.loaded).clone();
        look_at_contexts(&mut loaded.platform, &self.session.host().folders().cache).await;
        let wanted = Wanted { services: vec![self.service.clone()], no_deps: true, build: true, ..Wanted::default() };
        // an `up` may have said something else since the watch began
        let kept = self.session.state(&loaded.platform.name).choices(self.session.host()).await?;
        if loaded.remap {
            loaded.moves = kept.moves.clone();
        }
        let choices = if kept.folder.is_some() { kept } else { self.choices.clone() };
        if let Some(count) = self.scaled(&choices).await? {
            let mut stacks = loaded.platform.stacks.iter_mut();
            if let Some(service) = stacks.find_map(|stack| stack.services.get_mut(&self.service)) {
                service.replicas = count;
            }
        }
        let options = UpOptions { wanted, no_dns: None, choices };
        let coming = Arc::new(Coming::new(self.session.events.clone()));
        let session = coming.session(&self.session);
        let work = Box::pin(up(&session, &loaded, &options, &*self.consent));
        let result = coming.finished(&self.session.cancel, work).await;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = result.is_ok();
        self.session.events.emit(Event::Finished { ok, degraded: false, millis, summary: String::new() });
        self.session.events.finish();
        result.map(drop)
    }

    /// How many containers the service has by now, where that was said since the watch began.
    async fn scaled(&self, choices: &Choices) -> Result<Option<u32>, Error> {
        match (choices.scale.get(&self.service), self.choices.scale.get(&self.service)) {
            (now, then) if now == then => Ok(None),
            (Some(count), _) => Ok(Some(*count)),
            // given back: the number of the file is that of the containers
            (None, _) => Ok(u32::try_from(self.containers().await?.len()).ok()),
        }
    }
}

/// Sees what is done comes to: it may be stopped as long as it waits or gets images, and is finished when it has come to a
/// container.
struct Coming {
    events: Events,
    cancel: CancellationToken,
    /// Steps that do something with a container.
    decisive: Mutex<BTreeSet<String>>,
    further: AtomicBool,
}

impl Coming {
    fn new(events: Events) -> Self {
        Self { events, cancel: CancellationToken::new(), decisive: Mutex::default(), further: AtomicBool::new(false) }
    }

    /// The session of the work that it sees.
    fn session(self: &Arc<Self>, session: &Session) -> Session {
        Session { cancel: self.cancel.clone(), events: Events::new(self.clone()), ..session.clone() }
    }

    /// What came of the work. `stop`: the user wants it to end.
    async fn finished<T>(&self, stop: &CancellationToken, mut work: Pin<Box<impl Future<Output = T>>>) -> T {
        tokio::select! {
            done = &mut work => done,
            () = stop.cancelled() => {
                if !self.further.load(Ordering::SeqCst) {
                    self.cancel.cancel();
                }
                work.await
            }
        }
    }
}

impl Reporter for Coming {
    fn report(&self, event: Event) {
        let mut decisive = self.decisive.lock().unwrap_or_else(PoisonError::into_inner);
        match &event {
            Event::Started { steps, .. } => {
                let is = |doing: Doing| matches!(doing, Doing::Stop | Doing::Remove | Doing::Create | Doing::Start);
                *decisive = steps.iter().filter(|step| is(step.doing)).map(|step| step.id.clone()).collect();
            }
            Event::StepStarted { id } if decisive.contains(id) => self.further.store(true, Ordering::SeqCst),
            _ => {}
        }
        drop(decisive);
        self.events.emit(event);
    }

    fn finish(&self) {
        self.events.finish();
    }
}

#[cfg(test)]
mod tests;
