//! What services share: ports of this machine, names on the ingress, secrets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::config::loaded::Loaded;
use crate::config::selection::Selection;
use crate::config::yaml::{Report, Span, listed, suggestion};
use crate::model::{
    Condition, IngressSettings, Inside, NetworkDecl, Origin, PlatformName, Protocol, PublishedPort, Restart, Role,
    SecretSource, Service, Shadowed, Volume, fully_qualified,
};

/// No two services call their containers by the same name.
pub(super) fn containers(stacks: &[Loaded], report: &mut Report) {
    let mut taken: HashMap<&str, (&str, Span)> = HashMap::new();
    for loaded in stacks {
        for (name, service) in &loaded.stack.services {
            let Some(container) = service.container_name.as_deref() else { continue };
            let span = loaded.at_key(name, &["container_name"]);
            if let Some((other, first)) = taken.insert(container, (name, span)) {
                let place = report.place(first);
                report.error_help(
                    span,
                    format!("services.{name} and services.{other} both call their container {container} ({place})"),
                    "an engine has each name once: change one of the two, or leave it out",
                );
            }
        }
    }
}

/// The address that a port of the service is published on.
fn published_on(service: &Service, port: &PublishedPort) -> IpAddr {
    port.host_ip.unwrap_or(IpAddr::V4(service.extension.address.unwrap_or(Ipv4Addr::LOCALHOST)))
}

/// A service's name as its file has it.
fn in_its_file(service: &Service) -> &str {
    service.short.as_deref().unwrap_or(&service.name)
}

/// Ports of one service that are the same, said in two ways, become one.
pub(super) fn said_twice(stacks: &mut [Loaded]) {
    for service in stacks.iter_mut().flat_map(|loaded| loaded.stack.services.values_mut()) {
        let all = std::mem::take(&mut service.ports);
        let mut seen = HashSet::new();
        let is_new = |port: &PublishedPort| {
            let is = (published_on(service, port), port.published, port.published_to, port.target, port.protocol);
            port.published.is_none() || seen.insert(is)
        };
        service.ports = all.into_iter().filter(is_new).collect();
    }
}

/// No two services publish the same port of the same address, and none has two ports behind it.
pub(super) fn published(stacks: &[Loaded], ingress: &IngressSettings, report: &mut Report) {
    let mut taken: Vec<(IpAddr, &Service, &PublishedPort, Span)> = Vec::new();
    let gateway = stacks
        .iter()
        .flat_map(|loaded| loaded.stack.services.values())
        .find(|service| service.extension.role == Some(Role::Ingress) && !report.orchestrated);
    for loaded in stacks {
        // where it is to run nothing of another stack is in its way
        if report.orchestrated {
            taken.clear();
        }
        for (name, service) in &loaded.stack.services {
            for (index, port) in service.ports.iter().enumerate() {
                let Some(number) = port.published else { continue };
                let address = published_on(service, port);
                let node = loaded.entry(name).map(|entry| &entry.node);
                let span = node
                    .and_then(|node| node.items("ports").get(index))
                    .map_or_else(|| loaded.at(name), |node| node.span);
                let clash = taken.iter().find(|(other, _, taken, _)| {
                    let meets = *other == address
                        || (other.is_unspecified() || address.is_unspecified()) && other.is_ipv4() == address.is_ipv4();
                    meets && taken.published == port.published && taken.protocol == port.protocol
                });
                if let Some((at, other, first, at_first)) = clash {
                    let place = report.place(*at_first);
                    let what = format!("{address}:{number}/{}", port.protocol);
                    if other.name != *name {
                        let (one, two) = match (in_its_file(service), in_its_file(other)) {
                            // of two stacks
                            (one, two) if one == two => (name.as_str(), other.name.as_str()),
                            both => both,
                        };
                        report.error_help(
                            span,
                            format!("services.{one} and services.{two} both publish {what} ({place})"),
                            "give one of them another port, or an address of its own with \
                             `x-macula: {address: 127.0.0.x}`",
                        );
                    } else if *at != address || first.target != port.target || first.published_to != port.published_to {
                        report.error_help(
                            span,
                            format!("services.{} publishes {what} twice ({place})", in_its_file(service)),
                            "remove one of the two, or write `ports: !override` where an earlier file has the other",
                        );
                    }
                } else if let Some(gateway) = gateway.filter(|gateway| gateway.name != *name && address.is_loopback())
                    && port.protocol == Protocol::Tcp
                    && (number == ingress.http || number == ingress.https)
                {
                    let help = match service.is_apart() {
                        true => "publish another port, or leave `network_mode` out: then it has a name on the ingress",
                        false => {
                            "give it a name on the ingress with `x-macula: {ingress: [{port: ...}]}`, and no published port"
                        }
                    };
                    report.error_help(
                        span,
                        format!(
                            "services.{name} publishes {address}:{number}, which belongs to the ingress {}",
                            gateway.name
                        ),
                        help,
                    );
                }
                taken.push((address, service, port, span));
            }
        }
    }
}

/// No two services have the same name and path on the ingress, unless they share the weight.
pub(super) fn hosts(stacks: &[Loaded], domain: &str, report: &mut Report) {
    let mut taken: HashMap<(String, &str), (&str, Option<u32>, Span)> = HashMap::new();
    let mut ingress: Option<(&str, Span)> = None;
    for loaded in stacks {
        if report.orchestrated {
            taken.clear();
        }
        for (name, service) in &loaded.stack.services {
            if service.extension.role == Some(Role::Ingress) {
                let span = loaded.at_key(name, &["x-macula", "role"]);
                if let Some((first, place)) = ingress {
                    let place = report.place(place);
                    report.error_help(
                        span,
                        format!("services.{name} and services.{first} are both the ingress ({place})"),
                        "keep one `role: ingress`",
                    );
                }
                ingress = Some((name, span));
            }
            for rule in &service.extension.ingress {
                let span = loaded.at_key(name, &["x-macula", "ingress"]);
                let full = fully_qualified(&rule.host, domain);
                if let Some((other, weight, first)) = taken.get(&(full.clone(), rule.path.as_str())) {
                    // several services share a name by weight
                    let shared = rule.weight.is_some() && weight.is_some() && *other != name;
                    if !shared {
                        let place = report.place(*first);
                        let path = &rule.path;
                        let (message, help) = match *other == name {
                            // most likely of two files that say it
                            true => (
                                format!("services.{name}: two rules answer for {full}{path}"),
                                "give one of them another host or path; `ingress: !override` in an override file, or with `extends`, replaces the earlier ones",
                            ),
                            false => (
                                format!("services.{name} and services.{other} both answer for {full}{path} ({place})"),
                                "give one of them another host or path, or both a `weight` to share it",
                            ),
                        };
                        report.error_help(span, message, help);
                    }
                } else {
                    taken.insert((full, rule.path.as_str()), (name, rule.weight, span));
                }
            }
        }
    }
}

/// host:port is the same inside the network as on this machine. What we bring along is: several take
/// the same protocol on the same port.
pub(super) fn inside(stacks: &[Loaded], report: &mut Report) {
    if report.orchestrated {
        return;
    }
    let built_in = |name: &str| stacks.iter().any(|loaded| loaded.built_in && loaded.stack.services.contains_key(name));
    for found in Inside::of(stacks.iter().flat_map(|loaded| loaded.stack.services.values())).shadowed {
        let Shadowed { service, by, port, web } = found;
        if built_in(&service) && built_in(&by) {
            continue;
        }
        let Some(loaded) = stacks.iter().find(|loaded| loaded.stack.services.contains_key(&service)) else { continue };
        let at = loaded.at_key(&service, &["ports"]);
        let found = loaded.stack.services.get(&service);
        // it has not asked for a name, or for a port that the ingress has to itself for the other one; services know it by
        // its short one
        let extension = loaded.entry(&service).and_then(|entry| entry.node.get("x-macula"));
        let chosen = extension.is_some_and(|extension| extension.get("address").is_some());
        if web || !chosen && found.is_some_and(|found| found.extension.ingress.iter().all(|rule| rule.assumed)) {
            let short = found.and_then(|found| found.short.clone()).unwrap_or_else(|| service.clone());
            let published = found.and_then(|found| found.ports.iter().find(|one| one.published == Some(port)));
            let target = published.map_or(port, |one| one.target);
            report.warn(
                at,
                format!("inside the platform's network, port {port} of {service}'s full name is {by}'s"),
                format!("use {short}:{target} there, the name without the domain"),
            );
            continue;
        }
        report.error_help(
            at,
            format!(
                "services.{service} and services.{by} both publish port {port} under a name: inside the platform's network \
                 {service}:{port} would be {by}'s"
            ),
            "publish one of them on another port; or give it an `address` of its own, no `ingress`, and the same port \
             inside the container as outside, so that its name leads to the container itself",
        );
    }
}

/// Volumes and networks of one name are one: several stacks may declare it, and say the same.
pub(super) fn resources(stacks: &[Loaded], platform: &PlatformName, report: &mut Report) {
    let mut volumes: HashMap<String, (&Volume, &str, Span)> = HashMap::new();
    let mut networks: HashMap<String, (&NetworkDecl, &str, Span)> = HashMap::new();
    for loaded in stacks {
        if report.orchestrated {
            volumes.clear();
            networks.clear();
        }
        let stack = loaded.stack.name.as_str();
        let at = |kind: &str, key: &str| {
            let section = loaded.project.root.get(kind).and_then(|section| section.as_map());
            section.and_then(|section| section.get(key)).map_or(loaded.project.root.span, |entry| entry.key)
        };
        for (key, volume) in &loaded.stack.volumes {
            let own = if volume.external { key.clone() } else { platform.volume(key) };
            let name = volume.name.clone().unwrap_or(own);
            let span = at("volumes", key);
            match volumes.get(&name) {
                // what is external to one stack is made by another
                Some((other, _, _)) if other.external || volume.external => {}
                Some((other, first, place)) => {
                    // whoever writes the same name twice means it
                    let by_chance = other.name.is_none() || volume.name.is_none();
                    if by_chance && loaded.stack.origin != Origin::BuiltIn {
                        let place = report.place(*place);
                        report.warn(
                            span,
                            format!(
                                "the volume `{key}` is the one of the stack `{first}` ({place}): they share its data"
                            ),
                            "if they should, give it the same `name:` in both; if not, another key in one of them",
                        );
                    }
                    let differs = [
                        ("driver", other.driver != volume.driver),
                        ("driver_opts", other.driver_opts != volume.driver_opts),
                        ("labels", other.labels != volume.labels),
                    ];
                    differ("volume", &name, &differs, first, *place, span, report);
                    continue;
                }
                None => {}
            }
            volumes.insert(name, (volume, stack, span));
        }
        for (key, network) in &loaded.stack.networks {
            let own = if network.external { key.clone() } else { platform.stack_network(stack, key) };
            let name = network.name.clone().unwrap_or(own);
            let span = at("networks", key);
            if name == platform.network() && !network.external {
                report.error_help(
                    span,
                    format!("networks.{key}: `{name}` is the platform's own network"),
                    "say `external: true` to join it, or give it another name",
                );
                continue;
            }
            match networks.get(&name) {
                Some((other, _, _)) if other.external || network.external => {}
                Some((other, first, place)) => {
                    let differs = [
                        ("driver", other.driver != network.driver),
                        ("driver_opts", other.driver_opts != network.driver_opts),
                        ("internal", other.internal != network.internal),
                        ("attachable", other.attachable != network.attachable),
                        ("enable_ipv6", other.enable_ipv6 != network.enable_ipv6),
                        ("ipam", other.pools != network.pools),
                        ("labels", other.labels != network.labels),
                    ];
                    differ("network", &name, &differs, first, *place, span, report);
                    continue;
                }
                None => {}
            }
            networks.insert(name, (network, stack, span));
        }
    }
}

/// Two declarations of one thing do not agree.
fn differ(kind: &str, name: &str, parts: &[(&str, bool)], stack: &str, place: Span, span: Span, report: &mut Report) {
    let parts = parts.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part);
    let parts = listed(parts, "and");
    if !parts.is_empty() {
        let place = report.place(place);
        report.error_help(
            span,
            format!("the {kind} {name} is in the stack `{stack}` too ({place}), with another {parts}"),
            "say the same in both, or give one of them another `name:`",
        );
    }
}

/// By service and variable.
fn all_secrets(stacks: &[Loaded]) -> BTreeMap<(&str, &str), &SecretSource> {
    stacks
        .iter()
        .flat_map(|loaded| loaded.stack.services.iter())
        .flat_map(|(name, service)| {
            service.extension.secrets.iter().map(move |(key, source)| ((name.as_str(), key.as_str()), source))
        })
        .collect()
}

/// MinIO takes no shorter ones.
const LEAST_ACCESS_KEY: usize = 3;

/// Services with buckets have access keys that the server takes, and share one only with its secret.
pub(super) fn access_keys(stacks: &[Loaded], report: &mut Report) {
    // what makes the users of buckets
    if !stacks.iter().any(|loaded| loaded.built_in && loaded.stack.services.contains_key("s3-users")) {
        return;
    }
    let all = all_secrets(stacks);
    let mut taken: BTreeMap<&str, (&str, (&str, &str))> = BTreeMap::new();
    for loaded in stacks {
        for (name, service) in loaded.stack.services.iter().filter(|(_, one)| !one.extension.buckets.is_empty()) {
            let has = |variable: &&str| service.extension.secrets.contains_key(*variable);
            let Some(variable) = ["AWS_SECRET_ACCESS_KEY", "S3_SECRET_KEY"].into_iter().find(has) else { continue };
            let own = service.environment.get("AWS_ACCESS_KEY_ID");
            let key = own.unwrap_or(name).as_str();
            let place = if own.is_some() { ["environment", "AWS_ACCESS_KEY_ID"] } else { ["x-macula", "buckets"] };
            let span = loaded.at_key(name, &place);
            if key.len() < LEAST_ACCESS_KEY {
                report.error_help(
                    span,
                    format!(
                        "services.{name}: the access key `{key}` of its buckets is shorter than {LEAST_ACCESS_KEY} characters"
                    ),
                    "set AWS_ACCESS_KEY_ID in `environment` to a longer one",
                );
            }
            let mut secret = (name.as_str(), variable);
            // as many steps as there can be; a circle was told
            for _ in 0..all.len() {
                let Some(SecretSource::From { service, key }) = all.get(&secret) else { break };
                secret = (service.as_str(), key.as_str());
            }
            let (other, first) = *taken.entry(key).or_insert((name.as_str(), secret));
            if first != secret {
                report.error_help(
                    span,
                    format!(
                        "services.{name} and services.{other} have the access key `{key}`, each with another secret"
                    ),
                    "give one of them another AWS_ACCESS_KEY_ID, or the secret of the other by `from`",
                );
            }
        }
    }
}

/// Who waits for the end of a service that is started again whenever it ends waits in vain.
pub(super) fn never_done(stacks: &[Loaded], report: &mut Report) {
    let ends = |name: &str| {
        let mut services = stacks.iter().flat_map(|loaded| loaded.stack.services.iter());
        let waits = |other: &Service| {
            let dependency = other.depends_on.get(name);
            dependency.is_some_and(|dependency| dependency.condition == Condition::ServiceCompletedSuccessfully)
        };
        services.find(|(_, other)| waits(other)).map(|(other, _)| other)
    };
    for loaded in stacks {
        for (name, service) in &loaded.stack.services {
            if !matches!(service.options.restart, Restart::Always | Restart::UnlessStopped) {
                continue;
            }
            let Some(other) = ends(name) else { continue };
            report.warn(
                loaded.at_key(name, &["restart"]),
                format!("services.{name}: {other} waits for its end, and its restart policy starts it again each time"),
                "say `restart: \"no\"` for a job",
            );
        }
    }
}

/// Engines publish nothing of a container that is on internal networks alone.
pub(super) fn unpublished(stacks: &[Loaded], report: &mut Report) {
    for loaded in stacks {
        let networks = &loaded.stack.networks;
        let is_internal = |key: &String| networks.get(key).is_some_and(|network| network.internal && !network.external);
        for (name, service) in &loaded.stack.services {
            // these are on the platform's network, too
            let extension = &service.extension;
            let reached = extension.role.is_some()
                || !extension.ingress.is_empty()
                || !extension.metrics.is_empty()
                || !extension.databases.is_empty()
                || !extension.needs.is_empty();
            let inside = !service.networks.is_empty() && service.networks.keys().all(is_internal);
            if inside && !reached && !service.ports.is_empty() {
                report.warn(
                    loaded.at_key(name, &["ports"]),
                    format!(
                        "services.{name}.ports: nothing is published, since all networks of the service are `internal`"
                    ),
                    "add a network that is not `internal`, or leave `ports` out",
                );
            }
        }
    }
}

/// Every `from` leads to a secret that is made. What is switched off was reported already.
pub(super) fn secrets(stacks: &[Loaded], selection: &Selection, report: &mut Report) {
    let all = all_secrets(stacks);
    let mut circles: Vec<Vec<String>> = Vec::new();
    for loaded in stacks {
        for (name, service) in &loaded.stack.services {
            for (key, source) in &service.extension.secrets {
                let SecretSource::From { service: target, key: target_key } = source else { continue };
                let span = loaded.at_key(name, &["x-macula", "secrets", key, "from"]);
                if selection.is_off(target) {
                    continue;
                }
                if !all.contains_key(&(target.as_str(), target_key.as_str())) {
                    let known: Vec<String> = all.keys().map(|(service, key)| format!("{service}.{key}")).collect();
                    let help = suggestion(&format!("{target}.{target_key}"), known.iter().map(String::as_str));
                    report.error_help(
                        span,
                        format!(
                            "services.{name}: the secret {key} comes from {target}.{target_key}, which is not there"
                        ),
                        help,
                    );
                    continue;
                }
                let mut way = vec![format!("{name}.{key}")];
                let mut at = (target.as_str(), target_key.as_str());
                loop {
                    let label = format!("{}.{}", at.0, at.1);
                    let again = way.contains(&label);
                    way.push(label);
                    if again {
                        break;
                    }
                    match all.get(&at) {
                        Some(SecretSource::From { service, key }) => at = (service, key),
                        _ => {
                            way.clear();
                            break;
                        }
                    }
                }
                // each circle once, where it is met first; ways that only lead into one are not it
                if way.len() > 1 && way.first() == way.last() {
                    let mut members = way.clone();
                    members.sort_unstable();
                    members.dedup();
                    if !circles.contains(&members) {
                        circles.push(members);
                        report.error_help(
                            span,
                            format!("secrets come from each other in a circle: {}", way.join(" -> ")),
                            "one of them needs `generate: 24`",
                        );
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{MemoryFiles, Request, load_with};

    const OURS: &str = "services: {s3-users: {image: x}, gate: {image: x, x-macula: {role: ingress}}}";

    /// What is said of these stacks: errors, or else warnings.
    fn said(stacks: &[&str]) -> String {
        let paths: Vec<String> = (1..=stacks.len()).map(|number| format!("/stack{number}/compose.yaml")).collect();
        let files =
            stacks.iter().zip(&paths).fold(MemoryFiles::default(), |files, (text, path)| files.with(path, *text));
        let stacks = paths.iter().map(Into::into).collect();
        let request = Request { cwd: "/".into(), stacks, ..Request::default() };
        let messages = match load_with(&request, &files, &[("ours.yaml", OURS)]) {
            Ok(loaded) => loaded.warnings,
            Err(errors) => errors.0,
        };
        messages.into_iter().map(|one| one.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_port_of_one_address_has_one_owner() {
        let both = |one: &str, two: &str| {
            said(&[&format!("services: {{a: {{image: x, ports: ['{one}']}}, b: {{image: x, ports: ['{two}']}}}}")])
        };
        for (one, two, what) in [
            ("8080:80", "127.0.0.1:8080:81", Some("127.0.0.1:8080/tcp")),
            ("8080:80", "0.0.0.0:8080:81", Some("0.0.0.0:8080/tcp")),
            ("[::]:8080:80", "[::1]:8080:81", Some("::1:8080/tcp")),
            ("0.0.0.0:8080:80", "[::1]:8080:81", None),
            ("127.0.0.1:8080:80", "[::]:8080:81", None),
            ("127.0.0.1:8080:80", "127.0.0.2:8080:80", None),
            ("8080:80", "8080:80/udp", None),
            ("8080:80", "8081:80", None),
        ] {
            let found = both(one, two);
            match what {
                None => assert!(!found.contains(":8080/"), "{one} {two}: {found}"),
                Some(what) => {
                    let told = format!("services.b and services.a both publish {what} (");
                    assert!(found.contains(&told), "{one} {two}: {found}");
                }
            }
        }
        let twice = said(&["services: {a: {image: x, ports: ['8080:80', '8080:81']}}"]);
        assert!(twice.contains("services.a publishes 127.0.0.1:8080/tcp twice ("), "{twice}");
    }

    #[test]
    fn the_ports_of_the_ingress_are_its_own_on_this_machine_alone() {
        for (port, taken) in [
            ("80:8080", true),
            ("127.0.0.2:443:8443", true),
            ("443:8443/udp", false),
            ("192.0.2.1:80:80", false),
            ("8443:8443", false),
        ] {
            let web = format!("{{image: x, ports: ['{port}'], x-macula: {{ingress: []}}}}");
            let found = said(&[&format!("services: {{web: {web}}}")]);
            assert_eq!(found.contains("which belongs to the ingress gate"), taken, "{port}: {found}");
        }
    }

    #[test]
    fn a_name_on_the_ingress_is_shared_by_weight_alone() {
        let rule = |rule: &str| format!("{{image: x, x-macula: {{ingress: [{rule}]}}}}");
        let two = |one: &str, two: &str| said(&[&format!("services: {{a: {}, b: {}}}", rule(one), rule(two))]);
        let plain = "{host: w, port: 80}";
        let (light, heavy) = ("{host: w, port: 80, weight: 1}", "{host: w, port: 80, weight: 9}");
        let elsewhere = "{host: w, port: 80, path: /a}";
        for (one, other, both) in [
            (light, heavy, false),
            (plain, elsewhere, false),
            (plain, plain, true),
            (light, plain, true),
            (plain, heavy, true),
        ] {
            let found = two(one, other);
            let told = found.contains("services.b and services.a both answer for w.macula.local/ (");
            assert_eq!(told, both, "{one} {other}: {found}");
        }
        let alone = said(&[&format!("services: {{a: {}}}", rule(&format!("{light}, {heavy}")))]);
        assert!(alone.contains("services.a: two rules answer for w.macula.local/"), "{alone}");
    }

    #[test]
    fn an_access_key_has_three_letters() {
        for (name, short) in [("ab", true), ("abc", false)] {
            let own = "{buckets: [uploads], secrets: {AWS_SECRET_ACCESS_KEY: {generate: 40}}}";
            let found = said(&[&format!("services: {{{name}: {{image: x, x-macula: {own}}}}}")]);
            assert_eq!(found.contains("shorter than 3 characters"), short, "{found}");
        }
    }

    #[test]
    fn what_two_stacks_say_of_one_thing_is_compared_in_all_its_parts() {
        let web = "services: {NAME: {image: x}}\n";
        let two = |one: &str, other: &str| {
            let stack = |name: &str, rest: &str| format!("{}{rest}\n", web.replace("NAME", name));
            said(&[&stack("a", one), &stack("b", other)])
        };
        let network = |rest: &str| format!("networks: {{back: {{name: back{rest}}}}}");
        let all = ", driver: x, driver_opts: {k: v}, attachable: true, enable_ipv6: true, labels: {k: v}";
        let found = two(&network(""), &network(all));
        let parts = "with another `driver`, `driver_opts`, `attachable`, `enable_ipv6` and `labels`";
        assert!(found.contains("the network back is in the stack `stack1` too (") && found.contains(parts), "{found}");
        let found = two(&network(", external: true"), &network(", driver: x"));
        assert!(!found.contains("the network back"), "{found}");
        // a volume of one name by chance, and on purpose
        let volume = |rest: &str| format!("volumes: {{data: {{{rest}}}}}");
        for (one, other, told) in [
            ("", "", "the volume `data` is the one of the stack `stack1` ("),
            ("name: d, driver: x", "name: d", "the volume d is in the stack `stack1` too ("),
            ("name: d", "name: d", ""),
            ("name: d", "name: e", ""),
        ] {
            let found = two(&volume(one), &volume(other));
            assert!(found.contains(told) && (!told.is_empty() || !found.contains("the volume")), "{found}");
        }
    }
}
