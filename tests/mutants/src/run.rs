//! Which tests are run: all without a mutant, each alone to see what it reaches, and for each mutant those that reach it.

use crate::compile;
use crate::files::{self, Folder, Lines};
use crate::list;
use crate::process::{End, Program, Ran};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a test alone may take, and a mutant on top of five times what its tests took.
const ALONE: Duration = Duration::from_secs(180);
const SPARE: f64 = 20.0;
/// How many tests are started at first for a mutant; each next time it is four times as many.
const FEW: usize = 12;

/// A test that passes alone, and what it comes by.
struct Test {
    program: usize,
    name: String,
    seconds: f64,
    reaches: usize,
}

pub fn all(folder: &Folder) -> Result<()> {
    let programs = files::read(&folder.programs()).context("there is no build to run")?;
    let programs = programs.as_array().context("no programs")?.iter().map(Program::read).collect::<Result<Vec<_>>>()?;
    base(folder, &programs)?;
    reach(folder, &programs)?;
    mutants(folder, &programs)
}

/// Without a mutant: a test that fails is said, and left out by `reach`.
fn base(folder: &Folder, programs: &[Program]) -> Result<()> {
    for program in programs {
        let ran = program.run(folder, &[], &[], Duration::from_secs(900), false)?;
        println!("{}: {} passed in {:.0} s", program.name, ran.passed.unwrap_or(0), ran.seconds);
        match ran.end {
            End::Passed => {}
            End::Failed(tests) => println!("fail without a mutant: {}", tests.join(", ")),
            other => println!("{other:?} without a mutant:\n{}", ran.tail),
        }
    }
    Ok(())
}

/// Each test by itself, in a process of its own.
fn reach(folder: &Folder, programs: &[Program]) -> Result<()> {
    let key = |program: &str, test: &str| format!("{program} {test}");
    let done: BTreeSet<String> = files::lines(&folder.reach())
        .iter()
        .map(|line| key(line["program"].as_str().unwrap_or_default(), line["test"].as_str().unwrap_or_default()))
        .collect();
    let mut left = Vec::new();
    for program in programs {
        let tests = program.tests(folder)?;
        left.extend(
            tests.into_iter().filter(|test| !done.contains(&key(&program.name, test))).map(|test| (program, test)),
        );
    }
    println!("{} tests, each alone", left.len());
    let lines = Lines::open(&folder.reach())?;
    side_by_side(&left, |number, (program, test)| {
        let path = folder.temporary.join(format!("reach-{number}"));
        let _ = std::fs::remove_file(&path);
        let file = path.to_str().context("a path that is not UTF-8")?;
        let ran = program.run(folder, &["--exact", test], &[("ZZ_REACH", file)], ALONE, false)?;
        let reached = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        let ids: BTreeSet<u32> = reached.lines().filter_map(|id| id.parse().ok()).collect();
        let passes = ran.end == End::Passed && ran.passed == Some(1);
        if ran.end != End::Passed {
            println!("fails alone, and is left out: {test}\n{}", ran.tail);
        }
        lines.add(&json!({
            "program": program.name, "test": test, "passes": passes, "seconds": ran.seconds, "ids": ids,
        }))
    })
}

/// The tests that pass, and for each mutant those that come by it.
fn reached(folder: &Folder, programs: &[Program]) -> (Vec<Test>, BTreeMap<u32, Vec<usize>>) {
    let (mut tests, mut by): (Vec<Test>, BTreeMap<u32, Vec<usize>>) = Default::default();
    for line in files::lines(&folder.reach()).iter().filter(|line| line["passes"] == true) {
        let name = line["program"].as_str().unwrap_or_default();
        let Some(program) = programs.iter().position(|program| program.name == name) else { continue };
        let ids: Vec<u64> = line["ids"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        for id in &ids {
            by.entry(*id as u32).or_default().push(tests.len());
        }
        tests.push(Test {
            program,
            name: line["test"].as_str().unwrap_or_default().to_owned(),
            seconds: line["seconds"].as_f64().unwrap_or_default(),
            reaches: ids.len(),
        });
    }
    (tests, by)
}

fn mutants(folder: &Folder, programs: &[Program]) -> Result<()> {
    let done: BTreeSet<u64> = files::lines(&folder.results()).iter().filter_map(|line| line["id"].as_u64()).collect();
    let (tests, by) = reached(folder, programs);
    let tried = compile::tried(folder, &list::read(folder)?);
    let mut left: Vec<_> = by.iter().filter(|(id, _)| tried.contains(id) && !done.contains(&u64::from(**id))).collect();
    left.sort_by_key(|(_, tests)| tests.len());
    println!("{} mutants that a test reaches", left.len());
    let lines = Lines::open(&folder.results())?;
    side_by_side(&left, |_, (id, those)| {
        let begin = Instant::now();
        let mut those: Vec<&Test> = those.iter().map(|test| &tests[*test]).collect();
        // those that come by little are about it, as a rule; the slow ones last
        let cost = |test: &Test| test.reaches as f64 * (0.02 + test.seconds);
        those.sort_by(|a, b| (a.seconds > 0.7).cmp(&(b.seconds > 0.7)).then(cost(a).total_cmp(&cost(b))));
        let count = those.len();
        let (caught, unsure) = one(folder, programs, **id, those)?;
        lines.add(&json!({
            "id": id, "caught": caught.is_some(), "by": caught, "tests": count, "unsure": unsure,
            "seconds": begin.elapsed().as_secs_f64(),
        }))
    })
}

/// What notices a mutant, and the tests that failed once and passed when they were alone.
fn one(folder: &Folder, programs: &[Program], id: u32, mut left: Vec<&Test>) -> Result<(Option<Value>, Vec<String>)> {
    let id = id.to_string();
    let on = [("ZZ_MUTANT", id.as_str())];
    let (mut size, mut unsure) = (FEW, Vec::new());
    while let Some(first) = left.first() {
        let program = &programs[first.program];
        let part: Vec<&Test> = left.iter().take(size).filter(|test| test.program == first.program).copied().collect();
        let limit = SPARE + 5.0 * part.iter().map(|test| test.seconds).sum::<f64>();
        let arguments: Vec<&str> =
            ["--exact", "--test-threads=1"].into_iter().chain(part.iter().map(|test| test.name.as_str())).collect();
        let ran = program.run(folder, &arguments, &on, Duration::from_secs_f64(limit), true)?;
        let Ran { end, passed, tail, .. } = ran;
        let some = if part.len() == 1 { part[0].name.clone() } else { format!("one of {}", part.len()) };
        match end {
            End::Passed if passed == Some(part.len()) => {
                left.retain(|test| !part.iter().any(|ran| std::ptr::eq(*ran, *test)));
                size *= 4;
            }
            End::Passed => return Ok((Some(json!({"how": "ended early", "test": some})), unsure)),
            End::TimedOut => return Ok((Some(json!({"how": "timed out", "test": some})), unsure)),
            End::Broke(status) => return Ok((Some(json!({"how": status, "test": some, "said": tail})), unsure)),
            End::Failed(failed) => {
                let test = &failed[0];
                let again = program.run(folder, &["--exact", test], &on, ALONE, true)?;
                if again.end != End::Passed {
                    return Ok((Some(json!({"how": "failed", "test": test})), unsure));
                }
                left.retain(|other| other.program != first.program || other.name != *test);
                unsure.push(test.clone());
            }
        }
    }
    Ok((None, unsure))
}

/// As many at a time as there are processors. The first error ends it.
fn side_by_side<T: Sync>(items: &[T], work: impl Fn(usize, &T) -> Result<()> + Sync) -> Result<()> {
    let (next, error) = (AtomicUsize::new(0), Mutex::new(None));
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while error.lock().unwrap().is_none() {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(item) = items.get(number) else { break };
                    if number > 0 && number % 200 == 0 {
                        println!("{number} of {}", items.len());
                    }
                    if let Err(wrong) = work(number, item) {
                        *error.lock().unwrap() = Some(wrong);
                    }
                }
            });
        }
    });
    error.into_inner().unwrap().map_or(Ok(()), Err)
}
