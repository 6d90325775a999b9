//! One look at the world before planning, in two passes: what is there by name and label, and,
//! once it is known what is wanted, what the running containers hold and how they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use crate::compile::{Taken, image_specs, wanted_names};
use crate::engine::{Engine, EngineError, Networks, Query};
use crate::host::Host;
use crate::model::{
    BaseImage, ContainerSpec, ContainerState, Facts, Fingerprint, Health, ImageSpec, Listener, Observed,
    ObservedContainer, Platform, PortBinding, Resources, TaskRun, label, split_registry,
};
use crate::plan::{reload_note, start_note};
use crate::probe::{Answer, ask, is_asked};

/// How long a registry may take to accept a connection.
const REGISTRY_PATIENCE: Duration = Duration::from_millis(2500);

/// Files in containers that are looked at at once: each costs the engine more than the way to it.
const FILES_AT_ONCE: usize = 4;

/// What bears the platform's label or one of the names that it will use.
pub async fn by_name(engine: &dyn Engine, platform: &Platform) -> Result<Observed, EngineError> {
    Ok(by_name_and_label(engine, platform, &[]).await?.0)
}

/// The same, and all containers of anybody's that bear one of these labels (`key=value`).
pub async fn by_name_and_label(
    engine: &dyn Engine,
    platform: &Platform,
    labels: &[String],
) -> Result<(Observed, Vec<ObservedContainer>), EngineError> {
    let names = wanted_names(platform);
    let mut images: BTreeSet<String> = BTreeSet::new();
    for spec in image_specs(platform) {
        images.extend(spec.build.iter().flat_map(|build| build.alike.iter().chain([&build.tag]).cloned()));
        images.extend(spec.build.iter().filter_map(|build| build.base.as_ref()).flat_map(BaseImage::names));
        images.extend(spec.names());
        images.insert(spec.reference);
    }
    let query = Query {
        platform: platform.name.to_string(),
        containers: names.containers,
        networks: names.networks,
        volumes: names.volumes,
        images: images.into_iter().filter(|image| !image.is_empty()).collect(),
        everybody: false,
        labels: labels.to_vec(),
        timed: names.timed,
        at_a_glance: false,
    };
    let mut all = engine.find(&query).await?;
    let labelled = std::mem::take(&mut all.labelled);
    Ok((found(all), labelled))
}

/// What is ours by label alone: all that `down` needs.
pub async fn ours(engine: &dyn Engine, platform: &str) -> Result<Observed, EngineError> {
    Ok(found(engine.find(&Query { platform: platform.to_owned(), ..Query::default() }).await?))
}

/// What is ours, as far as the engine's lists say it: for whoever takes all of it away, and waits neither for
/// a container that is being started nor for what it would have to say.
pub async fn ours_at_a_glance(engine: &dyn Engine, platform: &str) -> Result<Observed, EngineError> {
    let query = Query { platform: platform.to_owned(), at_a_glance: true, ..Query::default() };
    Ok(found(engine.find(&query).await?))
}

fn found(found: crate::engine::Found) -> Observed {
    Observed {
        networks: found.networks,
        volumes: found.volumes,
        containers: found.containers,
        unfinished: found.unfinished,
        images: found.images,
        ..Observed::default()
    }
}

/// Which registries of the images that are not here accept a connection. Asked only when something
/// is missing, so that an `up` with nothing to do touches no network.
///
/// `own`: addresses that the platform itself publishes. What `observed` knows of registries is not asked again.
pub async fn registries(
    host: &dyn Host,
    specs: &[ImageSpec],
    own: &BTreeSet<String>,
    observed: &mut Observed,
    refresh: bool,
) {
    let known = std::mem::take(&mut observed.registries);
    let hosts: BTreeSet<&str> = specs
        .iter()
        .filter(|spec| {
            let built = spec.build.as_ref().is_some_and(|build| observed.images.contains_key(&build.tag));
            let present = spec.present(observed);
            // what a bundle brings is asked of nobody
            let bundled = present.as_ref().is_some_and(|(name, _)| observed.bundled.contains_key(name));
            !bundled && (refresh || spec.always_pull || !(built || present.is_some()))
        })
        .flat_map(|spec| spec.pull.iter().map(|reference| split_registry(reference).0))
        // the platform's own registry is there once it is up
        .filter(|registry| !own.contains(*registry))
        .collect();
    observed.registries = join_all(hosts.into_iter().map(|registry| {
        let known = known.get(registry).copied();
        async move {
            let reached = match known {
                Some(known) => known,
                None => reaches(host, registry).await,
            };
            (registry.to_owned(), reached)
        }
    }))
    .await
    .into_iter()
    .collect();
}

/// Which of the registries of these images accept a connection: asked early, beside the engine, where it is likely
/// that [`registries`] will have to know.
pub async fn likely_registries(host: &dyn Host, specs: impl Iterator<Item = &ImageSpec>) -> BTreeMap<String, bool> {
    let named = specs.flat_map(|spec| spec.pull.iter().map(|reference| split_registry(reference).0));
    let hosts: BTreeSet<&str> = named.collect();
    let answers =
        join_all(hosts.into_iter().map(|registry| async move { (registry.to_owned(), reaches(host, registry).await) }));
    answers.await.into_iter().collect()
}

/// A proxy resolves and connects for us: only the pull itself can tell whether a registry is reached.
pub fn is_proxied(host: &dyn Host) -> bool {
    // set to nothing it is switched off
    let set = |name: &&str| host.env(name).is_some_and(|value| !value.trim().is_empty());
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().any(set)
}

/// Whether a registry (or any other HTTPS server, by its name) accepts a connection.
pub async fn reaches(host: &dyn Host, registry: &str) -> bool {
    if is_proxied(host) {
        return true;
    }
    let endpoint = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let (name, port) = match endpoint.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(443)),
        None => (endpoint, 443),
    };
    let attempt = async {
        let addresses = host.resolve(name).await.unwrap_or_default();
        let open = addresses.into_iter().map(|address| {
            let address = SocketAddr::new(address, port);
            Box::pin(async move { host.connect(address, REGISTRY_PATIENCE).await.map_err(|_| ()) })
        });
        let open: Vec<_> = open.collect();
        !open.is_empty() && futures_util::future::select_ok(open).await.is_ok()
    };
    tokio::time::timeout(REGISTRY_PATIENCE, attempt).await.unwrap_or(false)
}

/// Subnets that a new network must leave alone: the host's routes and the engine's networks.
pub async fn taken_subnets(engine: &dyn Networks, host: &dyn Host) -> Result<Taken, EngineError> {
    let (networks, routes) = tokio::join!(engine.networks(), host.routes());
    let mut taken = Taken::default();
    for network in networks? {
        taken.networks.extend(network.subnets.iter().filter_map(|subnet| match subnet {
            ipnet::IpNet::V4(subnet) => Some(*subnet),
            ipnet::IpNet::V6(_) => None,
        }));
    }
    taken.routes = routes.unwrap_or_default().into_iter().map(|route| route.network).collect();
    Ok(taken)
}

/// What the running containers hold, how they are, and who holds our ports.
pub async fn of_running(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    resources: &Resources,
    observed: &mut Observed,
) -> Result<(), EngineError> {
    let (files, health, listeners, unreloaded, unhooked, tasks) = tokio::join!(
        files(engine, resources, observed),
        health(engine, host, facts, resources, observed),
        listeners(host, resources, observed),
        unreloaded(host, resources, observed),
        unhooked(host, resources, observed),
        tasks(host, resources),
    );
    observed.files = files?;
    observed.unreloaded = unreloaded;
    observed.unhooked = unhooked;
    observed.tasks = tasks;
    for (name, answer) in health? {
        if let Some(found) = observed.containers.iter_mut().find(|found| found.name == name) {
            found.health = answer;
        }
    }
    observed.listeners = listeners;
    if !observed.listeners.is_empty() {
        // a port that a container publishes is held by a proxy, whose name says nothing
        observed.neighbours = crate::engine::everybody(engine).await?;
    }
    Ok(())
}

/// Digests of the files that a reload takes up, as the containers hold them.
async fn files(
    engine: &dyn Engine,
    resources: &Resources,
    observed: &Observed,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, EngineError> {
    let wanted = resources
        .containers
        .iter()
        .filter(|spec| observed.container(&spec.name).is_some())
        .flat_map(|spec| spec.files.iter().filter(|file| file.reload).map(move |file| (spec.name.clone(), file)));
    let reads: Vec<_> = wanted
        .map(|(container, file)| async move {
            let content = engine.held_file(&container, file).await;
            (container, file.path.clone(), content)
        })
        .collect();
    let mut held: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut reads = stream::iter(reads).buffer_unordered(FILES_AT_ONCE);
    while let Some((container, path, content)) = reads.next().await {
        match content {
            Ok(Some(content)) => {
                held.entry(container).or_default().insert(path, Fingerprint::of_bytes(&content).0);
            }
            // another run replaces the container just now
            Ok(None) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// Containers that a run gave new files and was interrupted before it told them.
async fn unreloaded(host: &dyn Host, resources: &Resources, observed: &Observed) -> BTreeSet<String> {
    let data = host.folders().data;
    let mut found = BTreeSet::new();
    for spec in resources.containers.iter().filter(|spec| spec.reload.is_some()) {
        let platform = spec.labels.get(label::PLATFORM).map(String::as_str).unwrap_or_default();
        if observed.container(&spec.name).is_some() && host.exists(&reload_note(&data, platform, &spec.name)).await {
            found.insert(spec.name.clone());
        }
    }
    found
}

/// Containers whose `post_start` has not run well since their last start.
pub async fn unhooked(host: &dyn Host, resources: &Resources, observed: &Observed) -> BTreeSet<String> {
    let data = host.folders().data;
    let mut found = BTreeSet::new();
    for spec in resources.containers.iter().filter(|spec| spec.labels.contains_key(label::POST_START)) {
        let platform = spec.labels.get(label::PLATFORM).map(String::as_str).unwrap_or_default();
        if observed.container(&spec.name).is_some() && host.exists(&start_note(&data, platform, &spec.name)).await {
            found.insert(spec.name.clone());
        }
    }
    found
}

/// What was noted of the tasks that are wanted.
pub async fn tasks(host: &dyn Host, resources: &Resources) -> BTreeMap<String, TaskRun> {
    let data = host.folders().data;
    let mut found = BTreeMap::new();
    for spec in resources.containers.iter().filter(|spec| spec.task.is_some()) {
        let platform = spec.labels.get(label::PLATFORM).map(String::as_str).unwrap_or_default();
        let kept = host.read(&TaskRun::file(&data.join(platform), &spec.service)).await.unwrap_or_default();
        found.extend(TaskRun::parse(&kept).map(|run| (spec.service.clone(), run)));
    }
    for spec in &resources.tasks {
        let kept = host.read(&TaskRun::file(&data.join(&spec.platform), &spec.name)).await.unwrap_or_default();
        found.extend(TaskRun::parse(&kept).map(|run| (spec.name.clone(), run)));
    }
    found
}

/// Health of running containers, asked now. The engine's own word may be as old as its interval,
/// and says nothing of a service that is only probed from outside.
pub async fn health(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    resources: &Resources,
    observed: &Observed,
) -> Result<Vec<(String, Health)>, EngineError> {
    let running = resources.containers.iter().filter_map(|spec| {
        let found = observed.container(&spec.name)?;
        (found.state == ContainerState::Running && !spec.readiness.one_shot && is_asked(spec, found))
            .then_some((spec, found))
    });
    let answers = join_all(running.map(|(spec, found)| async move {
        let answer = ask(engine, host, facts, spec, &spec.readiness, found).await;
        (spec.name.clone(), found.health, answer)
    }));
    let mut health = Vec::new();
    for (name, known, answer) in answers.await {
        let state = match answer? {
            Answer::Healthy => Health::Healthy,
            // it has the time for its start that its check gives it
            Answer::Not(_) if known == Health::Starting => known,
            Answer::Not(_) => Health::Unhealthy,
            Answer::Unasked(_) => known,
        };
        health.push((name, state));
    }
    Ok(health)
}

/// Sockets in the way of what we publish that are not our own containers', with their owners.
async fn listeners(host: &dyn Host, resources: &Resources, observed: &Observed) -> Vec<Listener> {
    let ports: Vec<PortBinding> = resources.containers.iter().flat_map(ContainerSpec::listened_on).collect();
    let own = |listener: &Listener| {
        observed.containers.iter().flat_map(|found| &found.ports).any(|bound| {
            bound.host_port == Some(listener.port)
                && bound.protocol == listener.protocol
                && bound.host_ip == listener.address
        })
    };
    // the machine's tables have every connection of it: they are not read where each port is our own already
    let published = |port: &PortBinding| {
        observed
            .containers
            .iter()
            .any(|found| found.state == ContainerState::Running && found.ports.iter().any(|bound| bound == port))
    };
    if ports.iter().all(|port| port.host_port.is_none() || published(port)) {
        return Vec::new();
    }
    let all = host.listeners().await.unwrap_or_default();
    let in_the_way = |listener: &Listener| ports.iter().any(|port| listener.is_in_the_way_of(port));
    let foreign: Vec<Listener> = all.into_iter().filter(|one| in_the_way(one) && !own(one)).collect();
    if foreign.is_empty() {
        return foreign;
    }
    let mut foreign = host.owners(foreign).await;
    // it gives way to our own containers; whoever else has come to have the address does not
    let gives_way = |one: &Listener| one.may_be_macula() && observed.passed_on.contains(&one.place());
    let passed_on: BTreeSet<_> = foreign.iter().filter(|one| gives_way(one)).map(Listener::place).collect();
    // whatever else has the port, such as [::] for IPv6 alone, has let ours be there
    let free = |port: &PortBinding| {
        let at = port.host_port.map(|number| (SocketAddr::new(port.host_ip, number), port.protocol));
        at.is_some_and(|at| passed_on.contains(&at))
    };
    foreign.retain(|one| !gives_way(one) && ports.iter().any(|port| one.is_in_the_way_of(port) && !free(port)));
    foreign
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::FileSpec;

    #[tokio::test]
    async fn a_proxy_that_is_set_to_nothing_reaches_no_registry() {
        let with = |value| FakeHost::new().env_var("HTTPS_PROXY", value);
        assert!(reaches(&with("http://proxy:3128"), "docker.io").await);
        assert!(!reaches(&with(" "), "docker.io").await);
    }

    #[tokio::test]
    async fn a_check_that_fails_during_the_start_is_no_trouble_yet() {
        let untested = vec!["CMD".to_owned(), "check".to_owned()];
        let (name, state) = ("web".to_owned(), ContainerState::Running);
        let found = ObservedContainer { name, state, untested, ..ObservedContainer::default() };
        let engine = FakeEngine::new().with_container(found.clone()).exec_answers("web", "check", 1, "", "not yet");
        let facts = engine.facts().await.unwrap();
        let spec = ContainerSpec { name: "web".into(), ..ContainerSpec::default() };
        let resources = Resources { containers: vec![spec], ..Resources::default() };
        for (known, now) in [(Health::Starting, Health::Starting), (Health::None, Health::Unhealthy)] {
            let seen = ObservedContainer { health: known, ..found.clone() };
            let observed = Observed { containers: vec![seen], ..Observed::default() };
            let asked = health(&engine, &FakeHost::new(), &facts, &resources, &observed).await.unwrap();
            assert_eq!(asked, [("web".to_owned(), now)]);
        }
    }

    #[tokio::test]
    async fn a_container_that_another_run_has_just_replaced_holds_no_files() {
        let (path, content) = ("/etc/x".to_owned(), b"x".to_vec());
        let file = FileSpec { path, content, uid: 0, gid: 0, mode: 0o644, secret: false, reload: true };
        let spec = ContainerSpec { name: "macula-web".into(), files: vec![file], ..ContainerSpec::default() };
        let resources = Resources { containers: vec![spec], ..Resources::default() };
        let seen = ObservedContainer { name: "macula-web".into(), ..ObservedContainer::default() };
        let observed = Observed { containers: vec![seen], ..Observed::default() };
        assert!(files(&FakeEngine::new(), &resources, &observed).await.unwrap().is_empty());
    }
}
