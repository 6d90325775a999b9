//! What keeps a cluster from being made is found before anything is done.

use super::*;

#[tokio::test]
async fn without_kind_up_goes_on_without_a_cluster() {
    let machine = Machine { host: FakeHost::new().program("docker"), ..Machine::new() };
    let up = machine.up("").await.unwrap();
    let left: Vec<String> = up.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect();
    assert_snapshot!(left.join("\n"), @"cluster: the program kind was not found: it is downloaded only after you agree (`macula cluster create`)");
    assert_eq!((up.now.cluster.state, up.now.services[0].state), (ClusterState::LeftOut, ServiceState::Running));
    // written down, it has to be there
    let error = machine.up("cluster: {enabled: true}\n").await.unwrap_err();
    assert!(matches!(error, Error::Cluster(ClusterError::NoProgram { .. })), "{error:?}");
}

#[tokio::test]
async fn a_kind_that_is_too_old_makes_no_cluster() {
    let mut machine = Machine::new();
    machine.host = machine.host.answer("/usr/bin/kind version", 0, "kind v0.20.0 go1.20.4 linux/amd64\n", "");
    let up = machine.up("").await.unwrap();
    assert_snapshot!(up.left_out[0].reason, @"the program kind was not found: it is downloaded only after you agree (`macula cluster create`)");
    assert_eq!(machine.heard.said()[0], "/usr/bin/kind (kind v0.20.0) is too old to make a cluster");
    assert_eq!(machine.kind_ran(), [""; 0]);
}

#[tokio::test]
async fn a_node_image_that_cannot_be_had_is_told_at_once() {
    let machine = Machine { engine: FakeEngine::new().with_image("app:1"), ..Machine::new() };
    let up = machine.up("").await.unwrap();
    assert_snapshot!(up.left_out[0].reason, @"no source gave the node image kindest/node:v1.34.11: cannot reach the registry of kindest/node:v1.34.11: it is not in the engine, and docker.io does not answer");
    assert_eq!(machine.kind_ran(), [""; 0]);
}

#[tokio::test]
async fn the_load_balancer_of_several_control_planes_is_looked_at_first() {
    let mut machine = Machine::new();
    let settings = "cluster: {control_planes: 3}\n";
    let up = machine.up(settings).await.unwrap();
    assert_snapshot!(up.left_out[0].reason, @"no source gave docker.io/envoyproxy/envoy:v1.36.2, the load balancer that several control planes need: cannot reach the registry of docker.io/envoyproxy/envoy:v1.36.2: it is not in the engine, and docker.io does not answer");
    assert_eq!((machine.kind_ran(), machine.record()), (Vec::new(), None));
    // an older program starts another one
    machine.host = machine.host.answer("/usr/bin/kind version", 0, "kind v0.27.0 go1.24.0 linux/amd64\n", "");
    let reason = machine.up(settings).await.unwrap().left_out[0].reason.to_string();
    assert!(reason.contains("docker.io/kindest/haproxy:v20230606-42a2262b"), "{reason}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_holder_before_anything_is_made() {
    let mut machine = Machine::new();
    machine.host = machine.host.listener("127.0.0.1:8080", Protocol::Tcp, Some((4711, "node")));
    let error =
        create_cluster(&machine.session("macula cluster create"), &machine.load(""), false, &Agrees).await.unwrap_err();
    assert_snapshot!(error, @"ports that the cluster publishes are taken: 127.0.0.1:8080/tcp is held by node (pid 4711); wanted: 127.0.0.1:8080 (cluster)");
    assert_eq!((machine.kind_ran(), machine.record()), (Vec::new(), None));
    assert_eq!(machine.up("").await.unwrap().now.cluster.state, ClusterState::LeftOut);
}

#[tokio::test]
async fn an_engine_without_all_rights_is_found_out_beforehand() {
    let mut machine = Machine::new();
    machine.host = machine
        .host
        .file("/run/docker.pid", "77\n")
        .file("/proc/77/status", "Name:\tdockerd\nCapBnd:\t000001fffeffffff\n")
        .file("/proc/sys/kernel/cap_last_cap", "40\n");
    const TRIAL: &str = "DOCKER_HOST=unix:///var/run/docker.sock docker run --rm --privileged*";
    let refused = "docker: Error response from daemon: OCI runtime create failed: unable to apply caps";
    machine.host = machine.host.answer(TRIAL, 125, "", refused);
    let up = machine.up("").await.unwrap();
    assert_snapshot!(up.left_out[0].reason, @"the engine may not run privileged containers, which nodes are: the engine lacks CAP_SYS_RESOURCE: it runs privileged containers only if its runtime asks for fewer rights");
    assert_eq!(machine.kind_ran(), [""; 0]);
    // a runtime that asks for fewer rights gets along without
    machine.host = machine.host.answer(TRIAL, 0, "", "");
    assert_eq!(machine.up("").await.unwrap().now.cluster.state, ClusterState::Running);
}

#[tokio::test]
async fn what_only_kind_finds_out_is_left_out_too_unless_it_was_asked_for() {
    let mut machine = Machine::new();
    let refused = " • Preparing nodes 📦   ...\nERROR: failed\n\nCommand Output: docker: Error response from daemon: OCI runtime create failed: unable to apply caps: operation not permitted\n";
    machine.host = machine.host.answer(CREATE, 1, "", refused);
    let up = machine.up("").await.unwrap();
    assert_eq!((up.left_out[0].service.as_str(), up.now.cluster.state), ("cluster", ClusterState::LeftOut));
    assert_eq!(machine.record(), None, "nothing of it stays");
    assert!(machine.kind_ran().iter().any(|line| line.starts_with("delete cluster")));
    let error =
        create_cluster(&machine.session("macula cluster create"), &machine.load(""), false, &Agrees).await.unwrap_err();
    let Error::Failed(outcome) = error else { panic!("{error:?}") };
    assert!(outcome.failed[0].error.to_string().contains("privileged"), "{outcome:?}");
}

#[tokio::test]
async fn somebody_elses_cluster_is_left_alone() {
    let machine = Machine::new();
    let node = ObservedContainer {
        name: "macula-control-plane".into(),
        state: ContainerState::Running,
        labels: [(CLUSTER_LABEL.to_owned(), "macula".to_owned()), (ROLE_LABEL.to_owned(), "control-plane".to_owned())]
            .into(),
        addresses: [("kind".to_owned(), std::net::Ipv4Addr::new(172, 18, 0, 2))].into(),
        ..ObservedContainer::default()
    };
    let _ = machine.engine.clone().with_container(node);
    let error =
        create_cluster(&machine.session("macula cluster create"), &machine.load(""), false, &Agrees).await.unwrap_err();
    assert!(matches!(error, Error::Cluster(ClusterError::Exists { .. })), "{error:?}");
    assert!(matches!(
        delete_cluster(&machine.session("d"), &machine.load("")).await,
        Err(Error::Cluster(ClusterError::Exists { .. }))
    ));
    assert_eq!(machine.up("").await.unwrap().now.cluster.state, ClusterState::LeftOut);
    down(&machine.session("macula down"), &PlatformName::default(), DownOptions::default()).await.unwrap();
    assert_eq!(machine.engine.containers(), ["macula-control-plane"]);
}

#[tokio::test]
async fn a_cluster_alone_has_the_network_of_its_platform_made() {
    let machine = Machine::new();
    let (session, loaded) = (machine.session("macula cluster create"), machine.load(""));
    Box::pin(create_cluster(&session, &loaded, false, &Agrees)).await.unwrap();
    assert_eq!(machine.engine.network_names(), ["macula"]);
}
