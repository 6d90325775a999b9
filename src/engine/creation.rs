//! How a container comes into being so that a program that is killed on the way leaves nothing that
//! looks whole.
//!
//! A container that needs more than one request (files copied in, further networks joined) is made
//! under a temporary name and gets its own name last. So what bears its own name is whole, and what
//! bears a temporary one is left over from a run that was interrupted. The engine carries on with a
//! request whose sender has died: a name may be taken by such a request after we have looked. Then
//! the holder is looked at again, waited for, taken when it is what we want, and removed when it is
//! ours and nobody has started it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Containers, EngineError};
use crate::model::{ContainerState, ObservedContainer, UNFINISHED, label};

/// How long a request of an earlier run may hold a name without showing a container.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Whether a container of this name was never completed.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED)
}

/// The requests that make one container.
#[async_trait]
pub(super) trait Making: Send + Sync {
    async fn create(&self, name: &str) -> Result<String, EngineError>;
    /// What comes between the creation and the start: networks, files.
    async fn furnish(&self, id: &str) -> Result<(), EngineError>;
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError>;
}

/// What a container of ours is known by.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub image_id: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    /// It needs no more than the request that creates it.
    pub at_once: bool,
}

/// Makes a container, whole. Its id.
pub(super) async fn make(
    engine: &dyn Containers,
    making: &dyn Making,
    wanted: &Wanted<'_>,
) -> Result<String, EngineError> {
    if wanted.at_once {
        return create(engine, making, wanted, wanted.name, true).await;
    }
    let temporary = format!("{}{UNFINISHED}", wanted.name);
    let id = create(engine, making, wanted, &temporary, false).await?;
    let named = async {
        making.furnish(&id).await?;
        rename(engine, making, wanted, &id).await
    };
    let named = named.await;
    if !matches!(&named, Ok(holder) if *holder == id) {
        // the next run would remove it as well: that it could not be done now is the lesser news
        let _ = engine.discard_container(&id).await;
    }
    named
}

async fn create(
    engine: &dyn Containers,
    making: &dyn Making,
    wanted: &Wanted<'_>,
    name: &str,
    whole: bool,
) -> Result<String, EngineError> {
    let begun = Instant::now();
    loop {
        let refused = match making.create(name).await {
            Err(refused @ EngineError::Conflict { .. }) => refused,
            other => return other,
        };
        if let Some(holder) = make_way(engine, wanted, name, whole, refused, begun).await? {
            return Ok(holder);
        }
    }
}

async fn rename(
    engine: &dyn Containers,
    making: &dyn Making,
    wanted: &Wanted<'_>,
    id: &str,
) -> Result<String, EngineError> {
    let begun = Instant::now();
    loop {
        let refused = match making.rename(id, wanted.name).await {
            Err(refused @ EngineError::Conflict { .. }) => refused,
            other => return other.map(|()| id.to_owned()),
        };
        if let Some(holder) = make_way(engine, wanted, wanted.name, true, refused, begun).await? {
            return Ok(holder);
        }
    }
}

/// Looks at who holds a name that we want. `Some`: just the container that we are about to make;
/// `None`: the name is free, or soon will be. `whole`: what bears this name is complete.
async fn make_way(
    engine: &dyn Containers,
    wanted: &Wanted<'_>,
    name: &str,
    whole: bool,
    refused: EngineError,
    begun: Instant,
) -> Result<Option<String>, EngineError> {
    match engine.inspect(name).await {
        // the engine keeps a name from the first moment of a creation to the last of a removal
        Err(EngineError::NotFound { .. }) if begun.elapsed() < PATIENCE => {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            Ok(None)
        }
        Err(EngineError::NotFound { .. }) => Err(refused),
        Err(error) => Err(error),
        Ok(holder) if whole && is_wanted(&holder, wanted) => Ok(Some(holder.id)),
        Ok(holder) if is_ours(&holder, wanted) && is_left_over(&holder) => {
            engine.discard_container(&holder.id).await.map(|()| None)
        }
        Ok(_) => Err(refused),
    }
}

fn is_ours(holder: &ObservedContainer, wanted: &Wanted<'_>) -> bool {
    let owner = wanted.labels.get(label::PLATFORM);
    owner.is_some() && holder.labels.get(label::PLATFORM) == owner
}

fn is_wanted(holder: &ObservedContainer, wanted: &Wanted<'_>) -> bool {
    let fingerprint = wanted.labels.get(label::FINGERPRINT);
    is_ours(holder, wanted)
        && fingerprint.is_some()
        && holder.labels.get(label::FINGERPRINT) == fingerprint
        && holder.image_id == wanted.image_id
        && !matches!(holder.state, ContainerState::Removing | ContainerState::Dead)
}

/// Nobody loses anything with it.
fn is_left_over(holder: &ObservedContainer) -> bool {
    matches!(holder.state, ContainerState::Created | ContainerState::Removing | ContainerState::Dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_started_is_taken_out_of_the_way() {
        let labels = |platform: &str, fingerprint: &str| -> BTreeMap<String, String> {
            [(label::PLATFORM, platform), (label::FINGERPRINT, fingerprint)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        let own = labels("shop", "f1");
        let wanted = Wanted { name: "macula-shop-web-1", image_id: "sha256:1", labels: &own, at_once: true };
        let holder = |platform: &str, fingerprint: &str, state| ObservedContainer {
            labels: labels(platform, fingerprint),
            image_id: "sha256:1".into(),
            state,
            ..ObservedContainer::default()
        };
        let judged =
            |holder: &ObservedContainer| (is_wanted(holder, &wanted), is_ours(holder, &wanted) && is_left_over(holder));
        use ContainerState::{Created, Dead, Exited, Removing, Running};
        for (platform, fingerprint, state, taken, removed) in [
            ("shop", "f1", Created, true, true),
            ("shop", "f1", Running, true, false),
            ("shop", "f1", Removing, false, true),
            ("shop", "f0", Created, false, true),
            ("shop", "f0", Dead, false, true),
            ("shop", "f0", Running, false, false),
            ("shop", "f0", Exited, false, false),
            ("other", "f1", Created, false, false),
        ] {
            assert_eq!(judged(&holder(platform, fingerprint, state)), (taken, removed), "{platform} {fingerprint}");
        }
        let mut other_image = holder("shop", "f1", Created);
        other_image.image_id = "sha256:2".into();
        assert_eq!(judged(&other_image), (false, true));
    }
}
