//! What is shown of the cluster.

use serde::Serialize;

use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::compile::addons::AddOn;
use crate::kubernetes::AddOnState;
use crate::model::{ContainerState, NodeRole, Platform};
use crate::plan;

use super::SHORT;
use super::content::{connect, content};
use super::decide::Decision;
use super::look::ClusterLook;
use super::selftest::problems;

/// The cluster of `status -o json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClusterStatus {
    /// `None`: none is wanted, and there is none.
    pub name: Option<String>,
    pub state: ClusterState,
    /// The context in the user's kubeconfig.
    pub context: Option<String>,
    pub reason: Option<String>,
    pub nodes: Vec<NodeStatus>,
    /// What does not work inside, although its pods may run.
    pub problems: Vec<String>,
    pub addons: Vec<AddOnStatus>,
}

/// How a cluster is as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    Running,
    /// A node of it does not run.
    Stopped,
    /// It was only partly created.
    Incomplete,
    #[default]
    Missing,
    /// `up` went on without it.
    LeftOut,
}

impl ClusterState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Incomplete => "incomplete",
            Self::Missing => "missing",
            Self::LeftOut => "left_out",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub role: NodeRole,
    pub state: ContainerState,
    pub image: String,
    /// In the platform's network.
    pub address: Option<String>,
    /// Of the kubelet; `None`: the cluster was not asked, or did not answer.
    pub version: Option<String>,
    pub ready: Option<bool>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddOnStatus {
    pub name: String,
    pub title: String,
    pub state: AddOnCondition,
    /// Tags of its images.
    pub versions: Vec<String>,
    pub reason: Option<String>,
}

/// How an add-on is: as the cluster says it, or why the cluster was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddOnCondition {
    Ready,
    NotReady,
    Missing,
    /// An image of it is not available here.
    LeftOut,
    /// The cluster does not answer.
    Unknown,
}

impl AddOnCondition {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Missing => "missing",
            Self::LeftOut => "left_out",
            Self::Unknown => "unknown",
        }
    }
}

/// What one look comes to.
pub(in crate::app) fn status_of(platform: &Platform, look: &ClusterLook, left_out: Option<&str>) -> ClusterStatus {
    let name = platform.cluster_name();
    let Some(found) = &look.observed else {
        let wanted = platform.cluster.enabled;
        let reason = if look.foreign {
            Some(format!("a cluster called {name} is there, and it is not this platform's"))
        } else {
            left_out.map(str::to_owned)
        };
        return ClusterStatus {
            name: wanted.then_some(name),
            state: if left_out.is_some() { ClusterState::LeftOut } else { ClusterState::Missing },
            reason,
            ..ClusterStatus::default()
        };
    };
    let record = look.record.as_ref();
    let whole = record.is_some_and(|record| record.complete);
    let down = plan::down_nodes(found);
    let reason = if !whole {
        Some("it was only partly created".to_owned())
    } else if !down.is_empty() {
        Some(format!("{} not running", down.join(", ")))
    } else {
        None
    };
    ClusterStatus {
        name: Some(found.name.clone()),
        state: match (whole, down.is_empty()) {
            (false, _) => ClusterState::Incomplete,
            (true, true) => ClusterState::Running,
            (true, false) => ClusterState::Stopped,
        },
        context: record.map(|record| record.context.clone()).filter(|context| !context.is_empty()),
        reason,
        nodes: found
            .nodes
            .iter()
            .map(|node| NodeStatus {
                name: node.name.clone(),
                role: node.role,
                state: node.state,
                image: node.image.clone(),
                address: node.address.map(|address| address.to_string()),
                version: None,
                ready: None,
                reason: None,
            })
            .collect(),
        problems: Vec::new(),
        addons: Vec::new(),
    }
}

/// Asks the cluster itself, if it runs: versions, readiness, add-ons. One that does not answer soon is not
/// waited for.
pub(in crate::app) async fn ask(
    session: &Session,
    survey: &Survey,
    decision: Option<&Decision>,
    status: &mut ClusterStatus,
) -> Result<(), Error> {
    if status.state != ClusterState::Running {
        return Ok(());
    }
    let content = match decision {
        Some(decision) => decision.content.clone(),
        None => content(session, survey, false).await?,
    };
    let context = status.context.clone().unwrap_or_default();
    let wanted: Vec<AddOn> = content.wanted().cloned().collect();
    let answers = async {
        let inside = connect(session, &survey.state, &context).await.ok()?;
        let (nodes, addons) = tokio::join!(inside.nodes(), inside.addon_status(&wanted));
        Some((nodes.ok()?, addons.ok()?, inside))
    };
    let answers = tokio::time::timeout(SHORT, answers).await.ok().flatten();
    let (nodes, addons) = match answers {
        Some((nodes, addons, inside)) => {
            if let (Some(cluster), Some(record)) = (&survey.cluster.observed, &survey.cluster.record) {
                status.problems = problems(&*survey.engine, &*inside, cluster, record, &content.names).await;
            }
            (nodes, addons)
        }
        None => {
            status.reason = Some("its API server does not answer".to_owned());
            Default::default()
        }
    };
    for node in &mut status.nodes {
        if let Some(found) = nodes.iter().find(|found| found.name == node.name) {
            node.version = Some(found.version.clone());
            node.ready = Some(found.ready);
            node.reason = found.reason.clone();
        }
    }
    status.addons = content
        .addons
        .iter()
        .map(|addon| {
            let found = addons.iter().find(|found| found.name == addon.name);
            let left_out = content.left_out.get(&addon.name);
            AddOnStatus {
                name: addon.name.clone(),
                title: addon.title.clone(),
                state: match found.map(|found| found.state) {
                    Some(AddOnState::Ready) => AddOnCondition::Ready,
                    Some(AddOnState::NotReady) => AddOnCondition::NotReady,
                    Some(AddOnState::Missing) => AddOnCondition::Missing,
                    None if left_out.is_some() => AddOnCondition::LeftOut,
                    None => AddOnCondition::Unknown,
                },
                versions: found.map(|found| found.versions.clone()).unwrap_or_default(),
                reason: left_out.cloned().or_else(|| found?.reason.clone()),
            }
        })
        .collect();
    Ok(())
}
