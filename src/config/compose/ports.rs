//! `ports`: `[[address:]published:]target[/protocol]`, with ranges.

use super::short::map;
use crate::config::yaml::{Node, Report, Shaper, Span, Value, parse_address};
use crate::model::{Protocol, PublishedPort};

const HELP: &str = "write \"8080:80\", \"127.0.0.1:8080:80\" or \"8080:80/udp\"";

/// More than this nobody publishes, and an engine starts a program for each.
const MANY: usize = 10_000;

/// Short ports as long ones; a range becomes as many as it has.
pub(super) fn expand(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let text = match &item.value {
            Value::Int(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            _ => {
                if item.get_text("mode") == Some("host") && !shaper.report.orchestrated {
                    shaper.within(format!("[{index}]"), |shaper| {
                        shaper.warn(item.span, "macula does nothing with `mode: host`", "it is for Swarm");
                    });
                }
                out.push(item);
                continue;
            }
        };
        shaper.within(format!("[{index}]"), |shaper| out.extend(short(&text, item.span, shaper).unwrap_or_default()));
        if out.len() > MANY {
            return shaper.wrong(
                item.span,
                format!("more than {MANY} ports are published"),
                "give the service a network of its own, or `network_mode: host`",
            );
        }
    }
    Some(Node { value: Value::List(out), ..node })
}

fn short(text: &str, span: Span, shaper: &mut Shaper<'_>) -> Option<Vec<Node>> {
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return shaper.wrong(span, format!("`{protocol}` is not a protocol that ports can have"), "tcp, udp or sctp");
    }
    let (address, published, target) = split(rest);
    if address.is_some_and(|address| !address.is_empty() && parse_address(address).is_none()) {
        return shaper.wrong(span, format!("`{}` is not a valid address", address.unwrap_or_default()), HELP);
    }
    let Some((first, last)) = range(target) else {
        return shaper.wrong(span, format!("`{text}` is not a valid port: `{target}` is not from 1 to 65535"), HELP);
    };
    let any_free = published == Some("0");
    let published = match published {
        None | Some("" | "0") => None,
        Some(published) => match range(published) {
            Some(range) => Some(range),
            None => {
                return shaper.wrong(
                    span,
                    format!("`{text}` is not a valid port: `{published}` is not from 1 to 65535"),
                    HELP,
                );
            }
        },
    };
    if let Some((low, high)) = published
        && high - low != last - first
        && first != last
    {
        return shaper.wrong(span, format!("the ranges in `{text}` differ in length"), "make them equally long");
    }
    let host_ip = address
        .filter(|address| !address.is_empty())
        .map(|address| address.trim_start_matches('[').trim_end_matches(']').to_owned());
    let mut ports = Vec::new();
    for target in first..=last {
        let published = published.map(|(low, high)| {
            if first == last && low != high { format!("{low}-{high}") } else { (low + (target - first)).to_string() }
        });
        let mut entries = vec![("mode", Value::Text("ingress".to_owned()))];
        entries.extend(host_ip.clone().map(|address| ("host_ip", Value::Text(address))));
        entries.push(("target", Value::Int(i64::from(target))));
        entries.extend(published.map(|port| ("published", Value::Text(port))));
        if any_free {
            entries.push(("published", Value::Text("0".to_owned())));
        }
        entries.push(("protocol", Value::Text(protocol.clone())));
        ports.push(map(span, entries));
    }
    // Compose sorts the ports of a range as texts
    ports.sort_by_key(|port| port.get_int("target").map(|target| target.to_string()));
    Some(ports)
}

/// Address, published and target of a short port. The address may be IPv6, in brackets or not.
fn split(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let Some((rest, target)) = text.rsplit_once(':') else { return (None, None, text) };
    match rest.rsplit_once(':') {
        Some((address, published)) => (Some(address), Some(published), target),
        None => (None, Some(rest), target),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
        None => port(text).map(|port| (port, port)),
    }
}

/// The check of `host_ip`.
pub(super) fn host_ip(text: &str) -> Option<(String, String)> {
    parse_address(text)
        .is_none()
        .then(|| (format!("`{text}` is not a valid address"), "for example 127.0.0.1".to_owned()))
}

/// The check of `published`.
pub(super) fn published(text: &str) -> Option<(String, String)> {
    // 0 and an empty text ask for any free port
    (!text.is_empty() && text != "0" && range(text).is_none()).then(|| {
        (format!("`{text}` is not a valid port"), "a number from 1 to 65535, or a range as 8000-8010".to_owned())
    })
}

/// The ports of a service, for the model.
pub(super) fn build(service: &Node) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for port in service.items("ports") {
        let Some(target) = port.get_int("target").and_then(|target| u16::try_from(target).ok()) else { continue };
        let published = port.get_text("published").and_then(range);
        ports.push(PublishedPort {
            target,
            protocol: protocol(port.get_text("protocol")),
            host_ip: port.get_text("host_ip").and_then(parse_address),
            published: published.map(|(first, _)| first),
            published_to: published.filter(|(first, last)| last > first).map(|(_, last)| last),
            host_mode: port.get_text("mode") == Some("host"),
            name: super::text(port, "name"),
            app_protocol: super::text(port, "app_protocol"),
        });
    }
    ports
}

/// The ports that `expose` names, ranges written out: those of TCP, and the others as `53/udp`.
pub(super) fn exposed(service: &Node, name: &str, report: &mut Report) -> (Vec<u16>, Vec<String>) {
    let (mut ports, mut others) = (Vec::new(), Vec::new());
    for node in service.items("expose") {
        let text = node.as_text().unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match (range(numbers), protocol.to_lowercase().as_str()) {
            (Some((first, last)), "tcp") => ports.extend(first..=last),
            (Some((first, last)), protocol @ ("udp" | "sctp")) => {
                others.extend((first..=last).map(|port| format!("{port}/{protocol}")));
            }
            _ => report.error_help(
                node.span,
                format!("services.{name}.expose: `{text}` is not a valid port"),
                "write a number from 1 to 65535, followed by /udp if it is not a TCP port",
            ),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    others.sort_unstable();
    others.dedup();
    (ports, others)
}

fn protocol(text: Option<&str>) -> Protocol {
    match text {
        Some("udp") => Protocol::Udp,
        Some("sctp") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_from_1_to_65535_and_a_range_rises() {
        for (text, expected) in [
            ("1", Some((1, 1))),
            ("65535", Some((65535, 65535))),
            ("80-81", Some((80, 81))),
            ("80-80", Some((80, 80))),
            ("81-80", None),
            ("0", None),
            ("0-5", None),
            ("65536", None),
            ("80-", None),
            ("80-81-82", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(range(text), expected, "{text}");
            // any free port is wanted there
            let right = expected.is_some() || ["", "0"].contains(&text);
            assert_eq!(published(text).is_none(), right, "{text}");
        }
        let right = ["127.0.0.1", "::1", "", "localhost"].map(|text| host_ip(text).is_none());
        assert_eq!(right, [true, true, false, false]);
    }

    #[test]
    fn a_short_port_has_one_to_three_parts() {
        for (text, parts) in [
            ("80", (None, None, "80")),
            ("8080:80", (None, Some("8080"), "80")),
            (":80", (None, Some(""), "80")),
            ("127.0.0.1:8080:80", (Some("127.0.0.1"), Some("8080"), "80")),
            ("127.0.0.1::80", (Some("127.0.0.1"), Some(""), "80")),
            ("[::1]:8080:80", (Some("[::1]"), Some("8080"), "80")),
            ("::1:8080:80", (Some("::1"), Some("8080"), "80")),
        ] {
            assert_eq!(split(text), parts, "{text}");
        }
    }
}
