//! `x-macula.tasks`: each task of a service becomes a job of its own in the platform, of the service's image and with
//! its settings, that the service waits for (docs/decisions/tasks.md).

use std::collections::{BTreeMap, BTreeSet};

use super::loaded::Loaded;
use super::selection::Selection;
use super::yaml::{Report, Span, listed, suggestion};
use crate::model::{
    Condition, ContainerOptions, Dependency, Deploy, Extension, Healthcheck, Mount, Restart, SecretSource, Service,
    ServiceNetwork, Task, TaskJob, is_dns_label,
};

/// A task, and where it stands.
struct Declared {
    /// The platform's name for the service.
    owner: String,
    name: String,
    /// The platform's name for the job.
    job: String,
    task: Task,
}

/// Adds the jobs, once it is known which services take part and what they are called.
pub(super) fn provide(stacks: &mut [Loaded], selection: &Selection, report: &mut Report) {
    let mut taken: BTreeSet<String> = stacks.iter().flat_map(|loaded| loaded.stack.services.keys().cloned()).collect();
    for at in 0..stacks.len() {
        let Some(loaded) = stacks.get(at) else { continue };
        let declared = declared(loaded, &mut taken, report);
        if declared.is_empty() {
            continue;
        }
        let others: BTreeMap<String, bool> = stacks
            .iter()
            .flat_map(|loaded| loaded.stack.services.keys().map(|name| (name.clone(), loaded.built_in)))
            .collect();
        let Some(loaded) = stacks.get_mut(at) else { continue };
        let names = Names::of(loaded, &declared, others);
        let jobs: Vec<Service> =
            declared.iter().filter_map(|one| job(loaded, one, &names, selection, report)).collect();
        for (one, job) in declared.iter().zip(&jobs) {
            dependents(loaded, one, job, &names, report);
        }
        for job in jobs {
            loaded.stack.services.insert(job.name.clone(), job);
        }
    }
}

fn declared(loaded: &Loaded, taken: &mut BTreeSet<String>, report: &mut Report) -> Vec<Declared> {
    let mut all: Vec<Declared> = Vec::new();
    for (owner, service) in &loaded.stack.services {
        for (name, task) in &service.extension.tasks {
            let span = place(loaded, owner, name, None);
            let path = format!("services.{}.x-macula.tasks.{name}", short(service));
            if !is_dns_label(name) {
                report.error_help(
                    span,
                    format!("{path}: `{name}` is not a valid name for a task"),
                    "use at most 63 lower-case letters, digits and inner dashes",
                );
                continue;
            }
            if let Some(other) = all.iter().find(|other| other.name == *name) {
                report.error_help(
                    span,
                    format!("{path}: services.{} has a task `{name}` too", other.owner),
                    "give one of them another name: `macula task` runs a task by its name",
                );
                continue;
            }
            if loaded.stack.services.values().any(|other| short(other) == name) {
                report.error_help(
                    span,
                    format!("{path}: the stack has a service `{name}` too"),
                    "give the task another name: its log and its state are found by it",
                );
                continue;
            }
            let longer = format!("{}-{name}", loaded.stack.name);
            let Some(job) = [name.clone(), longer].into_iter().find(|name| !taken.contains(name)) else {
                report.error_help(span, format!("{path}: the name is taken"), "give the task another name");
                continue;
            };
            taken.insert(job.clone());
            all.push(Declared { owner: owner.clone(), name: name.clone(), job, task: task.clone() });
        }
    }
    all
}

fn short(service: &Service) -> &str {
    service.short.as_deref().unwrap_or(&service.name)
}

fn place(loaded: &Loaded, owner: &str, task: &str, key: Option<&str>) -> Span {
    let path: Vec<&str> = ["x-macula", "tasks", task].into_iter().chain(key).collect();
    loaded.at_key(owner, &path)
}

/// What words in the file mean.
struct Names {
    tasks: BTreeMap<String, String>,
    /// Of the stack itself.
    own: BTreeMap<String, String>,
    /// Of all stacks; whether it is one of ours.
    all: BTreeMap<String, bool>,
    /// They do their work and end.
    jobs: BTreeSet<String>,
}

impl Names {
    fn of(loaded: &Loaded, declared: &[Declared], all: BTreeMap<String, bool>) -> Self {
        let services = loaded.stack.services.values();
        let tasks: BTreeMap<String, String> = declared.iter().map(|one| (one.name.clone(), one.job.clone())).collect();
        let once = services.clone().filter(|service| service.extension.once).map(|service| service.name.clone());
        Self {
            own: services.map(|service| (short(service).to_owned(), service.name.clone())).collect(),
            jobs: once.chain(tasks.values().cloned()).collect(),
            tasks,
            all,
        }
    }

    fn in_stack(&self, word: &str) -> Option<&String> {
        self.tasks.get(word).or_else(|| self.own.get(word))
    }

    fn anywhere(&self, word: &str) -> Option<&String> {
        self.in_stack(word).or_else(|| self.all.get_key_value(word).map(|(name, _)| name))
    }

    fn dependency(&self, on: &str) -> Dependency {
        let condition = match self.jobs.contains(on) {
            true => Condition::ServiceCompletedSuccessfully,
            false => Condition::ServiceHealthy,
        };
        Dependency { condition, restart: false, required: true }
    }
}

/// The service's own container, but for what makes it a server.
fn job(loaded: &Loaded, one: &Declared, names: &Names, selection: &Selection, report: &mut Report) -> Option<Service> {
    let owner = loaded.stack.services.get(&one.owner)?;
    let task = &one.task;
    let mut depends_on: BTreeMap<String, Dependency> = match &task.after {
        None => owner.depends_on.clone(),
        // what the platform gives the service (a database, a user) is there for its tasks, too
        Some(_) => {
            let ours = owner.depends_on.iter().filter(|(name, _)| names.all.get(*name) == Some(&true));
            ours.map(|(name, on)| (name.clone(), *on)).collect()
        }
    };
    for word in task.after.iter().flatten() {
        let path = format!("services.{}.x-macula.tasks.{}.after", short(owner), one.name);
        let span = place(loaded, &one.owner, &one.name, Some("after"));
        match names.anywhere(word) {
            Some(name) if *name == one.job => {
                report.error_help(span, format!("{path}: the task would wait for itself"), "name another one");
            }
            Some(name) => {
                depends_on.insert(name.clone(), names.dependency(name));
            }
            None if selection.is_inactive(word) || selection.is_off(word) => report.error_help(
                span,
                format!("{path}: {word} is left out"),
                format!("enable {word} (its profile, or `services.{word}.enabled` in macula.yaml)"),
            ),
            None => report.error_help(
                span,
                format!("{path}: there is no service `{word}`"),
                suggestion(word, names.own.keys().chain(names.tasks.keys()).map(String::as_str)),
            ),
        }
    }
    let extension = &owner.extension;
    // the values are the service's
    let secrets = extension.secrets.iter().map(|(variable, source)| {
        let source = match source {
            SecretSource::Generate(_) => SecretSource::From { service: owner.name.clone(), key: variable.clone() },
            from => from.clone(),
        };
        (variable.clone(), source)
    });
    let image = task.image.clone();
    Some(Service {
        name: one.job.clone(),
        build: owner.build.clone().filter(|_| image.is_none()),
        entrypoint: owner.entrypoint.clone().filter(|_| image.is_none()),
        image: image.or_else(|| owner.image.clone()),
        pull_policy: owner.pull_policy,
        command: Some(task.run.clone()),
        environment: owner.environment.clone(),
        unset: owner.unset.clone(),
        // one without a name is for the service's own container
        mounts: owner
            .mounts
            .iter()
            .filter(|mount| !matches!(mount, Mount::Volume { source: None, .. }))
            .cloned()
            .collect(),
        needs: owner.needs.clone(),
        networks: owner.networks.keys().map(|name| (name.clone(), ServiceNetwork::default())).collect(),
        network_mode: owner.network_mode.clone(),
        files: owner.files.clone(),
        depends_on,
        healthcheck: Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }),
        replicas: 1,
        deploy: Deploy { constraints: owner.deploy.constraints.clone(), ..Deploy::default() },
        stop_grace_period: owner.stop_grace_period,
        options: ContainerOptions { restart: Restart::No, hostname: None, mac_address: None, ..owner.options.clone() },
        extension: Extension {
            environment: extension.environment.clone(),
            secrets: secrets.collect(),
            configs: extension.configs.clone(),
            prepare: extension.prepare.clone(),
            sources: extension.sources.clone(),
            trust: extension.trust,
            optional: extension.optional,
            profiles: extension.profiles.clone(),
            mounts: extension.mounts,
            once: true,
            task: Some(TaskJob {
                name: one.name.clone(),
                service: short(owner).to_owned(),
                changed: task.changed.clone(),
                timeout: task.timeout,
                ..TaskJob::default()
            }),
            ..Extension::default()
        },
        ..Service::default()
    })
}

/// Who waits for the end of a task: its service, unless that is needed for it, or those that it names.
fn dependents(loaded: &mut Loaded, one: &Declared, job: &Service, names: &Names, report: &mut Report) {
    let own = (!job.depends_on.contains_key(&one.owner)).then(|| one.owner.clone());
    let waiting: Vec<String> = match &one.task.before {
        None => own.into_iter().collect(),
        Some(words) => {
            let owner = loaded.stack.services.get(&one.owner).map(|owner| short(owner).to_owned());
            let path = format!("services.{}.x-macula.tasks.{}.before", owner.unwrap_or_default(), one.name);
            let span = place(loaded, &one.owner, &one.name, Some("before"));
            let mut found = Vec::new();
            for word in words {
                match names.own.get(word) {
                    Some(name) => found.push(name.clone()),
                    None if names.tasks.contains_key(word) => report.error_help(
                        span,
                        format!("{path}: `{word}` is a task"),
                        format!("let {word} say it: `after: [{}]`", one.name),
                    ),
                    None => report.error_help(
                        span,
                        format!("{path}: the stack has no service `{word}`"),
                        match names.all.contains_key(word) {
                            true => format!("services of other stacks do not wait; known here: {}", known(names)),
                            false => suggestion(word, names.own.keys().map(String::as_str)),
                        },
                    ),
                }
            }
            found
        }
    };
    for name in waiting {
        if let Some(service) = loaded.stack.services.get_mut(&name) {
            let waits = names.dependency(&job.name);
            service.depends_on.insert(job.name.clone(), waits);
        }
    }
}

fn known(names: &Names) -> String {
    listed(names.own.keys().map(String::as_str), "and")
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, MemoryFiles, Request, load_with};
    use crate::model::{Platform, Restart, Service, ServiceNetwork};

    const OURS: &str = "
services:
  postgres: {image: postgres, x-macula: {profile: core, address: 127.0.0.6}}
  postgres-databases: {image: postgres, depends_on: [postgres], x-macula: {profile: core, secrets: {PGPASSWORD: {generate: 24}}}}
";

    fn load(stacks: &[&str]) -> Loaded {
        let mut request = Request { cwd: "/".into(), ..Request::default() };
        let mut files = MemoryFiles::default();
        for (at, text) in stacks.iter().enumerate() {
            let folder = ["shop", "blog"][at];
            request.stacks.push(format!("/{folder}/compose.yaml").into());
            files = files
                .with(format!("/{folder}/compose.yaml"), text)
                .with(format!("/{folder}/migrations/1.sql"), "x")
                .with(format!("/{folder}/.git/HEAD"), "x");
        }
        load_with(&request, &files, &[("postgres.yaml", OURS)]).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn service<'a>(platform: &'a Platform, name: &str) -> &'a Service {
        platform.service(name).unwrap().1
    }

    fn waits(platform: &Platform, name: &str) -> String {
        let on = service(platform, name).depends_on.iter();
        on.map(|(name, on)| format!("{name} {:?}", on.condition)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_task_is_a_job_like_its_service_that_the_service_waits_for() {
        let loaded = load(&["
services:
  web:
    image: shop:1
    entrypoint: [enter]
    command: [serve]
    ports: ['8080:80']
    restart: always
    hostname: shop
    user: '7'
    deploy: {placement: {constraints: ['node.role == manager']}}
    environment: {A: b}
    volumes: ['data:/data', /scratch]
    depends_on: [queue]
    x-macula:
      ingress: {port: 80}
      secrets: {TOKEN: {generate: 24}}
      needs: {db: postgres}
      tasks:
        migrate: {run: migrate up, after: cache, when: {changed: ./migrations}, timeout: 1h}
        seed: {run: [seed], image: 'seeds:1', after: migrate, before: []}
        warm: {run: [warm], before: [worker]}
  worker: {image: shop:1}
  queue: {image: queue}
  cache: {image: cache}
volumes: {data: }
"]);
        let platform = &loaded.platform;
        let migrate = service(platform, "migrate");
        assert_eq!(migrate.command.as_deref().unwrap(), ["migrate", "up"]);
        assert_eq!(
            (migrate.image.as_deref(), migrate.entrypoint.as_deref()),
            (Some("shop:1"), Some(&["enter".to_owned()][..]))
        );
        assert_eq!((migrate.environment["A"].as_str(), migrate.options.user.as_deref()), ("b", Some("7")));
        assert!(migrate.extension.environment.contains_key("DATABASE_URL"));
        let secrets = format!("{:?}", migrate.extension.secrets["TOKEN"]);
        assert_eq!(secrets, "From { service: \"web\", key: \"TOKEN\" }");
        assert!(migrate.ports.is_empty() && migrate.extension.ingress.is_empty() && migrate.options.hostname.is_none());
        // the other one is the service's own container's
        assert_eq!(migrate.mounts.len(), 1);
        assert!(migrate.extension.once && migrate.replicas == 1);
        assert_eq!(migrate.deploy.constraints, ["node.role == manager"]);
        let job = migrate.extension.task.as_ref().unwrap();
        assert_eq!(job.changed["./migrations"], std::path::Path::new("/shop/migrations"));
        assert_eq!(job.timeout.as_secs(), 3600);

        let seed = service(platform, "seed");
        assert_eq!((seed.image.as_deref(), &seed.entrypoint), (Some("seeds:1"), &None));
        let all = ["migrate", "seed", "warm", "web", "worker"].map(|name| format!("{name}: {}", waits(platform, name)));
        insta::assert_snapshot!(all.join("\n"), @r"
        migrate: cache ServiceHealthy, postgres-databases ServiceCompletedSuccessfully
        seed: migrate ServiceCompletedSuccessfully, postgres-databases ServiceCompletedSuccessfully
        warm: postgres-databases ServiceCompletedSuccessfully, queue ServiceStarted
        web: migrate ServiceCompletedSuccessfully, postgres-databases ServiceCompletedSuccessfully, queue ServiceStarted
        worker: warm ServiceCompletedSuccessfully
        ");
    }

    #[test]
    fn a_task_has_what_its_service_has_but_for_what_makes_it_a_server() {
        let loaded = load(&["
services:
  web:
    image: shop:1
    pull_policy: always
    stop_grace_period: 7s
    networks: {front: {aliases: [shop]}}
    environment: {A: b}
    healthcheck: {test: [CMD, ask]}
    restart: always
    x-macula: {tasks: {migrate: {run: [x]}}}
  side: {image: 'side:1', network_mode: host, x-macula: {tasks: {clean: {run: [y], image: 'clean:1'}}}}
networks: {front: }
"]);
        let [web, migrate, side, clean] =
            ["web", "migrate", "side", "clean"].map(|name| service(&loaded.platform, name));
        assert_eq!(migrate.pull_policy, web.pull_policy);
        assert_eq!(migrate.stop_grace_period, Some(std::time::Duration::from_secs(7)));
        assert_eq!((&migrate.environment, &migrate.unset), (&web.environment, &web.unset));
        // others find the service by its further names, and not its tasks
        assert_ne!(web.networks["front"], ServiceNetwork::default());
        assert!(migrate.networks.keys().eq(["front"]), "{:?}", migrate.networks);
        assert_eq!(migrate.networks["front"], ServiceNetwork::default());
        assert_eq!(migrate.healthcheck.as_ref().unwrap().test, ["NONE"]);
        assert_eq!(migrate.options.restart, Restart::No);
        assert_eq!((clean.image.as_deref(), clean.network_mode.as_deref()), (Some("clean:1"), Some("host")));
        assert_eq!((side.network_mode.as_deref(), migrate.network_mode.as_deref()), (Some("host"), None));
    }

    #[test]
    fn two_stacks_may_each_have_a_task_of_one_name() {
        let stack = "services: {NAME: {image: x, depends_on: [db], x-macula: {tasks: {migrate: {run: [x], after: db}}}}, db: {image: db}}";
        let loaded = load(&[&stack.replace("NAME", "web"), &stack.replace("NAME", "page")]);
        let platform = &loaded.platform;
        assert_eq!(waits(platform, "migrate"), "db ServiceHealthy");
        // in its stack the second `db` is called so, too
        assert_eq!(waits(platform, "blog-migrate"), "blog-db ServiceHealthy");
        assert_eq!(waits(platform, "page"), "blog-db ServiceStarted, blog-migrate ServiceCompletedSuccessfully");
    }

    #[test]
    fn a_task_of_the_server_itself_is_not_waited_for_by_it() {
        let loaded = load(&["services: {db: {image: x, x-macula: {tasks: {init: {run: [x], after: db}}}}}"]);
        assert_eq!(
            (waits(&loaded.platform, "db").as_str(), waits(&loaded.platform, "init").as_str()),
            ("", "db ServiceHealthy")
        );
    }
}
