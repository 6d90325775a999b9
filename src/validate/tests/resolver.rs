//! The resolver and what it asks.

use super::*;

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
    machine(&mut world, |host| host.facts_with(|facts| facts.os = "macos".into()));
    assert_eq!(world.told().await.lines().nth(3), Some("  sudo lsof -nP -sTCP:LISTEN -i:53"));
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

#[tokio::test]
async fn an_own_name_without_an_address_is_nobody_elses_fault() {
    let told = async |name: &str| {
        let mut world = with(|world| {
            world.serve_dns(|config| {
                let six = RecordData::Aaaa(Ipv6Addr::LOCALHOST);
                let bare = RecordData::Txt(vec!["x".into()]);
                let records = [Record::new("six.macula.local", six), Record::new("bare.macula.local", bare)];
                config.zones[0].zone.records.extend(records);
            });
            world.install("resolv_conf", world.resolver_address(), &[]);
            machine(world, |host| host.name("six.macula.local", [Ipv6Addr::LOCALHOST.into()]));
        });
        let (_, verdict) = world.look_with(vec![foreign(name)]).await;
        verdict.faults.into_iter().map(|fault| fault.cause).collect::<Vec<_>>()
    };
    assert_eq!(told("six.macula.local").await, []);
    let none = || "there is neither A nor AAAA".to_owned();
    assert_eq!(told("bare.macula.local").await, [Cause::NoAddress { reason: none() }]);
}

#[tokio::test]
async fn names_that_are_known_late_keep_no_other_waiting() {
    let mut world = World::new();
    let (evidence, _) = world.look_with(vec![foreign("late.macula.local")]).await;
    let names: Vec<&str> = evidence.names.iter().map(|name| name.target.name.as_str()).collect();
    assert_eq!(names, ["grafana.macula.local", "postgres.macula.local", "late.macula.local"]);
}
