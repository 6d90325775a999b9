//! `down`: needs no stack file, since ownership lies in the labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::apply::{ClusterWork, Tools};
use crate::daemon::reach::{Table, look_again};
use crate::model::{
    ContainerState, Invocation, MaculaCommand, Observed, ObservedContainer, ObservedVolume, PlatformName, Secrets, Way,
    label,
};
use crate::observe;
use crate::plan::{self, Keep, Plan};
use crate::words;

use crate::app::cluster::look::look_for;
use crate::app::cluster::work::Work;
use crate::app::commands::written::last_written;
use crate::app::engine_lock::EngineLock;
use crate::app::mounts::may_hold_data;
use crate::app::owner::{self, Owner};
use crate::app::resolver::ResolverFiles;
use crate::app::state::engine_at;
use crate::app::{Error, Session, State, expiry, processes, reach, resolver};

#[derive(Debug, Clone, Copy, Default)]
pub struct DownOptions {
    /// The data too.
    pub volumes: bool,
    /// The cluster stays, and with it the network that its nodes are in.
    pub keep_cluster: bool,
    pub dry_run: bool,
    /// Also where another user of the engine made it.
    pub any_owner: bool,
    /// At the end of a lease: only where one is still over once nobody else works on the platform.
    pub if_expired: bool,
}

/// What `down` came to.
#[derive(Debug, Default)]
pub struct Downed {
    pub plan: Plan,
    /// Volumes that stay.
    pub kept: Vec<String>,
    /// Programs of this machine that were ended.
    pub processes: Vec<String>,
    /// Nothing was done: no lease of the platform is over.
    pub stays: bool,
    /// The data was to go with its passwords, and some of these stay: there is, or may be, more of it.
    pub passwords_kept: bool,
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
    /// The project of the user's that it was made for, with its folder.
    pub project: Option<String>,
}

/// The volumes of a platform, the largest first, whose they are where they belong to somebody else, and whether the
/// passwords go with them. `dated`: with the time that it takes to find out when they were last written to.
pub async fn data_of(
    session: &Session,
    name: &PlatformName,
    dated: bool,
) -> Result<(Vec<Data>, Option<String>, bool), Error> {
    let engine = session.engine()?;
    let (observed, sizes) = tokio::join!(observe::ours(&*engine, name), engine.volume_sizes());
    // an engine that cannot say it removes them all the same
    let (observed, sizes) = (observed?, sizes.unwrap_or_default());
    let owner = owner::other(Owner::read(session.host()).await?.as_ref(), name, &observed);
    let all_last = lasting(session, name, &observed).await?.1;
    let passwords = !all_last && needed_elsewhere(session, name, &observed, all_last).await?.is_none();
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
            project: project_of(&volume),
            in_use: writers.iter().any(|found| found.state == ContainerState::Running),
            volume: volume.name,
        }
    };
    let mut all: Vec<Data> = kept.into_iter().map(data).collect();
    all.sort_by_key(|data| (std::cmp::Reverse(data.size), data.volume.clone()));
    Ok((all, owner, passwords))
}

fn project_of(volume: &ObservedVolume) -> Option<String> {
    // what is built in comes from no file
    let (stack, file) = (volume.labels.get(label::STACK)?, volume.labels.get(label::CONFIG_FILES)?);
    Some(format!("{stack} in {}", Path::new(file).parent()?.display()))
}

/// Why the passwords of a platform stay when its data on this engine goes, and what removes them: there may be data on
/// another engine, which nothing else opens. `None`: there is none that anybody knows of. `observed`: what is on this
/// engine. `all_last`: see [`lasting`].
async fn needed_elsewhere(
    session: &Session,
    name: &PlatformName,
    observed: &Observed,
    all_last: bool,
) -> Result<Option<String>, Error> {
    let (host, state) = (session.host(), session.state(name));
    let passwords = state.has_secrets(host).await;
    // nor does anything else know of the nodes of a cluster
    if !passwords && state.cluster(host).await?.is_none() {
        return Ok(None);
    }
    let mut engines = state.engines(host).await?;
    let recorded = !engines.is_empty();
    if let Some(endpoint) = session.endpoint() {
        engines.remove(&engine_at(host, &endpoint).await);
    }
    let what = match passwords {
        true => format!("the passwords of {name} stay"),
        false => format!("what is known of {name} stays"),
    };
    let down = MaculaCommand::of(["--name", name.as_str(), "down", "--volumes"]).line(&Invocation::default());
    let remove = format!("rm -r {}", words::shell_word(&state.folder().display().to_string()));
    if !engines.is_empty() {
        let there = engines.iter().map(|engine| format!("`DOCKER_HOST={} {down}`", words::shell_word(engine)));
        return Ok(Some(format!(
            "{what}: it was brought up on {}, where its data may be. To remove both: {}, or, where that engine is \
             gone, `{remove}`",
            words::list(&engines),
            words::list(there),
        )));
    }
    // it was taken down with its data before, and what they open is not on an engine
    let outside = all_last && state.cluster(host).await?.is_none();
    Ok((!recorded && is_nothing(observed) && !outside).then(|| {
        format!(
            "{what}: nothing of it is on this engine, and its data may be on another. To remove both: `{down}` with \
             the DOCKER_HOST of that one, or, where there is none, `{remove}`"
        )
    }))
}

/// Services with data that is in no volume of the platform's, by what there is and by what `up` has written down.
async fn outside(session: &Session, name: &PlatformName, observed: &Observed) -> Result<BTreeSet<String>, Error> {
    let mut all = session.state(name).outside(session.host()).await?;
    let is_own = |place: &String| {
        let found = observed.volume(place).and_then(|found| found.labels.get(label::PLATFORM));
        found.is_some_and(|platform| *platform == name.as_str())
    };
    let writing = observed.containers.iter().filter(|found| {
        let stays = |place: &String| !is_own(place) && may_hold_data(Path::new(place), &found.labels);
        found.writes.iter().any(stays)
    });
    all.extend(writing.filter_map(|found| found.replica_of(name.as_str())).map(str::to_owned));
    Ok(all)
}

/// The passwords of data that stays when the platform's volumes go: nothing else opens it. And whether these are all that
/// it has.
async fn lasting(session: &Session, name: &PlatformName, observed: &Observed) -> Result<(Secrets, bool), Error> {
    let outside = outside(session, name, observed).await?;
    // what cannot be read is of no use to anybody
    let mut secrets = session.state(name).secrets(session.host()).await.unwrap_or_default();
    let needed = secrets.0.iter().filter(|(service, _)| outside.contains(*service));
    let needed: BTreeSet<String> = needed.flat_map(|(_, own)| own.values().cloned()).collect();
    let all = secrets.0.len();
    // one may be another service's, which would get a new one
    secrets.0.retain(|_, own| own.values().any(|password| needed.contains(password)));
    let all_last = all > 0 && secrets.0.len() == all;
    Ok((secrets, all_last))
}

/// Whoever takes it down here would forget what runs on another engine, and take its ports and names away.
async fn on_its_engine(session: &Session, name: &PlatformName) -> Result<(), Error> {
    let engines = session.engines_elsewhere(name).await?;
    match session.endpoint() {
        Some(endpoint) if !engines.is_empty() => {
            let folder = session.state(name).folder().to_owned();
            Err(Error::OnAnotherEngine { platform: name.clone(), engines, endpoint, folder })
        }
        _ => Ok(()),
    }
}

pub(super) fn is_nothing(observed: &Observed) -> bool {
    observed.containers.is_empty()
        && observed.unfinished.is_empty()
        && observed.networks.is_empty()
        && observed.volumes.is_empty()
}

/// Takes away what is ours; data volumes only when asked.
pub async fn down(session: &Session, name: &PlatformName, options: DownOptions) -> Result<Downed, Error> {
    session.engine()?;
    session.check_known(name).await?;
    let _lock = match options.if_expired {
        true => session.lock_unused(name).await?,
        false => session.lock(name).await?,
    };
    // whoever had the lock, or did not need it, may have given the platform more time
    if options.if_expired {
        if !expiry::is_over(session.host(), name).await? {
            return Ok(Downed { stays: true, ..Downed::default() });
        }
        on_its_engine(session, name).await?;
    }
    Box::pin(take_away(session, name, options)).await
}

/// The same for who has the platform's lock.
pub(super) async fn take_away(session: &Session, name: &PlatformName, options: DownOptions) -> Result<Downed, Error> {
    let engine = session.engine()?;
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
    if is_nothing(&observed) && cluster.observed.is_none() {
        on_its_engine(session, name).await?;
    }
    let own = Owner::read(session.host()).await?;
    match owner::other(own.as_ref(), name, &observed) {
        Some(owner) if !options.any_owner => return Err(Error::Foreign { platform: name.clone(), owner }),
        Some(owner) => session.events.info(format!("{name} belongs to {owner}")),
        None => {}
    }
    let (lasting, all_last) = match lasting(session, name, &observed).await {
        // nothing is lost with them then
        Err(_) if !options.volumes => (Secrets::default(), false),
        found => found?,
    };
    let elsewhere = match options.volumes {
        true => needed_elsewhere(session, name, &observed, all_last).await?,
        false => None,
    };
    let all_kept = elsewhere.is_some();
    let passwords_kept = all_kept || options.volumes && !lasting.0.is_empty();
    if let Some(why) = elsewhere {
        session.events.info(why);
    }
    let mut plan = plan::down(name, &observed, Keep { remove_volumes: options.volumes });
    let mut work = None;
    let cluster_stays = options.keep_cluster && cluster.observed.is_some();
    if cluster_stays {
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
        return Ok(Downed { plan, kept, processes: running.collect(), stays: false, passwords_kept });
    }
    if !options.volumes {
        // once they are gone, nothing else tells, but on a full disk they go all the same
        let _ = state.note_outside(session.host(), lasting.0.keys().cloned().collect()).await;
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
    match (options.volumes, all_kept) {
        (false, _) => {}
        // passwords of data that is gone open nothing
        (true, false) => state.forget(session.host(), cluster_stays, &lasting).await?,
        (true, true) if cluster_stays => {}
        (true, true) => {
            if let Some(endpoint) = session.endpoint() {
                state.forget_engine(session.host(), &endpoint).await?;
            }
        }
    }
    if passwords_kept && !all_kept {
        let services = words::list(lasting.0.keys());
        let files = [state.secrets_file(), state.outside_file()]
            .map(|file| words::shell_word(&file.display().to_string()).to_string());
        session.events.info(format!(
            "the passwords of {services} stay: there is data outside of the volumes of {name}, which stays, too. To remove \
             them: `rm {}`",
            files.join(" ")
        ));
    }
    Ok(Downed { plan, kept, processes, stays: false, passwords_kept })
}

#[cfg(test)]
mod tests;
