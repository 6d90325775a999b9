use crate::app::{Wanted, prepare};

use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::ui::{left_out, text};

/// Show what `up` would do, each step with its cause
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they need
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
    /// Exit with 10 when there is something to do
    #[arg(long)]
    exit_code: bool,
    /// Leave the cluster as it is
    #[arg(long)]
    no_cluster: bool,
    /// Leave nothing out: an image that cannot be had is an error
    #[arg(long)]
    strict: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("plan").await;
    let wanted = Wanted {
        services: args.services,
        strict: args.strict,
        no_cluster: args.no_cluster,
        dns: None,
        may_fetch: context.may_ask(),
        ..Wanted::default()
    };
    let prepared = prepare(&session, &loaded, &wanted).await?;
    if let Some(drift) = prepared.cluster_drift() {
        context.events().warn(drift);
    }
    show(context, &prepared.plan)?;
    if args.exit_code && !prepared.plan.is_empty() {
        return Err(CliError::new(ErrorKind::ChangesPending, "there is something to do"));
    }
    Ok(())
}

/// Prints a plan that is not carried out.
pub fn show(context: &Context, plan: &crate::plan::Plan) -> Result<(), CliError> {
    if context.json() {
        return context.print_json(plan);
    }
    let mut out = String::new();
    for step in &plan.steps {
        out.push_str(&format!("{} {} ({})\n", step.sign(), step.id, step.cause));
    }
    let left_out = plan.left_out.iter().map(|left| (left.service.as_str(), left.reason.as_str()));
    for line in left_out::grouped(left_out) {
        out.push_str(&format!("  {line}\n"));
    }
    if plan.is_empty() {
        out.push_str("nothing to do\n");
    } else {
        out.push_str(&format!("{}\n", text::count(plan.steps.len(), "step")));
    }
    context.print(&out)
}
