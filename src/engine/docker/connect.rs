//! Reaching an engine and learning what it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::super::EngineError;
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
            Err(_) => return Err(ConnectError::Other(format!("no connection within {} s", OPEN.as_secs()))),
        }
        let client = match &parsed {
            Endpoint::Unix(path) => bollard::Docker::connect_with_unix(path, NEVER, bollard::API_DEFAULT_VERSION),
            Endpoint::Tcp(address) => bollard::Docker::connect_with_http(address, NEVER, bollard::API_DEFAULT_VERSION),
        };
        let client = client.map_err(|error| ConnectError::Other(error.to_string()))?;
        let asked = tokio::time::timeout(FIRST_ANSWER, async { tokio::join!(client.version(), client.info()) });
        let (version, info) =
            asked.await.map_err(|_| ConnectError::Other(format!("no answer within {} s", FIRST_ANSWER.as_secs())))?;
        let told = |error| ConnectError::Other(errors::engine_error("asking for its version", error).to_string());
        let version = version.map_err(told)?;
        let info = match info {
            // one word in this long answer that the client does not know is no reason to give up
            Err(Error::JsonDataError { .. } | Error::JsonSerdeError { .. }) => SystemInfo::default(),
            other => other.map_err(told)?,
        };
        let highest = version.api_version.clone().unwrap_or_default();
        let lowest = version.min_api_version.as_deref().and_then(ApiVersion::parse);
        let api = ApiVersion::parse(&highest)
            .and_then(|highest| ApiVersion::negotiate(lowest, highest))
            .ok_or(ConnectError::TooOld(highest))?;
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

fn facts(
    version: &SystemVersion,
    info: &SystemInfo,
    api: ApiVersion,
    socket: Option<String>,
    here: &ThisMachine,
) -> Facts {
    let components = version.components.as_deref().unwrap_or_default();
    let podman = components.iter().find(|component| component.name.starts_with("Podman"));
    let number = podman
        .map(|component| component.version.clone())
        .or_else(|| version.version.clone())
        .or_else(|| info.server_version.clone())
        .unwrap_or_default();
    // Debian adds its own: 20.10.24+dfsg1
    let number = number.split('+').next().unwrap_or_default();
    let options = info.security_options.as_deref().unwrap_or_default();
    let rootless = options.iter().any(|option| option.contains("name=rootless"));
    let desktop = info.operating_system.as_deref().is_some_and(|system| system.contains("Docker Desktop"));
    // an engine in a virtual machine or in another network has addresses that lead nowhere here
    let local = cfg!(target_os = "linux")
        && socket.is_some()
        && info.kernel_version.as_deref() == Some(here.kernel.as_str())
        && info.name.as_deref() == Some(here.name.as_str());
    let kind = if podman.is_some() { EngineKind::Podman } else { EngineKind::Docker };
    let name = match (kind, desktop) {
        (EngineKind::Podman, _) => "Podman",
        (EngineKind::Docker, true) => "Docker Desktop",
        (EngineKind::Docker, false) => "Docker",
    };
    Facts {
        engine: format!("{name} {number}{}", if rootless { " (rootless)" } else { "" }),
        engine_kind: kind,
        api_version: api.to_string(),
        rootless,
        container_addresses: local && !rootless && !desktop,
        // Podman's is the gateway of each network
        embedded_dns: (kind == EngineKind::Docker).then_some(std::net::Ipv4Addr::new(127, 0, 0, 11).into()),
        architecture: version.arch.clone().or_else(|| info.architecture.clone()).unwrap_or_default(),
        cpus: info.ncpu.and_then(|count| u64::try_from(count).ok()).unwrap_or_default(),
        memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
        data_root: info.docker_root_dir.clone().filter(|folder| !folder.is_empty() && local),
        storage_driver: info.driver.clone().filter(|driver| !driver.is_empty()),
        cgroup_version: match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_1) => Some(1),
            Some(SystemInfoCgroupVersionEnum::_2) => Some(2),
            _ => None,
        },
        socket,
    }
}
