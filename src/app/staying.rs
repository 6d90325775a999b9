//! Containers that stay, and are in the way of a plan: on a network that is to be made again, which no engine removes then,
//! or with a port that is passed on to them.

use std::collections::BTreeSet;

use crate::engine::everybody;
use crate::model::{ContainerSpec, ContainerState, ObservedContainer, Remedy, ResourceId, ResourceKind, label, macula};
use crate::plan::{Action, Cause, Conflict, Plan, Step};
use crate::words;

use super::survey::Survey;
use super::{Error, reach};

/// What is said of them before anything is begun: by the time that an engine refuses to remove a network, all of ours that
/// is on it has been removed.
pub(super) async fn in_the_way(survey: &Survey, plan: &Plan) -> Result<Vec<Conflict>, Error> {
    let mut conflicts = ports(survey, plan);
    let made_again = |step: &&Step| {
        matches!(step.action, Action::RemoveNetwork { .. }) && matches!(step.cause, Cause::Changed { .. })
    };
    let networks: Vec<&ResourceId> = plan.steps.iter().filter(made_again).map(|step| &step.resource).collect();
    if networks.is_empty() {
        return Ok(conflicts);
    }
    let all = everybody(&*survey.engine).await?;
    for network in networks {
        let stays = |found: &&ObservedContainer| {
            found.addresses.contains_key(&network.name) && !leaves(plan, found, &network.name)
        };
        let staying: Vec<&ObservedContainer> = all.iter().filter(stays).collect();
        if !staying.is_empty() {
            conflicts.push(on_network(survey, network, &staying));
        }
    }
    Ok(conflicts)
}

/// Whether the plan takes a container out of a network.
fn leaves(plan: &Plan, found: &ObservedContainer, network: &str) -> bool {
    is_removed(plan, found)
        || plan.steps.iter().any(|step| match &step.action {
            Action::LeaveNetwork { container, network: left } => {
                left == network && (*container == found.name || found.id.starts_with(container.as_str()))
            }
            _ => false,
        })
}

fn is_removed(plan: &Plan, found: &ObservedContainer) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(&step.action, Action::RemoveContainer { container } if *container == found.name))
}

/// Whether its container is there, or is made by the plan, which may be about other services alone.
fn is_or_will_be(survey: &Survey, plan: &Plan, spec: &ContainerSpec) -> bool {
    let made = |step: &Step| matches!(step.action, Action::CreateContainer { .. }) && step.resource.name == spec.name;
    survey.observed.container(&spec.name).is_some() || plan.steps.iter().any(made)
}

/// The stack of a service's container, where it is not loaded.
fn stack_apart<'f>(survey: &Survey, found: &'f ObservedContainer) -> Option<&'f str> {
    found.replica_of(survey.platform.name.as_str())?;
    let stack = found.label(label::STACK)?;
    survey.platform.stacks.iter().all(|loaded| loaded.name != stack).then_some(stack)
}

fn remove_orphans() -> Remedy {
    macula("up --remove-orphans").why("to remove the containers of stacks that are not loaded").into()
}

fn on_network(survey: &Survey, network: &ResourceId, staying: &[&ObservedContainer]) -> Conflict {
    let nodes = survey.cluster.observed.iter().flat_map(|cluster| &cluster.nodes);
    let nodes: BTreeSet<&str> = nodes.map(|node| node.name.as_str()).collect();
    let (mut of_cluster, mut of_others, mut by_hand) = (false, false, Vec::new());
    for found in staying {
        if nodes.contains(found.name.as_str()) {
            of_cluster = true;
        } else if stack_apart(survey, found).is_some() {
            of_others = true;
        } else {
            by_hand.push(Remedy::shell(["docker", "network", "disconnect", &network.name, &found.name]));
        }
    }
    let mut remedies: Vec<Remedy> = Vec::new();
    if of_cluster {
        remedies.push(
            macula("cluster status").why("to see what goes with the cluster, which has to be deleted first").into(),
        );
    }
    if of_others {
        remedies.push(remove_orphans());
    }
    remedies.extend(by_hand);
    remedies.push(Remedy::say("or leave the settings of the network as they were"));
    let names = words::list(staying.iter().map(|found| found.name.as_str()));
    let are = if staying.len() == 1 { "is" } else { "are" };
    Conflict {
        resource: network.clone(),
        message: format!("its settings have changed, so that it has to be made again, and {names} {are} on it"),
        port: None,
        external: false,
        remedies,
    }
}

/// Ports that are passed on to services of other projects, which run on. Where the engine publishes it is the same:
/// [`crate::plan::keep_other_stacks`].
fn ports(survey: &Survey, plan: &Plan) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (kept, found) in reach::kept(survey) {
        let Some(stack) = stack_apart(survey, found) else { continue };
        if found.state != ContainerState::Running || is_removed(plan, found) {
            continue;
        }
        let meets = |spec: &&ContainerSpec| {
            spec.forwards.iter().any(|wanted| (wanted.listen, wanted.protocol) == (kept.listen, kept.protocol))
                && is_or_will_be(survey, plan, spec)
        };
        conflicts.extend(survey.resources.containers.iter().filter(meets).map(|spec| Conflict {
            resource: ResourceId::new(ResourceKind::Container, &spec.name),
            message: format!(
                "{} is passed on to {}, which runs and belongs to the stack {stack}; that stack is not loaded now",
                kept.listen, found.name
            ),
            port: None,
            external: false,
            remedies: vec![
                remove_orphans(),
                Remedy::say("or publish on another port, or give this project a platform of its own with `--name`"),
            ],
        }));
    }
    conflicts
}
