use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::app::{self, Consent, Prepared, Session, UpOptions, Wanted, prepare};
use crate::apply::{Timing, critical_path};
use crate::config::Loaded;
use crate::doctor::{self, Finding, Fix, Needs, Selection, Status};
use crate::plan::{Action, Cause};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::failure::no_engine;
use super::ui::left_out;
use super::ui::waterfall::{Span, waterfall};
use super::{interrupt, plan, status};

/// Bring the platform up, or what is missing of it
///
/// Reads the stacks, looks at what is there, and does what differs: images are pulled or built,
/// containers made and started in the order of their dependencies, side by side, and every service
/// asked from outside until it answers. What is right already is left alone, so running it again
/// costs next to nothing; after a failure it goes on where it stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they need; none: all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
    /// Build again what has a build, also where its image is there
    #[arg(long)]
    build: bool,
    /// Make new containers for these services (or all), also where nothing has changed
    #[arg(long)]
    force_recreate: bool,
    /// Leave out what these services need
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Leave nothing out: an image that cannot be had is an error (exit code 6)
    #[arg(long)]
    strict: bool,
    /// Leave the cluster as it is: none is made, started or changed
    #[arg(long)]
    no_cluster: bool,
    /// Leave the names alone: the resolver is not started, nor told of this platform
    #[arg(long)]
    no_dns: bool,
    /// How long each service may take to become healthy, in place of its own time: 90s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Show where the time went
    #[arg(long)]
    timings: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let begun = Instant::now();
    let loaded = context.load(&args.stacks)?;
    let wanted = Wanted {
        services: args.services,
        no_deps: args.no_deps,
        build: args.build,
        recreate: args.force_recreate,
        strict: args.strict,
        no_cluster: args.no_cluster,
        dns: Some(!args.no_dns),
        may_fetch: context.may_ask(),
        timeout: args.timeout,
    };
    if args.dry_run {
        let session = context.session("up --dry-run").await;
        let prepared = prepare(&session, &loaded, &wanted).await?;
        return plan::show(context, &prepared.plan);
    }
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())
        .map_err(|error| CliError::io("listen for Ctrl-C", &error))?;
    let session = with_engine(context, &loaded).await?;
    let options = UpOptions { wanted, no_dns: args.no_dns };
    let mut result = match app::up(&session, &loaded, &options, &Asker { context }).await {
        Ok(result) => result,
        Err(error) => {
            let summary = if matches!(error, app::Error::Cancelled) { "stopped" } else { "not everything is up" };
            context.finished(begun, false, false, summary);
            return Err(error.into());
        }
    };
    let degraded = !result.left_out.is_empty();
    let summary = match (result.steps, degraded) {
        (0, false) => "up; nothing to do",
        (0, true) => "up, degraded; nothing to do",
        (_, false) => "up",
        (_, true) => "up, degraded",
    };
    context.finished(begun, true, degraded, summary);
    if args.timings && !context.json() {
        context.print(&waterfall(&spans(&result.timings), context.terminal.width, context.out_style()))?;
        if let Some(trace) = &result.trace {
            context.print(&format!("trace {} is at {}\n", trace.id, trace.url))?;
        }
    }
    let dns = &mut result.now.dns;
    if !options.no_dns && dns.healthy && !dns.installed {
        dns.installed = super::dns::offer(context, &session).await?;
    }
    status::show(context, &result.now)
}

/// The engine, installed and started first where there is none and the user agrees.
async fn with_engine(context: &Context, loaded: &Loaded) -> Result<Session, CliError> {
    let mut session = context.session("up").await;
    if session.system.engine.is_some() {
        return Ok(session);
    }
    let needs = Needs { platform: loaded.platform.name.to_string(), ..Needs::default() };
    let checks = Selection::named(&["engine-installed", "engine-running"])
        .map_err(|error| CliError::unexpected(error.to_string()))?;
    let findings = doctor::run(&session.system, &needs, checks).await;
    let finding = findings.iter().find(|finding| finding.status == Status::Failed && has_actions(finding));
    let Some((finding, fix)) = finding.and_then(|finding| Some((finding, finding.fix.as_ref()?))) else {
        return Err(no_engine(&session.system.discovery));
    };
    let question = format!("{}: {}", finding.summary, fix.text);
    if !context.agreed(&question, &explain(fix)).await? {
        return Err(no_engine(&session.system.discovery).suggest("macula up --yes"));
    }
    let fixed = doctor::fix(&session.system, &needs, finding, &context.events()).await.map_err(|error| {
        CliError::new(super::error::ErrorKind::NoEngine, fix.text.clone()).because(&error).suggest("macula doctor")
    })?;
    session.system = fixed.system;
    if session.system.engine.is_none() {
        return Err(no_engine(&session.system.discovery));
    }
    Ok(session)
}

fn has_actions(finding: &Finding) -> bool {
    finding.fix.as_ref().is_some_and(|fix| !fix.actions.is_empty())
}

/// What a fix would run, a line each.
pub fn explain(fix: &Fix) -> String {
    fix.actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) struct Asker<'a> {
    pub context: &'a Context,
}

#[async_trait]
impl Consent for Asker<'_> {
    async fn planned(&self, prepared: &Prepared, findings: &[Finding]) {
        let events = self.context.events();
        let orphans: Vec<&str> = prepared
            .plan
            .steps
            .iter()
            .filter(|step| step.cause == Cause::Orphaned && matches!(step.action, Action::RemoveContainer { .. }))
            .map(|step| step.group.as_str())
            .collect();
        if !orphans.is_empty() {
            let names = orphans.join(", ");
            events.warn(format!(
                "not wanted any more (by the stacks and profiles), and taken down; volumes stay: {names}"
            ));
        }
        if let Some(drift) = prepared.cluster_drift() {
            events.warn(drift);
        }
        let left_out = prepared.plan.left_out.iter().map(|left| (left.service.as_str(), left.reason.as_str()));
        for line in left_out::grouped(left_out) {
            events.warn(line);
        }
        for finding in findings.iter().filter(|finding| matches!(finding.status, Status::Warning | Status::Failed)) {
            let fix = finding.fix.as_ref().map(|fix| format!(" ({})", fix.text)).unwrap_or_default();
            events.warn(format!("{}: {}{fix}", finding.check, finding.summary));
        }
        if self.context.global.verbose > 0 {
            for step in &prepared.plan.steps {
                events.info(step.to_string());
            }
        }
    }

    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, app::Error> {
        self.context
            .agreed(&format!("{why}: {}", fix.text), &explain(fix))
            .await
            .map_err(|error| app::Error::Other(error.to_string()))
    }
}

fn spans(timings: &[Timing]) -> Vec<Span> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let critical = critical_path(timings);
    timings
        .iter()
        .enumerate()
        .map(|(at, timing)| Span {
            group: timing.group.clone(),
            text: timing.step.clone(),
            start_ms: millis(timing.start),
            duration_ms: millis(timing.duration),
            critical: critical.contains(&at),
        })
        .collect()
}

/// `90`, `90s`, `5m`, `1h`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no time; write 90s, 5m or 500ms"))?;
    let millis = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" | "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(format!("`{unit}` is no unit; write ms, s, m or h")),
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("5parsecs"), Err("`parsecs` is no unit; write ms, s, m or h".into()));
        assert!(duration("s").is_err());
        assert!(duration("99999999999999999h").is_err());
    }
}
