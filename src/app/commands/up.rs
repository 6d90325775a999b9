//! `up`: plan, write the secrets, apply, and look once more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::choices::Choices;
use crate::app::cluster::join;
use crate::app::cluster::status::ask;
use crate::app::cluster::work::Work;
use crate::app::engine_lock::EngineLock;
use crate::app::owner::{self, Owner};
use crate::app::prepare::prepare_without;
use crate::app::resolver::ResolverFiles;
use crate::app::survey::{Look, Survey, survey_with};
use crate::app::trace::{Recorder, SentTrace};
use crate::app::{Consent, Error, Prepared, Session, Wanted, durations, expected, prepare, remap};
use crate::app::{reach, resolver};
use crate::apply::{Extras, Failure, Loader, Outcome, StepError, Timing, Tools, apply};
use crate::bundle::Bundle;
use crate::config::{Loaded, canonical};
use crate::doctor::proof::Record;
use crate::doctor::{self, Finding, Needs, Selection, Status as FindingStatus};
use crate::engine::EngineError;
use crate::event::Events;
use crate::host::{Held, until};
use crate::model::{ContainerState, Observed, ObservedContainer, Origin, Platform, PlatformName, Stack, label};
use crate::observe;
use crate::plan::forecast::Forecast;
use crate::plan::{self, Action, LeftOut, Plan, ProcessStep, Step, StepId};

use super::cluster::obtain_program;
use super::forwards::{pass_on, stop_passing_on};
use super::images::refusal;
use super::machine_tasks::MachineTasks;
use super::process_status::process_rows;
use super::processes::{bring_up_processes, split_processes};
use super::programs::install_programs;
use super::service_status::Context as StatusContext;
use super::status::{Planned, Status, reach as reach_now, status_of};
use super::validate::astray;

/// As long as a service that has ended once must run to count as up.
const CALM: Duration = Duration::from_secs(5);
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

/// A run that was killed while it stopped containers has left the engine at work: they still run,
/// and are about to end. Nothing shows which; to stop them once more is to wait for it.
async fn finish_killed_stop(session: &Session, platform: &PlatformName, killed: &Held) -> Result<(), Error> {
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
    let tools = Tools { events: Events::none(), ..session.tools(engine.clone(), engine.facts().await?) };
    session.carry_out(platform, &plan, tools).await?;
    Ok(())
}

/// Waits for stops that a killed run has asked for and that the engine still carries out: a container that runs
/// now would end after it was found to be right.
async fn finish_noted_stops(session: &Session, platform: &PlatformName) -> Result<(), Error> {
    let host = session.host();
    let folder = plan::stop_notes(&host.folders().data, platform);
    let names = host.list(&folder).await.unwrap_or_default();
    if names.is_empty() {
        return Ok(());
    }
    let engine = session.engine()?;
    let stops = futures_util::future::join_all(names.iter().map(|name| engine.stop(name, None))).await;
    for (name, stopped) in names.iter().zip(stops) {
        match stopped {
            Ok(()) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // one that ends with 0 would count as having done its work; its volumes stay
        if engine.inspect(name).await.is_ok_and(|found| found.exit_code == Some(0)) {
            engine.remove_container(name).await?;
        }
        let _ = host.remove(&folder.join(name)).await;
    }
    Ok(())
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
    // on the heap: it is as large as what follows
    let moved = Box::pin(remap(session, loaded, &services)).await?;
    let loaded = moved.as_ref().unwrap_or(loaded);
    let mut recorder = Recorder::begin(session, &loaded.platform.name);
    let of_services = UpOptions { wanted: Wanted { services, ..options.wanted.clone() }, ..options.clone() };
    let result = match traced(session, loaded, &of_services, consent, &mut recorder).await {
        Ok(up) => with_processes(session, loaded, options, chosen.as_ref(), up, &mut recorder).await,
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
    let lock = recorder.phase("wait for the lock", session.lock(&loaded.platform.name)).await?;
    if let Some(killed) = lock.interrupted() {
        recorder.phase("settle", finish_killed_stop(session, &loaded.platform.name, killed)).await?;
    }
    recorder.phase("settle", finish_noted_stops(session, &loaded.platform.name)).await?;
    let state = session.state(&loaded.platform.name);
    let no_dns = match options.no_dns {
        Some(no_dns) => no_dns,
        None => state.no_dns(session.host()).await?,
    };
    recorder.phase("choose the way", reach::choose(session, &loaded.platform)).await?;
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
        recorder.phase("pass on", pass_on(session, &prepared.survey)).await;
        recorder.phase("names", names(session, &prepared.survey, no_dns)).await;
        return finish(session, loaded, prepared, None).await;
    }
    // a port that the background process listens on is none that somebody else has
    resolver::give_way(session, &prepared.survey).await?;
    let Prepared { survey, plan, cluster, .. } = &prepared;
    let mut needs = Needs::of(&survey.platform, &survey.resources, join::needs(&survey.platform, plan, cluster));
    needs.invocation = session.invocation.clone();
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
    // somebody else may have made the platform between the look and the lock
    let owner = Owner::ensure(session.host()).await?;
    let ours = observe::ours(&*prepared.survey.engine, &loaded.platform.name).await?;
    if let Some(owner) = owner::other(Some(&owner), &loaded.platform.name, &ours) {
        return Err(Error::Foreign { platform: loaded.platform.name.clone(), owner });
    }
    keep_addresses(session, loaded, options, &mut prepared).await?;
    let survey = &prepared.survey;
    // before the first container: a password that only a container knows would be lost with it
    if survey.new_secrets {
        survey.state.keep_secrets(session.host(), &survey.secrets).await?;
    }
    keep(session, loaded, &prepared, options, no_dns, &[]).await?;
    keep_stopped(session, &prepared, options.wanted.apart.as_ref()).await?;
    for line in short_of_memory(&prepared.survey, &prepared.plan) {
        session.events.warn(line);
    }
    let Prepared { survey, plan, cluster, .. } = &mut prepared;
    join::render_content(session, survey, plan, cluster).await?;
    let mut wanted = options.wanted.clone();
    let built = match wanted.build {
        true => recorder.phase("build", build_first(session, &prepared)).await,
        false => Outcome::default(),
    };
    // what has just failed to build would fail once more
    let unbuilt: BTreeSet<StepId> = built.failed.iter().map(|failure| failure.step.clone()).collect();
    if !built.ran.is_empty() && built.is_ok() {
        wanted.build = false;
        prepared = recorder.phase("plan", prepare(session, loaded, &wanted)).await?;
        let Prepared { survey, plan, cluster, .. } = &mut prepared;
        join::render_content(session, survey, plan, cluster).await?;
    }
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
        prepared.plan.left_out.push(LeftOut { service: plan::CLUSTER_GROUP.into(), reason });
    }
    let mut after = None;
    if !outcome.cancelled {
        let how = Look { gone: &gone, bundle: options.wanted.bundle.as_deref(), ..Look::default() };
        match recorder.phase("last look", survey_with(session, loaded, how)).await {
            Ok(seen) => {
                recorder.seen(&seen.observed);
                let brought = seen.brought(&loaded.platform);
                let choices = Choices { brought, ..seen.choices.clone() };
                seen.state.keep_choices(session.host(), &choices).await?;
                look_for_ended(session, &prepared, &seen.observed, &mut outcome).await;
                recorder.phase("pass on", pass_on(session, &seen)).await;
                if outcome.is_ok() {
                    recorder.phase("ask every name", reached(session, &seen, options, &mut outcome)).await;
                }
                // the looks end early then
                outcome.cancelled |= session.cancel.is_cancelled();
                after = Some(seen);
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
    recorder.phase("names", names(session, after.as_ref().unwrap_or(&prepared.survey), no_dns)).await;
    match after {
        Some(after) if outcome.is_ok() => finish(session, loaded, prepared, Some((after, outcome))).await,
        _ => Err(Error::Failed(Box::new(outcome))),
    }
}

/// `--build`: the builds of the plan before all else. An image that comes out as it was is no reason for another
/// container, which only a look after the builds can tell. Where one fails all else of the plan is carried out as
/// it is.
async fn build_first(session: &Session, prepared: &Prepared) -> Outcome {
    let builds = |step: &&Step| matches!(step.action, Action::ObtainImage { pull: false, .. } | Action::MakeBase(_));
    let steps: Vec<Step> = prepared.plan.steps.iter().filter(builds).cloned().collect();
    if steps.is_empty() {
        return Outcome::default();
    }
    let plan = Plan { steps, ..Plan::default() };
    let survey = &prepared.survey;
    let mut tools = survey.tools(session, None);
    tools.extras = Extras {
        known: durations::known(session.host()).await,
        unchanged: Vec::new(),
        logs: Some(survey.state.folder().join("log")),
    };
    let outcome = apply(&session.command, &survey.platform.name, &plan, tools).await;
    durations::remember(session.host(), &plan, &outcome.ran).await;
    outcome
}

/// Records what holds for other commands, and for the next run, from now on. `gone`: services whose image was
/// refused just now.
async fn keep(
    session: &Session,
    loaded: &Loaded,
    prepared: &Prepared,
    options: &UpOptions,
    no_dns: bool,
    gone: &[LeftOut],
) -> Result<(), Error> {
    let (host, survey) = (session.host(), &prepared.survey);
    survey.state.keep_block(host, survey.block, true).await?;
    survey.state.keep_no_dns(host, no_dns).await?;
    let choices = Choices {
        no_cluster: options.wanted.no_cluster.unwrap_or(options.choices.no_cluster),
        refused: survey.refusals(&loaded.platform, gone),
        out_of_reach: survey.out_of_reach(&loaded.platform),
        moves: loaded.moves.clone(),
        brought: survey.brought(&loaded.platform),
        ..options.choices.clone()
    };
    survey.state.keep_choices(host, &choices).await?;
    write_stacks(session, loaded, &survey.platform, prepared.plan.is_empty()).await;
    Ok(())
}

/// `docker compose ls` and graphical tools want a file for each service; what is built in has none of the user's. Where
/// nothing is to be done, those that are there are as the containers were made.
async fn write_stacks(session: &Session, loaded: &Loaded, platform: &Platform, unchanged: bool) {
    let host = session.host();
    let all = loaded.platform.stacks.iter().zip(&loaded.projects);
    let taking_part = |stack: &Stack| stack.origin == Origin::BuiltIn && !stack.services.is_empty();
    for (stack, project) in all.filter(|(stack, _)| taking_part(stack)) {
        let Some(path) = platform.file_of(stack) else { continue };
        if unchanged && host.exists(&path).await {
            continue;
        }
        let text = format!("# Written by `macula up`; a change here has no effect.\n{}", canonical(project));
        if host.read(&path).await.is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        // other programs look for it; a platform comes up without it, as on a full disk
        if let Err(error) = host.write(&path, text.as_bytes(), 0o600).await {
            tracing::debug!(%error, "a built-in stack was not written");
        }
    }
}

/// What a run that succeeded came to. `after`: the look at the world after the plan was carried out; none
/// where there was nothing to do.
async fn finish(
    session: &Session,
    loaded: &Loaded,
    prepared: Prepared,
    after: Option<(Survey, Outcome)>,
) -> Result<UpResult, Error> {
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
    Ok(UpResult { steps: steps.len(), left_out, timings, processes: Vec::new(), trace: None, now })
}

/// Records the addresses that were chosen; where another platform has taken them since, plans again with
/// others.
async fn keep_addresses(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let fixed = loaded.platform.addresses.block.is_some();
    for _ in 0..OVERTAKEN {
        if prepared.survey.state.keep_block(session.host(), prepared.survey.block, fixed).await? {
            return Ok(());
        }
        *prepared = prepare(session, loaded, &options.wanted).await?;
    }
    Err(Error::NoBlock { name: loaded.platform.name.to_string() })
}

/// What this run starts is no longer stopped by the user.
async fn keep_stopped(session: &Session, prepared: &Prepared, apart: Option<&String>) -> Result<(), Error> {
    let mut stopped = prepared.survey.state.stopped(session.host()).await?;
    if stopped.is_empty() {
        return Ok(());
    }
    let left = |service: &String| Some(service) == apart;
    stopped.retain(|service| left(service) || prepared.plan.steps.iter().all(|step| step.group != *service));
    prepared.survey.state.keep_stopped(session.host(), stopped).await
}

/// Runs the plan, but for steps that have failed already and what comes after them. The second is what the cluster's
/// steps were done with.
async fn carry_out(
    session: &Session,
    loaded: &Loaded,
    prepared: &Prepared,
    no_dns: bool,
    options: &UpOptions,
    failed: &BTreeSet<StepId>,
    recorder: &mut Recorder,
) -> Result<(Outcome, Arc<Work>), Error> {
    let Prepared { survey, plan, cluster, .. } = prepared;
    let lenient = !survey.platform.cluster.required && !options.wanted.strict;
    let work = Arc::new(Work::new(session, survey, cluster.decision.as_ref()).lenient(lenient));
    let mut tools = survey.tools(session, Some(work.clone()));
    tools.tasks = Some(Arc::new(MachineTasks::new(session, loaded, no_dns)));
    let (rest, skipped) = plan.after_failure(failed);
    tools.loader = loader(survey, &rest, options.wanted.bundle.as_ref()).await?;
    tools.extras = Extras {
        known: durations::known(session.host()).await,
        unchanged: unchanged(prepared),
        logs: Some(survey.state.folder().join("log")),
    };
    match Owner::ensure(session.host()).await {
        Ok(owner) => tools.labels = owner.labels(),
        Err(error) => session.events.warn(format!("what is made bears no owner: {error}")),
    }
    let began = Instant::now();
    let mut outcome = match rest.is_empty() {
        true => Outcome::default(),
        false => apply(&session.command, &survey.platform.name, &rest, tools).await,
    };
    outcome.skipped.extend(skipped);
    recorder.steps(began, &outcome.ran);
    durations::remember(session.host(), &rest, &outcome.ran).await;
    Ok((outcome, work))
}

/// Who loads the images of the plan, in its order; nobody where it has none.
async fn loader(survey: &Survey, plan: &Plan, bundle: Option<&Arc<Bundle>>) -> Result<Option<Arc<Loader>>, Error> {
    let id = |step: &Step| match &step.action {
        Action::LoadImage { id } => Some(id.clone()),
        _ => None,
    };
    let ids: Vec<String> = plan.steps.iter().filter_map(id).collect();
    let Some(bundle) = bundle.filter(|_| !ids.is_empty()) else { return Ok(None) };
    let loader = Loader::new(survey.engine.clone(), &survey.facts, bundle.clone(), ids).await?;
    Ok(Some(Arc::new(loader)))
}

/// What is started again and was killed at its memory limit: it may be again, as soon as it is used.
fn short_of_memory(survey: &Survey, plan: &Plan) -> Vec<String> {
    let starts = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Start { container, .. } => Some((step, survey.observed.container(container)?)),
        _ => None,
    });
    let killed = starts.filter(|(_, found)| found.oom_killed && found.state != ContainerState::Running);
    let line = |(step, _): (&Step, &ObservedContainer)| {
        format!("{} was killed at its memory limit, and is started again with the same limit", step.group)
    };
    killed.map(line).collect()
}

/// Services that run as they should, so that the plan has nothing for them.
fn unchanged(prepared: &Prepared) -> Vec<String> {
    let planned: BTreeSet<&str> = prepared.plan.steps.iter().map(|step| step.group.as_str()).collect();
    let specs = prepared.survey.resources.containers.iter().filter(|spec| !spec.readiness.one_shot);
    let running = specs.filter(|spec| {
        let found = prepared.survey.observed.container(&spec.name);
        found.is_some_and(|found| found.state == ContainerState::Running)
    });
    let mut names: Vec<String> =
        running.map(|spec| spec.service.clone()).filter(|service| !planned.contains(service.as_str())).collect();
    names.sort();
    names.dedup();
    names
}

/// The services that may be left out and whose image no source gave, when nothing else went wrong.
fn refused(prepared: &Prepared, outcome: &Outcome) -> Vec<LeftOut> {
    let of = |failure: &Failure| {
        let reason = refusal(&failure.error)?;
        let step = prepared.plan.steps.iter().find(|step| step.id == failure.step)?;
        let Action::ObtainImage { spec, .. } = &step.action else { return None };
        // those that were left out before share the image and need no second word
        let services = spec.services.iter().filter(|name| prepared.survey.supply.choices.contains_key(*name));
        let services: Vec<String> = services.cloned().collect();
        services.iter().all(|name| prepared.survey.platform.is_optional(name)).then(|| {
            services.into_iter().map(|service| LeftOut { service, reason: reason.clone() }).collect::<Vec<_>>()
        })
    };
    let all: Option<Vec<Vec<LeftOut>>> = outcome.failed.iter().map(of).collect();
    all.unwrap_or_default().into_iter().flatten().collect()
}

/// Volumes that were not there before.
fn made_volumes(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let ran = |step: &&Step| outcome.ran.iter().any(|timing| timing.step == step.id && timing.error.is_none());
    let name = |step: &Step| match &step.action {
        Action::CreateVolume { spec, .. } => Some(spec.name.clone()),
        _ => None,
    };
    plan.steps.iter().filter(ran).filter_map(name).collect()
}

/// Removes what this run made for services that are left out after all, and never started.
async fn clear(survey: &Survey, volumes: &[String]) -> Result<(), Error> {
    let left_out = |service: &str| survey.supply.left_out.iter().any(|left| left.service == service);
    for found in &survey.observed.containers {
        if found.state == ContainerState::Created && found.label(label::SERVICE).is_some_and(left_out) {
            survey.engine.remove_container(&found.name).await?;
        }
    }
    let wanted = |name: &String| survey.resources.volumes.iter().any(|spec| spec.name == *name);
    for name in volumes.iter().filter(|name| !wanted(name)) {
        match survey.engine.remove_volume(name).await {
            // somebody else found a use for it meanwhile
            Ok(()) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Without names the platform can still be used by its addresses, so that this is no failure of `up`.
async fn names(session: &Session, survey: &Survey, no_dns: bool) {
    if no_dns {
        return;
    }
    if let Err(error) = resolver::ensure(session, survey).await {
        session.events.warn(format!("names below {} do not resolve: {error}", survey.platform.domain));
    }
}

/// A service without a health check may have ended since it was started.
async fn look_for_ended(session: &Session, prepared: &Prepared, now: &Observed, outcome: &mut Outcome) {
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
                times => format!("crashes again and again: it was restarted {}", text_times(times)),
            };
            let log_tail = crate::apply::log_tail(&*prepared.survey.engine, &spec.name).await;
            let error = StepError::NotReady { service: spec.service.clone(), reason, log_tail };
            outcome.failed.push(Failure { step: step.id.clone(), group: step.group.clone(), error });
        }
    }
}

/// Up is what answers: every name is asked through the ingress, every published port once.
async fn reached(session: &Session, now: &Survey, options: &UpOptions, outcome: &mut Outcome) {
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
