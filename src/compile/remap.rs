//! Published ports of the user's services that somebody else has: where they go on addresses of the services' own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::model::{Listener, Move, Moves, OWN_ADDRESSES, Origin, Platform, PublishedPort, Service};

use super::address::{Block, loopback_address, published_on};

/// A port that moves, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPort {
    pub service: String,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub holder: Listener,
}

/// Where the ports go that these listeners have. `before`: what has moved already. The port is the same on the service's
/// own address, or the next one that is free there: who listens on all addresses has it there, too.
pub fn make_room(platform: &Platform, block: Block, listeners: &[Listener], before: &Moves) -> (Moves, Vec<MovedPort>) {
    let mut used: BTreeSet<Ipv4Addr> = before.values().map(|one| one.address).collect();
    used.extend(platform.services().filter_map(|(_, service)| service.extension.address));
    let mut free = OWN_ADDRESSES.map(|last| Ipv4Addr::new(127, 0, 0, last)).filter(|address| !used.contains(address));
    let (mut moves, mut told) = (Moves::new(), Vec::new());
    for (stack, service) in platform.services() {
        if stack.origin == Origin::BuiltIn || service.network_mode.as_deref() == Some("host") {
            continue;
        }
        let here = |port: &PublishedPort| published_on(block, service, port.host_ip);
        let held = |port: &PublishedPort| {
            let numbers = numbers(service, port)?;
            listeners.iter().find(|one| is_in_the_way(one, port, here(port), &numbers))
        };
        let taken: Vec<(&PublishedPort, &Listener)> =
            service.ports.iter().filter_map(|port| Some((port, held(port)?))).collect();
        if taken.is_empty() {
            continue;
        }
        let known = service.extension.address.or(before.get(&service.name).map(|one| one.address));
        let Some(address) = known.or_else(|| free.next()) else { continue };
        let own: IpAddr = loopback_address(block, Some(address)).into();
        let mut moved = Move { address, ports: Default::default() };
        for (port, holder) in taken {
            let Some(from) = port.published else { continue };
            let known = moved.ports.get(&from).copied();
            let fits = |to: &u16| {
                let taken = service.ports.iter().filter(|other| other.published == Some(from)).any(|other| {
                    let there = PublishedPort { published: Some(*to), ..other.clone() };
                    let numbers = numbers(service, &there);
                    numbers.is_none_or(|numbers| listeners.iter().any(|one| is_in_the_way(one, other, own, &numbers)))
                });
                let there = SocketAddr::new(own, *to);
                let given = told.iter().any(|one: &MovedPort| one.to == there);
                let wanted = is_wanted(platform, block, service, from, there);
                !taken && !given && !wanted && !moved.ports.values().any(|other| other == to)
            };
            let Some(to) = known.or_else(|| (from..=u16::MAX).find(fits)) else { continue };
            moved.ports.insert(from, to);
            told.push(MovedPort {
                service: service.name.clone(),
                from: SocketAddr::new(here(port), from),
                to: SocketAddr::new(own, to),
                holder: holder.clone(),
            });
        }
        if !moved.ports.is_empty() {
            moves.insert(service.name.clone(), moved);
        }
    }
    (moves, told)
}

/// The numbers that a port is published with: of a range, one for each container.
fn numbers(service: &Service, port: &PublishedPort) -> Option<RangeInclusive<u16>> {
    let first = port.published?;
    let more = port.published_to.map_or(0, |_| service.replicas.saturating_sub(1));
    Some(first..=first.saturating_add(u16::try_from(more).unwrap_or(u16::MAX)))
}

/// Whether somebody has one of these numbers at an address.
fn is_in_the_way(listener: &Listener, port: &PublishedPort, at: IpAddr, numbers: &RangeInclusive<u16>) -> bool {
    let meets = listener.address == at || listener.address.is_unspecified() || at.is_unspecified();
    meets && listener.protocol == port.protocol && numbers.contains(&listener.port)
}

/// Whether the ingress, another port of the service, or a service there or on all addresses is published with this
/// number.
fn is_wanted(platform: &Platform, block: Block, service: &Service, from: u16, to: SocketAddr) -> bool {
    let covers = |of: &Service, port: &PublishedPort| numbers(of, port).is_some_and(|all| all.contains(&to.port()));
    let mut others = platform.services().flat_map(|(_, other)| other.ports.iter().map(move |port| (other, port)));
    let mut web = [platform.ingress.http, platform.ingress.https].into_iter();
    web.any(|number| number == to.port())
        || others.any(|(other, port)| match other.name == service.name {
            true => port.published != Some(from) && covers(other, port),
            false => {
                let at = published_on(block, other, port.host_ip);
                (at.is_unspecified() || at == to.ip()) && covers(other, port)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, MemoryFiles, Request, load};
    use crate::model::{Protocol, StoppedBy, then_moved};

    fn shop(ports: &str, more: &str) -> Loaded {
        let stack = format!("services:\n  web: {{image: w, ports: [{ports}]}}\n{more}");
        let files = MemoryFiles::default()
            .with("/shop/compose.yaml", stack)
            .with("/shop/macula.yaml", "ports: remap\ndiscover: true\n");
        let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
        load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn listener(address: &str) -> Listener {
        let address: SocketAddr = address.parse().unwrap();
        Listener {
            address: address.ip(),
            port: address.port(),
            protocol: Protocol::Tcp,
            pid: Some(7),
            process: Some("node".into()),
            stopped_by: StoppedBy::Unknown,
        }
    }

    fn moved(loaded: &Loaded, listeners: &[&str]) -> Vec<String> {
        let listeners: Vec<Listener> = listeners.iter().map(|address| listener(address)).collect();
        let (_, told) = make_room(&loaded.platform, Block::DEFAULT, &listeners, &loaded.moves);
        told.iter().map(|one| format!("{} {} -> {}", one.service, one.from, one.to)).collect()
    }

    #[test]
    fn a_taken_port_is_the_same_on_an_address_of_its_own() {
        let loaded = shop("'8080:80', '8081:81'", "  api: {image: w, ports: ['127.0.0.1:9999:1']}\n");
        assert!(loaded.remap);
        assert_eq!(moved(&loaded, &["127.0.0.1:8080"]), ["web 127.0.0.1:8080 -> 127.0.0.20:8080"]);
        assert_eq!(
            moved(&loaded, &["127.0.0.1:8080", "127.0.0.1:9999"]),
            ["api 127.0.0.1:9999 -> 127.0.0.20:9999", "web 127.0.0.1:8080 -> 127.0.0.21:8080"]
        );
        // another address is not in the way, and ports of ours are not moved
        assert_eq!(moved(&loaded, &["127.0.0.9:8080", "127.0.0.6:5432"]), [""; 0]);
    }

    #[test]
    fn who_listens_everywhere_has_it_there_too() {
        let loaded = shop("'8080:80', '8081:81'", "");
        // 8081 is the service's own, and 8083 somebody else's
        assert_eq!(moved(&loaded, &["0.0.0.0:8080", "[::]:8082"]), ["web 127.0.0.1:8080 -> 127.0.0.20:8083"]);
        // of a range each container has one
        let range = |replicas: u8| {
            shop("", &format!("  all: {{image: w, ports: ['8080-8089:80'], deploy: {{replicas: {replicas}}}}}\n"))
        };
        assert_eq!(moved(&range(1), &["0.0.0.0:8081"]), [""; 0]);
        assert_eq!(moved(&range(2), &["0.0.0.0:8081"]), ["all 127.0.0.1:8080 -> 127.0.0.20:8082"]);
    }

    #[test]
    fn what_has_moved_moves_on_from_there() {
        let mut loaded = shop("'0.0.0.0:8080:80'", "");
        let here = [listener("192.0.2.1:8080")];
        let (moves, _) = make_room(&loaded.platform, Block::DEFAULT, &here, &loaded.moves);
        loaded.move_ports(&moves);
        assert_eq!(moved(&loaded, &["192.0.2.1:8080"]), [""; 0]);
        let there = [listener("127.0.0.20:8080")];
        let (more, told) = make_room(&loaded.platform, Block::DEFAULT, &there, &loaded.moves);
        assert_eq!(told[0].to.to_string(), "127.0.0.20:8081");
        let all = then_moved(loaded.moves.clone(), &more);
        assert_eq!(all["web"], Move { address: [127, 0, 0, 20].into(), ports: [(8080, 8081)].into() });
    }

    #[test]
    fn the_ports_of_the_ingress_stay_the_ingresss() {
        let loaded = shop("'192.0.2.1:79:79'", "");
        assert_eq!(moved(&loaded, &["0.0.0.0:79"]), ["web 192.0.2.1:79 -> 127.0.0.20:81"]);
    }
}
