//! How many pods a workload has, and who says so.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Identity, Kubernetes, KubernetesError, kind_of};
use crate::compile::addons::{MANAGER, Workload, WorkloadKind};

/// Holds the number of pods that a workload had when the number stopped being ours, until an autoscaler changes it.
const HOLDER: &str = "macula-replicas";

/// What decides how many pods a workload has, instead of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    pub min: i32,
    pub max: i32,
    /// Why it does not count: there are no metrics to be had.
    pub trouble: Option<String>,
}

impl Kubernetes {
    /// Whether an autoscaler decides how many pods a workload has; `None`: the user may not see.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn is_autoscaled(&self, workload: &Workload) -> Result<Option<bool>, KubernetesError> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &workload.namespace);
        let found = api.list(&ListParams::default()).await;
        match found.map_err(|error| self.error("list", "autoscalers".into(), error)) {
            Ok(found) => Ok(Some(found.items.iter().any(|scaler| is_of(scaler, workload)))),
            // a cluster that knows none
            Err(error) if error.is_not_found() => Ok(Some(false)),
            Err(KubernetesError::Refused { code: 403, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Another number of pods. [`Kubernetes::rolled_out`] waits for them.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn scale(&self, workload: &Workload, replicas: u64) -> Result<(), KubernetesError> {
        let patch = json!({"spec": {"replicas": replicas}});
        let how = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let scaled =
            self.api(&Identity::of_workload(workload)).patch_scale(&workload.name, &how, &Patch::Merge(&patch)).await;
        scaled.map(drop).map_err(|error| self.error("scale", workload.to_string(), error))
    }

    /// The autoscalers with these labels, in a namespace or in all. Who may not see them is told of none.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn autoscalers(
        &self,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<HorizontalPodAutoscaler>, KubernetesError> {
        let api: Api<HorizontalPodAutoscaler> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let found = api.list(&ListParams::default().labels(labels)).await;
        match found.map_err(|error| self.error("list", "autoscalers".into(), error)) {
            Ok(found) => Ok(found.items),
            Err(KubernetesError::Refused { code: 403 | 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Before a workload is applied without the number of pods that it was applied with: what nobody claims falls back to
    /// one pod, until the autoscaler has counted
    /// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership>).
    pub(super) async fn hold_replicas(
        &self,
        api: &Api<DynamicObject>,
        object: &Identity,
        before: &DynamicObject,
        manifest: &Value,
    ) -> Result<(), KubernetesError> {
        let scaled = matches!(object.kind.as_str(), "Deployment" | "StatefulSet");
        if !scaled || manifest.pointer("/spec/replicas").is_some() || !is_claimed(before) {
            return Ok(());
        }
        let Some(replicas) = before.data.pointer("/spec/replicas") else { return Ok(()) };
        let held = json!({
            "apiVersion": manifest["apiVersion"], "kind": object.kind, "metadata": {"name": object.name},
            "spec": {"replicas": replicas},
        });
        let how = PatchParams::apply(HOLDER).force();
        let done = api.patch(&object.name, &how, &Patch::Apply(&held)).await;
        done.map(drop).map_err(|error| self.error("apply", object.to_string(), error))
    }
}

/// Whether the number of pods is what we have applied.
fn is_claimed(object: &DynamicObject) -> bool {
    object.managed_fields().iter().any(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
    })
}

fn is_of(scaler: &HorizontalPodAutoscaler, workload: &Workload) -> bool {
    scaler.spec.as_ref().is_some_and(|spec| {
        let target = &spec.scale_target_ref;
        target.name == workload.name && target.kind == kind_of(workload.kind).kind
    })
}

/// That of a workload.
pub(super) fn scaler_of(scalers: &[HorizontalPodAutoscaler], workload: &Workload) -> Option<Autoscaler> {
    if matches!(workload.kind, WorkloadKind::Job | WorkloadKind::DaemonSet) {
        return None;
    }
    let here = |scaler: &&HorizontalPodAutoscaler| scaler.namespace().as_deref() == Some(workload.namespace.as_str());
    let scaler = scalers.iter().filter(here).find(|scaler| is_of(scaler, workload))?;
    let spec = scaler.spec.as_ref()?;
    let conditions = scaler.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    // whose workload has no pods by somebody's will does not count either, and is no trouble
    let is_stuck = |condition: &&HorizontalPodAutoscalerCondition| {
        condition.status == "False"
            && ["ScalingActive", "AbleToScale"].contains(&condition.type_.as_str())
            && condition.reason.as_deref() != Some("ScalingDisabled")
    };
    let stuck = conditions.iter().find(is_stuck);
    let trouble = stuck.map(|condition| condition.message.clone().or(condition.reason.clone()).unwrap_or_default());
    Some(Autoscaler { min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas, trouble })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(condition: Value) -> HorizontalPodAutoscaler {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5},
            "status": {"desiredReplicas": 2, "conditions": [
                {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale"}, condition]},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_autoscaler_without_metrics_says_so() {
        let web = Workload { kind: WorkloadKind::Deployment, namespace: "shop".into(), name: "web".into() };
        let message = "the HPA was unable to compute the replica count: unable to get metrics for resource cpu";
        let of = |status: &str, reason: &str| {
            let condition = json!({"type": "ScalingActive", "status": status, "reason": reason, "message": message});
            scaler_of(&[scaler(condition)], &web).unwrap()
        };
        let stuck = of("False", "FailedGetResourceMetric");
        assert_eq!(stuck, Autoscaler { min: 2, max: 5, trouble: Some(message.to_owned()) });
        assert_eq!(of("True", "ValidMetricFound").trouble, None);
        // nobody wants pods of it
        assert_eq!(of("False", "ScalingDisabled").trouble, None);
        let other = Workload { namespace: "other".into(), ..web.clone() };
        let all = [scaler(json!({"type": "ScalingLimited", "status": "True"}))];
        assert_eq!(scaler_of(&all, &other), None);
        let job = Workload { kind: WorkloadKind::Job, ..web };
        assert_eq!(scaler_of(&all, &job), None);
    }
}
