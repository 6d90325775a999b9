//! Which platforms are still there: the resolver forgets those that somebody else has taken down, from another home or
//! by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::model::{ObservedNetwork, PlatformName, label};

/// How long a platform has to be away.
const GONE: Duration = Duration::from_secs(60);

/// Which platforms their engines have had, and since when they have not. One that was never seen may belong to
/// another engine.
#[derive(Default)]
pub(super) struct Present {
    away: BTreeMap<PlatformName, Option<Instant>>,
    /// For as long as it has the platform's network, an engine is kept.
    engines: BTreeMap<PlatformName, Arc<dyn Engine>>,
}

impl Present {
    /// Whether a platform that was there has been away for long enough. `engine`: looks for the one that it is on.
    pub(super) async fn is_gone(
        &mut self,
        platform: &PlatformName,
        now: Instant,
        engine: impl Future<Output = Option<Arc<dyn Engine>>>,
    ) -> bool {
        match self.is_there(platform, engine).await {
            Some(there) => self.has_been_away(platform, there, now),
            None => false,
        }
    }

    /// Whether its engine has anything of the platform; none: that engine does not answer.
    async fn is_there(
        &mut self,
        platform: &PlatformName,
        engine: impl Future<Output = Option<Arc<dyn Engine>>>,
    ) -> Option<bool> {
        if let Some(kept) = self.engines.get(platform)
            && has_network(&**kept, platform).await == Some(true)
        {
            return Some(true);
        }
        self.engines.remove(platform);
        let engine = engine.await?;
        if has_network(&*engine, platform).await? {
            self.engines.insert(platform.clone(), engine);
            return Some(true);
        }
        let containers = engine.labelled(&format!("{}={platform}", label::PLATFORM)).await.ok()?;
        Some(!containers.is_empty())
    }

    fn has_been_away(&mut self, platform: &PlatformName, there: bool, now: Instant) -> bool {
        if there {
            self.away.insert(platform.clone(), None);
            return false;
        }
        let Some(since) = self.away.get_mut(platform) else { return false };
        now.duration_since(*since.get_or_insert(now)) >= GONE
    }
}

async fn has_network(engine: &dyn Engine, platform: &PlatformName) -> Option<bool> {
    let networks = engine.networks().await.ok()?;
    let owned =
        |network: &ObservedNetwork| network.labels.get(label::PLATFORM).is_some_and(|owner| platform.as_str() == owner);
    Some(networks.iter().any(owned))
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::engine::Networks;
    use crate::engine::fake::FakeEngine;

    #[test]
    fn a_platform_is_gone_when_it_was_there_and_stays_away() {
        let mut present = Present::default();
        let begin = Instant::now();
        let mut gone = |there, now| present.has_been_away(&PlatformName::default(), there, now);
        assert!(!gone(false, begin + 10 * GONE));
        assert!(!gone(true, begin));
        assert!(!gone(false, begin + GONE));
        assert!(!gone(true, begin + GONE));
        assert!(!gone(false, begin + 2 * GONE));
        assert!(gone(false, begin + 3 * GONE));
    }

    #[tokio::test]
    async fn only_the_engine_of_a_platform_says_that_it_is_gone() {
        let platform = PlatformName::default();
        let own = FakeEngine::new().with_network(ObservedNetwork {
            name: "macula".to_owned(),
            labels: [(label::PLATFORM.to_owned(), platform.to_string())].into(),
            ..ObservedNetwork::default()
        });
        let answers = || Some(Arc::new(own.clone()) as Arc<dyn Engine>);
        let mut present = Present::default();
        let begin = Instant::now();
        let mut gone =
            async |engine, minutes: u32| present.is_gone(&platform, begin + minutes * GONE, ready(engine)).await;
        assert!(!gone(answers(), 0).await);
        // the engine that was found is asked, whatever would be found now
        assert!(!gone(None, 1).await);
        own.remove_network("macula").await.unwrap();
        // it is away, and any other that answers is not asked
        for minutes in 2..6 {
            assert!(!gone(None, minutes).await);
        }
        assert!(!gone(answers(), 6).await);
        assert!(gone(answers(), 7).await);
    }
}
