//! The resolver: authoritative for the platforms' zones, a caching forwarder for all other names.
//!
//! ```text
//! datagram ─> fast ──────────────> answer        one look-up, one copy, no allocation
//!               │ uncommon
//!               ├─> full ────────> answer        by the book, from the tree of names
//!               │ not ours
//!               └─> forward ─────> answer        cache, then the machine's own servers
//! ```
//!
//! - [`tree`] holds the names and the algorithm of RFC 1034 and RFC 4592; [`snapshot`] holds the
//!   ready bytes made from it, and is exchanged whole.
//! - [`full`] answers every question; [`fast`] gives the same bytes for the common ones.
//! - [`udp`] and [`tcp`] are the workers, [`socket`] the batched system calls.
//! - [`secure`] takes questions over TLS, [`doh`] over HTTPS.
//! - [`forward`] asks others; [`feed`] pulls what PowerDNS has into our zone.
//! - [`inheritance`] is what one resolver leaves to the next: its sockets.
//! - [`server`] starts it all and hands out the [`Handle`]; [`shared`] holds the running parts;
//!   [`terms`] is what they say to others, [`control`] how other processes talk to it, [`scrape`] how Prometheus does; [`trace`] tells the way that a question takes.

mod ask;
mod clock;
mod control;
mod cookie;
mod core;
mod doh;
mod fast;
mod feed;
mod forward;
mod full;
#[cfg(fuzzing)]
mod fuzz;
mod inheritance;
pub mod install;
mod listener;
mod metrics;
mod name;
mod over_tls;
mod rdata;
mod records;
mod scrape;
mod secure;
mod server;
mod shared;
mod snapshot;
mod socket;
mod tcp;
mod terms;
#[cfg(test)]
mod tests;
mod trace;
mod tree;
mod udp;
mod wire;
mod writer;

pub use ask::{addresses, ask, question};
pub use control::{Client, ControlError};
pub use core::{Asked, QueryLog};
pub use doh::PATH as DOH_PATH;
pub use feed::FeedStatus;
pub use forward::{Dropped, ForwardSettings, Route, Sources, UpstreamStatus, Upstreams, discover, follow};
#[cfg(fuzzing)]
pub use fuzz::packet as fuzz_packet;
pub use inheritance::{Inheritance, Inherited};
pub use metrics::Way;
pub use records::{ContentError, RecordSet, Records, RecordsError, content, owner, rtype};
pub use secure::{Identities, IdentityError};
pub use server::{Handle, Server};
pub use shared::Config;
pub use socket::open_files;
pub use tcp::TcpLimits;
pub use terms::{Encrypted, EncryptedListen, Listen, ServerError, Status, ZoneEntry, ZoneStatus};
pub use trace::{Hop, Trace, code_name, record_type, type_name};
pub use tree::{Layer, ZoneError};
pub use wire::{Name, NameError};
