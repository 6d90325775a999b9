//! One fault at a time, and what is said about it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use insta::assert_snapshot;

use super::*;
use crate::dns::{Config, Listen, Server, ZoneEntry};
use crate::host::fake::FakeHost;
use crate::model::{Health, Invocation, Protocol, Record, RecordData, View, macula};
use crate::pki::Authority;

mod causes;
mod certificates;
mod resolver;
mod services;
mod system;
mod way;
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
    assert!(!world.look().await.1.is_ok());
}
