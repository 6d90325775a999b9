//! A provider in memory, whose nodes are containers of a [`FakeEngine`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::kind::{CLUSTER_LABEL, ROLE_LABEL};
use super::{ClusterError, ClusterProvider};
use crate::engine::ProgressSink;
use crate::engine::fake::FakeEngine;
use crate::event::Progress;
use crate::model::{ClusterSpec, ContainerState, ObservedContainer};

#[derive(Default)]
struct World {
    clusters: BTreeMap<String, Vec<String>>,
    fails: Option<ClusterError>,
    hangs: bool,
    journal: Vec<String>,
}

/// Clones are the same provider.
#[derive(Clone)]
pub struct FakeProvider {
    world: Arc<Mutex<World>>,
    engine: FakeEngine,
}

impl FakeProvider {
    pub fn new(engine: FakeEngine) -> Self {
        Self { world: Arc::default(), engine }
    }

    /// The next creation ends so.
    pub fn fails(self, error: ClusterError) -> Self {
        self.lock().fails = Some(error);
        self
    }

    /// A creation makes its nodes and never ends.
    pub fn hangs(self) -> Self {
        self.lock().hangs = true;
        self
    }

    /// What was asked, in order.
    pub fn journal(&self) -> Vec<String> {
        self.lock().journal.clone()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Result<(), ClusterError> {
        let known = self.lock().clusters.contains_key(name);
        if known { Ok(()) } else { Err(ClusterError::Missing { name: name.to_owned() }) }
    }
}

/// Names as kind gives them, with their roles.
pub fn node_names(name: &str, control_planes: u8, workers: u8) -> Vec<(String, &'static str)> {
    let numbered = |role: &'static str, count: u8| {
        (1..=count).map(move |number| {
            let suffix = if number == 1 { String::new() } else { number.to_string() };
            (format!("{name}-{role}{suffix}"), role)
        })
    };
    let balancer = (control_planes > 1).then(|| (format!("{name}-external-load-balancer"), "external-load-balancer"));
    numbered("control-plane", control_planes).chain(numbered("worker", workers)).chain(balancer).collect()
}

#[async_trait]
impl ClusterProvider for FakeProvider {
    async fn version(&self) -> Result<String, ClusterError> {
        Ok("kind 0.33.0".into())
    }

    async fn list(&self) -> Result<Vec<String>, ClusterError> {
        Ok(self.lock().clusters.keys().cloned().collect())
    }

    async fn create(
        &self,
        spec: &ClusterSpec,
        _folder: &Path,
        retain: bool,
        running: &(dyn Fn() + Send + Sync),
        progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError> {
        let retained = if retain { " and retain it" } else { "" };
        self.lock().journal.push(format!("create {}{retained}", spec.name));
        progress(Progress::Line { text: "preparing nodes".into() });
        if let Some(error) = self.lock().fails.take() {
            return Err(error);
        }
        let mut nodes = Vec::new();
        for (number, (name, role)) in node_names(&spec.name, spec.control_planes, spec.workers).into_iter().enumerate()
        {
            let labels = [(CLUSTER_LABEL, spec.name.as_str()), (ROLE_LABEL, role)];
            let last = u8::try_from(number).unwrap_or_default().saturating_add(130);
            let container = ObservedContainer {
                id: format!("{name}-0123456789"),
                name: name.clone(),
                image: spec.node_image.clone(),
                state: ContainerState::Running,
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                addresses: [(spec.network.clone(), Ipv4Addr::new(10, 222, 7, last))].into(),
                ..ObservedContainer::default()
            };
            let _ = self.engine.clone().with_container(container);
            nodes.push(name);
        }
        self.lock().clusters.insert(spec.name.clone(), nodes);
        running();
        let hangs = self.lock().hangs;
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), ClusterError> {
        let mut world = self.lock();
        world.journal.push(format!("delete {name}"));
        for node in world.clusters.remove(name).unwrap_or_default() {
            self.engine.remove_by_hand(&node);
        }
        Ok(())
    }

    async fn export_logs(&self, name: &str, _folder: &Path) -> Result<(), ClusterError> {
        self.lock().journal.push(format!("export logs of {name}"));
        self.known(name)
    }

    async fn load_images(
        &self,
        name: &str,
        references: &[String],
        _folder: &Path,
        _progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError> {
        self.lock().journal.push(format!("load {} into {name}", references.join(" ")));
        self.known(name)
    }

    async fn kubeconfig(&self, name: &str) -> Result<String, ClusterError> {
        self.known(name)?;
        Ok(format!(
            "clusters: [{{name: kind-{name}, cluster: {{server: 'https://127.0.0.1:6443'}}}}]\n\
             users: [{{name: kind-{name}, user: {{token: secret}}}}]\n"
        ))
    }
}
