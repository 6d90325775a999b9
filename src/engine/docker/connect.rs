//! Reaching an engine and learning what it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::EngineError;
use super::answers::{Info, Version, get};
use super::version::{ApiVersion, versioned};
use super::{Docker, errors};
use crate::model::{EngineKind, Facts};

/// An engine that systemd starts on the first connection takes some seconds to answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Opening a connection, without the first answer.
const OPEN: Duration = Duration::from_secs(3);
/// The client has one limit for the head of every answer, also of those that stream for hours; ours
/// are set call by call.
const NEVER: u64 = 365 * 24 * 3600;

/// Why an endpoint is of no use.
#[derive(Debug)]
pub(in super::super) enum ConnectError {
    Io(io::Error),
    TooOld(String),
    Other(String),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::TooOld(api) => write!(f, "it speaks only version {api} of the API, 1.41 is needed"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

enum Endpoint {
    Unix(String),
    Tcp(String),
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, ConnectError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("unix", text));
        match scheme {
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" => {
                let address = rest.trim_end_matches('/');
                // a port is not always given: 2375 is the one without TLS
                let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port { address.to_owned() } else { format!("{address}:2375") }))
            }
            _ => Err(ConnectError::Other(format!("an endpoint is unix://PATH or tcp://HOST:PORT, not `{text}`"))),
        }
    }
}

impl Docker {
    /// Connects to `unix:///path` or `tcp://host:port`, agrees on a version of the API and asks
    /// what the engine is. Gives up after 13 seconds.
    pub async fn connect(endpoint: &str) -> Result<Self, EngineError> {
        Self::reach(endpoint).await.map_err(|error| EngineError::Unreachable { tried: format!("{endpoint}: {error}") })
    }

    pub(in super::super) async fn reach(endpoint: &str) -> Result<Self, ConnectError> {
        Self::reach_within(endpoint, FIRST_ANSWER).await
    }

    async fn reach_within(endpoint: &str, first_answer: Duration) -> Result<Self, ConnectError> {
        let parsed = Endpoint::parse(endpoint)?;
        // opened once by hand: the operating system's own word on why not is lost in the client
        let opened = tokio::time::timeout(OPEN, async {
            match &parsed {
                Endpoint::Unix(path) => tokio::net::UnixStream::connect(path).await.map(drop),
                Endpoint::Tcp(address) => tokio::net::TcpStream::connect(address).await.map(drop),
            }
        });
        match opened.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ConnectError::Io(error)),
            Err(_) => return Err(ConnectError::Other(format!("no connection within {OPEN:?}"))),
        }
        let client = match &parsed {
            Endpoint::Unix(path) => bollard::Docker::connect_with_unix(path, NEVER, bollard::API_DEFAULT_VERSION),
            Endpoint::Tcp(address) => bollard::Docker::connect_with_http(address, NEVER, bollard::API_DEFAULT_VERSION),
        };
        let client = client.map_err(|error| ConnectError::Other(error.to_string()))?;
        let asked = async { tokio::try_join!(get::<Version>(&client, "/version"), get::<Info>(&client, "/info")) };
        let (version, info) = tokio::time::timeout(first_answer, asked)
            .await
            .map_err(|_| ConnectError::Other(format!("no answer within {first_answer:?}")))?
            .map_err(|error| ConnectError::Other(errors::engine_error("asking what it is", error).to_string()))?;
        let lowest = ApiVersion::parse(&version.min_api_version);
        let api = ApiVersion::parse(&version.api_version)
            .and_then(|highest| ApiVersion::negotiate(lowest, highest))
            .ok_or_else(|| ConnectError::TooOld(version.api_version.clone()))?;
        let socket = match parsed {
            Endpoint::Unix(path) => Some(path),
            Endpoint::Tcp(_) => None,
        };
        let facts = facts(&version, &info, api, socket, &this_machine());
        let client = client.with_request_modifier(move |mut request| {
            if let Ok(uri) = versioned(&request.uri().to_string(), api).parse() {
                *request.uri_mut() = uri;
            }
            // the client writes the login in plain base64, the engine reads the URL's alphabet
            for name in ["X-Registry-Auth", "X-Registry-Config"] {
                if let Some(value) = request.headers_mut().get_mut(name)
                    && let Ok(text) = value.to_str()
                    && let Ok(url_safe) = text.replace('+', "-").replace('/', "_").parse()
                {
                    *value = url_safe;
                }
            }
            request
        });
        Ok(Self { client, api, facts: Arc::new(facts), credentials: Arc::default() })
    }
}

/// Kernel and host name of this machine, to see whether the engine runs on it.
#[derive(Debug, Default)]
struct ThisMachine {
    kernel: String,
    name: String,
}

fn this_machine() -> ThisMachine {
    let uname = rustix::system::uname();
    ThisMachine {
        kernel: uname.release().to_string_lossy().into_owned(),
        name: uname.nodename().to_string_lossy().into_owned(),
    }
}

fn facts(version: &Version, info: &Info, api: ApiVersion, socket: Option<String>, here: &ThisMachine) -> Facts {
    let components = version.components.as_deref().unwrap_or_default();
    let podman = components.iter().find(|component| component.name.starts_with("Podman"));
    let number = podman.map_or(&version.version, |component| &component.version);
    // Debian adds its own: 20.10.24+dfsg1
    let number = number.split('+').next().unwrap_or_default();
    let options = info.security_options.as_deref().unwrap_or_default();
    let rootless = options.iter().any(|option| option.contains("name=rootless"));
    let desktop = info.operating_system.contains("Docker Desktop");
    // an engine in a virtual machine or in another network has addresses that lead nowhere here
    let local =
        cfg!(target_os = "linux") && socket.is_some() && info.kernel_version == here.kernel && info.name == here.name;
    let kind = if podman.is_some() { EngineKind::Podman } else { EngineKind::Docker };
    let name = match (kind, desktop) {
        (EngineKind::Podman, _) => "Podman",
        (EngineKind::Docker, true) => "Docker Desktop",
        (EngineKind::Docker, false) => "Docker",
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Facts {
        engine: format!("{name} {number}{}", if rootless { " (rootless)" } else { "" }),
        engine_kind: kind,
        api_version: api.to_string(),
        rootless,
        container_addresses: local && !rootless && !desktop,
        // Podman's is the gateway of each network
        embedded_dns: (kind == EngineKind::Docker).then_some(std::net::Ipv4Addr::new(127, 0, 0, 11).into()),
        architecture: version.arch.clone(),
        cpus: info.cpus,
        memory: info.mem_total,
        data_root: some(&info.docker_root_dir).filter(|_| local),
        storage_driver: some(&info.driver),
        cgroup_version: info.cgroup_version.parse().ok(),
        socket,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn seen(system: &str, options: &str, socket: bool, kernel: &str) -> Facts {
        let info: Info = serde_json::from_value(serde_json::json!({
            "OperatingSystem": system, "SecurityOptions": [options], "KernelVersion": "6.1", "Name": "box",
            "DockerRootDir": "/var/lib/docker", "CgroupVersion": "2",
        }))
        .unwrap();
        let version = Version { version: "29.1.0".into(), ..Version::default() };
        let here = ThisMachine { kernel: kernel.into(), name: "box".into() };
        facts(&version, &info, ApiVersion(1, 48), socket.then(|| "/s".to_owned()), &here)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn addresses_of_containers_lead_somewhere_only_on_the_same_machine() {
        let look = |facts: Facts| (facts.engine, facts.container_addresses, facts.data_root.is_some());
        assert_eq!(look(seen("Debian", "name=seccomp", true, "6.1")), ("Docker 29.1.0".into(), true, true));
        let rootless = look(seen("Debian", "name=rootless", true, "6.1"));
        assert_eq!(rootless, ("Docker 29.1.0 (rootless)".into(), false, true));
        let desktop = look(seen("Docker Desktop", "name=seccomp", true, "6.1"));
        assert_eq!(desktop, ("Docker Desktop 29.1.0".into(), false, true));
        // in a virtual machine, and over the network
        assert_eq!(look(seen("Alpine", "", true, "6.6")), ("Docker 29.1.0".into(), false, false));
        assert_eq!(look(seen("Debian", "", false, "6.1")), ("Docker 29.1.0".into(), false, false));
    }

    #[tokio::test]
    async fn a_socket_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hung.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let endpoint = format!("unix://{}", path.display());
        let error = Docker::reach_within(&endpoint, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 20ms");
    }
}
