//! How the platform's names fare: whether the resolver answers, and whether programs of this machine ask it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::app::error::ResolverError;
use crate::app::{Error, Session};
use crate::dns::install::{self, InstallError, Rung};
use crate::dns::{Client, Status, ask};
use crate::host::Host;
use crate::model::{MaculaCommand, Platform, Record, RecordData, Remedy, View, macula};
use crate::words;

use super::{ResolverFiles, connect, own_address, own_process, taken};

/// For an answer that comes from this machine.
const QUICK: Duration = Duration::from_millis(500);
/// For an answer of a resolver on this machine, if it is pointed at us.
const AT_ONCE: Duration = Duration::from_millis(60);
/// Until it is asked once more.
const AGAIN: Duration = Duration::from_millis(100);
/// For what it says of itself.
const CONTROL: Duration = Duration::from_secs(2);
/// For an answer that may come by way of other machines.
const PATIENCE: Duration = Duration::from_secs(3);

/// The resolver of the platform's names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DnsStatus {
    /// `127.0.0.9:53`; none while it does not run.
    pub address: Option<String>,
    pub zones: Vec<String>,
    /// Programs of this machine get the platform's names.
    pub installed: bool,
    /// It answers for this platform.
    pub healthy: bool,
    /// The last `up` was told to leave the names alone (`--no-dns`).
    pub off: bool,
    /// What is wrong with it, although it may answer for this platform.
    pub problem: Option<String>,
    /// Names of the platform that came after /etc/hosts was written, where they are found by that.
    #[serde(skip)]
    pub unlisted: Vec<String>,
}

/// The resolver as `status` shows it. Takes no longer than half a second, unless a process of ours is there and does
/// not answer: then it is asked once more.
pub(in crate::app) async fn look(session: &Session, platform: &Platform) -> DnsStatus {
    let host = session.host();
    let domain = platform.domain.as_str();
    // nobody who did not ask for it is to wait for name servers that do not know our names
    let installed = host.exists(&ResolverFiles::of(host).install().join("receipt.json")).await;
    let patience = if installed { QUICK } else { AT_ONCE };
    let (found, installed) =
        tokio::join!(tokio::time::timeout(QUICK, said(host, domain)), answers(host, domain, patience));
    let mut found = found.ok().flatten();
    let mut own = None;
    // a platform that is down has no names there
    if !found.as_ref().is_some_and(|found| found.healthy)
        && host.exists(&ResolverFiles::of(host).zone(&platform.name)).await
    {
        own = own_process(host).await;
    }
    if own.is_some() {
        tokio::time::sleep(AGAIN).await;
        found = tokio::time::timeout(CONTROL, said(host, domain)).await.ok().flatten().or(found);
    }
    let mut status = DnsStatus { installed, ..found.unwrap_or_default() };
    // a state that cannot be read is told by whoever needs it
    status.off = !status.healthy && session.state(&platform.name).no_dns(host).await.unwrap_or_default();
    if status.address.is_none() && !status.off {
        let problem = match own {
            Some(pid) => Some(ResolverError::Busy { pid }),
            None => taken(host).await,
        };
        status.problem = problem.map(|problem| problem.to_string());
    }
    if status.installed {
        status.unlisted = unlisted(host, platform).await;
    }
    status
}

/// Names that only another `dns install` writes into /etc/hosts.
async fn unlisted(host: &dyn Host, platform: &Platform) -> Vec<String> {
    let files = ResolverFiles::of(host);
    let found = install::present(host, &files.install()).await.ok().flatten();
    if found.is_none_or(|found| found.rung != Rung::Hosts) {
        return Vec::new();
    }
    let hosts = host.read(Path::new("/etc/hosts")).await.unwrap_or_default();
    let entries = files.entries(host).await;
    let own = entries.iter().find(|(name, _)| *name == platform.name);
    own.map(|(_, entry)| not_in(&String::from_utf8_lossy(&hosts), &entry.zone.records)).unwrap_or_default()
}

fn before_comment(line: &str) -> &str {
    line.split_once('#').map_or(line, |(names, _)| names)
}

/// Names of this machine's view, of which a file of hosts says nothing.
fn not_in(hosts: &str, records: &[Record]) -> Vec<String> {
    let listed: BTreeSet<&str> =
        hosts.lines().flat_map(|line| before_comment(line).split_whitespace().skip(1)).collect();
    let here = |record: &&Record| matches!(record.data, RecordData::A(_)) && record.view != Some(View::Container);
    let missing = records.iter().filter(here).map(|record| record.name.as_str());
    let missing = missing.filter(|name| !name.starts_with('*') && !listed.contains(name));
    words::unique(missing.map(str::to_owned))
}

/// What it says of itself, and whether it answers for the domain.
async fn said(host: &dyn Host, domain: &str) -> Option<DnsStatus> {
    // why it does not run is asked for by whoever wants to know
    let mut client = Client::connect(&ResolverFiles::of(host).control()).await.ok()?;
    let status = client.status().await.ok()?;
    let address = own_address(&status);
    let problem = without_servers(&status);
    let zones: Vec<String> = status.zones.into_iter().map(|zone| zone.apex).collect();
    let healthy = match address {
        Some(address) if zones.iter().any(|zone| zone == domain) => {
            let (name, expected) = probe(host, domain).await;
            ask(address, &name, 1, QUICK).await.is_ok_and(|found| found.contains(&expected))
        }
        _ => false,
    };
    let address = address.map(|address| address.to_string());
    Some(DnsStatus { address, zones, healthy, problem, ..DnsStatus::default() })
}

/// What is wrong with the servers for all other names, if anything.
fn without_servers(status: &Status) -> Option<String> {
    if status.upstreams.iter().any(|server| server.domain.is_none()) {
        return None;
    }
    let dropped = match status.dropped_upstreams.as_slice() {
        [] => "this machine names no name server".to_owned(),
        dropped => format!("none of this machine's name servers can be asked: {}", dropped.join(", ")),
    };
    Some(format!("{dropped}; names outside of the platforms are refused"))
}

/// A name of every platform, and the address that only our resolver gives it.
pub async fn probe(host: &dyn Host, domain: &str) -> (String, std::net::IpAddr) {
    let name = format!("ns.{domain}");
    let entries = ResolverFiles::of(host).entries(host).await;
    let zones = entries.iter().filter(|(_, entry)| entry.zone.apex == domain);
    let own = zones.flat_map(|(_, entry)| &entry.zone.records).find_map(|record| match record.data {
        RecordData::A(address) if record.name == name && record.view == Some(View::Host) => Some(address),
        _ => None,
    });
    (name, own.unwrap_or(crate::compile::RESOLVER).into())
}

/// Whether programs of this machine get the platform's names, asked as they ask.
pub async fn answers(host: &dyn Host, domain: &str, patience: Duration) -> bool {
    let (name, address) = probe(host, domain).await;
    match tokio::time::timeout(patience, host.resolve(&name)).await {
        Ok(Ok(found)) => found.contains(&address),
        _ => false,
    }
}

/// How names fare on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Names {
    /// None: it does not run.
    #[serde(skip)]
    pub resolver: Option<Status>,
    /// It runs, and says nothing.
    #[serde(skip)]
    pub silent: bool,
    pub domains: Vec<DomainNames>,
    /// The way in which the system was pointed at the resolver.
    pub method: Option<String>,
    /// Where it breaks.
    pub notes: Vec<String>,
    /// What to do about that.
    #[serde(skip)]
    pub remedy: Option<Remedy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainNames {
    pub domain: String,
    /// The resolver answers for it when asked itself.
    pub answered: bool,
    /// Programs of this machine get its names.
    pub resolves: bool,
}

/// What is known of the names while others are still asked for.
#[derive(Debug, Clone, Default)]
pub struct NamesSoFar {
    pub resolver: Option<Status>,
    /// With what came of each; none while it is asked for.
    pub domains: Vec<(String, Option<DomainNames>)>,
}

/// Asks the resolver, and asks as programs do, for every zone that it has and for `domain`; over within a few
/// seconds, whoever is silent. `told`: hears what is known as it comes.
pub async fn names_status(session: &Session, domain: &str, told: &(dyn Fn(&NamesSoFar) + Sync)) -> Names {
    let host = session.host();
    let status = async {
        match connect(host).await {
            Ok(mut client) => Ok((client.status().await.ok(), None)),
            Err(Error::Resolver(taken @ ResolverError::Taken { .. })) => Ok((None, Some(taken))),
            Err(Error::Resolver(ResolverError::Busy { .. })) => Err(()),
            Err(_) => Ok((None, None)),
        }
    };
    let status = tokio::time::timeout(CONTROL, status).await.unwrap_or(Err(()));
    let silent = status.is_err();
    let (resolver, in_the_way) = status.unwrap_or_default();
    // the resolver may know zones whose platform is gone
    let platforms = ResolverFiles::of(host).entries(host).await;
    let of_a_platform = |apex: &String| platforms.iter().any(|(_, entry)| entry.zone.apex == *apex);
    let zones = resolver.iter().flat_map(|status| status.zones.iter().map(|zone| zone.apex.clone()));
    let mut wanted: Vec<String> = zones.filter(of_a_platform).collect();
    let served = wanted.iter().any(|zone| zone == domain);
    if !served {
        wanted.push(domain.to_owned());
    }
    let domains = wanted.iter().map(|domain| (domain.clone(), None)).collect();
    let so_far = Mutex::new(NamesSoFar { resolver: resolver.clone(), domains });
    let tell = |seen: Option<&DomainNames>| {
        let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, known) in so_far.domains.iter_mut().filter(|(name, _)| seen.is_some_and(|seen| seen.domain == *name)) {
            *known = seen.cloned();
        }
        told(&so_far);
    };
    tell(None);
    let (tell, address) = (&tell, resolver.as_ref().and_then(own_address));
    let domains = wanted.into_iter().map(|domain| async move {
        let (name, expected) = probe(host, &domain).await;
        let answered = async {
            let Some(address) = address else { return false };
            ask(address, &name, 1, QUICK).await.is_ok_and(|found| found.contains(&expected))
        };
        // a look-up by way of other servers may take its time
        let (answered, resolves) = tokio::join!(answered, answers(host, &domain, PATIENCE));
        let seen = DomainNames { domain, answered, resolves };
        tell(Some(&seen));
        seen
    });
    let domains: Vec<DomainNames> = futures_util::future::join_all(domains).await;
    let (method, mut notes, remedy) = installed(host).await;
    if let Some(problem) = resolver.as_ref().and_then(without_servers) {
        notes.push(problem);
    } else if let Some(dropped) = resolver.as_ref().map(|status| &status.dropped_upstreams)
        && !dropped.is_empty()
    {
        notes.push(format!("name servers that cannot be asked: {}", dropped.join(", ")));
    }
    let remedy = if let Some(taken) = in_the_way {
        notes.push(taken.to_string());
        // `up` would find it there again, and lead back to here
        Some(Remedy::say(
            "the user whose it is stops it with `down`; or give yours another address in macula.yaml: \
             `dns: {listen: [\"127.0.0.9:5399\"]}`",
        ))
    } else if let Some(remedy) = remedy {
        Some(remedy.into())
    } else if silent {
        Some(Remedy::say("its process may be stopped or overloaded: end it, and the next `up` starts another"))
    } else if resolver.is_none() {
        Some(macula("up").why("to start the resolver").into())
    } else if !served {
        Some(macula("up").why(format!("to add the names below {domain}")).into())
    } else if domains.iter().any(|domain| domain.answered && !domain.resolves) {
        Some(macula("dns install").why("to let this machine's programs find the names").into())
    } else {
        None
    };
    Names { resolver, silent, domains, method, notes, remedy }
}

/// What is installed, in words, what is wrong with it, and what to do about that.
async fn installed(host: &dyn Host) -> (Option<String>, Vec<String>, Option<MaculaCommand>) {
    let folder = ResolverFiles::of(host).install();
    let found = match install::present(host, &folder).await {
        Ok(None) => return (None, Vec::new(), None),
        Ok(Some(found)) => found,
        Err(error) => return (None, vec![describe(&error)], None),
    };
    let method = Some(found.rung.to_string());
    if found.interrupted {
        let note = "an install or uninstall was interrupted".to_owned();
        return (method, vec![note], Some(macula("dns uninstall").why("to clean up")));
    }
    if !found.intact {
        let note = format!("{} has been changed since it was installed", found.rung);
        return (method, vec![note], Some(macula("dns install").why("to install it again")));
    }
    if install::is_alone(host, &folder).await {
        let note = "no name resolves on this machine while the resolver does not run: the other servers of \
                    /etc/resolv.conf are commented out"
            .to_owned();
        return (method, vec![note], Some(macula("dns install").why("to use a method that keeps them")));
    }
    (method, Vec::new(), None)
}

fn describe(error: &InstallError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::ZoneFile;
    use super::super::{FORMAT, Receiving, write};
    use super::*;
    use crate::dns::ZoneEntry;
    use crate::host::fake::FakeHost;
    use crate::model::{DnsSettings, PlatformName, Zone};
    use crate::telemetry::remote::Places;

    #[tokio::test]
    async fn what_was_recorded_of_a_platform_is_found_again() {
        let address = |last: u8| RecordData::A([127, 80, 5, last].into());
        let mut zone = Zone::new("shop.macula.local", 1);
        zone.records = vec![
            Record::new("www.shop.macula.local", address(3)).only(View::Host),
            Record::new("ns.shop.macula.local", address(4)).only(View::Container),
            Record::new("ns.shop.macula.local", address(9)).only(View::Host),
        ];
        let receiving = Receiving {
            otlp: Some(std::net::SocketAddr::from(([127, 80, 5, 12], 4318))),
            loki: None,
            addresses: BTreeSet::new(),
            size: 64 << 20,
            age: Duration::from_secs(3600),
        };
        let file = ZoneFile {
            format: FORMAT,
            entry: ZoneEntry::new(zone),
            settings: DnsSettings::default(),
            receiving: Some(receiving.clone()),
            asked: Places::default(),
        };
        let (host, platform) = (FakeHost::new(), PlatformName::new("shop").unwrap());
        let files = ResolverFiles::of(&host);
        write(&host, &files.zone(&platform), &file).await.unwrap();
        assert_eq!(files.receiving_of(&host, &platform).await, Some(receiving));
        assert_eq!(files.receiving_of(&host, &PlatformName::default()).await, None);
        // its name server, as this machine sees it
        let found = probe(&host, "shop.macula.local").await;
        assert_eq!(found, ("ns.shop.macula.local".to_owned(), [127, 80, 5, 9].into()));
    }

    #[test]
    fn names_that_came_after_the_file_was_written() {
        let record = |name: &str| Record::new(name, RecordData::A([127, 0, 0, 1].into()));
        let records = [
            record("macula.local").only(View::Host),
            record("api.macula.local").only(View::Host),
            record("inside.macula.local").only(View::Container),
            record("*.macula.local").only(View::Host),
        ];
        let hosts = "127.0.0.1 localhost\n127.0.0.1 macula.local web.macula.local\n";
        assert_eq!(not_in(hosts, &records), ["api.macula.local"]);
        assert_eq!(not_in(&format!("{hosts}# 127.0.0.1 api.macula.local\n"), &records), ["api.macula.local"]);
        assert_eq!(not_in(&format!("{hosts}127.0.0.1\tapi.macula.local\n"), &records), [""; 0]);
    }
}
