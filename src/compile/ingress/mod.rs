//! Names and direct ports: what the host ingress passes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::model::{Inside, Platform, Protocol, PublishedPort, Role, Route, Service, Stream, TelemetryMode};

use super::address::{Block, loopback_address};
use super::naming::container_name;

mod backends;

pub use backends::{Member, Share, backends, counted, shares};

pub use crate::model::fully_qualified;

/// The name is the domain or lies below it: it has a record and a certificate of ours.
pub fn is_own(host: &str, domain: &str) -> bool {
    let bare = host.strip_prefix("*.").unwrap_or(host);
    bare.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Every name on the ingress, sorted by host, then the longest path first.
pub fn routes(platform: &Platform, block: Block) -> Vec<Route> {
    let mut all: Vec<Route> = platform
        .services()
        .flat_map(|(_, service)| {
            service.extension.ingress.iter().map(move |rule| {
                let host = fully_qualified(&rule.host, &platform.domain);
                Route {
                    own: is_own(&host, &platform.domain),
                    host,
                    service: service.name.clone(),
                    port: rule.port,
                    fallback: rule.fallback,
                    path: rule.path.clone(),
                    tls: rule.tls,
                    body_size: rule.body_size,
                    auth: rule.auth.clone(),
                    sticky: rule.sticky,
                    weight: rule.weight,
                    grpc: rule.grpc,
                    grpc_port: rule.grpc_port,
                    strip: rule.strip,
                    same_origin: rule.same_origin,
                    response_timeout: rule.response_timeout,
                    address: loopback_address(block, service.extension.address),
                }
            })
        })
        .collect();
    all.sort_by(|a, b| {
        (&a.host, std::cmp::Reverse(a.path.len()), &a.path, &a.service).cmp(&(
            &b.host,
            std::cmp::Reverse(b.path.len()),
            &b.path,
            &b.service,
        ))
    });
    all
}

/// Where a service is reached inside the platform's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// A name that the engine's DNS knows.
    Name(String),
    Address(IpAddr),
}

/// A service without a network of its own is reached where the owner of its network is. `None`: it
/// has no network at all, or the engine's own.
pub fn upstream(platform: &Platform, service: &str, gateway: Ipv4Addr) -> Option<Upstream> {
    let mut name = service;
    // a circle of services in each other's networks cannot start, and ends here
    for _ in 0..=platform.services().count() {
        let Some((_, found)) = platform.service(name) else { return Some(Upstream::Name(name.to_owned())) };
        match found.network_mode.as_deref() {
            None => return Some(Upstream::Name(name.to_owned())),
            Some("host") => return Some(Upstream::Address(gateway.into())),
            // the engine's own bridge is a network that the ingress is not in
            Some("none" | "bridge" | "default") => return None,
            Some(mode) => match mode.split_once(':') {
                Some(("service", other)) => name = other,
                Some(("container", other)) => return Some(Upstream::Name(other.to_owned())),
                _ => return Some(Upstream::Name(name.to_owned())),
            },
        }
    }
    None
}

/// Direct ports inside the platform's network: the published ports of services with a name, except
/// for those whose name leads to the container itself there.
pub fn streams(platform: &Platform) -> Vec<Stream> {
    let apart = own_inside(platform);
    let mut taken = named_ports(platform);
    taken.extend([80, 443]);
    let guard = platform.services().any(|(_, service)| service.extension.role == Some(Role::Ingress));
    let mut all = Vec::new();
    let services = platform.services().map(|(_, service)| service).filter(|service| service.has_name());
    for service in services.filter(|service| !apart.contains_key(&service.name)) {
        // the ingress forwards connections; UDP has none
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
            let Some(published) = port.published.filter(|published| taken.insert(*published)) else { continue };
            all.push(Stream {
                port: published,
                protocol: port.protocol,
                service: service.name.clone(),
                target: port.target,
                hosts: if guard && is_guarded(service, port) { hosts(platform, service) } else { Vec::new() },
            });
        }
    }
    all.sort();
    all
}

/// Where the ingress counts what it does; no service's port is passed on there.
pub const INTERNAL: u16 = 10080;

/// A port of this machine alone behind which the service wants no requests of foreign pages. A browser says whose
/// page asks, but a name of the page's own that has been made to lead to 127.0.0.1 (DNS rebinding) makes it the
/// same origin: only the name that is asked for gives it away.
fn is_guarded(service: &Service, port: &PublishedPort) -> bool {
    let web = service.extension.ingress.iter().any(|rule| rule.same_origin && rule.port == port.target);
    let here = port.host_ip.is_none_or(|address| address.is_loopback());
    web && here && port.published_to.is_none() && port.published != Some(INTERNAL)
}

/// Whom requests to a guarded port may name, beside addresses: nobody can have a name of the domain lead
/// elsewhere, or have one of a single label from elsewhere.
fn hosts(platform: &Platform, service: &Service) -> Vec<String> {
    let containers = (1..=service.replicas).map(|replica| container_name(platform, service, replica));
    let rules = service.extension.ingress.iter().map(|rule| fully_qualified(&rule.host, &platform.domain));
    let mut all: Vec<String> = ["localhost", ".localhost", "host.docker.internal", "host.containers.internal"]
        .map(str::to_owned)
        .into_iter()
        .chain([service.name.clone(), platform.domain.clone(), format!(".{}", platform.domain)])
        .chain(service.short.clone())
        .chain(containers)
        .chain(rules.map(|host| host.strip_prefix('*').unwrap_or(&host).to_owned()))
        .map(|host| host.to_ascii_lowercase())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Ports inside the network that several services have, all of them for HTTP: the name in the request
/// tells whose it is.
pub fn named_ports(platform: &Platform) -> BTreeSet<u16> {
    Inside::of(platform.services().map(|(_, service)| service)).by_host
}

/// Services whose own name leads to the container itself inside the network, with the last octet of
/// their fixed address there.
pub fn own_inside(platform: &Platform) -> BTreeMap<String, u8> {
    Inside::of(platform.services().map(|(_, service)| service)).own
}

/// What the background process takes in the place of services that are left out, by the name and ports that
/// containers send to, and the address in the default block that programs of this machine get for it. The first of the
/// services is the one that has the name where it is there.
const RECEIVERS: [(&str, &[&str], Ipv4Addr, &[u16]); 2] = [
    ("otlp", &["alloy"], Ipv4Addr::new(127, 0, 0, 12), &[4317, 4318]),
    ("loki", &["loki"], Ipv4Addr::new(127, 0, 0, 3), &[3100]),
];

/// A name of the domain behind which the background process takes telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    pub host: String,
    /// Where the name leads on this machine.
    pub address: Ipv4Addr,
    /// Those that no service has.
    pub ports: Vec<u16>,
}

/// Names of telemetry that no service has. Nothing where none is taken.
pub fn received(platform: &Platform, block: Block) -> Vec<Received> {
    if platform.telemetry.mode == TelemetryMode::None {
        return Vec::new();
    }
    let own: BTreeSet<String> = routes(platform, block).into_iter().map(|route| route.host).collect();
    let mut taken = named_ports(platform);
    taken.extend(streams(platform).iter().map(|stream| stream.port));
    let free = |(name, services, address, ports): (&str, &[&str], Ipv4Addr, &[u16])| {
        let host = fully_qualified(name, &platform.domain);
        let there = services.iter().any(|service| platform.service(service).is_some());
        let named = own.contains(&host) || platform.service(name).is_some();
        let ports = ports.iter().copied().filter(|port| !taken.contains(port)).collect();
        (!there && !named).then(|| Received { host, address: loopback_address(block, Some(address)), ports })
    };
    RECEIVERS.into_iter().filter_map(free).collect()
}

/// Host name -> service, for the page of names.
pub fn names(routes: &[Route]) -> BTreeMap<String, String> {
    routes.iter().map(|route| (route.host.clone(), route.service.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IngressRule, Origin, PlatformName, Stack, testing};

    fn service(name: &str) -> Service {
        Service { name: name.into(), image: Some("x:1".into()), replicas: 1, ..Service::default() }
    }

    fn platform(services: Vec<Service>) -> Platform {
        let stack = Stack {
            scoped: false,
            name: "app".into(),
            origin: Origin::BuiltIn,
            services: services.into_iter().map(|service| (service.name.clone(), service)).collect(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
        };
        Platform::new(PlatformName::default(), vec![stack])
    }

    #[test]
    fn a_name_is_own_at_the_domain_and_below_it() {
        for (host, own) in [
            ("macula.local", true),
            ("*.macula.local", true),
            ("a.macula.local", true),
            ("*.a.macula.local", true),
            ("xmacula.local", false),
            ("*.xmacula.local", false),
            ("macula.local.example.org", false),
            ("local", false),
        ] {
            assert_eq!(is_own(host, "macula.local"), own, "{host}");
        }
    }

    #[test]
    fn a_service_is_reached_where_its_network_is() {
        let with = |name: &str, mode: Option<&str>| {
            let network_mode = mode.map(str::to_owned);
            Service { network_mode, ..service(name) }
        };
        let modes = [
            ("plain", None),
            ("machine", Some("host")),
            ("nowhere", Some("none")),
            ("apart", Some("bridge")),
            ("usual", Some("default")),
            ("guest", Some("service:plain")),
            ("guests-guest", Some("service:guest")),
            ("of-machine", Some("service:machine")),
            ("of-apart", Some("service:apart")),
            ("foreign", Some("container:other")),
            ("strange", Some("mesh")),
            ("one", Some("service:two")),
            ("two", Some("service:one")),
        ];
        let platform = platform(modes.map(|(name, mode)| with(name, mode)).into());
        let gateway = Ipv4Addr::new(10, 222, 7, 1);
        let name = |name: &str| Some(Upstream::Name(name.to_owned()));
        let machine = Some(Upstream::Address(gateway.into()));
        for (service, expected) in [
            ("plain", name("plain")),
            ("machine", machine.clone()),
            ("nowhere", None),
            ("apart", None),
            ("usual", None),
            ("guest", name("plain")),
            ("guests-guest", name("plain")),
            ("of-machine", machine),
            ("of-apart", None),
            ("foreign", name("other")),
            ("strange", name("strange")),
            ("gone", name("gone")),
            // each is in the other's network: neither starts
            ("one", None),
        ] {
            assert_eq!(upstream(&platform, service, gateway), expected, "{service}");
        }
    }

    #[test]
    fn telemetry_is_received_under_the_names_that_no_service_has() {
        let of = |services: Vec<Service>, mode: TelemetryMode, block: Block| -> Vec<String> {
            let mut platform = platform(services);
            platform.telemetry.mode = mode;
            let shown = |one: Received| format!("{} {} {:?}", one.host, one.address, one.ports);
            received(&platform, block).into_iter().map(shown).collect()
        };
        let (otlp, loki) = ("otlp.macula.local 127.0.0.12 [4317, 4318]", "loki.macula.local 127.0.0.3 [3100]");
        let named = |host: &str| {
            let rule = IngressRule { host: host.into(), port: 80, path: "/".into(), ..IngressRule::default() };
            let mut named = service("page");
            named.extension.ingress.push(rule);
            named
        };
        // a port that a service with a name has is its own
        let mut busy = service("busy");
        busy.extension.address = Some(Ipv4Addr::new(127, 0, 0, 60));
        busy.ports = vec![testing::published(4318, 80)];
        for (services, mode, expected) in [
            (vec![], TelemetryMode::Auto, vec![otlp, loki]),
            (vec![], TelemetryMode::Embedded, vec![otlp, loki]),
            (vec![], TelemetryMode::None, vec![]),
            (vec![service("web")], TelemetryMode::Auto, vec![otlp, loki]),
            (vec![service("alloy")], TelemetryMode::Auto, vec![loki]),
            (vec![service("loki")], TelemetryMode::Auto, vec![otlp]),
            (vec![service("otlp")], TelemetryMode::Auto, vec![loki]),
            (vec![named("loki")], TelemetryMode::Auto, vec![otlp]),
            (vec![busy], TelemetryMode::Auto, vec!["otlp.macula.local 127.0.0.12 [4317]", loki]),
        ] {
            assert_eq!(of(services, mode, Block::DEFAULT), expected);
        }
        let block = Block::new(Ipv4Addr::new(127, 70, 9, 0)).unwrap();
        let all = of(Vec::new(), TelemetryMode::Auto, block);
        assert_eq!(
            all,
            ["otlp.macula.local 127.70.9.12 [4317, 4318]", "loki.macula.local 127.70.9.3 [3100]"],
            "addresses are the block's"
        );
    }
}
