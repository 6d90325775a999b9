//! One stack: from its files to one resolved tree, and from there to the model.

mod build;
pub(super) mod canonical;
mod deploy;
mod elsewhere;
mod emit;
pub(in crate::config) mod env_file;
mod extends;
mod files;
mod finish;
mod hook;
mod include;
mod interpolate;
mod merge;
mod networks;
mod ports;
pub(super) mod project_env;
mod said;
#[cfg(test)]
mod samples;
pub(super) mod schema;
pub(super) mod service;
mod short;
mod volumes;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::yaml::{self, FileId, Kind, Node, Report, Shaper, Span, project_name, shape};

use crate::config::files::Files;
use crate::config::read::read_text;
use crate::model::{Origin, Ulimit};
use interpolate::{Variables, interpolate_tree};
pub(super) use project_env::ProjectEnv;
pub use said::Said;
#[cfg(test)]
pub(crate) use samples::{extension_keys, sample_files, samples};

/// A stack that is to be loaded.
pub(super) struct Source<'a> {
    /// Where the text is, or what an embedded one is called. Where there are several, each is laid over
    /// the ones before it.
    pub(super) paths: Vec<PathBuf>,
    /// The text of an embedded stack.
    pub(super) text: Option<&'a str>,
    /// The folder from which relative paths count.
    pub(super) folder: PathBuf,
    /// The name where neither the file nor a variable says one.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// The environment of the user and `MACULA_*`, with what lies beside the stack.
    pub(super) env: ProjectEnv,
}

/// What is the same for all stacks.
pub(super) struct Surroundings<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) profiles: &'a [String],
    /// [`crate::config::Request::orchestrated`].
    pub(super) orchestrated: bool,
}

/// A Compose project: a stack with everything resolved that `docker compose config` resolves.
#[derive(Debug, Clone)]
pub struct Project {
    /// As Compose calls it.
    pub name: String,
    pub origin: Origin,
    /// The folder from which its relative paths count.
    pub folder: PathBuf,
    /// In the long forms, with defaults; only the services of active profiles.
    pub(super) root: Node,
    /// Services that no active profile asks for, with their profiles.
    pub(super) inactive: BTreeMap<String, Vec<String>>,
    /// Every Compose profile that a service names.
    pub(super) profiles: BTreeSet<String>,
    /// Names of networks and volumes that the user chose, as (section, key).
    pub(super) named: Vec<(String, String)>,
    pub(super) variables: Variables,
    /// Configs and secrets that the orchestrator has already are no error.
    pub(super) orchestrated: bool,
}

impl Project {
    pub(super) fn services(&self) -> impl Iterator<Item = (&str, &yaml::Entry)> {
        self.root.entries("services")
    }
}

/// Names under which Compose looks for a stack in a folder, in this order.
pub(super) const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The first of Compose's own override files beside a file that has one of Compose's own names, whichever these are. Where
/// a folder has several such files, each has only the one that is called after it.
pub(super) fn override_of(path: &Path, files: &dyn Files) -> Option<PathBuf> {
    let name = path.file_name()?.to_str().filter(|name| FILE_NAMES.contains(name))?;
    let is_there = |name: &str| files.exists(&path.with_file_name(name));
    let own = name.split_once('.')?.0;
    let several = FILE_NAMES.iter().any(|other| *other != name && is_there(other));
    let names = [
        "compose.override.yml",
        "compose.override.yaml",
        "docker-compose.override.yml",
        "docker-compose.override.yaml",
    ];
    let mut names = names.iter().filter(|name| !several || name.split('.').next() == Some(own));
    names.find(|name| is_there(name)).map(|name| path.with_file_name(name))
}

/// Loads one stack. `None` when there is no tree at all; what is wrong is in the report.
pub(super) fn load(source: &Source<'_>, around: &Surroundings<'_>, report: &mut Report) -> Option<Project> {
    let main = source.paths.first()?;
    let file = report.file(main);
    let mut variables = source.env.variables.clone();
    let home = variables.get("HOME").cloned();
    let mut loader = Loader { files: around.files, folder: &source.folder, home, report };

    let mut trees = Vec::new();
    for path in source.paths.iter().cloned().chain(loader.overrides(source)) {
        let text = source.text.filter(|_| path == *main);
        trees.extend(loader.parse(&path, text, Span::whole(file)).into_iter().map(|node| (path.clone(), node)));
    }
    // the name comes first, since the rest may use it
    let given = trees.iter().rev().find_map(|(_, node)| node.get_text("name").map(str::to_owned));
    let given = given.map(|name| {
        interpolate::interpolate(&name, &|key| variables.get(key).cloned(), &mut Vec::new()).unwrap_or_default()
    });
    let name = source
        .env
        .name
        .clone()
        .or_else(|| given.map(|name| project_name(&name)).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| source.name.clone());
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());

    let mut root: Option<Node> = None;
    let empty = trees.is_empty();
    for (path, node) in trees {
        let shaped = loader.resolve(node, &path, &source.folder, &variables, &mut vec![main.clone()]);
        root = match (root, shaped) {
            (Some(base), Some(over)) => Some(merge::merge_files(base, over)),
            (one, other) => one.or(other),
        };
    }
    if empty {
        return None;
    }
    let mut root = root?;
    merge::strip_resets(&mut root);
    if root.get("services").and_then(Node::as_map).is_none_or(|services| services.is_empty())
        && root.get("services").is_none()
        && !loader.report.has_errors()
    {
        loader.report.error_help(
            Span::whole(file),
            "there are no services in this file",
            "a stack has `services:`, as Compose files have",
        );
    }
    let mut project = Project {
        name,
        origin: source.origin.clone(),
        folder: source.folder.clone(),
        root,
        inactive: BTreeMap::new(),
        profiles: BTreeSet::new(),
        named: Vec::new(),
        variables,
        orchestrated: around.orchestrated,
    };
    finish::finish(&mut project, source, around, loader.report);
    Some(project)
}

/// Reads files and puts them together.
struct Loader<'a, 'r> {
    files: &'a dyn Files,
    /// The project's.
    folder: &'a Path,
    home: Option<String>,
    report: &'r mut Report,
}

impl Loader<'_, '_> {
    /// The override file that is laid over a stack without being named.
    fn overrides(&self, source: &Source<'_>) -> Option<PathBuf> {
        // files that are named one by one are all there are
        let [path] = source.paths.as_slice() else { return None };
        if source.text.is_some() || !source.env.paths.is_empty() {
            return None;
        }
        override_of(path, self.files)
    }

    /// The trees of a file, one for each of its documents. `from` is where the file is named, for the
    /// error when it is not there.
    fn parse(&mut self, path: &Path, text: Option<&str>, from: Span) -> Vec<Node> {
        let file = self.report.file(path);
        let read;
        let text = match text {
            Some(text) => text,
            None => match read_text(self.files, path, Some(from), self.report) {
                Some(text) => {
                    read = text;
                    &read
                }
                None => return Vec::new(),
            },
        };
        let Some(mut documents) = yaml::documents(text, file, self.report) else { return Vec::new() };
        // a document without anything, as a `---` at the end leaves it, says nothing
        documents.retain(|node| !node.is_null());
        if documents.is_empty() {
            self.report.error_help(
                Span::whole(file),
                "the file is empty",
                "a stack begins with `services:`, as Compose files do",
            );
        }
        documents.retain(|node| {
            let fits = node.as_map().is_some();
            if !fits {
                self.report.error_help(
                    node.span,
                    format!("a Compose file is a mapping, not {}", node.kind()),
                    "it begins with `services:`",
                );
            }
            fits
        });
        documents
    }

    /// Interpolated, in long forms, with `extends` and `include` carried out.
    fn resolve(
        &mut self,
        mut node: Node,
        path: &Path,
        folder: &Path,
        variables: &Variables,
        included: &mut Vec<PathBuf>,
    ) -> Option<Node> {
        interpolate_tree(&mut node, variables, self.report);
        let mut node = {
            let mut shaper = Shaper::new(self.report, folder, self.home.as_deref());
            shape(&Kind::Object(&schema::FILE), node, &mut shaper)?
        };
        if let Some(entry) = node.as_map_mut().and_then(|map| map.shift_remove("version")) {
            self.report.warn(entry.key, "`version` is obsolete and means nothing", "take the line away");
        }
        merge::unique_within(&mut node);
        let services = node.as_map_mut().and_then(|map| map.get_mut("services"));
        if let Some(services) = services.and_then(|entry| entry.node.as_map_mut()) {
            for entry in services.values_mut() {
                self.count_from_project(&mut entry.node, folder);
            }
        }
        self.extend_services(&mut node, path, folder, variables);
        self.include(&mut node, folder, variables, included);
        Some(node)
    }

    /// Adds the variables of an env file; those that are set already stay.
    fn add_env_file(&mut self, path: &Path, variables: &mut Variables, asked_at: Option<Span>) {
        for (name, value) in self.env_file(path, variables, Variables::new(), asked_at) {
            variables.entry(name).or_insert(value);
        }
    }

    /// What the `earlier` env files and this one say where `variables` are known.
    fn env_file(
        &mut self,
        path: &Path,
        variables: &Variables,
        earlier: Variables,
        asked_at: Option<Span>,
    ) -> Variables {
        if !self.files.exists(path) {
            if let Some(span) = asked_at {
                self.report.error_help(
                    span,
                    format!("there is no env file {}", path.display()),
                    "check the path, or say `required: false`",
                );
            }
            return earlier;
        }
        let known = |name: &str| variables.get(name).cloned();
        read_env_file_after(self.files, path, &known, earlier, self.report).unwrap_or_default()
    }
}

/// The variables of an env file; what is wrong in it is in the report.
fn read_env_file(
    files: &dyn Files,
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Option<BTreeMap<String, String>> {
    read_env_file_after(files, path, lookup, BTreeMap::new(), report)
}

/// The same with the variables of the `earlier` files that count together with it.
fn read_env_file_after(
    files: &dyn Files,
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    earlier: Variables,
    report: &mut Report,
) -> Option<BTreeMap<String, String>> {
    let text = read_text(files, path, None, report)?;
    let file = report.file(path);
    report.source(file, &env_file::names_only(&text));
    match env_file::parse_after(&text, lookup, earlier) {
        Ok(read) => {
            for (name, line) in read.unset {
                report.warn(
                    at_line(file, line),
                    format!("the variable {name} is not set; it counts as empty"),
                    format!("set it, give it a default (${{{name}:-value}}), or write `$$` for a dollar sign"),
                );
            }
            Some(read.values)
        }
        Err(error) => {
            report.error_help(at_line(file, error.line), error.message, error.help);
            None
        }
    }
}

/// An env file with `format: raw`.
fn read_raw(
    files: &dyn Files,
    path: &Path,
    known: &Variables,
    report: &mut Report,
) -> Option<BTreeMap<String, String>> {
    let text = read_text(files, path, None, report)?;
    let file = report.file(path);
    report.source(file, &env_file::names_only(&text));
    match env_file::parse_raw(&text, known) {
        Ok(values) => Some(values),
        Err(error) => {
            report.error_help(at_line(file, error.line), error.message, error.help);
            None
        }
    }
}

fn at_line(file: FileId, line: u32) -> Span {
    Span { file, line, column: 1 }
}

/// A text that is there and not empty.
fn text(node: &Node, key: &str) -> Option<String> {
    node.get_text(key).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn flag(node: &Node, key: &str) -> bool {
    node.get_bool(key).unwrap_or(false)
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    node.get_int(key).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos)
}

fn ulimits(node: &Node) -> BTreeMap<String, Ulimit> {
    node.entries("ulimits")
        .map(|(name, entry)| {
            let one = |key: &str| entry.node.get_int("single").or_else(|| entry.node.get_int(key)).unwrap_or(0);
            (name.to_owned(), Ulimit { soft: one("soft"), hard: one("hard") })
        })
        .collect()
}

/// `host=address` as the `host:address` of the engine.
fn hosts(node: &Node) -> Vec<String> {
    node.texts("extra_hosts").iter().map(|line| line.replacen('=', ":", 1)).collect()
}

/// A mapping of texts; keys without a value are left out.
fn string_map(node: &Node, key: &str) -> BTreeMap<String, String> {
    node.entries(key).filter_map(|(name, entry)| Some((name.to_owned(), entry.node.as_text()?.to_owned()))).collect()
}
