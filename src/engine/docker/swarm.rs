//! Docker as the manager of a swarm.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::models::{ConfigSpec, NetworkCreateRequest, SecretSpec, ServiceSpec};
use bollard::query_parameters::UpdateServiceOptions;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answers::encoded;
use super::reference::Reference;
use super::{CHANGE, Docker, unless_missing};
use crate::engine::{EngineError, Swarm, operation};
use crate::model::{ObservedSwarm, SwarmKind, SwarmNode, SwarmObject, SwarmRole, SwarmService, SwarmTask, SwarmUpdate};

#[async_trait]
impl Swarm for Docker {
    async fn role(&self) -> Result<SwarmRole, EngineError> {
        let info: Info = self.get(operation::SWARM, "/info").await?;
        let swarm = info.swarm;
        Ok(match (swarm.local_node_state.as_str(), swarm.control_available) {
            ("active", true) => SwarmRole::Manager { nodes: swarm.nodes },
            ("active", false) => SwarmRole::Worker,
            ("locked", _) => SwarmRole::Locked,
            ("inactive" | "", _) => SwarmRole::None,
            (state, _) => SwarmRole::Unready(match swarm.error.is_empty() {
                true => state.to_owned(),
                false => swarm.error,
            }),
        })
    }

    async fn stacks(&self, label: &str) -> Result<ObservedSwarm, EngineError> {
        let filters = encoded(&json!({"label": [label]}).to_string());
        let query = |path: &str| format!("{path}?filters={filters}");
        let (secrets, configs) = (query("/secrets"), query("/configs"));
        let (services, tasks) = (query("/services"), query("/tasks"));
        let (networks, secrets, configs, services, tasks, nodes) = tokio::try_join!(
            self.get::<Vec<Thing>>(operation::SWARM, "/networks"),
            self.get::<Vec<Thing>>(operation::SWARM, &secrets),
            self.get::<Vec<Thing>>(operation::SWARM, &configs),
            self.get::<Vec<Service>>(operation::SWARM, &services),
            self.get::<Vec<Task>>(operation::SWARM, &tasks),
            self.get::<Vec<Node>>(operation::SWARM, "/nodes"),
        )?;
        // a network of one node is none of the swarm's
        let networks: Vec<SwarmObject> =
            networks.into_iter().filter(|network| network.scope == "swarm").map(Into::into).collect();
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let bears =
            |network: &&SwarmObject| network.labels.get(key).is_some_and(|found| value.is_empty() || found == value);
        Ok(ObservedSwarm {
            network_names: networks.iter().map(|network| (network.id.clone(), network.name.clone())).collect(),
            networks: networks.iter().filter(bears).cloned().collect(),
            secrets: secrets.into_iter().map(Into::into).collect(),
            configs: configs.into_iter().map(Into::into).collect(),
            services: services.into_iter().map(Into::into).collect(),
            tasks: tasks.into_iter().map(Into::into).collect(),
            nodes: nodes.into_iter().map(|node| (node.id.clone(), node.into())).collect(),
        })
    }

    async fn ids(&self, kind: SwarmKind) -> Result<BTreeMap<String, String>, EngineError> {
        let things: Vec<Thing> = self.get(operation::SWARM, folder(kind)).await?;
        // a network of one node is none of the swarm's
        let shared = things.into_iter().filter(|thing| kind != SwarmKind::Network || thing.scope == "swarm");
        Ok(shared.map(SwarmObject::from).map(|object| (object.name, object.id)).collect())
    }

    async fn create(&self, kind: SwarmKind, body: &Value) -> Result<String, EngineError> {
        let name = body["Name"].as_str().unwrap_or_default();
        let operation = operation::create_in_swarm(kind, name);
        match kind {
            SwarmKind::Network => {
                let body: NetworkCreateRequest = typed(&operation, body)?;
                Ok(self.call(&operation, CHANGE, self.client.create_network(body)).await?.id)
            }
            SwarmKind::Secret => {
                let body: SecretSpec = typed(&operation, body)?;
                Ok(self.call(&operation, CHANGE, self.client.create_secret(body)).await?.id)
            }
            SwarmKind::Config => {
                let body: ConfigSpec = typed(&operation, body)?;
                Ok(self.call(&operation, CHANGE, self.client.create_config(body)).await?.id)
            }
            SwarmKind::Service => {
                let login = self.login_for(body).await;
                let body: ServiceSpec = typed(&operation, body)?;
                let made = self.call(&operation, CHANGE, self.client.create_service(body, login)).await?;
                Ok(made.id.unwrap_or_default())
            }
        }
    }

    async fn update(&self, service: &SwarmService, body: &Value) -> Result<(), EngineError> {
        let operation = operation::update_service(&service.name);
        let login = self.login_for(body).await;
        let body: ServiceSpec = typed(&operation, body)?;
        let version = i32::try_from(service.version).map_err(EngineError::local(&operation))?;
        // without a login the one that the service was made with stays
        let options = UpdateServiceOptions { version, ..UpdateServiceOptions::default() };
        let call = self.client.update_service(&service.id, body, options, login);
        self.call(&operation, CHANGE, call).await.map(drop)
    }

    async fn remove(&self, kind: SwarmKind, id: &str) -> Result<(), EngineError> {
        let operation = operation::remove_from_swarm(kind, id);
        let removed = match kind {
            SwarmKind::Network => self.call(&operation, CHANGE, self.client.remove_network(id)).await,
            SwarmKind::Secret => self.call(&operation, CHANGE, self.client.delete_secret(id)).await,
            SwarmKind::Config => self.call(&operation, CHANGE, self.client.delete_config(id)).await,
            SwarmKind::Service => self.call(&operation, CHANGE, self.client.delete_service(id)).await,
        };
        unless_missing(removed)
    }
}

impl Docker {
    /// What nodes pull a service's image with.
    async fn login_for(&self, body: &Value) -> Option<DockerCredentials> {
        let image = body.pointer("/TaskTemplate/ContainerSpec/Image").and_then(Value::as_str)?;
        self.logins.of(&Reference::parse(image).ok()?.registry).await
    }
}

fn folder(kind: SwarmKind) -> &'static str {
    match kind {
        SwarmKind::Network => "/networks",
        SwarmKind::Secret => "/secrets",
        SwarmKind::Config => "/configs",
        SwarmKind::Service => "/services",
    }
}

fn typed<T: DeserializeOwned>(operation: &str, body: &Value) -> Result<T, EngineError> {
    T::deserialize(body).map_err(EngineError::local(operation))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    #[serde(rename = "Swarm")]
    swarm: Membership,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Membership {
    local_node_state: String,
    control_available: bool,
    error: String,
    nodes: u64,
}

/// A network has its name and labels itself, the others in their specification.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Thing {
    #[serde(rename = "ID", alias = "Id")]
    id: String,
    name: String,
    labels: Option<HashMap<String, String>>,
    scope: String,
    spec: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Named {
    name: String,
    labels: Option<HashMap<String, String>>,
}

impl From<Thing> for SwarmObject {
    fn from(thing: Thing) -> Self {
        let (name, labels) = match thing.name.is_empty() {
            true => (thing.spec.name, thing.spec.labels),
            false => (thing.name, thing.labels),
        };
        Self { id: thing.id, name, labels: labels.unwrap_or_default().into_iter().collect() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    spec: Value,
    update_status: Option<UpdateStatus>,
    job_status: Option<JobStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Version {
    index: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UpdateStatus {
    state: String,
    started_at: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct JobStatus {
    job_iteration: Version,
}

impl From<Service> for SwarmService {
    fn from(service: Service) -> Self {
        let named: Named = Named::deserialize(&service.spec).unwrap_or_default();
        Self {
            id: service.id,
            name: named.name,
            version: service.version.index,
            labels: named.labels.unwrap_or_default().into_iter().collect(),
            spec: service.spec,
            update: service.update_status.map(|update| SwarmUpdate {
                state: update.state,
                started: update.started_at,
                message: update.message,
            }),
            iteration: service.job_status.unwrap_or_default().job_iteration.index,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID")]
    service: String,
    #[serde(rename = "NodeID")]
    node: String,
    slot: Option<u64>,
    desired_state: String,
    status: TaskStatus,
    spec: Value,
    job_iteration: Option<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskStatus {
    state: String,
    timestamp: String,
    err: String,
    container_status: Option<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    #[serde(rename = "ContainerID")]
    id: String,
}

impl From<Task> for SwarmTask {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            service: task.service,
            slot: task.slot,
            node: task.node,
            desired: task.desired_state,
            state: task.status.state,
            since: task.status.timestamp,
            error: task.status.err,
            container: task.status.container_status.map(|container| container.id).filter(|id| !id.is_empty()),
            spec: task.spec,
            iteration: task.job_iteration.unwrap_or_default().index,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    spec: NodeSpec,
    description: Description,
    status: NodeStatus,
    manager_status: Option<ManagerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeSpec {
    availability: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Description {
    hostname: String,
    platform: NodePlatform,
    engine: NodeEngine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodePlatform {
    #[serde(rename = "OS")]
    os: String,
    #[serde(rename = "Architecture")]
    architecture: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeEngine {
    engine_version: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeStatus {
    state: String,
    message: String,
    addr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ManagerStatus {
    reachability: String,
    addr: String,
}

impl From<Node> for SwarmNode {
    fn from(node: Node) -> Self {
        // of the manager that is asked engines may know no address, but the one at which it is a manager
        let managed = node.manager_status.as_ref().and_then(|manager| manager.addr.rsplit_once(':'));
        let address = match node.status.addr.as_str() {
            "" | "0.0.0.0" | "127.0.0.1" if managed.is_some() => {
                managed.map_or("", |(address, _)| address.trim_matches(['[', ']'])).to_owned()
            }
            address => address.to_owned(),
        };
        Self {
            id: node.id,
            name: node.description.hostname,
            state: node.status.state,
            message: node.status.message,
            availability: node.spec.availability,
            manager: node.manager_status.map(|manager| manager.reachability),
            address,
            labels: node.spec.labels.unwrap_or_default(),
            engine_labels: node.description.engine.labels.unwrap_or_default(),
            engine: node.description.engine.engine_version,
            os: node.description.platform.os,
            architecture: node.description.platform.architecture,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_says_is_read_with_and_without_its_optional_parts() {
        let network: Thing =
            serde_json::from_value(json!({"Id": "n1", "Name": "shop_default", "Scope": "swarm", "Labels": null}))
                .unwrap();
        assert_eq!(SwarmObject::from(network).name, "shop_default");
        let secret: Thing =
            serde_json::from_value(json!({"ID": "s1", "Spec": {"Name": "shop_key-1", "Labels": {"a": "b"}}})).unwrap();
        let secret = SwarmObject::from(secret);
        assert_eq!((secret.id.as_str(), secret.name.as_str(), secret.labels.len()), ("s1", "shop_key-1", 1));
        let service: Service = serde_json::from_value(json!({
            "ID": "x", "Version": {"Index": 12}, "Spec": {"Name": "shop_web", "Labels": {"k": "v"}, "Mode": {"Global": {}}},
            "UpdateStatus": {"State": "paused", "StartedAt": "2026-01-01T00:00:00Z", "Message": "update paused"},
        }))
        .unwrap();
        let service = SwarmService::from(service);
        assert_eq!((service.version, service.labels["k"].as_str()), (12, "v"));
        assert_eq!(service.update.unwrap().state, "paused");
        let task: Task = serde_json::from_value(json!({
            "ID": "t", "ServiceID": "x", "Status": {"State": "rejected", "Err": "No such image: a:1"}, "DesiredState": "shutdown",
        }))
        .unwrap();
        let task = SwarmTask::from(task);
        assert_eq!((task.error.as_str(), task.container, task.slot), ("No such image: a:1", None, None));
    }

    #[test]
    fn a_node_is_read_whether_it_manages_or_not() {
        let manager: Node = serde_json::from_value(json!({
            "ID": "n1", "Spec": {"Availability": "drain", "Labels": {"data": "true"}},
            "Description": {
                "Hostname": "m1", "Platform": {"OS": "linux", "Architecture": "x86_64"},
                "Engine": {"EngineVersion": "28.5.2", "Labels": {"disk": "ssd"}},
            },
            "Status": {"State": "ready", "Addr": "0.0.0.0"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "[fd00::5]:2377"},
        }))
        .unwrap();
        let manager = SwarmNode::from(manager);
        assert_eq!((manager.name.as_str(), manager.address.as_str()), ("m1", "fd00::5"));
        assert_eq!((manager.manager.as_deref(), manager.availability.as_str()), (Some("reachable"), "drain"));
        assert_eq!((manager.labels["data"].as_str(), manager.engine_labels["disk"].as_str()), ("true", "ssd"));
        assert_eq!((manager.engine.as_str(), manager.os.as_str()), ("28.5.2", "linux"));
        let worker: Node = serde_json::from_value(json!({
            "ID": "n2", "Spec": {"Availability": "active", "Labels": null}, "Description": {"Hostname": "w1"},
            "Status": {"State": "down", "Message": "heartbeat failure", "Addr": "10.0.0.7"},
        }))
        .unwrap();
        let worker = SwarmNode::from(worker);
        assert_eq!((worker.state.as_str(), worker.message.as_str()), ("down", "heartbeat failure"));
        assert_eq!((worker.address.as_str(), worker.manager), ("10.0.0.7", None));
    }
}
