//! `x-macula.tasks`: what an application has done before it runs, such as a migration of its database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// As a service's file has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub run: Vec<String>,
    /// Another image than the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What is ready before it begins; none: what the service itself waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Who waits for its end; none: its service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<String>>,
    /// Files and folders that it works on: as the file names them, and where they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, PathBuf>,
    pub timeout: Duration,
}

impl Task {
    /// Unless the file says otherwise: migrations of much data take their time.
    pub const TIMEOUT: Duration = Duration::from_secs(600);
}

/// Which task a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskJob {
    /// Its name in the file.
    pub name: String,
    /// The service that it belongs to, as the file calls it.
    pub service: String,
    pub changed: BTreeMap<String, PathBuf>,
    pub timeout: Duration,
    /// The digest of each of them, where somebody looked.
    pub contents: BTreeMap<String, String>,
    /// With arguments of the user's own: how it ends says nothing of the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub otherwise: bool,
}

/// A task that runs on this machine: `tasks` of macula.yaml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTask {
    pub name: String,
    /// The program and its arguments. A line of the file is one for the shell.
    pub command: Vec<String>,
    /// Absolute.
    pub folder: PathBuf,
    /// Services that are ready, and other tasks of this machine that are done, before it begins; none: see
    /// [`super::Platform::awaited`].
    pub after: Option<Vec<String>>,
    /// Services that start only when it is done.
    pub before: Vec<String>,
    /// As in [`Task::changed`].
    pub changed: BTreeMap<String, PathBuf>,
    /// As in [`TaskJob::contents`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<String, String>,
    /// Null takes a variable away.
    pub environment: BTreeMap<String, Option<String>>,
    pub env_files: Vec<PathBuf>,
    pub timeout: Duration,
    /// As in [`TaskJob::otherwise`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub otherwise: bool,
}

impl MachineTask {
    /// The services whose settings it gets; none: those of all.
    pub fn settings_of(&self) -> Vec<String> {
        self.after.iter().flatten().chain(&self.before).cloned().collect()
    }
}

/// What decides whether a task has to run: a digest of each thing, by what a plan calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskInputs(pub BTreeMap<String, String>);

impl TaskInputs {
    pub const COMMAND: &'static str = "its command";
    pub const IMAGE: &'static str = "its image";

    /// `command`, `image`: digests of what is run, as far as it counts.
    pub fn new(job: &TaskJob, command: String, image: String) -> Self {
        let mut all = job.contents.clone();
        all.insert(Self::COMMAND.to_owned(), command);
        all.insert(Self::IMAGE.to_owned(), image);
        Self(all)
    }

    /// Of a task of this machine.
    pub fn of_machine(task: &MachineTask, command: String) -> Self {
        let mut all = task.contents.clone();
        all.insert(Self::COMMAND.to_owned(), command);
        Self(all)
    }

    /// What a label of a container says.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is not as it was then, files first. What nobody has looked at now is taken for the same.
    pub fn since(&self, then: &Self) -> Vec<String> {
        let other = |(name, digest): &(&String, &String)| then.0.get(*name) != Some(*digest);
        let mut all: Vec<String> = self.0.iter().filter(other).map(|(name, _)| name.clone()).collect();
        all.sort_by_key(|name| [Self::COMMAND, Self::IMAGE].contains(&name.as_str()));
        all
    }
}

/// The last good run of a task; of one of this machine also one that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRun {
    pub format: u64,
    pub inputs: TaskInputs,
    /// Seconds since the epoch, by the engine's clock.
    pub finished: i64,
    /// With which exit code it failed. Such a note has format 2: whoever does not know it must not take it for a good run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
}

impl TaskRun {
    pub const FORMAT: u64 = 2;

    pub fn new(inputs: TaskInputs, finished: i64) -> Self {
        Self { format: 1, inputs, finished, failed: None }
    }

    pub fn failed(inputs: TaskInputs, finished: i64, code: i64) -> Self {
        Self { format: Self::FORMAT, inputs, finished, failed: Some(code) }
    }

    /// Of a platform in the user's data folder. One that cannot be understood is none: the task runs again.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|run| run.format <= Self::FORMAT)
    }

    /// Where those of a platform are kept.
    pub fn folder(platform: &Path) -> PathBuf {
        platform.join("tasks")
    }

    pub fn file(platform: &Path, service: &str) -> PathBuf {
        Self::folder(platform).join(format!("{service}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_is_named_files_first() {
        let job = |digest: &str| TaskJob {
            contents: BTreeMap::from([("./migrations".to_owned(), digest.to_owned())]),
            ..TaskJob::default()
        };
        let then = TaskInputs::new(&job("1"), "migrate".into(), "shop:1".into());
        assert_eq!(TaskInputs::new(&job("1"), "migrate".into(), "shop:1".into()).since(&then), [""; 0]);
        assert_eq!(TaskInputs::new(&job("2"), "migrate".into(), "shop:1".into()).since(&then), ["./migrations"]);
        let all = TaskInputs::new(&job("2"), "up".into(), "shop:2".into()).since(&then);
        assert_eq!(all, ["./migrations", "its command", "its image"]);
        // a command that has not read the files
        let blind = TaskInputs::new(&TaskJob::default(), "migrate".into(), "shop:1".into());
        assert_eq!(blind.since(&then), [""; 0]);
        assert_eq!(TaskInputs::parse(&then.text()), Some(then));
    }

    #[test]
    fn a_record_of_a_later_format_is_none() {
        let run = TaskRun::new(TaskInputs::default(), 7);
        assert_eq!(TaskRun::parse(&serde_json::to_vec(&run).unwrap()), Some(run));
        let failed = TaskRun::failed(TaskInputs::default(), 7, 3);
        assert_eq!((failed.format, TaskRun::parse(&serde_json::to_vec(&failed).unwrap())), (2, Some(failed)));
        assert_eq!(TaskRun::parse(br#"{"format": 9, "inputs": {}, "finished": 7}"#), None);
        assert_eq!(TaskRun::parse(b"{"), None);
    }
}
