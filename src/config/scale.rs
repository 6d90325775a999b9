//! `--scale`: how many containers a service has, where somebody has said so beside its file.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::port_of_one;
use super::loaded::Loaded;
use super::macula::file::Settings;
use super::selection::Selection;
use super::yaml::{Report, Span, suggestion};
use crate::model::{Mount, Role, Service, ServiceNetwork};

/// What was said of a service's number of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By this command.
    Asked(u32),
    /// By an earlier `up`.
    Kept(u32),
    /// By this command: the number of the file again.
    Back,
}

/// Gives services their numbers. What was asked for and cannot be is an error; what was kept, and cannot be any more
/// since the file has changed, is only worth a word: commands that look must go on.
pub(super) fn apply(
    wanted: &BTreeMap<String, Scale>,
    settings: &Settings,
    stacks: &mut [Loaded],
    selection: &Selection,
    report: &mut Report,
) {
    let place = Span::whole(report.file(Path::new("--scale")));
    let sharers = sharers(wanted, stacks);
    for (name, scale) in wanted {
        let known: Vec<String> = stacks.iter().flat_map(|loaded| loaded.stack.services.keys().cloned()).collect();
        let elsewhere = settings.processes.contains_key(name) || selection.is_off(name) || selection.is_inactive(name);
        let (count, asked) = match scale {
            Scale::Asked(count) => (*count, true),
            Scale::Kept(count) => (*count, false),
            Scale::Back if known.contains(name) || elsewhere => continue,
            // what an earlier `up` was told is forgotten all the same
            Scale::Back => {
                let (message, help) = unknown(name, settings, selection, &known);
                report.warn(place, message, help);
                continue;
            }
        };
        let found = stacks.iter_mut().find_map(|loaded| Some((loaded.built_in, loaded.stack.services.get_mut(name)?)));
        let Some((built_in, service)) = found else {
            if asked {
                let (message, help) = unknown(name, settings, selection, &known);
                report.error_help(place, message, help);
            } else if !elsewhere {
                let said = containers(count);
                report.warn(
                    place,
                    format!("the last `up` gave {name} {said}, and there is no such service any more"),
                    format!("`macula up --scale {name}=` forgets that number"),
                );
            }
            continue;
        };
        let sharer = sharers.iter().find(|(shared, _)| shared == name).map(|(_, sharer)| sharer.as_str());
        match (hindrance(service, count, built_in, sharer), asked) {
            (None, _) => service.replicas = count,
            (Some((why, help)), true) => {
                report.error_help(place, format!("{name} cannot have {}: {why}", containers(count)), help);
            }
            (Some((why, _)), false) => report.warn(
                place,
                format!("the last `up` gave {name} {}, which is no longer possible: {why}", containers(count)),
                format!("the number in its file counts; `macula up --scale {name}=` forgets that number"),
            ),
        }
    }
}

/// Services whose first container another one lives in, and that other one, unless it will have no container either.
fn sharers(wanted: &BTreeMap<String, Scale>, stacks: &[Loaded]) -> Vec<(String, String)> {
    let services = stacks.iter().flat_map(|loaded| loaded.stack.services.values());
    let has_one = |service: &&Service| match wanted.get(&service.name) {
        Some(Scale::Asked(count) | Scale::Kept(count)) => *count > 0,
        Some(Scale::Back) | None => service.replicas > 0,
    };
    let shares = |service: &Service| {
        let options = &service.options;
        let modes = [&service.network_mode, &options.ipc, &options.pid, &options.uts].into_iter().flatten();
        let others = options.volumes_from.iter().chain(&options.links);
        let mut shared: Vec<String> =
            modes.filter_map(|mode| mode.strip_prefix("service:")).map(str::to_owned).collect();
        // `container:NAME` is none of ours, and no service has that name here
        shared.extend(others.filter_map(|text| text.split(':').next()).map(str::to_owned));
        shared.into_iter().map(|name| (name, service.name.clone())).collect::<Vec<_>>()
    };
    services.filter(has_one).flat_map(shares).filter(|(shared, sharer)| shared != sharer).collect()
}

fn containers(count: u32) -> String {
    if count == 1 { "1 container".to_owned() } else { format!("{count} containers") }
}

/// Why there is no such service, and what to do.
fn unknown(name: &str, settings: &Settings, selection: &Selection, known: &[String]) -> (String, String) {
    if settings.processes.contains_key(name) {
        let help = "only services have several containers".to_owned();
        return (format!("{name} is a program of this machine, of which there is one"), help);
    }
    if selection.is_off(name) {
        return (format!("{name} is switched off in macula.yaml"), "switch it on there".to_owned());
    }
    if selection.is_inactive(name) {
        let help = format!("activate it: `macula up --profile NAME --scale {name}=N`");
        return (format!("{name} belongs to a profile that is not active"), help);
    }
    (format!("no stack has a service `{name}`"), suggestion(name, known.iter().map(String::as_str)))
}

/// Why a service cannot have so many containers, and what to do about it. `sharer`: who lives in its first one.
fn hindrance(service: &Service, count: u32, built_in: bool, sharer: Option<&str>) -> Option<(String, String)> {
    let told = |why: &str, help: &str| Some((why.to_owned(), help.to_owned()));
    if service.extension.role == Some(Role::Ingress) && count != 1 {
        return told("it is the ingress, of which there is one", "leave it as it is");
    }
    // it would stay in a network that is gone, or could not be made any more
    if let (0, Some(sharer)) = (count, sharer) {
        return Some((
            format!("{sharer} uses its network, processes or volumes"),
            format!("give {sharer} 0 containers, too, or stop both with `macula stop`"),
        ));
    }
    if count < 2 {
        return None;
    }
    if service.container_name.is_some() {
        return told("its `container_name` is for a single container", "remove `container_name` from its file");
    }
    if let Some(port) = port_of_one(service, count) {
        return Some((
            format!("only one can publish port {port}"),
            "publish a range with a port for each, or none at all: the ingress reaches all of them".to_owned(),
        ));
    }
    let fixed = |network: &ServiceNetwork| network.ipv4_address.is_some() || network.ipv6_address.is_some();
    if service.networks.values().any(fixed) {
        return told(
            "its address in a network is for a single container",
            "remove `ipv4_address` or `ipv6_address` from its file",
        );
    }
    // ours are made for one writer; what the user's own can do, only the user knows
    let writes = |mount: &Mount| matches!(mount, Mount::Volume { read_only: false, .. });
    if built_in && service.mounts.iter().any(writes) {
        return told("they would all write to the same volume", "one container of a built-in service keeps its data");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryFiles, Request, load_with};
    use super::*;

    const SHOP: &str = "name: shop\nservices:\n  \
        web: {image: w, deploy: {replicas: 2}}\n  \
        fixed: {image: w, ports: ['8080:80']}\n  \
        wide: {image: w, ports: ['8090-8092:80']}\n  \
        named: {image: w, container_name: one}\n  \
        placed: {image: w, networks: {back: {ipv4_address: 10.9.0.2}}}\n  \
        rare: {image: w, profiles: [debug]}\n  \
        base: {image: w}\n  \
        sidecar: {image: w, network_mode: 'service:base'}\n\
        networks: {back: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n";
    const OURS: &str = "services:\n  \
        gate: {image: g, x-macula: {role: ingress}}\n  \
        db: {image: d, volumes: ['data:/data']}\n  \
        ui: {image: u}\n\
        volumes: {data: {}}\n";

    /// The numbers of some services, or what is wrong; then the warnings.
    fn numbers(scale: &[(&str, Scale)], orchestrated: bool) -> (Vec<String>, Vec<String>) {
        let files = MemoryFiles::default()
            .with("/shop/compose.yaml", SHOP)
            .with("/shop/macula.yaml", "discover: true\nprocesses: {api: {command: run-it}}\n");
        let request = Request {
            cwd: "/shop".into(),
            discover: true,
            scale: scale.iter().map(|(name, scale)| ((*name).to_owned(), *scale)).collect(),
            orchestrated,
            ..Request::default()
        };
        match load_with(&request, &files, &[("ours.yaml", OURS)]) {
            Ok(loaded) => {
                let named = |name: &&(&str, Scale)| loaded.platform.service(name.0).is_some();
                let number = |name: &str| loaded.platform.service(name).map_or(0, |(_, service)| service.replicas);
                let all = scale.iter().filter(named).map(|(name, _)| format!("{name} {}", number(name))).collect();
                let about = loaded.warnings.iter().filter(|warning| warning.message.contains("containers"));
                (all, about.map(|warning| warning.message.clone()).collect())
            }
            Err(errors) => (errors.0.iter().map(|error| error.message.clone()).collect(), Vec::new()),
        }
    }

    #[test]
    fn a_number_counts_instead_of_that_of_the_file() {
        let wanted = [("web", Scale::Asked(3)), ("wide", Scale::Kept(3)), ("ui", Scale::Asked(0))];
        assert_eq!(numbers(&wanted, false).0, ["web 3", "wide 3", "ui 0"]);
        assert_eq!(numbers(&[("web", Scale::Back), ("db", Scale::Asked(1))], false).0, ["web 2", "db 1"]);
        // what stands elsewhere is as its file says
        assert_eq!(numbers(&[("web", Scale::Kept(3))], true).0, ["web 2"]);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_is_asked_for() {
        let wrong = |name, count| numbers(&[(name, Scale::Asked(count))], false).0.join("; ");
        assert_eq!(wrong("fixed", 2), "fixed cannot have 2 containers: only one can publish port 8080");
        assert_eq!(wrong("wide", 4), "wide cannot have 4 containers: only one can publish port 8090");
        assert_eq!(wrong("named", 2), "named cannot have 2 containers: its `container_name` is for a single container");
        assert_eq!(
            wrong("placed", 2),
            "placed cannot have 2 containers: its address in a network is for a single container"
        );
        assert_eq!(wrong("db", 2), "db cannot have 2 containers: they would all write to the same volume");
        assert_eq!(wrong("gate", 0), "gate cannot have 0 containers: it is the ingress, of which there is one");
        assert_eq!(wrong("rare", 1), "rare belongs to a profile that is not active");
        assert_eq!(wrong("api", 2), "api is a program of this machine, of which there is one");
        assert_eq!(wrong("wbe", 2), "no stack has a service `wbe`");
    }

    #[test]
    fn what_was_kept_and_cannot_be_any_more_is_only_told() {
        let kept = [("fixed", Scale::Kept(2)), ("gone", Scale::Kept(2)), ("web", Scale::Kept(3))];
        let (numbers, warnings) = numbers(&kept, false);
        assert_eq!(numbers, ["fixed 1", "web 3"]);
        assert_eq!(
            warnings,
            [
                "the last `up` gave fixed 2 containers, which is no longer possible: only one can publish port 8080",
                "the last `up` gave gone 2 containers, and there is no such service any more"
            ]
        );
    }

    #[test]
    fn nobody_is_left_in_a_container_that_is_gone() {
        let (zero, one) = (Scale::Asked(0), Scale::Asked(1));
        let why = "base cannot have 0 containers: sidecar uses its network, processes or volumes";
        assert_eq!(numbers(&[("base", zero)], false).0, [why]);
        assert_eq!(numbers(&[("base", zero), ("sidecar", one)], false).0, [why]);
        assert_eq!(numbers(&[("base", zero), ("sidecar", zero)], false).0, ["base 0", "sidecar 0"]);
        assert_eq!(numbers(&[("base", Scale::Asked(2)), ("sidecar", zero)], false).0, ["base 2", "sidecar 0"]);
        let (kept, warnings) = numbers(&[("base", Scale::Kept(0))], false);
        assert_eq!((kept, warnings.len()), (vec!["base 1".to_owned()], 1));
    }

    #[test]
    fn a_number_that_nobody_has_is_not_given_back_in_silence() {
        let files = MemoryFiles::default().with("/shop/compose.yaml", SHOP);
        let scale = ["web", "wbe", "rare"].map(|name| (name.to_owned(), Scale::Back)).into();
        let request = Request { cwd: "/shop".into(), discover: true, scale, ..Request::default() };
        let loaded = load_with(&request, &files, &[("ours.yaml", OURS)]).unwrap();
        let messages = loaded.warnings.iter().map(|warning| warning.message.as_str());
        let about: Vec<&str> = messages.filter(|message| message.contains("no stack has")).collect();
        assert_eq!(about, ["no stack has a service `wbe`"]);
    }
}
