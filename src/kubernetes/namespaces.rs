//! What is to be in every namespace with a label, put there as they come.

use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::TryStreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::Value;

use super::apply::in_namespace;
use super::{Identity, Kubernetes, KubernetesError};
use crate::compile::addons::{AddOn, namespaces_of};

impl Kubernetes {
    /// Puts those manifests of an add-on that are for each namespace with a label into all of them: at
    /// once into those that are there, and into others as they come or get the label. Ends after
    /// `for_so_long` (whole seconds), at once when no manifest is of that kind.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn follow_namespaces(&self, addon: &AddOn, for_so_long: Duration) -> Result<(), KubernetesError> {
        let wanted = addon.manifests.iter().filter_map(|manifest| {
            let selector = namespaces_of(manifest)?;
            Some((selector, Identity::of(manifest)?, manifest))
        });
        let followed = wanted.map(|(selector, object, manifest)| self.follow(selector, object, manifest, for_so_long));
        try_join_all(followed).await.map(drop)
    }

    /// Without a version to start from, a watch begins with what is there
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch>).
    async fn follow(
        &self,
        selector: &str,
        object: Identity,
        manifest: &Value,
        for_so_long: Duration,
    ) -> Result<(), KubernetesError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let seconds = u32::try_from(for_so_long.as_secs()).unwrap_or(u32::MAX);
        let how = WatchParams::default().labels(selector).timeout(seconds).disable_bookmarks();
        let failed = |error| self.error("watch", format!("namespaces with {selector}"), error);
        let mut events = std::pin::pin!(api.watch(&how, "").await.map_err(failed)?);
        while let Some(event) = events.try_next().await.map_err(failed)? {
            let namespace = match event {
                WatchEvent::Added(namespace) | WatchEvent::Modified(namespace) => namespace.metadata,
                WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
                // what is in a namespace goes with it; without the label, it is the next `up` that prunes
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => continue,
            };
            if let (Some(name), None) = (namespace.name, namespace.deletion_timestamp) {
                let (object, manifest) = in_namespace(&object, manifest, &name);
                self.one(&object, &manifest, false).await?;
            }
        }
        Ok(())
    }
}
