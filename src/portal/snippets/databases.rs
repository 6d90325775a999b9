//! Databases of SQL.

use super::address::{Address, Login};
use super::exports::Exports;
use super::language::{Language, Shape, Snippet, Text, snippet, with};

const POSTGRES: [Shape; 4] = [
    Shape::new("psql", "", Language::Shell, "psql @"),
    Shape::new(
        "Python (psycopg)",
        "pip install 'psycopg[binary]'",
        Language::Python,
        "@os\nimport psycopg\n\nwith psycopg.connect(@) as db:\n    print(db.execute(\"SELECT version()\").fetchone())",
    ),
    Shape::new(
        "Node (pg)",
        "npm install pg",
        Language::Node,
        "import pg from 'pg'\n\nconst db = new pg.Client({ connectionString: @ })\nawait db.connect()\n\
         console.log((await db.query('SELECT version()')).rows)\nawait db.end()",
    ),
    Shape::new(
        "Go (pgx)",
        "go get github.com/jackc/pgx/v5",
        Language::Go,
        "db, err := pgx.Connect(context.Background(), @)",
    ),
];

const MYSQL_NODE: Shape = Shape::new(
    "Node (mysql2)",
    "npm install mysql2",
    Language::Node,
    "import mysql from 'mysql2/promise'\n\nconst db = await mysql.createConnection(@)\n\
     console.log((await db.query('SELECT version()'))[0])\nawait db.end()",
);

pub(super) fn postgres(exports: &Exports<'_>, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
    let mut all = with(&POSTGRES, url);
    let login = exports.login(name, address);
    all.extend(login.map(|login| jdbc(exports, "postgresql", "org.postgresql:postgresql", &login, address)));
    all
}

pub(super) fn mysql(exports: &Exports<'_>, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
    let node = MYSQL_NODE.with(url);
    let Some(login) = exports.login(name, address) else { return vec![node] };
    let (host, port, database) = (exports.part(address.host()), address.port, exports.part(address.path));
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
        jdbc(exports, "mariadb", "org.mariadb.jdbc:mariadb-java-client", &login, address),
    ]
}

fn jdbc(
    exports: &Exports<'_>,
    protocol: &str,
    install: &'static str,
    login: &Login<'_>,
    address: &Address<'_>,
) -> Snippet {
    let plain = format!("jdbc:{protocol}://{}/{}", address.place(), address.path);
    let whole = format!("{plain}?{}", address.query);
    // a password may stand in it
    let url = if address.query.is_empty() || exports.masked("", &whole) != whole { plain } else { whole };
    let url = Text::Plain(&url).of(Language::Java);
    let login = match login.user.is_empty() {
        true => String::new(),
        false => format!(", {}, {}", login.user(Language::Java), login.password(Language::Java)),
    };
    snippet("Java (JDBC)", install, format!("Connection db = DriverManager.getConnection(\n    {url}{login});"))
}
