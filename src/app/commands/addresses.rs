//! Where services are reached on this machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::app::survey::Survey;
use crate::compile::{fully_qualified, loopback_address};
use crate::model::{ContainerSpec, Platform, PortBinding, Protocol, Role, Service};

pub(super) fn urls(platform: &Platform, service: &Service, tls: bool) -> Vec<String> {
    service
        .extension
        .ingress
        .iter()
        .filter(|rule| !rule.host.starts_with('*'))
        .map(|rule| {
            let path = if rule.path == "/" { "" } else { &rule.path };
            let host = fully_qualified(&rule.host, &platform.domain);
            format!("{}{path}", platform.ingress.url(&host, tls))
        })
        .collect()
}

pub(super) fn addresses(survey: &Survey, service: &Service) -> Vec<String> {
    let mut all = Vec::new();
    if service.extension.role == Some(Role::Ingress) {
        // one line for each name would say the same dozen times over
        let own = loopback_address(survey.block, None);
        all.push(format!("{own}:{}", survey.platform.ingress.http));
        if survey.tls() {
            all.push(format!("{own}:{}", survey.platform.ingress.https));
        }
        return all;
    }
    for spec in survey.resources.containers.iter().filter(|spec| spec.service == service.name) {
        all.extend(reached(survey, spec).into_iter().map(|port| port.shown()));
    }
    all.sort();
    all.dedup();
    all
}

/// A port of a container, and where it is reached on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    /// In the container.
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

impl Reached {
    /// As the lists show it, where only the odd protocol is named.
    fn shown(&self) -> String {
        match self.protocol {
            Protocol::Tcp => self.address.to_string(),
            other => format!("{}/{other}", self.address),
        }
    }
}

/// What of a container's ports is reached here: what the engine publishes, what is passed on instead, and what the
/// ingress holds for it.
pub(super) fn reached(survey: &Survey, spec: &ContainerSpec) -> Vec<Reached> {
    let of = |port: &PortBinding| {
        let address = SocketAddr::new(port.host_ip, port.host_port?);
        Some(Reached { port: port.container_port, protocol: port.protocol, address })
    };
    let bound = survey.observed.container(&spec.name).map(|found| found.ports.as_slice()).unwrap_or_default();
    let forwarded = spec.forwards.iter().map(|forward| Reached {
        port: forward.port,
        protocol: forward.protocol,
        address: forward.listen,
    });
    let held = |port: &&PortBinding| {
        let bound = survey.observed.containers.iter().flat_map(|found| &found.ports);
        !survey.resources.publishes()
            || bound.map(|bound| (bound.host_ip, bound.host_port)).any(|at| at == (port.host_ip, port.host_port))
    };
    let guarded = spec.guarded.iter().filter(held);
    let all: BTreeSet<Reached> = bound.iter().filter_map(of).chain(forwarded).chain(guarded.filter_map(of)).collect();
    all.into_iter().collect()
}
