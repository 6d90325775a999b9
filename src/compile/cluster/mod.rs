//! The cluster as its provider is to make it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde_json::json;

use crate::model::{
    CERTS_D, ClusterSpec, DEFAULT_NAME, DEFAULT_NODE_IMAGE, DEFAULT_NODE_IMAGE_DIGEST, Fingerprint, Platform,
    PortBinding, Protocol,
};
use crate::render;

use super::CompileError;
use super::address::{Block, Taken, ingress_address};
use super::image::mirrored;
use super::ingress::streams;

const TEMPLATE: &str = "cluster.yaml.j2";
/// Applications in the cluster answer at this last octet of the platform's block.
const APPLICATIONS: u8 = 10;
/// The first minor version of Kubernetes whose kubelet refuses cgroup v1 unless told otherwise.
const KUBELET_WITHOUT_CGROUP_V1: u32 = 35;
/// The service behind `registry.<domain>`.
const REGISTRY: &str = "registry";
const REGISTRY_CACHE: &str = "registry-cache";

/// What is known of the machine beside the platform.
#[derive(Debug, Clone)]
pub struct ClusterSite<'a> {
    pub block: Block,
    /// Of the platform's network.
    pub subnet: Ipv4Net,
    /// Of pods and of services; see [`choose_cluster_subnets`].
    pub subnets: (Ipv4Net, Ipv4Net),
    /// The folder of the platform's files.
    pub folder: &'a Path,
    /// 1 or 2, of the engine.
    pub cgroup_version: Option<u8>,
    /// What the node image is called in the engine, once it is there.
    pub node_image: Option<&'a str>,
}

/// The loopback address at which applications in the cluster answer.
pub fn applications_address(block: Block) -> Ipv4Addr {
    block.address(APPLICATIONS)
}

/// What is published on this machine: the ingress of the cluster on an address of its own, and on
/// 127.0.0.1 for those who cannot use another one (the default platform alone, there being one
/// 127.0.0.1).
pub fn cluster_ports(platform: &Platform, block: Block) -> Vec<PortBinding> {
    const EVERYWHERE: [(u16, u16, Protocol); 3] =
        [(8080, 80, Protocol::Tcp), (8443, 443, Protocol::Tcp), (4433, 4433, Protocol::Udp)];
    let binding = |address: Ipv4Addr| {
        move |(host_port, container_port, protocol): (u16, u16, Protocol)| PortBinding {
            host_ip: IpAddr::V4(address),
            host_port: Some(host_port),
            container_port,
            protocol,
        }
    };
    let own = [(80, 80, Protocol::Tcp), (443, 443, Protocol::Tcp)].into_iter().chain(EVERYWHERE);
    let mut all: Vec<PortBinding> = own.map(binding(applications_address(block))).collect();
    if platform.name == DEFAULT_NAME {
        all.extend(EVERYWHERE.map(binding(block.address(1))));
    }
    for port in platform.cluster.udp_services.keys().filter(|port| **port != 4433) {
        all.push(binding(applications_address(block))((*port, *port, Protocol::Udp)));
    }
    all
}

/// Subnets for pods and for services, outside of what is taken.
pub fn choose_cluster_subnets(taken: &Taken) -> Option<(Ipv4Net, Ipv4Net)> {
    // kind's own first: documentation and habits know them
    let choose = |second: &[u8]| {
        taken.first_free(second.iter().filter_map(|second| Ipv4Net::new(Ipv4Addr::new(10, *second, 0, 0), 16).ok()))
    };
    Some((choose(&[244, 245, 246, 240, 200, 150])?, choose(&[96, 97, 98, 99, 100, 101])?))
}

/// The references under which the node image may already be in the engine, the preferred one first,
/// and those to pull.
pub fn node_images(platform: &Platform) -> (Vec<String>, Vec<String>) {
    let chosen = platform.cluster.node_image.clone().unwrap_or_else(|| DEFAULT_NODE_IMAGE.to_owned());
    let overridden = platform.images.overrides.get(&chosen).cloned();
    let reference = overridden.unwrap_or(chosen);
    if reference == DEFAULT_NODE_IMAGE {
        let pinned = format!("{DEFAULT_NODE_IMAGE}@{DEFAULT_NODE_IMAGE_DIGEST}");
        let pull = mirrored(platform, &pinned);
        let mut here = vec![reference, pinned];
        here.extend(pull.iter().filter(|reference| !here.contains(reference)).cloned().collect::<Vec<_>>());
        return (here, pull);
    }
    let pull = mirrored(platform, &reference);
    let mut here = vec![reference];
    here.extend(pull.iter().filter(|reference| !here.contains(reference)).cloned().collect::<Vec<_>>());
    (here, pull)
}

/// The minor version of Kubernetes in a node image, where its tag says so: 34 of
/// `kindest/node:v1.34.11@sha256:...`.
pub fn kubernetes_minor(node_image: &str) -> Option<u32> {
    let (name, _) = node_image.split_once('@').unwrap_or((node_image, ""));
    let (_, tag) = name.rsplit_once(':')?;
    tag.strip_prefix("v1.")?.split(['.', '-', '+']).next()?.parse().ok()
}

/// The cluster of a platform.
pub fn cluster(platform: &Platform, site: &ClusterSite<'_>) -> Result<ClusterSpec, CompileError> {
    let settings = &platform.cluster;
    let (here, pull) = node_images(platform);
    let node_image = site.node_image.map(str::to_owned).or_else(|| pull.first().cloned()).unwrap_or_default();
    let ports = cluster_ports(platform, site.block);
    let registries = registries(platform, site);
    let registries_folder = site.folder.join("cluster").join("certs.d");
    let minor = here.first().and_then(|reference| kubernetes_minor(reference));
    let accept_cgroup_v1 =
        site.cgroup_version == Some(1) && minor.is_none_or(|minor| minor >= KUBELET_WITHOUT_CGROUP_V1);
    let nodes: Vec<_> = (0..settings.control_planes)
        .map(|number| json!({"role": "control-plane", "ingress": number == 0}))
        .chain((0..settings.workers).map(|_| json!({"role": "worker", "ingress": false})))
        .collect();
    let (pods, services) = site.subnets;
    let context = json!({
        "name": platform.cluster_name(),
        "pod_subnet": pods,
        "service_subnet": services,
        "feature_gates": settings.feature_gates,
        "accept_cgroup_v1": accept_cgroup_v1,
        "certs_d": CERTS_D,
        "node_image": node_image,
        "nodes": nodes,
        // without workers applications have nowhere else to run
        "untainted": settings.workers == 0 && settings.control_planes > 1,
        "ports": ports,
        "registries": registries_folder,
    });
    let template = render::kind(TEMPLATE).unwrap_or_default();
    let config = render::render(TEMPLATE, template, &context).map_err(|error| CompileError::Template {
        service: "cluster".into(),
        path: error.name.clone(),
        source: error.into(),
    })?;
    let parts = BTreeMap::from([
        // without the name that it has in this engine: the same image may be there under two
        ("node image".to_owned(), here.first().cloned().unwrap_or_default()),
        ("control planes".to_owned(), settings.control_planes.to_string()),
        ("workers".to_owned(), settings.workers.to_string()),
        ("ports".to_owned(), Fingerprint::of(&ports).0),
        ("feature gates".to_owned(), Fingerprint::of(&settings.feature_gates).0),
        ("network".to_owned(), site.subnet.to_string()),
    ]);
    Ok(ClusterSpec {
        name: platform.cluster_name(),
        context: platform.cluster_name(),
        config,
        node_image,
        pull,
        network: platform.name.network(),
        control_planes: settings.control_planes,
        workers: settings.workers,
        ports,
        registries,
        registries_folder: PathBuf::from(&registries_folder),
        parts,
    })
}

/// How the nodes reach the platform's registry under each of its names, and Docker Hub through the
/// cache where there is one: over plain HTTP, at the port that the ingress passes on inside the
/// platform's network. containerd's docs/hosts.md.
fn registries(platform: &Platform, site: &ClusterSite<'_>) -> BTreeMap<String, String> {
    let all = streams(platform);
    let stream_of =
        |service: &str| all.iter().find(|stream| stream.service == service && stream.protocol == Protocol::Tcp);
    let inside = |port: u16| format!("http://{}:{port}", ingress_address(site.subnet));
    let mut files = BTreeMap::new();
    if let Some(stream) = stream_of(REGISTRY_CACHE) {
        // Docker Hub itself stays the second choice
        let cache = inside(stream.port);
        let settings = format!(
            "server = \"https://registry-1.docker.io\"\n\n[host.\"{cache}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        files.insert("docker.io/hosts.toml".to_owned(), settings);
    }
    let Some(stream) = stream_of(REGISTRY) else { return files };
    let inside = inside(stream.port);
    let settings =
        format!("server = \"{inside}\"\n\n[host.\"{inside}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n");
    let own = platform.service(REGISTRY).and_then(|(_, service)| service.extension.address);
    let published = super::loopback_address(site.block, own);
    let names = [
        format!("{REGISTRY}.{}", platform.domain),
        format!("{REGISTRY}.{}:{}", platform.domain, stream.port),
        format!("{published}:{}", stream.port),
        format!("localhost:{}", stream.port),
    ];
    files.extend(names.into_iter().map(|name| (format!("{name}/hosts.toml"), settings.clone())));
    files
}

#[cfg(test)]
mod tests;
