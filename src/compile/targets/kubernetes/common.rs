//! What all objects of a stack have in common: names, labels, and questions to a part that decide several of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::compile::addons::MANAGER;
use crate::compile::targets::{Part, Scene, hash};
use crate::model::{FileSpec, Mount, is_dns_label, label};

/// The network of services that name none.
const DEFAULT_NETWORK: &str = "default";

/// Names in the stack may have what objects may not: `auth_db` is `auth-db`.
pub(in crate::compile::targets) fn object_name(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// `None` for a list or mapping without anything in it.
pub(super) fn some<T: serde::Serialize>(items: T) -> Value {
    match serde_json::to_value(items) {
        Ok(Value::Array(items)) if items.is_empty() => Value::Null,
        Ok(Value::Object(map)) if map.is_empty() => Value::Null,
        Ok(value) => value,
        Err(_) => Value::Null,
    }
}

/// Labels of Docker's as far as annotations may be called so: not `tls.domains[0].main`.
pub(super) fn annotations(labels: &BTreeMap<String, String>) -> BTreeMap<&String, &String> {
    labels.iter().filter(|(key, _)| is_annotation(key)).collect()
}

/// Whether an annotation may have this name: `a.test/some.name`, upper case or not
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/#syntax-and-character-set>).
pub(in crate::compile::targets) fn is_annotation(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix.to_lowercase()), name),
        None => (None, key),
    };
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let ends = |letter: char| letter.is_ascii_alphanumeric();
    let is_domain = |prefix: &String| prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
    name.len() <= 63
        && name.chars().all(inner)
        && name.starts_with(ends)
        && name.ends_with(ends)
        && prefix.as_ref().is_none_or(is_domain)
}

/// Of everything that belongs to the stack.
pub(super) fn common_labels(scene: &Scene<'_>) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/part-of", scene.stack.name.clone()),
        ("app.kubernetes.io/managed-by", MANAGER.to_owned()),
        (label::DEPLOYED_BY, scene.platform.name.to_string()),
        (label::STACK, scene.stack.name.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// By which pods of a service are found.
pub(super) fn selector(scene: &Scene<'_>, part: &Part<'_>) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", part.name), ("app.kubernetes.io/part-of", scene.stack.name.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

pub(super) fn metadata(scene: &Scene<'_>, part: &Part<'_>, name: &str) -> Map<String, Value> {
    let mut labels = common_labels(scene);
    labels.extend(selector(scene, part));
    let mut map = Map::new();
    map.insert("name".into(), json!(name));
    map.insert("namespace".into(), json!(scene.namespace));
    map.insert("labels".into(), json!(labels));
    map
}

/// The object of a part, with everything that all objects have.
pub(super) fn object(api: &str, kind: &str, metadata: Map<String, Value>, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata});
    if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    object
}

/// A file's key in its ConfigMap or Secret: its path, in the letters that keys have.
pub(super) fn key_of(path: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    path.trim_start_matches('/').chars().map(|letter| if plain(letter) { letter } else { '-' }).collect()
}

/// Files of the stack's own, with their keys: first those that anybody may read, then the others.
pub(super) fn own_files<'a>(part: &Part<'a>, secret: bool) -> Vec<(String, &'a FileSpec)> {
    let external = |path: &str| part.service.files.iter().any(|file| file.target == path && file.external.is_some());
    let mut seen = BTreeSet::new();
    let own = part.spec.files.iter().filter(|file| file.secret == secret && !external(&file.path));
    own.map(|file| {
        let mut key = key_of(&file.path);
        while !seen.insert(key.clone()) {
            key.push('_');
        }
        (key, file)
    })
    .collect()
}

pub(super) fn config_name(part: &Part<'_>) -> String {
    format!("{}-config", part.name)
}

pub(super) fn files_name(part: &Part<'_>) -> String {
    format!("{}-files", part.name)
}

pub(super) fn variables_name(part: &Part<'_>) -> String {
    format!("{}-env", part.name)
}

pub(super) fn secret_object(scene: &Scene<'_>, part: &Part<'_>, name: &str, data: BTreeMap<String, Vec<u8>>) -> Value {
    let texts: Option<BTreeMap<&String, &str>> =
        data.iter().map(|(key, content)| Some((key, std::str::from_utf8(content).ok()?))).collect();
    // what is hidden is there to be read
    let rest = match texts.filter(|_| scene.options.hidden) {
        Some(texts) => json!({"type": "Opaque", "stringData": texts}),
        None => {
            let data: BTreeMap<String, String> =
                data.into_iter().map(|(key, content)| (key, STANDARD.encode(content))).collect();
            json!({"type": "Opaque", "data": data})
        }
    };
    object("v1", "Secret", metadata(scene, part, name), rest)
}

/// Another one where any file or secret variable has another content: pods are made again then.
pub(super) fn content_hash(part: &Part<'_>) -> Option<String> {
    let secret: Vec<_> = part.environment().filter(|(name, _)| part.is_secret(name)).collect();
    (!part.spec.files.is_empty() || !secret.is_empty()).then(|| hash(&(&part.spec.files, secret)))
}

/// What an engine would call a volume of the stack, but for the stack's own name: two keys with one name are one volume.
pub(super) fn volume_name<'a>(scene: &'a Scene<'_>, key: &'a str) -> &'a str {
    scene.stack.volumes.get(key).and_then(|volume| volume.name.as_deref()).unwrap_or(key)
}

/// The claim of a volume, by the volume's name in the stack.
pub(in crate::compile::targets) fn claim_name(scene: &Scene<'_>, key: &str) -> String {
    object_name(volume_name(scene, key))
}

/// Pods of a network that the stack declares bear this label.
pub(super) fn network_label(network: &str) -> String {
    format!("dev.macula.network/{network}")
}

/// Networks that the service is in. One that names none is in `default`, which is told apart from the network of all
/// pods only where another service names it.
pub(super) fn networks<'a>(scene: &Scene<'a>, part: &Part<'a>) -> Vec<&'a str> {
    let service = part.service;
    let is_named = || scene.parts.iter().any(|other| other.service.networks.contains_key(DEFAULT_NETWORK));
    if service.networks.is_empty() && service.network_mode.is_none() && is_named() {
        return vec![DEFAULT_NETWORK];
    }
    service.networks.keys().map(String::as_str).collect()
}

/// Pods of services that share a name bear this label.
pub(super) fn alias_label(alias: &str) -> String {
    format!("dev.macula.alias/{alias}")
}

/// A name that Kubernetes takes for a Service, whose rule is the strictest.
pub(in crate::compile::targets) fn is_service_name(name: &str) -> bool {
    is_dns_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Names that a service asks for, its own aside, as far as a Service may be called so.
fn aliases<'a>(part: &Part<'a>) -> BTreeSet<&'a str> {
    let all = part.service.networks.values().flat_map(|network| network.aliases.iter().map(String::as_str));
    all.filter(|alias| is_service_name(alias)).collect()
}

/// The further names that lead to a service: not those that are another service's own.
pub(super) fn further_names<'a>(scene: &Scene<'a>, part: &Part<'a>) -> BTreeSet<&'a str> {
    aliases(part).into_iter().filter(|alias| scene.parts.iter().all(|other| other.name != *alias)).collect()
}

/// Names that a service asks for and that are another service's own.
pub(in crate::compile::targets) fn taken_names<'a>(scene: &Scene<'a>, part: &Part<'a>) -> BTreeSet<&'a str> {
    let others = |alias: &&str| scene.parts.iter().any(|other| other.name == *alias && other.name != part.name);
    aliases(part).into_iter().filter(others).collect()
}

/// Names that several services ask for, with those services. What ends has no name.
pub(super) fn shared_names<'a, 'b>(scene: &'b Scene<'a>) -> BTreeMap<&'a str, Vec<&'b Part<'a>>> {
    let mut all: BTreeMap<&'a str, Vec<&'b Part<'a>>> = BTreeMap::new();
    for part in scene.parts.iter().filter(|part| !part.is_job()) {
        for name in further_names(scene, part) {
            all.entry(name).or_default().push(part);
        }
    }
    all.retain(|_, parts| parts.len() > 1);
    all
}

/// Whether the service keeps data of its own, which is that of one pod.
pub(in crate::compile::targets) fn has_data(part: &Part<'_>) -> bool {
    part.service.mounts.iter().any(|mount| matches!(mount, Mount::Volume { source: Some(_), .. }))
}

/// Whole seconds, one at the least.
pub(super) fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
