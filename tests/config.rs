//! Configuration as users have it: a corpus of Compose files held against what docker compose
//! itself makes of them, and a folder of broken files, each with its messages.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use macula::config::{DiskFiles, Loaded, Request, canonical, load};
use macula::model::PlatformName;

fn samples(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn words(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn request(folder: &Path) -> Request {
    let mut env: BTreeMap<String, String> = [("HOME".to_owned(), "/home/user".to_owned())].into();
    env.extend(
        words(&folder.join("environment"))
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    Request {
        cwd: folder.to_owned(),
        env,
        stacks: vec![folder.to_owned()],
        profiles: words(&folder.join("profiles")),
        // the samples' names are free, and their messages stay as they are when a service joins ours
        only_own: true,
        name: Some(PlatformName::default()),
        ..Request::default()
    }
}

fn own_project(loaded: &Loaded) -> String {
    canonical(loaded.projects.last().unwrap())
}

/// `stack config` prints what `docker compose config` prints, byte for byte.
#[test]
fn the_canonical_form_is_that_of_docker_compose() {
    let mut wrong = Vec::new();
    let all = samples("valid");
    assert!(all.len() >= 25);
    for folder in &all {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(folder.join("expected.yaml")).unwrap();
        let ours = match load(&request(folder), &DiskFiles) {
            Ok(loaded) => own_project(&loaded),
            Err(errors) => format!("{errors}\n"),
        };
        let parent = folder.parent().unwrap().to_string_lossy().into_owned();
        let ours = ours.replace(&parent, "{folder}");
        if ours != expected {
            wrong.push(format!("== {name}\n{}", difference(&expected, &ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lines that differ, `-` theirs, `+` ours.
fn difference(theirs: &str, ours: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    let first = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let last = a[first..].iter().rev().zip(b[first..].iter().rev()).take_while(|(x, y)| x == y).count();
    let mut out: Vec<String> = a[first.saturating_sub(2)..first].iter().map(|line| format!("  {line}")).collect();
    out.extend(a[first..a.len() - last].iter().map(|line| format!("- {line}")));
    out.extend(b[first..b.len() - last].iter().map(|line| format!("+ {line}")));
    out.join("\n")
}

/// Every broken file says all that is wrong with it, with places and with what would be right.
#[test]
fn broken_files_say_what_is_wrong() {
    let all: Vec<PathBuf> = samples("invalid").into_iter().filter(|path| path.is_file()).collect();
    assert!(all.len() >= 40);
    for path in &all {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        let mut request = Request {
            cwd: folder.to_owned(),
            env: [("HOME".to_owned(), "/home/user".to_owned())].into(),
            // a worktree of this repository has a name of its own
            name: Some(PlatformName::default()),
            ..Request::default()
        };
        if name.starts_with("macula-") {
            request.file = Some(path.clone());
        } else {
            request.stacks = vec![path.clone()];
        }
        let errors = load(&request, &DiskFiles).expect_err(&name);
        let text = errors.to_string().replace(&folder.to_string_lossy().into_owned(), "{folder}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "config/snapshots"}, {
            insta::assert_snapshot!(name, text);
        });
    }
}

#[test]
fn ten_errors_are_told_at_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    let request = Request { cwd: folder.clone(), stacks: vec![folder.join("ten-errors.yaml")], ..Request::default() };
    let errors = load(&request, &DiskFiles).unwrap_err();
    assert!(errors.0.len() >= 10, "{errors}");
    assert!(errors.0.iter().all(|error| error.line > 0 && error.column > 0 && error.help.is_some()), "{errors}");
}
