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
