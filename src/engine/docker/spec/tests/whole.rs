//! A specification that says everything, as the engine is asked for it.

use super::*;

fn full() -> ContainerSpec {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    ContainerSpec {
        env: list(&["A=1", "B=two words"]),
        command: Some(list(&["postgres", "-c", "fsync=off"])),
        entrypoint: Some(list(&["docker-entrypoint.sh"])),
        networks: vec![network("macula", Some("10.3.0.7")), network("other", None)],
        ports: vec![
            Port {
                host_ip: "127.0.0.6".parse().unwrap(),
                host_port: Some(5432),
                container_port: 5432,
                protocol: Protocol::Tcp,
            },
            Port { host_ip: "::1".parse().unwrap(), host_port: None, container_port: 5432, protocol: Protocol::Tcp },
            Port {
                host_ip: "127.0.0.1".parse().unwrap(),
                host_port: Some(53),
                container_port: 5353,
                protocol: Protocol::Udp,
            },
        ],
        expose: vec![9187, 5432],
        expose_other: vec!["53/udp".into()],
        mounts: vec![
            MountSpec::Volume {
                source: "macula-db".into(),
                target: "/var/lib/postgresql".into(),
                read_only: false,
                no_copy: true,
                subpath: None,
            },
            MountSpec::Bind {
                source: "/srv/made".into(),
                target: "/made".into(),
                read_only: true,
                create_host_path: true,
                propagation: Some("rslave".into()),
                selinux: None,
            },
            MountSpec::Bind {
                source: "/srv/with:colon".into(),
                target: "/there".into(),
                read_only: false,
                create_host_path: false,
                propagation: None,
                selinux: None,
            },
            MountSpec::Tmpfs {
                target: "/tmp".into(),
                size: Some(1024),
                mode: Some(0o1777),
                options: list(&["noexec"]),
            },
        ],
        healthcheck: Some(Healthcheck {
            test: list(&["CMD", "pg_isready"]),
            interval: Some(Duration::from_secs(5)),
            timeout: Some(Duration::from_millis(1500)),
            retries: Some(3),
            start_period: Some(Duration::from_secs(30)),
            start_interval: Some(Duration::from_millis(250)),
        }),
        stop_grace_ms: Some(1500),
        options: ContainerOptions {
            user: Some("999:999".into()),
            working_dir: Some("/w".into()),
            hostname: Some("db".into()),
            domainname: Some("macula.local".into()),
            restart: Restart::OnFailure(Some(3)),
            init: Some(true),
            tty: true,
            stdin_open: true,
            read_only: true,
            privileged: true,
            stop_signal: Some("SIGINT".into()),
            cap_add: list(&["NET_ADMIN"]),
            cap_drop: list(&["ALL"]),
            security_opt: list(&["no-new-privileges:true"]),
            group_add: list(&["docker"]),
            sysctls: map("net.core.somaxconn", "1024"),
            ulimits: BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 1024, hard: 2048 })]),
            devices: list(&[
                "/dev/kvm",
                "/dev/a:/dev/b:r",
                "/dev/c:rw",
                "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0:/dev/ttyUSB0:rwm",
                "/dev/by-path/a:0:/dev/by-path/a:0:rm",
                "nvidia.com/gpu=all",
            ]),
            extra_hosts: list(&["host.docker.internal:host-gateway"]),
            dns: list(&["10.3.0.1"]),
            dns_search: list(&["macula.local"]),
            dns_opt: list(&["ndots:1"]),
            shm_size: Some(67_108_864),
            pid: Some("host".into()),
            ipc: Some("shareable".into()),
            uts: Some("host".into()),
            userns_mode: Some("host".into()),
            cgroup: Some("private".into()),
            cgroup_parent: Some("m.slice".into()),
            runtime: Some("runc".into()),
            platform: Some("linux/amd64".into()),
            annotations: BTreeMap::new(),
            logging: Some(Logging { driver: "json-file".into(), options: map("max-size", "10m") }),
            resources: Limits {
                memory: Some(268_435_456),
                memory_reservation: Some(1),
                memory_swap: Some(-1),
                nano_cpus: Some(1_500_000_000),
                cpu_shares: Some(512),
                cpuset: Some("0-1".into()),
                pids: Some(100),
                cpu_rt_period: Some(1_000_000),
                cpu_rt_runtime: Some(950_000),
                memory_swappiness: Some(10),
            },
            oom_score_adj: Some(-500),
            oom_kill_disable: Some(true),
            mac_address: None,
            device_cgroup_rules: list(&["c 1:3 mr"]),
            device_requests: vec![crate::model::DeviceRequest {
                driver: "nvidia".into(),
                count: Some(-1),
                ids: list(&["0"]),
                capabilities: list(&["gpu", "utility"]),
                options: map("visible", "all"),
            }],
            storage_opt: map("size", "1g"),
            blkio: Some(crate::model::Blkio {
                weight: Some(300),
                weight_device: vec![("/dev/sda".into(), 400)],
                read_bps: vec![("/dev/sda".into(), 1024)],
                write_bps: vec![("/dev/sdb".into(), 2048)],
                read_iops: vec![("/dev/sda".into(), 100)],
                write_iops: vec![("/dev/sdb".into(), 200)],
            }),
            volumes_from: list(&["macula-data-1:ro"]),
            links: list(&["macula-db-1:database"]),
        },
        ..bare()
    }
}

#[test]
fn everything_that_a_spec_says_reaches_an_old_engine() {
    insta::assert_snapshot!(json(&full(), OLD), @r#"
    {
      "connect later": [
        {
          "other": {
            "Aliases": [
              "db",
              "postgres.macula.local"
            ],
            "Links": [
              "cache.shop:cache",
              "macula-db-1:database"
            ]
          }
        }
      ],
      "create": {
        "Cmd": [
          "postgres",
          "-c",
          "fsync=off"
        ],
        "Domainname": "macula.local",
        "Entrypoint": [
          "docker-entrypoint.sh"
        ],
        "Env": [
          "A=1",
          "B=two words"
        ],
        "ExposedPorts": {
          "53/udp": {},
          "5353/udp": {},
          "5432/tcp": {},
          "9187/tcp": {}
        },
        "Healthcheck": {
          "Interval": 5000000000,
          "Retries": 3,
          "StartPeriod": 30000000000,
          "Test": [
            "CMD",
            "pg_isready"
          ],
          "Timeout": 1500000000
        },
        "HostConfig": {
          "Binds": [
            "/srv/made:/made:ro,rslave"
          ],
          "BlkioDeviceReadBps": [
            {
              "Path": "/dev/sda",
              "Rate": 1024
            }
          ],
          "BlkioDeviceReadIOps": [
            {
              "Path": "/dev/sda",
              "Rate": 100
            }
          ],
          "BlkioDeviceWriteBps": [
            {
              "Path": "/dev/sdb",
              "Rate": 2048
            }
          ],
          "BlkioDeviceWriteIOps": [
            {
              "Path": "/dev/sdb",
              "Rate": 200
            }
          ],
          "BlkioWeight": 300,
          "BlkioWeightDevice": [
            {
              "Path": "/dev/sda",
              "Weight": 400
            }
          ],
          "CapAdd": [
            "NET_ADMIN"
          ],
          "CapDrop": [
            "ALL"
          ],
          "CgroupParent": "m.slice",
          "CgroupnsMode": "private",
          "CpuRealtimePeriod": 1000000,
          "CpuRealtimeRuntime": 950000,
          "CpuShares": 512,
          "CpusetCpus": "0-1",
          "DeviceCgroupRules": [
            "c 1:3 mr"
          ],
          "DeviceRequests": [
            {
              "Capabilities": [
                [
                  "gpu",
                  "utility"
                ]
              ],
              "Count": -1,
              "DeviceIDs": [
                "0"
              ],
              "Driver": "nvidia",
              "Options": {
                "visible": "all"
              }
            },
            {
              "DeviceIDs": [
                "nvidia.com/gpu=all"
              ],
              "Driver": "cdi"
            }
          ],
          "Devices": [
            {
              "CgroupPermissions": "rwm",
              "PathInContainer": "/dev/kvm",
              "PathOnHost": "/dev/kvm"
            },
            {
              "CgroupPermissions": "r",
              "PathInContainer": "/dev/b",
              "PathOnHost": "/dev/a"
            },
            {
              "CgroupPermissions": "rw",
              "PathInContainer": "/dev/c",
              "PathOnHost": "/dev/c"
            },
            {
              "CgroupPermissions": "rwm",
              "PathInContainer": "/dev/ttyUSB0",
              "PathOnHost": "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0"
            },
            {
              "CgroupPermissions": "rm",
              "PathInContainer": "/dev/by-path/a:0",
              "PathOnHost": "/dev/by-path/a:0"
            }
          ],
          "Dns": [
            "10.3.0.1"
          ],
          "DnsOptions": [
            "ndots:1"
          ],
          "DnsSearch": [
            "macula.local"
          ],
          "ExtraHosts": [
            "host.docker.internal:host-gateway"
          ],
          "GroupAdd": [
            "docker"
          ],
          "Init": true,
          "IpcMode": "shareable",
          "LogConfig": {
            "Config": {
              "max-size": "10m"
            },
            "Type": "json-file"
          },
          "Memory": 268435456,
          "MemoryReservation": 1,
          "MemorySwap": -1,
          "MemorySwappiness": 10,
          "Mounts": [
            {
              "Source": "macula-db",
              "Target": "/var/lib/postgresql",
              "Type": "volume",
              "VolumeOptions": {
                "NoCopy": true
              }
            },
            {
              "Source": "/srv/with:colon",
              "Target": "/there",
              "Type": "bind"
            },
            {
              "Source": "macula-db-1-extra",
              "Target": "/extra",
              "Type": "volume"
            }
          ],
          "NanoCpus": 1500000000,
          "NetworkMode": "macula",
          "OomKillDisable": true,
          "OomScoreAdj": -500,
          "PidMode": "host",
          "PidsLimit": 100,
          "PortBindings": {
            "5353/udp": [
              {
                "HostIp": "127.0.0.1",
                "HostPort": "53"
              }
            ],
            "5432/tcp": [
              {
                "HostIp": "127.0.0.6",
                "HostPort": "5432"
              },
              {
                "HostIp": "::1",
                "HostPort": ""
              }
            ]
          },
          "Privileged": true,
          "ReadonlyRootfs": true,
          "RestartPolicy": {
            "MaximumRetryCount": 3,
            "Name": "on-failure"
          },
          "Runtime": "runc",
          "SecurityOpt": [
            "no-new-privileges:true"
          ],
          "ShmSize": 67108864,
          "StorageOpt": {
            "size": "1g"
          },
          "Sysctls": {
            "net.core.somaxconn": "1024"
          },
          "Tmpfs": {
            "/tmp": "noexec,size=1024,mode=1777"
          },
          "UTSMode": "host",
          "Ulimits": [
            {
              "Hard": 2048,
              "Name": "nofile",
              "Soft": 1024
            }
          ],
          "UsernsMode": "host",
          "VolumesFrom": [
            "macula-data-1:ro"
          ]
        },
        "Hostname": "db",
        "Image": "sha256:ab",
        "Labels": {
          "dev.macula.platform": "macula"
        },
        "NetworkingConfig": {
          "EndpointsConfig": {
            "macula": {
              "Aliases": [
                "db",
                "postgres.macula.local"
              ],
              "IPAMConfig": {
                "IPv4Address": "10.3.0.7"
              },
              "Links": [
                "cache.shop:cache",
                "macula-db-1:database"
              ]
            }
          }
        },
        "OpenStdin": true,
        "StopSignal": "SIGINT",
        "StopTimeout": 2,
        "Tty": true,
        "User": "999:999",
        "WorkingDir": "/w"
      }
    }
    "#);
}

#[test]
fn a_new_engine_takes_all_networks_and_the_faster_start() {
    let spec = full();
    let labels = BTreeMap::new();
    let made = creation(&spec, "x", &labels, &[], NEW).unwrap();
    assert!(made.connect.is_empty());
    let endpoints = made.body.networking_config.unwrap().endpoints_config.unwrap();
    let mut names: Vec<&String> = endpoints.keys().collect();
    names.sort();
    assert_eq!(names, ["macula", "other"]);
    assert_eq!(made.body.healthcheck.unwrap().start_interval, Some(250_000_000));
    let host = made.body.host_config.unwrap();
    assert_eq!(host.binds, None);
    let bind = &host.mounts.unwrap()[1];
    assert_eq!(bind.read_only, Some(true));
    assert_eq!(bind.bind_options.as_ref().unwrap().create_mountpoint, Some(true));
}
