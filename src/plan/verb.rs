//! The ids of steps: made of what a step does and to which resource, and found again by the same two.

use std::fmt;

use crate::model::{ResourceId, ResourceKind};

use super::StepId;

/// What a step does to its resource, in the words that its id begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Await,
    Build,
    CopyFilesInto,
    Create,
    Delete,
    Get,
    Join,
    Leave,
    Load,
    Make,
    PauseAfter,
    Prune,
    Pull,
    Reload,
    Remove,
    Rename,
    Run,
    Start,
    Stop,
}

impl Verb {
    /// The step that does this to a resource.
    pub fn step(self, resource: &ResourceId) -> StepId {
        format!("{self} {resource}")
    }

    /// The step that does this to a container.
    pub fn container(self, name: &str) -> StepId {
        self.step(&ResourceId::new(ResourceKind::Container, name))
    }

    /// The step that does this to a task of this machine.
    pub fn task(self, name: &str) -> StepId {
        self.step(&ResourceId::new(ResourceKind::Task, name))
    }

    /// The step that does this to an image.
    pub fn image(self, name: &str) -> StepId {
        self.step(&ResourceId::new(ResourceKind::Image, name))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Await => "await",
            Self::Build => "build",
            Self::CopyFilesInto => "copy files into",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Load => "load",
            Self::Make => "make",
            Self::PauseAfter => "pause after",
            Self::Prune => "prune",
            Self::Pull => "pull",
            Self::Reload => "reload",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Run => "run",
            Self::Start => "start",
            Self::Stop => "stop",
        })
    }
}
