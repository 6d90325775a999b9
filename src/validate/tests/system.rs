//! How this machine looks up names.

use super::*;

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
    // as on every desktop of Debian's kind: no fault
    world.host.put("/etc/nsswitch.conf", "hosts: files mdns4_minimal [NOTFOUND=return] dns\n");
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
        world.host.put("/etc/mdns.allow", ".local\n");
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
