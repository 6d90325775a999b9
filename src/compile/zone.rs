//! The platform's names, as the resolver tells them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::model::{Facts, Platform, Protocol, Record, RecordData, View, Zone};

use super::address::{Block, gateway, ingress_address, inside_address, loopback_address};
use super::cluster::applications_address;
use super::ingress::routes;
use super::naming::direct_names;
use super::own_address;

/// Where the resolver answers, whatever its port, unless `dns.listen` says otherwise: `ns.<domain>` of a platform.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The service whose records stand between our own names and the wildcard.
const POWERDNS: &str = "powerdns";

/// The zone of a platform. Each name leads to its row's own address on the host, and to the ingress
/// inside the network; without an ingress there are no names inside. `tls`: the ingress serves HTTPS.
/// `cluster`: where its ingress is reached inside the network; names that nobody owns lead to it.
///
/// Nobody transfers the zone, so that its serial need not count up: it only differs when the records
/// do.
pub fn zone(platform: &Platform, block: Block, subnet: Ipv4Net, tls: bool, cluster: Option<Ipv4Addr>) -> Zone {
    let domain = &platform.domain;
    let routes = routes(platform, block);
    // where two services share a name the first has its address
    let anybody = format!("*.{domain}");
    let applications = if cluster.is_some() { applications_address(block) } else { own_address(block) };
    let mut hosts: BTreeMap<String, Ipv4Addr> =
        [(domain.clone(), own_address(block)), (anybody.clone(), applications)].into();
    for route in routes.iter().filter(|route| route.own) {
        hosts.entry(route.host.clone()).or_insert(route.address);
    }
    for (name, address) in direct_names(platform) {
        hosts.entry(name).or_insert(loopback_address(block, Some(address)));
    }
    let apart: BTreeMap<String, u8> = super::own_inside(platform)
        .into_iter()
        .map(|(service, octet)| (super::fully_qualified(&service, domain), octet))
        .collect();
    let inside = platform.services().any(|(_, service)| service.extension.role.is_some());

    let mut zone = Zone::new(domain.clone(), 0);
    let server = zone.soa.primary.clone();
    let listens = platform.dns.listen.iter().find_map(|address| match address.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    });
    zone.records.push(Record::new(server.clone(), RecordData::A(listens.unwrap_or(RESOLVER))).only(View::Host));
    zone.records.push(Record::new(server, RecordData::A(gateway(subnet))).only(View::Container));
    for (name, address) in hosts {
        let within = cluster
            .filter(|_| name == anybody)
            .or_else(|| apart.get(&name).map(|octet| inside_address(subnet, *octet)))
            .or(inside.then(|| ingress_address(subnet)));
        if let Some(within) = within {
            zone.records.push(Record::new(name.clone(), RecordData::A(within)).only(View::Container));
        }
        zone.records.push(Record::new(name, RecordData::A(address)).only(View::Host));
    }
    if platform.ingress.redirect && tls {
        let mut names: Vec<&String> = routes.iter().filter(|route| route.own).map(|route| &route.host).collect();
        names.dedup();
        for name in names {
            // inside, the ingress always listens on 443
            zone.records.push(https(name, 443).only(View::Container));
            zone.records.push(https(name, platform.ingress.https).only(View::Host));
        }
    }
    zone.soa.serial = serial(&zone);
    zone
}

/// Names below the domain that lead where the domain itself does, unless they are somebody's; those with an address lead
/// there on this machine.
pub fn name_as_the_domain(zone: &mut Zone, names: impl Iterator<Item = (impl AsRef<str>, Option<SocketAddr>)>) {
    let apex = zone.apex.clone();
    let own = zone.records.iter().filter(|record| record.name == apex && matches!(record.data, RecordData::A(_)));
    let own: Vec<Record> = own.cloned().collect();
    for (name, here) in names {
        let name = super::fully_qualified(name.as_ref(), &apex);
        if zone.records.iter().all(|record| record.name != name) {
            zone.records.extend(own.iter().map(|record| Record {
                name: name.clone(),
                data: match (record.view, here) {
                    (Some(View::Host), Some(SocketAddr::V4(here))) => RecordData::A(*here.ip()),
                    _ => record.data.clone(),
                },
                ..record.clone()
            }));
            zone.soa.serial = 0;
        }
    }
    if zone.soa.serial == 0 {
        zone.soa.serial = serial(zone);
    }
}

/// A browser that sees one goes to HTTPS at once (RFC 9460 9.5), with HTTP/2 (RFC 9460 7.1).
fn https(name: &str, port: u16) -> Record {
    const ALPN: u16 = 1;
    const PORT: u16 = 3;
    let mut params = vec![(ALPN, b"\x02h2".to_vec())];
    if port != 443 {
        params.push((PORT, port.to_be_bytes().to_vec()));
    }
    Record::new(name, RecordData::Https { priority: 1, target: ".".into(), params })
}

fn serial(zone: &Zone) -> u32 {
    let text = serde_json::to_vec(zone).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte)).max(1)
}

/// The PowerDNS server of the platform as the host reaches it, if it takes part.
pub fn feed(platform: &Platform, block: Block) -> Option<SocketAddr> {
    let (_, service) = platform.service(POWERDNS)?;
    let port = service.ports.iter().find(|port| port.target == 53 && port.protocol == Protocol::Tcp)?;
    let own = loopback_address(block, service.extension.address);
    Some((port.host_ip.unwrap_or(own.into()), port.published?).into())
}

/// The port of the resolver's counters.
const METRICS: u16 = 9153;

/// Where the resolver shows its counters to the platform's Prometheus: on the network's gateway,
/// which is the host where the engine's bridge is on it, and nothing else.
pub fn resolver_metrics(facts: &Facts, subnet: Ipv4Net) -> Option<SocketAddr> {
    facts.container_addresses.then(|| (gateway(subnet), METRICS).into())
}

/// Where PowerDNS's API is reached from the host.
pub fn records_api(platform: &Platform, block: Block) -> Option<SocketAddr> {
    let (_, service) = platform.service(POWERDNS)?;
    let port = service.ports.iter().find(|port| port.target == 8081 && port.protocol == Protocol::Tcp)?;
    let own = loopback_address(block, service.extension.address);
    Some((port.host_ip.unwrap_or(own.into()), port.published?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::{Role, Soa};

    // names and addresses that no built-in stack has: those are loaded too
    const STACK: &str = "
services:
  front:
    image: nginx:1
  graph:
    image: graph:1
    ports: ['3009:3000']
    x-macula: {address: 127.0.0.102, ingress: [{host: graph, port: 3000}]}
  store:
    image: store:1
    x-macula: {address: 127.0.0.105, ingress: [{host: store, port: 9000}, {host: '*.store', port: 9000}]}
  data:
    image: data:17
    ports: ['5432:5432']
    x-macula: {address: 127.0.0.106}
  job:
    image: job:1
  records:
    image: pdns:1
    ports: ['53:53/udp', '53:53/tcp', '8081:8081']
    x-macula: {address: 127.0.0.108}
";

    /// With `front` as the ingress and `records` as PowerDNS.
    fn platform(stack: &str, settings: &str, name: &str) -> Platform {
        let files = MemoryFiles::default().with("/w/macula.yaml", settings).with("/w/app/compose.yaml", stack);
        let request = Request {
            cwd: "/w".into(),
            name: Some(crate::model::PlatformName::new(name).unwrap()),
            stacks: vec!["/w/app".into()],
            ..Request::default()
        };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        platform.stacks.retain(|stack| stack.name == "app");
        for service in platform.stacks[0].services.values_mut() {
            match service.name.as_str() {
                "front" => service.extension.role = Some(Role::Ingress),
                "records" => service.name = POWERDNS.into(),
                _ => {}
            }
        }
        platform
    }

    fn shown(zone: &Zone) -> String {
        let line =
            |record: &Record| format!("{:<10} {} {:?}\n", format!("{:?}", record.view), record.name, record.data);
        zone.records.iter().map(line).collect()
    }

    fn subnet() -> Ipv4Net {
        "10.222.7.0/24".parse().unwrap()
    }

    #[test]
    fn every_name_has_an_address_on_each_side() {
        let zone = zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, None);
        assert_eq!((zone.apex.as_str(), zone.soa.primary.as_str()), ("macula.local", "ns.macula.local"));
        insta::assert_snapshot!(shown(&zone), @r#"
        None       macula.local Ns("ns.macula.local")
        Some(Host) ns.macula.local A(127.0.0.9)
        Some(Container) ns.macula.local A(10.222.7.1)
        Some(Container) *.macula.local A(10.222.7.2)
        Some(Host) *.macula.local A(127.0.0.1)
        Some(Container) *.store.macula.local A(10.222.7.2)
        Some(Host) *.store.macula.local A(127.0.0.105)
        Some(Container) data.macula.local A(10.222.7.2)
        Some(Host) data.macula.local A(127.0.0.106)
        Some(Container) graph.macula.local A(10.222.7.2)
        Some(Host) graph.macula.local A(127.0.0.102)
        Some(Container) macula.local A(10.222.7.2)
        Some(Host) macula.local A(127.0.0.1)
        Some(Container) powerdns.macula.local A(10.222.7.2)
        Some(Host) powerdns.macula.local A(127.0.0.108)
        Some(Container) store.macula.local A(10.222.7.2)
        Some(Host) store.macula.local A(127.0.0.105)
        "#);
    }

    #[test]
    fn the_name_server_is_where_the_file_says() {
        let server = |settings: &str| {
            let zone = zone(&platform(STACK, settings, "macula"), Block::DEFAULT, subnet(), true, None);
            let own = zone.records.into_iter().find(|record| record.name == "ns.macula.local").unwrap();
            own.data
        };
        assert_eq!(server("dns: {listen: ['127.73.0.9:5399']}\n"), RecordData::A([127, 73, 0, 9].into()));
        assert_eq!(server("dns: {listen: ['[::1]:5399', '0.0.0.0:53']}\n"), RecordData::A(RESOLVER));
    }

    #[test]
    fn a_named_platform_without_an_ingress_has_names_on_the_host_only() {
        let stack =
            "services:\n  data:\n    image: data:17\n    ports: ['5432:5432']\n    x-macula: {address: 127.0.0.106}\n";
        let block = Block::new(Ipv4Addr::new(127, 70, 9, 0)).unwrap();
        insta::assert_snapshot!(shown(&zone(&platform(stack, "", "pr-1"), block, subnet(), true, None)), @r#"
        None       pr-1.macula.local Ns("ns.pr-1.macula.local")
        Some(Host) ns.pr-1.macula.local A(127.0.0.9)
        Some(Container) ns.pr-1.macula.local A(10.222.7.1)
        Some(Host) *.pr-1.macula.local A(127.70.9.1)
        Some(Host) data.pr-1.macula.local A(127.70.9.106)
        Some(Host) pr-1.macula.local A(127.70.9.1)
        "#);
    }

    #[test]
    fn names_that_nobody_owns_lead_to_the_cluster() {
        let node = Some(Ipv4Addr::new(10, 222, 7, 130));
        let zone = zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, node);
        let wild: Vec<&Record> = zone.records.iter().filter(|record| record.name == "*.macula.local").collect();
        assert_eq!(
            wild,
            [
                &Record::new("*.macula.local", RecordData::A(Ipv4Addr::new(10, 222, 7, 130))).only(View::Container),
                &Record::new("*.macula.local", RecordData::A(Ipv4Addr::new(127, 0, 0, 10))).only(View::Host),
            ]
        );
        let store: Vec<&Record> = zone.records.iter().filter(|record| record.name == "*.store.macula.local").collect();
        assert!(store.contains(
            &&Record::new("*.store.macula.local", RecordData::A(ingress_address(subnet()))).only(View::Container)
        ));
    }

    #[test]
    fn names_of_nobody_lead_where_the_domain_does() {
        let before = zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, None);
        let mut zone = before.clone();
        let here = Some(SocketAddr::from(([127, 0, 0, 12], 4318)));
        name_as_the_domain(&mut zone, ["graph", "*.store", "NS.", "macula.local"].map(|name| (name, here)).into_iter());
        assert_eq!(zone, before);
        let names = [("bugs", None), ("graph", None), ("otel.macula.local", here), ("bugs", None)];
        name_as_the_domain(&mut zone, names.into_iter());
        let bare = Zone { soa: Soa { serial: 0, ..zone.soa.clone() }, ..zone.clone() };
        assert_eq!(zone.soa.serial, serial(&bare));
        assert_ne!(zone.soa.serial, before.soa.serial);
        let added = zone.records.split_off(before.records.len());
        assert_eq!(zone.records, before.records);
        insta::assert_snapshot!(shown(&Zone { records: added, ..zone }), @r#"
        Some(Container) bugs.macula.local A(10.222.7.2)
        Some(Host) bugs.macula.local A(127.0.0.1)
        Some(Container) otel.macula.local A(10.222.7.2)
        Some(Host) otel.macula.local A(127.0.0.12)
        "#);
    }

    #[test]
    fn browsers_are_sent_to_https_only_when_asked_for() {
        let https = |zone: &Zone| {
            let records = zone.records.iter().filter(|record| matches!(record.data, RecordData::Https { .. }));
            records.map(|record| format!("{:?} {} {:?}\n", record.view, record.name, record.data)).collect::<String>()
        };
        let settings = "ingress: {redirect: true, https: 8443}\n";
        let redirecting = platform(STACK, settings, "macula");
        insta::assert_snapshot!(https(&zone(&redirecting, Block::DEFAULT, subnet(), true, None)), @r#"
        Some(Container) *.store.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50])] }
        Some(Host) *.store.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50]), (3, [32, 251])] }
        Some(Container) graph.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50])] }
        Some(Host) graph.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50]), (3, [32, 251])] }
        Some(Container) store.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50])] }
        Some(Host) store.macula.local Https { priority: 1, target: ".", params: [(1, [2, 104, 50]), (3, [32, 251])] }
        "#);
        assert_eq!(https(&zone(&redirecting, Block::DEFAULT, subnet(), false, None)), "");
        assert_eq!(https(&zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, None)), "");
    }

    #[test]
    fn the_serial_differs_when_the_records_do() {
        let one = zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, None);
        let same = zone(&platform(STACK, "", "macula"), Block::DEFAULT, subnet(), true, None);
        let other =
            zone(&platform(&STACK.replace("graph", "chart"), "", "macula"), Block::DEFAULT, subnet(), true, None);
        assert_eq!(one, same);
        assert_ne!(one.soa.serial, other.soa.serial);
        // all bytes of it count, or two zones would soon have the same one
        assert!(one.soa.serial.max(other.soa.serial) > 0xff_ffff);
    }

    #[test]
    fn powerdns_is_asked_where_it_publishes() {
        let with = platform(STACK, "", "macula");
        assert_eq!(feed(&with, Block::DEFAULT), Some("127.0.0.108:53".parse().unwrap()));
        assert_eq!(records_api(&with, Block::DEFAULT), Some("127.0.0.108:8081".parse().unwrap()));
        let block = Block::new(Ipv4Addr::new(127, 70, 9, 0)).unwrap();
        assert_eq!(feed(&with, block), Some("127.70.9.108:53".parse().unwrap()));
        for (ports, asked, api) in [
            // no TCP, no port of this machine, and addresses of the user's own
            ("'53:53/udp', '8081:8081/udp'", None, None),
            ("'53', '8081'", None, None),
            ("'127.5.0.1:5353:53', '127.5.0.2:8082:8081'", Some("127.5.0.1:5353"), Some("127.5.0.2:8082")),
        ] {
            let stack = STACK.replace("'53:53/udp', '53:53/tcp', '8081:8081'", ports);
            let platform = platform(&stack, "", "macula");
            let shown = |address: Option<SocketAddr>| address.map(|address| address.to_string());
            assert_eq!(shown(feed(&platform, block)).as_deref(), asked, "{ports}");
            assert_eq!(shown(records_api(&platform, block)).as_deref(), api, "{ports}");
        }
        let other = platform(&STACK.replace("records", "other"), "", "macula");
        assert_eq!((feed(&other, Block::DEFAULT), records_api(&other, Block::DEFAULT)), (None, None));
    }
}
