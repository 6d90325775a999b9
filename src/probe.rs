//! Asks a service whether it is there: from outside by its probe, or by its health check's own test.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::model::{ContainerSpec, Facts, Healthcheck, ObservedContainer, Probe, ProbeKind, Readiness};

/// What a service said when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Healthy,
    /// Not (yet), with the reason.
    Not(String),
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
    if let Some(probe) = &readiness.probe {
        return Ok(ask_probe(host, facts, spec, probe, found).await);
    }
    match &spec.healthcheck {
        Some(check) => ask_test(engine, spec, check).await,
        None => Ok(Answer::Healthy),
    }
}

async fn ask_probe(
    host: &dyn Host,
    facts: &Facts,
    spec: &ContainerSpec,
    probe: &Probe,
    found: &ObservedContainer,
) -> Answer {
    let port = match &probe.kind {
        ProbeKind::Http { port, .. } | ProbeKind::Tcp { port } => *port,
    };
    let Some(address) = outside_address(facts, spec, found, port) else {
        return Answer::Not(format!("its port {port} is reached neither directly nor through a published port"));
    };
    let timeout = Duration::from_secs(2);
    match &probe.kind {
        ProbeKind::Tcp { .. } => match host.connect(address, timeout).await {
            Ok(()) => Answer::Healthy,
            Err(error) => Answer::Not(format!("{address}: {error}")),
        },
        ProbeKind::Http { path, .. } => match host.http_get(address, &spec.service, path, timeout).await {
            Ok(answer) if (200..400).contains(&answer.status) => Answer::Healthy,
            Ok(answer) => Answer::Not(format!("http://{address}{path} answers {}", answer.status)),
            Err(error) => Answer::Not(format!("http://{address}{path}: {error}")),
        },
    }
}

/// Where the host reaches a container's port: the container itself where its network can be
/// reached, else a published port.
fn outside_address(facts: &Facts, spec: &ContainerSpec, found: &ObservedContainer, port: u16) -> Option<SocketAddr> {
    if spec.network_mode.as_deref() == Some("host") {
        return Some(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port));
    }
    let direct = facts.container_addresses.then(|| found.addresses.values().next()).flatten();
    if let Some(address) = direct {
        return Some(SocketAddr::new((*address).into(), port));
    }
    let published = found.ports.iter().find(|bound| bound.container_port == port && bound.host_port.is_some())?;
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
            let last = text.trim().lines().last().unwrap_or_default();
            Ok(Answer::Not(format!("its health check ends with {}: {last}", output.exit_code)))
        }
        // it stopped between the look and the question: the next look says why
        Err(EngineError::Conflict { message, .. }) => Ok(Answer::Not(message)),
        Err(EngineError::Timeout { after, .. }) => {
            Ok(Answer::Not(format!("its health check takes longer than {} s", after.as_secs())))
        }
        Err(error @ (EngineError::Unreachable { .. } | EngineError::Gone { .. })) => Err(error),
        Err(error) => Ok(Answer::Not(error.to_string())),
    }
}
