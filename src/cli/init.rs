use anyhow::Context as _;
use serde_json::json;

use crate::config::{self, DiskFiles};
use crate::model::macula;

use super::context::{Context, StackOptions};
use super::error::CliError;

/// Write a macula.yaml for the project in this folder
///
/// Looks at the Compose files, .devcontainer, .env.example, .ddev, supabase/config.toml, Procfile, package.json and
/// configurations of kind, k3d and ctlptl that lie here, and says what it took and what not. It never overwrites a
/// file. A project with a Compose file alone needs none: `macula up` finds that by itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the file and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What macula reads as its own, either way.
const NAMES: [&str; 2] = ["macula.yaml", "macula.yml"];

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let request = context.request(&StackOptions::default())?;
    for name in NAMES {
        if !args.dry_run && context.host.exists(&request.cwd.join(name)).await {
            let error = CliError::conflict(format!("{name} exists, and `macula init` overwrites nothing"));
            return Err(error.suggest(macula("init --dry-run").why("to see what it would write")));
        }
    }
    let project = config::look(&request, &DiskFiles);
    if !args.dry_run {
        let path = request.cwd.join(NAMES[0]);
        let written = context.host.write(&path, project.text.as_bytes(), 0o644).await;
        written.with_context(|| format!("write {}", path.display()))?;
    }
    if context.json() {
        return context.print_json(&json!({
            "file": NAMES[0],
            "written": !args.dry_run,
            "text": project.text,
            "taken": project.taken,
            "left": project.left,
        }));
    }
    if args.dry_run {
        return context.print(&project.text);
    }
    let mut text = format!("wrote {}\n", NAMES[0]);
    for (title, lines) in [("took", &project.taken), ("left out", &project.left)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    }
    if project.taken.is_empty() {
        text.push_str("\nnothing was found here that becomes part of the platform\n");
    }
    text.push_str(&format!("\n`{}` starts it\n", context.line(macula("up"))));
    context.print(&text)
}
