//! Images of the fake: pulls and builds that succeed or fail as the test has said.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{FakeEngine, FakePull, archive, image_of, missing};
use crate::engine::{BuildRequest, EngineError, ImageError, Images, ProgressSink, Wait, operation};
use crate::event::Progress;
use crate::model::{LabelledImage, ObservedImage};

#[async_trait]
impl Images for FakeEngine {
    async fn image(&self, reference: &str) -> Result<Option<ObservedImage>, EngineError> {
        Ok(self.call(&operation::image(reference))?.image(reference).cloned())
    }

    async fn layers(&self, reference: &str) -> Result<Vec<String>, EngineError> {
        Ok(self.call(&operation::image(reference))?.image(reference).map(archive::layers).unwrap_or_default())
    }

    async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, EngineError> {
        let world = self.call(&operation::labelled_images(label))?;
        let mut all: BTreeMap<String, LabelledImage> = BTreeMap::new();
        for (name, image) in world.images.iter().filter(|(_, image)| image.labels.contains_key(label)) {
            let found = all.entry(image.id.clone()).or_insert_with(|| LabelledImage {
                id: image.id.clone(),
                names: Vec::new(),
                in_registry: !image.repo_digests.is_empty(),
                labels: image.labels.clone(),
                size: image.size,
                used: world.containers.values().any(|container| container.observed.image_id == image.id),
            });
            // an image without a name stands under its id here
            if *name != image.id {
                found.names.push(name.clone());
            }
        }
        Ok(all.into_values().collect())
    }

    async fn pull(
        &self,
        reference: &str,
        _platform: Option<&str>,
        progress: ProgressSink<'_>,
    ) -> Result<ObservedImage, EngineError> {
        let operation = operation::pull(reference);
        let time = self.act(&operation)?.pull_time;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let fails = {
            let mut world = self.call(&operation)?;
            let once = world.pull_fails_once.remove(reference);
            once.or_else(|| world.pull_failures.get(reference).copied())
        };
        if fails == Some(FakePull::Silent) {
            return std::future::pending().await;
        }
        let mut world = self.lock();
        let owned = reference.to_owned();
        let trouble = match (fails, world.pullable.get(reference)) {
            (None, Some(image)) => {
                let image = image.clone();
                let size = u64::try_from(image.size).unwrap_or_default();
                let phase = "Pull complete".to_owned();
                progress(Progress::Bytes { part: "layer".into(), current: size, total: size, phase });
                world.images.insert(owned, image.clone());
                return Ok(image);
            }
            (None | Some(FakePull::NotFound), _) => ImageError::NotFound { reference: owned },
            (Some(FakePull::Denied), _) => ImageError::Denied { reference: owned, message: "a login is needed".into() },
            (Some(FakePull::RateLimited(retry_after)), _) => {
                ImageError::RateLimited { reference: owned, retry_after: retry_after.map(Wait::In) }
            }
            (Some(FakePull::Unreachable | FakePull::Silent), _) => {
                ImageError::Unreachable { reference: owned, message: "no such host".into() }
            }
            (Some(FakePull::ServerFault), _) => {
                ImageError::ServerFault { reference: owned, message: "500 Internal Server Error".into() }
            }
            (Some(FakePull::DiskFull), _) => {
                return Err(EngineError::DiskFull {
                    operation,
                    message: "write layer: no space left on device".into(),
                });
            }
        };
        Err(EngineError::Image { operation, source: trouble })
    }

    async fn build(&self, request: &BuildRequest, progress: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        let operation = operation::build(&request.tag);
        let time = self.act(&operation)?.build_time;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let mut world = self.lock();
        for line in request.dockerfile.lines() {
            progress(Progress::Line { text: line.to_owned() });
        }
        let failed = |message: &str, log_tail: Vec<String>| EngineError::Image {
            operation: operation.clone(),
            source: ImageError::BuildFailed { reference: request.tag.clone(), message: message.into(), log_tail },
        };
        if let Some(log) = world.build_failures.get(&request.tag) {
            return Err(failed("The command '/bin/sh -c' returned a non-zero code: 1", log.clone()));
        }
        let froms = request.dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
        for from in froms.filter_map(|from| from.split_whitespace().next()) {
            // of our own bases it is known that no registry has them
            if from.starts_with("macula/") && world.image(from).is_none() {
                return Err(failed(&format!("pull access denied for {from}"), Vec::new()));
            }
        }
        let mut image = image_of(&request.tag, &request.labels);
        image.volumes = declared_volumes(&request.dockerfile);
        world.images.insert(request.tag.clone(), image.clone());
        Ok(image)
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<(), EngineError> {
        let operation = operation::tag(image, reference);
        let mut world = self.act(&operation)?;
        let found = world.image(image).cloned().ok_or_else(|| missing(&operation)(format!("image {image}")))?;
        world.images.insert(reference.to_owned(), found);
        Ok(())
    }

    async fn push(&self, reference: &str, _: ProgressSink<'_>) -> Result<(), EngineError> {
        let operation = operation::push(reference);
        let mut world = self.act(&operation)?;
        let found = world.image(reference).cloned().ok_or_else(|| missing(&operation)(format!("image {reference}")))?;
        world.pullable.insert(reference.to_owned(), found);
        Ok(())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        // by an id all its names go
        self.act(&operation::remove_image(reference))?
            .images
            .retain(|name, image| name != reference && image.id != reference);
        Ok(())
    }

    async fn digest(&self, reference: &str) -> Result<String, EngineError> {
        let operation = operation::digest(reference);
        let world = self.call(&operation)?;
        let owned = reference.to_owned();
        let source = match (world.pull_failures.get(reference), world.pullable.get(reference)) {
            (None, Some(image)) => {
                let digest = image.repo_digests.iter().find_map(|named| Some(named.split_once('@')?.1.to_owned()));
                return Ok(digest.unwrap_or_else(|| image.id.clone()));
            }
            (Some(FakePull::RateLimited(retry_after)), _) => {
                ImageError::RateLimited { reference: owned, retry_after: retry_after.map(Wait::In) }
            }
            (Some(FakePull::Unreachable), _) => {
                ImageError::Unreachable { reference: owned, message: "connection refused".into() }
            }
            _ => ImageError::NotFound { reference: owned },
        };
        Err(EngineError::Image { operation, source })
    }

    async fn import(
        &self,
        tar: &Path,
        reference: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ObservedImage, EngineError> {
        let mut world = self.act(&operation::import(tar, reference))?;
        let image = image_of(reference, labels);
        world.images.insert(reference.to_owned(), image.clone());
        Ok(image)
    }

    async fn export(
        &self,
        references: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let operation = operation::export(references);
        let world = self.act(&operation)?;
        let mut archive = archive::Archive::default();
        for reference in references {
            let image = world.image(reference).ok_or_else(|| missing(&operation)(format!("image {reference}")))?;
            archive.image(reference, image);
        }
        // in pieces, as a socket gives them
        let pieces: Vec<_> = archive.bytes().chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn save(&self, references: &[String], file: &Path) -> Result<(), EngineError> {
        let operation = format!("save {}", references.join(" "));
        {
            let world = self.act(&operation)?;
            if let Some(lacking) = references.iter().find(|reference| world.image(reference).is_none()) {
                return Err(missing(&operation)(format!("image {lacking}")));
            }
        }
        tokio::fs::write(file, references.join("\n")).await.map_err(EngineError::local(&operation))
    }

    async fn load_from(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
        _progress: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError> {
        let pieces: Result<Vec<Bytes>, _> = archive.try_collect().await;
        let operation = operation::LOAD.to_owned();
        let other = |message: String| EngineError::Other { operation: operation.clone(), message };
        let bytes = pieces.map_err(EngineError::local(&operation))?.concat();
        let known = self.lock().images.values().flat_map(archive::layers).collect();
        let images = archive::images(&bytes, &known).map_err(other)?;
        let names: Vec<String> = images.keys().cloned().collect();
        let mut world = self.act_on(operation::LOAD, &names.join(", "))?;
        world.images.extend(images);
        Ok(names)
    }
}

/// Paths of `VOLUME /a /b` and `VOLUME ["/a"]`.
fn declared_volumes(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter_map(|line| line.trim().strip_prefix("VOLUME "));
    let words = lines.flat_map(|line| line.split([' ', ',', '[', ']', '"']));
    words.filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_a_dockerfile_are_read() {
        assert_eq!(declared_volumes("FROM x\nVOLUME /a /b\nVOLUME [\"/c\", \"/d\"]\n"), ["/a", "/b", "/c", "/d"]);
    }
}
