//! What a swarm of Docker engines says of itself and of a stack.

use std::collections::BTreeMap;

use serde_json::Value;

/// What an engine is in a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwarmRole {
    /// It is in none.
    None,
    Worker,
    /// It holds what the swarm is to do, and takes orders.
    Manager {
        nodes: u64,
    },
    /// Its keys are locked since it was started.
    Locked,
    /// It is on its way in, or cannot get there: the engine's own words.
    Unready(String),
}

/// A kind of thing that a stack is made of in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwarmKind {
    Network,
    Secret,
    Config,
    Service,
}

impl std::fmt::Display for SwarmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Secret => "secret",
            Self::Config => "config",
            Self::Service => "service",
        })
    }
}

/// A network, secret or config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwarmObject {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// What came of the last change of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwarmUpdate {
    /// `updating`, `paused`, `completed`, `rollback_started`, `rollback_paused`, `rollback_completed`
    pub state: String,
    pub started: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SwarmService {
    pub id: String,
    pub name: String,
    /// Of its specification: who changes it has to name it.
    pub version: u64,
    pub labels: BTreeMap<String, String>,
    /// As the engine has it.
    pub spec: Value,
    pub update: Option<SwarmUpdate>,
    /// Of a job: how often it has been started.
    pub iteration: u64,
}

/// One run of a service on a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SwarmTask {
    pub id: String,
    /// Id of its service.
    pub service: String,
    /// Its number within the service; none of a global one.
    pub slot: Option<u64>,
    /// Id of its node.
    pub node: String,
    /// What it is to come to: `running`, `shutdown`, ...
    pub desired: String,
    /// Where it is: `pending`, `preparing`, `running`, `failed`, `rejected`, ...
    pub state: String,
    /// When it came there.
    pub since: String,
    /// Why it is not where it is to be.
    pub error: String,
    pub container: Option<String>,
    /// The part of its service's specification that it was made from.
    pub spec: Value,
    pub iteration: u64,
}

/// An engine that is part of a swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwarmNode {
    pub id: String,
    /// Its host name.
    pub name: String,
    /// `ready`, `down`, `disconnected`, `unknown`
    pub state: String,
    /// Why it is not ready, in the swarm's words.
    pub message: String,
    /// `active`, `pause`, `drain`
    pub availability: String,
    /// Of a manager: whether the others reach it: `reachable`, `unreachable`, `unknown`.
    pub manager: Option<String>,
    /// By which the others reach it.
    pub address: String,
    pub labels: BTreeMap<String, String>,
    /// Labels that its engine was started with.
    pub engine_labels: BTreeMap<String, String>,
    /// Version of its engine.
    pub engine: String,
    pub os: String,
    /// In the words of `uname -m`: `x86_64`.
    pub architecture: String,
}

/// What a swarm has of one stack, or of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedSwarm {
    pub networks: Vec<SwarmObject>,
    pub secrets: Vec<SwarmObject>,
    pub configs: Vec<SwarmObject>,
    pub services: Vec<SwarmService>,
    pub tasks: Vec<SwarmTask>,
    /// All its nodes by their ids.
    pub nodes: BTreeMap<String, SwarmNode>,
    /// Names of all its networks by their ids, whoever's.
    pub network_names: BTreeMap<String, String>,
}

impl ObservedSwarm {
    pub fn service(&self, name: &str) -> Option<&SwarmService> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Its name, or the id of one that has left.
    pub fn node_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.nodes.get(id).map_or(id, |node| &node.name)
    }

    pub fn tasks_of<'a>(&'a self, service: &'a SwarmService) -> impl Iterator<Item = &'a SwarmTask> {
        self.tasks.iter().filter(|task| task.service == service.id)
    }
}
