//! `ls`: all platforms of this user.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::app::resolver::ResolverFiles;
use crate::app::{Error, Session};
use crate::model::{ContainerState, PlatformName, label};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlatformRow {
    pub name: PlatformName,
    pub state: PlatformState,
    /// Containers that run.
    pub running: usize,
    pub containers: usize,
    pub domain: String,
    /// Where its services answer; none before the first `up`.
    pub address: Option<String>,
    /// From which it was brought up last.
    pub folder: Option<PathBuf>,
    /// That folder no longer exists.
    pub gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformState {
    Running,
    /// It has containers, and none of them runs.
    Stopped,
    /// It has data, and no container.
    Down,
}

impl PlatformState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Down => "down",
        }
    }
}

/// Every platform, by name. Without an engine nothing runs.
pub async fn list_platforms(session: &Session) -> Result<Vec<PlatformRow>, Error> {
    let host = session.host();
    let containers = match &session.system.engine {
        Some(engine) => engine.labelled(label::PLATFORM).await?,
        None => Vec::new(),
    };
    let zones = ResolverFiles::of(host).entries(host).await;
    let mut rows = Vec::new();
    for name in session.platforms().await {
        let state = session.state(&name);
        let choices = state.choices(host).await.unwrap_or_default();
        let ours = || containers.iter().filter(|found| found.label(label::PLATFORM) == Some(name.as_str()));
        let running = ours().filter(|found| found.state == ContainerState::Running).count();
        let domain = zones.iter().find(|(platform, _)| *platform == name).map(|(_, entry)| entry.zone.apex.clone());
        let gone = match &choices.folder {
            Some(folder) => !host.exists(folder).await,
            None => false,
        };
        rows.push(PlatformRow {
            state: match (ours().count(), running) {
                (0, _) => PlatformState::Down,
                (_, 0) => PlatformState::Stopped,
                _ => PlatformState::Running,
            },
            running,
            containers: ours().count(),
            domain: domain.unwrap_or_else(|| name.domain()),
            address: state.kept_block(host).await.map(|block| block.to_string()),
            folder: choices.folder,
            gone,
            name,
        });
    }
    Ok(rows)
}

/// Those that `down --all` takes down, or with `gone` those whose folder no longer exists.
pub async fn platforms_to_take_down(session: &Session, gone: bool) -> Result<BTreeSet<PlatformName>, Error> {
    let rows = list_platforms(session).await?;
    Ok(rows.into_iter().filter(|row| !gone || row.gone).map(|row| row.name).collect())
}
