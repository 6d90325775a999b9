//! The built-in services as a whole: their limits, and the configuration of the programs that no
//! image could be had of, rendered from `templates/` and held against what each documents.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use macula::compile::{Block, Site, compile, service_volumes, written_volumes};
use macula::config::{MemoryFiles, Request, load};
use macula::engine::Engine as _;
use macula::engine::fake::FakeEngine;
use macula::model::{Platform, Resources, Restart, SecretSource, Secrets};

mod grafana;
mod logs_and_traces;
mod metrics;

/// Everything that is built in, without these services.
fn platform(without: &[&str]) -> Platform {
    let off = without.iter().map(|name| format!("  {name}: {{enabled: false}}\n")).collect::<String>();
    let text = if off.is_empty() { String::new() } else { format!("services:\n{off}") };
    with_settings(&text)
}

/// Everything that is built in, with this macula.yaml.
fn with_settings(text: &str) -> Platform {
    let files = MemoryFiles::default().with("/w/macula.yaml", text);
    let request = Request { cwd: "/w".into(), ..Request::default() };
    load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
}

/// Made up, those that are taken from others included.
fn secrets(platform: &Platform) -> Secrets {
    let mut secrets = Secrets::default();
    for (_, service) in platform.services() {
        for (variable, source) in &service.extension.secrets {
            let origin = match source {
                SecretSource::From { service, key } => format!("{service}.{key}"),
                SecretSource::Generate(_) => format!("{}.{variable}", service.name),
            };
            secrets.set(&service.name, variable, format!("secret-of-{origin}"));
        }
    }
    secrets
}

async fn compiled(without: &[&str]) -> Resources {
    resources(&platform(without)).await
}

async fn resources(platform: &Platform) -> Resources {
    let facts = FakeEngine::new().facts().await.unwrap();
    let site = Site {
        facts: &facts,
        subnet: ipnet::Ipv4Net::new(Ipv4Addr::new(10, 222, 7, 0), 24).unwrap(),
        block: Block::DEFAULT,
        secrets: &secrets(platform),
        certificate: None,
        version: "1",
        resolver: true,
        held: &[],
    };
    compile(platform, &site).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// One rendered file; `None` where its service is not there.
async fn file(without: &[&str], service: &str, path: &str) -> Option<String> {
    rendered(&compiled(without).await, service, path)
}

fn rendered(resources: &Resources, service: &str, path: &str) -> Option<String> {
    let container = resources.containers.iter().find(|spec| spec.service == service)?;
    let file = container.files.iter().find(|file| file.path == path)?;
    Some(String::from_utf8(file.content.clone()).unwrap())
}

/// What may be left out on a machine that has not every image, each in turn.
const LEFT_OUT: [&[&str]; 6] = [&[], &["loki"], &["tempo"], &["prometheus"], &["loki", "tempo"], &["alertmanager"]];

#[tokio::test]
async fn direct_ports_lead_to_their_services() {
    let text = file(&[], "ingress", "/etc/haproxy/haproxy.cfg").await.unwrap();
    let streams = text.split("\nlisten ").skip(1);
    let leads = |stream: &str| {
        let line = |prefix: &str| stream.lines().find_map(|line| line.trim().strip_prefix(prefix)).unwrap().to_owned();
        format!("{} {}", line("bind :"), line("server "))
    };
    let streams: Vec<String> = streams.map(leads).collect();
    for wanted in ["5432 postgres 0.0.0.0:5432", "5001 registry 0.0.0.0:5000"] {
        assert!(streams.iter().any(|stream| stream == wanted), "no `{wanted}` in {streams:?}");
    }
}

/// What answers everybody over HTTP is reached through the ingress on its own port, too: a page whose name has been
/// made to lead to this machine asks under that name.
#[tokio::test]
async fn no_page_of_others_reaches_a_port_that_asks_for_no_password() {
    let resources = compiled(&[]).await;
    let guarded = |spec: &macula::model::ContainerSpec| {
        let ports = spec.guarded.iter().filter_map(|port| port.host_port);
        ports.map(|port| format!("{} {port}", spec.service)).collect::<Vec<_>>()
    };
    let all: Vec<String> = resources.containers.iter().flat_map(guarded).collect();
    assert_eq!(all, ["prometheus 9090", "loki 3100", "tempo 3200", "registry 5001"]);
    let ingress = resources.containers.iter().find(|spec| spec.service == "ingress").unwrap();
    for spec in &resources.containers {
        let held = |port| ingress.ports.iter().any(|other| (other.host_ip, other.host_port) == port);
        assert!(spec.guarded.iter().all(|port| held((port.host_ip, port.host_port))), "{}", spec.name);
    }
}

/// Programs that write beside their volumes, in images that nobody could try here without that.
const WRITE_THEIR_ROOT: [&str; 2] = ["registry-ui", "powerdns-admin"];

#[test]
fn every_container_is_limited_and_confined() {
    let platform = platform(&[]);
    let mut at_rest = 0;
    let mut wrong = Vec::new();
    for (_, service) in platform.services() {
        let mut miss = |what: &str| wrong.push(format!("{}: {what}", service.name));
        let limit = service.options.resources.memory.unwrap_or_default();
        let reserved = service.options.resources.memory_reservation.unwrap_or_default();
        at_rest += reserved;
        if limit == 0 {
            miss("no memory limit");
        }
        // a job is gone when the platform rests
        if service.options.restart != Restart::No && (reserved == 0 || reserved > limit) {
            miss("no memory reservation below its limit");
        }
        let rotated =
            service.options.logging.as_ref().is_some_and(|logging| {
                ["max-size", "max-file"].iter().all(|option| logging.options.contains_key(*option))
            });
        if !rotated {
            miss("its log is not rotated");
        }
        if service.options.resources.pids.is_none() {
            miss("may start any number of processes");
        }
        if service.options.read_only == WRITE_THEIR_ROOT.contains(&&*service.name) {
            miss("may write its root, or is said to");
        }
        if service.options.cap_drop != ["ALL"] {
            miss("keeps capabilities");
        }
        if !service.options.security_opt.iter().any(|option| option == "no-new-privileges:true") {
            miss("may gain privileges");
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(platform.services().count() >= 20);
    assert!(at_rest <= 1536 << 20, "{} MiB are reserved", at_rest >> 20);
}

/// docs/stacks.md says how much memory each service gets.
#[test]
fn the_table_of_limits_is_true() {
    let mebibytes = |bytes: Option<i64>| bytes.map_or("-".to_owned(), |bytes| (bytes >> 20).to_string());
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/stacks.md")).unwrap();
    let platform = platform(&[]);
    let (mut missing, mut sum) = (Vec::new(), 0);
    for (_, service) in platform.services() {
        let limits = &service.options.resources;
        sum += limits.memory_reservation.unwrap_or_default();
        let (reserved, limit) = (mebibytes(limits.memory_reservation), mebibytes(limits.memory));
        let row = format!("| {} | {reserved} | {limit} |", service.name);
        if !page.contains(&row) {
            missing.push(row);
        }
    }
    let sum = format!("| all together | {} |", sum >> 20);
    if !page.contains(&sum) {
        missing.push(sum);
    }
    assert!(missing.is_empty(), "docs/stacks.md lacks:\n{}", missing.join("\n"));
}

#[tokio::test]
async fn each_bucket_has_a_key_of_its_own() {
    let users = file(&[], "minio", "/etc/macula/s3-users").await.unwrap();
    insta::assert_snapshot!(users, @"
    loki secret-of-loki.S3_SECRET_KEY loki
    tempo secret-of-tempo.S3_SECRET_KEY tempo
    backups secret-of-s3-buckets.AWS_SECRET_ACCESS_KEY backups
    ");
    let without = file(&["loki"], "minio", "/etc/macula/s3-users").await.unwrap();
    assert!(!without.contains("loki"), "{without}");
    // what makes the users has no more to do with a file than write it
    let script = file(&[], "s3-users", "/etc/macula/users.sh").await.unwrap();
    let calls: Vec<&str> = script.lines().filter(|line| line.starts_with("user '")).collect();
    insta::assert_snapshot!(calls.join("\n"), @"
    user 'loki' 'loki' 'secret-of-loki.S3_SECRET_KEY' loki
    user 'tempo' 'tempo' 'secret-of-tempo.S3_SECRET_KEY' tempo
    user 's3-buckets' 'backups' 'secret-of-s3-buckets.AWS_SECRET_ACCESS_KEY' backups
    ");
    let resources = compiled(&[]).await;
    for service in ["loki", "tempo"] {
        let spec = resources.containers.iter().find(|spec| spec.service == service).unwrap();
        let files: String = spec.files.iter().map(|file| String::from_utf8_lossy(&file.content).into_owned()).collect();
        let knows_root = spec.env.iter().chain([&files]).any(|text| text.contains("secret-of-minio"));
        assert!(!knows_root, "{service} has the owner's key");
    }
}

/// The registry's page is written by its start into files that belong to another user than the one
/// it starts as: without the right to, it comes up without its settings.
#[test]
fn the_registry_page_may_write_its_settings() {
    let platform = platform(&[]);
    let (_, page) = platform.service("registry-ui").unwrap();
    for capability in ["CHOWN", "DAC_OVERRIDE", "FOWNER"] {
        assert!(page.options.cap_add.iter().any(|added| added == capability), "{capability}");
    }
}

/// The keys that another service wrote are no data of Loki's: they may be there before it is.
#[test]
fn what_is_only_read_is_nobodys_data() {
    let platform = platform(&[]);
    let (_, loki) = platform.service("loki").unwrap();
    assert_eq!(service_volumes(&platform, loki), ["macula-loki", "macula-s3-keys-loki"]);
    assert_eq!(written_volumes(&platform, loki), ["macula-loki"]);
}

/// Whoever has the image of the page has that of its administrator.
#[test]
fn the_administrator_comes_with_the_page() {
    let platform = platform(&[]);
    let image = |name: &str| {
        let service = platform.service(name).unwrap().1;
        (service.image.clone(), service.extension.sources.clone())
    };
    assert_eq!(image("powerdns-admin-user"), image("powerdns-admin"));
}

/// Every path to a value in a document, lists as `[]`, with the value.
fn paths(value: &serde_yaml::Value) -> BTreeMap<String, serde_yaml::Value> {
    fn walk(value: &serde_yaml::Value, path: &str, out: &mut BTreeMap<String, serde_yaml::Value>) {
        match value {
            serde_yaml::Value::Mapping(fields) => {
                for (key, value) in fields {
                    let key = key.as_str().unwrap();
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(value, &format!("{path}{dot}{key}"), out);
                }
            }
            serde_yaml::Value::Sequence(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), out)),
            _ => {
                out.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
}
