//! One fault at a time, and what is said about it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use insta::assert_snapshot;

use super::*;
use crate::dns::{Config, Listen, Server, ZoneEntry};
use crate::host::fake::FakeHost;
use crate::model::{Health, Invocation, Protocol, View, macula};
use crate::pki::Authority;

mod world;
use world::*;

const DAY: i64 = 24 * 60 * 60;

fn with(change: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    change(&mut world);
    world
}

/// The machine of a world, changed.
fn machine(world: &mut World, change: impl FnOnce(FakeHost) -> FakeHost) {
    world.host = change(world.host.clone());
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    tokio::net::UdpSocket::bind((LOCAL, 0)).await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn all_is_well() {
    let mut world = World::new();
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    ");
    let (evidence, verdict) = world.look().await;
    assert!(verdict.is_ok());
    assert_eq!(evidence.machine.inside.as_deref(), Ok("macula-grafana-1"));
    let journal = world.engine.unwrap().journal();
    assert!(journal.iter().all(|call| call.starts_with("running ")), "nothing is changed: {journal:?}");
}

// the resolver

#[tokio::test]
async fn the_resolver_is_dead() {
    let mut world = with(|world| {
        world.resolver = None;
        world.names_unknown();
    });
    assert_snapshot!(world.told().await, @"
    XX..... grafana.macula.local
    XX.--.. postgres.macula.local
    dns [grafana.macula.local postgres.macula.local]: the resolver does not run
      macula up
    ");
}

#[tokio::test]
async fn somebody_else_has_the_resolvers_port() {
    let mut world = with(|world| {
        world.names_unknown();
        let taken: SocketAddr = "127.0.0.9:53".parse().unwrap();
        world.install("resolved_delegate", taken, &[]);
        machine(world, |host| host.listener("127.0.0.9:53", Protocol::Udp, Some((77, "dnsmasq"))));
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    dns [grafana.macula.local postgres.macula.local]: the system asks 127.0.0.9:53, where dnsmasq (pid 77) listens; the resolver had to take 127.0.0.1:DNS
      stop dnsmasq (pid 77)
      macula up  (after that)
      macula dns install  (after that)
    ");
}

#[tokio::test]
async fn the_dead_resolvers_port_is_taken() {
    let mut world = with(|world| {
        world.names_unknown();
        world.install("resolved_delegate", "127.0.0.9:53".parse().unwrap(), &[]);
        world.resolver = None;
        machine(world, |host| host.listener("0.0.0.0:53", Protocol::Udp, None));
    });
    assert_snapshot!(world.told().await, @"
    XX..... grafana.macula.local
    XX.--.. postgres.macula.local
    dns [grafana.macula.local postgres.macula.local]: the resolver does not run, and a program that this user may not see listens in its place on 127.0.0.9:53
      sudo ss -lptun 'sport = :53'
      stop the program that it shows
      macula up  (after that)
      macula dns install  (after that)
    ");
}

#[tokio::test]
async fn the_resolver_does_not_know_the_platform() {
    let mut world = with(|world| {
        world.serve_dns(|config| config.zones.clear());
        world.install("resolv_conf", world.resolver_address(), &[]);
        world.names_unknown();
    });
    assert_snapshot!(world.told().await, @"
    XX..... grafana.macula.local
    XX.--.. postgres.macula.local
    dns [grafana.macula.local postgres.macula.local]: the resolver has not been told the names below macula.local
      macula up
    ");
}

#[tokio::test]
async fn upstream_is_wrong() {
    let dead = nobody().await;
    let mut world = with(|world| {
        world.serve_dns(|config| config.upstreams = Some(upstream(dead)));
        world.install("resolv_conf", world.resolver_address(), &[]);
        world.redact(dead.port(), "DEAD");
    });
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    dns []: this machine's name servers (127.0.0.1:DEAD) give no answer, so other names than ours are not found: server failure
      macula dns status
      set name servers that answer in macula.yaml: `dns: {upstream: [ADDRESS]}`
      macula up  (to use them)
    ");
}

#[tokio::test]
async fn powerdns_is_down() {
    let dead = nobody().await;
    let mut world = with(|world| {
        world.serve_dns(|config| config.zones[0].feed = Some(dead));
        world.install("resolv_conf", world.resolver_address(), &[]);
        world.redact(dead.port(), "DEAD");
    });
    // until the resolver has looked for the first time
    let resolver = world.resolver.as_ref().unwrap();
    while resolver.status().zones[0].feed_status.as_ref().is_none_or(|fed| fed.error.is_none()) {
        tokio::task::yield_now().await;
    }
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    dns []: PowerDNS at 127.0.0.1:DEAD cannot be asked, so records of `dns add` are those of the last look: asking 127.0.0.1:DEAD for the serial of macula.local: Connection refused
      macula up powerdns
      macula logs powerdns
    ");
}

// the system's look-up

#[tokio::test]
async fn names_that_are_known_late_keep_no_other_waiting() {
    let mut world = World::new();
    let (evidence, _) = world.look_with(vec![foreign("late.macula.local")]).await;
    let names: Vec<&str> = evidence.names.iter().map(|name| name.target.name.as_str()).collect();
    assert_eq!(names, ["grafana.macula.local", "postgres.macula.local", "late.macula.local"]);
}

#[tokio::test]
async fn nobody_told_the_system() {
    let mut world = with(|world| {
        world.names_unknown();
        world.uninstall();
        world.host.put("/etc/resolv.conf", "nameserver 127.9.9.9\n");
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: this machine has not been told to ask the resolver
      macula dns install
    ");
}

#[tokio::test]
async fn the_drop_in_is_missing() {
    let mut world = with(|world| {
        world.names_unknown();
        let path = "/etc/systemd/dns-delegate.d/macula.dns-delegate";
        world.install("resolved_delegate", world.resolver_address(), &[(path, false)]);
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: /etc/systemd/dns-delegate.d/macula.dns-delegate is gone, which told the system to ask the resolver
      macula dns install
    ");
}

#[tokio::test]
async fn the_drop_in_leads_elsewhere() {
    let mut world = with(|world| {
        world.names_unknown();
        world.install("network_manager", "127.0.0.9:5335".parse().unwrap(), &[]);
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: NetworkManager's dnsmasq sends questions to 127.0.0.9:5335, and the resolver answers on 127.0.0.1:DNS
      macula dns install
    ");
}

#[tokio::test]
async fn another_resolver_is_in_front() {
    let mut world = World::new();
    world.names_unknown();
    // a real one, with names of its own
    let front: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), world.dns_port).into();
    let listen = vec![Listen { address: front, view: View::Host }];
    let zones = vec![ZoneEntry::new(crate::model::Zone::new("other.test", 1))];
    let other = Server::start(Config { listen, zones, workers: 1, ..Config::default() });
    let Ok(_other) = other else {
        crate::require::skipped("loopback", "127.0.0.2 is not available here");
        return;
    };
    world.host.put("/etc/resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.1\n");
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: the system asks 127.0.0.2:DNS first, which does not know the name: query refused
      macula dns install
    ");
}

#[tokio::test]
async fn mdns_swallows_local() {
    let mut world = with(|world| {
        world.names_unknown();
        world.host.put("/etc/nsswitch.conf", "hosts: files mdns4 [NOTFOUND=return] dns\n");
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: multicast DNS takes every name below .local and ends the search (/etc/nsswitch.conf: `hosts: files mdns4 [NOTFOUND=return] dns`)
      move `dns` (or `resolve`) in front of the mdns word in the line `hosts:` of /etc/nsswitch.conf
      macula dns install --method hosts
    ");
}

#[tokio::test]
async fn nsswitch_asks_no_name_server() {
    let mut world = with(|world| {
        world.names_unknown();
        world.host.put("/etc/nsswitch.conf", "passwd: files\nhosts: files myhostname # no dns\n");
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    X..--.. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: /etc/nsswitch.conf has neither `dns` nor `resolve` (`hosts: files myhostname`): no name server is asked
      macula dns install --method hosts
      or add `dns` to the line `hosts:` in /etc/nsswitch.conf
    ");
}

#[tokio::test]
async fn etc_hosts_holds_an_old_address() {
    let mut world = with(|world| {
        let old = Ipv4Addr::new(192, 0, 2, 7).into();
        machine(world, |host| host.name(GRAFANA, [old]).file("/etc/hosts", "192.0.2.7 grafana.macula.local # mine\n"));
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    ...--.. postgres.macula.local
    look-up [grafana.macula.local]: /etc/hosts has 192.0.2.7 for grafana.macula.local, which is 127.0.0.1 now
      remove the line with grafana.macula.local from /etc/hosts
    ");
}

#[tokio::test]
async fn a_new_name_is_not_in_etc_hosts_yet() {
    let mut world = with(|world| {
        machine(world, |host| host.name(GRAFANA, []));
        world.install("hosts", world.resolver_address(), &[("/etc/hosts", true)]);
    });
    assert_snapshot!(world.told().await, @"
    X...... grafana.macula.local
    ...--.. postgres.macula.local
    look-up [grafana.macula.local]: /etc/hosts, which replaces the resolver here, does not list its present address
      macula dns install
    ");
}

// connections

#[tokio::test]
async fn ipv6_comes_first_and_is_dead() {
    let mut world = with(|world| world.names(&[Ipv6Addr::LOCALHOST.into(), LOCAL]));
    assert_snapshot!(world.told().await, @"
    ..X.... grafana.macula.local
    ..X--.. postgres.macula.local
    connect [grafana.macula.local postgres.macula.local]: the name has the IPv6 address ::1 too, where nothing answers: programs that try it first fail or wait
      remove its IPv6 line from /etc/hosts, or its AAAA record
      macula dns list
    ");
}

#[tokio::test]
async fn nginx_is_down() {
    let mut world = with(|world| {
        world.ends("ingress", 1);
        world.listening = false;
        world.inside = format!("{GRAFANA}||\n{POSTGRES}||\n");
    });
    assert_snapshot!(world.told().await, @"
    ..X??.? grafana.macula.local
    ...--.? postgres.macula.local
    connect [grafana.macula.local]: the ingress does not run: macula-ingress-1 has ended with 1
      macula up
      macula logs ingress
    ");
}

/// What was seen is changed here: to wait for who never answers takes ten seconds.
#[tokio::test]
async fn a_service_hangs() {
    let mut world = World::new();
    let (mut evidence, _) = world.look().await;
    evidence.names[0].http = Some(Err(reach::silence()));
    let verdict = judge(&evidence);
    let [fault] = verdict.faults.as_slice() else { panic!("{:?}", verdict.faults) };
    assert_snapshot!(fault.cause.to_string(), @"grafana runs, and does not answer: it accepts connections, and there is no answer in 10 s");
    let remedies = fault.cause.remedies();
    let remedies: Vec<String> = remedies.iter().map(|remedy| remedy.text(&Invocation::default())).collect();
    assert_eq!(remedies, ["macula logs grafana", "macula restart grafana"]);
    // somebody is silent, and that need not be the service
    evidence.names[0].tls = None;
    let verdict = judge(&evidence);
    assert!(verdict.faults.iter().any(|fault| matches!(fault.cause, Cause::NoHttp { .. })), "{:?}", verdict.faults);
}

#[tokio::test]
async fn the_engine_is_down() {
    let mut world = with(|world| {
        world.no_engine = Some("nothing listens on unix:///var/run/docker.sock".into());
        world.listening = false;
        world.services = (false, false);
    });
    assert_snapshot!(world.told().await, @"
    ..X???? grafana.macula.local
    ..X--?? postgres.macula.local
    connect [grafana.macula.local postgres.macula.local]: no container engine answers: nothing listens on unix:///var/run/docker.sock
      macula doctor --fix
    ");
    // it went away, and what it started still runs
    (world.listening, world.services) = (true, (true, true));
    assert_snapshot!(world.told().await, @"
    ......? grafana.macula.local
    ...--?? postgres.macula.local
    connect []: no container engine answers: nothing listens on unix:///var/run/docker.sock
      macula doctor --fix
    ");
}

#[tokio::test]
async fn the_ingress_port_is_taken() {
    let mut world = World::new();
    world.ends("ingress", 128);
    world.container("ingress").error = "driver failed: address already in use".into();
    // the servers of the world are somebody else's now
    let (evidence, _) = world.look().await;
    let [NameSeen { connect, .. }, _] = evidence.names.as_slice() else { panic!("two names") };
    assert_eq!(connect.len(), 2);
    assert_snapshot!(world.told().await, @"
    ..X??.? grafana.macula.local
    ...--.? postgres.macula.local
    connect [grafana.macula.local]: a program that this user may not see listens on 127.0.0.1:HTTPS, 127.0.0.1:HTTP instead of the ingress
      sudo ss -lptun 'sport = :HTTPS or sport = :HTTP'
      stop the program that it shows
      macula up  (after that)
    ");
}

#[tokio::test]
async fn a_direct_port_is_closed() {
    let mut world = with(|world| {
        world.ends("postgres", 137);
        world.services.1 = false;
        world.inside = world.inside.replace("|open", "|bash: connect: Connection refused");
    });
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ..X--X? postgres.macula.local
    service [postgres.macula.local]: macula-postgres-1 has ended with 137
      macula logs postgres
      macula up postgres
    ");
}

#[tokio::test]
async fn a_proxy_is_in_the_way() {
    let refusing = server(LOCAL, None, Answer { status: "403 Forbidden", mark: None, now: NOW }, true).await;
    let mut world = with(|world| {
        world.redact(refusing.0.port(), "PROXY");
        let proxy = format!("http://me:secret@{}", refusing.0);
        machine(world, |host| host.env_var("https_proxy", &proxy).env_var("no_proxy", "localhost,127.0.0.1"));
    });
    assert_snapshot!(world.told().await, @r#"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    connect []: https_proxy sends programs through the proxy http://127.0.0.1:PROXY, which does not reach the platform: it says 403 Forbidden
      export no_proxy="$no_proxy,.local"
    "#);
    // one that lets through, and one that is not used
    machine(&mut world, |host| host.env_var("no_proxy", "localhost,.local"));
    assert!(world.look().await.1.is_ok());
    let passing = server(LOCAL, None, Answer { status: "200 OK", mark: None, now: NOW }, true).await;
    let proxy = format!("http://{}", passing.0);
    machine(&mut world, |host| host.env_var("https_proxy", &proxy).env_var("no_proxy", ""));
    assert!(world.look().await.1.is_ok());
}

// certificates

#[tokio::test]
async fn the_certificate_has_expired() {
    let mut world = with(|world| {
        machine(world, |host| host.at(NOW + 91 * DAY));
        world.answer.now = NOW + 91 * DAY;
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate ended on 2026-12-20 14:13 UTC
      macula up
    ");
}

#[tokio::test]
async fn the_clock_is_behind() {
    let mut world = with(|world| {
        machine(world, |host| host.at(NOW - 40 * DAY));
        world.answer.now = NOW - 40 * DAY;
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate begins on 2026-09-20 14:13 UTC, and this machine's clock says 2026-08-12 14:13 UTC: it is behind by 39 days at least
      sudo timedatectl set-ntp true
    ");
}

#[tokio::test]
async fn the_clock_of_the_containers_is_another() {
    let mut world = with(|world| world.answer.now = NOW - 7200);
    assert_snapshot!(world.told().await, @"
    ....... grafana.macula.local
    ...--.. postgres.macula.local
    tls []: the clock of the containers is 2 hours behind this machine's
      set the clock of this machine, or of the engine's virtual machine
    ");
}

#[tokio::test]
async fn the_authority_is_not_trusted() {
    let mut world = with(|world| world.trust_system(false));
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate is good, and this machine does not trust its authority
      macula trust install
    ");
}

#[tokio::test]
async fn another_authority_has_signed() {
    let mut world = with(|world| {
        let other = Authority::create(DOMAIN, NOW).unwrap();
        world.leaf = other.issue(&[GRAFANA.to_owned()], NOW).unwrap();
    });
    let told = world.told().await;
    let issuer = world.look().await.0.names[0].tls.clone().unwrap().unwrap().certificate.issuer;
    assert_snapshot!(told.replace(&issuer, "ISSUER"), @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate was signed by another authority than this platform's (`ISSUER`)
      macula up
    ");
}

#[tokio::test]
async fn the_name_is_not_in_the_certificate() {
    let mut world = with(|world| {
        world.leaf = world.authority.issue(&["*.s3.macula.local".to_owned(), POSTGRES.to_owned()], NOW).unwrap();
    });
    assert_snapshot!(world.told().await, @"
    ...X... grafana.macula.local
    ...--.. postgres.macula.local
    tls [grafana.macula.local]: the certificate is not for this name, but for *.s3.macula.local, postgres.macula.local
      macula up
    ");
}

#[tokio::test]
async fn an_own_certificate_that_the_machine_trusts_is_fine() {
    let mut world = with(|world| {
        let other = Authority::create(DOMAIN, NOW).unwrap();
        world.leaf = other.issue(&[GRAFANA.to_owned()], NOW).unwrap();
        world.host.put("/etc/ssl/certs/ca-certificates.crt", other.root().pem());
    });
    assert!(world.look().await.1.is_ok());
}

// behind the ingress

#[tokio::test]
async fn the_route_is_missing() {
    let mut world = with(|world| world.answer = Answer { status: "404 Not Found", mark: Some("no-route"), now: NOW });
    assert_snapshot!(world.told().await, @"
    ....X.. grafana.macula.local
    ...--.. postgres.macula.local
    http [grafana.macula.local]: the ingress has no route for this name
      macula up
    ");
}

const UNAVAILABLE: Answer = Answer { status: "502 Bad Gateway", mark: Some("unavailable"), now: NOW };

#[tokio::test]
async fn the_service_is_down() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.ends("grafana", 3);
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: macula-grafana-1 has ended with 3
      macula logs grafana
      macula up grafana
    ");
}

#[tokio::test]
async fn the_service_has_no_container() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.containers.retain(|found| found.name != "macula-grafana-1");
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana has no container
      macula up grafana
    ");
}

#[tokio::test]
async fn the_service_runs_and_does_not_listen() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.services.0 = false;
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana runs, and does not answer: connection refused
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn the_service_says_that_it_is_not_healthy() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.container("grafana").health = Health::Unhealthy;
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: macula-grafana-1 runs, and says of itself that it is not healthy
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn the_container_has_a_new_address() {
    let mut world = with(|world| {
        world.answer = UNAVAILABLE;
        world.container("grafana").started_at = Some(NOW);
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana answers on 127.0.0.1:GRAFANA, and the ingress, which was there before it, still asks an older address
      macula restart ingress
    ");
}

#[tokio::test]
async fn the_service_fails() {
    let mut world = with(|world| {
        world.answer = Answer { status: "500 Internal Server Error", mark: None, now: NOW };
    });
    assert_snapshot!(world.told().await, @"
    ....XX. grafana.macula.local
    ...--.. postgres.macula.local
    service [grafana.macula.local]: grafana answers with 500
      macula logs grafana
      macula restart grafana
    ");
}

#[tokio::test]
async fn one_of_those_that_share_a_name_gets_no_requests() {
    let (mut evidence, _) = World::new().look().await;
    evidence.names[0].out = vec!["grafana-b".to_owned()];
    let verdict = judge(&evidence);
    assert_eq!(verdict.rows[0].hops[4..6], [State::Broken, State::Broken]);
    let [fault] = verdict.faults.as_slice() else { panic!("one fault") };
    assert_eq!(fault.cause.to_string(), "the ingress leaves out containers of grafana-b: they fail its health check");
    assert_eq!(fault.cause.remedies(), [macula("logs grafana-b").into(), macula("restart grafana-b").into()]);
}

// inside

#[tokio::test]
async fn containers_get_another_address() {
    let mut world = with(|world| {
        world.inside = format!("{GRAFANA}|192.0.2.1,|\n{POSTGRES}|10.222.7.2,|bash: connect: No route to host\n");
    });
    assert_snapshot!(world.told().await, @"
    ......X grafana.macula.local
    ...--.X postgres.macula.local
    inside [grafana.macula.local]: containers get 192.0.2.1 for it, and not the ingress (10.222.7.2)
      macula restart ingress-inside
      macula up
    inside [postgres.macula.local]: containers do not reach it: no route to host
      macula restart ingress-inside
      macula up
    ");
}

#[tokio::test]
async fn several_faults_at_once_are_all_told() {
    let mut world = with(|world| {
        world.trust_system(false);
        world.names_unknown();
        world.uninstall();
        world.host.put("/etc/resolv.conf", "nameserver 127.9.9.9\n");
        world.ends("postgres", 1);
        world.services.1 = false;
    });
    assert_snapshot!(world.told().await, @"
    X..X... grafana.macula.local
    X.X--X. postgres.macula.local
    look-up [grafana.macula.local postgres.macula.local]: this machine has not been told to ask the resolver
      macula dns install
    tls [grafana.macula.local]: the certificate is good, and this machine does not trust its authority
      macula trust install
    service [postgres.macula.local]: macula-postgres-1 has ended with 1
      macula logs postgres
      macula up postgres
    ");
}

#[tokio::test]
async fn a_name_that_is_too_deep_for_the_certificate() {
    let mut world = with(|world| {
        world.leaf = world.authority.issue(&["*.macula.local".to_owned()], NOW).unwrap();
    });
    let (mut evidence, verdict) = world.look().await;
    assert!(verdict.is_ok());
    evidence.names.truncate(1);
    evidence.names[0].target.asked = "a.grafana.macula.local".into();
    let tls = evidence.names[0].tls.as_mut().unwrap().as_mut().unwrap();
    (tls.ours, tls.system) = (Some(Err(TlsFault::OtherName)), Err(TlsFault::OtherName));
    let faults = judge(&evidence).faults;
    assert_snapshot!(faults[0].cause, @"the certificate covers names of one label below macula.local, and this one has more");
}
