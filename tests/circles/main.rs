//! What people are told to type, typed: on machines where something is wrong every command is run, and every command
//! that it proposes, and every one that those propose. None leads back to where it came from, none fails with
//! the same words as the one that proposed it, and what fails has changed nothing.
//!
//! It runs in namespaces of its own, with a copy of /etc and without the system's package manager and engines, so that
//! nothing of this machine is touched; that takes root and a kernel that lets root make namespaces.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/hints.rs"]
mod hints;
#[path = "../common/leaves.rs"]
mod leaves;
#[path = "../common/require.rs"]
mod require;

mod engines;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use engines::{an_image, broken, data_without_passwords, nothing, serve, somebody_elses};
use serde_json::{Value, json};
use typed::{Files, look, type_in};

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "MACULA_TEST_HINTS_INSIDE";
/// The same for every run, so that the same advice is the same text.
const FOLDER: &str = "/run/hints";
/// What each command finds as it was for the one before.
const OWN: [&str; 2] = ["/run/hints/home", "/run/hints/project"];
/// What still runs after this time is taken to lead on.
const PATIENCE: Duration = Duration::from_secs(8);
/// These run until somebody ends them. Where they fail they do so at once.
const STAY: [&str; 3] = ["macula dns serve", "macula events", "macula logs -f"];
const STAYED: Duration = Duration::from_millis(1500);
/// Programs of the system that nothing here may reach: they would change this machine, or take the place of what is
/// tried. Each ends with 1.
const MASKED: [&str; 19] = [
    "apt",
    "apt-get",
    "containerd",
    "curl",
    "docker",
    "dockerd",
    "dpkg",
    "keytool",
    "kind",
    "kubectl",
    "mmdebstrap",
    "modprobe",
    "openrc",
    "podman",
    "rc-service",
    "service",
    "sysctl",
    "systemctl",
    "update-ca-certificates",
];

type Answers = fn(&str, &str) -> (u16, Value);

/// A machine on which something is wrong.
#[derive(Clone, Copy)]
struct World {
    name: &'static str,
    /// Answers a request by its method and path; none: there is no engine.
    engine: Option<Answers>,
    /// `DOCKER_HOST`; none: whatever is in its usual place.
    endpoint: Option<&'static str>,
    /// Files before the command, below [`FOLDER`].
    files: &'static [(&'static str, &'static str)],
}

const SETTINGS: &str = "stacks: [compose.yaml]\nbuilt_in: {cache: false, dns: false, draw: false, ingress: false, metrics: \
                        false, observability: false, postgres: false, registry: false, s3: false, tools: false}\n";
const STACK: &str = "services: {web: {image: '127.0.0.1:1/web:1', command: [sleep, '9'], volumes: ['data:/data']}}\n\
                     volumes: {data: {}}\n";
const PROJECT: [(&str, &str); 2] = [("project/macula.yaml", SETTINGS), ("project/compose.yaml", STACK)];

#[test]
fn no_engine_at_all() {
    run(World { name: "no_engine_at_all", engine: None, endpoint: None, files: &PROJECT });
}

#[test]
fn an_engine_that_is_named_and_not_there() {
    run(World {
        name: "an_engine_that_is_named_and_not_there",
        engine: None,
        endpoint: Some("unix:///run/hints/gone.sock"),
        files: &PROJECT,
    });
}

#[test]
fn an_engine_that_makes_nothing() {
    run(World { name: "an_engine_that_makes_nothing", engine: Some(nothing), endpoint: None, files: &PROJECT });
}

#[test]
fn an_engine_with_the_image_that_makes_nothing() {
    let name = "an_engine_with_the_image_that_makes_nothing";
    run(World { name, engine: Some(an_image), endpoint: None, files: &PROJECT });
}

#[test]
fn a_platform_of_somebody_else() {
    run(World { name: "a_platform_of_somebody_else", engine: Some(somebody_elses), endpoint: None, files: &PROJECT });
}

#[test]
fn data_whose_passwords_are_gone() {
    const STACK: &str = "services: {web: {image: '127.0.0.1:1/web:1', volumes: ['data:/data'], x-macula: {secrets: {WORD: {generate: 24}}}}}\n\
                         volumes: {data: {}}\n";
    const FILES: [(&str, &str); 2] = [("project/macula.yaml", SETTINGS), ("project/compose.yaml", STACK)];
    let name = "data_whose_passwords_are_gone";
    run(World { name, engine: Some(data_without_passwords), endpoint: None, files: &FILES });
}

#[test]
fn an_engine_that_is_broken() {
    run(World { name: "an_engine_that_is_broken", engine: Some(broken), endpoint: None, files: &PROJECT });
}

#[test]
fn files_that_cannot_be_read() {
    const FILES: [(&str, &str); 2] = [("project/macula.yaml", "name: [1\n"), ("project/compose.yaml", STACK)];
    run(World { name: "files_that_cannot_be_read", engine: Some(an_image), endpoint: None, files: &FILES });
}

#[test]
fn a_stack_with_errors() {
    const FILES: [(&str, &str); 2] =
        [("project/macula.yaml", SETTINGS), ("project/compose.yaml", "services: {web: {imge: x, ports: [99999]}}\n")];
    run(World { name: "a_stack_with_errors", engine: Some(an_image), endpoint: None, files: &FILES });
}

#[test]
fn records_that_are_damaged() {
    const FILES: [(&str, &str); 5] = [
        ("project/macula.yaml", SETTINGS),
        ("project/compose.yaml", STACK),
        ("home/data/macula/macula/platform.json", "{"),
        ("home/data/macula/macula/secrets/secrets.json", "{"),
        ("home/data/macula/dns/zones/macula.json", "{"),
    ];
    run(World { name: "records_that_are_damaged", engine: Some(an_image), endpoint: None, files: &FILES });
}

fn run(world: World) {
    if std::env::var_os(INSIDE).is_some() {
        return inside(&world);
    }
    if let Some(reason) = unfit() {
        require::skipped("namespaces", &reason);
        return;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", world.name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}: {said}{}", world.name, String::from_utf8_lossy(&output.stderr));
}

/// Why this machine cannot run it.
fn unfit() -> Option<String> {
    let tried = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--", "mount", "--make-rprivate", "/"])
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

#[track_caller]
fn system(line: &str) {
    let output = Command::new("/bin/sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A machine of its own: what is done here is gone with the process.
fn inside(world: &World) {
    assert_eq!(std::process::id(), 1, "this is the test's own namespace of processes");
    system("mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/copy /run/hints/bin");
    system("cp -a /etc /run/copy/etc && mount --bind /run/copy/etc /etc");
    system("cp -a /usr/local/share /run/copy/share && mount --bind /run/copy/share /usr/local/share");
    system("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && ip link set lo up");
    system(
        "echo '127.0.0.1 localhost' > /etc/hosts; rm -f /etc/resolv.conf; echo 'nameserver 127.0.0.53' > /etc/resolv.conf",
    );
    for folder in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        for program in MASKED {
            let path = Path::new(folder).join(program);
            if path.exists() {
                system(&format!("mount --bind /bin/false {}", path.display()));
            }
        }
    }
    let program = Path::new(FOLDER).join("bin/macula");
    // what is there for a debugger alone is half of it, and is copied wherever an engine gets this program
    let lighter = Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_macula")).status();
    if !lighter.is_ok_and(|status| status.success()) {
        let _ = std::fs::remove_file(&program);
        symlink(env!("CARGO_BIN_EXE_macula"), &program).unwrap();
    }
    if let Some(answer) = world.engine {
        let listener = UnixListener::bind("/run/docker.sock").unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || serve(stream.unwrap(), answer));
            }
        });
    }
    walk(world);
}

/// What came of one command line.
struct Seen {
    code: Option<i32>,
    /// The first line of the error.
    error: Option<String>,
    /// Sentences of advice.
    sentences: usize,
    /// Commands of advice.
    next: Vec<String>,
    /// Files that were changed or removed, of those that were there.
    changed: Vec<String>,
    said: String,
    took: Duration,
}

impl Seen {
    fn fails(&self) -> bool {
        self.code.is_some_and(|code| code != 0)
    }
}

/// Runs every command of a hint in the source, and everything that is proposed; where the machine is bare every
/// command of the program as well.
fn walk(world: &World) {
    let mut roots: Vec<String> = Vec::new();
    if world.engine.is_none_or(|engine| std::ptr::fn_addr_eq(engine, nothing as Answers)) {
        roots.extend(leaves::leaves().into_iter().map(|(_, words)| format!("macula {words}")));
    }
    roots.extend(hints::commands().into_iter().map(|(_, words)| format!("macula {}", words.join(" "))));
    let mut open: Vec<String> = roots.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let from_source = open.len();
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut known = Files::new();
    look(&mut known, &["/etc"]);
    while let Some(line) = open.pop() {
        if seen.contains_key(&line) || line.starts_with("unset ") || line.starts_with("export ") {
            continue;
        }
        let found = type_in(world, &line, &mut known);
        open.extend(found.next.iter().cloned());
        seen.insert(line, found);
    }
    let mut slow: Vec<(&Duration, &String)> = seen.iter().map(|(line, found)| (&found.took, line)).collect();
    slow.sort();
    for (took, line) in slow.iter().rev().take(3) {
        println!("{:.1} s: {line}", took.as_secs_f64());
    }
    let mut wrong = Vec::new();
    let mut followed = 0;
    for (line, found) in &seen {
        if found.said.contains("panicked at") {
            wrong.push(format!("$ {line}\n{}", found.said));
        }
        for next in &found.next {
            followed += 1;
            let Some(then) = seen.get(next) else { continue };
            if next != line && found.fails() && then.fails() && found.error.is_some() && found.error == then.error {
                wrong.push(format!("$ {line}\n{}proposes `{next}`, which fails with the same words", found.said));
            }
            if then.fails() && !then.changed.is_empty() {
                wrong.push(format!("`{next}` fails and changes {:?}", then.changed));
            }
        }
        // once more is no advice where nothing is to be done before
        if found.next.contains(line) && found.sentences == 0 && found.next.len() == 1 {
            wrong.push(format!("$ {line}\n{}proposes nothing but itself", found.said));
        }
    }
    wrong.extend(circles(&seen));
    let failed = seen.values().filter(|found| found.fails()).count();
    println!(
        "{}: {} command lines run ({from_source} of the program and its source), {failed} failed, {followed} hints followed, {} wrong",
        world.name,
        seen.len(),
        wrong.len()
    );
    assert!(seen.len() > 40 && followed > 5, "the look at the hints is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Chains of advice that end where they began, one of whose commands fails.
fn circles(seen: &BTreeMap<String, Seen>) -> Vec<String> {
    fn reach<'a>(seen: &'a BTreeMap<String, Seen>, path: &mut Vec<&'a str>, found: &mut BTreeSet<Vec<String>>) {
        let Some(last) = path.last().and_then(|last| seen.get(*last)) else { return };
        for next in &last.next {
            if let Some(at) = path.iter().position(|line| line == next) {
                let circle = &path[at..];
                if circle.len() > 1 && circle.iter().any(|line| seen[*line].fails()) {
                    // from its first command in the order of the alphabet: the same circle is told once
                    let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or_default();
                    let turned = circle[first..].iter().chain(&circle[..first]);
                    found.insert(turned.map(|line| (*line).to_owned()).collect());
                }
                continue;
            }
            path.push(next);
            reach(seen, path, found);
            path.pop();
        }
    }
    let mut found = BTreeSet::new();
    for line in seen.keys() {
        reach(seen, &mut vec![line], &mut found);
    }
    let told = |circle: &Vec<String>| {
        let steps = circle.iter().map(|line| format!("$ {line}\n{}", seen[line].said));
        format!("a circle:\n{}", steps.collect::<String>())
    };
    found.iter().map(told).collect()
}
