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
    let open = host(&["no-new-privileges:true", "systempaths=unconfined"]);
    assert_eq!(open.security_opt.as_deref(), Some(["no-new-privileges:true".to_owned()].as_slice()));
    assert_eq!((open.masked_paths, open.readonly_paths), (Some(vec![]), Some(vec![])));
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
fn declared_volumes_get_names() {
    let mut spec = bare();
    spec.mounts = vec![MountSpec::Tmpfs { target: "/run/".into(), size: None, mode: None, options: Vec::new() }];
    let declared = ["/var/lib/postgresql/", "/run", "/a b/~c", "/var/lib/postgresql"].map(str::to_owned);
    let volumes = volumes_of_image(&spec, &declared);
    let volumes: Vec<String> = volumes.iter().map(|(name, path)| format!("{name} at {path}")).collect();
    assert_eq!(volumes, ["macula-db-1-a-b-c at /a b/~c", "macula-db-1-var-lib-postgresql at /var/lib/postgresql"]);
    // what is made beside the container that it replaces
    assert_eq!(volumes_of_image(&spec.stand_in(), &declared), volumes_of_image(&spec, &declared));
}

mod whole;
