use crate::app::{Leavings, Uninstalled, leavings, uninstall};
use crate::changes::{ChangeError, Undoing, Verdict};
use crate::dns::install::Rung;
use crate::host::RunError;
use crate::model::{Again, macula};

use super::context::Context;
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::trust::not_changed;
use super::ui::text;

/// Remove everything that macula has put on this machine
///
/// Takes down all platforms of this user, gives the system its own name resolution back, removes the certificate
/// authority from the trust stores, undoes what `doctor --fix` changed on this machine (values of the kernel, rules of
/// the firewall, addresses), stops the resolver, and deletes the folder with downloads. What there is of it is shown
/// first, and you are asked. Packages that macula installed and services that it started stay, and are named with the
/// command that removes them; what somebody else has changed since stays too. The data of the platforms and the folder
/// with the passwords that open it (and with logs and certificates) are kept unless `--volumes` is given. Your
/// macula.yaml files, the container engine with its images, and the program itself stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove all data and passwords; this cannot be undone
    #[arg(long)]
    volumes: bool,
    /// Show what would be removed without removing it
    #[arg(long)]
    dry_run: bool,
}

/// What is typed to agree to the loss of data.
const WORD: &str = "uninstall";

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if context.name.is_some() {
        return Err(CliError::usage("--name names one platform, and uninstall removes all of them")
            .suggest(macula("down").why("to remove that one")));
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("down").await;
    let found = leavings(&session).await?;
    if args.dry_run {
        return match context.json() {
            true => context.print_json(&found),
            false => context.print(&shown(&found, args.volumes)),
        };
    }
    agree(context, &found, args.volumes).await?;
    let done = uninstall(&session, &found, args.volumes).await?;
    if context.json() {
        context.print_json(&done)?;
    } else {
        context.print(&summary(&done, &found))?;
    }
    match (not_changed(&done.trust), not_undone(&done)) {
        (Some(mut stores), Some(changes)) => {
            stores.details.push(changes.message);
            stores.details.extend(changes.details);
            Err(stores)
        }
        (stores, changes) => stores.or(changes).map_or(Ok(()), Err),
    }
}

/// Some changes of this machine are still there.
fn not_undone(done: &Uninstalled) -> Option<CliError> {
    let failed: Vec<&Undoing> = done.failed_changes().collect();
    let Verdict::Failed(first) = &failed.first()?.verdict else { return None };
    let privilege = matches!(first, ChangeError::Run(RunError::Privilege { .. }));
    let kind = if privilege { ErrorKind::Privilege } else { ErrorKind::Unexpected };
    let mut new =
        CliError::new(kind, format!("could not undo {} of this machine", text::count(failed.len(), "change")));
    new.details = failed.iter().map(|change| change.what.clone()).collect();
    let new = new.because(first).hint("macula keeps the list of them, so that you can try again");
    Some(if privilege { new.again(Again::AfterSudo) } else { new })
}

async fn agree(context: &Context, found: &Leavings, volumes: bool) -> Result<(), CliError> {
    let shown = shown(found, volumes);
    if !volumes || context.global.yes {
        return context.confirm("Remove macula's traces from this machine", &shown).await;
    }
    if !context.may_ask() {
        return Err(CliError::new(
            ErrorKind::Privilege,
            "not removed: the data of all platforms would be lost for good",
        )
        .hint("there is no terminal to ask on; `--yes` confirms that the data may go")
        .suggest(macula("uninstall --dry-run").why("to see what would be removed")));
    }
    context.confirm_loss(WORD, &shown).await
}

/// What would be removed, and what stays.
fn shown(found: &Leavings, volumes: bool) -> String {
    let mut rows = Vec::new();
    let listed = |names: Vec<String>| names.join(", ");
    if !found.platforms.is_empty() {
        rows.push(("platforms", listed(found.platforms.iter().map(ToString::to_string).collect())));
    }
    if found.names {
        rows.push(("names", "this system no longer asks macula's resolver".to_owned()));
    }
    if !found.trust.is_empty() {
        rows.push(("trust", listed(found.trust.iter().map(|place| place.label.clone()).collect())));
    }
    let back = |change: &&Undoing| matches!(change.verdict, Verdict::Undone);
    for change in found.changes.iter().filter(back) {
        rows.push(("machine", change.what.clone()));
    }
    // the passwords are needed as long as there is data
    let data = found.data.iter().filter(|_| volumes || found.platforms.is_empty());
    for folder in found.cache.iter().chain(data) {
        rows.push(("folder", folder.display().to_string()));
    }
    let stays = staying(&found.changes);
    if rows.is_empty() {
        return format!("There is nothing of macula's on this machine but the program.\n{stays}");
    }
    let mut out = match found.changes.iter().any(|change| back(&change)) {
        true => "This is removed, or put back as it was:\n".to_owned(),
        false => "This is removed:\n".to_owned(),
    };
    for (what, which) in rows {
        out.push_str(&format!("  {what:<10} {which}\n"));
    }
    match (volumes, found.platforms.is_empty()) {
        (true, _) => out.push_str("All data of the platforms goes with it, for good.\n"),
        (false, false) => out
            .push_str("The data of the platforms stays, with the passwords that open it; `--volumes` removes both.\n"),
        (false, true) => {}
    }
    if !found.foreign.is_empty() {
        let names = listed(found.foreign.iter().map(ToString::to_string).collect());
        out.push_str(&format!("Another user's platforms on this engine stay: {names}.\n"));
    }
    out.push_str(&stays);
    if let Some(settings) = &found.settings {
        out.push_str(&format!("Your settings in {} stay.\n", settings.display()));
    }
    out
}

/// Changes of this machine that macula does not undo, a line each.
fn staying(changes: &[Undoing]) -> String {
    let line = |change: &Undoing| match &change.verdict {
        Verdict::Changed => Some(format!("{}.\n", change.what)),
        Verdict::ByHand(how) => Some(format!("{}; this undoes it: {how}\n", change.what)),
        Verdict::Undone | Verdict::Failed(_) => None,
    };
    changes.iter().filter_map(line).collect()
}

fn summary(done: &Uninstalled, found: &Leavings) -> String {
    let told = |(rung, notes): &(Rung, Vec<String>)| -> String {
        notes.iter().map(|note| format!("  names, by {rung}: {note}\n")).collect()
    };
    let notes: String = done.names.iter().map(told).collect();
    let mut out = "macula is off this machine".to_owned();
    if done.failed_changes().next().is_some() || done.failed_stores() > 0 {
        out.push_str(", except for what could not be undone");
    } else {
        // among these is what could not be put back
        if !notes.is_empty() {
            out.push_str(", apart from the notes below");
        }
        if !done.volumes.is_empty() {
            let volumes = text::count(done.volumes.len(), "volume");
            out.push_str(&format!("; the data is kept ({volumes}), and `macula up` finds it again"));
        }
    }
    out.push('\n');
    out.push_str(&notes);
    if !found.foreign.is_empty() {
        let names: Vec<&str> = found.foreign.iter().map(|name| name.as_str()).collect();
        out.push_str(&format!("  another user's platforms are as they were: {}\n", names.join(", ")));
    }
    for line in staying(&done.changes).lines() {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str("  images stay with the engine, and the program where it is\n");
    out
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::model::PlatformName;

    #[test]
    fn what_goes_and_what_stays_is_said() {
        let found = Leavings {
            platforms: ["macula", "pr-1"].map(|name| PlatformName::new(name).unwrap()).into(),
            names: true,
            data: Some("/home/dev/.local/share/macula".into()),
            cache: Some("/home/dev/.cache/macula".into()),
            settings: Some("/home/dev/.config/macula".into()),
            ..Leavings::default()
        };
        assert_snapshot!(shown(&found, false), @r"
        This is removed:
          platforms  macula, pr-1
          names      this system no longer asks macula's resolver
          folder     /home/dev/.cache/macula
        The data of the platforms stays, with the passwords that open it; `--volumes` removes both.
        Your settings in /home/dev/.config/macula stay.
        ");
        assert_snapshot!(shown(&found, true).lines().skip(3).collect::<Vec<_>>().join("\n"), @r"
          folder     /home/dev/.cache/macula
          folder     /home/dev/.local/share/macula
        All data of the platforms goes with it, for good.
        Your settings in /home/dev/.config/macula stay.
        ");
        let change = |what: &str, verdict| Undoing { what: what.into(), verdict };
        let changes = || {
            vec![
                change("net.ipv4.ip_forward is set back from 1 to 0", Verdict::Undone),
                change("/etc/sysctl.d/99-macula.conf was changed since, and stays as it is", Verdict::Changed),
                change("docker.io was installed", Verdict::ByHand("sudo apt-get remove docker.io".into())),
            ]
        };
        let changed =
            Leavings { changes: changes(), cache: Some("/home/dev/.cache/macula".into()), ..Leavings::default() };
        assert_snapshot!(shown(&changed, false), @r"
        This is removed, or put back as it was:
          machine    net.ipv4.ip_forward is set back from 1 to 0
          folder     /home/dev/.cache/macula
        /etc/sysctl.d/99-macula.conf was changed since, and stays as it is.
        docker.io was installed; this undoes it: sudo apt-get remove docker.io
        ");
        assert_snapshot!(serde_json::to_string(&changed.changes).unwrap(), @r#"[{"what":"net.ipv4.ip_forward is set back from 1 to 0","state":"undone"},{"what":"/etc/sysctl.d/99-macula.conf was changed since, and stays as it is","state":"changed_since"},{"what":"docker.io was installed","state":"by_hand","how":"sudo apt-get remove docker.io"}]"#);
        assert_snapshot!(summary(&Uninstalled { changes: changes(), ..Uninstalled::default() }, &Leavings::default()), @r"
        macula is off this machine
          /etc/sysctl.d/99-macula.conf was changed since, and stays as it is.
          docker.io was installed; this undoes it: sudo apt-get remove docker.io
          images stay with the engine, and the program where it is
        ");
        let failed = || {
            let error = RunError::Privilege { command: "sudo sysctl -w net.ipv4.ip_forward=0".into() };
            vec![change("net.ipv4.ip_forward is still 1", Verdict::Failed(error.into()))]
        };
        let failed = Uninstalled { changes: failed(), ..Uninstalled::default() };
        assert_snapshot!(summary(&failed, &Leavings::default()), @r"
        macula is off this machine, except for what could not be undone
          images stay with the engine, and the program where it is
        ");
        let error = not_undone(&failed).unwrap();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Privilege, "could not undo 1 change of this machine")
        );
        assert_snapshot!(shown(&Leavings::default(), false), @"There is nothing of macula's on this machine but the program.");
        let note = "/etc/resolv.conf was changed meanwhile; only our part of it was taken out".to_owned();
        let names = vec![(Rung::ResolvConf, vec![note]), (Rung::SystemService, Vec::new())];
        let noted = Uninstalled { names, volumes: vec!["macula-s3".into()], ..Uninstalled::default() };
        assert_snapshot!(summary(&noted, &Leavings::default()), @r"
        macula is off this machine, apart from the notes below; the data is kept (1 volume), and `macula up` finds it again
          names, by /etc/resolv.conf: /etc/resolv.conf was changed meanwhile; only our part of it was taken out
          images stay with the engine, and the program where it is
        ");
        assert_snapshot!(serde_json::to_value(&noted).unwrap()["names"], @r#"[{"method":"/etc/resolv.conf","notes":["/etc/resolv.conf was changed meanwhile; only our part of it was taken out"]},{"method":"a service of the system","notes":[]}]"#);
        let done = Uninstalled { volumes: vec!["macula-s3".into()], ..Uninstalled::default() };
        let found = Leavings { foreign: vec![PlatformName::new("theirs").unwrap()], ..found };
        assert_snapshot!(summary(&done, &found), @r"
        macula is off this machine; the data is kept (1 volume), and `macula up` finds it again
          another user's platforms are as they were: theirs
          images stay with the engine, and the program where it is
        ");
    }
}
