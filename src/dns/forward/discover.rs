//! Finding the machine's own servers: what there is to read, and what follows from it. Reading and
//! deciding are apart, so that the decision can be tested on any machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::address::Reader;
use super::parse::{parse_nmcli, parse_resolv_conf, parse_resolvectl, parse_scutil};
use super::upstream::{Route, Upstreams};
use crate::host::{Command, Host, Interest, listen};
use crate::model::Protocol;

/// systemd-resolved's list of the servers behind its stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// NetworkManager's list, when it runs a resolver of its own or resolved.
const NETWORK_MANAGER: &str = "/run/NetworkManager/no-stub-resolv.conf";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often the files are read again where the system does not tell of their changes, and how often the programs are
/// asked in any case (a VPN may change its domains without a change in any file).
const INTERVAL: Duration = Duration::from_secs(2);
const PROGRAMS_EVERY: Duration = Duration::from_secs(30);
const PROGRAM_WAIT: Duration = Duration::from_secs(3);

/// Where to look beside the usual places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Addresses of ours, which are never asked.
    pub own: Vec<SocketAddr>,
    /// Copies of a resolv.conf that was replaced by ours: what the machine asked before.
    pub former: Vec<PathBuf>,
}

/// What was read. Empty: not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub macos: bool,
    pub resolv_conf: String,
    pub resolved: String,
    pub network_manager: String,
    pub former: Vec<String>,
    /// `resolvectl dns`, `resolvectl domain`, `resolvectl default-route`.
    pub resolvectl: [String; 3],
    /// `nmcli --terse` over the devices.
    pub nmcli: String,
    /// `scutil --dns`
    pub scutil: String,
    /// Somebody answers on 127.0.0.1:53: whom the system asks where no server is named (resolv.conf(5)).
    /// Looked at only then.
    pub local_server: bool,
}

impl Machine {
    /// Reads the files. `macos`: what the machine is, which does not change.
    async fn files(host: &dyn Host, sources: &Sources, macos: bool) -> Self {
        let read = async |path: &Path| match host.read(path).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        let mut former = Vec::new();
        for path in &sources.former {
            former.push(read(path).await);
        }
        Self {
            macos,
            resolv_conf: read(Path::new(RESOLV_CONF)).await,
            resolved: read(Path::new(RESOLVED)).await,
            network_manager: read(Path::new(NETWORK_MANAGER)).await,
            former,
            ..Self::default()
        }
    }

    /// Asks the programs that know more than the files.
    async fn programs(&mut self, host: &dyn Host) {
        let run = async |program: &str, arguments: &[&str]| {
            if host.which(program).is_none() {
                return String::new();
            }
            let command = Command::new(program, arguments.iter().copied()).may_fail().timeout(PROGRAM_WAIT);
            host.run(&command).await.map(|output| output.stdout()).unwrap_or_default()
        };
        if self.macos {
            self.scutil = run("scutil", &["--dns"]).await;
            return;
        }
        if !self.resolved.is_empty() {
            self.resolvectl = [
                run("resolvectl", &["dns"]).await,
                run("resolvectl", &["domain"]).await,
                run("resolvectl", &["default-route"]).await,
            ];
        } else if !self.network_manager.is_empty() {
            // whole groups: an older one refuses a field that it does not know (SEARCHES)
            self.nmcli = run("nmcli", &["--terse", "--fields", "GENERAL,IP4,IP6", "device", "show"]).await;
        }
    }

    /// Whether the files are as they were.
    fn same_files(&self, other: &Self) -> bool {
        self.resolv_conf == other.resolv_conf
            && self.resolved == other.resolved
            && self.network_manager == other.network_manager
            && self.former == other.former
    }

    /// Which servers to ask for what. `interface`: the number of a network interface by its name.
    pub fn upstreams(&self, own: &[SocketAddr], interface: &dyn Fn(&str) -> Option<u32>) -> Upstreams {
        let mut reader = Reader::new(interface);
        let mut found = if self.macos {
            parse_scutil(&self.scutil, &mut reader)
        } else if !self.resolved.is_empty() {
            let mut found = parse_resolvectl(&self.resolvectl, own, &mut reader);
            if found.default.is_empty() {
                found.default = parse_resolv_conf(&self.resolved, &mut reader);
            }
            found
        } else {
            let listed = parse_resolv_conf(&self.network_manager, &mut reader);
            parse_nmcli(&self.nmcli, listed, &mut reader)
        };
        // what stands in resolv.conf while a local resolver is in front says nothing about who is
        // behind it; its own list does
        let files = [&self.network_manager, &self.resolv_conf].into_iter().chain(&self.former);
        for text in files {
            found.default.retain(|server| !own.contains(server));
            if !found.default.is_empty() {
                break;
            }
            found.default = parse_resolv_conf(text, &mut reader);
        }
        found.default.retain(|server| !own.contains(server));
        for route in &mut found.routes {
            route.servers.retain(|server| !own.contains(server));
        }
        found.routes = merged(found.routes);
        found.default = unique(found.default);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        // where that is ourselves each question would come back to us
        if found.default.is_empty() && self.local_server && !own.contains(&local) {
            found.default.push(local);
        }
        found.dropped = reader.dropped;
        found
    }
}

/// One for each domain. Of two links with the same one, the later goes before: a VPN's comes after the LAN's.
fn merged(routes: Vec<Route>) -> Vec<Route> {
    let mut merged: Vec<Route> = Vec::with_capacity(routes.len());
    for route in routes.into_iter().filter(|route| !route.servers.is_empty()) {
        match merged.iter_mut().find(|known| known.domain == route.domain) {
            Some(known) => known.servers = unique([route.servers, std::mem::take(&mut known.servers)].concat()),
            None => merged.push(Route { servers: unique(route.servers), ..route }),
        }
    }
    merged
}

fn unique(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut kept = Vec::with_capacity(servers.len());
    for server in servers {
        if !kept.contains(&server) {
            kept.push(server);
        }
    }
    kept
}

/// Looks once.
pub async fn discover(host: &dyn Host, sources: &Sources) -> Upstreams {
    let mut machine = Machine::files(host, sources, is_macos(host)).await;
    machine.programs(host).await;
    settle(host, &mut machine, &sources.own).await
}

fn is_macos(host: &dyn Host) -> bool {
    host.facts().os == "macos"
}

/// Decides, and looks for a server on this machine where the system names none.
async fn settle(host: &dyn Host, machine: &mut Machine, own: &[SocketAddr]) -> Upstreams {
    let interface = |name: &str| host.interface_index(name);
    let found = machine.upstreams(own, &interface);
    if !found.default.is_empty() || machine.macos {
        return found;
    }
    let listeners = host.listeners().await.unwrap_or_default();
    machine.local_server = listeners.iter().any(|listener| {
        let everywhere = listener.address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let here = everywhere || listener.address == IpAddr::V4(Ipv4Addr::LOCALHOST);
        here && listener.port == 53 && listener.protocol == Protocol::Udp
    });
    if machine.local_server { machine.upstreams(own, &interface) } else { found }
}

/// Looks now, and again for as long as the returned future is run: the receiver is told changes.
pub async fn follow(
    host: Arc<dyn Host>,
    sources: Sources,
) -> (watch::Receiver<Upstreams>, impl Future<Output = ()> + Send) {
    let macos = is_macos(&*host);
    let mut machine = Machine::files(&*host, &sources, macos).await;
    machine.programs(&*host).await;
    let (sender, receiver) = watch::channel(settle(&*host, &mut machine, &sources.own).await);
    let named = [RESOLV_CONF, RESOLVED, NETWORK_MANAGER].map(PathBuf::from);
    let files: Vec<Interest> = named.into_iter().chain(sources.former.clone()).map(Interest::File).collect();
    let all = move || -> BoxFuture<'static, Vec<Interest>> { Box::pin(std::future::ready(files.clone())) };
    let (mut word, listening) = listen(Arc::clone(&host), Box::new(all));
    let look = async move {
        let mut asked = Instant::now();
        while !sender.is_closed() {
            word.wait(INTERVAL, PROGRAMS_EVERY).await;
            let mut next = Machine::files(&*host, &sources, macos).await;
            if next.same_files(&machine) && asked.elapsed() < PROGRAMS_EVERY {
                continue;
            }
            asked = Instant::now();
            next.programs(&*host).await;
            let upstreams = settle(&*host, &mut next, &sources.own).await;
            machine = next;
            sender.send_if_modified(|current| {
                let changed = *current != upstreams;
                if changed {
                    *current = upstreams;
                }
                changed
            });
        }
    };
    // what listens may end by itself, and is of no use without who looks
    let task = async move {
        tokio::select! {
            () = look => {}
            () = async { listening.await; std::future::pending().await } => {}
        }
    };
    (receiver, task)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn shown(machine: &Machine, own: &[&str]) -> String {
        let own: Vec<SocketAddr> = own.iter().map(|address| address.parse().unwrap()).collect();
        let upstreams = machine.upstreams(&own, &|name| (name == "eth0").then_some(2));
        let list = |servers: &[SocketAddr]| servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut text = format!("default: {}\n", list(&upstreams.default));
        for route in &upstreams.routes {
            text.push_str(&format!("{}: {}\n", route.domain, list(&route.servers)));
        }
        for dropped in &upstreams.dropped {
            text.push_str(&format!("dropped {dropped}\n"));
        }
        text
    }

    #[test]
    fn a_plain_resolv_conf() {
        let resolv_conf = "# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # home\nnameserver fe80::1%3\n\
                           nameserver fe80::1%eth0\nnameserver fe80::1%eth9\nnameserver 10.1\nnameserver bad\nsearch old\nsearch corp.local home.example\n";
        let machine = Machine { resolv_conf: resolv_conf.to_owned(), ..Machine::default() };
        assert_snapshot!(shown(&machine, &[]), @r#"
    default: 192.0.2.1:53 [2001:db8::1]:53 [fe80::1%3]:53 [fe80::1%2]:53 10.0.0.1:53
    dropped fe80::1%eth9 (no network interface has this name)
    dropped bad (not an address)
    "#);
        assert!(machine.same_files(&machine.clone()));
        assert!(!machine.same_files(&Machine::default()));
    }

    #[test]
    fn we_are_never_asked_and_the_former_file_is() {
        let machine = Machine {
            resolv_conf: "nameserver 127.0.0.9\n".to_owned(),
            former: vec!["nameserver 127.0.0.9\n".to_owned(), "nameserver 192.0.2.1\n".to_owned()],
            ..Machine::default()
        };
        assert_snapshot!(shown(&machine, &["127.0.0.9:53"]), @r#"default: 192.0.2.1:53"#);
    }

    #[test]
    fn without_a_name_server_the_one_on_this_machine_is_asked_if_there_is_one() {
        let empty = Machine { resolv_conf: "search home.example\n".to_owned(), ..Machine::default() };
        assert_snapshot!(shown(&empty, &[]), @"default:");
        let local = Machine { local_server: true, ..empty };
        assert_snapshot!(shown(&local, &[]), @"default: 127.0.0.1:53");
        // it is ourselves
        assert_snapshot!(shown(&local, &["127.0.0.1:53"]), @"default:");
    }

    #[test]
    fn systemd_resolved_with_a_vpn() {
        let machine = Machine {
            resolv_conf: "nameserver 127.0.0.53\nsearch home.example\n".to_owned(),
            resolved: "nameserver 192.0.2.1\nnameserver 10.8.0.1\n".to_owned(),
            resolvectl: [
                "Global: 127.0.0.9:5335\nLink 2 (eth0): 192.0.2.1 2001:db8::53\n                fe80::1%2\nLink 3 (docker0):\nLink 7 (tun0): 10.8.0.1#vpn.example\n".to_owned(),
                "Global:\nLink 2 (eth0): home.example\nLink 3 (docker0):\nLink 7 (tun0): corp.local ~internal.example\n".to_owned(),
                "Link 2 (eth0): yes\nLink 3 (docker0): no\nLink 7 (tun0): no\n".to_owned(),
            ],
            ..Machine::default()
        };
        assert_snapshot!(shown(&machine, &["127.0.0.9:5335"]), @r#"
    default: 192.0.2.1:53 [2001:db8::53]:53 [fe80::1%2]:53
    home.example: 192.0.2.1:53 [2001:db8::53]:53 [fe80::1%2]:53
    corp.local: 10.8.0.1:53
    internal.example: 10.8.0.1:53
    "#);
        let mut all = machine.clone();
        all.resolvectl[1] = "Link 7 (tun0): ~.\n".to_owned();
        assert_snapshot!(shown(&all, &["127.0.0.9:5335"]), @"default: 10.8.0.1:53");
        // the link that asks for all names is ours alone: others go on
        all.resolvectl[1] = "Global: ~.\n".to_owned();
        assert_snapshot!(shown(&all, &["127.0.0.9:5335"]), @"default: 192.0.2.1:53 [2001:db8::53]:53 [fe80::1%2]:53");
        // an older resolvectl, or none: the file says enough for names at large
        let bare = Machine { resolvectl: Default::default(), ..machine };
        assert_snapshot!(shown(&bare, &[]), @r#"default: 192.0.2.1:53 10.8.0.1:53"#);
    }

    #[test]
    fn systemd_resolved_with_delegates() {
        let machine = Machine {
            resolv_conf: "nameserver 127.0.0.53\n".to_owned(),
            resolved: "nameserver 192.0.2.1\n".to_owned(),
            resolvectl: [
                "Global:\nLink 2 (eth0): 192.0.2.1\nDelegate macula: 127.0.0.9:5335\nDelegate corp: 10.1.0.1\n               10.1.0.2\n".to_owned(),
                "Global:\nLink 2 (eth0): home.example\nDelegate macula: ~macula.local\nDelegate corp: ~corp.internal\n".to_owned(),
                "Link 2 (eth0): yes\nDelegate macula: no\nDelegate corp: no\n".to_owned(),
            ],
            ..Machine::default()
        };
        let expected = "default: 192.0.2.1:53\nhome.example: 192.0.2.1:53\ncorp.internal: 10.1.0.1:53 10.1.0.2:53\n";
        assert_eq!(shown(&machine, &["127.0.0.9:5335"]), expected);
        let mut silent = machine.clone();
        silent.resolvectl[2].clear();
        assert_eq!(shown(&silent, &["127.0.0.9:5335"]), expected);
    }

    #[test]
    fn two_links_with_one_domain_are_one_route() {
        let machine = Machine {
            resolved: "nameserver 192.0.2.1\n".to_owned(),
            resolvectl: [
                "Link 2 (eth0): 192.0.2.1 192.0.2.2\nLink 3 (wlan0): 192.0.2.1 198.51.100.1\n".to_owned(),
                "Link 2 (eth0): home.example\nLink 3 (wlan0): home.example\n".to_owned(),
                String::new(),
            ],
            ..Machine::default()
        };
        assert_snapshot!(shown(&machine, &[]), @r#"
    default: 192.0.2.1:53 192.0.2.2:53 198.51.100.1:53
    home.example: 192.0.2.1:53 198.51.100.1:53 192.0.2.2:53
    "#);
    }

    #[test]
    fn network_manager_with_a_resolver_of_its_own() {
        let machine = Machine {
            resolv_conf: "nameserver 127.0.0.1\n".to_owned(),
            network_manager: "nameserver 192.0.2.1\nnameserver 2001:db8::53\nnameserver 10.8.0.1\n".to_owned(),
            nmcli: "GENERAL.DEVICE:wlan0\nIP4.GATEWAY:192.0.2.254\nIP4.DNS[1]:192.0.2.1\nIP4.DOMAIN[1]:home.example\n\
                    IP6.DNS[1]:2001\\:db8\\:\\:53\n\nGENERAL.DEVICE:tun0\nIP4.GATEWAY:\nIP4.DNS[1]:10.8.0.1\n\
                    IP4.DOMAIN[1]:corp.example\n\nGENERAL.DEVICE:lo\n"
                .to_owned(),
            ..Machine::default()
        };
        assert_snapshot!(shown(&machine, &[]), @r#"
    default: 192.0.2.1:53 [2001:db8::53]:53
    corp.example: 10.8.0.1:53
    "#);
        let without = Machine { nmcli: String::new(), ..machine };
        assert_snapshot!(shown(&without, &[]), @"default: 192.0.2.1:53 [2001:db8::53]:53 10.8.0.1:53");
    }

    #[test]
    fn network_manager_with_a_tunnel_that_has_no_gateway() {
        let machine = |listed: &str, searches: &str| Machine {
            resolv_conf: "nameserver 127.0.0.9\n".to_owned(),
            network_manager: listed.split(' ').map(|server| format!("nameserver {server}\n")).collect(),
            nmcli: format!(
                "GENERAL.DEVICE:wlan0\nIP4.GATEWAY:192.0.2.254\nIP4.DNS[1]:192.0.2.1\n\nGENERAL.DEVICE:wg0\n\
                 GENERAL.TYPE:wireguard\nIP4.GATEWAY:\nIP4.DNS[1]:10.8.0.1\nIP4.SEARCHES[1]:{searches}\n"
            ),
            ..Machine::default()
        };
        for (listed, searches, expected) in [
            // as NetworkManager has them: the VPN's before, or alone
            ("10.8.0.1 192.0.2.1", "~", "default: 10.8.0.1:53 192.0.2.1:53\n"),
            ("10.8.0.1", "~", "default: 10.8.0.1:53\n"),
            ("10.8.0.1 192.0.2.1", "corp.example", "default: 192.0.2.1:53\ncorp.example: 10.8.0.1:53\n"),
            ("10.8.0.1", "corp.example", "default: 10.8.0.1:53\ncorp.example: 10.8.0.1:53\n"),
        ] {
            assert_eq!(shown(&machine(listed, searches), &["127.0.0.9:53"]), expected, "{listed} {searches}");
        }
    }

    #[test]
    fn macos() {
        let scutil = "DNS configuration\n\nresolver #1\n  search domain[0] : home.example\n  nameserver[0] : 192.0.2.1\n  \
                      nameserver[1] : 2001:db8::1\n  reach    : 0x00000002 (Reachable)\n\nresolver #2\n  domain   : local\n  \
                      options  : mdns\n  timeout  : 5\n\nresolver #3\n  domain   : macula.local\n  nameserver[0] : 127.0.0.9\n  \
                      port     : 5335\n\nresolver #4\n  domain   : corp.example\n  nameserver[0] : 10.8.0.1\n\n\
                      DNS configuration (for scoped queries)\n\nresolver #1\n  nameserver[0] : 203.0.113.1\n";
        let machine = Machine { macos: true, scutil: scutil.to_owned(), ..Machine::default() };
        assert_snapshot!(shown(&machine, &["127.0.0.9:5335"]), @r#"
    default: 192.0.2.1:53 [2001:db8::1]:53
    corp.example: 10.8.0.1:53
    "#);
    }
}
