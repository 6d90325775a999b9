//! From files to a plan: what `up`, `plan` and `status` share.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use tokio_util::sync::CancellationToken;

use crate::apply::{ClusterWork, Tools};
use crate::compile::addons::{SCRAPE_SECRETS, SCRAPE_SERVER};
use crate::compile::{
    Block, Served, Site, choose_subnet, compile, image_specs, published_addresses, service_volumes, written_volumes,
};
use crate::config::Loaded;
use crate::engine::Engine;
use crate::event::Events;
use crate::host::Host;
use crate::model::{Facts, ImagePolicy, Observed, Platform, PlatformName, Resources, Secrets, label};
use crate::observe;
use crate::pki;
use crate::plan::{LeftOut, Plan, Supply, SupplyProblem, Wish, reconcile_anew, select, supply, without};
use crate::system::System;

use super::cluster::{ClusterLook, Decision};
use super::commands::creds::render_exports;
use super::state::complete_secrets;
use super::{Error, State, certificate, cluster};

/// What every command has in hand.
#[derive(Clone)]
pub struct Session {
    pub system: System,
    pub events: Events,
    pub cancel: CancellationToken,
    /// As typed, for the lock file: `macula up`.
    pub command: String,
    pub version: &'static str,
    /// This program, for what it leaves running.
    pub program: PathBuf,
}

impl Session {
    pub fn host(&self) -> &dyn Host {
        &*self.system.host
    }

    /// The engine, or which ones were tried.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, Error> {
        self.system.engine.clone().ok_or_else(|| Error::NoEngine(self.system.discovery.clone()))
    }

    pub fn state(&self, platform: &PlatformName) -> State {
        State::new(&self.system.host.folders().data, platform)
    }
}

/// What a run of `up` asks for beside the files.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only these services and what they need; empty: all.
    pub services: Vec<String>,
    /// Only these, whatever they need.
    pub no_deps: bool,
    /// What has a build is built again, also where its image is there.
    pub build: bool,
    /// New containers for these services, or for all, also where they are right.
    pub recreate: bool,
    /// Nothing may be left out.
    pub strict: bool,
    /// The cluster is left as it is.
    pub no_cluster: bool,
    /// The resolver is started (true) or left alone; `None`: as the last `up` did.
    pub dns: Option<bool>,
    /// There is somebody to ask, or who has agreed, before a program is fetched.
    pub may_fetch: bool,
}

/// Everything known before the first change.
pub struct Prepared {
    pub engine: Arc<dyn Engine>,
    pub facts: Facts,
    /// Without the services that are left out.
    pub platform: Platform,
    pub state: State,
    pub block: Block,
    /// Of the platform's network.
    pub subnet: Ipv4Net,
    pub secrets: Secrets,
    /// The ingress serves HTTPS.
    pub tls: bool,
    /// With this.
    pub served: Option<Served>,
    /// Its certificate is not recorded yet.
    pub new_certificate: bool,
    /// Passwords were made that are not recorded yet.
    pub new_secrets: bool,
    pub resources: Resources,
    pub supply: Supply,
    pub observed: Observed,
    pub plan: Plan,
    pub cluster: ClusterLook,
    /// What is to be made of it; `None`: nothing, or it cannot be had.
    pub decision: Option<Decision>,
    /// The parts in which the cluster that stands differs from the wanted one.
    pub cluster_drift: Vec<String>,
}

impl Prepared {
    /// For carrying out its plan; `cluster`: who does the cluster's steps, where there are some.
    pub(super) fn tools(&self, session: &Session, cluster: Option<Arc<dyn ClusterWork>>) -> Tools {
        Tools {
            engine: self.engine.clone(),
            host: session.system.host.clone(),
            facts: self.facts.clone(),
            events: session.events.clone(),
            cancel: session.cancel.clone(),
            image_timeout: self.platform.timeouts.image,
            cluster,
        }
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
    let selection = selection(&loaded.platform, wanted)?;
    let look = Look { strict: wanted.strict, dns: wanted.dns, gone };
    let (mut prepared, mut problems) = gather(session, loaded, look).await?;
    problems.retain(|problem| selection.as_ref().is_none_or(|chosen| chosen.contains(problem.service())));
    if !problems.is_empty() {
        return Err(Error::Supply(problems));
    }
    if wanted.build {
        prepared.supply.rebuild(&prepared.platform, &image_specs(&prepared.platform));
    }
    let anew: BTreeSet<String> = match (wanted.recreate, wanted.services.as_slice()) {
        (false, _) => BTreeSet::new(),
        (true, []) => prepared.platform.services().map(|(_, service)| service.name.clone()).collect(),
        (true, named) => named.iter().cloned().collect(),
    };
    let wish = Wish {
        platform: &prepared.platform.name,
        resources: &prepared.resources,
        supply: &prepared.supply,
        selection: selection.as_ref(),
    };
    prepared.plan = reconcile_anew(&wish, &anew, &prepared.observed).map_err(Error::Conflicts)?;
    cluster::extend(session, &mut prepared, wanted).await?;
    Ok(prepared)
}

/// Everything but the plan, also where something is in the way of one: for a look at the machine.
pub async fn survey(session: &Session, loaded: &Loaded) -> Result<Prepared, Error> {
    Ok(gather(session, loaded, Look::default()).await?.0)
}

/// How a look is to go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look<'a> {
    /// Nothing may be left out.
    pub strict: bool,
    /// As [`Wanted::dns`].
    pub dns: Option<bool>,
    /// Services whose image could not be had although there seemed to be a way.
    pub gone: &'a [LeftOut],
}

/// Everything but the plan, and the services that no image can be had for.
pub(super) async fn gather(
    session: &Session,
    loaded: &Loaded,
    look: Look<'_>,
) -> Result<(Prepared, Vec<SupplyProblem>), Error> {
    let host = session.host();
    let full = &loaded.platform;
    let (loaded, cluster) = tokio::join!(load_for_engine(session, full), cluster::look(session, full));
    let (engine, facts, mut observed) = loaded?;
    let cluster = cluster?;
    let state = session.state(&full.name);

    let specs = image_specs(full);
    let refresh = full.images.policy == ImagePolicy::Pull;
    let block = state.block(host, full).await?;
    if full.images.policy != ImagePolicy::Local {
        let own = published_addresses(full, block);
        observe::registries(host, &specs, &own, &mut observed, refresh).await;
    }
    let (mut chosen, mut problems) =
        supply(full, &specs, &observed, look.strict, &|service| service_volumes(full, service));
    problems.extend(chosen.leave_out(full, look.gone.to_vec()));
    let left_out: BTreeSet<&str> = chosen.left_out.iter().map(|left| left.service.as_str()).collect();
    let platform = without(full, &left_out);

    let mut secrets = state.secrets(host).await?;
    state.check_lost(&platform, &secrets, &observed, &|service| written_volumes(full, service))?;
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
    let current = certificate::current(session, full).await?;
    let new_certificate = current.as_ref().is_some_and(|current| current.new);
    let served = match current {
        Some(current) => Some(Served {
            chain: current.leaf.chain_pem(),
            key: current.leaf.key_pem(),
            bundle: match platform.services().any(|(_, service)| service.extension.trust) {
                true => pki::trust::bundle(host, &current.root).await,
                false => String::new(),
            },
            root: current.root.pem(),
        }),
        None => None,
    };
    let resolver = match look.dns {
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
    };
    let resources = compile(&platform, &site);
    // what `env` would say only later is wrong now already
    let exports = render_exports(&platform, &site);
    let resources = match (resources, exports) {
        (Ok(resources), Ok(_)) => resources,
        (resources, exports) => {
            let errors = [resources.err(), exports.err()].into_iter().flatten().flatten();
            return Err(Error::Compile(errors.collect()));
        }
    };
    observe::of_running(&*engine, host, &facts, &resources, &mut observed).await?;
    let prepared = Prepared {
        tls: served.is_some(),
        served,
        new_certificate,
        engine,
        facts,
        platform,
        state,
        block,
        subnet,
        secrets,
        new_secrets,
        resources,
        supply: chosen,
        observed,
        plan: Plan::default(),
        cluster,
        decision: None,
        cluster_drift: Vec::new(),
    };
    Ok((prepared, problems))
}

fn selection(platform: &Platform, wanted: &Wanted) -> Result<Option<BTreeSet<String>>, Error> {
    let services = &wanted.services;
    if services.is_empty() {
        return Ok(None);
    }
    let chosen = select(platform, services);
    let chosen = if wanted.no_deps { chosen.map(|_| services.iter().cloned().collect()) } else { chosen };
    chosen.map(Some).map_err(|names| Error::UnknownService {
        names,
        known: platform.services().map(|(_, service)| service.name.clone()).collect(),
    })
}

/// The subnet of the platform's network when it is there and ours.
fn own_subnet(platform: &Platform, observed: &Observed) -> Option<ipnet::Ipv4Net> {
    let found = observed.network(&platform.name.network())?;
    if found.labels.get(label::PLATFORM).map(String::as_str) != Some(platform.name.as_str()) {
        return None;
    }
    found.subnets.iter().find_map(|subnet| match subnet {
        ipnet::IpNet::V4(subnet) => Some(*subnet),
        ipnet::IpNet::V6(_) => None,
    })
}
