//! Floor 4: an S3 server, the program's second role. `up` puts the program into an image and runs
//! it there where MinIO's image cannot be had; it keeps to MinIO's environment, ports and paths.
//!
//! A key is data: it is looked up in an index and never becomes a path, and whether a request may
//! touch its bucket is decided before anything else is done with it.

mod auth;
mod body;
mod checksum;
mod content;
mod cors;
mod error;
mod log;
mod metrics;
mod operations;
mod request;
mod sent;
mod server;
mod store;
mod time;
mod users;
mod xml;

pub use log::LogLines;
pub use server::{ServeError, Server, Settings};

#[cfg(test)]
mod tests;
