//! `stack status`, `stack scale` and `stack remove`: what was deployed. No stack file is needed.

use std::collections::BTreeMap;
use std::time::Instant;

use super::deploy::{On, Patience, Place, broken, summary};
use crate::app::{DeployedService, remove_from_swarm, scale_on_swarm, status_on_swarm};
use crate::cli::context::Context;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::interrupt;
use crate::cli::ui::table::{Cell, Fit, Table};
use crate::cli::ui::text::count;
use crate::words;

/// Show how the services of a deployed stack stand, and on which nodes their tasks run
///
/// The exit code is 7 if a service does not run as it should, with what its task says.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The stack; none: all that this platform has deployed there
    #[arg(value_name = "STACK")]
    which: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Change the number of replicas of services, and wait until they run
///
/// The next `stack deploy` sets the number that the files say.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula stack scale shop api=3 --target swarm")]
pub struct ScaleArgs {
    /// The stack
    #[arg(value_name = "STACK")]
    which: String,
    /// Services and their numbers of replicas
    #[arg(value_name = "SERVICE=N", required = true, value_parser = number)]
    services: Vec<(String, u64)>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    patience: Patience,
}

/// Remove a deployed stack, and wait until it is gone; data is kept
///
/// Removes services, networks, secrets and configs that this platform deployed. Volumes stay on the nodes where they
/// are.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The stack
    #[arg(value_name = "STACK")]
    which: String,
    #[command(flatten)]
    place: Place,
}

fn number(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text.split_once('=').ok_or("write SERVICE=N, such as api=3")?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number of replicas"))?;
    match name.is_empty() {
        true => Err("write SERVICE=N, such as api=3".to_owned()),
        false => Ok((name.to_owned(), number)),
    }
}

pub async fn status(context: &Context, args: StatusArgs) -> Result<(), CliError> {
    let platform = context.platform_name()?;
    let session = context.session_as("stack status", args.place.context.as_deref()).await;
    let rows = match args.place.target {
        On::Swarm => status_on_swarm(&session, args.which.as_deref(), platform.as_str()).await?,
    };
    match context.json() {
        true => context.print_json(&rows)?,
        false => context.print(&shown(context, &rows))?,
    }
    match rows.iter().any(|row| row.trouble.is_some()) {
        true => Err(CliError::told(ErrorKind::NotHealthy)),
        false => Ok(()),
    }
}

fn shown(context: &Context, rows: &[DeployedService]) -> String {
    if rows.is_empty() {
        return "no stack is deployed there\n".to_owned();
    }
    let columns = [
        ("SERVICE", Fit::Whole),
        ("RUNNING", Fit::Whole),
        ("MODE", Fit::Whole),
        ("NODES", Fit::Shrink),
        ("PORTS", Fit::Shrink),
        ("IMAGE", Fit::Shrink),
    ];
    let mut table = Table::new(columns);
    for row in rows {
        let running = row.tasks.iter().filter(|task| task.state == "running" || task.state == "complete");
        let nodes = words::unique(running.map(|task| task.node.clone()));
        table.row([
            Cell::from(&format!("{}_{}", row.stack, row.service)),
            Cell::from(&format!("{}/{}", row.running, row.wanted)),
            Cell::from(&row.mode.to_owned()),
            Cell::from(&nodes.join(", ")),
            Cell::from(&row.ports.join(", ")),
            Cell::from(&row.image),
        ]);
    }
    let mut text = table.render(context.out_style(), context.terminal.table_width());
    for row in rows {
        if let Some(trouble) = &row.trouble {
            text.push_str(&format!("{}_{}: {trouble}\n", row.stack, row.service));
        }
    }
    text
}

pub async fn scale(context: &Context, args: ScaleArgs) -> Result<(), CliError> {
    let begun = Instant::now();
    let platform = context.platform_name()?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session_as("stack scale", args.place.context.as_deref()).await;
    let numbers: BTreeMap<String, u64> = args.services.into_iter().collect();
    let scaled = match args.place.target {
        On::Swarm => scale_on_swarm(&session, &args.which, platform.as_str(), &numbers, args.patience.timeout).await,
    };
    scaled.map_err(|error| broken(context, begun, error))?;
    if context.json() {
        return context.print_json(&numbers);
    }
    let told: Vec<String> = numbers.iter().map(|(name, number)| format!("{name} {number}")).collect();
    context.finished(begun, true, false, format!("{} scaled: {}", args.which, told.join(", ")));
    Ok(())
}

pub async fn remove(context: &Context, args: RemoveArgs) -> Result<(), CliError> {
    let begun = Instant::now();
    let platform = context.platform_name()?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session_as("stack remove", args.place.context.as_deref()).await;
    let removed = match args.place.target {
        On::Swarm => remove_from_swarm(&session, &args.which, platform.as_str()).await,
    };
    let removed = removed.map_err(|error| broken(context, begun, error))?;
    if context.json() {
        return context.print_json(&removed.changes);
    }
    let total = count(removed.changes.len(), "object");
    context.events().info(summary(&removed));
    context.finished(begun, true, false, format!("{} is gone ({total}); its volumes are kept", args.which));
    Ok(())
}
