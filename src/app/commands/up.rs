//! `up`: plan, write the secrets, apply, and look once more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::apply::{Failure, Outcome, StepError, Timing, Tools, apply};
use crate::config::Loaded;
use crate::doctor::{self, Finding, Fix, Needs, Selection};
use crate::event::Events;
use crate::host::{Held, Lock};
use crate::model::{ContainerState, Observed, ObservedContainer, PlatformName, PrepareStep, label};
use crate::observe;
use crate::plan::{self, Action, LeftOut};

use super::images::refusal;
use super::status::{Status, status_of};
use crate::app::prepare::{Look, gather, prepare_without};
use crate::app::trace::{Recorder, SentTrace};
use crate::app::{Error, Prepared, Session, Wanted, certificate, cluster, prepare, resolver};

/// Seconds.
const CALM: u32 = 5;

#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    pub wanted: Wanted,
    /// In place of every service's own.
    pub timeout: Option<Duration>,
    /// Neither the resolver nor the names are touched.
    pub no_dns: bool,
}

/// What `up` came to when it did not fail.
#[derive(Debug)]
pub struct UpResult {
    /// Steps that were carried out; 0: everything was right already.
    pub steps: usize,
    pub left_out: Vec<LeftOut>,
    pub timings: Vec<Timing>,
    /// Where the run can be looked at, if anybody took its trace.
    pub trace: Option<SentTrace>,
    /// The platform as it is now.
    pub now: Status,
}

/// Waits for another run on the same platform to end. `waiting` is told who that is.
pub(in crate::app) async fn lock(session: &Session, platform: &PlatformName) -> Result<Lock, Error> {
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

/// A run that was killed while it stopped containers has left the engine at work: they still run,
/// and are about to end. Nothing shows which; to stop them once more is to wait for it.
async fn settle(session: &Session, platform: &PlatformName, killed: &Held) -> Result<(), Error> {
    let stops = |word: &str| ["down", "stop", "restart"].contains(&word);
    if !killed.command.split_whitespace().any(stops) {
        return Ok(());
    }
    let engine = session.engine()?;
    let observed = observe::ours(&*engine, platform).await?;
    let services = observed.containers.iter().filter_map(|found| found.label(label::SERVICE)).map(str::to_owned);
    let plan = plan::stop(platform, &observed, &services.collect());
    if plan.is_empty() {
        return Ok(());
    }
    session.events.info(format!("{killed} was killed: what it may have begun to stop is stopped first"));
    let tools = Tools {
        engine: engine.clone(),
        host: session.system.host.clone(),
        facts: engine.facts().await?,
        events: Events::none(),
        cancel: session.cancel.clone(),
        image_timeout: Duration::ZERO,
        cluster: None,
    };
    let outcome = apply(&session.command, platform, &plan, tools).await;
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    if outcome.is_ok() { Ok(()) } else { Err(Error::Failed(Box::new(outcome))) }
}

/// What `up` says and asks on its way. Only `cli` knows whether there is anybody to ask.
#[async_trait]
pub trait Consent: Send + Sync {
    /// The plan is made and nothing is changed yet.
    async fn planned(&self, prepared: &Prepared, findings: &[Finding]);
    /// Whether a program that a build needs may be installed.
    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, Error>;
}

/// Brings everything up, and sends the trace of it.
pub async fn up(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    consent: &dyn Consent,
) -> Result<UpResult, Error> {
    let mut recorder = Recorder::begin(session, &loaded.platform.name);
    let result = traced(session, loaded, options, consent, &mut recorder).await;
    match result {
        // whoever pressed Ctrl-C waits for nothing more
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(error) => {
            recorder.finish(session, Some(&error)).await;
            Err(error)
        }
        Ok(mut up) => {
            up.trace = recorder.finish(session, None).await;
            Ok(up)
        }
    }
}

async fn traced(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    consent: &dyn Consent,
    recorder: &mut Recorder,
) -> Result<UpResult, Error> {
    let lock = recorder.phase("wait for the lock", lock(session, &loaded.platform.name)).await?;
    if let Some(killed) = lock.interrupted() {
        recorder.phase("settle", settle(session, &loaded.platform.name, killed)).await?;
    }
    let mut prepared = recorder.phase("plan", prepare(session, loaded, &options.wanted)).await?;
    if prepared.new_certificate {
        // only now that nothing is in the way: a run that is refused changes nothing
        recorder.phase("certificate", certificate::ensure(session, loaded)).await?;
        prepared = recorder.phase("plan", prepare(session, loaded, &options.wanted)).await?;
    }
    recorder.seen(&prepared.observed);
    recorder.left_out(prepared.plan.left_out.iter().map(|left| left.service.as_str()));
    if let Some(timeout) = options.timeout {
        override_timeout(&mut prepared, timeout);
    }
    if !cluster::obtain(session, &mut prepared, consent).await? {
        cluster::leave_out(&mut prepared, "kind was not to be fetched".into());
    }
    if prepared.plan.is_empty() {
        let left_out = prepared.plan.left_out.clone();
        consent.planned(&prepared, &[]).await;
        recorder.phase("names", names(session, &prepared, options)).await;
        let dns = resolver::look(session, &loaded.platform.domain).await;
        let mut now = status_of(&loaded.platform, &prepared, &[], dns);
        cluster::ask(session, &prepared, &mut now.cluster).await?;
        return Ok(UpResult { steps: 0, left_out, timings: Vec::new(), trace: None, now });
    }
    let needs = Needs::of(&prepared.platform, &prepared.resources, cluster::needs(&prepared));
    let findings = doctor::run(&session.system, &needs, Selection::Quick).await;
    consent.planned(&prepared, &findings).await;
    install_programs(session, &prepared, consent).await?;
    // before the first container: a password that only a container knows would be lost with it
    if prepared.new_secrets {
        prepared.state.keep_secrets(session.host(), &prepared.secrets).await?;
    }
    prepared.state.keep_block(session.host(), prepared.block).await?;
    prepared.state.keep_no_dns(session.host(), options.no_dns).await?;
    cluster::settle(session, &mut prepared).await?;
    let (mut outcome, mut work) = carry_out(session, &prepared, options, recorder).await;
    let mut gone = if options.wanted.strict { Vec::new() } else { refused(&prepared, &outcome) };
    if !gone.is_empty() && !outcome.cancelled {
        match recorder.phase("plan", prepare_without(session, loaded, &options.wanted, &gone)).await {
            // nobody else's configuration may name what is not there
            Ok(without) => {
                for left in &gone {
                    session.events.warn(format!("{} is left out: {}", left.service, left.reason));
                }
                prepared = without;
                clear(&prepared).await?;
                let before = std::mem::take(&mut outcome.ran);
                (outcome, work) = carry_out(session, &prepared, options, recorder).await;
                outcome.ran.splice(0..0, before);
            }
            // something that is wanted needs it: the refusal is what went wrong
            Err(Error::Supply(_)) => gone.clear(),
            Err(error) => return Err(error),
        }
    }
    let mut after = None;
    if !outcome.cancelled {
        if cluster::touches_services(&prepared.plan) && outcome.is_ok() {
            cluster::hand_on(session, loaded).await?;
        }
        match recorder.phase("last look", gather(session, loaded, Look { gone: &gone, ..Look::default() })).await {
            Ok((mut seen, problems)) => {
                recorder.seen(&seen.observed);
                if let Some(reason) = work.left_out() {
                    let left = LeftOut { service: plan::CLUSTER_GROUP.into(), reason };
                    session.events.warn(format!("{} is left out: {}", left.service, left.reason));
                    prepared.plan.left_out.push(left);
                }
                seen.plan.left_out = prepared.plan.left_out.clone();
                prepared.cluster = seen.cluster.clone();
                seen.decision = prepared.decision.clone();
                last_look(&prepared, &seen.observed, &mut outcome).await;
                after = Some((seen, problems));
            }
            // an engine that went away has failed a step already, which says more
            Err(_) if !outcome.failed.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    // what works has its names, whatever does not
    recorder.phase("names", names(session, &prepared, options)).await;
    match after {
        Some((after, problems)) if outcome.is_ok() => {
            let dns = resolver::look(session, &loaded.platform.domain).await;
            let mut now = status_of(&loaded.platform, &after, &problems, dns);
            cluster::ask(session, &after, &mut now.cluster).await?;
            let steps = prepared.plan.steps.len();
            let left_out = prepared.plan.left_out;
            Ok(UpResult { steps, left_out, timings: outcome.ran, trace: None, now })
        }
        _ => Err(Error::Failed(Box::new(outcome))),
    }
}

/// Runs the plan. The second is what the cluster's steps were done with.
async fn carry_out(
    session: &Session,
    prepared: &Prepared,
    options: &UpOptions,
    recorder: &mut Recorder,
) -> (Outcome, Arc<cluster::Work>) {
    let lenient = !prepared.platform.cluster.required && !options.wanted.strict;
    let work = Arc::new(cluster::work(session, prepared, lenient, false));
    let tools = prepared.tools(session, Some(work.clone()));
    let began = Instant::now();
    let outcome = apply(&session.command, &prepared.platform.name, &prepared.plan, tools).await;
    recorder.steps(began, &outcome.ran);
    (outcome, work)
}

/// The services that may be left out and whose image no source gave, when nothing else went wrong.
fn refused(prepared: &Prepared, outcome: &Outcome) -> Vec<LeftOut> {
    let of = |failure: &Failure| {
        let reason = refusal(&failure.error)?;
        let step = prepared.plan.steps.iter().find(|step| step.id == failure.step)?;
        let Action::ObtainImage { spec, .. } = &step.action else { return None };
        // those that were left out before share the image and need no second word
        let services = spec.services.iter().filter(|name| prepared.supply.choices.contains_key(*name));
        let services: Vec<String> = services.cloned().collect();
        services.iter().all(|name| prepared.platform.is_optional(name)).then(|| {
            services.into_iter().map(|service| LeftOut { service, reason: reason.clone() }).collect::<Vec<_>>()
        })
    };
    let all: Option<Vec<Vec<LeftOut>>> = outcome.failed.iter().map(of).collect();
    all.unwrap_or_default().into_iter().flatten().collect()
}

/// Removes what was made for services that are left out after all, and never started.
async fn clear(prepared: &Prepared) -> Result<(), Error> {
    let left_out = |service: &str| prepared.supply.left_out.iter().any(|left| left.service == service);
    for found in &prepared.observed.containers {
        if found.state == ContainerState::Created && found.label(label::SERVICE).is_some_and(left_out) {
            prepared.engine.remove_container(&found.name).await?;
        }
    }
    Ok(())
}

/// Without names the platform can still be used by its addresses, so that this is no failure of `up`.
async fn names(session: &Session, prepared: &Prepared, options: &UpOptions) {
    if options.no_dns {
        return;
    }
    if let Err(error) = resolver::ensure(session, prepared).await {
        session.events.warn(format!("names below {} do not resolve: {error}", prepared.platform.domain));
    }
}

/// Programs of the host that the builds of this plan need and that are not here.
async fn install_programs(session: &Session, prepared: &Prepared, consent: &dyn Consent) -> Result<(), Error> {
    let host = session.host();
    // program -> Debian's package
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let mut need = |program: &str, package: &str| {
        if host.which(program).is_none() {
            missing.insert(program.to_owned(), package.to_owned());
        }
    };
    for step in &prepared.plan.steps {
        match &step.action {
            Action::MakeBase(_) => need("mmdebstrap", "mmdebstrap"),
            Action::ObtainImage { spec, pull: false, .. } => {
                for prepare in spec.build.iter().flat_map(|build| &build.prepare) {
                    if let PrepareStep::Run { command, needs: Some(package) } = prepare
                        && let Some(program) = command.first()
                    {
                        need(program, package);
                    }
                }
            }
            _ => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let programs = missing.keys().cloned().collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.values().map(String::as_str).collect();
    let why = format!("building images needs {programs}");
    let Some(fix) = doctor::install::packages(host, &packages) else {
        return Err(Error::Other(format!("{why}: install {} first", packages.join(", "))));
    };
    if !consent.install(&why, &fix).await? {
        return Err(Error::Other(format!("{why}, and it is not installed")));
    }
    for action in &fix.actions {
        if let doctor::Action::Run(command) = action {
            session.events.info(command.to_string());
            host.run(command).await?;
        }
    }
    Ok(())
}

fn override_timeout(prepared: &mut Prepared, timeout: Duration) {
    for step in &mut prepared.plan.steps {
        if let Action::AwaitReady { readiness, .. } = &mut step.action {
            readiness.timeout = timeout;
        }
    }
}

/// A service without a health check may have ended since it was started.
async fn last_look(prepared: &Prepared, now: &Observed, outcome: &mut Outcome) {
    for step in &prepared.plan.steps {
        let Action::AwaitReady { spec, .. } = &step.action else { continue };
        if outcome.failed.iter().any(|failure| failure.group == step.group) {
            continue;
        }
        let settled = match now.container(&spec.name) {
            Some(found) if found.state == ContainerState::Running && found.restart_count > 0 => {
                calm(prepared, &spec.name).await
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
                0 => format!("ended with {} after it had started", found.exit_code.unwrap_or_default()),
                times => format!("keeps ending: it was started again {}", text_times(times)),
            };
            let log_tail = crate::apply::log_tail(&*prepared.engine, &spec.name).await;
            let error = StepError::NotReady { service: spec.service.clone(), reason, log_tail };
            outcome.failed.push(Failure { step: step.id.clone(), group: step.group.clone(), error });
        }
    }
}

fn text_times(times: i64) -> String {
    if times == 1 { "once".into() } else { format!("{times} times") }
}

/// A container that its restart policy brought back, once it has run for a while or has ended too
/// often.
async fn calm(prepared: &Prepared, container: &str) -> Option<ObservedContainer> {
    let mut restarts = None;
    // as long as a service that has ended once must run to count as up
    for _ in 0..CALM {
        let found = prepared.engine.inspect(container).await.ok()?;
        if found.state != ContainerState::Running || found.keeps_ending() {
            return Some(found);
        }
        if restarts.replace(found.restart_count).is_some_and(|before| before != found.restart_count) {
            return Some(ObservedContainer { state: ContainerState::Restarting, ..found });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}

#[cfg(test)]
#[path = "up_tests.rs"]
mod tests;
