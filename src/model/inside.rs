//! Where the names of services lead inside the platform's network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Protocol, Service};

/// All names lead to the ingress, which has one address: of two services that publish the same port
/// on different addresses of the host, only the first is reached through it. The name of the other
/// leads to its container, where that gives the same answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    /// Service -> last octet of its container's fixed address.
    pub own: BTreeMap<String, u8>,
    /// Services that can be reached neither way on one of their ports.
    pub shadowed: Vec<Shadowed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    pub service: String,
    /// Whose port it is inside the network.
    pub by: String,
    pub port: u16,
}

impl Service {
    /// A name of its own leads to its published ports.
    pub fn has_name(&self) -> bool {
        let apart = self.extension.role.is_some() || self.network_mode.is_some();
        !apart && (self.extension.address.is_some() || !self.extension.ingress.is_empty())
    }

    /// Its published ports, with the port in the container.
    fn published(&self) -> impl Iterator<Item = ((u16, Protocol), u16)> + '_ {
        self.ports.iter().filter_map(|port| Some(((port.published?, port.protocol), port.target)))
    }
}

impl Inside {
    pub fn of<'a>(services: impl IntoIterator<Item = &'a Service>) -> Self {
        let services: Vec<&Service> = services.into_iter().collect();
        let mut octets: BTreeMap<u8, u32> = BTreeMap::new();
        for octet in services.iter().filter_map(|service| fixed(service.extension.address)) {
            *octets.entry(octet).or_default() += 1;
        }
        let mut taken: BTreeMap<(u16, Protocol), &str> = BTreeMap::new();
        let mut all = Self::default();
        for service in services.into_iter().filter(|service| service.has_name()) {
            let clash = service.published().find_map(|(port, _)| Some((port.0, *taken.get(&port)?)));
            let Some((port, first)) = clash else {
                taken.extend(service.published().map(|(port, _)| (port, service.name.as_str())));
                continue;
            };
            let same = service.published().all(|((published, _), target)| published == target);
            let whole = same && service.extension.ingress.is_empty() && service.replicas == 1;
            match fixed(service.extension.address).filter(|octet| whole && octets.get(octet) == Some(&1)) {
                Some(octet) => {
                    all.own.insert(service.name.clone(), octet);
                }
                None => {
                    all.shadowed.push(Shadowed { service: service.name.clone(), by: first.to_owned(), port });
                    for (port, _) in service.published() {
                        taken.entry(port).or_insert(&service.name);
                    }
                }
            }
        }
        all
    }
}

/// The last octet of an address, where it is free in the platform's network too: in the lower half,
/// behind gateway and ingress.
fn fixed(declared: Option<Ipv4Addr>) -> Option<u8> {
    let [.., last] = declared?.octets();
    (3..=126).contains(&last).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IngressRule, PublishedPort};

    fn service(name: &str, last: u8, published: u16, target: u16) -> Service {
        let port = PublishedPort {
            target,
            protocol: Protocol::Tcp,
            host_ip: None,
            published: Some(published),
            published_to: None,
        };
        let mut service = Service { name: name.into(), replicas: 1, ports: vec![port], ..Service::default() };
        service.extension.address = Some(Ipv4Addr::new(127, 0, 0, last));
        service
    }

    #[test]
    fn the_second_on_a_port_is_reached_at_its_container() {
        let all = [service("a", 21, 5432, 5432), service("b", 22, 5432, 5432), service("c", 23, 5433, 5432)];
        let inside = Inside::of(&all);
        assert_eq!(inside, Inside { own: [("b".to_owned(), 22)].into(), shadowed: Vec::new() });
    }

    #[test]
    fn what_its_container_answers_otherwise_is_shadowed() {
        let shadowed = |second: Service| Inside::of(&[service("a", 21, 5432, 5432), second]).shadowed;
        let expected = [Shadowed { service: "b".into(), by: "a".into(), port: 5432 }];
        assert_eq!(shadowed(service("b", 22, 5432, 5433)), expected);
        assert_eq!(shadowed(service("b", 200, 5432, 5432)), expected);
        let mut named = service("b", 22, 5432, 5432);
        named.extension.ingress.push(IngressRule { host: "b".into(), port: 80, ..IngressRule::default() });
        assert_eq!(shadowed(named), expected);
        assert_eq!(shadowed(service("b", 22, 5433, 5433)), []);
    }
}
