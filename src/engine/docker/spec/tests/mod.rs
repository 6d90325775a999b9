use std::time::Duration;

use super::*;
use crate::model::{Limits, Logging, PortBinding as Port, Protocol, Ulimit};

const OLD: ApiVersion = ApiVersion(1, 41);
const NEW: ApiVersion = ApiVersion(1, 48);

fn bare() -> ContainerSpec {
    ContainerSpec {
        name: "macula-db-1".into(),
        stack: "db".into(),
        service: "db".into(),
        replica: 1,
        image: "postgres:18".into(),
        networks: vec![network("macula", Some("10.3.0.7"))],
        ..ContainerSpec::default()
    }
}

fn network(name: &str, ipv4: Option<&str>) -> NetworkAttachment {
    NetworkAttachment {
        network: name.into(),
        aliases: vec!["db".into(), "postgres.macula.local".into()],
        links: vec!["cache.shop:cache".into()],
        ipv4: ipv4.map(|ip| ip.parse().unwrap()),
        ipv6: None,
    }
}

fn json(spec: &ContainerSpec, api: ApiVersion) -> String {
    let labels = BTreeMap::from([("dev.macula.platform".to_owned(), "macula".to_owned())]);
    let volumes = [("macula-db-1-extra".to_owned(), "/extra".to_owned())];
    let creation = creation(spec, "sha256:ab", &labels, &volumes, api).unwrap();
    let later: Vec<_> = creation.connect.iter().map(|(name, endpoint)| serde_json::json!({name: endpoint})).collect();
    // through a value: the client's maps have no order of their own
    let sorted: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(serde_json::json!({"create": creation.body, "connect later": later})).unwrap();
    serde_json::to_string_pretty(&sort(serde_json::to_value(sorted).unwrap())).unwrap()
}

fn sort(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.into_iter().map(|(key, value)| (key, sort(value))).collect();
            sorted.into_iter().collect()
        }
        serde_json::Value::Array(list) => list.into_iter().map(sort).collect(),
        other => other,
    }
}

#[test]
fn a_bare_spec_asks_for_nothing() {
    insta::assert_snapshot!(json(&bare(), OLD), @r#"
    {
      "connect later": [],
      "create": {
        "HostConfig": {
          "Mounts": [
            {
              "Source": "macula-db-1-extra",
              "Target": "/extra",
              "Type": "volume"
            }
          ],
          "NetworkMode": "macula"
        },
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
                "cache.shop:cache"
              ]
            }
          }
        }
      }
    }
    "#);
}

#[test]
fn podman_gives_a_tmpfs_to_the_containers_user_and_to_everybody() {
    let tmpfs = |target: &str, mode, options: &[&str]| MountSpec::Tmpfs {
        target: target.into(),
        size: Some(1024),
        mode,
        options: options.iter().map(|word| (*word).to_owned()).collect(),
    };
    let mounts = vec![
        tmpfs("/owned", Some(0o3777), &["uid=70", "gid=70", "noexec"]),
        tmpfs("/group", None, &["gid=70"]),
        tmpfs("/plain", Some(0o700), &["nosuid"]),
    ];
    let spec = ContainerSpec { mounts, ..bare() };
    let made = || creation(&spec, "sha256:ab", &BTreeMap::new(), &[], OLD).unwrap();
    let words = |creation: Creation, target: &str| creation.body.host_config.unwrap().tmpfs.unwrap()[target].clone();
    assert_eq!(words(made(), "/owned"), "uid=70,gid=70,noexec,size=1024,mode=3777");
    for (target, expected) in [
        ("/owned", "noexec,size=1024,U,mode=1777"),
        ("/group", "size=1024,U,mode=1777"),
        ("/plain", "nosuid,size=1024,mode=700"),
    ] {
        assert_eq!(words(made().for_podman(), target), expected);
    }
}

#[test]
fn podman_is_told_how_long_a_container_may_take_to_end() {
    for (named, expected) in [(None, 10), (Some(0), 0), (Some(2500), 3)] {
        let spec = ContainerSpec { stop_grace_ms: named, ..bare() };
        let made = creation(&spec, "sha256:ab", &BTreeMap::new(), &[], OLD).unwrap();
        assert_eq!(made.body.stop_timeout, named.map(|_| expected), "Docker has a time of its own");
        assert_eq!(made.for_podman().body.stop_timeout, Some(expected));
    }
}

/// Docker's client makes of it that nothing is hidden; the engine refuses the words.
#[test]
fn open_system_paths_hide_nothing() {
    let host = |options: &[&str]| {
        let mut spec = bare();
        spec.options.security_opt = options.iter().map(|&option| option.to_owned()).collect();
        creation(&spec, "x", &BTreeMap::new(), &[], OLD).unwrap().body.host_config.unwrap()
    };
    for words in ["systempaths=unconfined", "systempaths:unconfined"] {
        let open = host(&["no-new-privileges:true", words]);
        assert_eq!(open.security_opt.as_deref(), Some(["no-new-privileges:true".to_owned()].as_slice()));
        assert_eq!((open.masked_paths, open.readonly_paths), (Some(vec![]), Some(vec![])));
    }
    let plain = host(&["no-new-privileges:true"]);
    assert_eq!((plain.masked_paths, plain.readonly_paths), (None, None));
}

#[test]
fn a_borrowed_network_has_no_endpoints() {
    let spec = ContainerSpec { network_mode: Some("host".into()), ..bare() };
    let made = creation(&spec, "x", &BTreeMap::new(), &[], OLD).unwrap();
    assert_eq!(made.body.networking_config, None);
    assert_eq!(made.body.host_config.unwrap().network_mode.as_deref(), Some("host"));
}

#[test]
fn a_mac_address_is_the_containers_where_endpoints_have_none() {
    let mut spec = bare();
    let network = |name: &str| NetworkAttachment {
        network: name.into(),
        aliases: Vec::new(),
        links: Vec::new(),
        ipv4: None,
        ipv6: None,
    };
    spec.networks = vec![network("front"), network("back")];
    spec.options.mac_address = Some("02:42:ac:11:00:02".into());
    let sent = |api| {
        let made = creation(&spec, "x", &BTreeMap::new(), &[], api).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&made.json().unwrap()).unwrap();
        (body["MacAddress"].clone(), body["NetworkingConfig"]["EndpointsConfig"]["front"]["MacAddress"].clone())
    };
    assert_eq!(sent(OLD), ("02:42:ac:11:00:02".into(), serde_json::Value::Null));
    assert_eq!(sent(ApiVersion(1, 44)), (serde_json::Value::Null, "02:42:ac:11:00:02".into()));
}

#[test]
fn files_of_an_image_are_mounted() {
    let mut spec = bare();
    spec.mounts = vec![MountSpec::Image { source: "x:1".into(), target: "/x".into(), subpath: Some("share".into()) }];
    let made = creation(&spec, "x", &BTreeMap::new(), &[], ApiVersion(1, 48)).unwrap();
    let mounts = serde_json::to_value(made.body.host_config.unwrap().mounts).unwrap();
    let want = serde_json::json!([{
        "Type": "image", "Source": "x:1", "Target": "/x", "ReadOnly": true, "ImageOptions": {"Subpath": "share"},
    }]);
    assert_eq!(mounts, want);
}

#[test]
fn what_an_engine_cannot_do_is_said() {
    let with = |change: fn(&mut ContainerSpec)| {
        let mut spec = bare();
        change(&mut spec);
        creation(&spec, "x", &BTreeMap::new(), &[], OLD).unwrap_err()
    };
    let said = [
        with(|spec| spec.options.annotations = BTreeMap::from([("a".into(), "b".into())])),
        with(|spec| {
            spec.mounts = vec![MountSpec::Volume {
                source: "v".into(),
                target: "/v".into(),
                read_only: false,
                no_copy: false,
                subpath: Some("s".into()),
            }]
        }),
        with(|spec| {
            spec.mounts = vec![MountSpec::Image { source: "x:1".into(), target: "/x".into(), subpath: None }];
        }),
        with(|spec| spec.options.cgroup = Some("mine".into())),
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    `annotations` needs an engine with version 1.43 of the API, this one has 1.41
    `subpath` needs an engine with version 1.45 of the API, this one has 1.41
    `type: image` needs an engine with version 1.48 of the API, this one has 1.41
    `cgroup` is `host` or `private`, not `mine`
    ");
}

#[test]
fn each_word_is_said_from_its_version_on() {
    type Change = fn(&mut ContainerSpec);
    let made = |minor: u16, change: Change| {
        let mut spec = bare();
        change(&mut spec);
        creation(&spec, "x", &BTreeMap::new(), &[], ApiVersion(1, minor))
    };
    let annotated: Change = |spec| {
        spec.options.annotations.insert("a".into(), "b".into());
    };
    assert!(made(42, annotated).is_err());
    let host = made(43, annotated).unwrap().body.host_config.unwrap();
    assert_eq!(host.annotations.unwrap()["a"], "b");
    let deep: Change = |spec| {
        spec.mounts = vec![MountSpec::Volume {
            source: "v".into(),
            target: "/v".into(),
            read_only: true,
            no_copy: false,
            subpath: Some("s".into()),
        }];
    };
    assert!(made(44, deep).is_err());
    let host = made(45, deep).unwrap().body.host_config.unwrap();
    assert_eq!(
        serde_json::to_value(host.mounts).unwrap(),
        serde_json::json!([{
            "Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": true, "VolumeOptions": {"Subpath": "s"},
        }])
    );
    let image: Change = |spec| {
        spec.mounts = vec![MountSpec::Image { source: "x:1".into(), target: "/x".into(), subpath: None }];
    };
    assert!(made(47, image).is_err());
    // and what is done in another way before
    let two: Change = |spec| spec.networks.push(network("other", None));
    let later = |minor| {
        let connect = made(minor, two).unwrap().connect;
        connect.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!((later(43), later(44)), (vec!["other".to_owned()], Vec::new()));
    let fast: Change = |spec| {
        let start_interval = Some(Duration::from_secs(1));
        let test = vec!["CMD".into(), "ask".into()];
        let (interval, timeout, retries, start_period) = (None, None, None, None);
        spec.healthcheck = Some(Healthcheck { test, interval, timeout, retries, start_period, start_interval });
    };
    let started = |minor| made(minor, fast).unwrap().body.healthcheck.unwrap().start_interval;
    assert_eq!((started(43), started(44)), (None, Some(1_000_000_000)));
}

/// The older form makes the folder and labels it; the newer one takes any path.
#[test]
fn a_folder_is_mounted_in_the_form_that_says_all_of_it() {
    let sent = |minor: u16, source: &str, target: &str, made: bool, words: [Option<&str>; 2]| {
        let [propagation, selinux] = words.map(|word| word.map(str::to_owned));
        let mount = MountSpec::Bind {
            source: source.into(),
            target: target.into(),
            read_only: false,
            create_host_path: made,
            propagation,
            selinux,
        };
        let spec = ContainerSpec { mounts: vec![mount], ..bare() };
        let made = creation(&spec, "x", &BTreeMap::new(), &[], ApiVersion(1, minor));
        made.map(|made| {
            let host = made.body.host_config.unwrap();
            serde_json::json!([host.binds, host.mounts])
        })
    };
    let bound = |words: &str| serde_json::json!([[words], null]);
    let mounted = |source: &str, target: &str, options: serde_json::Value| {
        let mut mount = serde_json::json!({"Type": "bind", "Source": source, "Target": target});
        if !options.is_null() {
            mount["BindOptions"] = options;
        }
        serde_json::json!([null, [mount]])
    };
    let (none, makes) = (serde_json::Value::Null, serde_json::json!({"CreateMountpoint": true}));
    for (minor, source, target, made, words, expected) in [
        (41, "/a", "/t", true, [None, None], bound("/a:/t:rw")),
        (42, "/a", "/t", true, [None, None], mounted("/a", "/t", makes.clone())),
        (41, "/a", "/t", false, [None, None], mounted("/a", "/t", none.clone())),
        (48, "/a", "/t", false, [Some("rshared"), Some("z")], bound("/a:/t:rw,rshared,z")),
        (41, "/a:b", "/t", true, [None, None], mounted("/a:b", "/t", none.clone())),
        (48, "/a", "/t:u", true, [None, Some("Z")], mounted("/a", "/t:u", makes)),
    ] {
        assert_eq!(sent(minor, source, target, made, words), Ok(expected), "{minor} {source} {target} {words:?}");
    }
    for mode in ["private", "rprivate", "shared", "rshared", "slave", "rslave"] {
        let expected = mounted("/a", "/t", serde_json::json!({"Propagation": mode}));
        assert_eq!(sent(42, "/a", "/t", false, [Some(mode), None]), Ok(expected));
    }
    let told = sent(42, "/a", "/t", false, [Some("up"), None]).unwrap_err();
    assert_eq!(told, "`up` is not a propagation mode of bind mounts");
}

#[test]
fn a_request_for_devices_is_for_a_gpu_where_nothing_else_is_named() {
    for (driver, ids, capabilities, expected) in [
        ("", vec![], vec![], serde_json::json!({"Capabilities": [["gpu"]]})),
        (
            "nvidia",
            vec!["0"],
            vec![],
            serde_json::json!({"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}),
        ),
        ("cdi", vec!["a.com/b=c"], vec![], serde_json::json!({"Driver": "cdi", "DeviceIDs": ["a.com/b=c"]})),
        ("cdi", vec![], vec!["tpu"], serde_json::json!({"Driver": "cdi", "Capabilities": [["tpu"]]})),
    ] {
        let list = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let request = crate::model::DeviceRequest {
            driver: driver.into(),
            ids: list(ids),
            capabilities: list(capabilities),
            ..Default::default()
        };
        assert_eq!(serde_json::to_value(device_request(&request)).unwrap(), expected);
    }
}

#[test]
fn a_policy_of_restarts_is_named_as_the_engine_names_it() {
    for (policy, expected) in [
        (Restart::No, serde_json::Value::Null),
        (Restart::Always, serde_json::json!({"Name": "always"})),
        (Restart::UnlessStopped, serde_json::json!({"Name": "unless-stopped"})),
        (Restart::OnFailure(None), serde_json::json!({"Name": "on-failure"})),
    ] {
        assert_eq!(serde_json::to_value(restart(&policy)).unwrap(), expected, "{policy:?}");
    }
}

#[test]
fn a_group_of_processes_an_address_and_an_input_are_passed_on() {
    let mut spec = bare();
    spec.options.cgroup = Some("host".into());
    spec.networks[0].ipv4 = None;
    spec.networks[0].ipv6 = Some("fd00::7".parse().unwrap());
    let made = |labels: BTreeMap<String, String>| creation(&spec, "x", &labels, &[], OLD).unwrap().body;
    let body = made(BTreeMap::new());
    assert_eq!(body.stdin_once, None);
    assert_eq!(body.host_config.unwrap().cgroupns_mode, Some(HostConfigCgroupnsModeEnum::HOST));
    let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
    let fixed = serde_json::to_value(&endpoints["macula"].ipam_config).unwrap();
    assert_eq!(fixed, serde_json::json!({"IPv6Address": "fd00::7"}));
    // the command of `run` ends with our input
    assert_eq!(made([(label::ONE_OFF.to_owned(), "db".to_owned())].into()).stdin_once, Some(true));
}

#[test]
fn declared_volumes_get_names() {
    let mut spec = bare();
    spec.mounts = vec![MountSpec::Tmpfs { target: "/run/".into(), size: None, mode: None, options: Vec::new() }];
    let declared = ["/var/lib/postgresql/", "/run", "/a b/~c", "/", "/d_1.x", "/var/lib/postgresql"].map(str::to_owned);
    let volumes = volumes_of_image(&spec, &declared);
    let volumes: Vec<String> = volumes.iter().map(|(name, path)| format!("{name} at {path}")).collect();
    assert_eq!(
        volumes,
        [
            "macula-db-1-a-b-c at /a b/~c",
            "macula-db-1-d_1.x at /d_1.x",
            "macula-db-1-var-lib-postgresql at /var/lib/postgresql"
        ]
    );
    // what is made beside the container that it replaces
    assert_eq!(volumes_of_image(&spec.stand_in(), &declared), volumes_of_image(&spec, &declared));
}

mod whole;
