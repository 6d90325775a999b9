//! Programs of this machine: what an `up` does with them, and what follows when one ends. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reason;
use super::supply::LeftOut;
use crate::model::{Process, Restart};

/// What a process was started with, as digests by the part of the file: these tell what has changed.
pub type Parts = BTreeMap<String, String>;

/// Parts that a process has only from its start on; any other is taken up while it runs.
const AT_START: [&str; 4] = ["command", "cwd", "environment", "port"];

/// A part of what is kept by a process of ours that is replaced, and of nothing that is wanted.
pub const KEEPER: &str = "keeper";

/// A process that is kept, as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptProcess {
    pub parts: Parts,
    /// It runs, or is about to run again.
    pub alive: bool,
    /// By `macula stop`, or since it has done its work.
    pub rests: bool,
}

/// What is done with one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStep {
    pub name: String,
    pub action: ProcessAction,
    /// Parts of the file that have changed, or [`KEEPER`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessAction {
    /// It is new, or does not run.
    Start,
    /// It is stopped and started again.
    Restart,
    /// It goes on running under other rules.
    Update,
    /// Nobody wants it any more.
    Remove,
}

impl fmt::Display for ProcessStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, word) = match self.action {
            ProcessAction::Start => ("+", "start"),
            ProcessAction::Restart => ("~", "restart"),
            ProcessAction::Update => ("~", "update"),
            ProcessAction::Remove => ("-", "end"),
        };
        write!(f, "{sign} {word} process {} ({})", self.name, self.cause())
    }
}

impl ProcessStep {
    /// Why, in words.
    pub fn cause(&self) -> String {
        match (self.action, self.changed.as_slice()) {
            (ProcessAction::Remove, _) => "no longer in macula.yaml".to_owned(),
            (ProcessAction::Start, []) => "not running".to_owned(),
            (_, []) => "requested".to_owned(),
            (_, changed) => format!("{} changed", crate::words::list(changed)),
        }
    }
}

/// What an `up` does. `chosen`: only these; none: all, and those that are no longer wanted are removed. `again`: also
/// those that run as they should are started again.
pub fn process_steps(
    wanted: &BTreeMap<String, Parts>,
    kept: &BTreeMap<String, KeptProcess>,
    chosen: Option<&BTreeSet<String>>,
    again: bool,
) -> Vec<ProcessStep> {
    let mut steps = Vec::new();
    let step = |name: &String, action, changed| ProcessStep { name: name.clone(), action, changed };
    if chosen.is_none() {
        let gone = kept.keys().filter(|name| !wanted.contains_key(*name));
        steps.extend(gone.map(|name| step(name, ProcessAction::Remove, Vec::new())));
    }
    for (name, parts) in wanted.iter().filter(|(name, _)| chosen.is_none_or(|chosen| chosen.contains(*name))) {
        let Some(found) = kept.get(name) else {
            steps.push(step(name, ProcessAction::Start, Vec::new()));
            continue;
        };
        let changed = changed(&found.parts, parts);
        let at_start = changed.iter().any(|part| AT_START.contains(&part.as_str()));
        let handed_on = changed.iter().any(|part| part == KEEPER);
        // one that has done its work, or that the user has stopped, is asked for by its name
        let rests = found.rests && chosen.is_none() && !at_start && !again;
        match (found.alive, changed.is_empty()) {
            (true, _) if at_start || again || handed_on => steps.push(step(name, ProcessAction::Restart, changed)),
            (true, false) => steps.push(step(name, ProcessAction::Update, changed)),
            (true, true) => {}
            (false, true) if rests => {}
            (false, false) if rests => steps.push(step(name, ProcessAction::Update, changed)),
            (false, _) => steps.push(step(name, ProcessAction::Start, changed)),
        }
    }
    steps
}

fn changed(before: &Parts, now: &Parts) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != now.get(*name)).cloned().collect()
}

/// Those that need a service that is left out, or another one of them, each with the reason.
pub fn left_out_processes(processes: &BTreeMap<String, Process>, services: &[LeftOut]) -> Vec<LeftOut> {
    let mut gone: Vec<LeftOut> = Vec::new();
    loop {
        let away = |name: &str| services.iter().chain(&gone).any(|left| left.service == name);
        let missed = processes.values().filter(|process| gone.iter().all(|left| left.service != process.name));
        let next = missed.filter_map(|process| Some((process, process.needs.iter().find(|need| away(need))?))).next();
        let Some((process, need)) = next else { return gone };
        gone.push(LeftOut { service: process.name.clone(), reason: Reason::Needs(need.clone()) });
    }
}

/// Adds the processes that need what is left out to it. `chosen`: only of these; none: of all.
pub fn leave_out_processes(
    left_out: &mut Vec<LeftOut>,
    processes: &BTreeMap<String, Process>,
    chosen: Option<&BTreeSet<String>>,
) {
    let mut gone = left_out_processes(processes, left_out);
    gone.retain(|left| chosen.is_none_or(|chosen| chosen.contains(&left.service)));
    left_out.extend(gone);
}

/// In which order they are started: each wave needs only what is in those before it. `config` has refused circles.
pub fn process_waves<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Vec<Vec<String>> {
    let mut left: BTreeMap<&str, &Process> =
        processes.into_iter().map(|process| (process.name.as_str(), process)).collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let waits = |process: &&&Process| process.needs.iter().any(|need| left.contains_key(need.as_str()));
        let mut wave: Vec<String> =
            left.values().filter(|process| !waits(process)).map(|process| process.name.clone()).collect();
        if wave.is_empty() {
            wave = left.keys().map(|name| (*name).to_owned()).collect();
        }
        left.retain(|name, _| !wave.iter().any(|done| done == name));
        waves.push(wave);
    }
    waves
}

/// The first pause before another start; it doubles with each start that comes to nothing.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that has run for this long has not failed at its start.
pub const SETTLED: Duration = Duration::from_secs(10);

/// What follows when a process has ended by itself: the pause until it is started again; none: it stays as it is.
/// `failures`: how often it has ended in a row without having run for long, this time included.
pub fn process_again(policy: &Restart, exit_code: i32, failures: u32) -> Option<Duration> {
    let again = match policy {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure(most) => exit_code != 0 && most.is_none_or(|most| i64::from(failures) <= most),
    };
    let doubled = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    again.then(|| doubled.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &str)]) -> Parts {
        all.iter().map(|(part, digest)| ((*part).to_owned(), (*digest).to_owned())).collect()
    }

    fn wanted(all: &[(&str, &Parts)]) -> BTreeMap<String, Parts> {
        all.iter().map(|(name, parts)| ((*name).to_owned(), (*parts).clone())).collect()
    }

    fn kept(all: &[(&str, &Parts, bool, bool)]) -> BTreeMap<String, KeptProcess> {
        let one = |parts: &Parts, alive, rests| KeptProcess { parts: parts.clone(), alive, rests };
        all.iter().map(|(name, parts, alive, rests)| ((*name).to_owned(), one(parts, *alive, *rests))).collect()
    }

    fn process(name: &str, needs: &[&str]) -> Process {
        Process {
            name: name.to_owned(),
            command: vec!["true".into()],
            folder: "/".into(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            hosts: Vec::new(),
            port: None,
            probe: None,
            environment: BTreeMap::new(),
            env_files: Vec::new(),
            watch: Vec::new(),
            restart: Restart::No,
            stop_grace_period: Process::GRACE,
        }
    }

    fn told(steps: &[ProcessStep]) -> Vec<String> {
        steps.iter().map(|step| format!("{:?} {} ({})", step.action, step.name, step.cause())).collect()
    }

    #[test]
    fn what_needs_something_left_out_is_left_out_too() {
        let all =
            [process("api", &["db", "web"]), process("job", &[]), process("page", &["api"]), process("web", &["db"])];
        let all: BTreeMap<String, Process> = all.map(|process| (process.name.clone(), process)).into();
        let left = |service: &str| LeftOut { service: service.into(), reason: "no image".into() };
        let told = |services: &[LeftOut]| -> Vec<String> {
            left_out_processes(&all, services).iter().map(|left| format!("{}: {}", left.service, left.reason)).collect()
        };
        assert_eq!(
            told(&[left("db"), left("mail")]),
            [
                "api: it needs db, which is left out",
                "page: it needs api, which is left out",
                "web: it needs db, which is left out"
            ]
        );
        assert_eq!(told(&[left("mail")]), [""; 0]);
        let added = |chosen: Option<&BTreeSet<String>>| {
            let mut all_left = vec![left("db")];
            leave_out_processes(&mut all_left, &all, chosen);
            all_left.into_iter().map(|left| left.service).collect::<Vec<_>>()
        };
        assert_eq!(added(None), ["db", "api", "page", "web"]);
        assert_eq!(added(Some(&["web".to_owned(), "job".to_owned()].into())), ["db", "web"]);
    }

    #[test]
    fn a_step_is_told_with_its_sign_and_its_cause() {
        let none: &[&str] = &[];
        for (action, changed, expected) in [
            (ProcessAction::Start, none, "+ start process web (not running)"),
            (ProcessAction::Start, &["command"][..], "+ start process web (command changed)"),
            (ProcessAction::Restart, none, "~ restart process web (requested)"),
            (ProcessAction::Update, &["restart", "watch"][..], "~ update process web (restart and watch changed)"),
            (ProcessAction::Remove, &["command"][..], "- end process web (no longer in macula.yaml)"),
        ] {
            let changed = changed.iter().map(|part| (*part).to_owned()).collect();
            assert_eq!(ProcessStep { name: "web".into(), action, changed }.to_string(), expected);
        }
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let one = parts(&[("command", "1"), ("watch", "2")]);
        let wanted = wanted(&[("api", &one), ("job", &one), ("web", &one)]);
        let kept = kept(&[("api", &one, true, false), ("job", &one, false, true), ("web", &one, true, false)]);
        assert_eq!(process_steps(&wanted, &kept, None, false), []);
        let all = process_steps(&wanted, &kept, None, true);
        assert_eq!(told(&all), ["Restart api (requested)", "Start job (not running)", "Restart web (requested)"]);
    }

    #[test]
    fn what_runs_is_started_again_when_its_keeper_is_replaced() {
        let one = parts(&[("command", "1")]);
        let handed_on = parts(&[("command", "1"), (KEEPER, "")]);
        let wanted = wanted(&[("api", &one), ("job", &one), ("web", &one)]);
        let kept = kept(&[
            ("api", &handed_on, true, false),
            ("job", &handed_on, false, true),
            ("web", &handed_on, false, false),
        ]);
        assert_eq!(
            told(&process_steps(&wanted, &kept, None, false)),
            ["Restart api (keeper changed)", "Update job (keeper changed)", "Start web (keeper changed)"]
        );
    }

    #[test]
    fn each_change_has_its_cause() {
        let old = parts(&[("command", "1"), ("environment", "2"), ("watch", "3")]);
        let command = parts(&[("command", "9"), ("environment", "8"), ("watch", "3")]);
        let watch = parts(&[("command", "1"), ("environment", "2")]);
        let wanted = wanted(&[("changed", &command), ("crashed", &old), ("new", &old), ("ruled", &watch)]);
        let kept = kept(&[
            ("changed", &old, true, false),
            ("crashed", &old, false, false),
            ("gone", &old, true, false),
            ("ruled", &old, true, false),
        ]);
        assert_eq!(
            told(&process_steps(&wanted, &kept, None, false)),
            [
                "Remove gone (no longer in macula.yaml)",
                "Restart changed (command and environment changed)",
                "Start crashed (not running)",
                "Start new (not running)",
                "Update ruled (watch changed)",
            ]
        );
    }

    #[test]
    fn one_that_is_named_is_started_and_no_other_is_touched() {
        let one = parts(&[("command", "1")]);
        let wanted = wanted(&[("web", &one), ("api", &one)]);
        let kept = kept(&[("web", &one, false, true), ("gone", &one, true, false)]);
        let chosen = BTreeSet::from(["web".to_owned()]);
        assert_eq!(told(&process_steps(&wanted, &kept, Some(&chosen), false)), ["Start web (not running)"]);
        // a stopped one stays stopped, and its new command makes it wanted again
        let other = parts(&[("command", "2")]);
        let stopped = wanted.clone();
        assert_eq!(told(&process_steps(&stopped, &kept, None, false))[0], "Remove gone (no longer in macula.yaml)");
        let changed = [("web".to_owned(), other)].into();
        assert_eq!(told(&process_steps(&changed, &kept, None, false))[1], "Start web (command changed)");
    }

    #[test]
    fn what_others_need_is_started_before_them() {
        let all = [
            process("web", &["api", "postgres"]),
            process("api", &["worker"]),
            process("worker", &[]),
            process("docs", &[]),
        ];
        assert_eq!(process_waves(&all), [vec!["docs", "worker"], vec!["api"], vec!["web"]]);
        // a circle is started all the same
        let circle = [process("a", &["b"]), process("b", &["a"]), process("c", &["a"])];
        assert_eq!(process_waves(&circle), [["a", "b", "c"]]);
    }

    #[test]
    fn policies_of_restarts() {
        let millis = |policy, code, failures| process_again(&policy, code, failures).map(|pause| pause.as_millis());
        assert_eq!(millis(Restart::No, 1, 1), None);
        assert_eq!(millis(Restart::OnFailure(None), 0, 1), None);
        assert_eq!(millis(Restart::OnFailure(None), 1, 1), Some(250));
        assert_eq!(millis(Restart::OnFailure(None), 1, 3), Some(1000));
        assert_eq!(millis(Restart::OnFailure(None), 1, 40), Some(10_000));
        assert_eq!(millis(Restart::OnFailure(Some(2)), 1, 2), Some(500));
        assert_eq!(millis(Restart::OnFailure(Some(2)), 1, 3), None);
        assert_eq!(millis(Restart::Always, 0, 1), Some(250));
        assert_eq!(millis(Restart::UnlessStopped, 0, 2), Some(500));
    }
}
