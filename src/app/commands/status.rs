//! `status`: the platform as it is, against what is wanted. Never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::app::cluster::join::{self, Joined};
use crate::app::cluster::status::{self as cluster, ClusterStatus, ask};
use crate::app::reach::lost;
use crate::app::resolver::{self, DnsStatus};
use crate::app::survey::{Survey, survey_to_tell};
use crate::app::usage::{Meter, Subject, rates, running};
use crate::app::{Error, Session};
use crate::compile::service_volumes;
use crate::config::Loaded;
use crate::daemon::reach::look_again;
use crate::engine::Engine;
use crate::model::{Health, ObservedContainer, Platform, PlatformName, Way, label};
use crate::observe;
use crate::plan::{Action, LeftOut, Plan, Step, Unheeded, unheeded};
use crate::probe::{self, Answer};

use super::condition::{Condition, Context};
use super::process_status::{ProcessStanding, ProcessStatus, process_rows};
use super::processes::planned_processes;
use super::service_status::{ServiceState, ServiceStatus, UsageStatus, by_containers, rows};
use super::task::{TaskRow, TaskState, task_rows};

/// Why there is no cluster, where nobody misses it.
pub const NO_CLUSTER: &str = "the last `up` had `--no-cluster`";

/// Why the addresses of a platform lead nowhere.
const LOST: &str = "the file that says what is passed on is missing";

/// The contract of `status -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub platform: PlatformStatus,
    pub services: Vec<ServiceStatus>,
    /// Programs of this machine.
    pub processes: Vec<ProcessStatus>,
    /// Tasks of the stacks and of macula.yaml.
    pub tasks: Vec<TaskRow>,
    pub dns: DnsStatus,
    pub reach: ReachStatus,
    pub cluster: ClusterStatus,
    /// What `up` would do now; empty when there is no drift.
    pub drift: Vec<String>,
    /// Services that run, or should, and that `up` would change.
    pub changes: Vec<String>,
    /// What the files ask for and `up` leaves as it is, since data depends on it.
    pub unheeded: Vec<Unheeded>,
}

/// How the platform's addresses lead to its services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReachStatus {
    pub way: Way,
    /// Ports that are passed on, where the engine publishes none here.
    pub ports: usize,
    /// Why they are not reached.
    pub problem: Option<String>,
}

/// How many services and processes are how: what stands at the head wherever they are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub running: usize,
    pub failing: usize,
    /// Brought up, and removed by somebody.
    pub gone: usize,
    /// By the user.
    pub stopped: usize,
    pub paused: usize,
    /// Made and not started: by a run that was interrupted.
    pub never_started: usize,
}

impl Counts {
    /// The services and the processes that count as running.
    pub fn running(services: &[ServiceStatus], processes: &[ProcessStatus]) -> (usize, usize) {
        let runs = |row: &&ServiceStatus| match row.condition {
            Condition::Unclaimed => row.state == ServiceState::Running,
            condition => condition.runs_well(),
        };
        (services.iter().filter(runs).count(), processes.iter().filter(|row| row.runs()).count())
    }

    pub fn of(services: &[ServiceStatus], processes: &[ProcessStatus], tasks: &[TaskRow]) -> Self {
        let count = |wanted: &dyn Fn(&ServiceStatus) -> bool| services.iter().filter(|row| wanted(row)).count();
        let of_processes = |wanted: &dyn Fn(&ProcessStatus) -> bool| processes.iter().filter(|row| wanted(row)).count();
        let running = Self::running(services, processes);
        // a task of a service has a container, and is counted with the services
        let tasks = tasks.iter().filter(|row| row.service.is_none() && row.state == TaskState::Failed).count();
        Self {
            running: running.0 + running.1,
            failing: count(&|row| row.condition.is_problem() && row.condition != Condition::Gone)
                + of_processes(&ProcessStatus::is_problem)
                + tasks,
            gone: count(&|row| row.condition == Condition::Gone),
            stopped: count(&|row| row.condition == Condition::Stopped)
                + of_processes(&|row| row.state == ProcessStanding::Stopped),
            paused: count(&|row| row.condition == Condition::Paused),
            never_started: count(&|row| row.condition == Condition::Created),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlatformStatus {
    pub name: String,
    pub domain: String,
    /// The user's files have errors: what is wanted is not known.
    pub incomplete: bool,
    /// Why its passwords could not be read: it is not known what an `up` would change.
    pub unread: Option<String>,
    /// Nothing of it is there but, perhaps, its data.
    pub down: bool,
    /// Of its data, whether it is up or down.
    pub volumes: usize,
    /// Whose it is, where that is another user or data folder.
    pub owner: Option<String>,
    /// The command that changes it just now.
    pub at_work: Option<String>,
    /// Seconds that its oldest service has run.
    pub up_seconds: Option<u64>,
    /// The engines that it was brought up on, where the one that was asked is none of them.
    #[serde(skip)]
    pub elsewhere: BTreeSet<String>,
}

/// Looks at everything and asks every service how it is.
pub async fn status(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    look(session, loaded).await
}

/// What the engine's lists say of the platform's containers, without asking any of them how it is.
pub async fn status_at_a_glance(session: &Session, loaded: &Loaded) -> Result<Vec<ServiceStatus>, Error> {
    let engine = session.engine()?;
    let seen = observe::ours_at_a_glance(&*engine, &loaded.platform.name).await?;
    let stopped = session.state(&loaded.platform.name).stopped(session.host()).await?;
    let context = Context { now: session.host().now(), stopped, invocation: session.invocation.clone() };
    Ok(by_containers(seen.containers.iter(), &[], &context))
}

/// For a health check that is asked for its reason.
const PATIENCE: Duration = Duration::from_secs(3);
/// Letters of what it says.
const SAID: usize = 100;
/// Least time between the two readings of a counter.
const APART: Duration = Duration::from_millis(250);

/// Like [`status`], with CPU and memory of every service that runs. The counters are read before and
/// after the look at everything else, of all containers at once.
pub async fn status_with_usage(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    let (engine, host) = (session.engine()?, session.host());
    let first = async {
        let running = running(ours(&*engine, &loaded.platform.name).await.unwrap_or_default());
        let mut meter = Meter::new(host);
        let sample = meter.sample(&*engine, host, &running, &[]).await;
        (running, meter, sample)
    };
    let ((running, mut meter, first), looked) = tokio::join!(first, look(session, loaded));
    let mut status = looked?;
    tokio::time::sleep(APART.saturating_sub(first.at.elapsed())).await;
    let second = meter.sample(&*engine, host, &running, &[]).await;
    let mut used = rates(&first, &second);
    for row in &mut status.services {
        row.usage = used.remove(&Subject::Service(row.name.clone())).map(UsageStatus::from);
    }
    Ok(status)
}

/// All containers of the platform.
pub(super) async fn ours(engine: &dyn Engine, platform: &PlatformName) -> Result<Vec<ObservedContainer>, Error> {
    Ok(engine.labelled(&format!("{}={platform}", label::PLATFORM)).await?)
}

async fn look(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    session.check_known(&loaded.platform.name).await?;
    let (survey, dns) = tokio::join!(survey_to_tell(session, loaded), resolver::look(session, &loaded.platform));
    let survey = survey?;
    let context = Context::of(session, &survey).await?;
    let planned = Planned { incomplete: loaded.incomplete, ..Planned::default() };
    let mut status = status_of(&loaded.platform, &survey, &planned, dns, &context);
    let held = session.state(&loaded.platform.name).at_work(session.host()).await;
    status.platform.at_work = held.map(|held| held.to_string());
    status.platform.elsewhere = session.engines_elsewhere(&loaded.platform.name).await.unwrap_or_default();
    status.reach = reach(session, &survey, !status.platform.down).await;
    let asked: Vec<_> = status.services.iter_mut().map(|row| say_why(session, &survey, row)).collect();
    join_all(asked).await;
    status.processes = process_rows(session, loaded, Some(&survey)).await;
    if survey.foreign.is_none() && survey.unread.is_none() {
        let steps = planned_processes(session, loaded, None, false, &survey.supply.left_out).await?;
        status.drift.extend(steps.iter().map(|step| format!("process {} ({})", step.name, step.cause())));
        status.changes.extend(steps.into_iter().map(|step| step.name));
    }
    ask(session, &survey, None, &mut status.cluster).await?;
    Ok(status)
}

/// What the check of an unhealthy service says, asked once more: the engine's list has only that it fails.
async fn say_why(session: &Session, survey: &Survey, row: &mut ServiceStatus) {
    if row.condition != Condition::Unhealthy {
        return;
    }
    let unhealthy = |found: &&ObservedContainer| {
        found.label(label::SERVICE) == Some(row.name.as_str()) && found.health == Health::Unhealthy
    };
    let Some(found) = survey.observed.containers.iter().find(unhealthy) else { return };
    let Some(spec) = survey.resources.containers.iter().find(|spec| spec.name == found.name) else { return };
    let asked = probe::ask(&*survey.engine, session.host(), &survey.facts, spec, &spec.readiness, found);
    // one that hangs has said all there is
    let Ok(Ok(Answer::Not(said))) = tokio::time::timeout(PATIENCE, asked).await else { return };
    if let (Some(reason), Some(said)) = (&mut row.reason, in_a_line(&said)) {
        reason.push_str(": ");
        reason.push_str(&said);
    }
}

/// What a program has written, cut to what fits a line.
fn in_a_line(said: &str) -> Option<String> {
    let said = said.strip_prefix("health check: ").unwrap_or(said);
    let words: Vec<&str> = said
        .split(|letter: char| letter.is_control() || letter.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    let cut: String = line.chars().take(SAID).collect();
    match line.chars().count() > SAID {
        true => Some(format!("{cut}...")),
        false => Some(cut).filter(|line| !line.is_empty()),
    }
}

/// What the background process says of the platform's addresses. `up`: it should have something to say.
pub(super) async fn reach(session: &Session, survey: &Survey, up: bool) -> ReachStatus {
    if up && let Some(way) = lost(session, survey).await {
        return ReachStatus { way, ports: 0, problem: Some(LOST.to_owned()) };
    }
    let way = survey.reach.as_ref().map(|table| table.way).unwrap_or_default();
    if way == Way::Published || !up {
        return ReachStatus { way, ..ReachStatus::default() };
    }
    let socket = resolver::ResolverFiles::of(session.host()).reach();
    let (ports, problem) = match look_again(&socket, &survey.platform.name).await {
        Ok(passed) => {
            let failed = passed.failed.first().map(|(address, _, error)| format!("{address}: {error}"));
            (passed.listening, passed.broken.or(failed))
        }
        Err(_) => (0, Some("the background process that passes them on does not run".to_owned())),
    };
    ReachStatus { way, ports, problem }
}

/// What the plan of an `up` adds to a look at the world.
#[derive(Clone, Copy, Default)]
pub(super) struct Planned<'a> {
    pub left_out: &'a [LeftOut],
    pub cluster: Option<&'a Joined>,
    /// Steps that were carried out after the look.
    pub done: &'a [Step],
    /// The user's stacks could not be read.
    pub incomplete: bool,
}

/// From what was seen already. `platform`: with the services that are left out.
pub(super) fn status_of(
    platform: &Platform,
    survey: &Survey,
    planned: &Planned<'_>,
    dns: DnsStatus,
    context: &Context,
) -> Status {
    let services = rows(platform, survey, planned.incomplete, context);
    let mut changes = Vec::new();
    let mut tasks = Vec::new();
    let mut drift = match survey.reconcile(None, &BTreeSet::new(), false) {
        // whoever it belongs to has other passwords
        _ if survey.foreign.is_some() => Vec::new(),
        // nobody knows what is wanted
        _ if planned.incomplete => Vec::new(),
        // every service would get other passwords
        _ if survey.unread.is_some() => {
            tasks = task_rows(platform, survey, None, context.now);
            Vec::new()
        }
        Ok((mut plan, _)) => {
            plan.steps.retain(|step| planned.done.iter().all(|done| done.id != step.id));
            tasks = task_rows(platform, survey, Some(&plan), context.now);
            let there = |name: &str| {
                services
                    .iter()
                    .any(|row| row.name == name && !matches!(row.condition, Condition::Missing | Condition::LeftOut))
            };
            let changing = plan.steps.iter().filter(|step| is_change(step)).map(|step| step.group.clone());
            changes.extend(changing.filter(|group| there(group)));
            changes.sort();
            changes.dedup();
            drift(&plan)
        }
        Err(conflicts) => {
            tasks = task_rows(platform, survey, None, context.now);
            conflicts.iter().map(ToString::to_string).collect()
        }
    };
    drift.extend(planned.cluster.and_then(|joined| join::drift(survey, joined)));
    let Survey { resources, supply, observed, .. } = survey;
    let unheeded = match survey.foreign.is_some() || planned.incomplete {
        true => Vec::new(),
        false => {
            let wanted = &survey.platform;
            unheeded(wanted, resources, supply, observed, &|service| service_volumes(wanted, service))
        }
    };
    let left_out = planned.left_out.iter().find(|left| left.service == crate::plan::CLUSTER_GROUP);
    let left_out = left_out.map(|left| left.reason.to_string());
    // the last `up` was to leave it alone, so that one that is missing is missed by nobody
    let left_out = left_out.or(survey.leaves_cluster_alone().then(|| NO_CLUSTER.to_owned()));
    Status {
        platform: platform_status(platform, survey, planned.incomplete, &services),
        services,
        processes: Vec::new(),
        tasks,
        dns,
        reach: ReachStatus::default(),
        cluster: cluster::status_of(platform, &survey.cluster, left_out.as_deref()),
        drift,
        changes,
        unheeded,
    }
}

/// Of the platform as a whole.
pub(super) fn platform_status(
    platform: &Platform,
    survey: &Survey,
    incomplete: bool,
    services: &[ServiceStatus],
) -> PlatformStatus {
    let ours = |labels: &BTreeMap<String, String>| {
        labels.get(label::PLATFORM).map(String::as_str) == Some(platform.name.as_str())
    };
    PlatformStatus {
        name: platform.name.to_string(),
        domain: platform.domain.clone(),
        incomplete,
        unread: survey.unread.as_ref().map(ToString::to_string),
        down: !survey.observed.containers.iter().any(|found| ours(&found.labels)),
        volumes: survey.observed.volumes.iter().filter(|volume| ours(&volume.labels) && volume.holds_data()).count(),
        owner: survey.foreign.clone(),
        at_work: None,
        up_seconds: up_seconds(services),
        elsewhere: BTreeSet::new(),
    }
}

pub(super) fn up_seconds(services: &[ServiceStatus]) -> Option<u64> {
    services.iter().filter(|row| row.condition.runs()).filter_map(|row| row.seconds).max()
}

/// Services that are left out are no drift: the same `up` would leave them out again. Nor is waiting
/// for health: the service's own line says how it is.
fn drift(plan: &Plan) -> Vec<String> {
    plan.steps.iter().filter(|step| is_change(step)).map(|step| format!("{} ({})", step.id, step.cause)).collect()
}

fn is_change(step: &Step) -> bool {
    !matches!(step.action, Action::AwaitReady { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerState;

    #[test]
    fn what_fails_is_counted_wherever_it_stands() {
        let web = ObservedContainer {
            name: "macula-web-1".into(),
            state: ContainerState::Exited,
            exit_code: Some(1),
            labels: [(label::SERVICE.to_owned(), "web".to_owned())].into(),
            ..ObservedContainer::default()
        };
        let process = ProcessStatus {
            name: "api".into(),
            state: ProcessStanding::Crashed,
            pid: None,
            port: None,
            urls: Vec::new(),
            exit_code: Some(1),
            restarts: 0,
            seconds: None,
            reason: None,
            left_out: None,
            lost: false,
        };
        let task = |service: Option<&str>| TaskRow {
            name: "migrate".into(),
            service: service.map(str::to_owned),
            stack: None,
            job: "migrate".into(),
            state: TaskState::Failed,
            ended: None,
            exit_code: Some(3),
            due: None,
        };
        let services = by_containers([web].iter(), &[], &Context::default());
        // the task of a service is among those
        let counts = Counts::of(&services, &[process], &[task(None), task(Some("web"))]);
        assert_eq!(counts, Counts { failing: 3, ..Counts::default() });
    }

    #[test]
    fn a_platform_is_up_for_as_long_as_the_oldest_of_what_runs() {
        let found = |service: &str, state, started_at| ObservedContainer {
            name: format!("macula-shop-{service}-1"),
            state,
            started_at: Some(started_at),
            finished_at: Some(started_at),
            labels: [(label::SERVICE.to_owned(), service.to_owned())].into(),
            ..ObservedContainer::default()
        };
        let context = Context { now: 100, ..Context::default() };
        let up_for = |found: &[ObservedContainer]| up_seconds(&by_containers(found.iter(), &[], &context));
        let ended = found("db", ContainerState::Exited, 10);
        let all = [found("web", ContainerState::Running, 80), found("api", ContainerState::Running, 50), ended.clone()];
        assert_eq!(up_for(&all), Some(50));
        assert_eq!(up_for(&all[..1]), Some(20));
        assert_eq!(up_for(&[ended]), None);
        assert_eq!(up_for(&[]), None);
    }

    #[tokio::test]
    async fn a_relay_of_which_nothing_is_written_down_is_told() {
        use crate::app::reach::keep;
        use crate::app::survey::survey;
        use crate::app::testing::{session, shop};
        use crate::daemon::reach::Table;
        let host = crate::host::fake::FakeHost::new();
        let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1', ports: ['8081:80']}}");
        let relay = ObservedContainer {
            id: "f".repeat(64),
            name: crate::model::relay_name(&loaded.platform.name),
            state: ContainerState::Running,
            labels: [(label::PLATFORM.to_owned(), loaded.platform.name.to_string())].into(),
            ..ObservedContainer::default()
        };
        let engine = crate::engine::fake::FakeEngine::new().with_image("acme/web:1").with_container(relay);
        let session = session(host.clone(), &engine, "macula status");
        let seen = survey(&session, &loaded).await.unwrap();
        let told = ReachStatus { way: Way::Relay, ports: 0, problem: Some(LOST.to_owned()) };
        assert_eq!(reach(&session, &seen, true).await, told);
        assert_eq!(reach(&session, &seen, false).await, ReachStatus::default());
        keep(&host, seen.state.folder(), &Table::new(Way::Published, "macula-shop")).await.unwrap();
        let seen = survey(&session, &loaded).await.unwrap();
        assert_eq!(reach(&session, &seen, true).await, ReachStatus::default());
    }

    #[tokio::test]
    async fn the_containers_of_a_platform_bear_its_name() {
        let found = |name: &str, platform: &str| ObservedContainer {
            name: name.into(),
            labels: [(label::PLATFORM.to_owned(), platform.to_owned())].into(),
            ..ObservedContainer::default()
        };
        let engine = crate::engine::fake::FakeEngine::new()
            .with_container(found("a", "shop"))
            .with_container(found("b", "shop-2"))
            .with_container(found("c", "shop"));
        let all = ours(&engine, &PlatformName::new("shop").unwrap()).await.unwrap();
        assert_eq!(all.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let engine = engine.dies_after(0);
        assert!(ours(&engine, &PlatformName::new("shop").unwrap()).await.is_err());
    }

    #[test]
    fn what_a_check_says_is_one_line_without_control_characters() {
        assert_eq!(in_a_line("health check: \u{1b}connection\r\n refused\t").as_deref(), Some("connection refused"));
        assert_eq!(in_a_line("health check: \u{7}"), None);
        let long = in_a_line(&"x".repeat(SAID + 1)).unwrap();
        assert_eq!(long, format!("{}...", "x".repeat(SAID)));
    }
}
