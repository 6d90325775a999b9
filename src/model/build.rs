//! How a service comes to its image: when it is pulled, and what it is built from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EngineKind, Facts, FormatVersion, Ulimit};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    Never,
    #[default]
    Missing,
    Build,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Absolute folder of the build context; `None`: an empty context (only a Dockerfile).
    pub context: Option<PathBuf>,
    /// The context is what a Git repository holds, and comes to this machine before the build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitContext>,
    /// Digest of what the context holds, where somebody looked: a changed file is a changed build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Path of the Dockerfile, relative to the context.
    pub dockerfile: Option<String>,
    pub dockerfile_inline: Option<String>,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub network: Option<String>,
    pub platforms: Vec<String>,
    pub cache_from: Vec<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub shm_size: Option<i64>,
    pub extra_hosts: Vec<String>,
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// `additional_contexts`: an absolute folder, `docker-image://NAME`, `service:NAME`, or an address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    /// By the id that the Dockerfile names. What they hold makes no other build.
    #[serde(skip)]
    pub secrets: BTreeMap<String, BuildSecret>,
    /// Id -> the agent's socket; empty: that of `SSH_AUTH_SOCK`.
    #[serde(skip)]
    pub ssh: BTreeMap<String, String>,
    /// The front end that the Dockerfile names in its first line.
    #[serde(skip)]
    pub syntax: Option<String>,
    /// What only BuildKit can do of it.
    #[serde(skip)]
    pub needs: Vec<BuildNeed>,
}

/// What stands in front of the name of an image that is a context of a build.
pub const IMAGE_CONTEXT: &str = "docker-image://";

/// `https://github.com/docker/awesome-compose.git#master:nginx-golang`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitContext {
    pub url: String,
    /// A branch, a tag or a commit; `None`: the repository's default branch.
    pub reference: Option<String>,
    /// Relative, inside the repository.
    pub folder: Option<PathBuf>,
}

impl GitContext {
    /// As in Compose: `ADDRESS[#REFERENCE[:FOLDER]]`. `None`: no repository is there.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let http = address.starts_with("https://") || address.starts_with("http://");
        let url = match address {
            _ if http && !(address.ends_with(".git") || text.contains('#')) => return None,
            _ if http || ["git://", "ssh://", "git@"].iter().any(|start| address.starts_with(start)) => {
                address.to_owned()
            }
            _ if address.starts_with("github.com/") => format!("https://{address}"),
            _ => return None,
        };
        // what begins with a dash is an option to git
        let reference = Some(reference).filter(|reference| !reference.is_empty());
        if reference.is_some_and(|reference| reference.starts_with('-')) {
            return None;
        }
        let folder = Path::new(folder.trim_start_matches('/'));
        if folder.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return None;
        }
        let folder = Some(folder.to_owned()).filter(|folder| !folder.as_os_str().is_empty());
        Some(Self { url, reference: reference.map(str::to_owned), folder })
    }
}

impl Build {
    /// It builds what is the user's, not only what a stack file says.
    pub fn is_own(&self) -> bool {
        self.context.is_some() || self.git.is_some()
    }

    /// Services whose images it takes files from.
    pub fn from_services(&self) -> Vec<String> {
        self.contexts.values().filter_map(|place| place.strip_prefix("service:")).map(str::to_owned).collect()
    }

    /// Where its Dockerfile is, unless that stands in the stack.
    pub fn dockerfile_path(&self) -> Option<PathBuf> {
        let folder = self.context.as_ref().filter(|_| self.dockerfile_inline.is_none())?;
        Some(folder.join(self.dockerfile.as_deref().unwrap_or("Dockerfile")))
    }

    /// The rules that the Dockerfile has for itself, where there are some.
    pub fn ignore_file(&self) -> Option<PathBuf> {
        let mut path = self.dockerfile_path()?.into_os_string();
        path.push(".dockerignore");
        Some(path.into())
    }

    /// The first thing in it that this engine cannot build by itself.
    pub fn unmet(&self, facts: &Facts) -> Option<&BuildNeed> {
        self.needs.iter().find(|need| match facts.dockerfile {
            Some(known) => known < need.version,
            None => need.by_key || facts.engine_kind == EngineKind::Docker,
        })
    }
}

/// Read when the build begins.
#[derive(Clone, PartialEq, Eq)]
pub enum BuildSecret {
    File(PathBuf),
    Value(String),
}

impl std::fmt::Debug for BuildSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// Something in a build that not every builder can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildNeed {
    /// ``shop/Dockerfile:3:1: `RUN --mount` ``
    pub what: String,
    /// Of the Dockerfile format.
    pub version: FormatVersion,
    /// Said by a key of the Compose file. Podman knows what Dockerfiles say, and not these.
    pub by_key: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_repositories() {
        let of = |text: &str| {
            GitContext::parse(text).map(|git| {
                let folder = git.folder.map(|folder| folder.display().to_string());
                format!("{} {} {}", git.url, git.reference.as_deref().unwrap_or("-"), folder.as_deref().unwrap_or("-"))
            })
        };
        for (text, want) in [
            ("https://h/a/b.git", Some("https://h/a/b.git - -")),
            ("https://h/a/b.git#main:sub/dir", Some("https://h/a/b.git main sub/dir")),
            ("https://h/a/b.git#:sub", Some("https://h/a/b.git - sub")),
            ("https://h/a/b#v1", Some("https://h/a/b v1 -")),
            ("github.com/a/b", Some("https://github.com/a/b - -")),
            ("git@h:a/b.git#v1:/sub", Some("git@h:a/b.git v1 sub")),
            ("ssh://git@h/a/b", Some("ssh://git@h/a/b - -")),
            ("git://h/b", Some("git://h/b - -")),
            ("https://h/a.tar.gz", None),
            ("https://h/a/b.git#--upload-pack=x", None),
            ("https://h/a/b.git#main:../up", None),
            ("s3://h/a", None),
            ("service:web", None),
            ("./folder", None),
        ] {
            assert_eq!(of(text).as_deref(), want, "{text}");
        }
    }
}
