//! Carries out what a stack needs: services are made as those that they wait for run, and watched until they run themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stack_filter;
use crate::app::commands::logs::split;
use crate::app::commands::stack::steps::{Steps, step};
use crate::app::{DeployError, Error, Session};
use crate::compile::targets::{
    Standing, SwarmAct, SwarmChange, SwarmChanges, SwarmLook, held, is_failure, is_leaving, with_ids, without_ports,
};
use crate::engine::{Engine, EngineError, LogLine, LogOptions, Swarm};
use crate::event::Doing;
use crate::host::pause;
use crate::model::{ObservedSwarm, SwarmKind, SwarmService, SwarmTask};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// A service has to run for so long before it counts as running: what ends at once has not run.
const STEADY: Duration = Duration::from_secs(2);
/// A network is free when the last of its tasks has ended.
pub(super) const LEAVING: Duration = Duration::from_secs(60);
/// A port that a service gave up is free by then.
const SETTLES: Duration = Duration::from_secs(10);
/// Lines of the log of what failed.
const TAIL: usize = 5;
/// So many are read for these: the engine may have stored the last ones before others.
const READ: u64 = 100;

/// One service on its way.
pub(super) struct Watched {
    pub name: String,
    pub change: Option<SwarmChange>,
    pub waits: Vec<String>,
    pub stage: Stage,
}

pub(super) enum Stage {
    Waits,
    Runs(Begun),
    Ready,
    Failed,
}

pub(super) struct Begun {
    since: Instant,
    /// When the update had begun that was the last one.
    before: Option<String>,
    /// Tasks that had failed.
    old: BTreeSet<String>,
    /// Tasks without a node, and when they were first seen so.
    pending: BTreeMap<String, Instant>,
    /// Since when it has been ready.
    steady: Option<Instant>,
    /// Nothing was sent, and it has run all the time: it need not show that it goes on running.
    kept: bool,
    last: String,
}

pub(super) struct Work<'a> {
    pub session: &'a Session,
    pub engine: &'a Arc<dyn Engine>,
    pub swarm: &'a dyn Swarm,
    pub stack: &'a str,
    pub patience: Duration,
}

pub(super) fn step_id(kind: SwarmKind, name: &str) -> String {
    format!("{kind} {name}")
}

impl Work<'_> {
    /// `shop_web` as the stack calls it.
    pub fn short<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
    }

    pub async fn carry_out(&self, changes: SwarmChanges, waits: &BTreeMap<String, Vec<String>>) -> Result<(), Error> {
        let (mut made, mut gone, mut services) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes.all {
            match (change.act, change.kind) {
                (SwarmAct::Remove, _) => gone.push(change),
                (_, SwarmKind::Service) => services.push(change),
                (SwarmAct::Keep, _) => {}
                _ => made.push(change),
            }
        }
        let full = |short: &String| format!("{}_{short}", self.stack);
        let mut infos = Vec::new();
        for change in &made {
            let text = format!("create {} {}", change.kind, change.name);
            let group = format!("{}s", change.kind);
            let doing = if change.kind == SwarmKind::Network { Doing::Network } else { Doing::Other };
            infos.push(step(step_id(change.kind, &change.name), &group, text, doing, Vec::new()));
        }
        let mut watched = Vec::new();
        for change in services {
            let short = self.short(&change.name);
            let needs: Vec<String> = waits.get(short).into_iter().flatten().map(full).collect();
            let verb = match change.act {
                SwarmAct::Create => "create",
                SwarmAct::Update => "update",
                SwarmAct::Replace => "replace",
                SwarmAct::Keep | SwarmAct::Remove => "check",
            };
            let text = match change.what.is_empty() {
                true => format!("{verb} service {}", change.name),
                false => format!("{verb} service {} ({})", change.name, change.what.join(", ")),
            };
            let after = needs.iter().map(|name| step_id(SwarmKind::Service, name)).collect();
            infos.push(step(step_id(change.kind, &change.name), short, text, Doing::Await, after));
            watched.push(Watched {
                name: change.name.clone(),
                change: Some(change),
                waits: needs,
                stage: Stage::Waits,
            });
        }
        for change in &gone {
            let text = format!("remove {} {}", change.kind, change.name);
            infos.push(step(step_id(change.kind, &change.name), "removed", text, Doing::Remove, Vec::new()));
        }
        let steps = Steps::announced(&self.session.events, &self.session.command, self.stack, infos, Vec::new());
        for change in made {
            self.go_on()?;
            let id = step_id(change.kind, &change.name);
            steps.start(&id);
            if let Some(body) = &change.body {
                let created = self.swarm.create(change.kind, body).await;
                created.inspect_err(|error| steps.failed(&id, error))?;
            }
            steps.done(&id, None);
        }
        let gone = self.make_room(&steps, gone, &changes.held).await?;
        self.watch(&steps, watched).await?;
        // what an update that failed goes back to has to stay
        self.prune(&steps, &gone).await
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.session.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub async fn pause(&self) -> Result<(), Error> {
        if pause(PAUSE, &self.session.cancel).await { Ok(()) } else { Err(Error::Cancelled) }
    }

    /// Removes those that have a volume or a port which a service is to have, and waits until what they ran has ended: two
    /// at a time would write one volume, and a port has one service. The others of these.
    async fn make_room(
        &self,
        steps: &Steps<'_>,
        gone: Vec<SwarmChange>,
        wanted: &BTreeSet<String>,
    ) -> Result<Vec<SwarmChange>, Error> {
        if wanted.is_empty() {
            return Ok(gone);
        }
        let observed = self.swarm.stacks(&stack_filter(self.stack)).await?;
        let holder = |change: &SwarmChange| {
            let service = observed.service(&change.name).filter(|_| change.kind == SwarmKind::Service);
            service.filter(|service| !held(&service.spec).is_disjoint(wanted))
        };
        let (first, rest): (Vec<SwarmChange>, Vec<SwarmChange>) =
            gone.into_iter().partition(|change| holder(change).is_some());
        let ids: BTreeSet<&String> = first.iter().filter_map(holder).map(|service| &service.id).collect();
        for change in &first {
            let id = step_id(change.kind, &change.name);
            steps.start(&id);
            if let Some(service) = holder(change) {
                let removed = self.removed(change.kind, &service.id).await;
                removed.inspect_err(|error| steps.failed(&id, error))?;
            }
        }
        let left = self.ended(&ids, wanted).await?;
        if !left.is_empty() {
            let why = "it has not ended, and has a volume or a port that another service is to have";
            first.iter().for_each(|change| steps.failed(&step_id(change.kind, &change.name), why));
            let failed = left.into_iter().map(|task| (task, why.to_owned())).collect();
            return Err(DeployError::NotRunning { stack: self.stack.to_owned(), failed }.into());
        }
        first.iter().for_each(|change| steps.done(&step_id(change.kind, &change.name), None));
        Ok(rest)
    }

    /// Waits until what these services ran, which are gone, has ended, and whatever else is left that has something of what
    /// is wanted. The tasks that have not.
    async fn ended(&self, ids: &BTreeSet<&String>, wanted: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let begun = Instant::now();
        loop {
            let now = self.swarm.stacks(&stack_filter(self.stack)).await?;
            let left = now.tasks.iter().filter(|task| is_left(&now, task));
            // also those that an earlier deployment did not wait for to its end
            let has = |task: &SwarmTask| !held(&json!({"TaskTemplate": task.spec})).is_disjoint(wanted);
            let left: Vec<&SwarmTask> = left.filter(|task| ids.contains(&task.service) || has(task)).collect();
            if left.is_empty() || begun.elapsed() >= self.patience {
                let called = |task: &&SwarmTask| format!("a task on {}", now.node_name(&task.node));
                return Ok(left.iter().map(called).collect());
            }
            self.pause().await?;
        }
    }

    /// Makes and changes services as those that they wait for run, until all run or have failed.
    pub async fn watch(&self, steps: &Steps<'_>, mut all: Vec<Watched>) -> Result<(), Error> {
        let ids = (self.swarm.ids(SwarmKind::Secret).await?, self.swarm.ids(SwarmKind::Config).await?);
        let mut failed: Vec<(String, String)> = Vec::new();
        let mut begins: BTreeSet<usize> = BTreeSet::new();
        // those that the port of another one keeps waiting
        let mut refused: BTreeSet<usize> = BTreeSet::new();
        // those that have given a port up, and when
        let mut freed: BTreeMap<usize, Instant> = BTreeMap::new();
        loop {
            self.go_on()?;
            let observed = self.swarm.stacks(&stack_filter(self.stack)).await?;
            let mut sent = false;
            for index in 0..all.len() {
                let Some(next) = begin(&all, index) else { continue };
                let Some(one) = all.get(index) else { continue };
                let id = step_id(SwarmKind::Service, &one.name);
                let stage = match next {
                    Next::Skip(because) => {
                        steps.skipped(&id, &because);
                        Stage::Failed
                    }
                    Next::Begin => {
                        if begins.insert(index) {
                            steps.start(&id);
                        }
                        let change = one.change.as_ref();
                        let kept = change.is_some_and(|change| change.act == SwarmAct::Keep);
                        let found = observed.service(&one.name);
                        let begun = begun(&observed, found, kept);
                        match self.send(change, found, &ids).await {
                            Ok(()) => {
                                sent = true;
                                // what was to end first had time of its own
                                Stage::Runs(Begun { since: Instant::now(), ..begun })
                            }
                            Err(error) if is_of_port(&error) && may_be_freed(&all, index, &refused, &freed) => {
                                if refused.insert(index) {
                                    steps.waits(&id, error.to_string());
                                }
                                continue;
                            }
                            Err(error) => {
                                let has_port = holder(&all, index, &observed, &freed).filter(|_| is_of_port(&error));
                                let error = match has_port {
                                    Some((other, service, spec)) => {
                                        freed.insert(other, Instant::now());
                                        steps.waits(&id, format!("{} to give a port up", service.name));
                                        match self.swarm.update(service, &spec).await {
                                            Ok(()) => {
                                                sent = true;
                                                // this look shows that service as it was
                                                break;
                                            }
                                            Err(error) => error.into(),
                                        }
                                    }
                                    None => error,
                                };
                                steps.failed(&id, &error);
                                failed.push((one.name.clone(), error.to_string()));
                                sent = true;
                                Stage::Failed
                            }
                        }
                    }
                };
                refused.remove(&index);
                if let Some(one) = all.get_mut(index) {
                    one.stage = stage;
                }
            }
            if sent {
                // this look is older than what was sent
                continue;
            }
            for one in &mut all {
                let Stage::Runs(begun) = &mut one.stage else { continue };
                let id = step_id(SwarmKind::Service, &one.name);
                match self.judge(&observed, &one.name, begun) {
                    Standing::Ready => {
                        steps.done(&id, None);
                        one.stage = Stage::Ready;
                    }
                    Standing::Waiting(reason) => {
                        if begun.last != reason {
                            steps.waits(&id, reason.clone());
                            begun.last = reason;
                        }
                    }
                    Standing::Failed { reason, container } => {
                        let reason = self.with_log(reason, container).await;
                        steps.failed(&id, reason.lines().next().unwrap_or_default());
                        failed.push((one.name.clone(), reason));
                        one.stage = Stage::Failed;
                    }
                }
            }
            if all.iter().all(|one| matches!(one.stage, Stage::Ready | Stage::Failed)) {
                break;
            }
            self.pause().await?;
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(DeployError::NotRunning { stack: self.stack.to_owned(), failed }.into()),
        }
    }

    fn judge(&self, observed: &ObservedSwarm, name: &str, begun: &mut Begun) -> Standing {
        let waited = begun.since.elapsed();
        let standing = match observed.service(name) {
            Some(service) => {
                let unplaced = observed.tasks_of(service).filter(|task| task.state == "pending");
                let now = Instant::now();
                // its time begins when nothing is in its way any more
                let busy = observed.tasks_of(service).any(|task| is_leaving(task, &observed.nodes));
                let first = |id: &String| begun.pending.get(id).copied().filter(|_| !busy).unwrap_or(now);
                begun.pending = unplaced.map(|task| (task.id.clone(), first(&task.id))).collect();
                let seen = begun.pending.iter().map(|(id, since)| (id.clone(), since.elapsed()));
                let pending: BTreeMap<String, Duration> = seen.collect();
                look(observed, service, begun.before.as_deref(), &begun.old, (waited, &pending)).standing()
            }
            None => Standing::Failed { reason: "somebody removed it".to_owned(), container: None },
        };
        match standing {
            Standing::Ready => {
                let since = *begun.steady.get_or_insert_with(Instant::now);
                match begun.kept || since.elapsed() >= STEADY {
                    true => Standing::Ready,
                    false => Standing::Waiting("running, and watched for a moment".to_owned()),
                }
            }
            Standing::Waiting(reason) => {
                (begun.steady, begun.kept) = (None, false);
                match waited > self.patience {
                    true => Standing::Failed {
                        reason: format!("not running after {}: {reason}", crate::words::duration(self.patience)),
                        container: None,
                    },
                    false => Standing::Waiting(reason),
                }
            }
            failed @ Standing::Failed { .. } => failed,
        }
    }

    /// With the last lines that the task said, where its container is on the engine that is asked.
    async fn with_log(&self, reason: String, container: Option<String>) -> String {
        use futures_util::StreamExt as _;
        let Some(container) = container else { return reason };
        let options = LogOptions { tail: Some(READ), timestamps: true, ..LogOptions::default() };
        let Ok(lines) = self.engine.logs(&container, &options).await else { return reason };
        let lines: Vec<LogLine> = lines.filter_map(async |line| line.ok()).collect().await;
        let lines = last_said(&lines).into_iter().map(|line| format!("\n    {line}"));
        reason + &lines.collect::<String>()
    }

    async fn send(
        &self,
        change: Option<&SwarmChange>,
        found: Option<&SwarmService>,
        ids: &(BTreeMap<String, String>, BTreeMap<String, String>),
    ) -> Result<(), Error> {
        let Some(SwarmChange { act, body: Some(body), .. }) = change else { return Ok(()) };
        let body = with_ids(body, &ids.0, &ids.1);
        match (act, found) {
            (SwarmAct::Update, Some(found)) => Ok(self.swarm.update(found, &body).await?),
            (SwarmAct::Replace, Some(found)) => {
                self.swarm.remove(SwarmKind::Service, &found.id).await?;
                let wanted = held(&body);
                if !wanted.is_empty() {
                    let left = self.ended(&[&found.id].into(), &wanted).await?;
                    if !left.is_empty() {
                        return Err(Error::said(format!("what it ran before has not ended: {}", left.join(", "))));
                    }
                }
                Ok(self.swarm.create(SwarmKind::Service, &body).await.map(drop)?)
            }
            _ => Ok(self.swarm.create(SwarmKind::Service, &body).await.map(drop)?),
        }
    }

    /// Removes what the stack no longer has.
    pub async fn prune(&self, steps: &Steps<'_>, gone: &[SwarmChange]) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        let observed = self.swarm.stacks(&stack_filter(self.stack)).await?;
        for change in gone {
            let id = step_id(change.kind, &change.name);
            steps.start(&id);
            let objects = match change.kind {
                SwarmKind::Network => &observed.networks,
                SwarmKind::Secret => &observed.secrets,
                SwarmKind::Config => &observed.configs,
                SwarmKind::Service => &Vec::new(),
            };
            let object = objects.iter().find(|object| object.name == change.name).map(|object| &object.id);
            let found = object.or_else(|| observed.service(&change.name).map(|service| &service.id));
            if let Some(found) = found {
                let removed = self.removed(change.kind, found).await;
                removed.inspect_err(|error| steps.failed(&id, error))?;
            }
            steps.done(&id, None);
        }
        Ok(())
    }

    /// Removes something that may be in use for a moment more.
    async fn removed(&self, kind: SwarmKind, id: &str) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match self.swarm.remove(kind, id).await {
                Err(EngineError::Conflict { .. } | EngineError::Other { .. })
                    if kind != SwarmKind::Service && begun.elapsed() < LEAVING =>
                {
                    self.pause().await?;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// The last lines, as they were written: an engine takes them from two streams, and may store one of these first.
fn last_said(lines: &[LogLine]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<u8>)> = lines.iter().map(|line| split(&line.bytes)).collect();
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    let earlier = lines.len().saturating_sub(TAIL);
    lines.iter().skip(earlier).map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
}

/// It runs nothing any more. The tasks of a job that is done are listed for as long as the swarm remembers them.
pub(super) fn has_ended(task: &SwarmTask) -> bool {
    matches!(task.state.as_str(), "complete" | "shutdown" | "failed" | "rejected" | "orphaned")
}

/// What a service that is gone still runs. What a node was running when it went away is never seen to end.
fn is_left(observed: &ObservedSwarm, task: &SwarmTask) -> bool {
    let is_up = observed.nodes.get(&task.node).is_none_or(|node| node.state != "down");
    is_up && !has_ended(task) && observed.services.iter().all(|service| service.id != task.service)
}

/// Another service publishes the port, as a manager says it.
fn is_of_port(error: &Error) -> bool {
    error.to_string().contains("is already in use by service")
}

/// Whether another service may yet give a port up: one that changes now, or whose turn it is. What was given up is free
/// when the swarm's own bookkeeper has come to it.
fn may_be_freed(all: &[Watched], index: usize, refused: &BTreeSet<usize>, freed: &BTreeMap<usize, Instant>) -> bool {
    let may = |(other, one): (usize, &Watched)| match one.stage {
        Stage::Runs(_) => true,
        Stage::Waits => !refused.contains(&other) && begin(all, other).is_some(),
        Stage::Ready | Stage::Failed => false,
    };
    let settles = |since: &Instant| since.elapsed() < SETTLES;
    freed.values().any(settles) || all.iter().enumerate().filter(|(other, _)| *other != index).any(may)
}

/// A service that has a port which another one is refused, is itself to have it no longer and cannot begin before that
/// one: the two exchange their ports, or it depends on that one. As it is without that port.
fn holder<'a>(
    all: &[Watched],
    index: usize,
    observed: &'a ObservedSwarm,
    freed: &BTreeMap<usize, Instant>,
) -> Option<(usize, &'a SwarmService, Value)> {
    let wanted = all.get(index)?.change.as_ref()?.body.as_ref()?;
    let waiting = all.iter().enumerate().filter(|(other, one)| *other != index && matches!(one.stage, Stage::Waits));
    waiting.filter(|(other, _)| !freed.contains_key(other)).find_map(|(other, one)| {
        let next = one.change.as_ref()?.body.as_ref()?;
        let service = observed.service(&one.name)?;
        Some((other, service, without_ports(service, next, wanted)?))
    })
}

enum Next {
    Begin,
    Skip(String),
}

/// Whether it is a service's turn.
fn begin(all: &[Watched], index: usize) -> Option<Next> {
    let one = all.get(index).filter(|one| matches!(one.stage, Stage::Waits))?;
    let needed = || all.iter().filter(|other| one.waits.contains(&other.name));
    if let Some(failed) = needed().find(|other| matches!(other.stage, Stage::Failed)) {
        return Some(Next::Skip(format!("{} does not run", failed.name)));
    }
    needed().all(|other| matches!(other.stage, Stage::Ready)).then_some(Next::Begin)
}

fn begun(observed: &ObservedSwarm, found: Option<&SwarmService>, kept: bool) -> Begun {
    let failed = found.into_iter().flat_map(|service| {
        observed.tasks_of(service).filter(move |task| is_failure(service, task)).map(|task| task.id.clone())
    });
    let old: BTreeSet<String> = failed.collect();
    Begun {
        since: Instant::now(),
        before: found.and_then(|service| service.update.as_ref()).map(|update| update.started.clone()),
        // what ended again and again happens to run now and then
        kept: kept && old.is_empty(),
        old,
        pending: BTreeMap::new(),
        steady: None,
        last: String::new(),
    }
}

pub(super) fn look<'a>(
    observed: &'a ObservedSwarm,
    service: &'a SwarmService,
    before: Option<&'a str>,
    old: &'a BTreeSet<String>,
    (waited, pending): (Duration, &'a BTreeMap<String, Duration>),
) -> SwarmLook<'a> {
    let tasks = observed.tasks_of(service).collect();
    SwarmLook { service, tasks, nodes: &observed.nodes, before, old, waited, pending }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_wrote_is_told_in_its_order() {
        let line = |stderr: bool, text: &str| LogLine { stderr, bytes: text.into() };
        let at = |second: u32, stderr: bool, text: &str| {
            line(stderr, &format!("2026-11-21T01:24:{second:02}.123456789Z {text}"))
        };
        let both = [at(2, true, "panic"), at(1, false, "starting"), at(3, false, "bye"), at(2, true, "at main")];
        assert_eq!(last_said(&both), ["starting", "panic", "at main", "bye"]);
        let many: Vec<LogLine> = (0..7).rev().map(|second| at(second, false, &second.to_string())).collect();
        assert_eq!(last_said(&many), ["2", "3", "4", "5", "6"]);
        // from an engine that says no times
        assert_eq!(last_said(&[line(true, "b c"), line(false, "a")]), ["b c", "a"]);
    }
}
