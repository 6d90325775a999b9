//! One look at everything that a command has to know of the platform: the files compiled, the world observed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::apply::{ClusterWork, Tools};
use crate::bundle::Bundle;
use crate::compile::addons::{SCRAPE_SECRETS, SCRAPE_SERVER};
use crate::compile::{
    Apart, Block, Served, Site, TemplateContext, choose_subnet, compile_with, held, image_specs, kept_apart,
    published_addresses, rename_apart, service_volumes, written_volumes,
};
use crate::config::Loaded;
use crate::daemon::reach::Table;
use crate::engine::Engine;
use crate::host::Host;
use crate::model::{
    ContainerSpec, ContainerState, Facts, ImagePolicy, ImageSpec, NetworkSpec, Observed, Origin, Platform,
    PlatformName, Protocol, Resources, Secrets, TaskRun, Way, label, macula, split_registry,
};
use crate::observe;
use crate::pki;
use crate::plan::{
    Choice, Conflict, LeftOut, Plan, Reason, Supply, SupplyProblem, Wish, keep_other_stacks, reconcile_anew, supply,
    without,
};

use super::builds::{too_old, unbuildable};
use super::certificate::{self, Current};
use super::choices::{Choices, Refused};
use super::cluster::look::{ClusterLook, Sought};
use super::copies::{Copies, copy};
use super::exports::render_exports_with;
use super::mounts;
use super::owner::{self, Owner};
use super::state::complete_secrets;
use super::{Error, Session, State};

/// What was seen and what is wanted, side by side. Nothing of it changes afterwards.
pub struct Survey {
    pub engine: Arc<dyn Engine>,
    pub facts: Facts,
    /// Without the services that are left out.
    pub platform: Platform,
    pub state: State,
    pub block: Block,
    /// Of the platform's network.
    pub subnet: Ipv4Net,
    pub secrets: Secrets,
    /// Passwords were made that are not recorded yet.
    pub new_secrets: bool,
    /// Why those that are recorded could not be read: it is not known what an `up` would change.
    pub unread: Option<Error>,
    /// The ingress's certificate, which may live in memory only; the error: why it serves no HTTPS.
    pub(super) certificate: Result<Current, String>,
    /// The same, as the ingress has it.
    pub served: Option<Served>,
    pub resources: Resources,
    pub supply: Supply,
    /// Services that no image can be had for and that may not be left out.
    pub problems: Vec<SupplyProblem>,
    pub observed: Observed,
    pub cluster: ClusterLook,
    /// Whose the platform is, if not this user's.
    pub foreign: Option<String>,
    /// How the last `up` made its addresses reachable.
    pub reach: Option<Table>,
    /// What became of bind mounts of what the engine's machine does not have, of services that say what is to become of
    /// them.
    pub(super) copies: Copies,
    /// The background process is to run.
    pub resolver: bool,
    /// What the last `up` was told.
    pub choices: Choices,
    /// See [`State::brought`].
    pub brought: BTreeSet<String>,
    /// Compose files of containers that are not there any more: their projects were renamed or removed.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Published ports that somebody else has were to move: those that are in the way all the same cannot.
    remap: bool,
    /// Services that are left out since every source has refused their image.
    pub(super) refused: Vec<LeftOut>,
    /// Volumes that are not another project's although their key is.
    pub(super) apart: Vec<Apart>,
}

/// Services that run and whose stack was not loaded, by stack.
pub type KeptStacks = BTreeMap<String, BTreeSet<String>>;

/// How a look is to go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look<'a> {
    /// Somebody is told of it, and no more: passwords that cannot be read are no error.
    pub tells: bool,
    /// Nothing may be left out.
    pub strict: bool,
    /// As [`super::Wanted::dns`].
    pub dns: Option<bool>,
    /// What has a build is built again.
    pub build: bool,
    /// See [`Observed::fresh`].
    pub fresh: &'a [String],
    /// Services whose image could not be had although there seemed to be a way.
    pub gone: &'a [LeftOut],
    /// Images that were refused before are tried again.
    pub retry: bool,
    /// The same for the images of these services alone.
    pub named: &'a [String],
    /// How the next `up` would make its addresses reachable, where that is what counts.
    pub ahead: Option<&'a Table>,
    /// Where the background process takes what the platform sends.
    pub taken: &'a [(SocketAddr, Protocol)],
    /// Images that count as being there.
    pub bundle: Option<&'a Bundle>,
}

impl Survey {
    /// The last `up` was to leave the cluster alone.
    pub fn leaves_cluster_alone(&self) -> bool {
        self.choices.no_cluster
    }

    /// Nothing is planned over the head of another user: it is looked at, and told.
    pub fn foreign(&self) -> Option<Error> {
        let owner = self.foreign.clone()?;
        Some(Error::Foreign { platform: self.platform.name.clone(), owner })
    }

    /// The last good run of a task that need not run again and has no container any more.
    pub(super) fn done_task(&self, service: &str) -> Option<&TaskRun> {
        let spec = self.resources.containers.iter().find(|spec| spec.service == service)?;
        let run = self.observed.tasks.get(service)?;
        let same = spec.task.as_ref()?.inputs.since(&run.inputs).is_empty();
        Some(run).filter(|_| same && self.observed.container(&spec.name).is_none())
    }

    /// The ingress serves HTTPS.
    pub fn tls(&self) -> bool {
        self.served.is_some()
    }

    /// The platform's CA, PEM; `None`: there can be none for its domain.
    pub(super) fn authority(&self) -> Option<String> {
        self.certificate.as_ref().ok().map(|current| current.authority.root().pem())
    }

    /// The plan that makes everything as it is wanted, or these services alone. What runs of stacks that were
    /// not loaded stays unless `remove_orphans`; its services by stack are the second value.
    pub(super) fn reconcile(
        &self,
        selection: Option<&BTreeSet<String>>,
        anew: &BTreeSet<String>,
        remove_orphans: bool,
    ) -> Result<(Plan, KeptStacks), Vec<Conflict>> {
        let mut plan = reconcile_anew(&self.wish(selection), anew, &self.observed).map_err(|conflicts| {
            conflicts.into_iter().map(|conflict| self.with_way_out(conflict)).collect::<Vec<_>>()
        })?;
        let stacks = self.platform.stacks.iter().map(|stack| stack.name.as_str()).collect();
        let kept = match remove_orphans {
            true => BTreeMap::new(),
            false => keep_other_stacks(&mut plan, &self.resources, &self.observed, &stacks, &self.gone)?,
        };
        Ok((plan, kept))
    }

    /// A port of a service of the user's can go elsewhere.
    fn with_way_out(&self, mut conflict: Conflict) -> Conflict {
        let service = conflict.port.as_ref().and_then(|(name, _)| self.platform.service(name));
        if !self.remap && service.is_some_and(|(stack, _)| stack.origin != Origin::BuiltIn) {
            let remap = macula("up --remap").why("to publish it on an address of the service's own");
            conflict.remedies.insert(0, remap.into());
        }
        conflict
    }

    /// For the next `up`: the services that it is not to try again, each with the image that was refused.
    pub(super) fn refusals(&self, full: &Platform, gone: &[LeftOut]) -> BTreeMap<String, Refused> {
        let refused = self.refused.iter().filter(|left| !self.choices.out_of_reach.contains_key(&left.service));
        with_images(&image_specs(full), refused.chain(gone))
    }

    /// For the next `up`, too: the services whose registries did not answer.
    pub(super) fn out_of_reach(&self, full: &Platform) -> BTreeMap<String, Refused> {
        let specs = image_specs(full);
        let silent = |reference: &String| self.observed.registries.get(split_registry(reference).0) == Some(&false);
        let away = |spec: &ImageSpec| !spec.pull.is_empty() && spec.pull.iter().all(silent);
        let kept =
            |left: &LeftOut| self.refused.contains(left) && self.choices.out_of_reach.contains_key(&left.service);
        let left = self.supply.left_out.iter();
        let left = left.filter(|&left| kept(left) || image_of(&specs, &left.service).is_some_and(away));
        with_images(&specs, left)
    }

    /// For the next look, after a run that has started the services `started`: the services that are there, and those that
    /// were and are still named by a stack; and those that run and may end, with those that it did not start.
    pub(super) async fn keep_brought(
        &self,
        host: &dyn Host,
        full: &Platform,
        started: &BTreeSet<&str>,
    ) -> Result<(), Error> {
        let ours = self.observed.containers.iter();
        let ours = ours.filter(|found| found.label(label::PLATFORM) == Some(full.name.as_str()));
        let there: BTreeSet<&str> = ours.filter_map(|found| found.label(label::SERVICE)).collect();
        let named = full.services().map(|(_, service)| &service.name);
        let brought = named.filter(|name| there.contains(name.as_str()) || self.brought.contains(*name)).cloned();
        self.state.keep_brought(host, brought.collect()).await?;
        let runs = |spec: &&ContainerSpec| {
            let found = self.observed.container(&spec.name);
            let may_end = spec.may_end() && !spec.readiness.one_shot;
            may_end && found.is_some_and(|found| found.state == ContainerState::Running)
        };
        let mut ran = self.state.ran(host).await;
        ran.retain(|service| !started.contains(service.as_str()));
        ran.extend(self.resources.containers.iter().filter(runs).map(|spec| spec.service.clone()));
        self.state.keep_ran(host, ran).await
    }

    /// For a plan over these services, or over all.
    fn wish<'a>(&'a self, selection: Option<&'a BTreeSet<String>>) -> Wish<'a> {
        Wish {
            platform: &self.platform.name,
            resources: &self.resources,
            supply: &self.supply,
            selection,
            // where nothing is known of a way, nothing is known of a relay either
            relay: self.reach.as_ref().is_none_or(|table| table.way == Way::Relay),
        }
    }

    /// For carrying out a plan; `cluster`: who does the cluster's steps, where there are some.
    pub(super) fn tools(&self, session: &Session, cluster: Option<Arc<dyn ClusterWork>>) -> Tools {
        let tools = session.tools(self.engine.clone(), self.facts.clone());
        let domain = self.platform.domain.clone();
        Tools { image_timeout: self.platform.timeouts.image, domain, cluster, ..tools }
    }
}

/// Engine, its facts and what is there of the platform.
pub async fn load_for_engine(
    session: &Session,
    platform: &Platform,
) -> Result<(Arc<dyn Engine>, Facts, Observed), Error> {
    let engine = session.engine()?;
    let (facts, observed) = tokio::join!(engine.facts(), observe::by_name(&*engine, platform));
    Ok((engine, facts?, observed?))
}

/// Looks at everything and changes nothing, also where something is in the way of a plan.
pub async fn survey(session: &Session, loaded: &Loaded) -> Result<Survey, Error> {
    survey_with(session, loaded, Look::default()).await
}

/// The same for whoever does nothing with it but to say how everything is.
pub(super) async fn survey_to_tell(session: &Session, loaded: &Loaded) -> Result<Survey, Error> {
    survey_with(session, loaded, Look { tells: true, ..Look::default() }).await
}

/// What the engine has and what of it is chosen; nothing is compiled, and no service asked how it is.
struct Stock {
    engine: Arc<dyn Engine>,
    facts: Facts,
    observed: Observed,
    cluster: ClusterLook,
    reach: Option<Table>,
    block: Block,
    choices: Choices,
    chosen: Supply,
    problems: Vec<SupplyProblem>,
    refused: Vec<LeftOut>,
    apart: Vec<Apart>,
    /// The platform with names of volumes that keep what is apart so; `None`: as it was loaded.
    renamed: Option<Platform>,
}

/// Services that the same `up` would leave out, with the reasons.
pub(super) async fn would_leave_out(session: &Session, loaded: &Loaded) -> Result<Vec<LeftOut>, Error> {
    Ok(stock(session, loaded, Look::default()).await?.chosen.left_out)
}

async fn stock(session: &Session, loaded: &Loaded, how: Look<'_>) -> Result<Stock, Error> {
    let host = session.host();
    let full = &loaded.platform;
    let engine = session.engine()?;
    session.state(&full.name).note_use(host, host.now()).await;
    let sought = Sought::new(session, &full.name, &full.cluster_name()).await?;
    // one look at the engine's containers for the platform and its cluster
    let labels = [sought.label()];
    let state = session.state(&full.name);
    let choices = state.choices(host).await?;
    let specs = image_specs(full);
    // what did not answer at the last `up` is asked again, while the engine looks for what it has
    let away = specs.iter().filter(|spec| {
        full.images.policy != ImagePolicy::Local
            && spec.services.iter().any(|service| choices.out_of_reach.contains_key(service))
    });
    let (facts, seen, registries) = tokio::join!(
        engine.facts(),
        observe::by_name_and_label(&*engine, full, &labels),
        observe::likely_registries(host, away),
    );
    let (mut facts, (mut observed, nodes)) = (facts?, seen?);
    observed.registries = registries;
    observed.fresh = how.fresh.iter().cloned().collect();
    if let Some(bundle) = how.bundle {
        for image in &bundle.index().images {
            observed.bundle(&image.references, &bundle.observed(image));
        }
    }
    let apart = kept_apart(full, &observed, &state.stacks_folder());
    let renamed = (!apart.is_empty()).then(|| {
        let mut platform = full.clone();
        rename_apart(&mut platform, &observed, &apart);
        platform
    });
    let full = renamed.as_ref().unwrap_or(full);
    let cluster = sought.seen(&nodes, &full.name.network());
    let known = Table::read(host, state.folder()).await;
    let forwards = known.iter().flat_map(|table| &table.forwards).map(|forward| (forward.listen, forward.protocol));
    observed.passed_on = forwards.chain(how.taken.iter().copied()).collect();
    let reach = how.ahead.cloned().or(known);
    if let Some(table) = &reach {
        // the way of the last `up` says what arrives, whatever the engine looks like
        facts.published = table.way == Way::Published;
    }

    let refresh = full.images.policy == ImagePolicy::Pull;
    let block = state.block_beside(host, full, || blocks_in_use(&*engine, &full.name)).await?;
    if full.images.policy != ImagePolicy::Local {
        let own = published_addresses(full, block);
        observe::registries(host, &specs, &own, &mut observed, refresh).await;
    }
    let (mut chosen, mut problems) =
        supply(full, &specs, &observed, how.strict, &|service| service_volumes(full, service));
    if how.build {
        chosen.rebuild(full, &specs, &observed.fresh);
    }
    let mut gone = how.gone.to_vec();
    gone.extend(unbuildable(host, &*engine, &facts, full, &chosen).await);
    let mut refused = if how.retry { Vec::new() } else { still_refused(host, &choices, full, &chosen) };
    refused.retain(|left| gone.iter().all(|gone| gone.service != left.service) && !how.named.contains(&left.service));
    gone.extend(refused.iter().cloned());
    problems.extend(chosen.leave_out(full, gone));
    problems.extend(too_old(full, &facts, &chosen));
    Ok(Stock { engine, facts, observed, cluster, reach, block, choices, chosen, problems, refused, apart, renamed })
}

pub(super) async fn survey_with(session: &Session, loaded: &Loaded, how: Look<'_>) -> Result<Survey, Error> {
    let Stock {
        engine,
        facts,
        mut observed,
        cluster,
        reach,
        block,
        choices,
        chosen,
        problems,
        refused,
        apart,
        renamed,
    } = Box::pin(stock(session, loaded, how)).await?;
    let host = session.host();
    let full = renamed.as_ref().unwrap_or(&loaded.platform);
    let state = session.state(&full.name);
    let left_out: BTreeSet<&str> = chosen.left_out.iter().map(|left| left.service.as_str()).collect();
    let mut platform = without(full, &left_out);
    platform.programs.extend(state.programs(host).await);
    platform.written = Some(state.stacks_folder());
    let own = match &reach {
        Some(table) => mounts::own(&*engine, &table.home, &platform).await?,
        None => Vec::new(),
    };
    let copies = copy(session, &facts, reach.as_ref(), &own, &mut platform).await?;
    mounts::translate(&own, &mut platform);
    let (mut secrets, unread) = match state.secrets(host).await {
        Err(error) if how.tells => (Secrets::default(), Some(error)),
        read => (read?, None),
    };
    let foreign = owner::other(Owner::read(host).await?.as_ref(), &full.name, &observed);
    if foreign.is_none() && unread.is_none() {
        state.check_lost(&platform, &secrets, &observed, &|service| written_volumes(full, service))?;
    }
    // a restart of the engine may have given the nodes other addresses
    let moved = cluster.moved(secrets.get(SCRAPE_SECRETS, SCRAPE_SERVER));
    if let Some(server) = &moved {
        secrets.set(SCRAPE_SECRETS, SCRAPE_SERVER, server.clone());
    }
    let new_secrets = complete_secrets(&platform, &mut secrets)? || moved.is_some();
    let subnet = match (own_subnet(full, &observed), full.addresses.subnet) {
        (_, Some(fixed)) => fixed,
        (Some(found), None) => found,
        (None, None) => {
            let taken = observe::taken_subnets(&*engine, host).await?;
            choose_subnet(&full.name, &taken).ok_or(Error::NoSubnet)?
        }
    };
    let certificate = certificate::current(session, full).await?;
    let served = match &certificate {
        Ok(current) => Some(Served {
            chain: current.leaf.chain_pem(),
            key: current.leaf.key_pem(),
            bundle: match platform.services().any(|(_, service)| service.extension.trust) {
                true => pki::trust::bundle(host, current.authority.root()).await,
                false => String::new(),
            },
            root: current.authority.root().pem(),
        }),
        Err(_) => None,
    };
    let resolver = match how.dns {
        Some(dns) => dns,
        None => !state.no_dns(host).await?,
    };
    let site = Site {
        facts: &facts,
        subnet,
        block,
        secrets: &secrets,
        certificate: served.as_ref(),
        version: session.version,
        resolver,
        held: &held(&observed, &full.name),
    };
    let context = TemplateContext::new(&platform, &site);
    let resources = compile_with(&platform, &site, &context);
    // what `env` would say only later is wrong now already
    let exports = render_exports_with(&platform, &context, &[], &BTreeSet::new());
    let mut resources = match (resources, exports) {
        (Ok(resources), Ok(_)) => resources,
        (resources, exports) => {
            let errors = [resources.err(), exports.err()].into_iter().flatten().flatten();
            return Err(Error::Compile(errors.collect()));
        }
    };
    give_subnets(&*engine, host, subnet, &mut resources, &observed).await?;
    observe::of_running(&*engine, host, &facts, &resources, &mut observed).await?;
    observed.lasting = state.stopped(host).await?;
    observed.lasting.extend(state.ran(host).await);
    // hooks of a run that is at work have not failed, and what it replaces is not gone; whoever changes something has the
    // lock itself
    let mut brought = state.brought(host).await;
    if !(observed.unhooked.is_empty() && brought.is_empty())
        && state.at_work(host).await.is_some_and(|held| held.pid != Some(std::process::id()))
    {
        observed.unhooked.clear();
        brought.clear();
    }
    let gone = gone_files(host, &observed).await;
    Ok(Survey {
        engine,
        facts,
        platform,
        state,
        block,
        subnet,
        secrets,
        new_secrets,
        unread,
        certificate,
        served,
        resources,
        supply: chosen,
        problems,
        observed,
        cluster,
        foreign,
        reach,
        copies,
        resolver,
        choices,
        brought,
        gone,
        remap: loaded.remap,
        refused,
        apart,
    })
}

/// The Compose files of containers that are not there any more.
async fn gone_files(host: &dyn Host, observed: &Observed) -> BTreeSet<PathBuf> {
    let files = observed.containers.iter().filter_map(|found| found.label(label::CONFIG_FILES));
    let mut gone = BTreeSet::new();
    for file in files.map(PathBuf::from).collect::<BTreeSet<_>>() {
        if !host.exists(&file).await {
            gone.insert(file);
        }
    }
    gone
}

fn image_of<'a>(specs: &'a [ImageSpec], service: &str) -> Option<&'a ImageSpec> {
    specs.iter().find(|spec| spec.services.iter().any(|name| name == service))
}

fn with_images<'a>(specs: &[ImageSpec], left: impl Iterator<Item = &'a LeftOut>) -> BTreeMap<String, Refused> {
    let refusal = |left: &LeftOut| {
        let image = image_of(specs, &left.service)?.reference.clone();
        let (reason, hosts) = (left.reason.to_string(), left.reason.hosts().to_vec());
        Some((left.service.clone(), Refused { image, reason, hosts }))
    };
    left.filter_map(refusal).collect()
}

/// Optional services that the last `up` found refused and that would be pulled once more. A proxy that has been set
/// since makes nothing wanted that was out of reach: it says nothing of the registry, and the engine pulls without it.
pub(super) fn still_refused(host: &dyn Host, choices: &Choices, platform: &Platform, supply: &Supply) -> Vec<LeftOut> {
    let out_of_reach = choices.out_of_reach.iter().filter(|_| observe::is_proxied(host));
    let still = choices.refused.iter().chain(out_of_reach).filter_map(|(service, refused)| {
        let Some(Choice::Obtain { spec, pull: true, .. }) = supply.choices.get(service) else { return None };
        if spec.reference != refused.image || !platform.is_optional(service) {
            return None;
        }
        let Refused { image, reason, hosts } = refused.clone();
        let reason = match platform.images.policy {
            _ if hosts.is_empty() => Reason::of_image(&image, reason),
            ImagePolicy::Pull => Reason::NotRefreshed { image, hosts },
            _ => Reason::OutOfReach { image, hosts, has_build: spec.build.is_some() },
        };
        Some(LeftOut { service: service.clone(), reason })
    });
    still.collect()
}

/// Blocks of platforms whose containers run on this engine, whoever's they are. An engine that cannot
/// say so claims nothing.
pub(super) async fn blocks_in_use(engine: &dyn Engine, name: &PlatformName) -> Vec<Block> {
    let all = engine.labelled(label::PLATFORM).await.unwrap_or_default();
    let others = all.iter().filter(|found| found.label(label::PLATFORM) != Some(name.as_str()));
    let addresses = others.flat_map(|found| &found.ports).filter_map(|port| match port.host_ip {
        std::net::IpAddr::V4(address) => Block::new(address),
        std::net::IpAddr::V6(_) => None,
    });
    addresses.collect()
}

/// Networks of stacks that say nothing of addresses and are still to be made get theirs from where the
/// platform's own comes from: an engine's own pools are few, and collide with routes of VPNs.
async fn give_subnets(
    engine: &dyn Engine,
    host: &dyn Host,
    own: Ipv4Net,
    resources: &mut Resources,
    observed: &Observed,
) -> Result<(), Error> {
    let open = |spec: &&mut NetworkSpec| {
        let named = spec.driver == "bridge" && spec.ipam.is_empty() && !spec.external;
        named && observed.network(&spec.name).is_none()
    };
    let mut open: Vec<&mut NetworkSpec> = resources.networks.iter_mut().filter(open).collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut taken = observe::taken_subnets(engine, host).await?;
    taken.networks.push(own);
    for spec in &mut open {
        spec.subnet = choose_subnet(&spec.name, &taken);
        taken.networks.extend(spec.subnet);
    }
    Ok(())
}

/// Optional services that the last `up` went without. Nothing where no engine can be asked, or
/// nothing is up.
pub(super) async fn left_out(session: &Session, platform: &Platform) -> Vec<String> {
    let Some(engine) = session.system.engine.as_deref() else { return Vec::new() };
    let Ok(observed) = observe::ours(engine, &platform.name).await else { return Vec::new() };
    let made: Vec<&str> = observed.containers.iter().filter_map(|found| found.label(label::SERVICE)).collect();
    if made.is_empty() {
        return Vec::new();
    }
    let optional = platform.services().filter(|(_, service)| service.extension.optional);
    let left = optional.filter(|(_, service)| !made.contains(&service.name.as_str()));
    left.map(|(_, service)| service.name.clone()).collect()
}

/// The subnet of the platform's network when it is there and ours.
fn own_subnet(platform: &Platform, observed: &Observed) -> Option<Ipv4Net> {
    let found = observed.network(&platform.name.network())?;
    if found.labels.get(label::PLATFORM).map(String::as_str) != Some(platform.name.as_str()) {
        return None;
    }
    found.subnets.iter().find_map(|subnet| match subnet {
        ipnet::IpNet::V4(subnet) => Some(*subnet),
        ipnet::IpNet::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn only_bridges_that_say_nothing_of_addresses_are_given_some() {
        let stack = "services: {web: {image: 'acme/web:1', networks: [own, fixed, lan]}}\n\
                     networks:\n  own: {}\n  fixed: {ipam: {config: [{subnet: 10.9.0.0/24}]}}\n  lan: {driver: macvlan}\n";
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "", stack);
        let survey = survey(&session(host, &engine, "macula plan"), &loaded).await.unwrap();
        let given = |key: &str| {
            let named = |spec: &&NetworkSpec| spec.labels.get(label::NAME).is_some_and(|name| name == key);
            survey.resources.networks.iter().find(named).unwrap().subnet.is_some()
        };
        assert_eq!(["own", "fixed", "lan"].map(given), [true, false, false]);
    }
}
