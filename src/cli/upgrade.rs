use crate::app::{Release, Renewal, Upgrade, UpgradeState, Upgrading, upgrade};
use crate::model::macula;

use super::VERSION;
use super::context::Context;
use super::error::CliError;
use super::interrupt;

/// Where the releases of this program are, as its maker has said.
const RELEASES: Option<&str> = option_env!("MACULA_RELEASES");

/// Replace this program with a newer release, also while a platform runs
///
/// Takes the archive for this machine, checks it against SHA256SUMS, starts the new program once, and replaces this
/// one in a single step; whatever goes wrong before that, nothing has changed. The resolver continues as the new
/// program without losing a question. What a package manager has installed is left to it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where SHA256SUMS and the archives are (else where this program was released)
    #[arg(long, value_name = "ADDRESS|FOLDER")]
    from: Option<String>,
    /// Only say which version is there
    #[arg(long)]
    check: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session_without_engine("upgrade");
    let from = args.from.as_deref().or(RELEASES.filter(|address| !address.is_empty()));
    let request = Upgrading { from: from.map(Release::of), own: VERSION.to_owned(), check: args.check };
    let done = upgrade(&session, &request).await?;
    if context.json() {
        return context.print_json(&done);
    }
    context.print(&told(&done, args.from.as_deref(), |command| context.line(command)))
}

fn told(done: &Upgrade, from: Option<&str>, line: impl Fn(crate::model::MaculaCommand) -> String) -> String {
    let Upgrade { program, own, release, .. } = done;
    match done.state {
        UpgradeState::Current => format!("already {own}: nothing to do\n"),
        UpgradeState::Older => {
            format!("{} has {release}, which is older than this {own}: nothing was changed\n", done.from)
        }
        UpgradeState::Available => {
            let command = from.into_iter().fold(macula("upgrade"), |command, from| command.arg("--from").arg(from));
            format!("{} has {release}; this is {own}\nto upgrade: `{}`\n", done.from, line(command))
        }
        UpgradeState::Upgraded => {
            let resolver = match done.resolver {
                Some(Renewal::HandedOver) => "  the resolver continues as the new program; no question was lost\n",
                Some(Renewal::Restarted) => "  the resolver was restarted as the new program\n",
                Some(Renewal::LeftAlone) => {
                    "  the resolver that runs is still the old program: stop it and start it again\n"
                }
                Some(Renewal::NotRunning) | None => "",
            };
            format!("macula {release} replaces {own} ({})\n{resolver}", program.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::model::Invocation;

    #[test]
    fn what_was_done_is_told() {
        let done = |state, resolver| Upgrade {
            program: "/home/me/.local/bin/macula".into(),
            from: "https://example.com/r".into(),
            own: "0.1.0".into(),
            release: "0.2.0".into(),
            state,
            resolver,
        };
        let line = |command: crate::model::MaculaCommand| command.line(&Invocation::default());
        let told = |state, resolver| told(&done(state, resolver), Some("https://example.com/r"), line);
        let all = [
            told(UpgradeState::Upgraded, Some(Renewal::HandedOver)),
            told(UpgradeState::Upgraded, Some(Renewal::NotRunning)),
            told(UpgradeState::Available, None),
            told(UpgradeState::Current, None),
            told(UpgradeState::Older, None),
        ];
        assert_snapshot!(all.join(""), @r"
        macula 0.2.0 replaces 0.1.0 (/home/me/.local/bin/macula)
          the resolver continues as the new program; no question was lost
        macula 0.2.0 replaces 0.1.0 (/home/me/.local/bin/macula)
        https://example.com/r has 0.2.0; this is 0.1.0
        to upgrade: `macula upgrade --from https://example.com/r`
        already 0.1.0: nothing to do
        https://example.com/r has 0.2.0, which is older than this 0.1.0: nothing was changed
        ");
    }
}
