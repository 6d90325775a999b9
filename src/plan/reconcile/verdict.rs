//! What has to happen to each wanted container.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ContainerSpec, ContainerState, Fingerprint, Health, ObservedContainer, ResourceId, ResourceKind, TaskInputs,
    TaskSpec, label,
};
use crate::plan::{Cause, Choice, tasks};

use super::Planner;

/// What has to happen to one wanted container.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Right,
    Create,
    Recreate(Cause),
    /// It exists as wanted, and does not run.
    Start,
    /// It has done its work, and what it worked on has been started since.
    Again(Cause),
    /// Like `Recreate` without a new container: something it depends on is replaced.
    Restart(Cause),
    /// A task that was done, whose container is in the way of a network that is made again.
    Remove(Cause),
    /// It runs as wanted, but for its `post_start`.
    Hooks,
    Await,
    Conflict,
}

impl Planner<'_> {
    pub(super) fn verdicts(&mut self, wanted: &[&ContainerSpec]) -> BTreeMap<String, Verdict> {
        let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
        // tasks last: what becomes of the others is a reason for them to run
        let (tasks, others): (Vec<&ContainerSpec>, Vec<_>) = wanted.iter().partition(|spec| spec.task.is_some());
        for spec in others.into_iter().chain(tasks) {
            let verdict = match self.observed.container(&spec.name) {
                None if self.is_done(spec, None, &verdicts) => Verdict::Right,
                None => Verdict::Create,
                Some(found) if !self.is_ours(&found.labels) => {
                    let labels = found.labels.clone();
                    self.foreign(ResourceId::new(ResourceKind::Container, &spec.name), &labels);
                    Verdict::Conflict
                }
                Some(found) => match self.task_verdict(spec, found, &verdicts) {
                    Some(verdict) => verdict,
                    None => self.verdict(spec, found),
                },
            };
            verdicts.insert(spec.name.clone(), verdict);
        }
        let all = &self.wish.resources.containers;
        let chosen: BTreeSet<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
        // the engine keeps the id of what is shared, so that whoever shares something of a new container is made again,
        // too
        while let Some((name, other)) = all.iter().find_map(|spec| {
            match verdicts.get(&spec.name) {
                Some(Verdict::Create | Verdict::Recreate(_) | Verdict::Remove(_) | Verdict::Conflict) => return None,
                Some(Verdict::Right) if spec.task.is_some() => return None,
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
                    Some(verdict) => matches!(verdict, Verdict::Right | Verdict::Await | Verdict::Hooks),
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

    /// Why a task runs; nothing where it is done, or is no task.
    pub(super) fn runs(
        &self,
        spec: &ContainerSpec,
        found: Option<&ObservedContainer>,
        verdicts: &BTreeMap<String, Verdict>,
    ) -> Option<Cause> {
        let task = spec.task.as_ref()?;
        if self.anew.contains(&spec.service) {
            return Some(Cause::Requested);
        }
        let new = new_containers(verdicts);
        let around = tasks::Around { resources: self.wish.resources, observed: self.observed, new: &new };
        let moved = |found: &ObservedContainer| {
            is_same(task, found) && self.runs_its_image(&spec.service, found) == Some(false)
        };
        match tasks::runs(spec, task, found, &around) {
            // its container says which image it was, as that of a service does
            None if task.by_image && found.is_some_and(moved) => {
                Some(Cause::Inputs { what: vec![TaskInputs::IMAGE.to_owned()] })
            }
            cause => cause,
        }
    }

    /// Whether a container runs the image that this service is to run, by its id: a tag may have moved. `None`: it is not
    /// known yet which one that will be.
    pub(super) fn runs_its_image(&self, service: &str, found: &ObservedContainer) -> Option<bool> {
        match self.wish.supply.choices.get(service)? {
            Choice::Present { id, .. } => Some(*id == found.image_id),
            Choice::Obtain { .. } => None,
        }
    }

    /// The tasks of this machine that run, and why.
    pub(super) fn due_tasks(&self, verdicts: &BTreeMap<String, Verdict>) -> BTreeMap<String, Cause> {
        let new = new_containers(verdicts);
        let around = tasks::Around { resources: self.wish.resources, observed: self.observed, new: &new };
        let all = self.wish.resources.tasks.iter();
        let chosen = all.filter(|spec| self.wish.selection.is_none_or(|chosen| chosen.contains(&spec.name)));
        let due = chosen.filter_map(|spec| {
            let cause = match self.anew.contains(&spec.name) {
                true => Some(Cause::Requested),
                false => tasks::runs_here(spec, &around),
            };
            Some((spec.name.clone(), cause?))
        });
        due.collect()
    }

    fn is_done(
        &self,
        spec: &ContainerSpec,
        found: Option<&ObservedContainer>,
        verdicts: &BTreeMap<String, Verdict>,
    ) -> bool {
        spec.task.is_some() && self.runs(spec, found, verdicts).is_none()
    }

    /// Of a task's container that is there. One that runs is waited for, if it does what is wanted now.
    fn task_verdict(
        &self,
        spec: &ContainerSpec,
        found: &ObservedContainer,
        verdicts: &BTreeMap<String, Verdict>,
    ) -> Option<Verdict> {
        let task = spec.task.as_ref()?;
        // its network is made again, and cannot be while it is on it; of what was done the note is enough, unless its
        // container, which alone knows, was made of another image
        if let Some(cause) = self.moves(spec) {
            let ended_well = found.state == ContainerState::Exited && found.exit_code == Some(0);
            let is_done = [None, Some(found)].into_iter().all(|found| self.is_done(spec, found, verdicts));
            return (ended_well && is_done).then_some(Verdict::Remove(cause));
        }
        let runs = matches!(found.state, ContainerState::Running | ContainerState::Restarting);
        if runs && is_same(task, found) && !self.anew.contains(&spec.service) {
            let unhooked = self.observed.unhooked.contains(&spec.name);
            return Some(if unhooked { Verdict::Hooks } else { Verdict::Await });
        }
        Some(match self.runs(spec, Some(found), verdicts) {
            Some(cause) => Verdict::Recreate(cause),
            None => Verdict::Right,
        })
    }

    /// It is on a network that is made again.
    fn moves(&self, spec: &ContainerSpec) -> Option<Cause> {
        let mut networks = spec.networks.iter().map(|attachment| &attachment.network);
        let network = networks.find(|network| self.replaced.contains(*network))?;
        Some(Cause::Replaces { what: format!("network {network}") })
    }

    fn verdict(&self, spec: &ContainerSpec, found: &ObservedContainer) -> Verdict {
        if let Some(cause) = self.moves(spec) {
            return Verdict::Recreate(cause);
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
        let obtained = matches!(self.wish.supply.choices.get(&spec.service), Some(Choice::Obtain { .. }));
        if obtained || self.runs_its_image(&spec.service, found) == Some(false) {
            return Verdict::Recreate(Cause::Changed { what: vec!["image".into()] });
        }
        let ended = found.state == ContainerState::Exited && found.exit_code == Some(0);
        let done = ended && !self.observed.lasting.contains(&spec.service);
        let unhooked = self.observed.unhooked.contains(&spec.name);
        let verdict = match found.state {
            ContainerState::Running if unhooked => Verdict::Hooks,
            ContainerState::Running if spec.readiness.one_shot => Verdict::Await,
            ContainerState::Running if matches!(found.health, Health::Healthy | Health::None) => Verdict::Right,
            ContainerState::Running => Verdict::Await,
            // it waits for the engine's next try, which may be a minute away, with the count of those that failed
            ContainerState::Restarting => Verdict::Restart(Cause::NotRunning),
            // Compose would start it again at every `up`; what has done its work is right, as long as
            // what it has worked on is still the same
            ContainerState::Exited if done && spec.may_end() && unhooked => Verdict::Again(Cause::PostStart),
            ContainerState::Exited if done && spec.may_end() => match self.started_since(spec, found) {
                Some(service) => Verdict::Again(Cause::Replaces { what: service }),
                None => Verdict::Right,
            },
            ContainerState::Dead | ContainerState::Removing => Verdict::Recreate(Cause::NotRunning),
            // it could not be started: what it shared may be gone for good
            _ if !found.error.is_empty() && shares(spec).next().is_some() => Verdict::Recreate(Cause::NotRunning),
            _ => Verdict::Start,
        };
        match (verdict, self.lost_network(spec, found)) {
            (Verdict::Start | Verdict::Again(_) | Verdict::Restart(_), Some(network)) => {
                Verdict::Recreate(Cause::Replaces { what: format!("network {network}") })
            }
            // as Compose: nobody who looks for it there finds it
            (Verdict::Right | Verdict::Await | Verdict::Hooks, _) if left_network(spec, found) => {
                Verdict::Recreate(Cause::Changed { what: vec!["networks".into()] })
            }
            (verdict, _) => verdict,
        }
    }

    /// One that was removed since the container was made: it cannot be started any more, also where another network has
    /// the name by now.
    fn lost_network<'s>(&self, spec: &'s ContainerSpec, found: &ObservedContainer) -> Option<&'s str> {
        let mut names = spec.networks.iter().map(|attachment| attachment.network.as_str());
        names.find(|name| {
            let there = self.observed.network(name).map(|network| &network.id);
            found.networks.get(*name).is_some_and(|id| there != Some(id))
        })
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
}

/// Whether the container of a task does, or did, what is wanted now.
fn is_same(task: &TaskSpec, found: &ObservedContainer) -> bool {
    let tried = found.label(label::TASK).and_then(TaskInputs::parse);
    tried.is_some_and(|tried| task.inputs.since(&tried).is_empty())
}

/// Whether somebody has taken a running container off a network that it is to be on.
fn left_network(spec: &ContainerSpec, found: &ObservedContainer) -> bool {
    let Some(attached) = found.attached.as_ref().filter(|_| found.state == ContainerState::Running) else {
        return false;
    };
    spec.networks.iter().any(|attachment| !attached.contains(&attachment.network))
}

/// Containers that are about to be made.
fn new_containers(verdicts: &BTreeMap<String, Verdict>) -> BTreeSet<String> {
    let is_new = |verdict: &Verdict| matches!(verdict, Verdict::Create | Verdict::Recreate(_));
    verdicts.iter().filter(|(_, verdict)| is_new(verdict)).map(|(name, _)| name.clone()).collect()
}

/// The containers whose network, processes or IPC this one shares.
pub(super) fn shares(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    let modes = [&spec.network_mode, &spec.options.pid, &spec.options.ipc];
    modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("container:"))
}
