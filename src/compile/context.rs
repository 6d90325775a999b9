//! What templates, exports and pages may refer to. Documented in docs/stacks.md.

use serde_json::{Value, json};

use crate::model::{Platform, Route, SecretSource, ServerNeed, Service, Stack, Stream};
use crate::render;

use super::address::{gateway, ingress_address, loopback_address};
use super::zone::resolver_metrics;
use super::{Site, Upstream, ingress};

/// Everything but `service`, which [`for_service`] adds.
pub fn template_context(platform: &Platform, site: &Site<'_>, routes: &[Route], streams: &[Stream]) -> Value {
    let services: serde_json::Map<String, Value> = platform
        .services()
        .map(|(stack, service)| (service.name.clone(), service_facts(&stack.name, service, site)))
        .collect();
    let names: Vec<Value> = ingress::names(routes)
        .into_iter()
        .map(|(host, service)| {
            let ports: Vec<u16> = platform
                .service(&service)
                .map(|(_, found)| found.ports.iter().filter_map(|port| port.published).collect())
                .unwrap_or_default();
            let address = routes.iter().find(|route| route.host == host).map(|route| route.address);
            json!({"host": host, "service": service, "address": address, "ports": ports})
        })
        .collect();
    let resolver = resolver_metrics(site.facts, site.subnet).filter(|_| site.resolver).map(|address| {
        json!({
            "service": "resolver",
            "stack": "",
            "job": "macula-dns",
            "target": address,
            "path": "/metrics",
            "params": {},
        })
    });
    let metrics: Vec<Value> = platform
        .services()
        .flat_map(|(stack, service)| {
            service.extension.metrics.iter().map(move |metrics| {
                json!({
                    "service": service.name,
                    "stack": stack.name,
                    "job": metrics.job.as_ref().unwrap_or(&service.name),
                    "target": format!("{}:{}", reached_at(platform, &service.name, site), metrics.port),
                    "path": metrics.path,
                    "params": metrics.params,
                })
            })
        })
        .chain(resolver)
        .collect();
    json!({
        "name": platform.name,
        "domain": platform.domain,
        "prefix": platform.name.prefix(),
        "network": {
            "name": platform.name.network(),
            "subnet": site.subnet,
            "gateway": gateway(site.subnet),
            "ingress": ingress_address(site.subnet),
        },
        "services": services,
        "routes": routes.iter().map(route_facts).collect::<Vec<_>>(),
        "wildcards": wildcards(routes),
        "backends": ingress::backends(platform, routes, gateway(site.subnet)),
        "streams": streams,
        "named_ports": ingress::named_ports(platform),
        "received": if site.resolver { ingress::received(platform, site.block) } else { Vec::new() },
        "names": names,
        "metrics": metrics,
        "secrets": site.secrets,
        "settings": {
            "ingress": platform.ingress,
            "tls": site.certificate.is_some(),
        },
    })
}

/// The context of one service's files and exports. A stack of the user's own sees the secrets of this
/// service and those that it takes from others by `from`, and no other service's variables.
pub fn for_service(context: &Value, stack: &Stack, service: &Service) -> Value {
    let mut own = context.clone();
    let facts = context.get("services").and_then(|all| all.get(&service.name)).cloned().unwrap_or(Value::Null);
    let Value::Object(map) = &mut own else { return own };
    map.insert("service".into(), facts);
    if is_ours(stack) {
        return own;
    }
    if let Some(Value::Object(secrets)) = map.get_mut("secrets") {
        let taken = |name: &str, variable: &str| {
            name == service.name
                || service.extension.secrets.values().any(|source| {
                    matches!(source, SecretSource::From { service, key } if service == name && key == variable)
                })
        };
        for (name, variables) in secrets.iter_mut() {
            if let Value::Object(variables) = variables {
                variables.retain(|variable, _| taken(name, variable));
            }
        }
        secrets.retain(|_, variables| variables.as_object().is_some_and(|all| !all.is_empty()));
    }
    if let Some(Value::Object(services)) = map.get_mut("services") {
        for (_, facts) in services.iter_mut().filter(|(name, _)| **name != service.name) {
            if let Value::Object(facts) = facts {
                facts.insert("environment".into(), json!({}));
            }
        }
    }
    own
}

/// Is this a stack that we ship, or one in its place? Their templates set up what others share, such as
/// the users of the S3 store.
fn is_ours(stack: &Stack) -> bool {
    render::stacks().iter().chain(&render::catalog()).any(|(file, _)| file.strip_suffix(".yaml") == Some(&stack.name))
}

/// The context of `x-macula.exports`.
pub fn export_context(platform: &Platform, site: &Site<'_>) -> Value {
    let routes = ingress::routes(platform, site.block);
    template_context(platform, site, &routes, &ingress::streams(platform))
}

/// Where Prometheus finds a service: a name, or the address of this machine.
fn reached_at(platform: &Platform, service: &str, site: &Site<'_>) -> String {
    match ingress::upstream(platform, service, gateway(site.subnet)) {
        Some(Upstream::Name(name)) => name,
        Some(Upstream::Address(address)) => address.to_string(),
        None => service.to_owned(),
    }
}

/// Hosts that stand for any name below them, the longest first.
fn wildcards(routes: &[Route]) -> Vec<&str> {
    let mut all: Vec<&str> =
        routes.iter().map(|route| route.host.as_str()).filter(|host| host.starts_with("*.")).collect();
    all.dedup();
    all.sort_by_key(|host| std::cmp::Reverse(host.len()));
    all
}

fn service_facts(stack: &str, service: &Service, site: &Site<'_>) -> Value {
    json!({
        "name": service.name,
        "stack": stack,
        "address": loopback_address(site.block, service.extension.address),
        "optional": service.extension.optional,
        "image": service.image,
        "environment": service.environment,
        "buckets": service.extension.buckets,
        "databases": service.extension.databases,
        "needs": service
            .extension
            .needs
            .iter()
            .map(|(key, server)| ServerNeed::new(stack, key, *server))
            .collect::<Vec<_>>(),
        "ports": service.ports.iter().map(|port| port.target).collect::<Vec<_>>(),
    })
}

fn route_facts(route: &Route) -> Value {
    let mut value = serde_json::to_value(route).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        map.insert("upstream".into(), json!(format!("{}:{}", route.service, route.port)));
    }
    value
}
