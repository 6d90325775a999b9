//! How long images took on this machine, for the forecast of the next run. Lies in the cache folder:
//! without it the forecast is only less exact.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::apply::Timing;
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::forecast::{Known, key};

/// Milliseconds by key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DurationsFile(std::collections::BTreeMap<String, u64>);

fn path(host: &dyn Host) -> PathBuf {
    host.folders().cache.join("durations.json")
}

async fn read(host: &dyn Host) -> DurationsFile {
    let content = host.read(&path(host)).await.unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

/// What earlier runs took.
pub(super) async fn known(host: &dyn Host) -> Known {
    read(host).await.0.into_iter().map(|(key, millis)| (key, Duration::from_millis(millis))).collect()
}

/// Keeps what the images of this run took, those that worked.
pub(super) async fn remember(host: &dyn Host, plan: &Plan, ran: &[Timing]) {
    let mut file = read(host).await;
    let mut changed = false;
    for timing in ran.iter().filter(|timing| timing.error.is_none()) {
        let step = plan.steps.iter().find(|step| step.id == timing.step);
        if let Some(key) = step.and_then(key) {
            file.0.insert(key, u64::try_from(timing.duration.as_millis()).unwrap_or(u64::MAX));
            changed = true;
        }
    }
    if changed && let Ok(content) = serde_json::to_vec_pretty(&file) {
        // no run fails because its forecast cannot be kept
        let _ = host.write(&path(host), &content, 0o600).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::{BaseImage, ResourceId, ResourceKind};
    use crate::plan::{Action, Cause, Step};

    #[tokio::test]
    async fn the_time_of_an_image_is_kept_and_that_of_a_failure_is_not() {
        let host = FakeHost::new();
        let step = |name: &str| Step {
            id: format!("make {name}"),
            resource: ResourceId::new(ResourceKind::Image, name),
            group: "base image".into(),
            action: Action::MakeBase(BaseImage { reference: format!("macula/{name}:trixie"), suite: "trixie".into() }),
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        };
        let plan = Plan { steps: vec![step("base"), step("other")], ..Plan::default() };
        let ran = |name: &str, error: Option<&str>| Timing {
            step: format!("make {name}"),
            group: "base image".into(),
            cause: Cause::Missing,
            after: Vec::new(),
            start: Duration::ZERO,
            duration: Duration::from_millis(15_600),
            error: error.map(str::to_owned),
        };
        assert_eq!(known(&host).await, Known::new());
        remember(&host, &plan, &[ran("base", None), ran("other", Some("no mirror"))]).await;
        assert_eq!(known(&host).await, Known::from([("build macula/base".into(), Duration::from_millis(15_600))]));
        // the next run adds to it, and one of which nothing is kept writes nothing
        remember(&host, &plan, &[ran("other", None)]).await;
        let both = ["base", "other"].map(|name| (format!("build macula/{name}"), Duration::from_millis(15_600)));
        assert_eq!(known(&host).await, Known::from(both));
        host.put(path(&host), "{");
        remember(&host, &plan, &[ran("base", Some("no mirror")), ran("gone", None)]).await;
        assert_eq!(host.text(path(&host)).as_deref(), Some("{"));
        assert_eq!(known(&host).await, Known::new());
    }
}
