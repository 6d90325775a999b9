//! The steps of the containers, as their verdicts want them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Condition, ContainerSpec, ContainerState, Fingerprint, Hook, Reload, ResourceId, ResourceKind, label,
};
use crate::plan::{Action, Cause, ImageUse, StepId, Verb, turns};

use super::ports::{holds, shares_data};
use super::verdict::{Verdict, shares};
use super::{Planner, dependents, wanted_services};

impl Planner<'_> {
    pub(super) fn take_turns(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
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

    /// What runs goes on until the jobs and tasks are done that its new container waits for: where one of them fails, it is
    /// still there. Not where a job works on its data.
    pub(super) fn outlast_jobs(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        let mut edges: Vec<(StepId, StepId)> = Vec::new();
        for spec in wanted.iter().filter(|spec| !spec.readiness.one_shot && !self.stands_in(spec, verdicts)) {
            let Some(Verdict::Recreate(_)) = verdicts.get(&spec.name) else { continue };
            let Some(found) = self.observed.container(&spec.name) else { continue };
            let start = Verb::Start.container(&spec.name);
            let Some(start) = self.steps.iter().find(|step| step.id == start) else { continue };
            let is_job = |id: &&StepId| {
                self.steps.iter().filter(|step| step.id == **id).any(|step| match &step.action {
                    Action::RunTask { .. } => true,
                    Action::AwaitReady { spec: job, readiness } => readiness.one_shot && !shares_data(found, job),
                    _ => false,
                })
            };
            let jobs = start.after.iter().filter(is_job);
            edges.extend(jobs.map(|job| (job.clone(), Verb::Stop.container(&spec.name))));
        }
        turns::put_off(&mut self.steps, &edges);
    }

    pub(super) fn containers(&mut self, wanted: &[&ContainerSpec], verdicts: &BTreeMap<String, Verdict>) {
        // the gates that others wait for are named first, so that the order of services is free
        let mut gates: BTreeMap<&str, Vec<(Option<StepId>, StepId)>> = BTreeMap::new();
        for spec in wanted {
            let (start, ready) = (Verb::Start.container(&spec.name), Verb::Await.container(&spec.name));
            match verdicts.get(&spec.name) {
                Some(
                    Verdict::Create
                    | Verdict::Recreate(_)
                    | Verdict::Start
                    | Verdict::Again(_)
                    | Verdict::Restart(_)
                    | Verdict::Hooks,
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
            self.container(spec, verdict, &gates, verdicts);
        }
        let wish = self.wish;
        for spec in &wish.resources.tasks {
            let Some(cause) = self.due.get(&spec.name).cloned() else { continue };
            let ready = spec.after.iter().flat_map(|name| gates.get(name.as_str()).into_iter().flatten());
            let mut after: Vec<StepId> = ready.map(|(_, ready)| ready.clone()).collect();
            after
                .extend(spec.after.iter().filter(|name| self.due.contains_key(*name)).map(|name| Verb::Run.task(name)));
            let id = ResourceId::new(ResourceKind::Task, &spec.name);
            self.add(Verb::Run, id, &spec.name, Action::RunTask { spec: Box::new(spec.clone()) }, cause, after);
        }
    }

    fn container(
        &mut self,
        spec: &ContainerSpec,
        verdict: &Verdict,
        gates: &BTreeMap<&str, Vec<(Option<StepId>, StepId)>>,
        verdicts: &BTreeMap<String, Verdict>,
    ) {
        let id = ResourceId::new(ResourceKind::Container, &spec.name);
        let group = spec.service.as_str();
        let name = spec.name.clone();
        let tasks = self.wish.resources.tasks.iter().filter(|task| task.before.contains(group));
        let tasks = tasks.filter(|task| self.due.contains_key(&task.name)).map(|task| Verb::Run.task(&task.name));
        let needs: Vec<StepId> = spec
            .depends_on
            .iter()
            .flat_map(|dependency| {
                gates.get(dependency.service.as_str()).into_iter().flatten().filter_map(move |(start, ready)| {
                    if dependency.condition == Condition::ServiceStarted { start.clone() } else { Some(ready.clone()) }
                })
            })
            .chain(tasks)
            .collect();
        let await_ready = Action::AwaitReady { spec: Box::new(spec.clone()), readiness: spec.readiness.clone() };
        let cause = match verdict {
            Verdict::Conflict => return,
            Verdict::Right => return self.files(spec, true),
            Verdict::Remove(cause) => {
                let remove = Action::RemoveContainer { container: name };
                self.add(Verb::Remove, id, group, remove, cause.clone(), Vec::new());
                return;
            }
            Verdict::Await => {
                self.files(spec, true);
                self.add(Verb::Await, id, group, await_ready, Cause::NotHealthy, Vec::new());
                return;
            }
            Verdict::Create => self.runs(spec, None, verdicts).unwrap_or(Cause::Missing),
            Verdict::Start => Cause::NotRunning,
            Verdict::Hooks => Cause::PostStart,
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
                before_create.extend(self.obtained.get(group).cloned());
                let shared = self.made_of(spec, gates, verdicts);
                if self.stands_in(spec, verdicts) {
                    before_create.extend(shared);
                    return self.start_first(spec, image, &cause, before_create, before_start);
                }
                if let Verdict::Recreate(_) = verdict {
                    // the old one runs on until everything for the new one is there, unless all others wait for it to
                    // leave a network
                    let there = if self.replaced.is_empty() { before_create.clone() } else { Vec::new() };
                    let stop = self.stop(spec);
                    let stop = self.add(Verb::Stop, id.clone(), group, stop, cause.clone(), there);
                    let remove = Action::RemoveContainer { container: name.clone() };
                    before_create.push(self.add(Verb::Remove, id.clone(), group, remove, cause.clone(), vec![stop]));
                }
                before_create.extend(shared);
                let create = Action::CreateContainer { spec: Box::new(spec.clone()), image };
                before_start.push(self.add(Verb::Create, id.clone(), group, create, cause.clone(), before_create));
            }
            Verdict::Restart(_) => {
                let stop = self.stop(spec);
                before_start.push(self.add(Verb::Stop, id.clone(), group, stop, cause.clone(), Vec::new()));
                self.files(spec, false);
            }
            Verdict::Hooks => self.files(spec, true),
            _ => self.files(spec, false),
        }
        let told = [Verb::CopyFilesInto, Verb::Reload].map(|verb| verb.step(&id));
        before_start.extend(told.into_iter().filter(|step| self.has(step)));
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

    /// Whether the new container is made before the old one goes. Not where all have to leave a network that is made
    /// again, nor where another container waits for the old one's end: they would wait for each other.
    fn stands_in(&self, spec: &ContainerSpec, verdicts: &BTreeMap<String, Verdict>) -> bool {
        let recreated = matches!(verdicts.get(&spec.name), Some(Verdict::Recreate(_)));
        if !recreated || !spec.update.start_first || spec.readiness.one_shot || !self.replaced.is_empty() {
            return false;
        }
        let all = &self.wish.resources.containers;
        let found = self.observed.container(&spec.name);
        !found.is_some_and(|found| all.iter().any(|other| holds(found, other, all)))
    }

    /// The steps after which the containers are there, under their names, whose network, processes, IPC or volumes this
    /// one shares: the engine makes it only then, and keeps the id of what has the name.
    fn made_of(
        &self,
        spec: &ContainerSpec,
        gates: &BTreeMap<&str, Vec<(Option<StepId>, StepId)>>,
        verdicts: &BTreeMap<String, Verdict>,
    ) -> Vec<StepId> {
        let volumes = spec.options.volumes_from.iter().map(|from| from.split(':').next().unwrap_or(from));
        let all = &self.wish.resources.containers;
        let there = |name: &str| {
            let start = Verb::Start.container(name);
            if !gates.values().flatten().any(|(gate, _)| gate.as_ref() == Some(&start)) {
                return None;
            }
            let renamed = all.iter().any(|other| other.name == name && self.stands_in(other, verdicts));
            Some(if renamed { Verb::Rename.container(name) } else { start })
        };
        shares(spec).chain(volumes).filter_map(there).collect()
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
            .flat_map(|(kind, name)| {
                let id = ResourceId::new(kind, name);
                [Verb::Create.step(&id), Verb::CopyFilesInto.step(&id)]
            })
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
}
