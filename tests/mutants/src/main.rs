//! What the tests would let pass: a sample of the mutants that `cargo mutants` lists, all of them in one build.
//!
//! `cargo mutants` builds a crate for each mutant. Here each is written into the sources next to what it replaces, and a
//! variable of the environment (`ZZ_MUTANT`) turns it on at run time, so that a mutant costs a run of the tests that reach it.
//! `switch.rs` is what asks for the variable; with `ZZ_REACH` it also writes down which places a test comes by.
//!
//! In order: `list` copies the checkout and asks for the mutants, `places` finds them in the syntax, `write` puts them
//! into the text, `compile` builds and leaves out what does not compile, `sandbox` and `process` run tests so that a
//! mutant harms nothing, `run` decides which tests, `report` counts.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a tool for developers, not the program")]

mod chain;
mod compile;
mod files;
mod list;
mod places;
mod process;
mod report;
mod run;
mod sandbox;
mod write;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage, in the root of the checkout:
  cargo run --manifest-path tests/mutants/Cargo.toml -- --shards K[,K...]/N [--crate-tests NAME[,NAME...]] [--out FOLDER]

  --shards       which parts of all mutants: `3,17,59/90` is each one whose number leaves 3, 17 or 59 when divided by 90
  --crate-tests  files of tests/ that count next to the unit tests
  --out          where the copy, the build and the results are kept (default: target/mutants)

A run that was interrupted continues when it is started again with the same options at the same commit.";

/// What the command line asks for.
struct Options {
    shards: Vec<usize>,
    of: usize,
    crate_tests: Vec<String>,
    out: PathBuf,
    /// In the second half of a run, inside of the namespaces: where tests have their files.
    inside: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let root = std::env::current_dir()?;
    let Some(options) = options(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    std::fs::create_dir_all(&options.out).with_context(|| format!("could not make {}", options.out.display()))?;
    let mut folder = files::Folder::new(&options.out)?;
    if let Some(temporary) = options.inside {
        folder.temporary = temporary;
        return run::all(&folder);
    }
    list::checked()?;
    let commit = list::commit(&root)?;
    let what = json!({"commit": commit, "shards": options.shards, "of": options.of, "tests": options.crate_tests});
    match files::read(&folder.what()) {
        Some(earlier) if earlier != what => {
            bail!(
                "{} holds another run ({earlier}): name another folder with --out, or remove it",
                folder.path.display()
            )
        }
        Some(_) => println!("continuing the run in {}", folder.path.display()),
        None => {
            list::copy(&root, &commit, &folder)?;
            list::write(&folder, &options.shards, options.of)?;
            // last: with it the copy and the list are complete
            files::write(&folder.what(), &what)?;
        }
    }
    let mutants = list::read(&folder)?;
    println!("{} mutants", mutants.len());
    let untried = compile::all(&folder, &mutants, &options.crate_tests)?;
    let walls = sandbox::run(&root, &mut folder)?;
    report::write(&folder, &mutants, &untried, &what, walls)
}

/// None: the help is asked for.
fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options =
        Options { shards: vec![], of: 0, crate_tests: vec![], out: "target/mutants".into(), inside: None };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} takes a value\n{USAGE}"));
        match name.as_str() {
            "--shards" => (options.shards, options.of) = shards(&value()?)?,
            "--crate-tests" => options.crate_tests = value()?.split(',').map(str::to_owned).collect(),
            "--out" => options.out = value()?.into(),
            "--inside" => options.inside = Some(value()?.into()),
            "--help" | "-h" => return Ok(None),
            _ => bail!("`{name}` is not an option\n{USAGE}"),
        }
    }
    if options.shards.is_empty() && options.inside.is_none() {
        bail!("--shards is missing\n{USAGE}");
    }
    Ok(Some(options))
}

/// `3,17/90` as numbers.
fn shards(text: &str) -> Result<(Vec<usize>, usize)> {
    let parsed = text.split_once('/').and_then(|(some, of)| {
        let some = some.split(',').map(|one| one.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some((some, of.parse::<usize>().ok()?))
    });
    match parsed {
        Some((mut some, of)) if some.iter().all(|one| *one < of) => {
            some.sort_unstable();
            some.dedup();
            Ok((some, of))
        }
        _ => bail!(
            "`{text}` is not a valid list of shards: write `3,17,59/90`, each less than the number after the slash"
        ),
    }
}

#[test]
fn shards_are_numbers_below_their_count() {
    assert_eq!(shards("17,3,3/90").unwrap(), (vec![3, 17], 90));
    for wrong in ["", "3", "3/3", "/3", "a/3", "1,/3"] {
        assert!(shards(wrong).is_err(), "{wrong}");
    }
}
