//! What is asked of the inside of a cluster, as a trait: tests have no API server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::compile::addons::AddOn;
use crate::kubernetes::{AddOnStatus, Applied, Kubernetes, KubernetesError, NodeStatus, NotReady, ScrapeAccess};

/// Is told what is waited for.
pub type TellSink<'a> = &'a (dyn for<'line> Fn(&'line str) + Send + Sync);

/// One cluster's API server.
#[async_trait]
pub trait Inside: Send + Sync {
    /// `v1.34.11`; tried once.
    async fn version(&self) -> Result<String, KubernetesError>;
    async fn apply(&self, addon: &AddOn) -> Result<Applied, KubernetesError>;
    /// What [`Inside::apply`] would do.
    async fn drift(&self, addon: &AddOn) -> Result<Applied, KubernetesError>;
    async fn ready(&self, addon: &AddOn, timeout: Duration, tell: TellSink<'_>) -> Result<(), NotReady>;
    /// Removes what is ours and belongs to none of these; what it was.
    async fn prune(&self, platform: &str, keep: &[AddOn]) -> Result<Vec<String>, KubernetesError>;
    async fn nodes(&self) -> Result<Vec<NodeStatus>, KubernetesError>;
    async fn addon_status(&self, addons: &[AddOn]) -> Result<Vec<AddOnStatus>, KubernetesError>;
    /// APIs of the cluster that do not answer, with the reason.
    async fn unavailable(&self) -> Result<Vec<String>, KubernetesError>;
    /// What ExternalDNS has not written, although its pods run.
    async fn records_behind(&self) -> Result<Vec<String>, KubernetesError>;
    /// Puts what is for each namespace with a label into them as they come, for so long.
    async fn follow_namespaces(&self, addon: &AddOn, for_so_long: Duration) -> Result<(), KubernetesError>;
    /// What Prometheus on the host reads the cluster with; `None`: it is not there yet.
    async fn scrape_access(&self) -> Result<Option<ScrapeAccess>, KubernetesError>;
}

#[async_trait]
impl Inside for Kubernetes {
    async fn version(&self) -> Result<String, KubernetesError> {
        Kubernetes::version(self).await
    }

    async fn apply(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        Kubernetes::apply(self, addon).await
    }

    async fn drift(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        Kubernetes::drift(self, addon).await
    }

    async fn ready(&self, addon: &AddOn, timeout: Duration, tell: TellSink<'_>) -> Result<(), NotReady> {
        self.ready_telling(addon, timeout, tell).await
    }

    async fn prune(&self, platform: &str, keep: &[AddOn]) -> Result<Vec<String>, KubernetesError> {
        Kubernetes::prune(self, platform, keep).await
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, KubernetesError> {
        Kubernetes::nodes(self).await
    }

    async fn addon_status(&self, addons: &[AddOn]) -> Result<Vec<AddOnStatus>, KubernetesError> {
        Kubernetes::addon_status(self, addons).await
    }

    async fn unavailable(&self) -> Result<Vec<String>, KubernetesError> {
        Kubernetes::unavailable(self).await
    }

    async fn records_behind(&self) -> Result<Vec<String>, KubernetesError> {
        Kubernetes::records_behind(self).await
    }

    async fn follow_namespaces(&self, addon: &AddOn, for_so_long: Duration) -> Result<(), KubernetesError> {
        Kubernetes::follow_namespaces(self, addon, for_so_long).await
    }

    async fn scrape_access(&self) -> Result<Option<ScrapeAccess>, KubernetesError> {
        Kubernetes::scrape_access(self).await
    }
}

/// The way to a cluster.
#[async_trait]
pub trait Reach: Send + Sync {
    /// From the text of a kubeconfig and one of its contexts; nothing is sent yet.
    async fn connect(&self, kubeconfig: &str, context: &str) -> Result<Arc<dyn Inside>, KubernetesError>;
}

/// Over the network.
#[derive(Debug, Clone, Copy)]
pub struct OverNetwork;

#[async_trait]
impl Reach for OverNetwork {
    async fn connect(&self, kubeconfig: &str, context: &str) -> Result<Arc<dyn Inside>, KubernetesError> {
        Ok(Arc::new(Kubernetes::connect(kubeconfig, context).await?))
    }
}
