//! Pointing the operating system at the resolver, for our domains only where the system knows how,
//! and taking that back exactly.
//!
//! Each way (a [`Rung`]) is tried by what counts in the end: after it is applied the system's own
//! look-up (getaddrinfo) must give our names. One that does not hold is left again, and the next is
//! tried. What is going to be changed is written down first, so that a run that is killed half-way
//! is undone by the next one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::{Command, FileError, Host, RunError};
use crate::model::AnyError;

mod change;
mod rung;
mod rungs;
mod service;
#[cfg(test)]
mod tests;

pub use change::SERVICE;
use change::{Receipt, Wanted};
pub use rung::Rung;
use rungs::Machine;
pub use rungs::Method;
pub use service::Service;

/// For one look-up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Between look-ups: a resolver that was told to read its files anew needs a moment.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The error names the file.
    #[error("reading or changing {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// What was done did not have its effect.
    #[error("{reason}")]
    Check { reason: String },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{} is there already and is not ours", path.display())]
    Foreign { path: PathBuf },
    #[error("{method} does not fit this machine: {reason}")]
    Unfit { method: String, reason: String },
    #[error("{} is not a valid receipt: {source}", path.display())]
    Receipt { path: PathBuf, source: AnyError },
    /// The receipt stays, so that it can be tried again.
    #[error("it did not hold, and could not be put back as it was")]
    NotUndone(#[source] Box<InstallError>),
    /// Everything that was tried has been undone, and what there was before is there again.
    #[error("the system was not brought to ask the resolver; it is as it was")]
    NotHeld { tried: Vec<Tried> },
    /// The same, and what there was before is gone, too.
    #[error("the system was not brought to ask the resolver, and {former} could not be used again as before")]
    Lost { former: Rung, tried: Vec<Tried>, source: Box<InstallError> },
}

impl From<FileError> for InstallError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::Io { path, source },
            FileError::Run(error) => Self::Run(error),
        }
    }
}

/// A rung that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub rung: Rung,
    pub reason: String,
}

/// What the system is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the resolver answers.
    pub address: SocketAddr,
    /// Its domains; none of them lies below another.
    pub domains: Vec<String>,
    /// All names with their addresses, for a system that knows only names.
    pub names: Vec<(String, IpAddr)>,
    /// Names with the addresses that only the resolver gives them; at least one.
    pub probes: Vec<(String, IpAddr)>,
    /// How long the system may take until it gives them.
    pub patience: Duration,
}

/// What `install` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub rung: Rung,
    /// False: it was so already.
    pub changed: bool,
    /// Those before it.
    pub tried: Vec<Tried>,
    pub notes: Vec<String>,
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub rung: Rung,
    pub address: SocketAddr,
    pub domains: Vec<String>,
    /// A run was ended in the middle; `install` and `uninstall` both clean up after it.
    pub interrupted: bool,
    /// Every file is as we left it.
    pub intact: bool,
    /// Files of ours that are not there any more.
    pub missing: Vec<PathBuf>,
    /// Files that are there, and not as we left them.
    pub changed: Vec<PathBuf>,
}

/// Points the system at the resolver. `folder` keeps what is needed to take it back.
///
/// # Errors
/// The system is as it was, unless the error says that something could not be put back: then the
/// receipt stays, and `uninstall` tries again.
pub async fn install(
    host: &dyn Host,
    folder: &Path,
    target: &Target,
    method: Method,
) -> Result<Installed, InstallError> {
    let mut notes = Vec::new();
    let mut former = None;
    if let Some(receipt) = Receipt::load(host, folder).await? {
        // what does not fit is told before anything is undone
        let rungs = Machine::look(host, folder).await.rungs(method, target)?;
        if let Some(unchanged) = still_good(host, &receipt, target, &rungs).await? {
            return Ok(unchanged);
        }
        notes = undo(host, folder, &receipt).await?;
        former = receipt.complete.then_some(receipt.rung);
    }
    let machine = Machine::look(host, folder).await;
    let rungs = machine.rungs(method, target)?;
    let (rung, tried) = match ascend(host, folder, &machine, target, rungs).await {
        Ok(found) => found,
        Err(error) => return Err(put_back(host, folder, &machine, target, former, error).await),
    };
    notes.extend(rung.notes(target));
    notes.extend(link_note(host, rung).await);
    notes.extend(machine.better(rung, target));
    Ok(Installed { rung, changed: true, tried, notes })
}

/// The first rung that holds, and those before it.
async fn ascend(
    host: &dyn Host,
    folder: &Path,
    machine: &Machine,
    target: &Target,
    rungs: Vec<Rung>,
) -> Result<(Rung, Vec<Tried>), InstallError> {
    let mut tried = Vec::new();
    for rung in rungs {
        let check = async || holds(host, target, target.patience).await;
        match climb(host, folder, machine, target, rung, check).await {
            Ok(()) => return Ok((rung, tried)),
            Err(
                error @ (InstallError::Run(RunError::Privilege { .. })
                | InstallError::Receipt { .. }
                | InstallError::NotUndone(_)),
            ) => return Err(error),
            Err(error) => tried.push(Tried { rung, reason: reason(&error) }),
        }
    }
    Err(InstallError::NotHeld { tried })
}

/// After a failure: what there was before is there again.
async fn put_back(
    host: &dyn Host,
    folder: &Path,
    machine: &Machine,
    target: &Target,
    former: Option<Rung>,
    error: InstallError,
) -> InstallError {
    // a receipt that stays is not written over
    let stays = matches!(error, InstallError::Receipt { .. } | InstallError::NotUndone(_));
    let Some(former) = former.filter(|_| !stays) else { return error };
    let again = async {
        machine.fits(former, target)?;
        // whether it holds or not: it was there
        climb(host, folder, machine, target, former, async || Ok(())).await
    };
    match again.await {
        Ok(()) => error,
        Err(source) => {
            let tried = if let InstallError::NotHeld { tried } = error { tried } else { Vec::new() };
            InstallError::Lost { former, tried, source: Box::new(source) }
        }
    }
}

fn reason(error: &InstallError) -> String {
    match std::error::Error::source(error) {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

/// What is there serves this target too.
async fn still_good(
    host: &dyn Host,
    receipt: &Receipt,
    target: &Target,
    rungs: &[Rung],
) -> Result<Option<Installed>, InstallError> {
    let covers = target.domains.iter().all(|domain| receipt.domains.contains(domain));
    if !receipt.complete || receipt.address != target.address || !covers || !receipt.intact(host).await? {
        return Ok(None);
    }
    // names come and go with the services
    if !rungs.contains(&receipt.rung)
        || receipt.rung == Rung::Hosts
        || holds(host, target, Duration::ZERO).await.is_err()
    {
        return Ok(None);
    }
    Ok(Some(Installed { rung: receipt.rung, changed: false, tried: Vec::new(), notes: Vec::new() }))
}

/// One rung: all of it, or nothing.
async fn climb(
    host: &dyn Host,
    folder: &Path,
    machine: &Machine,
    target: &Target,
    rung: Rung,
    check: impl AsyncFn() -> Result<(), String>,
) -> Result<(), InstallError> {
    let files = rung.files(host, machine, target);
    let about = (target.address, target.domains.as_slice());
    carry_out(host, folder, rung, about, &files, check).await
}

/// Writes, takes up, checks; undoes it all when one of these fails.
async fn carry_out(
    host: &dyn Host,
    folder: &Path,
    rung: Rung,
    about: (SocketAddr, &[String]),
    wanted: &[Wanted],
    check: impl AsyncFn() -> Result<(), String>,
) -> Result<(), InstallError> {
    let mut receipt = Receipt::prepare(host, folder, rung, about, wanted).await?;
    let paths: Vec<PathBuf> = wanted.iter().map(|file| file.path.clone()).collect();
    let work = async {
        receipt.write(host, folder).await?;
        run_all(host, rung.take_up(host, &paths)).await?;
        check().await.map_err(|reason| InstallError::Check { reason })?;
        // what is there and not written down as such would be in the way of the next one
        receipt.complete(host, folder).await
    };
    let done = work.await;
    if let Err(error) = done {
        undo(host, folder, &receipt).await.map_err(|error| InstallError::NotUndone(Box::new(error)))?;
        return Err(error);
    }
    Ok(())
}

async fn run_all(host: &dyn Host, commands: Vec<Command>) -> Result<(), InstallError> {
    for command in commands {
        host.run(&command).await?;
    }
    Ok(())
}

/// Puts everything back and forgets it; what is to be told.
async fn undo(host: &dyn Host, folder: &Path, receipt: &Receipt) -> Result<Vec<String>, InstallError> {
    let paths: Vec<PathBuf> = receipt.files.iter().map(|written| written.file.path.clone()).collect();
    // where nothing was written yet there is nothing to stop, and no need of root
    let touched = !receipt.untouched(host).await?;
    for command in receipt.rung.before_undo(host, &paths).into_iter().filter(|_| touched) {
        // a unit that was never taken up cannot be stopped
        if let Err(error @ RunError::Privilege { .. }) = host.run(&command).await {
            return Err(error.into());
        }
    }
    let notes = receipt.undo(host, folder).await?;
    let mut failed = Vec::new();
    for command in receipt.rung.after_undo(host).into_iter().filter(|_| touched) {
        if let Err(error) = host.run(&command).await {
            // the files are back, and that is what lasts
            failed.push(error.to_string());
        }
    }
    receipt.forget(host, folder).await?;
    Ok(notes.into_iter().chain(failed).collect())
}

/// Asks as programs ask, until all answers are ours or patience ends; which one is not.
async fn holds(host: &dyn Host, target: &Target, patience: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let mut wrong = None;
        for (name, address) in &target.probes {
            wrong = match tokio::time::timeout(LOOK_UP, host.resolve(name)).await {
                Ok(Ok(found)) if found.contains(address) => continue,
                Ok(Ok(found)) => {
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    Some(format!("the system says that {name} is {}, and not {address}", found.join(", ")))
                }
                Ok(Err(error)) => Some(format!("the system does not find {name}: {error}")),
                Err(_) => Some(format!("the system did not find {name} in {} s", LOOK_UP.as_secs())),
            };
            break;
        }
        match wrong {
            None => return Ok(()),
            Some(wrong) if begun.elapsed() >= patience => return Err(wrong),
            Some(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Other programs write a file that is a link to somewhere below /run.
async fn link_note(host: &dyn Host, rung: Rung) -> Option<String> {
    if rung != Rung::ResolvConf {
        return None;
    }
    let said = host.run(&Command::new("readlink", ["-f", "/etc/resolv.conf"]).may_fail()).await.ok()?.stdout();
    let real = said.trim();
    real.starts_with("/run/").then(|| {
        format!(
            "/etc/resolv.conf is {real}, which another program writes: when it does so, for a new network, names resolve \
             again after another `macula dns install`"
        )
    })
}

/// Takes back what `install` did; what is to be told. None: nothing was there.
///
/// # Errors
/// What could not be put back; the receipt stays, and it may be tried again.
pub async fn uninstall(host: &dyn Host, folder: &Path) -> Result<Option<(Rung, Vec<String>)>, InstallError> {
    match Receipt::load(host, folder).await? {
        None => Ok(None),
        Some(receipt) => Ok(Some((receipt.rung, undo(host, folder, &receipt).await?))),
    }
}

/// What is installed, as far as the receipt and the files say.
///
/// # Errors
/// When the receipt or a file cannot be read.
pub async fn present(host: &dyn Host, folder: &Path) -> Result<Option<Present>, InstallError> {
    let Some(receipt) = Receipt::load(host, folder).await? else { return Ok(None) };
    let intact = receipt.intact(host).await?;
    let (missing, changed) = receipt.strayed(host).await?;
    Ok(Some(Present {
        rung: receipt.rung,
        address: receipt.address,
        domains: receipt.domains,
        interrupted: !receipt.complete,
        intact,
        missing,
        changed,
    }))
}

/// Whether no name at all resolves on this machine while the resolver does not run, and the system does not see to it
/// that it does: earlier versions have put the other servers of /etc/resolv.conf out of force there, too.
pub async fn is_alone(host: &dyn Host, folder: &Path) -> bool {
    let Ok(Some(receipt)) = Receipt::load(host, folder).await else { return false };
    receipt.rung == Rung::ResolvConf && receipt.mutes(host).await && !Receipt::is_service(host, folder).await
}

/// Makes the resolver a service and starts it. `program` is this program; `folder` that of [`install`]
/// with [`SERVICE`] below it; `log` takes what it says where the system has no journal; `check` says
/// whether the service answers.
///
/// # Errors
/// As of [`install`].
pub async fn install_service(
    host: &dyn Host,
    folder: &Path,
    service: Service,
    program: &Path,
    log: &Path,
    address: SocketAddr,
    check: impl AsyncFn() -> Result<(), String>,
) -> Result<Rung, InstallError> {
    if let Some(receipt) = Receipt::load(host, folder).await? {
        undo(host, folder, &receipt).await?;
    }
    let rung = service.rung(host)?;
    let file = service::file(host, rung, program, log);
    carry_out(host, folder, rung, (address, &[]), &[file], check).await?;
    Ok(rung)
}
