//! Files that are wrong, of another time, or cannot be written. Bad input changes nothing.

use std::path::Path;
use std::process::Command;

use crate::harness::{Platform, is_root, skipped};

const DB: &str = "
services:
  db:
    <<: *base
    command: [sleep, infinity]
    volumes: ['rows:/data']
    x-macula: {secrets: {PASSWORD: {generate: 20}}}
volumes: {rows: }
";

#[test]
fn ten_errors_are_shown_at_once() {
    let Some(platform) = Platform::new("ten_errors") else { return };
    platform.stack(DB);
    platform.run("up").ok();
    let before = platform.containers();
    platform.write(
        "macula.yaml",
        "\
stack: [compose.yaml]
domain: my domain
images: {policy: sometimes}
timeouts: {healthy: soon}
ingress: {http: 99999}
addresses: {subnet: 10.0.0.1/24}
",
    );
    platform.write(
        "compose.yaml",
        "\
services:
  web:
    image: x
    comand: [run]
    ports: ['80:eighty']
    depends_on: [dbb]
    x-macula: {probe: {http: {path: /}}, reload: {signal: SIGSTOP}}
  db:
    image: y
    restart: sometimes
",
    );
    let done = platform.run("up --stack compose.yaml");
    done.exits(3);
    let at = |place: &str, what: &str| {
        // the place, what is wrong, the line with a mark below it, and what would be right
        let lines: Vec<&str> = done.err.lines().collect();
        let found = lines.windows(4).any(|part| part[0].contains(place) && part.concat().contains(what));
        assert!(found, "{place}: {what}\n{done}");
    };
    at("macula.yaml:1:1", "did you mean `stacks`?");
    at("macula.yaml:2:9", "domain");
    at("macula.yaml:3:18", "sometimes");
    at("macula.yaml:4:21", "soon");
    at("macula.yaml:5:17", "99999");
    at("macula.yaml:6:21", "10.0.0.0/24");
    at("compose.yaml:4:5", "did you mean `command`?");
    at("compose.yaml:5:13", "eighty");
    at("compose.yaml:6:18", "did you mean `db`?");
    at("compose.yaml:7:", "port");
    at("compose.yaml:7:", "SIGSTOP");
    at("compose.yaml:10:14", "sometimes");
    assert_eq!(platform.containers(), before);
}

#[test]
fn a_circle_is_named_service_by_service() {
    let Some(platform) = Platform::new("cycle") else { return };
    platform.stack(
        "
services:
  a: {<<: *base, depends_on: [b]}
  b: {<<: *base, depends_on: [c]}
  c: {<<: *base, depends_on: [a]}
",
    );
    let done = platform.run("up");
    done.exits(3).says("compose.yaml:").says("a").says("b").says("c");
    assert!(done.err.contains("circle") || done.err.contains("cycle"), "{done}");
    assert_eq!(platform.everything(), [""; 0]);
}

#[test]
fn state_of_a_newer_version_is_not_guessed_at() {
    let Some(platform) = Platform::new("newer_state") else { return };
    platform.stack(DB);
    platform.run("up").ok();
    let before = platform.containers();
    for file in ["platform.json", "secrets/secrets.json"] {
        let path = platform.data().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let newer = text.replacen("\"format\": 1", "\"format\": 999", 1);
        assert_ne!(newer, text);
        std::fs::write(&path, &newer).unwrap();
        let told = "was written by a newer macula (format 999";
        for words in ["up", "plan"] {
            platform.run(words).exits(3).says(told).says(file);
        }
        let status = platform.run("status");
        match file {
            // how the services are is told without the passwords
            "secrets/secrets.json" => status.ok().prints("was written by a newer macula").prints(file),
            _ => status.exits(3).says(told).says(file),
        };
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);

        std::fs::write(&path, text.split_at(text.len() / 2).0).unwrap();
        platform.run("up").exits(3).says(file).says("cannot be read");
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(platform.containers(), before);
    platform.run("up").ok().says("nothing to do");
}

#[test]
fn passwords_that_are_lost_are_not_made_anew_over_data() {
    let Some(platform) = Platform::new("lost_secrets") else { return };
    platform.stack(DB);
    platform.run("up").ok();
    let before = platform.containers();
    std::fs::remove_file(platform.data().join("secrets/secrets.json")).unwrap();
    platform.run("up").exits(5).says("the passwords that it was made with are gone").says("down --volumes");
    assert_eq!(platform.containers(), before);
    platform.run("down --volumes --yes").ok();
    platform.run("up").ok();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let Some(platform) = Platform::new("no_folder") else { return };
    platform.stack(DB);
    // a file where the folder should be: not even root gets past it
    let file = platform.home().join("file");
    std::fs::write(&file, "").unwrap();
    platform.set("XDG_DATA_HOME", file.join("data").to_str().unwrap());
    let done = platform.run("up");
    assert_ne!(done.code, 0);
    done.says(file.to_str().unwrap()).does_not_say("panicked");
    assert_eq!(platform.everything(), [""; 0]);
}

/// A small file system of its own, gone with this.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(path))
    }

    fn with(&self, options: &str) {
        let remount = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &remount]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_home_that_is_read_only_is_said_so() {
    let Some(platform) = Platform::new("read_only") else { return };
    if !is_root() {
        return skipped("read_only", "mounts", "only root can mount a file system");
    }
    let data = platform.home().join("data");
    let Some(mount) = Mount::new(&data, "size=1m,ro") else {
        return skipped("read_only", "mounts", "no file system can be mounted here");
    };
    platform.stack(DB);
    let done = platform.run("up");
    assert_ne!(done.code, 0);
    done.says(data.to_str().unwrap()).says("ead-only file system").says("XDG_DATA_HOME");
    assert_eq!(platform.everything(), [""; 0]);
    // looking needs no file
    platform.run("plan --exit-code").exits(10);
    mount.with("rw");
    platform.run("up").ok();
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(platform) = Platform::new("full_disk") else { return };
    if !is_root() {
        return skipped("full_disk", "mounts", "only root can mount a file system");
    }
    let data = platform.home().join("data");
    let Some(_mount) = Mount::new(&data, "size=64k") else {
        return skipped("full_disk", "mounts", "no file system can be mounted here");
    };
    let fill = || {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(data.join("ballast")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    };
    let free = || std::fs::remove_file(data.join("ballast")).unwrap();
    platform.stack(DB);

    // before anything is there
    fill();
    let done = platform.run("up");
    assert_ne!(done.code, 0);
    done.says("o space left on device").says("free some space").does_not_say("panicked");
    assert_eq!(platform.everything(), [""; 0]);
    free();
    platform.run("up").ok();
    platform.shell("db", "echo \"$PASSWORD\" > /data/rows");
    let password = platform.shell("db", "cat /data/rows");

    // with a password more to keep
    platform.stack(&DB.replace("20}}", "20}, SECOND: {generate: 900}}"));
    fill();
    let secrets = std::fs::read(platform.data().join("secrets/secrets.json")).unwrap();
    let before = platform.containers();
    let done = platform.run("up");
    assert_ne!(done.code, 0);
    done.says("o space left on device");
    assert_eq!(platform.containers(), before);
    assert_eq!(std::fs::read(platform.data().join("secrets/secrets.json")).unwrap(), secrets);
    // what needs no new file works on a full disk
    platform.run("down").ok();
    free();
    platform.run("up").ok();
    assert_eq!(platform.shell("db", "cat /data/rows; echo \"$PASSWORD\""), format!("{password}\n{password}"));
    assert_eq!(platform.shell("db", "echo ${#SECOND}"), "900");
}
