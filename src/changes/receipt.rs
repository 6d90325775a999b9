//! The list of changes on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Change, ChangeError, Effect};
use crate::host::kept::{self, FileError, KeptFile};
use crate::host::{Command, Host, Lock, RunError};

/// Raised when an older macula could no longer undo what is written here.
const FORMAT: u64 = 1;
/// Others only write a few lines under the lock, or undo as much as there is.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who has the lock, for others.
const FIXING: &str = "macula doctor --fix";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipt {
    format: u64,
    /// Oldest first.
    pub changes: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: u64,
    /// Seconds since the epoch.
    pub at: i64,
    /// Which boot of the machine it was; none: the system does not say.
    pub boot: Option<String>,
    pub why: String,
    /// As it could be typed.
    pub command: String,
    /// False: it was begun, and how far it came is not known.
    pub done: bool,
    pub undo: Undo,
}

/// What was there, and what undoing takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Undo {
    Settings {
        values: Vec<Setting>,
        lasting: bool,
    },
    File(KeptFile),
    Rule {
        table: Option<String>,
        rule: Vec<String>,
    },
    Address {
        interface: String,
        address: String,
    },
    /// Those that were not there before; the commands take their names behind them.
    Packages {
        names: Vec<String>,
        query: Vec<String>,
        remove: String,
    },
    /// `how`: a line for the user to type, where there is one. `pid`: of what runs for as long as it is there.
    ByHand {
        what: String,
        how: Option<String>,
        lasting: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub name: String,
    pub before: String,
    pub after: String,
}

impl Undo {
    /// Still there after the next boot.
    pub fn lasts(&self) -> bool {
        match self {
            Self::Settings { lasting, .. } | Self::ByHand { lasting, .. } => *lasting,
            Self::File(_) | Self::Packages { .. } => true,
            Self::Rule { .. } | Self::Address { .. } => false,
        }
    }

    /// What there is before the change is made. None: it changes nothing that is to be undone.
    async fn look(host: &dyn Host, change: &Change) -> Result<Option<Self>, ChangeError> {
        Ok(match &change.effect {
            Effect::Settings { values, lasting } => {
                let mut changed = Vec::new();
                for (name, after) in values {
                    let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
                    let before = host.sysctl(name).await.map_err(FileError::io(&path))?.trim().to_owned();
                    if before != *after {
                        changed.push(Setting { name: name.clone(), before, after: after.clone() });
                    }
                }
                (!changed.is_empty()).then_some(Self::Settings { values: changed, lasting: *lasting })
            }
            Effect::File { path } => {
                let after = change.command.stdin.as_deref().unwrap_or_default();
                let before = kept::read(host, path).await?;
                if before.as_deref() == Some(after) {
                    return Ok(None);
                }
                for content in before.as_deref().into_iter().chain([after]) {
                    kept::keep(host, &folder(host), content).await?;
                }
                Some(Self::File(KeptFile::new(path, before.as_deref(), Some(after))))
            }
            Effect::Rule { table, rule } => Some(Self::Rule { table: table.map(str::to_owned), rule: rule.clone() }),
            Effect::Address { interface, address } => {
                Some(Self::Address { interface: interface.clone(), address: address.clone() })
            }
            Effect::Packages { names, query, remove } => {
                let names = without_installed(host, query, names).await;
                let remove = as_root(host, remove);
                (!names.is_empty()).then(|| Self::Packages { names, query: query.clone(), remove })
            }
            Effect::Unit { name, user } => {
                let systemctl = |words: &[&str]| {
                    let words = user.then_some("--user").into_iter().chain(words.iter().copied()).chain([*name]);
                    Command::new("systemctl", words)
                };
                let enabled = host.run(&systemctl(&["is-enabled"]).may_fail()).await;
                let back = match enabled.is_ok_and(|output| output.success()) {
                    true => systemctl(&["stop"]),
                    false => systemctl(&["disable", "--now"]),
                };
                let back = if *user { back } else { back.privileged() };
                let what = format!("the service {name} was started");
                Some(Self::ByHand { what, how: Some(as_typed(host, &back)), lasting: true, pid: None })
            }
            Effect::Daemon => {
                let what = format!("{} was started in the background", change.command.program);
                Some(Self::ByHand { what, how: None, lasting: false, pid: None })
            }
            Effect::Member { user, group } => {
                let back = Command::new("gpasswd", ["-d", user, group]).privileged();
                let new = !host.facts().login_groups.contains(group);
                new.then(|| Self::ByHand {
                    what: format!("{user} was put into the group {group}"),
                    how: Some(as_typed(host, &back)),
                    lasting: true,
                    pid: None,
                })
            }
            Effect::Other { what, how, lasting } => Some(Self::ByHand {
                what: what.clone(),
                how: how.as_ref().map(|how| as_root(host, how)),
                lasting: *lasting,
                pid: None,
            }),
        })
    }
}

/// Those of the packages that are not installed.
async fn without_installed(host: &dyn Host, query: &[String], names: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for name in names {
        if !installed(host, query, name).await {
            missing.push(name.clone());
        }
    }
    missing
}

pub(super) async fn installed(host: &dyn Host, query: &[String], name: &str) -> bool {
    let Some((program, words)) = query.split_first() else { return false };
    let command = Command::new(program, words.iter().map(String::as_str).chain([name])).may_fail();
    // of dpkg: a package that was removed is listed for as long as its settings are there
    let gone = |said: String| matches!(said.trim(), "config-files" | "not-installed");
    host.run(&command).await.is_ok_and(|output| output.success() && !gone(output.stdout()))
}

/// As root nothing is run through sudo, and there may be none.
pub(super) fn as_typed(host: &dyn Host, command: &Command) -> String {
    let privileged = command.privileged && host.facts().uid != 0;
    Command { privileged, ..command.clone() }.to_string()
}

fn as_root(host: &dyn Host, words: &[String]) -> String {
    let command = words.split_first().map(|(program, words)| Command::new(program, words).privileged());
    as_typed(host, &command.unwrap_or_default())
}

/// Which boot of the machine this is.
pub(super) fn boot(host: &dyn Host) -> Option<String> {
    host.read_kernel(Path::new("/proc/sys/kernel/random/boot_id")).map(|id| id.trim().to_owned())
}

/// A name that no platform can have.
pub(super) fn folder(host: &dyn Host) -> PathBuf {
    host.folders().data.join("host.d")
}

pub(super) async fn lock(host: &dyn Host, command: &str) -> Result<Lock, ChangeError> {
    let path = host.folders().data.join("host.lock");
    Ok(Lock::acquire(host, &path, command, Some(PATIENCE), |_| {}).await?)
}

impl Receipt {
    fn path(host: &dyn Host) -> PathBuf {
        folder(host).join("receipt.json")
    }

    /// Empty when there is none.
    pub async fn load(host: &dyn Host) -> Result<Self, ChangeError> {
        let there = kept::load(host, &Self::path(host), "format", FORMAT).await?;
        Ok(there.unwrap_or(Self { format: FORMAT, changes: Vec::new() }))
    }

    /// Removes the copies that no change needs, and all of it with the last change.
    pub async fn save(&self, host: &dyn Host) -> Result<(), ChangeError> {
        let folder = folder(host);
        if self.changes.is_empty() {
            return Ok(host.remove_folder(&folder).await?);
        }
        kept::save(host, &Self::path(host), self).await?;
        let files = self.changes.iter().filter_map(|entry| match &entry.undo {
            Undo::File(file) => Some(file),
            _ => None,
        });
        Ok(kept::tidy(host, &folder, files, ["receipt.json".to_owned()]).await?)
    }

    /// Writes down what is going to be done; its number. None: there is nothing to be undone of it.
    pub async fn begin(host: &dyn Host, why: &str, change: &Change) -> Result<Option<u64>, ChangeError> {
        let _lock = lock(host, FIXING).await?;
        let mut receipt = Self::load(host).await?;
        let Some(undo) = Undo::look(host, change).await? else { return Ok(None) };
        let id = receipt.changes.iter().map(|entry| entry.id).max().unwrap_or_default() + 1;
        receipt.changes.push(Entry {
            id,
            at: host.now(),
            boot: boot(host),
            why: why.to_owned(),
            command: change.line(),
            done: false,
            undo,
        });
        receipt.save(host).await?;
        Ok(Some(id))
    }

    /// Writes down what became of it: the pid of what was started, where that is it. What was never begun is taken out
    /// again; what failed may have been done in part, and stays.
    pub async fn end(
        host: &dyn Host,
        begun: Option<u64>,
        outcome: Result<Option<u32>, &ChangeError>,
    ) -> Result<(), ChangeError> {
        let Some(id) = begun else { return Ok(()) };
        let _lock = lock(host, FIXING).await?;
        let mut receipt = Self::load(host).await?;
        let Some(at) = receipt.changes.iter().position(|entry| entry.id == id) else { return Ok(()) };
        match (outcome, receipt.changes.get_mut(at)) {
            (Ok(started), Some(entry)) => {
                entry.done = true;
                if let (Some(started), Undo::ByHand { how, pid, .. }) = (started, &mut entry.undo) {
                    let end = Command::new("kill", [started.to_string()]);
                    let end = if entry.command.starts_with("sudo ") { end.privileged() } else { end };
                    (*how, *pid) = (Some(as_typed(host, &end)), Some(started));
                }
            }
            (Err(ChangeError::Run(RunError::Privilege { .. } | RunError::Missing { .. })), _) => {
                receipt.changes.remove(at);
            }
            (Err(_), _) | (_, None) => return Ok(()),
        }
        receipt.save(host).await
    }
}
