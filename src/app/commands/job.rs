//! `ci`: what several runs of it that share a platform leave behind.

use crate::app::state::Left;
use crate::app::{Error, Job, Session};
use crate::host::Held;
use crate::model::PlatformName;

use super::down::{DownOptions, take_away};
use super::run::Existing;

/// What became of the platform at the end of a job.
#[derive(Debug, PartialEq, Eq)]
pub enum JobEnd {
    Down {
        /// The data went, too.
        volumes: bool,
    },
    /// Another job, which takes it down.
    UsedBy(Held),
    /// It was up before.
    Stays,
    /// Nothing of it is on this engine, and nobody may take it down on another one.
    Nothing,
}

/// A job that is to clean up after itself: from now on no other one takes down what it uses.
pub async fn begin_job(session: &Session, name: &PlatformName) -> Result<Job, Error> {
    session.state(name).begin_job(session.host(), &session.command).await
}

/// Takes down what this job or one before it has started, unless another one uses it. `before`: what there was before
/// its `up`; `noted`: others know that.
pub async fn end_job(
    session: &Session,
    name: &PlatformName,
    job: Job,
    before: Option<Existing>,
    noted: bool,
) -> Result<JobEnd, Error> {
    let (host, state) = (session.host(), session.state(name));
    let started = before.filter(|before| !before.running);
    // whoever waits for the lock of another run keeps a runner from its end
    if started.is_none() && !state.is_used_by_job(host, &job).await? {
        state.withdraw_job(host, &job).await;
        // the last of the others may have left it everything meanwhile
        if !state.is_used_by_job(host, &job).await? {
            return Ok(JobEnd::Stays);
        }
    }
    let _lock = session.lock(name).await?;
    let data = match (state.leave_jobs(host, job).await?, started) {
        (Left::Unused { data }, _) => data,
        (Left::Used(held), _) => return Ok(JobEnd::UsedBy(held)),
        (Left::NotOurs, Some(started)) if !noted => started.data,
        (Left::NotOurs, _) => return Ok(JobEnd::Stays),
    };
    match Box::pin(take_away(session, name, DownOptions { volumes: !data, ..DownOptions::default() })).await {
        // the `up` has failed before it made anything here
        Err(Error::OnAnotherEngine { .. }) => Ok(JobEnd::Nothing),
        taken => taken.map(|_| JobEnd::Down { volumes: !data }),
    }
}
