//! Starting nodes that are down, and waiting until what is in them answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::app::cluster::look::API_PORT;
use crate::apply::StepError;
use crate::cluster::ClusterError;
use crate::compile::addons::{SCRAPE_SECRETS, SCRAPE_SERVER};
use crate::engine::ProgressSink;
use crate::event::Progress;
use crate::host::{Unmet, pause};
use crate::kubernetes::NodeStatus;
use crate::model::{ContainerState, NodeRole, ObservedContainer, Protocol, macula};

use super::{INGRESS, Work, plain, role};

/// How long the API server of nodes that are started again may take.
const AGAIN: Duration = Duration::from_secs(180);

/// The port of the ingress in the nodes, and how long it may take to answer again.
const HTTP: u16 = 80;
const INGRESS_PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

impl Work {
    /// Starts what is down. With several control planes each has to have the address again that it was
    /// made with, since they know each other by it; a single one finds its new address by itself.
    pub(super) async fn start(&self, name: &str, progress: ProgressSink<'_>) -> Result<Option<String>, StepError> {
        let record = self.record.lock().await.clone();
        let network = &self.network;
        let mut nodes = self.nodes(name).await?;
        nodes.sort_by_key(|node| (role(node) != Some(NodeRole::ExternalLoadBalancer), node.name.clone()));
        let several = nodes.iter().filter(|node| role(node) == Some(NodeRole::ControlPlane)).count() > 1;
        let runs = |node: &ObservedContainer| node.state == ContainerState::Running;
        let mut down: Vec<&ObservedContainer> = nodes.iter().filter(|node| !runs(node)).collect();
        if several {
            let moved = |node: &&ObservedContainer| {
                let now = node.addresses.get(network);
                runs(node) && now.is_some() && now != record.addresses.get(&node.name)
            };
            let moved: Vec<&ObservedContainer> = nodes.iter().filter(moved).collect();
            for node in &moved {
                progress(Progress::Line { text: format!("{} has another address than it was made with", node.name) });
                self.engine.stop(&node.name, Some(Duration::from_secs(10))).await?;
            }
            down.extend(moved);
            for node in &down {
                if let Some(address) = record.addresses.get(&node.name) {
                    self.engine.readdress(&node.name, network, *address).await?;
                }
            }
        }
        let since = self.host().now();
        for node in &down {
            progress(Progress::Line { text: format!("starting {}", node.name) });
            self.engine.start(&node.name).await?;
        }
        self.answers(name, progress).await?;
        let version = self.tested(name, since, progress).await?;
        if record.addons.contains_key(INGRESS) {
            self.ingress_answers(name, progress).await?;
        }
        let mut secrets = self.state.secrets(self.host()).await.map_err(plain)?;
        if let Some(server) = self.api_inside(name).await?
            && secrets.get(SCRAPE_SECRETS, SCRAPE_SERVER).is_some_and(|known| known != server)
        {
            secrets.set(SCRAPE_SECRETS, SCRAPE_SERVER, server);
            self.state.keep_secrets(self.host(), &secrets).await.map_err(plain)?;
        }
        let version = version.map(|version| format!(", Kubernetes {version}")).unwrap_or_default();
        Ok(Some(if down.len() == 1 { format!("1 node{version}") } else { format!("{} nodes{version}", down.len()) }))
    }

    /// Waits until the API server accepts connections on this machine.
    pub(super) async fn answers(&self, name: &str, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let begun = Instant::now();
        loop {
            let nodes = self.nodes(name).await?;
            let reason = match api_address(&nodes) {
                Some(address) => match self.host().connect(address, Duration::from_secs(1)).await {
                    Ok(()) => return Ok(()),
                    Err(error) => format!("{address}: {error}"),
                },
                None => "its port is not published yet".to_owned(),
            };
            self.again(begun, AGAIN, reason, progress).await.map_err(|unmet| not_ready(name, unmet))?;
        }
    }

    /// Waits until the ingress answers on this machine, by which applications are reached. The nodes run all the
    /// same: where it takes too long, that is said and nothing more.
    async fn ingress_answers(&self, name: &str, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let nodes = self.nodes(name).await?;
        let Some(address) = nodes.iter().find_map(ingress_address) else { return Ok(()) };
        let begun = Instant::now();
        loop {
            // any status is an answer: what an application says is its own affair
            let Err(error) = self.host().http_get(address, "localhost", "/", Duration::from_secs(2)).await else {
                return Ok(());
            };
            let reason = format!("the ingress does not answer at {address}: {error}");
            match self.again(begun, INGRESS_PATIENCE, reason, progress).await {
                Ok(()) => {}
                Err(Unmet::TooLong(reason)) => {
                    let status = self.session.line(macula("cluster status"));
                    self.session.events.warn(format!("{reason}; `{status}` shows its pods"));
                    return Ok(());
                }
                Err(Unmet::Cancelled) => return Err(StepError::Cancelled),
            }
        }
    }

    /// The test of itself: the API server answers as one, and every node has said that it is ready `since`
    /// then (seconds since the epoch). What the API server remembers of a node from before proves nothing.
    pub(super) async fn tested(
        &self,
        name: &str,
        since: i64,
        progress: ProgressSink<'_>,
    ) -> Result<Option<String>, StepError> {
        let begun = Instant::now();
        let inside = self.inside().await?;
        let mut first: Option<BTreeMap<String, Option<i64>>> = None;
        loop {
            let reason = match inside.nodes().await {
                Ok(nodes) => {
                    let seen = nodes.iter().map(|node| (node.name.clone(), node.seen)).collect();
                    let first = first.get_or_insert(seen);
                    // a node with another clock than ours is believed once its word is a new one
                    let fresh = |node: &NodeStatus| {
                        node.seen.is_none_or(|seen| seen >= since || first.get(&node.name) != Some(&Some(seen)))
                    };
                    match nodes.iter().find(|node| !node.ready || !fresh(node)) {
                        None => return Ok(nodes.into_iter().next().map(|node| node.version)),
                        Some(node) if node.ready => format!("{}: its kubelet has not reported yet", node.name),
                        Some(node) => format!("{}: {}", node.name, node.reason.as_deref().unwrap_or("not ready")),
                    }
                }
                Err(error) => error.to_string(),
            };
            self.again(begun, AGAIN, reason, progress).await.map_err(|unmet| not_ready(name, unmet))?;
        }
    }

    /// Between two looks: tells why there is another one.
    async fn again(
        &self,
        begun: Instant,
        patience: Duration,
        reason: String,
        progress: ProgressSink<'_>,
    ) -> Result<(), Unmet<String>> {
        if begun.elapsed() > patience {
            return Err(Unmet::TooLong(reason));
        }
        progress(Progress::Waiting { reason });
        if pause(BETWEEN_LOOKS, &self.session.cancel).await { Ok(()) } else { Err(Unmet::Cancelled) }
    }
}

fn not_ready(name: &str, unmet: Unmet<String>) -> StepError {
    match unmet {
        Unmet::TooLong(message) => ClusterError::NotReady { name: name.to_owned(), message, logs: None }.into(),
        Unmet::Cancelled => StepError::Cancelled,
    }
}

/// Where this machine reaches the ingress in the nodes.
fn ingress_address(node: &ObservedContainer) -> Option<SocketAddr> {
    let port = node.ports.iter().find(|port| port.container_port == HTTP && port.protocol == Protocol::Tcp)?;
    Some(SocketAddr::new(port.host_ip, port.host_port?))
}

/// Where the API server is published: at the load balancer where there is one.
fn api_address(nodes: &[ObservedContainer]) -> Option<SocketAddr> {
    let balancer = nodes.iter().find(|node| role(node) == Some(NodeRole::ExternalLoadBalancer));
    let node = balancer.or_else(|| nodes.iter().find(|node| role(node) == Some(NodeRole::ControlPlane)))?;
    let port = node.ports.iter().find(|port| port.container_port == API_PORT)?;
    let ip = if port.host_ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { port.host_ip };
    Some(SocketAddr::new(ip, port.host_port?))
}
