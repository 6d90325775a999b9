//! Published ports that somebody else has, and where they go instead.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Stack;

/// Addresses for services that get one of their own: behind those of the built-in ones.
pub const OWN_ADDRESSES: RangeInclusive<u8> = 20..=99;

/// Services whose ports are taken, by their names in the platform.
pub type Moves = BTreeMap<String, Move>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The service's own address as a stack file has it, in 127.0.0.0/24.
    pub address: Ipv4Addr,
    /// A published port, and the one on that address.
    pub ports: BTreeMap<u16, u16>,
}

/// Publishes the ports of these services where they go. The result: the services that have one of them, each with
/// the ports that were taken.
pub fn move_ports<'a>(stacks: impl Iterator<Item = &'a mut Stack>, moves: &Moves) -> BTreeMap<String, Vec<u16>> {
    let mut moved: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for service in stacks.flat_map(|stack| stack.services.values_mut()) {
        let Some(of) = moves.get(&service.name) else { continue };
        for port in &mut service.ports {
            let Some((from, to)) = port.published.and_then(|from| Some((from, *of.ports.get(&from)?))) else {
                continue;
            };
            port.host_ip = None;
            port.published = Some(to);
            port.published_to = port.published_to.map(|last| last.saturating_sub(from).saturating_add(to));
            let all = moved.entry(service.name.clone()).or_default();
            if !all.contains(&from) {
                all.push(from);
            }
        }
        if moved.contains_key(&service.name) {
            service.extension.address.get_or_insert(of.address);
        }
    }
    moved
}

/// These moves, and then those: the ports of the latter are the ones that the former have led to.
pub fn then_moved(mut moves: Moves, then: &Moves) -> Moves {
    for (service, more) in then {
        let Some(known) = moves.get_mut(service) else {
            moves.insert(service.clone(), more.clone());
            continue;
        };
        known.address = more.address;
        for (from, to) in &more.ports {
            let first = known.ports.iter().find(|(_, at)| *at == from).map_or(*from, |(first, _)| *first);
            known.ports.insert(first, *to);
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};

    fn moves(address: [u8; 4], ports: &[(u16, u16)]) -> Moves {
        [("web".to_owned(), Move { address: address.into(), ports: ports.iter().copied().collect() })].into()
    }

    #[test]
    fn a_port_that_moves_is_the_same_on_the_services_own_address() {
        let stack = "services:
  web: {image: w, ports: ['0.0.0.0:8080:80', '8080:80/udp', '9000-9002:9000', '7000:7000']}
  api: {image: w, ports: ['8081:80'], x-macula: {address: 127.0.0.30}}
";
        let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
        let request = Request { cwd: "/shop".into(), only_own: true, discover: true, ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let mut wanted = moves([127, 0, 0, 20], &[(8080, 8080), (9000, 9100), (1, 2)]);
        wanted.insert("api".into(), Move { address: [127, 0, 0, 21].into(), ports: [(8081, 8082)].into() });
        wanted.insert("gone".into(), Move { address: [127, 0, 0, 22].into(), ports: [(1, 1)].into() });
        let moved = move_ports(platform.stacks.iter_mut(), &wanted);
        assert_eq!(moved, [("api".to_owned(), vec![8081]), ("web".to_owned(), vec![8080, 9000])].into());
        let shown = platform.services().map(|(_, service)| {
            let ports = service
                .ports
                .iter()
                .map(|port| format!("{:?} {:?}-{:?}", port.host_ip, port.published, port.published_to));
            format!("{} {:?} {:?}", service.name, service.extension.address, ports.collect::<Vec<_>>())
        });
        insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r#"
        api Some(127.0.0.30) ["None Some(8082)-None"]
        web Some(127.0.0.20) ["None Some(8080)-None", "None Some(8080)-None", "None Some(9100)-Some(9102)", "None Some(7000)-None"]
        "#);
    }

    #[test]
    fn what_moves_again_is_known_by_the_port_of_its_file() {
        let first = moves([127, 0, 0, 20], &[(8080, 8080), (9000, 9001)]);
        let then = moves([127, 0, 0, 20], &[(9001, 9002), (7000, 7000)]);
        let both = then_moved(first.clone(), &then);
        assert_eq!(both, moves([127, 0, 0, 20], &[(7000, 7000), (8080, 8080), (9000, 9002)]));
        assert_eq!(then_moved(Moves::new(), &first), first);
    }
}
