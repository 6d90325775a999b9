//! What `status` shows of the cluster.

use std::net::IpAddr;

use futures_util::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::{Identity, Kubernetes, KubernetesError};
use crate::compile::addons::AddOn;

/// Where kubelets renew theirs, every ten seconds.
const LEASES: &str = "kube-node-lease";

/// The port of ExternalDNS's metrics.
const EXTERNAL_DNS: u16 = 7979;
/// Seconds. It begins a round each minute, and earlier when something changes.
const ROUND: f64 = 90.0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub ready: bool,
    /// Why it is not ready, in the kubelet's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the kubelet: `v1.34.11`.
    pub version: String,
    /// `control-plane`; empty for a worker.
    pub roles: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// `kubectl cordon` was used on it.
    pub unschedulable: bool,
    /// When its kubelet last said that it is there, seconds since the epoch. What the rest says may be
    /// older: the API server keeps it while the node is away.
    #[serde(skip)]
    pub seen: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddOnStatus {
    pub name: String,
    pub title: String,
    pub state: AddOnState,
    /// Tags of its images, in their order: `v1.15.1`.
    pub versions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddOnState {
    Ready,
    NotReady,
    Missing,
}

impl Kubernetes {
    /// All nodes, by name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, KubernetesError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let how = ListParams::default();
        let (found, leases) = tokio::join!(api.list(&how), leases.list(&how));
        let found = found.map_err(|error| self.error("list", "the nodes".into(), error))?;
        let mut nodes: Vec<NodeStatus> = found.items.into_iter().map(node).collect();
        for lease in leases.into_iter().flatten() {
            let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0.as_second());
            if let Some(node) = nodes.iter_mut().find(|node| Some(&node.name) == lease.metadata.name.as_ref()) {
                node.seen = renewed;
            }
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// APIs of the cluster whose server does not answer, with the reason: what is behind them fails for
    /// everybody, although its pods may run.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn unavailable(&self) -> Result<Vec<String>, KubernetesError> {
        let api: Api<APIService> = Api::all(self.client.clone());
        let found = api.list(&ListParams::default()).await;
        let found = found.map_err(|error| self.error("list", "the API services".into(), error))?;
        Ok(found.items.into_iter().filter_map(trouble_of).collect())
    }

    /// Whether ExternalDNS's last round failed, which its pods do not show: what it says of itself, read by
    /// way of the API server.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn records_behind(&self) -> Result<Vec<String>, KubernetesError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let how = ListParams::default().labels("app.kubernetes.io/name=external-dns").fields("status.phase=Running");
        let found = api.list(&how).await.map_err(|error| self.error("list", "the pods".into(), error))?;
        let said = join_all(found.items.iter().filter_map(|pod| {
            let metadata = &pod.metadata;
            let (space, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
            let path = format!("/api/v1/namespaces/{space}/pods/{name}:{EXTERNAL_DNS}/proxy/metrics");
            let request = http::Request::get(path).body(Vec::new()).ok()?;
            Some(self.client.request_text(request))
        }))
        .await;
        // a pod that does not answer is told by its add-on
        Ok(said.into_iter().flatten().filter_map(|metrics| behind(&metrics)).collect())
    }

    /// How these add-ons are, in their order.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn addon_status(&self, addons: &[AddOn]) -> Result<Vec<AddOnStatus>, KubernetesError> {
        join_all(addons.iter().map(|addon| self.one_status(addon))).await.into_iter().collect()
    }

    async fn one_status(&self, addon: &AddOn) -> Result<AddOnStatus, KubernetesError> {
        let mut status = AddOnStatus {
            name: addon.name.clone(),
            title: addon.title.clone(),
            state: AddOnState::Ready,
            versions: addon.images.iter().filter_map(|image| tag(image)).collect(),
            reason: None,
        };
        // the first object stands for all: an application makes them all or says so
        let first = addon.manifests.first().and_then(Identity::of);
        if let Some(object) = first {
            let found = self.api(&object).get_metadata_opt(&object.name).await;
            if found.map_err(|error| self.error("read", object.to_string(), error))?.is_none() {
                status.state = AddOnState::Missing;
                return Ok(status);
            }
        }
        for workload in &addon.waits {
            let reasons = self.look(workload, true).await;
            if let Some(reason) = reasons.first() {
                status.state = AddOnState::NotReady;
                status.reason = Some(reason.trouble.short());
            }
        }
        Ok(status)
    }
}

/// Rounds that began and did not end well are newer than the last one that did, by more than the time between
/// two.
fn behind(metrics: &str) -> Option<String> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<f64>().ok()
    };
    let tried = value("external_dns_controller_last_reconcile_timestamp_seconds")?;
    let done = value("external_dns_controller_last_sync_timestamp_seconds")?;
    let since = done.max(value("process_start_time_seconds").unwrap_or(tried));
    (tried - since > ROUND).then(|| {
        format!(
            "ExternalDNS has not written the names of applications for {:.0} s: its last rounds failed",
            tried - since
        )
    })
}

/// `v1.15.1` of `registry.k8s.io/ingress-nginx/controller:v1.15.1@sha256:...`.
fn tag(image: &str) -> Option<String> {
    let (name, _) = image.split_once('@').unwrap_or((image, ""));
    let (_, tag) = name.rsplit_once(':')?;
    // the port of a registry is no tag
    (!tag.contains('/')).then(|| tag.to_owned())
}

/// `the API v1beta1.metrics.k8s.io is not available: no response from https://10.96.3.4:443`
fn trouble_of(service: APIService) -> Option<String> {
    let conditions = service.status?.conditions?;
    let available = conditions.into_iter().find(|condition| condition.type_ == "Available")?;
    if available.status == "True" {
        return None;
    }
    let reason = available.message.or(available.reason).unwrap_or_default();
    Some(format!("the API {} is not available: {reason}", service.metadata.name.unwrap_or_default()))
}

fn node(node: Node) -> NodeStatus {
    let (spec, status) = (node.spec.unwrap_or_default(), node.status.unwrap_or_default());
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let reason = match ready {
        _ if is_ready => None,
        Some(condition) => condition.message.clone().or_else(|| condition.reason.clone()),
        None => Some("its kubelet has not reported yet".to_owned()),
    };
    const ROLE: &str = "node-role.kubernetes.io/";
    let labels = node.metadata.labels.unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    NodeStatus {
        name: node.metadata.name.unwrap_or_default(),
        ready: is_ready,
        reason,
        version: status.node_info.map(|info| info.kubelet_version).unwrap_or_default(),
        roles: labels.keys().filter_map(|key| key.strip_prefix(ROLE)).map(str::to_owned).collect(),
        addresses: addresses
            .into_iter()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        unschedulable: spec.unschedulable.unwrap_or(false),
        seen: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_external_dns_that_fail_are_told() {
        let metrics = |began: f64, tried: f64, done: f64| {
            format!(
                "# TYPE external_dns_controller_last_reconcile_timestamp_seconds gauge\n\
                 external_dns_controller_last_reconcile_timestamp_seconds {tried:e}\n\
                 external_dns_controller_last_sync_timestamp_seconds {done:e}\n\
                 process_start_time_seconds {began:e}\n"
            )
        };
        let start = 1_790_000_000.0;
        // in the middle of a round, and of the first one
        assert_eq!(behind(&metrics(start, start + 360.0, start + 300.0)), None);
        assert_eq!(behind(&metrics(start, start + 1.0, 0.0)), None);
        let said = "ExternalDNS has not written the names of applications for 120 s: its last rounds failed";
        assert_eq!(behind(&metrics(start, start + 420.0, start + 300.0)).unwrap(), said);
        assert_eq!(behind(&metrics(start, start + 120.0, 0.0)).unwrap(), said);
        // another version's names
        assert_eq!(behind("external_dns_up 1\n"), None);
    }

    #[test]
    fn an_api_that_is_not_available_is_named() {
        let service = |status: &str| {
            let text = serde_json::json!({
                "metadata": {"name": "v1beta1.metrics.k8s.io"},
                "status": {"conditions": [{"type": "Available", "status": status, "reason": "FailedDiscoveryCheck",
                    "message": "no response from https://10.96.3.4:443", "lastTransitionTime": null}]},
            });
            trouble_of(serde_json::from_value(text).unwrap())
        };
        assert_eq!(service("True"), None);
        let said = "the API v1beta1.metrics.k8s.io is not available: no response from https://10.96.3.4:443";
        assert_eq!(service("False").as_deref(), Some(said));
    }

    #[test]
    fn a_tag_is_neither_a_port_nor_a_digest() {
        let cases = [
            ("registry.k8s.io/a/b:v1.15.1", Some("v1.15.1")),
            ("registry.k8s.io/a/b:v1.15.1@sha256:00", Some("v1.15.1")),
            ("localhost:5001/app", None),
            ("app@sha256:00", None),
        ];
        for (image, expected) in cases {
            assert_eq!(tag(image).as_deref(), expected, "{image}");
        }
    }
}
