//! The built-in services as a whole: their limits, and the configuration of the programs that no
//! image could be had of, rendered from `templates/` and held against what each documents.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use macula::compile::{Block, Site, compile, service_volumes, written_volumes};
use macula::config::{MemoryFiles, Request, catalog, load};
use macula::engine::Engine as _;
use macula::engine::fake::FakeEngine;
use macula::model::{Mount, Platform, Resources, Restart, SecretSource, Secrets};

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
    with_stacks(text, &[])
}

/// [`with_settings`], and with these stacks: folder and Compose file.
fn with_stacks(text: &str, stacks: &[(&str, &str)]) -> Platform {
    let mut files = MemoryFiles::default().with("/w/macula.yaml", text);
    let mut request = Request { cwd: "/w".into(), ..Request::default() };
    for (folder, stack) in stacks {
        let path = format!("/w/{folder}/compose.yaml");
        files = files.with(&path, stack);
        request.stacks.push(path.into());
    }
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

#[tokio::test]
async fn services_with_one_access_key_have_all_their_buckets() {
    let shop = "services:
  api: {image: x, environment: {AWS_ACCESS_KEY_ID: shop}, x-macula: {buckets: [images], secrets: {AWS_SECRET_ACCESS_KEY: {generate: 40}}}}
  worker: {image: x, environment: {AWS_ACCESS_KEY_ID: shop}, x-macula: {buckets: [jobs, images], secrets: {AWS_SECRET_ACCESS_KEY: {from: api.AWS_SECRET_ACCESS_KEY}}}}
";
    let resources = resources(&with_stacks("", &[("shop", shop)])).await;
    let lines = |service: &str, path: &str| {
        let text = rendered(&resources, service, path).unwrap();
        let lines = text.lines().filter(|line| line.contains("shop") && !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    };
    let users = lines("minio", "/etc/macula/s3-users");
    insta::assert_snapshot!(users, @"shop secret-of-api.AWS_SECRET_ACCESS_KEY images jobs");
    insta::assert_snapshot!(lines("s3-users", "/etc/macula/users.sh"), @"
    user 'api' 'shop' 'secret-of-api.AWS_SECRET_ACCESS_KEY' images jobs
    user 'worker' 'shop' 'secret-of-api.AWS_SECRET_ACCESS_KEY' images jobs
    ");
}

/// Data folders of images that belong to the user that the service runs as: a new volume takes that over.
const OWN_THEIR_FOLDER: [(&str, &str); 4] = [
    ("mariadb", "/var/lib/mysql"),
    ("mosquitto", "/mosquitto/data"),
    ("rabbitmq", "/var/lib/rabbitmq"),
    ("valkey", "/data"),
];

#[test]
fn what_a_server_of_the_catalog_writes_belongs_to_its_user() {
    let names: Vec<String> = catalog().into_iter().map(|(name, _)| name).collect();
    let platform = with_settings(&format!("add: [{}]\n", names.join(", ")));
    let mut wrong = Vec::new();
    for (stack, service) in platform.services().filter(|(stack, _)| names.contains(&stack.name)) {
        let is_root = |user: Option<&str>| user.is_none_or(|user| user == "0:0");
        if is_root(service.options.user.as_deref()) {
            continue;
        }
        for mount in &service.mounts {
            let Mount::Volume { source: Some(volume), target, .. } = mount else { continue };
            let gives = |name: &String| {
                let Some(job) = stack.services.get(name) else { return false };
                let has = |mount: &Mount| matches!(mount, Mount::Volume { source: Some(other), .. } if other == volume);
                is_root(job.options.user.as_deref())
                    && job.options.cap_add.iter().any(|added| added == "CHOWN")
                    && job.mounts.iter().any(has)
            };
            if !service.depends_on.keys().any(gives) && !OWN_THEIR_FOLDER.contains(&(&*service.name, &**target)) {
                wrong.push(format!("{}: {target}", service.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// Names of platforms that NATS would read as a number, and as a boolean.
#[tokio::test]
async fn nats_takes_every_name_of_a_platform_as_a_text() {
    for name in ["123", "7e3a91c", "2k", "on"] {
        let resources = resources(&with_settings(&format!("name: '{name}'\nadd: [nats]\n"))).await;
        let text = rendered(&resources, "nats", "/etc/nats/nats.conf").unwrap();
        assert_eq!(text.lines().nth(1), Some(&*format!("server_name: \"{name}\"")));
    }
}

#[tokio::test]
async fn servers_of_the_catalog_know_how_much_memory_they_may_have() {
    let limits = async |settings: &str| {
        let resources = resources(&with_settings(&format!("add: [rabbitmq, valkey]\n{settings}"))).await;
        let valkey = rendered(&resources, "valkey", "/etc/valkey/start.sh").unwrap();
        let rabbitmq = rendered(&resources, "rabbitmq", "/etc/rabbitmq/start.sh").unwrap();
        let valkey = valkey.split_once("--maxmemory ").unwrap().1.split(' ').next().unwrap().to_owned();
        let rabbitmq = rabbitmq.lines().find_map(|line| line.strip_prefix("total_memory_available_override_value = "));
        [valkey, rabbitmq.unwrap().to_owned()]
    };
    assert_eq!(limits("").await, ["201326592", "536870912"]);
    let more = "services: {valkey: {memory: 512M}, rabbitmq: {memory: 1G}}\n";
    assert_eq!(limits(more).await, ["322122547", "1073741824"]);
}

/// The stack's folder is called like one of ours, so that the stack gets another name.
#[tokio::test]
async fn users_of_servers_are_the_same_for_the_job_and_for_the_service() {
    let draw = "services: {web: {image: x, x-macula: {needs: {sql: mariadb, cache: valkey}}}}";
    let resources = resources(&with_stacks("", &[("draw", draw)])).await;
    let script = rendered(&resources, "mariadb-databases", "/etc/macula/databases.sh").unwrap();
    let own: Vec<&str> = script.lines().filter(|line| line.contains("draw")).collect();
    insta::assert_snapshot!(own.join("\n"), @r"
    CREATE DATABASE IF NOT EXISTS draw_sql;
    CREATE USER IF NOT EXISTS 'draw_sql'@'%';
    ALTER USER 'draw_sql'@'%' IDENTIFIED BY '$PASSWORD_DRAW_SQL';
    DELETE FROM mysql.db WHERE User = 'draw_sql' AND Db = 'draw_sql';
    GRANT ALL PRIVILEGES ON \`draw\\_sql\`.* TO 'draw_sql'@'%';
    ");
    let script = rendered(&resources, "valkey-users", "/etc/valkey/users.sh").unwrap();
    assert!(script.contains("ACL SETUSER draw_cache reset on >$PASSWORD_DRAW_CACHE "), "{script}");
    let web = resources.containers.iter().find(|spec| spec.service == "web").unwrap();
    assert!(web.env.iter().any(|line| line == "SQL_USER=draw_sql"), "{:?}", web.env);
}

/// A stack has a server of the same name, whose password the service takes too.
#[tokio::test]
async fn an_address_has_the_password_of_our_server() {
    let shop = "services:
  web: {image: w, x-macula: {needs: [nats], secrets: {THEIRS: {from: nats.KEY}}}}
  nats: {image: n, x-macula: {secrets: {KEY: {generate: 24}}}}
";
    let resources = resources(&with_stacks("", &[("shop", shop)])).await;
    let web = resources.containers.iter().find(|spec| spec.service == "web").unwrap();
    let url = "NATS_URL=nats://shop_nats:secret-of-nats.PASSWORD_SHOP_NATS@macula-nats-1:4222";
    assert!(web.env.iter().any(|line| line == url), "{:?}", web.env);
    assert!(web.env.iter().any(|line| line == "THEIRS=secret-of-shop-nats.KEY"), "{:?}", web.env);
}

#[tokio::test]
async fn databases_may_be_called_as_words_of_sql() {
    let shop = "services: {web: {image: x, x-macula: {databases: [order, {name: user, prefix: USERS_}]}}}";
    let resources = resources(&with_stacks("", &[("shop", shop)])).await;
    let text = rendered(&resources, "postgres-databases", "/etc/macula/databases.sql").unwrap();
    let made = text.lines().map(str::trim).filter(|line| {
        ["CREATE ", "COMMENT ", "ALTER ", "SELECT 'CREATE ", "REVOKE "].iter().any(|word| line.starts_with(word))
    });
    insta::assert_snapshot!(made.collect::<Vec<_>>().join("\n"), @r#"
    CREATE ROLE "order" LOGIN;
    COMMENT ON ROLE "order" IS 'macula: stack shop';
    ALTER ROLE "order" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
    SELECT 'CREATE DATABASE "order" OWNER "order" ENCODING ''UTF8'' TEMPLATE template0'
    REVOKE ALL ON DATABASE "order" FROM PUBLIC;
    CREATE ROLE "user" LOGIN;
    COMMENT ON ROLE "user" IS 'macula: stack shop';
    ALTER ROLE "user" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
    SELECT 'CREATE DATABASE "user" OWNER "user" ENCODING ''UTF8'' TEMPLATE template0'
    REVOKE ALL ON DATABASE "user" FROM PUBLIC;
    "#);
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

/// A tab with an older drawing would write that over a newer one.
#[test]
fn tabs_of_the_whiteboard_know_of_each_other() {
    let page = include_str!("../../templates/draw/main.jsx");
    for part in ["new BroadcastChannel(\"drawing\")", "text === written", "\"pagehide\", write", "transaction.commit()"]
    {
        assert!(page.contains(part), "{part}");
    }
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
