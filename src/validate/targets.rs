//! Where each name of a platform is to lead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::compile::{
    Block, Share, direct_names, ingress_address, inside_address, loopback_address, own_inside, routes, shares,
};
use crate::model::{ContainerState, ObservedContainer, Platform, ProbeKind, Protocol, Role, Route, label};

/// A name, and what is to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The name as the platform has it; may begin with `*.`.
    pub name: String,
    /// A name that it stands for, where it is a wildcard; else the same.
    pub asked: String,
    pub service: String,
    /// On this machine. None: whatever our resolver says.
    pub address: Option<IpAddr>,
    /// Inside the platform's network.
    pub inside: Option<Ipv4Addr>,
    /// Ports of the ingress: the name is a web page's.
    pub web: Option<Web>,
    /// TCP ports of its own, published on its address.
    pub ports: Vec<u16>,
    /// Its paths that several containers answer.
    pub shares: Vec<Share>,
}

impl Target {
    /// Its service is to have no containers (`scale: 0`).
    pub fn is_vacant(&self, platform: &Platform) -> bool {
        is_vacant(platform, &self.service)
    }

    /// What does not run gets no requests: that is no fault of the way there.
    pub fn among(mut self, containers: &[ObservedContainer]) -> Self {
        let runs = |service: &str| {
            let of_it = |found: &&ObservedContainer| {
                found.state == ContainerState::Running && found.label(label::SERVICE) == Some(service)
            };
            containers.iter().filter(of_it).count()
        };
        for member in self.shares.iter_mut().flat_map(|share| &mut share.members) {
            member.replicas = member.replicas.min(runs(&member.service));
        }
        self
    }
}

fn is_vacant(platform: &Platform, service: &str) -> bool {
    platform.service(service).is_some_and(|(_, service)| service.replicas == 0)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub http: u16,
    pub https: Option<u16>,
    pub path: String,
    /// The container's own port.
    pub port: u16,
    /// Its other one, where nothing listens on that.
    pub fallback: Option<u16>,
}

/// The label that is asked for where a route is a wildcard.
const ANY: &str = "macula-validate";

/// All names: those of the ingress, then those that are reached on a port alone. `tls`: the ingress
/// serves HTTPS.
pub fn targets(platform: &Platform, block: Block, subnet: Option<Ipv4Net>, tls: bool) -> Vec<Target> {
    let has_ingress = platform.services().any(|(_, service)| service.extension.role == Some(Role::Ingress));
    let inside = subnet.filter(|_| has_ingress).map(ingress_address);
    let ports = |service: &str| -> Vec<u16> {
        let Some((_, service)) = platform.service(service) else { return Vec::new() };
        let own = |port: &&crate::model::PublishedPort| port.protocol == Protocol::Tcp && port.host_ip.is_none();
        service.ports.iter().filter(own).filter_map(|port| port.published).collect()
    };
    let mut all: BTreeMap<String, Target> = BTreeMap::new();
    // a name outside the domain is somebody else's to lead here
    for route in routes(platform, block).into_iter().filter(|route| route.own) {
        let ports = ports(&route.service);
        // without an ingress a name leads to what its service publishes, and to nothing else
        if !has_ingress && ports.is_empty() {
            continue;
        }
        let web = has_ingress.then(|| Web {
            http: platform.ingress.http,
            https: tls.then_some(platform.ingress.https),
            path: asked_path(platform, &route),
            port: route.port,
            fallback: route.fallback,
        });
        let target = all.entry(route.host.clone()).or_insert_with(|| Target {
            asked: route.host.replacen('*', ANY, 1),
            name: route.host.clone(),
            service: route.service.clone(),
            address: Some(route.address.into()),
            inside,
            web: web.clone(),
            ports,
            shares: Vec::new(),
        });
        // what does not run says nothing of what shares its name
        if is_vacant(platform, &route.service) && !is_vacant(platform, &target.service) {
            continue;
        }
        // the shortest path comes last, and is the one that a person would type
        target.web = web;
        target.service = route.service;
    }
    for (host, share) in shares(platform, block) {
        if let Some(target) = all.get_mut(&host) {
            target.shares.push(share);
        }
    }
    let apart = own_inside(platform);
    for (name, address) in direct_names(platform) {
        let service = name.strip_suffix(&format!(".{}", platform.domain)).unwrap_or(&name).to_owned();
        let inner = service.clone();
        let ports = ports(&service);
        if ports.is_empty() {
            continue;
        }
        all.entry(name.clone()).or_insert_with(|| Target {
            asked: name.clone(),
            name,
            ports,
            service,
            address: Some(loopback_address(block, Some(address)).into()),
            inside: apart.get(&inner).zip(subnet).map(|(octet, subnet)| inside_address(subnet, *octet)).or(inside),
            web: None,
            shares: Vec::new(),
        });
    }
    all.into_values().collect()
}

/// What a service is asked for: where its own probe says that it answers, if that lies below the route.
fn asked_path(platform: &Platform, route: &Route) -> String {
    let probe = platform.service(&route.service).and_then(|(_, service)| service.extension.probe.as_ref());
    let below = route.path.trim_end_matches('/');
    match probe.map(|probe| &probe.kind) {
        Some(ProbeKind::Http { port, path }) if *port == route.port && route.strip => format!("{below}{path}"),
        Some(ProbeKind::Http { port, path })
            if *port == route.port && path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/')) =>
        {
            path.clone()
        }
        _ => route.path.clone(),
    }
}

/// A name that is none of the platform's own: asked for, and nothing more is known of it.
pub fn foreign(name: &str) -> Target {
    Target { name: name.to_owned(), asked: name.to_owned(), ..Target::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, MemoryFiles, Request};
    use crate::model::Probe;

    fn own_targets(stack: &str, only_own: bool) -> (Platform, Vec<Target>) {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [all.yaml]\ncluster: {enabled: false}\n")
            .with("/p/all.yaml", stack);
        let request = Request { cwd: "/p".into(), only_own, ..Request::default() };
        let platform = config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let all = targets(&platform, Block::DEFAULT, None, false).into_iter();
        let is_own = |target: &Target| stack.contains(&format!("  {}: {{", target.service));
        let own = all.filter(is_own).collect();
        (platform, own)
    }

    #[test]
    fn a_service_without_containers_speaks_for_no_other() {
        let stack = "services:\n  api: {image: 'acme/web:1', x-macula: {ingress: [{host: shop, port: 80, path: /api}]}}\n  \
                     web: {image: 'acme/web:1', scale: 0, x-macula: {ingress: [{host: shop, port: 80}]}}\n  \
                     old: {image: 'acme/web:1', scale: 0, x-macula: {ingress: [{host: old, port: 80}]}}\n";
        let (platform, own) = own_targets(stack, false);
        let seen: Vec<_> = own.iter().map(|target| (target.service.as_str(), target.is_vacant(&platform))).collect();
        assert_eq!(seen, [("old", true), ("api", false)]);
    }

    #[test]
    fn a_page_is_asked_for_where_the_probe_of_its_service_says() {
        let stack = |ingress: &str| {
            format!("services:\n  web: {{image: 'acme/web:1', x-macula: {{ingress: [{{host: web, {ingress}}}]}}}}\n")
        };
        let probe = |port: u16, path: &str| Probe { kind: ProbeKind::Http { port, path: path.into() }, timeout: None };
        for (ingress, probe, expected) in [
            ("port: 80", None, "/"),
            ("port: 80", Some(probe(80, "/health")), "/health"),
            ("port: 80", Some(probe(81, "/health")), "/"),
            ("port: 80", Some(Probe { kind: ProbeKind::Tcp { port: 80 }, timeout: None }), "/"),
            ("port: 80, path: /app", Some(probe(80, "/app/health")), "/app/health"),
            // not below the route, be it by one letter
            ("port: 80, path: /app", Some(probe(80, "/health")), "/app"),
            ("port: 80, path: /app", Some(probe(80, "/apple")), "/app"),
            // the service sees less of the path than whoever asks
            ("port: 80, path: /app, strip: true", Some(probe(80, "/health")), "/app/health"),
            ("port: 80, path: /app, strip: true", Some(probe(81, "/health")), "/app"),
        ] {
            let (mut platform, _) = own_targets(&stack(ingress), true);
            let told = format!("{ingress} {probe:?}");
            let services = platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut());
            services.for_each(|service| service.extension.probe = probe.clone());
            let route = routes(&platform, Block::DEFAULT).into_iter().find(|route| route.service == "web").unwrap();
            assert_eq!(asked_path(&platform, &route), expected, "{told}");
        }
    }

    #[test]
    fn of_a_shared_name_those_that_run_have_a_share() {
        let member = |service: &str, replicas| crate::compile::Member {
            service: service.into(),
            slots: Vec::new(),
            fallback: Vec::new(),
            replicas,
        };
        let share = |members| Target { shares: vec![Share { path: "/".into(), members }], ..Target::default() };
        let container = |service: &str, state| ObservedContainer {
            state,
            labels: [(label::SERVICE.to_owned(), service.to_owned())].into(),
            ..ObservedContainer::default()
        };
        let (runs, ended) = (ContainerState::Running, ContainerState::Exited);
        let there = [container("a", runs), container("a", ended), container("b", runs), container("b", runs)];
        let before = share(vec![member("a", 2), member("b", 1), member("c", 1)]);
        assert_eq!(before.among(&there), share(vec![member("a", 1), member("b", 1), member("c", 0)]));
        let one = foreign("example.org");
        assert_eq!((one.name.as_str(), one.asked.as_str(), one.address), ("example.org", "example.org", None));
    }

    #[test]
    fn without_an_ingress_a_name_leads_to_what_its_service_publishes() {
        let stack = "services:\n  web: {image: 'acme/web:1', ports: ['8000:80'], x-macula: {ingress: [{host: web, port: 80}]}}\n  \
                     inner: {image: 'acme/web:1', x-macula: {ingress: [{host: inner, port: 80}]}}\n";
        let of = |only_own: bool| {
            let own = own_targets(stack, only_own).1.into_iter();
            own.map(|target| (target.service, target.web.is_some(), target.ports)).collect::<Vec<_>>()
        };
        assert_eq!(of(true), [("web".to_owned(), false, vec![8000])]);
        let through = [("inner".to_owned(), true, vec![]), ("web".to_owned(), true, vec![8000])];
        assert_eq!(of(false), through);
    }
}
