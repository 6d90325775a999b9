//! The Compose specification as tables, in the order in which `docker compose config` prints the
//! keys. What is marked as ignored is accepted, printed, and named in a warning.

use super::{build, files, networks, ports, short, volumes};
use crate::config::yaml::{Field, Kind, Object, field as f, in_a_list};

const ANY_INT: Kind = Kind::Int(i64::MIN, i64::MAX);
const COUNT: Kind = Kind::Int(0, i64::MAX);
const SWARM: &str = "it is for Swarm";
const BUILDKIT: &str = "macula does not pass it on to BuildKit";
const WINDOWS: &str = "it is for Windows";
const MOUNT_OPTION: &str = "the Dockerfile says it: RUN --mount=type=secret,uid=...,mode=...";
const NO_FIELD: &str = "leave it out, or set it up by hand";

const fn object(name: &'static str, fields: &'static [Field]) -> Object {
    Object { name, fields, required: &[], open: true }
}

/// A whole file.
pub(in crate::config) static FILE: Object = object(
    "a Compose file",
    &[
        f("version", Kind::Any),
        f("name", Kind::Text),
        f("include", Kind::List(&Kind::Short(short::include, &Kind::Object(&INCLUDE)))),
        f("services", Kind::Map(&Kind::Object(&SERVICE))).keep(),
        f("networks", Kind::Map(&Kind::Nullable(&Kind::Short(short::external, &Kind::Object(&NETWORK))))),
        f("volumes", Kind::Map(&Kind::Nullable(&Kind::Short(short::external, &Kind::Object(&VOLUME))))),
        f("secrets", Kind::Map(&Kind::Short(short::external, &Kind::Object(&SECRET)))),
        f("configs", Kind::Map(&Kind::Short(short::external, &Kind::Object(&CONFIG)))),
        f("models", Kind::Any).ignored("models are not containers"),
    ],
);

pub(in crate::config) static INCLUDE: Object = Object {
    name: "an include",
    fields: &[f("path", Kind::TextOrTexts), f("project_directory", Kind::Text), f("env_file", Kind::TextOrTexts)],
    required: &["path"],
    open: false,
};

pub(in crate::config) static SERVICE: Object = object(
    "a service",
    &[
        f("profiles", Kind::Texts),
        f("annotations", Kind::Labels),
        f("attach", Kind::Bool).keep().ignored("`macula up` attaches to nothing; see `macula logs`"),
        f("build", Kind::Short(build::expand, &Kind::Object(&BUILD))),
        f("develop", Kind::Nullable(&Kind::Object(&DEVELOP))),
        f("blkio_config", Kind::Object(&BLKIO)),
        f("cap_add", Kind::Texts),
        f("cap_drop", Kind::Texts),
        f("cgroup_parent", Kind::Text),
        f("cgroup", Kind::Choice(&["host", "private"])),
        f("cpu_count", COUNT).ignored(WINDOWS),
        f("cpu_percent", Kind::Float32).ignored(WINDOWS),
        f("cpu_period", ANY_INT),
        f("cpu_quota", ANY_INT),
        f("cpu_rt_period", ANY_INT),
        f("cpu_rt_runtime", ANY_INT),
        f("cpus", Kind::Float32),
        f("cpuset", Kind::Text),
        f("cpu_shares", ANY_INT),
        f("command", Kind::Words),
        f("configs", FILE_REFERENCES),
        f("container_name", Kind::Text),
        f("credential_spec", Kind::Object(&CREDENTIAL_SPEC)).ignored(WINDOWS),
        f("depends_on", Kind::Short(short::depends_on, &Kind::Map(&Kind::Object(&DEPENDENCY)))),
        f("deploy", Kind::Nullable(&Kind::Object(&DEPLOY))),
        f("device_cgroup_rules", Kind::Texts),
        f("devices", Kind::List(&Kind::Short(short::device, &Kind::Object(&DEVICE)))),
        f("dns", Kind::TextOrTexts),
        f("dns_opt", Kind::Texts),
        f("dns_search", Kind::TextOrTexts),
        f("domainname", Kind::Text),
        f("entrypoint", Kind::Words),
        f("environment", Kind::Dict),
        f("env_file", Kind::Short(short::env_file, &Kind::List(&Kind::Object(&ENV_FILE)))),
        f("expose", Kind::Loose),
        f("extends", Kind::Short(short::extends, &Kind::Object(&EXTENDS))),
        f("external_links", Kind::Texts),
        f("extra_hosts", HOSTS),
        f("group_add", Kind::Loose),
        f("gpus", Kind::Short(short::gpus, &Kind::List(&Kind::Object(&DEVICE_REQUEST)))),
        f("hostname", Kind::Text),
        f("healthcheck", Kind::Object(&HEALTHCHECK)),
        f("image", Kind::Text),
        f("init", Kind::Bool).keep(),
        f("ipc", Kind::Text),
        f("isolation", Kind::Text).ignored(WINDOWS),
        f("labels", Kind::Labels),
        f("label_file", Kind::Short(in_a_list, &Kind::List(&Kind::Path))),
        f("links", Kind::Texts),
        f("logging", Kind::Object(&LOGGING)),
        f("mem_limit", Kind::Bytes),
        f("mem_reservation", Kind::Bytes),
        f("memswap_limit", Kind::Bytes),
        f("mem_swappiness", Kind::Bytes),
        f("mac_address", Kind::Text),
        f("models", Kind::Any).ignored("models are not containers"),
        f("network_mode", Kind::Text),
        f("networks", Kind::Short(short::names, &Kind::Map(&Kind::Nullable(&Kind::Object(&SERVICE_NETWORK))))),
        f("oom_kill_disable", Kind::Bool),
        f("oom_score_adj", Kind::Int(-1000, 1000)),
        f("pid", Kind::Nullable(&Kind::Text)),
        f("pids_limit", ANY_INT),
        f("platform", Kind::Text),
        f("ports", Kind::Short(ports::expand, &Kind::List(&Kind::Object(&PORT)))),
        f("privileged", Kind::Bool),
        f("provider", Kind::Any).ignored(
            "it is for plugins of docker compose: the service is left out, and what depends on it starts without it",
        ),
        f("pull_policy", Kind::Checked(short::pull_policy)),
        f("pull_refresh_after", Kind::Text).ignored("pull with `macula images pull`"),
        f("read_only", Kind::Bool),
        f("restart", Kind::Checked(short::restart)),
        f("runtime", Kind::Text),
        f("scale", COUNT).keep(),
        f("secrets", FILE_REFERENCES),
        f("security_opt", Kind::Texts),
        f("shm_size", Kind::Bytes),
        f("stdin_open", Kind::Bool),
        f("stop_grace_period", Kind::Duration).keep(),
        f("stop_signal", Kind::Text),
        f("storage_opt", Kind::Options),
        f("sysctls", Kind::Labels),
        f("tmpfs", Kind::TextOrTexts),
        f("tty", Kind::Bool),
        f("ulimits", ULIMITS),
        f("use_api_socket", Kind::Bool).ignored("mount the engine's socket instead"),
        f("user", Kind::Text),
        f("userns_mode", Kind::Text),
        f("uts", Kind::Text),
        f("volumes", Kind::List(&Kind::Short(volumes::expand, &Kind::Object(&MOUNT)))),
        f("volumes_from", Kind::Texts),
        f("working_dir", Kind::Text),
        f("pre_start", Kind::Any).ignored(NO_HOOKS),
        f("post_start", Kind::List(&Kind::Object(&HOOK))),
        f("pre_stop", Kind::List(&Kind::Object(&HOOK))),
        f("x-macula", Kind::Any),
    ],
);

const NO_HOOKS: &str = "make it a service of its own, with depends_on";
const FILE_REFERENCES: Kind = Kind::List(&Kind::Short(short::source, &Kind::Object(&FILE_REFERENCE)));
const HOSTS: Kind = Kind::Short(short::hosts, &Kind::Texts);
const ULIMITS: Kind = Kind::Map(&Kind::Short(short::ulimit, &Kind::Object(&ULIMIT)));

pub(in crate::config) static BUILD: Object = object(
    "a build",
    &[
        f("context", Kind::Context),
        f("dockerfile", Kind::Text),
        f("dockerfile_inline", Kind::Text),
        f("entitlements", Kind::Texts).ignored(BUILDKIT),
        f("args", Kind::Dict),
        f("ssh", Kind::Labels),
        f("labels", Kind::Labels),
        f("cache_from", Kind::TextOrTexts),
        f("cache_to", Kind::TextOrTexts).ignored(BUILDKIT),
        f("no_cache", Kind::Bool),
        f("no_cache_filter", Kind::TextOrTexts).ignored(BUILDKIT),
        f("additional_contexts", Kind::Short(build::contexts, &Kind::Map(&Kind::Context))),
        f("pull", Kind::Bool),
        f("extra_hosts", HOSTS),
        f("isolation", Kind::Text).ignored(WINDOWS),
        f("network", Kind::Text),
        f("target", Kind::Text),
        f("secrets", Kind::List(&Kind::Short(short::source, &Kind::Object(&BUILD_SECRET)))),
        f("shm_size", Kind::Bytes),
        f("tags", Kind::TextOrTexts),
        f("ulimits", ULIMITS),
        f("platforms", Kind::TextOrTexts),
        f("privileged", Kind::Bool).ignored(BUILDKIT),
        f("provenance", Kind::Any).ignored(BUILDKIT),
        f("sbom", Kind::Any).ignored(BUILDKIT),
    ],
);

static DEVELOP: Object = object("develop", &[f("watch", Kind::List(&Kind::Object(&WATCH)))]);

static WATCH: Object = Object {
    name: "a watch",
    fields: &[
        f("path", Kind::Path).keep(),
        f("action", Kind::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])).keep(),
        f("target", Kind::Text),
        f("exec", Kind::Object(&HOOK)).hollow(),
        f("include", Kind::TextOrTexts),
        f("ignore", Kind::TextOrTexts),
        f("initial_sync", Kind::Bool),
    ],
    required: &["path", "action"],
    open: true,
};

static HOOK: Object = object(
    "a hook",
    &[
        f("command", Kind::Words),
        f("user", Kind::Text),
        f("privileged", Kind::Bool),
        f("working_dir", Kind::Text),
        f("environment", Kind::Dict),
    ],
);

static BLKIO: Object = Object {
    name: "blkio_config",
    fields: &[
        f("weight", COUNT),
        f("weight_device", Kind::List(&Kind::Object(&BLKIO_WEIGHT))),
        f("device_read_bps", BLKIO_RATES),
        f("device_read_iops", BLKIO_RATES),
        f("device_write_bps", BLKIO_RATES),
        f("device_write_iops", BLKIO_RATES),
    ],
    required: &[],
    open: false,
};

const BLKIO_RATES: Kind = Kind::List(&Kind::Object(&BLKIO_RATE));

static BLKIO_WEIGHT: Object = Object {
    name: "a weight",
    fields: &[f("path", Kind::Text).keep(), f("weight", COUNT).keep()],
    required: &[],
    open: false,
};

static BLKIO_RATE: Object = Object {
    name: "a rate",
    fields: &[f("path", Kind::Text).keep(), f("rate", Kind::Bytes).keep()],
    required: &[],
    open: false,
};

static CREDENTIAL_SPEC: Object =
    object("credential_spec", &[f("config", Kind::Text), f("file", Kind::Text), f("registry", Kind::Text)]);

pub(in crate::config) static DEPENDENCY: Object = Object {
    name: "a dependency",
    fields: &[
        f("condition", Kind::Choice(&["service_started", "service_healthy", "service_completed_successfully"])),
        f("restart", Kind::Bool),
        f("required", Kind::Bool).keep(),
    ],
    required: &["condition"],
    open: true,
};

pub(in crate::config) static DEPLOY: Object = object(
    "deploy",
    &[
        f("mode", Kind::Text).ignored(SWARM),
        f("replicas", COUNT).keep(),
        f("labels", Kind::Labels).ignored(SWARM),
        f("update_config", Kind::Object(&UPDATE)),
        f("rollback_config", Kind::Object(&ROLLBACK)).ignored(SWARM),
        f("resources", Kind::Object(&RESOURCES)).hollow(),
        f("restart_policy", Kind::Object(&RESTART_POLICY)),
        f("placement", Kind::Object(&PLACEMENT)).hollow().ignored(SWARM),
        f("endpoint_mode", Kind::Text).ignored(SWARM),
    ],
);

static UPDATE: Object = object(
    "an update",
    &[
        f("parallelism", COUNT).keep(),
        f("delay", Kind::Duration),
        f("failure_action", Kind::Text),
        f("monitor", Kind::Duration).ignored("a container counts once it is ready"),
        f("max_failure_ratio", Kind::Float32).ignored("macula stops at the first failure"),
        f("order", Kind::Choice(&["start-first", "stop-first"])),
    ],
);

static ROLLBACK: Object = object(
    "an update",
    &[
        f("parallelism", COUNT).keep(),
        f("delay", Kind::Duration),
        f("failure_action", Kind::Text),
        f("monitor", Kind::Duration),
        f("max_failure_ratio", Kind::Float32),
        f("order", Kind::Choice(&["start-first", "stop-first"])),
    ],
);

static RESOURCES: Object =
    object("resources", &[f("limits", Kind::Object(&LIMITS)), f("reservations", Kind::Object(&RESERVATIONS))]);

static LIMITS: Object = object("limits", &[f("cpus", Kind::Float32), f("memory", Kind::Bytes), f("pids", ANY_INT)]);

static RESERVATIONS: Object = object(
    "reservations",
    &[
        f("cpus", Kind::Float32).ignored("only limits hold on one machine"),
        f("memory", Kind::Bytes),
        f("devices", Kind::List(&Kind::Object(&DEVICE_REQUEST))),
        f("generic_resources", Kind::List(&Kind::Object(&GENERIC_RESOURCE))).ignored(SWARM),
    ],
);

static DEVICE_REQUEST: Object = object(
    "a device request",
    &[
        f("capabilities", Kind::Texts),
        f("driver", Kind::Text),
        f("count", Kind::Short(short::device_count, &ANY_INT)),
        f("device_ids", Kind::Texts),
        f("options", Kind::Labels),
    ],
);

static GENERIC_RESOURCE: Object =
    object("a resource", &[f("discrete_resource_spec", Kind::Object(&DISCRETE_RESOURCE))]);

static DISCRETE_RESOURCE: Object = object("a resource", &[f("kind", Kind::Text).keep(), f("value", ANY_INT).keep()]);

static RESTART_POLICY: Object = object(
    "restart_policy",
    &[
        // those of a swarm, and those of `restart`, which Compose takes here as well
        f("condition", Kind::Choice(&["none", "no", "on-failure", "always", "unless-stopped", "any"])),
        f("delay", Kind::Duration).keep().ignored(SWARM),
        f("max_attempts", COUNT).keep(),
        f("window", Kind::Duration).keep().ignored(SWARM),
    ],
);

static PLACEMENT: Object = object(
    "placement",
    &[
        f("constraints", Kind::Texts),
        f("preferences", Kind::List(&Kind::Object(&PREFERENCE))),
        f("max_replicas_per_node", COUNT),
    ],
);

static PREFERENCE: Object = object("a preference", &[f("spread", Kind::Text)]);

static DEVICE: Object = Object {
    name: "a device",
    fields: &[f("source", Kind::Text), f("target", Kind::Text), f("permissions", Kind::Text)],
    required: &["source"],
    open: true,
};

static ENV_FILE: Object = Object {
    name: "an env file",
    fields: &[f("path", Kind::Path), f("required", Kind::Bool).keep(), f("format", Kind::Choice(&["raw"]))],
    required: &["path"],
    open: false,
};

static EXTENDS: Object = Object {
    name: "extends",
    fields: &[f("file", Kind::Text), f("service", Kind::Text)],
    required: &["service"],
    open: false,
};

static HEALTHCHECK: Object = object(
    "a healthcheck",
    &[
        f("test", Kind::Short(short::test, &Kind::Texts)),
        f("timeout", Kind::Duration).keep(),
        f("interval", Kind::Duration).keep(),
        f("retries", COUNT).keep(),
        f("start_period", Kind::Duration).keep(),
        f("start_interval", Kind::Duration).keep(),
        f("disable", Kind::Bool),
    ],
);

static LOGGING: Object = object("logging", &[f("driver", Kind::Text), f("options", Kind::Options)]);

pub(in crate::config) static SERVICE_NETWORK: Object = object(
    "a network of a service",
    &[
        f("priority", ANY_INT),
        f("gw_priority", ANY_INT).ignored(NO_FIELD),
        f("aliases", Kind::Texts),
        f("interface_name", Kind::Text).ignored(NO_FIELD),
        f("ipv4_address", Kind::Checked(networks::ipv4)),
        f("ipv6_address", Kind::Checked(networks::ipv6)),
        f("link_local_ips", Kind::Texts).ignored(NO_FIELD),
        f("mac_address", Kind::Text).ignored("set mac_address of the service"),
        f("driver_opts", Kind::Options).ignored(NO_FIELD),
    ],
);

pub(in crate::config) static PORT: Object = Object {
    name: "a port",
    fields: &[
        f("name", Kind::Text).ignored("ports have no names in an engine"),
        f("mode", Kind::Choice(&["ingress", "host"])),
        f("host_ip", Kind::Checked(ports::host_ip)),
        f("target", Kind::Int(1, 65535)),
        f("published", Kind::Checked(ports::published)),
        f("protocol", Kind::Short(short::protocol, &Kind::Choice(&["tcp", "udp", "sctp"]))),
        f("app_protocol", Kind::Text),
    ],
    required: &["target"],
    open: true,
};

static ULIMIT: Object =
    object("a limit", &[f("single", ANY_INT), f("soft", ANY_INT).keep(), f("hard", ANY_INT).keep()]);

pub(in crate::config) static MOUNT: Object = Object {
    name: "a mount",
    fields: &[
        f("type", Kind::Choice(&["bind", "volume", "tmpfs", "npipe", "cluster", "image"])),
        f("source", Kind::Text),
        f("target", Kind::Text),
        f("read_only", Kind::Bool),
        f("consistency", Kind::Text).ignored("engines do nothing with it either"),
        f("bind", Kind::Object(&MOUNT_BIND)),
        f("volume", Kind::Object(&MOUNT_VOLUME)),
        f("tmpfs", Kind::Object(&MOUNT_TMPFS)),
        f("image", Kind::Object(&MOUNT_IMAGE)),
    ],
    required: &["type", "target"],
    open: true,
};

static MOUNT_BIND: Object = object(
    "bind",
    &[
        f("selinux", Kind::Choice(&["z", "Z"])),
        f("propagation", Kind::Choice(&["rprivate", "private", "rshared", "shared", "rslave", "slave"])),
        f("create_host_path", Kind::Bool),
        f("recursive", Kind::Choice(&["enabled", "disabled", "writable", "readonly"])).ignored(NO_FIELD),
    ],
);

static MOUNT_VOLUME: Object = object(
    "volume",
    &[f("nocopy", Kind::Bool), f("subpath", Kind::Text), f("labels", Kind::Labels).ignored("label it under `volumes`")],
);

static MOUNT_IMAGE: Object = object("image", &[f("subpath", Kind::Text)]);

static MOUNT_TMPFS: Object = object("tmpfs", &[f("size", Kind::Bytes), f("mode", Kind::Short(files::mode, &COUNT))]);

static FILE_REFERENCE: Object = object(
    "a file of a service",
    &[
        f("source", Kind::Text),
        f("target", Kind::Text),
        f("uid", Kind::Text),
        f("gid", Kind::Text),
        f("mode", Kind::Short(files::mode, &Kind::Int(0, 0o7777))).keep(),
    ],
);

static BUILD_SECRET: Object = object(
    "a file of a service",
    &[
        f("source", Kind::Text),
        f("target", Kind::Text),
        f("uid", Kind::Text).ignored(MOUNT_OPTION),
        f("gid", Kind::Text).ignored(MOUNT_OPTION),
        f("mode", Kind::Short(files::mode, &Kind::Int(0, 0o7777))).keep().ignored(MOUNT_OPTION),
    ],
);

pub(in crate::config) static NETWORK: Object = object(
    "a network",
    &[
        f("name", Kind::Text),
        f("driver", Kind::Text),
        f("driver_opts", Kind::Options),
        f("ipam", Kind::Object(&IPAM)).hollow(),
        f("external", Kind::Bool),
        f("internal", Kind::Bool),
        f("attachable", Kind::Bool),
        f("labels", Kind::Labels),
        f("enable_ipv4", Kind::Bool).keep().ignored("networks here always have IPv4"),
        f("enable_ipv6", Kind::Bool).keep(),
    ],
);

static IPAM: Object = object(
    "ipam",
    &[
        f("driver", Kind::Text).ignored(NO_FIELD),
        f("config", Kind::List(&Kind::Object(&IPAM_POOL))),
        f("options", Kind::Options).ignored(NO_FIELD),
    ],
);

static IPAM_POOL: Object = object(
    "a pool",
    &[
        f("subnet", Kind::Checked(networks::subnet)),
        f("gateway", Kind::Checked(networks::address)),
        f("ip_range", Kind::Checked(networks::subnet)),
        f("aux_addresses", Kind::Options).ignored(NO_FIELD),
    ],
);

pub(in crate::config) static VOLUME: Object = object(
    "a volume",
    &[
        f("name", Kind::Text),
        f("driver", Kind::Text),
        f("driver_opts", Kind::Options),
        f("external", Kind::Bool),
        f("labels", Kind::Labels),
    ],
);

pub(in crate::config) static SECRET: Object = object(
    "a secret",
    &[
        f("name", Kind::Text),
        f("file", Kind::Path),
        f("environment", Kind::Text),
        // not in the specification, but printed and read back by several versions of Compose
        f("content", Kind::Text),
        f("external", Kind::Bool),
        f("labels", Kind::Labels).ignored(SWARM),
        f("driver", Kind::Text).ignored(SWARM),
        f("driver_opts", Kind::Options).ignored(SWARM),
        f("template_driver", Kind::Text).ignored(SWARM),
    ],
);

pub(in crate::config) static CONFIG: Object = object(
    "a config",
    &[
        f("name", Kind::Text),
        f("file", Kind::Path),
        f("environment", Kind::Text),
        f("content", Kind::Text),
        f("external", Kind::Bool),
        f("labels", Kind::Labels).ignored(SWARM),
        f("driver", Kind::Text).ignored(SWARM),
        f("driver_opts", Kind::Options).ignored(SWARM),
        f("template_driver", Kind::Text).ignored(SWARM),
    ],
);
