//! Whether a task has to run. It has not when its last good run had the same before it, and the data that it
//! worked on is still there.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ContainerSpec, ContainerState, MachineTaskSpec, MountSpec, Observed, ObservedContainer, Resources, TaskInputs,
    TaskSpec, label,
};

use super::Cause;

/// What there is besides the task.
pub(super) struct Around<'a> {
    pub resources: &'a Resources,
    pub observed: &'a Observed,
    /// Containers that are about to be new.
    pub new: &'a BTreeSet<String>,
}

/// The same of a task of this machine, which is known by its note alone.
pub(super) fn runs_here(spec: &MachineTaskSpec, around: &Around<'_>) -> Option<Cause> {
    let Some(last) = around.observed.tasks.get(&spec.name) else { return Some(Cause::NeverRan) };
    let what = spec.inputs.since(&last.inputs);
    if !what.is_empty() {
        return Some(Cause::Inputs { what });
    }
    match last.failed {
        Some(code) => Some(Cause::Failed { code }),
        None => new_data(spec.after.iter(), last.finished, around).map(|what| Cause::NewData { what }),
    }
}

/// Why the task runs; none: it has been done. `found`: its container, which is ours and does not run.
pub(super) fn runs(
    spec: &ContainerSpec,
    task: &TaskSpec,
    found: Option<&ObservedContainer>,
    around: &Around<'_>,
) -> Option<Cause> {
    let tried = found.and_then(|found| TaskInputs::parse(found.label(label::TASK)?));
    // what its container did counts as long as it did the same that is wanted now
    let own = found.filter(|_| tried.as_ref().is_some_and(|tried| task.inputs.since(tried).is_empty()));
    let ended = own.filter(|found| found.state == ContainerState::Exited);
    let failed = ended.and_then(|found| found.exit_code).filter(|code| *code != 0);
    if let Some(code) = failed {
        return Some(Cause::Failed { code });
    }
    let recorded = around.observed.tasks.get(&spec.service).map(|run| (&run.inputs, run.finished));
    let is_same = |(inputs, _): &(&TaskInputs, i64)| task.inputs.since(inputs).is_empty();
    // a run that was killed, or that nobody waited for, has recorded nothing, and its container has ended well all the same
    let ended = ended.filter(|found| found.exit_code == Some(0));
    let of_container = || Some((tried.as_ref()?, ended.and_then(|found| found.finished_at.or(found.made_at))?));
    let done = recorded.filter(is_same).or_else(of_container).or(recorded);
    let Some((then, finished)) = done else {
        return match &tried {
            Some(tried) if own.is_none() => Some(Cause::Inputs { what: task.inputs.since(tried) }),
            _ => Some(Cause::NeverRan),
        };
    };
    let what = task.inputs.since(then);
    if !what.is_empty() {
        return Some(Cause::Inputs { what });
    }
    let after = spec.depends_on.iter().map(|on| &on.service);
    new_data(after, finished, around).map(|what| Cause::NewData { what })
}

/// A service whose data is not what a task after these has worked on. Data is in volumes; where none of the services has any,
/// it is in their containers.
fn new_data<'n>(after: impl Iterator<Item = &'n String>, finished: i64, around: &Around<'_>) -> Option<String> {
    let later = |made: Option<i64>| made.is_some_and(|made| made > finished);
    let servers = servers(after, around.resources);
    let mut holds = false;
    for server in &servers {
        for volume in volumes(server, around.observed) {
            holds = true;
            if around.observed.volume(&volume).is_none_or(|found| later(found.made_at)) {
                return Some(server.service.clone());
            }
        }
        // nobody knows how old the data in a folder of this machine is
        holds |= server.mounts.iter().any(|mount| matches!(mount, MountSpec::Bind { read_only: false, .. }));
    }
    let made_again = |server: &&&ContainerSpec| {
        let found = around.observed.container(&server.name);
        around.new.contains(&server.name) || found.is_none_or(|found| later(found.made_at))
    };
    servers.iter().find(made_again).filter(|_| !holds).map(|server| server.service.clone())
}

/// What a container keeps its data in: volumes that its stack names, and those that its image declares.
fn volumes(server: &ContainerSpec, observed: &Observed) -> BTreeSet<String> {
    let holds_files = |name: &str| observed.volume(name).is_some_and(|found| !found.holds_data());
    let named = server.mounts.iter().filter_map(|mount| match mount {
        MountSpec::Volume { source, read_only: false, .. } => Some(source.clone()),
        _ => None,
    });
    let prefix = format!("{}-", server.name);
    let of_image = observed.volumes.iter().map(|found| &found.name).filter(|name| name.starts_with(&prefix));
    named.chain(of_image.cloned()).filter(|name| !holds_files(name)).collect()
}

/// The containers of what a task waits for, also through jobs and other tasks.
fn servers<'a, 'n>(after: impl Iterator<Item = &'n String>, resources: &'a Resources) -> Vec<&'a ContainerSpec> {
    let mut by_service: BTreeMap<&str, Vec<&ContainerSpec>> = BTreeMap::new();
    for spec in &resources.containers {
        by_service.entry(&spec.service).or_default().push(spec);
    }
    let mut found = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<String> = after.cloned().collect();
    while let Some(name) = open.pop() {
        if let Some(task) = resources.tasks.iter().find(|task| task.name == name) {
            if seen.insert(&task.name) {
                open.extend(task.after.iter().cloned());
            }
            continue;
        }
        let Some((&name, specs)) = by_service.get_key_value(name.as_str()) else { continue };
        if !seen.insert(name) {
            continue;
        }
        for server in specs {
            match server.readiness.one_shot {
                true => open.extend(server.depends_on.iter().map(|on| on.service.clone())),
                false => found.push(*server),
            }
        }
    }
    found
}
