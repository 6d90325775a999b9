//! The answers themselves, and that both paths give the same ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::Message;
use insta::assert_snapshot;
use proptest::prelude::*;

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

/// The name of a program of this machine.
fn program(host: &str) -> Zone {
    let mut zone = Zone::new(host, 1);
    zone.records.push(Record::new(host, a("127.0.0.1")).only(View::Host));
    zone.records.push(Record::new(host, a("172.31.0.2")).only(View::Container));
    zone
}

/// A platform inside of another one's domain.
fn inner(apex: &str) -> Zone {
    let mut zone = Zone::new(apex, 1);
    zone.records.push(Record::new(apex, a("127.64.3.1")));
    zone.records.push(Record::new(format!("grafana.{apex}"), a("127.64.3.2")));
    zone
}

#[test]
fn a_program_has_its_own_name_alone() {
    let zones = [platform(), inner("pr-1.macula.local")];
    let apexes: Vec<Name> = zones.iter().map(|zone| name(&zone.apex)).collect();
    let hosts = ["shop.macula.local", "www.macula.local", "pr-1.macula.local", "web.pr-1.macula.local", "shop.test"];
    let programs = BTreeMap::from(hosts.map(|host| (name(host), program(host))));
    let added = fed(&[("shop.macula.local", "A", "127.9.9.9"), ("*.shop.macula.local", "A", "127.0.0.12")]);
    let laid = with_programs(apexes.iter().zip(&zones), &programs);
    let laid: Vec<&Zone> = laid.iter().map(|zone| &**zone).collect();
    let snapshot = Snapshot::build(&laid, &BTreeMap::from([(name("macula.local"), Arc::new(added))])).unwrap();
    let ask = |owner| ask(snapshot.view(View::Host), owner, "A");
    assert_snapshot!([
        "shop.macula.local",
        "cart.shop.macula.local",
        "www.macula.local",
        "other.macula.local",
        "pr-1.macula.local",
        "grafana.pr-1.macula.local",
        "web.pr-1.macula.local",
        "shop.test",
    ].map(ask).concat(), @r#"
    shop.macula.local A: NoError aa ra
      shop.macula.local. 30 IN A 127.0.0.1
    cart.shop.macula.local A: NoError aa ra
      cart.shop.macula.local. 60 IN A 127.0.0.12
    www.macula.local A: NoError aa ra
      www.macula.local. 30 IN A 127.0.0.1
    other.macula.local A: NoError aa ra
      other.macula.local. 30 IN A 127.0.0.10
    pr-1.macula.local A: NoError aa ra
      pr-1.macula.local. 30 IN A 127.64.3.1
    grafana.pr-1.macula.local A: NoError aa ra
      grafana.pr-1.macula.local. 30 IN A 127.64.3.2
    web.pr-1.macula.local A: NoError aa ra
      web.pr-1.macula.local. 30 IN A 127.0.0.1
    shop.test A: NoError aa ra
      shop.test. 30 IN A 127.0.0.1
    "#);
}

#[tokio::test]
async fn a_platform_and_a_program_of_one_name_do_not_take_each_other_along() {
    let host = "blog.macula.local";
    let blog = || ZoneEntry {
        listen: vec![Listen { address: "127.0.0.1:0".parse().unwrap(), view: View::Container }],
        networks: vec!["172.31.16.0/20".parse().unwrap()],
        ..ZoneEntry::new(inner(host))
    };
    let zones = vec![ZoneEntry::new(platform())];
    let handle = Server::start(Config { zones, workers: 1, ..Config::default() }).unwrap();
    let answers = async |owner: &str| handle.trace(owner, 1, View::Host).await.unwrap().answers;
    for program_first in [false, true] {
        let mut entries = [blog(), ZoneEntry::program(program(host))];
        if program_first {
            entries.reverse();
        }
        for entry in entries {
            handle.put(entry).unwrap();
        }
        // both are there, and then the platform alone
        for left in [Some(2), None] {
            assert_eq!(handle.listen().len(), 1);
            assert_eq!(handle.status().zones.len(), 2);
            assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.64.3.1"]);
            assert_eq!(answers("grafana.blog.macula.local").await, ["grafana.blog.macula.local. 30 IN A 127.64.3.2"]);
            assert_eq!(handle.remove(&ZoneEntry::program_apex(host)).unwrap(), left);
        }
        assert_eq!(handle.remove(host).unwrap(), Some(1));
        assert!(handle.listen().is_empty());
    }

    // where it answers already it listens once
    handle.put(blog()).unwrap();
    let listen = handle.listen();
    handle.put(ZoneEntry { listen: listen.clone(), ..ZoneEntry::new(inner("shop.macula.local")) }).unwrap();
    assert_eq!(handle.listen(), listen);
    for apex in ["shop.macula.local", host] {
        handle.remove(apex).unwrap();
    }

    // the program that was there first has its name again when the platform goes
    handle.put(ZoneEntry::program(program(host))).unwrap();
    handle.put(blog()).unwrap();
    assert_eq!(handle.remove(host).unwrap(), Some(2));
    assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.0.0.1"]);
    // what exchanges the platforms' zones leaves it alone, too
    handle.swap(vec![platform()]).unwrap();
    assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.0.0.1"]);
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
            for qtype in TYPES.into_iter().filter(|qtype| !super::wire::is_meta(*qtype)) {
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
