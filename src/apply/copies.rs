//! Folders of this machine that are copied into a volume. A volume takes files by way of a container alone: one that is
//! made of this very program, has the volume and is never started.

use super::{StepError, Tools};
use crate::engine::pack_copy;
use crate::model::{ContainerSpec, EngineKind, MountSpec, UNFINISHED, VolumeSpec, label};
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
    let packing = pack_copy((**folder).clone(), name);
    let copied = engine.unpack_in(&spec.name, at, packing.pieces).await;
    let removed = engine.discard_container(&spec.name).await;
    copied.and(removed)?;
    if packing.digest.await.is_ok_and(|digest| digest == folder.digest) {
        return Ok(());
    }
    // it is called after what was there when the plan was made, and nobody has it yet
    engine.remove_volume(&volume.name).await?;
    Err(StepError::Changing { folder: folder.shown.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
