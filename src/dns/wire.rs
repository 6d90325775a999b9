//! Questions and records as bytes (RFC 1035, RFC 6891). Every reader here takes bytes from
//! strangers: nothing panics, nothing follows a pointer forwards, nothing allocates by a length
//! that the packet claims.

use thiserror::Error;

pub use super::name::{Name, NameError, skip_plain_name};

/// Length of a message's header.
pub const HEADER: usize = 12;
/// The largest answer over UDP that we send and ask for (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;
/// The largest answer over UDP to a client without EDNS.
pub const UDP_SIZE_PLAIN: u16 = 512;

pub const TYPE_A: u16 = 1;
pub const TYPE_NS: u16 = 2;
pub const TYPE_CNAME: u16 = 5;
pub const TYPE_SOA: u16 = 6;
pub const TYPE_PTR: u16 = 12;
pub const TYPE_HINFO: u16 = 13;
pub const TYPE_MX: u16 = 15;
pub const TYPE_TXT: u16 = 16;
pub const TYPE_AAAA: u16 = 28;
pub const TYPE_SRV: u16 = 33;
pub const TYPE_OPT: u16 = 41;
pub const TYPE_SVCB: u16 = 64;
pub const TYPE_HTTPS: u16 = 65;
pub const TYPE_AXFR: u16 = 252;
pub const TYPE_ANY: u16 = 255;
pub const TYPE_CAA: u16 = 257;
pub const CLASS_IN: u16 = 1;

pub const FLAG_QR: u16 = 0x8000;
pub const FLAG_AA: u16 = 0x0400;
pub const FLAG_TC: u16 = 0x0200;
pub const FLAG_RD: u16 = 0x0100;
pub const FLAG_RA: u16 = 0x0080;
pub const FLAG_AD: u16 = 0x0020;
pub const FLAG_CD: u16 = 0x0010;
pub const OPCODE_MASK: u16 = 0x7800;

pub const NOERROR: u8 = 0;
pub const FORMERR: u8 = 1;
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;
pub const NOTIMP: u8 = 4;
pub const REFUSED: u8 = 5;
/// Extended: the high bits lie in the OPT record.
pub const BADVERS: u16 = 16;

/// Types that name no records: transfers, signatures of transactions, OPT. `ANY` is not among them.
pub fn is_meta(qtype: u16) -> bool {
    qtype == TYPE_OPT || (128..TYPE_ANY).contains(&qtype)
}

/// Where a name ends that may be compressed, without following it.
pub fn skip_name(bytes: &[u8], at: usize) -> Option<usize> {
    let mut position = at;
    loop {
        match *bytes.get(position)? {
            0 => return Some(position + 1),
            length @ 1..=63 => position += 1 + usize::from(length),
            0xC0.. => return (position + 2 <= bytes.len()).then_some(position + 2),
            _ => return None,
        }
        if position - at > 255 {
            return None;
        }
    }
}

#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16_at(bytes, at)?) << 16 | u32::from(u16_at(bytes, at + 2)?))
}

/// One record of a message, not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// Where its owner's name begins.
    pub start: usize,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    /// Where the four bytes of its TTL lie.
    pub ttl_at: usize,
    pub data_at: usize,
    pub data_len: usize,
}

impl RawRecord {
    /// Reads the record at `at`.
    pub fn read(message: &[u8], at: usize) -> Option<Self> {
        let fixed = skip_name(message, at)?;
        let data_len = usize::from(u16_at(message, fixed + 8)?);
        let record = Self {
            start: at,
            rtype: u16_at(message, fixed)?,
            class: u16_at(message, fixed + 2)?,
            ttl: u32_at(message, fixed + 4)?,
            ttl_at: fixed + 4,
            data_at: fixed + 10,
            data_len,
        };
        (record.end() <= message.len()).then_some(record)
    }

    /// Where the next record begins.
    pub fn end(&self) -> usize {
        self.data_at + self.data_len
    }

    pub fn data<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.data_at..self.end()).unwrap_or(&[])
    }
}

/// The OPT record of a question (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'a> {
    /// The largest answer that the client takes over UDP, as it says.
    pub size: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    pub options: &'a [u8],
}

impl<'a> Edns<'a> {
    fn from_record(message: &'a [u8], record: &RawRecord) -> Self {
        Self {
            size: record.class,
            version: (record.ttl >> 16) as u8,
            dnssec_ok: record.ttl & 0x8000 != 0,
            options: record.data(message),
        }
    }

    /// Code and value of each option; an error at the first that does not fit.
    pub fn options(&self) -> impl Iterator<Item = Result<(u16, &'a [u8]), Malformed>> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let option = u16_at(rest, 0).zip(u16_at(rest, 2)).and_then(|(code, length)| {
                let value = rest.get(4..4 + usize::from(length))?;
                Some((code, value))
            });
            match option {
                Some((code, value)) => {
                    rest = rest.get(4 + value.len()..).unwrap_or(&[]);
                    Some(Ok((code, value)))
                }
                None => {
                    rest = &[];
                    Some(Err(Malformed))
                }
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed message")]
pub struct Malformed;

/// A well-formed message with one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    pub id: u16,
    pub flags: u16,
    /// Name, type and class as the client wrote them.
    pub question: &'a [u8],
    pub qtype: u16,
    pub qclass: u16,
    pub edns: Option<Edns<'a>>,
}

/// What is wrong with a message that is no plain question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAQuery {
    /// Too short for a header, or itself an answer: no reply at all, so that no two servers ever
    /// talk to each other for ever.
    Noise,
    Malformed,
    /// An operation other than a query.
    Operation,
}

impl<'a> Query<'a> {
    /// Reads a whole message; bytes after its last record are an error.
    pub fn parse(message: &'a [u8]) -> Result<Self, NotAQuery> {
        let flags = u16_at(message, 2).ok_or(NotAQuery::Noise)?;
        if message.len() < HEADER || flags & FLAG_QR != 0 {
            return Err(NotAQuery::Noise);
        }
        if flags & OPCODE_MASK != 0 {
            return Err(NotAQuery::Operation);
        }
        Self::parse_body(message, flags).ok_or(NotAQuery::Malformed)
    }

    fn parse_body(message: &'a [u8], flags: u16) -> Option<Self> {
        if u16_at(message, 4)? != 1 {
            return None;
        }
        let name_end = skip_plain_name(message, HEADER)?;
        let (qtype, qclass) = (u16_at(message, name_end)?, u16_at(message, name_end + 2)?);
        let mut position = name_end + 4;
        let question = message.get(HEADER..position)?;
        let mut edns = None;
        for (section, count_at) in [6, 8, 10].into_iter().enumerate() {
            for _ in 0..u16_at(message, count_at)? {
                let record = RawRecord::read(message, position)?;
                position = record.end();
                if record.rtype != TYPE_OPT {
                    continue;
                }
                // exactly one, in the additional section, owned by the root (RFC 6891 6.1.1)
                if section != 2 || edns.is_some() || message.get(record.start) != Some(&0) {
                    return None;
                }
                let found = Edns::from_record(message, &record);
                if found.options().any(|option| option.is_err()) {
                    return None;
                }
                edns = Some(found);
            }
        }
        if position != message.len() {
            return None;
        }
        Some(Self { id: u16_at(message, 0)?, flags, question, qtype, qclass, edns })
    }

    /// The name asked for, in the client's case.
    pub fn qname(&self) -> &'a [u8] {
        self.question.get(..self.question.len().saturating_sub(4)).unwrap_or(&[])
    }

    pub fn name(&self) -> Option<Name> {
        Name::from_wire(self.qname())
    }

    pub fn recursion_desired(&self) -> bool {
        self.flags & FLAG_RD != 0
    }

    /// The most bytes that the client takes over UDP, within what we send.
    pub fn udp_limit(&self) -> usize {
        match self.edns {
            None => usize::from(UDP_SIZE_PLAIN),
            Some(edns) => usize::from(edns.size.clamp(UDP_SIZE_PLAIN, UDP_SIZE)),
        }
    }
}
