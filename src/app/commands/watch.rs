//! `watch`: what `develop.watch` says, carried out whenever files change. One task looks at the files; one for each
//! service does the work, so that a build of one holds up no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::builds::look_at_contexts;
use crate::app::engine_paths::elsewhere;
use crate::app::{Choices, Consent, Error, Session, UpOptions, Wanted};
use crate::apply::{Failure, StepError};
use crate::compile::container_name;
use crate::config::Loaded;
use crate::engine::{AttachedExec, Engine};
use crate::event::Event;
use crate::model::{Hook, Mount, MountsElsewhere, Service, WatchAction, WatchRule};
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
    fn of(batch: &Batch, error: &Error) -> Self {
        let down = |failure: &Failure| matches!(failure.error, StepError::NotReady { .. });
        match error {
            Error::Failed(outcome) if outcome.failed.iter().any(down) => Self::Down,
            _ if batch.rebuild => Self::Untouched,
            _ => Self::InPart,
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
    tokio::select! {
        ended = follow(session, rules, files, told, &queues) => ended,
        // one that was stopped in the middle of its work
        _ = join_all(workers) => Ok(()),
    }
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
                Err(error) => self.onlooker.failed(&self.service, Left::of(&batch, &error), error),
            }
            if batch.restart || batch.rebuild {
                self.containers().iter().for_each(|container| shells.forget(container));
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
        for container in self.containers() {
            let paths: Vec<&String> = batch.remove.iter().collect();
            for paths in paths.chunks(PATHS) {
                let words = ["rm", "-rf", "--"].into_iter().map(str::to_owned);
                let command: Vec<String> = words.chain(paths.iter().map(|path| (*path).clone())).collect();
                let hook = Hook { command, user: Some("0".to_owned()), ..Hook::default() };
                self.exec(&container, &hook).await?;
            }
            let put = batch.put.clone();
            let mut archives = pack(&put);
            loop {
                let next = tokio::task::spawn_blocking(move || (archives.next(), archives)).await;
                let (archive, rest) = next.map_err(Error::other)?;
                archives = rest;
                let Some(archive) = archive else { break };
                let archive = archive.map_err(Error::Packing)?;
                shells.unpack(&*self.engine, &container, archive).await?;
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
            for container in self.containers() {
                self.exec(&container, hook).await?;
            }
            done.push(format!("ran {}", hook.command.join(" ")));
        }
        if batch.restart {
            let platform = &self.loaded.platform.name;
            let service = std::slice::from_ref(&self.service);
            lifecycle(&self.session, platform, Some(&self.loaded), Action::Restart, service).await?;
            done.push("restarted".to_owned());
        }
        Ok(done)
    }

    async fn prepare(&self, shells: &mut Unpackers) {
        for container in self.containers() {
            shells.prepare(&*self.engine, &container).await;
        }
    }

    fn containers(&self) -> Vec<String> {
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
        let options = UpOptions { wanted, no_dns: None, choices };
        let result = up(&self.session, &loaded, &options, &*self.consent).await;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = result.is_ok();
        self.session.events.emit(Event::Finished { ok, degraded: false, millis, summary: String::new() });
        self.session.events.finish();
        result.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Outcome;
    use crate::model::Extension;

    #[test]
    fn what_is_mounted_is_not_copied_by_a_rule() {
        use MountsElsewhere::{AsWritten, Copy, Refuse};
        let service = |mounts, read_only| {
            let bind = Mount::Bind {
                source: "/p".into(),
                target: "/app".into(),
                read_only,
                create_host_path: true,
                propagation: None,
                selinux: None,
            };
            let extension = Extension { mounts, ..Extension::default() };
            Service { mounts: vec![bind], extension, ..Service::default() }
        };
        let rule = WatchRule::new("/p/src".into(), WatchAction::Sync);
        let there = "is mounted into the container already (/app); its changes are there by themselves";
        let copy = "was copied for the container to read (/app); `macula up` takes up its changes";
        for (setting, read_only, lacks, expected) in [
            (Copy, true, true, copy),
            (Copy, true, false, there),
            (Copy, false, true, there),
            (Refuse, true, true, there),
            // whatever another service of the platform has had asked
            (AsWritten, true, true, there),
        ] {
            let found = mounted(&service(setting, read_only), &rule, &|_| lacks);
            assert_eq!(found.as_deref(), Some(expected), "{setting:?} {read_only} {lacks}");
        }
        let restart = WatchRule { action: WatchAction::Restart, ..rule };
        assert_eq!(mounted(&service(Copy, true), &restart, &|_| true), None, "nothing is copied for it");
    }

    #[test]
    fn what_a_batch_that_went_wrong_has_left() {
        let error = StepError::NotReady { service: "web".into(), reason: "ended".into(), log_tail: Vec::new() };
        let failure = Failure { step: "wait web".into(), group: "web".into(), error };
        let crashed = Error::Failed(Box::new(Outcome { failed: vec![failure], ..Outcome::default() }));
        let restart = Batch { restart: true, ..Batch::default() };
        let rebuild = Batch { rebuild: true, ..Batch::default() };
        assert_eq!(Left::of(&restart, &crashed), Left::Down);
        assert_eq!(Left::of(&rebuild, &crashed), Left::Down);
        let other = Error::said("the build failed");
        assert_eq!(Left::of(&rebuild, &other), Left::Untouched);
        assert_eq!(Left::of(&restart, &other), Left::InPart);
    }
}
