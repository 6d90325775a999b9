use super::*;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::system::own_image::testing::machine;

async fn facts(engine: &FakeEngine) -> Facts {
    Engine::facts(engine).await.unwrap()
}

#[tokio::test]
async fn what_it_says_is_the_proof_and_nothing_is_left() {
    let engine = FakeEngine::new();
    let seen = Answer { dns: Ok(()), gateway: Err("10.222.0.1:53 does not answer".into()), servers: Vec::new() };
    let body = serde_json::to_string(&seen).unwrap();
    let host = machine().http(SocketAddr::new(ADDRESS.into(), first_port()), "/", 200, &body);
    let proved = prove(&engine, &host, &facts(&engine).await).await.unwrap();
    assert_eq!(proved.answer, Some(seen));
    assert_eq!(engine.containers(), [""; 0]);
    assert_eq!(engine.network_names(), [""; 0]);
    let before = engine.journal().iter().filter(|line| line.contains("import")).count();
    prove(&engine, &host, &facts(&engine).await).await.unwrap();
    let after = engine.journal().iter().filter(|line| line.contains("import")).count();
    assert_eq!((before, after), (1, 1), "the image is made once");
}

#[tokio::test]
async fn its_container_is_made_of_its_own_image_and_published_at_the_port_that_was_free() {
    let image = OwnImage { reference: "localhost/x:1".into(), entrypoint: vec!["/macula".into()] };
    let (network, _) = network(&FakeEngine::new(), &machine(), "n", &BTreeMap::new()).await.unwrap();
    let spec = container("n", &image, &network, SocketAddr::new([10, 222, 0, 1].into(), 53), 48_123, BTreeMap::new());
    assert_eq!((spec.image.as_str(), spec.entrypoint), ("localhost/x:1", Some(image.entrypoint)));
    assert_eq!((spec.ports[0].host_port, spec.ports[0].container_port), (Some(48_123), PORT));
}

/// Whoever loaded the image is gone, and its label is on every container that is made from it.
#[tokio::test]
async fn what_a_killed_proof_has_left_goes_and_the_relay_of_a_platform_stays() {
    let found = |name: &str, more: Option<(&str, &str)>| {
        let labels = [(LABEL, "999999999")].into_iter().chain(more);
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        crate::model::ObservedContainer { name: name.to_owned(), labels, ..Default::default() }
    };
    let engine = FakeEngine::new()
        .with_container(found("macula-proof-7", None))
        .with_container(found("macula-shop.relay", Some((label::PLATFORM, "shop"))));
    engine.clear_journal();
    clear(&engine, &machine()).await;
    assert_eq!(engine.journal(), ["removing container macula-proof-7"]);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_taken_away() {
    let pid = std::process::id();
    let ours = ["", "-other"].map(|more| format!("{NAME}-{pid}{more}"));
    let engine = ours.iter().fold(FakeEngine::new(), |engine, name| {
        let (id, name) = (format!("id of {name}"), name.clone());
        engine.with_container(crate::model::ObservedContainer { id, name, ..Default::default() })
    });
    let cache = machine().folders().cache;
    let archive = |pid: u32| cache.join(format!("proof-{pid}.tar"));
    let host = machine().process(7).file(archive(pid), "").file(archive(6), "").file(archive(7), "");
    abandon(&engine, &host).await;
    assert_eq!(engine.containers(), [format!("{NAME}-{pid}-other")]);
    assert_eq!(host.list(&cache).await.unwrap(), ["proof-6.tar", "proof-7.tar"]);
    OwnImage::obtain(&engine, &host, &facts(&engine).await).await.unwrap();
    assert_eq!(host.list(&cache).await.unwrap(), ["proof-7.tar"], "that of a run that is gone");
}

#[test]
fn a_machine_is_busy_where_programs_wait_for_its_processors() {
    let host = |load: &str| FakeHost::new().facts_with(|facts| facts.cpus = 2).file("/proc/loadavg", load);
    assert_eq!(busy(&host("3.90 9.00 9.00 9/700 4711\n")), None);
    assert_eq!(busy(&host("12.31 1.00 1.00 9/700 4711\n")).as_deref(), Some("load 12.31, 2 processors"));
    assert_eq!(busy(&FakeHost::new()), None);
}

#[tokio::test]
async fn a_container_that_ends_is_told_with_its_log() {
    let host = machine();
    let name = format!("{NAME}-{}", std::process::id());
    let engine = FakeEngine::new().crashes(&name, 127, &["exec format error"]);
    let error = prove(&engine, &host, &facts(&engine).await).await.unwrap_err();
    assert_eq!(error.to_string(), "a container ended right after its start (exit code 127)");
    assert!(matches!(error, Unproved::Ended { log, .. } if log == ["exec format error"]));
    assert_eq!(engine.containers(), [""; 0]);
}

#[tokio::test]
async fn an_engine_of_another_kind_of_machine_is_not_tried() {
    let engine = FakeEngine::new();
    let facts = Facts { architecture: "s390x".into(), ..facts(&engine).await };
    engine.clear_journal();
    let error = prove(&engine, &machine(), &facts).await.unwrap_err();
    assert_eq!(engine.journal(), [""; 0]);
    assert_eq!(error.to_string(), "not tried: the engine runs on another processor than this program");
}

#[tokio::test]
async fn a_record_holds_until_the_engine_or_the_machine_was_started_again() {
    let engine = FakeEngine::new();
    let host = FakeHost::new().file("/proc/sys/kernel/random/boot_id", "a\n");
    let facts = facts(&engine).await;
    assert_eq!(Record::last(&host).await, None);
    let now = Record::now(&engine, &host, &facts).await;
    now.keep(&host).await;
    assert_eq!(Record::last(&host).await, Some(now.clone()));
    let host = host.file("/proc/sys/kernel/random/boot_id", "b\n");
    assert_ne!(Record::now(&engine, &host, &facts).await, now);
}
