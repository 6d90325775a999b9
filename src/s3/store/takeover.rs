//! What the server of earlier versions has left: a folder a bucket, a file an object, and beside
//! the buckets one file for each object's attributes and one for its ETag.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Attributes, Draft, Object, Store, ensure};
use crate::model::is_bucket_name;
use crate::s3::checksum::{Summer, hex};
use crate::s3::error::{Code, Result};
use crate::s3::time;

/// Objects that share a commit.
const BATCH: usize = 500;

/// Takes over every bucket that lies in `folder`, then removes what it was. Killed in the middle,
/// it begins again: the old files stay until their bucket is committed.
pub(super) async fn run(store: &Store, folder: &Path) -> Result<()> {
    let mut taken = false;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() || !is_bucket_name(&name) || folder.join(".minio.sys").exists() {
            continue;
        }
        let count = bucket(store, folder, &name).await?;
        std::fs::remove_dir_all(entry.path())?;
        tracing::info!("{count} objects of the bucket {name} were taken over");
        taken = true;
    }
    if taken {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() && name.to_str().is_some_and(is_leftover) {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Attributes, ETags and parts of uploads that were under way.
fn is_leftover(name: &str) -> bool {
    [".bucket-", ".upload-", ".upload_id-", ".tmp."].iter().any(|prefix| name.starts_with(prefix))
}

async fn bucket(store: &Store, folder: &Path, name: &str) -> Result<usize> {
    let mut files = Vec::new();
    walk(&folder.join(name), "", &mut files)?;
    let count = files.len();
    let mut files = files.into_iter();
    loop {
        let mut drafts = Vec::new();
        let mut objects = Vec::new();
        for (key, path) in files.by_ref().take(BATCH) {
            let (object, draft) = object(store, folder, name, &key, &path)?;
            drafts.extend(draft);
            objects.push((key, object));
        }
        let last = objects.len() < BATCH;
        store.blobs.sync_names(&drafts).await?;
        let name = name.to_owned();
        store
            .write(drafts, move |tables| {
                ensure(tables, &name)?;
                let mut gone = Vec::new();
                for (key, object) in objects {
                    gone.extend(
                        tables.put_object(&name, &key, &object)?.map(|before| before.pieces).unwrap_or_default(),
                    );
                }
                Ok(((), gone))
            })
            .await?;
        if last {
            return Ok(count);
        }
    }
}

/// A folder without anything in it was an object too: that with a slash at its end.
fn walk(folder: &Path, key: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    let mut empty = true;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        empty = false;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!("{} was not taken over: its name is not UTF-8", entry.path().display());
            continue;
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{key}{name}/"), files)?;
        } else if kind.is_file() {
            files.push((format!("{key}{name}"), entry.path()));
        }
    }
    if empty && !key.is_empty() {
        files.push((key.to_owned(), folder.to_owned()));
    }
    Ok(())
}

fn object(store: &Store, folder: &Path, bucket: &str, key: &str, path: &Path) -> Result<(Object, Option<Draft>)> {
    let beside = |kind: &str| -> Map<String, Value> {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let name = format!(".bucket-{}.object-{}.{kind}.json", encoded(bucket), encoded(key));
        // a key too long for a file's name had no such file
        let text = std::fs::read(folder.join(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let found = std::fs::metadata(path)?;
    let modified = found.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let modified = i64::try_from(modified.as_millis()).unwrap_or_else(|_| time::now());
    let draft = if key.ends_with('/') { None } else { Some(store.blobs.adopt(path)?) };
    let etag = match beside("internal").get("e_tag").and_then(Value::as_str) {
        Some(etag) => etag.to_owned(),
        None if draft.is_none() => hex(&Summer::new(None).finish().md5),
        None => md5_of(path)?,
    };
    let object = Object {
        size: draft.as_ref().map_or(0, |draft| draft.piece().size),
        etag,
        modified,
        pieces: draft.iter().map(Draft::piece).collect(),
        attributes: attributes(&beside("metadata")),
        ..Object::default()
    };
    Ok((object, draft))
}

fn attributes(found: &Map<String, Value>) -> Attributes {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut headers = BTreeMap::new();
    for (field, header) in [
        ("content_encoding", "content-encoding"),
        ("content_type", "content-type"),
        ("content_disposition", "content-disposition"),
        ("content_language", "content-language"),
        ("cache_control", "cache-control"),
        ("expires", "expires"),
    ] {
        if let Some(value) = found.get(field).and_then(text) {
            headers.insert(header.to_owned(), value);
        }
    }
    // the frame of an upload was once kept as if it were the object's encoding
    if let Some(encoding) = headers.remove("content-encoding").as_deref().and_then(crate::s3::operations::without_frame)
    {
        headers.insert("content-encoding".to_owned(), encoding);
    }
    let metadata = found.get("user_metadata").and_then(Value::as_object);
    let metadata = metadata.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
    Attributes { headers, metadata: metadata.collect(), tags: BTreeMap::new() }
}

fn md5_of(path: &Path) -> Result<String> {
    struct Sink(Summer);
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(Summer::new(None));
    io::copy(&mut std::fs::File::open(path)?, &mut sink).map_err(|_| Code::InternalError)?;
    Ok(hex(&sink.0.finish().md5))
}
