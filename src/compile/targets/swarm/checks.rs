//! What has to be so in a swarm for its stacks to work, by what a manager says of it: who answers after a reboot, who is
//! still away, and what that means for services. Pure.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use crate::model::{ObservedSwarm, Remedy, SwarmNode, SwarmService};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `managers`, `node`, `placement`, `service`, `port` or `workload`
    pub kind: &'static str,
    /// What of that kind: `worker2`, `shop_api`, `10.0.0.5:8088`.
    pub name: String,
    pub state: Checked,
    /// What was seen.
    pub seen: String,
    #[serde(skip)]
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

/// The swarm itself, its nodes, and whether there is one for each service.
pub fn swarm_checks(observed: &ObservedSwarm) -> Vec<Check> {
    let mut nodes: Vec<&SwarmNode> = observed.nodes.values().collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let placed = observed.services.iter().filter_map(|service| placement(&nodes, service));
    managers(&nodes).into_iter().chain(nodes.iter().map(|node| of_node(observed, node))).chain(placed).collect()
}

/// A swarm takes orders as long as more than half of its managers reach each other
/// (<https://docs.docker.com/engine/swarm/raft/>).
fn managers(nodes: &[&SwarmNode]) -> Option<Check> {
    let all: Vec<&&SwarmNode> = nodes.iter().filter(|node| node.manager.is_some()).collect();
    let away: Vec<&str> =
        all.iter().filter(|node| node.manager.as_deref() != Some("reachable")).map(|node| node.name.as_str()).collect();
    let reached = all.len() - away.len();
    let quorum = all.len() / 2 + 1;
    let names = all.iter().map(|node| node.name.as_str());
    let seen = format!("{reached} of {} reachable", all.len());
    let check = |state, seen: String| Check::new("managers", crate::words::list(names), state, seen);
    if all.is_empty() {
        return None;
    }
    Some(match away.as_slice() {
        [] if all.len() == 2 => check(Checked::Warning, format!("{seen}; with either gone the swarm takes no orders"))
            .remedy(Remedy::say("have one manager or three: two stand no more than one does")),
        [] => check(Checked::Ok, seen),
        away => {
            let spare = reached.saturating_sub(quorum);
            let more = match spare {
                0 => "if one more goes, the swarm takes no orders".to_owned(),
                1 => "one more may go".to_owned(),
                number => format!("{number} more may go"),
            };
            let away = crate::words::list(away.iter().copied());
            check(Checked::Warning, format!("{seen}, not {away}; {more}"))
        }
    })
}

fn of_node(observed: &ObservedSwarm, node: &SwarmNode) -> Check {
    let check = |state, seen: String| Check::new("node", &node.name, state, seen);
    let lost = || {
        let theirs = observed.tasks.iter().filter(|task| task.node == node.id && task.desired == "running");
        let services = theirs.filter_map(|task| observed.services.iter().find(|one| one.id == task.service));
        let names = crate::words::unique(services.map(|service| service.name.clone()));
        match names.as_slice() {
            [] => String::new(),
            names => format!("; tasks of {} are to run there", crate::words::list(names.iter().map(String::as_str))),
        }
    };
    match (node.state.as_str(), node.availability.as_str()) {
        ("ready", "active") => {
            let version = if node.engine.is_empty() { String::new() } else { format!(", Docker {}", node.engine) };
            check(Checked::Ok, format!("ready{version}"))
        }
        ("ready", "drain") => check(Checked::Warning, "drained: it takes no tasks".to_owned()).remedy(Remedy::shell([
            "docker",
            "node",
            "update",
            "--availability",
            "active",
            &node.name,
        ])),
        ("ready", availability) => check(Checked::Warning, format!("{availability}: it takes no new tasks"))
            .remedy(Remedy::shell(["docker", "node", "update", "--availability", "active", &node.name])),
        (state, _) => {
            let message = if node.message.is_empty() { String::new() } else { format!(" ({})", node.message) };
            check(Checked::Failed, format!("{state}{message}{}", lost()))
                .remedy(Remedy::say("start its machine and its engine"))
                .remedy(Remedy::shell(["docker", "node", "rm", &node.name]))
        }
    }
}

/// Nodes that could take a task of the service: none is a fault of its own, whatever runs still.
fn placement(nodes: &[&SwarmNode], service: &SwarmService) -> Option<Check> {
    let constraints = service.spec.pointer("/TaskTemplate/Placement/Constraints").and_then(Value::as_array)?;
    let constraints: Vec<&str> = constraints.iter().filter_map(Value::as_str).collect();
    if constraints.is_empty() {
        return None;
    }
    let parsed: Vec<Constraint<'_>> = constraints.iter().map(|text| Constraint::parse(text)).collect::<Option<_>>()?;
    let fits = |node: &&&SwarmNode| parsed.iter().all(|one| one.holds(node));
    let fitting: Vec<&&SwarmNode> = nodes.iter().filter(fits).collect();
    let open = fitting.iter().filter(|node| node.state == "ready" && node.availability == "active");
    let open: Vec<&str> = open.map(|node| node.name.as_str()).collect();
    let said = crate::words::list(constraints.iter().copied());
    let check = |state, seen: String| Some(Check::new("placement", &service.name, state, seen));
    if !open.is_empty() {
        return check(Checked::Ok, format!("{said}: {}", crate::words::list(open.iter().copied())));
    }
    let away = crate::words::list(fitting.iter().map(|node| node.name.as_str()));
    let text = match fitting.is_empty() {
        true => format!("no node has {said}"),
        false => format!("{said}: only {away}, which takes no tasks"),
    };
    let mut failed = Check::new("placement", &service.name, Checked::Failed, text);
    if fitting.is_empty() {
        let labels = parsed
            .iter()
            .filter(|one| one.equal)
            .filter_map(|one| Some((one.key.strip_prefix("node.labels.")?, one.value)));
        for (key, value) in labels {
            let label = format!("{key}={value}");
            failed = failed.remedy(Remedy::shell(["docker", "node", "update", "--label-add", &label, "NODE"]));
        }
    }
    Some(failed)
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

/// Where the ports of a service should answer over TCP: with `mode: host` on the nodes of its tasks, with the routing
/// mesh on each node that is ready.
pub fn swarm_ports(observed: &ObservedSwarm, service: &SwarmService) -> Vec<SocketAddr> {
    let ports = service.spec.pointer("/EndpointSpec/Ports").and_then(Value::as_array).into_iter().flatten();
    let mut all = Vec::new();
    for port in ports.filter(|port| port["Protocol"].as_str().unwrap_or("tcp") == "tcp") {
        let published = port["PublishedPort"].as_u64().and_then(|number| u16::try_from(number).ok());
        let Some(published) = published else { continue };
        let on_its_nodes = port["PublishMode"] == "host";
        let runs = |node: &SwarmNode| {
            observed
                .tasks_of(service)
                .any(|task| task.node == node.id && task.state == "running" && task.desired == "running")
        };
        let asked = observed.nodes.values().filter(|node| match on_its_nodes {
            true => runs(node),
            false => node.state == "ready",
        });
        let addresses = asked.filter_map(|node| node.address.parse::<IpAddr>().ok());
        all.extend(addresses.map(|address| SocketAddr::new(address, published)));
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::model::SwarmTask;

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
        swarm_checks(observed).into_iter().map(line).collect()
    }

    #[test]
    fn after_a_reboot_it_is_told_who_is_away_and_what_waits_for_it() {
        let data = BTreeMap::from([("data".to_owned(), "true".to_owned())]);
        let nodes = vec![
            node("m1", "ready", "active", Some("reachable")),
            node("m2", "ready", "drain", Some("reachable")),
            SwarmNode {
                labels: data,
                message: "heartbeat failure".into(),
                ..node("m3", "down", "active", Some("unreachable"))
            },
        ];
        let services =
            vec![service("shop_db", &["node.labels.data == TRUE"], json!([])), service("shop_api", &[], json!([]))];
        let observed =
            swarm(nodes, services, vec![task("shop_db", "m3", "running"), task("shop_api", "m1", "running")]);
        insta::assert_snapshot!(lines(&observed).join("\n"), @r#"
        Warning managers m1, m2 and m3: 2 of 3 reachable, not m3; if one more goes, the swarm takes no orders
        Ok node m1: ready
        Warning node m2: drained: it takes no tasks | docker node update --availability active m2
        Failed node m3: down (heartbeat failure); tasks of shop_db are to run there | Say("start its machine and its engine") | docker node rm m3
        Failed placement shop_db: node.labels.data == TRUE: only m3, which takes no tasks
        "#);
    }

    #[test]
    fn managers_are_counted_against_their_majority() {
        let told = |states: &[&str]| {
            let nodes = states
                .iter()
                .enumerate()
                .map(|(number, state)| node(&format!("m{number}"), "ready", "active", Some(state)));
            let first = swarm_checks(&swarm(nodes.collect(), Vec::new(), Vec::new())).remove(0);
            format!("{:?} {}", first.state, first.seen)
        };
        let (up, away) = ("reachable", "unreachable");
        assert_eq!(told(&[up]), "Ok 1 of 1 reachable");
        assert_eq!(told(&[up, up]), "Warning 2 of 2 reachable; with either gone the swarm takes no orders");
        assert_eq!(told(&[up, up, up]), "Ok 3 of 3 reachable");
        assert_eq!(told(&[up, up, up, up, away]), "Warning 4 of 5 reachable, not m4; one more may go");
        assert_eq!(
            told(&[up, up, up, away, away]),
            "Warning 3 of 5 reachable, not m3 and m4; if one more goes, the swarm takes no orders"
        );
        assert!(swarm_checks(&swarm(vec![node("w", "ready", "active", None)], Vec::new(), Vec::new())).len() == 1);
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
            "Failed placement shop_db: no node has node.labels.data == true | docker node update --label-add data=true NODE"
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
        let edge = service("edge", &[], ports);
        let observed =
            swarm(nodes(), vec![edge.clone()], vec![task("edge", "a", "running"), task("edge", "bb", "starting")]);
        assert_eq!(swarm_ports(&observed, &edge), ["10.0.0.1:8088".parse().unwrap()]);
        let meshed = service("web", &[], json!([{"TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"}]));
        let observed = swarm(nodes(), vec![meshed.clone()], Vec::new());
        assert_eq!(swarm_ports(&observed, &meshed), ["10.0.0.1:80".parse().unwrap()]);
    }
}
