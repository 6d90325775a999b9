//! Files of this machine that a build reads.

use std::path::Path;

use super::{StepError, Tools};
use crate::model::ImageBuild;

pub(super) async fn dockerfile(tools: &Tools, image: &ImageBuild) -> Result<String, StepError> {
    if let Some(inline) = &image.spec.dockerfile_inline {
        return Ok(inline.clone());
    }
    let path = image.spec.dockerfile_path().unwrap_or_default();
    let text = tools.host.read(&path).await.map_err(|error| file_error(&path, &error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(super) fn file_error(path: &Path, error: &std::io::Error) -> StepError {
    StepError::File { path: path.display().to_string(), message: error.to_string() }
}
