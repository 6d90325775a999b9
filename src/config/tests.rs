use std::time::Duration;

use super::*;
use crate::model::PlatformName;
use crate::model::*;

const WEB: &str = "services: {web: {image: nginx}}\n";

fn request() -> Request {
    Request {
        cwd: PathBuf::from("/home/dev"),
        config_folder: Some(PathBuf::from("/home/u/.config/macula")),
        env: [("HOME".to_owned(), "/home/u".to_owned())].into(),
        ..Request::default()
    }
}

fn with_stack(text: &str) -> (Request, MemoryFiles) {
    let request = Request { stacks: vec![PathBuf::from("compose.yaml")], ..request() };
    (request, MemoryFiles::default().with("/home/dev/compose.yaml", text))
}

/// Loads without built-in stacks.
fn run(request: &Request, files: &MemoryFiles) -> Result<Loaded, ConfigErrors> {
    load_with(request, files, &[])
}

fn one(text: &str) -> Service {
    let (request, files) = with_stack(text);
    let loaded = run(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.platform.services().next().map(|(_, service)| service.clone()).unwrap()
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_at_all_is_the_default_platform() {
    let loaded = run(&request(), &MemoryFiles::default()).unwrap();
    assert_eq!(loaded.platform.name, "macula");
    assert_eq!(loaded.platform.domain, "macula.local");
    assert_eq!(loaded.platform.stacks, vec![]);
    assert_eq!(loaded.config_file, None);
    assert_eq!(loaded.warnings, vec![]);
}

#[test]
fn macula_yaml_is_found_where_it_is_looked_for() {
    let home = MemoryFiles::default().with("/home/u/.config/macula/macula.yaml", "name: home\n");
    assert_eq!(run(&request(), &home).unwrap().platform.name, "home");
    let both = home.with("/home/dev/macula.yaml", "name: here\n").with("/home/dev/sub/other.yaml", "name: other\n");
    assert_eq!(run(&request(), &both).unwrap().platform.name, "here");
    let given = Request { file: Some("sub/other.yaml".into()), ..request() };
    assert_eq!(run(&given, &both).unwrap().platform.name, "other");
    let missing = Request { file: Some("nothing.yaml".into()), ..request() };
    insta::assert_snapshot!(run(&missing, &both).unwrap_err(), @r"
    nothing.yaml: there is no such file
        check --file; without it ./macula.yaml is taken if it is there
    ");
}

#[test]
fn what_turns_out_to_be_wrong_later_has_a_place() {
    let (request, files) = with_stack(
        "services:\n  web:\n    image: nginx\n    ports:\n      - 80:80\n      - \"8080:81\"\n    deploy: {resources: \
         {limits: {memory: 64m}}}\n  db: {image: postgres}\n",
    );
    let loaded = run(&request, &files).unwrap();
    let at = |service: &str, keys: &[&str]| {
        let found = loaded.at(service, keys, "wrong").unwrap();
        format!("{found} {}", found.source.as_deref().unwrap().trim())
    };
    assert_eq!(at("web", &["image"]), "compose.yaml:3:12: wrong image: nginx");
    assert_eq!(at("web", &["mem_limit", "deploy.resources.limits.memory"]).split(':').nth(1), Some("7"));
    assert_eq!(at("db", &["build"]), "compose.yaml:8:3: wrong db: {image: postgres}");
    assert_eq!(loaded.at("nobody", &["image"], "wrong"), None);
    let port = |port| loaded.at_port("web", port, "taken").unwrap().to_string();
    assert_eq!(port(8080), "compose.yaml:6:9: taken");
    assert_eq!(port(80), "compose.yaml:5:9: taken");
    assert_eq!(port(7), "compose.yaml:5:7: taken");
}

#[test]
fn every_platform_has_a_zone_of_its_own() {
    let zone = |file: &str, name: Option<&str>| {
        let files = MemoryFiles::default().with("/home/dev/macula.yaml", file);
        let loaded =
            run(&Request { name: name.map(|name| PlatformName::new(name).unwrap()), ..request() }, &files).unwrap();
        format!("{} {} {}", loaded.platform.name, loaded.platform.domain, loaded.platform.name.prefix())
    };
    assert_eq!(zone("", None), "macula macula.local macula");
    assert_eq!(zone("", Some("pr-1")), "pr-1 pr-1.macula.local macula-pr-1");
    assert_eq!(zone("name: dev", None), "dev dev.macula.local macula-dev");
    assert_eq!(zone("{name: dev, domain: dev.test}", None), "dev dev.test macula-dev");
    assert_eq!(zone("domain: dev.test", Some("pr-1")), "pr-1 pr-1.dev.test macula-pr-1");
    let wrong = MemoryFiles::default().with("/home/dev/macula.yaml", "name: Not A Label");
    insta::assert_snapshot!(run(&request(), &wrong).unwrap_err(), @r"
    macula.yaml:1:7: name: `Not A Label` is not a valid name: use at most 40 lower-case letters, digits and inner dashes
        for example `not-a-label`
    ");
}

#[test]
fn built_in_stacks_come_first_and_can_be_replaced() {
    let built_in = [
        ("a.yaml", "services: {a: {image: a}}"),
        ("b.yaml", "services: {b: {image: b, x-macula: {configs: {/b: t.j2}}}}"),
    ];
    let files = MemoryFiles::default()
        .with("/home/dev/shop/compose.yaml", WEB)
        .with("/home/dev/macula.yaml", "stacks: [shop]")
        .with("/home/u/.config/macula/stacks/a.yaml", "services: {a: {image: own}}")
        .with("/home/u/.config/macula/templates/t.j2", "own {{ domain }}");
    let loaded = load_with(&request(), &files, &built_in).unwrap();
    let seen: Vec<String> = loaded
        .platform
        .services()
        .map(|(stack, service)| format!("{} {:?} {}", stack.name, stack.origin, service.image.as_deref().unwrap()))
        .collect();
    insta::assert_snapshot!(seen.join("\n"), @r#"
    a File("/home/u/.config/macula/stacks/a.yaml") own
    b BuiltIn b
    shop File("/home/dev/shop/compose.yaml") nginx
    "#);
    assert_eq!(loaded.platform.service("b").unwrap().1.extension.configs["/b"].source, "own {{ domain }}");
    assert_eq!(loaded.projects.len(), 3);
}

#[test]
fn the_same_stack_twice_is_there_once() {
    let files = MemoryFiles::default()
        .with("/home/dev/compose.yaml", WEB)
        .with("/home/dev/macula.yaml", "stacks: [., compose.yaml]");
    let request = Request { stacks: vec![".".into()], ..request() };
    assert_eq!(run(&request, &files).unwrap().platform.stacks.len(), 1);
}

#[test]
fn stacks_have_names_of_their_own() {
    let files = MemoryFiles::default().with("/home/dev/a/x/compose.yaml", WEB).with("/home/dev/b/x/compose.yaml", WEB);
    let request = Request { stacks: vec!["a/x".into(), "b/x".into()], ..request() };
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @r"
    b/x/compose.yaml:1:1: two stacks have the name `x`: the other is a/x/compose.yaml:1:1
        give one of them another `name:` at its top
    ");
}

#[test]
fn our_variables_are_known_to_every_stack() {
    let (request, files) =
        with_stack("services: {web: {image: '$MACULA_NAME/$MACULA_DOMAIN/$MACULA_PREFIX/$COMPOSE_PROJECT_NAME'}}");
    let request = Request { name: Some(PlatformName::new("x").unwrap()), ..request };
    let loaded = run(&request, &files).unwrap();
    assert_eq!(loaded.platform.service("web").unwrap().1.image.as_deref(), Some("x/x.macula.local/macula-x/dev"));
}

#[test]
fn the_environment_goes_before_the_env_file_beside_the_stack() {
    let (mut request, files) = with_stack("services: {web: {image: '$A-$B'}}");
    request.env.insert("A".into(), "shell".into());
    let files = files.with("/home/dev/.env", "A=file\nB=file\n");
    assert_eq!(run(&request, &files).unwrap().platform.service("web").unwrap().1.image.as_deref(), Some("shell-file"));
}

#[test]
fn settings_of_macula_yaml() {
    let text = "profiles: [p]\nimages: {policy: build, sources: {docker.io: mirror.gcr.io}, overrides: {nginx: nginx:mine}}\n\
                ingress: {redirect: true, http: 8080}\naddresses: {block: 127.80.5.0, subnet: 172.28.0.0/24}\n\
                dns: {listen: [127.0.0.9, '[::1]:5353'], upstream: [1.1.1.1], rebind_allow: [plex.direct]}\n\
                cluster: {enabled: false, workers: 2, udp_services: {4433: a/b:1}}\ntimeouts: {healthy: 90s}\nx-mine: 1\ndns2: \n";
    let (request, files) = with_stack("services: {web: {image: nginx, profiles: [p]}, q: {image: x, profiles: [q]}}");
    let files = files.with("/home/dev/macula.yaml", text.replace("dns2: \n", ""));
    let request = Request { images: Some(ImagePolicy::Local), ..request };
    let platform = run(&request, &files).unwrap().platform;
    assert_eq!(platform.images.policy, ImagePolicy::Local);
    assert_eq!(platform.images.sources["docker.io"], ["mirror.gcr.io"]);
    assert_eq!(platform.service("web").unwrap().1.image.as_deref(), Some("nginx:mine"));
    assert!(platform.service("q").is_none());
    assert_eq!(platform.ingress, IngressSettings { redirect: true, http: 8080, https: 443 });
    assert_eq!(platform.addresses.block, Some([127, 80, 5, 0].into()));
    assert_eq!(platform.addresses.subnet, Some("172.28.0.0/24".parse().unwrap()));
    assert_eq!(platform.dns.listen, vec!["127.0.0.9:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    assert!(!platform.cluster.enabled);
    assert_eq!(platform.cluster.udp_services, [(4433, "a/b:1".to_owned())].into());
    assert_eq!(platform.timeouts.healthy, Duration::from_secs(90));
}

#[test]
fn services_are_changed_or_left_out_by_macula_yaml() {
    let (request, files) = with_stack(
        "services:\n  web: {image: a, environment: {A: '1', B: '2'}, depends_on: {db: {condition: service_started, required: false}}}\n  db: {image: b}\n",
    );
    let files = files.with(
        "/home/dev/macula.yaml",
        "services: {web: {image: own, environment: {A: null, C: 3}, memory: 1g}, db: {enabled: false}}",
    );
    let platform = run(&request, &files).unwrap().platform;
    let web = platform.service("web").unwrap().1;
    assert_eq!(web.image.as_deref(), Some("own"));
    assert_eq!(web.environment, [("B".to_owned(), "2".to_owned()), ("C".to_owned(), "3".to_owned())].into());
    assert_eq!(web.options.resources.memory, Some(1 << 30));
    assert!(web.depends_on.is_empty());
    assert!(platform.service("db").is_none());
}

#[test]
fn a_service_that_is_needed_cannot_be_left_out() {
    let (request, files) = with_stack("services: {web: {image: a, depends_on: [db]}, db: {image: b}}");
    let files = files.with("/home/dev/macula.yaml", "services: {db: {enabled: false}}");
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @"
    macula.yaml:1:12: services.db is switched off, and `web` needs it
        leave them out too: `services: {web: {enabled: false}}`
    ");
}

#[test]
fn a_stack_may_depend_on_a_service_of_another() {
    let (request, files) = with_stack("services: {web: {image: a, depends_on: [postgres]}}");
    let loaded = load_with(&request, &files, &[("db.yaml", "services: {postgres: {image: p}}")]).unwrap();
    assert!(loaded.platform.service("web").unwrap().1.depends_on["postgres"].required);
}

#[test]
fn a_whole_service_reaches_the_model() {
    let service = one(r#"
services:
  web:
    image: nginx:1
    build: {context: ./ctx, args: [A=1], dockerfile_inline: "FROM x"}
    command: run it
    environment: [A=1, HOME]
    ports: ["8080:80", "[::1]:53:53/udp", "90"]
    expose: ["100-102"]
    volumes: ["data:/data:ro", "./x:/x", {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}]
    tmpfs: ["/cache:size=64m,mode=1777,noexec"]
    networks: {back: {aliases: [w], priority: 1}, front: {ipv4_address: 172.30.0.5, priority: 2}}
    configs: [{source: c, mode: "0400", uid: "5"}]
    secrets: [s]
    healthcheck: {test: curl x, interval: 10s, retries: 3}
    stop_grace_period: 1m
    restart: on-failure:3
    init: true
    user: "5:5"
    cap_drop: [ALL]
    ulimits: {nofile: 1024, nproc: {soft: 1, hard: 2}}
    devices: ["/dev/a:/dev/b"]
    extra_hosts: ["h:1.2.3.4"]
    logging: {driver: local, options: {max-size: 1m}}
    sysctls: {a.b: 1}
    deploy: {replicas: 1, resources: {limits: {cpus: "0.5", memory: 64m, pids: 5}, reservations: {memory: 32m}}}
networks: {back: {}, front: {ipam: {config: [{subnet: 172.30.0.0/24}]}}}
volumes: {data: {}}
configs: {c: {content: text}}
secrets: {s: {environment: HOME}}
"#);
    insta::assert_json_snapshot!(service, @r#"
    {
      "name": "web",
      "image": "nginx:1",
      "build": {
        "context": "/home/dev/ctx",
        "dockerfile": null,
        "dockerfile_inline": "FROM x",
        "args": {
          "A": "1"
        },
        "target": null,
        "labels": {},
        "network": null,
        "platforms": [],
        "cache_from": [],
        "no_cache": false,
        "pull": false,
        "shm_size": null,
        "extra_hosts": [],
        "tags": []
      },
      "pull_policy": "missing",
      "container_name": null,
      "command": [
        "run",
        "it"
      ],
      "entrypoint": null,
      "environment": {
        "A": "1",
        "HOME": "/home/u"
      },
      "labels": {},
      "ports": [
        {
          "target": 80,
          "protocol": "tcp",
          "host_ip": null,
          "published": 8080
        },
        {
          "target": 53,
          "protocol": "udp",
          "host_ip": "::1",
          "published": 53
        },
        {
          "target": 90,
          "protocol": "tcp",
          "host_ip": null,
          "published": null
        }
      ],
      "expose": [
        100,
        101,
        102
      ],
      "mounts": [
        {
          "type": "volume",
          "source": "data",
          "target": "/data",
          "read_only": true,
          "no_copy": false,
          "subpath": null
        },
        {
          "type": "bind",
          "source": "/home/dev/x",
          "target": "/x",
          "read_only": false,
          "create_host_path": true,
          "propagation": null,
          "selinux": null
        },
        {
          "type": "tmpfs",
          "target": "/t",
          "size": 1048576,
          "mode": 448,
          "options": []
        },
        {
          "type": "tmpfs",
          "target": "/cache",
          "size": 67108864,
          "mode": 1023,
          "options": [
            "noexec"
          ]
        }
      ],
      "networks": {
        "front": {
          "aliases": [],
          "ipv4_address": "172.30.0.5",
          "ipv6_address": null
        },
        "back": {
          "aliases": [
            "w"
          ],
          "ipv4_address": null,
          "ipv6_address": null
        }
      },
      "network_mode": null,
      "files": [
        {
          "target": "/c",
          "content": "dGV4dA==",
          "uid": 5,
          "gid": 0,
          "mode": 256,
          "secret": false
        },
        {
          "target": "/run/secrets/s",
          "content": "L2hvbWUvdQ==",
          "uid": 0,
          "gid": 0,
          "mode": 292,
          "secret": true
        }
      ],
      "depends_on": {},
      "healthcheck": {
        "test": [
          "CMD-SHELL",
          "curl x"
        ],
        "interval": {
          "secs": 10,
          "nanos": 0
        },
        "timeout": null,
        "retries": 3,
        "start_period": null,
        "start_interval": null
      },
      "replicas": 1,
      "stop_grace_period": {
        "secs": 60,
        "nanos": 0
      },
      "options": {
        "user": "5:5",
        "working_dir": null,
        "hostname": null,
        "domainname": null,
        "restart": {
          "on_failure": 3
        },
        "init": true,
        "tty": false,
        "stdin_open": false,
        "read_only": false,
        "privileged": false,
        "stop_signal": null,
        "cap_add": [],
        "cap_drop": [
          "ALL"
        ],
        "security_opt": [],
        "group_add": [],
        "sysctls": {
          "a.b": "1"
        },
        "ulimits": {
          "nofile": {
            "soft": 1024,
            "hard": 1024
          },
          "nproc": {
            "soft": 1,
            "hard": 2
          }
        },
        "devices": [
          "/dev/a:/dev/b:rwm"
        ],
        "extra_hosts": [
          "h:1.2.3.4"
        ],
        "dns": [],
        "dns_search": [],
        "dns_opt": [],
        "shm_size": null,
        "pid": null,
        "ipc": null,
        "uts": null,
        "userns_mode": null,
        "cgroup": null,
        "cgroup_parent": null,
        "runtime": null,
        "platform": null,
        "annotations": {},
        "logging": {
          "driver": "local",
          "options": {
            "max-size": "1m"
          }
        },
        "resources": {
          "memory": 67108864,
          "memory_reservation": 33554432,
          "memory_swap": null,
          "nano_cpus": 500000000,
          "cpu_shares": null,
          "cpuset": null,
          "pids": 5
        },
        "oom_score_adj": null,
        "oom_kill_disable": null,
        "mac_address": null
      },
      "extension": {
        "role": null,
        "ingress": [],
        "address": null,
        "probe": null,
        "metrics": [],
        "exports": {},
        "secrets": {},
        "configs": {},
        "reload": null,
        "prepare": [],
        "provider": null,
        "optional": false,
        "trust": false,
        "once": false,
        "profiles": [],
        "buckets": [],
        "build_note": null,
        "sources": []
      }
    }
    "#);
}

#[test]
fn a_whole_extension_reaches_the_model() {
    let (request, files) = with_stack(
        r#"
services:
  web:
    image: x
    volumes: ["conf:/etc/web"]
    x-macula:
      ingress: [{port: 80}, {host: "*.s3", port: 81, path: /x, tls: true, body_size: 1g, auth: "u:$$2y$$05$$x", sticky: true, weight: 3}]
      address: 127.0.0.20
      probe: {http: {port: 80, path: /health}, timeout: 60s}
      metrics: {port: 80, params: {a: 1}}
      exports: {URL: "http://{{ domain }}"}
      secrets: {KEY: {generate: 24}, SAME: {from: web.KEY}}
      configs: {/etc/web/a.conf: a.j2, /etc/web/b.conf: {template: a.j2, mode: "0640", uid: 101, gid: 102}}
      reload: {exec: [web, reload]}
      build:
        prepare: [{write: {path: p.json, content: "{}"}}, {run: {command: npm ci, needs: npm}}, {copy: {from: dist, to: site}}, {write: {path: b, file: a.j2}}, {program: {to: bin/macula}}]
        note: without x
      provider: {image: a-1, build: a-0, takes_over: [old]}
      sources: [mirror/x]
      buckets: [bucket]
      optional: true
volumes: {conf: {}}
"#,
    );
    let files = files.with("/home/dev/a.j2", "{{ name }}\n");
    let loaded = run(&request, &files).unwrap();
    insta::assert_json_snapshot!(loaded.platform.service("web").unwrap().1.extension, @r#"
    {
      "role": null,
      "ingress": [
        {
          "host": "web",
          "port": 80,
          "path": "/",
          "tls": false,
          "body_size": null,
          "auth": null,
          "sticky": false
        },
        {
          "host": "*.s3",
          "port": 81,
          "path": "/x",
          "tls": true,
          "body_size": 1073741824,
          "auth": "u:$2y$05$x",
          "sticky": true,
          "weight": 3
        }
      ],
      "address": "127.0.0.20",
      "probe": {
        "kind": {
          "http": {
            "port": 80,
            "path": "/health"
          }
        },
        "timeout": {
          "secs": 60,
          "nanos": 0
        }
      },
      "metrics": [
        {
          "port": 80,
          "path": "/metrics",
          "job": null,
          "params": {
            "a": "1"
          }
        }
      ],
      "exports": {
        "URL": "http://{{ domain }}"
      },
      "secrets": {
        "KEY": {
          "generate": {
            "length": 24,
            "alphabet": "alphanumeric"
          }
        },
        "SAME": {
          "from": {
            "service": "web",
            "key": "KEY"
          }
        }
      },
      "configs": {
        "/etc/web/a.conf": {
          "name": "a.j2",
          "source": "{{ name }}\n",
          "uid": 0,
          "gid": 0,
          "mode": 420
        },
        "/etc/web/b.conf": {
          "name": "a.j2",
          "source": "{{ name }}\n",
          "uid": 101,
          "gid": 102,
          "mode": 416
        }
      },
      "reload": {
        "exec": [
          "web",
          "reload"
        ]
      },
      "prepare": [
        {
          "write": {
            "path": "p.json",
            "content": "{}"
          }
        },
        {
          "run": {
            "command": [
              "npm",
              "ci"
            ],
            "needs": "npm"
          }
        },
        {
          "copy": {
            "from": "dist",
            "to": "site"
          }
        },
        {
          "write": {
            "path": "b",
            "content": "{{ name }}\n"
          }
        },
        {
          "program": {
            "to": "bin/macula"
          }
        }
      ],
      "provider": {
        "image": "a-1",
        "build": "a-0",
        "takes_over": [
          "old"
        ]
      },
      "optional": true,
      "trust": false,
      "once": false,
      "profiles": [],
      "buckets": [
        "bucket"
      ],
      "build_note": "without x",
      "sources": [
        "mirror/x"
      ]
    }
    "#);
    assert_eq!(lines(&loaded.warnings), "");
}

#[test]
fn reload_and_probe_in_their_other_forms() {
    let extension = one("services: {a: {image: x, x-macula: {reload: {signal: HUP}, probe: {tcp: 5432}, metrics: [{port: 1}, {port: 2, path: /m, job: j}]}}}").extension;
    assert_eq!(extension.reload, Some(Reload::Signal("SIGHUP".into())));
    assert_eq!(extension.probe.unwrap().kind, ProbeKind::Tcp { port: 5432 });
    assert_eq!(extension.metrics.len(), 2);
    let extension = one("services: {a: {image: x, x-macula: {reload: {watch: true}}}}").extension;
    assert_eq!(extension.reload, Some(Reload::None));
}

#[test]
fn the_networks_volumes_and_names_of_a_stack() {
    let (request, files) = with_stack(
        "name: My-App\nservices: {a: {image: x, networks: [default, n]}, b: {image: x}}\n\
         networks: {n: {external: true, name: other}, default: {}}\nvolumes: {v: {name: fixed}, w: }\n",
    );
    let loaded = run(&request, &files).unwrap();
    let stack = &loaded.platform.stacks[0];
    assert_eq!(stack.name, "my-app");
    assert_eq!(stack.networks.keys().collect::<Vec<_>>(), ["n"]);
    assert_eq!(stack.networks["n"].name.as_deref(), Some("other"));
    assert_eq!(stack.volumes["v"].name.as_deref(), Some("fixed"));
    assert_eq!(stack.volumes["w"].name, None);
    assert_eq!(stack.services["a"].networks.keys().collect::<Vec<_>>(), ["default", "n"]);
    assert!(stack.services["b"].networks.is_empty());
}

#[test]
fn what_is_not_acted_on_is_named() {
    let (request, files) = with_stack(
        "version: '3'\nservices:\n  a:\n    image: x:${TAG}\n    environment:\n    cpu_rt_period: 5\n    deploy: {mode: global, rollback_config: {order: stop-first}}\n    \
         ports: ['8000-8001:80']\n    command: a | b\n    links: ['a2:z']\n    gpus: all\n  a2: {image: y, build: {context: 'https://x/y.tar.gz', ssh: [default]}}\n",
    );
    insta::assert_snapshot!(lines(&run(&request, &files).unwrap().warnings), @r#"
    compose.yaml:1:1: `version` is obsolete and means nothing
        take the line away
    compose.yaml:4:12: the variable TAG is not set; it counts as empty
        set it, or give it a default: ${TAG:-value}
    compose.yaml:5:5: services.a.environment: nothing stands here
        give it a value, or take the line away
    compose.yaml:7:14: services.a.deploy.mode: not supported by macula; ignored
        it is for Swarm
    compose.yaml:7:28: services.a.deploy.rollback_config: not supported by macula; ignored
        it is for Swarm
    compose.yaml:9:14: services.a.command: `| b` is dropped, as Compose drops it: no shell reads this line
        write a list that names one: ["sh", "-c", "..."]
    compose.yaml:12:35: services.a2.build.context: macula builds from folders and Git repositories, not from `https://x/y.tar.gz`
        name a folder, or a repository as https://HOST/PATH.git#BRANCH:FOLDER
    "#);
}

#[test]
fn an_embedded_stack_builds_from_its_dockerfile_alone() {
    let built_in = [("web.yaml", "services: {web: {image: x, build: {dockerfile_inline: FROM x}}}")];
    let loaded = load_with(&request(), &MemoryFiles::default(), &built_in).unwrap();
    let build = loaded.platform.service("web").unwrap().1.build.clone().unwrap();
    assert_eq!((build.context, build.dockerfile_inline.as_deref()), (None, Some("FROM x")));
    let user = one("services: {web: {build: {dockerfile_inline: FROM x}}}");
    assert_eq!(user.build.unwrap().context, Some(PathBuf::from("/home/dev")));
}

#[test]
fn an_error_in_a_built_in_stack_names_it() {
    let errors =
        load_with(&request(), &MemoryFiles::default(), &[("web.yaml", "services:\n  web: {imag: x}\n")]).unwrap_err();
    insta::assert_snapshot!(errors, @"
    built-in:web.yaml:2:9: unknown key `imag` in services.web
        did you mean `image`?
    ");
}

#[test]
fn the_built_in_stacks_load_without_a_word() {
    let loaded = load(&request(), &MemoryFiles::default()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(lines(&loaded.warnings), "");
}

/// One thing with two owners: what each says of it has to be the same.
#[test]
fn stacks_that_share_say_the_same() {
    let one = "services: {a: {image: a, volumes: ['data:/data'], networks: [back]}}
volumes: {data: {driver_opts: {type: nfs}}, same: {}, outer: {external: true, name: made}}
networks: {back: {name: back, internal: true}, own: {name: macula}}
";
    let two = "services: {b: {image: b, volumes: ['data:/data'], networks: [rear]}}
volumes: {data: {labels: {who: two}}, same: {}, made: {name: made, driver: local}}
networks: {rear: {name: back, ipam: {config: [{subnet: 10.99.0.0/24}]}}}
";
    let files = MemoryFiles::default().with("/home/one/compose.yaml", one).with("/home/two/compose.yaml", two);
    let stacks = vec!["/home/one".into(), "/home/two".into()];
    let request = Request { stacks, ..request() };
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @"
    /home/one/compose.yaml:3:48: networks.own: `macula` is the platform's own network
        say `external: true` to join it, or give it another name
    /home/two/compose.yaml:2:11: the volume macula-data is in the stack `one` too (/home/one/compose.yaml:2:11), with another `driver_opts` and `labels`
        say the same in both, or give one of them another `name:`
    /home/two/compose.yaml:3:12: the network back is in the stack `one` too (/home/one/compose.yaml:3:12), with another `internal` and `ipam`
        say the same in both, or give one of them another `name:`
    ");
}

#[test]
fn a_whole_built_in_stack_can_be_left_out() {
    let built_in = [
        (
            "data.yaml",
            "services: {db: {image: d, x-macula: {secrets: {PASSWORD: {generate: 24}}}}, job: {image: j, depends_on: [db]}}",
        ),
        (
            "web.yaml",
            "services: {web: {image: w, depends_on: [api]}, api: {image: a, x-macula: {secrets: {PGPASSWORD: {from: db.PASSWORD}}}}}",
        ),
        ("draw.yaml", "services: {draw: {image: d, depends_on: {db: {condition: service_started, required: false}}}}"),
    ];
    let with = |yaml: &str| {
        let files = MemoryFiles::default().with("/home/dev/macula.yaml", yaml);
        load_with(&request(), &files, &built_in)
    };
    let names = |yaml: &str| {
        let loaded = with(yaml).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.platform.services().map(|(_, service)| service.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("built_in: {draw: false, web: true}"), "db job api web");
    assert_eq!(names("built_in: {data: false, web: false}"), "draw");
    insta::assert_snapshot!(with("built_in: {data: false, drawn: false}").unwrap_err(), @"
    macula.yaml:1:12: built_in.data is switched off, and `api` needs it, and through it `web`
        leave them out too: `services: {api: {enabled: false}, web: {enabled: false}}`
    macula.yaml:1:25: built_in: there is no stack `drawn`
        did you mean `draw`?
    ");
    insta::assert_snapshot!(with("services: {db: {enabled: false}, job: {enabled: false}}").unwrap_err(), @"
    macula.yaml:1:12: services.db is switched off, and `api` needs it, and through it `web`
        leave them out too: `services: {api: {enabled: false}, web: {enabled: false}}`
    ");
}

#[test]
fn the_sample_file_takes_a_name() {
    let files = MemoryFiles::default().with("/home/dev/macula.yaml", init_file("pr-7", None));
    assert_eq!(run(&request(), &files).unwrap().platform.name, "pr-7");
}

#[test]
fn the_sample_file_takes_a_stack_that_lies_beside_it() {
    let files = MemoryFiles::default()
        .with("/home/dev/macula.yaml", init_file("macula", Some("compose.yaml")))
        .with("/home/dev/compose.yaml", "services: {shop: {image: s}}");
    let inside = Request { discover: true, ..request() };
    assert!(run(&inside, &files).unwrap().platform.service("shop").is_some());
}

#[test]
fn the_schema_of_stacks_lies_over_that_of_compose() {
    let schema = compose_schema();
    assert!(schema["allOf"][0]["$ref"].as_str().unwrap().ends_with("/compose-spec.json"));
    let ours = &schema["allOf"][1]["properties"]["services"]["additionalProperties"]["properties"]["x-macula"];
    let keys: Vec<&String> = ours["properties"].as_object().unwrap().keys().collect();
    assert!(keys.iter().any(|key| *key == "ingress") && keys.iter().any(|key| *key == "address"), "{keys:?}");
}

#[test]
fn the_sample_file_changes_nothing_and_says_nothing() {
    let files = MemoryFiles::default().with("/home/dev/macula.yaml", init_file("macula", None));
    let loaded = run(&request(), &files).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(lines(&loaded.warnings), "");
    assert_eq!(loaded.platform, run(&request(), &MemoryFiles::default()).unwrap().platform);
}

/// Every example in the sample file is one: with the comment signs away it loads.
#[test]
fn the_examples_of_the_sample_file_are_right() {
    let mut text = String::new();
    for line in init_file("macula", None).lines() {
        match line.trim_start().strip_prefix("#   ") {
            Some(example) => {
                // the example stands in place of the empty value above it
                text = text.trim_end().trim_end_matches(" {}").trim_end_matches(" []").to_owned() + "\n";
                let indent = line.len() - line.trim_start().len() + 2;
                text.push_str(&format!("{}{example}\n", " ".repeat(indent)));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    let files = MemoryFiles::default()
        .with("/home/dev/macula.yaml", &text)
        .with("/home/dev/migrations/1.sql", "create table t ();")
        .with("/home/shop/compose.yaml", "services: {grafana: {image: g}}")
        .with("/home/dev/tools/compose.yaml", "services: {postgres: {image: p}}");
    let loaded = run(&request(), &files).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(lines(&loaded.warnings), "");
    assert_eq!(loaded.platform.cluster.udp_services.len(), 1);
    assert!(loaded.platform.service("grafana").is_none());
}

#[test]
fn the_schema_knows_every_key_of_the_sample_file() {
    let schema = schema();
    let sample: serde_json::Value = serde_yaml::from_str(&init_file("macula", None)).unwrap();
    fn hold(value: &serde_json::Value, schema: &serde_json::Value, path: &str) {
        let Some(map) = value.as_object() else { return };
        let Some(properties) = schema["properties"].as_object() else { return };
        for (key, value) in map {
            assert!(properties.contains_key(key), "{path}.{key}");
            hold(value, &properties[key], &format!("{path}.{key}"));
        }
    }
    hold(&sample, &schema, "");
    insta::assert_snapshot!(serde_json::to_string(&schema["properties"]["ingress"]).unwrap(), @r#"{"type":["object","null"],"properties":{"redirect":{"type":"boolean","description":"Redirect http to https; false: both serve."},"http":{"type":"integer","minimum":1,"maximum":65535,"description":"Published port for HTTP, 80 unless given."},"https":{"type":"integer","minimum":1,"maximum":65535,"description":"Published port for HTTPS, 443 unless given."}},"additionalProperties":false,"patternProperties":{"^x-":{}},"description":"The ingress on this machine."}"#);
    for (name, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name} has no description");
    }
}

mod noise {
    use proptest::prelude::*;

    use super::*;

    /// Keys and values of stack files, put together at random.
    fn stack() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "x",
            "5",
            "true",
            "~",
            "[a, b]",
            "{a: b}",
            "[{a: b}]",
            "\"80:80\"",
            "[\"80:80\", 5]",
            "{condition: service_healthy}",
            "[web]",
            "{web: {}}",
            "[\"v:/v\"]",
            "10s",
            "!reset 1",
            "!override [x]",
            "${X:-y}",
            "${",
            "*a",
            "&a x",
            "-1",
            "1.5",
            "[]",
            "{}",
            "{http: {port: 80}}",
            "[{port: 1}]",
            "{A: {generate: 24}}",
            "{A: {from: web.A}}",
            "{file: compose.yaml, service: web}",
            "{limits: {cpus: 1}}",
        ]);
        let key = prop::sample::select(vec![
            "image",
            "build",
            "command",
            "environment",
            "env_file",
            "ports",
            "expose",
            "volumes",
            "tmpfs",
            "networks",
            "depends_on",
            "extends",
            "healthcheck",
            "configs",
            "secrets",
            "deploy",
            "ulimits",
            "labels",
            "extra_hosts",
            "profiles",
            "x-macula",
            "devices",
            "logging",
            "scale",
            "network_mode",
            "links",
            "restart",
            "mem_limit",
            "gpus",
            "develop",
            "sysctls",
            "dns",
            "stop_grace_period",
            "container_name",
            "nonsense",
        ]);
        let extension = prop::sample::select(vec![
            "role", "ingress", "address", "probe", "metrics", "exports", "secrets", "configs", "reload", "build",
            "provider", "sources", "optional",
        ]);
        let service = prop::collection::vec((key, value.clone()), 0..6);
        let extra = prop::collection::vec((extension, value), 0..4);
        prop::collection::btree_map(prop::sample::select(vec!["web", "db", "a b"]), (service, extra), 1..3).prop_map(
            |services| {
                let mut text = String::from("services:\n");
                for (name, (fields, extra)) in services {
                    text.push_str(&format!("  {name}:\n"));
                    for (key, value) in fields {
                        text.push_str(&format!("    {key}: {value}\n"));
                    }
                    if !extra.is_empty() {
                        text.push_str("    x-macula:\n");
                        for (key, value) in extra {
                            text.push_str(&format!("      {key}: {value}\n"));
                        }
                    }
                }
                text
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn stacks_never_panic(text in stack()) {
            let (request, files) = with_stack(&text);
            if let Ok(loaded) = run(&request, &files) {
                for project in &loaded.projects {
                    let _ = canonical(project);
                }
            }
        }

        /// What is printed is a stack again, and prints the same.
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(text in stack()) {
            let (request, files) = with_stack(&text);
            if let Ok(loaded) = run(&request, &files) {
                let first = canonical(&loaded.projects[0]);
                let (request, files) = with_stack(&first);
                let again = run(&request, &files).map_err(|errors| TestCaseError::fail(format!("{errors}\n{first}")))?;
                prop_assert_eq!(canonical(&again.projects[0]), first);
            }
        }

        #[test]
        fn any_text_is_no_more_than_an_error(text in any::<String>(), more in "[a-z:{}\\[\\] \n$&*!-]{0,80}") {
            for text in [text, more] {
                let (request, files) = with_stack(&text);
                let _ = run(&request, &files);
                let files = MemoryFiles::default().with("/home/dev/macula.yaml", text);
                let _ = run(&super::request(), &files);
            }
        }
    }
}

#[test]
fn the_name_is_found_without_the_stacks_and_in_spite_of_mistakes() {
    let name = |text: &str| {
        let files = MemoryFiles::default().with("/w/macula.yaml", text);
        let request = Request { cwd: "/w".into(), ..Request::default() };
        let (name, trouble) = platform_name(&request, &files);
        (name.to_string(), trouble.len())
    };
    assert_eq!(name("name: shop\nstacks: [gone.yaml]\n"), ("shop".into(), 0));
    assert_eq!(name("name: shop\nstakcs: []\n"), ("shop".into(), 1));
    assert_eq!(name("stacks: [\nname: 'shop' # the shop's\n").0, "shop");
    assert_eq!(name("domain: x.test\n"), ("macula".into(), 0));
}

#[test]
fn a_linked_worktree_has_a_platform_of_its_own() {
    let name = |git: &str, cwd: &str, file: &str| {
        let files = MemoryFiles::default()
            .with("/shop/.git/worktrees/Fix_Login/HEAD", "")
            .with("/shop-fix/.git", git)
            .with("/shop-fix/api/main.rs", "")
            .with(format!("{cwd}/macula.yaml"), file);
        let request = Request { cwd: cwd.into(), ..Request::default() };
        let loaded = run(&request, &files).unwrap();
        let found = loaded.platform.name.to_string();
        assert_eq!(platform_name(&request, &files).0.to_string(), found);
        format!("{found} {}", loaded.platform.domain)
    };
    let linked = "gitdir: /shop/.git/worktrees/Fix_Login\n";
    assert_eq!(name(linked, "/shop-fix", "{}"), "fix-login fix-login.macula.local");
    assert_eq!(name(linked, "/shop-fix/api", "{}"), "fix-login fix-login.macula.local");
    assert_eq!(name(linked, "/shop-fix", "domain: shop.test"), "fix-login fix-login.shop.test");
    assert_eq!(name(linked, "/shop-fix", "name: mine"), "mine mine.macula.local");
    assert_eq!(name(linked, "/shop", "{}"), "macula macula.local");
    // `auto` says so, and is no name
    for auto in ["name: auto", "name: 'auto' # the worktree's"] {
        assert_eq!(name(linked, "/shop-fix", auto), "fix-login fix-login.macula.local");
        assert_eq!(name(linked, "/shop", auto), "macula macula.local");
    }
    let domain = "name: auto\ndomain: shop.test";
    assert_eq!(name(linked, "/shop-fix", domain), "fix-login fix-login.shop.test");
    for other in ["gitdir: ../shop/.git/modules/Fix_Login\n", "gitdir: /shop/.git/worktrees/..", "gitdir:", "\u{1}"] {
        assert_eq!(name(other, "/shop-fix", "{}"), "macula macula.local", "{other}");
    }
}

#[test]
fn overrides_of_images_that_no_stack_has_are_told() {
    let load_them = |compose: &str| {
        let files = MemoryFiles::default()
            .with(
                "/w/macula.yaml",
                "stacks: [compose.yaml]\nimages: {overrides: {\"a:1\": \"b:1\", \"typo:1\": \"b:1\"}}\n",
            )
            .with("/w/compose.yaml", compose);
        load(&Request { cwd: "/w".into(), ..Request::default() }, &files).unwrap().unused_overrides
    };
    assert_eq!(load_them("services: {a: {image: \"a:1\"}}"), ["typo:1"]);
    assert_eq!(load_them("services: {a: {image: \"a:1\"}, c: {image: \"typo:1\", profiles: [x]}}"), [""; 0]);
}

#[test]
fn add_ons_of_the_cluster_are_checked_when_the_file_is_read() {
    let load_them = |names: &str| {
        let files = MemoryFiles::default().with("/w/macula.yaml", format!("cluster: {{addons: [{names}]}}\n"));
        load(&Request { cwd: "/w".into(), ..Request::default() }, &files)
    };
    let error = load_them("aloy").unwrap_err().to_string();
    assert!(error.contains("cluster.addons: there is no add-on `aloy`") && error.contains("`alloy`"), "{error}");
    assert!(load_them("alloy").unwrap().warnings.iter().any(|warning| warning.to_string().contains("cluster.addons")));
}
