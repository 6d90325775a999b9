//! What the rules of iptables do with a packet, as far as they can be read. Pure: from the text of
//! `iptables -S` to a fate.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The first packet of a TCP connection that no rule has redirected.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The interfaces that it comes in and goes out by.
    pub from: &'a str,
    pub to: &'a str,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub port: u16,
}

/// Where the walk through a chain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// `ACCEPT`, `DROP`, `MASQUERADE`, ...
    pub target: String,
    /// The rule that says so, or the chain's policy.
    pub rule: String,
}

impl Fate {
    pub fn drops(&self) -> bool {
        matches!(self.target.as_str(), "DROP" | "REJECT")
    }
}

/// What the chain does with the packet; `None`: it has no rule for it, and no policy.
pub fn fate(rules: &str, chain: &str, packet: Packet<'_>) -> Option<Fate> {
    let policy = || {
        let start = format!("-P {chain} ");
        let line = rules.lines().find(|line| line.starts_with(&start))?;
        Some(Fate { target: line.get(start.len()..)?.trim().to_owned(), rule: line.to_owned() })
    };
    walk(rules, chain, packet, DEPTH).or_else(policy)
}

/// Chains that jump in a circle are refused by the kernel; a text may say anything.
const DEPTH: usize = 16;

fn walk(rules: &str, chain: &str, packet: Packet<'_>, depth: usize) -> Option<Fate> {
    let start = format!("-A {chain} ");
    for line in rules.lines().filter(|line| line.starts_with(&start)) {
        let Some(target) = line.get(start.len()..).and_then(|rule| matching(rule, packet)) else { continue };
        match target {
            "RETURN" => return None,
            "ACCEPT" | "DROP" | "REJECT" | "MASQUERADE" | "SNAT" | "DNAT" | "REDIRECT" | "NETMAP" => {
                return Some(Fate { target: target.to_owned(), rule: line.to_owned() });
            }
            // a chain of its own, or something like LOG that lets the packet go on
            other => {
                let inner = depth.checked_sub(1).and_then(|depth| walk(rules, other, packet, depth));
                if inner.is_some() {
                    return inner;
                }
            }
        }
    }
    None
}

/// The target of the rule if it takes the packet. A condition that is not known here takes nothing: a rule
/// for certain packets says little of any other.
fn matching<'r>(rule: &'r str, packet: Packet<'_>) -> Option<&'r str> {
    let mut words = words(rule).into_iter();
    let mut target = None;
    let mut negated = false;
    while let Some(word) = words.next() {
        let holds = match word {
            "!" => {
                negated = true;
                continue;
            }
            "-j" | "-g" => {
                target = words.next();
                continue;
            }
            "-i" => interface(words.next()?, packet.from),
            "-o" => interface(words.next()?, packet.to),
            "-s" => covers(words.next()?, packet.source),
            "-d" => covers(words.next()?, packet.destination),
            "-p" => matches!(words.next()?, "tcp" | "all"),
            "--dport" => words.next()? == packet.port.to_string(),
            "--ctstate" | "--state" => words.next()?.split(',').any(|state| state == "NEW"),
            // a module alone is no condition
            "-m" | "--comment" => {
                words.next();
                continue;
            }
            // options of the target
            "--reject-with" | "--to-source" | "--to-destination" | "--to-ports" => {
                words.next();
                continue;
            }
            "--random" | "--random-fully" | "--persistent" => continue,
            _ => return None,
        };
        if holds == std::mem::take(&mut negated) {
            return None;
        }
    }
    target
}

fn interface(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn covers(network: &str, address: Ipv4Addr) -> bool {
    let network = network.parse::<Ipv4Net>().or_else(|_| network.parse::<Ipv4Addr>().map(Ipv4Net::from));
    network.is_ok_and(|network| network.contains(&address))
}

/// Words with spaces between them; those in quotation marks (comments) are one.
fn words(rule: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = rule.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        found.push(word);
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker 20.10 writes them.
    const FILTER: &str = "\
-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-1 -j DOCKER
-A FORWARD -i br-1 ! -o br-1 -j ACCEPT
-A FORWARD -i br-1 -o br-1 -j ACCEPT
-A DOCKER -d 10.222.7.5/32 ! -i br-1 -o br-1 -p tcp -m tcp --dport 5000 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br-1 ! -o br-1 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o br-2 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
";

    fn packet<'a>(from: &'a str, to: &'a str, port: u16) -> Packet<'a> {
        let (source, destination) = (Ipv4Addr::new(10, 222, 7, 9), Ipv4Addr::new(10, 222, 7, 5));
        Packet { from, to, source, destination, port }
    }

    #[test]
    fn docker_s_own_rules_are_followed() {
        let of = |from, to, port| fate(FILTER, "FORWARD", packet(from, to, port)).unwrap();
        assert_eq!(of("br-1", "eth0", 443).rule, "-A FORWARD -i br-1 ! -o br-1 -j ACCEPT");
        assert_eq!(of("br-1", "br-1", 443).rule, "-A FORWARD -i br-1 -o br-1 -j ACCEPT");
        assert_eq!(of("br-1", "br-2", 443).rule, "-A DOCKER-ISOLATION-STAGE-2 -o br-2 -j DROP");
        // a neighbor's packet to a port that is published on loopback alone
        assert_eq!(of("eth0", "br-1", 5000).target, "ACCEPT");
        assert_eq!(of("eth0", "br-1", 5432).rule, "-P FORWARD DROP");
    }

    #[test]
    fn rules_of_others_in_front_count() {
        let closed = FILTER.replace(
            "-A DOCKER-USER -j RETURN",
            "-A DOCKER-USER -i eth0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        );
        assert!(fate(&closed, "FORWARD", packet("eth0", "br-1", 5000)).unwrap().drops());
        let firewall = "-P FORWARD ACCEPT\n-A FORWARD -m comment --comment \"no way -j ACCEPT\" -j REJECT --reject-with icmp-port-unreachable\n";
        assert!(fate(firewall, "FORWARD", packet("br-1", "eth0", 1)).unwrap().drops());
        // a rule for other packets only
        let marked = "-P FORWARD ACCEPT\n-A FORWARD -m mark --mark 0x1 -j DROP\n";
        assert!(!fate(marked, "FORWARD", packet("br-1", "eth0", 1)).unwrap().drops());
        assert_eq!(fate("-A FORWARD -j FORWARD\n", "FORWARD", packet("a", "b", 1)), None);
    }

    #[test]
    fn a_rule_takes_the_packets_that_all_of_its_conditions_fit() {
        let packet = packet("br-1", "eth0", 443);
        for (rule, target) in [
            ("-j ACCEPT", Some("ACCEPT")),
            ("-g OWN", Some("OWN")),
            ("-i br-1 -j DROP", Some("DROP")),
            ("-i br-+ -j DROP", Some("DROP")),
            ("-i br- -j DROP", None),
            ("-i eth0 -j DROP", None),
            ("! -i eth0 -j DROP", Some("DROP")),
            ("! -i br-1 -j DROP", None),
            ("-o eth+ -j DROP", Some("DROP")),
            ("-o br-1 -j DROP", None),
            ("-s 10.222.7.9 -j DROP", Some("DROP")),
            ("-s 10.222.7.8/31 -j DROP", Some("DROP")),
            ("-s 10.222.7.5/32 -j DROP", None),
            ("-d 10.222.7.5/32 -j DROP", Some("DROP")),
            ("-d 10.222.7.9/32 -j DROP", None),
            ("-d nowhere -j DROP", None),
            ("-p tcp -j DROP", Some("DROP")),
            ("-p all -j DROP", Some("DROP")),
            ("-p udp -j DROP", None),
            ("! -p udp -j DROP", Some("DROP")),
            ("-p tcp -m tcp --dport 443 -j DROP", Some("DROP")),
            ("-p tcp -m tcp --dport 44 -j DROP", None),
            ("-p tcp -m tcp ! --dport 44 -j DROP", Some("DROP")),
            ("-i br-1 ! -o eth0 -p tcp -j DROP", None),
            ("! -i eth0 -o br-1 -j DROP", None),
            ("-m conntrack --ctstate NEW,ESTABLISHED -j DROP", Some("DROP")),
            ("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP", None),
            ("-m state --state NEW -j DROP", Some("DROP")),
            ("-m comment --comment \"! -i br-1 -j ACCEPT\" -j DROP", Some("DROP")),
            ("-j REJECT --reject-with icmp-port-unreachable", Some("REJECT")),
            ("-j SNAT --to-source 192.0.2.7 --random --persistent", Some("SNAT")),
            ("-j MASQUERADE --to-ports 1024-65535 --random-fully", Some("MASQUERADE")),
            ("-j DNAT --to-destination 10.0.0.1:80", Some("DNAT")),
            // what is not known here, and what is cut off
            ("-m mark --mark 0x1 -j DROP", None),
            ("-j DROP -i", None),
            ("-i br-1", None),
        ] {
            assert_eq!(matching(rule, packet), target, "{rule}");
        }
    }

    #[test]
    fn a_target_ends_the_way_or_lets_the_packet_go_on() {
        let of = |target: &str| {
            let rules = format!("-P FORWARD ACCEPT\n-A FORWARD -j {target}\n-A FORWARD -i br-1 -j DROP\n");
            fate(&rules, "FORWARD", packet("br-1", "eth0", 443)).unwrap()
        };
        for target in ["ACCEPT", "DROP", "REJECT", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"] {
            let rule = format!("-A FORWARD -j {target}");
            let drops = ["DROP", "REJECT"].contains(&target);
            assert_eq!((of(target).drops(), of(target)), (drops, Fate { target: target.to_owned(), rule }));
        }
        assert_eq!(of("LOG").rule, "-A FORWARD -i br-1 -j DROP");
        assert_eq!(of("RETURN").rule, "-P FORWARD ACCEPT");
        // a chain of its own that says nothing of it
        assert_eq!(fate("-A FORWARD -j OWN\n-A OWN -i br-2 -j DROP\n", "FORWARD", packet("br-1", "eth0", 443)), None);
    }

    #[test]
    fn masquerading_is_found() {
        let nat = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n-A POSTROUTING -s 10.222.7.0/24 ! -o br-1 -j MASQUERADE\n";
        assert_eq!(fate(nat, "POSTROUTING", packet("br-1", "eth0", 1)).unwrap().target, "MASQUERADE");
        assert_eq!(fate(nat, "POSTROUTING", packet("br-1", "br-1", 1)).unwrap().target, "ACCEPT");
    }
}
