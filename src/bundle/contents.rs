//! What the configuration of an image says of it: its layers, and what an engine shows of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{Image, Member};
use crate::model::ObservedImage;

/// A configuration larger than this is none.
pub(super) const LARGEST_CONFIG: u64 = 16 << 20;

/// The entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Manifest {
    /// Path of the configuration.
    pub config: String,
    /// Paths of the layers, the lowest first.
    #[serde(default)]
    layers: Vec<String>,
}

impl Manifest {
    /// Of an image alone: an archive of several has several.
    pub fn read(text: &str) -> Option<Self> {
        let [only]: [Self; 1] = serde_json::from_str::<Vec<Self>>(text).ok()?.try_into().ok()?;
        Some(only)
    }
}

/// <https://github.com/opencontainers/image-spec/blob/main/config.md>
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    architecture: String,
    created: Option<String>,
    config: Option<Running>,
    rootfs: Option<RootFs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Running {
    labels: Option<BTreeMap<String, String>>,
    volumes: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Contents {
    /// As engines count them, the lowest first; none where the archive does not say.
    pub layers: Vec<String>,
    /// The file of each of them.
    files: Vec<String>,
    architecture: String,
    created: Option<String>,
    labels: BTreeMap<String, String>,
    volumes: Vec<String>,
}

impl Contents {
    pub fn read(manifest: &Manifest, config: &[u8], members: &[Member]) -> Self {
        let config: Config = serde_json::from_slice(config).unwrap_or_default();
        let layers = config.rootfs.unwrap_or_default().diff_ids;
        let files: Vec<String> = manifest.layers.iter().map(|path| followed(path, members)).collect();
        let named = files.iter().all(|path| members.iter().any(|member| member.path() == path));
        let (layers, files) = match named && files.len() == layers.len() {
            true => (layers, files),
            false => Default::default(),
        };
        let running = config.config.unwrap_or_default();
        Self {
            layers,
            files,
            architecture: config.architecture,
            created: config.created,
            labels: running.labels.unwrap_or_default(),
            volumes: running.volumes.unwrap_or_default().into_keys().collect(),
        }
    }

    /// Files that need not be sent to whoever has so many of the lowest layers.
    pub fn left_out(&self, layers: usize) -> BTreeSet<&str> {
        let at = layers.min(self.files.len());
        let (there, rest) = self.files.split_at(at);
        // two layers may be the same
        there.iter().filter(|path| !rest.contains(path)).map(String::as_str).collect()
    }

    pub fn observed(self, image: &Image) -> ObservedImage {
        ObservedImage {
            id: image.id.clone(),
            labels: self.labels,
            // an archive knows none
            repo_digests: Vec::new(),
            size: i64::try_from(image.size).unwrap_or(i64::MAX),
            created: self.created,
            volumes: self.volumes,
            architecture: self.architecture,
        }
    }
}

/// Where a path leads: the same layer twice is a link in the archives of older engines.
fn followed(path: &str, members: &[Member]) -> String {
    let to = members.iter().find_map(|member| match member {
        Member::Link { path: link, to, .. } if link == path => Some(to),
        _ => None,
    });
    let Some(to) = to else { return path.to_owned() };
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Member {
        Member::File { path: path.to_owned(), mode: 0o644, mtime: 0 }
    }

    fn link(path: &str, to: &str) -> Member {
        Member::Link { path: path.to_owned(), to: to.to_owned(), mtime: 0 }
    }

    const CONFIG: &str = r#"{"architecture":"amd64","created":"2026-01-01T00:00:00Z",
        "config":{"Labels":{"a":"b"},"Volumes":{"/data":{}}},"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2","sha256:1"]}}"#;

    #[test]
    fn layers_are_left_out_unless_a_higher_one_is_the_same() {
        let members = [file("c.json"), file("a/layer.tar"), file("b/layer.tar"), link("c/layer.tar", "../a/layer.tar")];
        let text = r#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#;
        let contents = Contents::read(&Manifest::read(text).unwrap(), CONFIG.as_bytes(), &members);
        assert_eq!(contents.layers, ["sha256:1", "sha256:2", "sha256:1"]);
        let left_out = |layers| contents.left_out(layers).into_iter().collect::<Vec<_>>();
        assert!(left_out(0).is_empty());
        assert!(left_out(1).is_empty(), "the third layer needs it");
        assert_eq!(left_out(2), ["b/layer.tar"]);
        assert_eq!(left_out(3), ["a/layer.tar", "b/layer.tar"]);
        assert_eq!(left_out(9), left_out(3));
    }

    #[test]
    fn nothing_is_left_out_where_the_archive_does_not_say_what_its_layers_are() {
        let members = [file("c.json"), file("a/layer.tar")];
        let of = |layers: &str, config: &str| {
            let text = format!(r#"[{{"Config":"c.json","Layers":[{layers}]}}]"#);
            Contents::read(&Manifest::read(&text).unwrap(), config.as_bytes(), &members)
        };
        let one = r#"{"rootfs":{"diff_ids":["sha256:1"]}}"#;
        assert_eq!(of(r#""a/layer.tar""#, one).layers, ["sha256:1"]);
        for odd in [of(r#""a/layer.tar""#, "no"), of(r#""a/layer.tar""#, "{}"), of(r#""elsewhere""#, one), of("", one)]
        {
            assert!(odd.layers.is_empty() && odd.left_out(1).is_empty(), "{odd:?}");
        }
        assert!(["[]", "{}", "no"].iter().all(|text| Manifest::read(text).is_none()));
    }
}
