//! What has to be so for deployed stacks to work, from the managers to the published ports: the list to go through after
//! a reboot.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::rows::{DeployedService, deployed, rows};
use super::{manager, orders};
use crate::app::{Error, Session};
use crate::compile::targets::{Check, Checked, swarm_checks, swarm_ports};
use crate::host::Host;
use crate::model::{Remedy, SwarmService, macula};

/// A port that answers does so long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks a stack of this platform on its swarm, or all of them: managers, nodes, nodes for each service, services, and
/// whether their ports answer here.
///
/// # Errors
/// No manager, no such stack.
pub async fn validate_on_swarm(session: &Session, stack: Option<&str>, platform: &str) -> Result<Vec<Check>, Error> {
    let (engine, _) = manager(session).await?;
    let swarm = orders(&engine)?;
    let observed = deployed(swarm, stack, platform).await?;
    let mut all = swarm_checks(&observed);
    let rows = rows(&observed);
    all.extend(rows.iter().map(service));
    let host = session.host();
    let ports = observed.services.iter().flat_map(|service| {
        let addresses = swarm_ports(&observed, service);
        addresses.into_iter().map(move |address| port(host, service, address))
    });
    all.extend(join_all(ports).await);
    Ok(all)
}

fn service(row: &DeployedService) -> Check {
    let name = format!("{}_{}", row.stack, row.service);
    let running = format!("{} of {} running", row.running, row.wanted);
    match &row.trouble {
        None => Check::new("service", name, Checked::Ok, running),
        Some(trouble) => Check::new("service", name.clone(), Checked::Failed, trouble)
            .remedy(Remedy::shell(["docker", "service", "ps", "--no-trunc", &name]))
            .remedy(macula("stack deploy --target swarm").arg(&row.stack).into()),
    }
}

async fn port(host: &dyn Host, service: &SwarmService, address: SocketAddr) -> Check {
    let check =
        |state, seen: String| Check::new("port", address.to_string(), state, format!("{}: {seen}", service.name));
    match host.connect(address, PATIENCE).await {
        Ok(()) => check(Checked::Ok, "accepts connections".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            check(Checked::Failed, "nothing listens there".to_owned())
                .remedy(Remedy::say("on a kernel without IPVS only ports with `mode: host` answer"))
        }
        // the nodes of a swarm may be in a network of their own
        Err(error) => check(Checked::Warning, format!("not reached from here: {error}"))
            .remedy(Remedy::say("ask from a machine in the network of the nodes, or look for a firewall between")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::Protocol;

    #[tokio::test]
    async fn a_port_that_nobody_has_is_a_fault_and_one_that_is_not_reached_a_warning() {
        let edge = SwarmService { name: "shop_edge".into(), spec: json!({}), ..SwarmService::default() };
        let address: SocketAddr = "10.0.0.5:8088".parse().unwrap();
        let mut told = Vec::new();
        let there = FakeHost::new().listener("10.0.0.5:8088", Protocol::Tcp, None);
        for host in [there, FakeHost::new(), FakeHost::new().without_network()] {
            let check = port(&host, &edge, address).await;
            told.push(format!("{:?} {}: {}", check.state, check.name, check.seen));
        }
        assert_eq!(
            told,
            [
                "Ok 10.0.0.5:8088: shop_edge: accepts connections",
                "Failed 10.0.0.5:8088: shop_edge: nothing listens there",
                "Warning 10.0.0.5:8088: shop_edge: not reached from here: network unreachable",
            ]
        );
    }

    #[test]
    fn a_service_in_trouble_is_told_with_what_to_look_at() {
        let row = |trouble: Option<&str>| DeployedService {
            stack: "shop".into(),
            service: "api".into(),
            mode: "replicated",
            running: 1,
            wanted: 3,
            image: "api:1".into(),
            ports: Vec::new(),
            tasks: Vec::new(),
            trouble: trouble.map(str::to_owned),
        };
        let fine = service(&row(None));
        assert_eq!((fine.state, fine.seen.as_str(), fine.remedies.len()), (Checked::Ok, "1 of 3 running", 0));
        let bad = service(&row(Some("1 of 3 running; no suitable node")));
        assert_eq!((bad.state, bad.name.as_str()), (Checked::Failed, "shop_api"));
        assert_eq!(bad.seen, "1 of 3 running; no suitable node");
        assert_eq!(bad.remedies[0], Remedy::Shell("docker service ps --no-trunc shop_api".into()));
    }
}
