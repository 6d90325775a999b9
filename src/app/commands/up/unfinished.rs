//! Stops that a killed run has asked for.

use crate::app::owner::{self, Owner};
use crate::app::{Error, Session};
use crate::apply::Tools;
use crate::engine::EngineError;
use crate::event::Events;
use crate::host::Held;
use crate::model::{ObservedContainer, PlatformName, label};
use crate::observe;
use crate::plan;

/// A run that was killed while it stopped containers has left the engine at work: they still run,
/// and are about to end. Nothing shows which; to stop them once more is to wait for it.
pub(super) async fn finish_killed_stop(session: &Session, platform: &PlatformName, killed: &Held) -> Result<(), Error> {
    let stops = |word: &str| ["down", "stop", "restart"].contains(&word);
    if !killed.command.split_whitespace().any(stops) {
        return Ok(());
    }
    let engine = session.engine()?;
    let observed = observe::ours(&*engine, platform).await?;
    if owner::other(Owner::read(session.host()).await?.as_ref(), platform, &observed).is_some() {
        return Ok(());
    }
    let services = observed.containers.iter().filter_map(|found| found.label(label::SERVICE)).map(str::to_owned);
    let plan = plan::stop(platform, &observed, &services.collect());
    if plan.is_empty() {
        return Ok(());
    }
    session.events.info(format!("{killed} was killed: what it may have begun to stop is stopped first"));
    let tools = Tools { events: Events::none(), ..session.tools(engine.clone(), engine.facts().await?) };
    session.carry_out(platform, &plan, tools).await?;
    Ok(())
}

/// Waits for stops that a killed run has asked for and that the engine still carries out: a container that runs
/// now would end after it was found to be right.
pub(super) async fn finish_noted_stops(session: &Session, platform: &PlatformName) -> Result<(), Error> {
    let host = session.host();
    let folder = plan::stop_notes(&host.folders().data, platform);
    let names = host.list(&folder).await.unwrap_or_default();
    if names.is_empty() {
        return Ok(());
    }
    let engine = session.engine()?;
    let own = Owner::read(host).await?;
    let mut ours = Vec::new();
    for name in &names {
        match engine.inspect(name).await {
            Ok(found) if is_own(&found, platform, own.as_ref()) => ours.push(name),
            // by now somebody else's may have the name
            Ok(_) | Err(EngineError::NotFound { .. }) => drop(host.remove(&folder.join(name)).await),
            Err(error) => return Err(error.into()),
        }
    }
    let stops = futures_util::future::join_all(ours.iter().map(|name| engine.stop(name, None))).await;
    for (name, stopped) in ours.into_iter().zip(stops) {
        match stopped {
            Ok(()) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // one that ends with 0 would count as having done its work; its volumes stay
        if engine.inspect(name).await.is_ok_and(|found| found.exit_code == Some(0)) {
            engine.remove_container(name).await?;
        }
        let _ = host.remove(&folder.join(name)).await;
    }
    Ok(())
}

/// A container of this platform, made with this data folder.
fn is_own(found: &ObservedContainer, platform: &PlatformName, own: Option<&Owner>) -> bool {
    let owner = found.label(label::OWNER);
    found.label(label::PLATFORM) == Some(platform.as_str())
        && owner.is_none_or(|id| own.is_some_and(|own| own.id() == id))
}
