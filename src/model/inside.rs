//! Where the names of services lead inside the platform's network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Protocol, Service};

/// All names lead to the ingress, which has one address: of two services that publish the same port
/// on different addresses of the host, only the first is reached through it, unless both speak HTTP
/// there, so that each request says whose it is. A port that no foreign page may reach is not shared. The name
/// of the other leads to its container, where that gives the same answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    /// Service -> last octet of its container's fixed address.
    pub own: BTreeMap<String, u8>,
    /// Ports of several services, told apart by the name in the request.
    pub by_host: BTreeSet<u16>,
    /// Services that can be reached neither way on one of their ports.
    pub shadowed: Vec<Shadowed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    pub service: String,
    /// Whose port it is inside the network.
    pub by: String,
    pub port: u16,
    /// Both speak HTTP there, and one of them is guarded.
    pub web: bool,
}

impl Service {
    /// A name of its own leads to its published ports.
    pub fn has_name(&self) -> bool {
        let apart = self.extension.role.is_some() || self.network_mode.is_some();
        !apart && (self.extension.address.is_some() || !self.extension.ingress.is_empty())
    }

    /// It is in the engine's own bridge and in no network of ours: the ingress does not reach it.
    pub fn is_apart(&self) -> bool {
        matches!(self.network_mode.as_deref(), Some("bridge" | "default"))
    }

    /// Speaks HTTP on this port of the container, under a name of its own.
    fn is_web_on(&self, target: u16) -> bool {
        self.extension
            .ingress
            .iter()
            .any(|rule| rule.port == target && rule.path == "/" && rule.fallback.is_none() && !rule.tls && !rule.grpc)
    }

    /// The ingress stands before this port of the container, and looks at who asks.
    fn is_guarded_on(&self, target: u16) -> bool {
        self.extension.ingress.iter().any(|rule| rule.port == target && rule.same_origin)
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
        // whose a port is, whether all who have it speak HTTP there, and whether another one may, too
        let mut taken: BTreeMap<(u16, Protocol), (&str, bool, bool)> = BTreeMap::new();
        let mut all = Self::default();
        for service in services.into_iter().filter(|service| service.has_name()) {
            let web = |port: (u16, Protocol), target: u16| port.1 == Protocol::Tcp && service.is_web_on(target);
            let shares = |port: (u16, Protocol), target: u16| web(port, target) && !service.is_guarded_on(target);
            let clash = service.published().find_map(|(port, target)| {
                let (first, all_web, all_share) = *taken.get(&port)?;
                let both_web = all_web && web(port, target);
                (!(all_share && shares(port, target))).then_some((port.0, first, both_web))
            });
            let Some((port, first, both_web)) = clash else {
                for (port, target) in service.published() {
                    if taken.contains_key(&port) {
                        all.by_host.insert(port.0);
                    }
                    taken.entry(port).or_insert((&service.name, web(port, target), shares(port, target)));
                }
                continue;
            };
            let same = service.published().all(|((published, _), target)| published == target);
            let whole = same && service.extension.ingress.is_empty() && service.replicas == 1;
            match fixed(service.extension.address).filter(|octet| whole && octets.get(octet) == Some(&1)) {
                Some(octet) => {
                    all.own.insert(service.name.clone(), octet);
                }
                None => {
                    let name = service.name.clone();
                    all.shadowed.push(Shadowed { service: name, by: first.to_owned(), port, web: both_web });
                    for (port, _) in service.published() {
                        taken.entry(port).or_insert((&service.name, false, false));
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
    use crate::model::{IngressRule, Role, testing};

    fn service(name: &str, last: u8, published: u16, target: u16) -> Service {
        let mut service = Service {
            name: name.into(),
            replicas: 1,
            ports: vec![testing::published(published, target)],
            ..Service::default()
        };
        service.extension.address = Some(Ipv4Addr::new(127, 0, 0, last));
        service
    }

    #[test]
    fn an_address_or_a_page_gives_a_service_a_name_of_its_own() {
        let addressed = service("a", 21, 5432, 5432);
        let mut plain = addressed.clone();
        plain.extension.address = None;
        let mut page = plain.clone();
        page.extension.ingress.push(IngressRule { host: "a".into(), port: 80, ..IngressRule::default() });
        let mut ingress = addressed.clone();
        ingress.extension.role = Some(Role::Ingress);
        let apart = Service { network_mode: Some("host".into()), ..addressed.clone() };
        let named = [addressed, page, plain, ingress, apart].map(|service| service.has_name());
        assert_eq!(named, [true, true, false, false, false]);
    }

    #[test]
    fn the_second_on_a_port_is_reached_at_its_container() {
        let all = [service("a", 21, 5432, 5432), service("b", 22, 5432, 5432), service("c", 23, 5433, 5432)];
        let inside = Inside::of(&all);
        assert_eq!(inside, Inside { own: [("b".to_owned(), 22)].into(), ..Inside::default() });
    }

    #[test]
    fn what_its_container_answers_otherwise_is_shadowed() {
        let shadowed = |second: Service| Inside::of(&[service("a", 21, 5432, 5432), second]).shadowed;
        let expected = [Shadowed { service: "b".into(), by: "a".into(), port: 5432, web: false }];
        assert_eq!(shadowed(service("b", 22, 5432, 5433)), expected);
        assert_eq!(shadowed(service("b", 200, 5432, 5432)), expected);
        let mut named = service("b", 22, 5432, 5432);
        named.extension.ingress.push(IngressRule { host: "b".into(), port: 80, ..IngressRule::default() });
        assert_eq!(shadowed(named), expected);
        assert_eq!(shadowed(service("b", 22, 5433, 5433)), []);
    }

    #[test]
    fn programs_that_speak_http_share_a_port_by_the_name_in_the_request() {
        let web = |name: &str, last: u8, published: u16, target: u16| {
            let mut service = service(name, last, published, target);
            let rule = IngressRule { host: name.into(), port: target, path: "/".into(), ..IngressRule::default() };
            service.extension.ingress = vec![rule];
            service
        };
        let found = Inside::of(&[web("a", 11, 3000, 3000), web("b", 12, 3000, 80), web("c", 13, 3001, 80)]);
        assert_eq!((found.by_host, found.own, found.shadowed), (BTreeSet::from([3000]), BTreeMap::new(), Vec::new()));
        // a database cannot say whose it is
        let found = Inside::of(&[web("a", 11, 5432, 5432), service("db", 12, 5432, 15432)]);
        assert_eq!(found.shadowed, [Shadowed { service: "db".into(), by: "a".into(), port: 5432, web: false }]);
        assert_eq!(found.by_host, BTreeSet::new());
        // nor does the ingress stand before a port that several have
        let mut guarded = web("a", 11, 5001, 5000);
        guarded.extension.ingress[0].same_origin = true;
        let found = Inside::of(&[guarded, web("b", 20, 5001, 5000)]);
        assert_eq!(found.shadowed, [Shadowed { service: "b".into(), by: "a".into(), port: 5001, web: true }]);
        assert_eq!(found.by_host, BTreeSet::new());
    }
}
