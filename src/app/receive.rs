//! The receivers of all platforms, kept by the background process as `up` has recorded them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::event::Events;
use crate::host::{Host, SELDOM, Word, holders};
use crate::model::{PlatformName, Protocol, chain};
use crate::telemetry::{Receivers, Snapshot, Store, StoreError};

use super::resolver::{Receiving, ResolverFiles};
use super::state::State;

/// How often it is looked whether something has changed where nobody tells.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is tried again to have an address that somebody else has.
const TAKEN: Duration = Duration::from_secs(2);

/// How often a store is tried again that cannot be opened.
const AGAIN: Duration = Duration::from_secs(5);

/// The folder of a platform's store.
pub fn telemetry_folder(data: &Path, platform: &PlatformName) -> PathBuf {
    State::new(data, platform).telemetry_folder()
}

/// What this process takes; shared with the page.
#[derive(Debug, Default)]
pub struct Telemetry {
    platforms: Mutex<BTreeMap<PlatformName, Taking>>,
}

#[derive(Debug, Clone)]
struct Taking {
    /// None: it cannot be opened.
    store: Option<Arc<Store>>,
    state: TelemetryState,
}

/// How the taking goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TelemetryState {
    pub addresses: Vec<SocketAddr>,
    /// What is not right with it.
    pub problems: Vec<String>,
    /// Bytes on the disk.
    pub size: u64,
}

impl Telemetry {
    fn platforms(&self) -> MutexGuard<'_, BTreeMap<PlatformName, Taking>> {
        self.platforms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept for a platform now; `None`: nothing is taken for it.
    pub fn of(&self, platform: &PlatformName) -> Option<(Snapshot, TelemetryState)> {
        let Taking { store, mut state } = self.platforms().get(platform)?.clone();
        let Some(store) = store else { return Some((Snapshot::default(), state)) };
        state.size = store.size();
        state.problems.extend(store.refusal().map(|error| chain(&error)));
        Some((store.snapshot(), state))
    }
}

/// What is kept for a platform, read from its files, whoever writes them.
pub async fn kept_telemetry(host: &dyn Host, platform: &PlatformName) -> Result<Snapshot, StoreError> {
    let folder = telemetry_folder(&host.folders().data, platform);
    let path = folder.clone();
    let read = tokio::task::spawn_blocking(move || Snapshot::read(&folder)).await;
    read.unwrap_or_else(|error| Err(StoreError::Io { path, source: std::io::Error::other(error) }))
}

/// Keeps the receivers, for as long as the process runs.
pub(super) async fn follow(
    host: Arc<dyn Host>,
    files: ResolverFiles,
    mut word: Word,
    shared: Arc<Telemetry>,
    events: Events,
) {
    let mut running: BTreeMap<PlatformName, Running> = BTreeMap::new();
    let mut tried: BTreeMap<PlatformName, Instant> = BTreeMap::new();
    let mut seen = None;
    loop {
        // to read the files costs little, to understand them more
        let files_now = files.recorded(&*host).await;
        if seen.as_ref() == Some(&files_now) && running.values().all(Running::is_well) {
            word.wait(LOOK, SELDOM).await;
            continue;
        }
        seen = Some(files_now);
        let wanted: BTreeMap<PlatformName, Receiving> = files.receiving(&*host).await.into_iter().collect();
        running
            .retain(|platform, one| wanted.get(platform).is_some_and(|wanted| wanted.limits() == one.wanted.limits()));
        // whoever still has a store that is to be opened again lets go of it
        shared.platforms().retain(|platform, _| running.contains_key(platform));
        for (platform, wanted) in wanted {
            let closed = running.get(&platform).is_none_or(|one| one.receivers.is_none());
            if closed && tried.get(&platform).is_none_or(|at| at.elapsed() >= AGAIN) {
                tried.insert(platform.clone(), Instant::now());
                let said = running.get(&platform).and_then(|one| one.closed.clone());
                let folder = telemetry_folder(&host.folders().data, &platform);
                running.insert(platform.clone(), Running::open(&platform, folder, wanted.clone(), said, &events).await);
            }
            if let Some(one) = running.get_mut(&platform) {
                one.listen(&*host, &platform, wanted, &events).await;
            }
        }
        let taking = running.iter().map(|(platform, one)| (platform.clone(), one.taking()));
        *shared.platforms() = taking.collect();
        word.wait(LOOK, TAKEN).await;
    }
}

/// The receivers of a platform.
struct Running {
    wanted: Receiving,
    receivers: Option<Receivers>,
    /// Why there is no store.
    closed: Option<String>,
    /// What was said of addresses that cannot be had.
    taken: BTreeMap<SocketAddr, String>,
}

impl Running {
    async fn open(
        platform: &PlatformName,
        folder: PathBuf,
        wanted: Receiving,
        said: Option<String>,
        events: &Events,
    ) -> Self {
        let limits = wanted.limits();
        let opened = tokio::task::spawn_blocking(move || Store::open(&folder, limits)).await;
        let (receivers, closed) = match opened {
            Ok(Ok((store, problem))) => {
                if let Some(problem) = problem {
                    events.warn(format!("the telemetry of {platform} was set aside: {problem}"));
                }
                (Some(Receivers::new(Arc::new(store))), None)
            }
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                (None, Some(format!("{error}{cause}")))
            }
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(why) = closed.as_ref().filter(|_| closed != said) {
            events.warn(format!("no telemetry is kept for {platform}: {why}"));
        }
        Self { wanted, receivers, closed, taken: BTreeMap::new() }
    }

    /// Addresses that somebody else has are said once, and tried again.
    async fn listen(&mut self, host: &dyn Host, platform: &PlatformName, wanted: Receiving, events: &Events) {
        self.wanted = wanted;
        let Some(receivers) = &mut self.receivers else { return };
        let failed = receivers.keep(&self.wanted.addresses).await;
        let now: BTreeSet<SocketAddr> = failed.iter().map(|(address, _)| *address).collect();
        self.taken.retain(|address, _| now.contains(address));
        for (address, error) in failed {
            if self.taken.contains_key(&address) {
                continue;
            }
            let holder = holders(host, Protocol::Tcp, &[address]).await.into_iter().next();
            let why = match holder {
                Some(holder) => format!("{address} is held by {holder}"),
                None => format!("{address}: {error}"),
            };
            events.warn(format!("telemetry of {platform} is not taken at one address: {why}"));
            self.taken.insert(address, why);
        }
    }

    /// Nothing is to be tried again.
    fn is_well(&self) -> bool {
        self.receivers.is_some() && self.taken.is_empty()
    }

    fn taking(&self) -> Taking {
        let addresses = self.receivers.iter().flat_map(Receivers::addresses).collect();
        let problems = self.closed.iter().chain(self.taken.values()).cloned().collect();
        Taking {
            store: self.receivers.as_ref().map(|receivers| Arc::clone(receivers.store())),
            state: TelemetryState { addresses, problems, size: 0 },
        }
    }
}
