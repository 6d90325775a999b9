//! Images and the ways to get them.

use std::collections::BTreeMap;

use crate::model::{
    BaseImage, Build, Fingerprint, ImageBuild, ImageSpec, Platform, PullPolicy, Service, label, split_registry,
};

/// The Debian release of what we build.
pub const BASE_SUITE: &str = "trixie";
const BASE_REPOSITORY: &str = "macula/base";

/// One for each distinct reference, in the order of the services.
pub fn image_specs(platform: &Platform) -> Vec<ImageSpec> {
    let mut all: Vec<ImageSpec> = Vec::new();
    for (_, service) in platform.services() {
        let spec = image_spec(platform, service);
        // a service may name the image that another one builds
        let same = |other: &&mut ImageSpec| {
            other.reference == spec.reference
                && (other.build == spec.build || other.build.is_none() || spec.build.is_none())
        };
        match all.iter_mut().find(same) {
            Some(same) => {
                same.services.push(service.name.clone());
                if same.build.is_none() {
                    same.build = spec.build;
                }
            }
            None => all.push(spec),
        }
    }
    all
}

pub(super) fn image_spec(platform: &Platform, service: &Service) -> ImageSpec {
    let build = service.build.as_ref().map(|build| image_build(platform, service, build));
    let reference = match (&service.image, &build) {
        (Some(image), _) => image.clone(),
        (None, Some(build)) => build.tag.clone(),
        (None, None) => String::new(),
    };
    let pull = match &service.image {
        // Compose: a service with `build` and without `image` has nothing to pull
        None => Vec::new(),
        Some(image) => pull_references(platform, image, &service.extension.sources),
    };
    ImageSpec {
        reference,
        pull,
        build,
        always_pull: service.pull_policy == PullPolicy::Always,
        platform: service.options.platform.clone(),
        services: vec![service.name.clone()],
    }
}

/// Mirrors of the registry first, then the registry, then the other sources.
pub(super) fn pull_references(platform: &Platform, image: &str, sources: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for reference in std::iter::once(image).chain(sources.iter().map(String::as_str)) {
        let (registry, repository) = split_registry(reference);
        for mirror in platform.images.sources.get(registry).into_iter().flatten() {
            all.push(format!("{}/{repository}", mirror.trim_end_matches('/')));
        }
        all.push(reference.to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|reference| seen.insert(reference.clone()));
    all
}

fn image_build(platform: &Platform, service: &Service, build: &Build) -> ImageBuild {
    let fingerprint = Fingerprint::of(&(build, &service.extension.prepare));
    let base = build.dockerfile_inline.as_deref().and_then(base_image);
    let short = fingerprint.0.get(..12).unwrap_or(&fingerprint.0).to_owned();
    let mut labels = BTreeMap::from([
        (label::FINGERPRINT.to_owned(), fingerprint.0.clone()),
        (label::SERVICE.to_owned(), service.name.clone()),
    ]);
    if let Some(provider) = &service.extension.provider {
        labels.insert(label::PROVIDER.into(), provider.build.clone());
    }
    labels.extend(build.labels.clone());
    // what has a folder of its own belongs to one platform; what we ship is the same for all
    let owner = if build.context.is_some() { platform.prefix() } else { "macula".to_owned() };
    ImageBuild {
        tag: format!("{owner}/{}:{short}", service.name),
        spec: build.clone(),
        prepare: service.extension.prepare.clone(),
        base,
        fingerprint,
        labels,
        also: service.image.clone().filter(|_| build.context.is_some()),
    }
}

/// The base that a Dockerfile asks for with `FROM macula/base:SUITE`.
fn base_image(dockerfile: &str) -> Option<BaseImage> {
    dockerfile.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("FROM"))?;
        let reference = words.find(|word| !word.starts_with("--"))?;
        let suite = reference.strip_prefix(BASE_REPOSITORY)?.strip_prefix(':')?;
        Some(BaseImage { reference: reference.to_owned(), suite: suite.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_read_from_the_first_from_that_names_it() {
        let base = base_image("# c\nFROM --platform=linux/amd64 macula/base:trixie AS b\nRUN x").unwrap();
        assert_eq!((base.reference.as_str(), base.suite.as_str()), ("macula/base:trixie", "trixie"));
        assert_eq!(base_image("FROM debian:13\n"), None);
    }
}
