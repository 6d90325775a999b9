//! The cluster's API server: what goes in, whether it runs, and what is to go.
//!
//! Everything is written by server-side apply under the field manager `macula`, so that what others
//! added to our objects stays, and what they changed in our fields comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::Value;

use crate::compile::addons::{NAMESPACE, PROMETHEUS, SCRAPE_SECRETS, SCRAPE_SERVER, Workload, WorkloadKind};
use crate::model::Secrets;

mod anywhere;
mod apply;
mod error;
mod handover;
mod namespaces;
mod pods;
mod prune;
mod ready;
mod scale;
mod stack;
mod status;

use error::LoginProgram;

pub use apply::Applied;
pub use error::KubernetesError;
pub use handover::{Rerouted, Vacated};
pub use pods::{ImageTrouble, Trouble};
pub use ready::{NotReady, Reason};
pub use scale::Autoscaler;
pub use stack::{Foreign, StackOwner, StackRemoved, StackWorkload, workload_of};
pub use status::{AddOnState, AddOnStatus, NodeStatus};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;
/// How long what will be better soon is tried again: a type that was just defined, a webhook that
/// comes up, an API server that restarts.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request that gets no answer for so long has failed.
const ANSWER: Duration = Duration::from_secs(30);

/// One cluster's API server. Cheap to clone.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    /// For messages.
    server: String,
    login: Option<LoginProgram>,
    patience: Duration,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What Prometheus on the host needs to read the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ScrapeAccess {
    /// A bearer token that does not end.
    pub token: String,
    /// The cluster's own CA, PEM.
    pub authority: String,
}

impl ScrapeAccess {
    /// Hands it on to the template of Prometheus's configuration, which has the jobs for the cluster
    /// while the secrets of [`SCRAPE_SECRETS`] are there. `server`: host and port of the API server on
    /// the platform's network.
    pub fn record(&self, secrets: &mut Secrets, cluster: &str, server: &str) {
        for (variable, value) in
            [("TOKEN", self.token.as_str()), ("CA", &self.authority), ("NAME", cluster), (SCRAPE_SERVER, server)]
        {
            secrets.set(SCRAPE_SECRETS, variable, value.to_owned());
        }
    }
}

/// Never shows the token.
impl std::fmt::Debug for ScrapeAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScrapeAccess").finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// From the text of a kubeconfig and one of its contexts. Nothing is sent yet.
    ///
    /// # Errors
    /// [`KubernetesError::Kubeconfig`].
    pub async fn connect(kubeconfig_yaml: &str, context: &str) -> Result<Self, KubernetesError> {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig_yaml).map_err(KubernetesError::kubeconfig)?;
        Self::connect_to(kubeconfig, context).await
    }

    async fn connect_to(kubeconfig: Kubeconfig, context: &str) -> Result<Self, KubernetesError> {
        let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(KubernetesError::kubeconfig)?;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(ANSWER);
        // counted from the request, not from when its connection last was in use
        config.reset_reader_on_write = true;
        // we know better than a client in general what is worth another try, and for how long
        config.default_retry = false;
        // the environment's is not for a cluster of this machine, and this client has no words for proxies
        config.proxy_url = None;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let program = config.auth_info.exec.clone();
        let login = program.and_then(|it| Some(LoginProgram { command: it.command?, install: it.install_hint }));
        let client = Client::try_from(config);
        let client = client.map_err(|error| KubernetesError::connecting(&server, login.as_ref(), error))?;
        Ok(Self { client, server, login, patience: PATIENCE })
    }

    /// The same, giving up on what is not ready after so long.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// `v1.34.11`. One request, tried once: also a way to ask whether the API server is there.
    ///
    /// # Errors
    /// [`KubernetesError::Unreachable`] when it is not.
    pub async fn version(&self) -> Result<String, KubernetesError> {
        let info = self.client.apiserver_version().await;
        Ok(info.map_err(|error| self.error("ask for", "the version".into(), error))?.git_version)
    }

    /// What the add-on `prometheus` made for the host's Prometheus; `None` while the API server has
    /// not filled in the token, and where the add-on is not.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn scrape_access(&self) -> Result<Option<ScrapeAccess>, KubernetesError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = secrets.get_opt(PROMETHEUS).await;
        let found = found.map_err(|error| self.error("read", format!("Secret {NAMESPACE}/{PROMETHEUS}"), error))?;
        let Some(data) = found.and_then(|secret| secret.data) else { return Ok(None) };
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Ok(text("token").zip(text("ca.crt")).map(|(token, authority)| ScrapeAccess { token, authority }))
    }

    fn error(&self, action: &'static str, object: String, error: kube::Error) -> KubernetesError {
        KubernetesError::of(&self.server, self.login.as_ref(), action, object, error)
    }

    fn api(&self, object: &Identity) -> Api<DynamicObject> {
        let group_version_kind = GroupVersionKind::gvk(&object.group, &object.version, &object.kind);
        // the plurals of all kinds that we apply are regular ones
        let resource = ApiResource::from_gvk(&group_version_kind);
        match &object.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

/// Which object: the version apart, nobody else has these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Identity {
    group: String,
    version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Identity {
    /// Of a manifest; `None` when it has no kind or name.
    fn of(manifest: &Value) -> Option<Self> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let api_version = text("/apiVersion")?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("/kind")?,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name")?,
        })
    }

    fn of_workload(workload: &Workload) -> Self {
        let GroupVersionKind { group, version, kind } = kind_of(workload.kind);
        Self { group, version, kind, namespace: Some(workload.namespace.clone()), name: workload.name.clone() }
    }

    /// The same object under any version.
    fn without_version(&self) -> (&str, &str, Option<&str>, &str) {
        (&self.group, &self.kind, self.namespace.as_deref(), &self.name)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

fn kind_of(kind: WorkloadKind) -> GroupVersionKind {
    let group = if kind == WorkloadKind::Job { "batch" } else { "apps" };
    GroupVersionKind::gvk(group, "v1", &format!("{kind:?}"))
}

/// `a=1,b=2`
fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "../../tests/common/api.rs"]
mod api;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod server;
#[cfg(test)]
mod stack_tests;
#[cfg(test)]
mod tests;
