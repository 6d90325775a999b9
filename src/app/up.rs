//! `up`: plan, write the secrets, apply, and look once more.

use std::time::Duration;

use crate::apply::{Failure, Outcome, StepError, Timing, Tools, apply};
use crate::config::Loaded;
use crate::host::Lock;
use crate::model::{ContainerState, Restart};
use crate::observe;
use crate::plan::LeftOut;

use super::{Error, Prepared, Session, Wanted, prepare};

#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    pub wanted: Wanted,
    /// In place of every service's own.
    pub timeout: Option<Duration>,
}

/// What `up` came to when it did not fail.
#[derive(Debug)]
pub struct UpResult {
    /// Steps that were carried out; 0: everything was right already.
    pub steps: usize,
    pub left_out: Vec<LeftOut>,
    pub timings: Vec<Timing>,
}

/// Waits for another run on the same platform to end. `waiting` is told who that is.
pub(super) async fn lock(session: &Session, platform: &str) -> Result<Lock, Error> {
    let path = session.state(platform).lock_file();
    let host = session.host();
    let events = session.events.clone();
    let now = host.now();
    let patience = Some(Duration::from_secs(600));
    let acquire = Lock::acquire(host, &path, &session.command, patience, |held| {
        events.info(format!("waiting for {}, which holds {}", held.describe(now), path.display()));
    });
    tokio::select! {
        lock = acquire => Ok(lock?),
        () = session.cancel.cancelled() => Err(Error::Cancelled),
    }
}

/// Brings everything up. `shown` sees the plan before anything is changed and may refuse.
pub async fn up(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    shown: &(dyn Fn(&Prepared) + Send + Sync),
) -> Result<UpResult, Error> {
    let _lock = lock(session, &loaded.platform.name).await?;
    let mut prepared = prepare(session, loaded, &options.wanted).await?;
    if let Some(timeout) = options.timeout {
        override_timeout(&mut prepared, timeout);
    }
    shown(&prepared);
    let left_out = prepared.plan.left_out.clone();
    if prepared.plan.is_empty() {
        return Ok(UpResult { steps: 0, left_out, timings: Vec::new() });
    }
    // before the first container: a password that only a container knows would be lost with it
    if prepared.new_secrets {
        prepared.state.keep_secrets(session.host(), &prepared.secrets).await?;
    }
    prepared.state.keep_block(session.host(), prepared.block).await?;
    let tools = Tools {
        engine: prepared.engine.clone(),
        host: session.system.host.clone(),
        facts: prepared.facts.clone(),
        events: session.events.clone(),
        cancel: session.cancel.clone(),
        image_timeout: prepared.platform.timeouts.image,
    };
    let mut outcome = apply(&session.command, &prepared.platform.name, &prepared.plan, tools).await;
    if outcome.is_ok() {
        last_look(&prepared, &mut outcome).await?;
    }
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    if !outcome.is_ok() {
        return Err(Error::Failed(Box::new(outcome)));
    }
    Ok(UpResult { steps: prepared.plan.steps.len(), left_out, timings: outcome.done })
}

fn override_timeout(prepared: &mut Prepared, timeout: Duration) {
    for step in &mut prepared.plan.steps {
        if let crate::plan::Action::AwaitReady { readiness, .. } = &mut step.action {
            readiness.timeout = timeout;
        }
    }
}

/// A service without a health check may have ended since it was started.
async fn last_look(prepared: &Prepared, outcome: &mut Outcome) -> Result<(), Error> {
    let now = observe::ours(&*prepared.engine, &prepared.platform.name).await?;
    for step in &prepared.plan.steps {
        let crate::plan::Action::AwaitReady { spec, readiness } = &step.action else { continue };
        let ended = now.container(&spec.name).filter(|found| {
            let stopped =
                matches!(found.state, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting);
            let done = found.exit_code == Some(0) && (readiness.one_shot || spec.options.restart == Restart::No);
            stopped && !done
        });
        if let Some(found) = ended {
            let reason = format!("ended with {} after it had started", found.exit_code.unwrap_or_default());
            let log_tail = crate::apply::log_tail(&*prepared.engine, &spec.name).await;
            let error = StepError::NotReady { service: spec.service.clone(), reason, log_tail };
            outcome.failed.push(Failure { step: step.id.clone(), group: step.group.clone(), error });
        }
    }
    Ok(())
}
