//! How a target of `wait` is, judged by what was seen of it.

use std::time::Duration;

use serde::Serialize;

use crate::app::processes::{ProcessCondition, ProcessState};
use crate::model::{ContainerSpec, ContainerState, Health, ObservedContainer, Restart, TaskInputs, TaskRun, label};
use crate::probe::Answer;
use crate::words;

use super::super::processes::verdict;

/// A service without any check must have run for this long.
const SETTLED: Duration = Duration::from_millis(200);
/// And for this long once it has ended and was started again.
const RECOVERED: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    Healthy,
    Gone,
    Resolvable,
}

impl WaitFor {
    /// In a sentence: `web is healthy`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Gone => "gone",
            Self::Resolvable => "resolvable",
        }
    }
}

/// One look at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    Met,
    Not(String),
    /// A task that an `up` has to run.
    Due(String),
    /// Nothing brings it back by itself.
    Failed(String),
    /// By the user: nothing but the user starts it again.
    Stopped,
}

/// How a task of this machine is, by what was noted of its last run. `inputs`: what an `up` would run it with now; none:
/// its end is not waited for.
pub(super) fn by_run(last: Option<&TaskRun>, inputs: Option<&TaskInputs>) -> Look {
    let Some(inputs) = inputs else { return Look::Met };
    match last {
        None => Look::Due("it has not run yet".to_owned()),
        Some(run) if !inputs.since(&run.inputs).is_empty() => {
            Look::Due(format!("it has not run with the present state of {}", words::list(inputs.since(&run.inputs))))
        }
        Some(TaskRun { failed: Some(code), .. }) => Look::Failed(format!("it failed with exit code {code}")),
        Some(_) => Look::Met,
    }
}

/// How a process is, by what its keeper says. `lost`: the keeper was killed.
pub(super) fn by_process(state: Option<&ProcessState>, listens: bool, lost: bool, want: WaitFor) -> Look {
    let Some(state) = state else {
        return if want == WaitFor::Gone { Look::Met } else { Look::Not("it has not been started yet".to_owned()) };
    };
    if want == WaitFor::Gone {
        return if state.condition.is_alive() && !lost { Look::Not("it still runs".to_owned()) } else { Look::Met };
    }
    if lost {
        return Look::Failed("the process that keeps it was killed".to_owned());
    }
    match verdict(state, listens, false, true) {
        Some(Ok(())) => Look::Met,
        Some(Err(reason)) => Look::Failed(reason),
        None => Look::Not(match (state.condition, state.port) {
            (ProcessCondition::Restarting, _) => {
                format!("it is started again after exit code {}", state.exit_code.unwrap_or_default())
            }
            (_, Some(port)) => format!("it runs, and nothing answers on port {port}"),
            (_, None) => "it has just been started".to_owned(),
        }),
    }
}

/// What the state of a container says by itself; nothing, where it has to be asked.
pub(super) fn by_state(found: &ObservedContainer, spec: Option<&ContainerSpec>) -> Option<Look> {
    let code = found.exit_code.unwrap_or_default();
    let job = match spec {
        Some(spec) => spec.readiness.one_shot,
        None => found.label(label::ONE_SHOT) == Some("true"),
    };
    Some(match found.state {
        ContainerState::Running if job => Look::Not("it is still at work".to_owned()),
        ContainerState::Running => return None,
        ContainerState::Created if found.never_ran() => Look::Failed(match found.error.is_empty() {
            true => format!("it could not be started (exit code {code})"),
            false => found.error.clone(),
        }),
        ContainerState::Created => Look::Not("its container has not been started yet".to_owned()),
        ContainerState::Paused => Look::Not("it is paused".to_owned()),
        ContainerState::Removing => Look::Not("its container is being removed".to_owned()),
        ContainerState::Restarting => Look::Not(format!("it is restarting after exit code {code}")),
        ContainerState::Exited | ContainerState::Dead => {
            let ended_well = code == 0 && !found.oom_killed;
            if ended_well && (job || spec.is_some_and(ContainerSpec::may_end)) {
                return Some(Look::Met);
            }
            let reason = match found.oom_killed {
                true => "it was killed: it needed more memory than its limit".to_owned(),
                false => format!("it ended with exit code {code}"),
            };
            let comes_back = spec.is_some_and(|spec| match spec.options.restart {
                Restart::Always | Restart::UnlessStopped => true,
                // the engine gives up after so many tries
                Restart::OnFailure(most) => {
                    !ended_well && most.is_none_or(|most| most <= 0 || found.restart_count < most)
                }
                Restart::No => false,
            });
            if comes_back { Look::Not(reason) } else { Look::Failed(reason) }
        }
    })
}

/// Of a container that runs. `run`: for how long without a break.
pub(super) fn by_answer(found: &ObservedContainer, answer: Answer, run: Duration) -> Look {
    match (answer, found.health) {
        (Answer::Healthy, _) | (Answer::Unasked(_), Health::Healthy) => Look::Met,
        (Answer::Not(reason), _) => Look::Not(reason),
        (Answer::Unasked(_), Health::Starting) => Look::Not("health check: not passed yet".to_owned()),
        (Answer::Unasked(_), Health::Unhealthy) => Look::Not("health check: failing".to_owned()),
        (Answer::Unasked(reason), Health::None) => {
            match run >= if found.restart_count > 0 { RECOVERED } else { SETTLED } {
                true => Look::Met,
                false if reason.is_empty() => Look::Not("it has just been started".to_owned()),
                false => Look::Not(reason),
            }
        }
    }
}

/// How long it has run by the engine's word, in whole seconds that have surely passed.
pub(super) fn told_run(found: &ObservedContainer, now: i64) -> Duration {
    let since = found.started_at.map(|since| u64::try_from(now - since - 1).unwrap_or_default());
    Duration::from_secs(found.state_for.or(since).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::process_state;

    fn container(state: ContainerState, health: Health, code: Option<i64>) -> ObservedContainer {
        ObservedContainer { name: "web".into(), state, health, exit_code: code, ..Default::default() }
    }

    fn spec(restart: Restart, one_shot: bool) -> ContainerSpec {
        let mut spec = ContainerSpec::default();
        spec.options.restart = restart;
        spec.readiness.one_shot = one_shot;
        spec
    }

    fn not(text: &str) -> Option<Look> {
        Some(Look::Not(text.into()))
    }

    #[test]
    fn states_that_say_it_all() {
        let running = container(ContainerState::Running, Health::None, None);
        assert_eq!(by_state(&running, Some(&spec(Restart::No, false))), None);
        assert_eq!(by_state(&running, Some(&spec(Restart::No, true))), not("it is still at work"));
        let created = container(ContainerState::Created, Health::None, None);
        assert_eq!(by_state(&created, None), not("its container has not been started yet"));
        let refused = ObservedContainer { error: "no such program".into(), ..created.clone() };
        assert_eq!(by_state(&refused, None), Some(Look::Failed("no such program".into())));
        let refused = ObservedContainer { exit_code: Some(127), ..created };
        assert_eq!(by_state(&refused, None), Some(Look::Failed("it could not be started (exit code 127)".into())));
        let ended = container(ContainerState::Exited, Health::None, Some(0));
        assert_eq!(by_state(&ended, Some(&spec(Restart::No, true))), Some(Look::Met));
        assert_eq!(by_state(&ended, Some(&spec(Restart::Always, false))), not("it ended with exit code 0"));
        let failed = container(ContainerState::Exited, Health::None, Some(3));
        let code = "it ended with exit code 3".to_owned();
        assert_eq!(by_state(&failed, Some(&spec(Restart::No, true))), Some(Look::Failed(code.clone())));
        assert_eq!(by_state(&failed, Some(&spec(Restart::No, false))), Some(Look::Failed(code.clone())));
        assert_eq!(by_state(&failed, None), Some(Look::Failed(code.clone())));
        let tried = |restart_count, most| {
            let found = ObservedContainer { restart_count, ..failed.clone() };
            by_state(&found, Some(&spec(Restart::OnFailure(most), false)))
        };
        assert_eq!(tried(2, Some(3)), Some(Look::Not(code.clone())));
        assert_eq!(tried(3, Some(3)), Some(Look::Failed(code.clone())));
        assert_eq!(tried(9, None), Some(Look::Not(code.clone())));
        assert_eq!(tried(9, Some(0)), Some(Look::Not(code.clone())));
        assert_eq!(by_state(&failed, Some(&spec(Restart::UnlessStopped, false))), Some(Look::Not(code)));
        for (state, text) in [
            (ContainerState::Paused, "it is paused"),
            (ContainerState::Removing, "its container is being removed"),
            (ContainerState::Restarting, "it is restarting after exit code 3"),
        ] {
            assert_eq!(by_state(&container(state, Health::None, Some(3)), None), not(text));
        }
        // of one that is not known only its label tells that it is a job
        let labels = [(label::ONE_SHOT.to_owned(), "true".to_owned())];
        let job = ObservedContainer { labels: labels.into(), ..container(ContainerState::Dead, Health::None, Some(0)) };
        assert_eq!(by_state(&job, None), Some(Look::Met));
        let server = ObservedContainer { labels: Default::default(), ..job };
        assert_eq!(by_state(&server, None), Some(Look::Failed("it ended with exit code 0".into())));
        let killed = ObservedContainer { oom_killed: true, ..failed };
        let text = "it was killed: it needed more memory than its limit".to_owned();
        assert_eq!(by_state(&killed, None), Some(Look::Failed(text)));
    }

    #[test]
    fn a_process_is_as_its_keeper_says() {
        let state = |condition, exit_code| ProcessState { exit_code, ..process_state(condition) };
        let look = |condition, code| by_process(Some(&state(condition, code)), true, false, WaitFor::Healthy);
        let not = |text: &str| Look::Not(text.into());
        assert_eq!(look(ProcessCondition::Running, None), Look::Met);
        assert_eq!(look(ProcessCondition::Starting, None), not("it runs, and nothing answers on port 3000"));
        assert_eq!(look(ProcessCondition::Restarting, Some(1)), not("it is started again after exit code 1"));
        let ended = "it ended with exit code 3";
        assert_eq!(look(ProcessCondition::Crashed, Some(3)), Look::Failed(ended.into()));
        assert_eq!(by_process(None, true, false, WaitFor::Healthy), not("it has not been started yet"));
        let running = state(ProcessCondition::Running, None);
        assert_eq!(by_process(Some(&running), true, false, WaitFor::Gone), not("it still runs"));
        assert_eq!(by_process(None, true, false, WaitFor::Gone), Look::Met);
        let killed = Look::Failed("the process that keeps it was killed".into());
        assert_eq!(by_process(Some(&running), true, true, WaitFor::Healthy), killed);
        assert_eq!(by_process(Some(&running), true, true, WaitFor::Gone), Look::Met);
    }

    #[test]
    fn a_task_is_done_when_its_last_run_had_what_it_has_now() {
        let inputs = |digest: &str| TaskInputs([("./migrations".to_owned(), digest.to_owned())].into());
        let look = |last: Option<TaskRun>| by_run(last.as_ref(), Some(&inputs("new")));
        assert_eq!(look(None), Look::Due("it has not run yet".into()));
        assert_eq!(look(Some(TaskRun::new(inputs("new"), 7))), Look::Met);
        let failed = Look::Failed("it failed with exit code 3".into());
        assert_eq!(look(Some(TaskRun::failed(inputs("new"), 7, 3))), failed);
        // an `up` that is about to run it again makes up for both
        let old = Look::Due("it has not run with the present state of ./migrations".into());
        assert_eq!(look(Some(TaskRun::new(inputs("old"), 7))), old);
        assert_eq!(look(Some(TaskRun::failed(inputs("old"), 7, 3))), old);
    }

    #[test]
    fn a_running_container_is_as_it_answers() {
        let quiet = || Answer::Unasked(String::new());
        let (long, short) = (Duration::from_secs(9), Duration::from_millis(10));
        let with = |health| container(ContainerState::Running, health, None);
        assert_eq!(by_answer(&with(Health::Unhealthy), Answer::Healthy, short), Look::Met);
        assert_eq!(by_answer(&with(Health::Healthy), quiet(), short), Look::Met);
        assert_eq!(by_answer(&with(Health::Healthy), Answer::Not("no".into()), long), Look::Not("no".into()));
        let not = |text: &str| Look::Not(text.into());
        assert_eq!(by_answer(&with(Health::Starting), quiet(), long), not("health check: not passed yet"));
        assert_eq!(by_answer(&with(Health::Unhealthy), quiet(), long), not("health check: failing"));
        // where nobody can ask it has to have run for a while, and longer where it may end once more
        for (restart_count, enough) in [(0, SETTLED), (1, RECOVERED)] {
            let found = ObservedContainer { restart_count, ..with(Health::None) };
            assert_eq!(by_answer(&found, quiet(), enough), Look::Met);
            let less = enough.saturating_sub(Duration::from_millis(1));
            assert_eq!(by_answer(&found, quiet(), less), not("it has just been started"));
            assert_eq!(by_answer(&found, Answer::Unasked("no network".into()), less), not("no network"));
        }
    }

    #[test]
    fn a_run_counts_only_whole_seconds_that_have_passed() {
        let found = ObservedContainer { started_at: Some(100), ..Default::default() };
        assert_eq!(told_run(&found, 100), Duration::ZERO);
        assert_eq!(told_run(&found, 101), Duration::ZERO);
        assert_eq!(told_run(&found, 103), Duration::from_secs(2));
        assert_eq!(told_run(&ObservedContainer::default(), 5), Duration::ZERO);
        // what the engine says itself
        assert_eq!(told_run(&ObservedContainer { state_for: Some(7), ..found }, 103), Duration::from_secs(7));
    }
}
