//! Archives of images in the form of `docker save`: every image has a layer of its own, and all of
//! them one in common. And those of files in containers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use serde_json::{Value, json};

use crate::model::{FileSpec, ObservedImage};

/// The layer that all images have in common.
const BASE: &str = "base/layer.tar";

#[derive(Default)]
pub(super) struct Archive {
    files: BTreeMap<String, Vec<u8>>,
    /// By id: an image with several names stands there once.
    images: BTreeMap<String, Vec<String>>,
}

impl Archive {
    pub(super) fn image(&mut self, reference: &str, image: &ObservedImage) {
        let id = image.id.trim_start_matches("sha256:");
        // a name in an archive has at most 100 characters
        let id = id.get(..64).unwrap_or(id);
        let mut config = serde_json::to_value(image).unwrap_or_default();
        config["rootfs"] = json!({"type": "layers", "diff_ids": layers(image)});
        config["config"] = json!({"Labels": image.labels});
        self.files.insert(format!("{id}.json"), config.to_string().into_bytes());
        self.files.insert(BASE.to_owned(), b"a layer ".repeat(400));
        self.files.insert(format!("{id}/layer.tar"), id.repeat(20).into_bytes());
        self.images.entry(id.to_owned()).or_default().push(reference.to_owned());
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let manifest: Vec<Value> = self
            .images
            .iter()
            .map(|(id, tags)| {
                json!({"Config": format!("{id}.json"), "RepoTags": tags, "Layers": [BASE, format!("{id}/layer.tar")]})
            })
            .collect();
        let mut tar = tar::Builder::new(Vec::new());
        let manifest = ("manifest.json".to_owned(), json!(manifest).to_string().into_bytes());
        for (path, content) in self.files.into_iter().chain([manifest]) {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(u64::try_from(content.len()).unwrap_or_default());
            // memory does not run out of space, and the names are our own
            let _ = tar.append_data(&mut header, path, content.as_slice());
        }
        tar.into_inner().unwrap_or_default()
    }
}

/// The layers of an image: the one that all have in common, and its own.
pub(super) fn layers(image: &ObservedImage) -> Vec<String> {
    vec![BASE.to_owned(), image.id.clone()]
}

/// The images of an archive, by each of their names. `known`: layers that the engine has, which may be left out.
pub(super) fn images(bytes: &[u8], known: &BTreeSet<String>) -> Result<BTreeMap<String, ObservedImage>, String> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| error.to_string())?;
        files.insert(path, content);
    }
    let manifest = files.get("manifest.json").ok_or("there is no manifest.json")?;
    let manifest: Value = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    let mut images = BTreeMap::new();
    for image in manifest.as_array().into_iter().flatten() {
        let texts = |key: &str| {
            let list = image.get(key).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let config = image.get("Config").and_then(Value::as_str).unwrap_or_default();
        let config = files.get(config).ok_or_else(|| format!("{config} is not there"))?;
        let observed: ObservedImage = serde_json::from_slice(config).map_err(|error| error.to_string())?;
        let lacks = |(path, layer): &(String, String)| !files.contains_key(path) && !known.contains(layer);
        if let Some((path, _)) = texts("Layers").into_iter().zip(layers(&observed)).find(lacks) {
            return Err(format!("the layer {path} is not there"));
        }
        images.extend(texts("RepoTags").into_iter().map(|tag| (tag, observed.clone())));
    }
    Ok(images)
}

/// A file, or all below a folder, as an engine packs it: named from its last part on.
pub(super) fn of_files(files: &BTreeMap<String, FileSpec>, path: &str) -> io::Result<Vec<u8>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, size: usize, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(u64::try_from(size).unwrap_or_default());
        header
    };
    let add = |tar: &mut tar::Builder<Vec<u8>>, name: &str, file: &FileSpec| {
        let mut header = header(tar::EntryType::Regular, file.content.len(), file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        tar.append_data(&mut header, name, file.content.as_slice())
    };
    if let Some(file) = files.get(path) {
        add(&mut tar, name, file)?;
        return tar.into_inner();
    }
    let folder = |tar: &mut tar::Builder<Vec<u8>>, name: &str| {
        tar.append_data(&mut header(tar::EntryType::Directory, 0, 0o755), format!("{name}/"), io::empty())
    };
    folder(&mut tar, name)?;
    let mut known = BTreeSet::new();
    for (below, file) in files.iter().filter_map(|(at, file)| Some((at.strip_prefix(&format!("{path}/"))?, file))) {
        for (at, _) in below.match_indices('/') {
            let part = below.get(..at).unwrap_or_default();
            if known.insert(part.to_owned()) {
                folder(&mut tar, &format!("{name}/{part}"))?;
            }
        }
        add(&mut tar, &format!("{name}/{below}"), file)?;
    }
    tar.into_inner()
}

/// The files of an archive that is unpacked in a folder.
pub(super) fn files_of(bytes: &[u8], folder: &str) -> io::Result<Vec<FileSpec>> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let (uid, gid) = (entry.header().uid()?, entry.header().gid()?);
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.push(FileSpec {
            path: format!("{}/{}", folder.trim_end_matches('/'), String::from_utf8_lossy(&entry.path_bytes())),
            content,
            uid: u32::try_from(uid).unwrap_or_default(),
            gid: u32::try_from(gid).unwrap_or_default(),
            mode: entry.header().mode()?,
            secret: false,
            reload: false,
        });
    }
    Ok(files)
}
