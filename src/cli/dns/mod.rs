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
/// names, the last `down` stops it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
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
        matches!(self.action, Action::Serve(_))
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::Serve(args) => serve::run(context, args).await,
        Action::Status(args) => status::run(context, args).await,
        Action::List(args) => records::list(context, args).await,
        Action::Add(args) => records::add(context, args).await,
        Action::Remove(args) => records::remove(context, args).await,
        Action::Query(args) => query::run(context, args).await,
        Action::Trace(args) => trace::run(context, args).await,
        Action::Install(args) => install::install(context, args).await,
        Action::Uninstall(args) => install::uninstall(context, args).await,
    }
}
