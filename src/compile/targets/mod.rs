//! A stack for other engines than this machine's: as services of a swarm, or as objects of Kubernetes. Pure: the
//! same files give the same text.
//!
//! What containers are is said once, by [`super::compile`]: environment, rendered files and images are the ones that
//! the engine would get. What the target has no word for is in the list of [`Loss`]es; what cannot be at all is in the
//! list of [`Refusal`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::Value;

use super::{Block, CompileError, Site};
use crate::config::Said;
use crate::model::{
    ContainerSpec, EngineKind, Facts, FileSpec, Fingerprint, Mount, Platform, SecretSource, Secrets, Service, Stack,
    is_on_loopback, split_registry,
};

mod check;
mod fate;
mod kubernetes;
mod loss;
mod placement;
mod rules;
mod swarm;

pub use check::Refusal;
pub use loss::{Loss, losses_page};
pub use swarm::*;

/// Where a stack runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Swarm,
    Kubernetes,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Swarm => "Swarm",
            Self::Kubernetes => "Kubernetes",
        })
    }
}

/// What decides how a stack is written for a target.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// The image of init containers that wait for other services; `None`: whoever applies the objects waits.
    pub waiting: Option<&'a str>,
    /// Host of the registry that has the images which the stack builds.
    pub registry: &'a str,
    /// Kubernetes's namespace; `None`: the stack's name.
    pub namespace: Option<&'a str>,
    /// The contents of secrets are left out: others may read what is written.
    pub hidden: bool,
    pub version: &'a str,
}

/// A stack as a target has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendered {
    /// Objects of Kubernetes, in the order in which they are applied.
    Kubernetes(Vec<Value>),
    Swarm(Box<SwarmStack>),
}

/// A stack for a target, and what was lost on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    pub rendered: Rendered,
    pub losses: Vec<Loss>,
    /// Services in an order in which each comes after those that it depends on.
    pub order: Vec<String>,
    /// What has to be in the registry: the image as it is called here, and as the target pulls it.
    pub pushed: BTreeMap<String, String>,
    /// The services that each one waits for.
    pub waits: BTreeMap<String, Vec<String>>,
    /// Services by the image that they build, as it is called here.
    pub builders: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetError {
    #[error("the stack cannot run on {target}")]
    Refused { target: Target, refusals: Vec<Refusal> },
    #[error("the stack cannot be compiled")]
    Compile(Vec<CompileError>),
}

/// A value for each secret that says which one it is, for files that others may read.
pub fn placeholders(platform: &Platform) -> Secrets {
    let mut secrets = Secrets::default();
    for (_, service) in platform.services() {
        for (variable, source) in &service.extension.secrets {
            let (owner, key) = match source {
                SecretSource::From { service, key } => (service, key),
                SecretSource::Generate(_) => (&service.name, variable),
            };
            secrets.set(&service.name, variable, format!("(secret {owner}.{key})"));
        }
    }
    secrets
}

/// What stands in place of the content of a secret file in files that others may read.
pub const HIDDEN: &str = "(secret)";

/// One service of the stack, as files and as the container that the engine would make.
pub(super) struct Part<'a> {
    /// Its name inside the stack.
    pub name: &'a str,
    pub service: &'a Service,
    pub spec: &'a ContainerSpec,
    /// As the target pulls it.
    pub image: String,
    /// `restart` is said: what nobody says is `no` as well.
    pub restart_said: bool,
}

impl Part<'_> {
    fn is_job(&self) -> bool {
        self.spec.readiness.one_shot || self.service.deploy.mode.is_job()
    }

    /// What is run in place of the image's entrypoint, and with which arguments. To both targets an empty entrypoint is
    /// that of the image; in the files it is none, so that the command is all that is run.
    fn words(&self) -> (Option<&[String]>, Option<&[String]>) {
        let (entrypoint, command) = (self.service.entrypoint.as_deref(), self.service.command.as_deref());
        match entrypoint {
            Some([]) => (command, None),
            entrypoint => (entrypoint, command),
        }
    }

    /// Whether a variable's value is known to nobody but the platform.
    fn is_secret(&self, variable: &str) -> bool {
        let extension = &self.service.extension;
        extension.secrets.contains_key(variable) || extension.environment.contains_key(variable)
    }

    /// Name and value; what the container is not to get from its image has none.
    fn environment(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.spec.env.iter().map(|line| match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.as_str(), None),
        })
    }
}

/// Everything that a target's writer may look at.
pub(super) struct Scene<'a> {
    pub stack: &'a Stack,
    pub platform: &'a Platform,
    pub parts: Vec<Part<'a>>,
    pub options: &'a Options<'a>,
    pub namespace: &'a str,
}

impl Scene<'_> {
    /// A service's name inside the stack, by its name in the platform.
    fn short<'b>(&'b self, name: &'b str) -> &'b str {
        self.part(name).map_or(name, |part| part.name)
    }

    fn part(&self, name: &str) -> Option<&Part<'_>> {
        self.parts.iter().find(|part| part.service.name == name)
    }
}

/// A stack for a target. `said`: what its files say, key by key. `secrets` has to hold those of all services.
///
/// # Errors
/// Everything that the target cannot run at all, or everything that is wrong with the files' templates, at once.
pub fn translate(
    target: Target,
    platform: &Platform,
    stack: &Stack,
    said: &[Said],
    secrets: &Secrets,
    options: &Options<'_>,
) -> Result<Translation, TargetError> {
    let said: Vec<Said> = said.iter().filter(|one| takes_part(stack, one)).cloned().collect();
    let refusals = check::refusals(target, stack, &said, options);
    if !refusals.is_empty() {
        return Err(TargetError::Refused { target, refusals });
    }
    let mut all = platform.clone();
    for service in all.stacks.iter_mut().flat_map(|stack| stack.services.values_mut()) {
        // a service without containers is one of the target as well
        service.replicas = service.replicas.max(1);
    }
    let facts = facts(target);
    let site = Site {
        facts: &facts,
        subnet: Ipv4Net::new(Ipv4Addr::new(10, 222, 0, 0), 24).unwrap_or_default(),
        block: Block::DEFAULT,
        secrets,
        certificate: None,
        version: options.version,
        resolver: false,
        held: &[],
    };
    let mut resources = super::compile(&all, &site).map_err(TargetError::Compile)?;
    if options.hidden {
        hide(stack, &mut resources.containers);
    }
    // a service may run what another one builds
    let builds = |service: &&Service| service.build.is_some();
    let built: BTreeSet<&str> = stack
        .services
        .values()
        .filter(builds)
        .filter_map(|service| resources.containers.iter().find(|spec| spec.service == service.name))
        .map(|spec| spec.image.as_str())
        .collect();
    let mut pushed = BTreeMap::new();
    let parts: Vec<Part<'_>> = stack
        .services
        .values()
        .filter_map(|service| {
            let spec = resources.containers.iter().find(|spec| spec.service == service.name)?;
            let image = match built.contains(spec.image.as_str()) {
                true => in_registry(&spec.image, options.registry),
                false => spec.image.clone(),
            };
            if built.contains(spec.image.as_str()) {
                pushed.insert(spec.image.clone(), image.clone());
            }
            let name = service.short.as_deref().unwrap_or(&service.name);
            let restart = |one: &Said| one.key == "services.*.restart" && one.service.as_deref() == Some(name);
            Some(Part { name, service, spec, image, restart_said: said.iter().any(restart) })
        })
        .collect();
    let scene = Scene { stack, platform, parts, options, namespace: options.namespace.unwrap_or(&stack.name) };
    let rendered = match target {
        Target::Kubernetes => Rendered::Kubernetes(kubernetes::objects(&scene)),
        Target::Swarm => Rendered::Swarm(Box::new(swarm::stack(&scene))),
    };
    if let Rendered::Kubernetes(objects) = &rendered {
        let mut refusals = check::twice(&scene, objects, &said);
        refusals.extend(check::long(objects, &said));
        if !refusals.is_empty() {
            return Err(TargetError::Refused { target, refusals });
        }
    }
    let mut losses = loss::losses(target, &said);
    // a job is tried again as it says
    let jobs: Vec<String> = scene.parts.iter().filter(|part| part.is_job()).map(|part| part.name.to_owned()).collect();
    losses.retain(|loss| !jobs.iter().any(|job| loss.path == format!("services.{job}.restart")));
    losses.extend(check::losses(target, &scene, &said));
    if target == Target::Swarm && options.waiting.is_none() {
        kept_in_order(&mut losses);
    }
    let waits = scene.parts.iter().map(|part| {
        let needed = part.service.depends_on.keys().filter_map(|name| scene.part(name));
        (part.name.to_owned(), needed.map(|needed| needed.name.to_owned()).collect())
    });
    let waits = waits.collect();
    let builders = scene.parts.iter().filter(|part| part.service.build.is_some());
    let builders = builders.map(|part| (part.spec.image.clone(), part.service.name.clone())).collect();
    Ok(Translation { rendered, losses, order: order(&scene), pushed, waits, builders })
}

/// Whoever applies the services waits for those that each needs; a task that is started again later waits for none.
fn kept_in_order(losses: &mut [Loss]) {
    for loss in losses.iter_mut().filter(|loss| loss.behavior && loss.path.split('.').nth(2) == Some("depends_on")) {
        loss.behavior = false;
        loss.why =
            "it counts while the stack is deployed; a task that is started again later waits for nobody".to_owned();
    }
}

/// Takes the contents of Compose's `secrets` out of the containers' files. Those of `x-macula` hold placeholders.
fn hide(stack: &Stack, containers: &mut [ContainerSpec]) {
    for spec in containers {
        let Some(service) = stack.services.values().find(|service| service.name == spec.service) else { continue };
        for file in &mut spec.files {
            if service.files.iter().any(|secret| secret.secret && secret.target == file.path) {
                file.content = HIDDEN.into();
            }
        }
    }
}

/// Keys of services that a profile leaves out have no part in it.
fn takes_part(stack: &Stack, said: &Said) -> bool {
    let Some(name) = &said.service else { return true };
    stack.services.values().any(|service| service.short.as_ref().unwrap_or(&service.name) == name)
}

/// The same image in a registry that nodes reach: one of this machine alone is none.
fn in_registry(image: &str, registry: &str) -> String {
    let (host, path) = split_registry(image);
    let explicit = image.starts_with(&format!("{host}/"));
    match explicit && !is_on_loopback(host) {
        true => image.to_owned(),
        false => format!("{registry}/{}", path.strip_prefix("library/").filter(|_| !explicit).unwrap_or(&path)),
    }
}

/// What is known of engines that nobody has asked: nothing of it gets into what is written.
fn facts(target: Target) -> Facts {
    Facts { published: false, ..Facts::of(target.to_string(), EngineKind::Docker) }
}

/// Each service after those that it depends on; `config` has refused circles.
fn order(scene: &Scene<'_>) -> Vec<String> {
    let mut left: Vec<&Part<'_>> = scene.parts.iter().collect();
    let mut order: Vec<String> = Vec::new();
    while !left.is_empty() {
        let waits = |part: &&&Part<'_>| {
            part.service.depends_on.keys().any(|name| left.iter().any(|other| other.service.name == *name))
        };
        let (waiting, ready): (Vec<&Part<'_>>, Vec<&Part<'_>>) = left.iter().partition(waits);
        let (ready, waiting) = if ready.is_empty() { (waiting, Vec::new()) } else { (ready, waiting) };
        order.extend(ready.iter().map(|part| part.name.to_owned()));
        left = waiting;
    }
    order
}

/// A short hash: another content is another name.
fn hash(content: &impl Serialize) -> String {
    let whole = Fingerprint::of(content).0;
    whole.get(..10).unwrap_or(&whole).to_owned()
}

/// A file's content as text, where it is text.
fn text_of(file: &FileSpec) -> Option<&str> {
    std::str::from_utf8(&file.content).ok()
}

/// Volumes by their name in the stack that a service writes to.
fn written(service: &Service) -> impl Iterator<Item = &str> {
    service.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { source: Some(source), read_only: false, .. } => Some(source.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
