//! The life of a container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerStatsResponse, EventMessage, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, KillContainerOptions, RemoveContainerOptions, RenameContainerOptions,
    StatsOptions, StopContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::answers::{Inspected, encoded};
use super::snapshot::{Filters, observed_container, settled};
use super::{CHANGE, Docker, READ, errors, spec, unless_missing};
use crate::engine::creation::{self, Making, Wanted};
use crate::engine::{
    ContainerEvent, ContainerHappening, Containers, EngineError, Images, Streams, Transferred, Usage, operation,
};
use crate::model::{AnyError, ContainerSpec, ContainerState, ObservedContainer, label};

/// What an engine does when a container names no grace period of its own.
const DEFAULT_GRACE: Duration = Duration::from_secs(spec::DOCKERS_GRACE.unsigned_abs());
/// Between two looks at a container that somebody else is about to start.
const UNSTARTED: Duration = Duration::from_millis(100);

struct DockerMaking<'a> {
    docker: &'a Docker,
    spec: &'a ContainerSpec,
    creation: spec::Creation,
}

#[async_trait]
impl Making for DockerMaking<'_> {
    async fn create(&self, name: &str) -> Result<String, EngineError> {
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            platform: self.spec.options.platform.clone().unwrap_or_default(),
        };
        let operation = operation::create_container(&self.spec.name);
        let mut client = self.docker.client.clone();
        if self.creation.mac_address.is_some() {
            let body = self.creation.json().map_err(EngineError::local(&operation))?;
            client = client.with_request_modifier(move |mut request| {
                *request.body_mut() = bollard::body_full(body.clone().into());
                request
            });
        }
        let created = client.create_container(Some(options), self.creation.body.clone());
        Ok(self.docker.call(&operation, CHANGE, created).await?.id)
    }

    async fn furnish(&self, id: &str) -> Result<(), EngineError> {
        for (network, endpoint) in &self.creation.connect {
            let operation = operation::connect(&self.spec.name, network);
            let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint.clone()) };
            self.docker.call(&operation, CHANGE, self.docker.client.connect_network(network, request)).await?;
        }
        if self.spec.files.is_empty() { Ok(()) } else { self.docker.write_files(id, &self.spec.files).await }
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.docker.rename(id, name).await
    }
}

/// What of the engine's events is told.
fn container_event(event: EventMessage) -> Option<ContainerEvent> {
    let actor = event.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let action = event.action?;
    let happening = match action.as_str() {
        "create" => ContainerHappening::Created,
        "start" => ContainerHappening::Started,
        // Podman's word for the end
        "die" | "died" => {
            let code = attributes.get("exitCode").or(attributes.get("containerExitCode"));
            ContainerHappening::Died { exit_code: code.and_then(|code| code.parse().ok()) }
        }
        "oom" => ContainerHappening::OutOfMemory,
        "pause" => ContainerHappening::Paused,
        "unpause" => ContainerHappening::Unpaused,
        "rename" => ContainerHappening::Renamed,
        "destroy" | "remove" => ContainerHappening::Removed,
        status => match status.strip_prefix("health_status").map(|rest| rest.trim_start_matches([':', ' '])) {
            Some("healthy") => ContainerHappening::Healthy,
            Some("unhealthy") => ContainerHappening::Unhealthy,
            _ => return None,
        },
    };
    let time = match (event.time_nano, event.time) {
        (Some(nanoseconds), _) => jiff::Timestamp::from_nanosecond(nanoseconds.into()),
        (None, seconds) => jiff::Timestamp::from_second(seconds.unwrap_or_default()),
    };
    Some(ContainerEvent {
        time: time.map(|time| time.to_string()).unwrap_or_default(),
        container: attributes.remove("name")?,
        id: actor.id.unwrap_or_default(),
        service: attributes.remove(label::SERVICE).unwrap_or_default(),
        happening,
    })
}

#[async_trait]
impl Containers for Docker {
    async fn inspect(&self, container: &str) -> Result<ObservedContainer, EngineError> {
        Ok(observed_container(&self.raw_inspect(container).await?, self.podman(), self.facts.traits.health_checks))
    }

    async fn environment(&self, container: &str) -> Result<Option<Vec<String>>, EngineError> {
        // Docker says nothing where there are none
        Ok(Some(self.raw_inspect(container).await?.config.env.unwrap_or_default()))
    }

    async fn mounts(&self, container: &str) -> Result<Vec<(PathBuf, PathBuf)>, EngineError> {
        let mounts = self.raw_inspect(container).await?.mounts.unwrap_or_default();
        // a volume of another driver may have no path
        let there =
            mounts.into_iter().filter(|mount| mount.source.starts_with('/') && mount.destination.starts_with('/'));
        Ok(there.map(|mount| (mount.destination.into(), mount.source.into())).collect())
    }

    async fn in_memory(&self, container: &str) -> Result<Vec<PathBuf>, EngineError> {
        if self.podman() {
            // it copies from within a container that runs
            return Ok(Vec::new());
        }
        let found = self.raw_inspect(container).await?;
        let mounted = found.mounts.unwrap_or_default().into_iter().filter(|mount| mount.kind == "tmpfs");
        let given = found.host_config.tmpfs.unwrap_or_default().into_keys();
        Ok(given.chain(mounted.map(|mount| mount.destination)).map(PathBuf::from).collect())
    }

    async fn health_test(&self, container: &str) -> Result<Vec<String>, EngineError> {
        let check = self.raw_inspect(container).await?.config.healthcheck;
        Ok(check.and_then(|check| check.test).unwrap_or_default())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        let listed = self.list(Filters::from([("label".to_owned(), vec![label.to_owned()])])).await?;
        let found = self.detailed(listed.into_iter(), &settled).await?;
        Ok(found.into_iter().filter(|found| !creation::is_unfinished(&found.name)).collect())
    }

    async fn changes(&self, label: &str) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
        let filters = [("type", "container".to_owned()), ("label", label.to_owned())];
        let options = EventsOptions {
            // what happens until the engine has read the request is told, too
            since: Some(now.saturating_sub(1).to_string()),
            until: None,
            filters: Some(filters.map(|(key, value)| (key.to_owned(), vec![value])).into()),
        };
        let events = self.client.events(Some(options)).filter_map(async |event| match event {
            // a health check runs a program every few seconds: that changes nothing
            Ok(event) if event.action.as_deref().is_some_and(|action| action.starts_with("exec_")) => None,
            Ok(event) => event.actor?.attributes?.remove("name").map(Ok),
            Err(error) => Some(Err(errors::engine_error(operation::CHANGES, error))),
        });
        Ok(events.boxed())
    }

    async fn container_events(
        &self,
        label: &str,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        let filters = [("type", "container".to_owned()), ("label", label.to_owned())];
        let options = EventsOptions {
            since: None,
            until: None,
            filters: Some(filters.map(|(key, value)| (key.to_owned(), vec![value])).into()),
        };
        let events = self.client.events(Some(options)).filter_map(async |event| match event {
            Ok(event) => container_event(event).map(Ok),
            Err(error) => Some(Err(errors::engine_error(operation::CHANGES, error))),
        });
        Ok(events.boxed())
    }

    async fn create_container(
        &self,
        spec: &ContainerSpec,
        image: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        let operation = operation::create_container(&spec.name);
        let declared = self.image(image).await?;
        let declared = declared
            .ok_or_else(|| EngineError::NotFound { operation: operation.clone(), what: format!("image {image}") })?;
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        if let Some(fingerprint) = &spec.fingerprint {
            all.insert(label::FINGERPRINT.to_owned(), fingerprint.0.clone());
        }
        // one that is removed after its command gets them from the engine, without names, and takes them with it
        let volumes = match spec.labels.contains_key(label::ONE_OFF) {
            true => Vec::new(),
            false => self.volumes_for(spec, &declared.volumes).await?,
        };
        let creation = spec::creation(spec, image, &all, &volumes, self.api)
            .map_err(|message| EngineError::Other { operation: operation.clone(), message })?;
        let creation = if self.podman() { creation.for_podman() } else { creation };
        if !volumes.is_empty() {
            let mut kept = all.clone();
            // these say what the container is, not what its data is
            for key in [label::FINGERPRINT, label::REPLICA, label::ONE_SHOT] {
                kept.remove(key);
            }
            for (name, _) in &volumes {
                self.ensure_volume(name, None, &BTreeMap::new(), &kept).await?;
            }
        }
        let wanted = Wanted {
            name: &spec.name,
            image_id: &declared.id,
            labels: &all,
            at_once: creation.connect.is_empty() && spec.files.is_empty(),
        };
        creation::make(self, &DockerMaking { docker: self, spec, creation }, &wanted).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        let operation = operation::start(container);
        let container = self.exact(&operation, container).await?;
        let started = self.call(&operation, CHANGE, self.client.start_container(&container, None)).await;
        let Err(refused) = started else { return Ok(()) };
        // who starts one that is paused wants it to run, which engines only refuse
        if !self.raw_inspect(&container).await.is_ok_and(|found| found.state.status == "paused") {
            return Err(refused);
        }
        self.call(&operation, CHANGE, self.client.unpause_container(&container)).await
    }

    async fn stop(&self, container: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let operation = operation::stop(container);
        let container = match self.exact(&operation, container).await {
            Ok(container) => container,
            // one that is gone has stopped, too
            Err(error) => return unless_missing(Err(error)),
        };
        let seconds = grace.map(|grace| i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX));
        let options = StopContainerOptions { signal: None, t: seconds };
        let stop = self.client.stop_container(&container, Some(options));
        tokio::pin!(stop);
        let patience = grace.unwrap_or(DEFAULT_GRACE) + READ;
        match tokio::time::timeout(patience, &mut stop).await {
            Ok(result) => return stopped(&operation, result),
            Err(_) if grace.is_some() => return Err(EngineError::Timeout { operation, after: patience }),
            Err(_) => {}
        }
        // the container's own grace period may be longer than the engine's default
        let inspected = self.raw_inspect(&container).await?;
        let more = Duration::from_secs(inspected.config.stop_timeout.unwrap_or_default());
        match tokio::time::timeout(more, stop).await {
            Ok(result) => stopped(&operation, result),
            Err(_) => Err(EngineError::Timeout { operation, after: patience + more }),
        }
    }

    async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        let operation = operation::kill(container, signal);
        let container = self.exact(&operation, container).await?;
        let options = KillContainerOptions { signal: signal.to_owned() };
        self.call(&operation, READ, self.client.kill_container(&container, Some(options))).await
    }

    fn refuses(&self, spec: &ContainerSpec) -> Option<String> {
        super::spec::creation(spec, "", &BTreeMap::new(), &[], self.api).err()
    }

    async fn rename(&self, container: &str, name: &str) -> Result<(), EngineError> {
        let operation = operation::rename(name);
        let container = self.exact(&operation, container).await?;
        let options = RenameContainerOptions { name: name.to_owned() };
        self.call(&operation, CHANGE, self.client.rename_container(&container, options)).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.remove(container, false).await
    }

    async fn discard_container(&self, container: &str) -> Result<(), EngineError> {
        self.remove(container, true).await
    }

    async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        let operation = operation::wait(container);
        // never started is not ended, which the engine's own condition takes it for
        while self.inspect(container).await?.state == ContainerState::Created {
            tokio::time::sleep(UNSTARTED).await;
        }
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut answers = Box::pin(self.client.wait_container(container, Some(options)));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // how the client says that the status is not 0
            Some(Err(Error::DockerContainerWaitError { code, error })) if error.is_empty() => Ok(code),
            Some(Err(error)) => Err(errors::engine_error(&operation, error)),
            None => Err(EngineError::Gone { operation, source: AnyError::said("the answer ended early") }),
        }
    }

    async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        if self.facts.rootless && self.facts.cgroup_version == Some(1) {
            // groups of version 1 are root's alone: the counters that Podman then reads are those of the whole machine
            let message = "without root nothing is counted in control groups of version 1".to_owned();
            return Err(EngineError::Other { operation: operation::usage(container), message });
        }
        Ok(usage(&self.stats(container).await?))
    }
}

/// The shortest beginning of an id that engines show, and that programs pass on for a container.
const SHORT_ID: usize = 12;

/// What Docker and Podman say of the beginning of several ids.
const SEVERAL: [&str; 2] = ["multiple IDs found", "more than one result"];

/// An engine takes a name that no container bears for the beginning of an id: `db` may be somebody else's then.
fn may_begin_an_id(name: &str) -> bool {
    name.len() < SHORT_ID && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Docker {
    /// What the engine takes for this container and for no other.
    async fn exact(&self, operation: &str, container: &str) -> Result<String, EngineError> {
        if !may_begin_an_id(container) {
            return Ok(container.to_owned());
        }
        match self.raw_inspect(container).await {
            Ok(found) => Ok(found.id),
            Err(EngineError::NotFound { what, .. }) => {
                Err(EngineError::NotFound { operation: operation.to_owned(), what })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn raw_inspect(&self, container: &str) -> Result<Inspected, EngineError> {
        let operation = operation::inspect(container);
        let short = may_begin_an_id(container);
        let path = format!("/containers/{}/json", encoded(container));
        let asked: Result<Inspected, EngineError> = self.get(&operation, &path).await;
        let other = match &asked {
            Ok(found) => found.name.trim_start_matches('/') != container,
            Err(EngineError::Other { message, .. } | EngineError::Conflict { message, .. }) => {
                SEVERAL.iter().any(|words| message.contains(words))
            }
            Err(_) => false,
        };
        match short && other {
            true => Err(EngineError::NotFound { operation, what: format!("container {container}") }),
            false => asked,
        }
    }

    /// Volumes for what the image declares, but for the paths that come from other containers (`volumes_from`): one of
    /// its own would hide what is there.
    async fn volumes_for(
        &self,
        spec: &ContainerSpec,
        declared: &[String],
    ) -> Result<Vec<(String, String)>, EngineError> {
        let mut volumes = spec::volumes_of_image(spec, declared);
        for from in &spec.options.volumes_from {
            if volumes.is_empty() {
                break;
            }
            let other = from.split(':').next().unwrap_or(from);
            let mounts = match self.raw_inspect(other).await {
                Ok(found) => found.mounts.unwrap_or_default(),
                // to make the container then fails, in the engine's own words
                Err(EngineError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            volumes.retain(|(_, path)| !mounts.iter().any(|mount| mount.destination.trim_end_matches('/') == path));
        }
        Ok(volumes)
    }

    /// `volumes`: with those that have no name.
    async fn remove(&self, container: &str, volumes: bool) -> Result<(), EngineError> {
        let operation = operation::remove_container(container);
        let container = match self.exact(&operation, container).await {
            Ok(container) => container,
            Err(error) => return unless_missing(Err(error)),
        };
        let container = container.as_str();
        if self.podman() {
            // Docker kills what is to be removed by force; Podman asks it to stop, and waits for that
            let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
            // one that does not run is as good
            let _ = self.call(&operation, READ, self.client.kill_container(container, Some(options))).await;
        }
        let options = RemoveContainerOptions { force: true, v: volumes, link: false };
        match self.call(&operation, CHANGE, self.client.remove_container(container, Some(options))).await {
            // somebody else removes it at this moment: wait until they have
            Err(EngineError::Conflict { message, .. }) if message.contains("already in progress") => {
                self.until_gone(&operation, container).await
            }
            other => unless_missing(other),
        }
    }

    async fn until_gone(&self, operation: &str, container: &str) -> Result<(), EngineError> {
        let begun = Instant::now();
        while begun.elapsed() < CHANGE {
            match self.inspect(container).await {
                Err(EngineError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err(EngineError::Timeout { operation: operation.to_owned(), after: CHANGE })
    }

    async fn stats(&self, container: &str) -> Result<ContainerStatsResponse, EngineError> {
        let operation = operation::usage(container);
        let options = StatsOptions { stream: false, one_shot: true };
        let mut answers = Box::pin(self.client.stats(container, Some(options)));
        let first = async { answers.next().await.transpose() };
        self.call(&operation, READ, first)
            .await?
            .ok_or_else(|| EngineError::Gone { operation, source: AnyError::said("the answer ended early") })
    }
}

/// One that is gone has stopped, too: a request of a run that was killed may have removed it.
fn stopped(operation: &str, result: Result<(), Error>) -> Result<(), EngineError> {
    unless_missing(result.map_err(|error| errors::engine_error(operation, error)))
}

fn usage(stats: &ContainerStatsResponse) -> Usage {
    let nanos = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage).unwrap_or_default();
    let read = stats.read.as_deref().and_then(|read| read.parse::<jiff::Timestamp>().ok());
    let memory = stats.memory_stats.as_ref();
    let cache = memory.and_then(|memory| memory.stats.as_ref()).and_then(|stats| {
        // version 1 of the control groups, then version 2
        stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied()
    });
    let bytes = memory.and_then(|memory| memory.usage).unwrap_or_default();
    Usage {
        cpu: Duration::from_nanos(nanos),
        // for a container that has just ended the engine writes the year 1
        at: read.and_then(|read| u64::try_from(read.as_nanosecond()).ok()).map(Duration::from_nanos),
        memory: bytes.saturating_sub(cache.unwrap_or_default()),
        memory_limit: memory.and_then(|memory| memory.limit).unwrap_or_default(),
        network: stats.networks.as_ref().map(|networks| {
            networks.values().fold(Transferred::default(), |sum, one| Transferred {
                incoming: sum.incoming.saturating_add(one.rx_bytes.unwrap_or_default()),
                outgoing: sum.outgoing.saturating_add(one.tx_bytes.unwrap_or_default()),
            })
        }),
        block: stats.blkio_stats.as_ref().and_then(|block| {
            let all = block.io_service_bytes_recursive.as_ref()?;
            // version 1 of the control groups writes them with a capital
            let of = |wanted: &str| {
                let fits = all.iter().filter(|one| one.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
                fits.filter_map(|one| one.value).fold(0u64, u64::saturating_add)
            };
            Some(Transferred { incoming: of("read"), outgoing: of("write") })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_the_beginning_of_an_id() {
        let id = "4ab56f1c9d20".repeat(5);
        for (name, may) in [
            ("db", true),
            ("CAFE", true),
            ("deadbeef", true),
            ("web", false),
            ("macula-db-1", false),
            // as engines show ids, and whole ones
            (id.get(..12).unwrap(), false),
            (id.as_str(), false),
        ] {
            assert_eq!(may_begin_an_id(name), may, "{name}");
        }
    }

    #[test]
    fn an_event_has_the_name_that_its_container_has_by_then() {
        let attributes = |name: &str| serde_json::json!({"name": name, "oldName": "/x", "dev.macula.service": "web"});
        let died = |exit_code| Some(ContainerHappening::Died { exit_code });
        for (action, name, happening) in [
            ("create", "macula-web-1.unfinished", Some(ContainerHappening::Created)),
            ("start", "macula-web-1", Some(ContainerHappening::Started)),
            ("die", "macula-web-1", died(None)),
            ("oom", "macula-web-1", Some(ContainerHappening::OutOfMemory)),
            ("pause", "macula-web-1", Some(ContainerHappening::Paused)),
            ("unpause", "macula-web-1", Some(ContainerHappening::Unpaused)),
            ("rename", "macula-web-1", Some(ContainerHappening::Renamed)),
            ("destroy", "macula-web-1", Some(ContainerHappening::Removed)),
            ("remove", "macula-web-1", Some(ContainerHappening::Removed)),
            ("health_status: healthy", "macula-web-1", Some(ContainerHappening::Healthy)),
            ("health_status: unhealthy", "macula-web-1", Some(ContainerHappening::Unhealthy)),
            ("health_status: starting", "macula-web-1", None),
            ("exec_start: true", "macula-web-1", None),
        ] {
            let event = serde_json::json!({
                "Action": action,
                "Actor": {"ID": "a", "Attributes": attributes(name)},
                "timeNano": 1_500_000_000_i64,
            });
            let told = happening.map(|happening| ContainerEvent {
                time: "1970-01-01T00:00:01.5Z".to_owned(),
                container: name.to_owned(),
                id: "a".to_owned(),
                service: "web".to_owned(),
                happening,
            });
            assert_eq!(container_event(serde_json::from_value(event).unwrap()), told, "{action}");
        }
        // each engine has a word of its own for the end and for its code
        for (action, key, code, exit_code) in [
            ("die", "exitCode", "137", Some(137)),
            ("died", "containerExitCode", "1", Some(1)),
            ("died", "containerExitCode", "?", None),
        ] {
            let mut attributes = attributes("macula-web-1");
            attributes[key] = code.into();
            let event = serde_json::json!({"Action": action, "Actor": {"Attributes": attributes}, "time": 60});
            let told = container_event(serde_json::from_value(event).unwrap()).unwrap();
            assert_eq!((told.happening, told.time.as_str()), (died(exit_code).unwrap(), "1970-01-01T00:01:00Z"));
        }
    }

    #[test]
    fn usage_is_what_the_counters_say() {
        let look: ContainerStatsResponse = serde_json::from_value(serde_json::json!({
            "read": "1970-01-01T00:01:00.500000000Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 1_750_000_000_u64}},
            "memory_stats": {"usage": 5000, "limit": 9000, "stats": {"inactive_file": 1000}},
            "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 300}, {"major": 8, "minor": 16, "op": "read", "value": 3},
                {"major": 8, "minor": 0, "op": "Write", "value": 400}, {"major": 8, "minor": 0, "op": "Total", "value": 700},
            ]},
        }))
        .unwrap();
        let (cpu, at) = (Duration::from_millis(1750), Some(Duration::from_millis(60_500)));
        let network = Some(Transferred { incoming: 11, outgoing: 22 });
        let block = Some(Transferred { incoming: 303, outgoing: 400 });
        assert_eq!(usage(&look), Usage { cpu, at, memory: 4000, memory_limit: 9000, network, block });
        // a stopped container has no clock
        let ended: ContainerStatsResponse =
            serde_json::from_value(serde_json::json!({"read": "0001-01-01T00:00:00Z"})).unwrap();
        assert_eq!(usage(&ended), Usage::default());
        assert_eq!(usage(&ContainerStatsResponse::default()), Usage::default());
    }
}
