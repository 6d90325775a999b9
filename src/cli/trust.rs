use clap::Subcommand;
use serde_json::json;

use crate::app::{Error, authorities, authority_domain};
use crate::host::RunError;
use crate::model::{Again, macula};
use crate::pki::Authority;
use crate::pki::trust::{self, Done, Outcome, State, StoreError};

use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::ui::table::{Cell, Fit, Table};
use crate::words::shell_word;

/// Let this machine trust the platform's certificates
///
/// The certificates are signed by an authority of your own, made by the first `up`. Its root's key
/// is thrown away, and root and intermediate are constrained to the platform's domain and to
/// loopback addresses: trusting it lets nobody impersonate any other site.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install the CA into the system, browser and Java trust stores found on this machine
    Install,
    /// Take it out of every store that it was added to
    Uninstall {
        /// Another domain whose authority was added, such as one that the platform had before
        #[arg(value_name = "DOMAIN")]
        domain: Option<String>,
        /// Take out the authorities of all domains, those of other and of former platforms too
        #[arg(long, conflicts_with = "domain")]
        all: bool,
    },
    /// Show which stores trust it
    Status,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let domain = authority_domain(&loaded.platform);
    let session = context.session_without_engine("trust");
    let folder = authorities(&session);
    let host = &*context.host;
    match args.action {
        Action::Install => {
            let authority = Authority::load_or_create(host, &folder, domain, host.now()).await.map_err(Error::from)?;
            let question = format!("Let this machine trust certificates for {domain} and the names below it");
            let explain = format!(
                "The root certificate `{}` is added to the trust stores of the system, of browsers and of Java that are \
                 found here. It is constrained to {domain} and to loopback addresses. `macula trust uninstall` takes it \
                 out again.",
                authority.anchor().common_name
            );
            context.confirm(&question, &explain).await?;
            let outcomes = trust::install(host, &folder, &authority.anchor()).await.map_err(Error::from)?;
            let root = authority.root_path(&folder);
            context.events().info(format!(
                "Node.js has a list of its own: `export NODE_EXTRA_CA_CERTS={}`",
                shell_word(&root.display().to_string())
            ));
            report(context, &outcomes)
        }
        Action::Uninstall { domain: other, all } => {
            let anchor = match other {
                Some(_) => None,
                None => Authority::load(host, &folder, domain, host.now()).await.ok().flatten(),
            };
            let (domain, anchor) = (other.as_deref().unwrap_or(domain), anchor.map(|authority| authority.anchor()));
            let only = (!all).then_some(domain);
            let outcomes = trust::uninstall(host, &folder, only, anchor.as_ref()).await.map_err(Error::from)?;
            // what could not be taken out of a store stands in the report
            if !all {
                others(context, &folder, domain).await?;
            }
            report(context, &outcomes)
        }
        Action::Status => {
            others(context, &folder, domain).await?;
            status(context, &folder, domain).await
        }
    }
}

/// Tells what this machine trusts beyond that: a platform that is gone, or has another domain now, has left it.
async fn others(context: &Context, folder: &std::path::Path, domain: &str) -> Result<(), CliError> {
    let known = trust::domains(&*context.host, folder).await.map_err(Error::from)?;
    for other in known.iter().filter(|other| *other != domain) {
        let uninstall = context.line(macula("trust uninstall").arg(other));
        context.events().info(format!("the authority of {other} is trusted, too: `{uninstall}` takes it out"));
    }
    Ok(())
}

async fn status(context: &Context, folder: &std::path::Path, domain: &str) -> Result<(), CliError> {
    let host = &*context.host;
    let Some(authority) = Authority::load(host, folder, domain, host.now()).await.map_err(Error::from)? else {
        // nothing is wrong with that: there is none before the first `up`
        if context.json() {
            return context.print_json(&json!({"domain": domain, "fingerprint": null, "stores": []}));
        }
        return context.print(&format!(
            "There is no certificate authority for {domain} yet: `{}` or `{}` creates it.\n",
            context.line(macula("up")),
            context.line(macula("trust install"))
        ));
    };
    let anchor = authority.anchor();
    let stores = trust::status(host, &anchor).await;
    let word = |state: &State| match state {
        State::Trusted => ("trusted", String::new()),
        State::TrustedOtherwise => ("trusted", "through another store".to_owned()),
        State::Partly(what) => ("partly", what.clone()),
        State::Missing => ("not trusted", String::new()),
        State::Unavailable { reason, hint } => ("unavailable", [reason.as_str(), hint].join("; ")),
    };
    if context.json() {
        let stores: Vec<_> = stores
            .iter()
            .map(|store| {
                let (state, note) = word(&store.state);
                json!({"store": store.place.label, "path": store.place.path, "state": state, "note": note})
            })
            .collect();
        return context.print_json(&json!({"domain": domain, "fingerprint": anchor.fingerprint, "stores": stores}));
    }
    let mut table =
        Table::new([("STORE", Fit::Whole), ("STATE", Fit::Whole), ("WHERE", Fit::Shrink), ("NOTE", Fit::Shrink)]);
    for store in &stores {
        let (state, note) = word(&store.state);
        table.row([
            Cell::from(&store.place.label),
            Cell::state(state),
            Cell::from(&store.place.path.display().to_string()),
            Cell::from(&note),
        ]);
    }
    let text = format!(
        "{}, for {domain} (SHA-256 {}), in {}\n",
        anchor.common_name,
        anchor.fingerprint,
        authority.root_path(folder).display()
    );
    context.print(&(text + &table.render(context.out_style(), context.terminal.table_width())))
}

fn report(context: &Context, outcomes: &[Outcome]) -> Result<(), CliError> {
    let word = |done: &Done| match done {
        Done::Installed => ("installed", String::new()),
        Done::Removed => ("removed", String::new()),
        Done::Unchanged => ("unchanged", String::new()),
        Done::Unavailable { reason, hint } => ("left out", [reason.as_str(), hint].join("; ")),
        Done::Failed(error) => ("failed", error.to_string()),
    };
    if context.json() {
        let all: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                let (done, note) = word(&outcome.done);
                json!({"store": outcome.place.label, "path": outcome.place.path, "done": done, "note": note})
            })
            .collect();
        context.print_json(&all)?;
    } else if outcomes.is_empty() {
        context.print("nothing to do: no store of this machine trusts it\n")?;
    } else {
        let mut table = Table::new([("STORE", Fit::Whole), ("DONE", Fit::Whole), ("NOTE", Fit::Shrink)]);
        for outcome in outcomes {
            let (done, note) = word(&outcome.done);
            table.row([Cell::from(&outcome.place.label), Cell::state(done), Cell::from(&note)]);
        }
        context.print(&table.render(context.out_style(), context.terminal.table_width()))?;
    }
    not_changed(outcomes).map_or(Ok(()), Err)
}

/// Some trust stores are as they were. One that a password of sudo's opens is what can be helped first.
pub(super) fn not_changed(outcomes: &[Outcome]) -> Option<CliError> {
    let failed = outcomes.iter().filter_map(|outcome| match &outcome.done {
        Done::Failed(error) => Some(error),
        _ => None,
    });
    let failed: Vec<&StoreError> = failed.collect();
    let first = failed.first()?;
    let message = format!("{} of {} stores could not be changed", failed.len(), outcomes.len());
    if failed.iter().any(|error| matches!(error, StoreError::Run(RunError::Privilege { .. }))) {
        let error = CliError::new(ErrorKind::Privilege, message);
        let hint = "the system's own store needs root: let sudo ask for the password first";
        return Some(error.hint(hint).again(Again::AfterSudo));
    }
    let error = CliError::unexpected(message).because(*first);
    Some(match failed.iter().any(|error| matches!(error, StoreError::Locked)) {
        true => error
            .hint("a store with a password takes it by hand only: in Firefox, Settings, Certificates, Import")
            .suggest(macula("trust status").why("to see which file that is")),
        false => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::tests::shown;
    use crate::pki::trust::{Kind, Place};

    #[test]
    fn only_what_root_may_change_is_tried_again_with_sudo() {
        let outcome = |done| Outcome {
            place: Place { kind: Kind::Debian, label: "a store".to_owned(), path: "/store".into() },
            done,
        };
        let told = |all: Vec<Done>| {
            let outcomes: Vec<Outcome> = all.into_iter().map(outcome).collect();
            not_changed(&outcomes).map(shown).unwrap_or_default()
        };
        let locked = || Done::Failed(StoreError::Locked);
        let root = RunError::Privilege { command: "update-ca-certificates".to_owned() };
        assert_eq!(told(vec![Done::Installed]), "");
        insta::assert_snapshot!(told(vec![Done::Installed, locked()]), @r"
        error: 1 of 2 stores could not be changed
          caused by: it is locked with a password of its own
          hint: a store with a password takes it by hand only: in Firefox, Settings, Certificates, Import
          try: macula trust status  (to see which file that is)
        exit 1
        ");
        insta::assert_snapshot!(told(vec![locked(), Done::Failed(root.into())]), @r"
        error: 2 of 2 stores could not be changed
          hint: the system's own store needs root: let sudo ask for the password first
          try: sudo -v && macula up
        exit 8
        ");
    }
}
