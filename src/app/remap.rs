//! `up --remap`: published ports of the user's services that somebody else has go to addresses of the services' own.

use crate::compile::{MovedPort, make_room};
use crate::config::Loaded;
use crate::daemon::reach::Table;
use crate::engine::everybody;
use crate::model::{ContainerState, Listener, ObservedContainer, Way, label};
use crate::observe;
use crate::plan::{holder_of, select};

use super::survey::blocks_in_use;
use super::{Error, Session};

/// The same with the ports moved that are taken now, each with a word; `None`: nothing moves. `services`: only those of
/// these and of what they need; none: of all.
pub async fn remap(session: &Session, loaded: &Loaded, services: &[String]) -> Result<Option<Loaded>, Error> {
    if !loaded.remap {
        return Ok(None);
    }
    let (host, platform) = (session.host(), &loaded.platform);
    let state = session.state(&platform.name);
    // what the engine does not publish is held by the background process
    if Table::read(host, state.folder()).await.is_some_and(|table| table.way != Way::Published) {
        return Ok(None);
    }
    let engine = session.engine()?;
    let block = state.block_beside(host, platform, || blocks_in_use(&*engine, &platform.name)).await?;
    let observed = observe::ours(&*engine, &platform.name).await?;
    let own = |listener: &Listener| {
        // one that rests keeps its ports; those of a stack that is not loaded stay, and their ports with them
        let ours = |found: &&ObservedContainer| {
            matches!(found.state, ContainerState::Running | ContainerState::Paused)
                && found
                    .label(label::STACK)
                    .is_none_or(|stack| platform.stacks.iter().any(|loaded| loaded.name == stack))
        };
        observed.containers.iter().filter(ours).flat_map(|found| &found.ports).any(|bound| listener.is_of(bound))
    };
    let mut listeners = host.listeners().await.unwrap_or_default();
    listeners.retain(|listener| !own(listener));
    let (mut moves, mut told) = make_room(platform, block, &listeners, &loaded.moves);
    if !services.is_empty() {
        // whoever names what there is not is told so by the plan
        let chosen = select(platform, services).unwrap_or_default();
        moves.retain(|service, _| chosen.contains(service));
        told.retain(|one| chosen.contains(&one.service));
    }
    if moves.is_empty() {
        return Ok(None);
    }
    let holders = host.owners(told.iter().map(|one| one.holder.clone()).collect()).await;
    let neighbours = everybody(&*engine).await?;
    for (MovedPort { service, from, to, .. }, holder) in told.iter().zip(&holders) {
        session.events.warn(format!(
            "{service} is published on {to} instead of {from}: {} has port {}",
            holder_of(&neighbours, holder),
            holder.port,
        ));
    }
    let mut moved = loaded.clone();
    moved.move_ports(&moves);
    Ok(Some(moved))
}
