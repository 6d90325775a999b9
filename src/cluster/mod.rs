//! Who makes clusters: one trait, [`kind::Kind`] over the `kind` program, and a fake for tests
//! ([`fake::FakeProvider`]). The user's kubeconfig is [`kubeconfig`]'s.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::engine::{EngineError, ImageError, ProgressSink};
use crate::host::RunError;
use crate::model::{AnyError, ClusterSpec};

pub mod fake;
pub mod kind;
pub mod kubeconfig;

pub use kubeconfig::{Entry, KubeconfigError};

/// Why there is no cluster, told apart by what helps.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// Absent, and it was not to be fetched.
    #[error("the program {program} was not found{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NoProgram {
        program: String,
        reason: Option<String>,
        /// It would be fetched if somebody agreed.
        fetched: bool,
    },
    /// The provider itself works through the engine's own client.
    #[error("{program} works through the program {client}, which is not installed")]
    NoClient { program: String, client: String },
    #[error("{url} could not be fetched: {source}")]
    Fetch { url: String, source: AnyError },
    /// What was fetched is not what was published. It is thrown away.
    #[error("{url} has the checksum {found}, and {expected} was expected")]
    Checksum { url: String, expected: String, found: String },
    /// No source gave the node image; what each said, in order.
    #[error("no source gave the node image {reference}: {}", attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NodeImage { reference: String, attempts: Vec<ImageError> },
    /// kind makes one for several control planes.
    #[error("no source gave {reference}, the load balancer that several control planes need: {}", attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    BalancerImage { reference: String, attempts: Vec<ImageError> },
    #[error("the kubelet of this node image refuses cgroup v1, which this machine has")]
    CgroupV1,
    #[error("the engine may not run privileged containers, which nodes are: {message}")]
    NotPrivileged { message: String },
    #[error("the kernel's limit of file watches is too low for a node: {message}")]
    Inotify { message: String },
    #[error("a node needs more memory or disk than there is: {message}")]
    NoRoom { message: String },
    /// Found before anything is made, or by the engine at the start of a node.
    #[error("ports that the cluster publishes are taken: {}", lines.join("; "))]
    PortTaken { lines: Vec<String> },
    /// Somebody else's.
    #[error("a cluster called {name} is there already, and it is not this platform's")]
    Exists { name: String },
    #[error("there is no cluster {name}")]
    Missing { name: String },
    /// The nodes were made and Kubernetes did not come up. `logs`: a folder with the nodes' logs.
    #[error("{name} did not become ready: {message}")]
    NotReady { name: String, message: String, logs: Option<PathBuf> },
    #[error("{reference} is not in the engine")]
    NoSuchImage { reference: String },
    /// Anything else that the provider's program said.
    #[error("{doing}: {message}")]
    Failed { doing: String, message: String, logs: Option<PathBuf> },
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file of the platform's, which the text names; or what else went wrong about what is kept of a cluster.
    #[error("{0}")]
    Io(#[source] AnyError),
}

impl From<std::io::Error> for ClusterError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.into())
    }
}

/// Makes clusters and takes them away. Whose they are is the caller's business.
#[async_trait]
pub trait ClusterProvider: Send + Sync {
    /// What a user would call it: `kind 0.33.0`.
    async fn version(&self) -> Result<String, ClusterError>;
    /// Names of all clusters, whoever's.
    async fn list(&self) -> Result<Vec<String>, ClusterError>;
    /// Makes the nodes and starts Kubernetes on them; `folder` is for files that this takes and for
    /// logs of a failure. Of a cluster that fails nothing stays but those, unless it is to be
    /// `retain`ed. `running` is told when the nodes run and take images, well before Kubernetes does.
    async fn create(
        &self,
        spec: &ClusterSpec,
        folder: &Path,
        retain: bool,
        running: &(dyn Fn() + Send + Sync),
        progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError>;
    /// No error when there is none.
    async fn delete(&self, name: &str) -> Result<(), ClusterError>;
    /// Writes the logs of all nodes into a folder.
    async fn export_logs(&self, name: &str, folder: &Path) -> Result<(), ClusterError>;
    /// Puts images of the engine into every node.
    async fn load_images(
        &self,
        name: &str,
        references: &[String],
        folder: &Path,
        progress: ProgressSink<'_>,
    ) -> Result<(), ClusterError>;
    /// A kubeconfig with this cluster alone.
    async fn kubeconfig(&self, name: &str) -> Result<String, ClusterError>;
}
