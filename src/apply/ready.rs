//! When a service counts as there: asked from outside, or by its own health check, at once and
//! again, without waiting for the engine's first interval.

use std::time::{Duration, Instant};

use crate::engine::{EngineError, LogOptions, Streams};
use crate::model::{ContainerSpec, ContainerState, Health, Healthcheck, ObservedContainer, Readiness};
use crate::probe::{Answer, ask};

use super::{StepError, Tools};

/// What an engine takes for the interval of a health check that names none.
const USUAL_INTERVAL: Duration = Duration::from_secs(30);
/// The shortest and the longest pause between two questions.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A test in the container is a process that the engine starts, which takes about as long.
const FIRST_PAUSE_OF_TESTS: Duration = Duration::from_millis(60);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A service that says nothing of its health must have run for this long.
const SETTLED: Duration = Duration::from_millis(200);
/// And for this long once it has ended and was started again.
const RECOVERED: Duration = Duration::from_secs(5);
/// A service that its restart policy has brought back this often is not coming up.
const RESTARTS: i64 = 3;
const LOG_LINES: u64 = 20;
/// For the last lines of a container that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits, and hands on meanwhile each line that the container writes.
pub(super) async fn aloud<T>(
    tools: &Tools,
    container: &str,
    said: &(dyn Fn(String) + Send + Sync),
    wait: impl Future<Output = T>,
) -> T {
    use futures_util::StreamExt;
    let listen = async {
        let options = LogOptions { follow: true, ..LogOptions::default() };
        // an engine that keeps no log has nothing to tell
        let Ok(mut lines) = tools.engine.logs(container, &options).await else { return };
        while let Some(Ok(line)) = lines.next().await {
            said(String::from_utf8_lossy(&line.bytes).into_owned());
        }
    };
    tokio::pin!(wait, listen);
    tokio::select! {
        waited = &mut wait => {
            let _ = tokio::time::timeout(LAST_WORDS, listen).await;
            waited
        }
        () = &mut listen => wait.await,
    }
}

pub(super) async fn wait(
    tools: &Tools,
    spec: &ContainerSpec,
    readiness: &Readiness,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), StepError> {
    let start = Instant::now();
    let deadline = start + readiness.timeout;
    // since when it has run without a break, and how often it was brought back by then
    let (mut begun, mut restarts) = (Instant::now(), 0);
    let mut pause = FIRST_PAUSE;
    if let Some(test) = &spec.healthcheck
        && readiness.probe.is_none()
        && test.test.first().is_some_and(|word| word.starts_with("CMD"))
    {
        pause = FIRST_PAUSE_OF_TESTS;
    } else if matches!(question(spec, readiness, &ObservedContainer::default()), Question::Nothing)
        && !readiness.one_shot
    {
        // there is nothing to be seen before, and every look costs the engine
        tokio::time::sleep(SETTLED).await;
    }
    // of the image's health check, once it was asked for
    let mut test = None;
    let mut said = String::new();
    // a container that was started again says nothing any more of how it ended before
    let mut ended_with = 0;
    // what brought it down before this wait may be gone
    let mut before = None;
    // tries that were used up before, too
    let mut used_before = None;
    loop {
        let found = tools.engine.inspect(&spec.name).await?;
        let before = *before.get_or_insert(if found.restart_count < RESTARTS { 0 } else { found.restart_count });
        let used_before = *used_before.get_or_insert(found.health == Health::Unhealthy);
        if let Some(code) = found.exit_code.filter(|code| *code != 0) {
            ended_with = code;
        }
        if found.state != ContainerState::Running || found.restart_count != restarts {
            (begun, restarts) = (Instant::now(), found.restart_count);
        }
        if let Some(reason) = gave_up(&found, spec, readiness, ended_with, before) {
            return Err(not_ready(tools, spec, &found, reason).await);
        }
        let ended = matches!(found.state, ContainerState::Exited | ContainerState::Dead);
        let answer = if readiness.one_shot {
            if ended { Answer::Healthy } else { Answer::Not(String::new()) }
        } else if ended {
            // its work is done: not a service, and no failure either
            Answer::Healthy
        } else if found.state != ContainerState::Running {
            Answer::Not(state_text(&found))
        } else {
            match question(spec, readiness, &found) {
                Question::EngineHealth if !found.untested.is_empty() => {
                    ask(&*tools.engine, &*tools.host, &tools.facts, spec, readiness, &found).await?
                }
                Question::Ask => ask(&*tools.engine, &*tools.host, &tools.facts, spec, readiness, &found).await?,
                Question::EngineHealth => match found.health {
                    Health::Healthy | Health::None => Answer::Healthy,
                    _ => ask_ahead(tools, spec, readiness, &found, &mut test).await?,
                },
                Question::Nothing if begun.elapsed() >= if restarts > 0 { RECOVERED } else { SETTLED } => {
                    Answer::Healthy
                }
                Question::Nothing => Answer::Not(String::new()),
            }
        };
        match answer {
            Answer::Healthy => return Ok(()),
            // whatever ends at once has ended by now
            Answer::Unasked(reason) if begun.elapsed() >= RECOVERED => {
                progress(format!("{reason}; it has run for {} s", RECOVERED.as_secs()));
                return Ok(());
            }
            Answer::Not(reason) | Answer::Unasked(reason) => {
                let again = if used_before { all_tries(spec) } else { Duration::ZERO };
                if let Some(tries) = used_up(&found, spec, readiness).filter(|_| start.elapsed() >= again) {
                    let tries = tries.map(|tries| format!(" ({tries} tries in a row)")).unwrap_or_default();
                    let reason = format!("runs, but is not healthy: {reason}{tries}");
                    return Err(not_ready(tools, spec, &found, reason).await);
                }
                if reason != said {
                    if !reason.is_empty() {
                        progress(reason.clone());
                    }
                    said = reason;
                }
            }
        }
        if Instant::now() >= deadline {
            let reason = match said.as_str() {
                "" => format!("is not ready after {} s", readiness.timeout.as_secs()),
                said => format!("runs, but is not ready after {} s: {said}", readiness.timeout.as_secs()),
            };
            return Err(not_ready(tools, spec, &found, reason).await);
        }
        tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Runs the test of an image's health check at once: the engine's first look may be a minute away, and its last one as
/// long ago. `test`: what is known of it.
async fn ask_ahead(
    tools: &Tools,
    spec: &ContainerSpec,
    readiness: &Readiness,
    found: &ObservedContainer,
    test: &mut Option<Vec<String>>,
) -> Result<Answer, EngineError> {
    if test.is_none() {
        *test = Some(tools.engine.health_test(&spec.name).await?);
    }
    let untested = test.clone().unwrap_or_default();
    if is_command(&untested) {
        let found = ObservedContainer { untested, ..found.clone() };
        return ask(&*tools.engine, &*tools.host, &tools.facts, spec, readiness, &found).await;
    }
    Ok(Answer::Not(match found.health {
        Health::Unhealthy => "health check: failing".into(),
        _ => "health check: not passed yet".into(),
    }))
}

fn is_command(test: &[String]) -> bool {
    test.first().is_some_and(|word| word.starts_with("CMD"))
}

/// The engine has given up on a health check, after so many tries where that is known. A service with a probe is asked
/// from outside, whatever the engine thinks of it, and so is one that this run gives more time than its file does, or
/// macula.yaml more than is usual.
fn used_up(found: &ObservedContainer, spec: &ContainerSpec, readiness: &Readiness) -> Option<Option<u32>> {
    let given_more = readiness.timeout > spec.readiness.timeout;
    let asked = readiness.probe.is_some() || readiness.one_shot || given_more || readiness.patient;
    let unhealthy = !asked && found.health == Health::Unhealthy;
    // Docker's own number where none is given; an image's may have another one
    unhealthy.then(|| spec.healthcheck.as_ref().map(|check| check.retries.unwrap_or(3)))
}

/// How long the engine takes for as many tries as the file gives the check. Those of an image's are not known.
fn all_tries(spec: &ContainerSpec) -> Duration {
    let tries =
        |check: &Healthcheck| check.interval.unwrap_or(USUAL_INTERVAL).saturating_mul(check.retries.unwrap_or(3));
    spec.healthcheck.as_ref().map(tries).unwrap_or_default()
}

enum Question {
    /// By probe, or by running the health check's own test.
    Ask,
    /// The test is the image's: only the engine knows it.
    EngineHealth,
    Nothing,
}

fn question(spec: &ContainerSpec, readiness: &Readiness, found: &ObservedContainer) -> Question {
    match (&readiness.probe, &spec.healthcheck) {
        (Some(_), _) => Question::Ask,
        (None, Some(check)) => match check.test.first().map(String::as_str) {
            None => Question::EngineHealth,
            Some("NONE") => Question::Nothing,
            Some(_) => Question::Ask,
        },
        // the image may bring one
        (None, None) if found.health != Health::None || is_command(&found.untested) => Question::EngineHealth,
        (None, None) => Question::Nothing,
    }
}

/// How the reason of a service begins that was killed at its limit.
pub const OUT_OF_MEMORY: &str = "was killed: it needed more memory";

/// Why it will not come up, when that is certain. `code`: how it last ended; `before`: restarts that do not count.
fn gave_up(
    found: &ObservedContainer,
    spec: &ContainerSpec,
    readiness: &Readiness,
    code: i64,
    before: i64,
) -> Option<String> {
    let last = found.exit_code.unwrap_or(code);
    let killed = || {
        let limit =
            spec.options.resources.memory.map(|bytes| format!(" than its {} MiB", bytes >> 20)).unwrap_or_default();
        format!("{OUT_OF_MEMORY}{limit}")
    };
    match found.state {
        ContainerState::Exited | ContainerState::Dead if last != 0 && found.oom_killed => Some(killed()),
        ContainerState::Exited | ContainerState::Dead if last != 0 && readiness.one_shot => {
            Some(format!("failed (exit code {last})"))
        }
        ContainerState::Exited | ContainerState::Dead if last != 0 => {
            Some(format!("stopped right after its start (exit code {last})"))
        }
        ContainerState::Exited | ContainerState::Dead if !found.error.is_empty() => Some(found.error.clone()),
        ContainerState::Exited | ContainerState::Dead if !spec.may_end() => {
            Some("stopped right after its start (exit code 0)".into())
        }
        ContainerState::Restarting | ContainerState::Running
            if found.restart_count - before >= RESTARTS && !readiness.one_shot =>
        {
            let starts = found.restart_count - before + 1;
            Some(match found.oom_killed {
                true => format!("{}, {starts} times", killed()),
                false => format!("crashes again and again: exit code {code}, {starts} starts"),
            })
        }
        _ => None,
    }
}

fn state_text(found: &ObservedContainer) -> String {
    match found.state {
        ContainerState::Restarting => format!("restarting after exit code {}", found.exit_code.unwrap_or_default()),
        ContainerState::Created => "created".into(),
        ContainerState::Paused => "paused".into(),
        _ => "ended".into(),
    }
}

/// Seconds. An engine notes the start when the runtime has come back from it: a quick program has written its words, and
/// has ended, before that, and on a busy machine by more than a second.
const EARLY: i64 = 3;

async fn not_ready(tools: &Tools, spec: &ContainerSpec, found: &ObservedContainer, reason: String) -> StepError {
    let log_tail = last_words(&*tools.engine, found).await;
    StepError::NotReady { service: spec.service.clone(), reason, log_tail }
}

/// The last lines of a container's log that its last start has written, or none where they cannot be had.
pub async fn last_words(engine: &dyn Streams, found: &ObservedContainer) -> Vec<String> {
    let lines = tail_since(engine, &found.id, since(found)).await;
    if found.restart_count > 0 { of_one_start(lines) } else { lines }
}

/// From when on its lines belong to its last start: what a run before it wrote says nothing of why it does not run now.
/// None: from its first line.
fn since(found: &ObservedContainer) -> Option<i64> {
    // one that the engine starts again and again may have written nothing yet since the last time
    if found.restart_count > 0 {
        return None;
    }
    let start = found.started_at?;
    // its first start: there are no lines of another run
    if found.made_at.is_some_and(|made| start.saturating_sub(made) <= EARLY) {
        return None;
    }
    let quick = found.finished_at.is_some_and(|end| (end - start).abs() <= EARLY);
    Some(if quick { start.saturating_sub(EARLY) } else { start })
}

/// What one start has written, where every start has written the same: numbers and times may differ, and lines of the
/// two streams may have changed places.
fn of_one_start(lines: Vec<String>) -> Vec<String> {
    let keys: Vec<String> =
        lines.iter().map(|line| line.chars().filter(|letter| !letter.is_ascii_digit()).collect()).collect();
    let sorted = |keys: &[String]| {
        let mut keys = keys.to_vec();
        keys.sort();
        keys
    };
    // the whole log begins with a start; of a longer one the end is known, and the last start is complete
    let whole = lines.len() < usize::try_from(LOG_LINES).unwrap_or(usize::MAX);
    for length in 1..=lines.len() / 2 {
        let first = if whole { 0 } else { lines.len() % length };
        let rounds: Vec<&[String]> = keys.get(first..).unwrap_or_default().chunks_exact(length).collect();
        let all = rounds.first().map(|round| sorted(round)).unwrap_or_default();
        let part = if whole { keys.get(rounds.len() * length..) } else { keys.get(..first) };
        let belongs = part.unwrap_or_default().iter().all(|key| all.contains(key));
        if !belongs || rounds.iter().any(|round| sorted(round) != all) {
            continue;
        }
        let usual = |at: &usize| rounds.iter().filter(|round| rounds.get(*at) == Some(*round)).count();
        let at = (0..rounds.len()).max_by_key(usual).unwrap_or_default();
        return lines.into_iter().skip(first + at * length).take(length).collect();
    }
    lines
}

async fn tail_since(engine: &dyn Streams, container: &str, since: Option<i64>) -> Vec<String> {
    use futures_util::StreamExt;
    let options = LogOptions { tail: Some(LOG_LINES), since, ..LogOptions::default() };
    let Ok(mut lines) = engine.logs(container, &options).await else { return Vec::new() };
    let mut tail = Vec::new();
    let collect = async {
        while let Some(Ok(line)) = lines.next().await {
            tail.push(String::from_utf8_lossy(&line.bytes).into_owned());
        }
    };
    // a log that does not end is none that helps
    let _ = tokio::time::timeout(Duration::from_secs(5), collect).await;
    tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerOptions, Limits, Probe, ProbeKind, Restart};

    #[test]
    fn what_will_not_come_up_is_given_up_with_its_reason() {
        use ContainerState::{Created, Dead, Exited, Restarting, Running};
        let found = |state, exit_code: i64| ObservedContainer {
            state,
            exit_code: Some(exit_code),
            error: if exit_code == 0 { "no space left".into() } else { String::new() },
            ..ObservedContainer::default()
        };
        let quiet = |found| ObservedContainer { error: String::new(), ..found };
        let unknown = |found| ObservedContainer { exit_code: None, ..found };
        let killed = |found| ObservedContainer { oom_killed: true, ..found };
        let brought_back = |restart_count, found| ObservedContainer { restart_count, ..found };
        for (found, before, one_shot, reason) in [
            (found(Created, 2), 0, false, None),
            (found(Running, 2), 0, false, None),
            (found(Exited, 2), 0, false, Some("stopped right after its start (exit code 2)")),
            (found(Dead, 2), 0, false, Some("stopped right after its start (exit code 2)")),
            // how it ended before counts where the engine does not know any more
            (unknown(found(Exited, 2)), 0, false, Some("stopped right after its start (exit code 1)")),
            (found(Dead, 2), 0, true, Some("failed (exit code 2)")),
            (found(Exited, 0), 0, true, Some("no space left")),
            (quiet(found(Exited, 0)), 0, true, None),
            (quiet(found(Exited, 0)), 0, false, Some("stopped right after its start (exit code 0)")),
            (killed(found(Exited, 137)), 0, true, Some("was killed: it needed more memory than its 64 MiB")),
            // something else of it was killed, and it has ended well
            (killed(quiet(found(Exited, 0))), 0, true, None),
            (brought_back(2, found(Running, 1)), 0, false, None),
            (brought_back(3, found(Running, 1)), 0, false, Some("crashes again and again: exit code 1, 4 starts")),
            (brought_back(3, found(Restarting, 1)), 0, false, Some("crashes again and again: exit code 1, 4 starts")),
            (brought_back(3, found(Running, 1)), 0, true, None),
            (
                brought_back(3, killed(found(Restarting, 137))),
                0,
                false,
                Some("was killed: it needed more memory than its 64 MiB, 4 times"),
            ),
            // it has come up since
            (brought_back(9, found(Running, 1)), 9, false, None),
            (brought_back(12, found(Running, 1)), 9, false, Some("crashes again and again: exit code 1, 4 starts")),
        ] {
            let readiness = Readiness { one_shot, ..Readiness::default() };
            let resources = Limits { memory: Some(64 << 20), ..Limits::default() };
            let spec = ContainerSpec {
                readiness: readiness.clone(),
                options: ContainerOptions { restart: Restart::Always, resources, ..ContainerOptions::default() },
                ..ContainerSpec::default()
            };
            assert_eq!(gave_up(&found, &spec, &readiness, 1, before).as_deref(), reason, "{found:?}");
        }
    }

    #[test]
    fn what_a_run_before_wrote_is_not_shown() {
        let of = |restart_count, started_at, finished_at| {
            since(&ObservedContainer { restart_count, started_at, finished_at, ..ObservedContainer::default() })
        };
        for (restarts, start, end, from) in [
            // it runs and does not answer
            (0, Some(100), None, Some(100)),
            (0, Some(100), Some(160), Some(100)),
            // its words may be older than its start
            (0, Some(100), Some(101), Some(97)),
            (0, Some(100), Some(99), Some(97)),
            // an engine that still has the end of the run before
            (0, Some(100), Some(40), Some(100)),
            (0, None, None, None),
            (2, Some(100), None, None),
        ] {
            assert_eq!(of(restarts, start, end), from, "{restarts} {start:?} {end:?}");
        }
    }

    #[test]
    fn of_a_crash_loop_one_start_is_shown() {
        let of = |text: &str| of_one_start(text.split(' ').map(str::to_owned).collect()).join(" ");
        for (log, shown) in [
            // the two streams came in another order once
            ("starting panic starting panic panic starting", "starting panic"),
            // the last start is at work
            ("starting panic starting panic starting", "starting panic"),
            ("12:00 exit(3) 12:01 exit(3)", "12:01 exit(3)"),
            ("panic panic panic", "panic"),
            // the first try had more to say
            ("migrating starting panic starting panic", "migrating starting panic starting panic"),
            ("starting", "starting"),
            ("", ""),
        ] {
            assert_eq!(of(log), shown, "{log}");
        }
        // of a long log the oldest start has lost its beginning
        let long = format!("c {}", ["a b c"; 7].join(" "));
        let cut = long.split(' ').skip(2).collect::<Vec<_>>().join(" ");
        assert_eq!(cut.split(' ').count(), 20);
        assert_eq!(of(&cut), "a b c");
    }

    #[test]
    fn the_engine_s_verdict_is_the_last_word_only_where_nobody_else_is_asked() {
        let probe = || Some(Probe { kind: ProbeKind::Tcp { port: 80 }, timeout: None });
        for (health, probe, retries, tries) in [
            (Health::Unhealthy, None, Some(7), Some(Some(7))),
            (Health::Unhealthy, None, None, Some(Some(3))),
            (Health::Unhealthy, probe(), Some(7), None),
            (Health::Starting, None, Some(7), None),
            (Health::Healthy, None, Some(7), None),
        ] {
            let found = ObservedContainer { health, ..ObservedContainer::default() };
            let spec = ContainerSpec {
                healthcheck: Some(Healthcheck { retries, ..Healthcheck::default() }),
                ..ContainerSpec::default()
            };
            let readiness = Readiness { probe, ..Readiness::default() };
            assert_eq!(used_up(&found, &spec, &readiness), tries, "{health:?} {readiness:?}");
        }
        let found = ObservedContainer { health: Health::Unhealthy, ..ObservedContainer::default() };
        let own = used_up(&found, &ContainerSpec::default(), &Readiness::default());
        assert_eq!(own, Some(None), "the image's number is not known");
        let spec = ContainerSpec::default();
        for (more, given_up) in [(false, true), (true, false)] {
            let timeout = spec.readiness.timeout + Duration::from_secs(more.into());
            let readiness = Readiness { timeout, ..Readiness::default() };
            assert_eq!(used_up(&found, &spec, &readiness).is_some(), given_up, "`--timeout` gives more: {more}");
        }
        let patient = Readiness { patient: true, ..Readiness::default() };
        assert_eq!(used_up(&found, &spec, &patient), None, "`timeouts.healthy` gives more");
    }

    #[test]
    fn a_health_check_of_the_image_counts_where_the_service_has_none() {
        let check = |test: &[&str]| {
            let test = test.iter().map(|word| (*word).to_owned()).collect();
            Some(Healthcheck { test, ..Healthcheck::default() })
        };
        let probe = || Some(Probe { kind: ProbeKind::Tcp { port: 80 }, timeout: None });
        for (probe, check, health, untested, asked) in [
            (None, None, Health::None, "", "nothing"),
            (None, None, Health::Starting, "", "the engine"),
            (None, None, Health::Unhealthy, "", "the engine"),
            (None, None, Health::None, "CMD-SHELL", "the engine"),
            (None, None, Health::None, "NONE", "nothing"),
            (None, check(&["NONE"]), Health::Starting, "", "nothing"),
            (None, check(&[]), Health::Starting, "", "the engine"),
            (None, check(&["CMD", "x"]), Health::Starting, "", "itself"),
            (probe(), None, Health::Starting, "", "itself"),
        ] {
            let untested: Vec<String> = untested.split_whitespace().map(str::to_owned).collect();
            let found = ObservedContainer { health, untested, ..ObservedContainer::default() };
            let spec = ContainerSpec { healthcheck: check, ..ContainerSpec::default() };
            let readiness = Readiness { probe, ..Readiness::default() };
            let question = match question(&spec, &readiness, &found) {
                Question::Ask => "itself",
                Question::EngineHealth => "the engine",
                Question::Nothing => "nothing",
            };
            assert_eq!(question, asked, "{spec:?} {found:?}");
        }
    }

    #[test]
    fn a_state_is_told_in_words() {
        use ContainerState::{Created, Dead, Exited, Paused, Restarting};
        let found = |state, exit_code| ObservedContainer { state, exit_code, ..ObservedContainer::default() };
        let told = |state, exit_code| state_text(&found(state, exit_code));
        assert_eq!(told(Restarting, Some(3)), "restarting after exit code 3");
        assert_eq!(told(Restarting, None), "restarting after exit code 0");
        assert_eq!(
            [Created, Paused, Exited, Dead].map(|state| told(state, None)),
            ["created", "paused", "ended", "ended"]
        );
    }
}
