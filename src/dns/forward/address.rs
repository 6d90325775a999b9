//! The address of a name server as resolv.conf, systemd-resolved and NetworkManager write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A server that cannot be asked, as it is written, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub text: String,
    pub reason: &'static str,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.reason)
    }
}

/// Reads addresses and remembers those that it had to drop.
pub struct Reader<'a> {
    interface: &'a dyn Fn(&str) -> Option<u32>,
    pub dropped: Vec<Dropped>,
}

impl<'a> Reader<'a> {
    /// `interface`: the number of a network interface by its name.
    pub fn new(interface: &'a dyn Fn(&str) -> Option<u32>) -> Self {
        Self { interface, dropped: Vec::new() }
    }

    pub fn take(&mut self, text: &str) -> Option<SocketAddr> {
        match server(text, self.interface) {
            Ok(address) => Some(address),
            Err(reason) => {
                let dropped = Dropped { text: text.to_owned(), reason };
                if !self.dropped.contains(&dropped) {
                    self.dropped.push(dropped);
                }
                None
            }
        }
    }
}

const NOT_AN_ADDRESS: &str = "not an address";

/// `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`, `fe80::1%eth0`, `[fe80::1]:53%2`,
/// `192.0.2.1#name` (DNS over TLS's name), `dns+udp://192.0.2.1`, and the short forms of IPv4 that
/// glibc takes (`10.1`, `0x7f000001`).
fn server(text: &str, interface: &dyn Fn(&str) -> Option<u32>) -> Result<SocketAddr, &'static str> {
    let text = match text.split_once("://") {
        None | Some(("dns" | "dns+udp" | "udp", _)) => text.rsplit("://").next().unwrap_or(text),
        Some((scheme, _)) if scheme.contains("tls") => return Err("DNS over TLS is not supported"),
        Some((scheme, _)) if scheme.contains("https") => return Err("DNS over HTTPS is not supported"),
        Some(_) => return Err("this protocol is not supported"),
    };
    let text = text.split(['#', '?']).next().unwrap_or(text).trim_end_matches('/');
    let (address, port, zone) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or(NOT_AN_ADDRESS)?;
            let (address, zone) = with_zone(inside);
            let (port, outer) = with_zone(after);
            let port = match port {
                "" => 53,
                port => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(NOT_AN_ADDRESS)?,
            };
            (IpAddr::V6(address.parse().map_err(|_| NOT_AN_ADDRESS)?), port, zone.or(outer))
        }
        None => {
            let (text, zone) = with_zone(text);
            match (text.parse::<Ipv6Addr>(), text.split_once(':')) {
                (Ok(address), _) => (address.into(), 53, zone),
                (Err(_), Some((address, port))) => {
                    let port = port.parse().map_err(|_| NOT_AN_ADDRESS)?;
                    (v4(address).ok_or(NOT_AN_ADDRESS)?.into(), port, zone)
                }
                (Err(_), None) => (v4(text).ok_or(NOT_AN_ADDRESS)?.into(), 53, zone),
            }
        }
    };
    match address {
        // "this machine", as the system takes it
        IpAddr::V4(address) if address.is_unspecified() => Ok((Ipv4Addr::LOCALHOST, port).into()),
        IpAddr::V6(address) if address.is_unspecified() => Ok((Ipv6Addr::LOCALHOST, port).into()),
        IpAddr::V4(address) => Ok((address, port).into()),
        IpAddr::V6(address) => {
            let number = zone.map(|zone| zone.parse().ok().or_else(|| interface(zone)));
            let scope = match number {
                Some(Some(number)) => number,
                Some(None) => return Err("no network interface has this name"),
                None if address.is_unicast_link_local() => return Err("a link-local address without its interface"),
                None => 0,
            };
            Ok(SocketAddrV6::new(address, port, 0, scope).into())
        }
    }
}

fn with_zone(text: &str) -> (&str, Option<&str>) {
    match text.split_once('%') {
        Some((text, zone)) => (text, Some(zone)),
        None => (text, None),
    }
}

/// As inet_aton(3) reads it: one to four numbers, decimal, octal or hexadecimal; the last one fills
/// what is left.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| {
        let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => (hex, 16),
            None if text.len() > 1 && text.starts_with('0') => (text, 8),
            None => (text, 10),
        };
        digits.starts_with(|first: char| first.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?
    };
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, octets) = numbers.split_last()?;
    if octets.len() > 3 || octets.iter().any(|octet| *octet > 255) {
        return None;
    }
    let high = octets.iter().zip([24, 16, 8]).fold(0, |sum, (octet, shift)| sum | octet << shift);
    let room = 32 - 8 * octets.len() as u32;
    (u64::from(*last) < 1 << room).then(|| Ipv4Addr::from(high | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_a_system_takes() {
        let read = |text: &str| match server(text, &|name| (name == "eth0").then_some(2)) {
            Ok(address) => address.to_string(),
            Err(reason) => reason.to_owned(),
        };
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("192.0.2.1:5353%eth0#dns.example", "192.0.2.1:5353"),
            ("192.0.2.1%eth0", "192.0.2.1:53"),
            ("10.1", "10.0.0.1:53"),
            ("0x7f000001", "127.0.0.1:53"),
            ("2130706433", "127.0.0.1:53"),
            ("010.0.0.1", "8.0.0.1:53"),
            ("0.0.0.0", "127.0.0.1:53"),
            ("::", "[::1]:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("2001:db8::1#dns.example", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54%eth0#dns.example", "[2001:db8::1%2]:54"),
            ("fe80::1%eth0", "[fe80::1%2]:53"),
            ("fe80::1%7", "[fe80::1%7]:53"),
            ("[fe80::1%eth0]:5353", "[fe80::1%2]:5353"),
            ("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:53"),
            ("dns+udp://192.0.2.1", "192.0.2.1:53"),
            ("dns+udp://[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("dns+tls://192.0.2.1#dns.example", "DNS over TLS is not supported"),
            ("dns+https://192.0.2.1/query", "DNS over HTTPS is not supported"),
            ("quic://192.0.2.1", "this protocol is not supported"),
            ("255.0.0.255", "255.0.0.255:53"),
            ("fe80::1", "a link-local address without its interface"),
            ("fe80::1%eth9", "no network interface has this name"),
            ("256.0.0.1", NOT_AN_ADDRESS),
            ("1.2.3.4.5", NOT_AN_ADDRESS),
            ("1.2.65536", NOT_AN_ADDRESS),
            ("+1", NOT_AN_ADDRESS),
            ("", NOT_AN_ADDRESS),
            ("dns.example", NOT_AN_ADDRESS),
            ("192.0.2.1:x", NOT_AN_ADDRESS),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_dropped_is_told_once() {
        let unknown = |_: &str| None;
        let mut reader = Reader::new(&unknown);
        let taken: Vec<String> = ["x", "192.0.2.1", "x", "y"]
            .iter()
            .filter_map(|text| reader.take(text))
            .map(|one| one.to_string())
            .collect();
        assert_eq!(taken, ["192.0.2.1:53"]);
        let dropped: Vec<String> = reader.dropped.iter().map(ToString::to_string).collect();
        assert_eq!(dropped, ["x (not an address)", "y (not an address)"]);
    }
}
