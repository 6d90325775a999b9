//! What the resolver and the system's names refuse, as the user sees it: what to type about each.

use crate::app::ResolverError;
use crate::changes::ChangeError;
use crate::dns::install::InstallError;
use crate::dns::{ControlError, RecordsError, ServerError};
use crate::host::{FileError, LockError, ReceiptError, RunError};
use crate::model::{Again, MaculaCommand, macula};

use super::error::{CliError, ErrorKind};

pub(super) fn resolver(error: &ResolverError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        ResolverError::NotStarted { log, .. } => of(ErrorKind::Unexpected)
            .hint(format!("its log is {}", log.display()))
            .suggest(macula("dns serve").why("to run it in this terminal and see why it ends")),
        ResolverError::StillThere { .. } => of(ErrorKind::Conflict)
            .hint("it was asked to stop and ends once what it is doing is done")
            .again(Again::AsItIs),
        ResolverError::Control(ControlError::NotRunning { .. }) => {
            CliError::not_healthy("the resolver is not running").suggest(macula("up"))
        }
        ResolverError::Control(_) => of(ErrorKind::Unexpected).suggest(macula("dns status")),
        ResolverError::Server(ServerError::AddressInUse { .. }) => of(ErrorKind::Conflict)
            .hint("another user's resolver or another name server may be using it")
            .hint("`--listen 127.0.0.1:0` takes any free port")
            .suggest(macula("doctor").why("to see which program it is")),
        ResolverError::Server(ServerError::AlreadyRunning { .. }) => {
            CliError::conflict("your resolver is already running")
                .hint("one resolver serves all platforms, and learns of changes while it runs")
                .suggest(macula("dns status"))
        }
        ResolverError::Server(ServerError::NotPermitted { .. }) => of(ErrorKind::Privilege)
            .hint("ports below 1024 need root")
            .suggest(macula("dns install --service system").why("to let the system start it with that port")),
        ResolverError::Server(_) | ResolverError::Records(RecordsError::Refused { .. }) => of(ErrorKind::Unexpected),
        ResolverError::Busy { .. } => of(ErrorKind::NotHealthy).again(Again::AsItIs),
        ResolverError::Setting { .. } => of(ErrorKind::Usage),
        ResolverError::Silent { .. } => of(ErrorKind::NotHealthy).suggest(macula("dns status")),
        ResolverError::NoZones => of(ErrorKind::NotHealthy).suggest(macula("up")),
        ResolverError::Taken { holder, .. } => {
            let error = of(ErrorKind::Conflict)
                .hint("or give yours another address in macula.yaml: `dns: {listen: [\"127.0.0.9:5399\"]}`");
            match holder.pid {
                // others' names depend on it: it is not to be ended
                Some(_) if holder.is_macula() => error.hint(
                    "a machine has one resolver; this one belongs to another data folder and ends with its platforms",
                ),
                Some(_) => error,
                None => error.hint("a machine has one resolver: the user whose it is can stop it with `down`"),
            }
        }
        ResolverError::TwoUpstreams { .. } => of(ErrorKind::Conflict).hint(
            "name the same servers under `dns: {upstream: [...]}` in both macula.yaml files, or in one of them only",
        ),
        ResolverError::SameDomain { other, .. } => of(ErrorKind::Conflict)
            .hint("give one of the two another `domain` in macula.yaml (the default is NAME.macula.local)")
            .suggest(MaculaCommand::of(["--name", other.as_str(), "down"])),
        ResolverError::InTerminal => {
            of(ErrorKind::Conflict).hint("stop it in its terminal with Ctrl-C first").again(Again::AsItIs)
        }
        ResolverError::Content(_) => of(ErrorKind::Usage),
        ResolverError::NoPowerDns { .. } => of(ErrorKind::Usage).hint("it is part of the built-in stack `dns`"),
        ResolverError::NotUp { .. } => of(ErrorKind::Usage).suggest(macula("up")),
        ResolverError::OwnName { .. } => of(ErrorKind::Conflict)
            .hint("choose another name")
            .suggest(macula("dns list").why("to see the names that are in use")),
        ResolverError::Records(slow @ RecordsError::Unreachable { api, .. }) if slow.is_timeout() => {
            CliError::not_healthy(format!("PowerDNS did not answer at {api} in time"))
                .hint("a change may have been made all the same")
                .suggest(macula("logs powerdns"))
        }
        ResolverError::Records(RecordsError::Unreachable { api, .. }) => {
            // of the layers of a request only the last says anything to a person
            let why = of(ErrorKind::NotHealthy).causes.pop();
            let mut new = CliError::not_healthy(format!("PowerDNS does not answer at {api}"));
            new.causes.extend(why);
            new.suggest(macula("up powerdns"))
        }
        ResolverError::Records(RecordsError::Key | RecordsError::NoZone { .. }) => {
            of(ErrorKind::Unexpected).suggest(macula("logs powerdns"))
        }
    }
}

/// Of changes to this machine that are not names.
pub(super) fn change(error: &ChangeError) -> CliError {
    let of = |kind| CliError::of(kind, error);
    match error {
        ChangeError::Run(error) => error.clone().into(),
        ChangeError::File(FileError::Io { path, source }) => CliError::io(format!("change {}", path.display()), source),
        ChangeError::File(FileError::Run(error)) => error.clone().into(),
        ChangeError::Lock(LockError::Held { .. }) => {
            of(ErrorKind::Conflict).hint("wait for that command, or stop it")
        }
        ChangeError::Receipt(ReceiptError::Newer { .. }) => {
            of(ErrorKind::Config).hint("use that version of macula to undo what is listed there")
        }
        ChangeError::Receipt(ReceiptError::Damaged { path, .. }) => of(ErrorKind::Unexpected).hint(format!(
            "{} lists what macula changed on this machine; undo by hand what can still be read of it, then move it away",
            path.display()
        )),
        ChangeError::Receipt(ReceiptError::Io(source)) | ChangeError::Lock(LockError::Io(source)) => {
            CliError::io("keep the list of what macula changes on this machine", source)
        }
    }
}

pub(super) fn install(error: InstallError) -> CliError {
    let of = |kind| CliError::of(kind, &error);
    match &error {
        InstallError::Run(error @ RunError::Privilege { .. }) => CliError::from(error.clone())
            .hint("without root a name is reached at its address: curl --resolve NAME:443:ADDRESS https://NAME")
            .suggest(macula("dns list").why("to see the names and their addresses")),
        InstallError::Run(error) => error.clone().into(),
        InstallError::Io { path, source } => CliError::io(format!("change {}", path.display()), source),
        InstallError::Foreign { path } => {
            of(ErrorKind::Conflict).hint(format!("look at {}, and move it away if nothing needs it", path.display()))
        }
        // another way to point the system at the resolver makes no service
        InstallError::Unfit { method, .. } if method == "service" => of(ErrorKind::Usage),
        InstallError::Unfit { .. } => {
            of(ErrorKind::Usage).suggest(macula("dns install --method auto").why("to use the method that fits"))
        }
        InstallError::Receipt { path, .. } => of(ErrorKind::Unexpected)
            .hint(format!("the original files are next to {}: those whose names end in .before", path.display())),
        InstallError::NotUndone(_) => of(ErrorKind::Unexpected).suggest(macula("dns uninstall")),
        InstallError::Check { .. } => of(ErrorKind::NotHealthy).suggest(macula("dns status")),
        InstallError::NotHeld { tried } | InstallError::Lost { tried, .. } => {
            let mut new = match &error {
                InstallError::Lost { source, .. }
                    if matches!(**source, InstallError::Run(RunError::Privilege { .. })) =>
                {
                    of(ErrorKind::Privilege).again(Again::AfterSudo)
                }
                _ => of(ErrorKind::NotHealthy),
            }
            .suggest(macula("dns status"));
            new.details = tried.iter().map(|tried| format!("{}: {}", tried.rung, tried.reason)).collect();
            new
        }
    }
}
