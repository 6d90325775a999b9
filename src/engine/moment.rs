//! A container that lives for a moment, to ask something that can only be known from inside.

use std::time::Duration;

use futures_util::StreamExt;

use super::{Engine, EngineError, LogOptions};
use crate::model::{ContainerSpec, label};

/// What a shell says when a program is not there (POSIX 2.8.2).
const NOT_FOUND: i64 = 127;

/// Runs a container to its end and removes it; what it wrote to its standard output. None: the image has no shell, or
/// its shell lacks the tools and ended with 127.
///
/// # Errors
/// When it takes longer than `patience`, or the engine went away.
pub async fn for_a_moment(
    engine: &dyn Engine,
    spec: &ContainerSpec,
    image: &str,
    patience: Duration,
) -> Result<Option<Vec<u8>>, EngineError> {
    let mut spec = spec.clone();
    // what the image declares as a volume goes with it
    spec.labels.insert(label::ONE_OFF.to_owned(), spec.service.clone());
    engine.create_container(&spec, image, &spec.labels).await?;
    let work = async {
        engine.start(&spec.name).await?;
        let Ok(status) = tokio::time::timeout(patience, engine.wait(&spec.name)).await else {
            return Err(EngineError::Timeout { operation: format!("waiting for {}", spec.name), after: patience });
        };
        if status? == NOT_FOUND {
            return Ok(None);
        }
        let mut text = Vec::new();
        let mut lines = engine.logs(&spec.name, &LogOptions::default()).await?;
        while let Some(line) = lines.next().await {
            let line = line?;
            if !line.stderr {
                text.extend(line.bytes);
                text.push(b'\n');
            }
        }
        Ok(Some(text))
    };
    let done = work.await;
    let removed = engine.discard_container(&spec.name).await;
    match done {
        // an image without a shell cannot even be started
        Err(
            EngineError::Other { .. }
            | EngineError::Local { .. }
            | EngineError::Conflict { .. }
            | EngineError::NotFound { .. },
        ) => Ok(None),
        done => removed.and(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::model::ObservedImage;

    #[tokio::test]
    async fn nothing_of_it_stays() {
        let image = ObservedImage { id: "sha256:1".into(), volumes: vec!["/data".into()], ..ObservedImage::default() };
        let engine = FakeEngine::new().with_image_as("db:1", image).exits("look", 0).says("look", &["one", "two"]);
        let spec = ContainerSpec { name: "macula-look".into(), service: "look".into(), ..ContainerSpec::default() };
        let said = for_a_moment(&engine, &spec, "db:1", Duration::from_secs(5)).await.unwrap();
        assert_eq!(said.as_deref(), Some(&b"one\ntwo\n"[..]));
        assert_eq!((engine.containers(), engine.volume_names()), (Vec::new(), Vec::new()));
    }
}
