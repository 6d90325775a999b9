use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use crate::app::{LifecycleAction, ProcessWork, lifecycle, must_have_containers, work_on_processes};
use crate::model::Platform;
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
    let named = match &loaded {
        Some(loaded) => named_processes(&loaded.platform, &mut services),
        // without the files nothing says which of the names are processes
        None => (!services.is_empty()).then(BTreeSet::new),
    };
    let names_processes = named.as_ref().is_some_and(|named| !named.is_empty());
    let only_processes = names_processes && services.is_empty();
    let work = async {
        let of_processes =
            || work_on_processes(&session, &platform, loaded.as_ref(), process_work(action), named.as_ref());
        let mut ended = Vec::new();
        // what needs the services goes before them, and comes after them
        if action == LifecycleAction::Stop {
            if names_processes && !only_processes {
                // one that is mistyped is told before anything has ended
                must_have_containers(&session, &platform, loaded.as_ref(), &services).await?;
            }
            ended = of_processes().await?;
        }
        let plan = match only_processes {
            true => Plan::default(),
            false => lifecycle(&session, &platform, loaded.as_ref(), action, &services).await?,
        };
        let processes = if action == LifecycleAction::Stop { ended } else { of_processes().await? };
        Ok((plan, processes))
    };
    match work.await {
        Ok((plan, processes)) if context.json() => {
            context.print_json(&json!({"steps": plan.steps, "left_out": plan.left_out, "processes": processes}))
        }
        Ok((plan, processes)) => {
            context.finished(begun, true, false, summary(action, &plan, processes));
            Ok(())
        }
        Err(error) => Err(broken(context, begun, error, loaded.as_ref())),
    }
}

/// The processes among the names; none: nobody has named anything.
fn named_processes(platform: &Platform, names: &mut Vec<String>) -> Option<BTreeSet<String>> {
    if names.is_empty() {
        return None;
    }
    let is_process = |name: &String| platform.processes.contains_key(name) && platform.service(name).is_none();
    let named = names.iter().filter(|name| is_process(name)).cloned().collect();
    names.retain(|name| !is_process(name));
    Some(named)
}

fn process_work(action: LifecycleAction) -> ProcessWork {
    match action {
        LifecycleAction::Restart => ProcessWork::Restart,
        LifecycleAction::Stop => ProcessWork::Stop,
        LifecycleAction::Start => ProcessWork::Start,
    }
}

/// `stopped cart`, `restarted 11 services`
fn summary(action: LifecycleAction, plan: &Plan, processes: Vec<String>) -> String {
    let mut names: Vec<String> = plan.steps.iter().map(|step| step.group.clone()).chain(processes).collect();
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
