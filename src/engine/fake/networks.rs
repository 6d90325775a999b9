//! Networks and volumes of the fake.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::{FakeEngine, World, conflict, missing};
use crate::engine::{EngineError, Networks, operation};
use crate::model::{Fingerprint, NetworkSpec, ObservedNetwork, ObservedVolume, VolumeSpec, label};

#[async_trait]
impl Networks for FakeEngine {
    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError> {
        Ok(self.call(operation::NETWORKS)?.networks.values().cloned().collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::create_network(&spec.name);
        let mut world = self.act(&operation)?;
        let mut labels = spec.labels.clone();
        labels.insert(label::FINGERPRINT.to_owned(), spec.fingerprint().0);
        if let Some(found) = world.networks.get(&spec.name) {
            // as Docker: one that a run of ours has asked for in between is taken
            if labels.iter().all(|(key, value)| found.labels.get(key) == Some(value)) {
                return Ok(());
            }
            return Err(conflict(&operation, format!("network {} already exists", spec.name)));
        }
        let mut subnets: Vec<ipnet::IpNet> = spec.ipam.iter().map(|pool| pool.subnet).collect();
        if subnets.is_empty() {
            subnets.extend(spec.subnet.map(ipnet::IpNet::V4));
        }
        let overlaps = |one: &ipnet::IpNet, other: &ipnet::IpNet| one.contains(other) || other.contains(one);
        let taken = world.networks.values().flat_map(|network| &network.subnets);
        if taken.clone().any(|taken| subnets.iter().any(|subnet| overlaps(taken, subnet))) {
            let message = "Pool overlaps with other one on this address space".to_owned();
            return Err(EngineError::SubnetTaken { operation, message });
        }
        if subnets.is_empty() {
            let free = (18..=31u8).filter_map(|second| {
                ipnet::Ipv4Net::new(Ipv4Addr::new(172, second, 0, 0), 16).ok().map(ipnet::IpNet::V4)
            });
            let taken: Vec<ipnet::IpNet> = taken.copied().collect();
            subnets.extend(free.into_iter().find(|subnet| !taken.iter().any(|taken| overlaps(taken, subnet))));
        }
        world.made += 1;
        let id = Fingerprint::of(&(&spec.name, world.made)).0;
        let network = ObservedNetwork { id, name: spec.name.clone(), labels, subnets, ..ObservedNetwork::default() };
        world.networks.insert(spec.name.clone(), network);
        Ok(())
    }

    async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::remove_network(name);
        let mut world = self.act(&operation)?;
        if world.attached.iter().any(|(network, _)| network == name) {
            return Err(conflict(&operation, format!("network {name} has active endpoints")));
        }
        if world.held_networks.contains(name) && world.networks.contains_key(name) {
            return Err(EngineError::Held { operation, network: name.to_owned() });
        }
        world.networks.remove(name);
        Ok(())
    }

    async fn readdress(&self, container: &str, network: &str, address: Ipv4Addr) -> Result<(), EngineError> {
        let operation = operation::readdress(container, network, address);
        let mut world = self.act(&operation)?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        found.networks.retain(|(name, _)| name != network);
        found.networks.push((network.to_owned(), Some(address)));
        Ok(())
    }

    async fn join_network(&self, container: &str, network: &str, address: Option<Ipv4Addr>) -> Result<(), EngineError> {
        let operation = operation::join_network(container, network);
        let mut world = self.act(&operation)?;
        let found = world.find_mut(container).map_err(missing(&operation))?;
        if !found.networks.iter().any(|(name, _)| name == network) {
            found.networks.push((network.to_owned(), address));
        }
        Ok(())
    }

    async fn leave_network(&self, container: &str, network: &str) -> Result<(), EngineError> {
        let operation = operation::leave_network(container, network);
        let mut world = self.act(&operation)?;
        if let Ok(found) = world.find_mut(container) {
            found.networks.retain(|(name, _)| name != network);
        }
        Ok(())
    }

    async fn create_volume(&self, spec: &VolumeSpec, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::create_volume(&spec.name);
        let mut world = self.act(&operation)?;
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        add_volume(&mut world, &operation, &spec.name, &all)
    }

    async fn claim_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        self.gate().await;
        let mut world = self.act(&operation::create_volume(name))?;
        let fresh = ObservedVolume { name: name.to_owned(), labels: labels.clone(), ..ObservedVolume::default() };
        Ok(world.volumes.entry(name.to_owned()).or_insert(fresh).labels.clone())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.gate().await;
        let operation = operation::remove_volume(name);
        let mut world = self.act(&operation)?;
        if world.containers.values().any(|container| container.volumes.contains(name)) {
            return Err(conflict(&operation, format!("volume {name} is in use")));
        }
        world.volumes.remove(name);
        Ok(())
    }
}

/// As the engine: one that is there stays as it is, and one of somebody else's is a conflict.
pub(super) fn add_volume(
    world: &mut World,
    operation: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let fresh = ObservedVolume { name: name.to_owned(), labels: labels.clone(), ..ObservedVolume::default() };
    let volume = world.volumes.entry(name.to_owned()).or_insert(fresh);
    let owner = labels.get(label::PLATFORM);
    if owner.is_some() && volume.labels.get(label::PLATFORM) != owner {
        return Err(conflict(operation, format!("volume {name} already exists and is not of this platform")));
    }
    Ok(())
}
