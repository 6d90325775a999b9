//! Containers of the fake: created, started, stopped and removed in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::networks::add_volume;
use super::{FakeContainer, FakeEngine, Script, World, conflict, missing};
use crate::engine::creation::{self, Making, Wanted};
use crate::engine::docker::volumes_of_image;
use crate::engine::{Containers, EngineError, LogLine, Usage, operation};
use crate::model::{
    ContainerSpec, ContainerState, Fingerprint, Health, MountSpec, ObservedContainer, ObservedImage, ObservedVolume,
    Protocol, label,
};

struct FakeMaking<'a> {
    engine: &'a FakeEngine,
    spec: &'a ContainerSpec,
    reference: &'a str,
    image: &'a ObservedImage,
    labels: &'a BTreeMap<String, String>,
}

#[async_trait]
impl Making for FakeMaking<'_> {
    async fn create(&self, name: &str) -> Result<String, EngineError> {
        let spec = self.spec;
        let operation = operation::create_container(&spec.name);
        self.engine.gate().await;
        let mut world = self.engine.act(&operation)?;
        if world.containers.contains_key(name) {
            return Err(conflict(&operation, format!("the container name \"/{name}\" is already in use")));
        }
        let mut kept = self.labels.clone();
        for key in [label::FINGERPRINT, label::REPLICA, label::ONE_SHOT] {
            kept.remove(key);
        }
        let mut volumes = BTreeSet::new();
        let own = spec.labels.contains_key(label::ONE_OFF);
        let named = if own { Vec::new() } else { volumes_of_image(spec, &self.image.volumes) };
        for (name, _) in named {
            add_volume(&mut world, &operation, &name, &kept)?;
            volumes.insert(name);
        }
        let (mut writes, mut reads, mut binds, mut in_memory) = (Vec::new(), Vec::new(), BTreeMap::new(), Vec::new());
        for mount in &spec.mounts {
            match mount {
                MountSpec::Volume { source, read_only, .. } => {
                    // the engine makes a volume that is only named, without labels
                    let anonymous = ObservedVolume { name: source.clone(), ..ObservedVolume::default() };
                    let volume = world.volumes.entry(source.clone()).or_insert(anonymous);
                    // of these alone is it asked who has them
                    if volume.labels.contains_key(label::COPY_OF) {
                        if *read_only { &mut reads } else { &mut writes }.push(source.clone());
                    }
                    volumes.insert(source.clone());
                }
                MountSpec::Bind { source, target, create_host_path, .. } => {
                    let lacks =
                        |paths: &BTreeMap<PathBuf, i128>| source != Path::new("/") && !paths.contains_key(source);
                    if !create_host_path && world.paths.as_ref().is_some_and(lacks) {
                        let message = format!(
                            "invalid mount config for type \"bind\": bind source path does not exist: {}",
                            source.display()
                        );
                        return Err(EngineError::Other { operation, message });
                    }
                    binds.insert(target.clone(), source.clone());
                }
                MountSpec::Tmpfs { target, .. } => in_memory.push(PathBuf::from(target)),
                _ => {}
            }
        }
        let networks: Vec<_> = match spec.network_mode {
            Some(_) => Vec::new(),
            None => spec.networks.iter().map(|network| (network.network.clone(), network.ipv4)).collect(),
        };
        if let Some((network, _)) = networks.iter().find(|(network, _)| !world.networks.contains_key(network)) {
            return Err(missing(&operation)(format!("network {network}")));
        }
        world.made += 1;
        let hash = Fingerprint::of(&(&spec.name, world.made)).0;
        let id = format!("{hash}{hash}");
        let observed = ObservedContainer {
            id: id.clone(),
            name: name.to_owned(),
            image: self.reference.to_owned(),
            image_id: self.image.id.clone(),
            labels: self.labels.clone(),
            ports: spec.ports.clone(),
            writes,
            reads,
            ..ObservedContainer::default()
        };
        let checked = spec.healthcheck.as_ref().is_some_and(|check| check.test.first().is_none_or(|t| t != "NONE"));
        let container = FakeContainer {
            observed,
            service: spec.service.clone(),
            files: BTreeMap::new(),
            volumes,
            binds,
            in_memory,
            log: Vec::new(),
            has_healthcheck: checked,
            one_shot: spec.readiness.one_shot,
            networks: networks.into_iter().take(1).collect(),
        };
        world.containers.insert(name.to_owned(), container);
        Ok(id)
    }

    async fn furnish(&self, id: &str) -> Result<(), EngineError> {
        let more = if self.spec.network_mode.is_some() { &[] } else { self.spec.networks.get(1..).unwrap_or_default() };
        for network in more {
            let operation = operation::connect(&self.spec.name, &network.network);
            self.engine.gate().await;
            let mut world = self.engine.call(&operation)?;
            if !world.networks.contains_key(&network.network) {
                return Err(missing(&operation)(format!("network {}", network.network)));
            }
            let found = world.find_mut(id).map_err(missing(&operation))?;
            found.networks.push((network.network.clone(), network.ipv4));
        }
        if self.spec.files.is_empty() {
            return Ok(());
        }
        let operation = operation::write_files(&self.spec.name);
        self.engine.gate().await;
        let mut world = self.engine.call(&operation)?;
        let found = world.find_mut(id).map_err(missing(&operation))?;
        found.files.extend(self.spec.files.iter().map(|file| (file.path.clone(), file.clone())));
        Ok(())
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.engine.rename(id, name).await
    }
}

#[async_trait]
impl Containers for FakeEngine {
    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError> {
        let operation = operation::inspect(container);
        let world = self.call(&operation)?;
        world.find(container).map(|container| container.observed.clone()).map_err(missing(&operation))
    }

    async fn in_memory(&self, container: &str) -> Result<Vec<PathBuf>, EngineError> {
        let operation = operation::inspect(container);
        let world = self.call(&operation)?;
        world.find(container).map(|container| container.in_memory.clone()).map_err(missing(&operation))
    }

    async fn labelled(&self, label: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        let world = self.call(operation::CONTAINERS)?;
        let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
        let bears =
            |found: &&ObservedContainer| found.label(key).is_some_and(|own| value.is_none_or(|value| own == value));
        Ok(world
            .containers
            .values()
            .map(|container| &container.observed)
            .filter(bears)
            .filter(|found| !creation::is_unfinished(&found.name))
            .cloned()
            .collect())
    }

    async fn create_container(
        &self,
        spec: &ContainerSpec,
        image: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        let operation = operation::create_container(&spec.name);
        let found = self.call(&operation)?.image(image).cloned();
        let found = found.ok_or_else(|| missing(&operation)(format!("image {image}")))?;
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        if let Some(fingerprint) = &spec.fingerprint {
            all.insert(label::FINGERPRINT.to_owned(), fingerprint.0.clone());
        }
        let wanted = Wanted {
            name: &spec.name,
            image_id: &found.id,
            labels: &all,
            // as Docker 20.10, which joins one network at creation
            at_once: spec.files.is_empty() && spec.networks.len() < 2,
        };
        creation::make(self, &FakeMaking { engine: self, spec, reference: image, image: &found, labels: &all }, &wanted)
            .await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::start(container);
        let mut world = self.act(&operation)?;
        let found = world.find(container).map_err(missing(&operation))?.clone();
        if found.running() {
            return Ok(());
        }
        for port in &found.observed.ports {
            let Some(number) = port.host_port.filter(|_| port.protocol == Protocol::Tcp) else { continue };
            let by_other = world.containers.values().any(|other| {
                other.running() && other.observed.name != found.observed.name && other.observed.ports.contains(port)
            });
            let everywhere = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), number);
            let outside =
                world.taken_ports.contains(&(port.host_ip, number)) || world.taken_ports.contains(&everywhere);
            if by_other || outside {
                return Err(EngineError::PortTaken { operation, address: format!("{}:{number}", port.host_ip) });
            }
        }
        let mut addresses = BTreeMap::new();
        for (network, wanted) in &found.networks {
            if !world.networks.contains_key(network) {
                return Err(missing(&operation)(format!("network {network}")));
            }
            if let Some(holder) = wanted.and_then(|address| world.holder(network, address)) {
                return Err(conflict(&operation, format!("Address already in use by {holder}")));
            }
            if let Some(address) = wanted.or_else(|| world.free_address(network)) {
                addresses.insert(network.clone(), address);
            }
        }
        let script = World::scripted(&world.scripts, &found);
        let said = World::scripted(&world.logs, &found).unwrap_or_default();
        world.clock += 1;
        let now = world.clock;
        let name = found.observed.name.clone();
        let ended = match script {
            Some(Script::Ends(status)) => Some(status),
            _ if found.one_shot => Some(0),
            _ => None,
        };
        for (network, _) in &found.networks {
            world.attach(&name, network, ended.is_none());
        }
        let started = world.find_mut(&name).map_err(missing(&operation))?;
        started.observed.started_at = Some(now);
        started.observed.state = ContainerState::Running;
        started.observed.exit_code = None;
        started.observed.addresses = addresses;
        started.observed.health = match (started.has_healthcheck, &script) {
            (false, _) => Health::None,
            (true, Some(Script::NeverHealthy)) => Health::Unhealthy,
            (true, _) => Health::Healthy,
        };
        started.log.extend(said.into_iter().map(|line| LogLine { stderr: false, bytes: line.into_bytes() }));
        if let Some(status) = ended {
            started.end(status);
        }
        Ok(())
    }

    async fn stop(&self, container: &str, _grace: Option<Duration>) -> Result<(), EngineError> {
        let id = self.named(container);
        self.gate().await;
        self.finish(&operation::stop(container), &id, 0, true)
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let operation = operation::rename(name);
        self.gate().await;
        let mut world = self.call(&operation)?;
        if world.containers.contains_key(name) {
            return Err(conflict(&operation, format!("the container name \"/{name}\" is already in use")));
        }
        let before = world.find(id).map_err(missing(&operation))?.observed.name.clone();
        if let Some(mut container) = world.containers.remove(&before) {
            container.observed.name = name.to_owned();
            world.containers.insert(name.to_owned(), container);
        }
        Ok(())
    }

    async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::kill(container, signal);
        if matches!(signal, "SIGKILL" | "KILL" | "9") {
            return self.finish(&operation, container, 137, false);
        }
        let world = self.act(&operation)?;
        if !world.find(container).map_err(missing(&operation))?.running() {
            return Err(conflict(&operation, format!("container {container} is not running")));
        }
        Ok(())
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        let id = self.named(container);
        self.gate().await;
        let mut world = self.act(&operation::remove_container(container))?;
        let Ok(found) = world.find(&id).cloned() else { return Ok(()) };
        for (network, _) in &found.networks {
            world.attach(&found.observed.name, network, false);
        }
        world.containers.remove(&found.observed.name);
        Ok(())
    }

    async fn discard_container(&self, container: &str) -> Result<(), EngineError> {
        self.remove_container(container).await
    }

    async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        let operation = operation::wait(container);
        loop {
            let status = self.call(&operation)?.find(container).map_err(missing(&operation))?.observed.exit_code;
            if let Some(status) = status {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        let operation = operation::usage(container);
        let world = self.call(&operation)?;
        let running = world.find(container).map_err(missing(&operation))?.running();
        // each call is a second, and 15 ms of work
        let calls = u32::try_from(world.calls).unwrap_or(u32::MAX);
        let used = Usage {
            cpu: Duration::from_millis(15) * calls,
            at: Some(Duration::from_secs(calls.into())),
            memory: 32 << 20,
            memory_limit: 8 << 30,
            ..Usage::default()
        };
        Ok(if running { used } else { Usage::default() })
    }
}

impl FakeEngine {
    /// An engine knows which container a request means from its beginning, whatever bears the name
    /// by its end.
    fn named(&self, container: &str) -> String {
        self.lock().find(container).map_or_else(|_| container.to_owned(), |found| found.observed.id.clone())
    }

    fn finish(&self, operation: &str, container: &str, status: i64, lenient: bool) -> Result<(), EngineError> {
        let mut world = self.act(operation)?;
        let found = match world.find(container) {
            Ok(found) => found.clone(),
            Err(_) if lenient => return Ok(()),
            Err(what) => return Err(missing(operation)(what)),
        };
        if !found.running() {
            let message = format!("container {container} is not running");
            return if lenient { Ok(()) } else { Err(conflict(operation, message)) };
        }
        for (network, _) in &found.networks {
            world.attach(&found.observed.name, network, false);
        }
        world.find_mut(container).map_err(missing(operation))?.end(status);
        Ok(())
    }
}
