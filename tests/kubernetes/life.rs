//! A stack from its first deployment to its removal, and whose the namespace is.

use super::*;

#[test]
fn a_stack_lives_in_a_cluster() {
    let cluster = Cluster::new();
    let would = cluster.run("deploy shop --dry-run");
    assert_snapshot!(would.exits(0).out, @r"
    create   Deployment shop/web
    create   Job shop/migrate
    create   Namespace shop
    create   PersistentVolumeClaim shop/data
    create   PodDisruptionBudget shop/web
    create   Secret shop/db-env
    create   Service shop/db
    create   Service shop/web
    create   StatefulSet shop/db
    ");
    let asked = cluster.api().asked.clone();
    assert!(cluster.api().names().is_empty() && cluster.api().writes().is_empty(), "{asked:?}");
    let patches = asked.iter().filter(|line| line.starts_with("PATCH"));
    assert!(patches.clone().count() > 5 && patches.clone().all(|line| line.contains("dryRun=All")), "{asked:?}");

    cluster.api().asked.clear();
    cluster.run("deploy shop").exits(0).says("shop runs on Kubernetes: 9 created");
    // the namespace first, then what pods need, then each workload when those that it needs run
    let mut writes = cluster.api().writes();
    if let Some(side_by_side) = writes.get_mut(1..6) {
        side_by_side.sort();
    }
    assert_snapshot!(writes.join("\n"), @r"
    PATCH /api/v1/namespaces/shop
    PATCH /api/v1/namespaces/shop/persistentvolumeclaims/data
    PATCH /api/v1/namespaces/shop/secrets/db-env
    PATCH /api/v1/namespaces/shop/services/db
    PATCH /api/v1/namespaces/shop/services/web
    PATCH /apis/policy/v1/namespaces/shop/poddisruptionbudgets/web
    PATCH /apis/apps/v1/namespaces/shop/statefulsets/db
    PATCH /apis/batch/v1/namespaces/shop/jobs/migrate
    PATCH /apis/apps/v1/namespaces/shop/deployments/web
    ");
    let patches: Vec<String> = cluster.api().asked.iter().filter(|line| line.starts_with("PATCH")).cloned().collect();
    assert!(patches.iter().all(|line| line.contains("fieldManager=macula") && line.contains("fieldValidation=Strict")));
    let waited = cluster.api().asked.iter().position(|line| line == "GET /apis/batch/v1/namespaces/shop/jobs/migrate");
    assert!(waited.is_some());

    // nothing is written that is as it should be
    let versions = |cluster: &Cluster| -> Vec<String> {
        cluster.api().objects.values().map(|object| object["metadata"]["resourceVersion"].to_string()).collect()
    };
    let before = versions(&cluster);
    cluster.run("deploy shop").exits(0).says("shop runs on Kubernetes: 9 unchanged");
    cluster.run("deploy shop --dry-run").exits(0).says("nothing to do");
    assert_eq!(versions(&cluster), before);

    // another image is another Deployment, and nothing else
    cluster.stack(&SHOP.replace("image: web:1\n    depends", "image: web:2\n    depends"));
    let done = cluster.run("deploy shop -o json").exits(0).json();
    assert_eq!(done["changes"]["changed"], json!(["Deployment shop/web"]));
    assert_eq!((&done["changes"]["unchanged"], &done["changes"]["created"]), (&json!(8), &json!([])));
    let image =
        cluster.api().get("/deployments/web").unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, "web:2");

    // what the stack no longer has goes, but for data
    cluster.stack("name: shop\nservices: {web: {image: 'web:2', expose: [80], deploy: {replicas: 2}}}\n");
    assert_snapshot!(cluster.run("deploy shop --dry-run").exits(0).out, @r"
    remove   Secret shop/db-env
    remove   Service shop/db
    remove   StatefulSet shop/db
    remove   Job shop/migrate
    4 unchanged
    ");
    cluster.run("deploy shop").exits(0);
    let left = [
        "namespaces/shop",
        "persistentvolumeclaims/data",
        "services/web",
        "deployments/web",
        "poddisruptionbudgets/web",
    ];
    assert_eq!(cluster.api().names(), left);
}

#[test]
fn a_volume_that_another_service_gets_has_one_writer_at_a_time() {
    let cluster = Cluster::new();
    cluster.run("deploy shop").exits(0);
    cluster.api().asked.clear();
    cluster.stack(&SHOP.replace("  db:\n", "  database:\n").replace("[db]", "[database]"));
    let done = cluster.run("deploy shop -o json").exits(0).json();
    assert_eq!(done["changes"]["removed"], json!(["StatefulSet shop/db", "Secret shop/db-env", "Service shop/db"]));
    let sets: Vec<String> = cluster.api().writes().into_iter().filter(|line| line.contains("/statefulsets/")).collect();
    let path = "/apis/apps/v1/namespaces/shop/statefulsets";
    assert_eq!(sets, [format!("DELETE {path}/db"), format!("PATCH {path}/database")]);

    // its pod takes longer than anybody waits
    let labels = cluster.api().get("/statefulsets/database").unwrap()["metadata"]["labels"].clone();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1"}]);
    let metadata = json!({"name": "db-0", "namespace": "shop", "labels": labels, "ownerReferences": owner});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let pod = json!({"metadata": metadata, "spec": {"containers": [], "volumes": volumes}});
    cluster.api().put("/api/v1/namespaces/shop/pods/db-0", pod);
    cluster.run("deploy shop --timeout 1s").exits(7).says("db: Pod shop/db-0 has not ended");
}

#[test]
fn a_stack_is_scaled_looked_at_and_removed() {
    let cluster = Cluster::new();
    cluster.run("deploy shop --registry https://hub.example").exits(2).says("leave out `https://`");
    cluster.run("render shop --registry hub.example/Team").exits(2).says("`hub.example/Team` is not a valid registry");
    let rendered = cluster.run("render shop --stack compose.yaml --accept-losses -o json").exits(0).json();
    assert_eq!(rendered["target"], "kubernetes");
    cluster.run("deploy shop").exits(0);
    assert_eq!(cluster.run("scale shop web=2 -o json").exits(0).json(), json!({"web": 2}));
    cluster.run("scale shop web=3").exits(0).says("shop scaled: web 3");
    assert_eq!(cluster.api().get("/deployments/web").unwrap()["spec"]["replicas"], 3);
    let no = "horizontalpodautoscalers.autoscaling is forbidden: User \"me\" cannot list resource".to_owned();
    cluster.api().no = vec![("GET", "/horizontalpodautoscalers", 403, "Forbidden", no)];
    cluster.run("scale shop web=4").exits(0).says("if web has one, it sets the number back").says("shop scaled: web 4");
    cluster.api().no.clear();
    cluster.run("scale shop web=3").exits(0);
    cluster.run("scale shop wbe=3").exits(2).says("did you mean web?");
    assert_snapshot!(cluster.run("scale shop nope=3").exits(2).error(), @r"
    error: shop has no service nope
      hint: there are db, migrate, web
    ");
    cluster.run("scale shop web=2 web=4").exits(2).says("web is given two numbers: 2 and 4");
    cluster.run("scale shop migrate=2").exits(2).says("it is a job");
    cluster.run("scale shop db=2").exits(2).says("several pods of db would write one volume: data");
    assert_snapshot!(cluster.run("status shop").exits(0).out, @r"
    SERVICE       READY  KIND         IMAGE
    shop/db       1/1    StatefulSet  db:1
    shop/migrate  1/1    Job          web:1
    shop/web      3/3    Deployment   web:1
    ");
    let node = |ready: &str, cordoned: bool| {
        let condition = json!({"type": "Ready", "status": ready, "message": "kubelet stopped posting node status"});
        json!({
            "kind": "Node", "metadata": {"name": "node1"}, "spec": {"unschedulable": cordoned},
            "status": {"conditions": [condition], "nodeInfo": {"kubeletVersion": "v1.34.9"}},
        })
    };
    cluster.api().put("/api/v1/nodes/node1", node("True", false));
    assert_snapshot!(cluster.run("validate shop").exits(0).out, @r"
    + node      node1: ready, v1.34.9
    + workload  StatefulSet shop/db: 1 of 1 ready
    + workload  Job shop/migrate: 1 of 1 done
    + workload  Deployment shop/web: 3 of 3 ready
    4 checks passed
    ");
    // the number of the files comes back
    let back = cluster.run("deploy shop -o json").exits(0).json();
    assert_eq!(back["changes"]["changed"], json!(["Deployment shop/web"]));

    cluster.api().sick.insert("web".into(), crash("web"));
    cluster.api().logs.insert("web-1".into(), "no database at db:5432\n".into());
    cluster.api().run("/apis/apps/v1/namespaces/shop/deployments/web");
    cluster.run("status shop").exits(7).says("no database at db:5432");
    let rows = cluster.run("status -o json").exits(7).json();
    assert_eq!((&rows[2]["service"], &rows[2]["running"], &rows[2]["wanted"]), (&json!("web"), &json!(0), &json!(2)));

    cluster.api().put("/api/v1/nodes/node1", node("False", false));
    let checked = cluster.run("validate shop");
    assert_snapshot!(checked.exits(7).out, @r"
    x node      node1: kubelet stopped posting node status
      try: kubectl describe node node1
    + workload  StatefulSet shop/db: 1 of 1 ready
    + workload  Job shop/migrate: 1 of 1 done
    x workload  Deployment shop/web: pod shop/web-1: web ended with 1 (Error), restarted 4 times
                    no database at db:5432
      try: kubectl get events -n shop
    ");
    checked.says("2 of these checks failed");
    let checked = cluster.run("validate -o json").exits(7).json();
    let states: Vec<&str> =
        checked["checks"].as_array().unwrap().iter().filter_map(|one| one["state"].as_str()).collect();
    assert_eq!((&checked["ok"], states), (&json!(false), vec!["failed", "ok", "ok", "failed"]));
    cluster.api().objects.remove("/api/v1/nodes/node1");

    cluster.api().sick.clear();
    cluster.run("remove shop --volumes").exits(8).says("--yes");
    let gone = cluster.run("remove shop");
    gone.exits(0).says("shop is gone (7 objects); its data is kept (1 claim)");
    assert_eq!(cluster.api().names(), ["namespaces/shop", "persistentvolumeclaims/data"]);
    cluster.run("remove shop").exits(2).says("there is no stack shop");
    cluster.run("status shop").exits(2);
    cluster.run("validate shop").exits(2);
    cluster.api().put("/api/v1/nodes/node1", node("True", true));
    cluster.run("validate").exits(0).says("node1: cordoned");
    cluster.api().objects.remove("/api/v1/nodes/node1");
    cluster.run("status").exits(0).says("no stack is deployed there");
    // what was kept is there when it comes back
    cluster.run("deploy shop").exits(0).says("7 created, 2 unchanged");
    let gone = cluster.run("remove shop --volumes --yes -o json").exits(0).json();
    assert_eq!((gone["removed"].as_array().map(Vec::len), &gone["kept"]), (Some(9), &json!([])), "{gone}");
    assert!(cluster.api().names().is_empty(), "{:?}", cluster.api().names());
}

#[test]
fn a_namespace_in_which_anything_else_lives_stays() {
    let cluster = Cluster::new();
    cluster.run("deploy shop").exits(0);
    let theirs = json!({"kind": "CronJob", "metadata": {"name": "backup", "namespace": "shop"}});
    cluster.api().put("/apis/batch/v1/namespaces/shop/cronjobs/backup", theirs);
    let gone = cluster.run("remove shop --volumes --yes");
    gone.exits(0).says("the namespace shop stays: others live in it (CronJob backup)");
    assert_eq!(cluster.api().names(), ["namespaces/shop", "cronjobs/backup"]);

    // who cannot look at everything keeps it, too
    let cluster = Cluster::new();
    cluster.run("deploy shop").exits(0);
    let no = "cronjobs.batch is forbidden: User \"me\" cannot list resource".to_owned();
    cluster.api().no = vec![("GET", "/cronjobs", 403, "Forbidden", no)];
    let gone = cluster.run("remove shop --volumes --yes");
    gone.exits(0).says("others may live in it that macula cannot list (cronjobs)");
    assert_eq!(cluster.api().names(), ["namespaces/shop"]);
}

#[test]
fn a_namespace_of_somebody_elses_is_used_and_stays() {
    let cluster = Cluster::new();
    cluster.api().put(
        "/api/v1/namespaces/team",
        json!({"kind": "Namespace", "metadata": {"name": "team", "labels": {"owner": "them"}}}),
    );
    cluster.run("deploy shop --namespace team").exits(0).says("8 created");
    assert_eq!(cluster.api().get("/namespaces/team").unwrap()["metadata"]["labels"], json!({"owner": "them"}));
    cluster.run("status shop").exits(2).says("it is in team");
    cluster.run("status shop --namespace team").exits(0);
    cluster.run("validate shop").exits(2).says("it is in team");
    cluster.run("validate shop --namespace team").exits(0).says("Deployment team/web");
    cluster.run("scale shop web=3").exits(2);
    cluster.run("scale shop web=3 --namespace team").exits(0).says("shop scaled: web 3");
    assert_eq!(cluster.api().get("/team/deployments/web").unwrap()["spec"]["replicas"], 3);
    // the same stack in a namespace of its own is another one
    cluster.run("deploy shop").exits(0).says("9 created");
    cluster.run("remove shop --namespace team --volumes --yes").exits(0);
    assert!(cluster.api().get("/namespaces/team").is_some());
    cluster.run("status shop").exits(0);
    // another stack's
    cluster.stack(&SHOP.replace("name: shop", "name: second"));
    let taken = cluster.run("deploy second --stack compose.yaml --namespace shop");
    taken.exits(5).says("shop has in the namespace shop what second is to have: ").says("`--namespace`");
    cluster.stack(SHOP);
    // somebody else's object of that name
    let theirs = json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "team"}});
    cluster.api().put("/apis/apps/v1/namespaces/team/deployments/web", theirs);
    cluster.api().asked.clear();
    let refused = cluster.run("deploy shop --namespace team");
    refused.exits(5).says("was not deployed by this platform: Deployment team/web");
    assert_eq!(cluster.api().writes(), [""; 0]);
}
