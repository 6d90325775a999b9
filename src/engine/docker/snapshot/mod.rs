//! One look at the engine. This is what an `up` with nothing to do spends its time on: one list each
//! of containers, networks and volumes, side by side, then the details of what they name and
//! that does not simply run, side by side. Images are asked for by name. The lists are whole and sorted out here: a
//! second question costs the engine more than the rows of others in the answer to the first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bollard::models::{ImageInspect, Network, Volume, VolumeListResponse};
use bollard::query_parameters::{ListNetworksOptions, ListVolumesOptions};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::answers::{Endpoint, Inspected, Listed, ListedImage, ListedPort, Ports, Published, encoded, reads, writes};
use super::networks::{observed_network, sorted};
use super::reference::{Reference, familiar};
use super::{Docker, READ};
use crate::engine::{Containers, EngineError, Images, Query, operation};
use crate::model::{
    ContainerState, Health, ObservedContainer, ObservedImage, ObservedNetwork, ObservedVolume, PortBinding, Protocol,
    label,
};

/// Questions that are open at once.
const SIDE_BY_SIDE: usize = 16;

pub(super) type Filters = HashMap<String, Vec<String>>;

impl Docker {
    /// What is ours or named, and what bears one of the wanted labels.
    pub(super) async fn find_containers(
        &self,
        query: &Query,
    ) -> Result<(Vec<ObservedContainer>, Vec<ObservedContainer>), EngineError> {
        let listed = match self.ahead.take(|lists| &mut lists.containers) {
            Some(listed) => listed,
            None => self.list(Filters::new()).await?,
        };
        let found = listed.into_iter().filter(|one| is_wanted(one, query) || is_labelled(one, query));
        let read = |one: &Listed| match query.at_a_glance {
            true => from_list(one),
            false => {
                let told = |found: &ObservedContainer| {
                    found.state == ContainerState::Running || !query.timed.contains(&found.name)
                };
                settled(one).filter(told)
            }
        };
        let found = self.detailed(found, &read).await?;
        let wanted = |one: &&ObservedContainer| {
            query.everybody
                || one.label(label::PLATFORM) == Some(&query.platform)
                || query.containers.contains(&one.name)
        };
        let labelled = |one: &&ObservedContainer| bears(&query.labels, |key| one.label(key));
        Ok((found.iter().filter(wanted).cloned().collect(), found.iter().filter(labelled).cloned().collect()))
    }

    /// Ids of the images that containers were made from, running or not.
    pub(super) async fn images_of_containers(&self) -> Result<HashSet<String>, EngineError> {
        Ok(self.list(Filters::new()).await?.into_iter().map(|listed| listed.image_id).collect())
    }

    pub(super) async fn detailed(
        &self,
        listed: impl Iterator<Item = Listed> + Send,
        read: &(dyn Fn(&Listed) -> Option<ObservedContainer> + Send + Sync),
    ) -> Result<Vec<ObservedContainer>, EngineError> {
        let mut found: Vec<ObservedContainer> = stream::iter(listed)
            .map(|listed| async move {
                if !self.podman()
                    && let Some(found) = read(&listed)
                {
                    return Ok(Some(found));
                }
                match self.inspect(&listed.id).await {
                    Ok(container) => Ok(Some(container)),
                    // it went while we looked
                    Err(EngineError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_filter_map(|container| async move { Ok(container) })
            .try_collect()
            .await?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(super) async fn list(&self, filters: Filters) -> Result<Vec<Listed>, EngineError> {
        let filters = serde_json::to_string(&filters).unwrap_or_default();
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters));
        self.get(operation::CONTAINERS, &path).await
    }

    pub(super) async fn networks_listed(&self) -> Result<Vec<Network>, EngineError> {
        self.call(operation::NETWORKS, READ, self.client.list_networks(None::<ListNetworksOptions>)).await
    }

    pub(super) async fn volumes_listed(&self) -> Result<VolumeListResponse, EngineError> {
        self.call(operation::VOLUMES, READ, self.client.list_volumes(None::<ListVolumesOptions>)).await
    }

    pub(super) async fn images_listed(&self) -> Result<Vec<ListedImage>, EngineError> {
        self.get("listing images", "/images/json?digests=true").await
    }

    pub(super) async fn find_networks(&self, query: &Query) -> Result<Vec<ObservedNetwork>, EngineError> {
        // networks are few: one list of all, sorted out here
        let list = match self.ahead.take(|lists| &mut lists.networks) {
            Some(list) => list,
            None => self.networks_listed().await?,
        };
        let wanted = list.into_iter().filter(|network| {
            let named = network.name.as_ref().is_some_and(|name| query.networks.contains(name));
            named || is_ours(network.labels.as_ref(), &query.platform)
        });
        let mut found: Vec<ObservedNetwork> = wanted.map(|network| observed_network(&network)).collect();
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(found)
    }

    pub(super) async fn find_volumes(&self, query: &Query) -> Result<Vec<ObservedVolume>, EngineError> {
        let list = match self.ahead.take(|lists| &mut lists.volumes) {
            Some(list) => list,
            None => self.volumes_listed().await?,
        };
        let wanted =
            |volume: &Volume| is_ours(Some(&volume.labels), &query.platform) || query.volumes.contains(&volume.name);
        let podman = self.podman();
        let mut found: Vec<ObservedVolume> = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter(wanted)
            .map(|volume| ObservedVolume {
                made_at: volume.created_at.as_deref().and_then(seconds),
                name: volume.name,
                labels: sorted(Some(volume.labels)),
                // Podman adds options of its own
                driver: (!podman).then_some(volume.driver),
                driver_opts: sorted(Some(volume.options)),
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(super) async fn find_images(
        &self,
        references: &[String],
    ) -> Result<BTreeMap<String, ObservedImage>, EngineError> {
        let wanted: BTreeSet<String> = references.iter().cloned().collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        if self.podman() {
            return self.images_apart(wanted).await;
        }
        // an engine reads the description of every image that it has for a list of them
        if wanted.len() > MANY {
            return Ok(by_reference(&wanted, &self.images_listed().await?));
        }
        let mut found = self.ahead.take(|lists| &mut lists.images).unwrap_or_default();
        found.retain(|reference, _| wanted.contains(reference));
        let rest: Vec<String> = wanted.into_iter().filter(|reference| !found.contains_key(reference)).collect();
        found.extend(self.images_asked(&rest).await?);
        Ok(found.into_iter().filter_map(|(reference, image)| Some((reference, image?))).collect())
    }

    /// Images as their own descriptions have them, few at a time: one that is not there costs the engine less than the
    /// connection.
    pub(super) async fn images_asked(
        &self,
        references: &[String],
    ) -> Result<BTreeMap<String, Option<ObservedImage>>, EngineError> {
        let asked = stream::iter(references.to_vec()).map(|reference| async move {
            let image = self.image(&reference).await?;
            Ok::<_, EngineError>((reference, image))
        });
        asked.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn images_apart(&self, wanted: BTreeSet<String>) -> Result<BTreeMap<String, ObservedImage>, EngineError> {
        let found: Vec<(String, Option<ObservedImage>)> = stream::iter(wanted)
            .map(|reference| async move {
                let image = self.image(&reference).await?;
                Ok::<_, EngineError>((reference, image))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        Ok(found.into_iter().filter_map(|(reference, image)| Some((reference, image?))).collect())
    }
}

/// Up to so many images are inspected one by one; of more, all that the engine has are listed.
const MANY: usize = 100;
/// Images that are asked for at once.
const AT_ONCE: usize = 4;

/// The images of platforms' containers, by the names that still mean them.
pub(super) fn images_in_use(listed: &[Listed]) -> Vec<String> {
    let ours = listed.iter().filter(|one| one.labels.iter().any(|labels| labels.contains_key(label::PLATFORM)));
    let named = ours.map(|one| &one.image).filter(|image| !image.starts_with("sha256:"));
    named.collect::<BTreeSet<_>>().into_iter().take(MANY).cloned().collect()
}

/// The wanted ones among all that the engine has. A list does not tell which volumes an image
/// declares: whoever makes a container inspects its image.
fn by_reference(wanted: &BTreeSet<String>, listed: &[ListedImage]) -> BTreeMap<String, ObservedImage> {
    let whole = |text: &str| Reference::parse(text).ok().map(|found| (found.repository(), found.version().to_owned()));
    let mut known: HashMap<(String, String), &ListedImage> = HashMap::new();
    for image in listed {
        for name in image.repo_tags.iter().flatten().chain(image.repo_digests.iter().flatten()) {
            known.extend(whole(name).map(|key| (key, image)));
        }
    }
    let find = |reference: &String| {
        let by_id = || listed.iter().find(|image| image.id == *reference);
        whole(reference).and_then(|key| known.get(&key).copied()).or_else(by_id)
    };
    wanted.iter().filter_map(|reference| Some((reference.clone(), observed_listed(find(reference)?)))).collect()
}

fn observed_listed(image: &ListedImage) -> ObservedImage {
    ObservedImage {
        id: image.id.clone(),
        labels: image.labels.clone().unwrap_or_default(),
        repo_digests: image.repo_digests.iter().flatten().filter(|name| !name.starts_with("<none>")).cloned().collect(),
        size: image.size,
        created: jiff::Timestamp::from_second(image.created).ok().map(|time| time.to_string()),
        volumes: Vec::new(),
        architecture: String::new(),
    }
}

/// Ours, or of one of the names.
fn is_wanted(listed: &Listed, query: &Query) -> bool {
    // Docker's names begin with a slash, Podman's do not; those of links have a second one
    let mut names = listed.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    let labels = listed.labels.as_ref();
    query.everybody
        || labels.and_then(|labels| labels.get(label::PLATFORM)) == Some(&query.platform)
        || names.any(|name| query.containers.iter().any(|wanted| wanted == name))
}

fn is_labelled(listed: &Listed, query: &Query) -> bool {
    let labels = listed.labels.as_ref();
    bears(&query.labels, |key| labels?.get(key).map(String::as_str))
}

/// Whether one of these labels (`key=value`) is among those that there are.
fn bears<'l>(wanted: &[String], value: impl Fn(&str) -> Option<&'l str>) -> bool {
    let pairs = wanted.iter().filter_map(|label| label.split_once('='));
    pairs.into_iter().any(|(key, wanted)| value(key) == Some(wanted))
}

fn is_ours(labels: Option<&HashMap<String, String>>, platform: &str) -> bool {
    labels.and_then(|labels| labels.get(label::PLATFORM)).is_some_and(|owner| owner == platform)
}

/// All that is asked about a container that runs, or has ended well, stands in Docker's list already, so that an
/// `up` with nothing to do asks no further. How often one was restarted, and why one ended, does not: one that has
/// just started or has failed is inspected.
pub(super) fn settled(listed: &Listed) -> Option<ObservedContainer> {
    let named = !listed.image.starts_with("sha256:") && listed.image_id.starts_with("sha256:");
    let settled = match listed.state.as_str() {
        "running" => !has_just_started(&listed.status),
        "exited" => exit_code(&listed.status) == Some(0),
        _ => false,
    };
    if named && settled { from_list(listed) } else { None }
}

/// What the list says of one, whatever its state: not why it ended, nor how often it was started again.
fn from_list(listed: &Listed) -> Option<ObservedContainer> {
    // those of links have a second slash
    let mut names = listed.names.iter().flatten().filter_map(|name| name.strip_prefix('/'));
    let health = listed.status.rsplit_once('(').map_or("", |(_, word)| word.trim_end_matches(')'));
    let networks = || listed.network_settings.networks.iter().flatten();
    let mut ports: Vec<PortBinding> = listed.ports.iter().flatten().filter_map(listed_port).collect();
    ports.sort();
    ports.dedup();
    Some(ObservedContainer {
        id: listed.id.clone(),
        name: names.find(|name| !name.contains('/'))?.to_owned(),
        image: listed.image.clone(),
        image_id: listed.image_id.clone(),
        state: container_state(&listed.state, false),
        health: health_of(health.strip_prefix("health: ").unwrap_or(health)),
        exit_code: exit_code(&listed.status).filter(|_| listed.state == "exited"),
        labels: sorted(listed.labels.clone()),
        addresses: networks()
            .filter_map(|(network, endpoint)| Some((network.clone(), endpoint.ip_address.parse().ok()?)))
            .collect(),
        networks: networks().filter_map(network_id).collect(),
        attached: attached(&listed.state, listed.network_settings.networks.as_ref()),
        ports,
        writes: writes(listed.mounts.as_deref()),
        reads: reads(listed.mounts.as_deref()),
        made_at: Some(listed.created).filter(|seconds| *seconds > 0),
        // it did not start before
        started_at: Some(listed.created).filter(|seconds| *seconds > 0),
        state_for: state_for(&listed.status),
        finished_at: None,
        restart_count: 0,
        oom_killed: false,
        error: String::new(),
        untested: Vec::new(),
    })
}

/// Of the network that the engine looks for when it starts the container.
fn network_id((network, endpoint): (&String, &Endpoint)) -> Option<(String, String)> {
    let id = &endpoint.network_id;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| (network.clone(), id.clone()))
}

/// Of one that does not run, not every engine says it.
fn attached(state: &str, networks: Option<&BTreeMap<String, Endpoint>>) -> Option<BTreeSet<String>> {
    networks.filter(|_| state == "running").map(|networks| networks.keys().cloned().collect())
}

/// `Up 3 seconds (healthy)`: one that is started again and again looks so, too.
fn has_just_started(status: &str) -> bool {
    let Some(since) = status.strip_prefix("Up ") else { return false };
    let seconds = since.split_once(" second").and_then(|(number, _)| number.parse::<u32>().ok());
    since.starts_with("Less than a second") || seconds.is_some_and(|seconds| seconds < 10)
}

/// `Up 12 minutes (healthy)`, `Up About an hour`, `Exited (0) 3 weeks ago`: as exactly as the engine says it.
fn state_for(status: &str) -> Option<u64> {
    let since = match status.strip_prefix("Up ") {
        Some(since) => since,
        None => status.strip_prefix("Exited (")?.split_once(") ")?.1,
    };
    if since.starts_with("Less than a second") {
        return Some(0);
    }
    let mut words = since.split_whitespace();
    let number = match words.next()? {
        "About" => {
            words.next();
            1
        }
        number => number.parse().ok()?,
    };
    let unit = words.next()?.trim_end_matches('s');
    let seconds = match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 604_800,
        "month" => 2_592_000,
        "year" => 31_536_000,
        _ => return None,
    };
    Some(number * seconds)
}

/// Of `Exited (0) 3 minutes ago`.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

fn listed_port(port: &ListedPort) -> Option<PortBinding> {
    let published = Published { host_ip: port.ip.clone(), host_port: port.public_port.to_string() };
    let bound = port_binding(&format!("{}/{}", port.private_port, port.protocol), &published)?;
    bound.host_port.is_some().then_some(bound)
}

pub(super) fn observed_container(inspected: &Inspected, podman: bool, health_checks: bool) -> ObservedContainer {
    let state = &inspected.state;
    let test = inspected.config.healthcheck.as_ref().and_then(|check| check.test.clone()).unwrap_or_default();
    let status = container_state(&state.status, state.running);
    // one that waits to be started again has ended too
    let ended = matches!(status, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting);
    let networks = || inspected.network_settings.networks.iter().flatten();
    let image = &inspected.config.image;
    ObservedContainer {
        id: inspected.id.clone(),
        name: inspected.name.trim_start_matches('/').to_owned(),
        // Podman writes the registry in front of what was given
        image: if podman { familiar(image).to_owned() } else { image.clone() },
        image_id: full_id(inspected.image.clone()),
        state: status,
        // one that is never checked would be starting for ever
        health: match &state.health {
            Some(health) if health_checks => health_of(&health.status),
            _ => Health::None,
        },
        exit_code: state.exit_code.filter(|_| ended),
        labels: sorted(inspected.config.labels.clone()),
        addresses: networks()
            .filter_map(|(network, endpoint)| Some((network.clone(), endpoint.ip_address.parse().ok()?)))
            .collect(),
        networks: networks().filter_map(network_id).collect(),
        attached: attached(&state.status, inspected.network_settings.networks.as_ref()),
        ports: ports(inspected),
        writes: writes(inspected.mounts.as_deref()),
        reads: reads(inspected.mounts.as_deref()),
        made_at: seconds(&inspected.created),
        started_at: seconds(&state.started_at),
        state_for: None,
        finished_at: seconds(&state.finished_at).filter(|_| ended),
        restart_count: inspected.restart_count,
        oom_killed: state.oom_killed,
        error: state.error.clone(),
        untested: if health_checks { Vec::new() } else { test },
    }
}

fn container_state(status: &str, running: bool) -> ContainerState {
    match status {
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" | "stopped" => ContainerState::Exited,
        "dead" => ContainerState::Dead,
        "" if running => ContainerState::Running,
        // Podman's `configured` and `initialized` are made and not yet started
        _ => ContainerState::Created,
    }
}

fn health_of(status: &str) -> Health {
    match status {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => Health::None,
    }
}

/// What is really published (a free port has its number here), or what would be while it is down.
fn ports(inspected: &Inspected) -> Vec<PortBinding> {
    let live = inspected.network_settings.ports.as_ref();
    let wanted = inspected.host_config.port_bindings.as_ref();
    let published = |ports: &&Ports| ports.values().flatten().any(|bindings| !bindings.is_empty());
    let Some(ports) = live.filter(published).or(wanted) else { return Vec::new() };
    let mut all: Vec<PortBinding> = ports
        .iter()
        .flat_map(|(port, bindings)| bindings.iter().flatten().filter_map(|binding| port_binding(port, binding)))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn port_binding(port: &str, binding: &Published) -> Option<PortBinding> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let host_ip = if binding.host_ip.is_empty() { "0.0.0.0" } else { &binding.host_ip };
    Some(PortBinding {
        host_ip: host_ip.parse().ok()?,
        host_port: binding.host_port.parse().ok().filter(|port| *port != 0),
        container_port: number.parse().ok()?,
        protocol: match protocol {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
    })
}

/// `None` for the year 1, which stands for "never".
fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(|time| time.as_second()).filter(|seconds| *seconds > 0)
}

/// Podman leaves the algorithm out of some of its ids.
fn full_id(id: String) -> String {
    if id.is_empty() || id.contains(':') { id } else { format!("sha256:{id}") }
}

pub(super) fn observed_image(image: &ImageInspect) -> ObservedImage {
    let config = image.config.as_ref();
    let mut volumes = config.and_then(|config| config.volumes.clone()).unwrap_or_default();
    volumes.sort();
    ObservedImage {
        id: full_id(image.id.clone().unwrap_or_default()),
        labels: sorted(config.and_then(|config| config.labels.clone())),
        repo_digests: image.repo_digests.clone().unwrap_or_default(),
        size: image.size.unwrap_or_default(),
        created: image.created.clone(),
        volumes,
        architecture: image.architecture.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
