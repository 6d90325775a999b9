//! Ports: as a service publishes them, and as its container has them on this machine.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port in the container.
    pub target: u16,
    pub protocol: Protocol,
    /// `None`: the service's own address where it has one, else 127.0.0.1.
    pub host_ip: Option<IpAddr>,
    /// `None`: any free port.
    pub published: Option<u16>,
    /// The last one of a range, of which each replica gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_to: Option<u16>,
    /// For orchestrators: on the node that the container runs on, and on no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_mode: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortBinding {
    pub host_ip: IpAddr,
    /// `None`: any free port.
    pub host_port: Option<u16>,
    pub container_port: u16,
    pub protocol: Protocol,
}
