//! `stack validate`: the list to go through after a reboot.

use serde_json::json;

use super::deploy::On;
use super::deployed::Which;
use crate::app::{validate_on_cluster, validate_on_swarm};
use crate::cli::context::Context;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::ui::text::{self, count};
use crate::cli::ui::{Style, Tone};
use crate::cli::validate::tries;
use crate::compile::targets::{Check, Checked};
use crate::model::{Invocation, Remedy};

/// Check what a deployed stack needs: managers, nodes, a node for each service, its tasks and its ports
///
/// On a swarm, after a reboot or whenever something does not answer: whether enough managers reach each other, which
/// nodes are away or take no tasks, whether any node meets the constraints of each service, whether each runs as often as
/// it should, and whether its published ports answer here over TCP. In a cluster: its nodes and the stack's workloads.
///
/// No stack file is needed. The exit code is 7 if something does not work; a warning is a problem that
/// is still to come.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula stack validate shop --target swarm\n  \
                  macula stack validate --target kubernetes --context staging")]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

pub async fn run(context: &Context, Args { which: args }: Args) -> Result<(), CliError> {
    args.place.check_namespace(args.namespace.as_deref())?;
    let platform = context.name_of_deployed()?;
    let session = args.place.session(context, "stack validate").await;
    let (platform, stack, namespace) = (platform.as_str(), args.which.as_deref(), args.namespace.as_deref());
    let docker_or_kubectl = args.place.context.as_deref();
    let all = match args.place.target {
        On::Swarm => validate_on_swarm(&session, stack, platform, docker_or_kubectl).await?,
        On::Kubernetes => {
            let all = validate_on_cluster(&session, platform, (stack, namespace), docker_or_kubectl).await;
            all.map_err(|error| args.place.in_context(error.into()))?
        }
    };
    let failed = all.iter().filter(|check| check.state == Checked::Failed).count();
    if context.json() {
        let invocation = context.invocation();
        let checks: Vec<_> = all.iter().map(|check| as_json(check, &invocation)).collect();
        context.print_json(&json!({"ok": failed == 0, "checks": checks}))?;
    } else {
        let width = context.terminal.table_width().unwrap_or(usize::MAX);
        context.print(&shown(&all, context.out_style(), width, &context.invocation()))?;
    }
    match (failed, context.json()) {
        (0, _) => Ok(()),
        (_, true) => Err(CliError::told(ErrorKind::NotHealthy)),
        (number, false) => Err(CliError::not_healthy(format!("{number} of these checks failed"))),
    }
}

fn as_json(check: &Check, invocation: &Invocation) -> serde_json::Value {
    let (hints, commands) = Remedy::hints_and_commands(&check.remedies, invocation);
    json!({
        "kind": check.kind, "name": check.name, "state": check.state, "seen": check.seen, "hints": hints, "try": commands,
    })
}

fn shown(all: &[Check], style: Style, width: usize, invocation: &Invocation) -> String {
    let kinds = all.iter().map(|check| check.kind.len()).max().unwrap_or_default();
    let mut out = String::new();
    for check in all {
        let (sign, tone) = match check.state {
            Checked::Ok => (style.done(), Tone::Good),
            Checked::Warning => (style.warning(), Tone::Warn),
            Checked::Failed => (style.failed(), Tone::Bad),
        };
        let line = format!("{:<kinds$}  {}: {}", check.kind, check.name, check.seen);
        let indent = " ".repeat(kinds + 4);
        let lines = text::wrap(&line, width.saturating_sub(indent.len()));
        out.push_str(&format!("{} {}\n", style.paint(tone, sign), lines.join(&format!("\n{indent}"))));
        out.push_str(&tries(&check.remedies, style, invocation));
    }
    if !all.iter().any(|check| matches!(check.kind, "service" | "workload")) {
        out.push_str("no stack is deployed there\n");
        return out;
    }
    let warnings = all.iter().filter(|check| check.state == Checked::Warning).count();
    let failed = all.iter().any(|check| check.state == Checked::Failed);
    if !failed {
        let but = if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
        out.push_str(&format!("{} passed{but}\n", count(all.len() - warnings, "check")));
    }
    out
}
