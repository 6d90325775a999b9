//! `down`: needs no stack file, since ownership lies in the labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::{ClusterWork, Tools};
use crate::daemon::reach::{Table, look_again};
use crate::model::{ContainerState, ObservedContainer, ObservedVolume, PlatformName, Way, label};
use crate::observe;
use crate::plan::{self, Keep, Plan};
use crate::words;

use crate::app::cluster::look::look_for;
use crate::app::cluster::work::Work;
use crate::app::commands::written::last_written;
use crate::app::engine_lock::EngineLock;
use crate::app::owner::{self, Owner};
use crate::app::resolver::ResolverFiles;
use crate::app::{Error, Session, State, processes, reach, resolver};

#[derive(Debug, Clone, Copy, Default)]
pub struct DownOptions {
    /// The data too.
    pub volumes: bool,
    /// The cluster stays, and with it the network that its nodes are in.
    pub keep_cluster: bool,
    pub dry_run: bool,
    /// Also where another user of the engine made it.
    pub any_owner: bool,
}

/// What `down` came to.
#[derive(Debug)]
pub struct Downed {
    pub plan: Plan,
    /// Volumes that stay.
    pub kept: Vec<String>,
    /// Programs of this machine that were ended.
    pub processes: Vec<String>,
}

/// A name that was typed wrong must not look like a platform that is down.
pub async fn must_be_known(session: &Session, name: &PlatformName) -> Result<(), Error> {
    let host = session.host();
    if session.state(name).is_known(host).await {
        return Ok(());
    }
    // its files may be gone, or lie in the home of somebody else
    let observed = observe::ours(&*session.engine()?, name).await?;
    if observed.containers.is_empty() && observed.volumes.is_empty() {
        return Err(Error::UnknownPlatform { name: name.to_string(), known: State::all(host).await });
    }
    Ok(())
}

/// Data that `down --volumes` removes for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub volume: String,
    /// Bytes on the engine's disk, where it says so.
    pub size: Option<u64>,
    /// Seconds since something in it was last changed, where that can be known.
    pub written: Option<u64>,
    /// The services that write to it, and whether one of them runs; nothing is known of those that are gone.
    pub services: Vec<String>,
    pub in_use: bool,
}

/// The volumes of a platform, the largest first, and whose they are where they belong to somebody else. `dated`: with
/// the time that it takes to find out when they were last written to.
pub async fn data_of(
    session: &Session,
    name: &PlatformName,
    dated: bool,
) -> Result<(Vec<Data>, Option<String>), Error> {
    let engine = session.engine()?;
    let (observed, sizes) = tokio::join!(observe::ours(&*engine, name), engine.volume_sizes());
    // an engine that cannot say it removes them all the same
    let (observed, sizes) = (observed?, sizes.unwrap_or_default());
    let owner = owner::other(Owner::read(session.host()).await?.as_ref(), name, &observed);
    let containers = &observed.containers;
    let kept: Vec<ObservedVolume> = observed.volumes.into_iter().filter(ObservedVolume::holds_data).collect();
    let volumes: Vec<String> = kept.iter().map(|volume| volume.name.clone()).collect();
    // of data that somebody else has there is only to be said whose it is
    let written = match owner {
        None if dated => last_written(&*engine, name, &volumes, containers).await,
        _ => BTreeMap::new(),
    };
    let now = session.host().now();
    let data = |volume: ObservedVolume| {
        let writers: Vec<&ObservedContainer> =
            containers.iter().filter(|found| found.writes.contains(&volume.name)).collect();
        let names = writers.iter().filter_map(|found| Some(found.label(label::SERVICE)?.to_owned()));
        Data {
            size: sizes.get(&volume.name).copied(),
            written: written.get(&volume.name).map(|time| u64::try_from(now - time).unwrap_or_default()),
            services: words::unique(names),
            in_use: writers.iter().any(|found| found.state == ContainerState::Running),
            volume: volume.name,
        }
    };
    let mut all: Vec<Data> = kept.into_iter().map(data).collect();
    all.sort_by_key(|data| (std::cmp::Reverse(data.size), data.volume.clone()));
    Ok((all, owner))
}

/// Takes away what is ours; data volumes only when asked.
pub async fn down(session: &Session, name: &PlatformName, options: DownOptions) -> Result<Downed, Error> {
    let engine = session.engine()?;
    session.check_known(name).await?;
    let _lock = session.lock(name).await?;
    let network = name.network();
    // a cancelled `up` leaves containers that the engine still starts: where their data goes too, nobody is
    // told to stop, and how they are does not matter
    let look = async {
        match options.volumes {
            true => observe::ours_at_a_glance(&*engine, name).await,
            false => observe::ours(&*engine, name).await,
        }
    };
    let (facts, observed, cluster) = tokio::join!(engine.facts(), look, look_for(session, name, &network, &network));
    let (facts, observed, cluster) = (facts?, observed?, cluster?);
    let own = Owner::read(session.host()).await?;
    if let Some(owner) = owner::other(own.as_ref(), name, &observed).filter(|_| !options.any_owner) {
        return Err(Error::Foreign { platform: name.clone(), owner });
    }
    let mut plan = plan::down(name, &observed, Keep { remove_volumes: options.volumes });
    let mut work = None;
    if options.keep_cluster && cluster.observed.is_some() {
        plan.steps.retain(|step| !matches!(&step.action, plan::Action::RemoveNetwork { name } if *name == network));
    } else if let Some(found) = Work::of_standing(session, name, &cluster).await? {
        let name = cluster.observed.as_ref().map(|found| &found.name);
        let name = name.or(cluster.record.as_ref().map(|record| &record.name)).unwrap_or(&network);
        plan::delete_cluster(name, &mut plan);
        work = Some(found);
    }
    let state = session.state(name);
    let table = Table::read(session.host(), state.folder()).await;
    if !facts.published || table.as_ref().is_some_and(|table| table.way == Way::Direct) {
        reach::leave(session, &*engine, &mut plan).await;
    }
    let kept = match options.volumes {
        true => Vec::new(),
        false => {
            let data = observed.volumes.iter().filter(|volume| volume.holds_data());
            data.map(|volume| volume.name.clone()).collect()
        }
    };
    if options.dry_run {
        let found = processes::keeping(session.host(), name).await;
        let running = found.states.into_iter().filter(|state| state.condition.is_alive()).map(|state| state.name);
        return Ok(Downed { plan, kept, processes: running.collect() });
    }
    // first, while what they need is still there
    let processes = processes::end(session, name).await?;
    for process in &processes {
        session.events.info(format!("{process}: ended"));
    }
    // another home's work is not waited for; what is taken down over its head ends with an error of its own
    let lock = match EngineLock::acquire(session, name).await {
        Err(Error::AtWork { .. }) if options.any_owner => None,
        other => other?,
    };
    if table.is_some() {
        // first, so that nobody starts again what is stopped
        let path = Table::file(state.folder());
        session.host().remove(&path).await.map_err(|source| Error::Io { path, source })?;
        // where no process runs, nothing is passed on
        let _ = look_again(&ResolverFiles::of(session.host()).reach(), name).await;
    }
    // nobody misses what is about to go; where that cannot be written down, it goes all the same
    let _ = state.keep_brought(session.host(), BTreeSet::new()).await;
    let mut done = Ok(());
    if !plan.is_empty() {
        let cluster = work.map(|work| Arc::new(work) as Arc<dyn ClusterWork>);
        let tools = Tools { cluster, ..session.tools(engine, facts) };
        done = session.carry_out(name, &plan, tools).await.map(drop);
    }
    if let Some(lock) = lock {
        lock.release().await;
    }
    done?;
    // the platform is down all the same
    if let Err(error) = resolver::release(session, name).await {
        session.events.warn(format!("the platform's names stay with the resolver: {error}"));
    }
    session.state(name).keep_lease(session.host(), None).await?;
    session.state(name).forget_programs(session.host()).await?;
    session.state(name).forget_engine_paths(session.host()).await?;
    if options.volumes {
        // passwords of data that is gone open nothing
        session.state(name).forget(session.host()).await?;
    }
    Ok(Downed { plan, kept, processes })
}
