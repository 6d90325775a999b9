mod namespaces;
mod objects;
mod pods;

use std::collections::BTreeMap;

use serde_json::json;

use super::server::{Answer, Request, Server, json_answer, no};
use super::*;
use crate::compile::addons::{AddOn, Workload, WorkloadKind};
use crate::model::label;
use crate::render;

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "space"}, "data": {"a": "b"}})
}

fn addon(manifests: Vec<Value>) -> AddOn {
    AddOn {
        name: "test".into(),
        title: "Test".into(),
        images: vec!["registry.macula.local/app:v2".into()],
        manifests,
        waits: vec![Workload { kind: WorkloadKind::Deployment, namespace: "space".into(), name: "app".into() }],
        optional: false,
    }
}

/// Keeps what is applied, as the API server does: a version that changes only with the content.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
}

impl Store {
    fn answer(&mut self, request: &Request) -> Answer {
        let path = request.path().to_owned();
        match request.method.as_str() {
            "PATCH" => {
                let mut object = request.body.clone();
                let bare = |object: &Value| {
                    let mut object = object.clone();
                    object["metadata"]["resourceVersion"] = Value::Null;
                    object
                };
                if let Some(there) = self.objects.get(&path)
                    && bare(there) == bare(&object)
                {
                    return json_answer(200, there.clone());
                }
                self.version += 1;
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.objects.insert(path, object.clone());
                json_answer(200, object)
            }
            "GET" => match self.objects.get(&path) {
                Some(object) => json_answer(200, object.clone()),
                None => no(404, "NotFound", "not there"),
            },
            "DELETE" => match self.objects.remove(&path) {
                Some(_) => json_answer(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
                None => no(404, "NotFound", "not there"),
            },
            other => panic!("{other}"),
        }
    }
}

fn deployment(available: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "space", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "app"}}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}})
}

/// Discovery with ConfigMaps, Endpoints and Deployments.
fn discovery(request: &Request) -> Option<Answer> {
    let resource = |kind: &str, plural: &str| {
        json!({"resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": "Namespaced",
            "singularResource": kind.to_lowercase(), "verbs": ["get", "list", "delete", "patch"]})
    };
    let group = |name: &str, resources: Vec<Value>| {
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [
            {"metadata": metadata, "versions": [{"version": "v1", "freshness": "Current", "resources": resources}]}]})
    };
    match request.path() {
        "/apis" => Some(json_answer(200, group("apps", vec![resource("Deployment", "deployments")]))),
        "/api" => Some(json_answer(
            200,
            group("", vec![resource("ConfigMap", "configmaps"), resource("Endpoints", "endpoints")]),
        )),
        _ => None,
    }
}

#[tokio::test]
async fn only_what_we_made_and_no_longer_want_is_taken_away() {
    let meta = |name: &str, change: Value| {
        let mut metadata = json!({"name": name, "namespace": "space", "uid": name,
            "managedFields": [{"manager": "macula", "operation": "Apply"}]});
        for (key, value) in change.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        json!({"metadata": metadata})
    };
    let list = |items: Vec<Value>| json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items});
    let mut busy = true;
    let server = Server::start(move |request| {
        if let Some(answer) = discovery(request) {
            return answer;
        }
        // an API server that has just started again
        if request.method == "DELETE" && std::mem::take(&mut busy) {
            return no(503, "ServiceUnavailable", "the server is currently unable to handle the request");
        }
        match (request.method.as_str(), request.path()) {
            ("GET", "/api/v1/configmaps") => json_answer(
                200,
                list(vec![
                    meta("kept", json!({})),
                    meta("old", json!({})),
                    meta("adopted", json!({"annotations": {"dev.macula.adopted": "true"}})),
                    meta("others", json!({"managedFields": [{"manager": "helm", "operation": "Update"}]})),
                    meta(
                        "owned",
                        json!({"ownerReferences":
                        [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "a"}]}),
                    ),
                    meta("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
                    meta("raced", json!({})),
                ]),
            ),
            // labels of the Service, written by its controller
            ("GET", "/api/v1/endpoints") => json_answer(
                200,
                list(vec![meta("copy", json!({"managedFields": [{"manager": "kcm", "operation": "Update"}]}))]),
            ),
            ("GET", "/apis/apps/v1/deployments") => no(503, "ServiceUnavailable", "away"),
            ("DELETE", path) if path.ends_with("/raced") => no(409, "Conflict", "the uid is another"),
            ("DELETE", _) => json_answer(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
            _ => panic!("{}", request.line()),
        }
    })
    .await;
    let gone = server.kubernetes.prune("macula", &[addon(vec![config_map("kept")])]).await.unwrap();
    assert_eq!(gone, ["ConfigMap space/old"]);
    let deletions: Vec<Request> =
        server.requests.lock().unwrap().iter().filter(|request| request.method == "DELETE").cloned().collect();
    assert_eq!(deletions.len(), 3);
    assert_eq!(deletions[0].path(), "/api/v1/namespaces/space/configmaps/old");
    assert_eq!(deletions[0].body["preconditions"], json!({"uid": "old"}));
    assert_eq!(deletions[0].body["propagationPolicy"], "Background");
    let labels = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmacula%2Cdev.macula.platform%3Dmacula";
    assert!(server.lines().iter().any(|line| line.contains(labels)), "{:?}", server.lines());
}

#[tokio::test]
async fn nodes_and_add_ons_for_the_status() {
    let server = Server::start(|request| match request.path() {
        "/api/v1/nodes" => json_answer(
            200,
            json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": [
                {"metadata": {"name": "macula-worker"}, "spec": {"unschedulable": true}, "status": {
                    "conditions": [{"type": "Ready", "status": "False", "message": "container runtime network not ready"}]}},
                {"metadata": {"name": "macula-control-plane", "labels": {"node-role.kubernetes.io/control-plane": ""}},
                    "spec": {}, "status": {
                    "conditions": [{"type": "Ready", "status": "True", "message": "kubelet is posting ready status"}],
                    "addresses": [{"type": "InternalIP", "address": "10.222.7.130"}, {"type": "Hostname", "address": "a"}],
                    "nodeInfo": {"kubeletVersion": "v1.34.11", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                        "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "",
                        "osImage": "", "systemUUID": ""}}}]}),
        ),
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases" => json_answer(
            200,
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": [
                {"metadata": {"name": "macula-control-plane"}, "spec": {"renewTime": "2026-11-21T08:33:32.032872Z"}}]}),
        ),
        "/apis/apps/v1/namespaces/space/deployments/app" => json_answer(200, deployment(1)),
        "/api/v1/namespaces/space/configmaps/there" => json_answer(200, json!({"metadata": {"name": "there"}})),
        _ => no(404, "NotFound", "not there"),
    })
    .await;
    insta::assert_json_snapshot!(server.kubernetes.nodes().await.unwrap(), @r#"
    [
      {
        "name": "macula-control-plane",
        "ready": true,
        "version": "v1.34.11",
        "roles": [
          "control-plane"
        ],
        "addresses": [
          "10.222.7.130"
        ],
        "unschedulable": false
      },
      {
        "name": "macula-worker",
        "ready": false,
        "reason": "container runtime network not ready",
        "version": "",
        "roles": [],
        "addresses": [],
        "unschedulable": true
      }
    ]
    "#);
    let addons = [addon(vec![config_map("there")]), addon(vec![config_map("gone")])];
    insta::assert_json_snapshot!(server.kubernetes.addon_status(&addons).await.unwrap(), @r#"
    [
      {
        "name": "test",
        "title": "Test",
        "state": "ready",
        "versions": [
          "v2"
        ]
      },
      {
        "name": "test",
        "title": "Test",
        "state": "missing",
        "versions": [
          "v2"
        ]
      }
    ]
    "#);
}

#[tokio::test]
async fn prometheus_gets_a_token_once_there_is_one() {
    let mut asked = 0;
    let server = Server::start(move |_| {
        asked += 1;
        let data = if asked == 1 { json!({}) } else { json!({"token": "dG9r", "ca.crt": "Q0EK"}) };
        json_answer(200, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data}))
    })
    .await;
    assert_eq!(server.kubernetes.scrape_access().await.unwrap(), None);
    let access = server.kubernetes.scrape_access().await.unwrap().unwrap();
    assert_eq!((access.token.as_str(), access.authority.as_str()), ("tok", "CA\n"));
    assert!(!format!("{access:?}").contains("tok"));

    // and with it the jobs
    let mut secrets = Secrets::default();
    let configuration = |secrets: &Secrets| {
        let context = json!({"name": "macula", "services": {}, "metrics": [], "secrets": secrets});
        let name = "prometheus/prometheus.yml.j2";
        render::render(name, render::template(name).unwrap(), &context).unwrap()
    };
    let without: Value = serde_yaml::from_str(&configuration(&secrets)).unwrap();
    assert_eq!(without["scrape_configs"], json!([]));
    access.record(&mut secrets, "macula", "macula-control-plane:6443");
    let with = configuration(&secrets);
    let parsed: Value = serde_yaml::from_str(&with).unwrap();
    assert_eq!(parsed["scrape_configs"].as_array().unwrap().len(), 5);
    insta::assert_snapshot!(with.split_once("scrape_configs:").unwrap().1);
}
