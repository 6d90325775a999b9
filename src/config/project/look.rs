//! `macula init`: what lies in a project's folder, what of it becomes macula.yaml, and what does not and why.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::config::Request;
use crate::config::compose::{env_file, override_of};
use crate::config::files::{Files, MAX_TEXT, clean, join};
use crate::config::sources::{passed_over, project_compose_name};
use crate::model::Server;
use crate::words;

use super::variable::server_of;

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
    /// The Compose file of the project, as it is called from the folder.
    project: Option<String>,
    stacks: Vec<String>,
    add: Vec<(Server, String)>,
    cluster: Option<(String, u64, u64)>,
    taken: Vec<String>,
    left: Vec<String>,
}

/// Looks at the folder of the request. Nothing is run; nothing outside of it is read but the project's Compose file.
pub fn look(request: &Request, files: &dyn Files) -> ProjectFile {
    let project = Folder { files, folder: &request.cwd };
    let mut found = Found { project: project_compose_name(request, files), ..Found::default() };
    found.taken.extend(found.project.iter().map(|name| format!("{name}: a stack")));
    project.dev_container(&mut found);
    let other = passed_over(request, files).filter(|(_, first)| !found.stacks.contains(&format!("./{first}")));
    if let Some((word, first)) = other {
        // in a folder that has a macula.yaml nothing is found unless that says so
        found.left.push(format!(
            "{word}; `stacks: [./{first}]` in macula.yaml brings it up with the platform, and so does \
             `macula up --stack {first}`"
        ));
    }
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
        self.files.exists(&join(self.folder, Path::new(name)))
    }

    fn text(&self, name: &str) -> Option<String> {
        let path = join(self.folder, Path::new(name));
        if !self.files.exists(&path) {
            return None;
        }
        String::from_utf8(self.files.read(&path, MAX_TEXT).ok()?).ok()
    }

    fn yaml(&self, name: &str) -> Option<Value> {
        serde_yaml::from_str(&self.text(name)?).ok()
    }

    /// Containers that editors start: the services of their Compose file are the project's. Of several files, each is
    /// laid over those before it.
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
        let mut first: Option<String> = None;
        let mut over = Vec::new();
        for file in files {
            let shown = clean(&beside.join(file)).display().to_string();
            let is_project = found.project.as_ref() == Some(&shown);
            match &first {
                _ if !self.has(&shown) => {
                    found.left.push(format!("{shown}, named in {name}: there is no such file"));
                    continue;
                }
                Some(_) if is_project => continue,
                // `.env` is read where the project's file lies
                Some(first) if found.project.as_ref() == Some(first) && !first.starts_with("../") => {
                    over.push(shown.clone());
                }
                Some(first) => {
                    found.left.push(format!("{shown}: the editor lays it over {first}, which macula does not"))
                }
                None if is_project => {}
                None => {
                    found.stacks.push(format!("./{shown}"));
                    found.taken.push(format!("{shown}: a stack, named in {name}"));
                }
            }
            first.get_or_insert(shown);
        }
        let Some(first) = first else { return };
        let laid = override_of(&join(self.folder, Path::new(&first)), self.files);
        let others = over.iter().filter(|shown| Some(join(self.folder, Path::new(shown))) != laid);
        let others: Vec<&String> = others.collect();
        if !others.is_empty() {
            let pronoun = if others.len() == 1 { "it" } else { "them" };
            let (others, all) = (words::list(others), over.join(":"));
            found.left.push(format!(
                "{others}: the editor lays {pronoun} over {first}; `COMPOSE_FILE={first}:{all}` in .env does so here"
            ));
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
        let own = self.images(found.project.as_deref());
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

    /// Servers that the project's own Compose file brings.
    fn images(&self, project: Option<&str>) -> BTreeSet<Server> {
        let named = project.and_then(|name| self.yaml(name));
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
            text.extend(self.stacks.iter().map(|path| format!("  - {path}\n")));
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

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
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
        shown_from("/p", files)
    }

    fn shown_from(folder: &str, files: &[(&str, &str)]) -> String {
        let files = files.iter().fold(MemoryFiles::default(), |all, (name, text)| all.with(format!("/p/{name}"), text));
        let request = Request { cwd: folder.into(), ..Request::default() };
        let ProjectFile { text, taken, left } = look(&request, &files);
        format!("{text}\n+ {}\n- {}", taken.join("\n+ "), left.join("\n- "))
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

        # Stacks of the catalog.
        add:
          - rabbitmq  # AMQP_URL in .env.example
          - mail  # SMTP_HOST in .env.example

        # As in kind.yaml.
        cluster:
          control_planes: 1
          workers: 2

        + compose.yaml: a stack
        + AMQP_URL in .env.example: rabbitmq of the catalog
        + DATABASE_URL in .env.example: the platform's PostgreSQL
        + SMTP_HOST in .env.example: mail of the catalog
        + kind.yaml: a cluster (control planes: 1, workers: 2)
        - .devcontainer/gone.yaml, named in .devcontainer/devcontainer.json: there is no such file
        - .devcontainer/extra.yaml: the editor lays it over compose.yaml; `COMPOSE_FILE=compose.yaml:.devcontainer/extra.yaml` in .env does so here
        - kind.yaml: port mappings, mounts and patches; the platform has its own
        - ctlptl.yaml: the platform brings a cluster and a registry wired to it
        - Procfile: start web by `macula run --as web -- npm start`
        - Procfile: start worker by `macula run --as worker -- node worker.js`
        - package.json: start it by `macula run --as shop -- npm run dev`
        ");
    }

    /// The variable lists all files that there are.
    #[test]
    fn what_an_editor_lays_over_the_projects_file_is_one_list() {
        const FILE: &str = "services: {web: {image: x}}\n";
        let list = |more: &str| {
            let files = format!("{{\"dockerComposeFile\": [\"../compose.yaml\", \"../compose.override.yaml\"{more}]}}");
            shown(&[
                ("compose.yaml", FILE),
                ("compose.override.yaml", FILE),
                (".devcontainer/a.yaml", FILE),
                (".devcontainer/b.yaml", FILE),
                (".devcontainer/devcontainer.json", files.as_str()),
            ])
        };
        let left = |more: &str| list(more).lines().last().unwrap_or_default().to_owned();
        assert_eq!(left(""), "- ", "macula lays the override over the file as well");
        insta::assert_snapshot!(left(", \"a.yaml\", \"b.yaml\""), @"- .devcontainer/a.yaml and .devcontainer/b.yaml: the editor lays them over compose.yaml; `COMPOSE_FILE=compose.yaml:compose.override.yaml:.devcontainer/a.yaml:.devcontainer/b.yaml` in .env does so here");
    }

    #[test]
    fn a_compose_file_with_another_name_is_told() {
        const STACK: &str = "x-a: 1\nservices: {web: {image: x}}\n";
        let all = [
            ("docker-compose.dev.yml", STACK),
            ("docker-compose.db.yml", STACK),
            ("compose.override.yaml", STACK),
            ("my-compose.yaml", STACK),
            ("docker-compose.yml.example", STACK),
            ("compose-volumes.yaml", "volumes: {}\n"),
            ("deploy/compose.prod.yaml", STACK),
        ];
        let left = |files: &[(&str, &str)]| shown(files).lines().last().unwrap_or_default().to_owned();
        insta::assert_snapshot!([left(&all[..1]), left(&all)].join("\n"), @"
        - docker-compose.dev.yml: Compose does not look for that name by itself; `stacks: [./docker-compose.dev.yml]` in macula.yaml brings it up with the platform, and so does `macula up --stack docker-compose.dev.yml`
        - compose.override.yaml, docker-compose.db.yml, docker-compose.dev.yml and 1 more: Compose does not look for those names by itself; `stacks: [./compose.override.yaml]` in macula.yaml brings it up with the platform, and so does `macula up --stack compose.override.yaml`
        ");
        assert_eq!(left(&[("compose.yaml", STACK), all[0]]), "- ", "one is found");
    }

    #[test]
    fn comments_of_json_go_and_what_looks_like_one_in_a_text_stays() {
        for (text, expected) in [
            ("a // b\nc", "a \nc"),
            ("a // b", "a \n"),
            ("a /* b */ c", "a  c"),
            ("a /* b * / c **/d", "a d"),
            ("a /* b", "a "),
            ("a / b /", "a / b /"),
            (r#""// /* \" // */" // x"#, "\"// /* \\\" // */\" \n"),
            (r#"\"// x""#, r#"\"// x""#),
            ("\ta\"\t\"", " a\"\t\""),
        ] {
            assert_eq!(without_comments(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_has_letters_digits_and_dashes() {
        let words = ["web", "web-2", "", "web_1", "web 1", "w\u{e9}b"].map(is_word);
        assert_eq!(words, [true, true, false, false, false, false]);
    }

    /// Neither has its name in the folder itself.
    #[test]
    fn the_projects_file_is_the_one_that_is_found_without_macula_yaml() {
        let redis = ("compose.yaml", "services: {cache: {image: 'redis:7'}}");
        let wants = |name: &'static str| (name, "REDIS_URL=redis://localhost\n");
        let named = shown(&[
            (".env", "COMPOSE_FILE=base.yml:dev.yml\n"),
            ("base.yml", redis.1),
            ("dev.yml", "services: {}"),
            ("ctlptl.yaml", "x: 1"),
            wants(".env.example"),
        ]);
        let above = shown_from(
            "/p/api",
            &[
                (".git/HEAD", ""),
                redis,
                wants("api/.env.example"),
                ("api/.devcontainer.json", "{\"dockerComposeFile\": [\"../compose.yaml\", \"dev.yaml\"]}"),
                ("api/dev.yaml", "services: {cache: {command: sleep}}"),
            ],
        );
        insta::assert_snapshot!(format!("{named}\n\n{above}"), @"
        # Written by `macula init`. Every key is optional: see `macula help macula.yaml`.

        # base.yml comes up with the platform, and its HTTP ports get names.
        discover: true

        + base.yml: a stack
        - ctlptl.yaml: the platform brings a cluster and a registry wired to it

        # Written by `macula init`. Every key is optional: see `macula help macula.yaml`.

        # ../compose.yaml comes up with the platform, and its HTTP ports get names.
        discover: true

        + ../compose.yaml: a stack
        - dev.yaml: the editor lays it over ../compose.yaml, which macula does not
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
        let request = Request { cwd: "/p".into(), ..Request::default() };
        let ProjectFile { text, taken, left } = look(&request, &MemoryFiles::default());
        assert_eq!(text.lines().count(), 1);
        assert_eq!((taken, left), (Vec::new(), Vec::new()));
    }
}
