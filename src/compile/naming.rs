//! What containers and what is reached on a port of its own are called.

use std::net::Ipv4Addr;

use crate::model::{Platform, Service};

/// `macula-grafana-1`, or what `container_name` says.
pub fn container_name(platform: &Platform, service: &Service, replica: u32) -> String {
    match &service.container_name {
        // only the ingress, which may need more of them, has several with a name of its own
        Some(name) if replica > 1 => format!("{name}-{replica}"),
        Some(name) => name.clone(),
        None => platform.name.container(&service.name, replica),
    }
}

/// Names of services that are reached on a port and not through HTTP, `postgres.macula.local`, with
/// their address as declared.
pub fn direct_names(platform: &Platform) -> impl Iterator<Item = (String, Ipv4Addr)> + '_ {
    direct_services(platform)
        .map(|(service, address)| (super::fully_qualified(&service.name, &platform.domain), address))
}

pub(super) fn direct_services(platform: &Platform) -> impl Iterator<Item = (&Service, Ipv4Addr)> + '_ {
    platform.services().filter_map(|(_, service)| {
        let address = service.extension.address?;
        service.ports.iter().any(|port| port.published.is_some()).then_some((service, address))
    })
}
