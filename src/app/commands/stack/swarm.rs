//! `stack deploy`, `remove`, `scale` and `status` on a swarm of Docker engines, through the API of a manager.
//!
//! A swarm starts everything at once and knows no order: each service is made here when those that it waits for
//! run, and is watched until it runs itself or its tasks say why not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::StackDeploy;
use super::images::Supply;
use super::steps::{Steps, step};
use crate::app::{DeployError, Error, Session};
use crate::compile::targets::{
    Pin, Rendered, Running, STACK_LABEL, Standing, SwarmAct, SwarmChange, SwarmChanges, SwarmLook, SwarmStack, foreign,
    scaled, swarm_changes, with_ids,
};
use crate::engine::{Engine, EngineError, LogOptions, Swarm};
use crate::event::Doing;
use crate::host::pause;
use crate::model::{ObservedSwarm, SwarmKind, SwarmRole, SwarmService, label};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// A service has to run for so long before it counts as running: what ends at once has not run.
const STEADY: Duration = Duration::from_secs(2);
/// A network is free when the last of its tasks has ended.
const LEAVING: Duration = Duration::from_secs(60);
/// Lines of the log of what failed.
const TAIL: u64 = 5;

/// What was made of a stack, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deployed {
    pub changes: Vec<DeployedChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedChange {
    pub act: SwarmAct,
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
}

impl Deployed {
    fn of(changes: &SwarmChanges) -> Self {
        let change = |change: &SwarmChange| DeployedChange {
            act: change.act,
            kind: change.kind.to_string(),
            name: change.name.clone(),
            what: change.what.clone(),
        };
        Self { changes: changes.all.iter().map(change).collect() }
    }
}

/// Who takes orders for a swarm, and how many nodes it has.
async fn manager(session: &Session) -> Result<(Arc<dyn Engine>, u64), Error> {
    let engine = session.engine()?;
    let Some(swarm) = engine.swarm() else {
        return Err(DeployError::NoSwarms { engine: engine.facts().await?.engine }.into());
    };
    match swarm.role().await? {
        SwarmRole::Manager { nodes } => Ok((engine, nodes)),
        role => Err(DeployError::Role { endpoint: session.endpoint().unwrap_or_default(), role }.into()),
    }
}

fn orders(engine: &Arc<dyn Engine>) -> Result<&dyn Swarm, Error> {
    // [`manager`] has looked
    engine.swarm().ok_or_else(|| DeployError::NoSwarms { engine: String::new() }.into())
}

fn stack_filter(stack: &str) -> String {
    format!("{STACK_LABEL}={stack}")
}

/// Makes a swarm have this stack: what is not there yet is made, what is otherwise is changed, what it no longer
/// has is removed, and all of it runs.
///
/// # Errors
/// Before anything is made: no manager, something that is external and not there, a stack of somebody else's, images that
/// nodes cannot have. Afterwards: [`DeployError::NotRunning`] with what the tasks say.
pub async fn deploy_to_swarm(session: &Session, name: &str, request: &StackDeploy<'_>) -> Result<Deployed, Error> {
    let Rendered::Swarm(stack) = &request.translation.rendered else { return Ok(Deployed::default()) };
    let platform = &request.loaded.platform.name;
    let (engine, nodes) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = swarm.stacks(&stack_filter(name)).await?;
    let others = foreign(&observed, platform.as_str());
    if !others.is_empty() {
        return Err(DeployError::Foreign { stack: name.to_owned(), names: others }.into());
    }
    externals(swarm, stack, &observed).await?;
    without_ipvs(session, stack).await;
    let pins = Supply { session, engine: &engine, nodes, request }.pins(stack).await?;
    let changes = changes(stack, &observed, &pins, session);
    let deployed = Deployed::of(&changes);
    if request.dry_run {
        return Ok(deployed);
    }
    let _lock = session.lock(platform).await?;
    let work = Work { session, engine: &engine, swarm, stack: name, patience: request.patience };
    work.carry_out(changes, &request.translation.waits).await?;
    Ok(deployed)
}

fn changes(
    stack: &SwarmStack,
    observed: &ObservedSwarm,
    pins: &BTreeMap<String, Pin>,
    session: &Session,
) -> SwarmChanges {
    let changes = swarm_changes(stack, observed, pins);
    for network in &changes.fixed {
        session.events.warn(format!(
            "the network {network} is not as the files say: a swarm changes no network; remove the stack and deploy it \
             again to have it so"
        ));
    }
    changes
}

/// What has to be there is there.
async fn externals(swarm: &dyn Swarm, stack: &SwarmStack, observed: &ObservedSwarm) -> Result<(), Error> {
    let mut missing = Vec::new();
    let networks: BTreeSet<&String> = observed.network_names.values().collect();
    let absent = stack.external_networks.iter().filter(|name| !networks.contains(name));
    missing.extend(absent.map(|name| (SwarmKind::Network, name.clone())));
    for (kind, names) in [(SwarmKind::Secret, &stack.external_secrets), (SwarmKind::Config, &stack.external_configs)] {
        if names.is_empty() {
            continue;
        }
        let there = swarm.ids(kind).await?;
        missing.extend(names.iter().filter(|name| !there.contains_key(*name)).map(|name| (kind, name.clone())));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(DeployError::Missing { missing }.into()),
    }
}

/// A kernel without IPVS has neither virtual addresses nor the routing mesh. Only where it is this machine's.
async fn without_ipvs(session: &Session, stack: &SwarmStack) {
    let host = session.host();
    let near = session.endpoint().is_some_and(|endpoint| endpoint.starts_with("unix://"));
    if !near || host.facts().os != "linux" || host.exists(Path::new("/proc/net/ip_vs")).await {
        return;
    }
    let release = host.read(Path::new("/proc/sys/kernel/osrelease")).await.unwrap_or_default();
    let modules = Path::new("/lib/modules").join(String::from_utf8_lossy(&release).trim());
    for list in ["modules.dep", "modules.builtin"] {
        let text = host.read(&modules.join(list)).await.unwrap_or_default();
        if text.windows(6).any(|word| word == b"/ip_vs") {
            return;
        }
    }
    let said = |service: &Value, pointer: &str| service.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let named =
        |services: Vec<&Value>| crate::words::list(services.into_iter().filter_map(|service| service["Name"].as_str()));
    let joined = |service: &&Value| service.pointer("/TaskTemplate/Networks").is_some();
    let virtual_address = |service: &&Value| said(service, "/EndpointSpec/Mode").as_deref() != Some("dnsrr");
    let services: Vec<&Value> = stack.services.iter().filter(joined).filter(virtual_address).collect();
    if !services.is_empty() {
        session.events.warn(format!(
            "this kernel has no IPVS: the name of {} leads to a virtual address that nothing answers at; \
             `deploy: {{endpoint_mode: dnsrr}}` makes it lead to the tasks themselves",
            named(services)
        ));
    }
    let meshed = |service: &&Value| {
        let ports = service.pointer("/EndpointSpec/Ports").and_then(Value::as_array);
        ports.into_iter().flatten().any(|port| port["PublishMode"] == "ingress")
    };
    let services: Vec<&Value> = stack.services.iter().filter(meshed).collect();
    if !services.is_empty() {
        session.events.warn(format!(
            "this kernel has no IPVS: the ports of {} are published by the routing mesh, which does not answer; \
             `mode: host` publishes them on the nodes of the tasks",
            named(services)
        ));
    }
}

/// One service on its way.
struct Watched {
    name: String,
    change: Option<SwarmChange>,
    waits: Vec<String>,
    stage: Stage,
}

enum Stage {
    Waits,
    Runs(Begun),
    Ready,
    Failed,
}

struct Begun {
    since: Instant,
    /// When the update had begun that was the last one.
    before: Option<String>,
    /// Tasks that had failed.
    old: BTreeSet<String>,
    /// Since when it has been ready.
    steady: Option<Instant>,
    /// Nothing was sent: it need not show that it goes on running.
    kept: bool,
    last: String,
}

struct Work<'a> {
    session: &'a Session,
    engine: &'a Arc<dyn Engine>,
    swarm: &'a dyn Swarm,
    stack: &'a str,
    patience: Duration,
}

fn step_id(kind: SwarmKind, name: &str) -> String {
    format!("{kind} {name}")
}

impl Work<'_> {
    /// `shop_web` as the stack calls it.
    fn short<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
    }

    async fn carry_out(&self, changes: SwarmChanges, waits: &BTreeMap<String, Vec<String>>) -> Result<(), Error> {
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
                created.inspect_err(|error| steps.failed(&id, &error.to_string()))?;
            }
            steps.done(&id, None);
        }
        self.watch(&steps, watched).await?;
        // what an update that failed goes back to has to stay
        self.prune(&steps, &gone).await
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.session.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    async fn pause(&self) -> Result<(), Error> {
        if pause(PAUSE, &self.session.cancel).await { Ok(()) } else { Err(Error::Cancelled) }
    }

    /// Makes and changes services as those that they wait for run, until all run or have failed.
    async fn watch(&self, steps: &Steps<'_>, mut all: Vec<Watched>) -> Result<(), Error> {
        let ids = (self.swarm.ids(SwarmKind::Secret).await?, self.swarm.ids(SwarmKind::Config).await?);
        let mut failed: Vec<(String, String)> = Vec::new();
        loop {
            self.go_on()?;
            let observed = self.swarm.stacks(&stack_filter(self.stack)).await?;
            let mut sent = false;
            for index in 0..all.len() {
                let Some(next) = begin(&all, index) else { continue };
                let Some(one) = all.get_mut(index) else { continue };
                let id = step_id(SwarmKind::Service, &one.name);
                match next {
                    Next::Skip(because) => {
                        steps.skipped(&id, &because);
                        one.stage = Stage::Failed;
                    }
                    Next::Begin => {
                        steps.start(&id);
                        let change = one.change.take();
                        let kept = change.as_ref().is_some_and(|change| change.act == SwarmAct::Keep);
                        let found = observed.service(&one.name);
                        let begun = begun(&observed, found, kept);
                        one.stage = match self.send(change, found, &ids).await {
                            Ok(()) => Stage::Runs(begun),
                            Err(error) => {
                                steps.failed(&id, &error.to_string());
                                failed.push((one.name.clone(), error.to_string()));
                                Stage::Failed
                            }
                        };
                        sent = true;
                    }
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
            Some(service) => look(observed, service, begun.before.as_deref(), &begun.old, waited).standing(),
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
                begun.steady = None;
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
        let options = LogOptions { tail: Some(TAIL), ..LogOptions::default() };
        let Ok(lines) = self.engine.logs(&container, &options).await else { return reason };
        let lines = lines.filter_map(async |line| line.ok());
        let lines: Vec<String> =
            lines.map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect::<Vec<_>>().await;
        let lines = lines.into_iter().map(|line| format!("\n    {line}"));
        reason + &lines.collect::<String>()
    }

    async fn send(
        &self,
        change: Option<SwarmChange>,
        found: Option<&SwarmService>,
        ids: &(BTreeMap<String, String>, BTreeMap<String, String>),
    ) -> Result<(), Error> {
        let Some(SwarmChange { act, body: Some(body), .. }) = change else { return Ok(()) };
        let body = with_ids(&body, &ids.0, &ids.1);
        match (act, found) {
            (SwarmAct::Update, Some(found)) => Ok(self.swarm.update(found, &body).await?),
            (SwarmAct::Replace, Some(found)) => {
                self.swarm.remove(SwarmKind::Service, &found.id).await?;
                Ok(self.swarm.create(SwarmKind::Service, &body).await.map(drop)?)
            }
            _ => Ok(self.swarm.create(SwarmKind::Service, &body).await.map(drop)?),
        }
    }

    /// Removes what the stack no longer has.
    async fn prune(&self, steps: &Steps<'_>, gone: &[SwarmChange]) -> Result<(), Error> {
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
                removed.inspect_err(|error| steps.failed(&id, &error.to_string()))?;
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
    let failed = found.into_iter().flat_map(|service| observed.tasks_of(service));
    let failed = failed.filter(|task| matches!(task.state.as_str(), "failed" | "rejected" | "orphaned"));
    Begun {
        since: Instant::now(),
        before: found.and_then(|service| service.update.as_ref()).map(|update| update.started.clone()),
        old: failed.map(|task| task.id.clone()).collect(),
        steady: None,
        kept,
        last: String::new(),
    }
}

fn look<'a>(
    observed: &'a ObservedSwarm,
    service: &'a SwarmService,
    before: Option<&'a str>,
    old: &'a BTreeSet<String>,
    waited: Duration,
) -> SwarmLook<'a> {
    SwarmLook { service, tasks: observed.tasks_of(service).collect(), nodes: &observed.nodes, before, old, waited }
}

/// What a swarm has of a stack; nothing of it is an error that names those that it has.
async fn found(swarm: &dyn Swarm, stack: &str, platform: &str) -> Result<ObservedSwarm, Error> {
    let observed = swarm.stacks(&stack_filter(stack)).await?;
    let nothing = observed.services.is_empty() && observed.networks.is_empty();
    if nothing && observed.secrets.is_empty() && observed.configs.is_empty() {
        let all = swarm.stacks(STACK_LABEL).await?;
        return Err(DeployError::UnknownStack { name: stack.to_owned(), known: stacks_of(&all, platform) }.into());
    }
    let others = foreign(&observed, platform);
    if !others.is_empty() {
        return Err(DeployError::Foreign { stack: stack.to_owned(), names: others }.into());
    }
    Ok(observed)
}

/// Stacks that this platform has deployed.
fn stacks_of(all: &ObservedSwarm, platform: &str) -> Vec<String> {
    let ours = |service: &&SwarmService| service.labels.get(label::DEPLOYED_BY).is_some_and(|by| by == platform);
    let names = all.services.iter().filter(ours).filter_map(|service| service.labels.get(STACK_LABEL).cloned());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Removes a stack and waits until it is gone. Volumes stay, on the nodes where they are.
///
/// # Errors
/// No manager, no such stack, a stack of somebody else's.
pub async fn remove_from_swarm(session: &Session, stack: &str, platform: &str) -> Result<Deployed, Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = found(swarm, stack, platform).await?;
    let changes = swarm_changes(&SwarmStack::default(), &observed, &BTreeMap::new());
    let deployed = Deployed::of(&changes);
    let work = Work { session, engine: &engine, swarm, stack, patience: LEAVING };
    let infos = changes.all.iter().map(|change| {
        let text = format!("remove {} {}", change.kind, change.name);
        let group = match change.kind {
            SwarmKind::Service => work.short(&change.name).to_owned(),
            kind => format!("{kind}s"),
        };
        step(step_id(change.kind, &change.name), &group, text, Doing::Remove, Vec::new())
    });
    let steps = Steps::announced(&session.events, &session.command, stack, infos.collect(), Vec::new());
    work.prune(&steps, &changes.all).await?;
    // a service is gone at once, and its tasks end in their own time
    let begun = Instant::now();
    loop {
        // the tasks of a job that is done are listed for as long as the swarm remembers them
        let tasks = swarm.stacks(&stack_filter(stack)).await?.tasks;
        let over = |state: &str| matches!(state, "complete" | "shutdown" | "failed" | "rejected" | "orphaned");
        if tasks.iter().all(|task| over(&task.state)) || begun.elapsed() >= LEAVING {
            break;
        }
        work.pause().await?;
    }
    Ok(deployed)
}

/// Gives services of a stack other numbers of replicas, and waits until they run.
///
/// # Errors
/// No manager, no such stack or service, a service that has no replicas.
pub async fn scale_on_swarm(
    session: &Session,
    stack: &str,
    platform: &str,
    numbers: &BTreeMap<String, u64>,
    patience: Duration,
) -> Result<(), Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = found(swarm, stack, platform).await?;
    let work = Work { session, engine: &engine, swarm, stack, patience };
    let known = || observed.services.iter().map(|service| work.short(&service.name).to_owned()).collect();
    let mut watched = Vec::new();
    for (name, replicas) in numbers {
        let service = observed.services.iter().find(|service| work.short(&service.name) == name);
        let Some(service) = service else {
            return Err(Error::UnknownService { names: vec![name.clone()], known: known() });
        };
        let Some(body) = scaled(service, *replicas) else {
            return Err(DeployError::NoReplicas { service: name.clone() }.into());
        };
        let act = SwarmAct::Update;
        let (kind, what) = (SwarmKind::Service, Vec::new());
        let change = SwarmChange { act, kind, name: service.name.clone(), body: Some(body), what };
        let (waits, stage) = (Vec::new(), Stage::Waits);
        watched.push(Watched { name: service.name.clone(), change: Some(change), waits, stage });
    }
    let infos = watched.iter().map(|one| {
        let (id, short) = (step_id(SwarmKind::Service, &one.name), work.short(&one.name));
        let number = numbers.get(short).copied().unwrap_or_default();
        step(id, short, format!("scale service {} to {number}", one.name), Doing::Await, Vec::new())
    });
    let infos = infos.collect();
    let steps = Steps::announced(&session.events, &session.command, stack, infos, Vec::new());
    work.watch(&steps, watched).await
}

/// A service of a stack, as its swarm has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedService {
    pub stack: String,
    pub service: String,
    /// `replicated`, `global`, `replicated job`, `global job`
    pub mode: &'static str,
    pub running: usize,
    pub wanted: usize,
    pub image: String,
    /// `8080->80/tcp`
    pub ports: Vec<String>,
    pub tasks: Vec<DeployedTask>,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedTask {
    pub node: String,
    pub slot: Option<u64>,
    pub state: String,
    pub since: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How the services of a stack stand, or of all that this platform has deployed.
///
/// # Errors
/// No manager, no such stack.
pub async fn status_on_swarm(
    session: &Session,
    stack: Option<&str>,
    platform: &str,
) -> Result<Vec<DeployedService>, Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = match stack {
        Some(stack) => found(swarm, stack, platform).await?,
        None => swarm.stacks(STACK_LABEL).await?,
    };
    let none = BTreeSet::new();
    let ours = observed
        .services
        .iter()
        .filter(|service| service.labels.get(label::DEPLOYED_BY).is_some_and(|by| by == platform));
    let rows = ours.map(|service| {
        let last = service.update.as_ref().map(|update| update.started.as_str());
        // an update that ended long ago is no news, unless it is still in the way
        let stuck = service.update.as_ref().is_some_and(|update| update.state.ends_with("paused"));
        let look = look(&observed, service, last.filter(|_| !stuck), &none, Duration::MAX);
        let Running { running, wanted } = look.running();
        let trouble = match look.standing() {
            Standing::Ready => None,
            Standing::Waiting(reason) | Standing::Failed { reason, .. } => Some(reason),
        };
        row(&observed, service, (running, wanted), trouble)
    });
    let mut rows: Vec<DeployedService> = rows.collect();
    rows.sort_by(|a, b| (&a.stack, &a.service).cmp(&(&b.stack, &b.service)));
    Ok(rows)
}

fn row(
    observed: &ObservedSwarm,
    service: &SwarmService,
    (running, wanted): (usize, usize),
    trouble: Option<String>,
) -> DeployedService {
    let stack = service.labels.get(STACK_LABEL).cloned().unwrap_or_default();
    let short = service.name.strip_prefix(&stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or(&service.name);
    let mode = match service.spec["Mode"].as_object().and_then(|mode| mode.keys().next()).map(String::as_str) {
        Some("Global") => "global",
        Some("ReplicatedJob") => "replicated job",
        Some("GlobalJob") => "global job",
        _ => "replicated",
    };
    let image = service.spec.pointer("/TaskTemplate/ContainerSpec/Image").and_then(Value::as_str).unwrap_or_default();
    let ports = service.spec.pointer("/EndpointSpec/Ports").and_then(Value::as_array).into_iter().flatten();
    let ports = ports.map(|port| {
        let number = |key: &str| port[key].as_u64().map(|number| number.to_string());
        let (target, protocol) = (number("TargetPort").unwrap_or_default(), port["Protocol"].as_str().unwrap_or("tcp"));
        match number("PublishedPort") {
            Some(published) => format!("{published}->{target}/{protocol}"),
            None => format!("{target}/{protocol}"),
        }
    });
    let mut tasks: Vec<&crate::model::SwarmTask> = observed
        .tasks_of(service)
        .filter(|task| task.desired != "shutdown" || matches!(task.state.as_str(), "failed" | "rejected"))
        .collect();
    tasks.sort_by_key(|task| (task.slot, task.since.clone()));
    DeployedService {
        service: short.to_owned(),
        stack,
        mode,
        running,
        wanted,
        image: image.split('@').next().unwrap_or(image).to_owned(),
        ports: ports.collect(),
        tasks: tasks
            .into_iter()
            .map(|task| DeployedTask {
                node: observed.nodes.get(&task.node).unwrap_or(&task.node).clone(),
                slot: task.slot,
                state: task.state.clone(),
                since: task.since.clone(),
                error: task.error.clone(),
            })
            .collect(),
        trouble,
    }
}
