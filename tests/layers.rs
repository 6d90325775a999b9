//! Imports point only to lower floors: reads every source file, finds what it takes from other
//! modules of the crate, and compares the floors. The map stands in src/lib.rs. Nor do files take from each other in a
//! circle.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "layers/circles.rs"]
mod circles;

use std::fmt;
use std::path::{Path, PathBuf};

/// Module -> floor. Modules on the same floor may not import each other.
const FLOORS: &[(&str, i8)] = &[
    ("words", -1),
    // of the tests
    ("require", -1),
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
    ("s3", 4),
    ("telemetry", 4),
    ("changes", 5),
    ("probe", 5),
    ("cluster", 5),
    ("system", 5),
    ("observe", 6),
    ("apply", 6),
    ("daemon", 6),
    ("doctor", 6),
    ("validate", 6),
    ("watch", 6),
    ("app", 7),
    ("portal", 8),
    ("cli", 9),
];

/// Rooms with floors of their own: module of `src` -> path of a module in it -> floor. The longest path
/// counts, so that one file of a folder may lie lower than the others. The file `mod.rs` of a room is the map
/// that re-exports what is on all of its floors; what it defines itself has the path `""`.
const ROOMS: &[(&str, &[(&str, u8)])] = &[(
    "app",
    &[
        ("choices", 0),
        ("lease", 0),
        ("error", 0),
        ("state", 1),
        ("apart", 1),
        ("mounts", 1),
        ("durations", 1),
        ("session", 2),
        ("exports", 2),
        ("engine_paths", 3),
        ("copies", 4),
        ("certificate", 3),
        ("owner", 3),
        ("engine_lock", 4),
        ("builds", 4),
        ("trace", 3),
        ("usage", 3),
        ("requests", 3),
        ("cluster", 3),
        ("cluster/look", 4),
        ("survey", 5),
        ("remap", 6),
        ("reach", 6),
        ("resolver", 6),
        ("staying", 7),
        ("receive", 7),
        ("records", 7),
        ("identity", 7),
        ("renewal", 9),
        ("presence", 7),
        ("expiry", 7),
        ("processes", 7),
        ("cluster/follow", 7),
        ("inquiry", 8),
        ("cluster/content", 8),
        ("cluster/decide", 9),
        ("cluster/join", 10),
        ("cluster/selftest", 9),
        ("cluster/status", 10),
        ("cluster/work", 10),
        ("prepare", 11),
        ("commands", 12),
    ],
)];

fn floor(module: &str) -> Option<i8> {
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

/// Every module named behind `crate::`, with its line. Macros and items of the root itself (in capitals) lie on
/// no floor.
fn taken_from(source: &str) -> Vec<(usize, String)> {
    let code = code_only(source);
    let named = paths_behind(&code, "crate::").into_iter().filter_map(|(at, path)| {
        let first = path.into_iter().next()?;
        first.starts_with(|c: char| c.is_lowercase()).then(|| (line_of(&code, at), first))
    });
    let mut named: Vec<(usize, String)> = named.collect();
    // one `use` of several things is one offence
    named.dedup();
    named
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Every path that begins with `start` (`crate::`, `super::`), without it, and where it stands; groups
/// (`crate::{a, b::c}`) are taken apart.
fn paths_behind(code: &str, start: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(start).map(|at| at + from) {
        from = at + start.len();
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            branches(code, from, &[], &mut found);
        }
    }
    found
}

/// The paths of a tree as it stands in `use`, from `at` on. Returns where the tree ends.
fn branches(code: &str, at: usize, before: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let space = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    let begin = space(at);
    if code[begin..].starts_with('{') {
        let mut at = space(begin + 1);
        while at < code.len() && !code[at..].starts_with('}') {
            let end = branches(code, at, before, found);
            // an alias, and the comma
            at = code[end..].find([',', '}']).map_or(code.len(), |more| end + more);
            at = if code[at..].starts_with(',') { space(at + 1) } else { at };
        }
        return (at + 1).min(code.len());
    }
    let name: String = code[begin..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let end = begin + name.len();
    let mut path = before.to_vec();
    if code[end..].starts_with('!') {
        return end;
    }
    if code[begin..].starts_with('*') {
        path.push("*".to_owned());
    } else if !name.is_empty() && name != "self" {
        path.push(name);
    }
    if code[end..].starts_with("::") {
        return branches(code, end + 2, &path, found);
    }
    found.push((begin, path));
    end
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

/// What stands before the tests of a file: these may make their world with any floor's help.
fn without_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |at| &source[..at])
}

/// A room's map: what its `mod.rs` re-exports, and from which module.
fn facade(source: &str) -> Vec<(String, Vec<String>)> {
    let code = code_only(source);
    let mut all = Vec::new();
    for (at, _) in code.match_indices(" use ") {
        if code[..at].ends_with("pub") || code[..at].ends_with(')') {
            let mut found = Vec::new();
            branches(&code, at + " use ".len(), &[], &mut found);
            for (at, path) in found {
                let end = at + path.last().map_or(0, String::len);
                let alias = code[end..].trim_start().strip_prefix("as ");
                let alias = alias.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                if let Some(name) = alias.or_else(|| path.last().cloned()) {
                    all.push((name, path));
                }
            }
        }
    }
    all
}

/// What a file of a room with floors takes from the same or a higher floor of it. `file`: below `src`.
fn offences_inside(file: &str, source: &str, room: &str, floors: &[(&str, u8)], map: &str) -> Vec<Offence> {
    let Some(inner) = file.strip_prefix(room).and_then(|rest| rest.strip_prefix('/')) else { return Vec::new() };
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    if inner == "mod" {
        return Vec::new();
    }
    let module: Vec<&str> = inner.strip_suffix("/mod").unwrap_or(inner).split('/').collect();
    let place = |path: &[&str]| {
        let path = path.join("/");
        let in_it = |entry: &str| path == entry || path.starts_with(&format!("{entry}/"));
        floors.iter().filter(|(entry, _)| in_it(entry)).max_by_key(|(entry, _)| entry.len()).copied()
    };
    let Some((own, floor)) = place(&module) else {
        let what = format!("`{inner}` is on no floor of `{room}`: put it into tests/layers.rs");
        return vec![Offence { file: file.into(), line: 1, what }];
    };
    let code = code_only(source);
    let mut taken: Vec<(usize, Vec<String>)> = Vec::new();
    for (at, path) in paths_behind(&code, "crate::") {
        if path.first().is_some_and(|first| first == room) {
            taken.push((at, path[1..].to_vec()));
        }
    }
    for (at, path) in paths_behind(&code, "super::") {
        let up = path.iter().take_while(|name| *name == "super").count();
        let Some(kept) = module.len().checked_sub(up + 1) else { continue };
        let base = module[..kept].iter().map(|name| (*name).to_owned());
        taken.push((at, base.chain(path[up..].iter().cloned()).collect()));
    }
    let map = facade(map);
    let mut found = Vec::new();
    // a visibility names the room and takes nothing from it
    for (at, path) in taken.into_iter().filter(|(_, path)| !path.is_empty()) {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let through = || {
            let (_, real) = map.iter().find(|(name, _)| Some(name) == path.first())?;
            place(&real.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let root = || floors.iter().find(|(entry, _)| entry.is_empty()).copied();
        let what = match place(&names).or_else(through).or_else(root) {
            Some((other, _)) if other == own => continue,
            Some((_, theirs)) if theirs < floor => continue,
            Some((other, theirs)) => {
                format!("`{room}/{own}` (inner floor {floor}) takes from `{room}/{other}` (inner floor {theirs})")
            }
            None => format!("`{room}::{}` is on no floor of `{room}`", path.join("::")),
        };
        let offence = Offence { file: file.into(), line: line_of(&code, at), what };
        if !found.contains(&offence) {
            found.push(offence);
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests" || name == "testing" || name.ends_with("_tests")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if is_test(&path) {
            // these may make their world with any floor's help
        } else if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All files of `src` that are no tests: path below it, and what stands in it before its tests.
fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 5, "no sources in {}", root.display());
    let read = files.iter().map(|path| {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        (file, without_tests(&std::fs::read_to_string(path).unwrap()).to_owned())
    });
    read.collect()
}

fn none(found: &[Offence]) {
    let list: Vec<String> = found.iter().map(|offence| format!("src/{offence}")).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn imports_point_only_to_lower_floors() {
    let found = all_sources().iter().flat_map(|(file, source)| offences(file, source)).collect::<Vec<_>>();
    none(&found);
}

#[test]
fn imports_inside_a_room_point_only_to_its_lower_floors() {
    let all = all_sources();
    for (room, floors) in ROOMS {
        let map = all.iter().find(|(file, _)| *file == format!("{room}/mod.rs")).map(|(_, source)| source.as_str());
        let map = map.unwrap_or_else(|| panic!("src/{room}/mod.rs is missing"));
        let found = all.iter().flat_map(|(file, source)| offences_inside(file, source, room, floors, map));
        none(&found.collect::<Vec<_>>());
    }
}

#[test]
fn the_check_inside_a_room_finds_what_is_wrong() {
    let floors = &[("error", 0), ("low", 1), ("both/low", 2), ("both", 3), ("high", 4)];
    let map = "pub use high::{Top, thing as other};\npub use error::Error;\nmod low;";
    let bad = "use super::{Error, Top};\nuse crate::room::{other, high::{self, Deep}, error::X};\n\
               fn f() { super::high::g(); crate::room::nowhere::h() }\n";
    let found: Vec<String> =
        offences_inside("room/low.rs", bad, "room", floors, map).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "room/low.rs:2: `room/low` (inner floor 1) takes from `room/high` (inner floor 4)",
            "room/low.rs:3: `room::nowhere::h` is on no floor of `room`",
            "room/low.rs:1: `room/low` (inner floor 1) takes from `room/high` (inner floor 4)",
            "room/low.rs:3: `room/low` (inner floor 1) takes from `room/high` (inner floor 4)",
        ]
    );
    let inside = |file: &str, source: &str| offences_inside(file, source, "room", floors, map).len();
    assert_eq!(inside("room/both/low.rs", "use super::mid::X;"), 1);
    assert_eq!(inside("room/both/mid.rs", "use super::low::X; use super::super::low::Y; use super::Z;"), 0);
    assert_eq!(inside("room/high.rs", "use crate::room::both; use crate::elsewhere::Top;"), 0);
    assert_eq!(inside("room/mod.rs", "use crate::room::high;"), 0);
    assert_eq!(inside("room/attic.rs", ""), 1);
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
            "engine/docker.rs:11: `engine` (floor 4) takes from `cli` (floor 9)",
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
