//! What files and programs of the system say of its name servers.

use std::net::SocketAddr;

use super::super::wire::Name;
use super::address::Reader;
use super::upstream::{Route, Upstreams};

/// The servers of a resolv.conf (resolv.conf(5)).
pub(super) fn parse_resolv_conf(text: &str, reader: &mut Reader<'_>) -> Vec<SocketAddr> {
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or(""));
    let named = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    named.filter_map(|word| reader.take(word)).collect()
}

/// `Link 2 (eth0): a b` -> ("2", ["a", "b"]); `Global: a` -> ("", ["a"]); `Delegate corp: a` -> ("Delegate corp", ["a"]).
/// Servers that do not fit stand on lines of their own below, indented.
fn links(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut links: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if line.starts_with(char::is_whitespace) {
            if let Some((_, words)) = links.last_mut() {
                words.extend(line.split_whitespace());
            }
            continue;
        }
        let link = line.strip_prefix("Link ").and_then(|rest| {
            let (number, rest) = rest.split_once(' ')?;
            let (_, rest) = rest.split_once("):")?;
            Some((number, rest))
        });
        let global = || line.strip_prefix("Global:").map(|rest| ("", rest));
        let head = link.or_else(global).or_else(|| line.split_once(':'));
        links.extend(head.map(|(link, rest)| (link, rest.split_whitespace().collect())));
    }
    links
}

pub(super) fn parse_resolvectl(
    [dns, domains, default_route]: &[String; 3],
    own: &[SocketAddr],
    reader: &mut Reader<'_>,
) -> Upstreams {
    let mut found = Upstreams::default();
    let mut of_everything = Vec::new();
    let domains = links(domains);
    let default_route = links(default_route);
    let word = |list: &[(&str, Vec<&str>)], link: &str| {
        list.iter().find(|(known, _)| *known == link).and_then(|(_, words)| words.first().map(|word| *word == "yes"))
    };
    for (link, words) in links(dns) {
        let mut servers: Vec<SocketAddr> = words.into_iter().filter_map(|word| reader.take(word)).collect();
        servers.retain(|server| !own.contains(server));
        let names = domains.iter().find(|(known, _)| *known == link).map(|(_, names)| names.as_slice()).unwrap_or(&[]);
        let everything = names.contains(&"~.");
        for name in names.iter().filter_map(|name| Name::parse(name.trim_start_matches('~')).ok()) {
            if !name.is_root() && !servers.is_empty() && !link.is_empty() {
                found.routes.push(Route { domain: name, servers: servers.clone() });
            }
        }
        if everything {
            of_everything.extend(servers);
        // a delegate has its domains, and all names only where it says so
        } else if link.is_empty() || word(&default_route, link).unwrap_or(!link.starts_with("Delegate ")) {
            found.default.extend(servers);
        }
    }
    // a link that asks for all names (a VPN) gets them all: others would hear its names, and deny them
    if !of_everything.is_empty() {
        found.default = of_everything;
    }
    found
}

/// Blocks of `IP4.DNS[1]:192.0.2.1`; a colon in a value is escaped. `listed`: all servers, in NetworkManager's own order:
/// a VPN's before the others', or alone.
pub(super) fn parse_nmcli(text: &str, listed: Vec<SocketAddr>, reader: &mut Reader<'_>) -> Upstreams {
    let mut found = Upstreams::default();
    let mut devices: Vec<(bool, Vec<SocketAddr>, Vec<Name>)> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.replace('\\', "");
        if key == "GENERAL.DEVICE" {
            devices.push((false, Vec::new(), Vec::new()));
        }
        let Some((gateway, servers, domains)) = devices.last_mut() else { continue };
        match key.split('[').next().unwrap_or(key) {
            "IP4.GATEWAY" | "IP6.GATEWAY" => *gateway |= !value.is_empty(),
            "IP4.DNS" | "IP6.DNS" => servers.extend(reader.take(&value)),
            "IP4.DOMAIN" | "IP6.DOMAIN" | "IP4.SEARCHES" | "IP6.SEARCHES" => {
                let domain = Name::parse(value.trim_start_matches('~')).ok();
                domains.extend(domain.filter(|domain| !domain.is_root()));
            }
            _ => {}
        }
    }
    let mut of_everything: Vec<SocketAddr> = Vec::new();
    for (gateway, servers, domains) in devices {
        if gateway || domains.is_empty() {
            of_everything.extend(servers);
            continue;
        }
        // a VPN that only carries its own networks
        for domain in domains.into_iter().filter(|_| !servers.is_empty()) {
            found.routes.push(Route { domain, servers: servers.clone() });
        }
    }
    let apart = |server: &SocketAddr| found.routes.iter().any(|route| route.servers.contains(server));
    let kept = listed.iter().filter(|&server| of_everything.contains(server) || !apart(server));
    let kept: Vec<SocketAddr> = kept.copied().collect();
    found.default = if kept.is_empty() { listed } else { kept };
    found
}

pub(super) fn parse_scutil(text: &str, reader: &mut Reader<'_>) -> Upstreams {
    let mut found = Upstreams::default();
    // the second half repeats the servers by interface
    let text = text.split("DNS configuration (for scoped queries)").next().unwrap_or(text);
    for block in text.split("resolver #").skip(1) {
        let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
        let lines = || block.lines().map(str::trim);
        if lines().any(|line| line.starts_with("options") && line.contains("mdns")) {
            continue;
        }
        let port = lines().find(|line| line.starts_with("port")).and_then(value).and_then(|text| text.parse().ok());
        let servers: Vec<SocketAddr> = lines()
            .filter(|line| line.starts_with("nameserver["))
            .filter_map(value)
            .filter_map(|text| reader.take(&text))
            .map(|address| SocketAddr::new(address.ip(), port.unwrap_or(address.port())))
            .collect();
        if servers.is_empty() {
            continue;
        }
        match lines().find(|line| line.starts_with("domain ")).and_then(value) {
            None => found.default.extend(servers),
            Some(domain) => {
                found.routes.extend(Name::parse(&domain).ok().map(|domain| Route { domain, servers }));
            }
        }
    }
    found
}
