//! What all objects of a stack have in common: names, labels, and questions to a part that decide several of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::compile::addons::MANAGER;
use crate::compile::targets::{Part, Scene, hash};
use crate::model::{FileSpec, Mount, is_dns_label, label};

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

/// The claim of a volume, by the volume's name in the stack.
pub(super) fn claim_name(scene: &Scene<'_>, key: &str) -> String {
    let declared = scene.stack.volumes.get(key).and_then(|volume| volume.name.as_deref());
    object_name(declared.unwrap_or(key))
}

/// Pods of a network that the stack declares bear this label.
pub(super) fn network_label(network: &str) -> String {
    format!("dev.macula.network/{network}")
}

/// Networks that the service names.
pub(super) fn networks<'a>(part: &Part<'a>) -> impl Iterator<Item = &'a str> {
    part.service.networks.keys().map(String::as_str)
}

/// Whether the service keeps data of its own, which is that of one pod.
pub(in crate::compile::targets) fn has_data(part: &Part<'_>) -> bool {
    part.service.mounts.iter().any(|mount| matches!(mount, Mount::Volume { source: Some(_), .. }))
}

/// Whole seconds, one at the least.
pub(super) fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
