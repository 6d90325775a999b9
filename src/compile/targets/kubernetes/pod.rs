//! What runs: a pod with one container.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::common::{
    alias_label, annotations as allowed, claim_name, common_labels, config_name, content_hash, files_name, key_of,
    network_label, networks, own_files, seconds, selector, shared_names, some, variables_name,
};
use super::ports::ports;
use crate::compile::targets::placement;
use crate::compile::targets::rules::{Security, security};
use crate::compile::targets::{Part, Scene};
use crate::model::{Condition, Hook, Mount, ProbeKind, PullPolicy, Restart, is_dns_label, label};

/// `metadata` and `spec` of the pods of a service.
pub(super) fn template(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let mut labels = common_labels(scene);
    labels.extend(selector(scene, part));
    labels.extend(networks(scene, part).into_iter().map(|network| (network_label(network), "true".to_owned())));
    let shared = shared_names(scene).into_iter().filter(|(_, parts)| parts.iter().any(|one| one.name == part.name));
    labels.extend(shared.map(|(name, _)| (alias_label(name), "true".to_owned())));
    let said = [&part.service.labels, &part.service.options.annotations];
    let said = said.into_iter().flat_map(allowed).map(|(key, value)| (key.clone(), value.clone()));
    let mut annotations: BTreeMap<String, String> = said.collect();
    if let Some(hash) = content_hash(part) {
        annotations.insert(label::CONTENT.to_owned(), hash);
    }
    if let Some(metrics) = part.service.extension.metrics.first() {
        let scrape =
            [("scrape", "true".to_owned()), ("port", metrics.port.to_string()), ("path", metrics.path.clone())];
        annotations.extend(scrape.map(|(key, value)| (format!("prometheus.io/{key}"), value)));
    }
    json!({"metadata": {"labels": labels, "annotations": some(annotations)}, "spec": spec(scene, part)})
}

fn spec(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let service = part.service;
    let options = &service.options;
    let (volumes, mounts) = volumes(scene, part);
    let host = |mode: &Option<String>| (mode.as_deref() == Some("host")).then_some(true);
    let numbers = options.user.as_deref().and_then(ids);
    // of a pod, as far as it is not of its container
    let context = json!({
        // else nobody but root could write a new claim
        "fsGroup": numbers.and_then(|(user, group)| group.or(Some(user))).filter(|_| mounts_claim(part)),
        "supplementalGroups": some(options.group_add.iter().filter_map(|group| group.parse::<i64>().ok()).collect::<Vec<_>>()),
        "sysctls": some(options.sysctls.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>()),
    });
    let dns = json!({
        "nameservers": some(&options.dns),
        "searches": some(&options.dns_search),
        "options": some(options.dns_opt.iter().map(|option| match option.split_once(':') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": option}),
        }).collect::<Vec<_>>()),
    });
    let mut spec = json!({
        // nothing of a stack talks to the API server
        "automountServiceAccountToken": false,
        // variables such as REDIS_PORT=tcp://... are not those of the stack
        "enableServiceLinks": false,
        "hostNetwork": host(&service.network_mode),
        "dnsPolicy": host(&service.network_mode).map(|_| "ClusterFirstWithHostNet"),
        "hostPID": host(&options.pid),
        "hostIPC": host(&options.ipc),
        "hostname": options.hostname.as_ref().filter(|name| is_dns_label(name)),
        "hostAliases": some(aliases(&options.extra_hosts)),
        "dnsConfig": hollow(dns),
        "nodeSelector": platform(part),
        "affinity": affinity(scene, part),
        "topologySpreadConstraints": some(spread(&service.deploy.spread).into_iter().map(|key| json!({
            "maxSkew": 1, "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": selector(scene, part)},
        })).collect::<Vec<_>>()),
        "runtimeClassName": options.runtime,
        "securityContext": hollow(context),
        "terminationGracePeriodSeconds": service.stop_grace_period.map(seconds),
        "initContainers": some(waiting(scene, part)),
        "containers": [container(part, mounts)],
        "volumes": some(volumes),
    });
    if part.is_job()
        && let Value::Object(map) = &mut spec
    {
        let policy = if matches!(options.restart, Restart::OnFailure(_)) { "OnFailure" } else { "Never" };
        map.insert("restartPolicy".into(), json!(policy));
    }
    spec
}

/// The labels of nodes over which pods are spread, each once, as the API server wants it.
fn spread(keys: &[String]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for key in keys.iter().map(|key| key.strip_prefix("node.labels.").unwrap_or(key)) {
        if !all.contains(&key) {
            all.push(key);
        }
    }
    all
}

/// `extra_hosts`, each address once: the API server refuses a pod that has one twice.
fn aliases(lines: &[String]) -> Vec<Value> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    let lines = lines.iter().filter_map(|line| line.split_once(':'));
    for (name, address) in lines.filter(|(_, address)| address.parse::<std::net::IpAddr>().is_ok()) {
        match all.iter_mut().find(|(other, _)| *other == address) {
            Some((_, names)) => names.push(name),
            None => all.push((address, vec![name])),
        }
    }
    all.into_iter().map(|(address, names)| json!({"ip": address, "hostnames": names})).collect()
}

/// Null where nothing is in it.
fn hollow(value: Value) -> Value {
    let nothing = value.as_object().is_some_and(|map| map.values().all(Value::is_null));
    if nothing { Value::Null } else { value }
}

/// `1000:100`
fn ids(user: &str) -> Option<(i64, Option<i64>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

fn mounts_claim(part: &Part<'_>) -> bool {
    part.service.mounts.iter().any(|mount| matches!(mount, Mount::Volume { source: Some(_), .. }))
}

fn platform(part: &Part<'_>) -> Value {
    let Some(platform) = &part.service.options.platform else { return Value::Null };
    let mut words = platform.split('/');
    json!({"kubernetes.io/os": words.next(), "kubernetes.io/arch": words.next()})
}

fn affinity(scene: &Scene<'_>, part: &Part<'_>) -> Value {
    let deploy = &part.service.deploy;
    let terms: Vec<Value> = deploy.constraints.iter().filter_map(|constraint| placement::term(constraint)).collect();
    let node = (!terms.is_empty()).then(|| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": terms}]}})
    });
    let apart = (deploy.max_replicas_per_node == Some(1)).then(|| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selector(scene, part)},
        }]})
    });
    hollow(json!({"nodeAffinity": node, "podAntiAffinity": apart}))
}

/// Containers that wait until the services that this one depends on take connections.
fn waiting(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let Some(image) = scene.options.waiting else { return Vec::new() };
    let needed = part.service.depends_on.iter();
    let needed = needed.filter(|(_, dependency)| dependency.condition != Condition::ServiceCompletedSuccessfully);
    needed
        .filter_map(|(name, _)| scene.part(name))
        // it takes none, and has no name
        .filter(|other| !other.is_job())
        .enumerate()
        .map(|(index, other)| {
            let port = ports(other).into_iter().find(|port| port.protocol == "TCP");
            let test = match port {
                Some(port) => format!("nc -z -w 2 {} {}", other.name, port.number),
                // in full: busybox looks through no search list
                None => format!("nslookup {}.{}.svc.cluster.local", other.name, scene.namespace),
            };
            let script = format!("until {test}; do sleep 1; done");
            let name = Some(format!("wait-for-{}", other.name)).filter(|name| is_dns_label(name));
            let name = name.unwrap_or_else(|| format!("wait-for-{index}"));
            json!({"name": name, "image": image, "command": ["sh", "-c", script]})
        })
        .collect()
}

fn container(part: &Part<'_>, mounts: Vec<Value>) -> Value {
    let service = part.service;
    let options = &service.options;
    let numbers = options.user.as_deref().and_then(ids);
    let has = |wanted: &Security| options.security_opt.iter().any(|text| security(text) == *wanted);
    let apparmor = options.security_opt.iter().find_map(|text| {
        let profile = text.replacen(':', "=", 1).strip_prefix("apparmor=")?.to_owned();
        Some(match profile.as_str() {
            "unconfined" => json!({"type": "Unconfined"}),
            profile => json!({"type": "Localhost", "localhostProfile": profile}),
        })
    });
    let capabilities = |names: &[String]| -> Vec<String> {
        names.iter().map(|name| name.to_uppercase().trim_start_matches("CAP_").to_owned()).collect()
    };
    let context = json!({
        "runAsUser": numbers.map(|(user, _)| user),
        "runAsGroup": numbers.and_then(|(_, group)| group),
        "readOnlyRootFilesystem": options.read_only.then_some(true),
        "privileged": options.privileged.then_some(true),
        "allowPrivilegeEscalation": has(&Security::NoNewPrivileges(true)).then_some(false),
        "seccompProfile": has(&Security::SeccompUnconfined).then(|| json!({"type": "Unconfined"})),
        "appArmorProfile": apparmor,
        "capabilities": hollow(json!({
            "add": some(capabilities(&options.cap_add)), "drop": some(capabilities(&options.cap_drop)),
        })),
    });
    let ports = service.ports.iter().filter(|port| port.host_mode).filter_map(|port| {
        let number = port.published?;
        Some(json!({"containerPort": port.target, "hostPort": number, "protocol": port.protocol.to_string().to_uppercase()}))
    });
    let (command, arguments) = part.words();
    json!({
        "name": part.name,
        "image": part.image,
        "imagePullPolicy": match service.pull_policy {
            PullPolicy::Always => Some("Always"),
            PullPolicy::Never => Some("Never"),
            PullPolicy::Missing | PullPolicy::Build => None,
        },
        "command": command.map(escaped),
        "args": arguments.map(escaped),
        "workingDir": options.working_dir,
        "env": some(environment(part)),
        "ports": some(ports.collect::<Vec<_>>()),
        "volumeMounts": some(mounts),
        "readinessProbe": readiness(part),
        "lifecycle": hollow(json!({
            "postStart": hook(&service.post_start), "preStop": hook(&service.pre_stop),
        })),
        "resources": resources(part),
        "securityContext": hollow(context),
        "stdin": options.stdin_open.then_some(true),
        "tty": options.tty.then_some(true),
    })
}

/// `$(NAME)` in a command or variable is replaced in a pod, and `$$` is a dollar sign.
fn escape(text: &str) -> String {
    match text.contains("$(") || text.contains("$$") {
        true => text.replace('$', "$$"),
        false => text.to_owned(),
    }
}

fn escaped(words: &[String]) -> Vec<String> {
    words.iter().map(|word| escape(word)).collect()
}

fn environment(part: &Part<'_>) -> Vec<Value> {
    let from = variables_name(part);
    let given = part.environment().filter_map(|(name, value)| Some((name, value?)));
    given
        .map(|(name, value)| match part.is_secret(name) {
            true => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": from, "key": name}}}),
            false => json!({"name": name, "value": escape(value)}),
        })
        .collect()
}

fn hook(hooks: &[Hook]) -> Value {
    hooks.first().map_or(Value::Null, |hook| json!({"exec": {"command": hook.command}}))
}

/// How a probe asks: the platform's own question, or the service's own check.
fn question(part: &Part<'_>) -> Option<Map<String, Value>> {
    let asked = match part.service.extension.probe.as_ref().map(|probe| &probe.kind) {
        Some(ProbeKind::Http { port, path }) => json!({"httpGet": {"port": port, "path": path}}),
        Some(ProbeKind::Tcp { port }) => json!({"tcpSocket": {"port": port}}),
        None => {
            let test = &part.service.healthcheck.as_ref()?.test;
            match test.split_first().map(|(kind, words)| (kind.as_str(), words)) {
                Some(("CMD", words)) => json!({"exec": {"command": words}}),
                Some(("CMD-SHELL", words)) => json!({"exec": {"command": ["/bin/sh", "-c", words.join(" ")]}}),
                _ => return None,
            }
        }
    };
    match asked {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// The only probe. An engine never ends a container for a check that fails, and a startup probe would end a pod: again
/// and again, where its start takes longer than the probe allows.
fn readiness(part: &Part<'_>) -> Value {
    if part.is_job() {
        return Value::Null;
    }
    let Some(mut probe) = question(part) else { return Value::Null };
    let check = part.service.healthcheck.as_ref();
    // where nothing is said, as long as an engine waits for a check
    let unsaid = if part.service.extension.probe.is_some() { 3 } else { 30 };
    let period = check.and_then(|check| check.interval).map_or(5, seconds);
    let patience = check.and_then(|check| check.timeout).map_or(unsaid, seconds);
    let retries = check.and_then(|check| check.retries).filter(|retries| *retries > 0).unwrap_or(3);
    probe.insert("periodSeconds".into(), json!(period));
    probe.insert("timeoutSeconds".into(), json!(patience));
    probe.insert("failureThreshold".into(), json!(retries));
    Value::Object(probe)
}

fn resources(part: &Part<'_>) -> Value {
    let limits = &part.service.options.resources;
    let scaled = part.service.extension.scale.is_some();
    // an autoscaler counts by what is requested
    let requested = part.service.deploy.reserved_cpus.or(limits.nano_cpus.filter(|_| scaled));
    let limit = json!({"cpu": limits.nano_cpus.map(cpu), "memory": limits.memory.map(|bytes| bytes.to_string())});
    let request =
        json!({"cpu": requested.map(cpu), "memory": limits.memory_reservation.map(|bytes| bytes.to_string())});
    hollow(json!({"limits": hollow(limit), "requests": hollow(request)}))
}

/// Billionths of a CPU as a quantity.
fn cpu(nano: i64) -> String {
    match nano {
        whole if whole % 1_000_000_000 == 0 => (whole / 1_000_000_000).to_string(),
        milli if milli % 1_000_000 == 0 => format!("{}m", milli / 1_000_000),
        other => format!("{other}n"),
    }
}

/// The pod's volumes, and where its container has them.
fn volumes(scene: &Scene<'_>, part: &Part<'_>) -> (Vec<Value>, Vec<Value>) {
    let (mut volumes, mut mounts): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for (index, mount) in part.service.mounts.iter().enumerate() {
        let name = format!("mount-{index}");
        let mut at = json!({"name": name, "mountPath": mount.target()});
        let source = match mount {
            Mount::Volume { source: Some(source), read_only, subpath, .. } => {
                at["readOnly"] = json!(read_only.then_some(true));
                at["subPath"] = json!(subpath);
                json!({"persistentVolumeClaim": {"claimName": claim_name(scene, source)}})
            }
            Mount::Volume { source: None, .. } => json!({"emptyDir": {}}),
            Mount::Bind { source, read_only, create_host_path, propagation, .. } => {
                at["readOnly"] = json!(read_only.then_some(true));
                at["mountPropagation"] = json!(propagation.as_deref().and_then(|mode| match mode {
                    "shared" | "rshared" => Some("Bidirectional"),
                    "slave" | "rslave" => Some("HostToContainer"),
                    _ => None,
                }));
                // a name with an extension is a file's, and a folder in its place helps nobody
                let kind = (*create_host_path && source.extension().is_none()).then_some("DirectoryOrCreate");
                json!({"hostPath": {"path": source.display().to_string(), "type": kind}})
            }
            Mount::Tmpfs { size, .. } => {
                json!({"emptyDir": {"medium": "Memory", "sizeLimit": size.map(|bytes| bytes.to_string())}})
            }
            Mount::Image { source, subpath, .. } => {
                at["readOnly"] = json!(true);
                at["subPath"] = json!(subpath);
                json!({"image": {"reference": source}})
            }
        };
        volumes.push(named(&name, source));
        mounts.push(at);
    }
    let shm = part.service.options.shm_size;
    // one that is mounted is there already
    if let Some(size) = shm.filter(|_| part.service.mounts.iter().all(|mount| mount.target() != "/dev/shm")) {
        volumes.push(named("shm", json!({"emptyDir": {"medium": "Memory", "sizeLimit": size.to_string()}})));
        mounts.push(json!({"name": "shm", "mountPath": "/dev/shm"}));
    }
    for (secret, name, kind) in [(false, "config", "configMap"), (true, "files", "secret")] {
        let files = own_files(part, secret);
        if files.is_empty() {
            continue;
        }
        let items: Vec<Value> =
            files.iter().map(|(key, file)| json!({"key": key, "path": key, "mode": file.mode & 0o777})).collect();
        let source = match secret {
            true => json!({"secretName": files_name(part), "items": items}),
            false => json!({"name": config_name(part), "items": items}),
        };
        volumes.push(named(name, json!({kind: source})));
        mounts.extend(
            files
                .iter()
                .map(|(key, file)| json!({"name": name, "mountPath": file.path, "subPath": key, "readOnly": true})),
        );
    }
    let external = part.service.files.iter().filter_map(|file| Some((file, file.external.as_deref()?)));
    for (index, (file, name)) in external.enumerate() {
        let items = json!([{"key": name, "path": key_of(&file.target), "mode": file.mode & 0o777}]);
        let source = match file.secret {
            true => json!({"secret": {"secretName": name, "items": items}}),
            false => json!({"configMap": {"name": name, "items": items}}),
        };
        let volume = format!("external-{index}");
        volumes.push(named(&volume, source));
        mounts.push(json!({
            "name": volume, "mountPath": file.target, "subPath": key_of(&file.target), "readOnly": true,
        }));
    }
    (volumes, mounts)
}

fn named(name: &str, mut source: Value) -> Value {
    source["name"] = json!(name);
    source
}

#[cfg(test)]
mod tests {
    use super::cpu;

    #[test]
    fn cpus_are_said_in_the_largest_unit_that_holds_them() {
        for (nano, said) in [(2_000_000_000, "2"), (1_500_000_000, "1500m"), (1_500_000, "1500000n")] {
            assert_eq!(cpu(nano), said);
        }
    }
}
