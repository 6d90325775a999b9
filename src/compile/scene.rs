//! What is known while a service is compiled, and what its containers are called.

use crate::model::{Platform, Route, Service, Stack, Stream};

use super::{Site, TemplateContext};

/// What every service of a stack shares while it is compiled.
pub(super) struct Scene<'a> {
    pub platform: &'a Platform,
    pub stack: &'a Stack,
    pub site: &'a Site<'a>,
    pub routes: &'a [Route],
    pub streams: &'a [Stream],
    pub context: &'a TemplateContext,
}

/// `macula-grafana-1`, or what `container_name` says.
pub fn container_name(platform: &Platform, service: &Service, replica: u32) -> String {
    match &service.container_name {
        // only the ingress, which may need more of them, has several with a name of its own
        Some(name) if replica > 1 => format!("{name}-{replica}"),
        Some(name) => name.clone(),
        None => platform.name.container(&service.name, replica),
    }
}
