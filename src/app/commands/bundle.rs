//! `images save` and `images load`: a platform's images as one file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::Serialize;

use crate::apply::load::named;
use crate::apply::{Loader, StepError};
use crate::bundle::{Bundle, BundleError, Image, Saved, Writer};
use crate::compile::{image_specs, service_volumes};
use crate::config::Loaded;
use crate::engine::{Engine, EngineError, Images};
use crate::event::{Event, Events, Progress, StepInfo};
use crate::model::{ImageSpec, ObservedImage, Platform};
use crate::plan::{Choice, ImageSource, LeftOut, Reason, SupplyProblem, supply};

use super::images::{refusal, try_images};
use super::pieces::{END, to_thread};
use crate::app::survey::load_for_engine;
use crate::app::{Error, Session};

/// What `images save` came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedBundle {
    #[serde(serialize_with = "crate::model::shown_path")]
    pub path: PathBuf,
    pub images: usize,
    /// Bytes of the file.
    pub size: u64,
    /// Optional services whose image could not be had, each with the reason.
    pub left_out: Vec<LeftOut>,
}

/// What `images load` came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadedBundle {
    pub loaded: Vec<String>,
    /// In the engine already, as they are in the bundle.
    pub present: Vec<String>,
    /// Bytes that the engine got, without layers that it had.
    pub sent: u64,
}

/// One image with all the names that the platform has for it.
struct Wanted {
    id: String,
    references: Vec<String>,
    services: Vec<String>,
    size: u64,
}

/// Gets what is missing, by the platform's policy, and writes all images to `target`. What may be left
/// out and cannot be had is left out; without what is needed nothing is written.
pub async fn save_images(session: &Session, loaded: &Loaded, target: &Path) -> Result<SavedBundle, Error> {
    let (mut outcome, left_out) = try_images(session, loaded, loaded.platform.images.policy, &[], false).await?;
    let named: BTreeSet<String> = left_out.iter().map(|left| left.service.clone()).collect();
    let refusals = outcome.failed.iter().filter_map(|failure| Some((failure.group.clone(), no_image(&failure.error)?)));
    let mut refused: BTreeMap<String, Reason> = refusals.collect();
    if outcome.failed.len() > refused.len() {
        // the engine's own trouble, or the disk's: no image's
        return Err(Error::Failed(Box::new(outcome)));
    }
    refused.extend(left_out.into_iter().map(|left| (left.service, left.reason)));
    let found = wanted(session, &loaded.platform, &refused).await?;
    if !found.problems.is_empty() {
        let needed = |group: &str| found.problems.iter().any(|problem| problem.service() == group);
        outcome.failed.retain(|failure| needed(&failure.group));
        // what was refused says more than that it is not there
        let told = found.problems.iter().all(|problem| refused.contains_key(problem.service()));
        return Err(if told { Error::Failed(Box::new(outcome)) } else { Error::Supply(found.problems) });
    }
    for left in found.left_out.iter().filter(|left| !named.contains(&left.service)) {
        session.events.warn(format!("{}: {}", left.service, left.reason));
    }
    let Found { images: wanted, left_out, .. } = found;
    let engine = session.engine()?;
    let path = target.to_owned();
    let mut writer = blocking(move || Writer::open(&path)).await??;
    let steps = wanted.iter().map(|image| (step_of(&image.references), image.services.join(", "))).collect();
    started(&session.events, &session.command, &loaded.platform.name, steps);
    for image in wanted {
        let step = step_of(&image.references);
        session.events.emit(Event::StepStarted { id: step.clone() });
        let begun = Instant::now();
        if writer.resume(&image.id, &image.references, &image.services) {
            done(&session.events, &step, begun, Some("saved by an earlier run"));
            continue;
        }
        let saving = save_one(&*engine, writer, &image, &session.events, &step);
        let result = tokio::select! {
            result = saving => result,
            () = session.cancel.cancelled() => Err(Error::Cancelled),
        };
        match result {
            Ok(back) => writer = back,
            Err(error) => return Err(failed(&session.events, &step, begun, error)),
        }
        done(&session.events, &step, begun, None);
    }
    let (by, name) = (format!("macula {}", session.version), loaded.platform.name.clone());
    let Saved { images, size } = blocking(move || writer.finish(&by, &name)).await??;
    Ok(SavedBundle { path: target.to_owned(), images, size, left_out })
}

/// Why there is no image, when that is all that is wrong.
fn no_image(error: &StepError) -> Option<Reason> {
    match error {
        StepError::Prepare { .. } | StepError::Base { .. } | StepError::Program { .. } => {
            Some(error.to_string().into())
        }
        error => refusal(error),
    }
}

/// The engine's archive of one image, on its way to the disk.
async fn save_one(
    engine: &dyn Images,
    mut writer: Writer,
    image: &Wanted,
    events: &Events,
    step: &str,
) -> Result<Writer, Error> {
    let mut pieces = engine.export(&image.references).await?;
    let (sender, mut archive) = to_thread();
    let (id, references, services, size) =
        (image.id.clone(), image.references.clone(), image.services.clone(), image.size);
    let writing = blocking(move || {
        writer.add(&id, &references, &services, size, &mut archive)?;
        Ok::<_, BundleError>(writer)
    });
    let feeding = async {
        // moved in, so that the writer is told when this breaks off
        let sender = sender;
        let mut current = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if piece.is_empty() {
                continue;
            }
            current += u64::try_from(piece.len()).unwrap_or_default();
            let phase = "saving".to_owned();
            let progress = Progress::Bytes { part: String::new(), current, total: image.size, phase };
            events.emit(Event::StepProgress { id: step.to_owned(), progress });
            if sender.send(piece).await.is_err() {
                // the writer has an error of its own
                return Ok(());
            }
        }
        let _ = sender.send(END).await;
        Ok::<(), EngineError>(())
    };
    let (written, fed) = tokio::join!(writing, feeding);
    // an archive that broke off is the engine's trouble, not the archive's
    fed?;
    Ok(written??)
}

/// What is to be saved.
struct Found {
    images: Vec<Wanted>,
    left_out: Vec<LeftOut>,
    /// Services without an image that may not be left out.
    problems: Vec<SupplyProblem>,
}

/// The image that each service runs, each once. `refused`: the service that an image was asked for, and
/// why it could not be had.
async fn wanted(session: &Session, platform: &Platform, refused: &BTreeMap<String, Reason>) -> Result<Found, Error> {
    let (engine, _, observed) = load_for_engine(session, platform).await?;
    let specs = image_specs(platform);
    let (mut chosen, mut problems) =
        supply(platform, &specs, &observed, false, &|service| service_volumes(platform, service));
    let mut gone = Vec::new();
    for (service, choice) in &mut chosen.choices {
        let Choice::Obtain { spec, pull, build } = &*choice else { continue };
        // it is asked for at every run, and was got just now
        let image = spec.present(&observed).filter(|_| *pull).map(|(name, found)| (name, found, ImageSource::Image));
        let built = spec
            .build
            .as_ref()
            .filter(|_| *build)
            .and_then(|build| Some((build.tag.clone(), observed.images.get(&build.tag)?, ImageSource::Build)));
        if let Some((reference, found, source)) = image.or(built) {
            *choice = Choice::Present { reference, id: found.id.clone(), source };
            continue;
        }
        let reason = spec.services.iter().find_map(|service| refused.get(service)).cloned();
        let no_word = || Reason::Image { image: spec.reference.clone(), said: " cannot be had".to_owned() };
        let reason = reason.unwrap_or_else(no_word);
        gone.push(LeftOut { service: service.clone(), reason });
    }
    problems.extend(chosen.leave_out(platform, gone));
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for (service, choice) in chosen.choices {
        let Choice::Present { reference, id, .. } = choice else { continue };
        let size = observed.images.get(&reference).map_or(0, |image| u64::try_from(image.size).unwrap_or_default());
        let image = all.entry(id.clone()).or_insert_with(|| Wanted {
            id: id.clone(),
            references: Vec::new(),
            services: Vec::new(),
            size,
        });
        image.services.push(service.clone());
        let spec = specs.iter().find(|spec| spec.services.contains(&service));
        let built = spec.and_then(|spec| spec.build.as_ref()).into_iter();
        let built = built.flat_map(|build| build.alike.iter().chain([&build.tag]).cloned());
        // an archive knows tags only: a digest is not kept
        if let Some(spec) = spec.filter(|_| reference.contains('@')) {
            let name = spec.kept_as();
            if !image.references.contains(&name) {
                engine.tag(&id, &name).await?;
                image.references.push(name);
            }
        }
        let names = spec.map(ImageSpec::kept_as).into_iter().chain(built).chain([reference]);
        for name in names.filter(|name| !name.contains('@')) {
            let same = observed.images.get(&name).is_some_and(|found: &ObservedImage| found.id == id);
            if same && !image.references.contains(&name) {
                image.references.push(name);
            }
        }
    }
    for image in all.values_mut() {
        image.references.sort();
    }
    let mut all: Vec<Wanted> = all.into_values().collect();
    all.sort_by(|a, b| a.references.cmp(&b.references));
    Ok(Found { images: all, left_out: chosen.left_out, problems })
}

/// Reads what a bundle has, before anything else is done.
pub async fn open_bundle(path: Option<&Path>) -> Result<Option<Arc<Bundle>>, Error> {
    match path {
        Some(path) => opened(path).await.map(Some),
        None => Ok(None),
    }
}

async fn opened(path: &Path) -> Result<Arc<Bundle>, Error> {
    let path = path.to_owned();
    Ok(Arc::new(blocking(move || Bundle::open(&path)).await??))
}

/// Loads what the engine does not have. An image of which a part is damaged is not loaded; the others are.
pub async fn load_bundle(session: &Session, path: &Path) -> Result<LoadedBundle, Error> {
    let engine = session.engine()?;
    let bundle = opened(path).await?;
    let index = bundle.index();
    let steps = index.images.iter().map(|image| (step_of(&image.references), image.services.join(", "))).collect();
    started(&session.events, &session.command, &index.platform, steps);
    let mut result = LoadedBundle::default();
    let mut missing: Vec<&Image> = Vec::new();
    for (image, there) in index.images.iter().zip(named_all(&*engine, &index.images).await?) {
        if there {
            let step = step_of(&image.references);
            session.events.emit(Event::StepStarted { id: step.clone() });
            result.present.extend(image.references.iter().cloned());
            done(&session.events, &step, Instant::now(), Some("in the engine already"));
        } else {
            missing.push(image);
        }
    }
    if missing.is_empty() {
        return Ok(result);
    }
    let ids = missing.iter().map(|image| image.id.clone()).collect();
    let facts = engine.facts().await?;
    let loader = Loader::new(engine, &facts, bundle.clone(), ids).await?;
    let loading = join_all(missing.iter().map(|image| load_one(session, &loader, image)));
    let loaded = tokio::select! {
        loaded = loading => loaded,
        () = session.cancel.cancelled() => return Err(Error::Cancelled),
    };
    for (image, loaded) in missing.iter().zip(loaded) {
        result.sent += loaded?;
        result.loaded.extend(image.references.iter().cloned());
    }
    Ok(result)
}

/// Of each image whether the engine has it under all of its names.
async fn named_all(engine: &dyn Engine, images: &[Image]) -> Result<Vec<bool>, EngineError> {
    join_all(images.iter().map(|image| named(engine, image, true))).await.into_iter().collect()
}

/// Bytes that were sent.
async fn load_one(session: &Session, loader: &Loader, image: &Image) -> Result<u64, Error> {
    let (events, step) = (&session.events, step_of(&image.references));
    let Some(place) = loader.place(&image.id, || {}).await else { return Ok(0) };
    events.emit(Event::StepStarted { id: step.clone() });
    let begun = Instant::now();
    let progress = |progress: Progress| events.emit(Event::StepProgress { id: step.clone(), progress });
    match place.load(&progress).await {
        Ok(loaded) => {
            done(events, &step, begun, loaded.note().as_deref());
            Ok(loaded.sent)
        }
        Err(error) => Err(failed(events, &step, begun, error.into())),
    }
}

fn step_of(references: &[String]) -> String {
    references.first().cloned().unwrap_or_default()
}

/// `steps`: id and group of each.
fn started(events: &Events, command: &str, platform: &str, steps: Vec<(String, String)>) {
    let steps =
        steps.into_iter().map(|(id, group)| StepInfo { text: id.clone(), id, group, ..StepInfo::default() }).collect();
    events.emit(Event::Started {
        command: command.to_owned(),
        platform: platform.to_owned(),
        steps,
        unchanged: Vec::new(),
    });
}

fn done(events: &Events, step: &str, begun: Instant, note: Option<&str>) {
    let note = note.map(str::to_owned);
    events.emit(Event::StepDone { id: step.to_owned(), millis: millis(begun), note });
}

fn failed(events: &Events, step: &str, begun: Instant, error: Error) -> Error {
    events.emit(Event::StepFailed { id: step.to_owned(), millis: millis(begun), error: error.to_string() });
    error
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Disk and compression keep a thread busy.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::other)
}
