//! The commands that need no engine, in a hermetic home: what is printed where, and the exit codes.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "../common/leaves.rs"]
mod leaves;
#[path = "../common/shapes.rs"]
mod shapes;

mod files;
mod output;
mod stacks;
mod usage;

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
