//! What is done with a program: its port, whether it is ready, and its end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::daemon::free_port;
use crate::host::{Ending, Family, Host, holders};
use crate::model::{Process, Protocol};

/// Between two questions to a program that is not ready.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// A program that does not listen is ready when it has run for this long.
const RUNS: Duration = Duration::from_millis(500);
/// Between two looks whether what was asked to end has ended.
const ENDING: Duration = Duration::from_millis(20);
/// Until what was killed is gone: only what the kernel holds stays longer.
const KILLED: Duration = Duration::from_secs(2);

/// The port of a start. One that was chosen freely stays the same where it can: pages that are open find it again.
pub(super) async fn port(host: &dyn Host, process: &Process, before: Option<u16>) -> Result<Option<u16>, String> {
    if !process.listens() {
        return Ok(None);
    }
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match (process.port, before) {
        (Some(port), _) => {
            if host.can_bind(address(port), Protocol::Tcp).await.is_ok() {
                return Ok(Some(port));
            }
            let holder = holders(host, Protocol::Tcp, &[address(port)]).await.into_iter().next();
            let holder = holder.map_or_else(|| "something else".to_owned(), |holder| holder.to_string());
            Err(format!("port {port} is held by {holder}"))
        }
        (None, Some(port)) if host.can_bind(address(port), Protocol::Tcp).await.is_ok() => Ok(Some(port)),
        (None, _) => free_port().map(Some).map_err(|error| format!("no port is free: {error}")),
    }
}

/// Returns when it is ready.
pub(super) async fn ready(host: &dyn Host, process: &Process, port: Option<u16>, name: &str) {
    let Some(port) = port else { return tokio::time::sleep(RUNS).await };
    let path = process.probe.as_ref().and_then(|probe| probe.path.as_deref());
    loop {
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
            let there = match path {
                Some(path) => {
                    let answer = host.http_get(address, name, path, ANSWER).await;
                    answer.is_ok_and(|answer| (200..400).contains(&answer.status))
                }
                None => host.connect(address, ANSWER).await.is_ok(),
            };
            if there {
                return;
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Asks all of a program to end, and kills what has not after `grace`.
pub(super) async fn end_family(host: &dyn Host, family: &Family, grace: Duration) {
    if *family == Family::default() {
        return;
    }
    let begun = Instant::now();
    host.end(&host.members(family), Ending::Ask);
    loop {
        let left = host.members(family);
        if left.is_empty() || begun.elapsed() > grace + KILLED {
            return;
        }
        if begun.elapsed() >= grace {
            host.end(&left, Ending::Kill);
        }
        tokio::time::sleep(ENDING).await;
    }
}
