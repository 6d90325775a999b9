//! Whether an add-on runs, and why it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Api;
use tokio::time::{Instant, sleep};

use super::pods::Trouble;
use super::{Kubernetes, KubernetesError};
use crate::compile::addons::{AddOn, Workload, WorkloadKind};

/// Between two looks at a workload.
const LOOK: Duration = Duration::from_millis(250);
/// Looks at a workload for each one at its pods.
const PODS_EVERY: u32 = 4;

/// An add-on that is not ready, in time or ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotReady {
    /// One for each pod that is not ready, or for a workload without one.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.reasons.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{reason}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub workload: Workload,
    /// `None` when there is no pod to blame.
    pub pod: Option<String>,
    pub trouble: Trouble,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "pod {}/{pod}: {}", self.workload.namespace, self.trouble),
            None => write!(f, "{}: {}", self.workload, self.trouble),
        }
    }
}

/// A workload at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub wanted: i32,
    /// Of the newest specification, and ready.
    pub ready: i32,
    /// The controller has seen the newest specification, and nothing of an older one is left.
    pub settled: bool,
    pub labels: BTreeMap<String, String>,
    /// What the controller says when it cannot make pods.
    pub failure: Option<String>,
}

impl Standing {
    pub fn is_ready(&self) -> bool {
        self.settled && self.ready >= self.wanted
    }
}

impl Kubernetes {
    /// Waits until all workloads of an add-on are ready. Returns early when a pod cannot become ready
    /// by waiting: its image is not to be had.
    ///
    /// # Errors
    /// The reasons, of which there is at least one.
    pub async fn ready(&self, addon: &AddOn, timeout: Duration) -> Result<(), NotReady> {
        self.ready_telling(addon, timeout, &|_| {}).await
    }

    /// The same; `tell` gets a line for people whenever what is waited for changes.
    ///
    /// # Errors
    /// As [`Kubernetes::ready`].
    pub async fn ready_telling(
        &self,
        addon: &AddOn,
        timeout: Duration,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), NotReady> {
        let deadline = Instant::now() + timeout;
        let mut told = String::new();
        let mut looks = 0u32;
        loop {
            let late = Instant::now() >= deadline;
            let mut reasons = Vec::new();
            for workload in &addon.waits {
                let with_pods = late || looks % PODS_EVERY == PODS_EVERY - 1;
                reasons.extend(self.look(workload, with_pods).await);
            }
            looks += 1;
            if reasons.is_empty() {
                return Ok(());
            }
            if late || reasons.iter().any(|reason| reason.trouble.is_final()) {
                return Err(NotReady { reasons });
            }
            let line = reasons.first().map(|reason| reason.trouble.short()).unwrap_or_default();
            if line != told {
                tell(&line);
                told = line;
            }
            sleep(LOOK).await;
        }
    }

    /// Why a workload is not ready; nothing when it is.
    pub(super) async fn look(&self, workload: &Workload, with_pods: bool) -> Vec<Reason> {
        let reason = |trouble| Reason { workload: workload.clone(), pod: None, trouble };
        let standing = match self.standing(workload).await {
            Ok(Some(standing)) => standing,
            Ok(None) => return vec![reason(Trouble::Absent)],
            Err(error) => return vec![reason(Trouble::Unknown { reason: error.to_string() })],
        };
        if standing.is_ready() {
            return Vec::new();
        }
        let waiting = Trouble::Waiting { ready: standing.ready, wanted: standing.wanted, failure: standing.failure };
        if !with_pods {
            return vec![reason(waiting)];
        }
        match self.pod_troubles(&workload.namespace, &standing.labels).await {
            Ok(troubles) if troubles.is_empty() => vec![reason(waiting)],
            Ok(troubles) => troubles
                .into_iter()
                .map(|(pod, trouble)| Reason { workload: workload.clone(), pod: Some(pod), trouble })
                .collect(),
            Err(error) => vec![reason(Trouble::Unknown { reason: error.to_string() })],
        }
    }

    /// `None` when it is not there.
    pub(super) async fn standing(&self, workload: &Workload) -> Result<Option<Standing>, KubernetesError> {
        let Workload { kind, namespace, name } = workload;
        let failed = |error| self.error("read", workload.to_string(), error);
        Ok(match kind {
            WorkloadKind::Deployment => {
                let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map_err(failed)?.map(of_deployment)
            }
            WorkloadKind::DaemonSet => {
                let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map_err(failed)?.map(of_daemon_set)
            }
            WorkloadKind::StatefulSet => {
                let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map_err(failed)?.map(of_stateful_set)
            }
        })
    }
}

fn of_deployment(object: Deployment) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let failure = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    Standing {
        wanted,
        ready: status.available_replicas.unwrap_or(0),
        settled: status.observed_generation >= object.metadata.generation
            && updated >= wanted
            && status.replicas.unwrap_or(0) <= updated,
        labels: spec.selector.match_labels.unwrap_or_default(),
        failure: failure.and_then(|condition| condition.message),
    }
}

fn of_daemon_set(object: DaemonSet) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = status.desired_number_scheduled;
    Standing {
        wanted,
        ready: status.number_available.unwrap_or(0),
        // a controller that has not looked yet wants none
        settled: status.observed_generation >= object.metadata.generation
            && status.updated_number_scheduled.unwrap_or(0) >= wanted
            && wanted > 0,
        labels: spec.selector.match_labels.unwrap_or_default(),
        failure: None,
    }
}

fn of_stateful_set(object: StatefulSet) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    Standing {
        wanted,
        ready: status.ready_replicas.unwrap_or(0),
        settled: status.observed_generation >= object.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted,
        labels: spec.selector.match_labels.unwrap_or_default(),
        failure: None,
    }
}
