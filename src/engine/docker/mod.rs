//! Docker and Podman over their HTTP API (Podman through the Docker-compatible half of its
//! socket).

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use tracing::Instrument;

use super::{Engine, EngineError, Found, Query, Swarm, creation};
use crate::model::{EngineKind, Facts};

mod ahead;
mod answers;
mod build;
mod build_output;
mod buildkit;
mod connect;
mod container_files;
mod container_paths;
mod containers;
mod context;
mod dial;
mod errors;
mod exec;
mod exec_attached;
mod image_archives;
mod images;
mod known;
mod lines;
mod logins;
mod logs;
mod networks;
mod program;
mod rate_limit;
mod reference;
#[cfg(test)]
mod schema_tests;
mod snapshot;
mod spec;
mod streams;
mod swarm;
mod take_over;
mod version;

pub use context::{ContextCache, Ignore as PathRules, changed_here, pack_copy};
pub use known::KnownEngines;
pub(super) use logins::{Logins, Settings as LoginSettings};

pub(super) use connect::ConnectError;
use snapshot::{Filters, images_in_use};
pub(super) use spec::volumes_of_image;
use version::ApiVersion;

/// Reading: a busy engine needs a while, a dead one must not hold us up.
const READ: Duration = Duration::from_secs(30);
/// Changing: creating and starting wait for disks and networks.
const CHANGE: Duration = Duration::from_secs(180);

/// A connection to one engine. Cheap to clone; what changes something opens a connection of its own.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    api: ApiVersion,
    lines: Arc<lines::Lines>,
    facts: Arc<Facts>,
    started: Option<String>,
    logins: Arc<Logins>,
    ahead: ahead::Ahead,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker").field("engine", &self.facts.engine).field("api", &self.facts.api_version).finish()
    }
}

impl Docker {
    pub fn with_logins(mut self, logins: Logins) -> Self {
        self.logins = Arc::new(logins);
        self
    }

    fn podman(&self) -> bool {
        self.facts.engine_kind == EngineKind::Podman
    }

    /// Waits for a call, but no longer than `after`.
    async fn call<T>(
        &self,
        operation: &str,
        after: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        let span = tracing::debug_span!("engine", operation);
        let answer = async {
            match tokio::time::timeout(after, call).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(errors::engine_error(operation, error)),
                Err(_) => Err(EngineError::Timeout { operation: operation.to_owned(), after }),
            }
            .inspect_err(|error| tracing::debug!(%error, "the engine refuses"))
        };
        answer.instrument(span).await
    }
}

/// A map as the client takes it.
fn hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What is gone already need not be removed.
fn unless_missing(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Engine for Docker {
    async fn facts(&self) -> Result<Facts, EngineError> {
        Ok((*self.facts).clone())
    }

    fn started(&self) -> Option<String> {
        self.started.clone()
    }

    fn swarm(&self) -> Option<&dyn Swarm> {
        (!self.podman()).then_some(self as &dyn Swarm)
    }

    async fn look_ahead(&self, platform: Option<&str>) {
        // Podman's containers and images are asked for one by one
        if self.podman() {
            return;
        }
        let containers = async {
            let listed = self.list(Filters::new()).await.ok()?;
            let in_use = images_in_use(&listed);
            let files = async {
                match platform {
                    Some(platform) => container_files::stats_ahead(self, platform, &listed).await,
                    None => BTreeMap::new(),
                }
            };
            let (images, stats) = tokio::join!(self.images_asked(&in_use), files);
            Some(ahead::Lists { containers: Some(listed), images: images.ok(), stats, ..ahead::Lists::default() })
        };
        let (lists, networks, volumes) = tokio::join!(containers, self.networks_listed(), self.volumes_listed());
        // whatever failed is asked for once more, and says why then
        let lists = lists.unwrap_or_default();
        self.ahead.keep(ahead::Lists { networks: networks.ok(), volumes: volumes.ok(), ..lists });
    }

    async fn find(&self, query: &Query) -> Result<Found, EngineError> {
        let ((containers, labelled), networks, volumes, images) = tokio::try_join!(
            self.find_containers(query),
            self.find_networks(query),
            self.find_volumes(query),
            self.find_images(&query.images),
        )?;
        let (unfinished, containers) =
            containers.into_iter().partition(|container| creation::is_unfinished(&container.name));
        Ok(Found { containers, unfinished, networks, volumes, images, labelled })
    }
}
