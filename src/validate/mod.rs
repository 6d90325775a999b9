//! Floor 6: the platform's names walked from outside, hop by hop, the way a program would.
//!
//! ```text
//! look-up ─> dns ─> connect ─> tls ─> http ─> service        and once more from inside the network
//! ```
//!
//! - [`targets()`] says where each name is to lead; pure.
//! - [`collect()`] goes there and writes down what it saw ([`Evidence`]), all names side by side.
//!   Each hop is tried by itself, at the address that it should have, so that one broken hop does
//!   not hide how the others are.
//! - [`judge()`] makes a [`Verdict`] of that: the hop that breaks, why, and what to type; pure.

mod arrive;
mod cause;
mod collect;
mod evidence;
mod files;
mod inside;
mod judge;
mod lookup;
mod page;
mod reach;
mod targets;
#[cfg(test)]
mod tests;
mod text;

pub use arrive::arrivals;
pub use cause::{Cause, State};
pub use collect::{Scene, SoFar, collect};
pub use evidence::*;
pub use judge::{Fault, Row, Verdict, judge};
pub use page::{PageAddress, ask_page};
pub use reach::{Arrival, Trust};
pub use targets::{Target, Web, foreign, targets};
pub use text::seen;
