//! Names and direct ports: what the host ingress passes on.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Platform, Protocol, Role, Route, Stream};

use super::address::{Block, loopback_address};

/// `grafana` -> `grafana.macula.local`; a name that lies below the domain stays as it is.
pub fn fully_qualified(host: &str, domain: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host == domain || host.ends_with(&format!(".{domain}")) { host } else { format!("{host}.{domain}") }
}

/// Every name on the ingress, sorted by host, then the longest path first.
pub fn routes(platform: &Platform, block: Block) -> Vec<Route> {
    let mut all: Vec<Route> = platform
        .services()
        .flat_map(|(_, service)| {
            service.extension.ingress.iter().map(move |rule| Route {
                host: fully_qualified(&rule.host, &platform.domain),
                service: service.name.clone(),
                port: rule.port,
                fallback: rule.fallback,
                path: rule.path.clone(),
                tls: rule.tls,
                body_size: rule.body_size,
                auth: rule.auth.clone(),
                sticky: rule.sticky,
                weight: rule.weight,
                address: loopback_address(block, service.extension.address),
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

/// Direct ports inside the platform's network: the published ports of services with an address of
/// their own. Where two services publish the same port on different addresses the first in the
/// order of the stacks has it, since all names lead to one address there.
pub fn streams(platform: &Platform) -> Vec<Stream> {
    let mut seen = BTreeSet::from([(80, Protocol::Tcp), (443, Protocol::Tcp)]);
    let mut all = Vec::new();
    for (_, service) in platform.services() {
        let apart = service.extension.role == Some(Role::Ingress) || service.network_mode.is_some();
        if apart || (service.extension.address.is_none() && service.extension.ingress.is_empty()) {
            continue;
        }
        for port in &service.ports {
            let Some(published) = port.published else { continue };
            if port.protocol != Protocol::Sctp && seen.insert((published, port.protocol)) {
                all.push(Stream {
                    port: published,
                    protocol: port.protocol,
                    service: service.name.clone(),
                    target: port.target,
                });
            }
        }
    }
    all.sort();
    all
}

/// Host name -> (service, direct ports), for the page of names.
pub fn names(routes: &[Route]) -> BTreeMap<String, String> {
    routes.iter().map(|route| (route.host.clone(), route.service.clone())).collect()
}
