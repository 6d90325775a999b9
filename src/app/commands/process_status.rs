//! How the programs of this machine are, for `status`, `top` and the last screen of `up`.

use serde::Serialize;

use crate::app::processes::{self, ProcessCondition, ProcessState};
use crate::app::{Session, Survey};
use crate::config::Loaded;
use crate::model::{Platform, macula};
use crate::plan::{Reason, left_out_processes};

use super::membership::{has_ingress, named_url};

/// A process as `status` tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessStatus {
    pub name: String,
    pub state: ProcessStanding,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub urls: Vec<String>,
    pub exit_code: Option<i32>,
    /// How often it was started again since somebody asked for it.
    pub restarts: u32,
    /// Since it has been so.
    pub seconds: Option<u64>,
    pub reason: Option<String>,
    /// The same of one that is left out, as far as it is known.
    #[serde(skip)]
    pub left_out: Option<Reason>,
    /// The process that kept it was killed.
    pub lost: bool,
}

impl ProcessStatus {
    /// It can be used, or will be in a moment.
    pub fn runs(&self) -> bool {
        matches!(self.state, ProcessStanding::Running | ProcessStanding::Starting)
    }

    /// Something is wrong with it.
    pub fn is_problem(&self) -> bool {
        let bad = [ProcessStanding::Crashed, ProcessStanding::Restarting, ProcessStanding::Blocked];
        self.lost || bad.contains(&self.state)
    }
}

/// What a process is doing: what its keeper says, or that it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessStanding {
    /// It runs, and is not ready yet.
    Starting,
    Running,
    /// It has ended, and is about to be started again.
    Restarting,
    /// It has ended with an error, or was killed together with its keeper.
    Crashed,
    /// It could not be started.
    Blocked,
    /// It has ended well.
    Finished,
    /// By `macula stop`.
    Stopped,
    /// Declared, and nobody keeps it.
    Missing,
    /// The same, since it needs a service that is left out.
    LeftOut,
}

impl From<ProcessCondition> for ProcessStanding {
    fn from(condition: ProcessCondition) -> Self {
        match condition {
            ProcessCondition::Starting => Self::Starting,
            ProcessCondition::Running => Self::Running,
            ProcessCondition::Restarting => Self::Restarting,
            ProcessCondition::Crashed => Self::Crashed,
            ProcessCondition::Blocked => Self::Blocked,
            ProcessCondition::Finished => Self::Finished,
            ProcessCondition::Stopped => Self::Stopped,
        }
    }
}

/// How the processes are, those that macula.yaml declares and those that are kept all the same. `seen`: for
/// their addresses, where these are of interest.
pub(super) async fn process_rows(session: &Session, loaded: &Loaded, seen: Option<&Survey>) -> Vec<ProcessStatus> {
    let (host, platform) = (session.host(), &loaded.platform);
    let found = processes::keeping(host, &platform.name).await;
    let mut rows: Vec<ProcessStatus> =
        found.states.iter().map(|state| row(platform, seen, state, found.lost, host.now())).collect();
    let services = seen.map(|seen| seen.supply.left_out.as_slice()).unwrap_or_default();
    let left_out = left_out_processes(&platform.processes, services);
    for name in platform.processes.keys().filter(|name| found.states.iter().all(|state| state.name != **name)) {
        let left = left_out.iter().find(|left| left.service == *name);
        rows.push(ProcessStatus {
            name: name.clone(),
            state: if left.is_some() { ProcessStanding::LeftOut } else { ProcessStanding::Missing },
            pid: None,
            port: None,
            urls: Vec::new(),
            exit_code: None,
            restarts: 0,
            seconds: None,
            reason: left.map(|left| left.reason.to_string()),
            left_out: left.map(|left| left.reason.clone()),
            lost: false,
        });
    }
    if !loaded.incomplete {
        let declared = |name: &String| platform.processes.contains_key(name);
        let up = session.line(macula("up"));
        for row in rows.iter_mut().filter(|row| !declared(&row.name) && row.reason.is_none()) {
            row.reason = Some(format!("not in macula.yaml any more; `{up}` would end it"));
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn row(platform: &Platform, seen: Option<&Survey>, state: &ProcessState, lost: bool, now: i64) -> ProcessStatus {
    let lost = lost && state.condition.is_alive();
    let declared = platform.processes.get(&state.name);
    let hosts = declared.map(|process| process.hosts.as_slice()).unwrap_or_default();
    let reaches = state.condition.is_alive() && !lost && state.port.is_some();
    let named = reaches && state.nameless.is_none();
    let code = state.exit_code.unwrap_or_default();
    let reason = match state.condition {
        _ if lost => Some("the process that kept it was killed".to_owned()),
        ProcessCondition::Restarting => Some(format!("exit code {code}, started again {}", times(state.restarts))),
        ProcessCondition::Crashed => Some(format!("exit code {code}")),
        ProcessCondition::Blocked => state.reason.clone(),
        _ => None,
    };
    ProcessStatus {
        name: state.name.clone(),
        state: if lost { ProcessStanding::Crashed } else { state.condition.into() },
        pid: state.pid.filter(|_| !lost),
        port: state.port.filter(|_| reaches),
        urls: match seen {
            Some(seen) if named && has_ingress(&seen.platform) => {
                hosts.iter().map(|name| named_url(seen, name)).collect()
            }
            _ => Vec::new(),
        },
        exit_code: state.exit_code,
        restarts: state.restarts,
        seconds: u64::try_from(now - state.since).ok().filter(|_| !lost),
        reason: reason.or(state.nameless.clone().filter(|_| reaches)),
        left_out: None,
        lost,
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
