use crate::app::{UpOptions, Wanted, WatchOptions};

use super::consent::{Asker, with_engine};
use super::context::{Context, OfServices, StackOptions};
use super::error::CliError;
use super::follow::follow;
use super::interrupt;
use super::up::bring_up_for;

/// Carry out `develop.watch` of the Compose files whenever files change
///
/// Starts what is not running, then copies changed files into the containers (`sync`), restarts services (`restart`,
/// `sync+restart`), runs a command in them (`sync+exec`), or builds their images again (`rebuild`), until Ctrl-C.
/// A build that fails leaves the container as it is. Files that Git or `.dockerignore` ignore do not count.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services to watch for (default: all that have `develop.watch`)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Start nothing first
    #[arg(long)]
    no_up: bool,
    /// Also watch files that Git ignores
    #[arg(long)]
    all_files: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let named = OfServices { stacks: args.stacks, services: &args.services };
    let (loaded, choices) = context.load_to_join(&named).await?;
    let mut services = args.services;
    context.services_meant(&loaded.platform, &mut services);
    let options = WatchOptions { services, all_files: args.all_files, choices };
    if !args.no_up {
        let session = {
            // an engine that is being installed is there before this ends
            let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
            with_engine(context, &loaded).await?
        };
        let wanted = Wanted { services: options.services.clone(), may_fetch: context.may_ask(), ..Wanted::default() };
        let up = UpOptions { wanted, no_dns: None, choices: options.choices.clone() };
        bring_up_for(context, &session, &loaded, &up, &Asker { context }).await?;
    }
    follow(context, loaded, options).await
}
