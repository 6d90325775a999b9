//! No key of a stack is dropped in silence, objects are what Kubernetes and Docker take, and the examples stay as
//! they are.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service as KubeService};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::config::{Loaded, Request, load, sample_files};

mod both;
mod examples;
mod keys;
mod losses;
mod objects;
mod refusals;
mod services;

fn request(stack: &str) -> Request {
    Request {
        cwd: "/w".into(),
        env: [("HOME".to_owned(), "/home/user".to_owned())].into(),
        stacks: vec![stack.into()],
        only_own: true,
        orchestrated: true,
        ..Request::default()
    }
}

fn loaded(text: &str) -> Result<Loaded, String> {
    load(&request("/w/compose.yaml"), &sample_files(text)).map_err(|errors| errors.to_string())
}

const OPTIONS: Options<'static> = Options {
    waiting: Some("busybox:1.37"),
    registry: "registry.macula.local",
    namespace: None,
    hidden: true,
    version: "1",
};

const RULED: [Target; 2] = [Target::Swarm, Target::Kubernetes];

const OPEN: Options<'static> = Options { hidden: false, ..OPTIONS };

fn translated(loaded: &Loaded, target: Target, options: &Options<'_>) -> Result<Translation, TargetError> {
    let stack = loaded.platform.stacks.last().unwrap();
    let secrets = placeholders(&loaded.platform);
    translate(target, &loaded.platform, stack, &loaded.said(&stack.name), &secrets, options)
}

fn of(text: &str, target: Target) -> Translation {
    translated(&loaded(text).unwrap(), target, &OPTIONS).unwrap()
}

fn refused(text: &str, target: Target) -> Vec<String> {
    match translated(&loaded(text).unwrap(), target, &OPTIONS) {
        Err(TargetError::Refused { refusals, .. }) => refusals.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn said_of_losses(translation: &Translation) -> Vec<String> {
    let mark = |loss: &Loss| if loss.behavior { "stops" } else { "note" };
    translation.losses.iter().map(|loss| format!("{} {loss}", mark(loss))).collect()
}

/// Where losses are, and whether they stop.
fn lost(translation: &Translation) -> Vec<String> {
    let line = |loss: &Loss| format!("{} {}", if loss.behavior { "stops" } else { "note" }, loss.path);
    translation.losses.iter().map(line).collect()
}

fn kubernetes_of(translation: Translation) -> Vec<Value> {
    match translation.rendered {
        Rendered::Kubernetes(objects) => objects,
        Rendered::Swarm(_) => panic!("of a swarm"),
    }
}

fn swarm_of(translation: Translation) -> SwarmStack {
    match translation.rendered {
        Rendered::Kubernetes(_) => panic!("of Kubernetes"),
        Rendered::Swarm(stack) => *stack,
    }
}

/// The objects of one kind.
fn of_kind(text: &str, kind: &str) -> Vec<Value> {
    let translation = of(text, Target::Kubernetes);
    strict_all(&translation);
    kubernetes_of(translation).into_iter().filter(|object| object["kind"] == kind).collect()
}

const SHOP: &str = r#"
name: shop
services:
  web:
    image: shop/web:1
    build: .
    command: ["serve", "--name=$$(HOSTNAME)"]
    ports: ["8080:8000"]
    environment: {MODE: fast}
    depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    user: "1000:1000"
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    networks: [front, back]
    configs: [{source: settings, target: /etc/web.conf}]
    deploy:
      replicas: 2
      update_config: {parallelism: 1, order: start-first, delay: 5s, failure_action: pause}
      placement: {constraints: ["node.labels.edge == true"], preferences: [{spread: node.labels.zone}]}
      resources: {limits: {cpus: "0.5", memory: 64M}, reservations: {cpus: "0.1", memory: 32M}}
    x-macula:
      ingress: [{host: shop, path: /api, strip: true, port: 8000}]
      probe: {http: {port: 8000, path: /health}, timeout: 2m}
      scale: {min: 2, max: 5, cpu: 70}
      environment: {DATABASE_URL: "postgres://web:{{ secrets.db.POSTGRES_PASSWORD }}@db/web"}
      secrets: {POSTGRES_PASSWORD: {from: db.POSTGRES_PASSWORD}}
  db:
    image: postgres:18
    networks: {back: {aliases: [database]}}
    volumes: ["data:/var/lib/postgresql"]
    secrets: [license]
    stop_grace_period: 30s
    healthcheck: {test: ["CMD", "pg_isready"], interval: 2s, start_period: 20s}
    x-macula: {secrets: {POSTGRES_PASSWORD: {generate: 24}}}
  migrate:
    image: shop/web:1
    command: [migrate]
    networks: [back]
    restart: on-failure:2
    x-macula: {once: true}
networks: {front: , back: {internal: true}}
volumes: {data: {driver_opts: {size: 20Gi}}}
configs: {settings: {content: "a = 1\n"}}
secrets: {license: {content: "key"}}
"#;

fn yaml(values: &[Value]) -> String {
    values.iter().map(|value| format!("---\n{}", serde_yaml::to_string(value).unwrap())).collect()
}

/// Lists whose items server-side apply knows by these keys: it refuses an object that has one of them twice
/// (`x-kubernetes-list-map-keys` in the API server's own schema).
const KEYED: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    // of containers, and of a Service
    ("ports", &["containerPort", "port", "protocol"]),
];

fn twice(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            if let (Some((_, keys)), Some(items)) = (KEYED.iter().find(|(list, _)| list == key), value.as_array()) {
                let mut seen = std::collections::BTreeSet::new();
                let of = |item: &Value| keys.iter().map(|key| item[*key].to_string()).collect::<Vec<_>>();
                found.extend(
                    items.iter().map(of).filter(|of| !seen.insert(of.clone())).map(|of| format!("{path} {of:?}")),
                );
            }
            twice(value, &path, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| twice(item, path, found)),
        _ => {}
    }
}

/// Decodes an object by its type and compares: a field that the type does not have would be gone.
fn strict(object: &Value) {
    let mut found = Vec::new();
    twice(object, "", &mut found);
    assert!(found.is_empty() || object["kind"] == "NetworkPolicy", "{found:?}: {object:#}");
    fn same<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object:#}"));
        let again = serde_json::to_value(typed).unwrap();
        assert_eq!(again, *object);
    }
    match object["kind"].as_str().unwrap() {
        "Namespace" => same::<Namespace>(object),
        "ConfigMap" => same::<ConfigMap>(object),
        "Secret" => same::<Secret>(object),
        "PersistentVolumeClaim" => same::<PersistentVolumeClaim>(object),
        "Service" => same::<KubeService>(object),
        "Deployment" => same::<Deployment>(object),
        "StatefulSet" => same::<StatefulSet>(object),
        "DaemonSet" => same::<DaemonSet>(object),
        "Job" => same::<Job>(object),
        "HorizontalPodAutoscaler" => same::<HorizontalPodAutoscaler>(object),
        "PodDisruptionBudget" => same::<PodDisruptionBudget>(object),
        "Ingress" => same::<Ingress>(object),
        "NetworkPolicy" => same::<NetworkPolicy>(object),
        other => panic!("no type is known for {other}"),
    }
}

fn strict_swarm(stack: &SwarmStack) {
    fn same<T: DeserializeOwned + Serialize>(bodies: &[Value]) {
        for body in bodies {
            let typed: T = serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{error}: {body:#}"));
            assert_eq!(serde_json::to_value(typed).unwrap(), *body);
        }
    }
    same::<bollard::models::ServiceSpec>(&stack.services);
    same::<bollard::models::SecretSpec>(&stack.secrets);
    same::<bollard::models::ConfigSpec>(&stack.configs);
    same::<bollard::models::NetworkCreateRequest>(&stack.networks);
}

fn strict_all(translation: &Translation) {
    match &translation.rendered {
        Rendered::Kubernetes(objects) => objects.iter().for_each(strict),
        Rendered::Swarm(stack) => strict_swarm(stack),
    }
}
