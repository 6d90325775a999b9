//! One image from its registries: each in turn, again where another try may help, and never longer than
//! something comes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::engine::{EngineError, ImageError, Images, ProgressSink, Wait};
use crate::event::Progress;
use crate::model::ObservedImage;

/// Between two tries of the same source.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// A limit that ends within so many seconds is waited for: no build is faster.
const WORTH_A_WAIT: u64 = 60;

/// A connection that has brought nothing for so long brings nothing more.
const SILENCE: Duration = Duration::from_secs(60);

/// Why there is no image.
#[derive(Debug)]
pub(crate) enum Unpulled {
    /// The engine itself cannot go on.
    Engine(EngineError),
    Refused {
        /// What each source said, in order.
        attempts: Vec<ImageError>,
        /// The first source that has it for another kind of machine only; the engine has that now.
        foreign: Option<String>,
    },
}

impl From<EngineError> for Unpulled {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// How to pull.
pub(crate) struct Pull<'a> {
    pub engine: &'a dyn Images,
    /// `os/architecture` that was asked for; `None`: what the engine runs on.
    pub platform: Option<&'a str>,
    /// Of the engine, in Go's words.
    pub architecture: &'a str,
    /// For each source.
    pub timeout: Duration,
    pub progress: ProgressSink<'a>,
}

impl Pull<'_> {
    /// The first of these references that can be had.
    pub async fn first_of(&self, references: &[String]) -> Result<String, Unpulled> {
        let mut attempts = Vec::new();
        let mut foreign = None;
        for reference in references {
            match self.patiently(reference).await? {
                Ok(image) if self.is_foreign(&image) => {
                    attempts.push(ImageError::OtherPlatform {
                        reference: reference.clone(),
                        message: format!("it is for {}, the engine runs on {}", image.architecture, self.architecture),
                    });
                    foreign.get_or_insert_with(|| reference.clone());
                }
                Ok(_) => return Ok(reference.clone()),
                Err(error) => attempts.push(error),
            }
            self.tell(attempts.last().map(ToString::to_string).unwrap_or_default());
        }
        // every other source has been tried: now it is worth it to wait for a busy one
        for (reference, attempt) in references.iter().zip(&mut attempts) {
            let ImageError::RateLimited { retry_after, .. } = attempt else { continue };
            let Some(Wait::In(seconds)) = *retry_after else { continue };
            if seconds <= WORTH_A_WAIT {
                self.tell(format!("waiting {seconds} s for the registry of {reference}"));
                sleep(Duration::from_secs(seconds)).await;
                match self.patiently(reference).await? {
                    Ok(image) if !self.is_foreign(&image) => return Ok(reference.clone()),
                    Ok(_) => {}
                    Err(error) => *attempt = error,
                }
            }
        }
        Err(Unpulled::Refused { attempts, foreign })
    }

    fn tell(&self, text: String) {
        (self.progress)(Progress::Line { text });
    }

    /// Some processors run the programs of an older kind too.
    fn is_foreign(&self, image: &ObservedImage) -> bool {
        let native = match (self.architecture, image.architecture.as_str()) {
            (engine, image) if engine == image || engine.is_empty() || image.is_empty() => true,
            ("amd64", "386") | ("arm64", "arm") => true,
            _ => false,
        };
        self.platform.is_none() && !native
    }

    async fn patiently(&self, reference: &str) -> Result<Result<ObservedImage, ImageError>, EngineError> {
        let deadline = Instant::now() + self.timeout;
        let mut pauses = PAUSES.iter();
        loop {
            let watch = Mutex::new(Watch::new());
            let error = match timeout_at(deadline, self.watched(reference, &watch)).await {
                Ok(Ok(image)) => return Ok(Ok(image)),
                Ok(Err(EngineError::Image { source, .. })) => source,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let message = format!("the pull took longer than {} s", self.timeout.as_secs());
                    return Ok(Err(ImageError::BrokeOff { reference: reference.to_owned(), message }));
                }
            };
            // where the engine has tried again and again, one more time is no help
            let again = error.may_pass() && !locked(&watch).retried;
            let Some(pause) = pauses.next().filter(|_| again) else { return Ok(Err(error)) };
            let pause = (*pause).min(self.timeout / 10);
            self.tell(format!("{error}; trying again in {pause:?}"));
            sleep(pause).await;
        }
    }

    async fn watched(&self, reference: &str, watch: &Mutex<Watch>) -> Result<ObservedImage, EngineError> {
        let silence = SILENCE.min(self.timeout / 10);
        let heard = |progress: Progress| {
            locked(watch).hear(&progress);
            (self.progress)(progress);
        };
        let mut pull = self.engine.pull(reference, self.platform, &heard);
        let mut until = Instant::now() + silence;
        loop {
            tokio::select! {
                biased;
                pulled = &mut pull => return pulled,
                () = sleep_until(until) => {}
            }
            let mut watch = locked(watch);
            if watch.changed + silence > Instant::now() {
                until = watch.changed + silence;
            } else if watch.waits_for_registry() {
                return Err(EngineError::Image {
                    operation: format!("pulling {reference}"),
                    source: ImageError::BrokeOff {
                        reference: reference.to_owned(),
                        message: format!("nothing came for {silence:?}"),
                    },
                });
            } else {
                watch.changed = Instant::now();
            }
        }
    }
}

fn locked(watch: &Mutex<Watch>) -> std::sync::MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a pull under way.
struct Watch {
    /// When it last said something new.
    changed: Instant,
    /// Of each layer: what is done with it, and how far.
    layers: BTreeMap<String, (String, u64)>,
    /// The engine has begun a layer again by itself.
    retried: bool,
}

impl Watch {
    fn new() -> Self {
        Self { changed: Instant::now(), layers: BTreeMap::new(), retried: false }
    }

    /// Some engines say the same ten times a second.
    fn hear(&mut self, progress: &Progress) {
        let Progress::Bytes { part, phase, current, .. } = progress else {
            self.changed = Instant::now();
            return;
        };
        self.retried |= phase.starts_with("Retrying");
        let now = (phase.clone(), *current);
        if self.layers.get(part) != Some(&now) {
            self.layers.insert(part.clone(), now);
            self.changed = Instant::now();
        }
    }

    /// Not so where the engine unpacks: a slow disk may say nothing for long.
    fn waits_for_registry(&self) -> bool {
        let any = |phases: &[&str]| {
            self.layers.values().any(|(phase, _)| phases.iter().any(|front| phase.starts_with(front)))
        };
        !any(&["Extracting", "Verifying"])
            && (self.layers.is_empty() || any(&["Pulling", "Waiting", "Downloading", "Retrying"]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::fake::{FakeEngine, FakePull};

    async fn pull(engine: &FakeEngine, references: &[&str]) -> String {
        let said = Arc::new(Mutex::new(Vec::new()));
        let progress = |progress: Progress| {
            if let Progress::Line { text } = progress {
                said.lock().unwrap().push(text);
            }
        };
        let references: Vec<String> = references.iter().map(|reference| (*reference).to_owned()).collect();
        let pull = Pull {
            engine,
            platform: None,
            architecture: "amd64",
            // a tenth of it is a pause, and the longest silence
            timeout: Duration::from_secs(2),
            progress: &progress,
        };
        let end = match pull.first_of(&references).await {
            Ok(reference) => format!("has {reference}"),
            Err(Unpulled::Refused { foreign, .. }) => {
                format!("has none{}", foreign.map(|f| format!(" but {f}")).unwrap_or_default())
            }
            Err(Unpulled::Engine(error)) => error.to_string(),
        };
        let mut said = said.lock().unwrap().clone();
        said.push(end);
        said.join("\n")
    }

    #[tokio::test]
    async fn a_fault_that_may_pass_is_tried_again() {
        let engine = FakeEngine::new().pullable("a:1").pull_fails_once("a:1", FakePull::ServerFault);
        let said = pull(&engine, &["a:1"]).await;
        insta::assert_snapshot!(said, @r"
        the registry of a:1 answers with an error of its own: 500 Internal Server Error; trying again in 200ms
        has a:1
        ");
        let engine = FakeEngine::new().pull_fails("a:1", FakePull::ServerFault).pullable("b:1");
        let said = pull(&engine, &["a:1", "b:1"]).await;
        insta::assert_snapshot!(said, @r"
        the registry of a:1 answers with an error of its own: 500 Internal Server Error; trying again in 200ms
        the registry of a:1 answers with an error of its own: 500 Internal Server Error; trying again in 200ms
        the registry of a:1 answers with an error of its own: 500 Internal Server Error
        has b:1
        ");
    }

    #[tokio::test]
    async fn what_will_not_change_is_asked_once() {
        let engine = FakeEngine::new().pull_fails("a:1", FakePull::Denied).pull_fails("b:1", FakePull::NotFound);
        let said = pull(&engine, &["a:1", "b:1", "c:1"]).await;
        insta::assert_snapshot!(said, @r"
        a:1 was refused: a login is needed
        b:1 does not exist in its registry (gone, or never there)
        c:1 does not exist in its registry (gone, or never there)
        has none
        ");
    }

    #[tokio::test]
    async fn a_short_limit_is_waited_for_when_nobody_else_has_it() {
        let engine = FakeEngine::new().pullable("a:1").pull_fails_once("a:1", FakePull::RateLimited(Some(0)));
        let said = pull(&engine, &["a:1", "b:1"]).await;
        insta::assert_snapshot!(said, @r"
        the registry limits pulls of a:1; try again in 0 s
        b:1 does not exist in its registry (gone, or never there)
        waiting 0 s for the registry of a:1
        has a:1
        ");
        let engine = engine.pull_fails_once("a:1", FakePull::RateLimited(Some(4500)));
        let said = pull(&engine, &["a:1"]).await;
        insta::assert_snapshot!(said, @r"
        the registry limits pulls of a:1; try again in 75 min
        has none
        ");
    }

    #[tokio::test]
    async fn a_silent_registry_is_left_for_the_next() {
        let engine = FakeEngine::new().pull_fails("a:1", FakePull::Silent).pullable("b:1");
        let said = pull(&engine, &["a:1", "b:1"]).await;
        insta::assert_snapshot!(said, @r"
        the download of a:1 broke off: nothing came for 200ms; trying again in 200ms
        the download of a:1 broke off: nothing came for 200ms; trying again in 200ms
        the download of a:1 broke off: nothing came for 200ms
        has b:1
        ");
    }

    #[tokio::test]
    async fn an_image_for_another_processor_is_the_last_choice() {
        let image =
            |architecture: &str| ObservedImage { architecture: architecture.into(), ..ObservedImage::default() };
        let engine = FakeEngine::new().pullable_as("a:1", image("arm64")).pullable_as("b:1", image("386"));
        let said = pull(&engine, &["a:1", "b:1"]).await;
        insta::assert_snapshot!(said, @r"
        a:1 does not fit this machine: it is for arm64, the engine runs on amd64
        has b:1
        ");
        let said = pull(&engine, &["a:1", "c:1"]).await;
        insta::assert_snapshot!(said, @r"
        a:1 does not fit this machine: it is for arm64, the engine runs on amd64
        c:1 does not exist in its registry (gone, or never there)
        has none but a:1
        ");
    }

    #[test]
    fn an_engine_that_unpacks_may_be_silent() {
        let bytes = |phase: &str, current| Progress::Bytes { part: "l".into(), current, total: 9, phase: phase.into() };
        let mut watch = Watch::new();
        assert!(watch.waits_for_registry());
        watch.hear(&bytes("Downloading", 3));
        let then = Instant::now() - Duration::from_secs(1);
        watch.changed = then;
        watch.hear(&bytes("Downloading", 3));
        assert!(watch.waits_for_registry() && watch.changed == then);
        watch.hear(&bytes("Downloading", 4));
        assert!(watch.changed > then);
        for phase in ["Extracting", "Pull complete"] {
            watch.hear(&bytes(phase, 9));
            assert!(!watch.waits_for_registry(), "{phase}");
        }
    }
}
