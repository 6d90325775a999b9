//! Who is in the way: the process behind an address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::Host;
use crate::model::{Listener, Protocol};

/// A process that has an address which somebody else wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub address: SocketAddr,
    /// None: the process belongs to another user.
    pub pid: Option<u32>,
    /// Its command line, or its name where that cannot be read.
    pub command: Option<String>,
    /// Whose the process is, where it is not this user's.
    pub user: Option<String>,
}

impl Holder {
    /// Whether it is a resolver of ours, of whatever user or data folder. One of another user cannot be
    /// looked at, and who but a resolver would have just this address?
    pub fn is_macula(&self) -> bool {
        let Some(command) = &self.command else { return self.pid.is_none() };
        let program = command.split_whitespace().next().unwrap_or_default();
        program.rsplit('/').next() == Some("macula")
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.user.as_ref().map(|user| format!(" of the user {user}")).unwrap_or_default();
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "`{command}`{of} (pid {pid})"),
            (Some(pid), None) => write!(f, "the process {pid}{of}"),
            (None, _) => f.write_str("a process of another user"),
        }
    }
}

/// Who listens on these addresses, or on all addresses of the machine with the same port.
pub async fn holders(host: &dyn Host, protocol: Protocol, addresses: &[SocketAddr]) -> Vec<Holder> {
    let everywhere = |address: IpAddr| address.is_unspecified();
    let wanted = |listener: &Listener| {
        listener.protocol == protocol
            && addresses.iter().any(|address| {
                address.port() == listener.port && (address.ip() == listener.address || everywhere(listener.address))
            })
    };
    let there: Vec<Listener> = host.listeners().await.unwrap_or_default().into_iter().filter(wanted).collect();
    let mut found: Vec<Holder> = Vec::new();
    for listener in host.owners(there).await {
        let address = SocketAddr::new(listener.address, listener.port);
        if found.iter().any(|holder| holder.address == address && holder.pid == listener.pid) {
            continue;
        }
        let (command, user) = match listener.pid {
            Some(pid) => (command_line(host, pid).await.or(listener.process), other_user(host, pid).await),
            None => (listener.process, None),
        };
        found.push(Holder { address, pid: listener.pid, command, user });
    }
    found
}

/// As `ps` shows it.
async fn command_line(host: &dyn Host, pid: u32) -> Option<String> {
    let raw = host.read(Path::new(&format!("/proc/{pid}/cmdline"))).await.ok()?;
    let words: Vec<_> = raw.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let line = words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    // control characters of a foreign process do not belong on a terminal
    let line: String = line.chars().filter(|character| !character.is_control()).take(200).collect();
    (!line.is_empty()).then_some(line)
}

/// The user of a process that is not this one's: only root sees whose listeners those of others are.
async fn other_user(host: &dyn Host, pid: u32) -> Option<String> {
    let status = host.read(Path::new(&format!("/proc/{pid}/status"))).await.ok()?;
    let status = String::from_utf8_lossy(&status).into_owned();
    // proc(5): the real one and others
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uid: u32 = ids.split_whitespace().next()?.parse().ok()?;
    if uid == host.facts().uid {
        return None;
    }
    let users = host.read(Path::new("/etc/passwd")).await.unwrap_or_default();
    user_name(&String::from_utf8_lossy(&users), uid).or_else(|| Some(uid.to_string()))
}

/// passwd(5): `name:password:uid:...`
pub(super) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_holder_is_named_with_its_command() {
        let host = FakeHost::new()
            .listener("127.0.0.9:53", Protocol::Udp, Some((7, "macula")))
            .listener("0.0.0.0:5335", Protocol::Udp, Some((8, "dnsmasq")))
            .listener("127.0.0.9:54", Protocol::Udp, None)
            .file("/proc/7/cmdline", "/usr/bin/macula\0dns\0serve\0\x1b[1m\0");
        let found = async |address: &str| {
            let all = holders(&host, Protocol::Udp, &[address.parse().unwrap()]).await;
            all.first().map(|holder| (holder.to_string(), holder.is_macula()))
        };
        assert_eq!(found("127.0.0.9:53").await, Some(("`/usr/bin/macula dns serve [1m` (pid 7)".to_owned(), true)));
        assert_eq!(found("127.0.0.9:5335").await, Some(("`dnsmasq` (pid 8)".to_owned(), false)));
        assert_eq!(found("127.0.0.9:54").await, Some(("a process of another user".to_owned(), true)));
        assert_eq!(found("127.0.0.9:55").await, None);
        for (uid, shown) in [
            (1000, "`dnsmasq` (pid 8)"),
            (1001, "`dnsmasq` of the user eve (pid 8)"),
            (1002, "`dnsmasq` of the user 1002 (pid 8)"),
        ] {
            let host = host.clone().file("/etc/passwd", "dev:x:1000:1000::/home/dev:\neve:x:1001:1001::/home/eve:\n");
            let host = host.file("/proc/8/status", format!("Name:\tdnsmasq\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
            let all = holders(&host, Protocol::Udp, &["127.0.0.9:5335".parse().unwrap()]).await;
            assert_eq!(all.first().map(ToString::to_string).as_deref(), Some(shown));
        }
    }
}
