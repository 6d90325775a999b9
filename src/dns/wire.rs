//! Names, questions and records as bytes (RFC 1035, RFC 6891). Every reader here takes bytes from
//! strangers: nothing panics, nothing follows a pointer forwards, nothing allocates by a length
//! that the packet claims.

use std::fmt;

use thiserror::Error;

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

/// A domain name in wire form, lower-cased, with the root's zero at its end: 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("\"{name}\" is not a domain name: {reason}")]
pub struct NameError {
    pub name: String,
    pub reason: &'static str,
}

impl Name {
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// From text, with or without the dot at the end; `\.` and `\DDD` as in RFC 1035 5.1.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fail = |reason| NameError { name: text.to_owned(), reason };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        if text != "." {
            let mut label = Vec::new();
            let mut bytes = text.bytes().peekable();
            while let Some(byte) = bytes.next() {
                match byte {
                    b'.' => {
                        push_label(&mut wire, &label).map_err(fail)?;
                        label.clear();
                        if bytes.peek().is_none() {
                            break;
                        }
                    }
                    b'\\' => {
                        let first = bytes.next().ok_or_else(|| fail("it ends in a backslash"))?;
                        if first.is_ascii_digit() {
                            let mut value = u32::from(first - b'0');
                            for _ in 0..2 {
                                let digit = bytes.next().filter(u8::is_ascii_digit);
                                let digit = digit.ok_or_else(|| fail("a \\DDD needs three digits"))?;
                                value = value * 10 + u32::from(digit - b'0');
                            }
                            label.push(u8::try_from(value).map_err(|_| fail("a \\DDD is above 255"))?);
                        } else {
                            label.push(first);
                        }
                    }
                    other => label.push(other),
                }
            }
            if !label.is_empty() {
                push_label(&mut wire, &label).map_err(fail)?;
            }
        }
        wire.push(0);
        if wire.len() > 255 {
            return Err(fail("it is longer than 255 bytes"));
        }
        wire.make_ascii_lowercase();
        Ok(Self(wire.into()))
    }

    /// From an uncompressed wire name, as [`skip_plain_name`] delimits it.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        (skip_plain_name(wire, 0)? == wire.len()).then(|| Self(wire.to_ascii_lowercase().into()))
    }

    /// The name at `at` of a message, pointers followed; and where the bytes after it begin.
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut wire = Vec::with_capacity(32);
        let mut position = at;
        let mut end = None;
        // each pointer must lead further back than where its run of labels began: no loops
        let mut floor = at;
        loop {
            let length = usize::from(*message.get(position)?);
            match length {
                0 => {
                    wire.push(0);
                    break;
                }
                1..=63 => {
                    wire.extend_from_slice(message.get(position..position + 1 + length)?);
                    position += 1 + length;
                }
                0xC0.. => {
                    let target = (length & 0x3F) << 8 | usize::from(*message.get(position + 1)?);
                    end.get_or_insert(position + 2);
                    if target >= floor {
                        return None;
                    }
                    floor = target;
                    position = target;
                }
                _ => return None,
            }
            if wire.len() > 254 {
                return None;
            }
        }
        wire.make_ascii_lowercase();
        Some((Self(wire.into()), end.unwrap_or(position + 1)))
    }

    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(*self.0.first()?);
        if first == 0 { None } else { Some(Self(self.0.get(1 + first..)?.into())) }
    }

    /// `label` below this name; none when it gets too long.
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        push_label(&mut wire, label).ok()?;
        wire.extend_from_slice(&self.0);
        wire.make_ascii_lowercase();
        (wire.len() <= 255).then(|| Self(wire.into()))
    }

    /// Whether it equals `apex` or lies below it.
    pub fn is_within(&self, apex: &Name) -> bool {
        let mut rest: &[u8] = &self.0;
        while rest.len() > apex.0.len() {
            let skip = 1 + usize::from(rest[0]);
            rest = rest.get(skip..).unwrap_or(&[]);
        }
        *rest == *apex.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("a label is empty");
    }
    if label.len() > 63 {
        return Err("a label is longer than 63 bytes");
    }
    wire.push(label.len() as u8);
    wire.extend_from_slice(label);
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        let mut rest: &[u8] = &self.0;
        let mut first = true;
        while let Some((&length, tail)) = rest.split_first() {
            if length == 0 {
                break;
            }
            if !first {
                f.write_str(".")?;
            }
            first = false;
            let (label, after) = tail.split_at(usize::from(length).min(tail.len()));
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7E => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            rest = after;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where an uncompressed name that begins at `at` ends; none when it is compressed, cut off or too
/// long.
#[inline]
pub fn skip_plain_name(bytes: &[u8], at: usize) -> Option<usize> {
    let mut position = at;
    loop {
        let length = usize::from(*bytes.get(position)?);
        position += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        position += length;
    }
    (position - at <= 255).then_some(position)
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

/// Writes a message, compressing names (RFC 1035 4.1.4).
///
/// To what a name may point is fixed by rule, so that an answer prepared for one question fits
/// another: an owner equal to the question points at it; any name may point at the apex (and
/// above) inside the question, and at names written before. Case is not looked at.
pub struct Writer {
    bytes: Vec<u8>,
    /// Lower-cased suffixes and where they lie.
    suffixes: Vec<(Box<[u8]>, u16)>,
    question: Box<[u8]>,
    /// Where each pointer lies that does not point at the whole question.
    pub pointers: Vec<usize>,
}

impl Writer {
    /// A header of zeros and the question (name, type, class). `apex` is the zone that answers.
    pub fn new(question: &[u8], apex: Option<&Name>) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(question);
        let qname = question.get(..question.len().saturating_sub(4)).unwrap_or(&[]).to_ascii_lowercase();
        let mut writer = Self { bytes, suffixes: Vec::new(), question: qname.into(), pointers: Vec::new() };
        if let Some(apex) = apex
            && let Some(start) = writer.question.len().checked_sub(apex.wire().len())
        {
            writer.remember(apex.wire(), HEADER + start);
        }
        writer
    }

    /// Bytes written so far.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.suffixes.retain(|(_, at)| usize::from(*at) < length);
        self.pointers.retain(|at| *at < length);
    }

    fn remember(&mut self, name: &[u8], at: usize) {
        let mut skipped = 0;
        while let Some(&length) = name.get(skipped) {
            if length == 0 || at + skipped > 0x3FFF {
                break;
            }
            let suffix = &name[skipped..];
            if !self.suffixes.iter().any(|(known, _)| **known == *suffix) {
                self.suffixes.push((suffix.into(), (at + skipped) as u16));
            }
            skipped += 1 + usize::from(length);
        }
    }

    /// A record's owner.
    pub fn owner(&mut self, name: &Name) {
        if *name.wire() == *self.question && !name.is_root() {
            self.bytes.extend_from_slice(&[0xC0, HEADER as u8]);
        } else {
            self.name(name);
        }
    }

    /// A name that may be compressed.
    pub fn name(&mut self, name: &Name) {
        let wire = name.wire();
        let at = self.bytes.len();
        let mut skipped = 0;
        while let Some(&length) = wire.get(skipped) {
            if length == 0 {
                self.bytes.push(0);
                break;
            }
            if let Some((_, target)) = self.suffixes.iter().find(|(suffix, _)| **suffix == wire[skipped..]) {
                self.pointers.push(self.bytes.len());
                self.bytes.extend_from_slice(&(0xC000 | target).to_be_bytes());
                break;
            }
            let next = skipped + 1 + usize::from(length);
            self.bytes.extend_from_slice(&wire[skipped..next]);
            skipped = next;
        }
        self.remember(wire, at);
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Owner, type, class, TTL, and the data as `data` writes it. False, with nothing written, when
    /// the data is longer than a record can say.
    pub fn record(&mut self, owner: &Name, rtype: u16, ttl: u32, data: impl FnOnce(&mut Self)) -> bool {
        let before = self.bytes.len();
        self.owner(owner);
        self.put_u16(rtype);
        self.put_u16(CLASS_IN);
        self.put_u32(ttl);
        let length_at = self.bytes.len();
        self.put_u16(0);
        data(self);
        match u16::try_from(self.bytes.len() - length_at - 2) {
            Ok(length) => {
                self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
                true
            }
            Err(_) => {
                self.truncate(before);
                false
            }
        }
    }

    /// Fills in the header.
    pub fn header(&mut self, id: u16, flags: u16, questions: u16, answers: u16, authority: u16, additional: u16) {
        for (slot, value) in [id, flags, questions, answers, authority, additional].into_iter().enumerate() {
            self.bytes[slot * 2..slot * 2 + 2].copy_from_slice(&value.to_be_bytes());
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
