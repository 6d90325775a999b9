//! What the fake answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{FakeContainer, FakeEngine, FakePull, Script, World, image_of};
use crate::engine::docker::volumes_of_image;
use crate::engine::{
    AttachedExec, BuildRequest, Engine, EngineError, ExecOutput, Found, ImageError, LogLine, LogOptions, ProgressSink,
    Query, Usage, Wait,
};
use crate::event::Progress;
use crate::model::{
    ContainerSpec, ContainerState, Facts, FileSpec, Fingerprint, Health, LabelledImage, MountSpec, NetworkSpec,
    ObservedContainer, ObservedImage, ObservedNetwork, ObservedVolume, Protocol, VolumeSpec, label,
};

fn missing(operation: &str) -> impl Fn(String) -> EngineError {
    let operation = operation.to_owned();
    move |what| EngineError::NotFound { operation: operation.clone(), what }
}

fn conflict(operation: &str, message: impl Into<String>) -> EngineError {
    EngineError::Conflict { operation: operation.to_owned(), message: message.into() }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn facts(&self) -> Result<Facts, EngineError> {
        drop(self.call("asking for the facts")?);
        Ok(self.facts.clone())
    }

    async fn find(&self, query: &Query) -> Result<Found, EngineError> {
        let world = self.call("looking at the engine")?;
        let ours = |labels: &BTreeMap<String, String>| {
            labels.get(label::PLATFORM).is_some_and(|owner| *owner == query.platform)
        };
        let containers = world.containers.values().map(|container| &container.observed);
        Ok(Found {
            containers: containers
                .filter(|container| ours(&container.labels) || query.containers.contains(&container.name))
                .cloned()
                .collect(),
            networks: world
                .networks
                .values()
                .filter(|network| ours(&network.labels) || query.networks.contains(&network.name))
                .cloned()
                .collect(),
            volumes: world
                .volumes
                .values()
                .filter(|volume| ours(&volume.labels) || query.volumes.contains(&volume.name))
                .cloned()
                .collect(),
            images: query
                .images
                .iter()
                .filter_map(|reference| Some((reference.clone(), world.image(reference)?.clone())))
                .collect(),
        })
    }

    async fn labelled(&self, label: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        let world = self.call("looking for labels")?;
        let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
        let bears =
            |found: &&ObservedContainer| found.label(key).is_some_and(|own| value.is_none_or(|value| own == value));
        Ok(world.containers.values().map(|container| &container.observed).filter(bears).cloned().collect())
    }

    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError> {
        Ok(self.call("listing networks")?.networks.values().cloned().collect())
    }

    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError> {
        let operation = format!("inspecting container {container}");
        let world = self.call(&operation)?;
        world.find(container).map(|container| container.observed.clone()).map_err(missing(&operation))
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        let operation = format!("create network {}", spec.name);
        let mut world = self.act(&operation)?;
        if world.networks.contains_key(&spec.name) {
            return Err(conflict(&operation, format!("network {} already exists", spec.name)));
        }
        let mut subnets: Vec<ipnet::IpNet> = spec.ipam.iter().map(|pool| pool.subnet).collect();
        let overlaps = |one: &ipnet::IpNet, other: &ipnet::IpNet| one.contains(other) || other.contains(one);
        let taken = world.networks.values().flat_map(|network| &network.subnets);
        if taken.clone().any(|taken| subnets.iter().any(|subnet| overlaps(taken, subnet))) {
            return Err(conflict(&operation, "Pool overlaps with other one on this address space"));
        }
        if subnets.is_empty() {
            let free = (18..=31u8).filter_map(|second| {
                ipnet::Ipv4Net::new(Ipv4Addr::new(172, second, 0, 0), 16).ok().map(ipnet::IpNet::V4)
            });
            let taken: Vec<ipnet::IpNet> = taken.copied().collect();
            subnets.extend(free.into_iter().find(|subnet| !taken.iter().any(|taken| overlaps(taken, subnet))));
        }
        let mut labels = spec.labels.clone();
        labels.insert(label::FINGERPRINT.to_owned(), spec.fingerprint().0);
        world.made += 1;
        let id = Fingerprint::of(&(&spec.name, world.made)).0;
        let network = ObservedNetwork { id, name: spec.name.clone(), labels, subnets, containers: Vec::new() };
        world.networks.insert(spec.name.clone(), network);
        Ok(())
    }

    async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let operation = format!("remove network {name}");
        let mut world = self.act(&operation)?;
        if world.networks.get(name).is_some_and(|network| !network.containers.is_empty()) {
            return Err(conflict(&operation, format!("network {name} has active endpoints")));
        }
        world.networks.remove(name);
        Ok(())
    }

    async fn readdress(&self, container: &str, network: &str, address: Ipv4Addr) -> Result<(), EngineError> {
        let operation = format!("readdress container {container} to {address} in {network}");
        let mut world = self.act(&operation)?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        found.networks.retain(|(name, _)| name != network);
        found.networks.push((network.to_owned(), Some(address)));
        Ok(())
    }

    async fn create_volume(&self, spec: &VolumeSpec, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        let operation = format!("create volume {}", spec.name);
        let mut world = self.act(&operation)?;
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        add_volume(&mut world, &operation, &spec.name, &all)
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let operation = format!("remove volume {name}");
        let mut world = self.act(&operation)?;
        if world.containers.values().any(|container| container.volumes.contains(name)) {
            return Err(conflict(&operation, format!("volume {name} is in use")));
        }
        world.volumes.remove(name);
        Ok(())
    }

    async fn pull(
        &self,
        reference: &str,
        _platform: Option<&str>,
        progress: ProgressSink<'_>,
    ) -> Result<ObservedImage, EngineError> {
        let operation = format!("pull {reference}");
        let time = self.act(&operation)?.pull_time;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let mut world = self.call(&operation)?;
        let owned = reference.to_owned();
        let trouble = match (world.pull_failures.get(reference), world.pullable.get(reference)) {
            (None, Some(image)) => {
                let image = image.clone();
                let size = u64::try_from(image.size).unwrap_or_default();
                let phase = "Pull complete".to_owned();
                progress(Progress::Bytes { part: "layer".into(), current: size, total: size, phase });
                world.images.insert(owned, image.clone());
                return Ok(image);
            }
            (None | Some(FakePull::NotFound), _) => ImageError::NotFound { reference: owned },
            (Some(FakePull::Denied), _) => ImageError::Denied { reference: owned, message: "a login is needed".into() },
            (Some(FakePull::RateLimited(retry_after)), _) => {
                ImageError::RateLimited { reference: owned, retry_after: retry_after.map(Wait::In) }
            }
            (Some(FakePull::Unreachable), _) => {
                ImageError::Unreachable { reference: owned, message: "no such host".into() }
            }
            (Some(FakePull::DiskFull), _) => {
                return Err(EngineError::DiskFull {
                    operation,
                    message: "write layer: no space left on device".into(),
                });
            }
        };
        Err(EngineError::Image { operation, source: trouble })
    }

    async fn build(&self, request: &BuildRequest, progress: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        let operation = format!("build {}", request.tag);
        let mut world = self.act(&operation)?;
        for line in request.dockerfile.lines() {
            progress(Progress::Line { text: line.to_owned() });
        }
        let failed = |message: &str, log_tail: Vec<String>| EngineError::Image {
            operation: operation.clone(),
            source: ImageError::BuildFailed { reference: request.tag.clone(), message: message.into(), log_tail },
        };
        if let Some(log) = world.build_failures.get(&request.tag) {
            return Err(failed("The command '/bin/sh -c' returned a non-zero code: 1", log.clone()));
        }
        let froms = request.dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
        for from in froms.filter_map(|from| from.split_whitespace().next()) {
            // of our own bases it is known that no registry has them
            if from.starts_with("macula/") && world.image(from).is_none() {
                return Err(failed(&format!("pull access denied for {from}"), Vec::new()));
            }
        }
        let mut image = image_of(&request.tag, &request.labels);
        image.volumes = declared_volumes(&request.dockerfile);
        world.images.insert(request.tag.clone(), image.clone());
        Ok(image)
    }

    async fn import(
        &self,
        _tar: PathBuf,
        reference: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ObservedImage, EngineError> {
        let mut world = self.act(&format!("import {reference}"))?;
        let image = image_of(reference, labels);
        world.images.insert(reference.to_owned(), image.clone());
        Ok(image)
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<(), EngineError> {
        let operation = format!("tag {image} {reference}");
        let mut world = self.act(&operation)?;
        let found = world.image(image).cloned().ok_or_else(|| missing(&operation)(format!("image {image}")))?;
        world.images.insert(reference.to_owned(), found);
        Ok(())
    }

    async fn image(&self, reference: &str) -> Result<Option<ObservedImage>, EngineError> {
        Ok(self.call(&format!("inspecting image {reference}"))?.image(reference).cloned())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        // by an id all its names go
        self.act(&format!("remove image {reference}"))?
            .images
            .retain(|name, image| name != reference && image.id != reference);
        Ok(())
    }

    async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, EngineError> {
        let world = self.call(&format!("listing the images with the label {label}"))?;
        let mut all: BTreeMap<String, LabelledImage> = BTreeMap::new();
        for (name, image) in world.images.iter().filter(|(_, image)| image.labels.contains_key(label)) {
            let found = all.entry(image.id.clone()).or_insert_with(|| LabelledImage {
                id: image.id.clone(),
                names: Vec::new(),
                labels: image.labels.clone(),
                size: image.size,
                used: world.containers.values().any(|container| container.observed.image_id == image.id),
            });
            // an image without a name stands under its id here
            if *name != image.id {
                found.names.push(name.clone());
            }
        }
        Ok(all.into_values().collect())
    }

    async fn create_container(
        &self,
        spec: &ContainerSpec,
        image: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        let operation = format!("create container {}", spec.name);
        let mut world = self.act(&operation)?;
        let found = world.image(image).cloned().ok_or_else(|| missing(&operation)(format!("image {image}")))?;
        if world.containers.contains_key(&spec.name) {
            return Err(conflict(&operation, format!("the name {} is already in use", spec.name)));
        }
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        if let Some(fingerprint) = &spec.fingerprint {
            all.insert(label::FINGERPRINT.to_owned(), fingerprint.0.clone());
        }
        let mut kept = all.clone();
        for key in [label::FINGERPRINT, label::REPLICA, label::ONE_SHOT] {
            kept.remove(key);
        }
        let mut volumes = BTreeSet::new();
        for (name, _) in volumes_of_image(spec, &found.volumes) {
            add_volume(&mut world, &operation, &name, &kept)?;
            volumes.insert(name);
        }
        for mount in &spec.mounts {
            if let MountSpec::Volume { source, .. } = mount {
                // the engine makes a volume that is only named, without labels
                let anonymous = ObservedVolume { name: source.clone(), labels: BTreeMap::new() };
                world.volumes.entry(source.clone()).or_insert(anonymous);
                volumes.insert(source.clone());
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
            name: spec.name.clone(),
            image: image.to_owned(),
            image_id: found.id,
            labels: all,
            ports: spec.ports.clone(),
            ..ObservedContainer::default()
        };
        let checked = spec.healthcheck.as_ref().is_some_and(|check| check.test.first().is_none_or(|t| t != "NONE"));
        let container = FakeContainer {
            observed,
            service: spec.service.clone(),
            files: spec.files.iter().map(|file| (file.path.clone(), file.clone())).collect(),
            volumes,
            log: Vec::new(),
            has_healthcheck: checked,
            one_shot: spec.readiness.one_shot,
            networks,
        };
        world.containers.insert(spec.name.clone(), container);
        Ok(id)
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        let operation = format!("start container {container}");
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
        self.finish(&format!("stop container {container}"), container, 0, true)
    }

    async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        let operation = format!("kill container {container} {signal}");
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
        let mut world = self.act(&format!("remove container {container}"))?;
        let Ok(found) = world.find(container).cloned() else { return Ok(()) };
        for (network, _) in &found.networks {
            world.attach(&found.observed.name, network, false);
        }
        world.containers.remove(&found.observed.name);
        Ok(())
    }

    async fn discard_container(&self, container: &str) -> Result<(), EngineError> {
        self.remove_container(container).await
    }

    async fn write_files(&self, container: &str, files: &[FileSpec]) -> Result<(), EngineError> {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let operation = format!("write {} into container {container}", paths.join(" "));
        let mut world = self.act(&operation)?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        found.files.extend(files.iter().map(|file| (file.path.clone(), file.clone())));
        Ok(())
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let operation = format!("reading {path} from container {container}");
        let world = self.call(&operation)?;
        let found = world.find(container).map_err(missing(&operation))?;
        Ok(found.files.get(path).map(|file| file.content.clone()))
    }

    async fn exec(&self, container: &str, command: &[String], _timeout: Duration) -> Result<ExecOutput, EngineError> {
        let words = command.join(" ");
        let operation = format!("exec in container {container}: {words}");
        let world = self.act(&operation)?;
        let found = world.find(container).map_err(missing(&operation))?;
        if !found.running() {
            return Err(conflict(&operation, format!("container {container} is not running")));
        }
        let names = [&found.observed.name, &found.service];
        let answer = names.into_iter().find_map(|name| world.execs.get(&(name.clone(), words.clone())));
        let silent = ExecOutput { exit_code: 0, stdout: Vec::new(), stderr: Vec::new() };
        Ok(answer.cloned().unwrap_or(silent))
    }

    async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        let operation = format!("waiting for container {container}");
        loop {
            let status = self.call(&operation)?.find(container).map_err(missing(&operation))?.observed.exit_code;
            if let Some(status) = status {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        let operation = format!("reading the log of container {container}");
        let world = self.call(&operation)?;
        let log = &world.find(container).map_err(missing(&operation))?.log;
        let tail = options.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(log.len());
        let lines: Vec<_> = log.iter().skip(log.len().saturating_sub(tail)).cloned().map(Ok).collect();
        Ok(stream::iter(lines).boxed())
    }

    async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        let operation = format!("reading the use of container {container}");
        let world = self.call(&operation)?;
        let running = world.find(container).map_err(missing(&operation))?.running();
        // each call is a second, and 15 ms of work
        let calls = u32::try_from(world.calls).unwrap_or(u32::MAX);
        let used = Usage {
            cpu: Duration::from_millis(15) * calls,
            at: Some(Duration::from_secs(calls.into())),
            memory: 32 << 20,
            memory_limit: 8 << 30,
        };
        Ok(if running { used } else { Usage::default() })
    }

    async fn exec_attached(&self, container: &str, request: &AttachedExec) -> Result<i64, EngineError> {
        let output = self.exec(container, &request.command, Duration::MAX).await?;
        Ok(output.exit_code)
    }

    async fn digest(&self, reference: &str) -> Result<String, EngineError> {
        let operation = format!("asking the registry for {reference}");
        let world = self.call(&operation)?;
        let owned = reference.to_owned();
        let source = match (world.pull_failures.get(reference), world.pullable.get(reference)) {
            (None, Some(image)) => {
                let digest = image.repo_digests.iter().find_map(|named| Some(named.split_once('@')?.1.to_owned()));
                return Ok(digest.unwrap_or_else(|| image.id.clone()));
            }
            (Some(FakePull::RateLimited(retry_after)), _) => {
                ImageError::RateLimited { reference: owned, retry_after: retry_after.map(Wait::In) }
            }
            (Some(FakePull::Unreachable), _) => {
                ImageError::Unreachable { reference: owned, message: "connection refused".into() }
            }
            _ => ImageError::NotFound { reference: owned },
        };
        Err(EngineError::Image { operation, source })
    }

    async fn export(
        &self,
        references: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let operation = format!("export {}", references.join(" "));
        let world = self.act(&operation)?;
        let mut archive = super::archive::Archive::default();
        for reference in references {
            let image = world.image(reference).ok_or_else(|| missing(&operation)(format!("image {reference}")))?;
            archive.image(reference, image);
        }
        // in pieces, as a socket gives them
        let pieces: Vec<_> = archive.bytes().chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn load_from(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
        _progress: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError> {
        let pieces: Result<Vec<Bytes>, _> = archive.try_collect().await;
        let operation = "load an archive".to_owned();
        let other = |message: String| EngineError::Other { operation: operation.clone(), message };
        let bytes = pieces.map_err(|error| other(error.to_string()))?.concat();
        let images = super::archive::images(&bytes).map_err(other)?;
        let names: Vec<String> = images.keys().cloned().collect();
        let mut world = self.act(&format!("load {}", names.join(" ")))?;
        world.images.extend(images);
        Ok(names)
    }

    async fn save(&self, references: &[String], file: &Path) -> Result<(), EngineError> {
        let operation = format!("save {}", references.join(" "));
        {
            let world = self.act(&operation)?;
            if let Some(lacking) = references.iter().find(|reference| world.image(reference).is_none()) {
                return Err(missing(&operation)(format!("image {lacking}")));
            }
        }
        let other =
            |error: std::io::Error| EngineError::Other { operation: operation.clone(), message: error.to_string() };
        tokio::fs::write(file, references.join("\n")).await.map_err(other)
    }
}

impl FakeEngine {
    fn finish(&self, operation: &str, container: &str, status: i64, lenient: bool) -> Result<(), EngineError> {
        let mut world = self.act(operation)?;
        let found = world.find(container).map_err(missing(operation))?.clone();
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

/// As the engine: one that is there stays as it is, and one of somebody else's is a conflict.
fn add_volume(
    world: &mut World,
    operation: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let fresh = ObservedVolume { name: name.to_owned(), labels: labels.clone() };
    let volume = world.volumes.entry(name.to_owned()).or_insert(fresh);
    let owner = labels.get(label::PLATFORM);
    if owner.is_some() && volume.labels.get(label::PLATFORM) != owner {
        return Err(conflict(operation, format!("volume {name} already exists and is not of this platform")));
    }
    Ok(())
}

/// Paths of `VOLUME /a /b` and `VOLUME ["/a"]`.
fn declared_volumes(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter_map(|line| line.trim().strip_prefix("VOLUME "));
    let words = lines.flat_map(|line| line.split([' ', ',', '[', ']', '"']));
    words.filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_a_dockerfile_are_read() {
        assert_eq!(declared_volumes("FROM x\nVOLUME /a /b\nVOLUME [\"/c\", \"/d\"]\n"), ["/a", "/b", "/c", "/d"]);
    }
}
