//! `up` as a trace of OpenTelemetry, sent to the platform's own Tempo when it is up. Decided in
//! docs/decisions/trace-of-up.md.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::apply::Timing;
use crate::host::Host;
use crate::model::{ContainerState, Observed, Protocol, label};
use crate::words;

use super::{Error, Session};
use otlp::{Parent, Run};

mod kept;
mod otlp;

#[cfg(test)]
mod tests;

/// More than a moment nobody waits for a trace.
const PATIENCE: Duration = Duration::from_millis(500);
/// Until the background process listens where it has just been told to.
const AGAIN: Duration = Duration::from_millis(700);
/// Who takes traces, in this order: the store itself, then what passes them on.
const RECEIVERS: [&str; 2] = ["tempo", "alloy"];
/// OTLP over HTTP.
const PORT: u16 = 4318;

/// A trace that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentTrace {
    pub id: String,
    /// Where to.
    pub url: String,
}

/// Takes notes while `up` runs.
pub(super) struct Recorder {
    begun: Instant,
    run: Run,
    /// Of the platform itself.
    receiver: Option<String>,
    /// The background process, where it is in the place of those: a new one listens a moment later.
    own: Option<String>,
}

impl Recorder {
    pub fn begin(session: &Session, platform: &str) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = Run {
            command: session.command.clone(),
            platform: platform.into(),
            version: session.version.into(),
            began,
            ..Run::default()
        };
        Self { begun: Instant::now(), run, receiver: None, own: None }
    }

    /// Runs a part of the work that is no step of a plan.
    pub async fn phase<T>(&mut self, name: &'static str, work: impl Future<Output = T>) -> T {
        let start = self.begun.elapsed();
        let result = work.await;
        self.run.phases.push((name, start, self.begun.elapsed().saturating_sub(start)));
        result
    }

    /// Steps that took place since `began`.
    pub fn steps(&mut self, began: Instant, steps: &[Timing]) {
        self.run.steps_began = began.saturating_duration_since(self.begun);
        self.run.steps = steps.to_vec();
    }

    pub fn left_out<'a>(&mut self, services: impl Iterator<Item = &'a str>) {
        self.run.left_out = services.map(str::to_owned).collect();
    }

    /// What runs now: the trace goes to whoever of it takes traces.
    pub fn seen(&mut self, observed: &Observed) {
        self.receiver = receiver(observed);
    }

    /// Where the background process takes traces.
    pub fn taken_at(&mut self, address: Option<std::net::SocketAddr>) {
        self.own = address.map(|address| address.to_string());
    }

    /// Sends what was noted, if there is anybody to take it. Never longer than [`PATIENCE`], never an
    /// error: a trace is worth less than the run that it is of.
    pub async fn finish(mut self, session: &Session, error: Option<&Error>) -> Option<SentTrace> {
        self.run.took = self.begun.elapsed();
        self.run.error = error.map(ToString::to_string);
        kept::keep(session, &self.run).await;
        let host = session.host();
        let own = self.receiver.is_none() && self.own.is_some();
        let url = endpoint(host, self.receiver.as_deref().or(self.own.as_deref()))?;
        let parent = host.env("TRACEPARENT").and_then(|header| Parent::parse(&header));
        if parent.as_ref().is_some_and(|parent| !parent.sampled) {
            return None;
        }
        let (new, first) = random()?;
        let mut span = first;
        let next = || {
            span = span.wrapping_add(1).max(1);
            format!("{span:016x}")
        };
        let trace = parent.as_ref().map_or(new, |parent| parent.trace.clone());
        let parent = parent.as_ref().map(|parent| parent.span.as_str());
        let body = otlp::request(&self.run, &trace, parent, next).to_string().into_bytes();
        let mut answer = host.http_post(&url, "application/json", body.clone(), PATIENCE).await;
        if answer.is_err() && own {
            tokio::time::sleep(AGAIN).await;
            answer = host.http_post(&url, "application/json", body, PATIENCE).await;
        }
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Some(SentTrace { id: trace, url }),
            Ok(answer) => {
                tracing::debug!("the trace was refused by {url} with {}", answer.status);
                None
            }
            Err(error) => {
                tracing::debug!("the trace was not sent to {url}: {error}");
                None
            }
        }
    }
}

/// What the environment names goes first, as for any program that speaks OpenTelemetry
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
fn endpoint(host: &dyn Host, receiver: Option<&str>) -> Option<String> {
    let set = |name: &str| host.env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| Some(format!("{}/v1/traces", set("OTEL_EXPORTER_OTLP_ENDPOINT")?.trim_end_matches('/'))))
        .or_else(|| Some(format!("http://{}/v1/traces", receiver?)))
}

/// `127.0.0.4:4318`
fn receiver(observed: &Observed) -> Option<String> {
    RECEIVERS.iter().find_map(|service| {
        let running = observed
            .containers
            .iter()
            .filter(|found| found.state == ContainerState::Running && found.label(label::SERVICE) == Some(*service));
        let ports = running.flat_map(|found| &found.ports);
        let bound = ports.filter(|port| port.container_port == PORT && port.protocol == Protocol::Tcp);
        bound.filter_map(|port| Some(std::net::SocketAddr::new(port.host_ip, port.host_port?).to_string())).next()
    })
}

/// Of a trace and its spans: 16 bytes for the one, and a number from which the others count on.
fn random() -> Option<(String, u64)> {
    let (mut trace, mut first) = ([0; 16], [0; 8]);
    getrandom::fill(&mut trace).and_then(|()| getrandom::fill(&mut first)).ok()?;
    Some((words::hex(trace), u64::from_ne_bytes(first)))
}
