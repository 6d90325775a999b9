//! The settings that are in force, as a macula.yaml that says the same.

use serde_json::{Map, Value, json};

use super::file::Settings;
use super::processes::policy_text;
use crate::config::Loaded;
use crate::config::yaml::format_duration;
use crate::model::{MachineTask, Origin, Process, ReachSetting, TelemetrySettings};
use crate::render;

/// Everything that the files, the command line and the environment say, and the defaults where they say
/// nothing: what macula.yaml takes, key for key.
pub fn in_force(loaded: &Loaded) -> Value {
    let platform = &loaded.platform;
    let Settings { built_in, services, .. } = &loaded.settings;
    let shipped: Vec<&str> = render::stacks()
        .into_iter()
        .chain(render::catalog())
        .filter_map(|(file, _)| file.strip_suffix(".yaml"))
        .collect();
    let stacks: Vec<String> = loaded
        .projects
        .iter()
        // a file in the place of a built-in stack is found by its name
        .filter(|project| !shipped.contains(&project.name.as_str()))
        .filter_map(|project| match &project.origin {
            Origin::File(path) => Some(path.display().to_string()),
            Origin::BuiltIn => None,
        })
        .collect();
    let services: Map<String, Value> = services
        .iter()
        .map(|(name, change)| {
            let enabled = change.disabled.then_some(false);
            let one = json!({
                "enabled": enabled,
                "image": change.image,
                "environment": change.environment,
                "memory": change.memory,
            });
            (name.clone(), filled(one))
        })
        .collect();
    let cluster = &platform.cluster;
    // without a word the cluster is there where it can be
    let enabled = (cluster.required || !cluster.enabled).then_some(cluster.enabled);
    filled(json!({
        "name": platform.name,
        "domain": platform.domain,
        "profiles": loaded.profiles,
        "add": loaded.settings.add.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "stacks": stacks,
        "built_in": built_in.iter().map(|(name, there, _)| (name.clone(), json!(there))).collect::<Map<_, _>>(),
        "services": services,
        "images": filled(json!({
            "policy": platform.images.policy,
            "sources": platform.images.sources,
            "overrides": platform.images.overrides,
        })),
        "ingress": platform.ingress,
        "addresses": filled(json!({"block": platform.addresses.block, "subnet": platform.addresses.subnet})),
        "reach": match platform.reach {
            ReachSetting::Auto => None,
            ReachSetting::Only(way) => Some(way),
        },
        "ports": loaded.remap.then_some("remap"),
        "dns": filled(json!({
            "listen": platform.dns.listen,
            "dot": platform.dns.dot,
            "doh": platform.dns.doh,
            "upstream": platform.dns.upstream,
            "rebind_allow": platform.dns.rebind_allow,
        })),
        "cluster": filled(json!({
            "enabled": enabled,
            "name": cluster.name,
            "provider": cluster.provider,
            "program": cluster.program,
            "node_image": cluster.node_image,
            "control_planes": cluster.control_planes,
            "workers": cluster.workers,
            "ingress": cluster.ingress,
            "timeout": span(cluster.timeout),
            "feature_gates": cluster.feature_gates,
            "addons": cluster.addons,
            "udp_services": cluster.udp_services,
        })),
        "telemetry": match &platform.telemetry {
            usual if *usual == TelemetrySettings::default() => None,
            set => Some(json!({"mode": set.mode, "size": set.size, "age": span(set.age)})),
        },
        "lease": filled(json!({"time": platform.lease.time.map(span), "idle": platform.lease.idle.map(span)})),
        "processes": platform.processes.iter().map(|(name, one)| (name.clone(), process(one))).collect::<Map<_, _>>(),
        "tasks": platform.tasks.iter().map(|(name, one)| (name.clone(), task(one))).collect::<Map<_, _>>(),
        "timeouts": {"healthy": span(platform.timeouts.healthy), "image": span(platform.timeouts.image)},
    }))
}

fn process(process: &Process) -> Value {
    let probe = process.probe.as_ref().map(|probe| {
        filled(json!({
            "http": probe.path.as_ref().map(|path| json!({"path": path})),
            "timeout": probe.timeout.map(span),
        }))
    });
    let watch: Vec<Value> = process
        .watch
        .iter()
        .map(|rule| filled(json!({"path": rule.path, "include": rule.include, "ignore": rule.ignore})))
        .collect();
    let mut shown = filled(json!({
        "command": process.command,
        "cwd": process.folder,
        "needs": process.needs,
        "port": process.port,
        "env": process.environment,
        "env_file": process.env_files,
        "watch": watch,
        "restart": policy_text(&process.restart),
        "stop_grace_period": span(process.stop_grace_period),
    }));
    if let Value::Object(map) = &mut shown {
        // an empty list says something, and so does an empty mapping
        map.insert("ingress".to_owned(), json!(process.hosts));
        map.extend(probe.map(|probe| ("probe".to_owned(), probe)));
    }
    shown
}

fn task(task: &MachineTask) -> Value {
    let changed: Vec<&String> = task.changed.keys().collect();
    let mut shown = filled(json!({
        "run": task.command,
        "cwd": task.folder,
        "before": task.before,
        "when": filled(json!({"changed": changed})),
        "env": task.environment,
        "env_file": task.env_files,
        "timeout": span(task.timeout),
    }));
    if let (Value::Object(map), Some(after)) = (&mut shown, &task.after) {
        // an empty list says something
        map.insert("after".to_owned(), json!(after));
    }
    shown
}

fn span(duration: std::time::Duration) -> String {
    format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Without what is not there: null, and empty lists and mappings.
fn filled(value: Value) -> Value {
    let Value::Object(mut map) = value else { return value };
    map.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};

    const FILE: &str = "
name: pr-1
domain: dev.example.com
profiles: [core, full]
stacks: [shop]
built_in: {draw: false}
services: {web: {image: 'nginx:2', memory: 64m, environment: {A: '1', B: null}}, registry-ui: {enabled: false}}
images: {policy: local, sources: {docker.io: [mirror.gcr.io]}, overrides: {'a:1': 'b:2'}}
ingress: {redirect: true, http: 8080, https: 8443}
addresses: {block: 127.80.5.0, subnet: 172.28.0.0/24}
ports: remap
dns: {listen: ['127.0.0.9:53'], upstream: [1.1.1.1], rebind_allow: [plex.direct]}
cluster: {enabled: true, name: c, node_image: n, control_planes: 3, workers: 2, ingress: traefik, timeout: 90s, feature_gates: {X: true}, addons: [alloy], udp_services: {4433: 'a/b:1'}}
telemetry: {mode: embedded, size: 64m, age: 24h}
lease: {time: 8h, idle: 30m}
processes:
  site: {command: npm run dev, cwd: shop, needs: [site-db], ingress: [shop, api.shop], port: 3000, probe: {http: {path: /up}, timeout: 30s}, env: {A: '1', B: null}, env_file: shop/compose.yaml, watch: [{path: shop, ignore: ['*.md']}], restart: on-failure:3, stop_grace_period: 2s}
  site-db: {command: [./db, '--fast'], ingress: []}
tasks:
  migrate: {run: npm run migrate, cwd: shop, after: [], before: web, when: {changed: shop}, env: {A: '1', B: null}, env_file: shop/compose.yaml, timeout: 2m}
timeouts: {healthy: 1m30s, image: 1h}
";

    fn run(text: &str) -> Loaded {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", text)
            .with("/p/shop/compose.yaml", "services: {web: {image: nginx, profiles: [full]}}");
        load(&Request { cwd: "/p".into(), ..Request::default() }, &files).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn what_is_shown_is_a_macula_yaml_that_says_the_same() {
        for text in [FILE, "cluster: {enabled: false}", "{}"] {
            let first = run(text);
            let shown = serde_yaml::to_string(&in_force(&first)).unwrap();
            let second = run(&shown);
            assert_eq!(second.platform, first.platform, "{shown}");
            assert_eq!(in_force(&second), in_force(&first));
        }
    }

    #[test]
    fn every_setting_is_shown() {
        insta::assert_snapshot!(serde_yaml::to_string(&in_force(&run(FILE))).unwrap(), @"
        name: pr-1
        domain: dev.example.com
        profiles:
        - core
        - full
        stacks:
        - /p/shop/compose.yaml
        built_in:
          draw: false
        services:
          registry-ui:
            enabled: false
          web:
            image: nginx:2
            environment:
              A: '1'
              B: null
            memory: 67108864
        images:
          policy: local
          sources:
            docker.io:
            - mirror.gcr.io
          overrides:
            a:1: b:2
        ingress:
          redirect: true
          http: 8080
          https: 8443
        addresses:
          block: 127.80.5.0
          subnet: 172.28.0.0/24
        ports: remap
        dns:
          listen:
          - 127.0.0.9:53
          upstream:
          - 1.1.1.1
          rebind_allow:
          - plex.direct
        cluster:
          enabled: true
          name: c
          provider: kind
          node_image: n
          control_planes: 3
          workers: 2
          ingress: traefik
          timeout: 1m30s
          feature_gates:
            X: true
          addons:
          - alloy
          udp_services:
            '4433': a/b:1
        telemetry:
          mode: embedded
          size: 67108864
          age: 24h0m0s
        lease:
          time: 8h0m0s
          idle: 30m0s
        processes:
          site:
            command:
            - sh
            - -c
            - npm run dev
            cwd: /p/shop
            needs:
            - site-db
            port: 3000
            env:
              A: '1'
              B: null
            env_file:
            - /p/shop/compose.yaml
            watch:
            - path: /p/shop
              ignore:
              - '*.md'
            restart: on-failure:3
            stop_grace_period: 2s
            ingress:
            - shop
            - api.shop
            probe:
              http:
                path: /up
              timeout: 30s
          site-db:
            command:
            - ./db
            - --fast
            cwd: /p
            restart: on-failure
            stop_grace_period: 10s
            ingress: []
        tasks:
          migrate:
            run:
            - sh
            - -c
            - npm run migrate
            cwd: /p/shop
            before:
            - web
            when:
              changed:
              - shop
            env:
              A: '1'
              B: null
            env_file:
            - /p/shop/compose.yaml
            timeout: 2m0s
            after: []
        timeouts:
          healthy: 1m30s
          image: 1h0m0s
        ");
    }
}
