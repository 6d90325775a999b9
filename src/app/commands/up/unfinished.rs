//! Stops that a killed run has asked for.

use crate::app::owner::Owner;
use crate::app::{Error, Session};
use crate::engine::EngineError;
use crate::model::{ObservedContainer, PlatformName, label};
use crate::plan;

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
    let state = session.state(platform);
    let mut stopped = state.stopped(host).await?;
    for (name, stop) in ours.into_iter().zip(stops) {
        match stop {
            Ok(()) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // one that ends with 0 would count as having done its work
        if let Ok(found) = engine.inspect(name).await
            && found.exit_code == Some(0)
        {
            if found.label(label::TASK).is_some() {
                engine.remove_container(name).await?;
            } else if let Some(service) = found.replica_of(platform.as_str())
                && stopped.insert(service.to_owned())
            {
                state.keep_stopped(host, stopped.clone()).await?;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::session;
    use crate::engine::fake::FakeEngine;
    use crate::host::Host;
    use crate::host::fake::FakeHost;
    use crate::model::ContainerState;

    #[tokio::test]
    async fn what_ended_well_at_such_a_stop_is_to_be_started_and_a_task_has_not_run() {
        let platform = PlatformName::new("shop").unwrap();
        let running = |service: &str, more: &[(&str, &str)]| ObservedContainer {
            id: format!("{service}-0123456789"),
            name: format!("macula-shop-{service}-1"),
            state: ContainerState::Running,
            labels: [(label::PLATFORM, "shop"), (label::SERVICE, service)]
                .iter()
                .chain(more)
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..ObservedContainer::default()
        };
        let (host, engine) = (FakeHost::new(), FakeEngine::new());
        let engine = engine
            .with_container(running("web", &[]))
            .with_container(running("migrate", &[(label::TASK, "x")]))
            .with_container(running("shell", &[(label::ONE_OFF, "true")]))
            .with_container(running("db", &[]));
        let folder = plan::stop_notes(&host.folders().data, &platform);
        for service in ["web", "migrate", "shell"] {
            host.put(folder.join(format!("macula-shop-{service}-1")), "");
        }
        let session = session(host.clone(), &engine, "macula up");
        finish_noted_stops(&session, &platform).await.unwrap();
        assert_eq!(engine.containers(), ["macula-shop-db-1", "macula-shop-shell-1", "macula-shop-web-1"]);
        assert_eq!(session.state(&platform).stopped(&host).await.unwrap(), ["web".to_owned()].into());
        assert_eq!(host.list(&folder).await.unwrap(), [""; 0]);
    }
}
