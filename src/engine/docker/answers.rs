//! Answers that the client's own types are too strict for: they know a fixed set of words, and
//! Podman has more states than Docker (`stopped`, `configured`, `initialized`). One such container
//! would make a whole list unreadable. These types take words as they come, and only what is
//! needed, which also is faster to read.

use std::collections::BTreeMap;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::lines::Lines;
use super::version::versioned_path;
use super::{Docker, READ, errors};
use crate::engine::EngineError;

impl Docker {
    /// `path` with its query, encoded.
    pub(super) async fn get<T: DeserializeOwned>(&self, operation: &str, path: &str) -> Result<T, EngineError> {
        let path = versioned_path(path, self.api);
        let _place = self.lines.place().await;
        let asked = tokio::time::timeout(READ, get(&self.lines, operation, &path));
        let late = |_| EngineError::Timeout { operation: operation.to_owned(), after: READ };
        let answer = asked.instrument(tracing::debug_span!("engine", operation)).await.map_err(late).flatten();
        answer.inspect_err(|error| {
            // most things that are asked for by name are not there
            if !matches!(error, EngineError::NotFound { .. }) {
                tracing::debug!(%error, "the engine refuses");
            }
        })
    }
}

/// Asks for `path` as it stands.
pub(super) async fn get<T: DeserializeOwned>(lines: &Lines, operation: &str, path: &str) -> Result<T, EngineError> {
    let answer = lines.ask(Method::GET, path).await.map_err(|error| errors::no_answer(operation, error))?;
    let (status, body) = (answer.status(), answer.body());
    if !status.is_success() {
        let said: Option<Refusal> = serde_json::from_slice(body).ok();
        let said = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), |said| said.message);
        return Err(errors::server_error(operation, Some(status.as_u16()), said.trim()));
    }
    serde_json::from_slice(body).map_err(EngineError::local(operation))
}

/// What an engine says where it does not do what it is asked for.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// As it stands in a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// One of a list of containers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub id: String,
    /// `/name`, and `/other/alias` for each link to it.
    pub names: Option<Vec<String>>,
    /// As given at creation; its id once that name means another image.
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Seconds.
    pub created: i64,
    pub state: String,
    /// `Up 3 minutes (healthy)`
    pub status: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub ports: Option<Vec<ListedPort>>,
    pub network_settings: NetworkSettings,
    #[serde(deserialize_with = "if_readable")]
    pub mounts: Option<Vec<Mounted>>,
}

/// Podman lists other things in places than Docker does, and all of its containers are inspected anyway.
fn if_readable<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedPort {
    #[serde(rename = "IP")]
    pub ip: String,
    pub private_port: u16,
    /// Absent or 0: it is not published.
    pub public_port: u16,
    #[serde(rename = "Type")]
    pub protocol: String,
}

/// What an engine says of itself and its machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Info {
    pub security_options: Option<Vec<String>>,
    pub operating_system: String,
    pub kernel_version: String,
    /// Podman's as in an image's name; Docker's is the kernel's word for it.
    pub architecture: String,
    /// The machine's name.
    pub name: String,
    #[serde(rename = "NCPU")]
    pub cpus: u64,
    /// Bytes.
    pub mem_total: u64,
    pub docker_root_dir: String,
    pub driver: String,
    /// Pairs of what it says of its images' store.
    #[serde(deserialize_with = "if_readable")]
    pub driver_status: Option<Vec<(String, String)>>,
    /// `1` or `2`
    pub cgroup_version: String,
    /// By which the engine itself asks registries; passwords are masked.
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
}

/// What Podman says of itself in words of its own, on the same socket.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodmanInfo {
    pub host: PodmanHost,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodmanHost {
    /// Absent before Podman 4.5.
    pub network_backend_info: Option<PodmanNetworks>,
    pub security: PodmanSecurity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodmanSecurity {
    /// Podman 4.3 says so here alone.
    pub rootless: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodmanNetworks {
    pub dns: PodmanDns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodmanDns {
    /// The program that answers for names; empty: there is none.
    pub path: String,
}

/// A network, as far as its own addresses on the engine's machine go.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Bridge {
    pub id: String,
    pub created: String,
    #[serde(rename = "IPAM")]
    pub ipam: BridgeIpam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct BridgeIpam {
    pub config: Option<Vec<BridgePool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct BridgePool {
    pub subnet: String,
    /// Docker 20.10 does not say it of a bridge that it has just made.
    pub gateway: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Version {
    pub components: Option<Vec<Component>>,
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub arch: String,
    pub os: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Component {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    pub id: String,
    pub name: String,
    /// The image's id.
    pub image: String,
    pub created: String,
    pub restart_count: i64,
    pub state: State,
    pub config: Config,
    pub host_config: HostConfig,
    pub network_settings: NetworkSettings,
    pub mounts: Option<Vec<Mounted>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub status: String,
    pub running: bool,
    pub exit_code: Option<i64>,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    pub health: Option<HealthState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HealthState {
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    /// As given at creation.
    pub image: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub env: Option<Vec<String>>,
    /// Seconds.
    pub stop_timeout: Option<u64>,
    /// The image's, where the container was not given one.
    pub healthcheck: Option<HealthTest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HealthTest {
    pub test: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    pub port_bindings: Option<Ports>,
    /// Path in the container -> options.
    pub tmpfs: Option<BTreeMap<String, String>>,
}

/// `80/tcp` -> where it is published.
pub(super) type Ports = BTreeMap<String, Option<Vec<Published>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Published {
    pub host_ip: String,
    pub host_port: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    pub ports: Option<Ports>,
    pub networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Endpoint {
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// With Podman it is the name.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mounted {
    /// `bind`, `volume`, `tmpfs`
    #[serde(rename = "Type")]
    pub kind: String,
    /// Of a volume.
    pub name: String,
    pub source: String,
    pub destination: String,
    #[serde(rename = "RW")]
    pub writable: Option<bool>,
}

/// An entry of `GET /images/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedImage {
    pub id: String,
    pub repo_tags: Option<Vec<String>>,
    pub repo_digests: Option<Vec<String>>,
    /// Seconds since the Unix epoch.
    pub created: i64,
    pub size: i64,
    pub labels: Option<BTreeMap<String, String>>,
}

/// What `GET /system/df` says of volumes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DiskUsage {
    pub volumes: Option<Vec<CountedVolume>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CountedVolume {
    pub name: String,
    pub usage_data: Option<UsageData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UsageData {
    /// -1: not counted.
    pub size: i64,
}

/// Volumes by name, and folders of the host, that a container may write to.
pub(super) fn writes(mounts: Option<&[Mounted]>) -> Vec<String> {
    let written = mounts.unwrap_or_default().iter().filter(|mount| mount.writable != Some(false));
    let mut all: Vec<String> = written
        .filter(|mount| mount.kind != "tmpfs")
        .map(|mount| if mount.name.is_empty() { mount.source.clone() } else { mount.name.clone() })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Volumes by name that a container may only read.
pub(super) fn reads(mounts: Option<&[Mounted]>) -> Vec<String> {
    let read = mounts.unwrap_or_default().iter().filter(|mount| mount.writable == Some(false));
    let mut all: Vec<String> = read.map(|mount| mount.name.clone()).filter(|name| !name.is_empty()).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_request_is_encoded() {
        assert_eq!(encoded("macula-db_1.x~"), "macula-db_1.x~");
        assert_eq!(encoded(r#"{"a":["b c/ü"]}"#), "%7B%22a%22%3A%5B%22b%20c%2F%C3%BC%22%5D%7D");
    }

    #[test]
    fn states_that_the_client_does_not_know_are_read() {
        let inspected: Inspected =
            serde_json::from_str(r#"{"Id":"a","State":{"Status":"stopped","Health":null},"Mounts":null}"#).unwrap();
        assert_eq!((inspected.state.status.as_str(), inspected.config.image.as_str()), ("stopped", ""));
    }
}
