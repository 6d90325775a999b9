//! `x-macula.databases`: a database and a role of the application's own in the built-in PostgreSQL. The
//! service waits for the job that makes them, and gets what programs need to connect.

use std::collections::BTreeMap;

use super::loaded::Loaded;
use super::yaml::Report;
use crate::model::{Condition, Database, Dependency, Generated, PlatformName, SecretSource, Service};

/// The job of the built-in stack that makes them; it is there only if somebody wants one.
const JOB: &str = "postgres-databases";
const SERVER: &str = "postgres";
/// What stands in the server's own address is right on this machine only.
pub(super) const OUTSIDE: &str = "{{ platform_services['postgres'].address }}";
/// Letters and digits of a password, which need no quoting in an address.
pub(super) const PASSWORD_LENGTH: u16 = 32;

/// Gives the services what they ask for.
pub(super) fn provide(stacks: &mut [Loaded], platform: &PlatformName, report: &mut Report) {
    let Some(job) = job(stacks) else { return };
    claims(stacks, report);
    let mut passwords: BTreeMap<String, SecretSource> = BTreeMap::new();
    for loaded in stacks.iter_mut() {
        let mut double = Vec::new();
        for (name, service) in &mut loaded.stack.services {
            let wanted = service.extension.databases.clone();
            for database in &wanted {
                let password = SecretSource::Generate(Generated { length: PASSWORD_LENGTH, ..Generated::default() });
                passwords.insert(variable(&database.user), password);
                if let Some(taken) = settings(service, database, platform) {
                    double.push((name.clone(), taken));
                }
            }
            if !wanted.is_empty() {
                let waits =
                    Dependency { condition: Condition::ServiceCompletedSuccessfully, restart: false, required: true };
                service.depends_on.insert(JOB.to_owned(), waits);
            }
        }
        for (name, taken) in double {
            report.error_help(
                loaded.at_key(&name, &["x-macula", "databases"]),
                format!("services.{name}.x-macula.databases: x-macula would set the variable {taken} twice"),
                "give one of the databases a `prefix` for its variables, or remove the variable elsewhere",
            );
        }
    }
    let services = &mut stacks[job].stack.services;
    if passwords.is_empty() {
        services.remove(JOB);
    } else if let Some(job) = services.get_mut(JOB) {
        job.extension.secrets.append(&mut passwords);
    }
}

/// The stack with the job, where there is one.
pub(super) fn job(stacks: &[Loaded]) -> Option<usize> {
    stacks.iter().position(|loaded| loaded.built_in && loaded.stack.services.contains_key(JOB))
}

/// Two stacks never share a database or a role: what belongs to one is not readable for the other.
fn claims(stacks: &[Loaded], report: &mut Report) {
    let mut taken: BTreeMap<(&str, String), (usize, String)> = BTreeMap::new();
    // of one database there is one owner, in its stack too
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for (at, loaded) in stacks.iter().enumerate() {
        for (service, database) in loaded
            .stack
            .services
            .iter()
            .flat_map(|(name, service)| service.extension.databases.iter().map(move |database| (name, database)))
        {
            let span = loaded.at_key(service, &["x-macula", "databases"]);
            let path = format!("services.{service}.x-macula.databases");
            let mut own = true;
            for (kind, name) in [("database", &database.name), ("user", &database.user)] {
                let (owner, other) = taken.entry((kind, name.clone())).or_insert_with(|| (at, service.clone())).clone();
                if owner != at {
                    own = false;
                    report.error_help(
                        span,
                        format!("{path}: the {kind} `{name}` belongs to services.{other} of another stack"),
                        "choose another name: stacks do not see each other's data",
                    );
                }
            }
            let owner = owners.entry(database.name.clone()).or_insert_with(|| database.user.clone());
            if own && *owner != database.user {
                report.error_help(
                    span,
                    format!("{path}: the database `{}` has the users `{owner}` and `{}`", database.name, database.user),
                    "give it the same `user` everywhere",
                );
            }
        }
    }
}

/// The variables of one database. Those of the stack's file come first; one that `x-macula` sets too is
/// returned.
fn settings(service: &mut Service, database: &Database, platform: &PlatformName) -> Option<String> {
    let Database { name, user, prefix } = database;
    let key = variable(user);
    let host = host(service, platform);
    let extension = &mut service.extension;
    let name_of = |what: &str| format!("{prefix}{what}");
    let texts = |host: &str| {
        [
            ("DATABASE_URL", url(database, host)),
            ("PGHOST", host.to_owned()),
            ("PGPORT", "5432".to_owned()),
            ("PGUSER", user.clone()),
            ("PGDATABASE", name.clone()),
        ]
    };
    let outside = texts(OUTSIDE);
    let texts = texts(&host);
    let secret = name_of("PGPASSWORD");
    let set = |name: &String| extension.environment.contains_key(name) || extension.secrets.contains_key(name);
    let double = texts.iter().map(|(what, _)| name_of(what)).chain([secret.clone()]).find(set);
    if double.is_some() {
        return double;
    }
    for (what, text) in texts {
        let name = name_of(what);
        if !service.environment.contains_key(&name) {
            extension.environment.insert(name, text);
        }
    }
    // a program that runs here reads what it reads in the container
    for (what, text) in outside {
        let name = name_of(what);
        let own = in_the_file(&service.environment, &name).filter(|_| matches!(what, "PGUSER" | "PGDATABASE"));
        extension.exports.entry(name).or_insert(own.unwrap_or(text));
    }
    let login = ["PGHOST", "PGUSER"].map(name_of);
    let own = in_the_file(&service.environment, &secret).filter(|_| is_kept(&service.environment, &login));
    let made = || format!("{{{{ secrets['{JOB}'].{key} }}}}");
    extension.exports.entry(secret.clone()).or_insert_with(|| own.unwrap_or_else(made));
    extension.environment.extend(kept(&service.environment, &secret, &login));
    extension.secrets.insert(secret, SecretSource::From { service: JOB.to_owned(), key });
    extension.exports.entry(format!("{}_DATABASE_URL", name.to_uppercase())).or_insert_with(|| url(database, OUTSIDE));
    None
}

/// What the file itself gives the container, where it means the same out here: it is no template.
pub(super) fn in_the_file(environment: &BTreeMap<String, String>, name: &str) -> Option<String> {
    environment.get(name).filter(|text| !text.contains('{')).cloned()
}

/// Whether a password in the file is meant: it is of a server or a user that the file names, too. One alone, often empty
/// (`${PGPASSWORD:-}`), cannot be the password of a user that it does not know.
pub(super) fn is_kept(environment: &BTreeMap<String, String>, login: &[String]) -> bool {
    login.iter().any(|name| environment.contains_key(name))
}

/// A password that the file itself sets, as a variable that goes before the secret of its name: addresses need that one.
/// `login`: its variables for the server and the user.
pub(super) fn kept(environment: &BTreeMap<String, String>, name: &str, login: &[String]) -> Option<(String, String)> {
    let own = || (name.to_owned(), format!("{{{{ service.environment['{name}'] }}}}"));
    (environment.contains_key(name) && is_kept(environment, login)).then(own)
}

/// Where the server is for a service.
pub(super) fn host(service: &Service, platform: &PlatformName) -> String {
    match service.network_mode.as_deref() {
        Some("host") => OUTSIDE.to_owned(),
        // a stack may have a `postgres` of its own, so that the short name leads elsewhere
        _ => platform.container(SERVER, 1),
    }
}

/// All that a program needs to connect, as a template. SQLAlchemy knows `postgresql` alone, everybody else both.
pub(super) fn url(database: &Database, host: &str) -> String {
    let Database { name, user, .. } = database;
    format!("postgresql://{user}:{{{{ secrets['{JOB}'].{} }}}}@{host}:5432/{name}", variable(user))
}

/// The job's variable for a role's password: names of roles have no capitals, so that no two meet.
pub(super) fn variable(user: &str) -> String {
    format!("PASSWORD_{}", user.to_uppercase())
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, MemoryFiles, Request, load_with};

    const BUILT_IN: &str = "
services:
  postgres: {image: postgres, x-macula: {profile: core, address: 127.0.0.6}}
  postgres-databases: {image: postgres, depends_on: [postgres], x-macula: {profile: core, secrets: {PGPASSWORD: {generate: 24}}}}
";

    fn load(stacks: &[&str], profiles: &[&str]) -> Result<Loaded, String> {
        let mut request = Request { cwd: "/".into(), ..Request::default() };
        request.profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        let mut files = MemoryFiles::default();
        for (at, text) in stacks.iter().enumerate() {
            let path = format!("/{}/compose.yaml", ["shop", "blog"][at]);
            request.stacks.push(path.clone().into());
            files = files.with(&path, text);
        }
        load_with(&request, &files, &[("postgres.yaml", BUILT_IN)]).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_service_gets_a_database_with_all_that_it_needs_to_connect() {
        let loaded = load(
            &["services:
  web: {image: web, environment: {PGPORT: '6432'}, x-macula: {databases: [shop, {name: stats, user: shop, prefix: STATS_}]}}
  jobs: {image: web, network_mode: host, environment: {PGUSER: me, PGPASSWORD: mine}, x-macula: {databases: [shop]}}
  old: {image: web, environment: {PGPASSWORD: ''}, x-macula: {databases: [shop]}}
  postgres: {image: postgres}
"],
            &[],
        )
        .unwrap();
        let (_, web) = loaded.platform.service("web").unwrap();
        let settings: Vec<String> =
            web.extension.environment.iter().map(|(name, text)| format!("{name}={text}")).collect();
        insta::assert_snapshot!(settings.join("\n"), @r"
        DATABASE_URL=postgresql://shop:{{ secrets['postgres-databases'].PASSWORD_SHOP }}@macula-postgres-1:5432/shop
        PGDATABASE=shop
        PGHOST=macula-postgres-1
        PGUSER=shop
        STATS_DATABASE_URL=postgresql://shop:{{ secrets['postgres-databases'].PASSWORD_SHOP }}@macula-postgres-1:5432/stats
        STATS_PGDATABASE=stats
        STATS_PGHOST=macula-postgres-1
        STATS_PGPORT=5432
        STATS_PGUSER=shop
        ");
        let secrets: Vec<&str> = web.extension.secrets.keys().map(String::as_str).collect();
        assert_eq!(secrets, ["PGPASSWORD", "STATS_PGPASSWORD"]);
        let exports: Vec<&str> = web.extension.exports.keys().map(String::as_str).collect();
        insta::assert_snapshot!(exports.join(" "), @"DATABASE_URL PGDATABASE PGHOST PGPASSWORD PGPORT PGUSER SHOP_DATABASE_URL STATS_DATABASE_URL STATS_PGDATABASE STATS_PGHOST STATS_PGPASSWORD STATS_PGPORT STATS_PGUSER");
        assert_eq!(
            web.extension.exports["DATABASE_URL"],
            "postgresql://shop:{{ secrets['postgres-databases'].PASSWORD_SHOP }}@{{ platform_services['postgres'].address }}:5432/shop"
        );
        assert_eq!(web.extension.exports["PGPASSWORD"], "{{ secrets['postgres-databases'].PASSWORD_SHOP }}");
        assert!(web.depends_on.contains_key("postgres-databases"));
        // its own network namespace is this machine's, where no container's name is known
        let (_, jobs) = loaded.platform.service("jobs").unwrap();
        assert_eq!(jobs.extension.environment["PGHOST"], "{{ platform_services['postgres'].address }}");
        // what the file sets stays, and the address has the password that was made
        assert_eq!(jobs.extension.environment["PGPASSWORD"], "{{ service.environment['PGPASSWORD'] }}");
        assert_eq!(jobs.extension.exports["PGPASSWORD"], "mine");
        assert!(jobs.extension.secrets.contains_key("PGPASSWORD"));
        // but not without the user whose password it is
        let (_, old) = loaded.platform.service("old").unwrap();
        assert!(
            !old.extension.environment.contains_key("PGPASSWORD") && old.extension.secrets.contains_key("PGPASSWORD")
        );
        assert_eq!(old.extension.exports["PGPASSWORD"], web.extension.exports["PGPASSWORD"]);
        let (_, job) = loaded.platform.service("postgres-databases").unwrap();
        let secrets: Vec<&str> = job.extension.secrets.keys().map(String::as_str).collect();
        assert_eq!(secrets, ["PASSWORD_SHOP", "PGPASSWORD"]);
        assert_eq!(loaded.platform.service("shop-postgres").unwrap().1.short.as_deref(), Some("postgres"));
    }

    #[test]
    fn the_job_is_there_only_if_somebody_wants_a_database() {
        let names = |stacks: &[&str], profiles: &[&str]| {
            let loaded = load(stacks, profiles).unwrap();
            loaded.platform.services().map(|(_, service)| service.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let plain = "services: {web: {image: web}, debug: {image: web, x-macula: {profile: debug}}}";
        let wants = "services: {web: {image: web, x-macula: {databases: [shop]}}, debug: {image: web, x-macula: {profile: debug}}}";
        assert_eq!(names(&[plain], &[]), "postgres debug web");
        assert_eq!(names(&[plain], &["debug"]), "debug web");
        assert_eq!(names(&[wants], &["debug"]), "postgres postgres-databases debug web");
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let wrong = |stacks: &[&str]| load(stacks, &[]).map(|_| ()).unwrap_err();
        let one = |databases: &str, more: &str| {
            wrong(&[&format!("services:\n  web: {{image: web, x-macula: {{databases: {databases}{more}}}}}\n")])
        };
        let all = [
            one("[powerdns, Shop, 1a, {user: x}, public]", ""),
            one("[shop]", ", secrets: {PGPASSWORD: {generate: 24}}"),
            one("[shop, stats]", ""),
            one("[shop, {name: shop, user: other, prefix: B_}]", ""),
            wrong(&[
                "services: {web: {image: web, x-macula: {databases: [shop]}}}",
                "services:\n  page: {image: web, x-macula: {databases: [{name: shop, user: page}, {name: x, user: shop, prefix: X_}]}}",
            ]),
        ];
        insta::assert_snapshot!(all.join("\n---\n"), @r"
        shop/compose.yaml:2:44: services.web.x-macula.databases[0].name: `powerdns` is used by PostgreSQL or by a built-in service
            choose another name
        shop/compose.yaml:2:54: services.web.x-macula.databases[1].name: `Shop` is not a valid name for a database or its user
            use up to 63 lower-case letters, digits and underscores, and no digit first
        shop/compose.yaml:2:60: services.web.x-macula.databases[2].name: `1a` is not a valid name for a database or its user
            use up to 63 lower-case letters, digits and underscores, and no digit first
        shop/compose.yaml:2:64: services.web.x-macula.databases[3]: `name` is missing
            a database needs `name`
        shop/compose.yaml:2:75: services.web.x-macula.databases[4].name: `public` is used by PostgreSQL or by a built-in service
            choose another name
        ---
        shop/compose.yaml:2:32: services.web.x-macula.databases: x-macula would set the variable PGPASSWORD twice
            give one of the databases a `prefix` for its variables, or remove the variable elsewhere
        ---
        shop/compose.yaml:2:32: services.web.x-macula.databases: x-macula would set the variable DATABASE_URL twice
            give one of the databases a `prefix` for its variables, or remove the variable elsewhere
        ---
        shop/compose.yaml:2:32: services.web.x-macula.databases: the database `shop` has the users `shop` and `other`
            give it the same `user` everywhere
        ---
        blog/compose.yaml:2:33: services.page.x-macula.databases: the database `shop` belongs to services.web of another stack
            choose another name: stacks do not see each other's data
        blog/compose.yaml:2:33: services.page.x-macula.databases: the user `shop` belongs to services.web of another stack
            choose another name: stacks do not see each other's data
        ");
    }
}
