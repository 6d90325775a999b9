//! What `top` shows of each: services, processes of macula.yaml, programs of `macula run`.

use serde::Serialize;

use super::super::condition::Condition;
use super::super::process_status::{ProcessStanding, ProcessStatus};
use super::super::run::ProgramStatus;
use super::super::service_status::{ServiceState, ServiceStatus};
use super::super::status::{Counts, PlatformStatus};
use crate::app::usage::{MachineUsage, Rates, Subject};
use crate::model::Health;

/// The contract of `top -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Top {
    pub platform: PlatformStatus,
    /// The one that macula runs on; nothing where the kernel does not say.
    pub machine: Option<MachineUsage>,
    /// All of the platform together.
    pub total: TopTotal,
    pub services: Vec<TopRow>,
    /// As `status` counts.
    #[serde(skip)]
    pub counts: Counts,
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

/// A service, a process or a program that is part of what is up, or should be.
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
    /// As in `status`.
    pub reason: Option<String>,
    pub restarts: i64,
    /// Since it came into this condition.
    pub seconds: Option<u64>,
    /// Of what runs and can be measured.
    pub usage: Option<Rates>,
    /// That the ingress passes on to it; nothing where that is not counted.
    pub requests_per_second: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopKind {
    Service,
    /// Of macula.yaml.
    Process,
    /// Of `macula run`.
    Program,
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

pub(super) fn subject(row: &TopRow) -> Subject {
    match row.kind {
        TopKind::Service => Subject::Service(row.name.clone()),
        TopKind::Process | TopKind::Program => Subject::Program(row.name.clone()),
    }
}

pub(super) fn service_row(service: ServiceStatus) -> TopRow {
    TopRow {
        name: service.name,
        kind: TopKind::Service,
        stack: service.stack,
        state: TopState::Service(service.state),
        health: service.health,
        condition: service.condition,
        reason: service.reason,
        restarts: service.restarts,
        seconds: service.seconds,
        usage: None,
        requests_per_second: None,
    }
}

pub(super) fn process_row(process: ProcessStatus) -> TopRow {
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
        reason: process.reason,
        restarts: process.restarts.into(),
        seconds: process.seconds,
        usage: None,
        requests_per_second: None,
    }
}

pub(super) fn program_row(program: &ProgramStatus) -> TopRow {
    let (state, condition) = match program.pid {
        Some(_) => (ProcessStanding::Running, Condition::Running),
        None => (ProcessStanding::Finished, Condition::Finished),
    };
    TopRow {
        name: program.name.clone(),
        kind: TopKind::Program,
        stack: String::new(),
        state: TopState::Process(state),
        health: Health::None,
        condition,
        reason: None,
        restarts: 0,
        seconds: program.seconds,
        usage: None,
        requests_per_second: None,
    }
}

pub(super) fn total(rows: &[TopRow]) -> TopTotal {
    let used = rows.iter().filter_map(|row| row.usage);
    used.fold(TopTotal::default(), |sum, one| TopTotal {
        cpu_percent: sum.cpu_percent + one.cpu_percent,
        memory: sum.memory.saturating_add(one.memory),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn process(state: ProcessStanding, lost: bool) -> ProcessStatus {
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
            left_out: None,
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
        let run = ProgramStatus { name: "api".into(), family: None, pid: Some(9), seconds: Some(4) };
        let ended = ProgramStatus { pid: None, ..run.clone() };
        assert_eq!(
            (program_row(&run).condition, program_row(&ended).condition),
            (Condition::Running, Condition::Finished)
        );
    }

    #[test]
    fn rows_are_kept_by_name_and_all_of_them_without_names() {
        let row = |name: &str| TopRow { name: name.into(), ..process_row(process(ProcessStanding::Running, false)) };
        let kept = |names: &[&str]| {
            let platform = PlatformStatus {
                name: "shop".into(),
                domain: "shop.macula.local".into(),
                incomplete: false,
                unread: None,
                down: false,
                volumes: 0,
                owner: None,
                at_work: None,
                up_seconds: None,
                elsewhere: std::collections::BTreeSet::new(),
            };
            let (total, counts) = (TopTotal::default(), Counts::default());
            let mut top = Top { platform, machine: None, total, services: vec![row("web"), row("db")], counts };
            top.keep(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
            top.services.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[]), ["web", "db"]);
        assert_eq!(kept(&["db"]), ["db"]);
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
