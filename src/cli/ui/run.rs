//! Where a run stands, as far as its events tell: groups of steps in the order in which they were
//! announced. The tree and the plain lines are both drawn from it.

use std::collections::HashMap;
use std::time::Duration;

use indexmap::IndexMap;

use super::text;
use crate::event::{Progress, StepInfo};

/// A run, from `Started` on.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// `up`; empty when steps came without a `Started`.
    pub command: String,
    pub platform: String,
    pub began: Duration,
    pub groups: Vec<Group>,
    /// Step id -> where it is.
    places: HashMap<String, (usize, usize)>,
    pub outcome: Option<Outcome>,
}

/// What `Finished` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub ok: bool,
    pub degraded: bool,
    pub millis: u64,
    pub summary: String,
}

/// One line of the tree.
#[derive(Debug)]
pub(super) struct Group {
    pub name: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub text: String,
    pub after: Vec<String>,
    pub state: State,
    pub started: Option<Duration>,
    pub ended: Option<Duration>,
    pub transfer: Transfer,
    /// The last line of output.
    pub line: Option<String>,
    /// Why it still waits.
    pub waiting: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    Done { note: Option<String> },
    Failed { error: String },
    Skipped { because: String },
}

/// Where a group stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Running,
    Done,
    Failed,
    Skipped,
}

impl Run {
    pub fn new(command: String, platform: String, steps: Vec<StepInfo>, now: Duration) -> Self {
        let mut run = Self { command, platform, began: now, ..Self::default() };
        let mut groups: IndexMap<String, usize> = IndexMap::new();
        for info in steps {
            let next = run.groups.len();
            let at = *groups.entry(info.group.clone()).or_insert(next);
            if at == next {
                run.groups.push(Group { name: text::clean_line(&info.group), steps: Vec::new() });
            }
            run.put(at, &info.id, Step::new(&info.text, info.after));
        }
        run
    }

    fn put(&mut self, at: usize, id: &str, step: Step) {
        if let Some(group) = self.groups.get_mut(at) {
            self.places.insert(id.to_owned(), (at, group.steps.len()));
            group.steps.push(step);
        }
    }

    /// The step; one that was not announced becomes a group of its own.
    fn step(&mut self, id: &str) -> Option<&mut Step> {
        if !self.places.contains_key(id) {
            self.groups.push(Group { name: text::clean_line(id), steps: Vec::new() });
            self.put(self.groups.len() - 1, id, Step::new("", Vec::new()));
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

    pub fn start(&mut self, id: &str, now: Duration) {
        if let Some(step) = self.step(id) {
            step.state = State::Running;
            step.started = Some(now);
            step.ended = None;
        }
    }

    pub fn progress(&mut self, id: &str, progress: &Progress) {
        if let Some(step) = self.step(id) {
            match progress {
                Progress::Bytes { part, current, total, phase } => step.transfer.put(part, phase, *current, *total),
                Progress::Line { text } => {
                    let text = text::clean_line(text);
                    if !text.is_empty() {
                        step.line = Some(text);
                    }
                }
                Progress::Waiting { reason } => step.waiting = Some(text::clean_line(reason)),
            }
        }
    }

    /// Done, failed or skipped.
    pub fn end(&mut self, id: &str, state: State, now: Duration) {
        if let Some(step) = self.step(id) {
            step.state = state;
            step.ended = Some(now);
        }
    }

    /// Something is under way: the picture moves.
    pub fn running(&self) -> bool {
        self.outcome.is_none() && self.groups.iter().any(|group| group.running().next().is_some())
    }

    /// Groups that are through and groups in all.
    pub fn counts(&self) -> (usize, usize) {
        let settled = |group: &&Group| !matches!(group.standing(), Standing::Pending | Standing::Running);
        (self.groups.iter().filter(settled).count(), self.groups.len())
    }

    /// The names of the groups that this one, with nothing under way, waits for.
    pub fn blockers(&self, group: &Group) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let first = group.steps.iter().find(|step| step.state == State::Pending);
        for id in first.map(|step| step.after.as_slice()).unwrap_or_default() {
            if let Some((other, step)) = self.find(id)
                && matches!(step.state, State::Pending | State::Running)
                && other.name != group.name
                && !names.contains(&other.name.as_str())
            {
                names.push(&other.name);
            }
        }
        names
    }
}

impl Group {
    pub fn running(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.state == State::Running)
    }

    /// Running until no step of it is left to come.
    pub fn standing(&self) -> Standing {
        let any = |wanted: fn(&State) -> bool| self.steps.iter().any(|step| wanted(&step.state));
        let pending = any(|state| *state == State::Pending);
        if any(|state| *state == State::Running) {
            Standing::Running
        } else if any(|state| matches!(state, State::Failed { .. })) {
            Standing::Failed
        } else if pending && any(|state| matches!(state, State::Done { .. })) {
            Standing::Running
        } else if pending {
            Standing::Pending
        } else if any(|state| matches!(state, State::Skipped { .. })) {
            Standing::Skipped
        } else {
            Standing::Done
        }
    }

    /// From the first step's start to the last one's end, or to now.
    pub fn elapsed(&self, now: Duration) -> Option<Duration> {
        let start = self.steps.iter().filter_map(|step| step.started).min()?;
        let end = match self.standing() {
            Standing::Running => now,
            _ => self.steps.iter().filter_map(|step| step.ended).max().unwrap_or(now),
        };
        Some(end.saturating_sub(start))
    }

    /// The last thing that a finished step of it had to say.
    pub fn note(&self) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match &step.state {
            State::Done { note } => note.as_deref(),
            _ => None,
        })
    }

    pub fn failures(&self) -> impl Iterator<Item = (&Step, &str)> {
        self.steps.iter().filter_map(|step| match &step.state {
            State::Failed { error } => Some((step, error.as_str())),
            _ => None,
        })
    }

    pub fn skipped_because(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match &step.state {
            State::Skipped { because } => Some(because.as_str()),
            _ => None,
        })
    }
}

impl Step {
    fn new(text: &str, after: Vec<String>) -> Self {
        Self {
            text: text::clean_line(text),
            after,
            state: State::Pending,
            started: None,
            ended: None,
            transfer: Transfer::default(),
            line: None,
            waiting: None,
        }
    }
}

/// Bytes under way in the parts (layers) of one step. Each part goes through phases, such as
/// downloading and extracting; the phase in which some part still lags is the one that is shown,
/// summed over all parts, so that a bar never runs backwards within a phase.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// In order of appearance.
    phases: Vec<String>,
    parts: IndexMap<String, Vec<Amount>>,
}

#[derive(Debug, Clone, Copy)]
struct Amount {
    phase: usize,
    current: u64,
    total: u64,
}

/// The sum over all parts in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum<'a> {
    pub phase: &'a str,
    pub current: u64,
    /// `None`: some part's size is not known.
    pub total: Option<u64>,
}

impl Transfer {
    fn put(&mut self, part: &str, phase: &str, current: u64, total: u64) {
        let phase = text::clean_line(phase).to_lowercase();
        let phase = self.phases.iter().position(|known| *known == phase).unwrap_or_else(|| {
            self.phases.push(phase);
            self.phases.len() - 1
        });
        let amounts = self.parts.entry(part.to_owned()).or_default();
        match amounts.iter().position(|amount| amount.phase == phase) {
            // back in an earlier phase: a retry, which makes the later ones void
            Some(at) => amounts.truncate(at),
            None => {
                // it has left the phases before: all of their bytes are there
                for amount in amounts.iter_mut() {
                    amount.current = amount.current.max(amount.total);
                }
            }
        }
        amounts.push(Amount { phase, current, total });
    }

    /// `None` before the first byte is announced.
    pub fn sum(&self) -> Option<Sum<'_>> {
        let mut shown = None;
        for (at, phase) in self.phases.iter().enumerate() {
            let amounts = || {
                self.parts.values().flatten().filter(|amount| amount.phase == at && amount.current + amount.total > 0)
            };
            if amounts().next().is_none() {
                continue;
            }
            let current = amounts().map(|amount| amount.current).fold(0, u64::saturating_add);
            let total = amounts().map(|amount| amount.total).fold(0, u64::saturating_add);
            let known = amounts().all(|amount| amount.total > 0);
            shown = Some(Sum { phase, current, total: known.then_some(total) });
            if !known || current < total {
                break;
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(transfer: &Transfer) -> Option<(&str, u64, Option<u64>)> {
        transfer.sum().map(|sum| (sum.phase, sum.current, sum.total))
    }

    #[test]
    fn layers_are_summed_in_the_phase_that_lags() {
        let mut pull = Transfer::default();
        pull.put("a", "Waiting", 0, 0);
        assert_eq!(sum(&pull), None);
        pull.put("a", "Downloading", 10, 100);
        pull.put("b", "Downloading", 5, 50);
        assert_eq!(sum(&pull), Some(("downloading", 15, Some(150))));
        pull.put("a", "Download complete", 0, 0);
        pull.put("a", "Extracting", 20, 100);
        assert_eq!(sum(&pull), Some(("downloading", 105, Some(150))), "b still comes in");
        pull.put("b", "Extracting", 0, 50);
        assert_eq!(sum(&pull), Some(("extracting", 20, Some(150))));
        pull.put("b", "Downloading", 1, 50);
        assert_eq!(sum(&pull), Some(("downloading", 101, Some(150))), "b is fetched again");
    }

    #[test]
    fn an_unknown_size_gives_no_bar() {
        let mut load = Transfer::default();
        load.put("", "loading", 700, 0);
        assert_eq!(sum(&load), Some(("loading", 700, None)));
    }

    fn info(id: &str, group: &str, after: &[&str]) -> StepInfo {
        StepInfo {
            id: id.into(),
            group: group.into(),
            text: format!("do {id}"),
            after: after.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn a_group_stands_where_its_steps_stand() {
        let at = Duration::from_secs;
        let steps = vec![info("n", "network", &[]), info("c", "web", &["n"]), info("s", "web", &["c"])];
        let mut run = Run::new("up".into(), "macula".into(), steps, at(0));
        let standing = |run: &Run| run.groups.iter().map(Group::standing).collect::<Vec<_>>();
        assert_eq!(standing(&run), [Standing::Pending, Standing::Pending]);
        assert_eq!(run.blockers(&run.groups[1]), ["network"]);
        run.start("n", at(1));
        run.end("n", State::Done { note: Some("made".into()) }, at(2));
        run.start("c", at(2));
        assert_eq!(standing(&run), [Standing::Done, Standing::Running]);
        assert!(run.running());
        run.end("c", State::Done { note: None }, at(3));
        assert_eq!(standing(&run)[1], Standing::Running, "another step is to come");
        assert!(!run.running());
        assert_eq!(run.groups[1].elapsed(at(9)), Some(at(7)));
        run.start("s", at(4));
        run.end("s", State::Failed { error: "no".into() }, at(5));
        assert_eq!(standing(&run), [Standing::Done, Standing::Failed]);
        assert_eq!(run.groups[1].elapsed(at(9)), Some(at(3)));
        assert_eq!(run.counts(), (2, 2));
        assert_eq!(run.groups[0].note(), Some("made"));
    }

    #[test]
    fn a_step_that_nobody_announced_is_a_group_of_its_own() {
        let mut run = Run::default();
        run.start("pull nginx", Duration::ZERO);
        assert_eq!(run.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["pull nginx"]);
        assert!(run.running());
    }
}
