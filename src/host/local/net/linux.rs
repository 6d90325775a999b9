//! What /proc says (proc_net(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::host::Route;
use crate::host::local::{LocalHost, blocking, files};
use crate::model::{Listener, Protocol, StoppedBy};

/// The tables and what they hold.
const TABLES: [(&str, Protocol); 4] = [
    ("/proc/net/tcp", Protocol::Tcp),
    ("/proc/net/tcp6", Protocol::Tcp),
    ("/proc/net/udp", Protocol::Udp),
    ("/proc/net/udp6", Protocol::Udp),
];

pub(in super::super) async fn listeners(_: &LocalHost) -> io::Result<Vec<Listener>> {
    let mut found: Vec<Listener> = blocking(sockets).await?.into_iter().map(|(listener, _)| listener).collect();
    found.sort_by_key(|listener| (listener.port, listener.protocol, listener.address));
    found.dedup();
    Ok(found)
}

pub(in super::super) async fn owners(_: &LocalHost, listeners: Vec<Listener>) -> Vec<Listener> {
    if listeners.is_empty() {
        return listeners;
    }
    let unknown = listeners.clone();
    let known = blocking(move || {
        let inodes: BTreeMap<u64, Listener> =
            sockets()?.into_iter().map(|(listener, inode)| (inode, listener)).collect();
        let wanted: BTreeSet<u64> = inodes
            .iter()
            .filter(|(_, socket)| listeners.iter().any(|one| same(one, socket)))
            .map(|(inode, _)| *inode)
            .collect();
        let owners = holders(&wanted);
        let owned = |mut listener: Listener| {
            let held = wanted.iter().filter(|inode| inodes.get(inode).is_some_and(|socket| same(&listener, socket)));
            if let Some((pid, process)) = held.filter_map(|inode| owners.get(inode)).next() {
                (listener.pid, listener.process) = (Some(*pid), Some(process.clone()));
                listener.stopped_by = stopped_by(*pid, process);
            }
            listener
        };
        Ok(listeners.into_iter().map(owned).collect())
    });
    known.await.unwrap_or(unknown)
}

fn same(one: &Listener, other: &Listener) -> bool {
    (one.address, one.port, one.protocol) == (other.address, other.port, other.protocol)
}

/// All listening sockets with their inodes. IPv6 may be switched off: then its tables are missing.
fn sockets() -> io::Result<Vec<(Listener, u64)>> {
    let mut found = Vec::new();
    for (table, protocol) in TABLES {
        match std::fs::read_to_string(table) {
            Ok(text) => found.extend(text.lines().filter_map(|line| socket(line, protocol))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(files::naming("read", Path::new(table))(error)),
        }
    }
    Ok(found)
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`
fn socket(line: &str, protocol: Protocol) -> Option<(Listener, u64)> {
    // TCP_LISTEN; a UDP socket that is bound and not connected is in TCP_CLOSE
    let state = if protocol == Protocol::Udp { "07" } else { "0A" };
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let listens = fields.nth(1)? == state;
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = (ip(address)?, u16::from_str_radix(port, 16).ok()?);
    listens.then_some((
        Listener { address, port, protocol, pid: None, process: None, stopped_by: StoppedBy::Unknown },
        inode,
    ))
}

/// The words of an address as the machine keeps them, each in hex: the bytes are in network order,
/// the number that was printed in the machine's.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => word(0).map(|bytes| Ipv4Addr::from(bytes).into()),
        32 => {
            let mut bytes = [0; 16];
            for (slot, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                slot.copy_from_slice(&word(at)?);
            }
            // a socket for both families may stand on an address of IPv4 (all of Java)
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Which process has these sockets open; those of other users stay unknown to all but root.
fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, (u32, String)> {
    let mut found = BTreeMap::new();
    let folder = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    for process in folder("/proc".into()) {
        if found.len() == inodes.len() {
            break;
        }
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        for open in folder(process.path().join("fd")) {
            let Ok(target) = std::fs::read_link(open.path()) else { continue };
            let inode = target.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                // the lowest pid that has it: the server, not the workers that inherited it
                found.entry(inode).or_insert_with(|| (pid, name.trim_end().to_owned()));
            }
        }
    }
    found
}

/// What this program is called in the table of processes.
const PROGRAM: &str = "macula";

/// How a process can be ended, by what /proc says of it.
fn stopped_by(pid: u32, process: &str) -> StoppedBy {
    // under whatever name it was installed, and also where the file has been replaced since
    let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let same = program(&pid.to_string()).is_some_and(|there| Some(there) == program("self"));
    if same || process == PROGRAM {
        return StoppedBy::Macula;
    }
    let read = |pid: u32, name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let own = std::fs::metadata(format!("/proc/{pid}"))
        .is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw());
    // `pid (name) state parent ...`, and the name may have brackets in it
    let parent = read(pid, "stat").rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    let managed = parent.is_some_and(|parent: u32| parent == 1 || read(parent, "comm").trim_end() == "systemd");
    stopped_by_whom(process, own, managed, &read(pid, "cgroup"))
}

/// `managed`: a systemd has started it. A program that some service has started, such as a CI system's, is no
/// service itself: stopping that one would take more than the port's holder. So the names have to agree.
fn stopped_by_whom(process: &str, own: bool, managed: bool, cgroup: &str) -> StoppedBy {
    match unit(cgroup) {
        Some((unit, user)) => {
            let stem = unit.trim_end_matches(".service");
            let named = !process.is_empty() && (stem.starts_with(process) || process.starts_with(stem));
            match managed && named {
                true => StoppedBy::Unit { name: unit.to_owned(), user },
                false => StoppedBy::Unknown,
            }
        }
        None if own => StoppedBy::Signal,
        None => StoppedBy::Unknown,
    }
}

/// The service of systemd's that a process runs in, from /proc/PID/cgroup (cgroups(7)), and whether that is one of a
/// user's own. What is started from a terminal runs in a scope.
fn unit(cgroup: &str) -> Option<(&str, bool)> {
    let path = cgroup.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let of_systemd = controllers.is_empty() || controllers == "name=systemd";
        (of_systemd && path.ends_with(".service")).then_some(path)
    })?;
    let (above, unit) = path.rsplit_once('/')?;
    (!unit.starts_with("user@")).then_some((unit, above.contains("/user@")))
}

pub(in super::super) async fn routes(_: &LocalHost) -> io::Result<Vec<Route>> {
    let read =
        |path: &str| std::fs::read_to_string(path).map_err(|error| files::naming("read", Path::new(path))(error));
    // the second file has every table (VPNs like to keep their own), the first the interfaces
    let trie = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    Ok(merge(main_table(&read("/proc/net/route")?), all_tables(&trie)))
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`
fn main_table(text: &str) -> Vec<Route> {
    let hex = |field: &str| Some(Ipv4Addr::from(u32::from_str_radix(field, 16).ok()?.to_ne_bytes()));
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?.to_owned();
        let destination = hex(fields.next()?)?;
        let network = Ipv4Net::with_netmask(destination, hex(fields.nth(5)?)?).ok()?;
        Some(Route { network, interface })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// A leaf is `|-- address`, then one line `/length scope TYPE` for each of its routes.
fn all_tables(text: &str) -> Vec<Ipv4Net> {
    let mut found = Vec::new();
    let mut address: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.parse().ok();
        } else if let (Some(address), Some(rest)) = (address, line.strip_prefix('/')) {
            let mut fields = rest.split_whitespace();
            let length = fields.next().and_then(|length| length.parse().ok());
            let kind = fields.nth(1);
            if let (Some(length), Some("UNICAST" | "LOCAL")) = (length, kind) {
                found.extend(Ipv4Net::new(address, length).ok());
            }
        }
    }
    found
}

/// No default route, and nothing twice: an address goes without saying where its network is named.
fn merge(main: Vec<Route>, others: Vec<Ipv4Net>) -> Vec<Route> {
    let mut routes: Vec<Route> = main.into_iter().filter(|route| route.network.prefix_len() > 0).collect();
    let mut others: Vec<Ipv4Net> = others.into_iter().filter(|network| network.prefix_len() > 0).collect();
    others.sort_by_key(|network| (network.prefix_len(), *network));
    for network in others {
        let inside =
            |route: &Route| route.network == network || network.prefix_len() == 32 && route.network.contains(&network);
        if !routes.iter().any(inside) {
            let interface = if network.addr().is_loopback() { "lo" } else { "" };
            routes.push(Route { network, interface: interface.to_owned() });
        }
    }
    routes.sort_by_key(|route| route.network);
    routes.dedup();
    routes
}

pub(in super::super) async fn sysctl(_: &LocalHost, name: &str) -> io::Result<String> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let value = tokio::fs::read_to_string(&path).await.map_err(files::naming("read", &path))?;
    Ok(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_only() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0200007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1594 1 0 100 0 0 10 0
   1: 020200C0:949C 507100CB:0050 06 00000000:00000000 03:00000A4A 00000000     0        0 0 3 0";
        let found: Vec<_> = tcp.lines().filter_map(|line| socket(line, Protocol::Tcp)).collect();
        let address = Ipv4Addr::new(127, 0, 0, 2).into();
        let expected = Listener {
            address,
            port: 3000,
            protocol: Protocol::Tcp,
            pid: None,
            process: None,
            stopped_by: StoppedBy::Unknown,
        };
        assert_eq!(found, [(expected, 1594)]);
    }

    #[test]
    fn a_process_is_ended_by_whoever_keeps_it() {
        let unit = |name: &str, user| StoppedBy::Unit { name: name.into(), user };
        let system = |unit: &str| format!("0::/system.slice/{unit}\n");
        assert_eq!(stopped_by_whom("nginx", false, true, &system("nginx.service")), unit("nginx.service", false));
        let template = system("system-postgresql.slice/postgresql@13-main.service");
        assert_eq!(stopped_by_whom("postgres", true, true, &template), unit("postgresql@13-main.service", false));
        // of a hybrid, too; comm has 15 letters at the most
        let hybrid = "4:memory:/x\n1:name=systemd:/system.slice/systemd-resolved.service\n0::/\n";
        assert_eq!(stopped_by_whom("systemd-resolve", false, true, hybrid), unit("systemd-resolved.service", false));
        // a proxy of the engine's, and what a CI system has started
        assert_eq!(stopped_by_whom("docker-proxy", true, false, &system("docker.service")), StoppedBy::Unknown);
        assert_eq!(stopped_by_whom("node", true, true, &system("actions.runner.service")), StoppedBy::Unknown);
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/";
        assert_eq!(stopped_by_whom("caddy", true, true, &format!("{own}caddy.service")), unit("caddy.service", true));
        assert_eq!(stopped_by_whom("node", true, false, &format!("{own}vte-spawn-1.scope")), StoppedBy::Signal);
        assert_eq!(
            stopped_by_whom("node", true, true, "0::/user.slice/user-1000.slice/session-2.scope"),
            StoppedBy::Signal
        );
        assert_eq!(stopped_by_whom("node", true, false, ""), StoppedBy::Signal, "without systemd");
        assert_eq!(stopped_by_whom("node", false, false, ""), StoppedBy::Unknown);
        // this very program, whatever it is called
        assert_eq!(stopped_by(std::process::id(), "m"), StoppedBy::Macula);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_both_families() {
        assert_eq!(ip("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(ip("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(ip("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(ip("nonsense"), None);
        assert_eq!(ip(""), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_of_all_tables_once_each() {
        let main = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
        let trie = "Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
           |-- 172.17.0.0
              /16 link UNICAST
           |-- 172.17.0.1
              /32 host LOCAL
        |-- 198.51.100.7
           /32 host LOCAL
Id 51820:
  |-- 10.8.0.0
     /24 universe UNICAST
";
        let routes = merge(main_table(main), all_tables(trie));
        let routes: Vec<String> = routes.iter().map(|route| format!("{} {}", route.network, route.interface)).collect();
        assert_eq!(
            routes,
            ["10.8.0.0/24 ", "127.0.0.0/8 lo", "172.17.0.0/16 docker0", "192.0.2.0/24 eth0", "198.51.100.7/32 "]
        );
    }
}
