//! What of a Compose file reaches the model.

use super::*;

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
    tmpfs: ["/cache:size=64m,mode=1777,noexec", "/half:size=50%"]
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
        },
        {
          "type": "tmpfs",
          "target": "/half",
          "size": null,
          "mode": null,
          "options": [
            "size=50%"
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
fn what_compose_takes_in_other_forms() {
    let service = one("services: {a: {image: x, scale: 2.0, pull_policy: '', cgroup: '', healthcheck: {test: []}, \
         volumes: [{type: image, source: y, target: /y}, \
         {type: volume, source: v, target: /v, volume: {subpath: s}}]}}\nvolumes: {v: {}}\n");
    // a variable that is not set is no value
    assert_eq!((service.replicas, service.options.cgroup.as_deref()), (2, None));
    assert_eq!(one("services: {a: {image: x, pull_policy: refresh}}\n").pull_policy, PullPolicy::Missing);
    let needs = service.needs.iter().map(|need| (need.what.rsplit_once(": ").unwrap().1, need.version));
    assert_eq!(needs.collect::<Vec<_>>(), [("a mount of an image", (1, 48)), ("`subpath` of a volume", (1, 45))]);
    let (request, files) = with_stack("services: {a: {image: x, environment: {MODE: 0644}}}\n");
    let told = lines(&run(&request, &files).unwrap().warnings);
    assert!(told.contains("`0644` without quotes"), "{told}");
    let (request, files) = with_stack("name: x\n");
    let told = run(&request, &files).unwrap_err().to_string();
    assert!(told.contains("there are no services in this file"), "{told}");
}

#[test]
fn keys_of_a_build_and_numbers_without_an_end_are_printed() {
    let (request, files) = with_stack("services: {a: {build: {context: ., ssh: [default]}}}\nx-ends: [.inf, -.inf]\n");
    let text = canonical(&run(&request, &files).unwrap().projects[0]);
    for line in ["context: /home/dev", "- default", "- .inf", "- -.inf"] {
        assert!(text.lines().any(|own| own.trim_start() == line), "{line}: {text}");
    }
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
fn what_a_build_is_for() {
    let of = |service: &str, default: &str| {
        let (mut request, files) = with_stack(&format!("services: {{a: {service}}}\n"));
        if !default.is_empty() {
            request.env.insert("DOCKER_DEFAULT_PLATFORM".into(), default.into());
        }
        match run(&request, &files) {
            Ok(loaded) => {
                let service = &loaded.platform.stacks[0].services["a"];
                let built = service.build.as_ref().map(|build| build.platforms.join(" "));
                format!("{} {}", service.options.platform.as_deref().unwrap_or("-"), built.unwrap_or_default())
            }
            Err(errors) => errors.to_string(),
        }
    };
    assert_eq!(of("{build: .}", ""), "- ");
    assert_eq!(of("{build: ., platform: linux/arm64}", ""), "linux/arm64 linux/arm64");
    assert_eq!(of("{build: {context: ., platforms: [linux/arm64]}}", ""), "- linux/arm64");
    // of several the builder takes its own
    assert_eq!(of("{build: {context: ., platforms: [linux/arm64, linux/amd64]}}", ""), "- ");
    assert_eq!(of("{build: {context: ., platforms: [a/b, c/d]}, platform: c/d}", "a/b"), "c/d c/d");
    assert_eq!(of("{build: {context: ., platforms: [a/b, c/d]}}", "c/d"), "c/d c/d");
    assert_eq!(of("{image: x}", "linux/arm64"), "linux/arm64 ");
    insta::assert_snapshot!(of("{build: {context: ., platforms: [a/b]}}", "c/d"), @"
    compose.yaml:1:47: services.a.build.platforms lacks the platform of DOCKER_DEFAULT_PLATFORM, c/d
        add it there
    ");
}

#[test]
fn a_device_of_cdi_is_a_name() {
    let service = one(
        "services: {a: {image: x, devices: ['nvidia.com/gpu=all', '/dev/a:/dev/b:r', {source: '/dev/by-path/a:0'}], \
         ports: [{target: 80, protocol: TCP}]}}",
    );
    let devices = ["nvidia.com/gpu=all", "/dev/a:/dev/b:r", "/dev/by-path/a:0:/dev/by-path/a:0:rwm"];
    assert_eq!(service.options.devices, devices);
    assert_eq!(service.ports[0].protocol, crate::model::Protocol::Tcp);
}

#[test]
fn what_a_plugin_would_provide_is_left_out_and_said() {
    let (request, files) = with_stack(
        "services:\n  a: {image: x, depends_on: [ai]}\n  ai: {provider: {type: model, options: {model: m}}}\n",
    );
    let loaded = run(&request, &files).unwrap();
    let services = &loaded.platform.stacks[0].services;
    assert_eq!(services.keys().collect::<Vec<_>>(), ["a"]);
    assert!(services["a"].depends_on.is_empty());
    insta::assert_snapshot!(lines(&loaded.warnings), @"
    compose.yaml:3:8: services.ai.provider: not supported by macula; ignored
        it is for plugins of docker compose: the service is left out, and what depends on it starts without it
    ");
}

#[test]
fn what_is_not_acted_on_is_named() {
    let (request, files) = with_stack(
        "version: '3'\nservices:\n  a:\n    image: x:${TAG}\n    environment:\n    cpu_rt_period: 5\n    deploy: {mode: global, rollback_config: {order: stop-first}}\n    \
         ports: ['8000-8001:80']\n    command: a | b\n    links: ['a2:z']\n    gpus: all\n  a2: {image: y, build: {context: 'https://x/y.tar.gz', ssh: [default]}}\n\
         networks: {proxy: {external: true, driver: bridge, internal: true}}\n",
    );
    insta::assert_snapshot!(lines(&run(&request, &files).unwrap().warnings), @r#"
    compose.yaml:1:1: `version` is obsolete and means nothing
        take the line away
    compose.yaml:4:12: the variable TAG is not set; it counts as empty
        set it, or give it a default: ${TAG:-value}
    compose.yaml:4:12: services.a.image: `x:` is not a valid image reference: a part of it is empty
        set the variable that belongs there, or give it a value in the file: `${TAG:-latest}`
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
    compose.yaml:13:12: networks.proxy: it is external, so `driver` changes nothing
        take it away
    "#);
}

#[test]
fn what_engines_do_not_do_with_a_file_is_a_warning() {
    let told = |text: &str| {
        let (request, files) = with_stack(text);
        lines(&run(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).warnings)
    };
    let inside =
        "services: {db: {image: x, networks: [back], ports: ['5433:5432']}}\nnetworks: {back: {internal: true}}\n";
    insta::assert_snapshot!(told(inside), @r"
    compose.yaml:1:45: services.db.ports: nothing is published, since all networks of the service are `internal`
        add a network that is not `internal`, or leave `ports` out
    ");
    assert_eq!(told(&inside.replace("[back]", "[back, default]")), "");
    assert_eq!(told(&inside.replace("true", "false")), "");
    let again = "services: {job: {image: x, restart: always}, web: {image: x, depends_on: {job: {condition: service_completed_successfully}}}}\n";
    insta::assert_snapshot!(told(again), @r#"
    compose.yaml:1:28: services.job: web waits for its end, and its restart policy starts it again each time
        say `restart: "no"` for a job
    "#);
    assert_eq!(told(&again.replace("always", "on-failure")), "");
}
