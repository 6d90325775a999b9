//! How services are: what `status`, `top`, `ls` and the last screen of `up` say of each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::addresses::{addresses, urls};
use super::condition::{
    Condition, Context, by_labels, by_spec, condition, seconds_in, service_of, trouble_of, worst_health,
};
use crate::app::survey::Survey;
use crate::app::usage::Rates;
use crate::compile::container_name;
use crate::model::{
    Condition as Until, ContainerSpec, ContainerState, Health, ObservedContainer, Origin, Platform, Role, Service,
    Stack, label, macula,
};
use crate::plan::{ImageSource, Reason};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceStatus {
    pub name: String,
    pub stack: String,
    pub state: ServiceState,
    pub replicas: Replicas,
    /// The worst of its containers'.
    pub health: Health,
    pub image: Option<String>,
    /// `image` or `build`
    pub image_source: Option<ImageSource>,
    pub urls: Vec<String>,
    pub addresses: Vec<String>,
    pub container: Option<String>,
    pub reason: Option<String>,
    /// The same of one that is left out, as far as it is known.
    #[serde(skip)]
    pub left_out: Option<Reason>,
    /// What is really the matter, told apart more finely than by `state` and `health`.
    pub condition: Condition,
    /// Seconds since it came into this condition, where that is known.
    pub seconds: Option<u64>,
    /// How often the engine has started it again by itself.
    pub restarts: i64,
    pub exit_code: Option<i64>,
    /// What a build gives instead of the image that the stack names.
    pub note: Option<String>,
    /// From one of the user's own stacks.
    pub own: bool,
    /// What it waits for, and until when; of a service whose stack is not at hand the names alone.
    pub needs: BTreeMap<String, Option<Until>>,
    /// A job of a built-in service: see [`Platform::is_helper`].
    #[serde(skip)]
    pub helper: bool,
    /// Only where it was asked for, of services that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
}

/// How many containers a service has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Replicas {
    pub running: usize,
    /// None: its stack is not at hand.
    pub wanted: Option<usize>,
}

impl Replicas {
    /// `3/3`, of a service of which there are several; none where one is wanted, and where not all of them run, which is
    /// its reason.
    pub fn shown(self) -> Option<String> {
        let Self { running, wanted } = self;
        wanted.filter(|wanted| running > 1 && running >= *wanted).map(|wanted| format!("{running}/{wanted}"))
    }
}

/// What there is of a service's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Running,
    /// Not all of its containers run.
    Stopped,
    /// It has no container.
    Missing,
    /// It has none, since its image is not available here.
    LeftOut,
}

/// What the containers of a service use at this moment, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct UsageStatus {
    /// 100 is one core.
    pub cpu_percent: f64,
    /// Bytes, without the page cache.
    pub memory: u64,
    /// Bytes; the machine's memory where no limit is set.
    pub memory_limit: u64,
}

impl From<Rates> for UsageStatus {
    fn from(rates: Rates) -> Self {
        let Rates { cpu_percent, memory, memory_limit, .. } = rates;
        Self { cpu_percent, memory, memory_limit }
    }
}

/// A row for each service that has containers, from what the engine says of these alone. `specs`: as far as it is known
/// what they are to be like.
pub(super) fn by_containers<'a>(
    containers: impl Iterator<Item = &'a ObservedContainer>,
    specs: &[ContainerSpec],
    context: &Context,
) -> Vec<ServiceStatus> {
    let ours = containers.filter(|found| found.label(label::SERVICE).is_some());
    let mut rows: Vec<ServiceStatus> = Vec::new();
    for found in ours.filter(|found| found.label(label::RELAY).is_none()) {
        let spec = specs.iter().find(|spec| spec.name == found.name);
        let condition = spec.map_or_else(|| by_labels(found, context), |spec| by_spec(spec, found, context));
        let row = ServiceStatus { condition, reason: None, ..orphan(found, context, &|_| true) };
        // of several containers the one in the worst condition speaks for all
        match rows.iter_mut().find(|other| other.name == row.name) {
            Some(other) => {
                let restarts = other.restarts + row.restarts;
                let running = other.replicas.running + row.replicas.running;
                if row.condition < other.condition {
                    *other = row;
                }
                (other.restarts, other.replicas.running) = (restarts, running);
            }
            None => rows.push(row),
        }
    }
    rows
}

/// How many services run, and how many have a container and are to run: a job that is done is not missing.
/// `stopped`: those that the user has stopped.
pub(super) fn count_services<'a>(
    containers: impl Iterator<Item = &'a ObservedContainer>,
    stopped: BTreeSet<String>,
) -> (usize, usize) {
    // ages are of no interest here
    let rows = by_containers(containers, &[], &Context { stopped, ..Context::default() });
    let of = |wanted: &dyn Fn(Condition) -> bool| rows.iter().filter(|row| wanted(row.condition)).count();
    (of(&Condition::runs_well), of(&|condition| condition != Condition::Finished))
}

pub(super) fn rows(platform: &Platform, survey: &Survey, incomplete: bool, context: &Context) -> Vec<ServiceStatus> {
    let mut absences: BTreeMap<&str, Absence<'_>> =
        survey.supply.left_out.iter().map(|left| (left.service.as_str(), Absence::LeftOut(&left.reason))).collect();
    for problem in &survey.problems {
        let text = problem.reason().map_or_else(|| problem.to_string(), ToString::to_string);
        absences.insert(problem.service(), Absence::Unavailable(text));
    }
    let mut rows: Vec<ServiceStatus> =
        platform.services().map(|(stack, service)| row(platform, survey, &absences, stack, service, context)).collect();
    if !serves_pages(platform, survey) {
        // nobody would answer there
        rows.iter_mut().for_each(|row| row.urls.clear());
    }
    let orphans = survey.observed.containers.iter().filter(|found| {
        found.label(label::PLATFORM) == Some(platform.name.as_str())
            && found.label(label::RELAY).is_none()
            && found.label(label::SERVICE).is_some_and(|name| rows.iter().all(|row| row.name != name))
    });
    let loaded = |stack: &str| platform.stacks.iter().any(|own| own.name == stack);
    let orphans: Vec<ServiceStatus> = orphans.map(|found| orphan(found, context, &loaded)).collect();
    rows.extend(orphans);
    // what somebody else's platform is to be like stands in somebody else's files
    if incomplete || survey.foreign.is_some() {
        for row in rows.iter_mut().filter(|row| row.condition == Condition::Unclaimed) {
            let found = row.container.as_ref().and_then(|name| survey.observed.container(name));
            row.condition = found.map_or(Condition::Unclaimed, |found| by_labels(found, context));
            row.reason = None;
        }
        // what is known of built-in services without the files is what the last `up` found out: the files may have
        // switched off the rest
        rows.retain(|row| match row.condition {
            Condition::Missing => false,
            Condition::LeftOut => survey.choices.refused.contains_key(&row.name),
            _ => true,
        });
    }
    rows
}

/// Why an `up` makes no container of a service.
enum Absence<'a> {
    /// It is done without.
    LeftOut(&'a Reason),
    /// It is needed, so that the `up` fails.
    Unavailable(String),
}

/// The ingress runs, by which all pages are reached.
fn serves_pages(platform: &Platform, survey: &Survey) -> bool {
    let ingress = platform.services().filter(|(_, service)| service.extension.role == Some(Role::Ingress));
    let names = ingress.flat_map(|(_, service)| {
        (1..=service.replicas).map(|replica| container_name(platform, service, replica)).collect::<Vec<_>>()
    });
    let runs =
        |name: String| survey.observed.container(&name).is_some_and(|found| found.state == ContainerState::Running);
    names.into_iter().any(runs)
}

/// A container of the platform whose service no stack names.
fn orphan(found: &ObservedContainer, context: &Context, loaded: &dyn Fn(&str) -> bool) -> ServiceStatus {
    let running = found.state == ContainerState::Running;
    let claim = match found.label(label::STACK) {
        Some(stack) if !loaded(stack) => {
            let up = macula("up --remove-orphans").line(&context.invocation);
            format!("its stack {stack} is not loaded; `{up}` would remove it")
        }
        _ => {
            let up = macula("up").line(&context.invocation);
            format!("not in any loaded stack or active profile; `{up}` would remove it")
        }
    };
    // its stack is not at hand, so that only what the engine saw can be told
    let trouble = match found.state {
        ContainerState::Restarting => Some(Condition::Restarting),
        ContainerState::Running if found.keeps_ending() => Some(Condition::Restarting),
        ContainerState::Running if found.health == Health::Unhealthy => Some(Condition::Unhealthy),
        ContainerState::Exited | ContainerState::Dead if found.oom_killed => Some(Condition::OutOfMemory),
        ContainerState::Exited | ContainerState::Dead
            if found.exit_code.is_some_and(|code| code != 0) && !context.stopped.contains(service_of(found)) =>
        {
            Some(Condition::Crashed)
        }
        ContainerState::Created if found.never_ran() => Some(Condition::Crashed),
        ContainerState::Exited if found.exit_code == Some(0) && found.label(label::ONE_SHOT) == Some("true") => {
            Some(Condition::Finished)
        }
        _ => None,
    };
    let why = trouble.map(|condition| trouble_of(found, condition)).filter(|why| !why.is_empty());
    ServiceStatus {
        name: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        stack: found.label(label::STACK).unwrap_or_default().to_owned(),
        state: if running { ServiceState::Running } else { ServiceState::Stopped },
        replicas: Replicas { running: usize::from(running), wanted: None },
        health: if running { found.health } else { Health::None },
        image: Some(found.image.clone()),
        image_source: None,
        urls: Vec::new(),
        addresses: Vec::new(),
        container: Some(found.name.clone()),
        reason: Some(why.map_or(claim.clone(), |why| format!("{why}; {claim}"))),
        left_out: None,
        condition: trouble.unwrap_or(Condition::Unclaimed),
        seconds: seconds_in(found, context.now),
        restarts: found.restart_count,
        exit_code: found.exit_code,
        note: None,
        own: true,
        needs: needs_by_label(found),
        helper: false,
        usage: None,
    }
}

fn row(
    platform: &Platform,
    survey: &Survey,
    absences: &BTreeMap<&str, Absence<'_>>,
    stack: &Stack,
    service: &Service,
    context: &Context,
) -> ServiceStatus {
    // the ingress may have more of them than its file says
    let mut names: Vec<String> =
        (1..=service.replicas).map(|replica| container_name(platform, service, replica)).collect();
    for spec in survey.resources.containers.iter().filter(|spec| spec.service == service.name) {
        if !names.contains(&spec.name) {
            names.push(spec.name.clone());
        }
    }
    let found: Vec<&ObservedContainer> = names
        .iter()
        .filter_map(|name| survey.observed.container(name))
        .filter(|found| found.label(label::PLATFORM) == Some(platform.name.as_str()))
        .collect();
    let running = found.iter().filter(|found| found.state == ContainerState::Running).count();
    let (left_out, unavailable) = match absences.get(service.name.as_str()) {
        Some(Absence::LeftOut(reason)) => (Some(*reason), None),
        Some(Absence::Unavailable(text)) => (None, Some(text)),
        None => (None, None),
    };
    let done = survey.done_task(&service.name);
    let state = match (found.len(), running) {
        (0, _) if left_out.is_some() => ServiceState::LeftOut,
        (0, _) if done.is_some() => ServiceState::Stopped,
        (0, _) => ServiceState::Missing,
        (all, up) if all == up => ServiceState::Running,
        _ => ServiceState::Stopped,
    };
    let health = match running {
        0 => Health::None,
        _ if found.iter().any(|found| found.keeps_ending()) => Health::Unhealthy,
        _ => worst_health(&found),
    };
    let first = found.first();
    let source = first.map(|found| source_of(survey, service, found));
    let unhooked = |found: &ObservedContainer, condition: Condition| {
        condition.runs() && survey.observed.unhooked.contains(&found.name)
    };
    // of several containers the one in the worst condition speaks for all
    let worst = found
        .iter()
        .map(|found| match condition(survey, service, found, context) {
            condition if unhooked(found, condition) => (Condition::Unhealthy, *found),
            condition => (condition, *found),
        })
        .min_by_key(|(condition, _)| *condition);
    let condition = match worst {
        Some((condition, _)) => condition,
        None if left_out.is_some() => Condition::LeftOut,
        None if done.is_some() => Condition::Finished,
        None if is_missed(platform, survey, service, unavailable.is_some()) => Condition::Gone,
        None => Condition::Missing,
    };
    let worst = worst.map(|(_, found)| found);
    let wanted = match survey.resources.containers.iter().filter(|spec| spec.service == service.name).count() {
        // nothing is compiled of one that is left out, whose containers may run on
        0 => usize::try_from(service.replicas).unwrap_or(usize::MAX),
        compiled => compiled,
    };
    // those too of which there are too many now
    let own = survey.observed.containers.iter();
    let own = own.filter(|found| found.replica_of(platform.name.as_str()) == Some(service.name.as_str()));
    ServiceStatus {
        name: service.name.clone(),
        stack: stack.name.clone(),
        state,
        replicas: Replicas {
            running: own.filter(|found| found.state == ContainerState::Running).count(),
            wanted: Some(wanted),
        },
        health,
        image: first.map(|found| found.image.clone()).or_else(|| service.image.clone()),
        image_source: source,
        urls: if state == ServiceState::Running { urls(platform, service, survey.tls()) } else { Vec::new() },
        addresses: if state == ServiceState::Running { addresses(survey, service) } else { Vec::new() },
        container: first.map(|found| found.name.clone()),
        reason: match worst {
            Some(worst) if unhooked(worst, condition) => {
                let up = macula("up").line(&context.invocation);
                Some(format!("its `post_start` has not run well; `{up}` runs it again"))
            }
            Some(worst) => reason(service, running, wanted, worst, condition),
            None if condition == Condition::Gone => Some(match unavailable {
                Some(why) => format!("its container was removed; {why}"),
                None => "its container was removed".to_owned(),
            }),
            None => left_out.map(ToString::to_string).or_else(|| unavailable.cloned()),
        },
        left_out: left_out.filter(|_| condition == Condition::LeftOut).cloned(),
        condition,
        seconds: match (worst, done) {
            (Some(found), _) => seconds_in(found, context.now),
            (None, Some(run)) => u64::try_from(context.now - run.finished).ok(),
            (None, None) => None,
        },
        restarts: found.iter().map(|found| found.restart_count).sum(),
        exit_code: worst.and_then(|found| found.exit_code),
        note: service.extension.build_note.clone().filter(|_| source == Some(ImageSource::Build)),
        own: stack.origin != Origin::BuiltIn,
        needs: service.depends_on.iter().map(|(name, need)| (name.clone(), Some(need.condition))).collect(),
        helper: platform.is_helper(&service.name),
        usage: None,
    }
}

/// It was brought up and not taken down. Nobody misses a job: what it had to do may be done.
fn is_missed(platform: &Platform, survey: &Survey, service: &Service, unavailable: bool) -> bool {
    let specs: Vec<&ContainerSpec> =
        survey.resources.containers.iter().filter(|spec| spec.service == service.name).collect();
    survey.brought.contains(&service.name)
        && !service.extension.once
        // `scale: 0` is no loss; nothing is compiled of what is unavailable
        && (!specs.is_empty() || (unavailable && service.replicas > 0 && !platform.is_job(service)))
        && !specs.iter().any(|spec| spec.readiness.one_shot)
}

fn needs_by_label(found: &ObservedContainer) -> BTreeMap<String, Option<Until>> {
    let names = found.label(label::DEPENDS_ON).unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names.map(|name| (name.to_owned(), None)).collect()
}

fn source_of(survey: &Survey, service: &Service, found: &ObservedContainer) -> ImageSource {
    let built = survey
        .resources
        .images
        .iter()
        .filter_map(|spec| spec.services.contains(&service.name).then_some(spec.build.as_ref()).flatten());
    let repository =
        |reference: &str| reference.rsplit_once(':').map_or(reference.to_owned(), |(name, _)| name.to_owned());
    let mut built = built.map(|build| repository(&build.tag));
    if built.any(|tag| tag == repository(&found.image)) { ImageSource::Build } else { ImageSource::Image }
}

/// What is to be said beyond the condition.
fn reason(
    service: &Service,
    running: usize,
    all: usize,
    worst: &ObservedContainer,
    condition: Condition,
) -> Option<String> {
    let why = match (trouble_of(worst, condition), &service.extension.task) {
        (why, Some(_)) if condition == Condition::Crashed => format!("the task failed: {why}"),
        (why, _) => why,
    };
    let count =
        (all > 1 && running < all && condition != Condition::Finished).then(|| format!("{running} of {all} run"));
    let parts: Vec<String> = count.into_iter().chain(Some(why).filter(|why| !why.is_empty())).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{Agrees, session, shop};
    use crate::app::{UpOptions, status, up};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::plan::SupplyProblem;

    #[tokio::test]
    async fn the_containers_of_a_service_are_counted() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let stack = "services: {web: {image: 'acme/web:1', deploy: {replicas: 3}}, one: {image: 'acme/web:1'}}\n";
        let loaded = shop(&host, "", stack);
        let session = session(host, &engine, "macula status");
        let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
        up(&session, &loaded, &options, &Agrees).await.unwrap();
        let row = async |name: &str| {
            let rows = status(&session, &loaded).await.unwrap().services;
            let row = rows.into_iter().find(|row| row.name == name).unwrap();
            (row.replicas, row.replicas.shown(), row.reason.unwrap_or_default())
        };
        let of = |running, wanted| Replicas { running, wanted: Some(wanted) };
        assert_eq!(row("web").await, (of(3, 3), Some("3/3".to_owned()), String::new()));
        assert_eq!(row("one").await, (of(1, 1), None, String::new()));
        engine.stop_by_hand("macula-shop-web-2");
        let (replicas, shown, reason) = row("web").await;
        assert_eq!((replicas, shown), (of(2, 3), None));
        assert!(reason.starts_with("2 of 3 run"), "{reason}");
        // of those that are too many all are told
        assert_eq!(of(3, 2).shown().as_deref(), Some("3/2"));
        assert_eq!(Replicas { running: 3, wanted: None }.shown(), None);
        let glance = crate::app::status_at_a_glance(&session, &loaded).await.unwrap();
        let web = glance.iter().find(|row| row.name == "web").unwrap();
        assert_eq!(web.replicas, Replicas { running: 2, wanted: None });
        engine.remove_by_hand("macula-shop-one-1");
        let rows = Box::pin(status(&session, &loaded)).await.unwrap().services;
        let one = rows.iter().find(|row| row.name == "one").unwrap();
        assert_eq!((one.state, one.condition), (ServiceState::Missing, Condition::Gone));
        // what an `up` fails for is not left out
        let mut survey = Box::pin(crate::app::survey::survey(&session, &loaded)).await.unwrap();
        survey.problems = vec![SupplyProblem::NoImage { service: "one".into(), reason: "no such image".into() }];
        survey.resources.containers.retain(|spec| spec.service != "one");
        let told = |survey: &Survey| {
            let rows = super::rows(&loaded.platform, survey, false, &Context::default());
            let one = rows.into_iter().find(|row| row.name == "one").unwrap();
            (one.state, one.condition, one.reason.unwrap_or_default(), one.left_out.is_some())
        };
        let reason = "its container was removed; no such image".to_owned();
        assert_eq!(told(&survey), (ServiceState::Missing, Condition::Gone, reason, false));
        survey.brought.clear();
        let reason = "no such image".to_owned();
        assert_eq!(told(&survey), (ServiceState::Missing, Condition::Missing, reason, false));
        // what is there of the platform and in no stack has a row, but for the relay
        let stray = |service: &str, relay: bool| {
            let labels = [
                (label::PLATFORM, Some("shop")),
                (label::SERVICE, Some(service)),
                (label::RELAY, relay.then_some("true")),
            ];
            let labels =
                labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
            ObservedContainer { name: format!("macula-shop-{service}-9"), labels, ..ObservedContainer::default() }
        };
        let engine = engine.with_container(stray("old", false)).with_container(stray("relay", true));
        drop(engine.with_container(stray("web", false)));
        let rows = Box::pin(status(&session, &loaded)).await.unwrap().services;
        let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["old", "one", "web"]);
    }

    #[tokio::test]
    async fn pages_are_served_while_the_container_of_an_ingress_runs() {
        let stack = "services:\n  gate: {image: 'acme/gate:1', x-macula: {role: ingress}}\n  \
                     web: {image: 'acme/web:1', x-macula: {ingress: [{host: web, port: 80}]}}\n";
        let served = async |service: &str, state| {
            let host = FakeHost::new();
            let loaded = shop(&host, "", stack);
            let found = ObservedContainer {
                name: format!("macula-shop-{service}-1"),
                state,
                labels: [(label::PLATFORM, "shop"), (label::SERVICE, service)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ..ObservedContainer::default()
            };
            let engine = FakeEngine::new().with_container(found);
            let session = session(host, &engine, "macula status");
            let survey = Box::pin(crate::app::survey::survey(&session, &loaded)).await.unwrap();
            serves_pages(&loaded.platform, &survey)
        };
        assert!(served("gate", ContainerState::Running).await);
        assert!(!served("gate", ContainerState::Exited).await);
        assert!(!served("web", ContainerState::Running).await);
    }

    #[test]
    fn of_several_containers_the_worst_speaks_for_all() {
        let found = |name: &str, service: Option<&str>, code: Option<i64>, restart_count| ObservedContainer {
            name: name.into(),
            state: if code.is_some() { ContainerState::Exited } else { ContainerState::Running },
            exit_code: code,
            restart_count,
            labels: service.map(|service| (label::SERVICE.to_owned(), service.to_owned())).into_iter().collect(),
            ..ObservedContainer::default()
        };
        let mut relay = found("relay-1", Some("relay"), None, 0);
        relay.labels.insert(label::RELAY.to_owned(), "true".to_owned());
        let all = [
            found("web-1", Some("web"), None, 1),
            found("web-2", Some("web"), Some(3), 2),
            found("web-3", Some("web"), None, 0),
            // as bad as another one
            found("web-4", Some("web"), Some(4), 2),
            found("db-1", Some("db"), None, 0),
            found("nobodys", None, Some(1), 0),
            relay,
        ];
        let rows = by_containers(all.iter(), &[], &Context::default());
        let told = |row: &ServiceStatus| {
            let container = row.container.clone().unwrap_or_default();
            (row.name.clone(), row.condition, container, row.exit_code, row.restarts, row.replicas.running)
        };
        assert_eq!(
            rows.iter().map(told).collect::<Vec<_>>(),
            [
                ("web".to_owned(), Condition::Crashed, "web-2".to_owned(), Some(3), 5, 2),
                ("db".to_owned(), Condition::Running, "db-1".to_owned(), None, 0, 1),
            ]
        );
        assert!(rows.iter().all(|row| row.reason.is_none()));
        // what it is to be like tells more than the engine does
        let mut spec = ContainerSpec { name: "web-2".into(), service: "web".into(), ..ContainerSpec::default() };
        spec.options.restart = crate::model::Restart::Always;
        let rows = by_containers(all[1..2].iter(), &[spec], &Context::default());
        assert_eq!(rows[0].condition, Condition::Stopped);
    }

    #[test]
    fn what_no_stack_names_is_told_by_what_the_engine_says() {
        let found = ObservedContainer {
            name: "macula-old-1".into(),
            state: ContainerState::Created,
            error: "no such program".into(),
            labels: [(label::SERVICE, "old"), (label::STACK, "gone"), (label::DEPENDS_ON, "a,b")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..ObservedContainer::default()
        };
        let told = |found: &ObservedContainer| orphan(found, &Context::default(), &|_| false);
        let row = told(&found);
        assert_eq!((row.condition, row.state), (Condition::Crashed, ServiceState::Stopped));
        let reason = row.reason.unwrap();
        assert!(reason.starts_with("no such program; its stack gone is not loaded"), "{reason}");
        assert_eq!(row.needs.into_iter().collect::<Vec<_>>(), [("a".to_owned(), None), ("b".to_owned(), None)]);
        let unstarted = ObservedContainer { error: String::new(), labels: BTreeMap::new(), ..found };
        let row = told(&unstarted);
        assert_eq!((row.condition, row.needs.len()), (Condition::Unclaimed, 0));
        let job = ObservedContainer {
            state: ContainerState::Exited,
            exit_code: Some(0),
            labels: [(label::ONE_SHOT.to_owned(), "true".to_owned())].into(),
            ..unstarted
        };
        assert_eq!(told(&job).condition, Condition::Finished);
        let failed = ObservedContainer { exit_code: Some(1), ..job };
        assert_eq!(told(&failed).condition, Condition::Crashed);
    }

    #[test]
    fn what_has_ended_as_it_should_is_not_counted_as_missing() {
        let found = |service: &str, state, exit_code, job: bool| ObservedContainer {
            name: format!("macula-{service}-1"),
            state,
            exit_code,
            labels: [(label::SERVICE, service), (label::ONE_SHOT, if job { "true" } else { "false" })]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..ObservedContainer::default()
        };
        let all = [
            found("web", ContainerState::Running, None, false),
            found("db", ContainerState::Exited, Some(0), false),
            found("init", ContainerState::Exited, Some(0), true),
            found("broken", ContainerState::Exited, Some(1), true),
        ];
        assert_eq!(count_services(all.iter(), BTreeSet::from(["db".to_owned()])), (1, 3));
    }
}
