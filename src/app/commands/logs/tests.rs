use super::*;
use crate::engine::Containers;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::model::{Facts, label};

#[test]
fn lines_of_one_second_are_told_apart() {
    let times = ["1:00", "1:01", "1:00", "1:01"];
    let mut place = Place::default();
    for time in times {
        place.pass(time.into());
    }
    assert_eq!(place, Place { time: "1:01".into(), lines: 2 });
    // read again from there: two of that second are known, the third is new
    let known: Vec<bool> = ["1:00", "1:01", "1:01", "1:01", "1:02"].map(|time| place.covers(time)).into();
    assert_eq!(known, [true, true, true, false, false]);
}

#[tokio::test]
async fn the_last_lines_are_the_last_of_those_that_are_meant() {
    let line = |text: &str| Ok(LogLine { bytes: format!("2026-11-28T07:07:05.1Z {text}").into_bytes(), stderr: false });
    let written = ["locked 1", "level=error locked 2", "Locked 3", "fine"];
    let last = async |filter: LogFilter, most: u64| {
        let lines = futures_util::stream::iter(written.map(line)).boxed();
        let kept: Vec<_> = last_of(lines, filter, most).await.unwrap().0.collect().await;
        let text = |line: Result<LogLine, EngineError>| String::from_utf8(split(&line.unwrap().bytes).1).unwrap();
        kept.into_iter().map(text).collect::<Vec<_>>()
    };
    let grep = |text: &str| LogFilter { grep: Some(text.into()), severity: 0 };
    assert_eq!(last(grep("locked"), 2).await, ["level=error locked 2", "Locked 3"]);
    assert_eq!(last(grep("Locked"), 2).await, ["Locked 3"]);
    assert_eq!(last(LogFilter { grep: None, severity: 17 }, 9).await, ["level=error locked 2"]);
    assert!(last(grep("locked"), 0).await.is_empty());
}

fn container(name: &str) -> ObservedContainer {
    let labels = [(label::PLATFORM, "shop"), (label::SERVICE, name)];
    ObservedContainer {
        id: format!("0123456789abcdef-{name}"),
        name: format!("shop-{name}-1"),
        state: ContainerState::Running,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        started_at: Some(100),
        ..ObservedContainer::default()
    }
}

/// The next one, whatever lines come before it.
async fn note(events: &mut Receiver<LogEvent>) -> String {
    loop {
        match tokio::time::timeout(AGAIN * 20, events.recv()).await.unwrap() {
            Some(LogEvent::Note { service, text }) => return format!("{service}: {text}"),
            Some(LogEvent::Line { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Of one time, in the order of the containers.
#[tokio::test]
async fn lines_of_several_are_told_by_their_time() {
    let ended = |name: &str| ObservedContainer { state: ContainerState::Exited, ..container(name) };
    let engine = FakeEngine::new()
        .with_container(ended("db"))
        .with_container(ended("web"))
        .says("db", &["2026-11-28T07:07:05.1Z one", "2026-11-28T07:07:05.3Z four"])
        .says("web", &["2026-11-28T07:07:05.1Z two", "2026-11-28T07:07:05.2Z three"]);
    for name in ["shop-db-1", "shop-web-1"] {
        engine.start(name).await.unwrap();
    }
    let platform = PlatformName::new("shop").unwrap();
    let sources: Vec<Source> = observe::ours(&engine, &platform).await.unwrap().containers.iter().map(source).collect();
    let (shared, host) = (Arc::new(engine), Arc::new(FakeHost::new()));
    let (options, filter) = (LogOptions::default(), LogFilter::default());
    let mut events = read_logs(shared, host, platform, Vec::new(), sources, options, filter);
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        let LogEvent::Line { text, .. } = event else { panic!("{event:?}") };
        told.push(String::from_utf8(text).unwrap());
    }
    assert_eq!(told, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn who_follows_hears_what_became_of_containers_and_of_the_engine() {
    let engine = FakeEngine::new().with_container(container("db")).with_container(container("web"));
    let platform = PlatformName::new("shop").unwrap();
    let sources: Vec<Source> = observe::ours(&engine, &platform).await.unwrap().containers.iter().map(source).collect();
    assert_eq!(sources.len(), 2);
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let (shared, host) = (Arc::new(engine.clone()), Arc::new(FakeHost::new()));
    let filter = LogFilter::default();
    let mut events = read_logs(shared, host, platform, Vec::new(), sources, options, filter);
    // a stream of this engine ends at once, so that they are read again: that is no start of theirs
    tokio::time::sleep(AGAIN * 3 / 2).await;
    let engine = engine.dies_after(0);
    assert_eq!(note(&mut events).await, ": the engine no longer answers");
    engine.remove_by_hand("shop-db-1");
    engine.stop_by_hand("shop-web-1");
    let engine = engine.revives();
    assert_eq!(note(&mut events).await, ": the engine answers again");
    assert_eq!(note(&mut events).await, "db: was removed");
    assert_eq!(note(&mut events).await, "web: exited with code 0");
    engine.start("shop-web-1").await.unwrap();
    assert_eq!(note(&mut events).await, "web: started again");
    engine.remove_by_hand("shop-web-1");
    let _engine = engine.with_container(ObservedContainer { id: "fedcba9876543210".into(), ..container("web") });
    let mut next = note(&mut events).await;
    // seen between the two
    if next == "web: was removed" {
        next = note(&mut events).await;
    }
    assert!(["web: was replaced", "web: started"].contains(&next.as_str()), "{next}");
}

#[tokio::test]
async fn who_follows_from_the_end_hears_nothing_of_earlier_runs() {
    let engine = FakeEngine::new()
        .with_container(ObservedContainer { state: ContainerState::Exited, ..container("web") })
        .says("web", &["2026-11-28T07:07:05.1Z one", "2026-11-28T07:07:05.2Z two"]);
    engine.start("shop-web-1").await.unwrap();
    engine.stop_by_hand("shop-web-1");
    let engine = engine.says("web", &["2026-11-28T07:07:06.1Z three"]);
    let platform = PlatformName::new("shop").unwrap();
    let sources: Vec<Source> = observe::ours(&engine, &platform).await.unwrap().containers.iter().map(source).collect();
    let options = LogOptions { follow: true, tail: Some(0), ..LogOptions::default() };
    let (shared, host) = (Arc::new(engine.clone()), Arc::new(FakeHost::new()));
    let mut events = read_logs(shared, host, platform, Vec::new(), sources, options, LogFilter::default());
    // it is seen as it is, and is started then
    tokio::time::sleep(AGAIN / 2).await;
    engine.start("shop-web-1").await.unwrap();
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(AGAIN * 5 / 2, events.recv()).await {
        told.push(match event {
            LogEvent::Line { text, .. } => String::from_utf8(text).unwrap(),
            LogEvent::Note { service, text } => format!("{service} {text}"),
            LogEvent::Broken(error) => panic!("{error}"),
        });
    }
    assert_eq!(told, ["web started again", "three"]);
}

/// Podman's times are whole seconds: those of the last lines are those of lines before them, too.
#[tokio::test]
async fn who_follows_the_last_lines_on_podman_hears_them_once() {
    let podman = Facts { engine_kind: EngineKind::Podman, ..FakeEngine::new().facts().await.unwrap() };
    let lines = ["1", "2", "3", "4", "5"].map(|number| format!("2026-11-28T07:07:05Z {number}"));
    let engine = FakeEngine::new()
        .with_facts(podman)
        .with_container(ObservedContainer { state: ContainerState::Exited, ..container("web") })
        .says("web", &lines.each_ref().map(String::as_str));
    engine.start("shop-web-1").await.unwrap();
    let platform = PlatformName::new("shop").unwrap();
    let sources: Vec<Source> = observe::ours(&engine, &platform).await.unwrap().containers.iter().map(source).collect();
    let engine = Arc::new(engine);
    for (tail, last) in [(2, vec!["4", "5"]), (0, Vec::new())] {
        let options = LogOptions { follow: true, tail: Some(tail), ..LogOptions::default() };
        let (host, filter) = (Arc::new(FakeHost::new()), LogFilter::default());
        let mut events =
            read_logs(engine.clone(), host, platform.clone(), Vec::new(), sources.clone(), options, filter);
        let mut told = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(AGAIN * 5 / 2, events.recv()).await {
            let LogEvent::Line { text, .. } = event else { panic!("{event:?}") };
            told.push(String::from_utf8(text).unwrap());
        }
        assert_eq!(told, last);
    }
}

fn reader(host: FakeHost) -> (Reader, Receiver<LogEvent>) {
    let (sender, events) = channel(BACKLOG);
    let reader = Reader {
        engine: Arc::new(FakeEngine::new()),
        host: Arc::new(host),
        platform: PlatformName::new("shop").unwrap(),
        services: Vec::new(),
        sieve: Sieve::new(LogFilter::default()),
        sender,
        last: BTreeMap::new(),
        told: BTreeMap::new(),
        programs: BTreeMap::new(),
        broke: BTreeMap::new(),
        unreadable: BTreeSet::new(),
    };
    (reader, events)
}

/// Its engine says each time that it cannot go on.
#[test]
fn a_log_that_breaks_twice_at_one_place_is_read_no_further() {
    let (mut reader, _events) = reader(FakeHost::new());
    assert!(reader.is_read_in_vain("silent"));
    for time in ["1:00", "1:01"] {
        reader.last.entry("web".to_owned()).or_default().pass(time.to_owned());
        assert_eq!([(); 2].map(|()| reader.is_read_in_vain("web")), [false, true], "{time}");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_ends_nothing() {
    let (mut reader, mut events) = reader(FakeHost::new().file("/run/site.log", "one\n"));
    // it went since it was listed
    let gone = source(&container("web"));
    let sources = [gone.clone(), Source::of_program("site", "/run/site.log".into())];
    assert!(reader.history(&sources, &LogOptions::default()).await.is_ok());
    for _ in 0..2 {
        let (operation, message) = ("reading".into(), "the driver keeps nothing".into());
        assert!(reader.unread(&gone, EngineError::Other { operation, message }).await.is_ok());
    }
    let lost = EngineError::Unreachable { tried: "no socket".into() };
    assert!(matches!(reader.unread(&gone, lost).await, Err(Ended::Engine(_))));
    drop(reader);
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(match event {
            LogEvent::Line { source, text, .. } => {
                format!("{}: {}", source.service, String::from_utf8_lossy(&text))
            }
            LogEvent::Note { service, text } => format!("{service} {text}"),
            LogEvent::Broken(error) => panic!("{error}"),
        });
    }
    assert_eq!(told, ["site: one", "web has a log that cannot be read: the driver keeps nothing"]);
}

#[test]
fn a_follower_ends_when_it_is_later_than_is_meant() {
    assert_eq!(time_left(None, 1000), None);
    assert_eq!(time_left(Some(1030), 1000), Some(Duration::from_secs(30)));
    assert_eq!(time_left(Some(400), 1000), Some(Duration::ZERO));
}

#[test]
fn the_engines_time_is_taken_off() {
    assert_eq!(
        split(b"2026-11-28T07:07:05.123456789Z hello  world"),
        ("2026-11-28T07:07:05.123456789Z".into(), b"hello  world".to_vec())
    );
    assert_eq!(split(b"no time here"), (String::new(), b"no time here".to_vec()));
    assert_eq!(split(b"2026-11-28T07:07:05.1Z "), ("2026-11-28T07:07:05.1Z".into(), Vec::new()));
}
