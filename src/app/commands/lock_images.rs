//! `images lock`: what each name means today, for the runs to come.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use crate::compile::{Source, lockable, published_addresses};
use crate::config::{Loaded, lock_text};
use crate::engine::Images;
use crate::model::{Observed, split_registry};
use crate::words;

use crate::app::survey::load_for_engine;
use crate::app::{Error, Session};

/// How long one registry may take to say what a name means.
const PATIENCE: Duration = Duration::from_secs(20);
/// Registries are asked side by side, and do not like too many questions at once.
const AT_ONCE: usize = 6;

/// What became of one entry of macula.lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockChange {
    /// It was not locked before.
    New,
    /// The name means another image than when it was locked.
    Moved,
    Same,
    /// Nobody could be asked: the entry stays as it was.
    Kept,
    /// Nobody could be asked, and there is no entry.
    Unknown,
    /// In no stack any more.
    Removed,
}

/// One line of `images lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockRow {
    pub reference: String,
    pub change: LockChange,
    pub digest: Option<String>,
    /// The one of before, when it was another.
    pub before: Option<String>,
    /// Who named the digest, or why nobody did.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Locked {
    #[serde(serialize_with = "crate::model::shown_path")]
    pub path: PathBuf,
    pub images: Vec<LockRow>,
}

/// Asks the registries, and writes macula.lock. `partly`: the platform was narrowed to some profiles,
/// so that entries of other images are kept.
pub async fn lock_images(session: &Session, loaded: &Loaded, partly: bool) -> Result<Locked, Error> {
    let before = &loaded.platform.images.locked;
    let mut free = loaded.platform.clone();
    free.images.locked.clear();
    let (engine, _, observed) = load_for_engine(session, &free).await?;
    // what is pushed to the platform's own registry is another image with every push
    let block = session.state(&free.name).block(session.host(), &free).await?;
    let own = published_addresses(&free, block);
    let foreign =
        lockable(&loaded.platform).into_iter().filter(|source| !own.contains(split_registry(&source.reference).0));
    let asked = stream::iter(foreign).map(|source| {
        let (engine, observed) = (&engine, &observed);
        async move {
            let answer = ask(&**engine, observed, &source).await;
            row(source.reference, answer, before)
        }
    });
    let asking = asked.buffered(AT_ONCE).collect::<Vec<LockRow>>();
    let mut images = tokio::select! {
        rows = asking => rows,
        () = session.cancel.cancelled() => return Err(Error::Cancelled),
    };
    for (reference, digest) in before {
        if !partly && !images.iter().any(|row| row.reference == *reference) {
            images.push(LockRow {
                reference: reference.clone(),
                change: LockChange::Removed,
                digest: None,
                before: Some(digest.clone()),
                note: "in no stack any more".to_owned(),
            });
        }
    }
    let told = images.iter().filter(|row| matches!(row.change, LockChange::New | LockChange::Moved | LockChange::Same));
    if told.count() == 0 && images.iter().any(|row| row.change == LockChange::Unknown) {
        return Err(Error::NothingLocked { reasons: reasons(&images) });
    }
    let mut digests: BTreeMap<String, String> = if partly { before.clone() } else { BTreeMap::new() };
    digests.extend(images.iter().filter_map(|row| Some((row.reference.clone(), row.digest.clone()?))));
    let path = loaded.lock_file.clone();
    let written = session.host().write(&path, lock_text(&digests).as_bytes(), 0o644).await;
    written.map_err(|source| Error::Io { path: path.clone(), source })?;
    Ok(Locked { path, images })
}

/// The digest and who named it: the registry or its mirrors, else the engine, for what was pulled
/// from there. `Err`: why nobody did.
async fn ask(engine: &dyn Images, observed: &Observed, source: &Source) -> Result<(String, String), String> {
    let mut refusals = Vec::new();
    for place in &source.pull {
        match tokio::time::timeout(PATIENCE, engine.digest(place)).await {
            Ok(Ok(digest)) => return Ok((digest, split_registry(place).0.to_owned())),
            Ok(Err(error)) => refusals.push(error.to_string()),
            Err(_) => refusals.push(format!("{place}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
    let held = observed.images.get(&source.reference).into_iter().flat_map(|image| &image.repo_digests);
    match held.filter_map(|known| known.split_once('@')).next() {
        Some((_, digest)) => Ok((digest.to_owned(), "the engine, as it was pulled".to_owned())),
        None => Err(refusals.join("; ")),
    }
}

/// Why nobody said what the names mean, once for each registry: what keeps one image of it keeps the others.
fn reasons(rows: &[LockRow]) -> Vec<String> {
    let mut registries: Vec<(&str, Vec<&LockRow>)> = Vec::new();
    for row in rows.iter().filter(|row| row.change == LockChange::Unknown) {
        let registry = split_registry(&row.reference).0;
        match registries.iter_mut().find(|(known, _)| *known == registry) {
            Some((_, rows)) => rows.push(row),
            None => registries.push((registry, vec![row])),
        }
    }
    let told = |(registry, rows): (&str, Vec<&LockRow>)| match rows.as_slice() {
        [first, _, ..] => format!("{registry}, {}; the first: {}", words::count(rows.len(), "image"), first.note),
        few => few.iter().map(|row| row.note.clone()).collect(),
    };
    registries.into_iter().map(told).collect()
}

fn row(reference: String, answer: Result<(String, String), String>, before: &BTreeMap<String, String>) -> LockRow {
    let known = before.get(&reference).cloned();
    let (change, digest, note) = match (answer, &known) {
        (Ok((digest, note)), None) => (LockChange::New, Some(digest), note),
        (Ok((digest, note)), Some(known)) if digest == *known => (LockChange::Same, Some(digest), note),
        (Ok((digest, note)), Some(_)) => (LockChange::Moved, Some(digest), note),
        (Err(why), Some(known)) => (LockChange::Kept, Some(known.clone()), why),
        (Err(why), None) => (LockChange::Unknown, None, why),
    };
    LockRow { reference, change, digest, before: known.filter(|_| change == LockChange::Moved), note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_is_away_is_told_once() {
        let row = |reference: &str, why: &str| row(reference.into(), Err(why.into()), &BTreeMap::new());
        let rows = [
            row("docker.io/grafana/loki:3", "cannot reach the registry of loki"),
            row("ghcr.io/acme/shop:1", "it was refused"),
            row("docker.io/grafana/tempo:2", "cannot reach the registry of tempo"),
        ];
        assert_eq!(
            reasons(&rows),
            ["docker.io, 2 images; the first: cannot reach the registry of loki", "it was refused"]
        );
    }
}
