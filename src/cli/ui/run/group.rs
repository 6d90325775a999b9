//! One line of the tree, and its steps.

use std::time::Duration;

use crate::app::ChangeKind;
use crate::cli::ui::text;
use crate::cli::ui::transfer::Transfer;
use crate::event::{Doing, StepInfo};

/// One line of the tree.
#[derive(Debug)]
pub(in crate::cli::ui) struct Group {
    pub name: String,
    /// A service that goes on running: these are counted.
    pub service: bool,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub(in crate::cli::ui) struct Step {
    pub id: String,
    pub text: String,
    pub doing: Doing,
    pub after: Vec<String>,
    pub state: State,
    pub started: Option<Duration>,
    pub ended: Option<Duration>,
    pub(super) expected: Option<Duration>,
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
pub(in crate::cli::ui) enum State {
    Pending,
    Queued,
    Running,
    Done { note: Option<String> },
    Failed { error: String },
    Skipped { because: String },
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Pending | Self::Queued | Self::Running)
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

    /// What stands in line is an image of a bundle, and not a build.
    pub fn is_queued_to_load(&self) -> bool {
        self.steps.iter().any(|step| step.state == State::Queued && step.doing == Doing::Load)
    }

    /// It is only stopped or removed.
    pub fn leaves(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.doing, Doing::Stop | Doing::Remove))
    }

    /// In one word, what came of it.
    pub fn result(&self) -> &'static str {
        let did = |doing: Doing| {
            self.steps.iter().any(|step| step.doing == doing && matches!(step.state, State::Done { .. }))
        };
        match ChangeKind::of(did) {
            ChangeKind::Recreate => "replaced",
            _ if did(Doing::Job) => "done",
            ChangeKind::Restart => "restarted",
            ChangeKind::Create | ChangeKind::Start => "started",
            ChangeKind::Reload => "reloaded",
            ChangeKind::Remove => "removed",
            ChangeKind::Stop => "stopped",
            ChangeKind::Image if did(Doing::Build) => "built",
            ChangeKind::Image if did(Doing::Pull) => "pulled",
            ChangeKind::Image => "loaded",
            _ if did(Doing::Base) => "made",
            _ if did(Doing::Network) => "created",
            ChangeKind::Await => "healthy",
            // the first two are known to a plan alone
            ChangeKind::Run | ChangeKind::Scale | ChangeKind::Other => "done",
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
    pub(super) fn new(info: StepInfo) -> Self {
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
pub(super) fn stage(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (numbers, instruction) = rest.split_once(':')?;
    let numbers = numbers.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, of) = numbers.split_once('/')?;
    (digits(number) && digits(of)).then(|| (numbers.to_owned(), instruction.trim().to_owned()))
}
