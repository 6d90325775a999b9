//! What a target cannot run at all, and what only shows when several keys are looked at together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::kubernetes::{
    claim_name, has_data, is_alone, is_annotation, is_nginx, is_port_name, is_service_name, object_name, ports,
    taken_names,
};
use super::loss::Loss;
use super::swarm::is_plain;
use super::{Options, Part, Scene, Target, written};
use crate::config::Said;
use crate::model::{Condition, Mount, Service, Stack, is_dns_label, to_dns_label};

/// Something in the files with which the target cannot run the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// `compose.yaml:7:9`; empty where no file says it.
    pub place: String,
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}\n    {}", self.message, self.help)
    }
}

/// By which the objects of a service are known.
const NAME_LABEL: &str = "app.kubernetes.io/name";
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

/// A name that a swarm takes for a service: it becomes one part of a DNS name.
fn is_swarm_name(name: &str) -> bool {
    let ends = |letter: char| letter.is_ascii_alphanumeric();
    name.chars().all(|letter| ends(letter) || "-_".contains(letter)) && name.starts_with(ends) && name.ends_with(ends)
}

pub(super) fn refusals(target: Target, stack: &Stack, said: &[Said], options: &Options<'_>) -> Vec<Refusal> {
    let mut all = Vec::new();
    let namespace = options.namespace.unwrap_or(&stack.name);
    if target == Target::Kubernetes && !is_dns_label(namespace) {
        // a folder's name is in no file
        let named = said.iter().find(|one| one.path == "name" && options.namespace.is_none());
        let help = match to_dns_label(namespace) {
            near if near.is_empty() => NAME_HELP.to_owned(),
            near => format!("choose another one with `--namespace {near}`"),
        };
        all.push(Refusal {
            place: named.map(|one| one.place.clone()).unwrap_or_default(),
            message: format!("`{namespace}` cannot be the name of a namespace"),
            help,
        });
    }
    let mut refuse = |path: &str, message: String, help: &str| {
        all.push(Refusal { place: place(said, path), message, help: help.to_owned() });
    };
    let services =
        || stack.services.values().map(|service| (service.short.as_deref().unwrap_or(&service.name), service));
    match target {
        Target::Kubernetes => {
            for (name, service) in services() {
                let path = format!("services.{name}");
                if !is_service_name(name) {
                    refuse(&path, format!("`{name}` cannot be the name of a Service of Kubernetes"), NAME_HELP);
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
                if !is_swarm_name(&full) {
                    let message = format!("`{full}` cannot be the name of a service of Swarm");
                    refuse(
                        &format!("services.{name}"),
                        message,
                        "use letters, digits, dashes and underscores, with a letter or a digit at the end",
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

/// Objects of one kind and name, of which the cluster would have one alone.
pub(super) fn twice(scene: &Scene<'_>, objects: &[Value], said: &[Said]) -> Vec<Refusal> {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        by_name.entry((kind, name)).or_default().push(object);
    }
    let refusal = |((kind, name), objects): ((&str, &str), Vec<&Value>)| {
        let services = objects.iter().filter_map(|object| object["metadata"]["labels"][NAME_LABEL].as_str());
        let mut from: Vec<(String, String)> =
            services.map(|service| (format!("services.{service}"), service.to_owned())).collect();
        // a service's name is in the labels of its own objects, and in no others
        let (section, keys): (&str, Vec<&String>) = match kind {
            "PersistentVolumeClaim" => {
                let own = scene.stack.volumes.iter().filter(|(_, volume)| !volume.external).map(|(key, _)| key);
                ("volumes", own.filter(|key| claim_name(scene, key) == name).collect())
            }
            "NetworkPolicy" => {
                let all = scene.stack.networks.keys();
                ("networks", all.filter(|key| format!("network-{}", object_name(key)) == name).collect())
            }
            _ => ("", Vec::new()),
        };
        from.extend(keys.into_iter().map(|key| (format!("{section}.{key}"), key.clone())));
        let path = from.last().map(|(path, _)| path.clone()).unwrap_or_default();
        let names = crate::words::list(from.iter().map(|(_, name)| name));
        Refusal {
            place: place(said, &path),
            message: format!("`{name}` would be the name of {} objects of kind {kind}, of {names}", objects.len()),
            help: "rename one of them: underscores and dots become dashes, and what belongs to a service is named \
                   after it"
                .to_owned(),
        }
    };
    by_name.into_iter().filter(|(_, objects)| objects.len() > 1).map(refusal).collect()
}

/// Services with a name of which the cluster makes one that is too long.
pub(super) fn long(objects: &[Value], said: &[Said]) -> Vec<Refusal> {
    let refusal = |object: &Value| {
        let service = object["metadata"]["labels"][NAME_LABEL].as_str()?;
        let length = object["metadata"]["name"].as_str()?.len();
        let (most, which) = match object["kind"].as_str()? {
            // a label of its pods is its name, a dash and a hash of ten characters
            "StatefulSet" if length > 52 => (52, "a service with a volume"),
            // the one that ends with `-public`
            "Service" if length > 63 => (56, "a service with a port on all addresses"),
            _ => return None,
        };
        Some(Refusal {
            place: place(said, &format!("services.{service}")),
            message: format!("`{service}` is too long for {which} on Kubernetes"),
            help: format!("use at most {most} characters"),
        })
    };
    objects.iter().filter_map(refusal).collect()
}

/// Services that a part waits for until they are ready, and that it cannot ask: pods with data have a name at once.
fn unheard<'a>(scene: &'a Scene<'_>, part: &Part<'_>) -> Vec<&'a str> {
    let healthy = part.service.depends_on.iter();
    let healthy = healthy.filter(|(_, dependency)| dependency.condition == Condition::ServiceHealthy);
    let needed = healthy.filter_map(|(name, _)| scene.part(name));
    let needed = needed.filter(|other| !other.is_job() && has_data(other) && ports(other).is_empty());
    needed.map(|other| other.name).collect()
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

/// What of `update_config` counts for a Deployment alone, or not where a new pod finds no place.
fn replaced(part: &Part<'_>, path: &str, lose: &mut impl FnMut(String, bool, String)) {
    let Some(update) = part.service.deploy.update.as_ref().filter(|_| !part.is_job()) else { return };
    let path = format!("{path}.deploy.update_config");
    let starts_first = update.order.as_deref() == Some("start-first");
    let one_by_one = has_data(part) && !part.service.deploy.mode.is_global();
    if starts_first && one_by_one {
        let why = "pods with volumes are replaced one at a time, and each ends before its successor starts";
        lose(format!("{path}.order"), true, why.to_owned());
    } else if starts_first && is_alone(part) {
        let why = "the old pod has the port of the node, or the node, that the new one needs: it ends first";
        lose(format!("{path}.order"), true, why.to_owned());
    }
    if one_by_one && update.parallelism.is_some_and(|count| count != 1) {
        lose(format!("{path}.parallelism"), false, "pods with volumes are replaced one at a time".to_owned());
    }
}

/// What a rule says that only ingress-nginx reads from an Ingress.
fn unread(scene: &Scene<'_>, part: &Part<'_>, said: &[Said], lose: &mut impl FnMut(String, bool, String)) {
    for (index, rule) in part.service.extension.ingress.iter().enumerate() {
        let whole = format!("services.{}.x-macula.ingress", part.name);
        let listed = format!("{whole}[{index}]");
        // a single rule need not be in a list
        let path = if said.iter().any(|one| one.path.starts_with(&listed)) { listed } else { whole };
        let waits = rule.response_timeout.is_some_and(|timeout| !timeout.is_zero());
        let keys = [
            ("auth", rule.auth.is_some(), true),
            ("strip", rule.strip && rule.path != "/", true),
            ("grpc", rule.grpc, true),
            ("tls", rule.tls, true),
            ("sticky", rule.sticky, true),
            ("body_size", rule.body_size.is_some_and(|size| size > 0), false),
            ("response_timeout", waits, false),
        ];
        for (key, _, behavior) in keys.into_iter().filter(|(_, is_said, _)| *is_said) {
            let class = &scene.platform.cluster.ingress;
            let why =
                format!("{class} does not read it from an Ingress; use `cluster: {{ingress: nginx}}` in macula.yaml");
            lose(format!("{path}.{key}"), behavior, why);
        }
    }
}

/// What is lost although no single key says so.
pub(super) fn losses(target: Target, scene: &Scene<'_>, said: &[Said]) -> Vec<Loss> {
    let mut all = Vec::new();
    let mut lose = |path: String, behavior: bool, why: String| {
        all.push(Loss { place: place(said, &path), path, why, behavior });
    };
    let sized = scene.stack.volumes.iter().filter(|(_, volume)| volume.driver_opts.contains_key("size"));
    for (key, _) in sized.filter(|(_, volume)| target == Target::Swarm && is_plain(volume)) {
        let why = "`size` is left out: a volume of a node is as large as its disk".to_owned();
        lose(format!("volumes.{key}.driver_opts"), false, why);
    }
    for part in &scene.parts {
        let path = format!("services.{}", part.name);
        // a job is healthy when it has ended well
        let is_job = |name: &str| scene.part(name).is_some_and(Part::is_job);
        let ends = part.service.depends_on.iter().filter(|(name, dependency)| match dependency.condition {
            Condition::ServiceCompletedSuccessfully => true,
            Condition::ServiceHealthy => is_job(name),
            Condition::ServiceStarted => false,
        });
        if part.service.entrypoint.as_ref().is_some_and(Vec::is_empty)
            && part.words().0.is_none_or(<[String]>::is_empty)
        {
            let why = "an empty entrypoint leaves the image's own out only with a `command` in its place; write one";
            lose(format!("{path}.entrypoint"), true, why.to_owned());
        }
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
            let taken = taken_names(scene, part);
            for (network, joined) in &part.service.networks {
                for alias in &joined.aliases {
                    let why = if taken.contains(alias.as_str()) {
                        format!("`{alias}` is the name of another service, and leads to that one alone")
                    } else if !is_service_name(alias) {
                        format!(
                            "`{alias}` cannot be the name of a Service, and leads nowhere there: write lower-case \
                             letters, digits and dashes"
                        )
                    } else {
                        continue;
                    };
                    lose(format!("{path}.networks.{network}.aliases"), true, why);
                }
            }
            replaced(part, &path, &mut lose);
            if !is_nginx(scene) {
                unread(scene, part, said, &mut lose);
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
            // one that is external is there already
            let filled = filled.filter(|key| scene.stack.volumes.get(*key).is_none_or(|volume| !volume.external));
            for volume in filled.collect::<BTreeSet<_>>() {
                let why = format!("the volume {volume} begins empty, also where the image has files in its place");
                lose(format!("{path}.volumes"), false, why);
            }
        }
        let nameless = part.service.mounts.iter().filter(|mount| matches!(mount, Mount::Volume { source: None, .. }));
        for mount in nameless {
            let what = if target == Target::Swarm { "task" } else { "pod" };
            let why = format!("what is written to {} goes with its {what}; give the volume a name", mount.target());
            lose(format!("{path}.volumes"), false, why);
        }
        if target == Target::Swarm {
            let deploy = &part.service.deploy;
            let keys = [("update_config", deploy.update.is_some()), ("rollback_config", deploy.rollback.is_some())];
            for (key, _) in keys.into_iter().filter(|(_, is_said)| *is_said && part.is_job()) {
                lose(format!("{path}.deploy.{key}"), false, "a job is replaced at once".to_owned());
            }
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
