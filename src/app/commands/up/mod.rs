//! `up`: plan, write the secrets, apply, and look once more.

mod afterwards;
mod keeping;
mod unfinished;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use crate::app::choices::Choices;
use crate::app::cluster::join;
use crate::app::cluster::status::ask;
use crate::app::engine_lock::EngineLock;
use crate::app::owner::{self, Owner};
use crate::app::prepare::prepare_without;
use crate::app::resolver::ResolverFiles;
use crate::app::survey::{Look, Survey, survey_with};
use crate::app::trace::{Recorder, SentTrace};
use crate::app::{Consent, Error, Prepared, Session, Wanted, expected, prepare, remap};
use crate::app::{engine_paths, reach, resolver};
use crate::apply::{Outcome, Timing};
use crate::config::Loaded;
use crate::doctor::proof::Record;
use crate::doctor::{self, Finding, Needs, Selection, Status as FindingStatus};
use crate::model::macula;
use crate::observe;
use crate::plan::forecast::Forecast;
use crate::plan::{self, Action, LeftOut, Plan, ProcessStep, StepId};

use super::changes::{ChangeKind, kinds};
use super::cluster::obtain_program;
use super::condition::Context as StatusContext;
use super::forwards::{forget_the_lost, pass_on, stop_passing_on};
use super::process_status::process_rows;
use super::processes::{bring_up_processes, split_processes};
use super::programs::install_programs;
use super::status::{Planned, Status, reach as reach_now, status_of};
use afterwards::{look_for_ended, reached};
use keeping::{keep, keep_addresses, keep_stopped};
use unfinished::finish_noted_stops;
use work::{carry_out, clear, images_first, made_volumes, obtain_first, obtained, refused, short_of_memory, started};

/// Looks at an engine that changes in between: so many platforms may choose their network at once.
const OVERTAKEN: usize = 10;

#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    pub wanted: Wanted,
    /// Neither the resolver nor the names are touched; `None`: as the last `up` did.
    pub no_dns: Option<bool>,
    /// What holds for the other commands from now on.
    pub choices: Choices,
}

/// What `up` came to when it did not fail.
#[derive(Debug)]
pub struct UpResult {
    /// Steps that were carried out; 0: everything was right already.
    pub steps: usize,
    /// What they came to for each service, by its name.
    pub changes: BTreeMap<String, ChangeKind>,
    pub left_out: Vec<LeftOut>,
    pub timings: Vec<Timing>,
    /// What was done with the programs of this machine.
    pub processes: Vec<ProcessStep>,
    /// Where the run can be looked at, if anybody took its trace.
    pub trace: Option<SentTrace>,
    /// The platform as it is now.
    pub now: Status,
}

/// Whether containers run at all, before anything is pulled or built; nothing where that is known since the
/// engine was started, or no container is to be made.
async fn proof(session: &Session, survey: &Survey, plan: &Plan, needs: &Needs) -> Option<Finding> {
    // its published port would not be reached
    if !survey.facts.published || !plan.steps.iter().any(|step| matches!(step.action, Action::CreateContainer { .. })) {
        return None;
    }
    let host = session.host();
    let now = Record::now(&*survey.engine, host, &survey.facts).await;
    if Record::last(host).await.as_ref() == Some(&now) {
        return None;
    }
    let findings = doctor::run(&session.system, needs, Selection::Named(vec![doctor::PROOF])).await;
    let finding = findings.into_iter().next()?;
    if finding.status == FindingStatus::Ok {
        now.keep(host).await;
    }
    Some(finding)
}

/// Brings everything up, and sends the trace of it.
pub async fn up(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    consent: &dyn Consent,
) -> Result<UpResult, Error> {
    let mut services = options.wanted.services.clone();
    let chosen = split_processes(&loaded.platform, &mut services);
    // on the heap, as what follows: they are large
    let moved = Box::pin(remap(session, loaded, &services)).await?;
    let loaded = moved.as_ref().unwrap_or(loaded);
    let mut recorder = Recorder::begin(session, &loaded.platform.name);
    let of_services = UpOptions { wanted: Wanted { services, ..options.wanted.clone() }, ..options.clone() };
    let result = match Box::pin(traced(session, loaded, &of_services, consent, &mut recorder)).await {
        Ok(up) => Box::pin(with_processes(session, loaded, options, chosen.as_ref(), up, &mut recorder)).await,
        failed => failed,
    };
    let files = ResolverFiles::of(session.host());
    let receiving = files.receiving_of(session.host(), &loaded.platform.name).await;
    recorder.taken_at(receiving.and_then(|receiving| receiving.otlp));
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

/// The programs of this machine, once the services are there that they need.
async fn with_processes(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    chosen: Option<&BTreeSet<String>>,
    mut up: UpResult,
    recorder: &mut Recorder,
) -> Result<UpResult, Error> {
    let Wanted { recreate, timeout, .. } = options.wanted;
    let work = bring_up_processes(session, loaded, chosen, recreate, timeout, &up.left_out);
    up.processes = recorder.phase("processes", work).await?;
    plan::leave_out_processes(&mut up.left_out, &loaded.platform.processes, chosen);
    if !up.processes.is_empty() {
        let seen = survey_with(session, loaded, Look::default()).await?;
        up.now.processes = process_rows(session, loaded, Some(&seen)).await;
    }
    Ok(up)
}

async fn traced(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    consent: &dyn Consent,
    recorder: &mut Recorder,
) -> Result<UpResult, Error> {
    let _lock = recorder.phase("wait for the lock", session.lock(&loaded.platform.name)).await?;
    recorder.phase("settle", finish_noted_stops(session, &loaded.platform.name)).await?;
    let state = session.state(&loaded.platform.name);
    let no_dns = match options.no_dns {
        Some(no_dns) => no_dns,
        None => state.no_dns(session.host()).await?,
    };
    let way = async {
        if reach::choose(session, &loaded.platform).await? {
            forget_the_lost(session, &loaded.platform.name).await;
        }
        engine_paths::ask(session, &loaded.platform).await
    };
    recorder.phase("choose the way", way).await?;
    let mut prepared = recorder.phase("plan", prepare(session, loaded, &options.wanted)).await?;
    if let Some(foreign) = prepared.survey.foreign() {
        return Err(foreign);
    }
    if let Some(others) = prepared.other_projects() {
        return Err(others);
    }
    // only now that nothing is in the way: a run that is refused changes nothing
    if let Ok(certificate) = &prepared.survey.certificate
        && !recorder.phase("certificate", certificate.keep(session, &loaded.platform)).await?
    {
        prepared = recorder.phase("plan", prepare(session, loaded, &options.wanted)).await?;
    }
    recorder.seen(&prepared.survey.observed);
    recorder.left_out(prepared.plan.left_out.iter().map(|left| left.service.as_str()));
    if !no_dns {
        // before anything is changed: two platforms may want different things of the one resolver
        resolver::agree(session.host(), &prepared.survey.platform).await?;
    }
    if !obtain_program(session, &mut prepared.cluster, consent).await? {
        join::leave_out(&mut prepared.plan, &mut prepared.cluster, "kind was not to be fetched".into());
    }
    stop_passing_on(session, &prepared.survey).await?;
    if prepared.plan.is_empty() {
        // before a container that is no part of the plan: a password that only it knows would be lost with it
        if options.wanted.apart.is_some() && prepared.survey.new_secrets {
            prepared.survey.state.keep_secrets(session.host(), &prepared.survey.secrets).await?;
        }
        consent.planned(&prepared, &[], &Forecast::default()).await;
        keep(session, loaded, &prepared, options, no_dns, &[]).await?;
        prepared.survey.keep_brought(session.host(), &loaded.platform, &BTreeSet::new()).await?;
        if let Some(denied) = recorder.phase("pass on", pass_on(session, &prepared.survey)).await {
            let low_ports = session.line(macula("doctor low-ports --fix"));
            session.events.warn(format!("{}: `{low_ports}` lets every user", denied.error));
        }
        recorder.phase("names", names(session, &prepared.survey, no_dns)).await;
        return finish(session, loaded, prepared, None).await;
    }
    // a port that the background process listens on is none that somebody else has
    resolver::give_way(session, &prepared.survey).await?;
    let Prepared { survey, plan, cluster, .. } = &prepared;
    let mut needs = Needs::of(&survey.platform, &survey.resources, join::needs(&survey.platform, plan, cluster));
    needs.invocation = session.invocation.clone();
    needs.in_passing = true;
    needs.passed_on.clone_from(&survey.observed.passed_on);
    let checked = async {
        tokio::join!(doctor::run(&session.system, &needs, Selection::Quick), proof(session, survey, plan, &needs))
    };
    let (mut findings, proof) = recorder.phase("check this machine", checked).await;
    if let Some(proof) = proof {
        if proof.status == FindingStatus::Failed {
            return Err(Error::NoContainerRuns(Box::new(proof)));
        }
        findings.push(proof);
    }
    consent.planned(&prepared, &findings, &expected(session, plan).await).await;
    install_programs(session, plan, consent).await?;
    let held = recorder.phase("lock the engine", EngineLock::acquire(session, &loaded.platform.name)).await?;
    let changed = change(session, loaded, options, no_dns, prepared, recorder).await;
    if let Some(held) = held {
        held.release().await;
    }
    changed
}

/// Carries out what was planned, under the lock.
async fn change(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    no_dns: bool,
    mut prepared: Prepared,
    recorder: &mut Recorder,
) -> Result<UpResult, Error> {
    write_down(session, loaded, options, no_dns, &mut prepared).await?;
    let Prepared { survey, plan, cluster, .. } = &mut prepared;
    join::render_content(session, survey, plan, cluster).await?;
    let mut wanted = options.wanted.clone();
    let first = images_first(&prepared, wanted.build);
    let built = match first.is_empty() {
        true => Outcome::default(),
        false => recorder.phase("get images", obtain_first(session, &prepared, &first)).await,
    };
    // what has just failed would fail once more
    let unbuilt: BTreeSet<StepId> = built.failed.iter().map(|failure| failure.step.clone()).collect();
    wanted.fresh = obtained(&first, &built);
    if !wanted.fresh.is_empty() && !built.cancelled {
        let is_cluster = |left: &&LeftOut| left.service == plan::CLUSTER_GROUP;
        let no_cluster = prepared.plan.left_out.iter().find(is_cluster).map(|left| left.reason.to_string());
        prepared = recorder.phase("plan", prepare(session, loaded, &wanted)).await?;
        let Prepared { survey, plan, cluster, .. } = &mut prepared;
        // whoever did not want its program is not asked again
        if let Some(reason) = no_cluster.filter(|_| cluster.decision.is_some()) {
            join::leave_out(plan, cluster, reason);
        }
        join::render_content(session, survey, plan, cluster).await?;
    }
    // the last plan says what is started
    keep_stopped(session, &prepared, options.wanted.apart.as_ref()).await?;
    let (mut outcome, mut work) = carry_out(session, loaded, &prepared, no_dns, options, &unbuilt, recorder).await?;
    outcome.ran.splice(0..0, built.ran);
    for _ in 0..OVERTAKEN {
        if !outcome.overtaken() {
            break;
        }
        // the engine carries on with what a killed run has asked for, or another platform's network has the
        // subnet: it came in between
        session.events.info("the engine changed in between; looking again");
        prepared = recorder.phase("plan", prepare(session, loaded, &wanted)).await?;
        let before = std::mem::take(&mut outcome.ran);
        (outcome, work) = carry_out(session, loaded, &prepared, no_dns, options, &unbuilt, recorder).await?;
        outcome.ran.splice(0..0, before);
    }
    outcome.failed.splice(0..0, built.failed);
    let mut gone = if options.wanted.strict { Vec::new() } else { refused(&prepared, &outcome) };
    if !gone.is_empty() && !outcome.cancelled {
        match recorder.phase("plan", prepare_without(session, loaded, &wanted, &gone)).await {
            // nobody else's configuration may name what is not there
            Ok(without) => {
                for left in &gone {
                    session.events.warn(format!("{} is left out: {}", left.service, left.reason));
                }
                let volumes = made_volumes(&prepared.plan, &outcome);
                prepared = without;
                clear(&prepared.survey, &volumes).await?;
                keep(session, loaded, &prepared, options, no_dns, &gone).await?;
                let before = std::mem::take(&mut outcome.ran);
                (outcome, work) =
                    carry_out(session, loaded, &prepared, no_dns, options, &BTreeSet::new(), recorder).await?;
                outcome.ran.splice(0..0, before);
            }
            // something that is wanted needs it: the refusal is what went wrong
            Err(Error::Supply(_)) => gone.clear(),
            Err(error) => return Err(error),
        }
    }
    if let Some(reason) = work.left_out() {
        session.events.warn(format!("{} is left out: {reason}", plan::CLUSTER_GROUP));
        prepared.plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason: reason.into() });
    }
    let after = match outcome.cancelled {
        true => None,
        false => last_look(session, loaded, options, &prepared, &gone, &mut outcome, recorder).await?,
    };
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    // what works has its names, whatever does not
    recorder.phase("names", names(session, after.as_ref().unwrap_or(&prepared.survey), no_dns)).await;
    match after {
        Some(after) if outcome.is_ok() => finish(session, loaded, prepared, Some((after, outcome))).await,
        _ => Err(Error::Failed(Box::new(outcome))),
    }
}

/// Before the first container: what must not be lost with a run that is killed.
async fn write_down(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    no_dns: bool,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    // somebody else may have made the platform between the look and the lock
    let owner = Owner::ensure(session.host()).await?;
    let ours = observe::ours(&*prepared.survey.engine, &loaded.platform.name).await?;
    if let Some(owner) = owner::other(Some(&owner), &loaded.platform.name, &ours) {
        return Err(Error::Foreign { platform: loaded.platform.name.clone(), owner });
    }
    keep_addresses(session, loaded, options, prepared).await?;
    let survey = &prepared.survey;
    // before the first container: a password that only a container knows would be lost with it
    if survey.new_secrets {
        survey.state.keep_secrets(session.host(), &survey.secrets).await?;
    }
    keep(session, loaded, prepared, options, no_dns, &[]).await?;
    for line in short_of_memory(&prepared.survey, &prepared.plan) {
        session.events.warn(line);
    }
    Ok(())
}

/// How everything is once the plan was carried out; nothing where that cannot be seen any more.
async fn last_look(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    prepared: &Prepared,
    gone: &[LeftOut],
    outcome: &mut Outcome,
    recorder: &mut Recorder,
) -> Result<Option<Survey>, Error> {
    let how = Look { gone, bundle: options.wanted.bundle.as_deref(), ..Look::default() };
    let seen = match recorder.phase("last look", survey_with(session, loaded, how)).await {
        Ok(seen) => seen,
        // an engine that went away has failed a step already, which says more
        Err(_) if !outcome.failed.is_empty() => return Ok(None),
        Err(error) => return Err(error),
    };
    recorder.seen(&seen.observed);
    seen.keep_brought(session.host(), &loaded.platform, &started(&prepared.plan, outcome)).await?;
    look_for_ended(session, prepared, &seen.observed, outcome).await;
    outcome.failed.extend(recorder.phase("pass on", pass_on(session, &seen)).await);
    if outcome.is_ok() {
        recorder.phase("ask every name", reached(session, &seen, options, outcome)).await;
    }
    // the looks end early then
    outcome.cancelled |= session.cancel.is_cancelled();
    Ok(Some(seen))
}

/// What a run that succeeded came to. `after`: the look at the world after the plan was carried out; none
/// where there was nothing to do.
async fn finish(
    session: &Session,
    loaded: &Loaded,
    prepared: Prepared,
    after: Option<(Survey, Outcome)>,
) -> Result<UpResult, Error> {
    let changes = kinds(&prepared);
    let (survey, timings) = match after {
        Some((survey, outcome)) => (survey, outcome.ran),
        None => (prepared.survey, Vec::new()),
    };
    let updated = match join::touches_services(&prepared.plan) {
        true => join::update_scrape_config(session, &survey).await,
        false => Plan::default(),
    };
    let dns = resolver::look(session, &loaded.platform).await;
    let planned = Planned {
        left_out: &prepared.plan.left_out,
        cluster: Some(&prepared.cluster),
        done: &updated.steps,
        ..Planned::default()
    };
    let context = StatusContext::of(session, &survey).await?;
    let mut now = status_of(&loaded.platform, &survey, &planned, dns, &context);
    now.reach = reach_now(session, &survey, true).await;
    now.processes = process_rows(session, loaded, Some(&survey)).await;
    ask(session, &survey, prepared.cluster.decision.as_ref(), &mut now.cluster).await?;
    for problem in &now.cluster.problems {
        session.events.warn(format!("cluster: {problem}"));
    }
    let Plan { steps, left_out, .. } = prepared.plan;
    Ok(UpResult { steps: steps.len(), changes, left_out, timings, processes: Vec::new(), trace: None, now })
}

/// Without names the platform can still be used by its addresses, so that this is no failure of `up`.
async fn names(session: &Session, survey: &Survey, no_dns: bool) {
    if no_dns {
        return;
    }
    if let Err(error) = resolver::ensure(session, survey).await {
        session.events.warn(format!("*.{} does not resolve: {error}", survey.platform.domain));
    }
}
