//! `images prune`: what macula has built and nothing uses any more.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::compile::image_specs;
use crate::config::Loaded;
use crate::engine::EngineError;
use crate::model::{BaseImage, LabelledImage, Platform, label};

use crate::app::{Error, Session};

/// What `images prune` came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub removed: Vec<PrunedImage>,
    /// Bytes that these take at the most: what other images share stays.
    pub size: u64,
    /// Only looked.
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrunedImage {
    pub id: String,
    /// None: a newer build had taken them.
    pub names: Vec<String>,
    /// The service that it was built for.
    pub service: String,
    /// Bytes.
    pub size: u64,
}

/// Removes the images that were built here, that no container was made from, and that no service of
/// `loaded` would run. Those of other platforms' own stacks are left alone.
pub async fn prune_images(session: &Session, loaded: &Loaded, dry_run: bool) -> Result<Pruned, Error> {
    let engine = session.engine()?;
    let mut platform = loaded.platform.clone();
    crate::app::builds::look_at_contexts(&mut platform, &session.system.host.folders().cache).await;
    let wanted = wanted(&platform);
    let mut pruned = Pruned { dry_run, ..Pruned::default() };
    let mut found = engine.labelled_images(label::SERVICE).await?;
    // what was built from the base goes before it
    found.sort_by_key(|image| (service(image) == BASE, image.names.clone()));
    for image in found.into_iter().filter(|image| is_ours(image, &platform.name.prefix())) {
        if image.used || image.names.iter().any(|name| wanted.contains(name)) {
            continue;
        }
        if !dry_run {
            // each of its names: by its id the engine refuses one that has several
            let names = if image.names.is_empty() { vec![image.id.clone()] } else { image.names.clone() };
            let mut kept = false;
            for name in names {
                match engine.remove_image(&name).await {
                    Ok(()) => {}
                    // another image was built on it, or somebody has just made a container
                    Err(EngineError::Conflict { .. }) => kept = true,
                    Err(error) => return Err(error.into()),
                }
            }
            if kept {
                continue;
            }
        }
        let size = u64::try_from(image.size).unwrap_or_default();
        pruned.size = pruned.size.saturating_add(size);
        pruned.removed.push(PrunedImage {
            service: service(&image).to_owned(),
            id: image.id,
            names: image.names,
            size,
        });
    }
    Ok(pruned)
}

/// The value of [`label::SERVICE`] on the base of our builds.
const BASE: &str = "base";

fn service(image: &LabelledImage) -> &str {
    image.labels.get(label::SERVICE).map_or("", String::as_str)
}

/// Names under which the platform's services would look for what was built for them.
fn wanted(platform: &Platform) -> BTreeSet<String> {
    let builds = image_specs(platform).into_iter().filter_map(|spec| spec.build);
    builds
        .flat_map(|build| {
            let base = build.base.map(|base| base.reference);
            base.into_iter().chain(build.also).chain(build.alike).chain([build.tag])
        })
        .collect()
}

/// Built by us, for this platform or for all, and under no name that somebody else gave it. Whatever is
/// built on the base inherits its labels, so that the base has to have its name as well.
fn is_ours(image: &LabelledImage, prefix: &str) -> bool {
    let base = service(image) == BASE && image.names.iter().any(|name| BaseImage::suite_of(name).is_some());
    let built = image.labels.contains_key(label::FINGERPRINT) || base;
    let own = |name: &String| {
        let owner = name.split_once('/').map_or("", |(owner, _)| owner);
        owner == "macula" || owner == prefix || BaseImage::suite_of(name).is_some()
    };
    // one without a name that a registry has was pushed by somebody, who knows it by its digest
    let known_elsewhere = image.names.is_empty() && image.in_registry;
    built && !known_elsewhere && image.names.iter().all(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::config::{self, MemoryFiles, Request};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::ObservedImage;

    fn built(id: &str, service: &str) -> ObservedImage {
        let labels = [(label::SERVICE, service), (label::FINGERPRINT, "f")];
        ObservedImage {
            id: id.into(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            repo_digests: Vec::new(),
            size: 1000,
            created: None,
            volumes: Vec::new(),
            architecture: String::new(),
        }
    }

    #[tokio::test]
    async fn what_nothing_uses_is_removed_and_nothing_else() {
        let stack = "services: {web: {build: {dockerfile_inline: 'FROM localhost/macula/base:trixie'}}}";
        let files =
            MemoryFiles::default().with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]").with("/p/all.yaml", stack);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = config::load(&request, &files).expect("valid");
        let mut looked_at = loaded.platform.clone();
        let cache = tempfile::tempdir().unwrap();
        crate::app::builds::look_at_contexts(&mut looked_at, cache.path()).await;
        let tag = image_specs(&looked_at)[0].reference.clone();
        let somebodys = ObservedImage { labels: Default::default(), ..built("i9", "") };
        let inherited =
            ObservedImage { labels: [(label::SERVICE.to_owned(), "base".to_owned())].into(), ..built("i8", "") };
        let engine = FakeEngine::new()
            .with_image_as(&tag, built("i1", "web"))
            .with_image_as("localhost/macula/base:trixie", built("i2", "base"))
            .with_image_as("macula/web:0123456789ab", built("i3", "web"))
            .with_image_as("macula-shop/old:0123456789ab", built("i4", "old"))
            // of another platform's own stack; named by its user too; without a name; nobody of ours
            .with_image_as("macula-other/web:0123456789ab", built("i5", "web"))
            .with_image_as("macula-shop/web:ba9876543210", built("i6", "web"))
            .with_image_as("mine:1", built("i6", "web"))
            .with_image_as("i7", built("i7", "web"))
            // pushed, and known by its digest alone
            .with_image_as(
                "i10",
                ObservedImage { repo_digests: vec!["r.io/web@sha256:00".into()], ..built("i10", "web") },
            )
            .with_image_as("macula/strange:1", somebodys)
            // somebody's own, built on the base
            .with_image_as("i8", inherited);
        let session = session(FakeHost::new(), &engine, "macula images prune");
        let dry = prune_images(&session, &loaded, true).await.unwrap();
        assert_eq!(engine.journal(), [""; 0]);
        let pruned = prune_images(&session, &loaded, false).await.unwrap();
        assert_eq!(Pruned { dry_run: false, ..dry }, pruned);
        assert_eq!(pruned.size, 3000);
        insta::assert_snapshot!(engine.journal().join("\n"), @"
        removing image i7
        removing image macula-shop/old:0123456789ab
        removing image macula/web:0123456789ab
        ");
        assert_eq!(prune_images(&session, &loaded, false).await.unwrap(), Pruned::default());
    }
}
