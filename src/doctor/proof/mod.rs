//! Proof before work: a container that is made of this very program is created, started, asked on a
//! published port, asked for its DNS and for the way to this machine, and removed. It takes about a second
//! and no registry, so that an engine whose containers do not run is told before anything is pulled or built.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::compile::{Taken, choose_subnet};
use crate::engine::{Engine, EngineError, LogOptions};
use crate::host::Host;
use crate::model::{
    ContainerSpec, ContainerState, Facts, Fingerprint, IpamPool, NetworkAttachment, NetworkSpec, PortBinding, Protocol,
    label,
};

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
/// Everything that is made here has this label; its value is the process that made it.
const LABEL: &str = "dev.macula.proof";
const REPOSITORY: &str = "localhost/macula/proof";
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
    #[error("a container runs, and its port on {address} does not answer: {reason}")]
    Unreached { address: SocketAddr, reason: String },
    #[error("no free network or port for a trial container: {0}")]
    NoRoom(String),
    #[error(transparent)]
    Engine(EngineError),
}

/// Makes the proof. Whatever comes of it, nothing is left but the image, for the next time.
pub async fn prove(engine: &dyn Engine, host: &dyn Host, facts: &Facts) -> Result<Proved, Unproved> {
    let program = program(host, facts).await?;
    clear(engine, host).await;
    let image = image(engine, host, &program).await?;
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
                _ => return Err(Unproved::NoRoom(error.to_string())),
            },
            // that says nothing of containers
            Err(Unproved::NotStarted(
                error @ (EngineError::Unreachable { .. } | EngineError::Timeout { .. } | EngineError::Gone { .. }),
            )) => return Err(Unproved::Engine(error)),
            proved => return proved,
        }
    }
}

async fn run(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    image: &Image,
    name: &str,
) -> Result<Proved, Unproved> {
    let labels = BTreeMap::from([(LABEL.to_owned(), std::process::id().to_string())]);
    let (network, gateway) = network(engine, host, name, &labels).await?;
    engine.create_network(&network).await.map_err(Unproved::NotStarted)?;
    let port = free_port(host).await.ok_or_else(|| Unproved::NoRoom(format!("ports of {ADDRESS}")))?;
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
            true => host.http_get(address, NAME, "/", PATIENCE).await.map_err(|error| error.to_string()),
            false => Err(String::new()),
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
            let reason = asked.err().unwrap_or_else(|| "somebody else answers".to_owned());
            return Err(Unproved::Unreached { address, reason });
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
        if dead(found.label(LABEL)) {
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
    let subnet = choose_subnet(name, &taken).ok_or_else(|| Unproved::NoRoom("subnets".to_owned()))?;
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
    image: &Image,
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

/// The image, and how the program in it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Image {
    reference: String,
    entrypoint: Vec<String>,
}

/// This program and what it is linked with, as the kernel has mapped it: no file format has to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parts {
    loader: Option<PathBuf>,
    libraries: BTreeSet<PathBuf>,
}

const PROGRAM: &str = "/proc/self/exe";

/// This program, if it runs in the engine's containers.
async fn program(host: &dyn Host, facts: &Facts) -> Result<(Image, Parts), Unproved> {
    let machine = host.facts();
    if machine.os != "linux" {
        return Err(not_here("this program runs in Linux containers only where it is built for Linux"));
    }
    let same = match facts.architecture.as_str() {
        "amd64" | "x86_64" => machine.arch == "x86_64",
        "arm64" | "aarch64" => machine.arch == "aarch64",
        other => other == machine.arch,
    };
    if !same {
        return Err(not_here("the engine runs on another processor than this program"));
    }
    let maps = host.read(Path::new("/proc/self/maps")).await;
    let maps = maps.map_err(|_| not_here("this program's files are not known"))?;
    let changed = host.modified(Path::new(PROGRAM)).await.map_err(|_| not_here("this program's file is gone"))?;
    let parts = parts(&String::from_utf8_lossy(&maps));
    let tag = Fingerprint::of(&(env!("CARGO_PKG_VERSION"), changed, &parts.loader, &parts.libraries)).0;
    let tag = tag.get(..12).unwrap_or(&tag).to_owned();
    Ok((Image { reference: format!("{REPOSITORY}:{tag}"), entrypoint: entrypoint(&parts) }, parts))
}

fn not_here(why: &str) -> Unproved {
    Unproved::NotHere(format!("not tried: {why}"))
}

async fn image(engine: &dyn Engine, host: &dyn Host, (made, parts): &(Image, Parts)) -> Result<Image, Unproved> {
    let made = made.clone();
    if engine.image(&made.reference).await.map_err(Unproved::Engine)?.is_some() {
        return Ok(made);
    }
    for old in engine.labelled_images(LABEL).await.unwrap_or_default() {
        for name in old.names.iter().filter(|name| **name != made.reference) {
            // one that a container of another user still needs stays
            let _ = engine.remove_image(name).await;
        }
    }
    let archive = archive(host, parts).await.map_err(|error| not_here(&error.to_string()))?;
    let folder = host.folders().cache;
    let file = folder.join(format!("proof-{}.tar", std::process::id()));
    let kept = async {
        host.create_folder(&folder, 0o700).await?;
        host.write(&file, &archive, 0o600).await
    };
    kept.await.map_err(|error| not_here(&format!("{}: {error}", file.display())))?;
    let labels = BTreeMap::from([
        (LABEL.to_owned(), std::process::id().to_string()),
        (label::SERVICE.to_owned(), "proof".to_owned()),
    ]);
    let imported = engine.import(&file, &made.reference, &labels).await;
    let _ = host.remove(&file).await;
    imported.map_err(Unproved::Engine)?;
    Ok(made)
}

/// Files that are mapped to be run. The loader is one of them; a program without any is static.
fn parts(maps: &str) -> Parts {
    let mut parts = Parts::default();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let runs = words.nth(1).is_some_and(|rights| rights.contains('x'));
        let Some(path) = words.nth(3).filter(|path| runs && path.starts_with('/')) else { continue };
        let path = PathBuf::from(path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("ld-") || name.starts_with("ld.so") {
            parts.loader = Some(path);
        } else if name.contains(".so") {
            parts.libraries.insert(path);
        }
    }
    parts
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A loader that is started by itself finds the libraries where it is told.
fn entrypoint(parts: &Parts) -> Vec<String> {
    let program = "/macula".to_owned();
    match &parts.loader {
        None => vec![program],
        Some(loader) => {
            vec![format!("/lib/{}", file_name(loader)), "--library-path".to_owned(), "/lib".to_owned(), program]
        }
    }
}

/// The root of the image's file system.
async fn archive(host: &dyn Host, parts: &Parts) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let libraries = parts.loader.iter().chain(&parts.libraries);
    let files = libraries.map(|path| (path.clone(), format!("lib/{}", file_name(path))));
    for (path, name) in files.chain([(PathBuf::from(PROGRAM), "macula".to_owned())]) {
        let content = host.read(&path).await?;
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap_or_default());
        header.set_mode(0o755);
        header.set_mtime(0);
        archive.append_data(&mut header, &name, content.as_slice())?;
    }
    archive.into_inner()
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
