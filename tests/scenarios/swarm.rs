//! `macula stack` on a real swarm of one node. This machine's kernel may have no IPVS: names lead to tasks, and ports are
//! published on the node.

use serde_json::Value;

use crate::harness::{Platform, SwarmNode, eventually};

const SHOP: &str = "
services:
  db:
    <<: *base
    command: [sh, -c, 'sleep 1; echo yes > /tmp/ready; httpd -f -p 5432 -h /www']
    healthcheck: {test: [CMD, test, -f, /tmp/ready], interval: 1s}
    volumes: ['data:/data']
    deploy: {endpoint_mode: dnsrr, placement: {constraints: [node.role == manager]}}
  prepare:
    <<: *base
    command: [sh, -c, 'wget -q -O - http://db:5432/']
    depends_on: {db: {condition: service_healthy}}
    deploy: {mode: replicated-job, restart_policy: {condition: none}}
  web:
    <<: *base
    command: [sh, -c, 'cat /etc/motd /run/secrets/pw; exec httpd -f -p 80 -h /www']
    environment: {LEVEL: \"${LEVEL:-1}\"}
    depends_on: {prepare: {condition: service_completed_successfully}}
    configs: [{source: motd, target: /etc/motd}]
    secrets: [pw]
    ports: [{mode: host, target: 80, published: 8099}]
    deploy:
      endpoint_mode: dnsrr
      update_config: {order: stop-first, failure_action: rollback, monitor: 2s}
      resources: {limits: {memory: 32M, cpus: '0.5'}}
configs: {motd: {content: \"hello\\n\"}}
secrets: {pw: {environment: PW}}
volumes: {data: {}}
";

fn started(scenario: &str) -> Option<(Platform, SwarmNode)> {
    let platform = Platform::new(scenario)?;
    let node = SwarmNode::start(scenario)?;
    platform.engine_at(node.engine.endpoint());
    platform.set("PW", "first");
    platform.stack(&format!("name: shop\n{SHOP}"));
    Some((platform, node))
}

fn acts(done: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changes = done["changes"].as_array().unwrap().iter();
    let changes = changes.filter(|change| change["act"] != "keep");
    // names of configs and secrets end in a hash
    let plain = |name: String| name.rsplit_once('-').map_or(name.clone(), |(front, _)| front.to_owned());
    changes
        .map(|change| format!("{} {} {}", text(&change["act"]), text(&change["kind"]), plain(text(&change["name"]))))
        .collect()
}

#[test]
fn a_stack_lives_on_a_swarm() {
    let Some((platform, node)) = started("a_stack_lives_on_a_swarm") else { return };
    let planned = platform.run("stack deploy shop --target swarm --dry-run -o json").ok().json();
    assert_eq!(
        acts(&planned),
        [
            "create network shop_default",
            "create secret shop_pw",
            "create config shop_motd",
            "create service shop_db",
            "create service shop_prepare",
            "create service shop_web",
        ]
    );
    // as docs/targets.md shows it
    platform.run("stack deploy shop --target swarm --dry-run").ok().prints("create   network shop_default\n");
    platform.run("stack deploy shop --target swarm --namespace other").exits(2).says("--namespace");
    assert!(node.named("services").is_empty(), "a dry run made something");

    platform.run("stack deploy shop --target swarm").ok().says("shop runs on Swarm: 6 created");
    let (db, web) = (node.service("shop_db"), node.service("shop_web"));
    assert!(db["CreatedAt"].as_str() < web["CreatedAt"].as_str(), "the order of depends_on");
    let limits = &web["Spec"]["TaskTemplate"]["Resources"]["Limits"];
    assert_eq!((limits["MemoryBytes"].as_u64(), limits["NanoCPUs"].as_u64()), (Some(32 << 20), Some(500_000_000)));
    assert_eq!(web["Spec"]["Labels"]["com.docker.stack.namespace"], "shop");
    platform.run("stack deploy shop --target swarm --dry-run").ok().prints("nothing to do");
    assert_eq!(node.service("shop_web")["Version"], web["Version"]);

    // another secret is another one, and an update; the old one goes
    platform.set("PW", "second");
    let changed = platform.run("stack deploy shop --target swarm -o json").ok().json();
    assert_eq!(acts(&changed), ["create secret shop_pw", "update service shop_web", "remove secret shop_pw"]);
    assert_eq!(node.named("secrets").len(), 1);

    // the node has a network of its own, and is known by an address that this machine has as well
    let checked = platform.run("stack validate shop --target swarm");
    checked
        .ok()
        .prints("1 of 1 reachable")
        .prints("shop_db: node.role == manager: ")
        .prints("shop_web: 1 of 1 running");
    checked.prints("127.0.0.1:8099: shop_web: nothing listens there").prints("shop_prepare: 1 of 1 done");
    platform.run("stack validate --target swarm --namespace other").exits(2).says("--namespace");
    platform.run("stack validate nothing --target swarm").exits(2).says("there is no stack nothing");

    platform.run("stack scale shop db=2 --target swarm").ok();
    let status = platform.run("stack status shop --target swarm -o json").ok().json();
    let row = |name: &str| status.as_array().unwrap().iter().find(|row| row["service"] == name).unwrap().clone();
    assert_eq!((row("db")["running"].as_u64(), row("db")["wanted"].as_u64()), (Some(2), Some(2)));
    assert_eq!(row("prepare")["mode"], "replicated job");
    platform.run("stack scale shop dbb=2 --target swarm").exits(2).says("did you mean db?");
    platform.run("stack scale shop prepare=2 --target swarm").exits(2);
    // what somebody else changed comes back
    let back = platform.run("stack deploy shop --target swarm -o json").ok().json();
    assert_eq!(acts(&back), ["update service shop_db"]);

    let gone = platform.run("stack remove shop --target swarm -o json").ok().json();
    assert!(gone["removed"].as_array().unwrap().contains(&"service shop_web".into()), "{gone}");
    assert!(node.named("services").is_empty() && node.named("secrets").is_empty() && node.named("configs").is_empty());
    let networks = node.named("networks");
    assert!(!networks.iter().any(|(name, _)| name.starts_with("shop")), "{networks:?}");
    let volumes = node.engine.get("/volumes");
    assert_eq!(volumes["Volumes"][0]["Name"], "shop_data");
    platform.run("stack remove shop --target swarm").exits(2).says("there is no stack shop");
}

#[test]
fn what_does_not_run_on_a_swarm_says_why() {
    let Some((platform, node)) = started("what_does_not_run_on_a_swarm_says_why") else { return };
    platform.run("stack deploy shop --target swarm").ok();
    // the update fails, is rolled back by the swarm, and the task's own word is told
    let broken = SHOP.replace("cat /etc/motd", "echo the cellar is locked; exit 3; cat /etc/motd");
    platform.stack(&format!("name: shop\n{broken}"));
    let failed = platform.run("stack deploy shop --target swarm");
    failed.exits(7).says("rolled back").says("non-zero exit (3)").says("the cellar is locked");
    // the task that the swarm went back to has just been started
    eventually("the stack runs as before", || platform.run("stack status shop --target swarm").code == 0);
    platform.run("stack status shop --target swarm").ok().prints("shop_web: the last update was rolled back: ");

    platform.stack(&format!("name: shop\n{}", SHOP.replace("node.role == manager", "node.labels.disk == fast")));
    platform.run("stack deploy shop --target swarm --timeout 60s").exits(7).says("no suitable node");

    platform.stack("name: shop\nservices: {web: {image: 'nowhere.invalid/web:1'}}\n");
    platform.run("stack deploy shop --target swarm").exits(6).says("nowhere.invalid/web:1");
    platform.stack("name: shop\nservices: {web: {<<: *base, secrets: [key]}}\nsecrets: {key: {external: true}}\n");
    platform.run("stack deploy shop --target swarm").exits(3).says("secret key");
    assert_eq!(node.named("services").len(), 3, "what is wrong beforehand changes nothing");

    // somebody else's stack
    let other = platform.beside();
    other.engine_at(node.engine.endpoint());
    other.run("stack deploy shop --target swarm").exits(5);
    other.run("stack remove shop --target swarm").exits(5);

    // an engine without a swarm
    node.engine.request("POST", "/swarm/leave?force=true", None).unwrap();
    platform.run("stack deploy shop --target swarm").exits(9).says("not part of a swarm").says("docker swarm init");
}
