use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{PlatformName, PortBinding, Protocol};

/// How an address of the platform leads to its service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The engine publishes it on this machine.
    #[default]
    Published,
    /// This process runs in a container of the same engine: it is in the platform's network, and what listens
    /// here dials the containers themselves.
    Direct,
    /// A container in the platform's network dials for us, over a stream of the engine's own API.
    Relay,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::Direct => "direct",
            Self::Relay => "relay",
        })
    }
}

/// The container through which a platform is reached. No service's container is called so: their names end with a
/// number.
pub fn relay_name(platform: &PlatformName) -> String {
    format!("{}.relay", platform.network())
}

/// What the user says of the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachSetting {
    /// The cheapest that a proof shows to work.
    #[default]
    Auto,
    Only(Way),
}

impl ReachSetting {
    /// As written in macula.yaml and in MACULA_REACH.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "published" => Self::Only(Way::Published),
            "direct" => Self::Only(Way::Direct),
            "relay" => Self::Only(Way::Relay),
            _ => return None,
        })
    }
}

/// A port of the platform that the engine does not publish: who listens here passes on what arrives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    pub listen: SocketAddr,
    pub protocol: Protocol,
    pub service: String,
    /// Whose network the port is in.
    pub container: String,
    pub port: u16,
}

impl Forward {
    /// What is listened on for it, as if the engine published it.
    pub fn binding(&self) -> PortBinding {
        PortBinding {
            host_ip: self.listen.ip(),
            host_port: Some(self.listen.port()),
            container_port: self.port,
            protocol: self.protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_it_is_shown() {
        for way in [Way::Published, Way::Direct, Way::Relay] {
            assert_eq!(ReachSetting::parse(&way.to_string()), Some(ReachSetting::Only(way)));
        }
        assert_eq!(ReachSetting::parse("auto"), Some(ReachSetting::Auto));
        assert_eq!(ReachSetting::parse("Relay"), None);
    }
}
