//! The way that a question takes, told step by step: for `dns query`.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};

use super::core::{Arrival, Core, Step, epoch};
use super::forward::Ask;
use super::full::Transport;
use super::rdata::Rdata;
use super::tree::{Answer, End, Found, Layer};
use super::wire::{CLASS_IN, Name};
use crate::model::View;

/// A question, the steps of its answer, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub name: String,
    pub rtype: String,
    pub view: View,
    pub path: Vec<Hop>,
    /// `NOERROR`, `NXDOMAIN`, ...
    pub rcode: String,
    /// Records of the answer section as text.
    pub answers: Vec<String>,
    /// Records of the authority section as text.
    pub authority: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Hop {
    /// A zone of ours holds the name.
    Zone { zone: String },
    /// No zone of ours does.
    NotOurs,
    /// A name of the zone, put there by this layer, has such records.
    Found { name: String, layer: Layer },
    /// The name does not exist, and this wildcard stands for it.
    Wildcard { wildcard: String, layer: Layer },
    /// A CNAME leads on.
    Alias { name: String, target: String, layer: Layer },
    /// The name exists without such records.
    NoData { zone: String },
    /// The name does not exist.
    NoName { zone: String },
    /// `ANY` is not answered in full.
    Minimal,
    /// A chain of CNAMEs that is too long.
    TooLong,
    /// PowerDNS, which may know more of the zone, has not been asked yet.
    Awaited { zone: String },
    /// The cache has it: `fresh` or `stale`.
    Cache { state: String },
    /// To be asked of one of these.
    Upstream { servers: Vec<SocketAddr> },
    /// It had no answer of use.
    Failed { server: SocketAddr, reason: String },
    /// What they say leads to this machine, and is not passed on.
    Rebound { name: String },
    /// Nobody to ask.
    Refused,
}

/// A record type's number from `AAAA` or `TYPE28`.
pub fn record_type(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    if let Some(number) = upper.strip_prefix("TYPE").and_then(|digits| digits.parse().ok()) {
        return Some(number);
    }
    RecordType::from_str(&upper).ok().map(u16::from)
}

/// `AAAA`, or `TYPE65280` for one without a name.
pub fn type_name(number: u16) -> String {
    match RecordType::from(number) {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// `NXDOMAIN`, or `RCODE23`.
pub fn code_name(code: u8) -> String {
    match ResponseCode::from(0, code) {
        ResponseCode::Unknown(number) => format!("RCODE{number}"),
        known => format!("{known:?}").to_ascii_uppercase(),
    }
}

impl Core {
    /// Follows a question as a program on this machine (or in a container) would ask it.
    pub async fn trace(&self, name: &Name, qtype: u16, view: View) -> Trace {
        let snapshot = self.snapshot.load();
        let view_snapshot = snapshot.view(view);
        let mut path = Vec::new();
        let outside = match view_snapshot.tree.resolve(name, qtype) {
            Found::NotOurs => {
                path.push(Hop::NotOurs);
                Some(name.clone())
            }
            Found::Answer(answer) => {
                tell(&answer, &mut path);
                match answer.end {
                    End::Leaves(target) => Some(target),
                    _ => None,
                }
            }
        };
        let outside = outside.map(|name| Ask { name, qtype, dnssec_ok: false, checking_disabled: false });
        if let Some(ask) = &outside {
            path.push(match &self.forwarder {
                None => Hop::Refused,
                Some(forwarder) => match forwarder.knows(ask) {
                    Some(state) => Hop::Cache { state: state.to_owned() },
                    None => Hop::Upstream { servers: forwarder.upstreams().servers(&ask.name) },
                },
            });
        }
        let message = self.ask(name, qtype, view).await.and_then(|bytes| Message::from_vec(&bytes).ok());
        if let (Some(ask), Some(forwarder)) = (&outside, &self.forwarder) {
            if forwarder.was_rebound(ask) {
                path.push(Hop::Rebound { name: ask.name.to_string() });
            }
            let failed = |message: &Message| message.metadata.response_code == ResponseCode::ServFail;
            if message.as_ref().is_none_or(failed) {
                let reason = |server: SocketAddr| Some(Hop::Failed { server, reason: forwarder.reason(server)? });
                path.extend(forwarder.upstreams().servers(&ask.name).into_iter().filter_map(reason));
            }
        }
        let text = |records: &[hickory_proto::rr::Record]| records.iter().map(ToString::to_string).collect();
        Trace {
            name: name.to_string(),
            rtype: RecordType::from(qtype).to_string(),
            view,
            path,
            rcode: message.as_ref().map_or_else(
                || "SERVFAIL".to_owned(),
                |message| format!("{:?}", message.metadata.response_code).to_ascii_uppercase(),
            ),
            answers: message.as_ref().map(|message| text(&message.answers)).unwrap_or_default(),
            authority: message.as_ref().map(|message| text(&message.authorities)).unwrap_or_default(),
        }
    }

    /// The answer as a client gets it.
    async fn ask(&self, name: &Name, qtype: u16, view: View) -> Option<Vec<u8>> {
        let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend_from_slice(name.wire());
        question.extend_from_slice(&qtype.to_be_bytes());
        question.extend_from_slice(&CLASS_IN.to_be_bytes());
        let arrival = Arrival { client: (Ipv4Addr::LOCALHOST, 0).into(), view, transport: Transport::Tcp };
        let mut buffer = question.clone();
        let step = {
            let snapshot = self.snapshot.load();
            let context = self.context(&arrival, epoch());
            self.step(snapshot.view(view), &context, self.now(), &mut buffer, question.len())
        };
        match step {
            Step::Message(message) => Some(message),
            Step::Forward(forward) => self.forward(arrival, &question, forward).await,
            Step::InPlace(length, _) => buffer.get(..length).map(<[u8]>::to_vec),
            Step::Drop => None,
        }
    }
}

fn tell(answer: &Answer<'_>, path: &mut Vec<Hop>) {
    path.push(Hop::Zone { zone: answer.zone.apex.to_string() });
    if let Some(wildcard) = &answer.wildcard {
        let layer = answer.chain.first().map_or(Layer::Wildcard, |(_, set)| set.layer);
        path.push(Hop::Wildcard { wildcard: wildcard.to_string(), layer });
    }
    for (owner, set) in &answer.chain {
        path.push(match set.data.first() {
            Some(Rdata::Name(target)) if set.rtype == super::wire::TYPE_CNAME => {
                Hop::Alias { name: owner.to_string(), target: target.to_string(), layer: set.layer }
            }
            _ => Hop::Found { name: owner.to_string(), layer: set.layer },
        });
    }
    match &answer.end {
        End::Data | End::Leaves(_) => {}
        End::NoData(zone) => path.push(Hop::NoData { zone: zone.apex.to_string() }),
        End::NxDomain(zone) => path.push(Hop::NoName { zone: zone.apex.to_string() }),
        End::Minimal => path.push(Hop::Minimal),
        End::TooLong => path.push(Hop::TooLong),
        End::Awaited(zone) => path.push(Hop::Awaited { zone: zone.apex.to_string() }),
    }
}

impl Trace {
    /// The name whose answer is not passed on, since it leads to this machine.
    pub fn rebound(&self) -> Option<&str> {
        self.path.iter().find_map(|hop| match hop {
            Hop::Rebound { name } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the platform's wildcard answers it: the name is nobody's.
    pub fn is_from_wildcard(&self) -> bool {
        self.path.iter().any(|hop| matches!(hop, Hop::Wildcard { layer: Layer::Wildcard, .. }))
    }

    /// Whether a record of PowerDNS's answers it.
    pub fn is_from_feed(&self) -> bool {
        let of_feed = |hop: &Hop| match hop {
            Hop::Found { layer, .. } | Hop::Wildcard { layer, .. } | Hop::Alias { layer, .. } => *layer == Layer::Fed,
            _ => false,
        };
        self.path.iter().any(of_feed)
    }
}

/// A step in words.
impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = |layer: &Layer| match layer {
            Layer::Own => "the platform's own",
            Layer::Fed => "written into PowerDNS",
            Layer::Wildcard => "the platform's wildcard",
            Layer::Special => "reserved by an RFC",
        };
        match self {
            Self::Zone { zone } => write!(f, "lies in the zone {zone}"),
            Self::NotOurs => f.write_str("lies in no zone of ours"),
            Self::Found { name, layer } => write!(f, "{name} has such records ({})", by(layer)),
            Self::Wildcard { wildcard, layer } => {
                write!(f, "there is no such name, so {wildcard} stands for it ({})", by(layer))
            }
            Self::Alias { name, target, layer } => write!(f, "{name} leads on to {target} ({})", by(layer)),
            Self::NoData { zone } => write!(f, "the name exists in {zone}, without records of this type"),
            Self::NoName { zone } => write!(f, "there is no such name in {zone}"),
            Self::Minimal => f.write_str("ANY is answered with as little as possible (RFC 8482)"),
            Self::TooLong => f.write_str("the aliases do not come to an end"),
            Self::Awaited { zone } => write!(f, "the records of {zone} in PowerDNS have not been read yet"),
            Self::Cache { state } => write!(f, "the cache has it ({state})"),
            Self::Upstream { servers } => {
                let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                write!(f, "asked of {}", servers.join(", "))
            }
            Self::Failed { server, reason } => write!(f, "{server}: {reason}"),
            Self::Rebound { name } => write!(
                f,
                "the answer leads to this machine or into a platform's network and is not passed on (DNS rebinding), \
                 unless macula.yaml says `dns: {{rebind_allow: [{name}]}}`"
            ),
            Self::Refused => f.write_str("nobody is known who could be asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_have_names() {
        let types = [("aaaa", Some(28)), ("TYPE28", Some(28)), ("type65280", Some(65280)), ("TYPEX", None), ("", None)];
        for (text, number) in types {
            assert_eq!(record_type(text), number, "{text}");
        }
        assert_eq!([28, 65, 65280].map(type_name), ["AAAA", "HTTPS", "TYPE65280"]);
        assert_eq!([0, 2, 3, 5].map(code_name), ["NOERROR", "SERVFAIL", "NXDOMAIN", "REFUSED"]);
    }

    #[test]
    fn each_step_is_told_in_words() {
        let (name, zone) = ("a.m.local".to_owned(), "m.local".to_owned());
        let server = "192.0.2.1:53".parse().unwrap();
        let found = |layer| Hop::Found { name: name.clone(), layer };
        let wildcard = |layer| Hop::Wildcard { wildcard: "*.m.local".to_owned(), layer };
        let alias = |layer| Hop::Alias { name: name.clone(), target: "b.m.local".to_owned(), layer };
        for (hop, told, of_feed) in [
            (Hop::Zone { zone: zone.clone() }, "lies in the zone m.local", false),
            (Hop::NotOurs, "lies in no zone of ours", false),
            (found(Layer::Own), "a.m.local has such records (the platform's own)", false),
            (found(Layer::Fed), "a.m.local has such records (written into PowerDNS)", true),
            (found(Layer::Special), "a.m.local has such records (reserved by an RFC)", false),
            (
                wildcard(Layer::Wildcard),
                "there is no such name, so *.m.local stands for it (the platform's wildcard)",
                false,
            ),
            (wildcard(Layer::Fed), "there is no such name, so *.m.local stands for it (written into PowerDNS)", true),
            (alias(Layer::Own), "a.m.local leads on to b.m.local (the platform's own)", false),
            (alias(Layer::Fed), "a.m.local leads on to b.m.local (written into PowerDNS)", true),
            (Hop::NoData { zone: zone.clone() }, "the name exists in m.local, without records of this type", false),
            (Hop::NoName { zone: zone.clone() }, "there is no such name in m.local", false),
            (Hop::Awaited { zone }, "the records of m.local in PowerDNS have not been read yet", false),
            (Hop::Minimal, "ANY is answered with as little as possible (RFC 8482)", false),
            (Hop::TooLong, "the aliases do not come to an end", false),
            (Hop::Cache { state: "stale".to_owned() }, "the cache has it (stale)", false),
            (Hop::Upstream { servers: vec![server, server] }, "asked of 192.0.2.1:53, 192.0.2.1:53", false),
            (Hop::Failed { server, reason: "no answer in time".into() }, "192.0.2.1:53: no answer in time", false),
            (Hop::Refused, "nobody is known who could be asked", false),
        ] {
            assert_eq!(hop.to_string(), told);
            let (rtype, rcode) = ("A".to_owned(), "NOERROR".to_owned());
            let (name, path) = (name.clone(), vec![Hop::NotOurs, hop]);
            let (answers, authority) = (Vec::new(), Vec::new());
            let nobodys = told.ends_with("stands for it (the platform's wildcard)");
            let trace = Trace { name, rtype, view: View::Host, path, rcode, answers, authority };
            assert_eq!(trace.is_from_wildcard(), nobodys, "{told}");
            assert_eq!((trace.is_from_feed(), trace.rebound()), (of_feed, None), "{told}");
        }
    }

    /// What `dns query` tells of an answer of the zones.
    #[test]
    fn the_steps_of_an_answer_are_in_their_order() {
        use crate::dns::tree::Tree;
        use crate::model::{Record, RecordData, Zone};

        let mut zone = Zone::new("m.local", 1);
        let address = |last| RecordData::A([127, 0, 0, last].into());
        let alias = |target: &str| RecordData::Cname(target.to_owned());
        for (owner, data) in [
            ("a.m.local", address(1)),
            ("*.m.local", address(2)),
            ("b.m.local", alias("a.m.local")),
            ("c.m.local", alias("c.m.local")),
            ("d.m.local", alias("example.com")),
            ("e.m.local", alias("x.a.m.local")),
        ] {
            zone.records.push(Record::new(owner, data));
        }
        let tree = Tree::build(&[&zone], &std::collections::BTreeMap::new(), View::Host).unwrap();
        let told = |owner: &str, qtype: u16| {
            let Found::Answer(answer) = tree.resolve(&Name::parse(owner).unwrap(), qtype) else { panic!("{owner}") };
            let mut path = Vec::new();
            tell(&answer, &mut path);
            let path: Vec<String> = path.iter().skip(1).map(ToString::to_string).collect();
            path.join("; ")
        };
        let alias = |owner: &str, target: &str| format!("{owner}.m.local leads on to {target} (the platform's own)");
        let wildcard = "there is no such name, so *.m.local stands for it (the platform's wildcard)";
        let nothing = "the name exists in m.local, without records of this type";
        assert_eq!(told("a.m.local", 1), "a.m.local has such records (the platform's own)");
        assert_eq!(told("a.m.local", 28), nothing);
        assert_eq!(told("a.m.local", 255), "ANY is answered with as little as possible (RFC 8482)");
        assert_eq!(told("z.m.local", 1), format!("{wildcard}; z.m.local has such records (the platform's wildcard)"));
        assert_eq!(told("z.m.local", 28), format!("{wildcard}; {nothing}"));
        assert_eq!(told("z.a.m.local", 1), "there is no such name in m.local");
        let last = "a.m.local has such records (the platform's own)";
        assert_eq!(told("b.m.local", 1), format!("{}; {last}", alias("b", "a.m.local")));
        assert_eq!(told("b.m.local", 5), alias("b", "a.m.local"));
        let circle = alias("c", "c.m.local");
        assert_eq!(told("c.m.local", 1), format!("{circle}; the aliases do not come to an end"));
        assert_eq!(told("d.m.local", 1), alias("d", "example.com"));
        assert_eq!(told("e.m.local", 1), format!("{}; there is no such name in m.local", alias("e", "x.a.m.local")));
    }
}
