//! Images of a stack for nodes elsewhere: what they are to pull, told by the digest that the registry names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::StackDeploy;
use crate::app::commands::images::obtain_images;
use crate::app::{DeployError, Error, Session};
use crate::compile::targets::{Pin, SwarmStack};
use crate::config::Loaded;
use crate::engine::{Engine, EngineError, ImageError};
use crate::model::ImagePolicy;
use crate::plan::LeftOut;

/// How long a registry may take to name the digest of an image that is here.
const BRIEF: Duration = Duration::from_secs(3);

/// What of the images is to be done beforehand.
pub(super) struct Supply<'a> {
    pub session: &'a Session,
    pub engine: &'a Arc<dyn Engine>,
    /// Of the swarm: a node alone has the images of its engine.
    pub nodes: u64,
    pub request: &'a StackDeploy<'a>,
}

impl Supply<'_> {
    /// A pin for each image that the stack names.
    ///
    /// # Errors
    /// [`DeployError::Images`] with those that nodes cannot have, and what builds say.
    pub async fn pins(&self, stack: &SwarmStack) -> Result<BTreeMap<String, Pin>, Error> {
        let image = |service: &serde_json::Value| {
            service.pointer("/TaskTemplate/ContainerSpec/Image").and_then(|image| image.as_str()).map(str::to_owned)
        };
        let images: BTreeSet<String> = stack.services.iter().filter_map(image).collect();
        if !self.request.dry_run {
            self.built(&images).await?;
        }
        let asked = join_all(images.iter().map(|image| async move { (image.clone(), self.pin(image).await) })).await;
        let mut pins = BTreeMap::new();
        let mut missing = Vec::new();
        for (image, pin) in asked {
            match pin? {
                Ok(pin) => drop(pins.insert(image, pin)),
                Err(why) => missing.push((image, why)),
            }
        }
        match missing.is_empty() {
            true => Ok(pins),
            false => Err(DeployError::Images { missing, nodes: self.nodes }.into()),
        }
    }

    /// What an image is called here that nodes pull under another name.
    fn here(&self, image: &str) -> Option<&str> {
        self.request.translation.pushed.iter().find(|(_, there)| *there == image).map(|(here, _)| here.as_str())
    }

    /// Builds what is to be built, and what is neither here nor in a registry.
    async fn built(&self, images: &BTreeSet<String>) -> Result<(), Error> {
        let mut services = Vec::new();
        for image in images {
            let Some(here) = self.here(image) else { continue };
            let Some(service) = self.request.translation.builders.get(here) else { continue };
            let there = self.engine.image(here).await?.is_some() || self.engine.digest(image).await.is_ok();
            if self.request.build || !there {
                services.push(service.clone());
            }
        }
        if services.is_empty() {
            return Ok(());
        }
        make(self.session, self.request.loaded, &services).await
    }

    /// `Err`: why nodes cannot have it.
    async fn pin(&self, image: &str) -> Result<Result<Pin, String>, Error> {
        if image.contains('@') {
            return Ok(Ok(Pin::default()));
        }
        let here = self.here(image);
        let alone = self.nodes == 1;
        // what is built here is newer than what a registry may have under the same name
        if let (Some(here), true) = (here, alone)
            && let Some(found) = self.engine.image(here).await?
        {
            if !self.request.dry_run && here != image {
                self.engine.tag(here, image).await?;
            }
            return Ok(Ok(Pin { image: None, id: Some(found.id) }));
        }
        if let (Some(here), false, false) = (here, alone, self.request.dry_run)
            && (self.request.build || is_new(self.engine.digest(image).await.as_ref()))
        {
            push(self.session, self.engine, here, image).await?;
        }
        let found = if alone { self.engine.image(image).await? } else { None };
        // what is here will do: a registry that is slow to say that it is not there need not be heard out
        let patience = if found.is_some() { BRIEF } else { Duration::MAX };
        let asked = tokio::time::timeout(patience, self.engine.digest(image)).await;
        let silent = |_| Err(EngineError::Timeout { operation: format!("asking for {image}"), after: BRIEF });
        let trouble = match asked.unwrap_or_else(silent) {
            Ok(digest) => return Ok(Ok(Pin { image: Some(format!("{image}@{digest}")), id: None })),
            Err(EngineError::Image { source, .. }) => source,
            Err(error) => ImageError::Other { reference: image.to_owned(), message: error.to_string() },
        };
        if let Some(found) = found {
            return Ok(Ok(Pin { image: None, id: Some(found.id) }));
        }
        if here.is_some() && self.request.dry_run && alone {
            self.session.events.info(format!("{image} would be built"));
            return Ok(Ok(Pin::default()));
        }
        let silent = !matches!(trouble, ImageError::NotFound { .. } | ImageError::Denied { .. });
        if silent && !alone && here.is_none() {
            let warning = format!("{image} is not pinned, and each node pulls it by its tag: {trouble}");
            self.session.events.warn(warning);
            return Ok(Ok(Pin::default()));
        }
        Ok(Err(trouble.to_string()))
    }
}

/// Whether the registry says that it has none of this name.
fn is_new(digest: Result<&String, &EngineError>) -> bool {
    matches!(digest, Err(EngineError::Image { source: ImageError::NotFound { .. }, .. }))
}

/// Builds what these services run.
async fn make(session: &Session, loaded: &Loaded, services: &[String]) -> Result<(), Error> {
    let (_, left_out) = obtain_images(session, loaded, ImagePolicy::Build, services, false).await?;
    for LeftOut { service, reason } in left_out {
        session.events.warn(format!("{service}: {reason}"));
    }
    Ok(())
}

/// An image under the name by which nodes pull it, in the registry.
async fn push(session: &Session, engine: &Arc<dyn Engine>, here: &str, there: &str) -> Result<(), Error> {
    if engine.image(here).await?.is_none() {
        return Ok(());
    }
    if here != there {
        engine.tag(here, there).await?;
    }
    session.events.info(format!("pushing {there}"));
    Ok(engine.push(there, &|_| {}).await?)
}

/// What the stack builds, by its name in the registry, with the digest that it has there. What the registry does not have,
/// or all with `build`, is built and pushed before, unless this is a dry run.
///
/// # Errors
/// What builds and pushes say.
pub(super) async fn in_registry(
    session: &Session,
    request: &StackDeploy<'_>,
) -> Result<BTreeMap<String, String>, Error> {
    let StackDeploy { loaded, translation, build, dry_run, .. } = *request;
    let mut digests = BTreeMap::new();
    let there = || translation.pushed.values().cloned().collect::<Vec<_>>().join(", ");
    if translation.pushed.is_empty() {
        return Ok(digests);
    }
    let engine = match session.engine() {
        Ok(engine) => engine,
        Err(error) if build => return Err(error),
        Err(_) => {
            session
                .events
                .warn(format!("no engine is here to build and push {}; the cluster needs it in its registry", there()));
            return Ok(digests);
        }
    };
    for (here, there) in &translation.pushed {
        let mut digest = engine.digest(there).await;
        if build || is_new(digest.as_ref()) {
            if dry_run {
                session.events.info(format!("{there} would be built and pushed"));
                continue;
            }
            let services: Vec<String> = translation.builders.get(here).into_iter().cloned().collect();
            if build || engine.image(here).await?.is_none() {
                make(session, loaded, &services).await?;
            }
            push(session, &engine, here, there).await?;
            digest = engine.digest(there).await;
        }
        match digest {
            Ok(digest) => drop(digests.insert(there.clone(), digest)),
            Err(error) => {
                session.events.warn(format!("{there} is not pinned, and nodes pull it by its tag: {error}"));
            }
        }
    }
    Ok(digests)
}
