//! What a plan takes from another project: two projects that both call a service `web` want one container, and the
//! second would end what the first one runs. And data that stays where it is: of containers that get another name, and of
//! a project that ran under Docker Compose.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{ContainerSpec, Observed, ObservedContainer, ObservedVolume, Resources, label};
use crate::words;

use super::reconcile::{mounts, publishes};
use super::{Action, Plan};

/// A project that is there, and whose services a plan replaces by those of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProject {
    pub name: String,
    pub folder: PathBuf,
    /// The project that takes their place.
    pub successor: String,
    pub services: BTreeSet<String>,
}

impl fmt::Display for OtherProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, folder, services, .. } = self;
        let verb = if services.len() == 1 { "belongs" } else { "belong" };
        let folder = folder.display();
        write!(f, "{} {verb} to the project {name} in {folder}, which this up would replace", words::list(services))
    }
}

/// The projects whose containers the plan replaces. As for Docker Compose the name makes the project: one that was
/// moved, or is there twice under one name, is the same. So is one whose file is `gone`: it was renamed, and nobody can
/// bring it up again.
pub fn replaced_projects(
    plan: &Plan,
    specs: &[ContainerSpec],
    observed: &Observed,
    gone: &BTreeSet<PathBuf>,
) -> Vec<OtherProject> {
    let mut all: Vec<OtherProject> = Vec::new();
    for spec in specs {
        let removed =
            |action: &Action| matches!(action, Action::RemoveContainer { container } if *container == spec.name);
        if !plan.steps.iter().any(|step| removed(&step.action)) {
            continue;
        }
        let Some((name, file)) = observed.container(&spec.name).and_then(project_of) else { continue };
        let Some(wanted) = spec.labels.get(label::CONFIG_FILES).map(Path::new) else { continue };
        // a service that has moved from one file to another of those that are loaded, or of one folder
        let is_loaded =
            specs.iter().any(|other| other.labels.get(label::CONFIG_FILES).is_some_and(|own| Path::new(own) == file));
        if name == spec.stack || is_loaded || file.parent() == wanted.parent() || gone.contains(file) {
            continue;
        }
        let folder = file.parent().unwrap_or(file);
        let known =
            all.iter_mut().find(|other| other.name == name && other.folder == folder && other.successor == spec.stack);
        match known {
            Some(known) => {
                known.services.insert(spec.service.clone());
            }
            None => all.push(OtherProject {
                name: name.to_owned(),
                folder: folder.to_owned(),
                successor: spec.stack.clone(),
                services: [spec.service.clone()].into(),
            }),
        }
    }
    all
}

/// The project of a container, which is not loaded, has another name by now: its file is loaded, or what is wanted takes
/// over what the container has, and its file is `gone` or lies in the same folder. Nobody else takes that away from it,
/// so that both would run on the same data. Two that share it on purpose are two.
pub(super) fn was_renamed(
    found: &ObservedContainer,
    wanted: &Resources,
    observed: &Observed,
    gone: &BTreeSet<PathBuf>,
) -> bool {
    let Some((stack, file)) = project_of(found) else { return false };
    let is_gone = gone.contains(file);
    wanted.containers.iter().any(|spec| {
        let Some(own) = spec.labels.get(label::CONFIG_FILES).map(Path::new) else { return false };
        let on_purpose = |volume: &str| !is_gone && is_shared(volume, [stack, &spec.stack], wanted, observed);
        let has_data = found.writes.iter().any(|volume| mounts(spec, volume) && !on_purpose(volume));
        let has_its_place = publishes(found, spec) || is_successor(spec, found);
        own == file || is_gone && has_its_place || has_data && (is_gone || own.parent() == file.parent())
    })
}

/// One of the stacks uses what another one makes, or both were loaded when it was made.
fn is_shared(volume: &str, stacks: [&str; 2], wanted: &Resources, observed: &Observed) -> bool {
    let is_external = wanted.volumes.iter().any(|spec| spec.name == volume && spec.external);
    let labels = observed.volume(volume).map(|found| &found.labels);
    let names = [label::STACK, label::SHARED_BY].into_iter().filter_map(|key| labels?.get(key));
    let sharers: BTreeSet<&str> = names.flat_map(|names| names.split(',')).collect();
    is_external || stacks.iter().all(|stack| sharers.contains(stack))
}

/// Data in volumes that are called after a container, whose place one of another name takes: it has others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    pub service: String,
    pub before: String,
    pub now: String,
    pub volumes: Vec<String>,
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, before, now, volumes } = self;
        let first = volumes.first().map_or("", String::as_str);
        write!(
            f,
            "{service}: {now} takes the place of {before} and does not have what is in {}, which stays (to go on with \
             it, mount it: `volumes: {{data: {{name: {first}}}}}`)",
            words::list(volumes.iter().map(String::as_str))
        )
    }
}

/// What the services of a plan leave behind in volumes that they did not name, nor does what they are made from now.
pub fn left_behind(plan: &Plan, observed: &Observed) -> Vec<LeftBehind> {
    let removed = |found: &ObservedContainer| {
        let of_it =
            |action: &Action| matches!(action, Action::RemoveContainer { container } if *container == found.name);
        plan.steps.iter().any(|step| of_it(&step.action))
    };
    let gone: Vec<&ObservedContainer> = observed.containers.iter().filter(|found| removed(found)).collect();
    let mut all = Vec::new();
    for step in &plan.steps {
        let Action::CreateContainer { spec, .. } = &step.action else { continue };
        // one that stands in for another gets its name in the end
        let name = &step.resource.name;
        for found in gone.iter().filter(|found| found.name != *name && is_same_service(spec, found)) {
            let own = |volume: &&String| {
                let called_after = volume.strip_prefix(&found.name).is_some_and(|rest| rest.starts_with('-'));
                let holds_data = observed.volume(volume).is_some_and(ObservedVolume::holds_data);
                called_after && holds_data && !mounts(spec, volume)
            };
            let volumes: Vec<String> = found.writes.iter().filter(own).cloned().collect();
            if !volumes.is_empty() {
                let (service, before, now) = (spec.service.clone(), found.name.clone(), name.clone());
                all.push(LeftBehind { service, before, now, volumes });
            }
        }
    }
    all
}

/// Data that a project has under Docker Compose, and not in the volume that is made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfCompose {
    pub project: String,
    pub key: String,
    pub before: String,
    pub now: String,
}

impl fmt::Display for OfCompose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, key, before, now } = self;
        write!(
            f,
            "{before} has data of {project} from docker compose, and {key} begins with an empty {now} (to use the data, \
             stop `docker compose` and mount it: `volumes: {{{key}: {{name: {before}, external: true}}}}`)"
        )
    }
}

/// The volumes of a plan that are made empty while Docker Compose has one of the same project and key.
pub fn of_compose(plan: &Plan, observed: &Observed) -> Vec<OfCompose> {
    let found = plan.steps.iter().filter_map(|step| {
        let Action::CreateVolume { spec, .. } = &step.action else { return None };
        let (project, key) = (spec.labels.get(label::STACK)?, spec.labels.get(label::NAME)?);
        let before = observed.volume(&label::compose_volume(project, key))?;
        let is_its = before.labels.get(label::COMPOSE_PROJECT) == Some(project);
        // what is built in is nobody's project
        let is_users = spec.labels.contains_key(label::CONFIG_FILES);
        (is_users && is_its && !before.labels.contains_key(label::PLATFORM)).then(|| OfCompose {
            project: project.clone(),
            key: key.clone(),
            before: before.name.clone(),
            now: spec.name.clone(),
        })
    });
    found.collect()
}

/// The same container of the same service of a file, whatever name the service has in the platform.
fn is_same_service(spec: &ContainerSpec, found: &ObservedContainer) -> bool {
    let own = |service: &str| short(&spec.stack, service).unwrap_or(service).to_owned();
    let same = found.label(label::SERVICE).is_some_and(|service| own(service) == own(&spec.service));
    let replica = found.label(label::REPLICA) == spec.labels.get(label::REPLICA).map(String::as_str);
    replica && (same && found.label(label::STACK) == Some(spec.stack.as_str()) || is_successor(spec, found))
}

/// Both are `PROJECT-NAME` for one NAME: whichever name the project has, its file calls the service so.
pub(super) fn is_successor(spec: &ContainerSpec, found: &ObservedContainer) -> bool {
    let before = found.label(label::STACK).zip(found.label(label::SERVICE));
    let before = before.and_then(|(stack, service)| short(stack, service));
    before.is_some() && before == short(&spec.stack, &spec.service)
}

fn short<'a>(stack: &str, service: &'a str) -> Option<&'a str> {
    service.strip_prefix(stack)?.strip_prefix('-')
}

/// The project that a container comes from, and its file; none of what is built in.
fn project_of(found: &ObservedContainer) -> Option<(&str, &Path)> {
    Some((found.label(label::STACK)?, Path::new(found.label(label::CONFIG_FILES)?)))
}
