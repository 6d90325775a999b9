//! Takes away what we made and no longer want.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, ResourceExt};

use super::{AT_ONCE, Identity, Kubernetes, KubernetesError, selector};
use crate::compile::addons::{AddOn, MANAGER};
use crate::model::label;

/// Groups whose objects are views of what other objects say: nobody loses any.
const VIEWS: [&str; 4] =
    ["custom.metrics.k8s.io", "external.metrics.k8s.io", "metrics.k8s.io", "packages.operators.coreos.com"];

/// Objects by their types, as far as their metadata.
pub(super) type Found = Vec<(ApiResource, Vec<PartialObjectMeta<DynamicObject>>)>;

/// An object that is to go.
pub(super) struct Unwanted {
    api: Api<DynamicObject>,
    pub(super) object: Identity,
    uid: Option<String>,
}

impl Unwanted {
    /// Nothing that was made in its place meanwhile.
    fn how(&self) -> DeleteParams {
        match &self.uid {
            Some(uid) => DeleteParams::background()
                .preconditions(Preconditions { uid: Some(uid.clone()), ..Preconditions::default() }),
            None => DeleteParams::background(),
        }
    }
}

impl Kubernetes {
    /// Deletes every object of the platform that is in none of the add-ons, and says which. An object
    /// is ours when it bears our labels and was applied by us, was not there before us, and belongs to
    /// no other object.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses a deletion.
    pub async fn prune(&self, platform: &str, keep: &[AddOn]) -> Result<Vec<String>, KubernetesError> {
        let mut wanted = BTreeSet::new();
        for addon in keep {
            wanted.extend(self.expanded(addon).await?.into_iter().map(|(object, _)| object));
        }
        let labels = [(label::PLATFORM, platform), ("app.kubernetes.io/managed-by", MANAGER)];
        let labels = selector(&labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let found = self.labelled(&labels).await?;
        self.delete(self.unwanted(found, &wanted)).await
    }

    /// What of this is ours and not wanted, in the order in which it goes.
    pub(super) fn unwanted(&self, found: Found, wanted: &BTreeSet<Identity>) -> Vec<Unwanted> {
        let kept: BTreeSet<_> = wanted.iter().map(Identity::without_version).collect();
        let mut gone: Vec<Unwanted> = Vec::new();
        let mut seen = BTreeSet::new();
        for (resource, found) in found {
            for object in found {
                let identity = Identity {
                    group: resource.group.clone(),
                    version: resource.version.clone(),
                    kind: resource.kind.clone(),
                    namespace: object.namespace(),
                    name: object.name_any(),
                };
                let ours = is_ours(&object) && !kept.contains(&identity.without_version());
                // the same object may be listed under two groups
                if ours && object.uid().is_none_or(|uid| seen.insert(uid)) {
                    let api = match &identity.namespace {
                        Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
                        None => Api::all_with(self.client.clone(), &resource),
                    };
                    gone.push(Unwanted { api, object: identity, uid: object.uid() });
                }
            }
        }
        gone.sort_by(|a, b| (rank(&a.object.kind), &a.object).cmp(&(rank(&b.object.kind), &b.object)));
        gone
    }

    /// Deletes these, and says which.
    pub(super) async fn delete(&self, gone: Vec<Unwanted>) -> Result<Vec<String>, KubernetesError> {
        let mut deleted = Vec::new();
        for one in gone {
            let (how, Unwanted { api, object, .. }) = (one.how(), &one);
            let attempt = || async {
                let gone = api.delete(&object.name, &how).await;
                match gone.map_err(|error| self.error("delete", object.to_string(), error)) {
                    Ok(_) => Ok(true),
                    // gone with its namespace, or made anew by somebody else
                    Err(KubernetesError::Refused { code: 404 | 409, .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if self.patient(false, attempt).await? {
                deleted.push(object.to_string());
            }
        }
        Ok(deleted)
    }

    /// Whether the API server would delete these, by its own dry run: what it refuses is told before the first one is
    /// gone.
    ///
    /// # Errors
    /// What it refuses, but for what may be different in a moment.
    pub(super) async fn check_deletions(&self, gone: &[Unwanted]) -> Result<(), KubernetesError> {
        let checks = gone.iter().map(|one| async move {
            let would = one.api.delete(&one.object.name, &one.how().dry_run()).await;
            match would.map_err(|error| self.error("delete", one.object.to_string(), error)) {
                Err(KubernetesError::Refused { code: 404 | 409, .. }) => Ok(()),
                Err(error) if error.is_passing() || error.is_no_dry_run() => Ok(()),
                other => other.map(drop),
            }
        });
        stream::iter(checks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn discovery(&self) -> Result<Discovery, KubernetesError> {
        let found = Discovery::new(self.client.clone()).run_aggregated().await;
        found.map_err(|error| self.error("list", "the types".into(), error))
    }

    /// The types of which namespaces hold objects, and which groups of them the API server does not tell.
    pub(super) async fn namespaced_types(&self) -> (Vec<ApiResource>, Vec<String>) {
        let all = || "all types".to_owned();
        let Ok(discovery) = self.discovery().await else { return (Vec::new(), vec![all()]) };
        let (mut types, mut untold) = (Vec::new(), Vec::new());
        for group in discovery.groups().filter(|group| !VIEWS.contains(&group.name())) {
            // one whose own server is away is there, and has no types
            if group.versions().any(|version| group.versioned_resources(version).is_empty()) {
                untold.push(group.name().to_owned());
            }
            for (resource, able) in group.resources_by_stability() {
                if able.scope == Scope::Namespaced && able.supports_operation(verbs::LIST) {
                    types.push(resource);
                }
            }
        }
        // one that is too old to tell all types at once tells none
        if !types.iter().any(|resource| resource.group.is_empty() && resource.kind == "Pod") {
            untold.push(all());
        }
        (types, untold)
    }

    /// Every object with these labels, of all types that the API server has.
    async fn labelled(&self, labels: &str) -> Result<Found, KubernetesError> {
        let discovery = self.discovery().await?;
        let mut resources = Vec::new();
        for group in discovery.groups() {
            for (resource, able) in group.recommended_resources() {
                if able.supports_operation(verbs::LIST) && able.supports_operation(verbs::DELETE) {
                    resources.push(resource);
                }
            }
        }
        self.listed(resources, None, labels).await
    }

    /// As [`Kubernetes::listed`], without the types that the user may not see and that nobody needs.
    ///
    /// # Errors
    /// As there, and where the user may see none of these types.
    pub(super) async fn visible(
        &self,
        resources: Vec<ApiResource>,
        namespace: Option<&str>,
        labels: &str,
        needed: &BTreeSet<&str>,
    ) -> Result<Found, KubernetesError> {
        let looks = resources.into_iter().map(|resource| async move {
            let needed = needed.contains(resource.kind.as_str());
            (needed, self.listed(vec![resource], namespace, labels).await)
        });
        let (mut found, mut hidden): (Found, Option<KubernetesError>) = Default::default();
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some((needed, look)) = looks.next().await {
            match look {
                Err(error @ KubernetesError::Refused { code: 403, .. }) if !needed => hidden = Some(error),
                other => found.extend(other?),
            }
        }
        match hidden.filter(|_| found.is_empty()) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Every object of these types in a namespace, or in all of them; with these labels, where there are some.
    pub(super) async fn listed(
        &self,
        resources: Vec<ApiResource>,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Found, KubernetesError> {
        let how = if labels.is_empty() { ListParams::default() } else { ListParams::default().labels(labels) };
        stream::iter(resources)
            .map(|resource| {
                let how = &how;
                async move {
                    let api: Api<DynamicObject> = match namespace {
                        Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
                        None => Api::all_with(self.client.clone(), &resource),
                    };
                    let found = api.list_metadata(how).await;
                    let found = found.map_err(|error| self.error("list", resource.plural.clone(), error));
                    match found {
                        Ok(list) => Ok((resource, list.items)),
                        // a type whose own server is away has nothing of ours
                        Err(KubernetesError::Refused { code: 404 | 405 | 503, .. }) => Ok((resource, Vec::new())),
                        Err(error) => Err(error),
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}

/// Labels are copied by controllers onto what they make (Endpoints have those of their Service), so
/// that labels alone prove nothing.
pub(super) fn is_ours(object: &PartialObjectMeta<DynamicObject>) -> bool {
    let metadata = &object.metadata;
    let applied = metadata
        .managed_fields
        .iter()
        .flatten()
        .any(|entry| entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply"));
    applied
        && metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        && metadata.deletion_timestamp.is_none()
        && !object.annotations().contains_key(label::ADOPTED)
}

/// First what stands in the way of others when its pods are gone, last what takes others along.
fn rank(kind: &str) -> u8 {
    match kind {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" | "APIService" => 0,
        "CustomResourceDefinition" => 2,
        "Namespace" => 3,
        _ => 1,
    }
}
