//! The resolver of this user and machine, one for all platforms: `up` starts it where none answers
//! and adds the platform's names, `down` takes them out, and the last one stops it.
//!
//! | file in `<data>/dns` | holds |
//! |---|---|
//! | `resolver.sock` | the control socket of the one that runs |
//! | `resolver.json` | its process: pid, start time, version, who started it and how |
//! | `routes.sock` | where `macula run` asks for a name |
//! | `page.sock` | where `macula open home` asks for the page |
//! | `page.key` | what the keys of the page are made of |
//! | `reach.sock` | where `up` and `down` say that what is passed on has changed |
//! | `resolver.log` | what one in the background says |
//! | `zones/<platform>.json` | a platform's names and what it wants of the resolver: what it is started with again |
//! | `offered` | nothing: `up` has offered `dns install` once |
//! | `resolver.lock` | held while one of the above is changed |

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::compile::{RESOLVER, feed, gateway, name_as_the_domain, resolver_metrics, zone};
use crate::daemon::reach::Table;
use crate::dns::install::{self, InstallError};
use crate::dns::{Client, ControlError, Listen, ServerError, Status, ZoneEntry, ask};
use crate::host::{Command, Host, Lock, Unmet, holders, until};
use crate::model::{DnsSettings, MaculaCommand, Platform, PlatformName, Protocol, Remedy, View, Way, macula};

use super::error::ResolverError;
use super::state::{read, write};
use super::survey::Survey;
use super::{Error, Session};

/// Between two looks at one that starts or ends.
const SHORT: Duration = Duration::from_millis(10);
/// How long a new one may take until it answers.
const START: Duration = Duration::from_secs(5);
/// Looks at a process that is to be started again when it was killed, and how often it may be soon after its start.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const TOO_OFTEN: u32 = 5;
/// For the first look at PowerDNS.
const FED: Duration = Duration::from_secs(1);
/// Until it has let go of an address.
const GIVE_WAY: Duration = Duration::from_secs(3);
/// Until an old one has gone.
const STOP: Duration = Duration::from_secs(5);
/// For an answer that comes from this machine.
const QUICK: Duration = Duration::from_millis(500);
/// For an answer of a resolver on this machine, if it is pointed at us.
const AT_ONCE: Duration = Duration::from_millis(60);
/// For what it says of itself.
const CONTROL: Duration = Duration::from_secs(2);
/// For an answer that may come by way of other machines.
const PATIENCE: Duration = Duration::from_secs(3);
/// A log longer than this loses its older half.
pub(super) const LONGEST_LOG: u64 = 1 << 20;
pub(super) const FORMAT: u64 = 1;
/// Where port 53 is not available.
pub(super) const DEFAULT_PORT: u16 = 5335;

mod receiving;
mod wants;

pub use receiving::Receiving;
pub use wants::Wants;

/// Where the resolver's files lie.
#[derive(Debug, Clone)]
pub struct ResolverFiles {
    folder: PathBuf,
}

impl ResolverFiles {
    pub fn of(host: &dyn Host) -> Self {
        Self { folder: host.folders().data.join("dns") }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn control(&self) -> PathBuf {
        self.folder.join("resolver.sock")
    }

    /// Where programs of this machine ask for a name.
    pub fn routes(&self) -> PathBuf {
        self.folder.join("routes.sock")
    }

    /// Where it is told that what is passed on has changed.
    pub fn reach(&self) -> PathBuf {
        self.folder.join("reach.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("resolver.log")
    }

    pub(super) fn process(&self) -> PathBuf {
        self.folder.join("resolver.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.folder.join("resolver.lock")
    }

    fn zones(&self) -> PathBuf {
        self.folder.join("zones")
    }

    pub(super) fn zone(&self, platform: &PlatformName) -> PathBuf {
        platform.file(&self.zones(), "json")
    }

    /// What was done to point the system at the resolver.
    pub fn install(&self) -> PathBuf {
        self.folder.join("install")
    }

    /// There once `up` has offered to point the system at the resolver.
    pub fn offered(&self) -> PathBuf {
        self.folder.join("offered")
    }

    /// The system's resolv.conf as it was, where ours stands in it now.
    pub(super) fn former_resolv_conf(&self) -> PathBuf {
        self.install().join("resolv.conf.before")
    }

    /// The platforms' names as recorded, by platform. A file that cannot be read is passed over: the
    /// next `up` of its platform writes it anew.
    pub async fn entries(&self, host: &dyn Host) -> Vec<(PlatformName, ZoneEntry)> {
        self.kept(host).await.into_iter().map(|(platform, kept)| (platform, kept.entry)).collect()
    }

    /// What the platforms want of the resolver, by platform.
    pub async fn settings(&self, host: &dyn Host) -> Vec<(PlatformName, DnsSettings)> {
        self.kept(host).await.into_iter().map(|(platform, kept)| (platform, kept.settings)).collect()
    }

    /// The files of all platforms as they are.
    pub(super) async fn recorded(&self, host: &dyn Host) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for file in host.list(&self.zones()).await.unwrap_or_default() {
            let content = host.read(&self.zones().join(&file)).await.unwrap_or_default();
            all.push((file, content));
        }
        all.sort();
        all
    }

    /// Where telemetry is taken, by platform.
    pub async fn receiving(&self, host: &dyn Host) -> Vec<(PlatformName, Receiving)> {
        let all = self.kept(host).await.into_iter();
        all.filter_map(|(platform, kept)| Some((platform, kept.receiving?))).collect()
    }

    /// The same of one platform.
    pub async fn receiving_of(&self, host: &dyn Host, platform: &PlatformName) -> Option<Receiving> {
        read::<ZoneFile>(host, &self.zone(platform)).await.ok().flatten()?.receiving
    }

    async fn kept(&self, host: &dyn Host) -> Vec<(PlatformName, ZoneFile)> {
        let mut all = Vec::new();
        for file in host.list(&self.zones()).await.unwrap_or_default() {
            let name = file.strip_suffix(".json").and_then(|name| PlatformName::new(name).ok());
            let Some(platform) = name else { continue };
            if let Ok(Some(kept)) = read::<ZoneFile>(host, &self.zone(&platform)).await {
                all.push((platform, kept));
            }
        }
        all
    }

    /// The process that was started last, running or not.
    pub async fn last_process(&self, host: &dyn Host) -> Option<Process> {
        read(host, &self.process()).await.ok().flatten()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ZoneFile {
    format: u64,
    entry: ZoneEntry,
    /// What the platform wants of the resolver itself.
    #[serde(default)]
    settings: DnsSettings,
    /// Where the background process takes its telemetry.
    #[serde(default)]
    receiving: Option<Receiving>,
}

/// Who started a resolver, and so who stops it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedBy {
    /// Somebody who watches it: it is left alone.
    #[default]
    Hand,
    /// `up`: the last `down` stops it.
    Up,
    /// The system, which starts it again whenever it ends.
    Service,
}

/// The process of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub format: u64,
    pub pid: u32,
    /// Seconds since the epoch.
    pub started: i64,
    pub version: String,
    pub started_by: StartedBy,
    /// What it was started with.
    #[serde(default)]
    pub wants: Wants,
}

/// Makes sure that the resolver runs and has the platform's names. Cheap when both is so.
pub async fn ensure(session: &Session, survey: &Survey) -> Result<Status, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let _lock = lock(session, &files).await?;
    let receiving = Receiving::of(&survey.platform, survey.block);
    let mut entry = entry(survey, receiving.as_ref());
    entry.clients = own_addresses(host).await;
    let settings = survey.platform.dns.clone();
    let wants = agree(host, &survey.platform).await?;
    let kept = ZoneFile { format: FORMAT, entry: entry.clone(), settings, receiving };
    let path = files.zone(&survey.platform.name);
    if read::<ZoneFile>(host, &path).await.ok().flatten().as_ref() != Some(&kept) {
        write(host, &path, &kept).await?;
    }
    let mut client = running(session, &files, &wants).await?;
    match client.add(entry.clone()).await {
        // the engine's networks may be those of a virtual machine
        Err(ControlError::Refused(reason)) if !entry.listen.is_empty() => {
            client.add(ZoneEntry { listen: Vec::new(), ..entry }).await.map_err(ResolverError::from)?;
            session.events.info(format!("the resolver does not answer containers: {reason}"));
        }
        added => added.map_err(ResolverError::from)?,
    }
    fed(session, &mut client, &survey.platform.domain).await
}

/// The resolver's state, once it has looked at PowerDNS for the first time: until then the wildcard
/// would answer for names that people wrote there.
async fn fed(session: &Session, client: &mut Client, domain: &str) -> Result<Status, Error> {
    let looked = until(FED, SHORT, &session.cancel, async || {
        let status = match client.status().await {
            Ok(status) => status,
            Err(error) => return Ok(Err(ResolverError::from(error).into())),
        };
        let zone = status.zones.iter().find(|zone| zone.apex == domain);
        let waits = zone
            .and_then(|zone| zone.feed_status.as_ref())
            .is_some_and(|feed| feed.serial.is_none() && feed.error.is_none());
        if waits { Err(status) } else { Ok(Ok(status)) }
    });
    match looked.await {
        Ok(status) => status,
        // PowerDNS may be away for long: its records come when it does
        Err(Unmet::TooLong(status)) => Ok(status),
        Err(Unmet::Cancelled) => Err(Error::Cancelled),
    }
}

/// The platform's part of the resolver.
fn entry(survey: &Survey, receiving: Option<&Receiving>) -> ZoneEntry {
    let platform = &survey.platform;
    let mut zone = zone(platform, survey.block, survey.subnet, survey.tls(), survey.cluster.ingress_node());
    name_as_the_domain(&mut zone, receiving.into_iter().flat_map(Receiving::names).map(|(name, _)| name));
    ZoneEntry {
        zone,
        feed: feed(platform, survey.block),
        // the network's gateway is no address of this process where nothing that is published arrives
        listen: match survey.facts.published {
            true => vec![Listen { address: (gateway(survey.subnet), 53).into(), view: View::Container }],
            false => Vec::new(),
        },
        networks: vec![survey.subnet.into()],
        clients: Vec::new(),
        metrics: resolver_metrics(&survey.facts, survey.subnet),
    }
}

/// The machine itself asks at the gateway's address too. The engine's rule for packets that leave its network
/// (MASQUERADE) gives such a question another address of this machine, whichever the kernel takes.
async fn own_addresses(host: &dyn Host) -> Vec<IpNet> {
    let text = host.read(Path::new("/proc/net/fib_trie")).await.unwrap_or_default();
    local_addresses(&String::from_utf8_lossy(&text))
}

/// Addresses of the kernel's table of routes that are this machine's own, but for loopback: a line
/// `|-- 192.0.2.2`, and below it what is known of it.
fn local_addresses(text: &str) -> Vec<IpNet> {
    let mut address: Option<std::net::Ipv4Addr> = None;
    let mut own = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix("|-- ") {
            address = found.parse().ok();
        } else if line == "/32 host LOCAL" {
            own.extend(address.filter(|address| !address.is_loopback()));
        }
    }
    own.into_iter().map(|address| IpNet::from(IpAddr::V4(address))).collect()
}

async fn lock(session: &Session, files: &ResolverFiles) -> Result<Lock, Error> {
    let patience = Some(Duration::from_secs(30));
    Ok(Lock::acquire(session.host(), &files.lock(), &session.command, patience, |_| {}).await?)
}

/// A connection to a resolver of our version, which is started where there is none.
async fn running(session: &Session, files: &ResolverFiles, wanted: &Wants) -> Result<Client, Error> {
    let host = session.host();
    let control = files.control();
    let Ok(mut client) = Client::connect(&control).await else {
        return start(session, files).await;
    };
    let status = client.status().await;
    let process = files.last_process(host).await;
    let by = process.as_ref().map(|process| process.started_by).unwrap_or_default();
    let current = match &status {
        Ok(status) => status.version == session.version,
        // of another version: its answer means nothing to us
        Err(ControlError::Malformed(_)) => false,
        Err(_) => return Err(ResolverError::from(status.err().unwrap_or(ControlError::Timeout)).into()),
    };
    let same = process.as_ref().is_some_and(|process| process.wants == *wanted);
    if current
        && !same
        && by != StartedBy::Hand
        && let Some(taken) = in_the_way(host, process.as_ref(), wanted).await
    {
        // ended, it would be missed by all platforms, and the next one would not start
        session.events.warn(format!("the resolver goes on as it is: {taken}"));
        return Ok(client);
    }
    match by {
        _ if current && same => Ok(client),
        StartedBy::Hand => {
            let what = if current { "with other settings" } else { "of another version" };
            session.events.warn(format!("a resolver {what} runs in a terminal; stop it to have this one's"));
            Ok(client)
        }
        StartedBy::Up => {
            stop_resolver(&mut client, &control, &status).await?;
            start(session, files).await
        }
        StartedBy::Service => {
            stop_resolver(&mut client, &control, &status).await?;
            // the system starts it again
            answering(session, &control, || true).await.ok_or_else(|| not_started(files, "its service is not back"))
        }
    }
}

/// Somebody else who has an address that a resolver would need beside those of the one that runs (`own`).
async fn in_the_way(host: &dyn Host, own: Option<&Process>, wanted: &Wants) -> Option<ResolverError> {
    let has = own.map(|own| own.wants.clone()).unwrap_or_default();
    let pid = own.map(|own| own.pid);
    for address in wanted.listen.iter().filter(|address| !has.listen.contains(address)) {
        match host.can_bind(*address, Protocol::Udp).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            _ => continue,
        }
        let there = holders(host, Protocol::Udp, &[*address]).await;
        // one of the usual addresses may be its own
        if pid.is_some() && there.iter().any(|holder| holder.pid == pid) {
            continue;
        }
        return Some(match there.into_iter().next() {
            Some(holder) => ResolverError::Taken { address: *address, holder },
            None => ResolverError::Server(ServerError::AddressInUse { address: *address }),
        });
    }
    if wanted.usual && !has.usual { taken_but(host, pid).await } else { None }
}

/// What all platforms want of the resolver once `platform` has its names; an error when that cannot be.
pub async fn agree(host: &dyn Host, platform: &Platform) -> Result<Wants, Error> {
    let mut all = ResolverFiles::of(host).settings(host).await;
    all.retain(|(name, _)| *name != platform.name);
    all.push((platform.name.clone(), platform.dns.clone()));
    Ok(Wants::together(all.iter().map(|(name, settings)| (name, settings)))?)
}

/// Before a container gets an address that the background process listens on, it lets go of it. Whoever is not heard
/// of within a moment is not waited for: the engine then says who has the address.
pub async fn give_way(session: &Session, survey: &Survey) -> Result<(), Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let path = files.zone(&survey.platform.name);
    let Some(kept) = read::<ZoneFile>(host, &path).await.ok().flatten() else { return Ok(()) };
    let Some(before) = &kept.receiving else { return Ok(()) };
    let after = Receiving::of(&survey.platform, survey.block);
    let stays = |address: &SocketAddr| after.as_ref().is_some_and(|after| after.addresses.contains(address));
    let gone: Vec<SocketAddr> = before.addresses.iter().filter(|address| !stays(address)).copied().collect();
    if gone.is_empty() {
        return Ok(());
    }
    write(host, &path, &ZoneFile { receiving: after, ..kept }).await?;
    let free = until(GIVE_WAY, SHORT, &session.cancel, async || {
        for address in &gone {
            if host.can_bind(*address, Protocol::Tcp).await.is_err() {
                return Err(());
            }
        }
        Ok(())
    });
    match free.await {
        Err(Unmet::Cancelled) => Err(Error::Cancelled),
        Ok(()) | Err(Unmet::TooLong(())) => Ok(()),
    }
}

/// Asks it to stop, and waits until it has.
pub(super) async fn stop_resolver(
    client: &mut Client,
    control: &Path,
    status: &Result<Status, ControlError>,
) -> Result<(), Error> {
    client.stop().await.map_err(ResolverError::from)?;
    // what was asked to stop is waited for, whatever the user does meanwhile: it takes no time
    let nobody = CancellationToken::new();
    let gone =
        until(STOP, SHORT, &nobody, async || if Client::connect(control).await.is_err() { Ok(()) } else { Err(()) });
    match gone.await {
        Ok(()) => Ok(()),
        Err(_) => {
            Err(ResolverError::StillThere { pid: status.as_ref().map(|status| status.pid).unwrap_or_default() }.into())
        }
    }
}

async fn start(session: &Session, files: &ResolverFiles) -> Result<Client, Error> {
    let host = session.host();
    let log = files.log();
    // there is none yet, or it is in order
    let _ = host.keep_end(&log, LONGEST_LOG).await;
    let before = usize::try_from(host.length(&log).await.unwrap_or_default()).unwrap_or(usize::MAX);
    let program = session.program.to_string_lossy().into_owned();
    let mut words = vec!["dns", "serve", "--started-by=up"];
    if passes_on(host).await {
        // nothing is reached without it
        words.push("--keep");
    }
    let command = Command::new(program, words).bind_only();
    let pid = host.spawn_detached(&command, &log).await?;
    if let Some(client) = answering(session, &files.control(), || host.alive(pid)).await {
        return Ok(client);
    }
    if let Some(taken) = taken(host).await {
        return Err(taken.into());
    }
    let text = host.read(&log).await.unwrap_or_default();
    let said = String::from_utf8_lossy(text.get(before..).unwrap_or_default()).into_owned();
    Err(not_started(files, reason(&said)))
}

/// Whether the addresses of any platform lead through the background process.
async fn passes_on(host: &dyn Host) -> bool {
    let data = host.folders().data;
    for name in host.list(&data).await.unwrap_or_default() {
        if Table::read(host, &data.join(name)).await.is_some_and(|table| table.way != Way::Published) {
            return true;
        }
    }
    false
}

/// Starts the background process again whenever it was killed, until it ends by itself.
pub async fn keep_serving(host: &dyn Host, program: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let files = ResolverFiles::of(host);
    let program = program.to_string_lossy().into_owned();
    let command = Command::new(program, ["dns", "serve", "--started-by=up"]).bind_only();
    let mut soon = 0;
    loop {
        let begun = Instant::now();
        let pid = host.spawn_detached(&command, &files.log()).await?;
        while host.alive(pid) {
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                () = cancel.cancelled() => return Ok(()),
            }
        }
        // one that ended by itself has removed its file, and one that never came up has not written it
        let killed = files.last_process(host).await.is_some_and(|process| process.pid == pid);
        soon = if begun.elapsed() < START { soon + 1 } else { 0 };
        if !killed || soon > TOO_OFTEN {
            return Ok(());
        }
    }
}

/// The error in what it said; what stands before and after it is for the log.
fn reason(said: &str) -> &str {
    let error = said.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    error.or_else(|| said.lines().rev().map(str::trim).find(|line| !line.is_empty())).unwrap_or("it says nothing")
}

/// The usual addresses, the best first.
pub(super) fn usual_addresses() -> [SocketAddr; 2] {
    [(RESOLVER, 53).into(), (RESOLVER, DEFAULT_PORT).into()]
}

/// A resolver that is not ours to talk to and has the usual address: of another user, or of another
/// data folder.
pub(super) async fn taken(host: &dyn Host) -> Option<ResolverError> {
    taken_but(host, None).await
}

/// The same, but for this process of ours.
async fn taken_but(host: &dyn Host, own: Option<u32>) -> Option<ResolverError> {
    let there = holders(host, Protocol::Udp, &usual_addresses()).await;
    let mut others = there.into_iter().filter(|holder| own.is_none() || holder.pid != own);
    let holder = others.find(|holder| holder.address.ip() == IpAddr::V4(RESOLVER) && holder.is_macula())?;
    Some(ResolverError::Taken { address: holder.address, holder })
}

fn not_started(files: &ResolverFiles, said: &str) -> Error {
    ResolverError::NotStarted { log: files.log(), said: said.to_owned() }.into()
}

/// Waits until the control socket answers, as long as there is hope.
async fn answering(session: &Session, control: &Path, hope: impl Fn() -> bool) -> Option<Client> {
    let answer = until(START, SHORT, &session.cancel, async || {
        // hope first: what has ended meanwhile may have answered before
        let alive = hope();
        match Client::connect(control).await {
            Ok(client) => Ok(Some(client)),
            Err(_) if alive => Err(()),
            Err(_) => Ok(None),
        }
    });
    answer.await.ok().flatten()
}

/// Takes the platform's names out, and stops the resolver when they were the last. Needs no resolver
/// that runs.
pub async fn release(session: &Session, platform: &PlatformName) -> Result<(), Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    if !host.exists(&files.zone(platform)).await {
        return Ok(());
    }
    let _lock = lock(session, &files).await?;
    let path = files.zone(platform);
    let kept = read::<ZoneFile>(host, &path).await.ok().flatten();
    host.remove(&path).await.map_err(|source| Error::Io { path, source })?;
    let Ok(mut client) = Client::connect(&files.control()).await else { return Ok(()) };
    let left = match kept {
        Some(kept) => client.remove(&kept.entry.zone.apex).await.map_err(ResolverError::from)?,
        None => None,
    };
    let by_up = files.last_process(host).await.is_some_and(|process| process.started_by == StartedBy::Up);
    let last = match left {
        Some(left) => left == 0,
        None => files.entries(host).await.is_empty(),
    };
    if !by_up {
        return Ok(());
    }
    if last {
        let status = client.status().await;
        return stop_resolver(&mut client, &files.control(), &status).await;
    }
    // an address that only this platform wanted is given back
    let settings = files.settings(host).await;
    let wanted = Wants::together(settings.iter().map(|(name, settings)| (name, settings)))?;
    running(session, &files, &wanted).await.map(drop)
}

/// Makes sure that a background process runs, whatever it serves, for what else it does.
pub async fn ensure_process(session: &Session) -> Result<(), Error> {
    let files = ResolverFiles::of(session.host());
    let _lock = lock(session, &files).await?;
    if Client::connect(&files.control()).await.is_err() {
        start(session, &files).await?;
    }
    Ok(())
}

/// A connection to the resolver that runs. Where another one has its place, that is the error: to
/// start ours would not help.
pub async fn connect(host: &dyn Host) -> Result<Client, Error> {
    match Client::connect(&ResolverFiles::of(host).control()).await {
        Ok(client) => Ok(client),
        Err(error) => Err(taken(host).await.unwrap_or_else(|| error.into()).into()),
    }
}

/// Where programs of this machine ask it.
pub fn own_address(status: &Status) -> Option<SocketAddr> {
    status.listen.iter().find(|listen| listen.view == View::Host).map(|listen| listen.address)
}

/// The resolver of the platform's names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DnsStatus {
    /// `127.0.0.9:53`; none while it does not run.
    pub address: Option<String>,
    pub zones: Vec<String>,
    /// Programs of this machine get the platform's names.
    pub installed: bool,
    /// It answers for this platform.
    pub healthy: bool,
    /// The last `up` was told to leave the names alone (`--no-dns`).
    pub off: bool,
    /// What is wrong with it, although it may answer for this platform.
    pub problem: Option<String>,
}

/// The resolver as `status` shows it. Takes no longer than half a second.
pub(super) async fn look(session: &Session, platform: &Platform) -> DnsStatus {
    let host = session.host();
    let domain = platform.domain.as_str();
    let work = async {
        let mut client = connect(host).await.ok()?;
        let status = client.status().await.ok()?;
        let address = own_address(&status);
        let problem = without_servers(&status);
        let zones: Vec<String> = status.zones.into_iter().map(|zone| zone.apex).collect();
        let healthy = match address {
            Some(address) if zones.iter().any(|zone| zone == domain) => {
                let answer = ask(address, &probe(domain).0, 1, QUICK).await;
                answer.is_ok_and(|found| found.contains(&probe(domain).1))
            }
            _ => false,
        };
        let address = address.map(|address| address.to_string());
        Some(DnsStatus { address, zones, healthy, problem, ..DnsStatus::default() })
    };
    // nobody who did not ask for it is to wait for name servers that do not know our names
    let installed = host.exists(&ResolverFiles::of(host).install().join("receipt.json")).await;
    let patience = if installed { QUICK } else { AT_ONCE };
    let (found, installed) = tokio::join!(tokio::time::timeout(QUICK, work), answers(host, domain, patience));
    let mut status = DnsStatus { installed, ..found.ok().flatten().unwrap_or_default() };
    // a state that cannot be read is told by whoever needs it
    status.off = !status.healthy && session.state(&platform.name).no_dns(host).await.unwrap_or_default();
    if status.address.is_none() && !status.off {
        status.problem = taken(host).await.map(|taken| taken.to_string());
    }
    status
}

/// What is wrong with the servers for all other names, if anything.
fn without_servers(status: &Status) -> Option<String> {
    if status.upstreams.iter().any(|server| server.domain.is_none()) {
        return None;
    }
    let dropped = match status.dropped_upstreams.as_slice() {
        [] => "this machine names no name server".to_owned(),
        dropped => format!("none of this machine's name servers can be asked: {}", dropped.join(", ")),
    };
    Some(format!("{dropped}; names outside of the platforms are refused"))
}

/// A name of every platform, and the address that only our resolver gives it.
pub fn probe(domain: &str) -> (String, std::net::IpAddr) {
    (format!("ns.{domain}"), crate::compile::RESOLVER.into())
}

/// Whether programs of this machine get the platform's names, asked as they ask.
pub async fn answers(host: &dyn Host, domain: &str, patience: Duration) -> bool {
    let (name, address) = probe(domain);
    match tokio::time::timeout(patience, host.resolve(&name)).await {
        Ok(Ok(found)) => found.contains(&address),
        _ => false,
    }
}

/// How names fare on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Names {
    /// None: it does not run.
    #[serde(skip)]
    pub resolver: Option<Status>,
    /// It runs, and says nothing.
    #[serde(skip)]
    pub silent: bool,
    pub domains: Vec<DomainNames>,
    /// The way in which the system was pointed at the resolver.
    pub method: Option<String>,
    /// Where it breaks.
    pub notes: Vec<String>,
    /// What to do about that.
    #[serde(skip)]
    pub remedy: Option<Remedy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainNames {
    pub domain: String,
    /// The resolver answers for it when asked itself.
    pub answered: bool,
    /// Programs of this machine get its names.
    pub resolves: bool,
}

/// What is known of the names while others are still asked for.
#[derive(Debug, Clone, Default)]
pub struct NamesSoFar {
    pub resolver: Option<Status>,
    /// With what came of each; none while it is asked for.
    pub domains: Vec<(String, Option<DomainNames>)>,
}

/// Asks the resolver, and asks as programs do, for every zone that it has and for `domain`; over within a few
/// seconds, whoever is silent. `told`: hears what is known as it comes.
pub async fn names_status(session: &Session, domain: &str, told: &(dyn Fn(&NamesSoFar) + Sync)) -> Names {
    let host = session.host();
    let status = async {
        match connect(host).await {
            Ok(mut client) => (client.status().await.ok(), None),
            Err(Error::Resolver(taken @ ResolverError::Taken { .. })) => (None, Some(taken)),
            Err(_) => (None, None),
        }
    };
    let status = tokio::time::timeout(CONTROL, status).await;
    let silent = status.is_err();
    let (resolver, in_the_way) = status.unwrap_or_default();
    // a zone that no platform has is the name of a program (`macula run`)
    let platforms = ResolverFiles::of(host).entries(host).await;
    let of_a_platform = |apex: &String| platforms.iter().any(|(_, entry)| entry.zone.apex == *apex);
    let zones = resolver.iter().flat_map(|status| status.zones.iter().map(|zone| zone.apex.clone()));
    let mut wanted: Vec<String> = zones.filter(of_a_platform).collect();
    let served = wanted.iter().any(|zone| zone == domain);
    if !served {
        wanted.push(domain.to_owned());
    }
    let domains = wanted.iter().map(|domain| (domain.clone(), None)).collect();
    let so_far = Mutex::new(NamesSoFar { resolver: resolver.clone(), domains });
    let tell = |seen: Option<&DomainNames>| {
        let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, known) in so_far.domains.iter_mut().filter(|(name, _)| seen.is_some_and(|seen| seen.domain == *name)) {
            *known = seen.cloned();
        }
        told(&so_far);
    };
    tell(None);
    let (tell, address) = (&tell, resolver.as_ref().and_then(own_address));
    let domains = wanted.into_iter().map(|domain| async move {
        let (name, expected) = probe(&domain);
        let answered = async {
            let Some(address) = address else { return false };
            ask(address, &name, 1, QUICK).await.is_ok_and(|found| found.contains(&expected))
        };
        // a look-up by way of other servers may take its time
        let (answered, resolves) = tokio::join!(answered, answers(host, &domain, PATIENCE));
        let seen = DomainNames { domain, answered, resolves };
        tell(Some(&seen));
        seen
    });
    let domains: Vec<DomainNames> = futures_util::future::join_all(domains).await;
    let (method, mut notes, remedy) = installed(host).await;
    if let Some(problem) = resolver.as_ref().and_then(without_servers) {
        notes.push(problem);
    } else if let Some(dropped) = resolver.as_ref().map(|status| &status.dropped_upstreams)
        && !dropped.is_empty()
    {
        notes.push(format!("name servers that cannot be asked: {}", dropped.join(", ")));
    }
    let remedy = if let Some(taken) = in_the_way {
        notes.push(taken.to_string());
        // `up` would find it there again, and lead back to here
        Some(Remedy::say(
            "the user whose it is stops it with `down`; or give yours another address in macula.yaml: \
             `dns: {listen: [\"127.0.0.9:5399\"]}`",
        ))
    } else if let Some(remedy) = remedy {
        Some(remedy.into())
    } else if silent {
        Some(Remedy::say("its process may be stopped or overloaded: end it, and the next `up` starts another"))
    } else if resolver.is_none() {
        Some(macula("up").why("to start the resolver").into())
    } else if !served {
        Some(macula("up").why(format!("to add the names below {domain}")).into())
    } else if domains.iter().any(|domain| domain.answered && !domain.resolves) {
        Some(macula("dns install").why("to let this machine's programs find the names").into())
    } else {
        None
    };
    Names { resolver, silent, domains, method, notes, remedy }
}

/// What is installed, in words, what is wrong with it, and what to do about that.
async fn installed(host: &dyn Host) -> (Option<String>, Vec<String>, Option<MaculaCommand>) {
    let folder = ResolverFiles::of(host).install();
    let found = match install::present(host, &folder).await {
        Ok(None) => return (None, Vec::new(), None),
        Ok(Some(found)) => found,
        Err(error) => return (None, vec![describe(&error)], None),
    };
    let method = Some(found.rung.to_string());
    if found.interrupted {
        let note = "an install or uninstall was interrupted".to_owned();
        return (method, vec![note], Some(macula("dns uninstall").why("to clean up")));
    }
    if !found.intact {
        let note = format!("{} has been changed since it was installed", found.rung);
        return (method, vec![note], Some(macula("dns install").why("to install it again")));
    }
    (method, Vec::new(), None)
}

fn describe(error: &InstallError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_resolver_goes_on_where_the_next_one_could_not_start() {
        let wants = |usual, listen: &[&str]| Wants {
            usual,
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            ..Wants::default()
        };
        let own = Process {
            format: FORMAT,
            pid: 7,
            started: 0,
            version: "1.0.0".into(),
            started_by: StartedBy::Up,
            wants: wants(false, &["127.0.0.9:5399"]),
        };
        let host = FakeHost::new()
            .listener("127.0.0.9:53", Protocol::Udp, Some((8, "macula")))
            .listener("127.0.0.9:5335", Protocol::Udp, Some((7, "macula")))
            .listener("127.0.0.9:5399", Protocol::Udp, Some((7, "macula")))
            .listener("127.0.0.9:5400", Protocol::Udp, Some((9, "dnsmasq")));
        let found = async |wanted: Wants| in_the_way(&host, Some(&own), &wanted).await.map(|found| found.to_string());
        assert_eq!(found(wants(false, &["127.0.0.9:5335", "127.0.0.9:5399", "127.0.0.9:5401"])).await, None);
        let theirs = Some("127.0.0.9:53 is held by `macula` (pid 8)".to_owned());
        assert_eq!(found(wants(false, &["127.0.0.9:53"])).await, theirs);
        assert_eq!(found(wants(true, &["127.0.0.9:5399"])).await, theirs);
        let other = found(wants(false, &["127.0.0.9:5400"])).await;
        assert_eq!(other.as_deref(), Some("127.0.0.9:5400 is held by `dnsmasq` (pid 9)"));
    }

    #[test]
    fn addresses_of_this_machine_are_read() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.0\n        \
                     /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 127.0.0.1\n        \
                     /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\nLocal:\n  |-- 192.0.2.2\n     \
                     /32 host LOCAL\n  |-- 10.222.7.1\n     /32 host LOCAL\n";
        let found: Vec<String> = local_addresses(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.222.7.1/32", "192.0.2.2/32"]);
    }
}
