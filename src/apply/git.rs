//! Builds whose context is a Git repository: it is fetched into the cache, and built from there.

use std::path::PathBuf;

use crate::event::Progress;
use crate::host::{Command, RunError};
use crate::model::{Dockerfile, GitContext, ImageBuild};

use super::files::{dockerfile, file_error};
use super::{StepError, Tools};

/// The build with a folder of this machine as its context; `None`: it is no build from a repository.
pub(super) async fn fetched(
    tools: &Tools,
    image: &ImageBuild,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Option<ImageBuild>, StepError> {
    let Some(git) = &image.spec.git else { return Ok(None) };
    let base = tools.host.folders().cache.join("git").join(image.tag.replace(['/', ':'], "-"));
    let tree = base.join("tree");
    tools.host.create_folder(&tree, 0o755).await.map_err(|error| file_error(&tree, error))?;
    let repository = Repository { tools, base, progress };
    repository.fetch(git).await.map_err(|source| StepError::Prepare { reference: image.tag.clone(), source })?;
    let mut image = image.clone();
    image.spec.git = None;
    image.spec.context = Some(git.folder.as_ref().map_or_else(|| tree.clone(), |folder| tree.join(folder)));
    image.spec.syntax = Dockerfile::parse(&dockerfile(tools, &image).await?.0).syntax;
    Ok(Some(image))
}

struct Repository<'a> {
    tools: &'a Tools,
    base: PathBuf,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Repository<'_> {
    async fn fetch(&self, git: &GitContext) -> Result<(), RunError> {
        self.git(&["init", "--quiet"]).await?;
        let reference = git.reference.as_deref().unwrap_or("HEAD");
        let one = self.git(&["fetch", "--quiet", "--depth", "1", "--", &git.url, reference]).await;
        let commit = match one {
            Ok(()) => "FETCH_HEAD",
            // not every server gives a commit by its number
            Err(_) if is_commit(reference) => {
                self.git(&["fetch", "--quiet", "--", &git.url, "+refs/heads/*:refs/heads/*"]).await?;
                reference
            }
            Err(error) => return Err(error),
        };
        self.git(&["checkout", "--quiet", "--force", "--detach", commit]).await?;
        // of an earlier commit
        self.git(&["clean", "--quiet", "-ffdx"]).await?;
        self.git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"]).await
    }

    /// Its own files lie beside the tree, as they are no part of the context.
    async fn git(&self, args: &[&str]) -> Result<(), RunError> {
        let (own, tree) = (self.base.join("repository"), self.base.join("tree"));
        let places = [format!("--git-dir={}", own.display()), format!("--work-tree={}", tree.display())];
        let command = Command::new("git", places.iter().map(String::as_str).chain(args.iter().copied()))
            .cwd(tree)
            // there is nobody to answer
            .env("GIT_TERMINAL_PROMPT", "0")
            .timeout(self.tools.image_timeout);
        (self.progress)(Progress::Line { text: format!("git {}", args.join(" ")) });
        let heard = |line: &str| (self.progress)(Progress::Line { text: format!("git: {line}") });
        self.tools.host.run_watched(&command, &heard).await.map(|_| ())
    }
}

fn is_commit(reference: &str) -> bool {
    (7..=64).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}
