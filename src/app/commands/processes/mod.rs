//! What commands do with the programs of this machine that macula.yaml declares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::error::ProcessFailure;
use crate::app::processes::{self, Keeping, Order, ProcessCondition, ProcessState};
use crate::app::survey::survey;
use crate::app::{Error, Session, Survey};
use crate::config::{Loaded, env_file};
use crate::host::{Family, Host, pause};
use crate::model::{Fingerprint, Platform, PlatformName, Process};
use crate::plan::{
    KEEPER, KeptProcess, LeftOut, Parts, ProcessAction, ProcessStep, left_out_processes, process_steps, process_waves,
};
use crate::words;

use super::creds::OTLP_ENDPOINT;
use super::membership::{VITE_HOST, has_ingress, log_of, named_url, ports_of, route_to, settings, trusted};

/// Between two looks at one that starts.
const LOOK: Duration = Duration::from_millis(40);
/// A process that has ended so often while it was waited for does not start.
const HOPELESS: u32 = 3;
/// For a name that another program is about to give back.
const NAME: Duration = Duration::from_secs(3);
/// Between two words on one that is not ready yet.
const REMINDER: Duration = Duration::from_secs(15);
/// Lines of its output that an error shows.
const SHOWN: usize = 12;

/// Takes the names of processes out of those of services, and puts in the services that these processes need: which
/// processes are meant. None: all.
pub fn split_processes(platform: &Platform, names: &mut Vec<String>) -> Option<BTreeSet<String>> {
    if names.is_empty() {
        return None;
    }
    let (named, mut services): (Vec<String>, Vec<String>) =
        names.drain(..).partition(|name| platform.processes.contains_key(name) && platform.service(name).is_none());
    let mut chosen: BTreeSet<String> = BTreeSet::new();
    let mut open = named;
    while let Some(name) = open.pop() {
        let Some(process) = platform.processes.get(&name) else { continue };
        if !chosen.insert(name) {
            continue;
        }
        for need in &process.needs {
            match platform.processes.contains_key(need) {
                true => open.push(need.clone()),
                false => services.push(need.clone()),
            }
        }
    }
    if !chosen.is_empty() {
        let ways_in = platform.services().filter(|(_, service)| service.extension.role.is_some());
        services.extend(ways_in.map(|(_, service)| service.name.clone()));
    }
    *names = words::unique(services);
    Some(chosen)
}

/// What an `up` would do with the processes. One that needs what is left out is not started; one that runs goes on.
pub async fn planned_processes(
    session: &Session,
    loaded: &Loaded,
    chosen: Option<&BTreeSet<String>>,
    again: bool,
    left_out: &[LeftOut],
) -> Result<Vec<ProcessStep>, Error> {
    let found = processes::keeping_for_up(session, &loaded.platform.name).await;
    if are_of_no_concern(loaded, &found, chosen) {
        return Ok(Vec::new());
    }
    Ok(steps_from(&loaded.platform, &wanted(session, loaded).await?, &found, chosen, again, left_out))
}

/// None is declared and none is kept, only services are named, or nobody knows what is wanted.
fn are_of_no_concern(loaded: &Loaded, found: &Keeping, chosen: Option<&BTreeSet<String>>) -> bool {
    let none = loaded.platform.processes.is_empty() && found.states.is_empty();
    none || chosen.is_some_and(BTreeSet::is_empty) || loaded.incomplete
}

fn steps_from(
    platform: &Platform,
    wanted: &BTreeMap<String, Parts>,
    found: &Keeping,
    chosen: Option<&BTreeSet<String>>,
    again: bool,
    left_out: &[LeftOut],
) -> Vec<ProcessStep> {
    let gone = left_out_processes(&platform.processes, left_out);
    let mut steps = steps(wanted, found, chosen, again);
    steps.retain(|step| gone.iter().all(|left| left.service != step.name));
    steps
}

fn steps(
    wanted: &BTreeMap<String, Parts>,
    found: &Keeping,
    chosen: Option<&BTreeSet<String>>,
    again: bool,
) -> Vec<ProcessStep> {
    let kept = found.states.iter().map(|state| {
        let rests = matches!(state.condition, ProcessCondition::Stopped | ProcessCondition::Finished);
        let alive = state.condition.is_alive() && !found.lost;
        (state.name.clone(), KeptProcess { parts: state.parts.clone(), alive, rests })
    });
    let kept: BTreeMap<String, KeptProcess> = kept.collect();
    let mut steps = process_steps(wanted, &kept, chosen, again);
    if chosen.is_some() {
        // what a keeper that is replaced has kept goes on under the next one, whoever is named
        let mut others = process_steps(wanted, &kept, None, false);
        others.retain(|step| {
            let goes_on = matches!(step.action, ProcessAction::Restart | ProcessAction::Update);
            goes_on && step.changed.iter().any(|part| part == KEEPER) && steps.iter().all(|one| one.name != step.name)
        });
        steps.extend(others);
    }
    steps
}

/// Digests of what every process is started with.
async fn wanted(session: &Session, loaded: &Loaded) -> Result<BTreeMap<String, Parts>, Error> {
    let mut all = BTreeMap::new();
    for (name, process) in &loaded.platform.processes {
        // before the first `up` there are none, and nothing that could have changed
        let settings = settings(session, loaded, &services_of(&loaded.platform, process)).await.unwrap_or_default();
        all.insert(name.clone(), parts(process, &settings, &more(session.host(), process).await?));
    }
    Ok(all)
}

/// Pure: digests by the part of the file.
fn parts(process: &Process, settings: &BTreeMap<String, String>, more: &BTreeMap<String, Option<String>>) -> Parts {
    // the background process may take telemetry or not; nothing has changed in the files then
    let settings: BTreeMap<&String, &String> = settings.iter().filter(|(name, _)| *name != OTLP_ENDPOINT).collect();
    let all = [
        ("command", json!(process.command)),
        ("cwd", json!(process.folder)),
        ("environment", json!([settings, more, process.hosts.first()])),
        ("port", json!([process.port, process.listens()])),
        ("ingress", json!(process.hosts)),
        ("probe", json!(process.probe)),
        ("watch", json!(process.watch)),
        ("restart", json!(process.restart)),
        ("stop_grace_period", json!(process.stop_grace_period)),
    ];
    let digest = |value: &serde_json::Value| Fingerprint::of(value).to_string().chars().take(16).collect();
    all.iter().map(|(part, value)| ((*part).to_owned(), digest(value))).collect()
}

/// The services among what it needs, by which its settings are chosen.
fn services_of(platform: &Platform, process: &Process) -> Vec<String> {
    process.needs.iter().filter(|need| platform.service(need).is_some()).cloned().collect()
}

/// Variables of its own.
async fn more(host: &dyn Host, process: &Process) -> Result<BTreeMap<String, Option<String>>, Error> {
    own_variables(host, &process.env_files, &process.environment).await
}

/// Those of files, and those that override them; null takes a variable away.
pub(super) async fn own_variables(
    host: &dyn Host,
    files: &[PathBuf],
    environment: &BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, Option<String>>, Error> {
    let of_files = file_variables(host, files).await?;
    let mut all: BTreeMap<_, _> = of_files.into_iter().map(|(name, value)| (name, Some(value))).collect();
    all.extend(environment.clone());
    Ok(all)
}

/// The variables of env files: a later one overrides those before, and its values may have theirs in them.
pub async fn file_variables(host: &dyn Host, files: &[PathBuf]) -> Result<BTreeMap<String, String>, Error> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let text = host.read(path).await.map_err(|source| Error::Io { path: path.clone(), source })?;
        let known = |name: &str| host.env(name).or_else(|| all.get(name).cloned());
        let values = env_file(&String::from_utf8_lossy(&text), &known);
        all.extend(values.map_err(|message| Error::EnvFile { path: path.clone(), message })?);
    }
    Ok(all)
}

/// Starts, restarts and ends processes as macula.yaml says, and waits until they are ready. Returns what was done.
pub async fn bring_up_processes(
    session: &Session,
    loaded: &Loaded,
    chosen: Option<&BTreeSet<String>>,
    again: bool,
    timeout: Option<Duration>,
    left_out: &[LeftOut],
) -> Result<Vec<ProcessStep>, Error> {
    let platform = &loaded.platform;
    if are_of_no_concern(loaded, &processes::keeping(session.host(), &platform.name).await, chosen) {
        return Ok(Vec::new());
    }
    let _lock = session.lock(&platform.name).await?;
    let wanted = wanted(session, loaded).await?;
    // only now: another `up` may have been at work
    let found = processes::renew(session, &platform.name).await?;
    let steps = steps_from(platform, &wanted, &found, chosen, again, left_out);
    if steps.is_empty() {
        return Ok(steps);
    }
    let seen = survey(session, loaded).await?;
    let named = !session.state(&platform.name).no_dns(session.host()).await?;
    let remove: Vec<String> =
        steps.iter().filter(|step| step.action == ProcessAction::Remove).map(|step| step.name.clone()).collect();
    if !remove.is_empty() {
        processes::apply(session, &platform.name, Vec::new(), remove.clone()).await?;
        for name in &remove {
            session.events.info(format!("{name}: ended, since macula.yaml no longer has it"));
        }
    }
    let touched = steps.iter().filter_map(|step| platform.processes.get(&step.name));
    let mut failures: Vec<ProcessFailure> = Vec::new();
    for wave in process_waves(touched) {
        let mut orders = Vec::new();
        let mut waited = Vec::new();
        for step in steps.iter().filter(|step| wave.contains(&step.name)) {
            let Some(process) = platform.processes.get(&step.name) else { continue };
            let failed = |need: &&String| failures.iter().any(|failure| failure.name == **need);
            if let Some(need) = process.needs.iter().find(failed) {
                let reason = format!("it was not started, since it needs {need}");
                failures.push(ProcessFailure { name: step.name.clone(), reason, log_tail: Vec::new() });
                continue;
            }
            session.events.info(format!("{}: {} ({})", step.name, doing(step.action), step.cause()));
            let port = found.states.iter().find(|state| state.name == step.name).and_then(|state| state.port);
            let order = order(session, loaded, &seen, process, named).await?;
            orders.push(Order { port, action: step.action, ..order });
            if step.action != ProcessAction::Update {
                waited.push(step.name.clone());
            }
        }
        if !orders.is_empty() {
            processes::apply(session, &platform.name, orders, Vec::new()).await?;
            failures.extend(settle(session, platform, &waited, timeout).await?);
        }
    }
    if failures.is_empty() { Ok(steps) } else { Err(Error::Processes(failures)) }
}

fn doing(action: ProcessAction) -> &'static str {
    match action {
        ProcessAction::Start => "starting",
        ProcessAction::Restart => "restarting",
        ProcessAction::Update => "updating",
        ProcessAction::Remove => "ending",
    }
}

/// Everything that the keeper has to know of a process.
async fn order(
    session: &Session,
    loaded: &Loaded,
    seen: &Survey,
    process: &Process,
    named: bool,
) -> Result<Order, Error> {
    let host = session.host();
    let own = settings(session, loaded, &services_of(&loaded.platform, process)).await?;
    let more = more(host, process).await?;
    let parts = parts(process, &own, &more);
    let environment = environment(session, loaded, seen, process, own, more.clone()).await?;
    let log = log_of(host, &loaded.platform.name, &process.name);
    let routes = match named && has_ingress(&seen.platform) {
        true => process.hosts.iter().map(|name| route_to(seen, name, 0, &log, 0)).collect(),
        false => Vec::new(),
    };
    let action = ProcessAction::Start;
    let process = Process { port: fixed_port(process, &more), ..process.clone() };
    Ok(Order { process, environment, parts, routes, log, port: None, action })
}

/// The port that it listens on, whichever is free: that of the file, or of its own variables, whose PORT it goes by.
fn fixed_port(process: &Process, more: &BTreeMap<String, Option<String>>) -> Option<u16> {
    let said = more.get("PORT").and_then(Option::as_deref).and_then(|port| port.trim().parse::<u16>().ok());
    process.port.or(said.filter(|port| *port != 0 && process.listens()))
}

/// All variables of a process but its port: those of this command, the platform's, its own.
async fn environment(
    session: &Session,
    loaded: &Loaded,
    seen: &Survey,
    process: &Process,
    settings: BTreeMap<String, String>,
    more: BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut environment = session.host().environment();
    // of the shell that `up` was typed in; it is some other program's
    environment.remove("PORT");
    environment.extend(settings);
    environment.extend(trusted(session, loaded).await?);
    environment.insert("OTEL_SERVICE_NAME".into(), process.name.clone());
    if let Some(name) = process.hosts.first().filter(|_| has_ingress(&seen.platform)) {
        environment.insert("MACULA_URL".into(), named_url(seen, name));
        environment.insert(VITE_HOST.into(), format!("{name}.{}", seen.platform.domain));
    }
    for (name, value) in more {
        match value {
            Some(value) => environment.insert(name, value),
            None => environment.remove(&name),
        };
    }
    Ok(environment)
}

/// A declared process for `macula run NAME`: what it is run with in the foreground, beside this process's environment.
pub async fn own_environment(session: &Session, process: &Process) -> Result<BTreeMap<String, Option<String>>, Error> {
    more(session.host(), process).await
}

/// Whether the keeper runs this process at the moment.
pub async fn process_is_kept(session: &Session, platform: &PlatformName, name: &str) -> bool {
    let found = processes::keeping(session.host(), platform).await;
    !found.lost && found.states.iter().any(|state| state.name == name && state.condition.is_alive())
}

/// Waits until these are ready; those that are not, with the reason.
async fn settle(
    session: &Session,
    platform: &Platform,
    names: &[String],
    timeout: Option<Duration>,
) -> Result<Vec<ProcessFailure>, Error> {
    let begun = Instant::now();
    let mut told = begun;
    let mut open: Vec<String> = names.to_vec();
    let mut failures = Vec::new();
    while !open.is_empty() {
        let found = processes::keeping(session.host(), &platform.name).await;
        let is_long = told.elapsed() >= REMINDER;
        if is_long {
            told = Instant::now();
        }
        let mut left = Vec::new();
        for name in open {
            let Some(state) = found.states.iter().find(|state| state.name == name) else { continue };
            let process = platform.processes.get(&name);
            let usual = platform.timeouts.healthy;
            let own = process.and_then(|process| process.probe.as_ref()).and_then(|probe| probe.timeout);
            let over = begun.elapsed() >= timeout.or(own).unwrap_or(usual);
            let listens = process.is_some_and(Process::listens);
            match verdict(state, listens, over, begun.elapsed() >= NAME) {
                None => {
                    if is_long && let Some(why) = not_yet(session.host(), state, process, listens).await {
                        let since = words::span(begun.elapsed().as_secs());
                        session.events.info(format!("{name}: not ready after {since}: {why}"));
                    }
                    left.push(name);
                }
                Some(Ok(())) => {
                    session.events.info(format!("{name}: ready ({})", words::fine_duration(begun.elapsed())));
                }
                Some(Err(mut reason)) => {
                    if over && let Some(elsewhere) = listens_elsewhere(session.host(), state, process).await {
                        reason = elsewhere;
                    }
                    failures.push(ProcessFailure { name, reason, log_tail: log_tail(session.host(), state).await });
                }
            }
        }
        open = left;
        if found.lost {
            let reason = "the process that keeps it was killed".to_owned();
            failures.extend(open.drain(..).map(|name| ProcessFailure {
                name,
                reason: reason.clone(),
                log_tail: Vec::new(),
            }));
        }
        if open.is_empty() {
            break;
        }
        if !pause(LOOK, &session.cancel).await {
            return Err(Error::Cancelled);
        }
    }
    Ok(failures)
}

/// Whether a process has come up; none: that is not decided yet. Pure. `over`: the time for it; `settled`: the time in
/// which another program may give its name back.
pub(super) fn verdict(state: &ProcessState, listens: bool, over: bool, settled: bool) -> Option<Result<(), String>> {
    let code = state.exit_code.unwrap_or_default();
    let not_found = if code == 127 { " (the shell did not find the program)" } else { "" };
    let ended = || Some(Err(format!("it ended with exit code {code}{not_found}")));
    match state.condition {
        ProcessCondition::Running => match &state.nameless {
            None => Some(Ok(())),
            Some(problem) if settled => Some(Err(format!("it runs, and does not have its name: {problem}"))),
            Some(_) => None,
        },
        ProcessCondition::Finished if listens => Some(Err("it ended with exit code 0 before it was ready".to_owned())),
        ProcessCondition::Finished => Some(Ok(())),
        ProcessCondition::Crashed => ended(),
        ProcessCondition::Blocked => Some(Err(state.reason.clone().unwrap_or_default())),
        ProcessCondition::Stopped => Some(Err("it was stopped meanwhile".to_owned())),
        ProcessCondition::Restarting | ProcessCondition::Starting if state.restarts >= HOPELESS => {
            Some(Err(format!("it ended {} times, with exit code {code}{not_found}", state.restarts)))
        }
        ProcessCondition::Restarting | ProcessCondition::Starting if over => Some(Err(match state.port {
            Some(port) => format!("it runs, and is not ready: nothing answers on port {port}"),
            None => "it is not ready".to_owned(),
        })),
        ProcessCondition::Restarting | ProcessCondition::Starting => None,
    }
}

/// What one lacks that may come up yet.
async fn not_yet(host: &dyn Host, state: &ProcessState, process: Option<&Process>, listens: bool) -> Option<String> {
    if let Some(elsewhere) = listens_elsewhere(host, state, process).await {
        return Some(elsewhere);
    }
    verdict(state, listens, true, true)?.err()
}

/// It listens, and not where it was told to.
async fn listens_elsewhere(host: &dyn Host, state: &ProcessState, process: Option<&Process>) -> Option<String> {
    let (pid, wanted) = (state.pid?, state.port?);
    let own = ports_of(host, &Family { group: Some(pid), ..Family::default() }).await;
    if own.is_empty() || own.contains(&wanted) {
        return None;
    }
    let ports = words::list(words::unique(own).iter().map(ToString::to_string));
    let whence = if process.is_some_and(|process| process.port.is_some()) { "its `port`" } else { "which is in PORT" };
    Some(format!("it listens on port {ports} instead of {wanted}, {whence}"))
}

/// The end of what it has written in this run.
pub(super) async fn log_tail(host: &dyn Host, state: &ProcessState) -> Vec<String> {
    let text = host.read(&state.log).await.unwrap_or_default();
    let from = usize::try_from(state.log_from).unwrap_or(usize::MAX);
    // a long one loses its beginning
    let own = if from > text.len() { text.as_slice() } else { text.get(from..).unwrap_or_default() };
    last_lines(&String::from_utf8_lossy(own))
}

/// As many lines from the end as an error shows.
pub(super) fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| (*line).to_owned()).collect()
}

/// What `macula restart`, `stop` and `start` do with processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessWork {
    Start,
    Stop,
    Restart,
}

/// On these; none named: on all that are kept. Returns which.
pub async fn work_on_processes(
    session: &Session,
    platform: &PlatformName,
    loaded: Option<&Loaded>,
    work: ProcessWork,
    names: Option<&BTreeSet<String>>,
) -> Result<Vec<String>, Error> {
    let found = processes::keeping(session.host(), platform).await;
    let kept = |name: &String| found.states.iter().any(|state| state.name == *name);
    if let Some(missing) = names.into_iter().flatten().find(|name| !kept(name) || found.lost) {
        return Err(Error::ProcessNotKept { name: missing.clone() });
    }
    if found.lost || found.states.is_empty() {
        return Ok(Vec::new());
    }
    let all = found.states.iter().filter(|state| names.is_none_or(|names| names.contains(&state.name)));
    // what has done its work is started again only by its name
    let wanted = |state: &&ProcessState| match work {
        ProcessWork::Stop => state.condition != ProcessCondition::Stopped,
        ProcessWork::Start => {
            !state.condition.is_alive() && (names.is_some() || state.condition != ProcessCondition::Finished)
        }
        ProcessWork::Restart => names.is_some() || state.condition != ProcessCondition::Finished,
    };
    let chosen: Vec<String> = all.filter(wanted).map(|state| state.name.clone()).collect();
    if chosen.is_empty() {
        return Ok(chosen);
    }
    match work {
        ProcessWork::Stop => processes::stop(session, platform, &chosen).await?,
        ProcessWork::Start => processes::start(session, platform, &chosen, false).await?,
        ProcessWork::Restart => processes::start(session, platform, &chosen, true).await?,
    }
    if let (Some(loaded), ProcessWork::Start | ProcessWork::Restart) = (loaded, work) {
        let failures = settle(session, &loaded.platform, &chosen, None).await?;
        if !failures.is_empty() {
            return Err(Error::Processes(failures));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
