//! The images of nodes, load balancer and add-ons, which come before they are asked for.

use crate::apply::StepError;
use crate::apply::pull::{Pull, Unpulled};
use crate::cluster::{ClusterError, ClusterProvider};
use crate::compile::addons::digest;
use crate::engine::{ImageError, ProgressSink};
use crate::model::ClusterSpec;

use super::Work;

impl Work {
    /// Images whose checksum is known are pulled by it into the engine, from where the nodes get them. One
    /// that does not come is left to the nodes, whose pod says why.
    pub(super) async fn fetch_checked(&self) {
        let wanted = self.content.wanted().flat_map(|addon| &addon.images);
        for image in wanted.filter(|image| !self.content.here.contains(*image)) {
            let Some(digest) = digest(image) else { continue };
            let (repository, _) = image.rsplit_once(':').unwrap_or((image, ""));
            let pinned = format!("{repository}@{digest}");
            if self.engine.pull(&pinned, None, &|_| {}).await.is_ok() {
                // the nodes know it by its tag
                let _ = self.engine.tag(&pinned, image).await;
            }
        }
    }

    /// Brings the images that are here into nodes in which Kubernetes is only starting. What fails is tried
    /// again with its add-on, which says why.
    pub(super) async fn load_early(
        &self,
        provider: &dyn ClusterProvider,
        cluster: &str,
        running: tokio::sync::oneshot::Receiver<()>,
    ) {
        if running.await.is_err() {
            return;
        }
        for addon in self.content.wanted() {
            let images: Vec<String> =
                addon.images.iter().filter(|image| self.content.here.contains(*image)).cloned().collect();
            let folder = self.state.cluster_folder();
            if !images.is_empty() && provider.load_images(cluster, &images, &folder, &|_| {}).await.is_ok() {
                self.loaded.lock().await.extend(images);
            }
        }
    }

    /// The specification with the image that is there, which is pulled where none is.
    pub(super) async fn with_image(
        &self,
        spec: &ClusterSpec,
        progress: ProgressSink<'_>,
    ) -> Result<ClusterSpec, StepError> {
        if self.engine.image(&spec.node_image).await?.is_some() {
            return Ok(spec.clone());
        }
        match self.pulled(&spec.pull, progress).await? {
            Ok(reference) => {
                let mut spec = spec.clone();
                spec.config = spec.config.replace(&spec.node_image, &reference);
                spec.node_image = reference;
                Ok(spec)
            }
            Err(attempts) => Err(ClusterError::NodeImage { reference: spec.node_image.clone(), attempts }.into()),
        }
    }

    /// The load balancer's image comes before the first node: kind would pull it in the middle, and fail there.
    pub(super) async fn with_balancer(&self, progress: ProgressSink<'_>) -> Result<(), StepError> {
        let Some((image, pull)) = &self.balancer else { return Ok(()) };
        if self.engine.image(image).await?.is_some() {
            return Ok(());
        }
        match self.pulled(pull, progress).await? {
            Ok(reference) if reference == *image => Ok(()),
            // kind knows it by one name
            Ok(reference) => Ok(self.engine.tag(&reference, image).await?),
            Err(attempts) => Err(ClusterError::BalancerImage { reference: image.clone(), attempts }.into()),
        }
    }

    /// The first of these that can be pulled, or what each said.
    async fn pulled(
        &self,
        from: &[String],
        progress: ProgressSink<'_>,
    ) -> Result<Result<String, Vec<ImageError>>, StepError> {
        let sources = Pull {
            engine: &*self.engine,
            platform: None,
            // node images are lists for many processors: the engine takes its own
            architecture: "",
            timeout: self.image_timeout,
            progress,
        };
        let pulled = tokio::select! {
            pulled = sources.first_of(from) => pulled,
            () = self.session.cancel.cancelled() => return Err(StepError::Cancelled),
        };
        match pulled {
            Ok(reference) => Ok(Ok(reference)),
            Err(Unpulled::Engine(error)) => Err(error.into()),
            Err(Unpulled::Refused { attempts, .. }) => Ok(Err(attempts)),
        }
    }
}
