//! Services of a swarm.

use super::*;

/// It refuses one that says how it is updated.
#[test]
fn a_job_of_a_swarm_is_replaced_at_once() {
    let text = "name: l\nx-deploy: &deploy {update_config: {order: start-first}, rollback_config: {parallelism: 2}}\n\
                services:\n  web: {image: x, deploy: *deploy}\n  \
                migrate: {image: x, deploy: *deploy, x-macula: {once: true}}\n";
    let translation = of(text, Target::Swarm);
    let key = "services.migrate.deploy";
    assert_eq!(lost(&translation), [format!("note {key}.update_config"), format!("note {key}.rollback_config")]);
    let Rendered::Swarm(stack) = &translation.rendered else { panic!("not of a swarm") };
    let said = |service: &Value| ["UpdateConfig", "RollbackConfig"].map(|key| service.get(key).is_some());
    assert_eq!(stack.services.iter().map(said).collect::<Vec<_>>(), [[false, false], [true, true]]);
}

#[test]
fn a_swarm_gets_what_is_said_and_nothing_twice() {
    let text = "name: l\nservices:\n  a: {image: x, restart: \"no\", shm_size: 1g, tmpfs: [/dev/shm], networks: [node]}\n  \
                b: {image: x, shm_size: 1g, networks: [other]}\n  \
                c: {image: x, deploy: {restart_policy: {condition: unless-stopped}}}\n\
                networks: {node: {external: true, name: host}, other: {external: true}}\n";
    let translation = of(text, Target::Swarm);
    strict_all(&translation);
    let stack = swarm_of(translation);
    assert_eq!(stack.external_networks, ["other"], "each node has the other one");
    let task = |index: usize, pointer: &str| stack.services[index]["TaskTemplate"].pointer(pointer).cloned();
    assert_eq!(task(0, "/RestartPolicy"), Some(serde_json::json!({"Condition": "none"})));
    assert_eq!(task(1, "/RestartPolicy"), None, "what says nothing is started again");
    assert_eq!(task(2, "/RestartPolicy"), Some(serde_json::json!({"Condition": "any"})));
    let mounts = |index: usize| task(index, "/ContainerSpec/Mounts").unwrap().as_array().unwrap().len();
    assert_eq!((mounts(0), mounts(1)), (1, 1));
    assert_eq!(task(0, "/Networks"), Some(serde_json::json!([{"Target": "host"}])));
    assert_eq!(task(1, "/Networks"), Some(serde_json::json!([{"Target": "other", "Aliases": ["b"]}])));
}

#[test]
fn the_socket_of_an_engine_is_that_of_each_node_of_a_swarm() {
    let text = "name: l\nservices:\n  agent:\n    image: x\n    volumes: [\"/var/run/docker.sock:/var/run/docker.sock\", \"/srv/docker.sock:/s\"]\n";
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Swarm)).join("\n"), @r#"
    stops compose.yaml:5:60: services.agent.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:5:60: services.agent.volumes[1].bind.create_host_path: the path must be there
    "#);
    let lost = said_of_losses(&of(text, Target::Kubernetes));
    assert_eq!(lost.iter().filter(|loss| loss.starts_with("stops")).count(), 2, "{lost:#?}");
    let stack = swarm_of(of(text, Target::Swarm));
    let mount = &stack.services[0]["TaskTemplate"]["ContainerSpec"]["Mounts"][0];
    assert!(mount["Type"] == "bind" && mount["Source"] == "/var/run/docker.sock", "{mount}");
}
