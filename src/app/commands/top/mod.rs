//! `top`: what services and programs use, again and again. Containers are listed when the engine announces a change,
//! programs looked for when the system tells of one; between such looks only counters are read, and services asked how
//! they are now and then.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::requests::{Ingress, Passed};
use crate::app::survey::{Survey, survey_to_tell};
use crate::app::usage::{MachineCounters, Meter, Sample, machine_counters, machine_usage, rates, running};
use crate::app::{Error, Session};
use crate::config::Loaded;
use crate::engine::EngineError;
use crate::host::{Family, Host, Interest, SELDOM, listen};
use crate::model::{ContainerSpec, ContainerState, Facts, Health, Observed, ObservedContainer, Resources, label};
use crate::observe;
use crate::probe::is_asked;

pub use self::rows::{Top, TopKind, TopRow, TopState, TopTotal};
use self::rows::{process_row, program_row, service_row, subject, total};

use super::condition::{Condition, Context};
use super::membership::run_folder;
use super::process_status::{ProcessStanding, ProcessStatus, process_rows};
use super::run::{ProgramStatus, programs};
use super::service_status::{ServiceStatus, rows as service_rows};
use super::status::{Counts, PlatformStatus, ours, platform_status, up_seconds};
use super::task::task_rows;

/// Between two readings of the counters.
const EVERY: Duration = Duration::from_secs(2);
/// An ingress that was silent for longer has its requests counted from its next answer on.
const KEPT: Duration = Duration::from_secs(7);
/// Readings after which the containers are listed although nothing was announced.
const LOOKS: u32 = 30;
/// Between two questions to all services how they are, and while one of them is not well.
const ASK: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_secs(4);

/// A platform that is looked at again and again.
pub struct TopWatch {
    session: Session,
    loaded: Arc<Loaded>,
    /// What is wanted, and what was seen of it last.
    survey: Survey,
    platform: PlatformStatus,
    services: Vec<ServiceStatus>,
    failed_tasks: usize,
    /// Asked for at each reading only where there are some.
    processes: Vec<ProcessStatus>,
    programs: Vec<ProgramStatus>,
    running: Vec<ObservedContainer>,
    /// By the container's id: why one ended, how often it was started again, which the engine's lists do not say.
    details: BTreeMap<String, ObservedContainer>,
    /// What a service has said last, by its container.
    said: BTreeMap<String, Health>,
    /// When all were asked last.
    asked: Instant,
    /// Containers by name of which it may be another one by now.
    changed: BTreeSet<String>,
    /// When that was so, seconds since the epoch.
    listed: i64,
    meter: Meter,
    sample: Sample,
    machine: Option<MachineCounters>,
    ingress: Option<Ingress>,
    /// Nothing where it was not asked, or did not answer.
    passed: Option<Passed>,
}

impl TopWatch {
    /// The first look. The counters are read before the look at everything else, so that the next reading can be soon.
    pub async fn begin(session: &Session, loaded: &Loaded) -> Result<Self, Error> {
        session.check_known(&loaded.platform.name).await?;
        let (engine, host) = (session.engine()?, session.host());
        let first = async {
            let running = running(ours(&*engine, &loaded.platform.name).await.unwrap_or_default());
            let processes = process_rows(session, loaded, None).await;
            let programs = other_programs(session, loaded, &processes).await;
            let machine = machine_counters(host);
            let mut meter = Meter::new(host);
            let sample = meter.sample(&*engine, host, &running, &families(&processes, &programs)).await;
            (meter, sample, machine)
        };
        let ((meter, sample, machine), survey) = tokio::join!(first, survey_to_tell(session, loaded));
        let survey = survey?;
        let ingress = Ingress::of(&survey.platform, survey.block);
        let (specs, containers) = (&survey.resources.containers, &survey.observed.containers);
        let passed = passed(ingress.as_ref(), host, &survey.facts, specs, containers).await;
        let said = |found: &ObservedContainer| (found.name.clone(), found.health);
        let mut watch = Self {
            session: session.clone(),
            loaded: Arc::new(loaded.clone()),
            platform: platform_status(&loaded.platform, &survey, loaded.incomplete, &[]),
            services: Vec::new(),
            failed_tasks: 0,
            processes: Vec::new(),
            programs: Vec::new(),
            running: Vec::new(),
            details: BTreeMap::new(),
            said: survey.observed.containers.iter().filter(|found| has_spec(&survey, found)).map(said).collect(),
            asked: Instant::now(),
            changed: BTreeSet::new(),
            listed: 0,
            meter,
            sample,
            machine,
            ingress,
            passed,
            survey,
        };
        watch.look().await?;
        Ok(watch)
    }

    /// Since the counters were read; the ingress is asked last.
    pub fn age(&self) -> Duration {
        self.passed.as_ref().map_or(self.sample.at, |passed| passed.at.max(self.sample.at)).elapsed()
    }

    /// Lists the containers, and asks for what the list does not say of those that are new or have changed.
    async fn look(&mut self) -> Result<(), Error> {
        let (host, name) = (self.session.host(), &self.loaded.platform.name);
        let listed = ours(&*self.survey.engine, name).await?;
        self.platform.down = listed.is_empty();
        let known = |found: &ObservedContainer| {
            let known = self.details.get(&found.id);
            known.is_some_and(|known| known.state == found.state && !self.changed.contains(&found.name))
        };
        let ids: Vec<String> = listed.iter().filter(|found| !known(found)).map(|found| found.id.clone()).collect();
        let asked = join_all(ids.iter().map(|id| self.survey.engine.inspect(id))).await;
        // one that is gone by now will be announced
        for found in asked.into_iter().flatten() {
            self.details.insert(found.id.clone(), found);
        }
        self.details.retain(|id, _| listed.iter().any(|found| found.id == *id));
        // what one has said before is of another run
        self.said.retain(|name, _| !self.changed.contains(name));
        self.changed.clear();
        self.meter.forget();
        self.running = running(listed.clone());
        let mut found: Vec<ObservedContainer> =
            listed.into_iter().map(|listed| detailed(self.details.get(&listed.id), listed)).collect();
        for found in found.iter_mut().filter(|found| found.state == ContainerState::Running) {
            found.health = self.said.get(&found.name).copied().unwrap_or(found.health);
        }
        let unhooked = observe::unhooked(host, &self.survey.resources, &self.survey.observed).await;
        let tasks = observe::tasks(host, &self.survey.resources).await;
        let stopped = self.session.state(name).stopped(host).await?;
        let observed = &mut self.survey.observed;
        observed.containers.retain(|found| found.label(label::PLATFORM) != Some(name.as_str()));
        observed.containers.extend(found);
        (observed.unhooked, observed.tasks) = (unhooked, tasks);
        let context = Context { now: host.now(), stopped, invocation: self.session.invocation.clone() };
        self.listed = context.now;
        self.services = service_rows(&self.loaded.platform, &self.survey, self.loaded.incomplete, &context);
        let tasks = task_rows(&self.loaded.platform, &self.survey, None, context.now);
        self.failed_tasks = Counts::of(&[], &[], &tasks).failing;
        let held = self.session.state(name).at_work(host).await;
        self.platform.at_work = held.map(|held| held.to_string());
        self.look_at_programs().await;
        Ok(())
    }

    async fn look_at_programs(&mut self) {
        self.processes = process_rows(&self.session, &self.loaded, None).await;
        self.programs = other_programs(&self.session, &self.loaded, &self.processes).await;
    }

    /// Asks all services that can be asked, as `status` does; where there are none, nobody is asked.
    fn ask(&mut self) -> Option<JoinHandle<Vec<(String, Health)>>> {
        self.asked = Instant::now();
        let found = |spec: &&ContainerSpec| self.details.values().any(|found| asks(spec, found));
        let specs = self.survey.resources.containers.iter().filter(found);
        // their files are of no interest, and may be large
        let specs = specs.map(|spec| ContainerSpec { files: Vec::new(), ..spec.clone() });
        let resources = Resources { containers: specs.collect(), ..Resources::default() };
        if resources.containers.is_empty() {
            return None;
        }
        let observed = Observed { containers: self.details.values().cloned().collect(), ..Observed::default() };
        let (engine, host) = (self.survey.engine.clone(), self.session.system.host.clone());
        let facts = self.survey.facts.clone();
        Some(tokio::spawn(async move {
            // an engine that does not answer is told by whoever lists its containers
            observe::health(&*engine, &*host, &facts, &resources, &observed).await.unwrap_or_default()
        }))
    }

    fn is_to_ask(&self) -> bool {
        let well = self.said.values().all(|health| matches!(health, Health::Healthy | Health::None));
        self.asked.elapsed() >= if well { ASK } else { ASK_AGAIN }
    }

    /// True: somebody says something else than before.
    fn heard(&mut self, answers: Vec<(String, Health)>) -> bool {
        let mut news = false;
        for (name, health) in answers {
            news |= self.said.insert(name, health) != Some(health);
        }
        news
    }

    /// Reads the counters: what was used since they were read last.
    pub async fn next(&mut self) -> Top {
        if !self.processes.is_empty() {
            self.processes = process_rows(&self.session, &self.loaded, None).await;
        }
        let host = self.session.host();
        if self.programs.iter().any(|program| program.pid.is_some_and(|pid| !host.alive(pid))) {
            self.programs = other_programs(&self.session, &self.loaded, &self.processes).await;
        }
        let families = families(&self.processes, &self.programs);
        let now = self.meter.sample(&*self.survey.engine, host, &self.running, &families).await;
        let machine = machine_counters(host);
        let mut used = rates(&self.sample, &now);
        let (specs, facts) = (&self.survey.resources.containers, &self.survey.facts);
        let passed = passed(self.ingress.as_ref(), host, facts, specs, &self.running).await;
        let requests = match (&self.ingress, &self.passed, &passed) {
            (Some(ingress), Some(before), Some(after)) => ingress.rates(before, after),
            _ => BTreeMap::new(),
        };
        let since = u64::try_from(host.now() - self.listed).unwrap_or_default();
        let mut services = self.services.clone();
        for row in &mut services {
            row.seconds = row.seconds.map(|seconds| seconds.saturating_add(since));
        }
        let mut platform = self.platform.clone();
        platform.up_seconds = up_seconds(&services);
        let mut counts = Counts::of(&services, &self.processes, &[]);
        counts.failing += self.failed_tasks;
        let rows = services.into_iter().map(service_row);
        let rows = rows.chain(self.processes.iter().cloned().map(process_row));
        let rows: Vec<TopRow> = rows
            .filter(|row| !matches!(row.condition, Condition::Missing | Condition::Finished))
            .chain(self.programs.iter().map(program_row))
            .map(|row| TopRow {
                usage: used.remove(&subject(&row)),
                requests_per_second: requests.get(&row.name).copied().filter(|_| row.kind == TopKind::Service),
                ..row
            })
            .collect();
        let both = self.machine.as_ref().zip(machine.as_ref());
        let top = Top {
            platform,
            machine: both.map(|(before, after)| machine_usage(before, after)),
            total: total(&rows),
            services: rows,
            counts,
        };
        (self.sample, self.machine) = (now, machine);
        // an ingress that was slow once has its requests in the next reading
        self.passed = passed.or(self.passed.take().filter(|passed| passed.at.elapsed() < KEPT));
        top
    }

    /// What is used from now on, until the receiver is dropped; an error: what the engine said in place of an answer.
    pub fn follow(mut self) -> Receiver<Result<Top, Error>> {
        let (sender, receiver) = channel(1);
        tokio::spawn(async move {
            let folders = self.folders();
            let interests = move || -> BoxFuture<'static, Vec<Interest>> { ready(folders.clone()).boxed() };
            let (mut word, hearing) = listen(self.session.system.host.clone(), Box::new(interests));
            tokio::pin!(hearing);
            let mut deaf = false;
            let mut changes: Option<Changes> = None;
            let mut answers: Option<JoinHandle<Vec<(String, Health)>>> = None;
            let mut tick = interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // the first one is at once, and whoever follows has just looked
            tick.tick().await;
            let mut quiet = LOOKS;
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = &mut hearing, if !deaf => deaf = true,
                    () = word.wait(SELDOM, SELDOM), if !deaf => self.look_at_programs().await,
                    change = next_change(&mut changes) => {
                        quiet = LOOKS;
                        match change {
                            Some(Ok(container)) => {
                                self.changed.insert(container);
                                // what it is about to say is of before
                                if let Some(asked) = answers.take() {
                                    asked.abort();
                                }
                            }
                            _ => changes = None,
                        }
                    }
                    said = said(&mut answers) => {
                        answers = None;
                        if self.heard(said) {
                            quiet = LOOKS;
                        }
                    }
                    _ = tick.tick() => {
                        if changes.is_none() {
                            let ours = format!("{}={}", label::PLATFORM, self.loaded.platform.name);
                            changes = self.survey.engine.changes(&ours).await.ok();
                            // nobody has said what has become of them
                            self.details.clear();
                            quiet = LOOKS;
                        }
                        quiet += 1;
                        let changed = !self.changed.is_empty();
                        let looked = if quiet > LOOKS { self.look().await } else { Ok(()) };
                        if quiet > LOOKS && looked.is_ok() {
                            quiet = 0;
                        }
                        if deaf {
                            self.look_at_programs().await;
                        }
                        if answers.is_none() && (changed || self.is_to_ask()) {
                            answers = self.ask();
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

    /// What tells of processes and programs that come and go.
    fn folders(&self) -> Vec<Interest> {
        let (host, name) = (self.session.host(), &self.loaded.platform.name);
        let own = self.session.state(name).folder().to_owned();
        [own, run_folder(host, name)].map(Interest::Folder).into()
    }
}

/// What the ingress has passed on by now.
async fn passed(
    ingress: Option<&Ingress>,
    host: &dyn Host,
    facts: &Facts,
    specs: &[ContainerSpec],
    containers: &[ObservedContainer],
) -> Option<Passed> {
    ingress?.passed(host, facts, specs, containers).await
}

/// One of those whose health can be asked for.
fn has_spec(survey: &Survey, found: &ObservedContainer) -> bool {
    survey.resources.containers.iter().any(|spec| asks(spec, found))
}

fn asks(spec: &ContainerSpec, found: &ObservedContainer) -> bool {
    let same = spec.name == found.name && found.state == ContainerState::Running;
    same && !spec.readiness.one_shot && is_asked(spec, found)
}

/// What is known of a container that the engine has just listed.
fn detailed(known: Option<&ObservedContainer>, listed: ObservedContainer) -> ObservedContainer {
    match known {
        Some(known) => ObservedContainer { state: listed.state, health: listed.health, ..known.clone() },
        None => listed,
    }
}

/// The programs of `macula run`, but for those that macula.yaml declares and that are shown as such.
async fn other_programs(session: &Session, loaded: &Loaded, processes: &[ProcessStatus]) -> Vec<ProgramStatus> {
    let shown = processes.iter().filter(|row| row.state != ProcessStanding::Missing);
    let shown: BTreeSet<&str> = shown.map(|row| row.name.as_str()).collect();
    programs(session.host(), &loaded.platform.name, &shown).await
}

/// What belongs to each of those that run.
fn families(processes: &[ProcessStatus], programs: &[ProgramStatus]) -> Vec<(String, Family)> {
    let group = |pid: u32| Family { group: Some(pid), ..Family::default() };
    let kept = processes.iter().filter(|row| row.runs()).filter_map(|row| Some((row.name.clone(), group(row.pid?))));
    let run = programs.iter().filter_map(|program| Some((program.name.clone(), program.family.clone()?)));
    kept.chain(run).collect()
}

/// What was heard; never where nobody was asked.
async fn said(answers: &mut Option<JoinHandle<Vec<(String, Health)>>>) -> Vec<(String, Health)> {
    match answers {
        // nothing is heard of a question that broke off
        Some(answers) => answers.await.unwrap_or_default(),
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests {
    use super::rows::tests::process;
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn the_same_answer_is_no_news() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}}\n");
        let session = session(host, &engine, "macula top");
        let mut watch = Box::pin(TopWatch::begin(&session, &loaded)).await.unwrap();
        let answers = [Health::Healthy, Health::Healthy, Health::Unhealthy];
        let news = answers.map(|health| watch.heard(vec![("macula-shop-web-1".to_owned(), health)]));
        assert_eq!(news, [true, false, true]);
    }

    #[test]
    fn only_what_runs_has_a_family() {
        let both = [process(ProcessStanding::Running, false), process(ProcessStanding::Stopped, false)];
        let run = ProgramStatus {
            name: "api".into(),
            family: Some(Family { mark: Some("MACULA_URL=x".into()), ..Family::default() }),
            pid: Some(9),
            seconds: Some(4),
        };
        let ended = ProgramStatus { name: "old".into(), family: None, pid: None, ..run.clone() };
        let of = |name: &str, family: Family| (name.to_owned(), family);
        let group = Family { group: Some(7), ..Family::default() };
        let mark = run.family.clone().unwrap();
        assert_eq!(families(&both, &[run.clone(), ended.clone()]), [of("web", group), of("api", mark)]);
    }

    #[test]
    fn what_the_list_says_is_newer_than_what_was_asked_for() {
        let known = ObservedContainer {
            name: "macula-web-1".into(),
            state: ContainerState::Running,
            restart_count: 5,
            started_at: Some(900),
            ..ObservedContainer::default()
        };
        let listed = ObservedContainer { state: ContainerState::Paused, restart_count: 0, ..known.clone() };
        let told = detailed(Some(&known), listed.clone());
        assert_eq!((told.state, told.restart_count), (ContainerState::Paused, 5));
        assert_eq!(detailed(None, listed.clone()), listed);
    }
}
