use clap::Subcommand;
use serde_json::json;

use crate::app::Error;
use crate::config::canonical;
use crate::model::Origin;

mod deploy;
mod deployed;
mod render;
mod trouble;
mod validate;

pub(super) use trouble::explained;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::table::{Cell, Fit, Table};

/// Show the stacks, and run one on a swarm or a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the stacks, where each comes from, and its services
    List {
        #[command(flatten)]
        stacks: StackOptions,
    },
    /// Print a stack resolved, in the form of `docker compose config`
    Config {
        /// The stack; none: all
        #[arg(value_name = "STACK")]
        names: Vec<String>,
        #[command(flatten)]
        stacks: StackOptions,
    },
    Render(render::Args),
    Deploy(deploy::Args),
    Status(deployed::StatusArgs),
    Validate(validate::Args),
    Scale(deployed::ScaleArgs),
    Remove(deployed::RemoveArgs),
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::List { stacks } => list(context, &stacks),
        Action::Config { names, stacks } => config(context, &names, &stacks),
        Action::Render(args) => render::run(context, args).await,
        Action::Deploy(args) => deploy::run(context, args).await,
        Action::Status(args) => deployed::status(context, args).await,
        Action::Validate(args) => validate::run(context, args).await,
        Action::Scale(args) => deployed::scale(context, args).await,
        Action::Remove(args) => deployed::remove(context, args).await,
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn => "built in".into(),
        Origin::File(path) => path.display().to_string(),
    }
}

fn list(context: &Context, stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load(stacks)?;
    let stacks = &loaded.platform.stacks;
    if context.json() {
        let all: Vec<_> = stacks
            .iter()
            .map(|stack| {
                let services: Vec<&String> = stack.services.keys().collect();
                json!({"name": stack.name, "origin": origin(&stack.origin), "services": services})
            })
            .collect();
        return context.print_json(&all);
    }
    let mut table = Table::new([("STACK", Fit::Whole), ("SERVICES", Fit::Shrink), ("FROM", Fit::Shrink)]);
    for stack in stacks {
        let services: Vec<&str> = stack.services.keys().map(String::as_str).collect();
        table.row([Cell::from(&stack.name), Cell::from(&services.join(", ")), Cell::from(&origin(&stack.origin))]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

fn config(context: &Context, names: &[String], stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load(stacks)?;
    let known = loaded.platform.stack_names();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(Error::UnknownStack { name: unknown.clone(), known }.into());
    }
    let all = loaded.platform.stacks.iter().zip(&loaded.projects);
    let chosen = all.filter(|(stack, _)| names.is_empty() || names.contains(&stack.name)).map(|(_, project)| project);
    if context.json() {
        let parsed = chosen.map(|project| serde_yaml::from_str(&canonical(project)));
        let all: Vec<serde_json::Value> = parsed.collect::<Result<_, _>>().map_err(CliError::fault)?;
        return match all.as_slice() {
            [only] => context.print_json(only),
            several => context.print_json(&several),
        };
    }
    let text = chosen.map(canonical).collect::<Vec<_>>().join("---\n");
    context.print_data(&text)
}
