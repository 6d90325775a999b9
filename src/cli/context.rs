//! What every command has in hand: the global options, the machine, and where output goes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Session};
use crate::config::{self, DiskFiles, Loaded};
use crate::engine::discover::Discovery;
use crate::event::{Event, Events, Reporter};
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::model::{ImagePolicy, PlatformName};
use crate::system::{OverNetwork, System};

use super::error::{CliError, ErrorKind, Hint};
use super::ui::confirm::{self, Answer, Question};
use super::ui::{self, ColorChoice, Stream, Streams, Style, Tally, Terminal};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The platform; each has containers, volumes, addresses and names of its own
    #[arg(long, global = true, env = "MACULA_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Read this macula.yaml (else ./macula.yaml, then the one in the configuration folder)
    #[arg(long, global = true, env = "MACULA_FILE", value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Results for people or for programs, on standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Human, value_name = "FORM")]
    pub output: Output,
    /// How progress is shown, on standard error
    #[arg(long, global = true, value_enum, default_value_t = ui::Kind::Auto, value_name = "LOOK")]
    pub progress: ui::Kind,
    /// Answer yes to every question (installing what is missing among them)
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
}

impl Global {
    /// The platform that `--name` or `MACULA_NAME` names.
    pub fn platform(&self) -> Result<Option<PlatformName>, CliError> {
        let checked = self.name.as_deref().map(PlatformName::new).transpose();
        checked.map_err(|error| CliError::config(format!("--name: {error}")).hint(error.help))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Human,
    Json,
}

/// Options of the commands that read stack files.
#[derive(Debug, Clone, Default, Args)]
pub struct StackOptions {
    /// Add a Compose file, or the folder of one, as a stack; may be given several times
    #[arg(long = "stack", value_name = "PATH")]
    pub stacks: Vec<PathBuf>,
    /// Activate a profile, of the platform or of Compose; may be given several times
    #[arg(long = "profile", env = "MACULA_PROFILES", value_delimiter = ',', value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Where images come from
    #[arg(long, value_enum, env = "MACULA_IMAGES", value_name = "POLICY")]
    pub images: Option<Images>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Images {
    /// What is in the engine, else a pull, else a build
    Auto,
    /// Always a pull, never a build
    Pull,
    /// A build wherever there is one
    Build,
    /// Only what is in the engine
    Local,
}

impl From<Images> for ImagePolicy {
    fn from(images: Images) -> Self {
        match images {
            Images::Auto => Self::Auto,
            Images::Pull => Self::Pull,
            Images::Build => Self::Build,
            Images::Local => Self::Local,
        }
    }
}

pub struct Context {
    pub global: Global,
    /// `--name`, checked.
    pub name: Option<PlatformName>,
    pub terminal: Terminal,
    pub host: Arc<dyn Host>,
    pub cancel: CancellationToken,
    reporter: Arc<ui::Counted>,
}

impl Context {
    pub fn new(global: Global, name: Option<PlatformName>) -> Self {
        let terminal = Terminal::of_this_process();
        let streams = Streams::standard(terminal.clone(), global.color, global.verbose > 0);
        let reporter = Arc::new(ui::Counted::new(ui::reporter(global.progress, streams)));
        Self { global, name, terminal, host: Arc::new(LocalHost::new()), cancel: CancellationToken::new(), reporter }
    }

    pub fn json(&self) -> bool {
        self.global.output == Output::Json
    }

    pub fn out_style(&self) -> Style {
        self.terminal.style(self.global.color, Stream::Stdout)
    }

    pub fn err_style(&self) -> Style {
        self.terminal.style(self.global.color, Stream::Stderr)
    }

    pub fn events(&self) -> Events {
        Events::new(self.reporter.clone())
    }

    /// How the services of the run that was announced last stand.
    pub fn tally(&self) -> Tally {
        self.reporter.tally()
    }

    /// The end of a run that failed or was stopped: how far it came. What went wrong is said by the
    /// error, and where nothing was begun there is nothing to say.
    pub fn broke_off(&self, begun: std::time::Instant) {
        let tally = self.tally();
        let summary = match (self.reporter.has_begun(), tally.services) {
            (false, _) | (_, 0) => String::new(),
            (true, services) => {
                format!("{} of {} up", tally.done, ui::text::count(services, "service"))
            }
        };
        self.finished(begun, false, false, summary);
    }

    /// The end of a run, for whoever draws.
    pub fn finished(&self, begun: std::time::Instant, ok: bool, degraded: bool, summary: impl Into<String>) {
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.events().emit(Event::Finished { ok, degraded, millis, summary: summary.into() });
    }

    /// Gives the terminal back before results are written.
    pub fn finish(&self) {
        self.reporter.finish();
    }

    /// Everything that the user's files say.
    pub fn load(&self, options: &StackOptions) -> Result<Loaded, CliError> {
        let folder = std::env::current_dir().map_err(|error| CliError::io("find the current folder", &error))?;
        let request = config::Request {
            cwd: folder,
            config_folder: Some(self.host.folders().config),
            env: self.host.environment(),
            file: self.global.file.clone(),
            name: self.name.clone(),
            stacks: options.stacks.clone(),
            profiles: options.profiles.clone(),
            images: options.images.map(Into::into),
            only_own: false,
        };
        let mut loaded = config::load(&request, &DiskFiles).map_err(|errors| {
            let mut all: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            // a single one is the headline itself
            match all.as_slice() {
                [_] => CliError::new(ErrorKind::Config, all.remove(0)),
                several => {
                    let what = format!("the configuration has {} errors", several.len());
                    let mut error = CliError::new(ErrorKind::Config, what);
                    error.details = all;
                    error
                }
            }
        })?;
        app::look_at_contexts(&mut loaded.platform);
        for warning in &loaded.warnings {
            self.events().warn(warning.to_string());
        }
        Ok(loaded)
    }

    /// The name of the platform for commands that need no stack file.
    pub fn platform_name(&self) -> Result<PlatformName, CliError> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => Ok(self.load(&StackOptions::default())?.platform.name),
        }
    }

    /// The machine and its engine, for one command.
    pub async fn session(&self, command: &str) -> Session {
        Session {
            system: System::connect(self.host.clone()).await,
            events: self.events(),
            cancel: self.cancel.clone(),
            command: format!("macula {command}"),
            version: env!("CARGO_PKG_VERSION"),
            program: program(),
        }
    }

    /// For commands that look only at files.
    pub fn session_without_engine(&self, command: &str) -> Session {
        Session {
            system: System {
                host: self.host.clone(),
                engine: None,
                discovery: Discovery::default(),
                reach: Arc::new(OverNetwork),
            },
            events: self.events(),
            cancel: self.cancel.clone(),
            command: format!("macula {command}"),
            version: env!("CARGO_PKG_VERSION"),
            program: program(),
        }
    }

    /// Whether a question would be answered: by `--yes`, or by somebody at the terminal.
    pub fn may_ask(&self) -> bool {
        self.global.yes || (self.terminal.stdin_is_tty && self.terminal.stderr_is_tty)
    }

    /// Whether the user agrees: by `--yes`, or asked on the terminal. Where nobody can be asked it
    /// is an error that says what to type.
    pub async fn agreed(&self, question: &str, explain: &str) -> Result<bool, CliError> {
        if self.global.yes {
            return Ok(true);
        }
        self.finish();
        let question = Question { text: question.to_owned(), explain: Some(explain.to_owned()) };
        let style = self.terminal.style(self.global.color, Stream::Stderr);
        match confirm::confirm(question.clone(), &self.terminal, style, &self.cancel).await {
            Ok(Answer::Yes) => Ok(true),
            Ok(Answer::No) if self.cancel.is_cancelled() => Err(cancelled()),
            Ok(Answer::No) => Ok(false),
            Ok(Answer::NotAsked) => {
                Err(CliError::new(ErrorKind::Privilege, format!("not done without your agreement: {}", question.text))
                    .hint("there is no terminal to ask on; `--yes` agrees"))
            }
            Err(error) => Err(CliError::io("ask on the terminal", &error)),
        }
    }

    /// Whether the user takes an offer. None: there is nobody to ask, or everything is to be done
    /// without asking, and what is only offered is not among that.
    pub async fn takes(&self, question: &str, explain: &str) -> Option<bool> {
        if self.global.yes || self.json() || matches!(self.global.progress, ui::Kind::Json | ui::Kind::Quiet) {
            return None;
        }
        self.finish();
        let question = Question { text: question.to_owned(), explain: Some(explain.to_owned()) };
        let style = self.terminal.style(self.global.color, Stream::Stderr);
        match confirm::confirm(question, &self.terminal, style, &self.cancel).await {
            Ok(Answer::Yes) => Some(true),
            Ok(Answer::No) => Some(false),
            Ok(Answer::NotAsked) | Err(_) => None,
        }
    }

    /// Like [`Context::agreed`], with a no as the end of the command.
    pub async fn confirm(&self, question: &str, explain: &str) -> Result<(), CliError> {
        if self.agreed(question, explain).await? {
            return Ok(());
        }
        Err(declined())
    }

    /// Writes a result. A reader that has gone away is no error. On a terminal nothing but colors gets
    /// through: names and labels of others may hold sequences that it would obey.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        if self.terminal.stdout_is_tty { self.write(&ui::text::harmless(text)) } else { self.write(text) }
    }

    /// A sequence of ours for the terminal.
    pub fn control(&self, sequence: &'static str) -> Result<(), CliError> {
        self.write(sequence)
    }

    fn write(&self, text: &str) -> Result<(), CliError> {
        self.finish();
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CliError::io("write to standard output", &error))
            }
            _ => Ok(()),
        }
    }

    pub fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::unexpected(error.to_string()))?;
        self.print(&(text + "\n"))
    }

    /// Commands to type name the platform where it is not the default one.
    pub fn typed(&self, text: &str) -> String {
        let Some(name) = self.name.as_ref().filter(|name| !name.is_default()) else {
            return text.to_owned();
        };
        let mut text = match text.strip_prefix("macula ") {
            Some(rest) => format!("macula --name {name} {rest}"),
            None => text.to_owned(),
        };
        for before in ["`", ": ", "&& "] {
            text = text.replace(&format!("{before}macula "), &format!("{before}macula --name {name} "));
        }
        text
    }

    fn for_this_platform(&self, error: &CliError) -> CliError {
        let mut error = error.clone();
        for hint in &mut error.hints {
            let (Hint::Try(text) | Hint::Say(text)) = hint;
            *text = self.typed(text);
        }
        error
    }

    /// Says what went wrong; the exit code.
    pub fn fail(&self, error: &CliError) -> ExitCode {
        self.finish();
        if error.kind != ErrorKind::ChangesPending {
            let error = &self.for_this_platform(error);
            if self.json() {
                // one result, on standard output, whatever happened
                let _ = self.print(&(error.to_json().to_string() + "\n"));
            }
            let style = self.terminal.style(self.global.color, Stream::Stderr);
            eprint!("{}", error.to_text(style));
        }
        ExitCode::from(error.kind.exit_code())
    }
}

/// Ctrl-C at a question.
fn cancelled() -> CliError {
    CliError::new(ErrorKind::Interrupted, "Cancelled; nothing was changed.")
}

/// No is an answer and not an error; the exit code still tells a script that nothing was done.
pub fn declined() -> CliError {
    CliError::new(ErrorKind::Declined, "Nothing was changed.")
}

/// This program, for starting it again, and for images that are made of it.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "macula".into())
}
