//! The checks themselves, by what they look at.

pub(super) mod cluster;
pub(super) mod engine;
pub(super) mod leftovers;
pub(super) mod machine;
pub(super) mod names;
pub(super) mod network;
pub(super) mod ports;

/// Bytes in the words of people: `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        // tenths, rounded down: nobody is to be promised more than there is
        Some((name, unit)) => {
            let tenths = bytes / (unit / 10).max(1);
            if tenths < 100 && !tenths.is_multiple_of(10) {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            } else {
                format!("{} {name}", bytes / unit)
            }
        }
        None => format!("{bytes} bytes"),
    }
}

/// `a, b and 3 more`
fn some_of(things: &[String], shown: usize) -> String {
    let more = things.len().saturating_sub(shown);
    let first = things.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}
