//! How the services of stacks stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::work::look;
use super::{found, manager, orders};
use crate::app::{Error, Session};
use crate::compile::targets::{Running, STACK_LABEL, Standing};
use crate::engine::Swarm;
use crate::model::{ObservedSwarm, SwarmService, SwarmTask, label};

/// A service of a stack, as its swarm has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedService {
    pub stack: String,
    pub service: String,
    /// `replicated`, `global`, `replicated job`, `global job`
    pub mode: &'static str,
    pub running: usize,
    pub wanted: usize,
    pub image: String,
    /// `8080->80/tcp`
    pub ports: Vec<String>,
    pub tasks: Vec<DeployedTask>,
    /// What is wrong with it.
    pub trouble: Option<String>,
    /// Why the swarm undid its last update. It runs all the same, as before that.
    pub rolled_back: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedTask {
    pub node: String,
    pub slot: Option<u64>,
    pub state: String,
    pub since: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How the services of a stack stand, or of all that this platform has deployed.
///
/// # Errors
/// No manager, no such stack.
pub async fn status_on_swarm(
    session: &Session,
    stack: Option<&str>,
    platform: &str,
) -> Result<Vec<DeployedService>, Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    Ok(rows(&deployed(swarm, stack, platform).await?))
}

/// A stack of this platform, or all that it has deployed.
pub(super) async fn deployed(swarm: &dyn Swarm, stack: Option<&str>, platform: &str) -> Result<ObservedSwarm, Error> {
    let mut observed = match stack {
        Some(stack) => found(swarm, stack, platform).await?,
        None => swarm.stacks(STACK_LABEL).await?,
    };
    observed.services.retain(|service| service.labels.get(label::DEPLOYED_BY).is_some_and(|by| by == platform));
    Ok(observed)
}

pub(super) fn rows(observed: &ObservedSwarm) -> Vec<DeployedService> {
    let (none, pending) = (BTreeSet::new(), BTreeMap::new());
    let rows = observed.services.iter().map(|service| {
        let last = service.update.as_ref().map(|update| update.started.as_str());
        // an update that ended long ago is no news, unless it is still in the way
        let stuck = ["paused", "rollback_paused", "rollback_started"];
        let stuck = service.update.as_ref().is_some_and(|update| stuck.contains(&update.state.as_str()));
        let look = look(observed, service, last.filter(|_| !stuck), &none, (Duration::MAX, &pending));
        let Running { running, wanted } = look.running();
        let trouble = match look.standing() {
            Standing::Ready => None,
            Standing::Waiting(reason) | Standing::Failed { reason, .. } => Some(reason),
        };
        DeployedService { trouble, rolled_back: look.rolled_back(), ..row(observed, service, (running, wanted)) }
    });
    let mut rows: Vec<DeployedService> = rows.collect();
    rows.sort_by(|a, b| (&a.stack, &a.service).cmp(&(&b.stack, &b.service)));
    rows
}

fn row(observed: &ObservedSwarm, service: &SwarmService, (running, wanted): (usize, usize)) -> DeployedService {
    let stack = service.labels.get(STACK_LABEL).cloned().unwrap_or_default();
    let short = service.name.strip_prefix(&stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or(&service.name);
    let mode = match service.spec["Mode"].as_object().and_then(|mode| mode.keys().next()).map(String::as_str) {
        Some("Global") => "global",
        Some("ReplicatedJob") => "replicated job",
        Some("GlobalJob") => "global job",
        _ => "replicated",
    };
    let image = service.spec.pointer("/TaskTemplate/ContainerSpec/Image").and_then(Value::as_str).unwrap_or_default();
    let ports = service.spec.pointer("/EndpointSpec/Ports").and_then(Value::as_array).into_iter().flatten();
    let ports = ports.map(|port| {
        let number = |key: &str| port[key].as_u64().map(|number| number.to_string());
        let (target, protocol) = (number("TargetPort").unwrap_or_default(), port["Protocol"].as_str().unwrap_or("tcp"));
        match number("PublishedPort") {
            Some(published) => format!("{published}->{target}/{protocol}"),
            None => format!("{target}/{protocol}"),
        }
    });
    let mut tasks: Vec<&SwarmTask> = observed
        .tasks_of(service)
        .filter(|task| task.desired != "shutdown" || matches!(task.state.as_str(), "failed" | "rejected"))
        .collect();
    tasks.sort_by_key(|task| (task.slot, task.since.clone()));
    DeployedService {
        service: short.to_owned(),
        stack,
        mode,
        running,
        wanted,
        image: image.split('@').next().unwrap_or(image).to_owned(),
        ports: ports.collect(),
        tasks: tasks
            .into_iter()
            .map(|task| DeployedTask {
                node: observed.node_name(&task.node).to_owned(),
                slot: task.slot,
                state: task.state.clone(),
                since: task.since.clone(),
                error: task.error.clone(),
            })
            .collect(),
        trouble: None,
        rolled_back: None,
    }
}
