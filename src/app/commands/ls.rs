//! `ls`: all platforms of this user.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures_util::future::join_all;
use serde::Serialize;

use crate::app::owner::{self, Owner};
use crate::app::resolver::ResolverFiles;
use crate::app::{Error, Session};
use crate::compile::{Block, loopback_address};
use crate::model::{ContainerState, PlatformName, label};
use crate::observe;
use crate::words;

use super::down::is_nothing;
use super::service_status::count_services;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlatformRow {
    pub name: PlatformName,
    pub state: PlatformState,
    /// Services that run, as `status` counts them.
    pub running: usize,
    /// Services that are to run: a job that has done its work is none of them.
    pub services: usize,
    pub domain: String,
    /// Where all of its names lead, the ingress's; none before the first `up`.
    pub address: Option<String>,
    /// From which it was brought up last.
    pub folder: Option<PathBuf>,
    /// That folder no longer exists.
    pub gone: bool,
    /// Whose it is, where that is another user or data folder.
    pub owner: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformState {
    Running,
    /// It has containers, and none of them runs.
    Stopped,
    /// It has data, and no container.
    Down,
    /// No engine answers that could tell, or none answers about this one.
    Unknown,
}

impl PlatformState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Every platform, by name. One of which the engine says nothing is there too, with a warning.
pub async fn list_platforms(session: &Session) -> Result<Vec<PlatformRow>, Error> {
    let (rows, silent) = look(session).await?;
    for (what, error) in silent {
        session.events.warn(format!("{what}: {error}"));
    }
    Ok(rows)
}

/// The same for whoever is to change something: of each it is known whose it is.
pub(super) async fn known_platforms(session: &Session) -> Result<Vec<PlatformRow>, Error> {
    let (rows, silent) = look(session).await?;
    match silent.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(rows),
    }
}

/// Every platform, and what the engine did not answer, with what that is about.
async fn look(session: &Session) -> Result<(Vec<PlatformRow>, Vec<(String, Error)>), Error> {
    let host = session.host();
    let mut silent: Vec<(String, Error)> = Vec::new();
    let seen = match &session.system.engine {
        Some(engine) => engine.labelled(label::PLATFORM).await.map(Some),
        None => Ok(None),
    };
    let containers = seen.unwrap_or_else(|error| {
        silent.push(("the platforms' containers".to_owned(), error.into()));
        None
    });
    let zones = ResolverFiles::of(host).entries(host).await;
    let own = Owner::read(host).await?;
    let names = session.platforms().await;
    let owners = match containers {
        Some(_) => join_all(names.iter().map(|name| owner_of(session, own.as_ref(), name))).await,
        None => names.iter().map(|_| Ok(None)).collect(),
    };
    let mut rows = Vec::new();
    for (name, owner) in names.into_iter().zip(owners) {
        let owner = owner.map_err(|error| silent.push((name.to_string(), error))).ok();
        let containers = containers.as_deref().filter(|_| owner.is_some());
        let state = session.state(&name);
        let choices = state.choices(host).await.unwrap_or_default();
        let ours =
            || containers.into_iter().flatten().filter(|found| found.label(label::PLATFORM) == Some(name.as_str()));
        let runs = ours().any(|found| found.state == ContainerState::Running);
        let stopped = state.stopped(host).await.unwrap_or_default();
        let (running, services) = count_services(ours(), stopped);
        let domain = zones.iter().find(|(platform, _)| *platform == name).map(|(_, entry)| entry.zone.apex.clone());
        let gone = match &choices.folder {
            Some(folder) => !host.exists(folder).await,
            None => false,
        };
        let address = state.kept_block(host).await.and_then(Block::new).map(|block| loopback_address(block, None));
        rows.push(PlatformRow {
            state: match (ours().next(), runs) {
                (None, _) if containers.is_none() => PlatformState::Unknown,
                (None, _) => PlatformState::Down,
                (Some(_), false) => PlatformState::Stopped,
                (Some(_), true) => PlatformState::Running,
            },
            running,
            services,
            domain: domain.unwrap_or_else(|| name.domain()),
            address: address.map(|address| address.to_string()),
            folder: choices.folder,
            gone,
            owner: owner.flatten(),
            name,
        });
    }
    Ok((rows, silent))
}

/// Whose a platform is, where that is another user or data folder; nobody's where no engine answers.
async fn owner_of(session: &Session, own: Option<&Owner>, name: &PlatformName) -> Result<Option<String>, Error> {
    match &session.system.engine {
        Some(engine) => Ok(owner::other(own, name, &observe::ours_at_a_glance(&**engine, name).await?)),
        None => Ok(None),
    }
}

/// Those that `down --all` takes down, or with `gone` those whose folder no longer exists; and among them those that
/// belong to another user or data folder. What was brought up on another engine is only told of.
pub async fn platforms_to_take_down(
    session: &Session,
    gone: bool,
) -> Result<(BTreeSet<PlatformName>, BTreeSet<PlatformName>), Error> {
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for row in known_platforms(session).await?.into_iter().filter(|row| !gone || row.gone) {
        let engines = match row.state {
            // `down` says what is the matter with a file that cannot be read
            PlatformState::Down => session.engines_elsewhere(&row.name).await.unwrap_or_default(),
            _ => BTreeSet::new(),
        };
        if row.owner.is_none()
            && !engines.is_empty()
            && is_nothing(&observe::ours_at_a_glance(&*session.engine()?, &row.name).await?)
        {
            let those = words::list(engines);
            session.events.info(format!("{} was brought up on {those}, and is left alone", row.name));
            continue;
        }
        let side = if row.owner.is_some() { &mut others } else { &mut ours };
        side.insert(row.name);
    }
    Ok((ours, others))
}
