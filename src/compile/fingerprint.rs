//! The hash that decides whether a container is still the wanted one, and its parts, which let a
//! plan say what changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{ContainerSpec, FileSpec, Fingerprint, label};
use crate::words;

/// The whole, and the parts as `command=1a2b3c4d,env=...`: one for each field that is not empty. `files`: those that the
/// spec is to have, and has not yet: their contents count by their digests, and are long to write down.
pub fn of(spec: &ContainerSpec, files: &[FileSpec]) -> (Fingerprint, String) {
    let mut value = serde_json::to_value(spec).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        // labels name this program's version, which is no reason to recreate anything
        map.remove("labels");
        map.insert("labels".into(), own_labels_apart(spec));
        map.insert("files".into(), fixed_files(files));
        copied_folders(map, spec);
        if let Some(names) = spec.labels.get(label::NAMES) {
            drop_names(map.get_mut("networks"), names);
        }
        // the plan compares them with their label
        if spec.labels.contains_key(label::PORTS) {
            map.remove("ports");
        }
    }
    let parts = match &value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, part)| !is_empty(part))
            .map(|(name, part)| format!("{name}={}", short(&part.to_string())))
            .collect::<Vec<_>>()
            .join(","),
        _ => String::new(),
    };
    (Fingerprint::of(&value), parts)
}

/// Their content is a part each: what a volume is called says it, too, and would be told as another mount.
fn copied_folders(map: &mut serde_json::Map<String, Value>, spec: &ContainerSpec) {
    for mount in map.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(source) = mount.get_mut("source") else { continue };
        if let Some(folder) = source.as_str().and_then(|name| spec.copies.get(name)) {
            *source = Value::String(folder.path.to_string_lossy().into_owned());
        }
    }
    // one folder may be copied twice, without what is mounted over one of them
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in spec.copies.values() {
        parts.entry(Fingerprint::copy_part(&folder.shown)).or_default().insert(folder.volume());
    }
    map.extend(parts.into_iter().map(|(part, volumes)| (part, volumes.into_iter().collect())));
}

fn own_labels_apart(spec: &ContainerSpec) -> Value {
    spec.labels
        .iter()
        .filter(|(key, _)| !label::describes(key) || [label::POST_START, label::PRE_STOP].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Names come and go; the plan compares them with the label that holds them.
fn drop_names(networks: Option<&mut Value>, names: &str) {
    let names: Vec<&str> = names.split(',').collect();
    for network in networks.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(aliases) = network.get_mut("aliases").and_then(Value::as_array_mut) {
            aliases.retain(|alias| alias.as_str().is_none_or(|alias| !names.contains(&alias)));
        }
    }
}

/// Files that a reload takes up are observed by reading them back, so they are no part of it.
fn fixed_files(files: &[FileSpec]) -> Value {
    files
        .iter()
        .filter(|file| !file.reload)
        .map(|file| {
            Value::String(format!(
                "{} {:o} {}:{} {}",
                file.path,
                file.mode,
                file.uid,
                file.gid,
                Fingerprint::of_bytes(&file.content)
            ))
        })
        .collect()
}

fn short(text: &str) -> String {
    words::hex(Sha256::digest(text.as_bytes())).chars().take(8).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CopiedFolder, MountSpec};

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "macula-web-1".into(),
            image: "nginx:1".into(),
            env: vec!["A=1".into()],
            ..Default::default()
        }
    }

    #[test]
    fn a_changed_part_is_named() {
        let (before, old) = of(&spec(), &[]);
        let (after, new) = of(&ContainerSpec { env: vec!["A=2".into()], ..spec() }, &[]);
        assert_ne!(before, after);
        assert_eq!(Fingerprint::changed_parts(&old, &new), ["environment"]);
    }

    #[test]
    fn a_copied_folder_is_named_where_its_files_have_changed() {
        let copied = |digest: &str| {
            let folder = CopiedFolder {
                path: "/p/a=b,c".into(),
                shown: "./a=b,c".into(),
                digest: digest.into(),
                ..CopiedFolder::default()
            };
            let mount = MountSpec::Volume {
                source: folder.volume(),
                target: "/c".into(),
                read_only: true,
                no_copy: true,
                subpath: None,
            };
            ContainerSpec { copies: [(folder.volume(), folder)].into(), mounts: vec![mount], ..spec() }
        };
        let (before, old) = of(&copied("1"), &[]);
        let (after, new) = of(&copied("2"), &[]);
        assert_ne!(before, after);
        assert_eq!(Fingerprint::changed_parts(&old, &new), ["files of ./a_b_c"]);
        assert_eq!(of(&copied("1"), &[]), (before, old.clone()));
        // two copies of one folder: a change of either is seen
        let twice = |deep: &str| {
            let whole = CopiedFolder { path: "/p/a".into(), shown: "./a".into(), ..CopiedFolder::default() };
            let part = CopiedFolder { without: ["x".to_owned()].into(), digest: deep.into(), ..whole.clone() };
            ContainerSpec { copies: [whole, part].map(|folder| (folder.volume(), folder)).into(), ..spec() }
        };
        let ((before, old_parts), (after, new_parts)) = (of(&twice("1"), &[]), of(&twice("2"), &[]));
        assert_ne!(before, after);
        assert_eq!(Fingerprint::changed_parts(&old_parts, &new_parts), ["files of ./a"]);
        let (_, none) = of(&spec(), &[]);
        assert_eq!(Fingerprint::changed_parts(&none, &old), ["files of ./a_b_c", "mounts"]);
    }

    #[test]
    fn our_own_labels_do_not_count() {
        let mut labelled = spec();
        labelled.labels.insert("dev.macula.version".into(), "9.9.9".into());
        assert_eq!(of(&spec(), &[]), of(&labelled, &[]));
        labelled.labels.insert("team".into(), "a".into());
        assert_ne!(of(&spec(), &[]).0, of(&labelled, &[]).0);
    }

    #[test]
    fn a_file_that_reloads_does_not_count_and_another_does() {
        let file = |reload| FileSpec {
            path: "/etc/x".into(),
            content: b"x".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o644,
            secret: false,
            reload,
        };
        assert_eq!(of(&spec(), &[file(true)]), of(&spec(), &[]));
        assert_ne!(of(&spec(), &[file(false)]).0, of(&spec(), &[]).0);
        // everything of one that is fixed counts
        let all = [
            file(false),
            FileSpec { path: "/etc/y".into(), ..file(false) },
            FileSpec { content: b"y".to_vec(), ..file(false) },
            FileSpec { uid: 1, ..file(false) },
            FileSpec { gid: 1, ..file(false) },
            FileSpec { mode: 0o600, ..file(false) },
        ];
        let hashes: BTreeSet<String> = all.iter().map(|file| of(&spec(), std::slice::from_ref(file)).0.0).collect();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn what_a_label_holds_is_compared_by_the_plan_alone() {
        use crate::model::{NetworkAttachment, PortBinding, Protocol};
        let gate = |aliases: &[&str], names: Option<&str>, port: u16, ports: Option<&str>| {
            let mut spec = spec();
            spec.networks = vec![NetworkAttachment {
                network: "macula".into(),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
                links: Vec::new(),
                ipv4: None,
                ipv6: None,
            }];
            spec.ports = vec![PortBinding {
                host_ip: std::net::Ipv4Addr::LOCALHOST.into(),
                host_port: Some(port),
                container_port: 80,
                protocol: Protocol::Tcp,
            }];
            let labels = [(label::NAMES, names), (label::PORTS, ports)];
            spec.labels.extend(labels.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.to_owned()))));
            of(&spec, &[])
        };
        let held = gate(&["gate", "a"], Some("a"), 80, Some("p"));
        assert_eq!(gate(&["gate", "a", "b"], Some("a,b"), 81, Some("q")), held);
        // a name that it has for another reason
        assert_ne!(gate(&["gate", "a", "b"], Some("a"), 80, Some("p")), held);
        // where there is no label, everything is what it is made with
        let plain = gate(&["gate"], None, 80, None);
        let parts = |other: (Fingerprint, String)| Fingerprint::changed_parts(&plain.1, &other.1);
        assert_eq!(parts(gate(&["gate", "b"], None, 80, None)), ["networks"]);
        assert_eq!(parts(gate(&["gate"], None, 81, None)), ["ports"]);
        // hooks are read from their labels, and differ with them
        let hooked = |key: &str| {
            let mut spec = spec();
            spec.labels.insert(key.to_owned(), "[]".to_owned());
            of(&spec, &[]).0
        };
        let without = of(&spec(), &[]).0;
        assert!(hooked(label::POST_START) != without && hooked(label::PRE_STOP) != without);
        assert_eq!(hooked(label::SERVICE), without);
    }
}
