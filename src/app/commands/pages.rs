//! `open`: where the pages of the services are. The files tell it; no engine is asked.

use std::net::SocketAddr;

use crate::app::{Error, Session, certificate};
use crate::compile::loopback_address;
use crate::config::Loaded;
use crate::model::{ContainerState, Role, Service, label};
use crate::observe;

use super::addresses::urls;
use crate::app::survey::left_out;

/// A service or process that has a page, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub service: String,
    /// First labels of its host names: `draw` for draw.macula.local.
    pub hosts: Vec<String>,
    pub urls: Vec<String>,
}

/// Services with a page that were left out of the last `up`; none where no engine answers.
pub async fn left_out_pages(session: &Session, loaded: &Loaded) -> Vec<String> {
    left_out(session, &loaded.platform).await
}

/// Services whose page cannot be opened now: they do not run, or the ingress does not. None where no engine answers.
pub async fn closed_pages(session: &Session, loaded: &Loaded) -> Vec<String> {
    let platform = &loaded.platform;
    let Some(engine) = session.system.engine.as_deref() else { return Vec::new() };
    let Ok(observed) = observe::ours_at_a_glance(engine, &platform.name).await else { return Vec::new() };
    let running = observed.containers.iter().filter(|found| found.state == ContainerState::Running);
    let running: Vec<&str> = running.filter_map(|found| found.label(label::SERVICE)).collect();
    let runs = |service: &Service| running.contains(&service.name.as_str());
    let through =
        platform.services().any(|(_, service)| service.extension.role == Some(Role::Ingress) && runs(service));
    let closed = platform.services().filter(|(_, service)| !through || !runs(service));
    closed.map(|(_, service)| service.name.clone()).collect()
}

/// Of every service and process, and the address at which all of them are served.
pub async fn pages(session: &Session, loaded: &Loaded) -> Result<(Vec<Page>, SocketAddr), Error> {
    let platform = &loaded.platform;
    let tls = certificate::current(session, platform).await?.is_ok();
    let block = session.state(&platform.name).block(session.host(), platform).await?;
    let port = if tls { platform.ingress.https } else { platform.ingress.http };
    let all = platform.services().map(|(_, service)| Page {
        service: service.name.clone(),
        hosts: service.extension.ingress.iter().map(|rule| rule.host.clone()).collect(),
        urls: urls(platform, service, tls),
    });
    let url = |host: &String| platform.ingress.url(&format!("{host}.{}", platform.domain), tls);
    let programs = platform.processes.values().map(|process| Page {
        service: process.name.clone(),
        hosts: process.hosts.clone(),
        urls: process.hosts.iter().map(url).collect(),
    });
    Ok((all.chain(programs).collect(), SocketAddr::new(loopback_address(block, None).into(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::ObservedContainer;

    #[tokio::test]
    async fn a_page_is_closed_where_its_service_or_the_ingress_does_not_run() {
        let stack = "services:\n  gate: {image: 'acme/gate:1', x-macula: {role: ingress}}\n  \
                     web: {image: 'acme/web:1', x-macula: {ingress: [{host: web, port: 80}]}}\n";
        let closed = async |running: &[&str]| {
            let host = FakeHost::new();
            let loaded = shop(&host, "", stack);
            let found = |service: &&str| ObservedContainer {
                name: format!("macula-shop-{service}-1"),
                state: ContainerState::Running,
                labels: [(label::PLATFORM, "shop"), (label::SERVICE, *service)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ..ObservedContainer::default()
            };
            let engine = running.iter().map(found).fold(FakeEngine::new(), FakeEngine::with_container);
            closed_pages(&session(host, &engine, "macula open"), &loaded).await
        };
        assert_eq!(closed(&["gate", "web"]).await, [""; 0]);
        assert_eq!(closed(&["gate"]).await, ["web"]);
        assert_eq!(closed(&["web"]).await, ["gate", "web"]);
    }
}
