//! The last runs of a platform, in a file of its folder: the page shows them as a waterfall.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::otlp::Run;
use crate::app::Session;
use crate::app::state::{read, write};
use crate::apply::critical_path;
use crate::model::PlatformName;

/// Raised when an older macula could no longer make sense of the file.
const FORMAT: u64 = 1;
/// Runs that are kept.
const MOST: usize = 10;

#[derive(Debug, Default, Serialize, Deserialize)]
struct RunsFile {
    format: u64,
    /// The latest first.
    runs: Vec<KeptRun>,
}

/// One run, times in milliseconds since its beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptRun {
    command: String,
    version: String,
    /// Seconds since the epoch.
    began: u64,
    took_ms: u64,
    error: Option<String>,
    left_out: Vec<String>,
    spans: Vec<KeptSpan>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptSpan {
    /// Whose step it is; empty: a part of the run that is no step.
    group: String,
    name: String,
    cause: String,
    start_ms: u64,
    took_ms: u64,
    /// One of those that decided how long the run took.
    critical: bool,
    error: Option<String>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl KeptRun {
    fn of(run: &Run) -> Self {
        let critical = critical_path(&run.steps);
        let phases = run.phases.iter().map(|(name, start, took)| KeptSpan {
            group: String::new(),
            name: (*name).to_owned(),
            cause: String::new(),
            start_ms: millis(*start),
            took_ms: millis(*took),
            critical: false,
            error: None,
        });
        let steps = run.steps.iter().enumerate().map(|(at, step)| KeptSpan {
            group: step.group.clone(),
            name: step.step.clone(),
            cause: step.cause.to_string(),
            start_ms: millis(run.steps_began.saturating_add(step.start)),
            took_ms: millis(step.duration),
            critical: critical.contains(&at),
            error: step.error.clone(),
        });
        Self {
            command: run.command.clone(),
            version: run.version.clone(),
            began: run.began.as_secs(),
            took_ms: millis(run.took),
            error: run.error.clone(),
            left_out: run.left_out.clone(),
            spans: phases.chain(steps).collect(),
        }
    }
}

/// Adds a run that did something, or failed. It is worth less than the run: what goes wrong is only noted.
pub(super) async fn keep(session: &Session, run: &Run) {
    let Ok(platform) = PlatformName::new(&run.platform) else { return };
    if run.steps.is_empty() && run.error.is_none() {
        return;
    }
    let (host, path) = (session.host(), session.state(&platform).runs_file());
    let mut file = read::<RunsFile>(host, &path).await.ok().flatten().unwrap_or_default();
    file.format = FORMAT;
    file.runs.insert(0, KeptRun::of(run));
    file.runs.truncate(MOST);
    if let Err(error) = write(host, &path, &file).await {
        tracing::debug!(%error, "keeping what this run has done");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::app::testing::session;
    use crate::apply::Timing;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::plan::Cause;

    fn run(second: u64) -> Run {
        let step = Timing {
            step: "create/web".into(),
            group: "web".into(),
            cause: Cause::Missing,
            after: Vec::new(),
            start: Duration::from_millis(5),
            duration: Duration::from_millis(20),
            error: None,
        };
        Run {
            command: "macula up".into(),
            platform: "macula".into(),
            began: Duration::from_secs(second),
            took: Duration::from_millis(50),
            phases: vec![("plan", Duration::ZERO, Duration::from_millis(10))],
            steps_began: Duration::from_millis(10),
            steps: vec![step],
            ..Run::default()
        }
    }

    #[tokio::test]
    async fn the_last_ten_runs_are_kept_and_the_latest_is_first() {
        let session = session(FakeHost::new(), &FakeEngine::new(), "macula up");
        for second in 1..=12 {
            keep(&session, &run(second)).await;
        }
        keep(&session, &Run { steps: Vec::new(), ..run(13) }).await;
        let path = session.state(&PlatformName::default()).runs_file();
        assert!(path.ends_with(Path::new("runs.json")));
        let file = read::<RunsFile>(session.host(), &path).await.unwrap().unwrap();
        let began: Vec<u64> = file.runs.iter().map(|run| run.began).collect();
        assert_eq!(began, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
        let step = &file.runs[0].spans[1];
        assert_eq!((step.start_ms, step.took_ms, step.critical, step.cause.as_str()), (15, 20, true, "missing"));
    }
}
