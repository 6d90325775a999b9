use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::config::{self, DiskFiles, MACULA_FILES};
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

/// What a new macula.yaml at this path would be in place of: the file itself, or one of the other name next to it, of
/// which only one is read.
pub(super) async fn in_place_of(context: &Context, path: &Path) -> Option<PathBuf> {
    let usual = MACULA_FILES.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
    let all = match usual {
        true => MACULA_FILES.map(|name| path.with_file_name(name)).to_vec(),
        false => vec![path.to_owned()],
    };
    for file in all {
        if context.host.exists(&file).await {
            return Some(file);
        }
    }
    None
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    // the one that the next command reads
    let path = context.global.file.clone().unwrap_or_else(|| MACULA_FILES[0].into());
    if !args.dry_run
        && let Some(file) = in_place_of(context, &path).await
    {
        let error = CliError::conflict(format!("{} exists, and `macula init` overwrites nothing", file.display()));
        return Err(error.suggest(macula("init --dry-run").why("to see what it would write")));
    }
    let request = context.request(&StackOptions::default())?;
    let target = request.cwd.join(&path);
    let folder = target.parent().unwrap_or(&request.cwd).to_owned();
    // the project of whoever stands where the file lies
    let request = config::Request { cwd: context.host.resolved(&folder).await, ..request };
    let project = config::look(&request, &DiskFiles);
    if !args.dry_run {
        let written = context.host.write(&target, project.text.as_bytes(), 0o644).await;
        written.with_context(|| format!("write {}", target.display()))?;
    }
    if context.json() {
        return context.print_json(&json!({
            "file": path.display().to_string(),
            "written": !args.dry_run,
            "text": project.text,
            "taken": project.taken,
            "left": project.left,
        }));
    }
    if args.dry_run {
        return context.print(&project.text);
    }
    let mut text = format!("wrote {}\n", path.display());
    for (title, lines) in [("took", &project.taken), ("left out", &project.left)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    }
    if project.taken.is_empty() {
        text.push_str("\nnothing was found here that becomes part of the platform\n");
    }
    let what = if project.taken.is_empty() { "the platform alone" } else { "it" };
    text.push_str(&format!("\n`{}` starts {what}\n", context.line(macula("up"))));
    context.print(&text)
}
