//! The resolver's own process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::compile::{RESOLVER, gateway};
use crate::daemon::reach::Reach;
use crate::daemon::{Home, Routes};
use crate::dns::{
    Client, Config, Encrypted, EncryptedListen, ForwardSettings, Handle, Identities, Inheritance, Inherited, Listen,
    Name, QueryLog, Server, ServerError, Sources, Upstreams, ZoneEntry, follow, install,
};
use crate::event::Events;
use crate::host::{Host, Lock, Word, holders, listen};
use crate::model::{PlatformName, Protocol, View};
use crate::system::OverNetwork;

use crate::app::error::ResolverError;
use crate::app::presence::Present;
use crate::app::resolver::{
    DEFAULT_PORT, FORMAT, LONGEST_LOG, Process, Receiving, ResolverFiles, StartedBy, Wants, own_process,
    resolver_there, usual_addresses,
};
use crate::app::state::write;
use crate::app::{Error, Telemetry, cluster, expiry, follow_orphans, identity, receive, renewal};

/// Where the counters are shown.
pub const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(RESOLVER), 9153);
/// How often an address that could not be had is tried again: the engine may come up after us.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the platforms are still there.
const LOOK: Duration = Duration::from_secs(20);

/// What is served of a platform, as it was recorded.
type Served = (PlatformName, ZoneEntry, Option<Receiving>);

/// What `dns serve` is told.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// Empty: 127.0.0.9, port 53 where permitted, else 5335.
    pub listen: Vec<SocketAddr>,
    /// Where questions come over TLS and over HTTPS; empty: what the platforms name.
    pub dot: Vec<SocketAddr>,
    pub doh: Vec<SocketAddr>,
    /// Empty: the machine's own, followed as they change.
    pub upstream: Vec<IpAddr>,
    /// Foreign domains whose names may lead to loopback addresses.
    pub rebind_allow: Vec<String>,
    /// None: nowhere.
    pub metrics: Option<SocketAddr>,
    pub started_by: StartedBy,
    pub query_log: Option<QueryLog>,
    pub version: &'static str,
    /// Where this program lies: a new version of it may take over. None: nobody may.
    pub heir: Option<PathBuf>,
    /// What the former version has left.
    pub inheritance: Arc<Inheritance>,
}

/// What is said of an address that cannot be listened on.
async fn taken_by(host: &dyn Host, address: SocketAddr) -> String {
    match holders(host, Protocol::Tcp, &[address]).await.into_iter().next() {
        Some(holder) => format!("{address} is held by {holder}"),
        None => format!("{address} is not available"),
    }
}

/// The page of the platforms, which this process shows as well.
struct ShownPage {
    address: SocketAddr,
    /// Whether somebody looks at it.
    wanted: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A resolver in this process. Stops when dropped.
pub struct Serving {
    handle: Handle,
    routes: Option<Routes>,
    _reach: Option<Reach>,
    page: Option<ShownPage>,
    telemetry: Arc<Telemetry>,
    tasks: Vec<JoinHandle<()>>,
    host: Arc<dyn Host>,
    files: ResolverFiles,
    word: Word,
    events: Events,
    started_by: StartedBy,
}

/// Starts answering: for every platform that is recorded, and for those that are added later.
pub async fn serve(host: Arc<dyn Host>, events: &Events, options: ServeOptions) -> Result<Serving, Error> {
    let files = ResolverFiles::of(&*host);
    if Client::connect(&files.control()).await.is_ok() {
        return Err(ResolverError::from(ServerError::AlreadyRunning { path: files.control() }).into());
    }
    let wants = wants(&*host, &files, &options, events).await;
    let choices = choices(&*host, &wants);
    if wants.usual
        && let Some(holder) = resolver_there(&*host).await
        // this process holds it already where it has become another program
        && holder.pid != Some(std::process::id())
    {
        // one of ours that does not answer at the moment
        let own = holder.pid.is_some() && own_process(&*host).await == holder.pid;
        let running = ServerError::AlreadyRunning { path: files.control() };
        return Err(match own {
            true => ResolverError::from(running),
            false => ResolverError::Taken { address: holder.address, holder },
        }
        .into());
    }
    let mut tasks = Vec::new();
    let upstreams = if wants.upstream.is_empty() {
        let own = choices.iter().flatten().copied().collect();
        let sources = Sources { own, former: vec![files.former_resolv_conf()] };
        let (receiver, task) = follow(Arc::clone(&host), sources).await;
        tasks.push(tokio::spawn(task));
        receiver
    } else {
        let default = wants.upstream.iter().map(|address| (*address, 53).into()).collect();
        // a channel whose sender is gone keeps its value
        watch::channel(Upstreams { default, ..Upstreams::default() }).1
    };
    let setting = |value: &String| {
        Name::parse(value).map_err(|error| ResolverError::Setting { value: value.clone(), source: error.into() })
    };
    let rebind_allow = wants.rebind_allow.iter().map(setting).collect::<Result<Vec<_>, _>>()?;
    let metrics = match options.metrics {
        Some(address) if host.can_bind(address, Protocol::Tcp).await.is_err() => {
            let taken = taken_by(&*host, address).await;
            events.warn(format!("no metrics are shown: {taken}"));
            None
        }
        wanted => wanted,
    };
    let encrypted = encrypted(&*host, &wants, options.started_by, events).await;
    let identities = Arc::<Identities>::default();
    identity::show(&*host, &files, &encrypted, &identities, events).await;
    let control = files.control();
    let folder = files.folder().to_owned();
    host.create_folder(&folder, 0o700).await.map_err(|source| Error::Io { path: folder, source })?;
    // the first question may wait in a socket already: it must find its zone
    let recorded = files.entries(&*host).await.into_iter();
    let zones = recorded.map(|(_, entry)| ZoneEntry { listen: Vec::new(), ..entry }).collect();
    let base = Config {
        zones,
        upstreams: Some(upstreams),
        forward: ForwardSettings { rebind_allow, ..ForwardSettings::default() },
        metrics,
        encrypted,
        identities: Arc::clone(&identities),
        control: Some(control),
        query_log: options.query_log,
        inheritance: Arc::clone(&options.inheritance),
        heir: options.heir,
        ..Config::default()
    };
    // before anybody can see that this process is there
    let reach = Reach::start(Arc::clone(&host)).await;
    let started = match first(&choices, &base) {
        // one of them is bad: each by itself, below, is told apart
        Err(ResolverError::Server(ServerError::Zone(_) | ServerError::Name(_))) => {
            first(&choices, &Config { zones: Vec::new(), ..base })
        }
        started => started,
    };
    let handle = match started {
        Err(ResolverError::Server(ServerError::AddressInUse { address })) => {
            let holder = holders(&*host, Protocol::Udp, &[address]).await.into_iter().next();
            let in_use = || ResolverError::Server(ServerError::AddressInUse { address });
            return Err(holder.map_or_else(in_use, |holder| ResolverError::Taken { address, holder }).into());
        }
        started => started?,
    };
    // not before: of two processes that start at once, the one that has no control socket must not take this one either
    let reach = reach.hear(&files.reach());
    if let Err(error) = &reach {
        events.warn(format!("nothing is passed on to platforms whose engine publishes elsewhere: {error}"));
    }

    for (platform, entry) in files.entries(&*host).await {
        // an address that cannot be had yet is tried again while it runs
        let added = handle.put(entry.clone()).or_else(|_| handle.put(ZoneEntry { listen: Vec::new(), ..entry }));
        if let Err(error) = added {
            events.warn(format!("the names of {platform} cannot be served: {error}"));
        }
    }
    options.inheritance.close();
    let (word, listening) = listen(Arc::clone(&host), files.interests(&host));
    tasks.push(tokio::spawn(listening));
    let telemetry = Arc::<Telemetry>::default();
    {
        let host = || Arc::clone(&host);
        let (files, word) = (|| files.clone(), || word.clone());
        let mut follow = |task: BoxFuture<'static, ()>| tasks.push(tokio::spawn(task));
        let shown = handle.encrypted().to_vec();
        if !shown.is_empty() {
            let events = events.clone();
            follow(identity::follow(host(), files(), word(), shown, identities, events).boxed());
        }
        let taken = Arc::clone(&telemetry);
        follow(receive::follow(host(), files(), word(), taken, events.clone()).boxed());
        follow(expiry::follow(host(), files(), word(), events.clone()).boxed());
        follow(follow_orphans(host(), files(), word(), events.clone()).boxed());
        follow(renewal::follow(host(), files(), Arc::new(OverNetwork), events.clone()).boxed());
        follow(cluster::follow::follow(host(), files(), word(), Arc::new(OverNetwork)).boxed());
    }
    let process = Process {
        format: FORMAT,
        pid: std::process::id(),
        started: host.now(),
        version: options.version.to_owned(),
        started_by: options.started_by,
        wants,
    };
    write(&*host, &files.process(), &process).await?;
    // each duty can fail alone
    let routes = Routes::start(&files.routes(), &files.control());
    if let Err(error) = &routes {
        events.warn(format!("programs of this machine get no names (`macula run`): {error}"));
    }
    if let (Ok(reach), Ok(routes)) = (&reach, &routes) {
        reach.lead_in(routes.entrance()).await;
    }
    Ok(Serving {
        handle,
        routes: routes.ok(),
        _reach: reach.ok(),
        page: None,
        telemetry,
        tasks,
        host,
        files,
        word,
        events: events.clone(),
        started_by: options.started_by,
    })
}

/// What was asked for by hand, else what the platforms want.
async fn wants(host: &dyn Host, files: &ResolverFiles, options: &ServeOptions, events: &Events) -> Wants {
    let recorded = files.settings(host).await;
    let mut wants = match Wants::together(recorded.iter().map(|(name, settings)| (name, settings))) {
        Ok(wants) => wants,
        Err(error) => {
            events.warn(format!("the platforms' settings for the resolver are not used: {error}"));
            Wants::default()
        }
    };
    wants.usual |= wants.listen.is_empty();
    if !options.listen.is_empty() {
        (wants.usual, wants.listen) = (false, options.listen.clone());
    }
    if !options.dot.is_empty() {
        wants.dot.clone_from(&options.dot);
    }
    if !options.doh.is_empty() {
        wants.doh.clone_from(&options.doh);
    }
    if !options.upstream.is_empty() {
        wants.upstream.clone_from(&options.upstream);
    }
    wants.rebind_allow.extend(options.rebind_allow.iter().cloned());
    wants
}

/// Where questions come encrypted. Names are worth more than these: what a platform asked for and
/// cannot be had is left out with a word; what was asked for by hand is an error.
async fn encrypted(host: &dyn Host, wants: &Wants, by: StartedBy, events: &Events) -> Vec<EncryptedListen> {
    let all = [(Encrypted::Dot, "TLS", &wants.dot), (Encrypted::Doh, "HTTPS", &wants.doh)];
    let mut found = Vec::new();
    for (protocol, over, addresses) in all {
        for address in addresses {
            if by != StartedBy::Hand && host.can_bind(*address, Protocol::Tcp).await.is_err() {
                let taken = taken_by(host, *address).await;
                events.warn(format!("DNS over {over} is not answered: {taken}"));
                continue;
            }
            found.push(EncryptedListen { protocol, address: *address });
        }
    }
    found
}

/// The addresses to answer on, the best first.
fn choices(host: &dyn Host, wants: &Wants) -> Vec<Vec<SocketAddr>> {
    if !wants.usual {
        return vec![wants.listen.clone()];
    }
    let mut all = usual_addresses().to_vec();
    if host.facts().os == "macos" {
        // other loopback addresses are there only where somebody made them
        all.push((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
    }
    all.into_iter().map(|usual| [&[usual], wants.listen.as_slice()].concat()).collect()
}

fn first(choices: &[Vec<SocketAddr>], base: &Config) -> Result<Handle, ResolverError> {
    let mut last = None;
    for choice in choices {
        let listen = choice.iter().map(|address| Listen { address: *address, view: View::Host }).collect();
        match Server::start(Config { listen, ..base.clone() }) {
            Ok(handle) => return Ok(handle),
            Err(error @ ServerError::AlreadyRunning { .. }) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
    }
    let nothing = || ServerError::Unspecified { address: (Ipv4Addr::UNSPECIFIED, 53).into() };
    Err(last.unwrap_or_else(nothing).into())
}

/// The gateway of a platform's network: where the resolver answers containers, if it does.
fn gateway_of(entry: &ZoneEntry) -> Option<Ipv4Addr> {
    let answers = entry.listen.iter().find(|listen| listen.view == View::Container);
    match (answers.map(|listen| listen.address.ip()), entry.networks.first()) {
        (Some(IpAddr::V4(gateway)), _) => Some(gateway),
        (None, Some(IpNet::V4(subnet))) => Some(gateway(*subnet)),
        _ => None,
    }
}

impl Serving {
    /// Where programs of this machine ask it.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listen = self.handle.listen();
        listen.iter().filter(|listen| listen.view == View::Host).map(|listen| listen.address).collect()
    }

    /// Where they ask encrypted.
    pub fn encrypted(&self) -> &[EncryptedListen] {
        self.handle.encrypted()
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.handle.metrics_address()
    }

    /// Names of this machine's programs (`macula run`), and their ports.
    pub fn programs(&self) -> Box<dyn Fn() -> Vec<(String, u16)> + Send + Sync> {
        match &self.routes {
            Some(routes) => Box::new(routes.names()),
            None => Box::new(Vec::new),
        }
    }

    /// What is taken of the platforms' telemetry.
    pub fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }

    /// From now on the platforms' own names lead to the page, and the process stays while it is `wanted`.
    pub fn show(&mut self, address: SocketAddr, wanted: impl Fn() -> bool + Send + Sync + 'static) {
        self.page = Some(ShownPage { address, wanted: Box::new(wanted) });
    }

    fn page_is_wanted(&self) -> bool {
        self.page.as_ref().is_some_and(|page| (page.wanted)())
    }

    /// Answers until it is asked to stop, over its control socket or by `cancel`; until nobody can ask
    /// it any more, since its data folder is gone; or, where `up` started it, until its last platform
    /// is gone. Where a new version of this program is to take over, these are the sockets for it.
    pub async fn run(mut self, cancel: &CancellationToken) -> Option<Vec<Inherited>> {
        let mut looked = Instant::now();
        let mut present = Present::default();
        let mut missing = self.unless_told(cancel, self.settle()).await.unwrap_or(true);
        loop {
            let word = &mut self.word;
            let pause = async move {
                if missing {
                    tokio::time::sleep(AGAIN).await;
                } else {
                    word.wait(AGAIN, LOOK).await;
                }
            };
            tokio::select! {
                () = self.handle.stopped() => break,
                () = cancel.cancelled() => break,
                () = self.handle.succeeded() => match self.handle.hand_over().await {
                    // the file stays: the process does, too
                    Ok(given) => return Some(given),
                    Err(error) => {
                        self.events.warn(format!("nothing is handed over: {error}"));
                        break;
                    }
                },
                () = pause => missing = self.unless_told(cancel, self.settle()).await.unwrap_or(true),
            }
            if !self.handle.is_reachable() {
                self.events.warn(format!("{} is gone: the resolver ends", self.files.control().display()));
                return None;
            }
            if self.started_by == StartedBy::Up && looked.elapsed() >= LOOK {
                looked = Instant::now();
                // a full disk is no reason to stop answering
                let _ = self.host.keep_end(&self.files.log(), LONGEST_LOG).await;
                // the engine may take long to answer
                self.unless_told(cancel, self.let_go(&mut present)).await;
                if self.files.entries(&*self.host).await.is_empty()
                    && !self.page_is_wanted()
                    // without it this machine would resolve nothing at all
                    && !install::is_alone(&*self.host, &self.files.install()).await
                {
                    self.events.info("the last platform is gone: the resolver ends");
                    break;
                }
            }
        }
        let host = Arc::clone(&self.host);
        // whoever waits for the file to go finds the addresses free
        drop(self);
        serves_no_more(&*host).await;
        None
    }

    /// What comes of this work; none, as soon as there is something else to be done for the end of this process.
    async fn unless_told<T>(&self, cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.handle.stopped() => None,
            () = self.handle.succeeded() => None,
            () = cancel.cancelled() => None,
        }
    }

    /// Takes out platforms that somebody else has taken down: from another home, or by hand.
    async fn let_go(&self, present: &mut Present) {
        for (platform, entry) in self.files.entries(&*self.host).await {
            let engine = Box::pin(renewal::engine_of(Arc::clone(&self.host), platform.clone()));
            if !present.is_gone(&platform, Instant::now(), engine).await {
                continue;
            }
            // an `up` of it may be at work just now
            let path = self.files.lock();
            let lock = Lock::acquire(&*self.host, &path, "macula dns serve", Some(Duration::ZERO), |_| {});
            let Ok(_lock) = lock.await else { continue };
            let removed = self.host.remove(&self.files.zone(&platform)).await;
            if removed.is_ok() && self.handle.remove(&entry.zone.apex).is_ok() {
                self.events.info(format!("the platform {platform} is gone, and so are its names"));
            }
        }
    }

    /// Listens where the platforms want it, and leads their own names to the page. True: not all of it could be had,
    /// since a platform's network may be made after we were started.
    async fn settle(&self) -> bool {
        let served = self.files.served(&*self.host).await;
        if let Some(routes) = &self.routes {
            let networks = served.iter().filter_map(|(_, entry, _)| Some((gateway_of(entry)?, entry.networks.clone())));
            routes.keep_networks(networks.collect());
        }
        let missing = self.listen_again(&served);
        self.keep_homes(&served).await || missing
    }

    async fn keep_homes(&self, served: &[Served]) -> bool {
        let (Some(routes), Some(page)) = (&self.routes, &self.page) else { return false };
        let mut homes = BTreeMap::new();
        for (platform, entry, receiving) in served {
            if let Some(gateway) = gateway_of(entry) {
                let domain = entry.zone.apex.clone();
                let names = receiving.iter().flat_map(Receiving::names);
                let others = names.map(|(name, address)| (format!("{name}.{domain}"), address)).collect();
                let home = Home { platform: platform.to_string(), domain, page: page.address, others };
                homes.insert(gateway, home);
            }
        }
        !routes.keep_homes(homes).await
    }

    fn listen_again(&self, served: &[Served]) -> bool {
        let (bound, shown) = (self.handle.listen(), self.handle.inner_metrics());
        let known: Vec<String> = self.handle.status().zones.into_iter().map(|zone| zone.apex).collect();
        let mut any = false;
        for (_, entry, _) in served {
            let metrics = entry.metrics.is_some_and(|address| !shown.contains(&address));
            let missing = metrics || entry.listen.iter().any(|listen| !bound.contains(listen));
            if missing {
                // the next time, then; `up` adds its zone a moment after it has recorded it
                any |= !known.contains(&entry.zone.apex) || self.handle.put(entry.clone()).is_err();
            }
        }
        any
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// This process answers no more and becomes nobody who does: a file that stays names a process that is gone, which
/// everybody looks at first.
pub async fn serves_no_more(host: &dyn Host) {
    let files = ResolverFiles::of(host);
    // the next one may be there already
    if files.last_process(host).await.is_some_and(|process| process.pid == std::process::id()) {
        let _ = host.remove(&files.process()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::resolver::taken;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_resolver_of_somebody_else_is_named() {
        let found = async |host: FakeHost| taken(&host).await.map(|taken| taken.to_string());
        let host = || FakeHost::new().listener("0.0.0.0:53", Protocol::Udp, None);
        assert_eq!(found(host()).await, None);
        let other = host().listener("127.0.0.9:53", Protocol::Udp, Some((7, "dnsmasq")));
        assert_eq!(found(other).await, None);
        let same_user = host().listener("127.0.0.9:53", Protocol::Udp, Some((7, "macula")));
        assert_eq!(found(same_user).await.as_deref(), Some("127.0.0.9:53 is held by `macula` (pid 7)"));
        let theirs = host().listener("127.0.0.9:5335", Protocol::Udp, None);
        assert_eq!(found(theirs).await.as_deref(), Some("127.0.0.9:5335 is held by a process of another user"));
    }

    #[tokio::test]
    async fn who_has_an_address_is_told_where_it_can_be_seen() {
        let host = FakeHost::new().listener("127.0.0.9:853", Protocol::Tcp, Some((7, "nginx"))).listener(
            "127.0.0.9:443",
            Protocol::Udp,
            Some((8, "caddy")),
        );
        let told = async |address: &str| taken_by(&host, address.parse().unwrap()).await;
        assert_eq!(told("127.0.0.9:853").await, "127.0.0.9:853 is held by `nginx` (pid 7)");
        assert_eq!(told("127.0.0.9:443").await, "127.0.0.9:443 is not available");
    }

    #[tokio::test]
    async fn an_encrypted_address_that_is_taken_is_passed_over_unless_it_was_asked_for_by_hand() {
        let listens = async |by: StartedBy, taken: bool| {
            let host = FakeHost::new();
            let host = if taken { host.listener("127.0.0.9:853", Protocol::Tcp, None) } else { host };
            let wants = Wants { dot: vec!["127.0.0.9:853".parse().unwrap()], ..Wants::default() };
            encrypted(&host, &wants, by, &Events::none()).await.len()
        };
        assert_eq!((listens(StartedBy::Up, true).await, listens(StartedBy::Up, false).await), (0, 1));
        // its error tells who has it
        assert_eq!(listens(StartedBy::Hand, true).await, 1);
    }

    #[tokio::test]
    async fn the_note_of_the_next_process_stays() {
        let noted = async |pid| {
            let host = FakeHost::new();
            let process = Process {
                format: FORMAT,
                pid,
                started: 0,
                version: "1.0.0".into(),
                started_by: StartedBy::Up,
                wants: Wants::default(),
            };
            write(&host, &ResolverFiles::of(&host).process(), &process).await.unwrap();
            serves_no_more(&host).await;
            ResolverFiles::of(&host).last_process(&host).await.is_some()
        };
        assert!(!noted(std::process::id()).await);
        assert!(noted(std::process::id() + 1).await);
    }

    #[test]
    fn the_usual_address_stays_beside_those_that_platforms_name() {
        let host = FakeHost::new();
        let wants = |usual, listen: &[&str]| Wants {
            usual,
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            ..Wants::default()
        };
        let shown = |wants: Wants| format!("{:?}", choices(&host, &wants));
        assert_eq!(shown(wants(true, &[])), "[[127.0.0.9:53], [127.0.0.9:5335]]");
        assert_eq!(shown(wants(false, &["127.0.0.9:5300"])), "[[127.0.0.9:5300]]");
        let both = "[[127.0.0.9:53, 127.0.0.9:5300], [127.0.0.9:5335, 127.0.0.9:5300]]";
        assert_eq!(shown(wants(true, &["127.0.0.9:5300"])), both);
    }
}
