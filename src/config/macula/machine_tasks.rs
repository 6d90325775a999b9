//! `tasks` of macula.yaml: what is done on this machine, once for each state of what it works on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::program::{Program, shell_line, spans};
use crate::config::files::{Files, join};
use crate::config::yaml::{Entry, Kind, Node, Object, Report, Span, field as f, in_a_list, suggestion};
use crate::model::{MachineTask, Platform, Task, is_dns_label};

pub(in crate::config) static MACHINE_TASK: Object = Object {
    name: "a task",
    fields: &[
        f("run", Kind::Short(shell_line, &Kind::List(&Kind::Text)))
            .doc("What is run: a line for the shell (`npm run migrate`), or a list of words for a program without one."),
        f("cwd", Kind::Path).doc("Folder it is run in; the folder of macula.yaml unless given."),
        f("after", Kind::TextOrTexts).doc("Services that are ready, and other tasks of macula.yaml that are done, before it begins; what the services under `before` wait for unless given, and without these all services. Only the settings of the services under `after` and `before` are passed on; those of all services without both."),
        f("before", Kind::TextOrTexts).doc("Services that start only when it is done. Processes start after all tasks."),
        f("when", Kind::Object(&WHEN)).doc("What makes it run again. Without it: another command."),
        f("env", Kind::Dict).doc("Variables in addition to the platform's settings; null removes one."),
        f("env_file", Kind::Short(in_a_list, &Kind::List(&Kind::Path)))
            .doc("Files with more variables, in Compose's format; `env` overrides them."),
        f("timeout", Kind::Duration).doc("How long it may take, 10m unless given."),
    ],
    required: &["run"],
    open: true,
};

static WHEN: Object = Object::open(
    "when",
    &[f("changed", Kind::TextOrTexts).doc("Files and folders, from the folder of macula.yaml: the task runs again when what is in them or its command changes.")],
);

/// A task, and where its parts stand.
#[derive(Debug, Clone)]
pub(in crate::config) struct DeclaredTask {
    pub(in crate::config) task: MachineTask,
    span: Span,
    after: Vec<Span>,
    before: Vec<Span>,
}

/// Those that macula.yaml declares. `folder`: the one it lies in.
pub(super) fn declared_tasks(
    root: &Node,
    folder: &Path,
    files: &dyn Files,
    report: &mut Report,
) -> BTreeMap<String, DeclaredTask> {
    let mut all = BTreeMap::new();
    for (name, entry) in root.entries("tasks") {
        if !is_dns_label(name) || name.len() > 40 {
            report.error_help(
                entry.key,
                format!("tasks: `{name}` is not a valid name for a task"),
                "use at most 40 lower-case letters, digits and inner dashes",
            );
        }
        all.insert(name.to_owned(), one(name, entry, folder, files, report));
    }
    all
}

fn one(name: &str, entry: &Entry, base: &Path, files: &dyn Files, report: &mut Report) -> DeclaredTask {
    let node = &entry.node;
    let Program { command, folder, environment, env_files } =
        Program::read(entry, (&format!("tasks.{name}"), "run"), base, files, report);
    let mut changed = BTreeMap::new();
    for item in node.get("when").map(|when| when.items("changed")).unwrap_or_default() {
        let Some(text) = item.as_text() else { continue };
        let at = join(base, Path::new(text));
        if text.trim().is_empty() || (!files.exists(&at) && !files.is_folder(&at)) {
            report.error_help(
                item.span,
                format!("tasks.{name}.when.changed: there is no file or folder `{text}`"),
                format!("it would be {}: the path counts from the folder of macula.yaml", at.display()),
            );
        }
        changed.insert(text.to_owned(), at);
    }
    let timeout = node.get_int("timeout").and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    DeclaredTask {
        span: entry.key,
        after: spans(node, "after"),
        before: spans(node, "before"),
        task: MachineTask {
            name: name.to_owned(),
            command,
            folder,
            after: node.get("after").map(|_| node.texts("after")),
            before: node.texts("before"),
            changed,
            environment,
            env_files,
            timeout: timeout.map_or(Task::TIMEOUT, Duration::from_nanos),
            ..MachineTask::default()
        },
    }
}

/// What only all files together can tell. `known`: a service that does not take part now.
pub(in crate::config) fn check_tasks(
    declared: &BTreeMap<String, DeclaredTask>,
    platform: &Platform,
    known: &dyn Fn(&str) -> bool,
    report: &mut Report,
) {
    let services = || platform.services().map(|(_, service)| service.name.as_str());
    let help = |word: &str, others: &mut dyn Iterator<Item = &str>| match known(word) {
        true => format!("{word} does not take part: its profile is not active, or macula.yaml leaves it out"),
        false => suggestion(word, crate::words::unique(others.collect::<Vec<_>>())),
    };
    for (name, one) in declared {
        let other = match (platform.service(name), platform.processes.contains_key(name)) {
            (Some((_, service)), _) if service.extension.task.is_some() => Some("a service has a task"),
            (Some(_), _) => Some("there is a service"),
            (None, true) => Some("there is a process"),
            (None, false) => None,
        };
        if let Some(other) = other {
            report.error_help(
                one.span,
                format!("tasks: {other} `{name}`, too"),
                "give the task another name: both are named in commands, as in `macula logs`",
            );
        }
        for (word, span) in one.task.after.iter().flatten().zip(&one.after) {
            if word != name && (platform.service(word).is_some() || declared.contains_key(word)) {
                continue;
            }
            let help = match platform.processes.contains_key(word) {
                true => format!("{word} is a process, and processes start after all tasks"),
                false => help(word, &mut services().chain(declared.keys().map(String::as_str).filter(|it| it != name))),
            };
            report.error_help(*span, format!("tasks.{name}.after: there is no service or task `{word}`"), help);
        }
        for (word, span) in one.task.before.iter().zip(&one.before) {
            if platform.service(word).is_some() {
                continue;
            }
            let help = match (platform.processes.contains_key(word), declared.contains_key(word)) {
                (true, _) => format!("leave {word} out: processes start after all tasks"),
                (_, true) => format!("let {word} say it: `after: [{name}]`"),
                _ => help(word, &mut services()),
            };
            report.error_help(*span, format!("tasks.{name}.before: there is no service `{word}`"), help);
        }
        // one circle is one mistake
        let told = |way: &Vec<String>| way.iter().any(|other| other < name && declared.contains_key(other));
        if let Some(way) = circle(platform, name).filter(|way| !told(way)) {
            report.error_help(
                one.span,
                format!("tasks: each waits for the next one: {}", way.join(" -> ")),
                "take one name out of `after` or `before`",
            );
        }
    }
}

/// A way from a task along what each waits for, back to it.
fn circle(platform: &Platform, task: &str) -> Option<Vec<String>> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open = vec![vec![task.to_owned()]];
    while let Some(way) = open.pop() {
        let Some(at) = way.last() else { continue };
        let mut next: BTreeSet<String> = BTreeSet::new();
        if let Some((_, service)) = platform.service(at) {
            next.extend(service.depends_on.keys().cloned());
            next.extend(platform.tasks_before(at).map(|task| task.name.clone()));
        } else if let Some(task) = platform.tasks.get(at) {
            next.extend(platform.awaited(task));
        }
        // who names itself is told so where it says that
        for name in next.into_iter().filter(|name| name != at) {
            let longer: Vec<String> = way.iter().cloned().chain([name.clone()]).collect();
            if name == task {
                return Some(longer);
            }
            if seen.insert(name) {
                open.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, MemoryFiles, Request, load};

    const STACK: &str = "services: {db: {image: db}, web: {image: web, depends_on: [db]}, mail: {image: mail}}";

    fn loaded(text: &str) -> Result<Loaded, String> {
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", text)
            .with("/p/shop/compose.yaml", STACK)
            .with("/p/shop/.env", "A=b")
            .with("/p/migrations/1.sql", "x");
        load(&request, &files).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_task_waits_for_what_it_works_on() {
        let loaded = loaded(
            "
stacks: [shop]
tasks:
  migrate: {run: npm run migrate, after: db, before: web, when: {changed: ./migrations}, cwd: shop, env: {A: '1', B: null}, env_file: shop/.env, timeout: 1h}
  seed: {run: [./seed, all], after: [migrate]}
  check: {run: check, before: [web]}
  last: {run: last}
",
        )
        .unwrap();
        let platform = &loaded.platform;
        let migrate = &platform.tasks["migrate"];
        assert_eq!(migrate.command, ["sh", "-c", "npm run migrate"]);
        assert_eq!(migrate.folder, std::path::Path::new("/p/shop"));
        assert_eq!(migrate.changed["./migrations"], std::path::Path::new("/p/migrations"));
        assert_eq!((migrate.timeout.as_secs(), &migrate.environment["B"]), (3600, &None));
        assert_eq!(migrate.settings_of(), ["db", "web"]);
        assert!(platform.tasks["last"].settings_of().is_empty());
        let awaited = platform.tasks.values().map(|task| {
            let names: Vec<String> = platform.awaited(task).into_iter().collect();
            format!("{}: {}", task.name, names.join(" "))
        });
        assert_eq!(awaited.collect::<Vec<_>>(), ["check: db", "last: db mail web", "migrate: db", "seed: migrate"]);
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let wrong = |tasks: &str| {
            loaded(&format!("stacks: [shop]\nprocesses: {{api: {{command: api}}}}\ntasks: {{{tasks}}}\n")).unwrap_err()
        };
        for (tasks, told) in [
            ("Migrate: {run: x}", "tasks: `Migrate` is not a valid name for a task"),
            ("web: {run: x}", "tasks: there is a service `web`, too"),
            ("api: {run: x}", "tasks: there is a process `api`, too"),
            ("empty: {run: ''}", "tasks.empty.run: there is nothing to run"),
            ("migrate: {run: x, after: dbb}", "did you mean `db`?"),
            ("migrate: {run: x, after: api}", "api is a process, and processes start after all tasks"),
            ("migrate: {run: x, after: migrate}", "tasks.migrate.after: there is no service or task `migrate`"),
            ("migrate: {run: x, before: api}", "leave api out: processes start after all tasks"),
            ("migrate: {run: x, before: seed}, seed: {run: x}", "let seed say it: `after: [migrate]`"),
            ("migrate: {run: x, before: wep}", "did you mean `web`?"),
            (
                "migrate: {run: x, after: web, before: db}",
                "each waits for the next one: migrate -> web -> db -> migrate",
            ),
            ("one: {run: x, after: two}, two: {run: x, after: one}", "each waits for the next one: one -> two -> one"),
            ("migrate: {run: x, cwd: away}", "tasks.migrate.cwd: there is no folder /p/away"),
            ("migrate: {run: x, when: {changed: [gone]}}", "there is no file or folder `gone`"),
            ("migrate: {run: x, env_file: none}", "there is no file /p/none"),
            ("migrate: {after: db}", "run"),
            ("migrate: {run: x, image: y}", "unknown key `image`"),
        ] {
            let errors = wrong(tasks);
            assert!(errors.contains(told), "{tasks}: {errors}");
            assert!(errors.matches("macula.yaml:3:").count() == 1, "{tasks}: {errors}");
        }
    }
}
