//! Against a real API server: `MACULA_TEST_KUBECONFIG` names a kubeconfig whose current context may
//! be written to. Without it these tests say so and do nothing. Pods need not run there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::stack_tests::{OWNER, SHOP, objects, objects_of};
use super::*;
use crate::compile::addons::{AddOn, AddOnInput, WEBHOOK_NAMES, addons};
use crate::model::ClusterSettings;
use crate::pki::webhook_certificate;

async fn real(test: &str) -> Option<Kubernetes> {
    let Ok(path) = std::env::var("MACULA_TEST_KUBECONFIG") else {
        crate::require::skipped("kubernetes", &format!("{test}: MACULA_TEST_KUBECONFIG names no kubeconfig"));
        return None;
    };
    let text = std::fs::read_to_string(&path).unwrap();
    let context = Kubeconfig::from_yaml(&text).unwrap().current_context.unwrap();
    Some(Kubernetes::connect(&text, &context).await.unwrap())
}

fn everything(platform: &str, ingress: &str) -> Vec<AddOn> {
    let webhook = webhook_certificate(&WEBHOOK_NAMES, 1_800_000_000).unwrap();
    let input = AddOnInput {
        platform: platform.into(),
        domain: "macula.local".into(),
        cluster: platform.into(),
        settings: ClusterSettings {
            ingress: ingress.into(),
            udp_services: [(4433, "media/relay:4433".to_owned())].into(),
            ..ClusterSettings::default()
        },
        status_address: Ipv4Addr::new(127, 0, 0, 10),
        ingress_address: Ipv4Addr::new(10, 222, 7, 2),
        names: vec!["grafana.macula.local".into()],
        records: BTreeMap::new(),
        // the API server looks at both: they must be a certificate and its key
        certificate: Some(webhook.served.clone()),
        authority: Some(webhook.authority.clone()),
        powerdns_key: Some("key".into()),
        webhook: Some(webhook),
        overrides: BTreeMap::new(),
        services: ["loki", "prometheus", "tempo", "powerdns"].map(str::to_owned).into(),
    };
    addons(&input).unwrap()
}

/// What the host's Prometheus does with its token, and what it cannot do.
async fn scrape(kubernetes: &Kubernetes) {
    // the controller that fills it in may not run there
    let mut access = None;
    for _ in 0..50 {
        access = kubernetes.scrape_access().await.unwrap();
        if access.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Some(access) = access else {
        crate::require::skipped("controllers", "the token of Prometheus: no controller fills it in");
        return;
    };
    let authority = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &access.authority);
    let kubeconfig = json!({
        "clusters": [{"name": "a", "cluster": {"server": kubernetes.server, "certificate-authority-data": authority}}],
        "users": [{"name": "a", "user": {"token": access.token}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    let prometheus = Kubernetes::connect(&kubeconfig.to_string(), "a").await.unwrap();
    let request = kube::core::Request::new("/metrics").list(&Default::default()).unwrap();
    let metrics = prometheus.client.request_text(request).await.unwrap();
    assert!(metrics.contains("apiserver_request_total"));
    prometheus.nodes().await.unwrap();
    let secrets: Api<Secret> = Api::all(prometheus.client.clone());
    let refused = secrets.list(&Default::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

/// As kubeadm leaves them.
async fn kubeadm(kubernetes: &Kubernetes) {
    let container = json!({"name": "coredns", "image": "coredns:1"});
    let labels = json!({"k8s-app": "kube-dns"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let objects = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": ".:53 {\n}\n"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "coredns", "namespace": "kube-system"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}}),
    ];
    for object in objects {
        let identity = Identity::of(&object).unwrap();
        let how = PatchParams::apply("kubeadm").force();
        kubernetes.api(&identity).patch(&identity.name, &how, &Patch::Apply(&object)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_every_object_once() {
    let Some(kubernetes) = real("a_real_api_server_takes_every_object_once").await else { return };
    kubeadm(&kubernetes).await;
    assert!(kubernetes.version().await.unwrap().starts_with('v'));
    kubernetes.prune("macula", &[]).await.unwrap();
    // what an earlier run left goes in its own time
    let namespaces: Api<Namespace> = Api::all(kubernetes.client.clone());
    let started = std::time::Instant::now();
    let leaving = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
    while namespaces.list(&Default::default()).await.unwrap().items.iter().any(leaving) {
        assert!(started.elapsed() < Duration::from_secs(300), "a namespace of an earlier run does not go");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    for ingress in ["nginx", "traefik"] {
        let all = everything("macula", ingress);
        let started = std::time::Instant::now();
        let mut created = 0;
        for addon in &all {
            created +=
                kubernetes.apply(addon).await.unwrap_or_else(|error| panic!("{}: {error}", addon.name)).created.len();
        }
        eprintln!("{ingress}: {created} objects created in {:?}", started.elapsed());
        assert!(created > 0);
        scrape(&kubernetes).await;
        // what is as it should be is not written
        let started = std::time::Instant::now();
        for addon in &all {
            for again in [kubernetes.drift(addon).await.unwrap(), kubernetes.apply(addon).await.unwrap()] {
                assert!(again.is_nothing(), "{}: {again:?}", addon.name);
            }
        }
        eprintln!("{ingress}: nothing to do, twice, in {:?}", started.elapsed());
        // what an ingress of the other kind left is taken away, and nothing else
        let gone = kubernetes.prune("macula", &all).await.unwrap();
        assert_eq!(gone.is_empty(), ingress == "nginx", "{gone:?}");
        assert!(gone.iter().all(|object| object.contains("nginx")), "{gone:?}");
    }

    // CoreDNS was there before, and keeps what kubeadm gave it
    let gone = kubernetes.prune("macula", &[]).await.unwrap();
    assert!(gone.iter().any(|object| object == "Deployment traefik/traefik"), "{gone:?}");
    assert!(!gone.iter().any(|object| object.contains("coredns")), "{gone:?}");
    let map: Api<ConfigMap> = Api::namespaced(kubernetes.client.clone(), "kube-system");
    assert!(map.get("coredns").await.unwrap().data.unwrap()["Corefile"].contains("macula.local"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_comes_back_and_what_they_added_stays() {
    let Some(kubernetes) = real("what_somebody_changed_comes_back_and_what_they_added_stays").await else { return };
    let addon = AddOn {
        name: "drift".into(),
        title: "drift".into(),
        images: vec![],
        manifests: vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "macula-drift", "labels": {"a": "b"}}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "drift", "namespace": "macula-drift"},
                "data": {"ours": "1"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "drift", "namespace": "macula-drift"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}}),
        ],
        waits: vec![],
        optional: false,
    };
    kubernetes.apply(&addon).await.unwrap();
    let map: Api<ConfigMap> = Api::namespaced(kubernetes.client.clone(), "macula-drift");
    let edit = json!({"data": {"ours": "2", "theirs": "3"}});
    map.patch("drift", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    assert_eq!(kubernetes.drift(&addon).await.unwrap().changed, ["ConfigMap macula-drift/drift"]);
    assert_eq!(map.get("drift").await.unwrap().data.unwrap()["ours"], "2");
    assert_eq!(kubernetes.apply(&addon).await.unwrap().changed, ["ConfigMap macula-drift/drift"]);
    assert_eq!(
        map.get("drift").await.unwrap().data.unwrap(),
        [("ours".to_owned(), "1".to_owned()), ("theirs".to_owned(), "3".to_owned())].into()
    );

    // a reference that cannot be changed: the object is replaced
    let mut other = addon.clone();
    other.manifests[2]["roleRef"]["name"] = json!("two");
    let drift = kubernetes.drift(&other).await.unwrap();
    assert_eq!(drift.changed, ["RoleBinding macula-drift/drift"]);
    assert_eq!(kubernetes.apply(&other).await.unwrap().changed, ["RoleBinding macula-drift/drift"]);
    assert!(kubernetes.drift(&other).await.unwrap().is_nothing());

    // what no type has is refused by the server, not dropped in silence
    let mut wrong = addon.clone();
    wrong.manifests[1]["dat"] = json!({});
    let error = kubernetes.apply(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("ConfigMap macula-drift/drift") && error.contains("dat"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_in_every_namespace_that_asks() {
    let Some(kubernetes) = real("the_ca_is_in_every_namespace_that_asks").await else { return };
    let namespaces: Api<Namespace> = Api::all(kubernetes.client.clone());
    let make = |name: &str, label: &str| -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"dev.macula.test": label}}})).unwrap()
    };
    for (name, label) in [("macula-asks", "true"), ("macula-asks-not", "false")] {
        let how = PatchParams::apply("test").force();
        let mut object = serde_json::to_value(make(name, label)).unwrap();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Namespace");
        namespaces.patch(name, &how, &Patch::Apply(&object)).await.unwrap();
    }
    let addon = AddOn {
        name: "each".into(),
        title: "each".into(),
        images: vec![],
        manifests: vec![json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "each", "annotations": {"dev.macula.each-namespace": "dev.macula.test=true"},
                "labels": {"app.kubernetes.io/managed-by": "macula", "dev.macula.platform": "each"}},
            "data": {"a": "b"}})],
        waits: vec![],
        optional: false,
    };
    kubernetes.prune("each", &[]).await.unwrap();
    assert_eq!(kubernetes.apply(&addon).await.unwrap().created, ["ConfigMap macula-asks/each"]);
    assert_eq!(kubernetes.prune("each", std::slice::from_ref(&addon)).await.unwrap(), [""; 0]);
    // the label goes, and so does the object
    let label = json!({"metadata": {"labels": {"dev.macula.test": "no"}}});
    namespaces.patch("macula-asks", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    assert_eq!(kubernetes.prune("each", std::slice::from_ref(&addon)).await.unwrap(), ["ConfigMap macula-asks/each"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_away_does_not_keep_an_ingress_out() {
    let Some(kubernetes) = real("a_webhook_that_is_away_does_not_keep_an_ingress_out").await else { return };
    // of another platform, since the tests run side by side
    let ingress = everything("webhook", "nginx").into_iter().find(|addon| addon.name == "ingress").unwrap();
    let only = |kind: &str| AddOn {
        manifests: ingress.manifests.iter().filter(|object| object["kind"] == kind).cloned().collect(),
        ..ingress.clone()
    };
    let mut hook = only("ValidatingWebhookConfiguration");
    hook.manifests[0]["metadata"]["name"] = json!("macula-test");
    kubernetes.apply(&hook).await.unwrap();
    let api: Api<Ingress> = Api::namespaced(kubernetes.client.clone(), "default");
    let object: Ingress = serde_json::from_value(json!({"metadata": {"name": "macula-test"},
        "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}))
    .unwrap();
    let made = api.create(&PostParams::default(), &object).await;
    kubernetes.prune("webhook", &[]).await.unwrap();
    made.unwrap();
    api.delete("macula-test", &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_on_without_pods_is_not_ready_and_says_so() {
    let Some(kubernetes) = real("an_add_on_without_pods_is_not_ready_and_says_so").await else { return };
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "waits", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "waits"}}, "template": {
            "metadata": {"labels": {"app": "waits"}},
            "spec": {"containers": [{"name": "a", "image": "registry.invalid/none:1"}]}}}});
    let addon = AddOn {
        name: "waits".into(),
        title: "waits".into(),
        images: vec!["registry.invalid/none:1".into()],
        waits: vec![crate::compile::addons::Workload {
            kind: crate::compile::addons::WorkloadKind::Deployment,
            namespace: "default".into(),
            name: "waits".into(),
        }],
        manifests: vec![workload],
        optional: true,
    };
    let absent = kubernetes.ready(&addon, Duration::ZERO).await.unwrap_err();
    assert_eq!(absent.to_string(), "Deployment default/waits: it is not in the cluster");
    kubernetes.apply(&addon).await.unwrap();
    let waiting = kubernetes.ready(&addon, Duration::from_secs(1)).await.unwrap_err();
    eprintln!("{waiting}");
    let status = kubernetes.addon_status(std::slice::from_ref(&addon)).await.unwrap();
    assert_eq!((status[0].state, status[0].versions.as_slice()), (AddOnState::NotReady, &["1".to_owned()][..]));
    let identity = Identity::of(&addon.manifests[0]).unwrap();
    kubernetes.api(&identity).delete("waits", &DeleteParams::background()).await.unwrap();
    assert_eq!(kubernetes.nodes().await.unwrap().iter().filter(|node| node.name.is_empty()).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_a_stack_and_gives_it_back() {
    let Some(kubernetes) = real("a_real_api_server_takes_a_stack_and_gives_it_back").await else { return };
    let gone = async || {
        kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
        let left = kubernetes.ended(OWNER, "shop", Duration::from_secs(300)).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    };
    gone().await;
    let all = objects(SHOP);
    assert_eq!(kubernetes.foreign(OWNER, &all).await.unwrap(), Foreign::default());
    kubernetes.check_objects(&all).await.unwrap();
    let created = kubernetes.apply_objects(all.clone()).await.unwrap().created;
    assert_eq!(created.len(), all.len(), "{created:?}");
    // the API server's own defaults are no difference
    let again = kubernetes.apply_objects(all.clone()).await.unwrap();
    assert!(again.is_nothing() && again.unchanged == all.len(), "{again:?}");
    let would = kubernetes.compare_objects(objects(&SHOP.replace("'web:1'", "'web:2'"))).await.unwrap();
    assert_eq!((would.created.len(), would.changed), (0, vec!["Job shop/migrate".to_owned()]));
    let web = kubernetes.stack_workloads(OWNER).await.unwrap().pop().unwrap().workload;
    kubernetes.scale(&web, 3).await.unwrap();
    let back = kubernetes.apply_objects(all).await.unwrap();
    assert_eq!(back.changed, ["Deployment shop/web"]);
    // a Service that loses its address
    let bare = objects(
        &SHOP
            .replace("ports: ['8080:80', '0.0.0.0:8443:443']", "ports: []")
            .replace("ingress: [{host: web, port: 80}]", ""),
    );
    let bare: Vec<_> =
        bare.into_iter().filter(|object| object["kind"] == "Service" && object["metadata"]["name"] == "web").collect();
    assert_eq!(kubernetes.apply_objects(bare).await.unwrap().changed, ["Service shop/web"]);
    gone().await;
}

/// Whatever a stack says, as far as it can be said there.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_what_is_made_of_every_key() {
    let Some(kubernetes) = real("a_real_api_server_takes_what_is_made_of_every_key").await else { return };
    let (mut tried, mut wrong) = (0, Vec::new());
    for sample in crate::config::samples() {
        let Ok(objects) = objects_of(&sample.with) else { continue };
        tried += 1;
        if let Err(error) = kubernetes.check_objects(&objects).await {
            let said = format!("{}: {error}", sample.key);
            // `propagation: shared` alone, which the API server tells whoever deploys it
            if !said.contains("available only to privileged containers") {
                wrong.push(said);
            }
        }
    }
    assert!(tried > 150, "{tried}");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What an API server in memory would not come upon by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_says_what_it_lacks_and_what_it_keeps() {
    let Some(kubernetes) = real("a_real_api_server_says_what_it_lacks_and_what_it_keeps").await else { return };
    // a group of which it has nothing, for which it has no Status
    let metadata = json!({"name": "macula-test", "namespace": "default"});
    let thing = json!({"apiVersion": "macula.invalid/v1", "kind": "Thing", "metadata": metadata});
    let error = kubernetes.check_objects(&[thing]).await.unwrap_err();
    assert!(error.is_no_kind(), "{error}");
    // larger than any request may be
    let data = json!({"a": "a".repeat(4 << 20)});
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    let error = kubernetes.check_objects(&[large]).await.unwrap_err();
    assert!(error.is_about_form(), "{error}");
    // what somebody's finalizer keeps
    let owner = StackOwner { platform: "macula", stack: Some("kept"), namespace: Some("macula-kept") };
    let labels = owner.labels();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "macula-kept", "labels": labels}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "macula-kept",
        "labels": labels, "finalizers": ["macula.invalid/keeps"]}});
    kubernetes.apply_objects(vec![space, map.clone()]).await.unwrap();
    kubernetes.remove_stack(owner, "macula-kept", true).await.unwrap();
    let left = kubernetes.ended(owner, "macula-kept", Duration::from_secs(1)).await.unwrap();
    assert!(left.contains(&"ConfigMap macula-kept/kept".to_owned()), "{left:?}");
    let identity = Identity::of(&map).unwrap();
    let free = json!({"metadata": {"finalizers": null}});
    kubernetes.api(&identity).patch("kept", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
    let left = kubernetes.ended(owner, "macula-kept", Duration::from_secs(300)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
