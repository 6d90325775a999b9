//! Carrying out the plan of an `up`, and what is undone of one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::UpOptions;
use crate::app::cluster::work::Work;
use crate::app::commands::images::refusal;
use crate::app::commands::machine_tasks::MachineTasks;
use crate::app::owner::Owner;
use crate::app::survey::Survey;
use crate::app::trace::Recorder;
use crate::app::{Error, Prepared, Session, durations};
use crate::apply::{Extras, Failure, Loader, Outcome, apply};
use crate::bundle::Bundle;
use crate::config::Loaded;
use crate::engine::EngineError;
use crate::model::{ContainerState, ObservedContainer, label};
use crate::plan::{Action, LeftOut, Plan, Step, StepId};

/// What is got before all else of the plan: the builds of `--build`, and images that are there and are pulled or built
/// each time. One that comes out as it was is no reason for another container, which only a look afterwards can tell.
pub(super) fn images_first(prepared: &Prepared, build: bool) -> Plan {
    let observed = &prepared.survey.observed;
    let first = |step: &&Step| match &step.action {
        Action::MakeBase(_) => build,
        Action::ObtainImage { pull: false, .. } if build => true,
        // what it waits for is not there yet
        Action::ObtainImage { .. } if !step.after.is_empty() => false,
        Action::ObtainImage { pull: false, spec, .. } => observed.images.contains_key(spec.key()),
        // where a build has a name of its own, nobody knows beforehand which of both it will be
        Action::ObtainImage { spec, .. } => spec.key() == spec.reference && spec.present(observed).is_some(),
        _ => false,
    };
    Plan { steps: prepared.plan.steps.iter().filter(first).cloned().collect(), ..Plan::default() }
}

/// Carries out what [`images_first`] says.
pub(super) async fn obtain_first(session: &Session, prepared: &Prepared, plan: &Plan) -> Outcome {
    let survey = &prepared.survey;
    let mut tools = survey.tools(session, None);
    tools.extras = Extras {
        known: durations::known(session.host()).await,
        unchanged: Vec::new(),
        logs: Some(survey.state.folder().join("log")),
    };
    let outcome = apply(&session.command, &survey.platform.name, plan, tools).await;
    durations::remember(session.host(), plan, &outcome.ran).await;
    outcome
}

/// The images that were got.
pub(super) fn obtained(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let key = |step: &Step| match &step.action {
        Action::ObtainImage { spec, .. } => Some(spec.key().to_owned()),
        _ => None,
    };
    plan.steps.iter().filter(|step| ran_well(step, outcome)).filter_map(key).collect()
}

fn ran_well(step: &Step, outcome: &Outcome) -> bool {
    outcome.ran.iter().any(|timing| timing.step == step.id && timing.error.is_none())
}

/// Runs the plan, but for steps that have failed already and what comes after them. The second is what the cluster's
/// steps were done with.
pub(super) async fn carry_out(
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
pub(super) fn short_of_memory(survey: &Survey, plan: &Plan) -> Vec<String> {
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
pub(super) fn refused(prepared: &Prepared, outcome: &Outcome) -> Vec<LeftOut> {
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

/// Services with a container that was started.
pub(super) fn started<'p>(plan: &'p Plan, outcome: &Outcome) -> BTreeSet<&'p str> {
    let starts = plan.steps.iter().filter(|step| matches!(step.action, Action::Start { .. }));
    starts.filter(|step| ran_well(step, outcome)).map(|step| step.group.as_str()).collect()
}

/// Volumes that were not there before.
pub(super) fn made_volumes(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let name = |step: &Step| match &step.action {
        Action::CreateVolume { spec, .. } => Some(spec.name.clone()),
        _ => None,
    };
    plan.steps.iter().filter(|step| ran_well(step, outcome)).filter_map(name).collect()
}

/// Removes what this run made for services that are left out after all, and never started.
pub(super) async fn clear(survey: &Survey, volumes: &[String]) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{Agrees, session, shop};
    use crate::app::{Wanted, prepare, up};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn what_runs_and_has_nothing_planned_is_unchanged() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}, db: {image: 'acme/web:1'}}\n");
        let session = session(host, &engine, "macula up");
        let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
        Box::pin(up(&session, &loaded, &options, &Agrees)).await.unwrap();
        engine.stop_by_hand("macula-shop-web-1");
        let prepared = Box::pin(prepare(&session, &loaded, &Wanted::default())).await.unwrap();
        assert_eq!(unchanged(&prepared), ["db"]);
        assert_eq!(short_of_memory(&prepared.survey, &prepared.plan), [""; 0]);
        // what was killed at its limit is told where it is started again
        let ended = |service: &str, code| ObservedContainer {
            state: ContainerState::Exited,
            oom_killed: true,
            exit_code: Some(code),
            ..engine.container(&format!("macula-shop-{service}-1")).unwrap()
        };
        let running = ObservedContainer { state: ContainerState::Running, ..ended("db", 0) };
        drop(engine.clone().with_container(ended("web", 137)).with_container(running));
        let prepared = Box::pin(prepare(&session, &loaded, &Wanted::default())).await.unwrap();
        let told = "web was killed at its memory limit, and is started again with the same limit";
        assert_eq!(short_of_memory(&prepared.survey, &prepared.plan), [told]);
    }

    #[tokio::test]
    async fn only_what_was_made_for_those_that_are_left_out_goes_again() {
        let made = |service: &str, state| ObservedContainer {
            id: format!("{service}-0123456789"),
            name: format!("macula-shop-{service}-1"),
            state,
            labels: [(label::PLATFORM, "shop"), (label::SERVICE, service)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..ObservedContainer::default()
        };
        let engine = FakeEngine::new()
            .with_image("acme/web:1")
            .with_container(made("web", ContainerState::Created))
            .with_container(made("chart", ContainerState::Created))
            .with_container(made("note", ContainerState::Running));
        let host = FakeHost::new();
        let stack =
            "services: {web: {image: 'acme/web:1'}, chart: {image: 'acme/web:1'}, note: {image: 'acme/web:1'}}\n";
        let loaded = shop(&host, "", stack);
        let session = session(host, &engine, "macula up");
        let mut survey = Box::pin(prepare(&session, &loaded, &Wanted::default())).await.unwrap().survey;
        let left = |service: &str| LeftOut { service: service.into(), reason: "refused".into() };
        survey.supply.left_out = vec![left("chart"), left("note")];
        clear(&survey, &[]).await.unwrap();
        assert_eq!(engine.containers(), ["macula-shop-note-1", "macula-shop-web-1"]);
    }
}
