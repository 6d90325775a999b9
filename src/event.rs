//! What work says while it runs. Work emits events; a [`Reporter`] chooses their looks.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Step ids are those of [`crate::plan::Step`]; doctor checks and image pulls outside a plan use
/// ids of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A plan is about to be carried out. Steps that share a `group` are one line of the tree.
    Started {
        command: String,
        platform: String,
        steps: Vec<StepInfo>,
        /// Services that need nothing: they run as they should.
        #[serde(default)]
        unchanged: Vec<String>,
    },
    /// Everything that it waited for is there, and it stands in line for a free place (a build).
    StepQueued {
        id: String,
    },
    /// It works from now on.
    StepStarted {
        id: String,
    },
    /// Where it stands: bytes of a layer, a line of a build, the reason for waiting.
    StepProgress {
        id: String,
        progress: Progress,
    },
    StepDone {
        id: String,
        /// How long it worked, without the time in the queue.
        millis: u64,
        note: Option<String>,
    },
    StepFailed {
        id: String,
        millis: u64,
        error: String,
    },
    /// Not tried, since something that it needs failed or the user stopped.
    StepSkipped {
        id: String,
        because: String,
    },
    Warning {
        message: String,
        /// What it is about, where that is a file of the user's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    Info {
        message: String,
    },
    /// The last event of a run.
    Finished {
        ok: bool,
        degraded: bool,
        millis: u64,
        summary: String,
    },
}

/// A place in a file. Line and column begin with 1; both are 0 where the whole file is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepInfo {
    pub id: String,
    /// What the user follows: a service, `network`, `images`.
    pub group: String,
    /// `create container macula-grafana-1`
    pub text: String,
    pub after: Vec<String>,
    pub doing: Doing,
    /// The group is a service that goes on running: these are what is counted.
    pub service: bool,
    /// How long it took the last time, or usually takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_millis: Option<u64>,
    /// After this long it counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_millis: Option<u64>,
}

/// The kind of work that a step is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    Network,
    Volume,
    /// The base image that builds start from.
    Base,
    Pull,
    /// From a bundle.
    Load,
    Build,
    Create,
    Start,
    Stop,
    Remove,
    Configure,
    Reload,
    /// Until the service answers.
    Await,
    /// Until a job has done its work.
    Job,
    Cluster,
    #[default]
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// One layer or part of a transfer, in bytes; `total` 0 when it is not known.
    Bytes { part: String, current: u64, total: u64, phase: String },
    /// A line of output of a build or a program.
    Line { text: String },
    /// Why it still waits: `starting: connection refused on 127.0.0.2:3000`.
    Waiting { reason: String },
}

pub trait Reporter: Send + Sync {
    fn report(&self, event: Event);

    /// No more events come for now: what is on the screen is final and the terminal is given back.
    /// Returns at once; an event that comes later starts a new picture.
    fn finish(&self) {}

    /// What is known of a result so far, in the place of what was shown before; nothing takes it away. Of no
    /// interest to whoever does not sit at a terminal.
    fn draft(&self, _: &[String]) {}
}

/// Handed to the work; cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<dyn Reporter>);

impl Events {
    pub fn new(reporter: Arc<dyn Reporter>) -> Self {
        Self(reporter)
    }

    /// Says nothing to anybody.
    pub fn none() -> Self {
        struct Nobody;
        impl Reporter for Nobody {
            fn report(&self, _: Event) {}
        }
        Self(Arc::new(Nobody))
    }

    pub fn emit(&self, event: Event) {
        self.0.report(event);
    }

    /// See [`Reporter::finish`].
    pub fn finish(&self) {
        self.0.finish();
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.emit(Event::Warning { message: message.into(), place: None });
    }

    /// A warning about a place in a file; `message` names it, too.
    pub fn warn_at(&self, place: Option<Place>, message: impl Into<String>) {
        self.emit(Event::Warning { message: message.into(), place });
    }

    pub fn info(&self, message: impl Into<String>) {
        self.emit(Event::Info { message: message.into() });
    }
}
