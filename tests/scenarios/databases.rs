//! `x-macula.databases` with a real PostgreSQL and real clients, which builds images: only with MACULA_FULL=1. And the
//! backup of any volume.

use std::process::Command;

use crate::harness::{IMAGE, Platform, skipped};

const SETTINGS: &str = "\
stacks: [shop/compose.yaml, blog/compose.yaml]
cluster: {enabled: false}
profiles: [core]
built_in: {dns: false, draw: false, ingress: false, metrics: false, observability: false, registry: false, s3: false, tools: false}
";

fn stack(service: &str, databases: &str) -> String {
    format!(
        "services:
  {service}:
    build:
      dockerfile_inline: |
        FROM localhost/macula/base:trixie
        RUN install-packages postgresql-client-17
    command: [sleep, infinity]
    stop_signal: SIGKILL
    x-macula: {{databases: {databases}}}
"
    )
}

#[test]
fn applications_have_databases_of_their_own() {
    if std::env::var_os("MACULA_FULL").is_none() {
        return skipped("applications_have_databases_of_their_own", "full", "MACULA_FULL is not set");
    }
    let Some(platform) = Platform::new("databases") else { return };
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    for folder in ["shop", "blog"] {
        std::fs::create_dir(platform.project().join(folder)).unwrap();
    }
    platform.write("macula.yaml", SETTINGS);
    let shop = stack("shop", "[shop, {name: stats, user: shop, prefix: STATS_}]");
    platform.write("shop/compose.yaml", &shop);
    platform.write("blog/compose.yaml", &stack("blog", "[blog]"));
    platform.run("up --yes --timeout 10m").ok();
    let sql = |service: &str, words: &str| platform.shell(service, &format!("{{ psql -X -q -A -t {words}; }} 2>&1"));

    // the variables are all that a client needs; another database of its own has others
    assert_eq!(sql("shop", "-c 'create table orders (id int); insert into orders values (7)'"), "");
    assert_eq!(
        sql("shop", "\"$STATS_DATABASE_URL\" -c 'select current_database(), current_user'").trim(),
        "stats|shop"
    );
    assert_eq!(sql("blog", "-c 'select current_database(), current_user'").trim(), "blog|blog");

    // one application is nothing to the other
    let refused = sql("blog", "-d shop -c 'select * from orders' || true");
    assert!(refused.contains("permission denied for database"), "{refused}");
    for wrong in ["create role x", "create database x", "alter role shop password $$x$$", "set role shop"] {
        let said = sql("blog", &format!("-c '{wrong}' || true"));
        assert!(said.contains("ERROR"), "{wrong}: {said}");
    }
    // what of the server's own is open to everybody holds nothing of theirs
    assert_eq!(sql("blog", "-d postgres -c \"select count(*) from pg_stat_activity where usename = 'shop' and query <> '<insufficient privilege>'\"").trim(), "0");

    // nothing to do, and nothing done again
    platform.run("up").ok().says("nothing to do");
    platform.run("env").ok().prints("SHOP_DATABASE_URL=");

    // a further database; those that are there keep what they hold, and their passwords
    let password = platform.shell("shop", "echo $PGPASSWORD");
    platform.write("blog/compose.yaml", &stack("blog", "[blog, {name: order, prefix: ORDER_}]"));
    platform.run("up --yes").ok();
    assert_eq!(sql("blog", "\"$ORDER_DATABASE_URL\" -c 'select current_user'").trim(), "order");
    assert_eq!(sql("shop", "-c 'select id from orders'").trim(), "7");
    assert_eq!(platform.shell("shop", "echo $PGPASSWORD"), password);

    // what nobody asks for any more stays, and nobody else gets it
    platform.write("shop/compose.yaml", &stack("shop", "[cart]"));
    platform.write("blog/compose.yaml", &stack("blog", "[blog]"));
    platform.run("up --yes").ok();
    let all = platform.shell("postgres", "psql -X -A -t -U postgres -c 'select datname from pg_database order by 1'");
    let kept: Vec<&str> = all.lines().filter(|name| !name.starts_with("template")).collect();
    assert_eq!(kept, ["blog", "cart", "order", "postgres", "shop", "stats"]);
    platform.write("blog/compose.yaml", &stack("blog", "[{name: shop}]"));
    platform.run("up --yes").exits(7).says("was not made for the stack blog");

    platform.run("down --yes").ok();
    platform.write("shop/compose.yaml", &shop);
    platform.write("blog/compose.yaml", &stack("blog", "[blog]"));
    platform.run("up --yes").ok();
    assert_eq!(sql("shop", "-c 'select id from orders'").trim(), "7");
}

/// The steps of docs/data.md as they stand there, with a service that takes its password at its first start.
#[test]
fn a_volume_comes_back_with_its_password() {
    let Some(platform) = Platform::new("volume_comes_back") else { return };
    if Command::new("docker").arg("--version").output().is_err() {
        return skipped("a_volume_comes_back_with_its_password", "docker", "there is no docker program");
    }
    platform.stack(
        "
services:
  db:
    <<: *base
    command: [sh, -c, 'test -e /data/password || echo $$PASSWORD > /data/password; exec sleep infinity']
    volumes: ['rows:/data']
    x-macula: {secrets: {PASSWORD: {generate: 16}}}
volumes: {rows: }
",
    );
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/data.md")).unwrap();
    let [pack, unpack] = page.lines().filter(|line| line.starts_with("docker run")).collect::<Vec<_>>()[..] else {
        panic!("{page}")
    };
    let docker = |line: &str| {
        platform.run("stop db").ok();
        let line =
            line.replace("macula-registry", &platform.volume_name("rows")).replace(" busybox ", &format!(" {IMAGE} "));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(platform.project()).env("DOCKER_HOST", platform.engine.endpoint());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        platform.run("start db").ok();
    };
    platform.run("up").ok();
    assert_eq!(platform.shell("db", "echo old > /data/rows; test $PASSWORD = $(cat /data/password) && echo in"), "in");
    docker(pack);
    let (secrets, kept) = (platform.data().join("secrets/secrets.json"), platform.home().join("kept.json"));
    std::fs::copy(&secrets, &kept).unwrap();
    platform.run("down --volumes --yes").ok();
    std::fs::create_dir_all(secrets.parent().unwrap()).unwrap();
    std::fs::copy(&kept, &secrets).unwrap();
    platform.run("up").ok();
    platform.shell("db", "echo new > /data/new");
    docker(unpack);
    let found = platform.shell("db", "ls /data; cat /data/rows; test $PASSWORD = $(cat /data/password) && echo in");
    assert_eq!(found, "password\nrows\nold\nin");
}
