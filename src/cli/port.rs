use clap::ValueEnum;

use crate::app::{Error, PortRow, ServicePorts, service_ports};
use crate::model::{Protocol, macula};
use crate::words;

use super::containers::no_number;
use super::context::{Context, StackOptions};
use super::error::CliError;

/// Show where the ports of a service are reached on this machine
///
/// With a port only its address, such as 127.0.0.6:5432, for scripts; without one all ports, one on a line. Pages are
/// reached by their names instead: `macula open`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service, or the host name it answers to
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Port in the container, such as 5432 or 53/udp (default: all)
    #[arg(value_name = "PORT", value_parser = private_port)]
    port: Option<(u16, Option<Protocol>)>,
    /// Protocol of the port, where it is not written behind it
    #[arg(long, value_enum, default_value_t = Of::Tcp, value_name = "PROTOCOL", requires = "port")]
    protocol: Of,
    /// Which container of a service with several, counted from 1 (default: all; for one port the first)
    #[arg(long, value_name = "NUMBER")]
    index: Option<usize>,
    #[command(flatten)]
    stacks: StackOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    Tcp,
    Udp,
    Sctp,
}

impl From<Of> for Protocol {
    fn from(of: Of) -> Self {
        match of {
            Of::Tcp => Self::Tcp,
            Of::Udp => Self::Udp,
            Of::Sctp => Self::Sctp,
        }
    }
}

/// `53`, `53/udp`
fn private_port(text: &str) -> Result<(u16, Option<Protocol>), String> {
    let (number, protocol) = match text.split_once('/') {
        Some((number, protocol)) => {
            let known = Of::from_str(protocol, true).map_err(|_| format!("`{protocol}` is not tcp, udp or sctp"))?;
            (number, Some(known.into()))
        }
        None => (text, None),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok((number, protocol)),
        _ => Err(format!("`{number}` is not a valid port")),
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let mut services = [args.service.clone()];
    let (loaded, session) = context.begin_to_look("port", &args.stacks, &mut services).await?;
    let [service] = services;
    if loaded.platform.service(&service).is_none() {
        if loaded.platform.processes.contains_key(&service) {
            return Err(CliError::usage(format!("{service} is a program of this machine, and has no container"))
                .suggest(macula("status").arg(&service).why("to see its port")));
        }
        return Err(Error::UnknownService { names: vec![service], known: loaded.platform.service_names() }.into());
    }
    let ports = service_ports(&session, &loaded, &service).await?;
    let Some((first, _)) = ports.containers.first() else {
        let known = ports.others;
        return Err(context.absent(&session, Error::UnknownService { names: vec![service], known }).await);
    };
    let container = match args.index {
        None => None,
        Some(index) => Some(match index.checked_sub(1).and_then(|at| ports.containers.get(at)) {
            Some((name, _)) => name.as_str(),
            None => return Err(no_number(&service, ports.containers.len(), index)),
        }),
    };
    let runs = |name: &str| ports.containers.iter().any(|(other, runs)| other == name && *runs);
    let stopped = match container {
        Some(name) => !runs(name),
        None => !ports.containers.iter().any(|(_, runs)| *runs),
    };
    if stopped {
        let which = container.filter(|name| *name != first || ports.containers.len() > 1).unwrap_or(&service);
        return Err(CliError::usage(format!("{which} is not running")).suggest(macula("up").arg(&service)));
    }
    let wanted = args.port.map(|(port, protocol)| (port, protocol.unwrap_or(args.protocol.into())));
    let rows = ports.chosen(container, wanted);
    if rows.is_empty() {
        return Err(unpublished(&service, &ports, wanted));
    }
    if context.json() {
        return context.print_json(&rows);
    }
    context.print_data(&shown(&rows, wanted.is_some(), ports.containers.len() > 1 && container.is_none()))
}

/// An address alone for who asked for one; `several`: whose each is has to be said.
fn shown(rows: &[&PortRow], one: bool, several: bool) -> String {
    if let (true, Some(row)) = (one, rows.first()) {
        return format!("{}\n", row.address);
    }
    let line = |row: &&PortRow| {
        let whose = if several { format!("{} ", row.container) } else { String::new() };
        format!("{whose}{}/{} -> {}\n", row.port, row.protocol, row.address)
    };
    rows.iter().map(line).collect()
}

/// What is not published: where else it is reached.
fn unpublished(service: &str, ports: &ServicePorts, wanted: Option<(u16, Protocol)>) -> CliError {
    let known = ports.rows.iter().map(|row| match row.protocol {
        Protocol::Tcp => row.port.to_string(),
        other => format!("{}/{other}", row.port),
    });
    let known = words::unique(known);
    let error = match wanted {
        Some((port, protocol)) => CliError::usage(format!("{service} does not publish its port {port}/{protocol}")),
        None => CliError::usage(format!("{service} publishes no port on this machine")),
    };
    let error = match known.as_slice() {
        [] => error,
        known => error.hint(format!("it publishes {}", words::list(known.iter().cloned()))),
    };
    match ports.urls.first() {
        Some(url) => {
            error.hint(format!("its page is {url}")).suggest(macula("open").arg(service).why("to open its page"))
        }
        None if known.is_empty() => error.hint(format!(
            "other services reach it as {service}; `ports` in its file publishes a port on this machine, unless all its \
             networks are `internal`"
        )),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Invocation;

    fn row(container: &str, port: u16, protocol: Protocol, address: &str) -> PortRow {
        PortRow {
            service: "dns".into(),
            container: container.into(),
            port,
            protocol,
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn a_port_may_name_its_protocol() {
        assert_eq!(private_port("5432"), Ok((5432, None)));
        assert_eq!(private_port("53/udp"), Ok((53, Some(Protocol::Udp))));
        assert_eq!(private_port("53/TCP"), Ok((53, Some(Protocol::Tcp))));
        for wrong in ["0", "x", "70000", "53/quic", ""] {
            assert!(private_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_address_stands_alone_and_several_are_a_list() {
        let (a, b) = (row("d-1", 53, Protocol::Udp, "127.0.0.8:53"), row("d-2", 8081, Protocol::Tcp, "127.0.0.8:8081"));
        assert_eq!(shown(&[&a, &b], true, false), "127.0.0.8:53\n");
        assert_eq!(shown(&[&a, &b], false, false), "53/udp -> 127.0.0.8:53\n8081/tcp -> 127.0.0.8:8081\n");
        assert_eq!(shown(&[&a], false, true), "d-1 53/udp -> 127.0.0.8:53\n");
    }

    #[test]
    fn what_is_not_published_is_said_with_what_leads_there() {
        let told = |ports: &ServicePorts, wanted| {
            let error = unpublished("dns", ports, wanted);
            let hints = error.hints.iter().map(|hint| hint.text(&Invocation::default()));
            std::iter::once(error.message.clone()).chain(hints).collect::<Vec<_>>()
        };
        let published =
            ServicePorts { rows: vec![row("d-1", 53, Protocol::Udp, "127.0.0.8:53")], ..Default::default() };
        assert_eq!(
            told(&published, Some((53, Protocol::Tcp))),
            ["dns does not publish its port 53/tcp", "it publishes 53/udp"]
        );
        let page = ServicePorts { urls: vec!["https://dns.macula.local".into()], ..Default::default() };
        assert_eq!(
            told(&page, None)[..2],
            ["dns publishes no port on this machine", "its page is https://dns.macula.local"]
        );
        assert!(told(&ServicePorts::default(), None)[1].starts_with("other services reach it as dns"));
    }
}
