//! A stack as objects of Kubernetes. Each service keeps its name: it is that of its Service, by which the others
//! find it, and that of what runs its pods.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::check::object_name;
use super::{Part, Scene, hash, written};
use crate::compile::addons::MANAGER;
use crate::model::{Mount, Volume, label};

mod network;
mod pod;
mod workload;

pub(super) use network::{is_port_name, ports};
pub(super) use workload::has_data;

/// What a claim asks for where the stack says nothing.
const CLAIM_SIZE: &str = "1Gi";

/// All objects, those first that others need.
pub(super) fn objects(scene: &Scene<'_>) -> Vec<Value> {
    let mut all = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": scene.namespace, "labels": common_labels(scene)},
    })];
    for part in &scene.parts {
        all.extend(files(scene, part));
        all.extend(variables(scene, part));
        all.extend(network::passwords(scene, part));
    }
    all.extend(claims(scene));
    for part in &scene.parts {
        all.extend(network::services(scene, part));
    }
    all.extend(scene.parts.iter().map(|part| workload::workload(scene, part)));
    for part in &scene.parts {
        all.extend(workload::scaling(scene, part));
        all.extend(network::ingresses(scene, part));
    }
    all.extend(network::policies(scene));
    all.iter_mut().for_each(strip);
    all
}

/// Takes away what is null: nobody asked for it.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// `None` for a list or mapping without anything in it.
fn some<T: serde::Serialize>(items: T) -> Value {
    match serde_json::to_value(items) {
        Ok(Value::Array(items)) if items.is_empty() => Value::Null,
        Ok(Value::Object(map)) if map.is_empty() => Value::Null,
        Ok(value) => value,
        Err(_) => Value::Null,
    }
}

/// Of everything that belongs to the stack.
fn common_labels(scene: &Scene<'_>) -> BTreeMap<String, String> {
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
fn selector(scene: &Scene<'_>, part: &Part<'_>) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", part.name), ("app.kubernetes.io/part-of", scene.stack.name.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn metadata(scene: &Scene<'_>, part: &Part<'_>, name: &str) -> Map<String, Value> {
    let mut labels = common_labels(scene);
    labels.extend(selector(scene, part));
    let mut map = Map::new();
    map.insert("name".into(), json!(name));
    map.insert("namespace".into(), json!(scene.namespace));
    map.insert("labels".into(), json!(labels));
    map
}

/// The object of a part, with everything that all objects have.
fn object(api: &str, kind: &str, metadata: Map<String, Value>, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata});
    if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    object
}

/// A file's key in its ConfigMap or Secret: its path, in the letters that keys have.
fn key_of(path: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    path.trim_start_matches('/').chars().map(|letter| if plain(letter) { letter } else { '-' }).collect()
}

/// Files of the stack's own, with their keys: first those that anybody may read, then the others.
fn own_files<'a>(part: &Part<'a>, secret: bool) -> Vec<(String, &'a crate::model::FileSpec)> {
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

fn config_name(part: &Part<'_>) -> String {
    format!("{}-config", part.name)
}

fn files_name(part: &Part<'_>) -> String {
    format!("{}-files", part.name)
}

fn variables_name(part: &Part<'_>) -> String {
    format!("{}-env", part.name)
}

fn files(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    let open = own_files(part, false);
    if !open.is_empty() {
        let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (key, file) in &open {
            match super::text_of(file) {
                Some(text) => data.insert(key.clone(), text.to_owned()),
                None => binary.insert(key.clone(), STANDARD.encode(&file.content)),
            };
        }
        let name = config_name(part);
        let rest = json!({"data": some(data), "binaryData": some(binary)});
        all.push(object("v1", "ConfigMap", metadata(scene, part, &name), rest));
    }
    let secret = own_files(part, true);
    if !secret.is_empty() {
        let data = secret.into_iter().map(|(key, file)| (key, file.content.clone())).collect();
        all.push(secret_object(scene, part, &files_name(part), data));
    }
    all
}

fn secret_object(scene: &Scene<'_>, part: &Part<'_>, name: &str, data: BTreeMap<String, Vec<u8>>) -> Value {
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

fn variables(scene: &Scene<'_>, part: &Part<'_>) -> Option<Value> {
    let secret = part.environment().filter(|(name, _)| part.is_secret(name));
    let data: BTreeMap<String, Vec<u8>> =
        secret.filter_map(|(name, value)| Some((name.to_owned(), value?.as_bytes().to_vec()))).collect();
    (!data.is_empty()).then(|| secret_object(scene, part, &variables_name(part), data))
}

/// Another one where any file or secret variable has another content: pods are made again then.
fn content_hash(part: &Part<'_>) -> Option<String> {
    let secret: Vec<_> = part.environment().filter(|(name, _)| part.is_secret(name)).collect();
    (!part.spec.files.is_empty() || !secret.is_empty()).then(|| hash(&(&part.spec.files, secret)))
}

/// The claim of a volume, by the volume's name in the stack.
fn claim_name(scene: &Scene<'_>, key: &str) -> String {
    let declared = scene.stack.volumes.get(key).and_then(|volume| volume.name.as_deref());
    object_name(declared.unwrap_or(key))
}

fn claims(scene: &Scene<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    for (key, volume) in scene.stack.volumes.iter().filter(|(_, volume)| !volume.external) {
        let mounts = |part: &&Part<'_>| {
            part.service
                .mounts
                .iter()
                .any(|mount| matches!(mount, Mount::Volume { source: Some(source), .. } if source == key))
        };
        let users = scene.parts.iter().filter(mounts).count();
        if users == 0 {
            continue;
        }
        let writers = scene.parts.iter().filter(|part| written(part.service).any(|source| source == key)).count();
        all.push(claim(scene, key, volume, users > 1 && writers > 0));
    }
    all
}

fn claim(scene: &Scene<'_>, key: &str, volume: &Volume, shared: bool) -> Value {
    let class = volume.driver.as_deref().filter(|driver| *driver != "local");
    let size = volume.driver_opts.get("size").map_or(CLAIM_SIZE, String::as_str);
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(scene, key), "namespace": scene.namespace, "labels": common_labels(scene),
            "annotations": some(&volume.labels),
        },
        "spec": {
            // pods on several nodes write it
            "accessModes": [if shared { "ReadWriteMany" } else { "ReadWriteOnce" }],
            "storageClassName": class,
            "resources": {"requests": {"storage": size}},
        },
    })
}
