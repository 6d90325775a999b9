//! What has to be so for deployed stacks to work, from the managers to the published ports: the list to go through after
//! a reboot.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::rows::{DeployedService, deployed, rows};
use super::{manager, orders};
use crate::app::{Error, Session};
use crate::compile::targets::{Check, Checked, SwarmPort, swarm_checks, swarm_ports};
use crate::host::Host;
use crate::model::{Remedy, macula};

/// A port that answers does so long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ports that are asked at the same time.
const AT_ONCE: usize = 64;

/// Checks a stack of this platform on its swarm, or all of them: managers, nodes, nodes for each service, services, and
/// whether their ports answer here. `context`: of Docker's, by which the swarm is asked.
///
/// # Errors
/// No manager, no such stack.
pub async fn validate_on_swarm(
    session: &Session,
    stack: Option<&str>,
    platform: &str,
    context: Option<&str>,
) -> Result<Vec<Check>, Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = deployed(swarm, stack, platform).await?;
    let mut all = swarm_checks(&observed, context);
    all.extend(rows(&observed).iter().map(|row| service(row, context)));
    let host = session.host();
    let ports = observed.services.iter().flat_map(|service| {
        let ports = swarm_ports(&observed, service);
        ports.into_iter().map(move |at| port(host, &service.name, at))
    });
    let ports: Vec<Check> = stream::iter(ports.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
    all.extend(ports);
    Ok(all)
}

fn service(row: &DeployedService, context: Option<&str>) -> Check {
    let name = format!("{}_{}", row.stack, row.service);
    let done = if row.mode.ends_with("job") { "done" } else { "running" };
    let stands = format!("{} of {} {done}", row.running, row.wanted);
    let (state, seen) = match (&row.trouble, &row.rolled_back) {
        (None, None) => return Check::new("service", name, Checked::Ok, stands),
        (None, Some(why)) => (Checked::Warning, format!("{stands}; {why}")),
        (Some(trouble), _) => (Checked::Failed, trouble.clone()),
    };
    let again = macula("stack deploy --target swarm").arg(&row.stack);
    let again = match context {
        Some(context) => again.arg("--context").arg(context),
        None => again,
    };
    Check::new("service", name.clone(), state, seen)
        .remedy(Remedy::in_context("docker", context, &["service", "ps", "--no-trunc", &name]))
        .remedy(again.into())
}

async fn port(host: &dyn Host, service: &str, port: SwarmPort) -> Check {
    let address = port.address;
    let check = |state, seen: &str| Check::new("port", address.to_string(), state, format!("{service}: {seen}"));
    match host.connect(address, PATIENCE).await {
        Ok(()) => check(Checked::Ok, "accepts connections"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && address.ip().is_loopback() => {
            check(Checked::Warning, "nothing listens there on this machine")
                .remedy(Remedy::say("its node is known by an address that each machine has: ask on the node itself"))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            let refused = check(Checked::Failed, "nothing listens there");
            match port.meshed {
                true => refused.remedy(Remedy::say(
                    "on a kernel without IPVS the routing mesh does not answer: publish the port with `mode: host`",
                )),
                false => refused,
            }
        }
        // the nodes of a swarm may be in a network of their own
        Err(error) => check(Checked::Warning, &format!("not reached from here: {error}"))
            .remedy(Remedy::say("ask from a machine in the network of the nodes, or look for a firewall between")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::{Invocation, Protocol};

    #[tokio::test]
    async fn a_port_that_nobody_has_is_a_fault_and_one_that_is_not_reached_a_warning() {
        let there = || FakeHost::new().listener("10.0.0.5:8088", Protocol::Tcp, None);
        let mut told = Vec::new();
        for (host, address, meshed) in [
            (there(), "10.0.0.5:8088", false),
            (FakeHost::new(), "10.0.0.5:8088", false),
            (FakeHost::new(), "10.0.0.5:8088", true),
            (FakeHost::new(), "127.0.0.1:8088", false),
            (there().without_network(), "10.0.0.5:8088", false),
        ] {
            let at = SwarmPort { address: address.parse().unwrap(), meshed };
            let check = port(&host, "shop_edge", at).await;
            told.push(format!("{:?} {}: {} ({})", check.state, check.name, check.seen, check.remedies.len()));
        }
        assert_eq!(
            told,
            [
                "Ok 10.0.0.5:8088: shop_edge: accepts connections (0)",
                "Failed 10.0.0.5:8088: shop_edge: nothing listens there (0)",
                "Failed 10.0.0.5:8088: shop_edge: nothing listens there (1)",
                "Warning 127.0.0.1:8088: shop_edge: nothing listens there on this machine (1)",
                "Warning 10.0.0.5:8088: shop_edge: not reached from here: network unreachable (1)",
            ]
        );
    }

    #[test]
    fn a_service_in_trouble_is_told_with_what_to_look_at() {
        let row = |mode, trouble: Option<&str>| DeployedService {
            stack: "shop".into(),
            service: "api".into(),
            mode,
            running: 3,
            wanted: 3,
            image: "api:1".into(),
            ports: Vec::new(),
            tasks: Vec::new(),
            trouble: trouble.map(str::to_owned),
            rolled_back: None,
        };
        let seen = |mode| service(&row(mode, None), None).seen;
        assert_eq!((seen("replicated"), seen("global job")), ("3 of 3 running".into(), "3 of 3 done".into()));
        let why = "the last update was rolled back: shop_api.1: No such image: api:2";
        let undone = DeployedService { rolled_back: Some(why.into()), ..row("replicated", None) };
        let undone = service(&undone, None);
        assert_eq!((undone.state, undone.seen), (Checked::Warning, format!("3 of 3 running; {why}")));
        let bad = service(&row("replicated", Some("1 of 3 running; no suitable node")), Some("staging"));
        assert_eq!((bad.state, bad.name.as_str()), (Checked::Failed, "shop_api"));
        assert_eq!(bad.seen, "1 of 3 running; no suitable node");
        let commands: Vec<String> =
            bad.remedies.iter().filter_map(|remedy| remedy.command(&Invocation::default())).collect();
        assert_eq!(
            commands,
            [
                "docker --context staging service ps --no-trunc shop_api",
                "macula stack deploy --target swarm shop --context staging",
            ]
        );
    }
}
