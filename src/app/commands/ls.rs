//! `ls`: all platforms of this user.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde::Serialize;

use crate::app::choices::Choices;
use crate::app::owner::{self, Owner};
use crate::app::resolver::ResolverFiles;
use crate::app::{Error, Session};
use crate::compile::{Block, loopback_address};
use crate::model::{ContainerState, ObservedContainer, PlatformName, label};
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
    /// Of the other projects that have containers on it.
    pub other_folders: BTreeSet<PathBuf>,
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
    /// It was brought up on another engine than the one that was asked, which has nothing of it.
    Elsewhere,
    /// No engine answers that could tell, or none answers about this one.
    Unknown,
}

impl PlatformState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Down => "down",
            Self::Elsewhere => "elsewhere",
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
    let glances = match containers {
        Some(_) => join_all(names.iter().map(|name| glance(session, own.as_ref(), name))).await,
        None => names.iter().map(|_| Ok(Glance::default())).collect(),
    };
    let mut rows = Vec::new();
    for (name, glance) in names.into_iter().zip(glances) {
        let glance = glance.map_err(|error| silent.push((name.to_string(), error))).ok();
        let containers = containers.as_deref().filter(|_| glance.is_some());
        let Glance { owner, elsewhere } = glance.unwrap_or_default();
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
                (None, _) if elsewhere => PlatformState::Elsewhere,
                (None, _) => PlatformState::Down,
                (Some(_), false) => PlatformState::Stopped,
                (Some(_), true) => PlatformState::Running,
            },
            running,
            services,
            domain: domain.unwrap_or_else(|| name.domain()),
            address: address.map(|address| address.to_string()),
            other_folders: other_folders(ours(), &choices, &state.stacks_folder()),
            folder: choices.folder,
            gone,
            owner,
            name,
        });
    }
    Ok((rows, silent))
}

/// The folders of the Compose files of these containers that the last `up` did not run in or read. `own`: where the
/// built-in stacks lie.
fn other_folders<'a>(
    containers: impl Iterator<Item = &'a ObservedContainer>,
    last: &Choices,
    own: &Path,
) -> BTreeSet<PathBuf> {
    let of_last = |folder: &Path, file: &Path| {
        let settings = last.file.as_deref().and_then(Path::parent).is_some_and(|place| folder.starts_with(place));
        let is_in = [&last.folder, &last.project].into_iter().flatten().any(|place| place.starts_with(folder));
        settings || is_in || last.stacks.iter().any(|place| file.starts_with(place))
    };
    let files = containers.filter_map(|found| found.label(label::CONFIG_FILES)).map(Path::new);
    let others = files.filter_map(|file| {
        let folder = file.parent()?;
        (folder != own && !of_last(folder, file)).then(|| folder.to_owned())
    });
    others.collect()
}

/// What a look at a platform says of where it belongs.
#[derive(Default)]
struct Glance {
    /// Whose it is, where that is another user or data folder.
    owner: Option<String>,
    /// It was brought up on another engine, and nothing of it is on this one.
    elsewhere: bool,
}

/// Where no engine answers, it belongs to nobody and to no place.
async fn glance(session: &Session, own: Option<&Owner>, name: &PlatformName) -> Result<Glance, Error> {
    let Some(engine) = &session.system.engine else { return Ok(Glance::default()) };
    let seen = observe::ours_at_a_glance(&**engine, name).await?;
    // `down` says what is the matter with a file that cannot be read
    let elsewhere = is_nothing(&seen) && session.engines_elsewhere(name).await.is_ok_and(|engines| !engines.is_empty());
    Ok(Glance { owner: owner::other(own, name, &seen), elsewhere })
}

/// Those that `down --all` takes down, or with `gone` those whose folder no longer exists; and among them those that
/// belong to another user or data folder. What was brought up on another engine is only told of.
pub async fn platforms_to_take_down(
    session: &Session,
    gone: bool,
) -> Result<(BTreeSet<PlatformName>, BTreeSet<PlatformName>), Error> {
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for row in known_platforms(session).await?.into_iter().filter(|row| !gone || row.gone) {
        if row.owner.is_none() && row.state == PlatformState::Elsewhere {
            let those = words::list(session.engines_elsewhere(&row.name).await?);
            session.events.info(format!("{} was brought up on {those}, and is left alone", row.name));
            continue;
        }
        let side = if row.owner.is_some() { &mut others } else { &mut ours };
        side.insert(row.name);
    }
    Ok((ours, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_other_projects_are_those_that_the_last_up_did_not_read() {
        let made_of = |file: &&str| ObservedContainer {
            labels: [(label::CONFIG_FILES.to_owned(), (*file).to_owned())].into(),
            ..ObservedContainer::default()
        };
        let own = Path::new("/data/shop/stacks");
        for (folder, file, project, stacks, files, expected) in [
            ("/w/shop", None, Some("/w/shop/compose.yaml"), None, "/w/shop/compose.yaml /data/shop/stacks/s3.yaml", ""),
            // started in a folder below the Compose file's
            ("/w/shop/src", None, Some("/w/shop/compose.yaml"), None, "/w/shop/compose.yaml", ""),
            // a macula.yaml lists stacks below its folder
            ("/w/shop/src", Some("/w/shop/macula.yaml"), None, None, "/w/shop/web/compose.yaml", ""),
            ("/w", None, None, Some("/x/web"), "/x/web/compose.yaml", ""),
            ("/w", None, None, Some("/x/web.yaml"), "/x/web.yaml", ""),
            (
                "/w/shop",
                None,
                Some("/w/shop/compose.yaml"),
                None,
                "/w/shop/compose.yaml /w/blog/compose.yaml /w/blog/compose.yaml /x/compose.yaml",
                "/w/blog /x",
            ),
            // what lies below is another project, unless it is listed
            ("/w", None, None, None, "/w/blog/compose.yaml", "/w/blog"),
        ] {
            let last = Choices {
                folder: Some(folder.into()),
                file: file.map(PathBuf::from),
                project: project.map(PathBuf::from),
                stacks: stacks.map(PathBuf::from).into_iter().collect(),
                ..Choices::default()
            };
            let words: Vec<&str> = files.split_whitespace().collect();
            let all: Vec<ObservedContainer> = words.iter().map(made_of).collect();
            let expected: BTreeSet<PathBuf> = expected.split_whitespace().map(PathBuf::from).collect();
            assert_eq!(other_folders(all.iter(), &last, own), expected, "{folder} {files}");
        }
    }
}
