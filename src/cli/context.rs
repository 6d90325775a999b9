//! What every command has in hand: the global options, the machine, and where output goes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Choices, Session, State};
use crate::config::{self, DiskFiles, Loaded};
use crate::engine::discover::Discovery;
use crate::event::{Event, Events, Place, Reporter};
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::model::{Again, ImagePolicy, Invocation, Platform, PlatformName, macula};
use crate::system::{OverNetwork, System};

use super::ci::{Ci, Folding, Harmless, markdown};
use super::error::{CliError, ErrorKind};
use super::excerpt::{self, annotated};
use super::log;
use super::ui::confirm::{self, Answer, Question};
use super::ui::{self, ColorChoice, Stream, Streams, Style, Tally, Terminal};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Platform to work on; each has its own containers, volumes, addresses and names
    #[arg(long, global = true, env = "MACULA_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// macula.yaml to read (default: ./macula.yaml, then the one in the configuration folder)
    #[arg(long, global = true, env = "MACULA_FILE", value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Format of results on standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Human, value_name = "FORM")]
    pub output: Output,
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t = ui::Kind::Auto, value_name = "LOOK")]
    pub progress: ui::Kind,
    /// Answer yes to every question, including the installation of missing programs
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Print more detail; twice: also every request to the engine
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use color
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
}

impl Global {
    /// The platform that `--name` or `MACULA_NAME` names.
    pub fn platform(&self) -> Result<Option<PlatformName>, CliError> {
        let checked = self.name.as_deref().map(PlatformName::new).transpose();
        let option = |word: std::ffi::OsString| word.to_string_lossy().starts_with("--name");
        checked.map_err(|error| {
            let from = if std::env::args_os().any(option) { "--name" } else { "MACULA_NAME" };
            CliError::config(format!("{from}: {error}")).hint(error.help)
        })
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
    /// Add a Compose file, or the folder of one, as a stack (repeatable)
    #[arg(long = "stack", value_name = "PATH")]
    pub stacks: Vec<PathBuf>,
    /// Activate a profile of the platform or of Compose (repeatable)
    #[arg(long = "profile", env = "MACULA_PROFILES", value_delimiter = ',', value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Do not use the Compose file in this folder or above it as a stack
    #[arg(long)]
    pub no_discover: bool,
}

/// Options of the commands that decide where images come from.
#[derive(Debug, Clone, Default, Args)]
pub struct ImageOptions {
    #[command(flatten)]
    pub stacks: StackOptions,
    /// Where images come from
    #[arg(long, value_enum, env = "MACULA_IMAGES", value_name = "POLICY")]
    pub images: Option<Images>,
}

/// What of the command line decides which platform is loaded.
pub trait LoadOptions {
    fn stacks(&self) -> &StackOptions;
    fn images(&self) -> Option<Images> {
        None
    }
}

impl LoadOptions for StackOptions {
    fn stacks(&self) -> &StackOptions {
        self
    }
}

impl LoadOptions for ImageOptions {
    fn stacks(&self) -> &StackOptions {
        &self.stacks
    }

    fn images(&self) -> Option<Images> {
        self.images
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Images {
    /// Use the engine's images; pull what is missing, else build it
    Auto,
    /// Always pull, never build
    Pull,
    /// Build every image that can be built
    Build,
    /// Use only images that the engine already has
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
    /// The CI system whose log this is; none where programs read it.
    pub ci: Option<Ci>,
    reporter: Arc<ui::Counted>,
    /// Who draws; never [`ui::Kind::Auto`].
    progress: ui::Kind,
    stdout_closed: bool,
    /// A result has been written as JSON: a second one would make it none.
    answered: AtomicBool,
    /// What is wrong has been told to the CI system.
    annotated: AtomicBool,
}

impl Context {
    pub fn new(global: Global, name: Option<PlatformName>, stdout_closed: bool) -> Self {
        let terminal = Terminal::of_this_process();
        let host: Arc<dyn Host> = Arc::new(LocalHost::new());
        let mut streams = Streams::standard(terminal.clone(), global.color, global.verbose > 0);
        let logs = global.verbose >= 2 || host.env("MACULA_LOG").is_some_and(|filter| !filter.is_empty());
        let progress = match global.progress {
            // lines of the log would tear a tree apart
            ui::Kind::Auto if logs => ui::Kind::Plain,
            other => other,
        };
        // programs read what is said: no line of another's comes between
        let for_programs = global.output == Output::Json || progress == ui::Kind::Json;
        let ci = if for_programs { None } else { Ci::of(|name| host.env(name)) };
        if let Some(ci) = &ci {
            streams.err = Box::new(Harmless::new(streams.err, ci.clone()));
        }
        let mut shown = ui::reporter(progress, streams);
        let progress = progress.resolve(&terminal);
        if let (Some(ci), ui::Kind::Plain) = (&ci, progress) {
            shown = Arc::new(Folding::new(shown, ci.clone()));
        }
        let reporter = Arc::new(ui::Counted::new(shown));
        let cancel = CancellationToken::new();
        let (answered, annotated) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { global, name, terminal, host, cancel, ci, reporter, progress, stdout_closed, answered, annotated }
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

    /// A live picture can be drawn on standard error.
    pub fn draws(&self) -> bool {
        self.terminal.stderr_is_tty && self.progress == ui::Kind::Tty
    }

    /// See [`Reporter::draft`].
    pub fn draft(&self, lines: &[String]) {
        self.reporter.draft(lines);
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

    /// What the command line says of the files that are to be read.
    pub fn request(&self, options: &impl LoadOptions) -> Result<config::Request, CliError> {
        let folder = std::env::current_dir().context("find the current folder")?;
        Ok(config::Request {
            cwd: folder,
            config_folder: Some(self.host.folders().config),
            env: self.host.environment(),
            file: self.global.file.clone(),
            name: self.name.clone(),
            stacks: options.stacks().stacks.clone(),
            profiles: options.stacks().profiles.clone(),
            images: options.images().map(Into::into),
            only_own: false,
            only_built_in: false,
            discover: !options.stacks().no_discover,
            project: None,
            orchestrated: false,
        })
    }

    /// Everything that the user's files say, for Swarm or Kubernetes: what an engine has no use for counts there.
    pub fn load_orchestrated(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let mut request = self.request(options)?;
        let name = config::platform_name(&request, &DiskFiles).0;
        State::new(&self.host.folders().data, &name).remembered(&DiskFiles).apply(&mut request, &DiskFiles);
        let request = config::Request { name: request.name.or(Some(name)), orchestrated: true, ..request };
        let loaded =
            config::load(&request, &DiskFiles).map_err(|errors| config_error(&errors.0, self.excerpt_room()))?;
        for warning in &loaded.warnings {
            self.events().warn(warning.to_string());
        }
        Ok(loaded)
    }

    /// Everything that the user's files say, read with the choices of the last `up` where the command line says
    /// nothing.
    pub fn load(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        Ok(self.load_with_choices(options, false, self.global.verbose > 0)?.0)
    }

    /// The same with these choices, which `up` keeps, and with a word on where they come from. `reset`: those of the
    /// last `up` count for nothing.
    pub fn load_for_up(&self, options: &impl LoadOptions, reset: bool) -> Result<(Loaded, Choices), CliError> {
        self.load_with_choices(options, reset, true)
    }

    /// Where the choices come from is told where they are made; a look at what came of them tells only what is new.
    fn load_with_choices(
        &self,
        options: &impl LoadOptions,
        reset: bool,
        told: bool,
    ) -> Result<(Loaded, Choices), CliError> {
        let mut request = self.request(options)?;
        let name = config::platform_name(&request, &DiskFiles).0;
        let remembered = match reset {
            true => Choices::default(),
            false => State::new(&self.host.folders().data, &name).remembered(&DiskFiles),
        };
        let last_project = remembered.project.clone();
        let applied = remembered.apply(&mut request, &DiskFiles);
        request.name.get_or_insert(name);
        if told && !applied.from_last.is_empty() {
            let what = applied.from_last.join(", ");
            self.events().info(format!("as with the last `up`: {what} (`macula up --reset` forgets it)"));
        }
        for path in &applied.gone {
            self.events().warn(format!("the last `up` had the stack {}, which no longer exists", path.display()));
        }
        let loaded =
            config::load(&request, &DiskFiles).map_err(|errors| config_error(&errors.0, self.excerpt_room()))?;
        if let Some(project) =
            loaded.discovered.as_ref().filter(|project| told || last_project.as_ref() != Some(project))
        {
            let file = project.display();
            self.events().info(format!("the project's stack is {file} (`--no-discover` leaves it out)"));
        }
        for warning in &loaded.warnings {
            self.events().warn_at(place(warning), warning.to_string());
        }
        let (file, project) = (loaded.config_file.clone(), loaded.discovered.clone());
        Ok((loaded, Choices { file, project, ..applied.choices }))
    }

    /// [`Context::load`] for commands that compare what would be built with what there is: the contexts
    /// of all builds are read, too.
    pub async fn load_with_builds(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let mut loaded = self.load(options)?;
        app::look_at_contexts(&mut loaded.platform, &self.host.folders().cache).await;
        Ok(loaded)
    }

    /// The name of the platform for commands that need no file. Trouble in macula.yaml is only worth a word.
    pub fn platform_name(&self) -> Result<PlatformName, CliError> {
        let (name, trouble) = config::platform_name(&self.request(&StackOptions::default())?, &DiskFiles);
        if !trouble.is_empty() {
            self.events().warn(format!("macula.yaml has errors; going on with the platform {name}: {}", trouble[0]));
        }
        Ok(name)
    }

    /// The platform and its files, for commands that work by labels: trouble in the files is only worth a word.
    pub fn load_or_name(&self, options: &StackOptions) -> Result<(PlatformName, Option<Loaded>), CliError> {
        match self.load(options) {
            Ok(loaded) => Ok((loaded.platform.name.clone(), Some(loaded))),
            Err(error) => {
                let name = self.platform_name()?;
                self.events().warn(going_by_what_runs(&error));
                Ok((name, None))
            }
        }
    }

    /// Everything that the user's files say or, where they have errors, what is known without them: trouble in them
    /// is only worth a word then.
    pub async fn load_or_built_in(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let error = match self.load_with_builds(options).await {
            Err(error) if error.kind == ErrorKind::Config => error,
            loaded => return loaded,
        };
        let mut request = self.request(options)?;
        let name = config::platform_name(&request, &DiskFiles).0;
        State::new(&self.host.folders().data, &name).remembered(&DiskFiles).apply(&mut request, &DiskFiles);
        request.name.get_or_insert(name);
        let request = config::Request { only_built_in: true, ..request };
        // a choice that only these files can explain: their errors say more
        let Ok(loaded) = config::load(&request, &DiskFiles) else { return Err(error) };
        self.events().warn(going_by_what_runs(&error));
        Ok(loaded)
    }

    /// Host names given instead of services, such as `draw` for draw.macula.local, are made services.
    pub fn services_meant(&self, platform: &Platform, services: &mut [String]) {
        for service in services.iter_mut().filter(|service| platform.service(service).is_none()) {
            if let Some(meant) = platform.service_of_host(service) {
                *service = meant.name.clone();
            }
        }
    }

    /// The service that answers to a host name; nothing where the user's files cannot be read.
    pub fn service_of_host(&self, host: &str) -> Option<String> {
        let loaded = self.load(&StackOptions::default()).ok()?;
        loaded.platform.service_of_host(host).map(|service| service.name.clone())
    }

    /// Why a service that is asked for has no container: the stacks know whether there is one of that
    /// name. Near names are looked for among all of them.
    pub fn absent(&self, error: app::Error) -> CliError {
        let app::Error::UnknownService { names, mut known } = error else { return error.into() };
        let Ok(loaded) = self.load(&StackOptions::default()) else {
            return app::Error::UnknownService { names, known }.into();
        };
        let platform = &loaded.platform;
        let stands = |name: &&String| platform.service(name).is_some() || platform.processes.contains_key(*name);
        if let Some(name) = names.iter().find(stands) {
            // nothing of the platform is there
            if known.is_empty() {
                return match State::new(&self.host.folders().data, &platform.name).was_up(&DiskFiles) {
                    true => CliError::usage(format!("{name} is not running: the platform {} is down", platform.name))
                        .suggest(macula("up").why("to start all of it"))
                        .suggest(macula("up").arg(name)),
                    false => {
                        CliError::usage(format!("{name} has not been started yet")).suggest(macula("up").arg(name))
                    }
                };
            }
            return CliError::usage(format!("{name} is not running here: it was left out, or never started"))
                .suggest(macula("status").arg(name).why("to see why"))
                .suggest(macula("up").arg(name));
        }
        known.extend(platform.services().map(|(_, service)| service.name.clone()));
        known.sort();
        known.dedup();
        app::Error::UnknownService { names, known }.into()
    }

    /// The machine and its engine, for one command.
    pub async fn session(&self, command: &str) -> Session {
        self.session_as(command, None).await
    }

    /// The same with the engine of a Docker context, where one is named.
    pub async fn session_as(&self, command: &str, context: Option<&str>) -> Session {
        Session {
            system: System::connect_as(self.host.clone(), context).await,
            events: self.events(),
            cancel: self.cancel.clone(),
            command: format!("macula {command}"),
            version: env!("CARGO_PKG_VERSION"),
            program: program(),
            named: self.name.is_some(),
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
            named: self.name.is_some(),
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
        match confirm::confirm(question.clone(), &self.terminal, style, &self.cancel).await? {
            Answer::Yes => Ok(true),
            Answer::No if self.cancel.is_cancelled() => Err(cancelled()),
            Answer::No => Ok(false),
            Answer::NotAsked => Err(CliError::new(
                ErrorKind::Privilege,
                format!("not done without your confirmation: {}", question.text),
            )
            .hint("there is no terminal to ask on; `--yes` confirms it")
            .again(Again::Agreed)),
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

    /// That somebody can read a result.
    pub fn stdout_is_open(&self) -> Result<(), CliError> {
        if self.stdout_closed {
            return Err(CliError::unexpected("write to standard output").detail("standard output is closed"));
        }
        Ok(())
    }

    /// Writes a result for people. A reader that has gone away is not an error. On a terminal nothing but colors gets
    /// through: names and labels of others may hold sequences that it would obey. The same for the log of a CI system.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        if self.terminal.stdout_is_tty {
            return self.write(&ui::text::harmless(text));
        }
        match &self.ci {
            Some(ci) => self.write(&ci.harmless(text)),
            None => self.write(text),
        }
    }

    /// Writes a result that is read by programs, too: settings, files, scripts. Only a terminal does not get it as it
    /// is.
    pub fn print_data(&self, text: &str) -> Result<(), CliError> {
        if self.terminal.stdout_is_tty { self.write(&ui::text::harmless(text)) } else { self.write(text) }
    }

    /// Writes a result for people below a title, which a CI system folds; elsewhere without the title.
    pub fn print_section(&self, title: &str, text: &str) -> Result<(), CliError> {
        match &self.ci {
            Some(ci) => self.write(&ci.section(title, &ci.harmless(text))),
            None => self.print(text),
        }
    }

    /// For lines of services that come one after the other; not for more than a line at a time.
    pub fn stdout(&self) -> Box<dyn Write> {
        let out = std::io::stdout().lock();
        match &self.ci {
            Some(ci) => Box::new(Harmless::new(out, ci.clone())),
            None => Box::new(out),
        }
    }

    /// Lines of ours for the CI system.
    pub fn tell_ci(&self, lines: &str) -> Result<(), CliError> {
        if lines.is_empty() { Ok(()) } else { self.write(lines) }
    }

    fn write(&self, text: &str) -> Result<(), CliError> {
        self.finish();
        self.stdout_is_open()?;
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written.context("write to standard output")?),
        }
    }

    pub fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::unexpected(error.to_string()))?;
        self.answered.store(true, Ordering::Relaxed);
        self.write(&(text + "\n"))
    }

    /// Annotations of what a result says, and that for the page of the run: the error at the end says nothing new.
    pub fn annotate(&self, ci: &Ci, lines: &str, summary: &str) -> Result<(), CliError> {
        self.annotated.store(!lines.is_empty(), Ordering::Relaxed);
        ci.summarize(summary);
        self.tell_ci(lines)
    }

    /// Begins to show what the library notes, where the user asked for it. `resolver`: a log file reads
    /// it, or the person at this terminal.
    pub fn start_log(&self, resolver: bool) -> Result<(), CliError> {
        let wanted = self.host.env("MACULA_LOG");
        let color = self.terminal.style(self.global.color, Stream::Stderr).color;
        log::start(wanted.as_deref(), self.global.verbose, resolver.then_some("warn"), color).map(drop)
    }

    /// Columns that a line of a file has below an error, where it is indented by its number.
    pub fn excerpt_room(&self) -> usize {
        match self.terminal.stderr_is_tty {
            true => self.terminal.width.saturating_sub(12).clamp(20, excerpt::WIDTH),
            false => excerpt::WIDTH,
        }
    }

    /// What commands to type have to repeat.
    pub fn invocation(&self) -> Invocation {
        Invocation {
            name: self.name.clone(),
            file: self.global.file.clone(),
            words: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Commands within a screen of results name the platform of this run. Hints have no need of it: see
    /// [`crate::model::Remedy`].
    pub fn typed(&self, text: &str) -> String {
        let typed = macula("status").line(&Invocation { words: Vec::new(), ..self.invocation() });
        let typed = typed.trim_end_matches(" status");
        if typed == "macula" {
            return text.to_owned();
        }
        let mut text = match text.strip_prefix("macula ") {
            Some(rest) => format!("{typed} {rest}"),
            None => text.to_owned(),
        };
        // no other place: a sentence may begin with the program's name
        for before in ["`", "&& ", "$("] {
            text = text.replace(&format!("{before}macula "), &format!("{before}{typed} "));
        }
        text
    }

    /// Says what went wrong; the exit code.
    pub fn fail(&self, error: &CliError) -> ExitCode {
        self.finish();
        if error.kind != ErrorKind::ChangesPending && !error.told {
            let invocation = self.invocation();
            if self.json() && !self.answered.load(Ordering::Relaxed) {
                // one result, on standard output, whatever happened
                let _ = self.write(&(error.to_json(&invocation).to_string() + "\n"));
            }
            let style = self.terminal.style(self.global.color, Stream::Stderr);
            // whoever closed standard error does not want to know, and the exit code still tells
            let mut text =
                error.to_text(style, &invocation, self.terminal.stderr_is_tty.then_some(self.terminal.width));
            if let Some(ci) = &self.ci {
                text = ci.harmless(&text).into_owned();
                if !self.annotated.load(Ordering::Relaxed) {
                    text.push_str(&ci.failure(error));
                    ci.summarize(&summary_of(error));
                }
            }
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
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

fn going_by_what_runs(error: &CliError) -> String {
    let errors: Vec<&str> = std::iter::once(&error.message).chain(&error.details).map(String::as_str).collect();
    format!("going by the labels of what runs, since the files have errors: {}", errors.join("\n"))
}

/// `room`: see [`annotated`].
fn config_error(errors: &[config::Diagnostic], room: usize) -> CliError {
    let mut all: Vec<String> = errors.iter().map(|error| annotated(error, room)).collect();
    // a single one is the headline itself
    let mut error = match all.as_slice() {
        [_] => CliError::new(ErrorKind::Config, all.remove(0)),
        several => {
            let mut error = CliError::new(ErrorKind::Config, format!("the configuration has {} errors", several.len()));
            error.details = all;
            error
        }
    };
    let text = |wrong: &config::Diagnostic| match &wrong.help {
        Some(help) => format!("{}\n{help}", wrong.message),
        None => wrong.message.clone(),
    };
    error.places = errors.iter().filter_map(|wrong| Some((place(wrong)?, text(wrong)))).collect();
    error
}

/// The place in a file of the user's.
pub(super) fn place(found: &config::Diagnostic) -> Option<Place> {
    let built_in = found.file.to_string_lossy().starts_with("built-in:");
    (!built_in).then(|| Place { file: found.file.clone(), line: found.line, column: found.column })
}

/// An error on the page of a CI system's run.
fn summary_of(error: &CliError) -> String {
    let title = error.message.lines().next().unwrap_or_default();
    let more = error.message.lines().skip(1).chain(error.details.iter().flat_map(|text| text.lines()));
    let lines: String = more.map(|line| format!("> {}  \n", markdown(line))).collect();
    format!(":x: **{}**\n\n{lines}", markdown(title))
}

/// This program, for starting it again, and for images that are made of it.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "macula".into())
}
