//! What several checks look at, looked at once.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::Needs;
use crate::engine::discover::{Attempt, Discovery, Source};
use crate::engine::{Engine, EngineError, Query, everybody};
use crate::host::{Host, HostFacts, Route};
use crate::model::{Facts, Listener, MaculaCommand, ObservedContainer, ObservedNetwork};

/// An engine that does not answer in this time hangs.
const TIME_FOR_THE_ENGINE: Duration = Duration::from_secs(3);

/// A look that was taken, or why it could not be.
pub(super) type Look<T> = Result<T, String>;

pub(super) struct Context<'a> {
    pub host: &'a dyn Host,
    engine: Option<&'a dyn Engine>,
    pub discovery: &'a Discovery,
    pub want: &'a Needs,
    pub machine: HostFacts,
    /// Time for what costs more than a few milliseconds.
    pub thorough: bool,
    facts: OnceCell<Look<Facts>>,
    networks: OnceCell<Look<Vec<ObservedNetwork>>>,
    ours: OnceCell<Look<Vec<ObservedContainer>>>,
    everybody: OnceCell<Vec<ObservedContainer>>,
    listeners: OnceCell<Look<Vec<Listener>>>,
    routes: OnceCell<Look<Vec<Route>>>,
}

impl<'a> Context<'a> {
    pub fn new(system: &'a crate::system::System, want: &'a Needs, thorough: bool) -> Self {
        Self {
            host: system.host.as_ref(),
            engine: system.engine.as_deref(),
            discovery: &system.discovery,
            want,
            machine: system.host.facts(),
            thorough,
            facts: OnceCell::new(),
            networks: OnceCell::new(),
            ours: OnceCell::new(),
            everybody: OnceCell::new(),
            listeners: OnceCell::new(),
            routes: OnceCell::new(),
        }
    }

    /// A command to type, as it means the same platform.
    pub fn line(&self, command: MaculaCommand) -> String {
        command.line(&self.want.invocation)
    }

    /// The engine in use.
    pub fn engine(&self) -> Option<&dyn Engine> {
        self.engine
    }

    /// The endpoint in use.
    pub fn endpoint(&self) -> Option<&Attempt> {
        self.discovery.attempts.iter().find(|attempt| attempt.outcome.is_ok())
    }

    /// The engine runs on another machine: what is published there is not reached through our
    /// loopback addresses.
    pub fn remote(&self) -> bool {
        self.endpoint().is_some_and(is_remote)
    }

    pub async fn facts(&self) -> &Look<Facts> {
        self.facts.get_or_init(|| async { asked(self.engine, |engine| engine.facts()).await }).await
    }

    pub async fn networks(&self) -> &Look<Vec<ObservedNetwork>> {
        self.networks.get_or_init(|| async { asked(self.engine, |engine| engine.networks()).await }).await
    }

    /// The platform's own containers.
    pub async fn ours(&self) -> &Look<Vec<ObservedContainer>> {
        let look = || async {
            let query = Query { platform: self.want.platform.clone(), ..Query::default() };
            asked(self.engine, |engine| engine.find(&query)).await.map(|found| found.containers)
        };
        self.ours.get_or_init(look).await
    }

    /// The engine answers, and has nothing of this platform.
    pub async fn knows_nothing_of(&self, platform: &str) -> bool {
        let query = Query { platform: platform.to_owned(), ..Query::default() };
        let found = asked(self.engine, |engine| engine.find(&query)).await;
        found.is_ok_and(|found| found.containers.is_empty() && found.networks.is_empty() && found.volumes.is_empty())
    }

    /// All containers, whoever's. Only for looking into a conflict.
    pub async fn everybody(&self) -> &[ObservedContainer] {
        let look = || async { asked(self.engine, everybody).await.unwrap_or_default() };
        self.everybody.get_or_init(look).await
    }

    pub async fn listeners(&self) -> &Look<Vec<Listener>> {
        self.listeners.get_or_init(|| async { self.host.listeners().await.map_err(|error| error.to_string()) }).await
    }

    pub async fn routes(&self) -> &Look<Vec<Route>> {
        self.routes.get_or_init(|| async { self.host.routes().await.map_err(|error| error.to_string()) }).await
    }
}

#[cfg(test)]
impl Context<'_> {
    pub fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = OnceCell::new_with(Some(Ok(facts)));
        self
    }

    pub fn with_networks(mut self, networks: Vec<ObservedNetwork>) -> Self {
        self.networks = OnceCell::new_with(Some(Ok(networks)));
        self
    }

    pub fn with_ours(mut self, ours: Vec<ObservedContainer>) -> Self {
        self.ours = OnceCell::new_with(Some(Ok(ours)));
        self
    }

    pub fn with_everybody(mut self, everybody: Vec<ObservedContainer>) -> Self {
        self.everybody = OnceCell::new_with(Some(everybody));
        self
    }
}

async fn asked<'e, T, F>(engine: Option<&'e dyn Engine>, ask: impl FnOnce(&'e dyn Engine) -> F) -> Look<T>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let Some(engine) = engine else { return Err("there is no engine to ask".to_owned()) };
    match tokio::time::timeout(TIME_FOR_THE_ENGINE, ask(engine)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the engine did not answer within {} s", TIME_FOR_THE_ENGINE.as_secs())),
    }
}

/// A socket file is on this machine; so is an address of its loopback interface, as far as one can
/// tell from here.
pub(super) fn is_remote(attempt: &Attempt) -> bool {
    let Some((scheme, rest)) = attempt.endpoint.split_once("://") else { return false };
    if matches!(attempt.source, Source::DockerSocket | Source::PodmanRootful) || matches!(scheme, "unix" | "npipe") {
        return false;
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !(loopback || host == "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_on_a_socket_or_a_loopback_address_is_on_this_machine() {
        let remote = |endpoint: &str, source: Source| {
            is_remote(&Attempt { endpoint: endpoint.to_owned(), source, outcome: Ok(()) })
        };
        for here in [
            "unix:///var/run/docker.sock",
            "npipe:////./pipe/docker_engine",
            "tcp://127.0.0.1:2375",
            "tcp://127.9.9.9",
            "tcp://localhost:2376/v1.41",
            "tcp://[::1]:2376",
            "ssh://me@localhost",
            "/var/run/docker.sock",
        ] {
            assert!(!remote(here, Source::DockerHost), "{here}");
        }
        for there in [
            "tcp://192.0.2.1:2376",
            "tcp://[2001:db8::1]:2376",
            "ssh://me@build.example.com",
            "ssh://127.0.0.1@build.example.com:22",
            "https://127.0.0.1.example.com",
            "tcp://localhost.example.com:2375",
        ] {
            assert!(remote(there, Source::DockerHost), "{there}");
            assert!(remote(there, Source::Context("build".to_owned())), "{there}");
            assert!(!remote(there, Source::DockerSocket), "{there}");
        }
    }
}
