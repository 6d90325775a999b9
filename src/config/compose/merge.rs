//! How two files, or a service and the one it extends, become one
//! (<https://github.com/compose-spec/compose-spec/blob/main/13-merge.md>). Both are in their long
//! forms already.

use super::finish::VALUE;
use super::schema;
use crate::config::yaml::{Entry, Field, Kind, Map, Node, Object, Value};

/// `over` laid over `base`, both whole files.
pub(super) fn merge_files(base: Node, over: Node) -> Node {
    merge_objects(&schema::FILE, base, over)
}

/// A service laid over the one it extends.
pub(super) fn merge_services(base: Node, over: Node) -> Node {
    merge_objects(&schema::SERVICE, base, over)
}

/// Takes away what `!reset` leaves behind.
pub(super) fn strip_resets(node: &mut Node) {
    match &mut node.value {
        Value::List(items) => {
            items.retain(|item| !matches!(item.value, Value::Reset));
            items.iter_mut().for_each(strip_resets);
        }
        Value::Map(map) => {
            map.retain(|_, entry| !matches!(entry.node.value, Value::Reset));
            map.values_mut().for_each(|entry| strip_resets(&mut entry.node));
        }
        _ => {}
    }
}

fn merge_objects(object: &Object, base: Node, over: Node) -> Node {
    merge_maps(base, over, |name, base, over| match object.field(name) {
        Some(field) => merge_field(object, field, base, over),
        None => merge_any(base, over),
    })
}

fn merge_maps(base: Node, over: Node, merge: impl Fn(&str, Node, Node) -> Node) -> Node {
    let span = over.span;
    let (mut map, over) = match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => (base, over),
        (_, over) => return Node::new(over, span),
    };
    for (name, entry) in over {
        if matches!(entry.node.value, Value::Reset) {
            // stays, to take away what the extended service has too
            map.shift_remove(&name);
            map.insert(name, entry);
            continue;
        }
        match map.get_mut(&name) {
            Some(earlier) if !entry.node.replaces && !matches!(earlier.node.value, Value::Reset) => {
                let old = std::mem::take(&mut earlier.node);
                *earlier = Entry { key: entry.key, node: merge(&name, old, entry.node) };
            }
            _ => {
                map.insert(name, entry);
            }
        }
    }
    Node::new(Value::Map(map), span)
}

fn merge_field(object: &Object, field: &Field, base: Node, over: Node) -> Node {
    match (object.name, field.name) {
        (_, "command" | "entrypoint" | "test") => return over,
        // options belong to the driver
        ("a service", "logging") => {
            let (old, new) = (base.get_text("driver"), over.get_text("driver"));
            if old.is_some() && new.is_some() && old != new {
                return over;
            }
        }
        ("a service", "ulimits") => return merge_maps(base, over, |_, _, over| over),
        ("ipam", "config") => return merge_pools(base, over),
        _ => {}
    }
    let merged = merge_kind(&field.kind, base, over);
    match unique_by(object, field.name) {
        Some(key) => unique(merged, key),
        None => merged,
    }
}

fn merge_kind(kind: &Kind, base: Node, over: Node) -> Node {
    if over.is_null() {
        return base;
    }
    match kind {
        Kind::Nullable(inner) | Kind::Short(_, inner) => merge_kind(inner, base, over),
        Kind::Object(object) => merge_objects(object, base, over),
        Kind::Map(inner) => merge_maps(base, over, |_, base, over| merge_kind(inner, base, over)),
        Kind::Dict | Kind::Labels | Kind::Options => merge_maps(base, over, |_, _, over| over),
        Kind::List(_) | Kind::Texts | Kind::TextOrTexts | Kind::Loose => append(base, over),
        Kind::Any => merge_any(base, over),
        _ => over,
    }
}

/// What has no table here: `x-macula`, and whatever else begins with `x-`.
fn merge_any(base: Node, over: Node) -> Node {
    match (&base.value, &over.value) {
        (_, Value::Null) => base,
        (Value::Map(_), Value::Map(_)) => merge_maps(base, over, |name, base, over| match (name, &over.value) {
            // commands, which are replaced as those of a service are
            ("run" | "exec" | "check", Value::List(_)) => over,
            ("needs", _) if base.as_map().is_some() != over.as_map().is_some() => {
                merge_any(by_name(base), by_name(over))
            }
            _ => merge_any(base, over),
        }),
        // one rule in the one file, and several in the other
        (Value::Map(_), Value::List(more)) if !more.is_empty() => merge_any(alone(base), over),
        (Value::List(items), Value::Map(_)) if !items.is_empty() => merge_any(base, alone(over)),
        // what both say is there once; an empty list says that there is nothing
        (Value::List(items), Value::List(more)) if !more.is_empty() => {
            let kept = items.iter().filter(|item| !more.contains(item)).cloned().collect();
            append(Node::new(Value::List(kept), base.span), over)
        }
        _ => over,
    }
}

/// A list of this one.
fn alone(node: Node) -> Node {
    let span = node.span;
    Node::new(Value::List(vec![node]), span)
}

/// `[valkey]` as `{valkey: valkey}`.
fn by_name(node: Node) -> Node {
    let names = node.as_list().unwrap_or_default().iter().map(|item| {
        let entry = Entry { key: item.span, node: item.clone() };
        item.as_text().map(|name| (name.to_owned(), entry))
    });
    match names.collect::<Option<Map>>() {
        Some(names) if !names.is_empty() => Node::new(Value::Map(names), node.span),
        _ => node,
    }
}

fn append(base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Node::new(Value::List(items), over.span)
        }
        (_, value) => Node::new(value, over.span),
    }
}

/// Pools of the same subnet are one.
fn merge_pools(base: Node, over: Node) -> Node {
    let Value::List(more) = over.value else { return base };
    let Value::List(mut pools) = base.value else { return Node::new(Value::List(more), over.span) };
    for pool in more {
        match pools.iter_mut().find(|earlier| earlier.get_text("subnet") == pool.get_text("subnet")) {
            Some(earlier) => *earlier = merge_maps(std::mem::take(earlier), pool, |_, _, over| over),
            None => pools.push(pool),
        }
    }
    Node::new(Value::List(pools), over.span)
}

type KeyOf = fn(&Node) -> Option<String>;

/// What makes two elements of a list the same one, of which the later counts.
fn unique_by(object: &Object, field: &str) -> Option<KeyOf> {
    let key: KeyOf = match (object.name, field) {
        ("a service", "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "links" | "profiles" | "tmpfs")
        | ("a build", "tags")
        | ("a network of a service", "aliases" | "link_local_ips") => |node| {
            let text = node.as_text()?;
            Some(text.split_once('=').map_or(text, |(key, _)| key).to_owned())
        },
        (_, "expose" | "extra_hosts") => |node| node.as_text().map(str::to_owned),
        ("a service", "volumes" | "devices") => |node| node.get_text("target").map(str::to_owned),
        ("a service", "configs") => |node| match node.get_text("target") {
            Some(target) => Some(target.to_owned()),
            None => node.get_text("source").map(|source| format!("/{source}")),
        },
        ("a service", "secrets") => |node| match node.get_text("target") {
            Some(target) => Some(target.to_owned()),
            None => node.get_text("source").map(|source| format!("/run/secrets/{source}")),
        },
        ("a service", "env_file") => |node| node.get_text("path").map(str::to_owned),
        ("a service", "ports") => |node| {
            Some(format!(
                "{}:{}:{}/{}",
                node.get_text("host_ip").unwrap_or("0.0.0.0"),
                node.get_text("published").unwrap_or_default(),
                node.get_int("target")?,
                node.get_text("protocol").unwrap_or("tcp"),
            ))
        },
        _ => return None,
    };
    Some(key)
}

fn unique(node: Node, key: KeyOf) -> Node {
    let Value::List(items) = node.value else { return node };
    let mut out: indexmap::IndexMap<String, Node> = indexmap::IndexMap::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        // what has no key is one of its own
        let name = key(&item).unwrap_or_else(|| format!("\0{index}"));
        out.insert(name, item);
    }
    Node { value: Value::List(out.into_values().collect()), span: node.span, replaces: node.replaces }
}

/// The same within one file: what stands twice in a list counts once.
pub(super) fn unique_within(node: &mut Node) {
    let Some(services) = node.as_map_mut().and_then(|map| map.get_mut("services")) else { return };
    let Some(services) = services.node.as_map_mut() else { return };
    for entry in services.values_mut() {
        unique_fields(&schema::SERVICE, &mut entry.node);
    }
}

fn unique_fields(object: &Object, node: &mut Node) {
    let Some(map) = node.as_map_mut() else { return };
    for (name, entry) in map.iter_mut() {
        if let Some(key) = unique_by(object, name) {
            entry.node = unique(std::mem::take(&mut entry.node), key);
        } else if let Some(Field { kind: Kind::Short(_, Kind::Object(inner)) | Kind::Object(inner), .. }) =
            object.field(name)
        {
            unique_fields(inner, &mut entry.node);
        }
    }
}

/// Are two declarations the same, wherever they stand? The value of a variable may be known to one of them alone.
fn same(one: &Node, other: &Node) -> bool {
    let (Some(first), Some(second)) = (one.as_map(), other.as_map()) else { return one == other };
    let has = |map: &Map, (key, entry): (&String, &Entry)| match map.get(key) {
        Some(other) => other == entry,
        None => key.starts_with(VALUE),
    };
    first.iter().all(|entry| has(second, entry)) && second.iter().all(|entry| has(first, entry))
}

/// A map's entries put into another; `Err` names those that differ.
pub(super) fn import(into: &mut Map, from: Map) -> Vec<(String, Entry, Entry)> {
    let mut conflicts = Vec::new();
    for (name, entry) in from {
        match into.get(&name) {
            Some(earlier) if same(&earlier.node, &entry.node) => {}
            Some(earlier) => conflicts.push((name, earlier.clone(), entry)),
            None => {
                into.insert(name, entry);
            }
        }
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use crate::config::{MemoryFiles, Request, load_with};

    #[test]
    fn what_two_files_say_of_x_macula_becomes_one() {
        let of = |over: &str| {
            let base = "services: {web: {image: nginx, x-macula: {needs: {db: postgres}, ingress: [{port: 80}], \
                        reload: {exec: [nginx, -s, reload]}}}}\n";
            let over = format!("services: {{web: {{x-macula: {{{over}}}}}}}\n");
            let files = MemoryFiles::default().with("/p/compose.yaml", base).with("/p/compose.override.yaml", over);
            let request = Request { cwd: "/".into(), stacks: vec!["/p".into()], ..Request::default() };
            let loaded = load_with(&request, &files, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            let own = loaded.platform.service("web").unwrap().1.extension.clone();
            let ports: Vec<u16> = own.ingress.iter().map(|rule| rule.port).collect();
            format!("{:?} {ports:?} {:?} {}", own.needs, own.reload, own.trust)
        };
        let all = [
            of("trust: true"),
            of("ingress: [{port: 80}, {host: admin, port: 81}], reload: {exec: [nginx, -t]}"),
            of("ingress: {host: admin, port: 81}, needs: [postgres]"),
            of("ingress: [], reload: , needs: !override {}"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        {"db": Postgres} [80] Some(Exec(["nginx", "-s", "reload"])) true
        {"db": Postgres} [80, 81] Some(Exec(["nginx", "-t"])) false
        {"db": Postgres, "postgres": Postgres} [80, 81] Some(Exec(["nginx", "-s", "reload"])) false
        {} [] Some(Exec(["nginx", "-s", "reload"])) false
        "#);
    }
}
