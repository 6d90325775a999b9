//! Networks, addresses, names and ports.

use super::*;

#[tokio::test]
async fn networks_addresses_and_names() {
    let Some(bench) = Bench::new("net").await else { return };
    let engine = &bench.engine;
    let subnet = subnet(0);
    let address = subnet.hosts().nth(8).unwrap();
    let network = bench.network(subnet).await;
    let again = engine
        .create_network(&NetworkSpec {
            name: network.clone(),
            external: false,
            driver: "bridge".into(),
            driver_opts: BTreeMap::new(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            ipam: Vec::new(),
            subnet: None,
            labels: BTreeMap::new(),
        })
        .await
        .unwrap_err();
    assert!(matches!(again, EngineError::Conflict { .. }), "{again:?}");

    let attached = |ipv4: Option<std::net::Ipv4Addr>, alias: &str| NetworkAttachment {
        network: network.clone(),
        aliases: vec![alias.to_owned()],
        links: Vec::new(),
        ipv4,
        ipv6: None,
    };
    let listen = "while :; do echo answer | nc -l -p 8080; done";
    let mut server = bench.spec("server", &["sh", "-c", listen]);
    server.network_mode = None;
    server.networks = vec![attached(Some(address), "web.test")];
    server.ports = vec![PortBinding {
        host_ip: "127.0.0.1".parse().unwrap(),
        host_port: None,
        container_port: 8080,
        protocol: Protocol::Tcp,
    }];
    server.healthcheck = Some(Healthcheck {
        test: vec!["CMD".into(), "true".into()],
        interval: Some(SECOND / 5),
        timeout: Some(SECOND),
        retries: Some(1),
        start_period: None,
        start_interval: None,
    });
    if bench.podman().await && !Path::new("/run/systemd/system").exists() {
        let _ = skipped::<()>("health", "docker", "Podman leaves the running of healthchecks to systemd");
        server.healthcheck = None;
    }
    bench.started(&server).await;
    if server.healthcheck.is_some() && !bench.podman().await {
        assert_eq!(engine.health_test(&server.name).await.unwrap(), ["CMD", "true"]);
    }
    let mut client = bench.spec("client", &["sleep", "60"]);
    client.network_mode = None;
    client.networks = vec![attached(None, "client")];
    client.options.hostname = Some("me".into());
    client.options.extra_hosts = vec!["fixed.test:10.1.2.3".into()];
    let client_id = bench.started(&client).await;
    assert_eq!(bench.shell(&client_id, "hostname; echo $GREETING").await, "me\nhello");
    assert_eq!(bench.shell(&client_id, "nc web.test 8080 </dev/null").await, "answer");
    assert!(bench.shell(&client_id, "cat /etc/hosts").await.contains("10.1.2.3\tfixed.test"));

    let query = Query {
        platform: bench.name.clone(),
        networks: vec!["no-such-network".into()],
        images: vec![bench.image.clone(), "no/such-image:1".into()],
        ..Query::default()
    };
    let mut found = engine.find(&query).await.unwrap();
    let limit = std::time::Instant::now();
    while server.healthcheck.is_some()
        && found.containers.iter().any(|c| c.name == server.name && c.health != Health::Healthy)
    {
        assert!(limit.elapsed() < 20 * SECOND, "never healthy");
        tokio::time::sleep(SECOND / 5).await;
        found = engine.find(&query).await.unwrap();
    }
    let names: Vec<&str> = found.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, [client.name.as_str(), server.name.as_str()]);
    let seen = &found.containers[1];
    assert_eq!(seen.addresses[&network], address);
    assert_eq!(seen.image, bench.image);
    let image = &found.images[&bench.image];
    assert_eq!(
        (seen.image_id.as_str(), image.volumes.as_slice()),
        (image.id.as_str(), &["/var/lib/data".to_owned()][..])
    );
    assert_eq!(found.images.len(), 1);
    let port = &seen.ports[0];
    assert_eq!((port.host_ip.to_string().as_str(), port.container_port, seen.ports.len()), ("127.0.0.1", 8080, 1));
    assert!(port.host_port.is_some());
    assert_eq!(found.networks.len(), 1);
    assert_eq!(found.networks[0].subnets, [subnet.into()]);
    assert!(found.networks[0].labels.contains_key(label::FINGERPRINT));

    // the lists alone say who is there
    let glance = engine.find(&Query { at_a_glance: true, ..query.clone() }).await.unwrap();
    let brief = |found: &[macula::model::ObservedContainer]| {
        found
            .iter()
            .map(|one| (one.name.clone(), one.state, one.labels.clone(), one.writes.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(brief(&glance.containers), brief(&found.containers));
    assert_eq!(glance.networks[0].name, network);

    // what is not ours is found by its name
    let foreign = Query {
        platform: "engine-test-nobody".into(),
        containers: vec![server.name.clone(), "server".into()],
        networks: vec![network.clone()],
        volumes: vec![format!("{}-var-lib-data", server.name)],
        ..Query::default()
    };
    let foreign = engine.find(&foreign).await.unwrap();
    assert_eq!((foreign.containers.len(), foreign.networks.len(), foreign.volumes.len()), (1, 1, 1));

    // a second container with the address, a network in use
    let mut thief = bench.spec("thief", &["sleep", "60"]);
    thief.network_mode = None;
    thief.networks = vec![attached(Some(address), "thief")];
    let refused = match bench.create(&thief).await {
        Ok(id) => engine.start(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
    let used = engine.remove_network(&network).await.unwrap_err();
    assert!(matches!(used, EngineError::Attached { .. }), "{used:?}");
    let all = engine.networks().await.unwrap();
    assert!(all.iter().any(|seen| seen.name == network && !seen.subnets.is_empty()));
}

#[tokio::test]
async fn a_taken_port_and_a_taken_name_are_named() {
    let Some(bench) = Bench::new("taken").await else { return };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let network = bench.network(subnet(1)).await;
    let mut spec = bench.spec("web", &["sleep", "60"]);
    spec.network_mode = None;
    spec.networks = vec![NetworkAttachment { network, aliases: Vec::new(), links: Vec::new(), ipv4: None, ipv6: None }];
    spec.ports = vec![PortBinding {
        host_ip: "127.0.0.1".parse().unwrap(),
        host_port: Some(port),
        container_port: 80,
        protocol: Protocol::Tcp,
    }];
    let id = bench.create(&spec).await.unwrap();
    match bench.engine.start(&id).await {
        Err(EngineError::PortTaken { address, .. }) => assert_eq!(address, format!("127.0.0.1:{port}")),
        other => panic!("{other:?}"),
    }
    // a whole container of ours that is what we want is taken as it is
    assert_eq!(bench.create(&spec).await.unwrap(), id);
    let missing = bench.engine.create_container(&spec, "engine-test/nothing:1", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(missing, EngineError::NotFound { .. }), "{missing:?}");
    let none = bench.engine.start("engine-test-nobody").await.unwrap_err();
    assert!(matches!(none, EngineError::NotFound { .. }), "{none:?}");
}
