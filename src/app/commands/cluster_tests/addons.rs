//! What goes into a cluster, and what becomes of it.

use super::*;
use crate::app::State;
use crate::app::certificate::{authorities_in, leaf_file_in};
use crate::app::renewal::renew_in_cluster;
use crate::pki::{Authority, Leaf};

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
async fn a_certificate_that_is_renewed_without_an_up_comes_into_the_cluster() {
    let machine = Machine::new();
    let (host, name, to) = (&machine.host, PlatformName::default(), To(machine.inside.clone()));
    assert!(!renew_in_cluster(host, &to, &name).await.unwrap(), "no cluster yet");
    machine.up("").await.unwrap();
    assert!(!renew_in_cluster(host, &to, &name).await.unwrap());
    machine.inside.applied.lock().unwrap().clear();
    // as the resolver renews it
    let data = host.folders().data;
    let path = leaf_file_in(&State::new(&data, &name));
    let names = Leaf::parse(&host.read(&path).await.unwrap()).unwrap().certificate.names;
    let authority = Authority::load(host, &authorities_in(&data), "macula.local", host.now()).await.unwrap().unwrap();
    host.put(&path, authority.issue(&names, host.now()).unwrap().to_pem());
    assert!(renew_in_cluster(host, &Away, &name).await.is_err());
    assert!(renew_in_cluster(host, &to, &name).await.unwrap(), "it is tried again");
    assert_eq!(*machine.inside.applied.lock().unwrap(), ["ingress"]);
    assert!(!renew_in_cluster(host, &to, &name).await.unwrap());
    // an `up` finds what it would have made
    machine.up("").await.unwrap();
    assert_eq!(*machine.inside.applied.lock().unwrap(), ["ingress"]);
    delete_cluster(&machine.session("macula cluster delete"), &machine.load("")).await.unwrap();
    assert!(!renew_in_cluster(host, &to, &name).await.unwrap());
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

/// The ports that the new one waits for are those of the old one.
#[tokio::test]
async fn an_ingress_of_another_kind_goes_before_the_new_one_is_waited_for() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    assert_eq!(*machine.inside.pruned.lock().unwrap(), [""; 0]);
    let traefik = "cluster: {ingress: traefik}\n";
    let waits = Trouble::Unschedulable { message: "1 node(s) didn't have free ports".into() };
    machine.inside.sick.lock().unwrap().insert("ingress".into(), waits);
    assert!(machine.up(traefik).await.is_err());
    let kept = "macula: all but platform dns ingress metrics-server";
    assert_eq!(*machine.inside.pruned.lock().unwrap(), [kept], "before it was ready");
    machine.inside.sick.lock().unwrap().clear();
    machine.up(traefik).await.unwrap();
    assert_eq!(machine.inside.pruned.lock().unwrap().len(), 2, "and at each try");
    assert_eq!(machine.up(traefik).await.unwrap().steps, 0);
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

/// Nobody is there.
struct Away;

#[async_trait::async_trait]
impl Reach for Away {
    async fn connect(&self, _: &str, context: &str) -> Result<Arc<dyn Inside>, KubernetesError> {
        Err(KubernetesError::NoContext { context: Some(context.to_owned()), known: Vec::new() })
    }
}

#[tokio::test]
async fn of_a_cluster_that_says_nothing_no_add_on_is_said_to_be_left_out() {
    let machine = Machine::new();
    machine.up("").await.unwrap();
    let mut session = machine.session("macula cluster status");
    session.system.reach = Arc::new(Away);
    let status = cluster_status(&session, &machine.load("")).await.unwrap();
    let states: Vec<AddOnCondition> = status.addons.iter().map(|addon| addon.state).collect();
    assert_eq!(states, [AddOnCondition::Unknown; 4]);
}
