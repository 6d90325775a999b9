//! What Compose adds at the end: defaults, names, implied networks and dependencies, env files,
//! profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::interpolate::Variables;
use super::{Project, Source, Surroundings, read_env_file, read_env_file_after, read_raw};
use crate::config::files::{Files, join};
use crate::config::yaml::{Entry, Map, Node, Report, Span, Value};
use crate::words::shell_word;

/// Resolves everything that needs the whole project.
pub(super) fn finish(project: &mut Project, source: &Source<'_>, around: &Surroundings<'_>, report: &mut Report) {
    let folder = project.folder.clone();
    defaults(&mut project.root, &folder);
    environment(&mut project.root, &project.variables);
    let profiles: Vec<&String> = around.profiles.iter().chain(&source.env.profiles).collect();
    choose_profiles(project, &profiles);
    implied_networks(&mut project.root);
    if let Some(services) = section(&mut project.root, "services") {
        for (name, entry) in services.iter_mut() {
            implied_dependencies(&mut entry.node);
            env_files(&mut entry.node, name, &project.variables, around, report);
            label_files(&mut entry.node, name, around, report);
        }
    }
    name_resources(project);
}

fn section<'a>(root: &'a mut Node, name: &str) -> Option<&'a mut Map> {
    root.as_map_mut()?.get_mut(name)?.node.as_map_mut()
}

fn set(map: &mut Map, key: &str, value: Value, span: Span) {
    map.entry(key.to_owned()).or_insert_with(|| Entry { key: span, node: Node::new(value, span) });
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn each(service: &mut Node, list: &str, mut work: impl FnMut(&mut Map, Span)) {
    let items = service.as_map_mut().and_then(|map| map.get_mut(list));
    if let Some(Entry { node: Node { value: Value::List(items), .. }, .. }) = items {
        for item in items {
            let span = item.span;
            if let Some(map) = item.as_map_mut() {
                work(map, span);
            }
        }
    }
}

/// What a short form would have said and a long one leaves out.
pub(super) fn defaults(root: &mut Node, folder: &Path) {
    bind_volumes(root, folder);
    let Some(services) = section(root, "services") else { return };
    for entry in services.values_mut() {
        let service = &mut entry.node;
        each(service, "ports", |port, span| {
            set(port, "protocol", text("tcp"), span);
            set(port, "mode", text("ingress"), span);
        });
        each(service, "secrets", |secret, span| {
            if let Some(source) = secret.get("source").and_then(|entry| entry.node.as_text()).map(str::to_owned) {
                set(secret, "target", text(format!("/run/secrets/{source}")), span);
            }
        });
        each(service, "env_file", |file, span| set(file, "required", Value::Bool(true), span));
        device_counts(service.as_map_mut().and_then(|map| map.get_mut("gpus")));
        let Some(service) = service.as_map_mut() else { continue };
        deploy(service);
        if let Some(build) = service.get_mut("build") {
            let span = build.node.span;
            if let Some(build) = build.node.as_map_mut() {
                set(build, "context", text(folder.to_string_lossy().into_owned()), span);
            }
        }
        if let Some(dependencies) = service.get_mut("depends_on").and_then(|entry| entry.node.as_map_mut()) {
            for entry in dependencies.values_mut() {
                let span = entry.node.span;
                if let Some(dependency) = entry.node.as_map_mut() {
                    set(dependency, "condition", text("service_started"), span);
                    set(dependency, "required", Value::Bool(true), span);
                }
            }
        }
        if let Some(policy) = service.get_mut("pull_policy")
            && policy.node.as_text() == Some("if_not_present")
        {
            policy.node.value = text("missing");
        }
    }
}

/// A request for devices that says neither how many nor which means all of them.
fn device_counts(requests: Option<&mut Entry>) {
    let Some(Entry { node: Node { value: Value::List(requests), .. }, .. }) = requests else { return };
    for request in requests {
        let span = request.span;
        if let Some(map) = request.as_map_mut().filter(|map| !map.contains_key("device_ids")) {
            set(map, "count", Value::Int(-1), span);
        }
    }
}

/// `scale` is `deploy.replicas` too, where there is a `deploy`.
fn deploy(service: &mut Map) {
    let scale = service.get("scale").filter(|entry| entry.node.as_int().is_some()).cloned();
    let Some(deploy) = service.get_mut("deploy").and_then(|entry| entry.node.as_map_mut()) else { return };
    if let Some(scale) = scale {
        deploy.entry("replicas".to_owned()).or_insert(scale);
    }
    let reserved = deploy
        .get_mut("resources")
        .and_then(|entry| entry.node.as_map_mut())
        .and_then(|map| map.get_mut("reservations"))
        .and_then(|entry| entry.node.as_map_mut());
    device_counts(reserved.and_then(|map| map.get_mut("devices")));
}

/// A volume of the local driver may be a folder in disguise, whose path counts from here too.
fn bind_volumes(root: &mut Node, folder: &Path) {
    let Some(volumes) = section(root, "volumes") else { return };
    for entry in volumes.values_mut().filter(|entry| entry.node.get_text("driver") == Some("local")) {
        let Some(options) = entry.node.as_map_mut().and_then(|map| map.get_mut("driver_opts")) else { continue };
        if options.node.get_text("o") != Some("bind") {
            continue;
        }
        if let Some(device) = options.node.as_map_mut().and_then(|map| map.get_mut("device"))
            && let Some(path) = device.node.as_text()
        {
            device.node.value = text(join(folder, Path::new(path)).to_string_lossy().into_owned());
        }
    }
}

/// What the keys of values begin with: no key of a file does, so they are never printed.
pub(super) const VALUE: char = '#';

/// Where a config or a secret that a variable gives has the value.
pub(super) fn value_key(variable: &str) -> String {
    format!("{VALUE}{variable}")
}

/// Variables take the value they have outside: those that are named without one, and those of configs and secrets. What
/// an included file has of them is its own.
pub(super) fn environment(root: &mut Node, variables: &Variables) {
    for kind in ["configs", "secrets"] {
        let Some(all) = section(root, kind) else { continue };
        for entry in all.values_mut() {
            let span = entry.node.span;
            let Some(variable) = entry.node.get_text("environment").map(str::to_owned) else { continue };
            if let (Some(value), Some(map)) = (variables.get(&variable), entry.node.as_map_mut()) {
                set(map, &value_key(&variable), text(value.clone()), span);
            }
        }
    }
    let Some(services) = section(root, "services") else { return };
    let resolve = |map: &mut Map, keep: bool| {
        map.retain(|name, entry| {
            if !entry.node.is_null() {
                return true;
            }
            match variables.get(name) {
                Some(value) => entry.node.value = text(value.clone()),
                None => return keep,
            }
            true
        });
    };
    for entry in services.values_mut() {
        let Some(service) = entry.node.as_map_mut() else { continue };
        if let Some(map) = service.get_mut("environment").and_then(|entry| entry.node.as_map_mut()) {
            resolve(map, true);
        }
        if let Some(build) = service.get_mut("build").and_then(|entry| entry.node.as_map_mut()) {
            let span = build.values().next().map(|entry| entry.key).unwrap_or_default();
            if !build.contains_key("dockerfile_inline") {
                set(build, "dockerfile", text("Dockerfile"), span);
            }
            if let Some(args) = build.get_mut("args").and_then(|entry| entry.node.as_map_mut()) {
                resolve(args, false);
            }
        }
    }
}

/// Takes out the services of which no profile is active.
fn choose_profiles(project: &mut Project, active: &[&String]) {
    let all = active.iter().any(|profile| *profile == "*");
    let mut inactive = BTreeMap::new();
    let mut known = BTreeSet::new();
    if let Some(services) = section(&mut project.root, "services") {
        services.retain(|name, entry| {
            let profiles = entry.node.texts("profiles");
            let keep = all
                || profiles.is_empty()
                || profiles.iter().any(|profile| profile.is_empty() || active.contains(&profile));
            known.extend(profiles.iter().cloned());
            if !keep {
                inactive.insert(name.clone(), profiles);
            }
            keep
        });
    }
    project.inactive = inactive;
    project.profiles = known;
}

/// A service that names no network is in the project's own.
fn implied_networks(root: &mut Node) {
    let mut used = None;
    if let Some(services) = section(root, "services") {
        for entry in services.values_mut() {
            let span = entry.node.span;
            let Some(service) = entry.node.as_map_mut() else { continue };
            if service.get("network_mode").is_some_and(|entry| !entry.node.is_null()) {
                continue;
            }
            let empty = service.get("networks").is_none_or(|entry| entry.node.as_map().is_none_or(Map::is_empty));
            if empty {
                let default = Entry { key: span, node: Node::new(Value::Null, span) };
                let networks = Value::Map([("default".to_owned(), default)].into_iter().collect());
                service.insert("networks".to_owned(), Entry { key: span, node: Node::new(networks, span) });
                used = Some(span);
            } else if entry.node.get("networks").and_then(Node::as_map).is_some_and(|map| map.contains_key("default")) {
                used = Some(span);
            }
        }
    }
    if let (Some(span), Some(root)) = (used, root.as_map_mut()) {
        set(root, "networks", Value::Map(Map::new()), span);
        if let Some(networks) = root.get_mut("networks").and_then(|entry| entry.node.as_map_mut()) {
            set(networks, "default", Value::Null, span);
        }
    }
}

/// Links and shared namespaces are dependencies too.
fn implied_dependencies(service: &mut Node) {
    let mut implied: Vec<(String, bool, Span)> = Vec::new();
    for link in service.items("links") {
        let name = link.as_text().unwrap_or_default();
        implied.push((name.split_once(':').map_or(name, |(name, _)| name).to_owned(), true, link.span));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((name.to_owned(), true, node.span));
        }
    }
    for line in service.items("volumes_from") {
        let name = line.as_text().unwrap_or_default();
        if !name.starts_with("container:") {
            implied.push((name.split_once(':').map_or(name, |(name, _)| name).to_owned(), false, line.span));
        }
    }
    if implied.is_empty() {
        return;
    }
    let span = service.span;
    let Some(service) = service.as_map_mut() else { return };
    set(service, "depends_on", Value::Map(Map::new()), span);
    let Some(dependencies) = service.get_mut("depends_on").and_then(|entry| entry.node.as_map_mut()) else { return };
    for (name, restart, span) in implied {
        let dependency = super::short::map(
            span,
            [
                ("condition", text("service_started")),
                ("restart", Value::Bool(restart)),
                ("required", Value::Bool(true)),
            ],
        );
        dependencies.entry(name).or_insert(Entry { key: span, node: dependency });
    }
}

/// `env_file` goes below `environment`.
fn env_files(service: &mut Node, name: &str, variables: &Variables, around: &Surroundings<'_>, report: &mut Report) {
    let Some(map) = service.as_map_mut() else { return };
    let Some(files) = map.shift_remove("env_file") else { return };
    let own = map.get("environment").and_then(|entry| entry.node.as_map());
    let own = own.into_iter().flatten().filter_map(|(name, entry)| Some((name.clone(), entry.node.scalar_text()?)));
    let own: Variables = own.collect();
    let mut values = Variables::new();
    for file in files.node.as_list().unwrap_or_default() {
        let Some(path) = file.get_text("path").map(Path::new) else { continue };
        if !around.files.exists(path) {
            if file.get_bool("required").unwrap_or(true) {
                let make = match template(path, around.files) {
                    Some(template) => {
                        let places = report.places();
                        let word = |path: &Path| shell_word(&places.shown(path).to_string_lossy());
                        format!("make it by `cp {} {}`", word(&template), word(path))
                    }
                    None => "make it".to_owned(),
                };
                report.error_help(
                    file.span,
                    format!("services.{name}.env_file: there is no file {}", path.display()),
                    format!("{make}, or say {{path: ..., required: false}}"),
                );
            }
            continue;
        }
        // the files before it are known to it as well, and come last
        let lookup = |key: &str| variables.get(key).or_else(|| own.get(key)).cloned();
        if file.get_text("format") == Some("raw") {
            values.extend(read_raw(around.files, path, variables, report).unwrap_or_default());
        } else {
            values = read_env_file_after(around.files, path, &lookup, values, report).unwrap_or_default();
        }
    }
    fill(map, "environment", values, files.node.span);
}

/// What lies next to an env file that is not there, for people to begin with.
fn template(path: &Path, files: &dyn Files) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    let endings = [".example", ".sample", ".template", ".dist", "-example"].map(|ending| format!("{name}{ending}"));
    let mut all = endings.into_iter().chain(["env.example".to_owned()]);
    all.find_map(|name| Some(path.with_file_name(name)).filter(|path| files.exists(path)))
}

/// `label_file` goes below `labels`.
fn label_files(service: &mut Node, name: &str, around: &Surroundings<'_>, report: &mut Report) {
    let Some(map) = service.as_map_mut() else { return };
    let Some(files) = map.shift_remove("label_file") else { return };
    let mut values = Variables::new();
    for file in files.node.as_list().unwrap_or_default() {
        let Some(path) = file.as_text().map(Path::new) else { continue };
        if !around.files.exists(path) {
            report.error_help(
                file.span,
                format!("services.{name}.label_file: there is no file {}", path.display()),
                "check the path",
            );
            continue;
        }
        let lookup = |key: &str| values.get(key).cloned();
        let read = read_env_file(around.files, path, &lookup, report);
        values.extend(read.unwrap_or_default());
    }
    fill(map, "labels", values, files.node.span);
}

/// Adds values to a mapping of the service, below those that stand there.
fn fill(service: &mut Map, key: &str, values: Variables, span: Span) {
    if values.is_empty() {
        return;
    }
    set(service, key, Value::Map(Map::new()), span);
    if let Some(map) = service.get_mut(key).and_then(|entry| entry.node.as_map_mut()) {
        for (name, value) in values {
            set(map, &name, text(value), span);
        }
    }
}

/// Networks, volumes, configs and secrets without a name are called after the project.
fn name_resources(project: &mut Project) {
    for kind in ["networks", "volumes", "configs", "secrets"] {
        let Some(resources) = section(&mut project.root, kind) else { continue };
        for (key, entry) in resources.iter_mut() {
            let span = entry.node.span;
            if entry.node.is_null() {
                entry.node.value = Value::Map(Map::new());
            }
            let external = entry.node.get_bool("external").unwrap_or(false);
            let Some(map) = entry.node.as_map_mut() else { continue };
            if map.contains_key("name") || external {
                project.named.push((kind.to_owned(), key.clone()));
            }
            let name = if external { key.clone() } else { format!("{}_{key}", project.name) };
            set(map, "name", text(name), span);
        }
    }
}
