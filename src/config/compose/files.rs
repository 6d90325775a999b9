//! `configs` and `secrets`: what stands in them, and where it goes.

use std::path::Path;

use super::interpolate::Variables;
use crate::config::files::{Files, MAX_CONTENT};
use crate::config::read::remedy;
use crate::config::yaml::{Node, Report, Shaper, Value, suggestion};
use crate::model::FileMount;

/// A mode in quotes is octal; without quotes YAML has read it.
pub(super) fn mode(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::Text(text) = &node.value else { return Some(node) };
    match i64::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) => Some(Node::new(Value::Int(mode), node.span)),
        Err(_) => shaper.wrong(node.span, format!("`{text}` is not a valid mode"), "write 0440"),
    }
}

/// Everything that [`build`] looks things up in.
pub(super) struct Sources<'a> {
    pub(super) root: &'a Node,
    pub(super) variables: &'a Variables,
    pub(super) files: &'a dyn Files,
    /// The folder from which relative paths count.
    pub(super) folder: &'a Path,
    /// The stack is embedded in the binary, and has no folder.
    pub(super) embedded: bool,
    /// What is external is with the orchestrator.
    pub(super) orchestrated: bool,
}

impl Sources<'_> {
    /// What services run on that say nothing themselves. What comes with macula is made for this machine.
    pub(super) fn default_platform(&self) -> Option<String> {
        let platform = self.variables.get("DOCKER_DEFAULT_PLATFORM").filter(|platform| !platform.is_empty());
        platform.filter(|_| !self.embedded).cloned()
    }
}

/// The files that a service gets from `configs` and `secrets`, with their content.
pub(super) fn build(service: &Node, name: &str, sources: &Sources<'_>, report: &mut Report) -> Vec<FileMount> {
    let mut mounts = Vec::new();
    for (kind, secret) in [("configs", false), ("secrets", true)] {
        for reference in service.items(kind) {
            let Some(source) = reference.get_text("source") else {
                report.error_help(
                    reference.span,
                    format!("services.{name}.{kind}: `source` is missing"),
                    format!("name one of `{kind}`"),
                );
                continue;
            };
            let known = sources.root.get(kind).and_then(|all| all.get(source));
            let Some(declared) = known else {
                let names = sources.root.entries(kind).map(|(name, _)| name);
                report.error_help(
                    reference.span,
                    format!("services.{name}.{kind}: there is no `{source}` under `{kind}`"),
                    suggestion(source, names.collect::<Vec<_>>()),
                );
                continue;
            };
            let external = (sources.orchestrated && super::flag(declared, "external"))
                .then(|| declared.get_text("name").unwrap_or(source).to_owned());
            let contents = match &external {
                Some(_) => Some(vec![(String::new(), Vec::new())]),
                None => content(declared, &format!("{kind}.{source}"), sources, report),
            };
            let Some(contents) = contents else { continue };
            let id = |key: &str, report: &mut Report| match reference.get_text(key).map(str::parse::<u32>) {
                Some(Err(_)) => {
                    report.error_help(
                        reference.span,
                        format!("services.{name}.{kind}: `{key}` is not a number"),
                        "write \"101\"",
                    );
                    0
                }
                Some(Ok(id)) => id,
                None => 0,
            };
            let (uid, gid) = (id("uid", report), id("gid", report));
            let given = reference.get_text("target").unwrap_or(source);
            let target = match (given.starts_with('/'), secret) {
                (true, _) => given.to_owned(),
                (false, true) => format!("/run/secrets/{given}"),
                (false, false) => format!("/{given}"),
            };
            let mode = reference.get_int("mode").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o444);
            mounts.extend(contents.into_iter().map(|(below, content)| {
                let (target, source) = match below.is_empty() {
                    true => (target.clone(), source.to_owned()),
                    false => (format!("{target}/{below}"), format!("{source}/{below}")),
                };
                FileMount { target, content, uid, gid, mode, secret, source, external: external.clone() }
            }));
        }
    }
    mounts
}

/// A file by its path below the target, empty for the target itself, and what is in it.
type Contents = Vec<(String, Vec<u8>)>;

fn content(declared: &Node, path: &str, sources: &Sources<'_>, report: &mut Report) -> Option<Contents> {
    let one = |content: Vec<u8>| Some(vec![(String::new(), content)]);
    if super::flag(declared, "external") {
        report.error_help(
            declared.span,
            format!("{path}: an external one comes from a swarm, and there is none"),
            "give it a `file`, `content` or `environment`",
        );
        return None;
    }
    if let Some(content) = declared.get_text("content") {
        return one(content.as_bytes().to_vec());
    }
    if let Some(variable) = declared.get_text("environment") {
        return match sources.variables.get(variable) {
            Some(value) => one(value.as_bytes().to_vec()),
            None => {
                report.error_help(
                    declared.span,
                    format!("{path}: the variable {variable} is not set"),
                    format!("set {variable} in the environment or in .env"),
                );
                None
            }
        };
    }
    let file = Path::new(declared.get_text("file")?);
    let read = if sources.files.is_folder(file) {
        folder(file, sources.files)
    } else {
        sources.files.read(file, MAX_CONTENT).map(|content| vec![(String::new(), content)])
    };
    match read {
        Ok(contents) => Some(contents),
        Err(error) => {
            report.error_help(
                declared.span,
                format!("{path}: cannot read {}: {error}", file.display()),
                remedy(
                    &error,
                    "mount a file of this size with `volumes:`",
                    "the path counts from the folder of the stack file",
                ),
            );
            None
        }
    }
}

/// A folder as the files in it, as Compose mounts one.
fn folder(folder: &Path, files: &dyn Files) -> std::io::Result<Contents> {
    let mut contents = Contents::new();
    let mut left = MAX_CONTENT;
    for path in files.list(folder)? {
        // a link to a folder: its files have no place here
        if files.is_folder(&path) {
            continue;
        }
        let content = files.read(&path, left).map_err(|error| named(&path, &error))?;
        left = left.saturating_sub(content.len() as u64);
        let below = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        contents.push((below, content));
    }
    Ok(contents)
}

fn named(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
