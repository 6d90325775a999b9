//! A cluster that stands: started, stopped, deleted, and left alone.

use super::*;

#[tokio::test]
async fn a_start_waits_until_the_ingress_answers() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let mut node = machine.engine.inspect("macula-control-plane").await.unwrap();
    let at = std::net::SocketAddr::from(([127, 0, 0, 10], 80));
    node.ports.push(crate::model::PortBinding {
        host_ip: at.ip(),
        host_port: Some(at.port()),
        container_port: 80,
        protocol: Protocol::Tcp,
    });
    let _ = machine.engine.clone().with_container(node);
    machine.engine.stop_by_hand("macula-control-plane");
    let session = machine.session("macula cluster start");
    let name = PlatformName::default();
    let start = start_cluster(&session, &name, "macula");
    tokio::pin!(start);
    // nothing listens there yet
    let early = tokio::time::timeout(Duration::from_millis(600), &mut start).await;
    assert!(early.is_err(), "{early:?}");
    let _ = machine.host.clone().http(at, "/", 404, "");
    start.await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_of_a_node_is_no_test() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    machine.engine.stop_by_hand("macula-control-plane");
    let now = machine.host.now();
    *machine.inside.seen.lock().unwrap() = vec![now - 60, now - 60, now + 1];
    start_cluster(&machine.session("macula cluster start"), &PlatformName::default(), "macula").await.unwrap();
    assert_eq!(*machine.inside.seen.lock().unwrap(), [now + 1], "it was asked until it had a new word");
}

#[tokio::test]
async fn stopped_nodes_are_started_each_at_its_address() {
    let machine = Machine::new().with_kind(3, 1);
    let settings = "cluster: {control_planes: 3, workers: 1}\n";
    machine.up(settings).await.unwrap();
    for node in ["macula-control-plane", "macula-control-plane3"] {
        machine.engine.stop_by_hand(node);
    }
    machine.engine.clear_journal();
    let now = status(&machine.session("macula status"), &machine.load(settings)).await.unwrap();
    assert_eq!(now.cluster.state, ClusterState::Stopped);
    assert_snapshot!(now.cluster.reason.unwrap(), @"macula-control-plane, macula-control-plane3 not running");
    let up = machine.up(settings).await.unwrap();
    assert_eq!(up.now.cluster.state, ClusterState::Running);
    // what a node asks at the end is no change
    let changes: Vec<String> = machine.engine.journal().into_iter().filter(|line| !line.contains("bash")).collect();
    assert_snapshot!(changes.join("\n"), @"
    creating volume macula.lock-macula
    giving container macula-control-plane the address 10.222.7.131 in network macula
    giving container macula-control-plane3 the address 10.222.7.133 in network macula
    starting container macula-control-plane
    starting container macula-control-plane3
    creating volume macula.lock-macula
    removing volume macula.lock-macula
    ");
}

#[tokio::test]
async fn stop_and_start_by_hand() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let session = machine.session("macula cluster stop");
    assert_eq!(stop_cluster(&session, &PlatformName::default(), "macula").await.unwrap().steps.len(), 1);
    assert_eq!(stop_cluster(&session, &PlatformName::default(), "macula").await.unwrap().steps.len(), 0);
    assert_eq!(start_cluster(&session, &PlatformName::default(), "macula").await.unwrap().steps.len(), 1);
    assert_eq!(start_cluster(&session, &PlatformName::default(), "macula").await.unwrap().steps.len(), 0);
    assert!(matches!(
        start_cluster(&session, &PlatformName::new("other").unwrap(), "other").await,
        Err(Error::Cluster(ClusterError::Missing { .. }))
    ));
}

#[tokio::test]
async fn delete_takes_the_context_and_leaves_the_host_alone() {
    let machine = Machine::new();
    machine.host.put("/home/dev/.kube/config", "# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: https://w}\ncontexts: []\nusers: []\n");
    machine.up("").await.unwrap();
    assert!(machine.kubeconfig().contains("40123"));
    machine.engine.clear_journal();
    let gone = delete_cluster(&machine.session("macula cluster delete"), &machine.load("")).await.unwrap();
    assert_eq!(gone.steps.len(), 1);
    assert_eq!(
        machine.kubeconfig(),
        "# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: https://w}\ncontexts: []\nusers: []\n"
    );
    assert_eq!((machine.record(), machine.engine.journal()), (None, Vec::new()));
    let nothing = delete_cluster(&machine.session("macula cluster delete"), &machine.load("")).await.unwrap();
    assert_eq!(nothing.steps.len(), 0);
}

#[tokio::test]
async fn a_context_of_the_same_name_that_is_somebody_elses_stays() {
    let machine = Machine::new();
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: macula\nclusters:\n- name: macula\n  cluster: {server: 'https://prod.test:6443'}\n\
                  contexts:\n- name: macula\n  context: {cluster: macula, user: macula}\nusers:\n- name: macula\n  user: {token: theirs}\n";
    machine.host.put("/home/dev/.kube/config", theirs);
    machine.up("").await.unwrap();
    assert_eq!(machine.kubeconfig(), theirs);
    let heard = machine.heard.said().join("\n");
    assert!(heard.contains("already has a cluster called macula that macula did not write"), "{heard}");
    let session = machine.session("macula cluster kubeconfig");
    let error = cluster_kubeconfig(&session, &machine.load(""), true).await.unwrap_err();
    assert!(matches!(error, Error::Cluster(ClusterError::Kubeconfig(KubeconfigError::Taken { .. }))), "{error:?}");
    delete_cluster(&machine.session("macula cluster delete"), &machine.load("")).await.unwrap();
    assert_eq!(machine.kubeconfig(), theirs);
}

#[tokio::test]
async fn delete_does_without_kind() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let without = Machine { host: FakeHost::new(), engine: machine.engine.clone(), ..Machine::new() };
    without.host.put("/home/dev/.local/share/macula/macula/cluster.json", machine.record().unwrap());
    delete_cluster(&without.session("macula cluster delete"), &without.load("")).await.unwrap();
    assert_eq!(machine.engine.containers(), ["macula-web-1"]);
}

#[tokio::test]
async fn down_takes_the_cluster_first_or_keeps_it() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let options = DownOptions { keep_cluster: true, ..DownOptions::default() };
    let kept = down(&machine.session("macula down"), &PlatformName::default(), options).await.unwrap();
    assert_snapshot!(kept.plan, @"
    - stop container macula-web-1 (requested)
    - remove container macula-web-1 (requested) after stop container macula-web-1
    ");
    assert_eq!(machine.engine.network_names(), ["macula"]);
    let all = down(&machine.session("macula down"), &PlatformName::default(), DownOptions::default()).await.unwrap();
    assert_snapshot!(all.plan, @"
    - remove network macula (requested) after delete cluster macula
    - delete cluster macula (requested)
    ");
    assert_eq!((machine.engine.network_names(), machine.engine.containers()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_platform_of_which_the_cluster_stays_is_known_until_that_goes() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let (session, name) = (machine.session("macula down"), PlatformName::default());
    let options = DownOptions { volumes: true, keep_cluster: true, ..DownOptions::default() };
    Box::pin(down(&session, &name, options)).await.unwrap();
    assert_eq!(machine.engine.containers(), ["macula-control-plane"]);
    // so that `down --all` and `uninstall` find it
    let (ours, _) = crate::app::platforms_to_take_down(&session, false).await.unwrap();
    assert_eq!(ours.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&name));
    let options = DownOptions { volumes: true, ..DownOptions::default() };
    Box::pin(down(&session, &name, options)).await.unwrap();
    assert_eq!((machine.engine.containers(), machine.record()), (Vec::new(), None));
    assert!(!session.state(&name).is_known(session.host()).await);
}

#[tokio::test]
async fn other_settings_are_said_and_never_cost_a_cluster() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let up = machine.up("cluster: {workers: 2}\n").await.unwrap();
    assert_eq!((up.steps, machine.kind_ran().len()), (0, 2));
    let prepared =
        prepare(&machine.session("macula plan"), &machine.load("cluster: {workers: 2}\n"), &Wanted::default())
            .await
            .unwrap();
    assert_snapshot!(prepared.cluster_drift().unwrap(), @"the cluster macula was made with other settings (workers); `cluster delete` and `cluster create` create it again, which macula never does unasked");
}

#[tokio::test]
async fn registry_settings_follow_the_files_without_a_new_cluster() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let folder = "/home/dev/.local/share/macula/macula/cluster/certs.d";
    let text = |name: &str| machine.host.text(format!("{folder}/{name}/hosts.toml"));
    // this platform has no registry, and what somebody else put there stays
    machine.host.put(format!("{folder}/mirror.test/hosts.toml"), "server = \"https://mirror.test\"\n");
    assert_eq!(machine.up("").await.unwrap().steps, 0);
    let session = machine.session("macula up");
    let prepared = prepare(&session, &machine.load(""), &Wanted::default()).await.unwrap();
    let ingress = crate::compile::ingress_address(prepared.survey.subnet);
    let old = format!("server = \"http://{ingress}:5001\"\n\n[host.\"http://{ingress}:5001\"]\n");
    // as it would be for one that is new
    let work = Work::new(&session, &prepared.survey, prepared.cluster.decision.as_ref());
    let files = [("registry.old.test/hosts.toml".to_owned(), old.clone())].into();
    let written = ClusterAction::Registries { folder: folder.into(), files, gone: Vec::new() };
    work.run(&written, &|_| {}).await.unwrap();
    assert_eq!(text("registry.old.test"), Some(old));
    // and one that has gone
    assert_eq!(machine.up("").await.unwrap().steps, 1);
    assert_eq!((text("registry.old.test"), text("mirror.test").is_some()), (None, true));
    assert_eq!(machine.up("").await.unwrap().steps, 0);
}

#[tokio::test]
async fn the_kubeconfig_is_given_alone_or_merged() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let session = machine.session("macula cluster kubeconfig");
    let (text, none) = cluster_kubeconfig(&session, &machine.load(""), false).await.unwrap();
    assert!(text.contains("name: macula\n") && none.is_none());
    machine.host.put("/home/dev/.kube/config", "");
    let (_, path) = cluster_kubeconfig(&session, &machine.load(""), true).await.unwrap();
    assert_eq!(path.as_deref(), Some(Path::new("/home/dev/.kube/config")));
    assert_eq!(machine.kubeconfig(), text);
}
