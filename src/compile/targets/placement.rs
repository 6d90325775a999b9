//! `deploy.placement.constraints`, as Swarm writes them, for Kubernetes.

use serde_json::{Value, json};

/// A label of nodes and what it must or must not be.
struct Constraint<'a> {
    left: &'a str,
    right: &'a str,
    equal: bool,
}

fn parse(text: &str) -> Option<Constraint<'_>> {
    let (left, right, equal) = match text.split_once("!=") {
        Some((left, right)) => (left, right, false),
        None => text.split_once("==").map(|(left, right)| (left, right, true))?,
    };
    Some(Constraint { left: left.trim(), right: right.trim(), equal })
}

/// The terms of a node affinity for a constraint. `None`: there is no word for it.
pub(super) fn term(text: &str) -> Option<Value> {
    let constraint = parse(text)?;
    let key = match constraint.left {
        "node.hostname" => "kubernetes.io/hostname",
        "node.platform.os" => "kubernetes.io/os",
        "node.platform.arch" => "kubernetes.io/arch",
        "node.role" => {
            // control planes bear the label without a value
            let manager = match constraint.right {
                "manager" => constraint.equal,
                "worker" => !constraint.equal,
                _ => return None,
            };
            let operator = if manager { "Exists" } else { "DoesNotExist" };
            return Some(json!({"key": "node-role.kubernetes.io/control-plane", "operator": operator}));
        }
        other => other.strip_prefix("node.labels.").filter(|label| !label.is_empty())?,
    };
    let value = match constraint.right {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let operator = if constraint.equal { "In" } else { "NotIn" };
    Some(json!({"key": key, "operator": operator, "values": [value]}))
}

pub(super) fn is_known_constraint(text: &str) -> bool {
    term(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_terms_of_an_affinity() {
        let of = |text: &str| term(text).map(|term| term.to_string());
        for (text, want) in [
            ("node.labels.edge == true", Some(r#"{"key":"edge","operator":"In","values":["true"]}"#)),
            ("node.labels.zone!=b", Some(r#"{"key":"zone","operator":"NotIn","values":["b"]}"#)),
            ("node.hostname==one", Some(r#"{"key":"kubernetes.io/hostname","operator":"In","values":["one"]}"#)),
            (
                "node.platform.arch == x86_64",
                Some(r#"{"key":"kubernetes.io/arch","operator":"In","values":["amd64"]}"#),
            ),
            ("node.role == manager", Some(r#"{"key":"node-role.kubernetes.io/control-plane","operator":"Exists"}"#)),
            (
                "node.role != manager",
                Some(r#"{"key":"node-role.kubernetes.io/control-plane","operator":"DoesNotExist"}"#),
            ),
            ("node.id == x", None),
            ("engine.labels.x == y", None),
            ("node.labels. == y", None),
            ("nonsense", None),
        ] {
            assert_eq!(of(text).as_deref(), want, "{text}");
        }
    }
}
