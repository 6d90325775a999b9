//! Addresses, ports and names.

use super::*;

#[tokio::test]
async fn name_servers() {
    let with = |content: &str| case(FakeHost::new().file(RESOLV_CONF, content));
    assert_snapshot!(with("nameserver 192.0.2.1\nnameserver fe80::1%eth9\nnameserver 10.1\n").find("name-servers").await, @r"
    ok: name-servers: other names are asked of 192.0.2.1:53 and 1 more
      cannot be asked: fe80::1%eth9 (no network interface has this name)
    ");
    assert_snapshot!(with("nameserver nonsense\n").find("name-servers").await, @r"
    warning: name-servers: this machine has no name server that can be asked
      cannot be asked: nonsense (not an address)
      names outside of the platforms do not resolve
      fix: name one in /etc/resolv.conf, or under `dns: {upstream: [...]}` in macula.yaml
    ");
}

#[tokio::test]
async fn resolver_address() {
    let held = |process| case(FakeHost::new().listener("127.0.0.9:53", Protocol::Udp, process));
    let of_another_home = held(Some((7, "macula")));
    assert_snapshot!(of_another_home.find("resolver-address").await, @r"
    warning: resolver-address: another resolver has 127.0.0.9:53: `macula` (pid 7)
      the names of your platforms do not resolve
      fix: it belongs to another data folder and ends with its platforms; or give yours an address: `dns: {listen: [...]}`
    ");
    let host = FakeHost::new().listener("127.0.0.9:53", Protocol::Udp, Some((7, "macula")));
    let ours = host.file("/home/dev/.local/share/macula/dns/resolver.json", "{\"pid\": 7}");
    assert_snapshot!(case(ours).find("resolver-address").await, @"ok: resolver-address: the resolver answers on 127.0.0.9:53");
    assert_snapshot!(held(Some((9, "dnsmasq"))).find("resolver-address").await, @"ok: resolver-address: 127.0.0.9:53 is held by `dnsmasq` (pid 9); the resolver takes another port");
    assert_snapshot!(held(None).find("resolver-address").await, @r"
    warning: resolver-address: another resolver has 127.0.0.9:53: a process of another user
      the names of your platforms do not resolve
      fix: that user can stop it with `macula down`; or give yours an address: `dns: {listen: [...]}`
    ");
    let everywhere = case(FakeHost::new().listener("0.0.0.0:53", Protocol::Udp, None));
    assert_snapshot!(everywhere.find("resolver-address").await, @"ok: resolver-address: 0.0.0.0:53 is held by a process of another user; the resolver takes another port");
}

#[tokio::test]
async fn ports() {
    let nginx = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((812, "nginx"))).of_unit("nginx.service");
    assert_snapshot!(case(nginx).find("ports").await, @r"
    failed: ports: port 80 is taken
      0.0.0.0:80/tcp is held by nginx (pid 812); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop nginx: `sudo systemctl stop nginx.service`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // of another user: neither pid nor name
    let unseen = FakeHost::new().listener("127.0.0.2:3000", Protocol::Tcp, None);
    assert_snapshot!(case(unseen).find("ports").await, @r"
    failed: ports: port 3000 is taken
      127.0.0.2:3000/tcp is held by a process of another user; wanted: 127.0.0.2:3000 (grafana)
      fix: see with `sudo ss -ltnp 'sport = :3000'` who it is, and stop it; or leave the service out: `services: {grafana: {enabled: false}}` in macula.yaml
    ");
    let proxy = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((900, "docker-proxy"))).listener(
        "127.0.0.2:3000",
        Protocol::Tcp,
        Some((77, "node")),
    );
    let shop = container("shop-web-1", ContainerState::Running, &[([0, 0, 0, 0], 80)]);
    assert_snapshot!(Case { everybody: vec![shop], ..case(proxy) }.find("ports").await, @r"
    failed: ports: 2 ports are taken
      0.0.0.0:80/tcp is held by the container shop-web-1 (nginx:1.30.4); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      127.0.0.2:3000/tcp is held by node (pid 77); wanted: 127.0.0.2:3000 (grafana)
      fix: stop it: `docker stop shop-web-1`; stop node: `kill 77`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    let proxy = FakeHost::new().listener("0.0.0.0:80", Protocol::Tcp, Some((900, "rootlessport")));
    assert_snapshot!(case(proxy).find("ports").await, @r"
    failed: ports: port 80 is taken
      0.0.0.0:80/tcp is held by a container, through rootlessport; wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop the container, which `docker ps --filter publish=80` names; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // one process for all containers of an engine without root: its end would be theirs
    let engine = FakeHost::new().listener("127.0.0.1:80", Protocol::Tcp, Some((45, "rootlesskit")));
    assert_snapshot!(case(engine).find("ports").await, @r"
    failed: ports: port 80 is taken
      127.0.0.1:80/tcp is held by a container, through rootlesskit; wanted: 127.0.0.1:80 (nginx)
      fix: stop the container, which `docker ps --filter publish=80` names; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // what serves all platforms is not to be ended
    let background = FakeHost::new().listener("127.0.0.2:3000", Protocol::Tcp, Some((31, "macula")));
    assert_snapshot!(case(background).find("ports").await, @r"
    failed: ports: port 3000 is taken
      127.0.0.2:3000/tcp is held by a background process of macula (pid 31); wanted: 127.0.0.2:3000 (grafana)
      fix: see with `macula ls` which platform has the address; or leave the service out: `services: {grafana: {enabled: false}}` in macula.yaml
    ");
    // who it is, root is told in another way on each system
    for (os, protocol, see) in [
        ("linux", Protocol::Tcp, "`sudo ss -ltnp 'sport = :3000'`"),
        ("linux", Protocol::Udp, "`sudo ss -lunp 'sport = :3000'`"),
        ("macos", Protocol::Tcp, "`sudo lsof -nP -sTCP:LISTEN -iTCP:3000`"),
        ("macos", Protocol::Udp, "`sudo lsof -nP -iUDP:3000`"),
    ] {
        let host = FakeHost::new().listener("127.0.0.2:3000", protocol, None);
        let mut unseen = case(host.facts_with(|facts| facts.os = os.into()));
        unseen.want.ports.iter_mut().for_each(|port| port.protocol = protocol);
        let found = unseen.find("ports").await;
        assert!(found.contains(&format!("fix: see with {see} who it is, and stop it")), "{found}");
    }
    let unwanted = Case { want: Needs { ports: Vec::new(), ..needs() }, ..case(FakeHost::new()) };
    assert_eq!(unwanted.find("ports").await, "skipped: ports: no ports are wanted");
    let attempts = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    let remote = Case { attempts, ..case(FakeHost::new()) }.find("ports").await;
    assert_eq!(remote, "skipped: ports: the engine is on another machine, whose ports cannot be seen from here");
    // our own containers are no obstacle, nor is the same port of UDP or of another address
    let own = FakeHost::new()
        .listener("127.0.0.1:80", Protocol::Tcp, Some((901, "docker-proxy")))
        .listener("127.0.0.2:3000", Protocol::Udp, Some((1, "x")))
        .listener("127.0.0.9:80", Protocol::Tcp, Some((2, "y")));
    let ingress = container("macula-nginx-1", ContainerState::Running, &[([127, 0, 0, 1], 80)]);
    assert_snapshot!(Case { ours: vec![ingress], ..case(own) }.find("ports").await, @"ok: ports: all 3 ports are free or our own already");
    // all of IPv6, and of IPv4 too: that cannot be bound
    let both = FakeHost::new().listener("[::]:80", Protocol::Tcp, Some((812, "apache2"))).of_unit("apache2.service");
    assert_snapshot!(case(both).find("ports").await, @r"
    failed: ports: port 80 is taken
      [::]:80/tcp is held by apache2 (pid 812); wanted: 127.0.0.1:80 (nginx), 127.0.0.2:80 (nginx)
      fix: stop apache2: `sudo systemctl stop apache2.service`; or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml
    ");
    // where the engine does not publish, our own background process listens
    let listens = |owner| {
        let mut case = case(FakeHost::new().listener("127.0.0.2:3000", Protocol::Tcp, Some(owner)));
        case.want.ports.iter_mut().for_each(|port| port.passed_on = true);
        case.want.passed_on.insert(("127.0.0.2:3000".parse().unwrap(), Protocol::Tcp));
        case
    };
    assert_snapshot!(listens((31, "macula")).find("ports").await, @"ok: ports: all 3 ports are free or our own already");
    let other = listens((77, "node")).find("ports").await;
    assert!(
        other.contains("\n  127.0.0.2:3000/tcp is held by node (pid 77); wanted: 127.0.0.2:3000 (grafana)\n"),
        "{other}"
    );
}

#[tokio::test]
async fn low_ports() {
    let rootless = |start: &str| {
        let facts = Facts { rootless: true, ..docker() };
        let host = FakeHost::new().setting("net.ipv4.ip_unprivileged_port_start", start);
        Case { facts: Some(facts), ..case(host) }
    };
    assert_snapshot!(rootless("1024").find("low-ports").await, @r"
    failed: low-ports: the rootless engine may publish ports from 1024 only, and 80 is wanted
      fix: let every user of this machine bind ports from 80, until the next boot
        sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80
    ");
    assert_snapshot!(rootless("80").find("low-ports").await, @"ok: low-ports: ports from 80 may be published, 80 is the lowest wanted");
    let nginx = |ports: &[([u8; 4], u16)]| vec![container("macula-nginx-1", ContainerState::Running, ports)];
    let published = Case { ours: nginx(&[([127, 0, 0, 1], 80), ([127, 0, 0, 2], 80)]), ..rootless("1024") };
    assert_snapshot!(published.find("low-ports").await, @"ok: low-ports: the engine publishes those below 1024 already");
    let one = Case { ours: nginx(&[([127, 0, 0, 1], 80)]), ..rootless("1024") };
    assert!(one.find("low-ports").await.starts_with("failed"), "not proved for the other");
    let capable = |said: &str| {
        let mut case = rootless("1024");
        case.host = case.host.program("rootlesskit").answer("getcap /usr/bin/rootlesskit", 0, said, "");
        case
    };
    assert_snapshot!(capable("/usr/bin/rootlesskit cap_net_bind_service=ep\n").find("low-ports").await, @"ok: low-ports: the rootless engine may publish any port: rootlesskit has cap_net_bind_service");
    assert!(capable("").find("low-ports").await.starts_with("failed"));
    assert_snapshot!(case(FakeHost::new()).find("low-ports").await, @"skipped: low-ports: the engine is not rootless");
    // rootlesskit is Docker's
    let mut podman = capable("/usr/bin/rootlesskit cap_net_bind_service=ep\n");
    podman.facts = Some(Facts { rootless: true, engine_kind: EngineKind::Podman, ..docker() });
    assert!(podman.find("low-ports").await.starts_with("failed"));
    let unwanted = Case { want: Needs { ports: Vec::new(), ..needs() }, ..rootless("1024") };
    assert_eq!(unwanted.find("low-ports").await, "skipped: low-ports: no ports are wanted");
    let attempts = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    let remote = Case { attempts, ..rootless("1024") };
    assert_eq!(remote.find("low-ports").await, "skipped: low-ports: the engine is not on this machine");
    let mut own = case(FakeHost::new().setting("net.ipv4.ip_unprivileged_port_start", "1024"));
    own.want.ports.iter_mut().for_each(|port| port.passed_on = true);
    assert_snapshot!(own.find("low-ports").await, @r"
    failed: low-ports: this user may listen on ports from 1024 only, and 80 is wanted
      fix: let every user of this machine bind ports from 80, until the next boot
        sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80
    ");
    // where it listens on all of them it has the right
    let listens = |addresses: &[&str]| {
        let host = FakeHost::new().setting("net.ipv4.ip_unprivileged_port_start", "1024");
        let listen = |host: FakeHost, at: &&str| host.listener(at, Protocol::Tcp, Some((31, "macula")));
        let mut case = case(addresses.iter().fold(host, listen));
        case.want.ports.iter_mut().for_each(|port| port.passed_on = true);
        case.want.passed_on.extend(addresses.iter().map(|at| (at.parse().unwrap(), Protocol::Tcp)));
        case
    };
    assert_eq!(
        listens(&["127.0.0.1:80", "127.0.0.2:80"]).find("low-ports").await,
        "ok: low-ports: the background process listens on those below 1024 already"
    );
    assert!(listens(&["127.0.0.1:80"]).find("low-ports").await.starts_with("failed"), "not proved for the other");
    let mut root = listens(&[]);
    root.host = root.host.facts_with(|facts| facts.uid = 0);
    assert_eq!(root.find("low-ports").await, "skipped: low-ports: nothing has to be allowed here");
}

#[tokio::test]
async fn loopback_addresses() {
    let second = Ipv4Addr::new(127, 0, 0, 2).into();
    let mac =
        FakeHost::new().facts_with(|facts| facts.os = "macos".into()).unbindable(second, ErrorKind::AddrNotAvailable);
    assert_snapshot!(case(mac).find("loopback-addresses").await, @r"
    failed: loopback-addresses: this machine does not have 127.0.0.2
      services publish their ports on loopback addresses of their own
      fix: give lo0 these addresses, until the next boot
        sudo ifconfig lo0 alias 127.0.0.2 up
    ");
    let linux = FakeHost::new().unbindable(second, ErrorKind::AddrNotAvailable);
    assert_snapshot!(case(linux).find("loopback-addresses").await, @r"
    failed: loopback-addresses: this machine does not have 127.0.0.2
      services publish their ports on loopback addresses of their own
      fix: give lo its usual network 127.0.0.0/8
        sudo ip link set lo up
        sudo ip addr replace 127.0.0.1/8 dev lo
    ");
    assert_snapshot!(case(FakeHost::new()).find("loopback-addresses").await, @"ok: loopback-addresses: 2 addresses up to 127.0.0.2 are there");
    let wanted = async |address: [u8; 4]| {
        let want = Needs { ports: vec![port(address, 80, "nginx")], ..needs() };
        Case { want, ..case(FakeHost::new()) }.find("loopback-addresses").await
    };
    assert_eq!(wanted([127, 0, 0, 1]).await, "ok: loopback-addresses: 127.0.0.1 is there");
    assert_eq!(wanted([0, 0, 0, 0]).await, "skipped: loopback-addresses: no loopback addresses are wanted");
    // another reason for which it cannot be bound is another check's
    let busy = FakeHost::new().unbindable(second, ErrorKind::AddrInUse);
    assert!(case(busy).find("loopback-addresses").await.starts_with("ok"));
}

#[tokio::test]
async fn docker0_address() {
    let bridge = network("bridge", "0123456789abcdef", "172.17.0.0/16", false);
    let own = network("macula", "fedcba9876543210", "172.18.5.0/24", true);
    let host = || FakeHost::new().folder("/sys/class/net/docker0").folder("/sys/class/net/br-fedcba987654");
    let lacks = Case { networks: Some(vec![bridge.clone()]), ..case(host().route("172.18.5.0/24", "br-fedcba987654")) };
    assert_snapshot!(lacks.find("docker0-address").await, @r"
    warning: docker0-address: docker0 without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: give the bridges their addresses back; restarting the engine would do it too
        sudo ip addr replace 172.17.0.1/16 dev docker0
    ");
    let ours =
        Case { networks: Some(vec![bridge.clone(), own.clone()]), ..case(host().route("172.17.0.0/16", "docker0")) };
    assert_snapshot!(ours.find("docker0-address").await, @r"
    failed: docker0-address: br-fedcba987654 without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: give the bridges their addresses back; restarting the engine would do it too
        sudo ip addr replace 172.18.5.1/24 dev br-fedcba987654
    ");
    // switched off, with its address and without it
    for route in ["172.18.5.1/32", "192.0.2.0/24"] {
        let off = host().file("/sys/class/net/br-fedcba987654/flags", "0x1002\n").route(route, "");
        let off = Case { networks: Some(vec![bridge.clone(), own.clone()]), ..case(off) };
        let found = off.find("docker0-address").await;
        insta::allow_duplicates! {
            assert_snapshot!(found, @r"
            failed: docker0-address: br-fedcba987654 is down: containers there reach nothing
              something else on this machine (a network manager, a person) has switched it off
              fix: switch them on; restarting the engine would do it too
                sudo ip link set br-fedcba987654 up
            ");
        }
    }
    let off = FakeHost::new()
        .folder("/sys/class/net/br-0a0b0c0d0e0f")
        .file("/sys/class/net/br-0a0b0c0d0e0f/flags", "0x1002\n");
    let theirs = Some(vec![network("lab", "0a0b0c0d0e0f0a0b", "172.19.0.0/16", false)]);
    assert_snapshot!(Case { networks: theirs, ..case(off) }.find("docker0-address").await, @r"
    warning: docker0-address: br-0a0b0c0d0e0f is down: containers there reach nothing
      something else on this machine (a network manager, a person) has switched it off
      fix: restart the engine, which switches its bridges on, unless they are meant to be down
    ");
    let both = host().file("/sys/class/net/br-fedcba987654/flags", "0x1003\n");
    let both = both.route("172.17.0.0/16", "docker0").route("172.18.5.0/24", "br-fedcba987654");
    let networks = || Some(vec![bridge.clone(), own.clone()]);
    assert_snapshot!(Case { networks: networks(), ..case(both) }.find("docker0-address").await, @"ok: docker0-address: the engine's 2 bridges have their addresses");
    // the engine says which address it is
    let last = ObservedNetwork { gateway: Some(Ipv4Addr::new(172, 18, 5, 254)), ..own.clone() };
    let told = Case { networks: Some(vec![last]), ..case(host()) }.find("docker0-address").await;
    assert!(told.ends_with("\n    sudo ip addr replace 172.18.5.254/24 dev br-fedcba987654"), "{told}");
    // one that has none on purpose lacks nothing, and of others it is not known
    let theirs = network("lab", "0a0b0c0d0e0f0a0b", "172.19.0.0/16", false);
    let without = ObservedNetwork { addressless: true, ..theirs.clone() };
    let lab = || host().folder("/sys/class/net/br-0a0b0c0d0e0f");
    let alone = Case { networks: Some(vec![without]), ..case(lab()) };
    assert_snapshot!(alone.find("docker0-address").await, @"skipped: docker0-address: the engine has no bridge on this machine");
    let advised = Case { networks: Some(vec![theirs.clone()]), ..case(lab()) };
    assert_snapshot!(advised.find("docker0-address").await, @r"
    warning: docker0-address: br-0a0b0c0d0e0f without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: restart the engine, which gives its bridges their addresses back, unless they are meant to have none
    ");
    let mixed = Case { networks: Some(vec![own, theirs]), ..case(lab()) };
    assert_snapshot!(mixed.find("docker0-address").await, @r"
    failed: docker0-address: br-fedcba987654, br-0a0b0c0d0e0f without IPv4 address: containers there reach nothing
      something else on this machine (a network manager, a VPN) has taken it away
      fix: give the platform's bridges their addresses back; restarting the engine would do it for the others too
        sudo ip addr replace 172.18.5.1/24 dev br-fedcba987654
    ");
}

#[tokio::test]
async fn forwarding_and_neighbors() {
    let own = || network("macula", "fedcba9876543210", "172.18.5.0/24", true);
    let filter = "-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -o br-fedcba987654 -j DOCKER\n-A FORWARD -i br-fedcba987654 -j ACCEPT\n\
                  -A DOCKER -d 172.18.5.9/32 ! -i br-fedcba987654 -o br-fedcba987654 -p tcp -m tcp --dport 5000 -j ACCEPT\n";
    let nat = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 172.18.5.0/24 ! -o br-fedcba987654 -j MASQUERADE\n";
    let host =
        |filter: &str, nat: &str| {
            let rules = FakeHost::new().program("iptables").folder("/sys/class/net/br-fedcba987654");
            rules
                .answer("sudo iptables -t filter -S", 0, filter, "")
                .answer("sudo iptables -t nat -S", 0, nat, "")
                .answer("ip -4 route show default", 0, "default via 192.0.2.9 dev eth0 proto dhcp\n", "")
        };
    let one = |host: FakeHost| Case { networks: Some(vec![own()]), ..case(host) };
    assert_snapshot!(one(host(filter, nat)).find("forwarding").await, @"ok: forwarding: containers reach each other and other machines");
    assert_snapshot!(one(host(filter, "")).find("forwarding").await, @"
    warning: forwarding: what containers on br-fedcba987654 send to other machines gets no answer
      the engine's rule that gives it this machine's address (MASQUERADE) is missing
      fix: put the rule back; restarting the engine would put its own rules back too
        sudo iptables -t nat -A POSTROUTING -s 172.18.5.0/24 '!' -o br-fedcba987654 -j MASQUERADE
    ");
    assert_snapshot!(one(host(filter, nat).setting("net.ipv4.ip_forward", "0")).find("forwarding").await, @"
    warning: forwarding: this machine forwards nothing: containers reach no other machine
      net.ipv4.ip_forward is 0; something has changed it since the engine was started
      fix: switch it on
        sudo sysctl -w net.ipv4.ip_forward=1
    ");
    let bare = FakeHost::new().folder("/sys/class/net/br-fedcba987654");
    assert_snapshot!(one(bare).find("forwarding").await, @"skipped: forwarding: there is no iptables, so rules could not be read");
    // an engine of before
    let registry = ObservedContainer {
        name: "macula-registry-1".into(),
        addresses: [("macula".to_owned(), Ipv4Addr::new(172, 18, 5, 9))].into(),
        ports: vec![PortBinding {
            host_ip: Ipv4Addr::LOCALHOST.into(),
            host_port: Some(5001),
            container_port: 5000,
            protocol: Protocol::Tcp,
        }],
        ..ObservedContainer::default()
    };
    let old = |host: FakeHost| Case {
        facts: Some(Facts { engine: "Docker 20.10.24".into(), ..docker() }),
        ours: vec![registry.clone()],
        ..one(host)
    };
    assert_snapshot!(old(host(filter, nat)).find("neighbors").await, @"
    warning: neighbors: other machines of your network can reach services that are meant for this machine only
      a machine that adds a route to 172.18.5.0/24 through this one reaches the containers at their own addresses
      Docker before version 28 lets such packets through; an upgrade ends it for good
      fix: block such packets, until this machine starts again or the platform's network is made again
        sudo iptables -I DOCKER-USER '!' -i br-fedcba987654 -o br-fedcba987654 -m conntrack '!' --ctstate RELATED,ESTABLISHED,DNAT -j DROP
    ");
    let closed = format!("{filter}-A FORWARD -j DROP\n").replacen(
        "-A FORWARD -o",
        "-A FORWARD ! -i br-fedcba987654 -o br-fedcba987654 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n-A FORWARD -o",
        1,
    );
    assert_snapshot!(old(host(&closed, nat)).find("neighbors").await, @"ok: neighbors: what other machines send to containers directly is dropped");

    // where neither can be looked at, or there is nothing to look at
    let podman = Facts { engine: "Podman 5.4.2".into(), engine_kind: EngineKind::Podman, ..docker() };
    let podman = Case { facts: Some(podman), ..one(host(filter, nat)) };
    assert_eq!(podman.find("neighbors").await, "skipped: neighbors: the engine is not Docker");
    let unpublished = Case { ours: Vec::new(), ..old(host(filter, nat)) };
    assert_eq!(
        unpublished.find("neighbors").await,
        "skipped: neighbors: nothing is published on loopback addresses alone"
    );
    let bridge = network("bridge", "0123456789abcdef", "172.17.0.0/16", false);
    let before = old(host(filter, nat).folder("/sys/class/net/docker0"));
    let before = Case { networks: Some(vec![bridge]), ..before };
    assert_eq!(before.find("neighbors").await, "skipped: neighbors: the platform has no network yet");
    for check in ["forwarding", "neighbors"] {
        let none = old(host(filter, nat));
        let none = Case { networks: Some(Vec::new()), ..none }.find(check).await;
        assert_eq!(none, format!("skipped: {check}: the engine has no bridge on this machine"));
        let attempts = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
        let remote = Case { attempts, ..old(host(filter, nat)) }.find(check).await;
        assert_eq!(remote, format!("skipped: {check}: the engine is on another machine"));
        let mac = old(host(filter, nat).facts_with(|facts| facts.os = "macos".into())).find(check).await;
        assert_eq!(mac, format!("skipped: {check}: the engine's kernel is not this machine's"));
    }
    // newer ones may keep their rules where this program does not read them
    let of_version = |engine: &str| {
        let facts = Facts { engine: engine.into(), ..docker() };
        Case { facts: Some(facts), ..one(host("-P FORWARD ACCEPT\n", nat)) }
    };
    assert_eq!(
        of_version("Docker 29.0.1").find("forwarding").await,
        "skipped: forwarding: the engine keeps its rules elsewhere (nftables)"
    );
    assert_eq!(
        of_version("Docker 28.2.2").find("forwarding").await,
        "ok: forwarding: containers reach each other and other machines"
    );
    let quick = Case { thorough: false, ..one(host("-P FORWARD DROP\n", nat)) };
    assert_eq!(quick.find("forwarding").await, "ok: forwarding: this machine forwards what containers send");
}

#[tokio::test]
async fn subnet() {
    let fixed = || Needs { subnet: "10.8.0.0/24".parse().ok(), ..needs() };
    let vpn = || FakeHost::new().route("10.8.0.0/20", "wg0").route("127.0.0.0/8", "lo");
    assert_snapshot!(Case { want: fixed(), ..case(vpn()) }.find("subnet").await, @r"
    failed: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      wg0 has a route to 10.8.0.0/20
      fix: set another `addresses: {subnet: ...}` in macula.yaml, or leave it out: a free one is chosen then
    ");
    let other = network("shop_default", "0123456789abcdef", "10.8.0.128/25", false);
    let crowded = Case { want: fixed(), networks: Some(vec![other]), ..case(FakeHost::new()) };
    assert_snapshot!(crowded.find("subnet").await, @r"
    failed: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      the engine's network shop_default has 10.8.0.128/25
      fix: set another `addresses: {subnet: ...}` in macula.yaml, or leave it out: a free one is chosen then
    ");
    // the network is there; a VPN came later
    let own = network("macula", "fedcba9876543210", "10.8.0.0/24", true);
    let later = || Case { networks: Some(vec![own.clone()]), ..case(vpn().route("10.8.0.0/24", "br-fedcba987654")) };
    assert_snapshot!(later().find("subnet").await, @r"
    warning: subnet: the platform's subnet 10.8.0.0/24 collides with another network
      wg0 has a route to 10.8.0.0/20
      fix: `macula down` and `macula up` choose a free one; volumes stay
    ");
    let alone =
        Case { networks: Some(vec![own.clone()]), ..case(FakeHost::new().route("10.8.0.0/24", "br-fedcba987654")) };
    assert_snapshot!(alone.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    let inside = FakeHost::new().facts_with(|facts| facts.container = true).route("10.8.0.0/24", "eth1");
    let joined = Case { networks: Some(vec![own.clone()]), ..case(inside) };
    assert_snapshot!(joined.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    let off = Case { networks: Some(vec![own.clone()]), ..case(FakeHost::new().route("10.8.0.1/32", "")) };
    assert_snapshot!(off.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    // the route of a VPN to much more than the subnet leaves room for it
    let wide = Case { want: fixed(), ..case(FakeHost::new().route("10.0.0.0/8", "wg0")) };
    assert_snapshot!(wide.find("subnet").await, @"ok: subnet: 10.8.0.0/24 is free");
    assert_snapshot!(case(vpn()).find("subnet").await, @"skipped: subnet: chosen automatically");
}

#[tokio::test]
async fn proxy() {
    let host =
        |pairs: &[(&str, &str)]| pairs.iter().fold(FakeHost::new(), |host, (name, value)| host.env_var(name, value));
    let client = |text: &str| case(FakeHost::new().file("/home/dev/.docker/config.json", text));
    assert_snapshot!(client(r#"{"proxies": {"default": {}}}"#).find("proxy").await, @"ok: proxy: no proxy is set");
    assert_snapshot!(client(r#"{"proxies": {"default": {"httpProxy": "http://proxy:3128"}}}"#).find("proxy").await, @r"
    warning: proxy: the proxies in /home/dev/.docker/config.json reach no container and no build
      only the `docker` program hands them on; macula tells builds of those that the environment names
      fix: set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in your shell, and under `environment` of services that need them
    ");
    let bare = host(&[("HTTP_PROXY", "http://proxy:3128"), ("HTTPS_PROXY", "http://proxy:3128")]);
    assert_snapshot!(case(bare).find("proxy").await, @r"
    warning: proxy: HTTP_PROXY, HTTPS_PROXY are set without an exception for .macula.local, localhost, 127.0.0.0/8
      programs would ask the proxy for the platform's names and addresses, which it cannot reach
      fix: `export NO_PROXY='.macula.local,localhost,127.0.0.0/8' no_proxy='.macula.local,localhost,127.0.0.0/8'`, and keep it in your shell's profile
    ");
    let partly = host(&[("http_proxy", "http://proxy:3128"), ("no_proxy", "localhost,127.0.0.0/8,.example.com")]);
    assert_snapshot!(case(partly).find("proxy").await, @r"
    warning: proxy: http_proxy is set without an exception for .macula.local
      programs would ask the proxy for the platform's names and addresses, which it cannot reach
      fix: `export NO_PROXY='localhost,127.0.0.0/8,.example.com,.macula.local' no_proxy='localhost,127.0.0.0/8,.example.com,.macula.local'`, and keep it in your shell's profile
    ");
    let kept = ("NO_PROXY", "localhost, 127.0.0.0/8, .local");
    let right = || host(&[("http_proxy", "http://proxy:3128"), kept]);
    let engine = |kind, proxied| {
        let traits = Traits { proxied, ..Traits::default() };
        Some(Facts { engine_kind: kind, traits, ..docker() })
    };
    let proxied = Case { facts: engine(EngineKind::Docker, true), ..case(right()) };
    assert_snapshot!(proxied.find("proxy").await, @"ok: proxy: http_proxy is set, with exceptions for the platform");
    // a machine that has a way of its own to registries
    let open = right().name("registry-1.docker.io", ["192.0.2.7".parse().unwrap()]);
    let open = open.listener("192.0.2.7:443", Protocol::Tcp, None);
    assert_snapshot!(case(open).find("proxy").await, @"ok: proxy: http_proxy is set, with exceptions for the platform");
    assert_snapshot!(case(right()).find("proxy").await, @r#"
    warning: proxy: http_proxy is set, and Docker 28.2.2 asks registries without a proxy
      no registry is reached without one: pulls fail, builds and this shell go through the proxy
      fix: name it under `"proxies"` in /etc/docker/daemon.json (`http-proxy`, `https-proxy`, `no-proxy`; Docker 23 and later), or as `Environment=` of its unit (`sudo systemctl edit docker`), and restart the engine
    "#);
    let podman = Case { facts: engine(EngineKind::Podman, false), ..case(right()) };
    assert!(podman.find("proxy").await.contains("systemctl edit podman"));
    let everything = host(&[("all_proxy", "socks5://proxy"), ("no_proxy", "*")]);
    let everything = Case { facts: engine(EngineKind::Docker, true), ..case(everything) };
    assert_snapshot!(everything.find("proxy").await, @"ok: proxy: all_proxy is set, with exceptions for the platform");
}
