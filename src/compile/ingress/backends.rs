//! Routes as the ingress's configuration needs them: one backend for each host and path, with the
//! servers that share its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Platform, ProbeKind, Route};

use super::{Block, Upstream, fully_qualified, routes, upstream};

/// The ingress's own health, where no service has the name.
const HEALTH: &str = "/healthz";
/// The largest weight of a server.
const HEAVIEST: u64 = 256;
/// A request to services that share a name by weight is tried at the next one after this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What answers for one host and path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backend {
    /// Unique among the backends, and fit for a name in the configuration.
    pub id: String,
    pub host: String,
    pub path: String,
    /// The first service, which the page of an unavailable service names.
    pub service: String,
    pub servers: Vec<Server>,
    /// Several containers answer: requests are shared among those that are well.
    pub shared: bool,
    /// How the health of the servers is asked; `None` where there is only one.
    pub check: Option<Check>,
    pub sticky: bool,
    /// Speak TLS to the servers.
    pub tls: bool,
    /// Every request is spoken in HTTP/2.
    pub grpc: bool,
    /// The beginning of the path that the service does not see; empty: it sees all of it.
    pub strip: String,
    /// Refuses what pages of other origins send.
    pub same_origin: bool,
    /// Largest body of a request, bytes; `None`: any.
    pub body_size: Option<u64>,
    /// Users that are let in, `name` and `hash`; empty: everybody.
    pub users: Vec<User>,
    /// Milliseconds for the first byte of an answer, then the request is tried at the next server.
    pub response_timeout: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct User {
    pub name: String,
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    pub id: String,
    pub service: String,
    /// Asked of the engine's DNS; `None`: see `address`.
    pub name: Option<String>,
    pub address: Option<String>,
    pub port: u16,
    /// The port for gRPC.
    pub grpc_port: u16,
    /// Containers behind the name.
    pub replicas: u32,
    /// What each of them is called in the configuration.
    pub slots: Vec<String>,
    pub weight: u64,
    /// Asked only while no other server is well.
    pub backup: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// A request; `None`: a connection is enough.
    pub path: Option<String>,
    /// Only a status from 200 to 399 is well; else anything below 500.
    pub strict: bool,
}

/// A host and path that several containers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where the ingress says which of them it passes requests to, asked without a name.
    pub path: String,
    pub members: Vec<Member>,
}

/// A service that has a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub service: String,
    /// What its containers may be called there.
    pub slots: Vec<String>,
    /// The same of their other port, which is asked only while nobody answers at the first one.
    pub fallback: Vec<String>,
    pub replicas: usize,
}

/// What several containers answer, by host. Services whose port is only assumed may not listen there, and are no part
/// of it.
pub fn shares(platform: &Platform, block: Block) -> Vec<(String, Share)> {
    let routes = routes(platform, block);
    let assumed = |host: &str, service: &str| {
        let rules = platform.service(service).into_iter().flat_map(|(_, found)| &found.extension.ingress);
        rules.filter(|rule| fully_qualified(&rule.host, &platform.domain) == host).any(|rule| rule.assumed)
    };
    let shared = backends(platform, &routes, Ipv4Addr::UNSPECIFIED).into_iter().filter(|backend| backend.shared);
    shared
        .map(|backend| {
            let mut members: Vec<Member> = Vec::new();
            for server in backend.servers.into_iter().filter(|server| !assumed(&backend.host, &server.service)) {
                let (slots, fallback) = match server.backup {
                    true => (Vec::new(), server.slots),
                    false => (server.slots, Vec::new()),
                };
                match members.iter_mut().find(|member| member.service == server.service) {
                    Some(member) => {
                        member.slots.extend(slots);
                        member.fallback.extend(fallback);
                    }
                    None => members.push(Member {
                        service: server.service,
                        slots,
                        fallback,
                        replicas: usize::try_from(server.replicas).unwrap_or(usize::MAX),
                    }),
                }
            }
            (backend.host, Share { path: format!("{HEALTH}/{}", backend.id), members })
        })
        .collect()
}

/// Whose the ingress's counters are: a service by the backend and the server that they name.
pub fn counted(platform: &Platform, block: Block) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for backend in backends(platform, &routes(platform, block), Ipv4Addr::UNSPECIFIED) {
        // one for HTTP and one for gRPC, and for each of them another one while no server is well
        let ids = ["", ":grpc", ":any", ":grpc:any"].map(|end| format!("{}{end}", backend.id));
        for server in &backend.servers {
            for name in server.slots.iter().chain([&server.id]) {
                all.extend(ids.iter().map(|id| ((id.clone(), name.clone()), server.service.clone())));
            }
        }
    }
    all
}

/// The backends of all routes, in the order of the routes.
pub fn backends(platform: &Platform, routes: &[Route], gateway: Ipv4Addr) -> Vec<Backend> {
    let mut ids = BTreeSet::new();
    let mut all: Vec<Backend> = Vec::new();
    for group in routes.chunk_by(|a, b| (&a.host, &a.path) == (&b.host, &b.path)) {
        let Some(first) = group.first() else { continue };
        let servers = servers(platform, group, gateway);
        let several = servers.iter().map(|server| server.replicas).sum::<u32>() > 1;
        let weighted = group.len() > 1;
        all.push(Backend {
            id: id(first, &mut ids),
            host: first.host.clone(),
            path: first.path.clone(),
            service: first.service.clone(),
            shared: several,
            check: several.then(|| check(platform, first)),
            servers,
            sticky: first.sticky,
            tls: first.tls,
            grpc: first.grpc,
            strip: if first.strip { first.path.trim_end_matches('/').to_owned() } else { String::new() },
            same_origin: first.same_origin,
            body_size: first.body_size.filter(|size| *size > 0),
            users: users(group),
            response_timeout: first
                .response_timeout
                .or(weighted.then_some(PATIENCE))
                .filter(|timeout| several && !timeout.is_zero())
                .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        });
    }
    all
}

/// `echo.macula.local:api`, as it stands in logs and counters.
fn id(route: &Route, taken: &mut BTreeSet<String>) -> String {
    let plain = |text: &str| -> String {
        let fits = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        text.chars().map(fits).collect()
    };
    let path = plain(route.path.trim_matches('/'));
    let host = route.host.replacen('*', "any", 1);
    let base = if path.is_empty() { plain(&host) } else { format!("{}:{path}", plain(&host)) };
    let mut id = base.clone();
    let mut number = 1;
    while !taken.insert(id.clone()) {
        number += 1;
        id = format!("{base}:{number}");
    }
    id
}

fn servers(platform: &Platform, group: &[Route], gateway: Ipv4Addr) -> Vec<Server> {
    let replicas = |route: &Route| platform.service(&route.service).map_or(1, |(_, found)| found.replicas.max(1));
    // each container's share: the service's weight divided among its containers, in whole numbers
    let common = group.iter().map(|route| u64::from(replicas(route))).fold(1, lcm);
    let share = |route: &Route| u64::from(route.weight.unwrap_or(1)) * common / u64::from(replicas(route));
    let heaviest = group.iter().map(share).max().unwrap_or(1).max(1);
    let scaled = |share: u64| if heaviest > HEAVIEST { (share * HEAVIEST / heaviest).max(1) } else { share };
    let mut all = Vec::new();
    for route in group {
        let (name, address) = match upstream(platform, &route.service, gateway) {
            Some(Upstream::Name(name)) => (Some(name), None),
            Some(Upstream::Address(address)) => (None, Some(address.to_string())),
            None => continue,
        };
        let own = platform.service(&route.service).is_some_and(|(_, found)| found.network_mode.is_none());
        let replicas = if own { replicas(route) } else { 1 };
        let slots = |id: &str| match &address {
            Some(_) => vec![id.to_owned()],
            // the names that a template of servers gives them
            None => (1..=replicas).map(|number| format!("{id}-{number}")).collect(),
        };
        let server = Server {
            id: route.service.clone(),
            service: route.service.clone(),
            slots: slots(&route.service),
            name,
            address: address.clone(),
            port: route.port,
            grpc_port: route.grpc_port.unwrap_or(route.port),
            replicas,
            weight: scaled(share(route)),
            backup: false,
        };
        if let Some(port) = route.fallback {
            let id = format!("{}-fallback", route.service);
            all.push(Server { slots: slots(&id), id, port, backup: true, ..server.clone() });
        }
        all.push(server);
    }
    all
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// By the service's own probe where that asks the same port; else any answer that is no failure.
fn check(platform: &Platform, route: &Route) -> Check {
    if route.fallback.is_some() || route.grpc {
        return Check { path: None, strict: false };
    }
    let probe = platform.service(&route.service).and_then(|(_, found)| found.extension.probe.as_ref());
    match probe.map(|probe| &probe.kind) {
        Some(ProbeKind::Http { port, path }) if *port == route.port => Check { path: Some(path.clone()), strict: true },
        Some(ProbeKind::Tcp { port }) if *port == route.port => Check { path: None, strict: false },
        _ => Check { path: Some(route.path.clone()), strict: false },
    }
}

fn users(group: &[Route]) -> Vec<User> {
    let lines = group.iter().filter_map(|route| route.auth.as_deref()?.split_once(':'));
    let mut all: Vec<User> = lines.map(|(name, hash)| User { name: name.to_owned(), hash: hash.to_owned() }).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Block, routes};
    use crate::config::{MemoryFiles, Request, load};

    fn backends_of(stack: &str) -> Vec<Backend> {
        let files = MemoryFiles::default()
            .with("/w/macula.yaml", "built_in: {draw: false}\n")
            .with("/w/app/compose.yaml", format!("services:\n{stack}"));
        let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        platform.stacks.retain(|stack| stack.name == "app");
        backends(&platform, &routes(&platform, Block::DEFAULT), Ipv4Addr::new(10, 222, 7, 1))
    }

    fn servers(backend: &Backend) -> Vec<String> {
        let place = |server: &Server| server.name.clone().or(server.address.clone()).unwrap_or_default();
        let shown = |server: &Server| {
            format!("{}:{} x{} weight {}", place(server), server.port, server.replicas, server.weight)
        };
        backend.servers.iter().map(shown).collect()
    }

    #[test]
    fn one_container_is_looked_up_and_not_checked() {
        let all = backends_of("  a: {image: x, x-macula: {ingress: {port: 80, path: /x/, strip: true}}}\n");
        assert_eq!((all[0].id.as_str(), all[0].shared, &all[0].check), ("a.macula.local:x", false, &None));
        assert_eq!((all[0].strip.as_str(), all[0].response_timeout), ("/x", None));
        assert_eq!(servers(&all[0]), ["a:80 x1 weight 1"]);
    }

    #[test]
    fn a_rule_says_what_is_spoken_and_how_long_an_answer_may_take() {
        let all = backends_of(
            "  a: {image: x, deploy: {replicas: 2}, x-macula: {ingress: [\
             {host: plain, port: 80, grpc_port: 90, response_timeout: 250ms}, {host: rpc, port: 91, grpc: true}]}}\n",
        );
        let of = |host: &str| all.iter().find(|one| one.host.starts_with(host)).unwrap();
        let (plain, rpc) = (of("plain."), of("rpc."));
        assert_eq!((plain.servers[0].port, plain.servers[0].grpc_port), (80, 90));
        assert_eq!((plain.grpc, plain.response_timeout), (false, Some(250)));
        // what speaks nothing but HTTP/2 is not asked for a page, and replicas have no limit unless it is given
        assert_eq!((rpc.servers[0].grpc_port, rpc.grpc, rpc.response_timeout), (91, true, None));
        assert_eq!(rpc.check, Some(Check { path: None, strict: false }));
        assert!(plain.check.as_ref().unwrap().path.is_some());
    }

    #[test]
    fn a_fallback_is_a_server_of_its_own_before_the_one_that_it_stands_in_for() {
        let all = backends_of("  a: {image: x, x-macula: {ingress: {port: 80, fallback: 81}}}\n");
        let found = all[0].servers.iter().map(|server| (server.id.as_str(), server.port, server.backup));
        assert_eq!(found.collect::<Vec<_>>(), [("a-fallback", 81, true), ("a", 80, false)]);
    }

    #[test]
    fn a_weight_is_the_services_and_not_each_containers() {
        let cell = |name: &str, weight: u32, replicas: u32| {
            format!(
                "  {name}: {{image: x, deploy: {{replicas: {replicas}}}, \
                 x-macula: {{ingress: {{host: cells, port: 80, weight: {weight}}}}}}}\n"
            )
        };
        let all = backends_of(&[cell("a", 90, 1), cell("b", 5, 2), cell("c", 5, 1)].concat());
        assert_eq!(servers(&all[0]), ["a:80 x1 weight 180", "b:80 x2 weight 5", "c:80 x1 weight 10"]);
        assert!(all[0].shared);
        assert_eq!(all[0].response_timeout, Some(3000));
        let all = backends_of(&[cell("a", 256, 1), cell("b", 1, 3)].concat());
        assert_eq!(servers(&all[0]), ["a:80 x1 weight 256", "b:80 x3 weight 1"]);
    }

    #[test]
    fn members_of_a_shared_name_are_known_by_their_slots() {
        let files = MemoryFiles::default().with("/w/macula.yaml", "built_in: {draw: false}\n").with(
            "/w/app/compose.yaml",
            "services:\n  a: {image: x, deploy: {replicas: 2}, x-macula: {ingress: {host: cells, path: /x, port: 80, weight: 1}}}\n  \
             b: {image: x, network_mode: host, x-macula: {ingress: {host: cells, path: /x, port: 81, weight: 1}}}\n  \
             c: {image: x, x-macula: {ingress: {host: alone, port: 80}}}\n  \
             d: {image: x, deploy: {replicas: 2}, x-macula: {ingress: {host: two, port: 80, fallback: 81}}}\n",
        );
        let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        platform.stacks.retain(|stack| stack.name == "app");
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let member = |service: &str, slots: &[&str], fallback: &[&str]| Member {
            service: service.into(),
            slots: texts(slots),
            fallback: texts(fallback),
            replicas: slots.len(),
        };
        let cells = Share {
            path: "/healthz/cells.macula.local:x".into(),
            members: vec![member("a", &["a-1", "a-2"], &[]), member("b", &["b"], &[])],
        };
        let two = Share {
            path: "/healthz/two.macula.local".into(),
            members: vec![member("d", &["d-1", "d-2"], &["d-fallback-1", "d-fallback-2"])],
        };
        let mut all = shares(&platform, Block::DEFAULT);
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(all, [("cells.macula.local".to_owned(), cells), ("two.macula.local".to_owned(), two)]);
    }

    #[test]
    fn counters_are_a_services_by_all_names_of_its_servers() {
        let files = MemoryFiles::default().with("/w/macula.yaml", "built_in: {draw: false}\n").with(
            "/w/app/compose.yaml",
            "services:\n  a: {image: x, deploy: {replicas: 2}, x-macula: {ingress: {host: cells, path: /x, port: 80}}}\n  \
             b: {image: x, x-macula: {ingress: {host: alone, port: 80}}}\n",
        );
        let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        platform.stacks.retain(|stack| stack.name == "app");
        let all = counted(&platform, Block::DEFAULT);
        let of = |backend: &str, server: &str| all.get(&(backend.to_owned(), server.to_owned())).map(String::as_str);
        assert_eq!(of("cells.macula.local:x", "a-2"), Some("a"));
        assert_eq!(of("cells.macula.local:x:any", "a"), Some("a"));
        assert_eq!(of("alone.macula.local:grpc", "b"), Some("b"));
        assert_eq!((of("alone.macula.local", "a"), of("no-route", "programs")), (None, None));
    }

    #[test]
    fn health_is_asked_where_the_probe_asks() {
        let check = |probe: &str| {
            let stack = format!(
                "  a: {{image: x, deploy: {{replicas: 2}}, x-macula: {{{probe} ingress: {{port: 80, path: /p}}}}}}\n"
            );
            let all = backends_of(&stack);
            let check = all[0].check.clone().unwrap();
            (check.path.unwrap_or_default(), check.strict)
        };
        assert_eq!(check("probe: {http: {port: 80, path: /ready}},"), ("/ready".to_owned(), true));
        assert_eq!(check("probe: {http: {port: 81, path: /ready}},"), ("/p".to_owned(), false));
        assert_eq!(check("probe: {tcp: {port: 80}},"), (String::new(), false));
        assert_eq!(check(""), ("/p".to_owned(), false));
    }

    #[test]
    fn a_guest_is_reached_at_the_owner_of_its_network() {
        let all = backends_of(
            "  vpn: {image: x}\n  b: {image: x, network_mode: 'service:vpn', x-macula: {ingress: {port: 80}}}\n  \
             a: {image: x, network_mode: 'service:b', x-macula: {ingress: {port: 81}}}\n  \
             c: {image: x, network_mode: host, x-macula: {ingress: {port: 82}}}\n",
        );
        let all: Vec<String> = all.iter().flat_map(servers).collect();
        assert_eq!(all, ["vpn:81 x1 weight 1", "vpn:80 x1 weight 1", "10.222.7.1:82 x1 weight 1"]);
    }
}
