//! The Kubernetes cluster: what is wanted of it, what is there, and what is done about it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ContainerState, PortBinding};

/// The image of the nodes unless another one is asked for: Kubernetes 1.34, the newest minor version
/// that ingress-nginx is tested with and whose kubelet still takes cgroup v1.
pub const DEFAULT_NODE_IMAGE: &str = "kindest/node:v1.34.11";
/// Its index, checked when it is pulled.
pub const DEFAULT_NODE_IMAGE_DIGEST: &str = "sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d";
/// The names of all add-ons there are.
pub const ADD_ONS: [&str; 7] = ["platform", "dns", "ingress", "metrics-server", "prometheus", "external-dns", "alloy"];
/// Where the folder of registry settings lies in a node (containerd's `config_path`).
pub const CERTS_D: &str = "/etc/containerd/certs.d";

/// A cluster as its provider is to make it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub name: String,
    /// The context in the user's kubeconfig.
    pub context: String,
    /// The provider's own configuration.
    pub config: String,
    /// The image of the nodes as it is called in the engine.
    pub node_image: String,
    /// References to pull when it is not there, in order.
    pub pull: Vec<String>,
    /// The platform's own network, which the nodes join.
    pub network: String,
    pub control_planes: u8,
    pub workers: u8,
    /// What is published on this machine.
    pub ports: Vec<PortBinding>,
    /// Registry settings: (path below `certs.d`, content).
    pub registries: BTreeMap<String, String>,
    /// The folder on this machine that is mounted at [`CERTS_D`].
    pub registries_folder: PathBuf,
    /// What makes two clusters different: part -> value.
    pub parts: BTreeMap<String, String>,
}

impl ClusterSpec {
    /// The parts in which a cluster that was made with `made` differs.
    pub fn differs(&self, made: &BTreeMap<String, String>) -> Vec<String> {
        self.parts
            .iter()
            .filter(|(part, value)| made.get(*part) != Some(*value))
            .map(|(part, _)| part.clone())
            .collect()
    }
}

/// What a node does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    ControlPlane,
    Worker,
    /// In front of several control planes; no node of Kubernetes.
    ExternalLoadBalancer,
}

impl NodeRole {
    /// As the provider's label has it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "control-plane" => Self::ControlPlane,
            "worker" => Self::Worker,
            "external-load-balancer" => Self::ExternalLoadBalancer,
            _ => return None,
        })
    }
}

/// The container of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedNode {
    pub name: String,
    pub role: NodeRole,
    pub state: ContainerState,
    pub image: String,
    /// In the platform's network, while it runs.
    pub address: Option<Ipv4Addr>,
    pub ports: Vec<PortBinding>,
}

/// A cluster as the engine shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedCluster {
    pub name: String,
    /// By name.
    pub nodes: Vec<ObservedNode>,
}

impl ObservedCluster {
    pub fn runs(&self) -> bool {
        self.nodes.iter().all(|node| node.state == ContainerState::Running)
    }
}

/// What was done to a cluster, as the platform's folder keeps it: the nodes bear no label of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub name: String,
    pub context: String,
    /// False while it is being made: what is found then was left behind by a run that died.
    pub complete: bool,
    /// [`ClusterSpec::parts`] that it was made with.
    pub parts: BTreeMap<String, String>,
    /// The image that the nodes run.
    pub node_image: String,
    pub pod_subnet: String,
    pub service_subnet: String,
    /// Node -> its address in the platform's network: with several control planes each has to keep its
    /// own.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// The user's kubeconfig that the context was put into.
    pub kubeconfig: Option<PathBuf>,
    /// Add-on -> fingerprint of the manifests that were applied last and became ready.
    pub addons: BTreeMap<String, String>,
}
