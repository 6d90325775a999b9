//! `dns list`, `add` and `remove`: the platform's own names and those that people wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::compile::{fully_qualified, name_as_the_domain, records_api, zone};
use crate::config::Loaded;
use crate::dns::{Hop, RecordSet, Records, Trace, content, owner, record_type, rtype};
use crate::host::{Lock, until};
use crate::model::{ContainerState, ObservedContainer, Platform, Record, RecordData, View, Zone, label};
use crate::observe;
use crate::plan::without;

use super::error::ResolverError;
use super::resolver::{self, Receiving, ResolverFiles};
use super::survey::would_leave_out;
use super::{Error, Session};

/// How long a new record may take to be seen: the resolver looks every two seconds, more often while it is asked.
const SEEN: Duration = Duration::from_secs(4);
/// How long another run may take to change records.
const TURN: Duration = Duration::from_secs(30);

/// How long it may take to find out whose image is unavailable: registries are asked.
const SOUGHT: Duration = Duration::from_secs(3);

/// One value of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ListedRecord {
    pub name: String,
    #[serde(rename = "type")]
    pub rtype: String,
    pub value: String,
    /// Seconds.
    pub ttl: u32,
    pub source: RecordSource,
}

/// Who has a record; of a name of the platform that leads to nothing, how its service is, in the words of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordSource {
    #[serde(rename = "left out")]
    LeftOut,
    /// The background process, which takes what is sent there.
    Macula,
    #[serde(rename = "not started")]
    NotStarted,
    Platform,
    PowerDns,
    Stopped,
}

impl RecordSource {
    pub fn word(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Macula => "macula",
            Self::NotStarted => "not started",
            Self::Platform => "platform",
            Self::PowerDns => "powerdns",
            Self::Stopped => "stopped",
        }
    }
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    pub name: String,
    #[serde(rename = "type")]
    pub rtype: String,
    pub value: String,
    pub ttl: u32,
    /// False: it was there already.
    pub changed: bool,
    /// The resolver answers with it. None: no resolver runs.
    pub seen: Option<bool>,
}

/// The platform's own names as its machine sees them, and the records in PowerDNS. When PowerDNS
/// cannot be asked the second part is an error.
pub async fn list_records(session: &Session, loaded: &Loaded) -> Result<(Vec<ListedRecord>, Option<Error>), Error> {
    let mut own = own_zone(session, loaded).await?;
    let (idle, theirs) = tokio::join!(idle_names(session, loaded, &own), written_records(session, loaded));
    let idle = idle?;
    let platform = &loaded.platform;
    let receiving = ResolverFiles::of(session.host()).receiving_of(session.host(), &platform.name).await;
    let received = || receiving.iter().flat_map(Receiving::names);
    name_as_the_domain(&mut own, received().map(|(name, address)| (name, Some(address))));
    let is_received = |record: &Record| {
        let RecordData::A(at) = record.data else { return false };
        received().any(|(name, address)| address.ip() == at && fully_qualified(name, &platform.domain) == record.name)
    };
    let seen = |view: &Option<View>| view.is_none_or(|view| view == View::Host);
    let mut all: Vec<ListedRecord> = own
        .records
        .iter()
        .filter(|record| seen(&record.view))
        .map(|record| {
            let (rtype, value) = shown(&record.data);
            let source = match is_received(record) {
                true => RecordSource::Macula,
                false => idle.get(&record.name).copied().unwrap_or(RecordSource::Platform),
            };
            ListedRecord { name: record.name.clone(), rtype, value, ttl: record.ttl, source }
        })
        .collect();
    let failed = match theirs {
        Ok(theirs) => {
            all.extend(theirs);
            None
        }
        Err(error) => Some(error),
    };
    all.sort();
    Ok((all, failed))
}

/// The records in PowerDNS alone; none where the platform has no PowerDNS.
pub(super) async fn written_records(session: &Session, loaded: &Loaded) -> Result<Vec<ListedRecord>, Error> {
    let records = match records(session, &loaded.platform).await {
        Err(Error::Resolver(ResolverError::NoPowerDns { .. })) => return Ok(Vec::new()),
        records => records?,
    };
    let mut all = Vec::new();
    for set in records.list().await.map_err(ResolverError::from)? {
        for record in set.records.iter().filter(|record| !record.disabled) {
            all.push(ListedRecord {
                name: set.name.clone(),
                rtype: set.rtype.clone(),
                value: record.content.clone(),
                ttl: set.ttl,
                source: RecordSource::PowerDns,
            });
        }
    }
    Ok(all)
}

/// Names that lead to nothing while the platform is up, with how their services are. None where no engine answers.
async fn idle_names(session: &Session, loaded: &Loaded, own: &Zone) -> Result<BTreeMap<String, RecordSource>, Error> {
    let platform = &loaded.platform;
    let Some(engine) = session.system.engine.as_deref() else { return Ok(BTreeMap::new()) };
    let Ok(observed) = observe::ours_at_a_glance(engine, &platform.name).await else { return Ok(BTreeMap::new()) };
    let state = session.state(&platform.name);
    let mut idle = idle_services(platform, &observed.containers, &state.stopped(session.host()).await?);
    let optional = |name: &str| platform.service(name).is_some_and(|(_, service)| service.extension.optional);
    // only these are ever left out
    if idle.iter().any(|(name, how)| *how == RecordSource::NotStarted && optional(name))
        && let Ok(Ok(all)) = tokio::time::timeout(SOUGHT, would_leave_out(session, loaded)).await
    {
        for left in &all {
            if let Some(how) = idle.get_mut(&left.service).filter(|how| **how == RecordSource::NotStarted) {
                *how = RecordSource::LeftOut;
            }
        }
    }
    let block = state.block(session.host(), platform).await?;
    let names = |zone: &Zone| zone.records.iter().map(|record| record.name.clone()).collect::<BTreeSet<_>>();
    let mut all = BTreeMap::new();
    for how in idle.values().copied().collect::<BTreeSet<_>>() {
        let services = idle.iter().filter(|(_, other)| **other == how).map(|(name, _)| name.as_str()).collect();
        // a name that several services answer to leads somewhere as long as one of them runs
        let rest = zone(&without(platform, &services), block, Ipv4Net::default(), false, None);
        all.extend(names(own).difference(&names(&rest)).map(|name| (name.clone(), how)));
    }
    Ok(all)
}

/// Services that do not run although something of the platform is there, by the words of `status`.
fn idle_services(
    platform: &Platform,
    containers: &[ObservedContainer],
    stopped: &BTreeSet<String>,
) -> BTreeMap<String, RecordSource> {
    let service = |found: &ObservedContainer| platform.service(found.label(label::SERVICE)?).map(|_| ());
    if !containers.iter().any(|found| service(found).is_some()) {
        return BTreeMap::new();
    }
    let ended = |found: &&ObservedContainer| matches!(found.state, ContainerState::Exited | ContainerState::Dead);
    let mut all = BTreeMap::new();
    for (_, service) in platform.services() {
        let name = service.name.as_str();
        let own: Vec<&ObservedContainer> =
            containers.iter().filter(|found| found.label(label::SERVICE) == Some(name)).collect();
        if own.is_empty() {
            all.insert(name.to_owned(), RecordSource::NotStarted);
        } else if stopped.contains(name) && own.iter().all(ended) {
            all.insert(name.to_owned(), RecordSource::Stopped);
        }
    }
    all
}

fn shown(data: &RecordData) -> (String, String) {
    match data {
        RecordData::A(address) => ("A".into(), address.to_string()),
        RecordData::Aaaa(address) => ("AAAA".into(), address.to_string()),
        RecordData::Ns(name) => ("NS".into(), name.clone()),
        RecordData::Cname(name) => ("CNAME".into(), name.clone()),
        RecordData::Https { priority, target, .. } => ("HTTPS".into(), format!("{priority} {target}")),
        // the platform has no others of its own
        other => ("OTHER".into(), format!("{other:?}")),
    }
}

async fn own_zone(session: &Session, loaded: &Loaded) -> Result<Zone, Error> {
    let block = session.state(&loaded.platform.name).block(session.host(), &loaded.platform).await?;
    // names, and what they lead to on this machine: the network plays no part
    // what leads to the cluster is a wildcard, which nobody's record takes the place of
    let choices = session.state(&loaded.platform.name).choices(session.host()).await?;
    let left_out = choices.refused.keys().map(String::as_str).filter(|name| loaded.platform.is_optional(name));
    Ok(zone(&without(&loaded.platform, &left_out.collect()), block, Ipv4Net::default(), false, None))
}

/// The platform's zone in PowerDNS.
async fn records(session: &Session, platform: &Platform) -> Result<Records, Error> {
    let state = session.state(&platform.name);
    let block = state.block(session.host(), platform).await?;
    let api = records_api(platform, block)
        .ok_or_else(|| ResolverError::NoPowerDns { platform: platform.name.to_string() })?;
    let secrets = state.secrets(session.host()).await?;
    let key = secrets
        .get("powerdns", "PDNS_API_KEY")
        .ok_or_else(|| ResolverError::NotUp { platform: platform.name.to_string() })?;
    Ok(Records::new(api, key, &platform.domain))
}

/// Adds a value and waits until the resolver has it.
pub async fn add_record(
    session: &Session,
    loaded: &Loaded,
    name: &str,
    kind: &str,
    value: &str,
    ttl: u32,
) -> Result<Added, Error> {
    let domain = &loaded.platform.domain;
    let rtype = rtype(kind).map_err(ResolverError::from)?;
    let name = owner(name, domain).map_err(ResolverError::from)?;
    let value = content(&rtype, value, domain).map_err(ResolverError::from)?;
    if is_own(&own_zone(session, loaded).await?, &name, &rtype) {
        return Err(ResolverError::OwnName { name }.into());
    }
    let records = records(session, &loaded.platform).await?;
    let before = said_of(session, &name, &rtype).await;
    let turn = turn(session, &loaded.platform).await?;
    let changed = records.add(&name, &rtype, &value, ttl).await.map_err(ResolverError::from)?;
    drop(turn);
    let before = before.filter(|_| changed);
    let seen = seen(session, &name, &rtype, |trace| shows(trace, before.as_ref())).await;
    Ok(Added { name, rtype, value, ttl, changed, seen })
}

/// Addresses of names that people wrote, for who cannot ask the resolver: pods. Loopback means
/// something else there. None where PowerDNS is not up.
pub(super) async fn written_addresses(
    session: &Session,
    platform: &Platform,
) -> std::collections::BTreeMap<String, std::net::Ipv4Addr> {
    let Ok(records) = records(session, platform).await else { return Default::default() };
    let all = records.list().await.unwrap_or_default();
    let sets = all.iter().filter(|set| set.rtype == "A");
    sets.filter_map(|set| {
        let mut addresses = set.records.iter().filter(|record| !record.disabled);
        let address: std::net::Ipv4Addr = addresses.find_map(|record| record.content.parse().ok())?;
        (!address.is_loopback()).then(|| (set.name.clone(), address))
    })
    .collect()
}

/// Names of the cluster's applications: those that lead to its address on this machine. None where PowerDNS is not up.
pub(super) async fn applications(session: &Session, platform: &Platform, at: std::net::Ipv4Addr) -> Vec<String> {
    let Ok(records) = records(session, platform).await else { return Vec::new() };
    let all = records.list().await.unwrap_or_default();
    let leads = all.iter().filter(|set| {
        let mut records = set.records.iter().filter(|record| !record.disabled);
        set.rtype == "A" && records.any(|record| record.content == at.to_string())
    });
    leads.map(|set| set.name.clone()).collect()
}

/// What ExternalDNS wrote for a cluster that is gone: it owns what it has put its mark beside (a TXT
/// record with the platform's name as the owner, named after the record and its type). How many names
/// there were; none where PowerDNS is not up.
pub(super) async fn remove_owned(session: &Session, loaded: &Loaded) -> Result<usize, Error> {
    let records = records(session, &loaded.platform).await?;
    let owner = format!("external-dns/owner={}", loaded.platform.name);
    let all = records.list().await.map_err(ResolverError::from)?;
    let there = |name: &str, rtype: &str| all.iter().any(|set| set.name == name && set.rtype == rtype);
    let ours = |content: &str| content.trim_matches('"').split(',').any(|part| part == owner);
    let mut gone = BTreeSet::new();
    for set in all.iter().filter(|set| set.rtype == "TXT") {
        if !set.records.iter().any(|record| ours(&record.content)) {
            continue;
        }
        for (rtype, name) in marked(&set.name, &there) {
            records.remove(&name, Some(rtype)).await.map_err(ResolverError::from)?;
            gone.insert(name);
        }
        // beside the mark there may be something that a person wrote
        if set.records.iter().all(|record| ours(&record.content)) {
            records.remove(&set.name, Some("TXT")).await.map_err(ResolverError::from)?;
        }
    }
    Ok(gone.len())
}

/// The types of records that ExternalDNS writes.
const OWNED_TYPES: [&str; 8] = ["A", "AAAA", "CNAME", "NS", "SRV", "MX", "PTR", "NAPTR"];
/// Before the name of each mark: our setting for it (`--txt-prefix`).
const MARK: &str = "_owner-";
/// In the name of a mark, in the place of `*`: our `--txt-wildcard-replacement`.
const ANY: &str = "any";

/// The records that a mark stands beside. By its version and settings ExternalDNS calls the mark of the A
/// record of NAME `_owner-a-NAME`, `a-NAME`, `_owner-NAME` or NAME; the last two stand for all types.
fn marked(mark: &str, there: &dyn Fn(&str, &str) -> bool) -> Vec<(&'static str, String)> {
    let name = mark.strip_prefix(MARK).unwrap_or(mark);
    // the name itself, or the wildcard that the mark does not spell
    let meant = |name: &str, rtype: &str| {
        let wildcard = name.strip_prefix(ANY).map(|rest| format!("*{rest}"));
        [Some(name.to_owned()), wildcard].into_iter().flatten().find(|name| there(name, rtype))
    };
    let typed = OWNED_TYPES.iter().find_map(|rtype| {
        let rest = name.strip_prefix(&rtype.to_lowercase())?.strip_prefix('-')?;
        Some((*rtype, meant(rest, rtype)?))
    });
    match typed {
        Some(typed) => vec![typed],
        None => OWNED_TYPES.iter().filter_map(|rtype| Some((*rtype, meant(name, rtype)?))).collect(),
    }
}

/// Removes a name's records, of one type or all; its full name and how many there were.
pub async fn remove_record(
    session: &Session,
    loaded: &Loaded,
    name: &str,
    kind: Option<&str>,
) -> Result<(String, usize), Error> {
    let rtype = kind.map(rtype).transpose().map_err(ResolverError::from)?;
    let name = owner(name, &loaded.platform.domain).map_err(ResolverError::from)?;
    let records = records(session, &loaded.platform).await?;
    let turn = turn(session, &loaded.platform).await?;
    let removed = records.remove(&name, rtype.as_deref()).await.map_err(ResolverError::from)?;
    drop(turn);
    for set in &removed {
        seen(session, &name, &set.rtype, lacks).await;
    }
    Ok((name, count(&removed)))
}

/// How many values these are.
fn count(sets: &[RecordSet]) -> usize {
    sets.iter().map(|set| set.records.len()).sum()
}

/// For as long as it is held nobody else changes records: a change reads all values of a name, and writes them all.
async fn turn(session: &Session, platform: &Platform) -> Result<Lock, Error> {
    let path = session.state(&platform.name).records_lock_file();
    Ok(Lock::acquire(session.host(), &path, &session.command, Some(TURN), |_| {}).await?)
}

/// Our own exact names stand alone; at the apex and at a wildcard it goes by type, and the wildcard
/// of PowerDNS comes first.
fn is_own(own: &Zone, name: &str, rtype: &str) -> bool {
    let types: BTreeSet<String> =
        own.records.iter().filter(|record| record.name == name).map(|record| shown(&record.data).0).collect();
    if name == own.apex {
        return types.contains(rtype) || rtype == "CNAME";
    }
    !types.is_empty() && !name.starts_with("*.")
}

/// What the resolver says of a name now. None: none runs.
async fn said_of(session: &Session, name: &str, rtype: &str) -> Option<Trace> {
    let mut client = resolver::connect(session.host()).await.ok()?;
    client.trace(name, record_type(rtype)?, View::Host).await.ok()
}

/// Whether the resolver answers with PowerDNS's record. `before`: what it said until that was changed.
fn shows(trace: &Trace, before: Option<&Trace>) -> bool {
    let other = |before: &Trace| (&trace.path, &trace.answers) != (&before.path, &before.answers);
    trace.is_from_feed() && before.is_none_or(other)
}

/// Whether PowerDNS has no such record of the name itself: a wildcard may stand for it.
fn lacks(trace: &Trace) -> bool {
    !trace.is_from_feed() || trace.path.iter().any(|hop| matches!(hop, Hop::Wildcard { .. }))
}

/// Waits until it is so with what the resolver says. None: none runs.
async fn seen(session: &Session, name: &str, rtype: &str, is_so: impl Fn(&Trace) -> bool) -> Option<bool> {
    let mut client = resolver::connect(session.host()).await.ok()?;
    let number = record_type(rtype)?;
    let looked = until(SEEN, Duration::from_millis(50), &session.cancel, async || {
        match client.trace(name, number, View::Host).await {
            Ok(trace) if is_so(&trace) => Ok(Some(true)),
            Ok(_) => Err(()),
            Err(_) => Ok(None),
        }
    });
    looked.await.unwrap_or(Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::compile::Block;
    use crate::config::{MemoryFiles, Request, load};
    use crate::dns::{Layer, ZoneEntry};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn names_of_telemetry_lead_to_where_it_is_taken() {
        let files = MemoryFiles::default().with("/p/macula.yaml", "telemetry: embedded");
        let loaded = load(&Request { cwd: "/p".into(), ..Request::default() }, &files);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let host = FakeHost::new();
        let kept = serde_json::json!({
            "format": 1,
            "entry": ZoneEntry::new(Zone::new("macula.local", 1)),
            "receiving": Receiving::of(&loaded.platform, Block::DEFAULT),
        });
        host.put(ResolverFiles::of(&host).zone(&loaded.platform.name), kept.to_string());
        let session = session(host, &FakeEngine::new(), "macula dns list");
        let (listed, _) = list_records(&session, &loaded).await.unwrap();
        let line = |record: &ListedRecord| format!("{} {} {}", record.name, record.value, record.source.word());
        let shown: Vec<String> = listed.iter().map(line).filter(|line| line.ends_with(" macula")).collect();
        assert_eq!(shown, ["loki.macula.local 127.0.0.3 macula", "otlp.macula.local 127.0.0.12 macula"]);
    }

    #[test]
    fn what_does_not_run_is_called_as_status_calls_it() {
        let stack = "services: {web: {image: a}, db: {image: a}, chart: {image: a}, job: {image: a}}";
        let files = MemoryFiles::default().with("/p/macula.yaml", "stacks: [all.yaml]").with("/p/all.yaml", stack);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let container = |service: &str, state| ObservedContainer {
            labels: [(label::SERVICE.to_owned(), service.to_owned())].into(),
            state,
            ..ObservedContainer::default()
        };
        let stopped: BTreeSet<String> = ["db".to_owned()].into();
        let containers = [
            container("web", ContainerState::Running),
            container("db", ContainerState::Exited),
            container("job", ContainerState::Exited),
        ];
        let idle = idle_services(&platform, &containers, &stopped);
        assert_eq!(
            idle,
            BTreeMap::from([("chart".to_owned(), RecordSource::NotStarted), ("db".to_owned(), RecordSource::Stopped)])
        );
        // while it is down no name is special
        assert_eq!(idle_services(&platform, &[], &stopped), BTreeMap::new());
        // it was started by hand
        let running = [container("db", ContainerState::Running)];
        assert_eq!(idle_services(&platform, &running, &stopped).get("db"), None);
    }

    #[test]
    fn every_naming_of_external_dns_is_understood() {
        let there = |name: &str, rtype: &str| match name {
            "hello.macula.local" => ["A", "AAAA"].contains(&rtype),
            "a-team.macula.local" | "*.apps.macula.local" => rtype == "A",
            "www.macula.local" => rtype == "CNAME",
            _ => false,
        };
        let of = |mark| marked(mark, &there);
        let is = |all: &[(&'static str, &str)]| -> Vec<_> {
            all.iter().map(|(rtype, name)| (*rtype, (*name).to_owned())).collect()
        };
        // of today, with our prefix; without one; of before there were types, with and without it
        assert_eq!(of("_owner-a-hello.macula.local"), is(&[("A", "hello.macula.local")]));
        assert_eq!(of("_owner-aaaa-hello.macula.local"), is(&[("AAAA", "hello.macula.local")]));
        assert_eq!(of("cname-www.macula.local"), is(&[("CNAME", "www.macula.local")]));
        let both = [("A", "hello.macula.local"), ("AAAA", "hello.macula.local")];
        assert_eq!(of("_owner-hello.macula.local"), is(&both));
        assert_eq!(of("hello.macula.local"), is(&both));
        // a name that begins like a type
        assert_eq!(of("_owner-a-a-team.macula.local"), is(&[("A", "a-team.macula.local")]));
        assert_eq!(of("_owner-a-team.macula.local"), is(&[("A", "a-team.macula.local")]));
        assert_eq!(of("_owner-a-*.apps.macula.local"), is(&[("A", "*.apps.macula.local")]));
        assert_eq!(of("_owner-a-any.apps.macula.local"), is(&[("A", "*.apps.macula.local")]));
        assert_eq!(of("_owner-a-gone.macula.local"), is(&[]));
    }

    #[test]
    fn a_value_is_seen_once_the_answer_is_another_one() {
        let found = |layer| Hop::Found { name: "shop.macula.local".to_owned(), layer };
        let wildcard = |layer| Hop::Wildcard { wildcard: "*.macula.local".to_owned(), layer };
        let trace = |path: Vec<Hop>, values: &[&str]| Trace {
            name: "shop.macula.local".to_owned(),
            rtype: "A".to_owned(),
            view: View::Host,
            path,
            rcode: "NOERROR".to_owned(),
            answers: values.iter().map(|value| format!("shop.macula.local. 60 IN A {value}")).collect(),
            authority: Vec::new(),
        };
        let own = trace(vec![wildcard(Layer::Wildcard), found(Layer::Wildcard)], &["127.0.0.10"]);
        let written = trace(vec![wildcard(Layer::Fed), found(Layer::Fed)], &["127.0.0.11"]);
        let one = trace(vec![found(Layer::Fed)], &["127.0.0.11"]);
        let two = trace(vec![found(Layer::Fed)], &["127.0.0.11", "127.0.0.12"]);
        let seen = [&own, &written, &one, &two].map(|trace| shows(trace, Some(&one)));
        assert_eq!(seen, [false, true, false, true]);
        assert_eq!([&own, &one].map(|trace| shows(trace, None)), [false, true]);
        assert_eq!([&own, &written, &one].map(lacks), [true, true, false]);
    }

    #[test]
    fn what_would_never_be_seen_is_refused() {
        let mut zone = Zone::new("macula.local", 1);
        for name in ["macula.local", "*.macula.local", "grafana.macula.local"] {
            zone.records.push(Record::new(name, RecordData::A([127, 0, 0, 1].into())));
        }
        let own = |name, rtype| is_own(&zone, name, rtype);
        assert!(own("grafana.macula.local", "TXT"));
        assert!(own("macula.local", "A") && own("macula.local", "CNAME") && !own("macula.local", "MX"));
        assert!(!own("*.macula.local", "A") && !own("shop.macula.local", "A"));
    }
}
