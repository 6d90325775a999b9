//! `open`: where the pages of the services are. The files tell it; no engine is asked.

use std::net::SocketAddr;

use crate::app::{Error, Session, certificate};
use crate::compile::loopback_address;
use crate::config::Loaded;

use super::status::urls;
use crate::app::survey::left_out;

/// A service that has a page, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub service: String,
    /// First labels of its host names: `draw` for draw.macula.local.
    pub hosts: Vec<String>,
    pub urls: Vec<String>,
}

/// Services with a page that were left out of the last `up`; none where no engine answers.
pub async fn closed_pages(session: &Session, loaded: &Loaded) -> Vec<String> {
    left_out(session, &loaded.platform).await
}

/// Of every service, and the address at which all of them are served.
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
    Ok((all.collect(), SocketAddr::new(loopback_address(block, None).into(), port)))
}
