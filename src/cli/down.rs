use std::time::Instant;

use crate::app::{DownOptions, down};

use super::context::Context;
use super::error::CliError;
use super::interrupt;

/// Take the platform down; the data stays
///
/// Stops and removes the containers and the network, in the reverse order of their dependencies,
/// each with its own stop signal and time to end. Volumes stay, and the next `up` finds them,
/// unless `--volumes` is given. Needs no stack file: what is ours bears our label, and nothing else
/// is touched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove the data volumes and passwords too; this cannot be undone
    #[arg(long)]
    volumes: bool,
    /// Keep the cluster, and the network that its nodes are in
    #[arg(long)]
    keep_cluster: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let name = context.platform_name()?;
    if context.global.verbose > 0 && !args.volumes {
        context.events().info("`-v` is --verbose here; the data goes with --volumes");
    }
    let begun = Instant::now();
    if args.volumes && !args.dry_run {
        context
            .confirm(
                &format!("Remove the platform {name} with all its data"),
                "Every volume of the platform is removed: databases, images pushed to the registry, metrics. \
             The passwords go too, since they open nothing any more.",
            )
            .await?;
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())
        .map_err(|error| CliError::io("listen for Ctrl-C", &error))?;
    let session = context.session("down").await;
    let downed = down(
        &session,
        &name,
        DownOptions { volumes: args.volumes, keep_cluster: args.keep_cluster, dry_run: args.dry_run },
    )
    .await;
    let downed = match downed {
        Ok(downed) => downed,
        Err(error) => {
            context.finished(begun, false, false, "not everything is down");
            return Err(error.into());
        }
    };
    if context.json() {
        return context.print_json(&serde_json::json!({
            "platform": name, "steps": downed.plan.steps, "volumes_kept": downed.kept, "dry_run": args.dry_run,
        }));
    }
    if args.dry_run {
        let text = if downed.plan.is_empty() { "nothing to do\n".into() } else { downed.plan.to_string() };
        return context.print(&text);
    }
    let kept = match downed.kept.len() {
        0 => String::new(),
        1 => "; 1 volume is kept".into(),
        count => format!("; {count} volumes are kept"),
    };
    let summary = if downed.plan.is_empty() { format!("nothing to do{kept}") } else { format!("down{kept}") };
    context.finished(begun, true, false, summary);
    Ok(())
}
