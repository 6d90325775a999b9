//! The way back needs no stack file: ownership and dependencies lie in the labels.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ContainerState, Hook, Observed, ObservedContainer, ObservedVolume, ResourceId, ResourceKind, label,
};

use super::{Action, Cause, Plan, Step, StepId, Verb};

/// What outlives `down`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Take the data volumes away too.
    pub remove_volumes: bool,
}

/// Stops in the reverse order of the dependencies, then removes. Only what bears the platform's
/// label.
pub fn down(platform: &str, observed: &Observed, keep: Keep) -> Plan {
    let ours = |labels: &BTreeMap<String, String>| labels.get(label::PLATFORM).is_some_and(|name| name == platform);
    let mut containers: Vec<&ObservedContainer> =
        observed.containers.iter().filter(|found| ours(&found.labels)).collect();
    if keep.remove_volumes {
        // an engine takes containers one after the other in large part, and long for files: those with data first
        containers.sort_by_key(|found| found.writes.is_empty());
    }
    let mut plan = Plan::default();
    let stop_id = |found: &ObservedContainer| Verb::Stop.container(&found.name);
    // what is told to stop writes its data out; where all of it is removed, nobody waits for that
    let discarded = |volume: &String| observed.volumes.iter().any(|found| found.name == *volume && ours(&found.labels));
    let stops = |found: &ObservedContainer| {
        let told = found.labels.contains_key(label::PRE_STOP);
        runs(found) && (told || !(keep.remove_volumes && found.writes.iter().all(discarded)))
    };
    let stopping: Vec<&ObservedContainer> = containers.iter().copied().filter(|found| stops(found)).collect();
    let needs = Needs::of(&containers);
    let mut removals = Vec::new();
    // by volume, the containers that have it
    let mut uses: BTreeMap<&String, Vec<StepId>> = BTreeMap::new();
    for found in &containers {
        let service = found.label(label::SERVICE).unwrap_or(&found.name);
        if found.label(label::ONE_SHOT) == Some("true") {
            plan.jobs.insert(service.to_owned());
        }
        let id = ResourceId::new(ResourceKind::Container, &found.name);
        let mut before = Vec::new();
        if stops(found) {
            // those that need this one stop first
            let dependents =
                stopping.iter().filter(|other| other.name != found.name && needs.depends_on(other, service));
            let after = dependents.map(|other| stop_id(other)).collect();
            let stop = Action::Stop {
                container: found.name.clone(),
                grace: None,
                hooks: Hook::of(&found.labels, label::PRE_STOP),
            };
            push(&mut plan, stop_id(found), id.clone(), service, stop, after);
            before.push(stop_id(found));
        }
        let remove = Verb::Remove.step(&id);
        push(&mut plan, remove.clone(), id, service, Action::RemoveContainer { container: found.name.clone() }, before);
        // a container may have it in several places
        let volumes: BTreeSet<&String> = found.writes.iter().chain(&found.reads).collect();
        for volume in volumes {
            uses.entry(volume).or_default().push(remove.clone());
        }
        removals.push(remove);
    }
    for found in observed.unfinished.iter().filter(|found| ours(&found.labels)) {
        let id = ResourceId::new(ResourceKind::Container, &found.name);
        let remove = Verb::Remove.step(&id);
        let service = found.label(label::SERVICE).unwrap_or(&found.name);
        let action = Action::RemoveContainer { container: found.name.clone() };
        push(&mut plan, remove.clone(), id, service, action, Vec::new());
        // a container may have it in several places
        let volumes: BTreeSet<&String> = found.writes.iter().chain(&found.reads).collect();
        for volume in volumes {
            uses.entry(volume).or_default().push(remove.clone());
        }
        removals.push(remove);
    }
    for found in observed.networks.iter().filter(|found| ours(&found.labels)) {
        // old engines know several networks of one name, and refuse to choose
        let twins = observed.networks.iter().filter(|other| other.name == found.name).count() > 1;
        let id = ResourceId::new(ResourceKind::Network, if twins { &found.id } else { &found.name });
        push(
            &mut plan,
            Verb::Remove.step(&id),
            id,
            "network",
            Action::RemoveNetwork { name: if twins { found.id.clone() } else { found.name.clone() } },
            removals.clone(),
        );
    }
    let goes = |found: &&ObservedVolume| keep.remove_volumes || !found.holds_data();
    for found in observed.volumes.iter().filter(|found| ours(&found.labels)).filter(goes) {
        let id = ResourceId::new(ResourceKind::Volume, &found.name);
        let group = found.labels.get(label::SERVICE).map_or("volumes", String::as_str);
        push(
            &mut plan,
            Verb::Remove.step(&id),
            id,
            group,
            Action::RemoveVolume { name: found.name.clone() },
            // the files of many databases take longer than all containers: nobody else is waited for
            uses.get(&found.name).unwrap_or(&removals).clone(),
        );
        if let Some(step) = plan.steps.last_mut() {
            step.destructive = found.holds_data();
        }
    }
    plan
}

/// Whether there is something to stop.
pub(super) fn runs(found: &ObservedContainer) -> bool {
    !matches!(found.state, ContainerState::Exited | ContainerState::Created | ContainerState::Dead)
}

fn push(plan: &mut Plan, id: StepId, resource: ResourceId, group: &str, action: Action, after: Vec<StepId>) {
    plan.steps.push(Step {
        id,
        resource,
        group: group.to_owned(),
        action,
        cause: Cause::Requested,
        after,
        destructive: false,
        needs_privilege: false,
    });
}

/// Which services need which, be it through others that have ended already.
pub(super) struct Needs<'o>(BTreeMap<&'o str, BTreeSet<&'o str>>);

impl<'o> Needs<'o> {
    /// As the labels of these containers say.
    pub(super) fn of(all: &[&'o ObservedContainer]) -> Self {
        let mut direct: BTreeMap<&'o str, BTreeSet<&'o str>> = BTreeMap::new();
        for &found in all {
            let Some(service) = found.label(label::SERVICE) else { continue };
            let needs = found.label(label::DEPENDS_ON).unwrap_or_default().split(',');
            direct.entry(service).or_default().extend(needs.filter(|name| !name.is_empty()));
        }
        let reached = |service: &'o str| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![service]);
            while let Some(next) = open.pop() {
                for &name in direct.get(next).into_iter().flatten() {
                    if seen.insert(name) {
                        open.push(name);
                    }
                }
            }
            (service, seen)
        };
        Self(direct.keys().copied().map(reached).collect())
    }

    /// Whether `container` needs `service`. A circle (labels may be anything) is cut by name, so that `down` never hangs.
    pub(super) fn depends_on(&self, container: &ObservedContainer, service: &str) -> bool {
        let own = container.label(label::SERVICE).unwrap_or(&container.name);
        let reaches = |from: &str, to: &str| self.0.get(from).is_some_and(|needs| needs.contains(to));
        own != service && reaches(own, service) && (!reaches(service, own) || own < service)
    }
}
