//! Whole runs against an engine and a machine in memory, with `kind` as a script.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use insta::assert_snapshot;

use crate::app::cluster::follow;
use crate::app::cluster::work::Work;
use crate::app::testing::{Agrees, Heard, heard_session};
use crate::app::{
    AddOnCondition, ClusterState, DownOptions, Error, Prepared, ServiceState, Session, UpOptions, UpResult, Wanted,
    cluster_kubeconfig, cluster_status, create_cluster, delete_cluster, down, prepare, start_cluster, status,
    stop_cluster, up,
};
use crate::apply::{ClusterWork, StepError};
use crate::cluster::ClusterError;
use crate::cluster::fake::FakeProvider;
use crate::cluster::kind::{CLUSTER_LABEL, ROLE_LABEL};
use crate::compile::addons::AddOn;
use crate::config::{Loaded, MemoryFiles, Request};
use crate::engine::Containers;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::host::{Host, Output};
use crate::kubernetes::{AddOnState, Applied, ImageTrouble, KubernetesError, NotReady, Reason, ScrapeAccess, Trouble};
use crate::model::{ContainerState, DEFAULT_NODE_IMAGE, ObservedContainer, PlatformName, Protocol};
use crate::plan::ClusterAction;
use crate::system::{Inside, Reach, TellSink};

/// The inside of a cluster that takes everything, but for what it is told.
#[derive(Default)]
struct FakeInside {
    applied: Mutex<Vec<String>>,
    pruned: Mutex<Vec<String>>,
    /// Add-ons that never get ready, with what is the matter.
    sick: Mutex<std::collections::BTreeMap<String, Trouble>>,
    /// Whose objects were put into namespaces as they come.
    followed: Mutex<Vec<String>>,
    /// Add-ons that somebody changed.
    changed: Mutex<Vec<String>>,
    /// What of its APIs does not answer.
    broken: Mutex<Vec<String>>,
    /// What ExternalDNS has not written.
    behind: Mutex<Vec<String>>,
    /// When the node was last heard of, from one look to the next; the last one stays.
    seen: Mutex<Vec<i64>>,
}

#[async_trait::async_trait]
impl Inside for FakeInside {
    async fn version(&self) -> Result<String, KubernetesError> {
        Ok("v1.34.11".into())
    }
    async fn apply(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        self.applied.lock().unwrap().push(addon.name.clone());
        self.changed.lock().unwrap().retain(|name| *name != addon.name);
        Ok(Applied::default())
    }
    async fn drift(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        let changed = self.changed.lock().unwrap().contains(&addon.name);
        Ok(Applied { changed: if changed { vec!["Deployment a/b".into()] } else { Vec::new() }, ..Applied::default() })
    }
    async fn ready(&self, addon: &AddOn, _: Duration, tell: TellSink<'_>) -> Result<(), NotReady> {
        tell("0 of 1 pods");
        let Some(trouble) = self.sick.lock().unwrap().get(&addon.name).cloned() else { return Ok(()) };
        let workload = addon.waits[0].clone();
        Err(NotReady { reasons: vec![Reason { workload, pod: Some("pod-1".into()), trouble }] })
    }
    async fn prune(&self, platform: &str, keep: &[AddOn]) -> Result<Vec<String>, KubernetesError> {
        let keep: Vec<&str> = keep.iter().map(|addon| addon.name.as_str()).collect();
        self.pruned.lock().unwrap().push(format!("{platform}: all but {}", keep.join(" ")));
        Ok(Vec::new())
    }
    async fn nodes(&self) -> Result<Vec<crate::kubernetes::NodeStatus>, KubernetesError> {
        let mut heard = self.seen.lock().unwrap();
        let seen = if heard.len() > 1 { Some(heard.remove(0)) } else { heard.first().copied() };
        Ok(vec![crate::kubernetes::NodeStatus {
            name: "macula-control-plane".into(),
            ready: true,
            reason: None,
            version: "v1.34.11".into(),
            roles: vec!["control-plane".into()],
            addresses: Vec::new(),
            unschedulable: false,
            seen,
        }])
    }
    async fn addon_status(&self, addons: &[AddOn]) -> Result<Vec<crate::kubernetes::AddOnStatus>, KubernetesError> {
        let status = |addon: &AddOn| crate::kubernetes::AddOnStatus {
            name: addon.name.clone(),
            title: addon.title.clone(),
            state: AddOnState::Ready,
            versions: Vec::new(),
            reason: None,
        };
        Ok(addons.iter().map(status).collect())
    }
    async fn unavailable(&self) -> Result<Vec<String>, KubernetesError> {
        Ok(self.broken.lock().unwrap().clone())
    }
    async fn records_behind(&self) -> Result<Vec<String>, KubernetesError> {
        Ok(self.behind.lock().unwrap().clone())
    }
    async fn follow_namespaces(&self, addon: &AddOn, _: Duration) -> Result<(), KubernetesError> {
        self.followed.lock().unwrap().push(addon.name.clone());
        Ok(())
    }
    async fn scrape_access(&self) -> Result<Option<ScrapeAccess>, KubernetesError> {
        Ok(Some(ScrapeAccess { token: "token-of-prometheus".into(), authority: "PEM".into() }))
    }
}

struct To(Arc<FakeInside>);

#[async_trait::async_trait]
impl Reach for To {
    async fn connect(&self, kubeconfig: &str, context: &str) -> Result<Arc<dyn Inside>, KubernetesError> {
        assert!(kubeconfig.contains("40123") && context == "macula");
        Ok(self.0.clone())
    }
}

struct Machine {
    inside: Arc<FakeInside>,
    host: FakeHost,
    engine: FakeEngine,
    heard: Arc<Heard>,
}

const ON_OURS: &str = "DOCKER_HOST=unix:///var/run/docker.sock KIND_EXPERIMENTAL_PROVIDER=docker /usr/bin/kind";
const CREATE: &str = "DOCKER_HOST=unix:///var/run/docker.sock KIND_EXPERIMENTAL_DOCKER_NETWORK=macula \
                      KIND_EXPERIMENTAL_PROVIDER=docker /usr/bin/kind create cluster*";

/// What kind 0.32 and later start before several control planes.
const BALANCER: &str = "docker.io/envoyproxy/envoy:v1.36.2";

fn said(status: i32, stdout: &str, stderr: &str) -> Output {
    Output { status: Some(status), stdout: stdout.into(), stderr: stderr.into() }
}

impl Machine {
    /// With `kind`, a docker client and the node image.
    fn new() -> Self {
        let mut engine = FakeEngine::new().with_image(DEFAULT_NODE_IMAGE).with_image("app:1");
        for image in crate::compile::addons::image_names() {
            engine = engine.with_image(image);
        }
        let host = FakeHost::new().program("docker").program("kind");
        Self { inside: Arc::default(), host, engine, heard: Arc::default() }.with_kind(1, 0)
    }

    /// The script stands in for a program that makes nodes.
    fn with_kind(mut self, control_planes: u8, workers: u8) -> Self {
        if control_planes > 1 {
            self.engine = self.engine.with_image(BALANCER);
        }
        let engine = self.engine.clone();
        let kubeconfig = "clusters: [{name: kind-macula, cluster: {server: 'https://127.0.0.1:40123'}}]\n\
                          users: [{name: kind-macula, user: {token: secret}}]\n";
        let api = crate::model::PortBinding {
            host_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            host_port: Some(40123),
            container_port: 6443,
            protocol: Protocol::Tcp,
        };
        self.host = self.host.on(CREATE, move |host, _| {
            host.put("/home/dev/.local/share/macula/macula/cluster/kubeconfig", kubeconfig);
            let mut names = crate::cluster::fake::node_names("macula", control_planes, workers);
            // where there is a load balancer it has the API server's port
            names.sort_by_key(|(_, role)| *role != "external-load-balancer");
            for (number, (name, role)) in names.into_iter().enumerate() {
                let api = api.clone();
                let node = ObservedContainer {
                    id: format!("{name}-0123456789"),
                    name,
                    image: DEFAULT_NODE_IMAGE.into(),
                    state: ContainerState::Running,
                    labels: [(CLUSTER_LABEL.to_owned(), "macula".to_owned()), (ROLE_LABEL.to_owned(), role.to_owned())]
                        .into(),
                    addresses: [("macula".to_owned(), std::net::Ipv4Addr::new(10, 222, 7, 130 + number as u8))].into(),
                    ports: if number == 0 { vec![api] } else { Vec::new() },
                    ..ObservedContainer::default()
                };
                let _ = engine.clone().with_container(node);
            }
            Ok(said(0, "", " • Preparing nodes 📦   ...\n • Starting control-plane 🕹️  ...\n"))
        });
        let engine = self.engine.clone();
        self.host = self.host.on(&format!("{ON_OURS} delete cluster*"), move |_, _| {
            for name in
                engine.containers().iter().filter(|name| name.contains("-control-plane") || name.contains("-worker"))
            {
                engine.remove_by_hand(name);
            }
            engine.remove_by_hand("macula-external-load-balancer");
            Ok(said(0, "", "Deleted nodes\n"))
        });
        self.host = self.host.answer(&format!("{ON_OURS} get kubeconfig*"), 0, kubeconfig, "");
        self.host = self.host.answer(&format!("{ON_OURS} load*"), 0, "", "");
        // the API server
        self.host = self.host.http("127.0.0.1:40123".parse().unwrap(), "/", 200, "");
        self
    }

    fn session(&self, command: &str) -> Session {
        let mut session = heard_session(self.host.clone(), &self.engine, command, &self.heard);
        session.system.reach = Arc::new(To(self.inside.clone()));
        session
    }

    fn load(&self, settings: &str) -> Loaded {
        let stack = "services: {web: {image: 'app:1'}}\n";
        let files = MemoryFiles::default().with("/w/macula.yaml", settings).with("/w/app/compose.yaml", stack);
        let request = Request {
            cwd: "/w".into(),
            stacks: vec!["/w/app".into()],
            only_own: true,
            env: self.host.environment(),
            ..Request::default()
        };
        crate::config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
    }

    async fn up(&self, settings: &str) -> Result<UpResult, Error> {
        let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
        up(&self.session("macula up"), &self.load(settings), &options, &Agrees).await
    }

    fn kind_ran(&self) -> Vec<String> {
        let journal = self.host.journal();
        let ran = journal.iter().filter_map(|line| line.split_once("/usr/bin/kind ").map(|(_, rest)| rest.to_owned()));
        // images are brought in side by side, in no order; to ask for the version makes nothing
        ran.filter(|line| !line.starts_with("load") && line != "version")
            .map(|line| line.replace("/home/dev/.local/share/macula/macula", "DATA"))
            .collect()
    }

    fn record(&self) -> Option<String> {
        self.host.text("/home/dev/.local/share/macula/macula/cluster.json")
    }

    fn kubeconfig(&self) -> String {
        self.host.text("/home/dev/.kube/config").unwrap_or_default()
    }
}

#[tokio::test]
async fn up_makes_the_cluster_and_then_leaves_it_alone() {
    let machine = Machine::new();
    let up = machine.up("").await.unwrap();
    assert_eq!(up.left_out, []);
    assert_eq!((up.now.cluster.state, up.now.cluster.nodes.len()), (ClusterState::Running, 1));
    assert_eq!(up.now.drift, [""; 0]);
    assert_snapshot!(machine.kind_ran().join("\n"), @"
    create cluster --name macula --config DATA/cluster/kind.yaml --kubeconfig DATA/cluster/kubeconfig --retain
    get kubeconfig --name macula
    ");
    assert!(machine.kubeconfig().contains("current-context: macula"));
    let record = machine.record().unwrap();
    assert!(
        record.contains("\"macula-control-plane\": \"10.222.7.130\"") && record.contains("\"complete\": true"),
        "{record}"
    );
    assert!(!record.contains("secret"));

    // while Kubernetes starts, and not once more with the add-on
    let journal = machine.host.journal();
    let controller = |line: &&String| line.contains("kind load") && line.contains("ingress-nginx/controller");
    assert_eq!(journal.iter().filter(controller).count(), 1, "{journal:#?}");

    let again = machine.up("").await.unwrap();
    assert_eq!((again.steps, machine.kind_ran().len()), (0, 2), "nothing to do");
}

#[tokio::test]
async fn what_is_for_every_namespace_is_looked_after_until_the_cluster_is_gone() {
    let machine = Machine::new();
    let look = async || {
        let reach = To(machine.inside.clone());
        follow::watch(&machine.host, &reach, &PlatformName::default(), Duration::from_secs(1)).await.unwrap();
        machine.inside.followed.lock().unwrap().len()
    };
    assert_eq!(look().await, 0, "no cluster yet");
    machine.up("").await.unwrap();
    assert_eq!(look().await, 1);
    assert_eq!(*machine.inside.followed.lock().unwrap(), ["platform"]);
    delete_cluster(&machine.session("macula cluster delete"), &machine.load("")).await.unwrap();
    assert_eq!(look().await, 1);
}

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
async fn services_that_cannot_be_reached_are_told_although_every_add_on_is_ready() {
    let mut machine = Machine::new();
    machine.up("").await.unwrap();
    let api = "the API v1beta1.metrics.k8s.io is not available: no response";
    *machine.inside.broken.lock().unwrap() = vec![api.to_owned()];
    let status = cluster_status(&machine.session("macula cluster status"), &machine.load("")).await.unwrap();
    assert!(status.addons.iter().all(|addon| addon.state == AddOnCondition::Ready), "{status:?}");
    assert_eq!(status.problems, [api]);
    *machine.inside.behind.lock().unwrap() = vec!["ExternalDNS is behind".to_owned()];
    let status = cluster_status(&machine.session("macula cluster status"), &machine.load("")).await.unwrap();
    assert_eq!(status.problems, [api, "ExternalDNS is behind"]);
    machine.inside.behind.lock().unwrap().clear();
    machine.heard = Arc::default();
    machine.up("").await.unwrap();
    assert_eq!(machine.heard.said(), [format!("cluster: {api}")]);
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

#[tokio::test]
async fn plan_shows_it_and_no_cluster_leaves_it_out() {
    let machine = Machine::new();
    let prepared = prepare(&machine.session("macula plan"), &machine.load(""), &Wanted::default()).await.unwrap();
    assert_snapshot!(prepared.plan, @"
    + create network macula (missing)
    + create container macula-web-1 (missing) after create network macula
    + start container macula-web-1 (missing) after create container macula-web-1
      await container macula-web-1 (missing) after start container macula-web-1
    + create cluster macula (missing) after create network macula
    ~ apply platform (missing) after create cluster macula
    ~ apply dns (missing) after apply platform
    ~ apply ingress (missing) after apply platform
    ~ apply metrics-server (missing) after apply platform
    ");
    let without = Wanted { no_cluster: Some(true), ..Wanted::default() };
    let prepared = prepare(&machine.session("macula plan"), &machine.load(""), &without).await.unwrap();
    assert!(!prepared.plan.to_string().contains("cluster"));
    assert!(machine.heard.said().is_empty());
}

#[tokio::test]
async fn what_goes_in_is_loaded_applied_and_then_left_alone() {
    let machine = Machine::new();
    let up = machine.up("").await.unwrap();
    let applied = machine.inside.applied.lock().unwrap().clone();
    assert_eq!(applied[0], "platform", "what the others lie in comes first");
    let names: std::collections::BTreeSet<&str> = applied.iter().map(String::as_str).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["dns", "ingress", "metrics-server", "platform"]);
    let loaded: Vec<String> = machine.host.journal().into_iter().filter(|line| line.contains(" load ")).collect();
    assert!(loaded.iter().any(|line| line.contains("ingress-nginx/controller")), "{loaded:?}");
    let node = &up.now.cluster.nodes[0];
    assert_eq!((node.version.as_deref(), node.ready), (Some("v1.34.11"), Some(true)));
    let states: Vec<AddOnCondition> = up.now.cluster.addons.iter().map(|addon| addon.state).collect();
    assert_eq!(states, [AddOnCondition::Ready; 4]);

    machine.inside.applied.lock().unwrap().clear();
    assert_eq!(machine.up("").await.unwrap().steps, 0);
    assert_eq!(*machine.inside.applied.lock().unwrap(), [""; 0]);

    // somebody's hand in the cluster
    machine.inside.changed.lock().unwrap().push("dns".into());
    assert_eq!(machine.up("").await.unwrap().steps, 1);
    assert_eq!(*machine.inside.applied.lock().unwrap(), ["dns"]);
}

#[tokio::test]
async fn an_add_on_without_an_image_is_left_out_and_the_rest_goes_in() {
    let machine = Machine::new();
    let without = FakeEngine::new().with_image(DEFAULT_NODE_IMAGE).with_image("app:1");
    let machine = Machine { engine: without, ..machine }.with_kind(1, 0);
    let up = machine.up("").await.unwrap();
    let left: Vec<String> = up.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect();
    assert_snapshot!(left.join("\n"), @"
    add-on ingress: registry.k8s.io/ingress-nginx/controller:v1.15.1 is not in the engine, and registry.k8s.io does not answer
    add-on metrics-server: registry.k8s.io/metrics-server/metrics-server:v0.9.0 is not in the engine, and registry.k8s.io does not answer
    ");
    assert_eq!(up.now.cluster.state, ClusterState::Running);
    assert_eq!(*machine.inside.applied.lock().unwrap(), ["platform", "dns"]);
}

#[tokio::test]
async fn an_add_on_that_does_not_come_up_says_why() {
    let machine = Machine::new();
    let crash = Trouble::Crashed {
        container: "controller".into(),
        exit_code: 1,
        reason: "Error".into(),
        restarts: 3,
        log: vec!["no such file".into()],
    };
    machine.inside.sick.lock().unwrap().insert("ingress".into(), crash);
    let Err(Error::Failed(outcome)) = machine.up("").await else { panic!("it is not up") };
    assert_snapshot!(outcome.failed[0].error, @"
    ingress-nginx: pod ingress-nginx/pod-1: controller ended with 1 (Error), restarted 3 times
        no such file
    ");
    // what works is kept, and the same command goes on
    machine.inside.sick.lock().unwrap().clear();
    machine.inside.applied.lock().unwrap().clear();
    assert_eq!(machine.up("").await.unwrap().steps, 1);
    assert_eq!(*machine.inside.applied.lock().unwrap(), ["ingress"]);
}

#[tokio::test]
async fn an_optional_add_on_whose_image_is_gone_holds_nothing_up() {
    let machine = Machine::new();
    let gone = Trouble::Image { image: "a:1".into(), trouble: ImageTrouble::Gone, message: "not found".into() };
    machine.inside.sick.lock().unwrap().insert("metrics-server".into(), gone);
    machine.up("").await.unwrap();
    let heard = machine.heard.said().join("\n");
    assert!(heard.contains("add-on metrics-server is left out: pod kube-system/pod-1"), "{heard}");
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_pruned() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let more = machine.record().unwrap().replace("\"dns\":", "\"gone\": \"1\", \"dns\":");
    machine.host.put("/home/dev/.local/share/macula/macula/cluster.json", more);
    assert_eq!(machine.up("").await.unwrap().steps, 1);
    assert_eq!(*machine.inside.pruned.lock().unwrap(), ["macula: all but platform dns ingress metrics-server"]);
    assert_eq!(machine.up("").await.unwrap().steps, 0);
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

#[tokio::test]
async fn prometheus_gets_its_token_and_loses_it_with_the_cluster() {
    let machine = Machine::new();
    let stack = "services:\n  web: {image: 'app:1'}\n  prometheus:\n    image: 'app:1'\n    x-macula:\n      reload: {signal: SIGHUP}\n      \
                 configs: {/etc/prometheus/prometheus.yml: {template: jobs.j2, uid: 65534, gid: 65534}}\n";
    let jobs = "{% if secrets.cluster is defined %}{{ secrets.cluster.TOKEN }} {{ secrets.cluster.SERVER }}{% else %}no cluster{% endif %}\n";
    let files = MemoryFiles::default().with("/w/metrics/compose.yaml", stack).with("/w/metrics/jobs.j2", jobs);
    let request = Request { cwd: "/w".into(), stacks: vec!["/w/metrics".into()], only_own: true, ..Request::default() };
    let loaded = crate::config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
    let options = UpOptions { no_dns: Some(true), ..UpOptions::default() };
    let up_again = async || up(&machine.session("macula up"), &loaded, &options, &Agrees).await.unwrap();
    let held = || {
        let file = machine.engine.file("macula-prometheus-1", "/etc/prometheus/prometheus.yml").unwrap();
        String::from_utf8(file.content).unwrap()
    };
    up_again().await;
    assert_eq!(held(), "token-of-prometheus 10.222.7.130:6443\n");
    assert_eq!(up_again().await.steps, 0);
    delete_cluster(&machine.session("macula cluster delete"), &loaded).await.unwrap();
    assert_eq!(held(), "no cluster\n");
}
