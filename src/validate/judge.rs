//! From what was seen to what is wrong. Pure.

use std::net::{IpAddr, SocketAddr};

use super::cause::{Cause, Found, State};
use super::evidence::*;
use super::lookup;
use super::reach::silence;
use crate::dns::install::Rung;
use crate::model::proxy::with_lacking;
use crate::model::{ContainerState, Health};

/// Clocks that differ by more than this many seconds make certificates and logins fail.
const CLOCK: i64 = 300;

/// One name, hop by hop, in the order of [`Hop::ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub service: String,
    pub hops: [State; 7],
}

/// One thing that is broken, with everything that breaks by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub cause: Cause,
    /// Empty: it concerns none of the names by itself.
    pub names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub rows: Vec<Row>,
    /// In the order in which they are best mended.
    pub faults: Vec<Fault>,
}

impl Verdict {
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }

    /// Names with a broken hop.
    pub fn broken_names(&self) -> usize {
        self.rows.iter().filter(|row| row.hops.contains(&State::Broken)).count()
    }
}

/// The hop that breaks of each name, why, and what else does not work.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut faults: Vec<Fault> = Vec::new();
    let mut note = |cause: Cause, name: Option<&str>| {
        let at = faults.iter().position(|fault| fault.cause == cause).unwrap_or_else(|| {
            faults.push(Fault { cause, names: Vec::new() });
            faults.len() - 1
        });
        if let (Some(fault), Some(name)) = (faults.get_mut(at), name) {
            fault.names.push(name.to_owned());
        }
    };
    for cause in of_machine(evidence) {
        note(cause, None);
    }
    let mut rows = Vec::new();
    for seen in &evidence.names {
        let (hops, causes) = of_name(evidence, seen);
        for cause in causes {
            note(cause, Some(&seen.target.name));
        }
        rows.push(Row { name: seen.target.name.clone(), service: seen.target.service.clone(), hops });
    }
    faults.sort_by_key(|fault| fault.cause.hop());
    Verdict { rows, faults }
}

/// What is wrong whatever the name.
fn of_machine(evidence: &Evidence) -> Vec<Cause> {
    let machine = &evidence.machine;
    let mut all = Vec::new();
    if let Err(reason) = &machine.engine {
        all.push(Cause::NoEngine { reason: reason.clone() });
    }
    if let Some(resolver) = &machine.resolver {
        if let Some((address, Some(reason))) = &resolver.feed {
            all.push(Cause::PowerDnsDown { address: *address, reason: reason.clone() });
        }
        let carries_all = machine.installed.as_ref().is_some_and(|installed| installed.rung == Rung::ResolvConf);
        if let (true, Err(reason)) = (carries_all, &resolver.upstream) {
            let servers = resolver.upstreams.clone();
            all.push(Cause::UpstreamSilent { servers, reason: reason.clone() });
        }
    }
    if let Some(ProxySeen { variable, proxy, exceptions, passes: Err(said) }) = &machine.proxy {
        let exceptions = with_lacking(exceptions, &evidence.domain);
        all.push(Cause::Proxy { variable: variable.clone(), proxy: proxy.clone(), said: said.clone(), exceptions });
    }
    let dates = evidence.names.iter().filter_map(|name| name.http.as_ref()?.as_ref().ok()?.date);
    // all containers have one clock, and a service may write any date: a single one that agrees proves it right
    if let Some(theirs) = dates.min_by_key(|theirs| (theirs - evidence.now).abs())
        && (theirs - evidence.now).abs() > CLOCK
    {
        all.push(Cause::ClockDiffers { theirs, now: evidence.now });
    }
    all
}

/// A name's hops, and the causes of those that break. A hop that breaks only because of one before
/// it has no cause of its own.
fn of_name(evidence: &Evidence, seen: &NameSeen) -> ([State; 7], Vec<Cause>) {
    let mut causes: Vec<Cause> = Vec::new();
    let mut state = |found: Found| match found {
        Found::Is(state) => state,
        Found::Broken(cause) => {
            if !causes.contains(&cause) {
                causes.push(cause);
            }
            State::Broken
        }
    };
    let by_name = evidence.machine.resolver.is_none() || seen.dns.is_some();
    let dns = lookup::dns(evidence, seen);
    let broken_dns = matches!(dns, Found::Broken(_));
    let dns = if by_name { state(dns) } else { State::Unknown };
    let look_up = match lookup::system(evidence, seen) {
        Found::Broken(_) if broken_dns => State::Broken,
        found => state(found),
    };
    let connect = state(connect(evidence, seen));
    let tls = state(tls(evidence, seen));
    let service = service(evidence, seen);
    let trouble = matches!(service, Found::Broken(_));
    let through = http(evidence, seen);
    let (http, service) = match through {
        // the name answers, and whoever it is that does not, this says who
        Found::Broken(cause @ Cause::OutOfRotation { .. }) => (State::Broken, state(Found::Broken(cause))),
        // the service is the reason: the ingress does what it can
        Found::Broken(_) if trouble => (State::Broken, state(service)),
        Found::Broken(cause) if cause.hop() == Hop::Service => (State::Broken, state(Found::Broken(cause))),
        // what answers is there, whatever its health check says
        Found::Is(State::Ok) if !seen.target.service.is_empty() => (State::Ok, State::Ok),
        through => (state(through), state(service)),
    };
    let inside = match inside(evidence, seen) {
        Found::Broken(_) if connect == State::Broken || service == State::Broken => State::Unknown,
        found => state(found),
    };
    ([look_up, dns, connect, tls, http, service, inside], causes)
}

fn connect(evidence: &Evidence, seen: &NameSeen) -> Found {
    let machine = &evidence.machine;
    if seen.connect.is_empty() {
        return Found::Is(if seen.target.service.is_empty() { State::None } else { State::Unknown });
    }
    let web = seen.target.web.as_ref();
    let of_ingress =
        |address: &SocketAddr| web.is_some_and(|web| address.port() == web.http || Some(address.port()) == web.https);
    // that the ports answer says nothing when it is not the ingress that answers there
    if web.is_some() && machine.engine.is_ok() {
        let state = match &machine.ingress {
            Some(ingress) if ingress.runs() => None,
            Some(ingress) => Some((Some(ingress.name.clone()), described(ingress))),
            None => Some((None, "missing".to_owned())),
        };
        if let Some((container, state)) = state {
            return Found::Broken(match machine.squatters.is_empty() {
                false => Cause::PortTaken { squatters: machine.squatters.clone() },
                true => Cause::IngressDown { container, state },
            });
        }
    }
    for (address, connected) in &seen.connect {
        let Err(reason) = connected else { continue };
        if let Err(reason) = &machine.engine {
            return Found::Broken(Cause::NoEngine { reason: reason.clone() });
        }
        if of_ingress(address) {
            return Found::Broken(Cause::NotReached { address: *address, reason: reason.clone() });
        }
        return match service(evidence, seen) {
            Found::Broken(cause) => Found::Broken(cause),
            Found::Is(_) => Found::Broken(Cause::NotReached { address: *address, reason: reason.clone() }),
        };
    }
    if !seen.dead_v6.is_empty() {
        return Found::Broken(Cause::DeadIpv6 { addresses: seen.dead_v6.clone() });
    }
    Found::Is(State::Ok)
}

/// What answers in its place is somebody else's.
fn ingress_is_down(evidence: &Evidence) -> bool {
    evidence.machine.engine.is_ok() && evidence.machine.ingress.as_ref().is_none_or(|ingress| !ingress.runs())
}

fn tls(evidence: &Evidence, seen: &NameSeen) -> Found {
    if seen.target.web.as_ref().is_none_or(|web| web.https.is_none()) {
        return Found::Is(State::None);
    }
    let found = match &seen.tls {
        // nothing to speak to, or somebody else's
        None => return Found::Is(State::Unknown),
        _ if ingress_is_down(evidence) => return Found::Is(State::Unknown),
        Some(Err(reason)) => return Found::Broken(Cause::NoTls { reason: reason.clone() }),
        Some(Ok(found)) => found,
    };
    let Served { names, not_before, not_after, issuer } = &found.certificate;
    // ours says how the certificate is, the system's whether it is trusted: two things
    let (fault, trusted) = match (&found.ours, &found.system) {
        (Some(Ok(())), Ok(())) | (None, Ok(())) => return Found::Is(State::Ok),
        (Some(Ok(())), Err(TlsFault::UnknownIssuer)) => return Found::Broken(Cause::NotTrusted),
        (Some(Ok(())), Err(fault)) | (None, Err(fault)) => (fault, false),
        (Some(Err(fault)), system) => (fault, system.is_ok()),
    };
    // of another authority that this machine trusts all the same: a user's own certificate
    if trusted {
        return Found::Is(State::Ok);
    }
    Found::Broken(match fault {
        TlsFault::Expired => Cause::Expired { at: *not_after },
        TlsFault::NotYet => Cause::ClockBehind { begins: *not_before, now: evidence.now },
        TlsFault::OtherName => {
            // a wildcard stands for one label (RFC 9525 6.3)
            let above = seen.target.asked.strip_suffix(&format!(".{}", evidence.domain)).unwrap_or_default();
            match above.contains('.') && names.contains(&format!("*.{}", evidence.domain)) {
                true => Cause::TooDeep { domain: evidence.domain.clone() },
                false => Cause::NameNotCovered { names: names.clone() },
            }
        }
        TlsFault::UnknownIssuer => Cause::OtherAuthority { issuer: issuer.clone() },
        TlsFault::Other(reason) => Cause::Refused { reason: reason.clone() },
    })
}

fn http(evidence: &Evidence, seen: &NameSeen) -> Found {
    if seen.target.web.is_none() {
        return Found::Is(State::None);
    }
    let service = || seen.target.service.clone();
    match &seen.http {
        None => Found::Is(State::Unknown),
        _ if ingress_is_down(evidence) => Found::Is(State::Unknown),
        // who shows a certificate is awake, and waits itself
        Some(Err(reason)) if *reason == silence() && matches!(seen.tls, Some(Ok(_))) && !service().is_empty() => {
            let reason = format!("it accepts connections, and there is {reason}");
            Found::Broken(Cause::ServiceSilent { service: service(), reason })
        }
        Some(Err(reason)) => Found::Broken(Cause::NoHttp { reason: reason.clone() }),
        Some(Ok(HttpSeen { mark: Some(Mark::NoRoute), .. })) => Found::Broken(Cause::RouteMissing),
        Some(Ok(HttpSeen { mark: Some(Mark::Unavailable), .. })) => {
            let direct = seen.containers.iter().find_map(|found| Some((found, found.direct.as_ref()?)));
            Found::Broken(match direct {
                Some((found, Ok(address))) => {
                    let ingress = evidence.machine.ingress.as_ref().and_then(|ingress| ingress.started_at);
                    let newer = found.started_at.zip(ingress).is_some_and(|(its, ingress)| its > ingress);
                    Cause::StaleUpstream { service: service(), address: *address, newer }
                }
                Some((_, Err(reason))) => Cause::ServiceSilent { service: service(), reason: reason.clone() },
                None => Cause::ServiceSilent { service: service(), reason: "the ingress does not reach it".into() },
            })
        }
        Some(Ok(HttpSeen { status, .. })) if *status >= 500 => {
            Found::Broken(Cause::ServiceFails { service: service(), status: *status })
        }
        Some(Ok(_)) if !seen.out.is_empty() => Found::Broken(Cause::OutOfRotation { services: seen.out.clone() }),
        Some(Ok(_)) => Found::Is(State::Ok),
    }
}

fn service(evidence: &Evidence, seen: &NameSeen) -> Found {
    let service = &seen.target.service;
    if service.is_empty() {
        return Found::Is(State::None);
    }
    if evidence.machine.engine.is_err() {
        return Found::Is(State::Unknown);
    }
    let Some(first) = seen.containers.first() else {
        return Found::Broken(Cause::ServiceMissing { service: service.clone() });
    };
    let Some(running) = seen.containers.iter().find(|found| found.runs()) else {
        let state = described(first);
        return Found::Broken(Cause::ServiceDown { service: service.clone(), container: first.name.clone(), state });
    };
    if running.health == Health::Unhealthy {
        let container = running.name.clone();
        return Found::Broken(Cause::ServiceUnhealthy { service: service.clone(), container });
    }
    match &running.direct {
        Some(Err(reason)) => Found::Broken(Cause::ServiceSilent { service: service.clone(), reason: reason.clone() }),
        _ => Found::Is(State::Ok),
    }
}

fn inside(evidence: &Evidence, seen: &NameSeen) -> Found {
    let Some(expected) = seen.target.inside else { return Found::Is(State::None) };
    if seen.target.name.starts_with('*') {
        // the engine's DNS knows names, and no wildcards: docs/decisions/containers-keep-their-dns.md
        return Found::Is(State::None);
    }
    let Some(found) = &seen.inside else { return Found::Is(State::Unknown) };
    if evidence.machine.inside.is_err() || ingress_is_down(evidence) {
        return Found::Is(State::Unknown);
    }
    if found.addresses != [IpAddr::V4(expected)] {
        return Found::Broken(Cause::InsideOther { found: found.addresses.clone(), expected: expected.into() });
    }
    match &found.answer {
        Err(reason) => Found::Broken(Cause::InsideNotReached { reason: reason.clone() }),
        Ok(_) => Found::Is(State::Ok),
    }
}

/// A container that does not run, in words.
fn described(container: &ContainerSeen) -> String {
    let word = match container.state {
        ContainerState::Created => "was never started",
        ContainerState::Paused => "is paused",
        ContainerState::Restarting => "is restarting again and again",
        ContainerState::Removing => "is being removed",
        ContainerState::Exited | ContainerState::Dead => "has ended",
        ContainerState::Running => "runs",
    };
    let code = match (container.state, container.exit_code) {
        (ContainerState::Exited | ContainerState::Dead, Some(code)) => format!(" with {code}"),
        _ => String::new(),
    };
    let error = if container.error.is_empty() { String::new() } else { format!(": {}", container.error) };
    format!("{word}{code}{error}")
}
