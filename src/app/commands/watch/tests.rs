use super::*;
use crate::app::testing::{Agrees, session, shop};
use crate::apply::Outcome;
use crate::engine::fake::FakeEngine;
use crate::event::StepInfo;
use crate::host::fake::FakeHost;
use crate::model::{ContainerState, Extension, ObservedContainer};

#[test]
fn what_is_mounted_is_not_copied_by_a_rule() {
    use MountsElsewhere::{AsWritten, Copy, Refuse};
    let service = |mounts, read_only| {
        let bind = Mount::Bind {
            source: "/p".into(),
            target: "/app".into(),
            read_only,
            create_host_path: true,
            propagation: None,
            selinux: None,
        };
        let extension = Extension { mounts, ..Extension::default() };
        Service { mounts: vec![bind], extension, ..Service::default() }
    };
    let rule = WatchRule::new("/p/src".into(), WatchAction::Sync);
    let there = "is mounted into the container already (/app); its changes are there by themselves";
    let copy = "was copied for the container to read (/app); `macula up` takes up its changes";
    for (setting, read_only, lacks, expected) in [
        (Copy, true, true, copy),
        (Copy, true, false, there),
        (Copy, false, true, there),
        (Refuse, true, true, there),
        // whatever another service of the platform has had asked
        (AsWritten, true, true, there),
    ] {
        let found = mounted(&service(setting, read_only), &rule, &|_| lacks);
        assert_eq!(found.as_deref(), Some(expected), "{setting:?} {read_only} {lacks}");
    }
    let restart = WatchRule { action: WatchAction::Restart, ..rule };
    assert_eq!(mounted(&service(Copy, true), &restart, &|_| true), None, "nothing is copied for it");
}

#[test]
fn what_a_batch_that_went_wrong_has_left() {
    let containers = ["shop-web-1".to_owned()];
    let ran = |verb: Verb, cause: Cause| Timing {
        step: verb.container("shop-web-1"),
        group: "web".into(),
        cause,
        after: Vec::new(),
        start: Duration::ZERO,
        duration: Duration::ZERO,
        error: None,
    };
    let failed = |ran: Vec<Timing>, error: StepError| {
        let failure = Failure { step: "x".into(), group: "web".into(), error };
        Error::Failed(Box::new(Outcome { ran, failed: vec![failure], ..Outcome::default() }))
    };
    let not_ready = || StepError::NotReady { service: "web".into(), reason: "ended".into(), log_tail: Vec::new() };
    let broken = || StepError::Broken("it does not start".into());
    let changed = || Cause::Changed { what: vec!["image".into()] };
    let restart = Batch { restart: true, ..Batch::default() };
    let rebuild = Batch { rebuild: true, ..Batch::default() };
    let left = |batch: &Batch, error: Error| Left::of(batch, &error, "web", &containers);
    assert_eq!(left(&restart, failed(Vec::new(), not_ready())), Left::Down);
    let replaced = || vec![ran(Verb::Stop, changed()), ran(Verb::Remove, changed()), ran(Verb::Create, changed())];
    assert_eq!(left(&rebuild, failed(replaced(), not_ready())), Left::Down);
    // a program that is not in the new image; a hook after the start
    assert_eq!(left(&rebuild, failed(replaced(), broken())), Left::Down);
    assert_eq!(left(&restart, failed(vec![ran(Verb::Stop, Cause::Requested)], broken())), Left::Down);
    // the new one comes first, and the old one is there
    let first = || vec![ran(Verb::Create, changed()), ran(Verb::Start, changed())];
    assert_eq!(left(&rebuild, failed(first(), not_ready())), Left::Untouched);
    assert_eq!(left(&rebuild, failed(vec![ran(Verb::Create, Cause::Missing)], not_ready())), Left::Down);
    let stays = Timing { error: Some("busy".into()), ..ran(Verb::Stop, changed()) };
    assert_eq!(left(&rebuild, failed(vec![stays], broken())), Left::Untouched);
    assert_eq!(left(&rebuild, failed(Vec::new(), broken())), Left::Untouched);
    assert_eq!(left(&rebuild, Error::said("the build failed")), Left::Untouched);
    assert_eq!(left(&restart, Error::said("no such file")), Left::InPart);
}

#[tokio::test]
async fn an_update_is_stopped_as_long_as_it_gets_images() {
    for (step, expected) in [("build image web", "stopped"), ("stop container web", "finished")] {
        let coming = Coming::new(Events::none());
        let info = |id: &str, doing: Doing| StepInfo { id: id.into(), doing, ..StepInfo::default() };
        let steps = vec![info("build image web", Doing::Build), info("stop container web", Doing::Stop)];
        let (command, platform) = ("up".to_owned(), "shop".to_owned());
        coming.report(Event::Started { command, platform, steps, unchanged: Vec::new() });
        coming.report(Event::StepStarted { id: step.into() });
        let (stop, own) = (CancellationToken::new(), coming.cancel.clone());
        stop.cancel();
        let work = Box::pin(async move {
            tokio::select! {
                () = own.cancelled() => "stopped",
                () = tokio::time::sleep(Duration::from_millis(200)) => "finished",
            }
        });
        assert_eq!(coming.finished(&stop, work).await, expected, "{step}");
    }
}

struct Nobody;

impl Onlooker for Nobody {
    fn failed(&self, service: &str, left: Left, error: Error) {
        panic!("{service} {left:?}: {error}");
    }
}

fn worker(session: Session, engine: &FakeEngine, loaded: Loaded) -> Worker {
    Worker {
        session,
        loaded: Arc::new(loaded),
        engine: Arc::new(engine.clone()),
        service: "web".into(),
        choices: Choices { scale: [("web".to_owned(), 3)].into(), ..Choices::default() },
        consent: Arc::new(Agrees),
        onlooker: Arc::new(Nobody),
    }
}

fn container(name: &str, platform: &str) -> ObservedContainer {
    let labels = [(label::PLATFORM, platform), (label::SERVICE, "web")];
    ObservedContainer {
        id: name.into(),
        name: name.into(),
        state: ContainerState::Running,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..ObservedContainer::default()
    }
}

#[tokio::test]
async fn every_container_that_there_is_gets_the_files() {
    let host = FakeHost::new();
    let loaded = shop(&host, "", "services: {web: {image: 'web:1'}}");
    let engine = FakeEngine::new()
        .with_container(container("macula-shop-web-1", "shop"))
        .with_container(container("macula-shop-web-2", "shop"))
        .with_container(container("macula-blog-web-1", "blog"));
    let worker = worker(session(host, &engine, "macula watch"), &engine, loaded);
    assert_eq!(worker.declared(), ["macula-shop-web-1"]);
    assert_eq!(worker.containers().await.unwrap(), ["macula-shop-web-1", "macula-shop-web-2"]);
    let batch = Batch { remove: ["/app/old".to_owned()].into(), ..Batch::default() };
    assert_eq!(worker.carry_out(&batch, &mut Unpackers::default()).await.unwrap(), ["removed /app/old"]);
    assert_eq!(engine.journal().len(), 2, "{:?}", engine.journal());
    // since the watch began its number was left alone, changed, or given back
    let five = Choices { scale: [("web".to_owned(), 5)].into(), ..Choices::default() };
    assert_eq!(worker.scaled(&worker.choices).await.unwrap(), None);
    assert_eq!(worker.scaled(&five).await.unwrap(), Some(5));
    assert_eq!(worker.scaled(&Choices::default()).await.unwrap(), Some(2));
    engine.remove_by_hand("macula-shop-web-1");
    engine.remove_by_hand("macula-shop-web-2");
    assert_eq!(worker.containers().await.unwrap(), ["macula-shop-web-1"], "the engine says that it is gone");
}

#[tokio::test]
async fn what_has_not_begun_when_the_watch_ends_is_left() {
    let host = FakeHost::new();
    let loaded = shop(&host, "", "services: {web: {image: 'web:1'}}");
    let engine = FakeEngine::new().with_container(container("macula-shop-web-1", "shop"));
    let session = session(host, &engine, "macula watch");
    let (queue, batches) = unbounded_channel();
    queue.send(Batch { remove: ["/app/old".to_owned()].into(), ..Batch::default() }).unwrap();
    session.cancel.cancel();
    worker(session, &engine, loaded).work(batches).await;
    assert_eq!(engine.journal(), [""; 0]);
}
