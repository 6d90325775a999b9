//! `port`: where the ports of a service are reached on this machine, from the same source as `status` has it.

use std::net::SocketAddr;

use serde::Serialize;

use super::addresses::{reached, urls};
use crate::app::survey::survey;
use crate::app::{Error, Session};
use crate::config::Loaded;
use crate::model::{Protocol, label};

/// One port of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortRow {
    pub service: String,
    pub container: String,
    /// In the container.
    pub port: u16,
    pub protocol: Protocol,
    pub address: SocketAddr,
}

/// What there is to say of a service's ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePorts {
    /// Its containers in the order of their numbers, and whether each of them runs.
    pub containers: Vec<(String, bool)>,
    /// Of those that run.
    pub rows: Vec<PortRow>,
    /// Its pages.
    pub urls: Vec<String>,
    /// Services of the platform that have a container.
    pub others: Vec<String>,
}

impl ServicePorts {
    /// Those of one container, or of all; of one port or of all. A port alone is that of the first container that has it:
    /// who asks for it connects to one.
    pub fn chosen(&self, container: Option<&str>, port: Option<(u16, Protocol)>) -> Vec<&PortRow> {
        let own = |row: &&PortRow| container.is_none_or(|name| row.container == name);
        let wanted = |row: &&PortRow| port.is_none_or(|port| (row.port, row.protocol) == port);
        let rows: Vec<&PortRow> = self.rows.iter().filter(own).filter(wanted).collect();
        match (port, rows.first()) {
            (Some(_), Some(&first)) => rows.into_iter().filter(|row| row.container == first.container).collect(),
            _ => rows,
        }
    }
}

/// `service`: one of the platform's.
pub async fn service_ports(session: &Session, loaded: &Loaded, service: &str) -> Result<ServicePorts, Error> {
    session.check_known(&loaded.platform.name).await?;
    let survey = survey(session, loaded).await?;
    let mut all = ServicePorts::default();
    for spec in survey.resources.containers.iter().filter(|spec| spec.service == service) {
        let own = |name: &str| name == loaded.platform.name.as_str();
        let found = survey.observed.container(&spec.name);
        let Some(found) = found.filter(|found| found.label(label::PLATFORM).is_some_and(own)) else { continue };
        // the connections of one that is paused wait
        let runs = found.holds_ports();
        all.containers.push((found.name.clone(), runs));
        if runs {
            all.rows.extend(reached(&survey, spec).into_iter().map(|at| PortRow {
                service: service.to_owned(),
                container: found.name.clone(),
                port: at.port,
                protocol: at.protocol,
                address: at.address,
            }));
        }
    }
    if let Some((_, service)) = survey.platform.service(service) {
        all.urls = urls(&survey.platform, service, survey.tls());
    }
    let mut others: Vec<String> =
        survey.observed.containers.iter().filter_map(|found| found.label(label::SERVICE)).map(str::to_owned).collect();
    others.sort();
    others.dedup();
    all.others = others;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_that_of_the_first_container_that_has_it() {
        let row = |container: &str, port, protocol, address: &str| PortRow {
            service: "dns".into(),
            container: container.into(),
            port,
            protocol,
            address: address.parse().unwrap(),
        };
        let ports = ServicePorts {
            rows: vec![
                row("dns-1", 53, Protocol::Tcp, "127.0.0.8:53"),
                row("dns-1", 53, Protocol::Udp, "127.0.0.8:5353"),
                row("dns-2", 53, Protocol::Udp, "127.0.0.8:5354"),
                row("dns-2", 53, Protocol::Udp, "[::1]:5354"),
            ],
            ..ServicePorts::default()
        };
        let chosen = |container, port| -> Vec<String> {
            ports.chosen(container, port).iter().map(|row| row.address.to_string()).collect()
        };
        assert_eq!(chosen(None, None).len(), 4);
        assert_eq!(chosen(None, Some((53, Protocol::Udp))), ["127.0.0.8:5353"]);
        assert_eq!(chosen(Some("dns-2"), Some((53, Protocol::Udp))), ["127.0.0.8:5354", "[::1]:5354"]);
        assert_eq!(chosen(Some("dns-2"), None).len(), 2);
        assert!(chosen(None, Some((80, Protocol::Tcp))).is_empty());
    }
}
