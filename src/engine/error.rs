//! Why an engine did not do what it was asked.

use std::time::Duration;

use crate::model::AnyError;

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    #[error("no container engine answers ({tried})")]
    Unreachable { tried: String },
    #[error("{operation}: no such {what}")]
    NotFound { operation: String, what: String },
    #[error("{operation}: {message}")]
    Conflict { operation: String, message: String },
    /// Another network has taken the subnet since it was chosen.
    #[error("{operation}: {message}")]
    SubnetTaken { operation: String, message: String },
    /// Containers that are not ours are attached to a network that is to go.
    #[error("{operation}: {} is still attached to it", containers.join(", "))]
    Attached { operation: String, network: String, containers: Vec<String> },
    /// The engine counts an endpoint on a network that is to go, of a container that is gone. Nothing but its
    /// restart frees that.
    #[error("{operation}: the engine holds it for a container that is gone")]
    Held { operation: String, network: String },
    /// Somebody else holds a port that the container publishes.
    #[error("{operation}: {address} is taken")]
    PortTaken { operation: String, address: String },
    #[error("{operation}: {source}")]
    Image { operation: String, source: ImageError },
    #[error("{operation}: no space left on the engine's disk: {message}")]
    DiskFull { operation: String, message: String },
    #[error("{operation}: no answer within {} s", after.as_secs())]
    Timeout { operation: String, after: Duration },
    /// The managers of a swarm that answer are too few to decide anything.
    #[error("{operation}: the swarm has no leader")]
    NoLeader { operation: String },
    /// The connection broke while the call was under way.
    #[error("{operation}: the engine went away: {source:#}")]
    Gone { operation: String, source: AnyError },
    /// Nothing that the engine said: a file of this machine, a body or an answer that is not what it should be.
    #[error("{operation}: {source}")]
    Local { operation: String, source: AnyError },
    /// In the words of the engine, which has no others (and neither has what is told apart by them above).
    #[error("{operation}: {message}")]
    Other { operation: String, message: String },
}

/// The different troubles with an image, each with a remedy of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("{reference} does not exist in its registry (gone, or never there)")]
    NotFound { reference: String },
    #[error("{reference} was refused: {message}")]
    Denied { reference: String, message: String },
    #[error("the registry limits pulls of {reference}{}", retry_after.map(|wait| format!("; {wait}")).unwrap_or_default())]
    RateLimited { reference: String, retry_after: Option<Wait> },
    #[error("cannot reach the registry of {reference}: {message}")]
    Unreachable { reference: String, message: String },
    /// With what the registry said.
    #[error("the registry of {reference} answers with an error of its own: {message}")]
    ServerFault { reference: String, message: String },
    #[error("the download of {reference} broke off: {message}")]
    BrokeOff { reference: String, message: String },
    #[error("the engine does not trust the registry of {reference}: {message}")]
    Untrusted { reference: String, message: String },
    #[error("the registry sent something other than the digest of {reference} names ({message})")]
    WrongDigest { reference: String, message: String },
    #[error("{reference} does not fit this machine: {message}")]
    OtherPlatform { reference: String, message: String },
    #[error("{reference}: {message}")]
    BuildFailed { reference: String, message: String, log_tail: Vec<String> },
    #[error("{reference}: {message}")]
    Other { reference: String, message: String },
}

impl EngineError {
    /// For `map_err` of what fails on this side of the connection.
    pub fn local<E: Into<AnyError>>(operation: &str) -> impl Fn(E) -> Self + use<E> {
        let operation = operation.to_owned();
        move |error| Self::Local { operation: operation.clone(), source: error.into() }
    }
}

impl ImageError {
    /// The image that was asked for.
    pub fn reference(&self) -> &str {
        match self {
            Self::NotFound { reference }
            | Self::Denied { reference, .. }
            | Self::RateLimited { reference, .. }
            | Self::Unreachable { reference, .. }
            | Self::ServerFault { reference, .. }
            | Self::BrokeOff { reference, .. }
            | Self::Untrusted { reference, .. }
            | Self::WrongDigest { reference, .. }
            | Self::OtherPlatform { reference, .. }
            | Self::BuildFailed { reference, .. }
            | Self::Other { reference, .. } => reference,
        }
    }

    /// Another try may have it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::ServerFault { .. } | Self::BrokeOff { .. })
    }
}

/// How long a registry wants to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Seconds from now.
    In(u64),
    /// It says only over how many seconds it counts, which is the longest that it can take.
    Within(u64),
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = |seconds: u64| match (seconds, seconds.div_ceil(60)) {
            (0..120, _) => format!("{seconds} s"),
            (_, minutes @ 0..120) => format!("{minutes} min"),
            (_, minutes) if minutes % 60 == 0 => format!("{} h", minutes / 60),
            (_, minutes) => format!("{} h {} min", minutes / 60, minutes % 60),
        };
        match self {
            Self::In(seconds) => write!(f, "try again in {}", time(*seconds)),
            Self::Within(seconds) => write!(f, "it counts them over {0}: try again within {0}", time(*seconds)),
        }
    }
}
