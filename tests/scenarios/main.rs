//! Scenarios: the real program against a real engine, one platform of its own for each. What is
//! asserted is asked of the engine itself, not of the program under test.
//!
//! Without an engine, or without a static busybox to make the test image from, each scenario says
//! what it lacks and ends. See docs/testing.md.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/api.rs"]
mod api;
mod harness;
#[path = "../common/shapes.rs"]
mod shapes;

mod bad_days;
mod cache;
mod catalog;
mod ci;
mod company;
mod conversation;
mod crash;
mod databases;
mod everyday;
mod examples;
mod files;
mod full;
mod images;
mod ingress;
mod kubernetes;
mod options;
mod order;
mod page;
mod pages;
mod processes;
mod pull;
mod reach;
mod restarted;
mod run;
mod swarm;
mod tasks;
mod trace;
mod watch;
