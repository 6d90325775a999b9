//! Which image each service runs, before anything is fetched: what is here, what can be pulled,
//! what can be built, and what must be left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Reason;
use crate::model::{
    ImagePolicy, ImageSettings, ImageSpec, Observed, ObservedImage, Platform, Provider, PullPolicy, Service, label,
    split_registry,
};

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// As its makers publish it: pulled, or loaded from an archive.
    Image,
    /// Built here from packages or from the stack's own Dockerfile.
    Build,
}

/// One service's image.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    Present {
        reference: String,
        id: String,
        source: ImageSource,
    },
    /// `pull` and `build` say which sources are open, in that order.
    Obtain {
        spec: Box<ImageSpec>,
        pull: bool,
        build: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub service: String,
    pub reason: Reason,
}

/// The decision for all services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Supply {
    pub choices: BTreeMap<String, Choice>,
    pub left_out: Vec<LeftOut>,
    /// Those of them whose build alone is missing, which `build` makes.
    pub not_built: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupplyProblem {
    /// Exit code 6.
    #[error("service {service}: {reason}")]
    NoImage { service: String, reason: Reason },
    /// It was to be pulled again, which cannot be; the engine has one: exit code 6.
    #[error("service {service}: {reason}")]
    NotPulled { service: String, reason: Reason },
    /// Only its build would do, which is not here and is not made by `--images local`: exit code 6.
    #[error("service {service}: {reason}")]
    NotBuilt { service: String, reason: Reason },
    /// It asks for what an engine of this age does not know: exit code 3.
    #[error("service {service}: {reason}")]
    TooOld { service: String, reason: Reason },
    /// The volume was written by another provider: exit code 5.
    #[error("service {service}: the volume {volume} was written by {found}, which {opens}")]
    OtherProvider { service: String, volume: String, found: String, opens: String },
}

impl SupplyProblem {
    /// The service that has it.
    pub fn service(&self) -> &str {
        match self {
            Self::NoImage { service, .. }
            | Self::NotPulled { service, .. }
            | Self::NotBuilt { service, .. }
            | Self::TooOld { service, .. }
            | Self::OtherProvider { service, .. } => service,
        }
    }

    /// It has no image, and nothing else is wrong.
    pub fn is_of_image(&self) -> bool {
        matches!(self, Self::NoImage { .. } | Self::NotPulled { .. } | Self::NotBuilt { .. })
    }

    /// What may be the same for several services. None: it is about its own data.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::NoImage { reason, .. }
            | Self::NotPulled { reason, .. }
            | Self::NotBuilt { reason, .. }
            | Self::TooOld { reason, .. } => Some(reason),
            Self::OtherProvider { .. } => None,
        }
    }
}

/// `specs`: of `compile::image_specs`. `strict`: nothing is left out. The volumes of a service are
/// named by `volumes_of`. Services with a problem have no choice; whether that is the end is the
/// caller's to say.
pub fn supply(
    platform: &Platform,
    specs: &[ImageSpec],
    observed: &Observed,
    strict: bool,
    volumes_of: &dyn Fn(&Service) -> Vec<String>,
) -> (Supply, Vec<SupplyProblem>) {
    let mut supply = Supply::default();
    let mut problems = Vec::new();
    for (_, service) in platform.services() {
        let Some(spec) = specs.iter().find(|spec| spec.services.contains(&service.name)) else { continue };
        match choose(&platform.images, service, spec, observed, written(service, observed, volumes_of)) {
            Ok(choice) => {
                supply.choices.insert(service.name.clone(), choice);
            }
            Err(SupplyProblem::NoImage { service, reason } | SupplyProblem::NotPulled { service, reason })
                if !strict && platform.is_optional(&service) =>
            {
                supply.left_out.push(LeftOut { service, reason });
            }
            Err(SupplyProblem::NotBuilt { service, reason }) if !strict && platform.is_optional(&service) => {
                supply.not_built.insert(service.clone());
                supply.left_out.push(LeftOut { service, reason });
            }
            Err(problem) => problems.push(problem),
        }
    }
    leave_out_dependents(platform, &mut supply, &mut problems, strict);
    (supply, problems)
}

/// The first of its volumes that says who wrote it, with that.
fn written(
    service: &Service,
    observed: &Observed,
    volumes_of: &dyn Fn(&Service) -> Vec<String>,
) -> Option<(String, String)> {
    volumes_of(service)
        .into_iter()
        .find_map(|name| Some((name.clone(), observed.volume(&name)?.labels.get(label::PROVIDER)?.clone())))
}

/// The volume of a service that only its build opens, and who wrote it.
pub fn data_of_build(
    service: &Service,
    observed: &Observed,
    volumes_of: &dyn Fn(&Service) -> Vec<String>,
) -> Option<(String, String)> {
    let provider = service.extension.provider.as_ref()?;
    written(service, observed, volumes_of).filter(|(_, found)| provider.image != *found && provider.build_opens(found))
}

impl Supply {
    /// What it is where a service that is left out is one that somebody cannot do without.
    pub fn missed(&self, service: &str, reason: Reason) -> SupplyProblem {
        let service = service.to_owned();
        match self.not_built.contains(&service) {
            true => SupplyProblem::NotBuilt { service, reason },
            false => SupplyProblem::NoImage { service, reason },
        }
    }

    /// Chooses for a service that has a problem with its image as if there were none: what is here, or else what there
    /// may be later.
    pub fn assume(&mut self, service: &str, specs: &[ImageSpec], observed: &Observed) {
        let Some(spec) = specs.iter().find(|spec| spec.services.iter().any(|name| name == service)) else { return };
        let choice = match spec.present(observed) {
            Some((reference, image)) => Choice::Present { reference, id: image.id.clone(), source: ImageSource::Image },
            None => Choice::Obtain {
                spec: Box::new(spec.clone()),
                pull: !spec.pull.is_empty(),
                build: spec.build.is_some(),
            },
        };
        self.choices.insert(service.to_owned(), choice);
    }

    /// Builds again what runs from a build, and what a stack of the user's says how to build. What was
    /// pulled for data of its own provider stays, and so does what is `fresh`: see [`Observed::fresh`].
    pub fn rebuild(&mut self, platform: &Platform, specs: &[ImageSpec], fresh: &BTreeSet<String>) {
        for (name, choice) in &mut self.choices {
            let Some(spec) = specs.iter().find(|spec| spec.services.contains(name)) else { continue };
            let own = spec.build.as_ref().is_some_and(|build| build.spec.is_own());
            let provided = platform.service(name).is_some_and(|(_, service)| service.extension.provider.is_some());
            let built = matches!(choice, Choice::Present { source: ImageSource::Build, .. });
            if spec.build.is_some() && !fresh.contains(spec.key()) && (built || (own && !provided)) {
                *choice = Choice::Obtain { spec: Box::new(spec.clone()), pull: false, build: true };
            }
        }
    }

    /// Takes out the services whose image could not be had after all, each with the reason, and what
    /// needs them. Returns those that may not be left out.
    pub fn leave_out(&mut self, platform: &Platform, gone: Vec<LeftOut>) -> Vec<SupplyProblem> {
        let mut problems = Vec::new();
        for left in gone {
            self.choices.remove(&left.service);
            if platform.is_optional(&left.service) {
                self.left_out.push(left);
            } else {
                problems.push(SupplyProblem::NoImage { service: left.service, reason: left.reason });
            }
        }
        leave_out_dependents(platform, self, &mut problems, false);
        problems
    }
}

/// What needs a service that is left out is left out too, or is a problem.
fn leave_out_dependents(platform: &Platform, supply: &mut Supply, problems: &mut Vec<SupplyProblem>, strict: bool) {
    loop {
        let out: BTreeSet<String> = supply.left_out.iter().map(|left| left.service.clone()).collect();
        let next = platform.services().find_map(|(_, service)| {
            if out.contains(&service.name) || !supply.choices.contains_key(&service.name) {
                return None;
            }
            let missing =
                service.depends_on.iter().find(|(name, dependency)| dependency.required && out.contains(*name))?;
            Some((service, missing.0.clone()))
        });
        let Some((service, missing)) = next else { return };
        supply.choices.remove(&service.name);
        let reason = Reason::Needs(missing);
        if service.extension.optional && !strict {
            supply.left_out.push(LeftOut { service: service.name.clone(), reason });
        } else {
            problems.push(SupplyProblem::NoImage { service: service.name.clone(), reason });
        }
    }
}

fn choose(
    images: &ImageSettings,
    service: &Service,
    spec: &ImageSpec,
    observed: &Observed,
    wrote: Option<(String, String)>,
) -> Result<Choice, SupplyProblem> {
    let (image_fits, build_fits) = match (&service.extension.provider, &wrote) {
        (Some(provider), Some((_, found))) => (provider.image == *found, provider.build_opens(found)),
        _ => (true, true),
    };
    let policy = images.policy;
    let build_only = spec.pull.is_empty();
    // what was built from files that have changed since is not what is asked for
    let stale = |found: &crate::model::ObservedImage| {
        let built = found.labels.get(label::FINGERPRINT);
        let wanted = spec.build.as_ref().filter(|build| build.spec.content.is_some());
        policy != ImagePolicy::Local
            && wanted.is_some_and(|wanted| built.is_some_and(|built| *built != wanted.fingerprint.0))
    };
    let outdated = spec.present(observed).is_some_and(|(_, image)| stale(image));
    let present_image = spec.present(observed).filter(|_| !outdated);
    let present_build =
        spec.build.as_ref().and_then(|build| Some((build.tag.clone(), observed.images.get(&build.tag)?)));
    // what is built of a folder whose content is known is the same until that changes; `pull_policy: build` asks
    // for a build each time, as in Compose
    let fixed_build = spec.build.as_ref().is_some_and(|build| {
        !build.spec.is_own() || (build.spec.content.is_some() && service.pull_policy != PullPolicy::Build)
    });

    // what this run has just got is what there is to get
    let fresh = observed.fresh.contains(spec.key());

    let here = |found: Option<(String, &ObservedImage)>, source| {
        found.map(|(reference, image)| Choice::Present { reference, id: image.id.clone(), source })
    };
    let never = service.pull_policy == PullPolicy::Never;
    let prefer_build = service.pull_policy == PullPolicy::Build || policy == ImagePolicy::Build;
    let obtain = |pull: bool, build: bool| Choice::Obtain { spec: Box::new(spec.clone()), pull, build };

    // whoever brings a bundle wants what is in it, and waits for no registry
    let bundled = |found: &Option<(String, &ObservedImage)>| {
        found.as_ref().is_some_and(|(name, _)| observed.bundled.contains_key(name))
    };
    // who names an image and has it here wants no other server: the build in its place would go unnoticed
    let named_by = images.named_by(service);
    let named_by = named_by.filter(|_| !image_fits && !prefer_build && spec.present(observed).is_some());
    let unwanted_build = named_by.is_some();
    let choice = match policy {
        _ if unwanted_build => None,
        _ if image_fits && bundled(&present_image) => here(present_image, ImageSource::Image),
        _ if build_fits && bundled(&present_build) => here(present_build, ImageSource::Build),
        ImagePolicy::Local => {
            let image = image_fits.then(|| here(present_image, ImageSource::Image)).flatten();
            image.or_else(|| build_fits.then(|| here(present_build, ImageSource::Build)).flatten())
        }
        ImagePolicy::Pull if fresh && image_fits && present_image.is_some() => here(present_image, ImageSource::Image),
        ImagePolicy::Pull if !build_only && !never => {
            (image_fits && reachable(spec, observed)).then(|| obtain(true, false))
        }
        _ if prefer_build && spec.build.is_some() && build_fits => {
            if (fixed_build || fresh) && present_build.is_some() {
                here(present_build, ImageSource::Build)
            } else {
                Some(obtain(false, true))
            }
        }
        _ => {
            let always = service.pull_policy == PullPolicy::Always && !fresh;
            let refresh = always && !build_only && reachable(spec, observed);
            let image = if image_fits && !refresh { here(present_image, ImageSource::Image) } else { None };
            image
                .or_else(|| if build_fits && !refresh { here(present_build, ImageSource::Build) } else { None })
                .or_else(|| {
                    // whoever has the source here wants that, and not what a registry has under the name
                    let pull = !build_only && !never && !outdated && image_fits && reachable(spec, observed);
                    let build = spec.build.is_some() && build_fits;
                    (pull || build).then(|| obtain(pull, build))
                })
        }
    };
    // another one is asked for than the one that is there
    let present = spec.present(observed).is_some();
    // the data is the build's own, or there is nothing but a build: it is missing, and nothing else is wrong
    let only_build = policy == ImagePolicy::Local && build_fits && (build_only || !image_fits) && !unwanted_build;
    choice.ok_or_else(|| match (wrote, image_fits && build_fits) {
        _ if only_build && spec.build.is_some() => {
            SupplyProblem::NotBuilt { service: service.name.clone(), reason: not_built(spec) }
        }
        (Some((volume, found)), false) => {
            let opens = match (&service.extension.provider, &named_by) {
                (Some(provider), _) if image_fits => {
                    format!("only the image opens ({}), and it cannot be had", provider.image)
                }
                (Some(Provider { build, .. }), Some(setting)) if build_fits => {
                    format!("only the build opens ({build}), and {setting} in macula.yaml names another one")
                }
                (Some(provider), _) if build_fits => {
                    format!("only the build opens ({}), and it is not allowed", provider.build)
                }
                (Some(provider), _) => {
                    format!("neither the image ({}) nor the build ({}) opens", provider.image, provider.build)
                }
                (None, _) => String::new(),
            };
            SupplyProblem::OtherProvider { service: service.name.clone(), volume, found, opens }
        }
        _ => {
            let reason = no_image(policy, service, spec, observed);
            let service = service.name.clone();
            match policy == ImagePolicy::Pull && present {
                true => SupplyProblem::NotPulled { service, reason },
                false => SupplyProblem::NoImage { service, reason },
            }
        }
    })
}

fn not_built(spec: &ImageSpec) -> Reason {
    let own = spec.build.as_ref().is_some_and(|build| build.spec.is_own());
    let tag = spec.build.as_ref().map_or(&spec.reference, |build| &build.tag).clone();
    Reason::NotBuilt { tag, own }
}

fn no_image(policy: ImagePolicy, service: &Service, spec: &ImageSpec, observed: &Observed) -> Reason {
    let image = spec.reference.clone();
    let has_build = spec.build.is_some();
    if policy == ImagePolicy::Local && observed.images.contains_key(&image) {
        return Reason::NotLocked { image };
    }
    if policy == ImagePolicy::Local {
        return Reason::NotPulled { image };
    }
    if service.pull_policy == PullPolicy::Never {
        return Reason::NeverPulled { image, has_build };
    }
    let hosts: BTreeSet<&str> = spec
        .pull
        .iter()
        .map(|reference| split_registry(reference).0)
        .filter(|host| observed.registries.get(*host) == Some(&false))
        .collect();
    let hosts = hosts.into_iter().map(str::to_owned).collect();
    match policy {
        // there may be one in the engine, and another one is wanted
        ImagePolicy::Pull => Reason::NotRefreshed { image, hosts },
        _ => Reason::OutOfReach { image, hosts, has_build },
    }
}

/// Any of the image's registries answered. One that was not asked counts as reachable: the pull
/// will tell.
fn reachable(spec: &ImageSpec, observed: &Observed) -> bool {
    spec.pull.iter().any(|reference| observed.registries.get(split_registry(reference).0).copied().unwrap_or(true))
}
