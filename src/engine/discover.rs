//! Which engine is used: every endpoint that one could mean, in order, and what each said.

use std::sync::Arc;

use super::Engine;
use crate::host::Host;

/// Who names the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The variable DOCKER_HOST.
    DockerHost,
    /// The current Docker context (DOCKER_CONTEXT or the client's configuration).
    Context(String),
    /// /var/run/docker.sock
    DockerSocket,
    /// $XDG_RUNTIME_DIR/docker.sock
    RootlessDocker,
    /// /run/podman/podman.sock
    PodmanRootful,
    /// $XDG_RUNTIME_DIR/podman/podman.sock
    PodmanRootless,
}

/// Why an endpoint is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such socket.
    Absent,
    /// The socket is there, but this process may not open it; the group that may.
    PermissionDenied {
        group: Option<String>,
    },
    /// The socket is there and nobody listens.
    NotListening,
    /// The engine speaks no API of at least 1.41.
    TooOld {
        api: String,
    },
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `unix:///var/run/docker.sock`
    pub endpoint: String,
    pub source: Source,
    /// `Ok`: this one is used.
    pub outcome: Result<(), Refusal>,
}

/// All attempts, in order; at most the last one succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    pub attempts: Vec<Attempt>,
}

/// Stands in until the real search is merged: finds nothing.
pub async fn discover(_: &dyn Host) -> (Discovery, Option<Arc<dyn Engine>>) {
    (Discovery::default(), None)
}
