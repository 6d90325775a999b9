//! Services that are left out: those with the same cause in one line.

use super::text;
use crate::model::{MaculaCommand, macula};

/// Services that one cause keeps out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub services: Vec<String>,
    /// `docker.io cannot be reached`
    pub why: String,
}

impl Cause {
    /// What to type to have them, where that is one thing.
    pub fn fix(&self) -> Option<MaculaCommand> {
        self.why.contains("--images local").then(|| macula("up --images auto"))
    }

    /// `grafana, loki, tempo and 5 more`
    pub fn names(&self, most: usize) -> String {
        text::some(&self.services, most)
    }
}

/// `pairs`: service and reason. What only needs another one that is left out counts to its cause.
pub fn causes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Cause> {
    let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
    let mut causes: Vec<Cause> = Vec::new();
    for (service, reason) in &pairs {
        let why = why(root(&pairs, reason));
        match causes.iter_mut().find(|cause| cause.why == why) {
            Some(cause) => cause.services.push((*service).to_owned()),
            None => causes.push(Cause { services: vec![(*service).to_owned()], why }),
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

/// The reason at the end of `it needs loki, which is left out`.
fn root<'a>(pairs: &[(&'a str, &'a str)], reason: &'a str) -> &'a str {
    let mut reason = reason;
    // each round leads to another service; a circle ends with the list
    for _ in pairs {
        let Some(needed) = reason.strip_prefix("it needs ").and_then(|rest| rest.split_once(',')) else { break };
        match pairs.iter().find(|(service, _)| *service == needed.0) {
            Some((_, next)) => reason = next,
            None => return reason,
        }
    }
    if reason.starts_with("it needs ") { "they need each other" } else { reason }
}

/// Without the name of the image that the reason begins with, and short where the registry is the cause.
fn why(reason: &str) -> String {
    if let Some((_, rest)) = reason.split_once("registry (")
        && let Some((hosts, _)) = rest.split_once(')')
        // and not what a registry says of itself
        && hosts.split(", ").all(|host| !host.contains(' '))
    {
        let be = if hosts.contains(", ") { "cannot all be reached" } else { "cannot be reached" };
        return format!("{hosts} {be}");
    }
    match reason.split_once(' ') {
        Some((first, rest)) if first.contains(['/', ':']) => format!("the image {rest}"),
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_is_said_once() {
        let away = "is not in the engine, its registry (docker.io) cannot be reached, and it has no build";
        let (loki, tempo) = (format!("grafana/loki:3 {away}"), format!("grafana/tempo:2 {away}"));
        let causes = causes([
            ("user", "it needs admin, which is left out"),
            ("admin", loki.as_str()),
            ("tempo", tempo.as_str()),
            ("shop", "acme/shop:1 was refused: a login is needed"),
            ("old", "acme/old:1 does not exist in its registry (gone, or never there)"),
        ]);
        let shown: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.names(2), cause.why)).collect();
        assert_eq!(
            shown,
            [
                "user, admin and 1 more: docker.io cannot be reached",
                "shop: the image was refused: a login is needed",
                "old: the image does not exist in its registry (gone, or never there)"
            ]
        );
    }

    #[test]
    fn helpers_are_not_named() {
        let helper = |name: &str| name.ends_with("-owner");
        let pairs = [("alloy-owner", "a/x:1 was refused"), ("alloy", "it needs alloy-owner, which is left out")];
        let all = known(causes(pairs), helper);
        assert_eq!(all, [Cause { services: vec!["alloy".into()], why: "the image was refused".into() }]);
        // nothing else is left out for this
        let alone = known(causes([("alloy-owner", "a/x:1 was refused")]), helper);
        assert_eq!(alone, [Cause { services: vec!["alloy-owner".into()], why: "the image was refused".into() }]);
    }

    #[test]
    fn what_needs_each_other_ends() {
        let causes = causes([("a", "it needs b, which is left out"), ("b", "it needs a, which is left out")]);
        assert_eq!(causes.len(), 1);
    }
}
