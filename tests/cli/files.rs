//! The files that commands read and write, and which of them counts.

use std::io::Write as _;

use super::*;

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
