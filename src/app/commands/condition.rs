//! How a service is, as a person would say it, from what the engine says of its containers.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::model::{ContainerSpec, ContainerState, Health, Invocation, ObservedContainer, Restart, Service, label};

/// How a service is, as a person would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It has reached its memory limit and was killed.
    OutOfMemory,
    /// It has ended by itself, and not well.
    Crashed,
    /// The engine starts it again and again.
    Restarting,
    /// It runs, and its check fails, or its `post_start` has not run well.
    Unhealthy,
    /// It was brought up, and somebody has removed its container.
    Gone,
    /// Its container is there and was never started.
    Created,
    Starting,
    Paused,
    /// Its check passes.
    Healthy,
    /// Nobody has said how to ask it.
    Running,
    /// By `macula stop`, or by hand.
    Stopped,
    /// A job that has done its work.
    Finished,
    /// Not started (yet).
    Missing,
    /// Its image is not available here.
    LeftOut,
    /// No stack that is loaded names it.
    Unclaimed,
}

impl Condition {
    /// Something is wrong with it.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::OutOfMemory | Self::Crashed | Self::Restarting | Self::Unhealthy | Self::Gone)
    }

    /// It can be used, or will be in a moment.
    pub fn runs(self) -> bool {
        matches!(self, Self::Healthy | Self::Running | Self::Starting | Self::Unhealthy)
    }

    /// What is counted as running, wherever services are counted.
    pub fn runs_well(self) -> bool {
        self.runs() && !self.is_problem()
    }
}

/// What the engine does not know.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// Seconds since the epoch.
    pub now: i64,
    /// Services that the user has stopped.
    pub stopped: BTreeSet<String>,
    /// Of the command that looks.
    pub invocation: Invocation,
}

impl Context {
    pub async fn of(session: &Session, survey: &Survey) -> Result<Self, Error> {
        let stopped = survey.state.stopped(session.host()).await?;
        Ok(Self { now: session.host().now(), stopped, invocation: session.invocation.clone() })
    }
}

/// How a container is of which only its labels are known.
pub(super) fn by_labels(found: &ObservedContainer, context: &Context) -> Condition {
    let service = found.label(label::SERVICE).unwrap_or(&found.name);
    condition_of(service, None, found.label(label::ONE_SHOT) == Some("true"), found, context)
}

pub(super) fn by_spec(spec: &ContainerSpec, found: &ObservedContainer, context: &Context) -> Condition {
    let job = spec.readiness.one_shot || found.label(label::ONE_SHOT) == Some("true");
    condition_of(&spec.service, Some(spec), job, found, context)
}

/// How one container is.
pub(super) fn condition(survey: &Survey, service: &Service, found: &ObservedContainer, context: &Context) -> Condition {
    let spec = survey.resources.containers.iter().find(|spec| spec.name == found.name);
    let job = service.extension.once || spec.is_some_and(|spec| spec.readiness.one_shot);
    condition_of(&service.name, spec, job, found, context)
}

fn condition_of(
    service: &str,
    spec: Option<&ContainerSpec>,
    job: bool,
    found: &ObservedContainer,
    context: &Context,
) -> Condition {
    match found.state {
        ContainerState::Created if found.never_ran() => Condition::Crashed,
        ContainerState::Created => Condition::Created,
        ContainerState::Paused => Condition::Paused,
        ContainerState::Restarting => Condition::Restarting,
        ContainerState::Running if found.keeps_ending() && found.health != Health::Healthy => Condition::Restarting,
        ContainerState::Running => match found.health {
            Health::Unhealthy => Condition::Unhealthy,
            Health::Starting => Condition::Starting,
            Health::Healthy => Condition::Healthy,
            Health::None => Condition::Running,
        },
        _ if found.oom_killed => Condition::OutOfMemory,
        _ if found.exit_code == Some(0) && job => Condition::Finished,
        _ if context.stopped.contains(service) => Condition::Stopped,
        _ if found.exit_code == Some(0) && spec.is_some_and(ContainerSpec::may_end) => Condition::Finished,
        // one that the engine would have started again was stopped by somebody
        _ if matches!(spec.map(|spec| &spec.options.restart), Some(Restart::Always | Restart::UnlessStopped)) => {
            Condition::Stopped
        }
        _ => Condition::Crashed,
    }
}

/// Seconds since it has run or has ended.
pub(super) fn seconds_in(found: &ObservedContainer, now: i64) -> Option<u64> {
    if found.state_for.is_some() {
        return found.state_for;
    }
    let since = match found.state {
        ContainerState::Running | ContainerState::Paused => found.started_at,
        _ => found.finished_at,
    };
    since.and_then(|since| u64::try_from(now - since).ok())
}

pub(super) fn worst_health(found: &[&ObservedContainer]) -> Health {
    let rank = |health: &Health| match health {
        Health::Unhealthy => 3,
        Health::Starting => 2,
        Health::Healthy => 1,
        Health::None => 0,
    };
    found.iter().map(|found| found.health).max_by_key(rank).unwrap_or_default()
}

pub(super) fn service_of(found: &ObservedContainer) -> &str {
    found.label(label::SERVICE).unwrap_or(&found.name)
}

/// Why a container is in this condition; empty where the condition says it all.
pub(super) fn trouble_of(found: &ObservedContainer, condition: Condition) -> String {
    let code = found.exit_code.unwrap_or_default();
    match condition {
        Condition::Restarting => match found.restart_count {
            0 => format!("exit code {code}"),
            times => {
                // what runs does not say how it ended before
                let ended =
                    if found.state == ContainerState::Running { String::new() } else { format!("exit code {code}, ") };
                format!("crash loop: {ended}restarted {times} time{}", if times == 1 { "" } else { "s" })
            }
        },
        Condition::OutOfMemory => "killed: it needed more memory than its limit".into(),
        Condition::Crashed if !found.error.is_empty() => found.error.clone(),
        Condition::Crashed => format!("exit code {code}"),
        Condition::Unhealthy => "its health check fails".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_of_a_container_has_one_word_and_a_reason() {
        let context = Context { stopped: ["halted".to_owned()].into(), ..Context::default() };
        let found = |state| ObservedContainer { state, ..ObservedContainer::default() };
        let ended = |code| ObservedContainer { exit_code: Some(code), ..found(ContainerState::Exited) };
        let runs =
            |restart_count, health| ObservedContainer { restart_count, health, ..found(ContainerState::Running) };
        let refused = ObservedContainer { error: "no such program".into(), ..found(ContainerState::Created) };
        let again = ObservedContainer { exit_code: Some(3), ..found(ContainerState::Restarting) };
        let once = ObservedContainer { restart_count: 1, ..again.clone() };
        let killed = ObservedContainer { oom_killed: true, ..ended(137) };
        for (service, found, condition, trouble) in [
            ("web", found(ContainerState::Created), Condition::Created, ""),
            ("web", refused, Condition::Crashed, "no such program"),
            ("web", found(ContainerState::Paused), Condition::Paused, ""),
            ("web", again, Condition::Restarting, "exit code 3"),
            ("web", once, Condition::Restarting, "crash loop: exit code 3, restarted 1 time"),
            ("web", runs(3, Health::Starting), Condition::Restarting, "crash loop: restarted 3 times"),
            ("web", runs(3, Health::Healthy), Condition::Healthy, ""),
            ("web", runs(0, Health::Starting), Condition::Starting, ""),
            ("web", runs(0, Health::Unhealthy), Condition::Unhealthy, "its health check fails"),
            ("web", killed, Condition::OutOfMemory, "killed: it needed more memory than its limit"),
            ("web", ended(2), Condition::Crashed, "exit code 2"),
            ("halted", ended(143), Condition::Stopped, ""),
        ] {
            let is = condition_of(service, None, false, &found, &context);
            assert_eq!((is, trouble_of(&found, is).as_str()), (condition, trouble), "{found:?}");
        }
    }

    #[test]
    fn the_seconds_are_those_of_its_present_state() {
        let found = |state, state_for| ObservedContainer {
            state,
            state_for,
            started_at: Some(60),
            finished_at: Some(90),
            ..ObservedContainer::default()
        };
        for (found, seconds) in [
            (found(ContainerState::Running, None), Some(40)),
            (found(ContainerState::Paused, None), Some(40)),
            (found(ContainerState::Exited, None), Some(10)),
            (found(ContainerState::Restarting, None), Some(10)),
            // the engine's own word counts more than its clock
            (found(ContainerState::Running, Some(7)), Some(7)),
            (found(ContainerState::Exited, Some(0)), Some(0)),
            (ObservedContainer { finished_at: None, ..found(ContainerState::Created, None) }, None),
            // its clock is ahead of ours
            (ObservedContainer { started_at: Some(101), ..found(ContainerState::Running, None) }, None),
        ] {
            assert_eq!(seconds_in(&found, 100), seconds, "{found:?}");
        }
    }

    #[test]
    fn the_worst_health_of_several_counts() {
        let worst = |of: &[Health]| {
            let found = of.iter().map(|health| ObservedContainer { health: *health, ..ObservedContainer::default() });
            let found: Vec<_> = found.collect();
            worst_health(&found.iter().collect::<Vec<_>>())
        };
        assert_eq!(worst(&[]), Health::None);
        assert_eq!(worst(&[Health::Healthy, Health::None]), Health::Healthy);
        assert_eq!(worst(&[Health::Starting, Health::Healthy]), Health::Starting);
        assert_eq!(worst(&[Health::Unhealthy, Health::Starting]), Health::Unhealthy);
    }
}
