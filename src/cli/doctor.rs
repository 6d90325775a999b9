use crate::app::{cluster_needs, survey};
use crate::doctor::{self, CHECKS, Finding, Needs, Selection, Status};

use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::ui::{Style, Tone, text};
use super::up::explain;

/// Check the machine, and say how to mend what is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these checks; none: all
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
    /// Mend what can be mended, asking first
    #[arg(long)]
    fix: bool,
    /// List the checks
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if args.list {
        let lines: String = CHECKS.iter().map(|check| format!("{:<20} {}\n", check.name, check.about)).collect();
        return context.print(&lines);
    }
    let selection = if args.checks.is_empty() {
        Selection::All
    } else {
        Selection::named(&args.checks)
            .map_err(|error| CliError::usage(error.to_string()).hint("`macula doctor --list` names them all"))?
    };
    let loaded = context.load(&args.stacks)?;
    let mut session = context.session("doctor").await;
    // what the platform wants of the machine is known in full only with an engine
    let needs = match survey(&session, &loaded).await {
        Ok(prepared) => Needs::of(&prepared.platform, &prepared.resources, cluster_needs(&loaded.platform)),
        Err(_) => Needs {
            platform: loaded.platform.name.to_string(),
            domain: loaded.platform.domain.clone(),
            network: loaded.platform.name.network(),
            cluster: cluster_needs(&loaded.platform),
            ..Needs::default()
        },
    };
    let mut findings = doctor::run(&session.system, &needs, selection).await;
    if args.fix {
        for at in 0..findings.len() {
            let Some(finding) = findings.get(at).filter(|finding| can_fix(finding)).cloned() else { continue };
            let Some(fix) = &finding.fix else { continue };
            if !context.agreed(&format!("{}: {}", finding.summary, fix.text), &explain(fix)).await? {
                continue;
            }
            let fixed = doctor::fix(&session.system, &needs, &finding, &context.events()).await;
            let fixed = fixed.map_err(|error| CliError::unexpected(fix.text.clone()).because(&error))?;
            session.system = fixed.system;
            if let Some(place) = findings.get_mut(at) {
                *place = fixed.finding;
            }
        }
    }
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.status == Status::Failed).collect();
    let error = failed.first().map(|finding| {
        let of_engine = ["socket-permission", "docker-context"];
        let kind = if finding.check.starts_with("engine") || of_engine.contains(&finding.check) {
            ErrorKind::NoEngine
        } else if finding.check == "ports" {
            ErrorKind::Conflict
        } else {
            ErrorKind::Unexpected
        };
        CliError::new(kind, format!("{} failed", text::count(failed.len(), "check")))
    });
    if context.json() {
        context.print_json(&findings)?;
        // the findings are the result; a second object would make it no JSON any more
        return match error {
            Some(error) => std::process::exit(i32::from(error.kind.exit_code())),
            None => Ok(()),
        };
    }
    context.print(&table(&findings, context.out_style(), context.global.verbose > 0))?;
    error.map_or(Ok(()), Err)
}

fn can_fix(finding: &Finding) -> bool {
    matches!(finding.status, Status::Failed | Status::Warning)
        && finding.fix.as_ref().is_some_and(|fix| !fix.actions.is_empty())
}

fn table(findings: &[Finding], style: Style, verbose: bool) -> String {
    let mut out = String::new();
    for finding in findings {
        let (sign, tone) = match finding.status {
            Status::Ok => (style.done(), Tone::Good),
            Status::Warning => (style.warning(), Tone::Warn),
            Status::Failed => (style.failed(), Tone::Bad),
            Status::Skipped => (style.skipped(), Tone::Dim),
        };
        out.push_str(&format!("{} {:<20} {}\n", style.paint(tone, sign), finding.check, finding.summary));
        if finding.status == Status::Ok && !verbose {
            continue;
        }
        for line in &finding.detail {
            out.push_str(&format!("    {line}\n"));
        }
        if let Some(fix) = &finding.fix {
            out.push_str(&format!("    {} {}\n", style.paint(Tone::Active, "fix:"), fix.text));
            for action in &fix.actions {
                out.push_str(&format!("      {action}\n"));
            }
        }
    }
    out
}
