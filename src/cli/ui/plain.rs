//! Lines for pipes and CI logs: `[  2.3s] grafana  starting`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::run::{Group, Run, Standing};
use super::tty::title;
use super::{Streams, Style, Tone, text};
use crate::event::{Doing, Event, Progress, Reporter};
use crate::plan::CLUSTER_GROUP;

/// Bytes of one step are told at most this often.
const EVERY_BYTES: Duration = Duration::from_secs(5);
/// Lines of a build.
const EVERY_LINE: Duration = Duration::from_secs(5);
/// A new reason for waiting, once it has lasted this long; the same one is said again after
/// [`SAME_REASON`].
const EVERY_REASON: Duration = Duration::from_secs(5);
const SAME_REASON: Duration = Duration::from_secs(30);
/// After this long without a line the run as a whole is told.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One line for each thing that happens, at once; repeated progress only now and then.
pub(super) struct Plain {
    inner: Arc<Mutex<Inner>>,
    has_heartbeat: bool,
}

struct Inner {
    streams: Streams,
    run: Run,
    /// Column of the text: the widest group name.
    column: usize,
    told: HashMap<String, Told>,
    /// When the last line was written.
    last: Duration,
    /// There is a thread that says how it stands.
    beating: bool,
}

/// What was last said of a step.
#[derive(Default)]
struct Told {
    at: Option<Duration>,
    text: String,
}

impl Plain {
    pub fn new(streams: Streams) -> Self {
        let (told, last) = (HashMap::new(), Duration::ZERO);
        let inner = Inner { streams, run: Run::default(), column: 0, told, last, beating: false };
        Self { inner: Arc::new(Mutex::new(inner)), has_heartbeat: false }
    }

    /// With a thread, while something is worked on, that says how it stands when nothing else is said for a while.
    pub fn with_heartbeat(streams: Streams) -> Self {
        Self { has_heartbeat: true, ..Self::new(streams) }
    }
}

/// Until nothing is worked on any more, or nobody reports.
fn beat(inner: &Weak<Mutex<Inner>>) {
    loop {
        #[allow(clippy::disallowed_methods, reason = "a thread of its own, not one of the runtime")]
        std::thread::sleep(Duration::from_secs(1));
        let Some(inner) = inner.upgrade() else { return };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.beating = inner.run.working();
        if !inner.beating {
            return;
        }
        inner.heartbeat();
    }
}

impl Reporter for Plain {
    fn report(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.report(event);
        if self.has_heartbeat && !inner.beating && inner.run.working() {
            let reports = Arc::downgrade(&self.inner);
            // without a thread there are only fewer lines
            inner.beating = std::thread::Builder::new().name("heartbeat".into()).spawn(move || beat(&reports)).is_ok();
        }
    }
}

impl Inner {
    fn report(&mut self, event: Event) {
        let now = self.streams.clock.elapsed();
        self.run.hear(&event, now);
        match event {
            Event::Started { .. } => {
                self.told.clear();
                self.column = self.run.groups.iter().map(|group| text::width(&group.name)).max().unwrap_or(0).min(28);
                let (_, all, what) = self.run.counts();
                let counted = if what.is_empty() { String::new() } else { format!(": {}", text::count(all, what)) };
                let title = title(&self.run.command, &self.run.platform);
                self.say(now, &format!("{title}{counted}"), Tone::Bold);
            }
            Event::StepStarted { id } => {
                self.told.remove(&id);
                self.begun(now, &id);
            }
            Event::StepQueued { .. } => {}
            Event::StepProgress { id, progress } => self.progress(now, &id, &progress),
            Event::StepDone { id, .. } => self.done(now, &id),
            Event::StepFailed { id, millis, error } => {
                let took = text::duration(Duration::from_millis(millis));
                // the error at the end has the rest
                let error = text::clean_text(&error);
                let first = error.lines().next().unwrap_or_default();
                self.say_of(now, &id, &format!("failed after {took}: {first}"), Tone::Bad);
            }
            Event::StepSkipped { id, because } => self.skipped(now, &id, &text::clean_line(&because)),
            Event::Warning { message, .. } => {
                self.say(now, &format!("warning: {}", text::clean_text(&message)), Tone::Warn);
            }
            Event::Info { message } => self.say(now, &text::clean_text(&message), Tone::Plain),
            Event::Finished { ok, summary, .. } => {
                let tone = if ok { Tone::Good } else { Tone::Bad };
                let summary = text::clean_text(&summary);
                if !summary.is_empty() {
                    self.say(now, &summary, tone);
                }
            }
        }
    }

    /// What takes long, and what nobody announced, is said when it begins; the rest when it is done.
    fn begun(&mut self, now: Duration, id: &str) {
        let Some((group, step)) = self.run.find(id) else { return };
        let what = match step.doing {
            Doing::Base | Doing::Build | Doing::Pull | Doing::Job => step.verb().to_owned(),
            Doing::Cluster => step.text.clone(),
            Doing::Other if step.text.is_empty() || step.text == group.name => "started".to_owned(),
            Doing::Other => step.text.clone(),
            _ if self.streams.verbose => step.text.clone(),
            _ => return,
        };
        self.say_of(now, id, &what, Tone::Plain);
    }

    /// The end of a build, of whatever had something to say, and of a whole group.
    fn done(&mut self, now: Duration, id: &str) {
        let Some((group, step)) = self.run.find(id) else { return };
        let whole = self.run.standing(group) == Standing::Done;
        let took = |time: Option<Duration>| text::duration(time.unwrap_or_default());
        let note = match &step.state {
            super::run::State::Done { note } => note.clone(),
            _ => None,
        };
        let line = match step.doing {
            _ if whole => {
                let note = group.note().map(|note| format!(" ({note})")).unwrap_or_default();
                Some(format!("{} in {}{note}", group.result(), took(group.worked(now))))
            }
            Doing::Build | Doing::Pull => {
                // what no registry has may have been built after all
                let built = step.doing == Doing::Build || note.as_deref() == Some("built");
                let word = if built { "built" } else { "pulled" };
                Some(format!("{word} in {}", text::duration(step.worked(now))))
            }
            Doing::Load => Some(format!("loaded in {}", text::duration(step.worked(now)))),
            _ => note.map(|note| format!("{note} ({})", text::duration(step.worked(now)))),
        };
        if let Some(line) = line {
            self.say_of(now, id, &line, if whole { Tone::Good } else { Tone::Plain });
        }
    }

    /// One line for a group of which nothing more will come.
    fn skipped(&mut self, now: Duration, id: &str, because: &str) {
        let Some((group, _)) = self.run.find(id) else { return };
        if self.run.standing(group) != Standing::Skipped || because == "stopped" {
            return;
        }
        self.say_of(now, id, &format!("not begun: {because}"), Tone::Warn);
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
                // those of the cluster are few, and the last of them stands for a while; those of a job are what it is
                // run for
                let each = self.streams.verbose || in_cluster || step.doing == Doing::Job;
                let stage = step.stage.as_ref().map(|stage| format!("{stage} ")).unwrap_or_default();
                (format!("{stage}{line}"), if each { Duration::ZERO } else { EVERY_LINE })
            }
            Progress::Waiting { .. } => {
                let Some(reason) = &step.waiting else { return };
                if !self.streams.verbose && step.worked(now) < EVERY_REASON {
                    return;
                }
                let limit = step.limit.map(|limit| format!(" of {}", text::duration(limit))).unwrap_or_default();
                let waited = text::duration(step.worked(now));
                (format!("not ready after {waited}{limit}: {reason}"), EVERY_REASON)
            }
        };
        let waits = matches!(progress, Progress::Waiting { .. });
        let same = if waits { step.waiting.clone().unwrap_or_default() } else { said.clone() };
        let told = self.told.entry(id.to_owned()).or_default();
        let pause = if waits && told.text == same { SAME_REASON } else { every };
        if told.at.is_some_and(|at| now < at + pause) {
            return;
        }
        *told = Told { at: Some(now), text: same };
        self.say_of(now, id, &said, Tone::Dim);
    }

    /// Nothing was said for a while, and something still works.
    fn heartbeat(&mut self) {
        let now = self.streams.clock.elapsed();
        if !self.run.working() {
            return;
        }
        // a reason that came too early to be told, and has lasted
        let waiting = self.run.groups.iter().flat_map(Group::working);
        let waiting: Vec<(String, String)> =
            waiting.filter_map(|step| Some((step.id.clone(), step.waiting.clone()?))).collect();
        for (id, reason) in waiting {
            self.progress(now, &id, &Progress::Waiting { reason });
        }
        if now < self.last + HEARTBEAT {
            return;
        }
        let line = self.stand(now);
        self.say(now, &line, Tone::Plain);
    }

    /// `3 of 11 services; building minio (1m10s), excalidraw (31s); 4 queued; about 1m40s left`
    fn stand(&mut self, now: Duration) -> String {
        let (done, all, what) = self.run.counts();
        let what = if what.is_empty() { String::new() } else { format!(" {what}s") };
        let mut parts = vec![format!("{done} of {all}{what} done")];
        let working = |group: &&Group| self.run.standing(group) == Standing::Working;
        let at_work: Vec<String> = self
            .run
            .groups
            .iter()
            .filter(working)
            .filter_map(|group| {
                let step = group.working().next()?;
                let verb = if matches!(step.doing, Doing::Cluster | Doing::Other) { "working on" } else { step.verb() };
                Some(format!("{verb} {} ({})", group.name, text::duration(step.worked(now))))
            })
            .collect();
        parts.push(at_work.join(", "));
        let queued = self.run.groups.iter().filter(|group| matches!(self.run.standing(group), Standing::Queued(_)));
        parts.extend(Some(queued.count()).filter(|count| *count > 0).map(|count| format!("{count} queued")));
        parts.extend(
            self.run.left(now).filter(|left| !left.is_zero()).map(|left| format!("{} left", text::roughly(left))),
        );
        parts.join("; ")
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
        self.last = now;
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
        [  0.0s] Starting macula: 2 services
        [  0.0s] using Docker 28.2.2
        [  0.0s] images   pulling
        [  0.0s] network  created in 0.0s
        [  0.4s] images   downloading 10.0/80.0 MB
        [  0.9s] warning: compose.yaml:4:7: `cpu_shares` is not acted on
        [  1.0s] alloy    not begun: docker.io cannot be reached
        [  6.0s] images   downloading 80.5/88.0 MB
        [  8.2s] images   pulled in 8.1s (88.0 MB)
        [ 10.9s] grafana  started in 2.7s
        [ 11.0s] macula is up · 1 service · 11.0s
        ");
    }

    #[test]
    fn a_failure_shows_its_whole_text() {
        assert_snapshot!(played(Script::failing(), |_| {}), @r"
        [  0.0s] Starting macula: 3 services
        [  0.2s] web    started in 0.2s
        [  1.5s] loki   failed after 1.5s: stopped right after its start (exit code 1)
        [  1.5s] alloy  not begun: it needs loki
        [  1.6s] 1 of 3 services up
        ");
    }

    #[test]
    fn repeated_progress_is_told_now_and_then() {
        assert_snapshot!(played(Script::chatty(), |_| {}), @r"
        [  0.0s] Starting macula: 1 service
        [  0.0s] prometheus  building
        [  0.0s] prometheus  layer line 0
        [  5.1s] web         not ready after 5.1s: port 80 answers 502 to GET /
        [ 36.0s] web         not ready after 36.0s: port 80 answers 502 to GET /
        [ 40.0s] prometheus  loading 0.0/40.0 MB
        [ 45.0s] prometheus  loading 10.0/40.0 MB
        [ 50.0s] prometheus  loading 20.0/40.0 MB
        [ 55.0s] prometheus  loading 30.0/40.0 MB
        [ 60.0s] prometheus  loading 40.0/40.0 MB
        ");
    }

    #[test]
    fn a_reason_that_lasts_is_told_once_it_has_lasted() {
        let (streams, out, clock) = pipe();
        let plain = Plain::new(streams);
        let script = Script::starting("up", &[("ready", "web", "wait for web", &[])]);
        let script = script.start(0, "ready").waiting(100, "ready", "health check: exit code 1, no output");
        script.play(&plain, &clock, |_| {});
        out.take();
        for second in 1..=14 {
            clock.set(second * 1000);
            plain.inner.lock().unwrap().heartbeat();
        }
        let told = "[  5.0s] web  not ready after 5.0s: health check: exit code 1, no output\n";
        assert_eq!(out.text(), told);
    }

    #[test]
    fn a_long_silence_is_broken_by_how_it_stands() {
        let (streams, out, clock) = pipe();
        let plain = Plain::new(streams);
        let steps: &[(&str, &str, &str, &[&str])] = &[
            ("a", "minio", "build macula/minio", &[]),
            ("b", "excalidraw", "build macula/excalidraw", &[]),
            ("c", "powerdns", "build macula/powerdns", &[]),
            ("s", "powerdns", "start container macula-powerdns-1", &["c"]),
        ];
        let mut script = Script::starting("up", steps).start(0, "a").start(0, "b").start(0, "c").queued(0, "c");
        if let Some((_, Event::Started { steps, .. })) = script.first_mut() {
            for step in steps.iter_mut().take(3) {
                step.expected_millis = Some(60_000);
            }
        }
        script.play(&plain, &clock, |_| {});
        out.take();
        for second in 1..=40 {
            clock.set(second * 1000);
            plain.inner.lock().unwrap().heartbeat();
        }
        assert_snapshot!(out.text(), @r"
        [ 15.0s] 0 of 1 services done; building excalidraw (15.0s), building minio (15.0s); 1 queued; about 1m50s left
        [ 30.0s] 0 of 1 services done; building excalidraw (30.0s), building minio (30.0s); 1 queued; about 1m30s left
        ");
    }

    #[test]
    fn verbose_shows_every_line_of_a_build() {
        let lines = played(Script::chatty(), |streams| streams.verbose = true);
        assert_eq!(lines.matches("layer line").count(), 40);
    }
}
