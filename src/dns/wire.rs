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
        // with the root's zero a name has 255 bytes at most
        if position - at > 254 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of labels of these lengths.
    fn labels(lengths: &[usize]) -> Vec<u8> {
        let mut wire = Vec::new();
        for length in lengths {
            wire.push(*length as u8);
            wire.resize(wire.len() + length, b'x');
        }
        wire.push(0);
        wire
    }

    #[test]
    fn names_are_skipped_without_following_them() {
        let ends = |bytes: &[u8], at: usize, end: Option<usize>| assert_eq!(skip_name(bytes, at), end, "{bytes:?}");
        ends(b"??\x01a\0??", 2, Some(5));
        ends(b"?\x01a\xc0\x02", 1, Some(5));
        ends(b"?\xff\xff", 1, Some(3));
        for cut in [b"".as_slice(), b"\x01", b"\x01a", b"\x01a\xc0", b"\x40a\0", b"\x80a\0", b"\xbfa\0"] {
            ends(cut, 0, None);
        }
        // a name that is not compressed ends where it ends for everybody else, and is as long at most (RFC 1035 2.3.4)
        for lengths in [&[1][..], &[], &[63, 2], &[63, 63, 63, 61], &[63, 63, 63, 62], &[63, 63, 63, 63]] {
            let bytes = [b"??".as_slice(), &labels(lengths)].concat();
            assert_eq!(skip_name(&bytes, 2), skip_plain_name(&bytes, 2), "{lengths:?}");
        }
        let mut pointing = labels(&[63, 63, 63, 61]);
        pointing.truncate(254);
        pointing.extend_from_slice(&[0xC0, 0]);
        ends(&pointing, 0, Some(256));
    }

    #[test]
    fn numbers_and_records_are_read_where_they_lie() {
        let bytes = [0, 1, 2, 3, 4];
        assert_eq!((u16_at(&bytes, 1), u32_at(&bytes, 1)), (Some(0x0102), Some(0x0102_0304)));
        assert_eq!((u16_at(&bytes, 4), u32_at(&bytes, 2)), (None, None));

        let message = b"??\x01a\0\0\x10\0\x03\x01\x02\x03\x04\0\x02hi";
        let record =
            RawRecord { start: 2, rtype: TYPE_TXT, class: 3, ttl: 0x0102_0304, ttl_at: 9, data_at: 15, data_len: 2 };
        assert_eq!(RawRecord::read(message, 2), Some(record));
        assert_eq!((record.end(), record.data(message)), (17, b"hi".as_slice()));
        // neither its data nor what stands before it may be cut off
        for length in 2..17 {
            assert_eq!(RawRecord::read(&message[..length], 2), None, "{length}");
        }
    }

    #[test]
    fn the_options_of_a_question_follow_each_other() {
        let read = |options: &'static [u8]| -> Vec<Result<(u16, &'static [u8]), Malformed>> {
            Edns { size: 512, version: 0, dnssec_ok: false, options }.options().collect()
        };
        let first: Result<_, Malformed> = Ok((12, b"ab".as_slice()));
        assert!(read(b"").is_empty());
        assert_eq!(read(b"\0\x0c\0\x02ab\0\x0a\0\0"), [first, Ok((10, b"".as_slice()))]);
        assert_eq!(read(b"\0\x0c\0\x02ab\0\x0a\0"), [first, Err(Malformed)]);
        assert_eq!(read(b"\0\x0c\0\x03ab"), [Err(Malformed)]);
    }

    /// The question `A AAAA IN` behind this header, and what comes after it.
    fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        for number in [flags].into_iter().chain(counts) {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message.extend_from_slice(b"\x01A\0\0\x1c\0\x01");
        message.extend_from_slice(rest);
        message
    }

    /// 4096 bytes, DO, no options.
    const OPT: &[u8] = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
    const ADDRESS: &[u8] = b"\0\0\x01\0\x01\0\0\0\0\0\x04abcd";

    #[test]
    fn a_question_is_read_whole() {
        let edns = Edns { size: 4096, version: 0, dnssec_ok: true, options: &[] };
        let expected = Query {
            id: 0x1234,
            flags: 0x0110,
            question: b"\x01A\0\0\x1c\0\x01",
            qtype: TYPE_AAAA,
            qclass: CLASS_IN,
            edns: Some(edns),
        };
        let all = message(0x0110, [1, 0, 0, 1], OPT);
        let query = Query::parse(&all).unwrap();
        assert_eq!(query, expected);
        assert_eq!((query.qname(), query.name()), (b"\x01A\0".as_slice(), Name::parse("a").ok()));
        assert!(query.recursion_desired() && !Query { flags: 0xFEFF, ..query }.recursion_desired());
        // records of other types may stand in every section, and OPT among them in the last
        let among = message(0, [1, 1, 1, 2], &[ADDRESS, ADDRESS, ADDRESS, OPT].concat());
        assert_eq!(Query::parse(&among).unwrap().edns, Some(edns));
        let other = message(0, [1, 0, 0, 1], b"\0\0\x29\0\x64\x07\x03\x7f\xff\0\x04\0\x0a\0\0");
        let found = Query::parse(&other).unwrap().edns;
        assert_eq!(found, Some(Edns { size: 100, version: 3, dnssec_ok: false, options: b"\0\x0a\0\0" }));

        let limit = |edns| Query { edns, ..query }.udp_limit();
        let sized = |size| limit(Some(Edns { size, ..edns }));
        assert_eq!((limit(None), [100, 512, 1000, 1232, 4096].map(sized)), (512, [512, 512, 1000, 1232, 1232]));
    }

    #[test]
    fn what_is_not_a_question_says_which_kind_it_is() {
        let whole = message(0x0100, [1, 0, 0, 0], b"");
        assert!(Query::parse(&whole).is_ok());
        let two = [OPT, OPT].concat();
        for (why, message, kind) in [
            ("no header", whole[..11].to_vec(), NotAQuery::Noise),
            ("next to nothing", whole[..3].to_vec(), NotAQuery::Noise),
            ("a header alone", whole[..12].to_vec(), NotAQuery::Malformed),
            ("cut off", whole[..18].to_vec(), NotAQuery::Malformed),
            ("an answer", message(0x8100, [1, 0, 0, 0], b""), NotAQuery::Noise),
            ("the answer to an update", message(0xA900, [1, 0, 0, 0], b""), NotAQuery::Noise),
            ("an update", message(0x2900, [1, 0, 0, 0], b""), NotAQuery::Operation),
            ("no question", message(0x0100, [0, 0, 0, 0], b""), NotAQuery::Malformed),
            ("two questions", message(0x0100, [2, 0, 0, 0], b"\x01a\0\0\x01\0\x01"), NotAQuery::Malformed),
            ("a byte too many", message(0x0100, [1, 0, 0, 0], b"?"), NotAQuery::Malformed),
            ("no OPT where one is counted", message(0x0100, [1, 0, 0, 1], b""), NotAQuery::Malformed),
            ("OPT as the answer", message(0x0100, [1, 1, 0, 0], OPT), NotAQuery::Malformed),
            ("OPT as the authority", message(0x0100, [1, 0, 1, 0], OPT), NotAQuery::Malformed),
            ("OPT twice", message(0x0100, [1, 0, 0, 2], &two), NotAQuery::Malformed),
            (
                "OPT of a name",
                message(0x0100, [1, 0, 0, 1], &[b"\x01b".as_slice(), OPT].concat()),
                NotAQuery::Malformed,
            ),
            (
                "an option cut off",
                message(0x0100, [1, 0, 0, 1], b"\0\0\x29\x10\0\0\0\0\0\0\x01\0"),
                NotAQuery::Malformed,
            ),
        ] {
            assert_eq!(Query::parse(&message), Err(kind), "{why}");
        }
    }

    #[test]
    fn some_types_name_no_records() {
        let of = |types: [u16; 5]| types.map(is_meta);
        assert_eq!(of([41, 128, 249, 252, 254]), [true; 5]);
        assert_eq!(of([1, 40, 127, 255, 256]), [false; 5]);
    }
}
