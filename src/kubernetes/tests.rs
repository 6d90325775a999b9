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

#[tokio::test]
async fn an_object_is_applied_under_our_name_and_once() {
    let mut store = Store::default();
    let server = Server::start(move |request| store.answer(request)).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}});
    // in the wrong order: the namespace is made first all the same
    let addon = addon(vec![config_map("one"), namespace]);
    let first = server.kubernetes.apply(&addon).await.unwrap();
    assert_eq!(first.created, ["ConfigMap space/one", "Namespace space"]);
    insta::assert_debug_snapshot!(server.lines(), @r#"
    [
        "GET /api/v1/namespaces/space",
        "PATCH /api/v1/namespaces/space?&force=true&fieldManager=macula&fieldValidation=Strict",
        "GET /api/v1/namespaces/space/configmaps/one",
        "PATCH /api/v1/namespaces/space/configmaps/one?&force=true&fieldManager=macula&fieldValidation=Strict",
    ]
    "#);
    let patch = server.requests.lock().unwrap()[3].clone();
    assert_eq!((patch.content_type.as_str(), &patch.body), ("application/apply-patch+yaml", &config_map("one")));

    let again = server.kubernetes.apply(&addon).await.unwrap();
    assert_eq!(again, Applied { unchanged: 2, ..Applied::default() });
    assert!(again.is_nothing());
}

#[tokio::test]
async fn an_account_is_there_before_its_token() {
    let mut store = Store::default();
    let server = Server::start(move |request| store.answer(request)).await;
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "a", "namespace": "space", "annotations": {"kubernetes.io/service-account.name": "a"}}});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "space"}});
    server.kubernetes.apply(&addon(vec![token, account])).await.unwrap();
    let paths: Vec<String> = server.requests.lock().unwrap().iter().map(|request| request.path().to_owned()).collect();
    let (account, token) = ("/api/v1/namespaces/space/serviceaccounts/a", "/api/v1/namespaces/space/secrets/a");
    assert_eq!(paths, [account, account, token, token]);
}

#[tokio::test]
async fn namespaces_get_what_is_for_them_as_they_come() {
    let mut store = Store::default();
    let event = |kind: &str, name: &str, ending: bool| {
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if ending {
            namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        format!("{}\n", json!({"type": kind, "object": namespace}))
    };
    let events = [
        event("ADDED", "there", false),
        event("ADDED", "late", false),
        event("MODIFIED", "ending", true),
        event("DELETED", "ending", true),
    ];
    let server = Server::start(move |request| match request.target.contains("watch=true") {
        true => Some((200, events.concat())),
        false => store.answer(request),
    })
    .await;
    let mut each = config_map("ca");
    each["metadata"] = json!({"name": "ca", "annotations": {label::EACH_NAMESPACE: "ca=true"}});
    let addon = addon(vec![config_map("one"), each]);
    server.kubernetes.follow_namespaces(&addon, Duration::from_secs(7)).await.unwrap();
    insta::assert_snapshot!(server.lines().join("\n"), @"
    GET /api/v1/namespaces?&watch=true&timeoutSeconds=7&labelSelector=ca%3Dtrue&resourceVersion=
    GET /api/v1/namespaces/there/configmaps/ca
    PATCH /api/v1/namespaces/there/configmaps/ca?&force=true&fieldManager=macula&fieldValidation=Strict
    GET /api/v1/namespaces/late/configmaps/ca
    PATCH /api/v1/namespaces/late/configmaps/ca?&force=true&fieldManager=macula&fieldValidation=Strict
    ");
    let patch = server.requests.lock().unwrap()[2].body.clone();
    assert_eq!(patch["metadata"], json!({"name": "ca", "namespace": "there"}));
}

#[tokio::test]
async fn a_watch_that_is_refused_says_so() {
    let server = Server::start(|_| no(403, "Forbidden", "namespaces is forbidden")).await;
    let mut each = config_map("ca");
    each["metadata"] = json!({"name": "ca", "annotations": {label::EACH_NAMESPACE: "ca=true"}});
    let error = server.kubernetes.follow_namespaces(&addon(vec![each]), Duration::from_secs(7)).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot watch namespaces with ca=true: namespaces is forbidden");
}

#[tokio::test]
async fn a_look_writes_nothing() {
    let server = Server::start(|request| match (request.method.as_str(), request.target.contains("dryRun=All")) {
        // it is there, in another form
        ("GET", _) => {
            let mut there = config_map("one");
            there["data"]["a"] = json!("other");
            json_answer(200, there)
        }
        ("PATCH", true) => json_answer(200, request.body.clone()),
        _ => panic!("{}", request.line()),
    })
    .await;
    let drift = server.kubernetes.drift(&addon(vec![config_map("one")])).await.unwrap();
    assert_eq!(drift, Applied { changed: vec!["ConfigMap space/one".into()], ..Applied::default() });
}

#[tokio::test]
async fn a_namespace_that_asks_no_longer_loses_its_copy() {
    let labels = json!({"app.kubernetes.io/managed-by": "macula", "dev.macula.addon": "platform"});
    let mut manifest = config_map("ca");
    manifest["metadata"]["labels"] = labels.clone();
    manifest["metadata"]["annotations"] = json!({"dev.macula.each-namespace": "ca=true"});
    let copy = |namespace: &str, manager: &str| {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
            "name": "ca", "namespace": namespace, "labels": labels.clone(),
            "managedFields": [{"manager": manager, "operation": "Apply"}]}})
    };
    let copies = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
        "items": [copy("asks", "macula"), copy("asked", "macula"), copy("theirs", "somebody")]});
    let mut gone = false;
    let server = Server::start(move |request| match (request.method.as_str(), request.path()) {
        ("GET", "/api/v1/namespaces") => json_answer(
            200,
            json!({"apiVersion": "v1", "kind": "NamespaceList", "metadata": {}, "items": [{"metadata": {"name": "asks"}}]}),
        ),
        ("GET", "/api/v1/configmaps") => json_answer(200, copies.clone()),
        ("DELETE", "/api/v1/namespaces/asked/configmaps/ca") => {
            gone = true;
            json_answer(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        }
        ("GET", "/api/v1/namespaces/asked/configmaps/ca") if gone => no(404, "NotFound", "not there"),
        ("GET", "/api/v1/namespaces/asks/configmaps/ca") => no(404, "NotFound", "not there"),
        ("PATCH", "/api/v1/namespaces/asks/configmaps/ca") => json_answer(200, request.body.clone()),
        _ => panic!("{}", request.line()),
    })
    .await;
    let addon = addon(vec![manifest]);
    let drift = server.kubernetes.drift(&addon).await.unwrap();
    assert!(drift.changed.contains(&"ConfigMap asked/ca".to_owned()), "{drift:?}");
    assert!(!server.lines().iter().any(|line| line.starts_with("DELETE")), "a look writes nothing");
    server.kubernetes.apply(&addon).await.unwrap();
    let requests = server.requests.lock().unwrap();
    let deleted: Vec<&str> = requests.iter().filter(|one| one.method == "DELETE").map(Request::path).collect();
    assert_eq!(deleted, ["/api/v1/namespaces/asked/configmaps/ca"]);
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let mut store = Store::default();
    let mut left = vec![
        no(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        no(409, "Conflict", "the object has been modified"),
        no(500, "InternalError", "failed calling webhook \"a\": connect: connection refused"),
        no(404, "NotFound", "namespaces \"space\" not found"),
        no(403, "Forbidden", "unable to create new content in namespace space because it is being terminated"),
        None,
    ];
    let server = Server::start(move |request| match request.method.as_str() {
        "PATCH" if !left.is_empty() => left.remove(0),
        _ => store.answer(request),
    })
    .await;
    let applied = server.kubernetes.apply(&addon(vec![config_map("one")])).await.unwrap();
    assert_eq!(applied.created, ["ConfigMap space/one"]);
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PATCH")).count(), 7);
}

#[tokio::test]
async fn what_does_not_pass_is_said_at_once() {
    let server = Server::start(|request| match request.method.as_str() {
        "PATCH" => no(403, "Forbidden", "configmaps \"one\" is forbidden: User \"a\" cannot patch resource"),
        _ => no(404, "NotFound", "not there"),
    })
    .await;
    let error = server.kubernetes.apply(&addon(vec![config_map("one")])).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"cannot apply ConfigMap space/one: configmaps "one" is forbidden: User "a" cannot patch resource"#);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn an_object_that_cannot_be_changed_is_replaced() {
    let mut store = Store::default();
    store.objects.insert("/api/v1/namespaces/space/configmaps/one".into(), config_map("one"));
    let server = Server::start(move |request| {
        let there = store.objects.contains_key(request.path());
        if request.method == "PATCH" && there {
            return no(
                422,
                "Invalid",
                "ConfigMap \"one\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
            );
        }
        store.answer(request)
    })
    .await;
    let applied = server.kubernetes.apply(&addon(vec![config_map("one")])).await.unwrap();
    assert_eq!(applied.changed, ["ConfigMap space/one"]);
    // one that was there before us is not taken away
    let mut adopted = config_map("one");
    adopted["metadata"]["annotations"] = json!({"dev.macula.adopted": "true"});
    assert!(server.kubernetes.apply(&addon(vec![adopted])).await.is_err());
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("DELETE")).count(), 1);
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let kubeconfig = json!({
        "clusters": [{"name": "a", "cluster": {"server": format!("https://{address}")}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "macula", "context": {"cluster": "a", "user": "a"}}],
    });
    let kubernetes = Kubernetes::connect(&kubeconfig.to_string(), "macula").await.unwrap();
    let error = kubernetes.version().await.unwrap_err();
    let text = error.to_string().replace(&address.to_string(), "ADDRESS");
    insta::assert_snapshot!(text, @"cannot ask for the version: the API server https://ADDRESS does not answer: client error (Connect): tcp connect error: Connection refused (os error 111)");
    let error = Kubernetes::connect("clusters: [", "macula").await.unwrap_err();
    assert!(matches!(error, KubernetesError::Kubeconfig { .. }), "{error}");
    let error = Kubernetes::connect(&kubeconfig.to_string(), "other").await.unwrap_err();
    insta::assert_snapshot!(error, @"the kubeconfig cannot be used: failed to load current context: other");
}

fn deployment(available: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "space", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "app"}}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}})
}

fn pod(status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [
        {"metadata": {"name": "app-1", "namespace": "space"}, "spec": {"containers": []}, "status": status}]})
}

fn container(state: Value) -> Value {
    json!({"name": "main", "image": "registry.macula.local/app:v2", "imageID": "", "ready": false, "restartCount": 3,
        "state": state, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}})
}

/// What `ready` says of a pod with this status.
async fn not_ready(status: Value) -> (String, Vec<String>) {
    // what never ran has no log
    let log = if status.to_string().contains("StartError") { "" } else { "reading config\nno such file\n" };
    let server = Server::start(move |request| match request.path() {
        "/apis/apps/v1/namespaces/space/deployments/app" => json_answer(200, deployment(0)),
        "/api/v1/namespaces/space/pods" => json_answer(200, pod(status.clone())),
        "/api/v1/namespaces/space/pods/app-1/log" => Some((200, log.into())),
        "/api/v1/namespaces/space/events" => json_answer(
            200,
            json!({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": [
                {"metadata": {}, "involvedObject": {}, "lastTimestamp": "2026-01-01T00:00:00Z", "message": "old"},
                {"metadata": {}, "involvedObject": {}, "lastTimestamp": "2026-01-02T00:00:00Z",
                    "message": "Readiness probe failed: HTTP probe failed with statuscode: 500"}]}),
        ),
        _ => panic!("{}", request.line()),
    })
    .await;
    let error = server.kubernetes.ready(&addon(vec![]), Duration::ZERO).await.unwrap_err();
    (error.to_string(), server.lines())
}

#[tokio::test]
async fn a_pod_that_does_not_come_up_says_why() {
    let image = |reason: &str, message: &str| json!({"containerStatuses": [container(json!({"waiting": {"reason": reason, "message": message}}))]});
    let scheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory."}]});
    let crash = json!({"containerStatuses": [container(json!({"waiting": {"reason": "CrashLoopBackOff"}}))]});
    let config = image("CreateContainerConfigError", "secret \"x\" not found");
    let starting = json!({"containerStatuses": [container(json!({"waiting": {"reason": "ContainerCreating"}}))]});
    let probe = json!({"containerStatuses": [container(json!({"running": {}}))]});
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    let mut text = String::new();
    for status in [
        image("ErrImagePull", "registry.macula.local/app:v2: not found"),
        image("ImagePullBackOff", "pull access denied"),
        scheduled,
        crash,
        config,
        starting,
        probe,
        evicted,
    ] {
        text.push_str(&not_ready(status).await.0);
        text.push('\n');
    }
    insta::assert_snapshot!(text, @r#"
    pod space/app-1: the image registry.macula.local/app:v2 does not exist: registry.macula.local/app:v2: not found
    pod space/app-1: the image registry.macula.local/app:v2 may not be pulled without a login: pull access denied
    pod space/app-1: no node takes it: 0/1 nodes are available: 1 Insufficient memory.
    pod space/app-1: main ended with 2 (Error), restarted 3 times
        reading config
        no such file
    pod space/app-1: the kubelet cannot start main: CreateContainerConfigError: secret "x" not found
    pod space/app-1: it is being started: Readiness probe failed: HTTP probe failed with statuscode: 500
    pod space/app-1: main runs and is not ready: Readiness probe failed: HTTP probe failed with statuscode: 500
    pod space/app-1: the kubelet cannot start the pod: Evicted: The node was low on resource: memory.
    "#);
}

#[tokio::test]
async fn what_could_not_be_started_says_why() {
    let error =
        json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: \"/app\": no such file"}});
    let (said, _) = not_ready(json!({"containerStatuses": [container(error)]})).await;
    assert!(
        said.ends_with("main ended with 128 (StartError), restarted 3 times\n    exec: \"/app\": no such file"),
        "{said}"
    );
}

#[tokio::test]
async fn the_log_of_the_container_that_crashed_is_asked_for() {
    let crash = json!({"containerStatuses": [container(json!({"waiting": {"reason": "CrashLoopBackOff"}}))]});
    let lines = not_ready(crash).await.1;
    let log = lines.iter().find(|line| line.contains("/log")).unwrap();
    assert!(log.contains("container=main") && log.contains("previous=true") && log.contains("tailLines=8"), "{log}");
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_not_waited_for() {
    let status = json!({"containerStatuses": [container(json!({"waiting":
        {"reason": "ErrImagePull", "message": "registry.macula.local/app:v2: not found"}}))]});
    let server = Server::start(move |request| match request.path() {
        "/apis/apps/v1/namespaces/space/deployments/app" => json_answer(200, deployment(0)),
        _ => json_answer(200, pod(status.clone())),
    })
    .await;
    let hour = Duration::from_secs(3600);
    let error = server.kubernetes.ready(&addon(vec![]), hour).await.unwrap_err();
    let trouble = &error.reasons[0].trouble;
    assert!(matches!(trouble, Trouble::Image { trouble: ImageTrouble::Gone, .. }), "{trouble:?}");
}

#[tokio::test]
async fn waiting_ends_when_the_pods_are_there() {
    let mut looks = 0;
    let server = Server::start(move |_| {
        looks += 1;
        json_answer(200, deployment(i32::from(looks > 2)))
    })
    .await;
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    server.kubernetes.ready_telling(&addon(vec![]), Duration::from_secs(60), &tell).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["0 of 1 pods are ready"]);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn an_old_generation_is_not_ready() {
    let mut object = deployment(1);
    object["metadata"]["generation"] = json!(3);
    let server = Server::start(move |request| match request.path() {
        "/api/v1/namespaces/space/pods" => {
            json_answer(200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []}))
        }
        _ => json_answer(200, object.clone()),
    })
    .await;
    let error = server.kubernetes.ready(&addon(vec![]), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "Deployment space/app: 1 of 1 pods are ready");
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
    let server = Server::start(move |request| {
        if let Some(answer) = discovery(request) {
            return answer;
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
    assert_eq!(deletions.len(), 2);
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

/// What nobody claims falls back to one pod.
#[tokio::test]
async fn a_number_of_pods_that_is_left_to_an_autoscaler_stays_until_it_counts() {
    let deployment = |replicas: Value| {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "space"}, "spec": {"selector": {}, "template": {}}});
        if !replicas.is_null() {
            object["spec"]["replicas"] = replicas;
        }
        object
    };
    let there = |fields: Value| {
        let mut object = deployment(json!(5));
        object["metadata"]["managedFields"] = json!([{"manager": "macula", "operation": "Apply", "fieldsV1": fields}]);
        object
    };
    let claimed = there(json!({"f:spec": {"f:replicas": {}}}));
    let free = there(json!({"f:spec": {"f:selector": {}}}));
    for (object, wanted, holds) in
        [(&claimed, Value::Null, true), (&claimed, json!(4), false), (&free, Value::Null, false)]
    {
        let answer = object.clone();
        let server = Server::start(move |_| json_answer(200, answer.clone())).await;
        server.kubernetes.apply(&addon(vec![deployment(wanted.clone())])).await.unwrap();
        let requests: Vec<Request> = std::mem::take(&mut *server.requests.lock().unwrap());
        let lines: Vec<String> = requests.iter().map(Request::line).collect();
        let held: Vec<&Request> = requests.iter().filter(|one| one.target.contains("macula-replicas")).collect();
        assert_eq!(held.len(), usize::from(holds), "{wanted} {lines:?}");
        if let Some(held) = held.first() {
            assert_eq!(held.body["spec"], json!({"replicas": 5}));
            assert!(lines.last().unwrap().contains("fieldManager=macula&"), "and then it is applied: {lines:?}");
        }
        // a look holds nothing
        server.kubernetes.drift(&addon(vec![deployment(wanted)])).await.unwrap();
        assert!(server.lines().iter().all(|line| !line.contains("macula-replicas")), "{:?}", server.lines());
    }
}

/// What is put into a namespace that is on its way out goes with it.
#[tokio::test]
async fn a_namespace_on_its_way_out_is_waited_for_and_made_anew() {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}});
    let mut leaving = namespace.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    leaving["status"] = json!({"phase": "Terminating", "conditions": [
        {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "all content removed"},
        {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods. has 1 resource instances"}]});
    for goes in [true, false] {
        let (leaving, made) = (leaving.clone(), namespace.clone());
        let mut looks = 0;
        let server = Server::start(move |request| {
            looks += 1;
            match request.method.as_str() {
                "GET" if looks > 2 && goes => no(404, "NotFound", "not there"),
                "GET" => json_answer(200, leaving.clone()),
                _ => json_answer(201, made.clone()),
            }
        })
        .await;
        let kubernetes = server.kubernetes.clone().with_patience(Duration::from_secs(if goes { 5 } else { 0 }));
        let applied = kubernetes.apply(&addon(vec![namespace.clone()])).await;
        match goes {
            true => assert_eq!(applied.unwrap().created, ["Namespace space"]),
            false => {
                insta::assert_snapshot!(applied.unwrap_err(), @"cannot apply Namespace space: it is being terminated: Some resources are remaining: pods. has 1 resource instances")
            }
        }
        assert_eq!(server.lines().iter().any(|line| line.starts_with("PATCH")), goes);
    }
}

/// A team that has a namespace need not be one that makes them.
#[tokio::test]
async fn a_namespace_that_may_not_be_changed_is_left_where_it_is_as_it_should_be() {
    let namespace = |label: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space", "labels": {"a": label}}});
    let there = namespace("b");
    let server = Server::start(move |request| match request.method.as_str() {
        "GET" => json_answer(200, there.clone()),
        _ => {
            no(403, "Forbidden", "namespaces \"space\" is forbidden: User \"me\" cannot patch resource \"namespaces\"")
        }
    })
    .await;
    let unchanged = server.kubernetes.apply(&addon(vec![namespace("b")])).await.unwrap();
    assert_eq!(unchanged, Applied { unchanged: 1, ..Applied::default() });
    let refused = server.kubernetes.apply(&addon(vec![namespace("c")])).await.unwrap_err();
    assert!(matches!(refused, KubernetesError::Refused { code: 403, .. }), "{refused}");
}
