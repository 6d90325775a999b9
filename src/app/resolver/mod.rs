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
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::compile::{RESOLVER, feed, gateway, name_as_the_domain, resolver_metrics, zone};
use crate::dns::{Client, ControlError, Listen, Status, ZoneEntry, install};
use crate::host::{Host, Unmet, until};
use crate::model::{DnsSettings, Facts, NameServer, Platform, PlatformName, Protocol, View};

use super::error::ResolverError;
use super::state::{State, read, write};
use super::survey::Survey;
use super::{Error, Session};

/// Between two looks at one that starts or ends.
const SHORT: Duration = Duration::from_millis(10);
/// For the first look at PowerDNS.
const FED: Duration = Duration::from_secs(1);
/// Until it has let go of an address.
const GIVE_WAY: Duration = Duration::from_secs(3);
/// A log longer than this loses its older half.
pub(super) const LONGEST_LOG: u64 = 1 << 20;
pub(super) const FORMAT: u64 = 1;
/// Where port 53 is not available.
pub(super) const DEFAULT_PORT: u16 = 5335;

mod files;
mod names;
mod others;
mod receiving;
mod running;
mod wants;

use files::ZoneFile;
pub use files::{Process, ResolverFiles, StartedBy};
pub(super) use names::look;
pub use names::{DnsStatus, DomainNames, Names, NamesSoFar, answers, names_status, probe};
use others::taken_but;
pub(super) use others::{own_process, resolver_there, taken, usual_addresses};
pub use receiving::Receiving;
use receiving::asked_places;
pub use running::{Renewal, keep_serving, renew};
use running::{lock, running};
pub(super) use running::{start_unless_there, stop_resolver};
pub use wants::Wants;

/// Makes sure that the resolver runs and has the platform's names. Cheap when both is so.
pub async fn ensure(session: &Session, survey: &Survey) -> Result<Status, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let _lock = lock(session, &files).await?;
    let receiving = Receiving::of(&survey.platform, survey.block);
    let mut entry = entry(survey, receiving.as_ref());
    entry.clients = own_addresses(host).await;
    if survey.resources.containers.is_empty() {
        // nobody asks from the network, and its address is not there
        entry.listen.clear();
    }
    let settings = survey.platform.dns.clone();
    let asked = asked_places(&survey.platform, survey.block);
    let wants = agree(host, &survey.platform).await?;
    let kept = ZoneFile { format: FORMAT, entry: entry.clone(), settings, receiving, asked };
    let path = files.zone(&survey.platform.name);
    let former = read::<ZoneFile>(host, &path).await.ok().flatten();
    if former.as_ref() != Some(&kept) {
        write(host, &path, &kept).await?;
    }
    let mut client = running(session, &files, &wants).await?;
    if let Some(reason) = add(&mut client, entry).await.map_err(ResolverError::from)? {
        session.events.info(format!("the resolver does not answer containers: {reason}"));
    }
    let former = former.map(|former| former.entry.zone.apex);
    if let Some(former) = former.filter(|former| *former != survey.platform.domain) {
        take_out(host, &files, &mut client, &former).await?;
    }
    fed(session, &mut client, &survey.platform.domain).await
}

/// Adds a platform's names. Where its network's address cannot be had it is told why, and the names are added without it.
async fn add(client: &mut Client, entry: ZoneEntry) -> Result<Option<String>, ControlError> {
    match client.add(entry.clone()).await {
        // the network may be one of a virtual machine, or gone
        Err(ControlError::Refused(reason)) if !entry.listen.is_empty() => {
            client.add(ZoneEntry { listen: Vec::new(), ..entry }).await.map(|()| Some(reason))
        }
        added => added.map(|()| None),
    }
}

/// The resolver's state, once it has looked at PowerDNS for the first time: until then names that people wrote there get
/// no answer.
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
    let names = receiving.into_iter().flat_map(Receiving::names);
    name_as_the_domain(&mut zone, names.map(|(name, address)| (name, Some(address))));
    ZoneEntry {
        zone,
        feed: feed(platform, survey.block),
        listen: for_containers(&survey.facts, survey.subnet),
        networks: vec![survey.subnet.into()],
        clients: Vec::new(),
        metrics: resolver_metrics(&survey.facts, survey.subnet),
    }
}

/// Where containers ask: at the network's gateway. That is no address of this process where nothing that is published
/// arrives, and none that is free where the engine's own name server has it.
fn for_containers(facts: &Facts, subnet: Ipv4Net) -> Vec<Listen> {
    match facts.published && facts.traits.names != NameServer::Gateway {
        true => vec![Listen { address: (gateway(subnet), 53).into(), view: View::Container }],
        false => Vec::new(),
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

/// What all platforms want of the resolver once `platform` has its names; an error when that cannot be.
pub async fn agree(host: &dyn Host, platform: &Platform) -> Result<Wants, Error> {
    let files = ResolverFiles::of(host);
    for (other, entry) in files.entries(host).await {
        let same = other != platform.name && entry.zone.apex == platform.domain;
        // names of one whose files were removed by hand are nobody's
        if same && State::new(&host.folders().data, &other).is_known(host).await {
            return Err(ResolverError::SameDomain { domain: entry.zone.apex, other: other.to_string() }.into());
        }
    }
    let mut all = files.settings(host).await;
    all.retain(|(name, _)| *name != platform.name);
    all.push((platform.name.clone(), platform.dns.clone()));
    Ok(Wants::together(all.iter().map(|(name, settings)| (name, settings)))?)
}

/// Where the background process takes what a platform sends.
pub(super) async fn taken_for(host: &dyn Host, platform: &PlatformName) -> Vec<(SocketAddr, Protocol)> {
    let receiving = ResolverFiles::of(host).receiving_of(host, platform).await;
    let addresses = receiving.into_iter().flat_map(|receiving| receiving.addresses);
    addresses.map(|address| (address, Protocol::Tcp)).collect()
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
    let gone: Vec<_> = gone.into_iter().map(|address| (address, Protocol::Tcp)).collect();
    until_free(session, &gone).await
}

/// Waits a moment for the background process to let go of addresses.
pub(super) async fn until_free(session: &Session, addresses: &[(SocketAddr, Protocol)]) -> Result<(), Error> {
    let host = session.host();
    let free = until(GIVE_WAY, SHORT, &session.cancel, async || {
        for (address, protocol) in addresses {
            // a port that only root may bind can be the engine's all the same
            let bound = host.can_bind(*address, *protocol).await;
            if bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
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

/// Takes a zone out that a platform no longer has; how many are left, where that is known. Earlier versions let several
/// platforms have one domain: then it is the other's now.
async fn take_out(
    host: &dyn Host,
    files: &ResolverFiles,
    client: &mut Client,
    apex: &str,
) -> Result<Option<usize>, Error> {
    let other = files.entries(host).await.into_iter().find(|(_, entry)| entry.zone.apex == apex);
    let left = match other {
        Some((_, entry)) => add(client, entry).await.map(|_| None),
        None => client.remove(apex).await,
    };
    Ok(left.map_err(ResolverError::from)?)
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
        Some(kept) => take_out(host, &files, &mut client, &kept.entry.zone.apex).await?,
        None => None,
    };
    let by_up = files.last_process(host).await.is_some_and(|process| process.started_by == StartedBy::Up);
    // the names of programs count, too, and so do platforms that it was not told of
    let last = left.is_none_or(|left| left == 0) && files.entries(host).await.is_empty();
    if !by_up {
        return Ok(());
    }
    if last && install::is_alone(host, &files.install()).await {
        session.events.info(
            "the resolver keeps running: no name would resolve on this machine without it; `macula dns uninstall` puts \
             the system's own servers back",
        );
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

/// Makes sure that a background process runs, whatever it serves, for what else it does. `own`: what the platform of
/// the command wants of the resolver.
pub async fn ensure_process(session: &Session, own: &DnsSettings) -> Result<(), Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let listen = async || match files.entries(host).await.is_empty() {
        true if !own.listen.is_empty() => own.listen.clone(),
        // no platform needs the usual address now, which somebody else has
        true if taken_but(host, &[]).await.is_some() => vec![(RESOLVER, 0).into()],
        // what the platforms want is recorded
        _ => Vec::new(),
    };
    start_unless_there(session, &files, listen).await.map(drop)
}

/// Starts the background process again where `up` has started one for this platform and it was killed, or the machine
/// was started anew: without it names, the page and what is passed on are dead. True: it was so, and it runs again.
pub async fn revive(session: &Session, platform: &PlatformName) -> Result<bool, Error> {
    let host = session.host();
    let files = ResolverFiles::of(host);
    if !host.exists(&files.zone(platform)).await || Client::connect(&files.control()).await.is_ok() {
        return Ok(false);
    }
    // one that ends by itself, or is told to, takes its file along; the system brings its services back itself
    let by_up = files.last_process(host).await.is_some_and(|process| process.started_by == StartedBy::Up);
    if !by_up || own_process(host).await.is_some() {
        return Ok(false);
    }
    start_unless_there(session, &files, async || Vec::new()).await
}

/// Whether a background process runs that knows the platform, whatever of it leads there: what it looks after ends
/// without it.
pub async fn looks_after(host: &dyn Host, platform: &PlatformName) -> bool {
    let files = ResolverFiles::of(host);
    host.exists(&files.zone(platform)).await && Client::connect(&files.control()).await.is_ok()
}

/// A connection to the resolver that runs. Where another one has its place, that is the error: to
/// start ours would not help.
pub async fn connect(host: &dyn Host) -> Result<Client, Error> {
    match Client::connect(&ResolverFiles::of(host).control()).await {
        Ok(client) => Ok(client),
        Err(error) => {
            let why = match own_process(host).await {
                Some(pid) => ResolverError::Busy { pid },
                None => taken(host).await.unwrap_or_else(|| error.into()),
            };
            Err(why.into())
        }
    }
}

/// Where programs of this machine ask it.
pub fn own_address(status: &Status) -> Option<SocketAddr> {
    status.listen.iter().find(|listen| listen.view == View::Host).map(|listen| listen.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::dns::{Config, Server};
    use crate::engine::fake::FakeEngine;
    use crate::host::Folders;
    use crate::host::fake::FakeHost;
    use crate::model::{EngineKind, Record, RecordData, Zone};
    use crate::telemetry::remote::Places;

    #[test]
    fn containers_ask_where_nobody_else_answers() {
        let subnet = "10.222.0.0/16".parse().unwrap();
        let asked = |facts: &Facts| {
            let listen = for_containers(facts, subnet).into_iter();
            listen.map(|listen| (listen.address.to_string(), listen.view)).collect::<Vec<_>>()
        };
        let mut facts = Facts::of("Docker 28.5.2", EngineKind::Docker);
        assert_eq!(asked(&facts), [("10.222.0.1:53".to_owned(), View::Container)]);
        facts.traits.names = NameServer::Nobody;
        assert_eq!(asked(&facts), [("10.222.0.1:53".to_owned(), View::Container)]);
        // Podman's own has it
        facts.traits.names = NameServer::Gateway;
        assert_eq!(asked(&facts), []);
        facts.traits.names = NameServer::InContainer;
        facts.published = false;
        assert_eq!(asked(&facts), []);
    }

    #[tokio::test]
    async fn our_own_resolver_is_no_stranger_where_it_does_not_answer() {
        let host = FakeHost::new().listener("127.0.0.9:53", Protocol::Udp, Some((8, "macula")));
        let said = async |host: &FakeHost| connect(host).await.err().map(|error| error.to_string());
        assert_eq!(said(&host).await.as_deref(), Some("127.0.0.9:53 is held by `macula` (pid 8)"));
        let process = Process {
            format: FORMAT,
            pid: 8,
            started: 0,
            version: "1.0.0".into(),
            started_by: StartedBy::Up,
            wants: Wants::default(),
        };
        host.put(ResolverFiles::of(&host).process(), serde_json::to_vec(&process).unwrap());
        // it has ended, and another one has its number
        assert_eq!(said(&host).await.as_deref(), Some("127.0.0.9:53 is held by `macula` (pid 8)"));
        let host = host.process(8);
        assert_eq!(said(&host).await.as_deref(), Some("the resolver (pid 8) does not answer yet"));
        assert!(taken(&host).await.is_none());
    }

    #[tokio::test]
    async fn only_one_that_was_killed_is_started_again() {
        let name = PlatformName::default();
        let started = async |zone: bool, process: Option<StartedBy>, alive: bool| {
            let host = FakeHost::new();
            let files = ResolverFiles::of(&host);
            if zone {
                host.put(files.zone(&name), "{}");
            }
            let process = process.map(|started_by| Process {
                format: FORMAT,
                pid: 8,
                started: 0,
                version: "1.0.0".into(),
                started_by,
                wants: Wants::default(),
            });
            if let Some(process) = process {
                host.put(files.process(), serde_json::to_vec(&process).unwrap());
            }
            let host = if alive { host.process(8) } else { host };
            let session = session(host.clone(), &FakeEngine::new(), "macula status");
            // nothing answers in this world: that it is started is seen in the journal
            let _ = revive(&session, &name).await;
            host.journal().iter().any(|line| line.contains("dns serve --started-by=up"))
        };
        assert!(started(true, Some(StartedBy::Up), false).await);
        assert!(!started(false, Some(StartedBy::Up), false).await, "the platform has no names");
        assert!(!started(true, None, false).await, "it has ended by itself");
        assert!(!started(true, Some(StartedBy::Service), false).await, "the system does it");
        assert!(!started(true, Some(StartedBy::Hand), false).await);
        assert!(!started(true, Some(StartedBy::Up), true).await, "it is busy");
    }

    #[tokio::test]
    async fn a_process_for_the_page_alone_gets_the_address_of_the_settings_or_any() {
        let line = async |own: &[&str], taken: bool| {
            let host = FakeHost::new();
            let host = match taken {
                true => host.listener("127.0.0.9:53", Protocol::Udp, Some((8, "macula"))),
                false => host,
            };
            let session = session(host.clone(), &FakeEngine::new(), "macula open home");
            let listen = own.iter().map(|address| address.parse().unwrap()).collect();
            let _ = ensure_process(&session, &DnsSettings { listen, ..DnsSettings::default() }).await;
            host.journal().into_iter().find_map(|line| Some(line.split_once("--started-by=up")?.1.to_owned())).unwrap()
        };
        assert_eq!(line(&[], false).await, " &");
        assert_eq!(line(&["127.0.0.9:5399"], true).await, " --listen=127.0.0.9:5399 &");
        assert_eq!(line(&[], true).await, " --listen=127.0.0.9:0 &");
    }

    #[tokio::test]
    async fn a_zone_is_taken_out_unless_another_platform_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let host = FakeHost::new();
        let folders = Folders { data: folder.path().to_owned(), ..host.folders() };
        let host = host.with_folders(folders);
        let files = ResolverFiles::of(&host);
        std::fs::create_dir(files.folder()).unwrap();
        let entry = |domain: &str, address: &str| {
            let mut entry = ZoneEntry::new(Zone::new(domain, 1));
            entry.zone.records.push(Record::new(format!("ns.{domain}"), RecordData::A(address.parse().unwrap())));
            entry
        };
        let [shop, blog] = ["shop", "blog"].map(|name| PlatformName::new(name).unwrap());
        for (name, address) in [(&blog, "127.70.1.1"), (&shop, "127.70.2.1")] {
            let mut kept = ZoneFile {
                format: FORMAT,
                entry: entry("dev.example.com", address),
                settings: DnsSettings::default(),
                receiving: None,
                asked: Places::default(),
            };
            // a network that is not there
            kept.entry.listen = vec![Listen { address: ([192, 0, 2, 9], 53).into(), view: View::Container }];
            host.put(files.zone(name), serde_json::to_vec(&kept).unwrap());
        }
        let config = Config {
            zones: vec![entry("dev.example.com", "127.70.1.1"), entry("old.example.com", "127.70.1.1")],
            workers: 1,
            control: Some(files.control()),
            ..Config::default()
        };
        let resolver = Server::start(config).unwrap();
        let answer = async || resolver.trace("ns.dev.example.com", 1, View::Host).await.unwrap().answers;
        let session = session(host.clone(), &FakeEngine::new(), "macula down");
        release(&session, &blog).await.unwrap();
        assert_eq!(answer().await, ["ns.dev.example.com. 30 IN A 127.70.2.1"]);
        // the domain that it had before
        let mut client = Client::connect(&files.control()).await.unwrap();
        assert_eq!(take_out(&host, &files, &mut client, "old.example.com").await.unwrap(), Some(1));
        release(&session, &shop).await.unwrap();
        assert!(resolver.status().zones.is_empty());
    }

    #[tokio::test]
    async fn what_no_process_knows_is_looked_after_by_nobody() {
        let (host, name) = (FakeHost::new(), PlatformName::new("shop").unwrap());
        assert!(!looks_after(&host, &name).await);
        // its names are recorded, and nothing answers
        let zone = ResolverFiles::of(&host).zone(&name);
        host.write(&zone, b"{}", 0o600).await.unwrap();
        assert!(!looks_after(&host, &name).await);
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
