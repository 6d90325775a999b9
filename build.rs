//! Puts the commit and its date into the version of a release. Other builds have none: they would
//! be made again after every commit.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "that is how build scripts talk to cargo")]

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=MACULA_COMMIT");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        println!("cargo:rerun-if-changed=build.rs");
        return;
    }
    // the profile's `strip` is not handed to a package that has settings of its own in it (cargo 1.90 to 1.93)
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // a source archive is no repository: whoever builds it may say what it was made from
    let commit = std::env::var("MACULA_COMMIT").ok().or_else(|| {
        let git = Command::new("git").args(["log", "-1", "--format=%h %cs"]).output().ok()?;
        git.status.success().then(|| String::from_utf8_lossy(&git.stdout).trim().to_owned())
    });
    if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
        println!("cargo:rustc-env=MACULA_BUILD={version} ({commit})");
    }
}
