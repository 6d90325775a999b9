use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::app::testing::session;
use crate::engine::fake::FakeEngine;
use crate::host::fake::FakeHost;
use crate::host::local::LocalHost;
use crate::model::{Process, Restart, WatchAction, WatchRule};
use crate::plan::Parts;

fn keeper(folder: &Path) -> Keeper {
    let mut session = session(FakeHost::new(), &FakeEngine::new(), "macula keep-processes");
    session.system.host = Arc::new(LocalHost::with(BTreeMap::new(), Some(folder.to_owned())));
    let files = KeeperFiles::of(session.host(), &PlatformName::new("shop").unwrap());
    Keeper {
        session,
        files,
        holder: LeaseHolder { pid: std::process::id(), started: None },
        start: String::new(),
        // the tests run side by side, and each looks for its own
        mark: format!("test-keeper-{}", folder.display()),
        kept: BTreeMap::new(),
        written: None,
        unwritten: false,
        runs: 0,
        served: None,
        tell: unbounded_channel().0,
    }
}

/// Of a program that runs until it is asked to end.
fn order(name: &str, folder: &Path) -> Order {
    let process = Process {
        name: name.to_owned(),
        command: vec!["sleep".into(), "60".into()],
        folder: folder.to_owned(),
        needs: Vec::new(),
        hosts: Vec::new(),
        port: None,
        probe: None,
        environment: BTreeMap::new(),
        env_files: Vec::new(),
        watch: Vec::new(),
        restart: Restart::No,
        stop_grace_period: Process::GRACE,
    };
    Order {
        process,
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        parts: Parts::new(),
        routes: Vec::new(),
        log: folder.join(format!("{name}.log")),
        port: None,
        action: ProcessAction::Start,
    }
}

#[test]
fn every_run_has_a_mark_of_its_own() {
    let runs =
        [("k", "web", 1), ("k", "web", 2), ("k", "web", 12), ("k", "web.api", 1), ("k", "web.1", 2), ("l", "web", 1)];
    let marks: BTreeSet<String> = runs.iter().map(|(keeper, name, run)| mark_of_run(keeper, name, *run)).collect();
    assert_eq!(marks.len(), runs.len(), "{marks:?}");
}

#[tokio::test]
async fn whoever_ends_what_a_run_has_left_does_not_find_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let host = keeper.session.system.host.clone();
    let web = ["web".to_owned()];
    keeper.order(order("web", folder.path())).await;
    let first = keeper.kept["web"].family.clone();
    assert_eq!(host.members(&first), [keeper.kept["web"].state.pid.unwrap()]);

    keeper.stop(&web, ProcessCondition::Restarting).await;
    assert!(host.members(&first).is_empty());
    keeper.start("web").await;
    // its name begins as the other one does
    keeper.order(order("web.api", folder.path())).await;
    let (second, other) = (keeper.kept["web"].family.clone(), keeper.kept["web.api"].family.clone());
    // what waits for the end of the first run may get to this as late as now
    end_family(&*host, &first, Duration::ZERO).await;
    assert_eq!((host.members(&second).len(), host.members(&other).len()), (1, 1));

    keeper.stop(&web, ProcessCondition::Stopped).await;
    assert_eq!((host.members(&second).len(), host.members(&other).len()), (0, 1));
    // one that is kept no more, and still runs
    keeper.kept.clear();
    keeper.stop_all().await;
    assert!(host.members(&other).is_empty());
}

/// The number is free from then on, and may be given to a group of somebody else's.
#[test]
fn a_run_that_has_ended_has_no_group() {
    let folder = Path::new("/p");
    let mut keeper = keeper(folder);
    let mut kept = Kept::new(order("web", folder), 0);
    kept.run = 2;
    kept.family = Family { group: Some(7), session: None, mark: Some("m".to_owned()) };
    keeper.kept.insert("web".to_owned(), kept);
    for (run, group) in [(1, Some(7)), (2, None)] {
        keeper.ended("web", run, 0);
        let family = Family { group, session: None, mark: Some("m".to_owned()) };
        assert_eq!(keeper.kept["web"].family, family, "after the end of run {run}");
    }
}

#[tokio::test]
async fn what_is_stopped_is_not_watched_for_what_its_file_says_now() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    for (condition, watched) in [(ProcessCondition::Stopped, false), (ProcessCondition::Running, true)] {
        let mut kept = Kept::new(order("web", folder.path()), 0);
        kept.state.condition = condition;
        keeper.kept.insert("web".to_owned(), kept);
        let mut update = order("web", folder.path());
        update.action = ProcessAction::Update;
        update.process.watch = vec![WatchRule::new(folder.path().to_owned(), WatchAction::Restart)];
        keeper.order(update).await;
        assert_eq!(keeper.kept["web"].watch.is_some(), watched, "{condition:?}");
    }
}

#[tokio::test]
async fn what_has_rested_under_another_keeper_rests_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.order(Order { action: ProcessAction::Update, ..order("web", folder.path()) }).await;
    let state = &keeper.kept["web"].state;
    assert_eq!((state.condition, state.pid), (ProcessCondition::Stopped, None));
}

#[tokio::test]
async fn a_run_that_has_begun_since_a_change_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.order(order("web", folder.path())).await;
    let mut pids = BTreeSet::from([keeper.kept["web"].state.pid]);
    // of three batches, told while the first of them was carried out
    let at = Instant::now();
    for _ in 0..3 {
        keeper.follow(Happened::Changed { name: "web".into(), path: "main.c".into(), at }).await;
        pids.insert(keeper.kept["web"].state.pid);
    }
    assert_eq!(pids.len(), 2, "{pids:?}");
    keeper.stop_all().await;
}

/// A program that takes its time to end may take the second SIGTERM for the end of its patience.
#[tokio::test]
async fn what_is_stopped_is_asked_once_and_heard_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let mut web = order("web", folder.path());
    let inner = "trap 'trap - TERM; sleep 0.3; echo clean; exit' TERM; echo ready; while :; do sleep 0.05; done";
    web.process.command = ["sh", "-c", "sh -c \"$0\" & wait", inner].map(str::to_owned).into();
    let log = web.log.clone();
    keeper.order(web).await;
    let written = || std::fs::read_to_string(&log).unwrap();
    while !written().contains("ready") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keeper.stop(&["web".to_owned()], ProcessCondition::Stopped).await;
    assert!(written().ends_with("clean\n"), "{}", written());
}

#[tokio::test]
async fn what_could_not_be_written_down_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let in_the_way = keeper.files.record_file();
    std::fs::create_dir_all(&in_the_way).unwrap();
    keeper.write_down().await;
    assert_eq!(keeper.files.record(keeper.session.host()).await, None);
    std::fs::remove_dir(&in_the_way).unwrap();
    keeper.write_down().await;
    let written = keeper.files.record(keeper.session.host()).await;
    assert!(written.is_some() && written == keeper.written, "{written:?}");
}

#[tokio::test]
async fn a_keeper_whose_place_another_one_has_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let (tell, mut happened) = unbounded_channel();
    keeper.tell = tell;
    let path = folder.path().join("keeper.sock");
    let (_listener, own) = OwnSocket::listen(&path).unwrap();
    let work = keeper.work(&own, &mut happened, std::future::pending());
    assert!(timeout(Duration::from_millis(100), work).await.is_err());
    let (_other, _theirs) = OwnSocket::listen(&path).unwrap();
    let work = keeper.work(&own, &mut happened, std::future::pending());
    assert!(timeout(Duration::from_secs(60), work).await.is_ok_and(|last| last.is_none()));
}
