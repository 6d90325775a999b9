//! A stack as services of a swarm, in the words of the engine's API: what `docker stack deploy` makes of the same
//! file, and what that drops without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rules::{Security, security};
use super::{Part, Scene, hash};
use crate::model::{FileSpec, Mount, NetworkDecl, Restart, RestartPolicy, Rollout, Volume, label};

mod changes;
mod checks;
mod standing;

pub use changes::{
    Pin, SwarmAct, SwarmChange, SwarmChanges, foreign, held, scaled, swarm_changes, with_ids, without_ports,
};
pub use checks::{Check, Checked, SwarmPort, swarm_checks, swarm_ports};
pub use standing::{Running, Standing, SwarmLook, is_failure, is_leaving};

/// By which `docker stack` knows what belongs together.
pub const STACK_LABEL: &str = "com.docker.stack.namespace";
const IMAGE_LABEL: &str = "com.docker.stack.image";

/// Networks that each node has of its own. Tasks can be in them, and have no further names there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Names of configs and secrets have no more letters.
const NAME_LENGTH: usize = 64;

/// Everything that a swarm needs, as bodies of requests. Those that others need come first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SwarmStack {
    /// That must be there.
    pub external_networks: Vec<String>,
    pub external_secrets: Vec<String>,
    pub external_configs: Vec<String>,
    pub networks: Vec<Value>,
    /// Their names end in a hash of what they hold: what a swarm has, it never changes.
    pub secrets: Vec<Value>,
    pub configs: Vec<Value>,
    /// In the order of their names.
    pub services: Vec<Value>,
}

pub(super) fn stack(scene: &Scene<'_>) -> SwarmStack {
    let mut all = SwarmStack::default();
    let used: BTreeSet<&str> = scene.parts.iter().flat_map(networks_of).collect();
    for key in used {
        match scene.stack.networks.get(key) {
            Some(declared) if declared.external => {
                let name = network_name(scene, key);
                all.external_networks.extend((!PREDEFINED.contains(&name.as_str())).then_some(name));
            }
            declared => all.networks.push(network(scene, key, declared)),
        }
    }
    let mut seen = BTreeSet::new();
    for part in &scene.parts {
        for file in files(scene, part) {
            if !seen.insert((file.secret, file.name.clone())) {
                continue;
            }
            match (file.content, file.secret) {
                (Some(content), true) => all.secrets.push(content_object(scene, &file.name, content)),
                (Some(content), false) => all.configs.push(content_object(scene, &file.name, content)),
                (None, true) => all.external_secrets.push(file.name),
                (None, false) => all.external_configs.push(file.name),
            }
        }
    }
    all.services = scene.parts.iter().map(|part| service(scene, part)).collect();
    all
}

fn scoped(scene: &Scene<'_>, name: &str) -> String {
    format!("{}_{name}", scene.stack.name)
}

fn own_labels(scene: &Scene<'_>) -> BTreeMap<String, String> {
    [(STACK_LABEL, scene.stack.name.clone()), (label::DEPLOYED_BY, scene.platform.name.to_string())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// `None` for a list or mapping without anything in it.
fn some<T: Serialize>(items: T) -> Value {
    match serde_json::to_value(items) {
        Ok(Value::Array(items)) if items.is_empty() => Value::Null,
        Ok(Value::Object(map)) if map.is_empty() => Value::Null,
        Ok(value) => value,
        Err(_) => Value::Null,
    }
}

/// The mapping without what is null, and null where nothing is left.
fn known(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let map: Map<String, Value> = map.into_iter().filter(|(_, value)| !value.is_null()).collect();
    some(map)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn networks_of<'a>(part: &Part<'a>) -> Vec<&'a str> {
    let service = part.service;
    match (service.network_mode.is_some(), service.networks.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vec!["default"],
        (false, false) => service.networks.keys().map(String::as_str).collect(),
    }
}

fn network_name(scene: &Scene<'_>, key: &str) -> String {
    match scene.stack.networks.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(NetworkDecl { name: Some(name), .. }) => name.clone(),
        _ => scoped(scene, key),
    }
}

fn network(scene: &Scene<'_>, key: &str, declared: Option<&NetworkDecl>) -> Value {
    let none = NetworkDecl::default();
    let declared = declared.unwrap_or(&none);
    let mut labels = own_labels(scene);
    labels.extend(declared.labels.clone());
    let pools = declared
        .pools
        .iter()
        .map(|pool| known(json!({"Subnet": pool.subnet, "Gateway": pool.gateway, "IPRange": pool.ip_range})));
    let pools: Vec<Value> = pools.collect();
    known(json!({
        "Name": network_name(scene, key),
        // a bridge ends at its node
        "Driver": declared.driver.as_deref().filter(|driver| *driver != "bridge").unwrap_or("overlay"),
        "Options": some(&declared.driver_opts),
        "Internal": declared.internal.then_some(true),
        "Attachable": declared.attachable.then_some(true),
        "EnableIPv6": declared.enable_ipv6.then_some(true),
        "IPAM": (!pools.is_empty()).then(|| json!({"Driver": "default", "Config": pools})),
        "Labels": labels,
    }))
}

/// A file of a service, as a config or secret of the swarm.
struct SwarmFile<'a> {
    name: String,
    /// `None`: the swarm has it already.
    content: Option<&'a [u8]>,
    secret: bool,
    target: &'a str,
    spec: &'a FileSpec,
}

fn files<'a>(scene: &Scene<'_>, part: &Part<'a>) -> Vec<SwarmFile<'a>> {
    let one = |spec: &'a FileSpec| {
        let declared = part.service.files.iter().find(|file| file.target == spec.path);
        if let Some(name) = declared.and_then(|file| file.external.clone()) {
            return SwarmFile { name, content: None, secret: spec.secret, target: &spec.path, spec };
        }
        let base = match declared {
            Some(file) => file.source.clone(),
            None => format!("{}{}", part.name, spec.path),
        };
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
        let base: String = scoped(scene, &base).chars().map(plain).collect();
        let hash = hash(&spec.content);
        let room = NAME_LENGTH.saturating_sub(hash.len() + 1);
        let name = format!("{}-{hash}", base.chars().take(room).collect::<String>());
        SwarmFile { name, content: Some(&spec.content), secret: spec.secret, target: &spec.path, spec }
    };
    part.spec.files.iter().map(one).collect()
}

fn content_object(scene: &Scene<'_>, name: &str, content: &[u8]) -> Value {
    json!({"Name": name, "Labels": own_labels(scene), "Data": STANDARD.encode(content)})
}

fn file_references(scene: &Scene<'_>, part: &Part<'_>, secret: bool) -> Value {
    let kind = if secret { "Secret" } else { "Config" };
    let references = files(scene, part).into_iter().filter(|file| file.secret == secret).map(|file| {
        // a secret's name counts from /run/secrets
        let target = match secret {
            true => file.target.strip_prefix("/run/secrets/").unwrap_or(file.target),
            false => file.target,
        };
        let mut reference = Map::new();
        reference.insert(format!("{kind}Name"), json!(file.name));
        reference.insert(
            "File".into(),
            json!({
                "Name": target, "UID": file.spec.uid.to_string(), "GID": file.spec.gid.to_string(),
                "Mode": file.spec.mode,
            }),
        );
        Value::Object(reference)
    });
    some(references.collect::<Vec<_>>())
}

fn service(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let deploy = &part.service.deploy;
    let mut labels = own_labels(scene);
    labels.insert(IMAGE_LABEL.into(), part.image.clone());
    labels.extend(deploy.labels.clone());
    let networks: Vec<Value> = networks_of(part)
        .into_iter()
        .map(|key| {
            let name = network_name(scene, key);
            let mut aliases = vec![part.name.to_owned()];
            aliases.extend(part.service.networks.get(key).into_iter().flat_map(|joined| joined.aliases.clone()));
            aliases.dedup();
            let aliases = (!PREDEFINED.contains(&name.as_str())).then_some(aliases);
            known(json!({"Target": name, "Aliases": aliases}))
        })
        .collect();
    // a job is replaced at once, and a swarm refuses one that says how
    let (update, rollback) = (deploy.update.as_ref(), deploy.rollback.as_ref());
    let (update, rollback) = (update.filter(|_| !part.is_job()), rollback.filter(|_| !part.is_job()));
    let logging = part.service.options.logging.as_ref();
    let logging = logging.map(|logging| known(json!({"Name": logging.driver, "Options": some(&logging.options)})));
    known(json!({
        "Name": scoped(scene, part.name),
        "Labels": labels,
        "TaskTemplate": known(json!({
            "ContainerSpec": container(scene, part),
            "Resources": resources(part),
            "RestartPolicy": restart(part),
            "Placement": placement(part),
            "Networks": some(networks),
            "LogDriver": logging,
        })),
        "Mode": mode(part),
        "UpdateConfig": update.map(|update| rollout(update, &["pause", "continue", "rollback"])),
        "RollbackConfig": rollback.map(|rollback| rollout(rollback, &["pause", "continue"])),
        "EndpointSpec": endpoint(part),
    }))
}

/// A job ends, and is done then.
fn mode(part: &Part<'_>) -> Value {
    let service = part.service;
    match (part.is_job(), service.deploy.mode.is_global()) {
        (true, true) => json!({"GlobalJob": {}}),
        (true, false) => {
            json!({"ReplicatedJob": {"MaxConcurrent": service.replicas, "TotalCompletions": service.replicas}})
        }
        (false, true) => json!({"Global": {}}),
        (false, false) => json!({"Replicated": {"Replicas": service.replicas}}),
    }
}

/// `actions`: what is to be done at a failure, of which a swarm knows these.
fn rollout(config: &Rollout, actions: &[&str]) -> Value {
    known(json!({
        "Parallelism": config.parallelism.unwrap_or(1),
        "Delay": config.delay.map(nanoseconds),
        "FailureAction": config.failure_action.as_deref().filter(|action| actions.contains(action)),
        "Monitor": config.monitor.map(nanoseconds),
        "MaxFailureRatio": config.max_failure_ratio,
        "Order": config.order,
    }))
}

fn restart(part: &Part<'_>) -> Value {
    let policy = |policy: &RestartPolicy| {
        known(json!({
            "Condition": policy.condition, "Delay": policy.delay.map(nanoseconds),
            "MaxAttempts": policy.max_attempts, "Window": policy.window.map(nanoseconds),
        }))
    };
    if let Some(given) = &part.service.deploy.restart {
        return policy(given);
    }
    match (&part.service.options.restart, part.is_job()) {
        (Restart::OnFailure(attempts), _) => known(json!({"Condition": "on-failure", "MaxAttempts": attempts})),
        (_, true) => json!({"Condition": "none"}),
        (Restart::Always | Restart::UnlessStopped, false) => json!({"Condition": "any"}),
        (Restart::No, false) if part.restart_said => json!({"Condition": "none"}),
        // what says nothing is started again, as everything in a swarm
        (Restart::No, false) => Value::Null,
    }
}

fn placement(part: &Part<'_>) -> Value {
    let deploy = &part.service.deploy;
    let spread = deploy.spread.iter().map(|label| json!({"Spread": {"SpreadDescriptor": label}}));
    let platform = part.service.options.platform.as_deref().map(|platform| {
        let mut words = platform.split('/');
        let (os, architecture) = (words.next(), words.next());
        json!([{"OS": os, "Architecture": architecture}])
    });
    known(json!({
        "Constraints": some(&deploy.constraints),
        "Preferences": some(spread.collect::<Vec<_>>()),
        "MaxReplicas": deploy.max_replicas_per_node.filter(|most| *most > 0),
        "Platforms": platform,
    }))
}

fn resources(part: &Part<'_>) -> Value {
    let limits = &part.service.options.resources;
    let deploy = &part.service.deploy;
    let generic = deploy.generic_resources.iter();
    let generic = generic.map(|(kind, value)| json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}}));
    known(json!({
        "Limits": known(json!({"NanoCPUs": limits.nano_cpus, "MemoryBytes": limits.memory, "Pids": limits.pids})),
        "Reservations": known(json!({
            "NanoCPUs": deploy.reserved_cpus, "MemoryBytes": limits.memory_reservation,
            "GenericResources": some(generic.collect::<Vec<_>>()),
        })),
    }))
}

fn endpoint(part: &Part<'_>) -> Value {
    let ports = part.service.ports.iter().map(|port| {
        known(json!({
            "Name": port.name,
            "Protocol": port.protocol.to_string(),
            "TargetPort": port.target,
            "PublishedPort": port.published,
            "PublishMode": if port.host_mode { "host" } else { "ingress" },
        }))
    });
    let mode = part.service.deploy.endpoint_mode.as_deref().filter(|mode| ["vip", "dnsrr"].contains(mode));
    known(json!({"Mode": mode, "Ports": some(ports.collect::<Vec<_>>())}))
}

fn container(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let service = part.service;
    let options = &service.options;
    let mut labels: BTreeMap<String, String> = service.labels.clone();
    labels.insert(STACK_LABEL.into(), scene.stack.name.clone());
    let ulimits = options.ulimits.iter();
    let ulimits = ulimits.map(|(name, limit)| json!({"Name": name, "Soft": limit.soft, "Hard": limit.hard}));
    // `address name`, as a line of /etc/hosts
    let hosts = options.extra_hosts.iter().filter_map(|line| line.split_once(':'));
    let hosts: Vec<String> = hosts.map(|(name, address)| format!("{address} {name}")).collect();
    let dns = json!({
        "Nameservers": some(&options.dns), "Search": some(&options.dns_search), "Options": some(&options.dns_opt),
    });
    let (command, arguments) = part.words();
    known(json!({
        "Image": part.image,
        "Labels": labels,
        "Command": command,
        "Args": arguments,
        "Hostname": options.hostname,
        "Env": some(&part.spec.env),
        "Dir": options.working_dir,
        "User": options.user,
        "Groups": some(&options.group_add),
        "Privileges": privileges(&options.security_opt),
        "TTY": options.tty.then_some(true),
        "OpenStdin": options.stdin_open.then_some(true),
        "ReadOnly": options.read_only.then_some(true),
        "Mounts": some(mounts(scene, part)),
        "StopSignal": options.stop_signal,
        "StopGracePeriod": service.stop_grace_period.map(nanoseconds),
        "HealthCheck": service.healthcheck.as_ref().map(|check| known(json!({
            "Test": some(&check.test),
            "Interval": check.interval.map(nanoseconds),
            "Timeout": check.timeout.map(nanoseconds),
            "Retries": check.retries,
            "StartPeriod": check.start_period.map(nanoseconds),
            "StartInterval": check.start_interval.map(nanoseconds),
        }))),
        "Hosts": some(hosts),
        "DNSConfig": known(dns),
        "Secrets": file_references(scene, part, true),
        "Configs": file_references(scene, part, false),
        "Init": options.init,
        "Sysctls": some(&options.sysctls),
        "CapabilityAdd": some(capabilities(&options.cap_add)),
        "CapabilityDrop": some(capabilities(&options.cap_drop)),
        "Ulimits": some(ulimits.collect::<Vec<_>>()),
    }))
}

/// In the spelling that `docker service inspect` shows.
fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| {
        let name = name.to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    names.iter().map(full).collect()
}

fn privileges(options: &[String]) -> Value {
    let mut all = Map::new();
    for option in options {
        match security(option) {
            Security::NoNewPrivileges(wanted) => all.insert("NoNewPrivileges".into(), json!(wanted)),
            Security::SeccompUnconfined => all.insert("Seccomp".into(), json!({"Mode": "unconfined"})),
            Security::AppArmorUnconfined => all.insert("AppArmor".into(), json!({"Mode": "disabled"})),
            Security::AppArmorProfile | Security::Other => None,
        };
    }
    some(all)
}

fn mounts(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let read_only = |read_only: &bool| read_only.then_some(true);
    let mut all: Vec<Value> = part
        .service
        .mounts
        .iter()
        .filter_map(|mount| {
            Some(known(match mount {
                Mount::Bind { source, target, read_only: only, propagation, .. } => json!({
                    "Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only(only),
                    "BindOptions": known(json!({"Propagation": propagation})),
                }),
                Mount::Volume { source, target, read_only: only, no_copy, subpath } => {
                    let declared = source.as_ref().and_then(|key| scene.stack.volumes.get(key));
                    let external = declared.is_some_and(|volume| volume.external);
                    let labels = declared.filter(|_| !external).map(|volume| {
                        let mut labels = own_labels(scene);
                        labels.extend(volume.labels.clone());
                        labels
                    });
                    let driver = declared
                        .filter(|volume| !external && (volume.driver.is_some() || !volume.driver_opts.is_empty()));
                    let driver = driver.map(|volume| {
                        let options = volume.driver_opts.iter().filter(|(key, _)| *key != "size" || !is_plain(volume));
                        let options: BTreeMap<&String, &String> = options.collect();
                        known(json!({"Name": volume.driver, "Options": some(options)}))
                    });
                    json!({
                        "Type": "volume",
                        "Source": source.as_ref().map(|key| volume_name(scene, key)),
                        "Target": target, "ReadOnly": read_only(only),
                        "VolumeOptions": known(json!({
                            "NoCopy": no_copy.then_some(true), "Labels": labels, "DriverConfig": driver,
                            "Subpath": subpath,
                        })),
                    })
                }
                Mount::Tmpfs { target, size, mode, .. } => json!({
                    "Type": "tmpfs", "Target": target,
                    "TmpfsOptions": known(json!({"SizeBytes": size, "Mode": mode})),
                }),
                Mount::Image { .. } => return None,
            }))
        })
        .collect();
    let shm = part.service.options.shm_size;
    // one that is mounted is there already
    if let Some(size) = shm.filter(|_| part.service.mounts.iter().all(|mount| mount.target() != "/dev/shm")) {
        all.push(json!({"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {"SizeBytes": size}}));
    }
    all
}

/// A folder of its node's engine, of which most cannot limit its size.
pub(super) fn is_plain(volume: &Volume) -> bool {
    let mounts = ["type", "device", "o"].iter().any(|key| volume.driver_opts.contains_key(*key));
    volume.driver.as_deref().is_none_or(|driver| driver == "local") && !mounts
}

fn volume_name(scene: &Scene<'_>, key: &str) -> String {
    match scene.stack.volumes.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(Volume { name: Some(name), .. }) => name.clone(),
        _ => scoped(scene, key),
    }
}

#[cfg(test)]
mod tests;
