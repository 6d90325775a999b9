//! What all workers share, and the way of a question that the fast path leaves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::clock::Clock;
use super::cookie::Secret;
use super::fast::{self, Common, Outcome};
use super::forward::{Ask, Forwarder};
use super::full::{Body, Context, Forward, Reply, Transport};
use super::metrics::{Metrics, Way};
use super::snapshot::{Snapshot, Swap, ViewSnapshot};
use super::wire::{FLAG_CD, Query, REFUSED, SERVFAIL, u16_at};
use crate::model::View;

/// A question as the query log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub client: SocketAddr,
    pub view: View,
    pub tcp: bool,
    /// As text; empty for a malformed message.
    pub name: String,
    pub qtype: u16,
    /// The answer's code.
    pub rcode: u8,
    pub way: Way,
}

/// Told each question and its answer; must not block.
pub type QueryLog = Arc<dyn Fn(&Asked) + Send + Sync>;

pub struct Core {
    pub snapshot: Swap<Snapshot>,
    pub secret: Secret,
    pub forwarder: Option<Arc<Forwarder>>,
    /// Who is answered beside loopback.
    pub networks: Swap<Vec<IpNet>>,
    pub metrics: Metrics,
    pub query_log: Option<QueryLog>,
    pub clock: Clock,
}

/// Where a message came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub client: SocketAddr,
    pub view: View,
    pub transport: Transport,
}

/// What is to be done after a first look.
pub enum Step {
    Drop,
    /// The answer lies in the buffer.
    InPlace(usize, Way),
    /// The answer; it may be longer than the buffer.
    Message(Vec<u8>),
    /// To be finished by [`Core::forward`].
    Forward(Forward),
}

impl Core {
    /// Whether a client is answered at all: loopback and the networks that we were given.
    #[inline]
    pub fn admits(&self, networks: &[IpNet], client: IpAddr) -> bool {
        client.is_loopback() || networks.iter().any(|network| network.contains(&client))
    }

    /// The counters in the text format of Prometheus.
    pub fn exposition(&self) -> String {
        let mut text = self.metrics.text();
        if let Some(forwarder) = &self.forwarder {
            forwarder.metrics(&mut text);
        }
        text
    }

    /// Seconds since the start, for the cache.
    pub fn now(&self) -> u32 {
        self.clock.now()
    }

    pub fn context(&self, arrival: &Arrival, epoch: u32) -> Context<'_> {
        Context {
            client: arrival.client.ip(),
            transport: arrival.transport,
            now: epoch,
            secret: &self.secret,
            recursion: self.forwarder.is_some(),
        }
    }

    /// Answers a message in place where that can be done at once. `now` as [`Core::now`], `epoch`
    /// in seconds since 1970.
    #[inline]
    pub fn step(
        &self,
        snapshot: &ViewSnapshot,
        context: &Context<'_>,
        now: u32,
        buffer: &mut [u8],
        length: usize,
    ) -> Step {
        if let Some(mut common) = buffer.get(..length).and_then(|message| Common::parse(context, message)) {
            match fast::answer(snapshot, context, &common, buffer) {
                Outcome::Answered(length) => return Step::InPlace(length, Way::Fast),
                Outcome::Foreign => {
                    if let Some(forwarder) = &self.forwarder
                        && let Some(length) = forwarder.cached(&mut common, buffer, now)
                    {
                        return Step::InPlace(length, Way::Cache);
                    }
                }
                Outcome::Full => {}
            }
        }
        match context.answer(&snapshot.tree, buffer.get(..length).unwrap_or(&[])) {
            Reply::Drop => Step::Drop,
            Reply::Message(message) => Step::Message(message),
            Reply::Forward(forward) => Step::Forward(forward),
        }
    }

    /// Asks upstream and writes the answer to `message`. None only when the message is no question,
    /// which [`Core::step`] has seen to.
    pub async fn forward(&self, arrival: Arrival, message: &[u8], forward: Forward) -> Option<Vec<u8>> {
        let query = Query::parse(message).ok()?;
        let context = self.context(&arrival, epoch());
        let cookie = context.cookie(&query).ok()?;
        let forwarder = self.forwarder.as_ref()?;
        let ask = Ask {
            name: forward.name,
            qtype: forward.qtype,
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: query.flags & FLAG_CD != 0,
        };
        let Some(reply) = forwarder.resolve(&ask).await else {
            // a program asks its next server after either; only a failure is worth asking again
            let rcode = if forwarder.has_servers(&ask.name) { SERVFAIL } else { REFUSED };
            return Some(context.say(&query, rcode.into()));
        };
        let body = if forward.chain.is_empty() {
            reply.body(query.question, self.now())
        } else {
            let mut body = Body::new(query.question, None);
            for (owner, ttl, target) in &forward.chain {
                body.alias(owner, *ttl, target);
            }
            reply.append_to(&mut body, &ask.name, self.now());
            body
        };
        Some(context.seal(&query, cookie, body, 0))
    }

    /// Tells the query log.
    pub fn log(&self, arrival: &Arrival, question: &[u8], answer: &[u8], way: Way) {
        let Some(log) = &self.query_log else { return };
        let query = Query::parse(question).ok();
        log(&Asked {
            client: arrival.client,
            view: arrival.view,
            tcp: arrival.transport == Transport::Tcp,
            name: query.and_then(|query| query.name()).map(|name| name.to_string()).unwrap_or_default(),
            qtype: query.map_or(0, |query| query.qtype),
            rcode: (u16_at(answer, 2).unwrap_or(0) & 0xF) as u8,
            way,
        });
    }
}

/// The type asked for in an answer or question, for the counters; 0 when there is none.
pub fn asked_type(message: &[u8]) -> u16 {
    super::wire::skip_plain_name(message, super::wire::HEADER).and_then(|at| u16_at(message, at)).unwrap_or(0)
}

/// Seconds since 1970, for cookies; wraps in 2106, as they do.
pub fn epoch() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::model::{Record, RecordData, Zone};

    /// Without a forwarder.
    fn core(query_log: Option<QueryLog>) -> Core {
        let mut zone = Zone::new("m.local", 1);
        zone.records.push(Record::new("a.m.local", RecordData::A([127, 0, 0, 2].into())));
        Core {
            snapshot: Swap::new(Snapshot::build(&[&zone], &BTreeMap::new()).unwrap()),
            secret: Secret([1; 16]),
            forwarder: None,
            networks: Swap::new(Vec::new()),
            metrics: Metrics::default(),
            query_log,
            clock: Clock::start(),
        }
    }

    /// `a.m.local A` with these flags and of this class.
    fn question(flags: u8, class: u8) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x01a\x01m\x05local\0\0\x01\0");
        message.push(class);
        message
    }

    fn arrival(transport: Transport) -> Arrival {
        Arrival { client: ([127, 0, 0, 1], 4711).into(), view: View::Host, transport }
    }

    #[test]
    fn loopback_and_the_platforms_networks_are_answered() {
        let core = core(None);
        let networks: Vec<IpNet> = vec!["172.31.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        for (client, admitted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("172.31.0.9", true),
            ("172.31.1.9", false),
            ("fd00::9", true),
            ("fd00:0:0:1::9", false),
            ("192.0.2.1", false),
        ] {
            let client: IpAddr = client.parse().unwrap();
            assert_eq!(core.admits(&networks, client), admitted, "{client}");
            assert_eq!(core.admits(&[], client), client.is_loopback(), "{client}");
        }
    }

    #[test]
    fn a_message_goes_the_shortest_way_that_there_is() {
        let core = core(None);
        let step = |message: &[u8]| {
            let snapshot = core.snapshot.load();
            let context = core.context(&arrival(Transport::Udp), 1000);
            let mut buffer = [0; 512];
            buffer[..message.len()].copy_from_slice(message);
            match core.step(snapshot.view(View::Host), &context, 0, &mut buffer, message.len()) {
                Step::Drop => "drop".to_owned(),
                Step::InPlace(length, way) => format!("{way:?} {length}"),
                Step::Message(message) => format!("message {}", message.len()),
                Step::Forward(_) => "forward".to_owned(),
            }
        };
        assert_eq!(step(&question(1, 1)), "Fast 43");
        assert_eq!(step(&question(1, 3)), "message 27");
        assert_eq!(step(&question(1, 1)[..20]), "message 12");
        assert_eq!(step(&question(0x81, 1)), "drop");
        assert_eq!(step(b""), "drop");
    }

    #[test]
    fn the_query_log_hears_question_and_answer() {
        let heard: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = Arc::clone(&heard);
        let log: QueryLog = Arc::new(move |asked| log.lock().unwrap().push(asked.clone()));
        let core = core(Some(log));
        let tcp = arrival(Transport::Tcp);
        core.log(&tcp, &question(1, 1), &[0x12, 0x34, 0x81, 0x83], Way::Full);
        core.log(&arrival(Transport::Udp), b"noise", b"", Way::Dropped);
        let first = Asked {
            client: tcp.client,
            view: View::Host,
            tcp: true,
            name: "a.m.local".to_owned(),
            qtype: 1,
            rcode: 3,
            way: Way::Full,
        };
        let second = Asked { tcp: false, name: String::new(), qtype: 0, rcode: 0, way: Way::Dropped, ..first.clone() };
        assert_eq!(*heard.lock().unwrap(), [first, second]);
        assert_eq!((asked_type(&question(1, 1)), asked_type(&question(1, 1)[..22]), asked_type(b"")), (1, 0, 0));
        // later than 2020
        assert!(epoch() > 1_577_836_800);
    }
}
