//! An object is applied once and as it is wanted, whatever the API server says in between.

use super::*;

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

/// What is said of an object that is being deleted would go with it.
#[tokio::test]
async fn an_object_that_is_being_deleted_is_waited_for_and_made_again() {
    let path = "/api/v1/namespaces/space/configmaps/one";
    let mut leaving = config_map("one");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut store = Store::default();
    let mut looks = 0;
    let there = leaving.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "GET" if looks < 2 => {
            looks += 1;
            json_answer(200, there.clone())
        }
        _ => store.answer(request),
    })
    .await;
    let applied = server.kubernetes.apply(&addon(vec![config_map("one")])).await.unwrap();
    assert_eq!(applied.created, ["ConfigMap space/one"]);
    let methods: Vec<String> = server
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path()))
        .collect();
    assert_eq!(methods, ["GET", "GET", "GET", "PATCH"].map(|method| format!("{method} {path}")));

    // one that something keeps
    for (refuses, said) in [
        (false, "cannot apply ConfigMap space/one: it is still being deleted"),
        (true, "cannot replace ConfigMap space/one: it is still being deleted"),
    ] {
        let there = if refuses { config_map("one") } else { leaving.clone() };
        let mut server = Server::start(move |request| match request.method.as_str() {
            "PATCH" => no(422, "Invalid", "ConfigMap \"one\" is invalid: data: field is immutable"),
            "DELETE" => json_answer(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
            _ => json_answer(200, there.clone()),
        })
        .await;
        server.kubernetes = server.kubernetes.clone().with_patience(Duration::from_millis(200));
        let error = server.kubernetes.apply(&addon(vec![config_map("one")])).await.unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

/// A controller tells how an object stands whenever it likes.
#[tokio::test]
async fn what_is_told_of_an_object_in_the_meantime_does_not_change_it() {
    let server = Server::start(|request| {
        let mut there = config_map("one");
        let (version, ready) = if request.method == "GET" { ("1", 0) } else { ("2", 1) };
        there["metadata"]["resourceVersion"] = json!(version);
        there["status"] = json!({"ready": ready});
        json_answer(200, there)
    })
    .await;
    let addon = addon(vec![config_map("one")]);
    for applied in [server.kubernetes.apply(&addon).await.unwrap(), server.kubernetes.drift(&addon).await.unwrap()] {
        assert!(applied.is_nothing(), "{applied:?}");
    }
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
