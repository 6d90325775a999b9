use std::time::Instant;

use crate::app::{LifecycleAction, lifecycle};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::interrupt;

/// Stop and start containers, in the order of their dependencies
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Only these services; none: all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Stop containers and keep them
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Only these services; none: all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Start containers that were stopped
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Only these services; none: all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn restart(context: &Context, args: RestartArgs) -> Result<(), CliError> {
    act(context, LifecycleAction::Restart, "restart", args.services, args.stacks).await
}

pub async fn stop(context: &Context, args: StopArgs) -> Result<(), CliError> {
    act(context, LifecycleAction::Stop, "stop", args.services, args.stacks).await
}

pub async fn start(context: &Context, args: StartArgs) -> Result<(), CliError> {
    act(context, LifecycleAction::Start, "start", args.services, args.stacks).await
}

async fn act(
    context: &Context,
    action: LifecycleAction,
    verb: &str,
    services: Vec<String>,
    stacks: StackOptions,
) -> Result<(), CliError> {
    let begun = Instant::now();
    let loaded = context.load(&stacks)?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())
        .map_err(|error| CliError::io("listen for Ctrl-C", &error))?;
    let session = context.session(verb).await;
    match lifecycle(&session, &loaded, action, &services).await {
        Ok(plan) if context.json() => context.print_json(&plan),
        Ok(plan) if plan.is_empty() => {
            context.finished(begun, true, false, "nothing to do");
            Ok(())
        }
        Ok(_) => {
            context.finished(begun, true, false, "done");
            Ok(())
        }
        Err(error) => {
            context.finished(begun, false, false, format!("{verb} failed"));
            Err(error.into())
        }
    }
}
