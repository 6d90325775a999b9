//! What the environment and `.env` say about a project itself: `COMPOSE_FILE`, `COMPOSE_PROFILES`,
//! `COMPOSE_PROJECT_NAME`, `COMPOSE_PATH_SEPARATOR` and `COMPOSE_ENV_FILES`.
//!
//! In `.env` they count for the stack in that folder. In the environment they count for the stack that
//! docker compose would take in the working folder, and for no other one. `COMPOSE_DISABLE_ENV_FILE` there counts for all.

use std::path::{Path, PathBuf};

use super::interpolate::Variables;
use super::{read_env_file, read_env_file_after};
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
        // as docker compose has it in that folder: what a shell says is of wherever one stands, or nothing at all
        let pwd = outer.get("PWD").filter(|_| cwd == folder).cloned();
        variables.insert("PWD".to_owned(), pwd.unwrap_or_else(|| folder.to_string_lossy().into_owned()));
        match given(&variables, "COMPOSE_ENV_FILES") {
            Some(list) => {
                // of two files with the same variable, the later one counts
                let paths: Vec<PathBuf> = list.split(',').map(|path| join(cwd, Path::new(path.trim()))).collect();
                let mut own = Variables::new();
                for path in &paths {
                    if files.exists(path) {
                        let known = |name: &str| variables.get(name).cloned();
                        own = read_env_file_after(files, path, &known, own, report).unwrap_or_default();
                    } else {
                        let file = report.file(path);
                        report.error_help(
                            Span::whole(file),
                            "there is no such env file",
                            "check the variable COMPOSE_ENV_FILES",
                        );
                    }
                }
                add(own, &mut variables);
            }
            None => {
                let path = folder.join(".env");
                if files.exists(&path) && !left_out(outer, &path, report) {
                    let known = |name: &str| variables.get(name).cloned();
                    let read = read_env_file(files, &path, &known, report);
                    add(read.unwrap_or_default(), &mut variables);
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

/// Those that are set already stay.
fn add(read: Variables, variables: &mut Variables) {
    for (name, value) in read {
        variables.entry(name).or_insert(value);
    }
}

/// Whether the environment says that no `.env` is read, of whichever stack.
fn left_out(outer: &Variables, path: &Path, report: &mut Report) -> bool {
    match outer.get("COMPOSE_DISABLE_ENV_FILE").map_or("", String::as_str) {
        "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
        "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
        other => {
            let file = report.file(path);
            report.error_help(
                Span::whole(file),
                format!("COMPOSE_DISABLE_ENV_FILE is `{other}`, which is neither true nor false"),
                "write true or false, or unset the variable",
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::Mount;

    /// Seen side by side with docker compose 2.40.
    #[test]
    fn the_environment_says_which_env_files_are_read() {
        let files = MemoryFiles::default()
            .with("/p/.env", "TAG=env\nHOST=localhost\n")
            .with("/p/local.env", "EARLY=$HOST\nHOST=prod\nURL=https-$HOST\n");
        let read = |name: &str, value: &str| {
            let outer = Variables::from([(name.to_owned(), value.to_owned())]);
            let mut report = Report::new(Path::new("/p"));
            let env = ProjectEnv::read(Path::new("/p"), Path::new("/p"), &outer, &files, &mut report);
            let found = env.variables.iter().filter(|(known, _)| ![name, "PWD"].contains(&known.as_str()));
            let found: Vec<String> = found.map(|(name, value)| format!("{name}={value}")).collect();
            let (errors, _) = report.finish();
            format!("{}{}", found.join(" "), errors.iter().map(|error| format!(" ({error})")).collect::<String>())
        };
        let both = "COMPOSE_ENV_FILES";
        assert_eq!(read(both, ".env,local.env"), "EARLY=localhost HOST=prod TAG=env URL=https-prod");
        assert_eq!(read(both, "local.env, .env"), "EARLY= HOST=localhost TAG=env URL=https-prod");
        let none = "COMPOSE_DISABLE_ENV_FILE";
        for (value, expected) in [
            ("1", ""),
            ("true", ""),
            ("0", "HOST=localhost TAG=env"),
            ("", "HOST=localhost TAG=env"),
            (
                "yes",
                "HOST=localhost TAG=env (.env: COMPOSE_DISABLE_ENV_FILE is `yes`, which is neither true nor false\n    \
                 write true or false, or unset the variable)",
            ),
        ] {
            assert_eq!(read(none, value), expected, "{value}");
        }
    }

    #[test]
    fn pwd_is_the_folder_of_the_stack_wherever_one_stands() {
        let shop = "services: {web: {image: w, volumes: ['$PWD/data:/data']}}";
        let files = MemoryFiles::default().with("/p/compose.yaml", shop).with("/p/.env", "PWD=/env\n");
        for (cwd, pwd, expected) in [
            ("/p", None, "/p/data"),
            // a shell that came here through a link
            ("/p", Some("/link"), "/link/data"),
            ("/p/sub", Some("/p/sub"), "/p/data"),
            ("/q", Some("/q"), "/p/data"),
        ] {
            let env = pwd.map(|pwd| ("PWD".to_owned(), pwd.to_owned())).into_iter().collect();
            let stacks = vec!["/p/compose.yaml".into()];
            let request = Request { cwd: cwd.into(), env, stacks, only_own: true, ..Request::default() };
            let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
            let (_, web) = loaded.platform.service("web").unwrap();
            assert!(
                matches!(&web.mounts[..], [Mount::Bind { source, .. }] if source == Path::new(expected)),
                "{cwd}: {:?}",
                web.mounts
            );
        }
    }
}
