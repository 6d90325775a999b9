//! What a user is told when something did not work: what was being done and to what, why it
//! failed, and the next thing to type. The kind decides the exit code.

use std::error::Error;
use std::fmt;
use std::io;

use serde_json::{Value, json};

use super::ui::{Style, Tone, text};
use crate::engine::EngineError;
use crate::event::Place;
use crate::host::RunError;
use crate::model::{Again, Invocation, MaculaCommand, Remedy};

/// What went wrong, as scripts can tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing that we expected could go wrong.
    Unexpected,
    /// The command line is wrong.
    Usage,
    /// macula.yaml or a stack is invalid.
    Config,
    /// No container engine answers.
    NoEngine,
    /// A port, a name or a resource belongs to somebody else.
    Conflict,
    /// An image could not be had.
    Image,
    /// Something was started and is not healthy in time.
    NotHealthy,
    /// It takes root, or another right that this user does not have.
    Privilege,
    /// The cluster could not be made or reached.
    Cluster,
    /// `plan --exit-code`: there is something to do.
    ChangesPending,
    /// The user stopped it.
    Interrupted,
    /// The user was asked and said no.
    Declined,
}

impl ErrorKind {
    /// The documented exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unexpected | Self::Declined => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::NoEngine => 4,
            Self::Conflict => 5,
            Self::Image => 6,
            Self::NotHealthy => 7,
            Self::Privilege => 8,
            Self::Cluster => 9,
            Self::ChangesPending => 10,
            // what shells give to a program that SIGINT ended
            Self::Interrupted => 130,
        }
    }

    /// The name in JSON output; stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::NoEngine => "no_engine",
            Self::Conflict => "conflict",
            Self::Image => "image",
            Self::NotHealthy => "not_healthy",
            Self::Privilege => "privilege",
            Self::Cluster => "cluster",
            Self::ChangesPending => "changes_pending",
            Self::Interrupted => "interrupted",
            Self::Declined => "declined",
        }
    }
}

/// An error on its way to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    pub kind: ErrorKind,
    /// What was being done, to what, and why it failed; may have several lines.
    pub message: String,
    /// What the message sums up, one each: the errors of a file, the things in the way.
    pub details: Vec<String>,
    /// The causes below, outermost first, none of them a part of the text above it.
    pub causes: Vec<String>,
    pub hints: Vec<Remedy>,
    /// The places in files that it is about, each with what is wrong there.
    pub places: Box<[(Place, String)]>,
    /// The result has said it all: only the exit code is left to be told.
    pub told: bool,
}

impl CliError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: Vec::new(),
            causes: Vec::new(),
            hints: Vec::new(),
            places: Box::default(),
            told: false,
        }
    }

    /// Nothing more than an exit code, after a result that has said it all.
    pub fn told(kind: ErrorKind) -> Self {
        Self { told: true, ..Self::new(kind, "") }
    }

    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub fn not_healthy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotHealthy, message)
    }

    /// An error of a lower floor and its whole chain.
    pub fn of(kind: ErrorKind, error: &(dyn Error + 'static)) -> Self {
        let mut new = Self::new(kind, error.to_string());
        if let Some(source) = error.source() {
            new = new.because(source);
        }
        new
    }

    /// For `map_err` of what can only be a fault of ours.
    pub fn fault(error: impl Error + 'static) -> Self {
        Self::of(ErrorKind::Unexpected, &error)
    }

    /// Adds a cause and its chain. Text that the level above already says is left out.
    #[must_use]
    pub fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.push_cause(cause.to_string());
            next = cause.source();
        }
        self
    }

    pub(super) fn push_cause(&mut self, text: String) {
        let said = self.causes.last().unwrap_or(&self.message);
        if !text.trim().is_empty() && !said.contains(text.trim()) {
            self.causes.push(text);
        }
    }

    /// Puts what was being done in front; the present message becomes the first cause.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Self {
        let causes = std::mem::take(&mut self.causes);
        let message = std::mem::replace(&mut self.message, what.into());
        self.push_cause(message);
        for cause in causes {
            self.push_cause(cause);
        }
        self
    }

    /// One of the things that the message sums up.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.details.push(text.into());
        self
    }

    /// Adds something to do next. What was said already is not said again.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Remedy>) -> Self {
        let remedy = remedy.into();
        if !self.hints.contains(&remedy) {
            self.hints.push(remedy);
        }
        self
    }

    /// Adds a sentence of help.
    #[must_use]
    pub fn hint(self, sentence: impl Into<String>) -> Self {
        self.remedy(Remedy::say(sentence))
    }

    /// Adds a command of macula's.
    #[must_use]
    pub fn suggest(self, command: MaculaCommand) -> Self {
        self.remedy(command)
    }

    /// Adds the command line of another program.
    #[must_use]
    pub fn shell(self, words: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.remedy(Remedy::shell(words))
    }

    /// Adds the present command, to be run once more.
    #[must_use]
    pub fn again(self, how: Again) -> Self {
        self.remedy(Remedy::Again(how))
    }

    /// Something that the system refused; `what` says what was being done and to what
    /// (`write /home/x/macula/receipt.json`).
    pub fn io(what: impl Into<String>, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Privilege,
            _ => ErrorKind::Unexpected,
        };
        let new = Self::new(kind, what).because(error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => new.hint("check the file's owner and mode: this user has no permission"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                new.hint("free some space").again(Again::AsItIs)
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                new.hint("set XDG_DATA_HOME and XDG_CONFIG_HOME to folders on a file system that is not read-only")
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => new.hint(
                "a file is where a folder is needed: move it away, or point XDG_DATA_HOME or XDG_CONFIG_HOME elsewhere",
            ),
            _ => new,
        }
    }

    /// What stands on standard error: the message, its causes, what to do next.
    /// As wide as it is.
    #[cfg(test)]
    fn as_text(&self, style: Style, invocation: &Invocation) -> String {
        self.to_text(style, invocation, None)
    }

    /// Sentences are broken at blanks so that they fit `width`; commands are not, or they could not be
    /// copied.
    pub fn to_text(&self, style: Style, invocation: &Invocation, width: Option<usize>) -> String {
        // whoever stops it or says no knows that, and has done nothing wrong
        let mut out = match self.kind {
            ErrorKind::Interrupted | ErrorKind::Declined => format!("{}\n", indented(&self.message, 0, 2, width)),
            _ => format!("{} {}\n", style.paint(Tone::Bad, "error:"), indented(&self.message, 7, 2, width)),
        };
        for detail in &self.details {
            out.push_str(&format!("  {}\n", indented(detail, 2, 4, width)));
        }
        for cause in &self.causes {
            let label = style.paint(Tone::Dim, "caused by:");
            out.push_str(&format!("  {label} {}\n", indented(cause, 13, 4, width)));
        }
        // sentences first: the last lines are the commands
        let (sentences, commands): (Vec<_>, Vec<_>) =
            self.hints.iter().partition(|hint| matches!(hint, Remedy::Say(_)));
        for (label, hints) in [("hint:", sentences), ("try:", commands)] {
            for hint in hints {
                let whole = hint.text(invocation);
                let text = match (hint, width) {
                    (Remedy::Say(_), _) => indented(&whole, 8, 4, width),
                    (_, Some(width)) => {
                        indented(&text::command_lines(&whole, width.saturating_sub(8)).join("\n"), 8, 6, None)
                    }
                    (_, None) => indented(&whole, 8, 4, None),
                };
                out.push_str(&format!("  {} {text}\n", style.paint(Tone::Active, label)));
            }
        }
        out
    }

    /// The same for `-o json`: `{"error":{"kind","exit_code","message","details","causes","hints","try","places"}}`.
    pub fn to_json(&self, invocation: &Invocation) -> Value {
        let place = |(Place { file, line, column }, message): &(Place, String)| json!({"file": file.display().to_string(), "line": line, "column": column, "message": message});
        let say = |hint: &Remedy| if let Remedy::Say(text) = hint { Some(text.clone()) } else { None };
        json!({"error": {
            "kind": self.kind.name(),
            "exit_code": self.kind.exit_code(),
            "message": self.message,
            "details": self.details,
            "causes": self.causes,
            "hints": self.hints.iter().filter_map(say).collect::<Vec<_>>(),
            "try": self.hints.iter().filter_map(|hint| hint.command(invocation)).collect::<Vec<_>>(),
            "places": self.places.iter().map(place).collect::<Vec<_>>(),
        }})
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CliError {}

/// Lines after the first begin below it, at `columns`; the first stands at `first`. Output of programs in
/// it is made harmless. What is shown as it is written elsewhere (a line of a file, the mark below it,
/// output of a build) is not broken.
fn indented(text: &str, first: usize, columns: usize, width: Option<usize>) -> String {
    let text = text::clean_text(text);
    let mut lines: Vec<String> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let taken = if at == 0 { first } else { columns };
        let quoted = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
        let Some(room) = width.filter(|_| !quoted).map(|width| width.saturating_sub(taken).max(20)) else {
            lines.push(line.to_owned());
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let mut broken = text::wrap_whole(line, room).into_iter();
        lines.extend(broken.next());
        // what follows may be indented less than the first line, and has more room than it uses
        let rest: String = broken.collect::<Vec<_>>().join(" ");
        if !rest.is_empty() {
            let below = width.unwrap_or(usize::MAX).saturating_sub(columns + indent).max(20);
            lines
                .extend(text::wrap_whole(&rest, below).into_iter().map(|line| format!("{}{line}", " ".repeat(indent))));
        }
    }
    lines.join(&format!("\n{}", " ".repeat(columns)))
}

/// What anyhow's `context` said of an error on its way up is what was being done; the error itself decides kind and
/// hints.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        fn typed(error: &(dyn Error + 'static)) -> bool {
            error.is::<CliError>() || error.is::<io::Error>() || error.is::<EngineError>() || error.is::<RunError>()
        }
        let mut doing: Vec<String> = error.chain().take_while(|one| !typed(*one)).map(ToString::to_string).collect();
        let known = error
            .downcast::<Self>()
            .or_else(|error| error.downcast::<EngineError>().map(Self::from))
            .or_else(|error| error.downcast::<RunError>().map(Self::from))
            .or_else(|error| {
                let source = error.downcast::<io::Error>()?;
                Ok(match doing.pop() {
                    Some(what) => Self::io(what, &source),
                    None => Self::of(ErrorKind::Unexpected, &source),
                })
            });
        match known {
            Ok(known) => doing.into_iter().rev().fold(known, Self::doing),
            Err::<_, anyhow::Error>(error) => Self::of(ErrorKind::Unexpected, error.as_ref()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use anyhow::Context as _;
    use insta::assert_snapshot;

    use super::*;
    use crate::model::macula;

    const PLAIN: Style = Style { color: false, unicode: false };

    fn here() -> Invocation {
        Invocation { words: vec!["up".into()], ..Invocation::default() }
    }

    /// What a user sees of an error of `up`.
    pub(in crate::cli) fn shown(error: impl Into<CliError>) -> String {
        let error = error.into();
        format!("{}exit {}", error.as_text(PLAIN, &here()), error.kind.exit_code())
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Level {
        text: &'static str,
        source: Option<Box<Level>>,
    }

    #[test]
    fn the_chain_is_told_once() {
        let chain = Level {
            text: "load macula.yaml: line 3: not a number",
            source: Some(Box::new(Level {
                text: "line 3: not a number",
                source: Some(Box::new(Level { text: "invalid digit found in string", source: None })),
            })),
        };
        let error = CliError::of(ErrorKind::Config, &chain).hint("write a number").suggest(macula("config show"));
        assert_snapshot!(shown(error.clone()), @r"
        error: load macula.yaml: line 3: not a number
          caused by: invalid digit found in string
          hint: write a number
          try: macula config show
        exit 3
        ");
        assert_snapshot!(shown(error.doing("bring up platform macula")), @r"
        error: bring up platform macula
          caused by: load macula.yaml: line 3: not a number
          caused by: invalid digit found in string
          hint: write a number
          try: macula config show
        exit 3
        ");
    }

    #[test]
    fn json_says_the_same() {
        let error = CliError::conflict("port 80 is taken").hint("stop it").suggest(macula("doctor"));
        assert_snapshot!(error.to_json(&here()), @r#"{"error":{"kind":"conflict","exit_code":5,"message":"port 80 is taken","details":[],"causes":[],"hints":["stop it"],"try":["macula doctor"],"places":[]}}"#);
    }

    #[test]
    fn colour_marks_only_the_labels() {
        let error = CliError::usage("no such service `grafan`").hint("did you mean `grafana`?");
        let text = error.as_text(Style { color: true, unicode: true }, &here());
        assert_eq!(
            text,
            "\x1b[31merror:\x1b[0m no such service `grafan`\n  \x1b[36mhint:\x1b[0m did you mean `grafana`?\n"
        );
    }

    #[test]
    fn files_that_cannot_be_used() {
        let failed =
            |kind| Err::<(), _>(io::Error::from(kind)).context("write /home/me/macula/receipt.json").unwrap_err();
        let errors = [io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull, io::ErrorKind::NotFound];
        assert_snapshot!(errors.map(|kind| shown(failed(kind))).join("\n\n"), @r"
        error: write /home/me/macula/receipt.json
          caused by: permission denied
          hint: check the file's owner and mode: this user has no permission
        exit 8

        error: write /home/me/macula/receipt.json
          caused by: no storage space
          hint: free some space
          try: macula up
        exit 1

        error: write /home/me/macula/receipt.json
          caused by: entity not found
        exit 1
        ");
    }

    #[test]
    fn contexts_stand_above_the_error_that_they_are_of() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let of = |error: anyhow::Error| shown(CliError::from(error));
        let twice = Err::<(), _>(refused()).context("write page.1").context("write the manual").unwrap_err();
        let kept = anyhow::Error::new(CliError::conflict("the name is taken").hint("choose another")).context("start");
        let other = anyhow::Error::new(Level { text: "it broke", source: None }).context("look closer");
        assert_snapshot!([of(twice), of(kept), of(anyhow::anyhow!("it ended")), of(other)].join("\n\n"), @r"
        error: write the manual
          caused by: write page.1
          caused by: permission denied
          hint: check the file's owner and mode: this user has no permission
        exit 8

        error: start
          caused by: the name is taken
          hint: choose another
        exit 5

        error: it ended
        exit 1

        error: look closer
          caused by: it broke
        exit 1
        ");
    }
}
