//! Stacks, with an API server in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api as Memory;
use super::server::Server;
use super::*;
use crate::compile::addons::{AddOn, Workload, WorkloadKind};
use crate::compile::targets::{Options, Rendered, Target, placeholders, translate};
use crate::config::{MemoryFiles, Request, load};

pub(super) const OWNER: StackOwner<'static> =
    StackOwner { platform: "macula", stack: Some("shop"), namespace: Some("shop") };

pub(super) const SHOP: &str = "
services:
  db: {image: 'db:1', volumes: ['data:/data'], secrets: [pw], expose: [5432]}
  migrate: {image: 'web:1', x-macula: {once: true}, depends_on: [db]}
  web:
    image: web:1
    depends_on: {migrate: {condition: service_completed_successfully}}
    ports: ['8080:80', '0.0.0.0:8443:443']
    networks: [front]
    configs: [{source: motd, target: /etc/motd}]
    deploy: {replicas: 2}
    x-macula: {ingress: [{host: web, port: 80}]}
  each: {image: 'log:1', deploy: {mode: global}}
  busy:
    image: busy:1
    deploy: {resources: {reservations: {cpus: '0.1'}}}
    x-macula: {scale: {min: 1, max: 3, cpu: 50}}
volumes: {data: {}}
networks: {front: {}}
configs: {motd: {content: hello}}
secrets: {pw: {file: ./pw}}
";

/// The objects of a stack `shop`.
pub(super) fn objects(text: &str) -> Vec<Value> {
    objects_of(&format!("name: shop\n{text}")).unwrap_or_else(|error| panic!("{error}"))
}

/// Those of a whole file.
pub(super) fn objects_of(text: &str) -> Result<Vec<Value>, String> {
    let files = MemoryFiles::default()
        .with("/w/compose.yaml", text)
        .with("/w/pw", "secret")
        .with("/w/f", "content of a file")
        .with("/w/e.env", "E=1\n")
        .with("/w/other.yaml", "services: {other: {image: 'z:1'}}");
    let request = Request {
        cwd: "/w".into(),
        env: [("HOME".to_owned(), "/home/user".to_owned())].into(),
        stacks: vec!["/w/compose.yaml".into()],
        only_own: true,
        orchestrated: true,
        ..Request::default()
    };
    let loaded = load(&request, &files).map_err(|errors| errors.to_string())?;
    let stack = loaded.platform.stacks.last().unwrap();
    let options =
        Options { waiting: None, registry: "registry.macula.local", namespace: None, hidden: false, version: "1" };
    let (said, secrets) = (loaded.said(&stack.name), placeholders(&loaded.platform));
    let translated = translate(Target::Kubernetes, &loaded.platform, stack, &said, &secrets, &options);
    match translated.map_err(|error| error.to_string())?.rendered {
        Rendered::Kubernetes(objects) => Ok(objects),
        Rendered::Swarm(_) => Err("of a swarm".to_owned()),
    }
}

pub(super) async fn server() -> (Server, Arc<Mutex<Memory>>) {
    let memory = Arc::new(Mutex::new(Memory::default()));
    let asked = Arc::clone(&memory);
    let server = Server::start(move |request| {
        Some(asked.lock().unwrap().answer(&request.method, &request.target, &request.body))
    })
    .await;
    (server, memory)
}

fn workload(kind: WorkloadKind, name: &str) -> Workload {
    Workload { kind, namespace: "shop".into(), name: name.into() }
}

async fn rolled_out(server: &Server, kind: WorkloadKind, name: &str, patience: Duration) -> Result<(), NotReady> {
    server.kubernetes.rolled_out(&workload(kind, name), patience, true, &|_| {}).await
}

const HOUR: Duration = Duration::from_secs(3600);

/// Nothing is left behind because it was not asked for: every kind that stacks are written in is looked at.
#[tokio::test]
async fn everything_that_a_stack_makes_goes_again() {
    let (server, memory) = server().await;
    let objects = objects(SHOP);
    let kinds: std::collections::BTreeSet<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    server.kubernetes.apply_objects(objects.clone()).await.unwrap();
    let gone = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
    assert!(gone.kept.is_empty() && gone.others.is_empty(), "{gone:?}");
    assert_eq!(gone.removed.len(), objects.len(), "{gone:?}");
    assert_eq!(memory.lock().unwrap().names(), [""; 0]);
}

#[tokio::test]
async fn claims_stay_and_so_does_their_namespace() {
    let (server, memory) = server().await;
    let all = objects(SHOP);
    server.kubernetes.apply_objects(all.clone()).await.unwrap();
    // without the volume and web, and with a claim that is no longer said
    let less = objects("services: {db: {image: 'db:1'}}");
    let would = server.kubernetes.prune_stack(OWNER, &less, true).await.unwrap();
    assert!(would.contains(&"Deployment shop/web".to_owned()) && would.contains(&"StatefulSet shop/db".to_owned()));
    assert_eq!(memory.lock().unwrap().names().len(), all.len(), "a dry run deletes nothing");
    assert_eq!(server.kubernetes.prune_stack(OWNER, &less, false).await.unwrap(), would);
    let left = ["namespaces/shop", "persistentvolumeclaims/data", "services/db"];
    assert_eq!(memory.lock().unwrap().names(), left);

    let gone = server.kubernetes.remove_stack(OWNER, "shop", false).await.unwrap();
    assert_eq!(gone.removed, ["Service shop/db"]);
    assert_eq!(gone.kept, ["PersistentVolumeClaim shop/data"]);
    assert_eq!(memory.lock().unwrap().names(), ["namespaces/shop", "persistentvolumeclaims/data"]);
    assert!(server.kubernetes.ended(OWNER, "shop", Duration::ZERO).await.unwrap().is_empty());
}

/// The same stack in another namespace, another platform's, and what nobody labeled.
#[tokio::test]
async fn what_is_not_the_stacks_is_never_touched() {
    let (server, memory) = server().await;
    let all = objects(SHOP);
    server.kubernetes.apply_objects(all.clone()).await.unwrap();
    let text = serde_json::to_string(&all).unwrap().replace("\"namespace\":\"shop\"", "\"namespace\":\"team\"");
    let elsewhere: Vec<Value> = serde_json::from_str::<Vec<Value>>(&text).unwrap();
    let elsewhere: Vec<Value> = elsewhere.into_iter().filter(|object| object["kind"] != "Namespace").collect();
    memory.lock().unwrap().put("/api/v1/namespaces/team", json!({"kind": "Namespace", "metadata": {"name": "team"}}));
    server.kubernetes.apply_objects(elsewhere.clone()).await.unwrap();
    let theirs = json!({"metadata": {"name": "theirs", "namespace": "shop"}});
    memory.lock().unwrap().put("/api/v1/namespaces/shop/configmaps/theirs", theirs);
    let root = json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "shop"}});
    memory.lock().unwrap().put("/api/v1/namespaces/shop/configmaps/kube-root-ca.crt", root);

    assert_eq!(server.kubernetes.prune_stack(OWNER, &all, true).await.unwrap(), [""; 0]);
    let other = StackOwner { platform: "other", ..OWNER };
    assert_eq!(server.kubernetes.remove_stack(other, "shop", true).await.unwrap(), StackRemoved::default());
    let gone = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
    assert_eq!(gone.others, ["ConfigMap theirs"]);
    assert!(!gone.removed.contains(&"Namespace shop".to_owned()));
    let team = memory.lock().unwrap().objects.keys().filter(|path| path.contains("/namespaces/team/")).count();
    assert_eq!(team, elsewhere.len());
    // a namespace that was there before stays
    let there = StackOwner { namespace: Some("team"), ..OWNER };
    let gone = server.kubernetes.remove_stack(there, "team", true).await.unwrap();
    assert_eq!((gone.removed.len(), gone.others.len()), (elsewhere.len(), 0));
    assert!(memory.lock().unwrap().get("/namespaces/team").is_some());
}

/// It takes along everything in it, of types that no stack is made of as well.
#[tokio::test]
async fn a_namespace_goes_when_nothing_else_is_seen_to_live_in_it() {
    let named = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}});
    let owned = |name: &str, api: &str, kind: &str| {
        let owner = json!([{"apiVersion": api, "kind": kind, "name": "theirs", "uid": "u"}]);
        json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": owner}})
    };
    let cluster = "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters/theirs";
    for (path, object, others) in [
        ("/apis/batch/v1/namespaces/shop/cronjobs/backup", named("backup"), vec!["CronJob backup"]),
        (cluster, named("theirs"), vec!["Cluster theirs"]),
        // its owner lives elsewhere, and would miss it
        ("/api/v1/namespaces/shop/secrets/key", owned("key", "example.test/v1", "Tenant"), vec!["Secret key"]),
        // goes with its owner, which is looked at itself
        ("/api/v1/namespaces/shop/pods/pg-1", owned("pg-1", "postgresql.cnpg.io/v1", "Cluster"), Vec::new()),
        ("/api/v1/namespaces/shop/serviceaccounts/default", named("default"), Vec::new()),
        ("/api/v1/namespaces/shop/events/e", named("e"), Vec::new()),
    ] {
        let (server, memory) = server().await;
        server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
        memory.lock().unwrap().put(path, object);
        let gone = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
        assert_eq!(gone.removed.contains(&"Namespace shop".to_owned()), others.is_empty(), "{path}");
        assert_eq!(gone.others, others, "{path}");
        assert!(gone.unseen.is_empty(), "{path}: {:?}", gone.unseen);
    }
    for (part, code) in [("/cronjobs", 403), ("/clusters", 503)] {
        let (server, memory) = server().await;
        server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
        memory.lock().unwrap().no = vec![("GET", part, code, "No", "not now".into())];
        let gone = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
        assert!(gone.others.is_empty() && !gone.removed.contains(&"Namespace shop".to_owned()), "{gone:?}");
        assert_eq!(gone.unseen, [part.trim_start_matches('/')]);
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_found_before_anything_is_written() {
    let (server, memory) = server().await;
    let all = objects(&SHOP.replace("secrets: {pw: {file: ./pw}}", "secrets: {pw: {external: true}}"));
    let found = server.kubernetes.foreign(OWNER, &all).await.unwrap();
    assert_eq!(found, Foreign { missing: vec![("Secret".into(), "pw".into())], ..Foreign::default() });
    {
        let mut memory = memory.lock().unwrap();
        let named = |name: &str| json!({"metadata": {"name": name, "namespace": "shop", "labels": {"team": "a"}}});
        memory.put("/api/v1/namespaces/shop", json!({"kind": "Namespace", "metadata": {"name": "shop"}}));
        memory.put("/api/v1/namespaces/shop/secrets/pw", named("pw"));
        memory.put("/apis/apps/v1/namespaces/shop/deployments/web", named("web"));
    }
    let found = server.kubernetes.foreign(OWNER, &all).await.unwrap();
    let objects = vec!["Deployment shop/web".to_owned()];
    assert_eq!(found, Foreign { objects, namespace: true, ..Foreign::default() });
    // who may not look at the namespace has it from somebody, and a secret that cannot be seen may be there
    let said = "is forbidden: User \"a\" cannot get resource".to_owned();
    memory.lock().unwrap().objects.remove("/api/v1/namespaces/shop");
    memory.lock().unwrap().no = vec![
        ("GET", "/secrets/pw", 403, "Forbidden", said.clone()),
        ("GET", "/namespaces/shop", 403, "Forbidden", said),
        ("GET", "/deployments/web", 404, "NotFound", "not there".into()),
    ];
    let found = server.kubernetes.foreign(OWNER, &all).await.unwrap();
    assert_eq!(found, Foreign { namespace: true, ..Foreign::default() });
    assert_eq!(memory.lock().unwrap().writes(), [""; 0]);
}

#[tokio::test]
async fn what_stands_in_the_way_says_whose_it_is() {
    let (server, memory) = server().await;
    let web = objects("services: {web: {image: 'web:1'}}");
    let deployed_by = |platform: &str, stack: &str| {
        let owner = StackOwner { platform, stack: Some(stack), namespace: None };
        json!({"labels": owner.labels()})
    };
    let release = json!({"meta.helm.sh/release-name": "site", "meta.helm.sh/release-namespace": "shop"});
    let managed = json!({"app.kubernetes.io/managed-by": "Helm"});
    let owner = json!([{"apiVersion": "example.test/v1", "kind": "Tenant", "name": "a", "uid": "u"}]);
    let written = json!([
        {"manager": "kube-controller-manager", "operation": "Update"},
        {"manager": "mesh", "operation": "Update", "subresource": "status"},
        {"manager": "kubectl-client-side-apply", "operation": "Update"},
    ]);
    for (metadata, name, by) in [
        (json!({"annotations": release, "labels": managed}), "Deployment shop/web (of the Helm release site)", None),
        (json!({"ownerReferences": owner}), "Deployment shop/web (of Tenant a)", None),
        (json!({"labels": managed}), "Deployment shop/web (managed by Helm)", None),
        (json!({"managedFields": written}), "Deployment shop/web (written by kubectl-client-side-apply)", None),
        (json!({}), "Deployment shop/web", None),
        (deployed_by("w2", "shop"), "Deployment shop/web", Some("w2")),
    ] {
        let mut object = json!({"metadata": metadata});
        object["metadata"]["name"] = json!("web");
        object["metadata"]["namespace"] = json!("shop");
        memory.lock().unwrap().put("/apis/apps/v1/namespaces/shop/deployments/web", object);
        let found = server.kubernetes.foreign(OWNER, &web).await.unwrap();
        assert_eq!((found.objects, found.by.as_deref()), (vec![name.to_owned()], by), "{metadata}");
    }
    // by another stack of this platform
    let mut object = json!({"metadata": deployed_by("macula", "second")});
    object["metadata"]["name"] = json!("web");
    memory.lock().unwrap().put("/apis/apps/v1/namespaces/shop/deployments/web", object);
    let found = server.kubernetes.foreign(OWNER, &web).await.unwrap();
    assert_eq!((found.stacks, found.by), (vec!["second".to_owned()], None));
}

#[tokio::test]
async fn the_api_server_is_asked_whether_it_would_take_a_stack() {
    let (server, memory) = server().await;
    let all = objects(SHOP);
    // nothing of it can be asked about before its namespace is there, which is no trouble
    server.kubernetes.check_objects(&all).await.unwrap();
    server.kubernetes.apply_objects(all.clone()).await.unwrap();
    let before = memory.lock().unwrap().writes().len();
    let changed = objects(&SHOP.replace("web:1", "web:2"));
    let would = server.kubernetes.compare_objects(changed.clone()).await.unwrap();
    assert_eq!(
        (would.created.len(), would.changed),
        (0, vec!["Deployment shop/web".into(), "Job shop/migrate".into()])
    );
    let said = "deployments.apps \"web\" is forbidden: exceeded quota: small".to_owned();
    memory.lock().unwrap().no = vec![("PATCH", "/deployments/web", 403, "Forbidden", said)];
    let error = server.kubernetes.check_objects(&changed).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"cannot apply Deployment shop/web: deployments.apps "web" is forbidden: exceeded quota: small"#);
    // whatever code it comes with
    let said = "admission webhook \"a\" denied the request: gone".to_owned();
    memory.lock().unwrap().no = vec![("PATCH", "/deployments/web", 404, "NotFound", said)];
    server.kubernetes.check_objects(&changed).await.unwrap_err();
    let said = "admission webhook \"a\" does not support dry run".to_owned();
    memory.lock().unwrap().no = vec![("PATCH", "/deployments/web", 400, "BadRequest", said)];
    server.kubernetes.check_objects(&changed).await.unwrap();
    // one that does not answer lets nothing pass, unless it is back in a moment
    let said = "Internal error occurred: failed calling webhook \"a\": no endpoints available".to_owned();
    memory.lock().unwrap().no = vec![("PATCH", "/deployments/web", 500, "InternalError", said)];
    let hasty = server.kubernetes.clone().with_patience(Duration::ZERO);
    let error = hasty.check_objects(&changed).await.unwrap_err();
    assert!(error.to_string().contains("no endpoints available"), "{error}");
    let back = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        memory.lock().unwrap().no.clear();
    };
    let (checked, ()) = tokio::join!(server.kubernetes.check_objects(&changed), back);
    checked.unwrap();
    assert_eq!(memory.lock().unwrap().writes().len(), before, "a question writes nothing");
}

/// A first deployment makes its namespace, and until then nothing can be asked about what goes into it.
#[tokio::test]
async fn what_no_api_server_takes_is_told_before_its_namespace_is_made() {
    let (server, memory) = server().await;
    let all = objects(SHOP);
    let default = json!({"kind": "Namespace", "metadata": {"name": "default"}});
    memory.lock().unwrap().put("/api/v1/namespaces/default", default);
    server.kubernetes.check_objects(&all).await.unwrap();
    let refused = |code, reason, said: &str| {
        memory.lock().unwrap().no =
            vec![("PATCH", "/namespaces/default/deployments/web", code, reason, said.to_owned())];
    };
    refused(422, "Invalid", "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1");
    let error = server.kubernetes.check_objects(&all).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"cannot apply Deployment shop/web: Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1"#);
    refused(404, "NotFound", "the server could not find the requested resource");
    let error = server.kubernetes.check_objects(&all).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot apply Deployment shop/web: the server could not find the requested resource");
    memory.lock().unwrap().no.clear();
    memory.lock().unwrap().without = vec!["daemonsets"];
    let error = server.kubernetes.check_objects(&all).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot read DaemonSet shop/each: the server could not find the requested resource");
    memory.lock().unwrap().without.clear();
    // who may do what in `default`, and what is there of that name, is another matter
    refused(403, "Forbidden", "deployments.apps \"web\" is forbidden: exceeded quota: small");
    server.kubernetes.check_objects(&all).await.unwrap();
    // nor do rules that may go by the namespace count there
    refused(400, "BadRequest", "admission webhook \"validate.kyverno.svc\" denied the request: not in default");
    server.kubernetes.check_objects(&all).await.unwrap();
    refused(422, "Invalid", "ValidatingAdmissionPolicy 'a' with binding 'a' denied request: not in default");
    server.kubernetes.check_objects(&all).await.unwrap();
    refused(422, "Invalid", "Deployment.apps \"web\" is invalid: spec.strategy.rollingUpdate: Forbidden");
    let theirs = json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}});
    memory.lock().unwrap().put("/apis/apps/v1/namespaces/default/deployments/web", theirs);
    server.kubernetes.check_objects(&all).await.unwrap();
    assert_eq!(memory.lock().unwrap().writes(), [""; 0]);

    // nor is anything deleted for what then cannot be made
    memory.lock().unwrap().no.clear();
    server.kubernetes.apply_objects(all).await.unwrap();
    let said = "Job.batch \"migrate\" is invalid: spec.template.spec.hostname: Invalid value: \"A.B\"".to_owned();
    memory.lock().unwrap().no = vec![("PATCH", "/namespaces/default/jobs/migrate", 422, "Invalid", said)];
    let changed = objects(&SHOP.replace("web:1", "web:2"));
    let error = server.kubernetes.check_objects(&changed).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"cannot apply Job shop/migrate: Job.batch "migrate" is invalid: spec.template.spec.hostname: Invalid value: "A.B""#);
    assert!(memory.lock().unwrap().get("/shop/jobs/migrate").is_some());
}

#[tokio::test]
async fn a_job_that_failed_is_told_and_tried_again() {
    let (server, memory) = server().await;
    let crash = json!({"phase": "Failed", "containerStatuses": [{"name": "migrate", "image": "web:1", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]});
    {
        let mut memory = memory.lock().unwrap();
        memory.sick.insert("migrate".into(), crash);
        memory.logs.insert("migrate-1".into(), "no such table\n".into());
    }
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let job = workload(WorkloadKind::Job, "migrate");
    let failed = rolled_out(&server, WorkloadKind::Job, "migrate", HOUR).await.unwrap_err();
    insta::assert_snapshot!(failed, @"
    Job shop/migrate: it failed: Job has reached the specified backoff limit
    pod shop/migrate-1: migrate ended with 3 (Error), restarted 0 times
        no such table
    ");
    memory.lock().unwrap().sick.clear();
    assert!(server.kubernetes.forget_failed(&job).await.unwrap());
    assert!(!memory.lock().unwrap().names().contains(&"jobs/migrate".to_owned()));
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    rolled_out(&server, WorkloadKind::Job, "migrate", HOUR).await.unwrap();
    assert!(!server.kubernetes.forget_failed(&job).await.unwrap(), "what is done stays done");
}

fn crashing(restarts: i32) -> Value {
    json!({"containerStatuses": [{"name": "web", "image": "web:1", "imageID": "", "ready": false,
        "restartCount": restarts, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]})
}

#[tokio::test]
async fn a_container_that_ended_three_times_is_not_waited_for() {
    let (server, memory) = server().await;
    memory.lock().unwrap().sick.insert("web".into(), crashing(2));
    memory.lock().unwrap().logs.insert("web-1".into(), "no database at db:5432\n".into());
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let failed = rolled_out(&server, WorkloadKind::Deployment, "web", HOUR).await.unwrap_err();
    insta::assert_snapshot!(failed, @"
    pod shop/web-1: web ended with 1 (Error), restarted 2 times
        no database at db:5432
    ");
    // an add-on may need others that come later
    let web = Workload { kind: WorkloadKind::Deployment, namespace: "shop".into(), name: "web".into() };
    let addon = AddOn { waits: vec![web], ..super::stack::package(Vec::new()) };
    let began = std::time::Instant::now();
    server.kubernetes.ready(&addon, Duration::from_millis(1500)).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

/// Without a probe a pod is ready as soon as its program has started.
#[tokio::test]
async fn what_ends_at_once_has_not_run() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let ends = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut memory = memory.lock().unwrap();
        memory.sick.insert("web".into(), crashing(2));
        memory.run("/apis/apps/v1/namespaces/shop/deployments/web");
    };
    let (ended, ()) = tokio::join!(rolled_out(&server, WorkloadKind::Deployment, "web", HOUR), ends);
    assert!(ended.unwrap_err().to_string().contains("web ended with 1 (Error)"));
    memory.lock().unwrap().sick.clear();
    memory.lock().unwrap().run("/apis/apps/v1/namespaces/shop/deployments/web");
    let began = std::time::Instant::now();
    // one that stays ready counts also where its time is up
    rolled_out(&server, WorkloadKind::Deployment, "web", Duration::ZERO).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
    // and one that was not touched needs to show nothing
    let web = workload(WorkloadKind::Deployment, "web");
    let began = std::time::Instant::now();
    server.kubernetes.rolled_out(&web, HOUR, false, &|_| {}).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// What an older specification left does not end the wait for a newer one.
#[tokio::test]
async fn only_the_newest_pods_count() {
    let (server, memory) = server().await;
    memory.lock().unwrap().sick.insert("web".into(), crashing(9));
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    {
        let mut memory = memory.lock().unwrap();
        let web = "/apis/apps/v1/namespaces/shop/deployments/web";
        let labels = memory.objects[web]["spec"]["selector"]["matchLabels"].clone();
        memory.objects.get_mut(web).unwrap()["metadata"]["annotations"] =
            json!({"deployment.kubernetes.io/revision": "2"});
        for (name, revision) in [("old", "1"), ("new", "2")] {
            let mut labels = labels.clone();
            labels["pod-template-hash"] = json!(name);
            let annotations = json!({"deployment.kubernetes.io/revision": revision});
            let metadata = json!({"name": name, "namespace": "shop", "labels": labels, "annotations": annotations});
            memory.put(&format!("/apis/apps/v1/namespaces/shop/replicasets/{name}"), json!({"metadata": metadata}));
        }
        let old = memory.objects.get_mut("/api/v1/namespaces/shop/pods/web-1").unwrap();
        old["metadata"]["labels"]["pod-template-hash"] = json!("old");
    }
    let failed = rolled_out(&server, WorkloadKind::Deployment, "web", Duration::ZERO).await.unwrap_err();
    assert_eq!(failed.to_string(), "Deployment shop/web: 0 of 2 pods are ready");
}

/// <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>
#[tokio::test]
async fn an_old_pod_does_not_block_a_stateful_set() {
    let (server, memory) = server().await;
    memory.lock().unwrap().sick.insert("db".into(), crashing(9));
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let pod = "/api/v1/namespaces/shop/pods/db-1";
    let revised = |of_pod: &str| {
        let mut memory = memory.lock().unwrap();
        let set = memory.objects.get_mut("/apis/apps/v1/namespaces/shop/statefulsets/db").unwrap();
        set["status"]["updateRevision"] = json!("db-2");
        memory.objects.get_mut(pod).unwrap()["metadata"]["labels"]["controller-revision-hash"] = json!(of_pod);
    };
    revised("db-2");
    rolled_out(&server, WorkloadKind::StatefulSet, "db", Duration::ZERO).await.unwrap_err();
    assert!(memory.lock().unwrap().objects.contains_key(pod), "a pod of the newest specification stays");
    revised("db-1");
    let failed = rolled_out(&server, WorkloadKind::StatefulSet, "db", Duration::ZERO).await.unwrap_err();
    assert!(!memory.lock().unwrap().objects.contains_key(pod));
    assert_eq!(failed.to_string(), "StatefulSet shop/db: 0 of 1 pods are ready");
    // what says no to its pods is in its events
    let uid = memory.lock().unwrap().get("/statefulsets/db").unwrap()["metadata"]["uid"].clone();
    let event = json!({"metadata": {"name": "e", "namespace": "shop"}, "type": "Warning", "reason": "FailedCreate",
        "involvedObject": {"kind": "StatefulSet", "name": "db", "uid": uid},
        "message": "pods \"db-0\" is forbidden: exceeded quota: small"});
    // and those of an earlier one of that name are there for an hour
    let mut earlier = event.clone();
    earlier["involvedObject"]["uid"] = json!("earlier");
    earlier["message"] = json!("the node was low on resource: memory");
    earlier["lastTimestamp"] = json!("2026-01-01T00:00:00Z");
    memory.lock().unwrap().put("/api/v1/namespaces/shop/events/e", event);
    memory.lock().unwrap().put("/api/v1/namespaces/shop/events/f", earlier);
    let failed = rolled_out(&server, WorkloadKind::StatefulSet, "db", Duration::ZERO).await.unwrap_err();
    insta::assert_snapshot!(failed, @r#"StatefulSet shop/db: 0 of 1 pods are ready: pods "db-0" is forbidden: exceeded quota: small"#);
}

/// Where there is no class to make a volume of, the claim says so, and its pod only that it has none.
#[tokio::test]
async fn a_pod_without_its_volume_says_what_its_claim_says() {
    let (server, memory) = server().await;
    let nowhere = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    let pod = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": nowhere}]});
    memory.lock().unwrap().sick.insert("db".into(), pod);
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let event = json!({"metadata": {"name": "e", "namespace": "shop"}, "type": "Normal", "reason": "FailedBinding",
        "involvedObject": {"kind": "PersistentVolumeClaim", "name": "data"},
        "message": "no persistent volumes available for this claim and no storage class is set"});
    let volumes =
        json!([{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    {
        let mut memory = memory.lock().unwrap();
        memory.put("/api/v1/namespaces/shop/events/e", event);
        memory.objects.get_mut("/api/v1/namespaces/shop/pods/db-1").unwrap()["spec"]["volumes"] = volumes;
    }
    let failed = rolled_out(&server, WorkloadKind::StatefulSet, "db", Duration::ZERO).await.unwrap_err();
    insta::assert_snapshot!(failed, @"pod shop/db-1: no node takes it: 0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.; claim data: no persistent volumes available for this claim and no storage class is set");
}

/// A role that is made for a stack need not have what the stack has not.
#[tokio::test]
async fn a_user_who_may_see_no_more_than_the_stack_has_is_enough() {
    let (server, memory) = server().await;
    let small = objects("services: {web: {image: 'web:1', expose: [80]}}");
    server.kubernetes.apply_objects(small.clone()).await.unwrap();
    let no = |kinds: &[&'static str]| -> Vec<super::api::No> {
        kinds.iter().map(|kind| ("GET", *kind, 403, "Forbidden", format!("User \"me\" cannot list {kind}"))).collect()
    };
    memory.lock().unwrap().no = no(&["/daemonsets", "/horizontalpodautoscalers", "/jobs", "/secrets"]);
    assert_eq!(server.kubernetes.prune_stack(OWNER, &small, true).await.unwrap(), [""; 0]);
    assert_eq!(server.kubernetes.stack_workloads(OWNER).await.unwrap().len(), 1);
    memory.lock().unwrap().no = no(&["/services"]);
    let error = server.kubernetes.prune_stack(OWNER, &small, true).await.unwrap_err();
    assert!(matches!(error, KubernetesError::Refused { code: 403, .. }), "{error}");
    memory.lock().unwrap().no = no(&["/deployments", "/statefulsets", "/daemonsets", "/jobs"]);
    let error = server.kubernetes.stack_workloads(OWNER).await.unwrap_err();
    assert!(matches!(error, KubernetesError::Refused { code: 403, .. }), "{error}");
}

/// Nor need it have what only tells how things stand.
#[tokio::test]
async fn a_user_who_may_not_see_pods_hears_of_the_workload_and_removes_it() {
    let (server, memory) = server().await;
    memory.lock().unwrap().sick.insert("web".into(), crashing(0));
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let no = |kind| ("GET", kind, 403, "Forbidden", "User \"me\" cannot list resource".to_owned());
    memory.lock().unwrap().no = vec![no("/pods"), no("/persistentvolumeclaims")];
    let failed = rolled_out(&server, WorkloadKind::Deployment, "web", Duration::ZERO).await.unwrap_err();
    insta::assert_snapshot!(failed, @r#"Deployment shop/web: 0 of 2 pods are ready: cannot list pods in shop: User "me" cannot list resource"#);
    let before = memory.lock().unwrap().names();
    server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap_err();
    assert_eq!(memory.lock().unwrap().names(), before, "who may not remove all of it removes nothing");
    let gone = server.kubernetes.remove_stack(OWNER, "shop", false).await.unwrap();
    assert_eq!(gone.unseen, ["persistentvolumeclaims", "pods"]);
    let names = memory.lock().unwrap().names();
    assert!(
        names.contains(&"persistentvolumeclaims/data".to_owned()) && !names.contains(&"deployments/web".to_owned())
    );
    assert_eq!(server.kubernetes.ended(OWNER, "shop", Duration::ZERO).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn nothing_goes_where_a_part_of_it_may_not() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let written = memory.lock().unwrap().writes();
    let no = |part| vec![("DELETE", part, 403, "Forbidden", "User \"me\" cannot delete resource".to_owned())];
    memory.lock().unwrap().no = no("/secrets/db-files");
    server.kubernetes.remove_stack(OWNER, "shop", false).await.unwrap_err();
    let less = objects("services: {db: {image: 'db:1'}}");
    server.kubernetes.prune_stack(OWNER, &less, true).await.unwrap_err();
    memory.lock().unwrap().no = no("/persistentvolumeclaims/data");
    let error = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"cannot delete PersistentVolumeClaim shop/data: User "me" cannot delete resource"#);
    assert_eq!(memory.lock().unwrap().writes(), written);
    let gone = server.kubernetes.remove_stack(OWNER, "shop", false).await.unwrap();
    assert_eq!(gone.kept, ["PersistentVolumeClaim shop/data"]);
}

#[tokio::test]
async fn what_a_cluster_puts_into_each_namespace_keeps_none_of_them() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    for (plural, kind, name) in [
        ("configmaps", "ConfigMap", "kube-root-ca.crt"),
        ("configmaps", "ConfigMap", "openshift-service-ca.crt"),
        ("serviceaccounts", "ServiceAccount", "default"),
    ] {
        let given = json!({"kind": kind, "metadata": {"name": name, "namespace": "shop"}});
        memory.lock().unwrap().put(&format!("/api/v1/namespaces/shop/{plural}/{name}"), given);
    }
    let gone = server.kubernetes.remove_stack(OWNER, "shop", true).await.unwrap();
    assert!(gone.others.is_empty() && gone.removed.contains(&"Namespace shop".to_owned()), "{gone:?}");
}

/// A finalizer of somebody else's keeps an object, and with it the namespace.
#[tokio::test]
async fn what_is_not_gone_yet_is_named() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    let ended = async || server.kubernetes.ended(OWNER, "shop", Duration::ZERO).await.unwrap();
    assert_eq!(ended().await, [""; 0]);
    {
        let mut memory = memory.lock().unwrap();
        for path in ["/api/v1/namespaces/shop/services/web", "/api/v1/namespaces/shop"] {
            memory.objects.get_mut(path).unwrap()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let message = "Some content in the namespace has finalizers remaining: cloud/balancer in 1 resource instances";
        let conditions = json!([{"type": "NamespaceFinalizersRemaining", "status": "True", "message": message},
            {"type": "NamespaceContentRemaining", "status": "False", "message": "All content successfully removed"}]);
        memory.objects.get_mut("/api/v1/namespaces/shop").unwrap()["status"] = json!({"conditions": conditions});
    }
    insta::assert_debug_snapshot!(ended().await, @r#"
    [
        "Service shop/web",
        "Namespace shop (Some content in the namespace has finalizers remaining: cloud/balancer in 1 resource instances)",
    ]
    "#);
}

#[tokio::test]
async fn a_service_for_each_node_says_that_there_is_none_for_it() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    {
        let mut memory = memory.lock().unwrap();
        let each = memory.objects.get_mut("/apis/apps/v1/namespaces/shop/daemonsets/each").unwrap();
        each["status"]["desiredNumberScheduled"] = json!(0);
        each["status"]["numberAvailable"] = json!(0);
    }
    let failed = rolled_out(&server, WorkloadKind::DaemonSet, "each", Duration::ZERO).await.unwrap_err();
    insta::assert_snapshot!(failed, @"DaemonSet shop/each: 0 of 0 pods are ready: the cluster has no node that it is to run on");
}

/// One that had an address and is to have none, or the other way round.
#[tokio::test]
async fn a_service_whose_address_cannot_change_is_made_again() {
    let (server, memory) = server().await;
    let service = |ports: &str| {
        let all = objects(&format!("services: {{web: {{image: 'web:1'{ports}}}}}"));
        all.into_iter().filter(|object| ["Namespace", "Service"].iter().any(|kind| object["kind"] == **kind)).collect()
    };
    server.kubernetes.apply_objects(service(", expose: [80]")).await.unwrap();
    let changed = server.kubernetes.apply_objects(service("")).await.unwrap().changed;
    assert_eq!(changed, ["Service shop/web"]);
    assert_eq!(memory.lock().unwrap().get("/services/web").unwrap()["spec"]["clusterIP"], "None");
    // the API server would leave it without one
    let would = server.kubernetes.compare_objects(service(", expose: [80]")).await.unwrap().changed;
    assert_eq!(would, ["Service shop/web"]);
    let changed = server.kubernetes.apply_objects(service(", expose: [80]")).await.unwrap().changed;
    assert_eq!(changed, ["Service shop/web"]);
    assert_eq!(memory.lock().unwrap().get("/services/web").unwrap()["spec"]["clusterIP"], Value::Null);
}

#[tokio::test]
async fn numbers_of_replicas_are_those_of_the_scale_of_a_workload() {
    let (server, memory) = server().await;
    server.kubernetes.apply_objects(objects(SHOP)).await.unwrap();
    server.kubernetes.scale(&workload(WorkloadKind::Deployment, "web"), 3).await.unwrap();
    assert_eq!(memory.lock().unwrap().get("/deployments/web").unwrap()["spec"]["replicas"], 3);
    let autoscaled =
        async |name| server.kubernetes.is_autoscaled(&workload(WorkloadKind::Deployment, name)).await.unwrap();
    assert_eq!((autoscaled("web").await, autoscaled("busy").await), (Some(false), Some(true)));
    // one that has nothing to count by
    let condition = json!({"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
        "message": "unable to get metrics for resource cpu: the server could not find the requested resource (get pods.metrics.k8s.io)"});
    {
        let mut memory = memory.lock().unwrap();
        let busy = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/busy";
        memory.objects.get_mut(busy).unwrap()["status"] = json!({"desiredReplicas": 1, "conditions": [condition]});
    }
    let rows = server.kubernetes.stack_workloads(OWNER).await.unwrap();
    let scaler = rows[0].scaler.clone().unwrap();
    assert_eq!((scaler.min, scaler.max), (1, 3));
    assert!(scaler.trouble.unwrap().contains("unable to get metrics for resource cpu"));
    assert!(rows[0].reasons.is_empty(), "it runs all the same");
    assert!(rows[1..].iter().all(|row| row.scaler.is_none()));
    let rows: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}/{} {:?} {:?}", row.workload, row.ready, row.wanted, row.images, row.writes))
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    Deployment shop/busy 1/1 ["busy:1"] []
    StatefulSet shop/db 1/1 ["db:1"] ["data"]
    DaemonSet shop/each 1/1 ["log:1"] []
    Job shop/migrate 1/1 ["web:1"] []
    Deployment shop/web 3/3 ["web:1"] []
    "#);
}

#[test]
fn what_runs_pods_is_known_by_its_kind() {
    let object = |kind: &str| json!({"kind": kind, "metadata": {"name": "db", "namespace": "shop"}});
    assert_eq!(workload_of(&object("StatefulSet")).unwrap().to_string(), "StatefulSet shop/db");
    assert_eq!(workload_of(&object("Service")), None);
}
