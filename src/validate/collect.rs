//! Goes there and writes down what it sees: the machine once, every name side by side.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::evidence::*;
use super::reach::{self, Trust};
use super::targets::Target;
use super::{files, inside};
use crate::compile::RESOLVER;
use crate::dns::install;
use crate::dns::{Client, ask};
use crate::engine::Engine;
use crate::host::Host;
use crate::model::proxy::exceptions;
use crate::model::{Listener, ObservedContainer, Protocol, View, label};

/// For a look-up of the system, which may go by way of other machines.
const LOOK_UP: Duration = Duration::from_secs(6);
/// For a resolver of this machine.
const RESOLVE: Duration = Duration::from_millis(1500);
/// For the resolver's control socket.
const CONTROL: Duration = Duration::from_secs(2);
/// Type A.
const A: u16 = 1;
/// Type AAAA.
const AAAA: u16 = 28;
/// Type NS, of the root: what every name server that others may ask has at hand.
const NS: u16 = 2;

/// What is to be walked, and with what.
pub struct Scene<'a> {
    pub host: &'a dyn Host,
    /// Why none answers.
    pub engine: Result<&'a dyn Engine, String>,
    pub platform: &'a str,
    pub domain: &'a str,
    /// The platform's network in the engine.
    pub network: &'a str,
    pub targets: Vec<Target>,
    /// Of this platform, as observed.
    pub containers: &'a [ObservedContainer],
    /// The container of the ingress.
    pub ingress: Option<&'a str>,
    /// The host reaches containers by their own address.
    pub container_addresses: bool,
    /// The resolver's control socket.
    pub control: PathBuf,
    /// What `dns install` keeps.
    pub install: PathBuf,
    /// Where programs ask a name server: 53.
    pub dns_port: u16,
    /// A name of the platform that the resolver answers, with the address that nobody else gives.
    pub probe: (String, IpAddr),
    /// Our root, DER, and whether a store that is no file trusts it.
    pub root: Option<(Vec<u8>, bool)>,
    /// Hears what is seen as it comes.
    pub told: Option<&'a (dyn Fn(SoFar) + Send + Sync)>,
}

/// A walk that is under way.
#[derive(Debug, Clone)]
pub struct SoFar {
    /// Of the names that are through, or wait for the system's look-up alone; not yet as seen from inside.
    pub evidence: Evidence,
    /// Names that are still asked for, those that wait for the look-up among them.
    pub open: Vec<String>,
}

/// Looks at everything. Changes nothing, but for a container that may live for a moment. `more`: names that have to be
/// asked for first; the others are not kept waiting.
pub async fn collect(scene: &Scene<'_>, more: impl Future<Output = Vec<Target>>) -> Evidence {
    let host = scene.host;
    let root = scene.root.as_ref();
    let (resolver, installed, files, trust) = tokio::join!(
        resolver(scene),
        installed(scene),
        files::look(host, scene.domain),
        Trust::look(host, root.map(|(der, _)| der.as_slice()), root.is_some_and(|(_, trusted)| *trusted)),
    );
    let address = resolver.as_ref().and_then(|resolver| resolver.address);
    let listeners = listeners(host).await;
    let inside = async {
        match &scene.engine {
            Ok(engine) => {
                let targets: Vec<&Target> = scene.targets.iter().filter(|target| target.inside.is_some()).collect();
                if targets.is_empty() {
                    return (Err("the platform has no ingress".to_owned()), BTreeMap::new());
                }
                let Scene { network, platform, containers, ingress, .. } = scene;
                inside::look(*engine, network, platform, containers, *ingress, &targets).await
            }
            Err(reason) => (Err(reason.clone()), BTreeMap::new()),
        }
    };
    let ingress = ingress(scene).await;
    let machine = Machine {
        linux: host.facts().os == "linux",
        engine: scene.engine.as_ref().map(|_| ()).map_err(Clone::clone),
        resolver_port: resolver_port(scene, &listeners, installed.as_ref(), address).await,
        squatters: Vec::new(),
        authority: trust.knows_ours(),
        resolver,
        installed,
        files,
        front: None,
        proxy: None,
        ingress,
        inside: Err("not asked yet".to_owned()),
    };
    let (platform, domain) = (scene.platform.to_owned(), scene.domain.to_owned());
    let known = Evidence { platform, domain, now: host.now(), machine, names: Vec::new() };
    let open = scene.targets.iter().map(|target| target.name.clone()).collect();
    let so_far = Mutex::new(SoFar { evidence: known.clone(), open });
    let walk = async |target: &Target| {
        let seen = walk(scene, &trust, address, target, |partly| tell(scene, &so_far, partly, false)).await;
        tell(scene, &so_far, &seen, true);
        seen
    };
    let own = join_all(scene.targets.iter().map(&walk));
    let more = async {
        let more = more.await;
        let names = more.iter().map(|target| target.name.clone());
        so_far.lock().unwrap_or_else(PoisonError::into_inner).open.extend(names);
        join_all(more.iter().map(&walk)).await
    };
    let (own, more, (inside, seen_inside), front, proxy, upstream) = tokio::join!(
        own,
        more,
        inside,
        front(scene, &known.machine.files, address),
        proxy(scene),
        upstream(known.machine.resolver.as_ref()),
    );
    let mut evidence = Evidence { names: own.into_iter().chain(more).collect(), ..known };
    for name in &mut evidence.names {
        name.inside = seen_inside.get(&name.target.asked).cloned();
    }
    let down = evidence.machine.ingress.as_ref().is_none_or(|ingress| !ingress.runs());
    let squatters = if down { squatters(host, &listeners, &evidence.names).await } else { Vec::new() };
    let resolver = evidence.machine.resolver.map(|resolver| ResolverSeen { upstream, ..resolver });
    evidence.machine = Machine { squatters, front, proxy, inside, resolver, ..evidence.machine };
    evidence
}

/// A name is through, or nearly so.
fn tell(scene: &Scene<'_>, so_far: &Mutex<SoFar>, seen: &NameSeen, through: bool) {
    let Some(told) = scene.told else { return };
    let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
    so_far.open.retain(|name| !through || *name != seen.target.name);
    so_far.evidence.names.retain(|before| before.target.name != seen.target.name);
    so_far.evidence.names.push(seen.clone());
    told(so_far.clone());
}

async fn resolver(scene: &Scene<'_>) -> Option<ResolverSeen> {
    let work = async {
        let mut client = Client::connect(&scene.control).await.ok()?;
        client.status().await.ok()
    };
    let status = timeout(CONTROL, work).await.ok().flatten()?;
    let zone = status.zones.iter().find(|zone| zone.apex == scene.domain);
    let error = |zone: &crate::dns::ZoneStatus| {
        let error = zone.feed_status.as_ref()?.error.as_ref()?;
        Some(error.split(" (os error").next().unwrap_or_default().to_owned())
    };
    let address = status.listen.iter().find(|listen| listen.view == View::Host).map(|listen| listen.address);
    // those of a VPN's domains are that VPN's business
    let upstreams: Vec<SocketAddr> =
        status.upstreams.iter().filter(|upstream| upstream.domain.is_none()).map(|upstream| upstream.address).collect();
    Some(ResolverSeen {
        address,
        feed: zone.and_then(|zone| Some((zone.feed?, error(zone)))),
        upstreams,
        // asked for while the names are
        upstream: Ok(()),
        zones: status.zones.into_iter().map(|zone| zone.apex).collect(),
    })
}

/// Whether the resolver gets answers from those that it asks.
async fn upstream(seen: Option<&ResolverSeen>) -> Result<(), String> {
    let asks = seen.filter(|resolver| !resolver.upstreams.is_empty());
    let Some(resolver) = asks.and_then(|resolver| resolver.address) else { return Ok(()) };
    match ask(resolver, ".", NS, RESOLVE).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let said = said(resolver, &error);
            // any other answer is one
            let none = ["server failure", "refused", "timed out"].iter().any(|word| said.contains(word));
            if none { Err(said) } else { Ok(()) }
        }
    }
}

/// What a server said in place of an answer.
fn said(server: SocketAddr, error: &std::io::Error) -> String {
    let text = reach::words(error);
    text.strip_prefix(&format!("{server} answers ")).unwrap_or(&text).to_owned()
}

async fn installed(scene: &Scene<'_>) -> Option<Installed> {
    let found = install::present(scene.host, &scene.install).await.ok().flatten()?;
    Some(Installed {
        rung: found.rung,
        address: found.address,
        interrupted: found.interrupted,
        missing: found.missing,
        changed: found.changed,
    })
}

async fn listeners(host: &dyn Host) -> Vec<Listener> {
    host.listeners().await.unwrap_or_default()
}

/// Who listens at an address, by name where this user may see it.
async fn owner(host: &dyn Host, listeners: &[Listener], address: SocketAddr, protocol: Protocol) -> Option<Owner> {
    let here = |listener: &&Listener| {
        let everywhere = listener.address.is_unspecified() && listener.address.is_ipv4() == address.is_ipv4();
        let same = listener.address == address.ip() || everywhere;
        same && listener.port == address.port() && listener.protocol == protocol
    };
    let found = listeners.iter().find(here).cloned()?;
    let known = host.owners(vec![found]).await.pop()?;
    Some(Owner { address, process: known.process, pid: known.pid })
}

/// Somebody else on the address where the system looks for the resolver.
async fn resolver_port(
    scene: &Scene<'_>,
    listeners: &[Listener],
    installed: Option<&Installed>,
    ours: Option<SocketAddr>,
) -> Option<Owner> {
    let wanted = installed.map_or(SocketAddr::from((RESOLVER, scene.dns_port)), |installed| installed.address);
    if ours == Some(wanted) {
        return None;
    }
    owner(scene.host, listeners, wanted, Protocol::Udp).await
}

/// Those who answer on the ingress's addresses though it does not run.
async fn squatters(host: &dyn Host, listeners: &[Listener], names: &[NameSeen]) -> Vec<Owner> {
    let mut all: Vec<Owner> = Vec::new();
    for name in names {
        let Some(web) = &name.target.web else { continue };
        for (address, connected) in &name.connect {
            let of_ingress = address.port() == web.http || Some(address.port()) == web.https;
            if connected.is_ok() && of_ingress && !all.iter().any(|known| known.address == *address) {
                let known = owner(host, listeners, *address, Protocol::Tcp).await;
                all.push(known.unwrap_or(Owner { address: *address, process: None, pid: None }));
            }
        }
    }
    all
}

/// Asks whoever stands in front of our resolver for a name that only ours knows.
async fn front(scene: &Scene<'_>, files: &Files, ours: Option<SocketAddr>) -> Option<Front> {
    let server = SocketAddr::from((*files.servers.first()?, scene.dns_port));
    if Some(server) == ours {
        return None;
    }
    let (name, expected) = &scene.probe;
    let (knows, said) = match ask(server, name, A, RESOLVE).await {
        Ok(found) if found.contains(expected) => (true, expected.to_string()),
        Ok(found) if found.is_empty() => (false, "it has no address for it".to_owned()),
        Ok(found) => (false, format!("it says {}", list(&found))),
        Err(error) => (false, said(server, &error)),
    };
    Some(Front { server, asked: name.clone(), knows, said })
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn proxy(scene: &Scene<'_>) -> Option<ProxySeen> {
    let target = scene.targets.iter().find(|target| target.web.is_some())?;
    let (variable, proxy) = files::proxy_for(&scene.host.environment(), &target.asked)?;
    let web = target.web.as_ref()?;
    let passes = reach::through_proxy(&proxy, &target.asked, web.https.unwrap_or(web.http)).await;
    // a password in it is not to be shown
    let shown = match proxy.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => proxy.rsplit('@').next().unwrap_or(&proxy).to_owned(),
    };
    let exceptions = exceptions(&|name: &str| scene.host.env(name));
    Some(ProxySeen { variable, proxy: shown, exceptions, passes })
}

async fn ingress(scene: &Scene<'_>) -> Option<ContainerSeen> {
    let name = scene.ingress?;
    let found = scene.containers.iter().find(|found| found.name == name)?;
    Some(container(scene, found, &[]).await)
}

/// `ports`: the one that is to answer, and those that may in its place.
async fn container(scene: &Scene<'_>, found: &ObservedContainer, ports: &[u16]) -> ContainerSeen {
    let address = found.addresses.get(scene.network).copied();
    let mut direct = None;
    if let Some(address) = address.filter(|_| scene.container_addresses) {
        for port in ports {
            let address = SocketAddr::from((address, *port));
            match reach::connect(address).await {
                Ok(_) => {
                    direct = Some(Ok(address));
                    break;
                }
                // what is said is what the first one answers
                Err(reason) => direct = direct.or(Some(Err(reason))),
            }
        }
    }
    ContainerSeen {
        name: found.name.clone(),
        state: found.state,
        health: found.health,
        exit_code: found.exit_code,
        error: found.error.clone(),
        address,
        started_at: found.started_at,
        direct,
    }
}

/// `partly`: hears what is known while the system's look-up, which may go by way of other machines, is waited for.
async fn walk(
    scene: &Scene<'_>,
    trust: &Trust,
    resolver: Option<SocketAddr>,
    target: &Target,
    partly: impl Fn(&NameSeen),
) -> NameSeen {
    let dns = async {
        match resolver {
            Some(resolver) => {
                let mut answer = ask(resolver, &target.asked, A, RESOLVE).await;
                if target.address.is_none() && answer.as_ref().is_ok_and(Vec::is_empty) {
                    answer = ask(resolver, &target.asked, AAAA, RESOLVE).await;
                }
                Some(answer.map_err(|error| said(resolver, &error)))
            }
            None => None,
        }
    };
    let ports: Vec<u16> = match &target.web {
        Some(web) => web.https.into_iter().chain([web.http]).chain(target.ports.iter().copied()).collect(),
        None => target.ports.clone(),
    };
    let at = async |address: Option<IpAddr>| match address {
        Some(address) => reach_all(trust, target, address, &ports).await,
        None => Reached::default(),
    };
    let seen = |lookup, dns, Reached { connect, tls, http, out }, dead_v6, containers| NameSeen {
        target: target.clone(),
        lookup,
        dns,
        connect,
        dead_v6,
        tls,
        http,
        out,
        containers,
        inside: None,
    };
    let lookup = look_up(scene.host, &target.asked);
    if target.address.is_none() {
        // it leads to where the names say
        let (lookup, dns) = tokio::join!(lookup, dns);
        let found = lookup.found.clone().unwrap_or_default();
        let known = dns.iter().flatten().flatten().chain(&found).next().copied();
        let (reached, dead, containers) =
            tokio::join!(at(known), reach::dead(&found, &ports), containers(scene, target));
        return seen(lookup, dns, reached, dead, containers);
    }
    let rest = async { tokio::join!(dns, at(target.address), containers(scene, target)) };
    tokio::pin!(lookup, rest);
    let (lookup, (dns, reached, containers)) = tokio::select! {
        biased;
        lookup = &mut lookup => (lookup, rest.await),
        known = &mut rest => {
            let (dns, reached, containers) = known.clone();
            let nothing = LookUp { found: Ok(Vec::new()), millis: 0 };
            partly(&seen(nothing, dns, reached, Vec::new(), containers));
            (lookup.await, known)
        }
    };
    let dead = reach::dead(lookup.found.as_deref().unwrap_or_default(), &ports).await;
    seen(lookup, dns, reached, dead, containers)
}

async fn look_up(host: &dyn Host, name: &str) -> LookUp {
    let begun = Instant::now();
    let found = match timeout(LOOK_UP, host.resolve(name)).await {
        Ok(found) => found.map_err(|error| {
            // glibc: `failed to lookup address information: Name or service not known`
            let text = reach::words(&error);
            text.rsplit(": ").next().unwrap_or(&text).to_owned()
        }),
        Err(_) => Err(format!("no answer in {} s", LOOK_UP.as_secs())),
    };
    LookUp { found, millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

async fn containers(scene: &Scene<'_>, target: &Target) -> Vec<ContainerSeen> {
    let of_it = |found: &&ObservedContainer| found.label(label::SERVICE) == Some(&target.service);
    let ports: Vec<u16> = target.web.iter().flat_map(|web| std::iter::once(web.port).chain(web.fallback)).collect();
    join_all(scene.containers.iter().filter(of_it).map(|found| container(scene, found, &ports))).await
}

#[derive(Clone, Default)]
struct Reached {
    connect: Vec<(SocketAddr, Result<(), String>)>,
    tls: Option<Result<TlsSeen, String>>,
    http: Option<Result<HttpSeen, String>>,
    out: Vec<String>,
}

/// Each port of a name; through the ingress's first that answers, the request.
async fn reach_all(trust: &Trust, target: &Target, address: IpAddr, ports: &[u16]) -> Reached {
    let tried = join_all(ports.iter().map(|port| async move {
        let address = SocketAddr::from((address, *port));
        (address, reach::connect(address).await)
    }))
    .await;
    let mut reached = Reached::default();
    let begun = Instant::now();
    for (address, stream) in tried {
        reached.connect.push((address, stream.as_ref().map(|_| ()).map_err(Clone::clone)));
        let (Ok(mut stream), Some(web)) = (stream, &target.web) else { continue };
        let name = &target.asked;
        let url = |scheme: &str, usual: u16| match address.port() {
            port if port == usual => format!("{scheme}://{name}{}", web.path),
            port => format!("{scheme}://{name}:{port}{}", web.path),
        };
        if Some(address.port()) == web.https {
            let (tls, http) = reach::https(stream, trust, name, (&url("https", 443), &web.path)).await;
            (reached.tls, reached.http) = (Some(tls), http);
        } else if address.port() == web.http
            && reached.http.as_ref().is_none_or(Result::is_err)
            // who was silent there is silent here
            && begun.elapsed() < reach::ANSWER
        {
            reached.http = Some(reach::request(&mut stream, name, (&url("http", 80), &web.path)).await);
        }
        if let Some(Ok(seen)) = &mut reached.http
            && seen.mark == Some(Mark::Unavailable)
            && seen.status == 502
            && let Some(http) = ports.iter().find(|port| **port == web.http)
            && reach::speaks_grpc(SocketAddr::from((address.ip(), *http)), name, &web.path).await
        {
            (seen.mark, seen.status) = (None, 200);
        }
    }
    if let (Some(web), Some(Ok(_))) = (&target.web, &reached.http)
        && !target.shares.is_empty()
    {
        let told = reach::out_of_rotation(SocketAddr::from((address, web.http)), &target.shares).await;
        reached.out = told.unwrap_or_default();
    }
    reached
}
