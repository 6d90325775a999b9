//! What has to be so in a swarm for its stacks to work, by what a manager says of it: who answers after a reboot, who is
//! still away, and what that means for services. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use crate::model::{ObservedSwarm, Remedy, SwarmNode, SwarmService, SwarmTask};

/// How something that was checked is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    Ok,
    /// It works, and the next fault will be felt.
    Warning,
    Failed,
}

/// One thing that has to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `managers`, `node`, `placement`, `service`, `port` or `workload`
    pub kind: &'static str,
    /// What of that kind: `worker2`, `shop_api`, `10.0.0.5:8088`.
    pub name: String,
    pub state: Checked,
    /// What was seen.
    pub seen: String,
    pub remedies: Vec<Remedy>,
}

impl Check {
    pub fn new(kind: &'static str, name: impl Into<String>, state: Checked, seen: impl Into<String>) -> Self {
        Self { kind, name: name.into(), state, seen: seen.into(), remedies: Vec::new() }
    }

    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }
}

/// The swarm itself, its nodes, and whether there is one for each service. `context`: of Docker's, by which it is asked.
pub fn swarm_checks(observed: &ObservedSwarm, context: Option<&str>) -> Vec<Check> {
    let mut nodes: Vec<&SwarmNode> = observed.nodes.values().collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let seen = nodes.iter().map(|node| of_node(observed, node, context));
    let placed = observed.services.iter().filter_map(|service| placement(observed, &nodes, service, context));
    managers(&nodes).into_iter().chain(seen).chain(placed).collect()
}

/// A swarm can be changed as long as more than half of its managers reach each other
/// (<https://docs.docker.com/engine/swarm/raft/>).
fn managers(nodes: &[&SwarmNode]) -> Option<Check> {
    let all: Vec<&&SwarmNode> = nodes.iter().filter(|node| node.manager.is_some()).collect();
    let is_away = |node: &&&&SwarmNode| node.manager.as_deref() != Some("reachable");
    let away: Vec<&str> = all.iter().filter(is_away).map(|node| node.name.as_str()).collect();
    let reached = all.len() - away.len();
    let quorum = all.len() / 2 + 1;
    let seen = format!("{reached} of {} reachable", all.len());
    let check = |state, seen: String| {
        Check::new("managers", crate::words::list(all.iter().map(|node| node.name.as_str())), state, seen)
    };
    if all.is_empty() {
        return None;
    }
    if away.is_empty() && all.len() == 2 {
        let seen = format!("{seen}; if either goes, the swarm cannot be changed");
        let hint = "use one manager or three: two tolerate no more failures than one";
        return Some(check(Checked::Warning, seen).remedy(Remedy::say(hint)));
    }
    if away.is_empty() {
        return Some(check(Checked::Ok, seen));
    }
    let seen = format!("{seen}, not {}", crate::words::list(&away));
    Some(match reached.checked_sub(quorum) {
        None => check(Checked::Failed, format!("{seen}; the swarm cannot be changed until {quorum} are")),
        Some(0) => check(Checked::Warning, format!("{seen}; if one more goes, the swarm cannot be changed")),
        Some(1) => check(Checked::Warning, format!("{seen}; it can lose one more")),
        Some(spare) => check(Checked::Warning, format!("{seen}; it can lose {spare} more")),
    })
}

fn of_node(observed: &ObservedSwarm, node: &SwarmNode, context: Option<&str>) -> Check {
    let check = |state, seen: String| Check::new("node", &node.name, state, seen);
    let activate =
        || Remedy::in_context("docker", context, &["node", "update", "--availability", "active", &node.name]);
    let message = if node.message.is_empty() { String::new() } else { format!(" ({})", node.message) };
    match (node.state.as_str(), node.availability.as_str()) {
        ("ready", "active") => {
            let version = if node.engine.is_empty() { String::new() } else { format!(", Docker {}", node.engine) };
            check(Checked::Ok, format!("ready{version}"))
        }
        // managers often are, for good
        ("ready", "drain") if node.manager.is_some() => check(Checked::Ok, "drained: it only manages".to_owned()),
        ("ready", "drain") => check(Checked::Warning, "drained: it takes no tasks".to_owned()).remedy(activate()),
        ("ready", _) => check(Checked::Warning, "paused: it takes no new tasks".to_owned()).remedy(activate()),
        ("down", _) => check(Checked::Failed, format!("down{message}{}", last_tasks(observed, node)))
            .remedy(Remedy::say("start its machine and its engine")),
        (state, _) => check(Checked::Warning, format!("{state}{message}")).remedy(Remedy::say(
            "a manager that has just become the leader hears from its nodes within seconds: ask again",
        )),
    }
}

/// What ran on a node that is down. A swarm gives up such tasks, and keeps the state in which it last saw them.
fn last_tasks(observed: &ObservedSwarm, node: &SwarmNode) -> String {
    let theirs = observed.tasks.iter().filter(|task| task.node == node.id && task.state == "running");
    let services = theirs.filter_map(|task| observed.services.iter().find(|one| one.id == task.service));
    let names = crate::words::unique(services.map(|service| service.name.as_str()));
    if names.is_empty() { String::new() } else { format!("; {} ran there", crate::words::list(names)) }
}

/// Nodes that could take a task of the service. `None`: it asks for nothing, needs none, or what it asks for is not
/// understood here.
fn placement(
    observed: &ObservedSwarm,
    nodes: &[&SwarmNode],
    service: &SwarmService,
    context: Option<&str>,
) -> Option<Check> {
    let mode = &service.spec["Mode"];
    let is_job = mode.get("ReplicatedJob").is_some() || mode.get("GlobalJob").is_some();
    if is_job || mode.pointer("/Replicated/Replicas").and_then(Value::as_u64) == Some(0) {
        return None;
    }
    let constraints = service.spec.pointer("/TaskTemplate/Placement/Constraints").and_then(Value::as_array)?;
    let constraints: Vec<&str> = constraints.iter().filter_map(Value::as_str).collect();
    if constraints.is_empty() {
        return None;
    }
    let parsed: Vec<Constraint<'_>> = constraints.iter().map(|text| Constraint::parse(text)).collect::<Option<_>>()?;
    let fits = |node: &&&SwarmNode| parsed.iter().all(|one| one.holds(node));
    let (open, closed): (Vec<&SwarmNode>, Vec<&SwarmNode>) =
        nodes.iter().filter(fits).partition(|node| node.state == "ready" && node.availability == "active");
    let names = |nodes: &[&SwarmNode]| crate::words::list(nodes.iter().map(|node| &node.name));
    let said = crate::words::list(constraints);
    let check = |state, seen: String| Check::new("placement", &service.name, state, seen);
    if !open.is_empty() {
        return Some(check(Checked::Ok, format!("{said}: {}", names(&open))));
    }
    if closed.is_empty() {
        let labels = parsed.iter().filter(|one| one.equal);
        let labels = labels.filter_map(|one| Some((one.key.strip_prefix("node.labels.")?, one.value)));
        let remedies = labels.map(|(key, value)| {
            Remedy::in_context("docker", context, &["node", "update", "--label-add", &format!("{key}={value}"), "NODE"])
        });
        return Some(remedies.fold(check(Checked::Failed, format!("no node has {said}")), Check::remedy));
    }
    let runs = observed.tasks_of(service).any(|task| task.state == "running" && task.desired == "running");
    let takes = if closed.len() == 1 { "takes" } else { "take" };
    let seen = format!("{said}: only {}, which {takes} no new tasks", names(&closed));
    Some(check(if runs { Checked::Warning } else { Checked::Failed }, seen))
}

/// `node.labels.data == true` (<https://docs.docker.com/reference/cli/docker/service/create/#constraint>).
struct Constraint<'a> {
    key: &'a str,
    equal: bool,
    value: &'a str,
}

impl<'a> Constraint<'a> {
    /// `None`: of a kind that is not known here.
    fn parse(text: &'a str) -> Option<Self> {
        let (key, equal, value) = match text.split_once("!=") {
            Some((key, value)) => (key, false, value),
            None => text.split_once("==").map(|(key, value)| (key, true, value))?,
        };
        let key = key.trim();
        let whole = ["node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch"];
        let known = whole.contains(&key) || key.starts_with("node.labels.") || key.starts_with("engine.labels.");
        known.then_some(Self { key, equal, value: value.trim() })
    }

    fn holds(&self, node: &SwarmNode) -> bool {
        let role = if node.manager.is_some() { "manager" } else { "worker" };
        let found = match self.key {
            "node.id" => Some(node.id.as_str()),
            "node.hostname" => Some(node.name.as_str()),
            "node.role" => Some(role),
            "node.platform.os" => Some(node.os.as_str()),
            "node.platform.arch" => Some(node.architecture.as_str()),
            key => match key.strip_prefix("node.labels.") {
                Some(label) => node.labels.get(label).map(String::as_str),
                None => {
                    key.strip_prefix("engine.labels.").and_then(|key| node.engine_labels.get(key)).map(String::as_str)
                }
            },
        };
        // a label that is not there differs from each value
        found.is_some_and(|found| found.eq_ignore_ascii_case(self.value)) == self.equal
    }
}

/// Where a port of a service should answer over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SwarmPort {
    pub address: SocketAddr,
    /// By the routing mesh, which passes it on to wherever a task runs.
    pub meshed: bool,
}

/// With `mode: host` on the nodes of its tasks, with the routing mesh on each node that is ready. What no task is behind
/// answers nowhere.
pub fn swarm_ports(observed: &ObservedSwarm, service: &SwarmService) -> Vec<SwarmPort> {
    let ports = service.spec.pointer("/EndpointSpec/Ports").and_then(Value::as_array).into_iter().flatten();
    let runs = |task: &&SwarmTask| task.state == "running" && task.desired == "running";
    let on: BTreeSet<&str> = observed.tasks_of(service).filter(runs).map(|task| task.node.as_str()).collect();
    let mut all = BTreeSet::new();
    for port in ports.filter(|port| port["Protocol"].as_str().unwrap_or("tcp") == "tcp") {
        let published = port["PublishedPort"].as_u64().and_then(|number| u16::try_from(number).ok());
        let Some(published) = published.filter(|_| !on.is_empty()) else { continue };
        let meshed = port["PublishMode"] != "host";
        let asked = |node: &&SwarmNode| node.state == "ready" && (meshed || on.contains(node.id.as_str()));
        let addresses = observed.nodes.values().filter(asked).filter_map(|node| node.address.parse::<IpAddr>().ok());
        all.extend(addresses.map(|address| SwarmPort { address: SocketAddr::new(address, published), meshed }));
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn node(name: &str, state: &str, availability: &str, manager: Option<&str>) -> SwarmNode {
        SwarmNode {
            id: format!("id-{name}"),
            name: name.into(),
            state: state.into(),
            availability: availability.into(),
            manager: manager.map(str::to_owned),
            address: format!("10.0.0.{}", name.len()),
            os: "linux".into(),
            architecture: "x86_64".into(),
            ..SwarmNode::default()
        }
    }

    fn swarm(nodes: Vec<SwarmNode>, services: Vec<SwarmService>, tasks: Vec<SwarmTask>) -> ObservedSwarm {
        let nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        ObservedSwarm { nodes, services, tasks, ..ObservedSwarm::default() }
    }

    fn service(name: &str, constraints: &[&str], ports: Value) -> SwarmService {
        SwarmService {
            id: format!("id-{name}"),
            name: name.into(),
            spec: json!({"TaskTemplate": {"Placement": {"Constraints": constraints}}, "EndpointSpec": {"Ports": ports}}),
            ..SwarmService::default()
        }
    }

    fn task(service: &str, node: &str, state: &str) -> SwarmTask {
        SwarmTask {
            service: format!("id-{service}"),
            node: format!("id-{node}"),
            desired: "running".into(),
            state: state.into(),
            ..SwarmTask::default()
        }
    }

    fn lines(observed: &ObservedSwarm) -> Vec<String> {
        let line = |check: Check| {
            let commands = check.remedies.iter().map(|remedy| match remedy {
                Remedy::Shell(line) => format!(" | {line}"),
                other => format!(" | {other:?}"),
            });
            format!("{:?} {} {}: {}{}", check.state, check.kind, check.name, check.seen, commands.collect::<String>())
        };
        swarm_checks(observed, Some("staging")).into_iter().map(line).collect()
    }

    #[test]
    fn after_a_reboot_it_is_told_who_is_away_and_what_ran_there() {
        let data = || BTreeMap::from([("data".to_owned(), "true".to_owned())]);
        let nodes = vec![
            node("m1", "ready", "active", Some("reachable")),
            node("m2", "ready", "drain", Some("reachable")),
            SwarmNode {
                labels: data(),
                message: "heartbeat failure".into(),
                ..node("m3", "down", "active", Some("unreachable"))
            },
            node("w1", "ready", "drain", None),
            SwarmNode { labels: data(), ..node("w2", "ready", "pause", None) },
            node("w3", "unknown", "active", None),
        ];
        let services = vec![
            service("shop_db", &["node.labels.data == TRUE"], json!([])),
            service("shop_log", &["node.hostname == w2"], json!([])),
            service("shop_api", &[], json!([])),
        ];
        let given_up = SwarmTask { desired: "shutdown".into(), ..task("shop_db", "m3", "running") };
        let tasks = vec![given_up, task("shop_api", "m1", "running"), task("shop_log", "w2", "running")];
        insta::assert_snapshot!(lines(&swarm(nodes, services, tasks)).join("\n"), @r#"
        Warning managers m1, m2 and m3: 2 of 3 reachable, not m3; if one more goes, the swarm cannot be changed
        Ok node m1: ready
        Ok node m2: drained: it only manages
        Failed node m3: down (heartbeat failure); shop_db ran there | Say("start its machine and its engine")
        Warning node w1: drained: it takes no tasks | docker --context staging node update --availability active w1
        Warning node w2: paused: it takes no new tasks | docker --context staging node update --availability active w2
        Warning node w3: unknown | Say("a manager that has just become the leader hears from its nodes within seconds: ask again")
        Failed placement shop_db: node.labels.data == TRUE: only m3 and w2, which take no new tasks
        Warning placement shop_log: node.hostname == w2: only w2, which takes no new tasks
        "#);
    }

    #[test]
    fn what_needs_no_node_is_not_asked_for_one() {
        let mut stopped = service("shop_db", &["node.labels.data == true"], json!([]));
        stopped.spec["Mode"] = json!({"Replicated": {"Replicas": 0}});
        let mut job = service("shop_job", &["node.labels.data == true"], json!([]));
        job.spec["Mode"] = json!({"ReplicatedJob": {"TotalCompletions": 1}});
        let observed = swarm(vec![node("w1", "ready", "active", None)], vec![stopped, job], Vec::new());
        assert_eq!(lines(&observed), ["Ok node w1: ready"]);
    }

    #[test]
    fn managers_are_counted_against_their_majority() {
        let told = |states: &[&str]| {
            let node = |(number, state): (usize, &&str)| node(&format!("m{number}"), "ready", "active", Some(state));
            let nodes = states.iter().enumerate().map(node).collect();
            let first = swarm_checks(&swarm(nodes, Vec::new(), Vec::new()), None).remove(0);
            format!("{:?} {}", first.state, first.seen)
        };
        let (up, away) = ("reachable", "unreachable");
        assert_eq!(told(&[up]), "Ok 1 of 1 reachable");
        assert_eq!(told(&[up, up]), "Warning 2 of 2 reachable; if either goes, the swarm cannot be changed");
        assert_eq!(told(&[up, up, up]), "Ok 3 of 3 reachable");
        assert_eq!(told(&[up, up, up, up, away]), "Warning 4 of 5 reachable, not m4; it can lose one more");
        assert_eq!(
            told(&[up, up, up, away, away]),
            "Warning 3 of 5 reachable, not m3 and m4; if one more goes, the swarm cannot be changed"
        );
        assert_eq!(told(&[up, away]), "Failed 1 of 2 reachable, not m1; the swarm cannot be changed until 2 are");
        let workers = swarm(vec![node("w", "ready", "active", None)], Vec::new(), Vec::new());
        assert_eq!(swarm_checks(&workers, None).len(), 1);
    }

    #[test]
    fn constraints_are_read_as_a_swarm_reads_them() {
        let worker = SwarmNode {
            labels: [("zone".to_owned(), "east".to_owned())].into(),
            engine_labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            ..node("w1", "ready", "active", None)
        };
        for (text, holds) in [
            ("node.labels.zone == east", true),
            ("node.labels.zone==EAST", true),
            ("node.labels.zone != east", false),
            ("node.labels.rack != 7", true),
            ("node.labels.rack == 7", false),
            ("engine.labels.disk == ssd", true),
            ("node.role == worker", true),
            ("node.role==manager", false),
            ("node.hostname == w1", true),
            ("node.id == id-w1", true),
            ("node.platform.os == linux", true),
            ("node.platform.arch != x86_64", false),
        ] {
            assert_eq!(Constraint::parse(text).unwrap().holds(&worker), holds, "{text}");
        }
        assert!(Constraint::parse("node.ip == 10.0.0.0/8").is_none() && Constraint::parse("node.role").is_none());
        let told = |constraint: &str| {
            let observed = swarm(vec![worker.clone()], vec![service("shop_db", &[constraint], json!([]))], Vec::new());
            lines(&observed).pop().unwrap()
        };
        assert_eq!(told("node.labels.zone == east"), "Ok placement shop_db: node.labels.zone == east: w1");
        assert_eq!(
            told("node.labels.data == true"),
            "Failed placement shop_db: no node has node.labels.data == true | docker --context staging node update --label-add data=true NODE"
        );
        assert_eq!(told("node.ip == 10.0.0.0/8"), "Ok node w1: ready", "nothing is said of what is not understood");
    }

    #[test]
    fn ports_answer_where_they_are_published() {
        let ports = json!([
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8088, "PublishMode": "host"},
            {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "host"},
            {"Protocol": "tcp", "TargetPort": 9, "PublishMode": "ingress"},
        ]);
        let nodes = || vec![node("a", "ready", "active", Some("reachable")), node("bb", "down", "active", None)];
        let at = |address: &str, meshed| SwarmPort { address: address.parse().unwrap(), meshed };
        let edge = service("edge", &[], ports);
        let tasks = vec![task("edge", "a", "running"), task("edge", "bb", "running"), task("edge", "a", "starting")];
        assert_eq!(swarm_ports(&swarm(nodes(), vec![edge.clone()], tasks), &edge), [at("10.0.0.1:8088", false)]);
        let meshed = service("web", &[], json!([{"TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"}]));
        let observed = |state: &str| swarm(nodes(), vec![meshed.clone()], vec![task("web", "bb", state)]);
        assert_eq!(swarm_ports(&observed("running"), &meshed), [at("10.0.0.1:80", true)]);
        assert_eq!(swarm_ports(&observed("pending"), &meshed), [], "nobody is behind it");
    }
}
