//! What a target cannot run at all, and what only shows when several keys are looked at together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::kubernetes::{has_data, is_annotation, is_port_name, object_name, ports};
use super::loss::Loss;
use super::{Options, Part, Scene, Target, written};
use crate::config::Said;
use crate::model::{Condition, Mount, Service, Stack, is_dns_label};

/// Something in the files with which the target cannot run the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// `compose.yaml:7:9`
    pub place: String,
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.message, self.help)
    }
}

const NAME_HELP: &str = "use at most 63 lower-case letters, digits and inner dashes, with a letter first";

/// Where something of the stack is said, or the stack itself.
fn place(said: &[Said], path: &str) -> String {
    let below = |one: &&Said| {
        one.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    said.iter().find(below).or_else(|| said.first()).map(|one| one.place.clone()).unwrap_or_default()
}

/// A name that Kubernetes takes for a Service, whose rule is the strictest.
fn is_service_name(name: &str) -> bool {
    is_dns_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase())
}

pub(super) fn refusals(target: Target, stack: &Stack, said: &[Said], options: &Options<'_>) -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut refuse = |path: &str, message: String, help: &str| {
        all.push(Refusal { place: place(said, path), message, help: help.to_owned() });
    };
    let services =
        || stack.services.values().map(|service| (service.short.as_deref().unwrap_or(&service.name), service));
    match target {
        Target::Kubernetes => {
            let namespace = options.namespace.unwrap_or(&stack.name);
            if !is_dns_label(namespace) {
                refuse("name", format!("`{namespace}` cannot be the name of a namespace"), NAME_HELP);
            }
            for (name, service) in services() {
                let path = format!("services.{name}");
                if !is_service_name(name) {
                    refuse(&path, format!("`{name}` cannot be the name of a Service of Kubernetes"), NAME_HELP);
                }
                for (network, joined) in &service.networks {
                    for alias in joined.aliases.iter().filter(|alias| !is_service_name(alias)) {
                        let path = format!("{path}.networks.{network}.aliases");
                        refuse(&path, format!("`{alias}` cannot be the name of a Service of Kubernetes"), NAME_HELP);
                    }
                }
                scaled(name, service, &mut refuse);
                shared(name, service, &mut refuse);
                of_nodes(name, service, &mut refuse);
            }
            // the claim has the name that the volume has, where that is another one
            let declared = stack.volumes.iter().map(|(key, volume)| (key, volume.name.as_ref().unwrap_or(key)));
            for (key, name) in declared.filter(|(key, name)| key != name && !is_dns_label(&object_name(name))) {
                let message = format!("`{name}` cannot be the name of an object of Kubernetes");
                refuse(&format!("volumes.{key}"), message, NAME_HELP);
            }
            let named = stack.volumes.keys().map(|name| ("volumes", name));
            let named = named.chain(stack.networks.keys().map(|name| ("networks", name)));
            for (section, name) in named.filter(|(_, name)| !is_dns_label(&object_name(name))) {
                let message = format!("`{name}` cannot be the name of an object of Kubernetes");
                refuse(&format!("{section}.{name}"), message, NAME_HELP);
            }
        }
        Target::Swarm => {
            for (name, service) in services() {
                let full = format!("{}_{name}", stack.name);
                if full.len() > 63 {
                    let message = format!("`{full}` is too long for the name of a service of Swarm");
                    refuse(
                        &format!("services.{name}"),
                        message,
                        "use at most 63 characters, the stack's name included",
                    );
                }
                if service.image.is_none() && service.build.is_none() {
                    refuse(&format!("services.{name}"), format!("{name} has no image"), "give it `image` or `build`");
                }
            }
        }
    }
    all
}

/// What an autoscaler cannot do.
fn scaled(name: &str, service: &Service, refuse: &mut impl FnMut(&str, String, &str)) {
    if service.extension.scale.is_none() {
        return;
    }
    let path = format!("services.{name}.x-macula.scale");
    if service.deploy.reserved_cpus.is_none() && service.options.resources.nano_cpus.is_none() {
        refuse(
            &path,
            format!("{name} is to be scaled by its CPU, of which it reserves none"),
            "set `deploy.resources.reservations.cpus`, such as \"0.1\"",
        );
    }
    if service.deploy.mode.is_global() {
        refuse(&path, format!("{name} is one a node and cannot be scaled"), "remove `scale`, or `deploy.mode`");
    }
}

/// Two replicas that write one volume would be two pods that write one disk.
fn shared(name: &str, service: &Service, refuse: &mut impl FnMut(&str, String, &str)) {
    let most = service.extension.scale.map_or(service.replicas, |scale| scale.max.max(service.replicas));
    if most < 2 && !service.deploy.mode.is_global() {
        return;
    }
    for volume in written(service) {
        refuse(
            &format!("services.{name}.volumes"),
            format!("several replicas of {name} write the volume {volume}"),
            "run one replica, make the volume read_only, or keep the data in a service of its own",
        );
    }
}

/// A port of a container is one port of the node at the most: server-side apply knows it by its number.
fn of_nodes(name: &str, service: &Service, refuse: &mut impl FnMut(&str, String, &str)) {
    let mut seen = BTreeSet::new();
    for port in service.ports.iter().filter(|port| port.host_mode && port.published.is_some()) {
        if !seen.insert((port.target, port.protocol.to_string())) {
            refuse(
                &format!("services.{name}.ports"),
                format!("several ports of the nodes lead to port {} of {name}", port.target),
                "publish it under one number",
            );
        }
    }
}

/// Services that a part waits for until they are ready, and that it cannot ask: pods with data have a name at once.
fn unheard<'a>(scene: &'a Scene<'_>, part: &Part<'_>) -> Vec<&'a str> {
    let healthy = part.service.depends_on.iter();
    let healthy = healthy.filter(|(_, dependency)| dependency.condition == Condition::ServiceHealthy);
    let needed = healthy.filter_map(|(name, _)| scene.part(name));
    needed.filter(|other| has_data(other) && ports(other).is_empty()).map(|other| other.name).collect()
}

/// What becomes annotations of a part's objects, and where it is said.
fn annotated<'a>(part: &Part<'a>) -> [(&'static str, &'a BTreeMap<String, String>); 3] {
    let service = part.service;
    [
        ("labels", &service.labels),
        ("annotations", &service.options.annotations),
        ("deploy.labels", &service.deploy.labels),
    ]
}

/// What is lost although no single key says so.
pub(super) fn losses(target: Target, scene: &Scene<'_>, said: &[Said]) -> Vec<Loss> {
    let mut all = Vec::new();
    let mut lose = |path: String, behavior: bool, why: String| {
        all.push(Loss { place: place(said, &path), path, why, behavior });
    };
    for part in &scene.parts {
        let path = format!("services.{}", part.name);
        let ends = part
            .service
            .depends_on
            .iter()
            .filter(|(_, dependency)| dependency.condition == Condition::ServiceCompletedSuccessfully);
        if target == Target::Kubernetes && scene.options.waiting.is_some() {
            for (name, _) in ends {
                let name = scene.short(name);
                let why = format!("files cannot wait for the end of {name}; apply its Job first");
                lose(format!("{path}.depends_on.{name}"), true, why);
            }
        }
        if target == Target::Kubernetes && part.service.healthcheck.as_ref().is_some_and(|check| check.test.is_empty())
        {
            let why = "a pod does not know the image's own check; write `test`".to_owned();
            lose(format!("{path}.healthcheck"), true, why);
        }
        if target == Target::Kubernetes {
            for name in part.service.ports.iter().filter_map(|port| port.name.as_ref()) {
                if !is_port_name(name) {
                    let why = format!("`{name}` cannot be the name of a port; it is named by its number");
                    lose(format!("{path}.ports"), false, why);
                }
            }
            if let Some(name) = part.service.options.hostname.as_ref().filter(|name| !is_dns_label(name)) {
                let why =
                    format!("`{name}` cannot be the host name of a pod: write lower-case letters, digits and dashes");
                lose(format!("{path}.hostname"), true, why);
            }
            for (below, labels) in annotated(part) {
                for key in labels.keys().filter(|key| !is_annotation(key)) {
                    let why = format!("`{key}` cannot be the name of an annotation; it is left out");
                    lose(format!("{path}.{below}"), false, why);
                }
            }
            for name in unheard(scene, part) {
                let why = format!(
                    "nothing says on which port {name} listens, so that this waits until its pod is there; name the \
                     port under `expose` of {name}"
                );
                lose(format!("{path}.depends_on.{name}"), true, why);
            }
            let filled = part.service.mounts.iter().filter_map(|mount| match mount {
                Mount::Volume { source: Some(source), no_copy: false, .. } => Some(source),
                _ => None,
            });
            for volume in filled.collect::<BTreeSet<_>>() {
                let why = format!("the volume {volume} begins empty, also where the image has files in its place");
                lose(format!("{path}.volumes"), false, why);
            }
        }
        if target == Target::Swarm {
            for (mount, volume) in part.service.mounts.iter().filter_map(|mount| match mount {
                Mount::Volume { source: Some(source), .. } => Some((mount, source)),
                _ => None,
            }) {
                let pinned = !part.service.deploy.constraints.is_empty();
                let local = scene
                    .stack
                    .volumes
                    .get(volume)
                    .is_none_or(|declared| declared.driver.as_deref().is_none_or(|driver| driver == "local"));
                if local && !pinned {
                    let why = format!(
                        "the volume {volume} is another one on each node; pin the service by \
                         `deploy.placement.constraints`, or use a driver for several nodes ({})",
                        mount.target()
                    );
                    lose(format!("{path}.volumes"), false, why);
                }
            }
        }
    }
    all
}
