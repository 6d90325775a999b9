//! What of a stack a swarm does not have yet, has otherwise, and has no use for any more.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::standing::{Running, is_live, nodes_done};
use super::{IMAGE_LABEL, PREDEFINED, SwarmStack};
use crate::compile::targets::hash;
use crate::model::{ObservedSwarm, SwarmKind, SwarmService, SwarmTask, label};

/// What of a service's container is named after an image.
const IMAGE: &str = "/TaskTemplate/ContainerSpec/Image";
/// What a service publishes.
const PORTS: &str = "/EndpointSpec/Ports";

/// What nodes are to run in place of an image as the stack names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pin {
    /// With the digest that its registry names; `None`: nobody named one.
    pub image: Option<String>,
    /// Id of the image, where nodes have it from no registry.
    pub id: Option<String>,
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SwarmAct {
    Create,
    Update,
    /// Its mode changes, which a swarm does for no service: it goes and is made again.
    Replace,
    Keep,
    Remove,
}

/// One change, in the order in which they are made.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmChange {
    pub act: SwarmAct,
    pub kind: SwarmKind,
    /// As the swarm has it.
    pub name: String,
    /// What it is to be; `None`: nothing is sent.
    pub body: Option<Value>,
    /// What of a service changes: `image, environment`.
    pub what: Vec<String>,
}

/// What makes a swarm have a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SwarmChanges {
    pub all: Vec<SwarmChange>,
    /// Networks that are otherwise than the files say: a swarm changes none.
    pub fixed: Vec<String>,
    /// What the services are to have, as [`held`] calls it.
    pub held: BTreeSet<String>,
}

impl SwarmChanges {
    pub fn is_nothing(&self) -> bool {
        self.all.iter().all(|change| change.act == SwarmAct::Keep)
    }
}

/// The names of what another platform, or `docker stack deploy`, has under the names of this stack.
pub fn foreign(observed: &ObservedSwarm, platform: &str) -> Vec<String> {
    let ours = |labels: &BTreeMap<String, String>| labels.get(label::DEPLOYED_BY).is_some_and(|by| by == platform);
    let objects = observed.networks.iter().chain(&observed.secrets).chain(&observed.configs);
    let objects = objects.filter(|object| !ours(&object.labels)).map(|object| object.name.clone());
    let services = observed.services.iter().filter(|service| !ours(&service.labels));
    services.map(|service| service.name.clone()).chain(objects).collect()
}

/// Compares a stack with what the swarm has of it. `pins`: by the image's name in the stack. Services come in the
/// order in which they are named.
pub fn swarm_changes(wanted: &SwarmStack, observed: &ObservedSwarm, pins: &BTreeMap<String, Pin>) -> SwarmChanges {
    let mut changes = SwarmChanges::default();
    let objects = [
        (SwarmKind::Network, &wanted.networks, &observed.networks),
        (SwarmKind::Secret, &wanted.secrets, &observed.secrets),
        (SwarmKind::Config, &wanted.configs, &observed.configs),
    ];
    let mut gone = Vec::new();
    for (kind, wanted, there) in objects {
        for body in wanted {
            let name = name_of(body);
            let marked = marked(body.clone());
            let found = there.iter().find(|object| object.name == name);
            if let Some(found) = found
                && kind == SwarmKind::Network
                && found.labels.get(label::FINGERPRINT).map(String::as_str) != fingerprint(&marked)
            {
                changes.fixed.push(name.to_owned());
            }
            let (act, body) = match found {
                Some(_) => (SwarmAct::Keep, None),
                None => (SwarmAct::Create, Some(marked)),
            };
            changes.all.push(SwarmChange { act, kind, name: name.to_owned(), body, what: Vec::new() });
        }
        let names: BTreeSet<&str> = wanted.iter().map(name_of).collect();
        gone.extend(
            there.iter().filter(|object| !names.contains(object.name.as_str())).map(|object| (kind, &object.name)),
        );
    }
    for body in &wanted.services {
        changes.all.push(service_change(body, observed, pins));
    }
    changes.held = wanted.services.iter().flat_map(held).collect();
    let names: BTreeSet<&str> = wanted.services.iter().map(name_of).collect();
    let services = observed.services.iter().map(|service| &service.name).filter(|name| !names.contains(name.as_str()));
    // a network or secret stays as long as a service has it
    let gone = services.map(|name| (SwarmKind::Service, name)).chain(gone.into_iter().rev());
    changes.all.extend(gone.map(|(kind, name)| SwarmChange {
        act: SwarmAct::Remove,
        kind,
        name: name.clone(),
        body: None,
        what: Vec::new(),
    }));
    changes
}

fn service_change(body: &Value, observed: &ObservedSwarm, pins: &BTreeMap<String, Pin>) -> SwarmChange {
    let name = name_of(body).to_owned();
    let found = observed.service(&name);
    let body = marked(pinned(body.clone(), found, pins));
    let change = |act, body, what| SwarmChange { act, kind: SwarmKind::Service, name: name.clone(), body, what };
    let Some(found) = found else { return change(SwarmAct::Create, Some(body), Vec::new()) };
    let there = with_names(found.spec.clone(), &observed.network_names, &body);
    if kind_of_mode(&there) != kind_of_mode(&body) {
        return change(SwarmAct::Replace, Some(body), vec!["mode".to_owned()]);
    }
    let same = found.labels.get(label::FINGERPRINT).map(String::as_str) == fingerprint(&body);
    let differences = differences(&there, &body);
    let same = same && holds(&there, &body) && differences.is_empty();
    let again = same && has_failed(found, observed);
    if same && !again {
        return change(SwarmAct::Keep, None, Vec::new());
    }
    let what = if again { vec!["run again".to_owned()] } else { differences };
    let mut body = body;
    // who asked for a restart is not answered by another one; a job runs once more with each update
    let forced = there.pointer("/TaskTemplate/ForceUpdate").cloned();
    let forced = match again {
        true => Some(json!(forced.and_then(|forced| forced.as_u64()).unwrap_or_default() + 1)),
        false => forced,
    };
    if let Some(forced) = forced
        && let Some(template) = body.get_mut("TaskTemplate").and_then(Value::as_object_mut)
    {
        template.insert("ForceUpdate".into(), forced);
    }
    change(SwarmAct::Update, Some(body), what)
}

/// A job that is over and has not done its work.
fn has_failed(job: &SwarmService, observed: &ObservedSwarm) -> bool {
    let mode = &job.spec["Mode"];
    if mode.get("ReplicatedJob").is_none() && mode.get("GlobalJob").is_none() {
        return false;
    }
    let tasks: Vec<&SwarmTask> = observed.tasks_of(job).filter(|task| task.iteration == job.iteration).collect();
    let Running { running: done, wanted } = match mode.pointer("/ReplicatedJob/TotalCompletions") {
        Some(wanted) => Running {
            running: tasks.iter().filter(|task| task.state == "complete").count(),
            wanted: wanted.as_u64().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(1),
        },
        None => nodes_done(tasks.iter().copied(), &observed.nodes),
    };
    let failed = |task: &SwarmTask| matches!(task.state.as_str(), "failed" | "rejected" | "orphaned");
    done < wanted && tasks.iter().any(|task| failed(task)) && !tasks.iter().any(|task| is_live(task))
}

/// What a service has for itself: volumes, and ports of the nodes.
pub fn held(spec: &Value) -> BTreeSet<String> {
    let list = |at: &'static str| spec.pointer(at).and_then(Value::as_array).into_iter().flatten();
    let mounts = list("/TaskTemplate/ContainerSpec/Mounts").filter(|mount| mount["Type"] == "volume");
    let volumes = mounts.filter_map(|mount| mount["Source"].as_str()).map(|volume| format!("volume {volume}"));
    volumes.chain(list(PORTS).filter_map(published)).collect()
}

/// A port of the nodes, by its number and protocol.
fn published(port: &Value) -> Option<String> {
    let protocol = port["Protocol"].as_str().unwrap_or("tcp");
    Some(format!("port {}/{protocol}", port["PublishedPort"].as_u64().filter(|number| *number > 0)?))
}

/// The service as it is, without the ports that it is to have no longer (`next`) and another one is to have (`other`);
/// `None`: it has none of these.
pub fn without_ports(service: &SwarmService, next: &Value, other: &Value) -> Option<Value> {
    let (keeps, wanted) = (held(next), held(other));
    let goes = |port: &Value| published(port).is_some_and(|port| wanted.contains(&port) && !keeps.contains(&port));
    let mut spec = service.spec.clone();
    let ports = spec.pointer_mut(PORTS)?.as_array_mut()?;
    let before = ports.len();
    ports.retain(|port| !goes(port));
    (ports.len() < before).then_some(spec)
}

fn name_of(body: &Value) -> &str {
    body["Name"].as_str().unwrap_or_default()
}

fn fingerprint(body: &Value) -> Option<&str> {
    body.pointer("/Labels")?.get(label::FINGERPRINT)?.as_str()
}

/// With a label that says what it was made from: what somebody else changed is told from what the files changed.
fn marked(mut body: Value) -> Value {
    let mark = hash(&body.to_string());
    if let Some(labels) = body.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.insert(label::FINGERPRINT.into(), json!(mark));
    }
    body
}

/// With the image that nodes are to run. What no registry names now is what it was, if the stack names the same image.
fn pinned(mut body: Value, found: Option<&SwarmService>, pins: &BTreeMap<String, Pin>) -> Value {
    let Some(image) = body.pointer(IMAGE).and_then(Value::as_str).map(str::to_owned) else { return body };
    let pin = pins.get(&image).cloned().unwrap_or_default();
    let before = found.filter(|found| pin.id.is_none() && found.labels.get(IMAGE_LABEL) == Some(&image));
    let before = before.and_then(|found| found.spec.pointer(IMAGE)).and_then(Value::as_str).map(str::to_owned);
    if let Some(place) = body.pointer_mut(IMAGE) {
        *place = json!(pin.image.or(before).unwrap_or(image));
    }
    if let Some(id) = pin.id
        && let Some(labels) = body.pointer_mut("/TaskTemplate/ContainerSpec/Labels").and_then(Value::as_object_mut)
    {
        labels.insert(label::IMAGE.into(), json!(id));
    }
    body
}

/// Networks by their names, as files have them. Those that each node has of its own bear ids that no manager lists: one
/// that nobody knows is taken for the one that is wanted.
fn with_names(mut spec: Value, names: &BTreeMap<String, String>, wanted: &Value) -> Value {
    let wanted = wanted.pointer("/TaskTemplate/Networks").and_then(Value::as_array).into_iter().flatten();
    let wanted = wanted.filter_map(|network| network["Target"].as_str());
    let mut predefined = wanted.filter(|name| PREDEFINED.contains(name));
    let networks = spec.pointer_mut("/TaskTemplate/Networks").and_then(Value::as_array_mut);
    for network in networks.into_iter().flatten() {
        let name = network["Target"].as_str().and_then(|id| names.get(id)).cloned();
        let name = name.or_else(|| predefined.next().map(str::to_owned));
        if let (Some(name), Some(network)) = (name, network.as_object_mut()) {
            network.insert("Target".into(), json!(name));
        }
    }
    spec
}

fn kind_of_mode(spec: &Value) -> Option<&String> {
    spec["Mode"].as_object().and_then(|mode| mode.keys().next())
}

/// The engine leaves out what is empty, and adds what nobody asked for.
fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| holds(field(there, key), wanted))
        }
        (Value::Null, wanted) => is_empty(wanted),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| holds(there, wanted))
        }
        (Value::Number(there), Value::Number(wanted)) => there.as_f64() == wanted.as_f64(),
        (there, wanted) => there == wanted,
    }
}

/// Docker reads keys in any case, and writes some otherwise than its own description does: `Healthcheck`.
fn field<'a>(map: &'a Map<String, Value>, key: &str) -> &'a Value {
    let spelled = || map.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    map.get(key).or_else(spelled).unwrap_or(&Value::Null)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// The parts of a service, and what people call them. Labels of our own are no part.
const PARTS: &[(&str, &str)] = &[
    (IMAGE, "image"),
    ("/TaskTemplate/ContainerSpec/Labels", "image"),
    ("/TaskTemplate/ContainerSpec/Env", "environment"),
    ("/TaskTemplate/ContainerSpec/Secrets", "secrets"),
    ("/TaskTemplate/ContainerSpec/Configs", "configs"),
    ("/TaskTemplate/ContainerSpec/Mounts", "volumes"),
    ("/TaskTemplate/ContainerSpec/Command", "entrypoint"),
    ("/TaskTemplate/ContainerSpec/Args", "command"),
    ("/TaskTemplate/ContainerSpec/HealthCheck", "healthcheck"),
    ("/TaskTemplate/ContainerSpec/User", "user"),
    ("/TaskTemplate/ContainerSpec/ReadOnly", "read_only"),
    ("/TaskTemplate/ContainerSpec/CapabilityAdd", "cap_add"),
    ("/TaskTemplate/ContainerSpec/CapabilityDrop", "cap_drop"),
    ("/TaskTemplate/ContainerSpec/Hosts", "extra_hosts"),
    ("/TaskTemplate/Resources/Limits/NanoCPUs", "resources"),
    ("/TaskTemplate/Resources/Limits/MemoryBytes", "resources"),
    ("/TaskTemplate/Resources/Limits/Pids", "resources"),
    ("/TaskTemplate/Resources/Reservations/NanoCPUs", "resources"),
    ("/TaskTemplate/Resources/Reservations/MemoryBytes", "resources"),
    ("/TaskTemplate/Resources/Reservations/GenericResources", "resources"),
    ("/TaskTemplate/RestartPolicy", "restart policy"),
    ("/TaskTemplate/Placement", "placement"),
    ("/TaskTemplate/Networks", "networks"),
    ("/Mode", "replicas"),
    ("/UpdateConfig", "update_config"),
    ("/RollbackConfig", "rollback_config"),
    ("/EndpointSpec", "ports"),
    (PORTS, "ports"),
];

fn differences(there: &Value, wanted: &Value) -> Vec<String> {
    let part = |spec: &Value, pointer: &str| {
        let steps = pointer.split('/').skip(1);
        let found = steps.fold(spec, |at, step| at.as_object().map_or(&Value::Null, |map| field(map, step)));
        found.clone()
    };
    let differs = |pointer: &str| {
        let (there, wanted) = (part(there, pointer), part(wanted, pointer));
        match wanted.is_null() {
            // what is no longer said has to go as well, as far as it is not the engine's own addition
            true => !is_default(pointer, &there),
            false => !holds(&there, &wanted),
        }
    };
    let mut all: Vec<String> = Vec::new();
    for (pointer, called) in PARTS {
        if differs(pointer) && !all.iter().any(|known| known == called) {
            all.push((*called).to_owned());
        }
    }
    all
}

/// What the engine says of a service that says nothing of it.
fn is_default(pointer: &str, there: &Value) -> bool {
    let generous = ["/TaskTemplate/RestartPolicy", "/UpdateConfig", "/RollbackConfig", "/EndpointSpec"];
    is_empty(there)
        || generous.contains(&pointer)
        || (pointer == "/TaskTemplate/Placement" && there.get("Constraints").is_none())
}

/// A service with the ids of what its files name: the engine takes secrets and configs by both.
pub fn with_ids(body: &Value, secrets: &BTreeMap<String, String>, configs: &BTreeMap<String, String>) -> Value {
    let mut body = body.clone();
    for (kind, ids) in [("Secret", secrets), ("Config", configs)] {
        let list = body.pointer_mut(&format!("/TaskTemplate/ContainerSpec/{kind}s")).and_then(Value::as_array_mut);
        for reference in list.into_iter().flatten() {
            let id = reference[format!("{kind}Name")].as_str().and_then(|name| ids.get(name)).cloned();
            if let (Some(id), Some(reference)) = (id, reference.as_object_mut()) {
                reference.insert(format!("{kind}ID"), json!(id));
            }
        }
    }
    body
}

/// The service with another number of replicas; `None`: it has no such number.
pub fn scaled(service: &SwarmService, replicas: u64) -> Option<Value> {
    let mut spec = service.spec.clone();
    let mode: &mut Map<String, Value> = spec.pointer_mut("/Mode/Replicated")?.as_object_mut()?;
    mode.insert("Replicas".into(), json!(replicas));
    Some(spec)
}
