//! Who may change something: two keys that a browser keeps, and the tickets that they are given for.
//!
//! The cookie is sent to every port of the page's address, so that a program on another port could read it. The
//! second key lies in the browser's storage, which belongs to this port alone. Only both together open.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::host::Host;
use crate::words::hex;

/// Seconds in which a ticket has to be used.
const LIFETIME: i64 = 60;
/// Tickets that wait to be used.
const MOST: usize = 16;
/// The cookie's name.
pub const COOKIE: &str = "macula-page";
/// The header with the second key.
pub const HEADER: &str = "x-macula-key";

/// What a browser keeps. The same for all of this user's, and after a restart.
pub struct Keys {
    cookie: String,
    key: String,
}

impl Keys {
    /// From the file that holds their seed, which only this user can read; it is made where there is none.
    pub async fn load(host: &dyn Host, path: &Path) -> io::Result<Self> {
        let kept = host.read(path).await.unwrap_or_default();
        let seed = match String::from_utf8(kept) {
            Ok(text) if text.trim().len() == 64 => text.trim().to_owned(),
            _ => {
                let seed = random()?;
                host.write(path, format!("{seed}\n").as_bytes(), 0o600).await?;
                seed
            }
        };
        Ok(Self::of(&seed))
    }

    /// The two keys of a seed; neither tells the other.
    pub fn of(seed: &str) -> Self {
        let derived = |what: &str| hex(Sha256::digest(format!("{what}:{seed}")));
        Self { cookie: derived("cookie"), key: derived("key") }
    }

    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether a request has both. `cookies`: the whole header.
    pub fn open(&self, cookies: Option<&str>, key: Option<&str>) -> bool {
        let pairs = cookies.unwrap_or_default().split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut kept = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
        kept.any(|value| same(value, &self.cookie)) && key.is_some_and(|key| same(key, &self.key))
    }
}

/// In a time that does not tell where they differ.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// 32 bytes.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(bytes))
}

/// Given out by `macula open home`, each good for one browser.
#[derive(Default)]
pub struct Tickets(Vec<(String, i64)>);

impl Tickets {
    pub fn give(&mut self, now: i64) -> io::Result<String> {
        let ticket = random()?;
        self.forget(now);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((ticket.clone(), now));
        Ok(ticket)
    }

    /// Whether it is one of these; it is none afterwards.
    pub fn take(&mut self, ticket: &str, now: i64) -> bool {
        self.forget(now);
        match self.0.iter().position(|(known, _)| same(known, ticket)) {
            Some(at) => {
                self.0.remove(at);
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, now: i64) {
        self.0.retain(|(_, given)| (0..LIFETIME).contains(&(now - given)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[test]
    fn only_both_keys_open() {
        let keys = Keys::of("seed");
        let cookie = format!("other=1; {COOKIE}={}", keys.cookie());
        assert!(keys.open(Some(&cookie), Some(keys.key())));
        assert!(!keys.open(Some(&cookie), None));
        assert!(!keys.open(None, Some(keys.key())));
        assert!(!keys.open(Some(&cookie), Some(keys.cookie())));
        assert!(!keys.open(Some(&format!("{COOKIE}={}", keys.key())), Some(keys.key())));
        assert!(!Keys::of("another seed").open(Some(&cookie), Some(keys.key())));
    }

    #[test]
    fn a_ticket_is_good_once_and_for_a_minute() {
        let mut tickets = Tickets::default();
        let ticket = tickets.give(100).unwrap();
        assert!(!tickets.take("", 100) && !tickets.take("0", 100));
        assert!(tickets.take(&ticket, 100 + LIFETIME - 1));
        assert!(!tickets.take(&ticket, 101));
        let late = tickets.give(100).unwrap();
        assert!(!tickets.take(&late, 100 + LIFETIME));
        // a clock that was put back
        let early = tickets.give(100).unwrap();
        assert!(!tickets.take(&early, 99));
        let first = tickets.give(100).unwrap();
        for _ in 0..MOST {
            tickets.give(100).unwrap();
        }
        assert!(!tickets.take(&first, 100), "more wait than are kept");
    }

    #[tokio::test]
    async fn keys_stay_after_a_restart() {
        let host = FakeHost::new();
        let path = Path::new("/data/page.key");
        let (first, second) = (Keys::load(&host, path).await.unwrap(), Keys::load(&host, path).await.unwrap());
        assert_eq!((first.cookie(), first.key()), (second.cookie(), second.key()));
        assert_ne!(first.cookie(), first.key());
    }
}
