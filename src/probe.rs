//! Asks a service whether it is there: from outside by its probe, or by its health check's own test.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tracing::Instrument;

use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::model::{
    ContainerSpec, ContainerState, Facts, Health, Healthcheck, ObservedContainer, PlatformName, Probe, ProbeKind,
    Readiness, label, relay_name,
};

/// What a service said when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Healthy,
    /// Not (yet), with the reason.
    Not(String),
    /// Nobody can ask from here, with the reason: this process has no network at all (`unshare -n`,
    /// a sandbox), or the engine publishes elsewhere. That says nothing against the service.
    Unasked(String),
}

/// Asks once.
pub async fn ask(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    spec: &ContainerSpec,
    readiness: &Readiness,
    found: &ObservedContainer,
) -> Result<Answer, EngineError> {
    let answer = ask_quietly(engine, host, facts, spec, readiness, found);
    let answer = answer.instrument(tracing::debug_span!("probe", service = %spec.service)).await;
    tracing::debug!(service = %spec.service, ?answer, "a service was asked");
    answer
}

/// Whether there is something to ask. A probe costs a connection and is made always; a test inside the
/// container costs a process, so where the engine has just run it and was content, that counts.
pub fn is_asked(spec: &ContainerSpec, found: &ObservedContainer) -> bool {
    let test = spec.healthcheck.as_ref().is_some_and(is_command)
        || found.untested.first().is_some_and(|word| word.starts_with("CMD"));
    spec.readiness.probe.is_some() || (found.health != Health::Healthy && test)
}

async fn ask_quietly(
    engine: &dyn Engine,
    host: &dyn Host,
    facts: &Facts,
    spec: &ContainerSpec,
    readiness: &Readiness,
    found: &ObservedContainer,
) -> Result<Answer, EngineError> {
    if let Some(probe) = &readiness.probe {
        let owner = network_owner(engine, spec).await?;
        let found = owner.as_ref().unwrap_or(found);
        let answer = match ask_probe(host, facts, spec, probe, found).await {
            Answer::Unasked(reason) if !facts.published => {
                ask_relay(engine, spec, probe, found).await?.unwrap_or(Answer::Unasked(reason))
            }
            answer => answer,
        };
        return match (&answer, &spec.healthcheck) {
            // the engine can ask where we cannot
            (Answer::Unasked(_), Some(check)) if is_command(check) => ask_test(engine, spec, check).await,
            _ => Ok(answer),
        };
    }
    match &spec.healthcheck {
        Some(check) if !check.test.is_empty() => ask_test(engine, spec, check).await,
        // the image's, which this engine never runs
        check => {
            let test = Healthcheck { test: found.untested.clone(), ..check.clone().unwrap_or_default() };
            ask_test(engine, spec, &test).await
        }
    }
}

/// The container whose network a container uses, and whose addresses are its own then.
async fn network_owner(engine: &dyn Engine, spec: &ContainerSpec) -> Result<Option<ObservedContainer>, EngineError> {
    match spec.network_mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) {
        Some(owner) => engine.inspect(owner).await.map(Some),
        None => Ok(None),
    }
}

async fn ask_probe(
    host: &dyn Host,
    facts: &Facts,
    spec: &ContainerSpec,
    probe: &Probe,
    found: &ObservedContainer,
) -> Answer {
    let port = port_of(probe);
    let Some(address) = outside_address(host, facts, spec, found, port).await else {
        return Answer::Unasked(format!("its port {port} cannot be reached from here"));
    };
    let timeout = Duration::from_secs(2);
    let error = match &probe.kind {
        ProbeKind::Tcp { .. } => match host.connect(address, timeout).await {
            Ok(()) => return Answer::Healthy,
            Err(error) => error,
        },
        ProbeKind::Http { path, .. } => match host.http_get(address, &spec.service, path, timeout).await {
            Ok(answer) if (200..400).contains(&answer.status) => return Answer::Healthy,
            Ok(answer) => return Answer::Not(format!("port {port} answers {} to GET {path}", answer.status)),
            Err(error) => error,
        },
    };
    if error.kind() == io::ErrorKind::NetworkUnreachable && has_no_network(host).await {
        return Answer::Unasked("nobody can ask from here: this process has no network".to_owned());
    }
    // the address is the engine's own choice, and says nothing to anybody who has not looked for it
    Answer::Not(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("not listening on port {port} yet"),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("port {port} does not answer"),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            format!("port {port} closes the connection without an answer")
        }
        _ => format!("port {port} at {address}: {error}"),
    })
}

fn port_of(probe: &Probe) -> u16 {
    match &probe.kind {
        ProbeKind::Http { port, .. } | ProbeKind::Tcp { port } => *port,
    }
}

/// What the relay says of a port.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Said {
    Answered { status: u16 },
    Failed { refused: bool, error: String },
}

/// Asks from inside of the platform's network, where there is a relay.
async fn ask_relay(
    engine: &dyn Engine,
    spec: &ContainerSpec,
    probe: &Probe,
    found: &ObservedContainer,
) -> Result<Option<Answer>, EngineError> {
    let platform = spec.labels.get(label::PLATFORM).and_then(|name| PlatformName::new(name).ok());
    let (Some(platform), Some(address)) = (platform, found.addresses.values().next()) else { return Ok(None) };
    let relay = match engine.inspect(&relay_name(&platform)).await {
        Ok(relay) if relay.state == ContainerState::Running => relay,
        Ok(_) | Err(EngineError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let port = port_of(probe);
    let address = SocketAddr::new((*address).into(), port).to_string();
    let mut words: Vec<&str> = relay.label(label::RELAY).unwrap_or_default().split(' ').collect();
    words.extend(["container-relay", "--ask", &address]);
    if let ProbeKind::Http { path, .. } = &probe.kind {
        words.extend(["--path", path, "--host", &spec.service]);
    }
    let command: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let output = match engine.exec(&relay.name, &command, Duration::from_secs(10)).await {
        Ok(output) => output,
        Err(error @ (EngineError::Unreachable { .. } | EngineError::Gone { .. })) => return Err(error),
        Err(error) => return Ok(Some(Answer::Not(error.to_string()))),
    };
    Ok(Some(match (serde_json::from_slice(&output.stdout), &probe.kind) {
        (Ok(Said::Answered { status: 0 | 200..400 }), _) => Answer::Healthy,
        (Ok(Said::Answered { status }), ProbeKind::Http { path, .. }) => {
            Answer::Not(format!("port {port} answers {status} to GET {path}"))
        }
        (Ok(Said::Failed { refused: true, .. }), _) => Answer::Not(format!("not listening on port {port} yet")),
        (Ok(Said::Failed { error, .. }), _) => Answer::Not(format!("port {port} at {address}: {error}")),
        _ => Answer::Not(format!("port {port}: the relay does not say how it is")),
    }))
}

/// Nothing but loopback. A bridge that has lost its address is another matter: there the way to
/// the containers is broken for everybody on this machine.
async fn has_no_network(host: &dyn Host) -> bool {
    host.routes().await.is_ok_and(|routes| routes.iter().all(|route| route.network.addr().is_loopback()))
}

fn is_command(check: &Healthcheck) -> bool {
    check.test.first().is_some_and(|word| word.starts_with("CMD"))
}

/// Where the host reaches a container's port: the container itself where its network can be
/// reached, else a published port.
pub async fn outside_address(
    host: &dyn Host,
    facts: &Facts,
    spec: &ContainerSpec,
    found: &ObservedContainer,
    port: u16,
) -> Option<SocketAddr> {
    if spec.network_mode.as_deref() == Some("host") {
        return facts.published.then(|| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port));
    }
    let direct = match facts.container_addresses {
        true => found.addresses.values().next().copied(),
        // a container that has the engine's socket may have been put into the platform's network
        false if !facts.published => {
            let routes = host.routes().await.unwrap_or_default();
            let routed = |address: &Ipv4Addr| routes.iter().any(|route| route.network.contains(address));
            found.addresses.values().copied().find(routed)
        }
        false => None,
    };
    if let Some(address) = direct {
        return Some(SocketAddr::new(address.into(), port));
    }
    if !facts.published {
        return None;
    }
    let mut ports = found.ports.iter().chain(&spec.guarded);
    let published = ports.find(|bound| bound.container_port == port && bound.host_port.is_some())?;
    Some(SocketAddr::new(published.host_ip, published.host_port?))
}

/// Runs the check's test as the engine would.
async fn ask_test(engine: &dyn Engine, spec: &ContainerSpec, check: &Healthcheck) -> Result<Answer, EngineError> {
    let command: Vec<String> = match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => {
            ["/bin/sh", "-c"].iter().map(|word| (*word).to_owned()).chain(rest.iter().cloned()).collect()
        }
        Some((kind, rest)) if kind == "CMD" => rest.to_vec(),
        _ => return Ok(Answer::Healthy),
    };
    let timeout = check.timeout.unwrap_or(Duration::from_secs(30));
    match engine.exec(&spec.name, &command, timeout).await {
        Ok(output) if output.exit_code == 0 => Ok(Answer::Healthy),
        Ok(output) => {
            let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
            let text = String::from_utf8_lossy(text);
            Ok(Answer::Not(match text.trim().lines().last() {
                Some(last) => format!("health check: {}", last.trim()),
                None => format!("health check: exit code {}, no output", output.exit_code),
            }))
        }
        // it stopped between the look and the question: the next look says why
        Err(EngineError::Conflict { message, .. }) => Ok(Answer::Not(message)),
        Err(EngineError::Timeout { after, .. }) => {
            Ok(Answer::Not(format!("health check: no result within {} s", after.as_secs())))
        }
        Err(error @ (EngineError::Unreachable { .. } | EngineError::Gone { .. })) => Err(error),
        Err(error) => Ok(Answer::Not(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    fn health(test: &[&str]) -> Healthcheck {
        Healthcheck { test: test.iter().map(|word| (*word).to_owned()).collect(), ..Healthcheck::default() }
    }

    #[test]
    fn a_probe_is_asked_always_and_a_test_while_the_engine_is_not_content() {
        let is = |health| ObservedContainer { health, ..ObservedContainer::default() };
        let mut spec = ContainerSpec::default();
        assert!(!is_asked(&spec, &is(Health::None)));
        let untested = ObservedContainer { untested: vec!["CMD".into(), "check".into()], ..is(Health::None) };
        assert!(is_asked(&spec, &untested), "the image's, on an engine that runs none");
        spec.healthcheck = Some(health(&["CMD", "check"]));
        assert!(is_asked(&spec, &is(Health::Starting)) && !is_asked(&spec, &is(Health::Healthy)));
        let kind = ProbeKind::Tcp { port: 1 };
        spec.readiness = Readiness { probe: Some(Probe { kind, timeout: None }), ..Default::default() };
        assert!(is_asked(&spec, &is(Health::Healthy)));
    }

    #[tokio::test]
    async fn the_test_of_an_image_is_run_where_the_engine_does_not() {
        let untested = vec!["CMD".to_owned(), "check".to_owned()];
        let found = ObservedContainer {
            name: "web".into(),
            state: ContainerState::Running,
            untested,
            ..ObservedContainer::default()
        };
        let engine = FakeEngine::new().with_container(found.clone()).exec_answers("web", "check", 1, "", "not yet");
        let facts = engine.facts().await.unwrap();
        for healthcheck in [None, Some(Healthcheck::default())] {
            let spec = ContainerSpec { name: "web".into(), healthcheck, ..Default::default() };
            let answer = ask(&engine, &FakeHost::new(), &facts, &spec, &spec.readiness, &found).await.unwrap();
            assert_eq!(answer, Answer::Not("health check: not yet".into()));
        }
    }

    async fn asked(host: FakeHost, test: &[&str]) -> Answer {
        asked_of(host, test, |_| {}).await
    }

    async fn asked_of(host: FakeHost, test: &[&str], change: impl FnOnce(&mut Facts)) -> Answer {
        let found = ObservedContainer {
            name: "web".into(),
            state: ContainerState::Running,
            addresses: [("macula".to_owned(), [172, 28, 0, 2].into())].into(),
            ..ObservedContainer::default()
        };
        let engine = FakeEngine::new().with_container(found.clone()).exec_answers("web", "check", 1, "", "not yet");
        let mut facts = engine.facts().await.unwrap();
        change(&mut facts);
        let healthcheck = (!test.is_empty()).then(|| health(test));
        let spec = ContainerSpec { name: "web".into(), service: "web".into(), healthcheck, ..Default::default() };
        let kind = ProbeKind::Tcp { port: 80 };
        let probe = Some(Probe { kind, timeout: None });
        let readiness = Readiness { probe, ..Default::default() };
        ask(&engine, &host, &facts, &spec, &readiness, &found).await.unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_asked_from_here_is_not_unhealthy() {
        // an engine whose containers have no address here, and a port that is not published
        let elsewhere = |facts: &mut Facts| facts.container_addresses = false;
        let unasked = Answer::Unasked("its port 80 cannot be reached from here".into());
        assert_eq!(asked_of(FakeHost::new(), &[], elsewhere).await, unasked);
        let own_test = Answer::Not("health check: not yet".into());
        assert_eq!(asked_of(FakeHost::new(), &["CMD", "check"], elsewhere).await, own_test);
        // this process is in a container that was put into the platform's network
        let apart = |facts: &mut Facts| (facts.container_addresses, facts.published) = (false, false);
        assert_eq!(asked_of(FakeHost::new(), &[], apart).await, unasked);
        let joined = FakeHost::new().route("172.28.0.0/24", "eth1");
        assert_eq!(asked_of(joined, &[], apart).await, Answer::Not("not listening on port 80 yet".into()));
    }

    #[tokio::test]
    async fn a_process_without_a_network_says_that_it_cannot_ask() {
        let nobody = Answer::Unasked("nobody can ask from here: this process has no network".into());
        assert_eq!(asked(FakeHost::new().without_network(), &[]).await, nobody);
        // the engine runs the container's own test instead
        assert_eq!(
            asked(FakeHost::new().without_network(), &["CMD", "check"]).await,
            Answer::Not("health check: not yet".into())
        );
        let refused = "not listening on port 80 yet";
        assert_eq!(asked(FakeHost::new(), &["CMD", "check"]).await, Answer::Not(refused.into()));
        // a way to somewhere, only not to the container: something is broken
        let host = FakeHost::new().without_network().route("192.168.1.0/24", "eth0");
        assert_eq!(asked(host, &[]).await, Answer::Not("port 80 at 172.28.0.2:80: network unreachable".into()));
    }
}
