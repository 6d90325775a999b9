//! `macula stack` on Kubernetes, from the command line to the requests: against an API server in memory
//! (`tests/common/api.rs`), on a machine without an engine.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/api.rs"]
mod api;
#[path = "common/shapes.rs"]
mod shapes;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use api::Api;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "name: shop
services:
  db:
    image: db:1
    volumes: ['data:/data']
    expose: [5432]
    x-macula: {secrets: {PASSWORD: {generate: 24}}}
  migrate:
    image: web:1
    x-macula: {once: true}
    depends_on: [db]
  web:
    image: web:1
    depends_on: {migrate: {condition: service_completed_successfully}}
    expose: [80]
    deploy: {replicas: 2}
volumes: {data: {}}
";

/// A home, a project with the stack, and an API server.
struct Cluster {
    home: TempDir,
    api: Arc<Mutex<Api>>,
    address: String,
}

struct Done {
    /// The words of its command line.
    line: String,
    code: i32,
    out: String,
    err: String,
}

impl Cluster {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let (api, address) = api::start();
        std::fs::create_dir_all(home.path().join(".kube")).unwrap();
        std::fs::create_dir(home.path().join("project")).unwrap();
        let cluster = Self { home, api, address };
        cluster.kubeconfig(&json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "staging",
            "clusters": [
                {"name": "staging", "cluster": {"server": format!("http://{}", cluster.address)}},
                {"name": "away", "cluster": {"server": format!("http://{}", nobody())}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [
                {"name": "staging", "context": {"cluster": "staging", "user": "me"}},
                {"name": "away", "context": {"cluster": "away", "user": "me"}}],
        }));
        cluster.stack(SHOP);
        cluster
    }

    fn kubeconfig(&self, content: &Value) {
        std::fs::write(self.home.path().join(".kube/config"), content.to_string()).unwrap();
    }

    fn stack(&self, text: &str) {
        std::fs::write(self.home.path().join("project/compose.yaml"), text).unwrap();
    }

    fn api(&self) -> MutexGuard<'_, Api> {
        self.api.lock().unwrap()
    }

    fn run(&self, words: &str) -> Done {
        let home = self.home.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
        let words = words.replace("deploy shop", "deploy shop --stack compose.yaml");
        command
            .env_clear()
            .current_dir(home.join("project"))
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .stdin(Stdio::null())
            .args(["stack"])
            .args(words.split_whitespace())
            .args(["--target", "kubernetes"]);
        let output = command.output().unwrap();
        let real = home.canonicalize().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(real.to_str().unwrap(), "~");
            text.replace(home.to_str().unwrap(), "~").replace(&self.address, "ADDRESS")
        };
        let line = format!("stack {words}");
        Done { line, code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Done {
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text) || self.out.contains(text), "no `{text}` in\n{}{}", self.out, self.err);
        self
    }

    /// The error alone, without what was told on the way to it.
    fn error(&self) -> &str {
        self.err.find("error:").and_then(|at| self.err.get(at..)).unwrap_or_default()
    }

    #[track_caller]
    fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out);
        let value = value.unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err));
        let wrong = shapes::wrong_with(&self.line, &value);
        assert!(wrong.is_empty(), "{}: docs/reference/json.md says something else: {wrong:#?}", self.line);
        value
    }
}

/// An address on which nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn crash(name: &str) -> Value {
    json!({"containerStatuses": [{"name": name, "image": "web:1", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]})
}

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
    let rendered = cluster.run("render shop --stack compose.yaml --accept-losses -o json").exits(0).json();
    assert_eq!(rendered["target"], "kubernetes");
    cluster.run("deploy shop").exits(0);
    assert_eq!(cluster.run("scale shop web=2 -o json").exits(0).json(), json!({"web": 2}));
    cluster.run("scale shop web=3").exits(0).says("shop scaled: web 3");
    assert_eq!(cluster.api().get("/deployments/web").unwrap()["spec"]["replicas"], 3);
    cluster.run("scale shop wbe=3").exits(2).says("did you mean web?");
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
