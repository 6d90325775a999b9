//! Record data, checked: from the model and from the wire to what a [`Writer`] can write.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::wire::{
    Name, NameError, RawRecord, TYPE_A, TYPE_AAAA, TYPE_CAA, TYPE_CNAME, TYPE_HTTPS, TYPE_MX, TYPE_NS, TYPE_PTR,
    TYPE_SOA, TYPE_SRV, TYPE_SVCB, TYPE_TXT, u16_at, u32_at,
};
use super::writer::Writer;
use crate::model::RecordData;

/// The data of one record. Only the types of RFC 1035 have names that may be compressed (RFC 3597
/// 4); everything else is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rdata {
    /// CNAME, NS, PTR.
    Name(Name),
    Mx(u16, Name),
    Soa(Box<SoaData>),
    Bytes(Box<[u8]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoaData {
    pub primary: Name,
    pub mailbox: Name,
    /// Serial, refresh, retry, expire, minimum.
    pub numbers: [u32; 5],
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DataError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("a string is longer than 255 bytes")]
    LongString,
    #[error("a CAA tag has 1 to 15 letters and digits")]
    CaaTag,
    #[error("parameters of an HTTPS or SVCB record must be in rising order, each once")]
    ParameterOrder,
    #[error("the data is longer than 65535 bytes")]
    TooLong,
    #[error("record type {0} cannot be part of a zone")]
    Type(u16),
}

/// Types that a zone may not bring along: meta types, and those of DNSSEC, since we do not sign
/// and a signature over a part of our merged zone would be wrong.
pub fn is_unwanted(rtype: u16) -> bool {
    matches!(rtype, 0 | 41 | 24 | 25 | 30 | 43 | 46..=51 | 59 | 60 | 128..=255)
}

impl Rdata {
    /// The type's number and the data.
    pub fn from_model(data: &RecordData) -> Result<(u16, Self), DataError> {
        Ok(match data {
            RecordData::A(address) => (TYPE_A, Self::a(*address)),
            RecordData::Aaaa(address) => (TYPE_AAAA, Self::aaaa(*address)),
            RecordData::Cname(name) => (TYPE_CNAME, Self::Name(Name::parse(name)?)),
            RecordData::Ns(name) => (TYPE_NS, Self::Name(Name::parse(name)?)),
            RecordData::Ptr(name) => (TYPE_PTR, Self::Name(Name::parse(name)?)),
            RecordData::Mx { preference, exchange } => (TYPE_MX, Self::Mx(*preference, Name::parse(exchange)?)),
            RecordData::Txt(strings) => {
                let mut wire = Vec::new();
                for string in strings {
                    push_string(&mut wire, string.as_bytes())?;
                }
                if wire.is_empty() {
                    wire.push(0);
                }
                (TYPE_TXT, Self::bytes(wire)?)
            }
            RecordData::Srv { priority, weight, port, target } => {
                let mut wire = Vec::new();
                for number in [priority, weight, port] {
                    wire.extend_from_slice(&number.to_be_bytes());
                }
                wire.extend_from_slice(Name::parse(target)?.wire());
                (TYPE_SRV, Self::bytes(wire)?)
            }
            RecordData::Caa { critical, tag, value } => {
                if tag.is_empty() || tag.len() > 15 || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err(DataError::CaaTag);
                }
                let mut wire = vec![u8::from(*critical) << 7];
                push_string(&mut wire, tag.as_bytes())?;
                wire.extend_from_slice(value.as_bytes());
                (TYPE_CAA, Self::bytes(wire)?)
            }
            RecordData::Https { priority, target, params } => (TYPE_HTTPS, service(*priority, target, params)?),
            RecordData::Svcb { priority, target, params } => (TYPE_SVCB, service(*priority, target, params)?),
            RecordData::Other { number, .. } if is_unwanted(*number) || *number == TYPE_SOA => {
                return Err(DataError::Type(*number));
            }
            RecordData::Other { number, data } => (*number, Self::bytes(data.clone())?),
        })
    }

    /// From a record of a message, names decompressed; none when it is malformed.
    pub fn from_wire(message: &[u8], record: &RawRecord) -> Option<Self> {
        let (at, end) = (record.data_at, record.end());
        let name_to_end = |at| Name::read(message, at).filter(|(_, after)| *after == end).map(|(name, _)| name);
        Some(match record.rtype {
            TYPE_CNAME | TYPE_NS | TYPE_PTR => Self::Name(name_to_end(at)?),
            TYPE_MX => Self::Mx(u16_at(message, at)?, name_to_end(at + 2)?),
            TYPE_SOA => {
                let (primary, next) = Name::read(message, at)?;
                let (mailbox, next) = Name::read(message, next)?;
                let mut numbers = [0; 5];
                for (slot, number) in numbers.iter_mut().enumerate() {
                    *number = u32_at(message, next + slot * 4)?;
                }
                if next + 20 != end {
                    return None;
                }
                Self::Soa(Box::new(SoaData { primary, mailbox, numbers }))
            }
            // not to be compressed, but to be read if it is (RFC 2782, RFC 3597 4)
            TYPE_SRV => {
                let mut wire = message.get(at..at + 6)?.to_vec();
                wire.extend_from_slice(name_to_end(at + 6)?.wire());
                Self::Bytes(wire.into())
            }
            TYPE_A if record.data_len != 4 => return None,
            TYPE_AAAA if record.data_len != 16 => return None,
            _ => Self::Bytes(record.data(message).into()),
        })
    }

    pub fn a(address: Ipv4Addr) -> Self {
        Self::Bytes(address.octets().into())
    }

    pub fn aaaa(address: Ipv6Addr) -> Self {
        Self::Bytes(address.octets().into())
    }

    fn bytes(wire: Vec<u8>) -> Result<Self, DataError> {
        if wire.len() > usize::from(u16::MAX) { Err(DataError::TooLong) } else { Ok(Self::Bytes(wire.into())) }
    }

    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Name(name) => writer.name(name),
            Self::Mx(preference, name) => {
                writer.put_u16(*preference);
                writer.name(name);
            }
            Self::Soa(soa) => {
                writer.name(&soa.primary);
                writer.name(&soa.mailbox);
                for number in soa.numbers {
                    writer.put_u32(number);
                }
            }
            Self::Bytes(bytes) => writer.put(bytes),
        }
    }
}

fn push_string(wire: &mut Vec<u8>, string: &[u8]) -> Result<(), DataError> {
    wire.push(u8::try_from(string.len()).map_err(|_| DataError::LongString)?);
    wire.extend_from_slice(string);
    Ok(())
}

/// RFC 9460 2.2
fn service(priority: u16, target: &str, params: &[(u16, Vec<u8>)]) -> Result<Rdata, DataError> {
    if params.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(DataError::ParameterOrder);
    }
    let mut wire = priority.to_be_bytes().to_vec();
    wire.extend_from_slice(Name::parse(target)?.wire());
    for (key, value) in params {
        wire.extend_from_slice(&key.to_be_bytes());
        wire.extend_from_slice(&u16::try_from(value.len()).map_err(|_| DataError::TooLong)?.to_be_bytes());
        wire.extend_from_slice(value);
    }
    Rdata::bytes(wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::HEADER;

    #[test]
    fn each_type_is_written_as_its_rfc_has_it() {
        let written = |data: &RecordData| {
            let (rtype, data) = Rdata::from_model(data)?;
            let mut writer = Writer::new(&[], None);
            data.write(&mut writer);
            Ok::<_, DataError>((rtype, writer.finish().split_off(HEADER)))
        };
        let caa = |critical, tag: &str, value: &str| RecordData::Caa { critical, tag: tag.into(), value: value.into() };
        let https = |params: &[(u16, &[u8])]| RecordData::Https {
            priority: 1,
            target: ".".into(),
            params: params.iter().map(|(key, value)| (*key, value.to_vec())).collect(),
        };
        let other = |number, length| RecordData::Other { number, data: vec![7; length] };
        let txt = |strings: &[&str]| RecordData::Txt(strings.iter().map(|string| (*string).to_owned()).collect());
        let loopback6 = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01".as_slice();
        let tag = "x".repeat(16);
        for (data, rtype, bytes) in [
            (RecordData::A([127, 0, 0, 2].into()), TYPE_A, b"\x7f\0\0\x02".as_slice()),
            (RecordData::Aaaa(Ipv6Addr::LOCALHOST), TYPE_AAAA, loopback6),
            (RecordData::Cname("B.x".into()), TYPE_CNAME, b"\x01b\x01x\0"),
            (RecordData::Ns("b".into()), TYPE_NS, b"\x01b\0"),
            (RecordData::Ptr("b".into()), TYPE_PTR, b"\x01b\0"),
            (RecordData::Mx { preference: 258, exchange: "b".into() }, TYPE_MX, b"\x01\x02\x01b\0"),
            // no string at all is an empty one (RFC 1035 3.3.14)
            (txt(&[]), TYPE_TXT, b"\0"),
            (txt(&["a", "bc"]), TYPE_TXT, b"\x01a\x02bc"),
            (
                RecordData::Srv { priority: 1, weight: 2, port: 258, target: "b".into() },
                TYPE_SRV,
                b"\0\x01\0\x02\x01\x02\x01b\0",
            ),
            (caa(true, "issue", "ca"), TYPE_CAA, b"\x80\x05issueca"),
            (caa(false, &tag[1..], ""), TYPE_CAA, b"\0\x0fxxxxxxxxxxxxxxx"),
            (
                https(&[(1, b"\x02h2"), (4, &[127, 0, 0, 1])]),
                TYPE_HTTPS,
                b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x04\x7f\0\0\x01",
            ),
            (RecordData::Svcb { priority: 0, target: "b".into(), params: vec![] }, TYPE_SVCB, b"\0\0\x01b\0"),
            (other(99, 2), 99, &[7, 7]),
        ] {
            assert_eq!(written(&data), Ok((rtype, bytes.to_vec())), "{data:?}");
        }
        assert_eq!(written(&txt(&["x".repeat(255).as_str()])).map(|(_, bytes)| bytes.len()), Ok(256));
        assert_eq!(written(&other(99, 65_535)).map(|(_, bytes)| bytes.len()), Ok(65_535));
        for (data, error) in [
            (caa(false, "", "x"), DataError::CaaTag),
            (caa(false, &tag, "x"), DataError::CaaTag),
            (caa(false, "is-sue", "x"), DataError::CaaTag),
            (https(&[(1, b""), (1, b"")]), DataError::ParameterOrder),
            (https(&[(4, b""), (1, b"")]), DataError::ParameterOrder),
            (https(&[(1, &[0; 65_536])]), DataError::TooLong),
            (other(99, 65_536), DataError::TooLong),
            (other(TYPE_SOA, 0), DataError::Type(TYPE_SOA)),
            (other(46, 0), DataError::Type(46)),
        ] {
            assert_eq!(written(&data), Err(error));
        }
    }

    #[test]
    fn names_in_data_are_decompressed_and_end_with_it() {
        // the record of `a`, and `z` behind it
        let read = |rtype: u16, data: &[u8]| {
            let mut message = b"\x01a\0".to_vec();
            message.extend_from_slice(&rtype.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
            message.extend_from_slice(data);
            message.extend_from_slice(b"\x01z\0");
            Rdata::from_wire(&message, &RawRecord::read(&message, 0)?)
        };
        let name = |text: &str| Name::parse(text).unwrap();
        for rtype in [TYPE_CNAME, TYPE_NS, TYPE_PTR] {
            assert_eq!(read(rtype, b"\x01b\xc0\0"), Some(Rdata::Name(name("b.a"))));
            assert_eq!((read(rtype, b"\x01b\xc0\0?"), read(rtype, b"\x01b")), (None, None));
        }
        assert_eq!(read(TYPE_MX, b"\x01\x02\xc0\0"), Some(Rdata::Mx(258, name("a"))));
        assert_eq!((read(TYPE_MX, b"\x01\x02\xc0\0?"), read(TYPE_MX, b"\x01\x02")), (None, None));
        let bytes = |bytes: &[u8]| Some(Rdata::Bytes(bytes.into()));
        assert_eq!(
            read(TYPE_SRV, b"\0\x01\0\x02\x01\x02\xc0\0"),
            bytes(b"\0\x01\0\x02\x01\x02\x01a\0"),
            "read all the same (RFC 3597 4)"
        );
        assert_eq!(read(TYPE_SRV, b"\0\x01\0"), None);
        for (rtype, length) in [(TYPE_A, 4), (TYPE_AAAA, 16)] {
            let whole = vec![1; length];
            assert_eq!(read(rtype, &whole), bytes(&whole));
            assert_eq!((read(rtype, &whole[1..]), read(rtype, &[1; 17])), (None, None));
        }
        assert_eq!((read(99, b"\xc0\0"), read(99, b"")), (bytes(b"\xc0\0"), bytes(b"")));
        let soa = b"\xc0\0\x01m\xc0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\x01\x02\x03\x04";
        let expected = SoaData { primary: name("a"), mailbox: name("m.a"), numbers: [1, 2, 3, 4, 0x0102_0304] };
        assert_eq!(read(TYPE_SOA, soa), Some(Rdata::Soa(Box::new(expected))));
    }

    #[test]
    fn a_soa_ends_with_its_numbers() {
        // of the root, whose names are one byte each
        let soa = |length: u8| {
            let mut message = vec![0, 0, 6, 0, 1, 0, 0, 0, 0, 0, length];
            message.resize(message.len() + usize::from(length), 0);
            Rdata::from_wire(&message, &RawRecord::read(&message, 0).unwrap())
        };
        assert!(matches!(soa(22), Some(Rdata::Soa(soa)) if soa.numbers == [0; 5]));
        assert_eq!((soa(21), soa(23)), (None, None));
    }
}
