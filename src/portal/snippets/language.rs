//! How a program says a value.

use serde::Serialize;

use crate::words::shell_word;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// `Python (psycopg)`
    pub language: &'static str,
    /// What installs the client; empty: nothing, or the distribution.
    pub install: &'static str,
    pub text: String,
}

/// A value in a program.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    Plain(&'a str),
    /// Of the environment.
    Variable(&'a str),
}

/// How a program says it. Quotation marks and backslashes are the same in all of these.
#[derive(Clone, Copy)]
pub(super) enum Language {
    Shell,
    Python,
    Node,
    Go,
    Java,
}

impl Text<'_> {
    pub(super) fn of(self, language: Language) -> String {
        match (self, language) {
            (Self::Plain(text), Language::Shell) => shell_word(text),
            (Self::Plain(text), _) => serde_json::Value::from(text).to_string(),
            (Self::Variable(name), Language::Shell) => format!("\"${name}\""),
            (Self::Variable(name), Language::Python) => format!("os.environ[\"{name}\"]"),
            (Self::Variable(name), Language::Node) => format!("process.env.{name}"),
            (Self::Variable(name), Language::Go) => format!("os.Getenv(\"{name}\")"),
            (Self::Variable(name), Language::Java) => format!("System.getenv(\"{name}\")"),
        }
    }
}

pub(super) fn snippet(language: &'static str, install: &'static str, text: String) -> Snippet {
    Snippet { language, install, text }
}

pub(super) fn import_os(text: Text<'_>) -> &'static str {
    if matches!(text, Text::Variable(_)) { "import os\n" } else { "" }
}
