//! What can go wrong between us and the API server.

use std::path::PathBuf;

use kube::client::AuthError;
use kube::core::Status;

use crate::model::{self, AnyError};

/// What the client library gives as the reason of an answer that is not a Status of Kubernetes.
const UNREADABLE: &str = "Failed to parse error data";
/// Lines of what a program that logs in writes before it fails.
const LOGIN_LINES: usize = 5;
/// Of what stands in front of an API server, so much is told.
const MOST: usize = 200;

/// The program that a context logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginProgram {
    pub command: String,
    /// How to install it, in the words of the kubeconfig.
    pub install: Option<String>,
}

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
    /// A program that is to log in, or a file that holds a token, did not give one.
    #[error("cannot log in to the API server {server}: {source:#}")]
    Login {
        server: String,
        source: AnyError,
        /// How to install the program, where it is not there.
        install: Option<String>,
    },
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

    /// What fails where a client is made: a login, or anything else that the kubeconfig says.
    pub(super) fn connecting(server: &str, program: Option<&LoginProgram>, error: kube::Error) -> Self {
        match error {
            kube::Error::Auth(error) => Self::login(server, program, &error),
            other => Self::kubeconfig(other),
        }
    }

    pub(super) fn of(
        server: &str,
        program: Option<&LoginProgram>,
        action: &'static str,
        object: String,
        error: kube::Error,
    ) -> Self {
        match error {
            kube::Error::Api(status) => {
                let Status { code, reason, message, .. } = *status;
                let message = match reason.as_str() {
                    UNREADABLE => without_status(code, &message),
                    _ if message.is_empty() => reason.clone(),
                    _ => message,
                };
                Self::Refused { action, object, code, reason, message }
            }
            kube::Error::SerdeError(error) => Self::Answer { action, object, source: error.into() },
            kube::Error::Auth(error) => Self::login(server, program, &error),
            // a token that is to be renewed comes up here: no request was sent
            kube::Error::Service(error) => match login_below(&*error) {
                Some(error) => Self::login(server, program, error),
                None => Self::Unreachable { server: server.to_owned(), action, object, source: AnyError::boxed(error) },
            },
            other => Self::Unreachable { server: server.to_owned(), action, object, source: other.into() },
        }
    }

    /// In our words: those of the library have the program's whole command line, its environment and what it wrote, in
    /// all of which there are secrets.
    fn login(server: &str, program: Option<&LoginProgram>, error: &AuthError) -> Self {
        let command = program.map_or("the program of its kubeconfig", |program| program.command.as_str());
        let mut install = None;
        let said = match error {
            AuthError::AuthExecRun { out, .. } => {
                let said = String::from_utf8_lossy(&out.stderr);
                let mut lines: Vec<&str> = said.trim().lines().rev().take(LOGIN_LINES).collect();
                lines.reverse();
                let colon = if lines.is_empty() { "" } else { ": " };
                format!("{command} failed ({}){colon}{}", out.status, lines.join("\n"))
            }
            AuthError::AuthExecStart(source) => {
                install = program.and_then(|program| program.install.clone());
                format!("{command} cannot be started: {source}")
            }
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::UnrefreshableTokenResponse => {
                format!("{command} does not write a credential")
            }
            other => model::chain(other),
        };
        Self::Login { server: server.to_owned(), source: AnyError::said(said), install }
    }

    /// May be different in a moment, for nobody's doing but time's.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // a webhook says so, with whatever code
            Self::Refused { message, .. } if message.contains("denied the request") => false,
            Self::Refused { code, reason, message, .. } => match code {
                // a namespace or a type that was made a moment ago and is not known everywhere
                404 => true,
                // somebody wrote at the same time; not "AlreadyExists", which server-side apply never says
                409 => reason == "Conflict",
                // a namespace on its way out
                403 => message.contains("being terminated"),
                // a webhook that does not answer yet, etcd on the move
                500 => {
                    let moving = message.contains("etcdserver") && !message.contains("request is too large");
                    moving || message.contains("failed calling webhook")
                }
                429 | 502 | 503 | 504 => true,
                _ => false,
            },
            Self::Kubeconfig { .. }
            | Self::KubeconfigFile { .. }
            | Self::NoContext { .. }
            | Self::Login { .. }
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

    /// A webhook that the cluster has to ask does not answer.
    pub(super) fn is_silent_webhook(&self) -> bool {
        matches!(self, Self::Refused { message, .. }
            if message.contains("failed calling webhook") && !message.contains("denied the request"))
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
            // larger than any object may be
            Self::Refused { code: 413, .. } => true,
            // as server-side apply says it of fields, items and values
            Self::Refused { code: 500, message, .. } => {
                message.contains("failed to create typed patch object")
                    || message.contains("failed to convert new object")
                    || message.contains("request is too large")
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
        matches!(self, Self::Refused { code: 404, message, .. } if !message.contains("denied the request"))
    }
}

fn no_context(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the kubeconfig has no context {name}"),
        None => "the kubeconfig has no current context".to_owned(),
    }
}

/// The failed login in an error of the client's layers.
fn login_below<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a AuthError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// What an answer means that is not in the form of the API: of an API server about a path that it does not have (a kind
/// of objects, to whoever asks for one), or of what stands in front of it.
fn without_status(code: u16, text: &str) -> String {
    let text = text.trim();
    if (code, text) == (404, "404 page not found") {
        // as kubectl says it
        return "the server could not find the requested resource".to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    // a page for browsers
    if first.is_empty() || first.starts_with('<') {
        let status = http::StatusCode::from_u16(code).map_or_else(|_| code.to_string(), |status| status.to_string());
        return format!("the answer is {status}");
    }
    first.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use super::*;

    fn said(error: kube::Error) -> String {
        let program = LoginProgram { command: "login".into(), install: None };
        KubernetesError::of("https://far:6443", Some(&program), "read", "Secret shop/key".into(), error).to_string()
    }

    #[test]
    fn a_login_that_fails_keeps_its_secrets() {
        let out = Output {
            status: ExitStatus::from_raw(3 << 8),
            stdout: b"token-of-yesterday".to_vec(),
            stderr: b"your session has ended\n".to_vec(),
        };
        let run = || AuthError::AuthExecRun { cmd: "SECRET=\"hunter2\" login".into(), out: Box::new(out.clone()) };
        let ended =
            "cannot log in to the API server https://far:6443: login failed (exit status: 3): your session has ended";
        assert_eq!(said(kube::Error::Auth(run())), ended);
        // where a token is renewed
        assert_eq!(said(kube::Error::Service(Box::new(run()))), ended);
        let nowhere = || AuthError::AuthExecStart(io::Error::from(io::ErrorKind::NotFound));
        let nowhere_said = said(kube::Error::Service(Box::new(nowhere())));
        assert!(nowhere_said.contains("login cannot be started: "), "{nowhere_said}");
        let program = LoginProgram { command: "login".into(), install: Some("apt install login".into()) };
        let failed = KubernetesError::connecting("s", Some(&program), kube::Error::Auth(nowhere()));
        assert!(!failed.is_passing());
        assert!(matches!(failed, KubernetesError::Login { install: Some(install), .. } if install.contains("apt")));
        insta::assert_snapshot!(said(kube::Error::Auth(AuthError::ExecPluginFailed)), @"cannot log in to the API server https://far:6443: login does not write a credential");
    }

    /// As Go's own server says it, a load balancer, and an API server that has too much to do.
    #[test]
    fn an_answer_without_a_status_is_told_in_a_line() {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>";
        for (code, text, expected) in [
            (404, "404 page not found\n", "the server could not find the requested resource"),
            (502, page, "the answer is 502 Bad Gateway"),
            (404, "", "the answer is 404 Not Found"),
            (429, "Too many requests, please try again later.\n", "Too many requests, please try again later."),
        ] {
            let status = Status::failure(text, UNREADABLE).with_code(code);
            let error = kube::Error::Api(status.boxed());
            assert_eq!(said(error), format!("cannot read Secret shop/key: {expected}"));
        }
    }
}
