//! What becomes of each key of a Compose file on Swarm and on Kubernetes: kept, said in other words, or lost, with the
//! place in the file. The rules are a table ([`super::rules`]), so that no key is dropped in silence.

use std::fmt::Write;

use serde::Serialize;

use super::Target;
use super::fate::{Fate, Rule};
use super::rules::RULES;
use crate::config::Said;

/// A key that a target cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// `compose.yaml:7:9`
    pub place: String,
    /// `services.web.ports[0].host_ip`
    pub path: String,
    /// What happens instead, and what to do about it.
    pub why: String,
    /// The service behaves in another way without it.
    pub behavior: bool,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.path, self.why)
    }
}

/// Where the engine of a node takes orders.
const ENGINE_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];

/// What a target cannot say of these keys, in the order of the file, each place and reason once.
pub(super) fn losses(target: Target, said: &[Said]) -> Vec<Loss> {
    let mut all: Vec<Loss> = Vec::new();
    // each node of a swarm has an engine, and whoever binds its socket means that of the node
    let socket = |one: &&Said| {
        let bound = one.key == "services.*.volumes[].source" && target == Target::Swarm;
        bound && one.text().is_some_and(|path| ENGINE_SOCKETS.contains(&path))
    };
    let sockets: Vec<&str> = said.iter().filter(socket).filter_map(|one| one.path.strip_suffix("source")).collect();
    // a port of the nodes, or of a LoadBalancer, keeps its number
    let is_open = |one: &&Said| match one.key.as_str() {
        "services.*.ports[].mode" => one.text() == Some("host"),
        "services.*.ports[].host_ip" => one.text().is_some_and(|address| ["0.0.0.0", "::"].contains(&address)),
        _ => false,
    };
    let ports = said.iter().filter(is_open).filter(|_| target == Target::Kubernetes);
    let ports: Vec<&str> = ports.filter_map(|one| Some(one.path.rsplit_once('.')?.0)).collect();
    let is_there = |one: &Said| {
        let below = |whole: &&str| one.path.strip_prefix(*whole);
        sockets.iter().filter_map(below).any(|key| matches!(key, "type" | "bind.create_host_path"))
            || ports.iter().filter_map(below).any(|key| key == ".published")
    };
    for one in said {
        let Some(rule) = rule_of(&one.key) else { continue };
        if is_there(one) {
            continue;
        }
        let Some((why, behavior)) = lost(rule.fate(target), one) else { continue };
        // a mapping that is lost is lost once, not once for each of its keys
        let depth = rule.key.split('.').count();
        let path: Vec<&str> = one.path.split('.').take(depth).collect();
        let loss = Loss { place: one.place.clone(), path: path.join("."), why: why.to_owned(), behavior };
        let same = |known: &Loss| known.why == loss.why && (known.place == loss.place || known.path == loss.path);
        if !all.iter().any(same) {
            all.push(loss);
        }
    }
    all
}

fn lost(fate: Fate, said: &Said) -> Option<(&'static str, bool)> {
    match fate {
        Fate::Kept | Fate::As(_) => None,
        Fate::Lost(why) => Some((why, false)),
        Fate::Breaks(why) => Some((why, true)),
        Fate::Value(choice) if (choice.takes)(said) => lost(choice.then, said),
        Fate::Value(choice) => lost(choice.otherwise, said),
    }
}

/// The rule with the longest key that a key lies below.
pub(super) fn rule_of(key: &str) -> Option<&'static Rule> {
    let below = |rule: &&Rule| {
        key.strip_prefix(rule.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    RULES.iter().filter(below).max_by_key(|rule| rule.key.len())
}

/// The rules as a page, in Markdown.
pub fn losses_page() -> String {
    let mut out = String::from(
        "# What becomes of each key\n\n\
         <!-- Generated from the program's own tables; `cargo test --test docs` holds it to them. -->\n\n\
         How a Compose file reads on [Swarm and on Kubernetes](../targets.md). A key without a row of its own follows the \
         row of the key that it lies below. *kept*: it means the same there. *lost*: it means nothing there and the \
         service works as before; `macula stack render` says so. **stops**: the service would behave in another \
         way, so that it stops before anything is written, unless `--accept-losses` is given.\n\n| key | Swarm | Kubernetes |\n|---|---|---|\n",
    );
    for rule in RULES {
        let cells = [format!("`{}`", rule.key), cell(rule.swarm), cell(rule.kubernetes)];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(out, "| {} |", cells.join(" | ")).unwrap_or_default();
    }
    out
}

fn cell(fate: Fate) -> String {
    match fate {
        Fate::Kept => "kept".to_owned(),
        Fate::As(how) => how.to_owned(),
        Fate::Lost(why) => format!("*lost*: {why}"),
        Fate::Breaks(why) => format!("**stops**: {why}"),
        Fate::Value(choice) => format!("{}; else {}", cell(choice.then), cell(choice.otherwise)),
    }
}
