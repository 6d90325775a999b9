//! Floor 6: the dev loop. Files of this machine on one side, the work on services on the other.
//!
//! ```text
//! Files (the system tells) -> Tree (what has changed, by Filter) -> Batch (what to do)
//! ```

mod files;
mod filter;
mod look;
mod pack;
mod rules;
mod tree;

pub use files::{Files, Told, WatchError};
pub use filter::Filter;
pub use look::{gathered, look};
pub use pack::pack;
pub use rules::{Batch, inside};
pub use tree::{Seen, Tree};
