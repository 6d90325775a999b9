//! PowerDNS's records, pulled into our own zone: its serial is looked at twice a second while anybody asks for names,
//! and the zone transferred when it moved (RFC 5936). While the server is down the last copy serves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::forward::{Ask, ExchangeError};
use super::rdata::Rdata;
use super::tree::{FedRecord, FedZone};
use super::wire::{CLASS_IN, HEADER, Name, RawRecord, TYPE_AXFR, TYPE_SOA, skip_plain_name, u16_at};
use crate::model::chain;

/// How often the serial is looked at, and how often at rest.
const INTERVAL: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(2);
/// Nobody has asked for a name for so long, and none has changed: it is at rest.
const AWAKE: Duration = Duration::from_secs(60);
/// A server that has not answered so many times is away for longer.
const AWAY: u32 = 60;
/// A server that is silent at first may be busy: it is given so many looks before the zone is answered without it.
const FIRST_LOOKS: u32 = 3;
/// The zone is transferred anyway after so many looks: a zone that was made without SOA-EDIT-API
/// changes without its serial moving.
const TRANSFER_EVERY: u32 = 60;
/// For the answer with the serial, and for a whole transfer.
const SERIAL_WAIT: Duration = Duration::from_millis(400);
const TRANSFER_WAIT: Duration = Duration::from_secs(10);
/// A zone of a platform is far smaller; more is somebody's mistake.
const MOST_RECORDS: usize = 100_000;

#[derive(Debug, Error)]
pub enum FeedError {
    #[error("asking {server} for the serial of {zone}")]
    Serial { zone: String, server: SocketAddr, source: ExchangeError },
    #[error("{server} has no zone {zone}")]
    NoZone { zone: String, server: SocketAddr },
    #[error("transferring {zone} from {server}")]
    Transfer { zone: String, server: SocketAddr, source: std::io::Error },
    #[error("{server} refuses the transfer of {zone} (code {rcode}): is this address in its allow-axfr-ips?")]
    Refused { zone: String, server: SocketAddr, rcode: u8 },
    #[error("the transfer of {zone} from {server} is malformed")]
    Malformed { zone: String, server: SocketAddr },
    #[error("no answer from {server} about {zone}")]
    Timeout { zone: String, server: SocketAddr },
}

/// How a feed is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Of the copy that serves.
    pub serial: Option<u32>,
    pub records: usize,
    /// Why the last look failed; none when it did not.
    pub error: Option<String>,
}

/// One zone's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub zone: Name,
    pub server: SocketAddr,
}

impl Source {
    /// Watches the source, handing each new copy to `publish`; none where the first looks brought none. `asked`: how many
    /// questions there were so far. It does not end.
    pub async fn follow(
        self,
        status: Arc<Mutex<FeedStatus>>,
        asked: impl Fn() -> u64,
        publish: impl Fn(Option<FedZone>),
    ) {
        let mut have: Option<FedZone> = None;
        let (mut looks, mut first_looks) = (0, FIRST_LOOKS);
        let mut pace = Pace::new(asked());
        loop {
            looks = (looks + 1) % TRANSFER_EVERY;
            let serial = have.as_ref().filter(|_| looks != 0).map(|zone| zone.serial);
            let result = self.look(serial).await;
            let (answered, silent) = (result.is_ok(), matches!(result, Err(FeedError::Timeout { .. })));
            let news = result.as_ref().ok().and_then(Option::as_ref).filter(|zone| have.as_ref() != Some(*zone));
            let pause = pace.next(Instant::now(), asked(), answered, news.is_some());
            let given_up = first_looks == 1 || (first_looks > 0 && !silent);
            if news.is_some() || given_up {
                publish(news.cloned());
                first_looks = 0;
            }
            first_looks = first_looks.saturating_sub(1);
            // last: what is written down is answered
            note(&status, &result);
            have = result.ok().flatten().or(have);
            sleep(pause).await;
        }
    }

    /// The zone, if its serial is not the one that we have.
    pub async fn look(&self, have: Option<u32>) -> Result<Option<FedZone>, FeedError> {
        let serial = self.serial().await?;
        if have == Some(serial) {
            return Ok(None);
        }
        let transfer = timeout(TRANSFER_WAIT, self.transfer()).await;
        transfer.map_err(|_| FeedError::Timeout { zone: self.zone.to_string(), server: self.server })?.map(Some)
    }

    async fn serial(&self) -> Result<u32, FeedError> {
        let (zone, server) = (self.zone.to_string(), self.server);
        let ask = Ask { name: self.zone.clone(), qtype: TYPE_SOA, dnssec_ok: false, checking_disabled: false };
        let message = match timeout(SERIAL_WAIT, ask.exchange(server, false)).await {
            Ok(Ok(message)) => message,
            Ok(Err(source)) => return Err(FeedError::Serial { zone, server, source }),
            Err(_) => return Err(FeedError::Timeout { zone, server }),
        };
        let first = skip_plain_name(&message, HEADER).and_then(|end| RawRecord::read(&message, end + 4));
        // the first record of a denial may be a SOA too, but of the zone above
        let serial = first.filter(|_| u16_at(&message, 6) != Some(0)).and_then(|record| soa(&message, &record));
        serial.ok_or(FeedError::NoZone { zone, server })
    }

    async fn transfer(&self) -> Result<FedZone, FeedError> {
        let (zone, server) = (self.zone.to_string(), self.server);
        let io = |source| FeedError::Transfer { zone: zone.clone(), server, source };
        let mut stream = TcpStream::connect(server).await.map_err(io)?;
        stream.write_all(&self.question()).await.map_err(io)?;
        let mut fed = FedZone::default();
        let mut ends = 0;
        while ends < 2 {
            let length = stream.read_u16().await.map_err(io)?;
            let mut message = vec![0; usize::from(length)];
            stream.read_exact(&mut message).await.map_err(io)?;
            let rcode = message.get(3).map_or(0, |flags| flags & 0xF);
            if rcode != 0 {
                return Err(FeedError::Refused { zone, server, rcode });
            }
            let took = take(&message, &mut fed, &mut ends);
            if took.is_none() || fed.records.len() > MOST_RECORDS {
                return Err(FeedError::Malformed { zone, server });
            }
        }
        Ok(fed)
    }

    fn question(&self) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        // the connection is ours alone: the id tells nothing apart
        message.extend_from_slice(self.zone.wire());
        message.extend_from_slice(&TYPE_AXFR.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.append(&mut message);
        framed
    }
}

/// How soon it is looked again. Pure.
struct Pace {
    asked: u64,
    /// When somebody has asked last, or a record has changed.
    awake: Instant,
    unanswered: u32,
}

impl Pace {
    fn new(asked: u64) -> Self {
        Self { asked, awake: Instant::now(), unanswered: 0 }
    }

    fn next(&mut self, now: Instant, asked: u64, answered: bool, news: bool) -> Duration {
        if asked != self.asked || news {
            (self.asked, self.awake) = (asked, now);
        }
        self.unanswered = if answered { 0 } else { self.unanswered.saturating_add(1) };
        let rests = now.saturating_duration_since(self.awake) >= AWAKE || self.unanswered >= AWAY;
        if rests { REST } else { INTERVAL }
    }
}

/// Writes down how a look went.
fn note(status: &Mutex<FeedStatus>, result: &Result<Option<FedZone>, FeedError>) {
    let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(None) => status.error = None,
        Ok(Some(zone)) => {
            *status = FeedStatus { serial: Some(zone.serial), records: zone.records.len(), error: None };
        }
        Err(error) => status.error = Some(chain(error)),
    }
}

/// Takes the records of one message of a transfer; counts the SOAs that begin and end it. None when
/// it is malformed or does not begin with a SOA.
fn take(message: &[u8], fed: &mut FedZone, ends: &mut u32) -> Option<()> {
    let mut at = HEADER;
    for _ in 0..u16_at(message, 4)? {
        at = skip_plain_name(message, at)? + 4;
    }
    let answers = u16_at(message, 6)?;
    if answers == 0 {
        return None;
    }
    for _ in 0..answers {
        let record = RawRecord::read(message, at)?;
        at = record.end();
        if record.rtype == TYPE_SOA {
            fed.serial = soa(message, &record)?;
            *ends += 1;
            if *ends == 2 {
                return Some(());
            }
            continue;
        }
        if *ends == 0 {
            return None;
        }
        let (name, _) = Name::read(message, record.start)?;
        let data = Rdata::from_wire(message, &record)?;
        fed.records.push(FedRecord { name, rtype: record.rtype, ttl: record.ttl, data });
    }
    Some(())
}

/// Reads a message of a transfer and forgets it.
#[cfg(fuzzing)]
pub fn read_any(message: &[u8]) {
    let _ = take(message, &mut FedZone::default(), &mut 0);
}

/// The serial, if it is a SOA.
fn soa(message: &[u8], record: &RawRecord) -> Option<u32> {
    match (record.rtype, Rdata::from_wire(message, record)?) {
        (TYPE_SOA, Rdata::Soa(soa)) => Some(soa.numbers[0]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transfer_that_is_refused_says_the_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut asked).await.unwrap();
            // a header alone, with another flag beside the code
            stream.write_all(&[0, 12, 0, 0, 0x80, 0x85, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        });
        let source = Source { zone: Name::parse("macula.local").unwrap(), server };
        let error = source.transfer().await.unwrap_err();
        assert!(matches!(error, FeedError::Refused { rcode: 5, .. }), "{error}");
    }

    /// `m A` or `m SOA` with this serial, behind a header that counts questions and answers.
    fn message(questions: u8, records: &[&str]) -> Vec<u8> {
        let mut message = vec![0, 0, 0x80, 0, 0, questions, 0, records.len() as u8, 0, 0, 0, 0];
        for _ in 0..questions {
            message.extend_from_slice(b"\x01m\0\0\xfc\0\x01");
        }
        for record in records {
            message.extend_from_slice(b"\x01m\0");
            match record.strip_prefix("soa ") {
                Some(serial) => {
                    message.extend_from_slice(b"\0\x06\0\x01\0\0\0\x3c\0\x16\0\0");
                    message.extend_from_slice(&serial.parse::<u32>().unwrap().to_be_bytes());
                    message.extend_from_slice(&[0; 16]);
                }
                None => {
                    message.extend_from_slice(b"\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0");
                    message.push(record.parse().unwrap());
                }
            }
        }
        message
    }

    /// RFC 5936 2.2: a zone begins and ends with its SOA.
    #[test]
    fn a_transfer_is_read_from_one_soa_to_the_next() {
        // whether each message was in order, then serial, SOAs and the last bytes of the addresses
        let took = |messages: &[Vec<u8>]| {
            let (mut fed, mut ends) = (FedZone::default(), 0);
            let right: Vec<bool> =
                messages.iter().map(|message| take(message, &mut fed, &mut ends).is_some()).collect();
            let addresses = fed.records.iter().map(|record| match &record.data {
                Rdata::Bytes(bytes) => bytes[3],
                other => panic!("{other:?}"),
            });
            (right, fed.serial, ends, addresses.collect::<Vec<u8>>())
        };
        let whole = message(1, &["soa 7", "1", "2", "soa 7"]);
        assert_eq!(took(std::slice::from_ref(&whole)), (vec![true], 7, 2, vec![1, 2]));
        let parts = [message(1, &["soa 7"]), message(0, &["1"]), message(2, &["2", "soa 7"])];
        assert_eq!(took(&parts), (vec![true; 3], 7, 2, vec![1, 2]));
        // nothing behind the end, and nothing before the beginning
        assert_eq!(took(&[message(0, &["soa 7", "soa 7", "1"])]), (vec![true], 7, 2, vec![]));
        assert_eq!(took(&[message(0, &["1", "soa 7"])]), (vec![false], 0, 0, vec![]));
        assert_eq!(took(&[message(1, &[])]), (vec![false], 0, 0, vec![]));
        for length in [whole.len() - 1, 13] {
            assert_eq!(took(&[whole[..length].to_vec()]).0, [false], "{length}");
        }
        let mut fed = FedZone::default();
        take(&whole, &mut fed, &mut 0).unwrap();
        let name = Name::parse("m").unwrap();
        assert_eq!(fed.records[0], FedRecord { name, rtype: 1, ttl: 60, data: Rdata::a([127, 0, 0, 1].into()) });
    }

    #[test]
    fn a_look_is_written_down() {
        let status = Mutex::new(FeedStatus::default());
        let now = || status.lock().unwrap().clone();
        let (zone, server) = ("m".to_owned(), "127.0.0.8:53".parse().unwrap());
        let mut fed = FedZone { serial: 7, records: Vec::new() };
        take(&message(0, &["soa 7", "1", "soa 7"]), &mut fed, &mut 0).unwrap();
        note(&status, &Ok(Some(fed)));
        let good = FeedStatus { serial: Some(7), records: 1, error: None };
        assert_eq!(now(), good);
        // what there was goes on to serve
        note(&status, &Err(FeedError::Timeout { zone, server }));
        let error = Some("no answer from 127.0.0.8:53 about m".to_owned());
        assert_eq!(now(), FeedStatus { error, ..good.clone() });
        note(&status, &Ok(None));
        assert_eq!(now(), good);
    }

    #[test]
    fn a_transfer_is_asked_for_with_its_length_before_it() {
        let source = Source { zone: Name::parse("m").unwrap(), server: "127.0.0.8:53".parse().unwrap() };
        assert_eq!(source.question(), b"\0\x13\0\0\0\0\0\x01\0\0\0\0\0\0\x01m\0\0\xfc\0\x01");
    }

    #[test]
    fn it_is_looked_seldom_where_nobody_asks() {
        let mut pace = Pace::new(7);
        let begun = pace.awake;
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!(pace.next(at(59), 7, true, false), INTERVAL);
        assert_eq!(pace.next(at(60), 7, true, false), REST);
        assert_eq!(pace.next(at(62), 8, true, false), INTERVAL, "somebody asks");
        assert_eq!(pace.next(at(121), 8, true, false), INTERVAL);
        assert_eq!(pace.next(at(122), 8, true, false), REST);
        assert_eq!(pace.next(at(124), 8, true, true), INTERVAL, "a record has changed");
        // one that is not there is not asked twice a second for ever, however many names are asked for
        let pauses: Vec<Duration> =
            (0..u64::from(AWAY)).map(|look| pace.next(at(125), 9 + look, false, false)).collect();
        assert!(pauses.iter().rev().skip(1).all(|pause| *pause == INTERVAL));
        assert_eq!(pauses.last(), Some(&REST));
        assert_eq!(pace.next(at(126), 100, true, false), INTERVAL);
    }
}
