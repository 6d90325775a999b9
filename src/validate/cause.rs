//! How a hop of a name is, and why it breaks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::evidence::{Hop, Owner};
use crate::dns::install::Rung;

/// How a hop of a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ok,
    Broken,
    /// Could not be looked at, mostly since a hop before it is broken.
    Unknown,
    /// The name has no such hop.
    None,
}

/// What was found out about a hop.
pub(super) enum Found {
    Is(State),
    Broken(Cause),
}

/// Why a hop breaks. What it says and what to do about it is in [`super::text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    NoEngine { reason: String },
    // the resolver
    ResolverDead { squatter: Option<Owner> },
    ResolverPortTaken { wanted: SocketAddr, squatter: Owner, ours: SocketAddr },
    ZoneMissing { domain: String },
    ResolverSilent { address: SocketAddr, reason: String },
    ResolverOtherAddress { found: Vec<IpAddr>, expected: IpAddr },
    PowerDnsDown { address: SocketAddr, reason: String },
    UpstreamSilent { servers: Vec<SocketAddr>, reason: String },
    NoSuchName { reason: String },
    NotPassedOn { name: String },
    NoAddress { reason: String },
    // the system's look-up
    NotInstalled,
    Interrupted,
    FileGone { paths: Vec<PathBuf> },
    InstalledElsewhere { rung: Rung, installed: SocketAddr, ours: SocketAddr },
    FileChanged { paths: Vec<PathBuf> },
    NoDnsInNsswitch { line: String },
    Mdns { line: String },
    OtherResolver { server: SocketAddr, said: String },
    StaleHosts { name: String, address: IpAddr, expected: IpAddr },
    NotInHosts,
    LookUpFails { reason: String },
    LookUpOther { found: Vec<IpAddr>, expected: IpAddr },
    // connections
    DeadIpv6 { addresses: Vec<IpAddr> },
    PortTaken { squatters: Vec<Owner> },
    IngressDown { container: Option<String>, state: String },
    NotReached { address: SocketAddr, reason: String },
    // `exceptions`: with them the platform is reached without it
    Proxy { variable: String, proxy: String, said: String, exceptions: String },
    // certificates
    NoTls { reason: String },
    Expired { at: i64 },
    ClockBehind { begins: i64, now: i64 },
    ClockDiffers { theirs: i64, now: i64 },
    NotTrusted,
    OtherAuthority { issuer: String },
    NameNotCovered { names: Vec<String> },
    TooDeep { domain: String },
    Refused { reason: String },
    // behind the ingress
    RouteMissing,
    NoHttp { reason: String },
    ServiceMissing { service: String },
    ServiceLeftOut { service: String, reason: String },
    ServiceDown { service: String, container: String, state: String },
    ServiceUnhealthy { service: String, container: String },
    ServiceSilent { service: String, reason: String },
    StaleUpstream { service: String, address: SocketAddr, newer: bool },
    ServiceFails { service: String, status: u16 },
    OutOfRotation { services: Vec<String> },
    // inside
    InsideOther { found: Vec<IpAddr>, expected: IpAddr },
    InsideNotReached { reason: String },
}

impl Cause {
    /// For programs; stable.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoEngine { .. } => "no_engine",
            Self::ResolverDead { .. } => "resolver_dead",
            Self::ResolverPortTaken { .. } => "resolver_port_taken",
            Self::ZoneMissing { .. } => "zone_missing",
            Self::ResolverSilent { .. } => "resolver_silent",
            Self::ResolverOtherAddress { .. } => "resolver_other_address",
            Self::PowerDnsDown { .. } => "powerdns_down",
            Self::UpstreamSilent { .. } => "upstream_silent",
            Self::NoSuchName { .. } => "no_such_name",
            Self::NotPassedOn { .. } => "not_passed_on",
            Self::NoAddress { .. } => "no_address",
            Self::NotInstalled => "not_installed",
            Self::Interrupted => "interrupted",
            Self::FileGone { .. } => "file_gone",
            Self::InstalledElsewhere { .. } => "installed_elsewhere",
            Self::FileChanged { .. } => "file_changed",
            Self::NoDnsInNsswitch { .. } => "no_dns_in_nsswitch",
            Self::Mdns { .. } => "mdns",
            Self::OtherResolver { .. } => "other_resolver",
            Self::StaleHosts { .. } => "stale_hosts",
            Self::NotInHosts => "not_in_hosts",
            Self::LookUpFails { .. } => "look_up_fails",
            Self::LookUpOther { .. } => "look_up_other",
            Self::DeadIpv6 { .. } => "dead_ipv6",
            Self::PortTaken { .. } => "port_taken",
            Self::IngressDown { .. } => "ingress_down",
            Self::NotReached { .. } => "not_reached",
            Self::Proxy { .. } => "proxy",
            Self::NoTls { .. } => "no_tls",
            Self::Expired { .. } => "expired",
            Self::ClockBehind { .. } => "clock_behind",
            Self::ClockDiffers { .. } => "clock_differs",
            Self::NotTrusted => "not_trusted",
            Self::OtherAuthority { .. } => "other_authority",
            Self::NameNotCovered { .. } => "name_not_covered",
            Self::TooDeep { .. } => "too_deep",
            Self::Refused { .. } => "refused",
            Self::RouteMissing => "route_missing",
            Self::NoHttp { .. } => "no_http",
            Self::ServiceMissing { .. } => "service_missing",
            Self::ServiceLeftOut { .. } => "service_left_out",
            Self::ServiceDown { .. } => "service_down",
            Self::ServiceUnhealthy { .. } => "service_unhealthy",
            Self::ServiceSilent { .. } => "service_silent",
            Self::StaleUpstream { .. } => "stale_upstream",
            Self::ServiceFails { .. } => "service_fails",
            Self::OutOfRotation { .. } => "out_of_rotation",
            Self::InsideOther { .. } => "inside_other",
            Self::InsideNotReached { .. } => "inside_not_reached",
        }
    }

    /// Where on the way it is.
    pub fn hop(&self) -> Hop {
        match self {
            Self::ResolverDead { .. }
            | Self::ResolverPortTaken { .. }
            | Self::ZoneMissing { .. }
            | Self::ResolverSilent { .. }
            | Self::ResolverOtherAddress { .. }
            | Self::PowerDnsDown { .. }
            | Self::UpstreamSilent { .. }
            | Self::NoSuchName { .. }
            | Self::NotPassedOn { .. }
            | Self::NoAddress { .. } => Hop::Dns,
            Self::NotInstalled
            | Self::Interrupted
            | Self::FileGone { .. }
            | Self::InstalledElsewhere { .. }
            | Self::FileChanged { .. }
            | Self::NoDnsInNsswitch { .. }
            | Self::Mdns { .. }
            | Self::OtherResolver { .. }
            | Self::StaleHosts { .. }
            | Self::NotInHosts
            | Self::LookUpFails { .. }
            | Self::LookUpOther { .. } => Hop::LookUp,
            Self::NoEngine { .. }
            | Self::DeadIpv6 { .. }
            | Self::PortTaken { .. }
            | Self::IngressDown { .. }
            | Self::NotReached { .. }
            | Self::Proxy { .. } => Hop::Connect,
            Self::NoTls { .. }
            | Self::Expired { .. }
            | Self::ClockBehind { .. }
            | Self::ClockDiffers { .. }
            | Self::NotTrusted
            | Self::OtherAuthority { .. }
            | Self::NameNotCovered { .. }
            | Self::TooDeep { .. }
            | Self::Refused { .. } => Hop::Tls,
            Self::RouteMissing | Self::NoHttp { .. } => Hop::Http,
            Self::ServiceMissing { .. }
            | Self::ServiceLeftOut { .. }
            | Self::ServiceDown { .. }
            | Self::ServiceUnhealthy { .. }
            | Self::ServiceSilent { .. }
            | Self::StaleUpstream { .. }
            | Self::ServiceFails { .. }
            | Self::OutOfRotation { .. } => Hop::Service,
            Self::InsideOther { .. } | Self::InsideNotReached { .. } => Hop::Inside,
        }
    }
}
