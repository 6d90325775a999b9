//! What engines have said of themselves, kept from one command to the next. Docker starts programs to say its
//! version and what it can do, which takes it as long as all the rest of a command that only reads.

use std::collections::BTreeMap;

use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::answers::{Bridge, Info, Version};

/// Seconds. The machine of an engine may have grown since, which nothing tells.
const LASTS: i64 = 24 * 3600;

/// By endpoint. It is lost without harm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KnownEngines(BTreeMap<String, Introduction>);

/// What one engine said of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Introduction {
    who: Identity,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    asked: i64,
    pub(super) version: Version,
    pub(super) info: Info,
}

/// An engine from its start to its end: it makes its own bridge when it starts. One that takes running containers
/// over from its predecessor keeps the bridge, and is told by its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// `Docker/20.10.24 (linux)`
    server: String,
    api: String,
    bridge: String,
    started: String,
}

impl Identity {
    /// Nothing where it cannot be told from another one.
    pub fn of(head: &HeaderMap, bridge: &Bridge) -> Option<Self> {
        let named = |name: &str| Some(head.get(name)?.to_str().ok()?.to_owned());
        let found = Self {
            server: named("server")?,
            api: named("api-version")?,
            bridge: bridge.id.clone(),
            started: bridge.created.clone(),
        };
        (!found.bridge.is_empty() && !found.started.is_empty()).then_some(found)
    }
}

impl Introduction {
    pub(super) fn new(who: Identity, version: &Version, info: &Info) -> Self {
        Self { who, asked: 0, version: version.clone(), info: info.clone() }
    }

    pub(super) fn is_of(&self, who: Option<&Identity>) -> bool {
        who == Some(&self.who)
    }
}

impl KnownEngines {
    /// From what was written. A file that is damaged knows nothing.
    #[must_use]
    pub fn read(content: &[u8]) -> Self {
        serde_json::from_slice(content).unwrap_or_default()
    }

    /// For the file.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(in crate::engine) fn get(&self, endpoint: &str, now: i64) -> Option<&Introduction> {
        self.0.get(endpoint).filter(|known| is_fresh(known, now))
    }

    pub(in crate::engine) fn keep(&mut self, endpoint: &str, learned: Introduction, now: i64) {
        self.0.insert(endpoint.to_owned(), Introduction { asked: now, ..learned });
        self.0.retain(|_, known| is_fresh(known, now));
    }
}

fn is_fresh(known: &Introduction, now: i64) -> bool {
    (0..LASTS).contains(&now.saturating_sub(known.asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(server: &str, bridge: &str) -> Option<Identity> {
        let mut head = HeaderMap::new();
        head.insert("server", server.parse().unwrap());
        head.insert("api-version", "1.41".parse().unwrap());
        Identity::of(&head, &Bridge { id: bridge.into(), created: "2026-11-28T10:00:00Z".into(), ..Bridge::default() })
    }

    #[test]
    fn an_engine_is_known_until_it_is_another_one_or_a_day_has_passed() {
        let version = Version { version: "20.10.24".into(), ..Version::default() };
        let mut known = KnownEngines::default();
        let seen = Introduction::new(who("Docker/20.10.24", "a").unwrap(), &version, &Info::default());
        known.keep("unix:///a", seen.clone(), 1000);
        let known = KnownEngines::read(&known.written());
        let found = known.get("unix:///a", 1000 + LASTS - 1).unwrap();
        assert_eq!(found.version.version, "20.10.24");
        assert!(found.is_of(who("Docker/20.10.24", "a").as_ref()));
        for other in [who("Docker/20.10.24", "b"), who("Docker/29.1.0", "a"), None] {
            assert!(!found.is_of(other.as_ref()), "{other:?}");
        }
        assert_eq!(known.get("unix:///b", 1000), None);
        // too old, and from a clock that was ahead
        assert_eq!((known.get("unix:///a", 1000 + LASTS), known.get("unix:///a", 999)), (None, None));
        let mut known = known;
        known.keep("unix:///b", seen, 1000 + LASTS);
        assert_eq!(known.0.keys().collect::<Vec<_>>(), ["unix:///b"]);
        assert_eq!(KnownEngines::read(b"{"), KnownEngines::default());
    }

    #[test]
    fn what_has_no_bridge_of_its_own_is_asked_each_time() {
        assert_eq!(who("Docker/20.10.24", ""), None);
        assert_eq!(Identity::of(&HeaderMap::new(), &Bridge { id: "a".into(), ..Bridge::default() }), None);
    }
}
