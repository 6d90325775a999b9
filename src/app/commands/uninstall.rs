//! `uninstall`: what Macula has put on this machine, and taking it away again.

use std::path::PathBuf;

use serde::Serialize;

use crate::app::resolver::{ResolverFiles, StartedBy, connect, stop_resolver};
use crate::app::{Error, Session, authorities};
use crate::model::PlatformName;
use crate::pki::trust::{self, Done, Outcome, Place};

use super::down::{DownOptions, down};
use super::ls::list_platforms;
use super::names::uninstall_names;

/// What there is of Macula on this machine.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Leavings {
    /// Of this user, and whatever else of ours is on the engine.
    pub platforms: Vec<PlatformName>,
    /// The system asks our resolver for the platforms' names.
    pub names: bool,
    /// Trust stores that have our authority.
    #[serde(serialize_with = "labels")]
    pub trust: Vec<Place>,
    /// Passwords, certificates, logs. It stays as long as there is data that needs it.
    pub data: Option<PathBuf>,
    /// Downloads.
    pub cache: Option<PathBuf>,
    /// The user's own settings, which always stay.
    pub settings: Option<PathBuf>,
}

fn labels<S: serde::Serializer>(places: &[Place], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(places.iter().map(|place| &place.label))
}

/// What was taken away, and what was not.
#[derive(Debug, Default, Serialize)]
pub struct Uninstalled {
    pub platforms: Vec<PlatformName>,
    /// Somebody else's, who shares the engine; they stay.
    pub foreign: Vec<PlatformName>,
    /// Volumes that stay.
    pub volumes: Vec<String>,
    pub folders: Vec<PathBuf>,
    /// What came of each trust store.
    #[serde(skip)]
    pub trust: Vec<Outcome>,
}

impl Uninstalled {
    /// Trust stores that still have our authority.
    pub fn failed_stores(&self) -> usize {
        self.trust.iter().filter(|outcome| matches!(outcome.done, Done::Failed(_))).count()
    }
}

/// Looks for all of it. Changes nothing.
pub async fn leavings(session: &Session) -> Result<Leavings, Error> {
    let host = session.host();
    let folders = host.folders();
    let install = ResolverFiles::of(host).install();
    let receipts = [install.join("receipt.json"), install.join("service").join("receipt.json")];
    let mut found = Leavings {
        platforms: list_platforms(session).await?.into_iter().map(|row| row.name).collect(),
        names: host.exists(&receipts[0]).await || host.exists(&receipts[1]).await,
        trust: trust::recorded(host, &authorities(session)).await?,
        ..Leavings::default()
    };
    for (folder, place) in
        [(folders.data, &mut found.data), (folders.cache, &mut found.cache), (folders.config, &mut found.settings)]
    {
        if host.exists(&folder).await {
            *place = Some(folder);
        }
    }
    Ok(found)
}

/// Takes it away, in an order in which what is left after an error is found by the next try. With
/// `volumes` the data goes too; without, the folder with its passwords stays.
pub async fn uninstall(session: &Session, found: &Leavings, volumes: bool) -> Result<Uninstalled, Error> {
    let host = session.host();
    let mut done = Uninstalled::default();
    for name in &found.platforms {
        let options = DownOptions { volumes, ..DownOptions::default() };
        match down(session, name, options).await {
            Ok(downed) => {
                done.volumes.extend(downed.kept);
                done.platforms.push(name.clone());
            }
            Err(Error::Foreign { .. }) => done.foreign.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    uninstall_names(session).await?;
    done.trust = trust::uninstall(host, &authorities(session), None, None).await?;
    stop_own_resolver(session).await?;
    // passwords of data that stays, and the receipt of a store that could not be changed
    let keep = !done.volumes.is_empty() || done.failed_stores() > 0;
    for folder in found.cache.iter().chain(found.data.iter().filter(|_| !keep)) {
        host.remove_folder(folder).await.map_err(|source| Error::Io { path: folder.clone(), source })?;
        done.folders.push(folder.clone());
    }
    Ok(done)
}

/// The one that `up` started; one in a terminal of the user's is the user's.
async fn stop_own_resolver(session: &Session) -> Result<(), Error> {
    let files = ResolverFiles::of(session.host());
    let by = files.last_process(session.host()).await.map(|process| process.started_by);
    if by != Some(StartedBy::Up) {
        return Ok(());
    }
    let Ok(mut client) = connect(session.host()).await else { return Ok(()) };
    let status = client.status().await;
    stop_resolver(&mut client, &files.control(), &status).await
}
