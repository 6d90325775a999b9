//! A test that this machine cannot run says so. `MACULA_TEST_REQUIRE=engine,dig` names what has to be
//! here: a test that is skipped for want of that fails, so that CI does not stay green when it loses
//! its engine. `all` stands for everything.

use std::io::Write;

/// Says that a test, or a part of one, is skipped for want of `need`.
///
/// # Panics
/// When `MACULA_TEST_REQUIRE` names `need`.
#[track_caller]
pub fn skipped(need: &str, why: &str) {
    let required = std::env::var("MACULA_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').map(str::trim).any(|name| name == need || name == "all"),
        "MACULA_TEST_REQUIRE names {need}, and the test is skipped: {why}"
    );
    // past the capture of the harness, which swallows what a passing test prints
    let _ = writeln!(std::io::stderr().lock(), "skipped: {why}");
}
