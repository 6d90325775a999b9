//! Whether what was brought up goes on, and is reached.

use std::time::Duration;

use super::UpOptions;
use crate::app::commands::validate::astray;
use crate::app::survey::Survey;
use crate::app::{Prepared, Session};
use crate::apply::{Failure, Outcome, StepError, last_words};
use crate::event::Event;
use crate::host::until;
use crate::model::{ContainerState, Observed, ObservedContainer};
use crate::plan::Action;

/// As long as a service that has ended once must run to count as up.
const CALM: Duration = Duration::from_secs(5);

/// A service without a health check may have ended since it was started.
pub(super) async fn look_for_ended(session: &Session, prepared: &Prepared, now: &Observed, outcome: &mut Outcome) {
    for step in &prepared.plan.steps {
        let Action::AwaitReady { spec, .. } = &step.action else { continue };
        if outcome.failed.iter().any(|failure| failure.group == step.group) {
            continue;
        }
        let settled = match now.container(&spec.name) {
            Some(found) if found.state == ContainerState::Running && found.restart_count > 0 => {
                wait_stable(session, &prepared.survey, &spec.name).await
            }
            _ => None,
        };
        let ended = settled.as_ref().or_else(|| now.container(&spec.name)).filter(|found| {
            let stopped =
                matches!(found.state, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting)
                    || found.keeps_ending();
            let done = found.exit_code == Some(0) && spec.may_end();
            stopped && !done
        });
        if let Some(found) = ended {
            let reason = match found.restart_count {
                0 => format!("stopped after its start (exit code {})", found.exit_code.unwrap_or_default()),
                _ => again_and_again(found),
            };
            // it was told as started
            let took = outcome.ran.iter().find(|ran| ran.step == step.id).map(|ran| ran.duration).unwrap_or_default();
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            session.events.emit(Event::StepFailed { id: step.id.clone(), millis, error: reason.clone() });
            let log_tail = last_words(&*prepared.survey.engine, found).await;
            let error = StepError::NotReady { service: spec.service.clone(), reason, log_tail };
            outcome.failed.push(Failure { step: step.id.clone(), group: step.group.clone(), error });
        }
    }
}

/// Up is what answers: every name is asked through the ingress, every published port once.
pub(super) async fn reached(session: &Session, now: &Survey, options: &UpOptions, outcome: &mut Outcome) {
    let patience = options.wanted.timeout.unwrap_or(now.platform.timeouts.healthy);
    for lost in astray(session, now, patience).await {
        let (name, reason, remedies) = (lost.name.clone(), lost.reason, lost.remedies);
        let error = match lost.partly {
            true => StepError::Unshared { name, reason, remedies },
            false => StepError::Unreached { name, reason, remedies },
        };
        outcome.failed.push(Failure { step: format!("reach {}", lost.name), group: lost.service, error });
    }
}

/// Of one that its restart policy has brought back. What runs does not say how it ended before.
fn again_and_again(found: &ObservedContainer) -> String {
    let times = text_times(found.restart_count);
    match found.exit_code.filter(|_| found.state != ContainerState::Running) {
        Some(0) => format!(
            "ends with exit code 0 and is started again by its restart policy, {times} so far (a job needs `restart: \
             \"no\"`)"
        ),
        Some(code) => format!("crashes again and again: exit code {code}, it was restarted {times}"),
        None => format!("crashes again and again: it was restarted {times}"),
    }
}

fn text_times(times: i64) -> String {
    if times == 1 { "once".into() } else { format!("{times} times") }
}

/// A container that its restart policy brought back, once it has run for a while or has ended too
/// often.
async fn wait_stable(session: &Session, survey: &Survey, container: &str) -> Option<ObservedContainer> {
    let mut restarts = None;
    let looked = until(CALM, Duration::from_secs(1), &session.cancel, async || {
        let Ok(found) = survey.engine.inspect(container).await else { return Ok(None) };
        if found.state != ContainerState::Running || found.keeps_ending() {
            return Ok(Some(found));
        }
        match restarts.replace(found.restart_count).is_some_and(|before| before != found.restart_count) {
            true => Ok(Some(ObservedContainer { state: ContainerState::Restarting, ..found })),
            false => Err(()),
        }
    });
    looked.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_again_and_again_is_told_with_its_exit_code() {
        let told = |state, code| {
            let exit_code = Some(code);
            again_and_again(&ObservedContainer { state, exit_code, restart_count: 7, ..ObservedContainer::default() })
        };
        assert_eq!(
            told(ContainerState::Restarting, 0),
            "ends with exit code 0 and is started again by its restart policy, 7 times so far (a job needs `restart: \"no\"`)"
        );
        assert_eq!(
            told(ContainerState::Restarting, 3),
            "crashes again and again: exit code 3, it was restarted 7 times"
        );
        assert_eq!(told(ContainerState::Running, 0), "crashes again and again: it was restarted 7 times");
    }
}
