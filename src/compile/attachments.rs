//! The networks of a container, and the names that it has in each.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::{NameServer, NetworkAttachment, Platform, Role, Service, Stack};

use super::address::{ingress_address, inside_address};
use super::held::Share;
use super::naming::{container_name, direct_services};
use super::scene::Scene;

pub(super) fn network_name(platform: &Platform, stack: &Stack, key: &str) -> String {
    if key == "default" && !stack.networks.contains_key(key) {
        return platform.name.network();
    }
    match stack.networks.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(declared) if declared.name.is_some() => declared.name.clone().unwrap_or_default(),
        _ => platform.name.stack_network(&stack.name, key),
    }
}

pub(super) fn attachments(scene: &Scene<'_>, service: &Service, share: &Share) -> Vec<NetworkAttachment> {
    if service.network_mode.is_some() {
        return Vec::new();
    }
    let Scene { platform, stack, site, .. } = scene;
    let ingress = holds_names(platform, service);
    // what the ingress or Prometheus must reach, and what must reach the shared PostgreSQL, is on the
    // platform's network, whatever else it is on
    let reaches = |service: &Service| !service.extension.databases.is_empty() || !service.extension.needs.is_empty();
    let owner = service.extension.task.as_ref().and_then(|task| stack.owner(task));
    let reached = service.extension.role.is_some()
        || !service.extension.ingress.is_empty()
        || !service.extension.metrics.is_empty()
        || reaches(service)
        || owner.is_some_and(reaches)
        || stack.scoped && service.networks.contains_key("default");
    let shared = shared_names(platform, stack);
    // a default network that the file describes is one of the stack's own
    let own_default = stack.networks.contains_key("default");
    let on_default = service.networks.is_empty() || service.networks.contains_key("default") && !own_default || reached;
    let mut all = Vec::new();
    if on_default {
        let declared = service.networks.get("default").filter(|_| !own_default);
        // the name of the ingress leads to the first of its containers
        let more = service.extension.role.is_some() && share.replica > 1;
        let mut aliases = if more { Vec::new() } else { vec![service.name.clone()] };
        aliases.extend(declared.into_iter().flat_map(|network| network.aliases.clone()));
        let fixed = super::own_inside(platform).get(&service.name).copied();
        if ingress {
            // inside, every name leads to the ingress
            aliases.extend(share.names.iter().cloned());
        } else if fixed.is_some() {
            aliases.push(super::fully_qualified(&service.name, &platform.domain));
        }
        aliases.sort();
        aliases.dedup();
        all.push(NetworkAttachment {
            network: platform.name.network(),
            aliases,
            links: Vec::new(),
            ipv4: match declared.and_then(|network| network.ipv4_address) {
                Some(address) => Some(address),
                None if ingress && share.replica == 1 => Some(ingress_address(site.subnet)),
                None => fixed.map(|octet| inside_address(site.subnet, octet)),
            },
            ipv6: declared.and_then(|network| network.ipv6_address),
        });
    }
    for (key, network) in service.networks.iter().filter(|(key, _)| *key != "default" || own_default) {
        let name = network_name(platform, stack, key);
        // a container is on a network once, under whatever keys it is declared
        if let Some(known) = all.iter_mut().find(|attachment: &&mut NetworkAttachment| attachment.network == name) {
            known.aliases.extend(network.aliases.clone());
            known.aliases.sort();
            known.aliases.dedup();
            known.links.extend(links(stack, key, &shared));
            known.ipv4 = known.ipv4.or(network.ipv4_address);
            known.ipv6 = known.ipv6.or(network.ipv6_address);
            continue;
        }
        let mut aliases = vec![service.name.clone()];
        aliases.extend(service.short.clone());
        aliases.extend(network.aliases.clone());
        // whoever looks for each of them there first asks nobody else
        let each = searched(scene).is_some();
        let unmistakable: Vec<String> =
            aliases.iter().filter(|name| each || shared.contains(*name)).map(|name| in_stack(name, stack)).collect();
        aliases.extend(unmistakable);
        all.push(NetworkAttachment {
            network: name,
            aliases,
            links: links(stack, key, &shared),
            ipv4: network.ipv4_address,
            ipv6: network.ipv6_address,
        });
    }
    all
}

/// Names that services of a stack have in its own networks, and other services in the platform's.
fn shared_names(platform: &Platform, stack: &Stack) -> BTreeSet<String> {
    if !stack.scoped {
        return BTreeSet::new();
    }
    let others = platform.services().filter(|(other, _)| other.name != stack.name);
    let others: BTreeSet<&str> = others.map(|(_, service)| service.name.as_str()).collect();
    let own = stack.services.values().flat_map(|service| {
        let aliases = service.networks.values().flat_map(|network| &network.aliases);
        service.short.iter().chain(aliases)
    });
    own.filter(|name| others.contains(name.as_str())).cloned().collect()
}

/// A name that nobody else has.
fn in_stack(name: &str, stack: &Stack) -> String {
    format!("{name}.{}", stack.name)
}

/// The engine asks a container's networks in no order that counts, so a name that two of them know leads
/// anywhere. What a container has as a link it finds first.
fn links(stack: &Stack, network: &str, shared: &BTreeSet<String>) -> Vec<String> {
    let there = |name: &&String| {
        stack.services.values().any(|service| {
            service
                .networks
                .get(network)
                .is_some_and(|joined| service.short.as_ref() == Some(*name) || joined.aliases.contains(name))
        })
    };
    shared.iter().filter(there).map(|name| format!("{}:{name}", in_stack(name, stack))).collect()
}

/// What is put behind a name before it is looked for as it stands: Podman's name server knows no links, and answers from
/// the network that is asked first.
pub(super) fn searched(scene: &Scene<'_>) -> Option<String> {
    let knows_links = scene.site.facts.traits.names != NameServer::Gateway;
    let shared = !knows_links && !shared_names(scene.platform, scene.stack).is_empty();
    shared.then(|| scene.stack.name.clone())
}

/// Inside the platform's network every name leads to this service.
pub(super) fn holds_names(platform: &Platform, service: &Service) -> bool {
    match service.extension.role {
        Some(Role::Names) => true,
        Some(Role::Ingress) => !platform.services().any(|(_, other)| other.extension.role == Some(Role::Names)),
        None => false,
    }
}

/// The names that lead to this service inside.
pub(super) fn names(scene: &Scene<'_>, service: &Service) -> BTreeSet<String> {
    if holds_names(scene.platform, service) { names_inside(scene) } else { BTreeSet::new() }
}

/// What leads to the ingress inside. Engines know no wildcards.
fn names_inside(scene: &Scene<'_>) -> BTreeSet<String> {
    let own = scene.routes.iter().filter(|route| route.own && !route.host.starts_with('*'));
    let apart = super::own_inside(scene.platform);
    let through = |(service, _): &(&Service, Ipv4Addr)| !apart.contains_key(&service.name);
    let direct = direct_services(scene.platform).filter(through);
    let name = |(service, _): (&Service, Ipv4Addr)| super::fully_qualified(&service.name, &scene.platform.domain);
    // the background process takes these, where there is one: telemetry, and what is for programs of this machine
    let received = scene.site.resolver.then(|| super::received(scene.platform, scene.site.block)).into_iter().flatten();
    let programs = scene.site.resolver.then(|| scene.platform.program_names()).into_iter().flatten();
    let passed_on = received.map(|received| received.host).chain(programs);
    own.map(|route| route.host.clone()).chain(direct.map(name)).chain(passed_on).collect()
}

pub(super) fn network_mode(platform: &Platform, mode: &str) -> String {
    match mode.strip_prefix("service:").and_then(|name| platform.service(name)) {
        Some((_, service)) => format!("container:{}", container_name(platform, service, 1)),
        None => mode.to_owned(),
    }
}
