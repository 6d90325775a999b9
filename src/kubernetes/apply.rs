//! Server-side apply of an add-on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::prune::is_ours;
use super::{AT_ONCE, Identity, Kubernetes, KubernetesError, selector};
use crate::compile::addons::{AddOn, MANAGER, is_adopted, namespaces_of};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// What an application did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// `Deployment kube-system/metrics-server`, sorted.
    pub created: Vec<String>,
    pub changed: Vec<String>,
    /// How many were as they should be.
    pub unchanged: usize,
}

impl Applied {
    pub fn is_nothing(&self) -> bool {
        self.created.is_empty() && self.changed.is_empty()
    }

    /// Together with what another application did.
    pub fn with(mut self, other: Self) -> Self {
        self.created.extend(other.created);
        self.changed.extend(other.changed);
        self.created.sort();
        self.changed.sort();
        self.unchanged += other.unchanged;
        self
    }

    fn add(&mut self, object: String, outcome: Outcome) {
        match outcome {
            Outcome::Created | Outcome::Homeless => self.created.push(object),
            Outcome::Changed | Outcome::Replaced => self.changed.push(object),
            Outcome::Unchanged => self.unchanged += 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Created,
    Changed,
    Unchanged,
    /// It would be created, and its namespace before it: the API server has not looked at it.
    Homeless,
    /// It would be deleted and made anew: the API server has not looked at what comes.
    Replaced,
}

impl Kubernetes {
    /// Makes the objects of an add-on what they are to be: namespaces first, then types and
    /// accounts, then the rest side by side. What may be different in a moment is tried again for a minute; an object
    /// that can only be replaced is. Copies for namespaces that no longer ask for one go.
    ///
    /// # Errors
    /// The first one that does not pass. What was applied stays; to apply again goes on.
    pub async fn apply(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        self.walk(addon, false).await
    }

    /// What [`Kubernetes::apply`] would do. Writes nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn drift(&self, addon: &AddOn) -> Result<Applied, KubernetesError> {
        self.walk(addon, true).await
    }

    async fn walk(&self, addon: &AddOn, dry: bool) -> Result<Applied, KubernetesError> {
        let mut all = Applied::default();
        let manifests = self.expanded(addon).await?;
        let strays = self.strays(addon, &manifests).await?;
        for floor in floors(manifests) {
            let work = floor.into_iter().map(|(object, manifest)| async move {
                let outcome = self.one(&object, &manifest, dry).await?;
                Ok::<_, KubernetesError>((object.to_string(), outcome))
            });
            let mut running = stream::iter(work).buffer_unordered(AT_ONCE);
            while let Some(done) = running.next().await {
                let (object, outcome) = done?;
                all.add(object, outcome);
            }
        }
        for object in strays {
            if !dry {
                self.remove(&self.api(&object), &object).await?;
            }
            all.changed.push(object.to_string());
        }
        all.created.sort();
        all.changed.sort();
        Ok(all)
    }

    /// Copies that we made in namespaces which do not ask for them any more.
    async fn strays(&self, addon: &AddOn, wanted: &[(Identity, Value)]) -> Result<Vec<Identity>, KubernetesError> {
        let mut all = Vec::new();
        for manifest in addon.manifests.iter().filter(|manifest| namespaces_of(manifest).is_some()) {
            let labels = manifest.pointer("/metadata/labels").cloned();
            let labels: BTreeMap<String, String> =
                labels.and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default();
            // without labels nothing tells which are ours
            let Some(object) = Identity::of(manifest).filter(|_| !labels.is_empty()) else { continue };
            let object = Identity { namespace: None, ..object };
            let how = ListParams::default().labels(&selector(&labels));
            let api = self.api(&object);
            let found = self.patient(false, || async {
                let found = api.list_metadata(&how).await;
                found.map_err(|error| self.error("list", format!("{} {}", object.kind, object.name), error))
            });
            let copies = found.await?.items.into_iter().filter(|copy| is_ours(copy) && copy.name_any() == object.name);
            let copies = copies.map(|copy| Identity { namespace: copy.namespace(), ..object.clone() });
            all.extend(copies.filter(|copy| !wanted.iter().any(|(other, _)| other == copy)));
        }
        Ok(all)
    }

    /// The manifests with their names; those for each namespace with a label once for each.
    pub(super) async fn expanded(&self, addon: &AddOn) -> Result<Vec<(Identity, Value)>, KubernetesError> {
        let mut all: Vec<(Identity, Value)> = Vec::new();
        for manifest in &addon.manifests {
            let object =
                Identity::of(manifest).ok_or_else(|| KubernetesError::Manifest { addon: addon.name.clone() })?;
            let Some(wanted) = namespaces_of(manifest) else {
                all.push((object, manifest.clone()));
                continue;
            };
            for namespace in self.namespaces_with(wanted).await? {
                let (object, manifest) = in_namespace(&object, manifest, &namespace);
                if !all.iter().any(|(other, _)| *other == object) {
                    all.push((object, manifest));
                }
            }
        }
        Ok(all)
    }

    async fn namespaces_with(&self, labels: &str) -> Result<Vec<String>, KubernetesError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = || format!("namespaces with {labels}");
        let found = self.patient(false, || async {
            let found = api.list(&ListParams::default().labels(labels)).await;
            found.map_err(|error| self.error("list", object(), error))
        });
        let staying = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_none();
        Ok(found.await?.items.into_iter().filter(staying).filter_map(|namespace| namespace.metadata.name).collect())
    }

    pub(super) async fn one(&self, object: &Identity, manifest: &Value, dry: bool) -> Result<Outcome, KubernetesError> {
        let api = self.api(object);
        let applied = self.patient(dry, || self.put(&api, object, manifest, dry)).await;
        match applied {
            // what is not there to be asked about will be made, with what it lies in
            Err(error) if dry && error.is_not_found() => Ok(Outcome::Homeless),
            Err(error) if error.is_immutable() && !is_adopted(manifest) && object.kind != "PersistentVolumeClaim" => {
                if dry {
                    return Ok(Outcome::Replaced);
                }
                self.remove(&api, object).await?;
                self.patient(false, || self.put(&api, object, manifest, false)).await?;
                Ok(Outcome::Changed)
            }
            other => other,
        }
    }

    pub(super) async fn put(
        &self,
        api: &Api<DynamicObject>,
        object: &Identity,
        manifest: &Value,
        dry: bool,
    ) -> Result<Outcome, KubernetesError> {
        let failed = |error| self.error("apply", object.to_string(), error);
        let before = api.get_opt(&object.name).await.map_err(failed)?;
        if let Some(before) = before.as_ref().filter(|before| is_left_without_address(object, before, manifest)) {
            let message = format!("{} has no address, which may not change once set", before.name_any());
            let (action, reason) = ("apply", "Invalid".to_owned());
            return Err(KubernetesError::Refused { action, object: object.to_string(), code: 422, reason, message });
        }
        let mut how = PatchParams::apply(MANAGER).force().validation_strict();
        match &before {
            _ if dry => how = how.dry_run(),
            // what is said of it now, or put into it, would go with it
            Some(before) if before.metadata.deletion_timestamp.is_some() => return Err(leaving(object, before)),
            Some(before) => self.hold_replicas(api, object, before, manifest).await?,
            None => {}
        }
        let after = match api.patch(&object.name, &how, &Patch::Apply(manifest)).await.map_err(failed) {
            // who may not change a namespace need not where it is as it should be
            Err(KubernetesError::Refused { code: 403, .. })
                if before.as_ref().is_some_and(|it| is_labelled(object, it, manifest)) =>
            {
                return Ok(Outcome::Unchanged);
            }
            other => other?,
        };
        Ok(match before {
            None => Outcome::Created,
            Some(before) if same(&before, &after, dry) => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        })
    }

    /// Deletes an object and waits until its name is free.
    pub(super) async fn remove(&self, api: &Api<DynamicObject>, object: &Identity) -> Result<(), KubernetesError> {
        let failed = |error| self.error("replace", object.to_string(), error);
        let deadline = Instant::now() + self.patience;
        let gone = api.delete(&object.name, &DeleteParams::background()).await.map_err(failed);
        match gone {
            Err(error) if error.is_not_found() => return Ok(()),
            other => drop(other?),
        }
        while api.get_metadata_opt(&object.name).await.map_err(failed)?.is_some() {
            if Instant::now() >= deadline {
                return Err(still_there("replace", object));
            }
            sleep(FIRST_DELAY).await;
        }
        Ok(())
    }

    /// Tries again while it fails in a way that passes, at growing intervals. A look (`once`) is not
    /// repeated.
    pub(super) async fn patient<T, F>(&self, once: bool, mut attempt: impl FnMut() -> F) -> Result<T, KubernetesError>
    where
        F: Future<Output = Result<T, KubernetesError>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut delay = FIRST_DELAY;
        loop {
            match attempt().await {
                Err(error) if !once && error.is_passing() && Instant::now() + delay < deadline => {
                    tracing::debug!(%error, "again in {delay:?}");
                    sleep(delay).await;
                    delay = (delay * 2).min(LONGEST_DELAY);
                }
                other => return other,
            }
        }
    }
}

/// Nothing was written: the API server keeps the version of an object that would stay the same. A
/// dry run changes no version, and a controller may have told how things stand in the meantime, so that then the contents
/// are compared.
fn same(before: &DynamicObject, after: &DynamicObject, dry: bool) -> bool {
    if !dry && before.metadata.resource_version == after.metadata.resource_version {
        return true;
    }
    let bare = |object: &DynamicObject| {
        let mut object = object.clone();
        if let Some(data) = object.data.as_object_mut() {
            data.remove("status");
        }
        object.metadata.managed_fields = None;
        object.metadata.generation = None;
        object.metadata.resource_version = None;
        object
    };
    bare(before) == bare(after)
}

/// A Service without an address would silently stay one: the API server keeps what is not said.
fn is_left_without_address(object: &Identity, before: &DynamicObject, manifest: &Value) -> bool {
    let address = |object: &Value| object.pointer("/spec/clusterIP").and_then(Value::as_str).map(str::to_owned);
    object.kind == "Service" && address(&before.data).as_deref() == Some("None") && address(manifest).is_none()
}

/// A namespace that bears all that is wanted of it.
fn is_labelled(object: &Identity, before: &DynamicObject, manifest: &Value) -> bool {
    let wanted = manifest.pointer("/metadata/labels").and_then(Value::as_object);
    object.kind == "Namespace"
        && wanted
            .into_iter()
            .flatten()
            .all(|(key, value)| before.labels().get(key).map(String::as_str) == value.as_str())
}

/// An object that something keeps from going.
fn still_there(action: &'static str, object: &Identity) -> KubernetesError {
    let (object, reason, message) = (object.to_string(), "Conflict".to_owned(), "it is still being deleted".to_owned());
    KubernetesError::Refused { action, object, code: 409, reason, message }
}

/// An object on its way out. A namespace says what keeps it.
fn leaving(object: &Identity, before: &DynamicObject) -> KubernetesError {
    if object.kind != "Namespace" {
        return still_there("apply", object);
    }
    let conditions = before.data.pointer("/status/conditions").and_then(Value::as_array);
    let remains = conditions.into_iter().flatten().filter(|condition| {
        condition["status"] == "True" && condition["type"].as_str().is_some_and(|kind| kind.ends_with("Remaining"))
    });
    let remains: Vec<&str> = remains.filter_map(|condition| condition["message"].as_str()).collect();
    let message = match remains.is_empty() {
        true => "it is being terminated".to_owned(),
        false => format!("it is being terminated: {}", remains.join("; ")),
    };
    let (action, reason) = ("apply", "Forbidden".to_owned());
    KubernetesError::Refused { action, object: object.to_string(), code: 403, reason, message }
}

/// What is for several namespaces, in one of them.
pub(super) fn in_namespace(object: &Identity, manifest: &Value, namespace: &str) -> (Identity, Value) {
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".into(), Value::String(namespace.to_owned()));
        metadata.remove("annotations");
    }
    (Identity { namespace: Some(namespace.to_owned()), ..object.clone() }, manifest)
}

/// Namespaces, then types and accounts, then all others. A token whose account is not there yet is
/// deleted by the cluster's own controller.
fn floors(manifests: Vec<(Identity, Value)>) -> Vec<Vec<(Identity, Value)>> {
    let mut floors: [Vec<(Identity, Value)>; 3] = Default::default();
    let mut seen = BTreeSet::new();
    for (object, manifest) in manifests {
        if !seen.insert(object.clone()) {
            continue;
        }
        let [namespaces, types, others] = &mut floors;
        match object.kind.as_str() {
            "Namespace" => namespaces.push((object, manifest)),
            "CustomResourceDefinition" | "ServiceAccount" => types.push((object, manifest)),
            _ => others.push((object, manifest)),
        }
    }
    floors.into_iter().filter(|floor| !floor.is_empty()).collect()
}
