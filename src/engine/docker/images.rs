//! Images: looking, pulling, naming, removing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{CreateImageInfo, ImageInspect, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptions, ListImagesOptions, PushImageOptions, RemoveImageOptions, TagImageOptions,
};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::reference::{Reference, familiar};
use super::snapshot::observed_image;
use super::{CHANGE, Docker, READ, build, errors, image_archives, rate_limit, unless_missing};
use crate::engine::{BuildRequest, EngineError, ImageError, Images, ProgressSink, operation};
use crate::event::Progress;
use crate::model::{LabelledImage, ObservedImage};

#[async_trait]
impl Images for Docker {
    async fn image(&self, reference: &str) -> Result<Option<ObservedImage>, EngineError> {
        let operation = operation::image(reference);
        check(&operation, reference)?;
        match self.get::<ImageInspect>(&operation, &format!("/images/{reference}/json")).await {
            Ok(image) => Ok(Some(observed_image(&image))),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn layers(&self, reference: &str) -> Result<Vec<String>, EngineError> {
        // Podman reads an archive by itself, and looks for each layer in it
        if self.podman() {
            return Ok(Vec::new());
        }
        let operation = operation::image(reference);
        check(&operation, reference)?;
        match self.call(&operation, READ, self.client.inspect_image(reference)).await {
            Ok(image) => Ok(image.root_fs.and_then(|root| root.layers).unwrap_or_default()),
            Err(EngineError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, EngineError> {
        let operation = operation::labelled_images(label);
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
        let listed = self.call(&operation, READ, self.client.list_images(Some(options)));
        let (listed, used) = tokio::try_join!(listed, self.images_of_containers())?;
        let image = |listed: ImageSummary| LabelledImage {
            used: used.contains(&listed.id),
            // what has lost its name is listed as `<none>:<none>`
            names: listed
                .repo_tags
                .iter()
                .filter(|name| !name.starts_with("<none>"))
                .map(|name| familiar(name).to_owned())
                .collect(),
            in_registry: listed.repo_digests.iter().any(|digest| !digest.starts_with("<none>")),
            labels: listed.labels.into_iter().collect(),
            size: listed.size,
            id: listed.id,
        };
        Ok(listed.into_iter().map(image).collect())
    }

    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        progress: ProgressSink<'_>,
    ) -> Result<ObservedImage, EngineError> {
        let operation = operation::pull(reference);
        let image_trouble = |message: String| EngineError::Image {
            operation: operation.clone(),
            source: ImageError::Other { reference: reference.to_owned(), message },
        };
        let parsed = Reference::parse(reference).map_err(image_trouble)?;
        let options = CreateImageOptions {
            from_image: Some(parsed.repository()),
            // without a tag the engine pulls all of them
            tag: Some(parsed.version().to_owned()),
            platform: platform.unwrap_or_default().to_owned(),
            ..CreateImageOptions::default()
        };
        let login = self.logins.of(&parsed.registry).await;
        let mut lines = Box::pin(self.client.create_image(Some(options), None, login.clone()).peekable());
        // an engine's first word comes with the manifest; Podman alone waits in silence for a registry that limits pulls
        let podman = self.podman();
        let limited = async {
            tokio::time::sleep(QUIET).await;
            rate_limit::ask(&parsed, login.as_ref()).await
        };
        let limited = tokio::select! {
            biased;
            _ = lines.as_mut().peek() => None,
            limited = limited, if podman => limited,
        };
        if let Some(wait) = limited {
            let source = ImageError::RateLimited { reference: reference.to_owned(), retry_after: Some(wait) };
            return Err(EngineError::Image { operation, source });
        }
        let mut layers = Layers::default();
        while let Some(line) = lines.next().await {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    return Err(self.with_wait(&parsed, errors::pull_error(&operation, reference, error)).await);
                }
            };
            if let Some(step) = layers.progress(&line) {
                progress(step);
            }
        }
        match self.image(reference).await? {
            Some(image) => Ok(image),
            None => Err(image_trouble("the engine pulled it, and does not have it".to_owned())),
        }
    }

    async fn build(&self, request: &BuildRequest, progress: ProgressSink<'_>) -> Result<ObservedImage, EngineError> {
        build::build(self, request, progress).await
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<(), EngineError> {
        let operation = operation::tag(image, reference);
        let other = |message| EngineError::Other { operation: operation.clone(), message };
        let parsed = Reference::parse(reference).map_err(other)?;
        check(&operation, image)?;
        let options = TagImageOptions { repo: Some(parsed.repository()), tag: parsed.tag };
        self.call(&operation, READ, self.client.tag_image(image, Some(options))).await
    }

    async fn push(&self, reference: &str, progress: ProgressSink<'_>) -> Result<(), EngineError> {
        let operation = operation::push(reference);
        let parsed = Reference::parse(reference).map_err(|message| EngineError::Image {
            operation: operation.clone(),
            source: ImageError::Other { reference: reference.to_owned(), message },
        })?;
        let options = PushImageOptions { tag: Some(parsed.version().to_owned()), ..PushImageOptions::default() };
        let login = self.logins.of(&parsed.registry).await;
        let mut lines = Box::pin(self.client.push_image(&parsed.repository(), Some(options), login));
        while let Some(line) = lines.next().await {
            let line = line.map_err(|error| errors::pull_error(&operation, reference, error))?;
            if let Some(text) = line.status.filter(|status| !status.is_empty()) {
                progress(Progress::Line { text });
            }
        }
        Ok(())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let operation = operation::remove_image(reference);
        check(&operation, reference)?;
        let removal = self.client.remove_image(reference, None::<RemoveImageOptions>, None);
        unless_missing(self.call(&operation, CHANGE, removal).await.map(drop))
    }

    async fn digest(&self, reference: &str) -> Result<String, EngineError> {
        let operation = operation::digest(reference);
        let trouble = |message: String| EngineError::Image {
            operation: operation.clone(),
            source: ImageError::Other { reference: reference.to_owned(), message },
        };
        let parsed = Reference::parse(reference).map_err(trouble)?;
        let name = format!("{}:{}", parsed.repository(), parsed.tag.as_deref().unwrap_or("latest"));
        let login = self.logins.of(&parsed.registry).await;
        let asked = tokio::time::timeout(READ, self.client.inspect_registry_image(&name, login)).await;
        let Ok(answer) = asked else { return Err(EngineError::Timeout { operation, after: READ }) };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.with_wait(&parsed, errors::pull_error(&operation, reference, error)).await),
        };
        answer.descriptor.digest.ok_or_else(|| trouble("the registry names no digest".to_owned()))
    }

    async fn import(
        &self,
        tar: &Path,
        reference: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ObservedImage, EngineError> {
        image_archives::import(self, tar, reference, labels).await
    }

    async fn export(
        &self,
        references: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        image_archives::export(self, references).await
    }

    async fn save(&self, references: &[String], file: &Path) -> Result<(), EngineError> {
        image_archives::save(self, references, file).await
    }

    async fn load_from(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
        progress: ProgressSink<'_>,
    ) -> Result<Vec<String>, EngineError> {
        image_archives::load_from(self, archive, progress).await
    }
}

impl Docker {
    /// A rate limit with the time to wait, where the registry says it to us and not to the engine.
    async fn with_wait(&self, reference: &Reference, mut error: EngineError) -> EngineError {
        if let EngineError::Image { source: ImageError::RateLimited { retry_after, .. }, .. } = &mut error
            && retry_after.is_none()
        {
            let login = self.logins.of(&reference.registry).await;
            *retry_after = rate_limit::ask(reference, login.as_ref()).await;
        }
        error
    }
}

/// After that much silence the registry itself is asked whether it limits pulls: Podman, which was told to wait, does so
/// without a word, for a minute at a time and several times.
const QUIET: Duration = Duration::from_secs(5);

/// A reference goes into the path of the request: nothing else may get there.
fn check(operation: &str, reference: &str) -> Result<(), EngineError> {
    let id = reference.strip_prefix("sha256:").unwrap_or(reference);
    let is_id = id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id {
        return Ok(());
    }
    Reference::parse(reference)
        .map(drop)
        .map_err(|message| EngineError::Other { operation: operation.to_owned(), message })
}

/// Remembers how large each layer is: the line that says that it is done does not.
#[derive(Default)]
struct Layers(HashMap<String, u64>);

impl Layers {
    fn progress(&mut self, line: &CreateImageInfo) -> Option<Progress> {
        let phase = line.status.clone().filter(|status| !status.is_empty())?;
        let Some(part) = line.id.clone().filter(|id| !id.is_empty() && !phase.starts_with("Pulling from")) else {
            return Some(Progress::Line { text: phase });
        };
        let detail = line.progress_detail.as_ref();
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let current = number(detail.and_then(|detail| detail.current));
        let total = number(detail.and_then(|detail| detail.total)).filter(|total| *total > 0);
        if let Some(total) = total {
            self.0.insert(part.clone(), total);
        }
        let known = self.0.get(&part).copied().unwrap_or_default();
        let done = matches!(phase.as_str(), "Pull complete" | "Already exists" | "Download complete");
        let current = current.unwrap_or(if done { known } else { 0 });
        Some(Progress::Bytes { part, current, total: known, phase })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_a_pull_is_told_layer_by_layer() {
        // as Docker 20.10 sends them
        let lines = r#"{"status":"Pulling from library/nginx","id":"1.30.4"}
{"status":"Pulling fs layer","progressDetail":{},"id":"a2abf6c4d29d"}
{"status":"Already exists","progressDetail":{},"id":"b1d0fa6e2a54"}
{"status":"Downloading","progressDetail":{"current":270240,"total":25350021},"progress":"[>]","id":"a2abf6c4d29d"}
{"status":"Download complete","progressDetail":{},"id":"a2abf6c4d29d"}
{"status":"Extracting","progressDetail":{"current":262144,"total":25350021},"progress":"[>]","id":"a2abf6c4d29d"}
{"status":"Pull complete","progressDetail":{},"id":"a2abf6c4d29d"}
{"status":"Digest: sha256:0d17b5"}
{"status":"Status: Downloaded newer image for nginx:1.30.4"}"#;
        let mut layers = Layers::default();
        let told: Vec<String> = lines
            .lines()
            .filter_map(|line| layers.progress(&serde_json::from_str(line).unwrap()))
            .map(|progress| match progress {
                Progress::Bytes { part, current, total, phase } => format!("{part} {current}/{total} {phase}"),
                other => format!("{other:?}"),
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        Line { text: "Pulling from library/nginx" }
        a2abf6c4d29d 0/0 Pulling fs layer
        b1d0fa6e2a54 0/0 Already exists
        a2abf6c4d29d 270240/25350021 Downloading
        a2abf6c4d29d 25350021/25350021 Download complete
        a2abf6c4d29d 262144/25350021 Extracting
        a2abf6c4d29d 25350021/25350021 Pull complete
        Line { text: "Digest: sha256:0d17b5" }
        Line { text: "Status: Downloaded newer image for nginx:1.30.4" }
        "#);
    }

    #[test]
    fn only_references_and_ids_get_into_a_path() {
        for good in ["nginx", "sha256:0123456789abcdef", "0123456789ab", "localhost:5001/x:y"] {
            assert!(check("x", good).is_ok(), "{good}");
        }
        for bad in ["", "../containers", "nginx?x=y", "a b", "nginx#x"] {
            assert!(check("x", bad).is_err(), "{bad}");
        }
    }
}
