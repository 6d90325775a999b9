use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Restart, WatchRule};

/// A program of this machine that belongs to the platform: `processes` of macula.yaml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    /// The program and its arguments. A line of the file is one for the shell.
    pub command: Vec<String>,
    /// Absolute.
    pub folder: PathBuf,
    /// Services and processes that are ready before it is started.
    pub needs: Vec<String>,
    /// Labels below the platform's domain.
    pub hosts: Vec<String>,
    /// None: any free one, if it listens at all.
    pub port: Option<u16>,
    pub probe: Option<ProcessProbe>,
    /// Null takes a variable away.
    pub environment: BTreeMap<String, Option<String>>,
    pub env_files: Vec<PathBuf>,
    /// It is started again when these files change.
    pub watch: Vec<WatchRule>,
    pub restart: Restart,
    pub stop_grace_period: Duration,
}

/// How it is told that a process is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessProbe {
    /// Answers with a status from 200 to 399; none: a connection is enough.
    pub path: Option<String>,
    /// None: [`super::Timeouts::healthy`].
    pub timeout: Option<Duration>,
}

impl Process {
    /// Until it is killed, unless the file says otherwise.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// It has a port, on which it is asked whether it is ready.
    pub fn listens(&self) -> bool {
        self.port.is_some() || !self.hosts.is_empty() || self.probe.is_some()
    }
}
