//! `logs`, `exec`: which containers are meant.

use std::sync::Arc;

use crate::engine::{Engine, LogOptions};
use crate::model::{ContainerState, PlatformName, label};
use crate::observe;

use crate::app::{Error, Session};

/// `logs` of these services, or of all.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    pub services: Vec<String>,
    pub options: LogOptions,
}

/// One container that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub service: String,
    pub container: String,
    pub running: bool,
}

/// By label, so that the logs of a service that no stack names any more are there too.
pub async fn log_sources(
    session: &Session,
    platform: &PlatformName,
    services: &[String],
) -> Result<(Arc<dyn Engine>, Vec<Source>), Error> {
    let engine = session.engine()?;
    let observed = observe::ours(&*engine, platform).await?;
    let mut sources: Vec<Source> = observed
        .containers
        .iter()
        .map(|found| Source {
            service: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
            container: found.name.clone(),
            running: found.state == ContainerState::Running,
        })
        .collect();
    sources.sort_by(|a, b| (&a.service, &a.container).cmp(&(&b.service, &b.container)));
    if services.is_empty() {
        return Ok((engine, sources));
    }
    let unknown: Vec<String> =
        services.iter().filter(|name| !sources.iter().any(|source| source.service == **name)).cloned().collect();
    if !unknown.is_empty() {
        let mut known: Vec<String> = sources.into_iter().map(|source| source.service).collect();
        known.dedup();
        return Err(Error::UnknownService { names: unknown, known });
    }
    sources.retain(|source| services.contains(&source.service));
    Ok((engine, sources))
}
