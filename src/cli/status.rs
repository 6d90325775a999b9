use std::time::Duration;

use crate::app::{self, ServiceStatus, Status};
use crate::plan::ImageSource;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, text};

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
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("status").await;
    loop {
        let now = app::status(&session, &loaded).await?;
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
    let mut table = Table::new([
        ("SERVICE", Fit::Whole),
        ("STATE", Fit::Whole),
        ("URL", Fit::Whole),
        ("ADDRESS", Fit::Whole),
        ("IMAGE", Fit::Shrink),
    ]);
    for service in &status.services {
        table.row([
            Cell::from(&service.name),
            Cell::state(service.word()),
            Cell::from(&service.urls.join("\n")),
            Cell::from(&service.addresses.join("\n")),
            Cell::from(&image(service)),
        ]);
    }
    let mut out = table.render(style, context.terminal.table_width());
    let notes: Vec<String> = status
        .services
        .iter()
        .filter(|service| service.word() != "done")
        .filter_map(|service| Some(format!("{}: {}", service.name, service.reason.as_ref()?)))
        .collect();
    if !notes.is_empty() {
        out.push('\n');
        let width = context.terminal.table_width().unwrap_or(usize::MAX);
        for line in notes.iter().flat_map(|note| text::wrap(note, width)) {
            out.push_str(&format!("{}\n", style.paint(Tone::Dim, &line)));
        }
    }
    if !status.drift.is_empty() {
        out.push_str(&format!("\n{} pending; see `macula plan`:\n", text::count(status.drift.len(), "change")));
        for line in status.drift.iter().take(5) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    context.print(&out)
}

fn image(service: &ServiceStatus) -> String {
    let name = service.image.as_deref().unwrap_or("-");
    match service.image_source {
        Some(ImageSource::Build) => "built".to_owned(),
        _ => name.to_owned(),
    }
}
