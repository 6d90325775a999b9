//! Whether a mutant is on. This file is put into each crate under test; the tool itself does not use it.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// 0: not looked up yet.
static ACTIVE: AtomicU32 = AtomicU32::new(0);
static REACH: OnceLock<Option<String>> = OnceLock::new();
/// A bit for each mutant that somebody came by.
static SEEN: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

#[inline(never)]
pub fn on(id: u32) -> bool {
    let mut active = ACTIVE.load(Relaxed);
    if active == 0 {
        active = std::env::var("ZZ_MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(u32::MAX);
        ACTIVE.store(active, Relaxed);
    }
    let bit = 1 << (id % 64);
    let word = &SEEN[(id / 64) as usize];
    if word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0 {
        note(id);
    }
    active == id
}

/// A line for each mutant, at once: a test may end its process, or start others.
#[cold]
fn note(id: u32) {
    let path = REACH.get_or_init(|| std::env::var("ZZ_REACH").ok());
    if let Some(path) = path
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(format!("{id}\n").as_bytes());
    }
}
