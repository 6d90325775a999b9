//! What macula changes on this machine outside of its own folders, but for names and trust stores, which have receipts
//! of their own: each change is written down before it is made, with what was there, so that `uninstall` can show all
//! of them and undo what can be undone safely.
//!
//! | file below `<data>/host.d` | holds |
//! |---|---|
//! | `receipt.json` | the changes, oldest first |
//! | `kept-<sha256>` | a file as it was, and as it was written |

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::kept;
use crate::host::{Command, FileError, Host, LineSink, LockError, ReceiptError, RunError};
use crate::words;

mod receipt;
#[cfg(test)]
mod tests;
mod undo;

use receipt::Receipt;
pub use undo::{Undoing, Verdict, pending, undo};

/// The file of ours that sets values of the kernel at every boot.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/99-macula.conf";

/// Something that is done to this machine and outlives the command that does it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub command: Command,
    pub effect: Effect,
}

/// What a command does to the machine, as far as undoing it goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Values of the kernel, in force from now on. `lasting`: a file sets them at every boot.
    Settings {
        values: Vec<(String, String)>,
        lasting: bool,
    },
    /// The command's input is the whole content of this file.
    File {
        path: PathBuf,
    },
    /// A rule of iptables: the words behind `-I` or `-A`, and the table where it is not `filter`.
    Rule {
        table: Option<&'static str>,
        rule: Vec<String>,
    },
    /// An address of an interface, with its prefix.
    Address {
        interface: String,
        address: String,
    },
    /// `query` and `remove`, as root, are commands that take the names of packages behind them.
    Packages {
        names: Vec<String>,
        query: Vec<String>,
        remove: Vec<String>,
    },
    /// A unit of systemd that is enabled and started; `user`: of the user's own.
    Unit {
        name: &'static str,
        user: bool,
    },
    /// A program that runs in the background from now on.
    Daemon,
    Member {
        user: String,
        group: String,
    },
    /// What only the user can judge: what it is, and how root undoes it, where there is a way.
    Other {
        what: String,
        how: Option<Vec<String>>,
        lasting: bool,
    },
}

impl Change {
    /// Sets values of the kernel.
    pub fn settings(values: &[(&str, String)], lasting: bool) -> Self {
        let words = values.iter().map(|(name, value)| format!("{name}={value}"));
        let command = Command::new("sysctl", ["-w".to_owned()].into_iter().chain(words)).privileged();
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { command, effect: Effect::Settings { values, lasting } }
    }

    /// Writes a file of the system's.
    pub fn file(path: &str, content: String) -> Self {
        let command = Command::new("tee", [path]).stdin(content).privileged();
        Self { command, effect: Effect::File { path: path.into() } }
    }

    /// Adds a rule to iptables; `verb` is `-I` or `-A`.
    pub fn rule(table: Option<&'static str>, verb: &str, rule: &[&str]) -> Self {
        let rule: Vec<String> = rule.iter().map(|word| (*word).to_owned()).collect();
        Self { command: iptables(table, verb, &rule), effect: Effect::Rule { table, rule } }
    }

    /// Gives an interface an address.
    pub fn address(interface: &str, address: &str) -> Self {
        let command = Command::new("ip", ["addr", "replace", address, "dev", interface]).privileged();
        Self { command, effect: Effect::Address { interface: interface.into(), address: address.into() } }
    }

    /// What is gone with the next boot, or what nobody would undo.
    pub fn passing(command: Command, what: impl Into<String>) -> Self {
        Self { command, effect: Effect::Other { what: what.into(), how: None, lasting: false } }
    }

    /// As the command could be typed.
    pub fn line(&self) -> String {
        let Effect::File { .. } = self.effect else { return self.command.to_string() };
        let text = String::from_utf8_lossy(self.command.stdin.as_deref().unwrap_or_default()).into_owned();
        let lines: Vec<String> = text.lines().map(words::shell_word).collect();
        format!("printf '%s\\n' {} | {} >/dev/null", lines.join(" "), self.command)
    }

    async fn carry_out(&self, host: &dyn Host, said: LineSink<'_>) -> Result<(), ChangeError> {
        match &self.effect {
            Effect::File { path } => Ok(kept::put(host, path, self.command.stdin.as_deref(), true).await?),
            _ => Ok(run_when_free(host, &self.command, said).await?),
        }
    }
}

fn iptables(table: Option<&str>, verb: &str, rule: &[String]) -> Command {
    let table = table.into_iter().flat_map(|table| ["-t", table]);
    let words = table.chain([verb]).chain(rule.iter().map(String::as_str));
    Command::new("iptables", words).privileged()
}

/// Why a change was not made, or not undone.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    File(FileError),
    /// What cannot be written down is not done.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl From<FileError> for ChangeError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Run(error) => Self::Run(error),
            error @ FileError::Io { .. } => Self::File(error),
        }
    }
}

impl From<std::io::Error> for ChangeError {
    fn from(error: std::io::Error) -> Self {
        Self::Receipt(error.into())
    }
}

/// Writes the change down, makes it, and writes down that it is made. `why` is what it is for; `said` is told the lines
/// of its program.
///
/// # Errors
/// What could not be written down is not done.
pub async fn make(host: &dyn Host, why: &str, change: &Change, said: LineSink<'_>) -> Result<(), ChangeError> {
    let begun = Receipt::begin(host, why, change).await?;
    let done = change.carry_out(host, said).await;
    let noted = Receipt::end(host, begun, done.as_ref().map(|()| None)).await;
    done?;
    noted
}

/// The same of a program that is left running; its pid.
///
/// # Errors
/// As [`make()`].
pub async fn start(host: &dyn Host, why: &str, command: &Command, log: &Path) -> Result<u32, ChangeError> {
    let change = Change { command: command.clone(), effect: Effect::Daemon };
    let begun = Receipt::begin(host, why, &change).await?;
    let started = host.spawn_detached(command, log).await.map_err(ChangeError::from);
    let noted = Receipt::end(host, begun, started.as_ref().map(|pid| Some(*pid))).await;
    let pid = started?;
    noted?;
    Ok(pid)
}

/// Package managers give up at once when another one (a desktop's updater) is reading its lists;
/// apt's own option to wait is for installations only.
async fn run_when_free(host: &dyn Host, command: &Command, said: LineSink<'_>) -> Result<(), RunError> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let start = Instant::now();
    loop {
        match host.run_watched(command, said).await {
            Err(RunError::Failed { output, .. })
                if output.contains("Could not get lock") && start.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            other => return other.map(drop),
        }
    }
}
