//! The commands that need no engine, in a hermetic home: what is printed where, and the exit codes.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/leaves.rs"]
mod leaves;
#[path = "common/shapes.rs"]
mod shapes;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use leaves::leaves;
use serde_json::Value;
use tempfile::TempDir;

/// A home of its own, and no engine.
struct Home(TempDir);

struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        let home = Self(TempDir::new().unwrap());
        std::fs::create_dir(home.project()).unwrap();
        home
    }

    fn project(&self) -> std::path::PathBuf {
        self.0.path().join("project")
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.project().join(file), text).unwrap();
    }

    fn program(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
        let home = self.0.path();
        command
            .env_clear()
            .current_dir(self.project())
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .stdin(Stdio::null())
            .args(words.split_whitespace());
        command
    }

    fn run(&self, words: &str) -> Done {
        done(&mut self.program(words), self.0.path())
    }
}

fn done(command: &mut Command, home: &Path) -> Done {
    let output = command.output().unwrap();
    // on some systems the folder for temporary files is a link
    let real = home.canonicalize().unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.replace(real.to_str().unwrap(), "~").replace(home.to_str().unwrap(), "~")
    };
    Done { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Done {
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// Everything, as a user sees it.
    fn all(&self) -> String {
        let Self { code, out, err } = self;
        let lines: Vec<&str> = out.lines().chain(err.lines()).map(str::trim_end).collect();
        format!("{}\nexit code {code}", lines.join("\n"))
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

#[test]
fn help_and_version_are_results() {
    let home = Home::new();
    let version = home.run("--version");
    assert_eq!(
        (version.code, version.out, version.err),
        (0, format!("macula {}\n", env!("CARGO_PKG_VERSION")), String::new())
    );
    let help = home.run("--help");
    help.exits(0);
    for command in ["up", "down", "plan", "status", "logs", "doctor", "creds", "env", "images", "stack", "config"] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(command)), "{command}\n{}", help.out);
        assert_eq!(home.run(&format!("{command} --help")).exits(0).err, "");
    }
    assert_eq!(home.run("").exits(2).out, "");
}

#[test]
fn a_wrong_command_line_is_two() {
    let home = Home::new();
    for words in
        ["upp", "up --nope", "up --timeout soon", "status -o yaml", "--progress loud up", "exec", "config init a b"]
    {
        let done = home.run(words);
        assert_eq!((done.exits(2).out.as_str(), done.err.is_empty()), ("", false), "{words}");
    }
    assert!(home.run("upp").err.contains("macula up"), "it has no idea what was meant");
    assert!(home.run("up --timeout 5parsecs").err.contains("`5parsecs` is not a valid duration"));
}

#[test]
fn a_group_alone_shows_its_commands() {
    let home = Home::new();
    for group in ["dns", "images", "trust", "cluster", "config", "stack"] {
        let plain = home.run(group);
        let named = done(home.program(group).env("MACULA_NAME", "pr-2"), home.0.path());
        for done in [plain, named] {
            let shown = done.exits(2).err.clone();
            assert!(shown.contains("Commands:") && shown.contains(&format!("macula {group}")), "{group}: {shown}");
        }
    }
    let error = done(home.program("dns -o json").env("MACULA_NAME", "pr-2"), home.0.path()).exits(2).json();
    assert_eq!(error["error"]["kind"], "usage");
}

#[test]
fn without_an_engine_it_says_what_was_tried() {
    let home = Home::new();
    assert_snapshot!(home.run("plan").all(), @"
    error: could not connect to a container engine
      caused by: DOCKER_HOST names unix:///nowhere/engine.sock, which does not exist
      try: macula doctor
      try: unset DOCKER_HOST
    exit code 4
    ");
    let error = home.run("status -o json").exits(4).json();
    assert_eq!(error["error"]["kind"], "no_engine");
    assert_eq!(error["error"]["exit_code"], 4);
    assert_eq!(error["error"]["try"][0], "macula doctor");
    // the next thing to type is for the same platform
    assert!(home.run("--name pr-1 plan").exits(4).err.contains("macula --name pr-1 doctor"));
}

#[test]
fn a_name_that_cannot_be_a_label_gets_a_proposal() {
    let home = Home::new();
    assert_snapshot!(home.run("--name My_Branch plan").all(), @r"
    error: --name: `My_Branch` is not a valid name: use at most 40 lower-case letters, digits and inner dashes
      hint: for example `my-branch`
    exit code 3
    ");
}

/// A name becomes folders, containers and zones: no command takes one that is anything but a name.
#[test]
fn no_command_takes_a_name_that_is_a_path() {
    let home = Home::new();
    let outside = home.0.path().join("data/secrets");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secrets.json"), "{}").unwrap();
    let commands = [
        "up",
        "down --volumes --yes",
        "plan",
        "status",
        "top --once",
        "logs",
        "restart",
        "stop web",
        "start web",
        "exec web true",
        "creds",
        "env",
        "doctor",
        "dns list",
        "cluster status",
        "images list",
        "stack list",
        "config show",
        "config init",
        "trust status",
        "validate",
    ];
    for name in ["../data", "../../../../evil", "feature/login", "ca", "dns", "log", "bin", "..", "a b", "A"] {
        for command in commands {
            let mut by_option = home.program("--name");
            by_option.arg(name).args(command.split(' '));
            let mut by_variable = home.program(command);
            by_variable.env("MACULA_NAME", name);
            for mut program in [by_option, by_variable] {
                let done = done(&mut program, home.0.path());
                assert!(done.exits(3).err.contains("is not a valid name"), "{command}: {}", done.err);
            }
        }
    }
    assert!(outside.join("secrets.json").exists());
    assert!(!home.0.path().join("data/macula").exists(), "something was written");
}

/// CI systems hand on an empty variable where there is no value.
#[test]
fn an_empty_variable_is_as_none() {
    let home = Home::new();
    let all = ["MACULA_NAME", "MACULA_FILE", "MACULA_PROFILES", "MACULA_IMAGES", "MACULA_KIND", "MACULA_NODE_IMAGE"];
    let without = home.run("config show -o json").exits(0).json();
    let with = done(home.program("config show -o json").envs(all.map(|name| (name, ""))), home.0.path());
    assert_eq!(without, with.exits(0).json());
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let home = Home::new();
    let expected = home.run("--file no.yaml config show").exits(3).err.clone();
    // no other platform is meant: nothing is looked at or taken down in its place
    for words in ["lease", "down --volumes --yes", "down --dry-run", "stop", "logs", "status", "exec web true"] {
        assert_eq!(home.run(&format!("--file no.yaml {words}")).exits(3).err, expected, "{words}");
    }
    home.write("macula.yaml", "name: shop\n");
    assert_eq!(home.run("--file no.yaml add valkey").exits(3).err, expected);
    let by_variable = done(home.program("add valkey").env("MACULA_FILE", "no.yaml"), home.0.path());
    assert_eq!(by_variable.exits(3).err, expected);
    assert_eq!(std::fs::read_to_string(home.project().join("macula.yaml")).unwrap(), "name: shop\n");
    let done = home.run("stack list --stack no-such-folder");
    assert!(done.exits(3).err.contains("there is no stack at ~/project/no-such-folder"), "{}", done.err);
}

#[test]
fn a_platform_that_is_not_there_has_no_lease() {
    let home = Home::new();
    for words in ["lease", "lease extend 1h", "lease cancel"] {
        let done = home.run(&format!("--name nono {words}"));
        assert!(done.exits(2).err.contains("there is no platform called nono"), "{words}: {}", done.err);
    }
}

#[test]
fn init_writes_a_file_that_loads() {
    let home = Home::new();
    let before = home.run("config show -o json").exits(0).json();
    assert_eq!(home.run("config init").exits(0).out, "wrote macula.yaml, and macula.schema.json for editors\n");
    let mut after = home.run("config show -o json").exits(0).json();
    assert!(after["file"].as_str().unwrap().ends_with("project/macula.yaml"));
    after["file"] = Value::Null;
    // everything in it is an example: nothing changes
    assert_eq!(after, before);
    let again = home.run("config init");
    assert!(again.exits(5).err.contains("macula.yaml exists"), "{}", again.err);
    assert!(again.err.contains("`--force` overwrites it"), "{}", again.err);
    home.run("config init --force").exits(0);
    home.run("config init elsewhere.yaml").exits(0);
    home.run("--file elsewhere.yaml config show").exits(0);
    // what is written is what the next command reads
    std::fs::create_dir(home.project().join("sub")).unwrap();
    let made = home.run("--file sub/macula.yaml init");
    assert!(made.exits(0).out.contains("`macula --file sub/macula.yaml up` starts the platform alone"), "{}", made.out);
    home.run("--file sub/macula.yaml config show").exits(0);
    home.run("--file sub/macula.yaml init").exits(5);
}

/// macula.yaml would be read in its place.
#[test]
fn init_leaves_a_macula_yml_in_force() {
    let home = Home::new();
    home.write("macula.yml", "name: shop\n");
    for words in ["init", "config init"] {
        let left = home.run(words);
        assert!(left.exits(5).err.contains("macula.yml exists"), "{}", left.err);
    }
    assert_eq!(home.run("config show -o json").exits(0).json()["name"], "shop");
    home.run("config init --force").exits(0);
    assert_eq!(home.run("config show -o json").exits(0).json()["name"], "macula");
}

#[test]
fn add_changes_the_file_that_a_link_leads_to() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.write("shared.yaml", "name: shop\n");
    let (link, file) = (home.project().join("macula.yaml"), home.project().join("shared.yaml"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("shared.yaml", &link).unwrap();
    home.run("add valkey").exits(0);
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap().contains("valkey"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// A pipe or a device stays what it is.
#[test]
fn a_report_is_written_to_a_file() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let home = Home::new();
    let [link, file, pipe] = ["latest.tar", "report-1.tar", "pipe"].map(|name| home.project().join(name));
    home.write("report-1.tar", "");
    std::os::unix::fs::symlink("report-1.tar", &link).unwrap();
    home.run("report --to latest.tar").exits(0);
    assert!(link.is_symlink());
    let written = file.metadata().unwrap();
    assert!(written.len() > 0);
    assert_eq!(written.permissions().mode() & 0o777, 0o600);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refused = home.run("report --to pipe");
    assert!(refused.exits(2).err.contains("pipe is not a regular file"), "{}", refused.err);
    assert!(pipe.metadata().unwrap().file_type().is_fifo());
}

/// The services of the file and the profiles that the command would have.
#[test]
fn a_shell_proposes_what_the_variables_choose() {
    let home = Home::new();
    home.write("other.yaml", "name: shop\nstacks: [shop.yaml]\n");
    home.write("shop.yaml", "services: {shopfront: {image: x}, shopdebug: {image: x, profiles: [dbg]}}\n");
    let proposed = |words: &str, variables: &[(&str, &str)]| {
        let mut program = home.program(&format!("-- macula {words}"));
        let last = words.split(' ').count().to_string();
        program.env("MACULA_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", last).envs(variables.iter().copied());
        done(&mut program, home.0.path()).exits(0).out.clone()
    };
    assert_eq!(proposed("logs shop", &[]), "");
    let file = ("MACULA_FILE", "other.yaml");
    assert_eq!(proposed("logs shop", &[file]).trim(), "shopfront");
    let both = proposed("logs shop", &[file, ("MACULA_PROFILES", "dbg")]);
    assert!(both.contains("shopfront") && both.contains("shopdebug"), "{both}");
    let both = proposed("up --profile dbg shop", &[file]);
    assert!(both.contains("shopfront") && both.contains("shopdebug"), "{both}");
}

#[test]
fn settings_come_from_the_file_and_the_command_line_goes_before() {
    let home = Home::new();
    home.write("macula.yaml", "name: shop\nimages: {policy: build}\n");
    let settings = home.run("config show -o json").exits(0).json();
    assert_eq!((&settings["name"], &settings["domain"]), (&"shop".into(), &"shop.macula.local".into()));
    assert_eq!(settings["images"]["policy"], "build");
    let other = home.run("--name pr-1 config show -o json").exits(0).json();
    assert_eq!((&other["name"], &other["domain"]), (&"pr-1".into(), &"pr-1.macula.local".into()));
    let by_variable = done(home.program("config show -o json").env("MACULA_NAME", "pr-2"), home.0.path());
    assert_eq!(by_variable.exits(0).json()["name"], "pr-2");
    // a pipe gives its text once, and the file is read more than once
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"name: shop\nimages: {policy: build}\n").unwrap();
    drop(writer);
    let piped = done(home.program("--file /dev/stdin config show -o json").stdin(reader), home.0.path());
    assert_eq!(piped.exits(0).json()["images"]["policy"], "build");
}

/// Also where its Compose file is named in `.env`, or lies further up.
#[test]
fn a_project_stays_in_its_platform_when_it_gets_a_macula_yaml() {
    for words in ["init", "config init"] {
        for (env, file, below) in [("COMPOSE_FILE=base.yml\n", "base.yml", "."), ("", "compose.yaml", "api")] {
            let home = Home::new();
            std::fs::create_dir(home.project().join(".git")).unwrap();
            std::fs::create_dir(home.project().join("api")).unwrap();
            home.write(".env", env);
            home.write(file, "services: {own: {image: o}}\n");
            let run = |words: &str| done(home.program(words).current_dir(home.project().join(below)), home.0.path());
            let before = run("stack list -o json").exits(0).json();
            assert!(before.to_string().contains("\"own\""), "{before}");
            run(words).exits(0);
            assert_eq!(run("stack list -o json").exits(0).json(), before, "{words} {file}");
        }
    }
}

#[test]
fn the_schema_names_every_key() {
    let home = Home::new();
    let schema = home.run("config schema").exits(0).json();
    for key in [
        "name",
        "domain",
        "profiles",
        "stacks",
        "services",
        "images",
        "ingress",
        "addresses",
        "dns",
        "cluster",
        "timeouts",
    ] {
        assert!(schema["properties"][key]["description"].is_string(), "{key}");
    }
}

#[test]
fn a_stack_is_printed_as_compose_prints_it() {
    let home = Home::new();
    home.write(
        "compose.yaml",
        "
name: shop
services:
  web:
    image: shop:${TAG:-1}
    ports: ['8080:80']
    environment: [COLOUR=blue]
    depends_on: [db]
  db: {image: db:1, x-macula: {probe: {tcp: 5432}}}
",
    );
    assert_snapshot!(home.run("stack config shop --stack compose.yaml").all(), @r#"
    name: shop
    services:
      db:
        image: db:1
        networks:
          default: null
        x-macula:
          probe:
            tcp: 5432
      web:
        depends_on:
          db:
            condition: service_started
            required: true
        environment:
          COLOUR: blue
        image: shop:1
        networks:
          default: null
        ports:
          - mode: ingress
            target: 80
            published: "8080"
            protocol: tcp
    networks:
      default:
        name: shop_default
    exit code 0
    "#);
    let list = home.run("stack list -o json --stack compose.yaml").exits(0).json();
    let shop = list.as_array().unwrap().iter().find(|stack| stack["name"] == "shop").unwrap();
    assert_eq!(shop["services"], serde_json::json!(["db", "web"]));
    let unknown = home.run("stack config shpo --stack compose.yaml");
    assert!(unknown.exits(2).err.contains("no stack is called shpo\n  hint: did you mean shop?"), "{}", unknown.err);
    let placed = home.run("stack render shop --target swarm --namespace away --stack compose.yaml");
    assert!(placed.exits(2).err.contains("`--namespace` is for Kubernetes"), "{}", placed.err);
    let unknown = home.run("stack render xyz --target swarm --stack compose.yaml");
    assert!(unknown.exits(2).err.contains("hint: there are shop, "), "{}", unknown.err);
    // a folder that is called like a stack of ours
    std::fs::create_dir(home.project().join("metrics")).unwrap();
    home.write("metrics/compose.yaml", "services: {a: {image: 'a:1'}}\n");
    let own = home.run("stack config metrics-2 -o json --stack metrics").exits(0).json();
    assert_eq!(own["services"]["a"]["image"], "a:1");
    let ours = home.run("stack config metrics --stack metrics");
    assert!(!ours.exits(0).out.contains("image: a:1") && ours.out.contains("prometheus"), "{}", ours.out);
}

/// Whoever applies the folder would apply what an earlier rendering left, too.
#[test]
fn a_folder_of_manifests_has_those_of_the_last_rendering_alone() {
    let home = Home::new();
    let stack = |services: &str| home.write("shop.yaml", &format!("name: shop\nservices: {{{services}}}\n"));
    let render = || home.run("stack render shop --stack shop.yaml --target kubernetes --dir out");
    let names = || {
        let files = std::fs::read_dir(home.project().join("out")).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    stack("a: {image: 'a:1', expose: [80]}, web: {image: 'web:1', expose: [80]}");
    let first = render();
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(names().len(), 5);
    home.write("out/007-deployment-mine.yaml", "kind: Deployment\nmetadata: {name: mine}\n");
    home.write("out/kustomization.yaml", "resources: []\n");
    stack("web: {image: 'web:2', expose: [80]}");
    let second = render();
    assert!(second.err.contains("3 files in out; 4 files of an earlier rendering removed"), "{}", second.err);
    let left = [
        "001-namespace-shop.yaml",
        "002-service-web.yaml",
        "003-deployment-web.yaml",
        "007-deployment-mine.yaml",
        "kustomization.yaml",
    ];
    assert_eq!(names(), left);
}

#[test]
fn the_checks_of_the_doctor_have_names() {
    let home = Home::new();
    let list = home.run("doctor --list");
    for check in ["engine-installed", "engine-running", "ports", "leftovers"] {
        assert!(list.exits(0).out.lines().any(|line| line.starts_with(check)), "{check}\n{}", list.out);
    }
    assert!(home.run("doctor no-such-check").exits(2).err.contains("macula doctor --list"));
    let findings = home.run("doctor docker-context -o json");
    assert_eq!(findings.exits(4).json()[0]["check"], "docker-context");
    assert_eq!(findings.json()[0]["status"], "failed");
}

#[test]
fn colour_is_for_those_who_ask() {
    let home = Home::new();
    assert!(!home.run("plan").err.contains('\x1b'));
    assert!(home.run("--color always plan").err.contains('\x1b'));
}

#[test]
fn every_shell_has_its_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.run(&format!("completions {shell}")).exits(0).out.contains("MACULA_COMPLETE"), "{shell}");
    }
    home.run("completions csh").exits(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let mut child = home.program("config schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

/// What is no JSON although `-o json` asks for it, and why.
const NO_JSON: [(&str, &str); 4] = [
    ("help", "pages for people"),
    ("completions", "a script for a shell"),
    ("man", "writes files and prints nothing"),
    ("mcp", "speaks a protocol of its own, each message of which is JSON"),
];

#[test]
fn a_schema_is_printed_by_itself() {
    let home = Home::new();
    let mut all = home.run("config schema --of version");
    assert_eq!(all.exits(0).json()["$defs"]["Version"]["required"], serde_json::json!(["version"]));
    all = done(home.program("config schema").args(["--of", "dns status"]), home.0.path());
    assert_eq!(all.exits(0).json()["title"], "macula dns status -o json");
    assert!(home.run("config schema --of statsu").exits(2).err.contains("did you mean `status`?"));
    home.run("config schema --compose --of status").exits(2);
}

/// `-o json` of every command: one value, whatever happens; an error has one shape and the exit code that it says.
#[test]
fn every_command_prints_json_that_parses() {
    let home = Home::new();
    let all = leaves();
    assert!(all.len() > 50, "only {} commands were found", all.len());
    let keys = ["causes", "details", "exit_code", "hints", "kind", "message", "places", "try"];
    let mut errors = 0;
    for (leaf, words) in &all {
        for words in [format!("-o json {words}"), format!("-o json {leaf} --no-such-option")] {
            // the rest of the line belongs to another program, and nothing is wrong with it
            if words.contains("no-such-option") && ["rm", "exec", "run", "ci"].contains(&leaf.as_str()) {
                continue;
            }
            let done = home.run(&words);
            if NO_JSON.iter().any(|(name, _)| name == leaf) && done.code == 0 {
                continue;
            }
            let value = done.json();
            let wrong = shapes::wrong_with(&words, &value);
            assert!(wrong.is_empty(), "{words}: docs/reference/json.md says something else: {wrong:#?}");
            match value.get("error") {
                Some(error) => {
                    let mut found: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
                    found.sort_unstable();
                    assert_eq!(found, keys, "{words}");
                    assert_eq!(error["exit_code"], done.code, "{words}");
                    errors += 1;
                }
                None => assert!(!words.contains("no-such-option"), "{words}: {}", done.out),
            }
        }
    }
    assert!(errors > 50, "only {errors} errors were seen");
    println!("{} commands, {errors} errors as JSON", all.len());
}

/// Where nobody reads what is wrong, the exit code says it still.
#[cfg(target_os = "linux")]
#[test]
fn a_message_that_nobody_gets_is_no_panic() {
    for words in
        ["frobnicate", "stack config --stack nothing", "--name bad_name status", "--file nothing.yaml config show"]
    {
        let usual = Home::new().run(words).code;
        assert!(![0, 101].contains(&usual), "{words}: {usual}");
        for how in ["2>/dev/full", "2>&-"] {
            let home = Home::new();
            let program = home.program(words);
            let mut shell = Command::new("/bin/sh");
            shell.env_clear().envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
            shell.current_dir(home.project()).stdin(Stdio::null());
            shell
                .args(["-c", &format!("exec \"$0\" \"$@\" {how}")])
                .arg(program.get_program())
                .args(program.get_args());
            assert_eq!(done(&mut shell, home.0.path()).code, usual, "{words} {how}");
        }
        let home = Home::new();
        let mut child = home.program(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(usual), "{words}");
    }
}

/// A full disk behind a redirection and a closed standard output lose a result: no command calls that success. For
/// people and for programs one fact has one exit code.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_nobody_gets_is_no_success() {
    let mut told = 0;
    for (leaf, words) in leaves() {
        let mut codes = Vec::new();
        for form in ["human", "json"] {
            let words = format!("-o {form} {words}");
            let usual = Home::new().run(&words);
            codes.push(usual.code);
            let full = Home::new();
            let mut program = full.program(&words);
            program.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
            let full = done(&mut program, full.0.path());
            let closed = Home::new();
            let mut shell = Command::new("/bin/sh");
            let program = closed.program(&words);
            shell.env_clear().envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
            shell.current_dir(closed.project()).stdin(Stdio::null());
            shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(program.get_program()).args(program.get_args());
            let closed = done(&mut shell, closed.0.path());
            for (what, found) in [("full", full), ("closed", closed)] {
                assert!(!found.err.contains("panicked"), "{words}, {what}: {}", found.err);
                if usual.code == 0 && !usual.out.is_empty() {
                    assert_eq!(found.code, 1, "{words}, {what}: {}", found.err);
                    assert!(found.err.contains("standard output"), "{words}, {what}: {}", found.err);
                    told += 1;
                }
                assert!(usual.code == 0 || found.code != 0, "{words}, {what}: {}", found.err);
            }
        }
        assert_eq!(codes[0], codes[1], "{leaf}");
        let home = Home::new();
        let mut program = home.program(&format!("{leaf} --help"));
        program.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let shown = done(&mut program, home.0.path());
        assert!(leaf == "rm" || shown.code == 1, "{leaf} --help: {}", shown.err);
    }
    assert!(told > 40, "only {told} results were seen");
    println!("{told} results that could not be written");
}
