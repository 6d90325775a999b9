//! What a plan takes from another project: two projects that both call a service `web` want one container, and the
//! second would end what the first one runs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{ContainerSpec, Observed, ObservedContainer, label};
use crate::words;

use super::{Action, Plan};

/// A project that is there, and whose services a plan replaces by those of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProject {
    pub name: String,
    pub folder: PathBuf,
    /// The project that takes their place.
    pub successor: String,
    pub services: BTreeSet<String>,
}

impl fmt::Display for OtherProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, folder, services, .. } = self;
        let verb = if services.len() == 1 { "belongs" } else { "belong" };
        let folder = folder.display();
        write!(f, "{} {verb} to the project {name} in {folder}, which this up would replace", words::list(services))
    }
}

/// The projects whose containers the plan replaces. As for Docker Compose the name makes the project: one that was
/// moved, or is there twice under one name, is the same. So is one whose file is `gone`: it was renamed, and nobody can
/// bring it up again.
pub fn replaced_projects(
    plan: &Plan,
    specs: &[ContainerSpec],
    observed: &Observed,
    gone: &BTreeSet<PathBuf>,
) -> Vec<OtherProject> {
    let mut all: Vec<OtherProject> = Vec::new();
    for spec in specs {
        let removed =
            |action: &Action| matches!(action, Action::RemoveContainer { container } if *container == spec.name);
        if !plan.steps.iter().any(|step| removed(&step.action)) {
            continue;
        }
        let Some((name, file)) = observed.container(&spec.name).and_then(project_of) else { continue };
        let Some(wanted) = spec.labels.get(label::CONFIG_FILES).map(Path::new) else { continue };
        // a service that has moved from one file to another of those that are loaded, or of one folder
        let is_loaded =
            specs.iter().any(|other| other.labels.get(label::CONFIG_FILES).is_some_and(|own| Path::new(own) == file));
        if name == spec.stack || is_loaded || file.parent() == wanted.parent() || gone.contains(file) {
            continue;
        }
        let folder = file.parent().unwrap_or(file);
        let known =
            all.iter_mut().find(|other| other.name == name && other.folder == folder && other.successor == spec.stack);
        match known {
            Some(known) => {
                known.services.insert(spec.service.clone());
            }
            None => all.push(OtherProject {
                name: name.to_owned(),
                folder: folder.to_owned(),
                successor: spec.stack.clone(),
                services: [spec.service.clone()].into(),
            }),
        }
    }
    all
}

/// The project that a container comes from, and its file; none of what is built in.
fn project_of(found: &ObservedContainer) -> Option<(&str, &Path)> {
    Some((found.label(label::STACK)?, Path::new(found.label(label::CONFIG_FILES)?)))
}
