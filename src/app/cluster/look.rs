//! The cluster as it is: the engine's containers, and what we wrote down when it was made.

use crate::app::{Error, Session};
use crate::cluster::kind::{CLUSTER_LABEL, ROLE_LABEL};
use crate::model::{ClusterRecord, NodeRole, ObservedCluster, ObservedContainer, ObservedNode, Platform, PlatformName};

/// The port of the API server in a node.
pub const API_PORT: u16 = 6443;

/// One look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterLook {
    pub record: Option<ClusterRecord>,
    /// Ours.
    pub observed: Option<ObservedCluster>,
    /// There is one of that name, and it is somebody else's.
    pub foreign: bool,
}

impl ClusterLook {
    /// The address in the platform's network at which the ingress of the cluster is reached.
    pub fn ingress_node(&self) -> Option<std::net::Ipv4Addr> {
        let nodes = &self.observed.as_ref()?.nodes;
        nodes.iter().find(|node| node.role == NodeRole::ControlPlane)?.address
    }

    /// Where the API server is now, host and port in the platform's network, when it is no longer where
    /// Prometheus on the host knows it (`known`).
    pub fn moved(&self, known: Option<&str>) -> Option<String> {
        let known = known?;
        let planes = self.observed.as_ref()?.nodes.iter().filter(|node| node.role == NodeRole::ControlPlane);
        let servers: Vec<String> =
            planes.filter_map(|node| node.address).map(|address| format!("{address}:{API_PORT}")).collect();
        (!servers.iter().any(|server| server == known)).then(|| servers.into_iter().next()).flatten()
    }
}

/// The cluster of a platform. One call of the engine.
pub async fn look(session: &Session, platform: &Platform) -> Result<ClusterLook, Error> {
    look_for(session, &platform.name, &platform.cluster_name(), &platform.name.network()).await
}

/// As [`look`], for commands that have no files: the record names the cluster.
pub async fn look_for(
    session: &Session,
    platform: &PlatformName,
    name: &str,
    network: &str,
) -> Result<ClusterLook, Error> {
    let engine = session.engine()?;
    let sought = Sought::new(session, platform, name).await?;
    let containers = engine.labelled(&sought.label()).await?;
    Ok(sought.seen(&containers, network))
}

/// What is to be looked for, for whoever looks at the engine's containers anyway.
pub struct Sought {
    name: String,
    record: Option<ClusterRecord>,
}

impl Sought {
    /// What is written down names the cluster, else `name`.
    pub async fn new(session: &Session, platform: &PlatformName, name: &str) -> Result<Self, Error> {
        let record = session.state(platform).cluster(session.host()).await?;
        Ok(Self { name: record.as_ref().map_or(name, |record| &record.name).to_owned(), record })
    }

    /// The label, `key=value`, of its nodes.
    pub fn label(&self) -> String {
        format!("{CLUSTER_LABEL}={}", self.name)
    }

    /// What the containers with the label come to.
    pub fn seen(self, containers: &[ObservedContainer], network: &str) -> ClusterLook {
        let Self { name, record } = self;
        if containers.is_empty() {
            // it went without us; what is written down about it is of no more use
            return ClusterLook { record: record.filter(|record| !record.complete), ..ClusterLook::default() };
        }
        let joined = containers.iter().any(|container| container.addresses.contains_key(network));
        if record.is_none() && !joined {
            return ClusterLook { foreign: true, ..ClusterLook::default() };
        }
        let mut nodes: Vec<ObservedNode> = containers.iter().filter_map(|container| node(container, network)).collect();
        nodes.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
        ClusterLook { record, observed: Some(ObservedCluster { name, nodes }), foreign: false }
    }
}

fn node(container: &ObservedContainer, network: &str) -> Option<ObservedNode> {
    Some(ObservedNode {
        name: container.name.clone(),
        role: NodeRole::parse(container.label(ROLE_LABEL)?)?,
        state: container.state,
        image: container.image.clone(),
        address: container.addresses.get(network).copied(),
        ports: container.ports.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerState;

    #[test]
    fn an_api_server_that_is_where_it_was_has_not_moved() {
        let node = |name: &str, role: NodeRole, last: u8| ObservedNode {
            name: name.into(),
            role,
            state: ContainerState::Running,
            image: String::new(),
            address: Some(std::net::Ipv4Addr::new(10, 222, 7, last)),
            ports: Vec::new(),
        };
        let nodes = vec![
            node("a-worker", NodeRole::Worker, 132),
            node("a-control-plane", NodeRole::ControlPlane, 130),
            node("a-control-plane2", NodeRole::ControlPlane, 131),
        ];
        let found =
            ClusterLook { observed: Some(ObservedCluster { name: "a".into(), nodes }), ..ClusterLook::default() };
        // names lead to the first control plane
        assert_eq!(found.ingress_node(), Some(std::net::Ipv4Addr::new(10, 222, 7, 130)));
        // not scraped; where it was; at the other one; where a worker is now; nobody there
        let cases = [None, Some("10.222.7.130:6443"), Some("10.222.7.131:6443"), Some("10.222.7.132:6443")];
        assert_eq!(cases.map(|known| found.moved(known)), [None, None, None, Some("10.222.7.130:6443".to_owned())]);
        assert_eq!(ClusterLook::default().moved(Some("10.222.7.130:6443")), None);
    }
}
