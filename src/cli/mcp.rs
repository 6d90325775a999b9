use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use tokio::io::BufReader;

use crate::model::macula;
use crate::portal::mcp::{self, EDITORS, Editor, Right};
use crate::words;

use super::context::{Context, current_folder, declined};
use super::error::{CliError, ErrorKind};

/// Serve the platform to agents and editors over the Model Context Protocol
///
/// Speaks on standard input and output, for a program that starts it. Its tools look and change nothing, unless
/// `--allow` names more. None of them removes containers or data. All of them work on one platform: the one of this
/// folder, or the one that --name names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  macula mcp --install                 add it to the editors of this project\n  \
                        macula mcp --allow up,restart        what an editor starts\n  \
                        macula --name pr-123 mcp             for another platform")]
pub struct Args {
    /// What the tools may do beyond looking
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RIGHT")]
    allow: Vec<Allow>,
    /// Add the server to the file of an editor in this folder, after confirmation (default: those that are found)
    #[arg(long, value_enum, value_name = "EDITOR", num_args = 0..=1, require_equals = true, default_missing_value = "found")]
    install: Option<Install>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Allow {
    /// Start the platform, or what of it has changed
    Up,
    /// Start a service
    Start,
    /// Stop a service
    Stop,
    /// Restart a service
    Restart,
    /// See the values of the settings, passwords among them
    EnvValues,
}

impl From<Allow> for Right {
    fn from(allow: Allow) -> Self {
        match allow {
            Allow::Up => Self::Up,
            Allow::Start => Self::Start,
            Allow::Stop => Self::Stop,
            Allow::Restart => Self::Restart,
            Allow::EnvValues => Self::EnvValues,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Install {
    /// Those that are found
    Found,
    /// .vscode/mcp.json
    Vscode,
    /// .cursor/mcp.json
    Cursor,
    /// .mcp.json
    Claude,
}

impl Install {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Found => None,
            Self::Vscode => Some("vscode"),
            Self::Cursor => Some("cursor"),
            Self::Claude => Some("claude"),
        }
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let rights: Vec<Right> = args.allow.into_iter().map(Right::from).collect();
    if let Some(which) = args.install {
        return install(context, which, &rights).await;
    }
    let platform = context.platform_name()?;
    let settings = mcp::Settings {
        program: context.session_without_engine("mcp").program,
        version: env!("CARGO_PKG_VERSION"),
        options: same_platform(context),
        rights,
        report: context.host.folders().cache.join(super::report::default_path(&platform)),
    };
    let served = async {
        let (input, output) = (file(std::io::stdin())?, file(std::io::stdout())?);
        mcp::serve(Arc::clone(&context.host), settings, BufReader::new(input), output).await
    };
    Ok(served.await.context("speak on standard input and output")?)
}

/// A stream of this process, to be waited for without a thread of the runtime.
fn file(stream: impl AsFd) -> std::io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(File::from(stream.as_fd().try_clone_to_owned()?)))
}

/// Adds the entry to the files of editors: all of them are looked at before one is changed. One that is left alone
/// keeps nothing from the others, and is the error at the end.
async fn install(context: &Context, which: Install, rights: &[Right]) -> Result<(), CliError> {
    let folder = current_folder()?;
    let editors = match which.word() {
        Some(word) => EDITORS.into_iter().filter(|editor| editor.word == word).collect(),
        None => found(context, &folder).await,
    };
    if editors.is_empty() {
        return Err(CliError::usage("no editor was found in this folder or on the PATH")
            .hint("vscode, cursor and claude are known")
            .suggest(macula("mcp --install=vscode")));
    }
    let args = arguments(context, rights);
    let mut changes: Vec<(Editor, PathBuf, String)> = Vec::new();
    let mut left_alone: Vec<CliError> = Vec::new();
    for editor in editors {
        let path = folder.join(editor.file);
        let before = match context.host.read(&path).await {
            Ok(before) => Some(String::from_utf8_lossy(&before).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let error = anyhow::Error::from(error).context(format!("read {}", path.display()));
                left_alone.push(error.into());
                continue;
            }
        };
        match mcp::added(&editor, before.as_deref(), &args) {
            Ok(Some(after)) => changes.push((editor, path, after)),
            Ok(None) => context.events().info(format!("{} has the entry already", editor.file)),
            Err(error) => left_alone.push(
                CliError::new(ErrorKind::Conflict, format!("{}: {error}", path.display()))
                    .hint(format!("add a server `macula` by hand: command `macula`, arguments `{}`", args.join(" "))),
            ),
        }
    }
    let (mut written, mut refused) = (Vec::new(), false);
    for (editor, path, after) in changes {
        // before the question, so that whoever is not asked sees it too
        if !context.json() {
            context.print(&format!("{}:\n{after}", path.display()))?;
        }
        match context.agreed(&format!("Write {} for {}?", path.display(), editor.name), &after).await {
            Ok(true) => {}
            Ok(false) => {
                refused = true;
                continue;
            }
            Err(mut error) => {
                if error.kind == ErrorKind::Interrupted && !written.is_empty() {
                    error.message = format!("Cancelled; {} was written before.", words::list(&written));
                }
                return Err(error);
            }
        }
        if let Err(error) = context.host.rewrite(&path, after.as_bytes(), 0o644).await {
            left_alone.push(anyhow::Error::from(error).context(format!("write {}", path.display())).into());
            continue;
        }
        context.events().info(format!("{} starts `macula {}` now", editor.name, args.join(" ")));
        written.push(editor.file);
    }
    if refused && written.is_empty() && left_alone.is_empty() {
        return Err(declined());
    }
    all_of(left_alone)
}

/// The first speaks for all, and names the others.
fn all_of(errors: Vec<CliError>) -> Result<(), CliError> {
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else { return Ok(()) };
    first.details.extend(errors.map(|error| error.message));
    Err(first)
}

/// The options by which a command that starts in this folder means the platform of this run: as they are typed, since a
/// name that somebody has given must be known.
fn same_platform(context: &Context) -> Vec<String> {
    let mut options = Vec::new();
    if let Some(name) = &context.name {
        options.extend(["--name".to_owned(), name.to_string()]);
    }
    if let Some(file) = &context.global.file {
        options.extend(["--file".to_owned(), file.to_string_lossy().into_owned()]);
    }
    options
}

/// What the editor is to start, with the options of this run.
fn arguments(context: &Context, rights: &[Right]) -> Vec<String> {
    let mut args = same_platform(context);
    args.push("mcp".to_owned());
    if !rights.is_empty() {
        let words: Vec<&str> = rights.iter().map(|right| right.word()).collect();
        args.push(format!("--allow={}", words.join(",")));
    }
    args
}

/// Editors of which there is a sign in the project, or a program.
async fn found(context: &Context, folder: &Path) -> Vec<Editor> {
    let mut all = Vec::new();
    for editor in EDITORS {
        let mut used = context.host.which(editor.program).is_some();
        for sign in editor.signs {
            used = used || context.host.exists(&folder.join(sign)).await;
        }
        if used {
            all.push(editor);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::mcp::samples;

    #[test]
    fn each_file_that_is_left_alone_is_named() {
        assert!(all_of(Vec::new()).is_ok());
        let errors = ["a: no", "b: no"].map(|message| CliError::new(ErrorKind::Conflict, message)).into();
        let error = all_of(errors).unwrap_err();
        assert_eq!((error.message.as_str(), error.details.as_slice()), ("a: no", ["b: no".to_owned()].as_slice()));
    }

    #[test]
    fn each_tools_command_line_is_one_that_the_program_takes() {
        for words in samples() {
            let line = words.join(" ");
            let parsed = crate::cli::command().try_get_matches_from(std::iter::once("macula".to_owned()).chain(words));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
