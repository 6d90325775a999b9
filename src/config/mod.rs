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
mod scale;
mod scope;
mod selection;
mod sources;
mod tasks;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use catalog::catalog;
pub use compose::canonical::canonical;
pub use compose::{Project, Said};
#[cfg(test)]
pub(crate) use compose::{extension_keys, sample_files, samples};
pub use files::{DiskFiles, Files, MemoryFiles};
pub use macula::{
    SCHEMA_FILE, compose_schema, extension_reference, in_force, init_file, lock_text, macula_yaml_reference, schema,
};
pub use project::{AddError, ProjectFile, look, with_added};
pub use scale::Scale;
pub use sources::{MACULA_FILES, config_file, passed_over, platform_name, project_compose_file, project_compose_name};
pub use yaml::{ConfigErrors, Diagnostic};

use macula::extension::{self, Templates};
use macula::file::{ServiceChange, Settings};
use macula::lock_file;
use selection::Selection;
use sources::{built_in_source, discovered, find_config_file, identity, sources};
use yaml::{Report, Span, suggestion};

use crate::model::{
    ClusterSettings, ImagePolicy, ImageSettings, Moves, Origin, Platform, PlatformName, Stack, move_ports, then_moved,
};
use crate::render;
use crate::words;

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
    /// Those of them that the last `up` had and nobody has said now: one that no service has is no error.
    pub kept_profiles: Vec<String>,
    /// Profiles of Compose alone, of services that the command line names: they choose none of the platform's.
    pub profiles_of_named: Vec<String>,
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
    /// `--scale`, of this command or of the last `up`: by service.
    pub scale: BTreeMap<String, Scale>,
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

    /// The Compose profiles that these services wait for: whoever names a service means its profile as well, as in Compose.
    pub fn profiles_of(&self, services: &[String]) -> Vec<String> {
        let unknown = services.iter().filter(|name| self.platform.service(name).is_none());
        let waiting = unknown.flat_map(|name| self.projects.iter().filter_map(|project| project.inactive.get(name)));
        words::unique(waiting.flatten().cloned())
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

    /// Where a file of the user's names a volume or a network, or says that something else makes it (`external`).
    /// `section`: `volumes` or `networks`; `name`: in the engine.
    pub fn at_named(
        &self,
        section: &str,
        name: &str,
        external: bool,
        message: impl Into<String>,
    ) -> Option<Diagnostic> {
        let files = self.projects.iter().filter(|project| matches!(project.origin, Origin::File(_)));
        let is_it = |(key, entry): &(&str, &yaml::Entry)| {
            let said = entry.node.get_text("name");
            match external {
                true => entry.node.get_bool("external") == Some(true) && said.unwrap_or(key) == name,
                false => said == Some(name),
            }
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

    let variables = variables(request, &name, &domain);
    let command_line = Span::whole(report.file(Path::new("--profile")));
    let mut asked = settings.profiles.clone();
    let (kept, said): (Vec<&String>, Vec<&String>) =
        request.profiles.iter().partition(|name| request.kept_profiles.contains(name));
    asked.extend(said.into_iter().map(|name| (name.clone(), command_line)));
    // an empty variable asks for nothing
    asked.retain(|(name, _)| !name.is_empty());
    let kept: Vec<(String, Span)> = kept.into_iter().map(|name| (name.clone(), command_line)).collect();
    let profiles: Vec<String> = asked.iter().chain(&kept).map(|(name, _)| name.clone()).collect();

    let of_compose = words::unique(profiles.iter().chain(&request.profiles_of_named).cloned());
    let around = compose::Surroundings { files, profiles: &of_compose, orchestrated: request.orchestrated };
    let discovered = discovered(request, &settings, config_file.as_deref(), files);
    let all = sources(request, &settings, &variables, files, built_in, discovered.as_deref(), &mut report);
    let read = |source: &compose::Source<'_>, built_in: bool, report: &mut Report| {
        let project = compose::load(source, &around, report)?;
        let stack = stack(&project, source, request, files, report);
        Some(loaded::Loaded { project, stack, built_in })
    };
    let mut stacks = Vec::new();
    for (at, source) in all.iter().enumerate() {
        stacks.extend(read(source, at < built_in.len(), &mut report));
    }
    for (at, (file, text)) in catalog::wanted(&settings, &stacks, &mut report).into_iter().enumerate() {
        let source = built_in_source(request, &variables, files, file, text, &mut report);
        if let Some(found) = read(&source, true, &mut report) {
            stacks.insert(built_in.len() + at, found);
        }
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
    let known_profiles = known_profiles(&stacks);
    let unused_overrides = unused_overrides(&images, &settings.services, &stacks);
    let selection = Selection::choose(&mut stacks, &settings, &asked, &kept, &mut report);
    // where a stack is to run the volumes are its own anyway
    scope::separate(&mut stacks, (!request.orchestrated).then_some(&name));
    apply_changes(&settings.services, &mut stacks, &selection, &mut report);
    // a name that nobody asked for is for this machine: elsewhere others would reach the port by it
    if !request.orchestrated {
        if let Some(project) = &discovered {
            discover::name_services(&mut stacks, project, files, &mut report);
        }
        discover::unheeded_protocols(&stacks, discovered.as_deref(), &mut report);
    }
    let remap = (request.remap || settings.remap) && !request.orchestrated;
    let moves = if remap { request.moves.clone() } else { Moves::new() };
    // for this machine, its ports and its containers; elsewhere nobody has them, and `stack scale` says how many
    if !request.orchestrated {
        scope::own_addresses(&mut stacks, &moves, &mut report);
        scope::moved_ports(&mut stacks, &moves, &mut report);
        scope::ingress_ports(&mut stacks, &settings.ingress, &domain, &mut report);
        scale::apply(&request.scale, &settings, &mut stacks, &selection, &mut report);
    }
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
    let platform = put_together(name, domain, stacks, images, &settings, request);
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

/// What files may say by a variable beside the environment.
fn variables(request: &Request, name: &PlatformName, domain: &str) -> BTreeMap<String, String> {
    let mut variables = request.env.clone();
    variables.insert("MACULA_NAME".to_owned(), name.to_string());
    variables.insert("MACULA_DOMAIN".to_owned(), domain.to_owned());
    variables.insert("MACULA_PREFIX".to_owned(), name.prefix());
    variables
}

fn known_profiles(stacks: &[loaded::Loaded]) -> BTreeSet<String> {
    let of = |loaded: &loaded::Loaded| -> Vec<String> {
        let own = loaded.stack.services.values().flat_map(|service| service.extension.profiles.iter());
        own.chain(&loaded.project.profiles).cloned().collect()
    };
    // nobody chooses it
    stacks.iter().flat_map(of).filter(|name| name != selection::ALONG).collect()
}

fn put_together(
    name: PlatformName,
    domain: String,
    stacks: Vec<Stack>,
    images: ImageSettings,
    settings: &Settings,
    request: &Request,
) -> Platform {
    Platform {
        domain,
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
        ..Platform::new(name, stacks)
    }
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

/// What the environment says stands above the file.
fn cluster_settings(mut settings: ClusterSettings, request: &Request) -> ClusterSettings {
    let variable = |name: &str| request.env.get(name).filter(|value| !value.is_empty()).cloned();
    settings.program = variable("MACULA_KIND").or(settings.program);
    settings.node_image = variable("MACULA_NODE_IMAGE").or(settings.node_image);
    settings
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
            if service.extension.secrets.contains_key(variable) {
                report.error_help(
                    change.span,
                    format!("services.{name}.environment: `{variable}` is a secret, which macula makes or passes on"),
                    "leave it out here; `macula creds` shows its value",
                );
                continue;
            }
            // what is put together for it is a value like any other
            service.extension.environment.remove(variable);
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
