//! Imports point only to lower floors: reads every source file, finds what it takes from other
//! modules of the crate, and compares the floors. The map stands in src/lib.rs.

use std::fmt;
use std::path::{Path, PathBuf};

/// Module -> floor. Modules on the same floor may not import each other.
const FLOORS: &[(&str, u8)] = &[
    ("model", 0),
    ("render", 0),
    ("config", 1),
    ("compile", 2),
    ("plan", 2),
    ("host", 3),
    ("event", 3),
    ("bundle", 3),
    ("engine", 4),
    ("kubernetes", 4),
    ("dns", 4),
    ("pki", 4),
    ("probe", 5),
    ("cluster", 5),
    ("system", 5),
    ("observe", 6),
    ("apply", 6),
    ("doctor", 6),
    ("validate", 6),
    ("app", 7),
    ("cli", 8),
    ("portal", 8),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

#[derive(Debug, PartialEq, Eq)]
struct Offence {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// The module that a file belongs to, by its path below src; `None` for the crate roots and the build script, which may
/// take everything.
fn module_of(file: &str) -> Option<&str> {
    let first = file.split('/').next().unwrap_or(file);
    match first.strip_suffix(".rs").unwrap_or(first) {
        "lib" | "ground" | "main" | "build" => None,
        module => Some(module),
    }
}

fn offences(file: &str, source: &str) -> Vec<Offence> {
    let Some(module) = module_of(file) else { return Vec::new() };
    let offence = |line, what| Offence { file: file.into(), line, what };
    let Some(own) = floor(module) else {
        return vec![offence(
            1,
            format!("module `{module}` is on no floor: put it into tests/layers.rs and src/lib.rs"),
        )];
    };
    let mut found = Vec::new();
    for (line, other) in taken_from(source) {
        match floor(&other) {
            _ if other == module => {}
            None => found.push(offence(line, format!("`crate::{other}` is on no floor"))),
            Some(theirs) if theirs < own => {}
            Some(theirs) => {
                found.push(offence(line, format!("`{module}` (floor {own}) takes from `{other}` (floor {theirs})")));
            }
        }
    }
    found
}

/// Every module named behind `crate::`, with its line; groups (`crate::{a, b::c}`) are taken
/// apart. Macros and items of the root itself (in capitals) lie on no floor.
fn taken_from(source: &str) -> Vec<(usize, String)> {
    const CRATE: &str = "crate::";
    let code = code_only(source);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(CRATE).map(|at| at + from) {
        from = at + CRATE.len();
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        for (offset, name) in names(&code[from..]) {
            if name.starts_with(|c: char| c.is_lowercase()) {
                found.push((code[..from + offset].matches('\n').count() + 1, name));
            }
        }
    }
    found
}

/// The first names of a path or of each path in a group, with their offsets.
fn names(path: &str) -> Vec<(usize, String)> {
    let start = path.len() - path.trim_start().len();
    let name_at = |at: usize| path[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if !path[start..].starts_with('{') {
        let name = name_at(start);
        let is_macro = path[start + name.len()..].starts_with('!');
        return if is_macro { Vec::new() } else { vec![(start, name)] };
    }
    let mut found = Vec::new();
    let mut depth = 0;
    let mut expecting = false;
    for (at, c) in path.char_indices().skip(start) {
        match c {
            '{' => {
                depth += 1;
                expecting = depth == 1;
            }
            '}' => depth -= 1,
            ',' => expecting = depth == 1,
            c if c.is_whitespace() => {}
            _ if expecting => {
                found.push((at, name_at(at)));
                expecting = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The source with comments and the insides of literals blanked, line ends kept.
fn code_only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest, &out) {
            length
        } else if c == '"' {
            quoted(rest, '"').unwrap_or(rest.len())
        } else if c == '\'' {
            // a lifetime has no closing quote two characters on
            match quoted(rest, '\'') {
                Some(length) if rest[1..].starts_with('\\') || rest[..length].chars().count() == 3 => length,
                _ => 0,
            }
        } else {
            0
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

/// Length of a comment with those nested in it.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of `r"..."`, `r#"..."#`, `br"..."`, ...
fn raw_string(text: &str, before: &str) -> Option<usize> {
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes: String = body.chars().take_while(|c| *c == '#').collect();
    let inside = body[hashes.len()..].strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let start = text.len() - inside.len();
    Some(inside.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// Length of a literal that begins and ends with `quote`.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.file_name().is_some_and(|name| name == "tests.rs") {
            // a module's tests may make their world with any floor's help
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_only_to_lower_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 5, "no sources in {}", root.display());
    let mut found = Vec::new();
    for path in &files {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        found.extend(offences(&file, &std::fs::read_to_string(path).unwrap()));
    }
    let list: Vec<String> = found.iter().map(|offence| format!("src/{offence}")).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn the_check_finds_what_is_wrong() {
    let bad = r####"//! Docs may name [`crate::app`].
use std::fmt; // crate::cli
use crate::model::Platform;
use crate::{
    app::{self, cli},
    event::Event, host,
};
/* crate::cli /* nested */ crate::cli */
fn quote<'a>(x: &'a str) -> char { let _ = "crate::cli \" crate::cli"; '"' }
fn raw() -> &'static str { r#"crate::cli "quoted""# }
pub(crate) fn f() -> crate::cli::ui::Kind { crate::VERSION; crate::a_macro!(); crate::plan::f() }
use crate::nowhere::X;
"####;
    let found: Vec<String> = offences("engine/docker.rs", bad).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "engine/docker.rs:5: `engine` (floor 4) takes from `app` (floor 7)",
            "engine/docker.rs:11: `engine` (floor 4) takes from `cli` (floor 8)",
            "engine/docker.rs:12: `crate::nowhere` is on no floor",
        ]
    );
}

#[test]
fn siblings_are_strangers_and_a_module_knows_itself() {
    assert_eq!(offences("plan/order.rs", "use crate::plan::Step;"), []);
    let found = offences("compile.rs", "use crate::plan::Step;");
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["compile.rs:1: `compile` (floor 2) takes from `plan` (floor 2)"]
    );
    assert_eq!(offences("main.rs", "use crate::cli::run;"), []);
    assert_eq!(offences("attic/mod.rs", "").len(), 1, "a module on no floor");
}
