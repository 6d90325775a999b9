//! What this machine's kernel forwards for containers: to each other, to other machines, and from those.

use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

use super::network::{interface, is_ours, v4};
use crate::changes::Change;
use crate::doctor::context::Context;
use crate::doctor::firewall::{Fate, Packet, fate};
use crate::doctor::{Action, Fix, Verdict};
use crate::host::Command;
use crate::model::EngineKind;

/// Stands for any machine elsewhere (RFC 5737).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// From here on the engine itself drops what neighbors send to containers.
const CLOSED_SINCE: u32 = 28;

/// A bridge of this machine, with its network.
struct Bridge {
    interface: String,
    subnet: Ipv4Net,
    ours: bool,
}

/// The platform's, or else the engine's first one: what holds for one mostly holds for the other.
async fn bridge(context: &Context<'_>) -> Result<Bridge, String> {
    let networks = context.networks().await.as_ref().map_err(Clone::clone)?;
    let own = networks.iter().find(|network| network.name == context.want.network && is_ours(context, network));
    let chosen = own.or_else(|| networks.iter().find(|network| network.name == "bridge"));
    let found = chosen.and_then(|network| Some((network, v4(network)?)));
    let Some((network, subnet)) = found else { return Err("the engine has no bridge on this machine".into()) };
    let interface = interface(network);
    if !context.host.exists(&Path::new("/sys/class/net").join(&interface)).await {
        return Err("the engine has no bridge on this machine".into());
    }
    Ok(Bridge { interface, subnet, ours: own.is_some() })
}

fn elsewhere(context: &Context<'_>) -> Option<&'static str> {
    match context.machine.os.as_str() {
        "linux" if context.remote() => Some("the engine is on another machine"),
        "linux" => None,
        _ => Some("the engine's kernel is not this machine's"),
    }
}

/// The rules of one table.
async fn rules(context: &Context<'_>, table: &str) -> Result<String, String> {
    if context.host.which("iptables").is_none() {
        return Err("there is no iptables, so rules could not be read".into());
    }
    let command = Command::new("iptables", ["-t", table, "-S"]).privileged();
    let output = context.host.run(&command).await.map_err(|_| "reading the rules of iptables needs root".to_owned())?;
    Ok(output.stdout())
}

/// The interface that leads to other machines.
async fn uplink(context: &Context<'_>) -> Option<String> {
    let output = context.host.run(&Command::new("ip", ["-4", "route", "show", "default"])).await.ok()?.stdout();
    let mut words = output.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).map(str::to_owned)
}

pub(in crate::doctor) async fn forwarding(context: &Context<'_>) -> Verdict {
    if let Some(reason) = elsewhere(context) {
        return Verdict::skipped(reason);
    }
    let bridge = match bridge(context).await {
        Ok(bridge) => bridge,
        Err(reason) => return Verdict::skipped(reason),
    };
    if context.host.sysctl("net.ipv4.ip_forward").await.is_ok_and(|value| value.trim() == "0") {
        let change = Change::settings(&[("net.ipv4.ip_forward", "1".to_owned())], false);
        return Verdict::warning("this machine forwards nothing: containers reach no other machine")
            .detail(["net.ipv4.ip_forward is 0; something has changed it since the engine was started"])
            .fix(Fix { text: "switch it on".into(), actions: vec![Action::Change(change)], safe: true });
    }
    if !context.thorough {
        return Verdict::ok("this machine forwards what containers send");
    }
    let (filter, nat) = match (rules(context, "filter").await, rules(context, "nat").await) {
        (Ok(filter), Ok(nat)) => (filter, nat),
        (Err(reason), _) | (_, Err(reason)) => return Verdict::skipped(reason),
    };
    if major(context).await.is_some_and(|major| major > CLOSED_SINCE) && !filter.contains("-N DOCKER") {
        return Verdict::skipped("the engine keeps its rules elsewhere (nftables)");
    }
    verdict(&bridge, &filter, &nat, uplink(context).await.as_deref(), bridge_calls(context).await)
}

/// Whether packets between two containers of a bridge pass the rules at all.
async fn bridge_calls(context: &Context<'_>) -> bool {
    context.host.sysctl("net.bridge.bridge-nf-call-iptables").await.is_ok_and(|value| value.trim() == "1")
}

fn verdict(bridge: &Bridge, filter: &str, nat: &str, uplink: Option<&str>, bridge_calls: bool) -> Verdict {
    let name = bridge.interface.as_str();
    let mut hosts = bridge.subnet.hosts().skip(1);
    let source = hosts.next().unwrap_or(bridge.subnet.addr());
    let neighbor = hosts.next().unwrap_or(source);
    let packet = |to, destination| Packet { from: name, to, source, destination, port: 443 };
    let insert = |words: &[&str]| Action::Change(Change::rule(None, "-I", &[&["FORWARD"], words].concat()));
    let restart = "restarting the engine would put its own rules back too";
    let dropped = |fate: Option<Fate>| fate.filter(Fate::drops);
    if bridge_calls && let Some(fate) = dropped(fate_of(filter, packet(name, neighbor))) {
        let summary = format!("a firewall drops what containers on {name} send to each other");
        let verdict = if bridge.ours { Verdict::failed(summary) } else { Verdict::warning(summary) };
        return verdict.detail([format!("the rule is `{}`", fate.rule)]).fix(Fix {
            text: format!("let them pass; {restart}"),
            actions: vec![insert(&["-i", name, "-j", "ACCEPT"]), insert(&["-o", name, "-j", "ACCEPT"])],
            safe: false,
        });
    }
    let Some(uplink) = uplink else { return Verdict::ok("containers reach each other; this machine has no way out") };
    if let Some(fate) = dropped(fate_of(filter, packet(uplink, ELSEWHERE))) {
        return Verdict::warning(format!("a firewall drops what containers on {name} send to other machines"))
            .detail([format!("the rule is `{}`", fate.rule)])
            .fix(Fix {
                text: format!("let it and the answers pass; {restart}"),
                actions: vec![
                    insert(&["-i", name, "!", "-o", name, "-j", "ACCEPT"]),
                    insert(&["-o", name, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"]),
                ],
                safe: false,
            });
    }
    let masked = fate(nat, "POSTROUTING", packet(uplink, ELSEWHERE));
    if !masked.is_some_and(|fate| matches!(fate.target.as_str(), "MASQUERADE" | "SNAT")) {
        let subnet = bridge.subnet.trunc().to_string();
        let rule = ["POSTROUTING", "-s", &subnet, "!", "-o", name, "-j", "MASQUERADE"];
        return Verdict::warning(format!("what containers on {name} send to other machines gets no answer"))
            .detail(["the engine's rule that gives it this machine's address (MASQUERADE) is missing"])
            .fix(Fix {
                text: format!("put the rule back; {restart}"),
                actions: vec![Action::Change(Change::rule(Some("nat"), "-A", &rule))],
                safe: true,
            });
    }
    Verdict::ok("containers reach each other and other machines")
}

fn fate_of(filter: &str, packet: Packet<'_>) -> Option<Fate> {
    fate(filter, "FORWARD", packet)
}

/// 20 of `Docker 20.10.24`; `None`: it is not Docker.
async fn major(context: &Context<'_>) -> Option<u32> {
    let facts = context.facts().await.as_ref().ok()?;
    if facts.engine_kind != EngineKind::Docker {
        return None;
    }
    facts.engine.split_whitespace().nth(1)?.split('.').next()?.parse().ok()
}

pub(in crate::doctor) async fn neighbors(context: &Context<'_>) -> Verdict {
    if let Some(reason) = elsewhere(context) {
        return Verdict::skipped(reason);
    }
    match major(context).await {
        None => return Verdict::skipped("the engine is not Docker"),
        Some(major) if major >= CLOSED_SINCE => {
            return Verdict::ok("the engine drops what other machines send to containers directly");
        }
        Some(_) => {}
    }
    let bridge = match bridge(context).await {
        Ok(bridge) if bridge.ours => bridge,
        Ok(_) => return Verdict::skipped("the platform has no network yet"),
        Err(reason) => return Verdict::skipped(reason),
    };
    let none = Vec::new();
    let ours = context.ours().await.as_ref().unwrap_or(&none);
    let mut published = ours.iter().filter_map(|found| {
        let address = found.addresses.get(&context.want.network)?;
        let port = found.ports.iter().find(|port| port.host_ip.is_loopback() && port.host_port.is_some())?;
        Some((*address, port.container_port))
    });
    let Some((address, port)) = published.next() else {
        return Verdict::skipped("nothing is published on loopback addresses alone");
    };
    let filter = match rules(context, "filter").await {
        Ok(filter) => filter,
        Err(reason) => return Verdict::skipped(reason),
    };
    let Some(uplink) = uplink(context).await else {
        return Verdict::skipped("this machine has no way to other machines");
    };
    let packet = Packet { from: &uplink, to: &bridge.interface, source: ELSEWHERE, destination: address, port };
    if fate_of(&filter, packet).is_none_or(|fate| fate.drops()) {
        return Verdict::ok("what other machines send to containers directly is dropped");
    }
    let name = bridge.interface.as_str();
    // what was redirected here was published for others on purpose
    let state = ["-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "DROP"];
    let rule = [&["DOCKER-USER", "!", "-i", name, "-o", name], state.as_slice()].concat();
    Verdict::warning("other machines of your network can reach services that are meant for this machine only")
        .detail([
            format!(
                "a machine that adds a route to {} through this one reaches the containers at their own addresses",
                bridge.subnet
            ),
            format!("Docker before version {CLOSED_SINCE} lets such packets through; an upgrade ends it for good"),
        ])
        .fix(Fix {
            text: "block such packets, until this machine starts again or the platform's network is made again".into(),
            actions: vec![Action::Change(Change::rule(None, "-I", &rule))],
            safe: true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    const FILTER: &str =
        "-P FORWARD DROP\n-A FORWARD -i br-1 ! -o br-1 -j ACCEPT\n-A FORWARD -i br-1 -o br-1 -j ACCEPT\n";
    const NAT: &str = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 10.222.7.0/24 ! -o br-1 -j MASQUERADE\n";

    fn seen(filter: &str, nat: &str, uplink: Option<&str>) -> Verdict {
        let bridge = Bridge { interface: "br-1".into(), subnet: "10.222.7.0/24".parse().unwrap(), ours: true };
        verdict(&bridge, filter, nat, uplink, true)
    }

    fn fixes(verdict: &Verdict) -> Vec<String> {
        verdict.fix.iter().flat_map(|fix| &fix.actions).map(ToString::to_string).collect()
    }

    #[test]
    fn each_way_is_looked_at() {
        assert_eq!(seen(FILTER, NAT, Some("eth0")).status, Status::Ok);
        assert_eq!(seen(FILTER, "", None).status, Status::Ok);
        let closed = seen("-P FORWARD DROP\n", NAT, Some("eth0"));
        assert_eq!(closed.status, Status::Failed);
        assert_eq!(closed.detail, ["the rule is `-P FORWARD DROP`"]);
        assert_eq!(
            fixes(&closed),
            ["sudo iptables -I FORWARD -i br-1 -j ACCEPT", "sudo iptables -I FORWARD -o br-1 -j ACCEPT"]
        );
        let inside = seen("-P FORWARD DROP\n-A FORWARD -i br-1 -o br-1 -j ACCEPT\n", NAT, Some("eth0"));
        assert_eq!(
            (inside.status, inside.summary.as_str()),
            (Status::Warning, "a firewall drops what containers on br-1 send to other machines")
        );
        assert_eq!(
            fixes(&inside),
            [
                "sudo iptables -I FORWARD -i br-1 '!' -o br-1 -j ACCEPT",
                "sudo iptables -I FORWARD -o br-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            ]
        );
        let bare = seen(FILTER, "-P POSTROUTING ACCEPT\n", Some("eth0"));
        assert_eq!(bare.status, Status::Warning);
        assert_eq!(fixes(&bare), ["sudo iptables -t nat -A POSTROUTING -s 10.222.7.0/24 '!' -o br-1 -j MASQUERADE"]);
    }

    #[test]
    fn what_does_not_pass_the_rules_or_is_another_platforms_is_told_apart() {
        let closed = "-P FORWARD DROP\n";
        // from the first address that a container gets to the next
        let between = "-P FORWARD ACCEPT\n-A FORWARD -s 10.222.7.2/32 -d 10.222.7.3/32 -j DROP\n";
        let source = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 10.222.7.2/32 -j SNAT --to-source 192.0.2.7\n";
        let other = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 10.222.8.0/24 -j MASQUERADE\n";
        let each_other = "a firewall drops what containers on br-1 send to each other";
        let out = "a firewall drops what containers on br-1 send to other machines";
        let unmasked = "what containers on br-1 send to other machines gets no answer";
        let well = "containers reach each other and other machines";
        let alone = "containers reach each other; this machine has no way out";
        for (ours, filter, nat, uplink, calls, expected) in [
            (true, closed, NAT, Some("eth0"), true, (Status::Failed, each_other)),
            (false, closed, NAT, Some("eth0"), true, (Status::Warning, each_other)),
            (true, between, NAT, Some("eth0"), true, (Status::Failed, each_other)),
            (true, between, NAT, Some("eth0"), false, (Status::Ok, well)),
            (true, closed, NAT, Some("eth0"), false, (Status::Warning, out)),
            (true, closed, NAT, None, false, (Status::Ok, alone)),
            (true, FILTER, source, Some("eth0"), true, (Status::Ok, well)),
            (true, FILTER, other, Some("eth0"), true, (Status::Warning, unmasked)),
        ] {
            let bridge = Bridge { interface: "br-1".into(), subnet: "10.222.7.0/24".parse().unwrap(), ours };
            let found = verdict(&bridge, filter, nat, uplink, calls);
            assert_eq!((found.status, found.summary.as_str()), expected, "{filter}{nat}");
        }
    }
}
