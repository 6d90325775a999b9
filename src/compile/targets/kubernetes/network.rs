//! How services are reached: Services, Ingresses and NetworkPolicies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::common::{
    alias_label, annotations, common_labels, further_names, has_data, metadata, network_label, networks, object,
    object_name, seconds, secret_object, selector, shared_names, some,
};
use super::ports::{Port, is_port_name, ports};
use crate::compile::fully_qualified;
use crate::compile::targets::{Part, Scene};
use crate::model::{IngressRule, PublishedPort};

fn service_ports(ports: &[Port]) -> Vec<Value> {
    let one = |port: &Port| {
        let given = port.name.clone().filter(|name| is_port_name(name));
        let name = given.unwrap_or_else(|| format!("{}-{}", port.protocol.to_lowercase(), port.number));
        json!({
            "name": name, "port": port.number, "targetPort": port.number, "protocol": port.protocol,
            "appProtocol": port.app_protocol,
        })
    };
    ports.iter().map(one).collect()
}

/// Without an address of its own a name leads to the pods, on every port.
fn is_bare(part: &Part<'_>) -> bool {
    ports(part).is_empty() || part.service.deploy.endpoint_mode.as_deref() == Some("dnsrr")
}

/// The Service of the service's name, one for each other name that it alone has, and one for what the world reaches.
pub(super) fn services(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    if part.is_job() {
        return Vec::new();
    }
    let shared = shared_names(scene);
    let names = further_names(scene, part).into_iter().filter(|name| !shared.contains_key(name));
    let (ports, bare) = (ports(part), is_bare(part));
    let spec = json!({
        "clusterIP": bare.then_some("None"),
        "selector": selector(scene, part),
        "ports": some(service_ports(&ports)),
        // members of a cluster have to find each other before they are ready
        "publishNotReadyAddresses": has_data(part).then_some(true),
    });
    let names = std::iter::once(part.name).chain(names);
    let mut all: Vec<Value> =
        names.map(|name| object("v1", "Service", metadata(scene, part, name), json!({"spec": spec}))).collect();
    // one that is published on all addresses of IPv4 and on all of IPv6 is one port
    let mut seen = BTreeSet::new();
    let open = part.service.ports.iter().filter(|port| is_public(port));
    let open: Vec<&PublishedPort> =
        open.filter(|port| seen.insert((port.published.unwrap_or(port.target), port.protocol))).collect();
    if !open.is_empty() {
        let ports: Vec<Value> = open
            .iter()
            .map(|port| {
                let number = port.published.unwrap_or(port.target);
                let protocol = port.protocol.to_string();
                json!({
                    "name": format!("{protocol}-{number}"), "port": number, "targetPort": port.target,
                    "protocol": protocol.to_uppercase(),
                })
            })
            .collect();
        let spec = json!({"type": "LoadBalancer", "selector": selector(scene, part), "ports": ports});
        let name = format!("{}-public", part.name);
        all.push(object("v1", "Service", metadata(scene, part, &name), json!({"spec": spec})));
    }
    all
}

/// One Service for each name that several services have, which leads to the pods of all of them.
pub(super) fn shared(scene: &Scene<'_>) -> Vec<Value> {
    let one = |(name, parts): (&str, Vec<&Part<'_>>)| {
        let mut all: BTreeMap<(u16, String), Port> = BTreeMap::new();
        for port in parts.iter().flat_map(|part| ports(part)) {
            // two services may call different ports by one name
            let key = (port.number, port.protocol.clone());
            all.entry(key).or_insert(Port { name: None, ..port });
        }
        let ports: Vec<Port> = all.into_values().collect();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": scene.namespace, "labels": common_labels(scene)},
            "spec": {
                "clusterIP": parts.iter().any(|part| is_bare(part)).then_some("None"),
                "selector": {"app.kubernetes.io/part-of": scene.stack.name, alias_label(name): "true"},
                "ports": some(service_ports(&ports)),
                "publishNotReadyAddresses": parts.iter().any(|part| has_data(part)).then_some(true),
            },
        })
    };
    shared_names(scene).into_iter().map(one).collect()
}

/// Whoever wrote the address of all interfaces means the world.
fn is_public(port: &PublishedPort) -> bool {
    !port.host_mode && port.host_ip.is_some_and(|address| address.is_unspecified())
}

fn rule_name(part: &Part<'_>, index: usize) -> String {
    match index {
        0 => part.name.to_owned(),
        more => format!("{}-{}", part.name, more + 1),
    }
}

fn password_name(part: &Part<'_>, index: usize) -> String {
    format!("{}-auth", rule_name(part, index))
}

/// Whether the cluster's ingress reads the annotations that say more than a host and a path.
pub(in crate::compile::targets) fn is_nginx(scene: &Scene<'_>) -> bool {
    scene.platform.cluster.ingress == "nginx"
}

/// The passwords of rules that ask for one.
pub(super) fn passwords(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let rules = part.service.extension.ingress.iter().enumerate().filter(|_| is_nginx(scene));
    rules
        .filter_map(|(index, rule)| {
            let data = BTreeMap::from([("auth".to_owned(), rule.auth.as_ref()?.as_bytes().to_vec())]);
            Some(secret_object(scene, part, &password_name(part, index), data))
        })
        .collect()
}

/// One for each rule: annotations are those of the whole object.
pub(super) fn ingresses(scene: &Scene<'_>, part: &Part<'_>) -> Vec<Value> {
    let rules = part.service.extension.ingress.iter().enumerate();
    rules.map(|(index, rule)| ingress(scene, part, index, rule)).collect()
}

fn strips(rule: &IngressRule) -> bool {
    rule.strip && rule.path != "/"
}

/// Whether a rule's path is written as a regular expression: where one rule strips, ingress-nginx takes all paths of that
/// host for some, and `/app` for the beginning of `/apple`.
fn is_matched(scene: &Scene<'_>, rule: &IngressRule) -> bool {
    let host = |rule: &IngressRule| fully_qualified(&rule.host, &scene.platform.domain);
    let mut rules = scene.parts.iter().flat_map(|part| &part.service.extension.ingress);
    is_nginx(scene) && rule.path != "/" && rules.any(|other| strips(other) && host(other) == host(rule))
}

fn ingress(scene: &Scene<'_>, part: &Part<'_>, index: usize, rule: &IngressRule) -> Value {
    let host = fully_qualified(&rule.host, &scene.platform.domain);
    let matched = is_matched(scene, rule);
    let (path, kind) = match matched {
        true => {
            // of what a rule's path may have, these alone are more than themselves
            let path = rule.path.trim_end_matches('/').replace('.', r"\.").replace('+', r"\+");
            (format!("{path}(/|$)(.*)"), "ImplementationSpecific")
        }
        false => (rule.path.clone(), "Prefix"),
    };
    let annotations = is_nginx(scene).then(|| nginx_annotations(part, index, rule, matched));
    let mut metadata: Map<String, Value> = metadata(scene, part, &rule_name(part, index));
    metadata.insert("annotations".into(), json!(annotations));
    let backend = json!({"service": {"name": part.name, "port": {"number": rule.port}}});
    let spec = json!({
        "ingressClassName": scene.platform.cluster.ingress,
        "tls": [{"hosts": [host]}],
        "rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}],
    });
    object("networking.k8s.io/v1", "Ingress", metadata, json!({"spec": spec}))
}

/// What a rule says beyond a host and a path, in the words of ingress-nginx.
fn nginx_annotations(part: &Part<'_>, index: usize, rule: &IngressRule, matched: bool) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        annotations.insert(format!("nginx.ingress.kubernetes.io/{key}"), value);
    };
    // nginx's own limit is 1m; ours is none
    set("proxy-body-size", rule.body_size.unwrap_or(0).to_string());
    if matched {
        set("use-regex", "true".into());
    }
    if strips(rule) {
        set("rewrite-target", "/$2".into());
        set("x-forwarded-prefix", rule.path.trim_end_matches('/').to_owned());
    }
    match (rule.grpc, rule.tls) {
        (true, true) => set("backend-protocol", "GRPCS".into()),
        (true, false) => set("backend-protocol", "GRPC".into()),
        (false, true) => set("backend-protocol", "HTTPS".into()),
        (false, false) => {}
    }
    if rule.sticky {
        set("affinity", "cookie".into());
    }
    if rule.auth.is_some() {
        set("auth-type", "basic".into());
        set("auth-secret", password_name(part, index));
    }
    if let Some(timeout) = rule.response_timeout.filter(|timeout| !timeout.is_zero()) {
        set("proxy-read-timeout", seconds(timeout).to_string());
    }
    annotations
}

/// Services that name networks are reached from those networks, and by what leads to them from outside.
pub(super) fn policies(scene: &Scene<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    let used: BTreeSet<&str> = scene.parts.iter().flat_map(|part| networks(scene, part)).collect();
    for network in &used {
        let peers = json!({"podSelector": {"matchLabels": {network_label(network): "true"}}});
        let labels = scene.stack.networks.get(*network).map(|declared| annotations(&declared.labels));
        all.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {
                "name": format!("network-{}", object_name(network)),
                "namespace": scene.namespace, "labels": common_labels(scene), "annotations": labels.map(some),
            },
            "spec": {
                "podSelector": {"matchLabels": {network_label(network): "true"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [peers]}],
            },
        }));
    }
    for part in &scene.parts {
        let joined = networks(scene, part);
        if joined.is_empty() {
            continue;
        }
        let service = part.service;
        let tcp = |number: u16| json!({"port": number, "protocol": "TCP"});
        let named: Vec<Value> = service.extension.ingress.iter().map(|rule| tcp(rule.port)).collect();
        let open = service.ports.iter().filter(|port| is_public(port) || port.host_mode);
        let open = open.map(|port| json!({"port": port.target, "protocol": port.protocol.to_string().to_uppercase()}));
        // Prometheus asks through the API server, which has an address of its node and is no pod
        let open: Vec<Value> = open.chain(service.extension.metrics.iter().map(|metrics| tcp(metrics.port))).collect();
        let mut rules = Vec::new();
        if !named.is_empty() {
            // where the cluster's ingress runs is the cluster's affair
            rules.push(json!({"from": [{"namespaceSelector": {}}], "ports": named}));
        }
        if !open.is_empty() {
            rules.push(json!({"ports": open}));
        }
        let policy = |name: String, rest: Value| {
            let mut spec = json!({"podSelector": {"matchLabels": selector(scene, part)}});
            if let (Value::Object(spec), Value::Object(rest)) = (&mut spec, rest) {
                spec.extend(rest);
            }
            object("networking.k8s.io/v1", "NetworkPolicy", metadata(scene, part, &name), json!({"spec": spec}))
        };
        if !rules.is_empty() {
            let rest = json!({"policyTypes": ["Ingress"], "ingress": rules});
            all.push(policy(format!("{}-reached", part.name), rest));
        }
        let internal = |network: &str| scene.stack.networks.get(network).is_some_and(|declared| declared.internal);
        if joined.iter().copied().all(internal) {
            let peers: Vec<Value> = joined
                .iter()
                .map(|network| json!({"podSelector": {"matchLabels": {network_label(network): "true"}}}))
                .collect();
            let dns = json!({
                "to": [{"namespaceSelector": {}}],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            });
            let rest = json!({"policyTypes": ["Egress"], "egress": [{"to": peers}, dns]});
            all.push(policy(format!("{}-internal", part.name), rest));
        }
    }
    all
}
