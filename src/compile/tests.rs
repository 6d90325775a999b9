//! What a service asks for beyond its own file.

use std::net::Ipv4Addr;

use super::*;
use crate::config::{MemoryFiles, Request, load};
use crate::engine::Engine as _;
use crate::engine::fake::FakeEngine;
use crate::model::{MountSpec, NameServer};

const STACK: &str = "
services:
  asks:
    image: asks:1
    environment: {CURL_CA_BUNDLE: /mine.pem}
    x-macula: {trust: true}
  asks-not:
    image: asks:1
";

/// With no certificate, the resolver and nothing that is held.
fn site<'a>(facts: &'a Facts, secrets: &'a Secrets) -> Site<'a> {
    Site {
        facts,
        subnet: ipnet::Ipv4Net::new(Ipv4Addr::new(10, 222, 7, 0), 24).unwrap(),
        block: Block::DEFAULT,
        secrets,
        certificate: None,
        version: "1",
        resolver: true,
        held: &[],
    }
}

async fn compiled(certificate: Option<&Served>) -> Vec<(String, Vec<String>, Vec<String>)> {
    let files = MemoryFiles::default().with("/w/app/compose.yaml", STACK);
    let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], ..Request::default() };
    let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    platform.stacks.retain(|stack| stack.name == "app");
    let facts = FakeEngine::new().facts().await.unwrap();
    let secrets = Secrets::default();
    let site = Site { certificate, ..site(&facts, &secrets) };
    let resources = compile(&platform, &site).unwrap();
    let shown = |spec: crate::model::ContainerSpec| {
        let files = spec
            .files
            .iter()
            .map(|file| format!("{} {:o} {}", file.path, file.mode, String::from_utf8_lossy(&file.content)));
        (spec.service.clone(), spec.env.clone(), files.collect())
    };
    resources.containers.into_iter().map(shown).collect()
}

#[tokio::test]
async fn more_than_the_usual_time_is_given_also_by_who_has_a_health_check() {
    let facts = FakeEngine::new().facts().await.unwrap();
    let secrets = Secrets::default();
    for (settings, expected) in [
        ("name: shop\n", (120, false)),
        ("timeouts: {healthy: 1m}\n", (60, false)),
        ("timeouts: {healthy: 5m}\n", (300, true)),
    ] {
        let stack = "services: {web: {image: 'x:1', healthcheck: {test: [CMD, ask], interval: 1s, retries: 1}}}\n";
        let files = MemoryFiles::default().with("/w/macula.yaml", settings).with("/w/app/compose.yaml", stack);
        let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], ..Request::default() };
        let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        platform.stacks.retain(|stack| stack.name == "app");
        let resources = compile(&platform, &site(&facts, &secrets)).unwrap();
        let readiness = &resources.containers[0].readiness;
        assert_eq!((readiness.timeout.as_secs(), readiness.patient), expected, "{settings}");
    }
}

#[tokio::test]
async fn the_authority_goes_to_those_that_ask() {
    let served = Served { chain: "c".into(), key: "k".into(), root: "ROOT".into(), bundle: "ALL".into() };
    insta::assert_debug_snapshot!(compiled(Some(&served)).await, @r#"
    [
        (
            "asks",
            [
                "CURL_CA_BUNDLE=/mine.pem",
                "NODE_EXTRA_CA_CERTS=/etc/macula/ca.pem",
                "REQUESTS_CA_BUNDLE=/etc/macula/ca-bundle.pem",
                "SSL_CERT_FILE=/etc/macula/ca-bundle.pem",
            ],
            [
                "/etc/macula/ca.pem 444 ROOT",
                "/etc/macula/ca-bundle.pem 444 ALL",
            ],
        ),
        (
            "asks-not",
            [],
            [],
        ),
    ]
    "#);
    assert!(compiled(None).await.iter().all(|(_, env, files)| env.len() < 2 && files.is_empty()));
}

/// What these stacks come to, without the built-in ones.
async fn resources(files: &MemoryFiles, stacks: &[&str]) -> Resources {
    resources_on(files, stacks, NameServer::InContainer).await
}

async fn resources_on(files: &MemoryFiles, stacks: &[&str], names: NameServer) -> Resources {
    let stacks = stacks.iter().map(|stack| (*stack).into()).collect();
    let request = Request { cwd: "/w".into(), stacks, only_own: true, ..Request::default() };
    let platform = load(&request, files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    let mut facts = FakeEngine::new().facts().await.unwrap();
    facts.traits.names = names;
    compile(&platform, &site(&facts, &Secrets::default())).unwrap()
}

/// The app's stack alone.
fn platform(stack: &str) -> crate::model::Platform {
    let files = MemoryFiles::default().with("/w/app/compose.yaml", stack);
    let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], only_own: true, ..Request::default() };
    load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
}

#[test]
fn names_in_the_engine_are_known_before_anything_is_compiled() {
    let platform = platform(
        "services: {db: {image: x}, web: {image: x, deploy: {replicas: 2}, \
         depends_on: {db: {condition: service_started, restart: true}}}}\nnetworks: {back: {}}\nvolumes: {data: {}}\n",
    );
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wanted = WantedNames {
        containers: all(&["macula-db-1", "macula-web-1", "macula-web-2"]),
        networks: all(&["macula", &platform.name.stack_network("app", "back")]),
        // with what docker compose would call it
        volumes: all(&["macula-data", "app_data"]),
        timed: all(&["macula-web-1", "macula-web-2"]),
    };
    assert_eq!(wanted_names(&platform), wanted);
}

#[test]
fn a_port_of_several_programs_that_speak_http_is_told_apart_by_name() {
    let of = |guard: &str| {
        let platform = platform(&format!(
            "services:\n  a: {{image: x, ports: ['3000:3000'], x-macula: {{address: 127.0.0.111, ingress: {{port: 3000{guard}}}}}}}\n  \
             b: {{image: x, ports: ['3000:80'], x-macula: {{address: 127.0.0.112, ingress: {{port: 80}}}}}}\n  \
             edge: {{image: x, x-macula: {{role: ingress}}}}\n",
        ));
        let streams = super::ingress::streams(&platform).into_iter();
        let streams: Vec<_> = streams.map(|stream| (stream.service, stream.port, !stream.hosts.is_empty())).collect();
        (super::ingress::named_ports(&platform).into_iter().collect::<Vec<_>>(), streams)
    };
    assert_eq!(of(""), (vec![3000], Vec::new()));
    // what no foreign page may reach is shared with nobody
    assert_eq!(of(", same_origin: true"), (Vec::new(), vec![("a".to_owned(), 3000, true)]));
}

/// It is not built again, and runs again for another one.
#[tokio::test]
async fn a_task_has_the_build_of_its_service() {
    let made = async |from: &str| {
        let build = format!("{{context: ., dockerfile_inline: FROM {from}}}");
        let stack = format!("services: {{web: {{build: {build}, x-macula: {{tasks: {{seed: {{run: [seed]}}}}}}}}}}\n");
        resources(&MemoryFiles::default().with("/w/app/compose.yaml", stack), &["/w/app"]).await
    };
    let (one, other) = (made("a").await, made("b").await);
    let services: Vec<&String> = one.images.iter().flat_map(|image| &image.services).collect();
    assert_eq!(services, ["seed", "web"]);
    let inputs = |all: &Resources| all.containers.iter().find_map(|spec| spec.task.as_ref()).unwrap().inputs.clone();
    assert_ne!(inputs(&one), inputs(&other));
}

/// Made twice, it would be two steps of one name.
#[tokio::test]
async fn a_volume_of_two_stacks_is_made_once() {
    let stack = |service: &str| {
        format!("services: {{{service}: {{image: 'x:1', volumes: ['shared:/shared']}}}}\nvolumes: {{shared: {{}}}}\n")
    };
    let files =
        MemoryFiles::default().with("/w/one/compose.yaml", stack("writes")).with("/w/two/compose.yaml", stack("reads"));
    let resources = resources(&files, &["/w/one", "/w/two"]).await;
    let of = |spec: &VolumeSpec| {
        [label::STACK, label::CONFIG_FILES, label::SHARED_BY]
            .map(|key| spec.labels.get(key).cloned().unwrap_or_default())
    };
    let volumes: Vec<_> = resources.volumes.iter().map(|spec| (spec.name.as_str(), of(spec))).collect();
    assert_eq!(volumes, [("macula-shared", ["one", "/w/one/compose.yaml", "two"].map(str::to_owned))]);
}

/// As in the files of Compose: whoever says `external` joins what another stack makes, and the platform's
/// own network may be joined by its name.
#[tokio::test]
async fn a_network_of_two_stacks_is_made_once() {
    let stack = |service: &str, networks: &str| {
        format!(
            "services: {{{service}: {{image: 'x:1', networks: [default, back, own]}}}}\nnetworks: {{back: {{{networks}}}, own: {{name: macula, external: true}}}}\n"
        )
    };
    let files = MemoryFiles::default()
        .with("/w/one/compose.yaml", stack("joins", "name: back, external: true"))
        .with("/w/two/compose.yaml", stack("makes", "name: back, internal: true"))
        .with("/w/three/compose.yaml", stack("shares", "name: back, internal: true"));
    let resources = resources(&files, &["/w/one", "/w/two", "/w/three"]).await;
    let networks: Vec<_> = resources
        .networks
        .iter()
        .map(|spec| (spec.name.as_str(), spec.external, spec.labels.get(label::STACK).map(String::as_str)))
        .collect();
    assert_eq!(networks, [("macula", false, None), ("back", false, Some("two"))]);
    for container in &resources.containers {
        let on: Vec<&str> = container.networks.iter().map(|attachment| attachment.network.as_str()).collect();
        assert_eq!(on, ["macula", "back"], "{}", container.name);
    }
}

/// `docker compose -p PROJECT` looks at nothing without a configuration hash, and stops in the order of `depends_on`.
#[tokio::test]
async fn docker_compose_finds_everything_of_the_platform() {
    let stack = "services: {web: {image: 'x:1', depends_on: {db: {condition: service_healthy}}}, \
                 db: {image: 'x:1', volumes: ['data:/data']}}\nvolumes: {data: {}}\nnetworks: {back: {}}\n";
    let files = MemoryFiles::default().with("/w/shop/compose.yaml", stack);
    let resources = resources(&files, &["/w/shop"]).await;
    let web = resources.containers.iter().find(|spec| spec.service == "web").unwrap();
    let label = |key: &str| web.labels.get(&format!("com.docker.compose.{key}")).map(String::as_str);
    assert_eq!(label("config-hash"), web.fingerprint.as_ref().map(|hash| hash.0.as_str()));
    assert_eq!((label("project"), label("service")), (Some("macula"), Some("web")));
    assert_eq!(label("depends_on"), Some("db:service_healthy:false"));
    assert_eq!(label("project.config_files"), Some("/w/shop/compose.yaml"));
    assert_eq!(label("project.working_dir"), Some("/w/shop"));
    let request = Request { cwd: "/w".into(), only_own: true, stacks: vec!["/w/shop".into()], ..Request::default() };
    let mut platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    let stack = platform.stacks[0].clone();
    assert_eq!(platform.file_of(&stack).unwrap(), std::path::Path::new("/w/shop/compose.yaml"));
    platform.written = Some("/data/macula/stacks".into());
    let built_in = crate::model::Stack { origin: crate::model::Origin::BuiltIn, name: "metrics".into(), ..stack };
    assert_eq!(platform.file_of(&built_in).unwrap(), std::path::Path::new("/data/macula/stacks/metrics.yaml"));
    let project =
        |labels: &std::collections::BTreeMap<String, String>| labels.get("com.docker.compose.project").cloned();
    assert!(resources.networks.iter().all(|spec| project(&spec.labels).as_deref() == Some("macula")));
    assert!(resources.volumes.iter().all(|spec| project(&spec.labels).as_deref() == Some("macula")));
    // whose data it is, where the project is not at hand
    let file = |labels: &std::collections::BTreeMap<String, String>| labels.get(label::CONFIG_FILES).cloned();
    assert_eq!(file(&resources.volumes[0].labels).as_deref(), Some("/w/shop/compose.yaml"));
    assert!(resources.networks.iter().all(|spec| file(&spec.labels).is_none()));
    platform.stacks = vec![built_in];
    let facts = FakeEngine::new().facts().await.unwrap();
    assert_eq!(
        file(&compile(&platform, &site(&facts, &Secrets::default())).unwrap().volumes[0].labels),
        None,
        "of what is built in"
    );
}

#[tokio::test]
async fn a_stack_with_a_name_that_is_taken_finds_its_own_first() {
    let files = MemoryFiles::default()
        .with("/w/ours/compose.yaml", "services: {postgres: {image: 'p:1'}, s3: {image: 's:1'}}")
        .with(
            "/w/shop/compose.yaml",
            "services:
  web: {image: 'w:1', networks: [default, back], x-macula: {ingress: {host: web, port: 80}}}
  postgres: {image: 'p:2', networks: {back: , default: {aliases: [s3]}}}
  jobs: {image: 'j:1', networks: [back]}
networks: {back: }
",
        );
    let found = resources(&files, &["ours", "shop"]).await;
    let networks: Vec<&str> = found.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(networks, ["macula", "macula-shop-back", "macula-shop-default"]);
    let lines = found.containers.iter().map(|spec| {
        let networks = spec
            .networks
            .iter()
            .map(|joined| format!("\n  {} is {:?}, finds {:?}", joined.network, joined.aliases, joined.links));
        format!("{}:{}", spec.name, networks.collect::<String>())
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    macula-postgres-1:
      macula is ["postgres"], finds []
    macula-s3-1:
      macula is ["s3"], finds []
    macula-jobs-1:
      macula-shop-back is ["jobs"], finds ["postgres.shop:postgres"]
    macula-shop-postgres-1:
      macula is ["shop-postgres"], finds []
      macula-shop-back is ["shop-postgres", "postgres", "postgres.shop"], finds ["postgres.shop:postgres"]
      macula-shop-default is ["shop-postgres", "postgres", "s3", "postgres.shop", "s3.shop"], finds ["postgres.shop:postgres", "s3.shop:s3"]
    macula-web-1:
      macula is ["web"], finds []
      macula-shop-back is ["web"], finds ["postgres.shop:postgres"]
      macula-shop-default is ["web"], finds ["postgres.shop:postgres", "s3.shop:s3"]
    "#);
}

/// Podman's name server knows no links.
#[tokio::test]
async fn where_links_lead_nowhere_a_stack_looks_among_its_own_names_first() {
    let files = MemoryFiles::default()
        .with("/w/ours/compose.yaml", "services: {db: {image: 'p:1'}}")
        .with("/w/shop/compose.yaml", "services: {web: {image: 'w:1', dns_search: [corp]}, db: {image: 'p:2'}}")
        .with("/w/alone/compose.yaml", "services: {page: {image: 'w:1'}}");
    for (names, expected) in [(NameServer::Gateway, "shop corp"), (NameServer::InContainer, "corp")] {
        let found = resources_on(&files, &["ours", "shop", "alone"], names).await;
        let of = |name: &str| found.containers.iter().find(|spec| spec.name == name).unwrap();
        let searched = |name: &str| of(name).options.dns_search.join(" ");
        assert_eq!(searched("macula-web-1"), expected);
        assert_eq!((searched("macula-db-1"), searched("macula-page-1")), (String::new(), String::new()));
        let own = |name: &str| {
            let joined = of(name).networks.iter().find(|joined| joined.network == "macula-shop-default").unwrap();
            joined.aliases.join(" ")
        };
        let (web, db) = match names {
            NameServer::Gateway => ("web web.shop", "shop-db db shop-db.shop db.shop"),
            _ => ("web", "shop-db db db.shop"),
        };
        assert_eq!((own("macula-web-1").as_str(), own("macula-shop-db-1").as_str()), (web, db));
    }
}

#[tokio::test]
async fn a_volume_takes_the_place_of_a_tmpfs_that_would_hide_a_file() {
    let text = "
services:
  a:
    image: a:1
    secrets: [{source: s, target: /run/deep/s}]
    tmpfs: [/run/deep, /other]
secrets: {s: {content: x}}
";
    let files = MemoryFiles::default().with("/w/app/compose.yaml", text);
    let request = Request { cwd: "/w".into(), stacks: vec!["/w/app".into()], only_own: true, ..Request::default() };
    let platform = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
    let facts = FakeEngine::new().facts().await.unwrap();
    let resources = compile(&platform, &site(&facts, &Secrets::default())).unwrap();
    let mounts: Vec<String> = resources.containers[0]
        .mounts
        .iter()
        .map(|mount| match mount {
            MountSpec::Tmpfs { target, .. } => format!("tmpfs {target}"),
            other => format!("volume {}", other.target()),
        })
        .collect();
    assert_eq!(mounts, ["tmpfs /other", "volume /run/deep"]);
}

/// Requests for names of others come to a guarded port, too: whoever publishes it has to look at them.
#[tokio::test]
async fn ports_that_no_foreign_page_may_reach_are_held_by_the_ingress() {
    let stack = |role: &str| {
        format!(
            "services:
  edge: {{image: 'e:1', x-macula: {{{role}}}}}
  store:
    image: 's:1'
    ports: ['5001:5000', '5002:5002', '0.0.0.0:5003:5000', '53:53/udp']
    x-macula: {{address: 127.0.0.9, ingress: {{host: images.example.org, port: 5000, same_origin: true}}}}
"
        )
    };
    let of = async |role: &str| {
        let files = MemoryFiles::default().with("/w/app/compose.yaml", stack(role));
        resources(&files, &["/w/app"]).await
    };
    let shown = |ports: &[crate::model::PortBinding]| {
        let port = |port: &crate::model::PortBinding| {
            format!("{}:{}:{}/{}", port.host_ip, port.host_port.unwrap_or(0), port.container_port, port.protocol)
        };
        ports.iter().map(port).collect::<Vec<_>>()
    };
    let ports = |resources: &Resources, service: &str| {
        let spec = resources.containers.iter().find(|spec| spec.service == service).unwrap();
        (shown(&spec.ports), shown(&spec.guarded))
    };
    let with = of("role: ingress").await;
    let own = ["0.0.0.0:5003:5000/tcp", "127.0.0.9:53:53/udp", "127.0.0.9:5002:5002/tcp"].map(str::to_owned);
    assert_eq!(ports(&with, "store"), (own.to_vec(), vec!["127.0.0.9:5001:5000/tcp".to_owned()]));
    let (edge, _) = ports(&with, "edge");
    assert!(edge.contains(&"127.0.0.9:5001:5001/tcp".to_owned()), "{edge:?}");
    let stream = with.streams.iter().find(|stream| stream.port == 5001).unwrap();
    assert_eq!(
        stream.hosts.join(" "),
        ".localhost .macula.local host.containers.internal host.docker.internal images.example.org localhost \
         macula-store-1 macula.local store"
    );
    assert!(with.streams.iter().filter(|stream| stream.port != 5001).all(|stream| stream.hosts.is_empty()));
    let without = of("").await;
    let (store, guarded) = ports(&without, "store");
    assert!(store.contains(&"127.0.0.9:5001:5000/tcp".to_owned()) && guarded.is_empty(), "{store:?}");
}

/// On this machine, too, a name behind which the background process takes telemetry answers on the ports of the ingress.
#[tokio::test]
async fn the_ingress_has_the_addresses_of_names_that_no_service_has() {
    let published = async |address: &str| {
        let stack = format!(
            "services:\n  edge: {{image: 'e:1', x-macula: {{role: ingress}}}}\n  \
             store: {{image: 's:1', ports: ['9000:9000'], x-macula: {{address: {address}}}}}\n"
        );
        let files = MemoryFiles::default().with("/w/app/compose.yaml", stack);
        let found = resources(&files, &["/w/app"]).await;
        let edge = found.containers.into_iter().find(|spec| spec.service == "edge").unwrap();
        let web = edge.ports.into_iter().filter(|port| port.container_port == 80);
        web.map(|port| port.host_ip.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let all = |addresses: &[&str]| -> std::collections::BTreeSet<String> {
        addresses.iter().map(|last| format!("127.0.0.{last}")).collect()
    };
    assert_eq!(published("127.0.0.105").await, all(&["1", "3", "12", "105"]));
    // not every engine publishes a number at a second address
    assert_eq!(published("127.0.0.1").await, all(&["1"]));
}

/// An isolated network that was dropped would have a way out.
#[tokio::test]
async fn a_default_network_is_made_as_its_file_describes_it() {
    let text = "services: {a: {image: 'a:1'}, b: {image: 'b:1', networks: [default]}}\n\
                networks: {default: {name: apart, internal: true, driver_opts: {x: y}, ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n";
    let files = MemoryFiles::default().with("/w/app/compose.yaml", text);
    let resources = resources(&files, &["/w/app"]).await;
    let made = resources.networks.iter().find(|network| network.name == "apart").unwrap();
    assert!(made.internal && made.driver_opts["x"] == "y" && made.ipam[0].subnet.to_string() == "10.9.0.0/24");
    for container in &resources.containers {
        let on: Vec<&str> = container.networks.iter().map(|joined| joined.network.as_str()).collect();
        assert_eq!(on, ["apart"], "{}", container.name);
    }
}
