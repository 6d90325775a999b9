//! Folders of this machine that are copied into a volume. A volume takes files by way of a container alone: one that is
//! made of this very program, has the volume and is never started.

use super::{StepError, Tools};
use crate::engine::{ContextCache, pack_copy};
use crate::model::{AnyError, ContainerSpec, CopiedFolder, EngineKind, MountSpec, UNFINISHED, VolumeSpec, label};
use crate::system::OwnImage;

/// Where the container has the volume.
const PLACE: &str = "copy";

/// What a run that is killed leaves of it is called as one that is not whole: the next `up` and `down` remove it.
fn carrier(volume: &VolumeSpec, image: &OwnImage) -> ContainerSpec {
    let kept = [label::PLATFORM, label::STACK, label::SERVICE, label::VERSION];
    let mount = MountSpec::Volume {
        source: volume.name.clone(),
        target: format!("/{PLACE}"),
        read_only: false,
        no_copy: true,
        subpath: None,
    };
    ContainerSpec {
        name: format!("{}{UNFINISHED}", volume.name),
        service: volume.labels.get(label::SERVICE).cloned().unwrap_or_default(),
        replica: 1,
        image: image.reference.clone(),
        entrypoint: Some(image.entrypoint.clone()),
        network_mode: Some("none".to_owned()),
        mounts: vec![mount],
        labels: kept.iter().filter_map(|key| Some(((*key).to_owned(), volume.labels.get(*key)?.clone()))).collect(),
        ..ContainerSpec::default()
    }
}

/// Where the archive is unpacked, and what the folder is called in it. Docker refuses links that lead out of where it
/// unpacks (`../shared`), and nothing leads out of `/`. Podman refuses none, and reaches a volume by its own path alone.
fn unpacked(engine: EngineKind) -> (&'static str, &'static str) {
    match engine {
        EngineKind::Docker => ("/", PLACE),
        EngineKind::Podman => ("/copy", "."),
    }
}

pub(super) async fn fill(tools: &Tools, volume: &VolumeSpec) -> Result<(), StepError> {
    let Some(folder) = &volume.copy else {
        return Err(StepError::Broken(format!("nothing is known that {} is filled with", volume.name)));
    };
    let engine = &tools.engine;
    let image = OwnImage::obtain(&**engine, &*tools.host, &tools.facts).await?;
    let spec = carrier(volume, &image);
    let mut labels = spec.labels.clone();
    labels.extend(tools.labels.clone());
    engine.create_container(&spec, &image.reference, &labels).await?;
    let (at, name) = unpacked(tools.facts.engine_kind);
    let copied = engine.unpack_in(&spec.name, at, pack_copy((**folder).clone(), name)).await;
    let removed = engine.discard_container(&spec.name).await;
    copied.and(removed)?;
    still_the_same((**folder).clone()).await
}

/// The volume is called after what was there when the plan was made. One that holds something else gets no container, and
/// the next run fills another.
async fn still_the_same(folder: CopiedFolder) -> Result<(), StepError> {
    let path = folder.path.clone();
    let (seen, folder) = tokio::task::spawn_blocking(move || {
        (ContextCache::default().look_at_copy(&folder, (u64::MAX, u64::MAX)).map_err(AnyError::from), folder)
    })
    .await
    .map_err(|error| StepError::File { path: path.clone(), source: AnyError::boxed(error.into()) })?;
    let seen = seen.map_err(|source| StepError::File { path, source })?;
    if seen.digest == folder.digest { Ok(()) } else { Err(StepError::Changing { folder: folder.shown }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_of_what_has_changed_meanwhile_is_none() {
        let files = tempfile::tempdir().unwrap();
        let page = files.path().join("index.html");
        std::fs::write(&page, "one").unwrap();
        let mut folder =
            CopiedFolder { path: files.path().to_owned(), shown: "./site".into(), ..CopiedFolder::default() };
        folder.digest = ContextCache::default().look_at_copy(&folder, (10, 1000)).unwrap().digest;
        still_the_same(folder.clone()).await.unwrap();
        std::fs::write(&page, "two").unwrap();
        let changed = still_the_same(folder.clone()).await.unwrap_err();
        assert_eq!(changed.to_string(), "the files of ./site changed while they were copied");
        drop(files);
        let gone = still_the_same(folder).await.unwrap_err();
        assert!(matches!(gone, StepError::File { .. }), "{gone:?}");
    }

    #[test]
    fn what_carries_files_can_do_nothing_else_and_goes_with_the_platform() {
        let image = OwnImage { reference: "localhost/x:1".into(), entrypoint: vec!["/macula".into()] };
        let labels = [(label::PLATFORM, "macula"), (label::SERVICE, "shop"), (label::COPY_OF, "/p/site")];
        let volume = VolumeSpec {
            name: "macula-copy-site-1".into(),
            external: false,
            driver: None,
            driver_opts: Default::default(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            provider: None,
            copy: None,
        };
        let spec = carrier(&volume, &image);
        assert_eq!(spec.name, "macula-copy-site-1.unfinished");
        assert_eq!(spec.network_mode.as_deref(), Some("none"));
        assert!(spec.ports.is_empty() && spec.files.is_empty() && spec.command.is_none());
        let kept: Vec<&str> = spec.labels.keys().map(String::as_str).collect();
        assert_eq!(kept, [label::PLATFORM, label::SERVICE], "a copy is what the volume holds");
        for engine in [EngineKind::Docker, EngineKind::Podman] {
            let (at, name) = unpacked(engine);
            let path = std::path::Path::new(at).join(name);
            assert!(path.components().eq(std::path::Path::new("/copy").components()), "{engine:?}: {path:?}");
        }
    }
}
