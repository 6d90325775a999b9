//! `start`, `stop`, `restart`: what exists, as it is. Labels say what that is; the files only add how to tell
//! that a service is ready, and trouble in them stops nothing.

use std::collections::BTreeSet;

use crate::app::owner::{self, Owner};
use crate::app::survey::survey;
use crate::app::{Error, Session};
use crate::config::Loaded;
use crate::daemon::reach::Table;
use crate::model::{ContainerSpec, Observed, PlatformName, Way, label};
use crate::observe;
use crate::plan::{self, Plan};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Restart,
}

/// On these services, or on all that have a container. `loaded`: the files, where they could be read. Returns
/// the plan that was carried out.
pub async fn lifecycle(
    session: &Session,
    platform: &PlatformName,
    loaded: Option<&Loaded>,
    action: Action,
    services: &[String],
) -> Result<Plan, Error> {
    session.check_known(platform).await?;
    let engine = session.engine()?;
    let _lock = session.lock(platform).await?;
    let observed = observe::ours(&*engine, platform.as_str()).await?;
    if let Some(owner) = owner::other(Owner::read(session.host()).await?.as_ref(), platform, &observed) {
        return Err(Error::Foreign { platform: platform.clone(), owner });
    }
    let specs = specs(session, platform, loaded, &observed).await?;
    let known = services_of(&observed);
    if known.is_empty() && services.is_empty() && action != Action::Stop {
        return Err(Error::Down { platform: platform.clone() });
    }
    all_known(services, &known, loaded)?;
    let chosen: BTreeSet<String> = if services.is_empty() { known } else { services.iter().cloned().collect() };
    let plan = match action {
        Action::Stop => plan::stop(platform.as_str(), &observed, &chosen),
        Action::Start => plan::start(&specs, &observed, &chosen),
        Action::Restart => {
            // a job that has done its work is not a service to be restarted, unless it is named
            let jobs: BTreeSet<&str> =
                specs.iter().filter(|spec| spec.readiness.one_shot).map(|spec| spec.service.as_str()).collect();
            let chosen = chosen.into_iter().filter(|name| !services.is_empty() || !jobs.contains(name.as_str()));
            plan::restart(platform.as_str(), &specs, &observed, &chosen.collect())
        }
    };
    if plan.is_empty() {
        return Ok(plan);
    }
    let touched = plan.steps.iter().map(|step| step.group.clone());
    let state = session.state(platform);
    let mut stopped = state.stopped(session.host()).await?;
    match action {
        Action::Stop => stopped.extend(touched),
        Action::Start | Action::Restart => {
            let touched: BTreeSet<String> = touched.collect();
            stopped.retain(|service| !touched.contains(service));
        }
    }
    state.keep_stopped(session.host(), stopped).await?;
    let mut facts = engine.facts().await?;
    if let Some(table) = Table::read(session.host(), state.folder()).await {
        facts.published = table.way == Way::Published;
    }
    let tools = session.tools(engine.clone(), facts);
    session.carry_out(platform, &plan, tools).await?;
    Ok(plan)
}

/// That these services have containers, for who does something else before [`lifecycle`].
///
/// # Errors
/// As there, where one has none.
pub async fn must_have_containers(
    session: &Session,
    platform: &PlatformName,
    loaded: Option<&Loaded>,
    services: &[String],
) -> Result<(), Error> {
    session.check_known(platform).await?;
    let engine = session.engine()?;
    let observed = observe::ours(&*engine, platform.as_str()).await?;
    all_known(services, &services_of(&observed), loaded)
}

fn services_of(observed: &Observed) -> BTreeSet<String> {
    observed.containers.iter().filter_map(|found| found.label(label::SERVICE)).map(str::to_owned).collect()
}

fn all_known(services: &[String], known: &BTreeSet<String>, loaded: Option<&Loaded>) -> Result<(), Error> {
    let Some(missing) = services.iter().find(|name| !known.contains(*name)) else { return Ok(()) };
    let wanted = loaded.is_some_and(|loaded| loaded.platform.service(missing).is_some());
    Err(match wanted {
        true => Error::NoContainer { service: missing.clone() },
        false => Error::UnknownService {
            names: services.iter().filter(|name| !known.contains(*name)).cloned().collect(),
            known: known.iter().cloned().collect(),
        },
    })
}

/// What is known of the containers that exist: from the files where these can be compiled, else from labels.
async fn specs(
    session: &Session,
    platform: &PlatformName,
    loaded: Option<&Loaded>,
    observed: &Observed,
) -> Result<Vec<ContainerSpec>, Error> {
    let mut specs = match loaded {
        None => Vec::new(),
        Some(loaded) => match survey(session, loaded).await {
            Ok(survey) => survey.resources.containers,
            Err(error @ (Error::Engine(_) | Error::NoEngine(_) | Error::Cancelled)) => return Err(error),
            Err(error) => {
                session.events.warn(format!("going by the labels of the containers: {error}"));
                Vec::new()
            }
        },
    };
    specs.retain(|spec| observed.container(&spec.name).is_some());
    let labelled = plan::labelled_specs(platform.as_str(), observed);
    specs.extend(labelled.into_iter().filter(|one| specs.iter().all(|spec| spec.name != one.name)).collect::<Vec<_>>());
    Ok(specs)
}
