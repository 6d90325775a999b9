//! `processes` of macula.yaml: programs of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::program::{Program, shell_line, spans};
use crate::config::files::Files;
use crate::config::yaml::{Entry, Kind, Node, Object, Report, Span, field as f, in_a_list, suggestion};
use crate::model::{Process, ProcessProbe, Restart, Stack, WatchAction, WatchRule, fully_qualified, is_dns_label};

pub(in crate::config) static PROCESS: Object = Object {
    name: "a process",
    fields: &[
        f("command", Kind::Short(shell_line, &Kind::List(&Kind::Text)))
            .doc("What is run: a line for the shell (`npm run dev`), or a list of words for a program without one."),
        f("cwd", Kind::Path).doc("Folder it is run in; the folder of macula.yaml unless given."),
        f("needs", Kind::TextOrTexts)
            .doc("Services and other processes that are ready before it starts. Only the settings of these services are passed on; those of all services unless given."),
        f("ingress", Kind::Short(in_a_list, &Kind::List(&Kind::Checked(host))))
            .doc("Names below the platform's domain that lead to it; its own name unless given, `[]` for none."),
        f("port", Kind::Int(1, 65535))
            .doc("Port it listens on, on a loopback address or all addresses; a free one in PORT unless given."),
        f("probe", Kind::Object(&PROBE))
            .doc("How `up` finds out that it is ready; unless given, it listens on its port, or without one it has run for a moment."),
        f("env", Kind::Dict).doc("Variables in addition to the platform's settings; null removes one."),
        f("env_file", Kind::Short(in_a_list, &Kind::List(&Kind::Path)))
            .doc("Files with more variables, in Compose's format; `env` overrides them."),
        f("watch", Kind::List(&Kind::Object(&WATCH))).doc("Files whose change restarts it, by the rules of `develop.watch`."),
        f("restart", Kind::Checked(restart))
            .doc("Whether it is started again when it ends by itself; `on-failure` unless given."),
        f("stop_grace_period", Kind::Duration).doc("How long it may take to end after SIGTERM before it is killed, 10s unless given."),
    ],
    required: &["command"],
    open: true,
};

static PROBE: Object = Object::open(
    "a probe",
    &[
        f("http", Kind::Object(&HTTP)).doc("It is ready when this path answers with a status from 200 to 399."),
        f("timeout", Kind::Duration).doc("How long it may take; `timeouts.healthy` unless given."),
    ],
);

static HTTP: Object = Object::open("an HTTP probe", &[f("path", Kind::Checked(path)).doc("`/` unless given.")]);

static WATCH: Object = Object {
    name: "a watch",
    fields: &[
        f("path", Kind::Path).doc("A file, or a folder with everything in it."),
        f("action", Kind::Choice(&["restart"])).doc("What happens; there is no other."),
        f("include", Kind::TextOrTexts).doc("Patterns of the only files that count."),
        f("ignore", Kind::TextOrTexts).doc("Patterns of files that do not count; what Git ignores does not either."),
    ],
    required: &["path"],
    open: true,
};

fn host(text: &str) -> Option<(String, String)> {
    let fits = text.len() <= 100 && text.split('.').all(is_dns_label);
    (!fits).then(|| {
        (
            format!("`{text}` cannot be a name below the domain"),
            "use lower-case letters, digits and dashes, without the domain: `shop`".to_owned(),
        )
    })
}

fn path(text: &str) -> Option<(String, String)> {
    (!text.starts_with('/')).then(|| (format!("`{text}` is not a path"), "use a path that begins with /".to_owned()))
}

fn restart(text: &str) -> Option<(String, String)> {
    policy(text).is_none().then(|| {
        (
            format!("`{text}` is not a restart policy"),
            "use no, always, unless-stopped, on-failure or on-failure:3".to_owned(),
        )
    })
}

fn policy(text: &str) -> Option<Restart> {
    Some(match text.split_once(':') {
        Some(("on-failure", most)) => Restart::OnFailure(Some(most.parse().ok().filter(|most| *most > 0)?)),
        Some(_) => return None,
        None => match text {
            "no" | "false" => Restart::No,
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => Restart::OnFailure(None),
            _ => return None,
        },
    })
}

/// As macula.yaml takes it.
pub(super) fn policy_text(policy: &Restart) -> String {
    match policy {
        Restart::No => "no".to_owned(),
        Restart::Always => "always".to_owned(),
        Restart::UnlessStopped => "unless-stopped".to_owned(),
        Restart::OnFailure(None) => "on-failure".to_owned(),
        Restart::OnFailure(Some(most)) => format!("on-failure:{most}"),
    }
}

/// A process, and where its parts stand.
#[derive(Debug, Clone)]
pub(in crate::config) struct Declared {
    pub(in crate::config) process: Process,
    span: Span,
    needs: Vec<Span>,
    hosts: Vec<Span>,
}

/// Those that macula.yaml declares. `folder`: the one it lies in.
pub(super) fn declared(
    root: &Node,
    folder: &Path,
    files: &dyn Files,
    report: &mut Report,
) -> BTreeMap<String, Declared> {
    let mut all = BTreeMap::new();
    for (name, entry) in root.entries("processes") {
        if !is_dns_label(name) || name.len() > 40 {
            report.error_help(
                entry.key,
                format!("processes: `{name}` cannot be the name of a process"),
                "use at most 40 lower-case letters, digits and inner dashes",
            );
        }
        all.insert(name.to_owned(), one(name, entry, folder, files, report));
    }
    all
}

fn one(name: &str, entry: &Entry, folder: &Path, files: &dyn Files, report: &mut Report) -> Declared {
    let node = &entry.node;
    let duration = |node: &Node, key: &str| {
        node.get_int(key).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos)
    };
    let Program { command, folder, environment, env_files } =
        Program::read(entry, (&format!("processes.{name}"), "command"), folder, files, report);
    let watch = node.items("watch").iter().filter_map(|rule| {
        Some(WatchRule {
            include: rule.texts("include"),
            ignore: rule.texts("ignore"),
            ..WatchRule::new(rule.get_text("path")?.into(), WatchAction::Restart)
        })
    });
    let hosts = match node.get("ingress") {
        Some(_) => node.texts("ingress"),
        None => vec![name.to_owned()],
    };
    let probe = node.get("probe").map(|probe| ProcessProbe {
        path: probe.get("http").map(|http| http.get_text("path").unwrap_or("/").to_owned()),
        timeout: duration(probe, "timeout"),
    });
    Declared {
        span: entry.key,
        needs: spans(node, "needs"),
        hosts: match node.get("ingress") {
            Some(_) => spans(node, "ingress"),
            None => vec![entry.key],
        },
        process: Process {
            name: name.to_owned(),
            command,
            folder,
            needs: node.texts("needs"),
            hosts,
            port: node.get_int("port").and_then(|port| u16::try_from(port).ok()),
            probe,
            environment,
            env_files,
            watch: watch.collect(),
            restart: node.get_text("restart").and_then(policy).unwrap_or(Restart::OnFailure(None)),
            stop_grace_period: duration(node, "stop_grace_period").unwrap_or(Process::GRACE),
        },
    }
}

/// What only all files together can tell: that names are free, and that what is needed is there. `known`: a service
/// that does not take part now.
pub(in crate::config) fn check(
    processes: &BTreeMap<String, Declared>,
    stacks: &[&Stack],
    domain: &str,
    known: &dyn Fn(&str) -> bool,
    report: &mut Report,
) {
    let services = || stacks.iter().flat_map(|stack| stack.services.values());
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    for service in services() {
        for rule in &service.extension.ingress {
            hosts.insert(fully_qualified(&rule.host, domain), format!("the service {}", service.name));
        }
    }
    let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, declared) in processes {
        if services().any(|service| service.name == *name) {
            report.error_help(
                declared.span,
                format!("processes: there is a service `{name}`, too"),
                "give the process another name: both are named in commands, as in `macula logs`",
            );
        }
        for (need, span) in declared.process.needs.iter().zip(&declared.needs) {
            let there = services().any(|service| service.name == *need) || processes.contains_key(need);
            if there && need != name {
                continue;
            }
            let help = match known(need) {
                true => format!("{need} does not take part: its profile is not active, or macula.yaml leaves it out"),
                false => {
                    let mut names: Vec<&str> = services().map(|service| service.name.as_str()).collect();
                    names.extend(processes.keys().map(String::as_str).filter(|other| other != name));
                    suggestion(need, crate::words::unique(names))
                }
            };
            report.error_help(*span, format!("processes.{name}.needs: there is no service or process `{need}`"), help);
        }
        for (host, span) in declared.process.hosts.iter().zip(&declared.hosts) {
            let host = format!("{host}.{domain}");
            if let Some(other) = hosts.insert(host.clone(), format!("the process {name}")) {
                report.error_help(
                    *span,
                    format!("processes.{name}: {host} is a name of {other}"),
                    "choose other names with `ingress: [...]`, or none with `ingress: []`",
                );
            }
        }
        if let Some(port) = declared.process.port
            && let Some(other) = ports.insert(port, name)
        {
            report.error_help(
                declared.span,
                format!("processes.{name}: {other} has the port {port}, too"),
                "leave `port` out: a free one is passed in PORT",
            );
        }
    }
    circles(processes, report);
}

/// Each of a circle waits for another one.
fn circles(processes: &BTreeMap<String, Declared>, report: &mut Report) {
    let mut left: BTreeSet<&str> = processes.keys().map(String::as_str).collect();
    while let Some(free) = left.iter().copied().find(|name| first_need(processes, name, &left).is_none()) {
        left.remove(free);
    }
    let Some(mut at) = left.iter().next().copied() else { return };
    let mut way = vec![at];
    while let Some(next) = first_need(processes, at, &left) {
        if let Some(begin) = way.iter().position(|step| *step == next) {
            way.drain(..begin);
            way.push(next);
            break;
        }
        way.push(next);
        at = next;
    }
    report.error_help(
        way.first().and_then(|first| processes.get(*first)).map(|declared| declared.span).unwrap_or_default(),
        format!("processes: they need each other in a circle: {}", way.join(" -> ")),
        "one of them has to start first: take the other out of its `needs`",
    );
}

/// What a process needs of those that are left.
fn first_need<'a>(processes: &BTreeMap<String, Declared>, name: &str, left: &BTreeSet<&'a str>) -> Option<&'a str> {
    let declared = processes.get(name)?;
    // who needs itself is told so where it says that
    declared.process.needs.iter().filter(|need| *need != name).find_map(|need| left.get(need.as_str()).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for (text, expected) in [
            ("no", Restart::No),
            ("always", Restart::Always),
            ("unless-stopped", Restart::UnlessStopped),
            ("on-failure", Restart::OnFailure(None)),
            ("on-failure:1", Restart::OnFailure(Some(1))),
        ] {
            assert_eq!((policy(text), policy_text(&expected).as_str()), (Some(expected), text));
            assert_eq!(restart(text), None);
        }
        assert_eq!(policy("false"), Some(Restart::No));
        for text in ["", "never", "always:3", "on-failure:", "on-failure:0", "on-failure:x"] {
            assert!(policy(text).is_none() && restart(text).is_some(), "{text}");
        }
    }

    #[test]
    fn names_and_paths_are_checked() {
        let long = [["x".repeat(50), "y".repeat(49)].join("."), ["x".repeat(50), "y".repeat(50)].join(".")];
        let texts = ["shop", "a.b", long[0].as_str(), long[1].as_str(), "a..b", "A"];
        assert_eq!(texts.map(|text| host(text).is_none()), [true, true, true, false, false, false]);
        assert_eq!(["/", "/up", "", "up/"].map(|text| path(text).is_none()), [true, true, false, false]);
    }

    #[test]
    fn a_circle_is_told_from_its_first_name_to_itself() {
        let told = |needs: &[(&str, &[&str])]| {
            let processes = needs.iter().map(|(name, needs)| {
                let process = Process {
                    name: (*name).to_owned(),
                    command: Vec::new(),
                    folder: "/".into(),
                    needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                    hosts: Vec::new(),
                    port: None,
                    probe: None,
                    environment: BTreeMap::new(),
                    env_files: Vec::new(),
                    watch: Vec::new(),
                    restart: Restart::No,
                    stop_grace_period: Process::GRACE,
                };
                ((*name).to_owned(), Declared { process, span: Span::default(), needs: Vec::new(), hosts: Vec::new() })
            });
            let mut report = Report::new(Path::new("/"));
            circles(&processes.collect(), &mut report);
            report.finish().0.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told(&[("a", &["b"]), ("b", &["c", "db"]), ("c", &[])]), "");
        // who needs itself was told so, and the others are looked at all the same
        assert_eq!(told(&[("a", &["a", "b"]), ("b", &[])]), "");
        let way = "processes: they need each other in a circle: b -> c -> b";
        assert_eq!(told(&[("a", &["b"]), ("b", &["d", "c"]), ("c", &["b"]), ("d", &[])]), way);
    }
}
