//! Proof before work: a container that is made of this very program is created, started, asked on a
//! published port, asked for its DNS and for the way to this machine, and removed. It takes about a second
//! and no registry, so that an engine whose containers do not run is told before anything is pulled or built.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::compile::{Taken, choose_subnet};
use crate::engine::{Engine, EngineError, LogOptions};
use crate::host::Host;
use crate::model::{
    AnyError, ContainerSpec, ContainerState, Facts, IpamPool, NetworkAttachment, NetworkSpec, PortBinding, Protocol,
    label,
};
use crate::system::own_image::LABEL;
use crate::system::{OwnImage, OwnImageError};
use crate::words;

mod inside;

pub use inside::{Answer, Asked, serve};

/// Where its port is published: the first of the addresses that platforms use.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Its port, inside.
const PORT: u16 = 8080;
/// On this machine: the first free one of these.
const PORTS: std::ops::Range<u16> = 48_120..48_180;
/// How long it may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(20);
/// How often it is tried where others take what was free a moment ago.
const TRIES: u32 = 6;
/// Programs that want a processor, for each of those that there are.
const BUSY: f64 = 2.0;
const TIME_TO_CLEAR: Duration = Duration::from_secs(5);
const NAME: &str = "macula-proof";

/// What was seen of a container that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// `None`: what is published does not arrive in this process, so nothing could be asked.
    pub answer: Option<Answer>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// Nothing is wrong: the proof cannot be made here.
    #[error("{0}")]
    NotHere(String),
    /// A container does not start; the engine's own words.
    #[error("containers do not start: {0}")]
    NotStarted(#[source] EngineError),
    #[error("a container ended right after its start (exit code {code})")]
    Ended { code: i64, log: Vec<String> },
    /// It runs, and its published port does not answer.
    #[error("a container runs, and its port on {address} does not answer: {source}")]
    Unreached { address: SocketAddr, source: AnyError },
    #[error("no free network or port for a trial container: {0}")]
    NoRoom(#[source] AnyError),
    #[error(transparent)]
    Engine(EngineError),
}

impl From<OwnImageError> for Unproved {
    fn from(error: OwnImageError) -> Self {
        match error {
            OwnImageError::NotHere(why) => Self::NotHere(format!("not tried: {why}")),
            OwnImageError::Engine(error) => Self::Engine(error),
        }
    }
}

/// Makes the proof. Whatever comes of it, nothing is left but the image, for the next time.
pub async fn prove(engine: &dyn Engine, host: &dyn Host, facts: &Facts) -> Result<Proved, Unproved> {
    OwnImage::of(host, facts).await?;
    clear(engine, host).await;
    let image = OwnImage::obtain(engine, host, facts).await?;
    let name = format!("{NAME}-{}", std::process::id());
    let mut tries = 0;
    loop {
        let proved = run(engine, host, facts, &image, &name).await;
        // its volumes too: it has none that anybody would want
        let _ = engine.discard_container(&name).await;
        let _ = engine.remove_network(&name).await;
        tries += 1;
        match proved {
            // another run has taken port or subnet between our look and our request
            Err(Unproved::NotStarted(
                error
                @ (EngineError::PortTaken { .. } | EngineError::SubnetTaken { .. } | EngineError::Conflict { .. }),
            )) => match tries {
                ..TRIES => tokio::time::sleep(SHORT * 10).await,
                _ => return Err(Unproved::NoRoom(error.into())),
            },
            // that says nothing of containers
            Err(Unproved::NotStarted(
                error @ (EngineError::Unreachable { .. } | EngineError::Timeout { .. } | EngineError::Gone { .. }),
            )) => return Err(Unproved::Engine(error)),
            proved => return proved,
        }
    }
}

/// Takes away what a proof that nobody waits for any more has made so far.
pub async fn abandon(engine: &dyn Engine, host: &dyn Host) {
    let name = format!("{NAME}-{}", std::process::id());
    OwnImage::abandon(host).await;
    let cleared = async {
        // what was asked for last may come into being only now
        for _ in 0..2 {
            let _ = engine.discard_container(&name).await;
            let _ = engine.remove_network(&name).await;
            tokio::time::sleep(SHORT * 50).await;
        }
    };
    // where that takes long, too, the next proof does it
    let _ = tokio::time::timeout(TIME_TO_CLEAR, cleared).await;
}

/// What others do to this machine, in words, where a proof would take long through no fault of the engine's.
pub fn busy(host: &dyn Host) -> Option<String> {
    let load = host.read_kernel(Path::new("/proc/loadavg"))?;
    let load = load.split(' ').next()?.parse::<f64>().ok()?;
    let cpus = host.facts().cpus;
    (load > BUSY * cpus as f64).then(|| format!("load {load}, {}", words::count(cpus, "processor")))
}

async fn run(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    image: &OwnImage,
    name: &str,
) -> Result<Proved, Unproved> {
    let labels = BTreeMap::from([(LABEL.to_owned(), std::process::id().to_string())]);
    let (network, gateway) = network(engine, host, name, &labels).await?;
    engine.create_network(&network).await.map_err(Unproved::NotStarted)?;
    let port = free_port(host).await.ok_or_else(|| Unproved::NoRoom(AnyError::said(format!("ports of {ADDRESS}"))))?;
    // somebody who listens at the gateway: a firewall of this machine may let nothing of a container through
    let listener = TcpListener::bind((gateway, 0)).await.ok();
    let knock = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let spec = container(name, image, &network, knock.unwrap_or((gateway, 1).into()), port, labels.clone());
    engine.create_container(&spec, &image.reference, &labels).await.map_err(Unproved::NotStarted)?;
    engine.start(name).await.map_err(Unproved::NotStarted)?;
    let address = SocketAddr::new(ADDRESS.into(), port);
    let begun = tokio::time::Instant::now();
    loop {
        let asked = match facts.published {
            true => host.http_get(address, NAME, "/", PATIENCE).await.map_err(AnyError::from),
            false => Err(AnyError::said("")),
        };
        if let Ok(answer) = asked.as_ref().map(|answer| serde_json::from_slice::<Answer>(&answer.body))
            && let Ok(answer) = answer
        {
            return Ok(Proved { answer: Some(answer) });
        }
        let found = engine.inspect(name).await.map_err(Unproved::Engine)?;
        if found.state != ContainerState::Running {
            let code = found.exit_code.unwrap_or_default();
            return Err(Unproved::Ended { code, log: log(engine, name).await });
        }
        if !facts.published && begun.elapsed() > SHORT * 10 {
            return Ok(Proved { answer: None });
        }
        if begun.elapsed() > PATIENCE {
            let source = asked.err().unwrap_or_else(|| AnyError::said("somebody else answers"));
            return Err(Unproved::Unreached { address, source });
        }
        tokio::time::sleep(SHORT).await;
    }
}

async fn log(engine: &dyn Engine, name: &str) -> Vec<String> {
    use futures_util::StreamExt;
    let options = LogOptions { tail: Some(5), ..LogOptions::default() };
    let Ok(lines) = engine.logs(name, &options).await else { return Vec::new() };
    lines
        .filter_map(|line| async move { Some(String::from_utf8_lossy(&line.ok()?.bytes).into_owned()) })
        .collect()
        .await
}

/// What a run that was killed has left, and images of other versions of this program.
async fn clear(engine: &dyn Engine, host: &dyn Host) {
    let dead = |pid: Option<&str>| pid.and_then(|pid| pid.parse().ok()).is_none_or(|pid| !host.alive(pid));
    for found in engine.labelled(LABEL).await.unwrap_or_default() {
        // the relay of a platform is made from the same image, whose labels it has too
        if found.label(label::PLATFORM).is_none() && dead(found.label(LABEL)) {
            let _ = engine.discard_container(&found.name).await;
        }
    }
    for network in engine.networks().await.unwrap_or_default() {
        if network.labels.contains_key(LABEL) && dead(network.labels.get(LABEL).map(String::as_str)) {
            let _ = engine.remove_network(&network.name).await;
        }
    }
}

/// Not all of those that look at once begin at the same port.
fn first_port() -> u16 {
    let count = u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(std::process::id() % count).unwrap_or_default()
}

async fn free_port(host: &dyn Host) -> Option<u16> {
    for port in (first_port()..PORTS.end).chain(PORTS) {
        if host.can_bind(SocketAddr::new(ADDRESS.into(), port), Protocol::Tcp).await.is_ok() {
            return Some(port);
        }
    }
    None
}

/// A network of its own, as platforms have one: the engine's names are answered only there.
async fn network(
    engine: &dyn Engine,
    host: &dyn Host,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(NetworkSpec, Ipv4Addr), Unproved> {
    let networks = engine.networks().await.map_err(Unproved::Engine)?;
    let routes = host.routes().await.unwrap_or_default().into_iter().map(|route| route.network).collect();
    let v4 = |subnet: &ipnet::IpNet| match subnet {
        ipnet::IpNet::V4(subnet) => Some(*subnet),
        ipnet::IpNet::V6(_) => None,
    };
    let networks = networks.iter().flat_map(|network| &network.subnets).filter_map(v4).collect();
    let taken = Taken { networks, routes };
    let subnet = choose_subnet(name, &taken).ok_or_else(|| Unproved::NoRoom(AnyError::said("subnets")))?;
    let gateway = subnet.hosts().next().unwrap_or(subnet.addr());
    let pool = IpamPool { subnet: subnet.into(), gateway: Some(gateway.into()), ip_range: None };
    let spec = NetworkSpec {
        name: name.to_owned(),
        external: false,
        driver: "bridge".to_owned(),
        driver_opts: BTreeMap::new(),
        internal: false,
        attachable: false,
        enable_ipv6: false,
        ipam: vec![pool],
        subnet: None,
        labels: labels.clone(),
    };
    Ok((spec, gateway))
}

fn container(
    name: &str,
    image: &OwnImage,
    network: &NetworkSpec,
    gateway: SocketAddr,
    port: u16,
    labels: BTreeMap<String, String>,
) -> ContainerSpec {
    let asked = ["container-proof", &format!("0.0.0.0:{PORT}"), name, &gateway.to_string()];
    ContainerSpec {
        name: name.to_owned(),
        service: NAME.to_owned(),
        replica: 1,
        image: image.reference.clone(),
        entrypoint: Some(image.entrypoint.clone()),
        command: Some(asked.map(str::to_owned).to_vec()),
        networks: vec![NetworkAttachment {
            network: network.name.clone(),
            aliases: Vec::new(),
            links: Vec::new(),
            ipv4: None,
            ipv6: None,
        }],
        ports: vec![PortBinding {
            host_ip: IpAddr::V4(ADDRESS),
            host_port: Some(port),
            container_port: PORT,
            protocol: Protocol::Tcp,
        }],
        labels,
        ..ContainerSpec::default()
    }
}

/// What the last proof was made with: while nothing of it changes, the next `up` need not make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub engine: String,
    /// When the engine was started, where it says so.
    pub started: Option<String>,
    /// Of this machine's start.
    pub boot: String,
    pub version: String,
}

impl Record {
    /// Of the engine as it is.
    pub async fn now(engine: &dyn Engine, host: &dyn Host, facts: &Facts) -> Self {
        let boot = host.read(Path::new("/proc/sys/kernel/random/boot_id")).await.unwrap_or_default();
        Self {
            engine: facts.engine.clone(),
            started: engine.started(),
            boot: String::from_utf8_lossy(&boot).trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn path(host: &dyn Host) -> PathBuf {
        host.folders().cache.join("proof.json")
    }

    pub async fn last(host: &dyn Host) -> Option<Self> {
        serde_json::from_slice(&host.read(&Self::path(host)).await.ok()?).ok()
    }

    /// No run fails because this cannot be kept.
    pub async fn keep(&self, host: &dyn Host) {
        if let Ok(content) = serde_json::to_vec_pretty(self) {
            let _ = host.write(&Self::path(host), &content, 0o600).await;
        }
    }
}

#[cfg(test)]
mod tests;
