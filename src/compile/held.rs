//! What the ingress has already. Engines fix the ports and names of a container when they make it: what is new goes
//! to one more container with the same configuration, so that nobody who asks the others notices.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::model::{Observed, PortBinding, Protocol, label};

/// What one container of the ingress has for as long as it lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    pub service: String,
    pub replica: u32,
    pub fingerprint: String,
    pub ports: BTreeSet<PortBinding>,
    pub names: BTreeSet<String>,
}

/// What one container of a service is to publish, and the names that are to lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub replica: u32,
    pub ports: BTreeSet<PortBinding>,
    pub names: BTreeSet<String>,
}

/// What the platform's containers say of themselves, by their number.
pub fn held(observed: &Observed, platform: &str) -> Vec<Held> {
    let ours = observed.containers.iter().filter(|found| found.label(label::PLATFORM) == Some(platform));
    let holders = ours.filter(|found| found.label(label::PORTS).or(found.label(label::NAMES)).is_some());
    let words = |text: Option<&str>| -> Vec<String> {
        let all = text.unwrap_or_default().split(',').filter(|word| !word.is_empty());
        all.map(str::to_owned).collect()
    };
    let mut all: Vec<Held> = holders
        .filter_map(|found| {
            Some(Held {
                service: found.label(label::SERVICE)?.to_owned(),
                replica: found.label(label::REPLICA)?.parse().ok()?,
                fingerprint: found.label(label::FINGERPRINT)?.to_owned(),
                ports: words(found.label(label::PORTS)).iter().filter_map(|text| port(text)).collect(),
                names: words(found.label(label::NAMES)).into_iter().collect(),
            })
        })
        .collect();
    all.sort_by_key(|held| held.replica);
    all
}

/// As the label has them.
pub(super) fn ports_text(ports: &BTreeSet<PortBinding>) -> String {
    let text = |port: &PortBinding| {
        let address = SocketAddr::new(port.host_ip, port.host_port?);
        Some(format!("{address}>{}", port.container_port))
    };
    ports.iter().filter_map(text).collect::<Vec<_>>().join(",")
}

/// The ingress passes on connections, and those are TCP's.
fn port(text: &str) -> Option<PortBinding> {
    let (address, container) = text.split_once('>')?;
    let address: SocketAddr = address.parse().ok()?;
    Some(PortBinding {
        host_ip: address.ip(),
        host_port: Some(address.port()),
        container_port: container.parse().ok()?,
        protocol: Protocol::Tcp,
    })
}

/// So many containers of one configuration are enough: one that is made anew takes over from all of them.
const MOST: usize = 8;

/// Each container keeps what it has, and what none has goes to one more. The first is never left out; another is once
/// nothing of it is wanted. `may_stay`: a port that is not wanted is let go only by a new container, which this one is
/// not worth. Where the first is made anew it has room for everything.
pub(super) fn divide(
    whole: Share,
    service: &str,
    held: &[Held],
    may_stay: &dyn Fn(&PortBinding) -> bool,
) -> Vec<Share> {
    let stays = |port: &&PortBinding| whole.ports.contains(port) || may_stay(port);
    if held
        .iter()
        .any(|held| held.service == service && held.replica == 1 && !held.ports.iter().all(|port| stays(&port)))
    {
        return vec![whole];
    }
    let mut left = whole.clone();
    let mut all: Vec<Share> = Vec::new();
    for old in held.iter().filter(|held| held.service == service) {
        let wanted = !old.ports.is_disjoint(&left.ports) || !old.names.is_disjoint(&left.names);
        if old.replica != 1 && !wanted {
            continue;
        }
        let share = Share {
            replica: old.replica,
            ports: old.ports.iter().filter(stays).cloned().collect(),
            names: old.names.intersection(&whole.names).cloned().collect(),
        };
        left.ports.retain(|port| !share.ports.contains(port));
        left.names.retain(|name| !share.names.contains(name));
        all.push(share);
    }
    if !left.ports.is_empty() || !left.names.is_empty() {
        let free = (1..).find(|number| all.iter().all(|share| share.replica != *number));
        all.push(Share { replica: free.unwrap_or(u32::MAX), ..left });
    }
    if all.len() > MOST { vec![whole] } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(replica: u32, ports: &[&str], names: &[&str]) -> Share {
        Share {
            replica,
            ports: ports.iter().map(|text| port(text).unwrap()).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn divided(whole: &Share, held: &[Share]) -> Vec<Share> {
        let held: Vec<Held> = held
            .iter()
            .map(|share| Held {
                service: "ingress".into(),
                replica: share.replica,
                fingerprint: String::new(),
                ports: share.ports.clone(),
                names: share.names.clone(),
            })
            .collect();
        divide(Share { replica: 1, ..whole.clone() }, "ingress", &held, &|port| port.container_port == 80)
    }

    const A: &str = "127.0.0.1:80>80";
    const B: &str = "127.0.0.2:80>80";
    const C: &str = "127.0.0.3:80>80";
    const GUARDED: &str = "127.0.0.1:9090>9090";

    #[test]
    fn what_is_new_goes_to_one_more_and_the_others_keep_what_they_have() {
        let first = share(1, &[A], &["a"]);
        assert_eq!(divided(&first, std::slice::from_ref(&first)), std::slice::from_ref(&first));
        let second = share(2, &[B], &["b"]);
        let both = [first.clone(), second.clone()];
        assert_eq!(divided(&share(1, &[A, B], &["a", "b"]), &both[..1]), both);
        assert_eq!(divided(&share(1, &[A, B], &["a", "b"]), &both), both);
        let third = share(3, &[C], &[]);
        assert_eq!(divided(&share(1, &[A, B, C], &["a", "b"]), &both), [first.clone(), second, third.clone()]);
        // a number that has become free is taken again
        assert_eq!(
            divided(&share(1, &[A, B, C], &["a"]), &[first.clone(), third.clone()]),
            [first, third, share(2, &[B], &[])]
        );
    }

    #[test]
    fn one_of_which_nothing_is_wanted_goes_and_a_guarded_port_is_let_go() {
        let first = share(1, &[A, B], &["a", "b"]);
        // an address more does no harm; a name that is not wanted is forgotten
        assert_eq!(divided(&share(1, &[A], &["a"]), std::slice::from_ref(&first)), [share(1, &[A, B], &["a"])]);
        assert_eq!(divided(&share(1, &[A], &["a"]), &[first.clone(), share(2, &[C], &["c"])]).len(), 1);
        let first = share(1, &[A, GUARDED], &[]);
        assert_eq!(divided(&share(1, &[A], &[]), &[first]), [share(1, &[A], &[])]);
    }

    #[test]
    fn what_another_service_has_and_what_a_further_one_lets_go_changes_nothing() {
        let of = |service: &str, share: Share| Held {
            service: service.into(),
            replica: share.replica,
            fingerprint: String::new(),
            ports: share.ports,
            names: share.names,
        };
        let first = || of("ingress", share(1, &[A], &[]));
        let both = [share(1, &[A], &[]), share(2, &[B], &[])];
        let divided = |held: &[Held]| divide(share(1, &[A, B], &[]), "ingress", held, &|_| false);
        assert_eq!(divided(&[first(), of("other", share(1, &[B, GUARDED], &[]))]), both);
        assert_eq!(divided(&[first(), of("ingress", share(2, &[B, GUARDED], &[]))]), both);
    }

    #[test]
    fn containers_say_what_they_hold() {
        use crate::model::ObservedContainer;
        let found = |platform: &str, replica: &str, more: &[(&str, &str)]| ObservedContainer {
            labels: [(label::PLATFORM, platform), (label::SERVICE, "ingress"), (label::REPLICA, replica)]
                .iter()
                .chain(more)
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..ObservedContainer::default()
        };
        let (ports, names) = ((label::PORTS, "127.0.0.1:80>80,,nonsense"), (label::NAMES, "a,b,"));
        let whole = (label::FINGERPRINT, "f");
        let containers = vec![
            found("macula", "2", &[whole, names]),
            found("macula", "1", &[whole, ports, names]),
            // of another platform, without anything, and half labelled
            found("other", "1", &[whole, ports]),
            found("macula", "3", &[whole]),
            found("macula", "4", &[ports]),
            found("macula", "x", &[whole, ports]),
        ];
        let observed = Observed { containers, ..Observed::default() };
        let of = |share: Share| Held {
            service: "ingress".into(),
            replica: share.replica,
            fingerprint: "f".into(),
            ports: share.ports,
            names: share.names,
        };
        assert_eq!(held(&observed, "macula"), [share(1, &[A], &["a", "b"]), share(2, &[], &["a", "b"])].map(of));
    }

    #[test]
    fn too_many_become_one() {
        let names: Vec<String> = (1..=9).map(|number| format!("n{number}")).collect();
        let one = |number: usize| share(u32::try_from(number).unwrap(), &[], &[&names[number - 1]]);
        let up_to = |number: usize| {
            let names: Vec<&str> = names[..number].iter().map(String::as_str).collect();
            share(1, &[], &names)
        };
        let held: Vec<Share> = (1..=7).map(one).collect();
        assert_eq!(divided(&up_to(8), &held).len(), 8);
        let held: Vec<Share> = (1..=8).map(one).collect();
        assert_eq!(divided(&up_to(8), &held).len(), 8);
        assert_eq!(divided(&up_to(9), &held), [up_to(9)]);
    }

    #[test]
    fn a_label_says_it() {
        let all = share(1, &[A, GUARDED, "[::1]:9090>9090"], &[]).ports;
        let text = ports_text(&all);
        assert_eq!(text, "127.0.0.1:80>80,127.0.0.1:9090>9090,[::1]:9090>9090");
        assert_eq!(text.split(',').map(|text| port(text).unwrap()).collect::<BTreeSet<_>>(), all);
    }
}
