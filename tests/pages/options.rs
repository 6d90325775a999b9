//! Options whose effect is seen without an engine.

use std::fs;

use crate::alone::{Home, without_bash};
use crate::leaves::leaves;

/// The commands that have this option, each with arguments that it takes.
fn with(option: &str) -> Vec<(String, String)> {
    let has = |leaf: &str| {
        let mut command = macula::cli::command();
        for word in leaf.split(' ') {
            command = command.find_subcommand(word).unwrap().clone();
        }
        command.get_arguments().any(|arg| arg.get_long() == Some(option))
    };
    let arguments =
        [("stack config", ""), ("stack render", " web --target swarm"), ("stack deploy", " web --target swarm")];
    let known = |leaf: &str| arguments.iter().find(|(name, _)| *name == leaf).map(|(_, more)| format!("{leaf}{more}"));
    let all = leaves().into_iter().filter(|(leaf, _)| has(leaf));
    all.map(|(leaf, words)| (leaf.clone(), known(&leaf).unwrap_or(words))).collect()
}

/// The command line with this option behind the command.
fn line(leaf: &str, words: &str, option: &str) -> String {
    format!("{leaf} {option} {}", words.strip_prefix(leaf).unwrap_or_default())
}

/// What each command that has the option says of it; of `report` what it writes.
fn said(option: &str, typed: &str, files: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = with(option);
    std::thread::scope(|scope| {
        let runs: Vec<_> = all
            .iter()
            .map(|(leaf, words)| {
                scope.spawn(move || {
                    let home = Home::with(files);
                    let mut said = home.run(&line(leaf, words, typed)).all();
                    // what is wrong is in the archive, which is no text but has it as it stands
                    if let Ok(archive) = fs::read(home.project().join("report.tar")) {
                        said.push_str(&String::from_utf8_lossy(&archive));
                    }
                    (leaf.clone(), said)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// The project's own file, with a mistake that is told wherever it is read.
const PROJECT: [(&str, &str); 1] = [("compose.yaml", "services: {web: {imge: x}}\n")];

#[test]
fn every_command_with_stacks_reads_them() {
    if without_bash("every_command_with_stacks_reads_them") {
        return;
    }
    let all = said("stack", "--stack nowhere.yaml", &PROJECT);
    assert!(all.len() > 25, "{}", all.len());
    let wrong: Vec<_> = all.iter().filter(|(_, said)| !said.contains("nowhere.yaml")).collect();
    assert!(wrong.is_empty(), "`--stack` does nothing: {wrong:#?}");
    let wrong: Vec<_> = all.iter().filter(|(_, said)| !said.contains("imge")).collect();
    assert!(wrong.is_empty(), "the project's file is not read: {wrong:#?}");
}

#[test]
fn every_command_with_profiles_knows_them() {
    if without_bash("every_command_with_profiles_knows_them") {
        return;
    }
    let all = said("profile", "--profile nosuch", &[]);
    assert!(all.len() > 25, "{}", all.len());
    let wrong: Vec<_> = all.iter().filter(|(_, said)| !said.contains("`nosuch`")).collect();
    assert!(wrong.is_empty(), "`--profile` does nothing: {wrong:#?}");
}

#[test]
fn every_command_that_may_leave_the_project_out_does() {
    if without_bash("every_command_that_may_leave_the_project_out_does") {
        return;
    }
    // that they read it otherwise is seen above
    let all = said("no-discover", "--no-discover --stack nowhere.yaml", &PROJECT);
    assert!(all.len() > 25, "{}", all.len());
    let wrong: Vec<_> =
        all.iter().filter(|(_, said)| said.contains("imge") || !said.contains("nowhere.yaml")).collect();
    assert!(wrong.is_empty(), "`--no-discover` does nothing: {wrong:#?}");
}

const SHOP: &str = "\
services:
  db:
    image: db:1
    command: [serve]
    expose: ['5432']
  web:
    image: shop/web:1
    build: .
    command: [serve]
    depends_on: {db: {condition: service_started}}
    environment: {LEVEL: info}
    volumes: ['./data:/data']
    x-macula: {secrets: {KEY: {generate: 24}}}
";

#[test]
fn stack_render_does_what_its_options_say() {
    if without_bash("stack_render_does_what_its_options_say") {
        return;
    }
    let home = Home::with(&[
        ("macula.yaml", "stacks: [shop]\n"),
        ("shop/compose.yaml", SHOP),
        ("shop/Dockerfile", "FROM scratch\n"),
    ]);
    let render = |more: &str| home.run(&format!("stack render shop {more}"));
    render("--target kubernetes").exits(3).says("volumes[0]");
    let plain = render("--target kubernetes --accept-losses");
    plain.exits(0).says("warning: shop/compose.yaml").says("kind: Deployment").says("namespace: shop\n");
    plain.says("(secret web.KEY)").says("registry.macula.local/shop/web:1");
    render("--target swarm --accept-losses").exits(0).says("Name: shop_web");

    let other = render("--target kubernetes --accept-losses --namespace other --registry hub.example");
    other.exits(0).says("namespace: other\n").says("hub.example/shop/web:1");
    assert!(!other.out.contains("namespace: shop\n"), "{}", other.out);
    let shown = render("--target kubernetes --accept-losses --show-secrets");
    assert!(!shown.exits(0).out.contains("(secret web.KEY)"), "{}", shown.out);
    render("--target kubernetes --accept-losses --wait-image hub.example/waits:1").exits(0).says("hub.example/waits:1");

    render("--target kubernetes --accept-losses --dir out/deep").exits(0).says("in out/deep");
    let written = fs::read_dir(home.project().join("out/deep")).unwrap().count();
    assert!(written >= 4, "{written}");
}

#[test]
fn every_command_about_a_swarm_asks_the_engine_of_its_context() {
    if without_bash("every_command_about_a_swarm_asks_the_engine_of_its_context") {
        return;
    }
    let home =
        Home::with(&[("macula.yaml", "stacks: [shop]\n"), ("shop/compose.yaml", "services: {web: {image: x}}\n")]);
    for words in ["deploy shop", "status shop", "validate shop", "scale shop web=2", "remove shop"] {
        let words = format!("stack {words} --target swarm");
        home.run(&words).exits(4).says("unix:///nowhere/engine.sock");
        home.run(&format!("{words} --context nosuch")).exits(4).says("the Docker context `nosuch` does not exist");
    }
}

#[test]
fn what_would_be_written_is_shown() {
    if without_bash("what_would_be_written_is_shown") {
        return;
    }
    let home = Home::with(&[("compose.yaml", "services: {web: {image: x}}\n")]);
    home.run("init --dry-run").exits(0).says("discover: true");
    assert!(!home.project().join("macula.yaml").exists());
    home.run("config schema --compose").exits(0).says("x-macula");
    let schema: serde_json::Value = serde_json::from_str(&home.run("config schema --compose").out).unwrap();
    assert!(schema["allOf"].is_array());

    // agreed to beforehand, the entry for an editor is written
    home.run("mcp --install=vscode --yes").exits(0);
    let entry = fs::read_to_string(home.project().join(".vscode/mcp.json")).unwrap();
    assert!(entry.contains("\"macula\""), "{entry}");
    fs::remove_file(home.project().join(".vscode/mcp.json")).unwrap();
    home.run("--file x.yaml mcp --install=vscode --yes").exits(0);
    let entry = fs::read_to_string(home.project().join(".vscode/mcp.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    assert_eq!(entry["servers"]["macula"]["args"], serde_json::json!(["--file", "x.yaml", "mcp"]));
    // a file that is left alone keeps nothing from the others
    fs::write(home.project().join(".vscode/mcp.json"), "{ // mine\n}\n").unwrap();
    fs::create_dir_all(home.project().join(".cursor")).unwrap();
    home.run("mcp --install --yes").exits(5);
    let entry = fs::read_to_string(home.project().join(".cursor/mcp.json")).unwrap();
    assert!(entry.contains("\"macula\""), "{entry}");

    let cache = home.project().join("../cache/macula");
    fs::create_dir_all(&cache).unwrap();
    home.run("uninstall --dry-run").says("cache/macula");
    assert!(cache.exists());
}
