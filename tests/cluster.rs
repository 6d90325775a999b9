//! The configuration of the cluster, as the real `kind` program takes it. What comes after (nodes need
//! an image and privileged containers) is run with a script in its place: `src/app/cluster/tests.rs`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use macula::compile::{Block, ClusterSite, choose_cluster_subnets, cluster};
use macula::config::{MemoryFiles, Request, load};

/// Stands in for the engine's client: healthy, empty, and without a way to any image.
const DOCKER: &str = r#"#!/bin/sh
case "$1" in
  info) echo '{"CgroupDriver":"systemd","CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true,"CPUShares":true,"SecurityOptions":[]}' ;;
  inspect|image) exit 1 ;;
  pull) echo "Error response from daemon: manifest unknown" >&2; exit 1 ;;
  network) echo 0123456789ab ;;
  *) ;;
esac
"#;

fn kind() -> Option<PathBuf> {
    let named = std::env::var_os("MACULA_KIND").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.or_else(|| std::env::split_paths(&path).map(|folder| folder.join("kind")).find(|file| file.is_file()))
}

fn config(settings: &str, folder: &Path) -> String {
    let files = MemoryFiles::default().with("/w/macula.yaml", settings);
    let request = Request { cwd: "/w".into(), ..Request::default() };
    let platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    let site = ClusterSite {
        block: Block::DEFAULT,
        subnet: "10.222.7.0/24".parse().unwrap(),
        subnets: choose_cluster_subnets(&macula::compile::Taken::default()).unwrap(),
        folder,
        cgroup_version: Some(1),
        node_image: None,
    };
    cluster(&platform, &site).unwrap().config
}

/// It checks the whole file first; then it asks for the image, several times over.
fn taken(settings: &str) {
    let Some(kind) = kind() else {
        require::skipped("kind", "there is no kind on the PATH, and MACULA_KIND names none");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let docker = folder.path().join("docker");
    fs::write(&docker, DOCKER).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("kind.yaml");
    fs::write(&file, config(settings, folder.path())).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let done = Command::new(&kind)
        .args(["create", "cluster", "--name", "macula-test", "--retain", "--kubeconfig"])
        .arg(folder.path().join("kubeconfig"))
        .arg("--config")
        .arg(&file)
        .env("PATH", path)
        .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("failed to pull image"), "{settings}\n{said}");
}

#[test]
fn one_node() {
    taken("");
}

#[test]
fn five_nodes() {
    taken("cluster: {control_planes: 3, workers: 2, feature_gates: {InPlacePodVerticalScaling: true}}\n");
}

#[test]
fn another_image_and_more_ports() {
    taken("cluster: {node_image: 'kindest/node:v1.37.0', udp_services: {5353: a/b:53, 4433: a/c:1}}\n");
}

#[test]
fn a_mistake_is_noticed() {
    let Some(kind) = kind() else {
        require::skipped("kind", "there is no kind on the PATH, and MACULA_KIND names none");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kind.yaml");
    fs::write(&file, config("", folder.path()).replace("extraPortMappings", "extraPortMapings")).unwrap();
    let done = Command::new(&kind).args(["create", "cluster", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("extraPortMapings"), "the test above would notice nothing: {said}");
}
