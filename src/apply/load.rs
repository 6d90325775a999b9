//! Images of a bundle on their way into the engine: those that are wanted first go first, layers that are there do not
//! go again, and each file is checked while it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::bundle::{Bundle, BundleError, Image, Turn, turns};
use crate::engine::{Engine, EngineError, ProgressSink};
use crate::event::Progress;
use crate::model::{EngineKind, Facts, LabelledImage, label};
use crate::words;

use super::StepError;

/// Images that the engine takes at once: it unpacks each on one core.
const SLOTS: usize = 2;
/// Pieces of an archive between the file and the engine.
const IN_FLIGHT: usize = 16;
/// How often it is said how far an image is.
const TELL: Duration = Duration::from_millis(100);
/// Images of the engine that are asked for their layers, beside those that have a name of the bundle's.
const ASKED: usize = 32;

/// Why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<LoadError> for StepError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Bundle(error) => error.into(),
            LoadError::Engine(error) => error.into(),
        }
    }
}

/// What loading an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes of layers that the engine had.
    pub there: u64,
}

impl Sent {
    pub fn note(self) -> Option<String> {
        (self.there > 0).then(|| format!("{} of it were there", words::bytes(self.there)))
    }
}

/// Loads images of one bundle.
pub struct Loader {
    engine: Arc<dyn Engine>,
    bundle: Arc<Bundle>,
    /// Ids, in the order in which they are wanted, with what need not be sent.
    queue: Vec<(String, Turn)>,
    standing: Mutex<Standing>,
    /// Something ended.
    moved: Notify,
}

/// By the place in the queue.
#[derive(Debug, Default)]
struct Standing {
    running: usize,
    waiting: BTreeSet<usize>,
    /// Whether it went well.
    ended: BTreeMap<usize, bool>,
}

/// The right to load one image, now.
pub struct Place<'a> {
    loader: &'a Loader,
    at: usize,
    begun: bool,
    well: bool,
}

impl Loader {
    /// `ids`: of images of the bundle, in the order in which they are wanted.
    pub async fn new(
        engine: Arc<dyn Engine>,
        facts: &Facts,
        bundle: Arc<Bundle>,
        ids: Vec<String>,
    ) -> Result<Self, EngineError> {
        let images: Vec<&Image> = ids.iter().filter_map(|id| bundle.image(id)).collect();
        let all = match facts.engine_kind {
            EngineKind::Docker if !facts.traits.containerd_images => {
                let layers: Vec<&[String]> = images.iter().map(|image| bundle.layers(image)).collect();
                turns(&layers, &layers_there(&*engine, &bundle).await?)
            }
            // these look for each layer in the archive
            EngineKind::Docker | EngineKind::Podman => vec![Turn::default(); images.len()],
        };
        let queue = images.iter().map(|image| image.id.clone()).zip(all).collect();
        Ok(Self { engine, bundle, queue, standing: Mutex::default(), moved: Notify::new() })
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for this image once it is its turn. `waits` is told when that is not at once. None for an image that
    /// is not in the queue.
    pub async fn place(&self, id: &str, waits: impl FnOnce() + Send) -> Option<Place<'_>> {
        let at = self.queue.iter().position(|(known, _)| known == id)?;
        self.standing().waiting.insert(at);
        let mut place = Place { loader: self, at, begun: false, well: false };
        let mut waits = Some(waits);
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.begins(at) {
                place.begun = true;
                // there may be room for one more
                self.moved.notify_waiters();
                return Some(place);
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            moved.await;
        }
    }

    fn begins(&self, at: usize) -> bool {
        let mut standing = self.standing();
        let brought = |at: &&usize| {
            let then = self.queue.get(**at).and_then(|(_, turn)| turn.then);
            then.is_none_or(|(before, _)| standing.ended.contains_key(&before))
        };
        let next = standing.waiting.iter().find(brought).copied();
        if standing.running >= SLOTS || next != Some(at) {
            return false;
        }
        standing.waiting.remove(&at);
        standing.running += 1;
        true
    }

    /// How many of its lowest layers the engine has by now.
    fn there(&self, turn: Turn) -> usize {
        match turn.then {
            Some((before, layers)) if self.standing().ended.get(&before) == Some(&true) => layers,
            _ => turn.there,
        }
    }

    async fn load(&self, image: &Image, there: usize, progress: ProgressSink<'_>) -> Result<Sent, LoadError> {
        let whole = self.bundle.to_send(image, 0);
        if there > 0 {
            let sent = self.bundle.to_send(image, there);
            match self.send(image, there, progress).await {
                Ok(()) if named(&*self.engine, image, true).await? => {
                    return Ok(Sent { sent, there: whole.saturating_sub(sent) });
                }
                // a layer that was there has gone, or this engine wants to have each: its answer decides
                Ok(()) | Err(LoadError::Engine(EngineError::Other { .. } | EngineError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        self.send(image, 0, progress).await?;
        if !named(&*self.engine, image, false).await? {
            let operation = format!("loading {}", image.references.join(", "));
            let message = "the engine took the archive, and does not have the image".to_owned();
            return Err(EngineError::Other { operation, message }.into());
        }
        Ok(Sent { sent: whole, there: 0 })
    }

    async fn send(&self, image: &Image, there: usize, progress: ProgressSink<'_>) -> Result<(), LoadError> {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(IN_FLIGHT);
        let (bundle, wanted) = (self.bundle.clone(), image.clone());
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        // disk and compression keep a thread busy
        let reading = tokio::task::spawn_blocking(move || {
            let mut sink = |piece: Vec<u8>| {
                counted.fetch_add(u64::try_from(piece.len()).unwrap_or_default(), Ordering::Relaxed);
                sender.blocking_send(Ok(Bytes::from(piece))).is_ok()
            };
            let read = bundle.archive(&wanted, there, &mut sink);
            if read.is_err() {
                // half an archive must not look like a whole one
                let _ = sender.blocking_send(Err(io::Error::other("the bundle cannot be read to its end")));
            }
            read
        });
        let pieces =
            stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed();
        let total = self.bundle.to_send(image, there);
        let unheard = |_: Progress| {};
        let mut loading = pin!(async { tokio::join!(reading, self.engine.load_from(pieces, &unheard)) });
        let (read, loaded) = loop {
            match timeout(TELL, &mut loading).await {
                Ok(ended) => break ended,
                Err(_) => {
                    let current = sent.load(Ordering::Relaxed).min(total);
                    // what comes then is the engine's own work
                    let phase = if current == total { "unpacking" } else { "loading" };
                    progress(Progress::Bytes { part: String::new(), current, total, phase: phase.to_owned() });
                }
            }
        };
        // a bundle that cannot be read says more than the engine that got half of it
        match read {
            Ok(read) => read?,
            Err(broken) => {
                let operation = format!("loading {}", image.references.join(", "));
                return Err(EngineError::Local { operation, source: broken.into() }.into());
            }
        }
        loaded?;
        Ok(())
    }
}

impl Place<'_> {
    pub async fn load(mut self, progress: ProgressSink<'_>) -> Result<Sent, LoadError> {
        let queued = self.loader.queue.get(self.at);
        let found = queued.and_then(|(id, turn)| Some((self.loader.bundle.image(id)?, *turn)));
        // what has a place is in the queue, which holds nothing else
        let Some((image, turn)) = found else { return Ok(Sent { sent: 0, there: 0 }) };
        let loaded = self.loader.load(image, self.loader.there(turn), progress).await?;
        self.well = true;
        Ok(loaded)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut standing = self.loader.standing();
        standing.waiting.remove(&self.at);
        standing.running -= usize::from(self.begun);
        standing.ended.insert(self.at, self.well);
        drop(standing);
        self.loader.moved.notify_waiters();
    }
}

/// Whether every name of the image is there; `same`: and is this very image.
pub(crate) async fn named(engine: &dyn Engine, image: &Image, same: bool) -> Result<bool, EngineError> {
    let found = join_all(image.references.iter().map(|reference| engine.image(reference))).await;
    for found in found {
        match found? {
            Some(found) if !same || found.id == image.id => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The layers of the engine's images that may have some in common with those of the bundle: older ones of the same
/// names, and those that were built for the same services.
async fn layers_there(engine: &dyn Engine, bundle: &Bundle) -> Result<Vec<Vec<String>>, EngineError> {
    let images = &bundle.index().images;
    let services: BTreeSet<&str> = images.iter().flat_map(|image| &image.services).map(String::as_str).collect();
    let built = engine.labelled_images(label::SERVICE).await?;
    let near = |image: &LabelledImage| {
        image.labels.get(label::SERVICE).is_some_and(|service| service == "base" || services.contains(service.as_str()))
    };
    let near = built.into_iter().filter(near).filter_map(|image| image.names.into_iter().next()).take(ASKED);
    let names: BTreeSet<String> =
        images.iter().flat_map(|image| image.references.iter().cloned()).chain(near).collect();
    join_all(names.iter().map(|name| engine.layers(name))).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::bundle::Writer;
    use crate::engine::Images;
    use crate::engine::fake::FakeEngine;
    use crate::model::ObservedImage;

    /// A bundle of these images, each of which has a layer of its own on one that all have.
    async fn bundle(folder: &Path, names: &[&str]) -> Arc<Bundle> {
        let path = folder.join("all.bundle");
        let mut writer = Writer::open(&path).unwrap();
        for name in names {
            let engine = names.iter().fold(FakeEngine::new(), |engine, name| engine.with_image(name));
            let image = engine.image(name).await.unwrap().unwrap();
            let archive: Vec<Bytes> =
                engine.export(&[(*name).to_owned()]).await.unwrap().map(|piece| piece.unwrap()).collect().await;
            writer.add(&image.id, &[(*name).to_owned()], &[], 7, archive.concat().as_slice()).unwrap();
        }
        writer.finish("macula 1", "shop").unwrap();
        Arc::new(Bundle::open(&path).unwrap())
    }

    async fn loader(engine: &FakeEngine, kind: EngineKind, bundle: &Arc<Bundle>) -> Loader {
        let ids = bundle.index().images.iter().map(|image| image.id.clone()).collect();
        let facts = Facts::of(String::new(), kind);
        Loader::new(Arc::new(engine.clone()), &facts, bundle.clone(), ids).await.unwrap()
    }

    async fn load(loader: &Loader, at: usize) -> Result<Sent, LoadError> {
        let id = loader.queue[at].0.clone();
        loader.place(&id, || {}).await.unwrap().load(&|_| {}).await
    }

    #[tokio::test]
    async fn what_images_share_is_sent_once_and_then_what_waits_is_sent_together() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1", "b:1", "c:1", "d:1"]).await;
        let engine = FakeEngine::new();
        let loader = loader(&engine, EngineKind::Docker, &bundle).await;
        let first = loader.place(&loader.queue[0].0, || panic!("it need not wait")).await.unwrap();
        let mut waited = false;
        {
            let mut second = pin!(loader.place(&loader.queue[1].0, || waited = true));
            assert!(timeout(Duration::from_millis(20), &mut second).await.is_err());
        }
        assert!(waited, "its lowest layer is on the way");
        let whole = first.load(&|_| {}).await.unwrap();
        assert_eq!((whole.there, whole.note()), (0, None));
        let (one, other) = tokio::join!(load(&loader, 2), load(&loader, 3));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.there > 0 && one.sent + one.there == whole.sent, "{one:?} of {whole:?}");
        assert_eq!(one, other);
        assert!(engine.image("d:1").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn one_that_failed_brings_nothing() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1", "b:1"]).await;
        let loader = loader(&FakeEngine::new(), EngineKind::Docker, &bundle).await;
        drop(loader.place(&loader.queue[0].0, || {}).await);
        assert_eq!(load(&loader, 1).await.unwrap().there, 0);
    }

    #[tokio::test]
    async fn an_engine_that_lost_a_layer_gets_all_of_it() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1", "b:1"]).await;
        let engine = FakeEngine::new().with_image("a:1");
        let loader = loader(&engine, EngineKind::Docker, &bundle).await;
        engine.remove_image_by_hand("a:1");
        assert_eq!(load(&loader, 1).await.unwrap().there, 0);
        assert!(engine.image("b:1").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn layers_of_other_services_are_not_asked_for() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1"]).await;
        let of = |service: &str| ObservedImage {
            id: format!("sha256:{service}"),
            labels: [(label::SERVICE.to_owned(), service.to_owned())].into(),
            ..ObservedImage::default()
        };
        let engine = FakeEngine::new().with_image_as("base:1", of("base")).with_image_as("other:1", of("other"));
        // of the bundle's own name and of the base
        assert_eq!(layers_there(&engine, &bundle).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn podman_gets_whole_archives() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1", "b:1"]).await;
        let loader = loader(&FakeEngine::new().with_image("a:1"), EngineKind::Podman, &bundle).await;
        assert_eq!(load(&loader, 1).await.unwrap().there, 0);
    }

    #[tokio::test]
    async fn two_at_once_and_whoever_is_wanted_first_goes_first() {
        let folder = TempDir::new().unwrap();
        let bundle = bundle(folder.path(), &["a:1", "b:1", "c:1", "d:1"]).await;
        let loader = loader(&FakeEngine::new().with_image("x:1").with_image("a:1"), EngineKind::Docker, &bundle).await;
        let id = |at: usize| loader.queue[at].0.as_str();
        let one = loader.place(id(3), || {}).await.unwrap();
        let two = loader.place(id(2), || {}).await.unwrap();
        let order = Mutex::new(Vec::new());
        let late = async {
            let place = loader.place(id(1), || {}).await;
            order.lock().unwrap().push(1);
            drop(place);
        };
        let early = async {
            let place = loader.place(id(0), || {}).await;
            order.lock().unwrap().push(0);
            drop(place);
        };
        let freed = async {
            tokio::task::yield_now().await;
            drop((one, two));
        };
        tokio::join!(late, early, freed);
        assert_eq!(*order.lock().unwrap(), [0, 1]);
        assert!(loader.place("sha256:of-another", || {}).await.is_none());
    }
}
