//! Ports that the platform wants and somebody else has.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::some_of;
use crate::changes::Change;
use crate::doctor::context::Context;
use crate::doctor::{Action, Fix, Verdict, WantedPort};
use crate::host::{Command, Host};
use crate::model::{EngineKind, Listener, ObservedContainer, Protocol, macula};

/// Wanted addresses that are named one by one.
const SHOWN: usize = 3;
/// `getcap` reads one attribute of a file.
const GETCAP: Duration = Duration::from_secs(2);

pub(in crate::doctor) async fn taken(context: &Context<'_>) -> Verdict {
    if context.want.ports.is_empty() {
        return Verdict::skipped("no ports are wanted");
    }
    let here = |port: &&WantedPort| port.passed_on || !context.remote();
    let want: Vec<&WantedPort> = context.want.ports.iter().filter(here).collect();
    if want.is_empty() {
        return Verdict::skipped("the engine is on another machine, whose ports cannot be seen from here");
    }
    let listeners = match context.listeners().await {
        Ok(listeners) => listeners,
        Err(reason) => return Verdict::skipped(reason.clone()),
    };
    let mut conflicts: Vec<(Listener, Vec<&WantedPort>)> = Vec::new();
    for listener in listeners {
        let mut wanted = Vec::new();
        for port in want.iter().copied().filter(|port| may_collide(listener, port)) {
            if really_collides(context, listener, port).await {
                wanted.push(port);
            }
        }
        if !wanted.is_empty() {
            conflicts.push((listener.clone(), wanted));
        }
    }
    if !conflicts.is_empty() {
        // most often these are our own containers, of an earlier `up`
        let ours = context.ours().await.as_ref().map(Vec::as_slice).unwrap_or_default();
        conflicts.retain(|(listener, _)| publisher(ours, listener).is_none());
    }
    if !conflicts.is_empty() {
        let (held, wanted): (Vec<Listener>, Vec<_>) = conflicts.into_iter().unzip();
        conflicts = context.host.owners(held).await.into_iter().zip(wanted).collect();
        // or our own background process, which passes them on
        conflicts.retain(|(one, _)| !(one.may_be_macula() && context.want.passed_on.contains(&one.place())));
    }
    if conflicts.is_empty() {
        return Verdict::ok(format!("{} free or our own already", count(want.len())));
    }
    let (held, wanted): (Vec<Listener>, Vec<_>) = conflicts.into_iter().unzip();
    let mut lines = Vec::new();
    let mut advice = Vec::new();
    for (listener, wanted) in held.iter().zip(&wanted) {
        let owner = owner(context, listener).await;
        let addresses: Vec<String> = wanted.iter().map(|port| format!("{} ({})", place(port), port.service)).collect();
        let here = SocketAddr::new(listener.address, listener.port);
        lines.push(format!(
            "{here}/{} is held by {}; wanted: {}",
            listener.protocol,
            owner.name,
            some_of(&addresses, SHOWN)
        ));
        if !advice.contains(&owner.advice) {
            advice.push(owner.advice);
        }
    }
    if wanted.iter().flatten().any(|port| matches!(port.port, 80 | 443)) {
        advice.push("or publish elsewhere: `ingress: {http: 8080, https: 8443}` in macula.yaml".to_owned());
    } else if let Some(port) = wanted.iter().flatten().next() {
        let service = &port.service;
        advice.push(format!("or leave the service out: `services: {{{service}: {{enabled: false}}}}` in macula.yaml"));
    }
    let summary = match held.as_slice() {
        [one] => format!("port {} is taken", one.port),
        several => format!("{} ports are taken", several.len()),
    };
    Verdict::failed(summary).detail(lines).fix(Fix::advice(advice.join("; ")))
}

fn count(ports: usize) -> String {
    if ports == 1 { "the port is".to_owned() } else { format!("all {ports} ports are") }
}

fn place(port: &WantedPort) -> SocketAddr {
    SocketAddr::new(port.address, port.port)
}

/// A socket on all addresses of IPv6 may take those of IPv4 too.
fn may_collide(listener: &Listener, want: &WantedPort) -> bool {
    let here = listener.address == want.address
        || want.address.is_unspecified()
        || listener.address.is_unspecified() && (listener.address.is_ipv6() || want.address.is_ipv4());
    listener.port == want.port && listener.protocol == want.protocol && here
}

/// Whether a socket on `[::]` takes IPv4 too (IPV6_V6ONLY) is not to be read anywhere; so it is
/// tried. Where only root may bind the port we take it for yes.
async fn really_collides(context: &Context<'_>, listener: &Listener, want: &WantedPort) -> bool {
    let both = listener.address.is_ipv6() && listener.address.is_unspecified() && want.address.is_ipv4();
    !both || context.host.can_bind(place(want), want.protocol).await.is_err()
}

fn publisher<'c>(containers: &'c [ObservedContainer], listener: &Listener) -> Option<&'c ObservedContainer> {
    containers.iter().filter(|container| container.holds_ports()).find(|container| {
        container.ports.iter().any(|port| {
            let here =
                port.host_ip == listener.address || port.host_ip.is_unspecified() && listener.address.is_unspecified();
            port.host_port == Some(listener.port) && port.protocol == listener.protocol && here
        })
    })
}

struct Owner {
    name: String,
    advice: String,
}

async fn owner(context: &Context<'_>, listener: &Listener) -> Owner {
    let known = listener.process.as_deref();
    // a proxy, or a process that we may not see: the engine knows whether it is a container's
    if (known.is_none() || listener.proxy().is_some())
        && let Some(container) = publisher(context.everybody().await, listener)
    {
        let name = format!("the container {} ({})", container.name, container.image);
        return Owner { name, advice: format!("stop it: `docker stop {}`", container.name) };
    }
    if let Some(proxy) = listener.proxy() {
        let see = format!("docker ps --filter publish={}", listener.port);
        let advice = format!("stop the container, which `{see}` names");
        return Owner { name: format!("a container, through {proxy}"), advice };
    }
    match (known, listener.pid) {
        (Some(_), Some(pid)) if listener.is_macula() => Owner {
            name: format!("a background process of macula (pid {pid})"),
            advice: format!("see with `{}` which platform has the address", context.line(macula("ls"))),
        },
        (Some(process), Some(pid)) => {
            let advice = match listener.stop_command() {
                Some(words) => format!("stop {process}: `{}`", words.join(" ")),
                None => format!("see with `ps -fp {pid}` whose {process} is, and stop it"),
            };
            Owner { name: format!("{process} (pid {pid})"), advice }
        }
        _ => {
            let (port, udp) = (listener.port, listener.protocol == Protocol::Udp);
            let see = match (context.machine.os.as_str(), udp) {
                ("linux", true) => format!("`sudo ss -lunp 'sport = :{port}'`"),
                ("linux", false) => format!("`sudo ss -ltnp 'sport = :{port}'`"),
                (_, true) => format!("`sudo lsof -nP -iUDP:{port}`"),
                (_, false) => format!("`sudo lsof -nP -sTCP:LISTEN -iTCP:{port}`"),
            };
            let name = "a process of another user".to_owned();
            Owner { name, advice: format!("see with {see} who it is, and stop it") }
        }
    }
}

pub(in crate::doctor) async fn low(context: &Context<'_>) -> Verdict {
    const SETTING: &str = "net.ipv4.ip_unprivileged_port_start";
    let mut docker = false;
    // where the engine does not publish, this user's background process listens
    let own = context.want.ports.iter().any(|port| port.passed_on);
    if own {
        if context.machine.uid == 0 || context.machine.os != "linux" {
            return Verdict::skipped("nothing has to be allowed here");
        }
    } else {
        match context.facts().await {
            Err(reason) => return Verdict::skipped(reason.clone()),
            Ok(facts) if !facts.rootless => return Verdict::skipped("the engine is not rootless"),
            Ok(facts) => docker = facts.engine_kind == EngineKind::Docker,
        }
        if context.machine.os != "linux" || context.remote() {
            return Verdict::skipped("the engine is not on this machine");
        }
    }
    let Some(lowest) = context.want.ports.iter().map(|port| port.port).min() else {
        return Verdict::skipped("no ports are wanted");
    };
    let start = match context.host.sysctl(SETTING).await {
        Ok(value) => value.parse::<u16>().unwrap_or(1024),
        Err(error) => return Verdict::skipped(error.to_string()),
    };
    let (who, done) =
        if own { ("this user may listen on", "listened on") } else { ("the rootless engine may publish", "published") };
    if lowest >= start {
        return Verdict::ok(format!("ports from {start} may be {done}, {lowest} is the lowest wanted"));
    }
    let mut below = context.want.ports.iter().filter(|port| port.port < start);
    if own {
        // as a service it has the right that this user does not have
        if let Ok(listeners) = context.listeners().await
            && below.all(|port| {
                let here = (place(port), port.protocol);
                context.want.passed_on.contains(&here) && listeners.iter().any(|one| one.place() == here)
            })
        {
            return Verdict::ok(format!("the background process listens on those below {start} already"));
        }
    } else {
        let ours = context.ours().await.as_ref().map(Vec::as_slice).unwrap_or_default();
        if below.all(|port| is_published(ours, port)) {
            return Verdict::ok(format!("the engine publishes those below {start} already"));
        }
        if docker && has_the_right(context.host).await {
            return Verdict::ok("the rootless engine may publish any port: rootlesskit has cap_net_bind_service");
        }
    }
    let change = Change::settings(&[(SETTING, lowest.to_string())], false);
    Verdict::failed(format!("{who} ports from {start} only, and {lowest} is wanted")).fix(Fix {
        text: format!("let every user of this machine bind ports from {lowest}, until the next boot"),
        actions: vec![Action::Change(change)],
        safe: false,
    })
}

fn is_published(containers: &[ObservedContainer], want: &WantedPort) -> bool {
    containers.iter().filter(|container| container.holds_ports()).any(|container| {
        container.ports.iter().any(|port| {
            let here = port.host_ip == want.address || port.host_ip.is_unspecified();
            port.host_port == Some(want.port) && port.protocol == want.protocol && here
        })
    })
}

/// Whether the program that publishes ports for a rootless Docker has been given low ones (setcap(8)).
async fn has_the_right(host: &dyn Host) -> bool {
    let Some(program) = host.which("rootlesskit") else { return false };
    let ask = Command::new("getcap", [program.to_string_lossy()]).timeout(GETCAP).may_fail();
    host.run(&ask).await.is_ok_and(|output| output.stdout().contains("cap_net_bind_service"))
}

/// Addresses that ports are wanted on, each once.
pub(in crate::doctor) fn addresses(ports: &[WantedPort]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = ports.iter().map(|port| port.address).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerState, PortBinding, StoppedBy};

    #[test]
    fn a_port_is_in_the_way_of_another_one_where_both_would_have_its_packets() {
        for (listener, wanted, udp, collides, is_published) in [
            ("127.0.0.1:80", "127.0.0.1:80", false, true, Some(true)),
            ("127.0.0.1:80", "127.0.0.2:80", false, false, Some(false)),
            ("127.0.0.1:80", "127.0.0.1:81", false, false, Some(false)),
            ("127.0.0.1:80", "127.0.0.1:80", true, false, Some(false)),
            ("0.0.0.0:80", "127.0.0.1:80", false, true, Some(true)),
            ("0.0.0.0:80", "127.0.0.1:81", false, false, Some(false)),
            ("127.0.0.1:80", "0.0.0.0:80", false, true, Some(false)),
            ("[::1]:80", "[::]:80", false, true, Some(false)),
            // one of IPv4 has nothing of IPv6; the other way round it may
            ("0.0.0.0:80", "[::1]:80", false, false, None),
            ("[::]:80", "127.0.0.1:80", false, true, Some(true)),
            ("[::]:80", "[::1]:80", false, true, Some(true)),
        ] {
            let (at, to): (SocketAddr, SocketAddr) = (listener.parse().unwrap(), wanted.parse().unwrap());
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let want = WantedPort {
                address: to.ip(),
                port: to.port(),
                protocol: Protocol::Tcp,
                service: "web".into(),
                passed_on: false,
            };
            let listens = Listener {
                address: at.ip(),
                port: at.port(),
                protocol,
                pid: None,
                process: None,
                stopped_by: StoppedBy::Unknown,
            };
            assert_eq!(may_collide(&listens, &want), collides, "{listener} {wanted} {protocol}");
            let bound = PortBinding { host_ip: at.ip(), host_port: Some(at.port()), container_port: 80, protocol };
            let container = |state| ObservedContainer { state, ports: vec![bound.clone()], ..Default::default() };
            let (runs, ended) = (container(ContainerState::Running), container(ContainerState::Exited));
            let found = super::is_published(&[runs], &want);
            assert_eq!(found, is_published.unwrap_or(found), "{listener} {wanted} {protocol}");
            assert!(!super::is_published(&[ended], &want));
        }
        assert_eq!([count(1), count(2)], ["the port is", "all 2 ports are"]);
    }
}
