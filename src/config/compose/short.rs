//! Short forms that are made into long ones here, so that everything behind knows one form only.

use crate::config::yaml::{Entry, Map, Node, Shaper, Span, Value, nearest};

/// A mapping made of parts of a short form, which all stand where it stands.
pub(super) fn map(span: Span, entries: impl IntoIterator<Item = (&'static str, Value)>) -> Node {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Entry { key: span, node: Node::new(value, span) }))
        .collect::<Map>();
    Node::new(Value::Map(entries), span)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// `- compose.yaml` in `include`.
pub(super) fn include(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(wrap(node, "path"))
}

/// `extends: base`.
pub(super) fn extends(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(wrap(node, "service"))
}

/// `- settings` in `configs` and `secrets` of a service.
pub(super) fn source(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(wrap(node, "source"))
}

fn wrap(node: Node, key: &'static str) -> Node {
    match node.value {
        Value::Text(_) => map(node.span, [(key, node.value)]),
        _ => node,
    }
}

/// A list of names, where the long form has a mapping for each.
pub(super) fn names(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    named(node, shaper, |_| Value::Null)
}

/// `depends_on: [db]`.
pub(super) fn depends_on(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    named(node, shaper, |span| {
        map(span, [("condition", text("service_started")), ("required", Value::Bool(true))]).value
    })
}

fn named(node: Node, shaper: &mut Shaper<'_>, make: impl Fn(Span) -> Value) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut out = Map::new();
    for item in items {
        let span = item.span;
        let kind = item.kind();
        match item.value {
            Value::Text(name) => {
                out.insert(name, Entry { key: span, node: Node::new(make(span), span) });
            }
            Value::Reset => {}
            _ => {
                shaper.wrong::<()>(span, format!("a name belongs here, not {kind}"), "write one name in each line");
            }
        }
    }
    Some(Node::new(Value::Map(out), node.span))
}

/// `/dev/x:/dev/y:rwm`.
pub(super) fn device(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::Text(line) = &node.value else { return Some(node) };
    let parts: Vec<&str> = line.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => {
            return shaper.wrong(
                node.span,
                format!("`{line}` has too many colons"),
                "write source:target:rwm, or the long form",
            );
        }
    };
    let target = if target.is_empty() { source } else { target };
    Some(map(node.span, [("source", text(source)), ("target", text(target)), ("permissions", text(permissions))]))
}

/// `env_file: .env`, `env_file: [.env]`.
pub(super) fn env_file(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match node.value {
        Value::Text(_) => Node::new(Value::List(vec![wrap(node, "path")]), span),
        Value::List(items) => Node::new(Value::List(items.into_iter().map(|item| wrap(item, "path")).collect()), span),
        _ => node,
    })
}

/// `gpus: all`.
pub(super) fn gpus(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match &node.value {
        Value::Text(word) if word == "all" => {
            Node::new(Value::List(vec![map(span, [("count", Value::Int(-1))])]), span)
        }
        _ => node,
    })
}

/// `count: all`.
pub(super) fn device_count(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(match &node.value {
        Value::Text(word) if word.eq_ignore_ascii_case("all") => Node::new(Value::Int(-1), node.span),
        _ => node,
    })
}

/// `protocol: TCP`.
pub(super) fn protocol(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match node.value {
        Value::Text(word) => Node::new(Value::Text(word.to_lowercase()), span),
        value => Node::new(value, span),
    })
}

/// `test: curl ...`.
pub(super) fn test(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    match &node.value {
        Value::Text(line) => {
            Some(Node::new(Value::List(vec![Node::text("CMD-SHELL", span), Node::text(line, span)]), span))
        }
        Value::List(items) => match items.first().and_then(Node::as_text) {
            Some("CMD" | "CMD-SHELL" | "NONE") => Some(node),
            None if items.is_empty() => Some(node),
            _ => shaper.wrong(
                span,
                "a test begins with CMD, CMD-SHELL or NONE",
                "write [\"CMD\", \"program\", \"argument\"]",
            ),
        },
        _ => Some(node),
    }
}

/// `nofile: 1024`, beside `nofile: {soft: 1, hard: 2}`.
pub(super) fn ulimit(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    match &node.value {
        Value::Int(_) | Value::Unsigned(_) | Value::Text(_) | Value::Float(_) => {
            Some(map(span, [("single", node.value)]))
        }
        Value::Map(map) if !(map.contains_key("soft") && map.contains_key("hard")) => shaper.wrong(
            span,
            "a limit has both `soft` and `hard`",
            "write {soft: 1024, hard: 2048}, or one number for both",
        ),
        _ => Some(node),
    }
}

/// `host: address` or `host=address`, as a list of `host=address`.
pub(super) fn hosts(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    let mut out: Vec<Node> = Vec::new();
    let mut add = |shaper: &mut Shaper<'_>, span: Span, host: &str, address: &str| {
        let bare = address
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .filter(|text| !text.is_empty())
            .unwrap_or(address);
        if host.is_empty() || host.contains([':', '=']) {
            shaper.wrong::<()>(span, format!("`{host}` is not a valid host name"), "write host=address");
        } else {
            let line = Node::text(format!("{host}={bare}"), span);
            if !out.contains(&line) {
                out.push(line);
            }
        }
    };
    match node.value {
        Value::Map(entries) => {
            for (host, entry) in entries {
                match &entry.node.value {
                    Value::List(addresses) => {
                        for address in addresses {
                            add(shaper, address.span, &host, &address.scalar_text().unwrap_or_default());
                        }
                    }
                    _ => add(shaper, entry.key, &host, &entry.node.scalar_text().unwrap_or_default()),
                }
            }
        }
        Value::List(lines) => {
            for line in lines {
                let text = line.scalar_text().unwrap_or_default();
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, addresses)) => {
                        addresses.split(',').for_each(|address| add(shaper, line.span, host, address))
                    }
                    None => {
                        shaper.wrong::<()>(line.span, format!("`{text}` has no address"), "write host=address");
                    }
                }
            }
        }
        _ => return Some(node),
    }
    Some(Node::new(Value::List(out), span))
}

/// `external: {name: x}`, the form of old, as `external: true` and `name: x`.
pub(super) fn external(mut node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Some(map) = node.as_map_mut() else { return Some(node) };
    let Some(Entry { node: Node { value: Value::Map(old), span, .. }, .. }) = map.get("external") else {
        return Some(node);
    };
    let (old, span) = (old.clone(), *span);
    map.insert("external".to_owned(), Entry { key: span, node: Node::new(Value::Bool(true), span) });
    if let Some(name) = old.get("name") {
        match map.get("name") {
            Some(given) if given.node != name.node => {
                return shaper.wrong(
                    span,
                    "`name` and `external.name` differ",
                    "keep `name`, and write `external: true`",
                );
            }
            Some(_) => {}
            None => {
                map.insert("name".to_owned(), name.clone());
            }
        }
        shaper.warn(span, "`external.name` is an old form", "write `name:` and `external: true`");
    }
    Some(node)
}

/// `pull_policy`, with the periods of newer versions.
pub(super) fn pull_policy(text: &str) -> Option<(String, String)> {
    let known = ["always", "never", "missing", "if_not_present", "build", "refresh", "daily", "weekly"];
    let period = text.strip_prefix("every_").is_some_and(|period| !period.is_empty());
    (!period && !known.contains(&text)).then(|| {
        let help = match nearest(text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "one of always, never, missing, build".to_owned(),
        };
        (format!("`{text}` is not a pull policy"), help)
    })
}

/// `restart`.
pub(super) fn restart(text: &str) -> Option<(String, String)> {
    let known = ["no", "always", "on-failure", "unless-stopped"];
    let attempts = text.strip_prefix("on-failure:").is_some_and(|count| count.parse::<u32>().is_ok());
    // an empty one and `false` are written by hand often enough
    (!attempts && !known.contains(&text) && !text.is_empty()).then(|| {
        let help = match nearest(text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "one of \"no\", always, on-failure, on-failure:3, unless-stopped".to_owned(),
        };
        (format!("`{text}` is not a restart policy"), help)
    })
}
