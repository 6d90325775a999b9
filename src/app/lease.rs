//! A platform for a while: `up --lease 2h`, `up --lease-of PID`, `up --idle 30m`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// How long a platform stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The platform goes with this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<LeaseHolder>,
    /// The platform goes when nothing has used it for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Whatever it would end by, it does not before (`macula lease extend`). Seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
}

/// What counts as use: a command of ours, and whatever connects to the platform's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    pub seconds: i64,
    /// The platform's addresses, by the .0 of their /24.
    pub block: Ipv4Addr,
    /// Its ports on 127.0.0.1, an address that others use as well.
    pub ports: Vec<u16>,
}

/// The resolver's, which is asked by the whole machine.
const RESOLVER: u8 = 9;

impl Idle {
    /// Whether any connection of this machine leads to the platform, or did a moment ago. `table`: proc_pid_net(5),
    /// `/proc/net/tcp`. `feed`: the platform's PowerDNS, whose zone the background process itself transfers every minute
    /// or two.
    pub(super) fn is_used(&self, table: &str, feed: Option<SocketAddr>) -> bool {
        // a socket that listens uses nothing
        const LISTEN: &str = "0A";
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let (Some(remote), Some(state)) = (fields.next(), fields.next()) else { return false };
            let Some((address, port)) = endpoint(remote) else { return false };
            let feeds = feed == Some(SocketAddr::V4(SocketAddrV4::new(address, port)));
            state != LISTEN && !feeds && self.is_own(address, port)
        })
    }

    fn is_own(&self, address: Ipv4Addr, port: u16) -> bool {
        let ([.., last], [a, b, c, _]) = (address.octets(), self.block.octets());
        match address {
            Ipv4Addr::LOCALHOST => self.ports.contains(&port),
            _ => address.octets()[..3] == [a, b, c] && last != RESOLVER,
        }
    }
}

/// `0600007F:1538`: the address in the machine's order of bytes, which is that of a little-endian one.
fn endpoint(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = text.split_once(':')?;
    // an IPv4 address in the table of IPv6
    let address = address.strip_prefix("0000000000000000FFFF0000").unwrap_or(address);
    let address = u32::from_str_radix(address, 16).ok()?;
    Some((Ipv4Addr::from(address.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}

/// A process, told from a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    pub pid: u32,
    /// When it was started, in ticks since the machine was; none where the system does not say.
    pub started: Option<u64>,
}

impl LeaseHolder {
    /// None: there is no such process.
    pub async fn of(host: &dyn Host, pid: u32) -> Option<Self> {
        let found = Self { pid, started: started(host, pid).await };
        host.alive(pid).then_some(found)
    }

    pub(super) async fn is_there(&self, host: &dyn Host) -> bool {
        host.alive(self.pid) && (self.started.is_none() || started(host, self.pid).await == self.started)
    }
}

/// Field 22 of proc_pid_stat(5); the name before it may have spaces and parentheses.
async fn started(host: &dyn Host, pid: u32) -> Option<u64> {
    let text = host.read(Path::new(&format!("/proc/{pid}/stat"))).await.ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Lease {
    /// Why it is over; none: it is not. `used`: when the platform was used last.
    pub(super) async fn over(&self, host: &dyn Host, used: i64) -> Option<String> {
        if self.at_least.is_some_and(|at| host.now() < at) {
            return None;
        }
        if self.until.is_some_and(|until| until <= host.now()) {
            return Some("its time is over".to_owned());
        }
        if let Some(idle) = &self.idle
            && used.saturating_add(idle.seconds) <= host.now()
        {
            let idle = crate::words::span(idle.seconds.unsigned_abs());
            return Some(format!("nothing has used it for {idle}"));
        }
        let process = self.process.as_ref()?;
        (!process.is_there(host).await).then(|| format!("process {} has ended", process.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_lease_ends_with_its_time_or_its_process() {
        let stat = |ticks: u64| format!("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n");
        let host = FakeHost::new().process(7).file("/proc/7/stat", stat(55));
        let holder = LeaseHolder::of(&host, 7).await.unwrap();
        assert_eq!(holder, LeaseHolder { pid: 7, started: Some(55) });
        assert_eq!(LeaseHolder::of(&host, 8).await, None);
        let now = host.now();
        let over = async |lease: Lease, host: &FakeHost| lease.over(host, now).await;
        let both = Lease { until: Some(now + 1), process: Some(holder.clone()), ..Lease::default() };
        assert_eq!(over(both, &host).await, None);
        let ended = over(Lease { until: Some(now), ..Lease::default() }, &host).await;
        assert_eq!(ended.as_deref(), Some("its time is over"));
        // another process has got the number since
        let later = FakeHost::new().process(7).file("/proc/7/stat", stat(99));
        let of_process = Lease { process: Some(holder), ..Lease::default() };
        let ended = over(of_process.clone(), &later).await;
        assert_eq!(ended.as_deref(), Some("process 7 has ended"));
        let gone = over(of_process.clone(), &FakeHost::new()).await;
        assert_eq!(gone.as_deref(), Some("process 7 has ended"));
        // extended
        let extended = |at_least: i64| Lease { at_least: Some(at_least), ..of_process.clone() };
        assert_eq!(over(extended(now + 1), &FakeHost::new()).await, None);
        let gone = over(extended(now), &FakeHost::new()).await;
        assert_eq!(gone.as_deref(), Some("process 7 has ended"));
    }

    fn idle() -> Idle {
        Idle { seconds: 1800, block: Ipv4Addr::new(127, 80, 5, 0), ports: vec![443] }
    }

    #[test]
    fn connections_to_the_platform_are_use() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
        let line = |remote: Ipv4Addr, port: u16, state: &str| {
            let address = u32::from_ne_bytes(remote.octets());
            format!("{head}   0: 0100007F:C350 {address:08X}:{port:04X} {state} 00000000:00000000 00:00000000\n")
        };
        let used = |remote: [u8; 4], port, state| idle().is_used(&line(remote.into(), port, state), None);
        assert!(used([127, 80, 5, 6], 5432, "01"));
        assert!(used([127, 80, 5, 6], 5432, "06"), "it has just ended");
        assert!(!used([127, 80, 5, 6], 5432, "0A"));
        assert!(!used([127, 80, 5, 9], 53, "01"), "the resolver is everybody's");
        assert!(!used([127, 80, 6, 6], 5432, "01"));
        assert!(used([127, 0, 0, 1], 443, "01"));
        assert!(!used([127, 0, 0, 1], 3000, "01"));
        assert!(!idle().is_used(head, None) && !idle().is_used("", None));
        assert!(used([127, 80, 5, 8], 53, "06"));
        let fed = |port, state| {
            let feed = SocketAddr::from(([127, 80, 5, 8], 53));
            idle().is_used(&line([127, 80, 5, 8].into(), port, state), Some(feed))
        };
        assert!(!fed(53, "06") && !fed(53, "01"), "that is ours");
        assert!(fed(8081, "06"));
        // an IPv4 address in the table of IPv6, one that is none, and lines that say less
        let line = |rest: &str| format!("{head}   0: x {rest}\n");
        let own = |port: &str| {
            let address = u32::from_ne_bytes([127, 80, 5, 6]);
            line(&format!("0000000000000000FFFF0000{address:08X}:{port} 01"))
        };
        assert!(idle().is_used(&own("1538"), None));
        let rest = [
            "",
            "0605507F",
            "0605507F:1538",
            "X605507F:1538 01",
            "0605507F:X 01",
            "00000000000000000000000001000000:1538 01",
        ];
        for text in rest.map(line).into_iter().chain([own("X")]) {
            assert!(!idle().is_used(&text, None), "{text}");
        }
    }

    #[tokio::test]
    async fn a_lease_ends_when_nothing_has_used_the_platform() {
        let host = FakeHost::new();
        let lease = Lease { idle: Some(idle()), ..Lease::default() };
        assert_eq!(lease.over(&host, host.now() - 1799).await, None);
        let ended = lease.over(&host, host.now() - 1800).await;
        assert_eq!(ended.as_deref(), Some("nothing has used it for 30 minutes"));
    }
}
