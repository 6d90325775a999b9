//! A service becomes its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    Condition, ContainerOptions, ContainerSpec, CopiedFolder, DependsOn, FileSpec, Fingerprint, Healthcheck, MountSpec,
    Origin, Platform, PortBinding, Readiness, Role, Service, TaskInputs, TaskSpec, Timeouts, label,
};

use super::attachments::{attachments, holds_names, names, network_mode, network_name, searched};
use super::held::{self, Held, Share};
use super::mounts::{mount_spec, volume_name, volumes_for_files};
use super::naming::container_name;
use super::ports::{forwards, guarded, may_stay, ports};
use super::scene::Scene;
use super::{CompileError, Served, fingerprint, image};

/// Whom the ingress runs as: HAProxy's user in its own image.
const INGRESS_USER: u32 = 99;

/// What an engine takes for the interval and for the timeout of a health check that names none.
const USUAL_CHECK: Duration = Duration::from_secs(30);
/// And for its retries.
const USUAL_RETRIES: u32 = 3;
/// A health check may grant more than a clock can count.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a service that asks for it finds whom to trust.
const ROOT: &str = "/etc/macula/ca.pem";
const BUNDLE: &str = "/etc/macula/ca-bundle.pem";
/// Who reads what: OpenSSL, Go, rustls and Ruby; curl; Python's requests; Node.js, which adds it to
/// its own.
const TRUST: [(&str, &str); 4] = [
    ("SSL_CERT_FILE", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", ROOT),
];

/// The containers of one service. Errors of all its files at once.
pub(super) fn containers(scene: &Scene<'_>, service: &Service) -> Result<Vec<ContainerSpec>, Vec<CompileError>> {
    let mut errors = Vec::new();
    let files = files(scene, service, &mut errors);
    let env = environment(scene, service, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let make = |share: &Share| container(scene, service, share, &files, &env);
    let whole = |replica| Share { replica, ports: ports(scene, service, replica), names: names(scene, service) };
    let all: Vec<ContainerSpec> = (1..=service.replicas).map(|replica| make(&whole(replica))).collect();
    if let (Some(_), Some(first)) = (service.extension.role, all.first()) {
        let fits =
            |held: &&Held| held.replica == 1 && first.fingerprint.as_ref().is_some_and(|own| own.0 == held.fingerprint);
        let mut own = scene.site.held.iter().filter(|held| held.service == service.name);
        // one that is made anew has room for everything
        if own.any(|held| fits(&held)) {
            let mut whole = whole(1);
            // what passes on the ports in the engine's place takes up others as it runs
            let forwarded = if scene.site.facts.published { BTreeSet::new() } else { std::mem::take(&mut whole.ports) };
            let stays = |port: &PortBinding| may_stay(scene, service, port);
            let mut shares = held::divide(whole, &service.name, scene.site.held, &stays);
            if let Some(first) = shares.first_mut() {
                first.ports.extend(forwarded);
            }
            return Ok(shares.iter().map(make).collect());
        }
    }
    Ok(all)
}

/// What `docker compose -p PROJECT ps|logs|exec` and graphical tools look for.
fn compose_labels(scene: &Scene<'_>, service: &Service, replica: u32) -> Vec<(String, String)> {
    let key = |name: &str| format!("{}{name}", label::COMPOSE);
    let mut labels = vec![
        (key("project"), scene.platform.name.prefix()),
        (key("service"), service.name.clone()),
        (key("container-number"), replica.to_string()),
        (key("oneoff"), "False".to_owned()),
        (key("version"), scene.site.version.to_owned()),
    ];
    // for the order in which `docker compose -p PROJECT down` stops
    let needs = service.depends_on.iter().map(|(name, dependency)| {
        let condition = match dependency.condition {
            Condition::ServiceStarted => "service_started",
            Condition::ServiceHealthy => "service_healthy",
            Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
        };
        format!("{name}:{condition}:{}", dependency.restart)
    });
    labels.push((key("depends_on"), needs.collect::<Vec<_>>().join(",")));
    if let Some(file) = scene.platform.file_of(scene.stack) {
        let folder = file.parent().unwrap_or(&file);
        labels.push((label::CONFIG_FILES.to_owned(), file.display().to_string()));
        labels.push((key("project.working_dir"), folder.display().to_string()));
    }
    labels
}

fn container(scene: &Scene<'_>, service: &Service, share: &Share, files: &[FileSpec], env: &[String]) -> ContainerSpec {
    let Scene { platform, stack, site, .. } = scene;
    let replica = share.replica;
    let name = container_name(platform, service, replica);
    let one_shot = platform.is_job(service);
    let mut mounts: Vec<MountSpec> =
        service.mounts.iter().map(|mount| mount_spec(platform, stack, &name, mount)).collect();
    let for_files = volumes_for_files(&name, files, &mounts, service.options.read_only);
    // a file right in a tmpfs: the volume takes its place, or it would hide the file
    let replaced = |mount: &MountSpec| match mount {
        MountSpec::Tmpfs { target, .. } => for_files.iter().any(
            |volume| matches!(volume, MountSpec::Volume { target: other, .. } if other == target.trim_end_matches('/')),
        ),
        _ => false,
    };
    mounts.retain(|mount| !replaced(mount));
    mounts.extend(for_files);
    let copies = stack.volumes.iter().filter_map(|(key, declared)| {
        let name = volume_name(platform, stack, key);
        let mounted = mounts.iter().any(|mount| matches!(mount, MountSpec::Volume { source, .. } if *source == name));
        Some((name, declared.copy.clone().filter(|_| mounted)?))
    });
    let copies: BTreeMap<String, CopiedFolder> = copies.collect();
    let mut labels = service.labels.clone();
    labels.extend(super::own_labels(platform, site, Some(&stack.name)));
    labels.extend(compose_labels(scene, service, replica));
    labels.insert(label::SERVICE.into(), service.name.clone());
    labels.insert(label::REPLICA.into(), replica.to_string());
    if one_shot {
        labels.insert(label::ONE_SHOT.into(), "true".into());
    }
    if holds_names(platform, service) {
        labels.insert(label::NAMES.into(), share.names.iter().map(String::as_str).collect::<Vec<_>>().join(","));
    }
    if service.extension.role == Some(Role::Ingress) && site.facts.published {
        labels.insert(label::PORTS.into(), held::ports_text(&share.ports));
    }
    for (label, hooks) in [(label::POST_START, &service.post_start), (label::PRE_STOP, &service.pre_stop)] {
        if !hooks.is_empty() {
            labels.insert(label.into(), serde_json::to_string(hooks).unwrap_or_default());
        }
    }
    let reloaded: Vec<&str> = files.iter().filter(|file| file.reload).map(|file| file.path.as_str()).collect();
    if !reloaded.is_empty() {
        labels.insert(label::RELOADED.into(), serde_json::to_string(&reloaded).unwrap_or_default());
    }
    let task = task(platform, service, &copies);
    if let Some(task) = &task {
        labels.insert(label::TASK.into(), task.inputs.text());
    }
    let needs: Vec<&str> = service.depends_on.keys().map(String::as_str).collect();
    if !needs.is_empty() {
        labels.insert(label::DEPENDS_ON.into(), needs.join(","));
    }
    let (ports, forwards) = match site.facts.published {
        true => (share.ports.iter().cloned().collect(), Vec::new()),
        false => (Vec::new(), forwards(scene, service, &name, &share.ports)),
    };
    let mut options = options(platform, service);
    if service.network_mode.is_none() {
        options.dns_search.splice(0..0, searched(scene));
    }
    let mut spec = ContainerSpec {
        name,
        stack: stack.name.clone(),
        service: service.name.clone(),
        replica,
        image: image::image_reference(platform, service),
        env: env.to_vec(),
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        networks: attachments(scene, service, share),
        network_mode: service.network_mode.as_deref().map(|mode| network_mode(platform, mode)),
        ports,
        forwards,
        guarded: guarded(scene, service),
        copies,
        expose: service.expose.clone(),
        expose_other: service.expose_other.clone(),
        mounts,
        files: Vec::new(),
        healthcheck: service.healthcheck.clone(),
        stop_grace_ms: service.stop_grace_period.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
        options,
        labels,
        readiness: Readiness {
            probe: service.extension.probe.clone(),
            one_shot,
            timeout: service
                .extension
                .probe
                .as_ref()
                .and_then(|probe| probe.timeout)
                .or(service.extension.task.as_ref().map(|task| task.timeout))
                .unwrap_or_else(|| patience(platform.timeouts.healthy, service.healthcheck.as_ref())),
            patient: platform.timeouts.healthy > Timeouts::default().healthy,
        },
        update: service.update.clone(),
        depends_on: service
            .depends_on
            .iter()
            .map(|(service, dependency)| DependsOn {
                service: service.clone(),
                condition: dependency.condition,
                required: dependency.required,
                restart: dependency.restart,
            })
            .collect(),
        reload: service.extension.reload.clone(),
        reload_check: service.extension.reload_check.clone(),
        optional: service.extension.optional,
        provider: service.extension.provider.clone(),
        task,
        fingerprint: None,
        parts: String::new(),
    };
    let (fingerprint, parts) = fingerprint::of(&spec, files);
    spec.files = files.to_vec();
    // without it `docker compose` passes over a container
    spec.labels.insert(format!("{}config-hash", label::COMPOSE), fingerprint.0.clone());
    spec.fingerprint = Some(fingerprint);
    spec.parts = parts;
    spec
}

/// How long a service may take to become healthy: no less than its own health check grants it, where that names a time
/// for the start. `usual`: of the platform.
fn patience(usual: Duration, check: Option<&Healthcheck>) -> Duration {
    let Some(check) = check else { return usual };
    let Some(start) = check.start_period.filter(|start| !start.is_zero()) else { return usual };
    let each = check.interval.unwrap_or(USUAL_CHECK).saturating_add(check.timeout.unwrap_or(USUAL_CHECK));
    let granted = start.saturating_add(each.saturating_mul(check.retries.unwrap_or(USUAL_RETRIES)));
    usual.max(granted.min(LONGEST))
}

/// What decides whether a task runs. Where it names the files that it works on, a new build of its image is no
/// reason: an application is built again with every change of its own. Nor are files that are copied for it.
fn task(platform: &Platform, service: &Service, copies: &BTreeMap<String, CopiedFolder>) -> Option<TaskSpec> {
    let job = service.extension.task.as_ref()?;
    let spec = image::image_spec(platform, service);
    let image = match (&service.image, &spec.build) {
        (image, Some(build)) if job.changed.is_empty() => {
            format!("{} {}", image.as_deref().unwrap_or_default(), build.fingerprint)
        }
        (image, _) => image.clone().unwrap_or_default(),
    };
    let command = Fingerprint::of(&service.command).0;
    let mut inputs = TaskInputs::new(job, command, Fingerprint::of(&image).0);
    for folder in copies.values().filter(|_| job.changed.is_empty()) {
        inputs.0.entry(format!("files of {}", folder.shown)).or_default().push_str(&folder.volume());
    }
    Some(TaskSpec { name: job.name.clone(), inputs, otherwise: job.otherwise, by_image: job.changed.is_empty() })
}

fn environment(scene: &Scene<'_>, service: &Service, errors: &mut Vec<CompileError>) -> Vec<String> {
    let mut all = service.environment.clone();
    for variable in service.extension.secrets.keys() {
        match scene.site.secrets.get(&service.name, variable) {
            Some(value) => {
                all.insert(variable.clone(), value.to_owned());
            }
            None => {
                errors.push(CompileError::MissingSecret { service: service.name.clone(), variable: variable.clone() })
            }
        }
    }
    if !service.extension.environment.is_empty() {
        let own = scene.context.of_service(scene.stack, service);
        for (variable, template) in &service.extension.environment {
            match own.render(variable, template) {
                Ok(value) => {
                    all.insert(variable.clone(), value);
                }
                Err(error) => errors.push(CompileError::Template {
                    service: service.name.clone(),
                    path: format!("x-macula.environment.{variable}"),
                    source: error.inside(variable).into(),
                }),
            }
        }
    }
    if service.extension.trust && scene.site.certificate.is_some() {
        for (variable, path) in TRUST {
            // what the stack file says comes first
            all.entry(variable.to_owned()).or_insert_with(|| path.to_owned());
        }
    }
    // a name alone takes the image's variable away
    let unset = service.unset.iter().filter(|name| !all.contains_key(*name)).cloned();
    let mut env: Vec<String> = unset.collect();
    env.extend(all.into_iter().map(|(key, value)| format!("{key}={value}")));
    env.sort();
    env
}

fn files(scene: &Scene<'_>, service: &Service, errors: &mut Vec<CompileError>) -> Vec<FileSpec> {
    let mut all: Vec<FileSpec> = service
        .files
        .iter()
        .map(|file| FileSpec {
            path: file.target.clone(),
            content: file.content.clone(),
            uid: file.uid,
            gid: file.gid,
            mode: file.mode,
            secret: file.secret,
            reload: service.extension.reload.is_some() && !file.secret,
        })
        .collect();
    if let (Some(_), Some(served)) = (service.extension.role, scene.site.certificate) {
        all.push(certificate_file(served, service.extension.reload.is_some()));
    }
    if let (true, Some(served)) = (service.extension.trust, scene.site.certificate) {
        all.extend(trust_files(served));
    }
    if service.extension.configs.is_empty() {
        return all;
    }
    let own = scene.context.of_service(scene.stack, service);
    for (path, template) in &service.extension.configs {
        match own.render(&template.name, &template.source) {
            Ok(content) => all.push(FileSpec {
                path: path.clone(),
                content: content.into_bytes(),
                uid: template.uid,
                gid: template.gid,
                mode: template.mode,
                secret: true,
                reload: service.extension.reload.is_some(),
            }),
            Err(error) => errors.push(CompileError::Template {
                service: service.name.clone(),
                path: format!("x-macula.configs.{path}"),
                source: error.into(),
            }),
        }
    }
    all
}

/// Where the ingress's configuration looks for it: the certificate and its key in one file, for the
/// user that its image runs as.
pub fn certificate_file(served: &Served, reload: bool) -> FileSpec {
    FileSpec {
        path: "/etc/haproxy/tls/tls.pem".to_owned(),
        content: format!("{}{}", served.chain, served.key).into_bytes(),
        uid: INGRESS_USER,
        gid: INGRESS_USER,
        mode: 0o400,
        secret: true,
        reload,
    }
}

/// The root alone, and among all that this machine trusts: most programs take one file, in place of
/// their own.
fn trust_files(served: &Served) -> [FileSpec; 2] {
    let file = |path: &str, content: &str| FileSpec {
        path: path.to_owned(),
        content: content.as_bytes().to_vec(),
        uid: 0,
        gid: 0,
        mode: 0o444,
        secret: false,
        reload: false,
    };
    [file(ROOT, &served.root), file(BUNDLE, &served.bundle)]
}

/// What other containers are called in the engine stands in the place of their services.
fn options(platform: &Platform, service: &Service) -> ContainerOptions {
    let container = |name: &str| match platform.service(name) {
        Some((_, service)) => container_name(platform, service, 1),
        None => name.to_owned(),
    };
    let mut options = service.options.clone();
    for mode in [&mut options.pid, &mut options.ipc, &mut options.uts].into_iter().flatten() {
        *mode = network_mode(platform, mode);
    }
    for from in &mut options.volumes_from {
        *from = match from.strip_prefix("container:") {
            Some(outside) => outside.to_owned(),
            None => match from.split_once(':') {
                Some((name, access)) => format!("{}:{access}", container(name)),
                None => container(from),
            },
        };
    }
    for link in &mut options.links {
        if let Some((name, alias)) = link.split_once(':') {
            *link = format!("{}:{alias}", container(name));
        }
    }
    options
}

/// Names in the engine that a platform will use, known without compiling it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedNames {
    pub containers: Vec<String>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    /// Containers that follow a dependency which is started again: it counts when they have started themselves.
    pub timed: Vec<String>,
}

/// See [`WantedNames`].
pub fn wanted_names(platform: &Platform) -> WantedNames {
    let mut names = WantedNames { networks: vec![platform.name.network()], ..WantedNames::default() };
    for stack in &platform.stacks {
        names.networks.extend(stack.networks.keys().map(|key| network_name(platform, stack, key)));
        names.volumes.extend(stack.volumes.keys().map(|key| volume_name(platform, stack, key)));
        if let Origin::File(_) = stack.origin {
            names.volumes.extend(stack.volumes.keys().map(|key| label::compose_volume(&stack.name, key)));
        }
        for service in stack.services.values() {
            let of_it: Vec<String> =
                (1..=service.replicas).map(|replica| container_name(platform, service, replica)).collect();
            if service.depends_on.values().any(|dependency| dependency.restart) {
                names.timed.extend(of_it.iter().cloned());
            }
            names.containers.extend(of_it);
        }
    }
    names.networks.sort();
    names.networks.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_that_names_a_time_for_the_start_gets_it() {
        let seconds = Duration::from_secs;
        let check = |start, interval: Option<u64>, timeout: Option<u64>, retries| Healthcheck {
            test: vec!["CMD".into(), "ask".into()],
            interval: interval.map(seconds),
            timeout: timeout.map(seconds),
            retries,
            start_period: start,
            start_interval: None,
        };
        for (check, expected) in [
            (None, 120),
            // without a time for the start the platform's own limit says how long
            (Some(check(None, Some(60), Some(60), Some(10))), 120),
            (Some(check(Some(Duration::ZERO), Some(60), Some(60), Some(10))), 120),
            (Some(check(Some(seconds(300)), None, None, None)), 480),
            (Some(check(Some(seconds(300)), Some(10), Some(5), Some(4))), 360),
            (Some(check(Some(seconds(5)), Some(1), Some(1), Some(1))), 120),
        ] {
            assert_eq!(patience(seconds(120), check.as_ref()), seconds(expected), "{check:?}");
        }
        assert_eq!(patience(seconds(120), Some(&check(Some(Duration::MAX), None, None, None))), LONGEST);
    }
}
