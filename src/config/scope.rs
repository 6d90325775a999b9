//! A stack of the user's is a space of its own: where one of its services is called like a service of
//! another stack, both are there. The later one is `STACK-NAME` in the platform, and `NAME` inside its
//! stack, which then has a default network of its own (docs/decisions/scopes.md).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::discover;
use super::loaded::Loaded;
use super::needs;
use super::yaml::{Node, Report};
use crate::model::{
    IngressRule, IngressSettings, Moves, OWN_ADDRESSES, Origin, PlatformName, Protocol, PublishedPort, Role,
    SecretSource, Service, ServiceNetwork, fully_qualified, move_ports, to_dns_label,
};

/// Gives a stack whose names meet those of an earlier one names and a network of its own; on a `platform` also volumes.
pub(super) fn separate(stacks: &mut [Loaded], platform: Option<&PlatformName>) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut volumes: BTreeSet<String> = BTreeSet::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for loaded in stacks.iter_mut() {
        if !loaded.built_in {
            // a project's folder may well be called as one of ours
            let plain = loaded.stack.name.clone();
            let free = (2..).map(|n| format!("{plain}-{n}")).find(|name| !names.contains(name));
            if let Some(free) = free.filter(|_| names.contains(&plain) && loaded.project.root.get("name").is_none()) {
                loaded.stack.name = free;
            }
            let renamed = renamed(loaded, &taken);
            if !renamed.is_empty() {
                rename(loaded, &renamed);
            }
            for (key, volume) in &mut loaded.stack.volumes {
                if let Some(platform) = platform.filter(|_| volumes.contains(key))
                    && !volume.external
                    && volume.name.is_none()
                {
                    volume.name = Some(platform.stack_volume(&loaded.stack.name, key));
                }
            }
        } else {
            volumes.extend(loaded.stack.volumes.keys().cloned());
            names.insert(loaded.stack.name.clone());
        }
        taken.extend(loaded.stack.services.keys().cloned());
    }
}

/// The services whose names are taken, with those that they get.
fn renamed(loaded: &Loaded, taken: &BTreeSet<String>) -> BTreeMap<String, String> {
    let own = &loaded.stack.services;
    own.keys()
        .filter(|name| taken.contains(*name))
        .map(|name| (name.clone(), format!("{}-{name}", loaded.stack.name)))
        .filter(|(_, new)| !taken.contains(new) && !own.contains_key(new))
        .collect()
}

fn rename(loaded: &mut Loaded, renamed: &BTreeMap<String, String>) {
    let stack = &mut loaded.stack;
    stack.scoped = true;
    stack.networks.entry("default".to_owned()).or_default();
    let services = std::mem::take(&mut stack.services);
    for (name, mut service) in services {
        let file = loaded.project.root.get("services").and_then(|all| all.get(&name));
        references(&mut service, renamed, file);
        // a server of its own that is called as ours was waited for instead of ours
        needs::wait(&mut service);
        if service.networks.is_empty() && service.network_mode.is_none() {
            service.networks.insert("default".to_owned(), ServiceNetwork::default());
        }
        let key = match renamed.get(&name) {
            Some(new) => {
                service.short = Some(name);
                service.name.clone_from(new);
                new.clone()
            }
            None => name,
        };
        stack.services.insert(key, service);
    }
}

/// Whatever a service says of others in its stack. What its `file` does not have was added for a server of ours.
fn references(service: &mut Service, renamed: &BTreeMap<String, String>, file: Option<&Node>) {
    let waits = file.and_then(|file| file.get("depends_on"));
    let taken = file.and_then(|file| file.get("x-macula")).and_then(|extension| extension.get("secrets"));
    let said = |section: Option<&Node>, name: &str| section.is_some_and(|section| section.get(name).is_some());
    service.depends_on = std::mem::take(&mut service.depends_on)
        .into_iter()
        .map(|(name, dependency)| match renamed.get(&name).filter(|_| said(waits, &name)) {
            Some(new) => (new.clone(), dependency),
            None => (name, dependency),
        })
        .collect();
    let options = &mut service.options;
    for mode in [&mut service.network_mode, &mut options.pid, &mut options.ipc, &mut options.uts] {
        if let Some(new) = mode.as_deref().and_then(|mode| renamed.get(mode.strip_prefix("service:")?)) {
            *mode = Some(format!("service:{new}"));
        }
    }
    for text in options.volumes_from.iter_mut().chain(&mut options.links) {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        if let Some(new) = renamed.get(name) {
            *text = if rest.is_empty() { new.clone() } else { format!("{new}:{rest}") };
        }
    }
    for place in service.build.iter_mut().flat_map(|build| build.contexts.values_mut()) {
        if let Some(new) = place.strip_prefix("service:").and_then(|name| renamed.get(name)) {
            *place = format!("service:{new}");
        }
    }
    for (name, source) in &mut service.extension.secrets {
        if let SecretSource::From { service, .. } = source
            && let Some(new) = renamed.get(service).filter(|_| said(taken, name))
        {
            service.clone_from(new);
        }
    }
}

/// A port of this machine that one of our services has goes to an address of the user's service's own. `moves`: those
/// whose address is known already.
pub(super) fn own_addresses(stacks: &mut [Loaded], moves: &Moves, report: &mut Report) {
    let address = |service: &Service, port: &PublishedPort| {
        port.host_ip.unwrap_or(IpAddr::V4(service.extension.address.unwrap_or(Ipv4Addr::LOCALHOST)))
    };
    let mut used: BTreeSet<Ipv4Addr> = moves.values().map(|one| one.address).collect();
    let mut ours: BTreeMap<(IpAddr, u16, Protocol), String> = BTreeMap::new();
    for loaded in stacks.iter() {
        for service in loaded.stack.services.values() {
            used.extend(service.extension.address);
            for port in service.ports.iter().filter(|_| loaded.built_in) {
                if let Some(number) = port.published {
                    ours.insert((address(service, port), number, port.protocol), service.name.clone());
                }
            }
        }
    }
    let mut free = OWN_ADDRESSES.map(|last| Ipv4Addr::new(127, 0, 0, last)).filter(|address| !used.contains(address));
    for loaded in stacks.iter_mut().filter(|loaded| !loaded.built_in) {
        let mut moved = Vec::new();
        for (name, service) in loaded.stack.services.iter_mut().filter(|(_, one)| one.extension.address.is_none()) {
            // all addresses are ours as well, whichever of them a service of ours has
            let taken = |port: &PublishedPort| {
                let (at, number) = (address(service, port), port.published?);
                let local = at == IpAddr::V4(Ipv4Addr::LOCALHOST);
                let meets = |address: &IpAddr| at.is_unspecified() || local && *address == at;
                let mut all = ours.iter().filter(|_| port.published_to.is_none());
                let ((address, ..), owner) = all.find(|((address, of, protocol), _)| {
                    meets(address) && *of == number && *protocol == port.protocol
                })?;
                Some((*address, number, owner.clone()))
            };
            let found: Vec<Option<(IpAddr, u16, String)>> = service.ports.iter().map(taken).collect();
            let Some((address, number, owner)) = found.iter().flatten().next().cloned() else { continue };
            let known = moves.get(name).map(|one| one.address);
            let Some(own) = known.or_else(|| free.next()) else { continue };
            service.extension.address = Some(own);
            for (port, _) in service.ports.iter_mut().zip(&found).filter(|(_, taken)| taken.is_some()) {
                port.host_ip = None;
            }
            moved.push((name.clone(), address, number, owner, own));
        }
        for (name, address, number, owner, own) in moved {
            report.warn(
                loaded.at_key(&name, &["ports"]),
                format!("services.{name} is published on {own}: port {number} of {address} belongs to {owner}"),
                "publish another port, or choose the address yourself with `x-macula: {address: 127.0.0.x}`",
            );
        }
    }
}

/// Ports of the user's services that somebody else had at the last `up`, which was to move them.
pub(super) fn moved_ports(stacks: &mut [Loaded], moves: &Moves, report: &mut Report) {
    // also of a stack that the user has put in the place of a built-in one
    for loaded in stacks.iter_mut().filter(|loaded| loaded.stack.origin != Origin::BuiltIn) {
        for (name, taken) in move_ports([&mut loaded.stack].into_iter(), moves) {
            let numbers = taken.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ");
            let ports = if taken.len() == 1 { "port" } else { "ports" };
            report.warn(
                loaded.at_key(&name, &["ports"]),
                format!("services.{name} is published on an address of its own, since {ports} {numbers} of this machine was taken"),
                "`status` shows the address; it stays there until `up --reset`",
            );
        }
    }
}

/// Ports 80 and 443 of this machine are the ingress's, which gives every service a name there: a
/// service that publishes them is reached by its name, and says so.
pub(super) fn ingress_ports(stacks: &mut [Loaded], ingress: &IngressSettings, domain: &str, report: &mut Report) {
    let services = || stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let Some(gateway) = services().find(|service| service.extension.role == Some(Role::Ingress)) else { return };
    let gateway = gateway.name.clone();
    let mut hosts: BTreeSet<String> =
        services().flat_map(|service| service.extension.ingress.iter().map(|rule| rule.host.clone())).collect();
    for loaded in stacks.iter_mut().filter(|loaded| !loaded.built_in) {
        let stack = loaded.stack.name.clone();
        let mut moved: Vec<(String, Vec<u16>, Option<u16>)> = Vec::new();
        for (name, service) in loaded.stack.services.iter_mut().filter(|(name, _)| **name != gateway) {
            // who wants no name wants the port, and is told that it is taken
            let entry =
                loaded.project.root.get("services").and_then(|all| all.get(service.short.as_deref().unwrap_or(name)));
            let says = entry.and_then(|entry| entry.get("x-macula")).is_some_and(|own| own.get("ingress").is_some());
            if says && service.extension.ingress.is_empty() || service.is_apart() {
                continue;
            }
            let web = |port: &PublishedPort| {
                let here = port.host_ip.is_none_or(|address| address.is_loopback() || address.is_unspecified());
                let number = port.published.filter(|number| *number == ingress.http || *number == ingress.https);
                number.filter(|_| here && port.protocol == Protocol::Tcp && port.published_to.is_none())
            };
            let (gone, kept): (Vec<_>, Vec<_>) = service.ports.iter().cloned().partition(|port| web(port).is_some());
            let Some(first) = gone.iter().min_by_key(|port| port.published != Some(ingress.http)) else { continue };
            service.ports = kept;
            if service.extension.ingress.is_empty() {
                let plain = to_dns_label(service.short.as_deref().unwrap_or(name));
                let host = if hosts.contains(&plain) { format!("{plain}-{stack}") } else { plain };
                if hosts.insert(host.clone()) {
                    let tls = first.published == Some(ingress.https);
                    service.extension.ingress.push(IngressRule { tls, ..discover::rule(host, first.target) });
                }
            }
            let secure = gone.iter().find(|port| port.published == Some(ingress.https)).map(|port| port.target);
            moved.push((name.clone(), gone.iter().filter_map(|port| port.published).collect(), secure));
        }
        for (name, numbers, secure) in moved {
            let rule = loaded.stack.services.get(&name).and_then(|service| service.extension.ingress.first());
            let Some(rule) = rule else { continue };
            let (host, scheme) = (fully_qualified(&rule.host, domain), if rule.tls { "https" } else { "http" });
            // one name leads to one port, and that for HTTP often does no more than send people to the other
            let other = secure.filter(|port| rule.assumed && !rule.tls && *port != rule.port);
            let by = other.map(|other| {
                format!(
                    " by its port {}; if that only redirects, or nothing listens there: \
                     `x-macula: {{ingress: [{{port: {other}, tls: true}}]}}`",
                    rule.port
                )
            });
            let by = by.unwrap_or_default();
            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
            let (ports, pronoun) = if numbers.len() == 1 { ("port", "it belongs") } else { ("ports", "they belong") };
            report.warn(
                loaded.at_key(&name, &["ports"]),
                format!(
                    "services.{name} is not published on {ports} {}: on this machine {pronoun} to the ingress",
                    numbers.join(" and ")
                ),
                format!("it answers at {scheme}://{host}{by}; publish another port as well to reach it without a name"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use crate::config::{Loaded, MemoryFiles, Request, load_with};
    use crate::model::{Move, Moves, SecretSource};

    const BUILT_IN: &str = "
services:
  ingress: {image: haproxy, x-macula: {role: ingress}}
  postgres: {image: 'postgres:ours', volumes: ['postgres:/data']}
  grafana: {image: 'grafana:ours', x-macula: {ingress: {host: grafana, port: 3000}}}
volumes: {postgres: }
";

    fn loaded(shop: &str) -> Loaded {
        let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
        let files = MemoryFiles::default().with("/shop/.git/HEAD", "").with("/shop/compose.yaml", shop);
        load_with(&request, &files, &[("metrics.yaml", BUILT_IN)]).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn a_projects_services_may_be_called_like_ours() {
        let loaded = loaded(
            "services:
  web: {image: web, depends_on: {postgres: {condition: service_healthy}}, network_mode: 'service:grafana'}
  jobs: {image: web, depends_on: [postgres], volumes_from: ['postgres:ro'], links: ['postgres:db'], pid: 'service:web'}
  postgres: {image: 'postgres:17', volumes: ['postgres:/var/lib/postgresql/data'], ports: ['5432:5432']}
  grafana: {image: 'grafana:1', ports: ['3000:3000'], networks: {default: {aliases: [charts]}}}
volumes: {postgres: , web: }
",
        );
        let stack = loaded.platform.stacks.iter().find(|stack| stack.name == "shop").unwrap();
        assert!(stack.scoped && stack.networks.contains_key("default"));
        assert_eq!(stack.volumes["postgres"].name.as_deref(), Some("macula-shop-postgres"));
        assert_eq!(stack.volumes["web"].name, None);
        let lines = stack.services.values().map(|service| {
            let needs: Vec<&str> = service.depends_on.keys().map(String::as_str).collect();
            let hosts = service.extension.ingress.iter().map(|rule| format!("{}:{}", rule.host, rule.port));
            let options = &service.options;
            format!(
                "{} ({}) needs {needs:?}, networks {:?} {:?}, from {:?}, links {:?}, pid {:?}, hosts {:?}",
                service.name,
                service.short.as_deref().unwrap_or("-"),
                service.networks.keys().collect::<Vec<_>>(),
                service.network_mode,
                options.volumes_from,
                options.links,
                options.pid,
                hosts.collect::<Vec<_>>(),
            )
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
        jobs (-) needs ["shop-postgres", "web"], networks ["default"] None, from ["shop-postgres:ro"], links ["shop-postgres:db"], pid Some("service:web"), hosts []
        shop-grafana (grafana) needs [], networks ["default"] None, from [], links [], pid None, hosts ["grafana-shop:3000"]
        shop-postgres (postgres) needs [], networks ["default"] None, from [], links [], pid None, hosts []
        web (-) needs ["shop-grafana", "shop-postgres"], networks [] Some("service:shop-grafana"), from [], links [], pid None, hosts []
        "#);
        assert!(!loaded.platform.stacks[0].scoped);
        assert_eq!(loaded.platform.service("postgres").unwrap().1.image.as_deref(), Some("postgres:ours"));
    }

    #[test]
    fn what_is_needed_of_ours_is_ours_whatever_a_stack_has() {
        let loaded = loaded(
            "services:
  web: {image: w, depends_on: [nats], x-macula: {needs: [nats, mail], secrets: {THEIRS: {from: nats.KEY}}}}
  nats: {image: n, x-macula: {secrets: {KEY: {generate: 24}}}}
  mail: {image: m}
",
        );
        let (_, web) = loaded.platform.service("web").unwrap();
        let waits = web.depends_on.iter().map(|(name, on)| format!("{name} {:?}", on.condition));
        let secrets = web.extension.secrets.iter().map(|(name, source)| match source {
            SecretSource::From { service, key } => format!("{name} from {service}.{key}"),
            made => format!("{name} {made:?}"),
        });
        insta::assert_snapshot!(waits.chain(secrets).collect::<Vec<_>>().join("\n"), @"
        mail ServiceHealthy
        nats ServiceHealthy
        shop-nats ServiceStarted
        NATS_PASSWORD from nats.PASSWORD_SHOP_NATS
        THEIRS from shop-nats.KEY
        ");
    }

    #[test]
    fn names_that_meet_nobody_change_nothing() {
        let loaded = loaded("services: {db: {image: x, volumes: ['data:/d']}}\nvolumes: {data: }\n");
        let stack = loaded.platform.stacks.iter().find(|stack| stack.name == "shop").unwrap();
        assert!(!stack.scoped && stack.networks.is_empty() && stack.services["db"].short.is_none());
    }

    #[test]
    fn a_service_may_be_called_like_one_of_ours_that_is_not_there() {
        const TWO: &str = "services: {postgres: {image: ours, x-macula: {profile: core}}, draw: {image: d, x-macula: {profile: tools}}}";
        let shop = "services: {web: {image: w, depends_on: [postgres]}, postgres: {image: theirs}}";
        for (settings, profiles) in
            [("built_in: {metrics: false}\n", vec![]), ("cluster: {enabled: false}\n", vec!["tools".to_owned()])]
        {
            let files = MemoryFiles::default().with("/shop/macula.yaml", format!("stacks: [compose.yaml]\n{settings}"));
            let files = files.with("/shop/compose.yaml", shop);
            let request = Request { cwd: "/shop".into(), profiles, ..Request::default() };
            let loaded =
                load_with(&request, &files, &[("metrics.yaml", TWO)]).unwrap_or_else(|errors| panic!("{errors}"));
            let stack = loaded.platform.stacks.iter().find(|stack| stack.name == "shop").unwrap();
            let (name, _) = stack.services["web"].depends_on.first_key_value().unwrap();
            let (_, found) = loaded.platform.service(name).unwrap();
            assert_eq!(found.image.as_deref(), Some("theirs"), "{settings}");
        }
    }

    #[test]
    fn a_folder_may_be_called_like_one_of_our_stacks() {
        let request = Request { cwd: "/metrics".into(), discover: true, ..Request::default() };
        let files = MemoryFiles::default().with("/metrics/compose.yaml", "services: {web: {image: x}}");
        let loaded = load_with(&request, &files, &[("metrics.yaml", BUILT_IN)]).unwrap_or_else(|e| panic!("{e}"));
        let names: Vec<_> = loaded.platform.stacks.iter().map(|stack| stack.name.as_str()).collect();
        assert_eq!(names, ["metrics", "metrics-2"]);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn ports_of_the_ingress_become_names() {
        let loaded = loaded(
            "services:
  web: {image: web, ports: ['80:8080', '443:8443', '9000:9000']}
  edge: {image: edge, ports: ['0.0.0.0:443:8443']}
  other: {image: other, ports: ['192.0.2.1:80:80', '80/udp']}
",
        );
        let services = loaded.platform.services().filter(|(stack, _)| stack.name == "shop");
        let lines = services.map(|(_, service)| {
            let ports = service.ports.iter().map(|port| format!("{:?}:{}", port.published, port.target));
            let hosts = service
                .extension
                .ingress
                .iter()
                .map(|rule| format!("{}:{}{}", rule.host, rule.port, if rule.tls { " tls" } else { "" }));
            format!("{} {:?} {:?}", service.name, ports.collect::<Vec<_>>(), hosts.collect::<Vec<_>>())
        });
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        insta::assert_snapshot!(lines.chain(warnings).collect::<Vec<_>>().join("\n"), @r#"
        edge [] ["edge:8443 tls"]
        other ["Some(80):80", "None:80"] ["other:80"]
        web ["Some(9000):9000"] ["web:8080", "web-8443:8443 tls", "web-9000:9000"]
        compose.yaml:2:21: services.web is not published on ports 80 and 443: on this machine they belong to the ingress
            it answers at http://web.macula.local by its port 8080; if that only redirects, or nothing listens there: `x-macula: {ingress: [{port: 8443, tls: true}]}`; publish another port as well to reach it without a name
        compose.yaml:3:23: services.edge is not published on port 443: on this machine it belongs to the ingress
            it answers at https://edge.macula.local; publish another port as well to reach it without a name
        "#);
    }

    #[test]
    fn a_port_of_ours_goes_to_an_address_of_its_own() {
        let ours = "
services:
  metrics: {image: 'm:1', ports: ['9090:9090'], x-macula: {ingress: {host: metrics, port: 9090}}}
  charts: {image: 'c:1', ports: ['3000:3000'], x-macula: {address: 127.0.0.20, ingress: {host: charts, port: 3000}}}
";
        let shop = "services:
  prom: {image: 'p:1', ports: ['9090:9090', '8080:80']}
  front: {image: 'f:1', ports: ['127.0.0.1:3000:3000']}
  wide: {image: 'w:1', ports: ['0.0.0.0:3000:3000', '0.0.0.0:3001:3001']}
";
        let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
        let files = MemoryFiles::default().with("/shop/compose.yaml", shop);
        let loaded = load_with(&request, &files, &[("a.yaml", ours)]).unwrap_or_else(|errors| panic!("{errors}"));
        let services = loaded.platform.services().filter(|(stack, _)| stack.name == "shop");
        let lines = services.map(|(_, service)| {
            let ports = service.ports.iter().map(|port| format!("{:?}:{:?}", port.host_ip, port.published));
            format!("{} {:?} {:?}", service.name, service.extension.address, ports.collect::<Vec<_>>())
        });
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        insta::assert_snapshot!(lines.chain(warnings).collect::<Vec<_>>().join("\n"), @r#"
        front None ["Some(127.0.0.1):Some(3000)"]
        prom Some(127.0.0.21) ["None:Some(9090)", "None:Some(8080)"]
        wide Some(127.0.0.22) ["None:Some(3000)", "Some(0.0.0.0):Some(3001)"]
        compose.yaml:2:24: services.prom is published on 127.0.0.21: port 9090 of 127.0.0.1 belongs to metrics
            publish another port, or choose the address yourself with `x-macula: {address: 127.0.0.x}`
        compose.yaml:4:24: services.wide is published on 127.0.0.22: port 3000 of 127.0.0.20 belongs to charts
            publish another port, or choose the address yourself with `x-macula: {address: 127.0.0.x}`
        "#);
    }

    #[test]
    fn what_has_moved_stays_where_it_is() {
        let address = |last| Ipv4Addr::new(127, 0, 0, last);
        let moves: Moves = [("web".to_owned(), Move { address: address(20), ports: [(8080, 8081)].into() })].into();
        let shop = "services: {prom: {image: p, ports: ['9090:9090']}, web: {image: w, ports: ['8080:80']}}";
        let ours = "services: {metrics: {image: m, ports: ['9090:9090']}}";
        let load = |remap| {
            let files = MemoryFiles::default().with("/shop/compose.yaml", shop);
            let request =
                Request { cwd: "/shop".into(), discover: true, remap, moves: moves.clone(), ..Request::default() };
            load_with(&request, &files, &[("a.yaml", ours)]).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let published = |loaded: &Loaded, name: &str| {
            let (_, service) = loaded.platform.service(name).unwrap();
            (service.extension.address, service.ports[0].published)
        };
        let loaded = load(true);
        assert_eq!(published(&loaded, "web"), (Some(address(20)), Some(8081)));
        // nobody else gets its address
        assert_eq!(published(&loaded, "prom"), (Some(address(21)), Some(9090)));
        assert_eq!(loaded.moves, moves);
        let told = "services.web is published on an address of its own, since port 8080 of this machine was taken";
        assert!(loaded.warnings.iter().any(|warning| warning.message.contains(told)));
        let without = load(false);
        assert_eq!(published(&without, "web"), (None, Some(8080)));
        assert!(without.moves.is_empty());
    }

    #[test]
    fn who_wants_no_name_is_told_that_the_port_is_taken() {
        let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
        let shop = "services: {web: {image: web, ports: ['80:8080'], x-macula: {ingress: []}}}";
        let files = MemoryFiles::default().with("/shop/compose.yaml", shop);
        let errors = load_with(&request, &files, &[("metrics.yaml", BUILT_IN)]).unwrap_err().to_string();
        assert!(errors.contains("services.web publishes 127.0.0.1:80, which belongs to the ingress"), "{errors}");
    }
}
