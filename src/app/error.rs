use std::path::PathBuf;

use crate::apply::Outcome;
use crate::compile::CompileError;
use crate::engine::EngineError;
use crate::engine::discover::Discovery;
use crate::host::{LockError, RunError};
use crate::pki::trust::TrustError;
use crate::pki::{AuthorityError, LeafError};
use crate::plan::{Conflict, SupplyProblem};

/// Why a command did not do its work. Which exit code and which hints it gets is decided in `cli`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no container engine answers")]
    NoEngine(Discovery),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the configuration cannot be compiled")]
    Compile(Vec<CompileError>),
    #[error("something that is not ours is in the way")]
    Conflicts(Vec<Conflict>),
    #[error("images are missing")]
    Supply(Vec<SupplyProblem>),
    /// Some steps failed; what works is kept.
    #[error("not everything came up")]
    Failed(Box<Outcome>),
    #[error("stopped; what was there is kept")]
    Cancelled,
    #[error("no service is called {}", names.join(", "))]
    UnknownService { names: Vec<String>, known: Vec<String> },
    /// Its container is there; the stack that it belongs to was not named this time.
    #[error("{service} belongs to the stack {stack}, which was not given")]
    NotGiven { service: String, stack: String },
    #[error("{service} has no container")]
    NoContainer { service: String },
    #[error("{} was written by a newer macula (format {found}; this one knows {known})", path.display())]
    NewerState { path: PathBuf, found: u64, known: u64 },
    #[error("{} cannot be read: {message}", path.display())]
    BadState { path: PathBuf, message: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Certificate(#[from] LeafError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("no subnet is free for the platform's network: every private range collides with a route of this machine")]
    NoSubnet,
    #[error("no block of loopback addresses is free for the platform {name}")]
    NoBlock { name: String },
    /// The volume is there and the password that opens it is not.
    #[error("the volume {volume} of {service} exists, but the passwords that it was made with are gone from {}", path.display())]
    SecretsLost { service: String, volume: String, path: PathBuf },
    #[error(transparent)]
    Resolver(#[from] super::ResolverError),
    #[error(transparent)]
    Install(#[from] crate::dns::install::InstallError),
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    #[error(transparent)]
    Cluster(#[from] crate::cluster::ClusterError),
    #[error("there are no passwords yet: the first `up` makes them")]
    NoSecrets,
    #[error("{0}")]
    Other(String),
}
