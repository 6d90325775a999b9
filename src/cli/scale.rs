use super::context::{Context, ScaleOptions, typed_scale};
use super::error::CliError;
use super::up;
use crate::config::Scale;

/// Change the number of containers of services
///
/// Brings these services up with what they need, as `macula up --scale SERVICE=N SERVICE` does, removes surplus containers,
/// and updates the ingress. The number holds for later commands too, until `SERVICE=` gives back that of the file, or
/// `macula up --reset` forgets it. Stacks on Swarm and Kubernetes have `macula stack scale`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula scale worker=3\n  macula scale worker= api=2")]
pub struct Args {
    /// Services and their numbers of containers
    #[arg(value_name = "SERVICE=N", required = true, value_parser = typed_scale)]
    services: Vec<(String, Scale)>,
    /// Do not start the dependencies of these services
    #[arg(long)]
    no_deps: bool,
    /// Show the plan without carrying it out
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let scale = ScaleOptions { scale: args.services };
    up::run(context, up::Args::of_scale(scale, args.no_deps, args.dry_run)).await
}
