//! A service becomes its containers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use crate::model::{
    Condition, ContainerOptions, ContainerSpec, DependsOn, FileSpec, Forward, Mount, MountSpec, NetworkAttachment,
    Origin, Platform, PortBinding, Protocol, PublishedPort, Readiness, Role, Route, Service, Stack, Stream, label,
};
use crate::render;

use super::address::{ingress_address, inside_address, loopback_address};
use super::held::{self, Held, Share};
use super::{CompileError, Served, Site, context, fingerprint, image};

/// Whom the ingress runs as: HAProxy's user in its own image.
const INGRESS_USER: u32 = 99;

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

/// Behind the name of the container, in names of volumes for the files of one folder.
const FILES: &str = "-files-";

/// What every service of a stack shares while it is compiled.
pub(super) struct Scene<'a> {
    pub platform: &'a Platform,
    pub stack: &'a Stack,
    pub site: &'a Site<'a>,
    pub routes: &'a [Route],
    pub streams: &'a [Stream],
    pub context: &'a Value,
}

/// `macula-grafana-1`, or what `container_name` says.
pub fn container_name(platform: &Platform, service: &Service, replica: u32) -> String {
    match &service.container_name {
        // only the ingress, which may need more of them, has several with a name of its own
        Some(name) if replica > 1 => format!("{name}-{replica}"),
        Some(name) => name.clone(),
        None => platform.name.container(&service.name, replica),
    }
}

pub(super) fn network_name(platform: &Platform, stack: &Stack, key: &str) -> String {
    if key == "default" && !stack.networks.contains_key(key) {
        return platform.name.network();
    }
    match stack.networks.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(declared) if declared.name.is_some() => declared.name.clone().unwrap_or_default(),
        _ => platform.name.stack_network(&stack.name, key),
    }
}

pub(super) fn volume_name(platform: &Platform, stack: &Stack, key: &str) -> String {
    match stack.volumes.get(key) {
        Some(declared) if declared.external => declared.name.clone().unwrap_or_else(|| key.to_owned()),
        Some(declared) if declared.name.is_some() => declared.name.clone().unwrap_or_default(),
        _ => platform.name.volume(key),
    }
}

pub(super) fn mounts_volume(spec: &ContainerSpec, name: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, MountSpec::Volume { source, .. } if source == name))
}

/// Volumes that no stack declares, named after their container: those that hold its files, and those
/// that its stack mounts without a name.
pub(super) fn own_volumes(spec: &ContainerSpec) -> impl Iterator<Item = String> + '_ {
    let prefix = format!("{}-", spec.name);
    spec.mounts.iter().filter_map(move |mount| match mount {
        MountSpec::Volume { source, .. } if source.starts_with(&prefix) => Some(source.clone()),
        _ => None,
    })
}

/// Whether a volume of the container's own holds only what is copied in.
pub(super) fn holds_files(spec: &ContainerSpec, volume: &str) -> bool {
    volume.strip_prefix(&spec.name).is_some_and(|rest| rest.starts_with(FILES))
}

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
    if let Origin::File(file) = &scene.stack.origin {
        let folder = file.parent().unwrap_or(file);
        labels.push((key("project.config_files"), file.display().to_string()));
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
    let needs: Vec<&str> = service.depends_on.keys().map(String::as_str).collect();
    if !needs.is_empty() {
        labels.insert(label::DEPENDS_ON.into(), needs.join(","));
    }
    let (ports, forwards) = match site.facts.published {
        true => (share.ports.iter().cloned().collect(), Vec::new()),
        false => (Vec::new(), forwards(scene, service, &name, &share.ports)),
    };
    let mut spec = ContainerSpec {
        name,
        stack: stack.name.clone(),
        service: service.name.clone(),
        replica,
        image: image::image_spec(platform, service).reference,
        env: env.to_vec(),
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        networks: attachments(scene, service, share),
        network_mode: service.network_mode.as_deref().map(|mode| network_mode(platform, mode)),
        ports,
        forwards,
        guarded: guarded(scene, service),
        expose: service.expose.clone(),
        expose_other: service.expose_other.clone(),
        mounts,
        files: files.to_vec(),
        healthcheck: service.healthcheck.clone(),
        stop_grace_ms: service.stop_grace_period.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
        options: options(platform, service),
        labels,
        readiness: Readiness {
            probe: service.extension.probe.clone(),
            one_shot,
            timeout: service
                .extension
                .probe
                .as_ref()
                .and_then(|probe| probe.timeout)
                .unwrap_or(platform.timeouts.healthy),
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
        fingerprint: None,
        parts: String::new(),
    };
    let (fingerprint, parts) = fingerprint::of(&spec);
    // without it `docker compose` passes over a container
    spec.labels.insert(format!("{}config-hash", label::COMPOSE), fingerprint.0.clone());
    spec.fingerprint = Some(fingerprint);
    spec.parts = parts;
    spec
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
        let own = context::for_service(scene.context, scene.stack, service);
        for (variable, template) in &service.extension.environment {
            match render::render(variable, template, &own) {
                Ok(value) => {
                    all.insert(variable.clone(), value);
                }
                Err(error) => errors.push(CompileError::Template {
                    service: service.name.clone(),
                    path: format!("x-macula.environment.{variable}"),
                    message: error.inside(variable),
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
    let own = context::for_service(scene.context, scene.stack, service);
    for (path, template) in &service.extension.configs {
        match render::render(&template.name, &template.source, &own) {
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
                message: error.to_string(),
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

fn attachments(scene: &Scene<'_>, service: &Service, share: &Share) -> Vec<NetworkAttachment> {
    if service.network_mode.is_some() {
        return Vec::new();
    }
    let Scene { platform, stack, site, .. } = scene;
    let ingress = holds_names(platform, service);
    // what the ingress or Prometheus must reach, and what must reach the shared PostgreSQL, is on the
    // platform's network, whatever else it is on
    let reached = service.extension.role.is_some()
        || !service.extension.ingress.is_empty()
        || !service.extension.metrics.is_empty()
        || !service.extension.databases.is_empty()
        || stack.scoped && service.networks.contains_key("default");
    let shared = shared_names(platform, stack);
    // a default network that the file describes is one of the stack's own
    let own_default = stack.networks.contains_key("default");
    let on_default = service.networks.is_empty() || service.networks.contains_key("default") && !own_default || reached;
    let mut all = Vec::new();
    if on_default {
        let declared = service.networks.get("default").filter(|_| !own_default);
        // the name of the ingress leads to the first of its containers
        let more = service.extension.role.is_some() && share.replica > 1;
        let mut aliases = if more { Vec::new() } else { vec![service.name.clone()] };
        aliases.extend(declared.into_iter().flat_map(|network| network.aliases.clone()));
        let fixed = super::own_inside(platform).get(&service.name).copied();
        if ingress {
            // inside, every name leads to the ingress
            aliases.extend(share.names.iter().cloned());
        } else if fixed.is_some() {
            aliases.push(super::fully_qualified(&service.name, &platform.domain));
        }
        aliases.sort();
        aliases.dedup();
        all.push(NetworkAttachment {
            network: platform.name.network(),
            aliases,
            links: Vec::new(),
            ipv4: match declared.and_then(|network| network.ipv4_address) {
                Some(address) => Some(address),
                None if ingress && share.replica == 1 => Some(ingress_address(site.subnet)),
                None => fixed.map(|octet| inside_address(site.subnet, octet)),
            },
            ipv6: declared.and_then(|network| network.ipv6_address),
        });
    }
    for (key, network) in service.networks.iter().filter(|(key, _)| *key != "default" || own_default) {
        let name = network_name(platform, stack, key);
        // a container is on a network once, under whatever keys it is declared
        if let Some(known) = all.iter_mut().find(|attachment: &&mut NetworkAttachment| attachment.network == name) {
            known.aliases.extend(network.aliases.clone());
            known.aliases.sort();
            known.aliases.dedup();
            known.links.extend(links(stack, key, &shared));
            known.ipv4 = known.ipv4.or(network.ipv4_address);
            known.ipv6 = known.ipv6.or(network.ipv6_address);
            continue;
        }
        let mut aliases = vec![service.name.clone()];
        aliases.extend(service.short.clone());
        aliases.extend(network.aliases.clone());
        let unmistakable: Vec<String> =
            aliases.iter().filter(|name| shared.contains(*name)).map(|name| in_stack(name, stack)).collect();
        aliases.extend(unmistakable);
        all.push(NetworkAttachment {
            network: name,
            aliases,
            links: links(stack, key, &shared),
            ipv4: network.ipv4_address,
            ipv6: network.ipv6_address,
        });
    }
    all
}

/// Names that services of a stack have in its own networks, and other services in the platform's.
fn shared_names(platform: &Platform, stack: &Stack) -> BTreeSet<String> {
    if !stack.scoped {
        return BTreeSet::new();
    }
    let others = platform.services().filter(|(other, _)| other.name != stack.name);
    let others: BTreeSet<&str> = others.map(|(_, service)| service.name.as_str()).collect();
    let own = stack.services.values().flat_map(|service| {
        let aliases = service.networks.values().flat_map(|network| &network.aliases);
        service.short.iter().chain(aliases)
    });
    own.filter(|name| others.contains(name.as_str())).cloned().collect()
}

/// A name that nobody else has.
fn in_stack(name: &str, stack: &Stack) -> String {
    format!("{name}.{}", stack.name)
}

/// The engine asks a container's networks in no order that counts, so a name that two of them know leads
/// anywhere. What a container has as a link it finds first.
fn links(stack: &Stack, network: &str, shared: &BTreeSet<String>) -> Vec<String> {
    let there = |name: &&String| {
        stack.services.values().any(|service| {
            service
                .networks
                .get(network)
                .is_some_and(|joined| service.short.as_ref() == Some(*name) || joined.aliases.contains(name))
        })
    };
    shared.iter().filter(there).map(|name| format!("{}:{name}", in_stack(name, stack))).collect()
}

/// Inside the platform's network every name leads to this service.
fn holds_names(platform: &Platform, service: &Service) -> bool {
    match service.extension.role {
        Some(Role::Names) => true,
        Some(Role::Ingress) => !platform.services().any(|(_, other)| other.extension.role == Some(Role::Names)),
        None => false,
    }
}

/// What leads to the ingress inside. Engines know no wildcards.
fn names_inside(scene: &Scene<'_>) -> BTreeSet<String> {
    let own = scene.routes.iter().filter(|route| route.own && !route.host.starts_with('*'));
    let apart = super::own_inside(scene.platform);
    let through = |(service, _): &(&Service, Ipv4Addr)| !apart.contains_key(&service.name);
    let direct = direct_services(scene.platform).filter(through);
    let name = |(service, _): (&Service, Ipv4Addr)| super::fully_qualified(&service.name, &scene.platform.domain);
    // the background process takes it, where there is one
    let received = scene.site.resolver.then(|| super::received(scene.platform, scene.site.block)).into_iter().flatten();
    own.map(|route| route.host.clone()).chain(direct.map(name)).chain(received.map(|received| received.host)).collect()
}

/// Names of services that are reached on a port and not through HTTP, `postgres.macula.local`, with
/// their address as declared.
pub fn direct_names(platform: &Platform) -> impl Iterator<Item = (String, Ipv4Addr)> + '_ {
    direct_services(platform)
        .map(|(service, address)| (super::fully_qualified(&service.name, &platform.domain), address))
}

fn direct_services(platform: &Platform) -> impl Iterator<Item = (&Service, Ipv4Addr)> + '_ {
    platform.services().filter_map(|(_, service)| {
        let address = service.extension.address?;
        service.ports.iter().any(|port| port.published.is_some()).then_some((service, address))
    })
}

fn network_mode(platform: &Platform, mode: &str) -> String {
    match mode.strip_prefix("service:").and_then(|name| platform.service(name)) {
        Some((_, service)) => format!("container:{}", container_name(platform, service, 1)),
        None => mode.to_owned(),
    }
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

fn ports(scene: &Scene<'_>, service: &Service, replica: u32) -> BTreeSet<PortBinding> {
    let Scene { platform, site, .. } = scene;
    let published = service.ports.iter().filter(|port| !is_guarded(scene, service, port));
    let mut all: BTreeSet<PortBinding> = published.map(|port| binding(scene, service, port, replica)).collect();
    if service.extension.role == Some(Role::Ingress) {
        let settings = &platform.ingress;
        for address in ingress_addresses(scene) {
            let mut publish = |host_port, container_port| {
                all.insert(PortBinding {
                    host_ip: address.into(),
                    host_port: Some(host_port),
                    container_port,
                    protocol: Protocol::Tcp,
                });
            };
            publish(settings.http, 80);
            if site.certificate.is_some() {
                publish(settings.https, 443);
            }
        }
        let services = platform.services().map(|(_, service)| service);
        // inside the ingress it has the number that it is published under
        let held = services
            .flat_map(|service| guarded(scene, service))
            .filter_map(|port| Some(PortBinding { container_port: port.host_port?, ..port }));
        all.extend(held);
    }
    all
}

/// The names that lead to this service inside.
fn names(scene: &Scene<'_>, service: &Service) -> BTreeSet<String> {
    if holds_names(scene.platform, service) { names_inside(scene) } else { BTreeSet::new() }
}

/// Whether the ingress may go on publishing a port that is not wanted any more: one of HTTP, on an address that
/// has had a service and that nobody else asks for.
fn may_stay(scene: &Scene<'_>, ingress: &Service, port: &PortBinding) -> bool {
    let Scene { platform, site, .. } = scene;
    let web = match port.container_port {
        80 => port.host_port == Some(platform.ingress.http),
        443 => port.host_port == Some(platform.ingress.https) && site.certificate.is_some(),
        _ => false,
    };
    let others = platform.services().map(|(_, service)| service).filter(|service| service.name != ingress.name);
    let mut theirs = others.flat_map(|service| service.ports.iter().map(|port| binding(scene, service, port, 1)));
    web && !theirs.any(|other| (other.host_ip, other.host_port) == (port.host_ip, port.host_port))
}

fn binding(scene: &Scene<'_>, service: &Service, port: &PublishedPort, replica: u32) -> PortBinding {
    let own = loopback_address(scene.site.block, service.extension.address);
    PortBinding {
        host_ip: port.host_ip.unwrap_or(own.into()),
        // each replica has its own of a range
        host_port: port.published.map(|first| match port.published_to {
            Some(last) => first.saturating_add(u16::try_from(replica - 1).unwrap_or(u16::MAX)).min(last),
            None => first,
        }),
        container_port: port.target,
        protocol: port.protocol,
    }
}

/// Whether the ingress stands before this port of the service.
fn is_guarded(scene: &Scene<'_>, service: &Service, port: &PublishedPort) -> bool {
    let host_ip = port.host_ip.is_none_or(|address| address.is_loopback());
    host_ip
        && scene.streams.iter().any(|stream| {
            !stream.hosts.is_empty()
                && stream.service == service.name
                && (Some(stream.port), stream.target, stream.protocol) == (port.published, port.target, port.protocol)
        })
}

/// The service's guarded ports.
fn guarded(scene: &Scene<'_>, service: &Service) -> Vec<PortBinding> {
    let ports = service.ports.iter().filter(|port| is_guarded(scene, service, port));
    ports.map(|port| binding(scene, service, port, 1)).collect()
}

/// The same ports, for who passes on what arrives there: on loopback only, since nobody but this machine was to
/// reach what the engine does not publish. A port that the engine was to choose has no number here.
fn forwards(scene: &Scene<'_>, service: &Service, name: &str, ports: &BTreeSet<PortBinding>) -> Vec<Forward> {
    let mode = service.network_mode.as_deref().map(|mode| network_mode(scene.platform, mode));
    let owner = mode.as_deref().and_then(|mode| mode.strip_prefix("container:")).unwrap_or(name);
    let forward = |port: &PortBinding| {
        let address = match port.host_ip {
            address if address.is_loopback() => address,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Some(Forward {
            listen: SocketAddr::new(address, port.host_port?),
            protocol: port.protocol,
            service: service.name.clone(),
            container: owner.to_owned(),
            port: port.container_port,
        })
    };
    ports.iter().filter_map(forward).collect()
}

/// The block's .1 and every address that a service has of its own.
fn ingress_addresses(scene: &Scene<'_>) -> std::collections::BTreeSet<std::net::Ipv4Addr> {
    let block = scene.site.block;
    scene
        .platform
        .services()
        .filter(|(_, service)| service.extension.address.is_some())
        .map(|(_, service)| loopback_address(block, service.extension.address))
        .chain([block.address(1)])
        .collect()
}

fn mount_spec(platform: &Platform, stack: &Stack, container: &str, mount: &Mount) -> MountSpec {
    match mount {
        Mount::Bind { source, target, read_only, create_host_path, propagation, selinux } => MountSpec::Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: *read_only,
            create_host_path: *create_host_path,
            propagation: propagation.clone(),
            selinux: selinux.clone(),
        },
        Mount::Volume { source, target, read_only, no_copy, subpath } => MountSpec::Volume {
            source: match source {
                Some(key) => volume_name(platform, stack, key),
                // an anonymous volume would be lost with its container
                None => format!("{container}-{}", slug(target)),
            },
            target: target.clone(),
            read_only: *read_only,
            no_copy: *no_copy,
            subpath: subpath.clone(),
        },
        Mount::Tmpfs { target, size, mode, options } => {
            MountSpec::Tmpfs { target: target.clone(), size: *size, mode: *mode, options: options.clone() }
        }
        Mount::Image { source, target, subpath } => {
            MountSpec::Image { source: source.clone(), target: target.clone(), subpath: subpath.clone() }
        }
    }
}

/// The archive API refuses a read-only root file system, and a tmpfs is empty when the container starts;
/// but it writes into volumes: one for each folder that holds a file. The engine fills it with what the
/// image has there.
fn volumes_for_files(container: &str, files: &[FileSpec], mounts: &[MountSpec], read_only: bool) -> Vec<MountSpec> {
    let needs_one = |path: &str| {
        let target = |mount: &MountSpec| mount.target().trim_end_matches('/').to_owned();
        let above = |mount: &&MountSpec| path.strip_prefix(&target(mount)).is_some_and(|rest| rest.starts_with('/'));
        match mounts.iter().filter(above).max_by_key(|mount| target(mount).len()) {
            Some(MountSpec::Tmpfs { .. }) => true,
            Some(_) => false,
            None => read_only,
        }
    };
    let folders: std::collections::BTreeSet<&str> = files
        .iter()
        .filter(|file| needs_one(&file.path))
        .filter_map(|file| file.path.rsplit_once('/').map(|(folder, _)| folder))
        .filter(|folder| !folder.is_empty())
        .collect();
    // a folder inside another one needs no volume of its own
    let outermost = folders.iter().filter(|folder| {
        !folders.iter().any(|other| folder.strip_prefix(*other).is_some_and(|rest| rest.starts_with('/')))
    });
    outermost
        .map(|folder| MountSpec::Volume {
            source: format!("{container}{FILES}{}", slug(folder)),
            target: (*folder).to_owned(),
            read_only: false,
            no_copy: false,
            subpath: None,
        })
        .collect()
}

/// `/var/lib/x` -> `var-lib-x`
fn slug(path: &str) -> String {
    let text: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' }).collect();
    text.trim_matches('-').to_owned()
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

/// Names in the engine of the named volumes that a service mounts.
pub fn service_volumes(platform: &Platform, service: &Service) -> Vec<String> {
    named_volumes(platform, service, |_| true)
}

/// Those among them that it may write to: what it only reads was put there by another service.
pub fn written_volumes(platform: &Platform, service: &Service) -> Vec<String> {
    named_volumes(platform, service, |read_only| !read_only)
}

fn named_volumes(platform: &Platform, service: &Service, wanted: impl Fn(bool) -> bool) -> Vec<String> {
    let Some((stack, _)) = platform.service(&service.name) else { return Vec::new() };
    service
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::Volume { source: Some(key), read_only, .. } if wanted(*read_only) => {
                Some(volume_name(platform, stack, key))
            }
            _ => None,
        })
        .collect()
}
