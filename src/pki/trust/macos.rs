//! macOS: the system's keychain, through `security` (1).

use std::path::Path;

use async_trait::async_trait;

use super::{Anchor, Kind, Place, State, Store, StoreError, command};
use crate::host::{Command, Host};

pub(super) struct MacOs;

const KEYCHAIN: &str = "/Library/Keychains/System.keychain";

/// How `delete-certificate` finds the anchor: the SHA-1 that stands beside our SHA-256 in the
/// listing, which every version takes.
fn hash<'a>(listing: &'a str, anchor: &Anchor) -> Option<&'a str> {
    let mut ours = false;
    for line in listing.lines() {
        if let Some(sha256) = line.strip_prefix("SHA-256 hash: ") {
            ours = sha256.trim().eq_ignore_ascii_case(&anchor.fingerprint);
        } else if let Some(sha1) = line.strip_prefix("SHA-1 hash: ").filter(|_| ours) {
            return Some(sha1.trim());
        }
    }
    None
}

async fn listing(host: &dyn Host, anchor: &Anchor) -> Result<String, StoreError> {
    // status 44: none of this name
    let find = Command::new("security", ["find-certificate", "-a", "-Z", "-c", &anchor.common_name, KEYCHAIN]);
    Ok(host.run(&find.may_fail().timeout(super::PROGRAM)).await?.stdout())
}

/// Whether the administrator's settings speak of the anchor.
async fn settings(host: &dyn Host, anchor: &Anchor) -> Result<bool, StoreError> {
    // status 1: no settings at all
    let dump = Command::new("security", ["dump-trust-settings", "-d"]).may_fail().timeout(super::PROGRAM);
    let said = host.run(&dump).await?.stdout();
    // `Cert 3: Macula root 1a2b3c4d`; the name holds a hash of the key
    Ok(said.lines().any(|line| line.split_once(": ").is_some_and(|(_, name)| name.trim() == anchor.common_name)))
}

#[async_trait]
impl Store for MacOs {
    async fn places(&self, host: &dyn Host) -> Vec<Place> {
        let there = host.facts().os == "macos" && host.which("security").is_some();
        let place = Place { kind: Kind::MacOs, path: KEYCHAIN.into(), label: "the system".into() };
        there.then_some(place).into_iter().collect()
    }

    async fn look(&self, host: &dyn Host, _: &Place, anchor: &Anchor) -> Result<State, StoreError> {
        if hash(&listing(host, anchor).await?, anchor).is_none() {
            return Ok(State::Missing);
        }
        Ok(if settings(host, anchor).await? {
            State::Trusted
        } else {
            State::Partly("it is in the keychain, but not trusted".into())
        })
    }

    async fn add(&self, host: &dyn Host, place: &Place, _: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        let file = certificate.to_string_lossy();
        // -d: for all users; -p: for TLS, not for mail or code
        let args = ["add-trusted-cert", "-d", "-r", "trustRoot", "-p", "ssl", "-p", "basic", "-k", KEYCHAIN, &*file];
        host.run(&command(host, &place.path, "security", args)).await?;
        Ok(())
    }

    async fn remove(
        &self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        certificate: &Path,
        _: bool,
    ) -> Result<(), StoreError> {
        if settings(host, anchor).await? {
            let file = certificate.to_string_lossy();
            host.run(&command(host, &place.path, "security", ["remove-trusted-cert", "-d", &*file])).await?;
        }
        let listing = listing(host, anchor).await?;
        if let Some(hash) = hash(&listing, anchor) {
            host.run(&command(host, &place.path, "security", ["delete-certificate", "-Z", hash, KEYCHAIN])).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_beside_ours_is_taken() {
        let anchor = Anchor {
            domain: "m.test".into(),
            common_name: "Macula root 1".into(),
            fingerprint: "aabb".into(),
            pem: String::new(),
        };
        let one = |sha256: &str, sha1: &str| format!("SHA-256 hash: {sha256}\nSHA-1 hash: {sha1}\nkeychain: x\n");
        let (other, ours) = (one("AACC", "11"), one("AABB", "22"));
        assert_eq!(hash(&format!("{other}{ours}"), &anchor), Some("22"));
        assert_eq!(hash(&format!("{ours}{other}"), &anchor), Some("22"));
        assert_eq!(hash(&other, &anchor), None);
        assert_eq!(hash("SHA-1 hash: 11\nSHA-256 hash: AABB\n", &anchor), None);
        // of ours without a hash nothing is taken from the next one
        assert_eq!(hash(&format!("SHA-256 hash: AABB\n{other}"), &anchor), None);
    }
}
