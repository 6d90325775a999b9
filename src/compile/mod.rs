//! Floor 2, pure: a [`Platform`] and what is known of the machine become [`Resources`].

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{
    AnyError, Facts, Fingerprint, IpamPool, MachineTask, MachineTaskSpec, NetworkSpec, Origin, Platform, Resources,
    Secrets, TaskInputs, VolumeSpec, label,
};

pub mod addons;
pub mod targets;

mod address;
mod apart;
mod attachments;
mod builder;
mod cluster;
mod container;
mod context;
mod copies;
mod fingerprint;
mod held;
mod image;
mod ingress;
mod mounts;
mod naming;
mod ports;
mod remap;
mod scene;
mod zone;

pub use address::{
    Block, Taken, arrivals_address, choose_block, choose_subnet, gateway, ingress_address, inside_address, is_wide,
    loopback_address, published_addresses, published_on,
};
pub use apart::{Apart, kept_apart, rename as rename_apart};
pub use builder::cannot_build;
pub use cluster::{
    ClusterSite, applications_address, choose_cluster_subnets, cluster, cluster_ports, kubernetes_minor, node_images,
};
pub use container::{WantedNames, certificate_file, wanted_names};
pub use context::TemplateContext;
pub use copies::{
    Here, LONGEST_FILE, MOST_BYTES, MOST_FILES, MountProblem, Part, There, Why, is_copied, is_copied_without_help, lay,
    parts, shown,
};
pub use held::{Held, held};
pub use image::{BASE_SUITE, Source, image_specs, lockable, mirrored};
pub use ingress::{
    INTERNAL as INGRESS_COUNTERS, Member, Received, Share, Upstream, counted, fully_qualified, is_own, names,
    own_inside, received, routes, shares, streams, upstream,
};
pub use mounts::{service_volumes, written_volumes};
pub use naming::{container_name, direct_names};
pub use remap::{MovedPort, make_room};
pub use zone::{RESOLVER, feed, name_as_the_domain, records_api, resolver_metrics, zone};

/// What differs from machine to machine and from day to day; everything that compile may know
/// beside the platform.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    pub facts: &'a Facts,
    /// Of the platform's network.
    pub subnet: Ipv4Net,
    /// The platform's loopback addresses.
    pub block: Block,
    pub secrets: &'a Secrets,
    /// What the ingress serves HTTPS with; `None`: plain HTTP only.
    pub certificate: Option<&'a Served>,
    /// Of this program, for the labels.
    pub version: &'a str,
    /// The resolver is there, a target of Prometheus.
    pub resolver: bool,
    /// What the containers of the ingress have already.
    pub held: &'a [Held],
}

/// A certificate, its key and whom one has to trust for it, PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// The certificate, then its intermediate.
    pub chain: String,
    pub key: String,
    /// The authority's root.
    pub root: String,
    /// The root among all that this machine trusts; empty when no service asks for it.
    pub bundle: String,
}

/// Never shows the key.
impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("service {service}: {path}: {source}")]
    Template { service: String, path: String, source: AnyError },
    #[error("service {service}: the secret {variable} has no value")]
    MissingSecret { service: String, variable: String },
}

/// All resources of a platform. Errors of all services at once.
pub fn compile(platform: &Platform, site: &Site<'_>) -> Result<Resources, Vec<CompileError>> {
    compile_with(platform, site, &TemplateContext::new(platform, site))
}

/// The same with the context of its templates, which others use as well.
pub fn compile_with(
    platform: &Platform,
    site: &Site<'_>,
    context: &TemplateContext,
) -> Result<Resources, Vec<CompileError>> {
    let routes = ingress::routes(platform, site.block);
    let streams = ingress::streams(platform);
    let mut errors = Vec::new();
    let mut containers = Vec::new();
    for (stack, service) in platform.services() {
        let scene = scene::Scene { platform, stack, site, routes: &routes, streams: &streams, context };
        match container::containers(&scene, service) {
            Ok(specs) => containers.extend(specs),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Resources {
        networks: networks(platform, site),
        volumes: volumes(platform, site, &containers),
        images: image_specs(platform),
        containers,
        routes,
        streams,
        tasks: platform.tasks.values().map(|task| machine_task(platform, task)).collect(),
    })
}

fn machine_task(platform: &Platform, task: &MachineTask) -> MachineTaskSpec {
    let command = Fingerprint::of(&task.command).0;
    MachineTaskSpec {
        name: task.name.clone(),
        platform: platform.name.to_string(),
        inputs: TaskInputs::of_machine(task, command),
        after: platform.awaited(task),
        before: task.before.iter().cloned().collect(),
        timeout: task.timeout,
        otherwise: task.otherwise,
    }
}

fn networks(platform: &Platform, site: &Site<'_>) -> Vec<NetworkSpec> {
    let mut own = NetworkSpec {
        name: platform.name.network(),
        external: false,
        driver: "bridge".into(),
        driver_opts: Default::default(),
        internal: false,
        // the cluster's nodes and a user's own `docker run` join it
        attachable: true,
        enable_ipv6: false,
        ipam: vec![IpamPool {
            subnet: site.subnet.into(),
            gateway: Some(address::gateway(site.subnet).into()),
            // fixed addresses lie in the lower half, so that the engine never gives one away
            ip_range: address::dynamic_range(site.subnet).map(Into::into),
        }],
        subnet: None,
        labels: own_labels(platform, site, None),
    };
    own.labels.extend(compose_labels(platform, "network", "default"));
    own.labels.insert(label::NAME.into(), "default".into());
    let mut all = vec![own];
    for stack in &platform.stacks {
        for (key, declared) in &stack.networks {
            let name = attachments::network_name(platform, stack, key);
            // one name is one network, that of the stack that makes it
            if let Some(known) = all.iter().position(|spec| spec.name == name) {
                if declared.external || !all.get(known).is_some_and(|spec| spec.external) {
                    continue;
                }
                all.remove(known);
            }
            let mut labels = own_labels(platform, site, Some(&stack.name));
            labels.extend(compose_labels(platform, "network", key));
            labels.insert(label::NAME.into(), key.clone());
            labels.extend(declared.labels.clone());
            all.push(NetworkSpec {
                name,
                external: declared.external,
                driver: declared.driver.clone().unwrap_or_else(|| "bridge".into()),
                driver_opts: declared.driver_opts.clone(),
                internal: declared.internal,
                attachable: declared.attachable,
                enable_ipv6: declared.enable_ipv6,
                ipam: declared
                    .pools
                    .iter()
                    .map(|pool| IpamPool { subnet: pool.subnet, gateway: pool.gateway, ip_range: pool.ip_range })
                    .collect(),
                subnet: None,
                labels,
            });
        }
    }
    all
}

fn volumes(platform: &Platform, site: &Site<'_>, containers: &[crate::model::ContainerSpec]) -> Vec<VolumeSpec> {
    let mut all = Vec::new();
    for stack in &platform.stacks {
        for (key, declared) in &stack.volumes {
            let name = mounts::volume_name(platform, stack, key);
            // a volume that no service of the plan mounts is not made
            let users = || containers.iter().filter(|spec| mounts::mounts_volume(spec, &name));
            if users().next().is_none() {
                continue;
            }
            // two stacks that share a volume both declare it; it is that of the first that makes it
            if let Some(known) = all.iter().position(|made: &VolumeSpec| made.name == name) {
                if declared.external {
                    continue;
                }
                if let Some(made) = all.get_mut(known).filter(|made| !made.external) {
                    let sharers = made.labels.entry(label::SHARED_BY.into()).or_default();
                    if !sharers.is_empty() {
                        sharers.push(',');
                    }
                    sharers.push_str(&stack.name);
                    continue;
                }
                all.remove(known);
            }
            let mut labels = own_labels(platform, site, Some(&stack.name));
            labels.extend(compose_labels(platform, "volume", key));
            labels.insert(label::NAME.into(), key.clone());
            // whose data it is, when the project is not at hand
            if let Origin::File(file) = &stack.origin {
                labels.insert(label::CONFIG_FILES.into(), file.display().to_string());
            }
            labels.extend(declared.labels.clone());
            all.push(VolumeSpec {
                provider: users().find_map(|spec| spec.provider.clone()),
                name,
                external: declared.external,
                driver: declared.driver.clone(),
                driver_opts: declared.driver_opts.clone(),
                labels,
                copy: declared.copy.clone().map(Box::new),
            });
        }
    }
    for spec in containers {
        for name in mounts::own_volumes(spec) {
            // a declared volume may happen to have such a name
            if all.iter().any(|known| known.name == name) {
                continue;
            }
            let mut labels = own_labels(platform, site, Some(&spec.stack));
            labels.insert(label::SERVICE.into(), spec.service.clone());
            if mounts::holds_files(spec, &name) {
                labels.insert(label::FILES.into(), "true".into());
            }
            all.push(VolumeSpec {
                name,
                external: false,
                driver: None,
                driver_opts: Default::default(),
                labels,
                provider: None,
                copy: None,
            });
        }
    }
    all
}

/// By which Docker Compose and graphical tools tell to which project a network or volume belongs.
fn compose_labels(platform: &Platform, what: &str, key: &str) -> [(String, String); 2] {
    let label = |name: &str| format!("{}{name}", label::COMPOSE);
    [(label("project"), platform.name.prefix()), (label(what), key.to_owned())]
}

fn own_labels(platform: &Platform, site: &Site<'_>, stack: Option<&str>) -> std::collections::BTreeMap<String, String> {
    let mut labels = std::collections::BTreeMap::from([
        (label::PLATFORM.to_owned(), platform.name.to_string()),
        (label::VERSION.to_owned(), site.version.to_owned()),
    ]);
    if let Some(stack) = stack {
        labels.insert(label::STACK.into(), stack.to_owned());
    }
    labels
}

/// 127.0.0.1 of the platform's block: where names without a row of their own resolve to.
pub fn own_address(block: Block) -> Ipv4Addr {
    block.address(1)
}

#[cfg(test)]
mod tests;
