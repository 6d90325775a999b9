use crate::app::{Leavings, Uninstalled, leavings, uninstall};
use crate::model::macula;

use super::context::{Context, declined};
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::trust::not_changed;
use super::ui::confirm::{self, Answer};
use super::ui::text;

/// Remove everything that macula has put on this machine
///
/// Takes down all platforms of this user, gives the system its own name resolution back, removes the certificate
/// authority from the trust stores, stops the resolver, and deletes the folder with downloads. What there is of it is shown
/// first, and you are asked. The data of the platforms and the folder with the passwords that open it (and with logs and
/// certificates) are kept unless `--volumes` is given. Your macula.yaml files, the container engine with its images, and the
/// program itself stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove all data and passwords; this cannot be undone
    #[arg(long)]
    volumes: bool,
    /// Show what would be removed without removing it
    #[arg(long)]
    dry_run: bool,
}

/// What is typed to agree to the loss of data: a `y` comes too easily.
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
    match done.failed_stores() {
        0 => Ok(()),
        failed => Err(not_changed(failed, done.trust.len())),
    }
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
    context.finish();
    match confirm::type_word(WORD, &format!("{shown}Type `{WORD}`"), &context.terminal, &context.cancel).await? {
        Answer::Yes => Ok(()),
        _ => Err(declined()),
    }
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
    // the passwords are needed as long as there is data
    let data = found.data.iter().filter(|_| volumes || found.platforms.is_empty());
    for folder in found.cache.iter().chain(data) {
        rows.push(("folder", folder.display().to_string()));
    }
    if rows.is_empty() {
        return "There is nothing of macula's on this machine but the program.\n".to_owned();
    }
    let mut out = "This is removed:\n".to_owned();
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
    if let Some(settings) = &found.settings {
        out.push_str(&format!("Your settings in {} stay.\n", settings.display()));
    }
    out
}

fn summary(done: &Uninstalled, found: &Leavings) -> String {
    let mut out = String::new();
    if done.volumes.is_empty() {
        out.push_str("macula is off this machine\n");
    } else {
        out.push_str(&format!(
            "macula is off this machine; the data is kept ({}), and `macula up` finds it again\n",
            text::count(done.volumes.len(), "volume")
        ));
    }
    if !found.foreign.is_empty() {
        let names: Vec<&str> = found.foreign.iter().map(|name| name.as_str()).collect();
        out.push_str(&format!("  another user's platforms are as they were: {}\n", names.join(", ")));
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
        assert_snapshot!(shown(&Leavings::default(), false), @"There is nothing of macula's on this machine but the program.");
        let done = Uninstalled { volumes: vec!["macula-s3".into()], ..Uninstalled::default() };
        let found = Leavings { foreign: vec![PlatformName::new("theirs").unwrap()], ..found };
        assert_snapshot!(summary(&done, &found), @r"
        macula is off this machine; the data is kept (1 volume), and `macula up` finds it again
          another user's platforms are as they were: theirs
          images stay with the engine, and the program where it is
        ");
    }
}
