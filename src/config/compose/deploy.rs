//! `deploy`, as far as it is about several machines.

use super::{duration, string_map, text};
use crate::config::yaml::Node;
use crate::model::{Deploy, DeployMode, RestartPolicy, Rollout};

pub(super) fn build(service: &Node) -> Deploy {
    let Some(deploy) = service.get("deploy") else { return Deploy::default() };
    let placement = deploy.get("placement");
    let reserved = ["resources", "reservations"].iter().try_fold(deploy, |node, key| node.get(key));
    let spread = |placement: &Node| {
        placement.items("preferences").iter().filter_map(|preference| text(preference, "spread")).collect()
    };
    let generic = |reserved: &Node| {
        let all = reserved.items("generic_resources").iter().filter_map(|item| item.get("discrete_resource_spec"));
        all.filter_map(|spec| Some((text(spec, "kind")?, spec.get_int("value").unwrap_or_default()))).collect()
    };
    let cpus = reserved.and_then(|reserved| reserved.get("cpus")).and_then(Node::as_float);
    Deploy {
        mode: deploy.get_text("mode").and_then(DeployMode::parse).unwrap_or_default(),
        labels: string_map(deploy, "labels"),
        endpoint_mode: text(deploy, "endpoint_mode"),
        update: deploy.get("update_config").map(rollout),
        rollback: deploy.get("rollback_config").map(rollout),
        constraints: placement.map(|placement| placement.texts("constraints")).unwrap_or_default(),
        spread: placement.map(spread).unwrap_or_default(),
        max_replicas_per_node: placement.and_then(|placement| count(placement, "max_replicas_per_node")),
        restart: deploy.get("restart_policy").map(|policy| RestartPolicy {
            condition: policy.get_text("condition").map(|condition| swarm_condition(condition).to_owned()),
            delay: duration(policy, "delay"),
            max_attempts: count(policy, "max_attempts"),
            window: duration(policy, "window"),
        }),
        reserved_cpus: cpus.filter(|cpus| *cpus > 0.0).map(|cpus| (cpus * 1e9).round() as i64),
        generic_resources: reserved.map(generic).unwrap_or_default(),
    }
}

/// What a swarm calls this condition, which may be in the words of `restart`.
fn swarm_condition(condition: &str) -> &str {
    match condition {
        "no" => "none",
        "always" | "unless-stopped" => "any",
        other => other,
    }
}

fn rollout(node: &Node) -> Rollout {
    Rollout {
        parallelism: count(node, "parallelism"),
        delay: duration(node, "delay"),
        failure_action: text(node, "failure_action"),
        monitor: duration(node, "monitor"),
        // a number of 32 bits, as Compose keeps it: 0.1 and not 0.10000000149
        max_failure_ratio: node
            .get("max_failure_ratio")
            .and_then(Node::as_float)
            .map(|ratio| (ratio * 1e6).round() / 1e6),
        order: text(node, "order"),
    }
}

fn count(node: &Node, key: &str) -> Option<u64> {
    node.get_int(key).and_then(|count| u64::try_from(count).ok())
}
