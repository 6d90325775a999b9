//! One pair of files for each key of the Compose tables, with it and without it: whoever acts on the
//! keys walks over them in its tests. A key that changes nothing must say so in a warning.

use serde_json::{Map, Value, json};

use super::schema;
use crate::config::MemoryFiles;
use crate::config::yaml::{Kind, Object};

pub(crate) struct Sample {
    /// `services.*.healthcheck.interval`, `services.*.ports[].target`.
    pub(crate) key: String,
    pub(crate) with: String,
    pub(crate) without: String,
    /// The tables say that nothing is done with it.
    pub(crate) ignored: bool,
}

/// A Compose file in `/w`, with all those that samples name.
pub(crate) fn sample_files(text: &str) -> MemoryFiles {
    MemoryFiles::default()
        .with("/w/compose.yaml", text)
        .with("/w/other.yaml", "services: {more: {image: \"z:${E:-0}\", volumes: [\"./v:/v\"]}}")
        .with("/w/another.yaml", "services: {other: {image: \"z:1\"}}")
        .with("/w/p", "P=1\n")
        .with("/w/e.env", "E=1\n")
        .with("/w/quoted.env", "Q='1'\n")
        .with("/w/t", "services: {elsewhere: {image: \"z:1\", tty: true}}")
        .with("/w/f", "content of a file")
}

/// Values that the kind of a key does not tell.
fn value(key: &str) -> Option<Value> {
    Some(match key {
        "name" => json!("other"),
        "services.*.cgroup" => json!("host"),
        "services.*.deploy.update_config.failure_action" => json!("continue"),
        "services.*.deploy.update_config.order" => json!("start-first"),
        "services.*.deploy.mode" => json!("global"),
        "services.*.deploy.restart_policy.max_attempts" => json!(7),
        "services.*.dns" => json!(["10.0.0.1"]),
        "services.*.depends_on.*.condition" => json!("service_healthy"),
        "services.*.entrypoint" => json!(["e"]),
        "services.*.expose" => json!(["53/udp"]),
        "services.*.external_links" => json!(["outside"]),
        "services.*.extends" => json!("base"),
        "services.*.extends.service" => json!("base"),
        "services.*.extra_hosts" | "services.*.build.extra_hosts" => json!(["h=10.0.0.1"]),
        "services.*.gpus[].count" | "services.*.deploy.resources.reservations.devices[].count" => json!(2),
        "services.*.healthcheck.test" => json!(["CMD", "t"]),
        "services.*.image" => json!("other:2"),
        "services.*.links" => json!(["b:alias"]),
        "services.*.mac_address" | "services.*.networks.*.mac_address" => json!("02:42:ac:11:00:02"),
        "services.*.network_mode" => json!("host"),
        "services.*.networks.*.ipv4_address" => json!("10.99.0.9"),
        "services.*.networks.*.ipv6_address" => json!("fd00::9"),
        "services.*.networks.*.priority" => json!(9),
        "services.*.pid" | "services.*.ipc" => json!("service:b"),
        "services.*.ports[].app_protocol" => json!("http"),
        "services.*.ports[].host_ip" => json!("127.0.0.1"),
        "services.*.ports[].protocol" => json!("udp"),
        "services.*.ports[].published" => json!("8080"),
        "services.*.ports[].mode" => json!("host"),
        "services.*.profiles" => json!(["none"]),
        "services.*.pull_policy" => json!("always"),
        "services.*.restart" => json!("always"),
        "services.*.scale" | "services.*.deploy.replicas" => json!(3),
        "services.*.secrets[].mode" | "services.*.configs[].mode" | "services.*.build.secrets[].mode" => json!(0o400),
        "services.*.secrets[].uid" | "services.*.secrets[].gid" => json!("7"),
        "services.*.configs[].uid" | "services.*.configs[].gid" => json!("7"),
        "services.*.volumes[].type" => json!("volume"),
        "services.*.volumes[].target" => json!("/t"),
        // the other one is what holds without it
        "services.*.volumes[].bind.create_host_path" => json!(false),
        "services.*.volumes[].bind.propagation" => json!("shared"),
        "services.*.volumes[].bind.recursive" => json!("disabled"),
        "services.*.volumes_from" => json!(["b:ro"]),
        "services.*.tmpfs" => json!(["/t"]),
        "services.*.env_file[].path" => json!("./e.env"),
        "services.*.env_file[].required" => json!(false),
        "services.*.label_file" => json!("./e.env"),
        "services.*.user" => json!("7:7"),
        "services.*.develop.watch[].action" => json!("sync+restart"),
        "services.*.develop.watch[].target" => json!("/t"),
        "services.*.devices[].source" => json!("/dev/null"),
        "services.*.devices[].permissions" => json!("r"),
        "services.*.build.platforms" => json!(["linux/amd64"]),
        "services.*.build.additional_contexts" => json!({"c": "."}),
        "services.*.platform" => json!("linux/arm64"),
        "networks.*.ipam.config[].subnet" => json!("10.99.0.0/24"),
        "networks.*.ipam.config[].gateway" => json!("10.99.0.7"),
        "networks.*.ipam.config[].ip_range" => json!("10.99.0.128/25"),
        "networks.*.external" | "volumes.*.external" => json!(true),
        "secrets.*.file" | "configs.*.file" => json!("./f"),
        "secrets.*.environment" | "configs.*.environment" => json!("HOME"),
        "include[].path" => json!("./another.yaml"),
        "include[].env_file" => json!("./e.env"),
        "services.*.secrets[].source" | "services.*.configs[].source" | "services.*.build.secrets[].source" => {
            json!("other")
        }
        "services.*.build.ssh" => json!(["default"]),
        "services.*.x-macula" => json!({"ingress": [{"port": 80}]}),
        _ => return None,
    })
}

/// What a file must have around a key for it to mean anything.
fn around(key: &str) -> Value {
    let service = |service: Value| json!({"services": {"a": service}});
    if key.starts_with("services.*.networks.*") {
        return json!({
            "services": {"a": {"networks": {"thing": {}, "m": {}}}},
            "networks": {"thing": {"ipam": {"config": [{"subnet": "10.99.0.0/24"}]}}, "m": {}},
        });
    }
    if key.starts_with("networks.*") {
        return json!({"services": {"a": {"networks": {"thing": {}}}}, "networks": {"thing": {}}});
    }
    if key.starts_with("volumes.*") {
        return json!({"services": {"a": {"volumes": ["thing:/v"]}}, "volumes": {"thing": {}}});
    }
    for kind in ["secrets", "configs"] {
        if key.starts_with(&format!("services.*.{kind}[]")) {
            return json!({
                "services": {"a": {kind: [{"source": "thing"}]}},
                kind: {"thing": {"content": "c"}, "other": {"content": "d"}},
            });
        }
        if key.starts_with(&format!("{kind}.*")) {
            let content = match is_source(key) {
                true => json!({}),
                false => json!({"content": "c"}),
            };
            return json!({"services": {"a": {kind: [{"source": "thing"}]}}, kind: {"thing": content}});
        }
    }
    if key.starts_with("services.*.volumes[].bind") {
        return service(json!({"volumes": [{"type": "bind", "source": "/s", "target": "/t"}]}));
    }
    if key.starts_with("services.*.volumes[].tmpfs") {
        return service(json!({"volumes": [{"type": "tmpfs", "target": "/t"}]}));
    }
    if key.starts_with("services.*.volumes[]") {
        return json!({
            "services": {"a": {"volumes": [{"type": "volume", "source": "t", "target": "/t"}]}},
            "volumes": {"t": {}},
        });
    }
    if key.starts_with("services.*.build.ulimits") {
        return service(json!({"build": {"context": ".", "ulimits": {"thing": {"soft": 1, "hard": 1}}}}));
    }
    if key.starts_with("services.*.build.secrets[]") {
        return json!({
            "services": {"a": {"build": {"context": ".", "secrets": [{"source": "thing"}]}}},
            "secrets": {"thing": {"content": "c"}, "other": {"content": "d"}},
        });
    }
    if key.starts_with("services.*.build") {
        return service(json!({"build": {"context": "."}}));
    }
    if key.starts_with("services.*.ports[]") {
        return service(json!({"ports": [{"target": 7}]}));
    }
    if key.starts_with("services.*.deploy.restart_policy") {
        return service(json!({"deploy": {"restart_policy": {"condition": "on-failure"}}}));
    }
    if key.starts_with("services.*.depends_on") {
        return service(json!({"depends_on": {"b": {"condition": "service_started"}}}));
    }
    for hook in ["post_start", "pre_stop"] {
        if key.starts_with(&format!("services.*.{hook}")) {
            return service(json!({hook: [{"command": ["c"]}]}));
        }
    }
    if key.starts_with("services.*.ulimits.*") {
        return service(json!({"ulimits": {"thing": {"soft": 1, "hard": 1}}}));
    }
    if key.starts_with("services.*.develop.watch[]") {
        let rule = json!({"path": "./q", "action": "sync+exec", "target": "/q", "exec": {"command": ["c"]}});
        return service(json!({"develop": {"watch": [rule]}}));
    }
    if key.starts_with("services.*.devices[]") {
        return service(json!({"devices": [{"source": "/dev/zero"}]}));
    }
    if key.starts_with("include[]") {
        return json!({"include": [{"path": "./other.yaml"}]});
    }
    match key {
        "services.*.cpu_period" => service(json!({"cpu_quota": 50_000})),
        "services.*.logging.options" => service(json!({"logging": {"driver": "json-file"}})),
        "services.*.env_file[].format" => service(json!({"env_file": [{"path": "./quoted.env"}]})),
        "services.*.env_file[].required" => service(json!({"env_file": [{"path": "./e.env"}]})),
        "services.*.extends.file" => service(json!({"extends": {"service": "elsewhere"}})),
        key if key.starts_with("services.*.blkio_config.weight_device") => {
            service(json!({"blkio_config": {"weight_device": [{"path": "/dev/sda", "weight": 1}]}}))
        }
        key if key.starts_with("services.*.blkio_config.device_") => {
            let list = key.split('.').nth(3).unwrap_or_default().trim_end_matches("[]");
            service(json!({"blkio_config": {list: [{"path": "/dev/sda", "rate": 1}]}}))
        }
        _ => json!({}),
    }
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Choice(all) => json!(all.last().copied().unwrap_or_default()),
        Kind::Bool => json!(true),
        Kind::Int(least, most) => json!(7.clamp(*least, *most)),
        Kind::Float32 => json!(0.5),
        Kind::Bytes => json!("64m"),
        Kind::Duration => json!("7s"),
        Kind::Texts | Kind::TextOrTexts | Kind::Words => json!(["t"]),
        Kind::Loose => json!(["7"]),
        Kind::Dict | Kind::Labels | Kind::Options => json!({"k": "v"}),
        Kind::Path | Kind::Context => json!("./p"),
        Kind::Nullable(inner) | Kind::Short(_, inner) => of_kind(inner),
        _ => json!("t"),
    }
}

/// Every key of the tables.
pub(crate) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    walk(&schema::FILE, "", false, &mut all);
    all
}

/// Every key of `x-macula`, the mappings above others included.
pub(crate) fn extension_keys() -> Vec<String> {
    fn walk(object: &'static Object, path: &str, all: &mut Vec<String>) {
        for field in object.fields {
            let key = format!("{path}.{}", field.name);
            if let Some((inner, suffix)) = inside(&field.kind) {
                walk(inner, &format!("{key}{suffix}"), all);
            }
            all.push(key);
        }
    }
    let mut all = Vec::new();
    walk(&crate::config::macula::extension::EXTENSION, "services.*.x-macula", &mut all);
    all
}

fn walk(object: &'static Object, path: &str, ignored: bool, all: &mut Vec<Sample>) {
    for field in object.fields {
        let key = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let ignored = ignored || field.ignored.is_some();
        match inside(&field.kind) {
            Some((inner, suffix)) => walk(inner, &format!("{key}{suffix}"), ignored, all),
            None => all.push(sample(&key, &field.kind, ignored)),
        }
    }
}

/// The table below a key, and how the way there is written.
fn inside(kind: &Kind) -> Option<(&'static Object, &'static str)> {
    match kind {
        Kind::Object(object) => Some((object, "")),
        Kind::Nullable(inner) | Kind::Short(_, inner) => inside(inner),
        Kind::List(inner) => inside(inner).map(|(object, _)| (object, "[]")),
        Kind::Map(inner) => inside(inner).map(|(object, _)| (object, ".*")),
        _ => None,
    }
}

fn sample(key: &str, kind: &Kind, ignored: bool) -> Sample {
    let base = || {
        let mut base = json!({"services": {
            "a": {"image": "x:1"},
            "b": {"image": "x:1"},
            "base": {"image": "y:1", "tty": true},
            "elsewhere": {"image": "x:1"},
        }});
        merge(&mut base, around(key));
        base
    };
    let mut with = base();
    let value = value(key).unwrap_or_else(|| of_kind(kind));
    put(&mut with, key, value);
    // what is around an ignored key may be ignored as well
    let without = if (key.starts_with("secrets.") || key.starts_with("configs.")) && is_source(key) {
        let mut without = base();
        put(&mut without, &format!("{}.content", key.rsplit_once('.').map_or(key, |(section, _)| section)), json!("c"));
        without
    } else if ignored {
        json!({"services": {"a": {"image": "x:1"}}})
    } else {
        base()
    };
    Sample { key: key.to_owned(), with: with.to_string(), without: without.to_string(), ignored }
}

/// What a config or a secret is made of, of which there is one.
fn is_source(key: &str) -> bool {
    key.ends_with(".file") || key.ends_with(".environment")
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Puts a value where the key leads, past what is there: into the service `a`, the thing `n`, and the
/// first item of a list.
fn put(root: &mut Value, key: &str, value: Value) {
    let mut at = root;
    let parts: Vec<&str> = key.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let name = match (*part, index) {
            ("*", 1) if parts.first() == Some(&"services") => "a",
            ("*", _) if key.starts_with("services.*.depends_on") => "b",
            ("*", _) => "thing",
            (name, _) => name.trim_end_matches("[]"),
        };
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[name];
        if part.ends_with("[]") {
            if !at.is_array() {
                *at = json!([{}]);
            }
            at = &mut at[0];
        }
        if last {
            *at = value;
            return;
        }
    }
}
