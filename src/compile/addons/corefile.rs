//! The configuration of the cluster's CoreDNS: kubeadm's own, and a server for the platform's zone.

use std::fmt::Write as _;

use super::AddOnInput;

/// Where names of the zone lead that nobody else owns: the Service of the cluster's ingress.
fn ingress_service(input: &AddOnInput) -> &'static str {
    match input.settings.ingress.as_str() {
        "traefik" => "traefik.traefik.svc.cluster.local.",
        _ => "ingress-nginx-controller.ingress-nginx.svc.cluster.local.",
    }
}

/// Seconds. As long as the resolver's own answers.
const TTL: u32 = crate::model::DEFAULT_TTL;

/// The Corefile. The part for the zone asks nobody: it works while the resolver is down, and where a
/// firewall keeps pods from it. docs/decisions/cluster-add-ons.md says why.
pub fn corefile(input: &AddOnInput) -> String {
    let mut text = String::new();
    let domain = &input.domain;
    // a template that matches nothing hands on to the next one; the last matches everything
    let _ = writeln!(text, "{domain}:53 {{\n    errors");
    let addresses = input
        .records
        .iter()
        .filter(|(_, address)| !address.is_loopback())
        .map(|(name, address)| (vec![name.as_str()], *address));
    let own: Vec<&str> = input.names.iter().map(String::as_str).collect();
    let groups = [(own, input.ingress_address)].into_iter().chain(addresses);
    for (names, address) in groups.filter(|(names, _)| !names.is_empty()) {
        for pattern in patterns(&names) {
            answer(&mut text, domain, "A", &pattern, &format!("A {address}"), true);
            nodata(&mut text, domain, &pattern);
        }
    }
    answer(&mut text, domain, "ANY", ".*", &format!("CNAME {}", ingress_service(input)), false);
    text.push_str("}\n");
    text.push_str(KUBEADM);
    text
}

/// Regular expressions that match these names; `*.s3.macula.local` stands for all names below
/// `s3.macula.local` (RFC 4592). CoreDNS takes 10,000 characters for one.
fn patterns(names: &[&str]) -> Vec<String> {
    const LONGEST: usize = 8000;
    let mut all = Vec::new();
    let mut current = String::new();
    for name in names {
        let plain = name.to_ascii_lowercase().replace('.', "[.]");
        let one = match plain.strip_prefix("*[.]") {
            Some(rest) => format!(".+[.]{rest}"),
            None => plain,
        };
        if !current.is_empty() && current.len() + one.len() > LONGEST {
            all.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push('|');
        }
        current.push_str(&one);
    }
    all.push(current);
    all.into_iter().map(|alternatives| format!("^(?:{alternatives})[.]$")).collect()
}

fn answer(text: &mut String, zone: &str, kind: &str, pattern: &str, data: &str, more: bool) {
    let _ = writeln!(text, "    template IN {kind} {zone} {{");
    let _ = writeln!(text, "        match \"{pattern}\"");
    let _ = writeln!(text, "        answer \"{{{{ .Name }}}} {TTL} IN {data}\"");
    if more {
        let _ = writeln!(text, "        fallthrough");
    }
    let _ = writeln!(text, "    }}");
}

/// Any other type of a name that has an address: there is none, and that may be kept (RFC 2308).
fn nodata(text: &mut String, zone: &str, pattern: &str) {
    let _ = writeln!(text, "    template IN ANY {zone} {{");
    let _ = writeln!(text, "        match \"{pattern}\"");
    let _ =
        writeln!(text, "        authority \"{zone}. {TTL} IN SOA ns.{zone}. hostmaster.{zone}. 1 60 10 3600 {TTL}\"");
    let _ = writeln!(text, "        fallthrough\n    }}");
}

/// What kubeadm 1.34 to 1.37 gives a cluster.
const KUBEADM: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";
