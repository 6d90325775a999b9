//! The project that a command is run in: its Compose file, found without anybody naming it, and the names that
//! its services get on the ingress without a line of `x-macula`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::compose::{FILE_NAMES, ProjectEnv};
use super::files::{Files, MAX_TEXT, project_folders};
use super::loaded::Loaded;
use super::yaml::{Node, Report};
use crate::model::{Dockerfile, IngressRule, Origin, Protocol, PublishedPort, Service, to_dns_label};

/// Ports of protocols other than HTTP, by their registered or usual numbers. A port whose file says what it
/// speaks (`app_protocol`) is not looked up here.
const NOT_HTTP: &[u16] = &[
    21, 22, 23, 25, 53, 110, 139, 143, 389, 445, 465, 514, 587, 636, 873, 993, 995, 1025, 1433, 1521, 1883, 2049, 2181,
    2379, 2380, 3306, 3389, 4222, 4369, 5432, 5433, 5671, 5672, 5900, 6222, 6379, 6380, 6432, 7000, 7001, 7687, 8883,
    9042, 9092, 9093, 9094, 9300, 11211, 16379, 25672, 26257, 26379, 27017, 27018, 27019, 33060, 50000, 61616,
];
/// What `app_protocol` says of a port that the ingress can serve.
const HTTP: &[&str] = &["http", "https", "h2c", "grpc", "ws", "wss", "http2"];

/// The nearest of these files in the project.
pub(super) fn nearest(names: &[&str], from: &Path, files: &dyn Files) -> Option<PathBuf> {
    let folders = project_folders(from, files);
    folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).find(|path| files.exists(path))
}

/// The project's Compose file: one that has a name of Compose's, or the first of those in its folder that `COMPOSE_FILE`
/// names there.
pub(super) fn compose_file(from: &Path, variables: &BTreeMap<String, String>, files: &dyn Files) -> Option<PathBuf> {
    let named = |folder: &PathBuf| {
        // what is wrong with its `.env` is told where the stack is read
        let env = ProjectEnv::read(folder, from, variables, files, &mut Report::new(from));
        env.paths.into_iter().next().filter(|path| path.parent() == Some(folder) && files.exists(path))
    };
    let usual = |folder: &PathBuf| FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| files.exists(path));
    project_folders(from, files).iter().find_map(|folder| usual(folder).or_else(|| named(folder)))
}

/// Compose files in this folder whose names nobody looks for.
pub(super) fn other_files(folder: &Path, files: &dyn Files) -> Vec<String> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains("compose"))?;
        let named = path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        let other = named && !FILE_NAMES.contains(&name) && files.exists(path);
        let text = other.then(|| files.read(path, MAX_TEXT).ok())??;
        let says = String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("services:"));
        says.then(|| name.to_owned())
    };
    files.entries(folder).iter().filter_map(is_one).collect()
}

/// Gives the services of a project that say nothing of `x-macula.ingress` names for their HTTP ports: the first
/// is the service's own, further ones `SERVICE-PORT`; a name that is taken gets the stack's name behind it.
///
/// A service that is built and names no port itself has those that its Dockerfile exposes. One in the engine's own
/// network, where the ingress is not, gets no name and is told so.
pub(super) fn name_services(stacks: &mut [Loaded], project: &Path, files: &dyn Files, report: &mut Report) {
    let Some(at) = stacks.iter().position(|loaded| is_of(loaded, project)) else { return };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (other, loaded) in stacks.iter().enumerate() {
        for service in loaded.stack.services.values() {
            taken.extend(service.extension.ingress.iter().map(|rule| rule.host.clone()));
            if other != at {
                taken.insert(service.name.clone());
            }
        }
    }
    let loaded = &mut stacks[at];
    let stack = loaded.stack.name.clone();
    let mut named: Vec<(String, Vec<IngressRule>)> = Vec::new();
    for (name, entry) in loaded.project.services() {
        let own =
            loaded.stack.services.values().find(|service| service.short.as_deref().unwrap_or(&service.name) == name);
        let Some(service) = own.filter(|_| !says(&entry.node)) else { continue };
        let exposed = exposed(service, files);
        let ports = http_ports(&service.ports, &exposed, &entry.node);
        if service.is_apart() && !ports.is_empty() {
            report.warn(
                loaded.at_key(&service.name, &["network_mode"]),
                format!("services.{name} gets no name: with this `network_mode` the ingress does not reach it"),
                "leave `network_mode` out, or say `x-macula: {ingress: []}` if it is to have none",
            );
        }
        if service.network_mode.is_some() {
            continue;
        }
        let mut rules = Vec::new();
        for (number, port) in ports.into_iter().enumerate() {
            let label = to_dns_label(name);
            let host = if number == 0 { label } else { format!("{label}-{port}") };
            let host = if taken.contains(&host) { format!("{host}-{stack}") } else { host };
            if taken.insert(host.clone()) {
                let tls = speaks_tls(port, &service.ports, &entry.node);
                rules.push(IngressRule { tls, ..rule(host, port) });
            }
        }
        named.push((service.name.clone(), rules));
    }
    for (name, rules) in named {
        if let Some(service) = loaded.stack.services.get_mut(&name) {
            service.extension.ingress = rules;
        }
    }
}

/// What a port speaks decides the names that services get of themselves, and nothing else.
pub(super) fn unheeded_protocols(stacks: &[Loaded], project: Option<&Path>, report: &mut Report) {
    for loaded in stacks.iter().filter(|loaded| !loaded.built_in) {
        let discovered = project.is_some_and(|project| is_of(loaded, project));
        for (name, entry) in loaded.project.services() {
            let heeded = discovered && !says(&entry.node) && entry.node.get("network_mode").is_none();
            let ports = entry.node.items("ports").iter().filter(|_| !heeded);
            for key in ports.filter_map(|port| port.as_map()?.get("app_protocol").map(|entry| entry.key)) {
                report.warn(
                    key,
                    format!("services.{name}.ports.app_protocol: it changes nothing here"),
                    "say what a port speaks under x-macula.ingress",
                );
            }
        }
    }
}

/// Whether a stack is the project that was found.
fn is_of(loaded: &Loaded, project: &Path) -> bool {
    matches!(&loaded.project.origin, Origin::File(path) if path.parent() == project.parent())
}

/// Whether a service says itself what names it has.
fn says(service: &Node) -> bool {
    service.get("x-macula").and_then(|extension| extension.get("ingress")).is_some()
}

/// A name that nobody has asked for.
pub(super) fn rule(host: String, port: u16) -> IngressRule {
    IngressRule { host, port, path: "/".to_owned(), assumed: true, ..IngressRule::default() }
}

/// What a file publishes as 443, or calls HTTPS, is encrypted by the service itself.
fn speaks_tls(target: u16, published: &[PublishedPort], service: &Node) -> bool {
    let said = service.items("ports").iter().find(|one| one.get_int("target") == Some(i64::from(target)));
    match said.and_then(|one| one.get_text("app_protocol")) {
        Some(protocol) => protocol.eq_ignore_ascii_case("https"),
        None => target == 443 || published.iter().any(|port| port.target == target && port.published == Some(443)),
    }
}

/// What a service exposes beside its published ports: where it names no port at all and is built, what its Dockerfile
/// says.
fn exposed(service: &Service, files: &dyn Files) -> Vec<u16> {
    let Some(build) = service.build.as_ref().filter(|_| service.ports.is_empty() && service.expose.is_empty()) else {
        return service.expose.clone();
    };
    let text = match (&build.dockerfile_inline, build.dockerfile_path()) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => {
            files.read(&path, MAX_TEXT).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        (None, None) => None,
    };
    text.map(|text| Dockerfile::parse(&text).exposed(build.target.as_deref(), &build.args)).unwrap_or_default()
}

/// The ports that speak HTTP, as far as the file tells: published ones first, in their order.
fn http_ports(published: &[PublishedPort], expose: &[u16], service: &Node) -> Vec<u16> {
    let said = |port: u16| {
        let of = |one: &&Node| one.get_int("target") == Some(i64::from(port));
        service.items("ports").iter().find(of).and_then(|one| one.get_text("app_protocol")).map(str::to_ascii_lowercase)
    };
    let tcp = published.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.target);
    let mut ports = Vec::new();
    for port in tcp.chain(expose.iter().copied()) {
        let http = match said(port) {
            Some(protocol) => HTTP.contains(&protocol.as_str()),
            None => !NOT_HTTP.contains(&port),
        };
        if http && !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::PlatformName;

    fn found(cwd: &str, files: &MemoryFiles) -> Option<String> {
        compose_file(Path::new(cwd), &BTreeMap::new(), files).map(|path| path.display().to_string())
    }

    #[test]
    fn a_file_that_its_env_file_names_is_the_projects() {
        let files = MemoryFiles::default()
            .with("/shop/.env", "COMPOSE_FILE=base.yml:dev.yml\n")
            .with("/shop/base.yml", "services: {web: {image: w}}\n")
            .with("/shop/dev.yml", "services: {web: {command: dev}}\n")
            .with("/gone/.env", "COMPOSE_FILE=base.yml\n");
        assert_eq!(found("/shop", &files).as_deref(), Some("/shop/base.yml"));
        assert_eq!(found("/gone", &files), None);
        let request = Request { cwd: "/shop".into(), discover: true, only_own: true, ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let (stack, service) = loaded.platform.service("web").unwrap();
        assert_eq!((stack.name.as_str(), service.command.as_deref()), ("shop", Some(&["dev".to_owned()][..])));
        // as the environment has it, from where one stands
        let env = [("COMPOSE_FILE".to_owned(), "other.yml".to_owned())].into();
        let files = files.with("/shop/other.yml", "");
        assert_eq!(compose_file(Path::new("/shop"), &env, &files).as_deref(), Some(Path::new("/shop/other.yml")));
    }

    #[test]
    fn the_nearest_file_up_to_the_repository_is_the_projects() {
        let files = MemoryFiles::default()
            .with("/home/dev/compose.yaml", "")
            .with("/home/dev/shop/.git/HEAD", "")
            .with("/home/dev/shop/docker-compose.yml", "")
            .with("/home/dev/shop/api/src/main.rs", "")
            .with("/home/dev/loose/notes/a.txt", "");
        assert_eq!(found("/home/dev/shop/api/src", &files).as_deref(), Some("/home/dev/shop/docker-compose.yml"));
        assert_eq!(found("/home/dev/loose/notes", &files), None, "no repository: nothing above is looked at");
        assert_eq!(found("/home/dev", &files).as_deref(), Some("/home/dev/compose.yaml"));
    }

    const PROJECT: &str = "
services:
  web: {image: 'web:1', ports: ['8080:80', '9229', '5432:5432']}
  api: {image: 'api:1', expose: [3000, '4000']}
  db: {image: 'db:1', ports: ['15432:5432']}
  odd: {image: 'odd:1', ports: [{target: 6379, app_protocol: http}, {target: 80, app_protocol: tcp}, '99/udp']}
  quiet: {image: 'web:1', ports: ['81:80'], x-macula: {ingress: []}}
  own: {image: 'web:1', ports: ['82:80'], x-macula: {ingress: {host: mine, port: 80}}}
  taken: {image: 'web:1', expose: [80]}
";

    fn request() -> Request {
        Request { cwd: "/shop/sub".into(), only_own: true, discover: true, ..Request::default() }
    }

    fn files() -> MemoryFiles {
        MemoryFiles::default().with("/shop/.git/HEAD", "").with("/shop/compose.yaml", PROJECT)
    }

    #[test]
    fn services_of_the_project_get_names_for_their_http_ports() {
        let other = "services: {other: {image: 'o:1', x-macula: {ingress: {host: taken, port: 1}}}}";
        let request = Request { stacks: vec!["/other.yaml".into()], ..request() };
        let loaded = load(&request, &files().with("/other.yaml", other)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.discovered.as_deref(), Some(Path::new("/shop/compose.yaml")));
        let names = loaded.platform.services().map(|(_, service)| {
            let rules = service.extension.ingress.iter().map(|rule| format!("{}:{}", rule.host, rule.port));
            format!("{} {}", service.name, rules.collect::<Vec<_>>().join(" ")).trim().to_owned()
        });
        insta::assert_snapshot!(names.collect::<Vec<_>>().join("\n"), @"
        other taken:1
        api api:3000 api-4000:4000
        db
        odd odd:6379
        own mine:80
        quiet
        taken taken-shop:80
        web web:80 web-9229:9229
        ");
    }

    fn warnings_of(request: &Request, files: &MemoryFiles) -> String {
        let loaded = load(request, files).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_a_port_speaks_is_ignored_only_where_it_decides_nothing() {
        assert_eq!(warnings_of(&request(), &files()), "");
        let shop = "services: {web: {image: w, ports: [{target: 80, app_protocol: http}], x-macula: {ingress: []}}}";
        let files = MemoryFiles::default().with("/shop/.git/HEAD", "").with("/shop/compose.yaml", shop);
        insta::assert_snapshot!(warnings_of(&request(), &files), @"
        /shop/compose.yaml:1:49: services.web.ports.app_protocol: it changes nothing here
            say what a port speaks under x-macula.ingress
        ");
        let named = Request { stacks: vec!["/shop".into()], discover: false, ..request() };
        insta::assert_snapshot!(warnings_of(&named, &files), @"
        /shop/compose.yaml:1:49: services.web.ports.app_protocol: it changes nothing here
            say what a port speaks under x-macula.ingress
        ");
    }

    #[test]
    fn what_is_built_has_the_names_that_its_dockerfile_exposes() {
        let project = "services:
  web: {build: {context: web, args: {PORT: '8000'}}}
  target: {build: {context: web, target: dev}}
  inline: {build: {dockerfile_inline: \"FROM a\\nEXPOSE 80 5432\"}}
  says: {build: web, expose: [99]}
  publishes: {build: web, ports: ['5432:5432']}
  none: {build: away}
";
        let files = MemoryFiles::default()
            .with("/shop/compose.yaml", project)
            .with("/shop/away/readme", "")
            .with("/shop/web/Dockerfile", "FROM a AS dev\nEXPOSE 3000\nFROM a\nARG PORT\nEXPOSE $PORT 8443\n");
        let request = Request { cwd: "/shop".into(), ..request() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let names = loaded.platform.services().map(|(_, service)| {
            let rules = service.extension.ingress.iter().map(|rule| format!("{}:{}", rule.host, rule.port));
            format!("{} {}", service.name, rules.collect::<Vec<_>>().join(" ")).trim().to_owned()
        });
        insta::assert_snapshot!(names.collect::<Vec<_>>().join("\n"), @"
        inline inline:80
        none
        publishes
        says says:99
        target target:3000
        web web:8000 web-8443:8443
        ");
    }

    #[test]
    fn what_the_ingress_does_not_reach_gets_no_name() {
        let shop = |ports: &str, more: &str| {
            let text = format!("services: {{web: {{image: w, network_mode: bridge, ports: ['{ports}']{more}}}}}");
            let files = MemoryFiles::default().with("/shop/compose.yaml", text);
            let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
            crate::config::load_with(
                &request,
                &files,
                &[("all.yaml", "services: {edge: {image: e, x-macula: {role: ingress}}}")],
            )
        };
        let loaded = shop("8080:80", "").unwrap_or_else(|errors| panic!("{errors}"));
        let (_, web) = loaded.platform.service("web").unwrap();
        assert!(web.extension.ingress.is_empty());
        assert_eq!(web.ports[0].published, Some(8080));
        insta::assert_snapshot!(loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @"
        compose.yaml:1:28: services.web gets no name: with this `network_mode` the ingress does not reach it
            leave `network_mode` out, or say `x-macula: {ingress: []}` if it is to have none
        ");
        insta::assert_snapshot!(shop("80:80", "").unwrap_err(), @"
        compose.yaml:1:58: services.web publishes 127.0.0.1:80, which belongs to the ingress edge
            publish another port, or leave `network_mode` out: then it has a name on the ingress
        ");
        insta::assert_snapshot!(shop("8080:80", ", x-macula: {ingress: {port: 80}}").unwrap_err(), @"
        compose.yaml:1:81: services.web: `network_mode: bridge` leaves nothing for `ingress` to reach
            remove one of the two
        ");
    }

    #[test]
    fn a_port_that_a_built_in_service_has_elsewhere_refuses_nothing() {
        let project = "services: {web: {image: w, ports: ['3000:3000', '5432:5432']}}";
        let built_in = "services: {db: {image: d, ports: ['5432:5432'], x-macula: {address: 127.0.0.2}}}";
        let load = |project: &str| {
            let files = MemoryFiles::default().with("/shop/compose.yaml", project);
            let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
            crate::config::load_with(&request, &files, &[("all.yaml", built_in)])
        };
        let loaded = load(project).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(warnings.join("\n"), @"
        compose.yaml:1:28: inside the platform's network, port 5432 of web's full name is db's
            use web:5432 there, the name without the domain
        ");
        // whoever asks for a name wants it to be right
        let asks = project.replace("'5432:5432']", "'5432:5432'], x-macula: {ingress: {port: 3000}}");
        assert!(load(&asks).unwrap_err().to_string().contains("both publish port 5432 under a name"));
    }

    #[test]
    fn a_guarded_port_of_a_built_in_service_stays_its_own() {
        let built_in = "services: {registry: {image: r, ports: ['5001:5000'], \
                        x-macula: {address: 127.0.0.2, ingress: {port: 5000, same_origin: true}}}}";
        let warned = |extension: &str| {
            let project = format!("services: {{web: {{image: w, ports: ['5001:8000']{extension}}}}}");
            let files = MemoryFiles::default().with("/shop/compose.yaml", project);
            let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
            let loaded = crate::config::load_with(&request, &files, &[("all.yaml", built_in)]);
            let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
            loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(warned(""), @"
        compose.yaml:1:28: inside the platform's network, port 5001 of web's full name is registry's
            use web:8000 there, the name without the domain
        ");
        // also of a name that was asked for
        assert_eq!(warned(", x-macula: {ingress: {port: 8000}}"), warned(""));
    }

    #[test]
    fn macula_yaml_or_nobody_asking_leaves_it_out() {
        let discovered = |request: Request, files: MemoryFiles| {
            load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).discovered
        };
        assert_eq!(discovered(Request { discover: false, ..request() }, files()), None);
        let with_file = |text: &str| files().with("/shop/macula.yaml", text);
        assert_eq!(discovered(request(), with_file("name: shop\n")), None);
        assert!(discovered(request(), with_file("discover: true\n")).is_some());
        let own = Request { config_folder: Some("/conf".into()), ..request() };
        assert!(discovered(own.clone(), files().with("/conf/macula.yaml", "profiles: []\n")).is_some());
        assert_eq!(discovered(own, files().with("/conf/macula.yaml", "discover: false\n")), None);
        // a file that is named is no discovery
        let named = |stack: &str| Request { stacks: vec![stack.into()], ..request() };
        assert_eq!(discovered(named("/shop/compose.yaml"), files()), None);
        assert_eq!(discovered(named(".."), files()), None);
        // a command from elsewhere goes on with the project of the last `up`
        let elsewhere = Request { cwd: "/tmp".into(), project: Some("/shop/compose.yaml".into()), ..request() };
        assert_eq!(discovered(elsewhere, files()).as_deref(), Some(Path::new("/shop/compose.yaml")));
    }

    #[test]
    fn two_files_that_both_could_be_the_projects_are_told() {
        let two = |text: &str| {
            let files = files().with("/shop/docker-compose.yml", text);
            let loaded = load(&request(), &files).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(loaded.discovered.as_deref(), Some(Path::new("/shop/compose.yaml")));
            loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let told = two("services: {old: {image: 'old:1'}}");
        assert!(told.contains("docker-compose.yml is not read: compose.yaml lies in the same folder"), "{told}");
        // a link, or a copy for old tools
        assert!(!two(PROJECT).contains("docker-compose.yml"));
    }

    /// Not the built-in services alone, as if there were no project.
    #[test]
    fn a_project_with_an_error_is_an_error() {
        for wrong in ["services: {web: {imgae: x}}", "services: [", "", "services: {web: {image: x, depends_on: [y]}}"]
        {
            let files = MemoryFiles::default().with("/shop/.git/HEAD", "").with("/shop/compose.yaml", wrong);
            let errors = load(&request(), &files).map(|_| ()).unwrap_err().to_string();
            assert!(errors.contains("compose.yaml"), "{wrong}: {errors}");
        }
    }

    /// Inside its stack and for its containers it is `postgres` as ever; the platform's own keeps its name outside.
    #[test]
    fn a_service_of_the_project_may_be_called_like_one_of_ours() {
        let project = "services: {web: {image: w, depends_on: [postgres]}, postgres: {image: 'postgres:16', ports: ['5432:5432']}}";
        let ours = "services: {postgres: {image: p, x-macula: {address: 127.0.0.6, ingress: {host: db, port: 1}}}}";
        let files = MemoryFiles::default().with("/shop/compose.yaml", project);
        let request = Request { cwd: "/shop".into(), discover: true, ..Request::default() };
        let loaded = crate::config::load_with(&request, &files, &[("postgres.yaml", ours)]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let names: Vec<&str> = loaded.platform.services().map(|(_, service)| service.name.as_str()).collect();
        assert_eq!(names, ["postgres", "shop-postgres", "web"]);
        let (_, web) = loaded.platform.service("web").unwrap();
        assert!(web.depends_on.contains_key("shop-postgres"));
        let (_, own) = loaded.platform.service("shop-postgres").unwrap();
        assert_eq!(own.short.as_deref(), Some("postgres"));
    }

    #[test]
    fn macula_yaml_is_found_from_a_folder_below() {
        let files = files().with("/shop/macula.yaml", "name: shop\n");
        let loaded = load(&request(), &files).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.platform.name, PlatformName::new("shop").unwrap());
    }
}
