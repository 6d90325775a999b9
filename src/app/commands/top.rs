//! `top`: what services and programs use, again and again. Containers are listed when the engine announces a change;
//! between such looks only counters are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::survey::survey;
use crate::app::usage::{
    MachineCounters, MachineUsage, Rates, Sample, Subject, machine_counters, machine_usage, rates, running, sample,
};
use crate::app::{Error, Session};
use crate::config::Loaded;
use crate::engine::{Engine, EngineError};
use crate::model::{ContainerSpec, Health, ObservedContainer, label};

use super::process_status::{ProcessStanding, ProcessStatus, process_rows};
use super::service_status::{Condition, Context, ServiceState, ServiceStatus, by_containers};
use super::status::{PlatformStatus, ours, platform_status, up_seconds};

/// Between two readings of the counters.
const EVERY: Duration = Duration::from_secs(2);
/// Readings after which the containers are listed although nothing was announced.
const LOOKS: u32 = 30;

/// The contract of `top -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Top {
    pub platform: PlatformStatus,
    /// The one that macula runs on; nothing where the kernel does not say.
    pub machine: Option<MachineUsage>,
    /// All of the platform together.
    pub total: TopTotal,
    pub services: Vec<TopRow>,
}

impl Top {
    /// The rows of these services and processes alone; none named: all. What is used together stays that of all.
    pub fn keep(&mut self, names: &[String]) {
        if !names.is_empty() {
            self.services.retain(|row| names.contains(&row.name));
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TopTotal {
    /// 100 is one core.
    pub cpu_percent: f64,
    /// Bytes, without the page cache.
    pub memory: u64,
}

/// A service or a process that is part of what is up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopRow {
    pub name: String,
    pub kind: TopKind,
    /// Empty for a process.
    pub stack: String,
    /// As in `status`.
    pub state: TopState,
    pub health: Health,
    pub condition: Condition,
    pub restarts: i64,
    /// Since it came into this condition.
    pub seconds: Option<u64>,
    /// Of what runs and can be measured.
    pub usage: Option<Rates>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopKind {
    Service,
    /// Of macula.yaml.
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TopState {
    Service(ServiceState),
    Process(ProcessStanding),
}

impl TopState {
    pub fn is_running(self) -> bool {
        matches!(self, Self::Service(ServiceState::Running) | Self::Process(ProcessStanding::Running))
    }
}

/// How often a container was started again, and when it was started last.
#[derive(Debug, Clone, Copy)]
struct Run {
    restarts: i64,
    since: Option<i64>,
}

/// A platform that is looked at again and again.
pub struct TopWatch {
    session: Session,
    loaded: Arc<Loaded>,
    engine: Arc<dyn Engine>,
    /// What the containers are to be like, for their conditions.
    specs: Vec<ContainerSpec>,
    platform: PlatformStatus,
    services: Vec<ServiceStatus>,
    running: Vec<ObservedContainer>,
    /// By the container's id: what the engine's lists do not say.
    runs: BTreeMap<String, Run>,
    /// Containers by name of which it may be another one by now.
    changed: BTreeSet<String>,
    /// When that was so, seconds since the epoch.
    listed: i64,
    sample: Sample,
    machine: Option<MachineCounters>,
}

impl TopWatch {
    /// The first look. The counters are read before the look at everything else, so that the next reading can be soon.
    pub async fn begin(session: &Session, loaded: &Loaded) -> Result<Self, Error> {
        session.check_known(&loaded.platform.name).await?;
        let (engine, host) = (session.engine()?, session.host());
        let first = async {
            let running = running(ours(&*engine, &loaded.platform.name).await.unwrap_or_default());
            let programs = pids(&process_rows(session, loaded, None).await);
            let machine = machine_counters(host);
            (sample(&*engine, host, &running, &programs).await, machine)
        };
        let ((sample, machine), survey) = tokio::join!(first, survey(session, loaded));
        let survey = survey?;
        let mut watch = Self {
            session: session.clone(),
            loaded: Arc::new(loaded.clone()),
            engine,
            platform: platform_status(&loaded.platform, &survey, loaded.incomplete, &[]),
            specs: survey.resources.containers,
            services: Vec::new(),
            running: Vec::new(),
            runs: BTreeMap::new(),
            changed: BTreeSet::new(),
            listed: 0,
            sample,
            machine,
        };
        watch.look().await?;
        Ok(watch)
    }

    /// Since the counters were read.
    pub fn age(&self) -> Duration {
        self.sample.at.elapsed()
    }

    /// Lists the containers, and asks for the runs of those that are new or have changed.
    async fn look(&mut self) -> Result<(), Error> {
        let (host, name) = (self.session.host(), &self.loaded.platform.name);
        let found = ours(&*self.engine, name).await?;
        let known =
            |found: &ObservedContainer| self.runs.contains_key(&found.id) && !self.changed.contains(&found.name);
        let ids: Vec<String> = found.iter().filter(|found| !known(found)).map(|found| found.id.clone()).collect();
        let asked = join_all(ids.iter().map(|id| self.engine.inspect(id))).await;
        // one that is gone by now will be announced
        for run in asked.into_iter().flatten() {
            self.runs.insert(run.id, Run { restarts: run.restart_count, since: run.started_at });
        }
        self.runs.retain(|id, _| found.iter().any(|found| found.id == *id));
        self.changed.clear();
        let context = Context {
            now: host.now(),
            stopped: self.session.state(name).stopped(host).await?,
            invocation: self.session.invocation.clone(),
        };
        self.listed = context.now;
        self.services = by_containers(found.iter(), &self.specs, &context);
        for row in &mut self.services {
            tell_runs(row, &found, &self.runs, context.now);
        }
        self.platform.down = found.is_empty();
        let held = self.session.state(name).at_work(host).await;
        self.platform.at_work = held.map(|held| held.to_string());
        self.running = running(found);
        Ok(())
    }

    /// Reads the counters: what was used since they were read last.
    pub async fn next(&mut self) -> Top {
        let host = self.session.host();
        let processes = process_rows(&self.session, &self.loaded, None).await;
        let now = sample(&*self.engine, host, &self.running, &pids(&processes)).await;
        let machine = machine_counters(host);
        let mut used = rates(&self.sample, &now);
        let since = u64::try_from(host.now() - self.listed).unwrap_or_default();
        let mut services = self.services.clone();
        for row in &mut services {
            row.seconds = row.seconds.map(|seconds| seconds.saturating_add(since));
        }
        let mut platform = self.platform.clone();
        platform.up_seconds = up_seconds(&services);
        let rows = services.into_iter().map(service_row).chain(processes.into_iter().map(process_row));
        let rows: Vec<TopRow> = rows
            .filter(|row| !matches!(row.condition, Condition::Missing | Condition::Finished))
            .map(|row| TopRow { usage: used.remove(&subject(&row)), ..row })
            .collect();
        let both = self.machine.as_ref().zip(machine.as_ref());
        let top = Top {
            platform,
            machine: both.map(|(before, after)| machine_usage(before, after)),
            total: total(&rows),
            services: rows,
        };
        (self.sample, self.machine) = (now, machine);
        top
    }

    /// What is used from now on, until the receiver is dropped; an error: what the engine said in place of an answer.
    pub fn follow(mut self) -> Receiver<Result<Top, Error>> {
        let (sender, receiver) = channel(1);
        tokio::spawn(async move {
            let mut changes: Option<Changes> = None;
            let mut tick = interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // the first one is at once, and whoever follows has just looked
            tick.tick().await;
            let mut quiet = LOOKS;
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    change = next_change(&mut changes) => {
                        quiet = LOOKS;
                        match change {
                            Some(Ok(container)) => drop(self.changed.insert(container)),
                            _ => changes = None,
                        }
                    }
                    _ = tick.tick() => {
                        if changes.is_none() {
                            let ours = format!("{}={}", label::PLATFORM, self.loaded.platform.name);
                            changes = self.engine.changes(&ours).await.ok();
                            // nobody has said what has become of them
                            self.runs.clear();
                            quiet = LOOKS;
                        }
                        quiet += 1;
                        let looked = if quiet > LOOKS { self.look().await } else { Ok(()) };
                        if quiet > LOOKS && looked.is_ok() {
                            quiet = 0;
                        }
                        let told = match looked {
                            Ok(()) => Ok(self.next().await),
                            Err(error) => Err(error),
                        };
                        if sender.send(told).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        receiver
    }
}

/// A list says roughly how long a container runs, and not how often it was started again.
fn tell_runs(row: &mut ServiceStatus, found: &[ObservedContainer], runs: &BTreeMap<String, Run>, now: i64) {
    let own = found.iter().filter(|found| found.label(label::SERVICE) == Some(row.name.as_str()));
    let own: Vec<(&ObservedContainer, &Run)> = own.filter_map(|found| Some((found, runs.get(&found.id)?))).collect();
    row.restarts = own.iter().map(|(_, run)| run.restarts).sum::<i64>().max(row.restarts);
    let spoken = own.iter().find(|(found, _)| row.container.as_ref() == Some(&found.name));
    if let Some((_, Run { since: Some(since), .. })) = spoken.filter(|_| row.condition.runs()) {
        row.seconds = u64::try_from(now - since).ok();
    }
}

type Changes = BoxStream<'static, Result<String, EngineError>>;

/// Of an engine that says nothing at the moment there is none.
async fn next_change(changes: &mut Option<Changes>) -> Option<Result<String, EngineError>> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

fn pids(processes: &[ProcessStatus]) -> Vec<(String, u32)> {
    processes.iter().filter(|row| row.runs()).filter_map(|row| Some((row.name.clone(), row.pid?))).collect()
}

fn subject(row: &TopRow) -> Subject {
    match row.kind {
        TopKind::Service => Subject::Service(row.name.clone()),
        TopKind::Process => Subject::Program(row.name.clone()),
    }
}

fn service_row(service: ServiceStatus) -> TopRow {
    TopRow {
        name: service.name,
        kind: TopKind::Service,
        stack: service.stack,
        state: TopState::Service(service.state),
        health: service.health,
        condition: service.condition,
        restarts: service.restarts,
        seconds: service.seconds,
        usage: None,
    }
}

fn process_row(process: ProcessStatus) -> TopRow {
    let condition = match process.state {
        _ if process.lost => Condition::Crashed,
        ProcessStanding::Running => Condition::Running,
        ProcessStanding::Starting => Condition::Starting,
        ProcessStanding::Restarting => Condition::Restarting,
        ProcessStanding::Finished => Condition::Finished,
        ProcessStanding::Stopped => Condition::Stopped,
        ProcessStanding::Missing => Condition::Missing,
        ProcessStanding::LeftOut => Condition::LeftOut,
        ProcessStanding::Crashed | ProcessStanding::Blocked => Condition::Crashed,
    };
    TopRow {
        name: process.name,
        kind: TopKind::Process,
        stack: String::new(),
        state: TopState::Process(process.state),
        health: Health::None,
        condition,
        restarts: process.restarts.into(),
        seconds: process.seconds,
        usage: None,
    }
}

fn total(rows: &[TopRow]) -> TopTotal {
    let used = rows.iter().filter_map(|row| row.usage);
    used.fold(TopTotal::default(), |sum, one| TopTotal {
        cpu_percent: sum.cpu_percent + one.cpu_percent,
        memory: sum.memory.saturating_add(one.memory),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerState;

    fn process(state: ProcessStanding, lost: bool) -> ProcessStatus {
        ProcessStatus {
            name: "web".into(),
            state,
            pid: Some(7),
            port: None,
            urls: Vec::new(),
            exit_code: None,
            restarts: 2,
            seconds: Some(5),
            reason: None,
            lost,
        }
    }

    #[test]
    fn a_process_has_the_conditions_of_a_service() {
        let of = |state, lost| process_row(process(state, lost)).condition;
        assert_eq!(of(ProcessStanding::Running, false), Condition::Running);
        assert_eq!(of(ProcessStanding::Crashed, true), Condition::Crashed);
        assert_eq!(of(ProcessStanding::Blocked, false), Condition::Crashed);
        assert_eq!(of(ProcessStanding::Missing, false), Condition::Missing);
        assert_eq!(
            pids(&[process(ProcessStanding::Running, false), process(ProcessStanding::Stopped, false)]),
            [("web".to_owned(), 7)]
        );
    }

    #[test]
    fn runs_are_told_of_the_containers_that_speak() {
        let found = |id: &str, name: &str| ObservedContainer {
            id: id.into(),
            name: name.into(),
            labels: [(label::SERVICE.to_owned(), "web".to_owned())].into(),
            state: ContainerState::Running,
            state_for: Some(60),
            ..ObservedContainer::default()
        };
        let found = [found("a", "macula-web-1"), found("b", "macula-web-2")];
        let context = Context { now: 1000, ..Context::default() };
        let mut rows = by_containers(found.iter(), &[], &context);
        assert_eq!((rows.len(), rows[0].restarts, rows[0].seconds), (1, 0, Some(60)));
        let runs = [("a", 2, 925), ("b", 1, 10), ("gone", 9, 0)];
        let runs = runs.map(|(id, restarts, since)| (id.to_owned(), Run { restarts, since: Some(since) })).into();
        tell_runs(&mut rows[0], &found, &runs, 1000);
        assert_eq!((rows[0].restarts, rows[0].seconds), (3, Some(75)));
    }

    #[test]
    fn the_platform_uses_what_its_rows_use() {
        let row = |cpu_percent, memory| TopRow {
            usage: Some(Rates { cpu_percent, memory, ..Rates::default() }),
            ..process_row(process(ProcessStanding::Running, false))
        };
        let idle = process_row(process(ProcessStanding::Stopped, false));
        assert_eq!(total(&[row(1.5, 10), row(50.0, 20), idle]), TopTotal { cpu_percent: 51.5, memory: 30 });
    }
}
