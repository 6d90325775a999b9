//! Compares what is wanted with what is there. Rule by rule; each has its test.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ContainerSpec, ContainerState, Hook, NetworkSpec, Observed, ObservedContainer, ObservedVolume, Remedy, ResourceId,
    ResourceKind, Resources, UNFINISHED, VolumeSpec, label,
};
use crate::words;

use super::supply::{ImageSource, Supply};
use super::{Action, Cause, ImageUse, Plan, Step, StepId, Verb};

mod containers;
mod images;
mod ports;
mod verdict;

pub use ports::holder_of;

pub(super) use ports::publishes;

use verdict::Verdict;

/// What `up` asks for.
pub struct Wish<'a> {
    /// Name of the platform: the value of [`label::PLATFORM`] on what is ours.
    pub platform: &'a str,
    pub resources: &'a Resources,
    pub supply: &'a Supply,
    /// Only these services; nothing else is touched but what has to end for them.
    pub selection: Option<&'a BTreeSet<String>>,
    /// The platform is, or may be, reached through a relay, which belongs to no service.
    pub relay: bool,
}

/// Something that is not ours stands where ours should be. Nothing is done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", about(.resource, .port.is_some() || *.external))]
pub struct Conflict {
    pub resource: ResourceId,
    pub message: String,
    /// The service, and its port that somebody else holds.
    pub port: Option<(String, u16)>,
    /// It is a volume or a network that something else was to make.
    pub external: bool,
    pub remedies: Vec<Remedy>,
}

/// What the message is about, where it does not say so itself.
fn about(resource: &ResourceId, said: bool) -> String {
    if said { String::new() } else { format!("{resource}: ") }
}

const ANOTHER_NAME: &str = "choose another name for this platform with `--name`";

/// To whom something belongs that is not ours.
fn whose(labels: &BTreeMap<String, String>) -> String {
    if let Some(other) = labels.get(label::PLATFORM) {
        let stack = labels.get(label::STACK).map(|stack| format!(", to its stack {stack}")).unwrap_or_default();
        return format!("belongs to the platform {other}{stack}");
    }
    let project = labels.get(label::COMPOSE_PROJECT);
    let maker = project.map(|project| format!("; it belongs to the Compose project {project}")).unwrap_or_default();
    format!("exists and was not made by macula{maker}")
}

/// The services of these containers, each once.
fn services<'a>(containers: impl Iterator<Item = &'a &'a ContainerSpec>) -> BTreeSet<&'a str> {
    containers.map(|container| container.service.as_str()).collect()
}

/// An empty plan means that everything is already right.
pub fn reconcile(wish: &Wish<'_>, observed: &Observed) -> Result<Plan, Vec<Conflict>> {
    reconcile_anew(wish, &BTreeSet::new(), observed)
}

/// [`reconcile`], with new containers for these services, also where they are right.
pub fn reconcile_anew(wish: &Wish<'_>, anew: &BTreeSet<String>, observed: &Observed) -> Result<Plan, Vec<Conflict>> {
    let mut planner = Planner {
        wish,
        anew,
        observed,
        replaced: BTreeSet::new(),
        steps: Vec::new(),
        conflicts: Vec::new(),
        obtained: BTreeMap::new(),
        due: BTreeMap::new(),
    };
    let chosen = |spec: &&ContainerSpec| wish.selection.is_none_or(|set| set.contains(&spec.service));
    let mut wanted: Vec<&ContainerSpec> = wish.resources.containers.iter().filter(chosen).collect();

    planner.replaced = planner.changed_networks(&wanted);
    let verdicts = planner.verdicts(&wanted);
    let of_containers = std::mem::take(&mut planner.conflicts);
    // what was not chosen, and is restarted or made again with something that was
    wanted.extend(wish.resources.containers.iter().filter(|spec| !chosen(spec) && verdicts.contains_key(&spec.name)));
    let is_made = |spec: &&ContainerSpec| matches!(verdicts.get(&spec.name), Some(Verdict::Recreate(_)));
    let made: Vec<&ContainerSpec> = wanted.iter().copied().filter(|spec| chosen(spec) || is_made(spec)).collect();
    planner.networks(&made);
    planner.images(&made);
    planner.volumes(&made);
    planner.conflicts.extend(of_containers);
    planner.unfinished();
    planner.ports(&wanted, &verdicts);
    planner.due = planner.due_tasks(&verdicts);
    planner.containers(&wanted, &verdicts);
    planner.own_registry(&wanted);
    planner.orphans();
    planner.spare_copies();
    planner.hand_over(&wanted);
    planner.move_networks();
    // who has to leave a network waits for nobody; last, since a turn is taken only where nothing else is against it
    if planner.replaced.is_empty() {
        planner.outlast_jobs(&wanted, &verdicts);
        planner.take_turns(&wanted, &verdicts);
    }
    if planner.conflicts.is_empty() {
        Ok(Plan { steps: planner.steps, left_out: wish.supply.left_out.clone(), ..Plan::default() })
    } else {
        Err(planner.conflicts)
    }
}

struct Planner<'a> {
    wish: &'a Wish<'a>,
    anew: &'a BTreeSet<String>,
    observed: &'a Observed,
    /// Networks that are made again, which is only once everything has left them.
    replaced: BTreeSet<String>,
    steps: Vec<Step>,
    conflicts: Vec<Conflict>,
    /// Service -> the step that gets its image.
    obtained: BTreeMap<String, StepId>,
    /// Tasks of this machine that run, and why.
    due: BTreeMap<String, Cause>,
}

impl Planner<'_> {
    fn add(
        &mut self,
        verb: Verb,
        resource: ResourceId,
        group: &str,
        action: Action,
        cause: Cause,
        after: Vec<StepId>,
    ) -> StepId {
        let id = verb.step(&resource);
        self.add_as(id, resource, group, action, cause, after)
    }

    fn add_as(
        &mut self,
        id: StepId,
        resource: ResourceId,
        group: &str,
        action: Action,
        cause: Cause,
        mut after: Vec<StepId>,
    ) -> StepId {
        after.sort();
        after.dedup();
        let destructive = matches!(action, Action::RemoveVolume { .. });
        let needs_privilege = matches!(action, Action::MakeBase(_));
        self.steps.push(Step {
            id: id.clone(),
            resource,
            group: group.to_owned(),
            action,
            cause,
            after,
            destructive,
            needs_privilege,
        });
        id
    }

    fn has(&self, id: &str) -> bool {
        self.steps.iter().any(|step| step.id == id)
    }

    fn foreign(&mut self, resource: ResourceId, labels: &BTreeMap<String, String>) {
        let name = resource.name.as_str();
        let mut remedies = match resource.kind {
            _ if labels.contains_key(label::PLATFORM) => Vec::new(),
            ResourceKind::Container => vec![Remedy::shell(["docker", "rename", name, &format!("{name}-old")])],
            // what is in it may be somebody's data: there is nothing to type that removes it
            ResourceKind::Volume => vec![Remedy::say("remove the volume if nothing needs it")],
            _ => vec![
                Remedy::say("remove the network if nothing needs it"),
                Remedy::shell(["docker", "network", "rm", name]),
            ],
        };
        let or = if remedies.is_empty() { "" } else { "or " };
        remedies.push(Remedy::say(format!("{or}{ANOTHER_NAME}")));
        let message = whose(labels);
        self.conflicts.push(Conflict { resource, message, port: None, external: false, remedies });
    }

    /// A volume of a user's file may be meant to be just that one. No other name for the platform helps where the file
    /// names it.
    fn foreign_volume(&mut self, resource: ResourceId, spec: &VolumeSpec, labels: &BTreeMap<String, String>) {
        let (Some(key), true) = (spec.labels.get(label::NAME), spec.labels.contains_key(label::CONFIG_FILES)) else {
            return self.foreign(resource, labels);
        };
        let prefix = spec.labels.get(label::COMPOSE_PROJECT).map_or("", String::as_str);
        let is_named = !spec.name.starts_with(&format!("{prefix}-"));
        // two platforms that met by their names: each is to have data of its own
        if labels.contains_key(label::PLATFORM) && !is_named {
            return self.foreign(resource, labels);
        }
        let mut remedies = vec![Remedy::say(format!(
            "to use it as it is, say `external: true`, and macula never removes it: `volumes: {{{key}: {{name: {}, \
             external: true}}}}`",
            spec.name
        ))];
        remedies.extend((!is_named).then(|| Remedy::say(format!("or {ANOTHER_NAME}"))));
        let message = whose(labels);
        self.conflicts.push(Conflict { resource, message, port: None, external: false, remedies });
    }

    /// A network or volume that something else was to make. `use_it`: what its users do with it.
    fn absent(&mut self, resource: ResourceId, users: BTreeSet<&str>, use_it: &str) {
        let ResourceId { kind, name } = &resource;
        let message = format!("{} {use_it} the external {kind} {name}, which does not exist", words::list(users));
        let remedies = vec![Remedy::shell(["docker", &kind.to_string(), "create", name])];
        self.conflicts.push(Conflict { resource, message, port: None, external: true, remedies });
    }

    fn is_ours(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(label::PLATFORM).is_some_and(|name| name == self.wish.platform)
    }

    /// Networks that exist with another specification: their containers move over.
    fn changed_networks(&self, wanted: &[&ContainerSpec]) -> BTreeSet<String> {
        // to move one everything on it must move along, the unselected too
        if self.wish.selection.is_some() {
            return BTreeSet::new();
        }
        let changed = |spec: &&NetworkSpec| {
            let mut same = self.observed.networks.iter().filter(|found| found.name == spec.name);
            let (Some(found), None) = (same.next(), same.next()) else { return false };
            let differs = found.labels.get(label::FINGERPRINT) != Some(&spec.fingerprint().0);
            let is_used = wanted.iter().any(|container| is_on(container, &spec.name));
            differs && is_used && !spec.external && self.is_ours(&found.labels)
        };
        self.wish.resources.networks.iter().filter(changed).map(|spec| spec.name.clone()).collect()
    }

    /// Networks that are missing, and those that cannot be had.
    fn networks(&mut self, wanted: &[&ContainerSpec]) {
        let wish = self.wish;
        for spec in &wish.resources.networks {
            let users = services(wanted.iter().filter(|container| is_on(container, &spec.name)));
            if users.is_empty() {
                continue;
            }
            let id = ResourceId::new(ResourceKind::Network, &spec.name);
            let same = self.observed.networks.iter().filter(|found| found.name == spec.name);
            let ids: Vec<&str> = same.map(|found| found.id.get(..12).unwrap_or(&found.id)).collect();
            if ids.len() > 1 {
                self.conflicts.push(Conflict {
                    resource: id,
                    message: format!("{} networks have this name: {}", ids.len(), ids.join(", ")),
                    port: None,
                    external: false,
                    remedies: vec![
                        Remedy::say("see which of them is in use, and remove the others"),
                        Remedy::shell(["docker", "network", "inspect", &spec.name]),
                    ],
                });
                continue;
            }
            match self.observed.network(&spec.name) {
                None if spec.external => {
                    let are_on = if users.len() == 1 { "is on" } else { "are on" };
                    self.absent(id, users, are_on);
                }
                None => {
                    let action = Action::CreateNetwork(spec.clone());
                    self.add(Verb::Create, id, "network", action, Cause::Missing, Vec::new());
                }
                Some(_) if spec.external => {}
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign(id, &labels);
                }
                Some(_) => {}
            }
        }
    }

    /// Removes and makes again the networks whose specification changed, once nothing is on them.
    fn move_networks(&mut self) {
        let wish = self.wish;
        let replaced = self.replaced.clone();
        for spec in wish.resources.networks.iter().filter(|spec| replaced.contains(&spec.name)) {
            let id = ResourceId::new(ResourceKind::Network, &spec.name);
            let leaving = self.leaving();
            let cause = Cause::Changed { what: vec!["specification".into()] };
            let remove = self.add(
                Verb::Remove,
                id.clone(),
                "network",
                Action::RemoveNetwork { name: spec.name.clone() },
                cause.clone(),
                leaving,
            );
            let action = Action::CreateNetwork(spec.clone());
            let create = self.add(Verb::Create, id, "network", action, cause, vec![remove]);
            for step in &mut self.steps {
                let joins = matches!(&step.action, Action::CreateContainer { spec: container, .. }
                    if container.networks.iter().any(|attachment| attachment.network == spec.name));
                if joins {
                    step.after.push(create.clone());
                }
            }
        }
    }

    /// The steps after which nothing of ours is on a network that goes.
    fn leaving(&self) -> Vec<StepId> {
        let removals = self.steps.iter().filter(|step| matches!(step.action, Action::RemoveContainer { .. }));
        removals.map(|step| step.id.clone()).collect()
    }

    fn volumes(&mut self, wanted: &[&ContainerSpec]) {
        let wish = self.wish;
        for spec in &wish.resources.volumes {
            let Some(user) = wanted.iter().find(|container| mounts(container, &spec.name)) else { continue };
            let id = ResourceId::new(ResourceKind::Volume, &spec.name);
            match self.observed.volume(&spec.name) {
                None if spec.external => {
                    let users = services(wanted.iter().filter(|container| mounts(container, &spec.name)));
                    let mount = if users.len() == 1 { "mounts" } else { "mount" };
                    self.absent(id, users, mount);
                }
                None => {
                    self.create_volume(id.clone(), spec, user);
                    self.fill(id, spec, user);
                }
                Some(_) if spec.external => {}
                // made by a version that did not label what a container mounts without a name
                Some(found)
                    if !found.labels.contains_key(label::PLATFORM)
                        && spec.name.strip_prefix(&user.name).is_some_and(|rest| rest.starts_with('-')) => {}
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign_volume(id, spec, &labels);
                }
                // a run that was interrupted may have left it half full: whoever has it got it whole. To fill one again that
                // was whole changes nothing, since nobody writes to it
                Some(_) if self.users_of(&spec.name).next().is_none() => self.fill(id, spec, user),
                // a data volume is never replaced, whatever its specification
                Some(_) => {}
            }
        }
    }

    /// Before anybody has it.
    fn fill(&mut self, id: ResourceId, spec: &VolumeSpec, user: &ContainerSpec) {
        if spec.copy.is_none() {
            return;
        }
        let made = Verb::Create.step(&id);
        let (cause, mut after) = match self.has(&made) {
            true => (Cause::Missing, vec![made]),
            false => (Cause::Unfinished, Vec::new()),
        };
        // what carries the files in is called the same each time
        let carrier = format!("{}{UNFINISHED}", spec.name);
        let left = self.observed.unfinished.iter().find(|found| found.name == carrier);
        if left.is_some_and(|found| self.is_left_over(found)) {
            after.push(Verb::Remove.container(&carrier));
        }
        let action = Action::FillVolume { spec: Box::new(spec.clone()) };
        self.add(Verb::CopyFilesInto, id, &user.service, action, cause, after);
    }

    /// A copy is of no use where no container is made that has it. A task that was done is such a case.
    fn spare_copies(&mut self) {
        let made = |step: &Step, volume: &str| match &step.action {
            Action::CreateContainer { spec, .. } => mounts(spec, volume),
            _ => false,
        };
        let used = |volume: &str| self.steps.iter().any(|step| made(step, volume));
        let is_spare = |step: &&Step| match &step.action {
            Action::FillVolume { spec } => !used(&spec.name),
            Action::CreateVolume { spec, .. } => spec.copy.is_some() && !used(&spec.name),
            _ => false,
        };
        let spare: BTreeSet<StepId> = self.steps.iter().filter(is_spare).map(|step| step.id.clone()).collect();
        self.steps.retain(|step| !spare.contains(&step.id));
        for step in &mut self.steps {
            step.after.retain(|id| !spare.contains(id));
        }
    }

    /// The containers that have this volume; whole ones, whoever's.
    fn users_of<'s>(&'s self, volume: &'s str) -> impl Iterator<Item = &'s ObservedContainer> {
        let has = move |found: &&ObservedContainer| found.writes.iter().chain(&found.reads).any(|name| name == volume);
        self.observed.containers.iter().filter(has)
    }

    /// Copies of what has changed since, or is mounted no more, once nobody has them any longer.
    fn old_copies(&mut self) {
        let wanted = |name: &String| self.wish.resources.volumes.iter().any(|spec| spec.name == *name);
        let old = self.observed.volumes.iter().filter(|found| {
            self.is_ours(&found.labels) && found.labels.contains_key(label::COPY_OF) && !wanted(&found.name)
        });
        let old: Vec<(&ObservedVolume, Vec<StepId>)> = old
            .map(|found| {
                let unfinished = self.observed.unfinished.iter();
                let unfinished =
                    unfinished.filter(|user| user.writes.iter().chain(&user.reads).any(|name| *name == found.name));
                let users = self.users_of(&found.name).chain(unfinished);
                (found, users.map(|user| Verb::Remove.container(&user.name)).collect())
            })
            .collect();
        for (found, after) in old {
            if !after.iter().all(|step| self.has(step)) {
                continue;
            }
            let id = ResourceId::new(ResourceKind::Volume, &found.name);
            let group = found.labels.get(label::SERVICE).map_or("volumes", String::as_str);
            let action = Action::RemoveVolume { name: found.name.clone() };
            self.add(Verb::Remove, id, group, action, Cause::Orphaned, after);
            // what was copied is still where it came from
            if let Some(step) = self.steps.last_mut() {
                step.destructive = false;
            }
        }
    }

    fn create_volume(&mut self, id: ResourceId, spec: &VolumeSpec, user: &ContainerSpec) {
        let provider = spec.provider.clone().and_then(|provider| {
            // the writer is the service that declares the provider
            let writer =
                self.wish.resources.containers.iter().find(|container| {
                    container.provider.as_ref() == Some(&provider) && mounts(container, &spec.name)
                })?;
            Some((provider, self.image_use(&writer.service)?))
        });
        let after = match &provider {
            Some((_, ImageUse::Obtained { step })) => vec![step.clone()],
            _ => Vec::new(),
        };
        let action = Action::CreateVolume { spec: spec.clone(), provider };
        self.add(Verb::Create, id, &user.service, action, Cause::Missing, after);
    }

    /// What an interrupted run did not come to complete. It holds nothing that is needed.
    fn unfinished(&mut self) {
        for found in self.observed.unfinished.iter().filter(|found| self.is_left_over(found)).collect::<Vec<_>>() {
            let service = found.label(label::SERVICE).unwrap_or(&found.name);
            let id = ResourceId::new(ResourceKind::Container, &found.name);
            let action = Action::RemoveContainer { container: found.name.clone() };
            self.add(Verb::Remove, id, service, action, Cause::Unfinished, Vec::new());
        }
    }

    fn is_left_over(&self, found: &ObservedContainer) -> bool {
        let service = found.label(label::SERVICE).unwrap_or(&found.name);
        // one for a single command is being made just now; `down` takes it
        self.is_ours(&found.labels)
            && !found.labels.contains_key(label::ONE_OFF)
            && self.wish.selection.is_none_or(|chosen| chosen.contains(service))
    }

    /// Ours, and in no stack any more. Where services were chosen, only those of them of which there are too many now, and
    /// those of services that are no more and have what a chosen one starts with. Volumes are data and stay.
    fn orphans(&mut self) {
        let wish = self.wish;
        let all = &wish.resources.containers;
        let starts = |spec: &&ContainerSpec| self.has(&Verb::Start.container(&spec.name));
        let starting: Vec<&ContainerSpec> = all.iter().filter(starts).collect();
        let of_chosen = |found: &ObservedContainer, chosen: &BTreeSet<String>| {
            let gets = |spec: &&ContainerSpec| chosen.contains(&spec.service) && self.makes_way(found, spec);
            found.replica_of(wish.platform).is_some_and(|service| {
                let is_wanted = all.iter().any(|spec| spec.service == service);
                chosen.contains(service) || !is_wanted && starting.iter().any(gets)
            })
        };
        let left_out: BTreeSet<&str> = wish.supply.left_out.iter().map(|left| left.service.as_str()).collect();
        let orphans: Vec<&ObservedContainer> = self
            .observed
            .containers
            .iter()
            .filter(|found| self.is_ours(&found.labels))
            .filter(|found| !wish.resources.containers.iter().any(|spec| spec.name == found.name))
            .filter(|found| !found.labels.contains_key(label::RELAY) || !wish.relay)
            // somebody works in it; what was left behind goes
            .filter(|found| {
                let over = matches!(found.state, ContainerState::Exited | ContainerState::Dead);
                over || !found.labels.contains_key(label::ONE_OFF)
            })
            // an image that cannot be had today is no reason to take down what runs
            .filter(|found| !left_out.contains(found.label(label::SERVICE).unwrap_or_default()))
            .filter(|found| wish.selection.is_none_or(|chosen| of_chosen(found, chosen)))
            .collect();
        for found in orphans {
            let id = ResourceId::new(ResourceKind::Container, &found.name);
            let group = found.label(label::SERVICE).unwrap_or(&found.name).to_owned();
            let stop = Action::Stop {
                container: found.name.clone(),
                grace: None,
                hooks: Hook::of(&found.labels, label::PRE_STOP),
            };
            let stop = self.add(Verb::Stop, id.clone(), &group, stop, Cause::Orphaned, Vec::new());
            let remove = Action::RemoveContainer { container: found.name.clone() };
            self.add(Verb::Remove, id, &group, remove, Cause::Orphaned, vec![stop]);
        }
        self.old_copies();
        if wish.selection.is_some() {
            return;
        }
        for found in &self.observed.networks {
            let wanted = wish.resources.networks.iter().any(|spec| spec.name == found.name);
            if self.is_ours(&found.labels) && !wanted {
                let id = ResourceId::new(ResourceKind::Network, &found.name);
                let action = Action::RemoveNetwork { name: found.name.clone() };
                let leaving = self.leaving();
                self.add(Verb::Remove, id, "network", action, Cause::Orphaned, leaving);
            }
        }
    }
}

/// Service -> what it depends on.
fn wanted_services<'a>(wish: &Wish<'a>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let specs = wish.resources.containers.iter();
    specs
        .map(|spec| {
            let needs = spec.depends_on.iter().map(|dependency| dependency.service.as_str()).collect();
            (spec.service.as_str(), needs)
        })
        .collect()
}

/// How many services need this one, directly or not.
fn dependents(spec: &ContainerSpec, needs: &BTreeMap<&str, Vec<&str>>) -> usize {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut open = vec![spec.service.as_str()];
    while let Some(service) = open.pop() {
        for (other, others) in needs {
            if others.contains(&service) && found.insert(other) {
                open.push(other);
            }
        }
    }
    found.len()
}

fn is_on(spec: &ContainerSpec, network: &str) -> bool {
    spec.networks.iter().any(|attachment| attachment.network == network)
}

pub(super) fn mounts(spec: &ContainerSpec, volume: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, crate::model::MountSpec::Volume { source, .. } if source == volume))
}

impl ImageUse {
    /// Known before anything runs only for an image that is there.
    pub fn source(&self) -> Option<ImageSource> {
        match self {
            Self::Present { source, .. } => Some(*source),
            Self::Obtained { .. } => None,
        }
    }
}
