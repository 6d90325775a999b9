//! What the resolver and those that start and ask it have in common: its addresses, the platforms' parts, its state,
//! and what can go wrong.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::feed::FeedStatus;
use super::forward::UpstreamStatus;
use super::tree::ZoneError;
use super::wire::NameError;
use crate::model::{View, Zone};

/// An address to answer on, and what is seen from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Never the unspecified address: answers must come from where they were asked. Port 0: any.
    pub address: SocketAddr,
    pub view: View,
}

/// A platform's part of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneEntry {
    pub zone: Zone,
    /// The PowerDNS server that holds more records of the zone.
    #[serde(default)]
    pub feed: Option<SocketAddr>,
    /// Further addresses that go with the platform: its network's gateway.
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// Further clients that are answered: its network.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Answered as those are, and no networks of the platform's: answers from outside may lead there.
    #[serde(default)]
    pub clients: Vec<IpNet>,
    /// Where `/metrics` is shown to the platform's Prometheus; left out where it cannot be bound.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
}

impl ZoneEntry {
    /// A zone alone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, feed: None, listen: Vec::new(), networks: Vec::new(), clients: Vec::new(), metrics: None }
    }
}

/// How questions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encrypted {
    /// DNS over TLS.
    Dot,
    /// DNS over HTTPS.
    Doh,
}

impl Encrypted {
    /// The application protocols that clients name in the handshake.
    pub(super) fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Dot => vec![b"dot".to_vec()],
            Self::Doh => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// An address where questions come encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptedListen {
    pub protocol: Encrypted,
    pub address: SocketAddr,
}

/// The resolver's state, for `dns status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub listen: Vec<Listen>,
    pub metrics: Option<SocketAddr>,
    /// Where questions come encrypted.
    #[serde(default)]
    pub encrypted: Vec<EncryptedListen>,
    /// The same, for the platforms' Prometheus.
    #[serde(default)]
    pub inner_metrics: Vec<SocketAddr>,
    pub zones: Vec<ZoneStatus>,
    pub upstreams: Vec<UpstreamStatus>,
    /// Name servers of the machine that cannot be asked, and why.
    #[serde(default)]
    pub dropped_upstreams: Vec<String>,
    pub questions: u64,
    /// Answers from outside that were not passed on (DNS rebinding).
    #[serde(default)]
    pub kept_back: u64,
    pub uptime_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneStatus {
    pub apex: String,
    pub serial: u32,
    /// Our own records.
    pub records: usize,
    pub feed: Option<SocketAddr>,
    /// None without a feed.
    pub feed_status: Option<FeedStatus>,
}

#[derive(Debug, Error)]
pub enum ServerError {
    #[error("{address} is taken by another process")]
    AddressInUse { address: SocketAddr },
    #[error("{address} needs a privilege that this process lacks")]
    NotPermitted { address: SocketAddr },
    #[error("listening on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{address} stands for every address, and answers would come from the wrong one: name each address")]
    Unspecified { address: SocketAddr },
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("starting the resolver's threads")]
    Threads(#[source] io::Error),
    #[error("another resolver answers on the control socket {path}")]
    AlreadyRunning { path: PathBuf },
    #[error("making the control socket {path}")]
    Control { path: PathBuf, source: io::Error },
}

pub fn listen_error(address: SocketAddr, source: io::Error) -> ServerError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => ServerError::NotPermitted { address },
        _ => ServerError::Listen { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_says_why() {
        let address: SocketAddr = "127.0.0.1:53".parse().unwrap();
        for (kind, said) in [
            (io::ErrorKind::AddrInUse, "127.0.0.1:53 is taken by another process"),
            (io::ErrorKind::PermissionDenied, "127.0.0.1:53 needs a privilege that this process lacks"),
            (io::ErrorKind::AddrNotAvailable, "listening on 127.0.0.1:53"),
        ] {
            assert_eq!(listen_error(address, kind.into()).to_string(), said);
        }
    }

    /// As they are registered with IANA.
    #[test]
    fn each_protocol_has_its_names_in_the_handshake() {
        assert_eq!(Encrypted::Dot.alpn(), [b"dot"]);
        assert_eq!(Encrypted::Doh.alpn(), [b"h2".as_slice(), b"http/1.1"]);
    }
}
