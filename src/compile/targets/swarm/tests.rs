//! What changes, by what a manager says that it has; and whether a service runs, by what it says of its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::{ObservedSwarm, SwarmKind, SwarmNode, SwarmObject, SwarmService, SwarmTask, SwarmUpdate};

fn web(image: &str) -> Value {
    json!({
        "Name": "shop_web",
        "Labels": {(STACK_LABEL): "shop", (IMAGE_LABEL): image, (label::DEPLOYED_BY): "macula"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": image, "Labels": {(STACK_LABEL): "shop"}, "Env": ["A=1"],
                "HealthCheck": {"Test": ["CMD", "true"]},
                "Secrets": [{"SecretName": "shop_pw-1", "File": {"Name": "pw", "UID": "0", "GID": "0", "Mode": 292}}],
            },
            "Networks": [{"Target": "shop_back", "Aliases": ["web"]}],
        },
        "Mode": {"Replicated": {"Replicas": 2}},
    })
}

fn stack(image: &str) -> SwarmStack {
    SwarmStack {
        networks: vec![json!({"Name": "shop_back", "Driver": "overlay", "Labels": {(STACK_LABEL): "shop"}})],
        secrets: vec![json!({"Name": "shop_pw-1", "Labels": {(STACK_LABEL): "shop"}, "Data": "eA=="})],
        services: vec![web(image)],
        ..SwarmStack::default()
    }
}

/// The swarm after these changes, as a manager tells it: with what it adds, and ids of its own.
fn made(changes: &SwarmChanges) -> ObservedSwarm {
    let mut observed = ObservedSwarm::default();
    for change in changes.all.iter().filter(|change| change.act == SwarmAct::Create) {
        let body = change.body.clone().unwrap();
        let labels: BTreeMap<String, String> = serde_json::from_value(body["Labels"].clone()).unwrap();
        let object =
            SwarmObject { id: format!("id-{}", change.name), name: change.name.clone(), labels: labels.clone() };
        match change.kind {
            SwarmKind::Network => observed.networks.push(object),
            SwarmKind::Secret => observed.secrets.push(object),
            SwarmKind::Config => observed.configs.push(object),
            SwarmKind::Service => {
                let mut spec = with_ids(&body, &[("shop_pw-1".to_owned(), "s1".to_owned())].into(), &BTreeMap::new());
                spec["TaskTemplate"]["Networks"][0]["Target"] = json!("id-shop_back");
                spec["TaskTemplate"]["ContainerSpec"]["Isolation"] = json!("default");
                // Docker spells one key otherwise than its own description does
                let container = spec["TaskTemplate"]["ContainerSpec"].as_object_mut().unwrap();
                let check = container.shift_remove("HealthCheck").unwrap();
                container.insert("Healthcheck".into(), check);
                spec["TaskTemplate"]["ForceUpdate"] = json!(3);
                spec["EndpointSpec"] = json!({"Mode": "vip"});
                observed.services.push(SwarmService {
                    id: object.id,
                    name: object.name,
                    labels,
                    spec,
                    ..SwarmService::default()
                });
            }
        }
    }
    observed.network_names = observed.networks.iter().map(|one| (one.id.clone(), one.name.clone())).collect();
    observed
}

fn told(changes: &SwarmChanges) -> String {
    let line =
        |change: &SwarmChange| format!("{:?} {} {} {}", change.act, change.kind, change.name, change.what.join(", "));
    changes.all.iter().map(line).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn pinned(image: &str, digest: &str) -> BTreeMap<String, Pin> {
    [(image.to_owned(), Pin { image: Some(format!("{image}@{digest}")), id: None })].into()
}

#[test]
fn a_second_deployment_of_the_same_files_changes_nothing() {
    let pins = pinned("web:1", "sha256:aa");
    let first = swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &pins);
    insta::assert_snapshot!(told(&first), @r"
    Create network shop_back
    Create secret shop_pw-1
    Create service shop_web
    ");
    let there = made(&first);
    assert!(swarm_changes(&stack("web:1"), &there, &pins).is_nothing());
    // a registry that does not answer this time is no reason for an update
    assert!(swarm_changes(&stack("web:1"), &there, &BTreeMap::new()).is_nothing());
    assert_eq!(foreign(&there, "other"), ["shop_web", "shop_back", "shop_pw-1"]);
}

#[test]
fn an_update_names_what_it_changes_and_keeps_what_somebody_forced() {
    let there = made(&swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &pinned("web:1", "sha256:aa")));
    let mut files = stack("web:2");
    files.services[0]["TaskTemplate"]["ContainerSpec"]["Env"] = json!(["A=2"]);
    let changes = swarm_changes(&files, &there, &pinned("web:2", "sha256:bb"));
    let update = changes.all.iter().find(|change| change.act == SwarmAct::Update).unwrap();
    assert_eq!(update.what, ["image", "environment"]);
    let body = update.body.as_ref().unwrap();
    assert_eq!(body["TaskTemplate"]["ContainerSpec"]["Image"], "web:2@sha256:bb");
    assert_eq!(body["TaskTemplate"]["ForceUpdate"], 3);
    // the tag means another image now
    let moved = swarm_changes(&stack("web:1"), &there, &pinned("web:1", "sha256:cc"));
    assert_eq!(moved.all.last().unwrap().what, ["image"]);
    // an image that is in no registry is told by its id
    let local = |id: &str| [("web:1".to_owned(), Pin { image: None, id: Some(id.to_owned()) })].into();
    let here = made(&swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &local("sha256:1")));
    assert!(swarm_changes(&stack("web:1"), &here, &local("sha256:1")).is_nothing());
    assert_eq!(swarm_changes(&stack("web:1"), &here, &local("sha256:2")).all.last().unwrap().what, ["image"]);
}

#[test]
fn a_job_that_failed_runs_again_and_one_that_is_done_does_not() {
    let mut files = stack("web:1");
    files.services[0]["Mode"] = json!({"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}});
    let mut there = made(&swarm_changes(&files, &ObservedSwarm::default(), &BTreeMap::new()));
    there.services[0].iteration = 7;
    let run = |state: &str, iteration: u64| SwarmTask {
        service: there.services[0].id.clone(),
        iteration,
        ..task(state, "complete", state, "")
    };
    for (tasks, again) in [
        (Vec::new(), false),
        (vec![run("failed", 7)], true),
        (vec![run("rejected", 7)], true),
        // of an earlier run
        (vec![run("failed", 6)], false),
        (vec![run("failed", 7), run("complete", 7)], false),
        (vec![run("failed", 7), run("preparing", 7)], false),
    ] {
        let there = ObservedSwarm { tasks, ..there.clone() };
        let changes = swarm_changes(&files, &there, &BTreeMap::new());
        let job = changes.all.iter().find(|change| change.kind == SwarmKind::Service).unwrap();
        let forced = json!(4);
        let told = (job.act, job.what.join(", "), job.body.as_ref().map(|body| &body["TaskTemplate"]["ForceUpdate"]));
        let wanted = match again {
            true => (SwarmAct::Update, "run again".to_owned(), Some(&forced)),
            false => (SwarmAct::Keep, String::new(), None),
        };
        assert_eq!(told, wanted, "{:?}", there.tasks);
    }
    // each node has it to do, but one that went away
    let down = SwarmNode { state: "down".into(), ..SwarmNode::default() };
    let at = |node: &str, state: &str| SwarmTask { node: node.into(), slot: None, ..run(state, 7) };
    let mut each = files.clone();
    each.services[0]["Mode"] = json!({"GlobalJob": {}});
    let mut on_each = made(&swarm_changes(&each, &ObservedSwarm::default(), &BTreeMap::new()));
    on_each.services[0].iteration = 7;
    on_each.nodes = [("away".to_owned(), down)].into();
    for (tasks, again) in [
        (vec![at("a", "complete"), at("b", "complete")], false),
        (vec![at("a", "complete"), at("b", "failed")], true),
        (vec![at("a", "complete"), at("b", "failed"), at("b", "complete")], false),
        (vec![at("a", "complete"), at("away", "orphaned")], false),
    ] {
        let there = ObservedSwarm { tasks, ..on_each.clone() };
        let act = swarm_changes(&each, &there, &BTreeMap::new()).all.last().unwrap().act;
        assert_eq!(act, if again { SwarmAct::Update } else { SwarmAct::Keep }, "{:?}", there.tasks);
    }
    // one that does not end is none
    let mut there = made(&swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &BTreeMap::new()));
    there.tasks = vec![SwarmTask { service: there.services[0].id.clone(), ..task("1", "shutdown", "failed", "") }];
    assert!(swarm_changes(&stack("web:1"), &there, &BTreeMap::new()).is_nothing());
}

/// Managers list no networks that each node has of its own.
#[test]
fn a_network_of_the_nodes_is_no_difference() {
    let on_host = || {
        let mut files = stack("web:1");
        files.services[0]["TaskTemplate"]["Networks"] = json!([{"Target": "host"}]);
        files
    };
    let mut there = made(&swarm_changes(&on_host(), &ObservedSwarm::default(), &BTreeMap::new()));
    there.services[0].spec["TaskTemplate"]["Networks"] = json!([{"Target": "id-that-nobody-lists"}]);
    assert!(swarm_changes(&on_host(), &there, &BTreeMap::new()).is_nothing());
    let other = swarm_changes(&stack("web:1"), &there, &BTreeMap::new());
    assert_eq!(other.all.last().unwrap().what, ["networks"]);
}

#[test]
fn what_others_changed_comes_back_and_what_is_no_longer_wanted_goes() {
    let pins = BTreeMap::new();
    let mut there = made(&swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &pins));
    there.services[0].spec["Mode"]["Replicated"]["Replicas"] = json!(5);
    let changes = swarm_changes(&stack("web:1"), &there, &pins);
    assert_eq!(changes.all.last().unwrap().what, ["replicas"]);
    let mut global = stack("web:1");
    global.services[0]["Mode"] = json!({"Global": {}});
    assert_eq!(swarm_changes(&global, &there, &pins).all.last().unwrap().act, SwarmAct::Replace);
    let mut wider = stack("web:1");
    wider.networks[0]["Attachable"] = json!(true);
    assert_eq!(swarm_changes(&wider, &there, &pins).fixed, ["shop_back"]);
    // services go first, then what they had
    insta::assert_snapshot!(told(&swarm_changes(&SwarmStack::default(), &there, &pins)), @r"
    Remove service shop_web
    Remove secret shop_pw-1
    Remove network shop_back
    ");
    let wider = scaled(&there.services[0], 7).unwrap();
    assert_eq!(wider["Mode"]["Replicated"]["Replicas"], 7);
    there.services[0].spec["Mode"] = json!({"Global": {}});
    assert!(scaled(&there.services[0], 7).is_none());
}

/// Also what the files say nothing of.
#[test]
fn what_somebody_else_added_goes() {
    type Add = fn(&mut Value);
    let pins = BTreeMap::new();
    let made = made(&swarm_changes(&stack("web:1"), &ObservedSwarm::default(), &pins));
    let added: [(Add, &str); 7] = [
        (|spec| spec["TaskTemplate"]["Resources"] = json!({"Limits": {}, "Reservations": {}}), ""),
        (|spec| spec["TaskTemplate"]["Placement"] = json!({"Platforms": [{"OS": "linux"}]}), ""),
        (|spec| spec["TaskTemplate"]["ContainerSpec"]["Env"] = json!(["A=1", "X=2"]), "environment"),
        (
            |spec| spec["TaskTemplate"]["ContainerSpec"]["Mounts"] = json!([{"Type": "tmpfs", "Target": "/t"}]),
            "volumes",
        ),
        (|spec| spec["TaskTemplate"]["ContainerSpec"]["User"] = json!("1000"), "user"),
        (|spec| spec["TaskTemplate"]["Resources"] = json!({"Limits": {"MemoryBytes": 67_108_864}}), "resources"),
        (|spec| spec["EndpointSpec"]["Ports"] = json!([{"TargetPort": 80, "PublishedPort": 8080}]), "ports"),
    ];
    for (add, what) in added {
        let mut there = made.clone();
        add(&mut there.services[0].spec);
        let change = swarm_changes(&stack("web:1"), &there, &pins).all.pop().unwrap();
        let act = if what.is_empty() { SwarmAct::Keep } else { SwarmAct::Update };
        assert_eq!((change.act, change.what.join(", ").as_str()), (act, what));
    }
}

#[test]
fn a_service_gives_up_the_ports_that_another_one_gets() {
    let with = |ports: &[(u64, &str)]| {
        let ports: Vec<Value> =
            ports.iter().map(|(port, protocol)| json!({"PublishedPort": port, "Protocol": protocol})).collect();
        json!({"Name": "shop_web", "EndpointSpec": {"Mode": "vip", "Ports": ports}})
    };
    let there = SwarmService { spec: with(&[(80, "tcp"), (53, "udp"), (0, "tcp")]), ..SwarmService::default() };
    for (next, other, left) in [
        (with(&[(81, "tcp")]), with(&[(80, "tcp")]), Some(with(&[(53, "udp"), (0, "tcp")]))),
        // it keeps it, has another one, or nobody asks for it
        (with(&[(80, "tcp")]), with(&[(80, "tcp")]), None),
        (with(&[]), with(&[(53, "tcp")]), None),
        (with(&[]), with(&[(0, "tcp")]), None),
    ] {
        assert_eq!(without_ports(&there, &next, &other), left);
    }
    assert_eq!(without_ports(&SwarmService::default(), &with(&[]), &with(&[(80, "tcp")])), None);
}

fn service(mode: Value, update: Option<(&str, &str)>) -> SwarmService {
    SwarmService {
        id: "s".into(),
        name: "shop_web".into(),
        spec: json!({"TaskTemplate": {"ContainerSpec": {"Image": "web:2"}, "Placement": {"Constraints": ["a"]}, "Runtime": "container"}, "Mode": mode}),
        update: update.map(|(state, started)| SwarmUpdate {
            state: state.into(),
            started: started.into(),
            message: "update paused due to failure".into(),
        }),
        ..SwarmService::default()
    }
}

fn task(id: &str, desired: &str, state: &str, error: &str) -> SwarmTask {
    SwarmTask {
        id: id.into(),
        service: "s".into(),
        slot: Some(1),
        node: "n".into(),
        desired: desired.into(),
        state: state.into(),
        since: id.into(),
        error: error.into(),
        spec: json!({"ContainerSpec": {"Image": "web:2"}}),
        ..SwarmTask::default()
    }
}

fn stands(service: &SwarmService, tasks: &[SwarmTask], seconds: u64) -> Standing {
    stands_while(service, tasks, seconds, &BTreeMap::new())
}

/// With tasks that have had no node for so many seconds.
fn stands_while(
    service: &SwarmService,
    tasks: &[SwarmTask],
    seconds: u64,
    pending: &BTreeMap<String, Duration>,
) -> Standing {
    let down = SwarmNode { state: "down".into(), ..SwarmNode::default() };
    let up = SwarmNode { name: "node1".into(), ..SwarmNode::default() };
    let nodes = [("n".to_owned(), up), ("away".to_owned(), down)].into();
    let old: BTreeSet<String> = ["old".to_owned()].into();
    let waited = Duration::from_secs(seconds);
    let tasks = tasks.iter().collect();
    SwarmLook { service, tasks, nodes: &nodes, before: Some("before"), old: &old, waited, pending }.standing()
}

fn failed(standing: Standing) -> String {
    match standing {
        Standing::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_is_ready_when_its_tasks_are_those_of_its_specification() {
    let one = service(json!({"Replicated": {"Replicas": 1}}), None);
    assert_eq!(stands(&one, &[task("1", "running", "running", "")], 0), Standing::Ready);
    // an earlier specification's task still runs
    let earlier =
        SwarmTask { spec: json!({"ContainerSpec": {"Image": "web:1"}}), ..task("0", "running", "running", "") };
    assert_eq!(stands(&one, std::slice::from_ref(&earlier), 0), Standing::Waiting("0 of 1 running".into()));
    let both = [earlier, task("1", "running", "running", "")];
    assert_eq!(stands(&one, &both, 0), Standing::Waiting("1 of 1 running".into()));
    assert_eq!(stands(&one, &[task("1", "running", "preparing", "")], 0), Standing::Waiting("0 of 1 running".into()));
    let none = service(json!({"Replicated": {"Replicas": 0}}), None);
    assert_eq!(stands(&none, &[], 0), Standing::Ready);
    let global = service(json!({"Global": {}}), None);
    assert_eq!(stands(&global, &[], 1), Standing::Waiting("0 of 0 running".into()));
    assert_eq!(failed(stands(&global, &[], 20)), "no node takes it: its constraints leave none");
    assert_eq!(stands(&global, &[task("1", "running", "running", "")], 0), Standing::Ready);
    let job = service(json!({"ReplicatedJob": {"TotalCompletions": 1}}), None);
    assert_eq!(stands(&job, &[task("1", "complete", "running", "")], 0), Standing::Waiting("0 of 1 done".into()));
    assert_eq!(stands(&job, &[task("1", "complete", "complete", "")], 0), Standing::Ready);
    assert_eq!(
        failed(stands(&job, &[task("1", "complete", "failed", "task: non-zero exit (2)")], 0)),
        "shop_web.1 on node1: task: non-zero exit (2)"
    );
    let each = service(json!({"GlobalJob": {}}), None);
    let at = |node: &str, state: &str| SwarmTask {
        node: node.into(),
        slot: None,
        ..task(&format!("{node}{state}"), "complete", state, "task: non-zero exit (2)")
    };
    assert_eq!(stands(&each, &[at("m", "complete"), at("n", "running")], 0), Standing::Waiting("1 of 2 done".into()));
    assert_eq!(stands(&each, &[at("m", "complete"), at("n", "complete")], 0), Standing::Ready);
    assert_eq!(stands(&each, &[at("n", "complete"), at("away", "failed")], 0), Standing::Ready);
    assert_eq!(
        failed(stands(&each, &[at("m", "complete"), at("n", "failed")], 0)),
        "shop_web on node1: task: non-zero exit (2)"
    );
}

#[test]
fn a_task_that_fails_is_told_in_its_own_words() {
    let one = service(json!({"Replicated": {"Replicas": 1}}), None);
    let crash = |id: &str| task(id, "shutdown", "failed", "task: non-zero exit (1)");
    let next = task("9", "ready", "ready", "");
    let crashing = [crash("1"), crash("2"), next.clone()];
    assert_eq!(
        stands(&one, &crashing, 0),
        Standing::Waiting("0 of 1 running; shop_web.1 on node1: task: non-zero exit (1)".into())
    );
    let thrice = [crash("1"), crash("2"), crash("3"), next.clone()];
    assert_eq!(failed(stands(&one, &thrice, 0)), "shop_web.1 on node1: task: non-zero exit (1)");
    // its restart policy makes no other one
    assert_eq!(failed(stands(&one, &[crash("1")], 0)), "shop_web.1 on node1: task: non-zero exit (1)");
    // a service has to go on running, and a job does not
    let done = ["1", "2", "3"].map(|id| task(id, "shutdown", "complete", ""));
    insta::assert_snapshot!(
        failed(stands(&one, &[done.to_vec(), vec![next.clone()]].concat(), 0)),
        @"shop_web.1 on node1: it ended by itself (exit code 0); a service has to go on running, a job is `deploy.mode: replicated-job`"
    );
    let job = service(json!({"ReplicatedJob": {"TotalCompletions": 3}}), None);
    assert_eq!(stands(&job, &done, 0), Standing::Ready);
    // what failed before is no news
    let old = SwarmTask { id: "old".into(), ..crash("1") };
    assert_eq!(stands(&one, &[old, next], 0), Standing::Waiting("0 of 1 running".into()));
    let unplaced =
        [task("1", "running", "pending", "no suitable node (scheduling constraints not satisfied on 1 node)")];
    assert!(matches!(stands(&one, &unplaced, 1), Standing::Waiting(_)));
    insta::assert_snapshot!(
        failed(stands(&one, &unplaced, 11)),
        @"no node takes it; shop_web.1 on node1: no suitable node (scheduling constraints not satisfied on 1 node)"
    );
}

/// The port of a node is free for the next task when the one before it has ended, which may take its period of grace.
#[test]
fn a_task_waits_for_the_one_that_it_follows() {
    let one = service(json!({"Replicated": {"Replicas": 1}}), None);
    let taken = "no suitable node (host-mode port already in use on 1 node)";
    let next = task("2", "running", "pending", taken);
    let leaving =
        SwarmTask { spec: json!({"ContainerSpec": {"Image": "web:1"}}), ..task("1", "shutdown", "running", "") };
    let both = [leaving.clone(), next.clone()];
    let waiting = Standing::Waiting(format!("0 of 1 running; shop_web.1 on node1: {taken}"));
    assert_eq!(stands(&one, &both, 60), waiting);
    // of a smaller number of replicas, or one that has not come to run
    for (desired, state) in [("remove", "running"), ("shutdown", "starting")] {
        let leaving = SwarmTask { desired: desired.into(), state: state.into(), ..leaving.clone() };
        assert_eq!(stands(&one, &[leaving, next.clone()], 60), waiting, "{desired} {state}");
    }
    let ended = [SwarmTask { state: "shutdown".into(), ..leaving.clone() }, next.clone()];
    assert!(failed(stands(&one, &ended, 60)).starts_with("no node takes it"));
    // a node that went away never says that a task ended
    let away = [SwarmTask { node: "away".into(), ..leaving }, next];
    assert!(failed(stands(&one, &away, 60)).starts_with("no node takes it"));
    // one whose turn has just come has its own time
    let since = |seconds: u64| BTreeMap::from([("2".to_owned(), Duration::from_secs(seconds))]);
    assert_eq!(stands_while(&one, &ended, 60, &since(3)), waiting);
    assert!(failed(stands_while(&one, &ended, 60, &since(11))).starts_with("no node takes it"));
}

#[test]
fn an_update_that_a_swarm_gave_up_is_a_failure() {
    let replicated = json!({"Replicated": {"Replicas": 1}});
    let runs = task("1", "running", "running", "");
    let rejected = task("2", "shutdown", "rejected", "No such image: web:2");
    let paused = service(replicated.clone(), Some(("paused", "now")));
    insta::assert_snapshot!(
        failed(stands(&paused, &[runs.clone(), rejected.clone()], 0)),
        @"the update is paused (update paused due to failure); shop_web.1 on node1: No such image: web:2"
    );
    let back = service(replicated.clone(), Some(("rollback_completed", "now")));
    insta::assert_snapshot!(
        failed(stands(&back, &[runs.clone(), rejected], 0)),
        @"the update failed and was rolled back; shop_web.1 on node1: No such image: web:2"
    );
    let undoing = service(replicated.clone(), Some(("rollback_started", "now")));
    let undone = SwarmTask {
        spec: json!({"ContainerSpec": {"Image": "web:3"}}),
        ..task("3", "shutdown", "rejected", "No such image: web:3")
    };
    let tasks = [runs.clone(), undone];
    let why = "shop_web.1 on node1: No such image: web:3";
    assert_eq!(stands(&undoing, &tasks, 0), Standing::Waiting(format!("rolling back, 1 of 1 running; {why}")));
    // long after it
    let (nodes, none, pending) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let rolled_back = |service: &SwarmService, tasks: &[SwarmTask]| {
        let (tasks, waited) = (tasks.iter().collect(), Duration::MAX);
        SwarmLook { service, tasks, nodes: &nodes, before: None, old: &none, waited, pending: &pending }.rolled_back()
    };
    let told = rolled_back(&back, &tasks);
    assert_eq!(told.as_deref(), Some("the last update was rolled back: shop_web.1: No such image: web:3"));
    let told = rolled_back(&back, &tasks[..1]);
    assert_eq!(told.as_deref(), Some("the last update was rolled back: update paused due to failure"));
    assert_eq!(rolled_back(&paused, &tasks), None);
    // one before ours says nothing of ours
    let before = service(replicated.clone(), Some(("rollback_completed", "before")));
    assert_eq!(stands(&before, std::slice::from_ref(&runs), 0), Standing::Ready);
    let under_way = service(replicated, Some(("updating", "now")));
    assert_eq!(stands(&under_way, &[runs], 0), Standing::Waiting("updating, 1 of 1 running".into()));
}
