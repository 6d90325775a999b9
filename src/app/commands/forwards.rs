//! What the engine does not publish here is passed on by the background process.

use crate::daemon::reach::look_again;
use crate::host::holders;

use crate::app::reach::{keep, table};
use crate::app::resolver::{self, ResolverFiles};
use crate::app::survey::Survey;
use crate::app::{Error, Session};

/// Makes sure that it does, and says what cannot be had. Nothing to do where the engine publishes.
pub(super) async fn pass_on(session: &Session, survey: &Survey) {
    let Some(table) = table(survey) else { return };
    let passed = async {
        keep(session.host(), survey.state.folder(), &table).await?;
        // the process is the resolver's too
        resolver::ensure(session, survey).await?;
        let socket = ResolverFiles::of(session.host()).reach();
        let passed = look_again(&socket, &survey.platform.name).await;
        passed.map_err(|source| Error::Io { path: socket, source })
    };
    let passed = match passed.await {
        Ok(passed) => passed,
        Err(error) => {
            session.events.warn(format!("nothing is passed on to the platform's addresses: {error}"));
            return;
        }
    };
    for (address, protocol, error) in &passed.failed {
        let held = holders(session.host(), *protocol, &[*address]).await.into_iter().next();
        let why = held.map_or_else(|| error.clone(), |holder| format!("it is held by {holder}"));
        session.events.warn(format!("{address} ({protocol}) is not passed on: {why}"));
    }
    if let Some(broken) = &passed.broken {
        session.events.warn(format!("the platform's containers are not reached ({}): {broken}", table.way));
    }
}
