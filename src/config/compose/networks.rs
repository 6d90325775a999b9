//! Top-level networks and volumes, and the networks of a service.

use std::net::{Ipv4Addr, Ipv6Addr};

use indexmap::IndexMap;

use super::{flag, string_map};
use crate::config::yaml::Node;
use crate::model::{NetworkDecl, Pool, ServiceNetwork, Volume};

/// The check of `ipv4_address`.
pub(super) fn ipv4(text: &str) -> Option<(String, String)> {
    text.parse::<Ipv4Addr>()
        .is_err()
        .then(|| (format!("`{text}` is not a valid IPv4 address"), "for example 172.28.0.10".to_owned()))
}

/// The check of `ipv6_address`.
pub(super) fn ipv6(text: &str) -> Option<(String, String)> {
    text.parse::<Ipv6Addr>()
        .is_err()
        .then(|| (format!("`{text}` is not a valid IPv6 address"), "for example fd00::10".to_owned()))
}

/// The check of `subnet`.
pub(super) fn subnet(text: &str) -> Option<(String, String)> {
    text.parse::<ipnet::IpNet>()
        .is_err()
        .then(|| (format!("`{text}` is not a valid subnet"), "for example 172.28.0.0/24".to_owned()))
}

/// The check of `gateway`.
pub(super) fn address(text: &str) -> Option<(String, String)> {
    text.parse::<std::net::IpAddr>()
        .is_err()
        .then(|| (format!("`{text}` is not a valid IP address"), "for example 172.28.0.1".to_owned()))
}

/// The networks of a service, highest priority first, then by name. The network `default` alone is
/// the platform's own.
pub(super) fn of_service(service: &Node, custom_default: bool) -> IndexMap<String, ServiceNetwork> {
    let mut networks: Vec<(i64, &str, ServiceNetwork)> = service
        .entries("networks")
        .map(|(name, entry)| {
            let node = &entry.node;
            let network = ServiceNetwork {
                aliases: node.texts("aliases"),
                ipv4_address: node.get_text("ipv4_address").and_then(|text| text.parse().ok()),
                ipv6_address: node.get_text("ipv6_address").and_then(|text| text.parse().ok()),
            };
            (node.get_int("priority").unwrap_or(0), name, network)
        })
        .collect();
    networks.sort_by(|(a, a_name, _), (b, b_name, _)| b.cmp(a).then(a_name.cmp(b_name)));
    let plain = |name: &str, network: &ServiceNetwork| {
        name == "default" && !custom_default && *network == ServiceNetwork::default()
    };
    if let [(_, name, network)] = networks.as_slice()
        && plain(name, network)
    {
        return IndexMap::new();
    }
    networks.into_iter().map(|(_, name, network)| (name.to_owned(), network)).collect()
}

/// A top-level network. `named` says whether the user gave it its name.
pub(super) fn network(node: &Node, named: bool) -> NetworkDecl {
    let pool = |pool: &Node| {
        Some(Pool {
            subnet: pool.get_text("subnet")?.parse().ok()?,
            gateway: pool.get_text("gateway").and_then(|text| text.parse().ok()),
            ip_range: pool.get_text("ip_range").and_then(|text| text.parse().ok()),
        })
    };
    let name = named.then(|| node.get_text("name").map(str::to_owned)).flatten();
    // the rest is for whoever makes it to say
    if flag(node, "external") {
        return NetworkDecl { name, external: true, ..NetworkDecl::default() };
    }
    let pools = node.get("ipam").map(|ipam| ipam.items("config").iter().filter_map(pool).collect()).unwrap_or_default();
    NetworkDecl {
        name,
        external: false,
        driver: node.get_text("driver").map(str::to_owned),
        driver_opts: string_map(node, "driver_opts"),
        internal: flag(node, "internal"),
        attachable: flag(node, "attachable"),
        enable_ipv6: flag(node, "enable_ipv6"),
        labels: string_map(node, "labels"),
        pools,
    }
}

/// A top-level volume. `named` says whether the user gave it its name.
pub(super) fn volume(node: &Node, named: bool) -> Volume {
    Volume {
        name: named.then(|| node.get_text("name").map(str::to_owned)).flatten(),
        external: flag(node, "external"),
        driver: node.get_text("driver").map(str::to_owned),
        driver_opts: string_map(node, "driver_opts"),
        labels: string_map(node, "labels"),
        copy: None,
    }
}
