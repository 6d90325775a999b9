//! Compares what is wanted with what is there. Rule by rule; each has its test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    Condition, ContainerSpec, ContainerState, Fingerprint, Health, Hook, IMAGE_CONTEXT, ImageSpec, Listener, Observed,
    ObservedContainer, Reload, Remedy, ResourceId, ResourceKind, Resources, VolumeSpec, label, split_registry,
};

use super::supply::{Choice, ImageSource, Supply};
use super::{Action, Cause, ImageUse, Plan, Step, StepId, Verb, turns};

/// What `up` asks for.
pub struct Wish<'a> {
    /// Name of the platform: the value of [`label::PLATFORM`] on what is ours.
    pub platform: &'a str,
    pub resources: &'a Resources,
    pub supply: &'a Supply,
    /// Only these services; nothing else is touched, nothing is an orphan.
    pub selection: Option<&'a BTreeSet<String>>,
}

/// Something that is not ours stands where ours should be. Nothing is done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", about(.resource, .port.is_some()))]
pub struct Conflict {
    pub resource: ResourceId,
    pub message: String,
    /// The service, and its port that somebody else holds.
    pub port: Option<(String, u16)>,
    pub remedies: Vec<Remedy>,
}

/// What the message is about, where it does not say so itself.
fn about(resource: &ResourceId, said: bool) -> String {
    if said { String::new() } else { format!("{resource}: ") }
}

/// An empty plan means that everything is already right.
pub fn reconcile(wish: &Wish<'_>, observed: &Observed) -> Result<Plan, Vec<Conflict>> {
    reconcile_anew(wish, &BTreeSet::new(), observed)
}

/// [`reconcile`], with new containers for these services, also where they are right.
pub fn reconcile_anew(wish: &Wish<'_>, anew: &BTreeSet<String>, observed: &Observed) -> Result<Plan, Vec<Conflict>> {
    let mut planner =
        Planner { wish, anew, observed, steps: Vec::new(), conflicts: Vec::new(), obtained: BTreeMap::new() };
    let chosen = |spec: &&ContainerSpec| wish.selection.is_none_or(|set| set.contains(&spec.service));
    let mut wanted: Vec<&ContainerSpec> = wish.resources.containers.iter().filter(chosen).collect();

    let replaced = planner.networks(&wanted);
    planner.images(&wanted);
    planner.volumes(&wanted);
    planner.unfinished();
    let verdicts = planner.verdicts(&wanted, &replaced);
    // what was not chosen, and is restarted with something that was
    wanted.extend(wish.resources.containers.iter().filter(|spec| !chosen(spec) && verdicts.contains_key(&spec.name)));
    planner.ports(&wanted, &verdicts);
    planner.containers(&wanted, &verdicts);
    // a network is made again only once everything has left it
    if replaced.is_empty() {
        planner.take_turns(&wanted, &verdicts);
    }
    planner.own_registry(&wanted);
    if wish.selection.is_none() {
        planner.orphans();
    }
    planner.free_ports(&wanted);
    planner.move_networks(&replaced);
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
    steps: Vec<Step>,
    conflicts: Vec<Conflict>,
    /// Service -> the step that gets its image.
    obtained: BTreeMap<String, StepId>,
}

/// What has to happen to one wanted container.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Right,
    Create,
    Recreate(Cause),
    /// It exists as wanted, and does not run.
    Start,
    /// It has done its work, and what it worked on has been started since.
    Again(Cause),
    /// Like `Recreate` without a new container: something it depends on is replaced.
    Restart(Cause),
    Await,
    Conflict,
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
        self.steps.push(Step {
            id: id.clone(),
            resource,
            group: group.to_owned(),
            action,
            cause,
            after,
            destructive,
            needs_privilege: false,
        });
        id
    }

    fn has(&self, id: &str) -> bool {
        self.steps.iter().any(|step| step.id == id)
    }

    fn foreign(&mut self, resource: ResourceId, labels: &BTreeMap<String, String>) {
        let another_name = Remedy::say("or choose another name for this platform with `--name`");
        let (message, mut remedies) = match labels.get(label::PLATFORM) {
            Some(other) => (format!("belongs to the platform {other}"), Vec::new()),
            None => {
                let maker = labels
                    .get("com.docker.compose.project")
                    .map(|project| format!("; it belongs to the Compose project {project}"))
                    .unwrap_or_default();
                let name = resource.name.as_str();
                let remedies = match resource.kind {
                    ResourceKind::Container => {
                        vec![Remedy::shell(["docker", "rename", name, &format!("{name}-old")])]
                    }
                    kind => {
                        let what = if kind == ResourceKind::Network { "network" } else { "volume" };
                        vec![
                            Remedy::say(format!("remove the {what} if nothing needs it")),
                            Remedy::shell(["docker", what, "rm", name]),
                        ]
                    }
                };
                (format!("exists and was not made by macula{maker}"), remedies)
            }
        };
        remedies.push(another_name);
        self.conflicts.push(Conflict { resource, message, port: None, remedies });
    }

    fn is_ours(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(label::PLATFORM).is_some_and(|name| name == self.wish.platform)
    }

    /// Missing networks. Returns those that exist with another specification: their containers
    /// move over.
    fn networks(&mut self, wanted: &[&ContainerSpec]) -> BTreeSet<String> {
        let mut replaced = BTreeSet::new();
        let wish = self.wish;
        for spec in &wish.resources.networks {
            let used = wanted
                .iter()
                .any(|container| container.networks.iter().any(|attachment| attachment.network == spec.name));
            if !used {
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
                    remedies: vec![
                        Remedy::say("see which of them is in use, and remove the others"),
                        Remedy::shell(["docker", "network", "inspect", &spec.name]),
                    ],
                });
                continue;
            }
            match self.observed.network(&spec.name) {
                None if spec.external => self.conflicts.push(Conflict {
                    port: None,
                    resource: id,
                    message: "is external and does not exist".into(),
                    remedies: vec![Remedy::shell(["docker", "network", "create", &spec.name])],
                }),
                None => {
                    let action = Action::CreateNetwork(spec.clone());
                    self.add(Verb::Create, id, "network", action, Cause::Missing, Vec::new());
                }
                Some(_) if spec.external => {}
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign(id, &labels);
                }
                Some(found) => {
                    // to move it everything on it must move along, the unselected too
                    let whole = wish.selection.is_none();
                    if whole && found.labels.get(label::FINGERPRINT) != Some(&spec.fingerprint().0) {
                        replaced.insert(spec.name.clone());
                    }
                }
            }
        }
        replaced
    }

    /// Removes and makes again the networks whose specification changed, once nothing is on them.
    fn move_networks(&mut self, replaced: &BTreeSet<String>) {
        let wish = self.wish;
        for spec in wish.resources.networks.iter().filter(|spec| replaced.contains(&spec.name)) {
            let id = ResourceId::new(ResourceKind::Network, &spec.name);
            let leaving: Vec<StepId> = self
                .steps
                .iter()
                .filter(|step| matches!(&step.action, Action::RemoveContainer { .. }))
                .map(|step| step.id.clone())
                .collect();
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

    fn images(&mut self, wanted: &[&ContainerSpec]) {
        let mut made: BTreeMap<String, StepId> = BTreeMap::new();
        // builds take turns: what others wait for goes first, then what takes longest to prepare
        let mut wanted = wanted.to_vec();
        let needs = wanted_services(self.wish);
        wanted.sort_by_cached_key(|spec| std::cmp::Reverse((dependents(spec, &needs), self.is_prepared(spec))));
        for container in &wanted {
            let Some(Choice::Obtain { spec, pull, build }) = self.wish.supply.choices.get(&container.service) else {
                continue;
            };
            let key = spec.build.as_ref().map_or_else(|| spec.reference.clone(), |build| build.tag.clone());
            let step = match made.get(&key) {
                Some(step) => step.clone(),
                None => {
                    // a service with only a build is named by its tag, which says less than its name
                    let verb = if *pull { Verb::Get } else { Verb::Build };
                    let id = ResourceId::new(ResourceKind::Image, &spec.reference);
                    let name = if *pull { spec.reference.clone() } else { container.service.clone() };
                    let cause = if self.observed.images.contains_key(&spec.reference) {
                        Cause::Changed { what: vec!["image".into()] }
                    } else {
                        Cause::Missing
                    };
                    let after = if *pull { None } else { self.base(spec) };
                    let action = Action::ObtainImage { spec: spec.clone(), pull: *pull, build: *build };
                    // two builds may bear one name
                    let step = verb.image(&name);
                    let step = if self.has(&step) { format!("{step} of {}", container.service) } else { step };
                    self.add_as(step, id, &container.service, action, cause, after.into_iter().collect())
                }
            };
            made.insert(key, step.clone());
            self.obtained.insert(container.service.clone(), step);
        }
        self.built_from();
    }

    /// A build that takes files of an image follows the step that gets this image.
    fn built_from(&mut self) {
        let image = |step: &Step| match &step.action {
            Action::ObtainImage { spec, .. } => Some(spec.reference.clone()),
            _ => None,
        };
        let got: BTreeMap<String, StepId> =
            self.steps.iter().filter_map(|step| Some((image(step)?, step.id.clone()))).collect();
        for step in &mut self.steps {
            let Action::ObtainImage { spec, .. } = &step.action else { continue };
            let contexts = spec.build.iter().flat_map(|build| build.spec.contexts.values());
            let first = contexts.filter_map(|place| got.get(place.strip_prefix(IMAGE_CONTEXT)?));
            let first: Vec<StepId> = first.filter(|id| **id != step.id).cloned().collect();
            step.after.extend(first);
        }
    }

    /// An image that lies in the platform's own registry can be pulled once that one answers.
    fn own_registry(&mut self, wanted: &[&ContainerSpec]) {
        let gate = |registry: &str, image: &ImageSpec| {
            // the ingress holds the ports of some, and is no more use without them than they without it
            let holds = |spec: &&&ContainerSpec| {
                let ports = spec.ports.iter().chain(&spec.guarded);
                let addresses = ports.filter_map(|port| Some((port.host_ip, port.host_port?)));
                addresses.map(std::net::SocketAddr::from).any(|address| address.to_string() == registry)
            };
            let holders: Vec<_> = wanted.iter().filter(holds).collect();
            let own = holders.iter().any(|holder| image.services.contains(&holder.service));
            let gates = holders.into_iter().filter(|_| !own);
            gates.map(|holder| Verb::Await.container(&holder.name)).collect::<Vec<StepId>>()
        };
        let known: BTreeSet<StepId> = self.steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut self.steps {
            let Action::ObtainImage { spec, pull: true, .. } = &step.action else { continue };
            let hosts = spec.pull.iter().map(|reference| split_registry(reference).0);
            let gates: Vec<StepId> = hosts.flat_map(|host| gate(host, spec)).filter(|id| known.contains(id)).collect();
            step.after.extend(gates);
        }
    }

    /// Its build begins with work on the host.
    fn is_prepared(&self, spec: &ContainerSpec) -> bool {
        match self.wish.supply.choices.get(&spec.service) {
            Some(Choice::Obtain { spec, pull: false, .. }) => {
                spec.build.as_ref().is_some_and(|build| !build.prepare.is_empty())
            }
            _ => false,
        }
    }

    /// The step that makes the base of a build. Where a pull comes first the base is made only when
    /// that fails, as part of the build.
    fn base(&mut self, spec: &ImageSpec) -> Option<StepId> {
        let base = spec.build.as_ref()?.base.as_ref()?;
        if self.observed.images.contains_key(&base.reference) {
            return None;
        }
        let id = ResourceId::new(ResourceKind::Image, &base.reference);
        let step = Verb::Make.step(&id);
        if self.has(&step) {
            return Some(step);
        }
        Some(self.add(Verb::Make, id, "base image", Action::MakeBase(base.clone()), Cause::Missing, Vec::new()))
    }

    fn image_use(&self, service: &str) -> Option<ImageUse> {
        match self.wish.supply.choices.get(service)? {
            Choice::Present { reference, source, .. } => {
                Some(ImageUse::Present { reference: reference.clone(), source: *source })
            }
            Choice::Obtain { .. } => Some(ImageUse::Obtained { step: self.obtained.get(service)?.clone() }),
        }
    }

    fn volumes(&mut self, wanted: &[&ContainerSpec]) {
        let wish = self.wish;
        for spec in &wish.resources.volumes {
            let Some(user) = wanted.iter().find(|container| mounts(container, &spec.name)) else { continue };
            let id = ResourceId::new(ResourceKind::Volume, &spec.name);
            match self.observed.volume(&spec.name) {
                None if spec.external => self.conflicts.push(Conflict {
                    port: None,
                    resource: id,
                    message: "is external and does not exist".into(),
                    remedies: vec![Remedy::shell(["docker", "volume", "create", &spec.name])],
                }),
                None => self.create_volume(id, spec, user),
                Some(_) if spec.external => {}
                // made by a version that did not label what a container mounts without a name
                Some(found)
                    if !found.labels.contains_key(label::PLATFORM)
                        && spec.name.strip_prefix(&user.name).is_some_and(|rest| rest.starts_with('-')) => {}
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign(id, &labels);
                }
                // a data volume is never replaced, whatever its specification
                Some(_) => {}
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
        for found in &self.observed.unfinished {
            if !self.is_ours(&found.labels) {
                continue;
            }
            let service = found.label(label::SERVICE).unwrap_or(&found.name);
            if self.wish.selection.is_none_or(|chosen| chosen.contains(service)) {
                let id = ResourceId::new(ResourceKind::Container, &found.name);
                let action = Action::RemoveContainer { container: found.name.clone() };
                self.add(Verb::Remove, id, service, action, Cause::Unfinished, Vec::new());
            }
        }
    }

    fn verdicts(&mut self, wanted: &[&ContainerSpec], replaced: &BTreeSet<String>) -> BTreeMap<String, Verdict> {
        let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
        for spec in wanted {
            let verdict = match self.observed.container(&spec.name) {
                None => Verdict::Create,
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign(ResourceId::new(ResourceKind::Container, &spec.name), &labels);
                    Verdict::Conflict
                }
                Some(found) => self.verdict(spec, found, replaced),
            };
            verdicts.insert(spec.name.clone(), verdict);
        }
        let all = &self.wish.resources.containers;
        let chosen: BTreeSet<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
        // the engine keeps the id of what is shared, so that whoever shares something of a new container is made again,
        // too
        while let Some((name, other)) = all.iter().find_map(|spec| {
            match verdicts.get(&spec.name) {
                Some(Verdict::Create | Verdict::Recreate(_) | Verdict::Conflict) => return None,
                Some(_) => {}
                None if chosen.contains(spec.name.as_str()) || !self.runs_for_us(&spec.name) => return None,
                None => {}
            }
            let new = |name: &&str| matches!(verdicts.get(*name), Some(Verdict::Create | Verdict::Recreate(_)));
            let other = shares(spec).find(new)?;
            let other = all.iter().find(|spec| spec.name == other)?;
            Some((spec.name.clone(), other.service.clone()))
        }) {
            verdicts.insert(name, Verdict::Recreate(Cause::Replaces { what: other }));
        }
        // `depends_on: {x: {restart: true}}`, until nothing more follows; also of what was not chosen, where it runs
        loop {
            let follower = all.iter().find_map(|spec| {
                let stands = match verdicts.get(&spec.name) {
                    Some(verdict) => matches!(verdict, Verdict::Right | Verdict::Await),
                    None => !chosen.contains(spec.name.as_str()) && self.runs_for_us(&spec.name),
                };
                if !stands {
                    return None;
                }
                let cause = spec.depends_on.iter().filter(|dependency| dependency.restart).find(|dependency| {
                    all.iter().any(|other| {
                        other.service == dependency.service
                            && matches!(verdicts.get(&other.name), Some(Verdict::Recreate(_) | Verdict::Restart(_)))
                    })
                })?;
                Some((spec.name.clone(), cause.service.clone()))
            });
            let Some((name, service)) = follower else { return verdicts };
            verdicts.insert(name, Verdict::Restart(Cause::Replaces { what: service }));
        }
    }

    fn runs_for_us(&self, container: &str) -> bool {
        let running = |found: &ObservedContainer| found.state == ContainerState::Running && self.is_ours(&found.labels);
        self.observed.container(container).is_some_and(running)
    }

    fn verdict(&self, spec: &ContainerSpec, found: &ObservedContainer, replaced: &BTreeSet<String>) -> Verdict {
        if let Some(network) = spec.networks.iter().find(|attachment| replaced.contains(&attachment.network)) {
            return Verdict::Recreate(Cause::Replaces { what: format!("network {}", network.network) });
        }
        if self.anew.contains(&spec.service) {
            return Verdict::Recreate(Cause::Requested);
        }
        let wanted = spec.fingerprint.as_ref().map(|fingerprint| fingerprint.0.as_str());
        if found.label(label::FINGERPRINT) != wanted {
            let what = Fingerprint::changed_parts(found.label(label::PARTS).unwrap_or_default(), &spec.parts);
            let what = if what.is_empty() { vec!["specification".to_owned()] } else { what };
            return Verdict::Recreate(Cause::Changed { what });
        }
        if let Some(names) = spec.labels.get(label::NAMES) {
            let held: BTreeSet<&str> = found.label(label::NAMES).unwrap_or_default().split(',').collect();
            if names.split(',').any(|name| !held.contains(name)) {
                return Verdict::Recreate(Cause::Changed { what: vec!["names".into()] });
            }
        }
        if let Some(ports) = spec.labels.get(label::PORTS)
            && found.label(label::PORTS) != Some(ports)
        {
            return Verdict::Recreate(Cause::Changed { what: vec!["ports".into()] });
        }
        match self.wish.supply.choices.get(&spec.service) {
            Some(Choice::Present { id, .. }) if *id != found.image_id => {
                return Verdict::Recreate(Cause::Changed { what: vec!["image".into()] });
            }
            Some(Choice::Obtain { .. }) => {
                return Verdict::Recreate(Cause::Changed { what: vec!["image".into()] });
            }
            _ => {}
        }
        let done = found.state == ContainerState::Exited && found.exit_code == Some(0);
        match found.state {
            ContainerState::Running if spec.readiness.one_shot => Verdict::Await,
            ContainerState::Running if matches!(found.health, Health::Healthy | Health::None) => Verdict::Right,
            ContainerState::Running => Verdict::Await,
            ContainerState::Restarting => Verdict::Await,
            // Compose would start it again at every `up`; what has done its work is right, as long as
            // what it has worked on is still the same
            ContainerState::Exited if done && spec.may_end() => match self.started_since(spec, found) {
                Some(service) => Verdict::Again(Cause::Replaces { what: service }),
                None => Verdict::Right,
            },
            ContainerState::Dead | ContainerState::Removing => Verdict::Recreate(Cause::NotRunning),
            // it could not be started: what it shared may be gone for good
            _ if !found.error.is_empty() && shares(spec).next().is_some() => Verdict::Recreate(Cause::NotRunning),
            _ => Verdict::Start,
        }
    }

    /// A service that a one-shot depends on with `restart: true`, and that was started after it: what lives in
    /// memory there is gone.
    fn started_since(&self, spec: &ContainerSpec, found: &ObservedContainer) -> Option<String> {
        if !spec.readiness.one_shot {
            return None;
        }
        let began = found.started_at?;
        let newer = |service: &str| {
            let mut containers = self.observed.containers.iter().filter(|other| self.is_ours(&other.labels));
            containers.any(|other| {
                other.label(label::SERVICE) == Some(service)
                    && other.label(label::ONE_SHOT).is_none()
                    && other.state == ContainerState::Running
                    && other.started_at.is_some_and(|started| started > began)
            })
        };
        let mut followed = spec.depends_on.iter().filter(|dependency| dependency.restart);
        followed.find(|dependency| newer(&dependency.service)).map(|dependency| dependency.service.clone())
    }

    fn take_turns(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        let running = |spec: &ContainerSpec| {
            self.observed.container(&spec.name).is_some_and(|found| found.state == ContainerState::Running)
        };
        let replaced = |spec: &&&ContainerSpec| {
            let replaced = matches!(verdicts.get(&spec.name), Some(Verdict::Recreate(_) | Verdict::Restart(_)));
            replaced && running(spec) && !spec.readiness.one_shot
        };
        let replaced: Vec<&ContainerSpec> = wanted.iter().filter(replaced).copied().collect();
        let needs = wanted_services(self.wish);
        let rank = |spec: &ContainerSpec| dependents(spec, &needs);
        turns::take(&mut self.steps, &replaced, &self.wish.resources.routes, self.wish.supply, &rank);
    }

    /// Ports that somebody else holds. Nothing is created when there is one.
    fn ports(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        let starts = |name: &str| {
            !matches!(verdicts.get(name), None | Some(Verdict::Right | Verdict::Await | Verdict::Conflict))
        };
        for spec in wanted.iter().filter(|spec| starts(&spec.name)) {
            for port in &spec.ports {
                let Some(number) = port.host_port else { continue };
                let held = self.observed.listeners.iter().find(|listener| listener.is_in_the_way_of(port));
                let Some(holder) = held else { continue };
                let own = self.observed.containers.iter().any(|container| {
                    self.is_ours(&container.labels)
                        && container.ports.iter().any(|bound| {
                            bound.host_port == Some(number)
                                && bound.protocol == port.protocol
                                && bound.host_ip == holder.address
                        })
                });
                if own {
                    continue;
                }
                let container = publisher(self.observed, holder);
                let who = match (container, &holder.process, holder.pid) {
                    (Some(found), _, _) => format!("the container {}", found.name),
                    (None, Some(process), Some(pid)) => format!("{process} (pid {pid})"),
                    (None, Some(process), None) => process.clone(),
                    (None, None, Some(pid)) => format!("pid {pid}"),
                    (None, None, None) => "another process, which only root can see".to_owned(),
                };
                let address = std::net::SocketAddr::new(port.host_ip, number);
                self.conflicts.push(Conflict {
                    resource: ResourceId::new(ResourceKind::Container, &spec.name),
                    message: format!(
                        "port {number} is taken: {who} listens on {}, and {} needs {address}/{}",
                        std::net::SocketAddr::new(holder.address, number),
                        spec.service,
                        port.protocol,
                    ),
                    port: Some((spec.service.clone(), number)),
                    remedies: vec![
                        match (container, holder.pid) {
                            (Some(found), _) => Remedy::shell(["docker", "stop", &found.name]),
                            (None, Some(pid)) => Remedy::shell(["kill".to_owned(), pid.to_string()]),
                            (None, None) => Remedy::shell(["sudo", "ss", "-lptn", &format!("sport = :{number}")]),
                        },
                        Remedy::say("publish on another port, or choose another name for this platform with `--name`"),
                    ],
                });
            }
        }
    }

    fn containers(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        // the gates that others wait for are named first, so that the order of services is free
        let mut gates: BTreeMap<&str, Vec<(Option<StepId>, StepId)>> = BTreeMap::new();
        for spec in wanted {
            let (start, ready) = (Verb::Start.container(&spec.name), Verb::Await.container(&spec.name));
            match verdicts.get(&spec.name) {
                Some(
                    Verdict::Create | Verdict::Recreate(_) | Verdict::Start | Verdict::Again(_) | Verdict::Restart(_),
                ) => {
                    gates.entry(&spec.service).or_default().push((Some(start), ready));
                }
                // it has started already, whatever its health
                Some(Verdict::Await) => gates.entry(&spec.service).or_default().push((None, ready)),
                _ => {}
            }
        }
        for spec in wanted {
            let Some(verdict) = verdicts.get(&spec.name) else { continue };
            self.container(spec, verdict, &gates);
        }
    }

    fn container(
        &mut self,
        spec: &ContainerSpec,
        verdict: &Verdict,
        gates: &BTreeMap<&str, Vec<(Option<StepId>, StepId)>>,
    ) {
        let id = ResourceId::new(ResourceKind::Container, &spec.name);
        let group = spec.service.as_str();
        let name = spec.name.clone();
        let needs: Vec<StepId> = spec
            .depends_on
            .iter()
            .flat_map(|dependency| {
                gates.get(dependency.service.as_str()).into_iter().flatten().filter_map(move |(start, ready)| {
                    if dependency.condition == Condition::ServiceStarted { start.clone() } else { Some(ready.clone()) }
                })
            })
            .collect();
        let await_ready = Action::AwaitReady { spec: Box::new(spec.clone()), readiness: spec.readiness.clone() };
        let cause = match verdict {
            Verdict::Conflict => return,
            Verdict::Right => return self.files(spec, true),
            Verdict::Await => {
                self.files(spec, true);
                self.add(Verb::Await, id, group, await_ready, Cause::NotHealthy, Vec::new());
                return;
            }
            Verdict::Create => Cause::Missing,
            Verdict::Start => Cause::NotRunning,
            Verdict::Recreate(cause) | Verdict::Restart(cause) | Verdict::Again(cause) => cause.clone(),
        };
        let mut before_start = needs;
        match verdict {
            Verdict::Create | Verdict::Recreate(_) => {
                let Some(image) = self.image_use(group) else { return };
                let mut before_create = self.made_for(spec);
                // with it goes what it holds: a volume, an address
                before_create.extend(self.steps.iter().filter_map(|step| {
                    let left_over = step.cause == Cause::Unfinished && step.group == group;
                    (left_over && matches!(step.action, Action::RemoveContainer { .. })).then(|| step.id.clone())
                }));
                if let ImageUse::Obtained { step } = &image {
                    before_create.push(step.clone());
                }
                if let Verdict::Recreate(cause) = verdict
                    && spec.update.start_first
                    && !spec.readiness.one_shot
                {
                    return self.start_first(spec, image, cause, before_create, before_start);
                }
                if let Verdict::Recreate(_) = verdict {
                    // the old one runs on until everything for the new one is there
                    let stop = self.stop(spec);
                    let stop = self.add(Verb::Stop, id.clone(), group, stop, cause.clone(), before_create.clone());
                    let remove = Action::RemoveContainer { container: name.clone() };
                    before_create.push(self.add(Verb::Remove, id.clone(), group, remove, cause.clone(), vec![stop]));
                }
                before_create.extend(made_of(spec, gates));
                let create = Action::CreateContainer { spec: Box::new(spec.clone()), image };
                before_start.push(self.add(Verb::Create, id.clone(), group, create, cause.clone(), before_create));
            }
            Verdict::Restart(_) => {
                let stop = self.stop(spec);
                before_start.push(self.add(Verb::Stop, id.clone(), group, stop, cause.clone(), Vec::new()));
                self.files(spec, false);
            }
            _ => self.files(spec, false),
        }
        let copied = Verb::CopyFilesInto.step(&id);
        if self.has(&copied) {
            before_start.push(copied);
        }
        let start = self.add(
            Verb::Start,
            id.clone(),
            group,
            Action::Start { container: name, hooks: Hook::of(&spec.labels, label::POST_START) },
            cause.clone(),
            before_start,
        );
        self.add(Verb::Await, id, group, await_ready, cause, vec![start]);
    }

    /// Stops a container, which may have been made with other hooks than are wanted now.
    fn stop(&self, spec: &ContainerSpec) -> Action {
        let labels = self.observed.container(&spec.name).map(|found| &found.labels);
        let hooks = labels.map(|labels| Hook::of(labels, label::PRE_STOP)).unwrap_or_default();
        Action::Stop { container: spec.name.clone(), grace: spec.stop_grace_ms.map(Duration::from_millis), hooks }
    }

    /// The new container is ready, under another name, before the old one goes.
    fn start_first(
        &mut self,
        spec: &ContainerSpec,
        image: ImageUse,
        cause: &Cause,
        before_create: Vec<StepId>,
        mut before_start: Vec<StepId>,
    ) {
        let id = ResourceId::new(ResourceKind::Container, &spec.name);
        let group = spec.service.as_str();
        let stand_in = spec.stand_in();
        let new = stand_in.name.clone();
        let stop = self.stop(spec);
        let mut add = |verb: Verb, action, after| self.add(verb, id.clone(), group, action, cause.clone(), after);
        let create = Action::CreateContainer { spec: Box::new(stand_in.clone()), image };
        before_start.push(add(Verb::Create, create, before_create));
        let hooks = Hook::of(&spec.labels, label::POST_START);
        let start = add(Verb::Start, Action::Start { container: new.clone(), hooks }, before_start);
        let ready = Action::AwaitReady { readiness: spec.readiness.clone(), spec: Box::new(stand_in) };
        let ready = add(Verb::Await, ready, vec![start]);
        let old = spec.name.clone();
        let stop = add(Verb::Stop, stop, vec![ready]);
        let remove = add(Verb::Remove, Action::RemoveContainer { container: old.clone() }, vec![stop]);
        add(Verb::Rename, Action::RenameContainer { container: new, to: old }, vec![remove]);
    }

    /// Steps that make the networks and volumes of a container.
    fn made_for(&self, spec: &ContainerSpec) -> Vec<StepId> {
        let networks = spec.networks.iter().map(|attachment| (ResourceKind::Network, attachment.network.as_str()));
        let volumes = spec.mounts.iter().filter_map(|mount| match mount {
            crate::model::MountSpec::Volume { source, .. } => Some((ResourceKind::Volume, source.as_str())),
            _ => None,
        });
        networks
            .chain(volumes)
            .map(|(kind, name)| Verb::Create.step(&ResourceId::new(kind, name)))
            .filter(|step| self.has(step))
            .collect()
    }

    /// Files that a reload takes up and that differ in the container.
    fn files(&mut self, spec: &ContainerSpec, running: bool) {
        let Some(reload) = &spec.reload else { return };
        let held = self.observed.files.get(&spec.name);
        let changed: Vec<_> = spec
            .files
            .iter()
            .filter(|file| file.reload)
            .filter(|file| held.and_then(|held| held.get(&file.path)) != Some(&Fingerprint::of_bytes(&file.content).0))
            .cloned()
            .collect();
        let untold = running && self.observed.unreloaded.contains(&spec.name);
        if changed.is_empty() && !untold {
            return;
        }
        let id = ResourceId::new(ResourceKind::Container, &spec.name);
        let mut copied = Vec::new();
        let mut cause = Cause::Unfinished;
        if !changed.is_empty() {
            cause = Cause::Changed { what: changed.iter().map(|file| file.path.clone()).collect() };
            let check = if running { spec.reload_check.clone() } else { Vec::new() };
            let write = Action::WriteFiles { container: spec.name.clone(), files: changed, check };
            copied.push(self.add(Verb::CopyFilesInto, id.clone(), &spec.service, write, cause.clone(), Vec::new()));
        }
        if running && *reload != Reload::None {
            let action = Action::Reload { container: spec.name.clone(), how: reload.clone() };
            self.add(Verb::Reload, id, &spec.service, action, cause, copied);
        }
    }

    /// A port that another container of ours publishes is free once that one is stopped.
    fn free_ports(&mut self, wanted: &[&ContainerSpec]) {
        let stops: BTreeSet<StepId> = self
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Stop { .. }))
            .map(|step| step.id.clone())
            .collect();
        for step in &mut self.steps {
            let Action::Start { container, .. } = &step.action else { continue };
            let Some(spec) = wanted.iter().find(|spec| spec.name == *container) else { continue };
            let holders =
                self.observed.containers.iter().filter(|found| found.name != spec.name && publishes(found, spec));
            let freed = holders.map(|found| Verb::Stop.container(&found.name));
            step.after.extend(freed.filter(|id| stops.contains(id)));
            step.after.sort();
            step.after.dedup();
        }
    }

    /// Ours, and in no stack any more. Volumes are data and stay.
    fn orphans(&mut self) {
        let wish = self.wish;
        let left_out: BTreeSet<&str> = wish.supply.left_out.iter().map(|left| left.service.as_str()).collect();
        let orphans: Vec<&ObservedContainer> = self
            .observed
            .containers
            .iter()
            .filter(|found| self.is_ours(&found.labels))
            .filter(|found| !wish.resources.containers.iter().any(|spec| spec.name == found.name))
            .filter(|found| !found.labels.contains_key(label::RELAY) || wish.resources.publishes())
            // an image that cannot be had today is no reason to take down what runs
            .filter(|found| !left_out.contains(found.label(label::SERVICE).unwrap_or_default()))
            .collect();
        let mut removed = Vec::new();
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
            removed.push(self.add(Verb::Remove, id, &group, remove, Cause::Orphaned, vec![stop]));
        }
        for found in &self.observed.networks {
            let wanted = wish.resources.networks.iter().any(|spec| spec.name == found.name);
            if self.is_ours(&found.labels) && !wanted {
                let id = ResourceId::new(ResourceKind::Network, &found.name);
                let action = Action::RemoveNetwork { name: found.name.clone() };
                self.add(Verb::Remove, id, "network", action, Cause::Orphaned, removed.clone());
            }
        }
    }
}

/// The containers whose network, processes or IPC this one shares.
fn shares(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    let modes = [&spec.network_mode, &spec.options.pid, &spec.options.ipc];
    modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("container:"))
}

/// The starts of the containers whose network, processes, IPC or volumes this one shares: the engine makes it
/// only when they are there.
fn made_of(spec: &ContainerSpec, gates: &BTreeMap<&str, Vec<(Option<StepId>, StepId)>>) -> Vec<StepId> {
    let volumes = spec.options.volumes_from.iter().map(|from| from.split(':').next().unwrap_or(from));
    let starts = shares(spec).chain(volumes).map(|other| Verb::Start.container(other));
    starts.filter(|start| gates.values().flatten().any(|(gate, _)| gate.as_ref() == Some(start))).collect()
}

/// One of the ports that this specification publishes.
pub(super) fn publishes(found: &ObservedContainer, spec: &ContainerSpec) -> bool {
    spec.ports.iter().any(|port| {
        found.ports.iter().any(|bound| {
            let meets =
                bound.host_ip == port.host_ip || bound.host_ip.is_unspecified() || port.host_ip.is_unspecified();
            port.host_port.is_some() && bound.host_port == port.host_port && bound.protocol == port.protocol && meets
        })
    })
}

/// The container that a proxy of the engine's listens for.
fn publisher<'o>(observed: &'o Observed, listener: &Listener) -> Option<&'o ObservedContainer> {
    observed.neighbours.iter().filter(|found| found.state == ContainerState::Running).find(|found| {
        found.ports.iter().any(|port| {
            let here =
                port.host_ip == listener.address || port.host_ip.is_unspecified() && listener.address.is_unspecified();
            port.host_port == Some(listener.port) && port.protocol == listener.protocol && here
        })
    })
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

fn mounts(spec: &ContainerSpec, volume: &str) -> bool {
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
