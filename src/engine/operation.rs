//! What an engine is doing when it fails, in words: the first half of every message. The real
//! engine and the fake both take them from here.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::model::SwarmKind;

pub(super) const CONTAINERS: &str = "listing containers";
pub(super) const NETWORKS: &str = "listing networks";
pub(super) const VOLUMES: &str = "listing volumes";
pub(super) const CHANGES: &str = "reading the engine's events";
pub(super) const LOAD: &str = "loading images";
pub(super) const SWARM: &str = "asking the swarm";

pub(super) fn create_in_swarm(kind: SwarmKind, name: &str) -> String {
    format!("creating {kind} {name}")
}

pub(super) fn update_service(name: &str) -> String {
    format!("updating service {name}")
}

pub(super) fn remove_from_swarm(kind: SwarmKind, id: &str) -> String {
    format!("removing {kind} {id}")
}

pub(super) fn inspect(container: &str) -> String {
    format!("inspecting container {container}")
}

pub(super) fn create_container(name: &str) -> String {
    format!("creating container {name}")
}

pub(super) fn connect(container: &str, network: &str) -> String {
    format!("connecting container {container} to network {network}")
}

pub(super) fn rename(name: &str) -> String {
    format!("naming container {name}")
}

pub(super) fn start(container: &str) -> String {
    format!("starting container {container}")
}

pub(super) fn stop(container: &str) -> String {
    format!("stopping container {container}")
}

pub(super) fn kill(container: &str, signal: &str) -> String {
    format!("sending {signal} to container {container}")
}

pub(super) fn remove_container(container: &str) -> String {
    format!("removing container {container}")
}

pub(super) fn wait(container: &str) -> String {
    format!("waiting for container {container}")
}

pub(super) fn usage(container: &str) -> String {
    format!("reading the usage of container {container}")
}

pub(super) fn logs(container: &str) -> String {
    format!("reading the log of container {container}")
}

pub(super) fn exec(container: &str, command: &[String]) -> String {
    let name = command.first().map(String::as_str).unwrap_or_default();
    format!("running {name} in container {container}")
}

pub(super) fn write_files(container: &str) -> String {
    format!("copying files into container {container}")
}

pub(super) fn read_file(container: &str, path: &str) -> String {
    format!("reading {path} from container {container}")
}

pub(super) fn look_at(container: &str, path: &str) -> String {
    format!("looking at {path} in container {container}")
}

pub(super) fn copy_from(container: &str, path: &str) -> String {
    format!("copying {path} from container {container}")
}

pub(super) fn copy_to(container: &str, folder: &str) -> String {
    format!("copying to {folder} in container {container}")
}

pub(super) fn create_network(name: &str) -> String {
    format!("creating network {name}")
}

pub(super) fn remove_network(name: &str) -> String {
    format!("removing network {name}")
}

pub(super) fn readdress(container: &str, network: &str, address: Ipv4Addr) -> String {
    format!("giving container {container} the address {address} in network {network}")
}

pub(super) fn join_network(container: &str, network: &str) -> String {
    format!("connecting container {container} to network {network}")
}

pub(super) fn leave_network(container: &str, network: &str) -> String {
    format!("disconnecting container {container} from network {network}")
}

pub(super) fn create_volume(name: &str) -> String {
    format!("creating volume {name}")
}

pub(super) fn remove_volume(name: &str) -> String {
    format!("removing volume {name}")
}

pub(super) fn image(reference: &str) -> String {
    format!("inspecting image {reference}")
}

pub(super) fn labelled_images(label: &str) -> String {
    format!("listing the images with the label {label}")
}

pub(super) fn pull(reference: &str) -> String {
    format!("pulling {reference}")
}

pub(super) fn build(tag: &str) -> String {
    format!("building {tag}")
}

pub(super) fn tag(image: &str, reference: &str) -> String {
    format!("tagging image {image} as {reference}")
}

pub(super) fn remove_image(reference: &str) -> String {
    format!("removing image {reference}")
}

pub(super) fn push(reference: &str) -> String {
    format!("pushing {reference}")
}

pub(super) fn digest(reference: &str) -> String {
    format!("asking the registry for {reference}")
}

pub(super) fn import(tar: &Path, reference: &str) -> String {
    format!("importing {} as {reference}", tar.display())
}

pub(super) fn export(references: &[String]) -> String {
    format!("exporting {}", references.join(", "))
}

pub(super) fn save(references: &[String], file: &Path) -> String {
    format!("saving {} images to {}", references.len(), file.display())
}
