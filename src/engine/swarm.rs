//! What an engine does for the swarm that it manages.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::EngineError;
use crate::model::{ObservedSwarm, SwarmKind, SwarmRole, SwarmService};

/// The API of a swarm's manager. Bodies of requests are in the words of the engine's API.
#[async_trait]
pub trait Swarm: Send + Sync {
    async fn role(&self) -> Result<SwarmRole, EngineError>;
    /// Everything that bears this label (`key` or `key=value`), with its tasks, and the nodes.
    async fn stacks(&self, label: &str) -> Result<ObservedSwarm, EngineError>;
    /// The ids of all objects of a kind by their names, whoever's.
    async fn ids(&self, kind: SwarmKind) -> Result<BTreeMap<String, String>, EngineError>;
    /// Its id.
    async fn create(&self, kind: SwarmKind, body: &Value) -> Result<String, EngineError>;
    /// Changes a service that nobody has changed since it was looked at.
    async fn update(&self, service: &SwarmService, body: &Value) -> Result<(), EngineError>;
    /// No error when it is gone already.
    async fn remove(&self, kind: SwarmKind, id: &str) -> Result<(), EngineError>;
}
