//! `wait`: until services, names or pages are as a script needs them. The engine announces what happens to its
//! containers; what nobody announces (a port that opens, a name, a page) is asked for again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;

use crate::app::certificate::{authorities, authority_domain};
use crate::app::processes::{Keeping, keeping};
use crate::app::survey::{Survey, survey};
use crate::app::{Error, Session};
use crate::apply::last_words;
use crate::compile::{Block, fully_qualified, own_address};
use crate::config::Loaded;
use crate::model::{ContainerSpec, ContainerState, ObservedContainer, Platform, Process, TaskRun, label, macula};
use crate::pki::Authority;
use crate::plan::left_out_processes;
use crate::probe::{Answer, ask, is_asked};
use crate::validate::{PageAddress, Trust, ask_page};

use super::membership::log_of;
use super::processes::last_lines;
use super::task::jobs_of_task;
use look::{Look, by_answer, by_process, by_run, by_state, told_run};

pub use look::WaitFor;

mod look;

/// Between two questions to what nobody announces.
const AGAIN: Duration = Duration::from_millis(40);
/// The same where each question starts a program in the container.
const AGAIN_BY_TEST: Duration = Duration::from_millis(300);
/// The same where the engine says what happens, in case it once does not.
const AGAIN_ANYWAY: Duration = Duration::from_secs(2);
/// Nothing of ours works on the platform, and a service that has failed has stayed so for this long.
const HOPELESS: Duration = Duration::from_secs(2);

/// Why a service is not waited for.
const STOPPED: &str = "it was stopped by the user";

/// An engine with much to do may take this long to say what is there, whatever is left of the time.
const BUSY: Duration = Duration::from_secs(3);
/// The first look may take this long whatever is left of the time: with `--timeout 0` it is the only one.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// And each later one this long, so that the last one tells why it is not as it should be.
const LAST_LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct WaitRequest {
    /// Services, names or URLs; empty: all services of the platform.
    pub targets: Vec<String>,
    pub want: WaitFor,
    pub timeout: Duration,
}

/// How one target came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waited {
    pub target: String,
    pub met: bool,
    pub seconds: f64,
    /// Why it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// A task of this machine, and whether it has run with what there is now.
    #[serde(skip)]
    pub task: Option<bool>,
    /// By the user.
    #[serde(skip)]
    pub stopped: bool,
}

impl Waited {
    /// Nothing is known of it but that.
    fn unmet(target: &str, took: Duration, reason: &str) -> Self {
        Self {
            target: target.to_owned(),
            met: false,
            seconds: seconds(took),
            reason: Some(reason.to_owned()),
            log: Vec::new(),
            task: None,
            stopped: false,
        }
    }
}

/// What a word of the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Service(String),
    /// A program of this machine.
    Process(String),
    /// A task that runs on this machine.
    Task(String),
    /// Host names.
    Names(Vec<String>),
    Page(PageAddress),
}

/// Waits until all of it is so or the time is over, which the results say. `met` is told each target that is there.
pub async fn wait_for(
    session: &Session,
    loaded: &Loaded,
    request: &WaitRequest,
    met: &(dyn Fn(&Waited) + Send + Sync),
) -> Result<Vec<Waited>, Error> {
    let begun = Instant::now();
    let platform = &loaded.platform;
    let by_label = format!("{}={}", label::PLATFORM, platform.name);
    let survey = match request.want {
        WaitFor::Healthy => match timeout(request.timeout.max(BUSY), survey(session, loaded)).await {
            Ok(survey) => Some(survey?),
            Err(_) if request.targets.is_empty() => return Ok(unseen(&platform.service_names(), begun.elapsed())),
            Err(_) => return Ok(unseen(&request.targets, begun.elapsed())),
        },
        // it tells what is left out, whose names nobody waits for; where it cannot tell in time all are waited for
        WaitFor::Resolvable if request.targets.is_empty() && session.system.engine.is_some() => {
            let seen = timeout(request.timeout.clamp(FIRST_LOOK, BUSY), survey(session, loaded)).await;
            seen.ok().and_then(Result::ok)
        }
        WaitFor::Gone | WaitFor::Resolvable => None,
    };
    let containers = match &session.system.engine {
        Some(engine) => engine.labelled(&by_label).await?,
        None if request.want == WaitFor::Resolvable => Vec::new(),
        None => return Err(session.engine().err().unwrap_or(Error::Cancelled)),
    };
    let present = survey.as_ref().map_or(platform, |survey| &survey.platform);
    let tls = survey.as_ref().is_none_or(Survey::tls);
    let mut open = targets(platform, present, &containers, request, tls)?;
    let trust = match open.iter().any(|(_, target)| matches!(target, Target::Page(_))) {
        true => Some(trust(session, platform).await),
        false => None,
    };
    let mut changes = match &session.system.engine {
        Some(engine) => engine.changes(&by_label).await?,
        None => futures_util::stream::pending().boxed(),
    };
    let block = match &survey {
        Some(survey) => Some(survey.block),
        None => session.state(&platform.name).kept_block(session.host()).await.and_then(Block::new),
    };
    let (want, runs) = (request.want, BTreeMap::new());
    let mut watch = Watch { session, platform, survey, block, trust, want, by_label, runs };
    let mut results = Vec::new();
    let mut failing: BTreeMap<String, Instant> = BTreeMap::new();
    let mut least = FIRST_LOOK;
    let mut told = BTreeSet::new();
    loop {
        // what does not answer, such as a name server that is gone, must not take longer than all of it may
        let limit = request.timeout.saturating_sub(begun.elapsed()).max(least);
        least = LAST_LOOK;
        let looks = watch.look(&open, limit).await?;
        let over = begun.elapsed() >= request.timeout;
        let failed = looks.iter().any(|look| matches!(look, Look::Failed(_) | Look::Stopped));
        let due = if begun.elapsed() >= HOPELESS { due(&open, &looks, &told) } else { Vec::new() };
        let at_work = (failed || !due.is_empty()) && is_at_work(session, platform).await;
        for (typed, reason) in due.into_iter().filter(|_| !at_work) {
            let (up, task) = (session.line(macula("up")), session.line(macula("task").arg(&typed)));
            session.events.info(format!("{typed}: {reason}, and nothing runs it now (`{up}` or `{task}` does)"));
            told.insert(typed);
        }
        let mut left = Vec::new();
        for ((typed, target), look) in open.into_iter().zip(looks) {
            let seconds = seconds(begun.elapsed());
            let task = matches!(target, Target::Task(_)).then_some(!matches!(look, Look::Due(_)));
            let stopped = look == Look::Stopped;
            let done = |met, reason| {
                let target = typed.clone();
                Waited { target, met, seconds, reason, log: Vec::new(), task, stopped }
            };
            let result = match look {
                Look::Met => done(true, None),
                Look::Failed(reason) if over || (!at_work && stays(&mut failing, &typed)) => done(false, Some(reason)),
                // no patience brings it back; another command may be about to
                Look::Stopped if over || (!at_work && stays(&mut failing, &typed)) => {
                    done(false, Some(STOPPED.to_owned()))
                }
                Look::Not(reason) | Look::Due(reason) if over => done(false, Some(reason)),
                Look::Not(_) | Look::Due(_) => {
                    failing.remove(&typed);
                    left.push((typed, target));
                    continue;
                }
                Look::Failed(_) | Look::Stopped => {
                    left.push((typed, target));
                    continue;
                }
            };
            match result.met {
                true => {
                    met(&result);
                    results.push(result);
                }
                false if result.stopped => results.push(result),
                false => results.push(Waited { log: watch.log(&target).await, ..result }),
            }
        }
        open = left;
        // one that has failed will not come back by waiting for the others
        if open.is_empty() || results.iter().any(|result| !result.met) {
            let rest = open.iter().map(|(typed, _)| Waited::unmet(typed, begun.elapsed(), "not waited for any longer"));
            results.extend(rest);
            return Ok(results);
        }
        let pause = watch.pause(&open).min(request.timeout.saturating_sub(begun.elapsed()));
        tokio::select! {
            change = changes.next() => if !matches!(change, Some(Ok(_))) {
                // the engine has gone or says no more: the next look tells
                changes = futures_util::stream::pending().boxed();
            },
            () = tokio::time::sleep(pause) => {}
            () = session.cancel.cancelled() => return Err(Error::Cancelled),
        }
    }
}

/// All that is asked for, where not even the first look was over in time.
fn unseen(targets: &[String], took: Duration) -> Vec<Waited> {
    targets.iter().map(|target| Waited::unmet(target, took, "the engine did not answer in time")).collect()
}

/// To the millisecond.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Tasks that have to run, with the reasons, but for those that were `told`.
fn due(open: &[(String, Target)], looks: &[Look], told: &BTreeSet<String>) -> Vec<(String, String)> {
    let all = open.iter().zip(looks).filter_map(|((typed, _), look)| match look {
        Look::Due(reason) if !told.contains(typed) => Some((typed.clone(), reason.clone())),
        _ => None,
    });
    all.collect()
}

fn has_ended(found: &ObservedContainer) -> bool {
    matches!(found.state, ContainerState::Exited | ContainerState::Dead)
}

/// Whether a target has been failing for so long that nobody is about to replace it.
fn stays(failing: &mut BTreeMap<String, Instant>, typed: &str) -> bool {
    failing.entry(typed.to_owned()).or_insert_with(Instant::now).elapsed() >= HOPELESS
}

/// Another command of ours changes the platform at this moment.
async fn is_at_work(session: &Session, platform: &Platform) -> bool {
    session.state(&platform.name).at_work(session.host()).await.is_some()
}

async fn trust(session: &Session, platform: &Platform) -> Trust {
    let host = session.host();
    let root = Authority::recorded_root(host, &authorities(session), authority_domain(platform)).await;
    Trust::look(host, root.as_ref().map(|root| root.der.as_slice()), false).await
}

/// What the words mean. `present`: the platform without the services that are left out.
fn targets(
    platform: &Platform,
    present: &Platform,
    containers: &[ObservedContainer],
    request: &WaitRequest,
    tls: bool,
) -> Result<Vec<(String, Target)>, Error> {
    let labelled = |name: &str| containers.iter().any(|found| found.label(label::SERVICE) == Some(name));
    let names = |service: &str| -> Vec<String> {
        let rules = platform.service(service).map(|(_, service)| service.extension.ingress.as_slice());
        let hosts = rules.unwrap_or_default().iter().filter(|rule| !rule.host.starts_with('*'));
        crate::words::unique(hosts.map(|rule| fully_qualified(&rule.host, &platform.domain)))
    };
    let process_names = |process: &Process| -> Vec<String> {
        process.hosts.iter().map(|host| format!("{host}.{}", platform.domain)).collect()
    };
    if request.targets.is_empty() {
        let mut all: Vec<String> = present.services().map(|(_, service)| service.name.clone()).collect();
        let services = |all: Vec<String>| all.into_iter().map(|name| (name.clone(), Target::Service(name)));
        let processes = platform.processes.keys().map(|name| (name.clone(), Target::Process(name.clone())));
        return Ok(match request.want {
            WaitFor::Healthy => services(all).chain(processes).collect(),
            WaitFor::Gone => {
                all.extend(containers.iter().filter_map(|found| found.label(label::SERVICE)).map(str::to_owned));
                services(crate::words::unique(all)).chain(processes).collect()
            }
            WaitFor::Resolvable => {
                let of_services = all.into_iter().map(|name| (names(&name), name));
                let of_processes = platform.processes.values().map(|one| (process_names(one), one.name.clone()));
                let named = of_services.chain(of_processes).filter(|(names, _)| !names.is_empty());
                named.map(|(names, name)| (name, Target::Names(names))).collect()
            }
        });
    }
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for typed in &crate::words::unique(&request.targets) {
        let target = if typed.contains("://") {
            let Some(page) = PageAddress::parse(typed) else { return Err(Error::NoUrl { text: (*typed).clone() }) };
            match request.want {
                WaitFor::Resolvable => Target::Names(vec![page.host]),
                WaitFor::Healthy | WaitFor::Gone => Target::Page(page),
            }
        } else if let Some(process) = platform.processes.get(*typed).filter(|_| platform.service(typed).is_none()) {
            match (request.want, process_names(process)) {
                (WaitFor::Resolvable, names) if names.is_empty() => {
                    return Err(Error::Nameless { service: process.name.clone() });
                }
                (WaitFor::Resolvable, names) => Target::Names(names),
                _ => Target::Process(process.name.clone()),
            }
        } else if platform.tasks.contains_key(*typed) && platform.service(typed).is_none() {
            if request.want == WaitFor::Resolvable {
                return Err(Error::Nameless { service: (*typed).clone() });
            }
            Target::Task((*typed).clone())
        } else {
            let job = || match jobs_of_task(platform, typed).as_slice() {
                [job] => Some(job.clone()),
                _ => None,
            };
            let meant = match platform.service(typed) {
                Some(_) => Some((*typed).clone()),
                None if labelled(typed) => Some((*typed).clone()),
                None => job().or_else(|| platform.service_of_host(typed).map(|service| service.name.clone())),
            };
            match (meant, request.want) {
                (Some(_), WaitFor::Resolvable) if typed.contains('.') => Target::Names(vec![(*typed).clone()]),
                (Some(service), WaitFor::Resolvable) => match names(&service) {
                    names if names.is_empty() => return Err(Error::Nameless { service }),
                    names => Target::Names(names),
                },
                (Some(service), _) => Target::Service(service),
                (None, _) if !typed.contains('.') => {
                    unknown.push((*typed).clone());
                    continue;
                }
                (None, WaitFor::Resolvable) => Target::Names(vec![(*typed).clone()]),
                (None, _) => {
                    let port = if tls { platform.ingress.https } else { platform.ingress.http };
                    let scheme = if tls { "https" } else { "http" };
                    match PageAddress::parse(&format!("{scheme}://{typed}")) {
                        Some(page) => Target::Page(PageAddress { port, ..page }),
                        None => return Err(Error::NoUrl { text: (*typed).clone() }),
                    }
                }
            }
        };
        found.push(((*typed).clone(), target));
    }
    if !unknown.is_empty() {
        let mut known: Vec<String> = platform.processes.keys().cloned().collect();
        known.extend(platform.tasks.keys().cloned());
        known.extend(platform.service_names());
        return Err(Error::UnknownService { names: unknown, known });
    }
    Ok(found)
}

struct Watch<'a> {
    session: &'a Session,
    platform: &'a Platform,
    /// Where health is asked for, and as far as it was there where names are.
    survey: Option<Survey>,
    /// Of the platform, where it has one.
    block: Option<Block>,
    trust: Option<Trust>,
    want: WaitFor,
    by_label: String,
    /// Container -> how often the engine has started it again, and since when it is seen running.
    runs: BTreeMap<String, (i64, Instant)>,
}

impl Watch<'_> {
    /// All targets side by side, of one look at the engine. What takes longer than `limit` is not as it should be.
    async fn look(&mut self, open: &[(String, Target)], limit: Duration) -> Result<Vec<Look>, Error> {
        let begun = Instant::now();
        let containers = match &self.session.system.engine {
            Some(engine) if open.iter().any(|(_, target)| matches!(target, Target::Service(_))) => {
                match timeout(limit.max(BUSY), engine.labelled(&self.by_label)).await {
                    Ok(found) => found?,
                    Err(_) => return Ok(vec![Look::Not("the engine did not answer in time".to_owned()); open.len()]),
                }
            }
            _ => Vec::new(),
        };
        self.runs.retain(|name, (restarts, _)| {
            containers.iter().any(|found| {
                found.name == *name && found.restart_count == *restarts && found.state == ContainerState::Running
            })
        });
        for found in containers.iter().filter(|found| found.state == ContainerState::Running) {
            self.runs.entry(found.name.clone()).or_insert((found.restart_count, Instant::now()));
        }
        let limit = limit.saturating_sub(begun.elapsed()).max(LAST_LOOK);
        let kept = match open.iter().any(|(_, target)| matches!(target, Target::Process(_))) {
            true => keeping(self.session.host(), &self.platform.name).await,
            false => Keeping::default(),
        };
        let looks = open.iter().map(|(_, target)| self.look_within(limit, target, &containers, &kept));
        join_all(looks).await.into_iter().collect()
    }

    async fn look_within(
        &self,
        limit: Duration,
        target: &Target,
        containers: &[ObservedContainer],
        kept: &Keeping,
    ) -> Result<Look, Error> {
        let late = match target {
            Target::Process(_) => "its keeper did not answer in time",
            Target::Service(_) => "its check did not answer in time",
            Target::Task(_) => "this machine did not answer in time",
            Target::Names(_) => "this machine's name servers did not answer in time",
            Target::Page(_) => "it did not answer in time",
        };
        match timeout(limit, self.look_at(target, containers, kept)).await {
            Ok(look) => look,
            Err(_) => Ok(Look::Not(late.to_owned())),
        }
    }

    async fn look_at(&self, target: &Target, containers: &[ObservedContainer], kept: &Keeping) -> Result<Look, Error> {
        match target {
            Target::Process(name) => {
                let listens = self.platform.processes.get(name).is_some_and(Process::listens);
                let state = kept.states.iter().find(|state| state.name == *name);
                let left_out = self.survey.as_ref().map(|seen| seen.supply.left_out.as_slice()).unwrap_or_default();
                let gone = left_out_processes(&self.platform.processes, left_out);
                if let Some(left) = gone.into_iter().find(|left| state.is_none() && left.service == *name) {
                    return Ok(Look::Failed(format!("left out: {}", left.reason)));
                }
                Ok(by_process(state, listens, kept.lost, self.want))
            }
            Target::Service(name) => self.service(name, containers).await,
            Target::Task(name) => {
                let host = self.session.host();
                let folder = host.folders().data.join(self.platform.name.as_str());
                let last = host.read(&TaskRun::file(&folder, name)).await.unwrap_or_default();
                let specs = self.survey.iter().flat_map(|survey| &survey.resources.tasks);
                let inputs = specs.filter(|spec| spec.name == *name).map(|spec| &spec.inputs).next();
                Ok(by_run(TaskRun::parse(&last).as_ref(), inputs))
            }
            Target::Names(names) => {
                for name in names {
                    if !self.session.host().resolve(name).await.is_ok_and(|found| !found.is_empty()) {
                        return Ok(Look::Not(format!("{name} does not resolve on this machine")));
                    }
                }
                Ok(Look::Met)
            }
            Target::Page(page) => {
                let answer = self.page(page).await;
                Ok(match (self.want, answer) {
                    (WaitFor::Gone, Ok(status)) if status < 400 => Look::Not(format!("it still answers {status}")),
                    (WaitFor::Gone, _) => Look::Met,
                    (_, Ok(status)) if status < 400 => Look::Met,
                    (_, Ok(status)) => Look::Not(format!("it answers {status}")),
                    (_, Err(reason)) => Look::Not(reason),
                })
            }
        }
    }

    /// As a program does that tries one address of the name after the other.
    async fn page(&self, page: &PageAddress) -> Result<u16, String> {
        let Some(trust) = &self.trust else { return Err("it cannot be asked".to_owned()) };
        let host = self.session.host();
        let mut addresses = host.resolve(page.host.trim_matches(['[', ']'])).await.unwrap_or_default();
        // a name of ours leads to the ingress, also on a machine that does not ask our resolver
        let below = page.host.strip_suffix(&self.platform.domain).is_some_and(|front| front.ends_with('.'));
        if addresses.is_empty() && below {
            addresses.extend(self.block.map(|block| IpAddr::from(own_address(block))));
        }
        let mut first = None;
        for address in addresses {
            match ask_page(trust, SocketAddr::new(address, page.port), page).await {
                Ok(status) => return Ok(status),
                Err(reason) => first = first.or(Some(reason)),
            }
        }
        Err(first.unwrap_or_else(|| "its name does not resolve".to_owned()))
    }

    async fn service(&self, name: &str, containers: &[ObservedContainer]) -> Result<Look, Error> {
        let own: Vec<&ObservedContainer> =
            containers.iter().filter(|found| found.label(label::SERVICE) == Some(name)).collect();
        let Some(survey) = self.survey.as_ref().filter(|_| self.want == WaitFor::Healthy) else {
            return Ok(match own.first() {
                None => Look::Met,
                Some(found) => Look::Not(format!("the container {} is still there", found.name)),
            });
        };
        if let Some(left) = survey.supply.left_out.iter().find(|left| left.service == name && own.is_empty()) {
            return Ok(Look::Failed(format!("left out: {}", left.reason)));
        }
        let specs: Vec<&ContainerSpec> =
            survey.resources.containers.iter().filter(|spec| spec.service == name).collect();
        let wants_none = || self.platform.service(name).is_some_and(|(_, service)| service.replicas == 0);
        if own.is_empty() && (survey.done_task(name).is_some() || wants_none()) {
            return Ok(Look::Met);
        }
        let missing = specs.iter().find(|spec| own.iter().all(|found| found.name != spec.name));
        if missing.is_some() || own.is_empty() {
            return Ok(Look::Not("it has no container yet".to_owned()));
        }
        for found in own {
            let spec = specs.iter().find(|spec| spec.name == found.name).copied();
            if let Some(look) = by_state(found, spec) {
                if look != Look::Met && has_ended(found) && self.is_stopped(name).await? {
                    return Ok(Look::Stopped);
                }
                match look {
                    Look::Met => continue,
                    other => return Ok(other),
                }
            }
            let answer = match spec {
                Some(spec) if is_asked(spec, found) => {
                    let host = self.session.host();
                    ask(&*survey.engine, host, &survey.facts, spec, &spec.readiness, found).await?
                }
                _ => Answer::Unasked(String::new()),
            };
            let run = self.runs.get(&found.name).map(|(_, since)| since.elapsed()).unwrap_or_default();
            match by_answer(found, answer, run.max(told_run(found, self.session.host().now()))) {
                Look::Met => {}
                other => return Ok(other),
            }
        }
        Ok(Look::Met)
    }

    /// By the user, who has not started it again.
    async fn is_stopped(&self, service: &str) -> Result<bool, Error> {
        Ok(self.session.state(&self.platform.name).stopped(self.session.host()).await?.contains(service))
    }

    /// Until the next look, if nothing is announced before.
    fn pause(&self, open: &[(String, Target)]) -> Duration {
        let of = |target: &Target| match (target, &self.survey) {
            (Target::Service(name), Some(survey)) => {
                let specs = survey.resources.containers.iter().filter(|spec| spec.service == *name);
                let running = specs.filter(|spec| self.runs.contains_key(&spec.name));
                let pause = running.map(|spec| match (&spec.readiness.probe, &spec.healthcheck) {
                    (None, Some(_)) => AGAIN_BY_TEST,
                    _ => AGAIN,
                });
                pause.min().unwrap_or(AGAIN_ANYWAY)
            }
            (Target::Service(_), None) => AGAIN_ANYWAY,
            (Target::Names(_) | Target::Page(_) | Target::Process(_) | Target::Task(_), _) => AGAIN,
        };
        open.iter().map(|(_, target)| of(target)).min().unwrap_or(AGAIN_ANYWAY)
    }

    /// The end of what a service or a process has written.
    async fn log(&self, target: &Target) -> Vec<String> {
        if let Target::Process(name) = target {
            let kept = keeping(self.session.host(), &self.platform.name).await;
            return match kept.states.iter().find(|state| state.name == *name) {
                Some(state) => super::processes::log_tail(self.session.host(), state).await,
                None => Vec::new(),
            };
        }
        if let Target::Task(name) = target {
            let path = log_of(self.session.host(), &self.platform.name, name);
            let text = self.session.host().read(&path).await.unwrap_or_default();
            return last_lines(&String::from_utf8_lossy(&text));
        }
        let (Target::Service(name), Some(engine)) = (target, &self.session.system.engine) else { return Vec::new() };
        let containers = engine.labelled(&self.by_label).await.unwrap_or_default();
        match containers.iter().find(|found| found.label(label::SERVICE) == Some(name)) {
            Some(found) => last_words(&**engine, found).await,
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
