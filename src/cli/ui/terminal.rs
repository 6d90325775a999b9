//! What is known of the terminal and the user's wishes for it, as values.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use super::{Size, Style};

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// Which of our outputs is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The surroundings of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    pub stdin_is_tty: bool,
    pub stdout_is_tty: bool,
    pub stderr_is_tty: bool,
    /// Columns; 80 where it is not known.
    pub width: usize,
    /// Rows; 24 where it is not known.
    pub height: usize,
    /// The variable TERM.
    pub term: Option<String>,
    /// CI is set to something other than `false` or `0`.
    pub ci: bool,
    /// NO_COLOR is set and not empty (<https://no-color.org>).
    pub no_color: bool,
    /// CLICOLOR_FORCE or FORCE_COLOR is set and not `0` (<https://bixense.com/clicolors>,
    /// <https://force-color.org>).
    pub force_color: bool,
    /// The locale's character set is UTF-8.
    pub utf8: bool,
}

impl Default for Terminal {
    /// No terminal at all.
    fn default() -> Self {
        Self {
            stdin_is_tty: false,
            stdout_is_tty: false,
            stderr_is_tty: false,
            width: 80,
            height: 24,
            term: None,
            ci: false,
            no_color: false,
            force_color: false,
            utf8: false,
        }
    }
}

impl Terminal {
    /// Of this process: the only place that asks the environment and the standard streams.
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    pub fn of_this_process() -> Self {
        let size = size_of(std::io::stderr()).or_else(|| size_of(std::io::stdout()));
        Self {
            stdin_is_tty: std::io::stdin().is_terminal(),
            stdout_is_tty: std::io::stdout().is_terminal(),
            stderr_is_tty: std::io::stderr().is_terminal(),
            ..Self::from_environment(|name| std::env::var(name).ok(), size)
        }
    }

    /// `size` is what the terminal itself says; COLUMNS and LINES stand in for it.
    fn from_environment(env: impl Fn(&str) -> Option<String>, size: Option<Size>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let on = |name: &str| set(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
        let number = |name: &str| set(name).and_then(|value| value.parse().ok()).filter(|number| *number > 0);
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            width: size.map(|size| size.columns).or_else(|| number("COLUMNS")).unwrap_or(80),
            height: size.map(|size| size.rows).or_else(|| number("LINES")).unwrap_or(24),
            term: set("TERM"),
            ci: on("CI"),
            no_color: set("NO_COLOR").is_some(),
            force_color: ["CLICOLOR_FORCE", "FORCE_COLOR"]
                .iter()
                .any(|name| set(name).is_some_and(|value| value != "0" && value != "false")),
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
            ..Self::default()
        }
    }

    /// A terminal that knows no cursor movement.
    pub fn dumb(&self) -> bool {
        self.term.as_deref() == Some("dumb")
    }

    /// A screen can be drawn on standard output.
    pub fn is_drawn_on(&self) -> bool {
        self.stdout_is_tty && !self.dumb()
    }

    /// How a stream of ours is written to.
    pub fn style(&self, choice: ColorChoice, stream: Stream) -> Style {
        let is_tty = match stream {
            Stream::Stdout => self.stdout_is_tty,
            Stream::Stderr => self.stderr_is_tty,
        };
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !self.no_color && (self.force_color || (is_tty && !self.dumb())),
        };
        Style { color, unicode: self.utf8 }
    }

    /// The width that tables on standard output may take; `None` in a pipe: as wide as they are.
    pub fn table_width(&self) -> Option<usize> {
        self.stdout_is_tty.then_some(self.width)
    }
}

/// What the terminal behind `stream` says of its size.
pub(super) fn size_of(stream: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then(|| Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Terminal {
        Terminal::from_environment(
            |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            None,
        )
    }

    #[test]
    fn the_environment_is_read_as_its_conventions_say() {
        assert_eq!(with(&[]), Terminal::default());
        assert!(with(&[("LANG", "de_DE.UTF-8")]).utf8);
        assert!(with(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]).utf8);
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).utf8, "LC_ALL wins");
        assert!(with(&[("CI", "true")]).ci);
        assert!(!with(&[("CI", "false")]).ci);
        assert!(!with(&[("NO_COLOR", "")]).no_color, "an empty NO_COLOR is none");
        assert!(with(&[("NO_COLOR", "0")]).no_color, "any other value is one");
        assert!(!with(&[("CLICOLOR_FORCE", "0")]).force_color);
        assert!(with(&[("FORCE_COLOR", "1")]).force_color && !with(&[("FORCE_COLOR", "0")]).force_color);
        assert_eq!(with(&[("COLUMNS", "132"), ("LINES", "0")]).width, 132);
        assert_eq!(with(&[("LINES", "0")]).height, 24);
    }

    #[test]
    fn a_screen_needs_a_terminal_that_moves_its_cursor() {
        let tty = Terminal { stdout_is_tty: true, term: Some("xterm".into()), ..Terminal::default() };
        let dumb = Terminal { term: Some("dumb".into()), ..tty.clone() };
        assert_eq!([tty, dumb, Terminal::default()].map(|one| one.is_drawn_on()), [true, false, false]);
    }

    #[test]
    fn colour_follows_the_choice_then_the_environment_then_the_terminal() {
        let tty = Terminal { stderr_is_tty: true, ..Terminal::default() };
        let color = |terminal: &Terminal, choice| terminal.style(choice, Stream::Stderr).color;
        assert!(color(&tty, ColorChoice::Auto));
        assert!(!color(&tty, ColorChoice::Never));
        assert!(!color(&Terminal { no_color: true, force_color: true, ..tty.clone() }, ColorChoice::Auto));
        assert!(color(&Terminal { no_color: true, ..tty.clone() }, ColorChoice::Always));
        assert!(!color(&Terminal { term: Some("dumb".into()), ..tty.clone() }, ColorChoice::Auto));
        assert!(!color(&Terminal::default(), ColorChoice::Auto));
        assert!(color(&Terminal { force_color: true, ..Terminal::default() }, ColorChoice::Auto));
        assert!(!tty.style(ColorChoice::Auto, Stream::Stdout).color, "each stream for itself");
    }
}
