//! Reaching an engine and learning what it is.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderMap;

use super::super::EngineError;
use super::Docker;
use super::ahead::Ahead;
use super::answers::{Bridge, Component, Info, PodmanInfo, Version, get};
use super::dial::{self, Endpoint, Stream};
use super::known::{Identity, Introduction};
use super::lines::Lines;
use super::spec::START_INTERVAL;
use super::version::{ApiVersion, spoken};
use crate::model::{AnyError, EngineKind, FIRST_FORMAT, Facts, FormatVersion, NameServer, Traits};

/// An engine that systemd starts on the first connection takes some seconds to answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// As many times longer for a Podman that is there: to say what it is it counts its images, and an image that is just being
/// written holds that up.
const WHILE_BUSY: u32 = 5;
/// Opening a connection, without the first answer.
const OPEN: Duration = Duration::from_secs(3);
/// The client has one limit for the head of every answer, also of those that stream for hours; ours
/// are set call by call.
const NEVER: u64 = 365 * 24 * 3600;

/// What is done meanwhile, as errors say it.
const ASKED: &str = "asking what it is";

/// Why an endpoint is of no use.
#[derive(Debug)]
pub(in super::super) enum ConnectError {
    Io(io::Error),
    TooOld(String),
    /// It takes the connection and says nothing.
    Silent(String),
    Other(AnyError),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::TooOld(api) => write!(f, "it supports API {api}; 1.41 or later is required"),
            Self::Silent(message) => f.write_str(message),
            Self::Other(cause) => write!(f, "{cause}"),
        }
    }
}

impl Docker {
    /// Connects to `unix:///path`, `tcp://host:port` or `ssh://host`, agrees on a version of the API and asks
    /// what the engine is. Gives up after 13 seconds.
    pub async fn connect(endpoint: &str) -> Result<Self, EngineError> {
        Self::reach(endpoint, None, None)
            .await
            .map(|(docker, _)| docker)
            .map_err(|error| EngineError::Unreachable { tried: format!("{endpoint}: {error}") })
    }

    /// `keys`: the folder of those with which an engine behind TLS is asked. `known`: what an engine at this
    /// endpoint has said before. The second value is what this one said, where it was asked and may be kept.
    pub(in super::super) async fn reach(
        endpoint: &str,
        keys: Option<&Path>,
        known: Option<&Introduction>,
    ) -> Result<(Self, Option<Introduction>), ConnectError> {
        Self::reach_within(endpoint, keys, known, FIRST_ANSWER).await
    }

    async fn reach_within(
        endpoint: &str,
        keys: Option<&Path>,
        known: Option<&Introduction>,
        first_answer: Duration,
    ) -> Result<(Self, Option<Introduction>), ConnectError> {
        let parsed = Endpoint::parse(endpoint, keys).map_err(|error| ConnectError::Other(error.into()))?;
        let parsed = Arc::new(parsed);
        // opened once by hand: the operating system's own word on why not is lost in the client
        let stream = match tokio::time::timeout(OPEN, parsed.open()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ConnectError::Io(error)),
            Err(_) => return Err(ConnectError::Other(AnyError::said(format!("no connection within {OPEN:?}")))),
        };
        let client = match &*parsed {
            Endpoint::Unix(path) => bollard::Docker::connect_with_unix(path, NEVER, bollard::API_DEFAULT_VERSION),
            Endpoint::Tcp(_) | Endpoint::Tls(..) | Endpoint::Ssh(_) => {
                let endpoint = Arc::clone(&parsed);
                let transport = move |asked| dial::request(Arc::clone(&endpoint), asked);
                bollard::Docker::connect_with_custom_transport(
                    transport,
                    Some("http://docker"),
                    NEVER,
                    bollard::API_DEFAULT_VERSION,
                )
            }
        };
        let client = client.map_err(|error| ConnectError::Other(error.into()))?;
        let lines = Arc::new(Lines::new(parsed));
        let (asked, waited) = {
            let busy = AtomicBool::new(false);
            let mut introduced = pin!(introduce(&lines, stream, known, &busy));
            let first = tokio::time::timeout(first_answer, &mut introduced).await;
            match first {
                Err(_) if busy.load(Ordering::Relaxed) => {
                    let longer = first_answer * WHILE_BUSY;
                    (tokio::time::timeout(longer, introduced).await, first_answer + longer)
                }
                first => (first, first_answer),
            }
        };
        let Introduced { version, info, own, bridge, learned } = asked
            .map_err(|_| ConnectError::Silent(format!("no answer within {waited:?}")))?
            .map_err(|error| ConnectError::Other(error.into()))?;
        let lowest = ApiVersion::parse(&version.min_api_version);
        let api = ApiVersion::parse(&version.api_version)
            .and_then(|highest| ApiVersion::negotiate(lowest, highest))
            .ok_or_else(|| ConnectError::TooOld(version.api_version.clone()))?;
        // an engine makes its own bridge whenever it is started
        let started = bridge.as_ref().map(|bridge| bridge.created.clone()).filter(|time| !time.is_empty());
        let here = ThisMachine { bridge: bridge.and_then(|bridge| is_here(&bridge)), ..this_machine() };
        let facts = Arc::new(facts(&version, &info, own.as_ref(), api, lines.endpoint(), &here));
        let client = client.with_request_modifier(move |request| spoken(request, api));
        let docker = Self { client, api, lines, facts, started, logins: Arc::default(), ahead: Ahead::default() };
        Ok((docker, learned))
    }
}

/// What an engine is.
struct Introduced {
    version: Version,
    info: Info,
    own: Option<PodmanInfo>,
    bridge: Option<Bridge>,
    learned: Option<Introduction>,
}

/// Asks what the engine is, unless it is the one that has said so before. `stream`: a connection that is
/// open. `busy`: it is one that answers, and may take its time for the rest.
async fn introduce(
    lines: &Lines,
    stream: Stream,
    known: Option<&Introduction>,
    busy: &AtomicBool,
) -> Result<Introduced, EngineError> {
    let ping = async {
        let head = lines.ask_over(stream, Method::GET, "/_ping").await.ok()?.into_parts().0.headers;
        let server = head.get("server").and_then(|server| server.to_str().ok());
        busy.store(server.is_some_and(|server| server.starts_with("Libpod")), Ordering::Relaxed);
        Some(head)
    };
    let (head, bridge) = tokio::join!(ping, async { get::<Bridge>(lines, ASKED, "/networks/bridge").await.ok() });
    let said = head.as_ref().and_then(Version::of_podman);
    let who = head.zip(bridge.as_ref()).and_then(|(head, bridge)| Identity::of(&head, bridge));
    if let Some(known) = known.filter(|known| known.is_of(who.as_ref())) {
        let (version, info) = (known.version.clone(), known.info.clone());
        return Ok(Introduced { version, info, own: None, bridge, learned: None });
    }
    // each of these takes Podman seconds where the machine is busy: it looks up the packages of all its programs
    let version = async {
        match said {
            Some(said) => Ok(said),
            None => get::<Version>(lines, ASKED, "/version").await,
        }
    };
    let own = async {
        match busy.load(Ordering::Relaxed) {
            true => get::<PodmanInfo>(lines, ASKED, PODMAN_INFO).await.ok(),
            false => None,
        }
    };
    let (version, info, own) = tokio::join!(version, get::<Info>(lines, ASKED, "/info"), own);
    let (mut version, info) = (version?, info?);
    if version.arch.is_empty() {
        version.arch.clone_from(&info.architecture);
    }
    // a network of that name tells nothing of when Podman was started
    let who = who.filter(|_| !version.is_podman());
    let learned = who.map(|who| Introduction::new(who, &version, &info));
    Ok(Introduced { version, info, own, bridge, learned })
}

/// All of Podman's versions from 4 on answer it.
const PODMAN_INFO: &str = "/v4.0.0/libpod/info";

impl Version {
    fn podman(&self) -> Option<&Component> {
        self.components.as_deref().unwrap_or_default().iter().find(|component| component.name.starts_with("Podman"))
    }

    fn is_podman(&self) -> bool {
        self.podman().is_some()
    }

    /// From the head of an answer of Podman's, which says it there at once.
    fn of_podman(head: &HeaderMap) -> Option<Self> {
        let text = |name: &str| head.get(name)?.to_str().ok();
        let version = text("server")?.strip_prefix("Libpod/")?.split(' ').next()?.to_owned();
        let api_version = text("api-version")?.to_owned();
        let engine = Component { name: "Podman Engine".to_owned(), version: version.clone() };
        Some(Self { components: Some(vec![engine]), version, api_version, ..Self::default() })
    }
}

/// Kernel and host name of this machine, to see whether the engine runs on it.
#[derive(Debug, Default)]
struct ThisMachine {
    kernel: String,
    name: String,
    /// The address of the engine's own bridge is one of this process's: both share a network.
    /// `None`: it does not say where that is.
    bridge: Option<bool>,
    systemd: bool,
}

/// An address that one can bind is one's own. Nothing is sent.
fn is_here(bridge: &Bridge) -> Option<bool> {
    let pools = bridge.ipam.config.iter().flatten();
    let first = |subnet: &str| subnet.parse::<ipnet::Ipv4Net>().ok()?.hosts().next();
    let gateway: std::net::Ipv4Addr =
        pools.filter_map(|pool| pool.gateway.parse().ok().or_else(|| first(&pool.subnet))).next()?;
    match std::net::UdpSocket::bind((gateway, 0)) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Some(false),
        Err(_) => None,
    }
}

fn this_machine() -> ThisMachine {
    let uname = rustix::system::uname();
    ThisMachine {
        kernel: uname.release().to_string_lossy().into_owned(),
        name: uname.nodename().to_string_lossy().into_owned(),
        bridge: None,
        systemd: std::path::Path::new("/run/systemd/system").exists(),
    }
}

/// The product that brings a machine for its engine, by what it calls that machine.
fn product(info: &Info) -> Option<String> {
    let known = [
        ("docker-desktop", "Docker Desktop"),
        ("colima", "Colima"),
        ("lima-rancher-desktop", "Rancher Desktop"),
        ("orbstack", "OrbStack"),
        ("podman-machine", "a machine of Podman's"),
    ];
    let system = info.operating_system.to_lowercase().replace(' ', "-");
    let found = known.iter().find(|(name, _)| info.name.starts_with(name) || system.starts_with(name));
    found.map(|(_, product)| (*product).to_owned())
}

fn facts(
    version: &Version,
    info: &Info,
    own: Option<&PodmanInfo>,
    api: ApiVersion,
    endpoint: &Endpoint,
    here: &ThisMachine,
) -> Facts {
    let podman = version.podman();
    let number = podman.map_or(&version.version, |component| &component.version);
    // Debian adds its own: 20.10.24+dfsg1
    let number = number.split('+').next().unwrap_or_default();
    let options = info.security_options.as_deref().unwrap_or_default();
    let said = own.is_some_and(|own| own.host.security.rootless);
    let rootless = said || options.iter().any(|option| option.contains("name=rootless"));
    let desktop = info.operating_system.contains("Docker Desktop");
    let socket = match endpoint {
        Endpoint::Unix(path) => Some(path.clone()),
        _ => None,
    };
    let near = endpoint.is_near();
    // an engine in a virtual machine or in another network has addresses that lead nowhere here
    let same_kernel = info.kernel_version == here.kernel;
    let local = cfg!(target_os = "linux") && near && same_kernel && info.name == here.name;
    // a container with the engine's socket has the machine's kernel, and a network of its own
    let kind = if podman.is_some() { EngineKind::Podman } else { EngineKind::Docker };
    // Podman makes a bridge when a container comes that wants it: one that is not there says nothing
    let bridge = here.bridge.filter(|found| *found || kind == EngineKind::Docker);
    let elsewhere = bridge == Some(false) || (kind == EngineKind::Podman && bridge.is_none() && !local);
    let apart = elsewhere && same_kernel && !rootless && !desktop;
    let shares = bridge.unwrap_or(local);
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
        container_addresses: cfg!(target_os = "linux") && near && shares && !rootless && !desktop,
        published: near && !apart,
        traits: Traits {
            names: match (kind, own.and_then(|own| own.host.network_backend_info.as_ref())) {
                (EngineKind::Docker, _) => NameServer::InContainer,
                (EngineKind::Podman, Some(networks)) if networks.dns.path.is_empty() => NameServer::Nobody,
                (EngineKind::Podman, _) => NameServer::Gateway,
            },
            health_checks: kind == EngineKind::Docker || !local || here.systemd,
            start_interval: api >= START_INTERVAL,
            containerd_images: info.driver_status.iter().flatten().any(|(_, value)| value == CONTAINERD_STORE),
            proxied: [&info.http_proxy, &info.https_proxy].into_iter().flatten().any(|proxy| !proxy.is_empty()),
            product: product(info),
        },
        dockerfile: (kind == EngineKind::Docker && version.os != "windows").then(|| dockerfile_format(number)),
        architecture: version.arch.clone(),
        cpus: info.cpus,
        memory: info.mem_total,
        data_root: some(&info.docker_root_dir).filter(|_| local && !apart),
        storage_driver: some(&info.driver),
        cgroup_version: info.cgroup_version.parse().ok(),
        socket,
    }
}

/// The type of driver that Docker names where images lie in containerd's store.
const CONTAINERD_STORE: &str = "io.containerd.snapshotter.v1";

/// What the BuildKit in an engine of this version reads without a front end from a registry, by the
/// releases of both; a release that nobody has looked at counts as the last one before it.
fn dockerfile_format(engine: &str) -> FormatVersion {
    let major = engine.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or_default();
    match major {
        0..=22 => FIRST_FORMAT,
        23 => (1, 4),
        24 => (1, 5),
        25 => (1, 6),
        26 => (1, 7),
        27 => (1, 8),
        28 => (1, 14),
        _ => (1, 19),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::UnixListener;

    use super::*;

    fn seen(system: &str, options: &str, endpoint: &str, kernel: &str, bridge: Option<bool>) -> Facts {
        let version = Version { version: "29.1.0".into(), ..Version::default() };
        of(&version, &info(system, options), None, endpoint, &here(kernel, bridge))
    }

    fn info(system: &str, options: &str) -> Info {
        serde_json::from_value(serde_json::json!({
            "OperatingSystem": system, "SecurityOptions": [options], "KernelVersion": "6.1", "Name": "box",
            "DockerRootDir": "/var/lib/docker", "CgroupVersion": "2",
        }))
        .unwrap()
    }

    fn here(kernel: &str, bridge: Option<bool>) -> ThisMachine {
        ThisMachine { kernel: kernel.into(), name: "box".into(), bridge, systemd: false }
    }

    fn of(version: &Version, info: &Info, own: Option<&PodmanInfo>, endpoint: &str, here: &ThisMachine) -> Facts {
        facts(version, info, own, ApiVersion(1, 48), &Endpoint::parse(endpoint, None).unwrap(), here)
    }

    fn podman() -> Version {
        let name = "Podman Engine".to_owned();
        Version { components: Some(vec![Component { name, version: "5.4.2".into() }]), ..Version::default() }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn addresses_of_containers_lead_somewhere_only_in_the_same_network() {
        let socket = "unix:///s";
        // system, options, endpoint, kernel, the engine's bridge is here: container addresses,
        // published addresses, data folder
        for (system, options, endpoint, kernel, bridge, expected) in [
            ("Debian", "name=seccomp", socket, "6.1", Some(true), (true, true, true)),
            ("Debian", "name=seccomp", socket, "6.1", None, (true, true, true)),
            ("Debian", "name=rootless", socket, "6.1", Some(false), (false, true, true)),
            ("Docker Desktop", "name=seccomp", socket, "6.1", Some(false), (false, true, true)),
            // in a virtual machine
            ("Alpine", "", socket, "6.6", Some(false), (false, true, false)),
            // a container that has the engine's socket, whatever its host name
            ("Debian", "", socket, "6.1", Some(false), (false, false, false)),
            // over the network: on this machine, and on another
            ("Debian", "", "tcp://localhost:2375", "6.1", Some(true), (true, true, true)),
            ("Debian", "", "tcp://docker:2375", "6.1", Some(false), (false, false, false)),
        ] {
            let facts = seen(system, options, endpoint, kernel, bridge);
            let found = (facts.container_addresses, facts.published, facts.data_root.is_some());
            assert_eq!(found, expected, "{system} {options} {endpoint} {bridge:?}");
        }
        assert_eq!(seen("Debian", "", socket, "6.1", None).dockerfile, Some((1, 19)));
        for (engine, format) in [
            ("20.10.24", (1, 2)),
            ("22.06.0", (1, 2)),
            ("23.0.6", (1, 4)),
            ("24.0.9", (1, 5)),
            ("25.0.5", (1, 6)),
            ("26.1.5", (1, 7)),
            ("27.5.1", (1, 8)),
            ("28.5.2", (1, 14)),
            ("29.1.0", (1, 19)),
            ("", (1, 2)),
        ] {
            assert_eq!(dockerfile_format(engine), format, "{engine}");
        }
        assert_eq!(seen("Debian", "name=rootless", socket, "6.1", None).engine, "Docker 29.1.0 (rootless)");
        assert_eq!(seen("Docker Desktop", "", socket, "6.1", None).engine, "Docker Desktop 29.1.0");
    }

    #[test]
    fn a_bridge_is_here_where_its_address_can_be_bound() {
        let bridge = |gateway: &str, subnet: &str| -> Bridge {
            serde_json::from_value(serde_json::json!({"IPAM": {"Config": [{"Gateway": gateway, "Subnet": subnet}]}}))
                .unwrap()
        };
        assert_eq!(is_here(&bridge("127.0.0.1", "")), Some(true));
        assert_eq!(is_here(&bridge("", "127.0.0.0/8")), Some(true));
        assert_eq!(is_here(&bridge("192.0.2.1", "127.0.0.0/8")), Some(false));
        assert_eq!(is_here(&bridge("", "")), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn podman_makes_its_bridges_late() {
        let of = |name: &str, bridge| {
            let here = ThisMachine { name: name.into(), ..here("6.1", bridge) };
            let facts = of(&podman(), &info("debian", ""), None, "unix:///s", &here);
            (facts.container_addresses, facts.published)
        };
        assert_eq!(of("box", Some(true)), (true, true));
        assert_eq!(of("box", Some(false)), (true, true), "no container has wanted the bridge so far");
        assert_eq!(of("4be2f1a7c9d0", Some(false)), (false, false), "a container that has Podman's socket");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn traits_of_engines() {
        let socket = "unix:///s";
        let docker = seen("Debian", "", socket, "6.1", Some(true)).traits;
        assert_eq!(docker, Traits { start_interval: true, ..Traits::default() });
        let store = serde_json::json!({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]});
        let store: Info = serde_json::from_value(store).unwrap();
        assert!(of(&Version::default(), &store, None, socket, &here("6.1", None)).traits.containerd_images);
        let behind = |answer: serde_json::Value| {
            let info: Info = serde_json::from_value(answer).unwrap();
            of(&Version::default(), &info, None, socket, &here("6.1", None)).traits.proxied
        };
        assert!(behind(serde_json::json!({"HttpProxy": "", "HttpsProxy": "http://xxxxx:xxxxx@proxy:3128"})));
        assert!(!behind(serde_json::json!({"HttpProxy": null, "HttpsProxy": ""})));
        let names = |answer: serde_json::Value| {
            let own: PodmanInfo = serde_json::from_value(answer).unwrap();
            of(&podman(), &info("debian", ""), Some(&own), socket, &here("6.1", None)).traits.names
        };
        assert_eq!(names(serde_json::json!({"host": {"networkBackend": "netavark"}})), NameServer::Gateway);
        let without = serde_json::json!({"host": {"networkBackendInfo": {"backend": "netavark", "dns": {}}}});
        assert_eq!(names(without), NameServer::Nobody);
        let program = serde_json::json!({"host": {"networkBackendInfo": {"dns": {"path": "/usr/lib/podman/x"}}}});
        assert_eq!(names(program), NameServer::Gateway);
        let rootless: PodmanInfo =
            serde_json::from_value(serde_json::json!({"host": {"security": {"rootless": true}}})).unwrap();
        let facts = of(&podman(), &info("debian", ""), Some(&rootless), socket, &here("6.1", None));
        assert_eq!((facts.engine.as_str(), facts.container_addresses), ("Podman 5.4.2 (rootless)", false));
        let checks = |systemd| {
            let here = ThisMachine { systemd, ..here("6.1", None) };
            of(&podman(), &info("debian", ""), None, socket, &here).traits.health_checks
        };
        assert_eq!((checks(false), checks(true)), (false, true));
    }

    #[test]
    fn products_are_known_by_their_machines() {
        let of = |name: &str, system: &str| {
            product(&Info { name: name.into(), operating_system: system.into(), ..Info::default() })
        };
        assert_eq!(of("colima", "Ubuntu 24.04.3 LTS").as_deref(), Some("Colima"));
        assert_eq!(of("docker-desktop", "Docker Desktop").as_deref(), Some("Docker Desktop"));
        // either of them tells
        assert_eq!(of("me", "OrbStack").as_deref(), Some("OrbStack"));
        assert_eq!(of("podman-machine-default", "fedora").as_deref(), Some("a machine of Podman's"));
        assert_eq!(of("lima-rancher-desktop", "Rancher Desktop WSL Distribution").as_deref(), Some("Rancher Desktop"));
        assert_eq!(of("box", "Debian GNU/Linux 13 (trixie)"), None);
    }

    /// Answers a ping at once, and everything else late. `says`: the lines of its heads. What it is asked for is written
    /// down.
    fn busy_engine(path: &std::path::Path, says: &'static str) -> Arc<Mutex<Vec<String>>> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = UnixListener::bind(path).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let journal = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    let read = stream.read(&mut request).await.unwrap_or_default();
                    let request = String::from_utf8_lossy(&request[..read]);
                    let Some(path) = request.split(' ').nth(1) else { return };
                    journal.lock().unwrap().push(path.to_owned());
                    if path != "/_ping" {
                        tokio::time::sleep(Duration::from_millis(1500)).await;
                    }
                    let body = r#"{"ApiVersion": "1.41", "MinAPIVersion": "1.24", "Architecture": "amd64"}"#;
                    let head = format!("HTTP/1.1 200 OK\r\n{says}\r\nContent-Length: {}\r\n", body.len());
                    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await;
                });
            }
        });
        asked
    }

    #[tokio::test]
    async fn a_podman_that_is_busy_gets_the_time_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let both = [("Server: Libpod/4.3.1 (linux)", true), ("Server: Docker/28.5.2 (linux)", false)];
        for (name, (says, there)) in ["podman", "docker"].into_iter().zip(both) {
            let path = folder.path().join(name);
            busy_engine(&path, says);
            let endpoint = format!("unix://{}", path.display());
            let reached = Docker::reach_within(&endpoint, None, None, Duration::from_secs(1)).await;
            assert_eq!(reached.is_ok(), there, "{says}");
        }
    }

    /// Each further question makes Podman look up the packages of all its programs.
    #[tokio::test]
    async fn a_podman_that_has_said_its_version_is_not_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("podman");
        let asked = busy_engine(&path, "Server: Libpod/5.8.6 (linux)\r\nApi-Version: 1.41");
        let endpoint = format!("unix://{}", path.display());
        let (docker, learned) = Docker::reach_within(&endpoint, None, None, Duration::from_secs(1)).await.unwrap();
        assert_eq!((docker.facts.engine.as_str(), docker.facts.architecture.as_str()), ("Podman 5.8.6", "amd64"));
        assert_eq!(docker.facts.engine_kind, EngineKind::Podman);
        assert!(learned.is_none());
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, ["/_ping", "/info", "/networks/bridge", PODMAN_INFO]);
    }

    #[tokio::test]
    async fn a_socket_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hung.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let endpoint = format!("unix://{}", path.display());
        let error = Docker::reach_within(&endpoint, None, None, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 20ms");
    }
}
