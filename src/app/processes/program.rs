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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::{ProcessProbe, Restart};

    fn process(port: Option<u16>, probe: Option<ProcessProbe>) -> Process {
        Process {
            name: "web".into(),
            command: vec!["web".into()],
            folder: "/p".into(),
            needs: Vec::new(),
            hosts: Vec::new(),
            port,
            probe,
            environment: Default::default(),
            env_files: Vec::new(),
            watch: Vec::new(),
            restart: Restart::No,
            stop_grace_period: Process::GRACE,
        }
    }

    #[tokio::test]
    async fn the_port_is_the_one_that_is_named_or_that_it_had_or_a_free_one() {
        let host = FakeHost::new().listener("127.0.0.1:3000", Protocol::Tcp, Some((7, "nginx"))).listener(
            "127.0.0.1:3001",
            Protocol::Tcp,
            None,
        );
        let asked = || process(None, Some(ProcessProbe::default()));
        let named = |number| process(Some(number), None);
        assert_eq!(port(&host, &process(None, None), Some(3002)).await, Ok(None));
        assert_eq!(port(&host, &named(3002), Some(3003)).await, Ok(Some(3002)));
        let held = "port 3000 is held by `nginx` (pid 7)";
        assert_eq!(port(&host, &named(3000), Some(3003)).await, Err(held.to_owned()));
        let held = "port 3001 is held by a process of another user";
        assert_eq!(port(&host, &named(3001), None).await, Err(held.to_owned()));
        let refused = FakeHost::new().unbindable(Ipv4Addr::LOCALHOST.into(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(port(&refused, &named(80), None).await, Err("port 80 is held by something else".to_owned()));
        assert_eq!(port(&host, &asked(), Some(3003)).await, Ok(Some(3003)));
        let free = port(&host, &asked(), Some(3000)).await.unwrap();
        assert!(free.is_some_and(|free| free != 3000), "{free:?}");
    }

    #[tokio::test]
    async fn a_program_is_ready_once_its_path_answers_well() {
        let probe = ProcessProbe { path: Some("/up".into()), timeout: None };
        let process = process(Some(3000), Some(probe));
        for (status, there) in [(199, false), (200, true), (302, true), (399, true), (400, false), (503, false)] {
            let host = FakeHost::new().http(([127, 0, 0, 1], 3000).into(), "/up", status, "");
            let asked = ready(&host, &process, Some(3000), "web");
            assert_eq!(tokio::time::timeout(Duration::from_millis(20), asked).await.is_ok(), there, "{status}");
        }
    }
}
