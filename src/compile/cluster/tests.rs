use insta::assert_snapshot;

use super::*;
use crate::config::{MemoryFiles, Request, load};
use crate::model::PlatformName;

fn platform(settings: &str, name: &str) -> Platform {
    let files = MemoryFiles::default().with("/w/macula.yaml", settings);
    let request = Request { cwd: "/w".into(), name: Some(PlatformName::new(name).unwrap()), ..Request::default() };
    load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
}

fn networks(all: &[&str]) -> Taken {
    Taken { networks: all.iter().map(|network| network.parse().unwrap()).collect(), ..Taken::default() }
}

fn site() -> ClusterSite<'static> {
    ClusterSite {
        block: Block::DEFAULT,
        subnet: "10.222.7.0/24".parse().unwrap(),
        subnets: choose_cluster_subnets(&Taken::default()).unwrap(),
        folder: Path::new("/home/dev/.local/share/macula/macula"),
        cgroup_version: Some(2),
        node_image: None,
    }
}

#[test]
fn the_cluster_has_the_name_that_it_is_given() {
    let spec = cluster(&platform("cluster: {name: lab}\n", "macula"), &site()).unwrap();
    assert_eq!(spec.name, "lab");
    assert!(spec.config.contains("\nname: lab\n"), "{}", spec.config);
}

#[test]
fn the_default_cluster() {
    let spec = cluster(&platform("", "macula"), &site()).unwrap();
    assert_snapshot!(spec.config, @r#"
    # What `kind create cluster` is given. https://kind.sigs.k8s.io/docs/user/configuration/
    kind: Cluster
    apiVersion: kind.x-k8s.io/v1alpha4
    name: macula
    networking:
      # the API server is for this machine alone, on a free port of kind's choice
      apiServerAddress: 127.0.0.1
      podSubnet: 10.244.0.0/16
      serviceSubnet: 10.96.0.0/16
    kubeadmConfigPatches:
      # several images at once: a first start waits for the slowest of them, not for their sum
      - |
        apiVersion: kubelet.config.k8s.io/v1beta1
        kind: KubeletConfiguration
        serializeImagePulls: false
        maxParallelImagePulls: 4
    containerdConfigPatches:
      # a folder for each registry: how it is reached from inside (containerd's docs/hosts.md)
      - |-
        [plugins."io.containerd.grpc.v1.cri".registry]
          config_path = "/etc/containerd/certs.d"
    nodes:
      - role: control-plane
        image: "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"
        labels:
          # where the ingress controller runs, and what it serves on this machine
          ingress-ready: "true"
        extraPortMappings:
          - {listenAddress: 127.0.0.10, hostPort: 80, containerPort: 80, protocol: TCP}
          - {listenAddress: 127.0.0.10, hostPort: 443, containerPort: 443, protocol: TCP}
          - {listenAddress: 127.0.0.10, hostPort: 8080, containerPort: 80, protocol: TCP}
          - {listenAddress: 127.0.0.10, hostPort: 8443, containerPort: 443, protocol: TCP}
          - {listenAddress: 127.0.0.10, hostPort: 4433, containerPort: 4433, protocol: UDP}
          - {listenAddress: 127.0.0.1, hostPort: 8080, containerPort: 80, protocol: TCP}
          - {listenAddress: 127.0.0.1, hostPort: 8443, containerPort: 443, protocol: TCP}
          - {listenAddress: 127.0.0.1, hostPort: 4433, containerPort: 4433, protocol: UDP}
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
    "#);
    assert_eq!((spec.name.as_str(), spec.context.as_str(), spec.network.as_str()), ("macula", "macula", "macula"));
    let registries: Vec<&String> = spec.registries.keys().collect();
    assert_eq!(
        registries,
        [
            "127.0.0.1:5001/hosts.toml",
            "localhost:5001/hosts.toml",
            "registry.macula.local/hosts.toml",
            "registry.macula.local:5001/hosts.toml"
        ]
    );
    assert_snapshot!(spec.registries["registry.macula.local/hosts.toml"], @r#"
    server = "http://10.222.7.2:5001"

    [host."http://10.222.7.2:5001"]
      capabilities = ["pull", "resolve", "push"]
    "#);
}

#[test]
fn a_project_with_the_registrys_port_does_not_take_it_from_the_nodes() {
    let web = "services: {web: {image: w, ports: ['5001:5000']}}\n";
    let files = MemoryFiles::default().with("/w/shop/compose.yaml", web);
    let request = Request { cwd: "/w/shop".into(), discover: true, ..Request::default() };
    let platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    assert!(platform.service("web").is_some());
    assert_eq!(cluster(&platform, &site()).unwrap().registries.len(), 4);
}

#[test]
fn nodes_ask_the_cache_first_where_there_is_one() {
    let spec = cluster(&platform("profiles: [core, cache]", "macula"), &site()).unwrap();
    assert_eq!(spec.registries.len(), 5);
    assert_snapshot!(spec.registries["docker.io/hosts.toml"], @r#"
    server = "https://registry-1.docker.io"

    [host."http://10.222.7.2:5010"]
      capabilities = ["pull", "resolve"]
    "#);
}

#[test]
fn several_nodes_of_a_named_platform_on_an_old_kernel() {
    let settings = "cluster: {control_planes: 3, workers: 2, node_image: 'kindest/node:v1.37.0', \
                    feature_gates: {InPlacePodVerticalScaling: true}, udp_services: {5353: a/b:53}}\n";
    let mut site = site();
    site.block = Block::new(Ipv4Addr::new(127, 70, 9, 0)).unwrap();
    site.cgroup_version = Some(1);
    site.subnets = choose_cluster_subnets(&networks(&["10.244.0.0/14", "10.96.3.0/24"])).unwrap();
    let spec = cluster(&platform(settings, "pr-1"), &site).unwrap();
    assert_snapshot!(spec.config, @r#"
    # What `kind create cluster` is given. https://kind.sigs.k8s.io/docs/user/configuration/
    kind: Cluster
    apiVersion: kind.x-k8s.io/v1alpha4
    name: macula-pr-1
    networking:
      # the API server is for this machine alone, on a free port of kind's choice
      apiServerAddress: 127.0.0.1
      podSubnet: 10.240.0.0/16
      serviceSubnet: 10.97.0.0/16
    featureGates:
      InPlacePodVerticalScaling: True
    kubeadmConfigPatches:
      # several images at once: a first start waits for the slowest of them, not for their sum
      - |
        apiVersion: kubelet.config.k8s.io/v1beta1
        kind: KubeletConfiguration
        serializeImagePulls: false
        maxParallelImagePulls: 4
        # from 1.35 on the kubelet refuses cgroup v1 unless it is told not to
        failCgroupV1: false
    containerdConfigPatches:
      # a folder for each registry: how it is reached from inside (containerd's docs/hosts.md)
      - |-
        [plugins."io.containerd.grpc.v1.cri".registry]
          config_path = "/etc/containerd/certs.d"
    nodes:
      - role: control-plane
        image: "kindest/node:v1.37.0"
        labels:
          # where the ingress controller runs, and what it serves on this machine
          ingress-ready: "true"
        extraPortMappings:
          - {listenAddress: 127.70.9.10, hostPort: 80, containerPort: 80, protocol: TCP}
          - {listenAddress: 127.70.9.10, hostPort: 443, containerPort: 443, protocol: TCP}
          - {listenAddress: 127.70.9.10, hostPort: 8080, containerPort: 80, protocol: TCP}
          - {listenAddress: 127.70.9.10, hostPort: 8443, containerPort: 443, protocol: TCP}
          - {listenAddress: 127.70.9.10, hostPort: 4433, containerPort: 4433, protocol: UDP}
          - {listenAddress: 127.70.9.10, hostPort: 5353, containerPort: 5353, protocol: UDP}
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
      - role: control-plane
        image: "kindest/node:v1.37.0"
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
      - role: control-plane
        image: "kindest/node:v1.37.0"
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
      - role: worker
        image: "kindest/node:v1.37.0"
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
      - role: worker
        image: "kindest/node:v1.37.0"
        extraMounts:
          # the whole folder: a path with a colon, as a registry's has, cannot be mounted
          - {hostPath: "/home/dev/.local/share/macula/macula/cluster/certs.d", containerPath: /etc/containerd/certs.d, readOnly: true}
    "#);
    assert_eq!((spec.name.as_str(), spec.network.as_str()), ("macula-pr-1", "macula-pr-1"));
    site.cgroup_version = Some(2);
    assert!(!cluster(&platform(settings, "pr-1"), &site).unwrap().config.contains("failCgroupV1"));
}

#[test]
fn what_differs_is_named() {
    let made = cluster(&platform("", "macula"), &site()).unwrap();
    let same = cluster(&platform("", "macula"), &ClusterSite { node_image: Some("sha256:1"), ..site() }).unwrap();
    assert!(same.differs(&made.parts).is_empty(), "the same image under another name");
    let other = platform("cluster: {workers: 1, node_image: 'kindest/node:v1.35.8'}\n", "macula");
    assert_eq!(cluster(&other, &site()).unwrap().differs(&made.parts), ["node image", "workers"]);
}

#[test]
fn the_node_image_is_pulled_by_digest_from_the_mirrors_first() {
    let (here, pull) = node_images(&platform("images: {sources: {docker.io: [mirror.example.com]}}\n", "macula"));
    assert_eq!(here[0], DEFAULT_NODE_IMAGE);
    assert_eq!(
        pull,
        [
            format!("mirror.example.com/{DEFAULT_NODE_IMAGE}@{DEFAULT_NODE_IMAGE_DIGEST}"),
            format!("{DEFAULT_NODE_IMAGE}@{DEFAULT_NODE_IMAGE_DIGEST}")
        ]
    );
    let (here, pull) =
        node_images(&platform("images: {overrides: {'kindest/node:v1.34.11': 'mine/node:1'}}\n", "macula"));
    assert_eq!((here, pull), (vec!["mine/node:1".to_owned()], vec!["mine/node:1".to_owned()]));
}

#[test]
fn versions_are_read_from_tags() {
    assert_eq!(kubernetes_minor("kindest/node:v1.34.11@sha256:44e2"), Some(34));
    assert_eq!(kubernetes_minor("127.0.0.1:5001/node:v1.36.0-rc.1"), Some(36));
    assert_eq!(kubernetes_minor("127.0.0.1:5001/node"), None);
    assert_eq!(kubernetes_minor("mine/node:latest"), None);
}

#[test]
fn no_free_subnet_is_none() {
    assert_eq!(choose_cluster_subnets(&networks(&["10.0.0.0/8"])), None);
    // a VPN's route over all of it leaves room
    let vpn = Taken { routes: vec!["10.0.0.0/8".parse().unwrap()], ..Taken::default() };
    assert_eq!(choose_cluster_subnets(&vpn), choose_cluster_subnets(&Taken::default()));
}

#[test]
fn without_workers_applications_run_on_all_control_planes() {
    let config = |settings: &str| cluster(&platform(settings, "macula"), &site()).unwrap().config;
    assert_eq!(config("cluster: {control_planes: 3}").matches("nodeRegistration: {taints: []}").count(), 6);
    for settings in ["cluster: {control_planes: 3, workers: 1}", ""] {
        assert!(!config(settings).contains("taints"), "{settings}");
    }
}
