//! What keeps a stack from running, and how that is told.

use super::*;

#[test]
fn a_scaling_has_a_deadline() {
    let cluster = Cluster::new();
    cluster.run("deploy shop").exits(0);
    let nowhere = "0/1 nodes are available: 1 Insufficient memory.";
    let pod = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": nowhere}]});
    cluster.api().sick.insert("web".into(), pod);
    // without it it is five minutes
    let begun = std::time::Instant::now();
    cluster.run("scale shop web=3 --timeout 1s").exits(7).says("no node takes it");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_loss_ends_a_deployment_unless_it_is_accepted() {
    let cluster = Cluster::new();
    cluster.stack("name: shop\nservices: {web: {image: 'web:1', expose: [80], volumes: ['./data:/data']}}\n");
    cluster.run("deploy shop").exits(3).says("volumes[0]");
    assert_eq!(cluster.api().writes(), [""; 0]);
    cluster.run("deploy shop --accept-losses").exits(0);
    assert!(cluster.api().get("/deployments/web").is_some());
}

#[test]
fn what_does_not_run_says_why() {
    let cluster = Cluster::new();
    cluster.api().sick.insert("db".into(), crash("db"));
    cluster.api().logs.insert("db-1".into(), "the cellar is locked\n".into());
    let failed = cluster.run("deploy shop");
    assert_snapshot!(failed.exits(7).error(), @r"
    error: shop does not run as it should
      db: pod shop/db-1: db ended with 1 (Error), restarted 4 times
            the cellar is locked
      migrate: not applied: db does not run
      web: not applied: migrate does not run
      hint: what runs is kept; deploying again continues
    ");
    assert!(cluster.api().get("/jobs/migrate").is_none(), "what needs it is not made");

    // a deadline
    cluster.api().sick.insert(
        "db".into(),
        json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient memory."}]}),
    );
    cluster.api().run("/apis/apps/v1/namespaces/shop/statefulsets/db");
    let failed = cluster.run("deploy shop --timeout 1s");
    failed.exits(7).says("no node takes it: 0/1 nodes are available: 1 Insufficient memory.");

    // a job that failed is tried again
    cluster.api().sick.clear();
    cluster.api().run("/apis/apps/v1/namespaces/shop/statefulsets/db");
    cluster.api().sick.insert(
        "migrate".into(),
        json!({"phase": "Failed", "containerStatuses": [{"name": "migrate",
        "image": "web:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}),
    );
    cluster.api().logs.insert("migrate-1".into(), "no such table\n".into());
    cluster.run("deploy shop").exits(7).says("no such table").says("backoff limit");
    cluster.api().sick.clear();
    cluster.run("deploy shop").exits(0).says("shop runs on Kubernetes: 1 created, 1 changed, 7 unchanged");
}

#[test]
fn a_cluster_that_is_not_there_or_says_no_is_nine() {
    let cluster = Cluster::new();
    assert_snapshot!(cluster.run("deploy shop --context stagign").exits(9).error(), @r"
    error: the kubeconfig has no context stagign
      hint: did you mean staging?
    ");
    let away = cluster.run("deploy shop --context away");
    away.exits(9).says("does not answer").says("--context").says("kubectl config get-contexts");
    cluster.run("status --context away").exits(9);

    let cannot =
        "is forbidden: User \"me\" cannot patch resource \"secrets\" in API group \"\" in the namespace \"shop\"";
    for (no, hint) in [
        (
            ("PATCH", "/secrets/db-env", 403, "Forbidden", format!("secrets \"db-env\" {cannot}")),
            "kubectl auth can-i --list",
        ),
        (
            ("GET", "/deployments", 403, "Forbidden", "deployments.apps is forbidden: User \"me\" cannot list".into()),
            "a role that may",
        ),
        (
            (
                "PATCH",
                "/persistentvolumeclaims/data",
                403,
                "Forbidden",
                "persistentvolumeclaims \"data\" is forbidden: exceeded quota: small".into(),
            ),
            "a quota of the namespace is used up",
        ),
        (("GET", "/version", 401, "Unauthorized", "Unauthorized".into()), "renew it"),
        (
            (
                "PATCH",
                "/deployments/web",
                403,
                "Forbidden",
                "admission webhook \"policy\" denied the request: no latest".into(),
            ),
            "a rule of this cluster forbids it",
        ),
    ] {
        let message = no.4.clone();
        cluster.api().no = vec![no];
        cluster.run("deploy shop").exits(9).says(&message).says(hint);
        assert_eq!(cluster.api().writes(), [""; 0], "{message}");
    }
    // a claim that would have to be another one is the files' affair
    cluster.api().no =
        vec![("PATCH", "/persistentvolumeclaims/data", 422, "Invalid", "spec is immutable after creation".into())];
    cluster.run("deploy shop").exits(3).says("a claim is data and is never replaced");
    cluster.api().no.clear();
    std::fs::remove_file(cluster.home.path().join(".kube/config")).unwrap();
    assert_snapshot!(cluster.run("deploy shop").exits(9).error(), @r"
    error: cannot read ~/.kube/config: No such file or directory (os error 2)
      hint: KUBECONFIG names another file
      try: macula cluster kubeconfig  (to have that of the platform's own cluster)
    ");
}

#[test]
fn a_webhook_that_is_away_ends_a_deployment_before_it_begins() {
    let cluster = Cluster::new();
    let away = "Internal error occurred: failed calling webhook \"policy.test\": failed to call webhook: Post \
                \"https://policy.guard.svc:443/validate?timeout=10s\": no endpoints available for service \"policy\"";
    cluster.api().silent = Some(away.to_owned());
    cluster.run("deploy shop").exits(9).says(away).says("the webhook policy.test does not answer");
    // it can be asked only about what goes into a namespace that is there
    assert_eq!(cluster.api().writes(), ["PATCH /api/v1/namespaces/shop"]);
    cluster.api().asked.clear();
    cluster.run("deploy shop").exits(9).says("kubectl get pods -n guard");
    assert_eq!(cluster.api().writes(), [""; 0]);
}

#[test]
fn a_login_that_does_not_work_is_told_without_its_secrets() {
    let cluster = Cluster::new();
    let run = |command: &str, script: &str| {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": ["-c", script],
            "env": [{"name": "PIN", "value": "hunter2"}], "interactiveMode": "Never", "installHint": "ask the desk for it"});
        cluster.kubeconfig(&json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "staging",
            "clusters": [{"name": "staging", "cluster": {"server": format!("http://{}", cluster.address)}}],
            "users": [{"name": "me", "user": {"exec": exec}}],
            "contexts": [{"name": "staging", "context": {"cluster": "staging", "user": "me"}}],
        }));
        let done = cluster.run("status");
        assert!(!done.err.contains("hunter2"), "{}", done.err);
        done
    };
    assert_snapshot!(run("sh", "echo your session has ended >&2; exit 3").exits(9).error(), @r"
    error: cannot log in to the API server http://ADDRESS: sh failed (exit status: 3): your session has ended
      hint: renew the login of this context, or name another one with `--context`
    ");
    run("sh", "echo hunter2").exits(9).says("sh does not write a credential");
    run("no-such-login", "").exits(9).says("no-such-login cannot be started").says("ask the desk for it");
    // one that ends before the next request, and then cannot be renewed
    let once = "test -e ended && { echo over >&2; exit 1; }; test -e begun && touch ended; touch begun
        echo '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\",
            \"status\": {\"token\": \"t\", \"expirationTimestamp\": \"2020-01-01T00:00:00Z\"}}'";
    run("sh", once).exits(9).says("cannot log in to the API server").says("over");
}

#[test]
fn a_kind_that_the_cluster_does_not_have_is_told_before_anything_is_made() {
    let cluster = Cluster::new();
    cluster.api().without = vec!["poddisruptionbudgets"];
    let refused = cluster.run("deploy shop --context staging");
    refused.exits(9).says("cannot read PodDisruptionBudget shop/web: the server could not find the requested resource");
    refused.says("this cluster does not know such objects");
    assert_eq!(cluster.api().writes(), [""; 0]);
    cluster.api().without.clear();
    // what is proposed asks the same cluster
    let no = "deployments.apps \"web\" is forbidden: User \"me\" cannot patch resource".to_owned();
    cluster.api().no = vec![("PATCH", "/web", 403, "Forbidden", no)];
    cluster.api().put("/api/v1/namespaces/shop", json!({"kind": "Namespace", "metadata": {"name": "shop"}}));
    cluster.run("deploy shop --context staging").exits(9).says("kubectl --context staging auth can-i --list -n shop");
}

#[test]
fn what_cannot_be_is_named_before_anything_is_made() {
    let cluster = Cluster::new();
    cluster.stack("name: shop\nservices:\n  web:\n    image: web:1\n    volumes: ['./src:/src', 'data:/data']\n    deploy: {replicas: 2}\nvolumes: {data: {}}\n");
    cluster.run("deploy shop").exits(3).says("compose.yaml:").says("several replicas of web write the volume data");
    cluster.stack(
        "name: shop\nservices:\n  web:\n    image: web:1\n    network_mode: host\n    volumes: ['/etc:/host']\n",
    );
    cluster.run("deploy shop").exits(3).says("compose.yaml:6");
    cluster.stack("name: shop\nservices: {web: {image: 'web:1', secrets: [key]}}\nsecrets: {key: {external: true}}\n");
    let missing = cluster.run("deploy shop");
    missing.exits(3).says("the namespace shop does not have what the stack needs: Secret key");
    missing.says("kubectl create secret generic key -n shop");
    // what the stack builds is the registry's, which nobody here can ask
    cluster.stack("name: shop\nservices: {web: {image: 'web:1', build: .}}\n");
    cluster.run("deploy shop --build").exits(4);
    assert!(cluster.api().names().is_empty(), "{:?}", cluster.api().writes());
}
