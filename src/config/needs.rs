//! `x-macula.needs`: a part of its own in a server that the platform has for all. The service waits for the job that
//! makes it, and gets what programs need to connect.

use std::collections::BTreeMap;

use super::databases::{self, PASSWORD_LENGTH, variable};
use super::loaded::Loaded;
use super::yaml::Report;
use crate::model::{
    Condition, Database, Dependency, Generated, PlatformName, SecretSource, Server, ServerNeed, Service,
};

/// How programs connect to a server of the catalogue.
struct Way {
    /// Makes users and what is theirs; none: the server has no users, or its configuration names them.
    job: Option<&'static str>,
    /// Whose secrets the passwords are.
    holder: Option<&'static str>,
    port: u16,
    scheme: &'static str,
    /// The variable that programs look for when there is one of its kind.
    usual: &'static str,
}

fn way(server: Server) -> Option<Way> {
    Some(match server {
        // by databases of its own, see there
        Server::Postgres => return None,
        Server::Valkey => Way {
            job: Some("valkey-users"),
            holder: Some("valkey-users"),
            port: 6379,
            scheme: "redis",
            usual: "REDIS_URL",
        },
        Server::Mariadb => Way {
            job: Some("mariadb-databases"),
            holder: Some("mariadb-databases"),
            port: 3306,
            scheme: "mysql",
            usual: "MYSQL_URL",
        },
        Server::Rabbitmq => Way {
            job: Some("rabbitmq-users"),
            holder: Some("rabbitmq-users"),
            port: 5672,
            scheme: "amqp",
            usual: "AMQP_URL",
        },
        Server::Nats => Way { job: None, holder: Some("nats"), port: 4222, scheme: "nats", usual: "NATS_URL" },
        Server::Memcached => Way { job: None, holder: None, port: 11211, scheme: "memcached", usual: "MEMCACHED_URL" },
        Server::Mail => Way { job: None, holder: None, port: 1025, scheme: "smtp", usual: "SMTP_URL" },
    })
}

/// What belongs to the user in the server, as the last part of an address.
fn part(need: &ServerNeed) -> String {
    match need.server {
        Server::Valkey => format!("/{}", need.number),
        Server::Mariadb | Server::Rabbitmq => format!("/{}", need.user),
        _ => String::new(),
    }
}

/// Gives the services what they need.
pub(super) fn provide(stacks: &mut [Loaded], platform: &PlatformName, report: &mut Report) {
    let mut passwords: BTreeMap<&'static str, BTreeMap<String, SecretSource>> = BTreeMap::new();
    let mut numbers: BTreeMap<u16, String> = BTreeMap::new();
    let mut users: BTreeMap<(Server, String), String> = BTreeMap::new();
    let databases = databases::job(stacks).is_some();
    for loaded in stacks.iter_mut() {
        let stack = loaded.stack.name.clone();
        let mut wrong = Vec::new();
        for (name, service) in &mut loaded.stack.services {
            let needs: Vec<ServerNeed> =
                service.extension.needs.iter().map(|(key, server)| ServerNeed::new(&stack, key, *server)).collect();
            for need in &needs {
                let only = needs.iter().filter(|other| other.server == need.server).count() == 1;
                if need.server == Server::Postgres {
                    let alone = only && service.extension.databases.is_empty();
                    let prefix = if alone { String::new() } else { format!("{}_", need.key.to_uppercase()) };
                    let database = Database { name: need.user.clone(), user: need.user.clone(), prefix };
                    if databases && let Some(taken) = database_url(service, need, &database, platform) {
                        wrong.push(twice(name, &taken));
                    }
                    service.extension.databases.push(database);
                    continue;
                }
                let Some(way) = way(need.server) else { continue };
                if need.server == Server::Valkey {
                    let owner = numbers.entry(need.number).or_insert_with(|| need.user.clone());
                    if *owner != need.user {
                        wrong.push((
                            name.clone(),
                            format!("`{}` and {owner} would share a logical database of Valkey", need.key),
                            "choose another name for one of them".to_owned(),
                        ));
                    }
                }
                // `a-b` with `c` and `a` with `b_c`; those of databases are compared there
                let owner = users.entry((need.server, need.user.clone())).or_insert_with(|| stack.clone());
                if *owner != stack {
                    wrong.push((
                        name.clone(),
                        format!("the user `{}` of {} is that of the stack {owner}", need.user, need.server.name()),
                        format!("choose another name for `{}`: stacks do not see each other's data", need.key),
                    ));
                }
                if let Some(taken) = settings(service, need, &way, only, platform) {
                    wrong.push(twice(name, &taken));
                }
                if let Some(holder) = way.holder {
                    let password = Generated { length: PASSWORD_LENGTH, ..Generated::default() };
                    let all = passwords.entry(holder).or_default();
                    all.insert(variable(&need.user), SecretSource::Generate(password));
                }
            }
            service.extension.parts = needs;
            wait(service);
        }
        for (name, what, help) in wrong {
            report.error_help(
                loaded.at_key(&name, &["x-macula", "needs"]),
                format!("services.{name}.x-macula.needs: {what}"),
                help,
            );
        }
    }
    for loaded in stacks.iter_mut().filter(|loaded| loaded.built_in) {
        for server in Server::ALL {
            let Some(Way { job: Some(job), .. }) = way(server) else { continue };
            if !passwords.contains_key(job) {
                loaded.stack.services.remove(job);
            }
        }
        for (name, service) in &mut loaded.stack.services {
            if let Some(mut all) = passwords.remove(name.as_str()) {
                service.extension.secrets.append(&mut all);
            }
        }
    }
}

/// Lets a service wait for all that it needs.
pub(super) fn wait(service: &mut Service) {
    for need in &service.extension.parts {
        let Some(way) = way(need.server) else { continue };
        let (on, condition) = match way.job {
            Some(job) => (job, Condition::ServiceCompletedSuccessfully),
            None => (need.server.name(), Condition::ServiceHealthy),
        };
        let waits = Dependency { condition, restart: false, required: true };
        service.depends_on.entry(on.to_owned()).or_insert(waits);
    }
}

/// The variables of one need. Those of the stack's file come first; one that `x-macula` sets too is returned.
fn settings(
    service: &mut Service,
    need: &ServerNeed,
    way: &Way,
    only: bool,
    platform: &PlatformName,
) -> Option<String> {
    let server = need.server.name();
    let outside = format!("{{{{ platform_services['{server}'].address }}}}");
    let host = match service.network_mode.as_deref() {
        Some("host") => outside.clone(),
        _ => platform.container(server, 1),
    };
    let user = &need.user;
    let key = variable(user);
    let login = way.holder.map(|holder| format!("{user}:{{{{ secrets['{holder}'].{key} }}}}@"));
    let login = login.unwrap_or_default();
    let url = |host: &str| format!("{}://{login}{host}:{}{}", way.scheme, way.port, part(need));
    let name_of = |what: &str| format!("{}_{what}", need.key.to_uppercase());
    let texts = |host: &str| {
        let mut texts =
            vec![(need.url(), url(host)), (name_of("HOST"), host.to_owned()), (name_of("PORT"), way.port.to_string())];
        if way.holder.is_some() {
            texts.push((name_of("USER"), user.clone()));
        }
        match need.server {
            Server::Valkey => texts.push((name_of("DATABASE"), need.number.to_string())),
            Server::Mariadb => texts.push((name_of("DATABASE"), user.clone())),
            Server::Rabbitmq => texts.push((name_of("VHOST"), user.clone())),
            _ => {}
        }
        texts
    };
    let (mut texts, mut outer) = (texts(&host), texts(&outside));
    let extension = &mut service.extension;
    let secret = name_of("PASSWORD");
    let set = |name: &&String| extension.environment.contains_key(*name) || extension.secrets.contains_key(*name);
    if let Some(double) = texts.iter().map(|(name, _)| name).chain([&secret]).find(set) {
        return Some(double.clone());
    }
    if only && !extension.environment.contains_key(way.usual) && need.url() != way.usual {
        texts.push((way.usual.to_owned(), url(&host)));
        outer.push((way.usual.to_owned(), url(&outside)));
        // the server exports that of its root under this name
        if let (Server::Mariadb, Some(holder)) = (need.server, way.holder) {
            outer.push(("MYSQL_PASSWORD".to_owned(), format!("{{{{ secrets['{holder}'].{key} }}}}")));
        }
    }
    for (name, text) in texts {
        if !service.environment.contains_key(&name) {
            extension.environment.insert(name, text);
        }
    }
    let login = ["HOST", "USER"].map(name_of);
    let own_password = databases::is_kept(&service.environment, &login);
    if let Some(holder) = way.holder {
        outer.push((secret.clone(), format!("{{{{ secrets['{holder}'].{key} }}}}")));
        extension.environment.extend(databases::kept(&service.environment, &secret, &login));
        extension.secrets.insert(secret, SecretSource::From { service: holder.to_owned(), key });
    }
    outer.push((format!("{}_URL", user.to_uppercase()), url(&outside)));
    // a program that runs here reads what it reads in the container
    let (parts, password) = (["USER", "DATABASE", "VHOST"].map(name_of), name_of("PASSWORD"));
    for (name, text) in outer {
        let meant = parts.contains(&name) || (own_password && name == password);
        let own = databases::in_the_file(&service.environment, &name).filter(|_| meant);
        extension.exports.entry(name).or_insert(own.unwrap_or(text));
    }
    None
}

/// The address of a database under the name of the need, in addition to the variables that `databases` gives: returned
/// where `x-macula` sets it otherwise.
fn database_url(
    service: &mut Service,
    need: &ServerNeed,
    database: &Database,
    platform: &PlatformName,
) -> Option<String> {
    let name = need.url();
    // `database: postgres`: it is one of those variables
    if name == format!("{}DATABASE_URL", database.prefix) {
        return None;
    }
    let extension = &service.extension;
    if extension.environment.contains_key(&name) || extension.secrets.contains_key(&name) {
        return Some(name);
    }
    let inside = databases::url(database, &databases::host(service, platform));
    if !service.environment.contains_key(&name) {
        service.extension.environment.insert(name.clone(), inside);
    }
    service.extension.exports.entry(name).or_insert_with(|| databases::url(database, databases::OUTSIDE));
    None
}

/// What is wrong, and what to do about it.
fn twice(service: &str, variable: &str) -> (String, String, String) {
    (
        service.to_owned(),
        format!("x-macula would set the variable {variable} twice"),
        "choose another name for the need, or remove the variable elsewhere".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, MemoryFiles, Request, load_with};
    use crate::model::SecretSource;

    fn load(settings: &str, stack: &str) -> Result<Loaded, String> {
        let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
        let files = MemoryFiles::default().with("/macula.yaml", settings).with("/shop/compose.yaml", stack);
        load_with(&request, &files, &[]).map_err(|errors| errors.to_string())
    }

    fn names(loaded: &Loaded) -> String {
        let names: Vec<_> = loaded.platform.services().map(|(_, service)| service.name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn what_a_service_needs_is_there_with_all_that_it_takes_to_connect() {
        let loaded = load(
            "name: macula",
            "services: {web: {image: web, environment: {QUEUE_PORT: '1'}, x-macula: {needs: {cache: redis, queue: rabbitmq, post: mail}}}}",
        )
        .unwrap();
        assert_eq!(names(&loaded), "mail rabbitmq rabbitmq-users valkey valkey-users web");
        let (_, web) = loaded.platform.service("web").unwrap();
        let settings: Vec<String> =
            web.extension.environment.iter().map(|(name, text)| format!("{name}={text}")).collect();
        insta::assert_snapshot!(settings.join("\n"), @"
        AMQP_URL=amqp://shop_queue:{{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}@macula-rabbitmq-1:5672/shop_queue
        CACHE_DATABASE=1280
        CACHE_HOST=macula-valkey-1
        CACHE_PORT=6379
        CACHE_URL=redis://shop_cache:{{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}@macula-valkey-1:6379/1280
        CACHE_USER=shop_cache
        POST_HOST=macula-mail-1
        POST_PORT=1025
        POST_URL=smtp://macula-mail-1:1025
        QUEUE_HOST=macula-rabbitmq-1
        QUEUE_URL=amqp://shop_queue:{{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}@macula-rabbitmq-1:5672/shop_queue
        QUEUE_USER=shop_queue
        QUEUE_VHOST=shop_queue
        REDIS_URL=redis://shop_cache:{{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}@macula-valkey-1:6379/1280
        SMTP_URL=smtp://macula-mail-1:1025
        ");
        let secrets: Vec<&str> = web.extension.secrets.keys().map(String::as_str).collect();
        assert_eq!(secrets, ["CACHE_PASSWORD", "QUEUE_PASSWORD"]);
        let (_, users) = loaded.platform.service("rabbitmq-users").unwrap();
        let password = &users.extension.secrets["PASSWORD_SHOP_QUEUE"];
        assert!(matches!(password, SecretSource::Generate(made) if made.length == 32), "{password:?}");
        let waits: Vec<&str> = web.depends_on.keys().map(String::as_str).collect();
        assert_eq!(waits, ["mail", "rabbitmq-users", "valkey-users"]);
        let exports: Vec<String> = web.extension.exports.iter().map(|(name, text)| format!("{name}={text}")).collect();
        insta::assert_snapshot!(exports.join("\n"), @"
        AMQP_URL=amqp://shop_queue:{{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}@{{ platform_services['rabbitmq'].address }}:5672/shop_queue
        CACHE_DATABASE=1280
        CACHE_HOST={{ platform_services['valkey'].address }}
        CACHE_PASSWORD={{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}
        CACHE_PORT=6379
        CACHE_URL=redis://shop_cache:{{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}@{{ platform_services['valkey'].address }}:6379/1280
        CACHE_USER=shop_cache
        POST_HOST={{ platform_services['mail'].address }}
        POST_PORT=1025
        POST_URL=smtp://{{ platform_services['mail'].address }}:1025
        QUEUE_HOST={{ platform_services['rabbitmq'].address }}
        QUEUE_PASSWORD={{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}
        QUEUE_PORT=5672
        QUEUE_URL=amqp://shop_queue:{{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}@{{ platform_services['rabbitmq'].address }}:5672/shop_queue
        QUEUE_USER=shop_queue
        QUEUE_VHOST=shop_queue
        REDIS_URL=redis://shop_cache:{{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}@{{ platform_services['valkey'].address }}:6379/1280
        SHOP_CACHE_URL=redis://shop_cache:{{ secrets['valkey-users'].PASSWORD_SHOP_CACHE }}@{{ platform_services['valkey'].address }}:6379/1280
        SHOP_POST_URL=smtp://{{ platform_services['mail'].address }}:1025
        SHOP_QUEUE_URL=amqp://shop_queue:{{ secrets['rabbitmq-users'].PASSWORD_SHOP_QUEUE }}@{{ platform_services['rabbitmq'].address }}:5672/shop_queue
        SMTP_URL=smtp://{{ platform_services['mail'].address }}:1025
        ");
        let (_, job) = loaded.platform.service("valkey-users").unwrap();
        assert!(job.extension.secrets.contains_key("PASSWORD_SHOP_CACHE"));
    }

    #[test]
    fn a_list_calls_each_as_its_server_and_postgres_is_a_database() {
        let loaded =
            load("name: macula", "services: {web: {image: web, x-macula: {needs: [postgres, nats]}}}").unwrap();
        let (_, web) = loaded.platform.service("web").unwrap();
        let databases: Vec<String> =
            web.extension.databases.iter().map(|one| format!("{} {} {:?}", one.name, one.user, one.prefix)).collect();
        assert_eq!(databases, ["shop_postgres shop_postgres \"\""]);
        assert_eq!(
            web.extension.environment["NATS_URL"],
            "nats://shop_nats:{{ secrets['nats'].PASSWORD_SHOP_NATS }}@macula-nats-1:4222"
        );
    }

    #[test]
    fn a_database_has_its_address_under_the_name_of_the_need_too() {
        let url_of = |needs: &str, name: &str| {
            let ours = "services: {postgres: {image: x}, postgres-databases: {image: x}}";
            let stack = format!(
                "services: {{web: {{image: web, environment: {{SET_URL: mine}}, x-macula: {{needs: {needs}}}}}}}"
            );
            let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
            let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
            let loaded = load_with(&request, &files, &[("postgres.yaml", ours)]);
            let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
            let (_, web) = loaded.platform.service("web").unwrap();
            let all = [&web.extension.environment, &web.extension.exports];
            all.map(|all| all.get(name).cloned().unwrap_or_default())
        };
        let [inside, outside] = url_of("{db: postgres}", "DB_URL");
        assert_eq!(
            inside,
            "postgresql://shop_db:{{ secrets['postgres-databases'].PASSWORD_SHOP_DB }}@macula-postgres-1:5432/shop_db"
        );
        assert_eq!(
            outside,
            "postgresql://shop_db:{{ secrets['postgres-databases'].PASSWORD_SHOP_DB }}@{{ platform_services['postgres'].address }}:5432/shop_db"
        );
        // it is the usual one
        assert!(url_of("{database: postgres}", "DATABASE_URL")[0].ends_with("/shop_database"));
        assert!(url_of("{a: postgres, b: postgres}", "B_URL")[0].ends_with("/shop_b"));
        // what the file says goes before it, in the container
        let [inside, outside] = url_of("{set: postgres}", "SET_URL");
        assert!(inside.is_empty() && outside.ends_with("/shop_set"));
    }

    /// The forms that drivers take. What is filled in needs no quoting: see [`crate::model::ServerNeed::new`] for users,
    /// and [`crate::model::Alphabet`] for passwords.
    #[test]
    fn each_address_has_the_form_that_clients_know() {
        use crate::model::{Alphabet, SecretSource};
        let ours = "services: {postgres: {image: x}, postgres-databases: {image: x}}";
        let needs = "{a: postgres, b: valkey, c: mariadb, d: rabbitmq, e: nats, f: memcached, g: mail}";
        let stack = format!("services: {{web: {{image: web, x-macula: {{needs: {needs}}}}}}}");
        let request = Request { cwd: "/".into(), stacks: vec!["/shop/compose.yaml".into()], ..Request::default() };
        let files = MemoryFiles::default().with("/shop/compose.yaml", stack);
        let loaded = load_with(&request, &files, &[("postgres.yaml", ours)]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let (_, web) = loaded.platform.service("web").unwrap();
        let addresses = ["A", "B", "C", "D", "E", "F", "G"].map(|key| {
            let mut text = web.extension.environment[&format!("{key}_URL")].clone();
            // as it is filled in
            while let Some((before, rest)) = text.split_once("{{") {
                let after = rest.split_once("}}").unwrap().1;
                text = format!("{before}PASSWORD{after}");
            }
            text
        });
        insta::assert_snapshot!(addresses.join("\n"), @"
        postgresql://shop_a:PASSWORD@macula-postgres-1:5432/shop_a
        redis://shop_b:PASSWORD@macula-valkey-1:6379/1424
        mysql://shop_c:PASSWORD@macula-mariadb-1:3306/shop_c
        amqp://shop_d:PASSWORD@macula-rabbitmq-1:5672/shop_d
        nats://shop_e:PASSWORD@macula-nats-1:4222
        memcached://macula-memcached-1:11211
        smtp://macula-mail-1:1025
        ");
        for job in ["postgres-databases", "valkey-users", "mariadb-databases", "rabbitmq-users", "nats"] {
            let (_, job) = loaded.platform.service(job).unwrap();
            let made: Vec<_> =
                job.extension.secrets.iter().filter(|(name, _)| name.starts_with("PASSWORD_SHOP")).collect();
            let plain = |secret: &SecretSource| matches!(secret, SecretSource::Generate(made) if made.alphabet == Alphabet::Alphanumeric && made.prefix.is_empty());
            assert!(!made.is_empty() && made.iter().all(|(_, secret)| plain(secret)), "{made:?}");
        }
    }

    #[test]
    fn two_stacks_never_share_a_user() {
        let stack = |name: &str, need: &str| {
            format!("name: {name}\nservices: {{web-{name}: {{image: web, x-macula: {{needs: {{{need}: nats}}}}}}}}")
        };
        let stacks = ["/1.yaml", "/2.yaml"].map(Into::into).into();
        let request = Request { cwd: "/".into(), stacks, ..Request::default() };
        let files = MemoryFiles::default().with("/1.yaml", stack("a", "b_c")).with("/2.yaml", stack("a-b", "c"));
        let wrong = load_with(&request, &files, &[]).map(|_| ()).unwrap_err().to_string();
        assert!(wrong.contains("needs: the user `a_b_c` of nats is that of the stack a\n"), "{wrong}");
    }

    #[test]
    fn the_catalog_is_there_only_where_somebody_asks() {
        let plain = "services: {web: {image: web}}";
        assert_eq!(names(&load("name: macula", plain).unwrap()), "web");
        // nobody has a user there: the job that makes them goes
        assert_eq!(names(&load("add: [valkey, nats]", plain).unwrap()), "nats nats-owner valkey web");
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let wrong = |settings: &str, needs: &str| {
            let stack = format!("services:\n  web: {{image: web, x-macula: {{{needs}}}}}\n");
            load(settings, &stack).map(|_| ()).unwrap_err()
        };
        let all = [
            wrong("add: [valkye, kafka]", "needs: {a: valkey}"),
            wrong("name: macula", "needs: {Cache: valkey, db: oracle}"),
            wrong("name: macula", "needs: {cache: valkey}, secrets: {CACHE_PASSWORD: {generate: 24}}"),
        ];
        insta::assert_snapshot!(all.join("\n---\n"), @"
        macula.yaml:1:7: add: the catalog has no stack `valkye`
            did you mean `valkey`?
        macula.yaml:1:15: add: the catalog has no stack `kafka`
            known here: `adminer`, `mail`, `mariadb`, `memcached`, `mosquitto`, `nats`, `rabbitmq` and `valkey`
        ---
        shop/compose.yaml:2:40: services.web.x-macula.needs: `Cache` is not a valid name for what a service needs
            use up to 30 lower-case letters, digits and underscores, and no digit first: variables begin with it
        shop/compose.yaml:2:59: services.web.x-macula.needs.db: `oracle` is not a server of the platform
            known here: `mail`, `mariadb`, `memcached`, `nats`, `postgres`, `rabbitmq` and `valkey`
        ---
        shop/compose.yaml:2:32: services.web.x-macula.needs: x-macula would set the variable CACHE_PASSWORD twice
            choose another name for the need, or remove the variable elsewhere
        ");
    }
}
