//! The answers themselves.

mod both_paths;
mod programs;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::Message;
use insta::assert_snapshot;

use super::cookie::{self, Secret};
use super::fast::{self, BUFFER, Common, Outcome};
use super::full::{Context, Reply, Transport};
use super::rdata::Rdata;
use super::server::Server;
use super::shared::Config;
use super::snapshot::{Snapshot, ViewSnapshot};
use super::terms::{Listen, ZoneEntry};
use super::trace::record_type;
use super::tree::{FedRecord, FedZone, with_programs};
use super::wire::{Name, skip_plain_name};
use crate::model::{Record, RecordData, View, Zone};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn a(text: &str) -> RecordData {
    RecordData::A(text.parse().unwrap())
}

/// A platform with something of everything.
fn platform() -> Zone {
    let mut zone = Zone::new("macula.local", 7);
    let mut add = |owner: &str, data| {
        let owner = if owner.is_empty() { "macula.local".to_owned() } else { format!("{owner}.macula.local") };
        zone.records.push(Record::new(owner, data));
    };
    add("ns", a("127.0.0.9"));
    add("grafana", a("127.0.0.2"));
    add("s3", a("127.0.0.5"));
    add("*.s3", a("127.0.0.5"));
    add("postgres", a("127.0.0.6"));
    add("postgres", RecordData::Aaaa("::1".parse().unwrap()));
    add("*", a("127.0.0.10"));
    add("www", RecordData::Cname("grafana.macula.local".into()));
    add("anything", RecordData::Cname("some.where.macula.local".into()));
    add("nothing", RecordData::Cname("absent.s3.postgres.macula.local".into()));
    add("outside", RecordData::Cname("example.com".into()));
    add("circle", RecordData::Cname("circle.macula.local".into()));
    add("loop", RecordData::Cname("localhost".into()));
    add("deep.below.nothing2", a("127.0.0.11"));
    add(
        "_postgresql._tcp",
        RecordData::Srv { priority: 0, weight: 5, port: 5432, target: "postgres.macula.local".into() },
    );
    add("mail", RecordData::Mx { preference: 10, exchange: "grafana.macula.local".into() });
    add("mail", RecordData::Mx { preference: 20, exchange: "mail.macula.local".into() });
    add("", RecordData::Txt(vec!["of the platform".into()]));
    add("", RecordData::Caa { critical: false, tag: "issue".into(), value: ";".into() });
    add("grafana", RecordData::Https { priority: 1, target: ".".into(), params: vec![(1, b"\x02h2".to_vec())] });
    add("*.many", RecordData::Mx { preference: 1, exchange: "one.many.macula.local".into() });
    add("*.alias", RecordData::Cname("grafana.macula.local".into()));
    for number in 0..40 {
        add("large", a(&format!("127.0.2.{number}")));
    }
    for number in 0..8 {
        add("text", RecordData::Txt(vec![format!("{number}{}", "x".repeat(200))]));
    }
    zone.records.push(Record::new("ingress.macula.local", a("127.0.0.1")).only(View::Host));
    zone.records.push(Record::new("ingress.macula.local", a("172.31.0.2")).only(View::Container));
    zone
}

fn fed(records: &[(&str, &str, &str)]) -> FedZone {
    let records = records.iter().map(|(owner, rtype, value)| {
        let data = match *rtype {
            "A" => Rdata::a(value.parse().unwrap()),
            "TXT" => Rdata::from_model(&RecordData::Txt(vec![(*value).to_owned()])).unwrap().1,
            _ => Rdata::Name(name(value)),
        };
        FedRecord { name: name(owner), rtype: record_type(rtype).unwrap(), ttl: 60, data }
    });
    FedZone { serial: 3, records: records.collect() }
}

fn snapshot() -> Snapshot {
    let mut other = Zone::new("pr-1.macula.local", 1);
    other.records.push(Record::new("grafana.pr-1.macula.local", a("127.64.3.2")));
    let fed = fed(&[
        ("macula.local", "NS", "dns.macula.local"),
        ("macula.local", "TXT", "of PowerDNS"),
        ("app.macula.local", "A", "127.0.0.10"),
        ("grafana.macula.local", "A", "127.9.9.9"),
        ("*.apps.macula.local", "A", "127.0.0.12"),
        ("sub.macula.local", "NS", "elsewhere.example"),
        ("kind.macula.local", "CNAME", "localhost"),
        ("app2.macula.local", "CNAME", "grafana.macula.local"),
        ("hidden.pr-1.macula.local", "A", "127.9.9.9"),
        ("outside.example", "A", "127.9.9.9"),
    ]);
    let fed = BTreeMap::from([(name("macula.local"), Arc::new(fed))]);
    Snapshot::build(&[&platform(), &other], &fed).unwrap()
}

const SECRET: Secret = Secret([9; 16]);

fn context(client: &str, transport: Transport) -> Context<'static> {
    Context { client: client.parse().unwrap(), transport, now: 1_000_000, secret: &SECRET, recursion: true }
}

fn question(owner: &[u8], qtype: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(owner);
    message.extend_from_slice(&qtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The answer in one line a record.
fn ask(view: &ViewSnapshot, owner: &str, qtype: &str) -> String {
    let message = question(name(owner).wire(), record_type(qtype).unwrap());
    let reply = match context("127.0.0.1", Transport::Udp).answer(&view.tree, &message) {
        Reply::Message(reply) => reply,
        other => return format!("{owner} {qtype}: {other:?}\n"),
    };
    let message = Message::from_vec(&reply).unwrap();
    let mut text = format!("{owner} {qtype}: {:?}", message.metadata.response_code);
    for (flag, shown) in [
        (message.metadata.authoritative, " aa"),
        (message.metadata.truncation, " tc"),
        (message.metadata.recursion_available, " ra"),
    ] {
        text.push_str(if flag { shown } else { "" });
    }
    for record in &message.answers {
        text.push_str(&format!("\n  {record}"));
    }
    for record in &message.authorities {
        text.push_str(&format!("\n  authority {record}"));
    }
    text.push('\n');
    text
}

fn ask_all(view: View, questions: &[(&str, &str)]) -> String {
    let snapshot = snapshot();
    questions.iter().map(|(owner, qtype)| ask(snapshot.view(view), owner, qtype)).collect()
}

#[test]
fn our_own_names() {
    assert_snapshot!(ask_all(View::Host, &[
        ("grafana.macula.local", "A"),
        ("grafana.macula.local", "AAAA"),
        ("grafana.macula.local", "HTTPS"),
        ("postgres.macula.local", "AAAA"),
        ("macula.local", "SOA"),
        ("macula.local", "NS"),
        ("macula.local", "TXT"),
        ("mail.macula.local", "MX"),
        ("_postgresql._tcp.macula.local", "SRV"),
        ("_tcp.macula.local", "A"),
        ("grafana.macula.local", "ANY"),
        ("grafana.pr-1.macula.local", "A"),
        ("other.pr-1.macula.local", "A"),
        ("hidden.pr-1.macula.local", "A"),
        ("ingress.macula.local", "A"),
    ]), @r#"
    grafana.macula.local A: NoError aa ra
      grafana.macula.local. 30 IN A 127.0.0.2
    grafana.macula.local AAAA: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    grafana.macula.local HTTPS: NoError aa ra
      grafana.macula.local. 30 IN HTTPS 1 . alpn=h2,
    postgres.macula.local AAAA: NoError aa ra
      postgres.macula.local. 30 IN AAAA ::1
    macula.local SOA: NoError aa ra
      macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    macula.local NS: NoError aa ra
      macula.local. 30 IN NS ns.macula.local.
    macula.local TXT: NoError aa ra
      macula.local. 30 IN TXT of the platform
    mail.macula.local MX: NoError aa ra
      mail.macula.local. 30 IN MX 10 grafana.macula.local.
      mail.macula.local. 30 IN MX 20 mail.macula.local.
    _postgresql._tcp.macula.local SRV: NoError aa ra
      _postgresql._tcp.macula.local. 30 IN SRV 0 5 5432 postgres.macula.local.
    _tcp.macula.local A: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    grafana.macula.local ANY: NoError aa ra
      grafana.macula.local. 3600 IN HINFO RFC8482 
    grafana.pr-1.macula.local A: NoError aa ra
      grafana.pr-1.macula.local. 30 IN A 127.64.3.2
    other.pr-1.macula.local A: NXDomain aa ra
      authority pr-1.macula.local. 30 IN SOA ns.pr-1.macula.local. hostmaster.pr-1.macula.local. 1 60 10 3600 30
    hidden.pr-1.macula.local A: NXDomain aa ra
      authority pr-1.macula.local. 30 IN SOA ns.pr-1.macula.local. hostmaster.pr-1.macula.local. 1 60 10 3600 30
    ingress.macula.local A: NoError aa ra
      ingress.macula.local. 30 IN A 127.0.0.1
    "#);
}

#[test]
fn wildcards_by_rfc_4592() {
    assert_snapshot!(ask_all(View::Host, &[
        ("shop.macula.local", "A"),
        ("a.b.c.macula.local", "A"),
        ("shop.macula.local", "AAAA"),
        ("*.macula.local", "A"),
        ("bucket.s3.macula.local", "A"),
        ("x.grafana.macula.local", "A"),
        ("below.nothing2.macula.local", "A"),
        ("x.below.nothing2.macula.local", "A"),
        ("x.alias.macula.local", "A"),
        ("x.alias.macula.local", "AAAA"),
        ("alias.macula.local", "A"),
        ("x.many.macula.local", "MX"),
    ]), @r#"
    shop.macula.local A: NoError aa ra
      shop.macula.local. 30 IN A 127.0.0.10
    a.b.c.macula.local A: NoError aa ra
      a.b.c.macula.local. 30 IN A 127.0.0.10
    shop.macula.local AAAA: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    *.macula.local A: NoError aa ra
      *.macula.local. 30 IN A 127.0.0.10
    bucket.s3.macula.local A: NoError aa ra
      bucket.s3.macula.local. 30 IN A 127.0.0.5
    x.grafana.macula.local A: NXDomain aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    below.nothing2.macula.local A: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    x.below.nothing2.macula.local A: NXDomain aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    x.alias.macula.local A: NoError aa ra
      x.alias.macula.local. 30 IN CNAME grafana.macula.local.
      grafana.macula.local. 30 IN A 127.0.0.2
    x.alias.macula.local AAAA: NoError aa ra
      x.alias.macula.local. 30 IN CNAME grafana.macula.local.
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    alias.macula.local A: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    x.many.macula.local MX: NoError aa ra
      x.many.macula.local. 30 IN MX 1 one.many.macula.local.
    "#);
}

#[test]
fn layers_and_aliases() {
    assert_snapshot!(ask_all(View::Host, &[
        ("app.macula.local", "A"),
        ("app2.macula.local", "A"),
        ("x.apps.macula.local", "A"),
        ("sub.macula.local", "NS"),
        ("sub.macula.local", "A"),
        ("kind.macula.local", "A"),
        ("www.macula.local", "A"),
        ("www.macula.local", "TXT"),
        ("www.macula.local", "CNAME"),
        ("anything.macula.local", "A"),
        ("nothing.macula.local", "A"),
        ("circle.macula.local", "A"),
        ("outside.macula.local", "A"),
    ]), @r#"
    app.macula.local A: NoError aa ra
      app.macula.local. 60 IN A 127.0.0.10
    app2.macula.local A: NoError aa ra
      app2.macula.local. 60 IN CNAME grafana.macula.local.
      grafana.macula.local. 30 IN A 127.0.0.2
    x.apps.macula.local A: NoError aa ra
      x.apps.macula.local. 60 IN A 127.0.0.12
    sub.macula.local NS: NoError aa ra
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    sub.macula.local A: NoError aa ra
      sub.macula.local. 30 IN A 127.0.0.10
    kind.macula.local A: NoError aa ra
      kind.macula.local. 60 IN CNAME localhost.
      localhost. 3600 IN A 127.0.0.1
    www.macula.local A: NoError aa ra
      www.macula.local. 30 IN CNAME grafana.macula.local.
      grafana.macula.local. 30 IN A 127.0.0.2
    www.macula.local TXT: NoError aa ra
      www.macula.local. 30 IN CNAME grafana.macula.local.
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    www.macula.local CNAME: NoError aa ra
      www.macula.local. 30 IN CNAME grafana.macula.local.
    anything.macula.local A: NoError aa ra
      anything.macula.local. 30 IN CNAME some.where.macula.local.
      some.where.macula.local. 30 IN A 127.0.0.10
    nothing.macula.local A: NXDomain aa ra
      nothing.macula.local. 30 IN CNAME absent.s3.postgres.macula.local.
      authority macula.local. 30 IN SOA ns.macula.local. hostmaster.macula.local. 10 60 10 3600 30
    circle.macula.local A: NoError aa ra
      circle.macula.local. 30 IN CNAME circle.macula.local.
    outside.macula.local A: Forward(Forward { name: example.com, qtype: 1, chain: [(outside.macula.local, 30, example.com)] })
    "#);
    // who does not ask for more gets nothing from elsewhere
    let mut message = question(name("example.com").wire(), 1);
    message[2] = 0;
    let reply = context("127.0.0.1", Transport::Udp).answer(&snapshot().view(View::Host).tree, &message);
    let Reply::Message(reply) = reply else { panic!("{reply:?}") };
    assert_eq!(reply[3] & 0xF, 5);
}

#[test]
fn reserved_names() {
    assert_snapshot!(ask_all(View::Host, &[
        ("localhost", "A"),
        ("app.localhost", "AAAA"),
        ("localhost", "MX"),
        ("invalid", "A"),
        ("x.invalid", "A"),
        ("test", "A"),
        ("x.test", "A"),
        ("internal.test", "A"),
        ("local", "SOA"),
        ("local", "A"),
        ("printer.local", "A"),
        ("dc.corp.local", "A"),
        ("1.0.0.127.in-addr.arpa", "PTR"),
        ("2.0.0.127.in-addr.arpa", "PTR"),
        ("77.0.0.127.in-addr.arpa", "PTR"),
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", "PTR"),
        ("example.com", "A"),
        ("example.com", "ANY"),
        ("macula.local", "AXFR"),
    ]), @r#"
    localhost A: NoError aa ra
      localhost. 3600 IN A 127.0.0.1
    app.localhost AAAA: NoError aa ra
      app.localhost. 3600 IN AAAA ::1
    localhost MX: NoError aa ra
      authority localhost. 3600 IN SOA localhost. nobody.invalid. 1 3600 1200 604800 3600
    invalid A: NXDomain aa ra
      authority invalid. 3600 IN SOA invalid. nobody.invalid. 1 3600 1200 604800 3600
    x.invalid A: NXDomain aa ra
      authority invalid. 3600 IN SOA invalid. nobody.invalid. 1 3600 1200 604800 3600
    test A: Forward(Forward { name: test, qtype: 1, chain: [] })
    x.test A: Forward(Forward { name: x.test, qtype: 1, chain: [] })
    internal.test A: Forward(Forward { name: internal.test, qtype: 1, chain: [] })
    local SOA: Forward(Forward { name: local, qtype: 6, chain: [] })
    local A: Forward(Forward { name: local, qtype: 1, chain: [] })
    printer.local A: Forward(Forward { name: printer.local, qtype: 1, chain: [] })
    dc.corp.local A: Forward(Forward { name: dc.corp.local, qtype: 1, chain: [] })
    1.0.0.127.in-addr.arpa PTR: NoError aa ra
      1.0.0.127.in-addr.arpa. 30 IN PTR localhost.
    2.0.0.127.in-addr.arpa PTR: NoError aa ra
      2.0.0.127.in-addr.arpa. 30 IN PTR grafana.macula.local.
    77.0.0.127.in-addr.arpa PTR: NXDomain aa ra
      authority 127.in-addr.arpa. 3600 IN SOA 127.in-addr.arpa. nobody.invalid. 1 3600 1200 604800 3600
    1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa PTR: NoError aa ra
      1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. 30 IN PTR localhost.
    example.com A: Forward(Forward { name: example.com, qtype: 1, chain: [] })
    example.com ANY: NoError ra
      example.com. 3600 IN HINFO RFC8482 
    macula.local AXFR: Refused ra
    "#);
}

#[test]
fn containers_see_other_addresses() {
    assert_snapshot!(ask_all(View::Container, &[("ingress.macula.local", "A"), ("grafana.macula.local", "A")]), @r#"
    ingress.macula.local A: NoError aa ra
      ingress.macula.local. 30 IN A 172.31.0.2
    grafana.macula.local A: NoError aa ra
      grafana.macula.local. 30 IN A 127.0.0.2
    "#);
}

#[test]
fn a_zone_with_a_fault_says_which_record() {
    let fault = |record: Record| {
        let mut zone = Zone::new("macula.local", 1);
        zone.records.push(record);
        Snapshot::build(&[&zone], &BTreeMap::new()).unwrap_err().to_string()
    };
    let faults = [
        fault(Record::new("example.com", a("127.0.0.1"))),
        fault(Record::new("a..macula.local", a("127.0.0.1"))),
        fault(Record::new("macula.local", RecordData::Cname("x.macula.local".into()))),
        fault(Record::new("x.macula.local", RecordData::Txt(vec!["x".repeat(256)]))),
        fault(Record::new("x.macula.local", RecordData::Other { number: 41, data: vec![] })),
        fault(Record::new(format!("{}.macula.local", "x".repeat(64)), a("127.0.0.1"))),
    ];
    assert_snapshot!(faults.join("\n"), @r#"
    zone macula.local, record example.com: it lies outside the zone
    zone macula.local, record a..macula.local: "a..macula.local" is not a domain name: a label is empty
    zone macula.local, record macula.local: a CNAME cannot share its name with other records
    zone macula.local, record x.macula.local: a string is longer than 255 bytes
    zone macula.local, record x.macula.local: record type 41 cannot be part of a zone
    zone macula.local, record xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.macula.local: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.macula.local" is not a domain name: a label is longer than 63 bytes
    "#);
}
