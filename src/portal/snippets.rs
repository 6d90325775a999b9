//! How programs connect to what a service exports, in several languages. Pure.
//!
//! What is secret stands as the variable that `macula env` sets, unless it is to be shown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::words::shell_word;

/// In place of what is hidden.
const HIDDEN: &str = "••••";

/// Letters of a secret that is hidden wherever it stands.
const LONG: usize = 6;

/// One variable of `macula env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub name: String,
    pub value: String,
    /// Its value, or a part of it, is hidden from who may only look.
    pub secret: bool,
}

/// One thing to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// `PostgreSQL`
    pub title: &'static str,
    pub url: String,
    pub user: Option<String>,
    pub snippets: Vec<Snippet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// `Python (psycopg)`
    pub language: &'static str,
    /// What installs the client; empty: nothing, or the distribution.
    pub install: &'static str,
    pub text: String,
}

/// What the services of a platform export, and what of it is secret.
pub struct Exports<'a> {
    pub all: &'a BTreeMap<String, String>,
    /// The passwords that macula has made or was given.
    pub secrets: Vec<&'a str>,
    /// Secrets are written out.
    pub shown: bool,
}

/// A value in a program.
#[derive(Clone, Copy)]
enum Text<'a> {
    Plain(&'a str),
    /// Of the environment.
    Variable(&'a str),
}

/// How a program says it. Quotation marks and backslashes are the same in all of these.
#[derive(Clone, Copy)]
enum Language {
    Shell,
    Python,
    Node,
    Go,
    Java,
}

impl Text<'_> {
    fn of(self, language: Language) -> String {
        match (self, language) {
            (Self::Plain(text), Language::Shell) => shell_word(text),
            (Self::Plain(text), _) => serde_json::Value::from(text).to_string(),
            (Self::Variable(name), Language::Shell) => format!("\"${name}\""),
            (Self::Variable(name), Language::Python) => format!("os.environ[\"{name}\"]"),
            (Self::Variable(name), Language::Node) => format!("process.env.{name}"),
            (Self::Variable(name), Language::Go) => format!("os.Getenv(\"{name}\")"),
            (Self::Variable(name), Language::Java) => format!("System.getenv(\"{name}\")"),
        }
    }
}

/// The parts of a URL as exports have them.
struct Address<'a> {
    scheme: &'a str,
    user: &'a str,
    password: &'a str,
    host: &'a str,
    port: &'a str,
    /// What comes behind, without the first slash.
    path: &'a str,
}

impl<'a> Address<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        // the colons of an IPv6 address stand between brackets
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => (host, port),
            _ => (place, ""),
        };
        let port = if port.is_empty() { usual(scheme) } else { port };
        Some(Self { scheme, user, password, host, port, path: path.trim_start_matches('/') })
    }
}

/// The port of a URL that names none.
fn usual(scheme: &str) -> &'static str {
    match scheme {
        "postgresql" | "postgres" => "5432",
        "mysql" | "mariadb" => "3306",
        "mqtt" => "1883",
        "memcached" => "11211",
        "smtp" => "25",
        "https" => "443",
        _ => "80",
    }
}

impl<'a> Exports<'a> {
    /// All variables as they may be seen.
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |(name, value): (&String, &String)| {
            let value = self.masked(name, value);
            Setting { name: name.clone(), secret: self.is_secret(name), value }
        };
        self.all.iter().map(setting).collect()
    }

    fn is_secret(&self, name: &str) -> bool {
        let value = self.all.get(name).map(String::as_str).unwrap_or_default();
        hidden(name, value, &self.secrets) != value
    }

    fn masked(&self, name: &str, value: &str) -> String {
        if self.shown { value.to_owned() } else { hidden(name, value, &self.secrets) }
    }

    /// The value of a variable in a program: the variable itself where the value is hidden.
    fn text(&self, name: &'a str) -> Text<'a> {
        match self.all.get(name) {
            Some(value) if self.shown || !self.is_secret(name) => Text::Plain(value),
            _ => Text::Variable(name),
        }
    }

    /// What there is to connect to.
    pub fn ways(&self) -> Vec<Way> {
        let mut known: Vec<&str> = Vec::new();
        let mut names: Vec<(&String, &String)> = self.all.iter().collect();
        // of several names of one address the shortest
        names.sort_by_key(|(name, _)| (name.len(), *name));
        let mut ways: Vec<(usize, Way)> = Vec::new();
        for (name, value) in names {
            if known.contains(&value.as_str()) {
                continue;
            }
            if let Some(found) = self.way(name, value) {
                known.push(value);
                ways.push(found);
            }
        }
        ways.sort_by_key(|(rank, _)| *rank);
        ways.into_iter().map(|(_, way)| way).collect()
    }

    fn way(&self, name: &'a str, value: &'a str) -> Option<(usize, Way)> {
        if name == "REGISTRY" {
            return Some((7, self.made("Registry", name, value, None, registry(value))));
        }
        let address = Address::of(value)?;
        let url = self.text(name);
        let user = Some(self.masked("", address.user)).filter(|user| !user.is_empty());
        let (rank, title, snippets) = match (name, address.scheme) {
            ("OTEL_EXPORTER_OTLP_ENDPOINT", _) => (8, "Traces, logs and metrics (OTLP)", otlp(value, &address)),
            ("AWS_ENDPOINT_URL", _) => (1, "S3", self.s3(value)),
            (_, "postgresql" | "postgres") => (0, "PostgreSQL", self.postgres(name, url, &address)),
            (_, "mysql" | "mariadb") => (0, "MariaDB, MySQL", self.mysql(name, url, &address)),
            (_, "redis" | "rediss" | "valkey") => (2, "Valkey, Redis", redis(url)),
            (_, "amqp" | "amqps") => (3, "AMQP", amqp(url)),
            (_, "nats") => (3, "NATS", nats(url)),
            (_, "mqtt") => (3, "MQTT", self.mqtt(name, url, &address)),
            (_, "memcached") => (2, "memcached", memcached(&address)),
            (_, "smtp") => (5, "SMTP", smtp(&address)),
            (_, "http" | "https") => {
                (6, "HTTP", vec![snippet("curl", "", format!("curl {}", url.of(Language::Shell)))])
            }
            _ => return None,
        };
        Some((rank, self.made(title, name, value, user, snippets)))
    }

    fn made(&self, title: &'static str, name: &str, value: &str, user: Option<String>, snippets: Vec<Snippet>) -> Way {
        // a secret that is no password of a URL: an access key for its user, a token in its path
        let masked = |one: Snippet| Snippet { text: self.masked("", &one.text), ..one };
        let snippets = snippets.into_iter().map(masked).collect();
        Way { title, url: self.masked(name, value), user, snippets }
    }

    fn postgres(&self, name: &str, url: Text<'_>, address: &Address<'a>) -> Vec<Snippet> {
        vec![
            snippet("psql", "", format!("psql {}", url.of(Language::Shell))),
            snippet(
                "Python (psycopg)",
                "pip install 'psycopg[binary]'",
                format!(
                    "{}import psycopg\n\nwith psycopg.connect({}) as db:\n    print(db.execute(\"SELECT version()\").fetchone())",
                    import_os(url),
                    url.of(Language::Python)
                ),
            ),
            snippet(
                "Node (pg)",
                "npm install pg",
                format!(
                    "import pg from 'pg'\n\nconst db = new pg.Client({{ connectionString: {} }})\nawait db.connect()\n\
                     console.log((await db.query('SELECT version()')).rows)\nawait db.end()",
                    url.of(Language::Node)
                ),
            ),
            snippet(
                "Go (pgx)",
                "go get github.com/jackc/pgx/v5",
                format!("db, err := pgx.Connect(context.Background(), {})", url.of(Language::Go)),
            ),
            self.jdbc("postgresql", "Java (JDBC)", "org.postgresql:postgresql", name, address),
        ]
    }

    fn mysql(&self, name: &str, url: Text<'_>, address: &Address<'a>) -> Vec<Snippet> {
        let (host, port, user) = (address.host, address.port, address.user);
        let database = address.path;
        let password = |language| self.password_in(name, address, language);
        let read = !self.shown && !address.password.is_empty();
        vec![
            snippet(
                "mariadb",
                "",
                format!("MYSQL_PWD={} mariadb -h {host} -P {port} -u {user} {database}", password(Language::Shell))
                    .trim_end()
                    .to_owned(),
            ),
            snippet(
                "Python (PyMySQL)",
                "pip install pymysql",
                format!(
                    "{}import pymysql\n\ndb = pymysql.connect(host=\"{host}\", port={port}, user=\"{user}\", password={}, database={})",
                    if read { "import os\n" } else { "" },
                    password(Language::Python),
                    if database.is_empty() { "None".to_owned() } else { format!("\"{database}\"") },
                ),
            ),
            snippet(
                "Node (mysql2)",
                "npm install mysql2",
                format!(
                    "import mysql from 'mysql2/promise'\n\nconst db = await mysql.createConnection({})\n\
                     console.log((await db.query('SELECT version()'))[0])\nawait db.end()",
                    url.of(Language::Node)
                ),
            ),
            snippet(
                "Go (go-sql-driver)",
                "go get github.com/go-sql-driver/mysql",
                format!(
                    "config := mysql.NewConfig()\nconfig.Net, config.Addr = \"tcp\", \"{host}:{port}\"\n\
                     config.User, config.Passwd, config.DBName = \"{user}\", {}, \"{database}\"\n\
                     db, err := sql.Open(\"mysql\", config.FormatDSN())",
                    password(Language::Go)
                ),
            ),
            self.jdbc("mariadb", "Java (JDBC)", "org.mariadb.jdbc:mariadb-java-client", name, address),
        ]
    }

    fn jdbc(
        &self,
        protocol: &str,
        language: &'static str,
        install: &'static str,
        name: &str,
        address: &Address<'a>,
    ) -> Snippet {
        let Address { host, port, path, user, .. } = address;
        let password = self.password_in(name, address, Language::Java);
        snippet(
            language,
            install,
            format!(
                "Connection db = DriverManager.getConnection(\n    \"jdbc:{protocol}://{host}:{port}/{path}\", \"{user}\", {password});"
            ),
        )
    }

    /// The password of a URL in a program: the variable that has it alone, or the name that one would give it.
    fn password_in(&self, name: &str, address: &Address<'_>, language: Language) -> String {
        let password = address.password;
        if self.shown || password.is_empty() {
            return Text::Plain(password).of(language);
        }
        let alone = self.all.iter().find(|(_, value)| *value == password).map(|(name, _)| name.as_str());
        let usual = format!("{}_PASSWORD", name.strip_suffix("_URL").unwrap_or(name));
        Text::Variable(alone.unwrap_or(&usual)).of(language)
    }

    fn s3(&self, endpoint: &str) -> Vec<Snippet> {
        let region = self.all.get("AWS_REGION").map_or("us-east-1", String::as_str);
        let (id, key) = (self.text("AWS_ACCESS_KEY_ID"), self.text("AWS_SECRET_ACCESS_KEY"));
        let set = match self.shown {
            true => format!(
                "AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} ",
                id.of(Language::Shell),
                key.of(Language::Shell)
            ),
            false => String::new(),
        };
        vec![
            snippet(
                "AWS CLI",
                "pip install awscli",
                format!("{set}aws --endpoint-url {endpoint} --region {region} s3 ls"),
            ),
            snippet(
                "Python (boto3)",
                "pip install boto3",
                format!(
                    "{}import boto3\n\ns3 = boto3.client(\n    \"s3\",\n    endpoint_url=\"{endpoint}\",\n    region_name=\"{region}\",\n    \
                     aws_access_key_id={},\n    aws_secret_access_key={},\n)\nprint([bucket[\"Name\"] for bucket in s3.list_buckets()[\"Buckets\"]])",
                    if matches!(id, Text::Variable(_)) || matches!(key, Text::Variable(_)) {
                        "import os\n"
                    } else {
                        ""
                    },
                    id.of(Language::Python),
                    key.of(Language::Python)
                ),
            ),
            snippet(
                "Node (AWS SDK)",
                "npm install @aws-sdk/client-s3",
                format!(
                    "import {{ ListBucketsCommand, S3Client }} from '@aws-sdk/client-s3'\n\nconst s3 = new S3Client({{\n  \
                     endpoint: '{endpoint}', region: '{region}', forcePathStyle: true,\n  \
                     credentials: {{ accessKeyId: {}, secretAccessKey: {} }},\n}})\n\
                     console.log((await s3.send(new ListBucketsCommand({{}}))).Buckets)",
                    id.of(Language::Node),
                    key.of(Language::Node)
                ),
            ),
            snippet(
                "Go (AWS SDK)",
                "go get github.com/aws/aws-sdk-go-v2/service/s3 github.com/aws/aws-sdk-go-v2/credentials",
                format!(
                    "client := s3.New(s3.Options{{\n\tBaseEndpoint: aws.String(\"{endpoint}\"),\n\tRegion:       \"{region}\",\n\t\
                     UsePathStyle: true,\n\tCredentials:  credentials.NewStaticCredentialsProvider({}, {}, \"\"),\n}})",
                    id.of(Language::Go),
                    key.of(Language::Go)
                ),
            ),
        ]
    }

    fn mqtt(&self, name: &str, url: Text<'_>, address: &Address<'a>) -> Vec<Snippet> {
        let (host, port, user) = (address.host, address.port, address.user);
        let password = |language| self.password_in(name, address, language);
        let read = !self.shown && !address.password.is_empty();
        vec![
            snippet(
                "mosquitto_sub",
                "",
                format!("mosquitto_sub -h {host} -p {port} -u {user} -P {} -t '#' -v", password(Language::Shell)),
            ),
            snippet(
                "Python (paho)",
                "pip install paho-mqtt",
                format!(
                    "{}import paho.mqtt.client as mqtt\n\nclient = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n\
                     client.username_pw_set(\"{user}\", {})\nclient.connect(\"{host}\", {port})",
                    if read { "import os\n" } else { "" },
                    password(Language::Python)
                ),
            ),
            snippet(
                "Node (mqtt)",
                "npm install mqtt",
                format!(
                    "import mqtt from 'mqtt'\n\nconst client = await mqtt.connectAsync({})",
                    url.of(Language::Node)
                ),
            ),
        ]
    }
}

/// A value without what is secret in it.
fn hidden(name: &str, value: &str, secrets: &[&str]) -> String {
    // whoever writes a value of its own into `exports` has told nobody that it is a secret
    let tells = ["PASSWORD", "SECRET", "TOKEN", "_KEY"].iter().any(|word| name.ends_with(word));
    if tells && !value.is_empty() {
        return HIDDEN.to_owned();
    }
    let mut shown = value.to_owned();
    if let Some(Address { password, .. }) = Address::of(value)
        && !password.is_empty()
    {
        shown = shown.replacen(&format!(":{password}@"), &format!(":{HIDDEN}@"), 1);
    }
    // a short one may be a word that stands for something else: `postgres`
    for secret in secrets.iter().filter(|secret| secret.len() >= LONG || **secret == value) {
        if !secret.is_empty() {
            shown = shown.replace(secret, HIDDEN);
        }
    }
    shown
}

fn snippet(language: &'static str, install: &'static str, text: String) -> Snippet {
    Snippet { language, install, text }
}

fn import_os(text: Text<'_>) -> &'static str {
    if matches!(text, Text::Variable(_)) { "import os\n" } else { "" }
}

fn redis(url: Text<'_>) -> Vec<Snippet> {
    vec![
        snippet("redis-cli", "", format!("redis-cli -u {} ping", url.of(Language::Shell))),
        snippet(
            "Python (redis)",
            "pip install redis",
            format!(
                "{}import redis\n\ncache = redis.Redis.from_url({})\nprint(cache.ping())",
                import_os(url),
                url.of(Language::Python)
            ),
        ),
        snippet(
            "Node (redis)",
            "npm install redis",
            format!(
                "import {{ createClient }} from 'redis'\n\nconst cache = await createClient({{ url: {} }}).connect()\n\
                 console.log(await cache.ping())",
                url.of(Language::Node)
            ),
        ),
        snippet(
            "Go (go-redis)",
            "go get github.com/redis/go-redis/v9",
            format!("options, err := redis.ParseURL({})\ncache := redis.NewClient(options)", url.of(Language::Go)),
        ),
        snippet(
            "Java (Jedis)",
            "redis.clients:jedis",
            format!("JedisPooled cache = new JedisPooled(URI.create({}));", url.of(Language::Java)),
        ),
    ]
}

fn amqp(url: Text<'_>) -> Vec<Snippet> {
    vec![
        snippet(
            "Python (pika)",
            "pip install pika",
            format!(
                "{}import pika\n\nconnection = pika.BlockingConnection(pika.URLParameters({}))\nchannel = connection.channel()",
                import_os(url),
                url.of(Language::Python)
            ),
        ),
        snippet(
            "Node (amqplib)",
            "npm install amqplib",
            format!(
                "import amqp from 'amqplib'\n\nconst connection = await amqp.connect({})\n\
                 const channel = await connection.createChannel()",
                url.of(Language::Node)
            ),
        ),
        snippet(
            "Go (amqp091-go)",
            "go get github.com/rabbitmq/amqp091-go",
            format!("connection, err := amqp.Dial({})", url.of(Language::Go)),
        ),
        snippet(
            "Java (RabbitMQ client)",
            "com.rabbitmq:amqp-client",
            format!(
                "ConnectionFactory factory = new ConnectionFactory();\nfactory.setUri({});\nConnection connection = factory.newConnection();",
                url.of(Language::Java)
            ),
        ),
    ]
}

fn nats(url: Text<'_>) -> Vec<Snippet> {
    vec![
        snippet("nats", "", format!("nats --server {} sub '>'", url.of(Language::Shell))),
        snippet(
            "Python (nats-py)",
            "pip install nats-py",
            format!(
                "import asyncio\n{}import nats\n\nasync def main():\n    connection = await nats.connect({})\n    \
                 await connection.publish(\"hello\", b\"world\")\n    await connection.drain()\n\nasyncio.run(main())",
                import_os(url),
                url.of(Language::Python)
            ),
        ),
        snippet(
            "Go (nats.go)",
            "go get github.com/nats-io/nats.go",
            format!("connection, err := nats.Connect({})", url.of(Language::Go)),
        ),
        snippet(
            "Java (jnats)",
            "io.nats:jnats",
            format!("Connection connection = Nats.connect({});", url.of(Language::Java)),
        ),
    ]
}

fn memcached(address: &Address<'_>) -> Vec<Snippet> {
    let (host, port) = (address.host, address.port);
    vec![
        snippet(
            "Python (pymemcache)",
            "pip install pymemcache",
            format!("from pymemcache.client.base import Client\n\ncache = Client((\"{host}\", {port}))"),
        ),
        snippet(
            "Node (memjs)",
            "npm install memjs",
            format!("import memjs from 'memjs'\n\nconst cache = memjs.Client.create('{host}:{port}')"),
        ),
        snippet(
            "Go (gomemcache)",
            "go get github.com/bradfitz/gomemcache/memcache",
            format!("cache := memcache.New(\"{host}:{port}\")"),
        ),
    ]
}

fn smtp(address: &Address<'_>) -> Vec<Snippet> {
    let (host, port) = (address.host, address.port);
    vec![
        snippet(
            "Python (smtplib)",
            "",
            format!(
                "import smtplib\n\nwith smtplib.SMTP(\"{host}\", {port}) as server:\n    \
                 server.sendmail(\"me@example.com\", [\"you@example.com\"], \"Subject: Hello\\r\\n\\r\\nHello\")"
            ),
        ),
        snippet(
            "Node (nodemailer)",
            "npm install nodemailer",
            format!(
                "import nodemailer from 'nodemailer'\n\nconst mail = nodemailer.createTransport({{ host: '{host}', port: {port}, secure: false }})"
            ),
        ),
        snippet(
            "Go (net/smtp)",
            "",
            format!(
                "err := smtp.SendMail(\"{host}:{port}\", nil, \"me@example.com\", []string{{\"you@example.com\"}}, \
                 []byte(\"Subject: Hello\\r\\n\\r\\nHello\"))"
            ),
        ),
    ]
}

fn registry(place: &str) -> Vec<Snippet> {
    vec![snippet("docker", "", format!("docker tag app:1 {place}/app:1\ndocker push {place}/app:1"))]
}

fn otlp(url: &str, address: &Address<'_>) -> Vec<Snippet> {
    let set = format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_SERVICE_NAME=shop\n"
    );
    let (host, port) = (address.host, address.port);
    vec![
        snippet(
            "curl",
            "",
            format!("curl -i {url}/v1/traces -H 'content-type: application/json' -d '{{\"resourceSpans\": []}}'"),
        ),
        snippet(
            "Python",
            "pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http",
            format!("{set}opentelemetry-instrument python app.py"),
        ),
        snippet(
            "Node",
            "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node",
            format!("{set}node --require @opentelemetry/auto-instrumentations-node/register app.js"),
        ),
        snippet(
            "Go",
            "go get go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp",
            format!(
                "exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(\"{host}:{port}\"), otlptracehttp.WithInsecure())"
            ),
        ),
        snippet("Java", "", format!("{set}java -javaagent:opentelemetry-javaagent.jar -jar app.jar")),
    ]
}

#[cfg(test)]
mod tests {
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
        let exports = Exports { all: &exported, secrets: vec!["s3cret"], shown: false };
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
        let exports = Exports { all: &exported, secrets: vec!["id5", "k3y"], shown: false };
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
            ("MQTT_URL", "mqtt://macula:s3cret@127.0.0.19:1883"),
            ("MYSQL_URL", "mysql://root:s3cret@127.0.0.16:3306"),
            ("NATS_URL", "nats://macula:s3cret@127.0.0.14:4222"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.4:4318"),
            ("PDNS_API_KEY", "0wn"),
            ("REDIS_URL", "redis://:s3cret@127.0.0.13:6379"),
            ("REGISTRY", "127.0.0.1:5001"),
            ("SMTP_URL", "smtp://127.0.0.18:1025"),
            ("STRIPE_TOKEN", "0wn"),
        ]);
        let exports = Exports { all: &exported, secrets: vec!["s3cret", "0therS3cret", ""], shown: false };
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
        // others than those of a variable for the password alone read one that is called as it would be
        assert!(told.contains(r#"System.getenv(\"MYSQL_PASSWORD\")"#), "{told}");
    }

    #[test]
    fn a_short_secret_may_be_a_word_and_a_user_may_be_a_secret() {
        let exported = all(&[("DB_URL", "mysql://l0ngenough:mysql@127.0.0.16:3306/shop")]);
        let exports = Exports { all: &exported, secrets: vec!["l0ngenough", "mysql"], shown: false };
        let ways = exports.ways();
        assert_eq!(ways[0].url, "mysql://••••:••••@127.0.0.16:3306/shop");
        assert_eq!(ways[0].user.as_deref(), Some("••••"));
        assert!(!serde_json::to_string(&ways).unwrap().contains("l0ngenough"), "{ways:?}");
    }
}
