use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Seconds that an answer may be kept, where nothing else is said: names move with `up`.
pub const DEFAULT_TTL: u32 = 30;

/// The names of one platform: what the resolver is authoritative for.
///
/// Delegations are left out: an NS record below the apex is no zone cut. A second zone whose apex
/// lies below this one's is one, and owns everything under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// `macula.local`; no dot at the end, any case.
    pub apex: String,
    pub soa: Soa,
    /// Of this zone only; a record outside is an error when the zone is loaded.
    pub records: Vec<Record>,
}

impl Zone {
    /// A zone with nothing but its SOA and its name server, `ns.<apex>`.
    pub fn new(apex: impl Into<String>, serial: u32) -> Self {
        let apex = apex.into();
        let server = format!("ns.{apex}");
        let soa = Soa {
            primary: server.clone(),
            mailbox: format!("hostmaster.{apex}"),
            serial,
            refresh: 60,
            retry: 10,
            expire: 3600,
            negative_ttl: DEFAULT_TTL,
        };
        let records = vec![Record::new(apex.clone(), RecordData::Ns(server))];
        Self { apex, soa, records }
    }
}

/// RFC 1035 3.3.13; times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soa {
    pub primary: String,
    /// As a name: `hostmaster.macula.local`.
    pub mailbox: String,
    pub serial: u32,
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    /// How long "no such name" may be kept (RFC 2308); also the TTL of the SOA itself.
    pub negative_ttl: u32,
}

/// From where a question comes: the same name has another address inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Programs of the machine.
    Host,
    /// Containers on the platform's network.
    Container,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The full name, `grafana.macula.local`; the first label may be `*`.
    pub name: String,
    /// Seconds. Records of one name and type get the least of theirs.
    pub ttl: u32,
    /// Only to be seen from there; both when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    pub data: RecordData,
}

impl Record {
    /// For both views, with the usual TTL.
    pub fn new(name: impl Into<String>, data: RecordData) -> Self {
        Self { name: name.into(), ttl: DEFAULT_TTL, view: None, data }
    }

    /// The same, seen from one side only.
    pub fn only(mut self, view: View) -> Self {
        self.view = Some(view);
        self
    }
}

/// What a record says. Names are full names without a dot at the end (`.` is the root).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "UPPERCASE")]
pub enum RecordData {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ns(String),
    Ptr(String),
    /// Each string at most 255 bytes.
    Txt(Vec<String>),
    Mx {
        preference: u16,
        exchange: String,
    },
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Caa {
        critical: bool,
        tag: String,
        value: String,
    },
    /// RFC 9460. `params` are the keys' numbers with their values as on the wire.
    Https {
        priority: u16,
        target: String,
        params: Vec<(u16, Vec<u8>)>,
    },
    Svcb {
        priority: u16,
        target: String,
        params: Vec<(u16, Vec<u8>)>,
    },
    /// Any other type (RFC 3597), as on the wire and without compressed names.
    Other {
        number: u16,
        data: Vec<u8>,
    },
}
