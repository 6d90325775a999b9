//! What the environment and `.env` say about a project itself: `COMPOSE_FILE`, `COMPOSE_PROFILES`,
//! `COMPOSE_PROJECT_NAME`, `COMPOSE_PATH_SEPARATOR` and `COMPOSE_ENV_FILES`.
//!
//! In `.env` they count for the stack in that folder. In the environment they count for the stack that
//! docker compose would take in the working folder, and for no other one.

use std::path::{Path, PathBuf};

use super::interpolate::Variables;
use super::read_env_file;
use crate::config::files::{Files, join};
use crate::config::yaml::{Report, Span, project_name};

const ITS_OWN: [&str; 5] =
    ["COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_PATH_SEPARATOR", "COMPOSE_ENV_FILES"];

/// The variables of a project, and what some of them say about it.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct ProjectEnv {
    /// Everything for interpolation.
    pub(in crate::config) variables: Variables,
    /// `COMPOSE_FILE`: each laid over the ones before it; empty where it says nothing.
    pub(in crate::config) paths: Vec<PathBuf>,
    /// `COMPOSE_PROFILES`.
    pub(in crate::config) profiles: Vec<String>,
    /// `COMPOSE_PROJECT_NAME`.
    pub(in crate::config) name: Option<String>,
}

impl ProjectEnv {
    /// For a stack in `folder`. `outer` is the environment.
    pub(in crate::config) fn read(
        folder: &Path,
        cwd: &Path,
        outer: &Variables,
        files: &dyn Files,
        report: &mut Report,
    ) -> Self {
        let given = |variables: &Variables, name: &str| variables.get(name).filter(|text| !text.is_empty()).cloned();
        let here = cwd.starts_with(folder);
        let mut variables = outer.clone();
        if !here {
            // those of another project
            variables.retain(|name, _| !ITS_OWN.contains(&name.as_str()));
        }
        match given(&variables, "COMPOSE_ENV_FILES") {
            Some(list) => {
                // of two files with the same variable, the later one counts
                let paths: Vec<PathBuf> = list.split(',').map(|path| join(cwd, Path::new(path.trim()))).collect();
                let outer = variables.clone();
                for path in &paths {
                    if files.exists(path) {
                        let read = read_env_file(files, path, &|name| variables.get(name).cloned(), report);
                        let read = read.unwrap_or_default().into_iter();
                        variables.extend(read.filter(|(name, _)| !outer.contains_key(name)));
                    } else {
                        let file = report.file(path);
                        report.error_help(
                            Span::whole(file),
                            "there is no such env file",
                            "check the variable COMPOSE_ENV_FILES",
                        );
                    }
                }
            }
            None => {
                let path = folder.join(".env");
                if files.exists(&path) {
                    add(&path, &mut variables, files, report);
                }
            }
        }
        let separator = given(&variables, "COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
        // in the environment paths count from where the user stands, in .env from beside it
        let base = if here && given(outer, "COMPOSE_FILE").is_some() { cwd } else { folder };
        let paths = given(&variables, "COMPOSE_FILE")
            .map(|list| {
                let paths = list.split(separator.as_str()).map(str::trim).filter(|path| !path.is_empty());
                paths.map(|path| join(base, Path::new(path))).collect()
            })
            .unwrap_or_default();
        let profiles = given(&variables, "COMPOSE_PROFILES")
            .map(|list| list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
            .unwrap_or_default();
        let name = given(&variables, "COMPOSE_PROJECT_NAME").map(|name| project_name(&name));
        Self { paths, profiles, name: name.filter(|name| !name.is_empty()), variables }
    }
}

/// Adds the variables of a file; those that are set already stay.
fn add(path: &Path, variables: &mut Variables, files: &dyn Files, report: &mut Report) {
    let read = read_env_file(files, path, &|name| variables.get(name).cloned(), report);
    for (name, value) in read.unwrap_or_default() {
        variables.entry(name).or_insert(value);
    }
}
