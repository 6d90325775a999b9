//! Which runs of `macula ci` use a platform, and which of them have to take it down: the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::app::error::Error;
use crate::host::{Held, Host, Lock};

use super::State;
use super::files::{FORMAT, read, write};

#[derive(Debug, Default, Serialize, Deserialize)]
struct JobsFile {
    format: u64,
    /// There was data before the first of them.
    data: bool,
    /// Those that use what one of them has started.
    jobs: BTreeSet<String>,
}

/// A run of `macula ci`, which has its lock for as long as it lasts.
#[derive(Debug)]
pub struct Job {
    id: String,
    _lock: Lock,
}

impl Job {
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What a job leaves when it ends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::app) enum Left {
    /// What jobs have started, and none uses any more.
    Unused { data: bool },
    /// Another one uses it.
    Used(Held),
    /// No job has started it.
    NotOurs,
}

impl State {
    fn jobs_file(&self) -> PathBuf {
        self.folder.join("jobs.json")
    }

    fn jobs_folder(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    fn job_lock(&self, id: &str) -> PathBuf {
        self.jobs_folder().join(format!("{id}.lock"))
    }

    /// From now on others know of it.
    pub(in crate::app) async fn begin_job(&self, host: &dyn Host, command: &str) -> Result<Job, Error> {
        let mut number = 0_u32;
        loop {
            let id = format!("{}-{number}", host.now());
            let path = self.job_lock(&id);
            let taken = host.try_lock(&path, command).map_err(|source| Error::Io { path, source })?;
            if let Ok(lock) = taken {
                // only now: one whose lock is free has ended
                let path = self.jobs_folder().join(&id);
                host.write(&path, b"", 0o600).await.map_err(|source| Error::Io { path, source })?;
                return Ok(Job { id, _lock: lock });
            }
            number += 1;
        }
    }

    /// Those that run, without this one.
    async fn other_jobs(&self, host: &dyn Host, mine: &str) -> Result<BTreeMap<String, Held>, Error> {
        let folder = self.jobs_folder();
        let mut all = BTreeMap::new();
        for id in host.list(&folder).await.unwrap_or_default() {
            if id == mine || id.ends_with(".lock") {
                continue;
            }
            let path = self.job_lock(&id);
            match host.try_lock(&path, "macula ci").map_err(|source| Error::Io { path, source })? {
                Err(held) => {
                    all.insert(id, held);
                }
                // it was killed
                Ok(_lock) => self.forget_job(host, &id).await,
            }
        }
        Ok(all)
    }

    /// Nothing is left that a job could have started.
    pub(super) async fn forget_jobs(&self, host: &dyn Host) -> Result<(), Error> {
        self.keep_from_jobs(host).await?;
        // what was killed has left its files; the next one finds them, too
        let _ = self.other_jobs(host, "").await;
        Ok(())
    }

    async fn forget_job(&self, host: &dyn Host, id: &str) {
        // what stays is found by the next one
        let _ = host.remove(&self.jobs_folder().join(id)).await;
        let _ = host.remove(&self.job_lock(id)).await;
    }

    /// Under the platform's lock, before anything is started: whether there was data before the first of the jobs that
    /// have started what runs, or are about to. None: somebody else has started it.
    pub(in crate::app) async fn join_jobs(
        &self,
        host: &dyn Host,
        mine: &str,
        runs: bool,
        data: bool,
    ) -> Result<Option<bool>, Error> {
        let others = self.other_jobs(host, mine).await?;
        let known = match read::<JobsFile>(host, &self.jobs_file()).await {
            // it is written anew
            Err(Error::BadState { .. }) if !runs => None,
            known => known?,
        };
        let lasts = |known: &JobsFile| known.jobs.iter().any(|id| id == mine || others.contains_key(id));
        // where nothing runs, the `up` of one that still lasts may have failed: the data is that one's
        let first = || (!runs).then(|| JobsFile { format: FORMAT, data, jobs: BTreeSet::new() });
        let Some(mut known) = known.filter(lasts).or_else(first) else {
            self.keep_from_jobs(host).await?;
            return Ok(None);
        };
        known.jobs.insert(mine.to_owned());
        write(host, &self.jobs_file(), &known).await?;
        Ok(Some(known.data))
    }

    /// Whatever runs stays when jobs end.
    pub(in crate::app) async fn keep_from_jobs(&self, host: &dyn Host) -> Result<(), Error> {
        let path = self.jobs_file();
        host.remove(&path).await.map_err(|source| Error::Io { path, source })
    }

    /// Whether it may have to take the platform down.
    pub(in crate::app) async fn is_used_by_job(&self, host: &dyn Host, job: &Job) -> Result<bool, Error> {
        Ok(read::<JobsFile>(host, &self.jobs_file()).await?.is_some_and(|known| known.jobs.contains(&job.id)))
    }

    /// From now on no other one leaves it anything; it may have been left something before that.
    pub(in crate::app) async fn withdraw_job(&self, host: &dyn Host, job: &Job) {
        self.forget_job(host, &job.id).await;
    }

    /// It ends; under the platform's lock, where it is used by it. Whoever still runs has to take down what it leaves.
    pub(in crate::app) async fn leave_jobs(&self, host: &dyn Host, job: Job) -> Result<Left, Error> {
        let known = read::<JobsFile>(host, &self.jobs_file()).await?;
        let left = match known.filter(|known| known.jobs.contains(&job.id)) {
            None => Left::NotOurs,
            Some(known) => {
                let mut others = self.other_jobs(host, &job.id).await?;
                if !others.is_empty() {
                    let jobs = others.keys().cloned().collect();
                    write(host, &self.jobs_file(), &JobsFile { jobs, ..known }).await?;
                    // one that has withdrawn before that does not know that it is counted on
                    others = self.other_jobs(host, &job.id).await?;
                }
                match others.into_values().next() {
                    Some(held) => Left::Used(held),
                    None => {
                        self.keep_from_jobs(host).await?;
                        Left::Unused { data: known.data }
                    }
                }
            }
        };
        self.forget_job(host, &job.id).await;
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::PlatformName;

    #[tokio::test]
    async fn the_last_job_takes_down_what_the_first_has_started() {
        let host = FakeHost::new();
        let state = State::new(Path::new("/data"), &PlatformName::default());
        let begin = async || state.begin_job(&host, "macula ci").await.unwrap();
        let join = async |job: &Job, runs: bool, data: bool| state.join_jobs(&host, &job.id, runs, data).await.unwrap();
        let leave = async |job: Job| state.leave_jobs(&host, job).await.unwrap();

        let (first, second) = (begin().await, begin().await);
        assert_eq!(join(&first, false, false).await, Some(false));
        assert_eq!(join(&second, true, true).await, Some(false), "the data is the first one's");
        // it waits for the platform while the others end
        let third = begin().await;
        assert!(matches!(leave(first).await, Left::Used(_)) && matches!(leave(second).await, Left::Used(_)));
        assert!(state.is_used_by_job(&host, &third).await.unwrap());
        assert_eq!(join(&third, true, true).await, Some(false));
        assert_eq!(leave(third).await, Left::Unused { data: false });
        assert!(host.paths().is_empty(), "{:?}", host.paths());

        // the first one has made data and nothing that runs
        let (first, second) = (begin().await, begin().await);
        assert_eq!(join(&first, false, false).await, Some(false));
        assert_eq!(join(&second, false, true).await, Some(false));
        assert!(matches!(leave(first).await, Left::Used(_)));
        assert_eq!(leave(second).await, Left::Unused { data: false });

        // it ends without having come to its plan, while the first one leaves it everything
        let (first, second) = (begin().await, begin().await);
        assert_eq!(join(&first, false, false).await, Some(false));
        assert!(!state.is_used_by_job(&host, &second).await.unwrap());
        assert!(matches!(leave(first).await, Left::Used(_)));
        state.withdraw_job(&host, &second).await;
        assert!(state.is_used_by_job(&host, &second).await.unwrap());
        assert_eq!(leave(second).await, Left::Unused { data: false });
        // or before the first one ends
        let (first, second) = (begin().await, begin().await);
        assert_eq!(join(&first, false, false).await, Some(false));
        state.withdraw_job(&host, &second).await;
        assert!(!state.is_used_by_job(&host, &second).await.unwrap());
        assert_eq!(leave(first).await, Left::Unused { data: false });
        drop(second);

        // what somebody else has started, or one that was killed, stays
        let first = begin().await;
        assert_eq!(join(&first, true, true).await, None);
        assert_eq!(leave(first).await, Left::NotOurs);
        let killed = begin().await;
        assert_eq!(join(&killed, false, true).await, Some(true));
        drop(killed);
        let host = host.clone().at(host.now() + 1);
        let next = state.begin_job(&host, "macula ci").await.unwrap();
        assert_eq!(state.join_jobs(&host, &next.id, true, true).await.unwrap(), None);
        assert_eq!(state.leave_jobs(&host, next).await.unwrap(), Left::NotOurs);
        assert!(host.paths().is_empty(), "{:?}", host.paths());
    }
}
