//! Loopback blocks and the platform network's subnet.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::model::{Platform, PlatformName, Service};

/// A /24 of loopback addresses; every service of a platform has the same last octet in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(Ipv4Addr);

impl Block {
    /// The block of the default platform, 127.0.0.0/24.
    pub const DEFAULT: Self = Self(Ipv4Addr::new(127, 0, 0, 0));

    /// `None` when it is not a loopback address. The last octet is ignored.
    pub fn new(base: Ipv4Addr) -> Option<Self> {
        let [a, b, c, _] = base.octets();
        base.is_loopback().then(|| Self(Ipv4Addr::new(a, b, c, 0)))
    }

    pub fn base(self) -> Ipv4Addr {
        self.0
    }

    pub fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.0.octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

/// The n-th block to try for a platform's name: 127.(64 + h1 mod 64).h2.0, then the ones after it.
/// The default platform has 127.0.0.0 and no other.
pub fn choose_block(name: &PlatformName, taken: &[Block]) -> Option<Block> {
    if name.is_default() {
        return Some(Block::DEFAULT);
    }
    let digest = Sha256::digest(name.as_bytes());
    let (first, second) = (digest.first().copied().unwrap_or(0) % 64, digest.get(1).copied().unwrap_or(0));
    let start = u32::from(first) * 256 + u32::from(second);
    (0..64 * 256)
        .map(|step| (start + step) % (64 * 256))
        .map(|at| Block(Ipv4Addr::new(127, 64 + (at / 256) as u8, (at % 256) as u8, 0)))
        .find(|block| !taken.contains(block))
}

/// The address in the platform's block that stands for the one in a stack file.
pub fn loopback_address(block: Block, declared: Option<Ipv4Addr>) -> Ipv4Addr {
    let Some(declared) = declared else { return block.address(1) };
    let [_, b, c, last] = declared.octets();
    // an address outside 127.0.0.0/24 was chosen on purpose
    if (b, c) == (0, 0) { block.address(last) } else { declared }
}

/// The address that a port of a service is published on: the one that the file gives it, else the service's own.
pub fn published_on(block: Block, service: &Service, given: Option<IpAddr>) -> IpAddr {
    given.unwrap_or(loopback_address(block, service.extension.address).into())
}

/// `127.0.0.1:5001` and its like: where the services of a platform listen on the host.
pub fn published_addresses(platform: &Platform, block: Block) -> BTreeSet<String> {
    platform
        .services()
        .flat_map(|(_, service)| {
            service.ports.iter().filter_map(move |port| {
                let address = published_on(block, service, port.host_ip);
                port.published.map(|number| std::net::SocketAddr::new(address, number).to_string())
            })
        })
        .collect()
}

/// Subnets that a new network has to leave alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of the engine's networks, none of which is ever overlapped.
    pub networks: Vec<Ipv4Net>,
    /// Routes of this machine.
    pub routes: Vec<Ipv4Net>,
}

/// Routes up to this width may be overlapped, where nothing lies outside of all routes: a VPN that claims
/// all private ranges has hosts in few of their subnets, and the longer prefix of ours wins. None at first,
/// then halves of the whole address space and private ranges, then what a large site has.
const WIDE: [u8; 3] = [0, 12, 16];

impl Taken {
    /// The first of `choices` that overlaps nothing, or else only routes that are much wider than it.
    pub(super) fn first_free(&self, choices: impl Iterator<Item = Ipv4Net> + Clone) -> Option<Ipv4Net> {
        WIDE.iter().find_map(|wide| {
            choices.clone().find(|subnet| {
                let narrow = self.routes.iter().filter(|route| route.prefix_len() > *wide);
                !narrow.chain(&self.networks).any(|other| overlap(subnet, other))
            })
        })
    }
}

/// Whether a route leaves room for a small subnet inside of it; see [`Taken`].
pub fn is_wide(route: Ipv4Net) -> bool {
    WIDE.iter().any(|wide| route.prefix_len() <= *wide)
}

/// A /24 for a network of this name, outside of what is taken. The same name gets the same subnet
/// while it is free.
pub fn choose_subnet(name: &str, taken: &Taken) -> Option<Ipv4Net> {
    let digest = Sha256::digest(name.as_bytes());
    let start = u32::from(digest.get(2).copied().unwrap_or(0));
    // 10.222/16 first: seldom used by VPNs and by none of the engines' own pools
    let pools = [(10, 222), (10, 221), (172, 28), (192, 168)];
    let choices = pools.iter().flat_map(|&(a, b)| {
        let bases = (0..256u32).map(move |step| Ipv4Addr::new(a, b, ((start + step) % 256) as u8, 0));
        bases.filter_map(|base| Ipv4Net::new(base, 24).ok())
    });
    taken.first_free(choices)
}

pub(super) fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    // the default route leads everywhere and collides with nothing
    b.prefix_len() > 0 && (a.contains(&b.network()) || b.contains(&a.network()))
}

/// The first address of the subnet.
pub fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    nth(subnet, 1)
}

/// The second: the ingress, for ever.
pub fn ingress_address(subnet: Ipv4Net) -> Ipv4Addr {
    nth(subnet, 2)
}

/// Where the ingress finds the background process if it cannot be on the gateway: the relay's, or that of this process's
/// own container. As [`crate::compile::RESOLVER`] among the loopback addresses.
pub fn arrivals_address(subnet: Ipv4Net) -> Ipv4Addr {
    nth(subnet, 9)
}

/// The address of a service that has a fixed one in the platform's network.
pub fn inside_address(subnet: Ipv4Net, octet: u8) -> Ipv4Addr {
    nth(subnet, octet.into())
}

/// The upper half of the subnet. `None` for one too small to halve.
pub fn dynamic_range(subnet: Ipv4Net) -> Option<Ipv4Net> {
    subnet.subnets(subnet.prefix_len() + 1).ok()?.nth(1).filter(|half| half.prefix_len() <= 29)
}

fn nth(subnet: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_platform_keeps_127_0_0() {
        assert_eq!(choose_block(&PlatformName::default(), &[Block::DEFAULT]), Some(Block::DEFAULT));
    }

    #[test]
    fn a_named_platform_moves_on_when_its_block_is_taken() {
        let block = |b, c| Block(Ipv4Addr::new(127, b, c, 0));
        for (name, first, second) in [
            // the first two bytes of the name's digest, the first of them modulo 64
            ("pr-123", block(96, 4), block(96, 5)),
            ("pr-16", block(67, 255), block(68, 0)),
            // after the last one comes the first
            ("pr-30247", block(127, 255), block(64, 0)),
        ] {
            let name = PlatformName::new(name).unwrap();
            assert_eq!(choose_block(&name, &[]), Some(first), "{name}");
            assert_eq!(choose_block(&name, &[second]), Some(first), "{name}");
            assert_eq!(choose_block(&name, &[Block::DEFAULT, first]), Some(second), "{name}");
        }
    }

    #[test]
    fn a_block_is_one_of_loopback_addresses() {
        let of = |a, b, c, d| Block::new(Ipv4Addr::new(a, b, c, d)).map(Block::base);
        assert_eq!(of(127, 70, 9, 6), Some(Ipv4Addr::new(127, 70, 9, 0)));
        assert_eq!(of(10, 70, 9, 0), None);
    }

    #[test]
    fn last_octets_are_the_same_in_every_block() {
        let block = Block::new(Ipv4Addr::new(127, 70, 9, 0)).unwrap();
        assert_eq!(loopback_address(block, Some(Ipv4Addr::new(127, 0, 0, 6))), Ipv4Addr::new(127, 70, 9, 6));
        assert_eq!(loopback_address(block, None), Ipv4Addr::new(127, 70, 9, 1));
        assert_eq!(loopback_address(block, Some(Ipv4Addr::new(127, 5, 5, 5))), Ipv4Addr::new(127, 5, 5, 5));
    }

    #[test]
    fn the_subnet_avoids_routes_but_not_the_default_one() {
        let routes = |all: &[&str]| Taken {
            routes: all.iter().map(|route| route.parse().unwrap()).collect(),
            ..Taken::default()
        };
        // the third byte of the name's digest, then the ones after it
        for (taken, chosen) in [
            (vec!["0.0.0.0/0"], "10.222.221.0/24"),
            (vec!["10.222.221.0/25"], "10.222.222.0/24"),
            (vec!["10.222.221.128/25", "10.222.222.0/23", "10.222.224.0/19"], "10.222.0.0/24"),
            (vec!["10.222.0.0/17", "10.222.128.0/17"], "10.221.221.0/24"),
            (vec!["10.0.0.0/8"], "172.28.221.0/24"),
            (vec!["10.0.0.0/8", "172.28.0.0/14"], "192.168.221.0/24"),
        ] {
            let free = choose_subnet("macula", &routes(&taken)).unwrap();
            assert_eq!(free.to_string(), chosen, "{taken:?}");
        }
    }

    #[test]
    fn wide_routes_leave_room_where_they_cover_everything() {
        let routes = |all: &[&str]| all.iter().map(|route| route.parse().unwrap()).collect::<Vec<Ipv4Net>>();
        // a VPN with all private ranges, and a host of it in our favorite subnet
        let mut taken =
            Taken { routes: routes(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]), ..Taken::default() };
        let first = choose_subnet("macula", &taken).unwrap();
        // of the three, the /16 is the likeliest to be a site of its own
        assert_eq!(first.network().octets()[..2], [10, 222]);
        taken.routes.push(first);
        let second = choose_subnet("macula", &taken).unwrap();
        assert!(!overlap(&first, &second));
        // a network of the engine is never overlapped, however wide
        taken.networks = routes(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]);
        assert_eq!(choose_subnet("macula", &taken), None);
        // the two halves of OpenVPN's `redirect-gateway def1`
        let halves = Taken { routes: routes(&["0.0.0.0/1", "128.0.0.0/1"]), ..Taken::default() };
        assert_eq!(choose_subnet("macula", &halves).unwrap().network().octets()[..2], [10, 222]);
        assert!(is_wide("10.0.0.0/8".parse().unwrap()) && !is_wide("10.222.0.0/20".parse().unwrap()));
    }

    #[test]
    fn the_engine_gives_addresses_from_the_upper_half_only() {
        let subnet: Ipv4Net = "10.222.7.0/24".parse().unwrap();
        assert_eq!(dynamic_range(subnet).unwrap().to_string(), "10.222.7.128/25");
        assert_eq!(gateway(subnet).to_string(), "10.222.7.1");
        assert_eq!(ingress_address(subnet).to_string(), "10.222.7.2");
        assert_eq!(arrivals_address(subnet).to_string(), "10.222.7.9");
        assert_eq!(inside_address(subnet, 77).to_string(), "10.222.7.77");
        // halves of fewer than eight addresses are none
        for (subnet, upper) in [("10.0.0.16/28", Some("10.0.0.24/29")), ("10.0.0.16/29", None), ("10.0.0.1/32", None)] {
            let half = dynamic_range(subnet.parse().unwrap()).map(|half| half.to_string());
            assert_eq!(half.as_deref(), upper, "{subnet}");
        }
    }

    #[test]
    fn a_port_is_published_on_the_address_of_its_own_or_of_its_service() {
        use crate::model::{Origin, Stack, testing};
        let mut service = Service { name: "db".into(), ..Service::default() };
        service.extension.address = Some(Ipv4Addr::new(127, 0, 0, 6));
        let given = crate::model::PublishedPort {
            host_ip: Some("127.0.0.1".parse().unwrap()),
            ..testing::published(5433, 5432)
        };
        let chosen = crate::model::PublishedPort { published: None, ..testing::published(1, 80) };
        service.ports = vec![testing::published(5432, 5432), given, chosen];
        let stack = Stack {
            scoped: false,
            name: "app".into(),
            origin: Origin::BuiltIn,
            services: [("db".to_owned(), service)].into(),
            networks: Default::default(),
            volumes: Default::default(),
        };
        let platform = Platform::new(PlatformName::default(), vec![stack]);
        for (third, own) in [(0, "127.0.0.6:5432"), (9, "127.0.9.6:5432")] {
            let block = Block::new(Ipv4Addr::new(127, 0, third, 0)).unwrap();
            let expected = BTreeSet::from(["127.0.0.1:5433".to_owned(), own.to_owned()]);
            assert_eq!(published_addresses(&platform, block), expected);
        }
    }
}
