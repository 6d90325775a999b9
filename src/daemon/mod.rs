//! What the background process does beside the resolver: the routes of `macula run`, and, in [`reach`], what the
//! engine publishes elsewhere. A program on this machine is a name of its platform for as long as the command that
//! started it lives.
//!
//! ```text
//! browser ─> ingress ─> gateway:5380 ─> 127.0.0.1:PORT
//!                       this process     the program
//! ```
//!
//! The ingress passes every name that it does not know to the network's gateway, an address of this
//! machine; so nothing is reloaded when a route comes or goes. Others can send packets there, too: only connections of
//! the platform's own network are taken. A route is held by an open connection to
//! the socket `routes.sock`: the kernel closes it with its process, however that ends.

mod client;
mod own_socket;
mod passing;
pub mod reach;
mod routes;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use client::{Held, RouteError, hold};
pub use own_socket::OwnSocket;
pub use routes::{Entrance, Home, Routes, RoutesError};

/// A port of this machine that nobody listens on.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where the gateway takes the ingress's requests; templates/ingress/haproxy.cfg.j2 has it too.
pub const PORT: u16 = 5380;

/// A program's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The whole name, `shop.macula.local`.
    pub host: String,
    /// Of the program, on a loopback address of this machine.
    pub port: u16,
    /// Of the platform's network.
    pub gateway: Ipv4Addr,
    /// Where this machine finds the ingress.
    pub ingress: Ipv4Addr,
    /// Where containers find it.
    pub ingress_inside: Ipv4Addr,
    /// What the program writes, for the page that is shown until it listens.
    pub log: PathBuf,
    /// Where in it the program's own output begins.
    pub log_from: u64,
}

/// What the daemon says to a [`Route`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Reply {
    Routed,
    /// A platform or another program has the name.
    Taken,
    Failed {
        reason: String,
    },
}
