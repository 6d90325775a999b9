use std::time::Instant;

use clap::Subcommand;

use crate::app::{image_rows, obtain_images};
use crate::model::ImagePolicy;
use crate::plan::ImageSource;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::interrupt;
use super::ui::table::{Cell, Fit, Table};
use super::ui::text;

/// List, pull or build the images of the platform
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show each image, whether it is here, and where it came from
    List {
        #[command(flatten)]
        stacks: StackOptions,
    },
    /// Pull the images of these services, or of all
    Pull {
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
        #[command(flatten)]
        stacks: StackOptions,
    },
    /// Build the images of these services, or of all that have a build
    Build {
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
        #[command(flatten)]
        stacks: StackOptions,
    },
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::List { stacks } => list(context, &stacks).await,
        Action::Pull { services, stacks } => get(context, ImagePolicy::Pull, "pull", &services, &stacks).await,
        Action::Build { services, stacks } => get(context, ImagePolicy::Build, "build", &services, &stacks).await,
    }
}

async fn list(context: &Context, stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load(stacks)?;
    let session = context.session("images list").await;
    let rows = image_rows(&session, &loaded).await?;
    if context.json() {
        return context.print_json(&rows);
    }
    let mut table = Table::new([
        ("SERVICE", Fit::Whole),
        ("IMAGE", Fit::Whole),
        ("STATE", Fit::Whole),
        ("SIZE", Fit::Number),
        ("ID", Fit::Shrink),
    ]);
    for row in &rows {
        let state = match (row.source, row.can_build) {
            (Some(ImageSource::Build), _) => "built",
            (Some(ImageSource::Image), _) => "present",
            (None, true) => "missing (can be built)",
            (None, false) => "missing",
        };
        let size = row.size.and_then(|size| u64::try_from(size).ok()).map(text::bytes).unwrap_or_default();
        let id = row.id.as_deref().unwrap_or_default().trim_start_matches("sha256:");
        table.row([
            Cell::from(&row.services.join(", ")),
            Cell::from(&row.reference),
            Cell::state(state),
            Cell::from(&size),
            Cell::from(&id.get(..12).unwrap_or(id).to_owned()),
        ]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

async fn get(
    context: &Context,
    policy: ImagePolicy,
    verb: &str,
    services: &[String],
    stacks: &StackOptions,
) -> Result<(), CliError> {
    let begun = Instant::now();
    let loaded = context.load(stacks)?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())
        .map_err(|error| CliError::io("listen for Ctrl-C", &error))?;
    let session = context.session(&format!("images {verb}")).await;
    match obtain_images(&session, &loaded, policy, services).await {
        Ok(0) => context.finished(begun, true, false, "nothing to do"),
        Ok(count) => context.finished(begun, true, false, text::count(count, "image")),
        Err(error) => {
            context.finished(begun, false, false, "not every image could be had");
            return Err(error.into());
        }
    }
    Ok(())
}
