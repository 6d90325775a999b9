//! What no single file can know: that names meet, that references lead somewhere, and that no two
//! services want the same thing.

mod shared;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::config::compose::service::is_provided;
use crate::config::loaded::Loaded;
use crate::config::selection::{Off, Selection};
use crate::config::yaml::{Report, Span, listed, nearest, suggestion};
use crate::model::{
    IngressSettings, Mount, PlatformName, PublishedPort, Role, SecretSource, Service, has_empty_part, in_lower_case,
};

/// All checks, in one go. Dependencies on services that are left out, and need not be there, go.
pub(super) fn check(
    stacks: &mut [Loaded],
    selection: &Selection,
    platform: &PlatformName,
    domain: &str,
    ingress: &IngressSettings,
    report: &mut Report,
) {
    names(stacks, report);
    resources(stacks, report);
    shared::resources(stacks, platform, report);
    needed(stacks, &selection.off, report);
    dependencies(stacks, selection, report);
    circles(stacks, report);
    built_from(stacks, report);
    for loaded in stacks.iter() {
        for (name, service) in &loaded.stack.services {
            one_service(loaded, name, service, report);
        }
    }
    shared::containers(stacks, report);
    shared::published(stacks, ingress, report);
    shared::never_done(stacks, report);
    shared::unpublished(stacks, report);
    shared::said_twice(stacks);
    shared::hosts(stacks, domain, report);
    shared::inside(stacks, report);
    shared::secrets(stacks, selection, report);
    shared::access_keys(stacks, report);
}

/// Names are what they may be, and nothing is there twice.
fn names(stacks: &[Loaded], report: &mut Report) {
    let allowed = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let mut stack_names: HashMap<&str, Span> = HashMap::new();
    let mut services: HashMap<&str, (&str, Span)> = HashMap::new();
    for loaded in stacks {
        for section in ["services", "networks", "volumes", "secrets", "configs"] {
            for (name, entry) in loaded.project.root.entries(section).filter(|(name, _)| !allowed(name)) {
                report.error_help(
                    entry.key,
                    format!("{section}: `{name}` is not a valid name"),
                    "letters, digits, `.`, `_` and `-`",
                );
            }
        }
        let span = loaded.project.root.get("name").map_or(loaded.project.root.span, |node| node.span);
        if let Some(first) = stack_names.insert(&loaded.stack.name, span) {
            let place = report.place(first);
            report.error_help(
                span,
                format!("two stacks have the name `{}`: the other is {place}", loaded.stack.name),
                "give one of them another `name:` at its top",
            );
        }
        for name in loaded.stack.services.keys() {
            let span = loaded.at(name);
            // RFC 1035, section 2.3.4
            if name.len() > 63 {
                report.error_help(
                    span,
                    format!("services: the name `{name}` has {} characters, and DNS allows 63", name.len()),
                    "use a shorter name: containers find each other by it",
                );
            }
            match services.get(name.as_str()) {
                Some((stack, first)) => {
                    let place = report.place(*first);
                    report.error_help(
                        span,
                        format!("the service `{name}` is in the stack `{stack}` too ({place})"),
                        "a service's name is unique in the platform: rename one of the two, or leave one out in macula.yaml",
                    );
                }
                None => {
                    services.insert(name, (&loaded.stack.name, span));
                }
            }
        }
    }
}

/// Volumes, networks and what configs and secrets are made of.
fn resources(stacks: &[Loaded], report: &mut Report) {
    for loaded in stacks {
        let root = &loaded.project.root;
        for kind in ["networks", "volumes"] {
            for (name, entry) in root.entries(kind).filter(|(_, entry)| entry.node.get_bool("external") == Some(true)) {
                let extra = entry.node.as_map().into_iter().flatten().map(|(key, _)| key.as_str());
                let extra =
                    extra.into_iter().find(|key| !matches!(*key, "name" | "external") && !key.starts_with("x-"));
                match extra {
                    // as Compose does it
                    Some(extra) if kind == "networks" => report.warn(
                        entry.key,
                        format!("{kind}.{name}: it is external, so `{extra}` changes nothing"),
                        "take it away",
                    ),
                    Some(extra) => report.error_help(
                        entry.key,
                        format!("{kind}.{name}: it is external, so `{extra}` is not ours to say"),
                        "take one of the two away",
                    ),
                    None => {}
                }
            }
        }
        for (kind, keys) in
            [("configs", &["file", "environment", "content"][..]), ("secrets", &["file", "environment", "content"][..])]
        {
            for (name, entry) in root.entries(kind) {
                let Some(map) = entry.node.as_map() else { continue };
                let given = keys.iter().filter(|key| map.contains_key(**key)).count();
                let external = entry.node.get_bool("external") == Some(true);
                if given > 1 || (given == 0 && !external && !map.contains_key("driver")) {
                    report.error_help(
                        entry.key,
                        format!("{kind}.{name}: one of `file`, `environment` and `content` belongs here, not {given}"),
                        "keep one of them",
                    );
                }
            }
        }
    }
}

/// Nothing that stays needs what is switched off: told once for each switch, with all that would have to
/// go along.
fn needed(stacks: &[Loaded], off: &[Off], report: &mut Report) {
    let services = || stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    for off in off {
        let mut gone: Vec<&str> = off.services.iter().map(String::as_str).collect();
        let mut direct: Option<usize> = None;
        loop {
            let found: Vec<&str> = services()
                .filter(|service| !gone.contains(&service.name.as_str()))
                .filter(|service| {
                    let waits = service.depends_on.iter().any(|(name, on)| on.required && gone.contains(&name.as_str()));
                    let knows = service.extension.secrets.values().any(
                        |source| matches!(source, SecretSource::From { service, .. } if gone.contains(&service.as_str())),
                    );
                    waits || knows
                })
                .map(|service| service.name.as_str())
                .collect();
            if found.is_empty() {
                break;
            }
            direct.get_or_insert(found.len());
            gone.extend(found);
        }
        let (Some(direct), Some(needy)) = (direct, gone.get(off.services.len()..)) else { continue };
        let verb = if direct == 1 { "needs" } else { "need" };
        let (first, rest) = needy.split_at(direct.min(needy.len()));
        let through = match rest {
            [] => String::new(),
            rest => {
                let way = if direct == 1 { "it" } else { "them" };
                format!(", and through {way} {}", listed(rest.iter().copied(), "and"))
            }
        };
        let lines: Vec<String> = needy.iter().map(|name| format!("{name}: {{enabled: false}}")).collect();
        report.error_help(
            off.span,
            format!("{} is switched off, and {} {verb} it{through}", off.key, listed(first.iter().copied(), "and")),
            format!("leave them out too: `services: {{{}}}`", lines.join(", ")),
        );
    }
}

/// What a service depends on is there. What is switched off was reported already.
fn dependencies(stacks: &mut [Loaded], selection: &Selection, report: &mut Report) {
    let known: Vec<String> = stacks.iter().flat_map(|loaded| loaded.stack.services.keys().cloned()).collect();
    for loaded in stacks.iter_mut() {
        let mut gone = Vec::new();
        for (name, service) in &loaded.stack.services {
            for (target, dependency) in service.depends_on.iter().filter(|(target, _)| !known.contains(target)) {
                gone.push((name.clone(), target.clone()));
                let provided = loaded.entry(target).is_some_and(|entry| is_provided(&entry.node));
                if !dependency.required || selection.is_off(target) || provided {
                    continue;
                }
                let span = loaded.at_key(name, &["depends_on", target]);
                if selection.is_inactive(target) {
                    report.error_help(
                        span,
                        format!("services.{name} depends on {target}, which is left out"),
                        format!("enable {target} (its profile, or `services.{target}.enabled` in macula.yaml), or say `required: false`"),
                    );
                } else {
                    report.error_help(
                        span,
                        format!("services.{name} depends on {target}, which no stack has"),
                        own_first(target, loaded.stack.services.keys(), &known),
                    );
                }
            }
        }
        for (name, target) in gone {
            if let Some(service) = loaded.stack.services.get_mut(&name) {
                service.depends_on.remove(&target);
            }
        }
    }
}

/// Builds that take files of another service's image: it is there, and none is made of itself.
fn built_from(stacks: &[Loaded], report: &mut Report) {
    let known: Vec<String> = stacks.iter().flat_map(|loaded| loaded.stack.services.keys().cloned()).collect();
    let edges: BTreeMap<String, Vec<String>> = stacks
        .iter()
        .flat_map(|loaded| loaded.stack.services.values())
        .map(|service| (service.name.clone(), service.build.iter().flat_map(|build| build.from_services()).collect()))
        .collect();
    let by_name: BTreeMap<&str, Vec<&str>> =
        edges.iter().map(|(name, to)| (name.as_str(), to.iter().map(String::as_str).collect())).collect();
    let circles = find_circles(&by_name);
    for loaded in stacks {
        for service in loaded.stack.services.keys() {
            let span = loaded.at_key(service, &["build", "additional_contexts"]);
            let path = format!("services.{service}.build.additional_contexts");
            for missing in edges.get(service).into_iter().flatten().filter(|target| !known.contains(target)) {
                report.error_help(
                    span,
                    format!("{path}: there is no service `{missing}`"),
                    own_first(missing, loaded.stack.services.keys(), &known),
                );
            }
            for circle in circles.iter().filter(|circle| circle.first() == Some(&service.as_str())) {
                report.error_help(
                    span,
                    format!("{path}: images are made of each other in a circle: {}", circle.join(" -> ")),
                    "remove one of them",
                );
            }
        }
    }
}

/// Names that may have been meant: those of the same stack, unless another stack has a nearer one.
fn own_first<'a>(word: &str, own: impl Iterator<Item = &'a String>, all: &'a [String]) -> String {
    match nearest(word, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => suggestion(word, own.map(String::as_str).collect::<Vec<_>>()),
    }
}

/// No service waits for itself.
fn circles(stacks: &[Loaded], report: &mut Report) {
    let edges: BTreeMap<&str, Vec<&str>> = stacks
        .iter()
        .flat_map(|loaded| loaded.stack.services.iter())
        .map(|(name, service)| (name.as_str(), service.depends_on.keys().map(String::as_str).collect()))
        .collect();
    for circle in find_circles(&edges) {
        let (Some(first), Some(second)) = (circle.first(), circle.get(1)) else { continue };
        let Some(loaded) = stacks.iter().find(|loaded| loaded.stack.services.contains_key(*first)) else { continue };
        let is_task = |name: &str| {
            let mut all = stacks.iter().filter_map(|loaded| loaded.stack.services.get(name));
            all.any(|service| service.extension.task.is_some())
        };
        let help = match circle.iter().any(|name| is_task(name)) {
            true => "take one `depends_on`, or one `after` or `before` of a task, away",
            false => "take one `depends_on` away",
        };
        report.error_help(
            loaded.at_key(first, &["depends_on", second]),
            format!("services wait for each other in a circle: {}", circle.join(" -> ")),
            help,
        );
    }
}

/// Each circle once, beginning and ending with the same name. Without recursion, as chains may be long.
fn find_circles<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut done: HashMap<&str, ()> = HashMap::new();
    let mut circles = Vec::new();
    for start in edges.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last_mut() {
            let name = *name;
            let target = if done.contains_key(name) {
                None
            } else {
                edges.get(name).and_then(|targets| targets.get(*next)).copied()
            };
            *next += 1;
            match target {
                None => {
                    done.insert(name, ());
                    path.pop();
                }
                Some(target) => match path.iter().position(|(name, _)| *name == target) {
                    Some(begin) => {
                        let mut circle: Vec<&str> = path.iter().skip(begin).map(|(name, _)| *name).collect();
                        circle.push(target);
                        circles.push(circle);
                    }
                    None if !done.contains_key(target) => path.push((target, 0)),
                    None => {}
                },
            }
        }
    }
    circles
}

/// What one service says agrees with itself.
fn one_service(loaded: &Loaded, name: &str, service: &Service, report: &mut Report) {
    // it is made of its service, which is looked at itself
    if service.extension.task.is_some() {
        return;
    }
    let path = format!("services.{name}");
    let says = |key: &str| loaded.has_key(name, key);
    let node = loaded.entry(name).map(|entry| &entry.node);
    // one that is null or wrong was reported, and has no parts to look at
    if node.is_none_or(|node| node.as_map().is_none()) {
        return;
    }
    let empty_image = node.and_then(|node| node.get_text("image")) == Some("");
    let nothing = !(says("image") || says("build") || says("extends"));
    if service.image.is_none() && (nothing || empty_image && !says("build")) {
        report.error_help(
            loaded.at_key(name, &["image"]),
            format!("{path} has neither an `image` nor a `build`"),
            "give it one of the two",
        );
    }
    if let Some((image, lower)) = service.image.as_ref().and_then(|image| Some((image, in_lower_case(image)?))) {
        report.error_help(
            node.and_then(|node| node.get("image")).map_or_else(|| loaded.at(name), |node| node.span),
            format!("{path}.image: `{image}` is not a valid image reference: a repository's name is in lower case"),
            format!("did you mean `{lower}`?"),
        );
    }
    if let Some(image) = service.image.as_ref().filter(|image| !image.is_empty() && has_empty_part(image)) {
        // a command that only looks goes on, as with Compose; an `up` says it before the engine does
        report.warn(
            node.and_then(|node| node.get("image")).map_or_else(|| loaded.at(name), |node| node.span),
            format!("{path}.image: `{image}` is not a valid image reference: a part of it is empty"),
            "set the variable that belongs there, or give it a value in the file: `${TAG:-latest}`",
        );
    }
    if service.network_mode.is_some() && !service.networks.is_empty() {
        report.error_help(
            loaded.at_key(name, &["network_mode"]),
            format!("{path}: `network_mode` and `networks` exclude each other"),
            "keep one of the two",
        );
    }
    if let Some(mode) = service.network_mode.as_deref().filter(|mode| *mode == "none" || service.is_apart()) {
        for (key, given) in
            [("ingress", !service.extension.ingress.is_empty()), ("metrics", !service.extension.metrics.is_empty())]
        {
            if given {
                report.error_help(
                    loaded.at_key(name, &["x-macula", key]),
                    format!("{path}: `network_mode: {mode}` leaves nothing for `{key}` to reach"),
                    "remove one of the two",
                );
            }
        }
    }
    for network in
        service.networks.keys().filter(|network| *network != "default" && !loaded.stack.networks.contains_key(*network))
    {
        report.error_help(
            loaded.at_key(name, &["networks", network]),
            format!("{path}: there is no network `{network}`"),
            declare("networks", network, loaded.stack.networks.keys().map(String::as_str)),
        );
    }
    for mount in &service.mounts {
        if let Mount::Volume { source: Some(volume), target, .. } = mount
            && !loaded.stack.volumes.contains_key(volume)
        {
            let node = loaded.entry(name).map(|entry| &entry.node);
            let span = node
                .and_then(|node| node.items("volumes").iter().find(|item| item.get_text("target") == Some(target)))
                .map_or_else(|| loaded.at(name), |item| item.span);
            report.error_help(
                span,
                format!("{path}: there is no volume `{volume}`"),
                declare("volumes", volume, loaded.stack.volumes.keys().map(String::as_str)),
            );
        }
    }
    for key in ["network_mode", "ipc", "pid"] {
        let value = match key {
            "network_mode" => &service.network_mode,
            "ipc" => &service.options.ipc,
            _ => &service.options.pid,
        };
        if let Some(target) = value.as_deref().and_then(|text| text.strip_prefix("service:"))
            && target == name
        {
            report.error_help(
                loaded.at_key(name, &[key]),
                format!("{path}.{key} leads to itself"),
                "name another service",
            );
        }
    }
    replicas(loaded, name, service, report);
    rendered(loaded, name, service, report);
    if service.extension.role == Some(Role::Ingress) && service.replicas > 1 {
        report.error_help(
            loaded.at(name),
            format!("{path} is the ingress, of which there is one"),
            "take `replicas` away",
        );
    }
}

fn declare<'a>(section: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare it at the end of the file: `{section}: {{{name}: }}`"),
    }
}

/// What only one container can have.
fn replicas(loaded: &Loaded, name: &str, service: &Service, report: &mut Report) {
    if service.replicas < 2 {
        return;
    }
    if service.container_name.is_some() {
        report.error_help(
            loaded.at_key(name, &["container_name"]),
            format!("services.{name} has {} replicas and one container_name", service.replicas),
            "take `container_name` away",
        );
    }
    // elsewhere each replica is on a node of its own, or all are behind one port
    if let Some(port) = port_of_one(service, service.replicas).filter(|_| !report.orchestrated) {
        report.error_help(
            loaded.at_key(name, &["ports"]),
            format!("services.{name} has {} replicas, and only one can publish port {port}", service.replicas),
            "publish a range with a port for each, or none at all: the ingress reaches all replicas",
        );
    }
}

/// A published port of which so many containers cannot have one each.
pub(super) fn port_of_one(service: &Service, replicas: u32) -> Option<u16> {
    let lacks = |port: &&PublishedPort| match (port.published, port.published_to) {
        (Some(first), Some(last)) => u32::from(last - first) + 1 < replicas,
        (Some(_), None) => replicas > 1,
        (None, _) => false,
    };
    service.ports.iter().find(lacks).and_then(|port| port.published)
}

/// Files that are copied in must not vanish when the container starts.
fn rendered(loaded: &Loaded, name: &str, service: &Service, report: &mut Report) {
    let copied = service.files.iter().map(|file| (file.target.as_str(), false));
    let rendered = service.extension.configs.keys().map(|target| (target.as_str(), true));
    for (target, rendered) in copied.chain(rendered) {
        let span = if rendered { loaded.at_key(name, &["x-macula", "configs", target]) } else { loaded.at(name) };
        let mount = service
            .mounts
            .iter()
            .filter(|mount| Path::new(target).starts_with(mount.target()))
            .max_by_key(|mount| mount.target().len());
        match mount {
            Some(Mount::Bind { source, .. }) if rendered => report.error_help(
                span,
                format!("services.{name}: the file {target} would be written into the host's {}", source.display()),
                "put it elsewhere, or make the bind mount a volume",
            ),
            // as with Compose, which gives no warning; what comes from a file is mounted
            Some(Mount::Bind { source, .. }) if !report.orchestrated => report.warn(
                span,
                format!("services.{name}: the file {target} is written into the host's {}", source.display()),
                "put it elsewhere, make the bind mount a volume, or let it come from a `file`",
            ),
            // elsewhere its folder becomes a volume
            None if service.options.read_only && Path::new(target).parent() == Some(Path::new("/")) => report
                .error_help(
                    span,
                    format!("services.{name} is read_only, so the file {target} cannot be put into its root"),
                    "put the file into a folder",
                ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once_and_begins_where_it_ends() {
        let found = |edges: &[(&'static str, &[&'static str])]| {
            let edges = edges.iter().map(|(name, targets)| (*name, targets.to_vec())).collect();
            find_circles(&edges).iter().map(|circle| circle.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(found(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]), [""; 0]);
        assert_eq!(found(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]), ["a b c a"]);
        assert_eq!(found(&[("a", &["a"]), ("b", &["gone"])]), ["a a"]);
        assert_eq!(found(&[("a", &["b", "c"]), ("b", &["a"]), ("c", &["a"])]), ["a b a", "a c a"]);
        // a way that only leads into one is not part of it
        assert_eq!(found(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &["a", "c"])]), ["b c b"]);
        assert_eq!(found(&[("a", &["b"]), ("b", &["a"]), ("c", &["d"]), ("d", &["c"])]), ["a b a", "c d c"]);
    }

    #[test]
    fn of_so_many_containers_each_has_a_port_of_its_own() {
        let port = |published: Option<u16>, published_to: Option<u16>| PublishedPort {
            target: 80,
            protocol: crate::model::Protocol::Tcp,
            host_ip: None,
            published,
            published_to,
            host_mode: false,
            name: None,
            app_protocol: None,
        };
        let lacks = |ports: &[PublishedPort], replicas: u32| {
            port_of_one(&Service { ports: ports.to_vec(), ..Service::default() }, replicas)
        };
        let (any, one, three) = (port(None, None), port(Some(8080), None), port(Some(9000), Some(9002)));
        assert_eq!([1, 2].map(|replicas| lacks(std::slice::from_ref(&one), replicas)), [None, Some(8080)]);
        assert_eq!([3, 4].map(|replicas| lacks(&[any.clone(), three.clone()], replicas)), [None, Some(9000)]);
        assert_eq!(lacks(&[three, one], 2), Some(8080));
        assert_eq!(lacks(&[any], 9), None);
    }
}
