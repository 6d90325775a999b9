//! No key of a stack is dropped in silence, objects are what Kubernetes and Docker take, and the examples stay as
//! they are.

use std::path::Path;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service as KubeService};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::loss::{losses, rule_of};
use super::rules::keys;
use super::*;
use crate::config::{DiskFiles, Files, Loaded, Request, load, sample_files};

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

/// Keys that are carried out before a target sees anything, or decide what is said elsewhere.
const ELSEWHERE: &[&str] = &[
    "version",
    "services.*.depends_on.*.required",
    "services.*.depends_on.*.condition",
    "services.*.env_file[].required",
    "services.*.networks.*.aliases",
    // of one that is external
    "secrets.*.name",
    "configs.*.name",
    // the build is Macula's, before: these say how
    "services.*.build",
    // the sample has it on both sides
    "services.*.ports[].target",
    "services.*.volumes[].type",
    "services.*.volumes[].source",
    "services.*.volumes[].target",
    // less is lost with it: a claim begins empty, and this says that it may
    "services.*.volumes[].volume.nocopy",
    // of a mount of another type
    "services.*.volumes[].image.subpath",
    // of a pool without a subnet, which is none
    "networks.*.ipam.config[].gateway",
    "networks.*.ipam.config[].ip_range",
    // pods always start again
    "services.*.restart",
    "services.*.deploy.restart_policy.condition",
    // no pod ends for a check that fails
    "services.*.healthcheck.start_period",
    // a pod has no check of its image's anyway
    "services.*.healthcheck.disable",
    // a port of the node needs its number
    "services.*.ports[].mode",
];

#[test]
fn every_key_is_kept_or_named_for_each_target() {
    let samples = crate::config::samples();
    let mut wrong = Vec::new();
    let (mut kept, mut named) = (0, 0);
    for sample in samples.iter().filter(|sample| sample.key != "services.*.x-macula") {
        if rule_of(&sample.key).is_none() {
            wrong.push(format!("{}: there is no rule for it", sample.key));
            continue;
        }
        let (with, without) = match (loaded(&sample.with), loaded(&sample.without)) {
            (Ok(with), Ok(without)) => (with, without),
            (with, without) => {
                wrong.push(format!("{}: {}", sample.key, with.err().or(without.err()).unwrap_or_default()));
                continue;
            }
        };
        let warned = with.warnings.len() > without.warnings.len();
        let said = with.said(&with.platform.stacks.last().unwrap().name);
        let said: Vec<Said> = said
            .into_iter()
            .filter(|one| {
                one.key.strip_prefix(&sample.key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .collect();
        for target in RULED {
            let (with, without) = (translated(&with, target, &OPEN), translated(&without, target, &OPEN));
            let (Ok(with), Ok(without)) = (&with, &without) else {
                // what cannot be at all says so with its place
                assert!(with != without, "{}: {with:?}", sample.key);
                named += 1;
                continue;
            };
            let new = with.losses.iter().any(|loss| !without.losses.iter().any(|known| known.why == loss.why));
            let lost = warned || new || !losses(target, &said).is_empty();
            assert!(with.losses.iter().all(|loss| loss.place.contains(':')), "{}: {:?}", sample.key, with.losses);
            let elsewhere =
                ELSEWHERE.iter().any(|key| sample.key == *key || sample.key.starts_with(&format!("{key}.")));
            if lost {
                named += 1;
            } else if with.rendered != without.rendered {
                kept += 1;
            } else if !elsewhere {
                wrong.push(format!(
                    "{}: {target} gets nothing of it, and nothing says so\n    {}",
                    sample.key, sample.with
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} keys:\n{}", wrong.len(), samples.len(), wrong.join("\n"));
    assert!(kept > 150 && named > 120, "{kept} are kept, {named} are named");
}

#[test]
fn every_key_of_the_extension_has_a_rule_and_every_rule_a_key() {
    let extension = crate::config::extension_keys();
    assert!(extension.len() > 60);
    let missing: Vec<&String> = extension.iter().filter(|key| rule_of(key).is_none()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let samples = crate::config::samples();
    let known = |rule: &str| {
        let below =
            |key: &str| key == rule || key.starts_with(&format!("{rule}.")) || key.starts_with(&format!("{rule}["));
        extension.iter().any(|key| below(key)) || samples.iter().any(|sample| below(&sample.key))
    };
    let idle: Vec<&str> = keys().filter(|rule| !known(rule)).collect();
    assert!(idle.is_empty(), "no key is meant by {idle:#?}");
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

#[test]
fn what_is_made_of_every_key_is_what_the_targets_take() {
    let mut tried = 0;
    for sample in crate::config::samples() {
        let Ok(loaded) = loaded(&sample.with) else { continue };
        for target in RULED {
            if let Ok(translation) = translated(&loaded, target, &OPTIONS) {
                strict_all(&translation);
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
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

#[test]
fn a_shop_on_kubernetes() {
    let translation = of(SHOP, Target::Kubernetes);
    strict_all(&translation);
    let Rendered::Kubernetes(objects) = &translation.rendered else { panic!() };
    let list: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
        .collect();
    insta::assert_snapshot!(
        "shop-kubernetes",
        format!("{}\n\n{}\n\n{}", list.join("\n"), said_of_losses(&translation).join("\n"), yaml(objects))
    );
    assert_eq!(translation.order, ["db", "migrate", "web"]);
    assert_eq!(translation.pushed["shop/web:1"], "registry.macula.local/shop/web:1");
    assert_eq!(of(SHOP, Target::Kubernetes), translation);
}

#[test]
fn a_shop_on_swarm() {
    let translation = of(SHOP, Target::Swarm);
    strict_all(&translation);
    let Rendered::Swarm(stack) = &translation.rendered else { panic!() };
    let text = serde_yaml::to_string(stack).unwrap();
    insta::assert_snapshot!("shop-swarm", format!("{}\n\n{text}", said_of_losses(&translation).join("\n")));
}

/// The stack of an example folder, among the built-in ones.
fn example(name: &str) -> Loaded {
    example_with(name, &[])
}

/// With these in the environment.
fn example_with(name: &str, variables: &[(&str, &str)]) -> Loaded {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root.join("examples").join(name).join("compose.yaml");
    assert!(DiskFiles.exists(&file), "{}", file.display());
    let request = Request {
        // variables of Compose's own count in the project's folder alone
        cwd: if variables.is_empty() { root } else { file.parent().unwrap() }.to_owned(),
        file: Some(file.with_file_name("macula.yaml")),
        // a worktree of this repository has a name of its own
        name: Some(crate::model::PlatformName::default()),
        stacks: Vec::new(),
        only_own: false,
        ..request("")
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = Request { env: request.env.clone().into_iter().chain(variables).collect(), ..request };
    load(&request, &DiskFiles).unwrap()
}

#[test]
fn the_examples_on_both_targets() {
    for name in ["tech-garden", "togglemaster", "gardenos"] {
        let loaded = example(name);
        for target in RULED {
            let translation = translated(&loaded, target, &OPTIONS).unwrap();
            strict_all(&translation);
            let text = match &translation.rendered {
                Rendered::Kubernetes(objects) => yaml(objects),
                Rendered::Swarm(stack) => serde_yaml::to_string(stack).unwrap(),
            };
            let target = if target == Target::Swarm { "swarm" } else { "kubernetes" };
            let losses = said_of_losses(&translation).join("\n");
            insta::assert_snapshot!(format!("{name}-{target}"), format!("{losses}\n\n{text}"));
        }
    }
}

/// Nothing of it stops a deployment but `depends_on`, whose order `stack deploy` keeps itself.
#[test]
fn the_shop_of_the_examples_runs_on_a_swarm_as_it_stands() {
    let webhook = [("COMPOSE_PROFILES", "webhook"), ("DEPLOY_SECRET", "x")];
    for (used, services) in [(0, 4), (2, 5)] {
        let translation = translated(&example_with("swarm", &webhook[..used]), Target::Swarm, &OPTIONS).unwrap();
        let lost = translation.losses.iter().filter(|loss| loss.behavior && !loss.path.contains(".depends_on"));
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<&Loss>::new());
        let Rendered::Swarm(stack) = translation.rendered else { panic!("not a swarm's") };
        assert_eq!((stack.services.len(), stack.secrets.len()), (services, services - 3));
    }
}

/// The objects of one kind.
fn of_kind(text: &str, kind: &str) -> Vec<Value> {
    let translation = of(text, Target::Kubernetes);
    strict_all(&translation);
    let Rendered::Kubernetes(objects) = translation.rendered else { panic!() };
    objects.into_iter().filter(|object| object["kind"] == kind).collect()
}

/// Where losses are, and whether they stop.
fn lost(translation: &Translation) -> Vec<String> {
    let line = |loss: &Loss| format!("{} {}", if loss.behavior { "stops" } else { "note" }, loss.path);
    translation.losses.iter().map(line).collect()
}

#[test]
fn what_traefik_does_not_read_from_an_ingress_is_told() {
    let told = |keys: &str| {
        let text = format!(
            "name: l\nservices: {{web: {{image: x, x-macula: {{ingress: [{{host: a, port: 80}}, {{host: b, port: 80{keys}}}]}}}}}}\n"
        );
        let mut loaded = loaded(&text).unwrap();
        loaded.platform.cluster.ingress = "traefik".into();
        let translation = translated(&loaded, Target::Kubernetes, &OPTIONS).unwrap();
        strict_all(&translation);
        let Rendered::Kubernetes(objects) = &translation.rendered else { panic!() };
        assert!(objects.iter().all(|object| object["kind"] != "Secret") && !yaml(objects).contains("nginx"));
        lost(&translation)
    };
    assert_eq!(told(""), [""; 0]);
    let rule = "services.web.x-macula.ingress[1]";
    assert_eq!(
        told(", path: /api, strip: true, auth: 'me:$$2y$$05$$abc'"),
        [format!("stops {rule}.auth"), format!("stops {rule}.strip")]
    );
    assert_eq!(told(", strip: true"), [""; 0], "there is nothing to strip");
    assert_eq!(told(", grpc: true"), [format!("stops {rule}.grpc")]);
    assert_eq!(told(", tls: true, body_size: 1m"), [format!("stops {rule}.tls"), format!("note {rule}.body_size")]);
    assert_eq!(told(", sticky: true"), [format!("stops {rule}.sticky")]);
}

#[test]
fn a_service_without_networks_is_in_the_default_one_where_another_names_it() {
    let text = |networks: &str| {
        format!(
            "name: l\nservices:\n  web: {{image: w}}\n  api: {{image: a, networks: [{networks}]}}\n  \
             db: {{image: d, networks: [back]}}\nnetworks: {{back: }}\n"
        )
    };
    let joined = |text: &str| -> Vec<String> {
        let networks = |pods: &Value| {
            let labels = pods["spec"]["template"]["metadata"]["labels"].as_object().unwrap().keys();
            labels.filter_map(|key| key.strip_prefix("dev.macula.network/").map(str::to_owned)).collect::<Vec<_>>()
        };
        of_kind(text, "Deployment")
            .iter()
            .map(|pods| format!("{}: {}", pods["metadata"]["name"], networks(pods).join(", ")))
            .collect()
    };
    assert_eq!(joined(&text("default, back")), ["\"api\": back, default", "\"db\": back", "\"web\": default"]);
    assert_eq!(joined(&text("back")), ["\"api\": back", "\"db\": back", "\"web\": "]);
    let policies = of_kind(&text("default, back"), "NetworkPolicy");
    let names: Vec<&str> = policies.iter().filter_map(|policy| policy["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["network-back", "network-default"]);
}

#[test]
fn metrics_are_open_to_the_api_server_which_is_no_pod() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    networks: [back]\n    \
                x-macula: {ingress: {host: a, port: 80}, metrics: {port: 9090}}\nnetworks: {back: }\n";
    let policies = of_kind(text, "NetworkPolicy");
    let reached = policies.iter().find(|policy| policy["metadata"]["name"] == "web-reached").unwrap();
    let rules = serde_json::json!([
        {"from": [{"namespaceSelector": {}}], "ports": [{"port": 80, "protocol": "TCP"}]},
        {"ports": [{"port": 9090, "protocol": "TCP"}]},
    ]);
    assert_eq!(reached["spec"]["ingress"], rules);
}

#[test]
fn one_rule_that_strips_makes_patterns_of_all_paths_of_its_host() {
    let paths = |rules: &str| -> Vec<String> {
        let text =
            format!("name: l\nservices: {{web: {{image: x, expose: [80], x-macula: {{ingress: [{rules}]}}}}}}\n");
        let rule = |ingress: &Value| {
            let path = ingress.pointer("/spec/rules/0/http/paths/0").unwrap();
            let said = |key: &str| {
                ingress["metadata"]["annotations"].get(format!("nginx.ingress.kubernetes.io/{key}")).is_some()
            };
            let (matched, rewritten) = (said("use-regex"), said("rewrite-target"));
            assert_eq!(matched, path["pathType"] == "ImplementationSpecific", "{ingress}");
            format!("{}{}", path["path"].as_str().unwrap(), if rewritten { " rewritten" } else { "" })
        };
        of_kind(&text, "Ingress").iter().map(rule).collect()
    };
    let (app, root) = ("{host: a, path: /app, port: 80}", "{host: a, port: 80}");
    assert_eq!(paths(&format!("{app}, {root}")), ["/app", "/"]);
    assert_eq!(
        paths(&format!(
            "{{host: a, path: /v1.0, port: 80, strip: true}}, {app}, {root}, {{host: b, path: /b, port: 80}}"
        )),
        [r"/v1\.0(/|$)(.*) rewritten", "/app(/|$)(.*)", "/", "/b"]
    );
}

#[test]
fn a_rollout_may_take_longer_than_what_its_pods_have_to_be_ready_for() {
    for (delay, timeout, deadline) in [
        ("30s", "", Value::Null),
        ("30s", "2m", serde_json::json!(120)),
        ("5m", "2m", serde_json::json!(900)),
        ("10m", "", serde_json::json!(1200)),
        ("10m", "20m", serde_json::json!(1200)),
    ] {
        let timeout = if timeout.is_empty() { String::new() } else { format!(", timeout: {timeout}") };
        let text = format!(
            "name: l\nservices: {{web: {{image: x, deploy: {{update_config: {{delay: {delay}}}}}, \
             x-macula: {{probe: {{tcp: {{port: 80}}{timeout}}}}}}}}}\n"
        );
        assert_eq!(of_kind(&text, "Deployment")[0]["spec"]["progressDeadlineSeconds"], deadline, "{text}");
    }
}

#[test]
fn a_job_is_tried_again_where_it_says_so() {
    for (restart, tries) in
        [("", 0), (", restart: \"no\"", 0), (", restart: on-failure", 6), (", restart: on-failure:2", 2)]
    {
        let text = format!("name: l\nservices: {{once: {{image: x, x-macula: {{once: true}}{restart}}}}}\n");
        assert_eq!(of_kind(&text, "Job")[0]["spec"]["backoffLimit"], tries, "{restart}");
    }
}

#[test]
fn what_has_the_node_for_itself_ends_before_its_successor_starts() {
    let host = "ports: [{target: 80, published: \"8080\", mode: host}]";
    let first = "update_config: {parallelism: 2, order: start-first}";
    let text = |keys: &str| format!("name: l\nservices: {{web: {{image: x, {keys}}}}}\n");
    let rolling = |surge: i64, unavailable: i64| {
        serde_json::json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    };
    for (keys, strategy) in [
        ("expose: [80]".to_owned(), Value::Null),
        (host.to_owned(), rolling(0, 1)),
        ("deploy: {placement: {max_replicas_per_node: 1}}".to_owned(), rolling(0, 1)),
        (format!("deploy: {{{first}}}"), rolling(2, 0)),
        (format!("{host}, deploy: {{{first}}}"), rolling(0, 2)),
    ] {
        assert_eq!(of_kind(&text(&keys), "Deployment")[0]["spec"]["strategy"], strategy, "{keys}");
        let order = "stops services.web.deploy.update_config.order".to_owned();
        let told = lost(&of(&text(&keys), Target::Kubernetes)).contains(&order);
        assert_eq!(told, keys.contains(host) && keys.contains(first), "{keys}");
    }
    for (keys, strategy) in [
        ("deploy: {mode: global}".to_owned(), Value::Null),
        ("deploy: {mode: global, update_config: {parallelism: 3}}".to_owned(), rolling(0, 3)),
        (format!("deploy: {{mode: global, {first}}}"), rolling(2, 0)),
    ] {
        assert_eq!(of_kind(&text(&keys), "DaemonSet")[0]["spec"]["updateStrategy"], strategy, "{keys}");
    }
    let data = format!("{}volumes: {{data: }}\n", text(&format!("volumes: [\"data:/d\"], deploy: {{{first}}}")));
    let told = lost(&of(&data, Target::Kubernetes));
    let of_update: Vec<&String> = told.iter().filter(|line| line.contains("update_config")).collect();
    let update = "services.web.deploy.update_config";
    assert_eq!(of_update, [&format!("stops {update}.order"), &format!("note {update}.parallelism")]);
    let each = lost(&of(&text("deploy: {mode: global-job}"), Target::Kubernetes));
    assert_eq!(each, ["stops services.web.deploy.mode"]);
}

#[test]
fn objects_of_one_name_are_refused_and_names_in_common_lead_to_all() {
    let rules = "name: l\nservices:\n  web: {image: x, x-macula: {ingress: [{host: a, port: 80}, {host: b, port: 80}]}}\n  \
                 web-2: {image: x, x-macula: {ingress: {host: c, port: 80}}}\n";
    let told = refused(rules, Target::Kubernetes);
    assert!(told.len() == 1 && told[0].starts_with("compose.yaml:4:"), "{told:?}");
    let said = "`web-2` would be the name of 2 objects of kind Ingress, of web and web-2";
    assert!(told[0].contains(said), "{told:?}");
    let volumes = |declared: &str| {
        format!(
            "name: l\nservices: {{web: {{image: x, volumes: [\"a_b:/a\", \"a-b:/b\"]}}}}\nvolumes: {{{declared}}}\n"
        )
    };
    let told = refused(&volumes("a_b: , a-b: "), Target::Kubernetes);
    let said = "`a-b` would be the name of 2 objects of kind PersistentVolumeClaim, of a-b and a_b";
    assert!(told.len() == 1 && told[0].contains(said), "{told:?}");
    // two keys of one volume
    let one = volumes("a_b: {name: d}, a-b: {name: d}");
    assert_eq!(of_kind(&one, "PersistentVolumeClaim").len(), 1);

    let aliases = "name: l\nservices:\n  a: {image: x, expose: [80], networks: {back: {aliases: [api, b, only]}}}\n  \
                   b: {image: x, expose: [81], networks: {back: {aliases: [api]}}}\nnetworks: {back: }\n";
    let services = of_kind(aliases, "Service");
    let names: Vec<&str> = services.iter().filter_map(|service| service["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["a", "only", "b", "api"]);
    let ports: Vec<&Value> =
        services[3]["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["port"]).collect();
    assert_eq!(ports, [80, 81]);
    let selector = services[3]["spec"]["selector"].as_object().unwrap();
    for pods in of_kind(aliases, "Deployment") {
        let labels = &pods["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{labels}");
    }
    assert_eq!(lost(&of(aliases, Target::Kubernetes)), ["stops services.a.networks.back.aliases"]);
}

#[test]
fn a_port_on_all_addresses_of_both_families_is_one() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    ports:\n      - {target: 80, published: \"80\", host_ip: \"0.0.0.0\"}\n      \
                - {target: 80, published: \"80\", host_ip: \"::\"}\n      - {target: 80, published: \"80\", host_ip: \"::\", protocol: udp}\n";
    let services = of_kind(text, "Service");
    let public = services.iter().find(|service| service["metadata"]["name"] == "web-public").unwrap();
    let names: Vec<&Value> = public["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    assert_eq!(names, ["tcp-80", "udp-80"]);
}

/// It refuses one that says how it is updated.
#[test]
fn a_job_of_a_swarm_is_replaced_at_once() {
    let text = "name: l\nx-deploy: &deploy {update_config: {order: start-first}, rollback_config: {parallelism: 2}}\n\
                services:\n  web: {image: x, deploy: *deploy}\n  \
                migrate: {image: x, deploy: *deploy, x-macula: {once: true}}\n";
    let translation = of(text, Target::Swarm);
    let key = "services.migrate.deploy";
    assert_eq!(lost(&translation), [format!("note {key}.update_config"), format!("note {key}.rollback_config")]);
    let Rendered::Swarm(stack) = &translation.rendered else { panic!("not of a swarm") };
    let said = |service: &Value| ["UpdateConfig", "RollbackConfig"].map(|key| service.get(key).is_some());
    assert_eq!(stack.services.iter().map(said).collect::<Vec<_>>(), [[false, false], [true, true]]);
}

#[test]
fn a_swarm_gets_what_is_said_and_nothing_twice() {
    let text = "name: l\nservices:\n  a: {image: x, restart: \"no\", shm_size: 1g, tmpfs: [/dev/shm], networks: [node]}\n  \
                b: {image: x, shm_size: 1g, networks: [other]}\n  \
                c: {image: x, deploy: {restart_policy: {condition: unless-stopped}}}\n\
                networks: {node: {external: true, name: host}, other: {external: true}}\n";
    let translation = of(text, Target::Swarm);
    strict_all(&translation);
    let Rendered::Swarm(stack) = translation.rendered else { panic!("not a swarm's") };
    assert_eq!(stack.external_networks, ["other"], "each node has the other one");
    let task = |index: usize, pointer: &str| stack.services[index]["TaskTemplate"].pointer(pointer).cloned();
    assert_eq!(task(0, "/RestartPolicy"), Some(serde_json::json!({"Condition": "none"})));
    assert_eq!(task(1, "/RestartPolicy"), None, "what says nothing is started again");
    assert_eq!(task(2, "/RestartPolicy"), Some(serde_json::json!({"Condition": "any"})));
    let mounts = |index: usize| task(index, "/ContainerSpec/Mounts").unwrap().as_array().unwrap().len();
    assert_eq!((mounts(0), mounts(1)), (1, 1));
    assert_eq!(task(0, "/Networks"), Some(serde_json::json!([{"Target": "host"}])));
    assert_eq!(task(1, "/Networks"), Some(serde_json::json!([{"Target": "other", "Aliases": ["b"]}])));
}

#[test]
fn what_cannot_run_there_is_refused_with_its_place() {
    let long = "a".repeat(62);
    let text = format!(
        "services:\n  Web_1: {{image: x}}\n  {long}: {{image: x}}\n  db:\n    image: x\n    deploy: {{replicas: 2}}\n    volumes: [\"data:/d\"]\n  api: {{image: x, x-macula: {{scale: {{max: 3}}}}}}\nvolumes: {{data: }}\n"
    );
    insta::assert_snapshot!(refused(&text, Target::Kubernetes).join("\n"), @r#"
    compose.yaml:2:18: `Web_1` cannot be the name of a Service of Kubernetes
        use at most 63 lower-case letters, digits and inner dashes, with a letter first
    compose.yaml:8:43: api is to be scaled by its CPU, of which it reserves none
        set `deploy.resources.reservations.cpus`, such as "0.1"
    compose.yaml:7:15: several replicas of db write the volume data
        run one replica, make the volume read_only, or keep the data in a service of its own
    "#);
    insta::assert_snapshot!(refused(&text, Target::Swarm).join("\n"), @r#"
    compose.yaml:3:75: `w_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is too long for the name of a service of Swarm
        use at most 63 characters, the stack's name included
    "#);
}

#[test]
fn a_name_with_dots_is_refused_at_its_place() {
    let text = "name: l\nservices:\n  web: {image: x}\n  a.b: {image: x, cpuset: \"0\", volumes: [\"./x:/x\"]}\n";
    let of = |one: &Said| one.key == "services.*.cpuset" && one.service.as_deref() == Some("a.b");
    assert!(loaded(text).unwrap().said("l").iter().any(of));
    let refused: Vec<String> = RULED.into_iter().flat_map(|target| refused(text, target)).collect();
    insta::assert_snapshot!(refused.join("\n"), @"
    compose.yaml:4:16: `l_a.b` cannot be the name of a service of Swarm
        use letters, digits, dashes and underscores, with a letter or a digit at the end
    compose.yaml:4:16: `a.b` cannot be the name of a Service of Kubernetes
        use at most 63 lower-case letters, digits and inner dashes, with a letter first
    ");
}

#[test]
fn a_name_leaves_room_for_what_the_cluster_makes_of_it() {
    let needed = "n".repeat(63);
    let text = |data: &str, public: &str| {
        format!(
            "services:\n  {data}: {{image: x, volumes: [\"data:/d\"]}}\n  {public}: {{image: x, ports: [\"0.0.0.0:80:80\"]}}\n  \
             {needed}: {{image: x}}\n  web: {{image: x, depends_on: [{needed}, {data}]}}\nvolumes: {{data: }}\n"
        )
    };
    let (data, public) = ("d".repeat(52), "p".repeat(56));
    let web = of_kind(&text(&data, &public), "Deployment").pop().unwrap();
    let waits = web.pointer("/spec/template/spec/initContainers").unwrap().as_array().unwrap();
    let waits: Vec<&str> = waits.iter().filter_map(|container| container["name"].as_str()).collect();
    assert_eq!(waits, [format!("wait-for-{data}").as_str(), "wait-for-1"]);
    let (data, public) = (format!("{data}d"), format!("{public}p"));
    let told = [
        format!(
            "compose.yaml:3:70: `{public}` is too long for a service with a port on all addresses on Kubernetes\n    \
             use at most 56 characters"
        ),
        format!(
            "compose.yaml:2:66: `{data}` is too long for a service with a volume on Kubernetes\n    \
             use at most 52 characters"
        ),
    ];
    assert_eq!(refused(&text(&data, &public), Target::Kubernetes), told);
}

#[test]
fn an_alias_that_no_service_may_have_is_lost_and_a_namespace_may_be_another() {
    let text = "name: my_shop\nservices:\n  a: {image: x, networks: {default: {aliases: [a.example, other]}}}\n";
    let told = |namespace: Option<&'static str>| -> Vec<String> {
        let options = Options { namespace, ..OPTIONS };
        let translation = match translated(&loaded(text).unwrap(), Target::Kubernetes, &options) {
            Ok(translation) => translation,
            Err(TargetError::Refused { refusals, .. }) => return refusals.iter().map(ToString::to_string).collect(),
            Err(error) => panic!("{error}"),
        };
        let Rendered::Kubernetes(objects) = &translation.rendered else { panic!("not of Kubernetes") };
        let services = objects.iter().filter(|object| object["kind"] == "Service");
        let names = services.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned());
        said_of_losses(&translation).into_iter().chain(names).collect()
    };
    insta::assert_snapshot!([None, Some("a_b"), Some("my-shop")].map(told).concat().join("\n"), @"
    compose.yaml:1:7: `my_shop` cannot be the name of a namespace
        choose another one with `--namespace my-shop`
    `a_b` cannot be the name of a namespace
        choose another one with `--namespace a-b`
    stops compose.yaml:3:47: services.a.networks.default.aliases: `a.example` cannot be the name of a Service, and leads nowhere there: write lower-case letters, digits and dashes
    a
    other
    ");
}

#[test]
fn the_socket_of_an_engine_is_that_of_each_node_of_a_swarm() {
    let text = "name: l\nservices:\n  agent:\n    image: x\n    volumes: [\"/var/run/docker.sock:/var/run/docker.sock\", \"/srv/docker.sock:/s\"]\n";
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Swarm)).join("\n"), @r#"
    stops compose.yaml:5:60: services.agent.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:5:60: services.agent.volumes[1].bind.create_host_path: the path must be there
    "#);
    let lost = said_of_losses(&of(text, Target::Kubernetes));
    assert_eq!(lost.iter().filter(|loss| loss.starts_with("stops")).count(), 2, "{lost:#?}");
    let Rendered::Swarm(stack) = of(text, Target::Swarm).rendered else { panic!("not a swarm's") };
    let mount = &stack.services[0]["TaskTemplate"]["ContainerSpec"]["Mounts"][0];
    assert!(mount["Type"] == "bind" && mount["Source"] == "/var/run/docker.sock", "{mount}");
}

#[test]
fn losses_have_their_places() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    privileged: true\n    network_mode: host\n    restart: \"no\"\n    \
                volumes: [\"./src:/app\", \"/etc/hosts:/h:ro\"]\n    ports: [\"127.0.0.1:80:80\"]\n    user: www\n";
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Kubernetes)).join("\n"), @r#"
    stops compose.yaml:5:17: services.web.privileged: pods would own the node; add capabilities
    stops compose.yaml:6:19: services.web.network_mode: pods would have the node's own network, with every port of it
    note compose.yaml:7:14: services.web.restart: pods of services always start again; a job is tried again where it says `on-failure`
    stops compose.yaml:8:15: services.web.volumes[0].type: the path would be one of each node; make the file a config, or the folder a volume
    stops compose.yaml:8:29: services.web.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:9:13: services.web.ports[0].host_ip: the port is open inside the cluster only; `kubectl port-forward` leads to it
    note compose.yaml:9:13: services.web.ports[0].published: the port is open inside the cluster only, under its number in the container; an ingress rule or `kubectl port-forward` leads to it
    stops compose.yaml:10:11: services.web.user: pods take a number: write `user: "1000:1000"`
    "#);
    insta::assert_snapshot!(said_of_losses(&of(text, Target::Swarm)).join("\n"), @r#"
    stops compose.yaml:5:17: services.web.privileged: Swarm has no privileged containers; add capabilities
    stops compose.yaml:6:19: services.web.network_mode: Swarm has networks only; list them under `networks`
    stops compose.yaml:8:15: services.web.volumes[0].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:8:15: services.web.volumes[0].bind.create_host_path: the path must be there
    stops compose.yaml:8:29: services.web.volumes[1].type: the path would be one of each node; make the file a config, or the folder a volume
    note compose.yaml:8:29: services.web.volumes[1].bind.create_host_path: the path must be there
    stops compose.yaml:9:13: services.web.ports[0].host_ip: Swarm publishes on every address of the nodes; leave the port out, or put an edge proxy in front
    "#);
}

#[test]
fn images_of_builds_are_in_a_registry_that_nodes_reach() {
    for (image, want) in [
        ("shop:1", "r.test/shop:1"),
        ("shop/web:1", "r.test/shop/web:1"),
        ("127.0.0.1:5001/web:1", "r.test/web:1"),
        ("localhost/web:1", "r.test/web:1"),
        ("ghcr.io/me/web:1", "ghcr.io/me/web:1"),
        ("registry.macula.local/web:1", "registry.macula.local/web:1"),
        ("docker.io/library/web:1", "docker.io/library/web:1"),
    ] {
        assert_eq!(in_registry(image, "r.test"), want, "{image}");
    }
}

#[test]
fn secrets_are_shown_only_where_they_are_asked_for() {
    let loaded = loaded(SHOP).unwrap();
    let stack = loaded.platform.stacks.last().unwrap();
    let secrets = placeholders(&loaded.platform);
    let text = |options: &Options<'_>| {
        let translation =
            translate(Target::Kubernetes, &loaded.platform, stack, &loaded.said(&stack.name), &secrets, options);
        let Rendered::Kubernetes(objects) = translation.unwrap().rendered else { panic!() };
        yaml(&objects)
    };
    use base64::Engine as _;
    let key = base64::engine::general_purpose::STANDARD.encode("key");
    assert!(!text(&OPTIONS).contains(&key) && text(&OPTIONS).contains(HIDDEN));
    assert!(text(&OPEN).contains(&key));
}

#[test]
fn a_deployment_that_waits_loses_no_order() {
    let text = "services: {a: {image: \"z:1\", depends_on: [b]}, b: {image: \"z:1\"}}";
    let waits = |options: &Options<'_>| translated(&loaded(text).unwrap(), Target::Swarm, options).unwrap();
    let files = waits(&OPTIONS);
    assert_eq!(files.losses.iter().filter(|loss| loss.behavior).count(), 1);
    let deployed = waits(&Options { waiting: None, ..OPTIONS });
    insta::assert_snapshot!(said_of_losses(&deployed).join("\n"), @"note compose.yaml:1:43: services.a.depends_on: it counts while the stack is deployed; a task that is started again later waits for nobody");
    assert_eq!(deployed.waits["a"], ["b"]);
    // what else it cannot do still counts
    let pinned = loaded("services: {a: {image: \"z:1\", cpuset: \"0\"}}").unwrap();
    let deployed = translated(&pinned, Target::Swarm, &Options { waiting: None, ..OPTIONS }).unwrap();
    assert!(deployed.losses.iter().any(|loss| loss.behavior), "{:?}", deployed.losses);
}

#[test]
fn nobody_waits_until_a_job_takes_connections() {
    let text = "name: l\nservices:\n  migrate: {image: x, x-macula: {once: true}}\n  \
                api: {image: x, depends_on: {migrate: {condition: service_healthy}}}\n  \
                web: {image: x, depends_on: [migrate]}\n";
    let pods = of_kind(text, "Deployment");
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod.pointer("/spec/template/spec/initContainers").is_none()), "{pods:?}");
    let told = lost(&of(text, Target::Kubernetes)).into_iter().filter(|line| line.contains("depends_on"));
    assert_eq!(told.collect::<Vec<_>>(), ["stops services.api.depends_on.migrate"]);
}

#[test]
fn data_in_a_volume_without_a_name_is_told() {
    let text = "services: {db: {image: \"z:1\", volumes: [\"/var/lib/mysql\"]}}";
    let told = RULED.map(|target| said_of_losses(&of(text, target)).join("\n"));
    insta::assert_snapshot!(told.join("\n"), @"
    note compose.yaml:1:41: services.db.volumes: what is written to /var/lib/mysql goes with its task; give the volume a name
    note compose.yaml:1:41: services.db.volumes: what is written to /var/lib/mysql goes with its pod; give the volume a name
    ");
}

#[test]
fn an_address_with_two_names_is_one_alias() {
    let text =
        "services: {a: {image: \"z:1\", extra_hosts: [\"b.test:10.0.0.1\", \"c.test:10.0.0.2\", \"d.test:10.0.0.1\"]}}";
    let Rendered::Kubernetes(objects) = of(text, Target::Kubernetes).rendered else { panic!() };
    let aliases = objects.iter().find_map(|object| object.pointer("/spec/template/spec/hostAliases")).unwrap();
    let want = serde_json::json!([
        {"ip": "10.0.0.1", "hostnames": ["b.test", "d.test"]}, {"ip": "10.0.0.2", "hostnames": ["c.test"]},
    ]);
    assert_eq!(*aliases, want);
}

#[test]
fn what_an_api_server_would_refuse_is_left_out_or_told() {
    let text = "name: l\nservices:\n  web:\n    image: x\n    hostname: www.shop.test\n    shm_size: 1g\n    tmpfs: [/dev/shm]\n    \
                labels: {\"tls.domains[0].main\": a, \"Shop.Test/team\": b, \"a/b/c\": c}\n    \
                deploy: {placement: {preferences: [{spread: node.labels.zone}, {spread: node.labels.zone}]}}\n";
    let translation = of(text, Target::Kubernetes);
    insta::assert_snapshot!(said_of_losses(&translation).join("\n"), @r#"
    stops compose.yaml:5:15: services.web.hostname: `www.shop.test` cannot be the host name of a pod: write lower-case letters, digits and dashes
    note compose.yaml:8:13: services.web.labels: `a/b/c` cannot be the name of an annotation; it is left out
    note compose.yaml:8:13: services.web.labels: `tls.domains[0].main` cannot be the name of an annotation; it is left out
    "#);
    strict_all(&translation);
    let Rendered::Kubernetes(objects) = translation.rendered else { panic!() };
    let web = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    assert_eq!(web["spec"]["template"]["metadata"]["annotations"], serde_json::json!({"Shop.Test/team": "b"}));
    assert_eq!(web["spec"]["template"]["spec"]["hostname"], Value::Null);
    assert_eq!(web["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap().len(), 1);

    let ports = "services:\n  web:\n    image: x\n    ports:\n      - {target: 80, published: \"8080\", mode: host}\n      \
                 - {target: 80, published: \"8081\", mode: host}\n      - {target: 80, published: \"8081\", mode: host, protocol: udp}\n";
    insta::assert_snapshot!(refused(ports, Target::Kubernetes).join("\n"), @r#"
    compose.yaml:5:18: several ports of the nodes lead to port 80 of web
        publish it under one number
    "#);
}

#[test]
fn a_claim_is_as_large_as_docker_would_make_it() {
    for (said, size) in [
        ("100m", "100Mi"),
        ("2gb", "2Gi"),
        ("2GB", "2Gi"),
        ("1t", "1Ti"),
        ("512b", "512"),
        ("4096", "4096"),
        ("20Gi", "20Gi"),
        ("20G", "20G"),
        ("all", "all"),
    ] {
        let text = format!(
            "services: {{a: {{image: \"z:1\", volumes: [\"data:/v\"]}}}}\nvolumes: {{data: {{driver_opts: {{size: \"{said}\"}}}}}}\n"
        );
        let Rendered::Kubernetes(objects) = of(&text, Target::Kubernetes).rendered else { panic!() };
        let claim = objects.iter().find(|object| object["kind"] == "PersistentVolumeClaim").unwrap();
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], size, "{said}");
    }
}

/// Its ports, volumes and names are not those of where a stack runs, whatever the platform here is called.
#[test]
fn what_this_machine_has_changes_nothing_of_a_stack() {
    let text = "name: edge\nservices:\n  edge:\n    image: x\n    \
                ports: [\"80:80\", \"0.0.0.0:443:8443\", \"0.0.0.0:5432:5432\", \"127.0.0.1:9000:9000\"]\n    \
                volumes: [\"postgres:/p\", \"grafana:/g\"]\n    x-macula: {ingress: {host: edge, port: 80}}\n  \
                api: {image: x, expose: [\"9001\"]}\nvolumes: {postgres: , grafana: }\n";
    for name in ["macula", "w2"] {
        let name = crate::model::PlatformName::near(name);
        let request = Request { name, stacks: Vec::new(), only_own: false, discover: true, ..request("") };
        let loaded = load(&request, &sample_files(text)).unwrap_or_else(|errors| panic!("{errors}"));
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(!told.iter().any(|line| line.contains("compose.yaml")), "{told:?}");
        let Rendered::Swarm(stack) = translated(&loaded, Target::Swarm, &OPTIONS).unwrap().rendered else { panic!() };
        let edge = stack.services.iter().find(|service| service["Name"] == "edge_edge").unwrap();
        let all = |at: &str, key: &str| -> Vec<Value> {
            edge.pointer(at).unwrap().as_array().unwrap().iter().map(|one| one[key].clone()).collect()
        };
        assert_eq!(all("/EndpointSpec/Ports", "PublishedPort"), [80, 443, 5432, 9000]);
        assert_eq!(all("/TaskTemplate/ContainerSpec/Mounts", "Source"), ["edge_postgres", "edge_grafana"]);
        let Rendered::Kubernetes(objects) = translated(&loaded, Target::Kubernetes, &OPTIONS).unwrap().rendered else {
            panic!()
        };
        let names = |kind: &str| -> Vec<&str> {
            let objects = objects.iter().filter(|object| object["kind"] == kind);
            objects.filter_map(|object| object["metadata"]["name"].as_str()).collect()
        };
        assert_eq!(names("PersistentVolumeClaim"), ["grafana", "postgres"]);
        // nobody asked for one for the port that is only exposed
        assert_eq!(names("Ingress"), ["edge"]);
        let public = objects.iter().find(|object| object["metadata"]["name"] == "edge-public").unwrap();
        let ports = public["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].clone());
        assert_eq!(ports.collect::<Vec<_>>(), [443, 5432]);
    }
}

#[test]
fn what_a_target_does_as_said_is_no_loss() {
    let text = |said: &str| {
        format!("name: l\nservices: {{web: {{image: x, {said}}}}}\nvolumes: {{there: {{external: true}}}}\n")
    };
    let stops = "stops services.web.entrypoint";
    for (said, swarm, kubernetes) in [
        ("restart: 'no', x-macula: {once: true}", "", ""),
        ("restart: 'on-failure:3', x-macula: {once: true}", "", ""),
        ("ports: [{target: 9100, published: '9101', mode: host}]", "", ""),
        ("ports: ['0.0.0.0:7777:7777']", "", ""),
        ("volumes: ['there:/d']", "note services.web.volumes", ""),
        ("sysctls: {net.ipv4.tcp_syncookies: 1}", "", ""),
        ("sysctls: {net.core.somaxconn: 1024}", "", "note services.web.sysctls"),
        ("entrypoint: [], command: [sleep, '9']", "", ""),
        ("entrypoint: []", stops, stops),
    ] {
        let told = RULED.map(|target| lost(&of(&text(said), target)).join(", "));
        assert_eq!(told, [swarm, kubernetes], "{said}");
    }
}

/// To Docker and Kubernetes an empty list is the image's own.
#[test]
fn an_empty_entrypoint_leaves_the_command_alone() {
    let text = "name: l\nservices: {web: {image: x, entrypoint: [], command: [sleep, '9']}}\n";
    let Rendered::Swarm(stack) = of(text, Target::Swarm).rendered else { panic!("not a swarm's") };
    let container = &stack.services[0]["TaskTemplate"]["ContainerSpec"];
    let words = serde_json::json!(["sleep", "9"]);
    assert_eq!((&container["Command"], &container["Args"]), (&words, &Value::Null));
    let container = &of_kind(text, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["command"], &container["args"]), (&words, &Value::Null));
}
