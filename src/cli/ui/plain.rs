//! Lines for pipes and CI logs: `[  2.3s] grafana  start container macula-grafana-1`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::run::{Outcome, Run, Standing, State};
use super::{Streams, Style, Tone, text};
use crate::event::{Event, Progress, Reporter};
use crate::plan::CLUSTER_GROUP;

/// Bytes of one step are told at most this often.
const EVERY_BYTES: Duration = Duration::from_secs(5);
/// Lines of a build.
const EVERY_LINE: Duration = Duration::from_secs(2);
/// A new reason for waiting; the same one is said again after [`SAME_REASON`].
const EVERY_REASON: Duration = Duration::from_secs(5);
const SAME_REASON: Duration = Duration::from_secs(30);
/// A step that was quicker has no line for its end, unless it has something to say.
const WORTH_A_LINE: u64 = 1000;

/// One line for each thing that happens, at once; repeated progress only now and then.
pub(super) struct Plain(Mutex<Inner>);

struct Inner {
    streams: Streams,
    run: Run,
    /// Column of the text: the widest group name.
    column: usize,
    told: HashMap<String, Told>,
}

/// What was last said of a step.
#[derive(Default)]
struct Told {
    at: Option<Duration>,
    text: String,
}

impl Plain {
    pub fn new(streams: Streams) -> Self {
        Self(Mutex::new(Inner { streams, run: Run::default(), column: 0, told: HashMap::new() }))
    }
}

impl Reporter for Plain {
    fn report(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).report(event);
    }
}

impl Inner {
    fn report(&mut self, event: Event) {
        let now = self.streams.clock.elapsed();
        match event {
            Event::Started { command, platform, steps } => {
                let announced = text::count(steps.len(), "step");
                self.run = Run::new(command, platform, steps, now);
                self.told.clear();
                self.column = self.run.groups.iter().map(|group| text::width(&group.name)).max().unwrap_or(0).min(28);
                let (command, platform) = (self.run.command.clone(), self.run.platform.clone());
                self.say(now, &format!("{command}: platform {platform}, {announced}"), Tone::Bold);
            }
            Event::StepStarted { id } => {
                self.run.start(&id, now);
                self.told.remove(&id);
                let what = self.text_of(&id);
                self.say_of(now, &id, if what.is_empty() { "started" } else { &what }, Tone::Plain);
            }
            Event::StepProgress { id, progress } => {
                self.run.progress(&id, &progress);
                self.progress(now, &id, &progress);
            }
            Event::StepDone { id, millis, note } => {
                let note = note.map(|note| text::clean_line(&note)).filter(|note| !note.is_empty());
                self.run.end(&id, State::Done { note: note.clone() }, now);
                self.done(now, &id, millis, note.as_deref());
            }
            Event::StepFailed { id, millis, error } => {
                let error = text::clean_text(&error);
                self.run.end(&id, State::Failed { error: error.clone() }, now);
                let what = self.text_of(&id);
                let took = text::duration(Duration::from_millis(millis));
                let failed = if what.is_empty() { "failed".to_owned() } else { format!("{what}: failed") };
                self.say_of(now, &id, &format!("{failed} after {took}: {error}"), Tone::Bad);
            }
            Event::StepSkipped { id, because } => {
                let because = text::clean_line(&because);
                self.run.end(&id, State::Skipped { because: because.clone() }, now);
                let what = self.text_of(&id);
                let skipped = if what.is_empty() { "skipped".to_owned() } else { format!("{what}: skipped") };
                self.say_of(now, &id, &format!("{skipped}: {because}"), Tone::Warn);
            }
            Event::Warning { message } => {
                self.say(now, &format!("warning: {}", text::clean_text(&message)), Tone::Warn);
            }
            Event::Info { message } => self.say(now, &text::clean_text(&message), Tone::Plain),
            Event::Finished { ok, degraded, millis, summary } => {
                self.run.outcome = Some(Outcome { ok, degraded, millis, summary: String::new() });
                let tone = match (ok, degraded) {
                    (false, _) => Tone::Bad,
                    (true, true) => Tone::Warn,
                    (true, false) => Tone::Good,
                };
                self.say(now, &text::clean_text(&summary), tone);
            }
        }
    }

    fn text_of(&self, id: &str) -> String {
        self.run.find(id).map(|(_, step)| step.text.clone()).unwrap_or_default()
    }

    /// A slow step's end, what it had to say, and the end of its whole group.
    fn done(&mut self, now: Duration, id: &str, millis: u64, note: Option<&str>) {
        let Some((group, step)) = self.run.find(id) else { return };
        let (whole, alone) = (group.standing() == Standing::Done, group.steps.len() == 1);
        let group_took = group.elapsed(now).unwrap_or_default();
        let what = if alone || step.text.is_empty() { String::new() } else { format!("{}: ", step.text) };
        if note.is_some() || (millis >= WORTH_A_LINE && !whole) {
            let took = text::duration(Duration::from_millis(millis));
            self.say_of(now, id, &format!("{what}{} ({took})", note.unwrap_or("done")), Tone::Plain);
        }
        if whole && !(alone && note.is_some()) {
            self.say_of(now, id, &format!("done in {}", text::duration(group_took)), Tone::Good);
        }
    }

    fn progress(&mut self, now: Duration, id: &str, progress: &Progress) {
        let Some((group, step)) = self.run.find(id) else { return };
        let in_cluster = group.name == CLUSTER_GROUP;
        let (said, every) = match progress {
            Progress::Bytes { .. } => {
                let Some(sum) = step.transfer.sum() else { return };
                let amount = match sum.total {
                    Some(total) => text::bytes_of(sum.current, total),
                    None => text::bytes(sum.current),
                };
                (format!("{} {amount}", sum.phase), EVERY_BYTES)
            }
            Progress::Line { .. } => {
                let Some(line) = &step.line else { return };
                // those of the cluster are few, and the last of them stands for a while
                let each = self.streams.verbose || in_cluster;
                (line.clone(), if each { Duration::ZERO } else { EVERY_LINE })
            }
            Progress::Waiting { .. } => {
                let Some(reason) = &step.waiting else { return };
                (reason.clone(), EVERY_REASON)
            }
        };
        let told = self.told.entry(id.to_owned()).or_default();
        let waits = matches!(progress, Progress::Waiting { .. });
        let pause = if waits && told.text == said { SAME_REASON } else { every };
        if told.at.is_some_and(|at| now < at + pause) {
            return;
        }
        *told = Told { at: Some(now), text: said.clone() };
        self.say_of(now, id, &said, Tone::Dim);
    }

    /// A line about a step, with its group's name.
    fn say_of(&mut self, now: Duration, id: &str, text: &str, tone: Tone) {
        let name = self.run.find(id).map_or_else(|| text::clean_line(id), |(group, _)| group.name.clone());
        let name = text::pad(&name, self.column);
        self.write(now, &self.streams.style.paint(Tone::Active, &name), &format!("  {text}"), tone);
    }

    fn say(&mut self, now: Duration, text: &str, tone: Tone) {
        self.write(now, "", text, tone);
    }

    /// Further lines of a text are indented below its first.
    fn write(&mut self, now: Duration, name: &str, text: &str, tone: Tone) {
        let style: Style = self.streams.style;
        let time = format!("[{}]", text::pad_left(&seconds(now), 6));
        let mut out = format!("{} {name}", style.paint(Tone::Dim, &time));
        for (at, line) in text.lines().enumerate() {
            if at > 0 {
                out.push_str("\n         ");
            }
            out.push_str(&style.paint(tone, line));
        }
        out.push('\n');
        // nobody reads any more: no reason to stop the work
        let _ = self.streams.err.write_all(out.as_bytes());
    }
}

/// `2.3s`, `732.0s`: one unit throughout, so that lines can be compared.
fn seconds(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    format!("{}.{}s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::testing::{Script, pipe};
    use super::*;

    fn played(script: Script, change: impl FnOnce(&mut Streams)) -> String {
        let (mut streams, out, clock) = pipe();
        change(&mut streams);
        let plain = Plain::new(streams);
        script.play(&plain, &clock, |_| {});
        out.text()
    }

    #[test]
    fn a_run_reads_as_lines() {
        assert_snapshot!(played(Script::all_kinds(), |_| {}), @r"
        [  0.0s] up: platform macula, 6 steps
        [  0.0s] using Docker 28.2.2
        [  0.0s] network  create network macula
        [  0.0s] images   pull grafana/grafana:12.1
        [  0.0s] network  done in 0.0s
        [  0.4s] images   downloading 10.0/80.0 MB
        [  0.9s] warning: compose.yaml:4:7: `cpu_shares` is not acted on
        [  1.0s] alloy    create container macula-alloy-1: skipped: no image can be had and it is optional
        [  6.0s] images   downloading 80.5/88.0 MB
        [  8.2s] images   88.0 MB (8.1s)
        [  8.2s] grafana  create container macula-grafana-1
        [  8.3s] grafana  start container macula-grafana-1
        [  8.6s] grafana  wait for macula-grafana-1
        [  8.7s] grafana  starting: connection refused on 127.0.0.2:3000
        [ 10.9s] grafana  done in 2.7s
        [ 11.0s] up in 11.0s
        ");
    }

    #[test]
    fn a_failure_shows_its_whole_text() {
        assert_snapshot!(played(Script::failing(), |_| {}), @r#"
        [  0.0s] up: platform macula, 3 steps
        [  0.0s] loki   start container macula-loki-1
        [  0.0s] web    start container macula-web-1
        [  0.2s] web    done in 0.2s
        [  1.5s] loki   start container macula-loki-1: failed after 1.5s: ended with 1; its last lines:
                   level=error msg="no such schema"
                   caller=main.go:74
        [  1.5s] alloy  create container macula-alloy-1: skipped: it needs loki
        [  1.6s] 1 of 3 failed; what works is kept
        "#);
    }

    #[test]
    fn repeated_progress_is_told_now_and_then() {
        assert_snapshot!(played(Script::chatty(), |_| {}), @r"
        [  0.0s] up: platform macula, 2 steps
        [  0.0s] prometheus  build macula/prometheus
        [  0.0s] web         wait for web
        [  0.0s] prometheus  layer line 0
        [  0.0s] web         starting: 503
        [  2.0s] prometheus  layer line 20
        [  5.1s] web         starting: 502
        [ 36.0s] web         starting: 502
        [ 40.0s] prometheus  loading 0.0/40.0 MB
        [ 45.0s] prometheus  loading 10.0/40.0 MB
        [ 50.0s] prometheus  loading 20.0/40.0 MB
        [ 55.0s] prometheus  loading 30.0/40.0 MB
        [ 60.0s] prometheus  loading 40.0/40.0 MB
        ");
    }

    #[test]
    fn verbose_shows_every_line_of_a_build() {
        let lines = played(Script::chatty(), |streams| streams.verbose = true);
        assert_eq!(lines.matches("layer line").count(), 40);
    }
}
