//! `down`: needs no stack file, since ownership lies in the labels.

use crate::apply::{Tools, apply};
use crate::observe;
use crate::plan::{self, Keep, Plan};

use super::{Error, Session, resolver, up};

#[derive(Debug, Clone, Copy, Default)]
pub struct DownOptions {
    /// The data too.
    pub volumes: bool,
    pub dry_run: bool,
}

/// What `down` came to.
#[derive(Debug)]
pub struct Downed {
    pub plan: Plan,
    /// Volumes that stay.
    pub kept: Vec<String>,
}

/// Takes away what is ours; data volumes only when asked.
pub async fn down(session: &Session, name: &str, options: DownOptions) -> Result<Downed, Error> {
    let engine = session.engine()?;
    let _lock = up::lock(session, name).await?;
    let (facts, observed) = tokio::join!(engine.facts(), observe::ours(&*engine, name));
    let observed = observed?;
    let plan = plan::down(name, &observed, Keep { remove_volumes: options.volumes });
    let kept =
        if options.volumes { Vec::new() } else { observed.volumes.iter().map(|volume| volume.name.clone()).collect() };
    if options.dry_run {
        return Ok(Downed { plan, kept });
    }
    let tools = Tools {
        engine,
        host: session.system.host.clone(),
        facts: facts?,
        events: session.events.clone(),
        cancel: session.cancel.clone(),
        image_timeout: std::time::Duration::ZERO,
    };
    if !plan.is_empty() {
        let outcome = apply(&session.command, name, &plan, tools).await;
        if outcome.cancelled && outcome.failed.is_empty() {
            return Err(Error::Cancelled);
        }
        if !outcome.is_ok() {
            return Err(Error::Failed(Box::new(outcome)));
        }
    }
    // the platform is down all the same
    if let Err(error) = resolver::release(session, name).await {
        session.events.warn(format!("the platform's names stay with the resolver: {error}"));
    }
    if options.volumes {
        // passwords of data that is gone open nothing
        session.state(name).forget(session.host()).await?;
    }
    Ok(Downed { plan, kept })
}
