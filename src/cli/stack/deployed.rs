//! `stack status`, `stack scale` and `stack remove`: what was deployed. No stack file is needed.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::deploy::{On, Patience, Place, broken, summary};
use crate::app::{
    ClusterRemoved, DeployedService, all_on_cluster, remove_from_cluster, remove_from_swarm, scale_on_cluster,
    scale_on_swarm, status_on_cluster, status_on_swarm,
};
use crate::cli::context::Context;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::interrupt;
use crate::cli::ui::table::{Cell, Fit, Table};
use crate::cli::ui::text::{self, count};
use crate::kubernetes::StackWorkload;
use crate::words;

/// Names are told as far as somebody reads them.
const MOST: usize = 5;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The stack; none: all that this platform has deployed there
    #[arg(value_name = "STACK")]
    pub which: Option<String>,
    #[command(flatten)]
    pub place: Place,
    /// Namespace on Kubernetes (default: the stack's name; without a stack: all)
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Show how the services of a deployed stack stand, and on which nodes their tasks run
///
/// The exit code is 7 if a service does not run as it should, with what its task says.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
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
    /// Namespace on Kubernetes (default: the stack's name)
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Remove a deployed stack, and wait until it is gone; data is kept
///
/// Removes what this platform deployed for the stack. Volumes stay: on the nodes of a swarm, and as claims in a cluster,
/// unless `--volumes` is given. A namespace that was made for the stack goes when nothing else lives in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula stack remove shop --target swarm\n  \
                  macula stack remove shop --target kubernetes --context staging --volumes")]
pub struct RemoveArgs {
    /// The stack
    #[arg(value_name = "STACK")]
    which: String,
    #[command(flatten)]
    place: Place,
    /// Namespace on Kubernetes (default: the stack's name)
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Also remove the claims with their data (Kubernetes); this cannot be undone
    #[arg(long)]
    volumes: bool,
}

fn number(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text.split_once('=').ok_or("write SERVICE=N, such as api=3")?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number of replicas"))?;
    match name.is_empty() {
        true => Err("write SERVICE=N, such as api=3".to_owned()),
        false => Ok((name.to_owned(), number)),
    }
}

pub async fn status(context: &Context, StatusArgs { which: args }: StatusArgs) -> Result<(), CliError> {
    args.place.check_namespace(args.namespace.as_deref())?;
    let platform = context.name_of_deployed()?;
    let session = args.place.session(context, "stack status").await;
    if args.place.target == On::Kubernetes {
        let (platform, namespace) = (platform.as_str(), args.namespace.as_deref());
        let rows = match &args.which {
            Some(stack) => status_on_cluster(&session, args.place.in_cluster(platform, stack, namespace)).await,
            None => all_on_cluster(&session, platform, namespace, args.place.context.as_deref()).await,
        };
        return in_cluster(context, &rows.map_err(|error| args.place.in_context(error.into()))?);
    }
    let rows = status_on_swarm(&session, args.which.as_deref(), platform.as_str()).await?;
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
        for told in row.trouble.iter().chain(&row.rolled_back) {
            text.push_str(&format!("{}_{}: {told}\n", row.stack, row.service));
        }
    }
    text
}

pub async fn scale(context: &Context, args: ScaleArgs) -> Result<(), CliError> {
    args.place.check_namespace(args.namespace.as_deref())?;
    let begun = Instant::now();
    let platform = context.name_of_deployed()?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = args.place.session(context, "stack scale").await;
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for (service, number) in args.services {
        if let Some(other) = numbers.insert(service.clone(), number).filter(|other| *other != number) {
            return Err(CliError::usage(format!("{service} is given two numbers: {other} and {number}")));
        }
    }
    let (which, patience) = (args.which.as_str(), args.patience.timeout);
    let scaled = match args.place.target {
        On::Swarm => scale_on_swarm(&session, which, platform.as_str(), &numbers, patience).await,
        On::Kubernetes => {
            let place = args.place.in_cluster(platform.as_str(), which, args.namespace.as_deref());
            scale_on_cluster(&session, place, &numbers, patience).await
        }
    };
    scaled.map_err(|error| args.place.in_context(broken(context, begun, error)))?;
    if context.json() {
        return context.print_json(&numbers);
    }
    let told: Vec<String> = numbers.iter().map(|(name, number)| format!("{name} {number}")).collect();
    context.finished(begun, true, false, format!("{} scaled: {}", args.which, told.join(", ")));
    Ok(())
}

pub async fn remove(context: &Context, args: RemoveArgs) -> Result<(), CliError> {
    args.place.check_namespace(args.namespace.as_deref())?;
    let begun = Instant::now();
    let platform = context.name_of_deployed()?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    if args.volumes && args.place.target == On::Swarm {
        return Err(CliError::usage("`--volumes` is for clusters; the volumes of a swarm are on its nodes").shell([
            "docker",
            "volume",
            "rm",
            &format!("{}_VOLUME", args.which),
        ]));
    }
    let session = args.place.session(context, "stack remove").await;
    if args.place.target == On::Kubernetes {
        let place = args.place.in_cluster(platform.as_str(), &args.which, args.namespace.as_deref());
        if args.volumes {
            let question = format!("Remove {} from the namespace {} with all its data?", args.which, place.namespace);
            if !context.agreed(&question, "Its claims go, and what they hold; this cannot be undone.").await? {
                return Err(CliError::new(ErrorKind::Declined, "Nothing was changed."));
            }
        }
        let removed = remove_from_cluster(&session, place, args.volumes).await;
        let removed = removed.map_err(|error| args.place.in_context(broken(context, begun, error)))?;
        if context.json() {
            return context.print_json(&removed);
        }
        left_behind(context, &removed, place.namespace);
        let total = count(removed.removed.len(), "object");
        let kept = match (removed.kept.len(), args.volumes) {
            (0, true) => "; its data, too".to_owned(),
            (0, false) => String::new(),
            (number, _) => format!("; its data is kept ({})", count(number, "claim")),
        };
        context.finished(begun, true, false, format!("{} is gone ({total}){kept}", args.which));
        return Ok(());
    }
    let removed = remove_from_swarm(&session, &args.which, platform.as_str()).await;
    let removed = removed.map_err(|error| broken(context, begun, error))?;
    if context.json() {
        let names = removed.changes.iter().map(|change| format!("{} {}", change.kind, change.name)).collect();
        return context.print_json(&ClusterRemoved { removed: names, ..ClusterRemoved::default() });
    }
    let total = count(removed.changes.len(), "object");
    context.events().info(summary(&removed));
    context.finished(begun, true, false, format!("{} is gone ({total}); its volumes are kept", args.which));
    Ok(())
}

/// What is there although the stack is gone.
fn left_behind(context: &Context, removed: &ClusterRemoved, namespace: &str) {
    if !removed.ending.is_empty() {
        context.events().warn(format!("still ending: {}", text::some(&removed.ending, MOST)));
    }
    if !removed.others.is_empty() {
        let others = text::some(&removed.others, MOST);
        context.events().info(format!("the namespace {namespace} stays: others live in it ({others})"));
    } else if !removed.unseen.is_empty() {
        let unseen = text::some(&removed.unseen, MOST);
        context
            .events()
            .info(format!("the namespace {namespace} stays: others may live in it that macula cannot list ({unseen})"));
    }
}

fn in_cluster(context: &Context, rows: &[StackWorkload]) -> Result<(), CliError> {
    let reasons = |row: &StackWorkload| row.reasons.iter().map(ToString::to_string).collect::<Vec<_>>();
    if context.json() {
        let rows = rows.iter().map(|row| {
            let workload = &row.workload;
            json!({
                "stack": row.stack, "service": workload.name, "namespace": workload.namespace,
                "kind": format!("{:?}", workload.kind), "running": row.ready, "wanted": row.wanted,
                "images": row.images, "trouble": reasons(row),
                "autoscaler": row.scaler.as_ref().map(|scaler| json!({
                    "min": scaler.min, "max": scaler.max, "trouble": scaler.trouble,
                })),
            })
        });
        context.print_json(&rows.collect::<Vec<_>>())?;
    } else if rows.is_empty() {
        context.print("no stack is deployed there\n")?;
    } else {
        let columns = [("SERVICE", Fit::Whole), ("READY", Fit::Whole), ("KIND", Fit::Whole), ("IMAGE", Fit::Shrink)];
        let mut table = Table::new(columns);
        for row in rows {
            table.row([
                Cell::from(&format!("{}/{}", row.workload.namespace, row.workload.name)),
                Cell::from(&format!("{}/{}", row.ready, row.wanted)),
                Cell::from(&format!("{:?}", row.workload.kind)),
                Cell::from(&row.images.join(", ")),
            ]);
        }
        let mut text = table.render(context.out_style(), context.terminal.table_width());
        for reason in rows.iter().flat_map(reasons) {
            text.push_str(&format!("{reason}\n"));
        }
        // the pods run all the same: as many as there are
        for (row, scaler) in rows.iter().filter_map(|row| Some((row, row.scaler.as_ref()?))) {
            if let Some(trouble) = &scaler.trouble {
                text.push_str(&format!("{}: its autoscaler does not count: {trouble}\n", row.workload));
            }
        }
        context.print(&text)?;
    }
    match rows.iter().any(|row| !row.reasons.is_empty()) {
        true => Err(CliError::told(ErrorKind::NotHealthy)),
        false => Ok(()),
    }
}
