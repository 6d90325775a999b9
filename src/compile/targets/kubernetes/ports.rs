//! The ports on which the pods of a service listen.

use std::collections::BTreeMap;

use crate::compile::targets::Part;
use crate::model::ProbeKind;

/// A port of a Service, which is that of its pods too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::compile::targets) struct Port {
    pub number: u16,
    pub protocol: String,
    pub name: Option<String>,
    pub app_protocol: Option<String>,
}

/// Every port of the service that anything in the files names, in order.
pub(in crate::compile::targets) fn ports(part: &Part<'_>) -> Vec<Port> {
    let mut all: BTreeMap<(u16, String), Port> = BTreeMap::new();
    let mut add = |number: u16, protocol: &str, name: Option<String>, app_protocol: Option<String>| {
        let protocol = protocol.to_uppercase();
        let port =
            all.entry((number, protocol.clone())).or_insert(Port { number, protocol, name: None, app_protocol: None });
        port.name = port.name.take().or(name);
        port.app_protocol = port.app_protocol.take().or(app_protocol);
    };
    let service = part.service;
    for port in &service.ports {
        add(port.target, &port.protocol.to_string(), port.name.clone(), port.app_protocol.clone());
    }
    let extension = &service.extension;
    let probe = extension.probe.as_ref().map(|probe| match &probe.kind {
        ProbeKind::Http { port, .. } | ProbeKind::Tcp { port } => *port,
    });
    let rules = extension.ingress.iter().map(|rule| rule.port);
    let metrics = extension.metrics.iter().map(|metrics| metrics.port);
    for port in service.expose.iter().copied().chain(rules).chain(metrics).chain(probe) {
        add(port, "tcp", None, None);
    }
    for text in &service.expose_other {
        if let Some((Ok(port), protocol)) = text.split_once('/').map(|(port, protocol)| (port.parse(), protocol)) {
            add(port, protocol, None, None);
        }
    }
    all.into_values().collect()
}

/// What Kubernetes takes for the name of a port (RFC 6335, section 5.1).
pub(in crate::compile::targets) fn is_port_name(name: &str) -> bool {
    crate::model::is_dns_label(name) && name.len() <= 15 && name.contains(|c: char| c.is_ascii_lowercase())
}
