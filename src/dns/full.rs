//! The full path: every question, common or odd, by the book. The fast path ([`super::fast`]) must
//! give the same bytes wherever it answers at all.

use std::net::IpAddr;

use super::cookie::{self, Cookie, Secret};
use super::rdata::Rdata;
use super::tree::{Answer, End, Found, RrSet, Tree};
use super::wire::{
    BADVERS, CLASS_IN, FLAG_AA, FLAG_CD, FLAG_QR, FLAG_RA, FLAG_RD, FLAG_TC, FORMERR, HEADER, NOERROR, NOTIMP,
    NXDOMAIN, Name, NotAQuery, OPCODE_MASK, Query, REFUSED, SERVFAIL, TYPE_ANY, TYPE_CNAME, TYPE_HINFO, TYPE_OPT,
    TYPE_SOA, UDP_SIZE, is_meta, u16_at,
};
use super::writer::Writer;

/// Answers over UDP are at most so many times as long as their question, for clients that could be
/// somebody else: without a cookie, and not on this machine (a loopback address cannot be forged
/// from outside, the kernel drops such packets).
pub const AMPLIFICATION: usize = 3;
/// Seconds that the answer to `ANY` may be kept.
const ANY_TTL: u32 = 3600;
/// What `ANY` is answered with (RFC 8482 4.2).
const ANY_DATA: &[u8] = b"\x07RFC8482\x00";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What an answer depends on beside question and zones.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub client: IpAddr,
    pub transport: Transport,
    /// Seconds since the epoch, for cookies.
    pub now: u32,
    pub secret: &'a Secret,
    /// Whether names that are not ours are forwarded.
    pub recursion: bool,
}

/// What is to be done about a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing at all.
    Drop,
    Message(Vec<u8>),
    /// To be asked upstream.
    Forward(Forward),
}

/// A question for the forwarder.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward {
    /// The name to ask for: the client's, or where a CNAME of ours leads to.
    pub name: Name,
    pub qtype: u16,
    /// Our own CNAMEs on the way.
    pub chain: Vec<(Name, u32, Name)>,
}

impl Context<'_> {
    /// The answer to a message, from the zones alone.
    pub fn answer(&self, tree: &Tree, message: &[u8]) -> Reply {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(NotAQuery::Noise) => return Reply::Drop,
            Err(NotAQuery::Malformed) => return Reply::Message(bare(message, FORMERR)),
            Err(NotAQuery::Operation) => return Reply::Message(bare(message, NOTIMP)),
        };
        if query.edns.is_some_and(|edns| edns.version != 0) {
            return Reply::Message(self.say(&query, BADVERS));
        }
        let Ok(cookie) = self.cookie(&query) else { return Reply::Message(bare(message, FORMERR)) };
        if query.qclass != CLASS_IN || is_meta(query.qtype) {
            return Reply::Message(self.say(&query, REFUSED.into()));
        }
        let Some(name) = query.name() else { return Reply::Message(bare(message, FORMERR)) };
        let answer = match tree.resolve(&name, query.qtype) {
            Found::Answer(answer) => answer,
            Found::NotOurs if !self.recursion || !query.recursion_desired() => {
                return Reply::Message(self.say(&query, REFUSED.into()));
            }
            Found::NotOurs if query.qtype == TYPE_ANY => {
                let mut body = Body::new(query.question, None);
                body.minimal(&name);
                return Reply::Message(self.seal(&query, cookie, body, 0));
            }
            Found::NotOurs => {
                return Reply::Forward(Forward { name, qtype: query.qtype, chain: Vec::new() });
            }
        };
        if matches!(answer.end, End::Awaited(_)) {
            // soon it is known; a program asks again, or its next server
            return Reply::Message(self.say(&query, SERVFAIL.into()));
        }
        if let End::Leaves(target) = &answer.end
            && self.recursion
            && query.recursion_desired()
        {
            let chain = answer.chain.iter().filter_map(|(owner, set)| match set.data.first() {
                Some(Rdata::Name(target)) => Some((owner.clone(), set.ttl, target.clone())),
                _ => None,
            });
            return Reply::Forward(Forward { name: target.clone(), qtype: query.qtype, chain: chain.collect() });
        }
        Reply::Message(self.seal(&query, cookie, Body::of(query.question, &name, &answer), FLAG_AA))
    }

    /// The client's cookie, if it sent one; an error when it is no cookie.
    pub fn cookie(&self, query: &Query<'_>) -> Result<Option<Cookie>, ()> {
        let Some(edns) = query.edns else { return Ok(None) };
        match edns.options().flatten().find(|(code, _)| *code == cookie::OPTION) {
            None => Ok(None),
            Some((_, value)) => cookie::check(self.secret, self.client, self.now, value).map(Some).ok_or(()),
        }
    }

    /// An answer without records.
    pub fn say(&self, query: &Query<'_>, rcode: u16) -> Vec<u8> {
        let mut body = Body::new(query.question, None);
        body.rcode = rcode;
        self.seal(query, self.cookie(query).unwrap_or_default(), body, 0)
    }

    /// The most bytes that may go to this client.
    pub fn limit(&self, query: &Query<'_>, message_len: usize, proven: bool) -> usize {
        match self.transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp if proven || self.client.is_loopback() => query.udp_limit(),
            Transport::Udp => query.udp_limit().min(AMPLIFICATION * message_len),
        }
    }

    /// Header and OPT around the records, cut to what the client takes.
    pub fn seal(&self, query: &Query<'_>, cookie: Option<Cookie>, body: Body, flags: u16) -> Vec<u8> {
        let Body { mut writer, rcode, mut counts, ends } = body;
        let opt_len = match (query.edns, cookie) {
            (None, _) => 0,
            (Some(_), None) => 11,
            (Some(_), Some(_)) => 11 + 4 + cookie::LENGTH,
        };
        // the question is where it began: the shortest message that holds it
        let asked = HEADER + query.question.len() + query.edns.map_or(0, |edns| 11 + edns.options.len());
        let limit = self.limit(query, asked, cookie.is_some_and(|cookie| cookie.proven));
        let mut flags = flags | FLAG_QR | (query.flags & (FLAG_RD | FLAG_CD)) | (rcode & 0xF);
        if self.recursion {
            flags |= FLAG_RA;
        }
        if writer.position() + opt_len > limit {
            flags |= FLAG_TC;
            let kept = ends.iter().take(usize::from(counts[0])).take_while(|end| **end + opt_len <= limit).count();
            let end = kept.checked_sub(1).and_then(|last| ends.get(last)).copied();
            writer.truncate(end.unwrap_or(HEADER + query.question.len()));
            counts = [kept as u16, 0, 0];
        }
        if let Some(edns) = query.edns {
            writer.put(&[0]);
            writer.put_u16(TYPE_OPT);
            writer.put_u16(UDP_SIZE);
            writer.put(&[(rcode >> 4) as u8, 0, u8::from(edns.dnssec_ok) << 7, 0]);
            match cookie {
                None => writer.put_u16(0),
                Some(cookie) => {
                    writer.put_u16(4 + cookie::LENGTH as u16);
                    writer.put_u16(cookie::OPTION);
                    writer.put_u16(cookie::LENGTH as u16);
                    writer.put(&cookie.reply);
                }
            }
        }
        let [answers, authority, additional] = counts;
        writer.header(query.id, flags, 1, answers, authority, additional + u16::from(query.edns.is_some()));
        writer.finish()
    }
}

/// A header with a code and nothing else: shorter than any question.
fn bare(message: &[u8], rcode: u8) -> Vec<u8> {
    let flags = u16_at(message, 2).unwrap_or(0);
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(message.get(..2).unwrap_or(&[0, 0]));
    let flags = FLAG_QR | (flags & (OPCODE_MASK | FLAG_RD)) | u16::from(rcode);
    reply[2..4].copy_from_slice(&flags.to_be_bytes());
    reply
}

/// The records of an answer, behind the question.
pub struct Body {
    pub writer: Writer,
    pub rcode: u16,
    /// Answer, authority, additional (without OPT).
    pub counts: [u16; 3],
    /// Where each record ends.
    pub ends: Vec<usize>,
}

impl Body {
    pub fn new(question: &[u8], apex: Option<&Name>) -> Self {
        Self { writer: Writer::new(question, apex), rcode: NOERROR.into(), counts: [0; 3], ends: Vec::new() }
    }

    /// What the zones say about `name`.
    pub fn of(question: &[u8], name: &Name, answer: &Answer<'_>) -> Self {
        let mut body = Self::new(question, Some(&answer.zone.apex));
        for (owner, set) in &answer.chain {
            body.set(owner, set);
        }
        match &answer.end {
            End::Data | End::Leaves(_) | End::TooLong | End::Awaited(_) => {}
            End::Minimal => body.minimal(name),
            End::NoData(zone) | End::NxDomain(zone) => {
                if matches!(answer.end, End::NxDomain(_)) {
                    body.rcode = NXDOMAIN.into();
                }
                if let Some((ttl, soa)) = &zone.negative {
                    body.record(1, &zone.apex, TYPE_SOA, *ttl, soa);
                }
            }
        }
        body
    }

    fn set(&mut self, owner: &Name, set: &RrSet) {
        for data in &set.data {
            self.record(0, owner, set.rtype, set.ttl, data);
        }
    }

    pub fn record(&mut self, section: usize, owner: &Name, rtype: u16, ttl: u32, data: &Rdata) {
        let fits = self.writer.position() < usize::from(u16::MAX);
        if fits && self.writer.record(owner, rtype, ttl, |writer| data.write(writer)) {
            self.counts[section] += 1;
            self.ends.push(self.writer.position());
        }
    }

    /// A CNAME.
    pub fn alias(&mut self, owner: &Name, ttl: u32, target: &Name) {
        self.record(0, owner, TYPE_CNAME, ttl, &Rdata::Name(target.clone()));
    }

    fn minimal(&mut self, owner: &Name) {
        self.record(0, owner, TYPE_HINFO, ANY_TTL, &Rdata::Bytes(ANY_DATA.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Record, RecordData, View, Zone};

    const SECRET: Secret = Secret([1; 16]);

    fn context(client: &str, transport: Transport, recursion: bool) -> Context<'static> {
        Context { client: client.parse().unwrap(), transport, now: 1000, secret: &SECRET, recursion }
    }

    fn tree() -> Tree {
        let mut zone = Zone::new("m.local", 1);
        zone.records.push(Record::new("out.m.local", RecordData::Cname("example.com".into())));
        for number in 0..40 {
            zone.records.push(Record::new("large.m.local", RecordData::A([127, 0, 2, number].into())));
        }
        Tree::build(&[&zone], &BTreeMap::new(), View::Host).unwrap()
    }

    fn question(flags: u16, name: &str, qtype: u16, class: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        message.extend_from_slice(&flags.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(Name::parse(name).unwrap().wire());
        message.extend_from_slice(&qtype.to_be_bytes());
        message.extend_from_slice(&class.to_be_bytes());
        message
    }

    #[test]
    fn what_cannot_be_read_gets_a_header_back_or_nothing() {
        let answer = |message: &[u8]| context("127.0.0.1", Transport::Udp, true).answer(&tree(), message);
        // id, operation and RD come back, and nothing else of the header (RFC 1035 4.1.1)
        let update = [0x12, 0x34, 0x29, 0x70, 0, 1, 0, 2, 0, 3, 0, 4];
        let refused = [0x12, 0x34, 0xA9, NOTIMP, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(answer(&update), Reply::Message(refused.to_vec()));
        let nothing = [0x12, 0x34, 1, 0x30, 0, 0, 0, 0, 0, 0, 0, 0];
        let malformed = [0x12, 0x34, 0x81, FORMERR, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(answer(&nothing), Reply::Message(malformed.to_vec()));
        assert_eq!(answer(&malformed), Reply::Drop);
        assert_eq!(answer(&nothing[..11]), Reply::Drop);
    }

    #[test]
    fn others_are_asked_only_where_both_sides_want_it() {
        let tree = tree();
        // the flags and the number of answers
        let asked = |recursion: bool, flags: u16, name: &str, qtype: u16, class: u16| {
            let message = question(flags, name, qtype, class);
            match context("127.0.0.1", Transport::Udp, recursion).answer(&tree, &message) {
                Reply::Message(reply) => format!("{:04x} {}", u16_at(&reply, 2).unwrap(), u16_at(&reply, 6).unwrap()),
                other => format!("{other:?}"),
            }
        };
        let away = "Forward(Forward { name: example.com, qtype: 1, chain: [] })";
        let alias = "Forward(Forward { name: example.com, qtype: 1, chain: [(out.m.local, 30, example.com)] })";
        for (recursion, flags, name, qtype, class, expected) in [
            (true, FLAG_RD, "example.com", 1, 1, away),
            (true, 0, "example.com", 1, 1, "8085 0"),
            (false, FLAG_RD, "example.com", 1, 1, "8105 0"),
            (false, FLAG_CD, "example.com", 1, 1, "8015 0"),
            (true, FLAG_RD, "out.m.local", 1, 1, alias),
            (true, 0, "out.m.local", 1, 1, "8480 1"),
            (false, FLAG_RD, "out.m.local", 1, 1, "8500 1"),
            (true, FLAG_RD, "example.com", TYPE_ANY, 1, "8180 1"),
            (true, FLAG_RD, "out.m.local", TYPE_ANY, 1, "8580 1"),
            // another class, a transfer
            (true, FLAG_RD, "example.com", 1, 3, "8185 0"),
            (true, FLAG_RD, "m.local", 252, 1, "8185 0"),
            (true, FLAG_RD, "none.m.local", 1, 1, "8583 0"),
        ] {
            assert_eq!(asked(recursion, flags, name, qtype, class), expected, "{recursion} {flags:x} {name} {qtype}");
        }
    }

    /// 31 bytes of header and question, 16 a record, 11 of OPT, 28 of a cookie.
    #[test]
    fn what_is_cut_off_leaves_space_for_what_comes_behind() {
        let tree = tree();
        let sizes = |client: &str, transport: Transport, edns: Option<(u16, &[u8])>| {
            let context = context(client, transport, true);
            let mut message = question(0, "large.m.local", 1, 1);
            if let Some((size, cookie)) = edns {
                message[11] = 1;
                message.extend_from_slice(&[0, 0, 41]);
                message.extend_from_slice(&size.to_be_bytes());
                message.extend_from_slice(&[0, 0, 0, 0]);
                let option = if cookie.is_empty() { 0 } else { 4 + cookie.len() as u16 };
                message.extend_from_slice(&option.to_be_bytes());
                if !cookie.is_empty() {
                    message.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
                    message.extend_from_slice(cookie);
                }
            }
            let Reply::Message(reply) = context.answer(&tree, &message) else { panic!() };
            let count = |at| u16_at(&reply, at).unwrap();
            (reply.len(), count(6), count(10), count(2) & FLAG_TC != 0)
        };
        let own = [3; 8];
        let proven = |client: &str| cookie::check(&SECRET, client.parse().unwrap(), 1000, &own).unwrap().reply;
        let here = "127.0.0.1";
        assert_eq!(sizes(here, Transport::Udp, None), (511, 30, 0, true));
        assert_eq!(sizes(here, Transport::Udp, Some((512, &[]))), (506, 29, 1, true));
        assert_eq!(sizes(here, Transport::Udp, Some((512, &own))), (502, 27, 1, true));
        assert_eq!(sizes(here, Transport::Udp, Some((1232, &own))), (710, 40, 1, false));
        // exactly as much as there is space for, and a byte less
        assert_eq!(sizes(here, Transport::Udp, Some((682, &[]))), (682, 40, 1, false));
        assert_eq!(sizes(here, Transport::Udp, Some((681, &[]))), (666, 39, 1, true));
        // three times the question, for whoever has not shown who it is
        let there = "10.0.0.1";
        assert_eq!(sizes(there, Transport::Udp, None), (79, 3, 0, true));
        assert_eq!(sizes(there, Transport::Udp, Some((512, &[]))), (122, 5, 1, true));
        assert_eq!(sizes(there, Transport::Udp, Some((512, &own))), (150, 5, 1, true));
        assert_eq!(sizes(there, Transport::Udp, Some((512, &proven(there)))), (502, 27, 1, true));
        assert_eq!(sizes(there, Transport::Udp, Some((512, &proven(here)))), (198, 8, 1, true));
        assert_eq!(sizes(there, Transport::Tcp, None), (671, 40, 0, false));
    }
}
