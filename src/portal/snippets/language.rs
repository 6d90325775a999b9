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

/// A program that needs one value. `@` stands for the value, and a line `@os` for what Python needs to read a variable.
pub(super) struct Shape {
    title: &'static str,
    install: &'static str,
    language: Language,
    text: &'static str,
}

impl Shape {
    pub(super) const fn new(
        title: &'static str,
        install: &'static str,
        language: Language,
        text: &'static str,
    ) -> Self {
        Self { title, install, language, text }
    }

    pub(super) fn with(&self, value: Text<'_>) -> Snippet {
        let text = self.text.replace("@os\n", import_os(value)).replace('@', &value.of(self.language));
        snippet(self.title, self.install, text)
    }
}

/// The snippets of these shapes, with the same value.
pub(super) fn with(shapes: &[Shape], value: Text<'_>) -> Vec<Snippet> {
    shapes.iter().map(|shape| shape.with(value)).collect()
}

pub(super) fn import_os(text: Text<'_>) -> &'static str {
    if matches!(text, Text::Variable(_)) { "import os\n" } else { "" }
}
