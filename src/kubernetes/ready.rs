//! Whether an add-on runs, and why it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep};

use super::pods::{Trouble, is_ready};
use super::{Kubernetes, KubernetesError, selector};
use crate::compile::addons::{AddOn, Workload, WorkloadKind};

/// Between two looks at a workload.
const LOOK: Duration = Duration::from_millis(250);
/// So long a workload of the user's has to be ready before it counts as running: without a probe a pod is ready as soon
/// as its program has started, also where that ends at once.
const STEADY: Duration = Duration::from_secs(2);
/// Looks at a workload for each one at its pods.
const PODS_EVERY: u32 = 4;
/// Annotation of a Deployment and of its ReplicaSets: which of them is the newest.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Label of a ReplicaSet and its pods.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation of a DaemonSet; its pods have it as a label.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

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
    /// The controller has seen the newest specification.
    pub seen: bool,
    pub uid: Option<String>,
    /// Those of all its pods.
    pub labels: BTreeMap<String, String>,
    /// What tells its newest pods from older ones: a label of theirs, but with a Deployment an annotation of their
    /// ReplicaSet.
    pub revision: Option<(&'static str, String)>,
    /// What the controller says when it cannot make pods.
    pub failure: Option<String>,
    /// The controller has given up.
    pub over: bool,
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
        self.wait(&addon.waits, timeout, None, tell).await
    }

    /// Waits until a workload of the user's is rolled out and, if it was `changed`, stays so for a moment; no longer than
    /// until a container of its has ended three times. A pod of an older specification that keeps a StatefulSet from going
    /// on goes.
    ///
    /// # Errors
    /// As [`Kubernetes::ready`].
    pub async fn rolled_out(
        &self,
        workload: &Workload,
        timeout: Duration,
        changed: bool,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), NotReady> {
        // what is done stays done
        let steady = if changed && workload.kind != WorkloadKind::Job { STEADY } else { Duration::ZERO };
        self.wait(std::slice::from_ref(workload), timeout, Some(steady), tell).await
    }

    /// `steady`: the workloads are the user's, and how long they have to be ready.
    async fn wait(
        &self,
        workloads: &[Workload],
        timeout: Duration,
        steady: Option<Duration>,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), NotReady> {
        let users = steady.is_some();
        // the pods of a Job are as many as its own limit says
        let over = |reason: &Reason| match users && reason.workload.kind != WorkloadKind::Job {
            true => reason.trouble.is_hopeless(),
            false => reason.trouble.is_final(),
        };
        let deadline = Instant::now() + timeout;
        let mut told = String::new();
        let mut looks = 0u32;
        let mut since: Option<Instant> = None;
        loop {
            let late = Instant::now() >= deadline;
            let mut reasons = Vec::new();
            let with_pods = late || looks % PODS_EVERY == PODS_EVERY - 1;
            for workload in workloads {
                reasons.extend(self.look(workload, with_pods).await);
                if users && with_pods {
                    self.unblock(workload).await;
                }
            }
            looks += 1;
            // one that is ready at the deadline may show that it stays so
            let line = if reasons.is_empty() {
                if since.get_or_insert_with(Instant::now).elapsed() >= steady.unwrap_or_default() {
                    return Ok(());
                }
                "ready, and watched for a moment".to_owned()
            } else {
                since = None;
                if late || reasons.iter().any(over) {
                    return Err(NotReady { reasons });
                }
                reasons.first().map(|reason| reason.trouble.short()).unwrap_or_default()
            };
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
        if standing.over {
            let message = standing.failure.clone().unwrap_or_default();
            // the last one that it tried says what the others said
            let last = self.newest_pods(workload, &standing).await.unwrap_or_default().pop();
            return std::iter::once(reason(Trouble::GivenUp { message })).chain(last).collect();
        }
        let mut failure = standing.failure.clone();
        if with_pods && standing.seen {
            match self.newest_pods(workload, &standing).await {
                Ok(reasons) if !reasons.is_empty() => return reasons,
                Ok(_) => {}
                // who may not see pods hears what the controller says
                Err(error) => drop(failure.get_or_insert_with(|| error.to_string())),
            }
            // Deployments say in their status what others say in events only
            if workload.kind != WorkloadKind::Deployment {
                let (kind, uid) = (format!("{:?}", workload.kind), standing.uid.as_deref());
                failure = self.warning(&workload.namespace, &kind, &workload.name, uid).await.or(failure);
            }
            if failure.is_none() && workload.kind == WorkloadKind::DaemonSet && standing.wanted == 0 {
                failure = Some("the cluster has no node that it is to run on".to_owned());
            }
        }
        vec![reason(Trouble::Waiting { ready: standing.ready, wanted: standing.wanted, failure })]
    }

    /// What is the matter with the newest pods, as far as they are not ready.
    async fn newest_pods(&self, workload: &Workload, standing: &Standing) -> Result<Vec<Reason>, KubernetesError> {
        let labels = self.newest(workload, standing).await;
        let troubles = self.pod_troubles(&workload.namespace, &labels).await?;
        let of_pod = |(pod, trouble)| Reason { workload: workload.clone(), pod: Some(pod), trouble };
        Ok(troubles.into_iter().map(of_pod).collect())
    }

    /// The labels of the newest pods: what an older specification is about to lose does not count.
    async fn newest(&self, workload: &Workload, standing: &Standing) -> BTreeMap<String, String> {
        let mut labels = standing.labels.clone();
        let Some((key, value)) = &standing.revision else { return labels };
        if workload.kind != WorkloadKind::Deployment {
            labels.insert((*key).to_owned(), value.clone());
            return labels;
        }
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &workload.namespace);
        // who may not see them sees all pods
        let Ok(sets) = api.list_metadata(&ListParams::default().labels(&selector(&labels))).await else {
            return labels;
        };
        let newest = sets.items.iter().find(|set| set.annotations().get(*key) == Some(value));
        let hash = newest.and_then(|set| set.labels().get(TEMPLATE_HASH));
        labels.extend(hash.map(|hash| (TEMPLATE_HASH.to_owned(), hash.clone())));
        labels
    }

    /// A StatefulSet waits for a pod that does not get ready before it replaces it, for ever where the specification is
    /// what keeps it from that. Such a pod goes
    /// (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>).
    async fn unblock(&self, workload: &Workload) {
        if workload.kind != WorkloadKind::StatefulSet {
            return;
        }
        let Ok(Some(standing)) = self.standing(workload).await else { return };
        let Some((key, value)) = standing.revision.as_ref().filter(|_| standing.seen) else { return };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &workload.namespace);
        let Ok(pods) = api.list(&ListParams::default().labels(&selector(&standing.labels))).await else { return };
        let stuck = pods.items.iter().filter(|pod| {
            pod.labels().get(*key) != Some(value) && pod.metadata.deletion_timestamp.is_none() && !is_ready(pod)
        });
        for pod in stuck {
            let uid = Preconditions { uid: pod.uid(), ..Preconditions::default() };
            let gone = api.delete(&pod.name_any(), &DeleteParams::default().preconditions(uid)).await;
            if let Err(error) = gone {
                tracing::debug!(%error, "{workload} stays with an old pod");
            }
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
            WorkloadKind::Job => {
                let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map_err(failed)?.map(of_job)
            }
        })
    }
}

fn of_deployment(object: Deployment) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let revision = object.metadata.annotations.unwrap_or_default().remove(REVISION);
    let seen = status.observed_generation >= object.metadata.generation;
    let failure = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    Standing {
        wanted,
        ready: status.available_replicas.unwrap_or(0),
        settled: seen && updated >= wanted && status.replicas.unwrap_or(0) <= updated,
        seen,
        uid: object.metadata.uid,
        labels: spec.selector.match_labels.unwrap_or_default(),
        revision: revision.map(|revision| (REVISION, revision)),
        failure: failure.and_then(|condition| condition.message),
        over: false,
    }
}

fn of_daemon_set(object: DaemonSet) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = status.desired_number_scheduled;
    let generation = object.metadata.annotations.unwrap_or_default().remove(TEMPLATE_GENERATION);
    let seen = status.observed_generation >= object.metadata.generation;
    Standing {
        wanted,
        ready: status.number_available.unwrap_or(0),
        // a controller that has not looked yet wants none
        settled: seen && status.updated_number_scheduled.unwrap_or(0) >= wanted && wanted > 0,
        seen,
        uid: object.metadata.uid,
        labels: spec.selector.match_labels.unwrap_or_default(),
        revision: generation.map(|generation| ("pod-template-generation", generation)),
        failure: None,
        over: false,
    }
}

fn of_stateful_set(object: StatefulSet) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let seen = status.observed_generation >= object.metadata.generation;
    Standing {
        wanted,
        ready: status.ready_replicas.unwrap_or(0),
        settled: seen && status.updated_replicas.unwrap_or(0) >= wanted,
        seen,
        uid: object.metadata.uid,
        labels: spec.selector.match_labels.unwrap_or_default(),
        revision: status.update_revision.map(|revision| ("controller-revision-hash", revision)),
        failure: None,
        over: false,
    }
}

/// Ready when it has done its work.
fn of_job(object: Job) -> Standing {
    let (spec, status) = (object.spec.unwrap_or_default(), object.status.unwrap_or_default());
    let failed = status.conditions.unwrap_or_default();
    let failed = failed.into_iter().find(|condition| condition.type_ == "Failed" && condition.status == "True");
    Standing {
        wanted: spec.completions.unwrap_or(1),
        ready: status.succeeded.unwrap_or(0),
        settled: true,
        seen: true,
        uid: object.metadata.uid,
        revision: None,
        labels: spec.selector.unwrap_or_default().match_labels.unwrap_or_default(),
        over: failed.is_some(),
        failure: failed.and_then(|condition| condition.message),
    }
}
