//! The resolver beside other people's programs: authoritative servers that must agree with it,
//! clients that must understand it, and PowerDNS as the source of records. What is not installed is
//! named as skipped.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use macula::dns::{Config, Handle, Listen, Server, ZoneEntry};
use macula::model::{Record, RecordData, View, Zone};

const APEX: &str = "macula.example";

/// Names with everything that RFC 4592 is about.
fn zone() -> Zone {
    let mut zone = Zone::new(APEX, 1);
    for (owner, data) in [
        ("ns", RecordData::A([127, 0, 0, 9].into())),
        ("grafana", RecordData::A([127, 0, 0, 2].into())),
        ("postgres", RecordData::A([127, 0, 0, 6].into())),
        ("postgres", RecordData::Aaaa("::1".parse().unwrap())),
        ("s3", RecordData::A([127, 0, 0, 5].into())),
        ("*.s3", RecordData::A([127, 0, 0, 5].into())),
        ("*.s3", RecordData::Txt(vec!["bucket".into()])),
        ("*", RecordData::A([127, 0, 0, 10].into())),
        ("*", RecordData::Mx { preference: 10, exchange: format!("mail.{APEX}") }),
        ("*.sub.deep", RecordData::Cname(format!("grafana.{APEX}"))),
        ("x.y.z", RecordData::A([127, 0, 0, 11].into())),
        ("www", RecordData::Cname(format!("grafana.{APEX}"))),
        ("to-wild", RecordData::Cname(format!("some.thing.{APEX}"))),
        ("to-nothing", RecordData::Cname(format!("absent.grafana.{APEX}"))),
        ("two", RecordData::Cname(format!("www.{APEX}"))),
        ("_http._tcp", RecordData::Srv { priority: 1, weight: 2, port: 80, target: format!("www.{APEX}") }),
        ("a.*.mid", RecordData::A([127, 0, 0, 12].into())),
    ] {
        zone.records.push(Record::new(format!("{owner}.{APEX}"), data));
    }
    zone
}

/// The same as a zone file.
fn zone_file(zone: &Zone) -> String {
    let soa = &zone.soa;
    let mut text = format!(
        "$TTL 30\n{APEX}. IN SOA {}. {}. {} {} {} {} {}\n",
        soa.primary, soa.mailbox, soa.serial, soa.refresh, soa.retry, soa.expire, soa.negative_ttl
    );
    for record in &zone.records {
        let data = match &record.data {
            RecordData::A(address) => format!("A {address}"),
            RecordData::Aaaa(address) => format!("AAAA {address}"),
            RecordData::Cname(target) => format!("CNAME {target}."),
            RecordData::Ns(target) => format!("NS {target}."),
            RecordData::Txt(strings) => format!("TXT \"{}\"", strings[0]),
            RecordData::Mx { preference, exchange } => format!("MX {preference} {exchange}."),
            RecordData::Srv { priority, weight, port, target } => format!("SRV {priority} {weight} {port} {target}."),
            other => panic!("{other:?}"),
        };
        let _ = writeln!(text, "{}. IN {data}", record.name);
    }
    text
}

fn start() -> (Handle, SocketAddr) {
    let listen = vec![Listen { address: "127.0.0.1:0".parse().unwrap(), view: View::Host }];
    let handle = Server::start(Config { listen, zones: vec![ZoneEntry::new(zone())], ..Config::default() }).unwrap();
    let address = handle.listen()[0].address;
    (handle, address)
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&folders).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    known.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A server that is stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn spawn(program: &Path, arguments: &[&str]) -> Running {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    Running(command.spawn().unwrap())
}

/// A port that is free for both protocols a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn ask(server: SocketAddr, name: &str, rtype: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    socket.connect(server).unwrap();
    socket.send(&message.to_vec().unwrap()).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Message::from_vec(&buffer[..length]).ok()
}

/// What two right servers must agree on: the code, the answers, and whether a SOA says no. (Name
/// servers and their addresses beside an answer are a matter of taste.)
fn essence(message: &Message) -> String {
    let answers: BTreeSet<String> = message.answers.iter().map(|record| record.to_string().to_lowercase()).collect();
    let denial: BTreeSet<String> = message
        .authorities
        .iter()
        .filter(|record| record.record_type() == RecordType::SOA)
        .map(|record| record.to_string().to_lowercase())
        .collect();
    format!("{:?} aa={} {answers:?} {denial:?}", message.metadata.response_code, message.metadata.authoritative)
}

/// Every name of the zone, and names beside, above and below each.
fn questions() -> BTreeSet<String> {
    let mut names = BTreeSet::from([format!("{APEX}."), format!("other.{APEX}."), format!("a.b.c.{APEX}.")]);
    for record in zone().records {
        let mut name = format!("{}.", record.name);
        names.insert(format!("below.{name}"));
        names.insert(format!("two.below.{name}"));
        names.insert(format!("*.{name}"));
        while name.len() > APEX.len() + 1 {
            names.insert(name.clone());
            let (_, parent) = name.split_once('.').unwrap();
            names.insert(format!("beside.{parent}"));
            name = parent.to_owned();
        }
    }
    names
}

fn agrees_with(peer: &str, program: &str, configure: impl FnOnce(&Path, u16) -> Vec<String>) {
    let Some(program) = find(program) else {
        require::skipped(peer, &format!("{peer} is not installed"));
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zone"), zone_file(&zone())).unwrap();
    let port = free_port();
    let arguments = configure(folder.path(), port);
    let _running = spawn(&program, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let theirs: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(theirs, &format!("{APEX}."), RecordType::SOA).is_none_or(|message| message.answers.is_empty()) {
        assert!(Instant::now() < deadline, "{peer} does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (_handle, ours) = start();
    let types = [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::MX, RecordType::CNAME];
    let mut count = 0;
    let mut differences = Vec::new();
    for name in questions() {
        for rtype in types.into_iter().chain([RecordType::SRV, RecordType::SOA, RecordType::NS]) {
            let (our, their) = (ask(ours, &name, rtype).unwrap(), ask(theirs, &name, rtype).unwrap());
            count += 1;
            if essence(&our) != essence(&their) {
                differences.push(format!("{name} {rtype}\n  ours   {}\n  theirs {}", essence(&our), essence(&their)));
            }
        }
    }
    println!("{peer}: {count} questions");
    assert!(differences.is_empty(), "{} of {count}:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn knot_agrees() {
    agrees_with("knot", "knotd", |folder, port| {
        let at = folder.display();
        let text = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {at}\n  udp-workers: 1\n  tcp-workers: 1\ndatabase:\n  \
             storage: {at}/db\nzone:\n  - domain: {APEX}\n    file: {at}/zone\n    journal-content: none\n"
        );
        std::fs::write(folder.join("conf"), text).unwrap();
        vec!["-c".into(), format!("{at}/conf")]
    });
}

#[test]
fn nsd_agrees() {
    agrees_with("nsd", "nsd", |folder, port| {
        let at = folder.display();
        let text = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  server-count: 1\n  \
             database: \"\"\n  pidfile: \"{at}/pid\"\n  zonesdir: \"{at}\"\n  xfrdfile: \"{at}/xfrd\"\n  \
             zonelistfile: \"{at}/list\"\n  xfrdir: \"{at}\"\nremote-control:\n  control-enable: no\nzone:\n  \
             name: {APEX}\n  zonefile: {at}/zone\n"
        );
        std::fs::write(folder.join("conf"), text).unwrap();
        vec!["-d".into(), "-c".into(), format!("{at}/conf")]
    });
}

fn output(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn dig_option_by_option() {
    let Some(dig) = find("dig") else {
        require::skipped("dig", "dig is not installed");
        return;
    };
    let (_handle, server) = start();
    let port = server.port().to_string();
    let dig = |arguments: &[&str]| {
        let fixed = ["-p", &port, "@127.0.0.1", "+tries=1", "+time=5"];
        output(&dig, &[&fixed[..], arguments].concat())
    };
    let grafana = format!("grafana.{APEX}");
    for options in
        [&[][..], &["+tcp"], &["+noedns"], &["+nocookie"], &["+dnssec"], &["+bufsize=512"], &["+nord"], &["+cd"]]
    {
        let text = dig(&[options, &[&grafana, "A", "+short"]].concat());
        assert_eq!(text, "127.0.0.2\n", "{options:?}");
    }
    assert!(dig(&[&grafana, "AAAA"]).contains("status: NOERROR"));
    assert!(dig(&[&format!("x.{grafana}")]).contains("status: NXDOMAIN"));
    assert!(dig(&["+edns=1", "+noednsneg", &grafana]).contains("status: BADVERS"));
    assert!(dig(&["+opcode=notify", &grafana]).contains("status: NOTIMP"));
    assert!(dig(&["-c", "CH", "version.bind", "TXT"]).contains("status: REFUSED"));
    assert!(dig(&[APEX, "AXFR", "+tcp"]).contains("Transfer failed"));
    assert!(dig(&[&grafana, "ANY"]).contains("\"RFC8482\" \"\""));
    assert!(dig(&["-x", "127.0.0.2", "+short"]).starts_with("grafana."));
    assert!(dig(&["example.com"]).contains("status: REFUSED"));
    // a cookie is given, and the same one is taken again
    let text = dig(&["+cookie=0102030405060708", &grafana]);
    let cookie = text.lines().find_map(|line| line.strip_prefix("; COOKIE: ")).unwrap();
    let cookie = cookie.split_whitespace().next().unwrap();
    assert!(cookie.starts_with("0102030405060708") && cookie.len() == 48, "{cookie}");
    let again = dig(&[&format!("+cookie={cookie}"), &grafana]);
    assert!(again.contains(&format!("; COOKIE: {cookie} (good)")), "{again}");
    let keep = dig(&["+tcp", "+keepopen", &grafana, &format!("www.{APEX}"), "+short"]);
    assert!(keep.contains("127.0.0.2"), "{keep}");
}

#[test]
fn kdig_and_its_odd_options() {
    let Some(kdig) = find("kdig") else {
        require::skipped("kdig", "kdig is not installed");
        return;
    };
    let (_handle, server) = start();
    let port = server.port().to_string();
    let kdig =
        |arguments: &[&str]| output(&kdig, &[&["@127.0.0.1", "-p", &port, "+time=5", "+retry=0"], arguments].concat());
    let grafana = format!("grafana.{APEX}");
    for options in [
        &[][..],
        &["+tcp"],
        &["+edns"],
        &["+padding=128"],
        &["+alignment"],
        &["+cookie"],
        &["+subnet=192.0.2.0/24"],
        &["+nsid"],
        &["+zflag"],
        &["+aaflag"],
        &["+raflag"],
        &["+dnssec"],
        &["+ednsopt=65001:0011"],
    ] {
        let text = kdig(&[options, &[&grafana, "A", "+short"]].concat());
        assert_eq!(text, "127.0.0.2\n", "{options:?}");
    }
}

#[test]
fn dnspython_reads_the_answers() {
    let Some(python) = ["/usr/bin/python3"].iter().map(PathBuf::from).find(|path| path.is_file()) else {
        require::skipped("python3", "python3 is not installed");
        return;
    };
    let installed = Command::new(&python).args(["-c", "import dns.query"]).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        require::skipped("dnspython", "dnspython is not installed");
        return;
    }
    let (_handle, server) = start();
    let script = format!(
        r#"
import dns.message, dns.query, dns.rcode, dns.flags
port = {port}
for ask in (dns.query.udp, dns.query.tcp):
    for kwargs in ({{}}, {{"use_edns": 0}}, {{"want_dnssec": True}}, {{"use_edns": 0, "payload": 4096}}):
        for name, kind in (("GraFana.{APEX}", "A"), ("x.grafana.{APEX}", "A"), ("two.{APEX}", "A"), ("{APEX}", "SOA"), ("b.s3.{APEX}", "AAAA")):
            question = dns.message.make_query(name, kind, **kwargs)
            answer = ask(question, "127.0.0.1", port=port, timeout=5)
            assert question.is_response(answer), (name, kind, kwargs)
            assert answer.question[0].name.to_text() == name + "."
            assert answer.flags & dns.flags.AA
            expected = dns.rcode.NXDOMAIN if name.startswith("x.") else dns.rcode.NOERROR
            assert answer.rcode() == expected, (name, kind, kwargs)
print("read")
"#,
        port = server.port()
    );
    assert_eq!(output(&python, &["-c", &script]), "read\n");
}

#[test]
fn a_record_written_to_powerdns_is_answered() {
    let (Some(server), Some(tool)) = (find("pdns_server"), find("pdnsutil")) else {
        require::skipped("powerdns", "PowerDNS is not installed");
        return;
    };
    let schema = Path::new("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql");
    let Some(python) = Some(PathBuf::from("/usr/bin/python3")).filter(|path| path.is_file() && schema.is_file()) else {
        require::skipped("powerdns", "PowerDNS's sqlite backend or python3 is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let (port, api) = (free_port(), free_port());
    let make = format!("import sqlite3; sqlite3.connect('{at}/db').executescript(open('{}').read())", schema.display());
    output(&python, &["-c", &make]);
    let conf = format!(
        "launch=gsqlite3\ngsqlite3-database={at}/db\nlocal-address=127.0.0.1\nlocal-port={port}\nsocket-dir={at}\n\
         guardian=no\ndaemon=no\nsetuid=\nsetgid=\napi=yes\napi-key=secret\nwebserver=yes\nwebserver-address=127.0.0.1\n\
         webserver-port={api}\nwebserver-allow-from=127.0.0.0/8\n"
    );
    std::fs::write(folder.path().join("pdns.conf"), conf).unwrap();
    let config = format!("--config-dir={at}");
    output(&tool, &[&config, "create-zone", APEX, &format!("ns.{APEX}")]);
    // as zones made over the API have it: each change moves the serial
    output(&tool, &[&config, "set-meta", APEX, "SOA-EDIT-API", "DEFAULT"]);
    let _running = spawn(&server, &[&config]);
    let entry = ZoneEntry { feed: Some((Ipv4Addr::LOCALHOST, port).into()), ..ZoneEntry::new(zone()) };
    let listen = vec![Listen { address: "127.0.0.1:0".parse().unwrap(), view: View::Host }];
    let handle = Server::start(Config { listen, zones: vec![entry], ..Config::default() }).unwrap();
    let ours = handle.listen()[0].address;
    let deadline = Instant::now() + Duration::from_secs(20);
    while handle.status().zones[0].feed_status.as_ref().is_none_or(|feed| feed.serial.is_none()) {
        assert!(Instant::now() < deadline, "{:?}", handle.status());
        std::thread::sleep(Duration::from_millis(50));
    }
    let address = |message: Message| message.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>();
    let shop = format!("shop.{APEX}.");
    assert_eq!(address(ask(ours, &shop, RecordType::A).unwrap()), ["127.0.0.10"], "the wildcard");
    // as `dns add` does it: over the API
    let script = format!(
        r#"
import urllib.request, json
body = {{"rrsets": [{{"name": "{shop}", "type": "A", "ttl": 60, "changetype": "REPLACE",
    "records": [{{"content": "127.0.0.77", "disabled": False}}]}}]}}
request = urllib.request.Request("http://127.0.0.1:{api}/api/v1/servers/localhost/zones/{APEX}.",
    data=json.dumps(body).encode(), method="PATCH", headers={{"X-API-Key": "secret"}})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
print(opener.open(request, timeout=10).status)
"#
    );
    assert_eq!(output(&python, &["-c", &script]), "204\n");
    let began = Instant::now();
    while address(ask(ours, &shop, RecordType::A).unwrap()) != ["127.0.0.77"] {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", handle.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("seen after {:?}", began.elapsed());
}
