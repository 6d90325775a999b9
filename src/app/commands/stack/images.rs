//! Images of a stack for a swarm: what its nodes are to pull, told by the digest that the registry names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::app::commands::images::obtain_images;
use crate::app::{DeployError, Error, Session};
use crate::compile::targets::{Pin, SwarmStack, Translation};
use crate::config::Loaded;
use crate::engine::{Engine, EngineError, ImageError};
use crate::model::ImagePolicy;

/// How long a registry may take to name the digest of an image that is here.
const BRIEF: Duration = Duration::from_secs(3);

/// What of the images is to be done beforehand.
pub(super) struct Supply<'a> {
    pub session: &'a Session,
    pub engine: &'a Arc<dyn Engine>,
    pub loaded: &'a Loaded,
    pub translation: &'a Translation,
    /// Of the swarm: a node alone has the images of its engine.
    pub nodes: u64,
    /// Build what the stack builds, also where it is there.
    pub build: bool,
    pub dry_run: bool,
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
        if !self.dry_run {
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
        self.translation.pushed.iter().find(|(_, there)| *there == image).map(|(here, _)| here.as_str())
    }

    /// Builds what is to be built, and what is neither here nor in a registry.
    async fn built(&self, images: &BTreeSet<String>) -> Result<(), Error> {
        let mut services = Vec::new();
        for image in images {
            let Some(here) = self.here(image) else { continue };
            let Some(service) = self.translation.builders.get(here) else { continue };
            let there = self.engine.image(here).await?.is_some() || self.engine.digest(image).await.is_ok();
            if self.build || !there {
                services.push(service.clone());
            }
        }
        if services.is_empty() {
            return Ok(());
        }
        obtain_images(self.session, self.loaded, ImagePolicy::Build, &services).await.map(drop)
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
            if !self.dry_run && here != image {
                self.engine.tag(here, image).await?;
            }
            return Ok(Ok(Pin { image: None, id: Some(found.id) }));
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
        if here.is_some() && self.dry_run && alone {
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
