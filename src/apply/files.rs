//! Files of this machine that a build reads.

use std::path::{Path, PathBuf};

use super::{StepError, Tools};
use crate::model::{AnyError, ImageBuild};

/// The text of the Dockerfile, and where it is a file.
pub(super) async fn dockerfile(tools: &Tools, image: &ImageBuild) -> Result<(String, Option<PathBuf>), StepError> {
    if let Some(inline) = &image.spec.dockerfile_inline {
        return Ok((inline.clone(), None));
    }
    let path = image.spec.dockerfile_path().unwrap_or_default();
    let text = tools.host.read(&path).await.map_err(|error| file_error(&path, error))?;
    Ok((String::from_utf8_lossy(&text).into_owned(), Some(path)))
}

pub(super) fn file_error(path: &Path, error: impl Into<AnyError>) -> StepError {
    StepError::File { path: path.to_owned(), source: error.into() }
}
