//! Floors 0 to 4 of the house (see src/lib.rs), a crate of their own: they compile side by side with what stands above
//! them, and again only when they change. Upper floors take them as `crate::model` and so on: lib.rs re-exports them.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

#[cfg(test)]
#[path = "../tests/common/require.rs"]
mod require;

pub mod bundle;
pub mod compile;
pub mod config;
pub mod dns;
pub mod engine;
pub mod event;
pub mod host;
pub mod kubernetes;
pub mod model;
pub mod pki;
pub mod plan;
pub mod render;
pub mod s3;
pub mod telemetry;
pub mod words;
