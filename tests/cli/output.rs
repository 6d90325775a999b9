//! What is printed: for shells, in color, as JSON, and where nobody reads it.

use super::*;

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
