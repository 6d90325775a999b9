//! Why a name is not found, or leads elsewhere. Pure.

use std::net::IpAddr;

use super::cause::{Cause, Found, State};
use super::evidence::*;
use crate::dns::install::Rung;

/// What our resolver says.
pub(super) fn dns(evidence: &Evidence, seen: &NameSeen) -> Found {
    let machine = &evidence.machine;
    let Some(resolver) = &machine.resolver else {
        return Found::Broken(Cause::ResolverDead { squatter: machine.resolver_port.clone() });
    };
    let own = seen.target.address.is_some();
    let name = &seen.target.asked;
    let below = *name == evidence.domain || name.ends_with(&format!(".{}", evidence.domain));
    let nothing = |reason: &str| match below {
        true => Cause::NoAddress { reason: reason.to_owned() },
        false => Cause::NoSuchName { reason: reason.to_owned() },
    };
    if own && !resolver.zones.contains(&evidence.domain) {
        return Found::Broken(Cause::ZoneMissing { domain: evidence.domain.clone() });
    }
    match (&seen.dns, resolver.address) {
        (Some(Err(reason)), _) if !own && !reason.contains("timed out") => Found::Broken(nothing(reason)),
        (Some(Err(reason)), Some(address)) => Found::Broken(Cause::ResolverSilent { address, reason: reason.clone() }),
        (Some(Ok(found)), _) => match seen.target.address {
            Some(expected) if !found.contains(&expected) => {
                Found::Broken(Cause::ResolverOtherAddress { found: found.clone(), expected })
            }
            None if found.is_empty() => Found::Broken(nothing("there is neither A nor AAAA")),
            _ => Found::Is(State::Ok),
        },
        _ => Found::Is(State::Unknown),
    }
}

/// What the system says.
pub(super) fn system(evidence: &Evidence, seen: &NameSeen) -> Found {
    let found = seen.lookup.found.as_ref();
    let ours = seen.dns.as_ref().and_then(|answer| answer.as_ref().ok());
    let expected = seen.target.address.or_else(|| ours.and_then(|found| found.first().copied()));
    match (found, expected) {
        (Ok(found), Some(expected)) if found.contains(&expected) => return Found::Is(State::Ok),
        (Ok(found), None) if !found.is_empty() => return Found::Is(State::Ok),
        _ => {}
    }
    Found::Broken(why(evidence, seen, expected))
}

fn why(evidence: &Evidence, seen: &NameSeen, expected: Option<IpAddr>) -> Cause {
    let machine = &evidence.machine;
    let name = &seen.target.asked;
    let found = seen.lookup.found.clone().unwrap_or_default();
    if let (Some(stale), Some(expected)) = (machine.files.hosts.get(name), expected)
        && let Some(address) = stale.iter().find(|address| **address != expected && found.contains(address))
    {
        return Cause::StaleHosts { name: name.clone(), address: *address, expected };
    }
    let ours = machine.resolver.as_ref().and_then(|resolver| resolver.address);
    // somebody may have pointed the system at us by hand
    let by_hand = || machine.front.is_none() && !machine.files.servers.is_empty();
    match &machine.installed {
        None if !by_hand() => return Cause::NotInstalled,
        None => {}
        Some(installed) if installed.interrupted => return Cause::Interrupted,
        Some(Installed { missing, .. }) if !missing.is_empty() => {
            return Cause::FileGone { paths: missing.clone() };
        }
        Some(Installed { rung: Rung::Hosts, changed, .. }) => {
            return match changed.is_empty() || machine.files.hosts.contains_key(name) {
                true => Cause::NotInHosts,
                false => Cause::FileChanged { paths: changed.clone() },
            };
        }
        Some(installed) => {
            if let Some(ours) = ours.filter(|ours| *ours != installed.address) {
                return match &machine.resolver_port {
                    Some(squatter) => {
                        Cause::ResolverPortTaken { wanted: installed.address, squatter: squatter.clone(), ours }
                    }
                    None => Cause::InstalledElsewhere { rung: installed.rung, installed: installed.address, ours },
                };
            }
        }
    }
    if let Some(cause) = nsswitch(evidence, name) {
        return cause;
    }
    if let Some(Front { server, said, knows: false, .. }) = &machine.front {
        return Cause::OtherResolver { server: *server, said: said.clone() };
    }
    if let Some(Installed { changed, .. }) = &machine.installed
        && !changed.is_empty()
    {
        return Cause::FileChanged { paths: changed.clone() };
    }
    match (&seen.lookup.found, expected) {
        (Ok(found), Some(expected)) if !found.is_empty() => Cause::LookUpOther { found: found.clone(), expected },
        (Ok(_), _) => Cause::LookUpFails { reason: "it has no address".into() },
        (Err(reason), _) => Cause::LookUpFails { reason: reason.clone() },
    }
}

/// What /etc/nsswitch.conf makes of it. glibc reads `hosts:` from left to right.
fn nsswitch(evidence: &Evidence, name: &str) -> Option<Cause> {
    let words = &evidence.machine.files.nsswitch;
    if words.is_empty() || !evidence.machine.linux {
        return None;
    }
    let line = || words.join(" ");
    let unicast = words.iter().position(|word| word == "dns" || word == "resolve");
    let Some(unicast) = unicast else { return Some(Cause::NoDnsInNsswitch { line: line() }) };
    // nss-mdns leaves names of three labels to others, but for its plain forms where /etc/mdns.allow says so; the usual
    // `mdns4_minimal [NOTFOUND=return] dns` is harmless
    let mdns = words.iter().position(|word| word.starts_with("mdns") && !word.ends_with("_minimal"))?;
    let ends = words.get(mdns + 1).is_some_and(|word| word.to_ascii_lowercase().contains("notfound=return"));
    let local = name.ends_with(".local") && evidence.machine.files.mdns_allow;
    (local && mdns < unicast && ends).then(|| Cause::Mdns { line: line() })
}
