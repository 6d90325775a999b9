//! What is said about each cause, and what to type.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::cause::Cause;
use super::evidence::*;
use crate::model::{MaculaCommand, Remedy, macula};
use crate::words;

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, self.pid) {
            (Some(process), Some(pid)) => write!(f, "{process} (pid {pid})"),
            (Some(process), None) => f.write_str(process),
            (None, Some(pid)) => write!(f, "the process {pid}"),
            (None, None) => f.write_str("a program that this user may not see"),
        }
    }
}

fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn paths(paths: &[PathBuf]) -> String {
    list(paths.iter().map(|path| path.display()))
}

fn addresses(found: &[IpAddr]) -> String {
    if found.is_empty() { "no address".to_owned() } else { list(found) }
}

/// `2026-11-21 05:07 UTC`
fn time(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

/// What is wrong, in one sentence.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEngine { reason } if reason.starts_with("no container engine answers") => f.write_str(reason),
            Self::NoEngine { reason } => write!(f, "no container engine answers: {reason}"),
            Self::ResolverDead { squatter: None } => f.write_str("the resolver does not run"),
            Self::ResolverDead { squatter: Some(owner) } => {
                write!(f, "the resolver does not run, and {owner} listens in its place on {}", owner.address)
            }
            Self::ResolverPortTaken { wanted, squatter, ours } => {
                write!(f, "the system asks {wanted}, where {squatter} listens; the resolver had to take {ours}")
            }
            Self::ZoneMissing { domain } => write!(f, "the resolver has not been told the names below {domain}"),
            Self::ResolverSilent { address, reason } => {
                write!(f, "the resolver runs, and does not answer on {address}: {reason}")
            }
            Self::ResolverOtherAddress { found, expected } => {
                write!(f, "the resolver says {}, and the platform has {expected}", addresses(found))
            }
            Self::PowerDnsDown { address, reason } => write!(
                f,
                "PowerDNS at {address} cannot be asked, so records of `dns add` are those of the last look: {reason}"
            ),
            Self::UpstreamSilent { servers, reason } => write!(
                f,
                "this machine's name servers ({}) give no answer, so other names than ours are not found: {reason}",
                list(servers)
            ),
            Self::NoSuchName { reason } => write!(f, "this machine's name servers do not know it: {reason}"),
            Self::NotPassedOn { name } => write!(
                f,
                "what this machine's name servers say of {name} leads to this machine or into a platform's network, and \
                 is not passed on (DNS rebinding)"
            ),
            Self::NoAddress { reason } => write!(f, "its records lead to no address: {reason}"),
            Self::NotInstalled => f.write_str("this machine has not been told to ask the resolver"),
            Self::Interrupted => f.write_str("an install or uninstall of the names was ended in the middle"),
            Self::FileGone { paths: gone } => {
                write!(f, "{} is gone, which told the system to ask the resolver", paths(gone))
            }
            Self::InstalledElsewhere { rung, installed, ours } => {
                write!(f, "{rung} sends questions to {installed}, and the resolver answers on {ours}")
            }
            Self::FileChanged { paths: changed } => {
                write!(f, "{} was changed by somebody else since the names were installed", paths(changed))
            }
            Self::NoDnsInNsswitch { line } => {
                write!(
                    f,
                    "/etc/nsswitch.conf has neither `dns` nor `resolve` (`hosts: {line}`): no name server is asked"
                )
            }
            Self::Mdns { line } => write!(
                f,
                "multicast DNS takes every name below .local and ends the search (/etc/nsswitch.conf: `hosts: {line}`)"
            ),
            Self::OtherResolver { server, said } => {
                write!(f, "the system asks {server} first, which does not know the name: {said}")
            }
            Self::StaleHosts { name, address, expected } => {
                write!(f, "/etc/hosts has {address} for {name}, which is {expected} now")
            }
            Self::NotInHosts => {
                f.write_str("/etc/hosts, which replaces the resolver here, does not list its present address")
            }
            Self::LookUpFails { reason } => write!(f, "the name is not found: {reason}"),
            Self::LookUpOther { found, expected } => {
                write!(f, "the system says {}, and the platform has {expected}", addresses(found))
            }
            Self::DeadIpv6 { addresses: dead } => write!(
                f,
                "the name has the IPv6 address {} too, where nothing answers: programs that try it first fail or wait",
                list(dead)
            ),
            Self::PortTaken { squatters } => {
                let who = words::unique(squatters.iter().map(|owner| owner.to_string()));
                let at = list(squatters.iter().map(|owner| owner.address));
                write!(f, "{} listens on {at} instead of the ingress", list(who))
            }
            Self::IngressDown { container: Some(container), state } => {
                write!(f, "the ingress does not run: {container} {state}")
            }
            Self::IngressDown { container: None, .. } => f.write_str("the ingress has no container"),
            Self::NotReached { address, reason } => write!(f, "{address} is not reached: {reason}"),
            Self::Proxy { variable, proxy, said, .. } => write!(
                f,
                "{variable} sends programs through the proxy {proxy}, which does not reach the platform: {said}"
            ),
            Self::NoTls { reason } => write!(f, "no TLS connection comes about: {reason}"),
            Self::Expired { at } => write!(f, "the certificate ended on {}", time(*at)),
            Self::ClockBehind { begins, now } => write!(
                f,
                "the certificate begins on {}, and this machine's clock says {}: it is behind by {} at least",
                time(*begins),
                time(*now),
                words::span((begins - now).unsigned_abs())
            ),
            Self::ClockDiffers { theirs, now } => {
                let way = if theirs > now { "ahead of" } else { "behind" };
                write!(
                    f,
                    "the clock of the containers is {} {way} this machine's",
                    words::span((theirs - now).unsigned_abs())
                )
            }
            Self::NotTrusted => f.write_str("the certificate is good, and this machine does not trust its authority"),
            Self::OtherAuthority { issuer } => {
                write!(f, "the certificate was signed by another authority than this platform's (`{issuer}`)")
            }
            Self::NameNotCovered { names } => {
                write!(f, "the certificate is not for this name, but for {}", list(names))
            }
            Self::TooDeep { domain } => {
                write!(f, "the certificate covers names of one label below {domain}, and this one has more")
            }
            Self::Refused { reason } => write!(f, "the certificate is refused: {reason}"),
            Self::RouteMissing => f.write_str("the ingress has no route for this name"),
            Self::NoHttp { reason } => write!(f, "no HTTP answer comes: {reason}"),
            Self::ServiceMissing { service } => write!(f, "{service} has no container"),
            Self::ServiceLeftOut { service, reason } => write!(f, "{service} is left out: {reason}"),
            Self::ServiceDown { container, state, .. } => write!(f, "{container} {state}"),
            Self::ServiceUnhealthy { container, .. } => {
                write!(f, "{container} runs, and says of itself that it is not healthy")
            }
            Self::ServiceSilent { service, reason } => write!(f, "{service} runs, and does not answer: {reason}"),
            Self::StaleUpstream { service, address, newer: true } => write!(
                f,
                "{service} answers on {address}, and the ingress, which was there before it, still asks an older address"
            ),
            Self::StaleUpstream { service, address, newer: false } => {
                write!(f, "{service} answers on {address}, and the ingress does not reach it there")
            }
            Self::ServiceFails { service, status } => write!(f, "{service} answers with {status}"),
            Self::OutOfRotation { services } => {
                write!(f, "the ingress leaves out containers of {}: they fail its health check", list(services))
            }
            Self::InsideOther { found, expected } => {
                write!(f, "containers get {} for it, and not the ingress ({expected})", addresses(found))
            }
            Self::InsideNotReached { reason } => write!(f, "containers do not reach it: {reason}"),
        }
    }
}

impl Cause {
    /// What to do about it; the first is the best. `linux`: this machine is one.
    pub fn remedies(&self, linux: bool) -> Vec<Remedy> {
        let run = |words: &[MaculaCommand]| words.iter().cloned().map(Remedy::Run).collect();
        match self {
            Self::NoEngine { .. } => run(&[macula("doctor --fix")]),
            Self::ResolverDead { squatter: None } | Self::ZoneMissing { .. } | Self::ResolverOtherAddress { .. } => {
                run(&[macula("up")])
            }
            // others' names depend on it: it is not to be ended
            Self::ResolverDead { squatter: Some(owner) } if owner.process.as_deref() == Some("macula") => vec![
                Remedy::say(
                    "it belongs to another data folder: give yours an address of its own in macula.yaml: \
                     `dns: {listen: [\"127.0.0.9:5399\"]}`",
                ),
                macula("up").why("after that").into(),
            ],
            Self::ResolverPortTaken { squatter, .. } if squatter.process.as_deref() == Some("macula") => {
                run(&[macula("dns install")])
            }
            Self::ResolverDead { squatter: Some(owner) } | Self::ResolverPortTaken { squatter: owner, .. } => {
                stop([owner], &[macula("up"), macula("dns install")], linux)
            }
            Self::ResolverSilent { .. } => {
                vec![macula("dns status").into(), macula("down").into(), macula("up").why("after that").into()]
            }
            Self::PowerDnsDown { .. } => run(&[macula("up powerdns"), macula("logs powerdns")]),
            Self::UpstreamSilent { .. } => vec![
                macula("dns status").into(),
                Remedy::say("set name servers that answer in macula.yaml: `dns: {upstream: [ADDRESS]}`"),
                macula("up").why("to use them").into(),
            ],
            Self::NoSuchName { .. } => run(&[macula("dns list")]),
            Self::NotPassedOn { name } => vec![
                Remedy::say(format!("allow it in macula.yaml: `dns: {{rebind_allow: [{name}]}}`")),
                macula("up").why("after that").into(),
            ],
            Self::NoAddress { .. } => run(&[macula("dns list").why("to see where they lead")]),
            Self::NotInstalled
            | Self::Interrupted
            | Self::FileGone { .. }
            | Self::InstalledElsewhere { .. }
            | Self::FileChanged { .. }
            | Self::NotInHosts => run(&[macula("dns install")]),
            Self::NoDnsInNsswitch { .. } => vec![
                macula("dns install --method hosts").into(),
                Remedy::say("or add `dns` to the line `hosts:` in /etc/nsswitch.conf"),
            ],
            Self::Mdns { .. } => vec![
                Remedy::say(
                    "move `dns` (or `resolve`) in front of the mdns word in the line `hosts:` of /etc/nsswitch.conf",
                ),
                macula("dns install --method hosts").into(),
            ],
            Self::OtherResolver { .. } => run(&[macula("dns install")]),
            Self::StaleHosts { name, .. } => vec![Remedy::say(format!("remove the line with {name} from /etc/hosts"))],
            Self::LookUpFails { .. } | Self::LookUpOther { .. } => run(&[macula("dns status"), macula("dns install")]),
            Self::DeadIpv6 { .. } => {
                vec![Remedy::say("remove its IPv6 line from /etc/hosts, or its AAAA record"), macula("dns list").into()]
            }
            Self::PortTaken { squatters } => stop(squatters, &[macula("up")], linux),
            Self::IngressDown { .. } => run(&[macula("up"), macula("logs ingress")]),
            Self::NotReached { .. } => run(&[macula("up"), macula("doctor ports")]),
            Self::Proxy { exceptions, .. } => {
                vec![Remedy::Shell(format!("export NO_PROXY='{exceptions}' no_proxy='{exceptions}'"))]
            }
            Self::NoTls { .. } => run(&[macula("up"), macula("logs ingress")]),
            Self::Expired { .. } | Self::OtherAuthority { .. } | Self::NameNotCovered { .. } => run(&[macula("up")]),
            Self::ClockBehind { .. } if linux => vec![
                Remedy::shell(["sudo", "timedatectl", "set-ntp", "true"]),
                Remedy::say("where systemd does not run: `sudo hwclock --hctosys`, or set it with `sudo date`"),
            ],
            Self::ClockBehind { .. } => vec![Remedy::say("let the network set the clock, in this machine's settings")],
            Self::ClockDiffers { .. } => {
                vec![Remedy::say("set the clock of this machine, or of the engine's virtual machine")]
            }
            Self::NotTrusted => run(&[macula("trust install")]),
            Self::TooDeep { .. } => vec![Remedy::say(
                "use a name with one label below the domain, or give a service this one as `ingress: {host: ...}`",
            )],
            Self::Refused { .. } => run(&[macula("trust status"), macula("up")]),
            Self::RouteMissing => run(&[macula("up")]),
            Self::NoHttp { .. } => run(&[macula("logs ingress")]),
            Self::ServiceMissing { service } => run(&[macula("up").arg(service)]),
            Self::ServiceLeftOut { service, .. } => run(&[macula("up").arg(service).why("to try its image again")]),
            Self::ServiceDown { service, .. } => run(&[macula("logs").arg(service), macula("up").arg(service)]),
            Self::ServiceUnhealthy { service, .. }
            | Self::ServiceSilent { service, .. }
            | Self::ServiceFails { service, .. } => run(&[macula("logs").arg(service), macula("restart").arg(service)]),
            Self::OutOfRotation { services } => {
                let commands = |service: &String| [macula("logs").arg(service), macula("restart").arg(service)];
                run(&services.iter().take(1).flat_map(commands).collect::<Vec<_>>())
            }
            Self::StaleUpstream { .. } => run(&[macula("restart ingress")]),
            Self::InsideOther { .. } | Self::InsideNotReached { .. } => {
                run(&[macula("restart ingress-inside"), macula("up")])
            }
        }
    }
}

/// Whatever is in the way has to stop first.
fn stop<'a>(owners: impl IntoIterator<Item = &'a Owner> + Clone, then: &[MaculaCommand], linux: bool) -> Vec<Remedy> {
    let known = owners.clone().into_iter().filter(|owner| owner.process.is_some());
    let who = words::unique(known.map(ToString::to_string));
    let mut remedies = if who.is_empty() {
        let ports = words::unique(owners.into_iter().map(|owner| owner.address.port().to_string()));
        let look = match linux {
            true => {
                let ports: Vec<String> = ports.iter().map(|port| format!("sport = :{port}")).collect();
                Remedy::shell(["sudo", "ss", "-lptun", &ports.join(" or ")])
            }
            false => Remedy::shell(["sudo", "lsof", "-nP", "-sTCP:LISTEN", &format!("-i:{}", ports.join(","))]),
        };
        vec![look, Remedy::say("stop the program that it shows")]
    } else {
        vec![Remedy::say(format!("stop {}", words::list(who)))]
    };
    remedies.extend(then.iter().map(|command| Remedy::Run(command.clone().why("after that"))));
    remedies
}

/// What was seen at a hop, in some words; empty where there is nothing to tell.
pub fn seen(evidence: &Evidence, name: &NameSeen, hop: Hop) -> String {
    let machine = &evidence.machine;
    match hop {
        Hop::LookUp => match &name.lookup.found {
            Ok(found) => format!("{} ({} ms)", addresses(found), name.lookup.millis),
            Err(reason) => format!("{reason} ({} ms)", name.lookup.millis),
        },
        Hop::Dns => {
            let whom = machine.resolver.as_ref().and_then(|resolver| resolver.address);
            match (&name.dns, whom) {
                (Some(Ok(found)), Some(whom)) => format!("{} by {whom}", addresses(found)),
                (Some(Err(reason)), Some(whom)) => format!("{reason} from {whom}"),
                _ => "the resolver does not run".to_owned(),
            }
        }
        Hop::Connect => list(name.connect.iter().map(|(address, connected)| match connected {
            Ok(()) => address.to_string(),
            Err(reason) => format!("{address}: {reason}"),
        })),
        Hop::Tls => match &name.tls {
            Some(Ok(tls)) => format!(
                "{}, a certificate by `{}` until {}",
                tls.version,
                tls.certificate.issuer,
                time(tls.certificate.not_after)
            ),
            Some(Err(reason)) => reason.clone(),
            None => String::new(),
        },
        Hop::Http => match &name.http {
            Some(Ok(answer)) => format!("{} answers {}", answer.url, answer.status),
            Some(Err(reason)) => reason.clone(),
            None => String::new(),
        },
        Hop::Service => list(name.containers.iter().map(|found| {
            let state = format!("{:?}", found.state).to_ascii_lowercase();
            match &found.direct {
                Some(Ok(address)) => format!("{} {state} at {address}", found.name),
                Some(Err(reason)) => format!("{} {state}, {reason}", found.name),
                None => format!("{} {state}", found.name),
            }
        })),
        Hop::Inside => match (&name.inside, &machine.inside) {
            (Some(inside), Ok(from)) => {
                let said = match &inside.answer {
                    Ok(Some(status)) => format!("answers {status}"),
                    Ok(None) => "is reached".to_owned(),
                    Err(reason) => reason.clone(),
                };
                match inside.addresses.is_empty() {
                    true => format!("{said} (asked from {from})"),
                    false => format!("{} {said} (asked from {from})", list(&inside.addresses)),
                }
            }
            (None, Err(reason)) => reason.clone(),
            _ => String::new(),
        },
    }
}
