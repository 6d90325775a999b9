//! What of the pages needs no engine, typed in a folder and a home of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::pages::blocks;
use crate::require::skipped;
use crate::typed::{TYPED, Way};

/// A stack that both schedulers take as it is.
const SHOP: &str = "\
services:
  web:
    image: registry.example/shop/web:1
    command: [serve]
    expose: ['8080']
    environment: {LEVEL: info}
    x-macula: {secrets: {KEY: {generate: 24}}}
";

/// One that loses something on Kubernetes, at the places that the page names.
const LOSES: &str = "\
services:
  web:
    image: registry.example/shop/web:1
    command: [serve]
    expose: ['8080']
    environment:
      LEVEL: info
    stop_grace_period: 10s
    init: true
    volumes:
      - target: /data
        type: bind
        source: ./data
";

pub struct Home(TempDir);

pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    /// With the files of a project.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let home = Self(TempDir::with_prefix("macula-pages-").unwrap());
        fs::create_dir_all(home.bin()).unwrap();
        fs::create_dir(home.project()).unwrap();
        symlink(env!("CARGO_BIN_EXE_macula"), home.bin().join("macula")).unwrap();
        // it takes what it is given
        let kubectl = home.bin().join("kubectl");
        fs::write(&kubectl, "#!/bin/sh\nexec cat\n").unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        for (file, text) in files {
            let path = home.project().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        home
    }

    fn bin(&self) -> PathBuf {
        self.0.path().join("bin")
    }

    pub fn project(&self) -> PathBuf {
        self.0.path().join("project")
    }

    /// As somebody types it who has no engine.
    pub fn types(&self, line: &str) -> Done {
        let home = self.0.path();
        let output = Command::new("bash")
            .args(["-c", line])
            .env_clear()
            .current_dir(self.project())
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin().display()))
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The same with words that are not read by a shell.
    pub fn run(&self, words: &str) -> Done {
        self.types(&format!("exec macula {words}"))
    }
}

impl Done {
    /// Everything that was said.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.all().contains(text), "it does not say `{text}`: {}", self.all());
        self
    }
}

/// Where there is no shell of the kind that the pages are for.
pub fn without_bash(test: &str) -> bool {
    let bash = Command::new("bash").arg("--version").stdout(Stdio::null()).status();
    let missing = !bash.is_ok_and(|status| status.success());
    if missing {
        skipped("bash", &format!("{test}: bash is not installed"));
    }
    missing
}

/// The project in whose folder the lines of a page are typed.
fn project(page: &str) -> Home {
    match page {
        "README.md" | "docs/targets.md" => {
            Home::with(&[("macula.yaml", "stacks: [shop]\n"), ("shop/compose.yaml", SHOP)])
        }
        "docs/mcp.md" => Home::with(&[(".cursor/rules", "")]),
        _ => Home::with(&[]),
    }
}

#[test]
fn lines_that_need_no_engine_do_what_the_page_says() {
    if without_bash("lines_that_need_no_engine_do_what_the_page_says") {
        return;
    }
    let mut count = 0;
    for (page, lines) in TYPED {
        let home = project(page);
        for (line, way) in *lines {
            let Way::Alone(code, says) = way else { continue };
            count += 1;
            let done = home.types(line);
            assert_eq!(done.code, *code, "{page}: {line}: {}", done.all());
            assert!(done.all().contains(says), "{page}: {line}: it does not say `{says}`: {}", done.all());
        }
        if *page == "docs/targets.md" {
            assert!(home.project().join("manifests").is_dir(), "{page}: nothing was written");
        }
        if *page == "docs/catalog.md" {
            assert_eq!(fs::read_to_string(home.project().join("macula.yaml")).unwrap(), "add: [valkey, nats]\n");
        }
    }
    println!("{count} lines were typed without an engine");
}

/// The block of a page that has this text.
#[track_caller]
fn shown(page: &str, with: &str) -> String {
    let found = blocks().into_iter().find(|block| block.page == page && block.text.contains(with));
    found.unwrap_or_else(|| panic!("{page} has no block with `{with}`")).text
}

#[test]
fn messages_are_shown_as_they_are() {
    if without_bash("messages_are_shown_as_they_are") {
        return;
    }
    let home = Home::with(&[("compose.yaml", "services:\n  web:\n    imgae: nginx\n")]);
    let said = home.run("plan").exits(3).err.clone();
    assert_eq!(said, shown("docs/stacks.md", "imgae"));

    let home = Home::with(&[("macula.yaml", "stacks: [shop]\n"), ("shop/compose.yaml", LOSES)]);
    let said = home.run("stack render shop --target kubernetes").exits(3).err.clone();
    // a line of progress begins with its time
    let plain: String =
        said.lines().map(|line| line.split_once("s] ").map_or(line, |(_, line)| line).to_owned() + "\n").collect();
    assert_eq!(plain, shown("docs/targets.md", "services.web.init"));
}
