//! Where a run stands, as far as its events tell: groups of steps in a fixed order. The tree, the
//! plain lines and the counts of a summary are all drawn from it.

use std::collections::HashMap;
use std::time::Duration;

use indexmap::IndexMap;

use super::text;
use super::transfer::Transfer;
use crate::event::{Doing, Event, Progress, StepInfo};
use crate::plan::forecast::{self, Task};

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

/// What `Finished` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub ok: bool,
    pub millis: u64,
    pub summary: String,
}

/// One line of the tree.
#[derive(Debug)]
pub(super) struct Group {
    pub name: String,
    /// A service that goes on running: these are counted.
    pub service: bool,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub id: String,
    pub text: String,
    pub doing: Doing,
    pub after: Vec<String>,
    pub state: State,
    pub started: Option<Duration>,
    pub ended: Option<Duration>,
    expected: Option<Duration>,
    pub limit: Option<Duration>,
    pub transfer: Transfer,
    /// The last line of output.
    pub line: Option<String>,
    /// Which step of a build it is at: `3/9`.
    pub stage: Option<String>,
    /// Why it still waits for health.
    pub waiting: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Queued,
    Running,
    Done { note: Option<String> },
    Failed { error: String },
    Skipped { because: String },
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Pending | Self::Queued | Self::Running)
    }
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
            tally.services += 1;
            let standing = self.standing(group);
            tally.done += usize::from(standing == Standing::Done);
            tally.failed += usize::from(standing == Standing::Failed);
            tally.run += usize::from(standing == Standing::Done || group.was_started());
            tally.untouched += usize::from(group.steps.iter().all(|step| step.started.is_none()));
        }
        tally
    }

    /// What was done with which services, for a sentence: what had been there, first. Where nothing had, it is left out
    /// that all were started.
    pub fn changed(&self) -> Vec<(&'static str, Vec<String>)> {
        let done = self.groups.iter().filter(|group| self.standing(group) == Standing::Done);
        let mut all: Vec<(&'static str, Vec<String>)> = Vec::new();
        for word in ["replaced", "restarted", "reloaded", "removed", "started"] {
            let of = |group: &&Group| group.service && group.result() == word;
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
        if tally.services > 0 {
            return (tally.done, tally.services, "service");
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
        // of what does not answer in its usual time nobody knows when it will
        let late = |step: &Step| {
            let worked = step.started.map_or(Duration::ZERO, |start| now.saturating_sub(start));
            step.state == State::Running
                && matches!(step.doing, Doing::Await | Doing::Job)
                && worked > step.expected.unwrap_or_default() + LATE
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
                let expected = step.expected.unwrap_or_default();
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
}

impl Group {
    pub fn working(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.state == State::Running)
    }

    /// How long it worked: waiting for others and standing in line do not count.
    pub fn worked(&self, now: Duration) -> Option<Duration> {
        let mut spans: Vec<(Duration, Duration)> =
            self.steps.iter().filter_map(|step| Some((step.started?, step.ended.unwrap_or(now)))).collect();
        spans.sort();
        let mut sum = None;
        let mut until = Duration::ZERO;
        for (start, end) in spans {
            // what overlaps counts once
            let own = end.saturating_sub(start.max(until));
            sum = Some(sum.unwrap_or(Duration::ZERO) + own);
            until = until.max(end);
        }
        sum
    }

    /// Its container was started, whatever is still to come.
    pub fn was_started(&self) -> bool {
        self.steps.iter().any(|step| step.doing == Doing::Start && matches!(step.state, State::Done { .. }))
    }

    /// In one word, what came of it.
    pub fn result(&self) -> &'static str {
        let did = |doing: Doing| {
            self.steps.iter().any(|step| step.doing == doing && matches!(step.state, State::Done { .. }))
        };
        let (stopped, removed) = (did(Doing::Stop), did(Doing::Remove));
        match () {
            () if did(Doing::Create) && (stopped || removed) => "replaced",
            () if did(Doing::Job) => "done",
            () if did(Doing::Start) && stopped => "restarted",
            () if did(Doing::Create) || did(Doing::Start) => "started",
            () if did(Doing::Reload) || did(Doing::Configure) => "reloaded",
            () if removed => "removed",
            () if stopped => "stopped",
            () if did(Doing::Build) => "built",
            () if did(Doing::Pull) => "pulled",
            () if did(Doing::Load) => "loaded",
            () if did(Doing::Base) => "made",
            () if did(Doing::Network) => "created",
            () if did(Doing::Await) => "healthy",
            () => "done",
        }
    }

    /// The last thing that a finished step of it had to say, beyond its result.
    pub fn note(&self) -> Option<&str> {
        let note = self.steps.iter().rev().find_map(|step| match &step.state {
            State::Done { note } => note.as_deref(),
            _ => None,
        });
        note.filter(|note| *note != self.result())
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
    fn new(info: StepInfo) -> Self {
        Self {
            text: text::clean_line(&info.text),
            id: info.id,
            doing: info.doing,
            after: info.after,
            state: State::Pending,
            started: None,
            ended: None,
            expected: info.expected_millis.map(Duration::from_millis),
            limit: info.limit_millis.map(Duration::from_millis),
            transfer: Transfer::default(),
            line: None,
            stage: None,
            waiting: None,
        }
    }

    /// What it does, in a word or two: `building`, `waiting for health`.
    pub fn verb(&self) -> &str {
        match self.doing {
            Doing::Network | Doing::Volume => "creating",
            Doing::Base => "making",
            Doing::Pull => "pulling",
            Doing::Load => "loading",
            Doing::Build => "building",
            Doing::Create => "creating",
            Doing::Start => "starting",
            Doing::Stop => "stopping",
            Doing::Remove => "removing",
            Doing::Configure => "copying files",
            Doing::Reload => "reloading",
            Doing::Await if self.waiting.is_some() => "not ready",
            Doing::Await => "starting",
            Doing::Job => "running",
            Doing::Cluster | Doing::Other => &self.text,
        }
    }

    pub fn worked(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started.unwrap_or(now))
    }
}

/// `Step 3/9 : RUN make` of Docker, `STEP 3/9: RUN make` of Podman: the place and the instruction.
fn stage(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (numbers, instruction) = rest.split_once(':')?;
    let numbers = numbers.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, of) = numbers.split_once('/')?;
    (digits(number) && digits(of)).then(|| (numbers.to_owned(), instruction.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str, group: &str, doing: Doing, after: &[&str]) -> StepInfo {
        StepInfo {
            id: id.into(),
            group: group.into(),
            text: format!("do {id}"),
            after: after.iter().map(|id| (*id).to_owned()).collect(),
            doing,
            service: group != "network",
            ..StepInfo::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn run(steps: Vec<StepInfo>) -> Run {
        Run::new("macula up".into(), "macula".into(), steps, 0, at(0))
    }

    fn start(run: &mut Run, id: &str, now: u64) {
        run.hear(&Event::StepStarted { id: id.into() }, at(now));
    }

    fn done(run: &mut Run, id: &str, now: u64) {
        run.hear(&Event::StepDone { id: id.into(), millis: 0, note: None }, at(now));
    }

    fn standings(run: &Run) -> Vec<Standing> {
        run.groups.iter().map(|group| run.standing(group)).collect()
    }

    #[test]
    fn only_what_works_is_working() {
        let mut run = run(vec![
            info("n", "network", Doing::Network, &[]),
            info("c", "web", Doing::Create, &["n"]),
            info("s", "web", Doing::Start, &["c"]),
        ]);
        assert_eq!(standings(&run), [Standing::Waiting, Standing::Waiting]);
        assert_eq!(run.blockers(&run.groups[1]), ["network"]);
        start(&mut run, "n", 1);
        done(&mut run, "n", 2);
        start(&mut run, "c", 2);
        assert_eq!(standings(&run), [Standing::Done, Standing::Working]);
        done(&mut run, "c", 3);
        assert_eq!(standings(&run)[1], Standing::Waiting, "one step is done and another is to come");
        assert!(!run.working());
        start(&mut run, "s", 9);
        done(&mut run, "s", 10);
        assert_eq!(run.groups[1].worked(at(20)), Some(at(2)), "the pause between the steps does not count");
        assert_eq!(run.groups[1].result(), "started");
        assert_eq!(run.counts(), (1, 1, "service"), "a network is no service");
    }

    #[test]
    fn a_queue_has_places_and_its_time_is_no_work() {
        let builds = ["a", "b", "c"];
        let mut run = run(builds.iter().map(|id| info(id, id, Doing::Build, &[])).collect());
        start(&mut run, "a", 0);
        for id in ["c", "b"] {
            start(&mut run, id, 0);
            run.hear(&Event::StepQueued { id: id.into() }, at(0));
        }
        assert_eq!(standings(&run), [Standing::Working, Standing::Queued(2), Standing::Queued(1)]);
        done(&mut run, "a", 60);
        start(&mut run, "c", 60);
        assert_eq!(standings(&run), [Standing::Done, Standing::Queued(1), Standing::Working]);
        done(&mut run, "c", 65);
        assert_eq!(run.groups[2].worked(at(99)), Some(at(5)));
        assert_eq!(run.groups[1].worked(at(99)), None);
    }

    #[test]
    fn what_was_stopped_is_counted_by_what_runs() {
        let steps = ["a", "b", "c"].iter().flat_map(|name| {
            let (create, start, ready) = (format!("create {name}"), format!("start {name}"), format!("await {name}"));
            [
                info(&create, name, Doing::Create, &[]),
                info(&start, name, Doing::Start, &[&create]),
                info(&ready, name, Doing::Await, &[&start]),
            ]
        });
        let mut run = Run::new("macula up".into(), "macula".into(), steps.collect(), 2, at(0));
        for id in ["create a", "start a", "await a", "create b", "start b"] {
            start(&mut run, id, 1);
            done(&mut run, id, 1);
        }
        start(&mut run, "await b", 1);
        for id in ["await b", "create c", "start c", "await c"] {
            run.hear(&Event::StepSkipped { id: id.into(), because: "stopped".into() }, at(2));
        }
        assert_eq!(run.tally(), Tally { services: 5, done: 3, run: 4, failed: 0, untouched: 1 });
    }

    #[test]
    fn what_was_changed_is_told_by_what_came_of_it() {
        let steps = |doings: &'static [(&'static str, &'static [Doing])]| {
            let steps = doings.iter().flat_map(|(name, doings)| {
                doings.iter().map(move |doing| info(&format!("{doing:?} {name}"), name, *doing, &[]))
            });
            steps.collect::<Vec<_>>()
        };
        let changed = |steps: Vec<StepInfo>, unchanged: usize| {
            let ids: Vec<String> = steps.iter().map(|step| step.id.clone()).collect();
            let mut run = Run::new("macula up".into(), "macula".into(), steps, unchanged, at(0));
            for id in &ids {
                start(&mut run, id, 0);
                done(&mut run, id, 1);
            }
            run.changed().into_iter().map(|(word, names)| format!("{word} {}", names.join(" "))).collect::<Vec<_>>()
        };
        const FIRST: &[(&str, &[Doing])] =
            &[("a", &[Doing::Create, Doing::Start, Doing::Await]), ("b", &[Doing::Create, Doing::Start])];
        assert_eq!(changed(steps(FIRST), 0), [""; 0]);
        assert_eq!(changed(steps(FIRST), 3), ["started a b"]);
        const LATER: &[(&str, &[Doing])] = &[
            ("new", &[Doing::Create, Doing::Start]),
            ("old", &[Doing::Stop, Doing::Remove]),
            ("web", &[Doing::Stop, Doing::Remove, Doing::Create, Doing::Start]),
        ];
        assert_eq!(changed(steps(LATER), 0), ["replaced web", "removed old", "started new"]);
        let mut failed = Run::new("macula up".into(), "macula".into(), steps(FIRST), 1, at(0));
        failed.hear(&Event::StepFailed { id: "Create a".into(), error: "no".into(), millis: 1 }, at(1));
        assert_eq!(failed.changed(), []);
    }

    #[test]
    fn rows_keep_a_fixed_order_and_circles_are_told_apart() {
        let run = run(vec![
            info("build image minio", "minio", Doing::Build, &[]),
            info("await s3-buckets", "s3-buckets", Doing::Job, &[]),
            info("create buckets", "s3-buckets", Doing::Create, &["build image minio"]),
            info("n", "network", Doing::Network, &[]),
            info("create alloy", "alloy", Doing::Create, &["await s3-buckets"]),
        ]);
        let names: Vec<&str> = run.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["network", "alloy", "minio", "s3-buckets"]);
        let waits = |name: &str| run.blockers(run.groups.iter().find(|group| group.name == name).unwrap());
        assert_eq!(waits("alloy"), ["s3-buckets"]);
        assert_eq!(waits("s3-buckets"), [""; 0], "its first step may begin");
    }

    #[test]
    fn the_time_that_is_left_shrinks() {
        let mut steps: Vec<StepInfo> = ["a", "b", "c"].iter().map(|id| info(id, id, Doing::Build, &[])).collect();
        for step in &mut steps {
            step.expected_millis = Some(10_000);
        }
        let mut run = run(steps);
        assert_eq!(run.left(at(0)), Some(at(20)), "two places for three builds");
        for id in ["a", "b"] {
            start(&mut run, id, 0);
        }
        assert_eq!(run.left(at(4)), Some(at(16)));
        assert_eq!(run.left(at(4) + Duration::from_millis(500)), Some(Duration::from_millis(15_500)));
        assert_eq!(run.left(at(30)), Some(at(11)), "late, and still not done");
        let mut steps = vec![info("a", "a", Doing::Await, &[]), info("b", "b", Doing::Build, &[])];
        for step in &mut steps {
            step.expected_millis = Some(10_000);
        }
        let mut unanswered = Run::new("macula up".into(), "macula".into(), steps, 0, at(0));
        start(&mut unanswered, "a", 0);
        assert_eq!(unanswered.left(at(12)), Some(at(10)));
        assert_eq!(unanswered.left(at(14)), None, "it is over its own time");
        let mut silent = Run::default();
        assert_eq!(silent.left(at(1)), None);
    }

    #[test]
    fn a_build_says_at_which_of_its_steps_it_is() {
        let mut run = run(vec![info("b", "web", Doing::Build, &[])]);
        let mut say = |text: &str| {
            run.hear(&Event::StepProgress { id: "b".into(), progress: Progress::Line { text: text.into() } }, at(1))
        };
        say("Step 2/7 : RUN make\n");
        say(" ---> Running in a8d6");
        let step = &run.groups[0].steps[0];
        assert_eq!((step.stage.as_deref(), step.line.as_deref()), (Some("2/7"), Some("RUN make")));
    }

    #[test]
    fn a_step_that_nobody_announced_is_a_group_of_its_own() {
        let mut run = Run::default();
        start(&mut run, "pull nginx", 0);
        assert_eq!(run.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["pull nginx"]);
        assert!(run.working());
    }
}
