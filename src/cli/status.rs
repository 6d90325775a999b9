use std::time::Duration;

use crate::app::{self, DnsStatus, ServiceStatus, Status, UsageStatus};
use crate::plan::ImageSource;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, left_out, text};

/// Show the services: state, names, addresses, where their images come from
///
/// Asks every service from outside how it is. Also says what `up` would change (drift). Never
/// writes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    stacks: StackOptions,
    /// Look again every two seconds, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Also what each service uses of CPU (100% is a core) and of its memory
    #[arg(long)]
    stats: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("status").await;
    loop {
        let now = if args.stats {
            app::status_with_usage(&session, &loaded).await?
        } else {
            app::status(&session, &loaded).await?
        };
        if args.watch && context.terminal.stdout_is_tty && !context.json() {
            // home and clear below: the old text is painted over, not scrolled away
            context.print("\x1b[H\x1b[J")?;
        }
        show(context, &now)?;
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

pub fn show(context: &Context, status: &Status) -> Result<(), CliError> {
    if context.json() {
        return context.print_json(status);
    }
    let style = context.out_style();
    // URLs and addresses below each other where they do not fit side by side
    let narrow = context.terminal.table_width().is_some_and(|width| width < 100);
    let reached: &[&str] = if narrow { &["REACHED AT"] } else { &["URL", "ADDRESS"] };
    let used: Vec<UsageStatus> = status.services.iter().filter_map(|service| service.usage).collect();
    let mut columns = vec![("SERVICE", Fit::Whole), ("STATE", Fit::Whole)];
    if !used.is_empty() {
        columns.extend([("CPU", Fit::Whole), ("MEMORY", Fit::Whole)]);
    }
    columns.extend(reached.iter().map(|title| (*title, Fit::Whole)));
    columns.push(("IMAGE", Fit::Shrink));
    let mut table = Table::new(columns);
    // what has done its work is no service to look for
    let (jobs, rows): (Vec<_>, Vec<_>) = status.services.iter().partition(|service| service.word() == "done");
    for service in rows {
        let mut row = vec![Cell::from(&service.name), Cell::state(service.word())];
        if !used.is_empty() {
            let (cpu, memory) = service.usage.map(usage).unwrap_or_default();
            row.extend([Cell::from(&cpu), Cell::from(&memory)]);
        }
        if narrow {
            row.push(Cell::from(&[service.urls.as_slice(), &service.addresses].concat().join("\n")));
        } else {
            row.extend([&service.urls, &service.addresses].map(|all| Cell::from(&all.join("\n"))));
        }
        row.push(Cell::from(&image(service)));
        table.row(row);
    }
    let mut out = table.render(style, context.terminal.table_width());
    if !used.is_empty() {
        out.push_str(&format!("{}\n", total(&used)));
    }
    let notes: Vec<String> = status
        .services
        .iter()
        .filter(|service| !["done", "left out"].contains(&service.word()))
        .filter_map(|service| Some(format!("{}: {}", service.name, service.reason.as_ref()?)))
        .chain(left_out::grouped(status.services.iter().filter_map(left_out_pair)))
        .chain(
            (!jobs.is_empty())
                .then(|| format!("done: {}", jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", "))),
        )
        .collect();
    if !notes.is_empty() {
        out.push('\n');
        let width = context.terminal.table_width().unwrap_or(usize::MAX);
        for line in notes.iter().flat_map(|note| text::wrap(note, width)) {
            out.push_str(&format!("{}\n", style.paint(Tone::Dim, &line)));
        }
    }
    let cluster = super::cluster::shown(context, &status.cluster);
    if !cluster.is_empty() {
        out.push_str(&format!("\n{cluster}"));
    }
    if let Some(note) = names_note(status) {
        out.push_str(&format!("\n{note}\n"));
    }
    if !status.drift.is_empty() {
        out.push_str(&format!("\n{} pending; see `macula plan`:\n", text::count(status.drift.len(), "change")));
        for line in status.drift.iter().take(5) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    context.print(&out)
}

/// CPU and memory, as the table has them.
fn usage(usage: UsageStatus) -> (String, String) {
    let memory = format!("{} of {}", mebibytes(usage.memory), mebibytes(usage.memory_limit));
    (format!("{:.1}%", usage.cpu_percent), memory)
}

fn total(used: &[UsageStatus]) -> String {
    let cpu: f64 = used.iter().map(|usage| usage.cpu_percent).sum();
    let memory = used.iter().fold(0u64, |sum, usage| sum.saturating_add(usage.memory));
    format!("together: {cpu:.1}% of a core, {}", mebibytes(memory))
}

/// In the unit that limits are written in.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.saturating_add(1 << 19) >> 20)
}

fn left_out_pair(service: &ServiceStatus) -> Option<(&str, &str)> {
    (service.word() == "left out").then_some((service.name.as_str(), service.reason.as_deref()?))
}

/// Why the addresses in the table cannot be opened, where that is so.
fn names_note(status: &Status) -> Option<String> {
    let domain = &status.platform.domain;
    let running = status.services.iter().any(|service| service.state == "running");
    match &status.dns {
        _ if !running => None,
        dns if dns.off => {
            Some(format!("names below {domain} do not resolve: `up --no-dns` left them out (`macula up` adds them)"))
        }
        DnsStatus { problem: Some(problem), .. } => Some(format!("names: {problem} (`macula dns status`)")),
        dns if dns.installed && dns.healthy => None,
        dns if dns.address.is_none() => {
            Some(format!("names below {domain} do not resolve: the resolver does not run (`macula up` starts it)"))
        }
        dns if !dns.healthy => {
            Some(format!("names below {domain} do not resolve: the resolver does not answer (`macula dns status`)"))
        }
        _ => Some(format!("names below {domain} do not resolve on this machine yet: `macula dns install`")),
    }
}

fn image(service: &ServiceStatus) -> String {
    let name = service.image.as_deref().unwrap_or("-");
    match service.image_source {
        Some(ImageSource::Build) => "built".to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_shown_in_the_units_of_limits() {
        let one = UsageStatus { cpu_percent: 1.25, memory: 33 << 20, memory_limit: 512 << 20 };
        let two = UsageStatus { cpu_percent: 150.0, memory: (1 << 30) - 1, memory_limit: 8 << 30 };
        assert_eq!(usage(one), ("1.2%".into(), "33 MiB of 512 MiB".into()));
        assert_eq!(usage(two), ("150.0%".into(), "1024 MiB of 8192 MiB".into()));
        assert_eq!(total(&[one, two]), "together: 151.2% of a core, 1057 MiB");
    }
}
