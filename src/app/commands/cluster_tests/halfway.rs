//! A creation that fails or is killed leaves nothing in the way of the next one.

use super::*;

#[tokio::test]
async fn a_cluster_has_the_time_that_macula_yaml_gives_it() {
    let mut machine = Machine::new();
    let given = Arc::new(Mutex::new(None));
    let seen = given.clone();
    machine.host = machine.host.on(CREATE, move |_, command| {
        *seen.lock().unwrap() = command.timeout;
        Ok(said(1, "", "ERROR: failed\n\nCommand Output: error: timed out waiting for the condition\n"))
    });
    assert!(machine.up("cluster: {timeout: 7m}\n").await.is_err());
    assert_eq!(*given.lock().unwrap(), Some(Duration::from_secs(420)));
}

#[tokio::test]
async fn a_cluster_that_does_not_come_up_is_an_error_and_goes_unless_retained() {
    let mut machine = Machine::new();
    let failed = " • Starting control-plane 🕹️  ...\nERROR: failed\n\nCommand Output: error: timed out waiting for the condition\n";
    machine.host = machine.host.answer(CREATE, 1, "", failed);
    assert!(matches!(machine.up("").await, Err(Error::Failed(_))));
    assert_eq!(machine.record(), None);
    let session = machine.session("macula cluster create");
    assert!(create_cluster(&session, &machine.load(""), true, &Agrees).await.is_err());
    assert!(machine.record().unwrap().contains("\"complete\": false"));
    let deleted = machine.kind_ran().iter().filter(|line| line.starts_with("delete")).count();
    assert_eq!(deleted, 1, "the second one was to be retained");
}

#[tokio::test]
async fn half_a_cluster_of_a_dead_run_is_cleared_away() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let half = machine.record().unwrap().replace("\"complete\": true", "\"complete\": false");
    machine.host.put("/home/dev/.local/share/macula/macula/cluster.json", half);
    let up = machine.up("").await.unwrap();
    assert_eq!((up.steps, up.now.cluster.state), (5, ClusterState::Running), "and everything that goes in");
    let ran: Vec<String> = machine.kind_ran().iter().map(|line| line.split(" --").next().unwrap().to_owned()).collect();
    assert_eq!(ran[2..], ["delete cluster", "create cluster", "get kubeconfig"]);
}

#[tokio::test]
async fn half_a_cluster_does_not_stand_in_its_own_way() {
    let mut machine = Machine::new();
    machine.up("").await.unwrap();
    let half = machine.record().unwrap().replace("\"complete\": true", "\"complete\": false");
    machine.host.put("/home/dev/.local/share/macula/macula/cluster.json", half);
    // its node holds the ports that the next one wants
    let mut node = machine.engine.inspect("macula-control-plane").await.unwrap();
    node.ports.push(crate::model::PortBinding {
        host_ip: std::net::Ipv4Addr::new(127, 0, 0, 10).into(),
        host_port: Some(80),
        container_port: 80,
        protocol: Protocol::Tcp,
    });
    let _ = machine.engine.clone().with_container(node);
    machine.host = machine.host.listener("127.0.0.10:80", Protocol::Tcp, Some((812, "docker-proxy")));
    let plan = prepare(&machine.session("macula plan"), &machine.load(""), &Wanted::default()).await.unwrap().plan;
    assert!(plan.steps.iter().any(|step| step.group == crate::plan::CLUSTER_GROUP), "{plan:?}");
    let up = machine.up("").await.unwrap();
    assert_eq!((up.left_out.len(), up.now.cluster.state), (0, ClusterState::Running));
}

#[tokio::test]
async fn a_creation_that_fails_leaves_no_node_behind() {
    let mut machine = Machine::new();
    let engine = machine.engine.clone();
    machine.host = machine.host.on(CREATE, move |_, _| {
        let node = ObservedContainer {
            id: "macula-control-plane-0123456789".into(),
            name: "macula-control-plane".into(),
            labels: [(CLUSTER_LABEL.to_owned(), "macula".to_owned()), (ROLE_LABEL.to_owned(), "control-plane".into())]
                .into(),
            ..ObservedContainer::default()
        };
        let _ = engine.clone().with_container(node);
        Ok(said(1, "", "ERROR: failed to create cluster: command \"docker run\" failed\n"))
    });
    // its own program takes nothing away
    machine.host = machine.host.answer(&format!("{ON_OURS} delete cluster*"), 0, "", "");
    let created = create_cluster(&machine.session("macula cluster create"), &machine.load(""), false, &Agrees).await;
    assert!(created.is_err());
    assert_eq!((machine.engine.containers(), machine.record()), (Vec::new(), None));
    // what is to be retained stays, and is known as ours
    let created = create_cluster(&machine.session("macula cluster create"), &machine.load(""), true, &Agrees).await;
    assert!(created.is_err());
    assert_eq!(machine.engine.containers(), ["macula-control-plane"]);
    assert!(machine.record().unwrap().contains("\"complete\": false"));
}

/// With a provider in memory in place of the program.
fn work_with(session: &Session, provider: &FakeProvider, prepared: &Prepared) -> Work {
    Work {
        provider: Some(Arc::new(provider.clone())),
        ..Work::new(session, &prepared.survey, prepared.cluster.decision.as_ref())
    }
}

#[tokio::test]
async fn ctrl_c_leaves_no_half_a_cluster() {
    let machine = Machine::new();
    let session = machine.session("macula up");
    let prepared = prepare(&session, &machine.load(""), &Wanted::default()).await.unwrap();
    let provider = FakeProvider::new(machine.engine.clone()).hangs();
    let work = work_with(&session, &provider, &prepared);
    let spec = Box::new(prepared.cluster.decision.as_ref().unwrap().spec.clone());
    let creation = ClusterAction::Create { spec, clear: false };
    let stop = async {
        while machine.engine.containers().is_empty() {
            tokio::task::yield_now().await;
        }
        session.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(work.run(&creation, &|_| {}), stop);
    assert!(matches!(ended, Err(StepError::Cancelled)), "{ended:?}");
    let journal: Vec<String> = provider.journal().into_iter().filter(|line| !line.starts_with("load")).collect();
    assert_eq!(journal, ["create macula", "delete macula"]);
    assert_eq!((machine.engine.containers(), machine.record()), (Vec::new(), None));
}

#[tokio::test]
async fn a_failure_of_the_provider_is_the_steps() {
    let machine = Machine::new();
    let session = machine.session("macula up");
    let prepared = prepare(&session, &machine.load(""), &Wanted::default()).await.unwrap();
    let error = ClusterError::Inotify { message: "too many open files".into() };
    let provider = FakeProvider::new(machine.engine.clone()).fails(error);
    let work = work_with(&session, &provider, &prepared);
    let spec = Box::new(prepared.cluster.decision.as_ref().unwrap().spec.clone());
    let ended = work.run(&ClusterAction::Create { spec, clear: true }, &|_| {}).await;
    assert!(matches!(ended, Err(StepError::Cluster(ClusterError::Inotify { .. }))), "{ended:?}");
    assert_eq!(provider.journal(), ["delete macula", "create macula"]);
}
