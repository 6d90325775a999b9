//! Folders of this machine that are copied into a volume. A volume takes files by way of a container alone: one that is
//! made of this very program, has the volume and is never started.

use super::files::file_error;
use super::{StepError, Tools};
use crate::engine::{copied_root, pack_copy};
use crate::model::{ContainerSpec, MountSpec, UNFINISHED, VolumeSpec, label};
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
    let copied = async {
        let own = folder.clone();
        let root = tokio::task::spawn_blocking(move || copied_root(&own, PLACE)).await;
        let root = root.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let root = root.map_err(|error| file_error(&folder.path, error))?;
        // the folder's own rights; Podman leaves those of a volume as they are
        let one: std::io::Result<bytes::Bytes> = Ok(root.into());
        let one = futures_util::stream::iter([one]);
        engine.unpack_in(&spec.name, "/", Box::pin(one)).await?;
        engine.unpack_in(&spec.name, &format!("/{PLACE}"), pack_copy((**folder).clone())).await?;
        Ok::<(), StepError>(())
    };
    let copied = copied.await;
    let removed = engine.discard_container(&spec.name).await;
    copied.and(removed.map_err(StepError::from))
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
    }
}
