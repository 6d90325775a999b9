//! From files to a plan: what `up` and `plan` share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::bundle::Bundle;
use crate::compile::{Apart, MountProblem, addons, image_specs, service_volumes, streams};
use crate::config::Loaded;
use crate::doctor::{Finding, Fix};
use crate::model::{ContainerState, DEFAULT_NODE_IMAGE, Healthcheck, Invocation, Platform, Protocol, Role, macula};
use crate::plan::forecast::{Forecast, forecast};
use crate::plan::{
    Action, LeftBehind, LeftOut, OfCompose, OtherProject, Plan, SupplyProblem, left_behind, of_compose,
    replaced_projects, select, unheeded,
};

use super::apart;
use super::cluster::join::{self, Joined};
use super::survey::{KeptStacks, Look, Survey, survey_with};
use super::{Error, Session, durations, mounts, reach, resolver, staying};

/// What a run of `up` asks for beside the files.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only these services and what they need; empty: all.
    pub services: Vec<String>,
    /// Only these, whatever they need.
    pub no_deps: bool,
    /// Services whose number of containers somebody has just said: the ingress is to know them all.
    pub scaled: BTreeSet<String>,
    /// What this one needs is brought up and its image is there, and it is left as it is.
    pub apart: Option<String>,
    /// What has a build is built again, also where its image is there.
    pub build: bool,
    /// See [`crate::model::Observed::fresh`].
    pub fresh: Vec<String>,
    /// New containers for these services, or for all, also where they are right.
    pub recreate: bool,
    /// Nothing may be left out.
    pub strict: bool,
    /// Services that somebody goes on to use: without one of them all the rest is of no use.
    pub needed: Vec<String>,
    /// The cluster is left as it is; `None`: as the last `up` did.
    pub no_cluster: Option<bool>,
    /// Services of stacks that were not loaded are removed too.
    pub remove_orphans: bool,
    /// Images that every source refused before are tried again.
    pub retry: bool,
    /// The resolver is started (true) or left alone; `None`: as the last `up` did.
    pub dns: Option<bool>,
    /// There is somebody to ask, or who has agreed, before a program is fetched.
    pub may_fetch: bool,
    /// Tasks that run, whatever has changed.
    pub tasks: Vec<String>,
    /// Somebody only looks: the addresses are reached as the next `up` would have it, and there is a plan also where images
    /// are unavailable.
    pub ahead: bool,
    /// How long a service may take to become healthy, in place of every service's own.
    pub timeout: Option<Duration>,
    /// Images of it are used before all others, and loaded as they are needed.
    pub bundle: Option<Arc<Bundle>>,
}

/// Everything known before the first change.
pub struct Prepared {
    pub survey: Survey,
    pub plan: Plan,
    /// What the plan does with the cluster.
    pub cluster: Joined,
    /// Services that run and whose stack was not loaded, by stack: they stay.
    pub kept: KeptStacks,
    /// Projects whose services the plan would replace, which nobody has asked for: `up` does not.
    pub others: Vec<OtherProject>,
    /// The services that it is about, with what they need; `None`: all.
    pub selection: Option<BTreeSet<String>>,
    /// Services that it lacks an image for: somebody only looks, and `up` would carry out nothing of it.
    pub unavailable: Vec<SupplyProblem>,
}

impl Prepared {
    /// What is said of a cluster that was made with other settings.
    pub fn cluster_drift(&self) -> Option<String> {
        join::drift(&self.survey, &self.cluster)
    }

    /// How many services it is about: those that keep running, not jobs.
    pub fn services(&self) -> usize {
        let platform = &self.survey.platform;
        let chosen = |name: &String| self.selection.as_ref().is_none_or(|chosen| chosen.contains(name));
        platform.services().filter(|(_, service)| chosen(&service.name) && !platform.is_job(service)).count()
    }

    /// Why `up` would not carry the plan out.
    pub fn other_projects(&self) -> Option<Error> {
        let platform = &self.survey.platform;
        let error =
            |others| Error::OtherProjects { others, platform: platform.name.clone(), domain: platform.domain.clone() };
        Some(self.others.clone()).filter(|others| !others.is_empty()).map(error)
    }

    /// The same for whoever only looks.
    pub fn other_project_notes(&self, invocation: &Invocation) -> Vec<String> {
        let up = macula("up --remove-orphans").line(invocation);
        let note = |other: &OtherProject| {
            format!("{other}; it changes nothing then (`{up}` takes the place of {}, whose data stays)", other.name)
        };
        self.others.iter().map(note).collect()
    }

    /// What is said of data that a service does not have: its volume is made because another project has the name, is
    /// called after a container that had another name, or is one of docker compose's.
    pub fn apart_notes(&self) -> Vec<String> {
        let made = |name: &str| {
            let made = |action: &Action| matches!(action, Action::CreateVolume { spec, .. } if spec.name == name);
            self.plan.steps.iter().any(|step| made(&step.action))
        };
        let apart = self.survey.apart.iter().filter(|one| made(&one.own)).filter_map(Apart::note);
        let mut notes: Vec<String> = apart.collect();
        let observed = &self.survey.observed;
        notes.extend(left_behind(&self.plan, observed).iter().map(LeftBehind::to_string));
        notes.extend(of_compose(&self.plan, observed).iter().map(OfCompose::to_string));
        notes
    }

    /// What is said of services that run and whose stack was not loaded.
    pub fn kept_notes(&self, invocation: &Invocation) -> Vec<String> {
        let up = macula("up --remove-orphans").line(invocation);
        let note = |(stack, services): (&String, &BTreeSet<String>)| {
            let services = services.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!(
                "{services} of the stack {stack} {} kept: that stack was not loaded this time \
                 (`{up}` removes its containers)",
                if services.contains(", ") { "are" } else { "is" }
            )
        };
        self.kept.iter().map(note).collect()
    }
}

/// What `up` says and asks on its way. Only `cli` knows whether there is anybody to ask.
#[async_trait]
pub trait Consent: Send + Sync {
    /// The plan is made and nothing is changed yet.
    async fn planned(&self, prepared: &Prepared, findings: &[Finding], forecast: &Forecast);
    /// Whether a program that a build needs may be installed.
    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, Error>;
}

/// How long a plan takes and how much it fetches, by what this machine has seen.
pub async fn expected(session: &Session, plan: &Plan) -> Forecast {
    forecast(plan, &durations::known(session.host()).await)
}

/// Looks and plans; changes nothing.
pub async fn prepare(session: &Session, loaded: &Loaded, wanted: &Wanted) -> Result<Prepared, Error> {
    prepare_without(session, loaded, wanted, &[]).await
}

/// The same without services whose image could not be had although there seemed to be a way.
pub(super) async fn prepare_without(
    session: &Session,
    loaded: &Loaded,
    wanted: &Wanted,
    gone: &[LeftOut],
) -> Result<Prepared, Error> {
    let mut selection = selection(&loaded.platform, wanted)?;
    let named = needed(&loaded.platform, &wanted.services);
    let ahead = if wanted.ahead { reach::ahead(session, &loaded.platform).await? } else { None };
    let taken = resolver::taken_for(session.host(), &loaded.platform.name).await;
    let look = Look {
        tells: false,
        strict: wanted.strict,
        dns: wanted.dns,
        build: wanted.build,
        fresh: &wanted.fresh,
        gone,
        retry: wanted.retry || wanted.strict,
        named: &named,
        ahead: ahead.as_ref(),
        taken: &taken,
        bundle: wanted.bundle.as_deref(),
    };
    let mut survey = survey_with(session, loaded, look).await?;
    if let Some(chosen) = selection.as_mut().filter(|_| wanted.no_deps) {
        leave_stopped_ingress(session, &survey, &wanted.services, chosen);
    }
    let missed = survey.supply.left_out.iter().filter(|left| wanted.needed.contains(&left.service));
    let missed = missed.map(|left| survey.supply.missed(&left.service, left.reason.clone()));
    let mut missed: Vec<SupplyProblem> = missed.collect();
    for task in survey.platform.tasks.values() {
        let gone = |left: &&LeftOut| task.after.iter().flatten().any(|name| *name == left.service);
        if let Some(left) = survey.supply.left_out.iter().find(gone) {
            let reason = format!("the task {} runs after it, and it is left out: {}", task.name, left.reason);
            missed.push(survey.supply.missed(&left.service, reason.into()));
        }
    }
    survey.problems.extend(missed);
    survey.problems.retain(|problem| selection.as_ref().is_none_or(|chosen| chosen.contains(problem.service())));
    let unavailable = std::mem::take(&mut survey.problems);
    if unavailable.is_empty() {
        return Box::pin(plan_of(session, loaded, wanted, survey, selection)).await;
    }
    if wanted.ahead && unavailable.iter().all(SupplyProblem::is_of_image) {
        let specs = image_specs(&survey.platform);
        for problem in &unavailable {
            survey.supply.assume(problem.service(), &specs, &survey.observed);
        }
        // what else is in the way is told once there are images
        if let Ok(prepared) = Box::pin(plan_of(session, loaded, wanted, survey, selection)).await {
            return Ok(Prepared { unavailable, ..prepared });
        }
    }
    Err(Error::Supply(unavailable))
}

/// The plan for what was seen, once every service has an image.
async fn plan_of(
    session: &Session,
    loaded: &Loaded,
    wanted: &Wanted,
    survey: Survey,
    selection: Option<BTreeSet<String>>,
) -> Result<Prepared, Error> {
    let refused: Vec<String> = survey
        .resources
        .containers
        .iter()
        .filter(|spec| selection.as_ref().is_none_or(|chosen| chosen.contains(&spec.service)))
        .filter_map(|spec| {
            let sctp = spec.forwards.iter().find(|forward| forward.protocol == Protocol::Sctp);
            let sctp = sctp.map(|forward| {
                format!(
                    "port {}/sctp: where the engine does not publish, only TCP and UDP are passed on",
                    forward.listen.port()
                )
            });
            Some(format!("service {}: {}", spec.service, survey.engine.refuses(spec).or(sctp)?))
        })
        .collect();
    if !refused.is_empty() {
        return Err(Error::Unsupported { engine: survey.facts.engine, services: refused });
    }
    if !survey.facts.traits.start_interval {
        let asks = |check: &Healthcheck| check.start_interval.is_some();
        for (_, service) in survey.platform.services() {
            if service.healthcheck.as_ref().is_some_and(asks) {
                session.events.warn(format!(
                    "service {}: healthcheck.start_interval has no effect on {}, which asks at the usual interval",
                    service.name, survey.facts.engine
                ));
            }
        }
    }
    for unused in &loaded.unused_overrides {
        if !addons::image_names().contains(&unused.as_str()) && *unused != node_image(&survey.platform) {
            session.events.warn(format!("images.overrides: no stack has the image {unused}"));
        }
    }
    let Survey { platform, resources, supply, observed, .. } = &survey;
    for one in unheeded(platform, resources, supply, observed, &|service| service_volumes(platform, service)) {
        if selection.as_ref().is_none_or(|chosen| !one.services.is_disjoint(chosen)) {
            session.events.warn(one.said);
        }
    }
    for unseen in apart::unseen_by_the_engine(session.host(), &survey.facts, &survey.platform, selection.as_ref()).await
    {
        session.events.warn(format!(
            "{unseen} is in this container only, and the engine, which is outside of it, mounts its own path of that name: mount \
             the project into this container under the path that it has on the engine's machine, use `configs:`, or have what \
             is only read copied with `x-macula: {{mounts: copy}}`"
        ));
    }
    let chosen = |service: &String| selection.as_ref().is_none_or(|chosen| chosen.contains(service));
    let refused = survey.copies.problems.iter().filter(|problem| chosen(&problem.service));
    let refused: Vec<MountProblem> = refused.cloned().collect();
    if !refused.is_empty() {
        return Err(Error::Mounts(refused));
    }
    for warning in survey.copies.warnings(&chosen) {
        session.events.warn(warning);
    }
    let mut anew: BTreeSet<String> = match (wanted.recreate, wanted.services.as_slice()) {
        (false, _) => BTreeSet::new(),
        (true, []) => survey.platform.services().map(|(_, service)| service.name.clone()).collect(),
        (true, named) => named.iter().cloned().collect(),
    };
    anew.extend(wanted.tasks.iter().cloned());
    let (mut plan, kept) = match survey.foreign() {
        Some(_) => (Plan::default(), KeptStacks::new()),
        None => survey.reconcile(selection.as_ref(), &anew, wanted.remove_orphans).map_err(Error::Conflicts)?,
    };
    // what was not to be started is not missed
    plan.left_out.retain(|left| chosen(&left.service));
    let missing = mounts::missing(session.host(), &survey.facts, &survey.platform, &plan).await;
    if !missing.is_empty() {
        return Err(Error::NoSuchPaths(missing));
    }
    let others = match wanted.remove_orphans {
        true => Vec::new(),
        false => replaced_projects(&plan, &survey.resources.containers, &survey.observed, &survey.gone),
    };
    let no_cluster = wanted.no_cluster.unwrap_or(survey.choices.no_cluster);
    let cluster = match wanted.services.as_slice() {
        [] if survey.foreign.is_none() => {
            let wanted = join::Wanted { strict: wanted.strict, none: no_cluster, may_fetch: wanted.may_fetch };
            join::extend(session, &survey, &mut plan, wanted).await?
        }
        _ => Joined::default(),
    };
    if survey.foreign.is_none() && (!plan.is_empty() || selection.is_none()) {
        reach::extend(session, &survey, &mut plan).await?;
    }
    let staying = staying::in_the_way(&survey, &plan).await?;
    if !staying.is_empty() {
        return Err(Error::Conflicts(staying));
    }
    if let Some(service) = &wanted.apart {
        plan.leave(service);
    }
    for step in &mut plan.steps {
        if let (Action::AwaitReady { readiness, .. }, Some(timeout)) = (&mut step.action, wanted.timeout) {
            readiness.timeout = timeout;
        }
    }
    Ok(Prepared { survey, plan, cluster, kept, others, selection, unavailable: Vec::new() })
}

/// Whoever starts nothing that services need does not start their ingress either; one that runs learns of them.
fn leave_stopped_ingress(session: &Session, survey: &Survey, named: &[String], chosen: &mut BTreeSet<String>) {
    let platform = &survey.platform;
    let runs = |service: &str| {
        let mut all = survey.observed.containers.iter();
        all.any(|found| {
            found.replica_of(platform.name.as_str()) == Some(service) && found.state == ContainerState::Running
        })
    };
    for (_, ingress) in platform.services().filter(|(_, service)| service.extension.role.is_some()) {
        if named.contains(&ingress.name) || runs(&ingress.name) || !chosen.remove(&ingress.name) {
            continue;
        }
        let up = session.line(macula("up").arg(&ingress.name));
        session.events.warn(format!(
            "{} is not running, and --no-deps leaves it alone: names that lead through it do not answer until `{up}`",
            ingress.name
        ));
    }
}

/// These and what they cannot do without: whoever asks for a service by its name asks for both.
fn needed(platform: &Platform, services: &[String]) -> Vec<String> {
    let mut all = services.to_vec();
    let mut at = 0;
    while let Some(name) = all.get(at) {
        let service = platform.service(name).map(|(_, service)| service);
        let more = service.into_iter().flat_map(|service| &service.depends_on);
        let mut more: Vec<String> =
            more.filter(|(_, dependency)| dependency.required).map(|(name, _)| name.clone()).collect();
        more.extend(platform.tasks.get(name).into_iter().flat_map(|task| platform.awaited(task)));
        more.retain(|name| !all.contains(name));
        all.extend(more);
        at += 1;
    }
    all
}

/// As `images.overrides` may name it.
fn node_image(platform: &Platform) -> &str {
    platform.cluster.node_image.as_deref().unwrap_or(DEFAULT_NODE_IMAGE)
}

fn selection(platform: &Platform, wanted: &Wanted) -> Result<Option<BTreeSet<String>>, Error> {
    let services = &wanted.services;
    if services.is_empty() {
        return Ok(None);
    }
    let having = |roles: &[Role]| {
        let all =
            platform.services().filter(|(_, service)| service.extension.role.is_some_and(|role| roles.contains(&role)));
        all.map(|(_, service)| service.name.clone()).collect::<Vec<_>>()
    };
    let chosen = select(platform, services).and_then(|mut chosen| {
        // the ingress holds some of their ports
        let guarded =
            streams(platform).into_iter().any(|stream| !stream.hosts.is_empty() && chosen.contains(&stream.service));
        if guarded {
            chosen.extend(select(platform, &having(&[Role::Ingress]))?);
        }
        Ok(chosen)
    });
    let mut chosen = if wanted.no_deps { chosen.map(|_| services.iter().cloned().collect()) } else { chosen };
    let routed =
        |name: &&String| platform.service(name).is_some_and(|(_, service)| !service.extension.ingress.is_empty());
    if let Ok(chosen) = &mut chosen
        && wanted.scaled.iter().filter(routed).any(|name| chosen.contains(name))
    {
        chosen.extend(having(&Role::ALL));
    }
    chosen.map(Some).map_err(|names| Error::UnknownService { names, known: platform.service_names() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::app::testing::{Heard, heard_session, session, shop};
    use crate::cluster::kind::{CLUSTER_LABEL, ROLE_LABEL};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{ObservedContainer, ObservedNetwork, label};

    #[tokio::test]
    async fn an_ingress_that_does_not_run_is_started_with_what_services_need_alone() {
        let stack = "services:\n  gate: {image: 'acme/gate:1', x-macula: {role: ingress}}\n  \
                     web: {image: 'acme/web:1', x-macula: {ingress: [{host: web, port: 80}]}}\n";
        let told = async |engine: FakeEngine, no_deps: bool| {
            let (host, heard) = (FakeHost::new(), Arc::new(Heard::default()));
            let loaded = shop(&host, "", stack);
            let session = heard_session(host, &engine, "macula scale", &heard);
            let web = || ["web".to_owned()];
            let wanted = Wanted { services: web().into(), scaled: web().into(), no_deps, ..Wanted::default() };
            let plan = prepare(&session, &loaded, &wanted).await.unwrap().plan;
            let creates = |step: &&crate::plan::Step| matches!(step.action, Action::CreateContainer { .. });
            let groups: BTreeSet<String> = plan.steps.iter().filter(creates).map(|step| step.group.clone()).collect();
            let about = heard.said().into_iter().filter(|line| line.contains("--no-deps"));
            (groups.into_iter().collect::<Vec<_>>().join(" "), about.collect::<Vec<_>>().join("; "))
        };
        let engine = || FakeEngine::new().with_image("acme/gate:1").with_image("acme/web:1");
        assert_eq!(told(engine(), false).await, ("gate web".to_owned(), String::new()));
        let left = "gate is not running, and --no-deps leaves it alone: names that lead through it do not answer until `macula up gate`";
        assert_eq!(told(engine(), true).await, ("web".to_owned(), left.to_owned()));
        let gate = ObservedContainer {
            id: "f".repeat(64),
            name: "macula-shop-gate-1".to_owned(),
            state: ContainerState::Running,
            labels: [(label::PLATFORM, "shop"), (label::SERVICE, "gate")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..ObservedContainer::default()
        };
        // of an older program, so that it is made once more
        assert_eq!(told(engine().with_container(gate), true).await, ("gate web".to_owned(), String::new()));
    }

    /// The engine would refuse to remove it when everything of ours has left it already.
    #[tokio::test]
    async fn a_network_that_others_are_on_is_not_made_again() {
        let host = FakeHost::new();
        let settings = "addresses: {subnet: 172.28.0.0/24}\n";
        let loaded = shop(&host, settings, "services: {web: {image: 'acme/web:1'}}");
        let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let network = ObservedNetwork {
            id: "n".repeat(64),
            name: "macula-shop".into(),
            labels: labels(&[(label::PLATFORM, "shop"), (label::FINGERPRINT, "of another subnet")]),
            ..ObservedNetwork::default()
        };
        let on_it = |name: &str, with: &[(&str, &str)]| ObservedContainer {
            id: format!("id of {name}"),
            name: name.to_owned(),
            state: ContainerState::Running,
            labels: labels(with),
            addresses: [("macula-shop".to_owned(), Ipv4Addr::new(10, 222, 7, 9))].into(),
            ..ObservedContainer::default()
        };
        let web = on_it("macula-shop-web-1", &[(label::PLATFORM, "shop"), (label::SERVICE, "web")]);
        let others = [
            on_it("macula-shop-control-plane", &[(CLUSTER_LABEL, "macula-shop"), (ROLE_LABEL, "control-plane")]),
            on_it("macula-shop-db-1", &[(label::PLATFORM, "shop"), (label::STACK, "blog"), (label::SERVICE, "db")]),
            on_it("mine", &[]),
        ];
        let prepared = async |others: &[ObservedContainer]| {
            let engine = FakeEngine::new().with_image("acme/web:1").with_network(network.clone());
            let engine = others.iter().chain([&web]).cloned().fold(engine, FakeEngine::with_container);
            prepare(&session(host.clone(), &engine, "macula up"), &loaded, &Wanted::default()).await
        };
        assert!(!prepared(&[]).await.unwrap().plan.is_empty());
        let Err(Error::Conflicts(conflicts)) = prepared(&others).await else { panic!() };
        let remedies = conflicts.iter().flat_map(|conflict| &conflict.remedies);
        let told = conflicts.iter().map(ToString::to_string);
        let told: Vec<String> = told.chain(remedies.map(|remedy| remedy.text(&Invocation::default()))).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        network macula-shop: its settings have changed, so that it has to be made again, and macula-shop-control-plane, macula-shop-db-1 and mine are on it
        macula cluster status  (to see what goes with the cluster, which has to be deleted first)
        macula up --remove-orphans  (to remove the containers of stacks that are not loaded)
        docker network disconnect macula-shop mine
        or leave the settings of the network as they were
        ");
    }

    #[tokio::test]
    async fn services_are_counted_without_jobs() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let stack = "services:\n  web: {image: 'acme/web:1'}\n  db: {image: 'acme/web:1'}\n  \
                     job: {image: 'acme/web:1', restart: 'no', x-macula: {once: true}}\n";
        let loaded = shop(&host, "", stack);
        let session = heard_session(host, &engine, "macula plan", &Arc::default());
        let counted = async |services: &[&str]| {
            let services = services.iter().map(|&name| name.to_owned()).collect();
            prepare(&session, &loaded, &Wanted { services, ..Wanted::default() }).await.unwrap().services()
        };
        assert_eq!((counted(&[]).await, counted(&["web"]).await), (2, 1));
    }

    #[test]
    fn all_that_names_lead_to_learns_of_a_new_number_of_containers() {
        let stack = "services:\n  web: {image: 'acme/web:1', x-macula: {ingress: {port: 80}}}\n  \
                     worker: {image: 'acme/worker:1'}\n  edge: {image: 'acme/edge:1', x-macula: {role: ingress}}\n  \
                     inside: {image: 'acme/edge:1', x-macula: {role: names}}\n";
        let loaded = shop(&FakeHost::new(), "", stack);
        let chosen = |service: &str, scaled: bool| {
            let services = vec![service.to_owned()];
            let scaled = services.iter().filter(|_| scaled).cloned().collect();
            let wanted = Wanted { services, scaled, ..Wanted::default() };
            selection(&loaded.platform, &wanted).unwrap().unwrap().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(chosen("web", true), ["edge", "inside", "web"]);
        assert_eq!(chosen("web", false), ["web"]);
        // no name leads to it
        assert_eq!(chosen("worker", true), ["worker"]);
    }
}
