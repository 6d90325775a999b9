//! What can go wrong between us and the API server.

use std::path::PathBuf;

use kube::core::Status;

use crate::model::{self, AnyError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubernetesError {
    #[error("the kubeconfig cannot be used: {source:#}")]
    Kubeconfig { source: AnyError },
    /// One of those that `KUBECONFIG` names.
    #[error("the kubeconfig cannot be used: {}: {source:#}", path.display())]
    KubeconfigFile { path: PathBuf, source: AnyError },
    /// It has no context of this name, or names none as the current one.
    #[error("{}", no_context(context.as_deref()))]
    NoContext { context: Option<String>, known: Vec<String> },
    /// No answer: it is not there, or not ours.
    #[error("cannot {action} {object}: the API server {server} does not answer: {source:#}")]
    Unreachable { server: String, action: &'static str, object: String, source: AnyError },
    /// An answer that says no.
    #[error("cannot {action} {object}: {message}")]
    Refused {
        action: &'static str,
        object: String,
        /// HTTP.
        code: u16,
        /// `Invalid`, `Forbidden`.
        reason: String,
        message: String,
    },
    /// An answer that cannot be read.
    #[error("cannot {action} {object}: the API server's answer cannot be read: {source}")]
    Answer { action: &'static str, object: String, source: AnyError },
    /// A manifest that is none. A defect of ours.
    #[error("a manifest of {addon} has no kind or name")]
    Manifest { addon: String },
}

impl KubernetesError {
    pub(super) fn kubeconfig(error: impl Into<AnyError>) -> Self {
        Self::Kubeconfig { source: error.into() }
    }

    pub(super) fn of(server: &str, action: &'static str, object: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let Status { code, reason, message, .. } = *status;
                let message = if message.is_empty() { reason.clone() } else { message };
                Self::Refused { action, object, code, reason, message }
            }
            kube::Error::SerdeError(error) => Self::Answer { action, object, source: error.into() },
            // a program that logs in, a token that cannot be renewed
            kube::Error::Auth(error) => {
                let message = format!("the login does not work: {}", model::chain(&error));
                Self::Refused { action, object, code: 401, reason: "Unauthorized".into(), message }
            }
            kube::Error::Service(error) => {
                Self::Unreachable { server: server.to_owned(), action, object, source: AnyError::boxed(error) }
            }
            other => Self::Unreachable { server: server.to_owned(), action, object, source: other.into() },
        }
    }

    /// May be different in a moment, for nobody's doing but time's.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, reason, message, .. } => match code {
                // a namespace or a type that was made a moment ago and is not known everywhere
                404 => true,
                // somebody wrote at the same time; not "AlreadyExists", which server-side apply never says
                409 => reason == "Conflict",
                // a namespace on its way out
                403 => message.contains("being terminated"),
                // a webhook that does not answer yet, etcd on the move
                500 => message.contains("failed calling webhook") || message.contains("etcdserver"),
                429 | 502 | 503 | 504 => true,
                _ => false,
            },
            Self::Kubeconfig { .. }
            | Self::KubeconfigFile { .. }
            | Self::NoContext { .. }
            | Self::Answer { .. }
            | Self::Manifest { .. } => false,
        }
    }

    /// The object there and the one that we want differ in what cannot be changed.
    pub(super) fn is_immutable(&self) -> bool {
        matches!(self, Self::Refused { code: 422, message, .. }
            if message.contains("immutable") || message.contains("cannot change roleRef")
                || message.contains("updates to statefulset spec for fields other than")
                // the address of a Service
                || message.contains("may not change once set"))
    }

    /// A webhook cannot say what it would say.
    pub(super) fn is_no_dry_run(&self) -> bool {
        matches!(self, Self::Refused { code: 400, message, .. } if message.contains("does not support dry run"))
    }

    /// Another Ingress has the host and the path, says the webhook of ingress-nginx.
    pub(super) fn is_taken_route(&self) -> bool {
        matches!(self, Self::Refused { code: 400, message, .. } if message.contains("is already defined in ingress"))
    }

    /// The object is none that an API server takes, wherever it is to be.
    pub(super) fn is_about_form(&self) -> bool {
        match self {
            Self::Refused { code: 400 | 422, message, .. } => {
                // a webhook and a policy of the cluster, which may go by the namespace
                let by_rule = ["denied the request", "denied request"].iter().any(|said| message.contains(said));
                !by_rule && !self.is_no_dry_run() && !self.is_immutable()
            }
            // as server-side apply says it of fields, items and values
            Self::Refused { code: 500, message, .. } => {
                message.contains("failed to create typed patch object")
                    || message.contains("failed to convert new object")
            }
            _ => false,
        }
    }

    /// The API server has no objects of this kind, in no namespace.
    pub(super) fn is_no_kind(&self) -> bool {
        matches!(self, Self::Refused { code: 404, message, .. }
            if message.contains("could not find the requested resource"))
    }

    /// The same about an object of another name.
    pub(super) fn of_object(self, name: String) -> Self {
        match self {
            Self::Refused { action, code, reason, message, .. } => {
                Self::Refused { action, object: name, code, reason, message }
            }
            other => other,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

fn no_context(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the kubeconfig has no context {name}"),
        None => "the kubeconfig has no current context".to_owned(),
    }
}
