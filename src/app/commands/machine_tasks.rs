//! Tasks that run on this machine (`tasks` of macula.yaml), as steps of a plan (docs/decisions/tasks.md).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::app::exports::{render_exports, unclear};
use crate::app::survey::{Look, Survey, survey_with};
use crate::app::{Error, Session, resolver};
use crate::apply::{StepError, TaskEnd, TaskWork};
use crate::compile::Site;
use crate::config::Loaded;
use crate::host::{Command, Ending, Family, Grouped, Host, LineSink, RunError, times_of};
use crate::model::{MachineTask, MachineTaskSpec};
use crate::words;

use super::creds::add_receiver;
use super::forwards::pass_on;
use super::membership::{log_of, trusted};
use super::processes::own_variables;

/// Between two looks at what it has written.
const LOOK: Duration = Duration::from_millis(50);
/// A long output is read less often.
const LONG: u64 = 1 << 20;
/// The kept output loses its older half when it is longer than this.
const LONGEST_OUTPUT: u64 = 4 << 20;
/// Until what was asked to end is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Until what was killed is gone: only what the kernel holds stays longer.
const KILLED: Duration = Duration::from_secs(2);
/// Between two looks whether what was asked to end has ended.
const ENDING: Duration = Duration::from_millis(20);
/// Exit codes that `timeout`, `env` and shells have for what has none of its own.
const TOO_LONG: i64 = 124;
const NOT_TRIED: i64 = 125;
const NOT_EXECUTABLE: i64 = 126;
const NOT_FOUND: i64 = 127;
/// In the environment of a task and of what it starts.
const MARK: &str = "MACULA_TASK";

/// What they are run with.
#[derive(Clone)]
pub(super) struct MachineTasks {
    session: Session,
    loaded: Loaded,
    no_dns: bool,
}

impl MachineTasks {
    pub(super) fn new(session: &Session, loaded: &Loaded, no_dns: bool) -> Self {
        Self { session: session.clone(), loaded: loaded.clone(), no_dns }
    }

    /// Its whole environment. Names and relays are there from now on: other steps do without, so that both come last in
    /// an `up`.
    async fn prepared(&self, task: &MachineTask) -> Result<BTreeMap<String, String>, Error> {
        let session = &self.session;
        let seen = survey_with(session, &self.loaded, Look::default()).await?;
        // what cannot be listened on is told at the end of the `up`
        let _ = pass_on(session, &seen).await;
        if !self.no_dns {
            // what does not resolve is told at the end of the `up`
            let _ = resolver::ensure(session, &seen).await;
        }
        self.environment(task, &seen).await
    }

    async fn environment(&self, task: &MachineTask, seen: &Survey) -> Result<BTreeMap<String, String>, Error> {
        let (session, host) = (&self.session, self.session.host());
        let site = Site {
            facts: &seen.facts,
            subnet: seen.subnet,
            block: seen.block,
            secrets: &seen.secrets,
            certificate: seen.served.as_ref(),
            version: session.version,
            resolver: seen.resolver,
            held: &[],
        };
        let only = task.settings_of();
        let without = unclear(&seen.platform, &only);
        let mut settings = render_exports(&seen.platform, &site, &only, &without).map_err(Error::Compile)?;
        add_receiver(session, &seen.platform.name, &mut settings).await;
        let mut environment = host.environment();
        environment.extend(settings);
        environment.extend(trusted(session, &self.loaded).await?);
        environment.insert("OTEL_SERVICE_NAME".into(), task.name.clone());
        for (name, value) in own_variables(host, &task.env_files, &task.environment).await? {
            match value {
                Some(value) => environment.insert(name, value),
                None => environment.remove(&name),
            };
        }
        Ok(environment)
    }
}

#[async_trait]
impl TaskWork for MachineTasks {
    async fn run(&self, spec: &MachineTaskSpec, said: LineSink<'_>) -> Result<TaskEnd, StepError> {
        let (session, host) = (&self.session, self.session.host());
        let platform = &self.loaded.platform;
        let Some(task) = platform.tasks.get(&spec.name).cloned() else {
            return Ok(unstarted(NOT_TRIED, "it is not in macula.yaml"));
        };
        let log = log_of(host, &platform.name, &task.name);
        // a look at everything is no work that may change its thread
        let (own, of_task, runtime) = (self.clone(), task.clone(), tokio::runtime::Handle::current());
        let look = tokio::task::spawn_blocking(move || {
            runtime.block_on(own.prepared(&of_task)).map_err(|error| error.to_string())
        });
        let prepared = look.await.unwrap_or_else(|error| Err(error.to_string()));
        let mark = format!("{}.{}.{}", platform.name, task.name, std::process::id());
        // the log is that of the last run until there is another one
        if session.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        let begun = match (prepared, remove_log(host, &log).await) {
            (Ok(environment), Ok(())) => start(host, &task, environment, &mark, &log).await,
            (Err(error), _) => Err(unstarted(NOT_TRIED, error)),
            (Ok(_), Err(error)) => Err(unstarted(NOT_TRIED, error)),
        };
        let mut started = match begun {
            Ok(started) => started,
            Err(end) => {
                note(host, &log, &task.name, end.reason.as_deref()).await;
                return Ok(end);
            }
        };
        let family = Family { group: Some(started.pid()), session: None, mark: Some(format!("{MARK}={mark}")) };
        let begun = Instant::now();
        let mut heard = Heard::default();
        let ended = loop {
            let pause = LOOK * u32::try_from(1 + heard.read / LONG).unwrap_or(u32::MAX);
            tokio::select! {
                code = started.ended() => break Ok(TaskEnd { code: i64::from(code), reason: None }),
                () = session.cancel.cancelled() => break Err(StepError::Cancelled),
                () = tokio::time::sleep(pause) => {}
            }
            heard.hear(host, &log, said).await;
            if begun.elapsed() >= task.timeout {
                let limit = words::fine_duration(task.timeout);
                let reason = format!("was ended: it took longer than {limit} (`timeout` gives it more)");
                break Ok(TaskEnd { code: TOO_LONG, reason: Some(reason) });
            }
        };
        if !matches!(ended, Ok(TaskEnd { reason: None, .. })) {
            end(host, &family, &mut *started).await;
        }
        heard.hear(host, &log, said).await;
        heard.last(said);
        // what it has left running may go on writing
        let _ = host.keep_end(&log, LONGEST_OUTPUT).await;
        let reason = ended.as_ref().ok().and_then(|end| end.reason.clone());
        note(host, &log, &task.name, reason.as_deref()).await;
        ended
    }
}

/// With the times of its lines.
async fn remove_log(host: &dyn Host, log: &Path) -> io::Result<()> {
    host.remove(log).await?;
    host.remove(&times_of(log)).await
}

/// For whoever looks later: why it has no exit code of its own. That there is no log is no more of a failure.
async fn note(host: &dyn Host, log: &Path, task: &str, reason: Option<&str>) {
    let Some(reason) = reason else { return };
    let mut text = host.read(log).await.unwrap_or_default();
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{task} {reason}\n").as_bytes());
    let _ = host.write(log, &text, 0o600).await;
    let _ = host.note_length(log).await;
}

fn unstarted(code: i64, why: impl std::fmt::Display) -> TaskEnd {
    TaskEnd { code, reason: Some(format!("was not started: {why}")) }
}

/// Starts its command, or says how that came out, with the exit code that a shell has for it.
async fn start(
    host: &dyn Host,
    task: &MachineTask,
    environment: BTreeMap<String, String>,
    mark: &str,
    log: &Path,
) -> Result<Box<dyn Grouped>, TaskEnd> {
    let Some((program, arguments)) = task.command.split_first() else {
        return Err(unstarted(NOT_TRIED, "it has nothing to run"));
    };
    let mut command = Command::new(program, arguments).cwd(&task.folder).writes_itself();
    command.settings = environment;
    command.settings.insert(MARK.to_owned(), mark.to_owned());
    match host.start_group(&command, log).await {
        Ok(started) => Ok(started),
        Err(RunError::Missing { program, .. }) if !program.contains('/') => {
            Err(unstarted(NOT_FOUND, format!("{program} is not installed")))
        }
        Err(RunError::Missing { program, .. }) => Err(match host.exists(&task.folder.join(&program)).await {
            true => unstarted(NOT_EXECUTABLE, format!("{program} is not executable")),
            false => unstarted(NOT_FOUND, format!("{program} does not exist in {}", task.folder.display())),
        }),
        Err(error) => Err(unstarted(NOT_EXECUTABLE, error)),
    }
}

/// Asks all that it has started to end, and ends what does not.
async fn end(host: &dyn Host, family: &Family, started: &mut dyn Grouped) {
    host.end(&host.members(family), Ending::Ask);
    let begun = Instant::now();
    let mut killed = false;
    loop {
        // whoever has ended and was not asked for its status is a member still
        let _ = tokio::time::timeout(ENDING, started.ended()).await;
        let left = host.members(family);
        if left.is_empty() || begun.elapsed() >= GRACE + KILLED {
            return;
        }
        if begun.elapsed() >= GRACE && !killed {
            killed = true;
            host.end(&left, Ending::Kill);
        }
        tokio::time::sleep(ENDING).await;
    }
}

/// What was read of a log so far, line by line.
#[derive(Default)]
struct Heard {
    read: u64,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Heard {
    async fn hear(&mut self, host: &dyn Host, log: &Path, said: LineSink<'_>) {
        let Ok(length) = host.length(log).await else { return };
        if length < self.read {
            // it has opened /dev/stderr, which is this file, and emptied it
            self.read = 0;
        }
        if length <= self.read {
            return;
        }
        let _ = host.note_length(log).await;
        let content = host.read(log).await.unwrap_or_default();
        let new = usize::try_from(self.read).ok().and_then(|from| content.get(from..)).unwrap_or_default();
        self.read += new.len() as u64;
        self.take(new, said);
    }

    /// A carriage return ends a line too: what programs paint over.
    fn take(&mut self, new: &[u8], said: LineSink<'_>) {
        self.rest.extend_from_slice(new);
        while let Some(end) = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let next_is_end = line.ends_with(b"\r") && self.rest.first() == Some(&b'\n');
            if next_is_end {
                self.rest.remove(0);
            }
            let text = line.get(..end).unwrap_or_default();
            if !text.is_empty() || !line.ends_with(b"\r") {
                said(&String::from_utf8_lossy(text));
            }
        }
    }

    fn last(&mut self, said: LineSink<'_>) {
        if !self.rest.is_empty() {
            said(&String::from_utf8_lossy(&std::mem::take(&mut self.rest)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::host::local::LocalHost;

    #[test]
    fn lines_are_whole_however_they_come() {
        let told: Mutex<Vec<String>> = Mutex::default();
        let said = |line: &str| told.lock().unwrap().push(line.to_owned());
        let mut heard = Heard::default();
        for part in ["one\ntw", "o\r\n\nthree 1%\rthree 2%", "\rend"] {
            heard.take(part.as_bytes(), &said);
        }
        heard.last(&said);
        assert_eq!(*told.lock().unwrap(), ["one", "two", "", "three 1%", "three 2%", "end"]);
    }

    #[tokio::test]
    async fn a_log_that_was_emptied_is_heard_on() {
        let host = FakeHost::new();
        let log = Path::new("/run/migrate.log");
        let told: Mutex<Vec<String>> = Mutex::default();
        let said = |line: &str| told.lock().unwrap().push(line.to_owned());
        let mut heard = Heard::default();
        for text in ["one\ntwo\n", "three\n", "three\nfour\n"] {
            host.put(log, text);
            heard.hear(&host, log, &said).await;
        }
        assert_eq!(*told.lock().unwrap(), ["one", "two", "three", "four"]);
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_why() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("seed.sh"), "echo seeded\n").unwrap();
        let host = LocalHost::new();
        let mut told = Vec::new();
        for program in ["no-such-program", "./gone.sh", "./seed.sh"] {
            let task = MachineTask {
                command: vec![program.to_owned()],
                folder: folder.path().to_owned(),
                ..MachineTask::default()
            };
            let end = start(&host, &task, host.environment(), "test", &folder.path().join("log")).await.err().unwrap();
            told.push((end.code, end.reason.unwrap().replace(&folder.path().display().to_string(), "FOLDER")));
        }
        let told: Vec<String> = told.into_iter().map(|(code, reason)| format!("{code} {reason}")).collect();
        let wanted = [
            "127 was not started: no-such-program is not installed",
            "127 was not started: ./gone.sh does not exist in FOLDER",
            "126 was not started: ./seed.sh is not executable",
        ];
        assert_eq!(told, wanted);
    }

    /// Nothing is noted of a run that did not begin, so that the last one is still another one.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_stopped_before_it_begins_keeps_the_log_of_its_last_run() {
        let tasks = "tasks: {migrate: {run: [migrate], before: web}}\n";
        let loaded = shop(&FakeHost::new(), tasks, "services: {web: {image: 'web:1'}}\n");
        let session = session(FakeHost::new(), &FakeEngine::new(), "macula up");
        let log = log_of(session.host(), &loaded.platform.name, "migrate");
        session.host().write(&log, b"the last run\n", 0o600).await.unwrap();
        session.cancel.cancel();
        let spec = MachineTaskSpec { name: "migrate".into(), ..MachineTaskSpec::default() };
        let end = MachineTasks::new(&session, &loaded, true).run(&spec, &|_: &str| {}).await;
        assert!(matches!(end, Err(StepError::Cancelled)), "{end:?}");
        assert_eq!(session.host().read(&log).await.unwrap(), b"the last run\n");
    }

    #[tokio::test]
    async fn a_reason_stands_below_what_was_written() {
        let host = FakeHost::new();
        let log = Path::new("/run/migrate.log");
        note(&host, log, "migrate", None).await;
        assert!(!host.exists(log).await);
        note(&host, log, "migrate", Some("was not started")).await;
        assert_eq!(host.text(log).as_deref(), Some("migrate was not started\n"));
        host.put(log, "half a line");
        note(&host, log, "migrate", Some("was ended")).await;
        assert_eq!(host.text(log).as_deref(), Some("half a line\nmigrate was ended\n"));
    }

    /// A program that ignores the signal is not waited for longer than it takes; its children go with it.
    #[tokio::test]
    async fn what_a_task_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("task.log");
        let host = LocalHost::new();
        let mark = format!("{MARK}=test.{}", std::process::id());
        let mut command = Command::new("sh", ["-c", "sleep 60 & setsid sleep 60 & echo begun; wait"]);
        command.settings = host.environment();
        let (name, value) = mark.split_once('=').unwrap();
        command.settings.insert(name.to_owned(), value.to_owned());
        let mut started = host.start_group(&command, &log).await.unwrap();
        let family = Family { group: Some(started.pid()), session: None, mark: Some(mark) };
        while host.members(&family).len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = Instant::now();
        end(&host, &family, &mut *started).await;
        assert!(host.members(&family).is_empty() && begun.elapsed() < GRACE);
    }
}
