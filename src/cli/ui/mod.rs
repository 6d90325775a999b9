//! What a run looks like. Work emits [`Event`](crate::event::Event)s; the renderers here choose
//! their looks: a live tree on a terminal, lines in a pipe, NDJSON for programs, or nothing but
//! errors. Results are no business of this module beyond [`table`] and [`waterfall`], which make
//! strings for standard output.
//!
//! Nothing here reads the environment or the clock by itself: [`Terminal`] holds what is known of
//! the surroundings, and [`Streams`] brings writer, clock and size. So each renderer can be fed a
//! script of events in a test and its whole output be compared.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::app::ChangeKind;
use crate::event::{Event, Reporter};

pub mod confirm;
pub mod full_screen;
mod held;
mod json;
pub mod left_out;
mod line;
pub mod page;
mod plain;
pub mod plan_screen;
mod quiet;
pub mod replay;
mod run;
pub mod spans;
pub mod status_screen;
pub mod style;
pub mod table;
mod terminal;
pub mod text;
pub mod top_screen;
mod transfer;
mod tty;
pub mod up_screen;
pub mod waterfall;

#[cfg(test)]
mod testing;

pub use held::{reclaim_terminal, release_terminal, terminal_is_back};
pub use run::Tally;
pub use style::{Style, Tone};
pub use terminal::{ColorChoice, Stream, Terminal};

/// `--progress`: who draws.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A live tree where standard error is a terminal, else plain lines.
    #[default]
    Auto,
    /// A live tree.
    Tty,
    /// One line for each thing that happens.
    Plain,
    /// One JSON object per line.
    Json,
    /// Only errors.
    Quiet,
}

impl Kind {
    /// What `auto` means here; never [`Kind::Auto`].
    pub fn resolve(self, terminal: &Terminal) -> Self {
        match self {
            Self::Auto if terminal.stderr_is_tty && !terminal.dumb() && !terminal.ci => Self::Tty,
            Self::Auto => Self::Plain,
            chosen => chosen,
        }
    }
}

/// The time, as a renderer sees it.
pub trait Clock: Send + Sync {
    /// Since the program started; never goes back.
    fn elapsed(&self) -> Duration;
    /// The time of day.
    fn now(&self) -> Timestamp;
}

/// The machine's clock; starts when it is made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Columns and rows of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Of the terminal behind standard output at this moment.
pub fn size_of_stdout(terminal: &Terminal) -> Size {
    terminal::size_of(std::io::stdout()).unwrap_or(Size { columns: terminal.width, rows: terminal.height })
}

/// Where progress goes, and what it needs to know of its surroundings.
pub struct Streams {
    /// Progress; standard error outside of tests. Each frame or line is one write.
    pub err: Box<dyn Write + Send>,
    pub style: Style,
    pub terminal: Terminal,
    pub clock: Arc<dyn Clock>,
    /// The size at this moment: asked before each frame, so that a resize is followed.
    pub size: Arc<dyn Fn() -> Size + Send + Sync>,
    /// `-v`: plain output shows every line of a build instead of one now and then, and the tree
    /// leaves all its rows behind.
    pub verbose: bool,
}

impl Streams {
    /// Standard error of this process and the machine's clock.
    pub fn standard(terminal: Terminal, color: ColorChoice, verbose: bool) -> Self {
        let fallback = Size { columns: terminal.width, rows: terminal.height };
        Self {
            err: Box::new(std::io::stderr()),
            style: terminal.style(color, Stream::Stderr),
            clock: Arc::new(SystemClock::start()),
            size: Arc::new(move || terminal::size_of(std::io::stderr()).unwrap_or(fallback)),
            terminal,
            verbose,
        }
    }
}

/// A reporter that also keeps the run, so that it can be told at its end how the services stand.
pub struct Counted {
    inner: Arc<dyn Reporter>,
    clock: SystemClock,
    run: Mutex<run::Run>,
}

impl Counted {
    pub fn new(inner: Arc<dyn Reporter>) -> Self {
        Self { inner, clock: SystemClock::start(), run: Mutex::default() }
    }

    /// Of the last run that was announced.
    pub fn tally(&self) -> Tally {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).tally()
    }

    /// See [`run::Run::changed`].
    pub fn changed(&self, planned: &BTreeMap<String, ChangeKind>) -> Vec<(&'static str, Vec<String>)> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).changed(planned)
    }

    /// Whether any step has begun.
    pub fn has_begun(&self) -> bool {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).has_begun()
    }
}

impl Reporter for Counted {
    fn report(&self, event: Event) {
        // lines and bytes come by the thousand and change no count
        if !matches!(event, Event::StepProgress { .. }) {
            self.run.lock().unwrap_or_else(PoisonError::into_inner).hear(&event, self.clock.elapsed());
        }
        self.inner.report(event);
    }

    fn finish(&self) {
        self.inner.finish();
    }

    fn draft(&self, lines: &[String]) {
        self.inner.draft(lines);
    }
}

/// The renderer for a run. Whoever holds it calls [`Reporter::finish`] before writing results.
pub fn reporter(kind: Kind, streams: Streams) -> Arc<dyn Reporter> {
    match kind.resolve(&streams.terminal) {
        Kind::Tty => Arc::new(tty::Tty::new(streams)),
        Kind::Json => Arc::new(json::Json::new(streams)),
        Kind::Quiet => Arc::new(quiet::Quiet),
        Kind::Plain | Kind::Auto => Arc::new(plain::Plain::with_heartbeat(streams)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_draws_a_tree_only_where_somebody_watches() {
        let watched = Terminal { stderr_is_tty: true, term: Some("xterm".into()), ..Terminal::default() };
        let cases = [
            (watched.clone(), Kind::Tty),
            (Terminal { stderr_is_tty: false, ..watched.clone() }, Kind::Plain),
            (Terminal { ci: true, ..watched.clone() }, Kind::Plain),
            (Terminal { term: Some("dumb".into()), ..watched.clone() }, Kind::Plain),
            (Terminal { term: None, ..watched.clone() }, Kind::Tty),
        ];
        for (terminal, kind) in cases {
            assert_eq!(Kind::Auto.resolve(&terminal), kind, "{terminal:?}");
        }
        assert_eq!(Kind::Json.resolve(&watched), Kind::Json);
    }
}
