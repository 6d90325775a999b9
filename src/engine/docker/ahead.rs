//! Lists that were read before they are asked for: while a command reads its files, the engine has time to make them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::container::PathStatResponse;
use bollard::models::{Network, VolumeListResponse};

use super::answers::Listed;
use crate::model::ObservedImage;

/// What is older is not of the moment in which it is asked for.
const FRESH: Duration = Duration::from_millis(1500);

/// Each is handed out once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub containers: Option<Vec<Listed>>,
    pub networks: Option<Vec<Network>>,
    pub volumes: Option<VolumeListResponse>,
    /// Of containers, by name.
    pub images: Option<BTreeMap<String, Option<ObservedImage>>>,
    /// What lies in containers, by the container's name and the path in it.
    pub stats: BTreeMap<(String, String), PathStatResponse>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Ahead(Arc<Mutex<Option<(Instant, Lists)>>>);

impl Ahead {
    pub fn keep(&self, lists: Lists) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), lists));
    }

    /// One of the lists, where it was read just now.
    pub fn take<T>(&self, list: impl FnOnce(&mut Lists) -> &mut Option<T>) -> Option<T> {
        self.fresh(|lists| list(lists).take())
    }

    /// What lies at a path of a container, where it was looked at just now.
    pub fn take_stat(&self, container: &str, path: &str) -> Option<PathStatResponse> {
        self.fresh(|lists| lists.stats.remove(&(container.to_owned(), path.to_owned())))
    }

    fn fresh<T>(&self, of: impl FnOnce(&mut Lists) -> Option<T>) -> Option<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, lists) = kept.as_mut().filter(|(read, _)| read.elapsed() < FRESH)?;
        of(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_once_and_for_a_moment() {
        let ahead = Ahead::default();
        assert!(ahead.take(|lists| &mut lists.networks).is_none());
        ahead.keep(Lists { networks: Some(Vec::new()), images: Some(BTreeMap::new()), ..Lists::default() });
        assert!(ahead.take(|lists| &mut lists.networks).is_some());
        assert!(ahead.take(|lists| &mut lists.networks).is_none());
        assert!(ahead.take(|lists| &mut lists.volumes).is_none());
        let told = r#"{"name":"x","size":3,"mode":420,"mtime":"2026-11-28T10:00:00Z","linkTarget":""}"#;
        let stat = || serde_json::from_str::<PathStatResponse>(told).unwrap();
        let stats = || BTreeMap::from([(("a".to_owned(), "/x".to_owned()), stat())]);
        ahead.keep(Lists { stats: stats(), ..Lists::default() });
        assert!(ahead.take_stat("b", "/x").is_none());
        assert_eq!(ahead.take_stat("a", "/x").map(|stat| stat.size), Some(3));
        assert!(ahead.take_stat("a", "/x").is_none());
        ahead.keep(Lists { images: Some(BTreeMap::new()), stats: stats(), ..Lists::default() });
        let long_ago = Instant::now().checked_sub(FRESH).unwrap();
        ahead.0.lock().unwrap().as_mut().unwrap().0 = long_ago;
        assert!(ahead.take(|lists| &mut lists.images).is_none());
        assert!(ahead.take_stat("a", "/x").is_none());
    }
}
