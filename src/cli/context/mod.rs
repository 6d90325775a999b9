//! What every command has in hand: the global options, the machine, and where output goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::{ChangeKind, Session};
use crate::config::{self, DiskFiles};
use crate::engine::discover::Discovery;
use crate::event::{Event, Events, Reporter};
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::model::{Again, Invocation, MaculaCommand, PlatformName};
use crate::system::{OverNetwork, System};

use super::ci::{Ci, Folding, Harmless, markdown};
use super::error::{CliError, ErrorKind};
use super::excerpt;
use super::log;
use super::ui::confirm::{self, Answer, Question};
use super::ui::{self, Stream, Streams, Style, Tally, Terminal};

mod loading;
mod options;

pub use loading::{current_folder, why_left_out};
pub use options::{
    Forgets, Global, ImageOptions, LoadOptions, OfServices, Output, ScaleOptions, StackOptions, Upping, given,
    typed_scale,
};

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
    /// Nobody reads the results any more.
    reader_gone: AtomicBool,
    /// Which project's stack was found has been told: a command may read the files twice.
    project_told: AtomicBool,
}

/// What is asked of an engine before the files are read.
pub enum LookAhead {
    /// Nothing but which one it is: what it has may be changed by somebody until it is looked at.
    Engine,
    Lists,
    /// How services are, which files are read for this; containers say which files in them are looked at.
    Services(Box<config::Request>),
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
        Self {
            global,
            name,
            terminal,
            host,
            cancel,
            ci,
            reporter,
            progress,
            stdout_closed,
            answered: AtomicBool::new(false),
            annotated: AtomicBool::new(false),
            reader_gone: AtomicBool::new(false),
            project_told: AtomicBool::new(false),
        }
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

    /// What the run that was announced last has changed: `replaced web, removed worker`; at most so many names of each kind.
    /// `planned`: see [`ui::Counted::changed`].
    pub fn changed(&self, most: usize, planned: &BTreeMap<String, ChangeKind>) -> Option<String> {
        let all = self.reporter.changed(planned).into_iter();
        let parts: Vec<String> = all.map(|(word, names)| format!("{word} {}", ui::text::some(&names, most))).collect();
        Some(parts.join(", ")).filter(|text| !text.is_empty())
    }

    /// The end of a run that failed or was stopped: how far it came. What went wrong is said by the
    /// error, and where nothing was begun there is nothing to say.
    pub fn broke_off(&self, begun: std::time::Instant) {
        let summary = if self.reporter.has_begun() { how_far(self.tally()) } else { String::new() };
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

    /// The machine and its engine, for one command.
    pub async fn session(&self, command: &str) -> Session {
        self.session_as(command, None).await
    }

    /// The same for who reads files first and looks at the engine then, which is found meanwhile.
    pub fn session_ahead(&self, command: &str, look: LookAhead) -> impl Future<Output = Session> {
        let (found, finds) = tokio::sync::oneshot::channel();
        let host = self.host.clone();
        // of its own, since reading files leaves this thread no time for anything else
        let looks = std::thread::Builder::new().name("look-ahead".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let system = System::connect(host).await;
                let platform = match look {
                    LookAhead::Engine => return found.send(system).ok(),
                    LookAhead::Lists => None,
                    LookAhead::Services(request) => Some(config::platform_name(&request, &DiskFiles).0),
                };
                if let Some(engine) = &system.engine {
                    engine.look_ahead(platform.as_ref().map(PlatformName::as_str)).await;
                }
                found.send(system).ok()
            })
        });
        drop(looks);
        async move {
            match finds.await {
                Ok(system) => self.session_of(command, system),
                Err(_) => self.session(command).await,
            }
        }
    }

    /// The same with the engine of a Docker context, where one is named.
    pub async fn session_as(&self, command: &str, context: Option<&str>) -> Session {
        self.session_of(command, System::connect_as(self.host.clone(), context).await)
    }

    /// For commands that look only at files.
    pub fn session_without_engine(&self, command: &str) -> Session {
        let (host, discovery) = (self.host.clone(), Discovery::default());
        self.session_of(command, System { host, engine: None, discovery, reach: Arc::new(OverNetwork) })
    }

    fn session_of(&self, command: &str, system: System) -> Session {
        Session {
            system,
            events: self.events(),
            cancel: self.cancel.clone(),
            command: format!("macula {command}"),
            version: env!("CARGO_PKG_VERSION"),
            program: program(),
            named: self.name.is_some(),
            invocation: self.invocation(),
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

    /// What would be lost for good is shown, and agreed to by typing a word: a `y` comes too easily. Anything else is the
    /// end of the command. The caller knows that somebody can be asked.
    pub async fn confirm_loss(&self, word: &str, text: &str) -> Result<(), CliError> {
        self.finish();
        match confirm::type_word(word, text, &self.terminal, &self.cancel).await? {
            Answer::Yes => Ok(()),
            _ if self.cancel.is_cancelled() => Err(cancelled()),
            _ => Err(declined()),
        }
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

    /// The same as a function, for who has it longer than this is there.
    pub fn line_out(&self) -> impl Fn(&str) -> std::io::Result<()> + Send + Sync + 'static {
        let (tty, ci, closed) = (self.terminal.stdout_is_tty, self.ci.clone(), self.stdout_closed);
        move |text| {
            if closed {
                return Err(std::io::Error::other("standard output is closed"));
            }
            let text = match &ci {
                _ if tty => ui::text::harmless(text),
                Some(ci) => ci.harmless(text),
                None => text.into(),
            };
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
    }

    /// Programs read what is said: as one JSON value, or as events.
    pub fn for_programs(&self) -> bool {
        self.json() || self.progress == ui::Kind::Json
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
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => Ok(written.context("write to standard output")?),
        }
    }

    /// A result found nobody who reads it, as in `status --watch | head`: what goes on showing things has come to its end.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::Relaxed)
    }

    pub fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(CliError::fault)?;
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
            podman: self.host.which("docker").is_none() && self.host.which("podman").is_some(),
        }
    }

    /// A command to type within a line of results. Hints have no need of it: see [`crate::model::Remedy`].
    pub fn line(&self, command: MaculaCommand) -> String {
        command.line(&self.invocation())
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

/// How far a run came that failed; nothing where it was not about services.
fn how_far(tally: Tally) -> String {
    let of = |some: usize, all: usize, word: &str| format!("{some} of {} {word}", ui::text::count(all, "service"));
    match (tally.services, tally.leaving) {
        (0, 0) => String::new(),
        (0, leaving) => of(tally.gone, leaving, "stopped"),
        (services, _) => of(tally.done, services, "up"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_failed_says_how_far_it_came() {
        let down = Tally { leaving: 11, gone: 11, ..Tally::default() };
        let up = Tally { services: 2, done: 1, leaving: 1, gone: 1, ..Tally::default() };
        let told = [Tally::default(), down, up].map(how_far);
        assert_eq!(told, ["", "11 of 11 services stopped", "1 of 2 services up"]);
    }
}
