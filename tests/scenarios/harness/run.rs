//! Runs of the program, with what they wrote.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use crate::shapes::wrong_with;

/// A run that has ended.
pub struct Done {
    pub command: String,
    /// 128 and the signal where one ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// On standard error.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "it does not say `{text}`:\n{self}");
        self
    }

    #[track_caller]
    pub fn does_not_say(&self, text: &str) -> &Self {
        assert!(!self.err.contains(text), "it says `{text}`:\n{self}");
        self
    }

    /// On standard output.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "it does not print `{text}`:\n{self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}):\n{self}"));
        let wrong = wrong_with(&self.command, &value);
        assert!(wrong.is_empty(), "docs/reference/json.md says something else: {wrong:#?}\n{self}");
        value
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, out, err } = self;
        write!(f, "$ {command}\n{out}--- standard error\n{err}--- exit code {code}")
    }
}

/// A run under way.
pub struct Running {
    command: String,
    child: Child,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let out = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let heard = said.clone();
        let err = std::thread::spawn(move || {
            for line in err.split(b'\n') {
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { command: format!("macula {}", words.join(" ")), child, out: Some(out), err: Some(err), said }
    }

    /// What is on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until standard error has this text; the run may end meanwhile.
    #[track_caller]
    pub fn until_says(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.said().contains(text) {
            let ended = self.child.try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_millis(10));
            let said = self.said();
            assert!(!ended || said.contains(text), "it ended and never said `{text}`:\n{said}");
            assert!(begun.elapsed() < PATIENCE, "it never said `{text}`:\n{said}");
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Done {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > 5 * PATIENCE {
                self.child.kill().unwrap();
                panic!("it hangs: {}\n{}", self.command, self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let out = self.out.take().unwrap().join().unwrap();
        self.err.take().unwrap().join().unwrap();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Done { command: self.command.clone(), code, out, err: self.said() }
    }
}

impl Drop for Running {
    /// A scenario that failed leaves no process behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs to the end without standard input.
#[track_caller]
pub fn finish(command: &mut Command) -> Done {
    Running::start(command.stdin(Stdio::null())).wait()
}
