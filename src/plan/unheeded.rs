//! What the files ask for and a plan leaves as it is, since data depends on it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{Observed, ObservedVolume, Platform, Resources, Service, VolumeSpec, label};
use crate::words;

use super::reconcile::mounts;
use super::{Choice, ImageSource, Supply, data_of_build};

/// A setting that a plan leaves without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unheeded {
    /// Those that have what it is about.
    pub services: BTreeSet<String>,
    /// Which one, and why.
    pub said: String,
}

/// All that there is. `volumes_of`: see [`super::supply`].
pub fn unheeded(
    platform: &Platform,
    resources: &Resources,
    supply: &Supply,
    observed: &Observed,
    volumes_of: &dyn Fn(&Service) -> Vec<String>,
) -> Vec<Unheeded> {
    let builds = |name: &str| match supply.choices.get(name) {
        Some(Choice::Present { source, .. }) => *source == ImageSource::Build,
        Some(Choice::Obtain { pull, .. }) => !pull,
        None => false,
    };
    let built = platform.services().filter(|(_, service)| builds(&service.name));
    let images = built.filter_map(|(_, service)| {
        let setting = platform.images.named_by(service)?;
        let (volume, wrote) = data_of_build(service, observed, volumes_of)?;
        let said = format!(
            "service {}: {setting} has no effect: the volume {volume} was written by the build ({wrote}), and no other \
             server opens it",
            service.name
        );
        Some(Unheeded { services: [service.name.clone()].into(), said })
    });
    let volumes = resources.volumes.iter().filter(|spec| !spec.external).filter_map(|spec| {
        let found = observed.volume(&spec.name)?;
        let ours = found.labels.get(label::PLATFORM).is_some_and(|owner| *owner == *platform.name.as_str());
        let differ = differences(spec, found);
        (ours && !differ.is_empty()).then(|| {
            let users = resources.containers.iter().filter(|container| mounts(container, &spec.name));
            let said = format!(
                "volume {} was made with other settings ({}) and keeps them, since its data would be lost: one with another \
                 `name` has those of the file, and begins empty",
                spec.name,
                words::list(differ)
            );
            Unheeded { services: users.map(|container| container.service.clone()).collect(), said }
        })
    });
    images.chain(volumes).collect()
}

/// Only their names: options have passwords in them.
fn differences(spec: &VolumeSpec, found: &ObservedVolume) -> Vec<String> {
    let Some(made_by) = &found.driver else { return Vec::new() };
    // a plugin is told with its version
    let bare = |driver: &str| driver.strip_suffix(":latest").unwrap_or(driver).to_owned();
    let driver = bare(made_by) != bare(spec.driver.as_deref().unwrap_or("local"));
    let keys: BTreeSet<&String> = spec.driver_opts.keys().chain(found.driver_opts.keys()).collect();
    let other = keys.into_iter().filter(|&key| spec.driver_opts.get(key) != found.driver_opts.get(key));
    let options = other.map(|key| format!("driver_opts.{key}"));
    driver.then(|| "driver".to_owned()).into_iter().chain(options).collect()
}
