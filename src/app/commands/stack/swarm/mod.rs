//! `stack deploy`, `remove`, `scale` and `status` on a swarm of Docker engines, through the API of a manager.
//!
//! A swarm starts everything at once and knows no order: each service is made here when those that it waits for
//! run, and is watched until it runs itself or its tasks say why not.

mod checks;
mod rows;
mod work;
#[cfg(test)]
mod work_tests;

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
    Pin, Rendered, STACK_LABEL, SwarmAct, SwarmChange, SwarmChanges, SwarmStack, foreign, scaled, swarm_changes,
};
use crate::engine::{Engine, Swarm};
use crate::event::Doing;
use crate::model::{ObservedSwarm, SwarmKind, SwarmRole, SwarmService, label};

pub use checks::validate_on_swarm;
pub use rows::{DeployedService, status_on_swarm};
use work::{LEAVING, Stage, Watched, Work, has_ended, step_id};

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
    let observed = ours(swarm.stacks(&stack_filter(name)).await?, name, platform.as_str())?;
    externals(swarm, stack, &observed).await?;
    without_ipvs(session, stack).await;
    let pins = Supply { session, engine: &engine, nodes, request }.pins(stack).await?;
    if request.dry_run {
        let changes = changes(stack, &observed, &pins, session);
        free(swarm, name, &changes).await?;
        return Ok(Deployed::of(&changes));
    }
    let _lock = session.lock(platform).await?;
    // another deployment of the stack may have ended since
    let observed = ours(swarm.stacks(&stack_filter(name)).await?, name, platform.as_str())?;
    let changes = changes(stack, &observed, &pins, session);
    free(swarm, name, &changes).await?;
    let deployed = Deployed::of(&changes);
    let work = Work { session, engine: &engine, swarm, stack: name, patience: request.patience };
    work.carry_out(changes, &request.translation.waits).await?;
    Ok(deployed)
}

/// What a swarm has of a stack, if all of it is this platform's.
fn ours(observed: ObservedSwarm, stack: &str, platform: &str) -> Result<ObservedSwarm, Error> {
    let names = foreign(&observed, platform);
    if names.is_empty() {
        return Ok(observed);
    }
    let objects = observed.networks.iter().chain(&observed.secrets).chain(&observed.configs);
    let labels = objects.map(|object| &object.labels).chain(observed.services.iter().map(|service| &service.labels));
    let by = labels.map(|labels| labels.get(label::DEPLOYED_BY));
    let by: BTreeSet<Option<&String>> = by.filter(|by| by.is_none_or(|by| by != platform)).collect();
    let by = by
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|by| by.len() == 1)
        .and_then(|by| by.first().copied().cloned());
    Err(DeployError::Foreign { stack: stack.to_owned(), names, by }.into())
}

/// Nothing that belongs to no stack has a name of what is to be made.
async fn free(swarm: &dyn Swarm, stack: &str, changes: &SwarmChanges) -> Result<(), Error> {
    let mut names = Vec::new();
    for kind in [SwarmKind::Network, SwarmKind::Secret, SwarmKind::Config, SwarmKind::Service] {
        let made = changes.all.iter().filter(|change| change.act == SwarmAct::Create && change.kind == kind);
        let made: Vec<&String> = made.map(|change| &change.name).collect();
        if !made.is_empty() {
            let there = swarm.ids(kind).await?;
            names.extend(made.into_iter().filter(|name| there.contains_key(*name)).cloned());
        }
    }
    match names.is_empty() {
        true => Ok(()),
        false => Err(DeployError::Foreign { stack: stack.to_owned(), names, by: None }.into()),
    }
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

/// What a swarm has of a stack; nothing of it is an error that names those that it has.
async fn found(swarm: &dyn Swarm, stack: &str, platform: &str) -> Result<ObservedSwarm, Error> {
    let observed = swarm.stacks(&stack_filter(stack)).await?;
    let nothing = observed.services.is_empty() && observed.networks.is_empty();
    if nothing && observed.secrets.is_empty() && observed.configs.is_empty() {
        let all = swarm.stacks(STACK_LABEL).await?;
        return Err(DeployError::UnknownStack { name: stack.to_owned(), known: stacks_of(&all, platform) }.into());
    }
    ours(observed, stack, platform)
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
        let tasks = swarm.stacks(&stack_filter(stack)).await?.tasks;
        if tasks.iter().all(has_ended) || begun.elapsed() >= LEAVING {
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
            let (stack, service) = (stack.to_owned(), name.clone());
            return Err(DeployError::UnknownService { stack, service, known: known() }.into());
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
