//! What was seen, as data. Nothing here is a conclusion.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use super::targets::Target;
use crate::dns::install::Rung;
use crate::model::{ContainerState, Health};

/// A step on the way from a program to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The name, asked as libc asks.
    LookUp,
    /// The name, asked of our resolver.
    Dns,
    /// TCP to each published port.
    Connect,
    /// The certificate, and whether this machine trusts it.
    Tls,
    /// The ingress passes the request on.
    Http,
    /// The container behind it.
    Service,
    /// The same name from a container of the platform.
    Inside,
}

impl Hop {
    pub const ALL: [Self; 7] =
        [Self::LookUp, Self::Dns, Self::Connect, Self::Tls, Self::Http, Self::Service, Self::Inside];

    pub fn name(self) -> &'static str {
        match self {
            Self::LookUp => "look-up",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Service => "service",
            Self::Inside => "inside",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub platform: String,
    pub domain: String,
    /// Of this machine's clock, seconds since the epoch.
    pub now: i64,
    pub machine: Machine,
    pub names: Vec<NameSeen>,
}

/// What all names share.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub linux: bool,
    /// Why no engine answers.
    pub engine: Result<(), String>,
    /// None: its control socket does not answer.
    pub resolver: Option<ResolverSeen>,
    /// Who listens where the resolver should.
    pub resolver_port: Option<Owner>,
    /// What `dns install` left, as far as its receipt says.
    pub installed: Option<Installed>,
    pub files: Files,
    /// The first name server of /etc/resolv.conf that is none of ours, asked for a name of ours.
    pub front: Option<Front>,
    pub proxy: Option<ProxySeen>,
    /// A root of ours is known (else trust cannot be told from forgery).
    pub authority: bool,
    pub ingress: Option<ContainerSeen>,
    /// Listeners on addresses that the ingress should have, while it does not run.
    pub squatters: Vec<Owner>,
    /// The container that names were asked from, inside the network; or why there is none.
    pub inside: Result<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ResolverSeen {
    /// Where programs of this machine ask it.
    pub address: Option<SocketAddr>,
    pub zones: Vec<String>,
    /// PowerDNS, and why the last look at it failed.
    pub feed: Option<(SocketAddr, Option<String>)>,
    /// Servers for all other names.
    pub upstreams: Vec<SocketAddr>,
    /// Whether one of them answered just now.
    pub upstream: Result<(), String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub rung: Rung,
    pub address: SocketAddr,
    pub interrupted: bool,
    /// Files of ours that are gone.
    pub missing: Vec<PathBuf>,
    /// Files of ours that somebody has changed.
    pub changed: Vec<PathBuf>,
}

/// The files that libc goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The words of the `hosts:` line of /etc/nsswitch.conf; empty where there is none.
    pub nsswitch: Vec<String>,
    /// There is an /etc/mdns.allow.
    pub mdns_allow: bool,
    /// Name servers of /etc/resolv.conf.
    pub servers: Vec<IpAddr>,
    /// Names below the domain in /etc/hosts.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Front {
    pub server: SocketAddr,
    pub asked: String,
    /// It gave the address that only our resolver gives.
    pub knows: bool,
    /// What it said, in words.
    pub said: String,
}

/// A proxy that programs would use for our names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySeen {
    pub variable: String,
    pub proxy: String,
    /// What is reached without it, as the environment says.
    pub exceptions: String,
    /// Whether it lets a program through to a name of ours; what it said.
    pub passes: Result<(), String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub address: SocketAddr,
    pub process: Option<String>,
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSeen {
    pub name: String,
    pub state: ContainerState,
    pub health: Health,
    pub exit_code: Option<i64>,
    /// What the engine said when it could not be started.
    pub error: String,
    /// On the platform's network.
    pub address: Option<Ipv4Addr>,
    /// Seconds since the epoch.
    pub started_at: Option<i64>,
    /// Its own port, asked directly. None: containers cannot be reached from here.
    pub direct: Option<Result<SocketAddr, String>>,
}

impl ContainerSeen {
    pub fn runs(&self) -> bool {
        self.state == ContainerState::Running
    }
}

/// One name's way.
#[derive(Debug, Clone, PartialEq)]
pub struct NameSeen {
    pub target: Target,
    /// By getaddrinfo.
    pub lookup: LookUp,
    /// By our resolver. None: it was not asked, since it does not run.
    pub dns: Option<Result<Vec<IpAddr>, String>>,
    /// By address and port.
    pub connect: Vec<(SocketAddr, Result<(), String>)>,
    /// IPv6 addresses of the look-up where nothing answers.
    pub dead_v6: Vec<IpAddr>,
    /// None: the name has no TLS, or no connection was made.
    pub tls: Option<Result<TlsSeen, String>>,
    pub http: Option<Result<HttpSeen, String>>,
    /// Services that share the name, run, and get less than their share.
    pub out: Vec<String>,
    /// Containers of its service.
    pub containers: Vec<ContainerSeen>,
    pub inside: Option<InsideSeen>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LookUp {
    pub found: Result<Vec<IpAddr>, String>,
    pub millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSeen {
    /// `TLS 1.3`
    pub version: String,
    pub certificate: Served,
    /// Checked against our own root alone; none where no root of ours is known.
    pub ours: Option<Result<(), TlsFault>>,
    /// Checked against the system's store.
    pub system: Result<(), TlsFault>,
}

/// The certificate that was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    pub names: Vec<String>,
    /// Seconds since the epoch.
    pub not_before: i64,
    pub not_after: i64,
    /// CN of who signed it.
    pub issuer: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    Expired,
    NotYet,
    OtherName,
    UnknownIssuer,
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSeen {
    pub url: String,
    pub status: u16,
    /// What our ingress says of itself in the header `X-Macula`.
    pub mark: Option<Mark>,
    /// The clock of whoever answered, seconds since the epoch.
    pub date: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// No route has this name.
    NoRoute,
    /// The route's service could not be reached.
    Unavailable,
}

/// A name as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsideSeen {
    pub addresses: Vec<IpAddr>,
    /// HTTP status, or nothing where only the connection was tried; what failed.
    pub answer: Result<Option<u16>, String>,
}
