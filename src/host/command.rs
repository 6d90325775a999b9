use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::AnyError;
use crate::words::shell_word;

/// A program to run. Its [`fmt::Display`] is a line that can be pasted into a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    pub program: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// More of its environment, which holds what nobody else may read: never shown. Not with `privileged`.
    pub settings: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    pub stdin: Option<Vec<u8>>,
    /// Needs root: run through `sudo -n` where we are not.
    pub privileged: bool,
    pub timeout: Option<Duration>,
    /// A status other than 0 is a result, not an error.
    pub may_fail: bool,
    /// Runs to its end whatever becomes of us, with its output appended to this file: half of an
    /// installation is worse than none.
    pub to_its_end: Option<PathBuf>,
    /// For [`super::Host::start_group`]: its output is the log itself, so that what it leaves running can write when we
    /// are gone.
    pub writes_itself: bool,
    /// What it may do as root, for [`super::Host::spawn_detached`].
    pub capabilities: Capabilities,
}

/// Which of root's powers a program is started with (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capabilities {
    #[default]
    All,
    /// Ports below 1024 and nothing else.
    BindOnly,
}

impl Command {
    pub fn new(program: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub fn privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    pub fn may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    pub fn to_its_end(mut self, log: impl Into<PathBuf>) -> Self {
        self.to_its_end = Some(log.into());
        self
    }

    /// What it leaves running goes on writing to its log.
    pub fn writes_itself(mut self) -> Self {
        self.writes_itself = true;
        self
    }

    /// With no more of root's powers than ports below 1024.
    pub fn bind_only(mut self) -> Self {
        self.capabilities = Capabilities::BindOnly;
        self
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Variables whose values are nobody's business: no message shows them.
    pub fn settings(mut self, settings: BTreeMap<String, String>) -> Self {
        self.settings = settings;
        self
    }

    /// Bytes for its standard input; without them that is empty.
    pub fn stdin(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(content.into());
        self
    }

    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cwd = Some(folder.into());
        self
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.privileged {
            f.write_str("sudo ")?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={} ", shell_word(value))?;
        }
        f.write_str(&shell_word(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", shell_word(arg))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// `None`: ended by a signal.
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Why a program did not do its work; each holds the command line as one could type it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    #[error("`{command}`: {program} is not installed")]
    Missing { command: String, program: String },
    #[error("`{command}` ended with {status}: {output}")]
    Failed { command: String, status: String, output: String },
    #[error("`{command}` took longer than {} s", after.as_secs())]
    Timeout { command: String, after: Duration },
    #[error("`{command}` needs root")]
    Privilege { command: String },
    #[error("`{command}`: {source}")]
    Io { command: String, source: AnyError },
}
