//! The world behind one handle.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::discover::{Attempt, Discovery, Refusal, Source, discover_as};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::host::local::LocalHost;

mod inside;
pub mod own_image;

pub use inside::{Inside, OverNetwork, Reach, TellSink};
pub use own_image::{OwnImage, OwnImageError};

/// What effects go through. An engine may be absent: `doctor` says why.
#[derive(Clone)]
pub struct System {
    pub host: Arc<dyn Host>,
    pub engine: Option<Arc<dyn Engine>>,
    pub discovery: Discovery,
    /// The way into a cluster.
    pub reach: Arc<dyn Reach>,
}

impl System {
    /// Looks for an engine. Not finding one is no error: commands that need none work all the same.
    pub async fn connect(host: Arc<dyn Host>) -> Self {
        Self::connect_as(host, None).await
    }

    /// The same with the engine of a Docker context, where one is named.
    pub async fn connect_as(host: Arc<dyn Host>, context: Option<&str>) -> Self {
        let (discovery, engine) = discover_as(host.as_ref(), context).await;
        Self { host, engine, discovery, reach: Arc::new(OverNetwork) }
    }

    /// The same with these variables of another run in place of ours.
    pub async fn connect_with(host: Arc<dyn Host>, variables: BTreeMap<String, String>) -> Self {
        if variables.is_empty() {
            return Self::connect(host).await;
        }
        let mut environment = host.environment();
        environment.extend(variables);
        let machine = LocalHost::with(environment, Some(host.folders().home));
        let (discovery, engine) = discover_as(&machine, None).await;
        Self { host, engine, discovery, reach: Arc::new(OverNetwork) }
    }

    /// For tests: a machine in memory, and the engine that it is to have.
    pub fn fake(host: FakeHost, engine: Option<Arc<dyn Engine>>) -> Self {
        let outcome = if engine.is_some() { Ok(()) } else { Err(Refusal::Absent) };
        let endpoint = "unix:///var/run/docker.sock".to_owned();
        let attempts = vec![Attempt { endpoint, source: Source::DockerSocket, outcome }];
        Self { host: Arc::new(host), engine, discovery: Discovery { attempts }, reach: Arc::new(OverNetwork) }
    }
}
