//! That both paths give the same answers, whatever is asked, and no larger ones than they may.

use proptest::prelude::*;

use super::*;

/// Random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

const TYPES: [u16; 20] = [1, 1, 1, 28, 28, 65, 2, 5, 6, 12, 15, 16, 33, 255, 257, 0, 41, 252, 250, 65280];

/// A question as clients, careless clients and attackers might send it.
fn generate(dice: &mut Dice, names: &[Name]) -> Vec<u8> {
    let mut owner = dice.pick(names).clone();
    for _ in 0..dice.roll(3) {
        owner = match dice.roll(4) {
            0 => owner.parent().unwrap_or(owner),
            1 => owner.child(b"*").unwrap_or(owner),
            2 => owner
                .child(dice.pick::<&[u8]>(&[b"x", b"ns", b"grafana", b"a.b", b"\0\xff", &[b'l'; 63]]))
                .unwrap_or(owner),
            _ => owner,
        };
    }
    let mut wire = owner.wire().to_vec();
    if dice.roll(2) == 0 {
        let end = wire.len();
        for byte in &mut wire[..end] {
            if dice.roll(2) == 0 {
                byte.make_ascii_uppercase();
            }
        }
    }
    let mut message = question(&wire, *dice.pick(&TYPES));
    message[0] = dice.roll(256) as u8;
    if dice.roll(8) == 0 {
        message[2] = *dice.pick(&[0, 5, 3, 0x29, 0x81]);
        message[3] = *dice.pick(&[0, 0x40, 0x80, 0x0F]);
    } else {
        message[3] = *dice.pick(&[0, 0x20, 0x10, 0x30]);
    }
    if dice.roll(40) == 0 {
        let end = message.len();
        message[end - 1] = *dice.pick(&[3, 255, 0]);
    }
    if dice.roll(2) == 0 {
        let client = [7; 8];
        let proven = cookie::check(&SECRET, "127.0.0.1".parse().unwrap(), 1_000_000 - dice.roll(4000) as u32, &client);
        let option = |code: u16, value: &[u8]| {
            let mut option = code.to_be_bytes().to_vec();
            option.extend_from_slice(&(value.len() as u16).to_be_bytes());
            option.extend_from_slice(value);
            option
        };
        let options = match dice.roll(9) {
            0 => option(10, &client),
            1 => option(10, &proven.unwrap().reply),
            2 => option(10, &[1; 12]),
            3 => option(12, &[0; 30]),
            4 => [option(12, &[0; 3]), option(10, &client)].concat(),
            5 => vec![0, 10, 0],
            _ => Vec::new(),
        };
        message[11] = 1;
        let size = *dice.pick(&[0_u16, 512, 1232, 4096, 100]);
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0, u8::from(dice.roll(30) == 0), *dice.pick(&[0, 0x80, 0x40]), 0]);
        message.extend_from_slice(&(options.len() as u16).to_be_bytes());
        message.extend_from_slice(&options);
    }
    match dice.roll(25) {
        0 => message.push(0),
        1 => message.truncate(dice.roll(message.len() + 1)),
        2 => {
            let at = dice.roll(message.len());
            message[at] ^= 1 << dice.roll(8);
        }
        _ => {}
    }
    message
}

/// Both paths over one message; how it went.
fn compare(view: &ViewSnapshot, context: &Context<'_>, message: &[u8]) -> &'static str {
    let mut buffer = [0; BUFFER];
    let length = message.len().min(BUFFER);
    buffer[..length].copy_from_slice(&message[..length]);
    let full = context.answer(&view.tree, message);
    if let Reply::Message(reply) = &full {
        check_bounds(context, message, reply);
    }
    let Some(common) = Common::parse(context, message) else { return "uncommon" };
    match fast::answer(view, context, &common, &mut buffer) {
        Outcome::Answered(length) => {
            assert_eq!(full, Reply::Message(buffer[..length].to_vec()), "question {message:02x?}");
            "fast"
        }
        Outcome::Foreign => {
            assert!(matches!(full, Reply::Forward(_)), "question {message:02x?}: {full:?}");
            "foreign"
        }
        Outcome::Full => {
            assert_eq!(buffer[..length], message[..length], "an unanswered question is left as it was");
            "full"
        }
    }
}

fn check_bounds(context: &Context<'_>, message: &[u8], reply: &[u8]) {
    assert!(reply.len() >= 12 && reply[..2] == message[..2] && reply[2] & 0x80 != 0);
    let well_formed = reply.len() > 12;
    if !well_formed {
        assert!(reply.len() <= message.len());
        return;
    }
    let proven = Common::parse(context, message).is_none_or(|common| common.limit > 3 * message.len());
    if context.transport == Transport::Udp {
        assert!(reply.len() <= 1232, "{} bytes", reply.len());
        if !context.client.is_loopback() && !proven {
            assert!(reply.len() <= 3 * message.len(), "{} for {}", reply.len(), message.len());
        }
    }
    let end = skip_plain_name(message, 12).unwrap() + 4;
    assert_eq!(reply[12..end], message[12..end], "the question comes back as it was");
}

/// How many questions the differential test makes; `MACULA_DNS_QUESTIONS=1000000` for the long run.
fn amount() -> usize {
    std::env::var("MACULA_DNS_QUESTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(60_000)
}

#[test]
fn both_paths_give_the_same_bytes() {
    let snapshot = snapshot();
    let mut names: Vec<Name> = Vec::new();
    for view in [View::Host, View::Container] {
        for zone in snapshot.view(view).tree.zones() {
            names.extend(zone.nodes().map(|(name, _)| name.clone()));
        }
    }
    names.extend(["example.com", "www.example.com", "dc.corp.local", "x.test", "."].map(name));
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..amount() {
        let message = generate(&mut dice, &names);
        let client = *dice.pick(&["127.0.0.1", "127.0.0.1", "172.31.0.9", "::1"]);
        let mut context = context(client, *dice.pick(&[Transport::Udp, Transport::Udp, Transport::Tcp]));
        context.recursion = dice.roll(8) != 0;
        let view = snapshot.view(*dice.pick(&[View::Host, View::Container]));
        *ways.entry(compare(view, &context, &message)).or_default() += 1;
    }
    println!("{ways:?}");
    // each kind must have been seen, and many must have been fast
    assert!(ways.len() == 4 && ways["fast"] * 5 > amount() * 2, "{ways:?}");
}

#[test]
fn every_answer_can_be_read_by_somebody_else() {
    let snapshot = snapshot();
    let view = snapshot.view(View::Host);
    for zone in view.tree.zones() {
        for (owner, _) in zone.nodes() {
            for qtype in TYPES.into_iter().filter(|qtype| !crate::dns::wire::is_meta(*qtype)) {
                let message = question(owner.wire(), qtype);
                if let Reply::Message(reply) = context("127.0.0.1", Transport::Tcp).answer(&view.tree, &message) {
                    let read = Message::from_vec(&reply).unwrap_or_else(|error| panic!("{owner} {qtype}: {error}"));
                    assert_eq!(read.queries.len(), 1);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fall_over(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        let snapshot = snapshot_once();
        for (client, transport) in [("127.0.0.1", Transport::Udp), ("10.0.0.1", Transport::Udp), ("::1", Transport::Tcp)] {
            compare(snapshot.view(View::Host), &context(client, transport), &message);
        }
    }

    #[test]
    fn a_header_and_noise(body in proptest::collection::vec(any::<u8>(), 0..100), counts in any::<[u8; 4]>()) {
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, counts[0] % 3, 0, counts[1] % 3, 0, counts[2] % 3];
        message.extend_from_slice(&body);
        compare(snapshot_once().view(View::Host), &context("10.0.0.1", Transport::Udp), &message);
    }

    #[test]
    fn a_name_survives_text_and_back(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8)) {
        let mut wire = Vec::new();
        for label in &labels {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        let from_wire = Name::from_wire(&wire).unwrap();
        prop_assert_eq!(Name::parse(&from_wire.to_string()).unwrap(), from_wire);
    }
}

fn snapshot_once() -> &'static Snapshot {
    static ONCE: std::sync::OnceLock<Snapshot> = std::sync::OnceLock::new();
    ONCE.get_or_init(snapshot)
}

#[test]
fn answers_that_do_not_fit_are_cut_to_whole_records() {
    let snapshot = snapshot();
    let view = snapshot.view(View::Host);
    let sizes = |client: &str, transport| {
        let message = question(name("large.macula.local").wire(), 1);
        let Reply::Message(reply) = context(client, transport).answer(&view.tree, &message) else { panic!() };
        let read = Message::from_vec(&reply).unwrap();
        (reply.len(), read.answers.len(), read.metadata.truncation)
    };
    assert_eq!(sizes("127.0.0.1", Transport::Udp), (500, 29, true));
    assert_eq!(sizes("172.31.0.1", Transport::Udp), (100, 4, true), "three times the question of 36 bytes");
    assert_eq!(sizes("127.0.0.1", Transport::Tcp), (676, 40, false));
}

#[test]
fn edns_versions_and_cookies() {
    let snapshot = snapshot();
    let view = snapshot.view(View::Host);
    let client: IpAddr = "127.0.0.1".parse().unwrap();
    let ask = |version: u8, options: &[u8]| {
        let mut message = question(name("grafana.macula.local").wire(), 1);
        message[11] = 1;
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, version, 0, 0, 0, options.len() as u8]);
        message.extend_from_slice(options);
        match context("127.0.0.1", Transport::Udp).answer(&view.tree, &message) {
            Reply::Message(reply) => reply,
            other => panic!("{other:?}"),
        }
    };
    // BADVERS: 16 is 0 in the header and 1 in the OPT record
    let reply = ask(1, &[]);
    assert_eq!((reply[3] & 0xF, reply[reply.len() - 6]), (0, 1));
    let mut option = vec![0, 10, 0, 8];
    option.extend_from_slice(&[3; 8]);
    let reply = ask(0, &option);
    let expected = cookie::check(&SECRET, client, 1_000_000, &[3; 8]).unwrap().reply;
    assert!(reply.ends_with(&expected), "{reply:02x?}");
    // a cookie of a wrong length: FORMERR, header only
    let reply = ask(0, &[0, 10, 0, 2, 1, 1]);
    assert_eq!((reply.len(), reply[3] & 0xF), (12, 1));
}
