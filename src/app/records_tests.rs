//! The names of a platform, and what is said of records where PowerDNS does not keep any.

use super::error::ResolverError;
use super::records::{
    ListedRecord, add_record, applications, list_records, remove_owned, remove_record, written_addresses,
};
use super::testing::{session, shop};
use super::{Error, Session, State};
use crate::compile::Block;
use crate::config::Loaded;
use crate::engine::fake::FakeEngine;
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::model::{ContainerState, ObservedContainer, label};

const STACK: &str = "
services:
  db:
    image: 'db:1'
    ports: ['5432:5432']
    x-macula: {address: 127.0.0.106}
  chart:
    image: 'chart:1'
    ports: ['3009:3000']
    x-macula: {address: 127.0.0.107}
";
const POWERDNS: &str = "
  powerdns:
    image: 'pdns:1'
    ports: ['8081:8081']
";

/// The platform `shop` of these services, on 127.70.9.0.
async fn given(engine: &FakeEngine, stack: &str) -> (Session, Loaded) {
    let host = FakeHost::new();
    let loaded = shop(&host, "", stack);
    let state = State::new(&host.folders().data, &loaded.platform.name);
    let block = Block::new([127, 70, 9, 0].into()).unwrap();
    assert!(state.keep_block(&host, block, true).await.unwrap());
    (session(host, engine, "macula dns list"), loaded)
}

fn container(service: &str, state: ContainerState) -> ObservedContainer {
    let labels = [(label::PLATFORM, "shop"), (label::SERVICE, service)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    ObservedContainer { name: format!("shop-{service}-1"), state, labels, ..ObservedContainer::default() }
}

fn shown(all: &[ListedRecord]) -> String {
    let line =
        |one: &ListedRecord| format!("{} {} {} {} ({})\n", one.name, one.ttl, one.rtype, one.value, one.source.word());
    all.iter().map(line).collect()
}

#[tokio::test]
async fn each_name_of_the_machine_is_listed_with_who_has_it() {
    let (session, loaded) = given(&FakeEngine::new(), STACK).await;
    let (down, failed) = list_records(&session, &loaded).await.unwrap();
    assert!(failed.is_none());
    insta::assert_snapshot!(shown(&down), @r"
    *.shop.macula.local 30 A 127.70.9.1 (platform)
    chart.shop.macula.local 30 A 127.70.9.107 (platform)
    db.shop.macula.local 30 A 127.70.9.106 (platform)
    ns.shop.macula.local 30 A 127.0.0.9 (platform)
    shop.macula.local 30 A 127.70.9.1 (platform)
    shop.macula.local 30 NS ns.shop.macula.local (platform)
    ");
    // with how services are that do not run while another one does
    let engine = FakeEngine::new().with_container(container("db", ContainerState::Exited));
    let (session, loaded) = given(&engine, STACK).await;
    let state = session.state(&loaded.platform.name);
    state.keep_stopped(session.host(), ["db".to_owned()].into()).await.unwrap();
    let (up, _) = list_records(&session, &loaded).await.unwrap();
    let of = |name: &str| up.iter().find(|one| one.name == name).unwrap().source.word();
    let words = ["*.shop.macula.local", "chart.shop.macula.local", "db.shop.macula.local", "shop.macula.local"].map(of);
    assert_eq!(words, ["platform", "not started", "stopped", "platform"]);
    assert_eq!(up.len(), down.len());
}

#[tokio::test]
async fn records_are_kept_by_a_powerdns_that_has_been_up() {
    let (session, loaded) = given(&FakeEngine::new(), STACK).await;
    let none =
        |error: &Error| matches!(error, Error::Resolver(ResolverError::NoPowerDns { platform }) if platform == "shop");
    let added = add_record(&session, &loaded, "news", "A", "127.0.0.1", 60).await.unwrap_err();
    let removed = remove_record(&session, &loaded, "news", None).await.unwrap_err();
    let owned = remove_owned(&session, &loaded).await.unwrap_err();
    assert!([&added, &removed, &owned].into_iter().all(none), "{added} {removed} {owned}");
    // a name of the platform's is refused whoever keeps records
    let own = add_record(&session, &loaded, "db", "TXT", "x", 60).await.unwrap_err();
    let name = "db.shop.macula.local is a name of the platform itself: what PowerDNS has for it would never be seen";
    assert_eq!(own.to_string(), name);
    // what is no type is told of first
    assert!(remove_record(&session, &loaded, "news", Some("B")).await.is_err_and(|error| !none(&error)));

    let (session, loaded) = given(&FakeEngine::new(), &format!("{STACK}{POWERDNS}")).await;
    let not_up =
        |error: &Error| matches!(error, Error::Resolver(ResolverError::NotUp { platform }) if platform == "shop");
    let (own, failed) = list_records(&session, &loaded).await.unwrap();
    assert!(failed.as_ref().is_some_and(not_up), "{failed:?}");
    assert!(own.iter().any(|one| one.name == "db.shop.macula.local"));
    let added = add_record(&session, &loaded, "news", "A", "127.0.0.1", 60).await.unwrap_err();
    assert!(not_up(&added), "{added}");
    // and whoever only wants to know has nothing
    assert!(written_addresses(&session, &loaded.platform).await.is_empty());
    assert_eq!(applications(&session, &loaded.platform, [127, 70, 9, 10].into()).await, [""; 0]);
}
