//! A service of the resolved tree as a service of the model.

use std::collections::BTreeMap;
use std::path::Path;

use super::hook::hook;
use super::{Project, build, duration, files, flag, hosts, networks, ports, string_map, text, ulimits, volumes, watch};
use crate::config::files::join;
use crate::config::read::read_text;
use crate::config::yaml::{Node, Report};
use crate::model::{
    Blkio, Condition, ContainerOptions, Dependency, DeviceRequest, EngineNeed, Healthcheck, Hook, Limits, Logging,
    NetworkDecl, Origin, PullPolicy, Restart, Service, Update, Volume,
};

/// The version of the engine's API that knows them.
const ANNOTATIONS: (u16, u16) = (1, 43);

/// The services of a project, without their `x-macula`.
pub(in crate::config) fn services(
    project: &Project,
    files: &dyn crate::config::files::Files,
    report: &mut Report,
) -> BTreeMap<String, Service> {
    let embedded = project.origin == Origin::BuiltIn;
    let sources = files::Sources {
        root: &project.root,
        variables: &project.variables,
        files,
        folder: &project.folder,
        embedded,
        orchestrated: project.orchestrated,
    };
    let custom_default = default_is_custom(project);
    project
        .services()
        .filter(|(_, entry)| !is_provided(&entry.node))
        .map(|(name, entry)| (name.to_owned(), service(name, &entry.node, &sources, custom_default, report)))
        .collect()
}

/// Whether a plugin of docker compose stands for the service, of which there is no container.
pub(in crate::config) fn is_provided(service: &Node) -> bool {
    service.get("provider").is_some() && service.get("image").is_none() && service.get("build").is_none()
}

/// The networks that a project declares, without the one it has anyway.
pub(in crate::config) fn networks(project: &Project) -> BTreeMap<String, NetworkDecl> {
    let custom_default = default_is_custom(project);
    project
        .root
        .entries("networks")
        .filter(|(name, _)| *name != "default" || custom_default)
        .map(|(name, entry)| (name.to_owned(), networks::network(&entry.node, is_named(project, "networks", name))))
        .collect()
}

/// The volumes that a project declares.
pub(in crate::config) fn volumes(project: &Project) -> BTreeMap<String, Volume> {
    project
        .root
        .entries("volumes")
        .map(|(name, entry)| (name.to_owned(), networks::volume(&entry.node, is_named(project, "volumes", name))))
        .collect()
}

fn is_named(project: &Project, kind: &str, name: &str) -> bool {
    project.named.iter().any(|(section, key)| section == kind && key == name)
}

/// Has the user declared the network `default`, and not only to say that it is there?
fn default_is_custom(project: &Project) -> bool {
    project
        .root
        .get("networks")
        .and_then(|networks| networks.get("default"))
        .and_then(Node::as_map)
        .is_some_and(|map| map.len() > 1 || is_named(project, "networks", "default"))
}

fn service(
    name: &str,
    node: &Node,
    sources: &files::Sources<'_>,
    custom_default: bool,
    report: &mut Report,
) -> Service {
    let deploy = node.get("deploy");
    if let (Some(scale), Some(replicas)) = (node.get("scale"), deploy.and_then(|deploy| deploy.get("replicas")))
        && scale != replicas
    {
        report.error_help(
            scale.span,
            format!("services.{name}: `scale` and `deploy.replicas` differ"),
            "keep one of the two",
        );
    }
    let replicas = node
        .get_int("scale")
        .or_else(|| deploy?.get_int("replicas"))
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1);
    let (expose, expose_other) = ports::exposed(node, name, report);
    let mut mounts = volumes::build(node, name, report);
    let files = files::build(node, name, sources, &mut mounts, report);
    Service {
        short: None,
        name: name.to_owned(),
        image: text(node, "image"),
        build: build::build(node, name, sources, report),
        pull_policy: pull_policy(node, name, report),
        container_name: text(node, "container_name"),
        command: words(node, "command"),
        entrypoint: words(node, "entrypoint"),
        environment: string_map(node, "environment"),
        unset: unset(node),
        labels: string_map(node, "labels"),
        ports: ports::build(node),
        expose,
        expose_other,
        mounts,
        needs: needs(node, report),
        networks: networks::of_service(node, custom_default),
        network_mode: text(node, "network_mode"),
        files,
        depends_on: dependencies(node),
        healthcheck: node.get("healthcheck").map(healthcheck),
        post_start: hooks(node, "post_start", name, report),
        pre_stop: hooks(node, "pre_stop", name, report),
        watch: watch::rules(node, name, report),
        replicas,
        update: update(node, name, report),
        deploy: super::deploy::build(node),
        stop_grace_period: duration(node, "stop_grace_period"),
        options: options(node, name, sources, report),
        extension: crate::model::Extension::default(),
    }
}

/// What not every engine can do: told before anything is changed.
fn needs(node: &Node, report: &Report) -> Vec<EngineNeed> {
    let mut all = volumes::needs(node, report);
    let annotations = node.as_map().and_then(|map| map.get("annotations"));
    if let Some(entry) = annotations.filter(|entry| entry.node.as_map().is_some_and(|map| !map.is_empty())) {
        all.push(EngineNeed { what: format!("{}: `annotations`", report.place(entry.key)), version: ANNOTATIONS });
    }
    all
}

fn hooks(node: &Node, key: &str, name: &str, report: &mut Report) -> Vec<Hook> {
    node.items(key).iter().filter_map(|item| hook(item, &format!("services.{name}.{key}"), report)).collect()
}

/// `deploy.update_config`. A failure ends the update, as `failure_action: pause` says.
fn update(node: &Node, name: &str, report: &mut Report) -> Update {
    let path = format!("services.{name}.deploy.update_config");
    let Some(config) = node.get("deploy").and_then(|deploy| deploy.get("update_config")) else {
        return Update::default();
    };
    if let Some(action) = config.get("failure_action").filter(|action| action.as_text() != Some("pause"))
        && !report.orchestrated
    {
        report.warn(
            action.span,
            format!("{path}.failure_action: macula stops at the first failure"),
            "write `pause`, which says so",
        );
    }
    let mut start_first = config.get_text("order") == Some("start-first");
    // two containers cannot hold one port or one address
    let alone = node.items("ports").iter().any(|port| port.get_text("published").is_some_and(|port| port != "0"))
        || node.entries("networks").any(|(_, entry)| {
            ["ipv4_address", "ipv6_address", "mac_address"].iter().any(|key| entry.node.get_text(key).is_some())
        })
        || node.get_text("network_mode").is_some();
    if start_first && alone && !report.orchestrated {
        report.warn(
            config.span,
            format!("{path}.order: the old container stops first, since both cannot hold the same port or address"),
            "publish no fixed port: the ingress leads to all replicas",
        );
        start_first = false;
    }
    Update {
        parallelism: config.get_int("parallelism").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        delay: duration(config, "delay").unwrap_or_default(),
        start_first,
    }
}

/// Variables that are named without a value, where none is set outside either.
fn unset(node: &Node) -> Vec<String> {
    node.entries("environment").filter(|(_, entry)| entry.node.is_null()).map(|(name, _)| name.to_owned()).collect()
}

/// `None`: the image's own.
fn words(node: &Node, key: &str) -> Option<Vec<String>> {
    node.get(key).and_then(Node::as_list).map(|_| node.texts(key))
}

fn pull_policy(node: &Node, name: &str, report: &mut Report) -> PullPolicy {
    let Some(policy) = node.get("pull_policy") else { return PullPolicy::Missing };
    match policy.as_text().unwrap_or_default() {
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "build" => PullPolicy::Build,
        "missing" | "if_not_present" => PullPolicy::Missing,
        other => {
            report.warn(
                policy.span,
                format!("services.{name}.pull_policy: macula takes `{other}` as `missing`"),
                "pull by hand with `macula images pull`",
            );
            PullPolicy::Missing
        }
    }
}

fn dependencies(node: &Node) -> BTreeMap<String, Dependency> {
    node.entries("depends_on")
        .map(|(name, entry)| {
            let condition = match entry.node.get_text("condition") {
                Some("service_healthy") => Condition::ServiceHealthy,
                Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
                _ => Condition::ServiceStarted,
            };
            let dependency = Dependency {
                condition,
                restart: flag(&entry.node, "restart"),
                required: entry.node.get_bool("required").unwrap_or(true),
            };
            (name.to_owned(), dependency)
        })
        .collect()
}

fn healthcheck(node: &Node) -> Healthcheck {
    let test = if flag(node, "disable") { vec!["NONE".to_owned()] } else { node.texts("test") };
    Healthcheck {
        test,
        interval: duration(node, "interval"),
        timeout: duration(node, "timeout"),
        retries: node.get_int("retries").and_then(|count| u32::try_from(count).ok()),
        start_period: duration(node, "start_period"),
        start_interval: duration(node, "start_interval"),
    }
}

fn options(node: &Node, name: &str, sources: &files::Sources<'_>, report: &mut Report) -> ContainerOptions {
    ContainerOptions {
        user: text(node, "user"),
        working_dir: text(node, "working_dir"),
        hostname: text(node, "hostname"),
        domainname: text(node, "domainname"),
        restart: restart(node),
        init: node.get_bool("init"),
        tty: flag(node, "tty"),
        stdin_open: flag(node, "stdin_open"),
        read_only: flag(node, "read_only"),
        privileged: flag(node, "privileged"),
        stop_signal: text(node, "stop_signal"),
        cap_add: node.texts("cap_add"),
        cap_drop: node.texts("cap_drop"),
        security_opt: security_opt(node, name, sources, report),
        group_add: node.texts("group_add"),
        sysctls: string_map(node, "sysctls"),
        ulimits: ulimits(node),
        devices: node.items("devices").iter().map(device).collect(),
        extra_hosts: hosts(node),
        dns: node.texts("dns"),
        dns_search: node.texts("dns_search"),
        dns_opt: node.texts("dns_opt"),
        shm_size: node.get_int("shm_size").filter(|size| *size > 0),
        pid: text(node, "pid"),
        ipc: text(node, "ipc"),
        uts: text(node, "uts"),
        userns_mode: text(node, "userns_mode"),
        cgroup: text(node, "cgroup"),
        cgroup_parent: text(node, "cgroup_parent"),
        runtime: text(node, "runtime"),
        platform: text(node, "platform").or_else(|| sources.default_platform().filter(|_| !sources.orchestrated)),
        annotations: string_map(node, "annotations"),
        logging: node.get("logging").map(|logging| Logging {
            driver: text(logging, "driver").unwrap_or_default(),
            options: string_map(logging, "options"),
        }),
        resources: limits(node, name, report),
        oom_score_adj: node.get_int("oom_score_adj"),
        oom_kill_disable: node.get_bool("oom_kill_disable"),
        mac_address: text(node, "mac_address"),
        device_cgroup_rules: node.texts("device_cgroup_rules"),
        device_requests: device_requests(node),
        storage_opt: string_map(node, "storage_opt"),
        blkio: node.get("blkio_config").filter(|node| !node.is_null()).map(blkio),
        volumes_from: node.texts("volumes_from"),
        // a service is known by its own name anyway
        links: node
            .texts("links")
            .into_iter()
            .filter(|link| link.contains(':'))
            .chain(node.texts("external_links").into_iter().map(|link| match link.contains(':') {
                true => link,
                false => format!("{link}:{link}"),
            }))
            .collect(),
    }
}

/// A seccomp profile is named by its file; an engine wants what is in it.
fn security_opt(node: &Node, name: &str, sources: &files::Sources<'_>, report: &mut Report) -> Vec<String> {
    let mut all = Vec::new();
    for option in node.items("security_opt") {
        let Some(written) = option.as_text() else { continue };
        let profile = written.strip_prefix("seccomp").and_then(|rest| rest.strip_prefix([':', '=']));
        let Some(profile) = profile.filter(|profile| !["unconfined", "builtin"].contains(profile)) else {
            all.push(written.to_owned());
            continue;
        };
        let path = join(sources.folder, Path::new(profile));
        let Some(content) = read_text(sources.files, &path, Some(option.span), report) else { continue };
        match serde_json::from_str::<serde_json::Value>(&content) {
            Ok(profile) => all.push(format!("seccomp={profile}")),
            Err(error) => report.error_help(
                option.span,
                format!("services.{name}.security_opt: {} is not a seccomp profile: {error}", path.display()),
                "name a file with the profile as JSON, or say seccomp=unconfined",
            ),
        }
    }
    all
}

/// `gpus`, and the devices that are reserved.
fn device_requests(node: &Node) -> Vec<DeviceRequest> {
    let reserved = ["deploy", "resources", "reservations"].iter().try_fold(node, |node, key| node.get(key));
    let reserved = reserved.map(|reserved| reserved.items("devices")).unwrap_or_default();
    node.items("gpus")
        .iter()
        .chain(reserved)
        .map(|request| DeviceRequest {
            driver: text(request, "driver").unwrap_or_default(),
            count: request.get_int("count"),
            ids: request.texts("device_ids"),
            capabilities: request.texts("capabilities"),
            options: string_map(request, "options"),
        })
        .collect()
}

fn blkio(node: &Node) -> Blkio {
    let devices = |list: &str, key: &str| {
        let one =
            |device: &Node| Some((device.get_text("path")?.to_owned(), u64::try_from(device.get_int(key)?).ok()?));
        node.items(list).iter().filter_map(one).collect()
    };
    Blkio {
        weight: node.get_int("weight").and_then(|weight| u16::try_from(weight).ok()),
        weight_device: devices("weight_device", "weight"),
        read_bps: devices("device_read_bps", "rate"),
        write_bps: devices("device_write_bps", "rate"),
        read_iops: devices("device_read_iops", "rate"),
        write_iops: devices("device_write_iops", "rate"),
    }
}

fn device(node: &Node) -> String {
    let part = |key: &str| node.get_text(key).unwrap_or_default();
    let target = if part("target").is_empty() { part("source") } else { part("target") };
    let permissions = if part("permissions").is_empty() { "rwm" } else { part("permissions") };
    // a device of the Container Device Interface (`vendor.com/class=name`) is a name, and mapped to nowhere
    if target == part("source") && !target.starts_with('/') && target.contains('=') {
        return target.to_owned();
    }
    format!("{}:{target}:{permissions}", part("source"))
}

/// What `deploy.restart_policy` says, or `restart`: where both are there, Compose goes by the first.
fn restart(node: &Node) -> Restart {
    let deployed = node.get("deploy").and_then(|deploy| deploy.get("restart_policy"));
    match (deployed, deployed.and_then(|policy| policy.get_text("condition"))) {
        (_, Some("none" | "no")) => return Restart::No,
        (Some(policy), Some("on-failure")) => return Restart::OnFailure(policy.get_int("max_attempts")),
        (_, Some("unless-stopped")) => return Restart::UnlessStopped,
        (_, Some(_)) => return Restart::Always,
        // the condition that is not there is `any`, but for a service that says more
        (Some(_), None) if node.get("restart").is_none() => return Restart::Always,
        (_, None) => {}
    }
    let policy = node.get_text("restart").unwrap_or_default();
    match policy.split_once(':') {
        Some(("on-failure", count)) => Restart::OnFailure(count.parse().ok()),
        _ => match policy {
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => Restart::OnFailure(None),
            _ => Restart::No,
        },
    }
}

fn limits(node: &Node, name: &str, report: &mut Report) -> Limits {
    let resources = node.get("deploy").and_then(|deploy| deploy.get("resources"));
    let limits = resources.and_then(|resources| resources.get("limits"));
    let reserved = resources.and_then(|resources| resources.get("reservations"));
    let positive = |number: Option<i64>| number.filter(|number| *number != 0);
    let pair = |old: &str, new: Option<i64>, path: &str, report: &mut Report| {
        let older = positive(node.get_int(old));
        if let (Some(one), Some(other)) = (older, positive(new))
            && one != other
        {
            report.error_help(
                node.get(old).map(|node| node.span).unwrap_or_default(),
                format!("services.{name}: `{old}` and `{path}` differ"),
                "keep one of the two",
            );
        }
        positive(new).or(older)
    };
    let cpus = |node: Option<&Node>| {
        node.and_then(|node| node.get("cpus")).and_then(Node::as_float).filter(|cpus| *cpus > 0.0)
    };
    let (own, limit) = (cpus(Some(node)), cpus(limits));
    if let (Some(one), Some(other)) = (own, limit)
        && (one - other).abs() > f64::EPSILON
    {
        report.error_help(
            node.get("cpus").map(|node| node.span).unwrap_or_default(),
            format!("services.{name}: `cpus` and `deploy.resources.limits.cpus` differ"),
            "keep one of the two",
        );
    }
    let quota = positive(node.get_int("cpu_quota"))
        .map(|quota| quota as f64 / positive(node.get_int("cpu_period")).unwrap_or(100_000) as f64);
    Limits {
        memory: pair(
            "mem_limit",
            limits.and_then(|limits| limits.get_int("memory")),
            "deploy.resources.limits.memory",
            report,
        ),
        memory_reservation: pair(
            "mem_reservation",
            reserved.and_then(|reserved| reserved.get_int("memory")),
            "deploy.resources.reservations.memory",
            report,
        ),
        memory_swap: positive(node.get_int("memswap_limit")),
        nano_cpus: limit.or(own).or(quota).map(|cpus| (cpus * 1e9).round() as i64),
        cpu_shares: positive(node.get_int("cpu_shares")),
        cpuset: text(node, "cpuset"),
        pids: pair(
            "pids_limit",
            limits.and_then(|limits| limits.get_int("pids")),
            "deploy.resources.limits.pids",
            report,
        ),
        cpu_rt_period: positive(node.get_int("cpu_rt_period")),
        cpu_rt_runtime: positive(node.get_int("cpu_rt_runtime")),
        memory_swappiness: node.get_int("mem_swappiness"),
    }
}
