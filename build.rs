//! Puts the commit and its date into the version of a release. Other builds have none: they would
//! be made again after every commit.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "that is how build scripts talk to cargo")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=MACULA_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    // the profile's `strip` is not handed to a package that has settings of its own in it (cargo 1.90 to 1.93)
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
    // a linked worktree has them elsewhere, and what is not there counts as changed each time
    let heads = git(&["rev-parse", "--git-path", "HEAD", "--git-path", "logs/HEAD"]).unwrap_or_default();
    for head in heads.lines().filter(|head| Path::new(head).exists()) {
        println!("cargo:rerun-if-changed={head}");
    }
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // a source archive is no repository: whoever builds it may say what it was made from
    let commit = std::env::var("MACULA_COMMIT").ok().or_else(|| git(&["log", "-1", "--format=%h %cs"]));
    if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
        println!("cargo:rustc-env=MACULA_BUILD={version} ({commit})");
    }
}

/// What Git says; `None` where there is none, or no repository.
fn git(words: &[&str]) -> Option<String> {
    let git = Command::new("git").args(words).output().ok()?;
    git.status.success().then(|| String::from_utf8_lossy(&git.stdout).trim().to_owned())
}
