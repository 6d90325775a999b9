use std::sync::{Arc, Mutex};

use tokio::net::UnixListener;

use super::*;
use crate::app::testing::{Heard, heard_session, process_state, session};
use crate::engine::fake::FakeEngine;
use crate::host::Folders;
use crate::host::fake::FakeHost;
use crate::model::{Restart, WatchAction, WatchRule};

/// The number of the keeper, and when it was started.
const KEEPER: u32 = 7;
const STARTED: u64 = 55;
/// When a process was started that has its number after it.
const LATER: u64 = 99;
const TELL: &str = r#"{"do":"tell"}"#;

fn shop() -> PlatformName {
    PlatformName::new("shop").unwrap()
}

/// The keeper's number belongs to a process that was started then. Sockets are real: they lie in this folder.
fn machine(folder: &Path, started: u64) -> FakeHost {
    let host = FakeHost::new();
    let folders = Folders { data: folder.to_owned(), ..host.folders() };
    std::fs::create_dir(folder.join("shop")).unwrap();
    let stat = format!("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n");
    host.with_folders(folders).process(KEEPER).file(format!("/proc/{KEEPER}/stat"), stat).program("/usr/bin/macula")
}

fn record() -> KeeperRecord {
    KeeperRecord {
        format: FORMAT,
        holder: LeaseHolder { pid: KEEPER, started: Some(STARTED) },
        start: String::new(),
        mark: "m".into(),
        states: vec![process_state(ProcessCondition::Running)],
    }
}

/// A keeper that answers only some of those that ask, in this order, and hangs up on the others as if they had lost their
/// patience. Returns what it is asked.
fn keeper(files: &KeeperFiles, answers: &[bool]) -> Arc<Mutex<Vec<String>>> {
    keeper_of("1.0.0", files, answers)
}

/// The same of this version.
fn keeper_of(version: &'static str, files: &KeeperFiles, answers: &[bool]) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(files.socket()).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (heard, answers) = (asked.clone(), answers.to_vec());
    tokio::spawn(async move {
        for is_answered in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            heard.lock().unwrap().push(line.trim_end().to_owned());
            if is_answered {
                let answer = Answer { version: version.into(), states: record().states };
                let mut line = serde_json::to_vec(&answer).unwrap();
                line.push(b'\n');
                stream.write_all(&line).await.unwrap();
            }
        }
    });
    asked
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    let process = Process {
        name: "web".into(),
        command: vec!["sh".into(), "-c".into(), "true".into()],
        folder: "/p".into(),
        needs: vec!["postgres".into()],
        hosts: vec!["shop".into()],
        port: None,
        probe: Some(crate::model::ProcessProbe {
            path: Some("/up".into()),
            timeout: Some(Duration::from_millis(1500)),
        }),
        environment: [("A".to_owned(), None), ("B".to_owned(), Some("1".to_owned()))].into(),
        env_files: vec!["/p/.env".into()],
        watch: vec![WatchRule::new("/p/src".into(), WatchAction::Restart)],
        restart: Restart::OnFailure(Some(3)),
        stop_grace_period: Process::GRACE,
    };
    let order = Order {
        process,
        environment: [("PATH".to_owned(), "/bin".to_owned())].into(),
        parts: [("command".to_owned(), "1".to_owned())].into(),
        routes: Vec::new(),
        log: "/log".into(),
        port: Some(3000),
        action: ProcessAction::Start,
    };
    let sent = serde_json::to_string(&Ask::Apply { orders: vec![order.clone()], remove: Vec::new() }).unwrap();
    match serde_json::from_str(&sent).unwrap() {
        Ask::Apply { orders, .. } => assert_eq!(orders, [order]),
        other => panic!("{other:?}"),
    }
}

/// It may be stopping a program. One that is gone is replaced at once.
#[tokio::test]
async fn a_keeper_that_is_busy_is_waited_for() {
    let busy = "waiting for the process that keeps your programs, which does not answer yet";
    let gone = "the process that keeps your programs was killed; they are started again";
    for (started, keepers, said) in [(STARTED, 0, busy), (LATER, 1, gone)] {
        let folder = tempfile::tempdir().unwrap();
        let host = machine(folder.path(), started);
        let files = KeeperFiles::of(&host, &shop());
        files.keep(&host, &record()).await.unwrap();
        let asked = keeper(&files, &[false, true]);
        let heard = Arc::new(Heard::default());
        let session = heard_session(host.clone(), &FakeEngine::new(), "macula up", &heard);
        let ensured = ensure(&session, &shop()).await.unwrap();
        assert_eq!(ensured, (files.socket(), record().states));
        assert_eq!(heard.said(), [said]);
        assert_eq!(host.journal().len(), keepers, "{:?}", host.journal());
        assert_eq!(files.record(&host).await.is_some(), keepers == 0, "{said}");
        assert_eq!(*asked.lock().unwrap(), [TELL, TELL]);
    }
}

#[tokio::test]
async fn what_a_keeper_of_another_version_keeps_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let host = machine(folder.path(), STARTED);
    let files = KeeperFiles::of(&host, &shop());
    files.keep(&host, &record()).await.unwrap();
    let asked = keeper_of("0.9.0", &files, &[true; 6]);
    let heard = Arc::new(Heard::default());
    let session = heard_session(host.clone(), &FakeEngine::new(), "macula up", &heard);
    let handed_on = Keeping { states: handed_on(record().states), lost: false };
    assert_ne!(handed_on, keeping(&host, &shop()).await);
    assert_eq!(keeping_for_up(&session, &shop()).await, handed_on);
    assert_eq!(heard.said(), [""; 0]);
    assert_eq!(renew(&session, &shop()).await.unwrap(), handed_on);
    let said = "another version of macula keeps the processes: they are started again by this one";
    assert_eq!(heard.said(), [said]);
    assert_eq!(*asked.lock().unwrap(), [TELL, TELL, TELL, TELL, TELL, r#"{"do":"end"}"#]);
    assert_eq!(files.record(&host).await, None);
}

#[tokio::test]
async fn the_user_may_end_the_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let host = machine(folder.path(), STARTED);
    let files = KeeperFiles::of(&host, &shop());
    files.keep(&host, &record()).await.unwrap();
    let session = session(host.clone(), &FakeEngine::new(), "macula up");
    session.cancel.cancel();
    keeper(&files, &[false]);
    let ensured = ensure(&session, &shop()).await;
    assert!(matches!(ensured, Err(Error::Cancelled)), "{ensured:?}");
    assert_eq!(host.journal(), [""; 0]);
    assert_eq!(files.record(&host).await, Some(record()));
}

#[tokio::test]
async fn a_keeper_is_told_from_a_later_process_with_its_number() {
    for (started, is_keeper) in [(STARTED, true), (LATER, false)] {
        let folder = tempfile::tempdir().unwrap();
        let host = machine(folder.path(), started);
        let files = KeeperFiles::of(&host, &shop());
        files.keep(&host, &record()).await.unwrap();
        let session = session(host.clone(), &FakeEngine::new(), "macula down");
        assert_eq!(files.running(&host).await.is_some(), is_keeper);
        let ended = end(&session, &shop()).await;
        match is_keeper {
            true => assert!(matches!(ended, Err(Error::Keeper { .. })), "{ended:?}"),
            false => assert_eq!(ended.unwrap(), ["web"]),
        }
        assert_eq!(files.record(&host).await.is_some(), is_keeper);
    }
}

#[tokio::test]
async fn what_a_keeper_has_left_is_sought_where_it_can_be() {
    let of = |session| Family { group: None, session, mark: Some("MACULA_PROCESS=m".into()) };
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let stat = |ticks: u64| format!("1 (init) S 0 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n");
    let boot = |host: FakeHost, id: &str, ticks| {
        host.file("/proc/sys/kernel/random/boot_id", id).file("/proc/1/stat", stat(ticks))
    };
    let hosts = [
        (boot(machine(folders[0].path(), STARTED), "b1", 2), None),
        // its session is another one by now
        (boot(machine(folders[1].path(), LATER), "b1", 2), Some(of(None))),
        (boot(FakeHost::new(), "b1", 2), Some(of(Some(KEEPER)))),
        // the machine, or the container, was started again; or nobody knows
        (boot(FakeHost::new(), "b2", 2), Some(of(None))),
        (boot(FakeHost::new(), "b1", 3), Some(of(None))),
        (FakeHost::new(), Some(of(None))),
    ];
    let start = start_of(&boot(FakeHost::new(), "b1", 2)).await;
    for (host, left) in hosts {
        let record = KeeperRecord { start: start.clone(), ..record() };
        assert_eq!(record.left(&host).await, left);
    }
    // of a version that did not write it down
    assert_eq!(record().left(&FakeHost::new()).await, Some(of(None)));
}

#[test]
fn an_answer_is_waited_for_as_long_as_programs_may_take_to_end() {
    let states = [("web", 300), ("web.api", 600), ("job", 1)].map(|(name, grace)| ProcessState {
        name: name.into(),
        stop_grace_period: Duration::from_secs(grace),
        ..process_state(ProcessCondition::Running)
    });
    for (names, grace) in [("web", 300), ("job web", 300), ("web.api", 600), ("job", 1), ("other", 10), ("", 10)] {
        let named: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        let patience = patience(graces(&states, &named));
        assert_eq!(patience, Duration::from_secs(grace) + START + QUICK, "{names}");
    }
}

#[tokio::test]
async fn a_keeper_that_is_busy_is_asked_for_work_once_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let host = machine(folder.path(), STARTED);
    let files = KeeperFiles::of(&host, &shop());
    files.keep(&host, &record()).await.unwrap();
    let asked = keeper(&files, &[false, true, true, true, true, true, true]);
    let session = session(host, &FakeEngine::new(), "macula stop");
    let names = ["web".to_owned()];
    stop(&session, &shop(), &names).await.unwrap();
    start(&session, &shop(), &names, true).await.unwrap();
    apply(&session, &shop(), Vec::new(), names.to_vec()).await.unwrap();
    let wanted = [
        TELL,
        TELL,
        r#"{"do":"stop","names":["web"]}"#,
        TELL,
        r#"{"do":"start","names":["web"],"running":true}"#,
        TELL,
        r#"{"do":"apply","orders":[],"remove":["web"]}"#,
    ];
    assert_eq!(*asked.lock().unwrap(), wanted);
}

#[tokio::test]
async fn where_there_is_no_keeper_nothing_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(machine(folder.path(), STARTED), &FakeEngine::new(), "macula stop");
    let stopped = stop(&session, &shop(), &["web".to_owned()]).await;
    assert!(matches!(stopped, Err(Error::Keeper { .. })), "{stopped:?}");
}
