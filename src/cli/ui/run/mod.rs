//! Where a run stands, as far as its events tell: groups of steps in a fixed order. The tree, the
//! plain lines and the counts of a summary are all drawn from it.

mod group;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indexmap::IndexMap;

use super::text;
use crate::app::ChangeKind;
use crate::event::{Doing, Event, Progress, StepInfo};
use crate::plan::forecast::{self, Task};
use group::stage;
pub(super) use group::{Group, State, Step};

/// A run, from `Started` on.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// `macula up`; empty when steps came without a `Started`.
    pub command: String,
    pub platform: String,
    pub began: Duration,
    pub groups: Vec<Group>,
    /// Services that needed nothing.
    pub unchanged: usize,
    /// Step id -> where it is.
    places: HashMap<String, (usize, usize)>,
    /// Ids of the steps that stand in line, first come first.
    queue: Vec<String>,
    pub outcome: Option<Outcome>,
    /// When the time that is left was last computed, and what it was.
    left: Option<(Duration, Duration)>,
}

/// Beyond the usual time of a service that starts, what is left of it is unknown.
const LATE: Duration = Duration::from_secs(2);

/// What is expected to take so long tells how fast this machine is at present.
const LONG: Duration = Duration::from_secs(5);
/// What was fetched or built before says nothing of the rest.
const FASTEST: f64 = 0.5;

/// What `Finished` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub ok: bool,
    pub millis: u64,
    pub summary: String,
}

/// Where a group stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// For something else, whether or not a part of it is done.
    Waiting,
    /// In line; the place, from 1.
    Queued(usize),
    Working,
    Done,
    Failed,
    /// Not begun, or not to its end, and nothing more will come.
    Skipped,
}

/// How many services stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub services: usize,
    /// Through, well, or as they should be from the beginning.
    pub done: usize,
    /// Their containers were started, whether or not they answered yet.
    pub run: usize,
    pub failed: usize,
    /// Nothing of them was done.
    pub untouched: usize,
    /// Those that are only stopped or removed, which are not among the `services`.
    pub leaving: usize,
    /// Of these, the ones that no longer run.
    pub gone: usize,
}

impl Run {
    pub fn new(command: String, platform: String, steps: Vec<StepInfo>, unchanged: usize, now: Duration) -> Self {
        let mut run = Self { command, platform, began: now, unchanged, ..Self::default() };
        let mut groups: IndexMap<String, Vec<StepInfo>> = IndexMap::new();
        for info in steps {
            groups.entry(info.group.clone()).or_default().push(info);
        }
        // what is no service comes first, the rest by name: a row is found where it was before
        groups.sort_by(|a, first, b, second| {
            let service = |steps: &[StepInfo]| steps.iter().any(|step| step.service || step.doing == Doing::Job);
            (service(first), a).cmp(&(service(second), b))
        });
        for (name, steps) in groups {
            let service = steps.iter().any(|step| step.service);
            run.groups.push(Group { name: text::clean_line(&name), service, steps: Vec::new() });
            for info in steps {
                run.put(run.groups.len() - 1, Step::new(info));
            }
        }
        run
    }

    fn put(&mut self, at: usize, step: Step) {
        if let Some(group) = self.groups.get_mut(at) {
            self.places.insert(step.id.clone(), (at, group.steps.len()));
            group.steps.push(step);
        }
    }

    /// The step; one that was not announced becomes a group of its own.
    fn step(&mut self, id: &str) -> Option<&mut Step> {
        if !self.places.contains_key(id) {
            self.groups.push(Group { name: text::clean_line(id), service: false, steps: Vec::new() });
            let info = StepInfo { id: id.to_owned(), ..StepInfo::default() };
            self.put(self.groups.len() - 1, Step::new(info));
        }
        let (group, step) = self.places.get(id).copied()?;
        self.groups.get_mut(group)?.steps.get_mut(step)
    }

    /// The group and the step, once one was announced or has begun.
    pub fn find(&self, id: &str) -> Option<(&Group, &Step)> {
        let (group, step) = self.places.get(id).copied()?;
        let group = self.groups.get(group)?;
        Some((group, group.steps.get(step)?))
    }

    /// Takes in what an event says of a step.
    pub fn hear(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Started { command, platform, steps, unchanged } => {
                *self = Self::new(command.clone(), platform.clone(), steps.clone(), unchanged.len(), now);
            }
            Event::StepQueued { id } => {
                self.leave_the_queue(id);
                self.queue.push(id.clone());
                if let Some(step) = self.step(id) {
                    step.state = State::Queued;
                    step.started = None;
                }
            }
            Event::StepStarted { id } => {
                self.leave_the_queue(id);
                if let Some(step) = self.step(id) {
                    step.state = State::Running;
                    step.started = Some(now);
                    step.ended = None;
                }
            }
            Event::StepProgress { id, progress } => self.progress(id, progress),
            Event::StepDone { id, note, .. } => {
                let note = note.as_deref().map(text::clean_line).filter(|note| !note.is_empty());
                self.end(id, State::Done { note }, now);
            }
            Event::StepFailed { id, error, .. } => {
                self.end(id, State::Failed { error: text::clean_text(error) }, now);
            }
            Event::StepSkipped { id, because } => {
                self.end(id, State::Skipped { because: text::clean_line(because) }, now);
            }
            Event::Finished { ok, millis, summary, .. } => {
                let summary = text::clean_text(summary);
                self.outcome = Some(Outcome { ok: *ok, millis: *millis, summary });
            }
            Event::Warning { .. } | Event::Info { .. } => {}
        }
    }

    fn leave_the_queue(&mut self, id: &str) {
        self.queue.retain(|other| other != id);
    }

    fn progress(&mut self, id: &str, progress: &Progress) {
        let Some(step) = self.step(id) else { return };
        match progress {
            Progress::Bytes { part, current, total, phase } => step.transfer.put(part, phase, *current, *total),
            Progress::Line { text } => {
                let text = text::clean_line(text);
                if let Some((stage, instruction)) = stage(&text) {
                    step.stage = Some(stage);
                    step.line = Some(instruction);
                } else if !text.trim().is_empty() && !text.trim_start().starts_with("--->") {
                    step.line = Some(text);
                }
            }
            Progress::Waiting { reason } => {
                step.waiting = Some(text::clean_line(reason)).filter(|reason| !reason.is_empty())
            }
        }
    }

    fn end(&mut self, id: &str, state: State, now: Duration) {
        self.leave_the_queue(id);
        if let Some(step) = self.step(id) {
            step.state = state;
            step.ended = Some(now);
        }
    }

    /// Something is under way: the picture moves.
    pub fn working(&self) -> bool {
        self.outcome.is_none() && self.groups.iter().any(|group| group.working().next().is_some())
    }

    /// Where a group stands.
    pub fn standing(&self, group: &Group) -> Standing {
        let any = |wanted: fn(&State) -> bool| group.steps.iter().any(|step| wanted(&step.state));
        if any(|state| *state == State::Running) {
            Standing::Working
        } else if any(|state| matches!(state, State::Failed { .. })) {
            Standing::Failed
        } else if let Some(place) = self.place_in_line(group) {
            Standing::Queued(place)
        } else if any(|state| *state == State::Pending) {
            Standing::Waiting
        } else if any(|state| matches!(state, State::Skipped { .. })) {
            Standing::Skipped
        } else {
            Standing::Done
        }
    }

    fn place_in_line(&self, group: &Group) -> Option<usize> {
        let queued = |id: &String| group.steps.iter().any(|step| step.id == *id && step.state == State::Queued);
        self.queue.iter().position(queued).map(|at| at + 1)
    }

    /// The services: how many there are, and how many stand where.
    pub fn tally(&self) -> Tally {
        let mut tally =
            Tally { services: self.unchanged, done: self.unchanged, run: self.unchanged, ..Tally::default() };
        for group in self.groups.iter().filter(|group| group.service) {
            let standing = self.standing(group);
            if group.leaves() {
                tally.leaving += 1;
                tally.gone += usize::from(standing == Standing::Done);
                continue;
            }
            tally.services += 1;
            tally.done += usize::from(standing == Standing::Done);
            tally.failed += usize::from(standing == Standing::Failed);
            tally.run += usize::from(standing == Standing::Done || group.was_started());
            tally.untouched += usize::from(group.steps.iter().all(|step| step.started.is_none()));
        }
        tally
    }

    /// What was done with which services, for a sentence: what had been there, first. Where nothing had, it is left out
    /// that all were started. `planned`: what the plan did with each, which knows whether all of its containers went.
    pub fn changed(&self, planned: &BTreeMap<String, ChangeKind>) -> Vec<(&'static str, Vec<String>)> {
        let done = self.groups.iter().filter(|group| self.standing(group) == Standing::Done);
        let result = |group: &Group| match (group.result(), planned.get(&group.name)) {
            ("removed", Some(ChangeKind::Scale)) => "scaled down",
            (word, _) => word,
        };
        let mut all: Vec<(&'static str, Vec<String>)> = Vec::new();
        for word in ["replaced", "restarted", "reloaded", "removed", "scaled down", "started"] {
            let of = |group: &&Group| group.service && result(group) == word;
            let names: Vec<String> = done.clone().filter(of).map(|group| group.name.clone()).collect();
            if !names.is_empty() {
                all.push((word, names));
            }
        }
        if self.unchanged == 0 && all.iter().all(|(word, _)| *word == "started") {
            all.clear();
        }
        all
    }

    /// Whether any step was begun.
    pub fn has_begun(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.steps).any(|step| step.started.is_some())
    }

    /// What is counted: services where there are any, else groups.
    pub fn counts(&self) -> (usize, usize, &'static str) {
        let tally = self.tally();
        if tally.services + tally.leaving > 0 {
            return (tally.done + tally.gone, tally.services + tally.leaving, "service");
        }
        let done = self.groups.iter().filter(|group| self.standing(group) == Standing::Done).count();
        (done, self.groups.len(), "")
    }

    /// The names of the groups that this one, with nothing under way, waits for. Waiting for an
    /// image that another one builds is told apart from waiting for that service.
    pub fn blockers(&self, group: &Group) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let first = group.steps.iter().find(|step| step.state == State::Pending);
        for id in first.map(|step| step.after.as_slice()).unwrap_or_default() {
            if let Some((other, step)) = self.find(id)
                && step.state.is_open()
                && other.name != group.name
            {
                let name = match step.doing {
                    Doing::Build | Doing::Pull | Doing::Load if other.service => format!("{}'s image", other.name),
                    _ => other.name.clone(),
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// How long it will still take, computed at most once a second; `None` where nothing is known.
    pub fn left(&mut self, now: Duration) -> Option<Duration> {
        if self.outcome.is_some() || !self.groups.iter().flat_map(|group| &group.steps).any(|s| s.expected.is_some()) {
            return None;
        }
        // how long an image of a bundle takes depends on its size and the disk, of which nothing is known
        let loads = |step: &Step| step.doing == Doing::Load && step.state.is_open();
        if self.groups.iter().flat_map(|group| &group.steps).any(loads) {
            return None;
        }
        let pace = self.pace();
        // a service that starts waits for itself, and not for this machine
        let by = |step: &Step| if matches!(step.doing, Doing::Await | Doing::Job) { 1.0 } else { pace };
        // of what does not answer in its usual time nobody knows when it will, nor of work that takes half as long again
        // as at the pace of the others
        let late = |step: &Step| {
            let worked = step.started.map_or(Duration::ZERO, |start| now.saturating_sub(start));
            let expected = step.expected.unwrap_or_default();
            let usual = match step.doing {
                Doing::Await | Doing::Job => expected,
                _ if expected >= LONG => expected.mul_f64(pace.max(1.0) * 1.5),
                _ => return false,
            };
            step.state == State::Running && worked > usual + LATE
        };
        if self.groups.iter().flat_map(|group| &group.steps).any(late) {
            return None;
        }
        if let Some((at, left)) = self.left
            && now < at + Duration::from_secs(1)
        {
            return Some(left.saturating_sub(now.saturating_sub(at)));
        }
        let open = self.groups.iter().flat_map(|group| &group.steps).filter(|step| step.state.is_open());
        let mut tasks: Vec<(usize, Task<'_>)> = open
            .map(|step| {
                let expected = step.expected.unwrap_or_default().mul_f64(by(step));
                let worked = step.started.map_or(Duration::ZERO, |start| now.saturating_sub(start));
                // what takes longer than expected is taken to need a little more, again and again
                let left = match step.state {
                    State::Running => expected.saturating_sub(worked).max(expected / 10),
                    _ => expected,
                };
                // those that work hold their places, then the line, then whatever follows
                let rank = match step.state {
                    State::Running => 0,
                    State::Queued => 1 + self.queue.iter().position(|id| *id == step.id).unwrap_or(0),
                    _ => usize::MAX,
                };
                (rank, Task { id: &step.id, after: &step.after, left, slot: step.doing == Doing::Build })
            })
            .collect();
        tasks.sort_by_key(|(rank, _)| *rank);
        let tasks: Vec<Task<'_>> = tasks.into_iter().map(|(_, task)| task).collect();
        let left = forecast::remaining(&tasks);
        self.left = Some((now, left));
        Some(left)
    }

    /// How many times as long as expected things take in this run, by what takes long and is done: a machine may be slower
    /// than others, or busy.
    fn pace(&self) -> f64 {
        let long = self.groups.iter().flat_map(|group| &group.steps).filter_map(|step| {
            let expected = step.expected.filter(|expected| *expected >= LONG)?;
            let worked = step.ended?.saturating_sub(step.started?);
            matches!(step.state, State::Done { .. }).then_some((expected, worked))
        });
        let (expected, worked) = long.fold((Duration::ZERO, Duration::ZERO), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if expected.is_zero() { 1.0 } else { (worked.as_secs_f64() / expected.as_secs_f64()).max(FASTEST) }
    }
}

#[cfg(test)]
mod tests;
