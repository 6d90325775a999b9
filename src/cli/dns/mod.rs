use clap::Subcommand;

use super::context::Context;
use super::error::CliError;

mod install;
mod query;
mod records;
mod serve;
mod status;
mod trace;

/// The resolver of the platforms' names
///
/// One resolver a user and machine serves all platforms: `up` starts it and adds the platform's
/// names, the last `down` stops it. Without a word after it, it runs in this terminal.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    serve: serve::Args,
}

pub(super) use install::EXPLAIN;

#[derive(Debug, Subcommand)]
enum Action {
    Serve(serve::Args),
    Status(status::Args),
    List(records::ListArgs),
    Add(records::AddArgs),
    Remove(records::RemoveArgs),
    Query(query::Args),
    Trace(trace::Args),
    Install(install::Args),
    Uninstall(install::UninstallArgs),
}

impl Args {
    /// Whether this is the resolver itself.
    pub fn serves(&self) -> bool {
        matches!(self.action, None | Some(Action::Serve(_)))
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        None => serve::run(context, args.serve).await,
        Some(Action::Serve(args)) => serve::run(context, args).await,
        Some(Action::Status(args)) => status::run(context, args).await,
        Some(Action::List(args)) => records::list(context, args).await,
        Some(Action::Add(args)) => records::add(context, args).await,
        Some(Action::Remove(args)) => records::remove(context, args).await,
        Some(Action::Query(args)) => query::run(context, args).await,
        Some(Action::Trace(args)) => trace::run(context, args).await,
        Some(Action::Install(args)) => install::install(context, args).await,
        Some(Action::Uninstall(args)) => install::uninstall(context, args).await,
    }
}
