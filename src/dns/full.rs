//! The full path: every question, common or odd, by the book. The fast path ([`super::fast`]) must
//! give the same bytes wherever it answers at all.

use std::net::IpAddr;

use super::cookie::{self, Cookie, Secret};
use super::rdata::Rdata;
use super::tree::{Answer, End, Found, RrSet, Tree};
use super::wire::{
    BADVERS, CLASS_IN, FLAG_AA, FLAG_CD, FLAG_QR, FLAG_RA, FLAG_RD, FLAG_TC, FORMERR, HEADER, NOERROR, NOTIMP,
    NXDOMAIN, Name, NotAQuery, OPCODE_MASK, Query, REFUSED, TYPE_ANY, TYPE_CNAME, TYPE_HINFO, TYPE_OPT, TYPE_SOA,
    UDP_SIZE, is_meta, u16_at,
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
            End::Data | End::Leaves(_) | End::TooLong => {}
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
