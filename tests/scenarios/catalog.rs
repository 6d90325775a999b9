//! `x-macula.needs` with the servers of the catalogue and real clients. Builds images: only with MACULA_FULL=1.

use crate::harness::{Platform, skipped};

const SETTINGS: &str = "\
stacks: [shop/compose.yaml, blog/compose.yaml]
cluster: {enabled: false}
built_in: {dns: false, draw: false, metrics: false, observability: false, registry: false, s3: false, tools: false}
";

/// Talks to each server as an application does; what is said is what came back.
const CLIENT: &str = r#"
import os, smtplib, socket, sys, urllib.request, pika

def lines(host, port, *said):
    with socket.create_connection((host, int(port)), 5) as connection:
        for line in said:
            connection.sendall((line + "\r\n").encode())
        connection.settimeout(1)
        heard = b""
        try:
            while True:
                piece = connection.recv(4096)
                if not piece:
                    break
                heard += piece
        except TimeoutError:
            pass
        return heard.decode()

env = os.environ
what = sys.argv[1]
if what == "queue":
    channel = pika.BlockingConnection(pika.URLParameters(sys.argv[2] if len(sys.argv) > 2 else env["JOBS_URL"])).channel()
    channel.queue_declare("work", durable=True)
    channel.basic_publish("", "work", b"job 7")
    print(channel.basic_get("work", auto_ack=True)[2].decode())
elif what == "nats":
    login = '{"verbose":false,"pedantic":false,"user":"%s","pass":"%s"}' % (env["BUS_USER"], env["BUS_PASSWORD"])
    print(lines(env["BUS_HOST"], env["BUS_PORT"], "CONNECT " + login, "SUB news 1", "PUB news 5", "hello", "PING"))
elif what == "nats-wrong":
    print(lines(env["BUS_HOST"], env["BUS_PORT"], 'CONNECT {"user":"blog_bus","pass":"wrong"}'))
elif what == "memcached":
    print(lines(env["FAST_HOST"], env["FAST_PORT"], "set a 0 0 1", "7", "get a", "quit"))
elif what == "mail":
    with smtplib.SMTP(env["POST_HOST"], int(env["POST_PORT"])) as server:
        server.sendmail("a@example.com", ["b@example.com"], "Subject: catalog\r\n\r\nhello")
    print(urllib.request.urlopen("http://%s:8025/email" % env["POST_HOST"], timeout=5).read().decode())
"#;

fn stack(needs: &str) -> String {
    let client: String = CLIENT.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "services:
  SERVICE:
    build:
      dockerfile_inline: |
        FROM localhost/macula/base:trixie
        RUN install-packages python3-minimal python3-pika valkey-tools mariadb-client
    command: [sleep, infinity]
    stop_signal: SIGKILL
    configs: [{{source: client, target: /client.py}}]
    x-macula: {{needs: {needs}}}
configs:
  client:
    content: |
{}",
        client.replace('$', "$$")
    )
}

#[test]
fn applications_have_a_part_of_their_own_in_servers_for_all() {
    const NAME: &str = "applications_have_a_part_of_their_own_in_servers_for_all";
    if std::env::var_os("MACULA_FULL").is_none() {
        return skipped(NAME, "full", "MACULA_FULL is not set");
    }
    let Some(platform) = Platform::new("catalog") else { return };
    platform.set("XDG_CACHE_HOME", std::env::temp_dir().join("macula-test-cache").to_str().unwrap());
    for folder in ["shop", "blog"] {
        std::fs::create_dir(platform.project().join(folder)).unwrap();
    }
    platform.write("macula.yaml", SETTINGS);
    let needs = "{cache: redis, sql: mysql, jobs: rabbitmq, bus: nats, fast: memcached, post: mail}";
    platform.write("shop/compose.yaml", &stack(needs).replace("SERVICE", "shop"));
    platform.write(
        "blog/compose.yaml",
        &stack("{cache: valkey, sql: mariadb, jobs: rabbitmq, bus: nats}").replace("SERVICE", "blog"),
    );
    platform.run("up --yes --timeout 10m").ok();
    let said = |service: &str, words: &str| platform.shell(service, &format!("{{ {words}; }} 2>&1 || true"));

    // Valkey: the address alone is enough, and leads elsewhere for another application
    assert_eq!(said("shop", "valkey-cli --no-auth-warning -u \"$REDIS_URL\" set a 7").trim(), "OK");
    assert_eq!(said("shop", "valkey-cli --no-auth-warning -u \"$CACHE_URL\" get a").trim(), "7");
    assert_eq!(said("blog", "valkey-cli --no-auth-warning -u \"$CACHE_URL\" get a").trim(), "");
    let number = said("shop", "echo $CACHE_DATABASE").trim().to_owned();
    let refused = said("blog", &format!("valkey-cli --no-auth-warning -u \"$CACHE_URL\" select {number}"));
    assert!(refused.contains("NOPERM"), "{refused}");
    for wrong in ["acl list", "config get dir", "flushall", "swapdb 1 2"] {
        let refused = said("blog", &format!("valkey-cli --no-auth-warning -u \"$CACHE_URL\" {wrong}"));
        assert!(refused.contains("NOPERM"), "{wrong}: {refused}");
    }

    // MariaDB
    let sql = |service: &str, words: &str| {
        said(service, &format!("MYSQL_PWD=$SQL_PASSWORD mariadb -N -h $SQL_HOST -u $SQL_USER {words}"))
    };
    assert_eq!(sql("shop", "$SQL_DATABASE -e 'create table orders (id int); insert into orders values (7)'"), "");
    assert!(sql("blog", "shop_sql -e 'select * from orders'").contains("Access denied"));
    assert!(sql("blog", "-e 'create database other'").contains("Access denied"));
    let grants = sql("shop", "-e 'show grants'");
    // the client escapes the backslash once more
    assert!(grants.contains(r"`shop\\_sql`.*") && !grants.contains("`shop_sql`.*"), "{grants}");

    // RabbitMQ
    assert_eq!(said("shop", "python3 /client.py queue").trim(), "job 7");
    let theirs = "python3 /client.py queue \"$(echo $JOBS_URL | sed s,/blog_jobs$,/shop_jobs,)\"";
    assert!(said("blog", theirs).contains("refused"), "{}", said("blog", theirs));

    // NATS
    let heard = said("shop", "python3 /client.py nats");
    assert!(heard.contains("MSG news 1 5") && heard.contains("hello"), "{heard}");
    assert!(said("shop", "python3 /client.py nats-wrong").contains("Authorization Violation"));

    assert!(said("shop", "python3 /client.py memcached").contains("VALUE a 0 1"));
    // what was sent is read at the page's own address
    let mail = said("shop", "python3 /client.py mail");
    assert!(mail.contains("\"subject\":\"catalog\""), "{mail}");

    // nothing to do, and nothing done again
    platform.run("up").ok().says("nothing to do");
    platform.run("env").ok().prints("SHOP_CACHE_URL=redis://shop_cache:");

    // data, users and passwords outlive the containers
    platform.run("down --yes").ok();
    platform.run("up --yes").ok();
    assert_eq!(said("shop", "valkey-cli --no-auth-warning -u \"$CACHE_URL\" get a").trim(), "7");
    assert_eq!(sql("shop", "$SQL_DATABASE -e 'select id from orders'").trim(), "7");
    assert_eq!(said("shop", "python3 /client.py queue").trim(), "job 7");
}
