//! The rules for each key of the Compose tables and of `x-macula`, in the order of the tables.

use super::fate::{Choice, Fate, Rule};
use super::placement::is_known_constraint;
use crate::config::Said;
use Fate::{As, Breaks, Kept, Lost, Value};

const fn rule(key: &'static str, swarm: Fate, kubernetes: Fate) -> Rule {
    Rule { key, swarm, kubernetes }
}

const READ: Fate = As("done when the files are read");
const NODE_SETTING: Fate = Breaks("it is a setting of the nodes there");
const ONE_ENGINE: Fate = Lost("it is for one engine");
const NO_NETWORK_OF_OWN: Fate = Lost("the cluster has one network for all pods");
const NO_WORD: Fate = Breaks("there is no word for it; leave it out");
const NO_ADDRESS: Fate = Breaks("addresses are given out; use the service's name");
const NOTHING_DONE: Fate = Lost("Macula does nothing with it on any target");
const NOT_PLACED: Fate = Breaks("containers that share something would have to be on one node; make it one service");
const HOOK: Fate = Breaks("Swarm has no hooks; call it from the image's entrypoint");
const HOOK_OPTION: Fate = Breaks("a hook of a pod has a command and nothing else");
const FILE_OWNER: Fate = Breaks("files of a pod belong to root; make them readable for all");
const DRIVER: Fate = Breaks("Macula creates it with its content; give it a `file`, `content` or `environment`");

fn is(said: &Said, words: &[&str]) -> bool {
    said.text().is_some_and(|text| words.contains(&text))
}

fn numeric(text: &str) -> bool {
    !text.is_empty() && text.split(':').all(|part| part.parse::<u32>().is_ok())
}

fn texts(said: &Said) -> impl Iterator<Item = &str> {
    said.value.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str)
}

/// `name=address`
fn is_alias(text: &str) -> bool {
    text.split_once(['=', ':']).is_some_and(|(_, address)| address.parse::<std::net::IpAddr>().is_ok())
}

/// What every kubelet lets a pod set (<https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>).
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls_are_safe(said: &Said) -> bool {
    let names = said.value.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
    let listed = texts(said).filter_map(|text| text.split('=').next());
    names.chain(listed).all(|name| SAFE_SYSCTLS.contains(&name))
}

macro_rules! choice {
    ($name:ident, $takes:expr, $then:expr, $otherwise:expr) => {
        static $name: Choice = Choice { takes: $takes, then: $then, otherwise: $otherwise };
    };
}

choice!(
    HOST_ALIASES,
    |said| texts(said).all(is_alias),
    As("`hostAliases`"),
    Breaks("a pod takes addresses only; `host-gateway` is none")
);
choice!(HOST_PID, |said| is(said, &["host"]), As("the node's own"), NOT_PLACED);
choice!(
    HOST_NETWORK,
    |said| is(said, &["host"]),
    Breaks("pods would have the node's own network, with every port of it"),
    NOT_PLACED
);
choice!(
    SWARM_MODE,
    |said| is(said, &["replicated", "global", "replicated-job", "global-job"]),
    Kept,
    Breaks("there is no such mode")
);
choice!(
    POD_MODE,
    |said| is(said, &["global-job"]),
    Breaks("Kubernetes has no job that runs once on each node"),
    As("a DaemonSet, a Job, or `replicas`")
);
choice!(
    NUMERIC_USER,
    |said| said.text().is_some_and(numeric),
    As("`runAsUser`, `runAsGroup`, `fsGroup`"),
    Breaks("pods take a number: write `user: \"1000:1000\"`")
);
choice!(NUMERIC_GROUPS, |said| texts(said).all(numeric), As("`supplementalGroups`"), Breaks("pods take numbers"));
choice!(
    SWARM_SECURITY,
    |said| texts(said).all(|text| security(text) != Security::Other && security(text) != Security::AppArmorProfile),
    As("`Privileges`; engines before API 1.45 do not know them"),
    Breaks("Swarm knows `no-new-privileges`, `seccomp=unconfined` and `apparmor=unconfined`")
);
choice!(
    POD_SECURITY,
    |said| texts(said).all(|text| security(text) != Security::Other),
    As("the security context"),
    Breaks("pods know `no-new-privileges`, `seccomp=unconfined` and `apparmor=...`")
);
choice!(MOUNT_TYPE_SWARM, |said| is(said, &["volume", "tmpfs"]), Kept, Value(&BIND_SWARM));
choice!(
    BIND_SWARM,
    |said| is(said, &["bind"]),
    Breaks("the path would be one of each node; make the file a config, or the folder a volume"),
    Breaks("Swarm has no such mount")
);
choice!(
    MOUNT_TYPE_POD,
    |said| is(said, &["volume", "tmpfs", "image"]),
    As("a claim, an `emptyDir` or an image volume"),
    Value(&BIND_POD)
);
choice!(
    BIND_POD,
    |said| is(said, &["bind"]),
    Breaks("the path would be one of each node; make the file a config, or the folder a volume"),
    Breaks("pods have no such mount")
);
choice!(
    POD_HOST_IP,
    |said| is(said, &["0.0.0.0", "::"]),
    As("a Service of type LoadBalancer"),
    Lost("the port is open inside the cluster only; `kubectl port-forward` leads to it")
);
choice!(
    SWARM_HOST_IP,
    |said| is(said, &["0.0.0.0", "::"]),
    As("every address of the nodes"),
    Breaks("Swarm publishes on every address of the nodes; leave the port out, or put an edge proxy in front")
);
choice!(
    SYSCTLS,
    sysctls_are_safe,
    Kept,
    Lost("nodes refuse pods that set it, unless their kubelet was started with `--allowed-unsafe-sysctls`")
);
choice!(FAILURE, |said| is(said, &["pause", "continue", "rollback"]), Kept, Breaks("there is no such action"));
choice!(BACK, |said| is(said, &["pause", "continue"]), Kept, Breaks("there is no such action"));
choice!(ENDPOINT, |said| is(said, &["vip", "dnsrr"]), Kept, Breaks("there is no such mode"));
choice!(
    POD_FAILURE,
    |said| is(said, &["pause"]),
    As("a Deployment stops by itself"),
    Breaks("a Deployment stops at a failure and waits; write `pause`")
);
choice!(
    POD_CONSTRAINTS,
    |said| texts(said).all(is_known_constraint),
    As("`nodeSelector` terms"),
    Breaks("nodes are told apart by `node.labels.*`, `node.hostname`, `node.role` and `node.platform.*` there")
);
choice!(
    ONE_A_NODE,
    |said| said.value.as_u64() == Some(1),
    As("an anti-affinity"),
    Breaks("pods can be one a node or any number")
);
choice!(
    POD_RESTART,
    |said| is(said, &["always", "unless-stopped", "any"]),
    Kept,
    Lost("pods of services always start again; a job is tried again where it says `on-failure`")
);
choice!(
    SIZE_ONLY,
    |said| said.value.as_object().is_some_and(|map| map.keys().all(|key| key == "size")),
    As("the size of the claim"),
    Breaks("the driver's options are those of a StorageClass there; `size` is known")
);
choice!(
    VOLUME_DRIVER,
    |said| is(said, &["local"]),
    As("the default StorageClass"),
    As("the StorageClass of that name")
);
choice!(
    UNSET,
    |said| said.value.as_object().is_some_and(|map| map.values().all(|value| !value.is_null())),
    Kept,
    Breaks("a variable of the image cannot be removed; set it to an empty text")
);
choice!(LOCAL_DRIVER, |said| is(said, &["overlay", "bridge"]), As("`overlay`"), Kept);
choice!(
    NO_LINK,
    |said| texts(said).all(|text| !text.contains(':')),
    As("services find each other by name anyway"),
    Breaks("give the other service a network alias")
);
choice!(
    SLASH_SHARE,
    |said| is(said, &["json-file", "local"]),
    Lost("the cluster collects the logs"),
    Lost("the cluster collects the logs")
);
choice!(
    PULL,
    |said| is(said, &["always", "never", "missing"]),
    As("`imagePullPolicy`"),
    Lost("the image is built first")
);
choice!(
    EXTERNAL_NETWORK,
    |said| said.value.as_bool() == Some(true),
    Breaks("there are no networks to join; a NetworkPolicy decides"),
    Kept
);

#[derive(PartialEq, Eq)]
pub(super) enum Security {
    NoNewPrivileges(bool),
    SeccompUnconfined,
    AppArmorUnconfined,
    AppArmorProfile,
    Other,
}

/// One of `security_opt`.
pub(super) fn security(text: &str) -> Security {
    match text.replacen(':', "=", 1).as_str() {
        "no-new-privileges" | "no-new-privileges=true" => Security::NoNewPrivileges(true),
        "no-new-privileges=false" => Security::NoNewPrivileges(false),
        "seccomp=unconfined" => Security::SeccompUnconfined,
        "apparmor=unconfined" => Security::AppArmorUnconfined,
        profile if profile.starts_with("apparmor=") => Security::AppArmorProfile,
        _ => Security::Other,
    }
}

#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    rule("version", READ, READ),
    rule("name", As("the prefix of all names"), As("the namespace")),
    rule("include", READ, READ),
    rule("models", NOTHING_DONE, NOTHING_DONE),
    rule("networks.*.name", Kept, NO_NETWORK_OF_OWN),
    rule("networks.*.driver", Value(&LOCAL_DRIVER), NO_NETWORK_OF_OWN),
    rule("networks.*.driver_opts", Kept, Breaks("the network's options are the cluster's")),
    rule("networks.*.ipam", Kept, NO_NETWORK_OF_OWN),
    rule("networks.*.ipam.driver", NOTHING_DONE, NO_NETWORK_OF_OWN),
    rule("networks.*.ipam.options", NOTHING_DONE, NO_NETWORK_OF_OWN),
    rule("networks.*.ipam.config[].aux_addresses", NOTHING_DONE, NO_NETWORK_OF_OWN),
    rule("networks.*.external", As("it must be there"), Value(&EXTERNAL_NETWORK)),
    rule("networks.*.internal", Kept, As("a NetworkPolicy for what goes out")),
    rule("networks.*.attachable", Kept, NO_NETWORK_OF_OWN),
    rule("networks.*.labels", Kept, As("annotations of the NetworkPolicy")),
    rule("networks.*.enable_ipv4", NOTHING_DONE, NO_NETWORK_OF_OWN),
    rule("networks.*.enable_ipv6", Kept, NO_NETWORK_OF_OWN),
    rule("volumes.*.name", Kept, As("the name of the claim")),
    rule("volumes.*.driver", Kept, Value(&VOLUME_DRIVER)),
    rule("volumes.*.driver_opts", Kept, Value(&SIZE_ONLY)),
    rule("volumes.*.external", As("it must be on the node"), As("the claim must be there")),
    rule("volumes.*.labels", Kept, As("annotations of the claim")),
    rule("secrets.*.name", Kept, As("the name of one that is external")),
    rule("secrets.*.file", Kept, As("a Secret")),
    rule("secrets.*.environment", Kept, As("a Secret")),
    rule("secrets.*.content", Kept, As("a Secret")),
    rule("secrets.*.external", As("it must be there"), As("a Secret that must be there, with a key of the same name")),
    rule("secrets.*.labels", Lost("they are not carried over"), Lost("they are not carried over")),
    rule("secrets.*.driver", DRIVER, DRIVER),
    rule("secrets.*.driver_opts", DRIVER, DRIVER),
    rule("secrets.*.template_driver", DRIVER, DRIVER),
    rule("configs.*.name", Kept, As("the name of one that is external")),
    rule("configs.*.file", Kept, As("a ConfigMap")),
    rule("configs.*.environment", Kept, As("a ConfigMap")),
    rule("configs.*.content", Kept, As("a ConfigMap")),
    rule("configs.*.external", As("it must be there"), As("a ConfigMap that must be there, with a key of the same name")),
    rule("configs.*.labels", Lost("they are not carried over"), Lost("they are not carried over")),
    rule("configs.*.driver", DRIVER, DRIVER),
    rule("configs.*.driver_opts", DRIVER, DRIVER),
    rule("configs.*.template_driver", DRIVER, DRIVER),
    rule("services.*.profiles", READ, READ),
    rule("services.*.annotations", Lost("Swarm has labels only"), Kept),
    rule("services.*.attach", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.build", As("the image is in the platform's registry"), As("the image is in the platform's registry")),
    rule("services.*.develop", Lost("`macula watch` is for one engine"), Lost("`macula watch` is for one engine")),
    rule("services.*.blkio_config", NO_WORD, NO_WORD),
    rule("services.*.cap_add", Kept, As("`capabilities`")),
    rule("services.*.cap_drop", Kept, As("`capabilities`")),
    rule("services.*.cgroup_parent", NODE_SETTING, NODE_SETTING),
    rule("services.*.cgroup", NODE_SETTING, NODE_SETTING),
    rule("services.*.cpu_count", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.cpu_percent", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.cpu_period", As("a limit of CPUs"), As("a limit of CPUs")),
    rule("services.*.cpu_quota", As("a limit of CPUs"), As("a limit of CPUs")),
    rule("services.*.cpu_rt_period", NODE_SETTING, NODE_SETTING),
    rule("services.*.cpu_rt_runtime", NODE_SETTING, NODE_SETTING),
    rule("services.*.cpus", As("a limit of CPUs"), As("a limit of CPUs")),
    rule("services.*.cpuset", NODE_SETTING, NODE_SETTING),
    rule("services.*.cpu_shares", Breaks("reserve CPUs: `deploy.resources.reservations.cpus`"), Breaks("reserve CPUs: `deploy.resources.reservations.cpus`")),
    rule("services.*.command", Kept, As("`args`")),
    rule("services.*.configs", Kept, As("files of a ConfigMap")),
    rule("services.*.configs[].uid", Kept, FILE_OWNER),
    rule("services.*.configs[].gid", Kept, FILE_OWNER),
    rule("services.*.container_name", Lost("each container has a name of its own; the service's name leads to them"), Lost("each pod has a name of its own; the service's name leads to them")),
    rule("services.*.credential_spec", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.depends_on", Breaks("Swarm starts services in any order; let this one try again until what it needs is there"), As("init containers that wait")),
    rule("services.*.depends_on.*.restart", Lost("nothing starts again with another service"), Lost("nothing starts again with another service")),
    rule("services.*.depends_on.*.required", READ, READ),
    rule("services.*.deploy.mode", Value(&SWARM_MODE), Value(&POD_MODE)),
    rule("services.*.deploy.replicas", Kept, Kept),
    rule("services.*.deploy.labels", Kept, As("annotations of the workload")),
    rule("services.*.deploy.update_config", Kept, As("`strategy`, of a DaemonSet `updateStrategy`; a StatefulSet replaces one pod at a time")),
    rule("services.*.deploy.update_config.delay", Kept, As("`minReadySeconds`")),
    rule("services.*.deploy.update_config.failure_action", Value(&FAILURE), Value(&POD_FAILURE)),
    rule("services.*.deploy.update_config.monitor", Kept, Lost("a pod counts once it is ready")),
    rule("services.*.deploy.update_config.max_failure_ratio", Kept, Lost("a Deployment waits at the first failure")),
    rule("services.*.deploy.rollback_config", Kept, Lost("`kubectl rollout undo` goes as an update does")),
    rule("services.*.deploy.rollback_config.failure_action", Value(&BACK), Lost("`kubectl rollout undo` goes as an update does")),
    rule("services.*.deploy.resources.limits", Kept, As("`limits`")),
    rule("services.*.deploy.resources.limits.pids", Kept, NODE_SETTING),
    rule("services.*.deploy.resources.reservations", Kept, As("`requests`")),
    rule("services.*.deploy.resources.reservations.devices", Breaks("use `generic_resources`"), Breaks("devices are resources of the cluster's own names there")),
    rule("services.*.deploy.resources.reservations.generic_resources", Kept, Breaks("such resources have names of the cluster's own there")),
    rule("services.*.deploy.restart_policy.condition", Kept, Value(&POD_RESTART)),
    rule("services.*.deploy.restart_policy.delay", Kept, Lost("the delay grows with each start")),
    rule("services.*.deploy.restart_policy.max_attempts", Kept, Lost("pods of services start again without end; a Job is tried so often")),
    rule("services.*.deploy.restart_policy.window", Kept, Lost("the delay grows with each start")),
    rule("services.*.deploy.placement.constraints", Kept, Value(&POD_CONSTRAINTS)),
    rule("services.*.deploy.placement.preferences", Kept, As("`topologySpreadConstraints`")),
    rule("services.*.deploy.placement.max_replicas_per_node", Kept, Value(&ONE_A_NODE)),
    rule("services.*.deploy.endpoint_mode", Value(&ENDPOINT), As("`dnsrr` is a Service without an address")),
    rule("services.*.device_cgroup_rules", NODE_SETTING, NODE_SETTING),
    rule("services.*.devices", NODE_SETTING, NODE_SETTING),
    rule("services.*.dns", Kept, As("`dnsConfig`")),
    rule("services.*.dns_opt", Kept, As("`dnsConfig`")),
    rule("services.*.dns_search", Kept, As("`dnsConfig`")),
    rule("services.*.domainname", NO_WORD, NO_WORD),
    rule("services.*.entrypoint", Kept, As("`command`")),
    rule("services.*.environment", Kept, Value(&UNSET)),
    rule("services.*.env_file", READ, READ),
    rule("services.*.expose", Lost("all ports are open within a network"), As("ports of the Service")),
    rule("services.*.extends", READ, READ),
    rule("services.*.external_links", NO_WORD, NO_WORD),
    rule("services.*.extra_hosts", Kept, Value(&HOST_ALIASES)),
    rule("services.*.group_add", Kept, Value(&NUMERIC_GROUPS)),
    rule("services.*.gpus", Breaks("use `generic_resources`"), Breaks("devices are resources of the cluster's own names there")),
    rule("services.*.hostname", Kept, Kept),
    rule("services.*.healthcheck", Kept, As("a readiness probe")),
    rule("services.*.healthcheck.start_period", Kept, As("a pod waits for its first success for as long as that takes")),
    rule("services.*.healthcheck.start_interval", As("engines before API 1.44 do not know it"), Lost("a readiness probe asks at `interval` from the start")),
    rule("services.*.image", Kept, Kept),
    rule("services.*.init", Kept, Lost("pods have no init; the first process gets the signals")),
    rule("services.*.ipc", NOT_PLACED, Value(&HOST_PID)),
    rule("services.*.isolation", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.labels", Kept, As("annotations of the pods")),
    rule("services.*.label_file", READ, READ),
    rule("services.*.links", Value(&NO_LINK), Value(&NO_LINK)),
    rule("services.*.logging", Kept, Value(&SLASH_SHARE)),
    rule("services.*.mem_limit", As("a limit of memory"), As("a limit of memory")),
    rule("services.*.mem_reservation", As("reserved memory"), As("requested memory")),
    rule("services.*.memswap_limit", NODE_SETTING, NODE_SETTING),
    rule("services.*.mem_swappiness", NODE_SETTING, NODE_SETTING),
    rule("services.*.mac_address", NO_ADDRESS, NO_ADDRESS),
    rule("services.*.models", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.network_mode", Breaks("Swarm has networks only; list them under `networks`"), Value(&HOST_NETWORK)),
    rule("services.*.networks", Kept, As("labels that a NetworkPolicy selects")),
    rule("services.*.networks.*.aliases", Kept, As("further Services")),
    rule("services.*.networks.*.priority", NO_WORD_HARMLESS, NO_NETWORK_OF_OWN),
    rule("services.*.networks.*.gw_priority", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.networks.*.interface_name", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.networks.*.link_local_ips", NO_ADDRESS, NO_ADDRESS),
    rule("services.*.networks.*.ipv4_address", NO_ADDRESS, NO_ADDRESS),
    rule("services.*.networks.*.ipv6_address", NO_ADDRESS, NO_ADDRESS),
    rule("services.*.networks.*.mac_address", NO_ADDRESS, NO_ADDRESS),
    rule("services.*.networks.*.driver_opts", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.oom_kill_disable", NODE_SETTING, NODE_SETTING),
    rule("services.*.oom_score_adj", NODE_SETTING, NODE_SETTING),
    rule("services.*.pid", NOT_PLACED, Value(&HOST_PID)),
    rule("services.*.pids_limit", As("a limit of processes"), NODE_SETTING),
    rule("services.*.platform", As("nodes of that platform"), As("nodes of that platform")),
    rule("services.*.ports[].name", Kept, Kept),
    rule("services.*.ports[].mode", Kept, As("`hostPort`")),
    rule("services.*.ports[].host_ip", Value(&SWARM_HOST_IP), Value(&POD_HOST_IP)),
    rule("services.*.ports[].target", Kept, As("a port of the Service")),
    rule("services.*.ports[].published", Kept, Lost("the port is open inside the cluster only, under its number in the container; an ingress rule or `kubectl port-forward` leads to it")),
    rule("services.*.ports[].protocol", Kept, Kept),
    rule("services.*.ports[].app_protocol", Lost("Swarm passes all protocols on"), Kept),
    rule("services.*.privileged", Breaks("Swarm has no privileged containers; add capabilities"), Breaks("pods would own the node; add capabilities")),
    rule("services.*.provider", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.pull_policy", Lost("images are pinned by digest and pulled where they are missing"), Value(&PULL)),
    rule("services.*.pull_refresh_after", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.read_only", Kept, Kept),
    rule("services.*.restart", As("`restart_policy`"), Value(&POD_RESTART)),
    rule("services.*.runtime", NODE_SETTING, As("`runtimeClassName`")),
    rule("services.*.scale", As("replicas"), As("replicas")),
    rule("services.*.secrets", Kept, As("files of a Secret")),
    rule("services.*.secrets[].uid", Kept, FILE_OWNER),
    rule("services.*.secrets[].gid", Kept, FILE_OWNER),
    rule("services.*.security_opt", Value(&SWARM_SECURITY), Value(&POD_SECURITY)),
    rule("services.*.shm_size", As("a tmpfs at /dev/shm"), As("an `emptyDir` at /dev/shm")),
    rule("services.*.stdin_open", Kept, Kept),
    rule("services.*.stop_grace_period", Kept, As("`terminationGracePeriodSeconds`")),
    rule("services.*.stop_signal", Kept, Breaks("pods get the image's own: write STOPSIGNAL in the Dockerfile")),
    rule("services.*.storage_opt", NO_WORD, NO_WORD),
    rule("services.*.sysctls", Kept, Value(&SYSCTLS)),
    rule("services.*.tmpfs", Kept, As("an `emptyDir` in memory")),
    rule("services.*.tty", Kept, Kept),
    rule("services.*.ulimits", Kept, NODE_SETTING),
    rule("services.*.use_api_socket", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.user", Kept, Value(&NUMERIC_USER)),
    rule("services.*.userns_mode", NODE_SETTING, NODE_SETTING),
    rule("services.*.uts", NOT_PLACED, NOT_PLACED),
    rule("services.*.volumes[].type", Value(&MOUNT_TYPE_SWARM), Value(&MOUNT_TYPE_POD)),
    rule("services.*.volumes[].source", As("the same; the engine's own socket is bound on each node"), Kept),
    rule("services.*.volumes[].target", Kept, Kept),
    rule("services.*.volumes[].read_only", Kept, Kept),
    rule("services.*.volumes[].consistency", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.volumes[].bind.selinux", NODE_SETTING, NODE_SETTING),
    rule("services.*.volumes[].bind.propagation", Kept, As("`mountPropagation`")),
    rule("services.*.volumes[].bind.create_host_path", Lost("the path must be there"), As("`DirectoryOrCreate`")),
    rule("services.*.volumes[].bind.recursive", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.volumes[].volume.nocopy", Kept, As("a claim is never filled from the image")),
    rule("services.*.volumes[].volume.subpath", Kept, As("`subPath`")),
    rule("services.*.volumes[].volume.labels", NOTHING_DONE, NOTHING_DONE),
    rule("services.*.volumes[].tmpfs.size", Kept, As("`sizeLimit`")),
    rule("services.*.volumes[].tmpfs.mode", Kept, Lost("an `emptyDir` is open for all users of the pod")),
    rule("services.*.volumes[].image.subpath", Breaks("Swarm has no such mount"), As("`subPath`")),
    rule("services.*.volumes_from", NOT_PLACED, NOT_PLACED),
    rule("services.*.working_dir", Kept, Kept),
    rule("services.*.pre_start", Breaks("make it a service of its own, with depends_on"), Breaks("make it a service of its own, with depends_on")),
    rule("services.*.post_start", HOOK, As("`lifecycle.postStart`, the first one")),
    rule("services.*.post_start[].user", HOOK, HOOK_OPTION),
    rule("services.*.post_start[].privileged", HOOK, HOOK_OPTION),
    rule("services.*.post_start[].working_dir", HOOK, HOOK_OPTION),
    rule("services.*.post_start[].environment", HOOK, HOOK_OPTION),
    rule("services.*.pre_stop", HOOK, As("`lifecycle.preStop`, the first one")),
    rule("services.*.pre_stop[].user", HOOK, HOOK_OPTION),
    rule("services.*.pre_stop[].privileged", HOOK, HOOK_OPTION),
    rule("services.*.pre_stop[].working_dir", HOOK, HOOK_OPTION),
    rule("services.*.pre_stop[].environment", HOOK, HOOK_OPTION),
    rule("services.*.x-macula.role", ONE_PLATFORM, ONE_PLATFORM),
    rule("services.*.x-macula.ingress", Breaks("Swarm has no ingress by name; publish a port of an edge proxy"), As("an Ingress; a password, `strip`, `grpc`, `tls` and `sticky` are for `cluster: {ingress: nginx}`")),
    rule("services.*.x-macula.ingress[].weight", Breaks("Swarm has no ingress by name; publish a port of an edge proxy"), Breaks("an Ingress shares nothing by weight; make the services replicas of one")),
    rule("services.*.x-macula.ingress[].fallback", NO_WORD_HARMLESS, NO_WORD_HARMLESS),
    rule("services.*.x-macula.ingress[].grpc_port", NO_WORD, Breaks("give gRPC a host of its own, with `grpc: true`")),
    rule("services.*.x-macula.ingress[].same_origin", NO_WORD, Breaks("the cluster's ingress does not look at the origin; let the service do it")),
    rule("services.*.x-macula.ingress[].response_timeout", NO_WORD_HARMLESS, As("`proxy-read-timeout`")),
    rule("services.*.x-macula.address", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.probe", Breaks("Swarm asks nothing from outside; write a `healthcheck`"), As("a readiness probe")),
    rule("services.*.x-macula.probe.timeout", ONE_ENGINE, As("`progressDeadlineSeconds`")),
    rule("services.*.x-macula.metrics", Lost("Prometheus does not find tasks; scrape the service's name from a Prometheus of the stack's own"), As("annotations `prometheus.io/*`")),
    rule("services.*.x-macula.exports", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.environment", As("variables, which `docker service inspect` shows"), As("variables from a Secret")),
    rule("services.*.x-macula.secrets", As("variables, which `docker service inspect` shows"), As("variables from a Secret")),
    rule("services.*.x-macula.configs", As("secrets at those paths"), As("files of a Secret")),
    rule("services.*.x-macula.configs.*.uid", Kept, FILE_OWNER),
    rule("services.*.x-macula.configs.*.gid", Kept, FILE_OWNER),
    rule("services.*.x-macula.mounts", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.reload", Lost("a changed file makes new containers"), Lost("a changed file makes new pods")),
    rule("services.*.x-macula.build", As("the image is in the platform's registry"), As("the image is in the platform's registry")),
    rule("services.*.x-macula.provider", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.sources", Lost("the image is pulled as it is named"), Lost("the image is pulled as it is named")),
    rule("services.*.x-macula.buckets", ONE_PLATFORM, ONE_PLATFORM),
    rule("services.*.x-macula.databases", ONE_PLATFORM, ONE_PLATFORM),
    rule("services.*.x-macula.needs", ONE_PLATFORM, ONE_PLATFORM),
    rule("services.*.x-macula.tasks", As("a job"), As("a Job")),
    rule("services.*.x-macula.tasks.*.run", TASK_ORDER, As("the command of the Job")),
    rule("services.*.x-macula.tasks.*.after", TASK_ORDER, As("init containers that wait")),
    rule("services.*.x-macula.tasks.*.before", TASK_ORDER, As("what waits is applied after the Job")),
    rule("services.*.x-macula.tasks.*.when", Lost("files are not compared: it runs with each change of the job"), Lost("files are not compared: it runs with each change of the Job")),
    rule("services.*.x-macula.tasks.*.timeout", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.optional", ONE_ENGINE, ONE_ENGINE),
    rule("services.*.x-macula.trust", ONE_PLATFORM, ONE_PLATFORM),
    rule("services.*.x-macula.once", As("a job"), As("a Job")),
    rule("services.*.x-macula.profile", READ, READ),
    rule("services.*.x-macula.scale", Breaks("Swarm changes no number of replicas by itself; write `deploy.replicas`"), As("a HorizontalPodAutoscaler")),
];

const TASK_ORDER: Fate = Breaks("Swarm starts services in any order; let them try again until the job is done");
const NO_WORD_HARMLESS: Fate = Lost("there is no word for it");
const ONE_PLATFORM: Fate = Breaks("it is made by the platform on this machine; the stack has to bring its own there");

/// Something that is not one key, for the test that every rule can be met.
#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_security_have_two_spellings() {
        for (text, meant) in [
            ("no-new-privileges", Security::NoNewPrivileges(true)),
            ("no-new-privileges:true", Security::NoNewPrivileges(true)),
            ("no-new-privileges=false", Security::NoNewPrivileges(false)),
            ("seccomp:unconfined", Security::SeccompUnconfined),
            ("seccomp=unconfined", Security::SeccompUnconfined),
            ("apparmor:unconfined", Security::AppArmorUnconfined),
            ("apparmor=unconfined", Security::AppArmorUnconfined),
            ("apparmor:shop", Security::AppArmorProfile),
            ("apparmor=shop", Security::AppArmorProfile),
            ("apparmor", Security::Other),
            ("seccomp=profile.json", Security::Other),
            ("label:disable", Security::Other),
        ] {
            assert!(security(text) == meant, "{text}");
        }
    }
}
