//! What is to be done about the cluster. A cluster that stands is never taken away here: what can only
//! be had by making it anew is said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{ClusterRecord, ClusterSpec, ContainerState, ObservedCluster, ResourceId, ResourceKind};

use super::{Action, Cause, Plan, Step, StepId, Verb};

/// The group of all steps of the cluster.
pub const GROUP: &str = "cluster";

/// One step of the cluster's.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterAction {
    /// Gets the node image where it is not here, makes the nodes, and puts the context into the user's
    /// kubeconfig. `clear`: what a run that died left behind is taken away first.
    Create { spec: Box<ClusterSpec>, clear: bool },
    /// Starts the nodes that are down, each at the address that it was made with.
    Start { name: String },
    /// Writes registry settings into the folder that the nodes have mounted, by their paths in it, and removes folders of
    /// registries there. The nodes read them at each pull.
    Registries { folder: PathBuf, files: BTreeMap<String, String>, gone: Vec<String> },
    /// Loads its images where they are in the engine, applies its manifests and waits for it.
    AddOn { name: String, title: String },
    /// Takes away what an add-on that is no longer wanted left.
    Prune,
    /// Takes the cluster away, and its context out of the user's kubeconfig.
    Delete { name: String },
}

impl ClusterAction {
    pub(super) fn phrase(&self) -> String {
        match self {
            Self::Create { .. } => "create".into(),
            Self::Start { .. } => "start".into(),
            Self::Registries { .. } => "write registry settings".into(),
            Self::AddOn { title, .. } => title.clone(),
            Self::Prune => "remove what is no longer wanted".into(),
            Self::Delete { .. } => "delete".into(),
        }
    }

    pub(super) fn sign(&self) -> char {
        match self {
            Self::Create { .. } | Self::Start { .. } => '+',
            Self::AddOn { .. } | Self::Registries { .. } => '~',
            Self::Prune | Self::Delete { .. } => '-',
        }
    }
}

/// An add-on as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAddOn {
    pub name: String,
    pub title: String,
    /// Hash of its manifests.
    pub fingerprint: String,
    /// It was looked at in the cluster, and is not as it should be.
    pub broken: bool,
}

/// What is wanted, and what is known.
pub struct ClusterWish<'a> {
    pub spec: &'a ClusterSpec,
    pub record: Option<&'a ClusterRecord>,
    pub observed: Option<&'a ObservedCluster>,
    /// What makes the registry settings of a cluster that stands what they are to be; `None`: they are.
    pub registries: Option<ClusterAction>,
    pub addons: &'a [WantedAddOn],
    /// The step that makes the platform's network, if there is one.
    pub network: Option<StepId>,
}

/// Adds the cluster's steps to a plan. Returns the parts in which the cluster that stands differs from
/// the wanted one.
pub fn cluster(wish: &ClusterWish<'_>, plan: &mut Plan) -> Vec<String> {
    let name = &wish.spec.name;
    let id = ResourceId::new(ResourceKind::Cluster, name);
    let whole = wish.record.is_some_and(|record| record.complete);
    let mut made = |verb: Verb, action: ClusterAction, cause: Cause| {
        let step = verb.step(&id);
        push(plan, step.clone(), id.clone(), action, cause, wish.network.iter().cloned().collect());
        step
    };
    let create = |clear: bool| ClusterAction::Create { spec: Box::new(wish.spec.clone()), clear };
    let (first, new) = match wish.observed {
        None => (Some(made(Verb::Create, create(false), Cause::Missing)), true),
        Some(_) if !whole => {
            let cause = Cause::Replaces { what: "what a run that was stopped left of it".into() };
            (Some(made(Verb::Create, create(true), cause)), true)
        }
        Some(found) if !found.runs() => {
            (Some(made(Verb::Start, ClusterAction::Start { name: name.clone() }, Cause::NotRunning)), false)
        }
        Some(_) => (None, false),
    };
    let mut before: Vec<StepId> = first.iter().cloned().collect();
    if let Some(action) = wish.registries.clone().filter(|_| !new) {
        let cause = Cause::Changed { what: vec!["registries".into()] };
        let step = format!("write registries of {id}");
        push(plan, step.clone(), id.clone(), action, cause, Vec::new());
        // images of add-ons come from there
        before.push(step);
    }
    let none = Default::default();
    let applied = wish.record.filter(|_| !new).map_or(&none, |record| &record.addons);
    for (at, addon) in wish.addons.iter().enumerate() {
        let cause = match applied.get(&addon.name) {
            None => Cause::Missing,
            Some(known) if *known != addon.fingerprint => Cause::Changed { what: vec!["manifests".into()] },
            Some(_) if addon.broken => Cause::NotHealthy,
            Some(_) => continue,
        };
        let resource = ResourceId::new(ResourceKind::Manifest, &addon.name);
        let action = ClusterAction::AddOn { name: addon.name.clone(), title: addon.title.clone() };
        let step = format!("apply {}", addon.name);
        push(plan, step.clone(), resource, action, cause, before.clone());
        if at == 0 {
            // what the others lie in
            before = vec![step];
        }
    }
    if applied.keys().any(|known| !wish.addons.iter().any(|addon| addon.name == *known)) {
        push(
            plan,
            Verb::Prune.step(&id),
            id.clone(),
            ClusterAction::Prune,
            Cause::Orphaned,
            first.into_iter().collect(),
        );
    }
    match wish.record {
        Some(record) if !new => wish.spec.differs(&record.parts),
        _ => Vec::new(),
    }
}

/// The nodes of a cluster that are not up.
pub fn down_nodes(observed: &ObservedCluster) -> Vec<&str> {
    let down = observed.nodes.iter().filter(|node| node.state != ContainerState::Running);
    down.map(|node| node.name.as_str()).collect()
}

fn push(plan: &mut Plan, id: StepId, resource: ResourceId, action: ClusterAction, cause: Cause, after: Vec<StepId>) {
    let destructive = matches!(action, ClusterAction::Delete { .. });
    plan.steps.push(Step {
        id,
        resource,
        group: GROUP.into(),
        action: Action::Cluster(action),
        cause,
        after,
        destructive,
        needs_privilege: false,
    });
}

/// Takes the cluster away before the network that its nodes are in.
pub fn delete(name: &str, plan: &mut Plan) {
    let id = ResourceId::new(ResourceKind::Cluster, name);
    let step = Verb::Delete.step(&id);
    for other in &mut plan.steps {
        if matches!(other.action, Action::RemoveNetwork { .. }) {
            other.after.push(step.clone());
        }
    }
    push(plan, step, id, ClusterAction::Delete { name: name.into() }, Cause::Requested, Vec::new());
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::model::{NodeRole, ObservedNode};

    fn spec() -> ClusterSpec {
        ClusterSpec {
            name: "macula".into(),
            context: "macula".into(),
            config: String::new(),
            node_image: "node:1".into(),
            pull: Vec::new(),
            network: "macula".into(),
            control_planes: 1,
            workers: 1,
            ports: Vec::new(),
            registries: Default::default(),
            registries_folder: "/certs.d".into(),
            parts: [("workers".to_owned(), "1".to_owned())].into(),
        }
    }

    fn observed(worker: ContainerState) -> ObservedCluster {
        let node = |name: &str, role, state| ObservedNode {
            name: name.into(),
            role,
            state,
            image: "node:1".into(),
            address: None,
            ports: Vec::new(),
        };
        ObservedCluster {
            name: "macula".into(),
            nodes: vec![
                node("macula-control-plane", NodeRole::ControlPlane, ContainerState::Running),
                node("macula-worker", NodeRole::Worker, worker),
            ],
        }
    }

    fn record() -> ClusterRecord {
        ClusterRecord {
            complete: true,
            parts: spec().parts,
            addons: [("dns".to_owned(), "1".to_owned()), ("ingress".to_owned(), "1".to_owned())].into(),
            ..ClusterRecord::default()
        }
    }

    fn addon(name: &str, fingerprint: &str) -> WantedAddOn {
        WantedAddOn { name: name.into(), title: format!("the {name}"), fingerprint: fingerprint.into(), broken: false }
    }

    fn planned(
        observed: Option<&ObservedCluster>,
        record: Option<&ClusterRecord>,
        addons: &[WantedAddOn],
        network: Option<&str>,
    ) -> (String, Vec<String>) {
        let spec = spec();
        let network = network.map(str::to_owned);
        let wish = ClusterWish { spec: &spec, record, observed, registries: None, addons, network };
        let mut plan = Plan::default();
        let differs = cluster(&wish, &mut plan);
        (plan.to_string(), differs)
    }

    #[test]
    fn what_is_missing_is_made_after_the_network() {
        let (plan, _) = planned(None, None, &[addon("dns", "1"), addon("ingress", "1")], Some("create network macula"));
        assert_snapshot!(plan, @"
        + create cluster macula (missing) after create network macula
        ~ apply dns (missing) after create cluster macula
        ~ apply ingress (missing) after apply dns
        ");
    }

    #[test]
    fn what_is_right_already_is_left_alone() {
        let found = observed(ContainerState::Running);
        let (plan, differs) = planned(Some(&found), Some(&record()), &[addon("dns", "1"), addon("ingress", "1")], None);
        assert_eq!((plan.as_str(), differs), ("", Vec::new()));
    }

    #[test]
    fn what_changed_is_applied_and_what_is_gone_is_pruned() {
        let found = observed(ContainerState::Running);
        let broken = WantedAddOn { broken: true, ..addon("ingress", "1") };
        let (plan, _) = planned(Some(&found), Some(&record()), &[addon("logs", "1"), broken], None);
        assert_snapshot!(plan, @"
        ~ apply logs (missing)
        ~ apply ingress (not healthy) after apply logs
        - prune cluster macula (no longer wanted)
        ");
        let (plan, _) = planned(Some(&found), Some(&record()), &[addon("dns", "2"), addon("ingress", "1")], None);
        assert_snapshot!(plan, @"~ apply dns (changed: manifests)");
    }

    #[test]
    fn registry_settings_of_nodes_that_stand_follow_the_files() {
        let spec = spec();
        let files = [("docker.io/hosts.toml".to_owned(), "server".to_owned())].into();
        let action = ClusterAction::Registries { folder: "/certs.d".into(), files, gone: Vec::new() };
        let planned = |observed: Option<&ObservedCluster>| {
            let (record, addons) = (record(), [addon("dns", "1"), addon("ingress", "1")]);
            let (record, registries) = (Some(&record), Some(action.clone()));
            let wish = ClusterWish { spec: &spec, record, observed, registries, addons: &addons, network: None };
            let mut plan = Plan::default();
            cluster(&wish, &mut plan);
            plan.to_string()
        };
        assert_snapshot!(planned(Some(&observed(ContainerState::Running))), @"~ write registries of cluster macula (changed: registries)");
        // nodes that are made get them then
        assert!(!planned(None).contains("registries"));
    }

    #[test]
    fn nodes_that_are_down_are_started() {
        let found = observed(ContainerState::Exited);
        assert_eq!(down_nodes(&found), ["macula-worker"]);
        let (plan, _) = planned(Some(&found), Some(&record()), &[addon("dns", "1"), addon("ingress", "1")], None);
        assert_snapshot!(plan, @"+ start cluster macula (not running)");
    }

    #[test]
    fn half_a_cluster_is_made_anew() {
        let found = observed(ContainerState::Running);
        let half = ClusterRecord { complete: false, ..record() };
        let (plan, _) = planned(Some(&found), Some(&half), &[addon("dns", "1")], None);
        assert_snapshot!(plan, @"
        + create cluster macula (what a run that was stopped left of it is replaced)
        ~ apply dns (missing) after create cluster macula
        ");
    }

    #[test]
    fn other_settings_are_said_and_nothing_is_done() {
        let found = observed(ContainerState::Running);
        let old = ClusterRecord { parts: [("workers".to_owned(), "0".to_owned())].into(), ..record() };
        let addons = [addon("dns", "1"), addon("ingress", "1")];
        assert_eq!(planned(Some(&found), Some(&old), &addons, None), (String::new(), vec!["workers".to_owned()]));
    }

    #[test]
    fn it_goes_before_its_network() {
        let mut plan = Plan::default();
        let network = ResourceId::new(ResourceKind::Network, "macula");
        plan.steps.push(Step {
            id: "remove network macula".into(),
            resource: network,
            group: "network".into(),
            action: Action::RemoveNetwork { name: "macula".into() },
            cause: Cause::Requested,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        });
        delete("macula", &mut plan);
        assert_snapshot!(plan, @"
        - remove network macula (requested) after delete cluster macula
        - delete cluster macula (requested)
        ");
    }
}
