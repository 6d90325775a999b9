//! Which servers the machine would ask without us.

use std::net::SocketAddr;

use super::super::wire::Name;
use super::address::Dropped;

/// The machine's own servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// For every name, in order of preference.
    pub default: Vec<SocketAddr>,
    /// Domains that others own: a VPN's, a company's.
    pub routes: Vec<Route>,
    /// What the system has and we cannot ask.
    pub dropped: Vec<Dropped>,
}

/// One domain and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub domain: Name,
    pub servers: Vec<SocketAddr>,
}

impl Upstreams {
    /// The servers for a name: of the longest domain that holds it.
    pub fn servers(&self, name: &Name) -> Vec<SocketAddr> {
        let routes = self.routes.iter().filter(|route| !route.servers.is_empty() && name.is_within(&route.domain));
        match routes.max_by_key(|route| route.domain.wire().len()) {
            Some(route) => route.servers.clone(),
            None => self.default.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_domain_that_has_servers_is_asked() {
        let address = |last: u8| SocketAddr::from(([192, 0, 2, last], 53));
        let route = |domain: &str, servers: &[u8]| Route {
            domain: Name::parse(domain).unwrap(),
            servers: servers.iter().copied().map(address).collect(),
        };
        let upstreams = Upstreams {
            default: vec![address(1)],
            routes: vec![route("git.corp.example", &[3, 4]), route("corp.example", &[2]), route("x.corp.example", &[])],
            dropped: Vec::new(),
        };
        for (name, servers) in [
            ("example", &[1][..]),
            ("xcorp.example", &[1]),
            ("corp.example", &[2]),
            ("a.corp.example", &[2]),
            ("a.x.corp.example", &[2]),
            ("a.git.corp.example", &[3, 4]),
        ] {
            let expected: Vec<SocketAddr> = servers.iter().copied().map(address).collect();
            assert_eq!(upstreams.servers(&Name::parse(name).unwrap()), expected, "{name}");
        }
    }
}
