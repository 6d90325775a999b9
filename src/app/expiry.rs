//! The ends of leases. The background process that answers for the names looks after them, and takes a platform down
//! at the end as the user would: `macula down`, data stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Events;
use crate::host::{Command, Host, RunError};
use crate::model::PlatformName;

use super::resolver::ResolverFiles;
use super::{Error, State};

/// How often the end is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// A `down` that failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks after the leases of all platforms that the resolver knows, for ever.
pub(super) async fn follow(host: Arc<dyn Host>, files: ResolverFiles, events: Events) {
    let mut begun: BTreeMap<PlatformName, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let known = files.entries(&*host).await;
        begun.retain(|platform, at| at.elapsed() < AGAIN && known.iter().any(|(name, _)| name == platform));
        for (platform, _) in known {
            match end(&*host, &platform).await {
                Ok(Some(reason)) if !begun.contains_key(&platform) => {
                    begun.insert(platform.clone(), Instant::now());
                    match take_down(&*host, &platform).await {
                        Ok(_) => events.info(format!("the lease of {platform} ends ({reason}): it is taken down")),
                        Err(error) => {
                            events.warn(format!("{platform} is not taken down at the end of its lease: {error}"))
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => events.warn(format!("the lease of {platform} cannot be read: {error}")),
            }
        }
    }
}

async fn end(host: &dyn Host, platform: &PlatformName) -> Result<Option<String>, Error> {
    match State::new(&host.folders().data, platform).lease(host).await? {
        Some(lease) => Ok(lease.over(host).await),
        None => Ok(None),
    }
}

/// By a process of its own: the last platform's `down` ends the one that looks after it.
async fn take_down(host: &dyn Host, platform: &PlatformName) -> Result<u32, RunError> {
    let log = State::new(&host.folders().data, platform).folder().join("lease.log");
    let command = Command::new("/proc/self/exe", ["--name", platform.as_str(), "--progress", "plain", "down"]);
    host.spawn_detached(&command, &log).await
}
