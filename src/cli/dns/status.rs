use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::app::{DomainNames, Names, NamesSoFar, ResolverFiles, names_status};
use crate::dns::Status;
use crate::model::{Remedy, View, macula};
use crate::portal;

use super::serve::encrypted_address;
use crate::cli::context::{Context, StackOptions};
use crate::cli::error::CliError;
use crate::cli::ui::{Style, Tone, text};

/// Show whether the platforms' names work on this machine, and who answers
///
/// Asks the resolver itself, and asks the way programs ask (getaddrinfo). Exits with 0 whatever it finds:
/// in scripts, check `running` in the JSON output, or use `macula dns query`, which fails without a resolver.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Shown<'a> {
    running: bool,
    resolver: Option<&'a Status>,
    /// Where the platforms' page is.
    page: Option<String>,
    #[serde(flatten)]
    names: &'a Names,
}

pub async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let session = context.session_without_engine("dns status");
    // what the resolver and other names have come to is known long before a silent server has kept the system waiting
    let so_far: Mutex<Option<NamesSoFar>> = Mutex::default();
    let told = |seen: &NamesSoFar| *so_far.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
    let look = names_status(&session, &loaded.platform.domain, &told);
    let lines = || first_lines(context, so_far.lock().unwrap_or_else(PoisonError::into_inner).as_ref());
    let names = context.while_looking(look, async {}, lines).await;
    let page = portal::address(&portal::socket(ResolverFiles::of(session.host()).folder())).await;
    let page = page.map(|address| format!("http://{address}"));
    if context.json() {
        let resolver = names.resolver.as_ref();
        return context.print_json(&Shown { running: resolver.is_some(), resolver, page, names: &names });
    }
    let style = context.out_style();
    let mut out = String::new();
    // first whether names work here, then who answers and how
    for domain in &names.domains {
        out.push_str(&format!("{}\n", domain_line(&domain.domain, Some(domain), style)));
    }
    if let Some(method) = &names.method {
        out.push_str(&format!("  installed by way of {method}\n"));
    }
    for note in &names.notes {
        out.push_str(&format!("  {note}\n"));
    }
    if let Some(remedy) = &names.remedy {
        let label = if matches!(remedy, Remedy::Say(_)) { "hint:" } else { "try:" };
        let width = context.terminal.table_width().unwrap_or(usize::MAX);
        let lines = text::command_lines(&remedy.text(&context.invocation()), width.saturating_sub(7));
        out.push_str(&format!("  {} {}\n", style.paint(Tone::Active, label), lines.join("\n       ")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    match &names.resolver {
        Some(status) => out.push_str(&running(status)),
        None if names.silent => out.push_str("The resolver runs and does not answer.\n"),
        None => out.push_str("The resolver is not running.\n"),
    }
    if let Some(page) = page {
        out.push_str(&format!("  shows the platforms' page at {page} ({})\n", context.line(macula("open home"))));
    }
    let width = context.terminal.table_width().unwrap_or(usize::MAX);
    context.print(&wrapped(&out, width))
}

/// Whether the names of a domain work. What to type follows below, once for all of them.
fn domain_line(domain: &str, seen: Option<&DomainNames>, style: Style) -> String {
    let (tone, sign, word) = match seen {
        None => (Tone::Dim, style.pending(), "asking this machine"),
        Some(DomainNames { resolves: true, .. }) => (Tone::Good, style.done(), "names work on this machine"),
        Some(DomainNames { answered: true, .. }) => {
            (Tone::Bad, style.failed(), "this machine does not ask the resolver for it")
        }
        Some(DomainNames { .. }) => (Tone::Bad, style.failed(), "the resolver does not answer for it"),
    };
    format!("{} {domain}  {word}", style.paint(tone, sign))
}

/// What is known while others are still asked.
fn first_lines(context: &Context, seen: Option<&NamesSoFar>) -> Vec<String> {
    let style = context.err_style();
    let Some(NamesSoFar { resolver, domains }) = seen else {
        return vec![format!("asking the resolver {}", style.symbol("…", ".."))];
    };
    let mut lines: Vec<String> =
        domains.iter().map(|(domain, seen)| domain_line(domain, seen.as_ref(), style)).collect();
    if let Some(status) = resolver {
        lines.push(String::new());
        lines.extend(wrapped(&running(status), context.terminal.width).lines().map(str::to_owned));
    }
    lines
}

/// Lines that fit; what follows of one is indented below it.
fn wrapped(out: &str, width: usize) -> String {
    let line = |line: &str| match line.contains("try:") {
        // a command that is broken could not be copied
        true => format!("{line}\n"),
        false => text::wrap(line, width.saturating_sub(4)).join("\n    ") + "\n",
    };
    out.lines().map(line).collect()
}

fn running(status: &Status) -> String {
    let seconds = std::time::Duration::from_secs(status.uptime_seconds);
    let mut out = format!(
        "The resolver runs (pid {}, version {}, for {}); {} answered.\n",
        status.pid,
        status.version,
        text::duration(seconds),
        text::count(usize::try_from(status.questions).unwrap_or(usize::MAX), "question"),
    );
    for listen in &status.listen {
        let whom = if listen.view == View::Container { "containers" } else { "this machine" };
        out.push_str(&format!("  answers {whom} on {}\n", listen.address));
    }
    for listen in &status.encrypted {
        out.push_str(&format!("  answers encrypted questions on {}\n", encrypted_address(listen)));
    }
    if let Some(metrics) = status.metrics {
        out.push_str(&format!("  counts under http://{metrics}/metrics\n"));
    }
    for metrics in &status.inner_metrics {
        out.push_str(&format!("  counts for Prometheus under http://{metrics}/metrics\n"));
    }
    for zone in &status.zones {
        out.push_str(&format!("  {}: {} of its own", zone.apex, text::count(zone.records, "record")));
        match (&zone.feed, &zone.feed_status) {
            (Some(feed), Some(fed)) => {
                out.push_str(&format!(", {} from PowerDNS at {feed}", text::count(fed.records, "record")));
                if let Some(error) = &fed.error {
                    out.push_str(&format!(" ({error})"));
                }
            }
            _ => out.push_str(", no PowerDNS"),
        }
        out.push('\n');
    }
    for upstream in &status.upstreams {
        let what = upstream.domain.as_deref().unwrap_or("all other names");
        let health = if upstream.healthy { "" } else { ", which does not answer" };
        out.push_str(&format!("  asks {} for {what}{health}\n", upstream.address));
    }
    if status.kept_back > 0 {
        let kept_back = text::count(usize::try_from(status.kept_back).unwrap_or(usize::MAX), "answer");
        out.push_str(&format!("  has kept back {kept_back} of theirs that led to this machine (DNS rebinding)\n"));
    }
    out
}
