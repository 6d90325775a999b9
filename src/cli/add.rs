use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::config::{self, AddError, DiskFiles};
use crate::model::macula;
use crate::words;

use super::context::{Context, StackOptions};
use super::error::{CliError, ErrorKind};
use super::near::near;
use super::ui::table::{Cell, Fit, Table};

/// Add servers of the catalog to the platform: valkey, mariadb, rabbitmq, nats, ...
///
/// Puts their names into `add` of macula.yaml, which is made where there is none; `macula up` starts them. Without a
/// name the catalog is shown. A service that needs a user and a part of its own in one of them says so in its Compose
/// file, `x-macula: {needs: {cache: valkey}}`, and brings it along without `macula add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stacks of the catalog; none: show it
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if args.names.is_empty() {
        return list(context);
    }
    let request = context.request(&StackOptions::default())?;
    let (path, text) = match context.config_file(&request)? {
        Some(path) => {
            let read = std::fs::read_to_string(&path);
            let text = read.with_context(|| format!("read {}", path.display()))?;
            (path, text)
        }
        // with a macula.yaml in it, a project's Compose file is a stack only where that says so
        None => match config::project_compose_file(&request, &DiskFiles) {
            Some(found) => (found.with_file_name("macula.yaml"), "discover: true\n".to_owned()),
            None => (request.cwd.join("macula.yaml"), String::new()),
        },
    };
    let (changed, new) = config::with_added(&text, &args.names).map_err(|error| refused(error, &path))?;
    if !new.is_empty() {
        let written = context.host.rewrite(&path, changed.as_bytes(), 0o644).await;
        written.with_context(|| format!("write {}", path.display()))?;
    }
    if context.json() {
        return context.print_json(&json!({"file": path.display().to_string(), "added": new}));
    }
    if new.is_empty() {
        return context.print(&format!("{} has {} already\n", path.display(), words::list(&args.names)));
    }
    let (added, up) = (words::list(&new), context.line(macula("up")));
    context.print(&format!("added {added} to {}; `{up}` starts what is new\n", path.display()))
}

fn refused(error: AddError, path: &Path) -> CliError {
    match error {
        AddError::Unknown { ref name, ref known } => {
            let new = CliError::of(ErrorKind::Usage, &error);
            match near(name, known).first() {
                Some(near) => new.hint(format!("did you mean {near}?")),
                None => new.hint(format!("the catalog has {}", words::list(known))),
            }
        }
        AddError::Form => CliError::config(format!("{}: {error}", path.display()))
            .hint("write it on one line, as `add: [valkey, nats]`"),
        AddError::Yaml => {
            CliError::config(format!("{}: {error}", path.display())).suggest(macula("config show").why("to see where"))
        }
    }
}

/// The catalogue, and what of it takes part.
fn list(context: &Context) -> Result<(), CliError> {
    let loaded = context.load(&StackOptions::default())?;
    let there: Vec<&str> = loaded.platform.stacks.iter().map(|stack| stack.name.as_str()).collect();
    let rows: Vec<(String, String, bool)> = config::catalog()
        .into_iter()
        .map(|(name, about)| {
            let added = there.contains(&name.as_str());
            (name, about, added)
        })
        .collect();
    if context.json() {
        let all: Vec<_> =
            rows.iter().map(|(name, about, added)| json!({"name": name, "about": about, "added": added})).collect();
        return context.print_json(&all);
    }
    let mut table = Table::new([("NAME", Fit::Whole), ("ADDED", Fit::Whole), ("WHAT IT IS", Fit::Shrink)]);
    for (name, about, added) in &rows {
        table.row([Cell::from(name), Cell::from(if *added { "yes" } else { "-" }), Cell::from(about)]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}
