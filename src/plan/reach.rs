//! Where nothing that the engine publishes arrives: our own container in the platform's networks, or one that
//! dials for us.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::{ContainerSpec, ContainerState, NetworkSpec, Observed, ResourceId, ResourceKind, label};

use super::{Action, Cause, Plan, Step, StepId, Verb};

/// What these steps are grouped by.
pub const GROUP: &str = "reach";

/// Puts this process's own container into the platform's networks that it is not in yet, or has left ([`leave`]). Services
/// are asked only then.
///
/// `found`: the network in which the ingress finds it, and its address there.
pub fn join(
    plan: &mut Plan,
    home: &str,
    attached: &BTreeSet<String>,
    networks: &[NetworkSpec],
    found: (&str, Ipv4Addr),
) {
    let ours = networks.iter().filter(|network| !network.external && network.driver == "bridge");
    let mut joins = Vec::new();
    for network in ours {
        let made = made(plan, &network.name);
        if attached.contains(&network.name) && made.is_empty() {
            continue;
        }
        let action = Action::JoinNetwork {
            container: home.to_owned(),
            network: network.name.clone(),
            address: Some(found.1).filter(|_| network.name == found.0),
        };
        joins.push(push(plan, Verb::Join, network_id(&network.name), action, Cause::Missing, made));
    }
    wait_for(plan, &joins);
}

/// Takes a container out of each of these networks before it is removed.
pub fn leave(plan: &mut Plan, container: &str, attached: &BTreeSet<String>) {
    for network in attached {
        let removes = |step: &Step| matches!(&step.action, Action::RemoveNetwork { name } if name == network);
        let Some(at) = plan.steps.iter().position(removes) else { continue };
        let after = plan.steps.get(at).map(|step| step.after.clone()).unwrap_or_default();
        let action = Action::LeaveNetwork { container: container.to_owned(), network: network.clone() };
        let left = push(plan, Verb::Leave, network_id(network), action, Cause::Requested, after);
        if let Some(step) = plan.steps.get_mut(at) {
            step.after.push(left);
        }
    }
}

/// Makes the container that dials for us, unless it runs as it should. Networks that are removed go only when it has left
/// them.
pub fn relay(plan: &mut Plan, spec: &ContainerSpec, observed: &Observed) {
    let found = observed.container(&spec.name);
    // somebody else's container may have its name
    let platform = spec.labels.get(label::PLATFORM).map(String::as_str);
    if found.is_some_and(|found| found.label(label::PLATFORM) == platform) {
        let removed = |step: &Step| match &step.action {
            Action::RemoveNetwork { name } => Some(name.clone()),
            _ => None,
        };
        let removed: BTreeSet<String> = plan.steps.iter().filter_map(removed).collect();
        leave(plan, &spec.name, &removed);
    }
    let right = found.is_some_and(|found| {
        let same = spec.fingerprint.as_ref().map(|wanted| wanted.0.as_str()) == found.label(label::FINGERPRINT);
        same && found.state == ContainerState::Running
    });
    let networks: Vec<StepId> = spec.networks.iter().flat_map(|at| made(plan, &at.network)).collect();
    if right && networks.is_empty() {
        return;
    }
    let cause = if found.is_some() { Cause::NotRunning } else { Cause::Missing };
    let id = ResourceId::new(ResourceKind::Container, &spec.name);
    let started = push(plan, Verb::Start, id, Action::StartRelay { spec: Box::new(spec.clone()) }, cause, networks);
    wait_for(plan, &[started]);
}

fn network_id(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::Network, name)
}

/// The steps that make a network.
fn made(plan: &Plan, network: &str) -> Vec<StepId> {
    let makes = |step: &&Step| matches!(&step.action, Action::CreateNetwork(spec) if spec.name == network);
    plan.steps.iter().filter(makes).map(|step| step.id.clone()).collect()
}

fn push(plan: &mut Plan, verb: Verb, resource: ResourceId, action: Action, cause: Cause, after: Vec<StepId>) -> StepId {
    let id = verb.step(&resource);
    plan.steps.push(Step {
        id: id.clone(),
        resource,
        group: GROUP.to_owned(),
        action,
        cause,
        after,
        destructive: false,
        needs_privilege: false,
    });
    id
}

fn wait_for(plan: &mut Plan, steps: &[StepId]) {
    for step in plan.steps.iter_mut().filter(|step| matches!(step.action, Action::AwaitReady { .. })) {
        step.after.extend(steps.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerSpec, Fingerprint, NetworkAttachment, ObservedContainer, Readiness};
    use crate::plan::ImageUse;

    const FOUND: (&str, Ipv4Addr) = ("macula", Ipv4Addr::new(10, 222, 7, 9));

    fn network(name: &str) -> NetworkSpec {
        NetworkSpec {
            name: name.into(),
            external: false,
            driver: "bridge".into(),
            driver_opts: Default::default(),
            internal: false,
            attachable: true,
            enable_ipv6: false,
            ipam: Vec::new(),
            subnet: None,
            labels: Default::default(),
        }
    }

    /// A network and a container in it that is asked.
    fn first_up() -> Plan {
        let mut plan = Plan::default();
        let missing = || Cause::Missing;
        push(
            &mut plan,
            Verb::Create,
            network_id("macula"),
            Action::CreateNetwork(network("macula")),
            missing(),
            vec![],
        );
        let id = || ResourceId::new(ResourceKind::Container, "macula-web-1");
        let after = vec!["create network macula".to_owned()];
        let image = ImageUse::Obtained { step: "x".into() };
        let create = Action::CreateContainer { spec: Box::default(), image };
        push(&mut plan, Verb::Create, id(), create, missing(), after);
        let wait = Action::AwaitReady { spec: Box::default(), readiness: Readiness::default() };
        push(&mut plan, Verb::Await, id(), wait, missing(), vec!["create container macula-web-1".into()]);
        plan
    }

    #[test]
    fn our_container_joins_before_anybody_is_asked() {
        let mut plan = first_up();
        join(&mut plan, "8f1c", &BTreeSet::from(["bridge".into()]), &[network("macula")], FOUND);
        insta::assert_snapshot!(plan, @"
        + create network macula (missing)
        + create container macula-web-1 (missing) after create network macula
          await container macula-web-1 (missing) after create container macula-web-1, join network macula
        ~ join network macula (missing) after create network macula
        ");
        // in it already, and in one that is made again
        let mut plan = Plan::default();
        join(&mut plan, "8f1c", &BTreeSet::from(["macula".into()]), &[network("macula")], FOUND);
        assert!(plan.is_empty());
        let mut external = network("shared");
        external.external = true;
        join(&mut plan, "8f1c", &BTreeSet::new(), &[external], FOUND);
        assert!(plan.is_empty(), "what is somebody else's is not joined");
        let mut other = network("lan");
        other.driver = "macvlan".into();
        join(&mut plan, "8f1c", &BTreeSet::new(), &[other], FOUND);
        assert!(plan.is_empty(), "nor one of another driver");
        // it has the address at which the ingress finds it in that network alone
        join(&mut plan, "8f1c", &BTreeSet::new(), &[network("macula"), network("back")], FOUND);
        let address = |step: &Step| match step.action {
            Action::JoinNetwork { address, .. } => address,
            _ => None,
        };
        assert_eq!(plan.steps.iter().map(address).collect::<Vec<_>>(), [Some(FOUND.1), None]);
    }

    #[test]
    fn our_container_leaves_before_the_network_goes() {
        let mut plan = Plan::default();
        let remove = Action::RemoveNetwork { name: "macula".into() };
        push(
            &mut plan,
            Verb::Remove,
            network_id("macula"),
            remove,
            Cause::Requested,
            vec!["remove container x".into()],
        );
        leave(&mut plan, "8f1c", &BTreeSet::from(["bridge".into(), "macula".into()]));
        insta::assert_snapshot!(plan, @"
        - remove network macula (requested) after remove container x, leave network macula
        ~ leave network macula (requested) after remove container x
        ");
    }

    /// The platform's network, and one that is removed, after the containers.
    fn made_again() -> Plan {
        let mut plan = Plan::default();
        let changed = || Cause::Changed { what: vec!["specification".into()] };
        let remove = |name: &str| Action::RemoveNetwork { name: name.into() };
        let gone = || vec!["remove container macula-web-1".into()];
        let removed = push(&mut plan, Verb::Remove, network_id("macula"), remove("macula"), changed(), gone());
        let create = Action::CreateNetwork(network("macula"));
        push(&mut plan, Verb::Create, network_id("macula"), create, changed(), vec![removed]);
        push(&mut plan, Verb::Remove, network_id("back"), remove("back"), Cause::Orphaned, gone());
        plan
    }

    #[test]
    fn our_container_leaves_a_network_that_is_made_again_and_comes_back() {
        let mut plan = made_again();
        let attached = BTreeSet::from(["bridge".into(), "macula".into()]);
        leave(&mut plan, "8f1c", &attached);
        join(&mut plan, "8f1c", &attached, &[network("macula")], FOUND);
        insta::assert_snapshot!(plan, @"
        - remove network macula (changed: specification) after remove container macula-web-1, leave network macula
        + create network macula (changed: specification) after remove network macula
        - remove network back (no longer wanted) after remove container macula-web-1
        ~ leave network macula (requested) after remove container macula-web-1
        ~ join network macula (missing) after create network macula
        ");
    }

    #[test]
    fn a_relay_leaves_networks_before_they_are_removed() {
        let after = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let found = ObservedContainer { name: "macula.relay".into(), labels, ..ObservedContainer::default() };
            let mut spec = relay_spec();
            spec.labels.insert(label::PLATFORM.into(), "macula".into());
            let mut plan = made_again();
            relay(&mut plan, &spec, &Observed { containers: vec![found], ..Observed::default() });
            plan.to_string()
        };
        insta::assert_snapshot!(after(&[(label::PLATFORM, "macula")]), @"
        - remove network macula (changed: specification) after remove container macula-web-1, leave network macula
        + create network macula (changed: specification) after remove network macula
        - remove network back (no longer wanted) after remove container macula-web-1, leave network back
        ~ leave network back (requested) after remove container macula-web-1
        ~ leave network macula (requested) after remove container macula-web-1
        + start container macula.relay (not running) after create network macula
        ");
        assert!(!after(&[]).contains("leave"), "somebody else's container");
    }

    fn relay_spec() -> ContainerSpec {
        let attachment = NetworkAttachment {
            network: "macula".into(),
            aliases: Vec::new(),
            links: Vec::new(),
            ipv4: None,
            ipv6: None,
        };
        ContainerSpec {
            name: "macula.relay".into(),
            networks: vec![attachment],
            fingerprint: Some(Fingerprint("f".into())),
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn a_relay_that_runs_as_it_should_is_left_alone() {
        let spec = relay_spec();
        let mut plan = first_up();
        relay(&mut plan, &spec, &Observed::default());
        let last = plan.steps.last().unwrap().to_string();
        assert_eq!(last, "+ start container macula.relay (missing) after create network macula");
        assert!(plan.steps[2].after.contains(&"start container macula.relay".to_owned()));
        let mut found = ObservedContainer {
            name: "macula.relay".into(),
            state: ContainerState::Running,
            labels: [(label::FINGERPRINT.to_owned(), "f".to_owned())].into(),
            ..ObservedContainer::default()
        };
        let again = |found: &ObservedContainer| {
            let mut plan = Plan::default();
            let observed = Observed { containers: vec![found.clone()], ..Observed::default() };
            relay(&mut plan, &spec, &observed);
            plan.steps.len()
        };
        assert_eq!(again(&found), 0);
        found.state = ContainerState::Exited;
        assert_eq!(again(&found), 1);
        // and one of another version that runs
        found.state = ContainerState::Running;
        found.labels.insert(label::FINGERPRINT.to_owned(), "e".to_owned());
        assert_eq!(again(&found), 1);
    }
}
