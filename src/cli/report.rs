use std::path::PathBuf;

use anyhow::Context as _;

use crate::app::{self, ReportFile, Session};
use crate::config::Loaded;
use crate::model::PlatformName;

use super::context::{Context, StackOptions};
use super::error::CliError;

/// Write everything needed to look into a problem to one archive, without secrets
///
/// The settings in effect, what `up` would change, the results of `status`, `doctor` and `validate`, the last 2000
/// lines of each log, and the versions of this program, the machine and the engine. Passwords, tokens and keys are
/// replaced by `[hidden]`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write (default: macula-report-NAME.tar in this folder)
    #[arg(short = 'O', long = "to", value_name = "PATH")]
    to: Option<PathBuf>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// What is in the archive, for whoever opens it.
const READ_ME: &str = "Made by `macula report`. Passwords, tokens and keys that macula knows or that look like one are
replaced by [hidden]; look through the files before you pass them on all the same.

versions.json       this program, the machine, the engine
configuration.yaml  the settings in effect
services.json       what each service is made of; of its environment only the names
plan.json           what `macula up` would change
status.json         `macula status -o json`
doctor.json         `macula doctor -o json`
validate.txt        the names, walked from outside
logs/               the last 2000 lines of each service
*.error.txt         why a part is missing
";

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load_with_builds(&args.stacks).await;
    let name = match &loaded {
        Ok(loaded) => loaded.platform.name.clone(),
        Err(_) => context.platform_name()?,
    };
    let session = context.session("report").await;
    let to = args.to.unwrap_or_else(|| default_path(&name));
    let files = write(context, &session, &name, loaded.as_ref(), &to).await?;
    if context.json() {
        return context.print_json(&serde_json::json!({ "file": to.display().to_string(), "parts": files }));
    }
    context.print(&format!("wrote {} ({})\n", to.display(), super::ui::text::count(files.len(), "file")))
}

pub fn default_path(name: &PlatformName) -> PathBuf {
    PathBuf::from(format!("macula-report-{name}.tar"))
}

/// Gathers and writes; the names of the files in it.
pub async fn write(
    context: &Context,
    session: &Session,
    name: &PlatformName,
    loaded: Result<&Loaded, &CliError>,
    to: &std::path::Path,
) -> Result<Vec<String>, CliError> {
    let doing = || format!("write {}", to.display());
    let place = std::path::absolute(to).with_context(doing)?;
    // where a link leads; a pipe or a device would be replaced by a file
    let place = context.host.resolved(&place).await;
    if tokio::fs::metadata(&place).await.is_ok_and(|there| !there.is_file()) {
        return Err(CliError::usage(format!("{} is not a regular file", to.display()))
            .hint("the archive is written to a file of its own"));
    }
    let told = |error: &CliError| {
        let lines = std::iter::once(&error.message).chain(&error.details).chain(&error.causes);
        lines.cloned().collect::<Vec<_>>().join("\n")
    };
    let mut files = vec![ReportFile { name: "README.txt".to_owned(), text: READ_ME.to_owned() }];
    files.extend(app::report(session, name, loaded.map_err(told)).await);
    let archive = archive(&files, context.host.now()).with_context(doing)?;
    context.host.write(&place, &archive, 0o600).await.with_context(doing)?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

fn archive(files: &[ReportFile], now: i64) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(now).unwrap_or_default());
        builder.append_data(&mut header, format!("macula-report/{}", file.name), file.text.as_bytes())?;
    }
    builder.into_inner()
}
