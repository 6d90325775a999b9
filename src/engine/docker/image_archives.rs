//! Whole images and root file systems as archives: import, save, load.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bollard::query_parameters::{CreateImageOptions, ImportImageOptions};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reference::{Reference, familiar};
use super::{Docker, errors};
use crate::engine::{EngineError, ImageError, Images, ProgressSink, operation};
use crate::event::Progress;
use crate::model::ObservedImage;

/// What is read from a file at once.
const CHUNK: usize = 256 * 1024;

pub(super) async fn import(
    docker: &Docker,
    tar: &Path,
    reference: &str,
    labels: &BTreeMap<String, String>,
) -> Result<ObservedImage, EngineError> {
    let operation = operation::import(tar, reference);
    let other = |message: String| EngineError::Other { operation: operation.clone(), message };
    let parsed = Reference::parse(reference).map_err(other)?;
    let changes = labels.iter().map(|(key, value)| label_line(key, value, docker.podman())).collect::<Result<_, _>>();
    let file = tokio::fs::File::open(tar).await.map_err(EngineError::local(&operation))?;
    // Podman takes no tag here, and would call everything `latest`: there the name comes after
    let named = !docker.podman();
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: named.then(|| parsed.repository()),
        tag: named.then(|| parsed.version().to_owned()),
        changes: changes.map_err(other)?,
        ..CreateImageOptions::default()
    };
    let body = bollard::body_try_stream(chunks(file));
    let mut lines = Box::pin(docker.client.create_image(Some(options), Some(body), None));
    let mut id = None;
    while let Some(line) = lines.next().await {
        let line = line.map_err(|error| errors::engine_error(&operation, error))?;
        id = line.status.filter(|status| status.starts_with("sha256:")).or(id);
    }
    if let (false, Some(id)) = (named, id) {
        docker.tag(id.trim(), reference).await?;
    }
    docker.image(reference).await?.ok_or_else(|| EngineError::Image {
        operation,
        source: ImageError::Other {
            reference: reference.to_owned(),
            message: "the engine took it, and does not have it".to_owned(),
        },
    })
}

pub(super) async fn export(
    docker: &Docker,
    references: &[String],
) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
    let operation = operation::export(references);
    if references.is_empty() {
        return Err(EngineError::Other { operation, message: "no images are named".to_owned() });
    }
    for reference in references {
        // the engine would write an archive without those that it does not have
        if docker.image(reference).await?.is_none() {
            return Err(EngineError::NotFound { operation, what: format!("image {reference}") });
        }
    }
    let client = docker.client.clone();
    let names: Vec<&str> = references.iter().map(String::as_str).collect();
    let pieces = client.export_images(&names);
    Ok(pieces.map(move |piece| piece.map_err(|error| errors::engine_error(&operation, error))).boxed())
}

pub(super) async fn save(docker: &Docker, references: &[String], file: &Path) -> Result<(), EngineError> {
    let operation = operation::save(references, file);
    let here = EngineError::local::<io::Error>(&operation);
    let mut bytes = export(docker, references).await?;
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let written = async {
        let mut out = tokio::fs::File::create(partial).await.map_err(&here)?;
        while let Some(chunk) = bytes.next().await {
            out.write_all(&chunk?).await.map_err(&here)?;
        }
        out.sync_all().await.map_err(&here)?;
        tokio::fs::rename(partial, file).await.map_err(&here)
    };
    let written = written.await;
    if written.is_err() {
        // half an archive is of no use; that it could not be removed is the lesser news
        let _ = tokio::fs::remove_file(partial).await;
    }
    written
}

pub(super) async fn load_from(
    docker: &Docker,
    archive: BoxStream<'static, io::Result<Bytes>>,
    progress: ProgressSink<'_>,
) -> Result<Vec<String>, EngineError> {
    let body = bollard::body_try_stream(archive);
    let mut lines = Box::pin(docker.client.import_image(ImportImageOptions::default(), body, None));
    let mut loaded = Vec::new();
    while let Some(line) = lines.next().await {
        let line = line.map_err(|error| errors::engine_error(operation::LOAD, error))?;
        loaded.extend(line.stream.as_deref().map(loaded_references).unwrap_or_default());
        if let Some(detail) = line.progress_detail
            && let (Some(part), Some(current)) = (line.id, detail.current)
        {
            let number = |number: i64| u64::try_from(number).unwrap_or_default();
            progress(Progress::Bytes {
                part,
                current: number(current),
                total: number(detail.total.unwrap_or_default()),
                phase: line.status.unwrap_or_default(),
            });
        } else if let Some(text) = line.stream {
            progress(Progress::Line { text: text.trim_end().to_owned() });
        }
    }
    Ok(loaded)
}

/// `Loaded image: nginx:1`, `Loaded image ID: sha256:...`; Podman says
/// `Loaded image: docker.io/library/nginx:1,docker.io/grafana/grafana:13`.
fn loaded_references(line: &str) -> Vec<String> {
    let line = line.trim();
    let names = line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: "));
    names.into_iter().flat_map(|names| names.split(',')).map(|name| familiar(name.trim()).to_owned()).collect()
}

/// One instruction for a label. A line break would begin another instruction; Podman takes what is
/// between the quotes as it stands, so that it knows no quote within.
fn label_line(key: &str, value: &str, podman: bool) -> Result<String, String> {
    let odd = value.contains(['\n', '\r']) || (podman && value.contains(['"', '\\']));
    if odd || key.contains(['\n', '\r', '"', '=', ' ']) {
        return Err(format!("the label {key} cannot be put on an imported image"));
    }
    if podman {
        return Ok(format!("LABEL {key}=\"{value}\""));
    }
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    Ok(format!("LABEL {key}=\"{value}\""))
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_an_import_are_quoted() {
        assert_eq!(label_line("a.b", "c d", false).unwrap(), r#"LABEL a.b="c d""#);
        assert_eq!(label_line("a", r#"x"y\z$w"#, false).unwrap(), r#"LABEL a="x\"y\\z\$w""#);
        assert_eq!(label_line("a", "x $w", true).unwrap(), r#"LABEL a="x $w""#);
        assert!(label_line("a", r#"x"y"#, true).is_err());
        assert!(label_line("a", "b\nRUN c", false).is_err());
        assert!(label_line("a b", "c", false).is_err());
    }

    #[test]
    fn what_was_loaded_is_read_from_the_answer() {
        assert_eq!(loaded_references("Loaded image: nginx:1\n"), ["nginx:1"]);
        assert_eq!(loaded_references("Loaded image ID: sha256:ab"), ["sha256:ab"]);
        let podman = "Loaded image: docker.io/library/a:1,docker.io/b/c:2,quay.io/d/e:3";
        assert_eq!(loaded_references(podman), ["a:1", "b/c:2", "quay.io/d/e:3"]);
        assert!(loaded_references("Loading layer").is_empty());
    }

    #[tokio::test]
    async fn an_archive_is_sent_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, vec![7_u8; CHUNK + 1]).unwrap();
        let sent: Vec<_> = chunks(tokio::fs::File::open(&path).await.unwrap()).collect().await;
        let lengths: Vec<usize> = sent.into_iter().map(|chunk| chunk.unwrap().len()).collect();
        assert_eq!(lengths, [CHUNK, 1]);
    }
}
