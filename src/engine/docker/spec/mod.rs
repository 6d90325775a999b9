//! A [`ContainerSpec`] in the words of the API. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum,
    MountImageOptions, MountType, MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesBlkioWeightDevice,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum, ThrottleDevice,
};

use super::hash_map;
use super::version::ApiVersion;
use crate::model::{
    ContainerOptions, ContainerSpec, Healthcheck, MountSpec, NetworkAttachment, Restart, UNFINISHED, label,
};

/// The driver of devices that are described on the machine (Container Device Interface).
const CDI: &str = "cdi";
/// What an old engine's API has no word for.
const SEVERAL_NETWORKS: ApiVersion = ApiVersion(1, 44);
/// Docker 25.
pub(super) const START_INTERVAL: ApiVersion = ApiVersion(1, 44);
const MAC_OF_ENDPOINT: ApiVersion = ApiVersion(1, 44);
const CREATE_MOUNTPOINT: ApiVersion = ApiVersion(1, 42);
const ANNOTATIONS: ApiVersion = ApiVersion(1, 43);
const SUBPATH: ApiVersion = ApiVersion(1, 45);
const IMAGE_MOUNT: ApiVersion = ApiVersion(1, 48);
/// Seconds that Docker gives a container to end in, where it names none.
pub(super) const DOCKERS_GRACE: i64 = 10;

/// What creates a container, and what must follow before it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Creation {
    pub body: ContainerCreateBody,
    /// Networks to connect to afterwards: an old engine takes one at creation.
    pub connect: Vec<(String, EndpointSettings)>,
    /// The container's own address in its first network, where the API knows none of an endpoint's. The
    /// client's type has no field for it any more.
    pub mac_address: Option<String>,
}

impl Creation {
    /// What is sent.
    pub fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut body = serde_json::to_value(&self.body)?;
        if let (Some(mac), Some(map)) = (&self.mac_address, body.as_object_mut()) {
            map.insert("MacAddress".to_owned(), mac.as_str().into());
        }
        serde_json::to_vec(&body)
    }

    /// Podman gives a tmpfs to no user by number (`unknown mount option "uid=70"`): where an owner is wanted, it is the
    /// container's user (`U`), and all others may write, too, but with runc 1.1.5, which takes the mode of the image's
    /// folder. A container that names no time to end has none with Podman 4: it is killed at once.
    pub fn for_podman(mut self) -> Self {
        self.body.stop_timeout.get_or_insert(DOCKERS_GRACE);
        let owner = |word: &str| word.starts_with("uid=") || word.starts_with("gid=");
        let all = self.body.host_config.iter_mut().flat_map(|host| host.tmpfs.iter_mut().flat_map(HashMap::values_mut));
        for words in all.filter(|words| words.split(',').any(owner)) {
            let kept = words.split(',').filter(|word| !owner(word) && !word.starts_with("mode="));
            *words = kept.chain(["U", "mode=1777"]).collect::<Vec<_>>().join(",");
        }
        self
    }
}

/// `volumes`: those made for paths that the image declares, (name, path). `Err`: what this engine
/// cannot do.
pub(super) fn creation(
    spec: &ContainerSpec,
    image: &str,
    labels: &BTreeMap<String, String>,
    volumes: &[(String, String)],
    api: ApiVersion,
) -> Result<Creation, String> {
    let options = &spec.options;
    let mut endpoints: Vec<(String, EndpointSettings)> = match &spec.network_mode {
        Some(_) => Vec::new(),
        None => spec.networks.iter().map(|network| (network.network.clone(), endpoint(network))).collect(),
    };
    if !options.links.is_empty() {
        for (_, endpoint) in &mut endpoints {
            endpoint.links.get_or_insert_default().extend(options.links.clone());
        }
    }
    let network_mode = spec.network_mode.clone().or_else(|| endpoints.first().map(|(network, _)| network.clone()));
    let mut mac_address = None;
    if let (Some(mac), Some((_, endpoint))) = (&options.mac_address, endpoints.first_mut()) {
        if api < MAC_OF_ENDPOINT {
            mac_address = Some(mac.clone());
        } else {
            endpoint.mac_address = Some(mac.clone());
        }
    }
    let connect = if api < SEVERAL_NETWORKS && endpoints.len() > 1 { endpoints.split_off(1) } else { Vec::new() };
    let (ports, exposed) = ports(spec);
    let mut host = host_config(options, api)?;
    host.network_mode = network_mode;
    host.port_bindings = (!ports.is_empty()).then_some(ports);
    mounts(spec, volumes, api, &mut host)?;
    let body = ContainerCreateBody {
        hostname: options.hostname.clone(),
        domainname: options.domainname.clone(),
        user: options.user.clone(),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        tty: options.tty.then_some(true),
        open_stdin: options.stdin_open.then_some(true),
        // the end of our input is the end of its
        stdin_once: labels.contains_key(label::ONE_OFF).then_some(true),
        env: (!spec.env.is_empty()).then(|| spec.env.clone()),
        cmd: spec.command.clone(),
        healthcheck: spec.healthcheck.as_ref().map(|check| healthcheck(check, api)),
        image: Some(image.to_owned()),
        working_dir: options.working_dir.clone(),
        entrypoint: spec.entrypoint.clone(),
        labels: Some(hash_map(labels)),
        stop_signal: options.stop_signal.clone(),
        stop_timeout: spec.stop_grace_ms.map(|ms| i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)),
        host_config: Some(host),
        networking_config: (!endpoints.is_empty())
            .then(|| NetworkingConfig { endpoints_config: Some(endpoints.into_iter().collect()) }),
        ..ContainerCreateBody::default()
    };
    Ok(Creation { body, connect, mac_address })
}

fn too_old(what: &str, needs: ApiVersion, has: ApiVersion) -> String {
    format!("`{what}` needs an engine with version {needs} of the API, this one has {has}")
}

fn host_config(options: &ContainerOptions, api: ApiVersion) -> Result<HostConfig, String> {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let limits = &options.resources;
    // a list of CDI names (vendor.com/class=name) is a request, a path is a mapping
    let (cdi, devices): (Vec<&String>, Vec<&String>) =
        options.devices.iter().partition(|device| !device.starts_with('/') && device.contains('='));
    let mut requests: Vec<DeviceRequest> = options.device_requests.iter().map(device_request).collect();
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: Some(CDI.to_owned()),
            device_ids: Some(cdi.into_iter().cloned().collect()),
            ..DeviceRequest::default()
        });
    }
    let blkio = options.blkio.clone().unwrap_or_default();
    let ulimits: Vec<ResourcesUlimits> = options
        .ulimits
        .iter()
        .map(|(name, limit)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(limit.soft),
            hard: Some(limit.hard),
        })
        .collect();
    if !options.annotations.is_empty() && api < ANNOTATIONS {
        return Err(too_old("annotations", ANNOTATIONS, api));
    }
    // not the engine's: its clients show a container all of /proc and /sys for it
    let is_open = |option: &&String| ["systempaths=unconfined", "systempaths:unconfined"].contains(&option.as_str());
    let (open, security_opt): (Vec<&String>, Vec<&String>) = options.security_opt.iter().partition(is_open);
    let security_opt: Vec<String> = security_opt.into_iter().cloned().collect();
    let open = !open.is_empty();
    Ok(HostConfig {
        memory: limits.memory,
        memory_reservation: limits.memory_reservation,
        memory_swap: limits.memory_swap,
        nano_cpus: limits.nano_cpus,
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset.clone(),
        pids_limit: limits.pids,
        cpu_realtime_period: limits.cpu_rt_period,
        cpu_realtime_runtime: limits.cpu_rt_runtime,
        memory_swappiness: limits.memory_swappiness,
        blkio_weight: blkio.weight,
        blkio_weight_device: weights(&blkio.weight_device),
        blkio_device_read_bps: rates(&blkio.read_bps),
        blkio_device_write_bps: rates(&blkio.write_bps),
        blkio_device_read_iops: rates(&blkio.read_iops),
        blkio_device_write_iops: rates(&blkio.write_iops),
        device_cgroup_rules: some(&options.device_cgroup_rules),
        storage_opt: (!options.storage_opt.is_empty()).then(|| hash_map(&options.storage_opt)),
        volumes_from: some(&options.volumes_from),
        cgroup_parent: options.cgroup_parent.clone(),
        devices: (!devices.is_empty()).then(|| devices.into_iter().map(|device| device_mapping(device)).collect()),
        device_requests: (!requests.is_empty()).then_some(requests),
        oom_kill_disable: options.oom_kill_disable,
        oom_score_adj: options.oom_score_adj,
        init: options.init,
        ulimits: (!ulimits.is_empty()).then_some(ulimits),
        log_config: options.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver.clone()),
            config: Some(hash_map(&logging.options)),
        }),
        restart_policy: restart(&options.restart),
        annotations: (!options.annotations.is_empty()).then(|| hash_map(&options.annotations)),
        cap_add: some(&options.cap_add),
        cap_drop: some(&options.cap_drop),
        cgroupns_mode: match options.cgroup.as_deref() {
            Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
            Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
            Some(other) => return Err(format!("`cgroup` is `host` or `private`, not `{other}`")),
            None => None,
        },
        dns: some(&options.dns),
        dns_options: some(&options.dns_opt),
        dns_search: some(&options.dns_search),
        extra_hosts: some(&options.extra_hosts),
        group_add: some(&options.group_add),
        ipc_mode: options.ipc.clone(),
        pid_mode: options.pid.clone(),
        uts_mode: options.uts.clone(),
        userns_mode: options.userns_mode.clone(),
        privileged: options.privileged.then_some(true),
        readonly_rootfs: options.read_only.then_some(true),
        security_opt: some(&security_opt),
        masked_paths: open.then(Vec::new),
        readonly_paths: open.then(Vec::new),
        shm_size: options.shm_size,
        sysctls: (!options.sysctls.is_empty()).then(|| hash_map(&options.sysctls)),
        runtime: options.runtime.clone(),
        ..HostConfig::default()
    })
}

fn device_request(request: &crate::model::DeviceRequest) -> DeviceRequest {
    // as `docker run --gpus` does it: a request that names no capability is for a GPU, unless its driver knows what is meant
    let capabilities = match request.capabilities.as_slice() {
        [] if request.driver == CDI => None,
        [] => Some(vec![vec!["gpu".to_owned()]]),
        named => Some(vec![named.to_vec()]),
    };
    DeviceRequest {
        driver: (!request.driver.is_empty()).then(|| request.driver.clone()),
        count: request.count,
        device_ids: (!request.ids.is_empty()).then(|| request.ids.clone()),
        capabilities,
        options: (!request.options.is_empty()).then(|| hash_map(&request.options)),
    }
}

fn weights(all: &[(String, u64)]) -> Option<Vec<ResourcesBlkioWeightDevice>> {
    let one = |(path, weight): &(String, u64)| ResourcesBlkioWeightDevice {
        path: Some(path.clone()),
        weight: usize::try_from(*weight).ok(),
    };
    (!all.is_empty()).then(|| all.iter().map(one).collect())
}

fn rates(all: &[(String, u64)]) -> Option<Vec<ThrottleDevice>> {
    let one =
        |(path, rate): &(String, u64)| ThrottleDevice { path: Some(path.clone()), rate: i64::try_from(*rate).ok() };
    (!all.is_empty()).then(|| all.iter().map(one).collect())
}

fn restart(restart: &Restart) -> Option<RestartPolicy> {
    let policy = |name| RestartPolicy { name: Some(name), maximum_retry_count: None };
    match restart {
        Restart::No => None,
        Restart::Always => Some(policy(RestartPolicyNameEnum::ALWAYS)),
        Restart::UnlessStopped => Some(policy(RestartPolicyNameEnum::UNLESS_STOPPED)),
        Restart::OnFailure(retries) => {
            Some(RestartPolicy { maximum_retry_count: *retries, ..policy(RestartPolicyNameEnum::ON_FAILURE) })
        }
    }
}

/// `/dev/x`, `/dev/x:/dev/y` or `/dev/x:/dev/y:rw`; `/dev/x:rwm` as well. Names in /dev/serial/by-path have colons of their own.
fn device_mapping(device: &str) -> DeviceMapping {
    let all = device.rsplit_once(':').filter(|(_, last)| last.chars().all(|letter| "rwm".contains(letter)));
    let (paths, permissions) = all.unwrap_or((device, "rwm"));
    let (host, target, permissions) = match paths.rfind(":/").map(|at| paths.split_at(at)) {
        Some((host, target)) => (host, target.trim_start_matches(':'), permissions),
        None => match paths.rsplit_once(':') {
            Some((host, permissions)) => (host, host, permissions),
            None => (paths, paths, permissions),
        },
    };
    DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(target.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    }
}

fn healthcheck(check: &Healthcheck, api: ApiVersion) -> HealthConfig {
    // beyond 292 years the engine's number of nanoseconds ends
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: (!check.test.is_empty()).then(|| check.test.clone()),
        interval: check.interval.map(nanos),
        timeout: check.timeout.map(nanos),
        retries: check.retries.map(i64::from),
        start_period: check.start_period.map(nanos),
        // a faster start only; without it the check runs at its usual pace
        start_interval: check.start_interval.filter(|_| api >= START_INTERVAL).map(nanos),
    }
}

/// `80/tcp` -> addresses of the host.
type Ports = HashMap<String, Option<Vec<PortBinding>>>;

fn ports(spec: &ContainerSpec) -> (Ports, Vec<String>) {
    let mut bindings = Ports::new();
    let mut exposed: Vec<String> = spec.expose.iter().map(|port| format!("{port}/tcp")).collect();
    exposed.extend(spec.expose_other.iter().cloned());
    for port in &spec.ports {
        let key = format!("{}/{}", port.container_port, port.protocol);
        exposed.push(key.clone());
        bindings.entry(key).or_default().get_or_insert_default().push(PortBinding {
            host_ip: Some(port.host_ip.to_string()),
            host_port: Some(port.host_port.map(|port| port.to_string()).unwrap_or_default()),
        });
    }
    exposed.sort();
    exposed.dedup();
    (bindings, exposed)
}

pub(super) fn endpoint(network: &NetworkAttachment) -> EndpointSettings {
    let fixed = network.ipv4.is_some() || network.ipv6.is_some();
    EndpointSettings {
        aliases: (!network.aliases.is_empty()).then(|| network.aliases.clone()),
        links: (!network.links.is_empty()).then(|| network.links.clone()),
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: network.ipv4.map(|address| address.to_string()),
            ipv6_address: network.ipv6.map(|address| address.to_string()),
            link_local_ips: None,
        }),
        ..EndpointSettings::default()
    }
}

fn mounts(
    spec: &ContainerSpec,
    volumes: &[(String, String)],
    api: ApiVersion,
    host: &mut HostConfig,
) -> Result<(), String> {
    let mut mounts = Vec::new();
    let mut binds = Vec::new();
    let mut tmpfs = HashMap::new();
    for mount in &spec.mounts {
        match mount {
            MountSpec::Bind { source, target, read_only, create_host_path, propagation, selinux } => {
                let source = source.to_string_lossy().into_owned();
                // the older form makes the folder on the host and labels it, but knows no colon in a path
                let makes = *create_host_path && api < CREATE_MOUNTPOINT;
                if (makes || selinux.is_some()) && !source.contains(':') && !target.contains(':') {
                    let mut words: Vec<&str> = Vec::new();
                    words.push(if *read_only { "ro" } else { "rw" });
                    words.extend(propagation.as_deref());
                    words.extend(selinux.as_deref());
                    binds.push(format!("{source}:{target}:{}", words.join(",")));
                    continue;
                }
                let bind_options = MountBindOptions {
                    propagation: propagation.as_deref().map(propagation_of).transpose()?,
                    create_mountpoint: (*create_host_path && api >= CREATE_MOUNTPOINT).then_some(true),
                    ..MountBindOptions::default()
                };
                mounts.push(Mount {
                    typ: Some(MountType::BIND),
                    source: Some(source),
                    target: Some(target.clone()),
                    read_only: read_only.then_some(true),
                    bind_options: (bind_options != MountBindOptions::default()).then_some(bind_options),
                    ..Mount::default()
                });
            }
            MountSpec::Volume { source, target, read_only, no_copy, subpath } => {
                if subpath.is_some() && api < SUBPATH {
                    return Err(too_old("subpath", SUBPATH, api));
                }
                let volume_options = MountVolumeOptions {
                    no_copy: no_copy.then_some(true),
                    subpath: subpath.clone(),
                    ..MountVolumeOptions::default()
                };
                mounts.push(Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(source.clone()),
                    target: Some(target.clone()),
                    read_only: read_only.then_some(true),
                    volume_options: (volume_options != MountVolumeOptions::default()).then_some(volume_options),
                    ..Mount::default()
                });
            }
            MountSpec::Tmpfs { target, size, mode, options } => {
                let mut words = options.clone();
                words.extend(size.map(|size| format!("size={size}")));
                words.extend(mode.map(|mode| format!("mode={mode:o}")));
                tmpfs.insert(target.clone(), words.join(","));
            }
            MountSpec::Image { source, target, subpath } => {
                if api < IMAGE_MOUNT {
                    return Err(too_old("type: image", IMAGE_MOUNT, api));
                }
                let image_options = subpath.clone().map(|subpath| MountImageOptions { subpath: Some(subpath) });
                mounts.push(Mount {
                    typ: Some(MountType::IMAGE),
                    source: Some(source.clone()),
                    target: Some(target.clone()),
                    read_only: Some(true),
                    image_options,
                    ..Mount::default()
                });
            }
        }
    }
    mounts.extend(volumes.iter().map(|(name, path)| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.clone()),
        target: Some(path.clone()),
        ..Mount::default()
    }));
    host.mounts = (!mounts.is_empty()).then_some(mounts);
    host.binds = (!binds.is_empty()).then_some(binds);
    host.tmpfs = (!tmpfs.is_empty()).then_some(tmpfs);
    Ok(())
}

fn propagation_of(text: &str) -> Result<MountBindOptionsPropagationEnum, String> {
    use MountBindOptionsPropagationEnum as Propagation;
    Ok(match text {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        other => return Err(format!("`{other}` is not a propagation mode of bind mounts")),
    })
}

/// Volumes for the paths that an image declares and the spec does not mount: (name, path).
pub(in crate::engine) fn volumes_of_image(spec: &ContainerSpec, declared: &[String]) -> Vec<(String, String)> {
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    // one that stands in for another gets its name in the end, and works on its data
    let owner = spec.name.strip_suffix(UNFINISHED).unwrap_or(&spec.name);
    let mounted: Vec<String> = spec.mounts.iter().map(|mount| plain(mount.target())).collect();
    let mut paths: Vec<String> = declared.iter().map(|path| plain(path)).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| !path.is_empty() && !mounted.contains(path))
        .map(|path| (format!("{owner}-{}", slug(&path)), path))
        .collect()
}

/// `/var/lib/postgresql` -> `var-lib-postgresql`: what a volume's name may be made of.
fn slug(path: &str) -> String {
    let mut slug = String::new();
    for c in path.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
