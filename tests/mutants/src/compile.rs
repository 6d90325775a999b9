//! All mutants in one build. What the compiler refuses is left out, and built again without.

use crate::files::{self, Folder};
use crate::list::{self, Mutant};
use crate::places::{self, Reason};
use crate::write::{self, Region};
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

const SWITCH: &str = include_str!("switch.rs");
/// How many mutants `switch.rs` has bits for.
const MOST: usize = 512 * 64;
/// An error may hide others, of a crate above for one.
const ROUNDS: usize = 40;

pub type Untried = BTreeMap<u32, Reason>;

/// Builds, and says which mutants are not in the build.
pub fn all(folder: &Folder, mutants: &[Mutant], crate_tests: &[String]) -> Result<Untried> {
    if mutants.len() >= MOST {
        bail!("{} mutants are more than one build can hold ({MOST}): take fewer shards", mutants.len());
    }
    let crates = crates(folder)?;
    open_environments(folder)?;
    let mut untried = read(&folder.untried());
    for mutant in mutants.iter().filter(|mutant| !crates.contains_key(&mutant.package)) {
        untried.insert(mutant.id, Reason::NotTried("its crate has no library".into()));
    }
    for round in 1..=ROUNDS {
        let regions = inject(folder, mutants, &crates, &mut untried)?;
        let built = build(folder, crate_tests)?;
        if built.success {
            files::write(&folder.untried(), &to_json(&untried))?;
            files::write(&folder.programs(), &built.programs.into())?;
            return Ok(untried);
        }
        let refused = blame(&built.errors, &regions, &folder.tree());
        println!("build {round}: {} mutants are left out", refused.len());
        if refused.is_empty() {
            let errors: Vec<_> = built.errors.iter().filter_map(|error| error["rendered"].as_str()).collect();
            bail!("the copy does not build, and no mutant is to blame:\n{}\n{}", errors.join("\n"), built.said);
        }
        untried.extend(refused);
        files::write(&folder.untried(), &to_json(&untried))?;
    }
    bail!("after {ROUNDS} builds there are still mutants that do not compile")
}

/// The root file of each library of the workspace, by the name of its package.
fn crates(folder: &Folder) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(folder.tree());
    let metadata: Value = serde_json::from_str(&list::output(&mut command)?)?;
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let targets = package["targets"].as_array().context("no targets")?;
        let library =
            targets.iter().find(|target| target["kind"].as_array().is_some_and(|kind| kind.contains(&json!("lib"))));
        if let (Some(library), Some(name)) = (library, package["name"].as_str()) {
            crates.insert(name.to_owned(), PathBuf::from(library["src_path"].as_str().context("no path")?));
        }
    }
    Ok(crates)
}

/// Tests that start the program in an environment of its own let the switch through.
fn open_environments(folder: &Folder) -> Result<()> {
    const LET: &str = ".env_clear().envs(std::env::vars().filter(|(name, _)| name.starts_with(\"ZZ_\")))";
    let mut folders = vec![folder.tree().join("tests")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path)?;
                // the second half stands there since an earlier run
                let opened = text.replace(LET, ".env_clear()").replace(".env_clear()", LET);
                change(&path, &opened)?;
            }
        }
    }
    Ok(())
}

/// Writes the mutants into the copy; those that have no place are added to `untried`.
fn inject(
    folder: &Folder,
    mutants: &[Mutant],
    crates: &BTreeMap<String, PathBuf>,
    untried: &mut Untried,
) -> Result<BTreeMap<String, Vec<Region>>> {
    let mut of_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        let those = of_file.entry(&mutant.file).or_default();
        // a file whose last mutant is left out is written once more, without
        if !untried.contains_key(&mutant.id) {
            those.push(mutant);
        }
    }
    let tree = folder.tree();
    let roots: BTreeSet<&PathBuf> = crates.values().collect();
    let mut regions = BTreeMap::new();
    for (file, mutants) in of_file {
        let source = original(&tree, file)?;
        let found = places::find(&source, &mutants).with_context(|| format!("{file} was not understood"))?;
        untried.extend(found.left_out);
        let (mut text, written) = write::text(&source, found.nodes);
        syn::parse_file(&text).with_context(|| format!("{file} with its mutants is not valid Rust"))?;
        let path = tree.join(file);
        if roots.contains(&path) {
            text.push_str(&declaration());
        }
        change(&path, &text)?;
        regions.insert(file.to_owned(), written);
    }
    for root in roots {
        change(&root.with_file_name("zz_switch.rs"), SWITCH)?;
        let file = root.strip_prefix(&tree)?.to_str().context("a path that is not UTF-8")?;
        if !regions.contains_key(file) {
            change(root, &format!("{}{}", original(&tree, file)?, declaration()))?;
        }
    }
    Ok(regions)
}

fn declaration() -> String {
    "\n#[doc(hidden)]\n#[path = \"zz_switch.rs\"]\npub mod __mutant;\n".to_owned()
}

/// The file as it is committed.
fn original(tree: &Path, file: &str) -> Result<String> {
    list::output(Command::new("git").arg("-C").arg(tree).args(["show", &format!("HEAD:{file}")]))
}

/// Writes what is different, so that cargo builds no more than it must.
fn change(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}

struct Built {
    success: bool,
    /// The programs of tests, each with the folder that cargo starts it in.
    programs: Vec<Value>,
    errors: Vec<Value>,
    /// What cargo itself says.
    said: String,
}

fn build(folder: &Folder, crate_tests: &[String]) -> Result<Built> {
    let tree = folder.tree();
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-run", "--message-format", "json", "--lib"]).current_dir(&tree);
    command.args(crate_tests.iter().flat_map(|name| ["--test", name]));
    if tree.join("Cargo.lock").exists() {
        command.arg("--locked");
    }
    command.env("CARGO_TARGET_DIR", folder.build()).stdin(Stdio::null());
    let output = command.output().context("could not run cargo")?;
    let (mut programs, mut errors) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        let own = &message["message"];
        if message["reason"] == "compiler-artifact"
            && message["profile"]["test"] == true
            && message["executable"].is_string()
        {
            let manifest = Path::new(message["manifest_path"].as_str().context("no manifest")?);
            programs.push(json!({
                "name": message["target"]["name"],
                "path": message["executable"],
                "folder": manifest.parent(),
            }));
        } else if message["reason"] == "compiler-message"
            && own["level"].as_str().is_some_and(|level| level.starts_with("error"))
        {
            errors.push(own.clone());
        }
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Built { success: output.status.success(), programs, errors, said })
}

/// The mutants that these errors are about.
fn blame(errors: &[Value], regions: &BTreeMap<String, Vec<Region>>, tree: &Path) -> Untried {
    let mut untried = Untried::new();
    for error in errors {
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        let spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
        // what the compiler points at first, what it names as well, and at last all that is around
        let by = |primary: bool| -> Vec<&Region> {
            spans
                .iter()
                .filter(|span| span["is_primary"] == primary)
                .filter_map(|span| innermost(span, regions))
                .collect()
        };
        let mut blamed = by(true);
        if blamed.is_empty() {
            blamed = by(false);
        }
        let uncovered = blamed.is_empty() && error["code"]["code"] == "E0004";
        if uncovered {
            blamed = spans.iter().flat_map(|span| guards(span, regions, tree)).collect();
        }
        if blamed.is_empty() {
            blamed = spans.iter().flat_map(|span| overlapping(span, regions)).collect();
        }
        // a value that does not live long enough outside of the change does so because of the switch, and a file of a
        // program has none; two branches with different types are the mutant's doing
        let switch = message.contains("`__mutant`");
        let own = |region: &Region| !switch && (region.change || uncovered || error["code"]["code"] == "E0308");
        for region in blamed {
            let reason = if own(region) { Reason::DoesNotCompile } else { Reason::NotTried };
            untried.extend(region.ids.iter().map(|id| (*id, reason(message.clone()))));
        }
    }
    untried
}

/// The smallest region with all of a span, or with the call of the macro that it comes from.
fn innermost<'a>(span: &Value, regions: &'a BTreeMap<String, Vec<Region>>) -> Option<&'a Region> {
    let mut span = span;
    while span.is_object() {
        let (from, to) = bytes(span);
        let inside = of_file(span, regions).filter(|region| region.range.start <= from && to <= region.range.end);
        if let Some(region) = inside.min_by_key(|region| (region.range.len(), !region.change)) {
            return Some(region);
        }
        span = &span["expansion"]["span"];
    }
    None
}

fn overlapping<'a>(span: &Value, regions: &'a BTreeMap<String, Vec<Region>>) -> Vec<&'a Region> {
    let (from, to) = bytes(span);
    of_file(span, regions).filter(|region| region.range.start < to && from < region.range.end).collect()
}

/// What stands in the guards of a `match` whose value a span is: with them, its arms no longer cover everything.
fn guards<'a>(span: &Value, regions: &'a BTreeMap<String, Vec<Region>>, tree: &Path) -> Vec<&'a Region> {
    let name = span["file_name"].as_str().unwrap_or_default();
    let Some((file, regions)) = regions.iter().find(|(file, _)| Path::new(name).ends_with(file)) else {
        return Vec::new();
    };
    let text = fs::read_to_string(tree.join(file)).unwrap_or_default();
    let Ok(parsed) = syn::parse_file(&text) else { return Vec::new() };
    let mut look = Guards { value: bytes(span), guards: Vec::new() };
    look.visit_file(&parsed);
    let inside = |region: &&Region| {
        look.guards.iter().any(|guard| guard.start <= region.range.start && region.range.end <= guard.end)
    };
    regions.iter().filter(inside).collect()
}

/// Looks for the guards of the arms of one `match`.
struct Guards {
    value: (usize, usize),
    guards: Vec<Range<usize>>,
}

impl Visit<'_> for Guards {
    fn visit_expr_match(&mut self, item: &syn::ExprMatch) {
        let value = item.expr.span().byte_range();
        if (value.start, value.end) == self.value {
            let arms = item.arms.iter();
            // with the `if`, which is a part of what was written
            let guard = |arm: &syn::Arm| {
                let (_, guard) = arm.guard.as_ref()?;
                Some(arm.pat.span().byte_range().end..guard.span().byte_range().end + 1)
            };
            self.guards.extend(arms.filter_map(guard));
        }
        syn::visit::visit_expr_match(self, item);
    }
}

fn of_file<'a>(span: &Value, regions: &'a BTreeMap<String, Vec<Region>>) -> impl Iterator<Item = &'a Region> {
    let name = span["file_name"].as_str().unwrap_or_default();
    regions.iter().filter(move |(file, _)| Path::new(name).ends_with(file)).flat_map(|(_, regions)| regions)
}

fn bytes(span: &Value) -> (usize, usize) {
    let number = |key: &str| span[key].as_u64().unwrap_or_default() as usize;
    (number("byte_start"), number("byte_end"))
}

fn to_json(untried: &Untried) -> Value {
    let entry = |(id, reason): (&u32, &Reason)| {
        let (compiles, why) = match reason {
            Reason::DoesNotCompile(why) => (false, why),
            Reason::NotTried(why) => (true, why),
        };
        (id.to_string(), json!({"refused": !compiles, "why": why}))
    };
    Value::Object(untried.iter().map(entry).collect::<Map<_, _>>())
}

fn read(path: &Path) -> Untried {
    let value = files::read(path).unwrap_or_default();
    let entries = value.as_object().into_iter().flatten().filter_map(|(id, entry)| {
        let why = entry["why"].as_str()?.to_owned();
        let reason = if entry["refused"] == true { Reason::DoesNotCompile(why) } else { Reason::NotTried(why) };
        Some((id.parse().ok()?, reason))
    });
    entries.collect()
}

/// The mutants that are in the build.
pub fn tried(folder: &Folder, mutants: &[Mutant]) -> BTreeSet<u32> {
    let untried = read(&folder.untried());
    mutants.iter().map(|mutant| mutant.id).filter(|id| !untried.contains_key(id)).collect()
}

#[test]
fn a_match_that_lacks_something_is_a_matter_of_its_guards() {
    let text = "fn f(x: u8) -> u8 { match g(y) { 1 if a => 1, _ => match x { 2 if !b => 2, _ if q => 3 } } }";
    let tree = std::env::temp_dir().join(format!("mutants-guards-{}", std::process::id()));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("a.rs"), text).unwrap();
    let region = |part: &str| {
        let at = text.find(part).unwrap();
        Region { ids: vec![at as u32], range: at..at + part.len(), change: true }
    };
    let regions = BTreeMap::from([("a.rs".to_owned(), ["a =>", " if !b ", "q", "3"].map(region).into())]);
    let at = text.find("x {").unwrap();
    let span = json!({"file_name": "a.rs", "byte_start": at, "byte_end": at + 1});
    let found: Vec<_> = guards(&span, &regions, &tree).iter().map(|region| &text[region.range.clone()]).collect();
    fs::remove_dir_all(&tree).unwrap();
    assert_eq!(found, [" if !b ", "q"]);
}
