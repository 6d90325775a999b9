//! The resolver is the one process of ours that runs all the time: it renews the platforms'
//! certificates before they end, and the ingress takes them up without dropping a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::compile::addons::AddOn;
use crate::compile::{Served, certificate_file};
use crate::engine::{Engine, Query};
use crate::event::Events;
use crate::host::{Host, Lock};
use crate::model::{ContainerState, PlatformName};
use crate::pki::{Authority, Leaf, Renewal, family};
use crate::system::{Reach, System};

use super::certificate::{authorities_in, leaf_file_in};
use super::cluster::content::fingerprint;
use super::cluster::follow::connect as connect_to_cluster;
use super::resolver::ResolverFiles;
use super::{Error, State};

/// A certificate is renewed a month before its end: once an hour is often.
const EVERY: Duration = Duration::from_secs(3600);
/// The machine has other things to do while it starts.
const FIRST: Duration = Duration::from_secs(20);
/// How long a cluster may take for a new certificate; the next look tries again.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(15);
/// HAProxy's master starts a new worker with the new files, and the old one finishes what it has
/// begun (<https://docs.haproxy.org/3.0/management.html#4>).
const RELOAD: &str = "USR2";
/// How it is called where somebody waits for the lock.
const COMMAND: &str = "macula dns (renewing a certificate)";

/// Looking for an engine, which is done only when there is something to hand over.
type Engines = BoxFuture<'static, Option<Arc<dyn Engine>>>;

/// Looks after all platforms that the resolver knows, for ever.
pub(super) async fn follow(host: Arc<dyn Host>, files: ResolverFiles, reach: Arc<dyn Reach>, events: Events) {
    tokio::time::sleep(FIRST).await;
    loop {
        for (platform, entry) in files.entries(&*host).await {
            let connect = || -> Engines { Box::pin(engine_of(Arc::clone(&host), platform.clone())) };
            match renew(&*host, &platform, &entry.zone.apex, &connect).await {
                Ok(None) => {}
                Ok(Some(until)) => {
                    events
                        .info(format!("the certificate of {platform} was renewed; the new one ends on {}", day(until)));
                }
                Err(error) => events.warn(format!("the certificate of {platform} could not be renewed: {error}")),
            }
            match renew_in_cluster(&*host, &*reach, &platform).await {
                Ok(false) => {}
                Ok(true) => events.info(format!("the cluster of {platform} has the new certificate")),
                Err(error) => {
                    events.warn(format!("the cluster of {platform} keeps its old certificate: {error}"));
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The one that the platform is on, and no other that answers.
pub(super) async fn engine_of(host: Arc<dyn Host>, platform: PlatformName) -> Option<Arc<dyn Engine>> {
    let state = State::new(&host.folders().data, &platform);
    let system = System::connect_with(Arc::clone(&host), state.engine_variables(&*host).await).await;
    let there = state.is_on(&*host, &system.discovery.used()?.endpoint).await.unwrap_or_default();
    system.engine.filter(|_| there)
}

fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

/// Renews a platform's certificate if it is about to end, or begins in the future since the clock was wrong; when the new
/// one ends. Everything else that may be wrong with it (new names, another authority) is `up`'s, who knows what is wanted.
async fn renew(
    host: &dyn Host,
    platform: &PlatformName,
    domain: &str,
    connect: &(dyn Fn() -> Engines + Sync),
) -> Result<Option<i64>, Error> {
    let data = host.folders().data;
    let state = State::new(&data, platform);
    let path = leaf_file_in(&state);
    let Some(kept) = read(host, &path).await else { return Ok(None) };
    let now = host.now();
    let domain = family(platform, domain);
    // one that is at its own end needs a new root, which somebody has to trust first
    let Some(authority) = Authority::load(host, &authorities_in(&data), domain, now).await? else { return Ok(None) };
    let names = kept.certificate.names.clone();
    let Some(Renewal::Expires { .. } | Renewal::NotYet { .. }) = kept.needs_renewal(&authority, &names, now) else {
        return Ok(None);
    };
    let Some(_lock) = lock(host, &state)? else { return Ok(None) };
    let leaf = authority.issue(&names, now)?;
    let engine = connect().await.ok_or_else(|| Error::said("its container engine does not answer"))?;
    // first there, then here: a run that is killed in between begins anew
    hand_over(&*engine, platform, &leaf, &authority).await?;
    host.write(&path, leaf.to_pem().as_bytes(), 0o600).await.map_err(|source| Error::Io { path, source })?;
    Ok(Some(leaf.certificate.not_after))
}

/// Has the ingress of the platform's cluster serve what the platform's own does, as the last `up` would have it; whether
/// anything was to be done.
pub(super) async fn renew_in_cluster(
    host: &dyn Host,
    reach: &dyn Reach,
    platform: &PlatformName,
) -> Result<bool, Error> {
    let state = State::new(&host.folders().data, platform);
    if stale(host, &state).await?.is_none() {
        return Ok(false);
    }
    let Some(_lock) = lock(host, &state)? else { return Ok(false) };
    // an `up` may have come before
    let Some((addon, changed)) = stale(host, &state).await? else { return Ok(false) };
    let Some(mut record) = state.cluster(host).await? else { return Ok(false) };
    // the platform's lock is held meanwhile: a cluster that hangs must not keep an `up` waiting
    let brought = async {
        let inside = connect_to_cluster(host, reach, &state, &record).await?;
        inside.apply(&changed).await.map_err(Error::other)
    };
    tokio::time::timeout(CLUSTER_PATIENCE, brought).await.map_err(Error::other)??;
    state.keep_cluster_ingress(host, &addon).await?;
    if let Some(known) = record.addons.get_mut(&addon.name) {
        *known = fingerprint(&addon);
    }
    state.keep_cluster(host, &record).await?;
    Ok(true)
}

/// The cluster's ingress with the certificate that is kept, and what of it is to be applied; `None`: it has that.
async fn stale(host: &dyn Host, state: &State) -> Result<Option<(AddOn, AddOn)>, Error> {
    let Some(mut addon) = state.cluster_ingress(host).await? else { return Ok(None) };
    let Some(leaf) = read(host, &leaf_file_in(state)).await else { return Ok(None) };
    let manifests = addon.serve(&Served { chain: leaf.chain_pem(), key: leaf.key_pem(), ..Served::default() });
    let changed = AddOn { manifests, ..addon.clone() };
    Ok((!changed.manifests.is_empty()).then_some((addon, changed)))
}

/// `None`: `up` is at work, which sees to it, or the next look does.
fn lock(host: &dyn Host, state: &State) -> Result<Option<Lock>, Error> {
    let path = state.lock_file();
    let lock = host.try_lock(&path, COMMAND).map_err(|source| Error::Io { path, source })?;
    Ok(lock.ok())
}

async fn read(host: &dyn Host, path: &Path) -> Option<Leaf> {
    Leaf::parse(&host.read(path).await.ok()?).ok()
}

/// Into every container of the platform that has one of ours.
async fn hand_over(
    engine: &dyn Engine,
    platform: &PlatformName,
    leaf: &Leaf,
    authority: &Authority,
) -> Result<(), Error> {
    let served =
        Served { chain: leaf.chain_pem(), key: leaf.key_pem(), root: authority.root().pem(), bundle: String::new() };
    let file = certificate_file(&served, true);
    let found = engine.find(&Query { platform: platform.to_string(), ..Query::default() }).await?;
    for container in found.containers {
        if engine.read_file(&container.name, &file.path).await.ok().flatten().is_none() {
            continue;
        }
        engine.write_files(&container.name, std::slice::from_ref(&file)).await?;
        if container.state == ContainerState::Running {
            engine.kill(&container.name, RELOAD).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Containers;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{ContainerSpec, label};

    const NOW: i64 = 1_790_000_000;
    const DAY: i64 = 24 * 60 * 60;

    /// A platform that has been up, with an ingress and another service.
    async fn platform() -> (FakeHost, FakeEngine, Leaf) {
        let host = FakeHost::new().at(NOW);
        let data = host.folders().data;
        let authority = Authority::load_or_create(&host, &authorities_in(&data), "macula.local", NOW).await.unwrap();
        let leaf = authority.issue(&["*.macula.local".to_owned()], NOW).unwrap();
        host.put(leaf_file_in(&State::new(&data, &PlatformName::default())), leaf.to_pem());
        let engine = FakeEngine::new().with_image("x:1");
        let served =
            Served { chain: leaf.chain_pem(), key: leaf.key_pem(), root: String::new(), bundle: String::new() };
        for (service, files) in [("ingress", vec![certificate_file(&served, true)]), ("web", Vec::new())] {
            let name = format!("macula-{service}-1");
            let labels = [(label::PLATFORM.to_owned(), "macula".to_owned())].into();
            let spec = ContainerSpec { name: name.clone(), service: service.into(), files, ..ContainerSpec::default() };
            engine.create_container(&spec, "x:1", &labels).await.unwrap();
            engine.start(&name).await.unwrap();
        }
        engine.clear_journal();
        (host, engine, leaf)
    }

    async fn run(host: &FakeHost, engine: Option<&FakeEngine>) -> Result<Option<i64>, Error> {
        let engine = engine.map(|engine| Arc::new(engine.clone()) as Arc<dyn Engine>);
        renew(host, &PlatformName::default(), "macula.local", &|| Box::pin(std::future::ready(engine.clone()))).await
    }

    #[tokio::test]
    async fn a_month_before_its_end_the_ingress_gets_a_new_one() {
        let (host, engine, old) = platform().await;
        assert_eq!(run(&host, Some(&engine)).await.unwrap(), None);
        let later = host.clone().at(NOW + 61 * DAY);
        let until = run(&later, Some(&engine)).await.unwrap();
        assert_eq!(until, Some(NOW + 151 * DAY));
        insta::assert_snapshot!(engine.journal().join("\n"), @"
        copying files into container macula-ingress-1: /etc/haproxy/tls/tls.pem
        sending USR2 to container macula-ingress-1
        ");
        let shown = engine.file("macula-ingress-1", "/etc/haproxy/tls/tls.pem").unwrap().content;
        assert!(!shown.starts_with(old.chain_pem().as_bytes()));
        let kept =
            read(&host, &leaf_file_in(&State::new(&host.folders().data, &PlatformName::default()))).await.unwrap();
        assert!(shown.starts_with(kept.chain_pem().as_bytes()));
        assert_eq!(kept.certificate.names, old.certificate.names);
        // and then all is well again
        assert_eq!(run(&later, Some(&engine)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn one_of_a_clock_that_was_ahead_is_replaced() {
        let (host, engine, _) = platform().await;
        assert!(run(&host.clone().at(NOW + 61 * DAY), Some(&engine)).await.unwrap().is_some());
        engine.clear_journal();
        let back = host.clone().at(NOW);
        assert_eq!(run(&back, Some(&engine)).await.unwrap(), Some(NOW + 90 * DAY));
        insta::assert_snapshot!(engine.journal().join("\n"), @"
        copying files into container macula-ingress-1: /etc/haproxy/tls/tls.pem
        sending USR2 to container macula-ingress-1
        ");
        assert_eq!(run(&back, Some(&engine)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn without_an_engine_it_is_tried_again() {
        let (host, engine, old) = platform().await;
        let later = host.clone().at(NOW + 61 * DAY);
        assert_eq!(run(&later, None).await.unwrap_err().to_string(), "its container engine does not answer");
        let kept =
            read(&host, &leaf_file_in(&State::new(&host.folders().data, &PlatformName::default()))).await.unwrap();
        assert_eq!(kept, old);
        assert!(run(&later, Some(&engine)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_up_that_runs_is_left_alone() {
        let (host, engine, _) = platform().await;
        let later = host.clone().at(NOW + 61 * DAY);
        let lock = State::new(&host.folders().data, &PlatformName::default()).lock_file();
        let held = later.try_lock(&lock, "macula up").unwrap().unwrap();
        assert_eq!(run(&later, Some(&engine)).await.unwrap(), None);
        assert!(engine.journal().is_empty());
        drop(held);
    }
}
