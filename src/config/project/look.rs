//! `macula init`: what lies in a project's folder, what of it becomes macula.yaml, and what does not and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::compose::{self, env_file};
use crate::config::files::{Files, MAX_TEXT};
use crate::model::Server;

/// A macula.yaml for a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectFile {
    pub text: String,
    /// What was found and what became of it: `compose.yaml: a stack`.
    pub taken: Vec<String>,
    /// What was found and is not in the file, with the reason or what to type.
    pub left: Vec<String>,
}

/// What is collected while looking.
#[derive(Default)]
struct Found {
    /// The Compose file of the folder itself.
    project: Option<&'static str>,
    stacks: Vec<(String, String)>,
    add: Vec<(Server, String)>,
    cluster: Option<(String, u64, u64)>,
    taken: Vec<String>,
    left: Vec<String>,
}

/// Looks at the folder. Nothing is run and nothing outside of it is read.
pub fn look(files: &dyn Files, folder: &Path) -> ProjectFile {
    let project = Folder { files, folder };
    let mut found = Found::default();
    project.compose(&mut found);
    project.dev_container(&mut found);
    project.ddev(&mut found);
    project.supabase(&mut found);
    project.examples_of_settings(&mut found);
    project.clusters(&mut found);
    project.programs(&mut found);
    found.file()
}

struct Folder<'a> {
    files: &'a dyn Files,
    folder: &'a Path,
}

impl Folder<'_> {
    fn has(&self, name: &str) -> bool {
        self.files.exists(&self.folder.join(name))
    }

    fn text(&self, name: &str) -> Option<String> {
        let path = self.folder.join(name);
        if !self.files.exists(&path) {
            return None;
        }
        String::from_utf8(self.files.read(&path, MAX_TEXT).ok()?).ok()
    }

    fn yaml(&self, name: &str) -> Option<Value> {
        serde_yaml::from_str(&self.text(name)?).ok()
    }

    fn compose(&self, found: &mut Found) {
        let Some(name) = compose::FILE_NAMES.into_iter().find(|name| self.has(name)) else { return };
        found.project = Some(name);
        found.taken.push(format!("{name}: a stack"));
    }

    /// Containers that editors start: the services of their Compose files are the project's.
    fn dev_container(&self, found: &mut Found) {
        let place = [".devcontainer/devcontainer.json", ".devcontainer.json"].into_iter().find(|name| self.has(name));
        let Some((name, text)) = place.and_then(|name| Some((name, self.text(name)?))) else { return };
        // comments and commas at the end are allowed there, as in YAML's flow form
        let parsed: Option<Value> = serde_yaml::from_str(&without_comments(&text)).ok();
        let files = parsed.as_ref().and_then(|parsed| parsed.get("dockerComposeFile"));
        let files: Vec<&str> = match files {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if files.is_empty() {
            found.left.push(format!("{name}: its container is the editor's; no Compose file is named there"));
            return;
        }
        let beside = Path::new(name).parent().unwrap_or(Path::new(""));
        for file in files {
            let path = plain(&beside.join(file));
            let shown = path.display().to_string();
            if found.project == Some(shown.as_str()) || found.stacks.iter().any(|(_, known)| *known == shown) {
                continue;
            }
            if self.has(&shown) {
                found.stacks.push((format!("./{shown}"), shown.clone()));
                found.taken.push(format!("{shown}: a stack, named in {name}"));
            } else {
                found.left.push(format!("{shown}, named in {name}: there is no such file"));
            }
        }
    }

    fn ddev(&self, found: &mut Found) {
        const NAME: &str = ".ddev/config.yaml";
        let Some(config) = self.yaml(NAME) else { return };
        let kind = config.get("database").and_then(|database| database.get("type")).and_then(Value::as_str);
        let reason = format!("{NAME}: database {}", kind.unwrap_or("mariadb"));
        match Server::find(kind.unwrap_or("mariadb")) {
            Some(Server::Postgres) => found.taken.push(format!("{reason}: the platform's PostgreSQL")),
            Some(server) => found.add(server, &reason),
            None => found.left.push(format!("{reason}: the catalog has none")),
        }
        found.left.push(format!("{NAME}: its web container; `macula run` gives a program that you start a name"));
    }

    fn supabase(&self, found: &mut Found) {
        const NAME: &str = "supabase/config.toml";
        if !self.has(NAME) {
            return;
        }
        found.taken.push(format!("{NAME}: the platform's PostgreSQL and S3 storage"));
        found.left.push(format!("{NAME}: auth, realtime, functions and studio, which the platform does not have"));
    }

    /// Variables that a project says it wants name the servers that it talks to.
    fn examples_of_settings(&self, found: &mut Found) {
        const NAMES: [&str; 4] = [".env.example", ".env.sample", ".env.dist", "env.example"];
        let Some((name, text)) = NAMES.into_iter().find_map(|name| Some((name, self.text(name)?))) else { return };
        let Ok(settings) = env_file::parse(&text, &|_| None) else {
            found.left.push(format!("{name}: it is not a valid env file"));
            return;
        };
        let own = self.images();
        for (variable, value) in &settings.values {
            let Some(server) = server_of(variable, value) else { continue };
            let reason = format!("{variable} in {name}");
            if own.contains(&server) {
                continue;
            }
            if server == Server::Postgres {
                found.taken(format!("{reason}: the platform's PostgreSQL"));
            } else {
                found.add(server, &reason);
            }
        }
    }

    /// Servers that the project's own Compose files bring.
    fn images(&self) -> BTreeSet<Server> {
        let named = compose::FILE_NAMES.into_iter().find_map(|name| self.yaml(name));
        let services = named.as_ref().and_then(|file| file.get("services")).and_then(Value::as_object);
        let services = services.into_iter().flatten();
        services
            .filter_map(|(name, service)| {
                let image = service.get("image").and_then(Value::as_str).unwrap_or(name);
                let last = image.rsplit('/').next().unwrap_or(image);
                let plain = last.split([':', '@']).next().unwrap_or(last);
                match plain {
                    "mailpit" | "mailhog" | "maildev" | "mailcatcher" => Some(Server::Mail),
                    "timescaledb" | "postgis" | "pgvector" => Some(Server::Postgres),
                    plain => Server::find(plain),
                }
            })
            .collect()
    }

    fn clusters(&self, found: &mut Found) {
        for name in ["kind.yaml", "kind.yml", "kind-config.yaml", "k3d.yaml", "k3d.yml", "k3d-config.yaml"] {
            let Some(config) = self.yaml(name) else { continue };
            let api = config.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
            let (planes, workers) = if api.starts_with("kind.x-k8s.io/") {
                let nodes = config.get("nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let count = |role: &str| {
                    nodes.iter().filter(|node| node.get("role").and_then(Value::as_str) == Some(role)).count()
                };
                (count("control-plane"), count("worker"))
            } else if api.starts_with("k3d.io/") {
                let count = |key: &str| config.get(key).and_then(Value::as_u64).unwrap_or_default();
                (usize::try_from(count("servers")).unwrap_or(1), usize::try_from(count("agents")).unwrap_or_default())
            } else {
                continue;
            };
            // an even number has no majority when one fails
            let planes = planes.clamp(1, 9) as u64;
            let planes = if planes.is_multiple_of(2) { planes - 1 } else { planes };
            let workers = workers.min(50) as u64;
            found.taken.push(format!("{name}: a cluster (control planes: {planes}, workers: {workers})"));
            found.left.push(format!("{name}: port mappings, mounts and patches; the platform has its own"));
            found.cluster.get_or_insert((name.to_owned(), planes, workers));
        }
        for name in ["ctlptl.yaml", "ctlptl.yml"] {
            if self.has(name) {
                found.left.push(format!("{name}: the platform brings a cluster and a registry wired to it"));
            }
        }
    }

    /// Programs that the developer starts.
    fn programs(&self, found: &mut Found) {
        if let Some(text) = self.text("Procfile") {
            for line in text.lines() {
                let Some((name, command)) = line.split_once(':').filter(|(name, _)| is_word(name)) else { continue };
                let command = command.trim();
                found.left.push(format!("Procfile: start {name} by `macula run --as {name} -- {command}`"));
            }
        }
        let Some(package) = self.text("package.json").and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
            return;
        };
        let scripts = package.get("scripts").and_then(Value::as_object);
        let script =
            ["dev", "start", "serve"].into_iter().find(|name| scripts.is_some_and(|all| all.contains_key(*name)));
        let Some(script) = script else { return };
        let name = package.get("name").and_then(Value::as_str).unwrap_or("web");
        let name = name.rsplit('/').next().unwrap_or(name);
        let name = if is_word(name) { name } else { "web" };
        found.left.push(format!("package.json: start it by `macula run --as {name} -- npm run {script}`"));
    }
}

impl Found {
    fn taken(&mut self, what: String) {
        if !self.taken.contains(&what) {
            self.taken.push(what);
        }
    }

    fn add(&mut self, server: Server, reason: &str) {
        if !self.add.iter().any(|(known, _)| *known == server) {
            self.add.push((server, reason.to_owned()));
            self.taken.push(format!("{reason}: {} of the catalog", server.name()));
        }
    }

    fn file(self) -> ProjectFile {
        let mut text = "# Written by `macula init`. Every key is optional: see `macula help macula.yaml`.\n".to_owned();
        if let Some(project) = self.project {
            text.push_str(&format!(
                "\n# {project} comes up with the platform, and its HTTP ports get names.\ndiscover: true\n"
            ));
        }
        if !self.stacks.is_empty() {
            text.push_str("\n# Compose files that come up with the platform.\nstacks:\n");
            text.extend(self.stacks.iter().map(|(path, _)| format!("  - {path}\n")));
        }
        if !self.add.is_empty() {
            text.push_str("\n# Stacks of the catalog.\nadd:\n");
            text.extend(self.add.iter().map(|(server, reason)| format!("  - {}  # {reason}\n", server.name())));
        }
        if let Some((from, planes, workers)) = &self.cluster {
            text.push_str(&format!("\n# As in {from}.\ncluster:\n  control_planes: {planes}\n  workers: {workers}\n"));
        }
        ProjectFile { text, taken: self.taken, left: self.left }
    }
}

/// The server that a variable of a project speaks of.
fn server_of(variable: &str, value: &str) -> Option<Server> {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.split('+').next().unwrap_or(scheme));
    match scheme {
        Some("postgres" | "postgresql" | "postgis") => return Some(Server::Postgres),
        Some("redis" | "rediss" | "valkey") => return Some(Server::Valkey),
        Some("mysql" | "mysql2" | "mariadb") => return Some(Server::Mariadb),
        Some("amqp" | "amqps") => return Some(Server::Rabbitmq),
        Some("nats") => return Some(Server::Nats),
        Some("smtp" | "smtps") => return Some(Server::Mail),
        Some("memcached") => return Some(Server::Memcached),
        _ => {}
    }
    let upper = variable.to_ascii_uppercase();
    let begins = |all: &[&str]| all.iter().any(|start| upper.starts_with(start));
    if begins(&["REDIS_", "VALKEY_"]) {
        Some(Server::Valkey)
    } else if begins(&["MYSQL_", "MARIADB_"]) {
        Some(Server::Mariadb)
    } else if begins(&["RABBITMQ_", "AMQP_"]) {
        Some(Server::Rabbitmq)
    } else if begins(&["NATS_"]) {
        Some(Server::Nats)
    } else if begins(&["SMTP_", "MAIL_HOST", "EMAIL_HOST", "MAILER_"]) {
        Some(Server::Mail)
    } else if begins(&["MEMCACHE"]) {
        Some(Server::Memcached)
    } else if begins(&["POSTGRES_", "PGHOST", "PGDATABASE"]) {
        Some(Server::Postgres)
    } else {
        None
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `a/../b` without the detour.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// JSON with comments: without them.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(one) = chars.next() {
        match (one, chars.peek()) {
            ('\\', Some(_)) if quoted => {
                out.push(one);
                out.extend(chars.next());
            }
            ('"', _) => {
                quoted = !quoted;
                out.push(one);
            }
            ('/', Some('/')) if !quoted => {
                chars.by_ref().take_while(|one| *one != '\n').for_each(drop);
                out.push('\n');
            }
            ('/', Some('*')) if !quoted => {
                let mut last = ' ';
                for one in chars.by_ref() {
                    if last == '*' && one == '/' {
                        break;
                    }
                    last = one;
                }
            }
            // no YAML reader takes it for a space inside flow forms
            ('\t', _) if !quoted => out.push(' '),
            (one, _) => out.push(one),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryFiles;

    fn shown(files: &[(&str, &str)]) -> String {
        let files = files.iter().fold(MemoryFiles::default(), |all, (name, text)| all.with(format!("/p/{name}"), text));
        let ProjectFile { text, taken, left } = look(&files, Path::new("/p"));
        format!("{text}\n+ {}\n- {}", taken.join("\n+ "), left.join("\n- "))
    }

    #[test]
    fn a_variable_speaks_of_a_server_by_its_value_or_else_by_its_name() {
        for (variable, value, server) in [
            ("CACHE", "rediss://localhost", Some(Server::Valkey)),
            ("DB", "mysql+pymysql://localhost", Some(Server::Mariadb)),
            ("REDIS_HOST", "localhost", Some(Server::Valkey)),
            ("REDIS_OR_ELSE", "memcached://localhost", Some(Server::Memcached)),
            ("PAGE", "https://localhost", None),
        ] {
            assert_eq!(server_of(variable, value), server, "{variable}={value}");
        }
    }

    #[test]
    fn a_project_with_everything() {
        let text = shown(&[
            ("compose.yaml", "services: {web: {build: .}, redis: {image: 'redis:7'}}"),
            (
                ".devcontainer/devcontainer.json",
                "{\n\t// comment\n\t\"dockerComposeFile\": [\"../compose.yaml\", \"extra.yaml\", \"gone.yaml\"], /* x */\n}",
            ),
            (".devcontainer/extra.yaml", "services: {tool: {image: t}}"),
            (
                ".env.example",
                "DATABASE_URL=postgresql+asyncpg://u:p@db/x\nREDIS_URL=redis://localhost\nAMQP_URL=amqp://x\nSMTP_HOST=localhost\nSMTP_PORT=25\n",
            ),
            (
                "kind.yaml",
                "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\nnodes: [{role: control-plane}, {role: worker}, {role: worker}]\n",
            ),
            ("ctlptl.yaml", "x: 1"),
            ("Procfile", "web: npm start\n# no\nworker: node worker.js\n"),
            ("package.json", "{\"name\": \"@me/shop\", \"scripts\": {\"start\": \"node .\", \"dev\": \"vite\"}}"),
        ]);
        insta::assert_snapshot!(text, @"
        # Written by `macula init`. Every key is optional: see `macula help macula.yaml`.

        # compose.yaml comes up with the platform, and its HTTP ports get names.
        discover: true

        # Compose files that come up with the platform.
        stacks:
          - ./.devcontainer/extra.yaml

        # Stacks of the catalog.
        add:
          - rabbitmq  # AMQP_URL in .env.example
          - mail  # SMTP_HOST in .env.example

        # As in kind.yaml.
        cluster:
          control_planes: 1
          workers: 2

        + compose.yaml: a stack
        + .devcontainer/extra.yaml: a stack, named in .devcontainer/devcontainer.json
        + AMQP_URL in .env.example: rabbitmq of the catalog
        + DATABASE_URL in .env.example: the platform's PostgreSQL
        + SMTP_HOST in .env.example: mail of the catalog
        + kind.yaml: a cluster (control planes: 1, workers: 2)
        - .devcontainer/gone.yaml, named in .devcontainer/devcontainer.json: there is no such file
        - kind.yaml: port mappings, mounts and patches; the platform has its own
        - ctlptl.yaml: the platform brings a cluster and a registry wired to it
        - Procfile: start web by `macula run --as web -- npm start`
        - Procfile: start worker by `macula run --as worker -- node worker.js`
        - package.json: start it by `macula run --as shop -- npm run dev`
        ");
    }

    #[test]
    fn other_peoples_tools() {
        insta::assert_snapshot!(shown(&[
            (".ddev/config.yaml", "name: shop\ndatabase: {type: mysql, version: '8.0'}\n"),
            ("supabase/config.toml", "project_id = \"a\"\n"),
            ("k3d.yaml", "apiVersion: k3d.io/v1alpha5\nkind: Simple\nservers: 2\nagents: 1\n"),
            (".devcontainer.json", "{\"image\": \"x\"}"),
        ]), @"
        # Written by `macula init`. Every key is optional: see `macula help macula.yaml`.

        # Stacks of the catalog.
        add:
          - mariadb  # .ddev/config.yaml: database mysql

        # As in k3d.yaml.
        cluster:
          control_planes: 1
          workers: 1

        + .ddev/config.yaml: database mysql: mariadb of the catalog
        + supabase/config.toml: the platform's PostgreSQL and S3 storage
        + k3d.yaml: a cluster (control planes: 1, workers: 1)
        - .devcontainer.json: its container is the editor's; no Compose file is named there
        - .ddev/config.yaml: its web container; `macula run` gives a program that you start a name
        - supabase/config.toml: auth, realtime, functions and studio, which the platform does not have
        - k3d.yaml: port mappings, mounts and patches; the platform has its own
        ");
    }

    #[test]
    fn an_empty_folder_gives_a_file_that_changes_nothing() {
        let ProjectFile { text, taken, left } = look(&MemoryFiles::default(), Path::new("/p"));
        assert_eq!(text.lines().count(), 1);
        assert_eq!((taken, left), (Vec::new(), Vec::new()));
    }
}
