//! Whether a service of a swarm is what it is to be, by what the swarm says of its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::model::{SwarmNode, SwarmService, SwarmTask, SwarmUpdate};

/// A task that fails so often will go on failing.
const FAILURES: usize = 3;
/// A task that no node takes for so long will not be taken.
const UNPLACED: Duration = Duration::from_secs(10);

/// What a swarm does with an update that failed.
const ROLLING_BACK: &str = "rolling back";

/// One look at a service.
pub struct SwarmLook<'a> {
    pub service: &'a SwarmService,
    pub tasks: Vec<&'a SwarmTask>,
    /// By their ids.
    pub nodes: &'a BTreeMap<String, SwarmNode>,
    /// When the update had begun that was the last one before ours.
    pub before: Option<&'a str>,
    /// Tasks that had failed before.
    pub old: &'a BTreeSet<String>,
    /// Since ours began.
    pub waited: Duration,
    /// For how long tasks have been seen without a node, by their ids; one that is not among them: since ours began.
    pub pending: &'a BTreeMap<String, Duration>,
}

/// Where a service stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// `1 of 3 running`
    Waiting(String),
    Failed {
        /// With the task's own words.
        reason: String,
        /// The container of the task that failed.
        container: Option<String>,
    },
}

/// How many of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    pub running: usize,
    pub wanted: usize,
}

impl SwarmLook<'_> {
    /// Tasks as the service is now; those of an earlier specification are on their way out.
    fn current(&self) -> impl Iterator<Item = &SwarmTask> {
        let wanted = without_place(&self.service.spec["TaskTemplate"]);
        let iteration = self.service.iteration;
        self.tasks
            .iter()
            .copied()
            .filter(move |task| task.iteration == iteration && without_place(&task.spec) == wanted)
    }

    fn is_job(&self) -> bool {
        is_job(self.service)
    }

    fn is_global(&self) -> bool {
        let mode = &self.service.spec["Mode"];
        mode.get("Global").is_some() || mode.get("GlobalJob").is_some()
    }

    /// Of tasks as the service is now: those that run, or of a job those that have done their work.
    pub fn running(&self) -> Running {
        if self.service.spec["Mode"].get("GlobalJob").is_some() {
            return nodes_done(self.current(), self.nodes);
        }
        let goal = if self.is_job() { "complete" } else { "running" };
        let mode = &self.service.spec["Mode"];
        let number = |pointer: &str| mode.pointer(pointer).and_then(Value::as_u64);
        let wanted = number("/Replicated/Replicas").or_else(|| number("/ReplicatedJob/TotalCompletions"));
        let there = |task: &&SwarmTask| task.state == goal && (self.is_job() || task.desired == "running");
        let running = self.current().filter(there).count();
        let wanted = match wanted {
            Some(wanted) => usize::try_from(wanted).unwrap_or(usize::MAX),
            None if self.is_global() => self.current().filter(|task| is_live(task)).count(),
            None => 1,
        };
        Running { running, wanted }
    }

    fn failures(&self) -> Vec<&SwarmTask> {
        let failed = |task: &&SwarmTask| is_failure(self.service, task) && !self.old.contains(&task.id);
        let mut all: Vec<&SwarmTask> = self.current().filter(failed).collect();
        all.sort_by(|a, b| a.since.cmp(&b.since));
        all
    }

    /// What a task is called, as `docker service ps` does: `shop_web.1`, and its node.
    fn called(&self, task: &SwarmTask) -> String {
        let name = match task.slot {
            Some(slot) => format!("{}.{slot}", self.service.name),
            None => self.service.name.clone(),
        };
        match self.nodes.get(&task.node) {
            Some(node) => format!("{name} on {}", node.name),
            None => name,
        }
    }

    fn told(&self, task: &SwarmTask) -> String {
        let error = match task.error.as_str() {
            "" if task.state == "complete" => {
                "it ended by itself (exit code 0); a service has to go on running, a job is `deploy.mode: replicated-job`"
            }
            "" => task.state.as_str(),
            error => error,
        };
        format!("{}: {error}", self.called(task))
    }

    fn failed(&self, why: Option<&str>, task: Option<&SwarmTask>) -> Standing {
        let told = task.map(|task| self.told(task));
        let reason = match (why, told) {
            (Some(why), Some(told)) => format!("{why}; {told}"),
            (Some(why), None) => why.to_owned(),
            (None, told) => told.unwrap_or_default(),
        };
        Standing::Failed { reason, container: task.and_then(|task| task.container.clone()) }
    }

    /// Our own update, as far as there is one.
    fn update(&self) -> Option<&SwarmUpdate> {
        self.service.update.as_ref().filter(|update| Some(update.started.as_str()) != self.before)
    }

    /// That the service is what it was before its last update, and what a task of that update said. A swarm keeps its own
    /// reason no longer than it takes to go back.
    pub fn rolled_back(&self) -> Option<String> {
        let update = self.service.update.as_ref().filter(|update| update.state == "rollback_completed")?;
        let current: BTreeSet<&str> = self.current().map(|task| task.id.as_str()).collect();
        let undone = self.tasks.iter().copied().filter(|task| !current.contains(task.id.as_str()));
        let failed = undone.filter(|task| is_failure(self.service, task)).max_by(|a, b| a.since.cmp(&b.since));
        let why = failed.map_or_else(|| update.message.clone(), |task| self.told(task));
        Some(format!("the last update was rolled back: {why}"))
    }

    /// A swarm makes the next task at once, and the port of a node, or the node, is free for it when the one before it has
    /// ended: as long as one is ending, a task that no node takes may yet be taken.
    fn has_no_place(&self, task: &SwarmTask) -> bool {
        let waited = self.pending.get(&task.id).copied().unwrap_or(self.waited);
        waited > UNPLACED && !self.tasks.iter().any(|task| is_leaving(task, self.nodes))
    }

    pub fn standing(&self) -> Standing {
        let failures = self.failures();
        let last = failures.last().copied();
        // after a rollback the failed tasks are those of another specification
        let latest = || {
            let failed = self.tasks.iter().copied().filter(|task| is_failure(self.service, task));
            failed.filter(|task| !self.old.contains(&task.id)).max_by(|a, b| a.since.cmp(&b.since))
        };
        let updating = match self.update() {
            Some(update) => match update.state.as_str() {
                "paused" => return self.failed(Some(&format!("the update is paused ({})", update.message)), latest()),
                "rollback_completed" => {
                    return self.failed(Some("the update failed and was rolled back"), latest());
                }
                "rollback_paused" => {
                    return self.failed(Some("the update failed, and so did its rollback"), latest());
                }
                "updating" => Some("updating"),
                "rollback_started" => Some(ROLLING_BACK),
                _ => None,
            },
            None => None,
        };
        let Running { running, wanted } = self.running();
        // a task whose end is wanted may still run
        let stale = self.tasks.iter().filter(|task| task.desired == "running" && is_live(task)).count();
        let stale =
            stale.saturating_sub(self.current().filter(|task| task.desired == "running" && is_live(task)).count());
        if updating.is_none() && running >= wanted && stale == 0 && (wanted > 0 || !self.is_global()) {
            return Standing::Ready;
        }
        if failures.len() >= FAILURES && running < wanted {
            return self.failed(None, last);
        }
        let waiting = self.current().any(|task| is_live(task) && task.state != "running");
        // one that is still to run has not come to the manager's notice yet: it makes the next one, or lets it be
        let noticed = last.is_some_and(|task| task.desired != "running");
        if running < wanted && !waiting && updating.is_none() && noticed {
            // its restart policy lets it be
            return self.failed(None, last);
        }
        let unplaced = self.current().find(|task| task.state == "pending" && !task.error.is_empty());
        if let Some(task) = unplaced.filter(|task| self.has_no_place(task)) {
            return self.failed(Some("no node takes it"), Some(task));
        }
        if self.is_global() && wanted == 0 && self.waited > UNPLACED {
            return self.failed(Some("no node takes it: its constraints leave none"), None);
        }
        let done = if self.is_job() { "done" } else { "running" };
        let mut text = format!("{running} of {wanted} {done}");
        if let Some(updating) = updating {
            text = format!("{updating}, {text}");
        }
        // what is undone failed with another specification
        let last = if updating == Some(ROLLING_BACK) { latest() } else { last };
        match unplaced.or(last) {
            Some(task) => Standing::Waiting(format!("{text}; {}", self.told(task))),
            None => Standing::Waiting(text),
        }
    }
}

/// Of the tasks of a job that each node runs: nodes that have done it, of those that have it to do. What a node had to do
/// when it went away is not waited for.
pub(super) fn nodes_done<'a>(
    tasks: impl Iterator<Item = &'a SwarmTask>,
    nodes: &BTreeMap<String, SwarmNode>,
) -> Running {
    let mut done: BTreeMap<&str, bool> = BTreeMap::new();
    for task in tasks {
        *done.entry(&task.node).or_default() |= task.state == "complete";
    }
    done.retain(|node, done| *done || nodes.get(*node).is_none_or(|node| node.state != "down"));
    Running { running: done.values().filter(|done| **done).count(), wanted: done.len() }
}

fn is_job(service: &SwarmService) -> bool {
    let mode = &service.spec["Mode"];
    mode.get("ReplicatedJob").is_some() || mode.get("GlobalJob").is_some()
}

/// It did not do what it is for: of a service that is no job to go on running.
pub fn is_failure(service: &SwarmService, task: &SwarmTask) -> bool {
    match task.state.as_str() {
        "failed" | "rejected" | "orphaned" => true,
        "complete" => !is_job(service),
        _ => false,
    }
}

/// It is to end, and has not. What a node was running when it went away is never seen to end.
pub fn is_leaving(task: &SwarmTask, nodes: &BTreeMap<String, SwarmNode>) -> bool {
    let is_up = nodes.get(&task.node).is_none_or(|node| node.state != "down");
    // one that waits for a node has none to leave
    let begun = !matches!(task.state.as_str(), "new" | "pending");
    matches!(task.desired.as_str(), "shutdown" | "remove") && begun && !is_over(task) && is_up
}

/// It does not run any more.
fn is_over(task: &SwarmTask) -> bool {
    matches!(task.state.as_str(), "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned")
}

/// It runs, or is on its way there.
pub(super) fn is_live(task: &SwarmTask) -> bool {
    !is_over(task) && !matches!(task.desired.as_str(), "shutdown" | "remove")
}

/// Where a task may run is no reason for a swarm to make another one, as long as it may run where it is. What it runs
/// with is said of services alone.
fn without_place(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(map) = template.as_object_mut() {
        map.retain(|key, _| !matches!(key.as_str(), "Placement" | "Runtime"));
    }
    template
}
