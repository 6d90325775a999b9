//! Floor 1: from files to [`Platform`], with every error at once. macula.yaml, the Compose files of
//! all stacks and their `x-macula` are read here; nothing is read from the environment or the home
//! folder, all of it comes in with [`Request`].

mod catalog;
mod check;
mod compose;
mod databases;
mod discover;
mod files;
mod loaded;
mod macula;
mod needs;
mod project;
mod read;
mod scope;
mod selection;
mod tasks;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use catalog::catalog;
pub use compose::canonical::canonical;
pub use compose::{Project, Said};
#[cfg(test)]
pub(crate) use compose::{extension_keys, samples};
pub use files::{DiskFiles, Files, MemoryFiles};
pub use macula::{
    SCHEMA_FILE, compose_schema, extension_reference, in_force, init_file, lock_text, macula_yaml_reference, schema,
};
pub use project::{AddError, ProjectFile, look, with_added};
pub use yaml::{ConfigErrors, Diagnostic};

use compose::ProjectEnv;
use macula::extension::{self, Templates};
use macula::file::{ServiceChange, Settings};
use macula::lock_file;
use selection::Selection;
use yaml::{Report, Span, listed, project_name, suggestion};

use crate::model::{
    ClusterSettings, ImagePolicy, ImageSettings, Moves, Origin, Platform, PlatformName, Stack, move_ports, then_moved,
};
use crate::render;

/// Everything that decides what is loaded.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Absolute. Relative paths of the command line count from here.
    pub cwd: PathBuf,
    /// The user's configuration folder: `macula.yaml`, `stacks/` and `templates/` in it.
    pub config_folder: Option<PathBuf>,
    /// Variables for interpolation, and `HOME` for `~`.
    pub env: BTreeMap<String, String>,
    /// `--file`: the macula.yaml to take. It must be there.
    pub file: Option<PathBuf>,
    /// `--name`.
    pub name: Option<PlatformName>,
    /// `--stack`, beside those of macula.yaml.
    pub stacks: Vec<PathBuf>,
    /// `--profile`, beside those of macula.yaml.
    pub profiles: Vec<String>,
    /// `--images`, in place of what macula.yaml says.
    pub images: Option<ImagePolicy>,
    /// Without the built-in stacks.
    pub only_own: bool,
    /// Without macula.yaml and the user's stacks: for commands that have to do without them.
    pub only_built_in: bool,
    /// The Compose file of the project that `cwd` lies in is a stack, where no macula.yaml is found in it.
    pub discover: bool,
    /// The project's Compose file where `cwd` lies in none.
    pub project: Option<PathBuf>,
    /// `--remap`: published ports that somebody else has go elsewhere.
    pub remap: bool,
    /// Where they went at the last `up`.
    pub moves: Moves,
    /// For Swarm or Kubernetes: configs and secrets may be there already.
    pub orchestrated: bool,
}

/// What [`load`] found.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub platform: Platform,
    /// What is accepted, and worth a word.
    pub warnings: Vec<Diagnostic>,
    /// The macula.yaml that was read, if there was any.
    pub config_file: Option<PathBuf>,
    /// Where macula.lock lies or would lie: beside macula.yaml, else in the working folder.
    pub lock_file: PathBuf,
    /// The project's Compose file that was found without being named.
    pub discovered: Option<PathBuf>,
    /// The user's files were left aside, see [`Request::only_built_in`].
    pub incomplete: bool,
    /// Published ports of the user's services that somebody else has go to addresses of the services' own.
    pub remap: bool,
    /// Those that went there.
    pub moves: Moves,
    /// The stacks as Compose projects, in the order of `platform.stacks`.
    pub projects: Vec<Project>,
    /// Profiles that were asked for, of the platform and of Compose.
    pub profiles: Vec<String>,
    /// All profiles that there are, asked for or not.
    pub known_profiles: BTreeSet<String>,
    /// Images of `images.overrides` that no service has.
    pub unused_overrides: Vec<String>,
    places: yaml::Places,
    /// What macula.yaml says.
    settings: Settings,
}

impl Loaded {
    /// Moves published ports that somebody else has, beyond those that have moved already.
    pub fn move_ports(&mut self, moves: &Moves) {
        move_ports(self.platform.stacks.iter_mut(), moves);
        self.moves = then_moved(std::mem::take(&mut self.moves), moves);
    }

    /// Everything that the files of a stack say, key by key, with its place.
    pub fn said(&self, stack: &str) -> Vec<Said> {
        let all = self.platform.stacks.iter().zip(&self.projects);
        all.filter(|(found, _)| found.name == stack).flat_map(|(_, project)| project.said(&self.places)).collect()
    }

    /// What turned out to be wrong with a service, at the first of these keys that it has (`deploy.resources`), else at
    /// its name. None for what is built in: nobody can look at that, or change it there.
    pub fn at(&self, service: &str, keys: &[&str], message: impl Into<String>) -> Option<Diagnostic> {
        let entry = self.written(service)?;
        let span = keys.iter().find_map(|key| below(&entry.node, key)).map_or(entry.key, |node| node.span);
        Some(self.places.diagnostic(span, message.into()))
    }

    /// [`Loaded::at`], for a port of this machine that the service publishes.
    pub fn at_port(&self, service: &str, port: u16, message: impl Into<String>) -> Option<Diagnostic> {
        let ports = self.written(service)?.node.items("ports");
        let is_it = |item: &&yaml::Node| item.get_text("published") == Some(port.to_string().as_str());
        match ports.iter().find(is_it) {
            Some(item) => Some(self.places.diagnostic(item.span, message.into())),
            None => self.at(service, &["ports"], message),
        }
    }

    /// [`Loaded::at`], for what the service mounts at `target`.
    pub fn at_mount(&self, service: &str, target: &str, message: impl Into<String>) -> Option<Diagnostic> {
        let mounts = self.written(service)?.node.items("volumes");
        let mount = mounts.iter().find(|mount| mount.get_text("target") == Some(target))?;
        let span = mount.get("source").map_or(mount.span, |source| source.span);
        Some(self.places.diagnostic(span, message.into()))
    }

    /// Where a file of the user's says that a volume or a network is made by something else. `section`: `volumes` or
    /// `networks`; `name`: in the engine.
    pub fn at_external(&self, section: &str, name: &str, message: impl Into<String>) -> Option<Diagnostic> {
        let files = self.projects.iter().filter(|project| matches!(project.origin, Origin::File(_)));
        let is_it = |(key, entry): &(&str, &yaml::Entry)| {
            entry.node.get_bool("external") == Some(true) && entry.node.get_text("name").unwrap_or(key) == name
        };
        let (_, entry) = files.flat_map(|project| project.root.entries(section)).find(is_it)?;
        Some(self.places.diagnostic(entry.key, message.into()))
    }

    /// A path as messages name it: from the working folder, where it lies in that.
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.places.shown(path)
    }

    /// A service in a file of the user's.
    fn written(&self, service: &str) -> Option<&yaml::Entry> {
        let mut all = self.platform.stacks.iter().zip(&self.projects);
        let (found, project) = all.find_map(|(stack, project)| Some((stack.services.get(service)?, project)))?;
        let name = found.short.as_deref().unwrap_or(service);
        match project.origin {
            Origin::BuiltIn => None,
            Origin::File(_) => project.root.get("services")?.as_map()?.get(name),
        }
    }
}

/// What a mapping has at `deploy.resources`; a name in it may have dots of its own, as a path has.
fn below<'a>(node: &'a yaml::Node, key: &str) -> Option<&'a yaml::Node> {
    let inside = |(at, _): (usize, &str)| below(node.get(key.get(..at)?)?, key.get(at + 1..)?);
    node.get(key).or_else(|| key.match_indices('.').find_map(inside))
}

/// Reads an env file as Compose does; `lookup` knows the variables from outside. The error says in which line it is.
pub fn env_file(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<std::collections::BTreeMap<String, String>, String> {
    let read = compose::env_file::parse(text, lookup);
    read.map(|file| file.values).map_err(|error| format!("line {}: {}", error.line, error.message))
}

/// Reads macula.yaml and all stacks. Errors: everything that is wrong in any of them, at once.
pub fn load(request: &Request, files: &dyn Files) -> Result<Loaded, ConfigErrors> {
    let built_in = if request.only_own { Vec::new() } else { render::stacks() };
    load_with(request, files, &built_in)
}

/// [`load`] with these built-in stacks: file name and text.
fn load_with(request: &Request, files: &dyn Files, built_in: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let mut report = Report::new(&request.cwd);
    report.orchestrated = request.orchestrated;
    let home = request.env.get("HOME").map(String::as_str);
    let config_file = if request.only_built_in { None } else { find_config_file(request, files, &mut report) };
    let settings = match &config_file {
        Some(path) => macula::file::load(path, home, files, &mut report),
        None => Settings::default(),
    };
    let (name, domain) = identity(request, &settings, files);

    let mut variables = request.env.clone();
    variables.insert("MACULA_NAME".to_owned(), name.to_string());
    variables.insert("MACULA_DOMAIN".to_owned(), domain.clone());
    variables.insert("MACULA_PREFIX".to_owned(), name.prefix());
    let command_line = Span::whole(report.file(Path::new("--profile")));
    let mut asked = settings.profiles.clone();
    asked.extend(request.profiles.iter().map(|name| (name.clone(), command_line)));
    // an empty variable asks for nothing
    asked.retain(|(name, _)| !name.is_empty());
    let profiles: Vec<String> = asked.iter().map(|(name, _)| name.clone()).collect();

    let around = compose::Surroundings { files, profiles: &profiles, orchestrated: request.orchestrated };
    let mut stacks = Vec::new();
    let discovered = discovered(request, &settings, config_file.as_deref(), files);
    let all = sources(request, &settings, &variables, files, built_in, discovered.as_deref(), &mut report);
    for (at, source) in all.into_iter().enumerate() {
        let Some(project) = compose::load(&source, &around, &mut report) else { continue };
        let stack = stack(&project, &source, request, files, &mut report);
        stacks.push(loaded::Loaded { project, stack, built_in: at < built_in.len() });
    }
    let added: Vec<(&str, &str)> = catalog::wanted(&settings, &stacks, &mut report).into_iter().collect();
    for (at, (file, text)) in added.iter().enumerate() {
        let source = built_in_source(request, &variables, files, file, text, &mut report);
        let Some(project) = compose::load(&source, &around, &mut report) else { continue };
        let stack = stack(&project, &source, request, files, &mut report);
        stacks.insert(built_in.len() + at, loaded::Loaded { project, stack, built_in: true });
    }
    let mut images = settings.images.clone();
    if let Some(policy) = request.images {
        images.policy = policy;
    }
    let lock_file = lock_file::place(config_file.as_deref(), &request.cwd);
    if !request.only_built_in {
        images.locked = lock_file::load(&lock_file, files, &mut report);
    }
    needs::provide(&mut stacks, &name, &mut report);
    databases::provide(&mut stacks, &name, &mut report);
    let known_profiles = stacks
        .iter()
        .flat_map(|loaded| {
            let own = loaded.stack.services.values().flat_map(|service| service.extension.profiles.iter());
            own.chain(&loaded.project.profiles).cloned()
        })
        // nobody chooses it
        .filter(|name| name != selection::ALONG)
        .collect();
    let unused_overrides = unused_overrides(&images, &settings.services, &stacks);
    let selection = Selection::choose(&mut stacks, &settings, &asked, &mut report);
    scope::separate(&mut stacks, &name);
    apply_changes(&settings.services, &mut stacks, &selection, &mut report);
    if let Some(project) = &discovered {
        discover::name_services(&mut stacks, project, files, &mut report);
    }
    if !request.orchestrated {
        discover::unheeded_protocols(&stacks, discovered.as_deref(), &mut report);
    }
    let remap = (request.remap || settings.remap) && !request.orchestrated;
    let moves = if remap { request.moves.clone() } else { Moves::new() };
    scope::own_addresses(&mut stacks, &moves, &mut report);
    scope::moved_ports(&mut stacks, &moves, &mut report);
    scope::ingress_ports(&mut stacks, &settings.ingress, &domain, &mut report);
    tasks::provide(&mut stacks, &selection, &mut report);
    for (from, to) in &images.overrides {
        let services = stacks.iter_mut().flat_map(|loaded| loaded.stack.services.values_mut());
        for service in services.filter(|service| service.image.as_ref() == Some(from)) {
            service.image = Some(to.clone());
        }
    }
    check::check(&mut stacks, &selection, &name, &domain, &settings.ingress, &mut report);
    let all: Vec<&Stack> = stacks.iter().map(|loaded| &loaded.stack).collect();
    let known = |service: &str| selection.is_inactive(service) || selection.is_off(service);
    macula::processes::check(&settings.processes, &all, &domain, &known, &mut report);

    let (projects, stacks) = stacks.into_iter().map(|loaded| (loaded.project, loaded.stack)).unzip();
    let platform = Platform {
        name,
        domain,
        stacks,
        images,
        ingress: settings.ingress.clone(),
        dns: settings.dns.clone(),
        cluster: cluster_settings(settings.cluster.clone(), request),
        addresses: settings.addresses.clone(),
        reach: settings.reach,
        telemetry: settings.telemetry.clone(),
        timeouts: settings.timeouts.clone(),
        lease: settings.lease.clone(),
        processes: settings.processes.iter().map(|(name, declared)| (name.clone(), declared.process.clone())).collect(),
        tasks: settings.tasks.iter().map(|(name, declared)| (name.clone(), declared.task.clone())).collect(),
        programs: BTreeSet::new(),
        written: None,
    };
    macula::machine_tasks::check_tasks(&settings.tasks, &platform, &known, &mut report);
    let failed = report.has_errors();
    let places = report.places();
    let (errors, warnings) = report.finish();
    if failed {
        return Err(ConfigErrors(errors));
    }
    let incomplete = request.only_built_in;
    Ok(Loaded {
        platform,
        warnings,
        config_file,
        lock_file,
        discovered,
        incomplete,
        remap,
        moves,
        projects,
        profiles,
        known_profiles,
        unused_overrides,
        places,
        settings,
    })
}

/// Of all stacks, also those that do not take part. Services of a Compose profile that is not active are not
/// known any more: then nothing is said.
fn unused_overrides(
    images: &ImageSettings,
    changes: &BTreeMap<String, ServiceChange>,
    stacks: &[loaded::Loaded],
) -> Vec<String> {
    if stacks.iter().any(|loaded| !loaded.project.inactive.is_empty()) {
        return Vec::new();
    }
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let known: Vec<&String> = services.filter_map(|service| service.image.as_ref()).collect();
    let changed = |image: &String| changes.values().any(|change| change.image.as_ref() == Some(image));
    let unused = images.overrides.keys().filter(|image| !known.contains(image) && !changed(image));
    unused.cloned().collect()
}

/// The platform's name alone, from `--name`, macula.yaml or the worktree: for commands that need nothing else of the
/// files. The errors are those of macula.yaml, in spite of which its name counts where it can be made out.
pub fn platform_name(request: &Request, files: &dyn Files) -> (PlatformName, Vec<Diagnostic>) {
    if let Some(name) = &request.name {
        return (name.clone(), Vec::new());
    }
    let mut report = Report::new(&request.cwd);
    let home = request.env.get("HOME").map(String::as_str);
    let Some(path) = find_config_file(request, files, &mut report) else {
        return (unnamed(request, files), report.finish().0);
    };
    let settings = macula::file::load(&path, home, files, &mut report);
    let written = || {
        let text = files.read(&path, files::MAX_TEXT).ok()?;
        String::from_utf8_lossy(&text).lines().find_map(|line| {
            let value = line.strip_prefix("name:")?.split(" #").next()?.trim();
            macula::file::named(value.trim_matches(['"', '\'']))
        })
    };
    let name = settings.name.or_else(written).unwrap_or_else(|| unnamed(request, files));
    (name, report.finish().0)
}

/// The platform's name where nobody gives it one: each linked worktree of a repository has a platform of its own.
fn unnamed(request: &Request, files: &dyn Files) -> PlatformName {
    let worktree = files::linked_worktree(&request.cwd, files);
    worktree.and_then(|name| PlatformName::near(&name)).unwrap_or_default()
}

/// The macula.yaml that is read for this request, if there is one.
pub fn config_file(request: &Request, files: &dyn Files) -> Option<PathBuf> {
    find_config_file(request, files, &mut Report::new(&request.cwd))
}

/// The project's Compose file, found from the folder of the request.
pub fn project_compose_file(request: &Request, files: &dyn Files) -> Option<PathBuf> {
    discover::compose_file(&request.cwd, files)
}

/// What the environment says stands above the file.
fn cluster_settings(mut settings: ClusterSettings, request: &Request) -> ClusterSettings {
    let variable = |name: &str| request.env.get(name).filter(|value| !value.is_empty()).cloned();
    settings.program = variable("MACULA_KIND").or(settings.program);
    settings.node_image = variable("MACULA_NODE_IMAGE").or(settings.node_image);
    settings
}

/// `--file`, `./macula.yaml`, then the one in the configuration folder.
fn find_config_file(request: &Request, files: &dyn Files, report: &mut Report) -> Option<PathBuf> {
    if let Some(given) = &request.file {
        let path = files::join(&request.cwd, given);
        if files.exists(&path) {
            return Some(path);
        }
        let file = report.file(&path);
        report.error_help(
            Span::whole(file),
            "there is no such file",
            "check --file; without it ./macula.yaml is taken if it is there",
        );
        return None;
    }
    discover::nearest(&MACULA_FILES, &request.cwd, files).or_else(|| {
        let folder = request.config_folder.as_ref()?;
        MACULA_FILES.map(|name| folder.join(name)).into_iter().find(|path| files.exists(path))
    })
}

const MACULA_FILES: [&str; 2] = ["macula.yaml", "macula.yml"];

/// The project's Compose file, if nobody names the stacks: a macula.yaml in the project does, unless it says
/// `discover: true`.
fn discovered(
    request: &Request,
    settings: &Settings,
    config_file: Option<&Path>,
    files: &dyn Files,
) -> Option<PathBuf> {
    let general = |file: &Path| request.config_folder.as_deref() == file.parent();
    let wanted = settings.discover.unwrap_or_else(|| config_file.is_none_or(general));
    if !request.discover || !wanted || request.only_built_in {
        return None;
    }
    let last = || request.project.clone().filter(|project| files.exists(project));
    let found = discover::compose_file(&request.cwd, files).or_else(last)?;
    // a file that is named is a stack like any other, unless the file asks for both
    if settings.discover == Some(true) {
        return Some(found);
    }
    let is_named = |path: PathBuf| path == found || Some(path.as_path()) == found.parent();
    let named = settings.stacks.iter().map(|(path, _)| path.clone());
    let given = request.stacks.iter().map(|path| files::join(&request.cwd, path));
    (!named.chain(given).any(is_named)).then_some(found)
}

/// Two files in one folder that both could be its stack, unless they say the same.
fn warn_of_another(taken: &Path, other: &Path, files: &dyn Files, report: &mut Report) {
    let text = |path: &Path| files.read(path, files::MAX_TEXT).ok();
    if text(taken) == text(other) {
        return;
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (taken, left) = (name(taken), name(other));
    let span = Span::whole(report.file(other));
    report.warn(
        span,
        format!("{left} is not read: {taken} lies in the same folder and goes before it"),
        format!("remove one of them, or name the one you mean: `stacks: [{left}]` in macula.yaml, or `COMPOSE_FILE={left}` in .env"),
    );
}

/// The name and the zone of the platform.
fn identity(request: &Request, settings: &Settings, files: &dyn Files) -> (PlatformName, String) {
    let in_file = settings.name.clone().unwrap_or_default();
    let name = request.name.clone().or_else(|| settings.name.clone()).unwrap_or_else(|| unnamed(request, files));
    let domain = match &settings.domain {
        // a second platform from the same file needs a zone of its own
        Some(domain) if name != in_file => name.domain_below(domain),
        Some(domain) => domain.clone(),
        None => name.domain(),
    };
    (name, domain)
}

/// All stacks in their order: the built-in ones, those of macula.yaml, those of the command line.
fn sources<'a>(
    request: &Request,
    settings: &Settings,
    variables: &BTreeMap<String, String>,
    files: &dyn Files,
    built_in: &[(&'a str, &'a str)],
    project: Option<&Path>,
    report: &mut Report,
) -> Vec<compose::Source<'a>> {
    let mut out: Vec<compose::Source<'a>> = Vec::new();
    for (file, text) in built_in {
        out.push(built_in_source(request, variables, files, file, text, report));
    }
    let command_line = report.file(Path::new("--stack"));
    let given = settings
        .stacks
        .iter()
        .map(|(path, span)| (path.clone(), *span))
        .chain(request.stacks.iter().map(|path| (files::join(&request.cwd, path), Span::whole(command_line))))
        .chain(project.and_then(Path::parent).map(|folder| (folder.to_owned(), Span::whole(command_line))));
    for (path, span) in given.filter(|_| !request.only_built_in) {
        let folder = if files.is_folder(&path) { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
        let mut env = ProjectEnv::read(&folder, &request.cwd, variables, files, report);
        let paths = if files.exists(&path) {
            // a file that is named stands for itself
            env.paths.clear();
            vec![path.clone()]
        } else if !env.paths.is_empty() {
            env.paths.clone()
        } else if files.is_folder(&path) {
            let mut there =
                compose::FILE_NAMES.map(|name| path.join(name)).into_iter().filter(|path| files.exists(path));
            match there.next() {
                Some(file) => {
                    there.for_each(|other| warn_of_another(&file, &other, files, report));
                    vec![file]
                }
                None => {
                    report.error_help(
                        span,
                        format!("there is no Compose file in {}", path.display()),
                        format!("it should have one of {}", listed(compose::FILE_NAMES, "or")),
                    );
                    continue;
                }
            }
        } else {
            report.error_help(
                span,
                format!("there is no stack at {}", path.display()),
                "name a Compose file, or a folder with a compose.yaml",
            );
            continue;
        };
        if out.iter().any(|source| source.paths == paths) {
            continue;
        }
        // as in Compose: of several files, paths count from the folder of the first
        let Some(file) = paths.first().cloned() else { continue };
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let folder_name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = match project_name(folder_name) {
            name if name.is_empty() => "stack".to_owned(),
            name => name,
        };
        out.push(compose::Source { origin: Origin::File(file), paths, text: None, folder, name, env });
    }
    out
}

/// A built-in stack, or the one that the user's configuration folder has in its place.
fn built_in_source<'a>(
    request: &Request,
    variables: &BTreeMap<String, String>,
    files: &dyn Files,
    file: &str,
    text: &'a str,
    report: &mut Report,
) -> compose::Source<'a> {
    let name = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file).to_owned();
    let own = request.config_folder.as_ref().and_then(|folder| {
        ["yaml", "yml"]
            .map(|ending| folder.join("stacks").join(format!("{name}.{ending}")))
            .into_iter()
            .find(|path| files.exists(path))
    });
    match own {
        Some(path) => {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            let env = ProjectEnv::read(&folder, &request.cwd, variables, files, report);
            let env = ProjectEnv { name: None, ..env };
            compose::Source { origin: Origin::File(path.clone()), paths: vec![path], text: None, folder, name, env }
        }
        None => compose::Source {
            paths: vec![PathBuf::from(format!("built-in:{file}"))],
            text: Some(text),
            folder: PathBuf::from("/"),
            name,
            origin: Origin::BuiltIn,
            // it has no folder in which the user could say anything
            env: ProjectEnv { variables: variables.clone(), ..ProjectEnv::default() },
        },
    }
}

/// The model of a project.
fn stack(
    project: &Project,
    source: &compose::Source<'_>,
    request: &Request,
    files: &dyn Files,
    report: &mut Report,
) -> Stack {
    let mut services = compose::service::services(project, files, report);
    let templates = Templates {
        files,
        beside: source.text.is_none().then_some(source.folder.as_path()),
        own: request.config_folder.as_ref().map(|folder| folder.join("templates")),
    };
    for (name, entry) in project.services() {
        if let Some(service) = services.get_mut(name) {
            service.extension = extension::build(&entry.node, name, &templates, report);
            let counted = entry.node.get("scale").is_some()
                || entry.node.get("deploy").is_some_and(|deploy| deploy.get("replicas").is_some());
            if let Some(scale) = service.extension.scale.filter(|_| !counted) {
                service.replicas = scale.min;
            }
        }
    }
    Stack {
        name: project.name.clone(),
        origin: project.origin.clone(),
        scoped: false,
        services,
        networks: compose::service::networks(project),
        volumes: compose::service::volumes(project),
    }
}

/// What container engines accept at the least: bytes.
const LEAST_MEMORY: i64 = 6 << 20;

/// `services` of macula.yaml: changes to those that take part.
fn apply_changes(
    changes: &BTreeMap<String, ServiceChange>,
    stacks: &mut [loaded::Loaded],
    selection: &Selection,
    report: &mut Report,
) {
    for (name, change) in changes {
        let Some(service) = stacks.iter_mut().find_map(|loaded| loaded.stack.services.get_mut(name)) else {
            // a service of a profile that is not active is changed when it is
            if !selection.is_inactive(name) && !selection.is_off(name) {
                let known: Vec<&str> =
                    stacks.iter().flat_map(|loaded| loaded.stack.services.keys().map(String::as_str)).collect();
                report.error_help(
                    change.span,
                    format!("services: no stack has a service `{name}`"),
                    suggestion(name, known),
                );
            }
            continue;
        };
        if change.image.is_some() {
            service.image.clone_from(&change.image);
        }
        for (variable, value) in &change.environment {
            match value {
                Some(value) => service.environment.insert(variable.clone(), value.clone()),
                None => service.environment.remove(variable),
            };
        }
        if change.memory.is_some_and(|bytes| bytes < LEAST_MEMORY) {
            report.error_help(
                change.span,
                format!("services.{name}.memory: no container runs with less than 6m"),
                "write a unit: 512m, 1g",
            );
        } else if change.memory.is_some() {
            service.options.resources.memory = change.memory;
        }
    }
}

#[cfg(test)]
mod tests;
