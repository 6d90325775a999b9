//! Services that are left out: those with the same cause in one line.

use super::text;
use crate::model::{MaculaCommand, macula};
use crate::plan::Reason;

/// Services that one cause keeps out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub services: Vec<String>,
    /// `docker.io cannot be reached`
    pub why: String,
    /// What to type to have them, where that is one thing.
    pub fix: Option<MaculaCommand>,
}

impl Cause {
    /// `grafana, loki, tempo and 5 more`
    pub fn names(&self, most: usize) -> String {
        text::some(&self.services, most)
    }
}

/// `pairs`: service and reason. What only needs another one that is left out counts to its cause.
pub fn causes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a Reason)>) -> Vec<Cause> {
    let pairs: Vec<(&str, &Reason)> = pairs.into_iter().collect();
    let mut causes: Vec<Cause> = Vec::new();
    for (service, reason) in &pairs {
        let root = root(&pairs, reason);
        let why = match root {
            Reason::Needs(needed) if pairs.iter().any(|(other, _)| other == needed) => {
                "they need each other".to_owned()
            }
            root => why(root),
        };
        match causes.iter_mut().find(|cause| cause.why == why) {
            Some(cause) => cause.services.push((*service).to_owned()),
            None => causes.push(Cause {
                services: vec![(*service).to_owned()],
                why,
                fix: root.is_chosen().then(|| macula("up --images auto")),
            }),
        }
    }
    causes
}

/// Without jobs of services that people do not know by name, unless nothing else is left of a cause.
pub fn known(causes: Vec<Cause>, helper: impl Fn(&str) -> bool) -> Vec<Cause> {
    let known = |cause: Cause| Cause { services: known_names(cause.services, &helper), ..cause };
    causes.into_iter().map(known).collect()
}

/// The same of a list of services.
pub fn known_names(names: Vec<String>, helper: impl Fn(&str) -> bool) -> Vec<String> {
    let known: Vec<String> = names.iter().filter(|name| !helper(name)).cloned().collect();
    if known.is_empty() { names } else { known }
}

/// The reason at the end of those that need another one.
fn root<'a>(pairs: &[(&'a str, &'a Reason)], reason: &'a Reason) -> &'a Reason {
    let mut reason = reason;
    // each round leads to another service; a circle ends with the list
    for _ in pairs {
        let Reason::Needs(needed) = reason else { break };
        match pairs.iter().find(|(service, _)| service == needed) {
            Some((_, next)) => reason = next,
            None => break,
        }
    }
    reason
}

/// What is the same for all services with this trouble: without the name of an image, and short where the registry is the
/// cause. `reason`: a [`root`].
fn why(reason: &Reason) -> String {
    match reason {
        Reason::OutOfReach { hosts, .. } | Reason::NotRefreshed { hosts, .. } => {
            let be = if hosts.len() > 1 { "cannot all be reached" } else { "cannot be reached" };
            format!("{} {be}", hosts.join(", "))
        }
        Reason::Image { said, .. } => format!("the image{said}"),
        Reason::NotPulled { .. } => Reason::NotPulled { image: "the image".to_owned() }.to_string(),
        Reason::NeverPulled { has_build, .. } => {
            Reason::NeverPulled { image: "the image".to_owned(), has_build: *has_build }.to_string()
        }
        Reason::Needs(_) | Reason::NotLocked { .. } | Reason::NotBuilt { .. } | Reason::Said(_) => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(image: &str) -> Reason {
        Reason::OutOfReach { image: image.to_owned(), hosts: vec!["docker.io".to_owned()], has_build: false }
    }

    fn needs(other: &str) -> Reason {
        Reason::Needs(other.to_owned())
    }

    fn said(image: &str, said: &str) -> Reason {
        Reason::Image { image: image.to_owned(), said: said.to_owned() }
    }

    fn of(pairs: &[(&str, Reason)]) -> Vec<Cause> {
        causes(pairs.iter().map(|(service, reason)| (*service, reason)))
    }

    fn shown(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(|cause| format!("{}: {}", cause.names(2), cause.why)).collect()
    }

    #[test]
    fn the_same_cause_is_said_once() {
        let causes = of(&[
            ("user", needs("admin")),
            ("admin", away("grafana/loki:3")),
            ("tempo", away("grafana/tempo:2")),
            ("shop", said("acme/shop:1", " was refused: a login is needed")),
            ("old", said("acme/old:1", " does not exist in its registry (gone, or never there)")),
            ("own", "its build failed: no space left".into()),
        ]);
        assert_eq!(
            shown(&causes),
            [
                "user, admin and 1 more: docker.io cannot be reached",
                "shop: the image was refused: a login is needed",
                "old: the image does not exist in its registry (gone, or never there)",
                "own: its build failed: no space left",
            ]
        );
        assert!(causes.iter().all(|cause| cause.fix.is_none()));
        let hosts = vec!["docker.io".to_owned(), "ghcr.io".to_owned()];
        let pulled = Reason::NotRefreshed { image: "a:1".to_owned(), hosts };
        assert_eq!(shown(&of(&[("web", pulled)])), ["web: docker.io, ghcr.io cannot all be reached"]);
    }

    #[test]
    fn what_the_policy_keeps_out_has_the_command_that_brings_it() {
        let local = |image: &str| Reason::NotPulled { image: image.to_owned() };
        let tag = "macula/db:1".to_owned();
        let causes = of(&[
            ("job", needs("db")),
            ("db", Reason::NotBuilt { tag, own: false }),
            ("web", local("web:1")),
            ("mail", local("mail:2")),
            ("own", Reason::NeverPulled { image: "own:1".to_owned(), has_build: true }),
        ]);
        assert_eq!(
            shown(&causes),
            [
                "job, db: its image of this version of macula, macula/db:1, is not in the engine, and --images local builds nothing",
                "web, mail: the image has not been pulled, and --images local pulls nothing",
                "own: the image is not in the engine, and its pull_policy is never",
            ]
        );
        let fixes: Vec<bool> = causes.iter().map(|cause| cause.fix.is_some()).collect();
        assert_eq!(fixes, [true, true, false]);
    }

    #[test]
    fn helpers_are_not_named() {
        let helper = |name: &str| name.ends_with("-owner");
        let refused = || said("a/x:1", " was refused");
        let cause = |name: &str| Cause { services: vec![name.into()], why: "the image was refused".into(), fix: None };
        let all = known(of(&[("alloy-owner", refused()), ("alloy", needs("alloy-owner"))]), helper);
        assert_eq!(all, [cause("alloy")]);
        // nothing else is left out for this
        assert_eq!(known(of(&[("alloy-owner", refused())]), helper), [cause("alloy-owner")]);
    }

    #[test]
    fn what_needs_each_other_ends() {
        assert_eq!(shown(&of(&[("a", needs("b")), ("b", needs("a"))])), ["a, b: they need each other"]);
        // the other one is told elsewhere
        assert_eq!(shown(&of(&[("a", needs("b"))])), ["a: it needs b, which is left out"]);
    }
}
