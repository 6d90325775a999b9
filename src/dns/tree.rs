//! The zones of one view as a tree of names, and the algorithm of RFC 1034 4.3.2 and RFC 4592 over
//! it. It is the reference: what it says, the ready answers of [`super::snapshot`] are made of.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::rdata::{DataError, Rdata, SoaData, is_unwanted};
use super::wire::{Name, NameError, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_NS, TYPE_PTR, TYPE_SOA};
use crate::model::{DEFAULT_TTL, View, Zone};

/// CNAMEs that are followed within one answer.
const CHAIN: usize = 8;
/// Seconds that answers about names reserved by RFCs may be kept.
const SPECIAL_TTL: u32 = 3600;

/// Who put a name into the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The platform's own names.
    Own,
    /// What users and ExternalDNS wrote into PowerDNS.
    Fed,
    /// The platform's wildcard.
    Wildcard,
    /// A name that RFC 6761 reserves for this machine: `localhost`, `invalid`, loopback's reverse.
    Special,
}

/// A record that came from the authoritative server behind us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FedRecord {
    pub name: Name,
    pub rtype: u16,
    pub ttl: u32,
    pub data: Rdata,
}

/// The last copy of a zone of that server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FedZone {
    pub serial: u32,
    pub records: Vec<FedRecord>,
}

/// Records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrSet {
    pub rtype: u16,
    pub ttl: u32,
    pub data: Vec<Rdata>,
    pub layer: Layer,
}

/// A name that exists. Without sets it is an empty non-terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub sets: Vec<RrSet>,
}

impl Node {
    pub fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    fn add(&mut self, rtype: u16, ttl: u32, data: Rdata, layer: Layer) {
        match self.sets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => {
                set.ttl = set.ttl.min(ttl);
                // one CNAME a name, and no record twice
                if rtype != TYPE_CNAME && !set.data.contains(&data) {
                    set.data.push(data);
                }
            }
            None => self.sets.push(RrSet { rtype, ttl, data: vec![data], layer }),
        }
    }
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("zone {zone}, record {record}: {reason}")]
pub struct ZoneError {
    pub zone: String,
    /// Its name; the apex for what concerns the whole zone.
    pub record: String,
    pub reason: ZoneFault,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ZoneFault {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("it lies outside the zone")]
    Outside,
    #[error("a CNAME cannot share its name with other records")]
    CnameAndOther,
}

#[derive(Debug)]
pub struct ZoneTree {
    pub apex: Name,
    /// With what "no such name" is said.
    pub negative: Option<(u32, Rdata)>,
    /// Bare `invalid` does not exist either.
    apex_missing: bool,
    /// See [`Tree::await_rest`].
    pub awaited: bool,
    nodes: BTreeMap<Name, Node>,
}

/// All zones of one view.
#[derive(Debug, Default)]
pub struct Tree {
    zones: BTreeMap<Name, ZoneTree>,
}

/// The zones with the names of programs in them. A name goes into the deepest zone that holds it: there it takes the
/// place of what has this very name, and all other names with records of their own, those below it among them, go on to
/// answer; a wildcard above it covers none below it (RFC 4592, section 3.3.1). An apex stays the platform's: a program has such a name only until the platform comes. A name that no zone holds is a zone of its own.
pub fn with_programs<'a>(
    zones: impl IntoIterator<Item = (&'a Name, &'a Zone)>,
    programs: &'a BTreeMap<Name, Zone>,
) -> Vec<Cow<'a, Zone>> {
    let mut all: Vec<(&Name, Cow<'a, Zone>)> =
        zones.into_iter().map(|(apex, zone)| (apex, Cow::Borrowed(zone))).collect();
    let mut alone = Vec::new();
    for (host, program) in programs {
        let holders = all.iter_mut().filter(|(apex, _)| host.is_within(apex));
        match holders.max_by_key(|(apex, _)| apex.wire().len()) {
            Some((apex, _)) if *apex == host => {}
            Some((_, zone)) => {
                let zone = zone.to_mut();
                zone.records.retain(|record| Name::parse(&record.name).ok().as_ref() != Some(host));
                zone.records.extend_from_slice(&program.records);
            }
            None => alone.push(Cow::Borrowed(program)),
        }
    }
    all.into_iter().map(|(_, zone)| zone).chain(alone).collect()
}

/// What the tree knows about a question.
#[derive(Debug)]
pub enum Found<'a> {
    /// No zone of ours.
    NotOurs,
    Answer(Answer<'a>),
}

#[derive(Debug)]
pub struct Answer<'a> {
    /// The zone of the name asked for.
    pub zone: &'a ZoneTree,
    /// Records in the order of the answer: CNAMEs, then what they lead to.
    pub chain: Vec<(Name, &'a RrSet)>,
    pub end: End<'a>,
    /// The closest wildcard that was expanded, if one was.
    pub wildcard: Option<Name>,
}

/// How an answer ends.
#[derive(Debug)]
pub enum End<'a> {
    Data,
    /// The name exists without such records; the zone whose SOA says so.
    NoData(&'a ZoneTree),
    NxDomain(&'a ZoneTree),
    /// `ANY`: the short answer of RFC 8482.
    Minimal,
    /// The chain leads out of our zones.
    Leaves(Name),
    /// A circle of CNAMEs, or more of them than anybody needs.
    TooLong,
    /// Only PowerDNS knows, which has not been asked yet for this zone.
    Awaited(&'a ZoneTree),
}

impl ZoneTree {
    fn new(apex: Name) -> Self {
        let nodes = BTreeMap::from([(apex.clone(), Node::default())]);
        Self { apex, negative: None, apex_missing: false, awaited: false, nodes }
    }

    /// A platform's zone with what PowerDNS has for it, as one view sees it.
    fn build(zone: &Zone, fed: Option<&FedZone>, view: View) -> Result<Self, ZoneError> {
        let at =
            |record: &str, reason: ZoneFault| ZoneError { zone: zone.apex.clone(), record: record.to_owned(), reason };
        let name = |text: &str| Name::parse(text).map_err(|error| at(&zone.apex, error.into()));
        let apex = name(&zone.apex)?;
        let mut tree = Self::new(apex.clone());
        for record in &zone.records {
            let fail = |reason| at(&record.name, reason);
            let owner = Name::parse(&record.name).map_err(|error| fail(error.into()))?;
            let (rtype, data) = Rdata::from_model(&record.data).map_err(|error| fail(error.into()))?;
            if !owner.is_within(&apex) {
                return Err(fail(ZoneFault::Outside));
            }
            if record.view.is_some_and(|only| only != view) || (rtype == TYPE_NS && owner != apex) {
                continue;
            }
            let layer = if owner.is_wildcard() { Layer::Wildcard } else { Layer::Own };
            let node = tree.nodes.entry(owner.clone()).or_default();
            node.add(rtype, record.ttl, data, layer);
            if node.set(TYPE_CNAME).is_some() && (node.sets.len() > 1 || owner == apex) {
                return Err(fail(ZoneFault::CnameAndOther));
            }
        }
        let mut serial = zone.soa.serial;
        if let Some(fed) = fed {
            serial = serial.wrapping_add(fed.serial);
            tree.merge(fed);
        }
        let soa = &zone.soa;
        let data = Rdata::Soa(Box::new(SoaData {
            primary: name(&soa.primary)?,
            mailbox: name(&soa.mailbox)?,
            numbers: [serial, soa.refresh, soa.retry, soa.expire, soa.negative_ttl],
        }));
        tree.nodes.entry(apex).or_default().add(TYPE_SOA, soa.negative_ttl, data.clone(), Layer::Own);
        tree.negative = Some((soa.negative_ttl, data));
        tree.fill();
        Ok(tree)
    }

    /// Layers: our own exact name stands alone; at the apex and at a wildcard it goes by type. A
    /// wildcard of PowerDNS's comes before ours.
    fn merge(&mut self, fed: &FedZone) {
        let mut theirs: BTreeMap<&Name, Node> = BTreeMap::new();
        for record in &fed.records {
            let below = record.name.is_within(&self.apex);
            let at_apex = record.name == self.apex;
            let kept = match record.rtype {
                TYPE_SOA => false,
                TYPE_NS | TYPE_CNAME if at_apex => false,
                // a delegation is left out
                TYPE_NS => false,
                other => !is_unwanted(other),
            };
            if below && kept {
                theirs.entry(&record.name).or_default().add(record.rtype, record.ttl, record.data.clone(), Layer::Fed);
            }
        }
        for (name, mut node) in theirs {
            if node.sets.len() > 1 {
                node.sets.retain(|set| set.rtype != TYPE_CNAME);
            }
            let ours = self.nodes.entry(name.clone()).or_default();
            if ours.sets.is_empty() && *name != self.apex {
                *ours = node;
            } else if *name == self.apex {
                node.sets.retain(|set| ours.set(set.rtype).is_none());
                ours.sets.append(&mut node.sets);
            } else if name.is_wildcard() {
                let alias = ours.set(TYPE_CNAME).is_some() || node.set(TYPE_CNAME).is_some();
                ours.sets.retain(|set| !alias && node.set(set.rtype).is_none());
                ours.sets.append(&mut node.sets);
            }
        }
    }

    /// Adds the empty non-terminals: every name between a node and the apex exists.
    fn fill(&mut self) {
        let mut missing = Vec::new();
        for name in self.nodes.keys() {
            let mut above = name.clone();
            while above != self.apex {
                let Some(parent) = above.parent() else { break };
                if !self.nodes.contains_key(&parent) {
                    missing.push(parent.clone());
                }
                above = parent;
            }
        }
        for name in missing {
            self.nodes.entry(name).or_default();
        }
    }

    /// A reserved domain with these records. Without any, not even its own name exists.
    fn special(apex: Name, records: Vec<(Name, u16, Rdata)>) -> Self {
        let mut tree = Self::new(apex.clone());
        // as in RFC 6303 3, with a mailbox that is sure to be nobody's
        let mailbox = Name::parse("nobody.invalid").unwrap_or_else(|_| Name::root());
        let data = Rdata::Soa(Box::new(SoaData {
            primary: apex.clone(),
            mailbox,
            numbers: [1, 3600, 1200, 604_800, SPECIAL_TTL],
        }));
        tree.negative = Some((SPECIAL_TTL, data.clone()));
        let node = tree.nodes.entry(apex.clone()).or_default();
        node.add(TYPE_SOA, SPECIAL_TTL, data, Layer::Special);
        node.add(TYPE_NS, SPECIAL_TTL, Rdata::Name(apex), Layer::Special);
        tree.apex_missing = records.is_empty();
        for (name, rtype, data) in records {
            // addresses of platforms come and go
            let ttl = if rtype == TYPE_PTR { DEFAULT_TTL } else { SPECIAL_TTL };
            tree.nodes.entry(name).or_default().add(rtype, ttl, data, Layer::Special);
        }
        tree.fill();
        tree
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// The node that answers for a name, and how it was come by.
    fn find(&self, name: &Name) -> Place<'_> {
        if *name == self.apex && self.apex_missing {
            return Place::Missing;
        }
        let mut encloser = name.clone();
        let mut exact = true;
        loop {
            if let Some(node) = self.nodes.get(&encloser) {
                if exact {
                    return Place::Exact(node);
                }
                let wildcard = encloser.child(b"*");
                return match wildcard.and_then(|name| self.nodes.get_key_value(&name)) {
                    Some((name, node)) => Place::Wildcard(name, node),
                    None => Place::Missing,
                };
            }
            exact = false;
            match encloser.parent() {
                Some(parent) if encloser != self.apex => encloser = parent,
                _ => return Place::Missing,
            }
        }
    }
}

enum Place<'a> {
    Exact(&'a Node),
    Wildcard(&'a Name, &'a Node),
    Missing,
}

impl Tree {
    /// The zones as one view sees them, with the reserved domains around them. Every other name
    /// belongs to somebody else, whatever its suffix: `.local`, `.test` and `.internal` may be a
    /// company's own.
    pub fn build(
        zones: &[&Zone],
        fed: &BTreeMap<Name, std::sync::Arc<FedZone>>,
        view: View,
    ) -> Result<Self, ZoneError> {
        let mut tree = Self::default();
        for zone in zones {
            let apex = Name::parse(&zone.apex).map_err(|error| ZoneError {
                zone: zone.apex.clone(),
                record: zone.apex.clone(),
                reason: error.into(),
            })?;
            let built = ZoneTree::build(zone, fed.get(&apex).map(AsRef::as_ref), view)?;
            tree.zones.insert(apex, built);
        }
        for mut special in special_zones(&tree.reverse()) {
            if tree.zones.contains_key(&special.apex) {
                continue;
            }
            // a zone of ours below it means that the name itself exists
            let inhabited = tree.zones.keys().any(|name| name.is_within(&special.apex));
            special.apex_missing &= !inhabited;
            tree.zones.insert(special.apex.clone(), special);
        }
        tree.cut();
        Ok(tree)
    }

    /// What PowerDNS has for these zones is not known yet: a name that is none of the platform's own gets no answer. The
    /// wildcard's would be a wrong address for each name that is written there.
    pub fn await_rest(&mut self, apexes: &BTreeSet<Name>) {
        for zone in self.zones.values_mut().filter(|zone| apexes.contains(&zone.apex)) {
            zone.awaited = true;
            zone.nodes.retain(|name, _| !name.is_wildcard());
        }
    }

    /// Removes from each zone what a deeper zone owns.
    fn cut(&mut self) {
        let apexes: Vec<Name> = self.zones.keys().cloned().collect();
        for zone in self.zones.values_mut() {
            let below: Vec<&Name> =
                apexes.iter().filter(|apex| **apex != zone.apex && apex.is_within(&zone.apex)).collect();
            if below.is_empty() {
                continue;
            }
            zone.nodes.retain(|name, _| !below.iter().any(|apex| name.is_within(apex)));
            // what lies above the deeper zone exists
            for apex in below {
                let mut above = apex.parent();
                while let Some(name) = above.filter(|name| *name != zone.apex && name.is_within(&zone.apex)) {
                    zone.nodes.entry(name.clone()).or_default();
                    above = name.parent();
                }
            }
        }
    }

    /// Loopback addresses of ours and the first name that each was given.
    fn reverse(&self) -> BTreeMap<Ipv4Addr, Name> {
        let mut names = BTreeMap::new();
        for zone in self.zones.values() {
            for (name, node) in zone.nodes().filter(|(name, _)| !name.is_wildcard()) {
                let addresses = node.set(TYPE_A).filter(|set| set.layer == Layer::Own).map(|set| &set.data);
                for data in addresses.into_iter().flatten() {
                    if let Rdata::Bytes(bytes) = data
                        && let Ok(octets) = <[u8; 4]>::try_from(bytes.as_ref())
                        && octets[0] == 127
                    {
                        names.entry(Ipv4Addr::from(octets)).or_insert_with(|| name.clone());
                    }
                }
            }
        }
        names
    }

    pub fn zones(&self) -> impl Iterator<Item = &ZoneTree> {
        self.zones.values()
    }

    /// The deepest zone that holds the name.
    pub fn zone_of(&self, name: &Name) -> Option<&ZoneTree> {
        let mut at = Some(name.clone());
        while let Some(candidate) = at {
            if let Some(zone) = self.zones.get(&candidate) {
                return Some(zone);
            }
            at = candidate.parent();
        }
        None
    }

    /// RFC 1034 4.3.2 without delegations.
    pub fn resolve(&self, name: &Name, qtype: u16) -> Found<'_> {
        let Some(zone) = self.zone_of(name) else { return Found::NotOurs };
        let mut answer = Answer { zone, chain: Vec::new(), end: End::Data, wildcard: None };
        let (mut zone, mut name) = (zone, name.clone());
        loop {
            let node = match zone.find(&name) {
                Place::Exact(node) => node,
                Place::Wildcard(owner, node) => {
                    answer.wildcard.get_or_insert_with(|| owner.clone());
                    node
                }
                Place::Missing => {
                    answer.end = if zone.awaited { End::Awaited(zone) } else { End::NxDomain(zone) };
                    break;
                }
            };
            if qtype == TYPE_ANY && !node.sets.is_empty() {
                answer.end = End::Minimal;
                break;
            }
            if let Some(set) = node.set(qtype) {
                answer.chain.push((name, set));
                break;
            }
            let Some((set, target)) = node.set(TYPE_CNAME).and_then(|set| match set.data.first() {
                Some(Rdata::Name(target)) => Some((set, target.clone())),
                _ => None,
            }) else {
                // our own name stands alone; others may have more there
                let open = zone.awaited && (node.sets.is_empty() || name == zone.apex);
                answer.end = if open { End::Awaited(zone) } else { End::NoData(zone) };
                break;
            };
            answer.chain.push((name, set));
            let circle = answer.chain.iter().any(|(owner, _)| *owner == target);
            if circle || answer.chain.len() >= CHAIN {
                answer.end = End::TooLong;
                break;
            }
            match self.zone_of(&target) {
                Some(next) => zone = next,
                None => {
                    answer.end = End::Leaves(target);
                    break;
                }
            }
            name = target;
        }
        Found::Answer(answer)
    }
}

/// What a resolver answers by itself (RFC 6761 6.3 and 6.4, RFC 6303 4.1 and 4.2): only what means this
/// very machine, and what can exist nowhere.
fn special_zones(reverse: &BTreeMap<Ipv4Addr, Name>) -> Vec<ZoneTree> {
    let name = |text: &str| Name::parse(text).unwrap_or_else(|_| Name::root());
    let localhost = name("localhost");
    let addresses = |owner: Name| {
        [(owner.clone(), TYPE_A, Rdata::a(Ipv4Addr::LOCALHOST)), (owner, TYPE_AAAA, Rdata::aaaa(Ipv6Addr::LOCALHOST))]
    };
    let mut local_records = addresses(localhost.clone()).to_vec();
    local_records.extend(addresses(name("*.localhost")));
    let pointer = |owner: Name, target: &Name| (owner, TYPE_PTR, Rdata::Name(target.clone()));
    let mut pointers = vec![pointer(name("1.0.0.127.in-addr.arpa"), &localhost)];
    for (address, owner) in reverse.iter().filter(|(address, _)| **address != Ipv4Addr::LOCALHOST) {
        let [a, b, c, d] = address.octets();
        pointers.push(pointer(name(&format!("{d}.{c}.{b}.{a}.in-addr.arpa")), owner));
    }
    let loopback6 = name(&format!("1.{}ip6.arpa", "0.".repeat(31)));
    vec![
        ZoneTree::special(localhost.clone(), local_records),
        ZoneTree::special(name("invalid"), Vec::new()),
        ZoneTree::special(name("127.in-addr.arpa"), pointers),
        ZoneTree::special(loopback6.clone(), vec![pointer(loopback6, &localhost)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Record, RecordData};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn a(last: u8) -> RecordData {
        RecordData::A([127, 0, 0, last].into())
    }

    fn alias(target: &str) -> RecordData {
        RecordData::Cname(target.to_owned())
    }

    fn zone(apex: &str, records: &[(&str, RecordData)]) -> Zone {
        let mut zone = Zone::new(apex, 7);
        zone.records.extend(records.iter().map(|(owner, data)| Record::new(*owner, data.clone())));
        zone
    }

    /// A line for each set of records and for each name without any, sorted.
    fn shown(tree: &ZoneTree) -> Vec<String> {
        let mut lines = Vec::new();
        for (owner, node) in tree.nodes() {
            if node.sets.is_empty() {
                lines.push(format!("{owner} -"));
            }
            for RrSet { rtype, ttl, data, layer } in &node.sets {
                let data: Vec<String> = data
                    .iter()
                    .map(|data| match data {
                        Rdata::Bytes(bytes) => format!("{bytes:?}"),
                        Rdata::Name(target) => target.to_string(),
                        Rdata::Mx(preference, host) => format!("{preference} {host}"),
                        Rdata::Soa(soa) => format!("{} {} {:?}", soa.primary, soa.mailbox, soa.numbers),
                    })
                    .collect();
                lines.push(format!("{owner} {rtype} {ttl} {layer:?} {}", data.join(" ")));
            }
        }
        lines.sort();
        lines
    }

    #[test]
    fn powerdns_fills_what_the_platform_leaves_open() {
        let text = |text: &str| RecordData::Txt(vec![text.to_owned()]);
        let mut ours = zone(
            "m.local",
            &[
                ("m.local", text("o")),
                ("a.m.local", a(2)),
                ("a.m.local", a(2)),
                ("*.m.local", a(3)),
                ("*.m.local", text("o")),
                ("*.x.m.local", alias("a.m.local")),
                ("*.y.m.local", a(4)),
                // a delegation
                ("b.m.local", RecordData::Ns("ns.m.local".to_owned())),
                ("b.c.m.local", a(5)),
            ],
        );
        // the least of a set counts for all of it
        ours.records.push(Record { ttl: 10, ..Record::new("a.m.local", a(6)) });
        ours.records.push(Record { ttl: 90, ..Record::new("a.m.local", a(7)) });
        let soa = Rdata::Soa(Box::new(SoaData { primary: name("p"), mailbox: name("p"), numbers: [3; 5] }));
        let bytes = |bytes: &[u8]| Rdata::Bytes(bytes.into());
        let records = [
            ("m.local", TYPE_SOA, soa),
            ("m.local", TYPE_NS, Rdata::Name(name("p"))),
            ("m.local", TYPE_CNAME, Rdata::Name(name("p"))),
            ("m.local", 16, bytes(b"\x01p")),
            ("m.local", 15, Rdata::Mx(10, name("p"))),
            ("a.m.local", 16, bytes(b"\x01p")),
            ("*.m.local", TYPE_A, bytes(&[9, 0, 0, 3])),
            ("*.x.m.local", TYPE_A, bytes(&[9, 0, 0, 4])),
            ("*.y.m.local", TYPE_CNAME, Rdata::Name(name("p"))),
            // an alias next to other records cannot be meant
            ("d.m.local", TYPE_CNAME, Rdata::Name(name("p"))),
            ("d.m.local", TYPE_A, bytes(&[9, 0, 0, 5])),
            ("d.m.local", TYPE_A, bytes(&[9, 0, 0, 5])),
            ("e.m.local", TYPE_CNAME, Rdata::Name(name("p"))),
            ("e.m.local", TYPE_CNAME, Rdata::Name(name("q"))),
            // a signature, a delegation, a name elsewhere
            ("f.m.local", 46, bytes(b"?")),
            ("g.m.local", TYPE_NS, Rdata::Name(name("p"))),
            ("x.example", TYPE_A, bytes(&[9, 0, 0, 6])),
        ];
        let records = records.map(|(owner, rtype, data)| FedRecord { name: name(owner), rtype, ttl: 60, data });
        let fed = FedZone { serial: 3, records: records.into() };
        let tree = ZoneTree::build(&ours, Some(&fed), View::Host).unwrap();
        assert_eq!(
            shown(&tree),
            [
                "*.m.local 1 60 Fed [9, 0, 0, 3]",
                "*.m.local 16 30 Wildcard [1, 111]",
                "*.x.m.local 1 60 Fed [9, 0, 0, 4]",
                "*.y.m.local 5 60 Fed p",
                "a.m.local 1 10 Own [127, 0, 0, 2] [127, 0, 0, 6] [127, 0, 0, 7]",
                "b.c.m.local 1 30 Own [127, 0, 0, 5]",
                "c.m.local -",
                "d.m.local 1 60 Fed [9, 0, 0, 5]",
                "e.m.local 5 60 Fed p",
                "m.local 15 60 Fed 10 p",
                "m.local 16 30 Own [1, 111]",
                "m.local 2 30 Own ns.m.local",
                "m.local 6 30 Own ns.m.local hostmaster.m.local [10, 60, 10, 3600, 30]",
                "x.m.local -",
                "y.m.local -",
            ]
        );
        let Some((30, Rdata::Soa(negative))) = &tree.negative else { panic!("{:?}", tree.negative) };
        assert_eq!(negative.numbers, [10, 60, 10, 3600, 30]);
    }

    #[test]
    fn a_question_ends_in_the_zone_that_it_leads_to() {
        let mut outer = zone("m.local", &[("*.m.local", a(3)), ("to.m.local", alias("away.x.y.m.local"))]);
        for number in 1..10 {
            let (owner, next) = (format!("c{number}.m.local"), format!("c{}.m.local", number + 1));
            outer.records.push(Record::new(owner, alias(&next)));
        }
        let inner = zone("x.y.m.local", &[]);
        let reserved = zone("x.invalid", &[]);
        let tree = Tree::build(&[&outer, &inner, &reserved], &BTreeMap::new(), View::Host).unwrap();
        let found = |owner: &str, qtype: u16| match tree.resolve(&name(owner), qtype) {
            Found::NotOurs => "not ours".to_owned(),
            Found::Answer(answer) => {
                let end = match &answer.end {
                    End::Data => "data".to_owned(),
                    End::NoData(zone) => format!("nothing in {}", zone.apex),
                    End::NxDomain(zone) => format!("no name in {}", zone.apex),
                    End::Minimal => "minimal".to_owned(),
                    End::Leaves(target) => format!("leaves for {target}"),
                    End::TooLong => "too long".to_owned(),
                    End::Awaited(zone) => format!("not known yet in {}", zone.apex),
                };
                let wildcard = answer.wildcard.map_or(String::new(), |owner| format!(" by {owner}"));
                format!("{}: {} {end}{wildcard}", answer.zone.apex, answer.chain.len())
            }
        };
        for (owner, qtype, expected) in [
            ("z.m.local", TYPE_A, "m.local: 1 data by *.m.local"),
            ("z.m.local", TYPE_AAAA, "m.local: 0 nothing in m.local by *.m.local"),
            // what lies above another zone exists (RFC 8020), and no wildcard covers what is below it (RFC 4592 3.3.1)
            ("y.m.local", TYPE_A, "m.local: 0 nothing in m.local"),
            ("y.m.local", TYPE_ANY, "m.local: 0 nothing in m.local"),
            ("z.y.m.local", TYPE_A, "m.local: 0 no name in m.local"),
            ("x.y.m.local", TYPE_A, "x.y.m.local: 0 nothing in x.y.m.local"),
            ("z.x.y.m.local", TYPE_A, "x.y.m.local: 0 no name in x.y.m.local"),
            ("to.m.local", TYPE_A, "m.local: 1 no name in x.y.m.local"),
            // eight aliases at most
            ("c2.m.local", TYPE_A, "m.local: 8 too long"),
            ("c3.m.local", TYPE_A, "m.local: 8 data by *.m.local"),
            ("invalid", TYPE_A, "invalid: 0 nothing in invalid"),
            ("z.invalid", TYPE_A, "invalid: 0 no name in invalid"),
            ("localhost", TYPE_A, "localhost: 1 data"),
            ("local", TYPE_A, "not ours"),
            (".", TYPE_A, "not ours"),
        ] {
            assert_eq!(found(owner, qtype), expected, "{owner} {qtype}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_only_powerdns_knows_before_it_was_asked() {
        let to = ("to.m.local", alias("z.m.local"));
        let own = [("*.m.local", a(1)), ("web.m.local", a(2)), ("*.b.s.m.local", a(3)), to];
        let (ours, other) = (zone("m.local", &own), zone("n.local", &[("*.n.local", a(4))]));
        let mut tree = Tree::build(&[&ours, &other], &BTreeMap::new(), View::Host).unwrap();
        tree.await_rest(&[name("m.local"), name("x.local")].into());
        let end = |owner: &str, qtype: u16| match tree.resolve(&name(owner), qtype) {
            Found::Answer(answer) => format!("{} {}", answer.chain.len(), matches!(answer.end, End::Awaited(_))),
            Found::NotOurs => "not ours".to_owned(),
        };
        for (owner, qtype, expected) in [
            ("web.m.local", TYPE_A, "1 false"),
            ("web.m.local", TYPE_AAAA, "0 false"),
            ("z.web.m.local", TYPE_A, "0 true"),
            ("z.m.local", TYPE_A, "0 true"),
            ("z.m.local", TYPE_ANY, "0 true"),
            ("z.b.s.m.local", TYPE_A, "0 true"),
            ("s.m.local", TYPE_A, "0 true"),
            ("to.m.local", TYPE_A, "1 true"),
            ("to.m.local", TYPE_CNAME, "1 false"),
            ("m.local", TYPE_SOA, "1 false"),
            ("m.local", 15, "0 true"),
            ("z.n.local", TYPE_A, "1 false"),
            ("localhost", TYPE_A, "1 false"),
        ] {
            assert_eq!(end(owner, qtype), expected, "{owner} {qtype}");
        }
    }

    /// RFC 1034 3.6.2: a CNAME stands alone, in whatever order the records come, and never at the apex.
    #[test]
    fn a_cname_shares_its_name_with_nothing() {
        let address = a(2);
        let build = |records: &[(&str, RecordData)], view: View| {
            ZoneTree::build(&zone("macula.local", records), None, view).map(drop).map_err(|error| error.reason)
        };
        for refused in [
            vec![("a.macula.local", alias("b.macula.local")), ("a.macula.local", address.clone())],
            vec![("a.macula.local", address.clone()), ("A.macula.local", alias("b.macula.local"))],
            vec![("a.macula.local", alias("b.macula.local")), ("a.macula.local", RecordData::Txt(vec!["x".into()]))],
            vec![("macula.local", alias("b.example"))],
        ] {
            assert_eq!(build(&refused, View::Host), Err(ZoneFault::CnameAndOther), "{refused:?}");
        }
        let beside = [("a.macula.local", alias("b.macula.local")), ("b.macula.local", address.clone())];
        assert_eq!(build(&beside, View::Host), Ok(()));
        // one for each view is one in each
        let mut zone = Zone::new("macula.local", 1);
        zone.records.push(Record::new("a.macula.local", alias("b.example")).only(View::Container));
        zone.records.push(Record::new("a.macula.local", address).only(View::Host));
        for view in [View::Host, View::Container] {
            assert!(ZoneTree::build(&zone, None, view).is_ok());
        }
    }
}
