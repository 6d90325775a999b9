//! Networks and volumes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, Volume, VolumeCreateRequest,
};
use bollard::query_parameters::{InspectNetworkOptions, RemoveVolumeOptions};

use super::version::ApiVersion;
use super::{CHANGE, Docker, READ, answers, hash_map, unless_missing};
use crate::engine::{Containers, EngineError, Networks, operation};
use crate::model::{NetworkSpec, ObservedNetwork, VolumeSpec, label};

/// From here on the engine itself refuses a second network of the same name.
const UNIQUE_NAMES: ApiVersion = ApiVersion(1, 44);

/// Options of bridges that get no IPv4 address: what says so, and the values that do.
const WITHOUT_ADDRESS: [(&str, &[&str]); 2] = [
    ("com.docker.network.bridge.inhibit_ipv4", &["true", "1"]),
    ("com.docker.network.bridge.gateway_mode_ipv4", &["isolated"]),
];
/// What Docker says of a network that something is attached to.
const ENDPOINTS: &str = "has active endpoints";
/// How an endpoint is listed that has no container.
const WITHOUT_CONTAINER: &str = "ep-";
/// The pauses in which an endpoint of a container that was just removed may go.
const LEAVING: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];

/// What makes a network, with these labels.
fn network_request(spec: &NetworkSpec, labels: &BTreeMap<String, String>) -> NetworkCreateRequest {
    let declared = spec.ipam.iter().map(|pool| IpamConfig {
        subnet: Some(pool.subnet.to_string()),
        ip_range: pool.ip_range.map(|range| range.to_string()),
        gateway: pool.gateway.map(|gateway| gateway.to_string()),
        auxiliary_addresses: None,
    });
    let chosen = spec
        .subnet
        .filter(|_| spec.ipam.is_empty())
        .map(|subnet| IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() });
    let pools: Vec<IpamConfig> = declared.chain(chosen).collect();
    NetworkCreateRequest {
        name: spec.name.clone(),
        driver: (!spec.driver.is_empty()).then(|| spec.driver.clone()),
        internal: Some(spec.internal),
        attachable: Some(spec.attachable),
        enable_ipv6: Some(spec.enable_ipv6),
        ipam: (!pools.is_empty()).then_some(Ipam { driver: None, config: Some(pools), options: None }),
        options: (!spec.driver_opts.is_empty()).then(|| hash_map(&spec.driver_opts)),
        labels: Some(hash_map(labels)),
        ..NetworkCreateRequest::default()
    }
}

/// A container in a network, with a fixed address if one is given.
fn connection(container: &str, address: Option<Ipv4Addr>) -> NetworkConnectRequest {
    let fixed = |address: Ipv4Addr| EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    NetworkConnectRequest { container: container.to_owned(), endpoint_config: address.map(fixed) }
}

#[async_trait]
impl Networks for Docker {
    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, EngineError> {
        let usage: answers::DiskUsage = self.get("counting volumes", "/system/df").await?;
        let size = |volume: answers::CountedVolume| {
            let size = volume.usage_data.and_then(|usage| u64::try_from(usage.size).ok())?;
            Some((volume.name, size))
        };
        Ok(usage.volumes.into_iter().flatten().filter_map(size).collect())
    }

    /// Every network, with its subnets and without its containers (a list does not hold them).
    async fn networks(&self) -> Result<Vec<ObservedNetwork>, EngineError> {
        Ok(self.networks_listed().await?.iter().map(observed_network).collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        let operation = operation::create_network(&spec.name);
        let mut labels = spec.labels.clone();
        labels.insert(label::FINGERPRINT.to_owned(), spec.fingerprint().0);
        // a run that was killed may have asked for it: the engine carries on, and is done after we have looked
        let ours = |network: &ObservedNetwork| labels.iter().all(|(key, value)| network.labels.get(key) == Some(value));
        // the same run's with another subnet than is free by now: whoever looks again finds it
        let taken = |found: &ObservedNetwork, conflict: EngineError| {
            let same = [label::PLATFORM, label::OWNER].iter().all(|key| found.labels.get(*key) == labels.get(*key));
            match same && labels.contains_key(label::PLATFORM) {
                true => EngineError::SubnetTaken { operation: operation.clone(), message: conflict.to_string() },
                false => conflict,
            }
        };
        if self.api < UNIQUE_NAMES
            && let Some(found) = self.networks().await?.into_iter().find(|network| network.name == spec.name)
        {
            let message = format!("network {} already exists", spec.name);
            let conflict = EngineError::Conflict { operation: operation.clone(), message };
            return if ours(&found) { Ok(()) } else { Err(taken(&found, conflict)) };
        }
        match self.call(&operation, CHANGE, self.client.create_network(network_request(spec, &labels))).await {
            Err(conflict @ EngineError::Conflict { .. }) => {
                let found = self.networks().await?.into_iter().find(|network| network.name == spec.name);
                match found {
                    Some(found) if ours(&found) => Ok(()),
                    Some(found) => Err(taken(&found, conflict)),
                    None => Err(conflict),
                }
            }
            made => self.only_one(&made?.id, spec, &ours).await,
        }
    }

    async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let operation = operation::remove_network(name);
        let mut tries = 0;
        loop {
            let removed = self.call(&operation, CHANGE, self.client.remove_network(name)).await;
            let Err(refused @ EngineError::Conflict { .. }) = removed else { return unless_missing(removed) };
            let containers = self.attached(&operation, name).await;
            if !containers.is_empty() {
                return Err(EngineError::Attached { operation, network: name.to_owned(), containers });
            }
            if !refused.to_string().contains(ENDPOINTS) {
                return Err(refused);
            }
            // a container that has just been removed leaves a moment later
            tries += 1;
            if tries > LEAVING.len() {
                return Err(EngineError::Held { operation, network: name.to_owned() });
            }
            tokio::time::sleep(LEAVING.get(tries - 1).copied().unwrap_or_default()).await;
        }
    }

    async fn readdress(&self, container: &str, network: &str, address: Ipv4Addr) -> Result<(), EngineError> {
        let operation = operation::readdress(container, network, address);
        let leave = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        unless_missing(self.call(&operation, CHANGE, self.client.disconnect_network(network, leave)).await)?;
        let join = connection(container, Some(address));
        self.call(&operation, CHANGE, self.client.connect_network(network, join)).await.map(drop)
    }

    async fn join_network(&self, container: &str, network: &str, address: Option<Ipv4Addr>) -> Result<(), EngineError> {
        let operation = operation::join_network(container, network);
        let join = connection(container, address);
        let joined = self.call(&operation, CHANGE, self.client.connect_network(network, join)).await;
        let Err(refused) = joined else { return Ok(()) };
        // engines have several words for one that is in it already
        let found = self.inspect(container).await;
        match found.is_ok_and(|found| found.addresses.contains_key(network)) {
            true => Ok(()),
            false => Err(refused),
        }
    }

    async fn leave_network(&self, container: &str, network: &str) -> Result<(), EngineError> {
        let operation = operation::leave_network(container, network);
        let leave = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let left = self.call(&operation, CHANGE, self.client.disconnect_network(network, leave)).await;
        let Err(refused) = unless_missing(left) else { return Ok(()) };
        let found = self.inspect(container).await;
        match found.is_ok_and(|found| !found.addresses.contains_key(network)) {
            true => Ok(()),
            false => Err(refused),
        }
    }

    async fn create_volume(&self, spec: &VolumeSpec, labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        self.ensure_volume(&spec.name, spec.driver.as_deref(), &spec.driver_opts, &all).await
    }

    async fn claim_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(hash_map(labels)),
            ..VolumeCreateRequest::default()
        };
        let volume = self.made_or_there(&operation::create_volume(name), name, request).await?;
        Ok(volume.labels.into_iter().collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let operation = operation::remove_volume(name);
        let removal = self.client.remove_volume(name, None::<RemoveVolumeOptions>);
        unless_missing(self.call(&operation, CHANGE, removal).await)
    }
}

impl Docker {
    /// Who is attached to a network that was not removed. Endpoints that the engine lists of containers that
    /// it does not have any more are taken off, as far as it lets us.
    async fn attached(&self, operation: &str, network: &str) -> Vec<String> {
        let inspected = self.client.inspect_network(network, None::<InspectNetworkOptions>);
        let inspected = self.call(operation, READ, inspected).await.ok();
        let mut containers = Vec::new();
        for (id, found) in inspected.and_then(|network| network.containers).unwrap_or_default() {
            let Some(name) = found.name else { continue };
            if !id.starts_with(WITHOUT_CONTAINER) {
                containers.push(name);
                continue;
            }
            let leave = NetworkDisconnectRequest { container: name, force: Some(true) };
            // where it refuses, so does the removal
            let _ = self.call(operation, CHANGE, self.client.disconnect_network(network, leave)).await;
        }
        containers.sort();
        containers
    }

    /// An old engine lets two requests at once make two networks of one name. Ours gives way: to one that
    /// an interrupted run of ours has asked for, and to somebody else's, which is a conflict.
    async fn only_one(
        &self,
        id: &str,
        spec: &NetworkSpec,
        ours: &(dyn Fn(&ObservedNetwork) -> bool + Send + Sync),
    ) -> Result<(), EngineError> {
        if self.api >= UNIQUE_NAMES {
            return Ok(());
        }
        let all = self.networks().await?;
        let twin = all.iter().find(|network| network.name == spec.name && network.id != id);
        match twin {
            None => Ok(()),
            Some(twin) if ours(twin) => self.remove_network(id).await,
            Some(_) => {
                self.remove_network(id).await?;
                let message = format!("network {} already exists", spec.name);
                Err(EngineError::Conflict { operation: operation::create_network(&spec.name), message })
            }
        }
    }

    /// The engine gives back a volume that is there already.
    async fn made_or_there(
        &self,
        operation: &str,
        name: &str,
        request: VolumeCreateRequest,
    ) -> Result<Volume, EngineError> {
        let volume = self.call(operation, CHANGE, self.client.create_volume(request)).await?;
        // Docker that was started again has not read the labels of one that it was not asked for
        match volume.labels.is_empty() {
            true => self.call(operation, READ, self.client.inspect_volume(name)).await,
            false => Ok(volume),
        }
    }

    /// One of somebody else's is a conflict.
    pub(super) async fn ensure_volume(
        &self,
        name: &str,
        driver: Option<&str>,
        driver_opts: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let operation = operation::create_volume(name);
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: driver.map(str::to_owned),
            driver_opts: (!driver_opts.is_empty()).then(|| hash_map(driver_opts)),
            labels: (!labels.is_empty()).then(|| hash_map(labels)),
            cluster_volume_spec: None,
        };
        let volume = self.made_or_there(&operation, name, request).await?;
        let owner = labels.get(label::PLATFORM);
        if owner.is_some() && volume.labels.get(label::PLATFORM) != owner {
            let message = format!("volume {name} already exists and is not of this platform");
            return Err(EngineError::Conflict { operation, message });
        }
        Ok(())
    }
}

pub(super) fn observed_network(network: &Network) -> ObservedNetwork {
    let pools = network.ipam.as_ref().and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    // old engines write the prefix behind it
    let gateway = |pool: &IpamConfig| -> Option<Ipv4Addr> { pool.gateway.as_deref()?.split('/').next()?.parse().ok() };
    let option = |key: &str| network.options.as_ref().and_then(|options| options.get(key));
    let is_set = |(key, values): &(&str, &[&str])| option(key).is_some_and(|value| values.contains(&value.as_str()));
    ObservedNetwork {
        id: network.id.clone().unwrap_or_default(),
        name: network.name.clone().unwrap_or_default(),
        labels: sorted(network.labels.clone()),
        subnets: subnets(network.ipam.as_ref()),
        gateway: pools.iter().find_map(gateway),
        addressless: WITHOUT_ADDRESS.iter().any(is_set),
    }
}

pub(super) fn subnets(ipam: Option<&Ipam>) -> Vec<ipnet::IpNet> {
    let pools = ipam.and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    pools.iter().filter_map(|pool| pool.subnet.as_deref()?.parse().ok()).collect()
}

/// Labels of ours become names and sentences: whoever else may set them must not reach a terminal by them.
pub(super) fn sorted(map: Option<impl IntoIterator<Item = (String, String)>>) -> BTreeMap<String, String> {
    let harmless =
        |(key, value): (String, String)| match key.starts_with("dev.macula.") && value.contains(char::is_control) {
            true => (key, value.replace(char::is_control, "\u{fffd}")),
            false => (key, value),
        };
    map.into_iter().flatten().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        EngineError, Ipam, IpamConfig, Network, NetworkSpec, connection, network_request, observed_network, sorted,
        subnets, unless_missing,
    };
    use crate::model::IpamPool;

    #[test]
    fn everything_that_a_network_is_to_have_is_asked_for() {
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let pool = |subnet: &str, gateway: Option<&str>, range: Option<&str>| IpamPool {
            subnet: subnet.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            ip_range: range.map(|range| range.parse().unwrap()),
        };
        let full = NetworkSpec {
            name: "back".into(),
            external: false,
            driver: "bridge".into(),
            driver_opts: map("com.docker.network.bridge.name", "br0"),
            internal: true,
            attachable: true,
            enable_ipv6: true,
            ipam: vec![pool("10.9.0.0/24", Some("10.9.0.254"), Some("10.9.0.128/25")), pool("fd00:9::/64", None, None)],
            subnet: Some("10.222.7.0/24".parse().unwrap()),
            labels: BTreeMap::new(),
        };
        let asked = |spec: &NetworkSpec| serde_json::to_value(network_request(spec, &map("l", "1"))).unwrap();
        assert_eq!(
            asked(&full),
            serde_json::json!({
                "Name": "back",
                "Driver": "bridge",
                "Internal": true,
                "Attachable": true,
                "EnableIPv6": true,
                "IPAM": {"Config": [
                    {"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.254"},
                    {"Subnet": "fd00:9::/64"},
                ]},
                "Options": {"com.docker.network.bridge.name": "br0"},
                "Labels": {"l": "1"},
            })
        );
        // the engine's own driver, and the subnet that was chosen where the file names none
        let bare = NetworkSpec {
            driver: String::new(),
            driver_opts: BTreeMap::new(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            ipam: Vec::new(),
            ..full
        };
        let chosen = serde_json::json!({
            "Name": "back",
            "Internal": false,
            "Attachable": false,
            "EnableIPv6": false,
            "IPAM": {"Config": [{"Subnet": "10.222.7.0/24"}]},
            "Labels": {"l": "1"},
        });
        assert_eq!(asked(&bare), chosen);
        assert_eq!(asked(&NetworkSpec { subnet: None, ..bare })["IPAM"], serde_json::Value::Null);
    }

    #[test]
    fn a_container_joins_with_the_address_that_it_is_given() {
        let asked = |address: Option<&str>| {
            let join = connection("web", address.map(|address| address.parse().unwrap()));
            serde_json::to_value(join).unwrap()
        };
        assert_eq!(asked(None), serde_json::json!({"Container": "web"}));
        let fixed = serde_json::json!({"IPAMConfig": {"IPv4Address": "10.1.0.7"}});
        assert_eq!(asked(Some("10.1.0.7")), serde_json::json!({"Container": "web", "EndpointConfig": fixed}));
    }

    #[test]
    fn a_network_that_is_there_has_its_names_and_its_subnets() {
        let config = Some(
            ["10.1.0.0/24", "none", "fd00::/64"]
                .map(|subnet| IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() }),
        );
        let ipam = Ipam { config: config.map(Vec::from), ..Ipam::default() };
        let network = Network {
            id: Some("4ab5".into()),
            name: Some("macula".into()),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            ipam: Some(ipam.clone()),
            ..Network::default()
        };
        let found = observed_network(&network);
        assert_eq!((found.id.as_str(), found.name.as_str(), found.labels["a"].as_str()), ("4ab5", "macula", "b"));
        // what is not a subnet is passed over
        let both: Vec<ipnet::IpNet> = vec!["10.1.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        assert_eq!((subnets(Some(&ipam)), found.subnets), (both.clone(), both));
        assert!(subnets(None).is_empty());
    }

    #[test]
    fn only_what_is_gone_already_need_not_be_removed() {
        let (operation, what) = (String::new(), String::new());
        assert!(unless_missing(Ok(())).is_ok());
        assert!(unless_missing(Err(EngineError::NotFound { operation: operation.clone(), what })).is_ok());
        assert!(unless_missing(Err(EngineError::Other { operation, message: "no".into() })).is_err());
    }

    #[test]
    fn a_bridge_may_have_another_address_than_the_first_or_none() {
        let seen = |gateway: Option<&str>, options: &[(&str, &str)]| {
            let pools =
                [("fd00::/64", Some("fd00::1")), ("10.1.0.0/24", gateway)].map(|(subnet, gateway)| IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    gateway: gateway.map(str::to_owned),
                    ..IpamConfig::default()
                });
            let network = Network {
                ipam: Some(Ipam { config: Some(pools.to_vec()), ..Ipam::default() }),
                options: Some(options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
                ..Network::default()
            };
            let found = observed_network(&network);
            (found.gateway.map(|address| address.to_string()), found.addressless)
        };
        let address = |text: &str| Some(text.to_owned());
        assert_eq!(seen(Some("10.1.0.254"), &[]), (address("10.1.0.254"), false));
        assert_eq!(seen(Some("10.1.0.1/24"), &[]), (address("10.1.0.1"), false));
        assert_eq!(seen(None, &[("com.docker.network.bridge.inhibit_ipv4", "false")]), (None, false));
        assert_eq!(seen(None, &[("com.docker.network.bridge.inhibit_ipv4", "true")]), (None, true));
        assert_eq!(seen(None, &[("com.docker.network.bridge.inhibit_ipv4", "1")]), (None, true));
        assert_eq!(seen(None, &[("com.docker.network.bridge.gateway_mode_ipv4", "isolated")]), (None, true));
        assert_eq!(seen(None, &[("com.docker.network.bridge.gateway_mode_ipv4", "routed")]), (None, false));
    }

    #[test]
    fn labels_of_ours_carry_nothing_to_a_terminal() {
        let labels = [("dev.macula.service", "w\x1b[31mx\x07"), ("theirs", "a\nb")];
        let found = sorted(Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))));
        assert_eq!(found["dev.macula.service"], "w\u{fffd}[31mx\u{fffd}");
        assert_eq!(found["theirs"], "a\nb");
    }
}
