//! One question to one upstream server, and whether what comes back is an answer to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::super::wire::{
    CLASS_IN, FLAG_CD, FLAG_QR, FLAG_RD, FLAG_TC, FORMERR, HEADER, NXDOMAIN, Name, OPCODE_MASK, RawRecord, TYPE_A,
    TYPE_AAAA, TYPE_HTTPS, TYPE_OPT, TYPE_SOA, TYPE_SVCB, UDP_SIZE, skip_plain_name, u16_at, u32_at,
};
use super::cache::Entry;

/// Longest that an answer is kept, and a denial.
const MOST_TTL: u32 = 86_400;
const MOST_NEGATIVE_TTL: u32 = 3600;
/// For the whole of a TCP exchange.
const TCP: Duration = Duration::from_secs(3);

/// A question for upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub name: Name,
    pub qtype: u16,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

#[derive(Debug, Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("an answer that cannot be read")]
    Malformed,
}

impl Ask {
    /// What the cache knows it by.
    pub fn key(&self) -> Vec<u8> {
        let mut key = self.name.wire().to_vec();
        key.extend_from_slice(&self.qtype.to_be_bytes());
        key.push(u8::from(self.dnssec_ok) << 1 | u8::from(self.checking_disabled));
        key
    }

    /// The message, with a random id and, if wanted, random case.
    fn message(&self, edns: bool, mix_case: bool) -> Vec<u8> {
        let mut random = [0; 2 + 32];
        // an id of zeros still has the random port beside it
        let _ = getrandom::fill(&mut random);
        let mut message = Vec::with_capacity(HEADER + 300);
        message.extend_from_slice(&random[..2]);
        let flags = FLAG_RD | if self.checking_disabled { FLAG_CD } else { 0 };
        message.extend_from_slice(&flags.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        let start = message.len();
        message.extend_from_slice(self.name.wire());
        if mix_case {
            for (at, byte) in message[start..].iter_mut().enumerate() {
                let bit = random[2 + (at / 8) % 32] >> (at % 8) & 1;
                // lengths of labels are no letters
                if bit == 1 {
                    byte.make_ascii_uppercase();
                }
            }
        }
        message.extend_from_slice(&self.qtype.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        if edns {
            let [high, low] = UDP_SIZE.to_be_bytes();
            message.extend_from_slice(&[0, 0, TYPE_OPT as u8, high, low, 0, 0, u8::from(self.dnssec_ok) << 7, 0, 0, 0]);
        }
        message
    }

    /// Asks a server, over TCP too when its answer is cut off. Waits without an end for a lost
    /// datagram: the caller knows how long.
    pub async fn exchange(&self, server: SocketAddr, mix_case: bool) -> Result<Vec<u8>, ExchangeError> {
        let mut answer = udp(server, &self.message(true, mix_case)).await?;
        let plain = answer.get(3).is_some_and(|flags| flags & 0xF == FORMERR);
        if plain {
            // a server from before EDNS
            answer = udp(server, &self.message(false, mix_case)).await?;
        }
        if u16_at(&answer, 2).is_some_and(|flags| flags & FLAG_TC != 0) {
            answer = timeout(TCP, tcp(server, &self.message(!plain, mix_case)))
                .await
                .map_err(|_| ExchangeError::Timeout)??;
        }
        Ok(answer)
    }

    /// An answer in the form in which it is kept; none when it is malformed. `now` in seconds on
    /// the resolver's clock.
    pub fn entry(&self, message: &[u8], now: u32) -> Option<Entry> {
        let start = skip_plain_name(message, HEADER)? + 4;
        let rcode = message.get(3)? & 0xF;
        let mut entry = Entry::new(rcode, start - 4 - HEADER, now, 0);
        let mut end = start;
        let mut ttls = Vec::new();
        let (mut least, mut negative) = (MOST_TTL, None);
        'sections: for (section, count_at) in [6, 8, 10].into_iter().enumerate() {
            let mut at = end;
            for _ in 0..u16_at(message, count_at)? {
                let record = RawRecord::read(message, at)?;
                Name::read(message, record.start)?;
                if record.rtype == TYPE_OPT {
                    // hop by hop; what a server put behind it is optional anyway
                    break 'sections;
                }
                let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.min(MOST_TTL) };
                ttls.push((u16::try_from(record.ttl_at - start).ok()?, ttl));
                match section {
                    0 => least = least.min(ttl),
                    1 if record.rtype == TYPE_SOA => {
                        let minimum = u32_at(message, record.end().checked_sub(4)?)?;
                        negative = Some(ttl.min(minimum).min(MOST_NEGATIVE_TTL));
                    }
                    _ => {}
                }
                entry.counts[section] += 1;
                at = record.end();
                end = at;
            }
        }
        let denied = rcode == NXDOMAIN || !answers(message, start, self.qtype, entry.counts[0]);
        // RFC 2308 5: a denial without SOA is not to be kept
        let lifetime = match (denied, negative) {
            (false, _) => least,
            (true, Some(negative)) => negative.min(least),
            (true, None) => 0,
        };
        entry.expires = now.saturating_add(lifetime);
        entry.denies = denied;
        entry.keep_stale = lifetime > 0;
        entry.tail = message.get(start..end)?.into();
        entry.ttls = ttls.into();
        Some(entry)
    }
}

/// Whether the answer section has a record of the type asked for, and not only CNAMEs.
fn answers(message: &[u8], start: usize, qtype: u16, count: u16) -> bool {
    let mut at = start;
    for _ in 0..count {
        let Some(record) = RawRecord::read(message, at) else { return false };
        if record.rtype == qtype {
            return true;
        }
        at = record.end();
    }
    false
}

/// Whether an answer leads to this machine or into one of its platforms' networks: the addresses that
/// a page from outside must not reach by giving them a name of its own.
pub fn leads_home(message: &[u8], inner: &[IpNet]) -> bool {
    let is_home = |address: IpAddr| is_home(address) || inner.iter().any(|network| network.contains(&plain(address)));
    let Some(mut at) = skip_plain_name(message, HEADER).map(|end| end + 4) else { return false };
    while let Some(record) = RawRecord::read(message, at) {
        at = record.end();
        let data = record.data(message);
        let home = match record.rtype {
            TYPE_A => v4(data).is_some_and(is_home),
            TYPE_AAAA => v6(data).is_some_and(is_home),
            TYPE_HTTPS | TYPE_SVCB => hints(data).any(is_home),
            _ => false,
        };
        if home {
            return true;
        }
    }
    false
}

/// An IPv4 address in an IPv6 one is that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
        address => address,
    }
}

fn is_home(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.octets()[0] == 0,
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.to_ipv4_mapped().is_some_and(|mapped| is_home(mapped.into()))
        }
    }
}

fn v4(data: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into())
}

fn v6(data: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into())
}

/// The address hints of an HTTPS or SVCB record (RFC 9460 7.3).
fn hints(data: &[u8]) -> impl Iterator<Item = IpAddr> {
    let mut rest = skip_plain_name(data, 2).and_then(|end| data.get(end..)).unwrap_or(&[]);
    let params = std::iter::from_fn(move || {
        let (key, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        rest = rest.get(4 + length..)?;
        Some((key, value))
    });
    params.flat_map(|(key, value)| {
        let size = if key == 4 { 4 } else { 16 };
        let value = if matches!(key, 4 | 6) { value } else { &[] };
        value.chunks_exact(size).filter_map(move |chunk| if size == 4 { v4(chunk) } else { v6(chunk) })
    })
}

/// Sends a question from a fresh socket, so from a random port, and waits for its answer.
async fn udp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // connected: the kernel drops what comes from others, and tells when nobody listens
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or(&[]);
        // a wrong answer is somebody's guess: the right one may still come
        if is_answer(question, answer) {
            return Ok(answer.to_vec());
        }
    }
}

async fn tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = u16::try_from(question.len()).map_err(|_| ExchangeError::Malformed)?.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if is_answer(question, &answer) { Ok(answer) } else { Err(ExchangeError::Malformed) }
}

/// Same id, a response, and the same question in the same case. A refusal may leave the question out.
fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    let Some(flags) = u16_at(answer, 2) else { return false };
    if answer.len() < HEADER || answer.get(..2) != question.get(..2) {
        return false;
    }
    if flags & FLAG_QR == 0 || flags & OPCODE_MASK != 0 {
        return false;
    }
    let failed = !matches!(flags & 0xF, 0 | 3);
    if failed && u16_at(answer, 4) == Some(0) {
        return true;
    }
    let Some(end) = skip_plain_name(question, HEADER).map(|end| end + 4) else { return false };
    u16_at(answer, 4) == Some(1) && answer.get(HEADER..end) == question.get(HEADER..end)
}

#[cfg(test)]
mod tests {
    use super::super::super::full::Body;
    use super::*;

    /// An answer for evil.example with one record.
    fn answer(rtype: u16, data: &[u8]) -> Vec<u8> {
        let mut message = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x04evil\x07example\0\0\x01\0\x01\xc0\x0c".to_vec();
        message.extend(rtype.to_be_bytes());
        message.extend(b"\0\x01\0\0\0\x3c");
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
        message
    }

    fn address(text: &str) -> Vec<u8> {
        match text.parse().unwrap() {
            IpAddr::V4(address) => answer(TYPE_A, &address.octets()),
            IpAddr::V6(address) => answer(TYPE_AAAA, &address.octets()),
        }
    }

    /// `1 . PARAMETERS` of RFC 9460, each with its key.
    fn service(rtype: u16, params: &[(u16, &[u8])]) -> Vec<u8> {
        let mut data = vec![0, 1, 0];
        for (key, value) in params {
            data.extend(key.to_be_bytes());
            data.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            data.extend(*value);
        }
        answer(rtype, &data)
    }

    #[test]
    fn what_leads_to_this_machine_is_recognized_in_every_record_that_holds_an_address() {
        let inner: Vec<IpNet> = vec!["172.30.0.0/24".parse().unwrap(), "fd00:30::/64".parse().unwrap()];
        let home = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.1",
            "172.30.0.9",
            "::ffff:172.30.0.9",
            "fd00:30::9",
        ];
        let away = [
            "192.0.2.1",
            "126.255.255.255",
            "128.0.0.1",
            "1.0.0.0",
            "::2",
            "::ffff:192.0.2.1",
            "172.30.1.9",
            "fd00:31::9",
        ];
        for (texts, leads) in [(home.as_slice(), true), (away.as_slice(), false)] {
            for text in texts {
                assert_eq!(leads_home(&address(text), &inner), leads, "{text}");
            }
        }
        let (v6, public) = (Ipv6Addr::LOCALHOST.octets(), [192, 0, 2, 1]);
        for rtype in [TYPE_HTTPS, TYPE_SVCB] {
            assert!(leads_home(&service(rtype, &[(1, b"\x02h2"), (4, &[192, 0, 2, 1, 127, 0, 0, 1])]), &inner));
            assert!(leads_home(&service(rtype, &[(4, &public), (6, &v6)]), &inner));
            assert!(!leads_home(&service(rtype, &[(4, &public), (5, &[127, 0, 0, 1])]), &inner));
        }
        // text is not an address, whatever its bytes
        assert!(!leads_home(&answer(16, &[127, 0, 0, 1]), &inner));
    }

    #[test]
    fn an_answer_is_kept_as_long_as_each_of_its_records() {
        let name = Name::parse("evil.example").unwrap();
        let ask = Ask { name, qtype: TYPE_A, dnssec_ok: false, checking_disabled: false };
        // beside the one of 60 seconds one of 300
        let mut two = address("192.0.2.1");
        two[7] = 2;
        two.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x02");
        let entry = ask.entry(&two, 1000).unwrap();
        assert_eq!((entry.expires, entry.denies), (1060, false));
        // an alias alone is no address
        assert!(ask.entry(&answer(5, b"\x01x\xc0\x0c"), 1000).unwrap().denies);
        // nor is what comes behind OPT kept: that is between two servers
        two[11] = 2;
        two.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x03");
        let entry = ask.entry(&two, 1000).unwrap();
        assert_eq!((entry.rcode, entry.counts, entry.name_length, entry.stored), (0, [2, 0, 0], 14, 1000));
        assert_eq!((&*entry.tail, &*entry.ttls), (&two[30..62], [(6, 60), (22, 300)].as_slice()));
        assert!(entry.keep_stale && !entry.rebound);
        // given again after ten seconds: to the same question, and behind an alias of ours
        let body = entry.body(&two[12..30], 1010);
        assert_eq!((body.rcode, body.counts, &*body.ends), (0, [2, 0, 0], [46, 62].as_slice()));
        let later = b"\xc0\x0c\0\x01\0\x01\0\0\0\x32\0\x04\xc0\0\x02\x01\
                      \xc0\x0c\0\x01\0\x01\0\0\x01\x22\0\x04\xc0\0\x02\x02";
        assert_eq!(body.writer.bytes()[12..], *[&two[12..30], later].concat());
        let mut body = Body::new(b"\x01a\0\0\x01\0\x01", None);
        body.alias(&Name::parse("a").unwrap(), 30, &ask.name);
        entry.append_to(&mut body, &ask.name, 1010);
        assert_eq!((body.rcode, body.counts, &*body.ends), (0, [3, 0, 0], [45, 61, 77].as_slice()));
        let behind = later.map(|byte| if byte == 0x0c { 0x1f } else { byte });
        assert_eq!(body.writer.bytes()[45..], behind);
    }

    #[test]
    fn a_time_to_live_has_its_limits() {
        let name = Name::parse("evil.example").unwrap();
        let ask = Ask { name, qtype: TYPE_A, dnssec_ok: false, checking_disabled: false };
        let mut message = address("192.0.2.1");
        // the highest bit makes it nothing (RFC 2181 8)
        for (ttl, kept) in
            [(0, 0), (86_399, 86_399), (86_401, MOST_TTL), (0x7FFF_FFFF, MOST_TTL), (0x8000_0000, 0), (u32::MAX, 0)]
        {
            message[36..40].copy_from_slice(&u32::to_be_bytes(ttl));
            let entry = ask.entry(&message, 1000).unwrap();
            assert_eq!((entry.expires - 1000, entry.ttls[0].1, entry.keep_stale), (kept, kept, kept > 0), "{ttl}");
        }
        // a denial by the SOA after it (RFC 2308 5), by an alias before it, and not at all without one
        let soa = |ttl: u32, minimum: u32| {
            let mut record = b"\xc0\x0c\0\x06\0\x01".to_vec();
            record.extend(ttl.to_be_bytes());
            record.extend(b"\0\x16\0\0");
            record.extend([0_u8; 16]);
            record.extend(minimum.to_be_bytes());
            record
        };
        let none: &[u8] = &[];
        let alias = &answer(5, b"\x01x\xc0\x0c")[30..];
        let server = &answer(2, b"\xc0\x0c")[30..];
        for (why, rcode, [before, after], expected) in [
            ("its TTL", 3, [none, &soa(60, 300)], 60),
            ("its minimum", 3, [none, &soa(300, 60)], 60),
            ("an hour at most", 3, [none, &soa(7200, 7200)], MOST_NEGATIVE_TTL),
            ("no such records", 0, [none, &soa(300, 60)], 60),
            ("an alias for a minute", 3, [alias, &soa(300, 300)], 60),
            ("an alias for longer", 0, [alias, &soa(30, 300)], 30),
            ("a name server alone", 3, [none, server], 0),
            ("nothing", 3, [none, none], 0),
        ] {
            let mut message = [&address("192.0.2.1")[..30], before, after].concat();
            message[3] = 0x80 | rcode;
            message[7] = u8::from(!before.is_empty());
            message[9] = u8::from(!after.is_empty());
            let entry = ask.entry(&message, 1000).unwrap();
            let found = (entry.expires - 1000, entry.denies, entry.keep_stale, entry.rcode);
            assert_eq!(found, (expected, true, expected > 0, rcode), "{why}");
        }
        // an alias and what it leads to
        let mut both = [&address("192.0.2.1")[..30], alias, &address("192.0.2.1")[30..]].concat();
        both[7] = 2;
        assert!(!ask.entry(&both, 1000).unwrap().denies);
    }

    #[test]
    fn a_question_for_upstream_says_what_its_client_wants() {
        let name = Name::parse("evil.example").unwrap();
        let ask = Ask { name, qtype: TYPE_AAAA, dnssec_ok: true, checking_disabled: true };
        let wanted = b"\x01\x10\0\x01\0\0\0\0\0\x01\x04evil\x07example\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0";
        assert_eq!(ask.message(true, false)[2..], *wanted);
        let plain = Ask { dnssec_ok: false, checking_disabled: false, ..ask.clone() };
        let usual = b"\x01\0\0\x01\0\0\0\0\0\x01\x04evil\x07example\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(plain.message(true, false)[2..], *usual);
        // to a server from before EDNS
        let old = b"\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07example\0\0\x1c\0\x01";
        assert_eq!(plain.message(false, false)[2..], *old);
        // random case, in the name alone; that eleven letters stay small sixty-four times does not happen
        let mixed: Vec<Vec<u8>> = (0..64).map(|_| ask.message(true, true)).collect();
        assert!(mixed.iter().all(|message| message[2..].to_ascii_lowercase() == wanted.to_ascii_lowercase()));
        assert!(mixed.iter().any(|message| message[2..] != *wanted));
    }

    #[test]
    fn an_answer_is_one_to_this_very_question() {
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07example\0\0\x01\0\x01";
        let right = address("192.0.2.1");
        assert!(is_answer(question, &right));
        let with = |at: usize, byte: u8| {
            let mut message = right.clone();
            message[at] = byte;
            message
        };
        for (why, message) in [
            ("another id", with(1, 0x35)),
            ("a question", with(2, 0x01)),
            ("another operation", with(2, 0xa1)),
            ("another case of the name", with(13, b'E')),
            ("another type", with(27, 28)),
            ("two questions", with(5, 2)),
            ("cut off", right[..20].to_vec()),
        ] {
            assert!(!is_answer(question, &message), "{why}");
        }
        // SERVFAIL may come without the question, success may not
        let header = |code: u8| [b"\x12\x34\x81".as_slice(), &[0x80 | code], &[0; 8]].concat();
        assert!(is_answer(question, &header(2)));
        assert!(!is_answer(question, &header(0)));
    }
}
