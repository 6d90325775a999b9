//! A stack as objects of Kubernetes. Each service keeps its name: it is that of its Service, by which the others
//! find it, and that of what runs its pods.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Part, Scene, written};
use crate::model::{Mount, Volume};

mod common;
mod network;
mod pod;
mod ports;
mod workload;

pub(super) use common::{claim_name, has_data, is_annotation, is_service_name, object_name, taken_names};
pub(super) use network::is_nginx;
pub(super) use ports::{is_port_name, ports};
pub(super) use workload::is_alone;

use common::{
    annotations, common_labels, config_name, files_name, metadata, object, own_files, secret_object, some,
    variables_name, volume_name,
};

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
    all.extend(network::shared(scene));
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

fn variables(scene: &Scene<'_>, part: &Part<'_>) -> Option<Value> {
    let secret = part.environment().filter(|(name, _)| part.is_secret(name));
    let data: BTreeMap<String, Vec<u8>> =
        secret.filter_map(|(name, value)| Some((name.to_owned(), value?.as_bytes().to_vec()))).collect();
    (!data.is_empty()).then(|| secret_object(scene, part, &variables_name(part), data))
}

fn claims(scene: &Scene<'_>) -> Vec<Value> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (key, volume) in scene.stack.volumes.iter().filter(|(_, volume)| !volume.external) {
        let name = volume_name(scene, key);
        let is_it = |source: &str| volume_name(scene, source) == name;
        let mounts = |part: &&Part<'_>| {
            part.service
                .mounts
                .iter()
                .any(|mount| matches!(mount, Mount::Volume { source: Some(source), .. } if is_it(source)))
        };
        let users = scene.parts.iter().filter(mounts).count();
        // one that two keys name is one claim
        if users == 0 || !seen.insert(name) {
            continue;
        }
        let writers = scene.parts.iter().filter(|part| written(part.service).any(is_it)).count();
        all.push(claim(scene, key, volume, users > 1 && writers > 0));
    }
    all
}

fn claim(scene: &Scene<'_>, key: &str, volume: &Volume, shared: bool) -> Value {
    let class = volume.driver.as_deref().filter(|driver| *driver != "local");
    let size = volume.driver_opts.get("size").map_or_else(|| CLAIM_SIZE.to_owned(), |size| quantity(size));
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(scene, key), "namespace": scene.namespace, "labels": common_labels(scene),
            "annotations": some(annotations(&volume.labels)),
        },
        "spec": {
            // pods on several nodes write it
            "accessModes": [if shared { "ReadWriteMany" } else { "ReadWriteOnce" }],
            "storageClassName": class,
            "resources": {"requests": {"storage": size}},
        },
    })
}

/// A size in Docker's words, in which `m` is no thousandth: `100m` is `100Mi`. What is a quantity already stays.
fn quantity(size: &str) -> String {
    let bare = size.strip_suffix(['b', 'B']).unwrap_or(size);
    let digits = bare.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = bare.strip_prefix(digits).unwrap_or_default();
    let dockers = bare.len() < size.len() || unit.chars().all(|letter| letter.is_ascii_lowercase());
    match unit.to_ascii_lowercase().as_str() {
        "" if dockers => digits.to_owned(),
        unit @ ("k" | "m" | "g" | "t" | "p") if dockers => format!("{digits}{}i", unit.to_ascii_uppercase()),
        _ => size.to_owned(),
    }
}
