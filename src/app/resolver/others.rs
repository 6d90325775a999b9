//! Who else has the addresses of a resolver.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::app::error::ResolverError;
use crate::compile::RESOLVER;
use crate::dns::ServerError;
use crate::host::{Holder, Host, holders};
use crate::model::Protocol;

use super::DEFAULT_PORT;
use super::files::{Process, ResolverFiles};
use super::wants::Wants;

/// Somebody else who has an address that a resolver would need beside those of the one that runs (`own`).
pub(super) async fn in_the_way(host: &dyn Host, own: Option<&Process>, wanted: &Wants) -> Option<ResolverError> {
    let has = own.map(|own| own.wants.clone()).unwrap_or_default();
    let pid = own.map(|own| own.pid);
    for address in wanted.listen.iter().filter(|address| !has.listen.contains(address)) {
        match host.can_bind(*address, Protocol::Udp).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            _ => continue,
        }
        let there = holders(host, Protocol::Udp, &[*address]).await;
        // one of the usual addresses may be its own
        if pid.is_some() && there.iter().any(|holder| holder.pid == pid) {
            continue;
        }
        return Some(match there.into_iter().next() {
            Some(holder) => ResolverError::Taken { address: *address, holder },
            None => ResolverError::Server(ServerError::AddressInUse { address: *address }),
        });
    }
    if wanted.usual && !has.usual { taken_but(host, &[pid]).await } else { None }
}

/// The usual addresses, the best first.
pub(in crate::app) fn usual_addresses() -> [SocketAddr; 2] {
    [(RESOLVER, 53).into(), (RESOLVER, DEFAULT_PORT).into()]
}

/// A resolver that is not ours to talk to and has the usual address: of another user, or of another
/// data folder.
pub(in crate::app) async fn taken(host: &dyn Host) -> Option<ResolverError> {
    taken_but(host, &[own_process(host).await]).await
}

/// The process of our own resolver, whether it answers or not. On a busy machine it may take a moment, and is no
/// stranger meanwhile.
pub(in crate::app) async fn own_process(host: &dyn Host) -> Option<u32> {
    let process = ResolverFiles::of(host).last_process(host).await?;
    // another process may have its number by now
    let words = host.read(Path::new(&format!("/proc/{}/cmdline", process.pid))).await.unwrap_or_default();
    let serves = words.is_empty() || words.split(|byte| *byte == 0).any(|word| word == b"serve");
    (serves && host.alive(process.pid)).then_some(process.pid)
}

/// The same as [`taken`], but for these processes of ours.
pub(super) async fn taken_but(host: &dyn Host, own: &[Option<u32>]) -> Option<ResolverError> {
    let is_own = |holder: &Holder| holder.pid.is_some() && own.contains(&holder.pid);
    let holder = resolvers_there(host).await.into_iter().find(|holder| !is_own(holder))?;
    Some(ResolverError::Taken { address: holder.address, holder })
}

/// The resolver that has one of the usual addresses, whosever it is.
pub(in crate::app) async fn resolver_there(host: &dyn Host) -> Option<Holder> {
    resolvers_there(host).await.into_iter().next()
}

async fn resolvers_there(host: &dyn Host) -> Vec<Holder> {
    let mut there = holders(host, Protocol::Udp, &usual_addresses()).await;
    there.retain(|holder| holder.address.ip() == IpAddr::V4(RESOLVER) && holder.is_macula());
    there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::resolver::{FORMAT, StartedBy};
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_resolver_goes_on_where_the_next_one_could_not_start() {
        let wants = |usual, listen: &[&str]| Wants {
            usual,
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            ..Wants::default()
        };
        let own = Process {
            format: FORMAT,
            pid: 7,
            started: 0,
            version: "1.0.0".into(),
            started_by: StartedBy::Up,
            wants: wants(false, &["127.0.0.9:5399"]),
        };
        let host = FakeHost::new()
            .listener("127.0.0.9:53", Protocol::Udp, Some((8, "macula")))
            .listener("127.0.0.9:5335", Protocol::Udp, Some((7, "macula")))
            .listener("127.0.0.9:5399", Protocol::Udp, Some((7, "macula")))
            .listener("127.0.0.9:5400", Protocol::Udp, Some((9, "dnsmasq")));
        let found = async |wanted: Wants| in_the_way(&host, Some(&own), &wanted).await.map(|found| found.to_string());
        assert_eq!(found(wants(false, &["127.0.0.9:5335", "127.0.0.9:5399", "127.0.0.9:5401"])).await, None);
        let theirs = Some("127.0.0.9:53 is held by `macula` (pid 8)".to_owned());
        assert_eq!(found(wants(false, &["127.0.0.9:53"])).await, theirs);
        assert_eq!(found(wants(true, &["127.0.0.9:5399"])).await, theirs);
        let other = found(wants(false, &["127.0.0.9:5400"])).await;
        assert_eq!(other.as_deref(), Some("127.0.0.9:5400 is held by `dnsmasq` (pid 9)"));
    }
}
