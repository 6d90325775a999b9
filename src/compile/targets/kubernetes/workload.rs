//! What makes pods, and how many.

use serde_json::{Map, Value, json};

use super::common::{annotations, has_data, metadata, object, seconds, selector, some};
use super::pod::template;
use crate::compile::targets::{Part, Scene};
use crate::model::Restart;

/// How often a job is tried again that asks for it and does not say how often: Kubernetes' own number.
const TRIES: i64 = 6;

/// Seconds after which a rollout counts as stuck where nothing is said: Kubernetes' own number.
const DEADLINE: u64 = 600;

/// Whether a new pod of the service finds no place while the old one is there: it wants a port of the node, or the node
/// for itself.
pub(in crate::compile::targets) fn is_alone(part: &Part<'_>) -> bool {
    let service = part.service;
    service.deploy.max_replicas_per_node == Some(1)
        || service.ports.iter().any(|port| port.host_mode && port.published.is_some())
}

pub(super) fn workload(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let service = part.service;
    let mut metadata = metadata(scene, part, part.name);
    metadata.insert("annotations".into(), some(annotations(&service.deploy.labels)));
    let matches = json!({"matchLabels": selector(scene, part)});
    let template = template(scene, part);
    if part.is_job() {
        let tries = match service.options.restart {
            Restart::OnFailure(Some(tries)) => tries,
            Restart::OnFailure(None) => TRIES,
            Restart::No | Restart::Always | Restart::UnlessStopped => 0,
        };
        let count = (service.replicas > 1).then_some(service.replicas);
        let spec = json!({"backoffLimit": tries, "completions": count, "parallelism": count, "template": template});
        return object("batch/v1", "Job", metadata, json!({"spec": spec}));
    }
    let waits = service.deploy.update.as_ref().and_then(|update| update.delay).filter(|delay| !delay.is_zero());
    let waits = waits.map(seconds);
    // an autoscaler's number is its own
    let replicas = service.extension.scale.is_none().then_some(service.replicas);
    if service.deploy.mode.is_global() {
        let spec = json!({
            "selector": matches, "updateStrategy": strategy(part), "minReadySeconds": waits, "template": template,
        });
        return object("apps/v1", "DaemonSet", metadata, json!({"spec": spec}));
    }
    if has_data(part) {
        let spec = json!({
            "serviceName": part.name, "replicas": replicas, "minReadySeconds": waits, "selector": matches,
            "template": template,
        });
        return object("apps/v1", "StatefulSet", metadata, json!({"spec": spec}));
    }
    let deadline = service.extension.probe.as_ref().and_then(|probe| probe.timeout).map(seconds);
    // the API server refuses one that is no longer than what a pod has to be ready for
    let deadline = match waits {
        Some(waits) if deadline.unwrap_or(DEADLINE) <= waits => Some(waits.saturating_add(DEADLINE)),
        _ => deadline,
    };
    let spec = json!({
        "replicas": replicas, "strategy": strategy(part), "minReadySeconds": waits,
        "progressDeadlineSeconds": deadline,
        "selector": matches, "template": template,
    });
    object("apps/v1", "Deployment", metadata, json!({"spec": spec}))
}

/// `update_config`: so many at once, the old ones first or the new ones. A Deployment starts a new pod first unless told
/// otherwise, and such a rollout never ends where that pod finds no place.
fn strategy(part: &Part<'_>) -> Value {
    let (update, alone) = (part.service.deploy.update.as_ref(), is_alone(part));
    if update.is_none() && (!alone || part.service.deploy.mode.is_global()) {
        return Value::Null;
    }
    let at_once = match update.and_then(|update| update.parallelism) {
        Some(0) => json!("100%"),
        Some(count) => json!(count),
        None => json!(1),
    };
    let (surge, unavailable) = match update.and_then(|update| update.order.as_deref()) {
        Some("start-first") if !alone => (at_once, json!(0)),
        _ => (json!(0), at_once),
    };
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// What changes the number of pods, and what keeps the cluster's own work from taking all of them.
pub(super) fn scaling(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    if part.is_job() || part.service.deploy.mode.is_global() {
        return all;
    }
    let kind = if has_data(part) { "StatefulSet" } else { "Deployment" };
    let meta = || -> Map<String, Value> { metadata(scene, part, part.name) };
    let scale = part.service.extension.scale;
    if let Some(scale) = scale {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": part.name},
            "minReplicas": scale.min, "maxReplicas": scale.max,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": scale.cpu},
            }}],
        });
        all.push(object("autoscaling/v2", "HorizontalPodAutoscaler", meta(), json!({"spec": spec})));
    }
    if scale.map_or(part.service.replicas, |scale| scale.min) > 1 {
        let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": selector(scene, part)}});
        all.push(object("policy/v1", "PodDisruptionBudget", meta(), json!({"spec": spec})));
    }
    all
}
