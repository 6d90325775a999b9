//! Whole runs of `images save`, `load`, `list` and `lock`, on an engine in memory.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::app::testing::{Agrees, session};
use crate::app::{
    Error, LockChange, SavedBundle, Session, UpOptions, Wanted, image_rows, load_bundle, lock_images, open_bundle,
    prepare, save_images, up,
};
use crate::apply::StepError;
use crate::bundle::{Bundle, BundleError};
use crate::config::{self, Loaded, MemoryFiles, Request};
use crate::engine::Images;
use crate::engine::fake::{FakeEngine, FakePull};
use crate::host::fake::FakeHost;
use crate::model::{ImagePolicy, ObservedImage, Protocol};

const STACK: &str = "
services:
  web: {image: 'acme/web:1', x-macula: {profile: core}}
  job: {image: 'acme/web:1', x-macula: {profile: core}}
  db: {image: 'acme/db:2@sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', x-macula: {profile: core}}
  chart: {image: 'acme/chart:3', x-macula: {profile: observability, optional: true, sources: ['acme/chart-next:3']}}
";

fn files() -> MemoryFiles {
    MemoryFiles::default().with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]").with("/p/all.yaml", STACK)
}

fn load(files: &MemoryFiles, profiles: &[&str]) -> Loaded {
    let request = Request {
        cwd: "/p".into(),
        profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
        images: Some(ImagePolicy::Local),
        only_own: true,
        ..Request::default()
    };
    config::load(&request, files).expect("valid")
}

fn on(engine: &FakeEngine) -> Session {
    on_host(engine, FakeHost::new())
}

fn on_host(engine: &FakeEngine, host: FakeHost) -> Session {
    session(host, engine, "macula images")
}

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

fn image(id: &str, digests: &[&str]) -> ObservedImage {
    ObservedImage {
        id: digest(id),
        labels: Default::default(),
        repo_digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
        size: 1000,
        created: None,
        volumes: Vec::new(),
        architecture: String::new(),
    }
}

/// Has everything, as if it had been pulled.
fn full() -> FakeEngine {
    let pinned = format!("acme/db@{}", digest("d"));
    FakeEngine::new()
        .with_image_as("acme/web:1", image("1", &[&format!("acme/web@{}", digest("a"))]))
        .with_image_as(&pinned, image("2", &[&pinned]))
        .with_image_as("acme/chart-next:3", image("3", &[]))
}

#[tokio::test]
async fn a_platform_goes_to_an_engine_that_has_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.bundle");
    let loaded = load(&files(), &[]);
    let saved = save_images(&on(&full()), &loaded, &file).await.unwrap();
    assert_eq!((saved.images, saved.left_out.len()), (3, 0));
    assert_eq!(saved.size, fs::metadata(&file).unwrap().len());

    let empty = FakeEngine::new();
    let session = on(&empty);
    assert!(prepare(&session, &loaded, &Default::default()).await.is_err());
    let result = load_bundle(&session, &file).await.unwrap();
    // the name with a digest, which no archive knows, has become a tag
    assert_eq!(result.loaded, ["acme/chart-next:3", "acme/db:macula-dddddddddddd", "acme/web:1"]);
    assert_eq!(result.present, [""; 0]);
    let prepared = prepare(&session, &loaded, &Default::default()).await.unwrap();
    assert_eq!(prepared.survey.supply.left_out, []);
    assert_eq!(prepared.survey.supply.choices.len(), 4);

    // once more: nothing is loaded
    empty.clear_journal();
    let again = load_bundle(&session, &file).await.unwrap();
    assert_eq!((again.loaded.len(), again.present.len()), (0, 3));
    assert_eq!(empty.journal(), [""; 0]);
}

#[tokio::test]
async fn only_what_a_profile_needs_is_saved() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("core.bundle");
    let saved = save_images(&on(&full()), &load(&files(), &["core"]), &file).await.unwrap();
    assert_eq!(saved.images, 2);
    let result = load_bundle(&on(&FakeEngine::new()), &file).await.unwrap();
    assert_eq!(result.loaded, ["acme/db:macula-dddddddddddd", "acme/web:1"]);
}

#[tokio::test]
async fn what_cannot_be_had_is_left_out_when_it_may_be() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.bundle");
    let engine = full();
    engine.remove_image_by_hand("acme/chart-next:3");
    let saved = save_images(&on(&engine), &load(&files(), &[]), &file).await.unwrap();
    assert_eq!(
        (saved.images, left_out(&saved)),
        (2, vec!["chart: acme/chart:3 has not been pulled, and --images local pulls nothing".to_owned()])
    );
    engine.remove_image_by_hand("acme/web:1");
    let error = save_images(&on(&engine), &load(&files(), &[]), &file).await.unwrap_err();
    assert!(matches!(error, Error::Supply(_)), "{error:?}");
}

fn left_out(saved: &SavedBundle) -> Vec<String> {
    saved.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect()
}

/// `load` with the policy `auto`.
fn load_open(stack: &str) -> Loaded {
    let files =
        MemoryFiles::default().with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]").with("/p/all.yaml", stack);
    config::load(&Request { cwd: "/p".into(), only_own: true, ..Request::default() }, &files).expect("valid")
}

/// A way to Docker Hub; what it says is the engine's to tell.
fn online() -> FakeHost {
    let hub = [203, 0, 113, 7];
    FakeHost::new().name("registry-1.docker.io", [hub.into()]).name("docker.io", [hub.into()]).listener(
        "203.0.113.7:443",
        Protocol::Tcp,
        None,
    )
}

#[tokio::test]
async fn what_its_registry_refuses_is_left_out_with_the_reason() {
    const STACK: &str = "
services:
  web: {image: 'acme/web:1', pull_policy: always}
  chart: {image: 'acme/chart:3', x-macula: {optional: true, sources: ['acme/chart-next:3']}}
  board: {image: 'acme/board:1', depends_on: [chart], x-macula: {optional: true}}
";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.bundle");
    let engine = FakeEngine::new()
        .with_image_as("acme/web:1", image("1", &[]))
        .pull_fails("acme/web:1", FakePull::RateLimited(None))
        .pull_fails("acme/chart:3", FakePull::Denied)
        .pull_fails("acme/chart-next:3", FakePull::NotFound)
        .pullable_as("acme/board:1", image("4", &[]));
    let saved = save_images(&on_host(&engine, online()), &load_open(STACK), &file).await.unwrap();
    assert_eq!(saved.images, 1);
    insta::assert_snapshot!(left_out(&saved).join("\n"), @"
    chart: acme/chart:3 was refused: a login is needed; acme/chart-next:3 does not exist in its registry (gone, or never there)
    board: it needs chart, which is left out
    ");
    // an older image of the same name was there
    let loaded = load_bundle(&on(&FakeEngine::new()), &file).await.unwrap();
    assert_eq!(loaded.loaded, ["acme/web:1"]);

    // without what must be there nothing is written, and only that is told
    fs::remove_file(&file).unwrap();
    engine.remove_image_by_hand("acme/web:1");
    let error = save_images(&on_host(&engine, online()), &load_open(STACK), &file).await.unwrap_err();
    let Error::Failed(outcome) = error else { panic!("{error:?}") };
    let failed: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    insta::assert_snapshot!(failed.join("\n"), @"could not get acme/web:1: the registry limits pulls of acme/web:1");
    assert!(!file.exists());

    // needed by something that may not be left out
    let needed = STACK.replace("depends_on: [chart], x-macula: {optional: true}", "depends_on: [chart]");
    let engine = engine.pullable_as("acme/web:1", image("1", &[]));
    let error = save_images(&on_host(&engine, online()), &load_open(&needed), &file).await.unwrap_err();
    let Error::Supply(problems) = error else { panic!("{error:?}") };
    insta::assert_snapshot!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @"
    service web: the registry limits pulls of acme/web:1
    service board: it needs chart, which is left out
    ");

    // a full disk is no image's trouble
    let engine =
        FakeEngine::new().pullable_as("acme/web:1", image("1", &[])).pull_fails("acme/chart:3", FakePull::DiskFull);
    let error = save_images(&on_host(&engine, online()), &load_open(STACK), &file).await.unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    assert!(!file.exists());
}

#[tokio::test]
async fn of_a_damaged_bundle_only_whole_images_are_loaded() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.bundle");
    save_images(&on(&full()), &load(&files(), &[]), &file).await.unwrap();
    let whole = damage(&file);
    let engine = FakeEngine::new();
    let error = load_bundle(&on(&engine), &file).await.unwrap_err();
    assert!(matches!(error, Error::Bundle(BundleError::Damaged { .. })), "{error:?}");
    let mut loaded = engine.journal();
    loaded.sort();
    assert_eq!(loaded, ["loading images: acme/chart-next:3", "loading images: acme/db:macula-dddddddddddd"]);

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let engine = FakeEngine::new();
    let error = load_bundle(&on(&engine), &file).await.unwrap_err();
    assert!(matches!(error, Error::Bundle(BundleError::Cut { .. })), "{error:?}");
    assert_eq!(engine.journal(), [""; 0]);
}

/// Changes a byte of the last layer of the last image; what was there before.
fn damage(file: &Path) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    for at in (0..whole.len()).rev() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(file, &bytes).unwrap();
        let Ok(bundle) = Bundle::open(file) else { continue };
        let broken = |image| bundle.archive(image, 0, &mut |_| true).is_err();
        if bundle.index().images.iter().any(broken) {
            return whole;
        }
    }
    panic!("nothing of it is looked at");
}

/// A bundle of `web`, `db` and `late`, and a platform that has them.
async fn with_bundle(folder: &TempDir) -> (PathBuf, Loaded) {
    const STACK: &str = "
services:
  web: {image: 'acme/web:1', pull_policy: always, depends_on: [db]}
  job: {image: 'acme/web:1'}
  db: {image: 'acme/db:2'}
  late: {image: 'acme/late:1'}
";
    let saved = FakeEngine::new()
        .with_image_as("acme/web:1", image("1", &[]))
        .with_image_as("acme/db:2", image("2", &[]))
        .with_image_as("acme/late:1", image("3", &[]));
    let files = MemoryFiles::default()
        .with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]\ncluster: {enabled: false}")
        .with("/p/all.yaml", STACK);
    let file = folder.path().join("shop.bundle");
    save_images(&on(&saved), &load(&files, &[]), &file).await.unwrap();
    (file, config::load(&Request { cwd: "/p".into(), only_own: true, ..Request::default() }, &files).expect("valid"))
}

#[tokio::test]
async fn up_takes_what_the_bundle_has_and_loads_it_as_it_is_needed() {
    let folder = TempDir::new().unwrap();
    let (file, loaded) = with_bundle(&folder).await;
    // one image is there, and another one has the name of a second
    let engine = FakeEngine::new()
        .with_image_as("acme/late:1", image("3", &[]))
        .with_image_as("acme/db:2", image("9", &[]))
        .pullable_as("acme/web:1", image("8", &[]));
    let wanted = Wanted { bundle: open_bundle(Some(&file)).await.unwrap(), ..Wanted::default() };
    let session = on_host(&engine, online());
    let prepared = prepare(&session, &loaded, &wanted).await.unwrap();
    assert!(prepared.survey.observed.registries.is_empty(), "a registry was asked");
    let plan = prepared.plan.to_string();
    let loads: Vec<&str> = plan.lines().filter(|line| line.starts_with("+ load")).collect();
    // what others need comes first
    assert_eq!(loads, ["+ load image acme/db:2 (missing)", "+ load image acme/web:1 (missing)"]);
    let waits = |service: &str| {
        let create = format!("+ create container macula-shop-{service}-1 ");
        let line = plan.lines().find(|line| line.starts_with(&create)).unwrap();
        ["acme/db:2", "acme/web:1", "acme/late:1"].map(|image| line.contains(&format!("load image {image}")))
    };
    assert_eq!(waits("web"), [false, true, false]);
    assert_eq!(waits("job"), [false, true, false]);
    assert_eq!(waits("db"), [true, false, false]);
    assert_eq!(waits("late"), [false, false, false]);

    let options = UpOptions { no_dns: Some(true), wanted, ..UpOptions::default() };
    let done = up(&session, &loaded, &options, &Agrees).await.unwrap();
    assert!(done.left_out.is_empty(), "{:?}", done.left_out);
    for (name, id) in [("acme/web:1", "1"), ("acme/db:2", "2")] {
        assert_eq!(engine.image(name).await.unwrap().unwrap().id, digest(id), "{name}");
    }
    let journal = engine.journal();
    assert!(!journal.iter().any(|line| line.starts_with("pulling")), "{journal:?}");
    assert!(!journal.contains(&"loading images: acme/late:1".to_owned()), "it was there");
    let again = prepare(&session, &loaded, &options.wanted).await.unwrap();
    assert!(!again.plan.to_string().contains("load image"), "{}", again.plan);
}

#[tokio::test]
async fn up_with_a_damaged_bundle_makes_nothing_of_half_an_image() {
    let folder = TempDir::new().unwrap();
    let (file, loaded) = with_bundle(&folder).await;
    damage(&file);
    let engine = FakeEngine::new();
    let wanted = Wanted { bundle: open_bundle(Some(&file)).await.unwrap(), ..Wanted::default() };
    let options = UpOptions { no_dns: Some(true), wanted, ..UpOptions::default() };
    let error = up(&on_host(&engine, online()), &loaded, &options, &Agrees).await.unwrap_err();
    let Error::Failed(outcome) = error else { panic!("{error:?}") };
    let [failure] = outcome.failed.as_slice() else { panic!("{outcome:?}") };
    assert!(matches!(failure.error, StepError::Bundle(BundleError::Damaged { .. })), "{failure:?}");
    assert!(engine.image("acme/web:1").await.unwrap().is_none());
    assert!(!engine.containers().contains(&"macula-shop-web-1".to_owned()));
    assert!(engine.containers().contains(&"macula-shop-late-1".to_owned()), "what is whole runs");
}

#[tokio::test]
async fn an_engine_that_goes_away_loses_no_image_that_was_saved() {
    let folder = TempDir::new().unwrap();
    let loaded = load(&files(), &[]);
    let whole = folder.path().join("whole.bundle");
    save_images(&on(&full()), &loaded, &whole).await.unwrap();

    let file = folder.path().join("shop.bundle");
    let exports = |engine: &FakeEngine| engine.journal().iter().filter(|line| line.starts_with("export")).count();
    let engine = full();
    let mut runs = 0;
    let mut exported = 0;
    // it lives one call longer each time
    let saved = loop {
        runs += 1;
        assert!(runs < 50, "it never ends");
        engine.clear_journal();
        let dying = engine.clone().dies_after(runs);
        let result = save_images(&on(&dying), &loaded, &file).await;
        engine.clone().revives();
        exported += exports(&engine);
        match result {
            Ok(saved) => break saved,
            Err(error) => assert!(matches!(error, Error::Engine(_)), "{error:?}"),
        }
        assert!(!file.exists());
    };
    assert!(runs > 3, "{runs}");
    assert_eq!((saved.images, exported), (3, 3), "an image was saved twice");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&whole).unwrap());

    // loading goes on just so
    let target = FakeEngine::new();
    let mut lived = 0;
    while target.journal().is_empty() {
        lived += 1;
        assert!(lived < 50, "nothing is loaded");
        let first = load_bundle(&on(&target.clone().dies_after(lived)), &file).await;
        assert!(matches!(first, Err(Error::Engine(_))), "{first:?}");
        target.clone().revives();
    }
    let second = load_bundle(&on(&target), &file).await.unwrap();
    assert!(!second.present.is_empty() && !second.loaded.is_empty(), "{second:?}");
    assert_eq!(second.present.len() + second.loaded.len(), 3);
}

#[tokio::test]
async fn the_list_says_why() {
    let engine = full().with_image_as("acme/other:1", image("9", &[]));
    let rows = image_rows(&on(&engine), &load(&files(), &[])).await.unwrap();
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let digest = row.digest.as_deref().map_or("-", |digest| &digest[..12]);
            format!("{} | {} | {digest} | {}", row.services.join(" "), row.reference, row.why)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
    let rows = image_rows(&on(&FakeEngine::new()), &load(&files(), &[])).await.unwrap();
    let why: Vec<&str> = rows.iter().map(|row| row.why.as_str()).collect();
    insta::assert_snapshot!(why.join("\n"));
}

#[tokio::test]
async fn names_are_locked_to_what_they_mean() {
    let host = FakeHost::new();
    // where no registry can be asked nothing is written that looks like an answer
    let silent = lock_images(&on_host(&FakeEngine::new(), host.clone()), &load(&files(), &[]), false).await;
    assert!(matches!(silent, Err(Error::NothingLocked { .. })), "{silent:?}");
    assert_eq!(host.text("/p/macula.lock"), None);
    let pulled = |name: &str, letter: &str| image("7", &[&format!("{name}@{}", digest(letter))]);
    let engine = FakeEngine::new()
        .pullable_as("acme/web:1", pulled("acme/web", "a"))
        .pull_fails("acme/chart:3", FakePull::RateLimited(Some(60)))
        .pullable_as("acme/chart-next:3", pulled("acme/chart-next", "c"));
    let first = lock_images(&on_host(&engine, host.clone()), &load(&files(), &[]), false).await.unwrap();
    assert_eq!(first.path, PathBuf::from("/p/macula.lock"));
    let changes =
        |rows: &[crate::app::LockRow]| rows.iter().map(|row| (row.reference.clone(), row.change)).collect::<Vec<_>>();
    // db's image is locked by the stack itself
    assert_eq!(
        changes(&first.images),
        [
            ("acme/chart:3".to_owned(), LockChange::Unknown),
            ("acme/chart-next:3".to_owned(), LockChange::New),
            ("acme/web:1".to_owned(), LockChange::New),
        ]
    );
    let text = host.text("/p/macula.lock").unwrap();
    insta::assert_snapshot!(text);

    // from now on it is this image, wherever the name leads
    let locked = load(&files().with("/p/macula.lock", &text), &[]);
    let moved = engine.pullable_as("acme/web:1", pulled("acme/web", "b"));
    let other = moved.clone().with_image_as("acme/web:1", pulled("acme/web", "b"));
    let error = prepare(&on(&other), &locked, &Default::default()).await.err().map(|error| match error {
        Error::Supply(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    });
    insta::assert_snapshot!(error.unwrap());

    // a part of the platform: the rest stays; and a name that means something else is told
    let core = load(&files().with("/p/macula.lock", &text), &["core"]);
    let again = lock_images(&on_host(&moved, host.clone()), &core, true).await.unwrap();
    assert_eq!(changes(&again.images), [("acme/web:1".to_owned(), LockChange::Moved)]);
    assert_eq!(again.images[0].before.as_deref(), Some(digest("a").as_str()));
    let text = host.text("/p/macula.lock").unwrap();
    assert!(text.contains("acme/chart-next:3") && text.contains(&digest("b")), "{text}");
}
