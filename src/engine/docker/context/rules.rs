//! The rules that say what of a folder stays out of a context.

use std::io;
use std::path::Path;

use regex::Regex;

use super::{IGNORE, named};
use crate::config::{DiskFiles, Files};

/// How long a file of rules may be, bytes.
const LONGEST_RULES: u64 = 4 << 20;

/// The rules of a `.dockerignore`: the last that matches decides.
#[derive(Debug, Default)]
pub struct Ignore {
    /// Pattern, and whether it takes a path back in (`!`).
    rules: Vec<(Regex, bool)>,
    /// The patterns of those that do.
    exceptions: Vec<String>,
}

impl Ignore {
    /// The rules that are given, else those of the folder.
    pub(super) fn of(folder: &Path, rules: Option<&str>) -> io::Result<Self> {
        rules.map_or_else(|| Self::read(folder), Self::parse)
    }

    fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(IGNORE);
        Self::parse(&read_rules(&path)?.unwrap_or_default())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    pub fn parse(text: &str) -> io::Result<Self> {
        let (mut rules, mut exceptions) = (Vec::new(), Vec::new());
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (pattern, back) = match line.strip_prefix('!') {
                Some(pattern) => (pattern.trim(), true),
                None => (line, false),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            let rule = Regex::new(&expression(&pattern))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is not a valid pattern")))?;
            rules.push((rule, back));
            if back {
                exceptions.push(pattern);
            }
        }
        Ok(Self { rules, exceptions })
    }

    /// Whether something below a folder that stays out may come back in. Where that cannot be, nobody has to look into
    /// it, and it may be one that nobody can.
    pub fn may_take_back_below(&self, folder: &str) -> bool {
        self.exceptions.iter().any(|pattern| may_match_below(pattern, folder))
    }

    /// Whether a path (relative, with `/`) stays out: it or a folder above it matches.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for (rule, back) in &self.rules {
            // a rule that would change nothing need not be looked at
            if out == *back && rule.is_match(path) {
                out = !back;
            }
        }
        out
    }
}

/// Whether a pattern may match a path below a folder and not the folder itself. One that matches the folder, too, has not
/// kept it in, and so brings back nothing of it.
fn may_match_below(pattern: &str, folder: &str) -> bool {
    let mut parts = pattern.split('/');
    for name in folder.split('/') {
        match parts.next() {
            // it reaches no deeper
            None => return false,
            // over any number of folders, or with letters that may be slashes
            Some(part) if part.contains("**") || part.contains(['[', '\\']) => return true,
            Some(part) if part.contains(['*', '?']) => {}
            Some(part) if part == name => {}
            Some(_) => return false,
        }
    }
    parts.next().is_some()
}

/// The text of a folder's file of rules.
pub(super) fn read_rules(path: &Path) -> io::Result<Option<String>> {
    match DiskFiles.read(path, LONGEST_RULES) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

/// As Go's `filepath.Clean`, without the slash in front.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// A pattern as a regular expression, which takes time in proportion to the path: `*` and `?` stop at a
/// slash, `**` is any end, or any beginning in front of a plain text, and elsewhere whole folders or nothing, `[...]` is a
/// class. What is below a match matches, too. So it is with Docker (<https://github.com/moby/patternmatcher>).
fn expression(pattern: &str) -> String {
    let mut out = String::from("(?s)^");
    let letters: Vec<char> = pattern.chars().collect();
    let mut rest = letters.as_slice();
    loop {
        rest = match rest {
            [] => break,
            ['*', '*', '/', after @ ..] => {
                out.push_str("(?:.*/)?");
                after
            }
            ['*', '*', after @ ..] => {
                let is_first = rest.len() == letters.len();
                let is_plain = !after.iter().any(|letter| matches!(letter, '*' | '?' | '[' | ']' | '\\'));
                let is_any = after.is_empty() || is_first && is_plain;
                out.push_str(if is_any { ".*" } else { "(?:.*/)?" });
                after
            }
            ['*', after @ ..] => {
                out.push_str("[^/]*");
                after
            }
            ['?', after @ ..] => {
                out.push_str("[^/]");
                after
            }
            ['[', after @ ..] => match class(after) {
                Some((class, after)) => {
                    out.push_str(&class);
                    after
                }
                // no end: an ordinary bracket
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            ['\\', letter, after @ ..] | [letter, after @ ..] => {
                out.push_str(&regex::escape(&letter.to_string()));
                after
            }
        };
    }
    out.push_str("(?:/.*)?$");
    out
}

/// The class that follows a `[`, and what follows its `]`.
fn class(pattern: &[char]) -> Option<(String, &[char])> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut out = String::from(if negated { "[^/" } else { "[" });
    let mut empty = true;
    let letter = |letter: &char| regex::escape(&letter.to_string());
    loop {
        match rest {
            [']', after @ ..] if !empty => {
                out.push(']');
                return Some((out, after));
            }
            [low, '-', high, after @ ..] if *high != ']' => {
                out.push_str(&format!("{}-{}", letter(low), letter(high)));
                rest = after;
            }
            ['\\', one, after @ ..] | [one, after @ ..] => {
                out.push_str(&letter(one));
                rest = after;
            }
            [] => return None,
        }
        empty = false;
    }
}
