//! A stack of the user's in a namespace: what is there of it, applied, and taken away by its labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::apply::{Outcome, in_namespace};
use super::prune::{Unwanted, is_ours};
use super::scale::{Autoscaler, scaler_of};
use super::{AT_ONCE, Applied, Identity, Kubernetes, KubernetesError, Reason, kind_of, selector};
use crate::compile::addons::{AddOn, MANAGER, Workload, WorkloadKind};
use crate::model::label;

/// What stacks are made of, but for claims and namespaces. Asking for these alone also works for a user who may see
/// nothing else.
const KINDS: [(&str, &str, &str); 11] = [
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "DaemonSet"),
    ("batch", "v1", "Job"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("", "v1", "ConfigMap"),
];
const CLAIM: (&str, &str, &str) = ("", "v1", "PersistentVolumeClaim");
/// What the cluster itself keeps in a namespace as others come and go there. Nobody loses any of it.
const OF_CLUSTER: [(&str, &str); 5] = [
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("", "Endpoints"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("coordination.k8s.io", "Lease"),
];
/// A webhook that is about to answer does so within this.
const WEBHOOKS: Duration = Duration::from_secs(5);
/// Between two looks at what is ending.
pub(super) const LOOK: Duration = Duration::from_millis(250);

fn resource((group, version, kind): (&str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Whose a stack is, and where. The same stack in another namespace is another one.
#[derive(Debug, Clone, Copy)]
pub struct StackOwner<'a> {
    pub platform: &'a str,
    /// `None`: all stacks of the platform.
    pub stack: Option<&'a str>,
    /// `None`: all namespaces.
    pub namespace: Option<&'a str>,
}

impl StackOwner<'_> {
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> =
            [(label::DEPLOYED_BY, self.platform), ("app.kubernetes.io/managed-by", MANAGER)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        labels.extend(self.stack.map(|stack| (label::STACK.to_owned(), stack.to_owned())));
        labels
    }

    fn owns(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels().iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// What is in a stack's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Objects of the stack's names that are not the stack's, and whose they are where these are several or unknown.
    pub objects: Vec<String>,
    /// The other platform that all of these belong to.
    pub by: Option<String>,
    /// Other stacks of the platform that all of these belong to.
    pub stacks: Vec<String>,
    /// Its namespace is there, and somebody else's.
    pub namespace: bool,
    /// What the stack says is there and is not: `Secret key`.
    pub missing: Vec<(String, String)>,
}

/// What of a stack stands in the cluster.
#[derive(Debug, Clone)]
pub struct StackWorkload {
    pub workload: Workload,
    pub stack: String,
    pub ready: i32,
    pub wanted: i32,
    pub images: Vec<String>,
    /// Claims that its pods write.
    pub writes: Vec<String>,
    /// What decides how many pods it has, where the files do not.
    pub scaler: Option<Autoscaler>,
    /// Why it is not ready.
    pub reasons: Vec<Reason>,
}

/// What went of a stack, and what did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackRemoved {
    pub removed: Vec<String>,
    /// Claims.
    pub kept: Vec<String>,
    /// What else lives in its namespace, which stays for it.
    pub others: Vec<String>,
    /// What else may live there and cannot be seen, as types: the namespace stays for these, too.
    pub unseen: Vec<String>,
}

impl Kubernetes {
    /// What stands in the way of these objects, and what they need that is not among them.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn foreign(&self, owner: StackOwner<'_>, objects: &[Value]) -> Result<Foreign, KubernetesError> {
        let own: BTreeSet<Identity> = objects.iter().filter_map(Identity::of).collect();
        let needed: BTreeSet<Identity> =
            objects.iter().flat_map(needs).filter(|object| !own.contains(object)).collect();
        let looked_at = own.iter().map(|object| (object, true)).chain(needed.iter().map(|object| (object, false)));
        let looks = looked_at.map(|(object, own)| async move {
            let found = self.api(object).get_metadata_opt(&object.name).await;
            let found = found.map_err(|error| self.error("read", object.to_string(), error));
            match found {
                Ok(found) => Ok((object, own, Some(found))),
                // who may not even look at the namespace has been given it by somebody else, and what cannot be looked
                // at may well be there
                Err(KubernetesError::Refused { code: 403, .. }) if object.kind == "Namespace" || !own => {
                    Ok((object, own, None))
                }
                Err(error) => Err(error),
            }
        });
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut all = Foreign::default();
        let (of_platform, mut strange) = (StackOwner { stack: None, ..owner }, false);
        let mut platforms: BTreeSet<Option<String>> = BTreeSet::new();
        let mut names: Vec<(String, Option<String>)> = Vec::new();
        for (object, own, found) in looks {
            let there = found.as_ref().and_then(Option::as_ref);
            let labels = there.map(|found| found.labels()).filter(|labels| of_platform.owns(labels));
            let stack = labels.and_then(|labels| labels.get(label::STACK)).cloned();
            let (platform, whose) = (there.and_then(platform_of), there.and_then(whose));
            let others = match (found, own) {
                (Some(None), false) => {
                    all.missing.push((object.kind.clone(), object.name.clone()));
                    false
                }
                (Some(Some(found)), true) => !owner.owns(found.labels()),
                (None, true) => true,
                (Some(None), true) | (_, false) => false,
            };
            match others && object.kind == "Namespace" {
                true => all.namespace = true,
                false if others => {
                    names.push((object.to_string(), whose));
                    platforms.insert(platform);
                    strange |= stack.is_none();
                    all.stacks.extend(stack.filter(|stack| !all.stacks.contains(stack)));
                }
                false => {}
            }
        }
        if strange {
            all.stacks.clear();
        }
        let platform = platforms.pop_first().filter(|_| platforms.is_empty()).flatten();
        all.by = platform.filter(|platform| platform != owner.platform);
        let is_said = all.by.is_some() || !all.stacks.is_empty();
        let named = |(name, whose): (String, Option<String>)| match whose.filter(|_| !is_said) {
            Some(whose) => format!("{name} ({whose})"),
            None => name,
        };
        all.objects = names.into_iter().map(named).collect();
        all.stacks.sort();
        all.objects.sort();
        all.missing.sort();
        Ok(all)
    }

    /// Makes these objects what they are to be.
    ///
    /// # Errors
    /// As [`Kubernetes::apply`].
    pub async fn apply_objects(&self, objects: Vec<Value>) -> Result<Applied, KubernetesError> {
        self.apply(&package(objects)).await
    }

    /// What that would do, by the API server's own dry run.
    ///
    /// # Errors
    /// As [`Kubernetes::drift`].
    pub async fn compare_objects(&self, objects: Vec<Value>) -> Result<Applied, KubernetesError> {
        self.drift(&package(objects)).await
    }

    /// Whether the API server would take these, by its own dry run. What it may take in a moment is no trouble yet, but
    /// for a webhook that does not answer. What goes into a namespace that is not there, or in place of what cannot be
    /// changed, is tried in `default`, where only its form is looked at.
    ///
    /// # Errors
    /// What it refuses.
    pub async fn check_objects(&self, objects: &[Value]) -> Result<(), KubernetesError> {
        let checks = objects.iter().filter_map(|manifest| Some((Identity::of(manifest)?, manifest)));
        let deadline = Instant::now() + WEBHOOKS.min(self.patience);
        let checks = checks.map(|(object, manifest)| async move {
            loop {
                match self.one(&object, manifest, true).await {
                    Ok(Outcome::Homeless | Outcome::Replaced) => return self.in_default(&object, manifest).await,
                    Err(error) if error.is_no_dry_run() => return Ok(()),
                    // one that is started again answers in a moment
                    Err(error) if error.is_silent_webhook() => match Instant::now() < deadline {
                        true => sleep(LOOK).await,
                        false => return Err(error),
                    },
                    Err(error) if error.is_passing() && !matches!(error, KubernetesError::Unreachable { .. }) => {
                        return Ok(());
                    }
                    other => return other.map(drop),
                }
            }
        });
        stream::iter(checks).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn in_default(&self, object: &Identity, manifest: &Value) -> Result<(), KubernetesError> {
        let (other, manifest) = in_namespace(object, manifest, "default");
        let api = self.api(&other);
        let there = api.get_metadata_opt(&other.name).await;
        match there.map_err(|error| self.error("read", object.to_string(), error)) {
            Ok(None) => {}
            Err(error) if error.is_no_kind() => return Err(error),
            // what is there of that name is somebody else's, and would be looked at together with ours
            Ok(Some(_)) | Err(_) => return Ok(()),
        }
        match self.put(&api, &other, &manifest, true).await {
            // rights and quotas are those of the namespace
            Err(error) if error.is_about_form() || error.is_no_kind() => Err(error.of_object(object.to_string())),
            _ => Ok(()),
        }
    }

    /// Removes what of a stack is not among these objects, and says what it was. Claims stay: they are data.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses a deletion, or would.
    pub async fn prune_stack(
        &self,
        owner: StackOwner<'_>,
        keep: &[Value],
        dry: bool,
    ) -> Result<Vec<String>, KubernetesError> {
        let gone = self.outdated(owner, keep, dry).await?;
        if !dry {
            return self.delete(gone).await;
        }
        self.check_deletions(&gone).await?;
        Ok(gone.iter().map(|one| one.object.to_string()).collect())
    }

    /// What of a stack is not among these objects, but for claims. `once`: who is not there is told at once.
    async fn outdated(
        &self,
        owner: StackOwner<'_>,
        keep: &[Value],
        once: bool,
    ) -> Result<Vec<Unwanted>, KubernetesError> {
        let wanted: BTreeSet<Identity> = keep.iter().filter_map(Identity::of).collect();
        let resources = KINDS.map(resource).to_vec();
        // a user whose role is made for this stack need not see what it has none of
        let needed = keep.iter().filter_map(|object| object["kind"].as_str()).collect();
        let labels = selector(&owner.labels());
        let look = || self.visible(resources.clone(), owner.namespace, &labels, &needed);
        Ok(self.unwanted(self.patient(once, look).await?, &wanted))
    }

    /// Removes a stack from its namespace, and the namespace where it was made for it and nothing else is seen to live in
    /// it, of whatever type. Claims go where `volumes` says so. Nothing goes where a part of it may not be removed.
    ///
    /// # Errors
    /// As [`Kubernetes::prune_stack`].
    pub async fn remove_stack(
        &self,
        owner: StackOwner<'_>,
        namespace: &str,
        volumes: bool,
    ) -> Result<StackRemoved, KubernetesError> {
        let gone = self.outdated(owner, &[], true).await?;
        let claim = resource(CLAIM);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &claim);
        let found = api.list_metadata(&ListParams::default().labels(&selector(&owner.labels()))).await;
        let found = found.map_err(|error| self.error("list", claim.plural.clone(), error));
        let (mut others, mut unseen) = (Vec::new(), Vec::new());
        let claims = match found {
            Ok(found) => found.items,
            // who may not see claims keeps them
            Err(KubernetesError::Refused { code, .. })
                if matches!(code, 404 | 405 | 503) || code == 403 && !volumes =>
            {
                unseen.push(claim.plural.clone());
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let claims = self.unwanted(vec![(claim, claims)], &BTreeSet::new());
        let mut kept: Vec<String> = claims.iter().map(|claim| claim.object.to_string()).collect();
        self.check_deletions(&gone).await?;
        if volumes {
            self.check_deletions(&claims).await?;
        }
        let mut removed = self.delete(gone).await?;
        if volumes {
            kept = Vec::new();
            removed.extend(self.delete(claims).await?);
        }
        if let Some(own) = self.own_namespace(owner, namespace).await? {
            let (found, hidden) = self.others(owner, namespace).await?;
            others = found;
            unseen.extend(hidden);
            if others.is_empty() && unseen.is_empty() && kept.is_empty() {
                removed.extend(self.delete(vec![own]).await?);
            }
        }
        Ok(StackRemoved { removed, kept, others, unseen: crate::words::unique(unseen) })
    }

    /// The stack's namespace, if it was made for it.
    async fn own_namespace(&self, owner: StackOwner<'_>, namespace: &str) -> Result<Option<Unwanted>, KubernetesError> {
        let resource = resource(("", "v1", "Namespace"));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let found = api.get_metadata_opt(namespace).await;
        match found.map_err(|error| self.error("read", format!("Namespace {namespace}"), error)) {
            Ok(found) => {
                let own = found.into_iter().filter(|found| owner.owns(found.labels())).collect();
                Ok(self.unwanted(vec![(resource, own)], &BTreeSet::new()).pop())
            }
            // who may not look at namespaces has made none
            Err(KubernetesError::Refused { code: 403, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What lives in a namespace and is neither this stack's nor the cluster's own, and the types of which that cannot be
    /// seen. Types of every kind count: all of them go with the namespace.
    async fn others(
        &self,
        owner: StackOwner<'_>,
        namespace: &str,
    ) -> Result<(Vec<String>, Vec<String>), KubernetesError> {
        let (types, untold) = self.namespaced_types().await;
        let group_and_kind = |resource: &ApiResource| (resource.group.clone(), resource.kind.clone());
        let known: BTreeSet<(String, String)> = types.iter().map(group_and_kind).collect();
        let is_of_cluster =
            |resource: &ApiResource| OF_CLUSTER.contains(&(resource.group.as_str(), resource.kind.as_str()));
        let looks = types.into_iter().filter(|resource| !is_of_cluster(resource)).map(|resource| async move {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            let found = api.list_metadata(&ListParams::default()).await;
            let found = found.map_err(|error| self.error("list", resource.plural.clone(), error));
            (resource, found)
        });
        let looks: Vec<_> = looks.collect();
        let (mut others, mut unseen) = (BTreeSet::new(), BTreeSet::from_iter(untold));
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some((resource, found)) = looks.next().await {
            let objects = match found {
                Ok(found) => found.items,
                Err(error @ KubernetesError::Unreachable { .. }) => return Err(error),
                // a right that is missing, a server that is away: what cannot be seen may well be there
                Err(_) => {
                    unseen.insert(resource.plural);
                    continue;
                }
            };
            let is_given = |name: &str| {
                match resource.kind.as_str() {
                    "ConfigMap" => ["kube-root-ca.crt", "openshift-service-ca.crt"].contains(&name),
                    "ServiceAccount" => ["default", "builder", "deployer"].contains(&name),
                    // OpenShift's, too
                    "RoleBinding" => {
                        ["system:deployers", "system:image-builders", "system:image-pullers"].contains(&name)
                    }
                    _ => false,
                }
            };
            let of_others = objects.iter().filter(|object| {
                let ours =
                    owner.owns(object.labels()) && (is_ours(object) || object.metadata.deletion_timestamp.is_some());
                !ours && !is_owned_in(object, &known) && !is_given(&object.name_any())
            });
            others.extend(of_others.map(|object| format!("{} {}", resource.kind, object.name_any())));
        }
        Ok((others.into_iter().collect(), unseen.into_iter().collect()))
    }

    /// Waits until a stack's pods have ended, and its namespace where it is ending. What is still there then.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn ended(
        &self,
        owner: StackOwner<'_>,
        namespace: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, KubernetesError> {
        let deadline = Instant::now() + timeout;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let how = ListParams::default().labels(&selector(&owner.labels()));
        loop {
            let left = pods.list_metadata(&how).await.map_err(|error| self.error("list", "pods".into(), error));
            let left = match left {
                Ok(left) => left.items,
                // who may remove what runs pods need not see pods
                Err(KubernetesError::Refused { code: 403, .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            let mut left: Vec<String> = left.iter().map(|pod| format!("Pod {namespace}/{}", pod.name_any())).collect();
            left.extend(self.going(owner, namespace).await?);
            // who may not look at it has not removed it
            let space = namespaces.get_opt(namespace).await.unwrap_or_default();
            left.extend(space.filter(|space| space.metadata.deletion_timestamp.is_some()).map(|space| kept(&space)));
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(left);
            }
            sleep(LOOK).await;
        }
    }

    /// What of a stack was deleted and is still there, since somebody has to let go of it first: a balancer of the cloud
    /// of its Service, a pod of its claim.
    async fn going(&self, owner: StackOwner<'_>, namespace: &str) -> Result<Vec<String>, KubernetesError> {
        let kinds = KINDS.into_iter().chain([CLAIM]).map(resource).collect();
        let found = self.visible(kinds, Some(namespace), &selector(&owner.labels()), &BTreeSet::new()).await;
        let found = match found {
            Ok(found) => found,
            Err(KubernetesError::Refused { code: 403, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let going = found.iter().flat_map(|(resource, objects)| {
            let going = objects.iter().filter(|object| object.metadata.deletion_timestamp.is_some());
            going.map(move |object| format!("{} {namespace}/{}", resource.kind, object.name_any()))
        });
        Ok(going.collect())
    }

    /// Everything of these stacks that runs pods.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn stack_workloads(&self, owner: StackOwner<'_>) -> Result<Vec<StackWorkload>, KubernetesError> {
        let how = ListParams::default().labels(&selector(&owner.labels()));
        let (mut found, mut hidden, mut seen) = (Vec::new(), None, false);
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::Job] {
            let resource = ApiResource::from_gvk(&kind_of(kind));
            let api: Api<DynamicObject> = match owner.namespace {
                Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
                None => Api::all_with(self.client.clone(), &resource),
            };
            match api.list(&how).await.map_err(|error| self.error("list", resource.plural.clone(), error)) {
                Ok(listed) => {
                    seen = true;
                    found.extend(listed.items.into_iter().map(|object| (kind, object)));
                }
                // a role need not have what no stack of its user has
                Err(error @ KubernetesError::Refused { code: 403, .. }) => drop(hidden.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = hidden.filter(|_| !seen) {
            return Err(error);
        }
        let scalers = &self.autoscalers(owner.namespace, &selector(&owner.labels())).await?;
        let rows = found.into_iter().map(|(kind, object)| async move {
            let stack = object.labels().get(label::STACK).cloned().unwrap_or_default();
            let workload =
                Workload { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
            let (images, writes) = (images(&object.data), written(&object.data));
            let standing = self.standing(&workload).await?.unwrap_or_default();
            let reasons = self.look(&workload, true).await;
            let (ready, wanted) = (standing.ready, standing.wanted);
            let scaler = scaler_of(scalers, &workload);
            Ok::<_, KubernetesError>(StackWorkload { workload, stack, ready, wanted, images, writes, scaler, reasons })
        });
        let mut rows = join_all(rows).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        rows.sort_by(|a, b| {
            let by =
                |row: &StackWorkload| (row.stack.clone(), row.workload.namespace.clone(), row.workload.name.clone());
            by(a).cmp(&by(b))
        });
        Ok(rows)
    }

    /// A job that failed is tried no more by another application of the same: it goes, to be made anew. Whether it did.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn forget_failed(&self, workload: &Workload) -> Result<bool, KubernetesError> {
        if workload.kind != WorkloadKind::Job {
            return Ok(false);
        }
        let standing = self.patient(false, || self.standing(workload)).await?;
        if !standing.is_some_and(|standing| standing.over) {
            return Ok(false);
        }
        let object = Identity::of_workload(workload);
        self.remove(&self.api(&object), &object).await?;
        Ok(true)
    }
}

/// The platform that deployed an object.
fn platform_of(object: &PartialObjectMeta<DynamicObject>) -> Option<String> {
    let labels = object.labels();
    let ours = labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == MANAGER);
    labels.get(label::DEPLOYED_BY).filter(|_| ours).cloned()
}

/// Whose an object is, as far as it says so.
fn whose(object: &PartialObjectMeta<DynamicObject>) -> Option<String> {
    let platform = platform_of(object).map(|platform| match object.labels().get(label::STACK) {
        Some(stack) => format!("of the stack {stack} of the platform {platform}"),
        None => format!("of the platform {platform}"),
    });
    let release = object.annotations().get("meta.helm.sh/release-name");
    let release = || release.map(|name| format!("of the Helm release {name}"));
    let owner = || object.owner_references().first().map(|owner| format!("of {} {}", owner.kind, owner.name));
    let manager = || object.labels().get("app.kubernetes.io/managed-by").map(|by| format!("managed by {by}"));
    let writer = || {
        // controllers write how things stand
        let own = object.managed_fields().iter().filter(|entry| entry.subresource.as_deref().is_none_or(str::is_empty));
        let writer = own.filter_map(|entry| entry.manager.as_deref()).find(|name| !name.starts_with("kube-"));
        writer.map(|name| format!("written by {name}"))
    };
    platform.or_else(release).or_else(owner).or_else(manager).or_else(writer)
}

/// A namespace that is on its way out, and what keeps it.
fn kept(space: &Namespace) -> String {
    let conditions = space.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let remains = conditions.iter().filter(|one| one.status == "True" && one.type_.ends_with("Remaining"));
    let remains: Vec<&str> = remains.filter_map(|one| one.message.as_deref()).collect();
    match remains.is_empty() {
        true => format!("Namespace {}", space.name_any()),
        false => format!("Namespace {} ({})", space.name_any(), remains.join("; ")),
    }
}

/// Whether an object goes with its owner, which is of one of these types (group and kind) and so lives in the same
/// namespace.
fn is_owned_in(object: &PartialObjectMeta<DynamicObject>, known: &BTreeSet<(String, String)>) -> bool {
    let lives_there = |owner: &OwnerReference| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        known.contains(&(group.to_owned(), owner.kind.clone()))
    };
    object.owner_references().iter().any(lives_there)
}

/// Objects as what is applied at once.
pub(super) fn package(manifests: Vec<Value>) -> AddOn {
    let name = "stack".to_owned();
    AddOn { title: name.clone(), name, images: Vec::new(), manifests, waits: Vec::new(), optional: false }
}

/// What of these objects runs pods, and what is to be waited for.
pub fn workload_of(object: &Value) -> Option<Workload> {
    let kind = match object.get("kind").and_then(Value::as_str)? {
        "Deployment" => WorkloadKind::Deployment,
        "StatefulSet" => WorkloadKind::StatefulSet,
        "DaemonSet" => WorkloadKind::DaemonSet,
        "Job" => WorkloadKind::Job,
        _ => return None,
    };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some(Workload { kind, namespace: text("/metadata/namespace")?, name: text("/metadata/name")? })
}

fn volumes(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/spec/template/spec/volumes").and_then(Value::as_array).into_iter().flatten()
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

/// Configs, secrets and claims that the pods of an object cannot be without.
fn needs(object: &Value) -> Vec<Identity> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let named = |volume: &Value, pointer: &str, kind: &str| {
        let name = volume.pointer(pointer)?.as_str()?.to_owned();
        let (group, version, kind) = (String::new(), "v1".to_owned(), kind.to_owned());
        Some(Identity { group, version, kind, namespace: namespace.map(str::to_owned), name })
    };
    volumes(object)
        .filter_map(|volume| {
            named(volume, "/secret/secretName", "Secret")
                .or_else(|| named(volume, "/configMap/name", "ConfigMap"))
                .or_else(|| named(volume, "/persistentVolumeClaim/claimName", "PersistentVolumeClaim"))
        })
        .collect()
}

fn images(object: &Value) -> Vec<String> {
    containers(object).filter_map(|container| container["image"].as_str().map(str::to_owned)).collect()
}

/// The claims that the pods of a workload write.
fn written(object: &Value) -> Vec<String> {
    let mounts = || containers(object).filter_map(|container| container["volumeMounts"].as_array()).flatten();
    let is_written = |volume: &str| mounts().any(|mount| mount["name"] == volume && mount["readOnly"] != true);
    volumes(object)
        .filter(|volume| volume["name"].as_str().is_some_and(is_written))
        .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str().map(str::to_owned))
        .collect()
}
