//! What templates, exports and pages may refer to. Documented in docs/stacks.md.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{Platform, Route, SecretSource, Service, Stack};
use crate::render::{self, Scope, Shared};

use super::address::{arrivals_address, gateway, ingress_address, loopback_address};
use super::zone::resolver_metrics;
use super::{Site, Upstream, ingress};

/// Everything but `service`, which [`TemplateContext::of_service`] adds, made ready once for the templates of all
/// services.
pub struct TemplateContext {
    /// All but the services and secrets.
    common: Scope,
    /// In the order of the stacks.
    services: Vec<(String, Facts)>,
    all_services: Shared,
    secrets: Map<String, Value>,
    all_secrets: Shared,
}

/// Of a service, as itself and services that we ship see it, and as those of the user's own stacks do.
struct Facts {
    whole: Shared,
    without_environment: Shared,
}

impl TemplateContext {
    /// The context of `x-macula.exports` and of all templates.
    pub fn new(platform: &Platform, site: &Site<'_>) -> Self {
        let routes = ingress::routes(platform, site.block);
        let services: Vec<(String, Facts)> = platform
            .services()
            .map(|(stack, service)| {
                let mut facts = service_facts(&stack.name, service, site);
                let whole = Shared::new(&facts);
                facts.insert("environment".into(), json!({}));
                (service.name.clone(), Facts { whole, without_environment: Shared::new(&facts) })
            })
            .collect();
        let secrets = object(json!(site.secrets));
        let mut common = Scope::default();
        for (name, value) in common_facts(platform, site, &routes) {
            common.set(&name, &Shared::new(&value));
        }
        let all_services = Shared::map(services.iter().map(|(name, facts)| (name.as_str(), &facts.whole)));
        Self { common, services, all_services, all_secrets: Shared::new(&secrets), secrets }
    }

    /// For one service's files and exports. A stack of the user's own sees the secrets of this service and those
    /// that it takes from others by `from`, and no other service's variables. It knows its own services by the names
    /// that they have in its file; `platform_services` has those of the platform.
    pub fn of_service(&self, stack: &Stack, service: &Service) -> Scope {
        let mut own = self.common.clone();
        let is_own = |name: &str| name == service.name;
        let facts = self.services.iter().find(|(name, _)| is_own(name));
        own.set("service", &facts.map_or_else(|| Shared::new(&Value::Null), |(_, facts)| facts.whole.clone()));
        // their templates set up what others share, such as the users of the S3 store
        if render::is_shipped(&stack.name) {
            own.set("services", &self.all_services);
            own.set("platform_services", &self.all_services);
            own.set("secrets", &self.all_secrets);
            return own;
        }
        let seen: Vec<(&str, &Shared)> = self
            .services
            .iter()
            .map(|(name, facts)| (name.as_str(), if is_own(name) { &facts.whole } else { &facts.without_environment }))
            .collect();
        let all = Shared::map(seen.iter().copied());
        own.set("services", &all);
        own.set("platform_services", &all);
        if stack.scoped {
            let renamed = in_its_file(stack).filter_map(|(short, name)| {
                seen.iter().find(|(known, _)| *known == name).map(|(_, facts)| (short, *facts))
            });
            own.set("services", &Shared::map(seen.iter().copied().chain(renamed)));
        }
        own.set("secrets", &Shared::new(&self.secrets_of(stack, service)));
        own
    }

    fn secrets_of<'a>(&'a self, stack: &'a Stack, service: &Service) -> BTreeMap<&'a str, Map<String, Value>> {
        let taken = |name: &str, variable: &str| {
            name == service.name
                || service.extension.secrets.values().any(|source| {
                    matches!(source, SecretSource::From { service, key } if service == name && key == variable)
                })
        };
        let mut all = BTreeMap::new();
        for (name, variables) in &self.secrets {
            let variables = variables.as_object().into_iter().flatten();
            let own: Map<String, Value> = variables
                .filter(|(variable, _)| taken(name, variable))
                .map(|(variable, value)| (variable.clone(), value.clone()))
                .collect();
            if !own.is_empty() {
                all.insert(name.as_str(), own);
            }
        }
        for (short, name) in in_its_file(stack) {
            if let Some(own) = all.get(name).cloned() {
                // what `x-macula.needs` takes of ours of that name stays
                all.entry(short).or_default().extend(own);
            }
        }
        all
    }
}

/// Services that another stack's have left without their names: what they are called in their file, and in the platform.
fn in_its_file(stack: &Stack) -> impl Iterator<Item = (&str, &str)> {
    stack.services.values().filter_map(|service| Some((service.short.as_deref()?, service.name.as_str())))
}

/// What does not depend on whose template it is.
fn common_facts(platform: &Platform, site: &Site<'_>, routes: &[Route]) -> Map<String, Value> {
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
    let facts = json!({
        "name": platform.name,
        "domain": platform.domain,
        "prefix": platform.name.prefix(),
        "network": {
            "name": platform.name.network(),
            "subnet": site.subnet,
            "gateway": gateway(site.subnet),
            "programs": match site.facts.published {
                true => gateway(site.subnet),
                false => arrivals_address(site.subnet),
            },
            "ingress": ingress_address(site.subnet),
        },
        "routes": routes.iter().map(route_facts).collect::<Vec<_>>(),
        "wildcards": wildcards(routes),
        "backends": ingress::backends(platform, routes, gateway(site.subnet)),
        "streams": ingress::streams(platform),
        "named_ports": ingress::named_ports(platform),
        "received": if site.resolver { ingress::received(platform, site.block) } else { Vec::new() },
        "names": names,
        "metrics": metrics,
        "settings": {
            "ingress": platform.ingress,
            "tls": site.certificate.is_some(),
        },
    });
    object(facts)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
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

fn service_facts(stack: &str, service: &Service, site: &Site<'_>) -> Map<String, Value> {
    object(json!({
        "name": service.name,
        "stack": stack,
        "address": loopback_address(site.block, service.extension.address),
        "optional": service.extension.optional,
        "image": service.image,
        "memory": service.options.resources.memory,
        "environment": service.environment,
        "buckets": service.extension.buckets,
        "databases": service.extension.databases,
        "needs": service.extension.parts,
        "ports": service.ports.iter().map(|port| port.target).collect::<Vec<_>>(),
        "published": service
            .ports
            .iter()
            .filter_map(|port| Some((port.target.to_string(), port.published?)))
            .collect::<BTreeMap<_, _>>(),
    }))
}

fn route_facts(route: &Route) -> Value {
    let mut value = serde_json::to_value(route).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        map.insert("upstream".into(), json!(format!("{}:{}", route.service, route.port)));
    }
    value
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Block, compile};
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::engine::Engine as _;
    use crate::engine::fake::FakeEngine;
    use crate::model::Secrets;

    const SHOP: &str = r#"
services:
  postgres: {image: 'p:1', x-macula: {secrets: {POSTGRES_PASSWORD: {generate: 24}}}}
  web:
    image: 'w:1'
    environment: {PGUSER: me, PGPASSWORD: 'my {{ own }}'}
    x-macula:
      needs: {db: postgres}
      secrets: {PW: {from: postgres.POSTGRES_PASSWORD}}
      environment: {URL: "{{ services.postgres.name }} {{ secrets.postgres.POSTGRES_PASSWORD }}"}
"#;

    #[tokio::test]
    async fn a_service_that_is_called_like_one_of_ours_is_found_by_its_own_name() {
        let files = MemoryFiles::default().with("/w/shop/compose.yaml", SHOP);
        let request = Request { cwd: "/w".into(), stacks: vec!["/w/shop".into()], ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let facts = FakeEngine::new().facts().await.unwrap();
        let mut secrets = Secrets::default();
        for (service, variable, value) in [
            ("postgres", "POSTGRES_PASSWORD", "ours"),
            ("shop-postgres", "POSTGRES_PASSWORD", "theirs"),
            ("postgres-databases", "PASSWORD_SHOP_DB", "made"),
            ("web", "PW", "theirs"),
            ("web", "PGPASSWORD", "made"),
        ] {
            secrets.set(service, variable, value.to_owned());
        }
        let site = Site {
            facts: &facts,
            subnet: ipnet::Ipv4Net::new(Ipv4Addr::new(10, 222, 7, 0), 24).unwrap(),
            block: Block::DEFAULT,
            secrets: &secrets,
            certificate: None,
            version: "1",
            resolver: true,
            held: &[],
        };
        let (stack, web) = platform.service("web").unwrap();
        let own = TemplateContext::new(&platform, &site).of_service(stack, web);
        // what the platform gives is in its own server
        let exported = own.render("DATABASE_URL", &web.extension.exports["DATABASE_URL"]).unwrap();
        assert_eq!(exported, "postgresql://shop_db:made@127.0.0.6:5432/shop_db");
        platform.stacks.retain(|stack| stack.name == "shop");
        let resources = compile(&platform, &site).unwrap();
        let web = resources.containers.iter().find(|spec| spec.service == "web").unwrap();
        insta::assert_snapshot!(web.env.join("\n"), @"
        DATABASE_URL=postgresql://shop_db:made@macula-postgres-1:5432/shop_db
        DB_URL=postgresql://shop_db:made@macula-postgres-1:5432/shop_db
        PGDATABASE=shop_db
        PGHOST=macula-postgres-1
        PGPASSWORD=my {{ own }}
        PGPORT=5432
        PGUSER=me
        PW=theirs
        URL=shop-postgres theirs
        ");
    }
}
