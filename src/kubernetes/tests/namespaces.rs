//! What is for each namespace that asks for it, and namespaces that are on their way out.

use super::*;

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
