//! `start`, `stop` and `restart` of what exists: nothing is made, nothing is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{
    Condition, ContainerSpec, ContainerState, DependsOn, Hook, Observed, ObservedContainer, Readiness, Remedy,
    ResourceId, ResourceKind, Resources, label, macula,
};

use super::down::{Needs, runs};
use super::projects::{is_successor, was_renamed};
use super::reconcile::publishes;
use super::{Action, Cause, Conflict, Plan, Step, StepId, Verb};

/// For a container of which nothing but its labels is known.
const READY_BY_LABELS: Duration = Duration::from_secs(120);

/// Stops the running containers of these services, those that need others first.
pub fn stop(platform: &str, observed: &Observed, services: &BTreeSet<String>) -> Plan {
    let running: Vec<&ObservedContainer> = observed
        .containers
        .iter()
        .filter(|found| found.label(label::PLATFORM) == Some(platform))
        .filter(|found| found.label(label::SERVICE).is_some_and(|service| services.contains(service)))
        .filter(|found| runs(found) && found.label(label::RELAY).is_none())
        .collect();
    // also those that have ended: what needs them needs what they need
    let all: Vec<&ObservedContainer> =
        observed.containers.iter().filter(|found| found.label(label::PLATFORM) == Some(platform)).collect();
    let needs = Needs::of(&all);
    let steps = running.iter().map(|found| {
        let service = found.label(label::SERVICE).unwrap_or(&found.name);
        let after: Vec<StepId> = running
            .iter()
            .filter(|other| other.name != found.name && needs.depends_on(other, service))
            .map(|other| Verb::Stop.container(&other.name))
            .collect();
        step(
            Verb::Stop,
            &found.name,
            service,
            Action::Stop {
                container: found.name.clone(),
                grace: None,
                hooks: Hook::of(&found.labels, label::PRE_STOP),
            },
            after,
        )
    });
    Plan { steps: steps.collect(), ..Plan::default() }
}

/// Starts the containers of these services that do not run, in the order of their dependencies.
pub fn start(specs: &[ContainerSpec], observed: &Observed, services: &BTreeSet<String>) -> Plan {
    let stopped = |spec: &&ContainerSpec| {
        services.contains(&spec.service)
            && observed.container(&spec.name).is_some_and(|found| {
                // a job that has done its work is not started again
                let done = found.exit_code == Some(0) && spec.readiness.one_shot;
                found.state != ContainerState::Running && !(found.state == ContainerState::Exited && done)
            })
    };
    let stopped: Vec<&ContainerSpec> = specs.iter().filter(stopped).collect();
    Plan { steps: starts(&stopped, specs, &BTreeMap::new()), ..Plan::default() }
}

/// Both: everything is stopped before its dependencies are, and comes back after them.
pub fn restart(platform: &str, specs: &[ContainerSpec], observed: &Observed, services: &BTreeSet<String>) -> Plan {
    let services = &with_followers(specs, observed, services);
    let mut plan = stop(platform, observed, services);
    let stops: BTreeMap<String, StepId> =
        plan.steps.iter().map(|step| (step.resource.name.clone(), step.id.clone())).collect();
    let chosen: Vec<&ContainerSpec> = specs
        .iter()
        .filter(|spec| services.contains(&spec.service) && observed.container(&spec.name).is_some())
        .collect();
    plan.steps.extend(starts(&chosen, specs, &stops));
    plan
}

/// Also the running services that depend on one of these with `restart: true`.
fn with_followers(specs: &[ContainerSpec], observed: &Observed, services: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = services.clone();
    loop {
        let follows = |spec: &&ContainerSpec| {
            !all.contains(&spec.service)
                && observed.container(&spec.name).is_some_and(runs)
                && spec.depends_on.iter().any(|dependency| dependency.restart && all.contains(&dependency.service))
        };
        let Some(follower) = specs.iter().find(follows) else { return all };
        all.insert(follower.service.clone());
    }
}

/// What the labels of the platform's containers say of them, for commands that do without its files: no probe
/// is known then, and a container counts as ready once it runs.
pub fn labelled_specs(platform: &str, observed: &Observed) -> Vec<ContainerSpec> {
    let ours = observed
        .containers
        .iter()
        .filter(|found| found.label(label::PLATFORM) == Some(platform) && found.label(label::RELAY).is_none());
    let spec = |found: &ObservedContainer| {
        let service = found.label(label::SERVICE)?;
        let needs = found.label(label::DEPENDS_ON).unwrap_or_default().split(',').filter(|name| !name.is_empty());
        // `db:service_healthy:true`
        let kinds = found.labels.get(&format!("{}depends_on", label::COMPOSE)).map(String::as_str).unwrap_or_default();
        let followed = |name: &str| {
            let of = |kind: &str| kind.split(':').next() == Some(name) && kind.ends_with(":true");
            kinds.split(',').any(of)
        };
        Some(ContainerSpec {
            name: found.name.clone(),
            stack: found.label(label::STACK).unwrap_or_default().to_owned(),
            service: service.to_owned(),
            labels: found.labels.clone(),
            depends_on: needs
                .map(|name| DependsOn {
                    service: name.to_owned(),
                    condition: Condition::ServiceHealthy,
                    required: true,
                    restart: followed(name),
                })
                .collect(),
            readiness: Readiness {
                probe: None,
                one_shot: found.label(label::ONE_SHOT) == Some("true"),
                timeout: READY_BY_LABELS,
                patient: false,
            },
            ..ContainerSpec::default()
        })
    };
    ours.filter_map(spec).collect()
}

/// Takes the removal of containers of other stacks out of a plan: what these stacks say was not read. What they need of
/// the stacks that were read stays with them. A project that was renamed is no other one: its containers go, and what
/// takes their place starts once they have stopped. Returns the services that stay, by stack; the error: what they publish
/// is wanted by others. `gone`: Compose files that are not there any more.
pub fn keep_other_stacks(
    plan: &mut Plan,
    wanted: &Resources,
    observed: &Observed,
    stacks: &BTreeSet<&str>,
    gone: &BTreeSet<PathBuf>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Vec<Conflict>> {
    let specs = &wanted.containers;
    let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut containers: Vec<(&ObservedContainer, &str)> = Vec::new();
    let orphan = |step: &Step| {
        let removed = step.cause == Cause::Orphaned && step.resource.kind == ResourceKind::Container;
        let found = observed.container(&step.resource.name).filter(|_| removed)?;
        Some((found, found.label(label::STACK)?, found.label(label::SERVICE).unwrap_or(&found.name)))
    };
    let renamed =
        |found: &ObservedContainer, stack: &str| !stacks.contains(stack) && was_renamed(found, wanted, observed, gone);
    let stays = |found: &ObservedContainer, stack: &str| !stacks.contains(stack) && !renamed(found, stack);
    let taken_over: Vec<&ObservedContainer> = plan
        .steps
        .iter()
        .filter_map(orphan)
        .filter(|(found, stack, _)| renamed(found, stack))
        .map(|(found, ..)| found)
        .collect();
    for step in plan.steps.iter_mut().filter(|step| matches!(step.action, Action::Start { .. })) {
        let Some(spec) = specs.iter().find(|spec| spec.name == step.resource.name) else { continue };
        let before = taken_over.iter().filter(|found| is_successor(spec, found));
        step.after.extend(before.map(|found| Verb::Stop.container(&found.name)));
        step.after.sort();
        step.after.dedup();
    }
    for (_, stack, service) in plan.steps.iter().filter_map(orphan).filter(|(found, stack, _)| stays(found, stack)) {
        kept.entry(stack.to_owned()).or_default().insert(service.to_owned());
    }
    if kept.is_empty() {
        return Ok(kept);
    }
    let needed = needed_by(kept.values().flatten(), observed);
    plan.steps.retain(|step| {
        let Some((found, stack, service)) = orphan(step) else { return true };
        if renamed(found, stack) || stacks.contains(stack) && !needed.contains(service) {
            return true;
        }
        if matches!(step.action, Action::Stop { .. }) && found.state == ContainerState::Running {
            containers.push((found, stack));
        }
        false
    });
    // they are in them
    plan.steps.retain(|step| step.cause != Cause::Orphaned || step.resource.kind != ResourceKind::Network);
    plan.cut();
    let mut conflicts = Vec::new();
    for step in &plan.steps {
        let Action::Start { container, .. } = &step.action else { continue };
        let Some(spec) = specs.iter().find(|spec| spec.name == *container) else { continue };
        for (found, stack) in containers.iter().filter(|(found, _)| publishes(found, spec)) {
            conflicts.push(Conflict {
                resource: step.resource.clone(),
                message: format!(
                    "it publishes a port of {}, which runs and belongs to the stack {stack}; that stack is not loaded now",
                    found.name
                ),
                port: None,
                external: false,
                remedies: vec![
                    macula("up --remove-orphans").why("to remove the containers of stacks that are not loaded").into(),
                    Remedy::say("or publish on another port, or give this project a platform of its own with `--name`"),
                ],
            });
        }
    }
    if conflicts.is_empty() { Ok(kept) } else { Err(conflicts) }
}

/// What these services need, and what that needs, by the labels of the containers.
fn needed_by<'a>(services: impl Iterator<Item = &'a String>, observed: &'a Observed) -> BTreeSet<&'a str> {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = services.map(String::as_str).collect();
    while let Some(service) = open.pop() {
        let own = observed.containers.iter().filter(|found| found.label(label::SERVICE) == Some(service));
        let needs = own.filter_map(|found| found.label(label::DEPENDS_ON)).flat_map(|needs| needs.split(','));
        open.extend(needs.filter(|name| !name.is_empty() && all.insert(*name)).collect::<Vec<_>>());
    }
    all
}

fn starts(specs: &[&ContainerSpec], all: &[ContainerSpec], stops: &BTreeMap<String, StepId>) -> Vec<Step> {
    let mut steps = Vec::new();
    for spec in specs {
        let mut after: Vec<StepId> = stops.get(&spec.name).cloned().into_iter().collect();
        after.extend(needed(spec, specs, all));
        let start = step(
            Verb::Start,
            &spec.name,
            &spec.service,
            Action::Start { container: spec.name.clone(), hooks: Hook::of(&spec.labels, label::POST_START) },
            after,
        );
        let ready = Action::AwaitReady { spec: Box::new((*spec).clone()), readiness: spec.readiness.clone() };
        let ready = step(Verb::Await, &spec.name, &spec.service, ready, vec![start.id.clone()]);
        steps.extend([start, ready]);
    }
    steps
}

/// The steps of those that `spec` needs. What is not started itself (a job that has done its work)
/// passes on what it needs in its turn.
fn needed(spec: &ContainerSpec, started: &[&ContainerSpec], all: &[ContainerSpec]) -> BTreeSet<StepId> {
    let mut steps = BTreeSet::new();
    let mut seen = BTreeSet::from([spec.service.as_str()]);
    let mut open = vec![spec];
    while let Some(next) = open.pop() {
        for dependency in &next.depends_on {
            let verb = if dependency.condition == Condition::ServiceStarted { Verb::Start } else { Verb::Await };
            let before = started.iter().filter(|other| other.service == dependency.service);
            let ids = before.map(|other| verb.container(&other.name)).collect::<Vec<_>>();
            if ids.is_empty() && seen.insert(&dependency.service) {
                open.extend(all.iter().filter(|other| other.service == dependency.service));
            }
            steps.extend(ids);
        }
    }
    steps
}

fn step(verb: Verb, container: &str, service: &str, action: Action, after: Vec<StepId>) -> Step {
    let resource = ResourceId::new(ResourceKind::Container, container);
    Step {
        id: verb.step(&resource),
        resource,
        group: service.to_owned(),
        action,
        cause: Cause::Requested,
        after,
        destructive: false,
        needs_privilege: false,
    }
}
