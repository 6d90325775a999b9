//! Floor 0, pure: what is wanted ([`Platform`], [`Stack`], [`Service`]), what is made of it
//! ([`Resource`]) and what is there ([`Observed`]). No I/O, no clock, no environment.

use std::path::Path;

mod any_error;
mod bucket;
mod build;
mod cluster;
mod copied;
mod deploy;
mod dns_label;
mod dockerfile;
mod extension;
mod facts;
mod inside;
pub mod label;
mod moves;
mod needs;
mod observed;
mod options;
mod platform;
mod platform_name;
mod port;
mod process;
pub mod proxy;
mod reach;
mod reference;
mod remedy;
mod resource;
mod secrets;
mod service;
mod swarm;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod zone;

pub use any_error::*;
pub use bucket::*;
pub use build::*;
pub use cluster::*;
pub use copied::*;
pub use deploy::*;
pub use dns_label::*;
pub use dockerfile::*;
pub use extension::*;
pub use facts::*;
pub use inside::*;
pub use moves::*;
pub use needs::*;
pub use observed::*;
pub use options::*;
pub use platform::*;
pub use platform_name::*;
pub use port::*;
pub use process::*;
pub use reach::*;
pub use reference::{is_on_loopback, *};
pub use remedy::*;
pub use resource::*;
pub use secrets::*;
pub use service::*;
pub use swarm::*;
pub use task::*;
pub use zone::*;

/// A path as it is shown. Serde's own form of one that is not UTF-8 is an error.
pub fn shown_path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
