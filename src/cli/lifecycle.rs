use std::time::Instant;

use crate::app::{LifecycleAction, lifecycle};
use crate::plan::Plan;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::interrupt;
use super::ui::text;
use super::up::broken;

/// Restart services, in the order of their dependencies
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Stop services and keep their containers
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Start stopped services
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Services, or host names they answer to (default: all)
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
    mut services: Vec<String>,
    stacks: StackOptions,
) -> Result<(), CliError> {
    let begun = Instant::now();
    let (platform, loaded) = context.load_or_name(&stacks)?;
    if let Some(loaded) = &loaded {
        context.services_meant(&loaded.platform, &mut services);
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session(verb).await;
    match lifecycle(&session, &platform, loaded.as_ref(), action, &services).await {
        Ok(plan) if context.json() => context.print_json(&plan),
        Ok(plan) => {
            context.finished(begun, true, false, summary(action, &plan));
            Ok(())
        }
        Err(error) => Err(broken(context, begun, error, loaded.as_ref())),
    }
}

/// `stopped cart`, `restarted 11 services`
fn summary(action: LifecycleAction, plan: &Plan) -> String {
    let mut names: Vec<String> = plan.steps.iter().map(|step| step.group.clone()).collect();
    names.sort();
    names.dedup();
    let verb = match action {
        LifecycleAction::Restart => "restarted",
        LifecycleAction::Stop => "stopped",
        LifecycleAction::Start => "started",
    };
    match names.len() {
        0 => match action {
            LifecycleAction::Stop => "nothing to do: already stopped".into(),
            LifecycleAction::Start => "nothing to do: already running".into(),
            LifecycleAction::Restart => "nothing to do: only jobs have a container".into(),
        },
        1..=3 => format!("{verb} {}", names.join(", ")),
        count => format!("{verb} {}", text::count(count, "service")),
    }
}
