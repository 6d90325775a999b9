//! What the tools of macOS say. Their words are read the same way on any system, so the tests run
//! everywhere.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use crate::host::Route;
use crate::model::{Listener, Protocol, StoppedBy};

#[cfg(target_os = "macos")]
mod ask {
    use std::io;

    use super::*;
    use crate::host::local::LocalHost;
    use crate::host::{Command, Host};

    pub(in super::super::super) async fn listeners(host: &LocalHost) -> io::Result<Vec<Listener>> {
        // it ends with 1 when there is nothing to tell
        let lsof = Command::new("lsof", ["-nP", "-iTCP", "-sTCP:LISTEN", "-iUDP", "-FpcuPn"]).may_fail();
        let said = host.run(&lsof).await.map_err(io::Error::other)?;
        Ok(parse_lsof(&said.stdout(), host.facts().uid))
    }

    /// lsof has told the owners already.
    pub(in super::super::super) async fn owners(_: &LocalHost, listeners: Vec<Listener>) -> Vec<Listener> {
        listeners
    }

    pub(in super::super::super) async fn routes(host: &LocalHost) -> io::Result<Vec<Route>> {
        let said = host.run(&Command::new("netstat", ["-rn", "-f", "inet"])).await.map_err(io::Error::other)?;
        Ok(parse_netstat(&said.stdout()))
    }

    pub(in super::super::super) async fn sysctl(host: &LocalHost, name: &str) -> io::Result<String> {
        let said = host.run(&Command::new("sysctl", ["-n", name])).await.map_err(io::Error::other)?;
        Ok(said.stdout().trim().to_owned())
    }
}

#[cfg(target_os = "macos")]
pub(in super::super) use ask::{listeners, owners, routes, sysctl};

/// lsof(8), "output for other programs": a line a field, its first letter says which.
fn parse_lsof(text: &str, own: u32) -> Vec<Listener> {
    let (mut pid, mut process, mut protocol, mut ending) = (None, None, Protocol::Tcp, StoppedBy::Unknown);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut letters = line.chars();
        match (letters.next(), letters.as_str()) {
            (Some('p'), value) => pid = value.parse().ok(),
            (Some('c'), value) => process = Some(value.to_owned()),
            (Some('u'), value) if value.parse() == Ok(own) => ending = StoppedBy::Signal,
            (Some('u'), _) => ending = StoppedBy::Unknown,
            (Some('P'), value) => protocol = if value == "UDP" { Protocol::Udp } else { Protocol::Tcp },
            (Some('n'), value) => {
                let Some((address, port)) = value.rsplit_once(':') else { continue };
                let address: Option<IpAddr> = match address.trim_matches(['[', ']']) {
                    "*" => Some(std::net::Ipv4Addr::UNSPECIFIED.into()),
                    address => address.parse().ok(),
                };
                if let (Some(address), Ok(port)) = (address, port.parse()) {
                    found.push(Listener {
                        address,
                        port,
                        protocol,
                        pid,
                        process: process.clone(),
                        stopped_by: match process.as_deref() {
                            Some("macula") => StoppedBy::Macula,
                            _ => ending.clone(),
                        },
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// `Destination Gateway Flags Netif`, where a destination is `default`, an address, or a network
/// whose trailing zero bytes may be left out: `10.8/24`, `127`.
fn parse_netstat(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (destination, interface) = (fields.first()?, fields.get(3)?);
        let (address, length) = match destination.split_once('/') {
            Some((address, length)) => (address, length.parse::<u8>().ok()?),
            None => (*destination, u8::try_from(destination.split('.').count() * 8).ok()?),
        };
        let mut bytes = [0; 4];
        for (slot, part) in bytes.iter_mut().zip(address.split('.')) {
            *slot = part.parse().ok()?;
        }
        let network = Ipv4Net::new(bytes.into(), length).ok().filter(|network| network.prefix_len() > 0)?;
        Some(Route { network: network.trunc(), interface: (*interface).to_owned() })
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_their_owners() {
        let found = parse_lsof(
            "p71\ncnginx\nu0\nf6\nPTCP\nn*:80\nf7\nPTCP\nn[::1]:443\np90\ncmDNS\nu501\nf1\nPUDP\nn*:*\nf2\nPUDP\nn127.0.0.1:53\n\
             p91\ncmacula\nu501\nf3\nPTCP\nn127.0.0.2:80\n",
            501,
        );
        let told = |one: &Listener| {
            let who = format!("{:?} {:?} {:?}", one.pid, one.process, one.stopped_by);
            format!("{} {} {} {who}", one.address, one.port, one.protocol)
        };
        let found: Vec<String> = found.iter().map(told).collect();
        assert_eq!(
            found,
            [
                "0.0.0.0 80 tcp Some(71) Some(\"nginx\") Unknown",
                "::1 443 tcp Some(71) Some(\"nginx\") Unknown",
                "127.0.0.1 53 udp Some(90) Some(\"mDNS\") Signal",
                "127.0.0.2 80 tcp Some(91) Some(\"macula\") Macula",
            ]
        );
    }

    #[test]
    fn networks_in_short() {
        let said = "Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire
default            192.168.1.1        UGScg                 en0
10.8/24            10.8.0.2           UGSc                utun4
127                127.0.0.1          UCS                   lo0
192.168.1.7        link#6             UHLWI                 en0\n";
        let routes: Vec<String> =
            parse_netstat(said).iter().map(|route| format!("{} {}", route.network, route.interface)).collect();
        assert_eq!(routes, ["10.8.0.0/24 utun4", "127.0.0.0/8 lo0", "192.168.1.7/32 en0"]);
    }
}
