//! The ends of leases. The background process that answers for the names looks after them, and takes a platform down
//! at the end as the user would: `macula down`, data stays. That may have to wait for whoever works on the platform,
//! who may give it more time: so it looks once more before it takes anything away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Events;
use crate::host::{Command, Host, RunError, SELDOM, Word};
use crate::model::PlatformName;

use super::lease::Lease;
use super::resolver::ResolverFiles;
use super::{Error, State};

/// How often the end of a lease is looked for; where there is none, it is heard of that one is made.
const LOOK: Duration = Duration::from_secs(2);
/// A `down` that failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Seconds between two looks after which the machine has slept.
const ASLEEP: i64 = 60;

/// Looks after the leases of all platforms that the resolver knows, for ever.
pub(super) async fn follow(host: Arc<dyn Host>, files: ResolverFiles, mut word: Word, events: Events) {
    let mut begun: BTreeMap<PlatformName, Instant> = BTreeMap::new();
    let mut last = host.now();
    let mut leased = false;
    loop {
        if leased {
            tokio::time::sleep(LOOK).await;
        } else {
            word.wait(LOOK, SELDOM).await;
        }
        leased = false;
        // nobody could use anything while the machine slept
        let asleep = host.now().saturating_sub(last) > ASLEEP;
        last = host.now();
        let known = files.entries(&*host).await;
        begun.retain(|platform, at| at.elapsed() < AGAIN && known.iter().any(|(name, _)| name == platform));
        for (platform, entry) in known {
            let lease = match State::new(&host.folders().data, &platform).lease(&*host).await {
                Ok(Some(lease)) => lease,
                Ok(None) => continue,
                Err(error) => {
                    events.warn(format!("the lease of {platform} cannot be read: {error}"));
                    continue;
                }
            };
            leased = true;
            note_use(&*host, &platform, &lease, entry.feed, asleep).await;
            match end(&*host, &platform, &lease).await {
                Some(reason) if !begun.contains_key(&platform) => {
                    begun.insert(platform.clone(), Instant::now());
                    match take_down(&*host, &platform).await {
                        Ok(_) => events.info(format!("the lease of {platform} ends ({reason}): it is taken down")),
                        Err(error) => {
                            events.warn(format!("{platform} is not taken down at the end of its lease: {error}"))
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Connections to a platform that goes when nobody uses it are seen in the kernel's tables: also those that came and
/// went since the last look, which stay there for a minute (TIME_WAIT).
async fn note_use(host: &dyn Host, platform: &PlatformName, lease: &Lease, feed: Option<SocketAddr>, asleep: bool) {
    let state = State::new(&host.folders().data, platform);
    let Some(idle) = &lease.idle else { return };
    let now = host.now();
    let mut used = asleep || state.used(host).await.is_none();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if !used {
            let text = host.read(Path::new(table)).await.unwrap_or_default();
            used = idle.is_used(&String::from_utf8_lossy(&text), feed);
        }
    }
    if used {
        state.note_use(host, now).await;
    }
}

/// Why it is over; `None`: it is not.
async fn end(host: &dyn Host, platform: &PlatformName, lease: &Lease) -> Option<String> {
    let used = State::new(&host.folders().data, platform).used(host).await;
    lease.over(host, used.unwrap_or_else(|| host.now())).await
}

/// Whether the platform has a lease by now, and that is over.
pub(super) async fn is_over(host: &dyn Host, platform: &PlatformName) -> Result<bool, Error> {
    match State::new(&host.folders().data, platform).lease(host).await? {
        Some(lease) => Ok(end(host, platform, &lease).await.is_some()),
        None => Ok(false),
    }
}

/// By a process of its own: the last platform's `down` ends the one that looks after it. It finds the engine as the last
/// `up` did.
async fn take_down(host: &dyn Host, platform: &PlatformName) -> Result<u32, RunError> {
    let state = State::new(&host.folders().data, platform);
    let words = ["--name", platform.as_str(), "--progress", "plain", "down", "--if-expired"];
    let command = Command::new("/proc/self/exe", words).settings(state.engine_variables(host).await);
    host.spawn_detached(&command, &state.folder().join("lease.log")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::lease::Idle;
    use crate::engine::discover::{Attempt, Source};
    use crate::host::Output;
    use crate::host::fake::FakeHost;

    /// Half an hour without use; and one that was half an hour of sleep.
    #[tokio::test]
    async fn what_nobody_could_use_or_only_we_have_used_is_unused() {
        let name = PlatformName::new("shop").unwrap();
        let host = FakeHost::new();
        let state = State::new(&host.folders().data, &name);
        let idle = Idle { seconds: 1800, block: std::net::Ipv4Addr::new(127, 0, 0, 0), ports: Vec::new() };
        let lease = Lease { idle: Some(idle), ..Lease::default() };
        state.keep_lease(&host, Some(&lease)).await.unwrap();
        state.note_use(&host, host.now() - 2000).await;
        assert!(end(&host, &name, &lease).await.is_some());
        note_use(&host, &name, &lease, None, false).await;
        assert!(end(&host, &name, &lease).await.is_some());
        // the background process has asked the platform's PowerDNS
        host.put("/proc/net/tcp", "  sl  local_address rem_address   st\n   0: 0100007F:C350 0800007F:0035 06\n");
        let feed = SocketAddr::from(([127, 0, 0, 8], 53));
        note_use(&host, &name, &lease, Some(feed), false).await;
        assert!(end(&host, &name, &lease).await.is_some());
        note_use(&host, &name, &lease, None, true).await;
        assert_eq!(end(&host, &name, &lease).await, None);
    }

    #[tokio::test]
    async fn the_lease_that_is_written_down_counts() {
        let name = PlatformName::new("shop").unwrap();
        let host = FakeHost::new();
        let state = State::new(&host.folders().data, &name);
        let over = async |lease: Option<Lease>| {
            state.keep_lease(&host, lease.as_ref()).await.unwrap();
            is_over(&host, &name).await.unwrap()
        };
        assert!(over(Some(Lease { until: Some(host.now()), ..Lease::default() })).await);
        // extended, and cancelled
        assert!(!over(Some(Lease { until: Some(host.now() + 60), ..Lease::default() })).await);
        assert!(!over(None).await);
    }

    /// What it starts has to wait for its turn, and must not go by what was so before.
    #[tokio::test]
    async fn whoever_takes_it_down_is_to_look_again() {
        let host = FakeHost::new().on("/proc/self/exe*", |host, command| {
            host.put("/settings", format!("{:?}", command.settings));
            Ok(Output::default())
        });
        let name = PlatformName::new("shop").unwrap();
        let line = "/proc/self/exe --name shop --progress plain down --if-expired &";
        take_down(&host, &name).await.unwrap();
        assert_eq!((host.journal(), host.text("/settings").unwrap().as_str()), (vec![line.to_owned()], "{}"));

        let up = host.clone().env_var("DOCKER_HOST", "unix:///run/podman/podman.sock");
        let used = Attempt { endpoint: String::new(), source: Source::DockerHost, outcome: Ok(()) };
        State::new(&host.folders().data, &name).keep_engine(&up, &used).await.unwrap();
        take_down(&host, &name).await.unwrap();
        let settings = host.text("/settings").unwrap();
        assert!(settings.contains(r#""DOCKER_HOST": "unix:///run/podman/podman.sock""#), "{settings}");
    }
}
