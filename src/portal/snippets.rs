//! How programs connect to what a service exports, in several languages. Pure.
//!
//! What is secret stands as the variable that `macula env` sets, unless it is to be shown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::{Redactor, tells_a_secret};
use crate::words::shell_word;

/// In place of what is hidden.
const HIDDEN: &str = "••••";

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
    all: &'a BTreeMap<String, String>,
    /// The passwords that macula has made or was given.
    secrets: Vec<&'a str>,
    redactor: Redactor,
    /// Secrets are written out.
    shown: bool,
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
    /// Without the first slash.
    path: &'a str,
    /// What stands behind the question mark.
    query: &'a str,
}

impl<'a> Address<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let (behind, _) = behind.split_once('#').unwrap_or((behind, ""));
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        // the colons of an IPv6 address stand between brackets
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => (host, port),
            _ => (place, ""),
        };
        let port = if port.is_empty() { usual(scheme) } else { port };
        Some(Self { scheme, user, password, host, port, path: path.trim_start_matches('/'), query })
    }

    /// The host where its port stands elsewhere.
    fn host(&self) -> &'a str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and port.
    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Percent-encoding undone: drivers that take the parts of a URL want them as they are.
fn decoded(part: &str) -> String {
    // what means something in a form alone stands for itself
    let form = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(form.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// Whom a URL names, for drivers that take it apart.
struct Login<'a> {
    /// Empty: nobody.
    user: String,
    /// Empty: none, or it is that of the variable.
    password: String,
    variable: Option<&'a str>,
}

impl Login<'_> {
    fn has_password(&self) -> bool {
        self.variable.is_some() || !self.password.is_empty()
    }

    fn user(&self, language: Language) -> String {
        Text::Plain(&self.user).of(language)
    }

    fn password(&self, language: Language) -> String {
        self.variable.map_or(Text::Plain(&self.password), Text::Variable).of(language)
    }

    /// For a command line: the options for user and password, where there are any.
    fn options(&self, user: &str, password: Option<&str>) -> String {
        if self.user.is_empty() {
            return String::new();
        }
        let user = format!(" {user} {}", self.user(Language::Shell));
        match password.filter(|_| self.has_password()) {
            Some(password) => format!("{user} {password} {}", self.password(Language::Shell)),
            None => user,
        }
    }

    fn import_os(&self) -> &'static str {
        if self.variable.is_some() { "import os\n" } else { "" }
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
    pub fn new(all: &'a BTreeMap<String, String>, secrets: impl IntoIterator<Item = &'a str>, shown: bool) -> Self {
        let secrets: Vec<&str> = secrets.into_iter().collect();
        let redactor = Redactor::new(secrets.iter().map(|secret| (*secret).to_owned())).with_mask(HIDDEN);
        Self { all, secrets, redactor, shown }
    }

    /// All variables as they may be seen.
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |(name, value): (&String, &String)| {
            let secret = self.hidden(name, value) != *value;
            Setting { name: name.clone(), secret, value: self.masked(name, value) }
        };
        self.all.iter().map(setting).collect()
    }

    fn masked(&self, name: &str, value: &str) -> String {
        if self.shown { value.to_owned() } else { self.hidden(name, value) }
    }

    /// A value without what is secret in it.
    fn hidden(&self, name: &str, value: &str) -> String {
        let address = Address::of(value);
        // whoever writes a value of its own into `exports` has told nobody that it is a secret; an address is of use
        // without its password, if it is none whose user or path is one
        if tells_a_secret(name) && !value.is_empty() && !address.as_ref().is_some_and(|address| is_place(name, address))
        {
            return HIDDEN.to_owned();
        }
        // a short one may be a word that stands for something else: `postgres`
        if !value.is_empty() && self.secrets.contains(&value) {
            return HIDDEN.to_owned();
        }
        let mut shown = value.to_owned();
        if let Some(Address { password, .. }) = address
            && !password.is_empty()
        {
            shown = shown.replacen(&format!(":{password}@"), &format!(":{HIDDEN}@"), 1);
        }
        self.redactor.text(&shown)
    }

    /// A part of an address as a driver wants it.
    fn part(&self, part: &str) -> String {
        let part = decoded(part);
        if self.shown { part } else { self.redactor.text(&part) }
    }

    /// The value of a variable in a program: the variable itself where the value is hidden.
    fn text(&self, name: &'a str) -> Option<Text<'a>> {
        let value = self.all.get(name)?;
        let plain = self.shown || self.hidden(name, value) == *value;
        Some(if plain { Text::Plain(value) } else { Text::Variable(name) })
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
        let url = self.text(name)?;
        if name == "REGISTRY" {
            return Some((7, self.made("Registry", name, value, None, registry(url))));
        }
        let address = Address::of(value)?;
        // nothing of it may be seen
        if self.masked(name, value) == HIDDEN {
            return None;
        }
        let user = Some(self.masked("", &decoded(address.user))).filter(|user| !user.is_empty());
        let (rank, title, snippets) = match (name, address.scheme) {
            ("OTEL_EXPORTER_OTLP_ENDPOINT", _) => (8, "Traces, logs and metrics (OTLP)", otlp(url, &address)),
            ("AWS_ENDPOINT_URL", _) => (1, "S3", self.s3(url)),
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
        let masked = |one: Snippet| match self.shown {
            true => one,
            false => Snippet { text: self.redactor.without_known(&one.text), ..one },
        };
        let snippets = snippets.into_iter().map(masked).collect();
        Way { title, url: self.masked(name, value), user, snippets }
    }

    fn postgres(&self, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
        let mut all = vec![
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
        ];
        let login = self.login(name, address);
        all.extend(login.map(|login| self.jdbc("postgresql", "org.postgresql:postgresql", &login, address)));
        all
    }

    fn mysql(&self, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
        let node = snippet(
            "Node (mysql2)",
            "npm install mysql2",
            format!(
                "import mysql from 'mysql2/promise'\n\nconst db = await mysql.createConnection({})\n\
                 console.log((await db.query('SELECT version()'))[0])\nawait db.end()",
                url.of(Language::Node)
            ),
        );
        let Some(login) = self.login(name, address) else { return vec![node] };
        let (host, port, database) = (self.part(address.host()), address.port, self.part(address.path));
        let (host, database) = (Text::Plain(&host), Text::Plain(&database));
        let unnamed = address.path.is_empty();
        let secret = match login.has_password() {
            true => format!("MYSQL_PWD={} ", login.password(Language::Shell)),
            false => String::new(),
        };
        let python_login = match (login.user.is_empty(), login.has_password()) {
            (true, _) => String::new(),
            (false, false) => format!(" user={},", login.user(Language::Python)),
            (false, true) => {
                format!(" user={}, password={},", login.user(Language::Python), login.password(Language::Python))
            }
        };
        let go_login = match login.user.is_empty() {
            true => format!("config.DBName = {}", database.of(Language::Go)),
            false => format!(
                "config.User, config.Passwd, config.DBName = {}, {}, {}",
                login.user(Language::Go),
                login.password(Language::Go),
                database.of(Language::Go)
            ),
        };
        vec![
            snippet(
                "mariadb",
                "",
                format!(
                    "{secret}mariadb -h {} -P {port}{}{}",
                    host.of(Language::Shell),
                    login.options("-u", None),
                    if unnamed { String::new() } else { format!(" -D {}", database.of(Language::Shell)) }
                ),
            ),
            snippet(
                "Python (PyMySQL)",
                "pip install pymysql",
                format!(
                    "{}import pymysql\n\ndb = pymysql.connect(host={}, port={port},{python_login} database={})",
                    login.import_os(),
                    host.of(Language::Python),
                    if unnamed { "None".to_owned() } else { database.of(Language::Python) },
                ),
            ),
            node,
            snippet(
                "Go (go-sql-driver)",
                "go get github.com/go-sql-driver/mysql",
                format!(
                    "config := mysql.NewConfig()\nconfig.Net, config.Addr = \"tcp\", {}\n{go_login}\n\
                     db, err := sql.Open(\"mysql\", config.FormatDSN())",
                    Text::Plain(&address.place()).of(Language::Go)
                ),
            ),
            self.jdbc("mariadb", "org.mariadb.jdbc:mariadb-java-client", &login, address),
        ]
    }

    fn jdbc(&self, protocol: &str, install: &'static str, login: &Login<'_>, address: &Address<'_>) -> Snippet {
        let plain = format!("jdbc:{protocol}://{}/{}", address.place(), address.path);
        let whole = format!("{plain}?{}", address.query);
        // a password may stand in it
        let url = if address.query.is_empty() || self.masked("", &whole) != whole { plain } else { whole };
        let url = Text::Plain(&url).of(Language::Java);
        let login = match login.user.is_empty() {
            true => String::new(),
            false => format!(", {}, {}", login.user(Language::Java), login.password(Language::Java)),
        };
        snippet("Java (JDBC)", install, format!("Connection db = DriverManager.getConnection(\n    {url}{login});"))
    }

    /// Whom a URL names; none where the password is hidden and no variable has it alone.
    fn login(&self, name: &str, address: &Address<'_>) -> Option<Login<'a>> {
        let user = self.part(address.user);
        if user.is_empty() {
            return Some(Login { user, password: String::new(), variable: None });
        }
        let password = decoded(address.password);
        if self.shown || password.is_empty() {
            return Some(Login { user, password, variable: None });
        }
        let usual = format!("{}_PASSWORD", name.strip_suffix("_URL").unwrap_or(name));
        // a database may be called as its password is
        let alone = self.all.iter().filter(|(name, value)| **value == password && tells_a_secret(name));
        let alone = alone.map(|(name, _)| name.as_str());
        let variable = alone.min_by_key(|name| (*name != usual, !name.ends_with("PASSWORD")))?;
        Some(Login { user, password: String::new(), variable: Some(variable) })
    }

    fn s3(&self, endpoint: Text<'_>) -> Vec<Snippet> {
        let region = self.text("AWS_REGION").unwrap_or(Text::Plain("us-east-1"));
        let keys = self.text("AWS_ACCESS_KEY_ID").zip(self.text("AWS_SECRET_ACCESS_KEY"));
        // without them a program looks for its own
        let told = |language: Language| keys.map(|(id, key)| (id.of(language), key.of(language)));
        let set = told(Language::Shell)
            .filter(|_| self.shown)
            .map(|(id, key)| format!("AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={key} "));
        let python = told(Language::Python)
            .map(|(id, key)| format!("    aws_access_key_id={id},\n    aws_secret_access_key={key},\n"));
        let node = told(Language::Node)
            .map(|(id, key)| format!("  credentials: {{ accessKeyId: {id}, secretAccessKey: {key} }},\n"));
        let go = told(Language::Go)
            .map(|(id, key)| format!("\tCredentials:  credentials.NewStaticCredentialsProvider({id}, {key}, \"\"),\n"));
        let mut read = vec![endpoint, region];
        read.extend(keys.map(|(id, _)| id));
        read.extend(keys.map(|(_, key)| key));
        let import = read.into_iter().map(import_os).find(|import| !import.is_empty()).unwrap_or_default();
        vec![
            snippet(
                "AWS CLI",
                "pip install awscli",
                format!(
                    "{}aws --endpoint-url {} --region {} s3 ls",
                    set.unwrap_or_default(),
                    endpoint.of(Language::Shell),
                    region.of(Language::Shell)
                ),
            ),
            snippet(
                "Python (boto3)",
                "pip install boto3",
                format!(
                    "{import}import boto3\n\ns3 = boto3.client(\n    \"s3\",\n    endpoint_url={},\n    region_name={},\n{})\n\
                     print([bucket[\"Name\"] for bucket in s3.list_buckets()[\"Buckets\"]])",
                    endpoint.of(Language::Python),
                    region.of(Language::Python),
                    python.unwrap_or_default()
                ),
            ),
            snippet(
                "Node (AWS SDK)",
                "npm install @aws-sdk/client-s3",
                format!(
                    "import {{ ListBucketsCommand, S3Client }} from '@aws-sdk/client-s3'\n\nconst s3 = new S3Client({{\n  \
                     endpoint: {}, region: {}, forcePathStyle: true,\n{}}})\n\
                     console.log((await s3.send(new ListBucketsCommand({{}}))).Buckets)",
                    endpoint.of(Language::Node),
                    region.of(Language::Node),
                    node.unwrap_or_default()
                ),
            ),
            snippet(
                "Go (AWS SDK)",
                "go get github.com/aws/aws-sdk-go-v2/service/s3 github.com/aws/aws-sdk-go-v2/credentials",
                format!(
                    "client := s3.New(s3.Options{{\n\tBaseEndpoint: aws.String({}),\n\tRegion:       {},\n\t\
                     UsePathStyle: true,\n{}}})",
                    endpoint.of(Language::Go),
                    region.of(Language::Go),
                    go.unwrap_or_default()
                ),
            ),
        ]
    }

    fn mqtt(&self, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
        let node = snippet(
            "Node (mqtt)",
            "npm install mqtt",
            format!("import mqtt from 'mqtt'\n\nconst client = await mqtt.connectAsync({})", url.of(Language::Node)),
        );
        let Some(login) = self.login(name, address) else { return vec![node] };
        let (host, port) = (self.part(address.host()), address.port);
        let host = Text::Plain(&host);
        let user = login.user(Language::Python);
        let set = match (login.user.is_empty(), login.has_password()) {
            (true, _) => String::new(),
            (false, false) => format!("client.username_pw_set({user})\n"),
            (false, true) => format!("client.username_pw_set({user}, {})\n", login.password(Language::Python)),
        };
        vec![
            snippet(
                "mosquitto_sub",
                "",
                format!(
                    "mosquitto_sub -h {} -p {port}{} -t '#' -v",
                    host.of(Language::Shell),
                    login.options("-u", Some("-P"))
                ),
            ),
            snippet(
                "Python (paho)",
                "pip install paho-mqtt",
                format!(
                    "{}import paho.mqtt.client as mqtt\n\nclient = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n\
                     {set}client.connect({}, {port})",
                    login.import_os(),
                    host.of(Language::Python)
                ),
            ),
            node,
        ]
    }
}

/// Whether a value whose name tells a secret is an address that may be seen without its password. `SENTRY_DSN` has its
/// key for a user, and a webhook in its path.
fn is_place(name: &str, address: &Address<'_>) -> bool {
    let upper = name.to_uppercase();
    upper.ends_with("URL") || upper.ends_with("DSN") && !address.scheme.starts_with("http")
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
    let (host, port, place) = (decoded(address.host()), address.port, address.place());
    let (host, place) = (Text::Plain(&host), Text::Plain(&place));
    vec![
        snippet(
            "Python (pymemcache)",
            "pip install pymemcache",
            format!(
                "from pymemcache.client.base import Client\n\ncache = Client(({}, {port}))",
                host.of(Language::Python)
            ),
        ),
        snippet(
            "Node (memjs)",
            "npm install memjs",
            format!("import memjs from 'memjs'\n\nconst cache = memjs.Client.create({})", place.of(Language::Node)),
        ),
        snippet(
            "Go (gomemcache)",
            "go get github.com/bradfitz/gomemcache/memcache",
            format!("cache := memcache.New({})", place.of(Language::Go)),
        ),
    ]
}

fn smtp(address: &Address<'_>) -> Vec<Snippet> {
    let (host, port, place) = (decoded(address.host()), address.port, address.place());
    let (host, place) = (Text::Plain(&host), Text::Plain(&place));
    vec![
        snippet(
            "Python (smtplib)",
            "",
            format!(
                "import smtplib\n\nwith smtplib.SMTP({}, {port}) as server:\n    \
                 server.sendmail(\"me@example.com\", [\"you@example.com\"], \"Subject: Hello\\r\\n\\r\\nHello\")",
                host.of(Language::Python)
            ),
        ),
        snippet(
            "Node (nodemailer)",
            "npm install nodemailer",
            format!(
                "import nodemailer from 'nodemailer'\n\nconst mail = nodemailer.createTransport({{ host: {}, port: {port}, secure: false }})",
                host.of(Language::Node)
            ),
        ),
        snippet(
            "Go (net/smtp)",
            "",
            format!(
                "err := smtp.SendMail({}, nil, \"me@example.com\", []string{{\"you@example.com\"}}, \
                 []byte(\"Subject: Hello\\r\\n\\r\\nHello\"))",
                place.of(Language::Go)
            ),
        ),
    ]
}

fn registry(place: Text<'_>) -> Vec<Snippet> {
    let place = place.of(Language::Shell);
    vec![snippet("docker", "", format!("docker tag app:1 {place}/app:1\ndocker push {place}/app:1"))]
}

fn otlp(url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
    let url = url.of(Language::Shell);
    let set = format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_SERVICE_NAME=shop\n"
    );
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
                "exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint({}), otlptracehttp.WithInsecure())",
                Text::Plain(&address.place()).of(Language::Go)
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
}
