//! The pages are carried out: every line that they show to be typed has its place in `common/typed.rs` and is run or
//! read, every file that they show is loaded, every message that they quote is in the source, every option and every
//! key names the test that sees its effect. What takes an engine is run by `tests/scenarios/pages.rs`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/leaves.rs"]
mod leaves;
#[path = "../common/pages.rs"]
mod pages;
#[path = "../common/require.rs"]
mod require;
#[path = "../common/sources.rs"]
mod sources;
#[path = "../common/typed.rs"]
mod typed;

mod alone;
mod commands;
mod effects;
mod files;
mod messages;
mod options;
