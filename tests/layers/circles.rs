//! No file takes, by whatever way, from one that takes from it. A file is a module; what a `mod.rs` takes from its own
//! children is its list of them and does not count, nor do re-exports: whoever takes a name takes it from where it is
//! made.

use std::collections::{BTreeMap, BTreeSet};

use super::{all_sources, code_only, facade, paths_behind};

/// `["app", "commands", "up"]`
type Module = Vec<String>;

/// How long a chain of re-exports may be.
const DEEP: usize = 8;

struct House {
    /// What each module re-exports by name, and from where.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
    /// The modules that it re-exports whole.
    globs: BTreeMap<Module, Vec<Module>>,
    /// What others may take of what it makes itself.
    made: BTreeMap<Module, BTreeSet<String>>,
    /// The code without re-exports.
    code: BTreeMap<Module, String>,
}

impl House {
    /// `files`: path below `src`, and what stands in it.
    fn new(files: &[(String, String)]) -> Self {
        let mut house =
            Self { names: BTreeMap::new(), globs: BTreeMap::new(), made: BTreeMap::new(), code: BTreeMap::new() };
        for (file, source) in files {
            let Some(module) = module_of(file) else { continue };
            let (mut names, mut globs) = (BTreeMap::new(), Vec::new());
            for (name, path) in facade(source) {
                match path.split_last() {
                    Some((last, whole)) if last == "*" => globs.push(absolute(&module, whole)),
                    _ => drop(names.insert(name, absolute(&module, &path))),
                }
            }
            let code = code_only(source);
            house.made.insert(module.clone(), made(&code));
            house.code.insert(module.clone(), without_reexports(&code));
            house.names.insert(module.clone(), names);
            house.globs.insert(module, globs);
        }
        house
    }

    /// The file in which the end of a path is made.
    fn home(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (1..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        if let (Some(name), true) = (rest.first(), depth < DEEP) {
            let further = |start: &[String]| self.home(&[start, &rest[1..]].concat(), depth + 1);
            if let Some(found) = self.names[module].get(name).and_then(|start| further(start)) {
                return Some(found);
            }
            for whole in &self.globs[module] {
                let made = self.made.get(whole).is_some_and(|made| made.contains(name));
                let passed_on = self.names.get(whole).and_then(|names| names.get(name));
                match passed_on {
                    _ if made => return Some(whole.clone()),
                    Some(start) => return further(start),
                    None => {}
                }
            }
        }
        Some(module.to_vec())
    }

    /// From which files each file takes.
    fn taken(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let mut all = BTreeMap::new();
        for (module, code) in &self.code {
            let from_root = paths_behind(code, "crate::").into_iter().map(|(_, path)| path);
            let from_parent = paths_behind(code, "super::").into_iter().map(|(_, path)| {
                let path: Vec<String> = std::iter::once("super".to_owned()).chain(path).collect();
                absolute(module, &path)
            });
            let homes = from_root.chain(from_parent).filter_map(|path| self.home(&path, 0));
            all.insert(module, homes.filter(|home| home != module).collect::<BTreeSet<_>>());
        }
        all
    }

    /// The files of each circle with what leads from one to the next of them.
    fn circles(&self) -> Vec<String> {
        let taken = self.taken();
        let below: BTreeMap<&Module, BTreeSet<&Module>> =
            taken.keys().map(|module| (*module, reached(module, &taken))).collect();
        let mut told: BTreeSet<&Module> = BTreeSet::new();
        let mut all = Vec::new();
        for (module, under) in below.iter().filter(|(module, under)| under.contains(*module)) {
            if told.contains(*module) {
                continue;
            }
            let members: BTreeSet<&Module> =
                under.iter().copied().filter(|other| below[*other].contains(*module)).collect();
            let arrows = members.iter().flat_map(|from| {
                let within = taken[*from].iter().filter(|to| members.contains(to));
                within.map(move |to| format!("{} -> {}", from.join("/"), to.join("/")))
            });
            all.push(arrows.collect::<Vec<_>>().join(", "));
            told.extend(members);
        }
        all
    }
}

/// Everything that a file takes from, directly or not.
fn reached<'a>(start: &Module, taken: &'a BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Module> = taken[start].iter().collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(taken.get(next).into_iter().flatten());
        }
    }
    seen
}

/// `None` for the roots of the crates, and for what is there for tests: it may make its world with any file's help.
fn module_of(file: &str) -> Option<Module> {
    let path = file.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let parts: Module = path.split('/').map(str::to_owned).collect();
    let for_tests = |part: &String| ["tests", "testing", "fake"].contains(&part.as_str()) || part.ends_with("_tests");
    let root = ["lib", "ground", "main"].contains(&path);
    (!root && !parts.iter().any(for_tests)).then_some(parts)
}

/// A path as a module writes it, from the root of the crate.
fn absolute(module: &[String], path: &[String]) -> Module {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => return rest[1..].to_vec(),
        Some("self") => rest = &rest[1..],
        _ => {}
    }
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    base
}

/// Names of public items.
fn made(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("pub") {
        let mut rest = &code[at + "pub".len()..];
        if let Some(inside) = rest.strip_prefix('(') {
            rest = inside.split_once(')').map_or("", |(_, after)| after);
        }
        let mut words = rest.split_whitespace();
        let is_kind =
            |word: &&str| ["struct", "enum", "fn", "trait", "type", "const", "static", "union", "mod"].contains(word);
        let kind = words.by_ref().take(4).find(is_kind);
        // `const fn` is a function
        let name = words.next().map(|word| if word == "fn" { words.next().unwrap_or_default() } else { word });
        if let (Some(_), Some(name)) = (kind, name) {
            names.insert(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names
}

/// The code with each `pub use ...;` blanked.
fn without_reexports(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].trim_end();
        let within = |at: usize| before[at..].find(')') == Some(before.len() - at - 1);
        let reexports = before.ends_with("pub") || before.rfind("pub(").is_some_and(within);
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        let end = if reexports { end } else { at + "use ".len() };
        out.push_str(&rest[..if reexports { at } else { end }]);
        rest = &rest[end..];
    }
    out + rest
}

#[test]
fn no_file_takes_from_one_that_takes_from_it() {
    let circles = House::new(&all_sources()).circles();
    assert!(circles.is_empty(), "\n{}\n", circles.join("\n"));
}

#[test]
fn circles_are_found() {
    let circles = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
        House::new(&files).circles()
    };
    // through a name that the map of a room passes on, and one that it passes on with all others
    let map = ("room/mod.rs", "mod a;\nmod b;\npub use a::One;\npub(crate) use b::*;\n");
    let (a, b) = ("use super::Two;\npub struct One;", "use crate::room::{One, nowhere};\npub enum Two {}");
    assert_eq!(circles(&[map, ("room/a.rs", a), ("room/b.rs", b)]), ["room/a -> room/b, room/b -> room/a"]);
    assert_eq!(circles(&[map, ("room/a.rs", a), ("room/b.rs", "pub enum Two {}")]), [""; 0]);
    // a way of three, by paths within the code
    let three = [
        ("x.rs", "fn f() { crate::y::g() }"),
        ("y/mod.rs", "mod low;\npub fn g() { low::h() }"),
        ("y/low.rs", "fn h() { super::super::x::f(); super::g() }"),
    ];
    assert_eq!(circles(&three), [""; 0]);
    let three = [three[0], ("y/mod.rs", "use crate::z::h;"), ("z.rs", "use crate::x::f;")];
    assert_eq!(circles(&three), ["x -> y, y -> z, z -> x"]);
    // what a module re-exports, and what is there for tests, closes no circle
    let passed = [("x.rs", "pub use crate::y::g;\npub fn f() {}"), ("y.rs", "use crate::x::f;\npub fn g() {}")];
    assert_eq!(circles(&passed), [""; 0]);
    assert_eq!(circles(&[("x/tests.rs", "use crate::y::g;"), ("y.rs", "use crate::x::tests::f;")]), [""; 0]);
}
