//! The files that libc goes by, read for what concerns our names. And proxy variables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::evidence::Files;
use crate::host::Host;

/// Reads them. What is not there says nothing.
pub async fn look(host: &dyn Host, domain: &str) -> Files {
    let read = async |path: &str| match host.read(Path::new(path)).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    };
    Files {
        nsswitch: nsswitch(&read("/etc/nsswitch.conf").await),
        mdns_allow: host.exists(Path::new("/etc/mdns.allow")).await,
        servers: servers(&read("/etc/resolv.conf").await),
        hosts: hosts(&read("/etc/hosts").await, domain),
    }
}

/// nsswitch.conf(5): the words behind `hosts:`.
fn nsswitch(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| plain(line).strip_prefix("hosts:"));
    line.map(|words| words.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
}

/// resolv.conf(5)
fn servers(text: &str) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver") {
            // an address of a link has its interface behind a %
            all.extend(words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok()));
        }
    }
    all
}

/// hosts(5): the names at and below the domain.
fn hosts(text: &str, domain: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let mut all: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = plain(line).split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words.map(|name| name.trim_end_matches('.').to_ascii_lowercase()) {
            if name == domain || name.ends_with(&format!(".{domain}")) {
                all.entry(name).or_default().push(address);
            }
        }
    }
    all
}

fn plain(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// The variable that sends a program's requests for this name through a proxy, with its value; none
/// where `no_proxy` keeps it out. As curl reads them, which most others follow.
pub fn proxy_for(environment: &BTreeMap<String, String>, name: &str) -> Option<(String, String)> {
    let get = |key: &str| environment.get(key).filter(|value| !value.trim().is_empty());
    let no_proxy = get("no_proxy").or_else(|| get("NO_PROXY")).map(String::as_str).unwrap_or_default();
    let kept_out = no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let suffix = entry.trim_start_matches('.').to_ascii_lowercase();
        entry == "*" || name == suffix || name.ends_with(&format!(".{suffix}"))
    });
    if kept_out {
        return None;
    }
    // HTTP_PROXY in capitals is ignored by curl: a CGI script's client could set it
    let variables = ["https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
    variables.iter().find_map(|key| get(key).map(|value| ((*key).to_owned(), value.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nsswitch_keeps_actions() {
        let text = "# x\npasswd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] dns # y\n";
        assert_eq!(nsswitch(text), ["files", "mdns4_minimal", "[NOTFOUND=return]", "dns"]);
        assert!(nsswitch("passwd: files\n").is_empty());
    }

    #[test]
    fn name_servers_and_hosts() {
        let text = "search x\nnameserver 127.0.0.9\n nameserver fe80::1%eth0\n#nameserver 9.9.9.9\nnameserver x\n";
        assert_eq!(servers(text), ["127.0.0.9".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        let text = "127.0.0.1 localhost\n10.0.0.7 Grafana.macula.local. a.xmacula.local # b.macula.local\n";
        let found = hosts(text, "macula.local");
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["grafana.macula.local"]);
        let text = "127.0.0.1 macula.local a.macula.local\nnonsense b.macula.local\n::1\ta.macula.local\n";
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let expected = [("a.macula.local", all(&["127.0.0.1", "::1"])), ("macula.local", all(&["127.0.0.1"]))];
        assert_eq!(hosts(text, "macula.local"), expected.map(|(name, found)| (name.to_owned(), found)).into());
    }

    #[test]
    fn a_proxy_counts_unless_the_name_is_kept_out() {
        let with = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            proxy_for(&all, "grafana.macula.local").map(|(variable, _)| variable)
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("https_proxy", "http://p:1")]).as_deref(), Some("https_proxy"));
        assert_eq!(with(&[("HTTP_PROXY", "http://p:1")]), None);
        // the first of them that says something, in this order
        let order = ["https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
        for (at, first) in order.iter().enumerate() {
            let mut all: Vec<(&str, &str)> = order.iter().skip(at).map(|key| (*key, "http://p:1")).collect();
            all.extend(order.iter().take(at).map(|key| (*key, " ")));
            assert_eq!(with(&all).as_deref(), Some(*first));
        }
        let padded = [("http_proxy".to_owned(), " http://p:1 ".to_owned())].into();
        let trimmed = ("http_proxy".to_owned(), "http://p:1".to_owned());
        assert_eq!(proxy_for(&padded, "grafana.macula.local"), Some(trimmed));
        // what is written small comes first
        let both = [("all_proxy", "http://p:1"), ("no_proxy", "other"), ("NO_PROXY", "*")];
        assert_eq!(with(&both).as_deref(), Some("all_proxy"));
        for kept in ["*", "macula.local", ".macula.local", "x, local", "grafana.macula.local"] {
            assert_eq!(with(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", kept)]), None, "{kept}");
        }
        for not_kept in ["acula.local", "127.0.0.1", "postgres.macula.local"] {
            let found = with(&[("all_proxy", "http://p:1"), ("no_proxy", not_kept)]);
            assert_eq!(found.as_deref(), Some("all_proxy"), "{not_kept}");
        }
    }
}
