//! The resolved project in the form in which `docker compose config` prints it.

use super::emit::{Out, compare_keys, emit};
use super::{Project, schema};
use crate::config::yaml::{Field, Kind, Map, Node, Object, Value, format_duration, scalar};

/// The resolved file, byte for byte as `docker compose config` (2.26, from Debian trixie) prints it.
/// The differences that there are stand in docs/stacks.md.
pub fn canonical(project: &Project) -> String {
    let mut entries = vec![("name".to_owned(), Out::Text(project.name.clone()))];
    if let Some(root) = project.root.as_map() {
        let used = Used::of(project);
        let mut root = root.clone();
        root.shift_remove("name");
        for (section, names) in [
            ("networks", &used.networks),
            ("volumes", &used.volumes),
            ("secrets", &used.secrets),
            ("configs", &used.configs),
        ] {
            if let Some(map) = root.get_mut(section).and_then(|entry| entry.node.as_map_mut()) {
                map.retain(|name, _| names.contains(name));
            }
        }
        entries.extend(fields(&schema::FILE, &root));
    }
    // what is printed can be read again, so a dollar sign is doubled
    emit(&Out::Map(entries)).replace('$', "$$")
}

/// Resources that some service uses: Compose drops the others.
#[derive(Default)]
struct Used {
    networks: Vec<String>,
    volumes: Vec<String>,
    secrets: Vec<String>,
    configs: Vec<String>,
}

impl Used {
    fn of(project: &Project) -> Self {
        let mut used = Self::default();
        let sources = |node: &Node, key: &str| -> Vec<String> {
            node.items(key).iter().filter_map(|item| item.get_text("source").map(str::to_owned)).collect()
        };
        for (_, entry) in project.services() {
            let service = &entry.node;
            used.networks.extend(service.entries("networks").map(|(name, _)| name.to_owned()));
            used.secrets.extend(sources(service, "secrets"));
            used.secrets.extend(service.get("build").map(|build| sources(build, "secrets")).unwrap_or_default());
            used.configs.extend(sources(service, "configs"));
            let volumes = service.items("volumes").iter().filter(|volume| volume.get_text("type") == Some("volume"));
            used.volumes.extend(volumes.filter_map(|volume| volume.get_text("source").map(str::to_owned)));
        }
        used
    }
}

/// The known fields in the order of the tables, then what begins with `x-`.
fn fields(object: &'static Object, map: &Map) -> Vec<(String, Out)> {
    let mut out = Vec::new();
    for field in object.fields.iter().filter(|field| !field.name.starts_with("x-")) {
        let Some(entry) = map.get(field.name) else {
            if object.name == "a Compose file" && field.name == "services" {
                out.push((field.name.to_owned(), Out::Map(Vec::new())));
            }
            continue;
        };
        if let Some(value) = field_value(object, field, &entry.node) {
            out.push((field.name.to_owned(), value));
        }
    }
    let mut own: Vec<_> = map.iter().filter(|(name, _)| name.starts_with("x-")).collect();
    own.sort_by(|(one, _), (other, _)| compare_keys(one, other));
    out.extend(own.into_iter().map(|(name, entry)| (name.clone(), any(&entry.node))));
    out
}

/// `None`: left out, since it is empty.
fn field_value(object: &'static Object, field: &'static Field, node: &Node) -> Option<Out> {
    if node.is_null() {
        return None;
    }
    if object.name == "a build" && field.name == "ssh" {
        return ssh(node);
    }
    // where a config comes from is printed, not what stands in it
    if object.name == "a secret" && field.name == "content" {
        return None;
    }
    let mut out = value(&field.kind, node);
    if let ("extra_hosts", Out::List(hosts)) = (field.name, &mut out) {
        hosts.sort_by(|one, other| match (one, other) {
            (Out::Text(one), Out::Text(other)) => one.cmp(other),
            _ => std::cmp::Ordering::Equal,
        });
    }
    let empty = match &out {
        Out::Null => true,
        Out::Plain(plain) => matches!(plain.as_str(), "0" | "false"),
        Out::Text(text) => {
            text.is_empty()
                || (matches!(field.kind, Kind::Bytes) && text == "0")
                || (matches!(field.kind, Kind::Duration) && text == "0s")
        }
        Out::List(items) => items.is_empty() && !matches!(field.kind, Kind::Words),
        Out::Map(map) => map.is_empty() && (field.hollow || !is_object(&field.kind)),
    };
    (!empty || field.keep).then_some(out)
}

fn is_object(kind: &Kind) -> bool {
    match kind {
        Kind::Object(_) => true,
        Kind::Nullable(inner) | Kind::Short(_, inner) => is_object(inner),
        _ => false,
    }
}

fn value(kind: &Kind, node: &Node) -> Out {
    match (kind, &node.value) {
        (Kind::Nullable(inner) | Kind::Short(_, inner), _) => value(inner, node),
        (Kind::Bytes, Value::Int(bytes)) => Out::Text(bytes.to_string()),
        (Kind::Duration, Value::Int(nanoseconds)) => Out::Text(format_duration(*nanoseconds)),
        (Kind::Float32, Value::Float(number)) => Out::Plain(plain_float(scalar::format_float32(*number as f32))),
        (Kind::Object(object), Value::Map(map)) => match object.name {
            "a limit" if node.get_int("single").is_some_and(|single| single != 0) => {
                Out::Plain(node.get_int("single").unwrap_or_default().to_string())
            }
            "a limit" => {
                let part = |key: &str| (key.to_owned(), Out::Plain(node.get_int(key).unwrap_or(0).to_string()));
                Out::Map(vec![part("soft"), part("hard")])
            }
            // the content of a config that comes from the environment is not printed
            "a config" if map.contains_key("environment") => {
                let map: Map = map
                    .iter()
                    .filter(|(name, _)| *name != "content")
                    .map(|(name, entry)| (name.clone(), entry.clone()))
                    .collect();
                Out::Map(fields(object, &map))
            }
            _ => Out::Map(fields(object, map)),
        },
        (Kind::List(inner), Value::List(items)) => Out::List(items.iter().map(|item| value(inner, item)).collect()),
        (Kind::Map(inner), Value::Map(map)) => sorted(map, |node| value(inner, node)),
        _ => any(node),
    }
}

fn sorted(map: &Map, each: impl Fn(&Node) -> Out) -> Out {
    let mut entries: Vec<(String, Out)> = map.iter().map(|(name, entry)| (name.clone(), each(&entry.node))).collect();
    entries.sort_by(|(one, _), (other, _)| compare_keys(one, other));
    Out::Map(entries)
}

fn any(node: &Node) -> Out {
    match &node.value {
        Value::Null | Value::Reset => Out::Null,
        Value::Float(number) => Out::Plain(plain_float(scalar::format_float(*number))),
        Value::Text(text) => Out::Text(text.clone()),
        Value::List(items) => Out::List(items.iter().map(any).collect()),
        Value::Map(map) => sorted(map, any),
        Value::Bool(_) | Value::Int(_) | Value::Unsigned(_) => Out::Plain(node.scalar_text().unwrap_or_default()),
    }
}

fn plain_float(text: String) -> String {
    match text.as_str() {
        "+Inf" => ".inf".to_owned(),
        "-Inf" => "-.inf".to_owned(),
        "NaN" => ".nan".to_owned(),
        _ => text,
    }
}

/// Keys for `RUN --mount=type=ssh`, as a list.
fn ssh(node: &Node) -> Option<Out> {
    let keys: Vec<Out> = node
        .as_map()?
        .iter()
        .map(|(id, entry)| match entry.node.as_text().filter(|path| !path.is_empty()) {
            Some(path) => Out::Text(format!("{id}: {path}")),
            None => Out::Text(id.clone()),
        })
        .collect();
    (!keys.is_empty()).then_some(Out::List(keys))
}
