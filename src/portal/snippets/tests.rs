use std::collections::BTreeMap;

use super::*;

fn all(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn postgres() -> BTreeMap<String, String> {
    let url = "postgresql://shop:s3cret@127.0.0.6:5432/shop";
    all(&[
        ("DATABASE_URL", url),
        ("PGDATABASE", "shop"),
        ("PGHOST", "127.0.0.6"),
        ("PGPASSWORD", "s3cret"),
        ("PGPORT", "5432"),
        ("PGUSER", "shop"),
        ("SHOP_DATABASE_URL", url),
    ])
}

/// The snippet for a language.
fn text<'a>(ways: &'a [Way], language: &str) -> &'a str {
    let mut all = ways.iter().flat_map(|way| &way.snippets);
    all.find(|one| one.language == language).map(|one| one.text.as_str()).unwrap_or_default()
}

#[test]
fn a_database_is_told_in_each_language_with_its_password_as_a_variable() {
    let exported = postgres();
    let exports = Exports::new(&exported, ["s3cret"], false);
    let secret: Vec<_> = exports.settings().into_iter().filter(|one| one.secret).map(|one| one.name).collect();
    assert_eq!(secret, ["DATABASE_URL", "PGPASSWORD", "SHOP_DATABASE_URL"]);
    let ways = exports.ways();
    assert_eq!(ways[0].user.as_deref(), Some("shop"));
    let languages: Vec<&str> = ways[0].snippets.iter().map(|one| one.language).collect();
    assert_eq!(languages, ["psql", "Python (psycopg)", "Node (pg)", "Go (pgx)", "Java (JDBC)"]);
    assert_eq!((ways.len(), ways[0].url.as_str()), (1, "postgresql://shop:••••@127.0.0.6:5432/shop"));
    assert_eq!(text(&ways, "psql"), "psql \"$DATABASE_URL\"");
    assert_eq!(
        text(&ways, "Java (JDBC)"),
        "Connection db = DriverManager.getConnection(\n    \"jdbc:postgresql://127.0.0.6:5432/shop\", \"shop\", System.getenv(\"PGPASSWORD\"));"
    );
    let python = text(&ways, "Python (psycopg)");
    assert!(python.starts_with("import os\nimport psycopg\n"), "{python}");
    assert!(python.contains("psycopg.connect(os.environ[\"DATABASE_URL\"])"), "{python}");
    assert!(text(&ways, "Node (pg)").contains("connectionString: process.env.DATABASE_URL"));
    assert!(text(&ways, "Go (pgx)").ends_with("os.Getenv(\"DATABASE_URL\"))"));
    let shown = Exports { shown: true, ..exports }.ways();
    assert_eq!(text(&shown, "psql"), "psql postgresql://shop:s3cret@127.0.0.6:5432/shop");
    let python = text(&shown, "Python (psycopg)");
    assert!(python.starts_with("import psycopg\n"), "{python}");
    assert!(python.contains(r#"psycopg.connect("postgresql://shop:s3cret@127.0.0.6:5432/shop")"#), "{python}");
    assert!(text(&shown, "Java (JDBC)").ends_with(r#""shop", "s3cret");"#));
}

#[test]
fn s3_is_told_with_its_keys_as_variables() {
    let exported = all(&[
        ("AWS_ACCESS_KEY_ID", "id5"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.5:9000"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_SECRET_ACCESS_KEY", "k3y"),
    ]);
    let exports = Exports::new(&exported, ["id5", "k3y"], false);
    let ways = exports.ways();
    assert_eq!((ways.len(), ways[0].title), (1, "S3"));
    assert_eq!(
        text(&ways, "Python (boto3)"),
        "import os\nimport boto3\n\ns3 = boto3.client(\n    \"s3\",\n    endpoint_url=\"http://127.0.0.5:9000\",\n    \
         region_name=\"us-east-1\",\n    aws_access_key_id=os.environ[\"AWS_ACCESS_KEY_ID\"],\n    \
         aws_secret_access_key=os.environ[\"AWS_SECRET_ACCESS_KEY\"],\n)\n\
         print([bucket[\"Name\"] for bucket in s3.list_buckets()[\"Buckets\"]])"
    );
    assert_eq!(text(&ways, "AWS CLI"), "aws --endpoint-url http://127.0.0.5:9000 --region us-east-1 s3 ls");
    let shown = Exports { shown: true, ..exports }.ways();
    let python = text(&shown, "Python (boto3)");
    assert!(python.contains(r#"aws_access_key_id="id5""#) && !python.contains("import os"), "{python}");
    let set = "AWS_ACCESS_KEY_ID=id5 AWS_SECRET_ACCESS_KEY=k3y aws --endpoint-url";
    assert!(text(&shown, "AWS CLI").starts_with(set));
}

#[test]
fn nothing_secret_is_told_to_who_may_only_look() {
    // what the built-in stacks and those of the catalog export, and what a stack of one's own may
    let exported = all(&[
        ("AMQP_URL", "amqp://macula:s3cret@127.0.0.15:5672"),
        ("AWS_ACCESS_KEY_ID", "0therS3cret"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.5:9000"),
        ("AWS_SECRET_ACCESS_KEY", "0therS3cret"),
        ("DATABASE_URL", "postgresql://postgres:s3cret@127.0.0.6:5432/postgres"),
        ("LOGIN", "https://me:0wn@[::1]:8080/a@b"),
        ("MEMCACHED_URL", "memcached://127.0.0.17:11211"),
        ("MQTT_PASSWORD", "s3cret"),
        ("MQTT_URL", "mqtt://macula:s3cret@127.0.0.19:1883"),
        ("MYSQL_PASSWORD", "s3cret"),
        ("MYSQL_URL", "mysql://root:s3cret@127.0.0.16:3306"),
        ("NATS_URL", "nats://macula:s3cret@127.0.0.14:4222"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.4:4318"),
        ("PDNS_API_KEY", "0wn"),
        ("REDIS_URL", "redis://:s3cret@127.0.0.13:6379"),
        ("REGISTRY", "127.0.0.1:5001"),
        ("SMTP_URL", "smtp://127.0.0.18:1025"),
        ("STRIPE_TOKEN", "0wn"),
    ]);
    let exports = Exports::new(&exported, ["s3cret", "0therS3cret", ""], false);
    let told = serde_json::to_string(&(exports.settings(), exports.ways())).unwrap();
    for secret in ["s3cret", "0therS3cret", "0wn"] {
        assert!(!told.contains(secret), "{told}");
    }
    let titles: Vec<&str> = exports.ways().iter().map(|way| way.title).collect();
    assert_eq!(
        titles,
        [
            "MariaDB, MySQL",
            "PostgreSQL",
            "S3",
            "Valkey, Redis",
            "memcached",
            "AMQP",
            "MQTT",
            "NATS",
            "SMTP",
            "HTTP",
            "Registry",
            "Traces, logs and metrics (OTLP)"
        ]
    );
    let login = exports.settings().into_iter().find(|one| one.name == "LOGIN");
    assert_eq!(login.unwrap().value, "https://me:••••@[::1]:8080/a@b");
    // of several variables with one password that of the address
    assert!(told.contains(r#"System.getenv(\"MYSQL_PASSWORD\")"#), "{told}");
    assert!(told.contains(r#"-u macula -P \"$MQTT_PASSWORD\" -t"#), "{told}");
}

#[test]
fn a_short_secret_may_be_a_word_and_a_user_may_be_a_secret() {
    let exported = all(&[("DB_URL", "mysql://l0ngenough:mysql@127.0.0.16:3306/shop")]);
    let exports = Exports::new(&exported, ["l0ngenough", "mysql"], false);
    let ways = exports.ways();
    assert_eq!(ways[0].url, "mysql://••••:••••@127.0.0.16:3306/shop");
    assert_eq!(ways[0].user.as_deref(), Some("••••"));
    assert!(!serde_json::to_string(&ways).unwrap().contains("l0ngenough"), "{ways:?}");
}

#[test]
fn what_the_plan_hides_is_not_told_either() {
    let exported = all(&[
        ("DB_PASS", "hunter22"),
        ("GITHUB_TOKEN_RO", "hunter22"),
        ("HOOK", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
        ("JDBC_URL", "jdbc:mysql://h/db?user=shop&password=hunter22"),
        ("LONGER", "x shopadmin-2026"),
        ("SENTRY_DSN", "https://hunter22@sentry.io/2"),
        ("SHOP_DSN", "shop:hunter22@tcp(127.0.0.16:3306)/shop"),
        ("SQL_DSN", "postgresql://shop:hunter22@db/shop"),
    ]);
    let exports = Exports::new(&exported, ["shopadmin", "shopadmin-2026"], false);
    let told = serde_json::to_string(&(exports.settings(), exports.ways())).unwrap();
    for secret in ["hunter22", "ghp_", "2026"] {
        assert!(!told.contains(secret), "{told}");
    }
    let seen = |name: &str| exports.settings().into_iter().find(|one| one.name == name).unwrap().value;
    assert_eq!(seen("SQL_DSN"), "postgresql://shop:••••@db/shop");
    assert_eq!(seen("LONGER"), "x ••••");
}

#[test]
fn only_variables_that_there_are_stand_in_a_program() {
    let exported = all(&[("MYSQL_URL", "mysql://root:s3cret@h"), ("NAME", "s3cret"), ("S_URL", "mqtt://u:0wn@h")]);
    let ways = Exports::new(&exported, ["s3cret"], false).ways();
    let languages: Vec<&str> = ways.iter().flat_map(|way| &way.snippets).map(|one| one.language).collect();
    assert_eq!(languages, ["Node (mysql2)", "Node (mqtt)"]);
    let exported = all(&[("AWS_ENDPOINT_URL", "http://h:9000")]);
    let ways = Exports::new(&exported, [], false).ways();
    assert!(!serde_json::to_string(&ways).unwrap().contains("AWS_SECRET_ACCESS_KEY"), "{ways:?}");
}

#[test]
fn who_is_nobody_is_left_out() {
    let exported = all(&[("MQTT_URL", "mqtt://127.0.0.1:1883"), ("MYSQL_URL", "mysql://127.0.0.1/shop")]);
    let ways = Exports::new(&exported, [], false).ways();
    assert_eq!(text(&ways, "mosquitto_sub"), "mosquitto_sub -h 127.0.0.1 -p 1883 -t '#' -v");
    assert!(!text(&ways, "Python (paho)").contains("username"));
    assert_eq!(text(&ways, "mariadb"), "mariadb -h 127.0.0.1 -P 3306 -D shop");
    assert_eq!(
        text(&ways, "Python (PyMySQL)"),
        "import pymysql\n\ndb = pymysql.connect(host=\"127.0.0.1\", port=3306, database=\"shop\")"
    );
    assert_eq!(
        text(&ways, "Java (JDBC)"),
        "Connection db = DriverManager.getConnection(\n    \"jdbc:mariadb://127.0.0.1:3306/shop\");"
    );
}

#[test]
fn each_part_is_quoted_and_as_the_driver_wants_it() {
    let exported = all(&[("MYSQL_URL", "mysql://a%22b:p%40s+s@$(touch x)/d;b?ssl=1")]);
    let ways = Exports::new(&exported, [], true).ways();
    assert_eq!(text(&ways, "mariadb"), "MYSQL_PWD=p@s+s mariadb -h '$(touch x)' -P 3306 -u 'a\"b' -D 'd;b'");
    assert!(text(&ways, "Python (PyMySQL)").contains(r#"user="a\"b", password="p@s+s", database="d;b")"#));
    assert!(text(&ways, "Java (JDBC)").ends_with(r#":3306/d;b?ssl=1", "a\"b", "p@s+s");"#));
    // what a variable has alone is the password itself, not as it stands in the URL
    let exported = all(&[("DB_PASSWORD", "p@ss"), ("DB_URL", "mysql://u:p%40ss@h/p@ss")]);
    let ways = Exports::new(&exported, [], false).ways();
    assert!(text(&ways, "Java (JDBC)").ends_with(r#""u", System.getenv("DB_PASSWORD"));"#), "{ways:?}");
    assert_eq!((decoded(""), decoded("a&b=c%3D")), (String::new(), "a&b=c=".to_owned()));
}
