//! Scripts of events, a clock that stands where it is put, and a small terminal.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::{Clock, Size, Streams, Style, Terminal};
use crate::event::{Doing, Event, Progress, Reporter, StepInfo};

pub mod vt;

/// What was written, shared with the renderer.
#[derive(Debug, Clone, Default)]
pub struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// What was written since the last time.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
pub struct FakeClock(Arc<Mutex<Duration>>);

impl FakeClock {
    pub fn set(&self, millis: u64) {
        *self.0.lock().unwrap() = Duration::from_millis(millis);
    }
}

impl Clock for FakeClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_772_366_400).unwrap() + self.elapsed()
    }
}

/// Streams into a buffer: no colour, ASCII.
pub fn pipe() -> (Streams, Out, FakeClock) {
    let (out, clock) = (Out::default(), FakeClock::default());
    let streams = Streams {
        err: Box::new(out.clone()),
        style: Style::default(),
        terminal: Terminal::default(),
        clock: Arc::new(clock.clone()),
        size: Arc::new(|| Size { columns: 80, rows: 24 }),
        verbose: false,
    };
    (streams, out, clock)
}

/// By the first words of a step.
fn doing(text: &str) -> Doing {
    let first: Vec<&str> = text.split(' ').take(2).collect();
    match first.as_slice() {
        ["create", "network"] => Doing::Network,
        ["create", _] => Doing::Create,
        ["pull", _] => Doing::Pull,
        ["build", _] => Doing::Build,
        ["load", _] => Doing::Load,
        ["start", _] => Doing::Start,
        ["wait", _] => Doing::Await,
        _ => Doing::Other,
    }
}

/// Events with their time in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<(u64, Event)>);

impl Script {
    pub fn play(self, reporter: &dyn Reporter, clock: &FakeClock, mut after_each: impl FnMut(u64)) {
        for (at, event) in self.0 {
            clock.set(at);
            reporter.report(event);
            after_each(at);
        }
    }

    pub fn first_mut(&mut self) -> Option<&mut (u64, Event)> {
        self.0.first_mut()
    }

    pub fn events(self) -> impl Iterator<Item = (u64, Event)> {
        self.0.into_iter()
    }

    /// `(id, group, text, after)`
    pub fn starting(command: &str, steps: &[(&str, &str, &str, &[&str])]) -> Self {
        let steps = steps
            .iter()
            .map(|(id, group, text, after)| StepInfo {
                id: (*id).into(),
                group: (*group).into(),
                text: (*text).into(),
                after: after.iter().map(|id| (*id).into()).collect(),
                doing: doing(text),
                service: matches!(doing(text), Doing::Create | Doing::Start | Doing::Await),
                ..StepInfo::default()
            })
            .collect();
        let command = format!("macula {command}");
        Self(vec![(0, Event::Started { command, platform: "macula".into(), steps, unchanged: Vec::new() })])
    }

    pub fn queued(self, millis: u64, id: &str) -> Self {
        self.at(millis, Event::StepQueued { id: id.into() })
    }

    pub fn at(mut self, millis: u64, event: Event) -> Self {
        self.0.push((millis, event));
        self
    }

    pub fn start(self, millis: u64, id: &str) -> Self {
        self.at(millis, Event::StepStarted { id: id.into() })
    }

    pub fn progress(self, millis: u64, id: &str, progress: Progress) -> Self {
        self.at(millis, Event::StepProgress { id: id.into(), progress })
    }

    pub fn bytes(self, millis: u64, id: &str, part: &str, phase: &str, current: u64, total: u64) -> Self {
        self.progress(millis, id, Progress::Bytes { part: part.into(), current, total, phase: phase.into() })
    }

    pub fn line(self, millis: u64, id: &str, text: &str) -> Self {
        self.progress(millis, id, Progress::Line { text: text.into() })
    }

    pub fn waiting(self, millis: u64, id: &str, reason: &str) -> Self {
        self.progress(millis, id, Progress::Waiting { reason: reason.into() })
    }

    pub fn done(self, millis: u64, id: &str, took: u64, note: Option<&str>) -> Self {
        self.at(millis, Event::StepDone { id: id.into(), millis: took, note: note.map(Into::into) })
    }

    pub fn failed(self, millis: u64, id: &str, took: u64, error: &str) -> Self {
        self.at(millis, Event::StepFailed { id: id.into(), millis: took, error: error.into() })
    }

    pub fn skipped(self, millis: u64, id: &str, because: &str) -> Self {
        self.at(millis, Event::StepSkipped { id: id.into(), because: because.into() })
    }

    pub fn finished(self, millis: u64, ok: bool, summary: &str) -> Self {
        self.at(millis, Event::Finished { ok, degraded: false, millis, summary: summary.into() })
    }

    /// Every kind of event once or more, with a good end.
    pub fn all_kinds() -> Self {
        Self::starting(
            "up",
            &[
                ("network", "network", "create network macula", &[]),
                ("image", "images", "pull grafana/grafana:12.1", &[]),
                ("create", "grafana", "create container macula-grafana-1", &["network", "image"]),
                ("start", "grafana", "start container macula-grafana-1", &["create"]),
                ("ready", "grafana", "wait for macula-grafana-1", &["start"]),
                ("alloy", "alloy", "create container macula-alloy-1", &["network"]),
            ],
        )
        .at(0, Event::Info { message: "using Docker 28.2.2".into() })
        .start(10, "network")
        .start(10, "image")
        .done(90, "network", 80, None)
        .bytes(400, "image", "aa", "downloading", 10_000_000, 80_000_000)
        .bytes(450, "image", "bb", "downloading", 500_000, 8_000_000)
        .at(900, Event::Warning { message: "compose.yaml:4:7: `cpu_shares` is not acted on".into(), place: None })
        .skipped(1000, "alloy", "docker.io cannot be reached")
        .bytes(6000, "image", "aa", "downloading", 80_000_000, 80_000_000)
        .done(8200, "image", 8190, Some("88.0 MB"))
        .start(8200, "create")
        .done(8300, "create", 100, None)
        .start(8300, "start")
        .done(8600, "start", 300, None)
        .start(8600, "ready")
        .waiting(8700, "ready", "not listening on port 3000 yet")
        .done(10_900, "ready", 2300, None)
        .finished(11_000, true, "macula is up · 1 service · 11.0s")
    }

    /// A container that ends at once, one that needs it, and one that does not.
    pub fn failing() -> Self {
        Self::starting(
            "up",
            &[
                ("loki", "loki", "start container macula-loki-1", &[]),
                ("alloy", "alloy", "create container macula-alloy-1", &["loki"]),
                ("web", "web", "start container macula-web-1", &[]),
            ],
        )
        .start(0, "loki")
        .start(0, "web")
        .done(200, "web", 200, None)
        .failed(
            1500,
            "loki",
            1500,
            "stopped right after its start (exit code 1)\n  \x1b[31mlevel=error\x1b[0m msg=\"no such schema\"\n  caller=main.go:74",
        )
        .skipped(1500, "alloy", "it needs loki")
        .finished(1600, false, "1 of 3 services up")
    }

    /// A build and a wait that say much.
    pub fn chatty() -> Self {
        let steps: &[(&str, &str, &str, &[&str])] =
            &[("build", "prometheus", "build macula/prometheus", &[]), ("ready", "web", "wait for web", &[])];
        let mut script = Self::starting("up", steps).start(0, "build").start(0, "ready");
        for at in 0..40 {
            script = script.line(at * 100, "build", &format!("layer line {at}\n"));
            script = script.waiting(at * 100 + 50, "ready", "port 80 answers 503 to GET /");
        }
        script = script.waiting(4500, "ready", "port 80 answers 502 to GET /").waiting(
            5100,
            "ready",
            "port 80 answers 502 to GET /",
        );
        script = script.waiting(20_000, "ready", "port 80 answers 502 to GET /").waiting(
            36_000,
            "ready",
            "port 80 answers 502 to GET /",
        );
        for step in 0..=40u64 {
            script = script.bytes(40_000 + step * 500, "build", "sha", "loading", step * 1_000_000, 40_000_000);
        }
        script
    }
}
