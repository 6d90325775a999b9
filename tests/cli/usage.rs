//! What is typed: help, mistakes, names.

use super::*;

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
fn a_platform_that_is_not_there_has_no_lease() {
    let home = Home::new();
    for words in ["lease", "lease extend 1h", "lease cancel"] {
        let done = home.run(&format!("--name nono {words}"));
        assert!(done.exits(2).err.contains("there is no platform called nono"), "{words}: {}", done.err);
    }
}
