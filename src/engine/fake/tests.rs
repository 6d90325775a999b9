use std::time::Duration;

use futures_util::StreamExt;

use super::*;
use crate::engine::{Containers, Engine, Images, LogOptions, Networks, Query, Streams};
use crate::model::{ContainerSpec, Healthcheck, IpamPool, NetworkAttachment, NetworkSpec, PortBinding, Protocol};

fn network() -> NetworkSpec {
    NetworkSpec {
        name: "macula".into(),
        external: false,
        driver: "bridge".into(),
        driver_opts: BTreeMap::new(),
        internal: false,
        attachable: false,
        enable_ipv6: false,
        ipam: vec![IpamPool { subnet: "10.1.0.0/24".parse().unwrap(), gateway: None, ip_range: None }],
        subnet: None,
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), "macula".to_owned())]),
    }
}

fn container(service: &str) -> ContainerSpec {
    ContainerSpec {
        name: format!("macula-{service}-1"),
        stack: "s".into(),
        service: service.into(),
        replica: 1,
        image: "img:1".into(),
        networks: vec![NetworkAttachment {
            network: "macula".into(),
            aliases: Vec::new(),
            links: Vec::new(),
            ipv4: None,
            ipv6: None,
        }],
        labels: BTreeMap::from([(label::PLATFORM.to_owned(), "macula".to_owned())]),
        fingerprint: Some(Fingerprint("f".into())),
        ..ContainerSpec::default()
    }
}

async fn run(engine: &FakeEngine, spec: &ContainerSpec) -> Result<(), EngineError> {
    engine.create_container(spec, "img:1", &BTreeMap::new()).await?;
    engine.start(&spec.name).await
}

#[tokio::test]
async fn a_whole_life_leaves_its_journal() {
    let image = ObservedImage { volumes: vec!["/data".into()], ..image_of("img:1", &BTreeMap::new()) };
    let engine = FakeEngine::new().pullable_as("img:1", image).exits("job", 0);
    engine.pull("img:1", None, &|_| {}).await.unwrap();
    engine.create_network(&network()).await.unwrap();
    let mut web = container("web");
    web.healthcheck = Some(Healthcheck {
        test: vec!["CMD".into(), "true".into()],
        interval: None,
        timeout: None,
        retries: None,
        start_period: None,
        start_interval: None,
    });
    run(&engine, &web).await.unwrap();
    run(&engine, &container("job")).await.unwrap();
    let found = engine.find(&Query { platform: "macula".into(), ..Query::default() }).await.unwrap();
    let states: Vec<String> = found
        .containers
        .iter()
        .map(|one| format!("{} {:?} {:?} {:?} {:?}", one.name, one.state, one.health, one.exit_code, one.addresses))
        .collect();
    insta::assert_snapshot!(states.join("\n"), @r#"
    macula-job-1 Exited None Some(0) {}
    macula-web-1 Running Healthy None {"macula": 10.1.0.2}
    "#);
    assert_eq!(found.networks.len(), 1);
    assert_eq!(engine.volume_names(), ["macula-job-1-data", "macula-web-1-data"]);
    assert_eq!(engine.wait("macula-job-1").await.unwrap(), 0);
    let busy = engine.remove_network("macula").await.unwrap_err();
    assert!(matches!(busy, EngineError::Conflict { .. }), "{busy:?}");
    engine.stop("macula-web-1", None).await.unwrap();
    for name in ["macula-web-1", "macula-job-1", "macula-job-1"] {
        engine.remove_container(name).await.unwrap();
    }
    engine.remove_network("macula").await.unwrap();
    insta::assert_snapshot!(engine.journal().join("\n"), @"
    pulling img:1
    creating network macula
    creating container macula-web-1
    starting container macula-web-1
    creating container macula-job-1
    starting container macula-job-1
    removing network macula
    stopping container macula-web-1
    removing container macula-web-1
    removing container macula-job-1
    removing container macula-job-1
    removing network macula
    ");
    assert_eq!((engine.containers().len(), engine.volume_names().len()), (0, 2));
}

#[tokio::test]
async fn troubles_come_as_scripted() {
    let engine = FakeEngine::new()
        .with_image("img:1")
        .pull_fails("private:1", FakePull::Denied)
        .pull_fails("busy:1", FakePull::RateLimited(Some(30)))
        .pull_fails("far:1", FakePull::Unreachable)
        .pull_fails("big:1", FakePull::DiskFull)
        .build_fails("broken:1", &["E: no such package"])
        .crashes("crash", 3, &["first", "cannot bind"])
        .port_taken("127.0.0.1", 80)
        .exec_answers("web", "echo hi", 7, "hi\n", "");
    engine.create_network(&network()).await.unwrap();
    let mut said = Vec::new();
    for reference in ["nowhere:1", "private:1", "busy:1", "far:1", "big:1"] {
        said.push(engine.pull(reference, None, &|_| {}).await.unwrap_err().to_string());
    }
    insta::assert_snapshot!(said.join("\n"), @"
    pulling nowhere:1: nowhere:1 does not exist in its registry (gone, or never there)
    pulling private:1: private:1 was refused: a login is needed
    pulling busy:1: the registry limits pulls of busy:1; try again in 30 s
    pulling far:1: cannot reach the registry of far:1: no such host
    pulling big:1: no space left on the engine's disk: write layer: no space left on device
    ");

    run(&engine, &container("crash")).await.unwrap();
    let crashed = engine.container("macula-crash-1").unwrap();
    assert_eq!((crashed.state, crashed.exit_code), (ContainerState::Exited, Some(3)));
    let log = engine.logs("macula-crash-1", &LogOptions { tail: Some(1), ..LogOptions::default() }).await.unwrap();
    let log: Vec<Vec<u8>> = log.map(|line| line.unwrap().bytes).collect().await;
    assert_eq!(log, [b"cannot bind"]);

    let mut web = container("web");
    web.ports = vec![PortBinding {
        host_ip: "127.0.0.1".parse().unwrap(),
        host_port: Some(80),
        container_port: 80,
        protocol: Protocol::Tcp,
    }];
    assert!(matches!(run(&engine, &web).await.unwrap_err(), EngineError::PortTaken { .. }));
    web.name = "macula-web-2".into();
    web.ports.clear();
    run(&engine, &web).await.unwrap();
    let answer = engine.exec("macula-web-2", &["echo".into(), "hi".into()], Duration::from_secs(1)).await.unwrap();
    assert_eq!((answer.exit_code, answer.stdout.as_slice()), (7, &b"hi\n"[..]));
}

#[tokio::test]
async fn an_engine_dies_after_so_many_calls() {
    let engine = FakeEngine::new().with_image("img:1").dies_after(3);
    engine.create_network(&network()).await.unwrap();
    let gone = run(&engine, &container("web")).await.unwrap_err();
    assert!(matches!(gone, EngineError::Gone { .. }), "{gone:?}");
    assert_eq!(engine.container("macula-web-1").unwrap().state, ContainerState::Created);
    let engine = engine.revives();
    engine.start("macula-web-1").await.unwrap();
    assert!(engine.container("macula-web-1").unwrap().addresses.contains_key("macula"));
}
