//! A container that lives for a moment, to ask something that can only be known from inside.

use std::time::Duration;

use futures_util::StreamExt;

use super::{Engine, EngineError, LogOptions};
use crate::model::ContainerSpec;

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
    engine.create_container(spec, image, &spec.labels).await?;
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
    let removed = engine.remove_container(&spec.name).await;
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
