//! Containers that stand in for each other are replaced one after the other, each once the one before it
//! is ready: replicas, services behind one name of the ingress, and services that run the same program of
//! the same image, such as the members of one cluster. `deploy.update_config` says how many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{ContainerSpec, ResourceId, ResourceKind, Route};

use super::supply::{Choice, Supply};
use super::{Action, Cause, Step, StepId, Verb};

/// Containers of one kind, as numbers into the list of those that are replaced.
type Groups = Vec<BTreeSet<usize>>;

/// Adds the edges and pauses. `replaced`: what runs and is replaced; `rank`: how many services wait for it,
/// which go later, or they would wait for each other. Who must end for another one to begin takes no turn after it.
pub(super) fn take(
    steps: &mut Vec<Step>,
    replaced: &[&ContainerSpec],
    routes: &[Route],
    supply: &Supply,
    rank: &dyn Fn(&ContainerSpec) -> usize,
) {
    let mut order = Order::of(steps);
    for group in groups(replaced, routes, supply) {
        let mut group: Vec<&ContainerSpec> = group.iter().filter_map(|at| replaced.get(*at).copied()).collect();
        group.sort_by_cached_key(|spec| (std::cmp::Reverse(rank(spec)), spec.name.clone()));
        let asked = group.iter().map(|spec| spec.update.parallelism);
        // 0 means all at once, and the most careful of the group decides
        let at_once = asked.filter(|number| *number > 0).min().unwrap_or(u32::MAX);
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        let pause = group.iter().map(|spec| spec.update.delay).max().unwrap_or_default();
        for (at, after) in group.iter().enumerate() {
            // whole batches, as Swarm replaces them
            let batch = (at / at_once).checked_mul(at_once).unwrap_or_default();
            let before = group.get(batch.saturating_sub(at_once)..batch).unwrap_or_default();
            let begins = if order.stands_in(after) { Verb::Start } else { Verb::Stop }.container(&after.name);
            let mut done = Vec::new();
            for spec in before {
                let ends = if order.stands_in(spec) { Verb::Rename } else { Verb::Await }.container(&spec.name);
                if order.add(&ends, &begins) {
                    done.push(paused(steps, spec, ends, pause));
                }
            }
            if let Some(step) = steps.iter_mut().find(|step| step.id == begins) {
                step.after.extend(done);
                step.after.sort();
                step.after.dedup();
            }
        }
    }
}

/// Adds these edges, `(before, after)`, where nothing is against it.
pub(super) fn put_off(steps: &mut [Step], edges: &[(StepId, StepId)]) {
    let mut order = Order::of(steps);
    for (before, after) in edges.iter().filter(|(before, after)| order.add(before, after)) {
        if let Some(step) = steps.iter_mut().find(|step| step.id == *after) {
            step.after.push(before.clone());
            step.after.sort();
            step.after.dedup();
        }
    }
}

/// Which steps come after which.
struct Order {
    numbers: BTreeMap<StepId, usize>,
    /// By number, those that wait for the step.
    followers: Vec<Vec<usize>>,
}

impl Order {
    fn of(steps: &[Step]) -> Self {
        let numbers: BTreeMap<StepId, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        let mut followers = vec![Vec::new(); steps.len()];
        for (at, step) in steps.iter().enumerate() {
            for before in step.after.iter().filter_map(|id| numbers.get(id)) {
                if let Some(followers) = followers.get_mut(*before) {
                    followers.push(at);
                }
            }
        }
        Self { numbers, followers }
    }

    /// The new container of it is made before the old one goes, and has its name at the end.
    fn stands_in(&self, spec: &ContainerSpec) -> bool {
        self.numbers.contains_key(&Verb::Rename.container(&spec.name))
    }

    /// One more, if both steps are there and `before` does not come after `after` already.
    fn add(&mut self, before: &str, after: &str) -> bool {
        let (Some(&before), Some(&after)) = (self.numbers.get(before), self.numbers.get(after)) else { return false };
        let (mut seen, mut open) = (BTreeSet::new(), vec![after]);
        while let Some(step) = open.pop() {
            if seen.insert(step) {
                open.extend(self.followers.get(step).into_iter().flatten());
            }
        }
        if seen.contains(&before) {
            return false;
        }
        if let Some(followers) = self.followers.get_mut(before) {
            followers.push(after);
        }
        true
    }
}

/// The step after which a container that is replaced at the end of `done` counts as that, with the pause that follows.
fn paused(steps: &mut Vec<Step>, spec: &ContainerSpec, done: StepId, pause: Duration) -> StepId {
    if pause.is_zero() {
        return done;
    }
    let step = Verb::PauseAfter.container(&spec.name);
    if !steps.iter().any(|other| other.id == step) {
        steps.push(Step {
            id: step.clone(),
            resource: ResourceId::new(ResourceKind::Container, &spec.name),
            group: spec.service.clone(),
            action: Action::Pause { time: pause },
            cause: Cause::Requested,
            after: vec![done],
            destructive: false,
            needs_privilege: false,
        });
    }
    step
}

fn groups(replaced: &[&ContainerSpec], routes: &[Route], supply: &Supply) -> Groups {
    let mut groups: Groups = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (at, spec) in replaced.iter().enumerate() {
        let keys = keys(spec, routes, supply);
        let mut own = BTreeSet::from([at]);
        let found: BTreeSet<usize> = keys.iter().filter_map(|key| known.get(key).copied()).collect();
        for other in &found {
            if let Some(group) = groups.get_mut(*other) {
                own.extend(std::mem::take(group));
            }
        }
        let number = groups.len();
        groups.push(own);
        for place in known.values_mut().filter(|place| found.contains(place)) {
            *place = number;
        }
        known.extend(keys.into_iter().map(|key| (key, number)));
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// What makes a container stand in for others.
fn keys(spec: &ContainerSpec, routes: &[Route], supply: &Supply) -> Vec<String> {
    let program = spec.entrypoint.iter().flatten().chain(spec.command.iter().flatten()).next();
    // services with a build of the same source have images of different names
    let image = match supply.choices.get(&spec.service) {
        Some(Choice::Obtain { spec: image, .. }) => image.build.as_ref().map(|build| build.fingerprint.0.clone()),
        Some(Choice::Present { id, .. }) => Some(id.clone()),
        None => None,
    };
    let image = image.unwrap_or_else(|| spec.image.clone());
    let mut keys = vec![format!("service {}", spec.service), format!("program {image} {program:?}")];
    let shared = |route: &&Route| {
        routes
            .iter()
            .any(|other| other.host == route.host && other.path == route.path && other.service != route.service)
    };
    let own = routes.iter().filter(|route| route.service == spec.service).filter(shared);
    keys.extend(own.map(|route| format!("name {} {}", route.host, route.path)));
    keys
}
