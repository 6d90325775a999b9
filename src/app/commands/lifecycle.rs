//! `start`, `stop`, `restart`: what exists, as it is.

use std::collections::BTreeSet;

use crate::config::Loaded;
use crate::model::{PlatformName, label};
use crate::observe;
use crate::plan::{self, Plan};

use crate::app::survey::survey;
use crate::app::{Error, Session};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Restart,
}

/// On these services, or on all. Returns the plan that was carried out.
pub async fn lifecycle(session: &Session, loaded: &Loaded, action: Action, services: &[String]) -> Result<Plan, Error> {
    let known: BTreeSet<String> = loaded.platform.services().map(|(_, service)| service.name.clone()).collect();
    let unknown: Vec<String> = services.iter().filter(|name| !known.contains(*name)).cloned().collect();
    if !unknown.is_empty() {
        if let Some(error) = not_given(session, &loaded.platform.name, &unknown).await? {
            return Err(error);
        }
        return Err(Error::UnknownService { names: unknown, known: known.into_iter().collect() });
    }
    let _lock = session.lock(&loaded.platform.name).await?;
    let survey = survey(session, loaded).await?;
    let chosen: BTreeSet<String> = if services.is_empty() { known } else { services.iter().cloned().collect() };
    let specs = &survey.resources.containers;
    if let Some(missing) = services.iter().find(|name| {
        !specs.iter().any(|spec| spec.service == **name && survey.observed.container(&spec.name).is_some())
    }) {
        return Err(Error::NoContainer { service: missing.clone() });
    }
    let platform = &survey.platform.name;
    let plan = match action {
        Action::Stop => plan::stop(platform, &survey.observed, &chosen),
        Action::Start => plan::start(specs, &survey.observed, &chosen),
        Action::Restart => {
            // a job that has done its work is not a service to be restarted, unless it is named
            let jobs: BTreeSet<&str> =
                specs.iter().filter(|spec| spec.readiness.one_shot).map(|spec| spec.service.as_str()).collect();
            let chosen = chosen.into_iter().filter(|name| !services.is_empty() || !jobs.contains(name.as_str()));
            plan::restart(platform, specs, &survey.observed, &chosen.collect())
        }
    };
    if plan.is_empty() {
        return Ok(plan);
    }
    let touched = plan.steps.iter().map(|step| step.group.clone());
    let mut stopped = survey.state.stopped(session.host()).await?;
    match action {
        Action::Stop => stopped.extend(touched),
        Action::Start | Action::Restart => {
            let touched: BTreeSet<String> = touched.collect();
            stopped.retain(|service| !touched.contains(service));
        }
    }
    survey.state.keep_stopped(session.host(), stopped).await?;
    session.carry_out(platform, &plan, survey.tools(session, None)).await?;
    Ok(plan)
}

/// How to start a service stands in its stack; its container alone does not tell.
async fn not_given(session: &Session, platform: &PlatformName, names: &[String]) -> Result<Option<Error>, Error> {
    let observed = observe::ours(&*session.engine()?, platform).await?;
    let found = observed
        .containers
        .iter()
        .find(|found| found.label(label::SERVICE).is_some_and(|service| names.iter().any(|name| name == service)));
    Ok(found.map(|found| Error::NotGiven {
        service: found.label(label::SERVICE).unwrap_or_default().to_owned(),
        stack: found.label(label::STACK).unwrap_or("?").to_owned(),
    }))
}
