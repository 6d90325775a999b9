//! Undoing, newest first, and what that would come to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::receipt::{Receipt, Setting, Undo, as_typed, boot, folder, installed, lock};
use super::{ChangeError, SYSCTL_FILE, iptables};
use crate::host::kept::{self, FileNow, KeptFile};
use crate::host::{Command, Host, Output, RunError};
use crate::words;

/// A change, and what becomes of it.
#[derive(Debug)]
pub struct Undoing {
    /// `net.ipv4.ip_forward is set back from 1 to 0`
    pub what: String,
    pub verdict: Verdict,
}

#[derive(Debug)]
pub enum Verdict {
    /// It is undone, or will be.
    Undone,
    /// Somebody else has changed it since; it stays as it is.
    Changed,
    /// The user decides: the line to type.
    ByHand(String),
    /// It stays in the receipt, for the next try.
    Failed(ChangeError),
}

impl Serialize for Undoing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, more) = match &self.verdict {
            Verdict::Undone => ("undone", None),
            Verdict::Changed => ("changed_since", None),
            Verdict::ByHand(how) => ("by_hand", Some(("how", how.clone()))),
            Verdict::Failed(error) => ("failed", Some(("reason", error.to_string()))),
        };
        let fields = [("what", self.what.clone()), ("state", state.to_owned())];
        serializer.collect_map(fields.into_iter().chain(more))
    }
}

/// What [`undo()`] would do. Changes nothing.
///
/// # Errors
/// When the receipt cannot be read.
pub async fn pending(host: &dyn Host) -> Result<Vec<Undoing>, ChangeError> {
    let mut receipt = Receipt::load(host).await?;
    Walk::new(host, false).all(&mut receipt).await
}

/// Undoes what is as we left it, newest first; tells what is not, and what is the user's to undo. What fails stays in the
/// receipt.
///
/// # Errors
/// When the receipt cannot be read or written: then no more is done.
pub async fn undo(host: &dyn Host) -> Result<Vec<Undoing>, ChangeError> {
    let _lock = lock(host, "macula uninstall").await?;
    let mut receipt = Receipt::load(host).await?;
    Walk::new(host, true).all(&mut receipt).await
}

/// The file of values that a macula wrote which kept no list of changes yet.
async fn unrecorded(host: &dyn Host) -> Option<Undoing> {
    let there = host.read(Path::new(SYSCTL_FILE)).await.ok()?;
    if !String::from_utf8_lossy(&there).contains("fs.inotify.max_user_") {
        return None;
    }
    let how = as_typed(host, &Command::new("rm", [SYSCTL_FILE]).privileged());
    Some(told(format!("{SYSCTL_FILE} was written by an earlier macula"), Verdict::ByHand(how)))
}

/// One way through the changes. Where nothing is really done, what would have been is remembered: an older change of the
/// same file is seen as it will be found then.
struct Walk<'h> {
    host: &'h dyn Host,
    really: bool,
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    values: BTreeMap<String, String>,
    /// Files and values that could not be put back: older changes of them have to wait.
    failed: BTreeSet<String>,
}

/// What is to be told of a change, and what is left of it to be undone.
#[derive(Default)]
struct Step {
    told: Vec<Undoing>,
    left: Option<Undo>,
}

fn told(what: impl Into<String>, verdict: Verdict) -> Undoing {
    Undoing { what: what.into(), verdict }
}

impl Step {
    fn undone(what: impl Into<String>) -> Self {
        Self { told: vec![told(what, Verdict::Undone)], left: None }
    }

    fn changed(what: impl Into<String>) -> Self {
        Self { told: vec![told(what, Verdict::Changed)], left: None }
    }

    fn failed(what: impl Into<String>, error: impl Into<ChangeError>, left: Undo) -> Self {
        Self { told: vec![told(what, Verdict::Failed(error.into()))], left: Some(left) }
    }
}

/// What `iptables -C` says of a rule that is not there, or whose chain is not.
fn is_absent(output: &Output) -> bool {
    let said = output.stderr();
    let by_sudo = !said.trim().is_empty() && said.lines().all(|line| line.starts_with("sudo"));
    output.status == Some(1) && !by_sudo || said.contains("does not exist") || said.contains("No chain/target/match")
}

impl<'h> Walk<'h> {
    fn new(host: &'h dyn Host, really: bool) -> Self {
        Self { host, really, files: BTreeMap::new(), values: BTreeMap::new(), failed: BTreeSet::new() }
    }

    async fn all(mut self, receipt: &mut Receipt) -> Result<Vec<Undoing>, ChangeError> {
        let is_ours = |undo: &Undo| matches!(undo, Undo::File(file) if file.path == Path::new(SYSCTL_FILE));
        let recorded = receipt.changes.iter().any(|entry| is_ours(&entry.undo));
        let boot = boot(self.host);
        let mut all = Vec::new();
        for entry in receipt.changes.clone().into_iter().rev() {
            let another_boot = entry.boot.is_some() && boot.is_some() && entry.boot != boot;
            let step = match another_boot && !entry.undo.lasts() {
                // gone with the boot: what is so now was made so by somebody else
                true => Step::default(),
                false => self.step(entry.undo, entry.done).await?,
            };
            all.extend(step.told);
            if self.really {
                match (step.left, receipt.changes.iter_mut().find(|one| one.id == entry.id)) {
                    (Some(left), Some(there)) => there.undo = left,
                    _ => receipt.changes.retain(|one| one.id != entry.id),
                }
                receipt.save(self.host).await?;
            }
        }
        if !recorded {
            all.extend(unrecorded(self.host).await);
        }
        Ok(all)
    }

    /// `done`: it is known that the command went to its end.
    async fn step(&mut self, undo: Undo, done: bool) -> Result<Step, ChangeError> {
        match undo {
            Undo::Settings { values, lasting } => Ok(self.settings(values, lasting).await),
            Undo::File(file) => self.file(file).await,
            Undo::Rule { table, rule } => Ok(self.rule(table, rule).await),
            Undo::Address { interface, address } => Ok(self.address(interface, address).await),
            Undo::Packages { names, query, remove } => Ok(self.packages(names, query, remove).await),
            Undo::ByHand { what, how, lasting, pid } => {
                // it has ended, or its number is another program's by now
                let program = what.split(' ').next().unwrap_or_default();
                if pid.is_some_and(|pid| !self.runs(pid, program)) {
                    return Ok(Step::default());
                }
                // what nobody would undo is written down and not told
                let said = if done { what.clone() } else { format!("{what}, or only in part") };
                let told = how.iter().map(|how| told(said.as_str(), Verdict::ByHand(how.clone()))).collect();
                Ok(Step { told, left: Some(Undo::ByHand { what, how, lasting, pid }) })
            }
        }
    }

    fn runs(&self, pid: u32, program: &str) -> bool {
        let name = self.host.read_kernel(&PathBuf::from(format!("/proc/{pid}/comm")));
        self.host.alive(pid) && name.is_none_or(|name| [program, "sudo"].contains(&name.trim()))
    }

    async fn run(&self, command: &Command) -> Result<(), RunError> {
        if self.really { self.host.run(command).await.map(drop) } else { Ok(()) }
    }

    async fn settings(&mut self, values: Vec<Setting>, lasting: bool) -> Step {
        let mut step = Step::default();
        let mut left = Vec::new();
        for value in values {
            let Setting { name, before, after } = &value;
            if self.failed.contains(name) {
                left.push(value);
                continue;
            }
            let now = match self.values.get(name) {
                Some(now) => now.clone(),
                None => match self.host.sysctl(name).await {
                    Ok(now) => now.trim().to_owned(),
                    // another kernel, which does not have it
                    Err(_) => continue,
                },
            };
            if now == *before {
                continue;
            }
            if now != *after {
                step.told.push(told(
                    format!("{name} was changed since, from {after} to {now}, and stays"),
                    Verdict::Changed,
                ));
                continue;
            }
            let back = Command::new("sysctl", ["-w".to_owned(), format!("{name}={before}")]).privileged();
            match self.run(&back).await {
                Ok(()) => {
                    step.told.push(told(format!("{name} is set back from {after} to {before}"), Verdict::Undone));
                    if !self.really {
                        self.values.insert(name.clone(), before.clone());
                    }
                }
                Err(error) => {
                    step.told.push(told(format!("{name} is still {after}"), Verdict::Failed(error.into())));
                    self.failed.insert(name.clone());
                    left.push(value);
                }
            }
        }
        step.left = (!left.is_empty()).then_some(Undo::Settings { values: left, lasting });
        step
    }

    async fn file(&mut self, file: KeptFile) -> Result<Step, ChangeError> {
        let path = file.path.clone();
        let shown = path.display().to_string();
        if self.failed.contains(&shown) {
            return Ok(Step { told: Vec::new(), left: Some(Undo::File(file)) });
        }
        let copies = kept::copies(self.host, &folder(self.host), &file).await?;
        let now = match self.files.get(&path) {
            Some(now) => file.judge(now.as_deref(), &copies),
            None => file.now(self.host, &copies).await?,
        };
        match now {
            FileNow::AsItWas => return Ok(Step::default()),
            FileNow::Gone => return Ok(Step::changed(format!("{shown} was removed since, and stays so"))),
            FileNow::Changed(_) => return Ok(Step::changed(format!("{shown} was changed since, and stays as it is"))),
            FileNow::Ours => {}
        }
        let Some(former) = file.former(&copies) else {
            return Ok(Step::changed(format!("{shown} stays as it is: the copy of what was there before is lost")));
        };
        let done = match former {
            Some(_) => format!("{shown} gets the content that it had before"),
            None => format!("{shown} is removed"),
        };
        if !self.really {
            self.files.insert(path.clone(), former.map(<[u8]>::to_vec));
            return Ok(Step::undone(done));
        }
        Ok(match kept::put(self.host, &path, former, true).await {
            Ok(()) => Step::undone(done),
            Err(error) => {
                self.failed.insert(shown.clone());
                Step::failed(format!("{shown} is still there as macula wrote it"), error, Undo::File(file))
            }
        })
    }

    async fn rule(&self, table: Option<String>, rule: Vec<String>) -> Step {
        let command = |verb: &str| iptables(table.as_deref(), verb, &rule);
        let shown = rule.join(" ");
        let removed = format!("the firewall's rule `{shown}` is removed");
        let look = command("-C").may_fail();
        // without root nobody can see whether it is still there
        if let Ok(output) = self.host.run(&look).await
            && !output.success()
        {
            if is_absent(&output) {
                return Step::default();
            }
            if !self.really {
                return Step::undone(removed);
            }
            // another program holds the firewall's lock, or sudo has refused in words that are not known
            let status = output.status.map_or("a signal".to_owned(), |status| format!("status {status}"));
            let said = output.stderr().trim_end().to_owned();
            let error = RunError::Failed { command: look.to_string(), status, output: said };
            let what = format!("the firewall's rule `{shown}` may still be there");
            return Step::failed(what, error, Undo::Rule { table, rule });
        }
        match self.run(&command("-D")).await {
            Ok(()) => Step::undone(removed),
            Err(error) => {
                let what = format!("the firewall's rule `{shown}` is still there");
                Step::failed(what, error, Undo::Rule { table, rule })
            }
        }
    }

    async fn address(&self, interface: String, address: String) -> Step {
        let look = Command::new("ip", ["-4", "-o", "addr", "show", "dev", &interface]).may_fail();
        let there = |said: String| said.split_whitespace().any(|word| word == address);
        // an interface that is gone has taken its address with it
        if !self.host.run(&look).await.is_ok_and(|output| output.success() && there(output.stdout())) {
            return Step::default();
        }
        let back = Command::new("ip", ["addr", "del", &address, "dev", &interface]).privileged();
        match self.run(&back).await {
            Ok(()) => Step::undone(format!("{interface} loses the address {address} again")),
            Err(error) => {
                let what = format!("{interface} still has the address {address}");
                Step::failed(what, error, Undo::Address { interface, address })
            }
        }
    }

    async fn packages(&self, names: Vec<String>, query: Vec<String>, remove: String) -> Step {
        let mut there = Vec::new();
        for name in names {
            if installed(self.host, &query, &name).await {
                there.push(name);
            }
        }
        if there.is_empty() {
            return Step::default();
        }
        let what = format!("{} {} installed", words::list(&there), if there.len() == 1 { "was" } else { "were" });
        let how = format!("{remove} {}", there.join(" "));
        let told = vec![told(what, Verdict::ByHand(how))];
        Step { told, left: Some(Undo::Packages { names: there, query, remove }) }
    }
}
