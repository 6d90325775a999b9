//! Where the background process takes telemetry for a platform: at the addresses of those who are left out.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compile::{Block, loopback_address, published_addresses};
use crate::model::{Platform, TelemetryMode};
use crate::telemetry::Limits;
use crate::telemetry::remote::Places;

/// OTLP over gRPC and over HTTP.
const GRPC: u16 = 4317;
const HTTP: u16 = 4318;
/// Who takes OTLP, and where, in the default block; stacks/observability.yaml has these too. The first that is ours is
/// what programs are told.
const OTLP: [(&str, Ipv4Addr); 2] = [("alloy", Ipv4Addr::new(127, 0, 0, 12)), ("tempo", Ipv4Addr::new(127, 0, 0, 4))];
const LOKI: (&str, Ipv4Addr, u16) = ("loki", Ipv4Addr::new(127, 0, 0, 3), 3100);

/// Who is asked for telemetry where it is part of the platform, and where; the same files.
const TEMPO: (&str, Ipv4Addr, u16) = ("tempo", Ipv4Addr::new(127, 0, 0, 4), 3200);
const PROMETHEUS: (&str, Ipv4Addr, u16) = ("prometheus", Ipv4Addr::new(127, 0, 0, 1), 9090);

/// Where this machine reaches those who have the platform's telemetry.
pub fn asked_places(platform: &Platform, block: Block) -> Places {
    let published = published_addresses(platform, block);
    let place = |(service, address, port): (&str, Ipv4Addr, u16)| {
        let address = SocketAddr::from((loopback_address(block, Some(address)), port));
        let there = platform.service(service).is_some() && published.contains(&address.to_string());
        there.then_some(address)
    };
    Places { tempo: place(TEMPO), loki: place(LOKI), prometheus: place(PROMETHEUS) }
}

/// What a platform has of the background process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiving {
    /// OTLP over HTTP, as programs are told; `None`: somebody else is there for all of it.
    pub otlp: Option<SocketAddr>,
    pub loki: Option<SocketAddr>,
    /// Everything that is listened on.
    pub addresses: BTreeSet<SocketAddr>,
    /// Bytes that are kept, and how long.
    pub size: u64,
    pub age: Duration,
}

impl Receiving {
    /// For a platform without the services that are left out; `None`: there is nothing to take.
    pub fn of(platform: &Platform, block: Block) -> Option<Self> {
        if platform.telemetry.mode == TelemetryMode::None {
            return None;
        }
        let published = published_addresses(platform, block);
        let place = |service: &str, address: Ipv4Addr, port: u16| {
            let address = SocketAddr::from((loopback_address(block, Some(address)), port));
            let free = platform.service(service).is_none() && !published.contains(&address.to_string());
            free.then_some(address)
        };
        let otlp = |port| OTLP.into_iter().map(move |(service, address)| (service, address, port));
        let addresses: BTreeSet<SocketAddr> = otlp(HTTP)
            .chain(otlp(GRPC))
            .chain([LOKI])
            .filter_map(|(service, address, port)| place(service, address, port))
            .collect();
        (!addresses.is_empty()).then(|| Self {
            otlp: otlp(HTTP).find_map(|(service, address, port)| place(service, address, port)),
            loki: place(LOKI.0, LOKI.1, LOKI.2),
            addresses,
            size: platform.telemetry.size,
            age: platform.telemetry.age,
        })
    }

    pub fn limits(&self) -> Limits {
        Limits { size: self.size, age: self.age }
    }

    /// The names below the domain that lead there: on this machine at once, in containers through the ingress.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let otlp = self.otlp.map(|address| ("otlp", address));
        otlp.into_iter().chain(self.loki.map(|address| ("loki", address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};

    fn receiving(text: &str) -> Option<Receiving> {
        let files = MemoryFiles::default().with("/p/macula.yaml", text);
        let loaded = load(&Request { cwd: "/p".into(), ..Request::default() }, &files);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        Receiving::of(&loaded.platform, Block::DEFAULT)
    }

    fn addresses(found: &Receiving) -> Vec<String> {
        found.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_part_of_the_platform_is_left_alone() {
        assert_eq!(receiving("{}"), None);
        assert_eq!(receiving("profiles: [core]\ntelemetry: none"), None);
        let all = ["127.0.0.3:3100", "127.0.0.4:4317", "127.0.0.4:4318", "127.0.0.12:4317", "127.0.0.12:4318"];
        for text in ["profiles: [core]", "telemetry: embedded"] {
            let found = receiving(text).unwrap();
            assert_eq!(addresses(&found), all, "{text}");
            assert_eq!(found.otlp.unwrap().to_string(), "127.0.0.12:4318");
            assert_eq!(found.names().map(|(name, _)| name).collect::<Vec<_>>(), ["otlp", "loki"]);
        }
        let found = receiving("services: {loki: {enabled: false}}").unwrap();
        assert_eq!((addresses(&found), found.otlp), (vec!["127.0.0.3:3100".to_owned()], None));
        let found = receiving("services: {tempo: {enabled: false}}\ntelemetry: {size: 64m, age: 1h}").unwrap();
        assert_eq!(found.otlp.unwrap().to_string(), "127.0.0.4:4318");
        assert_eq!(found.limits(), Limits { size: 64 << 20, age: Duration::from_secs(3600) });
    }

    #[test]
    fn who_is_part_of_the_platform_is_asked() {
        let asked = |text: &str| {
            let files = MemoryFiles::default().with("/p/macula.yaml", text);
            let loaded = load(&Request { cwd: "/p".into(), ..Request::default() }, &files).unwrap();
            asked_places(&loaded.platform, Block::DEFAULT)
        };
        let at = |text: &str| Some(text.parse().unwrap());
        let all = Places { tempo: at("127.0.0.4:3200"), loki: at("127.0.0.3:3100"), prometheus: at("127.0.0.1:9090") };
        assert_eq!(asked("{}"), all);
        assert_eq!(asked("telemetry: embedded"), Places { tempo: None, loki: None, ..all });
        assert_eq!(asked("services: {loki: {enabled: false}}"), Places { loki: None, ..all });
        assert_eq!(asked("profiles: [core]"), Places::default());
    }

    #[test]
    fn other_platforms_have_blocks_of_their_own() {
        let files = MemoryFiles::default().with("/p/macula.yaml", "profiles: [core]\nname: pr-7");
        let loaded = load(&Request { cwd: "/p".into(), ..Request::default() }, &files).unwrap();
        let block = Block::new(Ipv4Addr::new(127, 80, 5, 0)).unwrap();
        assert!(addresses(&Receiving::of(&loaded.platform, block).unwrap()).contains(&"127.80.5.12:4318".to_owned()));
    }
}
