//! The checks themselves, by what they look at.

pub(super) mod cluster;
pub(super) mod engine;
pub(super) mod forwarding;
pub(super) mod leftovers;
pub(super) mod machine;
pub(super) mod names;
pub(super) mod network;
pub(super) mod ports;
pub(super) mod state_files;

/// `a, b and 3 more`
fn some_of(things: &[String], shown: usize) -> String {
    let more = things.len().saturating_sub(shown);
    let first = things.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}
