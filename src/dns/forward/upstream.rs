//! Which servers the machine would ask without us.

use std::net::SocketAddr;

use super::super::wire::Name;

/// The machine's own servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// For every name, in order of preference.
    pub default: Vec<SocketAddr>,
    /// Domains that others own: a VPN's, a company's.
    pub routes: Vec<Route>,
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

    /// Domains that are left to others.
    pub fn domains(&self) -> Vec<Name> {
        self.routes.iter().map(|route| route.domain.clone()).filter(|domain| !domain.is_root()).collect()
    }
}
