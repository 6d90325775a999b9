//! A program of tests, started so that a mutant ends with it: in time, with all that it has started.

use crate::files::Folder;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub struct Program {
    pub name: String,
    path: PathBuf,
    folder: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    /// With the names of the tests that did.
    Failed(Vec<String>),
    TimedOut,
    /// The program ended otherwise: a panic outside of a test, a signal.
    Broke(String),
}

pub struct Ran {
    pub end: End,
    /// How many tests passed, if the program came to say so.
    pub passed: Option<usize>,
    pub seconds: f64,
    /// Its last lines.
    pub tail: String,
}

/// What of the environment is given on; the rest is what cargo and insta would set.
const KEPT: &[&str] = &["PATH", "LANG", "USER", "TERM", "CARGO", "CARGO_HOME", "RUSTUP_HOME"];
const LINES: usize = 60;

impl Program {
    pub fn read(value: &Value) -> Result<Program> {
        let text = |key: &str| value[key].as_str().with_context(|| format!("a program of tests has no {key}"));
        Ok(Program { name: text("name")?.to_owned(), path: text("path")?.into(), folder: text("folder")?.into() })
    }

    pub fn tests(&self, folder: &Folder) -> Result<Vec<String>> {
        let mut command = Command::new(&self.path);
        self.surroundings(&mut command, folder, &folder.temporary);
        let output = command.args(["--list", "--format", "terse"]).output().context("could not list the tests")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs with these arguments and variables. With `first` it is ended at the first test that fails.
    pub fn run(
        &self,
        folder: &Folder,
        arguments: &[&str],
        variables: &[(&str, &str)],
        limit: Duration,
        first: bool,
    ) -> Result<Ran> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let own = folder.temporary.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
        let home = own.join("home");
        std::fs::create_dir_all(&home)?;
        let mut command = Command::new("sh");
        // a session of its own, since a test that asks a terminal would be stopped in the background of this one
        command.args([
            "-c",
            "ulimit -c 0; ulimit -t 1800; ulimit -v 12582912; command -v setsid >/dev/null && exec setsid \"$@\"; exec \"$@\"",
        ]);
        command.arg("sh").arg(&self.path).args(arguments);
        self.surroundings(&mut command, folder, &home);
        command.env("TMPDIR", &own).envs(variables.iter().copied());
        let ran = watched(command, limit, first);
        // what a mutant locked or mounted there stays
        let _ = std::fs::remove_dir_all(&own);
        ran
    }

    fn surroundings(&self, command: &mut Command, folder: &Folder, home: &Path) {
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.env_clear().envs(kept).current_dir(&self.folder).stdin(Stdio::null());
        command.env("HOME", home).env("CARGO_MANIFEST_DIR", &self.folder).env("RUST_BACKTRACE", "0");
        command.env("INSTA_WORKSPACE_ROOT", folder.tree()).env("INSTA_UPDATE", "no").env("INSTA_FORCE_PASS", "0");
    }
}

fn watched(mut command: Command, limit: Duration, first: bool) -> Result<Ran> {
    let begin = Instant::now();
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    if !session() {
        command.process_group(0);
    }
    let mut child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
    // it holds the other end of the pipe
    drop(command);
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let (mut failed, mut passed, mut tail, mut late) = (Vec::new(), None, Vec::new(), false);
    loop {
        let left = limit.saturating_sub(begin.elapsed());
        match lines.recv_timeout(left.min(Duration::from_millis(500))) {
            Ok(line) => {
                let test = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
                failed.extend(test.map(|test| test.trim_end_matches(" - should panic").to_owned()));
                passed = passed.or_else(|| count(&line));
                tail.push(line);
                if tail.len() > LINES {
                    tail.remove(0);
                }
                if first && !failed.is_empty() {
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // something that it has started may hold the pipe
            Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                late = true;
                break;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    // the pipe may be closed before the program has ended
    while !late && failed.is_empty() && child.try_wait()?.is_none() {
        late = begin.elapsed() >= limit;
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = end(&mut child)?;
    let end = match () {
        () if !failed.is_empty() => End::Failed(failed),
        () if late => End::TimedOut,
        () if status.success() => End::Passed,
        () => End::Broke(status.to_string()),
    };
    Ok(Ran { end, passed, seconds: begin.elapsed().as_secs_f64(), tail: tail.join("\n") })
}

/// Whether `setsid` is there, which makes the group as well.
fn session() -> bool {
    static THERE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *THERE.get_or_init(|| Command::new("setsid").arg("true").status().is_ok_and(|status| status.success()))
}

/// The program and the group that it leads.
fn end(child: &mut Child) -> Result<std::process::ExitStatus> {
    let ended = child.try_wait()?;
    // the shell's own, since not every system has the program
    let group = format!("kill -KILL -{}", child.id());
    let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
    match ended {
        Some(status) => Ok(status),
        None => {
            let _ = child.kill();
            Ok(child.wait()?)
        }
    }
}

/// `test result: ok. 12 passed; ...`
fn count(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ")?.split_once(". ")?.1.split(' ').next()?.parse().ok()
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let sh = |text: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", text]).stdin(Stdio::null());
        command.process_group(0);
        watched(command, Duration::from_millis(700), true).unwrap()
    };
    assert_eq!(sh("sleep 60").end, End::TimedOut);
    assert_eq!(sh("exec >&- 2>&-; sleep 60").end, End::TimedOut);
    assert_eq!(sh("sleep 60 & exit 0").end, End::Passed);
    assert_eq!(sh("echo 'test a::b ... FAILED'; sleep 60").end, End::Failed(vec!["a::b".into()]));
    assert_eq!(sh("exit 3").end, End::Broke("exit status: 3".into()));
    assert_eq!(sh("echo 'test result: ok. 12 passed; 0 failed'").passed, Some(12));
}
