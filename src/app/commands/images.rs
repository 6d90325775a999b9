//! `images list|pull|build`.

use serde::Serialize;

use crate::apply::{Outcome, StepError, Tools, apply};
use crate::compile::{image_specs, published_addresses, service_volumes};
use crate::config::Loaded;
use crate::engine::EngineError;
use crate::model::{ImagePolicy, ImageSpec, ResourceId, ResourceKind, repository, split_registry};
use crate::observe;
use crate::plan::{
    Action, Cause, Choice, ImageSource, LeftOut, Plan, Reason, Step, SupplyProblem, Verb, data_of_build, supply,
};

use crate::app::survey::{load_for_engine, still_refused};
use crate::app::{Error, Session};

/// One line of `images list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRow {
    pub reference: String,
    pub services: Vec<String>,
    pub present: bool,
    pub source: Option<ImageSource>,
    /// What it is called in the engine.
    pub name: Option<String>,
    pub id: Option<String>,
    /// Of the manifest, as its registry names it; none for what was built or loaded.
    pub digest: Option<String>,
    /// macula.lock or the stack names its digest.
    pub locked: bool,
    /// Why it is this one.
    pub why: String,
    /// It is not here, and every service that would run it is left out: why.
    pub left_out: Option<Reason>,
    /// Its services that are left out, whether or not it is here.
    #[serde(skip)]
    pub without: Vec<LeftOut>,
    /// Bytes.
    pub size: Option<i64>,
    pub created: Option<String>,
    pub can_build: bool,
}

/// All images of the platform's stacks.
pub async fn image_rows(session: &Session, loaded: &Loaded) -> Result<Vec<ImageRow>, Error> {
    let platform = &loaded.platform;
    let (_, _, mut observed) = load_for_engine(session, platform).await?;
    let specs = image_specs(platform);
    if platform.images.policy != ImagePolicy::Local {
        let block = session.state(&platform.name).block(session.host(), platform).await?;
        let own = published_addresses(platform, block);
        observe::registries(session.host(), &specs, &own, &mut observed, false).await;
    }
    let (mut supplied, mut problems) =
        supply(platform, &specs, &observed, false, &|service| service_volumes(platform, service));
    let choices = session.state(&platform.name).choices(session.host()).await?;
    problems.extend(supplied.leave_out(platform, still_refused(session.host(), &choices, platform, &supplied)));
    let rows = specs.into_iter().map(|spec| {
        let image = spec.present(&observed).map(|(name, image)| (name, image, ImageSource::Image));
        let built = spec
            .build
            .as_ref()
            .and_then(|build| Some((build.tag.clone(), observed.images.get(&build.tag)?, ImageSource::Build)));
        let chosen = spec.services.iter().find_map(|service| supplied.choices.get(service));
        let in_engine = image.is_some();
        let of_build = spec.services.iter().find_map(|name| {
            let (_, service) = platform.service(name)?;
            data_of_build(service, &observed, &|service| service_volumes(platform, service))
        });
        let found = match chosen {
            Some(Choice::Present { source: ImageSource::Build, .. }) => built.or(image),
            _ => image.or(built),
        };
        let digest = found.as_ref().and_then(|(_, image, source)| {
            let known = image.repo_digests.iter().filter_map(|named| Some(named.split_once('@')?.1));
            known.filter(|_| *source == ImageSource::Image).map(str::to_owned).next()
        });
        let left_out = |service: &String| supplied.left_out.iter().find(|left| left.service == *service);
        let trouble = |service: &String| problems.iter().find(|problem| problem.service() == service);
        let why = match (&found, chosen) {
            (Some((name, _, ImageSource::Image)), _) if place(name) == place(&spec.reference) => named_in(&spec),
            (Some((name, _, ImageSource::Image)), _) => format!("from another source: {}", without_digest(name)),
            (Some((_, _, ImageSource::Build)), _) if spec.pull.is_empty() => "the stack only builds it".to_owned(),
            (Some((_, _, ImageSource::Build)), _) => match of_build {
                Some((volume, wrote)) => format!("the build: it wrote the volume {volume} ({wrote})"),
                None if in_engine => "the build, which goes before what is pulled".to_owned(),
                None => format!("the build: {} is not in the engine", spec.reference),
            },
            (None, Some(Choice::Obtain { pull: true, build: true, .. })) => "`up` pulls it, else builds it".to_owned(),
            (None, Some(Choice::Obtain { pull: true, .. })) => "`up` pulls it".to_owned(),
            (None, Some(Choice::Obtain { .. })) => "`up` builds it: no registry of it is in reach".to_owned(),
            (None, _) => spec
                .services
                .iter()
                .find_map(|service| {
                    left_out(service)
                        .map(|left| format!("left out: {}", left.reason))
                        .or_else(|| trouble(service).map(ToString::to_string))
                })
                .unwrap_or_default(),
        };
        let without = spec.services.iter().filter_map(left_out).cloned().collect();
        let reasons: Option<Vec<&LeftOut>> = spec.services.iter().map(left_out).collect();
        let reason = reasons.unwrap_or_default().first().map(|left| left.reason.clone());
        ImageRow {
            left_out: reason.filter(|_| found.is_none()),
            without,
            present: found.is_some(),
            source: found.as_ref().map(|(.., source)| *source),
            id: found.as_ref().map(|(_, image, _)| image.id.clone()),
            size: found.as_ref().map(|(_, image, _)| image.size),
            created: found.as_ref().and_then(|(_, image, _)| image.created.clone()),
            name: found.map(|(name, ..)| name),
            digest,
            locked: !spec.locked.is_empty(),
            why,
            can_build: spec.build.is_some(),
            reference: spec.reference,
            services: spec.services,
        }
    });
    Ok(rows.collect())
}

fn named_in(spec: &ImageSpec) -> String {
    match (spec.reference.contains('@'), spec.locked.is_empty()) {
        (true, _) => "pinned in the stack",
        (false, true) => "named in the stack",
        (false, false) => "named in the stack, and by macula.lock",
    }
    .to_owned()
}

fn without_digest(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// The registry and the repository in it.
fn place(name: &str) -> (&str, String) {
    split_registry(repository(without_digest(name)))
}

/// Pulls or builds, by policy, what these services run (or all). Returns the number of images, and the services whose
/// image is unavailable and that can be done without. `anew`: builds what is built already, too.
pub async fn obtain_images(
    session: &Session,
    loaded: &Loaded,
    policy: ImagePolicy,
    services: &[String],
    anew: bool,
) -> Result<(usize, Vec<LeftOut>), Error> {
    let (outcome, left_out) = try_images(session, loaded, policy, services, anew).await?;
    if !outcome.is_ok() {
        return Err(Error::Failed(Box::new(outcome)));
    }
    if outcome.ran.is_empty() && !services.is_empty() && !left_out.is_empty() {
        // whoever names it wants it
        let problem = |LeftOut { service, reason }| SupplyProblem::NoImage { service, reason };
        return Err(Error::Supply(left_out.into_iter().map(problem).collect()));
    }
    Ok((outcome.ran.len(), left_out))
}

/// What the sources of an image said, when they are all that is wrong.
pub(in crate::app) fn refusal(error: &StepError) -> Option<Reason> {
    match error {
        StepError::NoImage { reference, attempts } => Some(match attempts.first() {
            None => Reason::Image { image: reference.clone(), said: " cannot be had".to_owned() },
            Some(first) => {
                let said = attempts.iter().map(ToString::to_string).collect::<Vec<_>>();
                Reason::of_image(first.reference(), said.join("; "))
            }
        }),
        StepError::Engine(EngineError::Image { source, .. }) => {
            Some(Reason::of_image(source.reference(), source.to_string()))
        }
        StepError::Build { failure, .. } => Some(format!("its build failed: {}", failure.what).into()),
        _ => None,
    }
}

/// As [`obtain_images`]; which images could not be had is the caller's to judge. With the services that
/// are left out.
pub(super) async fn try_images(
    session: &Session,
    loaded: &Loaded,
    policy: ImagePolicy,
    services: &[String],
    anew: bool,
) -> Result<(Outcome, Vec<LeftOut>), Error> {
    let mut platform = loaded.platform.clone();
    platform.images.policy = policy;
    let unknown: Vec<String> = services.iter().filter(|name| platform.service(name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        let known = platform.service_names();
        return Err(Error::UnknownService { names: unknown, known });
    }
    let (engine, facts, mut observed) = load_for_engine(session, &platform).await?;
    let wanted = |name: &str| services.is_empty() || services.iter().any(|service| service == name);
    let specs = image_specs(&platform);
    if policy != ImagePolicy::Local {
        let block = session.state(&platform.name).block(session.host(), &platform).await?;
        let own = published_addresses(&platform, block);
        observe::registries(session.host(), &specs, &own, &mut observed, policy == ImagePolicy::Pull).await;
    }
    let (mut chosen, problems) =
        supply(&platform, &specs, &observed, false, &|service| service_volumes(&platform, service));
    if anew {
        chosen.rebuild(&platform, &specs, &observed.fresh);
    }
    // only the build opens the data, and what a registry has is never run: there is nothing to pull
    let of_build = |problem: &SupplyProblem| {
        policy == ImagePolicy::Pull
            && matches!(problem, SupplyProblem::OtherProvider { .. })
            && platform.service(problem.service()).is_some_and(|(_, service)| {
                data_of_build(service, &observed, &|service| service_volumes(&platform, service)).is_some()
            })
    };
    let problems = problems.into_iter().filter(|problem| wanted(problem.service()));
    let (built, problems): (Vec<_>, Vec<_>) = problems.partition(of_build);
    if !problems.is_empty() {
        return Err(Error::Supply(problems));
    }
    for problem in built {
        let service = problem.service();
        session.events.info(format!("{service}: nothing to pull, since only the build opens its data"));
    }
    let mut plan = Plan::default();
    for spec in &specs {
        let Some(service) = spec.services.iter().find(|service| wanted(service)) else { continue };
        if let Some(Choice::Obtain { spec, pull, build }) = chosen.choices.get(service) {
            let verb = if *pull { Verb::Pull } else { Verb::Build };
            let name = if *pull { &spec.reference } else { service };
            plan.steps.push(Step {
                id: verb.image(name),
                resource: ResourceId::new(ResourceKind::Image, &spec.reference),
                group: service.clone(),
                action: Action::ObtainImage { spec: spec.clone(), pull: *pull, build: *build },
                cause: Cause::Requested,
                after: Vec::new(),
                destructive: false,
                needs_privilege: false,
            });
        }
    }
    plan.left_out = chosen.left_out.into_iter().filter(|left| wanted(&left.service)).collect();
    if plan.is_empty() {
        return Ok((Outcome::default(), plan.left_out));
    }
    let domain = platform.domain.clone();
    let tools = Tools { image_timeout: platform.timeouts.image, domain, ..session.tools(engine, facts) };
    let outcome = apply(&session.command, &platform.name, &plan, tools).await;
    if outcome.cancelled && outcome.failed.is_empty() {
        return Err(Error::Cancelled);
    }
    Ok((outcome, plan.left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::label;

    const STACK: &str = "services:\n  db:\n    image: 'db:1'\n    build: {dockerfile_inline: 'FROM scratch'}\n    \
                         volumes: ['data:/data']\n    x-macula: {provider: {image: db-1, build: db-2}}\n\
                         volumes: {data: {}}\n";

    /// `images pull` of a service that runs from its build is no error.
    #[tokio::test]
    async fn what_only_the_build_opens_is_not_pulled() {
        let host = FakeHost::new();
        let loaded = shop(&host, "", STACK);
        let (_, service) = loaded.platform.service("db").unwrap();
        let volume = service_volumes(&loaded.platform, service).remove(0);
        let pull = async |wrote: &str| {
            let labels = [(label::PLATFORM, loaded.platform.name.as_str()), (label::PROVIDER, wrote)];
            let engine = FakeEngine::new().with_volume(&volume, &labels);
            let session = session(host.clone(), &engine, "macula images pull");
            let services = ["db".to_owned()];
            let done = Box::pin(try_images(&session, &loaded, ImagePolicy::Pull, &services, false)).await;
            done.map(|(outcome, _)| outcome.ran.len())
        };
        assert_eq!(pull("db-2").await.unwrap(), 0);
        let error = pull("db-3").await.unwrap_err();
        assert!(matches!(&error, Error::Supply(problems) if problems.len() == 1), "{error}");
    }
}
