//! Images and the ways to get them.

use std::collections::BTreeMap;

use crate::model::{
    BaseImage, Build, Fingerprint, IMAGE_CONTEXT, ImageBuild, ImageSpec, Platform, PrepareStep, PullPolicy, Service,
    label, repository, split_registry,
};

/// The Debian release of what we build.
pub const BASE_SUITE: &str = "trixie";

/// One for each distinct reference, in the order of the services.
pub fn image_specs(platform: &Platform) -> Vec<ImageSpec> {
    let mut all: Vec<ImageSpec> = Vec::new();
    for (_, service) in platform.services() {
        let spec = image_spec(platform, service);
        // a service may name the image that another one builds
        let same = |other: &&mut ImageSpec| {
            other.reference == spec.reference
                && match (&other.build, &spec.build) {
                    // their tags and labels name the service
                    (Some(one), Some(other)) => one.fingerprint == other.fingerprint && one.also == other.also,
                    _ => true,
                }
        };
        match all.iter_mut().find(same) {
            Some(same) => {
                same.services.push(service.name.clone());
                match (&mut same.build, spec.build) {
                    (Some(one), Some(other)) if one.tag != other.tag && !one.spec.is_own() => one.alike.push(other.tag),
                    (Some(_), _) => {}
                    (none, build) => *none = build,
                }
            }
            None => all.push(spec),
        }
    }
    all
}

pub(super) fn image_spec(platform: &Platform, service: &Service) -> ImageSpec {
    // what is built for a service is not built again for its tasks
    if let Some(owner) = owner(platform, service).filter(|_| service.build.is_some()) {
        return ImageSpec { services: vec![service.name.clone()], ..image_spec(platform, owner) };
    }
    let build = service.build.as_ref().map(|build| image_build(platform, service, build));
    let reference = match (&service.image, &build) {
        (Some(image), _) => image.clone(),
        (None, Some(build)) => build.tag.clone(),
        (None, None) => String::new(),
    };
    // Compose: a service with `build` and without `image` has nothing to pull
    let sources = sources(platform, service);
    let locked = match sources.iter().map(|source| source.digest.clone()).collect::<Option<Vec<String>>>() {
        Some(digests) if !digests.is_empty() => digests,
        _ => Vec::new(),
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut pull: Vec<String> = sources.into_iter().flat_map(|source| source.pull).collect();
    pull.retain(|reference| seen.insert(reference.clone()));
    ImageSpec {
        reference,
        pull,
        locked,
        build,
        always_pull: service.pull_policy == PullPolicy::Always,
        platform: service.options.platform.clone(),
        services: vec![service.name.clone()],
    }
}

/// [`ImageSpec::reference`] of a service. A build is hashed only where its name is all that there is.
pub(super) fn image_reference(platform: &Platform, service: &Service) -> String {
    let named = owner(platform, service).filter(|_| service.build.is_some()).unwrap_or(service);
    named.image.clone().unwrap_or_else(|| image_spec(platform, named).reference)
}

/// The service that a task belongs to.
fn owner<'a>(platform: &'a Platform, service: &Service) -> Option<&'a Service> {
    let task = service.extension.task.as_ref()?;
    let (stack, _) = platform.service(&service.name)?;
    stack.owner(task).filter(|owner| owner.extension.task.is_none())
}

/// One image that a service may run, as its stack names it, and where it can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub reference: String,
    /// In order: mirrors of its registry, then the registry; with the digest where it is locked.
    pub pull: Vec<String>,
    /// Of macula.lock, or written in the stack.
    pub digest: Option<String>,
}

/// `image`, then `x-macula.sources`.
fn sources(platform: &Platform, service: &Service) -> Vec<Source> {
    let all = service.image.iter().chain(service.extension.sources.iter().filter(|_| service.image.is_some()));
    all.map(|reference| source(platform, reference)).collect()
}

fn source(platform: &Platform, reference: &str) -> Source {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest.to_owned())),
        None => (reference, platform.images.locked.get(reference).cloned()),
    };
    let pinned = |name: &str| match &digest {
        // a digest says which image it is; a tag beside it says nothing more
        Some(digest) => format!("{}@{digest}", repository(name)),
        None => name.to_owned(),
    };
    let pull = mirrored(platform, name).iter().map(|name| pinned(name)).collect();
    Source { reference: reference.to_owned(), pull, digest }
}

/// The mirrors of its registry, then the registry.
pub fn mirrored(platform: &Platform, reference: &str) -> Vec<String> {
    let (registry, path) = split_registry(reference);
    let mirrors = platform.images.sources.get(registry).into_iter().flatten();
    let mut all: Vec<String> = mirrors.map(|mirror| format!("{}/{path}", mirror.trim_end_matches('/'))).collect();
    all.push(reference.to_owned());
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|reference| seen.insert(reference.clone()));
    all
}

/// Every image that macula.lock can name, once, with the places to ask for its digest: as if
/// nothing were locked. Those that the stack pins itself are not among them.
pub fn lockable(platform: &Platform) -> Vec<Source> {
    let mut free = platform.clone();
    free.images.locked.clear();
    let mut all: Vec<Source> = Vec::new();
    for (_, service) in free.services() {
        for source in sources(&free, service) {
            if source.digest.is_none() && !all.contains(&source) {
                all.push(source);
            }
        }
    }
    all
}

fn image_build(platform: &Platform, service: &Service, build: &Build) -> ImageBuild {
    let mut build = build.clone();
    for place in build.contexts.values_mut() {
        // that this leads to an end was checked when the files were read
        if let Some((_, other)) = place.strip_prefix("service:").and_then(|name| platform.service(name)) {
            *place = format!("{IMAGE_CONTEXT}{}", image_spec(platform, other).reference);
        }
    }
    let build = &build;
    let prepare = &service.extension.prepare;
    let fingerprint = match prepare.iter().any(|step| matches!(step, PrepareStep::Program { .. })) {
        // another version of the program makes another image
        true => Fingerprint::of(&(build, prepare, env!("CARGO_PKG_VERSION"))),
        false => Fingerprint::of(&(build, prepare)),
    };
    let base = build.dockerfile_inline.as_deref().and_then(BaseImage::named_in);
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
    let owner = if build.is_own() { platform.name.prefix() } else { "macula".to_owned() };
    ImageBuild {
        tag: format!("{owner}/{}:{short}", service.name),
        spec: build.clone(),
        prepare: prepare.clone(),
        base,
        fingerprint,
        labels,
        also: service.image.clone().filter(|_| build.is_own()),
        alike: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, PlatformName, Stack};

    fn platform(image: &str, sources: &[&str]) -> Platform {
        let mut service = Service { name: "web".into(), image: Some(image.into()), ..Service::default() };
        service.extension.sources = sources.iter().map(|source| (*source).to_owned()).collect();
        let stack = Stack {
            scoped: false,
            name: "s".into(),
            origin: Origin::BuiltIn,
            services: [("web".to_owned(), service)].into(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
        };
        let mut platform = Platform::new(PlatformName::new("p").unwrap(), vec![stack]);
        platform.images.sources = [("docker.io".to_owned(), vec!["mirror.gcr.io/".to_owned()])].into();
        platform
    }

    #[test]
    fn mirrors_come_first_and_a_digest_takes_the_place_of_the_tag() {
        let mut platform = platform("nginx:1.30.4", &["quay.io:443/nginx/nginx:1"]);
        assert_eq!(
            image_specs(&platform)[0].pull,
            ["mirror.gcr.io/library/nginx:1.30.4", "nginx:1.30.4", "quay.io:443/nginx/nginx:1"]
        );
        platform.images.locked = [("nginx:1.30.4".to_owned(), "sha256:aa".to_owned())].into();
        let spec = &image_specs(&platform)[0];
        assert_eq!(
            spec.pull,
            ["mirror.gcr.io/library/nginx@sha256:aa", "nginx@sha256:aa", "quay.io:443/nginx/nginx:1"]
        );
        // the second source has none: what came from there cannot be told from anything else
        assert_eq!(spec.locked, [""; 0]);
        platform.images.locked.insert("quay.io:443/nginx/nginx:1".into(), "sha256:bb".into());
        assert_eq!(image_specs(&platform)[0].locked, ["sha256:aa", "sha256:bb"]);
        let asked: Vec<String> = lockable(&platform).into_iter().flat_map(|source| source.pull).collect();
        assert_eq!(asked, ["mirror.gcr.io/library/nginx:1.30.4", "nginx:1.30.4", "quay.io:443/nginx/nginx:1"]);
    }

    #[test]
    fn a_build_takes_files_of_another_services_image() {
        let mut platform = platform("nginx:1", &[]);
        let services = &mut platform.stacks[0].services;
        let build = |contexts: &[(&str, &str)]| Build {
            context: Some("/x".into()),
            contexts: contexts.iter().map(|(name, place)| ((*name).to_owned(), (*place).to_owned())).collect(),
            ..Build::default()
        };
        let mut add = |name: &str, build| {
            services.insert(name.into(), Service { name: name.into(), build: Some(build), ..Service::default() });
        };
        add("base", build(&[]));
        add("app", build(&[("base", "service:base"), ("web", "service:web"), ("src", "/src")]));
        let specs = image_specs(&platform);
        let of =
            |name: &str| specs.iter().find(|spec| spec.services == [name]).and_then(|spec| spec.build.clone()).unwrap();
        let built = of("base").tag;
        let want = [
            ("base", format!("docker-image://{built}")),
            ("src", "/src".into()),
            ("web", "docker-image://nginx:1".into()),
        ];
        assert_eq!(of("app").spec.contexts, want.map(|(name, place)| (name.to_owned(), place)).into());
    }

    #[test]
    fn the_same_build_of_ours_bears_the_names_of_all_who_have_it() {
        let mut platform = platform("pg:1", &[]);
        let build = |dockerfile: &str, context: Option<&str>| Build {
            dockerfile_inline: Some(dockerfile.into()),
            context: context.map(Into::into),
            ..Build::default()
        };
        let services = &mut platform.stacks[0].services;
        let mut add = |name: &str, build| {
            let service =
                Service { name: name.into(), image: Some("pg:1".into()), build: Some(build), ..Service::default() };
            services.insert(name.into(), service);
        };
        add("databases", build("FROM x\nRUN client\n", None));
        add("schema", build("FROM x\nRUN client\n", None));
        add("server", build("FROM x\nRUN server\n", None));
        let specs = image_specs(&platform);
        let client = specs.iter().find(|spec| spec.services.contains(&"schema".to_owned())).unwrap();
        let client = client.build.clone().unwrap();
        let short = client.tag.rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(
            (client.tag, client.alike),
            (format!("macula/databases:{short}"), vec![format!("macula/schema:{short}")])
        );
        let server = specs.iter().find(|spec| spec.services.contains(&"server".to_owned())).unwrap();
        assert_eq!(server.build.clone().unwrap().alike, [""; 0]);
    }

    #[test]
    fn what_the_stack_pins_is_not_locked() {
        let platform = platform("nginx:1.30.4@sha256:cc", &[]);
        assert_eq!(lockable(&platform), []);
        let spec = &image_specs(&platform)[0];
        assert_eq!(spec.pull, ["mirror.gcr.io/library/nginx@sha256:cc", "nginx@sha256:cc"]);
        assert_eq!(spec.locked, ["sha256:cc"]);
    }
}
