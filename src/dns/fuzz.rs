//! What the fuzz target runs over any bytes. Built only for it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use super::cookie::Secret;
use super::fast::{self, BUFFER, Common, Outcome};
use super::feed;
use super::forward::Ask;
use super::full::{AMPLIFICATION, Context, Reply, Transport};
use super::snapshot::Snapshot;
use super::wire::{HEADER, Name};
use crate::model::{Record, RecordData, View, Zone};

fn snapshot() -> &'static Snapshot {
    static ONCE: OnceLock<Snapshot> = OnceLock::new();
    ONCE.get_or_init(|| {
        let mut zone = Zone::new("m.local", 1);
        let address = RecordData::A(Ipv4Addr::new(127, 0, 0, 2));
        for owner in ["a.m.local", "*.m.local", "x.y.m.local"] {
            zone.records.push(Record::new(owner, address.clone()));
        }
        zone.records.push(Record::new("c.m.local", RecordData::Cname("q.m.local".to_owned())));
        zone.records.push(Record::new("a.m.local", RecordData::Txt(vec!["t".repeat(255); 6])));
        Snapshot::build(&[&zone], &BTreeMap::new()).expect("a zone without a fault")
    })
}

/// Panics when the paths disagree or an answer is longer than it may be.
pub fn packet(data: &[u8]) {
    let view = snapshot().view(View::Host);
    let secret = Secret([1; 16]);
    for (client, transport) in [(Ipv4Addr::LOCALHOST, Transport::Tcp), (Ipv4Addr::new(10, 0, 0, 1), Transport::Udp)] {
        let context = Context { client: client.into(), transport, now: 1, secret: &secret, recursion: true };
        let reply = context.answer(&view.tree, data);
        if let (Reply::Message(reply), Transport::Udp) = (&reply, transport) {
            assert!(reply.len() <= AMPLIFICATION * data.len());
        }
        let mut buffer = [0; BUFFER];
        let Some(space) = buffer.get_mut(..data.len()) else { continue };
        space.copy_from_slice(data);
        let Some(common) = Common::parse(&context, data) else { continue };
        if let Outcome::Answered(length) = fast::answer(view, &context, &common, &mut buffer) {
            assert_eq!(reply, Reply::Message(buffer[..length].to_vec()));
        }
    }
    // the same bytes from the other side
    let ask = Ask { name: Name::root(), qtype: 1, dnssec_ok: false, checking_disabled: false };
    if let Some(entry) = ask.entry(data, 0) {
        let question = data.get(HEADER..HEADER + entry.name_length + 4).unwrap_or(&[]);
        let mut body = entry.body(question, 10);
        entry.append_to(&mut body, &Name::root(), 10);
    }
    feed::read_any(data);
}
