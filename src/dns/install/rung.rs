//! What is done to point a system at the resolver, one rung of the ladder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// systemd-resolved 258 and later: a delegate of its own.
    ResolvedDelegate,
    /// systemd-resolved 246 to 257: a link of our own with the domain, and off the default route.
    ResolvedLink,
    NetworkManager,
    ResolvConf,
    Hosts,
    Macos,
    /// Not a way to the resolver: a unit that starts it.
    SystemService,
    UserService,
    LaunchAgent,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResolvedDelegate => "systemd-resolved (a DNS delegate)",
            Self::ResolvedLink => "systemd-resolved (a link of its own)",
            Self::NetworkManager => "NetworkManager's dnsmasq",
            Self::ResolvConf => "/etc/resolv.conf",
            Self::Hosts => "/etc/hosts",
            Self::Macos => "/etc/resolver",
            Self::SystemService => "a service of the system",
            Self::UserService => "a service of the user",
            Self::LaunchAgent => "a launch agent",
        })
    }
}
