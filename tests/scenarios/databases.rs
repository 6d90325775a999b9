//! `x-macula.databases` with a real PostgreSQL and real clients. Builds images: only with MACULA_FULL=1.

use crate::harness::{Platform, skipped};

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
    platform.write("blog/compose.yaml", &stack("blog", "[blog, {name: drafts, prefix: DRAFTS_}]"));
    platform.run("up --yes").ok();
    assert_eq!(sql("blog", "\"$DRAFTS_DATABASE_URL\" -c 'select current_user'").trim(), "drafts");
    assert_eq!(sql("shop", "-c 'select id from orders'").trim(), "7");
    assert_eq!(platform.shell("shop", "echo $PGPASSWORD"), password);

    // what nobody asks for any more stays, and nobody else gets it
    platform.write("shop/compose.yaml", &stack("shop", "[cart]"));
    platform.write("blog/compose.yaml", &stack("blog", "[blog]"));
    platform.run("up --yes").ok();
    let all = platform.shell("postgres", "psql -X -A -t -U postgres -c 'select datname from pg_database order by 1'");
    let kept: Vec<&str> = all.lines().filter(|name| !name.starts_with("template")).collect();
    assert_eq!(kept, ["blog", "cart", "drafts", "postgres", "shop", "stats"]);
    platform.write("blog/compose.yaml", &stack("blog", "[{name: shop}]"));
    platform.run("up --yes").exits(7).says("was not made for the stack blog");

    platform.run("down --yes").ok();
    platform.write("shop/compose.yaml", &shop);
    platform.write("blog/compose.yaml", &stack("blog", "[blog]"));
    platform.run("up --yes").ok();
    assert_eq!(sql("shop", "-c 'select id from orders'").trim(), "7");
}
