//! macula.yaml: its table, its JSON schema, and what comes out of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine_tasks::{DeclaredTask, MACHINE_TASK, declared_tasks};
use super::processes::{self, Declared, PROCESS};
use crate::config::files::Files;
use crate::config::read::read_text;
use crate::config::yaml::{
    self, Kind, Node, Object, Report, Shaper, Span, Value, field as f, in_a_list, shape, suggestion,
};
use crate::model::{
    ADD_ONS, AddressSettings, ClusterSettings, DnsSettings, ImagePolicy, ImageSettings, IngressSettings, LeaseSettings,
    PlatformName, ReachSetting, TelemetryMode, TelemetrySettings, Timeouts, is_dns_name,
};

const PORT: Kind = Kind::Int(1, 65535);

/// The whole of macula.yaml.
pub(in crate::config) static MACULA: Object = Object::open(
    "macula.yaml",
    &[
        f("name", Kind::Checked(platform_name))
            .doc("Name of the platform: a DNS label, or auto (unless given): that of the linked Git worktree, elsewhere `macula`; `--name` goes before it."),
        f("domain", Kind::Checked(domain)).doc(
            "The zone of the platform. `macula.local`, or `<name>.macula.local` for a platform with another name; where `--name` gives the platform another name than this file, that name stands in front of the domain given here.",
        ),
        f("profiles", Kind::TextOrTexts).doc("Active profiles, in addition to those of `--profile`: of the platform (core, observability, observability-no-socket, tools, cache; without any of them all but cache), and of Compose."),
        f("stacks", Kind::Short(in_a_list, &Kind::List(&Kind::Path)))
            .doc("Stacks to run in addition to the built-in ones: Compose files, or folders with a compose.yaml."),
        f("add", Kind::TextOrTexts).doc("Stacks of the catalog to run too, such as valkey or mail; `macula add` shows all of them, and `macula add NAME` writes it; a service's `x-macula.needs` brings them without it."),
        f("discover", Kind::Bool)
            .doc("Whether the Compose file of the project folder is a stack: true unless a macula.yaml lies in the project."),
        f("built_in", Kind::Nullable(&Kind::Map(&Kind::Bool)))
            .doc("Built-in stacks by name; false leaves the whole stack out: {metrics: false}."),
        f("services", Kind::Nullable(&Kind::Map(&Kind::Object(&SERVICE))))
            .doc("Changes to single services of any stack, by name."),
        f("images", Kind::Nullable(&Kind::Object(&IMAGES))).doc("Where images come from."),
        f("ingress", Kind::Nullable(&Kind::Object(&INGRESS))).doc("The ingress on this machine."),
        f("addresses", Kind::Nullable(&Kind::Object(&ADDRESSES))).doc("Addresses of the platform."),
        f("reach", Kind::Choice(&["auto", "published", "direct", "relay"]))
            .doc("The way to the platform's addresses: published by the engine, direct from a container of the same engine, or through a relay; auto (unless given) is the first of them that works. MACULA_REACH overrides it."),
        f("dns", Kind::Nullable(&Kind::Object(&DNS))).doc("The resolver."),
        f("cluster", Kind::Nullable(&Kind::Object(&CLUSTER))).doc("The Kubernetes cluster."),
        f("telemetry", Kind::Short(telemetry, &Kind::Nullable(&Kind::Object(&TELEMETRY))))
            .doc("Who takes traces, log lines and metrics: {mode: auto}, or the mode alone."),
        f("ports", Kind::Choice(&["fixed", "remap"]))
            .doc("fixed (unless given): a published port of a stack of yours that somebody else has is an error; remap: it goes to an address of the service's own, as with `up --remap`."),
        f("processes", Kind::Nullable(&Kind::Map(&Kind::Object(&PROCESS))))
            .doc("Programs of this machine that `up` starts and keeps running, by name; each has its name on the ingress."),
        f("tasks", Kind::Nullable(&Kind::Map(&Kind::Object(&MACHINE_TASK))))
            .doc("What is done on this machine when the services are up, such as a migration, by name. It runs again only when what it works on has changed."),
        f("lease", Kind::Short(lease, &Kind::Nullable(&Kind::Object(&LEASE))))
            .doc("How long the platform stays after an `up`: {time: 8h, idle: 30m}, or the time alone. `up --lease`, `--lease-of` and `--idle` override it."),
        f("timeouts", Kind::Nullable(&Kind::Object(&TIMEOUTS))).doc("How long things may take."),
    ],
);

static SERVICE: Object = Object::open(
    "a service",
    &[
        f("enabled", Kind::Bool).doc("false leaves the service out."),
        f("image", Kind::Text).doc("Image to run instead of the stack's."),
        f("environment", Kind::Dict).doc("Variables added to those of the stack; null takes one away."),
        f("memory", Kind::Bytes).doc("Limit of memory, as 512m or 1g."),
    ],
);

static IMAGES: Object = Object::open(
    "images",
    &[
        f("policy", Kind::Choice(&["auto", "pull", "build", "local"]))
            .doc("auto: what is there, else a pull, else a build; pull: always pull; build: build what has a build; local: only what is there."),
        f("sources", Kind::Map(&Kind::TextOrTexts)).doc("Mirrors by registry host, tried in order before the registry: {docker.io: [mirror.gcr.io]}."),
        f("overrides", Kind::Options).doc("Image reference of a stack file, and the one to use in its place."),
    ],
);

static INGRESS: Object = Object::open(
    "ingress",
    &[
        f("redirect", Kind::Bool).doc("Redirect http to https; false: both serve."),
        f("http", PORT).doc("Published port for HTTP, 80 unless given."),
        f("https", PORT).doc("Published port for HTTPS, 443 unless given."),
    ],
);

static ADDRESSES: Object = Object::open(
    "addresses",
    &[
        f("block", Kind::Checked(block))
            .doc("The platform's /24 of loopback addresses, by its .0: 127.0.0.0, or one found from the name."),
        f("subnet", Kind::Checked(subnet))
            .doc("The subnet of the platform's network; unless given, one that collides with no route."),
    ],
);

static DNS: Object = Object::open(
    "dns",
    &[
        f("listen", Kind::List(&Kind::Checked(socket))).doc("Addresses the resolver listens on: [127.0.0.9:53]."),
        f("dot", Kind::List(&Kind::Checked(socket))).doc("Addresses for DNS over TLS: [127.0.0.9:853]."),
        f("doh", Kind::List(&Kind::Checked(socket))).doc("Addresses for DNS over HTTPS: [127.0.0.9:443]."),
        f("upstream", Kind::List(&Kind::Checked(address)))
            .doc("Where everything else is asked; unless given, the machine's own servers."),
        f("rebind_allow", Kind::List(&Kind::Checked(zone))).doc(
            "Foreign zones that may answer with addresses of this machine (loopback) or of the platforms' networks.",
        ),
    ],
);

static CLUSTER: Object = Object::open(
    "cluster",
    &[
        f("enabled", Kind::Bool).doc("false: no cluster; true: a cluster that cannot be had is an error. Unless given it is left out then, with the reason."),
        f("name", Kind::Checked(platform_name)).doc("Name of the cluster; the platform's unless given."),
        f("provider", Kind::Choice(&["kind"])).doc("Who makes the cluster."),
        f("program", Kind::Text).doc("The provider's program: a path, or a name on the PATH. MACULA_KIND overrides it."),
        f("node_image", Kind::Text).doc("Image of the nodes. MACULA_NODE_IMAGE overrides it."),
        f("control_planes", Kind::Int(1, 9)).doc("Number of control-plane nodes, 1 (unless given) or an odd number."),
        f("workers", Kind::Int(0, 50)).doc("Number of worker nodes, 0 unless given."),
        f("ingress", Kind::Choice(&["nginx", "traefik"])).doc("The ingress controller in the cluster."),
        f("timeout", Kind::Duration).doc("How long the API server may take to become ready, 5m unless given."),
        f("feature_gates", Kind::Map(&Kind::Bool)).doc("Feature gates of Kubernetes: {NAME: true}."),
        f("addons", Kind::Texts).doc("Names of add-ons. All there are, are installed where they have a use; anything else is refused."),
        f("udp_services", Kind::Map(&Kind::Text))
            .doc("UDP port and the service that gets it: {4433: namespace/service:port}."),
    ],
);

static TELEMETRY: Object = Object::open(
    "telemetry",
    &[
        f("mode", Kind::Choice(&["auto", "embedded", "none"]))
            .doc("auto (unless given): the background process takes what Tempo, Alloy or Loki would, where these are left out; embedded: it does so in their place; none: it takes nothing."),
        f("size", Kind::Bytes).doc("How much of it is kept on the disk, 512m unless given."),
        f("age", Kind::Duration).doc("How long it is kept, 72h unless given."),
    ],
);

static LEASE: Object = Object::open(
    "a lease",
    &[
        f("time", Kind::Duration).doc("It is taken down this long after the last `up`; its data stays."),
        f("idle", Kind::Duration).doc("It is taken down when nothing has used it for this long."),
    ],
);

static TIMEOUTS: Object = Object::open(
    "timeouts",
    &[
        f("healthy", Kind::Duration).doc("How long a service may take to become healthy, 2m unless given."),
        f("image", Kind::Duration).doc("How long a pull or a build of one image may take, 30m unless given."),
    ],
);

/// The mode alone.
fn telemetry(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(alone("mode", node))
}

/// The time alone.
fn lease(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(alone("time", node))
}

/// A text is the value of this key.
fn alone(key: &str, node: Node) -> Node {
    let span = node.span;
    let Value::Text(_) = node.value else { return node };
    let entry = yaml::Entry { key: span, node };
    Node::new(Value::Map([(key.to_owned(), entry)].into_iter().collect()), span)
}

/// The check of a platform's name.
fn platform_name(text: &str) -> Option<(String, String)> {
    PlatformName::new(text).err().map(|error| (error.to_string(), error.help))
}

fn domain(text: &str) -> Option<(String, String)> {
    // what ends with a number is an address to a browser
    let number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (!is_dns_name(text) || !text.contains('.') || number)
        .then(|| (format!("`{text}` is not a valid domain"), "for example macula.local or dev.example.com".to_owned()))
}

fn zone(text: &str) -> Option<(String, String)> {
    (!is_dns_name(text)).then(|| (format!("`{text}` is not a valid zone"), "for example plex.direct".to_owned()))
}

fn block(text: &str) -> Option<(String, String)> {
    let fits = text.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback() && address.octets()[3] == 0);
    (!fits).then(|| {
        (
            format!("`{text}` is not a block of loopback addresses"),
            "the .0 of a /24 in 127.0.0.0/8, as 127.80.5.0".to_owned(),
        )
    })
}

fn subnet(text: &str) -> Option<(String, String)> {
    let help = "for example 172.28.0.0/24".to_owned();
    match text.parse::<ipnet::Ipv4Net>() {
        Err(_) => Some((format!("`{text}` is not a valid IPv4 subnet"), help)),
        Ok(net) if net.prefix_len() > 27 => Some((format!("`{text}` is too small"), "a /27 or larger".to_owned())),
        Ok(net) if net.addr() != net.network() => {
            Some((format!("`{text}` has host bits set"), format!("for example {}", net.trunc())))
        }
        Ok(_) => None,
    }
}

/// An address with a port, or one that gets the `usual` one.
fn parse_socket(text: &str, usual: u16) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, usual)))
}

fn sockets(object: &Node, key: &str, usual: u16) -> Vec<SocketAddr> {
    object.texts(key).iter().filter_map(|text| parse_socket(text, usual)).collect()
}

fn socket(text: &str) -> Option<(String, String)> {
    parse_socket(text, 53)
        .is_none()
        .then(|| (format!("`{text}` is not a valid address"), "for example 127.0.0.9:53".to_owned()))
}

fn address(text: &str) -> Option<(String, String)> {
    text.parse::<IpAddr>()
        .is_err()
        .then(|| (format!("`{text}` is not a valid address"), "for example 1.1.1.1".to_owned()))
}

/// What macula.yaml says, with defaults.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Settings {
    pub(in crate::config) name: Option<PlatformName>,
    pub(in crate::config) domain: Option<String>,
    pub(in crate::config) profiles: Vec<(String, Span)>,
    pub(in crate::config) stacks: Vec<(PathBuf, Span)>,
    /// Stacks of the catalogue.
    pub(in crate::config) add: Vec<(String, Span)>,
    /// Whether the project's Compose file is a stack.
    pub(in crate::config) discover: Option<bool>,
    /// Whether a built-in stack is there, by its name.
    pub(in crate::config) built_in: Vec<(String, bool, Span)>,
    pub(in crate::config) services: BTreeMap<String, ServiceChange>,
    pub(in crate::config) images: ImageSettings,
    pub(in crate::config) ingress: IngressSettings,
    pub(in crate::config) addresses: AddressSettings,
    pub(in crate::config) reach: ReachSetting,
    /// Published ports that somebody else has go elsewhere.
    pub(in crate::config) remap: bool,
    pub(in crate::config) dns: DnsSettings,
    pub(in crate::config) cluster: ClusterSettings,
    pub(in crate::config) telemetry: TelemetrySettings,
    /// Where it stands.
    pub(in crate::config) telemetry_span: Span,
    pub(in crate::config) timeouts: Timeouts,
    pub(in crate::config) lease: LeaseSettings,
    pub(in crate::config) processes: BTreeMap<String, Declared>,
    pub(in crate::config) tasks: BTreeMap<String, DeclaredTask>,
}

/// `services.NAME`.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct ServiceChange {
    pub(in crate::config) span: Span,
    pub(in crate::config) disabled: bool,
    pub(in crate::config) image: Option<String>,
    /// `None` takes a variable away.
    pub(in crate::config) environment: BTreeMap<String, Option<String>>,
    pub(in crate::config) memory: Option<i64>,
}

/// Reads macula.yaml. What is wrong is in the report, and the rest has its defaults.
pub(in crate::config) fn load(path: &Path, home: Option<&str>, files: &dyn Files, report: &mut Report) -> Settings {
    let file = report.file(path);
    let Some(text) = read_text(files, path, None, report) else { return Settings::default() };
    let Some(root) = yaml::parse(&text, file, report).filter(|root| !root.is_null()) else {
        return Settings::default();
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shaped = {
        let mut shaper = Shaper::new(report, folder, home);
        shape(&Kind::Object(&MACULA), root, &mut shaper)
    };
    let Some(root) = shaped else { return Settings::default() };
    let mut settings = settings(&root);
    settings.processes = processes::declared(&root, folder, files, report);
    settings.tasks = declared_tasks(&root, folder, files, report);
    // they are keys in the file that kind reads
    for (name, entry) in root.get("cluster").into_iter().flat_map(|cluster| cluster.entries("feature_gates")) {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            report.error_help(
                entry.key,
                format!("cluster.feature_gates: `{name}` is not a valid name of a feature gate"),
                "use letters and digits, as in `UserNamespacesSupport: true`",
            );
        }
    }
    if let Some(domain) = &settings.domain
        && domain.ends_with(".local")
        && domain.split('.').count() == 2
        && domain != crate::model::DEFAULT_DOMAIN
        && let Some(node) = root.get("domain")
    {
        report.warn(
            node.span,
            format!("domain: names of two labels, as {domain} itself, belong to mDNS under .local"),
            format!("names below it work; for the domain itself take one more label, as dev.{domain}"),
        );
    }
    if settings.cluster.control_planes.is_multiple_of(2)
        && let Some(node) = root.get("cluster").and_then(|cluster| cluster.get("control_planes"))
    {
        report.error_help(
            node.span,
            format!("cluster: {} control planes have no majority when one fails", settings.cluster.control_planes),
            "take an odd number: 1, 3 or 5",
        );
    }
    for (key, time) in [("time", settings.lease.time), ("idle", settings.lease.idle)] {
        if time == Some(Duration::ZERO)
            && let Some(node) = root.get("lease").and_then(|lease| lease.get(key))
        {
            report.error_help(node.span, format!("lease.{key}: it would end at once"), "give it a time, such as 2h");
        }
    }
    for name in root.get("cluster").map(|cluster| cluster.items("addons")).unwrap_or_default() {
        let text = name.as_text().unwrap_or_default();
        if ADD_ONS.contains(&text) {
            report.warn(
                name.span,
                format!("cluster.addons: {text} is always installed where it has a use; this changes nothing"),
                "leave it out",
            );
        } else {
            report.error_help(
                name.span,
                format!("cluster.addons: there is no add-on `{text}`"),
                suggestion(text, ADD_ONS),
            );
        }
    }
    if settings.ingress.http == settings.ingress.https
        && let Some(node) = root.get("ingress")
    {
        report.error_help(
            node.span,
            format!("ingress: http and https have the same port {}", settings.ingress.http),
            "give them two ports",
        );
    }
    settings
}

fn settings(root: &Node) -> Settings {
    let empty = Node::default();
    let part = |key: &str| root.get(key).unwrap_or(&empty);
    let owned = |node: &Node, key: &str| node.get_text(key).map(str::to_owned);
    let port = |node: &Node, key: &str, default: u16| {
        node.get_int(key).and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
    };
    let small = |node: &Node, key: &str, default: u8| {
        node.get_int(key).and_then(|count| u8::try_from(count).ok()).unwrap_or(default)
    };
    let span = |node: &Node, key: &str| {
        node.get_int(key).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos)
    };
    let duration = |node: &Node, key: &str, default: Duration| span(node, key).unwrap_or(default);
    let (images, ingress, addresses, dns, cluster, timeouts) =
        (part("images"), part("ingress"), part("addresses"), part("dns"), part("cluster"), part("timeouts"));
    let telemetry = part("telemetry");
    let (ingress_default, cluster_default, timeouts_default) =
        (IngressSettings::default(), ClusterSettings::default(), Timeouts::default());
    let telemetry_default = TelemetrySettings::default();
    Settings {
        name: root.get_text("name").and_then(named),
        domain: owned(root, "domain"),
        profiles: root
            .items("profiles")
            .iter()
            .filter_map(|node| Some((node.as_text()?.to_owned(), node.span)))
            .collect(),
        stacks: root
            .items("stacks")
            .iter()
            .filter_map(|node| Some((PathBuf::from(node.as_text()?), node.span)))
            .collect(),
        add: root.items("add").iter().filter_map(|node| Some((node.as_text()?.to_owned(), node.span))).collect(),
        discover: root.get_bool("discover"),
        built_in: root
            .entries("built_in")
            .map(|(name, entry)| (name.to_owned(), entry.node.as_bool() != Some(false), entry.key))
            .collect(),
        services: root.entries("services").map(|(name, entry)| (name.to_owned(), service_change(entry))).collect(),
        images: ImageSettings {
            locked: BTreeMap::new(),
            policy: images.get_text("policy").and_then(policy).unwrap_or_default(),
            sources: images
                .entries("sources")
                .map(|(host, _)| {
                    (host.to_owned(), part("images").get("sources").map(|all| all.texts(host)).unwrap_or_default())
                })
                .collect(),
            overrides: images
                .entries("overrides")
                .filter_map(|(from, entry)| Some((from.to_owned(), entry.node.as_text()?.to_owned())))
                .collect(),
            named: root
                .entries("services")
                .filter(|(_, entry)| entry.node.get_text("image").is_some())
                .map(|(name, _)| name.to_owned())
                .collect(),
        },
        ingress: IngressSettings {
            redirect: ingress.get_bool("redirect").unwrap_or(ingress_default.redirect),
            http: port(ingress, "http", ingress_default.http),
            https: port(ingress, "https", ingress_default.https),
        },
        addresses: AddressSettings {
            block: addresses.get_text("block").and_then(|text| text.parse().ok()),
            subnet: addresses.get_text("subnet").and_then(|text| text.parse().ok()),
        },
        reach: root.get_text("reach").and_then(ReachSetting::parse).unwrap_or_default(),
        remap: root.get_text("ports") == Some("remap"),
        dns: DnsSettings {
            listen: sockets(dns, "listen", 53),
            dot: sockets(dns, "dot", 853),
            doh: sockets(dns, "doh", 443),
            upstream: dns.texts("upstream").iter().filter_map(|text| text.parse().ok()).collect(),
            rebind_allow: dns.texts("rebind_allow"),
        },
        cluster: ClusterSettings {
            enabled: cluster.get_bool("enabled").unwrap_or(cluster_default.enabled),
            required: cluster.get_bool("enabled") == Some(true),
            name: owned(cluster, "name"),
            program: owned(cluster, "program"),
            timeout: duration(cluster, "timeout", cluster_default.timeout),
            feature_gates: cluster
                .entries("feature_gates")
                .filter_map(|(name, _)| Some((name.to_owned(), cluster.get("feature_gates")?.get_bool(name)?)))
                .collect(),
            provider: owned(cluster, "provider").unwrap_or(cluster_default.provider),
            node_image: owned(cluster, "node_image"),
            control_planes: small(cluster, "control_planes", cluster_default.control_planes),
            workers: small(cluster, "workers", cluster_default.workers),
            ingress: owned(cluster, "ingress").unwrap_or(cluster_default.ingress),
            addons: cluster.texts("addons"),
            udp_services: cluster
                .entries("udp_services")
                .filter_map(|(port, entry)| Some((port.parse().ok()?, entry.node.as_text()?.to_owned())))
                .collect(),
        },
        telemetry: TelemetrySettings {
            mode: telemetry.get_text("mode").and_then(TelemetryMode::parse).unwrap_or_default(),
            size: telemetry.get_int("size").and_then(|size| u64::try_from(size).ok()).unwrap_or(telemetry_default.size),
            age: duration(telemetry, "age", telemetry_default.age),
        },
        telemetry_span: telemetry.span,
        timeouts: Timeouts {
            healthy: duration(timeouts, "healthy", timeouts_default.healthy),
            image: duration(timeouts, "image", timeouts_default.image),
        },
        lease: LeaseSettings { time: span(part("lease"), "time"), idle: span(part("lease"), "idle") },
        processes: BTreeMap::new(),
        tasks: BTreeMap::new(),
    }
}

/// The name that stands there, unless it is left to the folder.
pub(in crate::config) fn named(text: &str) -> Option<PlatformName> {
    if text == "auto" { None } else { PlatformName::new(text).ok() }
}

fn policy(text: &str) -> Option<ImagePolicy> {
    Some(match text {
        "auto" => ImagePolicy::Auto,
        "pull" => ImagePolicy::Pull,
        "build" => ImagePolicy::Build,
        "local" => ImagePolicy::Local,
        _ => return None,
    })
}

fn service_change(entry: &yaml::Entry) -> ServiceChange {
    let node = &entry.node;
    ServiceChange {
        span: entry.key,
        disabled: node.get_bool("enabled") == Some(false),
        image: node.get_text("image").map(str::to_owned),
        environment: node
            .entries("environment")
            .map(|(name, entry)| (name.to_owned(), entry.node.as_text().map(str::to_owned)))
            .collect(),
        memory: node.get_int("memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::MemoryFiles;
    use crate::model::{Process, ProcessProbe, Restart};

    type Check = fn(&str) -> Option<(String, String)>;

    /// The settings of a macula.yaml, and what is said of it: errors, then warnings.
    fn read(text: &str) -> (Settings, Vec<String>) {
        let files = MemoryFiles::default().with("/w/macula.yaml", text).with("/w/api/.env", "");
        let mut report = Report::new(Path::new("/w"));
        let settings = load(Path::new("/w/macula.yaml"), None, &files, &mut report);
        let (errors, warnings) = report.finish();
        (settings, errors.into_iter().chain(warnings).map(|one| one.message).collect())
    }

    #[test]
    fn every_setting_is_where_it_belongs() {
        let (found, said) = read(
            "add: [valkey]\nprofiles: p\ndiscover: false\nreach: direct\nports: remap\n\
             built_in: {draw: false, s3: true}\nimages: {policy: pull, sources: {docker.io: [a, b]}}\n\
             dns: {dot: [127.0.0.9], doh: [127.0.0.9, '[::1]:444'], upstream: [192.0.2.1, '::1'],\n  \
             rebind_allow: [a.b]}\n\
             cluster: {enabled: true, name: c, program: p, timeout: 1m, node_image: n, control_planes: 3,\n  \
             workers: 2, ingress: traefik, feature_gates: {X: true, Y: false}}\n\
             telemetry: {mode: embedded, size: 1g, age: 1h}\ntimeouts: {image: 1h}\nlease: {time: 8h, idle: 30m}\n\
             services: {web: {enabled: false, image: w, memory: 1k, environment: {A: null, B: 1}},\n  \
             db: {enabled: true}}\n",
        );
        assert_eq!(said, [""; 0]);
        let names = |all: &[(String, Span)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&found.add), names(&found.profiles)), (vec!["valkey".to_owned()], vec!["p".to_owned()]));
        assert_eq!((found.discover, found.remap), (Some(false), true));
        assert_eq!(Some(found.reach), ReachSetting::parse("direct"));
        let built_in: Vec<(&str, bool)> = found.built_in.iter().map(|(name, on, _)| (name.as_str(), *on)).collect();
        assert_eq!(built_in, [("draw", false), ("s3", true)]);
        assert_eq!(found.images.policy, ImagePolicy::Pull);
        assert_eq!(found.images.sources["docker.io"], ["a", "b"]);
        assert_eq!(found.images.named, ["web".to_owned()].into());
        let shown = |sockets: &[SocketAddr]| sockets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&found.dns.dot), ["127.0.0.9:853"]);
        assert_eq!(shown(&found.dns.doh), ["127.0.0.9:443", "[::1]:444"]);
        let upstream: Vec<String> = found.dns.upstream.iter().map(ToString::to_string).collect();
        assert_eq!((upstream, found.dns.rebind_allow), (vec!["192.0.2.1".into(), "::1".into()], vec!["a.b".into()]));
        let cluster = &found.cluster;
        assert_eq!((cluster.enabled, cluster.required, cluster.control_planes, cluster.workers), (true, true, 3, 2));
        let texts = [cluster.name.as_deref(), cluster.program.as_deref(), cluster.node_image.as_deref()];
        assert_eq!((texts, cluster.ingress.as_str()), ([Some("c"), Some("p"), Some("n")], "traefik"));
        assert_eq!(cluster.timeout, Duration::from_secs(60));
        assert_eq!(cluster.feature_gates, [("X".to_owned(), true), ("Y".to_owned(), false)].into());
        assert_eq!((found.telemetry.mode, found.telemetry.size), (TelemetryMode::Embedded, 1 << 30));
        assert_eq!((found.telemetry.age, found.timeouts.image), (Duration::from_secs(3600), Duration::from_secs(3600)));
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!((found.lease.time, found.lease.idle), (minutes(480), minutes(30)));
        let (web, db) = (&found.services["web"], &found.services["db"]);
        assert_eq!((web.disabled, web.image.as_deref(), web.memory), (true, Some("w"), Some(1024)));
        assert_eq!(web.environment, [("A".to_owned(), None), ("B".to_owned(), Some("1".to_owned()))].into());
        assert_eq!((db.disabled, db.image.as_deref(), db.memory), (false, None, None));
    }

    #[test]
    fn a_value_alone_and_nothing_at_all_have_their_meaning() {
        let (found, said) = read("telemetry: none\nlease: 2h\nports: fixed\nimages: {policy: build}\n");
        assert_eq!(said, [""; 0]);
        assert_eq!((found.telemetry.mode, found.remap), (TelemetryMode::None, false));
        assert_eq!((found.lease.time, found.lease.idle), (Some(Duration::from_secs(7200)), None));
        assert_eq!(found.images.policy, ImagePolicy::Build);
        assert_eq!(read("images: {policy: local}\n").0.images.policy, ImagePolicy::Local);
        let (nothing, said) = read("# later\n");
        assert_eq!((said.len(), nothing.discover, nothing.name), (0, None, None));
        let defaults = ClusterSettings::default();
        let (cluster, _) = read("cluster: {workers: 1}\n");
        assert_eq!((cluster.cluster.enabled, cluster.cluster.required), (defaults.enabled, false));
        assert_eq!(cluster.cluster.provider, defaults.provider);
        assert_eq!(named("auto"), None);
        assert_eq!(named("shop").map(|name| name.to_string()).as_deref(), Some("shop"));
    }

    #[test]
    fn what_only_the_whole_file_can_tell_is_told() {
        let one = |text: &str| read(text).1.join("; ");
        for (text, said) in [
            ("domain: dev.local", "domain: names of two labels, as dev.local itself, belong to mDNS under .local"),
            ("domain: a.dev.local", ""),
            ("domain: dev.test", ""),
            ("domain: macula.local", ""),
            ("cluster: {control_planes: 2}", "cluster: 2 control planes have no majority when one fails"),
            ("cluster: {control_planes: 3}", ""),
            ("lease: 0s", "lease.time: it would end at once"),
            ("lease: {time: 1h, idle: 0s}", "lease.idle: it would end at once"),
            ("ingress: {http: 443}", "ingress: http and https have the same port 443"),
            ("ingress: {http: 8080}", ""),
            ("cluster: {feature_gates: {A1: true}}", ""),
            (
                "cluster: {feature_gates: {A-1: true}}",
                "cluster.feature_gates: `A-1` is not a valid name of a feature gate",
            ),
        ] {
            assert_eq!(one(text), said, "{text}");
        }
    }

    #[test]
    fn addresses_and_names_are_checked_one_by_one() {
        let refused = |check: Check, text: &str| check(text).map(|(problem, _)| problem);
        for (check, good) in [
            (domain as Check, ["dev.test", "a.b.c", "a.1b"]),
            (zone, ["plex.direct", "direct", "1"]),
            (block, ["127.0.0.0", "127.80.5.0", "127.255.255.0"]),
            (subnet, ["172.28.0.0/24", "172.28.0.32/27", "0.0.0.0/0"]),
            (socket, ["127.0.0.9", "127.0.0.9:53", "[::1]:53"]),
            (address, ["192.0.2.1", "::1", "0.0.0.0"]),
        ] {
            assert_eq!(good.map(|text| refused(check, text)), [None, None, None], "{good:?}");
        }
        for (check, bad) in [
            (domain as Check, ["dev", "a..b", "10.0.0.1"]),
            (zone, ["", "a..b", "A.b"]),
            (block, ["127.80.5.1", "128.0.0.0", "127.0.0"]),
            (subnet, ["172.28.0.0/28", "172.28.0.1/24", "fd00::/64"]),
            (socket, ["", "x:53", "127.0.0.9:70000"]),
            (address, ["", "192.0.2.1:53", "x"]),
        ] {
            assert!(bad.iter().all(|text| refused(check, text).is_some()), "{bad:?}");
        }
        assert_eq!(refused(subnet, "172.28.0.0/28").as_deref(), Some("`172.28.0.0/28` is too small"));
        let bits = Some(("`172.28.0.1/24` has host bits set".to_owned(), "for example 172.28.0.0/24".to_owned()));
        assert_eq!(subnet("172.28.0.1/24"), bits);
        assert_eq!(parse_socket("::1", 853), "[::1]:853".parse().ok());
        assert_eq!(parse_socket("127.0.0.9:54", 853), "127.0.0.9:54".parse().ok());
    }

    #[test]
    fn a_whole_process_reaches_the_model() {
        let (found, said) = read(
            "processes:\n  web: {command: [node, x.js]}\n  \
             api: {command: run-it, cwd: api, needs: [web], ingress: [v2, v1], port: 3000, env: {A: null, B: b},\n    \
             env_file: api/.env, probe: {http: {path: /up}, timeout: 5s},\n    \
             watch: [{path: api, include: a, ignore: b}], restart: 'on-failure:3', stop_grace_period: 1m}\n",
        );
        assert_eq!(said, [""; 0]);
        let api = &found.processes["api"].process;
        assert_eq!((api.name.as_str(), api.folder.as_path(), api.port), ("api", Path::new("/w/api"), Some(3000)));
        assert_eq!((&*api.needs, &*api.hosts), (&["web".to_owned()][..], &["v2".to_owned(), "v1".to_owned()][..]));
        assert_eq!(api.environment, [("A".to_owned(), None), ("B".to_owned(), Some("b".to_owned()))].into());
        assert_eq!(api.env_files, [Path::new("/w/api/.env")]);
        let probe = ProcessProbe { path: Some("/up".into()), timeout: Some(Duration::from_secs(5)) };
        assert_eq!((&api.probe, &api.restart), (&Some(probe), &Restart::OnFailure(Some(3))));
        assert_eq!(api.stop_grace_period, Duration::from_secs(60));
        let rules: Vec<_> = api.watch.iter().map(|rule| (rule.path.as_path(), &*rule.include, &*rule.ignore)).collect();
        assert_eq!(rules, [(Path::new("/w/api"), &["a".to_owned()][..], &["b".to_owned()][..])]);
        let web = &found.processes["web"].process;
        assert_eq!((&*web.command, &*web.hosts), (&["node", "x.js"].map(str::to_owned)[..], &["web".to_owned()][..]));
        assert_eq!((web.folder.as_path(), web.port, &web.probe), (Path::new("/w"), None, &None));
        assert_eq!((&web.restart, web.stop_grace_period), (&Restart::OnFailure(None), Process::GRACE));
    }
}
