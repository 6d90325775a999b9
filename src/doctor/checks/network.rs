//! Addresses, bridges, subnets and proxies.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::ports::addresses;
use super::some_of;
use crate::changes::{Change, Effect};
use crate::compile::is_wide;
use crate::doctor::context::Context;
use crate::doctor::{Action, Fix, Verdict};
use crate::engine::discover::{CLIENT_FILE, client_folder};
use crate::host::{Command, Host, Route};
use crate::model::proxy as ways_out;
use crate::model::{EngineKind, ObservedNetwork, Protocol, label, macula};

/// Addresses that are named one by one.
const SHOWN: usize = 4;

pub(in crate::doctor) async fn loopback(context: &Context<'_>) -> Verdict {
    let wanted: Vec<IpAddr> = addresses(&context.want.ports).into_iter().filter(IpAddr::is_loopback).collect();
    if wanted.is_empty() {
        return Verdict::skipped("no loopback addresses are wanted");
    }
    let mut missing = Vec::new();
    for address in &wanted {
        if let Err(error) = context.host.can_bind(SocketAddr::new(*address, 0), Protocol::Tcp).await
            && error.kind() == ErrorKind::AddrNotAvailable
        {
            missing.push(*address);
        }
    }
    let names: Vec<String> = missing.iter().map(IpAddr::to_string).collect();
    if names.is_empty() {
        let last = wanted.last().map(IpAddr::to_string).unwrap_or_default();
        return Verdict::ok(match wanted.len() {
            1 => format!("{last} is there"),
            several => format!("{several} addresses up to {last} are there"),
        });
    }
    let (text, changes) = if context.machine.os == "macos" {
        let alias = |name: &String| {
            let command = Command::new("ifconfig", ["lo0", "alias", name.as_str(), "up"]).privileged();
            let how = Some(["ifconfig", "lo0", "-alias", name].map(str::to_owned).into());
            let what = format!("lo0 was given the address {name}");
            Change { command, effect: Effect::Other { what, how, lasting: false } }
        };
        ("give lo0 these addresses, until the next boot", names.iter().map(alias).collect::<Vec<_>>())
    } else {
        let ip = |arguments: &[&str], what: &str| {
            Change::passing(Command::new("ip", arguments.iter().copied()).privileged(), what)
        };
        let up = ip(&["link", "set", "lo", "up"], "lo was switched on");
        let whole = ip(&["addr", "replace", "127.0.0.1/8", "dev", "lo"], "lo was given the network 127.0.0.0/8");
        ("give lo its usual network 127.0.0.0/8", vec![up, whole])
    };
    Verdict::failed(format!("this machine does not have {}", some_of(&names, SHOWN)))
        .detail(["services publish their ports on loopback addresses of their own".to_owned()])
        .fix(Fix { text: text.into(), actions: changes.into_iter().map(Action::Change).collect(), safe: true })
}

/// The engine's own network, for containers that name none.
fn is_default(network: &ObservedNetwork) -> bool {
    network.name == "bridge"
}

/// The interface of a bridge network: `docker0` for the default one, else from the network's id.
pub(super) fn interface(network: &ObservedNetwork) -> String {
    if is_default(network) {
        return "docker0".to_owned();
    }
    format!("br-{}", network.id.get(..12).unwrap_or(&network.id))
}

pub(super) fn v4(network: &ObservedNetwork) -> Option<Ipv4Net> {
    network.subnets.iter().find_map(|subnet| match subnet {
        IpNet::V4(subnet) => Some(*subnet),
        IpNet::V6(_) => None,
    })
}

pub(super) fn is_ours(context: &Context<'_>, network: &ObservedNetwork) -> bool {
    network.labels.get(label::PLATFORM) == Some(&context.want.platform)
}

pub(in crate::doctor) async fn bridges(context: &Context<'_>) -> Verdict {
    let networks = match context.networks().await {
        Ok(networks) => networks,
        Err(reason) => return Verdict::skipped(reason.clone()),
    };
    let routes = match context.routes().await {
        Ok(routes) => routes,
        Err(reason) => return Verdict::skipped(reason.clone()),
    };
    let (mut lacking, mut down) = (Vec::new(), Vec::new());
    let mut seen = 0;
    for network in networks {
        let interface = interface(network);
        let Some(subnet) = v4(network) else { continue };
        // it is made without one: what it connects is to be reached by nobody else, or by addresses of its own
        if network.addressless {
            continue;
        }
        // engines in a virtual machine have their bridges there
        if !context.host.exists(&Path::new("/sys/class/net").join(&interface)).await {
            continue;
        }
        seen += 1;
        // without routes, whether it has its address or not
        if is_down(context, &interface).await {
            down.push((network, interface));
            continue;
        }
        let has = |route: &Route| route.interface == interface && route.network == subnet.trunc();
        if !routes.iter().any(has) {
            lacking.push((network, interface, subnet));
        }
    }
    if !down.is_empty() {
        return set_down(context, &down);
    }
    if lacking.is_empty() {
        return match seen {
            0 => Verdict::skipped("the engine has no bridge on this machine"),
            1 => Verdict::ok("the engine's bridge has its address"),
            several => Verdict::ok(format!("the engine's {several} bridges have their addresses")),
        };
    }
    let names: Vec<String> = lacking.iter().map(|(_, interface, _)| interface.clone()).collect();
    let summary = format!("{} without IPv4 address: containers there reach nothing", names.join(", "));
    let verdict = if lacking.iter().any(|(network, ..)| is_ours(context, network)) {
        Verdict::failed(summary)
    } else {
        Verdict::warning(summary)
    };
    let add = |(network, interface, subnet): &(&ObservedNetwork, String, Ipv4Net)| {
        let address = format!("{}/{}", gateway(network, *subnet), subnet.prefix_len());
        Action::Change(Change::address(interface, &address))
    };
    // of somebody else's network nobody here knows what it is meant to be
    let known = |(network, ..): &&(&ObservedNetwork, String, Ipv4Net)| is_ours(context, network) || is_default(network);
    let actions: Vec<Action> = lacking.iter().filter(known).map(add).collect();
    let fix = match lacking.len() - actions.len() {
        0 => Fix {
            text: "give the bridges their addresses back; restarting the engine would do it too".into(),
            actions,
            safe: true,
        },
        _ if actions.is_empty() => Fix::advice(
            "restart the engine, which gives its bridges their addresses back, unless they are meant to have none",
        ),
        _ => Fix {
            text:
                "give the platform's bridges their addresses back; restarting the engine would do it for the others too"
                    .into(),
            actions,
            safe: true,
        },
    };
    verdict.detail(["something else on this machine (a network manager, a VPN) has taken it away"]).fix(fix)
}

/// The engine takes the first address of a subnet unless it was told another.
fn gateway(network: &ObservedNetwork, subnet: Ipv4Net) -> Ipv4Addr {
    network.gateway.unwrap_or_else(|| subnet.hosts().next().unwrap_or(subnet.addr()))
}

/// By its flags: its state is `down` too while nothing is attached to it.
async fn is_down(context: &Context<'_>, interface: &str) -> bool {
    const IFF_UP: u32 = 1;
    let path = Path::new("/sys/class/net").join(interface).join("flags");
    let flags = context.host.read(&path).await.unwrap_or_default();
    let flags = String::from_utf8_lossy(&flags).trim().trim_start_matches("0x").to_owned();
    u32::from_str_radix(&flags, 16).is_ok_and(|flags| flags & IFF_UP == 0)
}

/// Bridges that somebody has switched off. What else they lack is seen once they are up.
fn set_down(context: &Context<'_>, down: &[(&ObservedNetwork, String)]) -> Verdict {
    let names: Vec<&str> = down.iter().map(|(_, interface)| interface.as_str()).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let summary = format!("{} {verb} down: containers there reach nothing", names.join(", "));
    let verdict = match down.iter().any(|(network, _)| is_ours(context, network)) {
        true => Verdict::failed(summary),
        false => Verdict::warning(summary),
    };
    let up = |(_, interface): &(&ObservedNetwork, String)| {
        let command = Command::new("ip", ["link", "set", interface.as_str(), "up"]).privileged();
        Action::Change(Change::passing(command, format!("{interface} was switched on")))
    };
    // of somebody else's network nobody here knows what it is meant to be
    let known = |(network, _): &&(&ObservedNetwork, String)| is_ours(context, network) || is_default(network);
    let actions: Vec<Action> = down.iter().filter(known).map(up).collect();
    let fix = match actions.is_empty() {
        true => Fix::advice("restart the engine, which switches its bridges on, unless they are meant to be down"),
        false => Fix { text: "switch them on; restarting the engine would do it too".into(), actions, safe: true },
    };
    verdict.detail(["something else on this machine (a network manager, a person) has switched it off"]).fix(fix)
}

pub(in crate::doctor) async fn subnet(context: &Context<'_>) -> Verdict {
    let none = Vec::new();
    let networks = context.networks().await.as_ref().unwrap_or(&none);
    let existing = networks.iter().find(|network| network.name == context.want.network && is_ours(context, network));
    let Some(subnet) = existing.and_then(v4).or(context.want.subnet) else {
        return Verdict::skipped("chosen automatically");
    };
    let routes = match context.routes().await {
        Ok(routes) => routes,
        Err(reason) => return Verdict::skipped(reason.clone()),
    };
    let overlap = |other: &Ipv4Net| other.contains(&subnet) || subnet.contains(other);
    let own = existing.map(interface);
    // Podman numbers its bridges, and a container of the platform's network has an interface in it: the exact subnet on
    // one of them is ours
    let joined = context.host.facts().container;
    let is_own = |route: &Route| {
        existing.is_some()
            && (own.as_deref() == Some(&route.interface)
                || route.network == subnet && (joined || route.interface.starts_with("podman"))
                // the machine's own address in it, of a bridge that is down
                || existing.is_some_and(|own| route.network == Ipv4Net::from(gateway(own, subnet))))
    };
    // the longer prefix of the platform's network wins over a route to much more than it
    let wide = |route: &Route| route.network.contains(&subnet) && is_wide(route.network);
    let mut lines: Vec<String> = routes
        .iter()
        .filter(|route| overlap(&route.network) && !is_own(route) && !wide(route))
        .map(|route| match route.interface.as_str() {
            "" => format!("there is a route to {}", route.network),
            interface => format!("{interface} has a route to {}", route.network),
        })
        .collect();
    let others = networks.iter().filter(|network| existing.is_none_or(|own| own.id != network.id));
    for other in others {
        if let Some(theirs) = v4(other).filter(overlap) {
            lines.push(format!("the engine's network {} has {theirs}", other.name));
        }
    }
    if lines.is_empty() {
        return Verdict::ok(format!("{subnet} is free"));
    }
    let summary = format!("the platform's subnet {subnet} collides with another network");
    if existing.is_none() {
        let advice =
            "set another `addresses: {subnet: ...}` in macula.yaml, or leave it out: a free one is chosen then";
        return Verdict::failed(summary).detail(lines).fix(Fix::advice(advice));
    }
    let again = format!("`{}` and `{}`", context.line(macula("down")), context.line(macula("up")));
    let advice = match context.want.subnet {
        Some(_) => format!("set another `addresses: {{subnet: ...}}` in macula.yaml, then {again}; volumes stay"),
        None => format!("{again} choose a free one; volumes stay"),
    };
    Verdict::warning(summary).detail(lines).fix(Fix::advice(advice))
}

pub(in crate::doctor) async fn proxy(context: &Context<'_>) -> Verdict {
    let set = |name: &str| context.host.env(name).filter(|value| !value.is_empty());
    let used: Vec<&str> = ways_out::PROXIES.into_iter().filter(|name| set(name).is_some()).collect();
    if used.is_empty() {
        return match proxies_of_the_client(context.host).await {
            Some(path) => Verdict::warning(format!("the proxies in {} reach no container and no build", path.display()))
                .detail(["only the `docker` program hands them on; macula tells builds of those that the environment names"])
                .fix(Fix::advice(
                    "set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in your shell, and under `environment` of services that need them",
                )),
            None => Verdict::ok("no proxy is set"),
        };
    }
    let (verb, names) = (if used.len() == 1 { "is" } else { "are" }, used.join(", "));
    let exceptions = ways_out::exceptions(&set);
    let missing = ways_out::lacking(&exceptions, &context.want.domain);
    if !missing.is_empty() {
        let line = ways_out::with_lacking(&exceptions, &context.want.domain);
        return Verdict::warning(format!("{names} {verb} set without an exception for {}", missing.join(", ")))
            .detail(["programs would ask the proxy for the platform's names and addresses, which it cannot reach"])
            .fix(Fix::advice(format!(
                "`export NO_PROXY='{line}' no_proxy='{line}'`, and keep it in your shell's profile"
            )));
    }
    match context.facts().await {
        Ok(facts) if !context.remote() && !facts.traits.proxied && !reaches_a_registry(context.host).await => {
            Verdict::warning(format!("{names} {verb} set, and {} asks registries without a proxy", facts.engine))
                .detail(["no registry is reached without one: pulls fail, builds and this shell go through the proxy"])
                .fix(Fix::advice(match facts.engine_kind {
                    EngineKind::Docker => {
                        "name it under `\"proxies\"` in /etc/docker/daemon.json (`http-proxy`, `https-proxy`, `no-proxy`; Docker 23 \
                         and later), or as `Environment=` of its unit (`sudo systemctl edit docker`), and restart the engine"
                    }
                    EngineKind::Podman => {
                        "name it as `Environment=` of its unit (`sudo systemctl edit podman`), or start its service with the \
                         variables of this shell"
                    }
                }))
        }
        _ => Verdict::ok(format!("{names} {verb} set, with exceptions for the platform")),
    }
}

/// The file of the `docker` program, where it names proxies.
async fn proxies_of_the_client(host: &dyn Host) -> Option<PathBuf> {
    let path = client_folder(host).join(CLIENT_FILE);
    let text = host.read(&path).await.ok()?;
    let configuration: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let proxies = configuration.get("proxies")?.as_object()?;
    let any = proxies.values().filter_map(serde_json::Value::as_object).any(|engine| !engine.is_empty());
    any.then_some(path)
}

/// By a straight connection to the registry that most images come from.
async fn reaches_a_registry(host: &dyn Host) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    let connect = async {
        for address in host.resolve("registry-1.docker.io").await.unwrap_or_default() {
            if host.connect((address, 443).into(), PATIENCE).await.is_ok() {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(PATIENCE, connect).await.unwrap_or(false)
}
