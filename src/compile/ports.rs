//! The ports of a container: those that the engine publishes, and those that others pass on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::{Forward, PortBinding, Protocol, PublishedPort, Role, Service};

use super::address::{loopback_address, published_on};
use super::attachments::network_mode;
use super::scene::Scene;

pub(super) fn ports(scene: &Scene<'_>, service: &Service, replica: u32) -> BTreeSet<PortBinding> {
    let Scene { platform, site, .. } = scene;
    let published = service.ports.iter().filter(|port| !is_guarded(scene, service, port));
    let mut all: BTreeSet<PortBinding> = published.map(|port| binding(scene, service, port, replica)).collect();
    if service.extension.role == Some(Role::Ingress) {
        let settings = &platform.ingress;
        for address in ingress_addresses(scene) {
            let mut publish = |host_port, container_port| {
                all.insert(PortBinding {
                    host_ip: address.into(),
                    host_port: Some(host_port),
                    container_port,
                    protocol: Protocol::Tcp,
                });
            };
            publish(settings.http, 80);
            if site.certificate.is_some() {
                publish(settings.https, 443);
            }
        }
        let services = platform.services().map(|(_, service)| service);
        // inside the ingress it has the number that it is published under
        let held = services
            .flat_map(|service| guarded(scene, service))
            .filter_map(|port| Some(PortBinding { container_port: port.host_port?, ..port }));
        all.extend(held);
    }
    all
}

/// Whether the ingress may go on publishing a port that is not wanted any more: one of HTTP, on an address that
/// has had a service and that nobody else asks for.
pub(super) fn may_stay(scene: &Scene<'_>, ingress: &Service, port: &PortBinding) -> bool {
    let Scene { platform, site, .. } = scene;
    let web = match port.container_port {
        80 => port.host_port == Some(platform.ingress.http),
        443 => port.host_port == Some(platform.ingress.https) && site.certificate.is_some(),
        _ => false,
    };
    let others = platform.services().map(|(_, service)| service).filter(|service| service.name != ingress.name);
    let mut theirs = others.flat_map(|service| service.ports.iter().map(|port| binding(scene, service, port, 1)));
    web && !theirs.any(|other| (other.host_ip, other.host_port) == (port.host_ip, port.host_port))
}

fn binding(scene: &Scene<'_>, service: &Service, port: &PublishedPort, replica: u32) -> PortBinding {
    PortBinding {
        host_ip: published_on(scene.site.block, service, port.host_ip),
        // each replica has its own of a range
        host_port: port.published.map(|first| match port.published_to {
            Some(last) => first.saturating_add(u16::try_from(replica - 1).unwrap_or(u16::MAX)).min(last),
            None => first,
        }),
        container_port: port.target,
        protocol: port.protocol,
    }
}

/// Whether the ingress stands before this port of the service.
fn is_guarded(scene: &Scene<'_>, service: &Service, port: &PublishedPort) -> bool {
    let host_ip = port.host_ip.is_none_or(|address| address.is_loopback());
    host_ip
        && scene.streams.iter().any(|stream| {
            !stream.hosts.is_empty()
                && stream.service == service.name
                && (Some(stream.port), stream.target, stream.protocol) == (port.published, port.target, port.protocol)
        })
}

/// The service's guarded ports.
pub(super) fn guarded(scene: &Scene<'_>, service: &Service) -> Vec<PortBinding> {
    let ports = service.ports.iter().filter(|port| is_guarded(scene, service, port));
    ports.map(|port| binding(scene, service, port, 1)).collect()
}

/// The same ports, for who passes on what arrives there: on loopback only, since nobody but this machine was to
/// reach what the engine does not publish. A port that the engine was to choose has no number here.
pub(super) fn forwards(
    scene: &Scene<'_>,
    service: &Service,
    name: &str,
    ports: &BTreeSet<PortBinding>,
) -> Vec<Forward> {
    let mode = service.network_mode.as_deref().map(|mode| network_mode(scene.platform, mode));
    let owner = mode.as_deref().and_then(|mode| mode.strip_prefix("container:")).unwrap_or(name);
    let forward = |port: &PortBinding| {
        let address = match port.host_ip {
            address if address.is_loopback() => address,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Some(Forward {
            listen: SocketAddr::new(address, port.host_port?),
            protocol: port.protocol,
            service: service.name.clone(),
            container: owner.to_owned(),
            port: port.container_port,
        })
    };
    ports.iter().filter_map(forward).collect()
}

/// The block's .1, every address that a service has of its own, and those of the names behind which the background process
/// takes telemetry.
fn ingress_addresses(scene: &Scene<'_>) -> BTreeSet<Ipv4Addr> {
    let (platform, block) = (scene.platform, scene.site.block);
    let addressed = platform.services().filter(|(_, service)| service.extension.address.is_some());
    let own = block.address(1);
    let mut all: BTreeSet<Ipv4Addr> =
        addressed.map(|(_, service)| loopback_address(block, service.extension.address)).chain([own]).collect();
    // an engine that publishes a number at one address only is not made to pass everything on for these alone
    if scene.site.resolver && all.len() > 1 {
        all.extend(super::received(platform, block).into_iter().map(|received| received.address));
    }
    all
}
