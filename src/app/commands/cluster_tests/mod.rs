//! Whole runs against an engine and a machine in memory, with `kind` as a script.

mod addons;
mod beforehand;
mod halfway;
mod standing;

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
use crate::cluster::fake::FakeProvider;
use crate::cluster::kind::{CLUSTER_LABEL, ROLE_LABEL};
use crate::cluster::{ClusterError, KubeconfigError};
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
        // tests of several runs have a stack of 2 MiB
        let (session, loaded) = (self.session("macula up"), self.load(settings));
        Box::pin(up(&session, &loaded, &options, &Agrees)).await
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
