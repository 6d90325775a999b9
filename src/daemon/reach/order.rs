//! What this side asks of the relay, as the path of a request. A relay that an older version made knows the same words.

use std::fmt;
use std::net::SocketAddrV4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A connection to this address.
    Connect(SocketAddrV4),
    /// Datagrams to it and back.
    Datagrams(SocketAddrV4),
    /// The next connection that arrives at the relay: the answer comes with it.
    Arrival,
}

const TCP: &str = "tcp";
const UDP: &str = "udp";
const ARRIVAL: &str = "arrival";

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(target) => write!(f, "/{TCP}/{target}"),
            Self::Datagrams(target) => write!(f, "/{UDP}/{target}"),
            Self::Arrival => write!(f, "/{ARRIVAL}"),
        }
    }
}

impl Order {
    /// The same, back.
    pub fn parse(path: &str) -> Option<Self> {
        let order = path.strip_prefix('/')?;
        match order.split_once('/') {
            Some((TCP, target)) => target.parse().ok().map(Self::Connect),
            Some((UDP, target)) => target.parse().ok().map(Self::Datagrams),
            Some(_) => None,
            None => (order == ARRIVAL).then_some(Self::Arrival),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let target = "10.222.7.5:53".parse().unwrap();
        for (order, path) in [
            (Order::Connect(target), "/tcp/10.222.7.5:53"),
            (Order::Datagrams(target), "/udp/10.222.7.5:53"),
            (Order::Arrival, "/arrival"),
        ] {
            assert_eq!(order.to_string(), path);
            assert_eq!(Order::parse(path), Some(order));
        }
        for bad in [
            "",
            "/",
            "/tcp",
            "/tcp/",
            "/tcp/postgres:5432",
            "/tcp/[::1]:53",
            "/tcp/10.222.7.5:70000",
            "/x/1:1",
            "arrival",
            "/arrival/1",
        ] {
            assert_eq!(Order::parse(bad), None, "{bad}");
        }
    }
}
