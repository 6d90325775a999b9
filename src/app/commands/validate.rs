//! `validate` and `dns trace`: the names walked from outside.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::compile::{Block, applications_address, container_name, fully_qualified, ingress_address, own_address};
use crate::config::Loaded;
use crate::dns::Name;
use crate::dns::Trace;
use crate::doctor::{self, Finding, Needs, Selection, Status};
use crate::host::pause;
use crate::model::{ContainerState, ObservedContainer, Platform, Remedy, Role, View, label};
use crate::pki::Authority;
use crate::pki::trust;
use crate::plan::{LeftOut, Reason};
use crate::validate::{
    self, Arrival, Cause, Evidence, Hop, Scene, SoFar, Target, Verdict, Web, collect, foreign, judge, targets,
};

use crate::app::certificate::{authorities, authority_domain};
use crate::app::records::{ListedRecord, RecordSource, written_records};
use crate::app::resolver::{self, Receiving, ResolverFiles};
use crate::app::survey::{Survey, survey};
use crate::app::{Error, Session};

/// Nothing at all is reached for this long: there is no way to the engine's addresses.
const NO_WAY: Duration = Duration::from_secs(5);

/// The ingress has this long to say to which containers of a shared name it passes requests.
const TELLING: Duration = Duration::from_secs(5);

/// The ingress takes a container that has just come for well until it has asked it: once a second, and each time for
/// less than that.
const CHECKED: Duration = Duration::from_secs(2);

/// What is known before the walk.
struct Ground {
    engine: Result<std::sync::Arc<dyn crate::engine::Engine>, String>,
    platform: Platform,
    block: Block,
    subnet: Option<Ipv4Net>,
    tls: bool,
    containers: Vec<ObservedContainer>,
    container_addresses: bool,
    /// Where the cluster's applications answer; none without a cluster that is to run.
    applications: Option<IpAddr>,
    /// Names behind which the background process takes telemetry, since no service has them.
    received: Vec<Target>,
    /// Names that lead nowhere, since their service is left out.
    absent: Vec<Absent>,
}

/// A name of a service that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Absent {
    pub name: String,
    pub service: String,
    /// Why it is left out.
    pub reason: Reason,
}

/// All names of the services that are left out; those that another service or the background process answers to as well
/// work.
fn absent(full: &Platform, survey: &Survey, received: &[Target]) -> Vec<Absent> {
    let of = |platform: &Platform| targets(platform, survey.block, Some(survey.subnet), survey.tls());
    let answered = of(&survey.platform).into_iter().chain(received.iter().cloned());
    let there: Vec<String> = answered.map(|target| target.name).collect();
    let mut all = Vec::new();
    for LeftOut { service, reason } in &survey.supply.left_out {
        let absent = |name: String| Absent { name, service: service.clone(), reason: reason.clone() };
        let own: Vec<String> =
            of(full).into_iter().filter(|target| target.service == *service).map(|target| target.name).collect();
        // one without names, and the name that it would have
        let plain = fully_qualified(service, &full.domain);
        let plain = own.is_empty().then_some(plain);
        all.extend(own.into_iter().chain(plain).filter(|name| !there.contains(name)).map(absent));
    }
    all
}

/// Where the names lead behind which the background process takes what services would, but for those in `own`. `inside`:
/// where containers are led.
fn received(
    receiving: Option<&Receiving>,
    platform: &Platform,
    own: &[Target],
    inside: Option<Ipv4Addr>,
) -> Vec<Target> {
    let Some(receiving) = receiving else { return Vec::new() };
    let target = |(name, at): (&str, SocketAddr)| {
        let name = fully_qualified(name, &platform.domain);
        let here = receiving.addresses.iter().filter(|address| address.ip() == at.ip());
        let ports = here.map(SocketAddr::port).collect();
        Target { address: Some(at.ip()), inside, ports, ..foreign(&name) }
    };
    let all = receiving.names().map(target);
    all.filter(|target| !own.iter().any(|known| known.name == target.name)).collect()
}

/// Without an engine the names can still be looked at.
async fn ground(session: &Session, loaded: &Loaded) -> Result<Ground, Error> {
    let host = session.host();
    session.check_known(&loaded.platform.name).await?;
    let receiving = ResolverFiles::of(host).receiving_of(host, &loaded.platform.name).await;
    match survey(session, loaded).await {
        Ok(survey) => {
            let own = targets(&survey.platform, survey.block, Some(survey.subnet), survey.tls());
            let has_ingress =
                survey.platform.services().any(|(_, service)| service.extension.role == Some(Role::Ingress));
            let inside = has_ingress.then(|| ingress_address(survey.subnet));
            let received = received(receiving.as_ref(), &survey.platform, &own, inside);
            Ok(Ground {
                absent: absent(&loaded.platform, &survey, &received),
                received,
                applications: (survey.cluster.observed.is_some() && !survey.leaves_cluster_alone())
                    .then(|| applications_address(survey.block).into()),
                tls: survey.tls(),
                engine: Ok(survey.engine),
                platform: survey.platform,
                block: survey.block,
                subnet: Some(survey.subnet),
                containers: survey.observed.containers,
                container_addresses: survey.facts.container_addresses,
            })
        }
        Err(error @ (Error::NoEngine(_) | Error::Engine(_))) => {
            let platform = loaded.platform.clone();
            let block = session.state(&platform.name).block(host, &platform).await?;
            Ok(Ground {
                engine: Err(error.to_string()),
                tls: root(session, &platform).await.is_some(),
                platform,
                block,
                subnet: None,
                containers: Vec::new(),
                container_addresses: false,
                applications: None,
                received: Vec::new(),
                absent: Vec::new(),
            })
        }
        Err(error) => Err(error),
    }
}

/// Our root, where there is one, and whether a store that is no file (a keychain) trusts it.
async fn root(session: &Session, platform: &Platform) -> Option<(Vec<u8>, bool)> {
    let host = session.host();
    let domain = authority_domain(platform);
    let root = Authority::recorded_root(host, &authorities(session), domain).await?;
    let trusted = match host.facts().os.as_str() {
        "macos" => {
            let anchor = trust::Anchor::new(domain, &root);
            let stores = trust::status(host, &anchor).await;
            stores.iter().any(|store| store.place.kind == trust::Kind::MacOs && store.state == trust::State::Trusted)
        }
        _ => false,
    };
    Some((root.der, trusted))
}

/// Hears what a walk has seen as it comes.
pub type Told<'a> = &'a (dyn Fn(SoFar) + Send + Sync);

/// `more`: names that somebody else has to be asked for first.
async fn walk(
    session: &Session,
    ground: &Ground,
    targets: Vec<Target>,
    more: impl Future<Output = Vec<Target>>,
    told: Option<Told<'_>>,
) -> Evidence {
    let host = session.host();
    let files = ResolverFiles::of(host);
    let platform = &ground.platform;
    let ingress = platform
        .services()
        .find(|(_, service)| service.extension.role == Some(Role::Ingress))
        .map(|(_, service)| container_name(platform, service, 1));
    let network = platform.name.network();
    let (name, address): (String, IpAddr) = resolver::probe(host, &platform.domain).await;
    let scene = Scene {
        host,
        engine: ground.engine.as_deref().map_err(Clone::clone),
        platform: &platform.name,
        domain: &platform.domain,
        network: &network,
        targets: targets
            .into_iter()
            .map(|target| led_inside(target, &ground.containers, &network).among(&ground.containers))
            .collect(),
        containers: &ground.containers,
        ingress: ingress.as_deref(),
        container_addresses: ground.container_addresses,
        control: files.control(),
        install: files.install(),
        dns_port: 53,
        probe: (name, address),
        root: root(session, platform).await,
        told,
    };
    collect(&scene, more).await
}

/// A name that is newer than the ingress leads to a further container of it inside.
fn led_inside(target: Target, containers: &[ObservedContainer], network: &str) -> Target {
    let holds = |found: &&ObservedContainer| {
        found.label(label::REPLICA) != Some("1")
            && found.label(label::NAMES).is_some_and(|names| names.split(',').any(|name| name == target.name))
    };
    let later = containers.iter().find(holds).and_then(|found| found.addresses.get(network));
    Target { inside: target.inside.and(later.copied()).or(target.inside), ..target }
}

/// What is wrong with the bridges of this machine and what it forwards: where they are broken nothing else
/// can be told.
pub async fn bridges(session: &Session, loaded: &Loaded) -> Vec<Finding> {
    let platform = &loaded.platform;
    let needs = Needs {
        platform: platform.name.to_string(),
        domain: platform.domain.clone(),
        network: platform.name.network(),
        invocation: session.invocation.clone(),
        ..Needs::default()
    };
    let checks = Selection::Named(vec!["docker0-address", "forwarding"]);
    let mut found = doctor::run(&session.system, &needs, checks).await;
    found.retain(|finding| matches!(finding.status, Status::Warning | Status::Failed));
    found
}

/// Walks every name of the platform, but those of services that are left out or are to have no containers.
pub async fn validate(
    session: &Session,
    loaded: &Loaded,
    told: Option<Told<'_>>,
) -> Result<(Evidence, Verdict, Vec<Absent>), Error> {
    let ground = ground(session, loaded).await?;
    let mut own = targets(&ground.platform, ground.block, ground.subnet, ground.tls);
    own.extend(ground.received.iter().cloned());
    // what people and the cluster's applications have written is answered by the same resolver
    let more = async {
        let found = match tokio::time::timeout(LISTING, written_records(session, loaded)).await {
            Ok(Ok(listed)) => written(&listed, ground.applications, &own),
            // without it only the platform's own names are there
            Ok(Err(_)) => Vec::new(),
            Err(_) => {
                session.events.info("names that you have added are not checked: PowerDNS does not answer");
                Vec::new()
            }
        };
        if found.len() > MOST_WRITTEN {
            session.events.info(format!("of {} names in PowerDNS {MOST_WRITTEN} are checked", found.len()));
        }
        found.into_iter().take(MOST_WRITTEN).collect()
    };
    let there = own.iter().filter(|target| !target.is_vacant(&ground.platform)).cloned().collect();
    let evidence = walk(session, &ground, there, more, told).await;
    let verdict = judge(&evidence);
    Ok((evidence, verdict, ground.absent))
}

/// For PowerDNS's list of records.
const LISTING: Duration = Duration::from_secs(3);

/// Names that are checked of those in PowerDNS: each is looked up and connected to.
const MOST_WRITTEN: usize = 200;

/// Names of PowerDNS that are none of the platform's own: those of the cluster's applications, which answer at
/// their address on HTTP, and those of people, of which nothing is known but where they lead.
fn written(listed: &[ListedRecord], applications: Option<IpAddr>, own: &[Target]) -> Vec<Target> {
    let mut found: BTreeMap<&str, Target> = BTreeMap::new();
    let theirs = listed.iter().filter(|record| record.source == RecordSource::PowerDns);
    for record in theirs.filter(|record| ["A", "AAAA", "CNAME"].contains(&record.rtype.as_str())) {
        if own.iter().any(|target| target.name == record.name) {
            continue;
        }
        let target = found.entry(&record.name).or_insert_with(|| Target {
            asked: record.name.replacen('*', "macula-validate", 1),
            ..foreign(&record.name)
        });
        // of several addresses any will do
        let address: Option<IpAddr> = record.value.parse().ok();
        target.address = if record.rtype == "A" && target.address.is_none() { address } else { None };
        if address.is_some() && address == applications {
            target.ports = vec![80];
        }
    }
    found.into_values().collect()
}

/// Names that do not lead to their services, once there was time for all of them to; with the reason and
/// what to do about it. The resolver and trust are another matter: nothing here goes by them. None when the user
/// has stopped it.
pub(super) async fn astray(session: &Session, seen: &Survey, patience: Duration) -> Vec<Astray> {
    let runs = |service: &str| {
        let mut containers = seen.observed.containers.iter();
        containers.any(|found| found.label(label::SERVICE) == Some(service) && found.state == ContainerState::Running)
    };
    let ingress = seen.platform.services().find(|(_, service)| service.extension.role == Some(Role::Ingress));
    let through = ingress.is_some_and(|(_, service)| runs(&service.name));
    let all = targets(&seen.platform, seen.block, Some(seen.subnet), seen.tls());
    // a program that listens later, or speaks something else on that port, is as it should be
    let assumed = |target: &Target| {
        let service = seen.platform.service(&target.service).map(|(_, service)| service);
        let mut rules = service.into_iter().flat_map(|service| &service.extension.ingress);
        rules.any(|rule| rule.assumed && fully_qualified(&rule.host, &seen.platform.domain) == target.name)
    };
    let fits = |target: &Target| runs(&target.service) && (target.web.is_none() || through) && !assumed(target);
    let lately = session.host().now() - i64::try_from(CHECKED.as_secs()).unwrap_or_default() - 1;
    let fresh = |target: &Target| {
        let members: Vec<&str> =
            target.shares.iter().flat_map(|share| &share.members).map(|member| member.service.as_str()).collect();
        let new = |found: &&ObservedContainer| found.started_at.is_some_and(|started| started >= lately);
        let of_it = |found: &ObservedContainer| found.label(label::SERVICE).is_some_and(|name| members.contains(&name));
        seen.observed.containers.iter().filter(new).any(of_it)
    };
    let mut left: Vec<Target> =
        all.into_iter().filter(fits).map(|target| target.among(&seen.observed.containers)).collect();
    let (begun, checked) = (Instant::now(), CHECKED.min(patience));
    let mut between = Duration::from_millis(50);
    let mut reached = false;
    loop {
        let arrivals = validate::arrivals(&left).await;
        reached |= arrivals.iter().any(|arrival| *arrival != Arrival::NoWay);
        let asked = std::mem::take(&mut left).into_iter().zip(arrivals);
        let elapsed = begun.elapsed();
        let there = |target: &Target, arrival: Arrival| match arrival {
            Arrival::Answered => elapsed >= checked || !fresh(target),
            // one that has just got new files may be about to tell, and somebody's own never does
            Arrival::Untold => elapsed >= TELLING.min(patience),
            Arrival::Astray | Arrival::NoWay => false,
        };
        left = asked.filter(|(target, arrival)| !there(target, *arrival)).map(|(target, _)| target).collect();
        if left.is_empty() {
            return Vec::new();
        }
        if !reached && begun.elapsed() >= NO_WAY.min(patience) {
            let reason = "published addresses of the engine do not arrive here; names were not asked";
            session.events.warn(reason);
            return Vec::new();
        }
        if begun.elapsed() >= patience {
            break;
        }
        let open = checked.saturating_sub(begun.elapsed());
        if !pause(if open.is_zero() { between } else { between.min(open) }, &session.cancel).await {
            return Vec::new();
        }
        between = (between * 2).min(Duration::from_secs(1));
    }
    let ground = Ground {
        engine: Ok(seen.engine.clone()),
        platform: seen.platform.clone(),
        block: seen.block,
        subnet: Some(seen.subnet),
        tls: seen.tls(),
        containers: seen.observed.containers.clone(),
        container_addresses: seen.facts.container_addresses,
        applications: None,
        received: Vec::new(),
        absent: Vec::new(),
    };
    let evidence = walk(session, &ground, left.clone(), ready(Vec::new()), None).await;
    let on_the_way = |fault: &&validate::Fault| matches!(fault.cause.hop(), Hop::Connect | Hop::Http | Hop::Service);
    let faults: Vec<validate::Fault> = judge(&evidence).faults.into_iter().filter(|fault| on_the_way(&fault)).collect();
    left.into_iter()
        .map(|target| {
            let cause = faults.iter().find(|fault| fault.names.contains(&target.name)).map(|fault| &fault.cause);
            Astray {
                partly: matches!(cause, Some(Cause::OutOfRotation { .. })),
                reason: cause.map_or_else(|| "does not answer".to_owned(), ToString::to_string),
                remedies: cause.map(|cause| cause.remedies(evidence.machine.linux)).unwrap_or_default(),
                name: target.name,
                service: target.service,
            }
        })
        .collect()
}

/// See [`astray`].
pub(super) struct Astray {
    pub name: String,
    /// It leads to some of the services that share it.
    pub partly: bool,
    pub service: String,
    pub reason: String,
    pub remedies: Vec<Remedy>,
}

/// One name's way.
pub struct Traced {
    pub evidence: Evidence,
    pub verdict: Verdict,
    /// What our resolver did with the question; none while it does not run.
    pub path: Option<Trace>,
}

/// Walks one name: one of the platform's, or any other. A name without a dot lies below the
/// platform's domain.
pub async fn trace_name(session: &Session, loaded: &Loaded, name: &str) -> Result<Traced, Error> {
    let ground = ground(session, loaded).await?;
    let name = full_name(name, &ground.platform.domain);
    let mut all = targets(&ground.platform, ground.block, ground.subnet, ground.tls);
    all.extend(ground.received.iter().cloned());
    let wildcard = |target: &&Target| match target.name.strip_prefix("*.") {
        Some(parent) => name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => false,
    };
    let known = all.iter().find(|target| target.name == name).or_else(|| all.iter().find(wildcard));
    let path = async {
        let mut client = resolver::connect(session.host()).await.ok()?;
        client.trace(&name, 1, View::Host).await.ok()
    };
    let path = path.await;
    let below = name == ground.platform.domain || name.ends_with(&format!(".{}", ground.platform.domain));
    let written = path.as_ref().is_some_and(Trace::is_from_feed);
    let absent = ground.absent.iter().find(|absent| absent.name == name);
    let target = match known {
        // the resolver's wildcard answers for it, and the ingress knows nothing of it
        _ if absent.is_some() => {
            Target { service: absent.map(|absent| absent.service.clone()).unwrap_or_default(), ..foreign(&name) }
        }
        Some(target) => Target { name: name.clone(), asked: name.clone(), ..target.clone() },
        // the wildcard's: the ingress says that there is no such name
        None if below && !written => unowned(&ground, &name, path.as_ref().is_some_and(Trace::is_from_wildcard)),
        None => foreign(&name),
    };
    let evidence = walk(session, &ground, vec![target], ready(Vec::new()), None).await;
    let mut verdict = judge(&evidence);
    if let Some(Absent { service, reason, .. }) = absent {
        let missing = Cause::ServiceMissing { service: service.clone() };
        let left_out = || Cause::ServiceLeftOut { service: service.clone(), reason: reason.to_string() };
        for fault in verdict.faults.iter_mut().filter(|fault| fault.cause == missing) {
            fault.cause = left_out();
        }
    }
    if let Some(rebound) = path.as_ref().and_then(Trace::rebound) {
        for fault in verdict.faults.iter_mut().filter(|fault| matches!(fault.cause, Cause::NoSuchName { .. })) {
            fault.cause = Cause::NotPassedOn { name: rebound.to_owned() };
        }
    }
    Ok(Traced { evidence, verdict, path })
}

/// A name below the domain that no service has. `by_wildcard`: it is no program's, either. Then it leads to the cluster,
/// where there is one.
fn unowned(ground: &Ground, name: &str, by_wildcard: bool) -> Target {
    if let Some(address) = ground.applications.filter(|_| by_wildcard) {
        return Target { address: Some(address), ports: vec![80], ..foreign(name) };
    }
    let settings = &ground.platform.ingress;
    let web = Web {
        http: settings.http,
        https: ground.tls.then_some(settings.https),
        path: "/".to_owned(),
        port: settings.http,
        fallback: None,
    };
    Target { address: Some(own_address(ground.block).into()), web: Some(web), ..foreign(name) }
}

/// `postgres` -> `postgres.macula.local`; what has a dot is a full name already.
pub fn full_name(name: &str, domain: &str) -> String {
    // what cannot be a name stays as it is, and is refused by whoever looks it up
    let name = Name::ascii(name).unwrap_or_else(|_| name.into());
    let plain = name.trim_end_matches('.');
    if plain.contains('.') || plain == "localhost" || plain.is_empty() || name.ends_with('.') {
        return plain.to_ascii_lowercase();
    }
    fully_qualified(plain, domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::PlatformName;

    /// `otlp` works without Alloy.
    #[test]
    fn names_of_telemetry_that_no_service_has_lead_to_the_background_process() {
        let files = MemoryFiles::default().with("/p/macula.yaml", "telemetry: embedded");
        let loaded = load(&Request { cwd: "/p".into(), ..Request::default() }, &files);
        let platform = loaded.unwrap_or_else(|errors| panic!("{errors}")).platform;
        let receiving = Receiving::of(&platform, Block::DEFAULT).unwrap();
        let inside = Ipv4Addr::new(10, 222, 7, 2);
        let names = |own: &[Target]| {
            let found = received(Some(&receiving), &platform, own, Some(inside)).into_iter();
            found
                .map(|found| {
                    let Target { name, asked, service, address, inside, ports, web, shares } = found;
                    assert_eq!((asked.as_str(), inside.is_some(), web, shares.len()), (name.as_str(), true, None, 0));
                    format!("{name} {} {ports:?} {service:?}", address.unwrap())
                })
                .collect::<Vec<_>>()
        };
        let otlp = "otlp.macula.local 127.0.0.12 [4317, 4318] \"\"";
        assert_eq!(names(&[]), [otlp, "loki.macula.local 127.0.0.3 [3100] \"\""]);
        assert_eq!(names(&[foreign("loki.macula.local")]), [otlp]);
        assert!(received(None, &platform, &[], Some(inside)).is_empty());
    }

    #[test]
    fn a_name_of_nobody_leads_to_the_cluster_where_there_is_one() {
        let cluster: IpAddr = [127, 0, 0, 10].into();
        let led = |applications, by_wildcard| {
            let ground = Ground {
                engine: Err("none".to_owned()),
                platform: Platform::new(PlatformName::default(), Vec::new()),
                block: Block::DEFAULT,
                subnet: None,
                tls: false,
                containers: Vec::new(),
                container_addresses: false,
                applications,
                received: Vec::new(),
                absent: Vec::new(),
            };
            let found = unowned(&ground, "x.macula.local", by_wildcard);
            (found.address.unwrap().to_string(), found.web.is_some(), found.ports)
        };
        let ours = ("127.0.0.1".to_owned(), true, Vec::new());
        assert_eq!((led(None, true), led(Some(cluster), false)), (ours.clone(), ours));
        assert_eq!(led(Some(cluster), true), ("127.0.0.10".to_owned(), false, vec![80]));
    }

    #[test]
    fn names_of_the_cluster_and_of_people_belong_to_it() {
        let record = |name: &str, rtype: &str, value: &str, source| ListedRecord {
            name: name.into(),
            rtype: rtype.into(),
            value: value.into(),
            ttl: 60,
            source,
        };
        let listed = [
            record("grafana.macula.local", "A", "127.0.0.2", RecordSource::Platform),
            record("grafana.macula.local", "TXT", "x", RecordSource::PowerDns),
            record("hello.macula.local", "A", "127.0.0.10", RecordSource::PowerDns),
            record("_owner-a-hello.macula.local", "TXT", "heritage=external-dns", RecordSource::PowerDns),
            record("db.macula.local", "A", "192.0.2.7", RecordSource::PowerDns),
            record("db.macula.local", "A", "192.0.2.8", RecordSource::PowerDns),
            record("www.macula.local", "CNAME", "hello.macula.local.", RecordSource::PowerDns),
            record("*.apps.macula.local", "A", "127.0.0.10", RecordSource::PowerDns),
        ];
        let own = [foreign("grafana.macula.local")];
        let applications: IpAddr = applications_address(Block::DEFAULT).into();
        let found = written(&listed, Some(applications), &own);
        let seen: Vec<String> = found
            .iter()
            .map(|target| format!("{} ({}) {:?} {:?}", target.name, target.asked, target.address, target.ports))
            .collect();
        insta::assert_snapshot!(seen.join("\n"), @"
        *.apps.macula.local (macula-validate.apps.macula.local) Some(127.0.0.10) [80]
        db.macula.local (db.macula.local) None []
        hello.macula.local (hello.macula.local) Some(127.0.0.10) [80]
        www.macula.local (www.macula.local) None []
        ");
        // nothing answers there without a cluster
        let found = written(&listed, None, &own);
        assert_eq!((found.len(), found.iter().all(|target| target.ports.is_empty())), (4, true));
    }

    #[test]
    fn short_names_lie_below_the_domain() {
        let full = |name| full_name(name, "macula.local");
        assert_eq!(full("postgres"), "postgres.macula.local");
        assert_eq!(full("Grafana.macula.local."), "grafana.macula.local");
        assert_eq!(full("example.com"), "example.com");
        assert_eq!(full("localhost"), "localhost");
        assert_eq!(full("com."), "com");
    }
}
