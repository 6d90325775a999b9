//! `status`: the platform as it is, against what is wanted. Never writes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::compile::{container_name, fully_qualified, loopback_address};
use crate::config::Loaded;
use crate::model::{ContainerSpec, ContainerState, Health, ObservedContainer, Platform, Role, Service, Stack, label};
use crate::plan::{Action, ImageSource, LeftOut, Plan, Step, reconcile};

use crate::app::cluster::join::{self, Joined};
use crate::app::cluster::status::{self as cluster, ClusterStatus, ask};
use crate::app::resolver::{self, DnsStatus};
use crate::app::survey::{Survey, survey};
use crate::app::usage::{counters, cpu_percent};
use crate::app::{Error, Session};

/// The contract of `status -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub platform: PlatformStatus,
    pub services: Vec<ServiceStatus>,
    pub dns: DnsStatus,
    pub cluster: ClusterStatus,
    /// What `up` would do now; empty when there is no drift.
    pub drift: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlatformStatus {
    pub name: String,
    pub domain: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceStatus {
    pub name: String,
    pub stack: String,
    /// running, stopped, missing, left_out
    pub state: &'static str,
    /// healthy, unhealthy, starting, none
    pub health: &'static str,
    pub image: Option<String>,
    /// `image` or `build`
    pub image_source: Option<ImageSource>,
    pub urls: Vec<String>,
    pub addresses: Vec<String>,
    pub container: Option<String>,
    pub reason: Option<String>,
    /// Only where it was asked for, of services that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
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

/// Looks at everything and asks every service how it is.
pub async fn status(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    look(session, loaded).await
}

/// Least time between the two readings of a counter.
const APART: Duration = Duration::from_millis(250);

/// Like [`status`], with CPU and memory of every service that runs. The counters are read before and
/// after the look at everything else, of all containers at once.
pub async fn status_with_usage(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    let (engine, host) = (session.engine()?, session.host());
    let first = async {
        let ours = format!("{}={}", label::PLATFORM, loaded.platform.name);
        let mut running = engine.labelled(&ours).await.unwrap_or_default();
        running.retain(|found| found.state == ContainerState::Running);
        let counters = counters(&*engine, host, &running).await;
        (running, counters, Instant::now())
    };
    let ((running, first, read), looked) = tokio::join!(first, look(session, loaded));
    let mut status = looked?;
    tokio::time::sleep(APART.saturating_sub(read.elapsed())).await;
    let elapsed = read.elapsed();
    let second = counters(&*engine, host, &running).await;
    for ((found, first), second) in running.iter().zip(first).zip(second) {
        let (Some(service), Some(first), Some(second)) = (found.label(label::SERVICE), first, second) else { continue };
        if let Some(row) = status.services.iter_mut().find(|row| row.name == service) {
            let sum = row.usage.get_or_insert_default();
            sum.cpu_percent += cpu_percent(&first, &second, elapsed);
            sum.memory = sum.memory.saturating_add(second.memory);
            sum.memory_limit = sum.memory_limit.saturating_add(second.memory_limit);
        }
    }
    Ok(status)
}

async fn look(session: &Session, loaded: &Loaded) -> Result<Status, Error> {
    let (survey, dns) = tokio::join!(survey(session, loaded), resolver::look(session, &loaded.platform));
    let survey = survey?;
    let mut status = status_of(&loaded.platform, &survey, &Planned::default(), dns);
    ask(session, &survey, None, &mut status.cluster).await?;
    Ok(status)
}

/// What the plan of an `up` adds to a look at the world.
#[derive(Clone, Copy, Default)]
pub(super) struct Planned<'a> {
    pub left_out: &'a [LeftOut],
    pub cluster: Option<&'a Joined>,
    /// Steps that were carried out after the look.
    pub done: &'a [Step],
}

/// From what was seen already. `platform`: with the services that are left out.
pub(super) fn status_of(platform: &Platform, survey: &Survey, planned: &Planned<'_>, dns: DnsStatus) -> Status {
    let mut drift = match reconcile(&survey.wish(None), &survey.observed) {
        Ok(mut plan) => {
            plan.steps.retain(|step| planned.done.iter().all(|done| done.id != step.id));
            drift(&plan)
        }
        Err(conflicts) => conflicts.iter().map(ToString::to_string).collect(),
    };
    drift.extend(planned.cluster.and_then(|joined| join::drift(survey, joined)));
    let left_out = planned.left_out.iter().find(|left| left.service == crate::plan::CLUSTER_GROUP);
    Status {
        platform: PlatformStatus { name: platform.name.to_string(), domain: platform.domain.clone() },
        services: rows(platform, survey),
        dns,
        cluster: cluster::status_of(platform, &survey.cluster, left_out.map(|left| left.reason.as_str())),
        drift,
    }
}

/// Services that are left out are no drift: the same `up` would leave them out again. Nor is waiting
/// for health: the service's own line says how it is.
fn drift(plan: &Plan) -> Vec<String> {
    let changes = plan.steps.iter().filter(|step| !matches!(step.action, Action::AwaitReady { .. }));
    changes.map(|step| format!("{} ({})", step.id, step.cause)).collect()
}

fn rows(platform: &Platform, survey: &Survey) -> Vec<ServiceStatus> {
    let mut reasons: BTreeMap<&str, String> =
        survey.supply.left_out.iter().map(|left| (left.service.as_str(), left.reason.clone())).collect();
    for problem in &survey.problems {
        reasons.insert(problem.service(), problem.to_string());
    }
    let mut rows: Vec<ServiceStatus> =
        platform.services().map(|(stack, service)| row(platform, survey, &reasons, stack, service)).collect();
    let orphans = survey.observed.containers.iter().filter(|found| {
        found.label(label::PLATFORM) == Some(platform.name.as_str())
            && found.label(label::SERVICE).is_some_and(|name| rows.iter().all(|row| row.name != name))
    });
    let orphans: Vec<ServiceStatus> = orphans.map(orphan).collect();
    rows.extend(orphans);
    rows
}

/// A container of the platform whose service no stack names.
fn orphan(found: &ObservedContainer) -> ServiceStatus {
    let running = found.state == ContainerState::Running;
    ServiceStatus {
        name: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        stack: found.label(label::STACK).unwrap_or_default().to_owned(),
        state: if running { "running" } else { "stopped" },
        health: if running { worst_health(&[found]) } else { "none" },
        image: Some(found.image.clone()),
        image_source: None,
        urls: Vec::new(),
        addresses: Vec::new(),
        container: Some(found.name.clone()),
        reason: Some("no stack that was given names it: `macula up` would take it away".into()),
        usage: None,
    }
}

fn row(
    platform: &Platform,
    survey: &Survey,
    reasons: &BTreeMap<&str, String>,
    stack: &Stack,
    service: &Service,
) -> ServiceStatus {
    let names: Vec<String> = (1..=service.replicas).map(|replica| container_name(platform, service, replica)).collect();
    let found: Vec<&ObservedContainer> = names
        .iter()
        .filter_map(|name| survey.observed.container(name))
        .filter(|found| found.label(label::PLATFORM) == Some(platform.name.as_str()))
        .collect();
    let running = found.iter().filter(|found| found.state == ContainerState::Running).count();
    let left_out = reasons.get(service.name.as_str());
    let state = match (found.len(), running) {
        (0, _) if left_out.is_some() => "left_out",
        (0, _) => "missing",
        (all, up) if all == up => "running",
        _ => "stopped",
    };
    let health = match running {
        0 => "none",
        _ if found.iter().any(|found| found.keeps_ending()) => "unhealthy",
        _ => worst_health(&found),
    };
    let first = found.first();
    let source = first.map(|found| source_of(survey, service, found));
    ServiceStatus {
        name: service.name.clone(),
        stack: stack.name.clone(),
        state,
        health,
        image: first.map(|found| found.image.clone()).or_else(|| service.image.clone()),
        image_source: source,
        urls: if state == "running" { urls(platform, service, survey.tls()) } else { Vec::new() },
        addresses: if state == "running" { addresses(survey, service) } else { Vec::new() },
        container: first.map(|found| found.name.clone()),
        reason: reason(survey, service, &found, running, left_out, source),
        usage: None,
    }
}

fn worst_health(found: &[&ObservedContainer]) -> &'static str {
    let rank = |health: Health| match health {
        Health::Unhealthy => (3, "unhealthy"),
        Health::Starting => (2, "starting"),
        Health::Healthy => (1, "healthy"),
        Health::None => (0, "none"),
    };
    found.iter().map(|found| rank(found.health)).max().map_or("none", |(_, name)| name)
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

fn reason(
    survey: &Survey,
    service: &Service,
    found: &[&ObservedContainer],
    running: usize,
    left_out: Option<&String>,
    source: Option<ImageSource>,
) -> Option<String> {
    if found.is_empty() {
        return left_out.cloned();
    }
    if let Some(loops) = found.iter().find(|found| found.keeps_ending()) {
        return Some(format!("keeps ending: it was started again {} times", loops.restart_count));
    }
    if running == found.len() && found.len() < service.replicas as usize {
        return Some(format!("{running} of {} run", service.replicas));
    }
    if running == found.len() {
        // a build that is less than the image says so
        return service.extension.build_note.clone().filter(|_| source == Some(ImageSource::Build));
    }
    let ended = found.iter().find(|found| found.state != ContainerState::Running)?;
    let spec = survey.resources.containers.iter().find(|spec| spec.name == ended.name);
    let may_end = spec.is_some_and(ContainerSpec::may_end);
    let code = ended.exit_code.unwrap_or_default();
    let count = format!("{running} of {} run; ", found.len());
    let count = if found.len() > 1 { count } else { String::new() };
    let why = match ended.state {
        ContainerState::Created => "created, and never started".into(),
        ContainerState::Paused => "paused".into(),
        ContainerState::Restarting => format!("ended with {code}, starts again"),
        _ if code == 0 && may_end => "done".into(),
        _ if ended.oom_killed => "killed: it reached its memory limit".into(),
        _ => format!("ended with {code}"),
    };
    Some(if why == "done" { why } else { count + &why })
}

fn urls(platform: &Platform, service: &Service, tls: bool) -> Vec<String> {
    let settings = &platform.ingress;
    let (scheme, port, usual) = if tls { ("https", settings.https, 443) } else { ("http", settings.http, 80) };
    let port = if port == usual { String::new() } else { format!(":{port}") };
    service
        .extension
        .ingress
        .iter()
        .filter(|rule| !rule.host.starts_with('*'))
        .map(|rule| {
            let path = if rule.path == "/" { "" } else { &rule.path };
            format!("{scheme}://{}{port}{path}", fully_qualified(&rule.host, &platform.domain))
        })
        .collect()
}

fn addresses(survey: &Survey, service: &Service) -> Vec<String> {
    let mut all = Vec::new();
    if service.extension.role == Some(Role::Ingress) {
        // one line for each name would say the same dozen times over
        let own = loopback_address(survey.block, None);
        all.push(format!("{own}:{}", survey.platform.ingress.http));
        if survey.tls() {
            all.push(format!("{own}:{}", survey.platform.ingress.https));
        }
        return all;
    }
    for spec in survey.resources.containers.iter().filter(|spec| spec.service == service.name) {
        let bound = survey.observed.container(&spec.name).map(|found| found.ports.as_slice()).unwrap_or_default();
        for port in bound {
            let Some(number) = port.host_port else { continue };
            let text = std::net::SocketAddr::new(port.host_ip, number).to_string();
            let text =
                if port.protocol == crate::model::Protocol::Tcp { text } else { format!("{text}/{}", port.protocol) };
            all.push(text);
        }
    }
    all.sort();
    all.dedup();
    all
}

impl ServiceStatus {
    /// One word for people: running, starting, unhealthy, done, stopped, missing, left out.
    pub fn word(&self) -> &'static str {
        match (self.state, self.health) {
            ("running", "unhealthy") => "unhealthy",
            ("running", "starting") => "starting",
            ("running", _) => "running",
            ("stopped", _) if self.reason.as_deref() == Some("done") => "done",
            ("left_out", _) => "left out",
            (state, _) => state,
        }
    }
}
